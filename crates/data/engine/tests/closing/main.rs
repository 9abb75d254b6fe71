//! EMIT ON WINDOW CLOSE: whatever the query, the batching, the number of shards and a restart in between, the view equals the batch
//! answer over the rows that were not late, restricted to closed windows. What is late and what is closed is reckoned here anew, from
//! the definition. And a year of events takes no more state than two weeks.
//!
//! A quarter of `FLEUVE_ORACLE_CASES` (2,000) is the number of cases, `FLEUVE_ORACLE_SEED` the first seed.

#![allow(clippy::unwrap_used, unreachable_pub)] // a test: what does not hold is to be seen at once

#[path = "../oracle/as_of.rs"]
mod as_of;
#[path = "../shared/beside.rs"]
mod beside;
#[path = "../shared/cases.rs"]
mod cases;
mod query;
#[path = "../oracle/random.rs"]
mod random;
mod refused;
#[path = "../oracle/sessions.rs"]
mod sessions;
mod year;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::datasource::MemTable;
use datafusion::execution::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::SessionContext;
use fleuve_engine::{Circuit, Mark, MemoryFiles, Relations, TimeColumns, lower_on_close};
use fleuve_types::Delta;

use beside::Beside;
use cases::{each, setting};
use random::Random;

pub const TABLES: usize = 2;
const SECOND: i64 = 1_000_000;
const TIME: usize = 3;

pub fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("k", DataType::Int32, true),
        Field::new("v", DataType::Int64, true),
        Field::new("s", DataType::Utf8, true),
        Field::new("ts", DataType::Timestamp(TimeUnit::Microsecond, None), true),
    ]))
}

pub type Row = (Option<i32>, i64, &'static str, Option<i64>);

pub fn batch(rows: &[Row]) -> RecordBatch {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(rows.iter().map(|r| r.0).collect::<Int32Array>()),
        Arc::new(rows.iter().map(|r| Some(r.1)).collect::<Int64Array>()),
        Arc::new(rows.iter().map(|r| Some(r.2)).collect::<StringArray>()),
        Arc::new(rows.iter().map(|r| r.3).collect::<TimestampMicrosecondArray>()),
    ];
    RecordBatch::try_new(schema(), columns).unwrap()
}

/// Both tables are streams with event time.
pub struct Streams;

impl Relations for Streams {
    fn is_append_only(&self, _: &(String, String)) -> bool {
        true
    }

    fn key(&self, _: &(String, String)) -> Option<Vec<usize>> {
        None
    }

    fn event_time(&self, _: &(String, String)) -> TimeColumns {
        TimeColumns::of_stream(Some(TIME))
    }
}

/// Makes the tables known to a session, in place of what it had.
pub fn register(context: &SessionContext, tables: &[Vec<Row>]) {
    for (n, rows) in tables.iter().enumerate() {
        let name = format!("t{n}");
        let _ = context.deregister_table(name.as_str()).unwrap();
        let rows = MemTable::try_new(schema(), vec![vec![batch(rows)]]).unwrap();
        context.register_table(name.as_str(), Arc::new(rows)).unwrap();
    }
}

/// The change of each input of a circuit, and its watermark.
type Inputs = (Vec<Delta>, Vec<Vec<Mark>>);

pub fn inputs(circuit: &Circuit, rows: &[Vec<Row>], watermarks: &[Option<i64>]) -> Inputs {
    let number = |table: &(String, String)| table.1[1..].parse::<usize>().unwrap();
    circuit
        .inputs()
        .iter()
        .map(|input| {
            let n = number(&input.table);
            let columns: Vec<usize> = input.columns.iter().map(|c| c.at).collect();
            let delta = Delta::insert(batch(&rows[n]).project(&columns).unwrap());
            (delta, watermarks[n].map(|w| (TIME, w)).into_iter().collect())
        })
        .unzip()
}

fn add(answer: &mut BTreeMap<String, i64>, delta: &Delta) {
    let options = FormatOptions::default().with_null("NULL");
    let columns: Vec<_> = delta.batch.columns().iter().map(|c| ArrayFormatter::try_new(c, &options).unwrap()).collect();
    for i in 0..delta.len() {
        let text: Vec<String> = columns.iter().map(|c| c.value(i).to_string()).collect();
        *answer.entry(text.join("|")).or_default() += delta.weight(i);
    }
    answer.retain(|_, w| *w != 0);
}

