//! Incremental aggregation: a table of groups with their accumulators in columns.
//!
//! Each step emits, for every group it touched, the old row with weight -1 and the new row with +1. A group whose rows are all
//! gone disappears; the one group of an aggregate without GROUP BY is always there.

mod accumulator;
mod answer;
mod best;
mod bits;
mod close;
mod count;
mod distinct;
mod extreme;
mod failing;
mod float;
mod generic;
mod in_order;
mod pages;
mod sum;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BinaryArray, BinaryBuilder, BooleanArray, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::physical_expr::PhysicalExpr;
use fleuve_types::{Delta, Error, Result};
use rayon::prelude::*;

pub(crate) use accumulator::{Accumulator, AggregateCall, Input, accumulator_for, is_supported};
pub(crate) use in_order::reads_in_order;

use self::extreme::keeps_one;
use self::pages::Store;
use super::shard::{for_each, shard_of, split};
use super::{Operator, StepContext, evaluate, evaluate_filter};
use crate::operators::map::{concat, concat_wide};
use crate::state::{
    ByteSet, Paged, Pages, Part, Resident, RowCodec, Windows, batch_of, changes_from_batch, changes_to_batch,
    hash_bytes, resize, times_at, times_of,
};

/// From so many rows of a shard on, its accumulators take them in side by side. The rows of a key are all in one shard, and a hot
/// key makes that one the slowest: cores that have less to do help it here.
const SIDE_BY_SIDE_ROWS: usize = 8_192;

/// Aggregation by key.
pub(crate) struct Aggregate {
    keys: Vec<Arc<dyn PhysicalExpr>>,
    calls: Vec<AggregateCall>,
    codec: RowCodec,
    schema: SchemaRef,
    global: bool,
    /// How many rows a row stands for; one if it does not say.
    rows: Option<Arc<dyn PhysicalExpr>>,
    /// Rows of a group that is there already change nothing.
    stays: bool,
    /// Keys that carry event time, by number: groups are shown, once, when the watermark has passed them, and dropped.
    close_by: Vec<usize>,
    append_only: bool,
    shards: Vec<Groups>,
    /// Of a group's total and what its accumulators save.
    state_codec: Option<RowCodec>,
    pages: Option<Pages>,
}

/// The groups of one shard.
struct Groups {
    /// The calls as people write them.
    words: Arc<[String]>,
    keys: ByteSet,
    /// By group: the sum of the weights of its rows.
    totals: Vec<i64>,
    accumulators: Vec<Box<dyn Accumulator>>,
    /// Groups touched since the last save, by slot, and keys of groups that went.
    dirty: Vec<bool>,
    removed: Vec<Vec<u8>>,
    removed_bytes: usize,
    /// Of those of the groups that memory holds; what is not held is fetched before a step touches it. Empty if the keys tell.
    resident: Resident,
    /// No group ever goes, so that memory holds all of a hash if it holds a group of it.
    keys_tell: bool,
    /// By group: already met in this step. All false between steps.
    seen: Vec<bool>,
    /// Groups by event time.
    windows: Windows,
}

/// The columns that a step evaluated once for all shards.
struct Evaluated {
    arguments: Vec<Vec<ArrayRef>>,
    filters: Vec<Option<BooleanArray>>,
    /// How many rows each row stands for.
    rows: Option<Int64Array>,
}

impl Aggregate {
    /// An aggregate over `keys`; `append_only` says that no input row ever goes.
    pub(crate) fn new(
        keys: Vec<Arc<dyn PhysicalExpr>>,
        key_types: Vec<DataType>,
        calls: Vec<AggregateCall>,
        schema: SchemaRef,
        append_only: bool,
        shards: usize,
    ) -> Result<Self> {
        let global = keys.is_empty();
        let count = if global { 1 } else { shards };
        let shards = (0..count)
            .map(|_| {
                let mut groups = Groups::new(&calls, append_only)?;
                if global {
                    groups.group(hash_bytes(&[]), &[]);
                }
                Ok(groups)
            })
            .collect::<Result<Vec<_>>>()?;
        let codec = RowCodec::new(key_types)?;
        let mut new = Self {
            keys,
            calls,
            codec,
            schema,
            global,
            rows: None,
            stays: false,
            close_by: vec![],
            append_only,
            shards,
            state_codec: None,
            pages: None,
        };
        new.state_codec = new.codec_of_states();
        Ok(new)
    }

