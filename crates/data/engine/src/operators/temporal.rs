//! Filters that compare what a row says with `now()`: each row is valid from one moment until another. A row that is not valid yet
//! waits; one that is valid is put out; one that expires goes, and is forgotten. A row that no later moment changes is not kept.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, UInt32Array};
use arrow::compute::cast;
use arrow::datatypes::{Int64Type, Schema, SchemaRef, TimeUnit};
use datafusion::physical_expr::PhysicalExpr;
use fleuve_types::{Delta, Error, Result};

use super::{Guard, Left, Operator, StepContext, concat_deltas, evaluate, evaluate_filter};
use crate::state::{
    Arrangement, Due, Encoded, Paged, Pages, Resident, RowCodec, TableShard, batch_of, changes_from_batch,
    changes_to_batch, fetch_due, fetch_rows, hash_bytes, paged_shards, resize,
};

/// A moment that does not come, and one that has always been.
const NEVER: i64 = i64::MAX;
const ALWAYS: i64 = i64::MIN;

/// The moments between which the clock is taken to be: 1800 and 2200, in microseconds.
const FIRST_US: i64 = -5_364_662_400_000_000;
const LAST_US: i64 = 7_258_118_400_000_000;

/// Rows of a piece of state that is read again after a restart.
const PIECE_ROWS: usize = 65_536;

/// When a condition on a value and the time holds. The time is *at* the value from when it is not less, and *past* it from when it
/// is greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Edge {
    /// `value <= time`
    AfterReached,
    /// `value < time`
    AfterPassed,
    /// `value > time`
    UntilReached,
    /// `value >= time`
    UntilPassed,
    /// `value = time`
    WhileEqual,
}

impl Edge {
    /// True if the condition ceases to hold.
    pub(crate) fn ends(self) -> bool {
        matches!(self, Edge::UntilReached | Edge::UntilPassed | Edge::WhileEqual)
    }
}

/// One condition: a value of the row, and how it relates to an expression of the time that never goes back.
pub(crate) struct Bound {
    pub(crate) value: Arc<dyn PhysicalExpr>,
    pub(crate) edge: Edge,
    pub(crate) times: Times,
    pub(crate) text: String,
}

/// When an expression of the time reaches values, and when it passes them.
pub(crate) struct Times {
    /// Conditions over `(value, now)`.
    reached: Arc<dyn PhysicalExpr>,
    passed: Arc<dyn PhysicalExpr>,
    /// The time is `now` plus so many nanoseconds, cut to a unit.
    shift: Option<(i64, TimeUnit)>,
    schema: SchemaRef,
}

impl Times {
    /// `schema` is `(value, now)`.
    ///
    /// # Errors
    /// When the expression cannot be computed for all times.
    pub(crate) fn new(
        reached: Arc<dyn PhysicalExpr>,
        passed: Arc<dyn PhysicalExpr>,
        shift: Option<(i64, TimeUnit)>,
        schema: Schema,
    ) -> Result<Self> {
        let times = Self { reached, passed, shift, schema: Arc::new(schema) };
        let nothing = arrow::array::new_null_array(times.schema.field(0).data_type(), 2);
        times.holds(&times.reached, &nothing, &[FIRST_US, LAST_US])?;
        Ok(times)
    }

    fn holds(&self, condition: &Arc<dyn PhysicalExpr>, values: &ArrayRef, now_us: &[i64]) -> Result<BooleanArray> {
        let counted: ArrayRef = Arc::new(now_us.iter().map(|us| us * 1_000).collect::<Int64Array>());
        let now = cast(&counted, self.schema.field(1).data_type()).map_err(|e| Error::bug(e.to_string()))?;
        evaluate_filter(condition, &batch_of(&self.schema, vec![values.clone(), now], values.len())?)
    }

    /// For each value that is not NULL the first moment at which the time is at it, or with `passed` past it.
    fn first(&self, values: &ArrayRef, passed: bool) -> Result<Vec<i64>> {
        match self.shift {
            Some((shift, unit)) => self.reckoned(values, passed, shift, unit),
            None => self.searched(values, passed),
        }
    }

