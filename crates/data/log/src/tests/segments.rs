use fleuve_types::{ErrorKind, ManualClock};

use super::*;
use crate::{AppendError, ReadError};

/// Appends `count` records "i" of about 100 bytes with rising timestamps, a few per batch; returns the values.
async fn fill(log: &Log, partition: i32, from: usize, count: usize) -> Vec<String> {
    let mut all = Vec::new();
    let mut i = from;
    while i < from + count {
        let n = (i % 3 + 1).min(from + count - i);
        let values: Vec<_> = (i..i + n).map(|i| format!("{i:-<100}")).collect();
        let refs: Vec<_> = values.iter().map(String::as_str).collect();
        let compression = if i.is_multiple_of(2) { Compression::None } else { Compression::Lz4 };
        log.append(T, partition, batch_with(&refs, NOW_MS + i as i64, None, compression), true).await.unwrap();
        all.extend(values);
        i += n;
    }
    all
}

#[tokio::test]
async fn a_move_to_segments_keeps_every_offset_readable() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    log.create_topic(spec(T, 2)).await.unwrap();
    let zero = fill(&log, 0, 0, 400).await;
    let one = fill(&log, 1, 0, 50).await;
    log.settle().await.unwrap();
    assert_eq!(wal_files(dir.path()).len(), 1, "all closed files were moved");
    assert!(segment_files(dir.path()) > 2);
    for max_bytes in [1, 300, 5000, 1 << 20] {
        let read: Vec<_> = read_all(&log, T, 0, 0, max_bytes).into_iter().map(|(_, v)| v).collect();
        assert_eq!(read, zero, "{max_bytes}");
    }
    for offset in 0..400 {
        let read = log.read(T, 0, offset, 1).unwrap();
        let first = crate::batch::Batch::parse(&read.batches[0]).unwrap();
        assert!(first.header().base_offset <= offset && offset <= first.header().last_offset());
    }
    let size = log.size_bytes(T);
    drop(log);
    let log = open(dir.path());
    assert_eq!((values(&log, T, 0), values(&log, T, 1)), (zero, one));
    assert_eq!(log.size_bytes(T), size);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn readers_do_not_notice_moves_and_merges() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    log.create_topic(spec(T, 1)).await.unwrap();
    let reader = {
        let log = log.clone();
        tokio::task::spawn_blocking(move || {
            while log.offsets(T, 0) != Some((0, 2000)) {
                let (_, end) = log.offsets(T, 0).unwrap();
                let read = read_all(&log, T, 0, 0, 2000);
                assert!(read.len() as i64 >= end);
            }
        })
    };
    let all = fill(&log, 0, 0, 2000).await;
    reader.await.unwrap();
    log.settle().await.unwrap();
    assert_eq!(values(&log, T, 0), all);
}

#[tokio::test]
async fn small_segments_are_merged() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(LogOptions { segment_bytes: 1 << 20, ..options(dir.path()) }, clock()).unwrap();
    log.create_topic(spec(T, 1)).await.unwrap();
    let all = fill(&log, 0, 0, 3000).await;
    log.settle().await.unwrap();
    let bytes = log.size_bytes(T).unwrap();
    let files = segment_files(dir.path());
    assert!(bytes > 60 * 4096, "{bytes} bytes are many write-ahead files");
    assert!(files < 20, "{files} segments are left");
    assert_eq!(values(&log, T, 0), all);
    drop(log);
    assert_eq!(values(&open(dir.path()), T, 0), all);
}

#[tokio::test]
async fn offsets_are_found_by_time() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    log.create_topic(spec(T, 1)).await.unwrap();
    assert_eq!(log.offset_for_time(T, 0, 0), Ok(None));
    fill(&log, 0, 0, 300).await;
    let check = |log: &Log| {
        for i in [0, 1, 2, 3, 77, 150, 299] {
            assert_eq!(log.offset_for_time(T, 0, NOW_MS + i), Ok(Some((i, NOW_MS + i))));
        }
        assert_eq!(log.offset_for_time(T, 0, 0), Ok(Some((0, NOW_MS))));
        assert_eq!(log.offset_for_time(T, 0, NOW_MS + 300), Ok(None));
        assert_eq!(log.max_timestamp(T, 0), Ok(Some((299, NOW_MS + 299))));
    };
    check(&log);
    log.settle().await.unwrap();
    check(&log);
    drop(log);
    let log = open(dir.path());
    check(&log);
    // Records that came late are found by the first that is late enough.
    log.append(T, 0, batch_with(&["late"], NOW_MS + 5, None, Compression::None), true).await.unwrap();
    check(&log);
    log.delete_records(T, 0, 200).await.unwrap();
    assert_eq!(log.offset_for_time(T, 0, NOW_MS + 5), Ok(Some((200, NOW_MS + 200))));
}

