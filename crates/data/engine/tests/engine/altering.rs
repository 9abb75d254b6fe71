//! A stream gets other columns while views read it, and the process dies after any of its writes: the views go on with what they
//! have. That they do not read the stream again is shown by records that are gone.

use crate::world::{Random, World};

const WIDER: &[&str] = &["extra", "k", "v", "more", "ts"];
const NARROWER: &[&str] = &["ts", "k"];
const OTHER_ORDER: &[&str] = &["v", "k", "ts"];

const VIEWS: [(&str, &str); 5] = [
    ("v0", "SELECT k, count(*) AS n, sum(v) AS s FROM s0 GROUP BY k"),
    ("v1", "SELECT a.k, a.v, b.v AS w FROM s0 a JOIN s1 b ON a.k = b.k"),
    ("v2", "SELECT n, count(*) AS c FROM v0 GROUP BY n"),
    ("v3", "SELECT approx_median(v) AS m FROM s0"),
    ("c0", "SELECT ts, count(*) AS n, max(v) AS m FROM s0 GROUP BY ts"),
];

async fn begun(random: &mut Random, shards: usize) -> World {
    let mut world = World::new(random);
    world.start(shards).await;
    for (name, query) in VIEWS {
        world.create(name, query).await;
    }
    world.add_sink("v0").await;
    world.append(random);
    world.wait().await;
    world
}

/// Two worlds with the same rows, of which one gets other columns; it dies after so many writes (in most runs after the last).
async fn altered(seed: u64, writes: i64) {
    let mut random = (Random::new(seed), Random::new(seed));
    let mut world = begun(&mut random.0, 2).await;
    let mut other = begun(&mut random.1, 1).await;
    world.checkpoint().await;
    // What is in no view cannot come back.
    world.truncate("s0");
    world.dies_after(writes);
    world.alter("s0", WIDER).await.unwrap();
    world.append(&mut random.0);
    other.append(&mut random.1);
    world.halt().await;
    world.start(1).await;
    world.append(&mut random.0);
    other.append(&mut random.1);
    world.wait().await;
    other.wait().await;
    for (name, _) in VIEWS {
        assert!(world.is_running(name), "seed {seed}, {writes} writes: {name}");
        assert_eq!(world.view(name), other.view(name), "seed {seed}, {writes} writes: {name}");
    }
    assert_eq!(world.sunk(), world.view("v0"), "seed {seed}, {writes} writes: the sink");
    // Back again, without a crash.
    world.truncate("s0");
    world.alter("s0", &["k", "v", "ts"]).await.unwrap();
    world.append(&mut random.0);
    other.append(&mut random.1);
    world.wait().await;
    other.wait().await;
    for (name, _) in VIEWS {
        assert_eq!(world.view(name), other.view(name), "seed {seed}, {writes} writes: {name} in the end");
    }
    world.stop().await;
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn views_go_on_with_their_state_whenever_the_process_dies() {
    for seed in 1..13 {
        altered(seed, (seed as i64 - 1) % 8).await;
    }
    altered(100, i64::MAX).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_that_would_not_go_on_keeps_the_columns_as_they_are() {
    let mut random = Random::new(5);
    let mut world = begun(&mut random, 1).await;
    let error = world.alter("s1", OTHER_ORDER).await.unwrap_err();
    assert!(error.message.contains("view public.v1 would not go on with its state"), "{error}");
    // `v` is asked for, and is no more: whoever gives the definitions finds that.
    let engine = world.engine().clone();
    let error = engine.alter_stream(crate::world::id("s0"), world.reader_by("s0", NARROWER), vec![]).await.unwrap_err();
    assert!(error.message.contains("has no definition over its new columns"), "{error}");
    world.append(&mut random);
    world.wait().await;
    for name in ["v0", "v1", "v2"] {
        assert_eq!(world.view(name), world.batch(name).await, "{name}");
    }
    world.stop().await;
}

/// Where one column stood another one stands now: a replacement that keeps state knows them by where they stand.
#[tokio::test(flavor = "multi_thread")]
async fn a_view_that_is_replaced_afterwards_keeps_what_is_the_same_and_nothing_else() {
    let mut random = Random::new(9);
    let mut world = World::new(&mut random);
    world.start(2).await;
    world.create("v0", "SELECT v AS g, count(*) AS n, max(ts) AS t FROM s0 GROUP BY v").await;
    world.create("v1", "SELECT v AS g, count(*) AS n FROM s0 GROUP BY v").await;
    world.append(&mut random);
    world.wait().await;
    world.alter("s0", WIDER).await.unwrap();
    world.create("v0", "SELECT k AS g, count(*) AS n, max(ts) AS t FROM s0 GROUP BY k").await;
    world.create("v1", "SELECT g, n FROM (SELECT v AS g, count(*) AS n FROM s0 GROUP BY v) WHERE n > 1").await;
    world.append(&mut random);
    world.wait().await;
    for name in ["v0", "v1"] {
        assert_eq!(world.view(name), world.batch(name).await, "{name}");
    }
    world.stop().await;
}