    /// What a group's first row gives is its answer for good.
    pub(crate) fn stays(&mut self, stays: bool) {
        self.stays = stays;
    }

    /// Each row stands for as many as this says.
    pub(crate) fn counts(&mut self, rows: Option<Arc<dyn PhysicalExpr>>) {
        self.rows = rows;
    }

    fn evaluate(&self, input: &Delta) -> Result<Evaluated> {
        let arguments = self
            .calls
            .iter()
            .map(|c| c.arguments.iter().map(|a| evaluate(a, &input.batch)).collect())
            .collect::<Result<_>>()?;
        let filters = self
            .calls
            .iter()
            .map(|c| c.filter.as_ref().map(|f| evaluate_filter(f, &input.batch)).transpose())
            .collect::<Result<_>>()?;
        let rows = self.rows.as_ref().map(|r| evaluate(r, &input.batch)).transpose()?;
        let counted = |rows: ArrayRef| rows.as_any().downcast_ref::<Int64Array>().cloned();
        let rows = rows.map(|r| counted(r).ok_or_else(|| Error::bug("rows are counted in BIGINT"))).transpose()?;
        Ok(Evaluated { arguments, filters, rows })
    }
}

impl Groups {
    fn new(calls: &[AggregateCall], append_only: bool) -> Result<Self> {
        Ok(Self {
            words: calls.iter().map(|c| c.words.clone()).collect(),
            keys: ByteSet::default(),
            totals: vec![],
            accumulators: calls.iter().map(|c| accumulator_for(c, append_only)).collect::<Result<_>>()?,
            dirty: vec![],
            removed: vec![],
            removed_bytes: 0,
            resident: Resident::default(),
            keys_tell: append_only,
            seen: vec![],
            windows: Windows::default(),
        })
    }

    fn note_removed(&mut self, slot: u32) {
        let key = self.keys.key(slot).to_vec();
        self.removed_bytes += key.len() + size_of::<Vec<u8>>();
        self.removed.push(key);
    }

    fn group(&mut self, hash: u64, key: &[u8]) -> (u32, bool) {
        let (slot, is_new) = self.keys.insert(hash, key);
        if is_new {
            let len = self.keys.slots();
            resize(&mut self.totals, len, 0);
            resize(&mut self.dirty, len, false);
            resize(&mut self.seen, len, false);
            self.totals[slot as usize] = 0;
            for a in &mut self.accumulators {
                a.resize(len);
                a.reset(slot);
            }
        }
        (slot, is_new)
    }

    /// Key columns and results of `slots` as one batch.
    fn emit(&mut self, slots: &[u32], codec: &RowCodec, schema: &SchemaRef) -> Result<RecordBatch> {
        let mut columns = codec.decode(slots.iter().map(|s| self.keys.key(*s)))?;
        for n in 0..self.accumulators.len() {
            let results = self.accumulators[n].emit(slots, &self.keys);
            columns.push(results.map_err(|e| self.of_group(e, n, slots, (codec, schema)))?);
        }
        let columns = columns
            .into_iter()
            .zip(schema.fields())
            .map(|(c, f)| {
                if c.data_type() == f.data_type() {
                    Ok(c)
                } else {
                    arrow::compute::cast(&c, f.data_type()).map_err(|e| Error::bug(e.to_string()))
                }
            })
            .collect::<Result<Vec<_>>>()?;
        batch_of(schema, columns, slots.len())
    }

