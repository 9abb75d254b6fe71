//! Fetch: batches as they were written, from the one that holds the offset. Waits for data when there is too little.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fleuve_types::ObjectId;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
use kafka_protocol::messages::{BrokerId, FetchRequest, FetchResponse};
use tokio::time::Instant;

use super::{Answer, OK, reply};
use crate::TopicEntry;
use crate::broker::{LEADER_EPOCH, Session};
use crate::codec::Header;
use crate::errors::read_code;
use crate::fetch_memory::Granted;

/// Sessions are not offered: clients then ask for all their partitions each time.
const NO_SESSION: i32 = 0;

pub(crate) async fn answer(cx: &Session, header: &Header, request: FetchRequest) -> Answer {
    if request.session_id != NO_SESSION {
        let unknown = ResponseError::FetchSessionIdNotFound.code();
        return reply(header, &FetchResponse::default().with_error_code(unknown));
    }
    let mut found = find(cx, header.version, Arc::new(request)).await;
    cx.broker.counters.add_fetched_bytes(found.bytes);
    let memory = found.memory.take();
    let response = FetchResponse::default().with_session_id(NO_SESSION).with_responses(found.topics);
    match reply(header, &response) {
        Answer::Send(bytes) => Answer::Send(Bytes::from_owner(Held { bytes, _memory: memory })),
        other => other,
    }
}

/// An answer that counts as in memory until it is sent.
struct Held {
    bytes: Bytes,
    _memory: Option<Granted>,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Looks until there is enough or the time is up.
async fn find(cx: &Session, version: i16, request: Arc<FetchRequest>) -> Found {
    let wait_ms = u64::try_from(request.max_wait_ms).unwrap_or(0).min(cx.broker.options.max_fetch_wait_ms);
    let deadline = Instant::now() + Duration::from_millis(wait_ms);
    let enough = usize::try_from(request.min_bytes).unwrap_or(0);
    let mut changed = cx.broker.log.changed();
    let places = places(cx, version, &request);
    loop {
        // What comes after this look counts as a change.
        changed.borrow_and_update();
        let found = look(cx, version, &request, &places).await;
        if found.bytes >= enough || found.failed {
            return found;
        }
        if !wait_for_data(cx, &places, &found, &mut changed, deadline).await {
            return look(cx, version, &request, &places).await;
        }
    }
}

/// Reads what there is. Reading may touch the disk, so it is done where that blocks nobody; seeing that there is nothing
/// needs no thread.
async fn look(cx: &Session, version: i16, request: &Arc<FetchRequest>, places: &[Place]) -> Found {
    let idle = ends(cx, places).zip(places).all(|(end, place)| end.is_none_or(|end| end == place.offset));
    if idle {
        return Found::read(cx, version, request);
    }
    let (cx, request) = (cx.clone(), request.clone());
    match tokio::task::spawn_blocking(move || Found::read(&cx, version, &request)).await {
        Ok(found) => found,
        Err(e) => {
            tracing::error!(error = %e, "reading for a fetch broke off");
            Found::default()
        }
    }
}

/// Where a fetch reads. Looked up once: names do not change their topic while it waits, and a topic that goes has no end.
struct Place {
    topic: Option<ObjectId>,
    partition: i32,
    offset: i64,
}

fn places(cx: &Session, version: i16, request: &FetchRequest) -> Vec<Place> {
    let of_topic = |asked: &FetchTopic| {
        let topic = cx.topic(version >= 13, &asked.topic, asked.topic_id).map(|t| t.id);
        let parts = asked.partitions.iter();
        parts.map(|p| Place { topic, partition: p.partition, offset: p.fetch_offset }).collect::<Vec<_>>()
    };
    request.topics.iter().flat_map(of_topic).collect()
}

/// Where the partitions of a request end now.
fn ends<'a>(cx: &'a Session, places: &'a [Place]) -> impl Iterator<Item = Option<i64>> + 'a {
    places.iter().map(|place| {
        let (_, end) = cx.broker.log.offsets(place.topic?, place.partition)?;
        Some(end)
    })
}

/// Waits until one of the partitions has more than was found, without reading it. False when the time is up.
async fn wait_for_data(
    cx: &Session,
    places: &[Place],
    found: &Found,
    changed: &mut tokio::sync::watch::Receiver<u64>,
    deadline: Instant,
) -> bool {
    loop {
        let woken = tokio::select! {
            biased;
            woken = changed.changed() => woken.is_ok(),
            () = tokio::time::sleep_until(deadline) => false,
            () = cx.until_gone() => false,
        };
        if !woken {
            return false;
        }
        changed.borrow_and_update();
        if ends(cx, places).ne(found.seen.iter().copied()) {
            return true;
        }
    }
}

/// What one look at the log gave.
#[derive(Default)]
struct Found {
    topics: Vec<FetchableTopicResponse>,
    /// The end of each partition, in the order of the request; `None` for one that is not there.
    seen: Vec<Option<i64>>,
    bytes: usize,
    /// Some partition has an error, which the client should hear of at once.
    failed: bool,
    memory: Option<Granted>,
}

impl Found {
    fn read(cx: &Session, version: i16, request: &FetchRequest) -> Found {
        let mut found = Found { topics: Vec::with_capacity(request.topics.len()), ..Found::default() };
        let wanted = cx.broker.options.max_fetch_bytes.min(usize::try_from(request.max_bytes).unwrap_or(0));
        let mut memory = cx.broker.fetch_memory.grant(wanted);
        let limit = memory.bytes();
        for asked in &request.topics {
            let topic = cx.topic(version >= 13, &asked.topic, asked.topic_id);
            let parts = asked.partitions.iter().map(|part| {
                let room = limit.saturating_sub(found.bytes);
                let data = match check(version, topic.as_ref(), part) {
                    Ok(topic) => read_one(cx, topic, part, room, found.bytes == 0),
                    Err(code) => failure(part.partition, code),
                };
                found.bytes += data.records.as_ref().map_or(0, Bytes::len);
                found.failed |= data.error_code != OK;
                found.seen.push((data.error_code == OK).then_some(data.high_watermark));
                data.with_aborted_transactions((request.isolation_level == 1).then(Vec::new))
            });
            let partitions = parts.collect();
            found.topics.push(
                FetchableTopicResponse::default()
                    .with_topic(asked.topic.clone())
                    .with_topic_id(asked.topic_id)
                    .with_partitions(partitions),
            );
        }
        memory.settle(found.bytes);
        found.memory = Some(memory);
        found
    }
}

fn check<'a>(version: i16, topic: Option<&'a TopicEntry>, part: &FetchPartition) -> Result<&'a TopicEntry, i16> {
    let Some(topic) = topic else {
        let code = if version >= 13 { ResponseError::UnknownTopicId } else { ResponseError::UnknownTopicOrPartition };
        return Err(code.code());
    };
    if !topic.has_partition(part.partition) {
        return Err(ResponseError::UnknownTopicOrPartition.code());
    }
    if part.current_leader_epoch > LEADER_EPOCH {
        return Err(ResponseError::UnknownLeaderEpoch.code());
    }
    Ok(topic)
}

