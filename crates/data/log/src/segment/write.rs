use std::path::{Path, PathBuf};
use std::sync::Arc;

use fleuve_store::{Disk, DiskFile, Open};
use fleuve_types::{Error, ObjectId, Result};

use super::{FOOTER_MAGIC, INDEX_ENTRY_BYTES, IndexEntry, SegmentMeta};
use crate::batch::{BatchHeader, crc32c};
use crate::codec::PutFields;
use crate::{disk, limits};

/// Writes one segment, batches in offset order.
#[derive(Debug)]
pub(crate) struct SegmentWriter {
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    meta: SegmentMeta,
    index: Vec<IndexEntry>,
    max_timestamp_ms: i64,
}

impl SegmentWriter {
    /// Begins a file; the topic's folder is there.
    pub(crate) fn create(
        on: &dyn Disk,
        segments: &Path,
        topic: ObjectId,
        partition: i32,
        file_no: u64,
        base_offset: i64,
    ) -> Result<Self> {
        let meta = SegmentMeta {
            file_no,
            base_offset,
            last_offset: base_offset - 1,
            data_bytes: 0,
            max_timestamp_ms: i64::MIN,
            first_append_ms: i64::MAX,
            last_append_ms: i64::MIN,
        };
        let path = super::path(segments, topic, partition, &meta);
        // An attempt that failed may have left a file that no manifest names.
        let file = on.open(&path, Open::Create).map_err(disk::error("cannot create", &path))?;
        Ok(Self { path, file, meta, index: Vec::new(), max_timestamp_ms: i64::MIN })
    }

    /// Adds whole batches that were appended between two times.
    pub(crate) fn push(&mut self, batches: &[u8], append_ms: (i64, i64)) -> Result<()> {
        let mut at = 0;
        while at < batches.len() {
            let header = BatchHeader::parse(&batches[at..])
                .map_err(|e| Error::io(format!("cannot write {}", self.path.display()), e))?;
            if header.base_offset <= self.meta.last_offset {
                return Err(Error::bug(format!(
                    "{}: offset {} follows {}",
                    self.path.display(),
                    header.base_offset,
                    self.meta.last_offset
                )));
            }
            let position = self.meta.data_bytes + at as u64;
            let last = self.index.last().map(|e| e.position);
            if last.is_none_or(|last| position - last >= limits::INDEX_INTERVAL_BYTES) {
                let max_timestamp_before_ms = self.max_timestamp_ms;
                self.index.push(IndexEntry { base_offset: header.base_offset, position, max_timestamp_before_ms });
            }
            self.max_timestamp_ms = self.max_timestamp_ms.max(header.max_timestamp_ms);
            self.meta.last_offset = header.last_offset();
            at += header.size_bytes;
        }
        self.file.write_all_at(batches, self.meta.data_bytes).map_err(disk::error("cannot write", &self.path))?;
        self.meta.data_bytes += batches.len() as u64;
        self.meta.first_append_ms = self.meta.first_append_ms.min(append_ms.0);
        self.meta.last_append_ms = self.meta.last_append_ms.max(append_ms.1);
        Ok(())
    }

    /// Writes index and footer and makes the file durable (not its name: the folder is synced once for all).
    pub(crate) fn finish(mut self, sync: bool) -> Result<SegmentMeta> {
        let mut out = Vec::with_capacity(self.index.len() * INDEX_ENTRY_BYTES + super::FOOTER_BYTES);
        for e in &self.index {
            out.put_i64(e.base_offset);
            out.put_u64(e.position);
            out.put_i64(e.max_timestamp_before_ms);
        }
        out.put_u64(self.meta.data_bytes);
        out.put_u32(self.index.len() as u32);
        let crc = crc32c(&out);
        out.put_u32(crc);
        out.put(&FOOTER_MAGIC);
        self.file.write_all_at(&out, self.meta.data_bytes).map_err(disk::error("cannot write", &self.path))?;
        if sync {
            self.file.sync().map_err(disk::error("cannot sync", &self.path))?;
        }
        self.meta.max_timestamp_ms = self.max_timestamp_ms;
        Ok(self.meta)
    }
}
