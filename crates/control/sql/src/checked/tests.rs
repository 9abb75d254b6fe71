use std::sync::Arc;
use std::time::Instant;

use arrow::array::{Array, ArrayRef, AsArray, Int8Array, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Int8Type, Schema};
use datafusion::common::tree_node::TreeNode;
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::config::ConfigOptions;
use datafusion::logical_expr::execution_props::ExecutionProps;
use datafusion::logical_expr::{ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDFImpl, col, lit};
use datafusion::physical_expr::create_physical_expr;
use fleuve_types::ErrorKind;

use super::CheckedIntegers;
use super::arithmetic::{Arithmetic, Checked};
use crate::fake::{run, session};

fn call(what: Arithmetic, args: Vec<ColumnarValue>, rows: usize) -> Result<ArrayRef> {
    let field = || Arc::new(Field::new("n", DataType::Int8, true));
    let args = ScalarFunctionArgs {
        arg_fields: args.iter().map(|_| field() as _).collect(),
        args,
        number_rows: rows,
        return_field: field(),
        config_options: Arc::new(ConfigOptions::default()),
    };
    Checked::new(what).invoke_with_args(args)?.into_array(rows)
}

fn exactly(what: Arithmetic, l: i8, r: i8) -> Option<i8> {
    match what {
        Arithmetic::Plus => l.checked_add(r),
        Arithmetic::Minus => l.checked_sub(r),
        Arithmetic::Times => l.checked_mul(r),
        Arithmetic::Negate => l.checked_neg(),
    }
}

/// All pairs of small integers, as columns and as constants.
#[test]
fn is_exact_or_an_error() {
    let all = || i8::MIN..=i8::MAX;
    for what in [Arithmetic::Plus, Arithmetic::Minus, Arithmetic::Times] {
        for r in all() {
            let one = ColumnarValue::Scalar(ScalarValue::Int8(Some(r)));
            let fits: Vec<i8> = all().filter(|l| exactly(what, *l, r).is_some()).collect();
            let column = ColumnarValue::Array(Arc::new(Int8Array::from(fits.clone())));
            let constant = ColumnarValue::Array(Arc::new(Int8Array::from(vec![r; fits.len()])));
            let expected: Int8Array = fits.iter().map(|l| exactly(what, *l, r)).collect();
            for right in [one.clone(), constant] {
                let got = call(what, vec![column.clone(), right], fits.len()).unwrap();
                assert_eq!(got.as_primitive::<Int8Type>(), &expected, "{what:?} {r}");
            }
            for l in all().filter(|l| exactly(what, *l, r).is_none()) {
                // The one row that does not fit, among some that do, and behind a NULL that would not fit either.
                let rows = Int8Array::new(
                    vec![l, fits[0], l].into(),
                    Some(arrow::buffer::NullBuffer::from(vec![false, true, true])),
                );
                let error = call(what, vec![ColumnarValue::Array(Arc::new(rows.slice(0, 3))), one.clone()], 3);
                let error = error.unwrap_err().to_string();
                assert!(error.contains(&format!("out of range: {l} ")), "{error}");
                let nulls = call(what, vec![ColumnarValue::Array(Arc::new(rows.slice(0, 2))), one.clone()], 2).unwrap();
                assert!(nulls.is_null(0) && nulls.is_valid(1));
            }
        }
    }
    let negated = call(Arithmetic::Negate, vec![ColumnarValue::Scalar(ScalarValue::Int8(Some(127)))], 1).unwrap();
    assert_eq!(negated.as_primitive::<Int8Type>().value(0), -127);
    let least = ColumnarValue::Scalar(ScalarValue::Int8(Some(i8::MIN)));
    assert!(call(Arithmetic::Negate, vec![least], 1).unwrap_err().to_string().contains("out of range: - -128"));
}

const NUMBERS: &str = "CREATE STREAM t (k INT, b BIGINT, n INT);
    INSERT INTO t VALUES (1, 9223372036854775807, 2147483647), (1, 1, 1), (1, -2, NULL), (2, NULL, 5), (3, -9223372036854775807, -2147483648)";

