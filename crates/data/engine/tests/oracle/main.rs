//! The oracle: whatever the query, the batching, the number of shards, the order of changes, and a restart in between, the
//! accumulated changes of a circuit equal the batch engine's answer over the accumulated input.
//!
//! The same for queries that fail for some rows, which a view may leave out: its answer is the batch answer over the others.
//!
//! `FLEUVE_ORACLE_CASES` sets the number of cases, `FLEUVE_ORACLE_SEED` the first seed (or the one case to repeat, with 1 case).
//! `FLEUVE_ORACLE_SPILL=0` keeps all state in memory; otherwise state leaves it, and comes back, in most cases.
//! `FLEUVE_ORACLE_SQL` runs another query over a case's data. A case that once found a fault stays in [`SEEDS`].

#![allow(clippy::unwrap_used, unreachable_pub)] // a test: what does not hold is to be seen at once

mod as_of;
mod asked_of;
#[path = "../shared/beside.rs"]
mod beside;
#[path = "../shared/cases.rs"]
mod cases;
mod correlated;
mod estimated;
mod failing;
mod framed;
mod hops;
mod incremental;
mod indexed;
mod kinds;
mod large;
mod nearest;
mod query;
mod random;
mod ranking;
mod recursion;
mod replaced;
mod sessions;
mod tables;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::execution::SessionState;
use datafusion::prelude::SessionContext;
use fleuve_engine::{Circuit, MemoryFiles, PartSize, Relations, lower};
use fleuve_types::Delta;

use beside::Beside;
use cases::{each, setting};
use random::Random;
use tables::{TABLES, Table};

/// Cases that found a fault once.
const SEEDS: [u64; 23] = [
    2_232, 3_090, 28_107, 94_139, 104_705, 201_213, 204_626, 224_060, 232_197, 232_969, 522_867, 1_001_058, 1_008_146,
    1_029_105, 1_045_417, 1_052_857, 1_058_823, 1_060_160, 1_091_710, 1_096_348, 5_012_446, 5_019_830, 98_715,
];

/// Cases in which the batch engine is wrong, not the view, if one is found: DataFusion 54.1 gives several rows for equal GROUPING SETS with DISTINCT,
/// and takes rows that are in order within the groups of one of several GROUPING SETS for rows in the order that `nth_value` asks for.
const BATCH_FAULTS: [u64; 0] = [];

/// Which tables only grow in a case.
struct Growth([bool; TABLES]);

impl Relations for Growth {
    fn is_append_only(&self, table: &(String, String)) -> bool {
        let number: usize = table.1[1..].parse().unwrap_or_else(|_| panic!("no table is named {table:?}"));
        self.0[number]
    }

    fn key(&self, _: &(String, String)) -> Option<Vec<usize>> {
        None
    }
}

/// A row as text; floats to nine digits, since sums of floats depend on their order.
fn texts(batch: &RecordBatch) -> Vec<String> {
    let options = FormatOptions::default().with_null("NULL");
    let columns: Vec<_> = batch.columns().iter().map(|c| ArrayFormatter::try_new(c, &options).unwrap()).collect();
    (0..batch.num_rows())
        .map(|row| {
            let cells = columns.iter().zip(batch.columns()).map(|(format, column)| {
                let text = format.value(row).to_string();
                match (column.data_type().is_floating(), text.parse::<f64>()) {
                    (true, Ok(number)) => format!("{:.9e}", if number == 0.0 { 0.0 } else { number }),
                    _ => text,
                }
            });
            cells.collect::<Vec<_>>().join("|")
        })
        .collect()
}

fn add(answer: &mut BTreeMap<String, i64>, delta: &Delta) {
    for (i, text) in texts(&delta.batch).into_iter().enumerate() {
        *answer.entry(text).or_default() += delta.weight(i);
    }
    answer.retain(|_, w| *w != 0);
}

struct Case<'a> {
    sql: &'a str,
    state: &'a SessionState,
    plan: &'a datafusion::logical_expr::LogicalPlan,
    growth: Growth,
    skip: bool,
    files: MemoryFiles,
    /// The folder of its runs.
    place: &'static str,
}

impl Case<'_> {
    fn circuit(&self, shards: usize) -> Circuit {
        let mut circuit =
            lower(self.plan, self.state, &self.growth, shards).unwrap_or_else(|e| panic!("{}\n{e}", self.sql));
        if self.skip {
            circuit.skip_failing_rows();
        }
        circuit.page_to(Arc::new(self.files.clone()), self.place).unwrap();
        circuit
    }
}

