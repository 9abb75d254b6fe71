//! Reading: finds where an offset is, and takes whole batches from the tail cache, a write-ahead file or a segment.

use std::io;

use bytes::Bytes;
use fleuve_types::ObjectId;

use crate::batch::{Batch, BatchHeader, Batches};
use crate::log::ReadSlice;
use crate::partition::{Extent, Partition, Place};
use crate::shared::Shared;
use crate::{ReadError, limits};

/// How often a read looks again when a file was moved under it. Each time the data is somewhere else, in a newer file.
const ATTEMPTS: usize = 5;

impl Shared {
    pub(crate) fn read(
        &self,
        id: ObjectId,
        partition: i32,
        offset: i64,
        max_bytes: usize,
    ) -> Result<ReadSlice, ReadError> {
        let unknown = ReadError::UnknownTopicOrPartition { topic: id, partition };
        let p = self.partition(id, partition).ok_or(unknown)?;
        let max_bytes = max_bytes.min(limits::READ_BYTES);
        let mut slice = ReadSlice { batches: Vec::new(), high_watermark: 0, log_start_offset: 0 };
        let mut next = offset;
        let mut left = max_bytes;
        let mut attempts = 0;
        loop {
            let place = {
                let state = p.state.read();
                (slice.high_watermark, slice.log_start_offset) = (state.end, state.start);
                if slice.batches.is_empty() && !(state.start..=state.end).contains(&offset) {
                    let (log_start_offset, high_watermark) = (state.start, state.end);
                    return Err(ReadError::OffsetOutOfRange { offset, log_start_offset, high_watermark });
                }
                if next == state.end { Place::End } else { state.find(next, left) }
            };
            let piece = match &place {
                Place::End => return Ok(slice),
                Place::Segment(meta) => {
                    self.open_segments.get(id, partition, meta).and_then(|s| s.read(next, left)).map(|b| vec![b])
                }
                Place::Extents(extents) => self.read_extents(extents, next, left),
            };
            let piece = match piece {
                Ok(piece) => piece,
                Err(e) if e.kind() == io::ErrorKind::NotFound && attempts < ATTEMPTS => {
                    attempts += 1;
                    continue;
                }
                Err(e) => return Err(storage(id, partition, next, e)),
            };
            let is_first = slice.batches.is_empty();
            for bytes in piece {
                // What comes after the first piece must fit: "at least one batch" was for the first one only.
                if bytes.is_empty() || (!is_first && bytes.len() > left) {
                    return Ok(slice);
                }
                left = left.saturating_sub(bytes.len());
                next = last_offset(&bytes).map_err(|e| storage(id, partition, next, e))? + 1;
                slice.batches.push(bytes);
            }
            if left == 0 {
                return Ok(slice);
            }
        }
    }

    /// Batches from the one that holds `offset`, one element per extent.
    fn read_extents(&self, extents: &[Extent], offset: i64, max_bytes: usize) -> io::Result<Vec<Bytes>> {
        let mut out: Vec<Bytes> = Vec::with_capacity(extents.len());
        let mut left = max_bytes;
        for e in extents {
            let bytes = match self.read_extent(e) {
                // The rest is read in the next round, from where it is then.
                Err(_) if !out.is_empty() => break,
                bytes => bytes?,
            };
            let bytes = if out.is_empty() { cut(&bytes, offset, left)? } else { bytes };
            left = left.saturating_sub(bytes.len());
            let was_cut = last_offset(&bytes)? < e.last_offset;
            out.push(bytes);
            if was_cut {
                break;
            }
        }
        Ok(out)
    }

    fn read_extent(&self, e: &Extent) -> io::Result<Bytes> {
        if let Some(bytes) = self.tail.get(e.file_seq, e.position, e.len as usize) {
            return Ok(bytes);
        }
        let file = self.wal_files.read().get(&e.file_seq).cloned().ok_or(io::ErrorKind::NotFound)?;
        let mut bytes = vec![0; e.len as usize];
        file.file.read_exact_at(&mut bytes, e.position)?;
        Ok(bytes.into())
    }

