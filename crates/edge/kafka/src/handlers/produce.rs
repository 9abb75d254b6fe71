//! Produce: batches go to the log as they are; the answer comes once they are durable.

use std::collections::BTreeMap;

use bytes::Bytes;
use fleuve_types::ObjectId;
use futures::future::join_all;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use kafka_protocol::messages::{ProduceRequest, ProduceResponse};

use super::{Answer, OK, message, produce_old, reply};
use crate::TopicEntry;
use crate::broker::Session;
use crate::codec::Header;
use crate::errors::append_code;

/// The appends of a request are queued in its first poll, so that requests keep their order.
pub(crate) async fn answer(cx: &Session, header: &Header, request: ProduceRequest) -> Answer {
    let acks = request.acks;
    if header.version < 3 {
        return if acks == 0 { Answer::Close } else { produce_old::refuse(header, &request).into() };
    }
    let refusal = refusal(&request);
    let by_id = header.version >= 13;
    let parts = request.topic_data.into_iter().flat_map(|topic| {
        let entry = cx.topic(by_id, &topic.name, topic.topic_id);
        let TopicProduceData { name, topic_id, partition_data, .. } = topic;
        partition_data.into_iter().map(move |part| ((name.clone(), topic_id), entry.clone(), part))
    });
    let appends = parts.map(|(key, entry, part)| async move {
        let answer = match refusal {
            Some((code, text)) => refused(part.index, code, text),
            None => append(cx, entry.as_ref(), part, by_id, acks != 0).await,
        };
        (key, answer)
    });
    let mut topics: BTreeMap<_, Vec<PartitionProduceResponse>> = BTreeMap::new();
    for (key, answer) in join_all(appends).await {
        topics.entry(key).or_default().push(answer);
    }
    if acks == 0 {
        let failed = topics.values().flatten().any(|p| p.error_code != OK);
        return if failed { Answer::Close } else { Answer::Silence };
    }
    let responses = topics.into_iter().map(|((name, id), partitions)| {
        TopicProduceResponse::default().with_name(name).with_topic_id(id).with_partition_responses(partitions)
    });
    reply(header, &ProduceResponse::default().with_responses(responses.collect()))
}

/// Why the whole request is refused.
fn refusal(request: &ProduceRequest) -> Option<(i16, &'static str)> {
    if !matches!(request.acks, -1..=1) {
        return Some((ResponseError::InvalidRequiredAcks.code(), "acks is 0, 1 or all"));
    }
    let transactional = request.transactional_id.is_some();
    transactional.then(|| (ResponseError::InvalidTxnState.code(), "transactions are not offered yet"))
}

fn refused(index: i32, code: i16, text: impl AsRef<str>) -> PartitionProduceResponse {
    PartitionProduceResponse::default()
        .with_index(index)
        .with_error_code(code)
        .with_base_offset(-1)
        .with_log_append_time_ms(-1)
        .with_log_start_offset(-1)
        .with_error_message(message(text))
}

async fn append(
    cx: &Session,
    topic: Option<&TopicEntry>,
    part: PartitionProduceData,
    by_id: bool,
    durable: bool,
) -> PartitionProduceResponse {
    let (id, records) = match check(topic, &part, by_id) {
        Ok(found) => found,
        Err((code, text)) => return refused(part.index, code, text),
    };
    let bytes = records.len();
    match cx.broker.log.append(id, part.index, records, durable).await {
        Ok(done) => {
            cx.broker.counters.add_produced_bytes(bytes);
            PartitionProduceResponse::default()
                .with_index(part.index)
                .with_base_offset(done.base_offset)
                .with_log_append_time_ms(done.log_append_time_ms)
                .with_log_start_offset(done.log_start_offset)
        }
        Err(e) => refused(part.index, append_code(&e), e.to_string()),
    }
}

fn check(
    topic: Option<&TopicEntry>,
    part: &PartitionProduceData,
    by_id: bool,
) -> Result<(ObjectId, Bytes), (i16, &'static str)> {
    let Some(topic) = topic else {
        let code = if by_id { ResponseError::UnknownTopicId } else { ResponseError::UnknownTopicOrPartition };
        return Err((code.code(), "there is no such topic"));
    };
    if !topic.has_partition(part.index) {
        return Err((ResponseError::UnknownTopicOrPartition.code(), "the topic has no such partition"));
    }
    if topic.internal {
        return Err((ResponseError::TopicAuthorizationFailed.code(), "Fleuve alone writes to this topic"));
    }
    match &part.records {
        Some(records) if !records.is_empty() => Ok((topic.id, records.clone())),
        _ => Err((ResponseError::InvalidRecord.code(), "the request has no records for this partition")),
    }
}
