//! Session windows: per key the bounds of its sessions, and of each session its rows without what nobody reads of them. A row that
//! comes may join sessions, one that goes may split one; only sessions whose bounds changed are put out again.
//!
//! A split needs to know when the rows were, so where rows can go they are kept by time, too. Where rows only come there are no
//! splits, and rows of one session that are the same in what is read of them are kept as one.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Excluded, Included, Unbounded};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, new_null_array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, SchemaRef};
use datafusion::physical_expr::PhysicalExpr;
use fleuve_types::{Delta, Error, Result};

use super::map::concat;
use super::shard::{for_each, shard_of, split};
use super::{Operator, StepContext, evaluate};
use crate::state::{
    Arrangement, Due, Encoded, FetchedKeys, Paged, Pages, Resident, RowCodec, TableShard, batch_of, changes_from_batch,
    changes_to_batch, fetch_due, fetch_rows, hash_bytes, paged_shards,
};

mod append;

/// What a session operator does; built by lowering.
pub(crate) struct SessionSpec {
    pub(crate) label: String,
    pub(crate) keys: Vec<Arc<dyn PhysicalExpr>>,
    pub(crate) key_types: Vec<DataType>,
    pub(crate) time: Arc<dyn PhysicalExpr>,
    pub(crate) time_type: DataType,
    /// In the unit of the time. Rows of a key that are no further apart are in one session.
    pub(crate) gap: i64,
    /// By column of the input: true if it is read. The others are put out as NULL.
    pub(crate) read: Vec<bool>,
    /// The columns behind the input's, in order: true for the end of the session, false for its start.
    pub(crate) bounds: Vec<bool>,
    /// No row ever goes.
    pub(crate) append_only: bool,
    pub(crate) input_schema: SchemaRef,
    pub(crate) schema: SchemaRef,
}

/// See the module.
pub(crate) struct Session {
    spec: SessionSpec,
    key_codec: RowCodec,
    /// Of the columns that are read.
    row_codec: RowCodec,
    shards: Vec<Shard>,
    /// The watermark when that was last done.
    swept: Option<i64>,
    pages: Option<Pages>,
}

/// A key and a time as bytes that sort by key, then by time. The bytes of a key are never the beginning of another's.
type Place = Box<[u8]>;

const TIME_BYTES: usize = 8;

fn place(key: &[u8], time: i64) -> Place {
    let flipped = time ^ i64::MIN;
    [key, &flipped.to_be_bytes()].concat().into()
}

/// The key and the time of a place.
fn parts(place: &[u8]) -> (&[u8], i64) {
    let (key, time) = place.split_at(place.len().saturating_sub(TIME_BYTES));
    let mut bytes = [0; TIME_BYTES];
    bytes[..time.len()].copy_from_slice(time);
    (key, i64::from_be_bytes(bytes) ^ i64::MIN)
}

/// Sessions by the place of their first row, with the time of their last.
type Sessions = BTreeMap<Place, i64>;

/// A session's bytes: its first place, then the time of its last row.
fn bytes_of(first: &[u8], last: i64) -> Place {
    place(first, last)
}

/// The session that holds a place, as `(first, last)`.
fn holding(sessions: &Sessions, at: &[u8]) -> Option<(i64, i64)> {
    let (key, time) = parts(at);
    let (first, last) = sessions.range::<[u8], _>((Unbounded, Included(at))).next_back()?;
    let (of, first) = parts(first);
    (of == key && time <= *last).then_some((first, *last))
}

#[derive(Default)]
struct Shard {
    /// Rows by session: what is read of them behind the session's bytes.
    contents: Arrangement,
    /// Follows from `contents`.
    sessions: Sessions,
    /// Rows by place: what is read of them behind the place. Not kept if no row ever goes.
    rows: Arrangement,
    /// Places that have rows, and the sum of their lengths. Follows from `rows`.
    places: BTreeSet<Place>,
    place_bytes: usize,
    /// See [`Session::close_by_end`].
    closes: bool,
    resident: Resident,
}

