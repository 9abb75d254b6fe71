//! Checkpoints: state runs first, then one transaction that names them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use fleuve_types::{Epoch, Error, ErrorKind, ObjectId, Result};

use super::Reply;
use super::core::Core;
use super::view::{Manifest, StateFile, View};
use crate::output::SavedRuns;
use crate::state::runs::{RunFiles, Space};

/// A checkpoint as the catalog keeps it.
#[derive(Clone, Debug, Default)]
pub struct SavedCheckpoint {
    /// The last epoch that it includes.
    pub epoch: Epoch,
    /// The time of that epoch.
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
    /// Where state lies that is read in parts: beside those files, under names of its own.
    fn files(&self) -> Arc<dyn RunFiles>;
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
    /// Files that it no longer names.
    stale: Vec<String>,
}

/// What a checkpoint takes out of the views.
#[derive(Default)]
struct Taken {
    files: Vec<(String, Vec<u8>)>,
    /// Runs that the last checkpoint does not name.
    unsynced: Vec<String>,
    manifests: Vec<(ObjectId, Manifest)>,
    saved: Vec<SavedView>,
    /// Files that it no longer names.
    stale: Vec<String>,
}

impl Taken {
    /// Takes what changed of a view.
    fn take(&mut self, view: &mut View, space: &Space) -> Result<()> {
        let runs = view.flush()?;
        let increments: u64 = view.manifest.files.iter().skip(1).map(|f| f.bytes).sum();
        let base = view.manifest.files.first().map_or(0, |f| f.bytes);
        let full = view.save_all
            || view.manifest.files.is_empty()
            || increments > base.max(1 << 20)
            // What went to runs need not stay in the files.
            || runs.is_of_more(&view.manifest.runs)
            || view.output.is_saved_as_runs() != view.manifest.answer.is_some();
        let (bytes, answer) = view.save(full)?;
        self.stale.extend(view.take_stale());
        if bytes.is_none() && runs == view.manifest.runs && answer == view.manifest.answer {
            return Ok(());
        }
        let mut manifest = view.manifest.clone();
        manifest.failed = view.saved_failure();
        manifest.is_cut_off = view.is_cut_off;
        if full {
            self.stale.extend(manifest.files.drain(..).map(|f| f.name));
        }
        self.unsynced.extend(runs.names().filter(|n| !manifest.runs.has(n)).map(str::to_string));
        self.stale.extend(manifest.runs.names().filter(|n| !runs.has(n)).map(str::to_string));
        manifest.runs = runs;
        let names = |of: &Option<SavedRuns>| of.iter().flat_map(SavedRuns::names).map(str::to_string).collect();
        let (old, new): (BTreeSet<String>, BTreeSet<String>) = (names(&manifest.answer), names(&answer));
        self.unsynced.extend(new.difference(&old).cloned());
        self.stale.extend(old.difference(&new).cloned());
        manifest.answer = answer;
        if let Some(bytes) = bytes {
            let name = space.name_whole(&view.id().to_string());
            manifest.files.push(StateFile { name: name.clone(), bytes: bytes.len() as u64 });
            self.files.push((name, bytes));
        }
        view.save_all = false;
        self.saved.push(SavedView {
            id: view.id(),
            version: view.definition.version,
            manifest: serde_json::to_vec(&manifest).unwrap_or_default(),
        });
        self.manifests.push((view.id(), manifest));
        Ok(())
    }
}

