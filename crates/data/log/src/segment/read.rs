use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use fleuve_store::{Disk, DiskFile, Open as How};
use fleuve_types::ObjectId;
use parking_lot::Mutex;

use super::{FOOTER_BYTES, FOOTER_MAGIC, INDEX_ENTRY_BYTES, IndexEntry, SegmentMeta};
use crate::batch::{BatchHeader, HEADER_BYTES, crc32c};
use crate::codec::Fields;
use crate::limits;

/// Segments whose files are open, with their index. Derived state: a cache.
#[derive(Debug)]
pub(crate) struct OpenSegments {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    clock: u64,
    by_file: HashMap<u64, (Arc<SegmentReader>, u64)>,
}

impl OpenSegments {
    pub(crate) fn new(disk: Arc<dyn Disk>, dir: PathBuf) -> Self {
        Self { disk, dir, open: Mutex::default() }
    }

    /// The reader of a segment. `NotFound` when retention or a merge has removed the file in the meantime.
    pub(crate) fn get(&self, topic: ObjectId, partition: i32, meta: &SegmentMeta) -> io::Result<Arc<SegmentReader>> {
        {
            let mut open = self.open.lock();
            open.clock += 1;
            let now = open.clock;
            if let Some((reader, used)) = open.by_file.get_mut(&meta.file_no) {
                *used = now;
                return Ok(reader.clone());
            }
        }
        let path = super::path(&self.dir, topic, partition, meta);
        let reader = Arc::new(SegmentReader::open(self.disk.as_ref(), &path, meta)?);
        let mut open = self.open.lock();
        let now = open.clock;
        if open.by_file.len() >= limits::OPEN_SEGMENTS {
            let oldest = open.by_file.iter().min_by_key(|(_, (_, used))| *used).map(|(no, _)| *no);
            oldest.and_then(|no| open.by_file.remove(&no));
        }
        open.by_file.insert(meta.file_no, (reader.clone(), now));
        Ok(reader)
    }

    /// Closes a segment that is going away.
    pub(crate) fn forget(&self, file_no: u64) {
        self.open.lock().by_file.remove(&file_no);
    }
}

/// An open segment.
#[derive(Debug)]
pub(crate) struct SegmentReader {
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    data_bytes: u64,
    index: Vec<IndexEntry>,
}

fn damaged(path: &Path, what: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{} is damaged: {what}", path.display()))
}

impl SegmentReader {
    /// Opens a file and reads its index.
    pub(crate) fn open(on: &dyn Disk, path: &Path, meta: &SegmentMeta) -> io::Result<Self> {
        let file = on.open(path, How::Read)?;
        let size = file.size_bytes()?;
        let index_bytes = size
            .checked_sub(meta.data_bytes + FOOTER_BYTES as u64)
            .filter(|n| n % INDEX_ENTRY_BYTES as u64 == 0)
            .ok_or_else(|| damaged(path, format!("{size} bytes cannot hold {} of data", meta.data_bytes)))?;
        let mut bytes = vec![0; index_bytes as usize + FOOTER_BYTES];
        file.read_exact_at(&mut bytes, meta.data_bytes)?;
        let index = parse_index(&bytes, meta.data_bytes).ok_or_else(|| damaged(path, "its index is not intact"))?;
        Ok(Self { path: path.to_owned(), file, data_bytes: meta.data_bytes, index })
    }

    /// Whole batches from the one that holds `offset` (or the next one), up to `max_bytes` but at least one.
    pub(crate) fn read(&self, offset: i64, max_bytes: usize) -> io::Result<Bytes> {
        let entry = self.index.partition_point(|e| e.base_offset <= offset).saturating_sub(1);
        let from = self.index.get(entry).map_or(0, |e| e.position);
        match self.find(from, |h| h.last_offset() >= offset)? {
            Some((position, header)) => self.batches_at(position, &header, max_bytes),
            None => Ok(Bytes::new()),
        }
    }

