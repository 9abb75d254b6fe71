//! Window functions over one PARTITION BY and ORDER BY. Each partition's rows are held in their order with the values of the
//! functions beside them. A change computes the values of the rows that it can reach, and only those: see [`Reach`].
//!
//! DataFusion's window functions compute them, over a part of the partition in its order, ties broken by the whole row.

mod accumulated;
mod alone;
mod range;
mod running;

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::datatypes::SchemaRef;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::window::WindowExpr;
use fleuve_types::{Delta, Error, Result};

use super::arrivals::Arrivals;
use super::map::concat;
use super::named::of_keys;
use super::order::SortedRows;
use super::shard::{for_each, shard_of, split};
use super::timed::{find_fetched, find_keys};
use super::{Operator, StepContext, evaluate, words_of};
use crate::state::{
    Arrangement, Due, FetchedKeys, OpenKeys, Ordered, Paged, Pages, Part, Resident, RowCodec, TableShard, Values,
    absent_rows, batch_of, changes_from_batch, changes_to_batch, fetch_due, fetch_rows, hash_bytes, paged_shards,
    times_of,
};
pub(crate) use accumulated::{TAKEN_UP, state_types};
pub(crate) use alone::is_possible as can_be_alone;
pub(crate) use range::Distance;
use range::{Partition, Piece};
pub(crate) use running::Running;

/// Which rows of a partition the value of a row depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Those from so many rows before it to so many rows after it.
    Rows { before: u64, after: u64 },
    /// Those whose sort key is in a distance from its own.
    Values(Distance),
    /// Those before it and its peers, and what those before its peers give is known from the row before them.
    Running(Running),
    /// All.
    Partition,
}

/// A call of a window function.
pub(crate) struct WindowCall {
    pub(crate) expr: Arc<dyn WindowExpr>,
    pub(crate) reach: Reach,
    /// What passes, if the call goes on from its state; other calls have it in their expression.
    pub(crate) filter: Option<Arc<dyn PhysicalExpr>>,
    /// The value of each row is computed by itself, so that it is exactly the same whatever else is computed.
    pub(crate) alone: bool,
    /// For EXPLAIN.
    pub(crate) label: String,
    /// As people write it.
    pub(crate) words: String,
}

/// What lowering says about window functions.
pub(crate) struct WindowSpec {
    /// The partition of a row; none is one partition.
    pub(crate) keys: Vec<Arc<dyn PhysicalExpr>>,
    pub(crate) rows: SortedRows,
    pub(crate) calls: Vec<WindowCall>,
    pub(crate) input_schema: SchemaRef,
    /// The columns of the input, then one for each call.
    pub(crate) schema: SchemaRef,
}

/// See the module.
pub(crate) struct Window {
    spec: WindowSpec,
    key_codec: RowCodec,
    codecs: Codecs,
    shards: Vec<Shard>,
    pages: Option<Pages>,
    /// Keys that carry event time, by number: partitions are dropped when the watermark has passed them.
    close_by: Vec<usize>,
}

/// How what lies beside a row is written.
struct Codecs {
    values: RowCodec,
    /// The states of all calls that go on from theirs, one after the other; `None` if no call does.
    states: Option<RowCodec>,
    /// By call: which columns of them are its own.
    places: Vec<Range<usize>>,
}

impl Codecs {
    fn new(spec: &WindowSpec) -> Result<Self> {
        let inputs = spec.input_schema.fields().len();
        let values = spec.schema.fields().iter().skip(inputs).map(|f| f.data_type().clone()).collect();
        let (mut types, mut places) = (vec![], vec![]);
        for call in &spec.calls {
            let start = types.len();
            if call.reach == Reach::Running(Running::State) {
                types.extend(state_types(call.expr.as_ref()).ok_or_else(|| Error::bug("a call without a state"))?);
            }
            places.push(start..types.len());
        }
        let states = (!types.is_empty()).then(|| RowCodec::new(types)).transpose()?;
        Ok(Self { values: RowCodec::new(values)?, states, places })
    }
}

#[derive(Default)]
struct Shard {
    rows: Ordered,
    /// Not saved: they follow from the rows.
    values: Values,
    /// Neither are the states that calls had at the rows.
    states: Values,
    /// Partitions by event time.
    open: OpenKeys,
    resident: Resident,
}

