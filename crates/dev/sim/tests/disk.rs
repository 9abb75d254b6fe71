//! What the log owes to its readers when the process, the machine or the disk fails: single cases, on the simulated disk.

#![allow(clippy::unwrap_used)] // a test: what does not hold is to be seen at once

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use fleuve_log::batch::{BatchBuilder, NewRecord};
use fleuve_log::{Log, LogOptions, TopicConfig, TopicSpec};
use fleuve_sim::disk::{Fault, Lies, SimDisk};
use fleuve_sim::random::Random;
use fleuve_types::{ManualClock, ObjectId};
use futures::executor::block_on;

const TOPIC: ObjectId = ObjectId(7);

fn disk(seed: u64) -> SimDisk {
    SimDisk::new(Random::new(seed), Path::new("/data"), Lies::default())
}

fn open(disk: &SimDisk) -> Log {
    let options = LogOptions { disk: Arc::new(disk.clone()), stepped: true, ..LogOptions::new("/data/log") };
    Log::open(options, Arc::new(ManualClock::new(0))).unwrap()
}

fn batch(value: &str) -> Bytes {
    let mut builder = BatchBuilder::new();
    builder.push(&NewRecord { value: Some(value.as_bytes()), ..NewRecord::default() }).unwrap();
    builder.build().unwrap()
}

fn with_topic(disk: &SimDisk) -> Log {
    let log = open(disk);
    block_on(log.create_topic(TopicSpec { id: TOPIC, partitions: 1, config: TopicConfig::default() })).unwrap();
    block_on(log.append(TOPIC, 0, batch("first"), true)).unwrap();
    log
}

fn end(log: &Log) -> i64 {
    log.offsets(TOPIC, 0).unwrap().1
}

#[test]
fn a_new_log_does_not_vanish_with_its_folder() {
    for seed in 0..60 {
        let disk = disk(seed);
        with_topic(&disk);
        assert_eq!(end(&open(&disk.cut_power())), 1, "seed {seed}");
    }
}

/// A process that is killed between write and sync leaves records that the next one finds. Once that one shows them, they stay.
#[test]
fn what_was_read_after_a_kill_is_there_after_a_loss_of_power() {
    for seed in 0..60 {
        let disk = disk(seed);
        let log = with_topic(&disk);
        disk.arm(1, Fault::Sync);
        block_on(log.append(TOPIC, 0, batch("second"), true)).unwrap_err();
        let disk = disk.kill();
        let seen = end(&open(&disk));
        let log = open(&disk.cut_power());
        assert!(end(&log) >= seen, "seed {seed}: {seen} were seen");
    }
}

/// A failed sync makes the system take bytes for written that are not; what is appended behind them later must not make a hole.
#[test]
fn a_failed_sync_makes_no_hole() {
    for seed in 0..60 {
        let disk = disk(seed);
        let log = with_topic(&disk);
        disk.arm(1, Fault::Sync);
        block_on(log.append(TOPIC, 0, batch("second"), true)).unwrap_err();
        let disk = disk.kill();
        let log = open(&disk);
        let appended = block_on(log.append(TOPIC, 0, batch("third"), true)).unwrap();
        assert_eq!(end(&open(&disk.cut_power())), appended.last_offset + 1, "seed {seed}");
    }
}

#[test]
fn appends_that_wait_side_by_side_are_one_group() {
    let disk = disk(1);
    let log = with_topic(&disk);
    let before = log.stats().group_commits;
    let all = (0..5).map(|n| log.append(TOPIC, 0, batch(&n.to_string()), true));
    let appended = block_on(futures::future::try_join_all(all)).unwrap();
    assert_eq!(appended.iter().map(|a| a.base_offset).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    assert_eq!(log.stats().group_commits, before + 1);
}
