//! DescribeTopicPartitions: topics in pages, as newer Java admin clients ask for them.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::describe_topic_partitions_response::{
    Cursor, DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};
use kafka_protocol::messages::{DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse};

use crate::TopicEntry;
use crate::broker::{LEADER_EPOCH, NO_OPERATIONS, NODE_ID, Session, TOPIC_OPERATIONS, topic_id, topic_name};
use crate::topics::name_problem;

/// Partitions in one page, as in Kafka's `max.request.partition.size.limit`.
const PAGE_PARTITIONS: usize = 2000;

pub(crate) fn handle(cx: &Session, request: DescribeTopicPartitionsRequest) -> DescribeTopicPartitionsResponse {
    let topics = &cx.broker.topics;
    let mut names: Vec<String> = request.topics.iter().map(|t| t.name.to_string()).collect();
    let all = names.is_empty();
    if all {
        names = topics.list().into_iter().map(|t| t.name).collect();
    }
    names.sort();
    names.dedup();
    let (from_name, from_partition) =
        request.cursor.map_or((String::new(), 0), |c| (c.topic_name.to_string(), c.partition_index.max(0)));
    let mut room = usize::try_from(request.response_partition_limit).unwrap_or(0).clamp(1, PAGE_PARTITIONS);
    let mut answer = Vec::new();
    let mut next = None;
    for name in names.into_iter().filter(|n| *n >= from_name) {
        let first = if name == from_name { from_partition } else { 0 };
        let cursor = |partition| Cursor::default().with_topic_name(topic_name(&name)).with_partition_index(partition);
        if room == 0 {
            next = Some(cursor(first));
            break;
        }
        let Some(topic) = topics.by_name(&name) else {
            if !all {
                answer.push(unknown(&name));
            }
            continue;
        };
        let left = topic.partition_numbers().skip_while(|p| *p < first);
        let page: Vec<i32> = left.take(room).collect();
        room -= page.len();
        let after = page.last().map_or(first, |p| p + 1);
        answer.push(describe(&topic, &page));
        if topic.has_partition(after) {
            next = Some(cursor(after));
            break;
        }
    }
    DescribeTopicPartitionsResponse::default().with_topics(answer).with_next_cursor(next)
}

fn unknown(name: &str) -> DescribeTopicPartitionsResponseTopic {
    let wrong = name_problem(name).is_some();
    let code = if wrong { ResponseError::InvalidTopicException } else { ResponseError::UnknownTopicOrPartition };
    DescribeTopicPartitionsResponseTopic::default()
        .with_error_code(code.code())
        .with_name(Some(topic_name(name)))
        .with_topic_authorized_operations(NO_OPERATIONS)
}

fn describe(topic: &TopicEntry, page: &[i32]) -> DescribeTopicPartitionsResponseTopic {
    let partitions = page.iter().map(|number| {
        DescribeTopicPartitionsResponsePartition::default()
            .with_partition_index(*number)
            .with_leader_id(NODE_ID)
            .with_leader_epoch(LEADER_EPOCH)
            .with_replica_nodes(vec![NODE_ID])
            .with_isr_nodes(vec![NODE_ID])
            // The Java client breaks on null here.
            .with_eligible_leader_replicas(Some(Vec::new()))
            .with_last_known_elr(Some(Vec::new()))
    });
    DescribeTopicPartitionsResponseTopic::default()
        .with_name(Some(topic_name(&topic.name)))
        .with_topic_id(topic_id(topic.id))
        .with_is_internal(topic.internal)
        .with_partitions(partitions.collect())
        .with_topic_authorized_operations(TOPIC_OPERATIONS)
}
