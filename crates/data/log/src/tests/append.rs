use std::task::Poll;

use bytes::Bytes;
use fleuve_types::{ErrorKind, KNOWN_MS, ManualClock};

use super::*;
use crate::{AppendError, ReadError, TimestampType};

#[tokio::test]
async fn what_is_appended_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    log.create_topic(spec(T, 2)).await.unwrap();
    let a = log.append(T, 1, batch(&["a", "b"]), true).await.unwrap();
    assert_eq!((a.base_offset, a.last_offset, a.log_append_time_ms, a.duplicate), (0, 1, -1, false));
    let a = log.append(T, 1, batch(&["c"]), true).await.unwrap();
    assert_eq!((a.base_offset, a.last_offset), (2, 2));
    assert_eq!(read_all(&log, T, 1, 0, 1 << 20), [(0, "a".into()), (1, "b".into()), (2, "c".into())]);
    // In the middle of a batch: the whole batch comes.
    assert_eq!(log.read(T, 1, 1, 1).unwrap().batches.concat().len(), batch(&["a", "b"]).len());
    assert_eq!(log.offsets(T, 1), Some((0, 3)));
    assert_eq!(log.offsets(T, 0), Some((0, 0)));
    assert!(log.read(T, 0, 0, 100).unwrap().batches.is_empty());
    let out = log.read(T, 1, 4, 100).unwrap_err();
    assert_eq!(out, ReadError::OffsetOutOfRange { offset: 4, log_start_offset: 0, high_watermark: 3 });
    assert_eq!(log.read(U, 0, 0, 1).unwrap_err(), ReadError::UnknownTopicOrPartition { topic: U, partition: 0 });
    assert_eq!(log.size_bytes(T), Some(2 * 61 + 3 * 8));
}

#[tokio::test]
async fn a_part_may_hold_several_batches_and_reads_cut_between_them() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    log.create_topic(spec(T, 1)).await.unwrap();
    let three = [batch(&["a", "b"]), batch(&["c"]), batch(&["d"])].concat();
    let a = log.append(T, 0, three.into(), true).await.unwrap();
    assert_eq!((a.base_offset, a.last_offset), (0, 3));
    for max_bytes in [0, 70, 140, 1000] {
        assert_eq!(read_all(&log, T, 0, 0, max_bytes).len(), 4, "{max_bytes}");
        assert_eq!(read_all(&log, T, 0, 2, max_bytes), [(2, "c".into()), (3, "d".into())], "{max_bytes}");
    }
    let first = log.read(T, 0, 0, 140).unwrap();
    assert_eq!(first.size_bytes(), batch(&["a", "b"]).len());
}

