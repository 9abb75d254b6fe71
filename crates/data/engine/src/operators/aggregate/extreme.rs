//! min and max. One value per group where rows only come; an ordered multiset per group where they can go. And the first and last value in an
//! order, where rows only come: one row per group.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BinaryArray, BinaryBuilder};
use arrow::compute::SortOptions;
use arrow::datatypes::DataType;
use fleuve_types::{Error, Result};

use super::accumulator::{Accumulator, AggregateCall, Input};
use crate::state::{ByteSet, RowCodec, resize};

type Key = Box<[u8]>;

/// Whether there is an order of values of a type that bytes can have.
pub(super) fn has_extremes(argument: &DataType) -> bool {
    !matches!(argument, DataType::Dictionary(..)) && codec_of(argument.clone()).is_ok()
}

/// A NULL within a list or a struct comes behind all other values.
fn codec_of(argument: DataType) -> Result<RowCodec> {
    RowCodec::sorted(vec![argument], &[SortOptions { descending: false, nulls_first: false }])
}

/// Values as order-preserving bytes, so that one piece of code serves every type.
pub(super) fn extreme(argument: DataType, max: bool, append_only: bool) -> Result<Box<dyn Accumulator>> {
    let codec = if argument.is_nested() { codec_of(argument)? } else { RowCodec::new(vec![argument])? };
    Ok(if append_only {
        Box::new(Best { codec, max, skips_null: true, best: vec![], heap_bytes: 0 })
    } else {
        Box::new(Multiset { codec, max, values: vec![], entries: 0, heap_bytes: 0 })
    })
}

/// True if one row per group is all that a call needs where rows only come.
pub(super) fn keeps_one(call: &AggregateCall, append_only: bool) -> bool {
    append_only && !call.distinct && matches!(call.function.as_str(), "first_value" | "last_value")
}

/// The call's value in the first or last row of each group, where rows only come. Rows that ORDER BY does not tell apart are in the order of their
/// values.
pub(super) fn end_of_order(call: &AggregateCall) -> Result<Box<dyn Accumulator>> {
    // The arguments are the value, then what the rows are ordered by.
    let (value, order) = call.argument_types.split_first().ok_or_else(|| Error::bug("an aggregate of nothing"))?;
    let types = order.iter().chain([value]).cloned().collect();
    let options: Vec<_> = call.order.iter().map(|(_, options)| *options).chain([SortOptions::default()]).collect();
    let codec = RowCodec::sorted(types, &options)?;
    let max = call.function == "last_value";
    Ok(Box::new(Best { codec, max, skips_null: call.ignores_null, best: vec![], heap_bytes: 0 }))
}

fn null_of(codec: &RowCodec) -> Result<Key> {
    let nulls: Vec<ArrayRef> = codec.types().iter().map(|t| arrow::array::new_null_array(t, 1)).collect();
    Ok(codec.encode(&nulls)?.row(0).into())
}

fn column<'a>(codec: &RowCodec, values: impl Iterator<Item = Option<&'a [u8]>>) -> Result<ArrayRef> {
    let null = null_of(codec)?;
    let rows: Vec<&[u8]> = values.map(|v| v.unwrap_or(&null)).collect();
    let mut columns = codec.decode(rows.into_iter())?;
    columns.pop().ok_or_else(|| Error::bug("min/max without a column"))
}

/// The least or greatest row of each group. Its last column is the value, what comes before it is what the rows are ordered by.
struct Best {
    codec: RowCodec,
    max: bool,
    /// Whether rows without a value count.
    skips_null: bool,
    best: Vec<Option<Key>>,
    heap_bytes: usize,
}

impl Accumulator for Best {
    fn resize(&mut self, groups: usize) {
        resize(&mut self.best, groups, None);
    }

    fn reset(&mut self, group: u32) {
        if let Some(gone) = self.best[group as usize].take() {
            self.heap_bytes = self.heap_bytes.saturating_sub(gone.len() + 16);
        }
    }

    fn update(&mut self, input: &Input<'_>) -> Result<()> {
        let (value, order) = input.arguments.split_first().ok_or_else(|| Error::bug("an aggregate of nothing"))?;
        let rows = input.encode(&self.codec, &[order, std::slice::from_ref(value)].concat())?;
        let (best, max, heap) = (&mut self.best, self.max, &mut self.heap_bytes);
        input.each_place(self.skips_null, |group, place, _| {
            let value = rows.at(place);
            match &mut best[group] {
                Some(now) => {
                    let better = if max { value > &**now } else { value < &**now };
                    if better {
                        replace(now, value, heap);
                    }
                }
                slot @ None => {
                    *heap += value.len() + 16;
                    *slot = Some(value.into());
                }
            }
        });
        Ok(())
    }

