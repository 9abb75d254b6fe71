//! An engine that is ended again and again: what it repeats stays little.

use fleuve_types::ErrorKind;

use crate::world::{Fault, Random, World, id};

const SUMS: &str = "SELECT k, count(*) AS n, sum(v) AS s FROM s0 GROUP BY k";
/// No checkpoint comes by itself, but for the first.
const NEVER_MS: u64 = 3_600_000;

fn push(world: &mut World, rows: i64) {
    for n in 0..rows {
        world.push("s0", (n % 7, n % 5));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn so_many_rows_are_in_a_checkpoint_however_little_time_has_passed() {
    let mut world = World::new(&mut Random::new(1));
    world.options.checkpoint_interval_ms = NEVER_MS;
    world.options.checkpoint_rows = 50;
    world.start(2).await;
    world.create("v0", SUMS).await;
    world.checkpoint().await;
    for _ in 0..5 {
        let before = world.saved().unwrap().epoch;
        push(&mut world, 60);
        world.wait().await;
        world.saves(|s| s.epoch > before).await;
        world.take_reads("s0");
        world.crash(1).await;
        assert!(world.take_reads("s0") < 60 + 50);
        assert_eq!(world.view("v0"), world.batch("v0").await);
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_that_does_not_end_is_not_begun_anew() {
    let mut world = World::new(&mut Random::new(2));
    world.options.checkpoint_interval_ms = NEVER_MS;
    world.options.checkpoint_rows = 50;
    world.start(2).await;
    world.create("v0", SUMS).await;
    world.add_sink("v0").await;
    // Epochs that are in the journal only.
    world.fill_disk(true);
    for n in 0..10 {
        push(&mut world, 20);
        if n == 8 {
            world.push("s0", (1, 77));
        }
        world.wait().await;
    }
    let before = world.saved().unwrap().epoch;
    world.halt().await;
    world.fill_disk(false);
    world.break_stream("s0", Some((77, Fault::Retry)));
    let error = world.try_start(2).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Retry, "{error}");
    assert!(world.saved().unwrap().epoch > before);
    world.break_stream("s0", None);
    world.take_reads("s0");
    world.start(1).await;
    assert!(world.take_reads("s0") < 100, "the replay began where the one before was");
    assert_eq!(world.view("v0"), world.batch("v0").await);
    assert_eq!(world.sunk(), world.view("v0"));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_build_is_in_a_checkpoint_at_once() {
    let mut world = World::empty();
    world.options.checkpoint_interval_ms = NEVER_MS;
    world.start(2).await;
    world.checkpoint().await;
    push(&mut world, 12_000);
    world.wait().await;
    world.create("v0", SUMS).await;
    world.saves(|s| s.views.iter().any(|v| v.id == id("v0"))).await;
    world.take_reads("s0");
    world.crash(2).await;
    assert!(world.take_reads("s0") == 0, "nothing is built again");
    assert_eq!(world.view("v0"), world.batch("v0").await);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sink_that_had_not_begun_gets_the_answer_first() {
    let mut world = World::new(&mut Random::new(3));
    world.skip("v1", SUMS);
    world.start(2).await;
    // A view with dead letters: its epochs are in the journal.
    world.create("v1", SUMS).await;
    world.create("v0", SUMS).await;
    push(&mut world, 10);
    world.wait().await;
    world.fill_disk(true);
    push(&mut world, 10);
    world.wait().await;
    world.halt().await;
    world.fill_disk(false);
    world.declare_sink("v0");
    world.start(1).await;
    push(&mut world, 10);
    world.wait().await;
    assert_eq!(world.sunk(), world.view("v0"));
    world.stop().await;
}

/// Names that the optimizer makes up are a part of what tells a state.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn state_of_views_with_subqueries_is_found_again() {
    let mut world = World::new(&mut Random::new(3));
    world.start(2).await;
    for (name, least) in [("v0", 1), ("v1", 2), ("v2", 0)] {
        let having = format!("SELECT k FROM s1 GROUP BY k HAVING count(*) > {least}");
        let query = format!("SELECT k, v FROM s0 WHERE k IN ({having}) AND v IN (SELECT v FROM s1 GROUP BY v)");
        world.create(name, Box::leak(query.into_boxed_str())).await;
    }
    push(&mut world, 30);
    world.wait().await;
    world.checkpoint().await;
    world.take_reads("s0");
    world.crash(2).await;
    assert_eq!(world.take_reads("s0"), 0);
    for name in ["v0", "v1", "v2"] {
        assert_eq!(world.view(name), world.batch(name).await, "{name}");
    }
    world.stop().await;
}

/// It may have happened: what the catalog then names stays as it is until another checkpoint is done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_whose_answer_is_lost_is_no_trap() {
    for writes in 0..6 {
        let mut world = World::new(&mut Random::new(3));
        world.options.checkpoint_interval_ms = NEVER_MS;
        world.start(1).await;
        world.create("v0", SUMS).await;
        push(&mut world, 20);
        world.wait().await;
        world.checkpoint().await;
        push(&mut world, 3);
        world.wait().await;
        world.lose_an_answer();
        world.engine().checkpoint().await.unwrap_err();
        world.dies_after(writes);
        let _ = world.engine().checkpoint().await;
        world.crash(1).await;
        assert_eq!(world.view("v0"), world.batch("v0").await, "{writes} writes");
        push(&mut world, 3);
        world.wait().await;
        world.checkpoint().await;
        assert_eq!(world.unnamed_files(), Vec::<String>::new(), "{writes} writes");
        world.stop().await;
    }
}

/// A view's state that cannot be written is in no checkpoint, and no other view's is without it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkpoint_has_the_state_of_all_views_or_is_none() {
    let mut world = World::empty();
    world.read_more_at_once(195);
    world.options.checkpoint_interval_ms = NEVER_MS;
    world.options.budget_bytes = 192 << 10;
    world.start(2).await;
    let groups = "SELECT count(*) AS g, sum(n) AS n FROM (SELECT k, count(*) AS n FROM s0 GROUP BY k)";
    world.create("v0", groups).await;
    world.create("v1", SUMS).await;
    let rows = |from: i64, to: i64| (from..to).map(|n| (n * 7_919 % 3_000, n % 5, 100)).collect::<Vec<_>>();
    world.append_rows(0, &rows(0, 3_000));
    world.wait().await;
    world.checkpoint().await;
    assert!(!world.run_files().is_empty());
    let before = world.saved().unwrap().epoch;
    world.append_rows(0, &rows(3_000, 3_010));
    world.wait().await;
    world.has_room_for_runs(false);
    world.engine().checkpoint().await.unwrap_err();
    assert_eq!(world.saved().unwrap().epoch, before);
    world.has_room_for_runs(true);
    world.crash(2).await;
    for name in ["v0", "v1"] {
        assert_eq!(world.view(name), world.batch(name).await);
    }
    world.append_rows(0, &rows(3_010, 3_020));
    world.wait().await;
    world.has_room_for_runs(false);
    world.engine().checkpoint().await.unwrap_err();
    world.has_room_for_runs(true);
    world.checkpoint().await;
    world.crash(1).await;
    for name in ["v0", "v1"] {
        assert_eq!(world.view(name), world.batch(name).await);
    }
    world.stop().await;
}

/// What a checkpoint writes of a few rows that change again and again is those rows, not all that happened to them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_change_all_the_time_are_saved_as_they_are_now() {
    let mut world = World::new(&mut Random::new(4));
    world.options.checkpoint_interval_ms = NEVER_MS;
    world.start(2).await;
    world.create("v0", SUMS).await;
    // It has no row at a time.
    world.create("v1", "SELECT k, n FROM (SELECT k, count(*) AS n FROM s0 GROUP BY k) WHERE n < 10").await;
    let mut sizes = vec![];
    for part in 0..4 {
        for n in 0..200 {
            world.push("s0", (n % 7, 1));
            if part > 0 {
                world.wait().await;
            }
        }
        world.wait().await;
        world.checkpoint().await;
        sizes.push(world.state_bytes("v0"));
        world.crash(1 + part % 2).await;
        for name in ["v0", "v1"] {
            assert_eq!(world.view(name), world.batch(name).await, "{name}");
        }
    }
    assert!(sizes.iter().all(|bytes| *bytes < 4 * sizes[0] + 8_192), "{sizes:?}");
    world.stop().await;
}
