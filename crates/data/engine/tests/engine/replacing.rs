//! A view with a sink is replaced, or built anew after it stopped, and the process dies after any of its writes: the sink gets the
//! difference once. One that is given other columns leaves those that do not read them as they are.

use std::time::Duration;

use fleuve_engine::ChangesEnd;
use fleuve_types::Keeps;

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

/// Other columns: one is new, one is gone, and those that stay stand elsewhere.
const OTHER_COLUMNS: &str = "SELECT max(v) AS m, k, min(ts) AS t, count(*) AS n FROM s0 WHERE v <> 1 GROUP BY k";
const BELOW: [(&str, &str); 3] = [
    ("v1", "SELECT n, count(*) AS c FROM v0 GROUP BY n"),
    ("v2", "SELECT b.v, count(*) AS c, sum(a.n) AS n FROM s1 b JOIN v0 a ON b.k = a.k GROUP BY b.v"),
    ("v3", "SELECT c, count(*) AS views FROM v2 GROUP BY c"),
];

async fn given_other_columns(writes: i64, sunk: Option<&'static str>) {
    let mut random = Random::new(writes as u64 + 1);
    let mut world = World::new(&mut random);
    world.start(1 + random.below(2)).await;
    world.create("v0", BEFORE).await;
    for (name, query) in BELOW {
        world.create(name, query).await;
    }
    if let Some(view) = sunk {
        world.add_sink(view).await;
    }
    world.append(&mut random);
    world.wait().await;
    world.checkpoint().await;
    // What the views below hold of it cannot come back.
    world.truncate("s1");
    world.dies_after(writes);
    world.append(&mut random);
    let _ = world.try_create("v0", OTHER_COLUMNS).await;
    world.append(&mut random);
    tokio::time::sleep(Duration::from_millis(random.below(20) as u64)).await;
    world.halt().await;
    let (query, version) = if world.saved_version("v0") == Some(1) { (BEFORE, 1) } else { (OTHER_COLUMNS, 2) };
    world.define_first("v0", query, version);
    world.start(1 + random.below(2)).await;
    if version == 1 {
        world.create("v0", OTHER_COLUMNS).await;
    }
    world.append(&mut random);
    world.wait().await;
    world.bring_back("s1");
    for name in ["v0", "v1", "v2", "v3"] {
        assert_eq!(world.view(name), world.batch(name).await, "{writes} writes: {name}");
    }
    if let Some(view) = sunk {
        assert_eq!(world.sunk(), world.view(view), "{writes} writes: the sink on {view}");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn views_go_on_and_sinks_get_other_columns_once_whenever_the_process_dies() {
    for sunk in [Some("v0"), Some("v2"), None] {
        for writes in 0..WRITES {
            given_other_columns(writes, sunk).await;
        }
        given_other_columns(i64::MAX, sunk).await;
    }
}

/// So does an index, and with it those that look rows up in it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_goes_on_over_other_columns() {
    let mut random = Random::new(13);
    let mut world = World::new(&mut random);
    world.start(2).await;
    let groups = "FROM s0 a JOIN (SELECT k, count(*) AS n FROM s0 GROUP BY k) b ON a.k = b.k";
    let query = |columns: &str| -> &'static str { format!("SELECT {columns} {groups}").leak() };
    world.create("v0", query("a.k, b.n")).await;
    world.create_index("i0", "v0", &["k"]).await;
    world.create("v1", "SELECT b.v, sum(a.n) AS n FROM s1 b JOIN v0 a ON b.k = a.k GROUP BY b.v").await;
    world.append(&mut random);
    world.wait().await;
    world.truncate("s1");
    world.create("v0", query("a.v, a.k, b.n")).await;
    world.append(&mut random);
    world.wait().await;
    world.crash(1).await;
    world.append(&mut random);
    world.wait().await;
    world.bring_back("s1");
    for name in ["v0", "v1"] {
        assert_eq!(world.view(name), world.batch(name).await, "{name}");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_a_sink_is_written_by_the_columns_that_it_had() {
    let mut random = Random::new(3);
    let mut world = World::new(&mut random);
    world.start(1).await;
    world.create("v0", BEFORE).await;
    world.add_sink("v0").await;
    world.outside_busy.store(true, std::sync::atomic::Ordering::SeqCst);
    world.append(&mut random);
    world.taken_in().await;
    world.create("v0", OTHER_COLUMNS).await;
    world.append(&mut random);
    world.taken_in().await;
    world.outside_busy.store(false, std::sync::atomic::Ordering::SeqCst);
    world.append(&mut random);
    world.wait().await;
    world.checkpoint().await;
    assert_eq!(world.sunk(), world.view("v0"));
    world.stop().await;
}

/// A view that only grows may be relied on to: then those that read it go on as long as nothing goes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn views_over_one_that_grows_go_on_unless_rows_go() {
    let mut random = Random::new(11);
    let mut world = World::new(&mut random);
    world.start(2).await;
    world.create("v0", "SELECT k, v FROM s0 WHERE v > 1").await;
    world.create("v1", "SELECT v, max(k) AS m, count(*) AS n FROM v0 GROUP BY v").await;
    world.create("v2", "SELECT a.v, max(b.v) AS w FROM v0 a JOIN s1 b ON a.k = b.k GROUP BY a.v").await;
    world.add_sink("v2").await;
    world.append(&mut random);
    world.wait().await;
    world.truncate("s1");
    for (query, goes_on) in [
        ("SELECT v * 2 AS w, k, v FROM s0 WHERE v > 1", true),
        ("SELECT k, v, v * 3 AS x FROM s0 WHERE v > 0", true),
        ("SELECT k, ts, v FROM s0 WHERE v > 2", false),
    ] {
        let explained = world.explain_replacement_below(("v0", query), "v2").await;
        assert_eq!(explained[1].keeps, Keeps::AllUnlessRowsGo, "{query}");
        world.create("v0", query).await;
        if !goes_on {
            // They are made anew then, as the server does it.
            for name in ["v1", "v2"] {
                world.create(name, world.query(name)).await;
            }
        }
        world.append(&mut random);
        world.wait().await;
        if goes_on {
            world.bring_back("s1");
        }
        for name in ["v0", "v1", "v2"] {
            assert_eq!(world.view(name), world.batch(name).await, "{query}: {name}");
        }
        assert_eq!(world.sunk(), world.view("v2"), "{query}");
        world.truncate("s1");
    }
    world.stop().await;
}

/// One that reads what is not there any more shows its last answer until it is another one, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_view_over_columns_that_changed_waits_until_it_is_replaced() {
    let mut random = Random::new(5);
    let mut world = World::new(&mut random);
    world.start(1).await;
    world.create("v0", "SELECT k, sum(v) AS s, count(*) AS n FROM s0 GROUP BY k").await;
    world.create("v1", "SELECT s, count(*) AS c FROM v0 GROUP BY s").await;
    world.add_sink("v1").await;
    world.append(&mut random);
    world.wait().await;
    let before = world.view("v1");
    world.create_alone("v0", "SELECT min(ts) AS t, count(*) AS n, sum(v) AS s FROM s0 GROUP BY k").await;
    world.append(&mut random);
    world.wait().await;
    assert_eq!((world.view("v1"), world.sunk()), (before.clone(), before));
    world.create("v1", "SELECT s, count(*) AS c FROM v0 GROUP BY s").await;
    world.append(&mut random);
    world.wait().await;
    assert_eq!(world.view("v1"), world.batch("v1").await);
    assert_eq!(world.sunk(), world.view("v1"));
    world.stop().await;
}

/// Not from streams of which retention has taken what was there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_runs_already_goes_on() {
    let mut random = Random::new(19);
    let mut world = World::new(&mut random);
    world.start(2).await;
    world.create("v0", BEFORE).await;
    // Of window functions no circuit is like another one.
    world.create("v1", "SELECT k, v, lag(v) OVER (PARTITION BY k ORDER BY v) AS p FROM s1").await;
    world
        .create("v2", "SELECT b.v, a.n, lag(a.n) OVER (ORDER BY a.n, b.v) AS p FROM s1 b JOIN v0 a ON b.k = a.k")
        .await;
    world.append(&mut random);
    world.wait().await;
    world.truncate("s1");
    world.create("v0", OTHER_COLUMNS).await;
    for name in ["v1", "v2"] {
        world.create_as_it_is(name).await;
    }
    world.append(&mut random);
    world.wait().await;
    world.bring_back("s1");
    for name in ["v0", "v1", "v2"] {
        assert_eq!(world.view(name), world.batch(name).await, "{name}");
    }
    world.stop().await;
}

