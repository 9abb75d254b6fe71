//! A start: views planned again, and their state taken from the last checkpoint. Those that do not read each other are opened side
//! by side; what comes of it does not depend on which is done first.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use datafusion::execution::SessionState;
use fleuve_types::{Epoch, Error, ObjectId, Result};
use rayon::prelude::*;

use super::checkpoint::SavedCheckpoint;
use super::core::Core;
use super::known::Known;
use super::memory::Limits;
use super::view::{Manifest, View};
use super::{CheckpointStore, EngineOptions, ViewDefinition};
use crate::operators::caught;
use crate::state::runs::Space;

/// What came of a view.
enum Opened {
    View(Box<View>),
    /// It has no state, or none that can be used.
    ToBuild(Box<ViewDefinition>),
}

/// What opening a view needs.
struct Opening<'a> {
    state: &'a SessionState,
    options: &'a EngineOptions,
    limits: &'a Limits,
    store: &'a dyn CheckpointStore,
    space: &'a Arc<Space>,
    /// The epoch of the checkpoint.
    epoch: Epoch,
}

/// A view that is to be opened: what it can rely on, and what the checkpoint says of it.
type Work = (usize, ViewDefinition, Known, Option<Manifest>);

impl Core {
    /// Opens the views of a checkpoint, in their order; gives those that have to be built.
    pub(super) fn open_views(
        &mut self,
        definitions: Vec<ViewDefinition>,
        checkpoint: &SavedCheckpoint,
    ) -> Result<Vec<ViewDefinition>> {
        let saved: BTreeMap<ObjectId, _> = checkpoint.views.iter().map(|v| (v.id, v)).collect();
        let mut views: Vec<(usize, View)> = vec![];
        let mut to_build = Level::new();
        let mut missing: BTreeSet<ObjectId> = BTreeSet::new();
        for level in levels(definitions) {
            let mut work: Vec<Work> = vec![];
            for (n, definition) in level {
                let saved = saved.get(&definition.id).filter(|v| v.version == definition.version);
                let reads_missing = definition.needs().any(|i| missing.contains(&i));
                let manifest = saved.filter(|_| !reads_missing).and_then(|s| serde_json::from_slice(&s.manifest).ok());
                let known = Known::of(&definition, views.iter().map(|(_, view)| view), &self.streams);
                work.push((n, definition, known, manifest));
            }
            let opening = Opening {
                state: &self.state,
                options: &self.options,
                limits: &self.limits,
                store: self.store.as_ref(),
                space: &self.space,
                epoch: checkpoint.epoch,
            };
            let open = |(n, definition, known, manifest)| Ok((n, opening.open(definition, &known, manifest)?));
            // A stepped engine reads its files in one order.
            let opened: Vec<Result<(usize, Opened)>> = if self.options.stepped {
                work.into_iter().map(open).collect()
            } else {
                work.into_par_iter().map(open).collect()
            };
            for result in opened {
                match result? {
                    (n, Opened::View(view)) => views.push((n, *view)),
                    (n, Opened::ToBuild(definition)) => {
                        missing.insert(definition.id);
                        to_build.push((n, *definition));
                    }
                }
            }
        }
        views.sort_by_key(|(n, _)| *n);
        to_build.sort_by_key(|(n, _)| *n);
        self.views.extend(views.into_iter().map(|(_, view)| view));
        Ok(to_build.into_iter().map(|(_, definition)| definition).collect())
    }
}

/// Views with their places.
type Level = Vec<(usize, ViewDefinition)>;

/// The views by how many views there are at most between them and the streams.
fn levels(definitions: Vec<ViewDefinition>) -> Vec<Level> {
    let mut level_of: BTreeMap<ObjectId, usize> = BTreeMap::new();
    let mut levels: Vec<Level> = vec![];
    for (n, definition) in definitions.into_iter().enumerate() {
        // Each comes after those that it reads, and the indexes that it uses.
        let level = definition.needs().filter_map(|i| level_of.get(&i)).map(|l| l + 1).max().unwrap_or(0);
        level_of.insert(definition.id, level);
        if levels.len() <= level {
            levels.push(vec![]);
        }
        levels[level].push((n, definition));
    }
    levels
}

impl Opening<'_> {
    fn open(&self, definition: ViewDefinition, known: &Known, manifest: Option<Manifest>) -> Result<Opened> {
        let Some(manifest) = manifest else { return Ok(Opened::ToBuild(Box::new(definition))) };
        let id = definition.id;
        let mut view = caught("planning", || View::new(definition, self.state, known, self.options, self.space))?;
        match self.load(&mut view, manifest) {
            Ok(()) => Ok(Opened::View(Box::new(view))),
            Err(e) => {
                tracing::warn!(view = %id, reason = %e, "the state of a view is built again from the log");
                Ok(Opened::ToBuild(Box::new(view.definition)))
            }
        }
    }

    fn load(&self, view: &mut View, manifest: Manifest) -> Result<()> {
        if manifest.shape != view.manifest.shape {
            return Err(Error::input("its plan has another shape than the saved state"));
        }
        let runs = manifest.files.iter().map(|f| self.store.read(&f.name)).collect::<Result<Vec<_>>>()?;
        view.manifest = manifest;
        let eager_bytes = self.limits.eager_bytes();
        caught("loading its state", || {
            view.circuit.open_pages(&view.manifest.runs, eager_bytes)?;
            if let Some(answer) = &view.manifest.answer {
                view.output.open(answer, eager_bytes)?;
            }
            view.load(&runs, self.epoch)
        })
    }
}
