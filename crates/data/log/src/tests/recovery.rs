use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;

use bytes::Bytes;
use fleuve_types::ErrorKind;

use super::*;

fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[tokio::test]
async fn one_process_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let error = Log::open(options(dir.path()), clock()).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Config);
    assert!(error.to_string().contains("in use by another process"), "{error}");
    drop(log);
    open(dir.path());
}

#[tokio::test]
async fn options_that_make_no_sense_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    for bad in [
        LogOptions { wal_bytes: 1, ..options(dir.path()) },
        LogOptions { segment_bytes: 0, ..options(dir.path()) },
        LogOptions { max_batch_bytes: usize::MAX, ..options(dir.path()) },
        LogOptions { queue_bytes: 1, ..options(dir.path()) },
    ] {
        assert_eq!(Log::open(bad, clock()).unwrap_err().kind, ErrorKind::Config);
    }
}

/// Wherever the last write was cut short, what came before it is there exactly, and of an atomic append nothing is.
#[tokio::test]
async fn a_torn_tail_is_cut_off_at_every_byte() {
    let dir = tempfile::tempdir().unwrap();
    let big = LogOptions { wal_bytes: 1 << 20, ..options(dir.path()) };
    let log = Log::open(big.clone(), clock()).unwrap();
    log.create_topic(spec(T, 2)).await.unwrap();
    log.append_atomic(vec![(T, 0, batch(&["a", "b"]))], vec![("m".into(), Some(Bytes::from_static(b"1")))])
        .await
        .unwrap();
    let wal = wal_files(dir.path()).remove(0);
    let before = fs::metadata(&wal).unwrap().len();
    let parts = vec![(T, 0, batch(&["c"])), (T, 1, batch(&["d"]))];
    log.append_atomic(parts, vec![("m".into(), Some(Bytes::from_static(b"2")))]).await.unwrap();
    drop(log);
    let whole = fs::read(&wal).unwrap();
    for cut in before..=whole.len() as u64 {
        for garbage in [&b""[..], &[0; 40], b"FlR\x01 not a record at all"] {
            let is_whole = cut == whole.len() as u64;
            fs::write(&wal, [&whole[..cut as usize], garbage].concat()).unwrap();
            let log = Log::open(big.clone(), clock()).unwrap();
            let expected: &[&str] = if is_whole { &["a", "b", "c"] } else { &["a", "b"] };
            assert_eq!(values(&log, T, 0), expected, "cut at {cut}");
            assert_eq!(values(&log, T, 1).len(), usize::from(is_whole), "cut at {cut}");
            assert_eq!(log.mark("m").as_deref(), Some(if is_whole { &b"2"[..] } else { b"1" }));
            // The log goes on, and what it adds stays.
            if cut % 16 == 0 {
                log.append(T, 0, batch(&["next"]), true).await.unwrap();
                drop(log);
                let log = Log::open(big.clone(), clock()).unwrap();
                assert_eq!(values(&log, T, 0).last().map(String::as_str), Some("next"));
            }
        }
    }
}

#[tokio::test]
async fn damage_to_durable_data_is_an_error_that_says_where() {
    let dir = tempfile::tempdir().unwrap();
    let big = LogOptions { wal_bytes: 1 << 20, ..options(dir.path()) };
    let log = Log::open(big.clone(), clock()).unwrap();
    log.create_topic(spec(T, 1)).await.unwrap();
    let wal = wal_files(dir.path()).remove(0);
    let mut starts = Vec::new();
    for i in 0..4 {
        starts.push(fs::metadata(&wal).unwrap().len());
        log.append(T, 0, batch(&[&format!("record {i}")]), true).await.unwrap();
    }
    drop(log);
    let whole = fs::read(&wal).unwrap();
    for start in &starts[..3] {
        for at in [0, 5, 9, 30, 100] {
            let mut bad = whole.clone();
            bad[*start as usize + at] ^= 0x40;
            fs::write(&wal, &bad).unwrap();
            let error = Log::open(big.clone(), clock()).unwrap_err();
            assert_eq!(error.kind, ErrorKind::Io);
            assert!(error.to_string().contains(&format!("damaged at byte {start}")), "{error}");
            assert_eq!(fs::read(&wal).unwrap(), bad, "nothing is changed");
        }
    }
    fs::write(&wal, &whole).unwrap();
    assert_eq!(values(&Log::open(big, clock()).unwrap(), T, 0).len(), 4);
}

