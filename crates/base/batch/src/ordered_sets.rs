//! Aggregates over ordered sets (SQL:2003, 10.9; PostgreSQL 15, 9.21). NULLs do not count; without values they are NULL.
//!
//! - `percentile_cont(part) WITHIN GROUP (ORDER BY value)`: what lies at this part of the way from the first value to the last. DataFusion 54.1
//!   rounds down to six digits how far it lies between two of them, and takes `1 - part` from the other end for DESC.
//! - `percentile_disc(part) WITHIN GROUP (ORDER BY value)`: the first value that at least this part of all are not behind. DataFusion lacks it.
//! - `mode() WITHIN GROUP (ORDER BY value)`: the most frequent value, the first of them in the order if there are several. It lacks it, too.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch};
use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, Field, FieldRef, Float64Type, Int64Type};
use arrow::row::{RowConverter, SortField};
use datafusion::common::utils::SingleRowListArrayBuilder;
use datafusion::common::{Result, ScalarValue, exec_err, plan_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, ColumnarValue, Signature, TypeSignature, Volatility,
};

/// All of them.
pub(crate) fn all() -> [AggregateUDF; 3] {
    [Kind::Continuous, Kind::Discrete, Kind::Mode].map(|kind| {
        let signature = Signature::new(TypeSignature::UserDefined, Volatility::Immutable);
        let aliases = match kind {
            Kind::Continuous => vec!["quantile_cont".to_owned()],
            Kind::Discrete => vec!["quantile_disc".to_owned()],
            Kind::Mode => vec![],
        };
        AggregateUDF::new_from_impl(OrderedSet { kind, aliases, signature })
    })
}

/// The places, from 0, between which `percentile_cont(part)` lies in the order of so many values, which are one or more, and how far from the
/// first to the second.
pub fn continuous_place(part: f64, values: u64) -> (u64, u64, f64) {
    let place = part * (values - 1) as f64;
    (place.floor() as u64, place.ceil() as u64, place.fract())
}

/// What lies so far from one value to another.
pub fn between(first: f64, second: f64, far: f64) -> f64 {
    if far == 0.0 { first } else { first + far * (second - first) }
}

