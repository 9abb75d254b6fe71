//! `min` and `max` of floating-point numbers by groups. DataFusion 54.1 compares them there with `<`, which nothing is true of beside NaN, so
//! that the answer depends on the order of rows. In SQL NaN is greater than all numbers, as it is without groups and in ORDER BY. And those of lists
//! and structs, where a NULL within is greater than all values, too; it takes it for the least.

use std::mem::size_of;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray, PrimitiveArray};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, FieldRef, Float32Type, Float64Type};
use arrow::row::{OwnedRow, RowConverter, SortField};
use datafusion::common::{Result, ScalarValue, internal_err};
use datafusion::functions_aggregate::min_max::{max_udaf, min_udaf};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, EmitTo, GroupsAccumulator, ReversedUDAF, SetMonotonicity,
};

/// Both, under their own names.
pub(crate) fn extremes() -> [AggregateUDF; 2] {
    [(min_udaf(), false), (max_udaf(), true)]
        .map(|(of, greatest)| AggregateUDF::new_from_impl(Extreme { of, greatest }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Extreme {
    of: Arc<AggregateUDF>,
    greatest: bool,
}

impl AggregateUDFImpl for Extreme {
    as_its_own!();

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.of.return_type(types)
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        let value = args.return_field.data_type();
        if !value.is_nested() {
            return self.of.accumulator(args);
        }
        let converter = RowConverter::new(vec![SortField::new_with_options(value.clone(), BEHIND)])?;
        let best = ScalarValue::try_from(value)?;
        Ok(Box::new(Nested { converter, greatest: self.greatest, row: None, best }))
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        self.of.state_fields(args)
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs<'_>) -> bool {
        !args.return_field.data_type().is_nested() && self.of.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn GroupsAccumulator>> {
        match args.return_field.data_type() {
            DataType::Float64 => {
                let is_better = if self.greatest { |a: f64, b| is_greater(a, b) } else { |a, b| is_greater(b, a) };
                Ok(Box::new(Extremes::<Float64Type, _> { values: vec![], seen: vec![], is_better }))
            }
            DataType::Float32 => {
                let (greatest, wide) = (self.greatest, f64::from);
                let is_better =
                    move |a, b| if greatest { is_greater(wide(a), wide(b)) } else { is_greater(wide(b), wide(a)) };
                Ok(Box::new(Extremes::<Float32Type, _> { values: vec![], seen: vec![], is_better }))
            }
            _ => self.of.create_groups_accumulator(args),
        }
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        self.of.create_sliding_accumulator(args)
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        self.of.coerce_types(types)
    }

    fn is_descending(&self) -> Option<bool> {
        self.of.is_descending()
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        self.of.order_sensitivity()
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        self.of.reverse_udf()
    }

    fn default_value(&self, data_type: &DataType) -> Result<ScalarValue> {
        self.of.default_value(data_type)
    }

    fn set_monotonicity(&self, data_type: &DataType) -> SetMonotonicity {
        self.of.inner().set_monotonicity(data_type)
    }
}

fn is_greater(a: f64, b: f64) -> bool {
    a > b || (a.is_nan() && !b.is_nan())
}

/// Where NULL stands within lists and structs.
const BEHIND: SortOptions = SortOptions { descending: false, nulls_first: false };

/// The best list or struct so far.
#[derive(Debug)]
struct Nested {
    converter: RowConverter,
    greatest: bool,
    /// Bytes that have the order of `best`.
    row: Option<OwnedRow>,
    best: ScalarValue,
}

impl Accumulator for Nested {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let [values] = values else { return internal_err!("min and max take one value") };
        let rows = self.converter.convert_columns(std::slice::from_ref(values))?;
        let places = (0..values.len()).filter(|place| values.is_valid(*place));
        let by_row = |a: &usize, b: &usize| rows.row(*a).cmp(&rows.row(*b));
        let Some(place) = (if self.greatest { places.max_by(by_row) } else { places.min_by(by_row) }) else {
            return Ok(());
        };
        let found = rows.row(place);
        let is_better = |now: &OwnedRow| if self.greatest { found > now.row() } else { found < now.row() };
        if self.row.as_ref().is_none_or(is_better) {
            self.row = Some(found.owned());
            self.best = ScalarValue::try_from_array(values, place)?;
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(self.best.clone())
    }

    fn size(&self) -> usize {
        let row = self.row.as_ref().map_or(0, |row| row.row().as_ref().len());
        size_of_val(self) - size_of_val(&self.best) + self.best.size() + row
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.best.clone()])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.update_batch(states)
    }
}

/// The best number of each group so far.
struct Extremes<T: ArrowPrimitiveType, F> {
    values: Vec<T::Native>,
    seen: Vec<bool>,
    is_better: F,
}

impl<T, F> GroupsAccumulator for Extremes<T, F>
where
    T: ArrowPrimitiveType,
    F: Fn(T::Native, T::Native) -> bool + Send + Sync + 'static,
{
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        total: usize,
    ) -> Result<()> {
        self.values.resize(total, T::default_value());
        self.seen.resize(total, false);
        let [values] = values else { return internal_err!("min and max take one value") };
        let values = values.as_primitive::<T>();
        for (row, group) in groups.iter().enumerate() {
            if values.is_null(row) || filter.is_some_and(|f| f.is_null(row) || !f.value(row)) {
                continue;
            }
            let value = values.value(row);
            if !self.seen[*group] || (self.is_better)(value, self.values[*group]) {
                (self.seen[*group], self.values[*group]) = (true, value);
            }
        }
        Ok(())
    }

    fn evaluate(&mut self, emit: EmitTo) -> Result<ArrayRef> {
        let (values, seen) = (emit.take_needed(&mut self.values), emit.take_needed(&mut self.seen));
        let seen = NullBuffer::new(BooleanBuffer::from(seen));
        Ok(Arc::new(PrimitiveArray::<T>::new(values.into(), Some(seen))))
    }

    fn state(&mut self, emit: EmitTo) -> Result<Vec<ArrayRef>> {
        Ok(vec![self.evaluate(emit)?])
    }

    fn merge_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        total: usize,
    ) -> Result<()> {
        self.update_batch(values, groups, filter, total)
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let [values] = values else { return internal_err!("min and max take one value") };
        let Some(filter) = filter else { return Ok(vec![values.clone()]) };
        let passes = BooleanBuffer::collect_bool(filter.len(), |row| filter.is_valid(row) && filter.value(row));
        let there = NullBuffer::union(values.nulls(), Some(&NullBuffer::new(passes)));
        Ok(vec![Arc::new(PrimitiveArray::<T>::new(values.as_primitive::<T>().values().clone(), there))])
    }

    fn supports_convert_to_state(&self) -> bool {
        true
    }

    fn size(&self) -> usize {
        self.values.capacity() * size_of::<T::Native>() + self.seen.capacity()
    }
}

