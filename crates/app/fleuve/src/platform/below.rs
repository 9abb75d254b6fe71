//! What goes on, or is written otherwise, in the moment in which another view takes a view's place.

use fleuve_engine::{Below, SinkWriter};
use fleuve_sql::{BoundObject, ObjectSet, SinkSpec, Spec, ViewSpec, same_columns, same_view};
use fleuve_types::{Error, ObjectId, Result};

use super::Platform;

/// Whether two definitions of a view or an index are the same query, over whatever columns.
pub(super) fn means_the_same(before: &BoundObject, after: &BoundObject) -> bool {
    match (&before.spec, &after.spec) {
        (Spec::View(before), Spec::View(after)) => same_view(before, after),
        (Spec::Index(before), Spec::Index(after)) => {
            before.columns == after.columns && same_view(&before.view, &after.view)
        }
        _ => false,
    }
}

/// Whether a sink is given another writer in the moment in which its view becomes another one.
pub(super) fn is_handed(view: (&ViewSpec, &ViewSpec), sink: (&SinkSpec, &SinkSpec)) -> bool {
    let (before, after) = sink;
    let writes_otherwise = (&before.key, before.mode) != (&after.key, after.mode);
    goes_on(before, after) && (writes_otherwise || !same_columns(&view.0.schema, &view.1.schema))
}

/// Whether a sink goes on to write into the same stream.
fn goes_on(before: &SinkSpec, after: &SinkSpec) -> bool {
    (before.from, before.into, &before.format) == (after.from, after.into, &after.format)
}

impl Platform {
    /// Makes a view or an index run as `set` has it, in the place of what `before` has. Gives the sinks that write otherwise from then on.
    pub(super) async fn replace_view(
        &self,
        (before, set): (&ObjectSet, &ObjectSet),
        bound: &BoundObject,
    ) -> Result<Vec<ObjectId>> {
        let definition = self.opener().running_definition(set, bound);
        let definition = definition.ok_or_else(|| Error::bug("a view without a definition"))?;
        let below = self.below((before, set), bound).await?;
        let sinks = below.sinks.iter().map(|(id, _)| *id).collect();
        self.engine.replace_view(definition, below).await?;
        Ok(sinks)
    }

    async fn below(&self, (before, set): (&ObjectSet, &ObjectSet), bound: &BoundObject) -> Result<Below> {
        let id = bound.object.id;
        let mut below = Below::default();
        let (Some(Spec::View(view)), Spec::View(new_view)) = (before.by_id(id).map(|b| &b.spec), &bound.spec) else {
            return Ok(below);
        };
        let has_other_columns = !same_columns(&view.schema, &new_view.schema);
        for after in set.by_name.values() {
            let Some(was) = before.by_id(after.object.id) else { continue };
            match (&was.spec, &after.spec) {
                (Spec::Sink(old), Spec::Sink(sink)) if sink.from == id && is_handed((view, new_view), (old, sink)) => {
                    let writer: Box<dyn SinkWriter> = Box::new(self.opener().sink_writer(set, after, sink).await?);
                    below.sinks.push((after.object.id, writer));
                }
                (Spec::View(_) | Spec::Index(_), _) if has_other_columns && means_the_same(was, after) => {
                    let reader = self.opener().running_definition(set, after);
                    below.views.extend(reader.filter(|reader| reader.inputs.values().any(|input| *input == id)));
                }
                _ => {}
            }
        }
        Ok(below)
    }
}
