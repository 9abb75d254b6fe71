//! What the engine needs to survive a crash, on the log, the catalog and files: the epoch journal and checkpoints.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use fleuve_catalog::{Catalog, Checkpoint};
use fleuve_engine::{
    CheckpointStore, EpochEntry, Journal, RunFile, RunFileWriter, RunFiles, SavedCheckpoint, SavedView,
};
use fleuve_log::{AppendError, Log};
use fleuve_store::{Blob, BlobReader, BlobWriter};
use fleuve_types::{Epoch, Error, Frontier, ObjectId, Result};
use tokio::runtime::Handle;

/// The journal as marks of the log: an epoch's mark goes in front of whatever the epoch writes.
pub struct LogJournal(pub Log);

const PREFIX: &str = "epoch/";
/// A mark that is never set: forgetting it waits for all appends before it.
const BARRIER: &str = "checkpoint-barrier";

fn key(epoch: Epoch) -> String {
    format!("{PREFIX}{epoch:020}")
}

impl Journal for LogJournal {
    fn append(&mut self, entry: &EpochEntry, wait: bool) -> Result<()> {
        let failed = |e| match e {
            // What waits is written before long.
            AppendError::Busy => Error::from(e),
            e => Error::io("write the epoch journal", e),
        };
        let mark = (key(entry.epoch), Some(Bytes::from(encode(entry))));
        let pending = self.0.append_atomic_nowait(vec![], vec![mark]).map_err(failed)?;
        // Else not waited for: what comes after it in the log is not durable without it.
        if wait { futures::executor::block_on(pending).map(|_| ()).map_err(failed) } else { Ok(()) }
    }

    fn after(&self, epoch: Epoch) -> Result<Vec<EpochEntry>> {
        let damaged = || Error::io("read the epoch journal", "an entry is damaged");
        self.0
            .marks_with_prefix(PREFIX)
            .into_iter()
            .map(|(name, value)| {
                let epoch = name[PREFIX.len()..].parse().map_err(|_| damaged())?;
                decode(epoch, &value).ok_or_else(damaged)
            })
            .filter(|entry| entry.as_ref().map_or(true, |e| e.epoch > epoch))
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

/// An entry without its epoch: time, frontier, then a stream and its watermark for each.
fn encode(entry: &EpochEntry) -> Vec<u8> {
    let mut value = entry.time_us.to_be_bytes().to_vec();
    value.extend(entry.frontier.encode());
    for (stream, watermark) in &entry.watermarks {
        value.extend(stream.to_bytes());
        value.extend(watermark.to_be_bytes());
    }
    value
}

fn decode(epoch: Epoch, value: &[u8]) -> Option<EpochEntry> {
    let (time, rest) = value.split_first_chunk::<8>()?;
    let (frontier, mut rest) = Frontier::decode_prefix(rest)?;
    let mut watermarks = BTreeMap::new();
    while !rest.is_empty() {
        let (stream, r) = rest.split_first_chunk::<16>()?;
        let (watermark, r) = r.split_first_chunk::<8>()?;
        watermarks.insert(ObjectId::from_bytes(*stream), i64::from_be_bytes(*watermark));
        rest = r;
    }
    Some(EpochEntry { epoch, time_us: i64::from_be_bytes(*time), frontier, watermarks })
}

/// Checkpoints: runs as objects, what names them in the catalog's database.
pub struct CatalogCheckpoints {
    pub log: Log,
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

    fn files(&self) -> Arc<dyn RunFiles> {
        Arc::new(StateFiles(self.runs.clone()))
    }

    fn commit(&self, checkpoint: SavedCheckpoint) -> Result<()> {
        let checkpoint = Checkpoint {
            epoch: checkpoint.epoch,
            time_us: checkpoint.time_us,
            frontier: checkpoint.frontier,
            views: checkpoint.views.into_iter().map(|v| (v.id, v.version, v.manifest)).collect(),
            removed: checkpoint.removed,
        };
        self.runtime.block_on(async {
            // What its epochs wrote outside was queued before: it has to be durable first, as no replay makes it again.
            self.log.append_atomic(vec![], vec![(BARRIER.into(), None)]).await?;
            self.catalog.commit_checkpoint(checkpoint).await
        })
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

/// Files of state as objects.
struct StateFiles(Arc<dyn Blob>);

impl RunFiles for StateFiles {
    fn create(&self, name: &str) -> Result<Box<dyn RunFileWriter>> {
        Ok(Box::new(StateWriter(self.0.create(name)?)))
    }

    fn open(&self, name: &str) -> Result<Arc<dyn RunFile>> {
        Ok(Arc::new(StateFile(self.0.open(name)?)))
    }

    fn sync(&self, names: &[String]) -> Result<()> {
        self.0.sync(names)
    }

    fn remove(&self, names: &[String]) {
        for name in names {
            if let Err(e) = self.0.delete(name) {
                tracing::warn!(error = %e, "an old state file could not be removed");
            }
        }
    }

    fn list(&self) -> Result<Vec<String>> {
        self.0.list("")
    }
}

struct StateWriter(Box<dyn BlobWriter>);

impl RunFileWriter for StateWriter {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.0.write(bytes)
    }

    fn finish(self: Box<Self>) -> Result<()> {
        self.0.finish()
    }
}

struct StateFile(Box<dyn BlobReader>);

impl RunFile for StateFile {
    fn size(&self) -> Result<u64> {
        self.0.size()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        self.0.read_at(offset, buffer)
    }
}
