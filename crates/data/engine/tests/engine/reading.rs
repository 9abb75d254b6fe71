//! A stream that cannot be read stops the views that read it, and nobody else.

use fleuve_engine::ViewState;

use crate::world::{Fault, Random, World, id};

const SUMS: &str = "SELECT k, count(*) AS n, sum(v) AS s FROM s0 GROUP BY k";
const OTHER: &str = "SELECT k, count(*) AS n FROM s1 GROUP BY k";
const ABOVE: &str = "SELECT n, count(*) AS c FROM v0 GROUP BY n";
const BAD: i64 = 77;

/// Why `v0` stopped.
fn reason(world: &World) -> String {
    match world.status("v0").state {
        ViewState::Failed(reason) => reason,
        other => panic!("{other:?}"),
    }
}

async fn stops_its_readers_only(fault: Fault, why: &str) {
    let mut world = World::new(&mut Random::new(1));
    world.start(2).await;
    world.create("v0", SUMS).await;
    world.create("v1", OTHER).await;
    world.create("v2", ABOVE).await;
    let before = world.view("v0");
    world.break_stream("s0", Some((BAD, fault)));
    world.push("s0", (1, BAD));
    for round in 0..3 {
        world.push("s1", (round, 1));
        world.push("s0", (round, 1));
        world.wait().await;
        let reason = reason(&world);
        assert!(reason.contains("public.s0") && reason.contains(why), "{reason}");
        assert!(matches!(world.status("v2").state, ViewState::Stopped(_)));
        assert_eq!(world.view("v0"), before);
        assert_eq!(world.status("v1").state, ViewState::Running);
        assert_eq!(world.view("v1"), world.batch("v1").await);
        world.checkpoint().await;
        world.crash(1).await;
    }
    // What is there cannot be read by a new one either; it says so, and is gone.
    let error = world.try_create("v3", SUMS).await.unwrap_err();
    assert!(error.message.contains(why), "{error}");
    assert!(!world.engine().published().status.contains_key(&id("v3")));
    assert!(world.engine().resume_view(id("v0")).await.is_err());
    world.break_stream("s0", None);
    world.engine().resume_view(id("v0")).await.unwrap();
    world.wait().await;
    assert_eq!(world.view("v0"), world.batch("v0").await);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_decoder_that_panics_stops_its_readers_only() {
    stops_its_readers_only(Fault::Panic, "the decoder of the test").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_decoder_that_gives_up_stops_its_readers_only() {
    stops_its_readers_only(Fault::Refuse, "the decoder gives up").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_view_whose_build_panics_at_the_start_has_failed() {
    let mut world = World::new(&mut Random::new(2));
    world.fill_disk(true);
    world.start(2).await;
    world.push("s0", (1, BAD));
    world.create("v0", SUMS).await;
    world.create("v1", OTHER).await;
    world.halt().await;
    // No checkpoint knows the views: they are built.
    world.break_stream("s0", Some((BAD, Fault::Panic)));
    world.start(1).await;
    let mut watch = world.engine().watch();
    let built = watch.wait_for(|p| p.status.iter().all(|(_, s)| !matches!(s.state, ViewState::Building(_))));
    drop(built.await.unwrap());
    assert!(reason(&world).contains("the decoder of the test"));
    assert_eq!(world.view("v1"), world.batch("v1").await);
    world.fill_disk(false);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_cannot_be_read_now_is_waited_for_and_holds_up_nobody() {
    let mut world = World::new(&mut Random::new(3));
    world.start(2).await;
    world.create("v0", SUMS).await;
    world.create("v1", OTHER).await;
    world.break_stream("s0", Some((BAD, Fault::Retry)));
    world.push("s0", (1, BAD));
    for n in 1..=3 {
        world.push("s1", (n, n));
        world.engine().wake();
        let end = world.ends("s1")[0];
        world.engine().wait_for(id("s1"), 0, end).await.unwrap();
        assert_eq!(world.view("v1"), world.batch("v1").await);
    }
    world.break_stream("s0", None);
    world.wait().await;
    assert_eq!(world.status("v0").state, ViewState::Running);
    assert_eq!(world.view("v0"), world.batch("v0").await);
    world.stop().await;
}
