//! As-of joins: to each left row the last right row before it, of the same key. The input holds the rows of both sides.
//!
//! Both sides are kept per key in the order of their times. A right row that comes or goes changes the partner of the left rows
//! between it and the next right row, and of no others. Where the watermark has passed, left rows are forgotten, and of the right
//! rows all but the last.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, UInt32Array, new_null_array};
use arrow::compute::{SortOptions, take};
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::physical_expr::PhysicalExpr;
use fleuve_types::{Delta, Error, Result};

use super::map::concat;
use super::shard::{for_each, shard_of, split};
use super::{Operator, StepContext, evaluate};
use crate::state::{
    Arrangement, Due, Encoded, FetchedKeys, Ordered, Paged, Pages, Resident, RowCodec, TableShard, Windows, batch_of,
    changes_from_batch, changes_to_batch, fetch_due, fetch_rows, hash_bytes, paged_shards, times_of,
};

/// A column of the right rows.
pub(crate) struct RightColumn {
    pub(crate) expr: Arc<dyn PhysicalExpr>,
    pub(crate) descending: bool,
    pub(crate) nulls_first: bool,
}

/// What an as-of join does; built by lowering.
pub(crate) struct AsOfSpec {
    pub(crate) label: String,
    pub(crate) keys: Vec<Arc<dyn PhysicalExpr>>,
    pub(crate) time: Arc<dyn PhysicalExpr>,
    pub(crate) is_right: Arc<dyn PhysicalExpr>,
    /// The order goes back in time: the partner is the first right row after the left one.
    pub(crate) descending: bool,
    /// A right row of the same time is no partner.
    pub(crate) strict: bool,
    /// What is kept of the right rows. Of those of one time the last by these columns counts.
    pub(crate) columns: Vec<RightColumn>,
    /// Which of them stand behind the input's columns.
    pub(crate) values: Vec<usize>,
    pub(crate) input_schema: SchemaRef,
    pub(crate) schema: SchemaRef,
}

/// How rows are kept: the bytes of the key, then of the time, then the rest.
struct Codecs {
    key: RowCodec,
    time: RowCodec,
    /// The time, then all columns of the input.
    left: RowCodec,
    /// The time, then the columns of right rows.
    right: RowCodec,
    /// How many bytes a time has.
    time_bytes: usize,
}

#[derive(Default)]
struct Shard {
    left: Ordered,
    right: Ordered,
    /// Rows by time, where they are forgotten.
    left_times: Windows,
    right_times: Windows,
    resident: Resident,
}

/// See the module.
pub(crate) struct AsOf {
    spec: AsOfSpec,
    codecs: Codecs,
    shards: Vec<Shard>,
    pages: Option<Pages>,
}

/// The tables of a shard, as checkpoints number them.
const LEFT: u8 = 0;
const RIGHT: u8 = 1;

/// A step's change, encoded once for all shards. Rows begin with their time; those of the other side are not used.
struct Incoming<'a> {
    delta: &'a Delta,
    is_right: BooleanArray,
    keys: Encoded,
    key_hashes: Vec<u64>,
    /// `None` where a row has no time.
    times: ArrayRef,
    counts: Option<Int64Array>,
    time_bytes: Encoded,
    left: Encoded,
    right: Encoded,
}

/// Left rows to put out, each with its partner.
#[derive(Default)]
struct Pairs {
    left: Vec<u32>,
    right: Vec<Option<u32>>,
    weights: Vec<i64>,
}

impl Pairs {
    fn put(&mut self, left: u32, right: Option<u32>, weight: i64) {
        if weight != 0 {
            self.left.push(left);
            self.right.push(right);
            self.weights.push(weight);
        }
    }
}

