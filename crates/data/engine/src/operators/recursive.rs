//! WITH RECURSIVE. Round 0 has the rows of the static term, round `n + 1` what the recursive term makes of round `n`; with UNION only
//! rows that no earlier round has. A change is taken round by round, and in each only what differs from before goes through the
//! term's circuit: rows that come are found by semi-naive iteration, rows that go are followed through the rounds in the same way
//! (McSherry et al., "Differential Dataflow", CIDR 2013; Budiu et al., "DBSP", VLDB 2023, on nested streams).

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use arrow::array::{Array, AsArray, Int64Array, LargeBinaryArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use fleuve_types::{Delta, Error, ErrorKind, Result};

use super::guard::row_json;
use super::{Guard, Operator, StepContext};
use crate::circuit::{Circuit, Node, NodeKind};
use crate::state::{
    Arrangement, RowCodec, batch_of, changes_from_batch, changes_to_batch, hash_bytes, read_run, write_run,
};

/// Most rounds of a recursion.
pub(crate) const MAX_ROUNDS: i64 = 10_000;
/// Most rows of all its rounds.
pub(crate) const MAX_ROWS: i64 = 10_000_000;
/// So many rows of a round go through the term's circuit at once.
const ROWS_AT_ONCE: usize = 65_536;
/// The column of a saved state that holds that of the term's circuit.
const INNER: &str = "inner";

/// What lowering says about a recursion.
pub(crate) struct RecursiveSpec {
    pub(crate) name: String,
    /// UNION, not UNION ALL.
    pub(crate) distinct: bool,
    /// The recursive term. Its answer has the relation's columns and the round that its rows were made of.
    pub(crate) circuit: Circuit,
    /// What each input of the circuit is: 0 is the relation with the round as its last column, others are inputs of the operator.
    pub(crate) reads: Vec<usize>,
    pub(crate) schema: SchemaRef,
    pub(crate) guard: Guard,
}

pub(crate) struct Recursive {
    spec: RecursiveSpec,
    /// The relation's columns and the round.
    round_schema: SchemaRef,
    codec: RowCodec,
    /// UNION: by row, how often each round's term gives it. A row belongs to the first round that does.
    found: Arrangement,
    /// UNION ALL: the rows of all rounds, and how many there were at the last save.
    total: i64,
    saved: Option<i64>,
    /// By input of the circuit: no rows.
    nothing: Vec<Delta>,
}

/// Rows with weights; equal ones are one.
#[derive(Default)]
struct Rows {
    at: HashMap<Vec<u8>, usize>,
    rows: Vec<(Vec<u8>, i64)>,
}

impl Rows {
    fn add(&mut self, row: &[u8], weight: i64) {
        match self.at.get(row) {
            Some(at) => self.rows[*at].1 += weight,
            None => {
                self.at.insert(row.to_vec(), self.rows.len());
                self.rows.push((row.to_vec(), weight));
            }
        }
    }

    fn changed(self) -> Vec<(Vec<u8>, i64)> {
        self.rows.into_iter().filter(|(_, w)| *w != 0).collect()
    }
}

/// What a step has still to do, by round.
#[derive(Default)]
struct Work {
    /// Changes of what the term gives.
    changes: BTreeMap<i64, Rows>,
    /// UNION: rows that may belong to the round now, or not any more.
    checks: BTreeMap<i64, Vec<Vec<u8>>>,
    /// UNION: the rounds of touched rows before the step.
    before: HashMap<Vec<u8>, Option<i64>>,
    /// UNION ALL: the change of the answer.
    all: Rows,
}

impl Work {
    /// Rows that wait for their round.
    fn coming(&self) -> usize {
        self.changes.values().map(|rows| rows.rows.len()).sum()
    }

    fn next(&self) -> Option<i64> {
        [self.changes.keys().next(), self.checks.keys().next()].into_iter().flatten().min().copied()
    }
}

impl Recursive {
    pub(crate) fn new(spec: RecursiveSpec) -> Result<Self> {
        let mut fields: Vec<Field> = spec.schema.fields().iter().map(|f| f.as_ref().clone()).collect();
        fields.push(Field::new("__round", DataType::Int64, true));
        let codec = RowCodec::for_schema(&spec.schema)?;
        let round_schema = Arc::new(Schema::new(fields));
        let nothing = (0..spec.circuit.inputs().len())
            .map(|number| {
                let is_it = |n: &&Node| matches!(n.kind, NodeKind::Input(i) if i == number);
                let node =
                    spec.circuit.nodes.iter().find(is_it).ok_or_else(|| Error::bug("an input without a node"))?;
                Ok(Delta::empty(node.schema.clone()))
            })
            .collect::<Result<_>>()?;
        Ok(Self { spec, round_schema, codec, found: Arrangement::default(), total: 0, saved: None, nothing })
    }

    /// The rows of a change, which the term gives to `round`, or to the round after the one that each row names.
    fn note(&self, delta: &Delta, round: Option<i64>, work: &mut Work) -> Result<()> {
        let width = self.spec.schema.fields().len();
        let rows = self.codec.encode(&delta.batch.columns()[..width])?;
        let named = match round {
            Some(_) => None,
            None => delta.batch.column(width).as_primitive_opt::<Int64Type>(),
        };
        for i in 0..delta.len() {
            let round = match (round, named) {
                (Some(round), _) => round,
                (None, Some(named)) if named.is_valid(i) => named.value(i) + 1,
                _ => return Err(Error::bug("a row of a recursion names no round")),
            };
            work.changes.entry(round).or_default().add(rows.row(i), delta.weight(i));
        }
        Ok(())
    }

    /// The change of a round's rows.
    fn settle(&mut self, round: i64, work: &mut Work) -> Vec<(Vec<u8>, i64)> {
        let changes = work.changes.remove(&round).unwrap_or_default().changed();
        if self.spec.distinct {
            return self.settle_distinct(round, changes, work);
        }
        for (row, weight) in &changes {
            work.all.add(row, *weight);
            self.total += weight;
        }
        changes
    }

    fn settle_distinct(&mut self, round: i64, changes: Vec<(Vec<u8>, i64)>, work: &mut Work) -> Vec<(Vec<u8>, i64)> {
        let mut look: Vec<Vec<u8>> = Vec::with_capacity(changes.len());
        for (row, weight) in changes {
            if !work.before.contains_key(&row) {
                work.before.insert(row.clone(), self.first_round(&row));
            }
            let entry = [&row[..], &round.to_be_bytes()].concat();
            self.found.add(hash_bytes(&row), &row, hash_bytes(&entry), &entry, weight);
            look.push(row);
        }
        look.extend(work.checks.remove(&round).unwrap_or_default());
        let mut seen: HashSet<Vec<u8>> = HashSet::with_capacity(look.len());
        let mut out = vec![];
        for row in look {
            if !seen.insert(row.clone()) {
                continue;
            }
            let before = work.before.get(&row).copied().flatten();
            let now = self.first_round(&row);
            // All rounds up to this one are as they will be.
            let (was, is) = (before == Some(round), now == Some(round));
            if is != was {
                out.push((row.clone(), if is { 1 } else { -1 }));
            }
            let later = match (is, before, now) {
                // It leaves the round that it was in.
                (true, Some(old), _) if old > round => Some(old),
                // It is in a round that did not have it.
                (false, _, Some(new)) if new > round && before != now => Some(new),
                _ => None,
            };
            if let Some(later) = later {
                work.checks.entry(later).or_default().push(row);
            }
        }
        out
    }

    /// The first round whose term gives a row.
    fn first_round(&self, row: &[u8]) -> Option<i64> {
        let key = self.found.key_slot(hash_bytes(row), row)?;
        let rounds = self.found.rows_of(key).filter(|slot| self.found.weight(*slot) > 0);
        rounds.filter_map(|slot| self.found.row(slot).last_chunk::<8>().map(|b| i64::from_be_bytes(*b))).min()
    }

    /// What each input of the term's circuit is given: the round's change, and in the first turn those of the other inputs.
    fn given(&self, round: i64, change: &[(Vec<u8>, i64)], others: Option<&[Delta]>) -> Result<Vec<Delta>> {
        let rows: Vec<&[u8]> = change.iter().map(|(row, _)| row.as_slice()).collect();
        let mut columns = self.codec.decode(rows.iter().copied())?;
        columns.push(Arc::new(Int64Array::from(vec![round; rows.len()])));
        let own = Delta::weighted(
            batch_of(&self.round_schema, columns, rows.len())?,
            change.iter().map(|(_, w)| *w).collect(),
        )?;
        let inputs = self.spec.circuit.inputs().iter().zip(&self.spec.reads).zip(&self.nothing);
        inputs
            .map(|((input, number), nothing)| {
                let whole = match (*number, others) {
                    (0, _) => &own,
                    (n, Some(others)) => others.get(n - 1).ok_or_else(|| Error::bug("a recursion lacks an input"))?,
                    (_, None) => return Ok(nothing.clone()),
                };
                let columns = input.columns.iter().map(|c| whole.batch.column(c.at).clone()).collect();
                let batch = batch_of(&nothing.batch.schema(), columns, whole.len())?;
                Ok(Delta { batch, weights: whole.weights.clone() })
            })
            .collect()
    }

    /// Sends a round's change through the term's circuit.
    fn turn(
        &mut self,
        round: i64,
        change: &[(Vec<u8>, i64)],
        mut others: Option<&[Delta]>,
        work: &mut Work,
    ) -> Result<()> {
        let mut parts = change.chunks(ROWS_AT_ONCE);
        let mut part = parts.next().unwrap_or_default();
        loop {
            let given = self.given(round, part, others.take())?;
            let made = self.spec.circuit.step(&given)?;
            self.spec.guard.note(self.spec.circuit.take_dead_rows());
            self.note(&made, None, work)?;
            self.check_rows(work.coming(), change)?;
            match parts.next() {
                Some(next) => part = next,
                None => return Ok(()),
            }
        }
    }

    fn too_much(&self, what: String, change: &[(Vec<u8>, i64)]) -> Error {
        let row = change.first().map(|(row, _)| row.as_slice());
        let batch = row.and_then(|row| self.codec.decode_batch(&self.spec.schema, &[row]).ok());
        let row = batch.and_then(|b| row_json(&b).ok()).map_or(String::new(), |row| format!("; the last has {row}"));
        let name = &self.spec.name;
        Error::new(ErrorKind::Limit, format!("WITH RECURSIVE {name}: it does not end within {what}{row}"))
            .hint("bound it: a condition in the recursive term (a depth, say), or UNION in the place of UNION ALL")
    }

    fn check(&self, round: i64, change: &[(Vec<u8>, i64)]) -> Result<()> {
        if round >= MAX_ROUNDS {
            return Err(self.too_much(format!("{MAX_ROUNDS} rounds"), change));
        }
        self.check_rows(0, change)
    }

    fn check_rows(&self, coming: usize, change: &[(Vec<u8>, i64)]) -> Result<()> {
        let rows = if self.spec.distinct { self.found.len() as i64 } else { self.total };
        if rows.saturating_add(coming as i64) > MAX_ROWS {
            return Err(self.too_much(format!("{MAX_ROWS} rows"), change));
        }
        Ok(())
    }

    fn answer(&self, work: Work) -> Result<Delta> {
        let rows: Vec<(Vec<u8>, i64)> = if self.spec.distinct {
            let mut rows: Vec<_> = work
                .before
                .into_iter()
                .map(|(row, before)| {
                    let now = self.first_round(&row).is_some();
                    (row, i64::from(now) - i64::from(before.is_some()))
                })
                .filter(|(_, w)| *w != 0)
                .collect();
            rows.sort_unstable();
            rows
        } else {
            work.all.changed()
        };
        let bytes: Vec<&[u8]> = rows.iter().map(|(row, _)| row.as_slice()).collect();
        Delta::weighted(self.codec.decode_batch(&self.spec.schema, &bytes)?, rows.iter().map(|(_, w)| *w).collect())
    }
}

impl Operator for Recursive {
    fn step(&mut self, inputs: &[Delta], _: StepContext) -> Result<Delta> {
        let (first, others) = inputs.split_first().ok_or_else(|| Error::bug("a recursion without a static term"))?;
        let mut work = Work::default();
        self.note(first, Some(0), &mut work)?;
        // What the term reads beside the relation meets the rows of all rounds at once.
        let mut others = Some(others);
        while let Some(round) = others.map(|_| 0).or_else(|| work.next()) {
            let change = self.settle(round, &mut work);
            self.check(round, &change)?;
            let others = others.take();
            if change.is_empty() && others.is_none_or(|all| all.iter().all(Delta::is_empty)) {
                continue;
            }
            self.turn(round, &change, others, &mut work)?;
        }
        let answer = self.answer(work)?;
        self.found.sweep();
        Ok(answer)
    }

    fn describe(&self) -> String {
        let kind = if self.spec.distinct { "UNION" } else { "UNION ALL" };
        format!("Recursive: {}, by {kind} of its rounds", self.spec.name)
    }

    fn inner(&self) -> Option<&Circuit> {
        Some(&self.spec.circuit)
    }

    fn state_rows(&self) -> usize {
        self.found.len() + self.spec.circuit.state_rows()
    }

    fn state_bytes(&self) -> usize {
        self.found.bytes() + self.spec.circuit.state_bytes()
    }

    fn save(&mut self, full: bool) -> Result<Vec<RecordBatch>> {
        let mut out = vec![changes_to_batch(0, &self.found.take_changes(full))?];
        if full || self.saved != Some(self.total) {
            out.push(changes_to_batch(1, &[(vec![], vec![], self.total)])?);
            self.saved = Some(self.total);
        }
        let sections = self.spec.circuit.save(full)?;
        if !sections.is_empty() {
            let run = write_run(&sections)?;
            let column = LargeBinaryArray::from(vec![run.as_slice()]);
            let schema = Arc::new(Schema::new(vec![Field::new(INNER, DataType::LargeBinary, false)]));
            out.push(batch_of(&schema, vec![Arc::new(column)], 1)?);
        }
        Ok(out)
    }

    fn load(&mut self, batch: &RecordBatch) -> Result<()> {
        if batch.schema().field(0).name() == INNER {
            let runs = batch.column(0).as_binary_opt::<i64>().ok_or_else(|| Error::bug("state: a recursive term"))?;
            for section in read_run(runs.value(0))? {
                self.spec.circuit.load(&section)?;
            }
            return Ok(());
        }
        let (found, total) = (&mut self.found, &mut self.total);
        changes_from_batch(batch, |part, key, row, weight| match part {
            0 => found.restore(key, row, weight),
            _ => *total = weight,
        })?;
        self.found.mark_saved();
        self.saved = Some(self.total);
        Ok(())
    }

    fn loaded(&mut self) -> Result<()> {
        self.spec.circuit.loaded()
    }
}
