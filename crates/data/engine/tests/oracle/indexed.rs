//! Circuits whose joins look rows up in indexes of the tables: the answer is that of the query, wherever the rows of the indexes lie, and
//! whether circuit or indexes are restored in between.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::execution::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::SessionContext;
use fleuve_engine::{Circuit, MemoryFiles, RelationIndex, Relations, lower, lower_index};
use fleuve_types::{Delta, ObjectId};

use crate::random::Random;
use crate::tables::{self, TABLES, Table, schema};
use crate::{add, can_be_planned, context};

/// Sets of columns that there can be an index by.
const BY: [&[usize]; 6] = [&[0], &[1], &[2], &[0, 1], &[1, 2], &[2, 0]];

struct Index {
    table: usize,
    by: &'static [usize],
    plan: LogicalPlan,
    circuit: Circuit,
    saved: Vec<Vec<u8>>,
    files: MemoryFiles,
}

impl Index {
    fn circuit(&self, state: &SessionState, known: &Known, shards: usize) -> Circuit {
        let mut circuit = lower_index(&self.plan, state, known, shards, self.by).unwrap();
        circuit.page_to(Arc::new(self.files.clone()), "index").unwrap();
        circuit
    }
}

/// Which tables only grow, and the indexes: of which table, by what.
struct Known {
    growth: [bool; TABLES],
    indexes: Vec<(usize, &'static [usize])>,
}

fn number(table: &(String, String)) -> usize {
    table.1[1..].parse().unwrap()
}

impl Relations for Known {
    fn is_append_only(&self, table: &(String, String)) -> bool {
        self.growth[number(table)]
    }

    fn key(&self, _: &(String, String)) -> Option<Vec<usize>> {
        None
    }

