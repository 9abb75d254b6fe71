//! What cannot go on now: sinks, dead letters, subscribers, the journal, builds. The views go on, and what waits stays little.

use std::sync::atomic::Ordering;

use fleuve_engine::ChangesEnd;
use fleuve_types::ErrorKind;

use crate::world::{Random, World, id};

const SUMS: &str = "SELECT k, count(*) AS n, sum(v) AS s FROM s0 GROUP BY k";
const RATIOS: &str = "SELECT k, 12 / v AS q FROM s0";
const FINE: &str = "SELECT k, 12 / v AS q FROM (SELECT * FROM s0 WHERE v <> 0)";

async fn grow(world: &mut World, rounds: i64) {
    for n in 0..rounds {
        world.push("s0", (n % 5, n % 3));
        world.wait().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sink_that_takes_nothing_holds_up_no_view_and_gets_all_in_the_end() {
    let mut world = World::new(&mut Random::new(1));
    world.skip("v1", FINE);
    world.start(2).await;
    world.create("v0", SUMS).await;
    world.create("v1", RATIOS).await;
    world.add_sink("v0").await;
    grow(&mut world, 3).await;
    for round in 0..3 {
        world.outside_busy.store(true, Ordering::SeqCst);
        let told = world.told("v1").len();
        grow(&mut world, 10).await;
        assert_eq!(world.view("v0"), world.batch("v0").await);
        assert_eq!(world.view("v1"), world.batch("v1").await);
        assert_ne!(world.sunk(), world.view("v0"));
        assert_eq!(world.told("v1").len(), told);
        // What waits is in no journal epoch after a checkpoint, so there is none meanwhile.
        let error = world.engine().checkpoint().await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Retry, "{error}");
        if round == 1 {
            // Lost with the process, made again by the replay.
            world.halt().await;
            world.outside_busy.store(false, Ordering::SeqCst);
            world.start(1).await;
        }
        world.outside_busy.store(false, Ordering::SeqCst);
        while world.engine().checkpoint().await.is_err() {}
        assert_eq!(world.sunk(), world.view("v0"), "round {round}");
        let zeros = world.values("s0").iter().filter(|r| r.1 == 0).count();
        assert_eq!(world.told("v1").iter().map(|d| d.copies).sum::<u64>(), zeros as u64, "round {round}");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sink_that_takes_nothing_for_too_long_stops_alone() {
    let mut world = World::new(&mut Random::new(2));
    world.options.sink_waiting_bytes = 4096;
    world.start(1).await;
    world.create("v0", SUMS).await;
    world.add_sink("v0").await;
    world.outside_busy.store(true, Ordering::SeqCst);
    let mut rounds = 0;
    while world.engine().published().sinks[&id("sink")].is_none() {
        grow(&mut world, 1).await;
        rounds += 1;
        assert!(rounds < 1_000, "what waits has no limit");
    }
    let reason = world.engine().published().sinks[&id("sink")].clone().unwrap();
    assert!(reason.contains("limit of 4096 bytes"), "{reason}");
    grow(&mut world, 3).await;
    assert_eq!(world.view("v0"), world.batch("v0").await);
    world.checkpoint().await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscriber_that_does_not_read_is_told_and_no_other_notices() {
    let mut world = World::new(&mut Random::new(3));
    world.options.subscriber_bytes = 8192;
    world.start(1).await;
    world.create("v0", SUMS).await;
    let mut idle = world.engine().subscribe(id("v0")).await.unwrap();
    let mut reading = world.engine().subscribe(id("v0")).await.unwrap();
    for _ in 0..200 {
        grow(&mut world, 1).await;
        assert!(!reading.changes.recv().await.unwrap().delta.is_empty());
    }
    assert!(matches!(idle.changes.recv().await.unwrap_err(), ChangesEnd::Lagged(n) if n > 100));
    assert!(matches!(idle.changes.recv().await.unwrap_err(), ChangesEnd::Lagged(_)), "there is nothing after it");
    world.engine().drop_view(id("v0")).await.unwrap();
    assert_eq!(reading.changes.recv().await.unwrap_err(), ChangesEnd::Closed);
    world.engine().stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscriber_is_told_that_its_view_stopped_and_why() {
    let mut world = World::new(&mut Random::new(5));
    world.start(1).await;
    world.create("v0", SUMS).await;
    world.create("v1", RATIOS).await;
    world.create("v2", "SELECT count(*) AS n FROM v1").await;
    let mut of = vec![];
    for name in ["v0", "v1", "v2"] {
        of.push(world.engine().subscribe(id(name)).await.unwrap().changes);
    }
    world.push("s0", (1, 1));
    world.wait().await;
    world.push("s0", (2, 0));
    world.wait().await;
    // What changed until then comes first.
    for changes in &mut of {
        assert!(!changes.recv().await.unwrap().delta.is_empty());
    }
    assert!(!of[0].recv().await.unwrap().delta.is_empty());
    for (changes, wanted) in of[1..]
        .iter_mut()
        .zip(["view public.v1 stopped: expression 12 / ", "view public.v2 stopped: it reads public.v1"])
    {
        for _ in 0..2 {
            let ChangesEnd::Stopped(told) = changes.recv().await.unwrap_err() else { panic!("{wanted}") };
            assert!(told.starts_with(wanted), "{told}");
        }
    }
    let error = world.engine().subscribe(id("v2")).await.map(|_| ()).unwrap_err();
    assert!(error.message.starts_with("view public.v2 stopped: it reads public.v1"), "{error}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_epoch_that_the_journal_does_not_take_is_taken_later() {
    let mut world = World::new(&mut Random::new(4));
    world.start(2).await;
    world.create("v0", SUMS).await;
    world.create("c0", "SELECT date_bin(INTERVAL '10 seconds', ts) AS w, count(*) AS n FROM s0 GROUP BY w").await;
    world.add_sink("v0").await;
    grow(&mut world, 3).await;
    let before = world.view("v0");
    world.journal_busy.store(true, Ordering::SeqCst);
    for n in 0..5 {
        world.push("s0", (n, n));
    }
    world.engine().wake();
    // A command is answered after the epoch was tried.
    for _ in 0..3 {
        world.engine().explain(id("v0")).await.unwrap();
    }
    assert_eq!(world.view("v0"), before);
    world.journal_busy.store(false, Ordering::SeqCst);
    world.wait().await;
    assert_eq!(world.view("v0"), world.batch("v0").await);
    assert_eq!(world.view("c0"), world.closed("c0", "w", 10, &[0]).await);
    assert_eq!(world.sunk(), world.view("v0"));
    world.crash(1).await;
    assert_eq!(world.view("v0"), world.batch("v0").await);
    assert_eq!(world.sunk(), world.view("v0"));
    world.stop().await;
}
