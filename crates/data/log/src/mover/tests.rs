use super::merge::decide;
use crate::segment::SegmentMeta;

fn segment(data_bytes: u64, append_ms: i64) -> SegmentMeta {
    SegmentMeta {
        file_no: 0,
        base_offset: 0,
        last_offset: 0,
        data_bytes,
        max_timestamp_ms: 0,
        first_append_ms: append_ms,
        last_append_ms: append_ms,
    }
}

#[test]
fn neighbours_of_one_size_are_merged_when_there_are_enough() {
    let small = |n: usize| vec![segment(1000, 0); n];
    assert_eq!(decide(&[], 1 << 20, None), None);
    assert_eq!(decide(&small(7), 1 << 20, None), None);
    assert_eq!(decide(&small(8), 1 << 20, None), Some(0..8));
    assert_eq!(decide(&small(8), 7999, None), None, "they do not fit into one");
    let behind_large = [vec![segment(1 << 20, 0)], small(9)].concat();
    assert_eq!(decide(&behind_large, 1 << 26, None), Some(1..10), "a large one is not copied again");
}

#[test]
fn a_merge_does_not_make_retention_coarse() {
    let spread: Vec<_> = (0..20).map(|i| segment(1000, i * 100)).collect();
    assert_eq!(decide(&spread, 1 << 20, Some(4000)), Some(0..20));
    assert_eq!(decide(&spread, 1 << 20, Some(1800)), Some(10..20));
    assert_eq!(decide(&spread, 1 << 20, Some(500)), None);
}

#[test]
fn a_byte_is_copied_a_logarithmic_number_of_times() {
    let mut segments = Vec::new();
    let mut copied = 0;
    for _ in 0..4096 {
        segments.push(segment(10_000, 0));
        while let Some(range) = decide(&segments, 64 << 20, None) {
            let bytes = segments[range.clone()].iter().map(|s: &SegmentMeta| s.data_bytes).sum();
            copied += bytes;
            segments.splice(range, [segment(bytes, 0)]);
        }
    }
    assert!(copied < 6 * 4096 * 10_000, "{copied}");
    assert!(segments.len() < 60, "{}", segments.len());
}
