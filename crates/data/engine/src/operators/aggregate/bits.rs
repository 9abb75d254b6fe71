//! bit_and, bit_or, bit_xor, by counting for each bit the values that have it.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BinaryArray, Int64Array, UInt64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, UInt64Type};
use fleuve_types::{Error, Result};

use super::accumulator::{Accumulator, Input};
use crate::state::ByteSet;

/// Which bits of a group's values the answer has.
#[derive(Clone, Copy)]
pub(super) enum Which {
    All,
    Any,
    Odd,
}

/// How many values there are, and how many have each bit.
#[derive(Clone)]
struct Counts {
    values: i64,
    bits: [i64; 64],
}

const NONE: Counts = Counts { values: 0, bits: [0; 64] };

pub(super) struct BitFold {
    which: Which,
    output: DataType,
    groups: Vec<Counts>,
}

impl BitFold {
    pub(super) fn new(which: Which, output: DataType) -> Self {
        Self { which, output, groups: vec![] }
    }
}

impl Accumulator for BitFold {
    fn resize(&mut self, groups: usize) {
        self.groups.resize(groups, NONE);
    }

    fn reset(&mut self, group: u32) {
        self.groups[group as usize] = NONE;
    }

    fn update(&mut self, input: &Input<'_>) -> Result<()> {
        let bug = |e: arrow::error::ArrowError| Error::bug(e.to_string());
        let values = &input.arguments[0];
        // A negative number has the bits of its sign all the way up, and so has the answer.
        let bits: Vec<u64> = if values.data_type().is_unsigned_integer() {
            cast(values, &DataType::UInt64).map_err(bug)?.as_primitive::<UInt64Type>().values().to_vec()
        } else {
            let values = cast(values, &DataType::Int64).map_err(bug)?;
            values.as_primitive::<Int64Type>().values().iter().map(|v| *v as u64).collect()
        };
        let groups = &mut self.groups;
        input.each(|group, row, weight| {
            let counts = &mut groups[group];
            counts.values += weight;
            let mut left = bits[row];
            while left != 0 {
                counts.bits[left.trailing_zeros() as usize] += weight;
                left &= left - 1;
            }
        });
        Ok(())
    }

    fn emit(&mut self, groups: &[u32], _: &ByteSet) -> Result<ArrayRef> {
        let answers = groups.iter().map(|g| {
            let counts = &self.groups[*g as usize];
            let has = |n: &i64| match self.which {
                Which::All => *n == counts.values,
                Which::Any => *n > 0,
                Which::Odd => n % 2 != 0,
            };
            let bits = counts.bits.iter().enumerate().filter(|(_, n)| has(n)).fold(0, |bits, (i, _)| bits | 1_u64 << i);
            (counts.values > 0).then_some(bits)
        });
        let array: ArrayRef = if self.output.is_unsigned_integer() {
            Arc::new(answers.collect::<UInt64Array>())
        } else {
            Arc::new(answers.map(|a| a.map(|bits| bits as i64)).collect::<Int64Array>())
        };
        cast(&array, &self.output).map_err(|e| Error::bug(e.to_string()))
    }

    fn bytes(&self) -> usize {
        self.groups.capacity() * size_of::<Counts>()
    }

    fn state_width(&self) -> usize {
        1
    }

    fn save_groups(&mut self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        let bytes = |g: &u32| {
            let counts = &self.groups[*g as usize];
            std::iter::once(&counts.values).chain(&counts.bits).flat_map(|n| n.to_le_bytes()).collect::<Vec<u8>>()
        };
        Ok(vec![Arc::new(BinaryArray::from_iter_values(groups.iter().map(bytes)))])
    }

    fn load_group(&mut self, group: u32, state: &[ArrayRef], row: usize) -> Result<()> {
        let damaged = || Error::bug("state: the counts of bits are damaged");
        let array = state[0].as_any().downcast_ref::<BinaryArray>().ok_or_else(damaged)?;
        let (numbers, rest) = array.value(row).as_chunks::<8>();
        let mut numbers = numbers.iter().map(|bytes| i64::from_le_bytes(*bytes));
        let mut counts = Counts { values: numbers.next().ok_or_else(damaged)?, ..NONE };
        for bit in &mut counts.bits {
            *bit = numbers.next().ok_or_else(damaged)?;
        }
        if !rest.is_empty() || numbers.next().is_some() {
            return Err(damaged());
        }
        self.groups[group as usize] = counts;
        Ok(())
    }
}
