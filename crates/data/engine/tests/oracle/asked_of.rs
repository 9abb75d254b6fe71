//! Queries over random queries, each asked of the batch engine: sorted by any columns in any way its rows are the same and sorted, grouped by them
//! they are counted as they are, and a condition is true, false or NULL of each (ternary logic partitioning; Rigger, Su, OOPSLA 2020). The oracle of
//! the views is right only if these are.

use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use arrow::compute::{SortOptions, concat_batches};
use arrow::row::{RowConverter, SortField};
use datafusion::prelude::SessionContext;
use fleuve_types::Delta;
use tokio::runtime::Runtime;

use crate::query::Relation;
use crate::random::Random;
use crate::tables::{self, TABLES, Table};
use crate::{add, context, correlated, framed, query};

/// Rows as text, and how often each is there.
type Rows = BTreeMap<String, i64>;

fn rows(batch: &RecordBatch) -> Rows {
    let mut rows = Rows::new();
    add(&mut rows, &Delta::insert(batch.clone()));
    rows
}

/// The answer in one batch; None where the batch engine cannot run it.
fn answer(context: &SessionContext, sql: &str, runtime: &Runtime) -> Option<RecordBatch> {
    let asked = || {
        runtime.block_on(async {
            let frame = context.sql(sql).await?;
            let schema = std::sync::Arc::new(frame.schema().as_arrow().clone());
            let batches = frame.collect().await?;
            let schema = batches.first().map_or(schema, RecordBatch::schema);
            Ok::<_, datafusion::common::DataFusionError>(concat_batches(&schema, &batches)?)
        })
    };
    // DataFusion's planner asserts in debug builds what is not so.
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(asked)).ok()?.ok()
}

/// Are the rows in order by these columns?
fn is_sorted(batch: &RecordBatch, by: &[(usize, SortOptions)]) -> bool {
    let fields =
        by.iter().map(|(at, options)| SortField::new_with_options(batch.column(*at).data_type().clone(), *options));
    let columns: Vec<_> = by.iter().map(|(at, _)| batch.column(*at).clone()).collect();
    let keys = RowConverter::new(fields.collect()).unwrap().convert_columns(&columns).unwrap();
    (1..keys.num_rows()).all(|row| keys.row(row - 1) <= keys.row(row))
}

/// Whether the query could be run at all.
pub fn run(seed: u64, runtime: &Runtime) -> bool {
    let mut random = Random::new(seed);
    let asked = match random.below(10) {
        0..4 => framed::relation(&mut random, true),
        // Of what types its columns are is not told.
        4 | 5 => Relation { sql: correlated::generate(&mut random), columns: vec![] },
        _ => query::some_relation(&mut random),
    };
    let sql = std::env::var("FLEUVE_ORACLE_SQL").unwrap_or_else(|_| asked.sql.clone());
    if std::env::var("FLEUVE_ORACLE_SHOW").is_ok() {
        println!("seed {seed}: {sql}");
    }
    let mut tables: Vec<Table> = (0..TABLES).map(|_| Table::default()).collect();
    for _ in 0..1 + random.below(4) {
        for table in &mut tables {
            table.change(&mut random, true);
        }
    }
    let context = context();
    // Small batches: what is taken for sorted and is not shows between them.
    let state = context.state_ref();
    state.write().config_mut().options_mut().execution.batch_size = *random.pick(&[2, 8, 8192]);
    crate::sessions::register(&context);
    tables::register(&context, &tables);
    let Some(plain) = answer(&context, &sql, runtime) else { return false };
    if plain.num_columns() == 0 {
        return false;
    }
    let all = rows(&plain);
    let names: Vec<String> = (0..plain.num_columns()).map(|n| format!("c{n}")).collect();
    let from = format!("FROM ({sql}) AS asked({})", names.join(", "));
    for _ in 0..3 {
        let count = 1 + random.below(plain.num_columns().min(3));
        let mut columns: Vec<usize> = (0..plain.num_columns()).collect();
        let mut chosen = vec![];
        for _ in 0..count {
            // The last ones are computed more often.
            let at = if random.chance(50) { columns.len() - 1 } else { random.below(columns.len()) };
            chosen.push(columns.remove(at));
        }
        sorted(seed, &context, runtime, &all, &from, &chosen, &mut random);
        // Sums of floating-point numbers depend on the order of their rows, and equal ones need not be equal.
        if chosen.iter().all(|at| !plain.column(*at).data_type().is_floating()) {
            grouped(seed, &context, runtime, &plain, &from, &chosen);
        }
        let condition = query::condition(&mut random, &asked, "asked");
        parted(seed, &context, runtime, &all, &from, &condition);
    }
    true
}

fn sorted(
    seed: u64,
    context: &SessionContext,
    runtime: &Runtime,
    all: &Rows,
    from: &str,
    chosen: &[usize],
    random: &mut Random,
) {
    let by: Vec<(usize, SortOptions)> =
        chosen.iter().map(|at| (*at, SortOptions::new(random.chance(50), random.chance(50)))).collect();
    let keys = by.iter().map(|(at, options)| {
        let way = if options.descending { "DESC" } else { "ASC" };
        format!("c{at} {way} NULLS {}", if options.nulls_first { "FIRST" } else { "LAST" })
    });
    let sql = format!("SELECT * {from} ORDER BY {}", keys.collect::<Vec<_>>().join(", "));
    let Some(answer) = answer(context, &sql, runtime) else { return };
    assert_eq!(&rows(&answer), all, "seed {seed}: other rows\n{sql}");
    assert!(is_sorted(&answer, &by), "seed {seed}: not sorted\n{sql}\n{answer:?}");
}

fn grouped(seed: u64, context: &SessionContext, runtime: &Runtime, plain: &RecordBatch, from: &str, chosen: &[usize]) {
    let keys = chosen.iter().map(|at| format!("c{at}")).collect::<Vec<_>>().join(", ");
    let sql = format!("SELECT {keys}, count(*) {from} GROUP BY {keys}");
    let Some(answer) = answer(context, &sql, runtime) else { return };
    let groups = rows(&plain.project(chosen).unwrap());
    let expected: Rows = groups.iter().map(|(key, count)| (format!("{key}|{count}"), 1)).collect();
    assert_eq!(rows(&answer), expected, "seed {seed}: other groups\n{sql}");
}

fn parted(seed: u64, context: &SessionContext, runtime: &Runtime, all: &Rows, from: &str, condition: &str) {
    let mut parts = Rows::new();
    for is in ["IS TRUE", "IS FALSE", "IS NULL"] {
        let Some(part) = answer(context, &format!("SELECT * {from} WHERE ({condition}) {is}"), runtime) else { return };
        add(&mut parts, &Delta::insert(part));
    }
    // As conditions are written.
    let (holds, not) =
        (format!("SELECT * {from} WHERE {condition}"), format!("SELECT * {from} WHERE NOT ({condition})"));
    let null = format!("SELECT * {from} WHERE ({condition}) IS NULL");
    let mut written = Rows::new();
    for sql in [&holds, &not, &null] {
        let Some(part) = answer(context, sql, runtime) else { return };
        add(&mut written, &Delta::insert(part));
    }
    assert_eq!(&parts, all, "seed {seed}: not all rows are in one part\n{null}");
    assert_eq!(&written, all, "seed {seed}: a condition, its opposite and NULL are not all rows\n{holds}");
}
