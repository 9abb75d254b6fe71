//! A member of a consumer group (the classic protocol): joins, shares out partitions if it is the leader, commits, leaves.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use fleuve_types::{Error, ErrorKind, Result};
use kafka_protocol::ResponseError;
use kafka_protocol::error::ParseResponseErrorCode;
use kafka_protocol::messages::consumer_protocol_assignment::TopicPartition;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestTopic;
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    ConsumerProtocolAssignment, ConsumerProtocolSubscription, GroupId, HeartbeatRequest, JoinGroupRequest,
    JoinGroupResponse, LeaveGroupRequest, OffsetCommitRequest, OffsetFetchRequest, SyncGroupRequest,
};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};

use super::records::Position;
use super::topics::topic_name;
use super::{Connection, EARLIEST, check};

const JOIN_VERSION: i16 = 5;
const SYNC_VERSION: i16 = 3;
const HEARTBEAT_VERSION: i16 = 3;
/// The last version that names one member.
const LEAVE_VERSION: i16 = 2;
const COMMIT_VERSION: i16 = 7;
const OFFSET_FETCH_VERSION: i16 = 5;
/// Version of the subscription and assignment that members exchange.
const PROTOCOL_VERSION: i16 = 0;
const SESSION_TIMEOUT_MS: i32 = 15_000;
const REBALANCE_TIMEOUT_MS: i32 = 30_000;
const HEARTBEAT: Duration = Duration::from_secs(3);
const JOIN_ATTEMPTS: usize = 20;

/// A member of a group with its share of one topic's partitions.
pub struct Member {
    group: GroupId,
    topic: String,
    id: StrBytes,
    generation: i32,
    last_heartbeat: Instant,
    /// Where it stands in each of its partitions.
    pub position: Position,
}

/// Whether the member still holds its partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It does.
    Good,
    /// The group is sharing out its partitions again: join again.
    Rejoin,
}

impl Member {
    /// Joins the group and takes over where it stopped; partitions it never read are read from the beginning.
    ///
    /// # Errors
    /// The broker's.
    pub async fn join(connection: &mut Connection, group: &str, topic: &str) -> Result<Self> {
        let mut member = Self {
            group: GroupId(StrBytes::from_string(group.to_string())),
            topic: topic.to_string(),
            id: StrBytes::default(),
            generation: -1,
            last_heartbeat: Instant::now(),
            position: Position::new(),
        };
        member.rejoin(connection).await?;
        Ok(member)
    }

    /// Joins again after [`Standing::Rejoin`].
    ///
    /// # Errors
    /// As for [`Member::join`].
    pub async fn rejoin(&mut self, connection: &mut Connection) -> Result<()> {
        for _ in 0..JOIN_ATTEMPTS {
            let joined = self.send_join(connection).await?;
            match joined.error_code.err() {
                Some(ResponseError::MemberIdRequired) => {
                    self.id = joined.member_id;
                    continue;
                }
                Some(ResponseError::UnknownMemberId) => {
                    self.id = StrBytes::default();
                    continue;
                }
                Some(ResponseError::RebalanceInProgress | ResponseError::CoordinatorLoadInProgress) => {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                    continue;
                }
                _ => check(joined.error_code, None, || format!("cannot join group {}", &*self.group))?,
            }
            self.id = joined.member_id.clone();
            self.generation = joined.generation_id;
            self.last_heartbeat = Instant::now();
            let assignments = match joined.leader == joined.member_id {
                true => self.share_out(connection, &joined).await?,
                false => Vec::new(),
            };
            if let Some(mine) = self.sync(connection, assignments).await? {
                return self.take_over(connection, &mine).await;
            }
        }
        Err(Error::new(ErrorKind::Retry, format!("group {} does not settle", &*self.group)).hint("try again"))
    }

    async fn send_join(&self, connection: &mut Connection) -> Result<JoinGroupResponse> {
        let subscription = ConsumerProtocolSubscription::default()
            .with_topics(vec![StrBytes::from_string(self.topic.clone())])
            .with_user_data(None);
        let protocol = JoinGroupRequestProtocol::default()
            .with_name(StrBytes::from_static_str("range"))
            .with_metadata(with_version(&subscription)?);
        let request = JoinGroupRequest::default()
            .with_group_id(self.group.clone())
            .with_session_timeout_ms(SESSION_TIMEOUT_MS)
            .with_rebalance_timeout_ms(REBALANCE_TIMEOUT_MS)
            .with_member_id(self.id.clone())
            .with_protocol_type(StrBytes::from_static_str("consumer"))
            .with_protocols(vec![protocol]);
        connection.call(&request, JOIN_VERSION).await
    }

