//! A file system in memory that may do whatever POSIX lets it: what was not synced survives a loss of power in part, in any order, or
//! not at all; writes fail, are cut short, find the disk full; reads fail.
//!
//! Two states are kept side by side: what the programs see (the page cache), and what is surely on the platter. Between them are the
//! writes to files and the changes of folders since the last sync. [`SimDisk::cut_power`] decides by the seed what became of those.

mod files;
mod power;

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fleuve_store::{Disk, DiskFile, Entry, Open};
use parking_lot::Mutex;

use crate::random::Random;
use files::{NameChange, Node, SimFile};

/// A fault that strikes at one operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The power goes: this operation may still happen, none after it does.
    PowerCut,
    /// A write fails after a part of it.
    Write,
    /// A sync fails, and what it was to make durable may be lost although it can still be read (as Linux has it).
    Sync,
}

/// What the disk claims to do and does not: switches that show that the simulator finds such things.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lies {
    /// Syncs of write-ahead files do nothing.
    pub wal_sync: bool,
    /// Syncs of other files do nothing.
    pub file_sync: bool,
    /// Syncs of folders do nothing.
    pub dir_sync: bool,
}

/// A handle on the simulated disk for one life of the server: after a crash it gives errors only.
#[derive(Clone, Debug)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
    life: u64,
}

#[derive(Debug)]
struct State {
    life: u64,
    is_off: bool,
    nodes: Vec<Node>,
    /// As programs see it. `None` is a folder.
    names: BTreeMap<PathBuf, Option<usize>>,
    /// As it is on the platter.
    durable_names: BTreeMap<PathBuf, Option<usize>>,
    /// By folder: its changes since it was synced.
    changes: BTreeMap<PathBuf, Vec<NameChange>>,
    locked: BTreeSet<PathBuf>,
    random: Random,
    lies: Lies,
    /// Faults to come, and after how many operations that they can strike.
    armed: Vec<(u64, Fault)>,
    is_full: bool,
    reads_fail: bool,
    /// A fault struck in this life.
    has_struck: bool,
    /// Operations that changed something or made it durable, and a digest of them.
    operations: u64,
    digest: u64,
    /// The same in words, when somebody wants to see it.
    told: Option<Vec<String>>,
}

/// What kind of file it is, by its name: all that a trace may say, as names hold ids that are made at random.
pub(crate) fn class(path: &Path) -> &'static str {
    match path.extension().and_then(|e| e.to_str()) {
        Some("wal") => "wal",
        Some("seg") => "segment",
        Some("run") => "state",
        Some("tmp") => "temporary",
        _ if path.ends_with("MANIFEST") => "manifest",
        _ if path.ends_with("LOCK") => "lock",
        _ => "folder",
    }
}

fn off() -> io::Error {
    io::Error::other("the machine is off")
}