/// What queries are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Any,
    /// With expressions that fail for some rows.
    Failing,
    AsOf,
    /// WITH RECURSIVE.
    Recursive,
    /// Aggregates over windows that overlap.
    Hops,
    /// Subqueries that name what is outside of them anywhere, and lists as tables.
    Correlated,
    /// Sketches, and other aggregates that estimate.
    Estimated,
    /// Aggregates over frames.
    Framed,
}

/// What a case came to.
enum Outcome {
    Same {
        /// So many rows were left out.
        dead: usize,
        /// Operators held their answers back.
        held: bool,
    },
    /// The batch engine itself cannot run it.
    NotRunnable,
}

/// DataFusion's planner asserts, in debug builds, that functions over one window still agree after its optimizer went over them.
fn can_be_planned(
    plan: &datafusion::logical_expr::LogicalPlan,
    state: &SessionState,
    runtime: &tokio::runtime::Runtime,
) -> bool {
    let plan = || runtime.block_on(state.query_planner().create_physical_plan(plan, state)).is_ok();
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(plan)).unwrap_or(false)
}

/// A view of a query against the batch answer of one that gives the same. Rows that fail are left out of the view.
fn run(seed: u64, runtime: &tokio::runtime::Runtime, kind: Kind) -> Outcome {
    let skip = kind == Kind::Failing;
    let kept = SEEDS.contains(&seed);
    let numbers = |of: u64| if kept { Random::overlapping(of) } else { Random::new(of) };
    let mut random = numbers(seed);
    // Apart from the others, so that a seed means the same case with and without.
    let mut spilling = numbers(!seed);
    let same = |sql: String| (sql.clone(), sql);
    let (generated, expected) = match kind {
        Kind::Failing => failing::generate(&mut random),
        Kind::AsOf => nearest::generate(&mut random),
        Kind::Recursive => same(recursion::generate(&mut random)),
        Kind::Hops => same(hops::generate(&mut random)),
        Kind::Correlated => same(correlated::generate(&mut random)),
        Kind::Estimated => same(estimated::generate(&mut random)),
        Kind::Framed => same(framed::generate(&mut random)),
        Kind::Any => same(query::generate(&mut random)),
    };
    // Another query over the same data and steps, to narrow a fault down.
    let named = std::env::var("FLEUVE_ORACLE_SQL");
    let expected = named.clone().unwrap_or(expected);
    let sql = named.unwrap_or(generated);
    if std::env::var("FLEUVE_ORACLE_SHOW").is_ok() {
        println!("seed {seed}: {sql}");
    }
    let growth = Growth(std::array::from_fn(|_| random.chance(50)));
    let mut tables: Vec<Table> = (0..TABLES).map(|_| Table::default()).collect();
    let context = context();
    sessions::register(&context);
    as_of::register(&context);
    hops::register(&context);
    estimated::register(&context);
    tables::register(&context, &tables);
    let state = context.state();
    let Ok(plan) = runtime.block_on(state.create_logical_plan(&sql)) else { return Outcome::NotRunnable };
    let Ok(plan) = state.optimize(&plan) else { return Outcome::NotRunnable };
    if !can_be_planned(&plan, &state, runtime) {
        return Outcome::NotRunnable;
    }
    let case =
        Case { sql: &sql, state: &state, plan: &plan, growth, skip, files: MemoryFiles::default(), place: "view" };
    let mut circuit = case.circuit(1 + random.below(4));
    let mut answer = BTreeMap::new();
    let mut dead = 0;
    let mut runs: Vec<Vec<u8>> = vec![];
    let steps = 1 + random.below(8);
    // How often state leaves memory after a step.
    let cold = if spill() { [0, 30, 100][spilling.below(3)] } else { 0 };
    let mut beside: Option<Beside<Vec<Delta>>> = None;
    let mut needs_full = false;
    // So many steps operators hold their answers back, or until there is a checkpoint.
    let mut holding = numbers(seed ^ 0x5eed);
    let holds = !kept && holding.chance(40);
    let mut held = if holds { 1 + holding.below(steps) } else { 0 };
    let holding_back = if held > 0 { circuit.hold_back() } else { 0 };
    for _ in 0..steps {
        let changes: Vec<Delta> =
            tables.iter_mut().enumerate().map(|(n, t)| t.change(&mut random, case.growth.0[n])).collect();
        let inputs: Vec<Delta> = circuit
            .inputs()
            .iter()
            .map(|input| {
                let number: usize = input.table.1[1..].parse().unwrap();
                let delta = &changes[number];
                let columns: Vec<usize> = input.columns.iter().map(|c| c.at).collect();
                let batch = delta.batch.project(&columns).unwrap();
                Delta { batch, weights: delta.weights.clone() }
            })
            .collect();
        let out = circuit.step(&inputs).unwrap_or_else(|e| panic!("seed {seed}: {sql}\n{e}"));
        add(&mut answer, &out);
        dead += circuit.take_dead_rows().len();
        beside.iter_mut().for_each(|b| b.since.push(inputs.clone()));
        if spilling.chance(cold) {
            circuit.evict_all().unwrap();
        }
        let is_due = random.chance(30);
        if held > 0 {
            held -= 1;
            if held == 0 || is_due {
                held = 0;
                let told = circuit.tell_all_held(part_size(&mut holding));
                let told = told.unwrap_or_else(|e| panic!("seed {seed}: {sql}\n{e}"));
                told.iter().for_each(|change| add(&mut answer, change));
                dead += circuit.take_dead_rows().len();
            }
        }
        if let Some(written) = beside.take_if(|_| is_due || spilling.chance(30)) {
            let (named, since) = written.end();
            match named {
                Some(named) if spilling.chance(50) => {
                    circuit = case.circuit(1 + spilling.below(4));
                    circuit.restore(&runs, &named, 0).unwrap_or_else(|e| panic!("seed {seed}: {sql}\n{e}"));
                    for inputs in &since {
                        circuit.step(inputs).unwrap_or_else(|e| panic!("seed {seed}: {sql}\n{e}"));
                        circuit.take_dead_rows();
                    }
                }
                Some(_) => circuit.settle(),
                None => needs_full = true,
            }
        } else if beside.is_none() && held == 0 && !is_due && spill() && spilling.chance(20) {
            if runs.is_empty() || std::mem::take(&mut needs_full) {
                runs.clear();
            }
            let (bytes, unwritten) = circuit.begin_checkpoint(runs.is_empty()).unwrap();
            runs.push(bytes);
            beside = Some(Beside::begin(unwritten, &mut spilling));
        }
        if is_due {
            // A full run stands for all before it.
            let full = runs.is_empty() || random.chance(10) || std::mem::take(&mut needs_full);
            if full {
                runs.clear();
            }
            let (bytes, named) = circuit.checkpoint(full).unwrap();
            runs.push(bytes);
            if random.chance(50) {
                circuit = case.circuit(1 + random.below(4));
                let eager = if spilling.chance(20) { u64::MAX } else { 0 };
                circuit.restore(&runs, &named, eager).unwrap_or_else(|e| panic!("seed {seed}: {sql}\n{e}"));
            }
        }
    }
    tables::register(&context, &tables);
    let batches = runtime.block_on(async { context.sql(&expected).await?.collect().await });
    let Ok(batches) = batches else { return Outcome::NotRunnable };
    let mut expected = BTreeMap::new();
    for batch in batches {
        add(&mut expected, &Delta::insert(batch));
    }
    if std::env::var("FLEUVE_ORACLE_SQL").is_ok() {
        println!("batch answer: {expected:?}");
    }
    if answer != expected {
        let plan = runtime.block_on(async { context.sql(&sql).await?.create_physical_plan().await }).unwrap();
        println!("{}", datafusion::physical_plan::displayable(plan.as_ref()).indent(false));
    }
    let lines = case.circuit(1).explain(false).join("\n");
    assert!(
        answer == expected,
        "seed {seed}\n{sql}\n{lines}\nonly in the view: {:?}\nonly in the batch answer: {:?}",
        answer.iter().filter(|(k, v)| expected.get(*k) != Some(v)).collect::<Vec<_>>(),
        expected.iter().filter(|(k, v)| answer.get(*k) != Some(v)).collect::<Vec<_>>(),
    );
    Outcome::Same { dead, held: holding_back > 0 }
}