    fn reckoned(&self, values: &ArrayRef, passed: bool, shift: i64, unit: TimeUnit) -> Result<Vec<i64>> {
        let counts = cast(values, &arrow::datatypes::DataType::Int64).map_err(|e| Error::bug(e.to_string()))?;
        let counts = counts.as_primitive::<Int64Type>();
        let scale: i128 = match unit {
            TimeUnit::Nanosecond => 1,
            TimeUnit::Microsecond => 1_000,
            TimeUnit::Millisecond => 1_000_000,
            TimeUnit::Second => 1_000_000_000,
        };
        Ok(counts
            .values()
            .iter()
            .map(|count| {
                let count = i128::from(*count) + i128::from(passed);
                // Cut towards 1970: before it a count holds for what comes after the one below.
                let least_ns = if count > 0 { count * scale } else { (count - 1) * scale + 1 };
                let us = (least_ns - i128::from(shift) + 999).div_euclid(1_000);
                if us > i128::from(LAST_US) {
                    NEVER
                } else if us <= i128::from(FIRST_US) {
                    ALWAYS
                } else {
                    us as i64
                }
            })
            .collect())
    }

    /// By halving the time in which it can be.
    fn searched(&self, values: &ArrayRef, passed: bool) -> Result<Vec<i64>> {
        let condition = if passed { &self.passed } else { &self.reached };
        let rows = values.len();
        let always = self.holds(condition, values, &vec![FIRST_US; rows])?;
        let ever = self.holds(condition, values, &vec![LAST_US; rows])?;
        // It does not hold at `low`, and does at `high`.
        let (mut low, mut high) = (vec![FIRST_US; rows], vec![LAST_US; rows]);
        let mut width = LAST_US - FIRST_US;
        while width > 1 {
            let middle: Vec<i64> = low.iter().zip(&high).map(|(l, h)| l + (h - l) / 2).collect();
            let holds = self.holds(condition, values, &middle)?;
            for row in 0..rows {
                *(if holds.value(row) { &mut high[row] } else { &mut low[row] }) = middle[row];
            }
            width -= width / 2;
        }
        let found = |row: usize| match (always.value(row), ever.value(row)) {
            (true, _) => ALWAYS,
            (_, false) => NEVER,
            _ => high[row],
        };
        Ok((0..rows).map(found).collect())
    }
}

impl Bound {
    /// Narrows the moments in which rows are valid.
    fn narrow(&self, batch: &RecordBatch, from: &mut [i64], until: &mut [i64]) -> Result<()> {
        let values = evaluate(&self.value, batch)?;
        let mut begin = |passed| -> Result<()> {
            self.times.first(&values, passed)?.into_iter().zip(&mut *from).for_each(|(at, from)| *from = at.max(*from));
            Ok(())
        };
        match self.edge {
            Edge::AfterReached | Edge::WhileEqual => begin(false)?,
            Edge::AfterPassed => begin(true)?,
            Edge::UntilReached | Edge::UntilPassed => {}
        }
        let mut end = |passed| -> Result<()> {
            self.times.first(&values, passed)?.into_iter().zip(&mut *until).for_each(|(at, to)| *to = at.min(*to));
            Ok(())
        };
        match self.edge {
            Edge::UntilPassed | Edge::WhileEqual => end(true)?,
            Edge::UntilReached => end(false)?,
            Edge::AfterReached | Edge::AfterPassed => {}
        }
        if let Some(nulls) = values.logical_nulls() {
            (0..values.len()).filter(|row| nulls.is_null(*row)).for_each(|row| from[row] = NEVER);
        }
        Ok(())
    }
}

/// Rows that a later moment changes, by when it does.
#[derive(Default)]
struct Held {
    rows: Arrangement,
    due: BTreeSet<(i64, u32)>,
    /// By slot: when that is.
    at: Vec<i64>,
    /// Slots that were fetched, and are not in `due` yet.
    fetched: Vec<u32>,
}

impl Held {
    fn add(&mut self, row: &[u8], weight: i64, due: i64) {
        let touched = self.rows.add(hash_bytes(&[]), &[], hash_bytes(row), row, weight);
        if self.rows.weight(touched.slot) == 0 {
            self.due.remove(&(due, touched.slot));
        } else if touched.old == 0 {
            self.date(touched.slot, due);
        }
    }