    fn step(&mut self, aggregate: &Shared<'_>, rows: &[u32]) -> Result<Delta> {
        let input = aggregate.input;
        if let Some(store) = &aggregate.store {
            self.fetch(store, rows.iter().map(|i| aggregate.hashes[*i as usize]))?;
        }
        // What is not put out matters only if groups may go.
        let notes = aggregate.puts_out || input.weights.is_some() || aggregate.evaluated.rows.is_some();
        let mut groups = Vec::with_capacity(rows.len());
        let mut touched = Vec::new();
        let mut existed = Vec::new();
        let mut kept = Vec::with_capacity(rows.len());
        // Without GROUP BY all rows are of one group: it is looked up once.
        let mut only = None;
        for i in rows {
            let at = *i as usize;
            let (slot, is_new) = match only {
                Some(slot) => (slot, false),
                None => self.group(aggregate.hashes[at], aggregate.keys.row(at)),
            };
            only = aggregate.global.then_some(slot);
            if aggregate.stays && !is_new {
                continue;
            }
            kept.push(*i);
            if is_new {
                self.windows.put(slot, times_at(aggregate.times, at));
            }
            if notes && !std::mem::replace(&mut self.seen[slot as usize], true) {
                touched.push(slot);
                if !is_new {
                    existed.push(slot);
                }
            }
            groups.push(slot);
        }
        let rows = &kept[..];
        let existed: Vec<u32> = if !aggregate.puts_out {
            vec![]
        } else if aggregate.global {
            // Before its first step the one group has not been shown.
            if aggregate.first { vec![] } else { touched.clone() }
        } else if self.windows.is_off() {
            existed
        } else {
            vec![]
        };
        let old =
            if existed.is_empty() { None } else { Some(self.emit(&existed, aggregate.codec, aggregate.schema)?) };
        for (slot, i) in groups.iter().zip(rows) {
            let rows = aggregate.evaluated.rows.as_ref().map_or(1, |r| r.value(*i as usize));
            self.totals[*slot as usize] += input.weight(*i as usize) * rows;
            self.dirty[*slot as usize] = true;
        }
        let (keys, words) = (&self.keys, &self.words);
        let update = |(n, a): (usize, &mut Box<dyn Accumulator>)| {
            let updated = a.update(&Input {
                arguments: &aggregate.evaluated.arguments[n],
                filter: aggregate.evaluated.filters[n].as_ref(),
                rows,
                groups: &groups,
                weights: input.weights.as_deref(),
                keys,
            });
            updated.map_err(|e| failing::of_call(e, &words[n]))
        };
        if rows.len() < SIDE_BY_SIDE_ROWS || rayon::current_num_threads() == 1 {
            self.accumulators.iter_mut().enumerate().try_for_each(update)?;
        } else {
            let updated: Vec<Result<()>> = self.accumulators.par_iter_mut().enumerate().map(update).collect();
            updated.into_iter().collect::<Result<()>>()?;
        }
        let change = if aggregate.puts_out {
            let shown = |s: &u32| aggregate.global || (self.totals[*s as usize] != 0 && self.windows.is_off());
            let now: Vec<u32> = touched.iter().copied().filter(shown).collect();
            let new = self.emit(&now, aggregate.codec, aggregate.schema)?;
            let keys = aggregate.codec.types().len();
            difference((old, &existed), (new, &now), &touched, keys, aggregate.schema)?
        } else {
            Delta::empty(aggregate.schema.clone())
        };
        for slot in touched {
            self.seen[slot as usize] = false;
            if !aggregate.global && self.totals[slot as usize] == 0 {
                self.note_removed(slot);
                self.dirty[slot as usize] = false;
                for a in &mut self.accumulators {
                    a.reset(slot);
                }
                self.keys.remove(slot);
            }
        }
        Ok(change)
    }
}

/// `-old +new` without the rows that stayed the same. `touched` are slots; those of `old` and of `new` are among them, in the
/// same order, and rows of one slot have the same key.
fn difference(
    old: (Option<RecordBatch>, &[u32]),
    new: (RecordBatch, &[u32]),
    touched: &[u32],
    keys: usize,
    schema: &SchemaRef,
) -> Result<Delta> {
    let ((old, existed), (new, now)) = (old, new);
    let Some(old) = old else { return Ok(Delta::insert(new)) };
    let (m, n) = (old.num_rows(), new.num_rows());
    let codec = RowCodec::new(schema.fields()[keys..].iter().map(|f| f.data_type().clone()).collect())?;
    let (a, b) = (codec.encode(&old.columns()[keys..])?, codec.encode(&new.columns()[keys..])?);
    let (mut keep_old, mut keep_new) = (vec![true; m], vec![true; n]);
    let (mut i, mut j) = (0, 0);
    for slot in touched {
        let (before, after) = (existed.get(i) == Some(slot), now.get(j) == Some(slot));
        if before && after && a.row(i) == b.row(j) {
            (keep_old[i], keep_new[j]) = (false, false);
        }
        i += usize::from(before);
        j += usize::from(after);
    }
    let part = |batch: &RecordBatch, keep: Vec<bool>, weight: i64| -> Result<Delta> {
        let mask = BooleanArray::from(keep);
        let batch = if mask.true_count() == mask.len() {
            batch.clone()
        } else {
            arrow::compute::filter_record_batch(batch, &mask).map_err(|e| Error::bug(e.to_string()))?
        };
        let rows = batch.num_rows();
        Delta::weighted(batch, vec![weight; rows])
    };
    concat(schema, &[part(&old, keep_old, -1)?, part(&new, keep_new, 1)?])
}

