//! The first rows of each key in an order: LIMIT, and filters on `row_number()`, `rank()` and `dense_rank()`.
//!
//! A change costs in proportion to the rows that are shown and the logarithm of those that are held, not to the size of a
//! partition. Where no input row ever goes, only rows that are shown or come before them are held.

mod walk;

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::physical_expr::PhysicalExpr;
use fleuve_types::{Delta, Error, Result};

use super::arrivals::Arrivals;
use super::map::concat;
use super::order::{SortedRows, order_of};
use super::shard::{for_each, shard_of, split};
use super::timed::{find_fetched, find_keys};
use super::{Operator, StepContext, evaluate};
use crate::state::{
    Arrangement, Due, OpenKeys, Ordered, Paged, Pages, Part, Placed, Resident, RowCodec, TableShard, absent_rows,
    batch_of, changes_from_batch, changes_to_batch, fetch_due, fetch_rows, hash_bytes, paged_shards, times_of,
};
pub(crate) use walk::{Bound, Ranking};
use walk::{Entry, Walk};

/// See the module.
pub(crate) struct TopN {
    spec: TopNSpec,
    key_codec: RowCodec,
    shards: Vec<Shard>,
    pages: Option<Pages>,
    /// Keys that carry event time, by number: partitions are dropped when the watermark has passed them.
    close_by: Vec<usize>,
}

#[derive(Default)]
struct Shard {
    rows: Ordered,
    /// Partitions by event time.
    open: OpenKeys,
    resident: Resident,
}

/// What lowering says about a top-n.
pub(crate) struct TopNSpec {
    /// The partition of a row; none is one partition.
    pub(crate) keys: Vec<Arc<dyn PhysicalExpr>>,
    pub(crate) rows: SortedRows,
    /// A row is shown if all of them hold.
    pub(crate) bounds: Vec<Bound>,
    /// Columns after those of the input; one that nobody reads is NULL.
    pub(crate) numbers: Vec<(Ranking, bool)>,
    /// True if no input row ever goes.
    pub(crate) append_only: bool,
    pub(crate) input_schema: SchemaRef,
    pub(crate) schema: SchemaRef,
}

impl TopN {
    pub(crate) fn new(spec: TopNSpec, shards: usize) -> Result<Self> {
        let types = spec
            .keys
            .iter()
            .map(|k| k.data_type(&spec.input_schema).map_err(|e| Error::bug(e.to_string())))
            .collect::<Result<Vec<_>>>()?;
        let shards = if types.is_empty() { 1 } else { shards };
        let shards = (0..shards).map(|_| Shard::default()).collect();
        Ok(Self { key_codec: RowCodec::new(types)?, spec, shards, pages: None, close_by: vec![] })
    }

    /// Drops partitions when the watermark has passed one of these keys, which carry event time.
    pub(crate) fn close_by(&mut self, keys: Vec<usize>) {
        self.shards.iter_mut().for_each(|shard| shard.open = OpenKeys::new(keys.len()));
        self.close_by = keys;
    }

    /// Rows of the state looked at so far.
    #[cfg(test)]
    fn visited(&self) -> u64 {
        self.shards.iter().map(|s| s.rows.visited.get()).sum()
    }
}

impl TopNSpec {
    /// Takes rows in; what follows from them is put out or not.
    fn take(&self, state: &mut Ordered, input: &Arrivals<'_>, rows: &[u32], puts_out: bool) -> Result<Delta> {
        let mut changes: Vec<(Entry, i64)> = vec![];
        let shown = |state: &Ordered, hash, key| if puts_out { self.shown(state, hash, key) } else { vec![] };
        let in_time = |i: usize| !self.append_only || !self.is_late(state, input.key(i), input.rows.row(i));
        for partition in input.partitions(rows, in_time) {
            let (hash, key) = input.key_of(&partition);
            let arrived = input.sorted(partition);
            let old = shown(state, hash, key);
            if self.append_only {
                self.keep_first(state, hash, key, &arrived);
            } else {
                for (row, weight) in arrived {
                    state.add(hash, key, row, weight);
                }
            }
            let new = shown(state, hash, key);
            difference(state, &old, &new, &mut changes);
        }
        let delta = self.answer(state, &changes);
        state.sweep();
        delta
    }

