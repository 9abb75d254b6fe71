//! Joins that keep no rows of a side: they find them, as a step needs them, in the answer of the view that the side reads.
//!
//! A circuit knows which of its inputs are such ([`CircuitInput::lookup`]). Whoever steps it gives it the answers as they are after
//! the step's change of them; the joins tell from the change what was there before. A circuit of which nobody can say where these
//! answers are is lowered without ([`crate::Relations::answer`]).

use crate::circuit::{Circuit, CircuitInput, Node, NodeKind};
use crate::output::Answer;

/// How rows of an input are found.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LookUp {
    /// The columns of the answer's key, in its order, as they stand in the relation.
    pub key: Vec<usize>,
    /// Both sides of the join are looked up: a build takes in the rows of this one, else it would see no pair. Those of the other
    /// one count as there from the beginning.
    pub is_taken_in: bool,
}

/// Answers, with the numbers of the inputs that are looked up in them.
pub(crate) type Answers = Vec<(usize, Answer)>;

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
    /// Gives the joins what they look rows up in for the next step.
    pub(crate) fn look_up_in(&mut self, answers: &Answers) {
        self.tell_answers(|input| answers.iter().find(|(n, _)| *n == input).map(|(_, answer)| answer.clone()));
    }

    /// Takes it away again: what is held is not changed without a copy.
    pub(crate) fn look_nothing_up(&mut self) {
        self.tell_answers(|_| None);
    }

    fn tell_answers(&mut self, of: impl Fn(usize) -> Option<Answer>) {
        for (node, side, input) in &self.lookups {
            if let NodeKind::Operator(operator) = &mut self.nodes[*node].kind {
                operator.look_up_in(*side, of(*input));
            }
        }
    }
}