    fn date(&mut self, slot: u32, due: i64) {
        resize(&mut self.at, self.rows.slots(), NEVER);
        self.at[slot as usize] = due;
        self.due.insert((due, slot));
    }

    /// Takes out the rows whose moment has come.
    fn take(&mut self, now_us: i64, codec: &RowCodec, schema: &SchemaRef, resident: &mut Resident) -> Result<Delta> {
        let mut slots = vec![];
        while let Some((_, slot)) = self.due.first().filter(|(at, _)| *at <= now_us).copied() {
            self.due.pop_first();
            slots.push(slot);
        }
        let rows: Vec<&[u8]> = slots.iter().map(|s| self.rows.row(*s)).collect();
        let weights = slots.iter().map(|s| self.rows.weight(*s)).collect();
        let taken = Delta::weighted(codec.decode_batch(schema, &rows)?, weights)?;
        slots.iter().for_each(|slot| resident.dropped(self.rows.row_hash(*slot)));
        self.rows.drop_rows(&slots);
        Ok(taken)
    }

    fn bytes(&self) -> usize {
        // Two thirds of a tree's places are in use.
        self.rows.bytes() + self.due.len() * size_of::<(i64, u32)>() * 3 / 2 + self.at.capacity() * 8
    }
}

/// What is held of the rows.
#[derive(Default)]
struct Shard {
    /// Not valid yet, by when they will be.
    waiting: Held,
    /// Put out, by when they have to go.
    shown: Held,
    /// When something changes next of what has left memory, or before that.
    next: Option<i64>,
    resident: Resident,
}

impl Shard {
    /// By the number of its table.
    fn held(&mut self, table: u8) -> &mut Held {
        if table == 0 { &mut self.waiting } else { &mut self.shown }
    }

    /// When something changes next of what is in memory.
    fn first_held(&self) -> Option<i64> {
        self.waiting.due.first().into_iter().chain(self.shown.due.first()).map(|(at, _)| *at).min()
    }
}

/// Rows that wait, then those that are shown. Each row is looked up by itself.
impl TableShard for Shard {
    fn hash_of(_: u8) -> fn(&[u8], &[u8]) -> u64 {
        |_, row| hash_bytes(row)
    }

    fn tables(&self) -> Vec<&Arrangement> {
        vec![&self.waiting.rows, &self.shown.rows]
    }

    fn fetch(&mut self, table: u8, key: &[u8], row: &[u8], weight: i64) {
        let held = self.held(table);
        held.fetched.extend(held.rows.fetch(key, row, weight));
    }

    fn dues(&self, full: bool) -> Vec<Due> {
        let mut out = vec![];
        for (column, held) in (0..).zip([&self.waiting, &self.shown]) {
            let due = |slot| Due { time: held.at[slot as usize], column, hash: held.rows.row_hash(slot) };
            out.extend(held.rows.changed(full).into_iter().map(due));
        }
        out
    }

    fn has(&self, hash: u64) -> bool {
        self.waiting.rows.has_row_hash(hash) || self.shown.rows.has_row_hash(hash)
    }

    fn written(&mut self) {
        self.waiting.rows.mark_saved();
        self.shown.rows.mark_saved();
        self.resident.written(|hash| self.waiting.rows.has_row_hash(hash) || self.shown.rows.has_row_hash(hash));
    }

    fn emptied(&self) -> Self {
        Self { next: self.next.into_iter().chain(self.first_held()).min(), ..Self::default() }
    }

    fn resident(&mut self) -> &mut Resident {
        &mut self.resident
    }
}

paged_shards!(TemporalFilter);

/// See the module.
pub(crate) struct TemporalFilter {
    bounds: Vec<Bound>,
    schema: SchemaRef,
    codec: RowCodec,
    /// One.
    shards: Vec<Shard>,
    pages: Option<Pages>,
    guard: Guard,
}

/// Rows with the moments from which and until which they are valid.
struct Dated {
    rows: Delta,
    from: Vec<i64>,
    until: Vec<i64>,
}

impl TemporalFilter {
    pub(crate) fn new(bounds: Vec<Bound>, schema: SchemaRef, guard: Guard) -> Result<Self> {
        let codec = RowCodec::for_schema(&schema)?;
        Ok(Self { bounds, schema, codec, shards: vec![Shard::default()], pages: None, guard })
    }

