//! Joins: inner, left, right, full, semi, anti, mark, cross; with or without a condition beyond key equality.
//!
//! The pairs are bilinear: `d(L x R) = L_old x dR + dL x R_new`. Rows that are kept (or shown) because they have no partner
//! (outer, anti) or because they have one (semi, mark) are found by how many partners a row has: without a further condition
//! that is a property of the key, with one it is counted per row.

mod answer;
mod counted;
mod keyed;
mod lookup;
mod output;
mod waiting;

use std::sync::Arc;

use arrow::array::{Array, BooleanArray, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::physical_expr::PhysicalExpr;
use fleuve_types::{Delta, Result};

use self::lookup::Change;
use self::output::Output;
use super::map::concat_wide;
use super::shard::{Dealt, both, deal, for_each_by, shard_of, split};
use super::timed::{find_fetched, find_keys};
use super::{Guard, Left, Operator, StepContext, evaluate};
use crate::event_time::Horizon;
use crate::lookup::LookedIn;
use crate::state::{
    Arrangement, Due, Encoded, FetchedKeys, OpenKeys, Paged, Pages, Part, Resident, RowCodec, TableShard, Windows,
    changes_from_batch, changes_to_batch, fetch_due, fetch_rows, hash_bytes, paged_shards, times_at, times_of,
};

/// How rows of one side appear besides in pairs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Alone {
    /// Not at all.
    No,
    /// Without a partner: filled up with NULL (outer join).
    Padded,
    /// With a partner, once, without its columns (semi join).
    Semi,
    /// Without a partner (anti join).
    Anti,
    /// Always, with a column that says whether there is a partner (mark join).
    Mark,
}

impl Alone {
    /// How often a row of weight `weight` appears, and with which mark.
    fn shown(self, weight: i64, matched: bool) -> i64 {
        match self {
            Alone::No => 0,
            Alone::Padded | Alone::Anti => {
                if matched {
                    0
                } else {
                    weight
                }
            }
            Alone::Semi => {
                if matched {
                    weight
                } else {
                    0
                }
            }
            Alone::Mark => weight,
        }
    }
}

/// The shards of a join for each core: their tables are smaller, and while one core is at the shard of a hot key others take the rest.
pub(crate) const SHARDS_PER_CORE: usize = 8;

/// What a join does; built by lowering.
pub(crate) struct JoinSpec {
    pub(crate) label: String,
    /// The same as people write it.
    pub(crate) words: String,
    pub(crate) left_keys: Vec<Arc<dyn PhysicalExpr>>,
    pub(crate) right_keys: Vec<Arc<dyn PhysicalExpr>>,
    pub(crate) key_types: Vec<DataType>,
    pub(crate) left_schema: SchemaRef,
    pub(crate) right_schema: SchemaRef,
    /// Over left columns, then right columns.
    pub(crate) filter: Option<Arc<dyn PhysicalExpr>>,
    pub(crate) pair_schema: SchemaRef,
    pub(crate) schema: SchemaRef,
    /// NULL keys match each other (set operations).
    pub(crate) nulls_match: bool,
    pub(crate) pairs: bool,
    pub(crate) left_alone: Alone,
    pub(crate) right_alone: Alone,
    /// A left semi join without a further condition, of rows that only come.
    pub(crate) waits: bool,
    /// Of the left side and the right one: what its rows are looked up in, in words. No row of such a side is held.
    pub(crate) looked_up: [Option<String>; 2],
    pub(crate) guard: Guard,
}

/// One side's rows in one shard.
#[derive(Default)]
struct Side {
    rows: Arrangement,
    /// By row slot: the sum of the weights of its partners. Only kept when a condition makes it differ within a key.
    partners: Vec<i64>,
    /// Rows by the times of [`Join::close_rows`].
    windows: Windows,
}

#[derive(Default)]
struct Shard {
    left: Side,
    right: Side,
    /// Keys of both sides by event time.
    open: OpenKeys,
    resident: Resident,
}

