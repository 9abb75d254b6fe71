//! Queries over random queries, each asked of the batch engine: sorted by any columns in any way its rows are the same and sorted, grouped by them
//! they are counted as they are, and a condition is true, false or NULL of each (ternary logic partitioning; Rigger, Su, OOPSLA 2020). The oracle of
//! the views is right only if these are.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::{SortOptions, concat_batches};
use arrow::datatypes::Schema;
use arrow::row::{RowConverter, SortField};
use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::prelude::SessionContext;
use fleuve_types::Delta;
use tokio::runtime::Runtime;

use crate::query::Relation;
use crate::random::Random;
use crate::tables::{self, TABLES, Table};
use crate::{add, context, correlated, framed, query, sessions};

/// Rows as text, and how often each is there.
type Rows = BTreeMap<String, i64>;

fn rows(batch: &RecordBatch) -> Rows {
    let mut rows = Rows::new();
    add(&mut rows, &Delta::insert(batch.clone()));
    rows
}

/// The answer in one batch; `None` where DataFusion's planner, in a debug build, asserts what is not so.
fn answer(context: &SessionContext, sql: &str, runtime: &Runtime) -> Option<Result<RecordBatch>> {
    let asked = || {
        runtime.block_on(async {
            let frame = context.sql(sql).await?;
            let schema = Arc::new(frame.schema().as_arrow().clone());
            let batches = frame.collect().await?;
            let schema = batches.first().map_or(schema, RecordBatch::schema);
            // A batch of one side of a UNION says of its own columns whether NULL is in them.
            let fields = schema.fields().iter().map(|f| f.as_ref().clone().with_nullable(true));
            Ok(concat_batches(&Arc::new(Schema::new(fields.collect::<Vec<_>>())), &batches)?)
        })
    };
    catch_unwind(AssertUnwindSafe(asked)).ok()
}

/// Are the rows in order by these columns?
fn is_sorted(batch: &RecordBatch, by: &[(usize, SortOptions)]) -> bool {
    let fields =
        by.iter().map(|(at, options)| SortField::new_with_options(batch.column(*at).data_type().clone(), *options));
    let columns: Vec<_> = by.iter().map(|(at, _)| batch.column(*at).clone()).collect();
    let keys = RowConverter::new(fields.collect()).unwrap().convert_columns(&columns).unwrap();
    (1..keys.num_rows()).all(|row| keys.row(row - 1) <= keys.row(row))
}

/// A query and its rows.
struct Asked<'a> {
    seed: u64,
    context: SessionContext,
    runtime: &'a Runtime,
    /// It, as a table of columns `c0`, `c1`, ...
    from: String,
    plain: RecordBatch,
    all: Rows,
}

/// Whether the query could be run at all; those over it then must be.
pub fn run(seed: u64, runtime: &Runtime) -> bool {
    let mut random = Random::new(seed);
    let relation = match random.below(10) {
        0..4 => framed::relation(&mut random),
        // Of what types its columns are is not told.
        4 | 5 => Relation { sql: correlated::generate(&mut random), columns: vec![] },
        _ => query::some_relation(&mut random),
    };
    let sql = std::env::var("FLEUVE_ORACLE_SQL").unwrap_or_else(|_| relation.sql.clone());
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
    // What is taken for sorted and is not shows between batches, and between partitions.
    let (batch_size, partitions) = (*random.pick(&[2, 8, 8192]), 1 + random.below(3));
    let set = |options: &mut ConfigOptions| {
        (options.execution.batch_size, options.execution.target_partitions) = (batch_size, partitions);
    };
    set(context.state_ref().write().config_mut().options_mut());
    sessions::register(&context);
    tables::register(&context, &tables);
    let Some(Ok(plain)) = answer(&context, &sql, runtime) else { return false };
    if plain.num_columns() == 0 {
        return false;
    }
    let names: Vec<String> = (0..plain.num_columns()).map(|n| format!("c{n}")).collect();
    let from = format!("FROM ({sql}) AS asked({})", names.join(", "));
    let asked = Asked { seed, context, runtime, from, all: rows(&plain), plain };
    for _ in 0..3 {
        let mut columns: Vec<usize> = (0..names.len()).collect();
        let mut chosen = vec![];
        for _ in 0..1 + random.below(names.len().min(3)) {
            // The last ones are computed more often.
            let at = if random.chance(50) { columns.len() - 1 } else { random.below(columns.len()) };
            chosen.push(columns.remove(at));
        }
        asked.sorted(&chosen, &mut random);
        // Sums of floating-point numbers depend on the order of their rows, and equal ones need not be equal.
        if chosen.iter().all(|at| !asked.plain.column(*at).data_type().is_floating()) {
            asked.grouped(&chosen);
        }
        asked.parted(&query::condition(&mut random, &relation, "asked"));
    }
    true
}

impl Asked<'_> {
    /// The answer to `SELECT what FROM` the query and `rest`.
    fn answer(&self, what: &str, rest: &str) -> Option<(RecordBatch, String)> {
        let sql = format!("SELECT {what} {} {rest}", self.from);
        let answer = answer(&self.context, &sql, self.runtime)?;
        Some((answer.unwrap_or_else(|e| panic!("seed {}: {sql}\n{e}", self.seed)), sql))
    }

    fn sorted(&self, chosen: &[usize], random: &mut Random) {
        let by: Vec<(usize, SortOptions)> =
            chosen.iter().map(|at| (*at, SortOptions::new(random.chance(50), random.chance(50)))).collect();
        let keys = by.iter().map(|(at, options)| {
            let way = if options.descending { "DESC" } else { "ASC" };
            format!("c{at} {way} NULLS {}", if options.nulls_first { "FIRST" } else { "LAST" })
        });
        let by_keys = format!("ORDER BY {}", keys.collect::<Vec<_>>().join(", "));
        let Some((answer, sql)) = self.answer("*", &by_keys) else { return };
        assert_eq!(rows(&answer), self.all, "seed {}: other rows\n{sql}", self.seed);
        assert!(is_sorted(&answer, &by), "seed {}: not sorted\n{sql}\n{answer:?}", self.seed);
    }

    fn grouped(&self, chosen: &[usize]) {
        let keys = chosen.iter().map(|at| format!("c{at}")).collect::<Vec<_>>().join(", ");
        let Some((answer, sql)) = self.answer(&format!("{keys}, count(*)"), &format!("GROUP BY {keys}")) else {
            return;
        };
        let groups = rows(&self.plain.project(chosen).unwrap());
        let expected: Rows = groups.iter().map(|(key, count)| (format!("{key}|{count}"), 1)).collect();
        assert_eq!(rows(&answer), expected, "seed {}: other groups\n{sql}", self.seed);
    }

    /// The condition as it is written, and as it is told apart.
    fn parted(&self, condition: &str) {
        let forms = [
            [condition.to_string(), format!("NOT ({condition})"), format!("({condition}) IS NULL")],
            ["TRUE", "FALSE", "NULL"].map(|is| format!("({condition}) IS {is}")),
        ];
        for form in forms {
            let mut parts = Rows::new();
            for part in &form {
                let Some((part, _)) = self.answer("*", &format!("WHERE {part}")) else { return };
                add(&mut parts, &Delta::insert(part));
            }
            assert_eq!(parts, self.all, "seed {}: {form:?} are not all rows\n{}", self.seed, self.from);
        }
    }
}
