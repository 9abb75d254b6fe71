use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use bytes::Bytes;
use fleuve_log::batch::{BatchBuilder, Batches, Compression, NewRecord, ProducerSequence, Record};
use fleuve_types::{Error, ErrorKind, Result};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{BrokerId, FetchRequest, InitProducerIdRequest, ProduceRequest};

use super::topics::topic_name;
use super::{Connection, check};

/// Topics by name, not by id.
const PRODUCE_VERSION: i16 = 9;
const FETCH_VERSION: i16 = 12;
const INIT_PRODUCER_VERSION: i16 = 4;
const ACKS_ALL: i16 = -1;
const TIMEOUT_MS: i32 = 30_000;
const FETCH_BYTES: i32 = 16 << 20;
/// What a batch may unpack to.
const MAX_UNPACKED_BYTES: usize = 256 << 20;
/// How often a batch is sent again when the connection breaks; the broker knows what it has already.
const ATTEMPTS: u32 = 5;
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// The partition of a key: Kafka's own choice (murmur2), so that other clients agree.
pub fn partition_of_key(key: &[u8], partitions: usize) -> usize {
    (murmur2(key) & 0x7fff_ffff) as usize % partitions.max(1)
}

/// MurmurHash2 as `org.apache.kafka.common.utils.Utils.murmur2` computes it.
fn murmur2(data: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mut h = 0x9747_b28c ^ data.len() as u32;
    let mut chunks = data.chunks_exact(4);
    for chunk in chunks.by_ref() {
        let mut k = u32::from_le_bytes(chunk.try_into().expect("chunks of four bytes"));
        k = k.wrapping_mul(M);
        k ^= k >> 24;
        h = h.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    let tail = chunks.remainder();
    if !tail.is_empty() {
        for (i, b) in tail.iter().enumerate() {
            h ^= u32::from(*b) << (8 * i);
        }
        h = h.wrapping_mul(M);
    }
    h ^= h >> 13;
    h = h.wrapping_mul(M);
    h ^ (h >> 15)
}

/// An idempotent producer to one topic: a batch that is sent twice is in the log once.
pub struct Producer {
    connection: Connection,
    topic: String,
    id: i64,
    epoch: i16,
    compression: Compression,
    /// Partition -> the next sequence number.
    sequences: HashMap<i32, i32>,
    waiting: BTreeMap<i32, BatchBuilder>,
}

impl Producer {
    /// Gets a producer id.
    ///
    /// # Errors
    /// The broker's.
    pub async fn new(mut connection: Connection, topic: &str, compression: Compression) -> Result<Self> {
        let request =
            InitProducerIdRequest::default().with_transactional_id(None).with_transaction_timeout_ms(TIMEOUT_MS);
        let answer = connection.call(&request, INIT_PRODUCER_VERSION).await?;
        check(answer.error_code, None, || "cannot get a producer id".into())?;
        Ok(Self {
            connection,
            topic: topic.to_string(),
            id: answer.producer_id.0,
            epoch: answer.producer_epoch,
            compression,
            sequences: HashMap::new(),
            waiting: BTreeMap::new(),
        })
    }

    /// Adds a record to the partition's batch; [`Producer::flush`] sends it. Gives the batch's bytes so far.
    ///
    /// # Errors
    /// The batch would be larger than the format can say.
    pub fn push(&mut self, partition: i32, record: &NewRecord<'_>) -> Result<usize> {
        let (id, epoch, compression) = (self.id, self.epoch, self.compression);
        let sequence = self.sequences.entry(partition).or_insert(0);
        let batch = self.waiting.entry(partition).or_insert_with(|| {
            let producer = ProducerSequence { producer_id: id, epoch, base_sequence: *sequence };
            BatchBuilder::new().compression(compression).producer(producer)
        });
        batch.push(record).map_err(|e| Error::new(ErrorKind::Limit, e.to_string()))?;
        *sequence = if *sequence == i32::MAX { 0 } else { *sequence + 1 };
        Ok(batch.size_bytes())
    }

    /// Sends what waits and returns when the broker has it on disk.
    ///
    /// # Errors
    /// The broker refused the records, or could not be reached for a while.
    pub async fn flush(&mut self) -> Result<()> {
        let mut data = Vec::with_capacity(self.waiting.len());
        for (partition, batch) in std::mem::take(&mut self.waiting) {
            let records = batch.build().map_err(|e| Error::bug(e.to_string()))?;
            data.push(PartitionProduceData::default().with_index(partition).with_records(Some(records)));
        }
        if data.is_empty() {
            return Ok(());
        }
        let topic = TopicProduceData::default().with_name(topic_name(&self.topic)).with_partition_data(data);
        let request =
            ProduceRequest::default().with_acks(ACKS_ALL).with_timeout_ms(TIMEOUT_MS).with_topic_data(vec![topic]);
        let mut attempt = 1;
        loop {
            match self.send(&request).await {
                Err(e) if matches!(e.kind, ErrorKind::Unknown | ErrorKind::Retry) && attempt < ATTEMPTS => {
                    attempt += 1;
                    tokio::time::sleep(RETRY_PAUSE).await;
                    if let Ok(fresh) = Connection::open(self.connection.address()).await {
                        self.connection = fresh;
                    }
                }
                other => return other,
            }
        }
    }

    async fn send(&mut self, request: &ProduceRequest) -> Result<()> {
        let answer = self.connection.call(request, PRODUCE_VERSION).await?;
        for partition in answer.responses.iter().flat_map(|t| &t.partition_responses) {
            check(partition.error_code, partition.error_message.as_deref(), || {
                format!("cannot write to {}, partition {}", self.topic, partition.index)
            })?;
        }
        Ok(())
    }
}

/// Where a consumer stands: partition -> next offset.
pub type Position = BTreeMap<i32, i64>;

/// What a fetch brought.
#[derive(Debug, Default)]
pub struct Fetched {
    /// The records in the order of their partitions and offsets.
    pub records: Vec<(i32, Record)>,
    /// Where the partitions stand behind them.
    pub next: Position,
}

impl Connection {
    /// Fetches from all partitions of `position`; waits up to `wait_ms` when there is nothing.
    ///
    /// # Errors
    /// The broker's; a batch that cannot be read.
    pub async fn fetch(&mut self, topic: &str, position: &Position, wait_ms: i32) -> Result<Fetched> {
        let partitions = position
            .iter()
            .map(|(partition, offset)| {
                FetchPartition::default()
                    .with_partition(*partition)
                    .with_current_leader_epoch(-1)
                    .with_fetch_offset(*offset)
                    .with_log_start_offset(-1)
                    .with_partition_max_bytes(FETCH_BYTES)
            })
            .collect();
        let request = FetchRequest::default()
            .with_replica_id(BrokerId(-1))
            .with_max_wait_ms(wait_ms)
            .with_min_bytes(1)
            .with_max_bytes(FETCH_BYTES)
            .with_session_id(0)
            .with_session_epoch(-1)
            .with_topics(vec![FetchTopic::default().with_topic(topic_name(topic)).with_partitions(partitions)]);
        let answer = self.call(&request, FETCH_VERSION).await?;
        check(answer.error_code, None, || format!("cannot read {topic}"))?;
        let mut fetched = Fetched { next: position.clone(), ..Fetched::default() };
        for partition in answer.responses.into_iter().flat_map(|t| t.partitions) {
            let index = partition.partition_index;
            check(partition.error_code, None, || format!("cannot read {topic}, partition {index}"))?;
            unpack(topic, index, partition.records.unwrap_or_default(), &mut fetched)?;
        }
        Ok(fetched)
    }
}

fn unpack(topic: &str, partition: i32, bytes: Bytes, fetched: &mut Fetched) -> Result<()> {
    let from = fetched.next.get(&partition).copied().unwrap_or(0);
    for batch in Batches::new(bytes) {
        let batch = match batch {
            Ok(batch) => batch,
            // The broker may cut the last batch short; the next fetch begins with it.
            Err(fleuve_log::batch::BatchError::Truncated { .. }) => break,
            Err(e) => return Err(unreadable(topic, partition, from, &e)),
        };
        if !batch.header().is_control() {
            let records = batch
                .records_within(MAX_UNPACKED_BYTES)
                .map_err(|e| unreadable(topic, partition, batch.header().base_offset, &e))?;
            for record in records {
                let record = record.map_err(|e| unreadable(topic, partition, batch.header().base_offset, &e))?;
                if record.offset >= from {
                    fetched.records.push((partition, record));
                }
            }
        }
        let next = fetched.next.entry(partition).or_insert(0);
        *next = (*next).max(batch.header().last_offset() + 1);
    }
    Ok(())
}

fn unreadable(topic: &str, partition: i32, offset: i64, error: &fleuve_log::batch::BatchError) -> Error {
    Error::input(format!("the record batch at {topic}-{partition}@{offset} cannot be read: {error}"))
}