/// The left side's rows, then the right side's.
impl TableShard for Shard {
    fn tables(&self) -> Vec<&Arrangement> {
        vec![&self.left.rows, &self.right.rows]
    }

    fn fetch(&mut self, table: u8, key: &[u8], row: &[u8], weight: i64) {
        let side = if table == 0 { &mut self.left } else { &mut self.right };
        side.rows.fetch(key, row, weight);
    }

    /// Those of keys, then of left rows, then of right ones, as [`Join::close`] has them.
    fn dues(&self, full: bool) -> Vec<Due> {
        let mut out = vec![];
        self.open.dues(&self.left.rows, full, &mut out);
        self.open.dues(&self.right.rows, full, &mut out);
        let columns = self.open.columns();
        self.left.dues(columns, full, &mut out);
        self.right.dues(columns + self.left.windows.columns(), full, &mut out);
        out
    }

    fn written(&mut self) {
        self.left.rows.mark_saved();
        self.right.rows.mark_saved();
        self.resident.written(|hash| self.left.rows.has_key_hash(hash) || self.right.rows.has_key_hash(hash));
    }

    fn has(&self, hash: u64) -> bool {
        self.left.rows.has_key_hash(hash) || self.right.rows.has_key_hash(hash)
    }

    fn emptied(&self) -> Self {
        let side = |side: &Side| Side { windows: Windows::new(side.windows.columns()), ..Side::default() };
        let (left, right) = (side(&self.left), side(&self.right));
        Self { left, right, open: self.open.emptied(), ..Self::default() }
    }

    fn resident(&mut self) -> &mut Resident {
        &mut self.resident
    }
}

/// A time of the rows of one side: behind its watermark they get no partner any more, nor does what their partners are change.
pub(crate) struct RowTime {
    pub(crate) expr: Arc<dyn PhysicalExpr>,
    /// No row without it has partners or ever goes.
    pub(crate) drops_null: bool,
}

/// A join.
pub(crate) struct Join {
    spec: JoinSpec,
    key_codec: RowCodec,
    left_codec: RowCodec,
    right_codec: RowCodec,
    /// Keys that carry event time on both sides, by number: their rows are dropped when the watermark has passed them.
    close_by: Vec<usize>,
    /// Times of the left rows, and of the right ones, by which they are dropped.
    left_times: Vec<RowTime>,
    right_times: Vec<RowTime>,
    shards: Vec<Shard>,
    pages: Option<Pages>,
    /// What the sides are looked up in, for one step.
    answers: [Option<LookedIn>; 2],
}

/// One side's change, encoded once for all shards.
struct Incoming {
    delta: Delta,
    /// The rows of each shard.
    parts: Vec<Vec<u32>>,
    keys: Encoded,
    rows: Encoded,
    key_hashes: Vec<u64>,
    /// The keys of [`Join::close_by`].
    times: Vec<Int64Array>,
    /// The times of [`Join::close_rows`].
    row_times: Vec<Int64Array>,
    /// Rows whose key has a NULL that matches nothing.
    no_match: Option<BooleanArray>,
}

impl Incoming {
    /// The hashes of the keys of some rows.
    fn hashes<'a>(&'a self, rows: &'a [u32]) -> impl Iterator<Item = u64> + 'a {
        rows.iter().map(|i| *i as usize).filter(|i| !self.is_null_key(*i)).map(|i| self.key_hashes[i])
    }

    fn is_null_key(&self, row: usize) -> bool {
        self.no_match.as_ref().is_some_and(|n| n.value(row))
    }
}

