//! Event time of streams: which rows come late, and how far the watermark is.
//!
//! A row is *late* when its time is below what its partition promised before it: the greatest time seen there less the delay.
//! That depends on the order within the partition alone, so it is the same in every batching and for a view built later. A
//! partition without rows for `idle_timeout` no longer holds the stream's watermark back; rows that come to it afterwards are
//! late also when they are below the watermark by then, which is noted as a [`Floor`]. That decision depends on the clock: what
//! the watermark was in an epoch is in the journal, and what is here is in the checkpoint.
//!
//! When all partitions are silent, the watermark is the greatest of their promises, as in Flink, and goes no further: the delay stays.
//! A window that ends above it is open until a later row comes, or somebody says that the stream is complete.

use std::collections::BTreeMap;

use arrow::array::{Array, AsArray, BooleanArray};
use arrow::datatypes::Int64Type;
use fleuve_types::{ColumnPart, Delta, Error, Frontier, ObjectId, Result};
use serde::{Deserialize, Serialize};

use super::build::READING;
use super::core::Core;
use super::floors::{Floor, Floors, Promises, RaisedFloors};
use super::reading::comes_back;
use super::view::View;
use super::{EpochEntry, Going, Reply};
use crate::event_time::Mark;
use crate::lookup::Answers;
use crate::operators::caught;
use crate::operators::map::keep;
use crate::state::times_of;

/// The event time of a stream, as it was declared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventTime {
    /// The column.
    pub column: usize,
    /// How far the watermark stays behind the greatest time, in the column's unit.
    pub delay: i64,
    /// A partition without rows for this long does not hold the watermark back.
    pub idle_timeout_us: i64,
    /// The column of offsets, if the reader wants to know which rows were late.
    pub offsets: Option<usize>,
}

/// A row that came late. Times are in the event-time column's unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LateRow {
    /// Where it stands in its partition.
    pub offset: i64,
    /// Its time.
    pub time: i64,
    /// The watermark that it was behind.
    pub watermark: i64,
}

/// The event time of a stream by now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamTime {
    /// No row that is on time comes below this; in the event-time column's unit.
    pub watermark: Option<i64>,
    /// Rows that came late.
    pub late_rows: u64,
    /// Where the watermark went on without a partition.
    pub floors: Floors,
}

/// A stream is complete up to a time, once all before these ends of its partitions has been taken in.
pub(super) struct Advance {
    watermark: i64,
    ends: Vec<(i32, i64)>,
    replies: Vec<Reply<()>>,
}

/// Rows that come or go because time passes wait for each other this long at most.
pub(super) const TICK_US: i64 = 10_000;
/// The clock is looked at this often while a row waits for it: it may be set, or the machine may have slept.
const MAX_SLEEP_US: i64 = 60_000_000;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct PartitionTime {
    /// The greatest time less the delay.
    high: Option<i64>,
    /// When rows last came, by the engine's clock.
    seen_us: i64,
    /// What `high` was on the way.
    #[serde(default)]
    promises: Promises,
}

/// What is known about a stream's event time at a frontier. Ground state of the checkpoint.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct StreamTimes {
    partitions: BTreeMap<i32, PartitionTime>,
    watermark: Option<i64>,
    late_rows: u64,
    floors: Floors,
    /// Those of them that were raised since the start as records went. Shared with builds.
    #[serde(skip)]
    raised: RaisedFloors,
}

/// A range of a partition, sorted out.
pub(super) struct Sorted {
    /// The rows that are not late.
    pub(super) on_time: Vec<Delta>,
    pub(super) late: Vec<LateRow>,
    late_rows: u64,
    high: Option<i64>,
}

/// Where the columns of an [`EventTime`] stand in what was read.
#[derive(Clone, Copy)]
pub(super) struct TimeAt {
    time: usize,
    delay: i64,
    offsets: Option<usize>,
}

impl TimeAt {
    /// `columns` are those that were read.
    pub(super) fn of(event: &EventTime, columns: &[ColumnPart]) -> Result<Self> {
        let find = |column: usize| {
            columns.iter().position(|c| c.at == column).ok_or_else(|| Error::bug("the event time was not read"))
        };
        Ok(Self { time: find(event.column)?, delay: event.delay, offsets: event.offsets.map(find).transpose()? })
    }
}

