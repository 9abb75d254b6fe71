//! OffsetCommit: how far a group has come; durable before the answer.

use fleuve_log::groups::{CommittedOffset, OFFSET_METADATA_BYTES};
use fleuve_types::ObjectId;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::offset_commit_request::OffsetCommitRequestPartition;
use kafka_protocol::messages::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use kafka_protocol::messages::{OffsetCommitRequest, OffsetCommitResponse};

use super::{OK, durable_code};
use crate::TopicEntry;
use crate::broker::Session;

type Commit = ((ObjectId, i32), CommittedOffset);

pub(crate) async fn handle(cx: &Session, request: OffsetCommitRequest) -> OffsetCommitResponse {
    let now_ms = cx.broker.clock.now_ms();
    let mut commits: Vec<Commit> = Vec::new();
    let mut topics: Vec<OffsetCommitResponseTopic> = Vec::with_capacity(request.topics.len());
    for asked in &request.topics {
        let topic = cx.broker.topics.by_name(&asked.name);
        let partitions = asked.partitions.iter().map(|part| {
            let code = match to_commit(topic.as_ref(), part, now_ms) {
                Ok(commit) => {
                    commits.push(commit);
                    OK
                }
                Err(code) => code.code(),
            };
            OffsetCommitResponsePartition::default().with_partition_index(part.partition_index).with_error_code(code)
        });
        let partitions = partitions.collect();
        topics.push(OffsetCommitResponseTopic::default().with_name(asked.name.clone()).with_partitions(partitions));
    }
    let pending = cx.broker.groups.commit(
        &request.group_id,
        &request.member_id,
        request.group_instance_id.as_deref(),
        request.generation_id_or_member_epoch,
        commits,
    );
    let code = durable_code(pending).await;
    for part in topics.iter_mut().flat_map(|t| &mut t.partitions) {
        if part.error_code == OK {
            part.error_code = code;
        }
    }
    OffsetCommitResponse::default().with_topics(topics)
}

fn to_commit(
    topic: Option<&TopicEntry>,
    part: &OffsetCommitRequestPartition,
    now_ms: i64,
) -> Result<Commit, ResponseError> {
    let topic =
        topic.filter(|t| t.has_partition(part.partition_index)).ok_or(ResponseError::UnknownTopicOrPartition)?;
    let metadata = part.committed_metadata.as_ref().map(ToString::to_string).unwrap_or_default();
    if metadata.len() > OFFSET_METADATA_BYTES {
        return Err(ResponseError::OffsetMetadataTooLarge);
    }
    let offset = CommittedOffset {
        offset: part.committed_offset,
        leader_epoch: part.committed_leader_epoch,
        commit_ms: now_ms,
        metadata,
    };
    Ok(((topic.id, part.partition_index), offset))
}
