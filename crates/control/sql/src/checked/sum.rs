//! `sum` over integers: added up exactly, an error if the end is beyond the range. All else is DataFusion's.

use std::mem::size_of_val;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Decimal128Array, Int64Array, UInt64Array};
use arrow::datatypes::{DataType, Decimal128Type, Field, FieldRef, Int64Type, UInt64Type};
use datafusion::common::{Result, ScalarValue, exec_err, internal_err};
use datafusion::functions_aggregate::sum::Sum;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::{AggregateOrderSensitivity, format_state_name};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, EmitTo, GroupsAccumulator, ReversedUDAF, SetMonotonicity, Signature,
};

/// A sum on its way: any number of integers fits.
const STATE: DataType = DataType::Decimal128(38, 0);

/// `sum`, under its own name.
pub(crate) fn checked_sum() -> Arc<AggregateUDF> {
    Arc::new(AggregateUDF::new_from_impl(CheckedSum { other: Sum::new() }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct CheckedSum {
    other: Sum,
}

fn is_integer(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Int64 | DataType::UInt64)
}

impl AggregateUDFImpl for CheckedSum {
    fn name(&self) -> &str {
        self.other.name()
    }

    fn signature(&self) -> &Signature {
        self.other.signature()
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.other.return_type(types)
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        let output = args.return_field.data_type().clone();
        match (is_integer(&output), args.is_distinct) {
            (false, _) => self.other.accumulator(args),
            (true, true) => Ok(Box::new(DistinctTotal { values: self.other.accumulator(args)?, output })),
            (true, false) => Ok(Box::new(Total { sum: 0, count: 0, output })),
        }
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        if args.is_distinct || !is_integer(args.return_field.data_type()) {
            return self.other.state_fields(args);
        }
        Ok(vec![Arc::new(Field::new(format_state_name(args.name, "sum"), STATE, true))])
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs<'_>) -> bool {
        self.other.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn GroupsAccumulator>> {
        let output = args.return_field.data_type().clone();
        match is_integer(&output) {
            true => Ok(Box::new(Totals { sums: vec![], counts: vec![], output })),
            false => self.other.create_groups_accumulator(args),
        }
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        let output = args.return_field.data_type().clone();
        match is_integer(&output) && !args.is_distinct {
            true => Ok(Box::new(Total { sum: 0, count: 0, output })),
            false => self.other.create_sliding_accumulator(args),
        }
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        self.other.reverse_expr()
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        self.other.order_sensitivity()
    }

    fn set_monotonicity(&self, data_type: &DataType) -> SetMonotonicity {
        self.other.set_monotonicity(data_type)
    }
}

/// Calls `each` with every value that is there.
fn for_values(array: &ArrayRef, mut each: impl FnMut(usize, i128)) -> Result<()> {
    macro_rules! all {
        ($type:ty) => {{
            let values = array.as_primitive::<$type>();
            match values.nulls().filter(|n| n.null_count() > 0) {
                None => values.values().iter().enumerate().for_each(|(i, v)| each(i, i128::from(*v))),
                Some(nulls) => nulls.valid_indices().for_each(|i| each(i, i128::from(values.value(i)))),
            }
        }};
    }
    match array.data_type() {
        DataType::Int64 => all!(Int64Type),
        DataType::UInt64 => all!(UInt64Type),
        DataType::Decimal128(..) => all!(Decimal128Type),
        other => return internal_err!("an exact sum of {other}"),
    }
    Ok(())
}

/// The sums as the values of the answer.
fn finish(sums: impl Iterator<Item = Option<i128>>, output: &DataType) -> Result<ArrayRef> {
    fn narrow<T: TryFrom<i128>>(sum: Option<i128>, name: &str) -> Result<Option<T>> {
        match sum.map(T::try_from) {
            None => Ok(None),
            Some(Ok(value)) => Ok(Some(value)),
            Some(Err(_)) => exec_err!("{name} out of range: the sum is {}", sum.unwrap_or_default()),
        }
    }
    let name = fleuve_types::sql_type_name(output).to_lowercase();
    Ok(match output {
        DataType::UInt64 => Arc::new(sums.map(|s| narrow::<u64>(s, &name)).collect::<Result<UInt64Array>>()?),
        _ => Arc::new(sums.map(|s| narrow::<i64>(s, &name)).collect::<Result<Int64Array>>()?),
    })
}

/// One sum. Values may be taken out again.
#[derive(Debug)]
struct Total {
    sum: i128,
    /// Of values, or of sums that were merged.
    count: u64,
    output: DataType,
}

impl Accumulator for Total {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let (sum, count) = (&mut self.sum, &mut self.count);
        for_values(&values[0], |_, v| (*sum, *count) = (*sum + v, *count + 1))
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let (sum, count) = (&mut self.sum, &mut self.count);
        for_values(&values[0], |_, v| (*sum, *count) = (*sum - v, *count - 1))
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let sum = (self.count > 0).then_some(self.sum);
        ScalarValue::try_from_array(&finish(std::iter::once(sum), &self.output)?, 0)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![ScalarValue::Decimal128((self.count > 0).then_some(self.sum), 38, 0)])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.update_batch(states)
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }
}

/// The sum of the values that DataFusion's accumulator holds, each once.
#[derive(Debug)]
struct DistinctTotal {
    values: Box<dyn Accumulator>,
    output: DataType,
}

impl Accumulator for DistinctTotal {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.values.update_batch(values)
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let mut total = Total { sum: 0, count: 0, output: self.output.clone() };
        for state in self.values.state()? {
            if let ScalarValue::List(list) = state {
                total.update_batch(&[list.values().clone()])?;
            }
        }
        total.evaluate()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.values.state()
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.values.merge_batch(states)
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.values.size()
    }
}