/// By session, then by place; both are looked up by the key that they begin with.
impl TableShard for Shard {
    fn hash_of(table: u8) -> fn(&[u8], &[u8]) -> u64 {
        if table == 0 { |at, _| hash_bytes(parts(parts(at).0).0) } else { |at, _| hash_bytes(parts(at).0) }
    }

    fn tables(&self) -> Vec<&Arrangement> {
        vec![&self.contents, &self.rows]
    }

    fn fetch(&mut self, table: u8, key: &[u8], row: &[u8], weight: i64) {
        let rows = if table == 0 { &mut self.contents } else { &mut self.rows };
        rows.fetch(key, row, weight);
    }

    /// The time of a session's last row, under the hash of its key.
    fn dues(&self, full: bool) -> Vec<Due> {
        if !self.closes {
            return vec![];
        }
        let session = |slot| {
            let (first, time) = parts(self.contents.key_of(slot));
            Due { time, column: 0, hash: hash_bytes(parts(first).0) }
        };
        self.contents.changed(full).into_iter().map(session).collect()
    }

    fn written(&mut self) {
        self.contents.mark_saved();
        self.rows.mark_saved();
    }

    fn emptied(&self) -> Self {
        Self { closes: self.closes, ..Self::default() }
    }

    fn resident(&mut self) -> &mut Resident {
        &mut self.resident
    }
}

paged_shards!(Session);

impl Shard {
    /// The nearest places of the same key before and after one.
    fn neighbours(&self, at: &[u8]) -> (Option<i64>, Option<i64>) {
        let (key, _) = parts(at);
        let time_of = |p: &Place| {
            let (of, time) = parts(p);
            (of == key).then_some(time)
        };
        let before = self.places.range::<[u8], _>((Unbounded, Excluded(at))).next_back().and_then(time_of);
        let after = self.places.range::<[u8], _>((Excluded(at), Unbounded)).next().and_then(time_of);
        (before, after)
    }

    /// The sessions that hold a place or are near it.
    fn sessions_near(&self, at: &[u8], gap: i64) -> Sessions {
        let (key, time) = parts(at);
        let before = self.sessions.range::<[u8], _>((Unbounded, Included(at))).next_back();
        let after = self.sessions.range::<[u8], _>((Excluded(at), Unbounded)).next();
        let before =
            before.filter(|(first, last)| parts(first).0 == key && (time <= **last || is_near(**last, time, gap)));
        let after = after.filter(|(first, _)| parts(first).0 == key && is_near(parts(first).1, time, gap));
        before.into_iter().chain(after).map(|(first, last)| (first.clone(), *last)).collect()
    }

    /// Makes a place known: it begins a session, or joins those within reach.
    fn appear(&mut self, at: &Place, gap: i64) {
        let (key, time) = parts(at);
        let (mut first, mut last) = (time, time);
        for (near, end) in self.sessions_near(at, gap) {
            self.sessions.remove(&near);
            (first, last) = (first.min(parts(&near).1), last.max(end));
        }
        self.sessions.insert(place(key, first), last);
    }

    /// Forgets a place: its session gets shorter, falls apart, or ends.
    fn vanish(&mut self, at: &Place, gap: i64) {
        let (key, _) = parts(at);
        self.place_bytes -= at.len();
        self.places.remove(at);
        let Some((first, last)) = holding(&self.sessions, at) else { return };
        let (before, after) = self.neighbours(at);
        let before = before.filter(|t| *t >= first);
        let after = after.filter(|t| *t <= last);
        if let (Some(before), Some(after)) = (before, after)
            && is_near(before, after, gap)
        {
            return;
        }
        self.sessions.remove(&place(key, first));
        if let Some(before) = before {
            self.sessions.insert(place(key, first), before);
        }
        if let Some(after) = after {
            self.sessions.insert(place(key, after), last);
        }
    }

    /// The sessions that places coming or going at `changed` may change.
    fn sessions_at(&self, changed: &[Place], gap: i64) -> Sessions {
        changed.iter().flat_map(|at| self.sessions_near(at, gap)).collect()
    }