impl Shard {
    /// Takes away what is beside all copies of a row but the first `copies`; gives the values.
    fn truncate(&mut self, slot: u32, copies: u64) -> Vec<Box<[u8]>> {
        self.states.truncate(slot, copies);
        self.values.truncate(slot, copies)
    }
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

paged_shards!(Window);

/// A row in its slot, the bytes of its values, and how many of it came or went.
type Change = (u32, Box<[u8]>, i64);

impl Window {
    pub(crate) fn new(spec: WindowSpec, shards: usize) -> Result<Self> {
        let types = spec
            .keys
            .iter()
            .map(|k| k.data_type(&spec.input_schema).map_err(|e| Error::bug(e.to_string())))
            .collect::<Result<Vec<_>>>()?;
        let shards = if types.is_empty() { 1 } else { shards };
        Ok(Self {
            key_codec: RowCodec::new(types)?,
            codecs: Codecs::new(&spec)?,
            spec,
            shards: (0..shards).map(|_| Shard::default()).collect(),
            pages: None,
            close_by: vec![],
        })
    }

    /// Drops partitions when the watermark has passed one of these keys, which carry event time.
    pub(crate) fn close_by(&mut self, keys: Vec<usize>) {
        self.shards.iter_mut().for_each(|shard| shard.open = OpenKeys::new(keys.len()));
        self.close_by = keys;
    }
}

impl WindowSpec {
    /// Takes rows in; the values that they change are computed and put out, or not.
    fn take(
        &self,
        shard: &mut Shard,
        input: &Arrivals<'_>,
        rows: &[u32],
        codecs: &Codecs,
        puts_out: bool,
    ) -> Result<Delta> {
        let mut changes: Vec<Change> = vec![];
        let mut pieces: Vec<Piece> = vec![];
        for partition in input.partitions(rows, |_| true) {
            let (hash, key) = input.key_of(&partition);
            let arrived = input.sorted(partition);
            for (row, weight) in &arrived {
                let slot = shard.rows.add(hash, key, row, *weight);
                for value in shard.truncate(slot, shard.rows.weight(slot)) {
                    changes.push((slot, value, -1));
                }
            }
            let Some(key) = shard.rows.key_slot(hash, key).filter(|_| puts_out) else { continue };
            let changed: Vec<&[u8]> = arrived.into_iter().map(|(row, _)| row).collect();
            Partition::new(&shard.rows, &self.rows, key).pieces(&self.calls, &changed, &mut pieces)?;
        }
        self.refresh(shard, &pieces, codecs, &mut changes)?;
        let delta = self.answer(&shard.rows, &changes, &codecs.values);
        shard.rows.sweep();
        delta
    }

    /// Computes the values of partitions that were fetched: those that their rows had.
    fn find_values(&self, shard: &mut Shard, fetched: &FetchedKeys, codecs: &Codecs) -> Result<()> {
        let slots = fetched.iter().filter_map(|(_, key)| shard.rows.key_slot(hash_bytes(key), key));
        let pieces = slots.map(|key| Piece::whole(key, shard.rows.total(key))).filter(|p| !p.write.is_empty());
        let pieces: Vec<Piece> = pieces.collect();
        self.refresh(shard, &pieces, codecs, &mut vec![])
    }

    /// Computes the values of partitions that have none, of so many rows at once.
    fn complete(&self, shard: &mut Shard, keys: &[u32], codecs: &Codecs) -> Result<()> {
        let (mut pieces, mut waiting) = (vec![], 0);
        for key in keys {
            let first = range::copies(&shard.rows, *key, 0..1).next();
            if first.is_none_or(|(slot, copy)| shard.values.get(slot, copy).is_some()) {
                continue;
            }
            let rows = shard.rows.total(*key);
            pieces.push(Piece::whole(*key, rows));
            waiting += rows;
            if waiting >= ROWS_AT_ONCE {
                waiting = 0;
                self.refresh(shard, &std::mem::take(&mut pieces), codecs, &mut vec![])?;
            }
        }
        self.refresh(shard, &pieces, codecs, &mut vec![])
    }