/// The place, from 0, of `percentile_disc(part)` in the order of so many values, which are one or more.
pub fn discrete_place(part: f64, values: u64) -> u64 {
    ((part * values as f64).ceil() as u64).clamp(1, values) - 1
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Continuous,
    Discrete,
    Mode,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct OrderedSet {
    kind: Kind,
    aliases: Vec<String>,
    signature: Signature,
}

impl AggregateUDFImpl for OrderedSet {
    fn name(&self) -> &str {
        match self.kind {
            Kind::Continuous => "percentile_cont",
            Kind::Discrete => "percentile_disc",
            Kind::Mode => "mode",
        }
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        let plain = |value: &DataType| match value {
            DataType::Dictionary(_, value) => value.as_ref().clone(),
            value => value.clone(),
        };
        let is_number = |t: &DataType| t.is_numeric() || t.is_null();
        match (self.kind, given) {
            (Kind::Continuous, [value, part]) if is_number(value) && is_number(part) => Ok(vec![DataType::Float64; 2]),
            (Kind::Discrete, [value, part]) if is_number(part) => Ok(vec![plain(value), DataType::Float64]),
            (Kind::Mode, [value]) => Ok(vec![plain(value)]),
            (Kind::Continuous, _) => {
                plan_err!("write percentile_cont(part) WITHIN GROUP (ORDER BY number), with a part from 0 to 1")
            }
            (Kind::Discrete, _) => {
                plan_err!("write percentile_disc(part) WITHIN GROUP (ORDER BY value), with a part from 0 to 1")
            }
            (Kind::Mode, _) => plan_err!("write mode() WITHIN GROUP (ORDER BY value)"),
        }
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types.first() {
            Some(value) => Ok(value.clone()),
            None => plan_err!("{} of nothing", self.name()),
        }
    }

    fn supports_within_group_clause(&self) -> bool {
        true
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        let list = |name: &str, item: &DataType| {
            let list = DataType::List(Arc::new(Field::new_list_field(item.clone(), true)));
            Arc::new(Field::new(format_state_name(args.name, name), list, true))
        };
        let mut fields = vec![list("values", args.return_type())];
        if self.kind != Kind::Continuous {
            fields.push(list("copies", &DataType::Int64));
        }
        Ok(fields)
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        let descending = args.order_bys.first().is_some_and(|by| by.options.descending);
        let read = match self.kind {
            Kind::Continuous => {
                let (part, is_distinct) = (part(&args)?, args.is_distinct);
                return Ok(Box::new(Numbers { part, descending, is_distinct, values: VecDeque::new() }));
            }
            Kind::Discrete => Read::Part(part(&args)?),
            Kind::Mode => Read::MostFrequent,
        };
        let options = SortOptions { descending, nulls_first: false };
        let value = args.return_field.data_type().clone();
        let converter = RowConverter::new(vec![SortField::new_with_options(value.clone(), options)])?;
        let (rows, bytes) = (BTreeMap::new(), 0);
        Ok(Box::new(Values { read, is_distinct: args.is_distinct, value, converter, rows, bytes }))
    }
}

/// The part that is asked for; None for NULL.
fn part(args: &AccumulatorArgs<'_>) -> Result<Option<f64>> {
    let none = RecordBatch::new_empty(Arc::new(args.schema.clone()));
    match args.exprs.get(1).map(|e| e.evaluate(&none)) {
        Some(Ok(ColumnarValue::Scalar(ScalarValue::Float64(Some(part))))) if (0.0..=1.0).contains(&part) => {
            Ok(Some(part))
        }
        Some(Ok(ColumnarValue::Scalar(ScalarValue::Float64(Some(part))))) => {
            plan_err!("the part of a percentile is from 0 to 1, not {part}")
        }
        Some(Ok(ColumnarValue::Scalar(part))) if part.is_null() => Ok(None),
        _ => plan_err!("the part of a percentile has to be a constant"),
    }
}

/// The numbers of a group as they came.
#[derive(Debug)]
struct Numbers {
    part: Option<f64>,
    descending: bool,
    is_distinct: bool,
    values: VecDeque<f64>,
}

impl Accumulator for Numbers {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.values.extend(values[0].as_primitive::<Float64Type>().iter().flatten());
        Ok(())
    }

    /// The rows of a frame go in the order in which they came.
    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.values.drain(..values[0].len() - values[0].null_count());
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let mut values: Vec<f64> = self.values.iter().copied().collect();
        if self.is_distinct {
            values.sort_unstable_by(f64::total_cmp);
            values.dedup_by(|a, b| a.total_cmp(b).is_eq());
        }
        let (Some(part), Some(last)) = (self.part, values.len().checked_sub(1)) else {
            return Ok(ScalarValue::Float64(None));
        };
        let (first, second, far) = continuous_place(part, last as u64 + 1);
        let mut at = |place: u64| {
            let place = if self.descending { last - place as usize } else { place as usize };
            *values.select_nth_unstable_by(place, f64::total_cmp).1
        };
        Ok(ScalarValue::Float64(Some(between(at(first), at(second), far))))
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.values.capacity() * size_of::<f64>()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let values: Float64Array = self.values.iter().copied().collect();
        Ok(vec![SingleRowListArrayBuilder::new(Arc::new(values)).build_list_scalar()])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let [values] = states else { return exec_err!("the state of percentile_cont has one column") };
        values.as_list::<i32>().iter().flatten().try_for_each(|values| self.update_batch(&[values]))
    }
}

#[derive(Debug)]
enum Read {
    /// The value at this part of the way.
    Part(Option<f64>),
    MostFrequent,
}

/// The values of a group in their order, each with how many times it is there.
#[derive(Debug)]
struct Values {
    read: Read,
    is_distinct: bool,
    value: DataType,
    converter: RowConverter,
    rows: BTreeMap<Box<[u8]>, i64>,
    /// Of the keys of `rows`.
    bytes: usize,
}

impl Values {
    /// Counts each value of a column `copies(its place)` times more.
    fn add(&mut self, values: &ArrayRef, copies: impl Fn(usize) -> i64) -> Result<()> {
        let nulls = values.logical_nulls();
        let rows = self.converter.convert_columns(std::slice::from_ref(values))?;
        for (place, row) in rows.iter().enumerate() {
            if nulls.as_ref().is_some_and(|n| n.is_null(place)) {
                continue;
            }
            let row = row.data();
            let Some(count) = self.rows.get_mut(row) else {
                self.bytes += row.len();
                self.rows.insert(row.into(), copies(place));
                continue;
            };
            *count += copies(place);
            if *count == 0 {
                self.bytes -= row.len();
                self.rows.remove(row);
            }
        }
        Ok(())
    }

