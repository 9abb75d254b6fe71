//! One file per API: what it asks, what is done, what is answered.

mod alter_configs;
pub(crate) mod api_versions;
mod create_partitions;
mod create_topics;
mod delete_groups;
mod delete_records;
mod delete_topics;
mod describe_cluster;
mod describe_configs;
mod describe_groups;
mod describe_topic_partitions;
mod fetch;
mod find_coordinator;
mod heartbeat;
mod incremental_alter_configs;
mod init_producer_id;
mod join_group;
mod leave_group;
mod list_groups;
mod list_offsets;
mod metadata;
mod offset_commit;
mod offset_delete;
mod offset_fetch;
mod offset_for_leader_epoch;
mod produce;
mod produce_old;
mod sync_group;

use bytes::Bytes;
use fleuve_log::groups::GroupError;
use fleuve_types::{Error, Result};
use kafka_protocol::ResponseError;
use kafka_protocol::protocol::{Encodable, HeaderVersion, StrBytes};

use crate::broker::Session;
use crate::codec::{Header, Request, encode_frame, string};
use crate::coordinator::CommitError;
use crate::errors::append_code;

/// The key of ApiVersions, whose unknown versions are answered.
pub(crate) const API_VERSIONS: i16 = 18;

/// What becomes of a request.
#[derive(Debug)]
pub(crate) enum Answer {
    /// These bytes go back.
    Send(Bytes),
    /// The client wants no answer.
    Silence,
    /// The client wanted no answer but has to learn that it failed: the connection is closed.
    Close,
    /// No answer could be made.
    Fail(Error),
}

impl From<Result<Bytes>> for Answer {
    fn from(frame: Result<Bytes>) -> Self {
        frame.map_or_else(Answer::Fail, Answer::Send)
    }
}

fn reply<R: Encodable + HeaderVersion>(header: &Header, answer: &R) -> Answer {
    encode_frame(header.correlation_id, header.version, answer).into()
}

/// Does what a request asks.
pub(crate) async fn answer(cx: &Session, header: Header, request: Request) -> Answer {
    let h = &header;
    let v = h.version;
    match request {
        Request::Produce(r) => produce::answer(cx, h, r).await,
        Request::Fetch(r) => fetch::answer(cx, h, r).await,
        Request::ListOffsets(r) => reply(h, &list_offsets::handle(cx, v, r).await),
        Request::Metadata(r) => reply(h, &metadata::handle(cx, v, r).await),
        Request::OffsetCommit(r) => reply(h, &offset_commit::handle(cx, r).await),
        Request::OffsetFetch(r) => reply(h, &offset_fetch::handle(cx, v, r)),
        Request::FindCoordinator(r) => reply(h, &find_coordinator::handle(cx, v, r)),
        Request::JoinGroup(r) => reply(h, &join_group::handle(cx, h, r).await),
        Request::Heartbeat(r) => reply(h, &heartbeat::handle(cx, r).await),
        Request::LeaveGroup(r) => reply(h, &leave_group::handle(cx, v, r).await),
        Request::SyncGroup(r) => reply(h, &sync_group::handle(cx, v, r).await),
        Request::DescribeGroups(r) => reply(h, &describe_groups::handle(cx, v, r)),
        Request::ListGroups(r) => reply(h, &list_groups::handle(cx, v, r)),
        Request::ApiVersions(_) => reply(h, &api_versions::handle()),
        Request::CreateTopics(r) => reply(h, &create_topics::handle(cx, r).await),
        Request::DeleteTopics(r) => reply(h, &delete_topics::handle(cx, v, r).await),
        Request::DeleteRecords(r) => reply(h, &delete_records::handle(cx, r).await),
        Request::InitProducerId(r) => reply(h, &init_producer_id::handle(cx, r).await),
        Request::OffsetForLeaderEpoch(r) => reply(h, &offset_for_leader_epoch::handle(cx, r)),
        Request::DescribeConfigs(r) => reply(h, &describe_configs::handle(cx, v, r)),
        Request::AlterConfigs(r) => reply(h, &alter_configs::handle(cx, r).await),
        Request::CreatePartitions(r) => reply(h, &create_partitions::handle(cx, r).await),
        Request::DeleteGroups(r) => reply(h, &delete_groups::handle(cx, r).await),
        Request::IncrementalAlterConfigs(r) => reply(h, &incremental_alter_configs::handle(cx, r).await),
        Request::OffsetDelete(r) => reply(h, &offset_delete::handle(cx, r).await),
        Request::DescribeCluster(r) => reply(h, &describe_cluster::handle(cx, v, r)),
        Request::DescribeTopicPartitions(r) => reply(h, &describe_topic_partitions::handle(cx, r)),
    }
}

/// The code of "all is well".
const OK: i16 = 0;

/// A message for a person, where the protocol has room for one.
fn message(text: impl AsRef<str>) -> Option<StrBytes> {
    Some(string(text))
}

/// The code for what a group refused.
fn group_code(error: GroupError) -> i16 {
    let code = match error {
        GroupError::InvalidGroupId => ResponseError::InvalidGroupId,
        GroupError::UnknownMemberId => ResponseError::UnknownMemberId,
        GroupError::MemberIdRequired => ResponseError::MemberIdRequired,
        GroupError::IllegalGeneration => ResponseError::IllegalGeneration,
        GroupError::RebalanceInProgress => ResponseError::RebalanceInProgress,
        GroupError::InconsistentGroupProtocol => ResponseError::InconsistentGroupProtocol,
        GroupError::InvalidSessionTimeout => ResponseError::InvalidSessionTimeout,
        GroupError::FencedInstanceId => ResponseError::FencedInstanceId,
        GroupError::GroupMaxSizeReached => ResponseError::GroupMaxSizeReached,
        GroupError::InvalidRequest => ResponseError::InvalidRequest,
        GroupError::NonEmptyGroup => ResponseError::NonEmptyGroup,
        GroupError::GroupIdNotFound => ResponseError::GroupIdNotFound,
    };
    code.code()
}

fn group_result_code(error: Option<GroupError>) -> i16 {
    error.map_or(OK, group_code)
}

/// The code for a change of a group that did not happen. A full queue of the log is something to try again after.
fn commit_code(error: &CommitError) -> i16 {
    match error {
        CommitError::Group(e) => group_code(*e),
        CommitError::Log(fleuve_log::AppendError::Limit(_) | fleuve_log::AppendError::Busy) => {
            ResponseError::CoordinatorLoadInProgress.code()
        }
        CommitError::Log(e) => append_code(e),
    }
}

/// Waits until a change of a group is durable, and gives its code.
async fn durable_code(pending: Result<fleuve_log::PendingAppend, CommitError>) -> i16 {
    match pending {
        Ok(pending) => pending.await.map_or_else(|e| append_code(&e), |_| OK),
        Err(e) => commit_code(&e),
    }
}