impl AsOf {
    pub(crate) fn new(spec: AsOfSpec, shards: usize) -> Result<Self> {
        let bug = |e: datafusion::error::DataFusionError| Error::bug(e.to_string());
        let type_of = |e: &Arc<dyn PhysicalExpr>| e.data_type(&spec.input_schema).map_err(bug);
        let time_type = type_of(&spec.time)?;
        if !time_type.is_primitive() {
            return Err(Error::unsupported(format!("an as-of join by {time_type} has no incremental operator")));
        }
        let key_types = spec.keys.iter().map(type_of).collect::<Result<Vec<_>>>()?;
        let right_types = spec.columns.iter().map(|c| type_of(&c.expr)).collect::<Result<Vec<_>>>()?;
        let by_time = SortOptions { descending: spec.descending, nulls_first: false };
        let of_column = |c: &RightColumn| SortOptions { descending: c.descending, nulls_first: c.nulls_first };
        let with_time = |types: Vec<DataType>| [vec![time_type.clone()], types].concat();
        let input_types: Vec<DataType> = spec.input_schema.fields().iter().map(|f| f.data_type().clone()).collect();
        let left_options = [vec![by_time], vec![SortOptions::default(); input_types.len()]].concat();
        let right_options: Vec<SortOptions> =
            std::iter::once(by_time).chain(spec.columns.iter().map(of_column)).collect();
        let time = RowCodec::sorted(vec![time_type.clone()], &[by_time])?;
        let codecs = Codecs {
            time_bytes: time.encode(&[new_null_array(&time_type, 1)])?.row(0).len(),
            time,
            left: RowCodec::sorted(with_time(input_types), &left_options)?,
            right: RowCodec::sorted(with_time(right_types), &right_options)?,
            key: RowCodec::new(key_types.clone())?,
        };
        let shards = if key_types.is_empty() { 1 } else { shards };
        let shards = (0..shards).map(|_| Shard::default()).collect();
        Ok(Self { spec, codecs, shards, pages: None })
    }

    /// Forgets what the watermark of the time has passed.
    pub(crate) fn close_by_time(&mut self) {
        for shard in &mut self.shards {
            (shard.left_times, shard.right_times) = (Windows::new(1), Windows::new(1));
        }
    }

    /// True if rows are forgotten behind the watermark.
    fn closes(&self) -> bool {
        self.shards.first().is_some_and(|s| !s.left_times.is_off())
    }

    fn incoming<'a>(&self, delta: &'a Delta) -> Result<Incoming<'a>> {
        let spec = &self.spec;
        let keys = spec.keys.iter().map(|k| evaluate(k, &delta.batch)).collect::<Result<Vec<_>>>()?;
        let keys = self.codecs.key.encode(&keys)?;
        let times = evaluate(&spec.time, &delta.batch)?;
        let is_right = evaluate(&spec.is_right, &delta.batch)?;
        let is_right = is_right.as_boolean_opt().ok_or_else(|| Error::bug("a side is true or false"))?.clone();
        let columns = spec.columns.iter().map(|c| evaluate(&c.expr, &delta.batch)).collect::<Result<Vec<_>>>()?;
        let of_left = [std::slice::from_ref(&times), delta.batch.columns()].concat();
        let of_right = [std::slice::from_ref(&times), &columns[..]].concat();
        let closes = self.closes();
        Ok(Incoming {
            delta,
            is_right,
            key_hashes: (0..delta.len()).map(|i| hash_bytes(keys.row(i))).collect(),
            keys,
            counts: closes.then(|| times_of(&times)).transpose()?,
            time_bytes: self.codecs.time.encode(std::slice::from_ref(&times))?,
            times,
            left: self.codecs.left.encode(&of_left)?,
            right: self.codecs.right.encode(&of_right)?,
        })
    }
}

impl Shard {
    /// The partner of left rows of a key at a time, whose bytes follow the key's in `at`.
    fn partner(&self, key_hash: u64, key: &[u8], at: &[u8], strict: bool) -> Option<u32> {
        let key = self.right.key_slot(key_hash, key)?;
        let before = if strict { self.right.count_before(key, at) } else { self.right.count_through(key, at) };
        self.right.from(key, before.checked_sub(1)?).next().map(|r| r.slot)
    }

