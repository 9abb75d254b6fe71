//! What the engine has to know about the relations of a plan before it runs.

use std::collections::HashMap;

use fleuve_engine::{Engine, Relations, ViewDefinition};
use fleuve_sql::{BoundObject, ObjectSet, Spec, StreamSpec, ViewSpec};

/// Streams only grow; of a view no more is assumed here than its event time.
pub struct Declared<'a> {
    pub objects: &'a ObjectSet,
    pub engine: &'a Engine,
}

impl Relations for Declared<'_> {
    fn is_append_only(&self, table: &(String, String)) -> bool {
        self.objects.by_name.get(table).is_some_and(|b| matches!(b.spec, Spec::Stream(_)))
    }

    fn key(&self, _: &(String, String)) -> Option<Vec<usize>> {
        None
    }

    fn event_time(&self, table: &(String, String)) -> Vec<usize> {
        match self.objects.by_name.get(table).map(|b| &b.spec) {
            Some(Spec::Stream(stream)) => event_column(stream).into_iter().collect(),
            Some(Spec::View(view)) if view.emit_on_close => {
                self.engine.circuit(&view.plan, self, true).map_or(vec![], |c| c.time_columns())
            }
            _ => vec![],
        }
    }
}

/// The number of a stream's event-time column.
pub fn event_column(stream: &StreamSpec) -> Option<usize> {
    stream.watermark.as_ref().and_then(|w| stream.schema.index_of(&w.column).ok())
}

/// A bound view as the engine takes it.
pub fn definition(bound: &BoundObject, view: &ViewSpec) -> ViewDefinition {
    ViewDefinition {
        id: bound.object.id,
        name: (bound.object.namespace.clone(), bound.object.name.clone()),
        version: bound.object.version,
        plan: view.plan.clone(),
        inputs: view.inputs.iter().map(|(n, i)| (n.clone(), *i)).collect::<HashMap<_, _>>(),
        emit_on_close: view.emit_on_close,
    }
}