#[tokio::test]
async fn integers_beyond_their_range_are_errors() {
    let (_, session) = session();
    run(&session, NUMBERS).await.unwrap();
    for (query, said) in [
        ("SELECT 9223372036854775807 + 1", "bigint out of range: 9223372036854775807 + 1"),
        ("SELECT b + 1 FROM t", "bigint out of range: 9223372036854775807 + 1"),
        ("SELECT b - 2 FROM t WHERE k = 3", "bigint out of range: -9223372036854775807 - 2"),
        ("SELECT b * 2 FROM t", "out of range"),
        ("SELECT n * n FROM t", "int out of range"),
        ("SELECT -n FROM t", "int out of range: - -2147483648"),
        ("SELECT sum(b) FROM t WHERE b > 0", "bigint out of range: the sum is 9223372036854775808"),
        ("SELECT sum(DISTINCT b) FROM t WHERE b > 0", "bigint out of range: the sum is 9223372036854775808"),
        ("SELECT k, sum(b) FROM t WHERE b > 0 GROUP BY k", "bigint out of range"),
        ("SELECT sum(b) OVER (ORDER BY b) FROM t WHERE b > 0", "bigint out of range"),
        ("SELECT count(*) FROM t WHERE b + k > 0", "bigint out of range"),
    ] {
        let error = run(&session, query).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Input, "{query}");
        assert!(error.message.contains(said), "{query}: {error}");
    }
    for (query, answer) in [
        // On the way it is beyond the range, at the end it is not.
        ("SELECT sum(b) FROM t WHERE k = 1", "9223372036854775806"),
        ("SELECT sum(DISTINCT b) FROM t WHERE k = 1", "9223372036854775806"),
        ("SELECT sum(b) FROM t WHERE k = 2", "NULL"),
        ("SELECT sum(b) FILTER (WHERE b < 0) FROM t WHERE k = 1", "-2"),
        ("SELECT -9223372036854775808", "-9223372036854775808"),
        ("SELECT CASE WHEN b > 5 THEN 0 ELSE b + 1 END FROM t WHERE k = 1 AND n = 2147483647", "0"),
        ("SELECT k + 1 FROM t GROUP BY k + 1 HAVING k + 1 = 4 ORDER BY k + 1", "4"),
        ("SELECT max(k + 1) * 2 FROM t LIMIT 1 + 1", "8"),
    ] {
        assert_eq!(run(&session, query).await.unwrap(), [answer], "{query}");
    }
}

/// How much longer three operations take than DataFusion's own: `cargo test --release --workspace --lib cost_of -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn cost_of_looking_at_the_range() {
    const BATCHES: i64 = 1_024;
    const ROWS: i64 = 8_192;
    let schema = Schema::new(["a", "b", "c"].map(|name| Field::new(name, DataType::Int64, true)).to_vec());
    let names = DFSchema::try_from(schema.clone()).unwrap();
    let plain = (col("a") + col("b")) * lit(3i64) - col("c");
    let rule = CheckedIntegers::new();
    let checked = plain.clone().transform_up(|e| Ok(rule.expr(e, &names))).unwrap().data;
    let time = |expr: &Expr, nulls: bool| {
        let expr = create_physical_expr(expr, &names, &ExecutionProps::new()).unwrap();
        let column = |n: i64| -> ArrayRef {
            Arc::new((0..ROWS).map(|i| (!nulls || i % 10 != n).then_some(i * 31 + n)).collect::<Int64Array>())
        };
        let batch = RecordBatch::try_new(Arc::new(schema.clone()), (0..3).map(column).collect()).unwrap();
        let once = || {
            let begin = Instant::now();
            (0..BATCHES).for_each(|_| drop(std::hint::black_box(expr.evaluate(&batch).unwrap())));
            begin.elapsed().as_secs_f64()
        };
        (0..9).map(|_| once()).fold(f64::INFINITY, f64::min)
    };
    for nulls in [false, true] {
        let (own, ours) = (time(&plain, nulls), time(&checked, nulls));
        println!(
            "{} M rows, nulls {nulls}: {:.1} ms wrapping, {:.1} ms checked, ratio {:.2}",
            (BATCHES * ROWS) >> 20,
            own * 1e3,
            ours * 1e3,
            ours / own
        );
    }
}
