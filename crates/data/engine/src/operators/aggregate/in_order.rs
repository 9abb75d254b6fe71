//! Aggregates that read a group's values in an order: array_agg, string_agg, first_value, last_value, nth_value, median,
//! percentile_cont, percentile_disc, mode. Each group keeps its values ordered, so that a row that comes or goes is put in or taken out and the others
//! stay where they are. Values that ORDER BY does not tell apart are in their own order.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, LargeStringBuilder, ListArray};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::{SortOptions, cast};
use arrow::datatypes::{DataType, Float64Type};
use datafusion::common::ScalarValue;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use fleuve_batch::{continuous_place, discrete_place};
use fleuve_types::{Error, Result};

use super::accumulator::{Accumulator, AggregateCall, Input};
use super::distinct::{PREFIX_BYTES, entry};
use crate::state::{Arrangement, ByteSet, Ordered, RowCodec, hash_bytes};

/// What is read of a group's values.
enum Read {
    /// All of them, as a list.
    List,
    /// All of them, joined by this text.
    Text(String),
    /// The one at this place, counted from the end if negative.
    At(i64),
    /// What this function makes of the one or two in the middle.
    Middle(Arc<AggregateFunctionExpr>),
    /// What lies at this part of the way from the first to the last, or the first that at least this part of all are not behind.
    Part { part: f64, descending: bool, is_discrete: bool },
    /// The one of which there are most copies, of several the first in the order.
    MostFrequent { descending: bool },
}

impl Read {
    fn of(call: &AggregateCall) -> Option<Self> {
        let parameter = call.parameter.as_ref();
        // WITHIN GROUP (ORDER BY x DESC) counts from the other end.
        let descending = call.order.first().is_some_and(|(_, options)| options.descending);
        Some(match call.function.as_str() {
            "array_agg" => Self::List,
            "string_agg" => match parameter? {
                ScalarValue::Utf8(s) | ScalarValue::LargeUtf8(s) | ScalarValue::Utf8View(s) => {
                    Self::Text(s.clone().unwrap_or_default())
                }
                ScalarValue::Null => Self::Text(String::new()),
                _ => return None,
            },
            "first_value" => Self::At(0),
            "last_value" => Self::At(-1),
            "nth_value" => match parameter? {
                ScalarValue::Int64(Some(n)) if *n > 0 => Self::At(n - 1),
                ScalarValue::Int64(Some(n)) if *n < 0 => Self::At(*n),
                _ => return None,
            },
            "median" => Self::Middle(call.expr.clone()),
            name @ ("percentile_cont" | "percentile_disc") => match parameter? {
                ScalarValue::Float64(Some(p)) if (0.0..=1.0).contains(p) => {
                    Self::Part { part: *p, descending, is_discrete: name == "percentile_disc" }
                }
                _ => return None,
            },
            "mode" if !call.distinct => Self::MostFrequent { descending },
            _ => return None,
        })
    }
}

/// The names of these functions.
pub(crate) fn reads_in_order(function: &str) -> bool {
    const NAMES: [&str; 9] = [
        "array_agg",
        "string_agg",
        "first_value",
        "last_value",
        "nth_value",
        "median",
        "percentile_cont",
        "percentile_disc",
        "mode",
    ];
    NAMES.contains(&function)
}

/// True if a call of one of these functions can be kept up to date.
pub(super) fn is_supported(call: &AggregateCall) -> bool {
    let value = call.arguments.first();
    // Otherwise equal values would stand apart.
    let orders_by_value = || value.is_some_and(|v| call.order.iter().all(|(e, _)| e.as_ref() == v.as_ref()));
    Read::of(call).is_some() && (!call.distinct || orders_by_value()) && InOrder::new(call).is_ok()
}

/// See the module.
pub(super) struct InOrder {
    read: Read,
    skips_null: bool,
    output: DataType,
    /// Of what the rows are ordered by, then the value.
    codec: RowCodec,
    null: Vec<u8>,
    /// By the key of the group; each row is an [`entry`].
    rows: Ordered,
}

/// The rows of one group.
#[derive(Clone, Copy)]
struct Group<'a> {
    rows: &'a Ordered,
    /// None if the group has no rows.
    slot: Option<u32>,
    /// What an entry has in front of the row.
    prefix: usize,
}

impl<'a> Group<'a> {
    fn len(self) -> u64 {
        self.slot.map_or(0, |slot| self.rows.total(slot))
    }

    /// The rows from a place on, each with how many copies it has.
    fn from(self, place: u64) -> impl Iterator<Item = (&'a [u8], u64)> {
        let found = self.slot.map(|slot| self.rows.from(slot, place));
        found.into_iter().flatten().map(move |p| (&self.rows.row(p.slot)[self.prefix..], p.weight))
    }

    fn at(self, place: u64) -> Option<&'a [u8]> {
        if place >= self.len() {
            return None;
        }
        self.from(place).next().map(|(row, _)| row)
    }
}