impl Join {
    pub(crate) fn new(spec: JoinSpec, shards: usize) -> Result<Self> {
        let shards = if spec.key_types.is_empty() { 1 } else { shards * SHARDS_PER_CORE };
        Ok(Self {
            key_codec: RowCodec::new(spec.key_types.clone())?,
            left_codec: RowCodec::for_schema(&spec.left_schema)?,
            right_codec: RowCodec::for_schema(&spec.right_schema)?,
            shards: (0..shards).map(|_| Shard::default()).collect(),
            close_by: vec![],
            left_times: vec![],
            right_times: vec![],
            pages: None,
            answers: [None, None],
            spec,
        })
    }

    /// Drops the rows of both sides when the watermark has passed one of these keys, which carry event time.
    pub(crate) fn close_by(&mut self, keys: Vec<usize>) {
        for shard in &mut self.shards {
            shard.open = OpenKeys::new(keys.len());
        }
        self.close_by = keys;
    }

    /// Drops rows of the left side, and of the right side, when their times are behind the watermarks that come with these. Gives
    /// the watermarks, which follow those of [`Join::close_by`].
    pub(crate) fn close_rows(&mut self, left: Vec<(RowTime, Horizon)>, right: Vec<(RowTime, Horizon)>) -> Vec<Horizon> {
        let (left_times, mut horizons): (Vec<_>, Vec<_>) = left.into_iter().unzip();
        let (right_times, of_right): (Vec<_>, Vec<_>) = right.into_iter().unzip();
        horizons.extend(of_right);
        for shard in &mut self.shards {
            shard.left.windows = Windows::new(left_times.len());
            shard.right.windows = Windows::new(right_times.len());
        }
        (self.left_times, self.right_times) = (left_times, right_times);
        horizons
    }

    /// True when partners have to be counted per row.
    fn counts_rows(&self) -> bool {
        self.spec.filter.is_some() && (self.spec.left_alone != Alone::No || self.spec.right_alone != Alone::No)
    }

    fn incoming(
        &self,
        delta: &Delta,
        keys: &[Arc<dyn PhysicalExpr>],
        row_times: &[RowTime],
        codec: &RowCodec,
    ) -> Result<Incoming> {
        let columns = keys.iter().map(|k| evaluate(k, &delta.batch)).collect::<Result<Vec<_>>>()?;
        let encoded = self.key_codec.encode(&columns)?;
        let (hashes, shards) = (encoded.hashes(delta.len()), self.shards.len());
        let (dealt, encoded) = match deal(delta, &columns, &hashes, shards)? {
            Some(dealt) => (dealt, None),
            None => {
                let parts = split(&hashes, shards);
                (Dealt { delta: delta.clone(), keys: columns, hashes, parts }, Some(encoded))
            }
        };
        let Dealt { delta, keys: columns, hashes: key_hashes, parts } = dealt;
        let mut no_match: Option<BooleanArray> = None;
        if !self.spec.nulls_match && columns.iter().any(|c| c.logical_null_count() > 0) {
            let nulls = columns.iter().map(|c| c.logical_nulls()).collect::<Vec<_>>();
            let any = (0..delta.len()).map(|i| Some(nulls.iter().flatten().any(|n| n.is_null(i))));
            no_match = Some(any.collect());
        }
        let key_codec = &self.key_codec;
        let of_keys = || encoded.map_or_else(|| key_codec.encode(&columns), Ok);
        let (keys, rows) = both(delta.len(), of_keys, || codec.encode(delta.batch.columns()));
        let (keys, rows) = (keys?, rows?);
        let times = self.close_by.iter().map(|k| times_of(&columns[*k])).collect::<Result<_>>()?;
        let row_times = times_of_rows(row_times, &delta.batch)?;
        Ok(Incoming { delta, parts, keys, rows, key_hashes, times, row_times, no_match })
    }
}

/// The times of rows; one that drops rows without it is the least for them.
fn times_of_rows(times: &[RowTime], rows: &RecordBatch) -> Result<Vec<Int64Array>> {
    let of = |time: &RowTime| {
        let counts = times_of(&evaluate(&time.expr, rows)?)?;
        if !time.drops_null || counts.null_count() == 0 {
            return Ok(counts);
        }
        Ok(counts.iter().map(|t| Some(t.unwrap_or(i64::MIN))).collect())
    };
    times.iter().map(of).collect()
}