    /// Takes rows in by place. Gives the places where there were none before or are none now.
    fn take(&mut self, incoming: &Incoming<'_>, rows: &[u32]) -> Vec<Place> {
        let mut at: BTreeSet<Place> = BTreeSet::new();
        for i in rows {
            let Some(place) = incoming.place(*i as usize) else { continue };
            let row = [&place, incoming.rows.row(*i as usize)].concat();
            self.rows.add(hash_bytes(&place), &place, hash_bytes(&row), &row, incoming.delta.weight(*i as usize));
            at.insert(place);
        }
        self.rows.sweep();
        let mut changed = vec![];
        for place in at {
            let there = self.rows.key_slot(hash_bytes(&place), &place).is_some();
            if there != self.places.contains(&place) {
                if there {
                    self.place_bytes += place.len();
                    self.places.insert(place.clone());
                }
                changed.push(place);
            }
        }
        changed
    }

    fn step(&mut self, spec: &SessionSpec, codec: &RowCodec, incoming: &Incoming<'_>, rows: &[u32]) -> Result<Delta> {
        if spec.append_only {
            return self.append(spec, codec, incoming, rows);
        }
        let changed = self.take(incoming, rows);
        let mut old = self.sessions_at(&changed, spec.gap);
        for at in &changed {
            let goes = self.rows.key_slot(hash_bytes(at), at).is_none();
            if goes { self.vanish(at, spec.gap) } else { self.appear(at, spec.gap) }
        }
        // What is there now between the ends of an old session is made of its rows, and so is what a new place belongs to.
        let mut new = self.sessions_at(&changed, spec.gap);
        for (first, last) in &old {
            let end = place(parts(first).0, *last);
            new.extend(self.sessions.range(first.clone()..=end).map(|(first, last)| (first.clone(), *last)));
        }
        let both = |a: &Sessions, b: &Sessions| -> Vec<Place> {
            a.iter().filter(|(first, last)| b.get(*first) == Some(last)).map(|(first, _)| first.clone()).collect()
        };
        for same in both(&old, &new) {
            old.remove(&same);
            new.remove(&same);
        }
        let mut out = Output::default();
        let split = self.hand_over(&old, &new, &mut out);
        for i in rows {
            let i = *i as usize;
            let (row, weight) = (incoming.rows.row(i), incoming.delta.weight(i));
            let Some(at) = incoming.place(i) else {
                out.put(row, None, weight);
                continue;
            };
            let Some((first, last)) = self.destination(&at, &old, &new, &split) else { continue };
            let first = place(parts(&at).0, first);
            if !new.contains_key(&first) {
                out.put(row, Some((parts(&first).1, last)), weight);
            }
            self.add(&first, last, row, weight);
        }
        for (first, last) in &new {
            self.show(first, *last, 1, &mut out);
        }
        let out = out.finish(spec, codec)?;
        self.contents.sweep();
        Ok(out)
    }

    /// Takes the old sessions' rows away and gives them to the new ones. Gives the old sessions that fell apart: their rows
    /// were found again by time, with the rows of this step.
    fn hand_over(&mut self, old: &Sessions, new: &Sessions, out: &mut Output) -> BTreeSet<Place> {
        let mut split = BTreeSet::new();
        for (first, last) in old {
            self.show(first, *last, -1, out);
            let key = parts(first).0;
            let targets = overlapping(new, first, *last);
            for (row, weight) in self.rows_of_session(first, *last) {
                self.add(first, *last, &row, -weight);
                if let [(target, end)] = targets.as_slice() {
                    self.add(target, *end, &row, weight);
                }
            }
            if targets.len() < 2 {
                continue;
            }
            split.insert(first.clone());
            for (target, end) in &targets {
                let from = target.max(first).clone();
                let mut found = vec![];
                for at in self.places.range(from..=place(key, *end.min(last))) {
                    let Some(slot) = self.rows.key_slot(hash_bytes(at), at) else { continue };
                    for row in self.rows.rows_of(slot) {
                        found.push((self.rows.row(row)[at.len()..].to_vec(), self.rows.weight(row)));
                    }
                }
                for (row, weight) in found {
                    self.add(target, *end, &row, weight);
                }
            }
        }
        split
    }

