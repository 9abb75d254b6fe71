//! A partition that falls silent does not hold the watermark back for ever, and what was decided by the clock stays decided.

use std::collections::BTreeMap;

use super::world::{DELAY_S, IDLE_US, Row, World};

const COUNTS: &str = "SELECT date_bin(INTERVAL '10 seconds', ts) AS w, count(*) AS n FROM s0 GROUP BY w";

fn rows(times: &[i64]) -> Vec<Row> {
    times.iter().map(|t| (0, 0, *t)).collect()
}

fn counts(of: &[(i64, i64)]) -> BTreeMap<String, i64> {
    of.iter().map(|(start, n)| (format!("1970-01-01T00:{:02}:{:02}|{n}", start / 60, start % 60), 1)).collect()
}

async fn case(crashes: bool, checkpoints: bool) {
    let mut world = World::empty();
    world.start(2).await;
    world.create("c0", COUNTS).await;
    let disturb = async |world: &mut World| {
        if checkpoints {
            world.checkpoint().await;
        }
        if crashes {
            world.crash(1).await;
        }
    };
    // The other partition has nothing yet: it holds the watermark back.
    world.append_rows(0, &rows(&[3, 14, 15 + DELAY_S]));
    world.wait().await;
    assert_eq!(world.view("c0"), counts(&[]));
    assert_eq!(world.time(), (None, 0));
    disturb(&mut world).await;
    world.advance(IDLE_US, 15).await;
    assert_eq!(world.view("c0"), counts(&[(0, 1)]));
    disturb(&mut world).await;
    assert_eq!(world.time(), (Some(15), 0));
    // It wakes up: 12 and 3 are behind the watermark; 16 is not.
    world.append_rows(1, &rows(&[12, 16, 3]));
    world.wait().await;
    assert_eq!(world.time(), (Some(15), 2));
    disturb(&mut world).await;
    // Now it holds back again: 16 - 5 is its promise, but what was promised before stays.
    world.append_rows(0, &rows(&[31 + DELAY_S]));
    world.wait().await;
    assert_eq!(world.time(), (Some(15), 2));
    assert_eq!(world.view("c0"), counts(&[(0, 1)]));
    world.append_rows(1, &rows(&[32 + DELAY_S]));
    world.wait().await;
    assert_eq!(world.time(), (Some(31), 2));
    let closed = counts(&[(0, 1), (10, 2), (20, 1)]);
    assert_eq!(world.view("c0"), closed);
    disturb(&mut world).await;
    assert_eq!(world.view("c0"), closed);
    // A view that is made now leaves out the same rows.
    world.create("c1", COUNTS).await;
    world.wait().await;
    assert_eq!(world.view("c1"), closed);
    world.stop().await;
}

/// Once all partitions are silent, the watermark is the greatest of their promises, and time does not move it further.
async fn ended_case(crashes: bool) {
    let mut world = World::empty();
    world.start(2).await;
    world.create("c0", COUNTS).await;
    world.append_rows(0, &rows(&[3, 15 + DELAY_S]));
    world.append_rows(1, &rows(&[4, 11 + DELAY_S]));
    world.wait().await;
    let first = counts(&[(0, 2)]);
    assert_eq!((world.time(), world.view("c0")), ((Some(11), 0), first.clone()));
    world.advance(IDLE_US, 15).await;
    if crashes {
        world.crash(1).await;
    }
    for _ in 0..3 {
        world.pass(100 * IDLE_US);
        world.engine().checkpoint().await.unwrap();
        assert_eq!((world.time(), world.view("c0")), ((Some(15), 0), first.clone()));
    }
    // A later row in any partition ends it; the other one is still silent.
    world.append_rows(1, &rows(&[30 + DELAY_S]));
    world.wait().await;
    let closed = counts(&[(0, 2), (10, 1), (20, 1)]);
    assert_eq!((world.time(), world.view("c0")), ((Some(30), 0), closed));
    world.stop().await;
}

/// Somebody says that a stream is complete up to a time.
async fn said_case(crashes: bool, checkpoints: bool) {
    let mut world = World::empty();
    world.start(2).await;
    world.create("c0", COUNTS).await;
    let disturb = async |world: &mut World| {
        if checkpoints {
            world.checkpoint().await;
        }
        if crashes {
            world.crash(1).await;
        }
    };
    let s0 = super::world::id("s0");
    world.append_rows(0, &rows(&[3, 14, 15 + DELAY_S]));
    world.wait().await;
    assert_eq!((world.time(), world.view("c0")), ((None, 0), counts(&[])));
    world.engine().advance_watermark(s0, 20).await.unwrap();
    assert_eq!((world.time(), world.view("c0")), ((Some(20), 0), counts(&[(0, 1), (10, 1)])));
    disturb(&mut world).await;
    // It does not go back, and what comes below it is late, in the partition that had rows, too.
    world.engine().advance_watermark(s0, 7).await.unwrap();
    assert_eq!(world.time(), (Some(20), 0));
    world.append_rows(1, &rows(&[19, 25]));
    world.append_rows(0, &rows(&[13, 26]));
    world.wait().await;
    assert_eq!(world.time(), (Some(20), 2));
    disturb(&mut world).await;
    world.engine().advance_watermark(s0, 30).await.unwrap();
    let closed = counts(&[(0, 1), (10, 1), (20, 3)]);
    assert_eq!(world.view("c0"), closed);
    disturb(&mut world).await;
    assert_eq!((world.time().1, world.view("c0")), (2, closed.clone()));
    // A view that is made now leaves out the same rows.
    world.create("c1", COUNTS).await;
    world.wait().await;
    assert_eq!(world.view("c1"), closed);
    let error = world.engine().advance_watermark(super::world::id("none"), 1).await.unwrap_err();
    assert!(error.message.contains("not there"), "{error}");
    world.stop().await;
}

/// What was there when it was said is on time, however many epochs it takes; and who was told has it after a crash.
async fn said_early(view: bool) {
    let mut world = World::empty();
    world.start(2).await;
    if view {
        world.create("c0", COUNTS).await;
    }
    let many: Vec<i64> = (0..400).map(|n| n / 40).collect();
    world.append_rows(0, &rows(&many));
    world.append_rows(1, &rows(&many));
    let s0 = super::world::id("s0");
    world.engine().advance_watermark(s0, 20).await.unwrap();
    assert_eq!(world.time(), (Some(20), 0));
    if view {
        assert_eq!(world.view("c0"), counts(&[(0, 800)]));
    }
    world.crash(1).await;
    world.wait().await;
    assert_eq!(world.time(), (Some(20), 0));
    world.append_rows(1, &rows(&[19, 21]));
    world.wait().await;
    assert_eq!(world.time(), (Some(20), 1));
    world.stop().await;
}

#[test]
fn what_was_there_before_is_on_time() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    [true, false].into_iter().for_each(|view| runtime.block_on(said_early(view)));
}

#[test]
fn the_last_window_of_a_stream_that_has_ended_stays_open() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    [false, true].into_iter().for_each(|crashes| runtime.block_on(ended_case(crashes)));
}

#[test]
fn a_stream_that_is_said_to_be_complete_is() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    for (crashes, checkpoints) in [(false, false), (false, true), (true, false), (true, true)] {
        runtime.block_on(said_case(crashes, checkpoints));
    }
}

#[test]
fn a_silent_partition_is_passed_over_and_its_late_rows_stay_late() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    for (crashes, checkpoints) in [(false, false), (false, true), (true, false), (true, true)] {
        runtime.block_on(case(crashes, checkpoints));
    }
}
