use std::path::{Path, PathBuf};
use std::sync::Arc;

use fleuve_store::{Disk, DiskFile, Open};
use fleuve_types::{Error, Result};

use super::record::{self, RECORD_HEADER_BYTES, RECORD_MAGIC, WalRecord};
use crate::batch::crc32c;
use crate::disk;

/// Bytes of a file before its first record: magic, sequence number, checksum of both.
pub(crate) const FILE_HEADER_BYTES: u64 = 16;
const FILE_MAGIC: [u8; 8] = *b"FlvWal1\n";
/// How much is read at once when a file is replayed.
const REPLAY_WINDOW_BYTES: usize = 1 << 20;

/// Where the file with a sequence number is.
pub(crate) fn path(dir: &Path, seq: u32) -> PathBuf {
    dir.join(format!("{seq:010}.wal"))
}

/// The sequence numbers of the files in a folder, in order. Leftovers of a file that was never begun are removed.
pub(crate) fn list(on: &dyn Disk, dir: &Path) -> Result<Vec<u32>> {
    let mut seqs = Vec::new();
    for entry in on.list(dir).map_err(disk::error("cannot list", dir))? {
        let path = entry.path;
        match path.extension().and_then(|e| e.to_str()) {
            Some("wal") => {
                let seq = path.file_stem().and_then(|s| s.to_str()).and_then(|s| s.parse().ok());
                seqs.push(seq.ok_or_else(|| Error::input(format!("{} is not a file of the log", path.display())))?);
            }
            Some("tmp") => on.remove_file(&path).map_err(disk::error("cannot remove", &path))?,
            _ => {}
        }
    }
    seqs.sort_unstable();
    Ok(seqs)
}

/// One write-ahead file.
#[derive(Debug)]
pub(crate) struct WalFile {
    pub(crate) seq: u32,
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<dyn DiskFile>,
}

/// How a replay ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tail {
    /// Where the last whole record ends.
    pub(crate) end: u64,
    /// Up to where the file is known to be durable.
    pub(crate) durable_to: u64,
    /// After the end come bytes that are not a whole record and that nobody was told were written.
    pub(crate) is_torn: bool,
}

impl WalFile {
    /// Makes a new file, durable with its header before it has its name: a file that is there is never headless.
    pub(crate) fn create(on: &dyn Disk, dir: &Path, seq: u32) -> std::io::Result<Self> {
        let path = path(dir, seq);
        let tmp = path.with_extension("tmp");
        let file = on.open(&tmp, Open::Create)?;
        file.write_all_at(&file_header(seq), 0)?;
        file.sync()?;
        on.rename(&tmp, &path)?;
        on.sync_dir(dir)?;
        Ok(Self { seq, path, file })
    }

    /// Opens a file that is there.
    pub(crate) fn open(on: &dyn Disk, dir: &Path, seq: u32) -> Result<Self> {
        let path = path(dir, seq);
        let file = on.open(&path, Open::Write).map_err(disk::error("cannot open", &path))?;
        let mut header = [0; FILE_HEADER_BYTES as usize];
        file.read_exact_at(&mut header, 0).map_err(disk::error("cannot read the header of", &path))?;
        if header != file_header(seq) {
            return Err(damaged(&path, 0, "the file header is not that of a write-ahead file of this version"));
        }
        Ok(Self { seq, path, file })
    }

    /// Cuts the file off at `end`, durably.
    pub(crate) fn truncate(&self, end: u64) -> Result<()> {
        let cut = self.file.set_len(end).and_then(|()| self.file.sync());
        cut.map_err(disk::error("cannot truncate", &self.path))
    }

    /// Makes durable what was read from a place on. Who wrote it may have been killed before its sync, or its sync may have failed:
    /// then the system takes these bytes for written although they are not, and only writing them again makes them so.
    pub(crate) fn settle(&self, from: u64, end: u64) -> Result<()> {
        let failed = disk::error("cannot make durable what was read of", &self.path);
        let mut bytes = vec![0; end.saturating_sub(from) as usize];
        self.file.read_exact_at(&mut bytes, from).map_err(&failed)?;
        self.file.write_all_at(&bytes, from).and_then(|()| self.file.sync()).map_err(failed)
    }

