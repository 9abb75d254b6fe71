//! State under a budget: it leaves memory, comes back, and is there after a crash; a view stops only for what cannot leave.

use std::collections::BTreeMap;

use fleuve_engine::{ViewLimits, ViewState, ViewStatus};

use super::world::{Random, Row, World};

/// Groups in memory, one row of answer.
const TOTALS: &str =
    "SELECT count(*) AS g, sum(n) AS n, sum(s) AS s FROM (SELECT k, count(*) AS n, sum(v) AS s FROM s0 GROUP BY k)";
const BUDGET: usize = 192 << 10;

fn rows(from: i64, to: i64) -> Vec<Row> {
    (from..to).map(|n| (n * 7_919 % 3_000, n % 5, 100)).collect()
}

async fn full_world(budget: usize) -> World {
    let mut world = World::empty();
    world.read_more_at_once(195);
    world.options.epoch_bytes = 4_096;
    world.options.budget_bytes = budget;
    world.start(2).await;
    world
}

async fn measured(world: &World, name: &'static str) -> ViewStatus {
    let id = super::world::id(name);
    let measured = |p: &fleuve_engine::Published| p.status[&id].state_bytes > 0;
    drop(world.engine().watch().wait_for(|p| measured(p)).await.unwrap());
    world.status(name)
}