#[tokio::test]
async fn records_are_deleted_before_an_offset() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    log.create_topic(spec(T, 1)).await.unwrap();
    let all = fill(&log, 0, 0, 300).await;
    log.settle().await.unwrap();
    let files = segment_files(dir.path());
    assert_eq!(log.delete_records(T, 0, 151).await.unwrap(), 151);
    assert_eq!(log.delete_records(T, 0, 3).await.unwrap(), 151, "it never goes back");
    assert_eq!(log.delete_records(T, 0, 301).await.unwrap_err().kind, ErrorKind::Input);
    let gone = log.read(T, 0, 150, 1).unwrap_err();
    assert_eq!(gone, ReadError::OffsetOutOfRange { offset: 150, log_start_offset: 151, high_watermark: 300 });
    assert_eq!(values(&log, T, 0), all[151..]);
    log.settle().await.unwrap();
    assert!(segment_files(dir.path()) < files, "dead segments are gone");
    drop(log);
    let log = open(dir.path());
    assert_eq!(log.offsets(T, 0), Some((151, 300)));
    assert_eq!(values(&log, T, 0), all[151..]);
    assert_eq!(log.delete_records(T, 0, -1).await.unwrap(), 300);
    assert_eq!(log.size_bytes(T), Some(0));
    drop(log);
    let log = open(dir.path());
    assert_eq!(log.append(T, 0, batch(&["next"]), true).await.unwrap().base_offset, 300);
}

#[tokio::test]
async fn retention_lets_go_by_time_since_the_append() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(NOW_MS * 1000));
    let log = Log::open(options(dir.path()), clock.clone()).unwrap();
    let config = TopicConfig { retention_ms: Some(60_000), ..TopicConfig::default() };
    log.create_topic(TopicSpec { config, ..spec(T, 1) }).await.unwrap();
    log.create_topic(spec(U, 1)).await.unwrap();
    log.append(U, 0, batch(&["kept for ever"]), true).await.unwrap();
    fill(&log, 0, 0, 200).await;
    clock.advance_us(40_000_000);
    let young = fill(&log, 0, 200, 100).await;
    log.settle().await.unwrap();
    assert_eq!(log.enforce_retention(NOW_MS + 60_000).await.unwrap(), 0);
    assert!(log.enforce_retention(NOW_MS + 61_000).await.unwrap() > 0);
    let (start, end) = log.offsets(T, 0).unwrap();
    assert!((150..=200).contains(&start) && end == 300, "{start}");
    assert!(values(&log, T, 0).ends_with(&young));
    log.enforce_retention(NOW_MS + 1_000_000).await.unwrap();
    assert_eq!((log.offsets(T, 0), log.size_bytes(T)), (Some((300, 300)), Some(0)));
    assert_eq!(segment_files(dir.path()), segments_of(dir.path(), U), "only the other topic has files");
    drop(log);
    let log = open(dir.path());
    assert_eq!(log.offsets(T, 0), Some((300, 300)));
    assert_eq!(values(&log, U, 0), ["kept for ever"]);
}

fn segments_of(dir: &Path, id: ObjectId) -> usize {
    std::fs::read_dir(dir.join("segments").join(id.to_string())).map_or(0, Iterator::count)
}

#[tokio::test]
async fn retention_lets_go_by_size() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let config = TopicConfig { retention_bytes: Some(10_000), ..TopicConfig::default() };
    log.create_topic(TopicSpec { config, ..spec(T, 1) }).await.unwrap();
    let all = fill(&log, 0, 0, 400).await;
    log.settle().await.unwrap();
    let before = log.size_bytes(T).unwrap();
    let freed = log.enforce_retention(NOW_MS).await.unwrap();
    let after = log.size_bytes(T).unwrap();
    assert_eq!(before - after, freed);
    assert!((10_000..22_000).contains(&after), "{after} bytes are left");
    assert!(all.ends_with(&values(&log, T, 0)));
    assert_eq!(log.enforce_retention(NOW_MS).await.unwrap(), 0);
}