    fn date(&self, rows: &Delta) -> Result<Dated> {
        let (mut from, mut until) = (vec![ALWAYS; rows.len()], vec![NEVER; rows.len()]);
        for bound in &self.bounds {
            bound.narrow(&rows.batch, &mut from, &mut until)?;
        }
        Ok(Dated { rows: rows.clone(), from, until })
    }

    /// Brings back what has left memory of what is due.
    fn fetch_due(&mut self, now_us: i64) -> Result<()> {
        let until = [Some(now_us + 1); 2];
        if !self.shards.iter().any(|s| s.next.is_some_and(|next| next <= now_us)) {
            // What is due is all in memory.
            self.pages.iter().for_each(|pages| pages.pass(&until));
            return Ok(());
        }
        fetch_due(&mut self.shards, self.pages.as_ref(), &until)?;
        let next = self.first_due()?;
        self.shards.iter_mut().for_each(|s| s.next = next);
        self.date_fetched()
    }

    /// When something changes next of what has left memory, or before that.
    fn first_due(&self) -> Result<Option<i64>> {
        self.pages.as_ref().map_or(Ok(None), |pages| pages.first_due(2))
    }

    /// Brings back what has left memory of rows.
    fn fetch(&mut self, rows: [(&Encoded, usize); 2]) -> Result<()> {
        let Some(reader) = self.pages.as_ref().and_then(Pages::reader) else { return Ok(()) };
        let hashes: Vec<u64> = rows.iter().flat_map(|(rows, count)| rows.hashes(*count)).collect();
        for shard in &mut self.shards {
            fetch_rows(shard, Some(reader), hashes.iter().copied())?;
        }
        self.date_fetched()
    }

    fn date_fetched(&mut self) -> Result<()> {
        for n in 0..self.shards.len() {
            for table in 0..2 {
                let held = self.shards[n].held(table);
                let mut slots = std::mem::take(&mut held.fetched);
                slots.retain(|slot| held.rows.is_held(*slot));
                slots.sort_unstable();
                slots.dedup();
                self.date_slots(n, table, &slots)?;
            }
        }
        Ok(())
    }

    /// When rows that were fetched or loaded change.
    fn date_slots(&mut self, shard: usize, table: u8, slots: &[u32]) -> Result<()> {
        for slots in slots.chunks(PIECE_ROWS) {
            let held = self.shards[shard].held(table);
            let rows: Vec<&[u8]> = slots.iter().map(|s| held.rows.row(*s)).collect();
            let rows = self.codec.decode_batch(&self.schema, &rows)?;
            let dated = self.date(&Delta::insert(rows))?;
            let at = if table == 0 { dated.from } else { dated.until };
            let held = self.shards[shard].held(table);
            slots.iter().zip(at).for_each(|(slot, at)| held.date(*slot, at));
        }
        Ok(())
    }

    /// Takes rows in and gives those that are valid now.
    fn sort_in(&mut self, dated: &Dated, now_us: i64) -> Result<Delta> {
        let (mut valid, mut waits, mut ends) = (vec![], vec![], vec![]);
        for (row, (from, until)) in dated.from.iter().zip(&dated.until).enumerate() {
            if *until <= now_us || from >= until {
                continue;
            }
            let row = row as u32;
            if *from > now_us {
                // What never comes is not waited for.
                waits.extend((*from != NEVER).then_some(row));
                continue;
            }
            valid.push(row);
            ends.extend((*until != NEVER).then_some(row));
        }
        let kept = [part(&dated.rows, &waits)?, part(&dated.rows, &ends)?];
        let [waiting, shown] =
            [self.codec.encode(kept[0].batch.columns())?, self.codec.encode(kept[1].batch.columns())?];
        self.fetch([(&waiting, waits.len()), (&shown, ends.len())])?;
        let of = [(0, &waits, &waiting, &dated.from), (1, &ends, &shown, &dated.until)];
        for shard in &mut self.shards {
            for (table, rows, encoded, due) in of {
                let held = shard.held(table);
                for (i, row) in rows.iter().enumerate() {
                    held.add(encoded.row(i), dated.rows.weight(*row as usize), due[*row as usize]);
                }
                held.rows.sweep();
            }
        }
        part(&dated.rows, &valid)
    }