    /// Adds a right row and gives its left rows other partners.
    fn add_right(&mut self, codecs: &Codecs, strict: bool, rows: &Incoming<'_>, i: usize, out: &mut Pairs) {
        let (key, hash) = (rows.keys.row(i), rows.key_hashes[i]);
        let at = [key, rows.time_bytes.row(i)].concat();
        let row = [key, rows.right.row(i)].concat();
        // As a left row just behind this time would have it.
        let before = self.partner(hash, key, &at, false);
        let is_new = !self.right_times.is_off() && self.right.slot(&row).is_none();
        let slot = self.right.add(hash, key, &row, rows.delta.weight(i));
        if let Some(counts) = rows.counts.as_ref().filter(|_| is_new) {
            self.right_times.put(slot, std::iter::once(counts.is_valid(i).then(|| counts.value(i))));
        }
        let after = self.partner(hash, key, &at, false);
        let Some(left) = self.left.key_slot(hash, key).filter(|_| before != after) else { return };
        // The first left row that it is a partner for, and the first that the next right row is one for.
        let first =
            |at: &[u8]| if strict { self.left.count_through(left, at) } else { self.left.count_before(left, at) };
        let next = self.right.key_slot(hash, key).and_then(|right| {
            let next = self.right.from(right, self.right.count_through(right, &at)).next()?;
            Some(first(&self.right.row(next.slot)[..key.len() + codecs.time_bytes]))
        });
        let (from, to) = (first(&at), next.unwrap_or(u64::MAX));
        for placed in self.left.from(left, from).take_while(|p| p.position < to) {
            out.put(placed.slot, before, -(placed.weight as i64));
            out.put(placed.slot, after, placed.weight as i64);
        }
    }

    fn add_left(&mut self, strict: bool, rows: &Incoming<'_>, i: usize, out: &mut Pairs) {
        let (key, hash) = (rows.keys.row(i), rows.key_hashes[i]);
        let row = [key, rows.left.row(i)].concat();
        let is_new = !self.left_times.is_off() && self.left.slot(&row).is_none();
        let slot = self.left.add(hash, key, &row, rows.delta.weight(i));
        if let Some(counts) = rows.counts.as_ref().filter(|_| is_new) {
            self.left_times.put(slot, std::iter::once(counts.is_valid(i).then(|| counts.value(i))));
        }
        let at = [key, rows.time_bytes.row(i)].concat();
        out.put(slot, self.partner(hash, key, &at, strict), rows.delta.weight(i));
    }

    fn step(&mut self, spec: &AsOfSpec, codecs: &Codecs, incoming: &Incoming<'_>, rows: &[u32]) -> Result<Delta> {
        let (mut goes, mut comes, mut left, mut beside) = (vec![], vec![], vec![], vec![]);
        for row in rows {
            let i = *row as usize;
            let has_time = incoming.times.is_valid(i);
            if incoming.is_right.value(i) {
                beside.push(*row);
                if has_time {
                    (if incoming.delta.weight(i) < 0 { &mut goes } else { &mut comes }).push(i);
                }
            } else if has_time {
                left.push(i);
            } else {
                // Without a time it has no partner, and never will.
                beside.push(*row);
            }
        }
        // In these orders each left row gets another partner once, not for each right row that is further from it.
        let order = |a: &usize, b: &usize| incoming.right.row(*a).cmp(incoming.right.row(*b));
        goes.sort_by(order);
        comes.sort_by(|a, b| order(b, a));
        let mut out = Pairs::default();
        for i in goes.into_iter().chain(comes) {
            self.add_right(codecs, spec.strict, incoming, i, &mut out);
        }
        for i in left {
            self.add_left(spec.strict, incoming, i, &mut out);
        }
        let pairs = self.pairs(spec, codecs, out)?;
        self.left.sweep();
        self.right.sweep();
        let beside = incoming.delta.take(&UInt32Array::from(beside))?;
        let none = spec.schema.fields().iter().skip(spec.input_schema.fields().len());
        let none = none.map(|f| new_null_array(f.data_type(), beside.len()));
        let columns = beside.batch.columns().iter().cloned().chain(none).collect();
        let beside = Delta { batch: batch_of(&spec.schema, columns, beside.len())?, weights: beside.weights };
        concat(&spec.schema, &[pairs, beside])
    }