    /// How many times a value counts.
    fn counted(&self, copies: i64) -> u64 {
        if self.is_distinct { 1 } else { copies.unsigned_abs() }
    }

    fn found(&self) -> Option<&[u8]> {
        match self.read {
            Read::Part(part) => {
                let values: u64 = self.rows.values().map(|n| self.counted(*n)).sum();
                let mut before = discrete_place(part?, values.max(1));
                self.rows.iter().find_map(|(row, copies)| {
                    let copies = self.counted(*copies);
                    let is_there = before < copies;
                    before = before.saturating_sub(copies);
                    is_there.then_some(row.as_ref())
                })
            }
            Read::MostFrequent => {
                let mut most: Option<(&[u8], u64)> = None;
                for (row, copies) in &self.rows {
                    let copies = self.counted(*copies);
                    if most.is_none_or(|(_, n)| copies > n) {
                        most = Some((row, copies));
                    }
                }
                most.map(|(row, _)| row)
            }
        }
    }

    /// Rows as a column of values.
    fn decoded<'a>(&self, rows: impl Iterator<Item = &'a [u8]>) -> Result<ArrayRef> {
        let parser = self.converter.parser();
        let mut columns = self.converter.convert_rows(rows.map(|row| parser.parse(row)))?;
        match columns.pop() {
            Some(column) => Ok(column),
            None => exec_err!("an ordered set without values"),
        }
    }
}

