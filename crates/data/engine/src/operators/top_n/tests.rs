use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{Int64Array, StringArray};
use arrow::compute::SortOptions;
use arrow::datatypes::{Field, Schema};
use datafusion::physical_expr::expressions::Column;

use super::super::order::SortKey;
use super::*;

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("name", DataType::Utf8, true), Field::new("n", DataType::Int64, true)]))
}

/// `row_number() OVER (ORDER BY n) BETWEEN first AND last`
fn top(first: u64, last: u64, append_only: bool) -> TopN {
    let options = SortOptions { descending: false, nulls_first: false };
    let key = SortKey { expr: Arc::new(Column::new("n", 1)), options };
    top_by(vec![], vec![key], (first, last), append_only, 1)
}

fn top_by(
    keys: Vec<Arc<dyn PhysicalExpr>>,
    order: Vec<SortKey>,
    (first, last): (u64, u64),
    append_only: bool,
    shards: usize,
) -> TopN {
    let schema = schema();
    let spec = TopNSpec {
        keys,
        rows: SortedRows::new(order, &schema).unwrap(),
        bounds: vec![Bound { ranking: Ranking::RowNumber, first, last }],
        numbers: vec![],
        append_only,
        input_schema: schema.clone(),
        schema,
    };
    TopN::new(spec, shards).unwrap()
}

fn delta(rows: &[(i64, i64)]) -> Delta {
    let names = StringArray::from_iter_values(rows.iter().map(|(n, _)| format!("row {n}")));
    let numbers = Int64Array::from_iter_values(rows.iter().map(|(n, _)| *n));
    let batch = RecordBatch::try_new(schema(), vec![Arc::new(names), Arc::new(numbers)]).unwrap();
    Delta::weighted(batch, rows.iter().map(|(_, w)| *w).collect()).unwrap()
}

fn step(top: &mut TopN, rows: &[(i64, i64)]) -> Vec<(i64, i64)> {
    let out = top.step(&[delta(rows)], StepContext { first: false, now_us: 0 }).unwrap();
    let numbers = out.batch.column(1).as_any().downcast_ref::<Int64Array>().unwrap();
    (0..out.len()).map(|i| (numbers.value(i), out.weight(i))).collect()
}

#[test]
fn a_change_of_a_million_rows_looks_at_few() {
    let rows: Vec<(i64, i64)> = (0..1_000_000_i64).map(|n| ((n * 7919) % 1_000_003, 1)).collect();
    let mut limit = top(1, 10, false);
    assert_eq!(step(&mut limit, &rows).len(), 10);
    let (held, mut before) = (limit.state_rows(), limit.visited());
    assert_eq!(held, 1_000_000);
    for (change, expected) in [
        // Not among the first.
        ((500_000, -1), vec![]),
        ((500_000, 1), vec![]),
        // Among them: one row comes, one goes.
        ((0, -1), vec![(0, -1), (10, 1)]),
        ((-5, 1), vec![(10, -1), (-5, 1)]),
    ] {
        assert_eq!(step(&mut limit, &[change]), expected);
        let looked_at = limit.visited() - before;
        before = limit.visited();
        assert!(looked_at < 500, "{change:?}: {looked_at} rows were looked at");
    }
}

#[test]
fn of_rows_that_never_go_only_the_first_are_held() {
    let mut limit = top(3, 5, true);
    for n in (0..10_000).rev() {
        step(&mut limit, &[(n, 1)]);
    }
    assert_eq!(limit.state_rows(), 5);
    // Two rows before all others: 0, 1 and 2 stand where 2, 3 and 4 stood.
    assert_eq!(step(&mut limit, &[(-1, 2), (10_001, 1)]), [(3, -1), (4, -1), (0, 1), (1, 1)]);
    assert_eq!(limit.state_rows(), 4);
}

/// What is shown of rows `(name, n)` in the end: two of each `n`, in no order that was asked for.
fn two_of_each(rows: &[(String, i64)], at_once: usize, append_only: bool, shards: usize) -> BTreeSet<(String, i64)> {
    let make = || top_by(vec![Arc::new(Column::new("n", 1))], vec![], (1, 2), append_only, shards);
    let mut top = make();
    let mut shown = BTreeMap::new();
    for (number, rows) in rows.chunks(at_once).enumerate() {
        let names = StringArray::from_iter_values(rows.iter().map(|r| &r.0));
        let numbers = Int64Array::from_iter_values(rows.iter().map(|r| r.1));
        let batch = RecordBatch::try_new(schema(), vec![Arc::new(names), Arc::new(numbers)]).unwrap();
        let out = top.step(&[Delta::insert(batch)], StepContext { first: false, now_us: 0 }).unwrap();
        let names = out.batch.column(0).as_any().downcast_ref::<StringArray>().unwrap();
        let numbers = out.batch.column(1).as_any().downcast_ref::<Int64Array>().unwrap();
        for i in 0..out.len() {
            *shown.entry((names.value(i).to_string(), numbers.value(i))).or_insert(0) += out.weight(i);
        }
        if number % 5 == 4 {
            let saved = top.save(true).unwrap();
            top = make();
            saved.iter().for_each(|batch| top.load(batch).unwrap());
            top.loaded().unwrap();
        }
    }
    assert!(shown.values().all(|w| *w == 0 || *w == 1));
    shown.into_iter().filter(|(_, w)| *w == 1).map(|(row, _)| row).collect()
}

#[test]
fn rows_that_no_order_tells_apart_are_the_same_ones_however_they_come() {
    let rows: Vec<(String, i64)> = (0..600).map(|i| (format!("{:x}", (i * 7919) % 601), i % 40)).collect();
    let backwards: Vec<(String, i64)> = rows.iter().rev().cloned().collect();
    let expected = two_of_each(&rows, 600, false, 1);
    assert_eq!(expected.len(), 80);
    for (at_once, shards) in [(1, 1), (7, 3), (50, 4), (600, 2)] {
        for append_only in [false, true] {
            assert_eq!(two_of_each(&rows, at_once, append_only, shards), expected);
            assert_eq!(two_of_each(&backwards, at_once, append_only, shards), expected);
        }
    }
}
