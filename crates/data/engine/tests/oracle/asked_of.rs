//! Queries over random queries, each asked of the batch engine: sorted by any columns in any way its rows are the same and sorted, grouped by them
//! they are counted as they are. The oracle of the views is right only if these are.

use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use arrow::compute::{SortOptions, concat_batches};
use arrow::row::{RowConverter, SortField};
use datafusion::prelude::SessionContext;
use fleuve_types::Delta;
use tokio::runtime::Runtime;

use crate::random::Random;
use crate::tables::{self, TABLES, Table};
use crate::{add, context, correlated, query, ranking};

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

/// Counts, extremes and others over frames of all kinds, in orders that often begin with what they are of.
fn framed(random: &mut Random) -> String {
    const BOUNDS: [&str; 7] = [
        "UNBOUNDED PRECEDING",
        "2 PRECEDING",
        "1 PRECEDING",
        "CURRENT ROW",
        "1 FOLLOWING",
        "2 FOLLOWING",
        "UNBOUNDED FOLLOWING",
    ];
    let input = query::some_relation(random);
    let mut columns: Vec<String> = (0..input.columns.len()).map(|n| format!("a.c{n} AS c{n}")).collect();
    let partition = ranking::partition(random, &input);
    let order = ranking::total_order(random, &input);
    for _ in 0..1 + random.below(2) {
        let of = format!("a.c{}", random.below(input.columns.len()));
        let first = if random.chance(50) { format!("{of}{}, ", ranking::direction(random)) } else { String::new() };
        let function = match random.below(6) {
            0 => "count(*)".to_owned(),
            1 => format!("first_value({of})"),
            2 => format!("count({of})"),
            3 | 4 => format!("max({of})"),
            _ => format!("min({of})"),
        };
        let start = random.below(6);
        let end = start.max(1) + random.below(7 - start.max(1));
        let (start, end) = (BOUNDS[start], BOUNDS[end]);
        let call = format!("{function} OVER ({partition}ORDER BY {first}{order} ROWS BETWEEN {start} AND {end})");
        columns.push(format!("{call} AS c{}", columns.len()));
    }
    format!("SELECT {} FROM ({}) a", columns.join(", "), input.sql)
}

/// Whether the query could be run at all.
pub fn run(seed: u64, runtime: &Runtime) -> bool {
    let mut random = Random::new(seed);
    let sql = match random.below(10) {
        0..4 => framed(&mut random),
        4 | 5 => correlated::generate(&mut random),
        _ => query::generate(&mut random),
    };
    let sql = std::env::var("FLEUVE_ORACLE_SQL").unwrap_or(sql);
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