/// The sums of groups.
#[derive(Debug)]
struct Totals {
    sums: Vec<i128>,
    counts: Vec<u64>,
    output: DataType,
}

impl Totals {
    fn take(&mut self, emit_to: EmitTo) -> impl Iterator<Item = Option<i128>> + use<> {
        let (sums, counts) = (emit_to.take_needed(&mut self.sums), emit_to.take_needed(&mut self.counts));
        sums.into_iter().zip(counts).map(|(sum, count)| (count > 0).then_some(sum))
    }
}

fn states(sums: impl Iterator<Item = Option<i128>>) -> Result<ArrayRef> {
    Ok(Arc::new(sums.collect::<Decimal128Array>().with_precision_and_scale(38, 0)?))
}

/// Whether a row takes part.
fn passes(filter: Option<&BooleanArray>, row: usize) -> bool {
    filter.is_none_or(|f| f.is_valid(row) && f.value(row))
}

impl GroupsAccumulator for Totals {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        total_groups: usize,
    ) -> Result<()> {
        self.sums.resize(total_groups, 0);
        self.counts.resize(total_groups, 0);
        let (sums, counts) = (&mut self.sums, &mut self.counts);
        for_values(&values[0], |row, v| {
            if passes(filter, row) {
                sums[groups[row]] += v;
                counts[groups[row]] += 1;
            }
        })
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let sums = self.take(emit_to);
        finish(sums, &self.output)
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        Ok(vec![states(self.take(emit_to))?])
    }

    fn merge_batch(
        &mut self,
        states: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        total_groups: usize,
    ) -> Result<()> {
        self.update_batch(states, groups, filter, total_groups)
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let mut sums = vec![None; values[0].len()];
        for_values(&values[0], |row, v| {
            if passes(filter, row) {
                sums[row] = Some(v);
            }
        })?;
        Ok(vec![states(sums.into_iter())?])
    }

    fn supports_convert_to_state(&self) -> bool {
        true
    }

    fn size(&self) -> usize {
        self.sums.capacity() * 16 + self.counts.capacity() * 8
    }
}
