//! The running engine over made-up streams: views over views, made before and after the data, replaced while they run; crashes at
//! any point; a sink that has to see every change once. Whatever happens, views equal the batch answer.
//!
//! `FLEUVE_ENGINE_CASES` sets the number of cases, `FLEUVE_ENGINE_SEED` the first one's seed.

#![allow(clippy::unwrap_used, unreachable_pub)] // a test: what does not hold is to be seen at once

mod altering;
mod beginning;
mod behind;
mod beside;
mod budget;
mod building;
#[path = "../shared/cases.rs"]
mod cases;
mod failing;
mod idle;
mod indexes;
mod keeping;
mod letting_go;
mod looking;
mod memory;
mod moving;
mod reading;
mod replacing;
mod restarts;
mod temporal;
mod world;

use std::collections::BTreeMap;

use world::{Random, World, for_seeds};

/// The views of the test, in the order in which they can be made: name and query. `c...` emit on window close.
const VIEWS: [(&str, &str); 8] = [
    ("v0", "SELECT k, count(*) AS n, sum(v) AS s FROM s0 GROUP BY k"),
    ("v1", "SELECT a.k, a.v, b.v AS w FROM s0 a LEFT JOIN s1 b ON a.k = b.k AND a.v < b.v"),
    ("v2", "SELECT n, count(*) AS c, max(s) AS m FROM v0 GROUP BY n"),
    ("v3", "SELECT v0.k, v0.n, x.v FROM v0 JOIN s1 x ON x.k = v0.k WHERE x.v > 2"),
    ("c0", "SELECT date_bin(INTERVAL '10 seconds', ts) AS w, k, count(*) AS n, sum(v) AS s FROM s0 GROUP BY w, k"),
    ("c1", "SELECT date_bin(INTERVAL '20 seconds', w) AS x, max(n) AS m, count(*) AS c FROM c0 GROUP BY x"),
    (
        "c2",
        "SELECT a.w, a.k, a.v, b.v AS z FROM (SELECT date_bin(INTERVAL '10 seconds', ts) AS w, * FROM s0) a
         LEFT JOIN (SELECT date_bin(INTERVAL '10 seconds', ts) AS w, * FROM s1) b ON a.w = b.w AND a.k = b.k",
    ),
    ("c3", "SELECT c0.w, c0.k, c0.n, c2.z FROM c0 JOIN c2 ON c0.w = c2.w AND c0.k = c2.k"),
];
/// Of those: the column and length of its windows, and the streams that hold it back.
const CLOSING: [(&str, &str, i64, &[usize]); 4] =
    [("c0", "w", 10, &[0]), ("c1", "x", 20, &[0]), ("c2", "w", 10, &[0, 1]), ("c3", "w", 10, &[0, 1])];

/// What `v0` becomes when it is replaced: the same columns, another meaning.
const REPLACED: &str = "SELECT k, count(*) AS n, max(v) AS s FROM s0 WHERE v <> 1 GROUP BY k";

async fn case(seed: u64) {
    let mut random = Random::new(seed);
    let mut world = World::new(&mut random);
    let mut cold = random.below(2) == 0;
    world.options.hot_bytes = if cold { 0 } else { usize::MAX };
    world.start(1 + random.below(3)).await;
    let mut made = 0;
    for _ in 0..30 {
        if random.below(10) == 0 {
            // From the next crash on.
            cold = !cold;
            world.options.hot_bytes = if cold { 0 } else { usize::MAX };
        }
        match random.below(10) {
            0..=4 => world.append(&mut random),
            5 if made < VIEWS.len() => {
                let (name, query) = VIEWS[made];
                world.create(name, query).await;
                made += 1;
            }
            6 => world.checkpoint().await,
            7 => world.crash(1 + random.below(3)).await,
            8 if made > 0 && random.below(3) == 0 => world.create("v0", REPLACED).await,
            9 if made > 0 && !world.has_sink() => world.add_sink("v0").await,
            _ => world.wait().await,
        }
    }
    for (name, query) in &VIEWS[made..] {
        world.create(name, query).await;
    }
    world.wait().await;
    for (name, _) in VIEWS.iter().filter(|(name, _)| name.starts_with('v')) {
        assert!(world.is_running(name), "seed {seed}: {name}");
        let (view, batch) = (world.view(name), world.batch(name).await);
        assert_eq!(view, batch, "seed {seed}: {name}");
    }
    for (name, column, length, of) in CLOSING {
        let (view, closed) = (world.view(name), world.closed(name, column, length, of).await);
        assert_eq!(view, closed, "seed {seed}: {name}");
    }
    if world.has_sink() {
        let (sink, view): (BTreeMap<String, i64>, _) = (world.sunk(), world.view("v0"));
        assert_eq!(sink, view, "seed {seed}: what the sink got does not add up to its view");
    }
    world.stop().await;
}