    /// The session that a row of this step is to be added to; none if it is there already or came and went.
    fn destination(&self, at: &Place, old: &Sessions, new: &Sessions, split: &BTreeSet<Place>) -> Option<(i64, i64)> {
        let Some((first, last)) = holding(old, at) else { return holding(&self.sessions, at) };
        let first = place(parts(at).0, first);
        if split.contains(&first) {
            return None;
        }
        match overlapping(new, &first, last).as_slice() {
            [(target, end)] => Some((parts(target).1, *end)),
            _ => None,
        }
    }

    fn add(&mut self, first: &[u8], last: i64, row: &[u8], weight: i64) {
        let session = bytes_of(first, last);
        let row = [&session, row].concat();
        self.contents.add(hash_bytes(&session), &session, hash_bytes(&row), &row, weight);
    }

    /// The rows of a session, with their weights.
    fn rows_of_session(&self, first: &[u8], last: i64) -> Vec<(Vec<u8>, i64)> {
        let session = bytes_of(first, last);
        let Some(slot) = self.contents.key_slot(hash_bytes(&session), &session) else { return vec![] };
        let row = |slot| (self.contents.row(slot)[session.len()..].to_vec(), self.contents.weight(slot));
        self.contents.rows_of(slot).map(row).collect()
    }

    /// Puts out a session's rows, or takes them back.
    fn show(&self, first: &[u8], last: i64, sign: i64, out: &mut Output) {
        for (row, weight) in self.rows_of_session(first, last) {
            out.put(&row, Some((parts(first).1, last)), sign * weight);
        }
    }

    /// Forgets the sessions that ended before a time, with their rows.
    fn drop_ended(&mut self, before: i64, gap: i64) {
        let ended = |(_, last): &(&Place, &i64)| last.saturating_add(gap) < before;
        let ended: Vec<(Place, i64)> =
            self.sessions.iter().filter(ended).map(|(first, last)| (first.clone(), *last)).collect();
        for (first, last) in ended {
            let session = bytes_of(&first, last);
            self.contents.drop_key(hash_bytes(&session), &session);
            let places: Vec<Place> = self.places.range(first.clone()..=place(parts(&first).0, last)).cloned().collect();
            for at in places {
                self.rows.drop_key(hash_bytes(&at), &at);
                self.place_bytes -= at.len();
                self.places.remove(&at);
            }
            self.sessions.remove(&first);
        }
    }

    /// Finds the sessions and places of what was fetched.
    fn find(&mut self, fetched: FetchedKeys) {
        for (table, at) in fetched {
            let rows = if table == 0 { &self.contents } else { &self.rows };
            if rows.key_slot(hash_bytes(&at), &at).is_none() {
                continue;
            }
            if table == 0 {
                let (first, last) = parts(&at);
                self.sessions.insert(first.into(), last);
            } else {
                self.place_bytes += at.len();
                self.places.insert(at.into());
            }
        }
    }

    /// Finds sessions and places again.
    fn rebuild(&mut self) {
        let session = |slot| {
            let (first, last) = parts(self.contents.key(slot));
            (first.into(), last)
        };
        self.sessions = self.contents.keys().map(session).collect();
        self.places = self.rows.keys().map(|slot| self.rows.key(slot).into()).collect();
        self.place_bytes = self.places.iter().map(|p| p.len()).sum();
    }
}

/// The sessions that have times in common with the one from `first` to `last`.
fn overlapping(sessions: &Sessions, first: &Place, last: i64) -> Vec<(Place, i64)> {
    let key = parts(first).0;
    let inside = sessions.range((Excluded(first.clone()), Included(place(key, last))));
    // It may have begun before.
    let begun = sessions.range::<Place, _>((Unbounded, Included(first))).next_back();
    let begun = begun.filter(|(f, l)| parts(f).0 == key && **l >= parts(first).1);
    begun.into_iter().chain(inside).map(|(first, last)| (first.clone(), *last)).collect()
}