/// The first partition with data gives at least one batch; those behind it keep to what is left.
fn read_one(cx: &Session, topic: &TopicEntry, part: &FetchPartition, room: usize, first: bool) -> PartitionData {
    let wanted = room.min(usize::try_from(part.partition_max_bytes).unwrap_or(0));
    let log = &cx.broker.log;
    if wanted == 0 && !first {
        return match log.offsets(topic.id, part.partition) {
            Some((start, end)) => success(part.partition, start, end, Bytes::new()),
            None => failure(part.partition, ResponseError::UnknownTopicOrPartition.code()),
        };
    }
    match log.read(topic.id, part.partition, part.fetch_offset, wanted.max(1)) {
        Ok(slice) => {
            let (start, end) = (slice.log_start_offset, slice.high_watermark);
            let fits = first || slice.size_bytes() <= room;
            let records = if fits { slice.concat() } else { Bytes::new() };
            success(part.partition, start, end, records)
        }
        Err(e) => failure(part.partition, read_code(&e)),
    }
}

/// Empty record sets are empty bytes: librdkafka refuses null.
fn success(partition: i32, start: i64, end: i64, records: Bytes) -> PartitionData {
    PartitionData::default()
        .with_partition_index(partition)
        .with_high_watermark(end)
        .with_last_stable_offset(end)
        .with_log_start_offset(start)
        .with_preferred_read_replica(BrokerId(-1))
        .with_records(Some(records))
}

fn failure(partition: i32, code: i16) -> PartitionData {
    success(partition, -1, -1, Bytes::new()).with_error_code(code)
}
