//! What lowering asks about relations, answered from what runs now.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use fleuve_types::ObjectId;

use super::view::View;
use super::{StreamReader, ViewDefinition};
use crate::lower::Relations;

struct KnownRelation {
    append_only: bool,
    key: Option<Vec<usize>>,
    /// Of a view.
    answer: Option<SchemaRef>,
    event_time: Vec<usize>,
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
        let known = |id: &ObjectId| match by_id.get(id) {
            Some(view) => KnownRelation {
                append_only: view.output.is_append_only(),
                key: view.circuit.key().map(<[usize]>::to_vec),
                answer: Some(view.output.schema().clone()),
                event_time: if view.circuit.emits_on_close() { view.circuit.time_columns() } else { vec![] },
            },
            None => {
                let event = streams.get(id).and_then(|s| s.event_time());
                KnownRelation {
                    append_only: true,
                    key: None,
                    answer: None,
                    event_time: event.map(|e| e.column).into_iter().collect(),
                }
            }
        };
        Self { objects: definition.inputs.iter().map(|(name, id)| (name.clone(), known(id))).collect() }
    }
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

    fn event_time(&self, table: &(String, String)) -> Vec<usize> {
        self.objects.get(table).map_or(vec![], |o| o.event_time.clone())
    }
}