/// What is told at once of what was held back.
fn part_size(random: &mut Random) -> PartSize {
    let rows = [1, 3, u64::MAX][random.below(3)];
    PartSize { rows, bytes: if random.chance(20) { 400 } else { u64::MAX } }
}

/// The batch engine, as queries have it.
fn context() -> SessionContext {
    SessionContext::new_with_state(fleuve_engine::session_state())
}

fn spill() -> bool {
    setting("FLEUVE_ORACLE_SPILL", 1) == 1
}

#[test]
fn a_view_equals_the_batch_answer() {
    compare(setting("FLEUVE_ORACLE_CASES", 2_000), Kind::Any);
}

#[test]
fn rows_that_fail_are_left_out_and_nothing_else() {
    compare(setting("FLEUVE_ORACLE_CASES", 2_000).div_ceil(4), Kind::Failing);
}

#[test]
fn as_of_joins_are_as_defined() {
    compare(setting("FLEUVE_ORACLE_CASES", 2_000).div_ceil(2), Kind::AsOf);
}

#[test]
fn a_recursion_equals_the_batch_answer() {
    compare(setting("FLEUVE_ORACLE_CASES", 2_000).div_ceil(4), Kind::Recursive);
}

#[test]
fn windows_that_overlap_equal_the_batch_answer() {
    compare(setting("FLEUVE_ORACLE_CASES", 2_000).div_ceil(4), Kind::Hops);
}

