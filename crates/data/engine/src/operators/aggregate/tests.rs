use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Float64Array};
use arrow::datatypes::{DataType, Field, Float64Type, Schema};
use datafusion::common::ScalarValue;
use datafusion::functions_aggregate::median::median_udaf;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::AggregateExprBuilder;
use datafusion::physical_expr::expressions::Column;

use super::accumulator::{Accumulator, AggregateCall, Input};
use super::in_order::InOrder;
use crate::state::{ByteSet, hash_bytes};

fn call(function: &str, parameter: Option<f64>) -> AggregateCall {
    let schema = Arc::new(Schema::new(vec![Field::new("x", DataType::Float64, true)]));
    let x: Arc<dyn PhysicalExpr> = Arc::new(Column::new("x", 0));
    let expr = AggregateExprBuilder::new(median_udaf(), vec![x.clone()]).schema(schema).alias("m").build().unwrap();
    AggregateCall {
        function: function.into(),
        distinct: false,
        arguments: vec![x],
        argument_types: vec![DataType::Float64],
        parameter: parameter.map(|p| ScalarValue::Float64(Some(p))),
        order: vec![],
        ignores_null: false,
        filter: None,
        output: DataType::Float64,
        expr: Arc::new(expr),
        label: function.into(),
        words: function.into(),
        is_partial: false,
    }
}

/// Of a group of 100,001 rows, a change and the answers before and after it look at a few hundred at most.
#[test]
fn a_change_of_a_large_group_looks_at_few_of_its_rows() {
    let cases = [
        ("median", None, 50_000.0),
        ("percentile_cont", Some(0.9), 90_000.0),
        ("first_value", None, 0.0),
        ("last_value", None, 100_000.0),
    ];
    for (function, parameter, wanted) in cases {
        let mut accumulator = InOrder::new(&call(function, parameter)).unwrap();
        let mut keys = ByteSet::default();
        keys.insert(hash_bytes(b"k"), b"k");
        let mut update = |values: Vec<f64>, weight: i64| {
            let rows: Vec<u32> = (0..values.len() as u32).collect();
            let (groups, weights) = (vec![0; rows.len()], vec![weight; rows.len()]);
            let arguments: [ArrayRef; 1] = [Arc::new(Float64Array::from(values))];
            let before = accumulator.visited();
            let answer = |a: &mut InOrder| a.emit(&[0], &keys).unwrap().as_primitive::<Float64Type>().value(0);
            answer(&mut accumulator);
            accumulator
                .update(&Input {
                    arguments: &arguments,
                    filter: None,
                    rows: &rows,
                    groups: &groups,
                    weights: Some(&weights),
                    keys: &keys,
                })
                .unwrap();
            let answer = answer(&mut accumulator);
            (answer, accumulator.visited() - before)
        };
        // In a scattered order: 60,013 has no divisor in common with 100,001.
        let all = (0..100_001_u64).map(|i| (i * 60_013 % 100_001) as f64).collect();
        assert_eq!(update(all, 1).0, wanted, "{function}");
        for x in [-1.0, 3.5, 50_000.5, 99_999.5, 200_000.0] {
            for weight in [1, -1] {
                let (answer, visited) = update(vec![x], weight);
                assert!(visited < 600, "{function}: {visited} rows looked at");
                assert!(weight == 1 || answer == wanted, "{function}: {answer}");
            }
        }
    }
}