/// Columns of the same types that change their names are others, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_view_does_not_read_columns_by_the_places_of_others() {
    let mut random = Random::new(23);
    let mut world = World::new(&mut random);
    world.start(2).await;
    world.create("v0", "SELECT k, count(*) AS n, count(v) + 100 AS m FROM s0 GROUP BY k").await;
    world.create("v1", "SELECT n, count(*) AS c FROM v0 GROUP BY n").await;
    world.append(&mut random);
    world.wait().await;
    let before = world.view("v1");
    world.create_alone("v0", "SELECT k, count(v) + 100 AS m, count(*) AS n FROM s0 GROUP BY k").await;
    world.append(&mut random);
    world.wait().await;
    assert_eq!(world.view("v1"), before);
    // After a crash it is not taken for one that runs: it is built anew.
    world.checkpoint().await;
    world.crash(1).await;
    world.append(&mut random);
    world.wait().await;
    world.runs("v1").await;
    world.wait().await;
    assert_eq!(world.view("v1"), world.batch("v1").await);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_ends_with_the_columns_that_it_has() {
    let mut random = Random::new(7);
    let mut world = World::new(&mut random);
    world.start(1).await;
    world.create("v0", BEFORE).await;
    world.create("v1", "SELECT n, count(*) AS c FROM v0 GROUP BY n").await;
    let mut own = world.engine().subscribe(id("v0")).await.unwrap();
    let mut below = world.engine().subscribe(id("v1")).await.unwrap();
    // Names alone make other columns.
    world.create("v0", "SELECT k, count(*) AS n, sum(v) AS total FROM s0 GROUP BY k").await;
    assert_eq!(own.changes.recv().await.unwrap_err(), ChangesEnd::Replaced);
    world.push("s0", (77, 1));
    world.wait().await;
    assert!(below.changes.recv().await.is_ok());
    world.stop().await;
}
