use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::Int64Array;
use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::execution_props::ExecutionProps;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_planner::create_window_expr;
use datafusion::prelude::SessionContext;

use super::super::order::SortKey;
use super::*;

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true), Field::new("v", DataType::Int64, true)]))
}

/// `call OVER (ORDER BY n ...)` as the planner makes it.
fn window(sql: &str, reach: Reach) -> Window {
    let context = SessionContext::new();
    context.register_batch("t", RecordBatch::new_empty(schema())).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let state = context.state();
    let plan = runtime.block_on(state.create_logical_plan(&format!("SELECT {sql} FROM t"))).unwrap();
    let LogicalPlan::Projection(projection) = state.optimize(&plan).unwrap() else { panic!("{plan}") };
    let LogicalPlan::Window(plan) = projection.input.as_ref() else { panic!("{sql} has no window") };
    let columns = DFSchema::try_from(schema()).unwrap();
    let expr = plan.window_expr[0].clone().transform_columns();
    let options = SortOptions { descending: false, nulls_first: false };
    let expr = create_window_expr(&expr, &columns, &ExecutionProps::new()).unwrap();
    let mut fields = schema().fields().to_vec();
    fields.push(Arc::new(Field::new("w", expr.field().unwrap().data_type().clone(), true)));
    let spec = WindowSpec {
        keys: vec![],
        rows: SortedRows::new(vec![SortKey { expr: Arc::new(Column::new("n", 0)), options }], &schema()).unwrap(),
        calls: vec![WindowCall { expr, reach, filter: None, alone: false, label: sql.into(), words: sql.into() }],
        input_schema: schema(),
        schema: Arc::new(Schema::new(fields)),
    };
    Window::new(spec, 1).unwrap()
}

trait WithoutTable {
    fn transform_columns(self) -> Self;
}

impl WithoutTable for Expr {
    /// Columns without the name of their table.
    fn transform_columns(self) -> Self {
        use datafusion::common::tree_node::{Transformed, TreeNode};
        self.transform(|e| {
            Ok(match e {
                Expr::Column(c) => Transformed::yes(Expr::Column(datafusion::common::Column::from_name(c.name))),
                other => Transformed::no(other),
            })
        })
        .unwrap()
        .data
    }
}

/// What changed.
fn changes(window: &mut Window, rows: &[(i64, i64, i64)]) -> Delta {
    let column = |f: fn(&(i64, i64, i64)) -> i64| Arc::new(rows.iter().map(f).collect::<Int64Array>());
    let batch = RecordBatch::try_new(schema(), vec![column(|r| r.0), column(|r| r.1)]).unwrap();
    let delta = Delta::weighted(batch, rows.iter().map(|r| r.2).collect()).unwrap();
    window.step(&[delta], StepContext { first: false, now_us: 0 }).unwrap()
}

/// `(n, w, weight)` of what changed, `w` as a whole number.
fn step(window: &mut Window, rows: &[(i64, i64, i64)]) -> Vec<(i64, Option<i64>, i64)> {
    let out = changes(window, rows);
    let numbers = |i: usize| {
        let whole = arrow::compute::cast(out.batch.column(i), &DataType::Int64).unwrap();
        whole.as_any().downcast_ref::<Int64Array>().unwrap().clone()
    };
    let (n, w) = (numbers(0), numbers(2));
    (0..out.len()).map(|i| (n.value(i), w.is_valid(i).then(|| w.value(i)), out.weight(i))).collect()
}

const ROWS: i64 = 50_000;

/// A window over one large partition of rows `(n, 1)` with even `n`.
fn large(sql: &str, reach: Reach) -> Window {
    let mut window = window(sql, reach);
    let rows: Vec<_> = (0..ROWS).map(|n| (n * 2, 1, 1)).collect();
    assert_eq!(step(&mut window, &rows).len(), ROWS as usize);
    window
}

fn check(window: &mut Window, change: (i64, i64, i64), expected: &[(i64, Option<i64>, i64)]) {
    let before = window.shards[0].rows.visited.get();
    assert_eq!(step(window, &[change]), expected);
    let looked_at = window.shards[0].rows.visited.get() - before;
    assert!(looked_at < 500, "{change:?}: {looked_at} rows were looked at");
}

#[test]
fn neighbours_are_computed_again_and_nothing_else() {
    let mut sums =
        large("sum(v) OVER (ORDER BY n ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)", Reach::Rows { before: 1, after: 0 });
    check(&mut sums, (30_001, 7, 1), &[(30_001, Some(8), 1), (30_002, Some(2), -1), (30_002, Some(8), 1)]);
    check(&mut sums, (30_001, 7, -1), &[(30_001, Some(8), -1), (30_002, Some(8), -1), (30_002, Some(2), 1)]);
    check(&mut sums, (0, 1, -1), &[(0, Some(1), -1), (2, Some(2), -1), (2, Some(1), 1)]);
    let mut next = large("lead(v) OVER (ORDER BY n)", Reach::Rows { before: 0, after: 1 });
    check(&mut next, (-1, 5, 1), &[(-1, Some(1), 1)]);
    check(&mut next, (40_000, 1, -1), &[(40_000, Some(1), -1)]);
    check(&mut next, (40_000, 3, 1), &[(39_998, Some(1), -1), (39_998, Some(3), 1), (40_000, Some(1), 1)]);
}

