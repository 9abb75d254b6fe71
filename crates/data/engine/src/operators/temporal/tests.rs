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

struct Growing;

impl crate::Relations for Growing {
    fn is_append_only(&self, _: &(String, String)) -> bool {
        true
    }

    fn key(&self, _: &(String, String)) -> Option<Vec<usize>> {
        None
    }
}

/// A table `t` of `v` and `ts`, and the circuit of a query over it.
fn circuit(sql: &str, files: &crate::MemoryFiles) -> crate::Circuit {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let context = datafusion::prelude::SessionContext::new_with_state(crate::session_state());
    let nothing = RecordBatch::new_empty(rows(0, 0).schema());
    let table = datafusion::datasource::MemTable::try_new(nothing.schema(), vec![vec![nothing]]).unwrap();
    context.register_table("t", Arc::new(table)).unwrap();
    let state = context.state();
    let plan = runtime.block_on(state.create_logical_plan(sql)).unwrap();
    let plan = crate::session::optimize(&plan, &state).unwrap();
    let mut circuit = crate::lower(&plan, &state, &Growing, 1).unwrap();
    circuit.page_to(Arc::new(files.clone()), "view").unwrap();
    circuit
}

fn rows(count: i64, at_us: i64) -> RecordBatch {
    let columns: [(&str, ArrayRef); 2] = [
        ("v", Arc::new((0..count).map(|v| at_us + v).collect::<Int64Array>())),
        ("ts", Arc::new(TimestampMicrosecondArray::from(vec![at_us; count as usize]))),
    ];
    RecordBatch::try_from_iter(columns).unwrap()
}

/// Rows that were on disk once and went in memory leave nothing there, and a start does not look at them.
#[test]
fn what_has_gone_is_forgotten_on_disk() {
    const SECOND: i64 = 1_000_000;
    const START: i64 = 1_800_000_000 * SECOND;
    let files = crate::MemoryFiles::default();
    let sql = "SELECT v, ts FROM t WHERE ts > now() - INTERVAL '20 seconds'";
    let mut filter = circuit(sql, &files);
    filter.evict_all().unwrap();
    let (mut saved, mut runs, mut least, mut shown) = (vec![], crate::StateRuns::default(), u64::MAX, 0);
    for second in 0..600 {
        let now = START + second * SECOND;
        filter.tell_time(now);
        let out = filter.step(&[Delta::insert(rows(50, now))]).unwrap();
        shown += (0..out.len()).map(|i| out.weight(i)).sum::<i64>();
        let (bytes, named) = filter.checkpoint(saved.is_empty()).unwrap();
        saved.push(bytes);
        runs = named;
        if second > 500 {
            least = least.min(filter.disk_bytes());
        }
    }
    assert_eq!(shown, 20 * 50);
    // Times of 30,000 rows would be half a megabyte.
    assert!(least < 200_000, "{least} bytes on disk");
    let mut again = circuit(sql, &files);
    again.restore(&saved, &runs, 0).unwrap();
    again.tell_time(START + 600 * SECOND);
    let out = again.step(&[Delta::insert(rows(0, 0))]).unwrap();
    assert_eq!((out.len(), out.weight(0)), (50, -1), "one second's rows go");
    assert!(again.state_bytes() < 100_000, "{} bytes in memory", again.state_bytes());
    again.tell_time(START + 700 * SECOND);
    let out = again.step(&[Delta::insert(rows(0, 0))]).unwrap();
    assert_eq!((out.len(), out.weight(0)), (19 * 50, -1), "all that is left goes");
    assert_eq!(again.due_us(), None);
}