#[tokio::test]
async fn bad_batches_are_refused_by_kind() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    log.create_topic(TopicSpec { config: TopicConfig { max_message_bytes: 200, ..Default::default() }, ..spec(T, 1) })
        .await
        .unwrap();
    let append = |bytes: Vec<u8>| log.append(T, 0, Bytes::from(bytes), true);
    let good = batch(&["hello"]).to_vec();
    let with = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        bytes
    };
    // As `with`, with the checksum that fits.
    let sealed = |at: usize, byte: u8| {
        let mut bytes = with(at, byte);
        let crc = crate::batch::crc32c(&bytes[21..]);
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
        bytes
    };
    let corrupt = |e: &AppendError| matches!(e, AppendError::CorruptMessage(_));
    let invalid = |e: &AppendError| matches!(e, AppendError::InvalidRecord(_));
    assert!(corrupt(&append(with(65, 0xff)).await.unwrap_err()), "checksum");
    assert!(corrupt(&append(good[..70].to_vec()).await.unwrap_err()), "cut off");
    assert!(corrupt(&append([good.clone(), vec![0]].concat()).await.unwrap_err()), "one byte too many");
    assert!(corrupt(&append(with(16, 9)).await.unwrap_err()), "unknown magic");
    let old = append(with(16, 1)).await.unwrap_err();
    assert_eq!(old, AppendError::UnsupportedMessageFormat { magic: 1 });
    assert!(corrupt(&append(sealed(22, 7)).await.unwrap_err()), "unknown codec");
    assert!(matches!(append(sealed(22, 0x10)).await.unwrap_err(), AppendError::Transactional(_)));
    assert!(matches!(append(sealed(22, 0x20)).await.unwrap_err(), AppendError::Transactional(_)));
    assert!(invalid(&append(sealed(22, 0x08)).await.unwrap_err()), "log append time from a client");
    assert!(invalid(&append(sealed(60, 2)).await.unwrap_err()), "record count");
    assert!(invalid(&append(Vec::new()).await.unwrap_err()), "nothing");
    let long = "x".repeat(200);
    let large = log.append(T, 0, batch(&[&long]), true).await.unwrap_err();
    assert!(matches!(large, AppendError::MessageTooLarge { limit_bytes: 200, .. }));
    let unknown = log.append(T, 1, batch(&["a"]), true).await.unwrap_err();
    assert_eq!(unknown, AppendError::UnknownTopicOrPartition { topic: T, partition: 1 });
    assert_eq!(log.offsets(T, 0), Some((0, 0)), "nothing was written");
    append(good).await.unwrap();
}

#[tokio::test]
async fn topics_are_made_changed_and_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    log.create_topic(spec(U, 1)).await.unwrap();
    log.create_topic(spec(T, 1)).await.unwrap();
    assert_eq!(log.create_topic(spec(T, 1)).await.unwrap_err().kind, ErrorKind::AlreadyExists);
    assert_eq!(log.create_topic(spec(ObjectId(3), 0)).await.unwrap_err().kind, ErrorKind::Input);
    assert_eq!(log.add_partitions(T, 1).await.unwrap_err().kind, ErrorKind::Input);
    log.add_partitions(T, 3).await.unwrap();
    log.append(T, 2, batch(&["x"]), true).await.unwrap();
    let config = TopicConfig { retention_ms: Some(5), ..TopicConfig::default() };
    log.set_config(T, config.clone()).await.unwrap();
    let check = |log: &Log| {
        let topics = log.topics();
        assert_eq!(topics.iter().map(|t| (t.id, t.partitions)).collect::<Vec<_>>(), [(T, 3), (U, 1)]);
        assert_eq!(log.topic(T).unwrap().config, config);
        assert_eq!(values(log, T, 2), ["x"]);
    };
    check(&log);
    drop(log);
    let log = open(dir.path());
    check(&log);
    log.delete_topic(T).await.unwrap();
    assert_eq!(log.delete_topic(T).await.unwrap_err().kind, ErrorKind::NotFound);
    assert!(log.topic(T).is_none() && log.offsets(T, 0).is_none());
    // The id may come back, as a new and empty topic.
    log.create_topic(spec(T, 1)).await.unwrap();
    assert_eq!(log.offsets(T, 0), Some((0, 0)));
    log.append(T, 0, batch(&["new"]), true).await.unwrap();
    drop(log);
    assert_eq!(values(&open(dir.path()), T, 0), ["new"]);
}

