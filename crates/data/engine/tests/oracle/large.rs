//! Joins of steps with so many rows that they are dealt out to shards in another order, with a hot key among them: the same as in small steps.

use std::collections::BTreeMap;

use fleuve_engine::{Circuit, lower};
use fleuve_types::Delta;

use super::random::Random;
use super::tables::Short as Row;
use super::{Growth, add, context, tables};

const QUERIES: [&str; 7] = [
    "SELECT a.k, a.v, b.v AS w FROM t0 a JOIN t1 b ON a.k = b.k",
    "SELECT a.k, a.v, b.v AS w FROM t0 a LEFT JOIN t1 b ON a.k + 1 = b.k",
    "SELECT a.k, a.v, b.v AS w FROM t0 a FULL JOIN t1 b ON a.k = b.k",
    "SELECT a.k, a.v, b.v AS w FROM t0 a LEFT JOIN t1 b ON a.k = b.k AND a.v < b.v",
    "SELECT a.k, a.v FROM t0 a WHERE EXISTS (SELECT 1 FROM t1 b WHERE b.k = a.k)",
    "SELECT a.k, a.v FROM t0 a WHERE NOT EXISTS (SELECT 1 FROM t1 b WHERE b.k = a.k AND b.v > a.v)",
    "SELECT k, v FROM t0 INTERSECT SELECT k, v FROM t1",
];

/// More than are dealt out at once, and no whole number of times as many.
const MANY: usize = 20_000;
const FEW: usize = 500;
const KEYS: usize = 3_000;

/// Rows of which `hot` of 100 have one key; a few have none.
fn rows(random: &mut Random, count: usize, hot: usize) -> Vec<(Row, i64)> {
    let mut row = || {
        let key = if random.chance(hot) { 0 } else { 1 + random.below(KEYS) as i32 };
        let weight = 1 + i64::from(random.chance(5));
        (((!random.chance(3)).then_some(key), Some(random.below(40) as i64)), weight)
    };
    (0..count).map(|_| row()).collect()
}

/// The answer after steps of at most `most` rows of each table.
fn answer(mut circuit: Circuit, steps: &[[Vec<(Row, i64)>; 2]], most: usize) -> BTreeMap<String, i64> {
    let mut answer = BTreeMap::new();
    let numbers: Vec<(usize, Vec<usize>)> = circuit
        .inputs()
        .iter()
        .map(|i| (i.table.1[1..].parse().unwrap(), i.columns.iter().map(|c| c.at).collect()))
        .collect();
    for step in steps {
        let parts = step.iter().map(|rows| rows.len().div_ceil(most)).max().unwrap_or_default();
        for part in 0..parts {
            let inputs: Vec<Delta> = numbers
                .iter()
                .map(|(table, columns)| {
                    let rows = step[*table].chunks(most).nth(part).unwrap_or_default();
                    let delta = tables::delta(rows);
                    Delta { batch: delta.batch.project(columns).unwrap(), weights: delta.weights }
                })
                .collect();
            add(&mut answer, &circuit.step(&inputs).unwrap());
        }
    }
    answer
}

#[test]
fn large_steps_of_joins_are_small_ones_together() {
    let context = context();
    tables::register(&context, &(0..tables::TABLES).map(|_| tables::Table::default()).collect::<Vec<_>>());
    let state = context.state();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut random = Random::new(1);
    let (left, right) = (rows(&mut random, MANY, 50), rows(&mut random, FEW, 1));
    // Most of the left rows go again, and then many come to the right side.
    let gone: Vec<(Row, i64)> = left.iter().skip(MANY / 20).map(|(row, weight)| (*row, -weight)).collect();
    let more = rows(&mut random, MANY, 1);
    let steps = [[left, right], [gone, vec![]], [vec![], more]];
    for sql in QUERIES {
        let plan = runtime.block_on(state.create_logical_plan(sql)).unwrap();
        let plan = state.optimize(&plan).unwrap();
        let circuit = |shards| lower(&plan, &state, &Growth([false; tables::TABLES]), shards).unwrap();
        let small = answer(circuit(1), &steps, 1_000);
        assert!(!small.is_empty(), "{sql}");
        for shards in [1, 2, 3] {
            assert!(answer(circuit(shards), &steps, usize::MAX) == small, "{sql} in {shards} times as many shards");
        }
    }
}