    /// The rows of the partitions of a part with their values.
    fn told(&self, shard: &mut Shard, part: Part, codecs: &Codecs) -> Result<Delta> {
        let keys: Vec<u32> = shard.rows.arrangement().keys_in(part).collect();
        self.complete(shard, &keys, codecs)?;
        let (mut rows, mut values) = (vec![], vec![]);
        for key in keys {
            for (slot, copy) in range::copies(&shard.rows, key, 0..shard.rows.total(key)) {
                rows.push(shard.rows.row(slot));
                values.push(shard.values.get(slot, copy).ok_or_else(|| Error::bug("a row has no window value"))?);
            }
        }
        let mut columns = self.rows.decode(&rows)?;
        columns.extend(codecs.values.decode(values.into_iter())?);
        Ok(Delta::insert(batch_of(&self.schema, columns, rows.len())?))
    }

    /// Computes the values of the rows of `pieces`, keeps them, and notes what changed.
    fn refresh(&self, shard: &mut Shard, pieces: &[Piece], codecs: &Codecs, out: &mut Vec<Change>) -> Result<()> {
        // All rows and all values before a piece are decoded at once.
        let mut slots: Vec<(u32, u64)> = vec![];
        let (mut before, mut states): (Vec<&[u8]>, Vec<&[u8]>) = (vec![], vec![]);
        let mut places: Vec<Option<usize>> = vec![];
        for piece in pieces {
            slots.extend(range::copies(&shard.rows, piece.key, piece.read.clone()));
            let previous = piece.previous(&shard.rows);
            places.push(previous.map(|_| before.len()));
            if let Some((slot, copy)) = previous {
                let missing = || Error::bug("a row has no window value");
                before.push(shard.values.get(slot, copy).ok_or_else(missing)?);
                if codecs.states.is_some() {
                    states.push(shard.states.get(slot, copy).ok_or_else(missing)?);
                }
            }
        }
        if slots.is_empty() {
            return Ok(());
        }
        let rows: Vec<&[u8]> = slots.iter().map(|(slot, _)| shard.rows.row(*slot)).collect();
        let batch = batch_of(&self.input_schema, self.rows.decode(&rows)?, rows.len())?;
        let before = codecs.values.decode(before.into_iter())?;
        let states = codecs.states.as_ref().map(|codec| codec.decode(states.into_iter())).transpose()?;
        let states = states.unwrap_or_default();
        let mut columns: Vec<Vec<ArrayRef>> = vec![vec![]; self.calls.len()];
        let mut carried: Vec<Vec<ArrayRef>> = vec![vec![]; states.len()];
        let mut start = 0;
        for (piece, place) in pieces.iter().zip(places) {
            let rows = batch.slice(start, (piece.read.end - piece.read.start) as usize);
            for (n, call) in self.calls.iter().enumerate() {
                let own = codecs.places[n].clone();
                let at = |columns: &[ArrayRef]| place.map(|at| columns.iter().map(|c| c.slice(at, 1)).collect());
                let before = Before { value: place.map(|at| before[n].slice(at, 1)), state: at(&states[own.clone()]) };
                let (values, states) = self.evaluate(call, piece, &rows, before, n)?;
                columns[n].push(values);
                carried[own].iter_mut().zip(states).for_each(|(all, state)| all.push(state));
            }
            start += rows.num_rows();
        }
        let encoded = codecs.values.encode(&concat_each(&columns)?)?;
        let carried = codecs.states.as_ref().map(|codec| codec.encode(&concat_each(&carried)?)).transpose()?;
        let (mut start, mut row) = (0, 0);
        for piece in pieces {
            let skip = (piece.write.start - piece.read.start) as usize;
            let len = (piece.write.end - piece.write.start) as usize;
            for (slot, copy) in &slots[start + skip..start + skip + len] {
                let new = encoded.row(row);
                if shard.values.get(*slot, *copy) != Some(new) {
                    if let Some(old) = shard.values.set(*slot, *copy, new) {
                        out.push((*slot, old, -1));
                    }
                    out.push((*slot, new.into(), 1));
                }
                if let Some(carried) = &carried {
                    shard.states.set(*slot, *copy, carried.row(row));
                }
                row += 1;
            }
            start += (piece.read.end - piece.read.start) as usize;
        }
        Ok(())
    }