    /// The first record at or after the start with a timestamp of at least `ts_ms`.
    pub(crate) fn offset_for_time(
        &self,
        id: ObjectId,
        partition: i32,
        ts_ms: i64,
    ) -> Result<Option<(i64, i64)>, ReadError> {
        let unknown = ReadError::UnknownTopicOrPartition { topic: id, partition };
        let p = self.partition(id, partition).ok_or(unknown)?;
        let mut from = i64::MIN;
        let mut attempts = 0;
        loop {
            match self.time_step(&p, id, partition, ts_ms, &mut from) {
                Ok(Step::Found(found)) => return Ok(Some(found)),
                Ok(Step::End) => return Ok(None),
                Ok(Step::Next) => {}
                Err(e) if e.kind() == io::ErrorKind::NotFound && attempts < ATTEMPTS => attempts += 1,
                Err(e) => return Err(storage(id, partition, from, e)),
            }
        }
    }

    fn time_step(&self, p: &Partition, id: ObjectId, n: i32, ts_ms: i64, from: &mut i64) -> io::Result<Step> {
        let place = {
            let state = p.state.read();
            *from = (*from).max(state.start);
            state.find_time(ts_ms, *from)
        };
        let (batches, end) = match place {
            None => return Ok(Step::End),
            Some(Place::Segment(meta)) => {
                let found = self.open_segments.get(id, n, &meta)?.find_time(ts_ms, *from)?;
                (found.unwrap_or_default(), meta.last_offset)
            }
            Some(Place::Extents(extents)) => match extents.first() {
                Some(e) => (self.read_extent(e)?, e.last_offset),
                None => return Ok(Step::End),
            },
            Some(Place::End) => return Ok(Step::End),
        };
        let mut last_seen = None;
        for batch in Batches::new(batches) {
            let batch = batch.map_err(invalid_data)?;
            last_seen = Some(batch.header().last_offset());
            if let Some(found) = first_at_or_after(&batch, ts_ms, *from) {
                return Ok(Step::Found(found));
            }
        }
        *from = last_seen.unwrap_or(end) + 1;
        Ok(Step::Next)
    }
}

enum Step {
    Found((i64, i64)),
    Next,
    End,
}

/// The first record of a batch at or after an offset and a time. Of a batch that cannot be decoded, its beginning.
fn first_at_or_after(batch: &Batch, ts_ms: i64, from: i64) -> Option<(i64, i64)> {
    let h = batch.header();
    if h.max_timestamp_ms < ts_ms || h.last_offset() < from {
        return None;
    }
    let whole = Some((h.base_offset.max(from), h.max_timestamp_ms));
    if h.is_log_append_time() {
        return whole;
    }
    let Ok(records) = batch.records() else { return whole };
    for record in records {
        match record {
            Ok(r) if r.offset >= from && r.timestamp_ms >= ts_ms => return Some((r.offset, r.timestamp_ms)),
            Ok(_) => {}
            Err(_) => return whole,
        }
    }
    None
}

/// Leaves out the batches before `offset`, and those at the end that do not fit, but never all.
fn cut(bytes: &Bytes, offset: i64, max_bytes: usize) -> io::Result<Bytes> {
    let mut from = None;
    let mut at = 0;
    while at < bytes.len() {
        let header = BatchHeader::parse(&bytes[at..]).map_err(invalid_data)?;
        if from.is_none() && header.last_offset() >= offset {
            from = Some(at);
        }
        let next = at + header.size_bytes;
        if from.is_some_and(|from| next - from > max_bytes && at > from) {
            break;
        }
        at = next;
    }
    Ok(from.map_or_else(Bytes::new, |from| bytes.slice(from..at)))
}

fn last_offset(batches: &[u8]) -> io::Result<i64> {
    let mut at = 0;
    let mut last = -1;
    while at < batches.len() {
        let header = BatchHeader::parse(&batches[at..]).map_err(invalid_data)?;
        last = header.last_offset();
        at += header.size_bytes;
    }
    Ok(last)
}

fn invalid_data(e: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, e)
}

fn storage(id: ObjectId, partition: i32, offset: i64, e: io::Error) -> ReadError {
    ReadError::Io(format!("cannot read topic {id} partition {partition} at offset {offset}: {e}"))
}