/// A stream as the definition has it: one partition, rows in their order.
struct Model {
    delay: i64,
    watermark: Option<i64>,
    on_time: Vec<Row>,
    late: usize,
}

impl Model {
    /// Takes a row; true if it is not late.
    fn take(&mut self, row: Row) -> bool {
        let Some(time) = row.3 else {
            self.on_time.push(row);
            return true;
        };
        if self.watermark.is_some_and(|w| time < w) {
            self.late += 1;
            return false;
        }
        self.watermark = self.watermark.max(Some(time - self.delay));
        self.on_time.push(row);
        true
    }
}

fn row(random: &mut Random, now: i64) -> Row {
    let jitter = random.below(40) as i64 - 30;
    (
        random.chance(90).then(|| random.below(4) as i32),
        random.below(9) as i64 - 3,
        *random.pick(&["", "a", "b"]),
        random.chance(95).then_some((now + jitter) * SECOND),
    )
}

struct Case<'a> {
    state: &'a SessionState,
    plan: &'a LogicalPlan,
    /// Where state lies that has left memory.
    files: MemoryFiles,
}

impl Case<'_> {
    fn circuit(&self, shards: usize) -> fleuve_types::Result<Circuit> {
        let mut circuit = lower_on_close(self.plan, self.state, &Streams, shards)?;
        circuit.page_to(Arc::new(self.files.clone()), "view")?;
        Ok(circuit)
    }
}

/// The batch answer over the tables, restricted to rows that are final.
fn closed_answer(
    runtime: &tokio::runtime::Runtime,
    context: &SessionContext,
    sql: &str,
) -> Option<BTreeMap<String, i64>> {
    let mut expected = BTreeMap::new();
    let batches = runtime.block_on(async { context.sql(sql).await?.collect().await }).ok()?;
    for batch in batches {
        add(&mut expected, &Delta::insert(batch));
    }
    Some(expected)
}

/// A case that could be compared.
struct Compared {
    /// So many rows were late.
    late: usize,
    /// Its rows do not all show their time.
    is_hidden: bool,
    /// So many rows the view showed at the end.
    shown: usize,
}

