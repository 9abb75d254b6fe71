//! The streams of a replay, read in order up to its point.

use std::sync::Arc;

use arrow::array::{Array, AsArray, BooleanArray, Int64Array, RecordBatch};
use arrow::compute::{cast, filter_record_batch};
use arrow::datatypes::{DataType, Int64Type, TimeUnit};
use fleuve_engine::{EventTime, Floors, Mark, StreamReader};
use fleuve_sql::BoundObject;
use fleuve_types::{ColumnPart, ObjectId, Result};

use super::super::READ_BYTES;
use super::super::observe::shown;
use super::super::stream::StreamRelation;
use super::bug;

/// A partition of a stream that is read.
pub(super) struct Cursor {
    pub(super) partition: i32,
    pub(super) at: i64,
    pub(super) end: i64,
    /// There are records behind the end.
    pub(super) goes_on: bool,
    /// The greatest event time less the delay.
    pub(super) high: Option<i64>,
    /// Where the watermark had gone on without the partition: offsets in order, and below what rows are late from each of them on.
    floors: Vec<(i64, i64)>,
    /// The offset after the rows that were sorted out.
    sorted: i64,
    /// What was read and not yet taken: rows, and how many of them are taken.
    pub(super) rows: Vec<RecordBatch>,
    pub(super) taken: usize,
    /// The greatest record time so far: a partition's records keep their order.
    pub(super) time: i64,
}

pub(super) struct Source {
    pub(super) id: ObjectId,
    pub(super) name: String,
    pub(super) relation: Arc<StreamRelation>,
    pub(super) event: Option<EventTime>,
    /// All columns: a replay is not in a hurry.
    pub(super) columns: Vec<ColumnPart>,
    pub(super) cursors: Vec<Cursor>,
    /// What the watermark is where all ends, if that is known; there may be none.
    pub(super) last_mark: Option<Option<i64>>,
}

pub(super) fn source(bound: &BoundObject, relation: Arc<StreamRelation>, floors: &Floors) -> Result<Source> {
    let columns = (0..relation.schema().fields().len()).map(ColumnPart::whole).collect();
    let mut cursors = vec![];
    for partition in 0..relation.partitions() {
        let (at, end) = relation.bounds(partition)?;
        let mut floors: Vec<(i64, i64)> = floors.of(partition).map(|f| (f.offset, f.value)).collect();
        // A deletion raises one at its offset, behind those that are further on.
        floors.sort_unstable();
        let mut least = i64::MIN;
        for (_, floor) in &mut floors {
            least = least.max(*floor);
            *floor = least;
        }
        let (high, rows, taken, time) = (None, vec![], 0, i64::MIN);
        let goes_on = false;
        cursors.push(Cursor { partition, at, end, goes_on, high, floors, sorted: at, rows, taken, time });
    }
    let (id, name, event, last_mark) = (bound.object.id, shown(bound), relation.event_time(), None);
    Ok(Source { id, name, relation, event, columns, cursors, last_mark })
}

impl Cursor {
    fn has_more(&self) -> bool {
        self.at < self.end || !self.rows.is_empty()
    }

    /// No row of it is before the end, and some are behind it.
    fn begins_later(&self) -> bool {
        self.goes_on && self.high.is_none()
    }

    /// No row that is on time comes below this.
    fn promise(&self) -> Option<i64> {
        self.high.max(self.floor(self.sorted))
    }

    /// The floor at an offset.
    fn floor(&self, offset: i64) -> Option<i64> {
        let known = self.floors.partition_point(|(from, _)| *from <= offset);
        self.floors[..known].last().map(|(_, floor)| *floor)
    }
}

impl Source {
    /// The position of a hidden column.
    pub(super) fn hidden(&self, name: &str) -> Result<usize> {
        self.relation.schema().index_of(name).map_err(bug)
    }

    pub(super) fn numbers(batch: &RecordBatch, at: usize) -> Result<Int64Array> {
        let column = batch.column(at);
        let whole = match column.data_type() {
            DataType::Timestamp(..) => cast(column, &DataType::Timestamp(TimeUnit::Millisecond, None)).map_err(bug)?,
            _ => column.clone(),
        };
        let whole = cast(&whole, &DataType::Int64).map_err(bug)?;
        Ok(whole.as_primitive::<Int64Type>().clone())
    }

