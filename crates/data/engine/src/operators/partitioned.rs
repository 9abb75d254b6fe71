//! A plan whose answer for one key depends only on the rows of that key (window functions with PARTITION BY, aggregates
//! without an accumulator of ours): the batch engine runs it again over the keys that changed, and only those.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::physical_expr::PhysicalExpr;
use fleuve_types::{Delta, Result};

use super::timed::{find_fetched, find_keys};
use super::{Cell, Operator, PlanRunner, StepContext, evaluate};
use crate::state::runs::{Merge, Run};
use crate::state::{
    Arrangement, Due, Entries, OpenKeys, Paged, Pages, Resident, Room, RowCodec, TableShard, Target,
    changes_from_batch, changes_to_batch, copy_shards, fetch_due, fetch_rows, hash_bytes, take_all_rows, times_at,
    times_of, write_shards,
};

pub(crate) struct Partitioned {
    pub(crate) label: String,
    /// The key of an input row.
    pub(crate) input_keys: Vec<Arc<dyn PhysicalExpr>>,
    /// The key of an output row.
    pub(crate) output_keys: Vec<Arc<dyn PhysicalExpr>>,
    pub(crate) cell: Cell,
    pub(crate) plan: PlanRunner,
    pub(crate) input_schema: SchemaRef,
    pub(crate) schema: SchemaRef,
    /// Keys that carry event time, by number: their rows are dropped when the watermark has passed them.
    close_by: Vec<usize>,
    key_codec: RowCodec,
    input_codec: RowCodec,
    output_codec: RowCodec,
    state: State,
    pages: Option<Pages>,
}

#[derive(Default)]
struct State {
    input: Arrangement,
    output: Arrangement,
    /// Keys by event time.
    open: OpenKeys,
    resident: Resident,
}

/// Rows that came in, then rows of the answer.
impl TableShard for State {
    fn tables(&self) -> Vec<&Arrangement> {
        vec![&self.input, &self.output]
    }

    fn fetch(&mut self, table: u8, key: &[u8], row: &[u8], weight: i64) {
        let rows = if table == 0 { &mut self.input } else { &mut self.output };
        rows.fetch(key, row, weight);
    }

    fn dues(&self, full: bool) -> Vec<Due> {
        let mut out = vec![];
        self.open.dues(&self.input, full, &mut out);
        out
    }

    fn written(&mut self) {
        self.input.mark_saved();
        self.output.mark_saved();
        self.resident.written(|hash| self.input.has_key_hash(hash));
    }

    fn has(&self, hash: u64) -> bool {
        self.input.has_key_hash(hash)
    }

    fn emptied(&self) -> Self {
        Self { open: self.open.emptied(), ..Self::default() }
    }

    fn resident(&mut self) -> &mut Resident {
        &mut self.resident
    }
}

impl Paged for Partitioned {
    fn pages(&mut self) -> &mut Option<Pages> {
        &mut self.pages
    }

    fn write(&mut self, target: &Target<'_>) -> Result<Vec<Arc<Run>>> {
        write_shards(target, std::slice::from_ref(&self.state))
    }

    fn copy(&mut self, target: &Target<'_>, room: &Room) -> Result<Vec<Entries>> {
        Ok(copy_shards(target, std::slice::from_mut(&mut self.state), room))
    }

    fn written(&mut self) {
        self.state.written();
    }

    fn drop_all(&mut self) -> Result<()> {
        self.state = self.state.emptied();
        Ok(())
    }

    fn take_all(&mut self, all: Merge) -> Result<()> {
        take_all_rows(std::slice::from_mut(&mut self.state), all)
    }
}

/// What lowering says about a partitioned plan.
pub(crate) struct PartitionedSpec {
    pub(crate) label: String,
    pub(crate) input_keys: Vec<Arc<dyn PhysicalExpr>>,
    pub(crate) output_keys: Vec<Arc<dyn PhysicalExpr>>,
    pub(crate) key_types: Vec<DataType>,
    pub(crate) cell: Cell,
    pub(crate) plan: PlanRunner,
    pub(crate) input_schema: SchemaRef,
    pub(crate) schema: SchemaRef,
}

