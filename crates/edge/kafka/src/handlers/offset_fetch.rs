//! OffsetFetch: the committed offsets of one group (to version 7) or several.

use std::collections::BTreeMap;

use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions, OffsetFetchResponseTopic,
    OffsetFetchResponseTopics,
};
use kafka_protocol::messages::{OffsetFetchRequest, OffsetFetchResponse, TopicName};

use crate::broker::{Session, topic_name};
use crate::codec::string;

/// Partition, offset, leader epoch, metadata.
type Found = (i32, i64, i32, String);

pub(crate) fn handle(cx: &Session, version: i16, request: OffsetFetchRequest) -> OffsetFetchResponse {
    if version >= 8 {
        let groups = request.groups.iter().map(|group| one_group(cx, group));
        return OffsetFetchResponse::default().with_groups(groups.collect());
    }
    // Null, which asks for all, exists from version 2 on; an empty list asks for none.
    let asked = request.topics.as_ref().map(|topics| {
        let pairs = topics.iter().map(|t: &OffsetFetchRequestTopic| (&t.name, t.partition_indexes.as_slice()));
        pairs.collect()
    });
    let topics = find(cx, &request.group_id, asked).into_iter().map(|(name, found)| {
        let partitions = found.into_iter().map(|(partition, offset, epoch, metadata)| {
            OffsetFetchResponsePartition::default()
                .with_partition_index(partition)
                .with_committed_offset(offset)
                .with_committed_leader_epoch(epoch)
                .with_metadata(Some(string(metadata)))
        });
        OffsetFetchResponseTopic::default().with_name(name).with_partitions(partitions.collect())
    });
    OffsetFetchResponse::default().with_topics(topics.collect())
}

fn one_group(cx: &Session, group: &OffsetFetchRequestGroup) -> OffsetFetchResponseGroup {
    let asked = group.topics.as_ref().map(|topics| {
        let pairs = topics.iter().map(|t: &OffsetFetchRequestTopics| (&t.name, t.partition_indexes.as_slice()));
        pairs.collect()
    });
    let topics = find(cx, &group.group_id, asked).into_iter().map(|(name, found)| {
        let partitions = found.into_iter().map(|(partition, offset, epoch, metadata)| {
            OffsetFetchResponsePartitions::default()
                .with_partition_index(partition)
                .with_committed_offset(offset)
                .with_committed_leader_epoch(epoch)
                .with_metadata(Some(string(metadata)))
        });
        OffsetFetchResponseTopics::default().with_name(name).with_partitions(partitions.collect())
    });
    OffsetFetchResponseGroup::default().with_group_id(group.group_id.clone()).with_topics(topics.collect())
}

/// The offsets that are asked for, or all; -1 where there is none.
fn find(cx: &Session, group: &str, asked: Option<Vec<(&TopicName, &[i32])>>) -> Vec<(TopicName, Vec<Found>)> {
    let groups = &cx.broker.groups;
    let Some(asked) = asked else {
        let mut topics: BTreeMap<String, Vec<Found>> = BTreeMap::new();
        for ((topic, partition), o) in groups.offsets(group) {
            if let Some(topic) = cx.broker.topics.by_id(topic) {
                topics.entry(topic.name).or_default().push((partition, o.offset, o.leader_epoch, o.metadata));
            }
        }
        return topics.into_iter().map(|(name, found)| (topic_name(&name), found)).collect();
    };
    let one = |(name, partitions): (&TopicName, &[i32])| {
        let topic = cx.broker.topics.by_name(name);
        let found = partitions.iter().map(|partition| {
            match topic.as_ref().and_then(|t| groups.offset(group, t.id, *partition)) {
                Some(o) => (*partition, o.offset, o.leader_epoch, o.metadata),
                None => (*partition, -1, -1, String::new()),
            }
        });
        (name.clone(), found.collect())
    };
    asked.into_iter().map(one).collect()
}
