//! Joins that keep no rows of a side: they find them, as a step needs them, in the answer of the view that the side reads, or in an
//! index of what it reads.
//!
//! A circuit knows which of its inputs are such ([`CircuitInput::lookup`]). Whoever steps it gives it the answers and the indexes as they
//! are after the step's change of them; the joins tell from the change what was there before. A circuit of which nobody can say where
//! these are is lowered without ([`crate::Relations::answer`], [`crate::Relations::indexes`]).

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, SchemaRef};
use fleuve_types::{ColumnPart, Delta, Error, ObjectId, Result};

use crate::circuit::{Circuit, CircuitInput, Node, NodeKind};
use crate::held::PartSize;
use crate::operators::arrange::IndexReader;
use crate::output::Answer;

/// How rows of an input are found.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LookUp {
    /// The columns of the answer's key or of the index, in its order, as they stand in the relation.
    pub key: Vec<usize>,
    /// Both sides of the join are looked up: a build takes in the rows of this one, else it would see no pair. Those of the other
    /// one count as there from the beginning.
    pub is_taken_in: bool,
    /// The index that they are found in; `None` if that is the answer.
    pub index: Option<ObjectId>,
}

/// An index of a relation, as lowering knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelationIndex {
    /// Which it is.
    pub id: ObjectId,
    /// `namespace.name`, for EXPLAIN.
    pub name: String,
    /// The columns that it is by, as they stand in the relation.
    pub by: Vec<usize>,
    /// The columns that it holds, as they stand in the relation, with their types.
    pub holds: Vec<(usize, DataType)>,
}

/// What rows are looked up in. Cheap to clone.
#[derive(Clone)]
pub(crate) enum LookedIn {
    Answer(Answer),
    Index(IndexReader),
}

/// Rows that were found.
pub(crate) struct Found {
    /// Of each row which of the keys it has that were looked up.
    pub(crate) keys: Vec<usize>,
    pub(crate) rows: RecordBatch,
    /// How often each is there.
    pub(crate) weights: Vec<i64>,
}

impl LookedIn {
    /// The rows with these keys, `(hash, encoded key)` in order and each once.
    ///
    /// # Errors
    /// Arrow's, and [`fleuve_types::ErrorKind::Io`] if what lies on disk cannot be read.
    pub(crate) fn find(&self, keys: &[(u64, &[u8])]) -> Result<Found> {
        match self {
            LookedIn::Answer(answer) => answer.find(keys),
            LookedIn::Index(index) => index.find(keys),
        }
    }
}

impl LookedIn {
    /// As it is now, whatever changes.
    pub(crate) fn as_it_is(&self) -> Self {
        match self {
            LookedIn::Answer(answer) => LookedIn::Answer(answer.clone()),
            LookedIn::Index(index) => LookedIn::Index(index.as_it_is()),
        }
    }

    /// True if both find rows in the same index.
    pub(crate) fn is_of(&self, other: &Self) -> bool {
        match (self, other) {
            (LookedIn::Index(index), LookedIn::Index(other)) => index.is_of(other),
            _ => false,
        }
    }

    /// Memory of what it notes since.
    pub(crate) fn bytes_since(&self) -> usize {
        match self {
            LookedIn::Answer(_) => 0,
            LookedIn::Index(index) => index.bytes_since(),
        }
    }
}

/// Answers and indexes, with the numbers of the inputs that are looked up in them.
pub(crate) type Answers = Vec<(usize, LookedIn)>;

/// Sides of operators whose rows are looked up: the node, which of its inputs, and the number of the circuit's input.
pub(crate) fn lookups_of(nodes: &[Node], inputs: &[CircuitInput]) -> Vec<(usize, usize, usize)> {
    let input = |n: usize| match nodes[n].kind {
        NodeKind::Input(number) => inputs[number].lookup.as_ref().map(|_| number),
        NodeKind::Operator(_) => None,
    };
    let of = |(n, node): (usize, &Node)| {
        let sides: Vec<_> =
            node.inputs.iter().enumerate().filter_map(|(side, i)| Some((n, side, input(*i)?))).collect();
        sides
    };
    nodes.iter().enumerate().flat_map(of).collect()
}

impl Circuit {
    /// As [`Circuit::step`], for one whose joins look rows up in indexes: these circuits of them have taken in what it takes in.
    ///
    /// # Errors
    /// As for [`Circuit::step`], and when an index is not among them.
    pub fn step_over(&mut self, inputs: &[Delta], indexes: &[(ObjectId, &Circuit)]) -> Result<Delta> {
        self.over(indexes, |circuit| circuit.step(inputs))
    }

    /// As [`Circuit::tell_all_held`], for one whose joins look rows up in indexes.
    ///
    /// # Errors
    /// As for [`Circuit::step_over`].
    pub fn tell_all_held_over(&mut self, size: PartSize, indexes: &[(ObjectId, &Circuit)]) -> Result<Vec<Delta>> {
        self.over(indexes, |circuit| circuit.tell_all_held(size))
    }

    fn over<T>(&mut self, indexes: &[(ObjectId, &Circuit)], work: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let mut answers = Answers::new();
        for (n, input) in self.inputs.iter().enumerate() {
            let Some(lookup) = &input.lookup else { continue };
            let of = indexes.iter().find(|(id, _)| Some(*id) == lookup.index);
            let (_, of) = of.ok_or_else(|| Error::bug("a circuit looks rows up in what it was not given"))?;
            answers.push((n, of.looked_up_as(lookup, &input.columns, self.input_schema(n))?));
        }
        self.look_up_in(&answers);
        let out = work(self);
        self.look_nothing_up();
        out
    }

    /// This circuit, of an index, as what others look `columns` up in.
    ///
    /// # Errors
    /// When it does not hold these, or is by other columns.
    pub(crate) fn looked_up_as(&self, lookup: &LookUp, columns: &[ColumnPart], schema: SchemaRef) -> Result<LookedIn> {
        let index = self.operators().find_map(|(_, o)| o.arranged());
        let (Some(index), [held]) = (index, self.inputs.as_slice()) else {
            return Err(Error::bug("rows are looked up in an index that is none"));
        };
        index.of(&held.columns, &lookup.key, columns, schema).map(LookedIn::Index)
    }

    /// Gives the joins what they look rows up in for the next step.
    pub(crate) fn look_up_in(&mut self, answers: &Answers) {
        self.tell_answers(|input| answers.iter().find(|(n, _)| *n == input).map(|(_, answer)| answer.clone()));
    }

    /// Takes it away again: what is held is not changed without a copy.
    pub(crate) fn look_nothing_up(&mut self) {
        self.tell_answers(|_| None);
    }

    fn tell_answers(&mut self, of: impl Fn(usize) -> Option<LookedIn>) {
        for (node, side, input) in &self.lookups {
            if let NodeKind::Operator(operator) = &mut self.nodes[*node].kind {
                operator.look_up_in(*side, of(*input));
            }
        }
    }
}
