use bytes::Bytes;
use fleuve_store::LocalDisk;
use fleuve_types::ObjectId;

use super::*;

fn image() -> Image {
    let mut image = Image { secret: 7, wal_from: 3, next_file_no: 9, next_generation: 2, ..Image::default() };
    let segment = SegmentMeta {
        file_no: 4,
        base_offset: 0,
        last_offset: 9,
        data_bytes: 1000,
        max_timestamp_ms: 5,
        first_append_ms: 1,
        last_append_ms: 2,
    };
    let partition = PartitionImage { start: 2, next_offset: 12, segments: vec![segment], ..PartitionImage::default() };
    let config = TopicConfig { retention_ms: Some(1), ..TopicConfig::default() };
    let partitions = vec![partition, PartitionImage::default()];
    image.topics.insert(ObjectId(1), TopicImage { generation: 1, config, partitions });
    image.marks.insert("k".into(), Bytes::from_static(b"v"));
    image
}

#[test]
fn a_manifest_is_read_back() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(Image::load(&LocalDisk, dir.path()).unwrap(), None);
    image().save(&LocalDisk, dir.path()).unwrap();
    assert_eq!(Image::load(&LocalDisk, dir.path()).unwrap(), Some(image()));
}

#[test]
fn bytes_cut_short_are_no_manifest() {
    let bytes = image().encode();
    for cut in 0..bytes.len() {
        assert!(Image::decode(&bytes[..cut]).is_err(), "cut at {cut}");
    }
    assert!(Image::decode(&[bytes, vec![0]].concat()).is_err());
}

#[test]
fn a_deleted_topic_leaves_its_segments_to_be_removed() {
    let mut image = image();
    let (mut extents, mut dropped) = (Extents::default(), Vec::new());
    extents.by_partition.insert((ObjectId(1), 0), (1, Vec::new()));
    let record = WalRecord::Topic { topic: ObjectId(1), event: TopicEvent::Delete };
    image.apply(&record, &[], 3, 0, &mut extents, &mut dropped).unwrap();
    assert!(image.topics.is_empty() && extents.by_partition.is_empty());
    assert_eq!(dropped.iter().map(|(_, p, s)| (*p, s.file_no)).collect::<Vec<_>>(), [(0, 4)]);
}
