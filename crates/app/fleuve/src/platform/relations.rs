//! What the engine has to know about the relations of a plan before it runs.

use std::collections::HashMap;

use fleuve_engine::{Relations, ViewDefinition};
use fleuve_sql::{BoundObject, ObjectSet, Spec, ViewSpec};

/// Streams only grow; of a view nothing is assumed here.
pub struct Declared<'a>(pub &'a ObjectSet);

impl Relations for Declared<'_> {
    fn is_append_only(&self, table: &(String, String)) -> bool {
        self.0.by_name.get(table).is_some_and(|b| matches!(b.spec, Spec::Stream(_)))
    }

    fn key(&self, _: &(String, String)) -> Option<Vec<usize>> {
        None
    }
}

/// A bound view as the engine takes it.
pub fn definition(bound: &BoundObject, view: &ViewSpec) -> ViewDefinition {
    ViewDefinition {
        id: bound.object.id,
        name: (bound.object.namespace.clone(), bound.object.name.clone()),
        version: bound.object.version,
        plan: view.plan.clone(),
        inputs: view.inputs.iter().map(|(n, i)| (n.clone(), *i)).collect::<HashMap<_, _>>(),
    }
}
