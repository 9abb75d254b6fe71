//! Session windows: per key the times of its rows in order, cut where the gap between two is too long. A row that comes may
//! join sessions, one that goes may split one; only rows whose session changed its bounds are put out again.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ops::Bound::{Excluded, Included, Unbounded};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, SchemaRef};
use datafusion::physical_expr::PhysicalExpr;
use fleuve_types::{Delta, Error, Result};

use super::map::concat;
use super::shard::{for_each, shard_of, split};
use super::{Operator, StepContext, evaluate};
use crate::state::{Arrangement, Encoded, RowCodec, batch_of, changes_from_batch, changes_to_batch, hash_bytes};

/// What a session operator does; built by lowering.
pub(crate) struct SessionSpec {
    pub(crate) label: String,
    pub(crate) keys: Vec<Arc<dyn PhysicalExpr>>,
    pub(crate) key_types: Vec<DataType>,
    pub(crate) time: Arc<dyn PhysicalExpr>,
    pub(crate) time_type: DataType,
    /// In the unit of the time. Rows of a key that are no further apart are in one session.
    pub(crate) gap: i64,
    /// The columns behind the input's, in order: true for the end of the session, false for its start.
    pub(crate) bounds: Vec<bool>,
    pub(crate) input_schema: SchemaRef,
    pub(crate) schema: SchemaRef,
}

/// See the module.
pub(crate) struct Session {
    spec: SessionSpec,
    key_codec: RowCodec,
    row_codec: RowCodec,
    shards: Vec<Shard>,
    /// Sessions are dropped when the watermark has passed their ends.
    closes: bool,
    /// The watermark when that was last done.
    swept: Option<i64>,
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

/// The session that holds a place, as `(first, last)`.
fn holding(sessions: &Sessions, at: &[u8]) -> Option<(i64, i64)> {
    let (key, time) = parts(at);
    let (first, last) = sessions.range::<[u8], _>((Unbounded, Included(at))).next_back()?;
    let (of, first) = parts(first);
    (of == key && time <= *last).then_some((first, *last))
}

#[derive(Default)]
struct Shard {
    /// Rows by place.
    rows: Arrangement,
    /// Places that have rows, and the sum of their lengths. Follows from `rows`.
    places: BTreeSet<Place>,
    place_bytes: usize,
    /// Follows from `places`.
    sessions: Sessions,
}

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

