//! OffsetDelete: a group forgets some partitions, if it has no members.

use fleuve_log::groups::GroupState;
use fleuve_types::ObjectId;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::offset_delete_response::{OffsetDeleteResponsePartition, OffsetDeleteResponseTopic};
use kafka_protocol::messages::{OffsetDeleteRequest, OffsetDeleteResponse};

use super::{OK, durable_code};
use crate::broker::Session;

pub(crate) async fn handle(cx: &Session, request: OffsetDeleteRequest) -> OffsetDeleteResponse {
    let refused = match cx.broker.groups.describe(&request.group_id).state {
        GroupState::Empty => None,
        GroupState::Dead => Some(ResponseError::GroupIdNotFound),
        _ => Some(ResponseError::NonEmptyGroup),
    };
    if let Some(error) = refused {
        return OffsetDeleteResponse::default().with_error_code(error.code());
    }
    let mut which: Vec<(ObjectId, i32)> = Vec::new();
    let topics = request.topics.into_iter().map(|asked| {
        let topic = cx.broker.topics.by_name(&asked.name);
        let partitions = asked.partitions.iter().map(|part| {
            let known = topic.as_ref().filter(|t| t.has_partition(part.partition_index));
            if let Some(topic) = known {
                which.push((topic.id, part.partition_index));
            }
            let code = if known.is_some() { OK } else { ResponseError::UnknownTopicOrPartition.code() };
            OffsetDeleteResponsePartition::default().with_partition_index(part.partition_index).with_error_code(code)
        });
        let partitions = partitions.collect();
        OffsetDeleteResponseTopic::default().with_name(asked.name).with_partitions(partitions)
    });
    let topics = topics.collect();
    let code =
        if which.is_empty() { OK } else { durable_code(cx.broker.groups.forget(&request.group_id, &which)).await };
    OffsetDeleteResponse::default().with_error_code(code).with_topics(topics)
}
