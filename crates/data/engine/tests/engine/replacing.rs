//! A view with a sink is replaced, or built anew after it stopped, and the process dies after any of its writes: the sink gets the
//! difference once.

use std::time::Duration;

use crate::world::{Random, World, id};

const BEFORE: &str = "SELECT k, count(*) AS n, sum(v) AS s FROM s0 GROUP BY k";
const AFTER: &str = "SELECT k, count(*) AS n, max(v) AS s FROM s0 WHERE v <> 1 GROUP BY k";
/// Keeps the groups.
const KEEPING: &str = "SELECT k, count(*) AS n, sum(v) AS s FROM s0 GROUP BY k HAVING count(*) > 1";
const FAILING: &str = "SELECT k, sum(12 / v) AS q, count(*) AS n FROM s0 GROUP BY k";

/// Writes of all kinds that the whole replacement takes, and some after it.
const WRITES: i64 = 24;

async fn replaced(writes: i64, after: &'static str, hot_bytes: usize) {
    let mut random = Random::new(writes as u64 + 1);
    let mut world = World::new(&mut random);
    world.options.hot_bytes = hot_bytes;
    world.start(1 + random.below(2)).await;
    world.create("v0", BEFORE).await;
    world.create("v1", "SELECT n, count(*) AS c FROM v0 GROUP BY n").await;
    // On the view itself, or on one that reads it.
    let sunk = if random.below(2) == 0 { "v0" } else { "v1" };
    world.add_sink(sunk).await;
    world.append(&mut random);
    world.wait().await;
    world.dies_after(writes);
    world.append(&mut random);
    let _ = world.try_create("v0", after).await;
    world.append(&mut random);
    tokio::time::sleep(Duration::from_millis(random.below(20) as u64)).await;
    world.halt().await;
    // As the server does it: what the checkpoint holds goes on, and is then replaced.
    let (query, version) = if world.saved_version("v0") == Some(1) { (BEFORE, 1) } else { (after, 2) };
    world.define_first("v0", query, version);
    world.start(1 + random.below(2)).await;
    if version == 1 {
        world.create("v0", after).await;
    }
    world.append(&mut random);
    world.wait().await;
    for name in ["v0", "v1"] {
        assert_eq!(world.view(name), world.batch(name).await, "{writes} writes: {name}");
    }
    assert_eq!(world.sunk(), world.view(sunk), "{writes} writes: the sink on {sunk}");
    world.stop().await;
}

async fn resumed(writes: i64) {
    let mut random = Random::new(writes as u64 + 100);
    let mut world = World::empty();
    world.start(1).await;
    world.create("v0", FAILING).await;
    world.add_sink("v0").await;
    for k in 0..4 {
        world.push("s0", (k, 3 + k));
    }
    world.wait().await;
    world.push("s0", (1, 0));
    world.wait().await;
    assert!(!world.is_running("v0"));
    // Rows that no checkpoint holds cannot be read again once they are gone.
    world.checkpoint().await;
    // What it fails for goes, and with it the rest: the answer anew is another one.
    world.truncate("s0");
    world.push("s0", (7, 4));
    world.wait().await;
    world.dies_after(writes);
    let _ = world.engine().resume_view(id("v0")).await;
    tokio::time::sleep(Duration::from_millis(random.below(20) as u64)).await;
    world.halt().await;
    world.start(1).await;
    if !world.is_running("v0") {
        world.engine().resume_view(id("v0")).await.unwrap();
    }
    world.push("s0", (8, 2));
    world.wait().await;
    assert!(world.is_running("v0"));
    assert_eq!(world.view("v0").len(), 2, "{writes} writes");
    assert_eq!(world.sunk(), world.view("v0"), "{writes} writes: the sink");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sink_gets_a_replacements_difference_once_whenever_the_process_dies() {
    for writes in 0..WRITES {
        replaced(writes, AFTER, usize::MAX).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sink_gets_the_difference_once_of_a_view_that_keeps_its_state_whenever_the_process_dies() {
    for writes in 0..WRITES {
        replaced(writes, KEEPING, if writes % 2 == 0 { 0 } else { usize::MAX }).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sink_gets_the_difference_of_a_view_built_anew_once_whenever_the_process_dies() {
    for writes in 0..WRITES {
        resumed(writes).await;
    }
}

/// The new version is in a checkpoint when the replacement is done: after a crash the view goes on, and so does its sink.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_view_that_means_the_same_goes_on_after_a_crash() {
    let query = "SELECT k, count(*) AS n FROM s0 GROUP BY k";
    for seed in 0..10 {
        let mut random = Random::new(seed);
        let mut world = World::new(&mut random);
        world.options.checkpoint_interval_ms = 1_000_000_000;
        world.start(2).await;
        world.create("v0", query).await;
        world.add_sink("v0").await;
        world.append(&mut random);
        world.create("v0", query).await;
        let version = world.saved_version("v0");
        world.crash(1).await;
        assert_eq!(version, Some(2), "seed {seed}");
        world.wait().await;
        assert_eq!(world.sunk(), world.view("v0"), "seed {seed}");
        world.stop().await;
    }
}