    /// Makes a place known: it begins a session, or joins those within reach.
    fn appear(&mut self, at: &Place, gap: i64) {
        let (key, time) = parts(at);
        let (before, after) = self.neighbours(at);
        self.place_bytes += at.len();
        self.places.insert(at.clone());
        let (mut first, mut last) = (time, time);
        for near in [before, after].into_iter().flatten() {
            if is_near(near, time, gap)
                && let Some(session) = holding(&self.sessions, &place(key, near))
            {
                self.sessions.remove(&place(key, session.0));
                (first, last) = (first.min(session.0), last.max(session.1));
            }
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

    /// The sessions that places coming or going at `changed` may change. They hold, or are near, one of them.
    fn sessions_at(&self, changed: &[Place], gap: i64) -> Sessions {
        let mut found = Sessions::new();
        for at in changed {
            let (key, time) = parts(at);
            let (before, after) = self.neighbours(at);
            let near = [before, after].into_iter().flatten().filter(|t| is_near(*t, time, gap));
            for at in near.chain([time]) {
                if let Some((first, last)) = holding(&self.sessions, &place(key, at)) {
                    found.insert(place(key, first), last);
                }
            }
        }
        found
    }

    /// Takes rows in. Gives the places where there were none before or are none now, and each row that was touched with its old
    /// weight.
    fn take(&mut self, incoming: &Incoming<'_>, rows: &[u32]) -> (Vec<Place>, Vec<(u32, i64)>) {
        let mut touched: Vec<(u32, i64)> = Vec::new();
        let mut seen = HashSet::new();
        let mut at = BTreeSet::new();
        for i in rows {
            let i = *i as usize;
            if incoming.times.is_null(i) {
                continue;
            }
            let place = place(incoming.keys.row(i), incoming.times.value(i));
            let row = incoming.rows.row(i);
            let t = self.rows.add(hash_bytes(&place), &place, hash_bytes(row), row, incoming.delta.weight(i));
            if seen.insert(t.slot) {
                touched.push((t.slot, t.old));
            }
            at.insert(place);
        }
        let holds_rows = |p: &Place| {
            let slot = self.rows.key_slot(hash_bytes(p), p);
            slot.is_some_and(|k| self.rows.rows_of(k).any(|row| self.rows.weight(row) != 0))
        };
        let changed = at.into_iter().filter(|p| self.places.contains(p) != holds_rows(p)).collect();
        (changed, touched)
    }

    fn step(&mut self, spec: &SessionSpec, codec: &RowCodec, incoming: &Incoming<'_>, rows: &[u32]) -> Result<Delta> {
        let (changed, touched) = self.take(incoming, rows);
        let old = self.sessions_at(&changed, spec.gap);
        for at in &changed {
            if self.places.contains(at) { self.vanish(at, spec.gap) } else { self.appear(at, spec.gap) }
        }
        // What is there now between the ends of an old session is made of its rows, and so is what a new place belongs to.
        let mut new = self.sessions_at(&changed, spec.gap);
        for (first, last) in &old {
            let end = place(parts(first).0, *last);
            new.extend(self.sessions.range(first.clone()..=end).map(|(first, last)| (first.clone(), *last)));
        }
        let mut out = Output::default();
        for i in rows {
            let i = *i as usize;
            if incoming.times.is_null(i) {
                out.put(incoming.rows.row(i), None, incoming.delta.weight(i));
            }
        }
        for (slot, old_weight) in &touched {
            let at = self.rows.key_of(*slot);
            let now = holding(&self.sessions, at);
            let was = holding(&old, at).or(now);
            out.turn(self.rows.row(*slot), (was, *old_weight), (now, self.rows.weight(*slot)));
        }
        let touched: HashSet<u32> = touched.into_iter().map(|(slot, _)| slot).collect();
        for (first, last) in new.iter().filter(|(first, last)| old.get(*first) != Some(last)) {
            let now = Some((parts(first).1, *last));
            for at in self.places.range(first.clone()..=place(parts(first).0, *last)) {
                let was = holding(&old, at);
                let Some(slot) = self.rows.key_slot(hash_bytes(at), at) else { continue };
                // A place that was in no session is new, and all its rows were touched.
                for row in self.rows.rows_of(slot).filter(|r| was.is_some() && was != now && !touched.contains(r)) {
                    let weight = self.rows.weight(row);
                    out.turn(self.rows.row(row), (was, weight), (now, weight));
                }
            }
        }
        let out = out.finish(spec, codec)?;
        self.rows.sweep();
        Ok(out)
    }

    /// Forgets the sessions that ended before a time, with their rows.
    fn drop_ended(&mut self, before: i64, gap: i64) {
        let ended = |(first, last): (&Place, &i64)| {
            (last.saturating_add(gap) < before).then(|| (first.clone(), place(parts(first).0, *last)))
        };
        let ended: Vec<(Place, Place)> = self.sessions.iter().filter_map(ended).collect();
        for (first, last) in ended {
            let places: Vec<Place> = self.places.range(first.clone()..=last).cloned().collect();
            for at in places {
                self.rows.drop_key(hash_bytes(&at), &at);
                self.place_bytes -= at.len();
                self.places.remove(&at);
            }
            self.sessions.remove(&first);
        }
    }

    /// Finds places and sessions again from the rows.
    fn rebuild(&mut self, gap: i64) {
        self.places = self.rows.iter().map(|slot| self.rows.key_of(slot).into()).collect();
        self.place_bytes = self.places.iter().map(|p| p.len()).sum();
        self.sessions.clear();
        let mut open: Option<(&Place, i64)> = None;
        for at in &self.places {
            let (key, time) = parts(at);
            open = match open {
                Some((first, last)) if parts(first).0 == key && is_near(last, time, gap) => Some((first, time)),
                ended => {
                    self.sessions.extend(ended.map(|(first, last)| (first.clone(), last)));
                    Some((at, time))
                }
            };
        }
        self.sessions.extend(open.map(|(first, last)| (first.clone(), last)));
    }
}

/// True if two times of a key are in one session when nothing is between them.
fn is_near(a: i64, b: i64, gap: i64) -> bool {
    a.abs_diff(b) <= gap.unsigned_abs()
}

/// A step's change, encoded once for all shards.
struct Incoming<'a> {
    delta: &'a Delta,
    keys: Encoded,
    times: Int64Array,
    rows: Encoded,
}

/// Rows to put out: bytes, the first and last time of their session, weight.
#[derive(Default)]
struct Output<'a> {
    rows: Vec<&'a [u8]>,
    sessions: Vec<Option<(i64, i64)>>,
    weights: Vec<i64>,
}

