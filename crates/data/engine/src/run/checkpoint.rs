//! Checkpoints: state runs first, then one transaction that names them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};

use fleuve_types::{Epoch, Error, ErrorKind, Frontier, ObjectId, Result};

use super::Reply;
use super::core::Core;
use super::times::Outlived;
use super::view::{Manifest, StateFile, Unencoded, View};
use crate::operators::caught;
use crate::output::SavedRuns;
use crate::paging::Unwritten;
use crate::state::Room;
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
    frontier: Frontier,
    /// It has views, or versions of them, that the one before lacks.
    pub(super) has_new: bool,
    outlived: Outlived,
    pub(super) done: Receiver<Written>,
    /// A stepped engine writes it itself, when it is to end.
    work: Option<Box<dyn FnOnce() + Send>>,
    pub(super) replies: Vec<Reply<()>>,
    /// The views that it has something of.
    views: Vec<ObjectId>,
    /// Views that are gone with it, and their files.
    gone: Vec<(ObjectId, Vec<String>)>,
    /// Files that it no longer names.
    stale: Vec<String>,
}

/// What the thread that writes a checkpoint gives back.
pub(super) struct Written {
    result: Result<()>,
    /// What the views' manifests become if it is done, as far as it came.
    manifests: Vec<(ObjectId, Manifest)>,
}

/// A view's part of a checkpoint, taken out of the view.
struct Part {
    id: ObjectId,
    version: u32,
    /// As it will be, but for what is still to be written.
    manifest: Manifest,
    /// A file of its own.
    file: Option<Unencoded>,
    /// The runs of its operators.
    runs: Unwritten,
    /// Runs that are there, and that the last checkpoint does not name.
    unsynced: Vec<String>,
}

/// What a checkpoint takes out of the views.
struct Taken {
    parts: Vec<Part>,
    /// Files that it no longer names.
    stale: Vec<String>,
    /// For what is copied.
    room: Room,
}

impl Taken {
    /// Takes what changed of a view.
    fn take(&mut self, view: &mut View) -> Result<()> {
        let unwritten = view.begin_flush(&mut self.room)?;
        let runs = unwritten.written();
        let increments: u64 = view.manifest.files.iter().skip(1).map(|f| f.bytes).sum();
        let base = view.manifest.files.first().map_or(0, |f| f.bytes);
        let full = view.save_all
            || view.manifest.files.is_empty()
            || increments > base.max(1 << 20)
            // What went to runs need not stay in the files.
            || runs.is_of_more(&view.manifest.runs)
            || view.output.is_saved_as_runs() != view.manifest.answer.is_some();
        let (file, answer) = view.save(full)?;
        self.stale.extend(view.take_stale());
        let is_as_before = *runs == view.manifest.runs && answer == view.manifest.answer;
        if file.is_none() && unwritten.is_nothing() && is_as_before {
            return Ok(());
        }
        let mut manifest = view.manifest.clone();
        manifest.failed = view.saved_failure();
        (manifest.is_cut_off, manifest.waits) = (view.is_cut_off, view.waits);
        if full {
            self.stale.extend(manifest.files.drain(..).map(|f| f.name));
        }
        let mut unsynced: Vec<String> = runs.names().filter(|n| !manifest.runs.has(n)).map(str::to_string).collect();
        self.stale.extend(manifest.runs.names().filter(|n| !runs.has(n)).map(str::to_string));
        let names = |of: &Option<SavedRuns>| of.iter().flat_map(SavedRuns::names).map(str::to_string).collect();
        let (old, new): (BTreeSet<String>, BTreeSet<String>) = (names(&manifest.answer), names(&answer));
        unsynced.extend(new.difference(&old).cloned());
        self.stale.extend(old.difference(&new).cloned());
        manifest.answer = answer;
        view.save_all = false;
        let version = view.definition.version;
        self.parts.push(Part { id: view.id(), version, manifest, file, runs: unwritten, unsynced });
        Ok(())
    }
}

impl Part {
    /// Writes what is to be written of it; the manifest has what is there when this returns, also if it failed.
    fn write(&mut self, store: &dyn CheckpointStore, space: &Space) -> Result<()> {
        let written = self.runs.write_each(|name| self.unsynced.push(name.into()));
        self.manifest.runs = self.runs.written().clone();
        written?;
        if let Some(file) = self.file.take() {
            let bytes = file.encode()?;
            let name = space.name_whole(&self.id.to_string());
            self.manifest.files.push(StateFile { name: name.clone(), bytes: bytes.len() as u64 });
            store.write(&name, &bytes)?;
        }
        Ok(())
    }

    fn saved(&self) -> SavedView {
        let manifest = serde_json::to_vec(&self.manifest).unwrap_or_default();
        SavedView { id: self.id, version: self.version, manifest }
    }
}

/// Writes the parts of a checkpoint, then commits it.
fn write(
    parts: &mut [Part],
    mut checkpoint: SavedCheckpoint,
    (store, space): (&dyn CheckpointStore, &Space),
    no_longer: &[String],
) -> Result<()> {
    parts.iter_mut().try_for_each(|part| part.write(store, space))?;
    let unsynced: Vec<String> = parts.iter_mut().flat_map(|part| std::mem::take(&mut part.unsynced)).collect();
    if !unsynced.is_empty() {
        space.files().sync(&unsynced)?;
    }
    checkpoint.views = parts.iter().map(Part::saved).collect();
    store.commit(checkpoint)?;
    store.remove(no_longer);
    Ok(())
}