#[tokio::test]
async fn a_batch_that_contains_records_of_the_log_is_not_taken_for_them() {
    let dir = tempfile::tempdir().unwrap();
    let big = LogOptions { wal_bytes: 1 << 20, ..options(dir.path()) };
    let log = Log::open(big.clone(), clock()).unwrap();
    log.create_topic(spec(T, 1)).await.unwrap();
    log.append(T, 0, batch(&["a"]), true).await.unwrap();
    log.append(T, 0, batch(&["b"]), true).await.unwrap();
    let wal = wal_files(dir.path()).remove(0);
    let written = fs::read(&wal).unwrap();
    let mut b = BatchBuilder::new();
    b.push(&NewRecord { value: Some(&written), ..NewRecord::default() }).unwrap();
    log.append(T, 0, b.build().unwrap(), true).await.unwrap();
    drop(log);
    // The write of that batch was cut short just before its end: a torn tail, not damage.
    let size = fs::metadata(&wal).unwrap().len();
    OpenOptions::new().write(true).open(&wal).unwrap().set_len(size - 1).unwrap();
    assert_eq!(values(&Log::open(big, clock()).unwrap(), T, 0), ["a", "b"]);
}

#[tokio::test]
async fn damage_in_a_closed_file_or_the_manifest_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    log.create_topic(spec(T, 1)).await.unwrap();
    log.append(T, 0, batch(&["a"]), true).await.unwrap();
    drop(log);
    // A second file makes the first one a closed one; the mover has not come to it yet.
    let first = wal_files(dir.path()).remove(0);
    crate::wal::WalFile::create(&fleuve_store::LocalDisk, &dir.path().join("wal"), 2).unwrap();
    let size = fs::metadata(&first).unwrap().len();
    let copy = tempfile::tempdir().unwrap();
    copy_dir(dir.path(), copy.path());
    OpenOptions::new().write(true).open(&first).unwrap().set_len(size - 1).unwrap();
    let error = Log::open(options(dir.path()), clock()).unwrap_err();
    assert!(error.to_string().contains("closed file is damaged"), "{error}");

    assert_eq!(values(&open(copy.path()), T, 0), ["a"]);
    let manifest = copy.path().join("MANIFEST");
    let file = OpenOptions::new().read(true).write(true).open(&manifest).unwrap();
    file.write_at(b"!", fs::metadata(&manifest).unwrap().len() - 1).unwrap();
    assert!(Log::open(options(copy.path()), clock()).unwrap_err().to_string().contains("MANIFEST is damaged"));
    fs::remove_file(&manifest).unwrap();
    assert!(Log::open(options(copy.path()), clock()).unwrap_err().to_string().contains("manifest is missing"));
}

#[tokio::test]
async fn a_missing_write_ahead_file_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    log.create_topic(spec(T, 1)).await.unwrap();
    let long = "x".repeat(3000);
    for _ in 0..10 {
        log.append(T, 0, batch(&[&long]), true).await.unwrap();
    }
    log.settle().await.unwrap();
    drop(log);
    for file in wal_files(dir.path()) {
        fs::remove_file(file).unwrap();
    }
    let error = Log::open(options(dir.path()), clock()).unwrap_err();
    assert!(error.to_string().contains("is missing"), "{error}");
}

/// A crash at any step of a move: the states of the folder that it can leave all open to the same records.
#[tokio::test]
async fn a_crash_during_a_move_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(LogOptions { wal_bytes: 1 << 20, ..options(dir.path()) }, clock()).unwrap();
    log.create_topic(spec(T, 1)).await.unwrap();
    let all: Vec<_> = (0..100).map(|i| format!("{i:-<100}")).collect();
    for v in &all {
        log.append(T, 0, batch(&[v]), true).await.unwrap();
    }
    log.append_atomic(vec![], vec![("m".into(), Some(Bytes::from_static(b"1")))]).await.unwrap();
    drop(log);
    let before = tempfile::tempdir().unwrap();
    copy_dir(dir.path(), before.path());
    // Opened with small files the log rolls at the next append, and the big file is moved.
    let log = open(dir.path());
    log.append(T, 0, batch(&["last"]), true).await.unwrap();
    log.settle().await.unwrap();
    drop(log);
    let old_wal = before.path().join("wal/0000000001.wal");
    assert!(!dir.path().join("wal/0000000001.wal").exists() && segment_files(dir.path()) > 0);

    // Segments written, no manifest yet, old file still there.
    let crash = tempfile::tempdir().unwrap();
    copy_dir(dir.path(), crash.path());
    fs::copy(before.path().join("MANIFEST"), crash.path().join("MANIFEST")).unwrap();
    fs::copy(&old_wal, crash.path().join("wal/0000000001.wal")).unwrap();
    // Manifest written, old file still there.
    let later = tempfile::tempdir().unwrap();
    copy_dir(dir.path(), later.path());
    fs::copy(&old_wal, later.path().join("wal/0000000001.wal")).unwrap();
    for dir in [crash.path(), later.path(), dir.path()] {
        let log = open(dir);
        log.settle().await.unwrap();
        let read = values(&log, T, 0);
        assert_eq!(read[..100], all);
        assert_eq!(read[100], "last");
        assert_eq!(log.mark("m").as_deref(), Some(&b"1"[..]));
    }
}
