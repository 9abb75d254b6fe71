//! When rows of views that emit on window close are final, as their circuits tell it.

use std::collections::{BTreeMap, HashMap};

use arrow::array::{Array, AsArray, Int64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, TimeUnit};
use arrow::record_batch::RecordBatch;
use fleuve_engine::{Circuit, Engine, Mark, Published};
use fleuve_sql::{BoundObject, Closing, ObjectSet, Spec, StreamSpec, ViewSpec};
use fleuve_types::{Error, ObjectId, Result};

use super::relations::{Declared, event_column};

/// A watermark is looked for as far from one that is known: some three hundred years, in microseconds.
const FARTHEST_US: i64 = 1 << 53;

/// The circuits of a view and of the views below it, each after what it reads, and the streams that they follow.
pub struct Clocks<'a> {
    objects: &'a ObjectSet,
    engine: &'a Engine,
    circuits: Vec<(ObjectId, Circuit)>,
    streams: BTreeMap<ObjectId, &'a StreamSpec>,
}

impl<'a> Clocks<'a> {
    /// Those of a view.
    ///
    /// # Errors
    /// When it has no circuit.
    pub fn of(objects: &'a ObjectSet, engine: &'a Engine, bound: &BoundObject, view: &ViewSpec) -> Result<Self> {
        let mut new = Self { objects, engine, circuits: vec![], streams: BTreeMap::new() };
        new.add(bound.object.id, view)?;
        Ok(new)
    }

    fn add(&mut self, id: ObjectId, view: &ViewSpec) -> Result<()> {
        let declared = Declared { objects: self.objects, engine: self.engine };
        let circuit = self.engine.circuit(&view.plan, &declared, view.emit_on_close)?;
        for input in circuit.inputs() {
            let Some(bound) = self.objects.by_name.get(&input.table) else { continue };
            let id = bound.object.id;
            match &bound.spec {
                Spec::Stream(stream) if stream.watermark.is_some() => drop(self.streams.insert(id, stream)),
                Spec::View(view) if view.emit_on_close && self.circuits.iter().all(|(known, _)| *known != id) => {
                    self.add(id, view)?;
                }
                _ => {}
            }
        }
        self.circuits.push((id, circuit));
        Ok(())
    }

    /// The watermarks of the view's columns, given those of the streams in the units of their event times.
    fn marks(&self, of: impl Fn(ObjectId) -> Option<i64>) -> Result<Vec<Mark>> {
        let mut known: HashMap<ObjectId, Vec<Mark>> = HashMap::new();
        for (id, stream) in &self.streams {
            let mark = event_column(stream).zip(of(*id));
            known.insert(*id, mark.into_iter().collect());
        }
        let mut last = vec![];
        for (id, circuit) in &self.circuits {
            let id_of = |table: &(String, String)| self.objects.by_name.get(table).map(|bound| bound.object.id);
            let inputs = circuit.inputs().iter().map(|input| id_of(&input.table).and_then(|id| known.get(&id)));
            let inputs: Vec<Vec<Mark>> = inputs.map(|marks| marks.cloned().unwrap_or_default()).collect();
            last = circuit.marks_given(&inputs)?;
            known.insert(*id, last.clone());
        }
        Ok(last)
    }

    /// The same if all streams had this watermark.
    fn marks_at(&self, watermark_us: i64) -> Result<Vec<Mark>> {
        self.marks(|id| {
            let per_unit = micros_per_unit(self.streams.get(&id)?)?;
            Some(match per_unit {
                PerUnit::Micros(n) => watermark_us.div_euclid(n),
                PerUnit::Parts(n) => watermark_us.checked_mul(n)?,
            })
        })
    }

    /// When each of these rows is final.
    ///
    /// # Errors
    /// When event time passes through an expression that fails.
    pub fn closing(&self, published: &Published, rows: &RecordBatch) -> Result<Vec<Closing>> {
        let now_of = |id: ObjectId| published.times.get(&id)?.watermark;
        let now = self.marks(now_of)?;
        let in_us = |(id, stream): (&ObjectId, &&StreamSpec)| {
            Some(match micros_per_unit(stream)? {
                PerUnit::Micros(n) => now_of(*id)?.checked_mul(n)?,
                PerUnit::Parts(n) => now_of(*id)?.div_euclid(n),
            })
        };
        let watermark = self.streams.iter().map(in_us).min().flatten();
        let columns = self.circuits.last().map_or(vec![], |(_, circuit)| circuit.time_columns().all);
        let times = columns.iter().map(|c| Ok((*c, counted(rows, *c)?))).collect::<Result<Vec<_>>>()?;
        let mut known: HashMap<Vec<Mark>, Option<i64>> = HashMap::new();
        let mut one = |row: usize| -> Closing {
            let own: Vec<Mark> =
                times.iter().filter(|(_, t)| t.is_valid(row)).map(|(c, t)| (*c, t.value(row))).collect();
            let at = *known.entry(own.clone()).or_insert_with(|| self.least_beyond(&own, watermark));
            Closing { watermark, is_closed: has_passed(&now, &own), at }
        };
        Ok((0..rows.num_rows()).map(&mut one).collect())
    }

    /// The least watermark that has passed a row with these times.
    fn least_beyond(&self, times: &[Mark], near: Option<i64>) -> Option<i64> {
        let passes = |watermark: i64| self.marks_at(watermark).ok().map(|marks| has_passed(&marks, times));
        let near = near.unwrap_or_default();
        let (mut before, mut beyond) = (near, near);
        let mut step = 1_i64;
        while !passes(beyond)? {
            (before, beyond) = (beyond, near.checked_add(step).filter(|_| step <= FARTHEST_US)?);
            step *= 2;
        }
        step = 1;
        while passes(before)? {
            (beyond, before) = (before, near.checked_sub(step).filter(|_| step <= FARTHEST_US)?);
            step *= 2;
        }
        while before + 1 < beyond {
            let middle = before + (beyond - before) / 2;
            if passes(middle)? { beyond = middle } else { before = middle }
        }
        Some(beyond)
    }
}

/// Whether a row lies before the watermark of any column.
fn has_passed(marks: &[Mark], times: &[Mark]) -> bool {
    times.iter().any(|(column, time)| marks.iter().any(|(of, watermark)| of == column && time < watermark))
}

/// The times of a column as numbers, in its unit.
fn counted(rows: &RecordBatch, column: usize) -> Result<Int64Array> {
    let of = rows.columns().get(column).ok_or_else(|| Error::bug("a row lacks its event time"))?;
    let counted = cast(of, &DataType::Int64).map_err(|e| Error::bug(format!("event time: {e}")))?;
    Ok(counted.as_primitive::<Int64Type>().clone())
}

/// How a unit of time and a microsecond go into each other.
enum PerUnit {
    /// So many microseconds are a unit.
    Micros(i64),
    /// So many units are a microsecond.
    Parts(i64),
}

fn micros_per_unit(stream: &StreamSpec) -> Option<PerUnit> {
    let DataType::Timestamp(unit, _) = stream.schema.field(event_column(stream)?).data_type() else { return None };
    Some(match unit {
        TimeUnit::Second => PerUnit::Micros(1_000_000),
        TimeUnit::Millisecond => PerUnit::Micros(1_000),
        TimeUnit::Microsecond => PerUnit::Micros(1),
        TimeUnit::Nanosecond => PerUnit::Parts(1_000),
    })
}