impl State {
    /// Counts an operation; gives the fault that strikes at it.
    fn begin(&mut self, what: &'static str, path: &Path) -> Option<Fault> {
        self.operations += 1;
        let class = class(path);
        for byte in what.bytes().chain(class.bytes()) {
            self.digest = (self.digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        if let Some(told) = &mut self.told {
            told.push(format!("{what} {class}"));
        }
        let mut struck = None;
        for (left, fault) in &mut self.armed {
            let strikes = match fault {
                Fault::PowerCut => true,
                Fault::Write => what == "write",
                Fault::Sync => what == "sync",
            };
            if strikes && struck.is_none() {
                *left = left.saturating_sub(1);
                if *left == 0 {
                    struck = Some(*fault);
                }
            }
        }
        self.armed.retain(|(left, _)| *left > 0);
        self.has_struck |= struck.is_some();
        if let (Some(fault), Some(told)) = (struck, &mut self.told) {
            told.push(format!("    {fault:?}"));
        }
        struck
    }

    /// Makes a change of names, unless the power goes before it. A power cut may come before or after.
    fn change(&mut self, what: &'static str, path: &Path, change: NameChange) -> io::Result<()> {
        let is_cut = self.begin(what, path) == Some(Fault::PowerCut);
        if is_cut && self.random.chance(50) {
            self.is_off = true;
            return Err(off());
        }
        change.apply(&mut self.names);
        let dir = path.parent().unwrap_or(path).to_path_buf();
        self.changes.entry(dir).or_default().push(change);
        self.is_off |= is_cut;
        if is_cut { Err(off()) } else { Ok(()) }
    }
}

impl SimDisk {
    /// An empty disk with the folder `root`, which is durable.
    pub fn new(random: Random, root: &Path, lies: Lies) -> Self {
        let names = BTreeMap::from([(root.to_path_buf(), None)]);
        let state = State {
            life: 0,
            is_off: false,
            nodes: vec![],
            durable_names: names.clone(),
            names,
            changes: BTreeMap::new(),
            locked: BTreeSet::new(),
            random,
            lies,
            armed: vec![],
            is_full: false,
            reads_fail: false,
            has_struck: false,
            operations: 0,
            digest: 0xcbf2_9ce4_8422_2325,
            told: None,
        };
        Self { state: Arc::new(Mutex::new(state)), life: 0 }
    }

    /// Lets a fault strike at the `after`th operation from now that it can strike at, counting from 1.
    pub fn arm(&self, after: u64, fault: Fault) {
        self.state.lock().armed.push((after.max(1), fault));
    }

    /// Whether writes that need room fail.
    pub fn set_full(&self, is_full: bool) {
        self.state.lock().is_full = is_full;
    }

    /// Whether reads fail.
    pub fn set_reads_fail(&self, reads_fail: bool) {
        self.state.lock().reads_fail = reads_fail;
    }

    /// No fault is left to come.
    pub fn heal(&self) {
        let mut state = self.state.lock();
        state.armed.clear();
        (state.is_full, state.reads_fail) = (false, false);
    }

    /// How many faults are still to come.
    pub fn armed(&self) -> usize {
        self.state.lock().armed.len()
    }

    /// Whether a fault struck since the server was started.
    pub fn has_struck(&self) -> bool {
        self.state.lock().has_struck
    }

    /// Whether the power went.
    pub fn is_off(&self) -> bool {
        self.state.lock().is_off
    }

    /// Strikes the catalog's commits, which are on another file, as an operation like others: true when the power goes at this one.
    pub(crate) fn commit(&self) -> io::Result<bool> {
        let mut state = self.live()?;
        let is_cut = state.begin("commit", Path::new("catalog")) == Some(Fault::PowerCut);
        state.is_off |= is_cut;
        Ok(is_cut)
    }

    /// How many operations changed something, and a digest of all of them.
    pub fn digest(&self) -> (u64, u64) {
        let state = self.state.lock();
        (state.operations, state.digest)
    }

    /// Begins to note operations in words; gives those since the last call.
    pub fn tell(&self) -> Vec<String> {
        self.state.lock().told.replace(vec![]).unwrap_or_default()
    }

    fn live(&self) -> io::Result<parking_lot::MutexGuard<'_, State>> {
        let state = self.state.lock();
        if state.is_off || state.life != self.life { Err(off()) } else { Ok(state) }
    }
}

impl Disk for SimDisk {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.live()?;
        let there = state.names.get(path).copied();
        let node = match (there, how) {
            (Some(None), _) => return Err(io::ErrorKind::IsADirectory.into()),
            (None, Open::Read | Open::Write) => return Err(io::ErrorKind::NotFound.into()),
            (Some(Some(node)), Open::Read | Open::Write) => node,
            (there, Open::Create) => {
                if !matches!(path.parent().and_then(|p| state.names.get(p)), Some(None)) {
                    return Err(io::ErrorKind::NotFound.into());
                }
                match there {
                    Some(Some(node)) => {
                        state.truncate(path, node, 0)?;
                        node
                    }
                    _ => {
                        state.nodes.push(Node::default());
                        let node = state.nodes.len() - 1;
                        state.change("create", path, NameChange::Set(path.to_path_buf(), Some(node)))?;
                        node
                    }
                }
            }
        };
        Ok(Arc::new(SimFile { disk: self.clone(), node, path: path.to_path_buf() }))
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let mut state = self.live()?;
        let missing: Vec<PathBuf> =
            path.ancestors().take_while(|p| !state.names.contains_key(*p)).map(Path::to_path_buf).collect();
        missing.into_iter().rev().try_for_each(|dir| state.change("mkdir", &dir, NameChange::Set(dir.clone(), None)))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        let state = self.live()?;
        if !matches!(state.names.get(dir), Some(None)) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let inside = state.names.iter().filter(|(path, _)| path.parent() == Some(dir));
        Ok(inside.map(|(path, node)| Entry { path: path.clone(), is_dir: node.is_none() }).collect())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.live()?;
        let Some(Some(node)) = state.names.get(from).copied() else { return Err(io::ErrorKind::NotFound.into()) };
        assert_eq!(from.parent(), to.parent(), "nothing here moves files between folders");
        state.change("rename", to, NameChange::Rename(from.to_path_buf(), to.to_path_buf(), node))
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let mut state = self.live()?;
        match state.names.get(path) {
            Some(Some(_)) => state.change("remove", path, NameChange::Remove(path.to_path_buf())),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.live()?;
        if !matches!(state.names.get(path), Some(None)) {
            return Err(io::ErrorKind::NotFound.into());
        }
        if state.names.keys().any(|p| p.parent() == Some(path)) {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        state.change("rmdir", path, NameChange::Remove(path.to_path_buf()))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.live()?;
        if !matches!(state.names.get(dir), Some(None)) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let fault = state.begin("sync", dir);
        let happens = match fault {
            None => true,
            Some(Fault::PowerCut) => state.random.chance(50),
            // What a folder's failed sync leaves is still dirty: it is the journal's, not the page cache's.
            Some(_) => false,
        };
        if happens && !state.lies.dir_sync {
            let changes = state.changes.remove(dir).unwrap_or_default();
            changes.iter().for_each(|c| c.apply(&mut state.durable_names));
        }
        state.is_off |= fault == Some(Fault::PowerCut);
        fault.map_or(Ok(()), |_| Err(io::Error::other("input/output error (simulated)")))
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Any + Send + Sync>> {
        let mut state = self.live()?;
        if !state.locked.insert(path.to_path_buf()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(Lock { disk: self.clone(), path: path.to_path_buf() }))
    }
}

struct Lock {
    disk: SimDisk,
    path: PathBuf,
}

impl Drop for Lock {
    fn drop(&mut self) {
        let mut state = self.disk.state.lock();
        if state.life == self.disk.life {
            state.locked.remove(&self.path);
        }
    }
}

#[cfg(test)]
mod tests;