    /// True if a row that arrives comes after enough others.
    fn is_late(&self, state: &Ordered, (hash, key): (u64, &[u8]), row: &[u8]) -> bool {
        let Some(slot) = state.key_slot(hash, key) else { return false };
        let total = state.total(slot);
        self.bounds.iter().any(|bound| match bound.ranking {
            Ranking::RowNumber => total >= bound.last && state.last(slot).is_some_and(|l| row > state.row(l)),
            Ranking::Rank => {
                total >= bound.last && state.last(slot).is_some_and(|l| order_of(row) > order_of(state.row(l)))
            }
            Ranking::DenseRank => false,
        })
    }

    fn shown(&self, state: &Ordered, hash: u64, key: &[u8]) -> Vec<Entry> {
        let mut entries = vec![];
        let Some(slot) = state.key_slot(hash, key) else { return entries };
        let mut walk = Walk::new(&self.bounds);
        for row in state.from(slot, 0) {
            match walk.next(order_of(state.row(row.slot)), row.weight) {
                Some(place) => place.entries(row.slot, &self.numbers, &mut entries),
                None => break,
            }
        }
        entries
    }

    /// Adds the rows that are among the first, and lets those go that no longer are.
    fn keep_first(&self, state: &mut Ordered, hash: u64, key: &[u8], arrived: &[(&[u8], i64)]) {
        let held: Vec<Placed> = state.key_slot(hash, key).map_or(vec![], |slot| state.from(slot, 0).collect());
        let (mut old, mut new) = (0, 0);
        let mut walk = Walk::new(&self.bounds);
        loop {
            let old_row = held.get(old).map(|h| (state.row(h.slot), h.weight));
            let new_row = arrived.get(new).map(|(row, weight)| (*row, *weight as u64));
            let (next, row, weight) = match (old_row, new_row) {
                (Some((row, weight)), None) => (&mut old, row, weight),
                (Some((row, weight)), Some((other, _))) if row <= other => (&mut old, row, weight),
                (_, Some((row, weight))) => (&mut new, row, weight),
                (None, None) => break,
            };
            if walk.next(order_of(row), weight).is_none() {
                break;
            }
            *next += 1;
        }
        for late in &held[old..] {
            let row = state.row(late.slot).to_vec();
            state.add(hash, key, &row, -(late.weight as i64));
        }
        for (row, weight) in &arrived[..new] {
            state.add(hash, key, row, *weight);
        }
    }

    fn answer(&self, state: &Ordered, changes: &[(Entry, i64)]) -> Result<Delta> {
        if changes.is_empty() {
            return Ok(Delta::empty(self.schema.clone()));
        }
        let rows: Vec<&[u8]> = changes.iter().map(|(e, _)| state.row(e.slot)).collect();
        let mut columns = self.rows.decode(&rows)?;
        for (n, (_, is_read)) in self.numbers.iter().enumerate() {
            columns.push(if *is_read {
                Arc::new(changes.iter().map(|(e, _)| e.numbers[n] as i64).collect::<Int64Array>()) as ArrayRef
            } else {
                arrow::array::new_null_array(&DataType::Int64, changes.len())
            });
        }
        let batch = batch_of(&self.schema, columns, changes.len())?;
        Delta::weighted(batch, changes.iter().map(|(_, w)| *w).collect())
    }
}