/// What all shards of one step share.
struct Shared<'a> {
    input: &'a Delta,
    hashes: &'a [u64],
    keys: &'a crate::state::Encoded,
    evaluated: &'a Evaluated,
    codec: &'a RowCodec,
    /// Where groups are that memory does not hold.
    store: Option<Store<'a>>,
    schema: &'a SchemaRef,
    /// The keys of [`Aggregate::close_by`].
    times: &'a [Int64Array],
    global: bool,
    stays: bool,
    first: bool,
    /// Whether the change is put out.
    puts_out: bool,
}

impl Aggregate {
    /// A step; what follows from it is put out or not.
    fn take(&mut self, input: &Delta, context: StepContext, puts_out: bool) -> Result<Delta> {
        let key_columns = self.keys.iter().map(|k| evaluate(k, &input.batch)).collect::<Result<Vec<_>>>()?;
        let keys = self.codec.encode(&key_columns)?;
        let hashes = keys.hashes(input.len());
        let evaluated = self.evaluate(input)?;
        let parts = split(&hashes, self.shards.len());
        let times = self.close_by.iter().map(|k| times_of(&key_columns[*k])).collect::<Result<Vec<_>>>()?;
        let shared = Shared {
            input,
            hashes: &hashes,
            keys: &keys,
            evaluated: &evaluated,
            codec: &self.codec,
            store: Store::of(&self.pages, &self.state_codec, &self.codec, &self.close_by),
            schema: &self.schema,
            times: &times,
            global: self.global,
            stays: self.stays,
            first: context.first,
            puts_out,
        };
        if self.global && context.first && input.is_empty() && puts_out {
            // Nothing came yet: the answer over no rows.
            let row = self.shards[0].emit(&[0], &self.codec, &self.schema)?;
            return Ok(Delta::insert(row));
        }
        let outs = for_each(&mut self.shards, input.len(), |s, groups| groups.step(&shared, &parts[s]))?;
        concat_wide(&self.schema, &outs)
    }
}

impl Operator for Aggregate {
    fn step(&mut self, inputs: &[Delta], context: StepContext) -> Result<Delta> {
        self.take(&inputs[0], context, true)
    }

    fn can_hold_back(&self) -> bool {
        self.has_answer()
    }

    fn take_in(&mut self, inputs: &[Delta], context: StepContext) -> Result<()> {
        self.take(&inputs[0], context, false).map(|_| ())
    }

    fn wants_step(&self, context: StepContext) -> bool {
        self.global && context.first
    }

    fn can_answer(&self) -> bool {
        self.has_answer()
    }

    fn present_answer(&mut self, part: Part) -> Result<Delta> {
        self.answer_in(part)
    }

    fn places(&self, rows: &Delta) -> Result<Vec<u64>> {
        self.places_of(rows)
    }

    fn close(&mut self, watermarks: &[Option<i64>]) -> Result<Option<Delta>> {
        self.show_closed(watermarks)
    }

