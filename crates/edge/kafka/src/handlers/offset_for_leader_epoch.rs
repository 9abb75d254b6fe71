//! OffsetForLeaderEpoch: where an epoch of leadership ended. There is one epoch, and it goes on.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::offset_for_leader_epoch_request::OffsetForLeaderPartition;
use kafka_protocol::messages::offset_for_leader_epoch_response::{EpochEndOffset, OffsetForLeaderTopicResult};
use kafka_protocol::messages::{OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse};

use crate::TopicEntry;
use crate::broker::{LEADER_EPOCH, Session};

pub(crate) fn handle(cx: &Session, request: OffsetForLeaderEpochRequest) -> OffsetForLeaderEpochResponse {
    let topics = request.topics.into_iter().map(|asked| {
        let topic = cx.broker.topics.by_name(&asked.topic);
        let partitions = asked.partitions.iter().map(|part| one(cx, topic.as_ref(), part)).collect();
        OffsetForLeaderTopicResult::default().with_topic(asked.topic).with_partitions(partitions)
    });
    OffsetForLeaderEpochResponse::default().with_topics(topics.collect())
}

fn one(cx: &Session, topic: Option<&TopicEntry>, part: &OffsetForLeaderPartition) -> EpochEndOffset {
    let undefined = EpochEndOffset::default().with_partition(part.partition).with_leader_epoch(-1).with_end_offset(-1);
    let ends = topic.and_then(|t| cx.broker.log.offsets(t.id, part.partition));
    let Some((_, end)) = ends else {
        return undefined.with_error_code(ResponseError::UnknownTopicOrPartition.code());
    };
    if part.current_leader_epoch > LEADER_EPOCH {
        return undefined.with_error_code(ResponseError::UnknownLeaderEpoch.code());
    }
    if part.leader_epoch != LEADER_EPOCH {
        return undefined;
    }
    undefined.with_leader_epoch(LEADER_EPOCH).with_end_offset(end)
}