/// What went and what came between two answers of one partition, both in its order.
fn difference(state: &Ordered, old: &[Entry], new: &[Entry], changes: &mut Vec<(Entry, i64)>) {
    let mut came = vec![];
    let (mut old, mut new) = (old.iter().peekable(), new.iter().peekable());
    loop {
        match (old.peek(), new.peek()) {
            (None, None) => break,
            (Some(o), Some(n)) if o.is_same(n) => {
                let change = n.weight as i64 - o.weight as i64;
                if change != 0 {
                    came.push((**n, change));
                }
                old.next();
                new.next();
            }
            (Some(o), n) if n.is_none_or(|n| (state.row(o.slot), o.numbers) < (state.row(n.slot), n.numbers)) => {
                changes.push((**o, -(o.weight as i64)));
                old.next();
            }
            (_, Some(n)) => {
                came.push((**n, n.weight as i64));
                new.next();
            }
            (Some(_), None) => break,
        }
    }
    changes.append(&mut came);
}

impl TableShard for Shard {
    fn tables(&self) -> Vec<&Arrangement> {
        vec![self.rows.arrangement()]
    }

    fn fetch(&mut self, _: u8, key: &[u8], row: &[u8], weight: i64) {
        self.rows.fetch(key, row, weight);
    }

    fn dues(&self, full: bool) -> Vec<Due> {
        let mut out = vec![];
        self.open.dues(self.rows.arrangement(), full, &mut out);
        out
    }

    fn written(&mut self) {
        self.rows.mark_saved();
        self.resident.written(|hash| self.rows.arrangement().has_key_hash(hash));
    }

    fn has(&self, hash: u64) -> bool {
        self.rows.arrangement().has_key_hash(hash)
    }

    fn emptied(&self) -> Self {
        Self { open: self.open.emptied(), ..Self::default() }
    }

    fn resident(&mut self) -> &mut Resident {
        &mut self.resident
    }
}

paged_shards!(TopN);

impl TopN {
    /// A step; what follows from it is put out or not.
    fn take(&mut self, delta: &Delta, puts_out: bool) -> Result<Delta> {
        let spec = &self.spec;
        let columns = spec.keys.iter().map(|k| evaluate(k, &delta.batch)).collect::<Result<Vec<_>>>()?;
        let keys = self.key_codec.encode(&columns)?;
        let hashes = keys.hashes(delta.len());
        let rows = spec.rows.encode(&delta.batch)?;
        let input = Arrivals { delta, keys: &keys, hashes: &hashes, rows: &rows };
        let parts = split(&hashes, self.shards.len());
        let times = self.close_by.iter().map(|k| times_of(&columns[*k])).collect::<Result<Vec<_>>>()?;
        let reader = self.pages.as_ref().and_then(Pages::reader);
        let (key_codec, close_by) = (&self.key_codec, &self.close_by);
        let outs = for_each(&mut self.shards, delta.len(), |s, shard| {
            let fetched = fetch_rows(shard, reader, parts[s].iter().map(|i| hashes[*i as usize]))?;
            find_fetched(&fetched, key_codec, close_by, &mut shard.open)?;
            shard.open.note_rows(&parts[s], &hashes, &keys, &times);
            spec.take(&mut shard.rows, &input, &parts[s], puts_out)
        })?;
        concat(&spec.schema, &outs)
    }
}

impl Operator for TopN {
    fn step(&mut self, inputs: &[Delta], _: StepContext) -> Result<Delta> {
        self.take(&inputs[0], true)
    }

    fn can_hold_back(&self) -> bool {
        self.close_by.is_empty()
    }

    fn take_in(&mut self, inputs: &[Delta], _: StepContext) -> Result<()> {
        self.take(&inputs[0], false).map(|_| ())
    }

    /// Rows of a partition that is dropped behind the watermark are shown all the same.
    fn can_answer(&self) -> bool {
        self.close_by.is_empty()
    }

    fn present_answer(&mut self, part: Part) -> Result<Delta> {
        let absent = absent_rows(&mut self.shards, self.pages.as_ref(), part)?;
        let spec = &self.spec;
        let tell = |shard: &Shard| {
            let (state, rows) = (&shard.rows, shard.rows.arrangement());
            let mut shown: Vec<(Entry, i64)> = vec![];
            for key in rows.keys_in(part) {
                let entries = spec.shown(state, rows.key_hash(key), rows.key(key));
                shown.extend(entries.into_iter().map(|e| (e, e.weight as i64)));
            }
            spec.answer(state, &shown)
        };
        let mut outs = absent.iter().map(tell).collect::<Result<Vec<_>>>()?;
        let held = self.shards.iter().map(|s| s.rows.len()).sum();
        outs.extend(for_each(&mut self.shards, held, |_, shard| tell(shard))?);
        concat(&spec.schema, &outs)
    }