    fn closing(&self) -> Option<&'static str> {
        (!self.close_by.is_empty()).then_some("a group is shown when its window is closed, then dropped")
    }

    fn loaded(&mut self) -> Result<()> {
        self.find_windows()
    }

    fn paged(&mut self) -> Option<&mut dyn Paged> {
        self.can_page().then_some(self as &mut dyn Paged)
    }

    fn pages(&self) -> Option<&Pages> {
        self.pages.as_ref()
    }

    fn describe(&self) -> String {
        let keys: Vec<String> = self.keys.iter().map(ToString::to_string).collect();
        let label = |c: &AggregateCall| match keeps_one(c, self.append_only) {
            true => format!("{} (one row kept)", c.label),
            false => c.label.clone(),
        };
        let calls: Vec<String> = self.calls.iter().map(label).collect();
        format!("Aggregate: by [{}], [{}]", keys.join(", "), calls.join(", "))
    }

    fn state_rows(&self) -> usize {
        let held = self.shards.iter().map(|s| s.keys.len()).sum();
        self.pages.as_ref().map_or(held, |pages| pages.dated_rows(held, self.close_by.len()))
    }

    fn state_bytes(&self) -> usize {
        let pages = self.pages.as_ref().map_or(0, Pages::bytes);
        let shards: usize = self
            .shards
            .iter()
            .map(|s| {
                s.keys.bytes()
                    + s.totals.capacity() * 8
                    + s.dirty.capacity()
                    + s.seen.capacity()
                    + s.windows.bytes()
                    + s.accumulators.iter().map(|a| a.bytes()).sum::<usize>()
                    + s.removed_bytes
                    + s.resident.bytes()
            })
            .sum();
        pages + shards
    }

    fn save(&mut self, full: bool) -> Result<Vec<RecordBatch>> {
        let mut out = Vec::new();
        for shard in &mut self.shards {
            out.extend(shard.save(full)?);
        }
        Ok(out)
    }

    fn load(&mut self, batch: &RecordBatch) -> Result<()> {
        let n = self.shards.len();
        if batch.schema().fields()[0].name() == "part" {
            let mut result = Ok(());
            let shards = &mut self.shards;
            changes_from_batch(batch, |part, key, row, weight| {
                let shard = &mut shards[shard_of(hash_bytes(key), n)];
                match shard.accumulators.get_mut(part as usize) {
                    Some(a) => a.load_entry(key, row, weight),
                    None => result = Err(Error::bug("a state section names an aggregate that is not there")),
                }
            })?;
            shards.iter_mut().flat_map(|s| &mut s.accumulators).for_each(|a| a.entries_loaded());
            return result;
        }
        let keys = batch.column(0).as_any().downcast_ref::<BinaryArray>().ok_or_else(|| Error::bug("state: key"))?;
        let totals = batch.column(1).as_any().downcast_ref::<Int64Array>().ok_or_else(|| Error::bug("state: total"))?;
        for i in 0..batch.num_rows() {
            let hash = hash_bytes(keys.value(i));
            let shard = &mut self.shards[shard_of(hash, n)];
            if totals.value(i) == GONE {
                if let Some(slot) = shard.keys.get(hash, keys.value(i)) {
                    for a in &mut shard.accumulators {
                        a.reset(slot);
                    }
                    shard.keys.remove(slot);
                }
                continue;
            }
            let (slot, _) = shard.group(hash, keys.value(i));
            shard.totals[slot as usize] = totals.value(i);
            let mut column = 2;
            for a in &mut shard.accumulators {
                let width = a.state_width();
                a.load_group(slot, &batch.columns()[column..column + width], i)?;
                column += width;
            }
        }
        Ok(())
    }
}

/// The total that says that a group is gone. No real total comes near it.
const GONE: i64 = i64::MIN;

impl Groups {
    fn save(&mut self, full: bool) -> Result<Vec<RecordBatch>> {
        let slots: Vec<u32> = self.keys.iter().filter(|s| full || self.dirty[*s as usize]).collect();
        let removed = std::mem::take(&mut self.removed);
        self.removed_bytes = 0;
        let mut out = Vec::new();
        let mut fields = vec![Field::new("key", DataType::Binary, false), Field::new("total", DataType::Int64, false)];
        let mut states: Vec<ArrayRef> = Vec::new();
        for a in &mut self.accumulators {
            for column in a.save_groups(&slots)? {
                fields.push(Field::new(format!("s{}", states.len()), column.data_type().clone(), true));
                states.push(column);
            }
        }
        let schema = Arc::new(Schema::new(fields));
        if !full && !removed.is_empty() {
            let keys = BinaryArray::from_iter_values(removed.iter());
            let totals = Int64Array::from(vec![GONE; removed.len()]);
            let mut columns: Vec<ArrayRef> = vec![Arc::new(keys), Arc::new(totals)];
            columns.extend(states.iter().map(|s| arrow::array::new_null_array(s.data_type(), removed.len())));
            out.push(batch_of(&schema, columns, removed.len())?);
        }
        let mut keys = BinaryBuilder::new();
        for s in &slots {
            keys.append_value(self.keys.key(*s));
        }
        let totals: Int64Array = slots.iter().map(|s| self.totals[*s as usize]).collect();
        let mut columns: Vec<ArrayRef> = vec![Arc::new(keys.finish()), Arc::new(totals)];
        columns.extend(states);
        out.push(batch_of(&schema, columns, slots.len())?);
        for (n, a) in self.accumulators.iter_mut().enumerate() {
            let entries = a.save_entries(full);
            if !entries.is_empty() {
                let part = u8::try_from(n).map_err(|_| Error::unsupported("an aggregate has at most 256 calls"))?;
                out.push(changes_to_batch(part, &entries)?);
            }
        }
        self.dirty.iter_mut().for_each(|d| *d = false);
        Ok(out)
    }
}