impl<'a> Output<'a> {
    fn put(&mut self, row: &'a [u8], session: Option<(i64, i64)>, weight: i64) {
        if weight != 0 {
            self.rows.push(row);
            self.sessions.push(session);
            self.weights.push(weight);
        }
    }

    /// A row goes from one `(session, weight)` to another.
    fn turn(&mut self, row: &'a [u8], old: (Option<(i64, i64)>, i64), new: (Option<(i64, i64)>, i64)) {
        if old.0 == new.0 {
            self.put(row, new.0, new.1 - old.1);
        } else {
            self.put(row, old.0, -old.1);
            self.put(row, new.0, new.1);
        }
    }

    fn finish(self, spec: &SessionSpec, codec: &RowCodec) -> Result<Delta> {
        let mut columns = codec.decode(self.rows.iter().copied())?;
        for is_end in &spec.bounds {
            let bound = |s: &Option<(i64, i64)>| {
                s.and_then(|(first, last)| if *is_end { last.checked_add(spec.gap) } else { Some(first) })
            };
            let counts: ArrayRef = Arc::new(self.sessions.iter().map(bound).collect::<Int64Array>());
            columns.push(cast(&counts, &spec.time_type).map_err(|e| Error::bug(e.to_string()))?);
        }
        Delta::weighted(batch_of(&spec.schema, columns, self.rows.len())?, self.weights)
    }
}

impl Session {
    pub(crate) fn new(spec: SessionSpec, shards: usize) -> Result<Self> {
        let shards = if spec.key_types.is_empty() { 1 } else { shards };
        Ok(Self {
            key_codec: RowCodec::new(spec.key_types.clone())?,
            row_codec: RowCodec::for_schema(&spec.input_schema)?,
            shards: (0..shards).map(|_| Shard::default()).collect(),
            closes: false,
            swept: None,
            spec,
        })
    }

    /// Drops sessions when the watermark has passed their ends: a row that is not below it joins none of them.
    pub(crate) fn close_by_end(&mut self) {
        self.closes = true;
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
        let hashes: Vec<u64> = (0..delta.len()).map(|i| hash_bytes(keys.row(i))).collect();
        let rows = self.row_codec.encode(delta.batch.columns())?;
        let incoming = Incoming { delta, keys, times, rows };
        let parts = split(&hashes, self.shards.len());
        let (spec, codec) = (&self.spec, &self.row_codec);
        let outs = for_each(&mut self.shards, delta.len(), |s, shard| shard.step(spec, codec, &incoming, &parts[s]))?;
        concat(&self.spec.schema, &outs)
    }

    fn close(&mut self, watermarks: &[Option<i64>]) -> Result<Option<Delta>> {
        let (Some(Some(watermark)), gap) = (watermarks.first(), self.spec.gap) else { return Ok(None) };
        // All sessions are looked at, so not each time: what is over stays at most as long again.
        if self.closes && self.swept.is_none_or(|swept| watermark.saturating_sub(swept) >= gap) {
            self.swept = Some(*watermark);
            self.shards.iter_mut().for_each(|s| s.drop_ended(*watermark, gap));
        }
        Ok(None)
    }

    fn closing(&self) -> Option<&'static str> {
        self.closes.then_some("sessions that ended are dropped")
    }

    fn describe(&self) -> String {
        self.spec.label.clone()
    }

    fn state_rows(&self) -> usize {
        self.shards.iter().map(|s| s.rows.len()).sum()
    }

    fn state_bytes(&self) -> usize {
        // A place lies in a tree with its pointer and length; a session has a place and a time.
        let of = |s: &Shard| s.rows.bytes() + s.place_bytes + s.places.len() * 24 + s.sessions.len() * 64;
        self.shards.iter().map(of).sum()
    }

    fn save(&mut self, full: bool) -> Result<Vec<RecordBatch>> {
        self.shards.iter_mut().map(|s| changes_to_batch(0, &s.rows.take_changes(full))).collect()
    }

    fn load(&mut self, batch: &RecordBatch) -> Result<()> {
        let n = self.shards.len();
        let shards = &mut self.shards;
        changes_from_batch(batch, |_, place, row, weight| {
            let shard = &mut shards[shard_of(hash_bytes(parts(place).0), n)];
            shard.rows.restore(place, row, weight);
        })?;
        self.shards.iter_mut().for_each(|s| s.rows.mark_saved());
        Ok(())
    }

    fn loaded(&mut self) -> Result<()> {
        let gap = self.spec.gap;
        self.shards.iter_mut().for_each(|s| s.rebuild(gap));
        Ok(())
    }
}
