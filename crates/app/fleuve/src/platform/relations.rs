//! What the engine has to know about the relations of a plan before it runs.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use fleuve_engine::{DeadLetterWriter, Engine, Published, Relations, ViewDefinition, ViewSnapshot};
use fleuve_sql::{BoundObject, DEAD_SUFFIX, ObjectSet, OnError, Spec, StreamSpec, ViewSpec};
use fleuve_types::ObjectId;

use super::dead::ViewLetters;
use super::open::Opener;

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

/// As [`Declared`], with the answers of the views that run: for EXPLAIN, which shows what joins look up.
pub struct Explained<'a> {
    declared: Declared<'a>,
    running: Arc<Published>,
}

impl<'a> Explained<'a> {
    pub fn new(declared: Declared<'a>) -> Self {
        Self { running: declared.engine.published(), declared }
    }

    fn running(&self, table: &(String, String)) -> Option<&ViewSnapshot> {
        self.running.views.get(&self.declared.objects.by_name.get(table)?.object.id)
    }
}

impl Relations for Explained<'_> {
    fn is_append_only(&self, table: &(String, String)) -> bool {
        self.declared.is_append_only(table)
    }

    fn key(&self, table: &(String, String)) -> Option<Vec<usize>> {
        self.running(table)?.key().map(<[usize]>::to_vec)
    }

    fn answer(&self, table: &(String, String)) -> Option<SchemaRef> {
        self.running(table).map(|view| view.schema().clone())
    }

    fn event_time(&self, table: &(String, String)) -> Vec<usize> {
        self.declared.event_time(table)
    }
}

/// The number of a stream's event-time column.
pub fn event_column(stream: &StreamSpec) -> Option<usize> {
    stream.watermark.as_ref().and_then(|w| stream.schema.index_of(&w.column).ok())
}

/// The stream that holds an object's dead letters, if it has one.
pub fn dead_letters_of(set: &ObjectSet, bound: &BoundObject) -> Option<ObjectId> {
    let dead = set.get(&bound.object.namespace, &format!("{}{DEAD_SUFFIX}", bound.object.name))?;
    dead.object.depends_on.contains(&bound.object.id).then_some(dead.object.id)
}

impl Opener<'_> {
    /// A bound view as the engine takes it.
    pub fn definition(&self, set: &ObjectSet, bound: &BoundObject, view: &ViewSpec) -> ViewDefinition {
        let writer = |into| -> Arc<dyn DeadLetterWriter> {
            let (log, clock) = (self.log.clone(), self.clock.clone());
            Arc::new(ViewLetters { log, clock, view: bound.object.id, into })
        };
        let dead_letters = match view.on_error {
            OnError::Skip => dead_letters_of(set, bound).map(writer),
            OnError::Stop => None,
        };
        ViewDefinition {
            id: bound.object.id,
            name: (bound.object.namespace.clone(), bound.object.name.clone()),
            version: bound.object.version,
            plan: view.plan.clone(),
            inputs: view.inputs.iter().map(|(n, i)| (n.clone(), *i)).collect::<HashMap<_, _>>(),
            emit_on_close: view.emit_on_close,
            dead_letters,
        }
    }
}