    /// The values of a call for the rows that a piece writes, and its states there if it goes on from them. `before` is of the row before them.
    fn evaluate(
        &self,
        call: &WindowCall,
        piece: &Piece,
        rows: &RecordBatch,
        before: Before,
        n: usize,
    ) -> Result<(ArrayRef, Vec<ArrayRef>)> {
        let skip = (piece.write.start - piece.read.start) as usize;
        let len = (piece.write.end - piece.write.start) as usize;
        let failed = |e: datafusion::error::DataFusionError| {
            let partition = self.partition_of(rows);
            Error::input(format!("window function {} failed{partition}: {}", call.words, e.strip_backtrace()))
        };
        let mut states = vec![];
        let values = match &call.reach {
            Reach::Running(Running::State) => {
                let rows = rows.slice(skip, len);
                let made = accumulated::evaluate(call, &rows, before.state.as_deref()).map_err(failed)?;
                let (values, carried) = made.ok_or_else(|| Error::bug("a call without a state"))?;
                states = carried;
                values
            }
            Reach::Running(running) => {
                let values = call.expr.evaluate(&rows.slice(skip, len)).map_err(failed)?;
                let values = running.go_on(values, before.value, piece.write.start);
                values.map_err(|e| {
                    let partition = self.partition_of(rows);
                    Error { message: format!("{}, in {}{partition}", e.message, call.words), ..e }
                })?
            }
            _ => match alone::evaluate(call, rows, skip, len).map_err(failed)? {
                Some(values) => values,
                None => call.expr.evaluate(rows).map_err(failed)?.slice(skip, len),
            },
        };
        let wanted = self.schema.field(self.input_schema.fields().len() + n).data_type();
        if values.data_type() == wanted {
            return Ok((values, states));
        }
        Ok((arrow::compute::cast(&values, wanted).map_err(|e| Error::bug(e.to_string()))?, states))
    }

    /// Which partition these rows are in, for messages.
    fn partition_of(&self, rows: &RecordBatch) -> String {
        let values = self.keys.iter().map(|k| evaluate(k, rows)).collect::<Result<Vec<_>>>().unwrap_or_default();
        let keys = if rows.num_rows() > 0 { of_keys(self.keys.iter().map(words_of), &values) } else { None };
        keys.map_or_else(String::new, |keys| format!(" in the partition {keys}"))
    }

    fn answer(&self, rows: &Ordered, changes: &[Change], codec: &RowCodec) -> Result<Delta> {
        if changes.is_empty() {
            return Ok(Delta::empty(self.schema.clone()));
        }
        let bytes: Vec<&[u8]> = changes.iter().map(|(slot, _, _)| rows.row(*slot)).collect();
        let mut columns = self.rows.decode(&bytes)?;
        columns.extend(codec.decode(changes.iter().map(|(_, value, _)| &value[..]))?);
        let batch = batch_of(&self.schema, columns, changes.len())?;
        Delta::weighted(batch, changes.iter().map(|(_, _, w)| *w).collect())
    }
}

impl Window {
    /// A step; what follows from it is put out or not. If not, no partition has values until it is told.
    fn take(&mut self, delta: &Delta, puts_out: bool) -> Result<Delta> {
        let spec = &self.spec;
        let columns = spec.keys.iter().map(|k| evaluate(k, &delta.batch)).collect::<Result<Vec<_>>>()?;
        let keys = self.key_codec.encode(&columns)?;
        let hashes = keys.hashes(delta.len());
        let rows = spec.rows.encode(&delta.batch)?;
        let input = Arrivals { delta, keys: &keys, hashes: &hashes, rows: &rows };
        let parts = split(&hashes, self.shards.len());
        let times = self.close_by.iter().map(|k| times_of(&columns[*k])).collect::<Result<Vec<_>>>()?;
        let (codecs, key_codec, close_by) = (&self.codecs, &self.key_codec, &self.close_by);
        let reader = self.pages.as_ref().and_then(Pages::reader);
        let outs = for_each(&mut self.shards, delta.len(), |s, shard| {
            let fetched = fetch_rows(shard, reader, parts[s].iter().map(|i| hashes[*i as usize]))?;
            find_fetched(&fetched, key_codec, close_by, &mut shard.open)?;
            shard.open.note_rows(&parts[s], &hashes, &keys, &times);
            if puts_out {
                spec.find_values(shard, &fetched, codecs)?;
            }
            spec.take(shard, &input, &parts[s], codecs, puts_out)
        })?;
        concat(&spec.schema, &outs)
    }
}

impl Operator for Window {
    fn step(&mut self, inputs: &[Delta], _: StepContext) -> Result<Delta> {
        self.take(&inputs[0], true)
    }

