//! ListOffsets: the first and the next offset, and offsets by time.

use fleuve_log::{Log, ReadError};
use fleuve_types::ObjectId;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use kafka_protocol::messages::{ListOffsetsRequest, ListOffsetsResponse};

use crate::TopicEntry;
use crate::broker::{LEADER_EPOCH, Session};
use crate::errors::read_code;

/// The next offset.
const LATEST: i64 = -1;
/// The first offset.
const EARLIEST: i64 = -2;
/// The offset of the record with the largest timestamp (version 7 and later).
const MAX_TIMESTAMP: i64 = -3;
/// The first offset on local disks, where all is here (version 8 and later).
const EARLIEST_LOCAL: i64 = -4;
/// The last offset in tiered storage, of which there is none (version 9 and later).
const LATEST_TIERED: i64 = -5;

pub(crate) async fn handle(cx: &Session, version: i16, request: ListOffsetsRequest) -> ListOffsetsResponse {
    let cx = cx.clone();
    // A search by time may read from disk.
    let found = tokio::task::spawn_blocking(move || {
        let topics = request.topics.iter().map(|asked| one_topic(&cx, version, asked));
        ListOffsetsResponse::default().with_topics(topics.collect())
    });
    found.await.unwrap_or_else(|e| {
        tracing::error!(error = %e, "looking for offsets broke off");
        ListOffsetsResponse::default()
    })
}

fn one_topic(cx: &Session, version: i16, asked: &ListOffsetsTopic) -> ListOffsetsTopicResponse {
    let topic = cx.broker.topics.by_name(&asked.name);
    let partitions = asked.partitions.iter().map(|part| {
        let answer = ListOffsetsPartitionResponse::default()
            .with_partition_index(part.partition_index)
            .with_timestamp(-1)
            .with_offset(-1)
            .with_leader_epoch(-1);
        match one(&cx.broker.log, version, topic.as_ref(), part) {
            Ok(Some((offset, timestamp))) => {
                // The epoch is told from version 4 on.
                let epoch = if version >= 4 { LEADER_EPOCH } else { -1 };
                answer.with_offset(offset).with_timestamp(timestamp).with_leader_epoch(epoch)
            }
            Ok(None) => answer,
            Err(code) => answer.with_error_code(code),
        }
    });
    ListOffsetsTopicResponse::default().with_name(asked.name.clone()).with_partitions(partitions.collect())
}

/// Offset and timestamp (-1 where it means nothing); `None` when no record fits.
fn one(
    log: &Log,
    version: i16,
    topic: Option<&TopicEntry>,
    part: &ListOffsetsPartition,
) -> Result<Option<(i64, i64)>, i16> {
    let unknown = ResponseError::UnknownTopicOrPartition.code();
    let topic = topic.ok_or(unknown)?;
    let (start, end) = log.offsets(topic.id, part.partition_index).ok_or(unknown)?;
    if part.current_leader_epoch > LEADER_EPOCH {
        return Err(ResponseError::UnknownLeaderEpoch.code());
    }
    match part.timestamp {
        LATEST => Ok(Some((end, -1))),
        EARLIEST => Ok(Some((start, -1))),
        MAX_TIMESTAMP if version >= 7 => {
            latest_timestamp(log, topic.id, part.partition_index).map_err(|e| read_code(&e))
        }
        EARLIEST_LOCAL if version >= 8 => Ok(Some((start, -1))),
        LATEST_TIERED if version >= 9 => Ok(None),
        time if time < 0 => Err(ResponseError::UnsupportedVersion.code()),
        time => log.offset_for_time(topic.id, part.partition_index, time).map_err(|e| read_code(&e)),
    }
}

/// The first record with the largest timestamp. There is a record at or after a time exactly for times up to the largest,
/// so halving finds it.
fn latest_timestamp(log: &Log, topic: ObjectId, partition: i32) -> Result<Option<(i64, i64)>, ReadError> {
    let Some(mut best) = log.offset_for_time(topic, partition, 0)? else { return Ok(None) };
    let mut high = i64::MAX;
    while best.1 < high {
        // In (best, high]: rounds up, and cannot overflow as both are not negative.
        let gap = high - best.1;
        let middle = best.1 + gap / 2 + gap % 2;
        match log.offset_for_time(topic, partition, middle)? {
            Some(found) => best = found,
            None => high = middle - 1,
        }
    }
    Ok(Some(best))
}