/// True if two times of a key are in one session when nothing is between them.
fn is_near(a: i64, b: i64, gap: i64) -> bool {
    a.abs_diff(b) <= gap.unsigned_abs()
}

/// A step's change, encoded once for all shards.
struct Incoming<'a> {
    delta: &'a Delta,
    keys: Encoded,
    hashes: Vec<u64>,
    times: Int64Array,
    /// What is read of the rows.
    rows: Encoded,
}

impl Incoming<'_> {
    /// None for a row without a time, which is in no session.
    fn place(&self, row: usize) -> Option<Place> {
        self.times.is_valid(row).then(|| place(self.keys.row(row), self.times.value(row)))
    }
}

/// Rows to put out: bytes one after the other and where they end, the first and last time of their session, weight.
#[derive(Default)]
struct Output {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    sessions: Vec<Option<(i64, i64)>>,
    weights: Vec<i64>,
}

impl Output {
    fn put(&mut self, row: &[u8], session: Option<(i64, i64)>, weight: i64) {
        if weight != 0 {
            self.bytes.extend_from_slice(row);
            self.ends.push(self.bytes.len());
            self.sessions.push(session);
            self.weights.push(weight);
        }
    }

    fn finish(self, spec: &SessionSpec, codec: &RowCodec) -> Result<Delta> {
        let mut from = 0;
        let row = |end: &usize| {
            let row = &self.bytes[from..*end];
            from = *end;
            row
        };
        let rows: Vec<&[u8]> = self.ends.iter().map(row).collect();
        let mut read = codec.decode(rows.iter().copied())?.into_iter();
        let fields = spec.input_schema.fields().iter().zip(&spec.read);
        let column = |(field, is_read): (&Arc<arrow::datatypes::Field>, &bool)| {
            let column = if *is_read { read.next() } else { None };
            column.unwrap_or_else(|| new_null_array(field.data_type(), rows.len()))
        };
        let mut columns: Vec<ArrayRef> = fields.map(column).collect();
        for is_end in &spec.bounds {
            let bound = |s: &Option<(i64, i64)>| {
                s.and_then(|(first, last)| if *is_end { last.checked_add(spec.gap) } else { Some(first) })
            };
            let counts: ArrayRef = Arc::new(self.sessions.iter().map(bound).collect::<Int64Array>());
            columns.push(cast(&counts, &spec.time_type).map_err(|e| Error::bug(e.to_string()))?);
        }
        Delta::weighted(batch_of(&spec.schema, columns, rows.len())?, self.weights)
    }
}

impl Session {
    pub(crate) fn new(spec: SessionSpec, shards: usize) -> Result<Self> {
        let shards = if spec.key_types.is_empty() { 1 } else { shards };
        let read = spec.input_schema.fields().iter().zip(&spec.read).filter(|(_, read)| **read);
        Ok(Self {
            key_codec: RowCodec::new(spec.key_types.clone())?,
            row_codec: RowCodec::new(read.map(|(f, _)| f.data_type().clone()).collect())?,
            shards: (0..shards).map(|_| Shard::default()).collect(),
            swept: None,
            pages: None,
            spec,
        })
    }

    /// Drops sessions when the watermark has passed their ends: a row that is not below it joins none of them.
    pub(crate) fn close_by_end(&mut self) {
        self.shards.iter_mut().for_each(|shard| shard.closes = true);
    }

    fn closes(&self) -> bool {
        self.shards.first().is_some_and(|shard| shard.closes)
    }
}