    fn pairs(&self, spec: &AsOfSpec, codecs: &Codecs, pairs: Pairs) -> Result<Delta> {
        let behind_key = |side: &Ordered, slot: u32| -> usize { side.arrangement().key_of(slot).len() };
        let rows = pairs.left.iter().map(|s| &self.left.row(*s)[behind_key(&self.left, *s)..]);
        let mut columns = codecs.left.decode(rows)?.split_off(1);
        // A partner of many is read once.
        let mut slots: Vec<u32> = pairs.right.iter().copied().flatten().collect();
        slots.sort_unstable();
        slots.dedup();
        let rows = slots.iter().map(|s| &self.right.row(*s)[behind_key(&self.right, *s)..]);
        let right = codecs.right.decode(rows)?.split_off(1);
        let place = |slot: &Option<u32>| slot.and_then(|s| slots.binary_search(&s).ok()).map(|at| at as u32);
        let places: UInt32Array = pairs.right.iter().map(place).collect();
        for value in &spec.values {
            columns.push(take(&right[*value], &places, None).map_err(|e| Error::bug(e.to_string()))?);
        }
        Delta::weighted(batch_of(&spec.schema, columns, places.len())?, pairs.weights)
    }

    /// Forgets left rows before the watermark, and right rows before the last of these.
    fn close(&mut self, watermarks: &[Option<i64>]) {
        let rows = self.left.arrangement();
        let mut closed = self.left_times.closed(watermarks);
        closed.retain(|slot| rows.is_held(*slot));
        let keys: Vec<u64> = closed.iter().map(|slot| hash_bytes(rows.key_of(*slot))).collect();
        self.left.drop_rows(&closed);
        let mut passed = vec![];
        for slot in self.right_times.closed(watermarks) {
            let rows = self.right.arrangement();
            if !rows.is_held(slot) {
                continue;
            }
            let key = rows.key_slot_of(slot);
            passed.clear();
            passed.extend(self.right.from(key, 0).map(|r| r.slot).take_while(|s| *s != slot));
            self.right.drop_rows(&passed);
        }
        let gone: Vec<u64> = keys.into_iter().filter(|key| !self.has(*key)).collect();
        gone.into_iter().for_each(|key| self.resident.dropped(key));
    }

    /// The times again: after a restart, or of the rows of keys that were fetched.
    fn find_times(&mut self, codecs: &Codecs, fetched: Option<&FetchedKeys>) -> Result<()> {
        let left = (LEFT, &self.left, &codecs.left, &mut self.left_times);
        let right = (RIGHT, &self.right, &codecs.right, &mut self.right_times);
        for (table, side, codec, times) in [left, right] {
            if times.is_off() {
                continue;
            }
            let rows = side.arrangement();
            let slots: Vec<u32> = match fetched {
                None => rows.iter().collect(),
                Some(fetched) => {
                    let keys = fetched.iter().filter(|(of, _)| *of == table);
                    let keys = keys.filter_map(|(_, key)| rows.key_slot(hash_bytes(key), key));
                    keys.flat_map(|key| rows.rows_of(key)).collect()
                }
            };
            let columns = codec.decode(slots.iter().map(|s| &rows.row(*s)[rows.key_of(*s).len()..]))?;
            let counts = times_of(&columns[0])?;
            for (i, slot) in slots.iter().enumerate() {
                times.put(*slot, std::iter::once(counts.is_valid(i).then(|| counts.value(i))));
            }
        }
        Ok(())
    }
}

impl TableShard for Shard {
    fn tables(&self) -> Vec<&Arrangement> {
        vec![self.left.arrangement(), self.right.arrangement()]
    }

    fn fetch(&mut self, table: u8, key: &[u8], row: &[u8], weight: i64) {
        (if table == LEFT { &mut self.left } else { &mut self.right }).fetch(key, row, weight);
    }

    /// Rows are found under the hash of their key.
    fn dues(&self, full: bool) -> Vec<Due> {
        let mut out = vec![];
        if !self.left_times.is_off() {
            for (side, times) in [(&self.left, &self.left_times), (&self.right, &self.right_times)] {
                let rows = side.arrangement();
                let changed = rows.changed(full).into_iter();
                changed.for_each(|slot| times.dues(slot, hash_bytes(rows.key_of(slot)), 0, &mut out));
            }
        }
        out
    }

