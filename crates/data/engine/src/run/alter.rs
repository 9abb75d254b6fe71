//! A stream gets other columns while views read it: their circuits go on with all their state, and find what they read where it is
//! now.

use std::collections::BTreeSet;
use std::sync::Arc;

use fleuve_types::{Error, ErrorKind, ObjectId, Result};

use super::core::Core;
use super::view::View;
use super::{StreamReader, ViewDefinition};

impl Core {
    /// Reads a stream by `reader` from now on. `views` are the definitions of all views that read it, over its columns as they are now.
    /// All of it is done, or none.
    ///
    /// # Errors
    /// `Retry` while a view that reads it is being built; `Input` for a view that would not go on as it is.
    pub(super) fn alter_stream(
        &mut self,
        id: ObjectId,
        reader: Arc<dyn StreamReader>,
        views: Vec<ViewDefinition>,
    ) -> Result<()> {
        let waits = self.waiting.iter().any(|(d, _)| d.inputs.values().any(|i| *i == id));
        if waits || self.building.values().any(|b| b.reads.contains(&id)) {
            return Err(Error::new(ErrorKind::Retry, "a view that reads the stream is being built")
                .hint("SHOW VIEWS says how far it is; try again when it runs"));
        }
        let before = self.streams.insert(id, reader);
        let planned = match self.same_circuits(id, views) {
            Ok(planned) => planned,
            Err(e) => {
                match before {
                    Some(reader) => self.streams.insert(id, reader),
                    None => self.streams.remove(&id),
                };
                return Err(e);
            }
        };
        for new in planned {
            if let Some(view) = self.views.iter_mut().find(|v| v.id() == new.id()) {
                view.go_on_as(new);
            }
        }
        self.topology = None;
        self.publish_now();
        // What was read by the old columns is not to be read again by the new ones: a record that did not decode may do so now.
        if !self.checkpoint_now() {
            tracing::warn!(stream = %id, "the checkpoint after a change of columns failed: a crash now would read by the new ones again");
        }
        Ok(())
    }

    /// The views that read a stream, planned by their new definitions and empty. Each must come out with the circuit that it has.
    fn same_circuits(&self, stream: ObjectId, views: Vec<ViewDefinition>) -> Result<Vec<View>> {
        let mut planned = Vec::with_capacity(views.len());
        // Others are planned by the indexes, over the new columns.
        let (indexes, others): (Vec<_>, Vec<_>) = views.into_iter().partition(|d| d.index_by.is_some());
        for definition in indexes.into_iter().chain(others) {
            // One that was never started has nothing to lose.
            if self.views.iter().any(|v| v.id() == definition.id) {
                planned.push(self.plan_after(definition, &planned)?);
            }
        }
        let found: BTreeSet<ObjectId> = planned.iter().map(View::id).collect();
        for view in self.views.iter().filter(|v| v.inputs.iter().any(|i| i.object == stream)) {
            let name = &view.definition.name;
            let refuse = |why: &str| Err(Error::input(format!("view {}.{} {why}", name.0, name.1)));
            if !found.contains(&view.id()) {
                return refuse("reads the stream, and has no definition over its new columns");
            }
            let new = planned.iter().find(|n| n.id() == view.id());
            if new.is_some_and(|n| n.circuit.shape() != view.circuit.shape()) {
                return refuse("would not go on with its state over the new columns");
            }
        }
        Ok(planned)
    }
}