#[test]
fn values_in_a_distance_are_computed_again() {
    let reach = Reach::Values(Distance { before: Some(ScalarValue::Int64(Some(2))), after: None });
    let mut sums = large("sum(v) OVER (ORDER BY n RANGE BETWEEN 2 PRECEDING AND CURRENT ROW)", reach);
    check(&mut sums, (30_001, 7, 1), &[(30_001, Some(8), 1), (30_002, Some(2), -1), (30_002, Some(9), 1)]);
    // A peer of it.
    check(
        &mut sums,
        (30_001, 5, 1),
        &[
            (30_001, Some(13), 1),
            (30_001, Some(8), -1),
            (30_001, Some(13), 1),
            (30_002, Some(9), -1),
            (30_002, Some(14), 1),
        ],
    );
}

#[test]
fn running_values_go_on_from_the_row_before() {
    let mut sums = large("sum(v) OVER (ORDER BY n)", Reach::Running(Running::Sum));
    let last = 2 * ROWS;
    check(&mut sums, (last, 5, 1), &[(last, Some(ROWS + 5), 1)]);
    // A peer: both have the sum of both.
    check(&mut sums, (last, 2, 1), &[(last, Some(ROWS + 7), 1), (last, Some(ROWS + 5), -1), (last, Some(ROWS + 7), 1)]);
    check(
        &mut sums,
        (last - 3, 9, 1),
        &[
            (last - 3, Some(ROWS + 8), 1),
            (last - 2, Some(ROWS), -1),
            (last - 2, Some(ROWS + 9), 1),
            (last, Some(ROWS + 7), -1),
            (last, Some(ROWS + 16), 1),
            (last, Some(ROWS + 7), -1),
            (last, Some(ROWS + 16), 1),
        ],
    );
    let saved = sums.save(true).unwrap();
    let mut restored = window("sum(v) OVER (ORDER BY n)", Reach::Running(Running::Sum));
    saved.iter().for_each(|batch| restored.load(batch).unwrap());
    restored.loaded().unwrap();
    check(&mut restored, (last + 1, 1, 1), &[(last + 1, Some(ROWS + 17), 1)]);
}

#[test]
fn averages_go_on_from_their_state() {
    let sql = "avg(v) OVER (ORDER BY n)";
    let mut means = large(sql, Reach::Running(Running::State));
    let last = 2 * ROWS;
    check(&mut means, (last, ROWS + 2, 1), &[(last, Some(2), 1)]);
    // A peer: both have the mean of both.
    check(&mut means, (last, ROWS + 4, 1), &[(last, Some(2), -1), (last, Some(3), 1), (last, Some(3), 1)]);
    check(&mut means, (last, ROWS + 4, -1), &[(last, Some(3), -1), (last, Some(3), -1), (last, Some(2), 1)]);
    let saved = means.save(true).unwrap();
    let mut restored = window(sql, Reach::Running(Running::State));
    saved.iter().for_each(|batch| restored.load(batch).unwrap());
    restored.loaded().unwrap();
    check(&mut restored, (last + 1, ROWS + 6, 1), &[(last + 1, Some(3), 1)]);
}

/// Adds what changed to rows as text, floating-point numbers bit by bit.
fn add(answer: &mut BTreeMap<String, i64>, out: &Delta) {
    for row in 0..out.len() {
        let cells = out.batch.columns().iter().map(|c| match ScalarValue::try_from_array(c, row).unwrap() {
            ScalarValue::Float64(Some(value)) => format!("{:x}", value.to_bits()),
            other => other.to_string(),
        });
        *answer.entry(cells.collect::<Vec<_>>().join(" ")).or_insert(0) += out.weight(row);
    }
    answer.retain(|_, weight| *weight != 0);
}

#[test]
fn floating_point_numbers_do_not_depend_on_what_was_before() {
    for call in ["sum(v / 3.1)", "avg(v / 3.1)", "max(sqrt(v))"] {
        for order in ["ORDER BY n", "ORDER BY n ROWS UNBOUNDED PRECEDING"] {
            let (sql, reach) = (format!("{call} OVER ({order})"), Reach::Running(Running::State));
            let (mut window, mut seed) = (window(&sql, reach.clone()), 7_u64);
            let mut random = |n: u64| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                ((seed >> 33) % n) as i64
            };
            let (mut held, mut answer) = (vec![], BTreeMap::new());
            for _ in 0..200 {
                let mut rows = vec![];
                for _ in 0..1 + random(4) {
                    if held.len() > 30 && random(3) == 0 {
                        let (n, v) = held.swap_remove(random(held.len() as u64) as usize);
                        rows.push((n, v, -1));
                    } else {
                        let new = (random(60), random(1000) * random(1000));
                        held.push(new);
                        rows.push((new.0, new.1, 1));
                    }
                }
                add(&mut answer, &changes(&mut window, &rows));
                // What is computed of all rows at once, here and by the batch engine.
                let all: Vec<_> = held.iter().map(|(n, v)| (*n, *v, 1)).collect();
                for reach in [reach.clone(), Reach::Partition] {
                    let mut anew = BTreeMap::new();
                    add(&mut anew, &changes(&mut self::window(&sql, reach), &all));
                    assert_eq!(answer, anew, "{sql}");
                }
            }
        }
    }
}