    fn emit(&mut self, groups: &[u32], _: &ByteSet) -> Result<ArrayRef> {
        column(&self.codec, groups.iter().map(|g| self.best[*g as usize].as_deref()))
    }

    fn bytes(&self) -> usize {
        self.best.capacity() * 16 + self.heap_bytes
    }

    fn state_width(&self) -> usize {
        1
    }

    fn save_groups(&mut self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        let array: BinaryArray = groups.iter().map(|g| self.best[*g as usize].as_deref()).collect();
        Ok(vec![Arc::new(array)])
    }

    fn load_group(&mut self, group: u32, state: &[ArrayRef], row: usize) -> Result<()> {
        let array = state[0].as_any().downcast_ref::<BinaryArray>().ok_or_else(|| Error::bug("state: min/max"))?;
        self.reset(group);
        if array.is_valid(row) {
            self.heap_bytes += array.value(row).len() + 16;
            self.best[group as usize] = Some(array.value(row).into());
        }
        Ok(())
    }
}

fn replace(now: &mut Key, value: &[u8], heap: &mut usize) {
    if now.len() == value.len() {
        now.copy_from_slice(value);
    } else {
        *heap = (*heap + value.len()).saturating_sub(now.len());
        *now = value.into();
    }
}

struct Multiset {
    codec: RowCodec,
    max: bool,
    values: Vec<BTreeMap<Key, i64>>,
    entries: usize,
    heap_bytes: usize,
}

impl Accumulator for Multiset {
    fn resize(&mut self, groups: usize) {
        self.values.resize_with(groups, BTreeMap::new);
    }

    fn reset(&mut self, group: u32) {
        let gone = std::mem::take(&mut self.values[group as usize]);
        self.entries -= gone.len();
        self.heap_bytes -= gone.keys().map(|k| k.len()).sum::<usize>();
    }

    fn update(&mut self, input: &Input<'_>) -> Result<()> {
        let rows = input.encode(&self.codec, input.arguments)?;
        let (values, entries, heap) = (&mut self.values, &mut self.entries, &mut self.heap_bytes);
        input.each_place(true, |group, place, weight| {
            let value = rows.at(place);
            let set = &mut values[group];
            if let Some(now) = set.get_mut(value) {
                *now += weight;
                if *now == 0 {
                    set.remove(value);
                    *entries -= 1;
                    *heap -= value.len();
                }
            } else {
                set.insert(value.into(), weight);
                *entries += 1;
                *heap += value.len();
            }
        });
        Ok(())
    }

    fn emit(&mut self, groups: &[u32], _: &ByteSet) -> Result<ArrayRef> {
        let max = self.max;
        column(
            &self.codec,
            groups.iter().map(|g| {
                let set = &self.values[*g as usize];
                if max { set.keys().next_back() } else { set.keys().next() }.map(|k| &**k)
            }),
        )
    }

    fn bytes(&self) -> usize {
        self.values.capacity() * 24 + self.entries * 40 + self.heap_bytes
    }

    fn state_width(&self) -> usize {
        1
    }

    fn save_groups(&mut self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        let mut out = BinaryBuilder::new();
        let mut buffer = Vec::new();
        for g in groups {
            buffer.clear();
            for (value, weight) in &self.values[*g as usize] {
                buffer.extend_from_slice(&(value.len() as u32).to_le_bytes());
                buffer.extend_from_slice(value);
                buffer.extend_from_slice(&weight.to_le_bytes());
            }
            out.append_value(&buffer);
        }
        Ok(vec![Arc::new(out.finish())])
    }

    fn load_group(&mut self, group: u32, state: &[ArrayRef], row: usize) -> Result<()> {
        let array = state[0].as_any().downcast_ref::<BinaryArray>().ok_or_else(|| Error::bug("state: min/max"))?;
        self.reset(group);
        let mut rest = array.value(row);
        let damaged = || Error::bug("state: a multiset is damaged");
        while !rest.is_empty() {
            let (len, r) = rest.split_first_chunk::<4>().ok_or_else(damaged)?;
            let (value, r) = r.split_at_checked(u32::from_le_bytes(*len) as usize).ok_or_else(damaged)?;
            let (weight, r) = r.split_first_chunk::<8>().ok_or_else(damaged)?;
            self.values[group as usize].insert(value.into(), i64::from_le_bytes(*weight));
            self.entries += 1;
            self.heap_bytes += value.len();
            rest = r;
        }
        Ok(())
    }
}
