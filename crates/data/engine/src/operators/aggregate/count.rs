//! count, bool_and, bool_or.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, Int64Array};
use arrow::datatypes::Int64Type;
use fleuve_types::{Error, Result};

use super::accumulator::{Accumulator, Input};
use crate::state::{ByteSet, resize};

pub(super) fn int_column(values: &[i64], groups: &[u32]) -> ArrayRef {
    Arc::new(groups.iter().map(|g| values[*g as usize]).collect::<Int64Array>())
}

pub(super) fn int_at(column: &ArrayRef, row: usize) -> Result<i64> {
    let array = column.as_primitive_opt::<Int64Type>().ok_or_else(|| Error::bug("state: a count is not an integer"))?;
    Ok(array.value(row))
}

/// The counts in an argument of a call of parts.
pub(super) fn parts<'a>(input: &'a Input<'_>, argument: usize) -> Result<&'a [i64]> {
    let counts = input.arguments.get(argument).and_then(|a| a.as_primitive_opt::<Int64Type>());
    counts.map(|c| c.values().as_ref()).ok_or_else(|| Error::bug("a part of an aggregate is not counted"))
}

/// `count(*)` and `count(x)`.
#[derive(Default)]
pub(super) struct Count {
    counts: Vec<i64>,
    /// Its argument says how many rows each one stands for.
    is_partial: bool,
}

impl Count {
    pub(super) fn new(is_partial: bool) -> Self {
        Self { is_partial, ..Self::default() }
    }
}

impl Accumulator for Count {
    fn resize(&mut self, groups: usize) {
        resize(&mut self.counts, groups, 0);
    }

    fn reset(&mut self, group: u32) {
        self.counts[group as usize] = 0;
    }

    fn update(&mut self, input: &Input<'_>) -> Result<()> {
        let counts = &mut self.counts;
        if self.is_partial {
            let rows = parts(input, 0)?;
            input.each(|group, row, weight| counts[group] += rows[row] * weight);
        } else {
            input.each(|group, _, weight| counts[group] += weight);
        }
        Ok(())
    }

    fn emit(&mut self, groups: &[u32], _: &ByteSet) -> Result<ArrayRef> {
        Ok(int_column(&self.counts, groups))
    }

    fn bytes(&self) -> usize {
        self.counts.capacity() * 8
    }

    fn state_width(&self) -> usize {
        1
    }

    fn save_groups(&mut self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        Ok(vec![int_column(&self.counts, groups)])
    }

    fn load_group(&mut self, group: u32, state: &[ArrayRef], row: usize) -> Result<()> {
        self.counts[group as usize] = int_at(&state[0], row)?;
        Ok(())
    }
}

/// `bool_and` and `bool_or`, by counting.
pub(super) struct BoolFold {
    and: bool,
    yes: Vec<i64>,
    no: Vec<i64>,
}

impl BoolFold {
    pub(super) fn new(and: bool) -> Self {
        Self { and, yes: vec![], no: vec![] }
    }
}

impl Accumulator for BoolFold {
    fn resize(&mut self, groups: usize) {
        self.yes.resize(groups, 0);
        self.no.resize(groups, 0);
    }

    fn reset(&mut self, group: u32) {
        self.yes[group as usize] = 0;
        self.no[group as usize] = 0;
    }

    fn update(&mut self, input: &Input<'_>) -> Result<()> {
        let values = input.arguments[0].as_boolean_opt().ok_or_else(|| Error::bug("bool_and of a non-boolean"))?;
        let (yes, no) = (&mut self.yes, &mut self.no);
        input.each(|group, row, weight| if values.value(row) { yes[group] += weight } else { no[group] += weight });
        Ok(())
    }

    fn emit(&mut self, groups: &[u32], _: &ByteSet) -> Result<ArrayRef> {
        let array: BooleanArray = groups
            .iter()
            .map(|g| {
                let (yes, no) = (self.yes[*g as usize], self.no[*g as usize]);
                (yes + no > 0).then_some(if self.and { no == 0 } else { yes > 0 })
            })
            .collect();
        Ok(Arc::new(array))
    }

    fn bytes(&self) -> usize {
        (self.yes.capacity() + self.no.capacity()) * 8
    }

    fn state_width(&self) -> usize {
        2
    }

    fn save_groups(&mut self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        Ok(vec![int_column(&self.yes, groups), int_column(&self.no, groups)])
    }

    fn load_group(&mut self, group: u32, state: &[ArrayRef], row: usize) -> Result<()> {
        self.yes[group as usize] = int_at(&state[0], row)?;
        self.no[group as usize] = int_at(&state[1], row)?;
        Ok(())
    }
}