impl Accumulator for Values {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.add(&values[0], |_| 1)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.add(&values[0], |_| -1)
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        match self.found() {
            Some(row) => ScalarValue::try_from_array(&self.decoded(std::iter::once(row))?, 0),
            None => ScalarValue::try_from(&self.value),
        }
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.bytes + self.rows.len() * size_of::<(Box<[u8]>, i64)>()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let list = |items: ArrayRef| SingleRowListArrayBuilder::new(items).build_list_scalar();
        let copies: Int64Array = self.rows.values().copied().collect();
        Ok(vec![list(self.decoded(self.rows.keys().map(AsRef::as_ref))?), list(Arc::new(copies))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let [values, copies] = states else { return exec_err!("the state of an ordered set has two columns") };
        for (values, copies) in values.as_list::<i32>().iter().zip(copies.as_list::<i32>().iter()) {
            if let (Some(values), Some(copies)) = (values, copies) {
                let copies = copies.as_primitive::<Int64Type>();
                self.add(&values, |place| copies.value(place))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn the_first_that_the_part_is_not_behind() {
        assert_eq!(continuous_place(0.5, 4), (1, 2, 0.5));
        assert_eq!(continuous_place(1.0, 4), (3, 3, 0.0));
        for (part, values, place) in
            [(0.0, 4, 0), (0.25, 4, 0), (0.26, 4, 1), (0.5, 4, 1), (0.5, 5, 2), (1.0, 4, 3), (0.7, 10, 6), (0.9, 1, 0)]
        {
            assert_eq!(discrete_place(part, values), place, "{part} of {values}");
        }
    }

    #[tokio::test]
    async fn sets_are_read_in_their_order() {
        let table = "CREATE TABLE t (g INT, k BIGINT, s TEXT, d DECIMAL(6, 2)) AS VALUES
            (1, 3, 'b', 1.5), (1, 5, 'a', -2), (1, 5, NULL, 7.25), (1, NULL, 'a', 0), (2, 1, 'x', NULL), (2, 2, 'w', 3), (3, NULL, NULL, NULL)";
        for partitions in [1, 3] {
            for (call, expected) in [
                ("percentile_disc(0.5) WITHIN GROUP (ORDER BY k)", ["|5|", "|1|", "||"]),
                ("percentile_disc(0.3) WITHIN GROUP (ORDER BY k)", ["|3|", "|1|", "||"]),
                ("percentile_disc(0.5) WITHIN GROUP (ORDER BY k DESC)", ["|5|", "|2|", "||"]),
                ("percentile_disc(1) WITHIN GROUP (ORDER BY s)", ["|b|", "|x|", "||"]),
                ("percentile_disc(0) WITHIN GROUP (ORDER BY d DESC)", ["|7.25|", "|3.00|", "||"]),
                ("percentile_disc(0.5) WITHIN GROUP (ORDER BY d)", ["|0.00|", "|3.00|", "||"]),
                ("percentile_disc(NULL) WITHIN GROUP (ORDER BY k)", ["||", "||", "||"]),
                ("percentile_disc(0.5) WITHIN GROUP (ORDER BY k) FILTER (WHERE k < 5)", ["|3|", "|1|", "||"]),
                ("quantile_disc(k, 0.5)", ["|5|", "|1|", "||"]),
                ("percentile_disc(DISTINCT k, 0.5)", ["|3|", "|1|", "||"]),
                ("percentile_cont(0.5) WITHIN GROUP (ORDER BY k)", ["|5.0|", "|1.5|", "||"]),
                ("percentile_cont(0.25) WITHIN GROUP (ORDER BY k)", ["|4.0|", "|1.25|", "||"]),
                ("percentile_cont(0.9) WITHIN GROUP (ORDER BY k * 10 DESC)", ["|34.0|", "|11.0|", "||"]),
                ("percentile_cont(0.25) WITHIN GROUP (ORDER BY d)", ["|-0.5|", "|3.0|", "||"]),
                ("percentile_cont(0.5) WITHIN GROUP (ORDER BY k) FILTER (WHERE k < 5)", ["|3.0|", "|1.5|", "||"]),
                ("percentile_cont(DISTINCT k, 0.5)", ["|4.0|", "|1.5|", "||"]),
                ("percentile_cont(NULL) WITHIN GROUP (ORDER BY k)", ["||", "||", "||"]),
                ("mode() WITHIN GROUP (ORDER BY k)", ["|5|", "|1|", "||"]),
                ("mode() WITHIN GROUP (ORDER BY k DESC)", ["|5|", "|2|", "||"]),
                ("mode() WITHIN GROUP (ORDER BY s)", ["|a|", "|w|", "||"]),
                ("mode() WITHIN GROUP (ORDER BY s) FILTER (WHERE k = 3)", ["|b|", "||", "||"]),
            ] {
                let sql = format!("SELECT v FROM (SELECT g, {call} AS v FROM t GROUP BY g) ORDER BY g");
                assert_eq!(testing::rows(table, partitions, &sql).await.unwrap(), expected, "{call}");
            }
            let sql = "SELECT percentile_cont(1.0 / 3) WITHIN GROUP (ORDER BY v) AS a, percentile_cont(0.9) WITHIN GROUP (ORDER BY v DESC) AS b
                FROM (VALUES (0), (30000000)) q (v)";
            assert_eq!(testing::rows(table, partitions, sql).await.unwrap(), ["|10000000.0|3000000.0|"]);
            let sql = "SELECT k, quantile_cont(k, 0.5) OVER (ORDER BY k ROWS 1 PRECEDING) AS v FROM t ORDER BY k";
            let expected = ["|1|1.0|", "|2|1.5|", "|3|2.5|", "|5|4.0|", "|5|5.0|", "||5.0|", "|||"];
            assert_eq!(testing::rows(table, partitions, sql).await.unwrap(), expected);
            let sql = "SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY k) AS a, mode() WITHIN GROUP (ORDER BY s DESC) AS b FROM t";
            assert_eq!(testing::rows(table, partitions, sql).await.unwrap(), ["|3|a|"]);
            let sql =
                "SELECT k, quantile_disc(k, 0.5) OVER (ORDER BY k ROWS 1 PRECEDING) AS v FROM t WHERE k > 0 ORDER BY k";
            let expected = ["|1|1|", "|2|1|", "|3|2|", "|5|3|", "|5|5|"];
            assert_eq!(testing::rows(table, partitions, sql).await.unwrap(), expected);
        }
    }

    #[tokio::test]
    async fn wrong_calls_say_how_to_write_them() {
        let table = "CREATE TABLE t (k BIGINT) AS VALUES (1)";
        for (call, expected) in [
            ("percentile_disc(1.5) WITHIN GROUP (ORDER BY k)", "from 0 to 1, not 1.5"),
            ("percentile_disc('a') WITHIN GROUP (ORDER BY k)", "write percentile_disc(part)"),
            ("percentile_disc(0.5)", "write percentile_disc(part)"),
            ("percentile_disc(k / 10.0) WITHIN GROUP (ORDER BY k)", "has to be a constant"),
            ("percentile_cont(1.5) WITHIN GROUP (ORDER BY k)", "from 0 to 1, not 1.5"),
            ("percentile_cont(0.5) WITHIN GROUP (ORDER BY k::text)", "write percentile_cont(part)"),
            ("mode()", "write mode() WITHIN GROUP"),
        ] {
            let error = testing::rows(table, 1, &format!("SELECT {call} FROM t")).await.unwrap_err().to_string();
            assert!(error.contains(expected), "{call}: {error}");
        }
    }
}