    fn has(&self, hash: u64) -> bool {
        self.left.arrangement().has_key_hash(hash) || self.right.arrangement().has_key_hash(hash)
    }

    fn written(&mut self) {
        self.left.mark_saved();
        self.right.mark_saved();
        let (left, right) = (self.left.arrangement(), self.right.arrangement());
        self.resident.written(|hash| left.has_key_hash(hash) || right.has_key_hash(hash));
    }

    fn emptied(&self) -> Self {
        let times = |times: &Windows| Windows::new(times.columns());
        let (left_times, right_times) = (times(&self.left_times), times(&self.right_times));
        Self { left_times, right_times, ..Self::default() }
    }

    fn resident(&mut self) -> &mut Resident {
        &mut self.resident
    }
}

paged_shards!(AsOf);

impl Operator for AsOf {
    fn step(&mut self, inputs: &[Delta], _: StepContext) -> Result<Delta> {
        let incoming = self.incoming(&inputs[0])?;
        let parts = split(&incoming.key_hashes, self.shards.len());
        let (spec, codecs) = (&self.spec, &self.codecs);
        let reader = self.pages.as_ref().and_then(Pages::reader);
        let outs = for_each(&mut self.shards, inputs[0].len(), |s, shard| {
            let fetched = fetch_rows(shard, reader, parts[s].iter().map(|i| incoming.key_hashes[*i as usize]))?;
            shard.find_times(codecs, Some(&fetched))?;
            shard.step(spec, codecs, &incoming, &parts[s])
        })?;
        concat(&self.spec.schema, &outs)
    }

    fn close(&mut self, watermarks: &[Option<i64>]) -> Result<Option<Delta>> {
        let fetched = fetch_due(&mut self.shards, self.pages.as_ref(), watermarks)?;
        for (shard, fetched) in self.shards.iter_mut().zip(&fetched) {
            shard.find_times(&self.codecs, Some(fetched))?;
            shard.close(watermarks);
        }
        Ok(None)
    }

    fn closing(&self) -> Option<&'static str> {
        self.closes().then_some("left rows before the watermark are dropped, and right rows but the last")
    }

    fn describe(&self) -> String {
        self.spec.label.clone()
    }

    /// With no key all rows belong together.
    fn paged(&mut self) -> Option<&mut dyn Paged> {
        (!self.spec.keys.is_empty()).then_some(self as &mut dyn Paged)
    }

    fn pages(&self) -> Option<&Pages> {
        self.pages.as_ref()
    }

    fn state_rows(&self) -> usize {
        let held = self.shards.iter().map(|s| s.left.len() + s.right.len()).sum();
        self.pages.as_ref().map_or(held, |p| p.dated_rows(held, usize::from(self.closes())))
    }

    fn state_bytes(&self) -> usize {
        let times = |s: &Shard| s.left_times.bytes() + s.right_times.bytes();
        let of = |s: &Shard| s.left.bytes() + s.right.bytes() + times(s) + s.resident.bytes();
        self.pages.as_ref().map_or(0, Pages::bytes) + self.shards.iter().map(of).sum::<usize>()
    }

    fn save(&mut self, full: bool) -> Result<Vec<RecordBatch>> {
        let mut out = vec![];
        for shard in &mut self.shards {
            out.push(changes_to_batch(LEFT, &shard.left.take_changes(full))?);
            out.push(changes_to_batch(RIGHT, &shard.right.take_changes(full))?);
        }
        Ok(out)
    }

    fn load(&mut self, batch: &RecordBatch) -> Result<()> {
        let n = self.shards.len();
        let shards = &mut self.shards;
        changes_from_batch(batch, |part, key, row, weight| {
            let shard = &mut shards[shard_of(hash_bytes(key), n)];
            (if part == LEFT { &mut shard.left } else { &mut shard.right }).restore(key, row, weight);
        })?;
        shards.iter_mut().for_each(TableShard::written);
        Ok(())
    }

    fn loaded(&mut self) -> Result<()> {
        self.shards.iter_mut().try_for_each(|s| s.find_times(&self.codecs, None))
    }
}