/// What the engine says about itself adds up to what it was given.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn figures_add_up() {
    let mut random = Random::new(7);
    let mut world = World::new(&mut random);
    world.start(2).await;
    world.create("v0", "SELECT k, count(*) AS n FROM s0 GROUP BY k").await;
    for _ in 0..5 {
        world.append(&mut random);
        world.wait().await;
    }
    let status = world.status("v0");
    assert_eq!(status.state, fleuve_engine::ViewState::Running);
    let operators = status.profile.operators();
    let (rows, groups) = (world.rows("s0"), world.view("v0").len());
    assert!(rows > 0 && groups > 0);
    let input = operators.iter().find(|o| o.operator() == "Input").unwrap();
    assert_eq!((input.rows_in, input.rows_out), (0, rows as u64));
    let aggregate = operators.iter().find(|o| o.operator() == "Aggregate").unwrap();
    assert_eq!((aggregate.rows_in, aggregate.inputs.as_slice()), (rows as u64, &[input.node][..]));
    assert!(!aggregate.busy.is_zero());
    assert!(!input.busy.is_zero(), "its rows were picked, and some of them read and decoded for its build");
    // The last one is the answer.
    let [.., root, answer] = operators.as_slice() else { panic!("{operators:?}") };
    assert_eq!((answer.description.as_str(), answer.inputs.as_slice()), ("Answer: key [k]", &[root.node][..]));
    assert_eq!((answer.rows_in, answer.rows_out), (root.rows_out, status.rows_out));
    assert!(!answer.busy.is_zero());
    // The state is measured a moment after the last epoch.
    let measured = |p: &fleuve_engine::Published| {
        let of = &p.status[&world::id("v0")];
        let operators = of.profile.operators();
        let held = |name: &str| operators.iter().find(|o| o.operator() == name).map(|o| o.state_rows);
        let sum: u64 = operators.iter().map(|o| o.state_bytes).sum();
        let all = Some(groups as u64);
        let of_memory = p.memory.budget_bytes > 0 && p.memory.state_bytes >= of.state_bytes;
        held("Aggregate") == all && held("Answer") == all && sum == of.state_bytes as u64 && sum > 0 && of_memory
    };
    drop(world.engine().watch().wait_for(|p| measured(p)).await.unwrap());
    let lines = world.engine().explain(world::id("v0")).await.unwrap();
    assert!(lines[0].starts_with(&format!("Answer: key [k] | node {}, rows in ", answer.node)), "{lines:?}");
    assert!(lines[0].contains(&format!("state {groups} rows")) && lines[1].starts_with("  "), "{lines:?}");
    assert!(lines.last().unwrap().contains("epochs decoded it for all views in "), "{lines:?}");
    assert!(world.engine().decoding()[&world::id("s0")] > std::time::Duration::ZERO);
    let durations = world.engine().epoch_durations();
    assert_eq!(durations.count, world.engine().epochs().len() as u64);
    assert!(durations.count > 0 && durations.sum > std::time::Duration::ZERO);
    let epochs = world.engine().epochs();
    assert!(epochs.windows(2).all(|two| two[0].epoch < two[1].epoch));
    assert!(epochs.iter().map(|e| e.rows).sum::<u64>() > 0);
    world.stop().await;
}

#[test]
fn views_equal_the_batch_answer_through_crashes() {
    for_seeds("crashes", 100, case);
}
