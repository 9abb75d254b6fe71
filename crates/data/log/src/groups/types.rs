use bytes::Bytes;

/// The driver's number for a request that awaits its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// Where a group stands. The names are those that Kafka's tools show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum GroupState {
    /// No members; there may be committed offsets.
    #[default]
    Empty,
    /// Members are asked to join again.
    PreparingRebalance,
    /// All have joined; the leader's assignment is awaited.
    CompletingRebalance,
    /// Members have their assignments.
    Stable,
    /// The group is gone.
    Dead,
}

impl GroupState {
    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::PreparingRebalance => "PreparingRebalance",
            Self::CompletingRebalance => "CompletingRebalance",
            Self::Stable => "Stable",
            Self::Dead => "Dead",
        }
    }
}

/// Why a request to a group was refused. Each variant stands for the Kafka error code of the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum GroupError {
    /// `INVALID_GROUP_ID`
    #[error("the group id is empty or too long")]
    InvalidGroupId,
    /// `UNKNOWN_MEMBER_ID`
    #[error("the group does not know this member")]
    UnknownMemberId,
    /// `MEMBER_ID_REQUIRED`
    #[error("join again with the member id that was given")]
    MemberIdRequired,
    /// `ILLEGAL_GENERATION`
    #[error("the generation is not the group's")]
    IllegalGeneration,
    /// `REBALANCE_IN_PROGRESS`
    #[error("the group is rebalancing: join again")]
    RebalanceInProgress,
    /// `INCONSISTENT_GROUP_PROTOCOL`
    #[error("no protocol is common to all members")]
    InconsistentGroupProtocol,
    /// `INVALID_SESSION_TIMEOUT`
    #[error("the session timeout is outside the allowed range")]
    InvalidSessionTimeout,
    /// `FENCED_INSTANCE_ID`
    #[error("another member has taken this group instance id")]
    FencedInstanceId,
    /// `GROUP_MAX_SIZE_REACHED`
    #[error("the group or the number of groups is at its limit")]
    GroupMaxSizeReached,
    /// `INVALID_REQUEST`
    #[error("the request is too large or says something impossible")]
    InvalidRequest,
    /// `NON_EMPTY_GROUP`
    #[error("the group has members")]
    NonEmptyGroup,
    /// `GROUP_ID_NOT_FOUND`
    #[error("there is no such group")]
    GroupIdNotFound,
}

/// JoinGroup, without its envelope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinRequest {
    /// The member's id; empty when it has none yet.
    pub member_id: String,
    /// An id that nobody has, made by the driver (client id, dash, UUID); used when `member_id` is empty.
    pub fresh_member_id: String,
    /// `group.instance.id` of a static member.
    pub instance_id: Option<String>,
    /// The client's id, for descriptions.
    pub client_id: String,
    /// The client's address, for descriptions.
    pub client_host: String,
    /// Without a heartbeat for this long the member is out, in milliseconds.
    pub session_timeout_ms: i32,
    /// How long a rebalance waits for this member, in milliseconds (JoinGroup v0 has none: give the session timeout).
    pub rebalance_timeout_ms: i32,
    /// `consumer`, `connect`, …
    pub protocol_type: String,
    /// Assignors by preference, with the member's metadata for each.
    pub protocols: Vec<(String, Bytes)>,
    /// True when the request's version lets the group answer `MEMBER_ID_REQUIRED` (JoinGroup v4 and later).
    pub can_require_member_id: bool,
    /// True when the request's version knows `skip_assignment` (JoinGroup v9 and later).
    pub can_skip_assignment: bool,
}

/// A member as the leader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinMember {
    /// Its id.
    pub member_id: String,
    /// Its `group.instance.id`.
    pub instance_id: Option<String>,
    /// Its metadata for the protocol that was chosen.
    pub metadata: Bytes,
}

/// The answer to JoinGroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinReply {
    /// `None` when all is well.
    pub error: Option<GroupError>,
    /// The generation, or -1.
    pub generation: i32,
    /// The group's protocol type.
    pub protocol_type: Option<String>,
    /// The chosen protocol.
    pub protocol: Option<String>,
    /// The leader's member id.
    pub leader: String,
    /// The asking member's id.
    pub member_id: String,
    /// All members, for the leader; else empty.
    pub members: Vec<JoinMember>,
    /// The leader need not assign again (a static leader that came back).
    pub skip_assignment: bool,
}