#[tokio::test]
async fn atomic_appends_are_whole_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    log.create_topic(spec(T, 2)).await.unwrap();
    let mark = |v: &'static str| vec![("k".to_owned(), Some(Bytes::from_static(v.as_bytes())))];
    let parts = vec![(T, 0, batch(&["a"])), (T, 1, batch(&["b", "c"])), (T, 0, batch(&["d"]))];
    let appended = log.append_atomic(parts, mark("1")).await.unwrap();
    assert_eq!(appended.iter().map(|a| a.base_offset).collect::<Vec<_>>(), [0, 0, 1]);
    assert_eq!(log.mark("k").as_deref(), Some(&b"1"[..]));
    // One part is refused, so is all.
    let parts = vec![(T, 0, batch(&["e"])), (T, 7, batch(&["f"]))];
    assert!(log.append_atomic(parts, mark("2")).await.is_err());
    assert_eq!((log.offsets(T, 0), log.mark("k").as_deref()), (Some((0, 2)), Some(&b"1"[..])));
    // Calls that do not wait take effect in their order.
    let pending: Vec<_> = (0..50)
        .map(|i| {
            let value = Bytes::from(format!("{i}"));
            log.append_atomic_nowait(vec![(T, 1, batch(&["x"]))], vec![("k".into(), Some(value))]).unwrap()
        })
        .collect();
    for (i, p) in pending.into_iter().enumerate() {
        assert_eq!(p.await.unwrap()[0].base_offset, 2 + i as i64);
    }
    assert_eq!(log.mark("k").as_deref(), Some(&b"49"[..]));
    log.append_atomic(vec![], vec![("k".into(), None), ("k/1".into(), Some(Bytes::new()))]).await.unwrap();
    assert_eq!(log.mark("k"), None);
    drop(log);
    let log = open(dir.path());
    assert_eq!(log.mark("k"), None);
    assert_eq!(log.marks_with_prefix("k/"), [("k/1".to_owned(), Bytes::new())]);
    assert_eq!(log.offsets(T, 1), Some((0, 52)));
}

#[tokio::test]
async fn marks_are_found_by_prefix() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let marks = ["a", "b/1", "b/2", "b0", "c"].map(|k| (k.to_owned(), Some(Bytes::copy_from_slice(k.as_bytes()))));
    log.append_atomic(vec![], marks.to_vec()).await.unwrap();
    let found: Vec<_> = log.marks_with_prefix("b/").into_iter().map(|(k, _)| k).collect();
    assert_eq!(found, ["b/1", "b/2"]);
    assert_eq!(log.marks_with_prefix("").len(), 5);
    let long = "k".repeat(crate::limits::MARK_KEY_BYTES + 1);
    let refused = log.append_atomic(vec![], vec![(long, None)]).await.unwrap_err();
    assert!(matches!(refused, AppendError::Limit(_)));
}

#[tokio::test]
async fn the_log_gives_timestamps_when_asked() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(5_000_000));
    let log = Log::open(options(dir.path()), clock).unwrap();
    let config = TopicConfig { timestamp_type: TimestampType::LogAppendTime, ..TopicConfig::default() };
    log.create_topic(TopicSpec { config, ..spec(T, 1) }).await.unwrap();
    let a = log.append(T, 0, batch(&["a", "b"]), true).await.unwrap();
    assert_eq!(a.log_append_time_ms, 5000);
    let bytes = log.read(T, 0, 0, 1000).unwrap().concat();
    let batch = crate::batch::Batch::parse(&bytes).unwrap();
    batch.verify().unwrap();
    let stamps: Vec<_> = batch.records().unwrap().map(|r| r.unwrap().timestamp_ms).collect();
    assert_eq!(stamps, [5000, 5000]);
    assert_eq!(log.offset_for_time(T, 0, 5000), Ok(Some((0, 5000))));
    assert_eq!(log.offset_for_time(T, 0, 5001), Ok(None));
}