impl Side {
    /// A row that is new here.
    fn date(&mut self, slot: u32, incoming: &Incoming, row: usize) {
        if !self.windows.is_off() {
            self.windows.put(slot, times_at(&incoming.row_times, row));
        }
    }

    /// The times of rows that changed, or of all; they are found under the hash of their key.
    fn dues(&self, first: usize, full: bool, out: &mut Vec<Due>) {
        if !self.windows.is_off() {
            let changed = self.rows.changed(full).into_iter();
            changed.for_each(|slot| self.windows.dues(slot, hash_bytes(self.rows.key_of(slot)), first, out));
        }
    }

    /// The rows of keys.
    fn rows_of<'a>(&self, keys: impl Iterator<Item = &'a [u8]>) -> Vec<u32> {
        let slots = keys.filter_map(|key| self.rows.key_slot(hash_bytes(key), key));
        slots.flat_map(|key| self.rows.rows_of(key)).collect()
    }

    /// The times of rows that were loaded, or fetched.
    fn find_times(&mut self, slots: Vec<u32>, codec: &RowCodec, schema: &SchemaRef, times: &[RowTime]) -> Result<()> {
        if self.windows.is_off() || slots.is_empty() {
            return Ok(());
        }
        let rows: Vec<&[u8]> = slots.iter().map(|s| self.rows.row(*s)).collect();
        let times = times_of_rows(times, &codec.decode_batch(schema, &rows)?)?;
        for (row, slot) in slots.into_iter().enumerate() {
            self.windows.put(slot, times_at(&times, row));
        }
        Ok(())
    }
}

paged_shards!(Join);

/// What finds the times of keys and rows.
struct Times<'a> {
    keys: (&'a RowCodec, &'a [usize]),
    left: (&'a RowCodec, &'a SchemaRef, &'a [RowTime]),
    right: (&'a RowCodec, &'a SchemaRef, &'a [RowTime]),
}

/// Those of a join, beside its shards.
macro_rules! times {
    ($join:expr) => {
        Times {
            keys: (&$join.key_codec, &$join.close_by),
            left: (&$join.left_codec, &$join.spec.left_schema, &$join.left_times),
            right: (&$join.right_codec, &$join.spec.right_schema, &$join.right_times),
        }
    };
}

impl Times<'_> {
    /// Of keys that were fetched, and their rows.
    fn find_fetched(&self, shard: &mut Shard, fetched: &FetchedKeys) -> Result<()> {
        find_fetched(fetched, self.keys.0, self.keys.1, &mut shard.open)?;
        let of = |side: u8| fetched.iter().filter(move |(table, _)| *table == side).map(|(_, key)| key.as_slice());
        let rows = |side: &Side, table| if side.windows.is_off() { vec![] } else { side.rows_of(of(table)) };
        let (left, right) = (rows(&shard.left, 0), rows(&shard.right, 1));
        self.find_rows(shard, left, right)
    }

    /// Of rows of both sides.
    fn find_rows(&self, shard: &mut Shard, left: Vec<u32>, right: Vec<u32>) -> Result<()> {
        shard.left.find_times(left, self.left.0, self.left.1, self.left.2)?;
        shard.right.find_times(right, self.right.0, self.right.1, self.right.2)
    }
}

