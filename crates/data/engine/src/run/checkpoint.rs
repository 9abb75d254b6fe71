//! Checkpoints: state runs first, then one transaction that names them.

use std::sync::Arc;
use std::sync::mpsc::Receiver;

use fleuve_types::{Epoch, Error, ObjectId, Result};

use super::Reply;
use super::core::Core;
use super::view::{Manifest, StateFile};

/// A checkpoint as the catalog keeps it.
#[derive(Clone, Debug, Default)]
pub struct SavedCheckpoint {
    /// The last epoch that it includes.
    pub epoch: Epoch,
    /// When it was taken.
    pub time_us: i64,
    /// The inputs that it includes, and the event times of streams there: the engine's own bytes.
    pub frontier: Vec<u8>,
    /// Views; when committing, only those that changed.
    pub views: Vec<SavedView>,
    /// Views that are gone.
    pub removed: Vec<ObjectId>,
}

/// A view's part of a checkpoint.
#[derive(Clone, Debug)]
pub struct SavedView {
    /// The view.
    pub id: ObjectId,
    /// Its definition's version.
    pub version: u32,
    /// The engine's own bytes: which files hold the state.
    pub manifest: Vec<u8>,
}

/// Where checkpoints live.
pub trait CheckpointStore: Send + Sync {
    /// Writes an immutable file; durable when it returns.
    fn write(&self, name: &str, bytes: &[u8]) -> Result<()>;
    /// Reads it.
    fn read(&self, name: &str) -> Result<Vec<u8>>;
    /// Removes files that no checkpoint names any more. Best effort.
    fn remove(&self, names: &[String]);
    /// Commits in one transaction.
    fn commit(&self, checkpoint: SavedCheckpoint) -> Result<()>;
    /// The last committed checkpoint with all its views.
    fn load(&self) -> Result<Option<SavedCheckpoint>>;
}

/// A checkpoint on its way to disk.
pub(super) struct Writing {
    pub(super) epoch: Epoch,
    pub(super) done: Receiver<Result<()>>,
    pub(super) replies: Vec<Reply<()>>,
    /// What the views' manifests become when it is done.
    pub(super) manifests: Vec<(ObjectId, Manifest)>,
    /// Views that are gone with it, and their files.
    gone: Vec<(ObjectId, Vec<String>)>,
}

impl Core {
    /// Takes the state out of the views and hands it to a thread that writes it. Epochs go on meanwhile.
    pub(super) fn begin_checkpoint(&mut self, replies: Vec<Reply<()>>) {
        let epoch = self.epoch;
        let mut files: Vec<(String, Vec<u8>)> = vec![];
        let mut manifests = vec![];
        let mut saved = vec![];
        let mut stale: Vec<String> = vec![];
        for view in &mut self.views {
            // Once: of a view that failed only the answer is kept, and why.
            if view.failed.is_some() && !view.save_all {
                continue;
            }
            let increments: u64 = view.manifest.files.iter().skip(1).map(|f| f.bytes).sum();
            let base = view.manifest.files.first().map_or(0, |f| f.bytes);
            let full = view.save_all || view.manifest.files.is_empty() || increments > base.max(1 << 20);
            let bytes = match view.save(full) {
                Ok(Some(bytes)) => bytes,
                Ok(None) => continue,
                Err(e) => {
                    tracing::error!(view = %view.id(), error = %e, "the state of a view could not be saved");
                    view.save_all = true;
                    continue;
                }
            };
            let name = format!("{}/{epoch:020}.run", view.id());
            let mut manifest = view.manifest.clone();
            manifest.failed = view.saved_failure();
            if full {
                stale.extend(manifest.files.drain(..).map(|f| f.name).filter(|n| *n != name));
            }
            manifest.files.push(StateFile { name: name.clone(), bytes: bytes.len() as u64 });
            view.save_all = false;
            saved.push(super::SavedView {
                id: view.id(),
                version: view.definition.version,
                manifest: serde_json::to_vec(&manifest).unwrap_or_default(),
            });
            manifests.push((view.id(), manifest));
            files.push((name, bytes));
        }
        let gone = std::mem::take(&mut self.removed);
        stale.extend(gone.iter().flat_map(|(_, files)| files).cloned());
        // A view that was built anew may have a file of the same name.
        stale.retain(|name| files.iter().all(|(new, _)| new != name));
        // A replaced view left its old files, but its name in the checkpoint stays.
        let removed = gone.iter().map(|g| g.0).filter(|id| !self.views.iter().any(|v| v.id() == *id)).collect();
        let checkpoint = SavedCheckpoint {
            epoch,
            time_us: self.clock.now_us().max(self.time_us),
            frontier: self.encode_frontier(),
            views: saved,
            removed,
        };
        let store = Arc::clone(&self.store);
        let (tell, done) = std::sync::mpsc::channel();
        let work = move || {
            let result = files
                .iter()
                .try_for_each(|(name, bytes)| store.write(name, bytes))
                .and_then(|()| store.commit(checkpoint));
            if result.is_ok() {
                store.remove(&stale);
            }
            let _ = tell.send(result);
        };
        if std::thread::Builder::new().name("checkpoint".into()).spawn(work).is_err() {
            tracing::error!("the checkpoint's thread could not be started");
        }
        self.last_checkpoint = std::time::Instant::now();
        self.writing = Some(Writing { epoch, done, replies, manifests, gone });
    }

    /// Notes the end of a checkpoint; with `wait`, waits for it.
    pub(super) fn finish_checkpoint(&mut self, wait: bool) {
        let Some(writing) = self.writing.take() else { return };
        let result = if wait {
            writing.done.recv().unwrap_or_else(|_| Err(Error::bug("the checkpoint's thread ended")))
        } else {
            match writing.done.try_recv() {
                Ok(result) => result,
                Err(std::sync::mpsc::TryRecvError::Empty) => {
                    self.writing = Some(writing);
                    return;
                }
                Err(std::sync::mpsc::TryRecvError::Disconnected) => Err(Error::bug("the checkpoint's thread ended")),
            }
        };
        for (id, manifest) in writing.manifests {
            if let Some(view) = self.views.iter_mut().find(|v| v.id() == id) {
                if result.is_err() {
                    // What was taken out for this run is not on disk: the next one writes all.
                    view.save_all = true;
                } else if view.manifest.shape == manifest.shape {
                    view.manifest = manifest;
                }
            }
        }
        match &result {
            Ok(()) => {
                self.checkpointed = writing.epoch;
                if let Err(e) = self.journal.trim(writing.epoch) {
                    tracing::warn!(error = %e, "the epoch journal could not be trimmed");
                }
            }
            Err(e) => {
                self.removed.extend(writing.gone);
                tracing::error!(error = %e, "a checkpoint failed; the log keeps everything and it will be tried again")
            }
        }
        for reply in writing.replies {
            let _ = reply.send(result.clone());
        }
    }
}