fn aggregate(status: &ViewStatus) -> (u64, u64) {
    let operators = status.profile.operators();
    let found = operators.iter().find(|o| o.description.contains("by [k")).unwrap();
    (found.state_bytes, found.disk_bytes)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn state_larger_than_the_budget_goes_to_disk() {
    let mut world = full_world(BUDGET).await;
    world.create("v0", TOTALS).await;
    for part in 0..6 {
        world.append_rows(part as usize % 2, &rows(part * 800, part * 800 + 800));
        world.wait().await;
        let status = world.status("v0");
        assert_eq!(status.state, ViewState::Running);
        assert!(status.state_bytes <= BUDGET, "{} bytes in memory", status.state_bytes);
    }
    assert_eq!(world.view("v0"), world.batch("v0").await);
    let status = measured(&world, "v0").await;
    assert!(status.disk_bytes > 40_000, "{} bytes on disk", status.disk_bytes);
    assert_eq!(aggregate(&status).1, status.disk_bytes);
    // Nothing of it is read at a start; a view built anew beside it goes through the same budget.
    world.checkpoint().await;
    world.leave_behind("left/00000000000000000009.sorted");
    world.crash(3).await;
    assert!(!world.run_files().iter().any(|name| name.starts_with("left")));
    assert_eq!(world.view("v0"), world.batch("v0").await);
    world.create("v1", TOTALS).await;
    world.append_rows(0, &rows(4_000, 6_000));
    world.wait().await;
    for name in ["v0", "v1"] {
        assert_eq!(world.view(name), world.batch(name).await);
        assert!(measured(&world, name).await.disk_bytes > 40_000);
    }
    // What a view that goes had on disk goes with the next checkpoint.
    world.engine().drop_view(super::world::id("v1")).await.unwrap();
    world.engine().drop_view(super::world::id("v0")).await.unwrap();
    world.checkpoint().await;
    world.checkpoint().await;
    assert_eq!(world.run_files(), Vec::<String>::new());
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_budget_gives_the_same_answers() {
    let mut answers: Vec<BTreeMap<String, i64>> = vec![];
    for hot in [usize::MAX, 100_000, 0] {
        let mut random = Random::new(5);
        let mut world = World::empty();
        world.options.epoch_bytes = 4_096;
        world.options.hot_bytes = hot;
        world.start(2).await;
        world.create("v0", "SELECT k, count(*) AS n, min(v) AS low FROM s0 GROUP BY k").await;
        world.create("v1", "SELECT a.k, a.v, b.n FROM s0 a LEFT JOIN v0 b ON a.k = b.k AND a.v < b.low").await;
        for part in 0..5 {
            world.append_rows(part % 2, &rows(part as i64 * 300, part as i64 * 300 + 300));
            world.append(&mut random);
            world.wait().await;
        }
        world.checkpoint().await;
        world.crash(1).await;
        world.append_rows(0, &rows(0, 500));
        world.wait().await;
        assert_eq!(world.view("v1"), world.batch("v1").await);
        answers.push(world.view("v1"));
        world.stop().await;
    }
    assert!(answers.windows(2).all(|two| two[0] == two[1]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_view_past_the_limit_on_memory_and_disk_stops_alone() {
    let mut world = full_world(BUDGET).await;
    world.engine().stop().await.unwrap();
    world.options.view_state_bytes = 100_000;
    world.start(2).await;
    world.create("v0", "SELECT k % 10 AS k, count(*) AS n FROM s0 GROUP BY k % 10").await;
    world.create("v1", TOTALS).await;
    for part in 0..6 {
        world.append_rows(0, &rows(part * 500, part * 500 + 500));
        world.wait().await;
    }
    let id = super::world::id("v1");
    let stopped = |p: &fleuve_engine::Published| matches!(p.status[&id].state, ViewState::Failed(_));
    drop(world.engine().watch().wait_for(|p| stopped(p)).await.unwrap());
    let ViewState::Failed(reason) = world.status("v1").state else { panic!("it runs") };
    assert!(reason.contains("view_state_bytes"), "{reason}");
    assert_eq!(world.view("v0"), world.batch("v0").await);
    assert!(world.is_running("v0"));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_of_one_view_are_its_own() {
    let mut world = World::empty();
    world.options.epoch_bytes = 4_096;
    let limited = ViewLimits { memory_bytes: Some(100_000), state_bytes: None };
    world.limits.insert("v1", limited);
    world.start(2).await;
    world.create("v0", TOTALS).await;
    world.create("v1", TOTALS).await;
    for part in 0..6 {
        world.append_rows(0, &rows(part * 500, part * 500 + 500));
        world.wait().await;
    }
    world.checkpoint().await;
    let ids = ["v0", "v1"].map(super::world::id);
    let is_measured = |p: &fleuve_engine::Published| {
        let [free, held] = ids.map(|id| &p.status[&id]);
        free.state_bytes > 100_000 && held.disk_bytes > 0 && held.state_bytes <= 100_000
    };
    drop(world.engine().watch().wait_for(|p| is_measured(p)).await.unwrap());
    let (free, held) = (world.status("v0"), world.status("v1"));
    assert!(free.disk_bytes == 0 && free.state_bytes > 100_000, "{} and {}", free.disk_bytes, free.state_bytes);
    assert!(held.disk_bytes > 0 && held.state_bytes <= 100_000, "{} and {}", held.disk_bytes, held.state_bytes);
    assert_eq!(world.view("v1"), world.batch("v1").await);
    // What is on disk counts, too: it stops, and the other one does not.
    let id = super::world::id("v1");
    world.engine().limit_view(id, ViewLimits { state_bytes: Some(20_000), ..limited }).await.unwrap();
    world.append_rows(0, &rows(3_000, 3_500));
    let stopped = |p: &fleuve_engine::Published| matches!(p.status[&id].state, ViewState::Failed(_));
    drop(world.engine().watch().wait_for(|p| stopped(p)).await.unwrap());
    let ViewState::Failed(reason) = world.status("v1").state else { panic!("it runs") };
    assert!(reason.contains("limit of 20000 bytes (option state_bytes of the view)"), "{reason}");
    assert!(world.engine().resume_view(id).await.unwrap_err().message.contains("option state_bytes of the view"));
    world.taken_in().await;
    assert!(world.is_running("v0"));
    assert_eq!(world.view("v0"), world.batch("v0").await);
    // With more it can be built again, and a crash right afterwards does not stop it once more.
    world.checkpoint().await;
    world.engine().limit_view(id, ViewLimits::default()).await.unwrap();
    world.engine().resume_view(id).await.unwrap();
    world.crash(2).await;
    assert!(world.is_running("v1"), "{:?}", world.status("v1").state);
    world.wait().await;
    assert_eq!(world.view("v1"), world.batch("v1").await);
    world.stop().await;
}

/// What waits for its window, and rows that the clock will take away, are found by time where they lie.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn state_that_is_found_by_time_goes_to_disk() {
    const SECOND: i64 = 1_000_000;
    let mut world = full_world(BUDGET).await;
    world.pass(90 * SECOND);
    world
        .create(
            "c0",
            "SELECT date_bin(INTERVAL '10 seconds', ts) AS w, k, count(*) AS n, sum(v) AS s FROM s0 GROUP BY w, k",
        )
        .await;
    world.create("v0", "SELECT k, v, ts FROM s0 WHERE ts > now() - INTERVAL '1 hour'").await;
    let operator = |status: &ViewStatus, name: &str| {
        let operators = status.profile.operators();
        operators.iter().find(|o| o.description.contains(name)).unwrap().disk_bytes
    };
    for part in 0..6 {
        world.append_rows(part as usize % 2, &rows(part * 800, part * 800 + 800));
        world.wait().await;
        let (closing, timed) = (world.status("c0"), world.status("v0"));
        assert!(closing.state == ViewState::Running && timed.state == ViewState::Running);
        let held = closing.state_bytes + timed.state_bytes;
        assert!(held <= BUDGET, "{held} bytes in memory");
    }
    assert!(operator(&measured(&world, "c0").await, "Aggregate") > 20_000);
    assert!(operator(&measured(&world, "v0").await, "TemporalFilter") > 20_000);
    assert!(world.view("c0").is_empty(), "no window is closed");
    super::temporal::check(&world, "v0", "all rows are young").await;
    world.checkpoint().await;
    world.crash(3).await;
    // Rows that come again find those that have left memory.
    world.append_rows(0, &rows(0, 400));
    world.wait().await;
    super::temporal::check(&world, "v0", "after a crash").await;
    for partition in 0..2 {
        world.append_rows(partition, &[(1, 1, 1_000)]);
    }
    world.wait().await;
    let closed = world.closed("c0", "w", 10, &[0]).await;
    assert_eq!(closed.len(), 3_000);
    assert_eq!(world.view("c0"), closed);
    for (pass, left) in [(3_500, true), (150, false), (10_000, false)] {
        world.pass(pass * SECOND);
        super::temporal::follow(&world, "v0", "the clock goes on").await;
        assert_eq!(world.view("v0").len() > 100, left, "{} rows", world.view("v0").len());
    }
    assert_eq!(world.view("v0").len(), 0);
    assert!(world.is_running("c0") && world.is_running("v0"));
    world.stop().await;
}

/// A run whose entries cannot be read stops the view that needs them; one that cannot be opened is built again from the log.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damaged_state_is_noticed() {
    for in_footer in [false, true] {
        let mut world = full_world(BUDGET).await;
        world.create("v0", TOTALS).await;
        world.append_rows(0, &rows(0, 3_000));
        world.wait().await;
        world.checkpoint().await;
        world.checkpoint().await;
        world.engine().halt().await.unwrap();
        let files = world.run_files();
        assert!(!files.is_empty());
        for name in &files {
            world.damage(name, if in_footer { world.file_len(name) - 20 } else { 20 });
        }
        world.start(2).await;
        if !in_footer {
            assert!(world.is_running("v0"), "nothing was read of it yet");
        }
        world.append_rows(0, &rows(0, 3_000));
        world.wait().await;
        if in_footer {
            assert_eq!(world.view("v0"), world.batch("v0").await);
        } else {
            let ViewState::Failed(reason) = world.status("v0").state else { panic!("it runs") };
            assert!(reason.contains("a state run is damaged"), "{reason}");
            world.engine().resume_view(super::world::id("v0")).await.unwrap();
            world.wait().await;
            assert_eq!(world.view("v0"), world.batch("v0").await);
        }
        world.stop().await;
    }
}

/// Answers of all kinds: with a key, without one, and such that only grow.
const ANSWERS: [(&str, &str); 3] = [
    ("v0", "SELECT k, v, count(*) AS n FROM s0 GROUP BY k, v"),
    ("v1", "SELECT a.k, b.v FROM s0 a LEFT JOIN (SELECT k, min(v) AS v FROM s1 GROUP BY k) b ON a.k = b.k"),
    ("v2", "SELECT k, v + 1 AS v FROM s0"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_on_disk_are_served_at_once_after_a_crash() {
    let mut random = Random::new(11);
    let mut world = World::empty();
    world.read_more_at_once(195);
    world.options.epoch_bytes = 4_096;
    world.options.hot_bytes = 0;
    world.start(2).await;
    for (name, query) in ANSWERS {
        world.create(name, query).await;
    }
    world.create("v3", "SELECT k, count(*) AS n, sum(v) AS s FROM v0 GROUP BY k").await;
    let mut held = vec![];
    for part in 0..4 {
        world.append_rows(part % 2, &rows(part as i64 * 400, part as i64 * 400 + 400));
        world.append(&mut random);
        world.wait().await;
        held.push((world.engine().published(), ANSWERS.map(|(name, _)| world.view(name))));
        world.checkpoint().await;
        world.checkpoint().await;
    }
    for (name, _) in ANSWERS {
        let status = measured(&world, name).await;
        assert!(status.disk_bytes > 5_000, "{name}: {} bytes on disk", status.disk_bytes);
        assert_eq!(world.view(name), world.batch(name).await);
    }
    // Readers keep what they hold, whatever was merged and removed since.
    for (published, answers) in &held {
        for ((name, _), rows) in ANSWERS.iter().zip(answers) {
            assert_eq!(&World::rows_of(published, name), rows);
        }
    }
    drop(held);
    world.crash(1).await;
    for (name, _) in ANSWERS {
        assert_eq!(world.view(name), world.batch(name).await);
    }
    // A view of views is built over them, and a view that is replaced gives those that read it the difference.
    world.create("v4", "SELECT v, count(*) AS n FROM v1 GROUP BY v").await;
    world.create("v0", "SELECT k, v, count(*) + 1 AS n FROM s0 WHERE k % 3 > 0 GROUP BY k, v").await;
    world.append(&mut random);
    world.wait().await;
    world.checkpoint().await;
    world.crash(2).await;
    for name in ["v0", "v1", "v2", "v3", "v4"] {
        assert_eq!(world.view(name), world.batch(name).await, "{name}");
    }
    for name in ["v4", "v3", "v2", "v1", "v0"] {
        world.engine().drop_view(super::world::id(name)).await.unwrap();
    }
    world.checkpoint().await;
    world.checkpoint().await;
    assert_eq!(world.run_files(), Vec::<String>::new());
    world.stop().await;
}
