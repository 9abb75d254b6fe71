//! count, count(DISTINCT), bool_and, bool_or.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, Int64Array};
use arrow::datatypes::{DataType, Int64Type};
use fleuve_types::{Error, Result};

use super::accumulator::{Accumulator, Input};
use crate::state::{Arrangement, RowCodec, hash_bytes};

pub(super) fn int_column(values: &[i64], groups: &[u32]) -> ArrayRef {
    Arc::new(groups.iter().map(|g| values[*g as usize]).collect::<Int64Array>())
}

pub(super) fn int_at(column: &ArrayRef, row: usize) -> Result<i64> {
    let array = column.as_primitive_opt::<Int64Type>().ok_or_else(|| Error::bug("state: a count is not an integer"))?;
    Ok(array.value(row))
}

/// `count(*)` and `count(x)`.
#[derive(Default)]
pub(super) struct Count {
    counts: Vec<i64>,
}

impl Accumulator for Count {
    fn resize(&mut self, groups: usize) {
        self.counts.resize(groups, 0);
    }

    fn reset(&mut self, group: u32) {
        self.counts[group as usize] = 0;
    }

    fn update(&mut self, input: &Input<'_>) -> Result<()> {
        let counts = &mut self.counts;
        input.each(|group, _, weight| counts[group] += weight);
        Ok(())
    }

    fn emit(&mut self, groups: &[u32]) -> Result<ArrayRef> {
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

/// `count(DISTINCT x)`: the values of each group with their weights.
pub(super) struct CountDistinct {
    codec: RowCodec,
    values: Arrangement,
    counts: Vec<i64>,
}

impl CountDistinct {
    pub(super) fn new(argument: DataType) -> Result<Self> {
        Ok(Self { codec: RowCodec::new(vec![argument])?, values: Arrangement::default(), counts: vec![] })
    }
}

/// An entry is told from those of other groups by the group's key in front of the value.
fn entry(buffer: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    buffer.clear();
    buffer.extend_from_slice(&(key.len() as u32).to_le_bytes());
    buffer.extend_from_slice(key);
    buffer.extend_from_slice(value);
}

impl Accumulator for CountDistinct {
    fn resize(&mut self, groups: usize) {
        self.counts.resize(groups, 0);
    }

    fn reset(&mut self, group: u32) {
        self.counts[group as usize] = 0;
    }

    fn update(&mut self, input: &Input<'_>) -> Result<()> {
        let encoded = self.codec.encode(input.arguments)?;
        let mut buffer = Vec::new();
        let (values, counts) = (&mut self.values, &mut self.counts);
        // All values live under one key: they are looked up by entry only.
        let no_key = hash_bytes(&[]);
        input.each(|group, row, weight| {
            entry(&mut buffer, input.keys.key(group as u32), encoded.row(row));
            let touched = values.add(no_key, &[], hash_bytes(&buffer), &buffer, weight);
            let now = values.weight(touched.slot);
            counts[group] += i64::from(now > 0) - i64::from(touched.old > 0);
        });
        self.values.sweep();
        Ok(())
    }

    fn emit(&mut self, groups: &[u32]) -> Result<ArrayRef> {
        Ok(int_column(&self.counts, groups))
    }

    fn bytes(&self) -> usize {
        self.values.bytes() + self.counts.capacity() * 8
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

    fn save_entries(&mut self, full: bool) -> Vec<(Vec<u8>, Vec<u8>, i64)> {
        let changes = self.values.take_changes(full);
        // The entry names its group: the shard of a restored entry is found by the group's key.
        changes
            .into_iter()
            .filter_map(|(_, entry, weight)| {
                let (len, rest) = entry.split_first_chunk::<4>()?;
                let key = rest.get(..u32::from_le_bytes(*len) as usize)?.to_vec();
                Some((key, entry, weight))
            })
            .collect()
    }

    fn load_entry(&mut self, _: &[u8], _: Option<u32>, entry: &[u8], weight: i64) {
        self.values.restore(&[], entry, weight);
        self.values.mark_saved();
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

    fn emit(&mut self, groups: &[u32]) -> Result<ArrayRef> {
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