#[test]
fn correlated_subqueries_equal_the_batch_answer() {
    compare(setting("FLEUVE_ORACLE_CASES", 2_000).div_ceil(4), Kind::Correlated);
}

#[test]
fn estimates_equal_those_of_the_batch_answer() {
    compare(setting("FLEUVE_ORACLE_CASES", 2_000).div_ceil(4), Kind::Estimated);
}

#[test]
fn frames_equal_those_of_the_batch_answer() {
    compare(setting("FLEUVE_ORACLE_CASES", 2_000).div_ceil(4), Kind::Framed);
}

#[test]
fn what_a_circuit_keeps_of_another_one_gives_its_own_answer() {
    let seeds = seeds(setting("FLEUVE_ORACLE_CASES", 2_000).div_ceil(2));
    let outcomes: Vec<bool> = each("replaced circuits", &seeds, replaced::run).into_iter().flatten().collect();
    let kept = outcomes.iter().filter(|kept| **kept).count();
    println!("{kept} of {} circuits kept state", outcomes.len());
    assert!(seeds.len() < 20 || kept * 5 >= outcomes.len(), "only {kept} of {} circuits kept state", outcomes.len());
}

#[test]
fn rows_in_indexes_are_those_of_the_tables() {
    let seeds = seeds(setting("FLEUVE_ORACLE_CASES", 2_000).div_ceil(2));
    let outcomes: Vec<bool> = each("indexes", &seeds, indexed::run).into_iter().flatten().collect();
    let used = outcomes.iter().filter(|used| **used).count();
    println!("{used} of {} circuits looked rows up in indexes", outcomes.len());
    assert!(seeds.len() < 20 || used * 3 >= outcomes.len(), "only {used} of {} circuits used an index", outcomes.len());
}

#[test]
fn queries_over_a_query_have_its_rows() {
    let seeds = seeds(setting("FLEUVE_ORACLE_CASES", 2_000).div_ceil(10));
    let outcomes: Vec<bool> = each("queries over queries", &seeds, asked_of::run);
    let ran = outcomes.iter().filter(|ran| **ran).count();
    println!("{ran} of {} queries could be run", outcomes.len());
    assert!(
        outcomes.len() < 20 || ran * 10 >= outcomes.len() * 8,
        "only {ran} of {} generated queries could be run at all",
        outcomes.len()
    );
}

fn seeds(cases: u64) -> Vec<u64> {
    let first = setting("FLEUVE_ORACLE_SEED", 1);
    (first..first + cases).collect()
}

fn compare(cases: u64, kind: Kind) {
    let seeds: Vec<u64> = SEEDS.into_iter().chain(seeds(cases)).filter(|s| !BATCH_FAULTS.contains(s)).collect();
    let (mut same, mut left_out, mut held_back) = (0, 0, 0);
    for outcome in each(&format!("{kind:?}"), &seeds, |seed, runtime| run(seed, runtime, kind)) {
        if let Outcome::Same { dead, held } = outcome {
            same += 1;
            left_out += u64::from(dead > 0);
            held_back += u64::from(held);
        }
    }
    println!("{same} of {cases} cases compared, {left_out} with rows left out, {held_back} with answers held back");
    assert!(
        kind != Kind::Any || cases < 20 || held_back * 20 >= same,
        "answers were held back in {held_back} of {same}"
    );
    assert!(kind != Kind::Failing || left_out * 4 >= same, "only {left_out} of {same} queries failed for any row");
    assert!(same * 10 >= cases * 8, "only {same} of {cases} generated queries could be run at all");
}
