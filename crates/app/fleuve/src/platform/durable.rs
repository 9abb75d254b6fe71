//! What the engine needs to survive a crash, on the log, the catalog and files: the epoch journal and checkpoints.

use std::sync::Arc;

use bytes::Bytes;
use fleuve_catalog::{Catalog, Checkpoint};
use fleuve_engine::{CheckpointStore, Journal, SavedCheckpoint, SavedView};
use fleuve_log::Log;
use fleuve_store::Blob;
use fleuve_types::{Epoch, Error, Frontier, Result};
use tokio::runtime::Handle;

/// The journal as marks of the log: an epoch's mark goes in front of whatever the epoch writes.
pub struct LogJournal(pub Log);

const PREFIX: &str = "epoch/";

fn key(epoch: Epoch) -> String {
    format!("{PREFIX}{epoch:020}")
}

impl Journal for LogJournal {
    fn append(&mut self, epoch: Epoch, time_us: i64, frontier: &Frontier) -> Result<()> {
        let mut value = time_us.to_be_bytes().to_vec();
        value.extend(frontier.encode());
        // Not waited for: what comes after it in the log is not durable without it.
        self.0
            .append_atomic_nowait(vec![], vec![(key(epoch), Some(Bytes::from(value)))])
            .map(|_| ())
            .map_err(|e| Error::io("write the epoch journal", e))
    }

    fn after(&self, epoch: Epoch) -> Result<Vec<(Epoch, i64, Frontier)>> {
        let damaged = || Error::io("read the epoch journal", "an entry is damaged");
        self.0
            .marks_with_prefix(PREFIX)
            .into_iter()
            .map(|(name, value)| {
                let epoch = name[PREFIX.len()..].parse().map_err(|_| damaged())?;
                let (time, frontier) = value.split_first_chunk::<8>().ok_or_else(damaged)?;
                Ok((epoch, i64::from_be_bytes(*time), Frontier::decode(frontier).ok_or_else(damaged)?))
            })
            .filter(|entry| entry.as_ref().is_ok_and(|(e, _, _)| *e > epoch) || entry.is_err())
            .collect()
    }

    fn trim(&mut self, epoch: Epoch) -> Result<()> {
        let old: Vec<_> = self
            .0
            .marks_with_prefix(PREFIX)
            .into_iter()
            .filter(|(name, _)| *name <= key(epoch))
            .map(|(name, _)| (name, None))
            .collect();
        if old.is_empty() {
            return Ok(());
        }
        self.0.append_atomic_nowait(vec![], old).map(|_| ()).map_err(|e| Error::io("trim the epoch journal", e))
    }
}

/// Checkpoints: runs as objects, what names them in the catalog's database.
pub struct CatalogCheckpoints {
    pub catalog: Catalog,
    pub runs: Arc<dyn Blob>,
    pub runtime: Handle,
}

impl CheckpointStore for CatalogCheckpoints {
    fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        self.runs.put(name, bytes)
    }

    fn read(&self, name: &str) -> Result<Vec<u8>> {
        self.runs.get(name).map(|b| b.to_vec())
    }

    fn remove(&self, names: &[String]) {
        for name in names {
            if let Err(e) = self.runs.delete(name) {
                tracing::warn!(error = %e, "an old state file could not be removed");
            }
        }
    }

    fn commit(&self, checkpoint: SavedCheckpoint) -> Result<()> {
        let checkpoint = Checkpoint {
            epoch: checkpoint.epoch,
            time_us: checkpoint.time_us,
            frontier: checkpoint.frontier,
            views: checkpoint.views.into_iter().map(|v| (v.id, v.version, v.manifest)).collect(),
            removed: checkpoint.removed,
        };
        self.runtime.block_on(self.catalog.commit_checkpoint(checkpoint))
    }

    fn load(&self) -> Result<Option<SavedCheckpoint>> {
        let checkpoint = self.runtime.block_on(self.catalog.load_checkpoint())?;
        Ok(checkpoint.map(|c| SavedCheckpoint {
            epoch: c.epoch,
            time_us: c.time_us,
            frontier: c.frontier,
            views: c.views.into_iter().map(|(id, version, manifest)| SavedView { id, version, manifest }).collect(),
            removed: vec![],
        }))
    }
}