impl JoinReply {
    /// A refusal.
    pub(super) fn refused(member_id: &str, error: GroupError) -> Self {
        Self {
            error: Some(error),
            generation: -1,
            protocol_type: None,
            protocol: None,
            leader: String::new(),
            member_id: member_id.to_owned(),
            members: Vec::new(),
            skip_assignment: false,
        }
    }
}

/// SyncGroup, without its envelope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncRequest {
    /// The member's id.
    pub member_id: String,
    /// `group.instance.id` of a static member.
    pub instance_id: Option<String>,
    /// The generation it joined.
    pub generation: i32,
    /// The protocol type (v5 and later), checked when given.
    pub protocol_type: Option<String>,
    /// The protocol (v5 and later), checked when given.
    pub protocol: Option<String>,
    /// The leader's assignments by member id; empty from the others.
    pub assignments: Vec<(String, Bytes)>,
}

/// The answer to SyncGroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncReply {
    /// `None` when all is well.
    pub error: Option<GroupError>,
    /// The group's protocol type.
    pub protocol_type: Option<String>,
    /// The chosen protocol.
    pub protocol: Option<String>,
    /// What the member is to read.
    pub assignment: Bytes,
}

impl SyncReply {
    /// A refusal.
    pub(super) fn refused(error: GroupError) -> Self {
        Self { error: Some(error), protocol_type: None, protocol: None, assignment: Bytes::new() }
    }
}

/// One member of LeaveGroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaveMember {
    /// Its id; may be empty when `instance_id` is given.
    pub member_id: String,
    /// Its `group.instance.id`.
    pub instance_id: Option<String>,
}

/// What happens to a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// JoinGroup; answered by [`Effect::Join`], maybe later.
    Join(Ticket, JoinRequest),
    /// SyncGroup; answered by [`Effect::Sync`], maybe later.
    Sync(Ticket, SyncRequest),
    /// Heartbeat; answered by [`Effect::Heartbeat`] at once.
    Heartbeat {
        /// The request.
        ticket: Ticket,
        /// The member's id.
        member_id: String,
        /// `group.instance.id` of a static member.
        instance_id: Option<String>,
        /// The generation it is in.
        generation: i32,
    },
    /// LeaveGroup for one or more members; answered by [`Effect::Leave`] at once.
    Leave(Ticket, Vec<LeaveMember>),
    /// Time has passed; due at [`GroupTable::next_deadline_ms`](super::GroupTable::next_deadline_ms).
    Tick,
}

/// What the driver is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Answer a JoinGroup.
    Join(Ticket, JoinReply),
    /// Answer a SyncGroup.
    Sync(Ticket, SyncReply),
    /// Answer a Heartbeat.
    Heartbeat(Ticket, Option<GroupError>),
    /// Answer a LeaveGroup: the request's error and, by member in the order asked, its own.
    Leave(Ticket, Option<GroupError>, Vec<(LeaveMember, Option<GroupError>)>),
}

/// A line of ListGroups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupListing {
    /// The group's id.
    pub group_id: String,
    /// Its protocol type; empty for a group that only has offsets.
    pub protocol_type: String,
    /// Its state.
    pub state: GroupState,
}

/// A member in DescribeGroups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberDescription {
    /// Its id.
    pub member_id: String,
    /// Its `group.instance.id`.
    pub instance_id: Option<String>,
    /// The client's id.
    pub client_id: String,
    /// The client's address.
    pub client_host: String,
    /// Its metadata for the chosen protocol.
    pub metadata: Bytes,
    /// Its assignment.
    pub assignment: Bytes,
}

/// The answer of DescribeGroups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupDescription {
    /// The group's id.
    pub group_id: String,
    /// Its state.
    pub state: GroupState,
    /// Its protocol type.
    pub protocol_type: String,
    /// The chosen protocol; empty when there is none.
    pub protocol: String,
    /// Its members.
    pub members: Vec<MemberDescription>,
}
