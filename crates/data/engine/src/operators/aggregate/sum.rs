//! sum over integers, decimals and durations, avg over decimals and durations (and over whole numbers that were added up before): exact.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Decimal128Array, Float64Array, Int64Array, UInt64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Decimal128Type, Int64Type, UInt64Type};
use fleuve_batch::{even_mean, rounded_mean};
use fleuve_types::{Error, Result};

use super::accumulator::{Accumulator, Input};
use super::count::{int_at, int_column, parts};
use crate::state::{ByteSet, resize};

/// Sums as 128-bit integers, whatever the argument's width, with the number of values that are not NULL.
#[derive(Default)]
struct Sums {
    sums: Vec<i128>,
    counts: Vec<i64>,
}

impl Sums {
    fn resize(&mut self, groups: usize) {
        resize(&mut self.sums, groups, 0);
        resize(&mut self.counts, groups, 0);
    }

    fn reset(&mut self, group: u32) {
        self.sums[group as usize] = 0;
        self.counts[group as usize] = 0;
    }

    /// Takes in sums with their counts.
    fn update_parts(&mut self, input: &Input<'_>) -> Result<()> {
        let (sums, counts) = (&mut self.sums, &mut self.counts);
        let rows = parts(input, 1)?;
        let values = input.arguments[0].as_primitive_opt::<Decimal128Type>();
        let values = values.ok_or_else(|| Error::bug("a part of a sum is no decimal"))?.values();
        input.each(|group, row, weight| {
            sums[group] = sums[group].wrapping_add(values[row].wrapping_mul(i128::from(weight)));
            counts[group] += rows[row] * weight;
        });
        Ok(())
    }

    fn update(&mut self, input: &Input<'_>) -> Result<()> {
        let (sums, counts) = (&mut self.sums, &mut self.counts);
        let mut add = |group: usize, value: i128, weight: i64| {
            sums[group] = sums[group].wrapping_add(value.wrapping_mul(i128::from(weight)));
            counts[group] += weight;
        };
        let array = &input.arguments[0];
        match array.data_type() {
            DataType::Int64 => {
                let values = array.as_primitive::<Int64Type>().values();
                input.each(|g, row, w| add(g, i128::from(values[row]), w));
            }
            DataType::UInt64 => {
                let values = array.as_primitive::<UInt64Type>().values();
                input.each(|g, row, w| add(g, i128::from(values[row]), w));
            }
            DataType::Decimal128(..) => {
                let values = array.as_primitive::<Decimal128Type>().values();
                input.each(|g, row, w| add(g, values[row], w));
            }
            DataType::Duration(_) => {
                let values = cast(array, &DataType::Int64).map_err(|e| Error::bug(e.to_string()))?;
                let values = values.as_primitive::<Int64Type>().values();
                input.each(|g, row, w| add(g, i128::from(values[row]), w));
            }
            other => return Err(Error::bug(format!("exact sum over {other}"))),
        }
        Ok(())
    }

    fn save(&self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        let sums: Decimal128Array = groups.iter().map(|g| Some(self.sums[*g as usize])).collect();
        Ok(vec![Arc::new(sums), int_column(&self.counts, groups)])
    }

    fn load(&mut self, group: u32, state: &[ArrayRef], row: usize) -> Result<()> {
        let sums = state[0].as_primitive_opt::<Decimal128Type>().ok_or_else(|| Error::bug("state: a sum"))?;
        self.sums[group as usize] = sums.value(row);
        self.counts[group as usize] = int_at(&state[1], row)?;
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.sums.capacity() * 16 + self.counts.capacity() * 8
    }
}

/// `sum(x)` for integers, decimals and durations; `avg(x)` for decimals and durations.
pub(super) struct ExactSum {
    state: Sums,
    /// For `avg`: widens the sum to the output's scale.
    mean: Option<i128>,
    output: DataType,
    /// What it takes in are sums and their counts.
    is_partial: bool,
}

impl ExactSum {
    pub(super) fn sum(output: DataType) -> Self {
        Self { state: Sums::default(), mean: None, output, is_partial: false }
    }