/// Finds the late ones among the rows of a partition that follow a high of `high`.
fn sort_out(rows: &[Delta], at: TimeAt, mut high: Option<i64>, floor: Option<i64>) -> Result<Sorted> {
    let mut sorted = Sorted { on_time: Vec::with_capacity(rows.len()), late: vec![], late_rows: 0, high };
    for delta in rows {
        let times = times_of(delta.batch.column(at.time))?;
        let mut late: Option<Vec<bool>> = None;
        for i in 0..times.len() {
            if times.is_null(i) {
                continue;
            }
            let time = times.value(i);
            if let Some(watermark) = high.max(floor).filter(|w| time < *w) {
                late.get_or_insert_with(|| vec![false; times.len()])[i] = true;
                sorted.late_rows += 1;
                if let Some(offsets) = at.offsets {
                    let offsets = delta.batch.column(offsets).as_primitive_opt::<Int64Type>();
                    let offset = offsets.ok_or_else(|| Error::bug("offsets are integers"))?.value(i);
                    sorted.late.push(LateRow { offset, time, watermark });
                }
            }
            high = high.max(Some(time.saturating_sub(at.delay)));
        }
        sorted.on_time.push(match late {
            None => delta.clone(),
            Some(late) => keep(delta, &BooleanArray::from(late.into_iter().map(|l| !l).collect::<Vec<_>>()))?,
        });
    }
    sorted.high = high;
    Ok(sorted)
}

impl StreamTimes {
    /// The next offset of a partition after `from` at which another floor begins.
    pub(super) fn next_floor(&self, partition: i32, from: i64) -> Option<i64> {
        self.floors.next(partition, from)
    }

    /// Rows are about to be read from `offset` on: what they must not be below, if the watermark went on without the partition.
    pub(super) fn raise_floor(&mut self, partition: i32, offset: i64) {
        let high = self.partitions.get(&partition).and_then(|p| p.high);
        if let Some(value) = self.watermark.filter(|w| high < Some(*w)) {
            self.floors.raise(Floor { partition, offset, value });
        }
    }

    /// Finds the late rows of a range that begins at `offset`.
    pub(super) fn sort_out(&self, partition: i32, offset: i64, rows: &[Delta], at: TimeAt) -> Result<Sorted> {
        let high = self.partitions.get(&partition).and_then(|p| p.high);
        sort_out(rows, at, high, self.floors.at(partition, offset))
    }

    /// Takes in a range that was sorted out, and ends before `next`.
    pub(super) fn take(&mut self, partition: i32, next: i64, sorted: &Sorted, now_us: i64) {
        let entry = self.partitions.entry(partition).or_default();
        entry.high = sorted.high;
        entry.seen_us = now_us;
        if let Some(high) = sorted.high {
            entry.promises.note(next, high);
        }
        self.late_rows += sorted.late_rows;
    }

    /// What the watermark is at `now_us`, and whether the clock had a part in it.
    fn reckon(&self, idle_us: i64, now_us: i64) -> (Option<i64>, bool) {
        let is_idle = |p: &&PartitionTime| now_us.saturating_sub(p.seen_us) >= idle_us;
        let least = |ps: &mut dyn Iterator<Item = &PartitionTime>| ps.map(|p| p.high).min().flatten();
        let all = least(&mut self.partitions.values()).max(self.watermark);
        let now = if self.partitions.values().all(|p| is_idle(&p)) {
            // None waits for another one. Each keeps its own delay: what is above its promise waits for a later row.
            self.partitions.values().filter_map(|p| p.high).max()
        } else {
            least(&mut self.partitions.values().filter(|p| !is_idle(p)))
        };
        let now = now.max(self.watermark);
        (now, now > all)
    }

    /// Brings the watermark up to date at the end of an epoch; tells if the clock had a part in it.
    pub(super) fn settle(&mut self, event: &EventTime, partitions: i32, now_us: i64) -> bool {
        for partition in 0..partitions {
            self.partitions.entry(partition).or_insert(PartitionTime { seen_us: now_us, ..PartitionTime::default() });
        }
        let (watermark, by_clock) = self.reckon(event.idle_timeout_us, now_us);
        self.watermark = watermark;
        by_clock
    }

    /// As [`StreamTimes::settle`] in an epoch that is repeated: the journal says what it was.
    pub(super) fn settle_at(&mut self, partitions: i32, watermark: Option<i64>, now_us: i64) {
        for partition in 0..partitions {
            self.partitions.entry(partition).or_insert(PartitionTime { seen_us: now_us, ..PartitionTime::default() });
        }
        self.watermark = watermark.max(self.watermark);
    }