#[cfg(test)]
mod tests {
    use crate::testing;

    #[tokio::test]
    async fn null_within_lists_and_structs_is_the_greatest() {
        let table = "CREATE TABLE t AS SELECT column1 AS k, column2 AS l, named_struct('a', column3, 'b', k) AS s
            FROM (SELECT *, column1 AS k FROM (VALUES (1, [1, NULL], 1), (1, [1, 2], NULL), (2, [NULL], 3), (2, [9], 2), (3, NULL, NULL), (3, [], 0)) v) w";
        for partitions in [1, 3] {
            let sql =
                "SELECT k, min(l), max(l), get_field(min(s), 'a'), get_field(max(s), 'a') FROM t GROUP BY k ORDER BY k";
            let expected = ["|1|[1,2]|[1,]|1||", "|2|[9]|[]|2|3|", "|3|[]|[]|0||"];
            assert_eq!(testing::rows(table, partitions, sql).await.unwrap(), expected);
            let sql = "SELECT min(l), max(l), max(l) FILTER (WHERE k = 3), min(l) FILTER (WHERE k > 3) FROM t";
            assert_eq!(testing::rows(table, partitions, sql).await.unwrap(), ["|[]|[]|[]||"]);
        }
    }

    #[tokio::test]
    async fn nan_is_the_greatest_whatever_comes_first() {
        for data_type in ["DOUBLE PRECISION", "REAL"] {
            let table = format!(
                "CREATE TABLE t (k TEXT, f {data_type}) AS VALUES
                ('a', 'NaN'), ('a', '5'), ('b', '5'), ('b', 'NaN'), ('c', 'NaN'), ('d', NULL), ('e', '-Infinity'), ('e', '1'), ('e', NULL)"
            );
            for partitions in [1, 3] {
                let sql = "SELECT k, min(f), max(f), min(f) FILTER (WHERE f < 5) FROM t GROUP BY k ORDER BY k";
                let expected = ["|a|5.0|NaN||", "|b|5.0|NaN||", "|c|NaN|NaN||", "|d||||", "|e|-inf|1.0|-inf|"];
                assert_eq!(testing::rows(&table, partitions, sql).await.unwrap(), expected, "{data_type}");
                let sql = "SELECT min(f), max(f), max(DISTINCT f) FROM t";
                assert_eq!(testing::rows(&table, partitions, sql).await.unwrap(), ["|-inf|NaN|NaN|"]);
            }
        }
    }
}