impl InOrder {
    pub(super) fn new(call: &AggregateCall) -> Result<Self> {
        let read = Read::of(call).ok_or_else(|| Error::bug(format!("{} is not read in an order", call.label)))?;
        // The arguments are the value, then what the rows are ordered by.
        let (value, order) = call.argument_types.split_first().ok_or_else(|| Error::bug("an aggregate of nothing"))?;
        let mut types = vec![];
        let mut options = vec![];
        let by_value = matches!(read, Read::Middle(_) | Read::Part { .. } | Read::MostFrequent { .. });
        if !by_value {
            types.extend(order.iter().cloned());
            options.extend(call.order.iter().map(|(_, options)| *options));
        }
        types.push(value.clone());
        options.push(SortOptions::default());
        let nulls: Vec<ArrayRef> = types.iter().map(|t| arrow::array::new_null_array(t, 1)).collect();
        let codec = RowCodec::sorted(types, &options)?;
        let null = codec.encode(&nulls)?.row(0).to_vec();
        let skips_null = call.ignores_null || by_value || matches!(read, Read::Text(_));
        Ok(Self { read, skips_null, output: call.output.clone(), codec, null, rows: Ordered::default() })
    }

    #[cfg(test)]
    pub(super) fn visited(&self) -> u64 {
        self.rows.visited.get()
    }

    /// The values of rows, in their order.
    fn values(&self, rows: &[&[u8]]) -> Result<ArrayRef> {
        let mut columns = self.codec.decode(rows.iter().copied())?;
        columns.pop().ok_or_else(|| Error::bug("an ordered aggregate without a value"))
    }

