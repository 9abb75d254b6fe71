//! The log as its users see it, on real files.

mod append;
mod idempotence;
mod random;
mod recovery;
mod segments;

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use fleuve_types::{ManualClock, ObjectId};

use crate::batch::{BatchBuilder, Batches, Compression, NewRecord, ProducerSequence};
use crate::{Log, LogOptions, TopicConfig, TopicSpec};

const T: ObjectId = ObjectId(1);
const U: ObjectId = ObjectId(2);
/// 2023-11-14; the clock of the tests stands here.
const NOW_MS: i64 = 1_700_000_000_000;

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::new(NOW_MS * 1000))
}

/// Small files, so that a test sees them roll; no fdatasync, since no test cuts the power.
fn options(dir: &Path) -> LogOptions {
    LogOptions { wal_bytes: 4096, segment_bytes: 8192, sync: false, ..LogOptions::new(dir) }
}

fn open(dir: &Path) -> Log {
    Log::open(options(dir), clock()).unwrap()
}

fn spec(id: ObjectId, partitions: i32) -> TopicSpec {
    TopicSpec { id, partitions, config: TopicConfig::default() }
}

/// A batch with a record for each value, timestamps counting up from `NOW_MS`.
fn batch(values: &[&str]) -> Bytes {
    batch_with(values, NOW_MS, None, Compression::None)
}

fn batch_with(values: &[&str], from_ms: i64, producer: Option<ProducerSequence>, compression: Compression) -> Bytes {
    let mut b = BatchBuilder::new().compression(compression);
    if let Some(producer) = producer {
        b = b.producer(producer);
    }
    for (i, v) in values.iter().enumerate() {
        let record = NewRecord { timestamp_ms: from_ms + i as i64, value: Some(v.as_bytes()), ..NewRecord::default() };
        b.push(&record).unwrap();
    }
    b.build().unwrap()
}

/// All records from an offset to the end, as (offset, value). Checks checksums and that offsets have no gaps.
fn read_all(log: &Log, id: ObjectId, partition: i32, from: i64, max_bytes: usize) -> Vec<(i64, String)> {
    let mut out = Vec::new();
    let mut next = from;
    loop {
        let slice = log.read(id, partition, next, max_bytes).unwrap();
        if slice.batches.is_empty() {
            assert_eq!(next.max(from), slice.high_watermark, "a read ended before the end");
            return out;
        }
        for batch in slice.batches.into_iter().flat_map(Batches::new) {
            let batch = batch.unwrap();
            batch.verify().unwrap();
            assert!(batch.header().last_offset() >= next);
            assert!(batch.header().base_offset <= next, "a gap before {}", batch.header().base_offset);
            for r in batch.records().unwrap() {
                let r = r.unwrap();
                if r.offset >= next {
                    out.push((r.offset, String::from_utf8(r.value.unwrap().to_vec()).unwrap()));
                }
            }
            next = batch.header().last_offset() + 1;
        }
    }
}

fn values(log: &Log, id: ObjectId, partition: i32) -> Vec<String> {
    let (start, _) = log.offsets(id, partition).unwrap();
    read_all(log, id, partition, start, 1 << 20).into_iter().map(|(_, v)| v).collect()
}

fn segment_files(dir: &Path) -> usize {
    let topics = std::fs::read_dir(dir.join("segments")).unwrap();
    topics.map(|t| std::fs::read_dir(t.unwrap().path()).unwrap().count()).sum()
}

fn wal_files(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut files: Vec<_> = std::fs::read_dir(dir.join("wal")).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    files
}