    /// The leader's work: for each topic, its partitions in ranges over the members that want it.
    async fn share_out(
        &self,
        connection: &mut Connection,
        joined: &JoinGroupResponse,
    ) -> Result<Vec<SyncGroupRequestAssignment>> {
        let mut wants: BTreeMap<String, Vec<StrBytes>> = BTreeMap::new();
        for member in &joined.members {
            for topic in subscribed_topics(&member.metadata)? {
                wants.entry(topic).or_default().push(member.member_id.clone());
            }
        }
        let mut shares: BTreeMap<StrBytes, Vec<TopicPartition>> =
            joined.members.iter().map(|m| (m.member_id.clone(), Vec::new())).collect();
        for (topic, mut members) in wants {
            members.sort();
            // A topic that another member wants may not exist (yet); then there is nothing of it to share out.
            let partitions = match connection.partitions(&topic, topic == self.topic).await {
                Ok(partitions) => partitions,
                Err(e) if e.kind == ErrorKind::NotFound => continue,
                Err(e) => return Err(e),
            };
            for (member, range) in members.iter().zip(ranges(&partitions, members.len())) {
                if !range.is_empty() {
                    let share = TopicPartition::default().with_topic(topic_name(&topic)).with_partitions(range);
                    shares.entry(member.clone()).or_default().push(share);
                }
            }
        }
        shares
            .into_iter()
            .map(|(member, share)| {
                let assignment =
                    ConsumerProtocolAssignment::default().with_assigned_partitions(share).with_user_data(None);
                Ok(SyncGroupRequestAssignment::default()
                    .with_member_id(member)
                    .with_assignment(with_version(&assignment)?))
            })
            .collect()
    }

    /// This member's partitions; `None` when the group has begun to share out again.
    async fn sync(
        &self,
        connection: &mut Connection,
        assignments: Vec<SyncGroupRequestAssignment>,
    ) -> Result<Option<Vec<i32>>> {
        let request = SyncGroupRequest::default()
            .with_group_id(self.group.clone())
            .with_generation_id(self.generation)
            .with_member_id(self.id.clone())
            .with_assignments(assignments);
        let answer = connection.call(&request, SYNC_VERSION).await?;
        if is_lost(answer.error_code) {
            return Ok(None);
        }
        check(answer.error_code, None, || format!("cannot join group {}", &*self.group))?;
        assigned_partitions(&answer.assignment, &self.topic).map(Some)
    }

    async fn take_over(&mut self, connection: &mut Connection, partitions: &[i32]) -> Result<()> {
        self.position.clear();
        if partitions.is_empty() {
            return Ok(());
        }
        let topic = OffsetFetchRequestTopic::default()
            .with_name(topic_name(&self.topic))
            .with_partition_indexes(partitions.to_vec());
        let request = OffsetFetchRequest::default().with_group_id(self.group.clone()).with_topics(Some(vec![topic]));
        let answer = connection.call(&request, OFFSET_FETCH_VERSION).await?;
        check(answer.error_code, None, || format!("cannot read the offsets of group {}", &*self.group))?;
        for partition in answer.topics.iter().flat_map(|t| &t.partitions) {
            check(partition.error_code, None, || format!("cannot read the offsets of group {}", &*self.group))?;
            if partition.committed_offset >= 0 {
                self.position.insert(partition.partition_index, partition.committed_offset);
            }
        }
        let fresh: Vec<i32> = partitions.iter().copied().filter(|p| !self.position.contains_key(p)).collect();
        if !fresh.is_empty() {
            self.position.extend(connection.offsets(&self.topic, &fresh, EARLIEST).await?);
        }
        Ok(())
    }

    /// Tells the group that this member lives, when it is time to.
    ///
    /// # Errors
    /// The broker's.
    pub async fn heartbeat(&mut self, connection: &mut Connection) -> Result<Standing> {
        if self.last_heartbeat.elapsed() < HEARTBEAT {
            return Ok(Standing::Good);
        }
        self.last_heartbeat = Instant::now();
        let request = HeartbeatRequest::default()
            .with_group_id(self.group.clone())
            .with_generation_id(self.generation)
            .with_member_id(self.id.clone());
        let answer = connection.call(&request, HEARTBEAT_VERSION).await?;
        if is_lost(answer.error_code) {
            return Ok(Standing::Rejoin);
        }
        check(answer.error_code, None, || format!("lost group {}", &*self.group)).map(|()| Standing::Good)
    }

