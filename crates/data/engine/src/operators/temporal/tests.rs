use arrow::array::{
    TimestampMicrosecondArray, TimestampMillisecondArray, TimestampNanosecondArray, TimestampSecondArray,
};
use arrow::datatypes::{DataType, Field};
use datafusion::common::DFSchema;
use datafusion::logical_expr::{Expr, Operator as Op, binary_expr, cast, col, lit};
use datafusion::scalar::ScalarValue;

use super::*;
use crate::operators::physical;

fn times(time: &Expr, unit: TimeUnit, shift: Option<(i64, TimeUnit)>) -> Times {
    let now = DataType::Timestamp(TimeUnit::Nanosecond, None);
    let fields = vec![Field::new("value", DataType::Timestamp(unit, None), true), Field::new("now", now, false)];
    let schema = Schema::new(fields);
    let by_name = DFSchema::try_from(schema.clone()).unwrap();
    let compare = |op| physical(&binary_expr(time.clone(), op, col("value")), &by_name).unwrap();
    Times::new(compare(Op::GtEq), compare(Op::Gt), shift, schema).unwrap()
}

/// What is reckoned is what is found by trying.
#[test]
fn shifts_are_reckoned() {
    let mut state = 7_u64;
    let mut random = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    for unit in [TimeUnit::Second, TimeUnit::Millisecond, TimeUnit::Microsecond, TimeUnit::Nanosecond] {
        for _ in 0..20 {
            let shift = random(5_000_000_000) as i64 - 2_500_000_000;
            let now = col("now") + lit(ScalarValue::new_interval_mdn(0, 0, shift));
            let time = cast(now, DataType::Timestamp(unit, None));
            // Around 1970, where what is cut off changes its sign, and elsewhere.
            let counts: Vec<i64> = (0..50)
                .map(|i| if i % 2 == 0 { random(9) as i64 - 4 } else { random(4_000_000_000) as i64 - 2_000_000_000 })
                .collect();
            let values: ArrayRef = match unit {
                TimeUnit::Second => Arc::new(TimestampSecondArray::from(counts.clone())),
                TimeUnit::Millisecond => Arc::new(TimestampMillisecondArray::from(counts.clone())),
                TimeUnit::Microsecond => Arc::new(TimestampMicrosecondArray::from(counts.clone())),
                TimeUnit::Nanosecond => Arc::new(TimestampNanosecondArray::from(counts.clone())),
            };
            let (reckoned, searched) = (times(&time, unit, Some((shift, unit))), times(&time, unit, None));
            for passed in [false, true] {
                let (by_reckoning, by_search) =
                    (reckoned.first(&values, passed).unwrap(), searched.first(&values, passed).unwrap());
                assert_eq!(by_reckoning, by_search, "{unit:?} {shift} {counts:?}");
            }
        }
    }
}

#[test]
fn what_is_out_of_reach_never_comes_or_always_was() {
    let values: ArrayRef =
        Arc::new(TimestampSecondArray::from(vec![i64::MAX / 2_000_000_000, -9_000_000_000, 9_000_000_000]));
    let time = cast(col("now"), DataType::Timestamp(TimeUnit::Second, None));
    for shift in [None, Some((0, TimeUnit::Second))] {
        let times = times(&time, TimeUnit::Second, shift);
        assert_eq!(times.first(&values, false).unwrap()[1..], [ALWAYS, NEVER], "{shift:?}");
    }
}
