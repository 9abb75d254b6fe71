//! The running engine over made-up streams: views over views, made before and after the data, replaced while they run; crashes at
//! any point; a sink that has to see every change once. Whatever happens, views equal the batch answer.
//!
//! `FLEUVE_ENGINE_CASES` sets the number of cases.

#![allow(clippy::unwrap_used, unreachable_pub)] // a test: what does not hold is to be seen at once

mod world;

use std::collections::BTreeMap;

use world::{Random, World};

/// The views of the test, in the order in which they can be made: name and query.
const VIEWS: [(&str, &str); 4] = [
    ("v0", "SELECT k, count(*) AS n, sum(v) AS s FROM s0 GROUP BY k"),
    ("v1", "SELECT a.k, a.v, b.v AS w FROM s0 a LEFT JOIN s1 b ON a.k = b.k AND a.v < b.v"),
    ("v2", "SELECT n, count(*) AS c, max(s) AS m FROM v0 GROUP BY n"),
    ("v3", "SELECT v0.k, v0.n, x.v FROM v0 JOIN s1 x ON x.k = v0.k WHERE x.v > 2"),
];
/// What `v0` becomes when it is replaced: the same columns, another meaning.
const REPLACED: &str = "SELECT k, count(*) AS n, max(v) AS s FROM s0 WHERE v <> 1 GROUP BY k";

async fn case(seed: u64) {
    let mut random = Random::new(seed);
    let mut world = World::new(&mut random);
    world.start(1 + random.below(3)).await;
    let mut made = 0;
    for _ in 0..25 {
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
    for (name, _) in VIEWS {
        let (view, batch) = (world.view(name), world.batch(name).await);
        assert_eq!(view, batch, "seed {seed}: {name}");
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
    let root = operators.last().unwrap();
    assert_eq!(root.rows_out, status.rows_out);
    // The state is measured a moment after the last epoch.
    let measured = |p: &fleuve_engine::Published| {
        let of = &p.status[&world::id("v0")];
        let held = of.profile.operators().iter().find(|o| o.operator() == "Aggregate").map(|o| o.state_rows);
        held == Some(groups as u64) && of.state_bytes > 0
    };
    drop(world.engine().watch().wait_for(|p| measured(p)).await.unwrap());
    let epochs = world.engine().epochs();
    assert!(epochs.windows(2).all(|two| two[0].epoch < two[1].epoch));
    assert!(epochs.iter().map(|e| e.rows).sum::<u64>() > 0);
    world.stop().await;
}

#[test]
fn views_equal_the_batch_answer_through_crashes() {
    let cases = std::env::var("FLEUVE_ENGINE_CASES").ok().and_then(|c| c.parse().ok()).unwrap_or(100);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    for seed in 1..=cases {
        runtime.block_on(case(seed));
    }
}
