//! What the engine has to know about the relations of a plan before it runs.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use fleuve_catalog::Object;
use fleuve_engine::{
    DeadLetterWriter, Engine, Published, RelationIndex, Relations, TimeColumns, ViewDefinition, ViewLimits,
    ViewSnapshot, ViewState,
};
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

    fn event_time(&self, table: &(String, String)) -> TimeColumns {
        match self.objects.by_name.get(table).map(|b| &b.spec) {
            Some(Spec::Stream(stream)) => TimeColumns::of_stream(event_column(stream)),
            Some(Spec::View(view)) if view.emit_on_close => {
                self.engine.circuit(&view.plan, self, true).map(|c| c.time_columns()).unwrap_or_default()
            }
            _ => TimeColumns::default(),
        }
    }
}

/// As [`Declared`], with the answers of the views and the indexes that run: what joins look up, and which of them only grow.
pub struct Explained<'a> {
    declared: Declared<'a>,
    running: Arc<Published>,
    /// The indexes that may be used; `None` is all that run.
    indexes: Option<Vec<ObjectId>>,
}

impl<'a> Explained<'a> {
    pub fn new(declared: Declared<'a>) -> Self {
        Self { running: declared.engine.published(), declared, indexes: None }
    }

    /// With these indexes and no others.
    pub fn with_indexes(self, indexes: Vec<ObjectId>) -> Self {
        Self { indexes: Some(indexes), ..self }
    }

    /// The indexes that run.
    pub fn running_indexes(&self) -> Vec<ObjectId> {
        let is_index = |b: &&Arc<BoundObject>| matches!(b.spec, Spec::Index(_));
        let ids = self.declared.objects.by_name.values().filter(is_index).map(|b| b.object.id);
        let runs = |id: &ObjectId| self.running.status.get(id).is_some_and(|s| s.state == ViewState::Running);
        ids.filter(runs).collect()
    }

    fn running(&self, table: &(String, String)) -> Option<&ViewSnapshot> {
        self.running.views.get(&self.declared.objects.by_name.get(table)?.object.id)
    }
}

impl Relations for Explained<'_> {
    fn is_append_only(&self, table: &(String, String)) -> bool {
        self.running(table).map_or_else(|| self.declared.is_append_only(table), ViewSnapshot::is_append_only)
    }

    fn key(&self, table: &(String, String)) -> Option<Vec<usize>> {
        self.running(table)?.key().map(<[usize]>::to_vec)
    }

    fn answer(&self, table: &(String, String)) -> Option<SchemaRef> {
        self.running(table).map(|view| view.schema().clone())
    }

    fn indexes(&self, table: &(String, String)) -> Vec<RelationIndex> {
        let may_be_used = self.indexes.clone().unwrap_or_else(|| self.running_indexes());
        let bound = may_be_used.iter().filter_map(|id| self.declared.objects.by_id(*id));
        bound.filter_map(|bound| relation_index(self.declared.objects, bound, table)).collect()
    }

    fn event_time(&self, table: &(String, String)) -> TimeColumns {
        self.declared.event_time(table)
    }
}

/// An index as lowering knows it, if it is of that relation.
fn relation_index(objects: &ObjectSet, bound: &BoundObject, table: &(String, String)) -> Option<RelationIndex> {
    let Spec::Index(index) = &bound.spec else { return None };
    let of = match &objects.by_name.get(table).filter(|_| index.on == *table)?.spec {
        Spec::Stream(stream) => &stream.schema,
        Spec::View(view) => &view.schema,
        _ => return None,
    };
    let held = index.view.schema.fields();
    let place = |name: &str| of.index_of(name).ok();
    Some(RelationIndex {
        id: bound.object.id,
        name: format!("{}.{}", bound.object.namespace, bound.object.name),
        by: index.columns.iter().map(|name| place(name)).collect::<Option<_>>()?,
        holds: held.iter().map(|f| Some((place(f.name())?, f.data_type().clone()))).collect::<Option<_>>()?,
    })
}

/// The indexes among what an object depends on: those that a view uses.
pub fn indexes_of(set: &ObjectSet, object: &Object) -> Vec<ObjectId> {
    let is_index = |id: &ObjectId| set.by_id(*id).is_some_and(|b| matches!(b.spec, Spec::Index(_)));
    object.depends_on.iter().copied().filter(is_index).collect()
}

/// The number of a stream's event-time column.
pub fn event_column(stream: &StreamSpec) -> Option<usize> {
    stream.watermark.as_ref().and_then(|w| stream.schema.index_of(&w.column).ok())
}

/// The limits of a view's own.
pub fn limits_of(view: &ViewSpec) -> ViewLimits {
    let fleuve_sql::ViewLimits { memory_bytes, state_bytes } = view.limits;
    ViewLimits { memory_bytes, state_bytes }
}

/// The stream that holds an object's dead letters, if it has one.
pub fn dead_letters_of(set: &ObjectSet, bound: &BoundObject) -> Option<ObjectId> {
    let dead = set.get(&bound.object.namespace, &format!("{}{DEAD_SUFFIX}", bound.object.name))?;
    dead.object.depends_on.contains(&bound.object.id).then_some(dead.object.id)
}

impl Opener<'_> {
    /// A bound view as the engine takes it.
    fn definition(&self, set: &ObjectSet, bound: &BoundObject, view: &ViewSpec) -> ViewDefinition {
        let writer = |into| -> Arc<dyn DeadLetterWriter> {
            let (log, clock) = (self.log.clone(), self.clock.clone());
            Arc::new(ViewLetters { log, clock, view: bound.object.id, into })
        };
        let dead_letters = match view.on_error {
            OnError::Skip => dead_letters_of(set, bound).map(writer),
            OnError::Stop => None,
        };
        let limits = limits_of(view);
        ViewDefinition {
            limits,
            id: bound.object.id,
            name: (bound.object.namespace.clone(), bound.object.name.clone()),
            version: bound.object.version,
            plan: view.plan.clone(),
            inputs: view.inputs.iter().map(|(n, i)| (n.clone(), *i)).collect::<HashMap<_, _>>(),
            emit_on_close: view.emit_on_close,
            dead_letters,
            indexes: indexes_of(set, &bound.object),
            index_by: None,
        }
    }

    /// A bound view or index as the engine takes it; `None` of anything else.
    pub fn running_definition(&self, set: &ObjectSet, bound: &BoundObject) -> Option<ViewDefinition> {
        match &bound.spec {
            Spec::View(view) => Some(self.definition(set, bound, view)),
            Spec::Index(index) => {
                let by = Some(index.by.clone());
                Some(ViewDefinition { index_by: by, ..self.definition(set, bound, &index.view) })
            }
            Spec::Stream(_) | Spec::Source(_) | Spec::Sink(_) => None,
        }
    }
}