    /// The stream is complete up to there: rows below it that come from now on are late. False if that was known.
    pub(super) fn advance(&mut self, watermark: i64) -> bool {
        let is_new = self.watermark < Some(watermark);
        self.watermark = self.watermark.max(Some(watermark));
        is_new
    }

    /// How long until time alone moves the watermark; `None` if it will not. Zero or less if it is due.
    pub(super) fn due_us(&self, event: &EventTime, now_us: i64) -> Option<i64> {
        let next = self.partitions.values().map(|p| p.seen_us.saturating_add(event.idle_timeout_us));
        let (now, _) = self.reckon(event.idle_timeout_us, now_us);
        if now > self.watermark {
            return Some(0);
        }
        let greatest = self.partitions.values().filter_map(|p| p.high).max();
        next.filter(|at| *at > now_us).min().filter(|_| greatest > self.watermark).map(|at| at - now_us)
    }

    /// Idleness is counted anew, as after a restart: nobody could write meanwhile.
    pub(super) fn awake(&mut self, now_us: i64) {
        self.partitions.values_mut().for_each(|p| p.seen_us = now_us);
    }

    pub(super) fn watermark(&self) -> Option<i64> {
        self.watermark
    }

    pub(super) fn shown(&self) -> StreamTime {
        StreamTime { watermark: self.watermark, late_rows: self.late_rows, floors: self.floors.clone() }
    }

    /// The same stream to be read again, each partition from where `start` says: the floors are known, nothing else. When records went right
    /// before a crash, what they had promised is known about.
    pub(super) fn to_read_again(&self, start: impl Fn(i32) -> Option<i64>) -> Self {
        let mut floors = self.floors.clone();
        for (partition, time) in &self.partitions {
            let promise = start(*partition).and_then(|offset| Some((offset, time.promises.before(offset)?.1)));
            if let Some((offset, value)) = promise {
                floors.raise(Floor { partition: *partition, offset, value });
            }
        }
        Self { floors, raised: self.raised.clone(), ..Self::default() }
    }

    /// Takes over what became known meanwhile.
    pub(super) fn learn(&mut self, live: &Self) {
        live.floors.iter().for_each(|floor| self.floors.raise(*floor));
        self.raised = live.raised.clone();
    }

    /// Takes over what became known as records went, which may have been among those that were just read from `from` up to `next`. Gives
    /// the offset before that at which a floor begins of which nothing was known: the range is to be read again up to there.
    pub(super) fn learn_raised(&mut self, partition: i32, from: i64, next: i64) -> Option<i64> {
        self.raised.now().iter().for_each(|floor| self.floors.raise(*floor));
        self.next_floor(partition, from).filter(|floor| *floor < next)
    }

    /// Records before the floor are to go.
    fn outlive(&mut self, floor: Floor) {
        self.floors.raise(floor);
        self.raised.raise(floor);
    }

    /// Of records from `start` up to `end` that are to go: where those begin of which it is not known how far they moved the watermark,
    /// and what it was then for the partition.
    fn unknown_before(&self, partition: i32, start: i64, end: i64) -> (i64, Option<i64>) {
        let floor = self.floors.at(partition, start);
        match self.partitions.get(&partition).and_then(|p| p.promises.before(end)) {
            Some((at, high)) => (at.max(start), floor.max(Some(high))),
            None => (start, floor),
        }
    }

    /// No records of a partition are before `offset` any more.
    fn begin_at(&mut self, partition: i32, offset: i64) {
        self.floors.begin_at(partition, offset);
        if let Some(time) = self.partitions.get_mut(&partition) {
            time.promises.forget(offset);
        }
    }

    /// The watermark while old rows are read: the least of the partitions that have more to read, and of `end`, the watermark
    /// where they end.
    pub(super) fn building(&self, unread: impl Iterator<Item = i32>, end: Option<i64>) -> Option<i64> {
        unread.fold(end, |least, p| least.min(self.partitions.get(&p).and_then(|p| p.high)))
    }
}

/// An offset for each `(stream, partition)`.
pub(super) type Outlived = BTreeMap<(ObjectId, i32), i64>;

/// The event times of all streams that have one.
pub(super) type AllTimes = BTreeMap<ObjectId, StreamTimes>;

/// A stream's watermark as a circuit takes it.
pub(super) fn mark(event: &EventTime, watermark: Option<i64>) -> Vec<Mark> {
    watermark.map(|w| (event.column, w)).into_iter().collect()
}

