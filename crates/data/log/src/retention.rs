//! What retention lets go: a pure decision over a partition's pieces, oldest first.

use crate::TopicConfig;
use crate::partition::PartitionState;

/// The new first offset of a partition, if retention moves it. A piece (a segment, or what one append wrote) goes as a
/// whole: by time when all of it was appended too long ago, by size while what is left is still enough.
pub(crate) fn decide(state: &PartitionState, config: &TopicConfig, now_ms: i64) -> Option<i64> {
    let segments = state.segments.iter().map(|s| (s.last_offset, s.data_bytes, s.last_append_ms));
    let extents = state.extents.iter().map(|e| (e.last_offset, u64::from(e.len), e.append_ms));
    let too_old = |append_ms: i64| config.retention_ms.is_some_and(|keep| now_ms.saturating_sub(append_ms) > keep);
    let limit_bytes = config.retention_bytes.map(|b| u64::try_from(b).unwrap_or(0));
    let mut left = if limit_bytes.is_some() { state.size_bytes() } else { 0 };
    let mut start = state.start;
    for (last_offset, bytes, append_ms) in segments.chain(extents) {
        let too_much = limit_bytes.is_some_and(|limit| left.saturating_sub(bytes) >= limit);
        if !too_old(append_ms) && !too_much {
            break;
        }
        left = left.saturating_sub(bytes);
        start = last_offset + 1;
    }
    (start > state.start).then_some(start)
}
