//! `WITH RECURSIVE` as an operator around a circuit of its own: see [`super::lift`].

use std::any::Any;
use std::collections::HashMap;

use datafusion::logical_expr::{Extension, LogicalPlan, RecursiveQuery};
use fleuve_types::{ColumnPart, Error, Result};

use super::lift::{Leaf, Lifted, lift};
use super::share::Shared;
use super::{Lowering, close, loose};
use crate::circuit::{Circuit, CircuitInput, NodeKind};
use crate::operators::recursive::{Recursive, RecursiveSpec};

/// What a recursive term may read, by the number of the leaf.
pub(super) struct Leaves {
    given: Vec<Given>,
    /// By input of the circuit: which of them it is.
    read: Vec<usize>,
}

#[derive(Clone)]
struct Given {
    append_only: bool,
    key: Option<Vec<usize>>,
}

impl Leaves {
    /// Forgets the inputs of an attempt that was given up.
    pub(super) fn truncate(&mut self, inputs: usize) {
        self.read.truncate(inputs);
    }
}

impl Lowering<'_> {
    pub(super) fn recursive(&mut self, plan: &RecursiveQuery) -> Result<usize> {
        let first = self.plan(&plan.static_term)?;
        let lifted = lift(plan).map_err(|e| Error::unsupported(format!("WITH RECURSIVE: {}", e.strip_backtrace())))?;
        let others = lifted.others.iter().map(|p| self.plan(p)).collect::<Result<Vec<_>>>()?;
        let schema = loose(&plan.schema);
        let types = |of: &arrow::datatypes::Schema| -> Vec<_> {
            of.fields().iter().take(schema.fields().len()).map(|f| f.data_type().clone()).collect()
        };
        let wanted = types(&schema);
        if types(&self.nodes[first].schema) != wanted || types(&loose(lifted.term.schema())) != wanted {
            return Err(Error::unsupported("the terms of WITH RECURSIVE differ in their types"));
        }
        let given = |own: bool| {
            let others = others.iter().map(|n| &self.nodes[*n]);
            let others = others.map(|n| Given { append_only: n.append_only, key: n.key.clone() });
            std::iter::once(Given { append_only: own, key: None }).chain(others).collect::<Vec<_>>()
        };
        // If the relation only grew, would it then only grow?
        let grows = self.nodes[first].append_only;
        let (mut circuit, mut reads) = self.rounds(&lifted, given(grows))?;
        let append_only = grows && circuit.is_append_only() && (lifted.is_linear || !plan.is_distinct);
        if grows && (plan.is_distinct || !append_only) {
            // With UNION a row goes from its round when it is found in an earlier one.
            (circuit, reads) = self.rounds(&lifted, given(false))?;
        }
        let key = plan.is_distinct.then(|| (0..schema.fields().len()).collect());
        let spec = RecursiveSpec {
            name: plan.name.clone(),
            distinct: plan.is_distinct,
            circuit,
            reads,
            schema: schema.clone(),
            guard: self.guard.clone(),
        };
        let inputs = std::iter::once(first).chain(others).collect();
        let node = self.node(Box::new(Recursive::new(spec)?), inputs, schema, append_only, key);
        self.shrinks(node, || "its recursive term takes rows back".into());
        let plans = std::iter::once(plan.static_term.as_ref()).chain(&lifted.others);
        for (input, from) in self.nodes[node].inputs.clone().into_iter().zip(plans) {
            self.loses(node, input, from.schema(), || {
                ("WITH RECURSIVE does not keep the event time".into(), close::LEAVE_OUT)
            });
        }
        Ok(node)
    }

    /// The circuit of the term, and what each of its inputs is.
    fn rounds(&self, lifted: &Lifted, given: Vec<Given>) -> Result<(Circuit, Vec<usize>)> {
        let mut lowering = Lowering {
            state: self.state,
            relations: self.relations,
            shards: self.shards,
            on_close: false,
            has_event_time: false,
            nodes: vec![],
            inputs: vec![],
            memo: HashMap::new(),
            cells: 0,
            guard: self.guard.clone(),
            leaves: Some(Leaves { given, read: vec![] }),
            shared: Shared::default(),
        };
        let root = lowering.plan(&lifted.term)?;
        let read = lowering.leaves.map(|l| l.read).unwrap_or_default();
        Ok((Circuit::new(lowering.nodes, lowering.inputs, root, false, self.guard.clone()), read))
    }

    /// A leaf of a recursive term.
    pub(super) fn leaf(&mut self, extension: &Extension) -> Result<usize> {
        let any: &dyn Any = extension.node.as_any();
        let (Some(leaf), Some(leaves)) = (any.downcast_ref::<Leaf>(), &mut self.leaves) else {
            let name = LogicalPlan::Extension(extension.clone()).display().to_string();
            return Err(Error::unsupported(format!("{name} has no incremental operator")));
        };
        let given = leaves.given.get(leaf.number).cloned().ok_or_else(|| Error::bug("a leaf that nobody gave"))?;
        leaves.read.push(leaf.number);
        let table = (if leaf.number == 0 { "last_round" } else { "all_rounds" }.to_string(), leaf.name.clone());
        let columns: Vec<ColumnPart> = leaf.columns.iter().map(|at| ColumnPart { at: *at, fields: None }).collect();
        let key = given
            .key
            .and_then(|key| key.iter().map(|k| leaf.columns.iter().position(|c| c == k)).collect::<Option<Vec<_>>>());
        self.inputs.push(CircuitInput { table, columns, lookup: None });
        let schema = loose(&leaf.schema);
        Ok(self.push(NodeKind::Input(self.inputs.len() - 1), vec![], schema, given.append_only, key))
    }
}