impl Core {
    /// Takes the state out of the views and hands it to a thread that writes it. Epochs go on meanwhile.
    pub(super) fn begin_checkpoint(&mut self, replies: Vec<Reply<()>>) {
        if self.catch_up_outside().is_behind {
            let behind = Error::new(
                ErrorKind::Retry,
                "changes wait for a sink or for dead letters, which no replay makes again",
            );
            replies.into_iter().for_each(|reply| drop(reply.send(Err(behind.clone()))));
            return;
        }
        let epoch = self.epoch;
        let has_new = self.views.iter().any(|v| v.save_all);
        let room = Room::of(self.limits.flush_room());
        let mut taken = Taken { stale: std::mem::take(&mut self.stale), room, parts: vec![] };
        for view in &mut self.views {
            // Once: of a view that failed only the answer is kept, and why.
            if view.failed.is_some() && !view.save_all {
                continue;
            }
            if let Err(e) = taken.take(view) {
                tracing::error!(view = %view.id(), error = %e, "the state of a view could not be saved");
                view.save_all = true;
                return self.give_up(taken, replies, &e);
            }
        }
        self.has_merged = self.is_merging;
        let Taken { mut parts, mut stale, .. } = taken;
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
            views: vec![],
            removed: removed.into_iter().collect(),
        };
        let store = Arc::clone(&self.store);
        let space = Arc::clone(&self.space);
        let (tell, done) = std::sync::mpsc::channel();
        let no_longer = stale.clone();
        let views = parts.iter().map(|part| part.id).collect();
        let work = move || {
            let files = (store.as_ref(), space.as_ref());
            let result = caught("the checkpoint", || write(&mut parts, checkpoint, files, &no_longer));
            let manifests = parts.into_iter().map(|part| (part.id, part.manifest)).collect();
            let _ = tell.send(Written { result, manifests });
        };
        let work: Option<Box<dyn FnOnce() + Send>> = if self.options.stepped {
            Some(Box::new(work))
        } else {
            if std::thread::Builder::new().name("checkpoint".into()).spawn(work).is_err() {
                tracing::error!("the checkpoint's thread could not be started");
            }
            None
        };
        self.pace.begin();
        let frontier = self.frontier.clone();
        self.writing = Some(Writing {
            epoch,
            frontier,
            has_new,
            outlived: self.outlived.clone(),
            done,
            work,
            replies,
            views,
            gone,
            stale,
        });
    }

    /// Ends a checkpoint that lacks a view's state: with it, that view would be shown at an epoch that it has not come to.
    fn give_up(&mut self, taken: Taken, replies: Vec<Reply<()>>, error: &Error) {
        self.stale.extend(taken.stale);
        for part in taken.parts {
            if let Some(view) = self.views.iter_mut().find(|v| v.id() == part.id) {
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
        // One that is refused leaves what has no epoch of its own, as a view that has just joined.
        let is_begun = self.writing.is_some();
        self.finish_checkpoint(true);
        is_begun && !self.is_dirty()
    }

    /// Writes what a stepped engine has begun: state that leaves memory waits for what is being written of it.
    pub(super) fn write_begun(&mut self) {
        if let Some(work) = self.writing.as_mut().and_then(|w| w.work.take()) {
            work();
        }
    }

    /// Notes the end of a checkpoint; with `wait`, waits for it.
    pub(super) fn finish_checkpoint(&mut self, wait: bool) {
        self.write_begun();
        let Some(writing) = self.writing.take() else { return };
        let ended = || Written { result: Err(Error::bug("the checkpoint's thread ended")), manifests: vec![] };
        let written = if wait {
            writing.done.recv().unwrap_or_else(|_| ended())
        } else {
            match writing.done.try_recv() {
                Ok(written) => written,
                Err(TryRecvError::Empty) => {
                    self.writing = Some(writing);
                    return;
                }
                Err(TryRecvError::Disconnected) => ended(),
            }
        };
        let Written { result, manifests } = written;
        self.views.iter_mut().for_each(View::settle);
        if result.is_err() {
            // What was taken out for this run is not on disk: the next one writes all.
            let taken = self.views.iter_mut().filter(|v| writing.views.contains(&v.id()));
            taken.for_each(|view| view.save_all = true);
        }
        for (id, manifest) in manifests {
            match self.views.iter_mut().find(|v| v.id() == id) {
                // The catalog may name what this one wrote until the next one, if its commit happened and only seemed to fail.
                Some(view) if result.is_err() => {
                    let kept: BTreeSet<&str> = view.manifest.names().chain(view.named_runs()).collect();
                    let gone = manifest.names().filter(|name| !kept.contains(name));
                    self.stale.extend(gone.map(str::to_string));
                }
                Some(view) if view.manifest.shape == manifest.shape => view.manifest = manifest,
                // The view has gone, or became another, while this was written.
                _ => self.removed.push((id, manifest.names().map(str::to_string).collect())),
            }
        }
        match &result {
            Ok(()) => {
                (self.checkpointed, self.saved) = (writing.epoch, writing.frontier);
                self.outlived_saved = writing.outlived;
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
