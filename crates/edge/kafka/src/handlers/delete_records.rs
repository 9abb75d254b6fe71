//! DeleteRecords: forgets what lies before an offset.

use fleuve_types::ErrorKind;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::delete_records_response::{DeleteRecordsPartitionResult, DeleteRecordsTopicResult};
use kafka_protocol::messages::{DeleteRecordsRequest, DeleteRecordsResponse};

use crate::TopicEntry;
use crate::broker::Session;
use crate::errors::{About, code};

pub(crate) async fn handle(cx: &Session, request: DeleteRecordsRequest) -> DeleteRecordsResponse {
    let mut topics = Vec::with_capacity(request.topics.len());
    for asked in request.topics {
        let topic = cx.broker.topics.by_name(&asked.name);
        let mut partitions = Vec::with_capacity(asked.partitions.len());
        for part in asked.partitions {
            let answer = DeleteRecordsPartitionResult::default().with_partition_index(part.partition_index);
            partitions.push(match delete(cx, topic.as_ref(), part.partition_index, part.offset).await {
                Ok(low) => answer.with_low_watermark(low),
                Err(code) => answer.with_low_watermark(-1).with_error_code(code),
            });
        }
        topics.push(DeleteRecordsTopicResult::default().with_name(asked.name).with_partitions(partitions));
    }
    DeleteRecordsResponse::default().with_topics(topics)
}

/// -1 is "all there are".
async fn delete(cx: &Session, topic: Option<&TopicEntry>, partition: i32, before: i64) -> Result<i64, i16> {
    let topic =
        topic.filter(|t| t.has_partition(partition)).ok_or_else(|| ResponseError::UnknownTopicOrPartition.code())?;
    if topic.internal {
        return Err(ResponseError::TopicAuthorizationFailed.code());
    }
    if before < -1 {
        return Err(ResponseError::OffsetOutOfRange.code());
    }
    cx.broker.topics.delete_records(topic.id, partition, before).await.map_err(|e| match e.kind {
        ErrorKind::Input => ResponseError::OffsetOutOfRange.code(),
        _ => {
            // The protocol has no room for the reason.
            tracing::warn!(topic = topic.name, partition, error = %e, "records could not be deleted");
            code(&e, About::Topic)
        }
    })
}