#[tokio::test]
async fn a_deleted_topic_leaves_no_files() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    log.create_topic(spec(T, 1)).await.unwrap();
    fill(&log, 0, 0, 200).await;
    log.settle().await.unwrap();
    assert!(segments_of(dir.path(), T) > 0);
    log.delete_topic(T).await.unwrap();
    log.settle().await.unwrap();
    assert!(!dir.path().join("segments").join(T.to_string()).exists());
    // What the write-ahead files still say of it does not come back, also when the id does.
    log.create_topic(spec(T, 1)).await.unwrap();
    let new = fill(&log, 0, 0, 100).await;
    log.settle().await.unwrap();
    drop(log);
    assert_eq!(values(&open(dir.path()), T, 0), new);
}

#[tokio::test]
async fn a_missing_or_short_segment_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    log.create_topic(spec(T, 1)).await.unwrap();
    fill(&log, 0, 0, 200).await;
    log.settle().await.unwrap();
    drop(log);
    let topic = dir.path().join("segments").join(T.to_string());
    let segment = std::fs::read_dir(&topic).unwrap().next().unwrap().unwrap().path();
    let bytes = std::fs::read(&segment).unwrap();
    std::fs::remove_file(&segment).unwrap();
    let error = Log::open(options(dir.path()), clock()).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Io);
    assert!(error.to_string().contains(segment.to_str().unwrap()), "{error}");
    std::fs::write(&segment, &bytes[..100]).unwrap();
    assert!(Log::open(options(dir.path()), clock()).is_err());
    // A file that no manifest names is a leftover.
    std::fs::write(&segment, &bytes).unwrap();
    let leftover = topic.join("0-00000000000000000009-ff.seg");
    std::fs::write(&leftover, "half written").unwrap();
    let log = open(dir.path());
    assert!(!leftover.exists());
    assert_eq!(values(&log, T, 0).len(), 200);
}

/// A log whose closed files cannot be moved to segments, and that takes no more appends which wait for room.
async fn stuck(dir: &Path) -> Log {
    let log = open(dir);
    log.create_topic(spec(T, 1)).await.unwrap();
    std::fs::create_dir_all(dir.join("segments")).unwrap();
    std::fs::write(dir.join("segments").join(T.to_string()), "in the way").unwrap();
    let value = "x".repeat(1000);
    loop {
        match log.append(T, 0, batch(&[&value]), true).await {
            Ok(_) => {}
            Err(AppendError::Io(why)) if why.contains("cannot be moved out") => return log,
            Err(e) => panic!("{e}"),
        }
    }
}

#[tokio::test]
async fn what_nobody_waits_for_is_written_when_there_is_no_room_for_others() {
    let dir = tempfile::tempdir().unwrap();
    let log = stuck(dir.path()).await;
    let (_, before) = log.offsets(T, 0).unwrap();
    for n in 0..3 {
        let mark = vec![("m".to_owned(), Some(Bytes::from(n.to_string())))];
        drop(log.append_atomic_nowait(vec![(T, 0, batch(&[&format!("own {n}")]))], mark).unwrap());
        assert!(log.append(T, 0, batch(&["refused"]), true).await.is_err());
    }
    std::fs::remove_file(dir.path().join("segments").join(T.to_string())).unwrap();
    while log.append(T, 0, batch(&["later"]), true).await.is_err() {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let wanted = ["own 0", "own 1", "own 2", "later"].map(str::to_owned);
    let found: Vec<String> = read_all(&log, T, 0, before, 1 << 20).into_iter().map(|(_, v)| v).collect();
    assert_eq!(found, wanted);
    assert_eq!(log.mark("m").as_deref(), Some(&b"2"[..]));
}

#[tokio::test]
async fn a_log_without_any_room_fails_as_a_whole() {
    let dir = tempfile::tempdir().unwrap();
    let log = stuck(dir.path()).await;
    let value = "x".repeat(1000);
    let mut written = vec![];
    let why = loop {
        match log.append_atomic_nowait(vec![(T, 0, batch(&[&value]))], vec![]) {
            Ok(pending) => written.push(pending.await.is_ok()),
            Err(e) => break e.to_string(),
        }
    };
    assert!(why.contains("has failed") && why.contains("cannot be moved out"), "{why}");
    assert!(
        written.len() > 10 && written.pop() == Some(false) && written.iter().all(|ok| *ok),
        "the first refusal is the last"
    );
    assert!(log.append_atomic(vec![], vec![("m".into(), None)]).await.is_err());
}