    /// All rows of each group and how many of them it has.
    fn all<'a>(groups: &[Group<'a>]) -> (Vec<&'a [u8]>, Vec<usize>) {
        let mut rows = vec![];
        let mut lengths = vec![];
        for group in groups {
            let from = rows.len();
            for (row, copies) in group.from(0) {
                rows.extend(std::iter::repeat_n(row, copies as usize));
            }
            lengths.push(rows.len() - from);
        }
        (rows, lengths)
    }

    fn lists(&self, groups: &[Group<'_>]) -> Result<ArrayRef> {
        let DataType::List(item) = &self.output else { return Err(Error::bug("array_agg gives a list")) };
        let (rows, lengths) = Self::all(groups);
        let values = cast(&self.values(&rows)?, item.data_type()).map_err(|e| Error::bug(e.to_string()))?;
        let there = NullBuffer::from_iter(lengths.iter().map(|n| *n > 0));
        if rows.len() > i32::MAX as usize {
            return Err(Error::input("array_agg: the lists of one step have more than 2147483647 items"));
        }
        let lists = ListArray::try_new(item.clone(), OffsetBuffer::from_lengths(lengths), values, Some(there));
        Ok(Arc::new(lists.map_err(|e| Error::bug(e.to_string()))?))
    }

    fn texts(&self, groups: &[Group<'_>], separator: &str) -> Result<ArrayRef> {
        let (rows, lengths) = Self::all(groups);
        let values = cast(&self.values(&rows)?, &DataType::LargeUtf8).map_err(|e| Error::bug(e.to_string()))?;
        let mut values = values.as_string::<i64>().iter().map(Option::unwrap_or_default);
        let mut out = LargeStringBuilder::new();
        for length in lengths {
            let joined: Vec<&str> = values.by_ref().take(length).collect();
            out.append_option((length > 0).then(|| joined.join(separator)));
        }
        Ok(Arc::new(out.finish()))
    }

    /// The value at the place that is chosen by how many rows a group has.
    fn places<'a>(&'a self, groups: &[Group<'a>], place: impl Fn(u64) -> Option<u64>) -> Result<ArrayRef> {
        let row = |group: &Group<'a>| -> &'a [u8] {
            match place(group.len()) {
                Some(place) => group.at(place).unwrap_or(&self.null),
                None => &self.null,
            }
        };
        let rows: Vec<&[u8]> = groups.iter().map(row).collect();
        self.values(&rows)
    }

    fn most_frequent<'a>(&'a self, groups: &[Group<'a>], descending: bool) -> Result<ArrayRef> {
        let row = |group: &Group<'a>| {
            let mut most: (&'a [u8], u64) = (&self.null, 0);
            for (row, copies) in group.from(0) {
                if copies > most.1 || (descending && copies == most.1) {
                    most = (row, copies);
                }
            }
            most.0
        };
        let rows: Vec<&[u8]> = groups.iter().map(row).collect();
        self.values(&rows)
    }

    fn middles(&self, groups: &[Group<'_>], function: &AggregateFunctionExpr) -> Result<ArrayRef> {
        let failed = |e: datafusion::error::DataFusionError| Error::input(e.strip_backtrace());
        let mut rows = vec![];
        let mut lengths = vec![];
        for group in groups {
            let from = rows.len();
            if let Some(last) = group.len().checked_sub(1) {
                rows.extend((last / 2..=last.div_ceil(2)).filter_map(|place| group.at(place)));
            }
            lengths.push(rows.len() - from);
        }
        let values = self.values(&rows)?;
        let mut at = 0;
        let mut out = vec![];
        for length in lengths {
            let mut one = function.create_accumulator().map_err(failed)?;
            one.update_batch(&[values.slice(at, length)]).map_err(failed)?;
            out.push(one.evaluate().map_err(failed)?);
            at += length;
        }
        if out.is_empty() {
            return Ok(arrow::array::new_empty_array(&self.output));
        }
        ScalarValue::iter_to_array(out).map_err(failed)
    }

    /// What lies between the values at two places, and how far, as `places` says for so many rows.
    fn between(&self, groups: &[Group<'_>], places: impl Fn(u64) -> (u64, u64, f64)) -> Result<ArrayRef> {
        let mut rows: Vec<&[u8]> = vec![];
        let mut far = vec![];
        for group in groups {
            let found = if group.len() > 0 { places(group.len()) } else { (0, 0, 0.0) };
            rows.extend([found.0, found.1].map(|place| group.at(place).unwrap_or(&self.null)));
            far.push(found.2);
        }
        let values = cast(&self.values(&rows)?, &DataType::Float64).map_err(|e| Error::bug(e.to_string()))?;
        let values = values.as_primitive::<Float64Type>();
        let between = far.iter().enumerate().map(|(i, far)| {
            let (first, second) = (2 * i, 2 * i + 1);
            values.is_valid(first).then(|| fleuve_batch::between(values.value(first), values.value(second), *far))
        });
        Ok(Arc::new(between.collect::<Float64Array>()))
    }
}

impl Accumulator for InOrder {
    fn resize(&mut self, _: usize) {}

    /// A group that went has no rows, and a new one neither.
    fn reset(&mut self, _: u32) {}

    fn forget(&mut self, _: u32, key: &[u8]) {
        self.rows.drop_key(hash_bytes(key), key);
    }

    fn update(&mut self, input: &Input<'_>) -> Result<()> {
        let (value, order) = input.arguments.split_first().ok_or_else(|| Error::bug("an aggregate of nothing"))?;
        let order = &order[..self.codec.types().len() - 1];
        let encoded = input.encode(&self.codec, &[order, std::slice::from_ref(value)].concat())?;
        let (rows, mut buffer) = (&mut self.rows, Vec::new());
        input.each_place(self.skips_null, |group, place, weight| {
            let key = input.keys.key(group as u32);
            entry(&mut buffer, key, encoded.at(place));
            rows.add(hash_bytes(key), key, &buffer, weight);
        });
        self.rows.sweep();
        Ok(())
    }

    fn emit(&mut self, groups: &[u32], keys: &ByteSet) -> Result<ArrayRef> {
        let rows = &self.rows;
        let group = |g: &u32| {
            let key = keys.key(*g);
            Group { rows, slot: rows.key_slot(hash_bytes(key), key), prefix: PREFIX_BYTES + key.len() }
        };
        let groups: Vec<Group<'_>> = groups.iter().map(group).collect();
        match &self.read {
            Read::List => self.lists(&groups),
            Read::Text(separator) => self.texts(&groups, separator),
            Read::At(place) if *place < 0 => self.places(&groups, |rows| rows.checked_sub(place.unsigned_abs())),
            Read::At(place) => self.places(&groups, |_| Some(place.unsigned_abs())),
            Read::Middle(function) => self.middles(&groups, function),
            Read::MostFrequent { descending } => self.most_frequent(&groups, *descending),
            Read::Part { part, descending, is_discrete } => {
                let from_end = |place: u64, rows: u64| if *descending { rows - 1 - place } else { place };
                if *is_discrete {
                    return self
                        .places(&groups, |rows| (rows > 0).then(|| from_end(discrete_place(*part, rows), rows)));
                }
                self.between(&groups, |rows| {
                    let (first, second, far) = continuous_place(*part, rows);
                    (from_end(first, rows), from_end(second, rows), far)
                })
            }
        }
    }

    fn bytes(&self) -> usize {
        self.rows.bytes()
    }

    fn state_width(&self) -> usize {
        0
    }

    fn save_groups(&mut self, _: &[u32]) -> Result<Vec<ArrayRef>> {
        Ok(vec![])
    }

    fn load_group(&mut self, _: u32, _: &[ArrayRef], _: usize) -> Result<()> {
        Ok(())
    }

    fn save_entries(&mut self, full: bool) -> Vec<(Vec<u8>, Vec<u8>, i64)> {
        self.rows.take_changes(full)
    }

    fn load_entry(&mut self, key: &[u8], entry: &[u8], weight: i64) {
        self.rows.restore(key, entry, weight);
    }

    fn entries_loaded(&mut self) {
        self.rows.mark_saved();
    }

    fn tables(&self) -> Vec<&Arrangement> {
        vec![self.rows.arrangement()]
    }

    fn fetch(&mut self, _: usize, key: &[u8], row: &[u8], weight: i64) {
        self.rows.fetch(key, row, weight);
    }
}