    /// The first batch with a timestamp of at least `ts_ms` that ends at or after `start`.
    pub(crate) fn find_time(&self, ts_ms: i64, start: i64) -> io::Result<Option<Bytes>> {
        let entry = self.index.partition_point(|e| e.max_timestamp_before_ms < ts_ms).saturating_sub(1);
        let from = self.index.get(entry).map_or(0, |e| e.position);
        let found = self.find(from, |h| h.max_timestamp_ms >= ts_ms && h.last_offset() >= start)?;
        found.map(|(position, header)| self.batches_at(position, &header, 0)).transpose()
    }

    /// All data, in pieces of whole batches of about `piece_bytes`.
    pub(crate) fn pieces(&self, piece_bytes: usize) -> impl Iterator<Item = io::Result<Bytes>> + '_ {
        let mut position = 0;
        std::iter::from_fn(move || {
            if position >= self.data_bytes {
                return None;
            }
            let piece = self.header_at(position).and_then(|h| self.batches_at(position, &h, piece_bytes));
            position = piece.as_ref().map_or(self.data_bytes, |p| position + p.len() as u64);
            Some(piece)
        })
    }

    fn header_at(&self, position: u64) -> io::Result<BatchHeader> {
        let mut bytes = [0; HEADER_BYTES];
        self.file.read_exact_at(&mut bytes, position)?;
        BatchHeader::parse_prefix(&bytes).map_err(|e| damaged(&self.path, e))
    }

    /// Goes over batches from `position` to the first that `wanted` likes.
    fn find(&self, mut position: u64, wanted: impl Fn(&BatchHeader) -> bool) -> io::Result<Option<(u64, BatchHeader)>> {
        let mut window = Vec::new();
        while position < self.data_bytes {
            let len = limits::INDEX_INTERVAL_BYTES.min(self.data_bytes - position) as usize;
            window.resize(len, 0);
            self.file.read_exact_at(&mut window, position)?;
            let mut at = 0;
            while at + HEADER_BYTES <= len {
                let header = BatchHeader::parse_prefix(&window[at..]).map_err(|e| damaged(&self.path, e))?;
                if wanted(&header) {
                    return Ok(Some((position + at as u64, header)));
                }
                at += header.size_bytes;
            }
            if at == 0 {
                return Err(damaged(&self.path, format!("its data ends in the batch at byte {position}")));
            }
            position += at as u64;
        }
        Ok(None)
    }

    /// The batch at `position` and those behind it, as many as fit.
    fn batches_at(&self, position: u64, first: &BatchHeader, max_bytes: usize) -> io::Result<Bytes> {
        let left = (self.data_bytes - position) as usize;
        if first.size_bytes > left {
            return Err(damaged(&self.path, format!("its data ends in the batch at byte {position}")));
        }
        let mut bytes = vec![0; max_bytes.clamp(first.size_bytes, left)];
        self.file.read_exact_at(&mut bytes, position)?;
        let whole = whole_batches(&bytes).map_err(|e| damaged(&self.path, e))?;
        bytes.truncate(whole);
        Ok(bytes.into())
    }
}

/// How many of the bytes are whole batches.
pub(crate) fn whole_batches(bytes: &[u8]) -> Result<usize, crate::batch::BatchError> {
    let mut at = 0;
    while bytes.len() - at >= HEADER_BYTES {
        let header = BatchHeader::parse_prefix(&bytes[at..])?;
        if header.size_bytes > bytes.len() - at {
            break;
        }
        at += header.size_bytes;
    }
    Ok(at)
}

fn parse_index(bytes: &[u8], data_bytes: u64) -> Option<Vec<IndexEntry>> {
    let (index, footer) = bytes.split_at_checked(bytes.len().checked_sub(FOOTER_BYTES)?)?;
    let mut f = Fields::new(footer);
    let (stored_bytes, count, crc) = (f.u64().ok()?, f.u32().ok()? as usize, f.u32().ok()?);
    let intact = footer.ends_with(&FOOTER_MAGIC)
        && stored_bytes == data_bytes
        && count * INDEX_ENTRY_BYTES == index.len()
        && crc32c(&bytes[..bytes.len() - 12]) == crc;
    if !intact {
        return None;
    }
    let mut f = Fields::new(index);
    (0..count)
        .map(|_| {
            let (base_offset, position) = (f.i64().ok()?, f.u64().ok()?);
            Some(IndexEntry { base_offset, position, max_timestamp_before_ms: f.i64().ok()? })
        })
        .collect()
}
