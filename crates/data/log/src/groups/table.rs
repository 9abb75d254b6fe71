use super::types::{Effect, Event, GroupDescription, GroupError, GroupListing};

/// Bounds and times of groups. Plain data with Kafka's defaults.
#[derive(Clone, Debug)]
pub struct GroupLimits {
    /// Most groups.
    pub groups: usize,
    /// Most members of a group.
    pub members: usize,
    /// Most bytes of a group, member or instance id.
    pub id_bytes: usize,
    /// Most protocols of a member.
    pub protocols: usize,
    /// Most bytes of one member's metadata (all protocols) or assignment.
    pub member_bytes: usize,
    /// Most bytes of metadata and assignments of all members of a group.
    pub group_bytes: usize,
    /// Smallest session timeout, in milliseconds.
    pub session_timeout_min_ms: i32,
    /// Largest session timeout, in milliseconds.
    pub session_timeout_max_ms: i32,
    /// How long a new group waits for more members before it begins, in milliseconds.
    pub initial_rebalance_delay_ms: i64,
}

impl Default for GroupLimits {
    fn default() -> Self {
        Self {
            groups: 10_000,
            members: 1_000,
            id_bytes: 512,
            protocols: 32,
            member_bytes: 1 << 20,
            group_bytes: 64 << 20,
            session_timeout_min_ms: 6_000,
            session_timeout_max_ms: 1_800_000,
            initial_rebalance_delay_ms: 0,
        }
    }
}

/// All groups. Derived state: empty at start; [`GroupTable::restore`] brings back those that have committed offsets.
#[derive(Debug, Default)]
pub struct GroupTable {
    limits: GroupLimits,
}

#[allow(unused_variables)]
impl GroupTable {
    /// No groups.
    pub fn new(limits: GroupLimits) -> Self {
        Self { limits }
    }

    /// Takes in a group that has committed offsets in the marks.
    pub fn restore(&mut self, now_ms: i64, group_id: &str) {}

    /// Something happens to a group; the answers come back as effects (also those of other members' requests).
    pub fn step(&mut self, now_ms: i64, group_id: &str, event: Event) -> Vec<Effect> {
        Vec::new()
    }

    /// Lets time pass for all groups.
    pub fn tick(&mut self, now_ms: i64) -> Vec<Effect> {
        Vec::new()
    }

    /// When [`GroupTable::tick`] has something to do next.
    pub fn next_deadline_ms(&self) -> Option<i64> {
        None
    }

    /// Whether a member may commit offsets now; also makes a group that only has offsets (no member id, generation
    /// below 0). Counts as a heartbeat.
    ///
    /// # Errors
    /// `UnknownMemberId`, `IllegalGeneration`, `RebalanceInProgress`, `FencedInstanceId`, `InvalidGroupId`,
    /// `GroupMaxSizeReached`.
    pub fn commit(
        &mut self,
        now_ms: i64,
        group_id: &str,
        member_id: &str,
        instance_id: Option<&str>,
        generation: i32,
    ) -> Result<(), GroupError> {
        Ok(())
    }

    /// All groups, by id.
    pub fn list(&self) -> Vec<GroupListing> {
        Vec::new()
    }

    /// One group; one that is not there is described as `Dead`, as Kafka does.
    pub fn describe(&self, group_id: &str) -> GroupDescription {
        GroupDescription {
            group_id: group_id.to_owned(),
            state: super::GroupState::Dead,
            protocol_type: String::new(),
            protocol: String::new(),
            members: Vec::new(),
        }
    }

    /// Takes a group without members out of the table; the driver then deletes its offset marks.
    ///
    /// # Errors
    /// `GroupIdNotFound`, `NonEmptyGroup`, `InvalidGroupId`.
    pub fn delete(&mut self, group_id: &str) -> Result<(), GroupError> {
        Err(GroupError::GroupIdNotFound)
    }

    /// Whether an offset committed at `commit_ms` may be forgotten: the group has had no members for `retention_ms`, and
    /// the commit is at least as old.
    pub fn offset_expired(&self, now_ms: i64, group_id: &str, commit_ms: i64, retention_ms: i64) -> bool {
        false
    }
}
