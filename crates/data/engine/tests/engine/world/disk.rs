//! What a world has on disk, and what goes wrong with it.

use std::sync::atomic::Ordering;

use fleuve_engine::{RunFiles, SavedCheckpoint};

use super::{World, id};

impl World {
    /// Whether checkpoints can be written.
    pub fn fill_disk(&self, is_full: bool) {
        self.store.is_full.store(is_full, Ordering::SeqCst);
    }

    /// Whether parts of states can be written.
    pub fn has_room_for_runs(&self, has_room: bool) {
        self.store.has_no_runs.store(!has_room, Ordering::SeqCst);
    }

    /// Whether checkpoints come to a halt where they write parts of states.
    pub fn hold_checkpoints(&self, are_held: bool) {
        *self.store.is_held.lock() = are_held;
        self.store.let_go.notify_all();
    }

    /// The next checkpoint's commit happens, and says that it did not.
    pub fn lose_an_answer(&self) {
        self.store.seems_to_fail.store(true, Ordering::SeqCst);
    }

    /// The files of state that are read whole and that the last checkpoint does not name.
    pub fn unnamed_files(&self) -> Vec<String> {
        let views = self.saved().map(|s| s.views).unwrap_or_default();
        let named: String = views.iter().map(|v| String::from_utf8_lossy(&v.manifest)).collect();
        self.store.files.lock().keys().filter(|name| !named.contains(*name)).cloned().collect()
    }

    /// The runs of a view's operators in the last checkpoint.
    pub fn operator_runs(&self, name: &str) -> Vec<String> {
        let saved = self.saved().unwrap();
        let view = saved.views.iter().find(|v| v.id == id(name)).unwrap();
        let manifest = String::from_utf8_lossy(&view.manifest).into_owned();
        let of_operators = manifest.split("\"answer\":").next().unwrap();
        self.run_files().into_iter().filter(|file| of_operators.contains(file)).collect()
    }

    /// How long the files of a view's state are that are read whole.
    pub fn state_bytes(&self, name: &str) -> usize {
        let of = format!("{}/", id(name));
        let files = self.store.files.lock();
        files.iter().filter(|(file, _)| file.starts_with(&of)).map(|(_, bytes)| bytes.len()).sum()
    }

    /// The last checkpoint.
    pub fn saved(&self) -> Option<SavedCheckpoint> {
        self.store.last.lock().clone()
    }

    /// Until there is such a checkpoint.
    pub async fn saves(&self, wanted: impl Fn(&SavedCheckpoint) -> bool) {
        while !self.saved().is_some_and(|s| wanted(&s)) {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    }

    /// The version of a view in the last checkpoint.
    pub fn saved_version(&self, name: &str) -> Option<u32> {
        self.store.last.lock().as_ref()?.views.iter().find(|v| v.id == id(name)).map(|v| v.version)
    }

    /// The names of the files of state that are read in parts.
    pub fn run_files(&self) -> Vec<String> {
        self.store.runs.list().unwrap()
    }

    pub fn file_len(&self, name: &str) -> usize {
        self.store.runs.bytes(name).unwrap().len()
    }

    /// Changes a byte of a file of state.
    pub fn damage(&self, name: &str, at: usize) {
        let mut bytes = self.store.runs.bytes(name).unwrap();
        bytes[at] ^= 1;
        self.store.runs.set(name, Some(bytes));
    }

    /// A file of state that nothing names.
    pub fn leave_behind(&self, name: &str) {
        self.store.runs.set(name, Some(vec![1]));
        self.store.synced.lock().insert(name.into());
    }
}