    /// Reads all records: `visit` gets the record, the position of its body in the file, and the body.
    ///
    /// # Errors
    /// `Io` when the disk fails, or when a record is damaged that was durable once. All of a file with `is_closed` was.
    pub(crate) fn replay(
        &self,
        secret: u64,
        is_closed: bool,
        mut visit: impl FnMut(&WalRecord, u64, &[u8]) -> Result<()>,
    ) -> Result<Tail> {
        let size = self.file.size_bytes().map_err(disk::error("cannot read", &self.path))?;
        let mut window = Window { wal: self, at: 0, bytes: Vec::new() };
        let (mut position, mut durable_to) = (FILE_HEADER_BYTES, FILE_HEADER_BYTES);
        while position < size {
            let Some(record) = window.record(secret, position, size)? else {
                if is_closed {
                    return Err(damaged(&self.path, position, "a record in a closed file is damaged"));
                }
                if self.has_later_witness(secret, position, size)? {
                    return Err(damaged(&self.path, position, "a record that was durable is damaged"));
                }
                return Ok(Tail { end: position, durable_to, is_torn: true });
            };
            durable_to = record::parse_header(record).map_or(durable_to, |h| h.durable_to.min(position));
            let body = &record[RECORD_HEADER_BYTES..];
            let next = position + record.len() as u64;
            let decoded = record::decode_body(body)
                .map_err(|_| damaged(&self.path, position, "a record is intact but not understood (newer version?)"))?;
            visit(&decoded, position + RECORD_HEADER_BYTES as u64, body)?;
            position = next;
        }
        Ok(Tail { end: position, durable_to, is_torn: false })
    }

    /// Looks behind a damaged place for an intact record that says the place was durable when it was written.
    fn has_later_witness(&self, secret: u64, damaged_at: u64, size: u64) -> Result<bool> {
        let mut rest = vec![0; (size - damaged_at) as usize];
        self.file.read_exact_at(&mut rest, damaged_at).map_err(disk::error("cannot read", &self.path))?;
        for at in 1..rest.len().saturating_sub(RECORD_HEADER_BYTES) {
            if !rest[at..].starts_with(&RECORD_MAGIC) {
                continue;
            }
            let Some(header) = record::parse_header(&rest[at..]) else { continue };
            let Some(record) = rest[at..].get(..RECORD_HEADER_BYTES + header.body_bytes) else { continue };
            let position = damaged_at + at as u64;
            if header.durable_to > damaged_at && record::is_intact(secret, self.seq, position, record) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// A part of the file in memory, which moves forward.
struct Window<'a> {
    wal: &'a WalFile,
    at: u64,
    bytes: Vec<u8>,
}

impl Window<'_> {
    /// The record at `position`, or `None` when there is none that is whole and intact.
    fn record(&mut self, secret: u64, position: u64, size: u64) -> Result<Option<&[u8]>> {
        if size - position < RECORD_HEADER_BYTES as u64 {
            return Ok(None);
        }
        let header = self.get(position, RECORD_HEADER_BYTES, size)?;
        let Some(header) = record::parse_header(header) else { return Ok(None) };
        let len = RECORD_HEADER_BYTES + header.body_bytes;
        if size - position < len as u64 {
            return Ok(None);
        }
        let seq = self.wal.seq;
        let record = self.get(position, len, size)?;
        Ok(record::is_intact(secret, seq, position, record).then_some(record))
    }

    /// `len` bytes at `position`, which lie within `size`.
    fn get(&mut self, position: u64, len: usize, size: u64) -> Result<&[u8]> {
        let have = self.at + self.bytes.len() as u64;
        if position < self.at || position + len as u64 > have {
            let want = (len.max(REPLAY_WINDOW_BYTES) as u64).min(size - position) as usize;
            self.bytes.resize(want, 0);
            self.at = position;
            let read = self.wal.file.read_exact_at(&mut self.bytes, position);
            read.map_err(disk::error("cannot read", &self.wal.path))?;
        }
        let from = (position - self.at) as usize;
        Ok(&self.bytes[from..from + len])
    }
}

fn file_header(seq: u32) -> [u8; FILE_HEADER_BYTES as usize] {
    let mut h = [0; FILE_HEADER_BYTES as usize];
    h[..8].copy_from_slice(&FILE_MAGIC);
    h[8..12].copy_from_slice(&seq.to_be_bytes());
    let crc = crc32c(&h[..12]);
    h[12..].copy_from_slice(&crc.to_be_bytes());
    h
}

fn damaged(path: &Path, position: u64, what: &str) -> Error {
    Error::io(format!("{} is damaged at byte {position}", path.display()), what)
        .hint("restore the file from a backup; data before this place is intact")
}