impl Operator for Join {
    fn step(&mut self, inputs: &[Delta], _: StepContext) -> Result<Delta> {
        let left = self.incoming(&inputs[0], &self.spec.left_keys, &self.left_times, &self.left_codec)?;
        let right = self.incoming(&inputs[1], &self.spec.right_keys, &self.right_times, &self.right_codec)?;
        let (left_parts, right_parts) = (&left.parts, &right.parts);
        let counted = self.counts_rows();
        let (spec, left_codec, right_codec) = (&self.spec, &self.left_codec, &self.right_codec);
        let reader = self.pages.as_ref().and_then(Pages::reader);
        let times = times!(self);
        let answers = self.spec.given(&self.answers)?;
        let rows: Vec<usize> = left_parts.iter().zip(right_parts).map(|(l, r)| l.len() + r.len()).collect();
        let fair = rows.iter().sum::<usize>() / rayon::current_num_threads();
        let outs = for_each_by(&mut self.shards, &rows, |s, shard| {
            let mut output = Output::new(spec, left_codec, right_codec);
            output.is_hot = rows[s] > fair;
            let hashes = left.hashes(&left_parts[s]).chain(right.hashes(&right_parts[s]));
            let fetched = fetch_rows(shard, reader, hashes)?;
            times.find_fetched(shard, &fetched)?;
            if counted {
                counted::recount_fetched(shard, &fetched, &mut output)?;
            }
            shard.open.note_rows(&left_parts[s], &left.key_hashes, &left.keys, &left.times);
            shard.open.note_rows(&right_parts[s], &right.key_hashes, &right.keys, &right.times);
            if !spec.keeps_all() {
                let of_left = Change { incoming: &left, rows: &left_parts[s] };
                let of_right = Change { incoming: &right, rows: &right_parts[s] };
                lookup::step(shard, answers, [left_codec, right_codec], [of_left, of_right], &mut output)?;
            } else if spec.waits {
                waiting::step(shard, &left, &right, &left_parts[s], &right_parts[s], &mut output)?;
            } else if counted {
                counted::step(shard, &left, &right, &left_parts[s], &right_parts[s], &mut output)?;
            } else {
                keyed::step(shard, &left, &right, &left_parts[s], &right_parts[s], &mut output)?;
            }
            output.finish()
        })?;
        let (outs, left): (Vec<Delta>, Vec<Left>) = outs.into_iter().unzip();
        left.into_iter().for_each(|l| self.spec.guard.note(l));
        concat_wide(&self.spec.schema, &outs)
    }

    fn look_up_in(&mut self, input: usize, place: Option<LookedIn>) {
        if let Some(own) = self.answers.get_mut(input) {
            *own = place;
        }
    }

    /// Rows show alone as long as the other side has no partner for them.
    fn only_adds(&self, input: usize) -> bool {
        let other = if input == 0 { self.spec.right_alone } else { self.spec.left_alone };
        matches!(other, Alone::No | Alone::Semi)
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
        let (by_key, by_row) = watermarks.split_at_checked(self.close_by.len()).unwrap_or((watermarks, &[]));
        let (of_left, of_right) = by_row.split_at_checked(self.left_times.len()).unwrap_or_default();
        let (counted, times) = (self.counts_rows(), times!(self));
        let (spec, left_codec, right_codec) = (&self.spec, &self.left_codec, &self.right_codec);
        let fetched = fetch_due(&mut self.shards, self.pages.as_ref(), watermarks)?;
        let mut dropped = vec![];
        for (shard, fetched) in self.shards.iter_mut().zip(&fetched) {
            times.find_fetched(shard, fetched)?;
            if counted {
                counted::recount_fetched(shard, fetched, &mut Output::new(spec, left_codec, right_codec))?;
            }
            for (side, watermarks) in [(&mut shard.left, of_left), (&mut shard.right, of_right)] {
                let mut passed = side.windows.closed(watermarks);
                passed.retain(|slot| side.rows.is_held(*slot));
                dropped.extend(passed.iter().map(|slot| hash_bytes(side.rows.key_of(*slot))));
                side.rows.drop_rows(&passed);
            }
            dropped.retain(|hash| !shard.has(*hash));
            dropped.drain(..).for_each(|hash| shard.resident.dropped(hash));
            for key in shard.open.closed(by_key) {
                let hash = hash_bytes(&key);
                shard.left.rows.drop_key(hash, &key);
                shard.right.rows.drop_key(hash, &key);
                shard.resident.dropped(hash);
            }
        }
        Ok(None)
    }

