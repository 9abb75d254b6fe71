//! Topics and partitions as readers see them: only what is durable. Derived state: it follows from the manifest and the
//! write-ahead files.

use std::collections::VecDeque;
use std::sync::Arc;

use fleuve_types::ObjectId;
use parking_lot::RwLock;

use crate::segment::SegmentMeta;
use crate::{TopicConfig, TopicInfo};

/// Batches of one partition that one append put into a write-ahead file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) base_offset: i64,
    pub(crate) last_offset: i64,
    pub(crate) max_timestamp_ms: i64,
    pub(crate) append_ms: i64,
    /// Where the first batch begins in the file.
    pub(crate) position: u64,
    pub(crate) len: u32,
    pub(crate) file_seq: u32,
}

/// A topic that exists.
#[derive(Debug)]
pub(crate) struct Topic {
    pub(crate) id: ObjectId,
    pub(crate) generation: u64,
    pub(crate) config: RwLock<TopicConfig>,
    pub(crate) partitions: RwLock<Vec<Arc<Partition>>>,
}

impl Topic {
    pub(crate) fn new(id: ObjectId, generation: u64, config: TopicConfig, partitions: Vec<PartitionState>) -> Self {
        let partitions = partitions.into_iter().map(|s| Arc::new(Partition { state: RwLock::new(s) })).collect();
        Self { id, generation, config: RwLock::new(config), partitions: RwLock::new(partitions) }
    }

    pub(crate) fn partition(&self, partition: i32) -> Option<Arc<Partition>> {
        self.partitions.read().get(usize::try_from(partition).ok()?).cloned()
    }

    pub(crate) fn info(&self) -> TopicInfo {
        TopicInfo { id: self.id, partitions: self.partitions.read().len() as i32, config: self.config.read().clone() }
    }

    /// Adds empty partitions until there are `total`.
    pub(crate) fn grow(&self, total: i32) {
        let mut partitions = self.partitions.write();
        while (partitions.len() as i64) < i64::from(total) {
            partitions.push(Arc::new(Partition { state: RwLock::default() }));
        }
    }
}

/// A partition that exists.
#[derive(Debug)]
pub(crate) struct Partition {
    pub(crate) state: RwLock<PartitionState>,
}

/// What a partition holds: segments, then extents in write-ahead files.
#[derive(Clone, Debug, Default)]
pub(crate) struct PartitionState {
    /// The first offset that can be read.
    pub(crate) start: i64,
    /// The next offset that will be readable.
    pub(crate) end: i64,
    /// By offset.
    pub(crate) segments: Vec<Arc<SegmentMeta>>,
    /// By offset, all behind the segments.
    pub(crate) extents: VecDeque<Extent>,
}

/// Where an offset is.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    Segment(Arc<SegmentMeta>),
    /// This extent, and those behind it as long as they fit the bytes asked for.
    Extents(Vec<Extent>),
    /// The offset is the end.
    End,
}

impl PartitionState {
    /// Where `offset` (or the first record after it, if there is a gap) is. `max_bytes` bounds the extents.
    pub(crate) fn find(&self, offset: i64, max_bytes: usize) -> Place {
        let i = self.segments.partition_point(|s| s.last_offset < offset);
        if let Some(segment) = self.segments.get(i) {
            return Place::Segment(segment.clone());
        }
        let i = self.extents.partition_point(|e| e.last_offset < offset);
        let mut extents = Vec::new();
        let mut bytes = 0;
        for e in self.extents.range(i..) {
            bytes += e.len as usize;
            if bytes > max_bytes && !extents.is_empty() {
                break;
            }
            extents.push(*e);
        }
        if extents.is_empty() { Place::End } else { Place::Extents(extents) }
    }

    /// Where the first record at or after `from` with a timestamp of at least `ts_ms` may be: a segment or one extent.
    pub(crate) fn find_time(&self, ts_ms: i64, from: i64) -> Option<Place> {
        if let Some(s) = self.segments.iter().find(|s| s.max_timestamp_ms >= ts_ms && s.last_offset >= from) {
            return Some(Place::Segment(s.clone()));
        }
        let fits = |e: &&Extent| e.max_timestamp_ms >= ts_ms && e.last_offset >= from;
        self.extents.iter().find(fits).map(|e| Place::Extents(vec![*e]))
    }

    /// Moves the start forward and lets go what lies before it. The files go later, when nothing names them.
    pub(crate) fn trim(&mut self, start: i64) {
        self.start = self.start.max(start.min(self.end));
        let start = self.start;
        self.segments.retain(|s| s.last_offset >= start);
        while self.extents.front().is_some_and(|e| e.last_offset < start) {
            self.extents.pop_front();
        }
    }

    /// Takes in what became durable.
    pub(crate) fn push(&mut self, extent: Extent) {
        self.end = extent.last_offset + 1;
        self.extents.push_back(extent);
    }

    /// The largest timestamp of all that is held.
    pub(crate) fn max_timestamp_ms(&self) -> Option<i64> {
        let segments = self.segments.iter().map(|s| s.max_timestamp_ms);
        segments.chain(self.extents.iter().map(|e| e.max_timestamp_ms)).max()
    }

    /// Bytes of batches.
    pub(crate) fn size_bytes(&self) -> u64 {
        let segments: u64 = self.segments.iter().map(|s| s.data_bytes).sum();
        segments + self.extents.iter().map(|e| u64::from(e.len)).sum::<u64>()
    }
}