impl Core {
    /// Takes the state out of the views and hands it to a thread that writes it. Epochs go on meanwhile.
    pub(super) fn begin_checkpoint(&mut self, replies: Vec<Reply<()>>) {
        if self.catch_up_outside() {
            let behind = Error::new(
                ErrorKind::Retry,
                "changes wait for a sink or for dead letters, which no replay makes again",
            );
            replies.into_iter().for_each(|reply| drop(reply.send(Err(behind.clone()))));
            return;
        }
        let epoch = self.epoch;
        let mut taken = Taken { stale: std::mem::take(&mut self.stale), ..Taken::default() };
        for view in &mut self.views {
            // Once: of a view that failed only the answer is kept, and why.
            if view.failed.is_some() && !view.save_all {
                continue;
            }
            if let Err(e) = taken.take(view, &self.space) {
                tracing::error!(view = %view.id(), error = %e, "the state of a view could not be saved");
                view.save_all = true;
                return self.give_up(taken, replies, &e);
            }
        }
        let Taken { files, unsynced, manifests, saved, mut stale } = taken;
        let gone = std::mem::take(&mut self.removed);
        for (id, files) in &gone {
            // What one that took its place took over is still needed.
            let now = self.views.iter().find(|v| v.id() == *id);
            let is_needed = |name: &&String| now.is_some_and(|view| view.circuit.has_run(name));
            stale.extend(files.iter().filter(|name| !is_needed(name)).cloned());
        }
        // A replaced view left its old files, but its name in the checkpoint stays.
        // One that was replaced and then dropped is here twice.
        let removed: BTreeSet<ObjectId> =
            gone.iter().map(|g| g.0).filter(|id| !self.views.iter().any(|v| v.id() == *id)).collect();
        let checkpoint = SavedCheckpoint {
            epoch,
            // Not the time now: what is shown after a restart is the answer of that epoch.
            time_us: self.time_us,
            frontier: self.encode_frontier(),
            views: saved,
            removed: removed.into_iter().collect(),
        };
        let store = Arc::clone(&self.store);
        let space = Arc::clone(&self.space);
        let (tell, done) = std::sync::mpsc::channel();
        let no_longer = stale.clone();
        let work = move || {
            let result = files
                .iter()
                .try_for_each(|(name, bytes)| store.write(name, bytes))
                .and_then(|()| if unsynced.is_empty() { Ok(()) } else { space.files().sync(&unsynced) })
                .and_then(|()| store.commit(checkpoint));
            if result.is_ok() {
                store.remove(&no_longer);
            }
            let _ = tell.send(result);
        };
        if std::thread::Builder::new().name("checkpoint".into()).spawn(work).is_err() {
            tracing::error!("the checkpoint's thread could not be started");
        }
        self.pace.begin();
        self.writing = Some(Writing { epoch, done, replies, manifests, gone, stale });
    }

    /// Ends a checkpoint that lacks a view's state: with it, that view would be shown at an epoch that it has not come to.
    fn give_up(&mut self, taken: Taken, replies: Vec<Reply<()>>, error: &Error) {
        self.stale.extend(taken.stale);
        for (id, _) in taken.manifests {
            if let Some(view) = self.views.iter_mut().find(|v| v.id() == id) {
                view.save_all = true;
            }
        }
        self.pace.begin();
        replies.into_iter().for_each(|reply| drop(reply.send(Err(error.clone()))));
    }

    /// Makes a checkpoint and waits for it, first for what is behind outside. Tells if everything up to now is in one.
    pub(super) fn checkpoint_now(&mut self) -> bool {
        self.finish_checkpoint(true);
        self.wait_for_outside();
        self.begin_checkpoint(vec![]);
        self.finish_checkpoint(true);
        self.checkpointed >= self.epoch
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
            match self.views.iter_mut().find(|v| v.id() == id) {
                // What was taken out for this run is not on disk: the next one writes all. The catalog may name what this one wrote
                // until then, if its commit happened and only seemed to fail.
                Some(view) if result.is_err() => {
                    let is_new = |f: &StateFile| !view.manifest.files.contains(f);
                    self.stale.extend(manifest.files.into_iter().filter(is_new).map(|f| f.name));
                    view.save_all = true;
                }
                Some(view) if view.manifest.shape == manifest.shape => view.manifest = manifest,
                // The view has gone, or became another, while this was written.
                _ => self.removed.push((id, manifest.names().map(str::to_string).collect())),
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
                self.stale.extend(writing.stale);
                tracing::error!(error = %e, "a checkpoint failed; the log keeps everything and it will be tried again")
            }
        }
        for reply in writing.replies {
            let _ = reply.send(result.clone());
        }
    }
}