    /// Offsets and times of the rows of a partition in order, to `look`, until it has seen enough.
    pub(super) fn look(&self, cursor: &Cursor, mut look: impl FnMut(i64, i64) -> bool) -> Result<()> {
        let columns = [ColumnPart::whole(self.hidden("_offset")?), ColumnPart::whole(self.hidden("_timestamp")?)];
        let mut at = cursor.at;
        while at < cursor.end {
            let range = self.relation.decode(cursor.partition, at, cursor.end, READ_BYTES, &columns)?;
            for batch in &range.rows {
                let (offsets, times) = (Self::numbers(batch, 0)?, Self::numbers(batch, 1)?);
                for row in 0..batch.num_rows() {
                    if !look(offsets.value(row), times.value(row)) {
                        return Ok(());
                    }
                }
            }
            at = range.next;
        }
        Ok(())
    }

    /// The greatest time of a record up to an offset.
    pub(super) fn time_up_to(&self, cursor: &Cursor, last: i64) -> Result<i64> {
        let mut greatest = i64::MIN;
        self.look(cursor, |offset, time| {
            if offset <= last {
                greatest = greatest.max(time);
            }
            offset < last
        })?;
        Ok(greatest)
    }

    /// The offset of the first row that is later than `time`.
    pub(super) fn end_at(&self, cursor: &Cursor, time: i64) -> Result<i64> {
        let mut end = cursor.end;
        self.look(cursor, |offset, of_row| {
            if of_row > time {
                end = offset;
            }
            of_row <= time
        })?;
        Ok(end)
    }

    /// Reads on, until there are rows or nothing is left.
    pub(super) fn fill(&mut self, n: usize) -> Result<()> {
        let columns = &self.columns;
        let cursor = &mut self.cursors[n];
        while cursor.rows.is_empty() && cursor.at < cursor.end {
            let range = self.relation.decode(cursor.partition, cursor.at, cursor.end, READ_BYTES, columns)?;
            cursor.rows = range.rows.into_iter().filter(|b| b.num_rows() > 0).rev().collect();
            cursor.at = range.next;
        }
        Ok(())
    }

    /// The rows that are not behind what their partition promised before them, nor behind the watermark if that had gone on without it;
    /// promises what follows from them.
    pub(super) fn on_time(&mut self, partition: i32, rows: &RecordBatch) -> Result<RecordBatch> {
        let Some(event) = &self.event else { return Ok(rows.clone()) };
        let times = cast(rows.column(event.column), &DataType::Int64).map_err(bug)?;
        let times = times.as_primitive::<Int64Type>();
        let offsets = Self::numbers(rows, self.hidden("_offset")?)?;
        let cursor = self.cursors.iter_mut().find(|c| c.partition == partition).ok_or_else(|| bug("a partition"))?;
        cursor.sorted = offsets.values().last().map_or(cursor.sorted, |last| last + 1);
        let mut keep = Vec::with_capacity(rows.num_rows());
        for row in 0..rows.num_rows() {
            if times.is_null(row) {
                keep.push(true);
                continue;
            }
            let time = times.value(row);
            keep.push(Some(time) >= cursor.high.max(cursor.floor(offsets.value(row))));
            let promise = time.saturating_sub(event.delay);
            cursor.high = cursor.high.max(Some(promise));
        }
        filter_record_batch(rows, &BooleanArray::from(keep)).map_err(bug)
    }

    /// The watermark by now: the least promise. A partition that has none to come is passed over if it never gets a row. If its rows come behind
    /// the point it holds the watermark back as far as the first of them found it; if they came before, only as far as no row up to the point
    /// had found it further.
    pub(super) fn marks(&self) -> Vec<Mark> {
        let Some(event) = &self.event else { return vec![] };
        let known = self.last_mark;
        if let Some(mark) = known.filter(|mark| mark.is_none() || !self.cursors.iter().any(Cursor::has_more)) {
            return mark.map(|mark| (event.column, mark)).into_iter().collect();
        }
        let holds_all = |c: &Cursor| match c.has_more() {
            true => c.promise().is_none(),
            false => c.begins_later() && c.floor(c.end).is_none(),
        };
        if self.cursors.iter().any(holds_all) {
            return vec![];
        }
        let found = self.cursors.iter().filter_map(|c| c.floor(c.end - 1)).max();
        let promise = |c: &Cursor| match c.has_more() {
            true => c.promise(),
            false if c.begins_later() => c.floor(c.end),
            false => c.high.max(found).filter(|_| c.high.is_some()),
        };
        // Where a partition is passed over, that is a guess.
        let most = known.flatten().unwrap_or(i64::MAX);
        self.cursors.iter().filter_map(promise).min().map(|w| (event.column, w.min(most))).into_iter().collect()
    }
}
