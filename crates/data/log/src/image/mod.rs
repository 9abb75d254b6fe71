//! The log's state at a place in the write-ahead log: what the manifest holds, and what replay makes of it.
//!
//! Ground state: the manifest is an image written down. Recovery is "manifest, then apply the records behind it"; the
//! mover makes the next manifest the same way, from the last one and the file that it has moved. So there is one
//! function that says what a record means.

mod manifest;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use bytes::Bytes;
use fleuve_types::{Error, ObjectId, Result};

use crate::TopicConfig;
use crate::batch::BatchHeader;
use crate::partition::Extent;
use crate::producers::Producers;
use crate::segment::SegmentMeta;
use crate::wal::{TopicEvent, WalRecord};

/// A topic in an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TopicImage {
    pub(crate) generation: u64,
    pub(crate) config: TopicConfig,
    pub(crate) partitions: Vec<PartitionImage>,
}

/// A partition in an image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PartitionImage {
    pub(crate) start: i64,
    pub(crate) next_offset: i64,
    pub(crate) segments: Vec<SegmentMeta>,
    pub(crate) producers: Producers,
}

/// The whole state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Image {
    /// Made once, at random; part of every record's checksum.
    pub(crate) secret: u64,
    /// The first write-ahead file whose records are not in here.
    pub(crate) wal_from: u32,
    /// Names the next segment file.
    pub(crate) next_file_no: u64,
    /// Tells apart topics with the same id, one after the other.
    pub(crate) next_generation: u64,
    pub(crate) topics: BTreeMap<ObjectId, TopicImage>,
    pub(crate) marks: BTreeMap<String, Bytes>,
}

/// Where the batches of a file's records are, by partition and topic generation.
#[derive(Debug, Default)]
pub(crate) struct Extents {
    pub(crate) by_partition: BTreeMap<(ObjectId, i32), (u64, Vec<Extent>)>,
}

impl Image {
    /// Takes in a record. `body_at` is the position of its body in the file with `file_seq`. Extents of appended
    /// batches go to `extents`; segments that no longer have a topic go to `dropped`.
    ///
    /// # Errors
    /// `Bug`, when a record contradicts what came before it.
    pub(crate) fn apply(
        &mut self,
        record: &WalRecord,
        body: &[u8],
        file_seq: u32,
        body_at: u64,
        extents: &mut Extents,
        dropped: &mut Vec<(ObjectId, i32, SegmentMeta)>,
    ) -> Result<()> {
        match record {
            WalRecord::Append { now_ms, parts, marks } => {
                for part in parts {
                    let Some(generation) = self.apply_part(part, body, *now_ms)? else { continue };
                    let slot = extents.by_partition.entry((part.topic, part.partition)).or_default();
                    slot.0 = generation;
                    slot.1.push(Extent {
                        base_offset: part.base_offset,
                        last_offset: part.last_offset,
                        max_timestamp_ms: part.max_timestamp_ms,
                        append_ms: *now_ms,
                        position: body_at + part.place.start as u64,
                        len: part.place.len() as u32,
                        file_seq,
                    });
                }
                for (key, value) in marks {
                    match value {
                        Some(value) => self.marks.insert(key.clone(), value.clone()),
                        None => self.marks.remove(key),
                    };
                }
            }
            WalRecord::Topic { topic, event } => self.apply_topic(*topic, event, extents, dropped),
            WalRecord::Trim(trims) => {
                for t in trims {
                    if let Some(p) = self.partition(t.topic, t.partition) {
                        p.start = p.start.max(t.start);
                    }
                }
            }
        }
        Ok(())
    }

    /// Gives the topic's generation; `None` for a topic that was deleted later and is already forgotten.
    fn apply_part(&mut self, part: &crate::wal::WalPart, body: &[u8], now_ms: i64) -> Result<Option<u64>> {
        let Some(topic) = self.topics.get_mut(&part.topic) else { return Ok(None) };
        let generation = topic.generation;
        let partition = usize::try_from(part.partition).ok().and_then(|p| topic.partitions.get_mut(p));
        let p = partition.filter(|p| p.next_offset == part.base_offset).ok_or_else(|| {
            Error::bug(format!("the log holds a batch that does not continue its partition: {part:?}"))
        })?;
        p.next_offset = part.last_offset + 1;
        let mut at = part.place.start;
        while at < part.place.end {
            let header = BatchHeader::parse(&body[at..part.place.end])
                .map_err(|e| Error::bug(format!("the log holds an unreadable batch: {e}")))?;
            p.producers.record(&header, header.base_offset, now_ms);
            at += header.size_bytes;
        }
        Ok(Some(generation))
    }

    fn apply_topic(
        &mut self,
        id: ObjectId,
        event: &TopicEvent,
        extents: &mut Extents,
        dropped: &mut Vec<(ObjectId, i32, SegmentMeta)>,
    ) {
        match event {
            TopicEvent::Create { generation, partitions, config } => {
                self.next_generation = self.next_generation.max(generation + 1);
                let partitions = (0..*partitions).map(|_| PartitionImage::default()).collect();
                self.topics.insert(id, TopicImage { generation: *generation, config: config.clone(), partitions });
            }
            TopicEvent::Configure { config } => {
                if let Some(t) = self.topics.get_mut(&id) {
                    t.config = config.clone();
                }
            }
            TopicEvent::AddPartitions { total } => {
                if let Some(t) = self.topics.get_mut(&id) {
                    let total = usize::try_from(*total).unwrap_or(0).max(t.partitions.len());
                    t.partitions.resize_with(total, PartitionImage::default);
                }
            }
            TopicEvent::Delete => {
                self.drop_topic(id, dropped);
                extents.by_partition.retain(|(topic, _), _| *topic != id);
            }
        }
    }

    /// Takes a topic out; its segments go to `dropped`.
    pub(crate) fn drop_topic(&mut self, id: ObjectId, dropped: &mut Vec<(ObjectId, i32, SegmentMeta)>) {
        let Some(topic) = self.topics.remove(&id) else { return };
        for (i, p) in topic.partitions.into_iter().enumerate() {
            dropped.extend(p.segments.into_iter().map(|s| (id, i as i32, s)));
        }
    }

    pub(crate) fn partition(&mut self, topic: ObjectId, partition: i32) -> Option<&mut PartitionImage> {
        self.topics.get_mut(&topic)?.partitions.get_mut(usize::try_from(partition).ok()?)
    }
}
