//! Views with an expression that fails for some rows: they stop or leave the rows out, and nobody else notices.

use fleuve_engine::ViewState;

use crate::world::{Random, World, for_seeds, id};

const HEALTHY: &str = "SELECT k, count(*) AS n, sum(v) AS s FROM s0 GROUP BY k";

/// A query that fails for some rows, and the same over the rows that do not fail.
const FAILING: [(&str, &str); 8] = [
    ("SELECT k, 12 / v AS q FROM s0", "SELECT k, 12 / v AS q FROM (SELECT * FROM s0 WHERE v <> 0)"),
    (
        "SELECT k, sum(12 / v) AS q, count(*) AS n FROM s0 GROUP BY k",
        "SELECT k, sum(12 / v) AS q, count(*) AS n FROM (SELECT * FROM s0 WHERE v <> 0) GROUP BY k",
    ),
    ("SELECT k, panicking(v) AS q FROM s0", "SELECT k, v AS q FROM s0 WHERE v <> 0"),
    (
        "SELECT k, max(panicking(v)) AS q FROM s0 GROUP BY k",
        "SELECT k, max(v) AS q FROM (SELECT * FROM s0 WHERE v <> 0) GROUP BY k",
    ),
    (
        "SELECT k, CAST(CASE WHEN v = 0 THEN 'none' ELSE '1' END AS BIGINT) AS q FROM s0",
        "SELECT k, 1 AS q FROM s0 WHERE v <> 0",
    ),
    (
        "SELECT k, sum(12 / v) OVER (PARTITION BY k ORDER BY v) AS q FROM s0",
        "SELECT k, sum(12 / v) OVER (PARTITION BY k ORDER BY v) AS q FROM (SELECT * FROM s0 WHERE v <> 0)",
    ),
    (
        "SELECT a.k, b.v AS q FROM s0 a JOIN s1 b ON 12 / a.v = b.v",
        "SELECT a.k, b.v AS q FROM (SELECT * FROM s0 WHERE v <> 0) a JOIN s1 b ON 12 / a.v = b.v",
    ),
    (
        "SELECT a.k, b.v AS q FROM s0 a LEFT JOIN s1 b ON a.k = b.k AND 12 / (a.v - b.v) > 3",
        "SELECT a.k, b.v AS q FROM s0 a LEFT JOIN s1 b ON a.k = b.k AND 12 / nullif(a.v - b.v, 0) > 3",
    ),
];

async fn case(seed: u64) {
    let mut random = Random::new(seed);
    let mut world = World::new(&mut random);
    world.start(1 + random.below(3)).await;
    let which = random.below(FAILING.len());
    let (query, fine) = FAILING[which];
    world.skip("v1", fine);
    let mut made = 0;
    for _ in 0..25 {
        match random.below(9) {
            0..=3 => world.append(&mut random),
            4 if made == 0 => {
                world.create("v0", HEALTHY).await;
                made = 1;
            }
            4 | 5 if made == 1 => {
                world.create("v1", query).await;
                made = 2;
            }
            5 if made == 2 => {
                world.create("v2", "SELECT k, count(*) AS n, max(q) AS m FROM v1 GROUP BY k").await;
                made = 3;
            }
            6 => world.checkpoint().await,
            7 => world.crash(1 + random.below(3)).await,
            _ if made == 3 && random.below(3) == 0 => {
                // One that stops; from its first row that fails on, or it cannot be made at all.
                let _ = world.try_create("v3", FAILING[0].0).await;
                made = 4;
            }
            _ => world.wait().await,
        }
    }
    world.wait().await;
    for name in ["v0", "v1", "v2"].into_iter().take(made) {
        assert_eq!(world.status(name).state, ViewState::Running, "seed {seed}: {name}");
        let (view, batch) = (world.view(name), world.batch(name).await);
        assert_eq!(view, batch, "seed {seed}: {name}");
    }
    if made >= 2 && which < 7 {
        let zeros = world.values("s0").iter().filter(|r| r.1 == 0).count();
        let told: u64 = world.told("v1").iter().map(|d| d.copies).sum();
        assert_eq!(told, zeros as u64, "seed {seed}: every row that fails is told once, {query}");
    }
    world.stop().await;
}