#[tokio::test]
async fn a_time_that_no_row_can_have_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    log.create_topic(spec(T, 1)).await.unwrap();
    let config = TopicConfig { timestamp_type: TimestampType::LogAppendTime, ..TopicConfig::default() };
    log.create_topic(TopicSpec { config, ..spec(U, 1) }).await.unwrap();
    let nanoseconds = NOW_MS * 1_000_000;
    let of = |first_ms: i64| batch_with(&["a", "b"], first_ms, None, Compression::None);
    for far in [nanoseconds, KNOWN_MS.end - 1, KNOWN_MS.start - 1] {
        let refused = log.append(T, 0, of(far), true).await.unwrap_err();
        assert!(matches!(refused, AppendError::InvalidTimestamp(_)), "{far}: {refused}");
        let error = fleuve_types::Error::from(refused);
        assert_eq!(error.kind, ErrorKind::Input);
        // These get another time.
        log.append(U, 0, of(far), true).await.unwrap();
    }
    let refused = log.append(T, 0, of(nanoseconds), true).await.unwrap_err().to_string();
    assert!(refused.ends_with("as milliseconds is outside of the years 1 to 9999; is it in nanoseconds?"), "{refused}");
    assert_eq!(log.offsets(T, 0), Some((0, 0)));
    for known in [-1, KNOWN_MS.end - 2, KNOWN_MS.start] {
        log.append(T, 0, of(known), true).await.unwrap();
    }
    // Fleuve's own writers take over what is there.
    log.append_atomic(vec![(T, 0, of(nanoseconds))], vec![]).await.unwrap();
}

#[tokio::test]
async fn a_change_is_announced_after_it_can_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    log.create_topic(spec(T, 1)).await.unwrap();
    let mut changed = log.changed();
    changed.mark_unchanged();
    let reader = {
        let log = log.clone();
        tokio::spawn(async move {
            while log.offsets(T, 0) != Some((0, 1)) {
                changed.changed().await.unwrap();
            }
            values(&log, T, 0)
        })
    };
    log.append(T, 0, batch(&["seen"]), false).await.unwrap();
    assert_eq!(reader.await.unwrap(), ["seen"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_producers_at_once_lose_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(LogOptions { queue_bytes: 1 << 20, max_batch_bytes: 1 << 20, ..options(dir.path()) }, clock())
        .unwrap();
    log.create_topic(spec(T, 3)).await.unwrap();
    let producers: Vec<_> = (0..8)
        .map(|p| {
            let log = log.clone();
            tokio::spawn(async move {
                for i in 0..100 {
                    let value = format!("{p}-{i}");
                    let a = log.append(T, p % 3, batch(&[&value]), true).await.unwrap();
                    let read = read_all(&log, T, p % 3, a.base_offset, 1);
                    assert_eq!(read[0].1, value, "an acknowledged record can be read at once");
                }
            })
        })
        .collect();
    for p in producers {
        p.await.unwrap();
    }
    let mut all: Vec<_> = (0..3).flat_map(|p| values(&log, T, p)).collect();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 800);
}

#[tokio::test]
async fn producer_ids_are_never_given_twice() {
    let dir = tempfile::tempdir().unwrap();
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..3 {
        let log = open(dir.path());
        for _ in 0..1500 {
            assert!(seen.insert(log.next_producer_id().await.unwrap()));
        }
    }
}

#[tokio::test]
async fn a_closed_log_says_so_and_can_still_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    log.create_topic(spec(T, 1)).await.unwrap();
    log.append(T, 0, batch(&["a"]), true).await.unwrap();
    log.close().await.unwrap();
    assert!(matches!(log.append(T, 0, batch(&["b"]), true).await, Err(AppendError::Io(_))));
    assert!(log.create_topic(spec(U, 1)).await.is_err());
    assert_eq!(values(&log, T, 0), ["a"]);
    log.close().await.unwrap();
    assert_eq!(values(&open(dir.path()), T, 0), ["a"]);
}