    /// The columns of the input come first.
    fn places(&self, rows: &Delta) -> Result<Vec<u64>> {
        let columns = self.spec.keys.iter().map(|k| evaluate(k, &rows.batch)).collect::<Result<Vec<_>>>()?;
        Ok(self.key_codec.encode(&columns)?.hashes(rows.len()))
    }

    fn close(&mut self, watermarks: &[Option<i64>]) -> Result<Option<Delta>> {
        let fetched = fetch_due(&mut self.shards, self.pages.as_ref(), watermarks)?;
        for (shard, fetched) in self.shards.iter_mut().zip(&fetched) {
            find_fetched(fetched, &self.key_codec, &self.close_by, &mut shard.open)?;
            for key in shard.open.closed(watermarks) {
                shard.rows.drop_key(hash_bytes(&key), &key);
                shard.resident.dropped(hash_bytes(&key));
            }
        }
        Ok(None)
    }

    fn closing(&self) -> Option<&'static str> {
        (!self.close_by.is_empty()).then_some("rows of closed windows are dropped")
    }

    fn describe(&self) -> String {
        let spec = &self.spec;
        let bounds: Vec<String> = spec.bounds.iter().map(ToString::to_string).collect();
        let mut text = format!("TopN: {}", bounds.join(" and "));
        if !spec.keys.is_empty() {
            let keys: Vec<String> = spec.keys.iter().map(ToString::to_string).collect();
            text.push_str(&format!(" by [{}]", keys.join(", ")));
        }
        if !spec.rows.keys.is_empty() {
            let order: Vec<String> = spec.rows.keys.iter().map(ToString::to_string).collect();
            text.push_str(&format!(" order [{}]", order.join(", ")));
        }
        let numbers: Vec<String> = spec.numbers.iter().filter(|n| n.1).map(|n| n.0.to_string()).collect();
        if !numbers.is_empty() {
            text.push_str(&format!(" with {}", numbers.join(", ")));
        }
        text
    }

    /// With no key all rows belong together.
    fn paged(&mut self) -> Option<&mut dyn Paged> {
        (!self.spec.keys.is_empty()).then_some(self as &mut dyn Paged)
    }

    fn pages(&self) -> Option<&Pages> {
        self.pages.as_ref()
    }

    fn state_rows(&self) -> usize {
        let held = self.shards.iter().map(|s| s.rows.len()).sum();
        self.pages.as_ref().map_or(held, |p| p.rows(held))
    }

    fn state_bytes(&self) -> usize {
        let shard = |s: &Shard| s.rows.bytes() + s.open.bytes() + s.resident.bytes();
        self.pages.as_ref().map_or(0, Pages::bytes) + self.shards.iter().map(shard).sum::<usize>()
    }

    fn save(&mut self, full: bool) -> Result<Vec<RecordBatch>> {
        self.shards.iter_mut().map(|s| changes_to_batch(0, &s.rows.take_changes(full))).collect()
    }

    fn load(&mut self, batch: &RecordBatch) -> Result<()> {
        let n = self.shards.len();
        let shards = &mut self.shards;
        changes_from_batch(batch, |_, key, row, weight| {
            shards[shard_of(hash_bytes(key), n)].rows.restore(key, row, weight);
        })?;
        self.shards.iter_mut().for_each(|s| s.rows.mark_saved());
        Ok(())
    }

    fn loaded(&mut self) -> Result<()> {
        for shard in self.shards.iter_mut().filter(|s| !s.open.is_off()) {
            find_keys(shard.rows.arrangement(), &self.key_codec, &self.close_by, &mut shard.open)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
