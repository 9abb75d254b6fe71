//! Builds that are under way: asked for once more, given up, waited for by others.

use std::time::Duration;

use fleuve_types::ErrorKind;

use crate::world::{World, id};

/// What a stream holds by now has been taken in.
async fn taken(world: &World, stream: &str) {
    world.engine().wake();
    world.engine().wait_for(id(stream), 0, world.ends(stream)[0]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_view_that_is_being_built_is_not_resumed_once_more() {
    let mut world = World::empty();
    world.start(2).await;
    world.create("v0", "SELECT k, 12 / v AS q FROM s0").await;
    world.push("s0", (1, 0));
    world.wait().await;
    assert!(!world.is_running("v0"));
    world.truncate("s0");
    world.push("s0", (4, 2));
    world.wait().await;
    world.hold_builds("s0");
    let engine = world.engine().clone();
    let first = tokio::spawn(async move { engine.resume_view(id("v0")).await });
    world.builds_came("s0", 1).await;
    let second = tokio::time::timeout(Duration::from_secs(60), world.engine().resume_view(id("v0"))).await;
    let error = second.expect("it does not wait").unwrap_err();
    assert!(error.kind == ErrorKind::Retry && error.message.contains("being built"), "{error}");
    world.let_builds_read("s0", None);
    first.await.unwrap().unwrap();
    world.check("resumed").await;
    world.stop().await;
}

/// What changed since a round began is noted for that round, and is no other's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_round_of_a_build_that_was_begun_anew_is_not_taken() {
    const QUERY: &str = "SELECT d.k, d.n, x.v FROM d JOIN s1 x ON x.v = d.n";
    let mut world = World::empty();
    world.start(2).await;
    world.create("d", "SELECT k, count(*) AS n FROM s0 GROUP BY k").await;
    (1..5).for_each(|v| world.push("s1", (v, v)));
    world.push("s0", (1, 1));
    world.wait().await;
    world.hold_builds("s1");
    let first = world.begin_to_create("v", QUERY).await;
    world.builds_came("s1", 1).await;
    // Noted for the first round only.
    (2..4).for_each(|k| world.push("s0", (k, 1)));
    taken(&world, "s0").await;
    world.drop_view("v").await;
    assert!(first.await.unwrap().is_err());
    let mut second = world.begin_to_create("v", QUERY).await;
    world.builds_came("s1", 2).await;
    world.let_builds_read("s1", Some(1));
    let ended = tokio::time::timeout(Duration::from_millis(300), &mut second).await;
    assert!(ended.is_err(), "by the round of the first: {ended:?}");
    world.let_builds_read("s1", None);
    second.await.unwrap().unwrap();
    world.check("the second").await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_build_that_nobody_waits_for_any_more_ends() {
    const ROWS: usize = 2_000;
    let mut world = World::empty();
    world.start(2).await;
    (0..ROWS as i64).for_each(|n| world.push("s1", (n, n)));
    taken(&world, "s1").await;
    world.hold_builds("s1");
    let build = world.begin_to_create("v", "SELECT k, v FROM s1").await;
    world.builds_came("s1", 1).await;
    world.take_reads("s1");
    world.drop_view("v").await;
    assert!(build.await.unwrap().is_err());
    world.let_builds_read("s1", None);
    tokio::time::sleep(Duration::from_millis(300)).await;
    let read = world.take_reads("s1");
    assert!(read < ROWS / 2, "it read on: {read} rows");
    world.stop().await;
}