impl Partitioned {
    pub(crate) fn new(spec: PartitionedSpec) -> Result<Self> {
        Ok(Self {
            key_codec: RowCodec::new(spec.key_types)?,
            input_codec: RowCodec::for_schema(&spec.input_schema)?,
            output_codec: RowCodec::for_schema(&spec.schema)?,
            label: spec.label,
            input_keys: spec.input_keys,
            output_keys: spec.output_keys,
            cell: spec.cell,
            plan: spec.plan,
            input_schema: spec.input_schema,
            schema: spec.schema,
            close_by: vec![],
            state: State::default(),
            pages: None,
        })
    }

    /// Drops rows when the watermark has passed one of these keys, which carry event time.
    pub(crate) fn close_by(&mut self, keys: Vec<usize>) {
        self.state.open = OpenKeys::new(keys.len());
        self.close_by = keys;
    }
}

/// A row as often as its weight says, in the order of its bytes: the same rows always give the same batch.
pub(super) fn expand<'a>(arrangement: &'a Arrangement, slots: impl Iterator<Item = u32>, out: &mut Vec<&'a [u8]>) {
    let from = out.len();
    for slot in slots {
        for _ in 0..arrangement.weight(slot) {
            out.push(arrangement.row(slot));
        }
    }
    out[from..].sort_unstable();
}

impl Operator for Partitioned {
    fn step(&mut self, inputs: &[Delta], _: StepContext) -> Result<Delta> {
        let delta = &inputs[0];
        let state = &mut self.state;
        let columns = self.input_keys.iter().map(|k| evaluate(k, &delta.batch)).collect::<Result<Vec<_>>>()?;
        let keys = self.key_codec.encode(&columns)?;
        let rows = self.input_codec.encode(delta.batch.columns())?;
        let reader = self.pages.as_ref().and_then(Pages::reader);
        let fetched = fetch_rows(state, reader, (0..delta.len()).map(|i| hash_bytes(keys.row(i))))?;
        find_fetched(&fetched, &self.key_codec, &self.close_by, &mut state.open)?;
        let times = self.close_by.iter().map(|k| times_of(&columns[*k])).collect::<Result<Vec<_>>>()?;
        let mut touched: Vec<&[u8]> = Vec::new();
        for i in 0..delta.len() {
            let (key, row) = (keys.row(i), rows.row(i));
            state.input.add(hash_bytes(key), key, hash_bytes(row), row, delta.weight(i));
            if !state.open.is_off() {
                state.open.note(hash_bytes(key), key, times_at(&times, i));
            }
            touched.push(key);
        }
        touched.sort_unstable();
        touched.dedup();
        let mut now: Vec<&[u8]> = Vec::new();
        for key in &touched {
            if let Some(slot) = state.input.key_slot(hash_bytes(key), key) {
                expand(&state.input, state.input.rows_of(slot), &mut now);
            }
        }
        let answer = if now.is_empty() {
            RecordBatch::new_empty(self.schema.clone())
        } else {
            self.cell.set(vec![self.input_codec.decode_batch(&self.input_schema, &now)?]);
            let answer = self.plan.run()?;
            self.cell.set(vec![]);
            answer
        };
        state.input.sweep();
        let columns = self.output_keys.iter().map(|k| evaluate(k, &answer)).collect::<Result<Vec<_>>>()?;
        let answer_keys = self.key_codec.encode(&columns)?;
        let answer_rows = self.output_codec.encode(answer.columns())?;
        let mut changes = Changes::default();
        for key in &touched {
            if let Some(slot) = state.output.key_slot(hash_bytes(key), key) {
                for slot in state.output.rows_of(slot) {
                    changes.note(key, state.output.row(slot), -state.output.weight(slot));
                }
            }
        }
        for i in 0..answer.num_rows() {
            changes.note(answer_keys.row(i), answer_rows.row(i), 1);
        }
        changes.apply(&mut state.output, &self.output_codec, &self.schema)
    }