    /// With no key all rows would be told at once.
    fn can_hold_back(&self) -> bool {
        self.close_by.is_empty() && !self.spec.keys.is_empty()
    }

    fn take_in(&mut self, inputs: &[Delta], _: StepContext) -> Result<()> {
        self.take(&inputs[0], false).map(|_| ())
    }

    fn present_answer(&mut self, part: Part) -> Result<Delta> {
        let mut absent = absent_rows(&mut self.shards, self.pages.as_ref(), part)?;
        let (spec, codecs) = (&self.spec, &self.codecs);
        let mut outs = absent.iter_mut().map(|shard| spec.told(shard, part, codecs)).collect::<Result<Vec<_>>>()?;
        let held = self.shards.iter().map(|s| s.rows.len()).sum();
        outs.extend(for_each(&mut self.shards, held, |_, shard| spec.told(shard, part, codecs))?);
        concat(&spec.schema, &outs)
    }

    fn close(&mut self, watermarks: &[Option<i64>]) -> Result<Option<Delta>> {
        let fetched = fetch_due(&mut self.shards, self.pages.as_ref(), watermarks)?;
        for (shard, fetched) in self.shards.iter_mut().zip(&fetched) {
            find_fetched(fetched, &self.key_codec, &self.close_by, &mut shard.open)?;
            for key in shard.open.closed(watermarks) {
                shard.resident.dropped(hash_bytes(&key));
                for slot in shard.rows.drop_key(hash_bytes(&key), &key) {
                    shard.truncate(slot, 0);
                }
            }
            self.spec.find_values(shard, fetched, &self.codecs)?;
        }
        Ok(None)
    }

    fn closing(&self) -> Option<&'static str> {
        (!self.close_by.is_empty()).then_some("rows of closed windows are dropped")
    }

    fn describe(&self) -> String {
        let list = |items: Vec<String>| items.join(", ");
        let spec = &self.spec;
        let calls = spec.calls.iter().map(|c| format!("{}{}", c.label, range::text(&c.reach))).collect();
        let mut text = format!("Window: [{}]", list(calls));
        if !spec.keys.is_empty() {
            text.push_str(&format!(" by [{}]", list(spec.keys.iter().map(ToString::to_string).collect())));
        }
        if !spec.rows.keys.is_empty() {
            text.push_str(&format!(" order [{}]", list(spec.rows.keys.iter().map(ToString::to_string).collect())));
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
        let shard =
            |s: &Shard| s.rows.bytes() + s.values.bytes() + s.states.bytes() + s.open.bytes() + s.resident.bytes();
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
        let (spec, codecs) = (&self.spec, &self.codecs);
        let rows = self.shards.iter().map(|s| s.rows.len()).sum();
        for_each(&mut self.shards, rows, |_, shard| {
            let keys: Vec<u32> = shard.rows.keys();
            spec.complete(shard, &keys, codecs)
        })?;
        Ok(())
    }
}

/// What a call came to in the row before those that it is computed for.
struct Before {
    value: Option<ArrayRef>,
    state: Option<Vec<ArrayRef>>,
}

/// The parts of each column in one.
fn concat_each(columns: &[Vec<ArrayRef>]) -> Result<Vec<ArrayRef>> {
    let one = |parts: &Vec<ArrayRef>| {
        let parts: Vec<&dyn Array> = parts.iter().map(AsRef::as_ref).collect();
        arrow::compute::concat(&parts).map_err(|e| Error::bug(e.to_string()))
    };
    columns.iter().map(one).collect()
}

/// Values of whole partitions are computed for about so many rows at once.
const ROWS_AT_ONCE: u64 = 16_384;

#[cfg(test)]
mod tests;