    fn indexes(&self, table: &(String, String)) -> Vec<RelationIndex> {
        let own = self.indexes.iter().enumerate().filter(|(_, (of, _))| *of == number(table));
        let types = || schema().fields().iter().map(|f| f.data_type().clone()).enumerate().collect();
        own.map(|(n, (_, by))| RelationIndex {
            id: ObjectId(n as u128),
            name: format!("public.i{n}"),
            by: by.to_vec(),
            holds: types(),
        })
        .collect()
    }
}

/// The change of each input of a circuit.
fn inputs(circuit: &Circuit, changes: &[Delta]) -> Vec<Delta> {
    let of = |input: &fleuve_engine::CircuitInput| {
        let delta = &changes[number(&input.table)];
        let columns: Vec<usize> = input.columns.iter().map(|c| c.at).collect();
        Delta { batch: delta.batch.project(&columns).unwrap(), weights: delta.weights.clone() }
    };
    circuit.inputs().iter().map(of).collect()
}

/// A table as it is, or now and then something else, which no index is of.
fn side(random: &mut Random) -> String {
    let n = random.below(TABLES);
    if random.chance(85) { format!("t{n}") } else { format!("(SELECT * FROM t{n} WHERE v > 1)") }
}

/// Equalities between rows of `a` and of `b`, and at times a further condition.
fn condition(random: &mut Random) -> String {
    let by = *random.pick(&BY);
    let names = ["k", "v", "s"];
    let mut parts: Vec<String> = by.iter().map(|c| format!("a.{0} = b.{0}", names[*c])).collect();
    if random.chance(30) {
        parts.push(random.pick(&["a.v < b.v", "a.d <> b.d", "b.b", "a.k + b.k > 2"]).to_string());
    }
    parts.join(" AND ")
}

/// A join with columns `c0` to at most `c7`, of which the first three are a number, a larger one, and a text.
fn joined(random: &mut Random) -> String {
    let kind = *random.pick(&["JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN", "JOIN", "LEFT JOIN"]);
    let (left, right) = (side(random), side(random));
    let (one, other) = if random.chance(50) { ("a", "b") } else { ("b", "a") };
    let mut columns = vec![format!("{one}.k"), format!("{other}.v"), format!("{one}.s")];
    for column in ["k", "v", "d", "b", "ts"] {
        if random.chance(40) {
            columns.push(format!("{}.{column}", random.pick(&["a", "b"])));
        }
    }
    let columns: Vec<String> = columns.iter().enumerate().map(|(n, c)| format!("{c} AS c{n}")).collect();
    format!("SELECT {} FROM {left} a {kind} {right} b ON {}", columns.join(", "), condition(random))
}

fn asked(random: &mut Random) -> String {
    let (left, right) = (side(random), side(random));
    let columns = ["k AS c0, v AS c1, s AS c2", "k AS c0, v AS c1, s AS c2, d AS c3, ts AS c4"][random.below(2)];
    let no = ["", "NOT "][random.below(2)];
    match random.below(4) {
        0 => format!("SELECT {columns} FROM {left} a WHERE k {no}IN (SELECT k FROM {right} b)"),
        1 => format!("SELECT {columns} FROM {left} a WHERE v = 2 OR s IN (SELECT s FROM {right} b)"),
        _ => {
            let on = condition(random);
            format!("SELECT {columns} FROM {left} a WHERE {no}EXISTS (SELECT 1 FROM {right} b WHERE {on})")
        }
    }
}

fn query(random: &mut Random) -> String {
    let inner = if random.chance(75) { joined(random) } else { asked(random) };
    let n = random.below(TABLES);
    match random.below(6) {
        0 => format!("SELECT x.*, y.s AS z FROM ({inner}) x LEFT JOIN t{n} y ON x.c0 = y.k"),
        1 => format!("SELECT x.*, y.k AS z, y.ts AS t FROM t{n} y JOIN ({inner}) x ON x.c1 = y.v AND x.c2 = y.s"),
        2 => format!("SELECT c2, count(*) AS n, sum(c1) AS m, max(c0) AS l FROM ({inner}) GROUP BY c2"),
        3 => format!("SELECT * FROM ({inner}) x WHERE NOT EXISTS (SELECT 1 FROM t{n} y WHERE y.k = x.c0)"),
        _ => inner,
    }
}

fn plan_of(sql: &str, context: &SessionContext, runtime: &tokio::runtime::Runtime) -> Option<LogicalPlan> {
    let state = context.state();
    let plan = runtime.block_on(state.create_logical_plan(sql)).ok()?;
    state.optimize(&plan).ok()
}

/// Whether the circuit used an index; `None` if the batch engine cannot run the query.
pub fn run(seed: u64, runtime: &tokio::runtime::Runtime) -> Option<bool> {
    let mut random = Random::new(seed);
    let sql = query(&mut random);
    let growth = std::array::from_fn(|_| random.chance(40));
    let mut all: Vec<(usize, &'static [usize])> = vec![];
    for table in 0..TABLES {
        all.extend(BY.into_iter().filter(|_| random.chance(70)).map(|by| (table, by)));
    }
    let known = Known { growth, indexes: all };
    let mut tables: Vec<Table> = (0..TABLES).map(|_| Table::default()).collect();
    let context = context();
    crate::sessions::register(&context);
    tables::register(&context, &tables);
    let state = context.state();
    let plan = plan_of(&sql, &context, runtime)?;
    if !can_be_planned(&plan, &state, runtime) {
        return None;
    }
    let files = MemoryFiles::default();
    let fresh = |shards: usize| {
        let mut circuit = lower(&plan, &state, &known, shards).unwrap_or_else(|e| panic!("{sql}\n{e}"));
        circuit.page_to(Arc::new(files.clone()), "view").unwrap();
        circuit
    };
    let mut circuit = fresh(1 + random.below(4));
    let is_used = circuit.inputs().iter().any(|i| i.lookup.is_some());
    let mut indexes: Vec<Index> = vec![];
    for (table, by) in &known.indexes {
        let plan = plan_of(&format!("SELECT * FROM t{table}"), &context, runtime)?;
        let files = MemoryFiles::default();
        let circuit = lower_index(&plan, &state, &known, 1 + random.below(4), by).unwrap();
        let mut index = Index { table: *table, by, plan, circuit, saved: vec![], files };
        index.circuit = index.circuit(&state, &known, 1 + random.below(4));
        indexes.push(index);
    }
    let mut answer = BTreeMap::new();
    let mut saved: Vec<Vec<u8>> = vec![];
    let cold = [0, 30, 100][random.below(3)];
    // What operators hold back is told before there is a checkpoint.
    let mut holding = Random::new(!seed);
    let mut holds = holding.chance(40);
    holds = holds && circuit.hold_back() > 0;
    for _ in 0..2 + random.below(8) {
        let changes: Vec<Delta> =
            tables.iter_mut().enumerate().map(|(n, t)| t.change(&mut random, known.growth[n])).collect();
        for index in &mut indexes {
            let own = inputs(&index.circuit, &changes);
            assert_eq!(index.circuit.step(&own).unwrap().len(), 0, "an index of t{} puts nothing out", index.table);
            if random.chance(cold) {
                index.circuit.evict_all().unwrap();
            }
        }
        let own = inputs(&circuit, &changes);
        let held: Vec<(ObjectId, &Circuit)> =
            indexes.iter().enumerate().map(|(n, index)| (ObjectId(n as u128), &index.circuit)).collect();
        let out = circuit.step_over(&own, &held).unwrap_or_else(|e| panic!("seed {seed}: {sql}\n{e}"));
        add(&mut answer, &out);
        if random.chance(cold) {
            circuit.evict_all().unwrap();
        }
        let is_due = random.chance(30);
        if holds && (is_due || holding.chance(20)) {
            holds = false;
            let told = circuit.tell_all_held_over(crate::part_size(&mut holding), &held);
            let told = told.unwrap_or_else(|e| panic!("seed {seed}: {sql}\n{e}"));
            told.iter().for_each(|change| add(&mut answer, change));
        }
        if is_due {
            let (bytes, named) = circuit.checkpoint(saved.is_empty()).unwrap();
            saved.push(bytes);
            if random.chance(50) {
                circuit = fresh(1 + random.below(4));
                circuit.restore(&saved, &named, if random.chance(20) { u64::MAX } else { 0 }).unwrap();
            }
            for index in &mut indexes {
                let (bytes, named) = index.circuit.checkpoint(index.saved.is_empty()).unwrap();
                index.saved.push(bytes);
                if random.chance(50) {
                    index.circuit = index.circuit(&state, &known, 1 + random.below(4));
                    let eager = if random.chance(20) { u64::MAX } else { 0 };
                    index.circuit.restore(&index.saved, &named, eager).unwrap();
                }
            }
        }
    }
    if holds {
        let held: Vec<(ObjectId, &Circuit)> =
            indexes.iter().enumerate().map(|(n, index)| (ObjectId(n as u128), &index.circuit)).collect();
        circuit
            .tell_all_held_over(crate::part_size(&mut holding), &held)
            .unwrap()
            .iter()
            .for_each(|change| add(&mut answer, change));
    }
    tables::register(&context, &tables);
    let batches: std::thread::Result<Result<Vec<RecordBatch>, _>> =
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            runtime.block_on(async { context.sql(&sql).await?.collect().await })
        }));
    let Ok(Ok(batches)) = batches else { return None };
    let mut expected = BTreeMap::new();
    for batch in batches {
        add(&mut expected, &Delta::insert(batch));
    }
    let lines = fresh(1).explain(false).join("\n");
    assert!(
        answer == expected,
        "seed {seed}\n{sql}\n{lines}\nonly in the view: {:?}\nonly in the batch answer: {:?}",
        answer.iter().filter(|(k, v)| expected.get(*k) != Some(v)).collect::<Vec<_>>(),
        expected.iter().filter(|(k, v)| answer.get(*k) != Some(v)).collect::<Vec<_>>(),
    );
    Some(is_used)
}
