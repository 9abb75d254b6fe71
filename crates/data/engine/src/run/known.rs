//! What lowering asks about relations, answered from what runs now.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use fleuve_types::ObjectId;

use super::view::View;
use super::{StreamReader, ViewDefinition};
use crate::event_time::TimeColumns;
use crate::lookup::RelationIndex;
use crate::lower::Relations;

struct KnownRelation {
    append_only: bool,
    key: Option<Vec<usize>>,
    /// Of a view.
    answer: Option<SchemaRef>,
    event_time: TimeColumns,
    /// Those that the view may use.
    indexes: Vec<RelationIndex>,
}

/// See the module.
pub(super) struct Known {
    objects: HashMap<(String, String), KnownRelation>,
}

impl Known {
    /// Streams only grow; of views their circuits tell.
    pub(super) fn of<'v>(
        definition: &ViewDefinition,
        views: impl Iterator<Item = &'v View>,
        streams: &BTreeMap<ObjectId, Arc<dyn StreamReader>>,
    ) -> Self {
        let by_id: HashMap<ObjectId, &View> = views.map(|v| (v.id(), v)).collect();
        let index = |id: &ObjectId| index_of(by_id.get(id)?);
        let of = |id: &ObjectId| -> Vec<RelationIndex> {
            let all = definition.indexes.iter().filter_map(index);
            all.filter(|(object, _)| object == id).map(|(_, index)| index).collect()
        };
        let known = |id: &ObjectId| match by_id.get(id) {
            Some(view) => KnownRelation {
                append_only: view.output.is_append_only(),
                key: view.circuit.key().map(<[usize]>::to_vec),
                answer: Some(view.output.schema().clone()),
                event_time: match view.circuit.emits_on_close() {
                    true => view.circuit.time_columns(),
                    false => TimeColumns::default(),
                },
                indexes: of(id),
            },
            None => {
                let event = streams.get(id).and_then(|s| s.event_time());
                KnownRelation {
                    append_only: true,
                    key: None,
                    answer: None,
                    event_time: TimeColumns::of_stream(event.map(|e| e.column)),
                    indexes: of(id),
                }
            }
        };
        Self { objects: definition.inputs.iter().map(|(name, id)| (name.clone(), known(id))).collect() }
    }
}

/// An index with the object that it is of.
fn index_of(view: &View) -> Option<(ObjectId, RelationIndex)> {
    let ([input], Some(by)) = (view.inputs.as_slice(), &view.definition.index_by) else { return None };
    let types = view.circuit.schema().fields().iter().map(|f| f.data_type().clone());
    let index = RelationIndex {
        id: view.id(),
        name: format!("{}.{}", view.definition.name.0, view.definition.name.1),
        by: by.iter().map(|at| input.columns.get(*at).map(|c| c.at)).collect::<Option<_>>()?,
        holds: input.columns.iter().map(|c| c.at).zip(types).collect(),
    };
    Some((input.object, index))
}

impl Relations for Known {
    fn is_append_only(&self, table: &(String, String)) -> bool {
        self.objects.get(table).is_none_or(|o| o.append_only)
    }

    fn key(&self, table: &(String, String)) -> Option<Vec<usize>> {
        self.objects.get(table).and_then(|o| o.key.clone())
    }

    fn answer(&self, table: &(String, String)) -> Option<SchemaRef> {
        self.objects.get(table).and_then(|o| o.answer.clone())
    }

    fn indexes(&self, table: &(String, String)) -> Vec<RelationIndex> {
        self.objects.get(table).map_or(vec![], |o| o.indexes.clone())
    }

    fn event_time(&self, table: &(String, String)) -> TimeColumns {
        self.objects.get(table).map(|o| o.event_time.clone()).unwrap_or_default()
    }
}
