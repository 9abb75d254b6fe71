use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Decimal128Array, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::datasource::MemTable;
use datafusion::prelude::SessionContext;
use fleuve_types::Delta;

use super::random::Random;

/// `t0`, `t1`, `t2`: all with the columns of [`schema`].
pub const TABLES: usize = 3;

pub fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("k", DataType::Int32, true),
        Field::new("v", DataType::Int64, true),
        Field::new("s", DataType::Utf8, true),
        Field::new("d", DataType::Decimal128(10, 2), true),
        Field::new("b", DataType::Boolean, true),
        Field::new("ts", DataType::Timestamp(TimeUnit::Microsecond, None), true),
    ]))
}

type Row = (Option<i32>, Option<i64>, Option<&'static str>, Option<i128>, Option<bool>, Option<i64>);

/// The rows that a table holds.
#[derive(Default)]
pub struct Table {
    rows: Vec<Row>,
}

const WORDS: [&str; 5] = ["", "a", "b", "ab", "a rather longer text that does not fit into one block of a row"];

fn row(random: &mut Random) -> Row {
    let mut some = |percent| random.chance(percent);
    let present: [bool; 6] = std::array::from_fn(|_| some(88));
    (
        present[0].then(|| random.below(5) as i32),
        present[1].then(|| random.below(12) as i64 - 4),
        present[2].then(|| *random.pick(&WORDS)),
        present[3].then(|| random.below(900) as i128 - 300),
        present[4].then(|| random.chance(50)),
        present[5].then(|| random.below(240) as i64 * 1_000_000),
    )
}

/// `k` and `v`.
pub type Short = (Option<i32>, Option<i64>);

/// A change of rows with these values, and weights.
pub fn delta(rows: &[(Short, i64)]) -> Delta {
    let whole: Vec<Row> = rows.iter().map(|((k, v), _)| (*k, *v, None, None, None, None)).collect();
    Delta::weighted(batch(&whole), rows.iter().map(|(_, weight)| *weight).collect()).unwrap()
}

fn batch(rows: &[Row]) -> RecordBatch {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(rows.iter().map(|r| r.0).collect::<Int32Array>()),
        Arc::new(rows.iter().map(|r| r.1).collect::<Int64Array>()),
        Arc::new(rows.iter().map(|r| r.2).collect::<StringArray>()),
        Arc::new(rows.iter().map(|r| r.3).collect::<Decimal128Array>().with_precision_and_scale(10, 2).unwrap()),
        Arc::new(rows.iter().map(|r| r.4).collect::<BooleanArray>()),
        Arc::new(rows.iter().map(|r| r.5).collect::<TimestampMicrosecondArray>()),
    ];
    RecordBatch::try_new(schema(), columns).unwrap()
}

impl Table {
    /// Changes the table at random and gives the change.
    pub fn change(&mut self, random: &mut Random, append_only: bool) -> Delta {
        let mut rows = vec![];
        let mut weights = vec![];
        let busy = if random.chance(20) { 0 } else { random.below(7) };
        for _ in 0..busy {
            if !append_only && !self.rows.is_empty() && random.chance(45) {
                let at = random.below(self.rows.len());
                rows.push(self.rows.swap_remove(at));
                weights.push(-1);
            } else {
                // Equal rows are wanted, too.
                let new =
                    if !self.rows.is_empty() && random.chance(15) { *random.pick(&self.rows) } else { row(random) };
                let copies = if random.chance(10) { 2 } else { 1 };
                self.rows.extend(std::iter::repeat_n(new, copies));
                rows.push(new);
                weights.push(copies as i64);
            }
        }
        Delta::weighted(batch(&rows), weights).unwrap()
    }
}

/// Makes the tables known to a session, in place of what it had.
pub fn register(context: &SessionContext, tables: &[Table]) {
    for (n, table) in tables.iter().enumerate() {
        let name = format!("t{n}");
        let _ = context.deregister_table(name.as_str()).unwrap();
        let rows = MemTable::try_new(schema(), vec![vec![batch(&table.rows)]]).unwrap();
        context.register_table(name.as_str(), Arc::new(rows)).unwrap();
    }
}