#[tokio::test]
async fn after_a_failed_fdatasync_nothing_is_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(LogOptions { sync: true, ..options(dir.path()) }, clock()).unwrap();
    log.create_topic(spec(T, 1)).await.unwrap();
    log.append(T, 0, batch(&["kept"]), true).await.unwrap();
    log.shared().sync_fault.store(1, std::sync::atomic::Ordering::SeqCst);
    let mark = vec![("m".to_owned(), Some(Bytes::new()))];
    let failed = log.append_atomic(vec![(T, 0, batch(&["maybe"]))], mark).await.unwrap_err();
    assert!(matches!(&failed, AppendError::Io(why) if why.contains("injected")), "{failed}");
    assert_eq!((log.offsets(T, 0), log.mark("m")), (Some((0, 1)), None), "what is not durable is not seen");
    // The disk works again, but what the operating system did with the data is not known.
    log.shared().sync_fault.store(0, std::sync::atomic::Ordering::SeqCst);
    assert!(matches!(log.append(T, 0, batch(&["no"]), true).await, Err(AppendError::Io(_))));
    assert!(matches!(log.append_atomic_nowait(vec![], vec![("m".into(), None)]), Err(AppendError::Io(_))));
    assert_eq!(log.create_topic(spec(U, 1)).await.unwrap_err().kind, ErrorKind::Io);
    assert!(log.stats().has_failed && log.failure().is_some_and(|why| why.contains("injected")));
    assert_eq!(values(&log, T, 0), ["kept"]);
    assert!(log.close().await.is_err());
    let log = open(dir.path());
    assert!(values(&log, T, 0).starts_with(&["kept".to_owned()]));
    log.append(T, 0, batch(&["again"]), true).await.unwrap();
}

#[tokio::test]
async fn a_full_queue_refuses_what_does_not_wait() {
    let dir = tempfile::tempdir().unwrap();
    let log =
        Log::open(LogOptions { queue_bytes: 8192, max_batch_bytes: 8192, ..options(dir.path()) }, clock()).unwrap();
    log.create_topic(spec(T, 1)).await.unwrap();
    let value = "x".repeat(4000);
    let mut pending = Vec::new();
    // The writer may be quick; but a queue of a few batches fills up at some time.
    let refused = loop {
        match log.append_atomic_nowait(vec![(T, 0, batch(&[&value]))], vec![]) {
            Ok(p) => pending.push(p),
            Err(e) => break e,
        }
    };
    assert!(matches!(refused, AppendError::Busy));
    let count = pending.len() as i64;
    for p in pending {
        p.await.unwrap();
    }
    assert_eq!(log.offsets(T, 0), Some((0, count)));
}

#[tokio::test]
async fn a_writer_that_panics_leaves_nobody_waiting() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    log.create_topic(spec(T, 1)).await.unwrap();
    log.shared().sync_fault.store(2, std::sync::atomic::Ordering::SeqCst);
    let (a, b) = tokio::join!(log.append(T, 0, batch(&["a"]), true), log.append(T, 0, batch(&["b"]), true));
    assert!(matches!((a, b), (Err(AppendError::Io(_)), Err(AppendError::Io(_)))));
    assert!(matches!(log.append(T, 0, batch(&["c"]), true).await, Err(AppendError::Io(_))));
    assert!(log.close().await.is_err());
}

/// Many appends first polled in one poll of a task: more than tokio lets a task do before it has to yield.
#[tokio::test]
async fn appends_are_written_in_the_order_of_their_first_polls() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(LogOptions { wal_bytes: 1 << 20, ..options(dir.path()) }, clock()).unwrap();
    log.create_topic(spec(T, 1)).await.unwrap();
    let mut waiting: Vec<_> = (0..500).map(|_| Box::pin(log.append(T, 0, batch(&["x"]), true))).collect();
    let mut offsets = vec![None; waiting.len()];
    std::future::poll_fn(|cx| {
        for (i, append) in waiting.iter_mut().enumerate() {
            if let Poll::Ready(done) = append.as_mut().poll(cx) {
                offsets[i] = Some(done.unwrap().base_offset);
            }
        }
        Poll::Ready(())
    })
    .await;
    // Backwards, so that only the first polls can give the order.
    for (i, append) in waiting.into_iter().enumerate().rev() {
        if offsets[i].is_none() {
            offsets[i] = Some(append.await.unwrap().base_offset);
        }
    }
    assert!(offsets.iter().enumerate().all(|(i, o)| *o == Some(i as i64)), "{offsets:?}");
}
