//! Any plan without an incremental operator: the batch engine runs it again over all its current input, and the difference
//! to the last answer is put out. EXPLAIN shows it, because it costs as much as the query itself in every epoch.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use fleuve_types::{Delta, Result};

use super::partitioned::{Changes, expand};
use super::{Cell, Operator, PlanRunner, StepContext};
use crate::state::{Arrangement, RowCodec, changes_from_batch, changes_to_batch, hash_bytes};

pub(crate) struct Recompute {
    label: String,
    inputs: Vec<Held>,
    plan: PlanRunner,
    schema: SchemaRef,
    codec: RowCodec,
    output: Arrangement,
}

struct Held {
    schema: SchemaRef,
    codec: RowCodec,
    cell: Cell,
    rows: Arrangement,
}

impl Recompute {
    /// `inputs` are the cells of `plan`, in the order of the operator's inputs.
    pub(crate) fn new(
        label: String,
        inputs: Vec<(Cell, SchemaRef)>,
        plan: PlanRunner,
        schema: SchemaRef,
    ) -> Result<Self> {
        let inputs = inputs
            .into_iter()
            .map(|(cell, schema)| {
                let codec = RowCodec::for_schema(&schema)?;
                Ok(Held { schema, codec, cell, rows: Arrangement::default() })
            })
            .collect::<Result<_>>()?;
        let codec = RowCodec::for_schema(&schema)?;
        Ok(Self { label, inputs, plan, schema, codec, output: Arrangement::default() })
    }
}

impl Operator for Recompute {
    fn step(&mut self, inputs: &[Delta], _: StepContext) -> Result<Delta> {
        let no_key = hash_bytes(&[]);
        for (held, delta) in self.inputs.iter_mut().zip(inputs) {
            let rows = held.codec.encode(delta.batch.columns())?;
            for i in 0..delta.len() {
                held.rows.add(no_key, &[], hash_bytes(rows.row(i)), rows.row(i), delta.weight(i));
            }
            held.rows.sweep();
            let mut all = Vec::new();
            expand(&held.rows, held.rows.iter(), &mut all);
            held.cell.set(vec![held.codec.decode_batch(&held.schema, &all)?]);
        }
        let answer = self.plan.run();
        for held in &self.inputs {
            held.cell.set(vec![]);
        }
        let answer = answer?;
        let rows = self.codec.encode(answer.columns())?;
        let mut changes = Changes::default();
        for slot in self.output.iter() {
            changes.note(&[], self.output.row(slot), -self.output.weight(slot));
        }
        for i in 0..answer.num_rows() {
            changes.note(&[], rows.row(i), 1);
        }
        changes.apply(&mut self.output, &self.codec, &self.schema)
    }

    fn wants_step(&self, context: StepContext) -> bool {
        context.first
    }

    fn describe(&self) -> String {
        format!("Recompute: {}", self.label)
    }

    fn state_rows(&self) -> usize {
        self.output.len() + self.inputs.iter().map(|i| i.rows.len()).sum::<usize>()
    }

    fn state_bytes(&self) -> usize {
        self.output.bytes() + self.inputs.iter().map(|i| i.rows.bytes()).sum::<usize>()
    }

    fn save(&mut self, full: bool) -> Result<Vec<RecordBatch>> {
        let mut out = vec![changes_to_batch(0, &self.output.take_changes(full))?];
        for (n, held) in self.inputs.iter_mut().enumerate() {
            out.push(changes_to_batch(n as u8 + 1, &held.rows.take_changes(full))?);
        }
        Ok(out)
    }

    fn load(&mut self, batch: &RecordBatch) -> Result<()> {
        let (inputs, output) = (&mut self.inputs, &mut self.output);
        changes_from_batch(batch, |part, key, row, weight| match part {
            0 => output.restore(key, row, weight),
            n => {
                if let Some(held) = inputs.get_mut(n as usize - 1) {
                    held.rows.restore(key, row, weight);
                }
            }
        })?;
        output.mark_saved();
        inputs.iter_mut().for_each(|i| i.rows.mark_saved());
        Ok(())
    }
}