    fn closing(&self) -> Option<&'static str> {
        if !self.close_by.is_empty() {
            return Some("rows of closed windows are dropped");
        }
        let drops = !self.left_times.is_empty() || !self.right_times.is_empty();
        drops.then_some("rows that get no partner any more are dropped")
    }

    fn describe(&self) -> String {
        let waits = if self.spec.waits { ", rows held until they have a partner" } else { "" };
        let side = |(side, answer): (&str, &Option<String>)| {
            answer.as_ref().map_or(String::new(), |place| format!(", {side} side looked up in {place}"))
        };
        let looked_up: String = ["left", "right"].into_iter().zip(&self.spec.looked_up).map(side).collect();
        format!("{}{waits}{looked_up}", self.spec.label)
    }

    fn in_words(&self) -> String {
        self.spec.words.clone()
    }

    /// With no key all rows belong together.
    fn paged(&mut self) -> Option<&mut dyn Paged> {
        (!self.spec.key_types.is_empty()).then_some(self as &mut dyn Paged)
    }

    fn pages(&self) -> Option<&Pages> {
        self.pages.as_ref()
    }

    fn state_rows(&self) -> usize {
        let held = self.shards.iter().map(|s| s.left.rows.len() + s.right.rows.len()).sum();
        self.pages.as_ref().map_or(held, |p| p.rows(held))
    }

    fn state_bytes(&self) -> usize {
        let shard = |s: &Shard| {
            s.left.rows.bytes()
                + s.right.rows.bytes()
                + s.open.bytes()
                + s.resident.bytes()
                + s.left.windows.bytes()
                + s.right.windows.bytes()
                + (s.left.partners.capacity() + s.right.partners.capacity()) * 8
        };
        self.pages.as_ref().map_or(0, Pages::bytes) + self.shards.iter().map(shard).sum::<usize>()
    }

    fn save(&mut self, full: bool) -> Result<Vec<RecordBatch>> {
        let mut out = Vec::new();
        for shard in &mut self.shards {
            out.push(changes_to_batch(0, &shard.left.rows.take_changes(full))?);
            out.push(changes_to_batch(1, &shard.right.rows.take_changes(full))?);
        }
        Ok(out)
    }

    fn load(&mut self, batch: &RecordBatch) -> Result<()> {
        let n = self.shards.len();
        let shards = &mut self.shards;
        changes_from_batch(batch, |part, key, row, weight| {
            let shard = &mut shards[shard_of(hash_bytes(key), n)];
            let side = if part == 0 { &mut shard.left } else { &mut shard.right };
            side.rows.restore(key, row, weight);
        })?;
        for shard in &mut self.shards {
            shard.left.rows.mark_saved();
            shard.right.rows.mark_saved();
        }
        Ok(())
    }

    fn loaded(&mut self) -> Result<()> {
        for shard in self.shards.iter_mut().filter(|s| !s.open.is_off()) {
            find_keys(&shard.left.rows, &self.key_codec, &self.close_by, &mut shard.open)?;
            find_keys(&shard.right.rows, &self.key_codec, &self.close_by, &mut shard.open)?;
        }
        let times = times!(self);
        for shard in &mut self.shards {
            let (left, right) = (shard.left.rows.iter().collect(), shard.right.rows.iter().collect());
            times.find_rows(shard, left, right)?;
        }
        if !self.counts_rows() {
            return Ok(());
        }
        let (spec, left_codec, right_codec) = (&self.spec, &self.left_codec, &self.right_codec);
        for shard in &mut self.shards {
            let mut output = Output::new(spec, left_codec, right_codec);
            counted::recount_all(shard, &mut output)?;
        }
        Ok(())
    }
}