    /// Takes out the rows of a table whose moment has come.
    fn take(&mut self, table: u8, now_us: i64) -> Result<Delta> {
        let mut outs = vec![];
        for shard in &mut self.shards {
            let Shard { waiting, shown, resident, .. } = shard;
            let held = if table == 0 { waiting } else { shown };
            outs.push(held.take(now_us, &self.codec, &self.schema, resident)?);
        }
        concat_deltas(&self.schema, &outs)
    }
}

/// Some rows of a delta.
fn part(delta: &Delta, rows: &[u32]) -> Result<Delta> {
    if rows.len() == delta.len() { Ok(delta.clone()) } else { delta.take(&UInt32Array::from(rows.to_vec())) }
}

impl Operator for TemporalFilter {
    fn only_adds(&self, _: usize) -> bool {
        true
    }

    fn step(&mut self, inputs: &[Delta], context: StepContext) -> Result<Delta> {
        let now_us = context.now_us;
        // First the rows that are here: what the input takes back may be among them.
        self.fetch_due(now_us)?;
        let gone = self.take(1, now_us)?;
        let weights = (0..gone.len()).map(|i| -gone.weight(i)).collect();
        let mut outs = vec![Delta::weighted(gone.batch, weights)?];
        let come = self.take(0, now_us)?;
        let mut left = Left::new();
        for rows in [&come, &inputs[0]] {
            for dated in self.guard.run(rows, &mut left, &|rows| self.date(rows))?.into_iter().flatten() {
                outs.push(self.sort_in(&dated, now_us)?);
            }
        }
        self.guard.note(left);
        concat_deltas(&self.schema, &outs)
    }

    fn wants_step(&self, context: StepContext) -> bool {
        self.due_us().is_some_and(|due| due <= context.now_us)
    }

    fn follows_clock(&self) -> bool {
        true
    }

    fn due_us(&self) -> Option<i64> {
        self.shards.iter().flat_map(|s| s.first_held().into_iter().chain(s.next)).min()
    }

    fn paged(&mut self) -> Option<&mut dyn Paged> {
        Some(self)
    }

    fn pages(&self) -> Option<&Pages> {
        self.pages.as_ref()
    }

    fn describe(&self) -> String {
        let bounds: Vec<&str> = self.bounds.iter().map(|b| b.text.as_str()).collect();
        format!("TemporalFilter: {}", bounds.join(" AND "))
    }

    fn state_rows(&self) -> usize {
        let held = self.shards.iter().map(|s| s.waiting.rows.len() + s.shown.rows.len()).sum();
        self.pages.as_ref().map_or(held, |p| p.dated_rows(held, 1))
    }

    fn state_bytes(&self) -> usize {
        let shard = |s: &Shard| s.waiting.bytes() + s.shown.bytes() + s.resident.bytes();
        self.pages.as_ref().map_or(0, Pages::bytes) + self.shards.iter().map(shard).sum::<usize>()
    }

    fn save(&mut self, full: bool) -> Result<Vec<RecordBatch>> {
        let held = self.shards.iter_mut().flat_map(|s| [(0, &mut s.waiting), (1, &mut s.shown)]);
        held.map(|(part, held)| changes_to_batch(part, &held.rows.take_changes(full))).collect()
    }

    fn load(&mut self, batch: &RecordBatch) -> Result<()> {
        let shards = &mut self.shards;
        changes_from_batch(batch, |part, key, row, weight| {
            shards.iter_mut().for_each(|s| s.held(part).rows.restore(key, row, weight));
        })?;
        self.shards.iter_mut().for_each(TableShard::written);
        Ok(())
    }

    fn loaded(&mut self) -> Result<()> {
        for n in 0..self.shards.len() {
            for table in 0..2 {
                let held = self.shards[n].held(table);
                (held.due, held.fetched) = (BTreeSet::new(), vec![]);
                let slots: Vec<u32> = held.rows.iter().collect();
                self.date_slots(n, table, &slots)?;
            }
            self.shards[n].next = self.first_due()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
