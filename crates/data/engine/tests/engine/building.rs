//! Builds that are under way: asked for once more, given up, waited for by others.

use std::collections::BTreeMap;
use std::time::Duration;

use fleuve_engine::{BuildProgress, Published, ViewState};
use fleuve_types::{Error, ErrorKind};

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

/// Who waits for a build that somebody ends is told why; what ran before goes on, and what had stopped says what it said.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_build_can_be_ended() {
    const SUMS: &str = "SELECT k, sum(v) AS n FROM s0 GROUP BY k";
    const COUNTS: &str = "SELECT v AS k, count(*) AS n FROM s0 GROUP BY v";
    let mut world = World::empty();
    world.start(2).await;
    world.create("v", SUMS).await;
    world.create("w", "SELECT k, 12 / v AS q FROM s1").await;
    world.push("s1", (0, 0));
    (0..5).for_each(|n| world.push("s0", (n, n)));
    world.wait().await;
    let state = |p: &Published, view: &str| p.status.get(&id(view)).map(|s| s.state.clone());
    let stopped = state(&world.engine().published(), "w");
    assert!(matches!(&stopped, Some(ViewState::Failed(why)) if why.contains("division by zero")), "{stopped:?}");
    world.truncate("s1");
    world.push("s1", (1, 1));
    world.wait().await;
    world.hold_builds("s0");
    world.hold_builds("s1");
    let replaced = world.begin_to_renew("v", COUNTS).await;
    let made = world.begin_to_create("x", SUMS).await;
    // It waits for that one.
    let above = world.begin_to_create("y", "SELECT n, count(*) AS m FROM x GROUP BY n").await;
    let engine = world.engine().clone();
    let resumed = tokio::spawn(async move { engine.resume_view(id("w")).await });
    world.builds_came("s0", 2).await;
    world.builds_came("s1", 1).await;
    for view in ["v", "x", "y", "w"] {
        let why = Error::new(ErrorKind::Retry, format!("{view} is not wanted any more"));
        world.engine().end_build(id(view), why).await.unwrap();
    }
    // Of one that is not being built it does nothing.
    world.engine().end_build(id("z"), Error::bug("nothing to end")).await.unwrap();
    world.let_builds_read("s0", None);
    world.let_builds_read("s1", None);
    for (view, ended) in [("v", replaced), ("x", made), ("y", above), ("w", resumed)] {
        let error = ended.await.unwrap().unwrap_err();
        assert_eq!(error.message, format!("{view} is not wanted any more"));
    }
    let published = world.engine().published();
    assert_eq!((state(&published, "x"), state(&published, "y")), (None, None));
    assert_eq!(state(&published, "v"), Some(ViewState::Running));
    assert_eq!(state(&published, "w"), stopped);
    for view in ["w", "x", "y"] {
        world.drop_view(view).await;
    }
    world.define_first("v", SUMS, 1);
    world.push("s0", (7, 7));
    world.wait().await;
    world.check("after they were ended").await;
    world.create("x", SUMS).await;
    world.check("made again").await;
    world.stop().await;
}

/// How far a build is moves with what is decoded of a piece, before the view has taken any of it in; that of one beside the running
/// view, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_build_moves_within_what_it_reads_at_once() {
    const OTHER: &str = "SELECT v AS k, count(*) AS n FROM s0 GROUP BY v";
    let mut world = World::empty();
    world.read_more_at_once(1_000);
    world.start(2).await;
    (0..1_000).for_each(|n| world.push("s0", (n % 7, n)));
    world.wait().await;
    for query in ["SELECT k, count(*) AS n FROM s0 GROUP BY k", OTHER] {
        world.hold_builds_within("s0", true);
        let made = world.begin_to_renew("v", query).await;
        let of = |p: &Published| match p.status.get(&id("v")).map(|s| s.state.clone()) {
            Some(ViewState::Building(progress)) => progress,
            _ => BuildProgress::default(),
        };
        let seen = world.engine().watch().wait_for(|p| of(p).done > 0).await.unwrap().clone();
        // Half of the records are decoded and none is taken in.
        assert_eq!((of(&seen).done, of(&seen).total), (250, 1_000), "{query}");
        assert!(of(&seen).remaining().is_some());
        world.hold_builds_within("s0", false);
        made.await.unwrap().unwrap();
        world.check("built").await;
    }
    assert_eq!(world.view("v").len(), 1_000);
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