impl Operator for Session {
    fn step(&mut self, inputs: &[Delta], _: StepContext) -> Result<Delta> {
        let delta = &inputs[0];
        let keys = self.spec.keys.iter().map(|k| evaluate(k, &delta.batch)).collect::<Result<Vec<_>>>()?;
        let keys = self.key_codec.encode(&keys)?;
        let times = evaluate(&self.spec.time, &delta.batch)?;
        let times = cast(&times, &DataType::Int64).map_err(|e| Error::bug(e.to_string()))?;
        let times = times.as_primitive::<Int64Type>().clone();
        let hashes = keys.hashes(delta.len());
        let columns = delta.batch.columns().iter().zip(&self.spec.read).filter(|(_, read)| **read);
        let rows = self.row_codec.encode(&columns.map(|(c, _)| c.clone()).collect::<Vec<_>>())?;
        let parts = split(&hashes, self.shards.len());
        let incoming = Incoming { delta, keys, hashes, times, rows };
        let (spec, codec) = (&self.spec, &self.row_codec);
        let reader = self.pages.as_ref().and_then(Pages::reader);
        let outs = for_each(&mut self.shards, delta.len(), |s, shard| {
            let fetched = fetch_rows(shard, reader, parts[s].iter().map(|i| incoming.hashes[*i as usize]))?;
            shard.find(fetched);
            shard.step(spec, codec, &incoming, &parts[s])
        })?;
        concat(&self.spec.schema, &outs)
    }

    fn close(&mut self, watermarks: &[Option<i64>]) -> Result<Option<Delta>> {
        let (Some(Some(watermark)), gap) = (watermarks.first(), self.spec.gap) else { return Ok(None) };
        // All sessions are looked at, so not each time: what is over stays at most as long again.
        if self.closes() && self.swept.is_none_or(|swept| watermark.saturating_sub(swept) >= gap) {
            self.swept = Some(*watermark);
            let fetched = fetch_due(&mut self.shards, self.pages.as_ref(), &[watermark.checked_sub(gap)])?;
            for (shard, fetched) in self.shards.iter_mut().zip(fetched) {
                shard.find(fetched);
                shard.drop_ended(*watermark, gap);
            }
        }
        Ok(None)
    }

    fn closing(&self) -> Option<&'static str> {
        self.closes().then_some("sessions that ended are dropped")
    }

    fn describe(&self) -> String {
        self.spec.label.clone()
    }

    /// With no key all rows belong together.
    fn paged(&mut self) -> Option<&mut dyn Paged> {
        (!self.spec.key_types.is_empty()).then_some(self as &mut dyn Paged)
    }

    fn pages(&self) -> Option<&Pages> {
        self.pages.as_ref()
    }

    fn state_rows(&self) -> usize {
        let held = self.shards.iter().map(|s| s.contents.len() + s.rows.len()).sum();
        self.pages.as_ref().map_or(held, |p| p.rows(held))
    }

    fn state_bytes(&self) -> usize {
        // A place lies in a tree with its pointer and length; a session has a place and a time.
        let trees = |s: &Shard| s.place_bytes + s.places.len() * 24 + s.sessions.len() * 64;
        let shard = |s: &Shard| s.contents.bytes() + s.rows.bytes() + trees(s) + s.resident.bytes();
        self.pages.as_ref().map_or(0, Pages::bytes) + self.shards.iter().map(shard).sum::<usize>()
    }

    fn save(&mut self, full: bool) -> Result<Vec<RecordBatch>> {
        let mut out = vec![];
        for shard in &mut self.shards {
            out.push(changes_to_batch(0, &shard.contents.take_changes(full))?);
            out.push(changes_to_batch(1, &shard.rows.take_changes(full))?);
        }
        Ok(out)
    }

    fn load(&mut self, batch: &RecordBatch) -> Result<()> {
        let n = self.shards.len();
        let shards = &mut self.shards;
        changes_from_batch(batch, |part, at, row, weight| {
            // A session has its first place in front.
            let (key, _) = parts(if part == 0 { parts(at).0 } else { at });
            let shard = &mut shards[shard_of(hash_bytes(key), n)];
            let arrangement = if part == 0 { &mut shard.contents } else { &mut shard.rows };
            arrangement.restore(at, row, weight);
        })?;
        for shard in &mut self.shards {
            shard.contents.mark_saved();
            shard.rows.mark_saved();
        }
        Ok(())
    }

    fn loaded(&mut self) -> Result<()> {
        self.shards.iter_mut().for_each(Shard::rebuild);
        Ok(())
    }
}