    /// The average of decimals of `scale`, or of durations in the unit of the output.
    pub(super) fn mean(scale: i8, output: DataType) -> Result<Self> {
        if matches!(output, DataType::Float64 | DataType::Duration(_)) {
            return Ok(Self { state: Sums::default(), mean: Some(1), output, is_partial: false });
        }
        let DataType::Decimal128(_, target) = output else {
            return Err(Error::bug(format!("avg of a decimal into {output}")));
        };
        let widen = u32::try_from(i16::from(target) - i16::from(scale)).map_err(|_| Error::bug("avg loses scale"))?;
        Ok(Self { state: Sums::default(), mean: Some(10_i128.pow(widen)), output, is_partial: false })
    }

    /// Takes in what was added up already, if `is_partial`.
    pub(super) fn of_parts(self, is_partial: bool) -> Self {
        Self { is_partial, ..self }
    }

    /// The average of whole numbers as a floating-point number.
    fn fraction(&self, group: u32) -> Option<f64> {
        let (sum, count) = (self.state.sums[group as usize], self.state.counts[group as usize]);
        (count != 0).then(|| sum as f64 / count as f64)
    }

    /// The result of a group; `None` over no values.
    fn at(&self, group: u32) -> Result<Option<i128>> {
        let (sum, count) = (self.state.sums[group as usize], self.state.counts[group as usize]);
        match self.mean {
            _ if count == 0 => Ok(None),
            None => Ok(Some(sum)),
            Some(_) if matches!(self.output, DataType::Duration(_)) => Ok(even_mean(sum, i128::from(count))),
            Some(factor) => match rounded_mean(sum, i128::from(count), factor) {
                Some(mean) => Ok(Some(mean)),
                None => Err(Error::input("the sum passes the range of DECIMAL(38)")),
            },
        }
    }
}

/// A sum in the width of the answer.
fn narrow<T: TryFrom<i128>>(sum: Option<i128>, name: &str) -> Result<Option<T>> {
    let beyond = |sum: i128| Error::input(format!("{name} out of range: the sum is {sum}"));
    sum.map(|sum| T::try_from(sum).map_err(|_| beyond(sum))).transpose()
}

impl Accumulator for ExactSum {
    fn resize(&mut self, groups: usize) {
        self.state.resize(groups);
    }

    fn reset(&mut self, group: u32) {
        self.state.reset(group);
    }

    fn update(&mut self, input: &Input<'_>) -> Result<()> {
        if self.is_partial { self.state.update_parts(input) } else { self.state.update(input) }
    }

    fn emit(&mut self, groups: &[u32], _: &ByteSet) -> Result<ArrayRef> {
        if self.output == DataType::Float64 {
            return Ok(Arc::new(groups.iter().map(|g| self.fraction(*g)).collect::<Float64Array>()));
        }
        let values = groups.iter().map(|g| self.at(*g)).collect::<Result<Vec<Option<i128>>>>()?.into_iter();
        Ok(match &self.output {
            DataType::Int64 => Arc::new(values.map(|v| narrow(v, "bigint")).collect::<Result<Int64Array>>()?),
            DataType::UInt64 => {
                Arc::new(values.map(|v| narrow(v, "bigint unsigned")).collect::<Result<UInt64Array>>()?)
            }
            DataType::Duration(_) => {
                let units = values.map(|v| narrow(v, "interval")).collect::<Result<Int64Array>>()?;
                cast(&units, &self.output).map_err(|e| Error::bug(e.to_string()))?
            }
            DataType::Decimal128(p, s) => {
                let array = values.collect::<Decimal128Array>();
                Arc::new(array.with_precision_and_scale(*p, *s).map_err(|e| Error::bug(e.to_string()))?)
            }
            other => return Err(Error::bug(format!("exact sum into {other}"))),
        })
    }

    fn bytes(&self) -> usize {
        self.state.bytes()
    }

    fn state_width(&self) -> usize {
        2
    }

    fn save_groups(&mut self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        self.state.save(groups)
    }

    fn load_group(&mut self, group: u32, state: &[ArrayRef], row: usize) -> Result<()> {
        self.state.load(group, state, row)
    }
}