/// Nobody sees an answer before it is complete, so each group is put out once, whatever its rows come in.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_build_puts_each_group_out_once() {
    const KEYS: i64 = 10;
    let mut world = World::empty();
    world.start(2).await;
    // At each offset but the last the sum of one of the keys is nothing, by which nothing can be divided.
    (0..KEYS * 41).for_each(|n| world.push("s0", (n % KEYS, if n / KEYS % 2 == 0 { 6 } else { -6 })));
    world.wait().await;
    world.create("sums", "SELECT k, sum(v) AS s, 12 / sum(v) AS q FROM s0 GROUP BY k").await;
    world
        .create("best", "SELECT k, s FROM (SELECT k, sum(v) AS s FROM s0 GROUP BY k) ORDER BY s DESC, k LIMIT 3")
        .await;
    world.create("of", "SELECT s, count(*) AS n FROM (SELECT k, sum(v) AS s FROM s0 GROUP BY k) GROUP BY s").await;
    world
        .create(
            "pairs",
            "SELECT a.k, a.v, b.s FROM s0 a JOIN (SELECT k, sum(v) AS s FROM s0 GROUP BY k) b ON a.k = b.k",
        )
        .await;
    // With its sum no row is padded in any epoch, so none may be while it is built.
    world
        .create("padded", "SELECT a.k, 12 / coalesce(b.s, 0) AS q FROM s0 a LEFT JOIN (SELECT k, count(*) AS s FROM s0 GROUP BY k) b ON a.k = b.k")
        .await;
    let put_out = |world: &World| ["sums", "best", "of", "pairs"].map(|view| world.status(view).rows_out);
    // Equal pairs are one row with a weight.
    assert_eq!(put_out(&world), [KEYS as u64, 3, 1, KEYS as u64 * 2]);
    world.check("built").await;
    world.push("s0", (3, 6));
    world.wait().await;
    assert_eq!(world.status("sums").rows_out, KEYS as u64 + 2);
    world.check("changed").await;
    world.crash(1).await;
    world.check("restarted").await;
    world.stop().await;
}

/// What groups are told is told in parts, and each operator's for itself. Nothing is put out that is so for a part only.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_build_computes_nothing_over_a_part() {
    let queries = [
        // The grand total is told for itself.
        "SELECT k, s * 100 / sum(CASE WHEN k IS NULL THEN s ELSE 0 END) OVER () AS p FROM (SELECT k, sum(v) AS s FROM s0 GROUP BY ROLLUP (k))",
        // With a join above, groups are told in many parts; all but one have no row of the key 0.
        "SELECT o.k, w.r FROM s0 o JOIN (SELECT k, 100 * s / sum(CASE WHEN k = 0 THEN s ELSE 0 END) OVER () AS r FROM (SELECT k, sum(v) AS s FROM s0 GROUP BY k)) w ON o.k = w.k",
        // Two rows of each key, of which one is told first.
        "SELECT k, 100 / (count(*) OVER (PARTITION BY k) - 1) AS q FROM (SELECT k, sum(v) AS s FROM s0 GROUP BY k UNION ALL SELECT k, max(v) AS s FROM s0 GROUP BY k)",
    ];
    let mut world = World::empty();
    world.start(2).await;
    (0..4_000).for_each(|n| world.push("s0", (n % 50, 1)));
    world.wait().await;
    for (name, query) in ["rollup", "joined", "twice"].into_iter().zip(queries) {
        world.create(name, query).await;
        assert!(world.is_running(name), "{name}: {:?}", world.status(name));
    }
    world.check("built").await;
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

/// What a build looks rows up in goes while it is built. So it cannot be built, and what waits for it is told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_a_build_that_cannot_begin_anew_is_told() {
    let mut world = World::empty();
    world.start(2).await;
    world.push("s0", (1, 1));
    world.push("s1", (1, 1));
    world.wait().await;
    world.checkpoint().await;
    world.fill_disk(true);
    world.create("d", "SELECT k, count(*) AS n FROM s0 GROUP BY k").await;
    world.create("r", "SELECT x.v, d.n FROM s1 x JOIN d ON d.k = x.k").await;
    world.create("w", "SELECT v, count(*) AS c FROM r GROUP BY v").await;
    world.wait().await;
    world.halt().await;
    // No checkpoint knows the views: all are built.
    world.hold_builds("s1");
    world.try_start(2).await.unwrap();
    world.builds_came("s1", 1).await;
    let mut watch = world.engine().watch();
    drop(watch.wait_for(|p| p.status.contains_key(&id("w"))).await.unwrap());
    assert!(matches!(world.status("w").state, ViewState::Building(_)));
    world.drop_view("d").await;
    world.let_builds_read("s1", None);
    let told = watch.wait_for(|p| matches!(p.status[&id("w")].state, ViewState::Stopped(_)));
    let told = tokio::time::timeout(Duration::from_secs(20), told).await;
    assert!(told.is_ok(), "{:?}", world.status("w"));
    assert!(matches!(world.status("r").state, ViewState::Failed(_)));
    world.fill_disk(false);
    world.stop().await;
}

/// An index that a view could use and does not is nothing to it, also after a replacement that changes nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_that_a_view_does_not_use_is_nothing_to_it() {
    const QUERY: &str = "SELECT sum(12 / v) AS q FROM s1";
    let mut world = World::empty();
    world.options.view_state_bytes = 200_000;
    world.read_more_at_once(300);
    world.start(2).await;
    world.create_index("i", "s1", &["k"]).await;
    world.create("v", QUERY).await;
    world.create("v", QUERY).await;
    world.push("s1", (1, 0));
    world.wait().await;
    assert!(!world.is_running("v"));
    (0..5_000).for_each(|n| world.push("s1", (n, 1)));
    world.wait().await;
    let mut watch = world.engine().watch();
    drop(watch.wait_for(|p| p.status[&id("i")].state != ViewState::Running).await.unwrap());
    world.truncate("s1");
    world.push("s1", (1, 3));
    world.engine().resume_view(id("v")).await.unwrap();
    world.wait().await;
    assert_eq!(world.view("v"), BTreeMap::from([("4".to_string(), 1)]));
    world.stop().await;
}