    /// Makes `position` what the group has read.
    ///
    /// # Errors
    /// The broker's.
    pub async fn commit(&self, connection: &mut Connection, position: &Position) -> Result<Standing> {
        if position.is_empty() {
            return Ok(Standing::Good);
        }
        let partitions = position
            .iter()
            .map(|(partition, offset)| {
                OffsetCommitRequestPartition::default()
                    .with_partition_index(*partition)
                    .with_committed_offset(*offset)
                    .with_committed_leader_epoch(-1)
                    .with_committed_metadata(Some(StrBytes::default()))
            })
            .collect();
        let topic = OffsetCommitRequestTopic::default().with_name(topic_name(&self.topic)).with_partitions(partitions);
        let request = OffsetCommitRequest::default()
            .with_group_id(self.group.clone())
            .with_generation_id_or_member_epoch(self.generation)
            .with_member_id(self.id.clone())
            .with_topics(vec![topic]);
        let answer = connection.call(&request, COMMIT_VERSION).await?;
        for partition in answer.topics.iter().flat_map(|t| &t.partitions) {
            if is_lost(partition.error_code) {
                return Ok(Standing::Rejoin);
            }
            check(partition.error_code, None, || format!("cannot commit for group {}", &*self.group))?;
        }
        Ok(Standing::Good)
    }

    /// Gives its partitions to the others.
    pub async fn leave(self, connection: &mut Connection) {
        let request = LeaveGroupRequest::default().with_group_id(self.group).with_member_id(self.id);
        // If this does not get through, the group notices by itself when the session times out.
        let _ = connection.call(&request, LEAVE_VERSION).await;
    }
}

fn is_lost(code: i16) -> bool {
    matches!(
        code.err(),
        Some(ResponseError::RebalanceInProgress | ResponseError::UnknownMemberId | ResponseError::IllegalGeneration)
    )
}

/// What members exchange begins with its version.
fn with_version(message: &impl Encodable) -> Result<Bytes> {
    let mut bytes = BytesMut::new();
    bytes.put_i16(PROTOCOL_VERSION);
    message
        .encode(&mut bytes, PROTOCOL_VERSION)
        .map_err(|e| Error::bug(format!("cannot form a group message: {e}")))?;
    Ok(bytes.freeze())
}

/// Cuts the version off. A newer one only adds fields at the end, so all are read as the oldest.
fn body(bytes: &Bytes) -> Result<Bytes> {
    match bytes.len() {
        0..2 => Err(Error::new(ErrorKind::Unknown, "a member of the group sent something unreadable")),
        _ => Ok(bytes.slice(2..)),
    }
}

fn subscribed_topics(metadata: &Bytes) -> Result<Vec<String>> {
    let subscription = ConsumerProtocolSubscription::decode(&mut body(metadata)?, PROTOCOL_VERSION)
        .map_err(|e| Error::new(ErrorKind::Unknown, format!("a member's subscription cannot be read: {e}")))?;
    Ok(subscription.topics.iter().map(ToString::to_string).collect())
}

fn assigned_partitions(assignment: &Bytes, topic: &str) -> Result<Vec<i32>> {
    if assignment.is_empty() {
        return Ok(Vec::new());
    }
    let assignment = ConsumerProtocolAssignment::decode(&mut body(assignment)?, PROTOCOL_VERSION)
        .map_err(|e| Error::new(ErrorKind::Unknown, format!("the leader's assignment cannot be read: {e}")))?;
    let mine = assignment.assigned_partitions.into_iter().filter(|t| &*t.topic.0 == topic);
    Ok(mine.flat_map(|t| t.partitions).collect())
}

/// `items` cut into `n` runs whose lengths differ by one at most.
pub(super) fn ranges(items: &[i32], n: usize) -> Vec<Vec<i32>> {
    let n = n.max(1);
    let (each, more) = (items.len() / n, items.len() % n);
    let mut rest = items;
    (0..n)
        .map(|i| {
            let (range, after) = rest.split_at(each + usize::from(i < more));
            rest = after;
            range.to_vec()
        })
        .collect()
}