#[test]
fn rows_that_fail_stop_nobody_else_and_are_told_once() {
    for_seeds("rows that fail", 100, case);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_row_says_what_and_why() {
    let mut world = World::new(&mut Random::new(1));
    world.skip("v1", FAILING[1].1);
    world.start(1).await;
    world.create("v1", FAILING[1].0).await;
    let before = world.told("v1").len();
    world.push("s0", (77, 0));
    world.wait().await;
    let told = world.told("v1");
    assert_eq!(told.len(), before + 1);
    let last = told.last().unwrap();
    assert_eq!(last.row, r#"{"k":77,"v":0}"#);
    assert!(last.reason.contains("division by zero"), "{}", last.reason);
    assert!(last.operator.starts_with("Map"), "{}", last.operator);
    world.stop().await;
}

/// In words of the query: without columns that the planner makes, and the functions that stand for operators.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_row_is_told_in_words_of_the_query() {
    let mut world = World::new(&mut Random::new(1));
    world.skip("v1", "SELECT k, (k + v) / v AS q, (k + v) * 2 AS r FROM s0 WHERE v <> 0 AND k + v > 0");
    world.start(1).await;
    world.create("v1", "SELECT k, (k + v) / v AS q, (k + v) * 2 AS r FROM s0 WHERE k + v > 0").await;
    world.push("s0", (77, 0));
    world.wait().await;
    let last = world.told("v1").pop().unwrap();
    assert!(last.reason.starts_with("expression (s0.k + s0.v) / s0.v failed: "), "{}", last.reason);
    assert!(last.operator.contains("filter s0.k + s0.v > 0"), "{}", last.operator);
    for text in [last.reason, last.operator, last.row] {
        assert!(!text.contains("__") && !text.contains('@') && !text.contains("main.public"), "{text}");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_view_that_stopped_stays_readable_and_runs_again_when_it_is_told() {
    let mut world = World::new(&mut Random::new(1));
    world.start(2).await;
    for stream in ["s0", "s1"] {
        world.truncate(stream);
    }
    world.create("v0", HEALTHY).await;
    world.create("v1", "SELECT k, 12 / v AS q FROM s0").await;
    world.create("v2", "SELECT q, count(*) AS n FROM v1 GROUP BY q").await;
    world.push("s0", (1, 3));
    world.wait().await;
    let (one, two) = (world.view("v1"), world.view("v2"));
    assert_eq!((one.len(), two.len()), (1, 1));
    world.push("s0", (2, 0));
    world.wait().await;
    let reason = match world.status("v1").state {
        ViewState::Failed(reason) => reason,
        other => panic!("{other:?}"),
    };
    assert!(reason.contains("division by zero") && reason.contains(r#"for the row {"k":2,"v":0}"#), "{reason}");
    assert!(matches!(world.status("v2").state, ViewState::Stopped(r) if r.contains("v1")));
    let since = world.engine().published().time_us;
    assert_eq!(world.status("v0").stopped_us, None);
    world.push("s0", (3, 1));
    // What it showed last it goes on to show, after a restart too; a checkpoint does not make it run.
    for round in 0..3 {
        world.wait().await;
        assert_eq!((world.view("v1"), world.view("v2")), (one.clone(), two.clone()), "round {round}");
        assert!(matches!(world.status("v1").state, ViewState::Failed(r) if r == reason), "round {round}");
        assert!(matches!(world.status("v2").state, ViewState::Stopped(_)), "round {round}");
        assert_eq!(["v1", "v2"].map(|v| world.status(v).stopped_us), [Some(since); 2], "round {round}");
        world.pass(1_000_000);
        assert_eq!(world.status("v0").state, ViewState::Running);
        assert_eq!(world.view("v0"), world.batch("v0").await);
        world.checkpoint().await;
        world.crash(2).await;
    }
    // The row is still there.
    let error = world.engine().resume_view(id("v1")).await.unwrap_err();
    assert!(error.message.contains("for the row"), "{error}");
    assert!(world.engine().resume_view(id("v0")).await.is_err(), "it runs");
    assert!(world.engine().resume_view(id("v2")).await.unwrap_err().message.contains("v1"));
    world.truncate("s0");
    world.push("s0", (4, 2));
    world.engine().resume_view(id("v1")).await.unwrap();
    world.wait().await;
    let running = |p: &fleuve_engine::Published| p.status[&id("v2")].state == ViewState::Running;
    drop(world.engine().watch().wait_for(|p| running(p)).await.unwrap());
    let expected = |text: &str| std::collections::BTreeMap::from([(text.to_string(), 1)]);
    assert_eq!((world.view("v1"), world.view("v2")), (expected("4|6"), expected("6|1")));
    world.checkpoint().await;
    world.crash(1).await;
    world.wait().await;
    assert_eq!((world.view("v1"), world.view("v2")), (expected("4|6"), expected("6|1")));
    assert_eq!(world.status("v1").state, ViewState::Running);
    world.stop().await;
}

/// A panic of a function is an error of the row that it was called for: the view stops, says so, and nobody else notices.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_function_that_panics_stops_its_view_alone() {
    let mut world = World::empty();
    world.start(2).await;
    world.create("v0", HEALTHY).await;
    world.create("v1", "SELECT k, panicking(v) AS q FROM s0").await;
    world.push("s0", (1, 5));
    world.engine().wake();
    world.wait().await;
    assert_eq!(world.view("v1"), world.batch("v1").await);
    world.push("s0", (2, 0));
    world.engine().wake();
    let stopped = |p: &fleuve_engine::Published| matches!(p.status[&id("v1")].state, ViewState::Failed(_));
    drop(world.engine().watch().wait_for(|p| stopped(p)).await.unwrap());
    let ViewState::Failed(reason) = world.status("v1").state else { panic!("it runs") };
    assert!(reason.contains("a function panicked: a value of 0"), "{reason}");
    assert!(reason.contains("\"k\":2"), "the row is not named: {reason}");
    world.push("s0", (3, 4));
    world.engine().wake();
    world.wait().await;
    assert!(world.is_running("v0"));
    assert_eq!(world.view("v0"), world.batch("v0").await);
    world.stop().await;
}