/// The columns of a stream to read, by position, with those of its event time.
pub(super) fn with_time(columns: &mut Vec<ColumnPart>, event: &EventTime) {
    for at in std::iter::once(event.column).chain(event.offsets) {
        match columns.binary_search_by_key(&at, |c| c.at) {
            Ok(there) => columns[there].fields = None,
            Err(place) => columns.insert(place, ColumnPart::whole(at)),
        }
    }
}

impl Core {
    /// Takes a stream for complete up to a time, once all that is in it now has been taken in.
    pub(super) fn advance_watermark(&mut self, stream: ObjectId, watermark: i64, reply: Reply<()>) {
        let ends = match self.streams.get(&stream) {
            None => Err(Error::not_found("the stream is not there")),
            Some(reader) if reader.event_time().is_none() => Err(Error::input("the stream has no WATERMARK")),
            Some(reader) => (0..reader.partitions()).map(|p| Ok((p, reader.bounds(p)?))).collect::<Result<Vec<_>>>(),
        };
        let ends = match ends {
            Ok(ends) => ends.into_iter().filter(|(_, (start, end))| start < end).map(|(p, (_, end))| (p, end)),
            Err(e) => return drop(reply.send(Err(e))),
        };
        let advance = self.advances.entry(stream).or_insert(Advance { watermark, ends: vec![], replies: vec![] });
        advance.watermark = advance.watermark.max(watermark);
        advance.ends = ends.collect();
        advance.replies.push(reply);
        self.live_epoch();
    }

    /// The streams whose watermark can be advanced, as all is taken in that was there when that was said.
    pub(super) fn advancing(&self) -> Vec<ObjectId> {
        let is_taken_in = |id: ObjectId, (partition, end): &(i32, i64)| {
            self.frontier.get(id, *partition).is_some_and(|at| at >= *end)
        };
        let are = |(id, advance): &(&ObjectId, &Advance)| advance.ends.iter().all(|end| is_taken_in(**id, end));
        self.advances.iter().filter(are).map(|(id, _)| *id).collect()
    }

    /// Tells those who said so.
    pub(super) fn advanced(&mut self, streams: &[ObjectId]) {
        for advance in streams.iter().filter_map(|id| self.advances.remove(id)) {
            advance.replies.into_iter().for_each(|reply| drop(reply.send(Ok(()))));
        }
        let streams = &self.streams;
        self.advances.retain(|id, _| streams.contains_key(id));
    }

    /// Brings the watermarks of all streams up to date; tells if the clock had a part in one.
    pub(super) fn settle_times(&mut self, again: Option<&EpochEntry>, advancing: &[ObjectId], now_us: i64) -> bool {
        let mut by_clock = false;
        for (id, reader) in &self.streams {
            let Some(event) = reader.event_time() else { continue };
            let times = self.times.entry(*id).or_default();
            match again {
                Some(entry) => times.settle_at(reader.partitions(), entry.watermarks.get(id).copied(), now_us),
                None => {
                    by_clock |= times.settle(&event, reader.partitions(), now_us);
                    let advance = self.advances.get(id).filter(|_| advancing.contains(id));
                    by_clock |= advance.is_some_and(|advance| times.advance(advance.watermark));
                }
            }
        }
        by_clock
    }

    /// Records are to go: keeps how far they had moved the watermark, for views that are built without them. Gives the offset up to which a
    /// checkpoint has that.
    ///
    /// # Errors
    /// When they cannot be read now.
    pub(super) fn outlive(&mut self, (stream, partition, before): Going) -> Result<i64> {
        let Some(reader) = self.streams.get(&stream).cloned() else { return Ok(before) };
        let (Some(event), Some(times)) = (reader.event_time(), self.times.get(&stream)) else { return Ok(before) };
        let place = (stream, partition);
        let saved = self.outlived_saved.get(&place).copied().unwrap_or(0);
        let start = reader.bounds(partition)?.0;
        let end = self.frontier.get(stream, partition).unwrap_or(start).min(before);
        if end <= start.max(self.outlived.get(&place).copied().unwrap_or(0)) {
            return Ok(if end <= start.max(saved) { before } else { saved });
        }
        let (mut at, mut high) = times.unknown_before(partition, start, end);
        let column = [ColumnPart::whole(event.column)];
        let time = TimeAt { time: 0, delay: event.delay, offsets: None };
        while at < end {
            let read = || reader.read(partition, at, end, self.options.epoch_bytes, &column, &|_| ());
            let (rows, next) = match caught(READING, read) {
                Ok(read) => read,
                Err(e) if comes_back(&e) => return Err(e),
                Err(e) => {
                    tracing::error!(%stream, partition, from = at, error = %e,
                        "records that go cannot be read: views that are built later may take late rows for being on time");
                    break;
                }
            };
            let rows: Vec<Delta> = rows.into_iter().map(Delta::insert).collect();
            high = sort_out(&rows, time, high, None)?.high;
            at = next;
        }
        let Some(value) = high else { return Ok(before) };
        self.times.entry(stream).or_default().outlive(Floor { partition, offset: end, value });
        self.outlived.insert(place, end);
        Ok(saved)
    }