fn run(seed: u64, runtime: &tokio::runtime::Runtime) -> Option<Compared> {
    let mut random = Random::new(seed);
    let query = query::generate(&mut random);
    let context = SessionContext::new_with_state(fleuve_engine::session_state());
    register(&context, &vec![vec![]; TABLES]);
    sessions::register(&context);
    as_of::register(&context);
    let state = context.state();
    let plan = runtime.block_on(state.create_logical_plan(&query.sql)).ok()?;
    let plan = state.optimize(&plan).ok()?;
    let case = Case { state: &state, plan: &plan, files: MemoryFiles::default() };
    let mut circuit = case.circuit(1 + random.below(4)).unwrap_or_else(|e| panic!("seed {seed}: {}\n{e}", query.sql));
    assert!(circuit.is_append_only(), "seed {seed}: {}", query.sql);
    let mut models: Vec<Model> = (0..TABLES)
        .map(|_| Model { delay: random.below(25) as i64 * SECOND, watermark: None, on_time: vec![], late: 0 })
        .collect();
    let (mut answer, mut runs, mut now) = (BTreeMap::new(), vec![], 100);
    let mut spilling = Random::new(seed ^ 0x5b11);
    // How often state leaves memory after a step.
    let cold = [0, 30, 100][spilling.below(3)];
    let mut beside: Option<Beside<Inputs>> = None;
    let mut needs_full = false;
    for _ in 0..1 + random.below(12) {
        let mut rows = vec![vec![]; TABLES];
        for (model, rows) in models.iter_mut().zip(&mut rows) {
            for _ in 0..random.below(7) {
                now += random.below(4) as i64;
                let row = row(&mut random, now);
                if model.take(row) {
                    rows.push(row);
                }
            }
        }
        if random.chance(15) {
            now += 60;
        }
        let watermarks: Vec<Option<i64>> = models.iter().map(|m| m.watermark).collect();
        let (deltas, marks) = inputs(&circuit, &rows, &watermarks);
        let out = circuit.step_at(&deltas, &marks).unwrap_or_else(|e| panic!("seed {seed}: {}\n{e}", query.sql));
        assert!(out.is_append(), "seed {seed}: a row went\n{}", query.sql);
        add(&mut answer, &out);
        if let Some(beside) = &mut beside {
            beside.since.push((deltas, marks));
        }
        if spilling.chance(cold) {
            circuit.evict_all().unwrap();
        }
        let is_due = random.chance(35);
        if let Some(written) = beside.take_if(|_| is_due || spilling.chance(30)) {
            let (named, since) = written.end();
            match named {
                Some(named) if spilling.chance(50) => {
                    circuit = case.circuit(1 + spilling.below(4)).unwrap();
                    circuit.restore(&runs, &named, 0).unwrap_or_else(|e| panic!("seed {seed}: {}\n{e}", query.sql));
                    for (deltas, marks) in &since {
                        circuit.step_at(deltas, marks).unwrap_or_else(|e| panic!("seed {seed}: {}\n{e}", query.sql));
                    }
                }
                Some(_) => circuit.settle(),
                None => needs_full = true,
            }
        } else if beside.is_none() && !is_due && cold > 0 && spilling.chance(20) {
            if runs.is_empty() || std::mem::take(&mut needs_full) {
                runs.clear();
            }
            let (bytes, unwritten) = circuit.begin_checkpoint(runs.is_empty()).unwrap();
            runs.push(bytes);
            beside = Some(Beside::begin(unwritten, &mut spilling));
        }
        if is_due {
            let full = runs.is_empty() || random.chance(10) || std::mem::take(&mut needs_full);
            if full {
                runs.clear();
            }
            let (bytes, named) = circuit.checkpoint(full).unwrap();
            runs.push(bytes);
            if random.chance(60) {
                circuit = case.circuit(1 + random.below(4)).unwrap();
                let eager = if spilling.chance(20) { u64::MAX } else { 0 };
                circuit.restore(&runs, &named, eager).unwrap_or_else(|e| panic!("seed {seed}: {}\n{e}", query.sql));
            }
        }
        // At any moment, not only at the end.
        register(&context, &models.iter().map(|m| m.on_time.clone()).collect::<Vec<_>>());
        let least = |tables: &[(usize, i64)]| {
            tables.iter().map(|(t, lag)| models[*t].watermark.map(|w| w - lag * SECOND)).min().flatten()
        };
        let closed = query.closed(least);
        let expected = closed_answer(runtime, &context, &closed)?;
        assert!(
            answer == expected,
            "seed {seed}: {}\nagainst {closed}\n{}\nonly in the view: {:?}\nonly in the model: {:?}",
            query.sql,
            circuit.explain(true).join("\n"),
            answer.iter().filter(|(k, v)| expected.get(*k) != Some(v)).collect::<Vec<_>>(),
            expected.iter().filter(|(k, v)| answer.get(*k) != Some(v)).collect::<Vec<_>>(),
        );
    }
    Some(Compared { is_hidden: query.hidden.is_some(), late: models.iter().map(|m| m.late).sum(), shown: answer.len() })
}

#[test]
fn a_closed_view_equals_the_batch_answer_over_closed_windows() {
    let (cases, first) = (setting("FLEUVE_ORACLE_CASES", 2_000) / 4, setting("FLEUVE_ORACLE_SEED", 1));
    let seeds: Vec<u64> = (first..first + cases).collect();
    let compared: Vec<Compared> = each("EMIT ON WINDOW CLOSE", &seeds, run).into_iter().flatten().collect();
    let (late, shown) = compared.iter().fold((0, 0), |(late, shown), c| (late + c.late, shown + c.shown));
    println!("{} of {cases} cases compared, {late} late rows, {shown} rows shown at the end", compared.len());
    assert!(
        compared.len() * 10 >= seeds.len() * 8,
        "only {} of {cases} generated queries could be run at all",
        compared.len()
    );
    let of_hidden: usize = compared.iter().filter(|c| c.is_hidden).map(|c| c.shown).sum();
    assert!(cases < 100 || of_hidden > 100, "{of_hidden} rows of queries that do not show the time of each");
    assert!(cases < 100 || (late > 100 && shown > 100), "{late} late rows and {shown} rows shown test nothing");
}