    fn close(&mut self, watermarks: &[Option<i64>]) -> Result<Option<Delta>> {
        let state = &mut self.state;
        for fetched in fetch_due(std::slice::from_mut(state), self.pages.as_ref(), watermarks)? {
            find_fetched(&fetched, &self.key_codec, &self.close_by, &mut state.open)?;
        }
        for key in state.open.closed(watermarks) {
            let hash = hash_bytes(&key);
            state.input.drop_key(hash, &key);
            state.output.drop_key(hash, &key);
            state.resident.dropped(hash);
        }
        Ok(None)
    }

    fn closing(&self) -> Option<&'static str> {
        (!self.close_by.is_empty()).then_some("rows of closed windows are dropped")
    }

    fn loaded(&mut self) -> Result<()> {
        if self.close_by.is_empty() {
            return Ok(());
        }
        let state = &mut self.state;
        find_keys(&state.input, &self.key_codec, &self.close_by, &mut state.open)
    }

    fn describe(&self) -> String {
        let keys: Vec<String> = self.input_keys.iter().map(ToString::to_string).collect();
        format!("Partitioned by [{}]: {}", keys.join(", "), self.label)
    }

    fn paged(&mut self) -> Option<&mut dyn Paged> {
        (!self.input_keys.is_empty()).then_some(self as &mut dyn Paged)
    }

    fn pages(&self) -> Option<&Pages> {
        self.pages.as_ref()
    }

    fn state_rows(&self) -> usize {
        let held = self.state.input.len() + self.state.output.len();
        self.pages.as_ref().map_or(held, |p| p.rows(held))
    }

    fn state_bytes(&self) -> usize {
        let resident = self.state.resident.bytes() + self.pages.as_ref().map_or(0, Pages::bytes);
        resident + self.state.input.bytes() + self.state.output.bytes() + self.state.open.bytes()
    }

    fn save(&mut self, full: bool) -> Result<Vec<RecordBatch>> {
        Ok(vec![
            changes_to_batch(0, &self.state.input.take_changes(full))?,
            changes_to_batch(1, &self.state.output.take_changes(full))?,
        ])
    }

    fn load(&mut self, batch: &RecordBatch) -> Result<()> {
        let state = &mut self.state;
        changes_from_batch(batch, |part, key, row, weight| {
            let arrangement = if part == 0 { &mut state.input } else { &mut state.output };
            arrangement.restore(key, row, weight);
        })?;
        state.input.mark_saved();
        state.output.mark_saved();
        Ok(())
    }
}

/// Old and new answer rows against each other.
#[derive(Default)]
pub(super) struct Changes {
    at: std::collections::HashMap<Vec<u8>, usize>,
    rows: Vec<(Vec<u8>, Vec<u8>, i64)>,
}

impl Changes {
    pub(super) fn note(&mut self, key: &[u8], row: &[u8], weight: i64) {
        match self.at.get(row) {
            Some(at) => self.rows[*at].2 += weight,
            None => {
                self.at.insert(row.to_vec(), self.rows.len());
                self.rows.push((key.to_vec(), row.to_vec(), weight));
            }
        }
    }

    /// Brings `output` up to date and gives the difference.
    pub(super) fn apply(self, output: &mut Arrangement, codec: &RowCodec, schema: &SchemaRef) -> Result<Delta> {
        let changed: Vec<(Vec<u8>, Vec<u8>, i64)> = self.rows.into_iter().filter(|(_, _, w)| *w != 0).collect();
        for (key, row, weight) in &changed {
            output.add(hash_bytes(key), key, hash_bytes(row), row, *weight);
        }
        output.sweep();
        let rows: Vec<&[u8]> = changed.iter().map(|(_, r, _)| r.as_slice()).collect();
        Delta::weighted(codec.decode_batch(schema, &rows)?, changed.iter().map(|(_, _, w)| *w).collect())
    }
}
