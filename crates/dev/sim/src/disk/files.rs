use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use fleuve_store::DiskFile;

use super::{Fault, SimDisk, State, class, off};

/// A file.
#[derive(Debug, Default)]
pub(super) struct Node {
    /// As programs see it.
    pub(super) seen: Vec<u8>,
    /// As it surely is on the platter.
    pub(super) durable: Vec<u8>,
    /// What was done to it since, in order.
    pub(super) pending: Vec<Pending>,
}

/// A change of a file that is not durable yet.
#[derive(Clone, Debug)]
pub(super) enum Pending {
    Write(u64, Vec<u8>),
    Length(u64),
}

impl Pending {
    pub(super) fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Length(length) => bytes.resize(*length as usize, 0),
            Self::Write(at, what) => {
                let (from, to) = (*at as usize, *at as usize + what.len());
                if bytes.len() < to {
                    bytes.resize(to, 0);
                }
                bytes[from..to].copy_from_slice(what);
            }
        }
    }
}

/// A change of a folder.
#[derive(Clone, Debug)]
pub(super) enum NameChange {
    Set(PathBuf, Option<usize>),
    Rename(PathBuf, PathBuf, usize),
    Remove(PathBuf),
}

impl NameChange {
    pub(super) fn apply(&self, names: &mut BTreeMap<PathBuf, Option<usize>>) {
        match self {
            Self::Set(path, node) => drop(names.insert(path.clone(), *node)),
            Self::Remove(path) => drop(names.remove(path)),
            Self::Rename(from, to, node) => {
                names.remove(from);
                names.insert(to.clone(), Some(*node));
            }
        }
    }
}

fn failed() -> io::Error {
    io::Error::other("input/output error (simulated)")
}

impl State {
    fn note(&mut self, node: usize, change: Pending) {
        let node = &mut self.nodes[node];
        change.apply(&mut node.seen);
        node.pending.push(change);
    }

    pub(super) fn truncate(&mut self, path: &Path, node: usize, length: u64) -> io::Result<()> {
        let is_cut = self.begin("truncate", path) == Some(Fault::PowerCut);
        if !is_cut || self.random.chance(50) {
            self.note(node, Pending::Length(length));
        }
        self.is_off |= is_cut;
        if is_cut { Err(off()) } else { Ok(()) }
    }

    fn write(&mut self, path: &Path, node: usize, bytes: &[u8], position: u64) -> io::Result<()> {
        let fault = self.begin("write", path);
        let needs_room = position + bytes.len() as u64 > self.nodes[node].seen.len() as u64;
        let is_full = self.is_full && needs_room;
        let kept = if fault.is_some() || is_full { self.random.below(bytes.len() + 1) } else { bytes.len() };
        if kept > 0 {
            self.note(node, Pending::Write(position, bytes[..kept].to_vec()));
        }
        match fault {
            Some(Fault::PowerCut) => {
                self.is_off = true;
                Err(off())
            }
            Some(_) => Err(failed()),
            None if is_full => Err(io::ErrorKind::StorageFull.into()),
            None => Ok(()),
        }
    }

    fn sync(&mut self, path: &Path, node: usize) -> io::Result<()> {
        let fault = self.begin("sync", path);
        let lies = if class(path) == "wal" { self.lies.wal_sync } else { self.lies.file_sync };
        match fault {
            None if lies => Ok(()),
            None => {
                self.nodes[node].settle();
                Ok(())
            }
            Some(Fault::PowerCut) => {
                if self.random.chance(50) && !lies {
                    self.nodes[node].settle();
                }
                self.is_off = true;
                Err(off())
            }
            Some(_) => {
                // Pages whose write failed are clean from now on: they can be read until they leave memory, and no later sync
                // writes them.
                let pending = std::mem::take(&mut self.nodes[node].pending);
                for change in pending {
                    if self.random.chance(50) {
                        change.apply(&mut self.nodes[node].durable);
                    }
                }
                Err(failed())
            }
        }
    }
}

impl Node {
    fn settle(&mut self) {
        for change in std::mem::take(&mut self.pending) {
            change.apply(&mut self.durable);
        }
    }
}

#[derive(Debug)]
pub(super) struct SimFile {
    pub(super) disk: SimDisk,
    pub(super) node: usize,
    pub(super) path: PathBuf,
}

impl DiskFile for SimFile {
    fn read_exact_at(&self, bytes: &mut [u8], position: u64) -> io::Result<()> {
        let state = self.disk.live()?;
        if state.reads_fail {
            return Err(failed());
        }
        let seen = &state.nodes[self.node].seen;
        let from = usize::try_from(position).unwrap_or(usize::MAX);
        let there = seen.get(from..from.saturating_add(bytes.len())).ok_or(io::ErrorKind::UnexpectedEof)?;
        bytes.copy_from_slice(there);
        Ok(())
    }

    fn write_all_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        self.disk.live()?.write(&self.path, self.node, bytes, position)
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.disk.live()?.truncate(&self.path, self.node, bytes)
    }

    fn size_bytes(&self) -> io::Result<u64> {
        Ok(self.disk.live()?.nodes[self.node].seen.len() as u64)
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.live()?.sync(&self.path, self.node)
    }
}
