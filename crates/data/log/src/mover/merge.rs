//! Merging small segments. A partition with little traffic gets a small segment from every write-ahead file; neighbours
//! of about the same size are merged, so that each byte is copied a logarithmic number of times.

use std::collections::BTreeSet;
use std::ops::Range;

use fleuve_types::{Error, ObjectId, Result};

use super::Mover;
use crate::image::Image;
use crate::limits;
use crate::segment::{SegmentMeta, SegmentWriter};

/// Data copied at once.
const PIECE_BYTES: usize = 1 << 20;
/// Segments up to this size are all alike.
const SMALLEST_CLASS_BYTES: u64 = 64 << 10;

fn class(s: &SegmentMeta) -> u32 {
    let mut class = 0;
    let mut bytes = SMALLEST_CLASS_BYTES;
    while bytes < s.data_bytes {
        bytes = bytes.saturating_mul(limits::MERGE_FAN_IN as u64);
        class += 1;
    }
    class
}

/// Which of a partition's newest segments are to become one: as many neighbours as are alike, when they are enough, fit
/// into a segment and do not make retention by time much coarser.
pub(super) fn decide(segments: &[SegmentMeta], segment_bytes: u64, retention_ms: Option<i64>) -> Option<Range<usize>> {
    let newest = class(segments.last()?);
    let mut from = segments.len();
    let mut bytes = 0;
    let end_ms = segments.last()?.last_append_ms;
    for (i, s) in segments.iter().enumerate().rev() {
        bytes += s.data_bytes;
        let spans_too_long = retention_ms.is_some_and(|keep| end_ms.saturating_sub(s.first_append_ms) > keep / 2);
        if class(s) > newest || bytes > segment_bytes || spans_too_long {
            break;
        }
        from = i;
    }
    (segments.len() - from >= limits::MERGE_FAN_IN).then_some(from..segments.len())
}

impl Mover {
    /// Merges what can be merged in partitions that have a new segment.
    pub(super) fn merge(&self, image: &mut Image, partitions: &BTreeSet<(ObjectId, i32)>) -> Result<()> {
        let segment_bytes = self.shared.options.segment_bytes;
        let mut replaced = Vec::new();
        let mut changed = BTreeSet::new();
        for (id, partition) in partitions {
            while let Some(topic) = image.topics.get(id) {
                let Some(p) = topic.partitions.get(*partition as usize) else { break };
                let Some(range) = decide(&p.segments, segment_bytes, topic.config.retention_ms) else { break };
                let old = p.segments[range.clone()].to_vec();
                image.next_file_no += 1;
                let merged = self.write_merged(*id, *partition, image.next_file_no, &old)?;
                let p = image.partition(*id, *partition).ok_or_else(|| Error::bug("a partition has gone"))?;
                p.segments.splice(range, [merged]);
                replaced.extend(old.into_iter().map(|s| (*id, *partition, s)));
                changed.insert((*id, *partition));
            }
        }
        if changed.is_empty() {
            return Ok(());
        }
        self.sync_dirs(&changed.iter().map(|(id, _)| *id).collect())?;
        image.save(self.shared.disk(), &self.shared.options.dir)?;
        changed.iter().for_each(|(id, partition)| self.show(image, *id, *partition, |_| false));
        self.remove(replaced);
        Ok(())
    }

    fn write_merged(&self, id: ObjectId, partition: i32, file_no: u64, old: &[SegmentMeta]) -> Result<SegmentMeta> {
        let base_offset = old.first().map_or(0, |s| s.base_offset);
        let (on, dir) = (self.shared.disk(), self.shared.segments_dir());
        let mut writer = SegmentWriter::create(on, &dir, id, partition, file_no, base_offset)?;
        for s in old {
            let reader = self.shared.open_segments.get(id, partition, s);
            let reader = reader.map_err(|e| Error::io("cannot open a segment to merge it", e))?;
            for piece in reader.pieces(PIECE_BYTES) {
                let piece = piece.map_err(|e| Error::io("cannot read a segment to merge it", e))?;
                writer.push(&piece, (s.first_append_ms, s.last_append_ms))?;
            }
        }
        writer.finish(self.shared.options.sync)
    }
}