    /// Records have gone: what came before them is asked for no more.
    pub(super) fn forget_times(&mut self, gone: &[Going]) {
        for (stream, partition, _) in gone {
            let start = self.streams.get(stream).and_then(|reader| reader.bounds(*partition).ok());
            if let (Some((start, _)), Some(times)) = (start, self.times.get_mut(stream)) {
                times.begin_at(*partition, start);
            }
        }
    }

    /// How long until time alone moves a watermark, or a row of a view that follows the clock.
    pub(super) fn time_due_us(&self, now_us: i64) -> Option<i64> {
        let row = match &self.topology {
            Some(topology) => topology.timed().iter().filter_map(|n| self.views[*n].circuit.due_us()).min(),
            None => self.views.iter().filter(|v| v.failed.is_none()).filter_map(|v| v.circuit.due_us()).min(),
        };
        // Rows that are due one after the other go together.
        let row = row.map(|at| at.max(self.next_tick_us).saturating_sub(now_us).min(MAX_SLEEP_US));
        let due = |(id, times): (&ObjectId, &StreamTimes)| times.due_us(&self.streams.get(id)?.event_time()?, now_us);
        self.times.iter().filter_map(due).chain(row).min()
    }

    /// The watermarks of each input of a view that follows them.
    pub(super) fn marks_of(&self, view: &View) -> Vec<Vec<Mark>> {
        if !view.circuit.emits_on_close() {
            return vec![];
        }
        view.inputs.iter().map(|i| self.marks_of_object(i.object)).collect()
    }

    pub(super) fn marks_of_object(&self, id: ObjectId) -> Vec<Mark> {
        if let Some(event) = self.streams.get(&id).and_then(|s| s.event_time()) {
            return mark(&event, self.times.get(&id).and_then(StreamTimes::watermark));
        }
        self.find_view(id).filter(|v| v.circuit.emits_on_close()).map_or(vec![], |v| v.circuit.marks())
    }

    /// After a restart the circuits learn the watermarks again; nothing else comes of it.
    pub(super) fn refresh_watermarks(&mut self) {
        for n in 0..self.views.len() {
            let marks = self.marks_of(&self.views[n]);
            let view = &mut self.views[n];
            if marks.is_empty() || view.failed.is_some() {
                continue;
            }
            let empty: Vec<Delta> =
                (0..view.inputs.len()).map(|i| Delta::empty(view.circuit.input_schema(i))).collect();
            let (id, epoch) = (view.id(), view.epoch);
            if let Err(e) = view.step(epoch, &empty, &marks, &Answers::new()) {
                tracing::error!(view = %id, error = %e, "a view could not be told the watermark");
            }
        }
    }

    /// The frontier and the event times there.
    pub(super) fn encode_frontier(&self) -> Vec<u8> {
        let mut bytes = self.frontier.encode();
        let times: Vec<([u8; 16], &StreamTimes)> = self.times.iter().map(|(id, t)| (id.to_bytes(), t)).collect();
        bytes.extend(serde_json::to_vec(&times).unwrap_or_default());
        bytes
    }

    /// Takes in what [`Core::encode_frontier`] wrote.
    pub(super) fn decode_frontier(&mut self, bytes: &[u8]) -> Option<()> {
        let (frontier, rest) = Frontier::decode_prefix(bytes)?;
        self.frontier = frontier;
        if !rest.is_empty() {
            let times: Vec<([u8; 16], StreamTimes)> = serde_json::from_slice(rest).ok()?;
            self.times = times.into_iter().map(|(id, t)| (ObjectId::from_bytes(id), t)).collect();
        }
        Some(())
    }
}
