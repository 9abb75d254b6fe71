use std::collections::{BTreeMap, BTreeSet};

use super::group::{Group, protocols_bytes};
use super::join::JoinBounds;
use super::types::{
    Effect, Event, GroupDescription, GroupError, GroupListing, GroupState, JoinReply, JoinRequest, LeaveMember,
    SyncReply, SyncRequest, Ticket,
};

/// How long a group that has neither members nor offsets is shown, in milliseconds.
const EMPTY_GROUP_MS: i64 = 10 * 60 * 1000;

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
    groups: BTreeMap<String, Entry>,
    /// When which group has something to do.
    deadlines: BTreeSet<(i64, String)>,
}

#[derive(Debug)]
struct Entry {
    group: Group,
    deadline_ms: Option<i64>,
}

impl GroupTable {
    /// No groups.
    pub fn new(limits: GroupLimits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// Takes in a group that has committed offsets in the marks. Beyond the limit on groups it is left out; its offsets
    /// stay, and it is made when it is next used.
    pub fn restore(&mut self, now_ms: i64, group_id: &str) {
        if self.make(now_ms, group_id).is_ok() {
            self.with(group_id, |g| g.has_offsets = true);
        }
    }

    /// Something happens to a group; the answers come back as effects (also those of other members' requests).
    pub fn step(&mut self, now_ms: i64, group_id: &str, event: Event) -> Vec<Effect> {
        match event {
            Event::Join(ticket, request) => self.join(now_ms, group_id, ticket, request),
            Event::Sync(ticket, request) => self.sync(now_ms, group_id, ticket, request),
            Event::Heartbeat { ticket, member_id, instance_id, generation } => {
                let check = self.check_id(group_id);
                let beat = |g: &mut Group| g.heartbeat(now_ms, &member_id, instance_id.as_deref(), generation);
                let result = check.and_then(|()| self.with(group_id, beat).unwrap_or(Err(GroupError::UnknownMemberId)));
                vec![Effect::Heartbeat(ticket, result.err())]
            }
            Event::Leave(ticket, members) => self.leave(now_ms, group_id, ticket, members),
            Event::Tick => {
                self.with(group_id, |g| g.tick(now_ms));
                self.take_effects(group_id)
            }
        }
    }

    /// Lets time pass for all groups.
    pub fn tick(&mut self, now_ms: i64) -> Vec<Effect> {
        let mut effects = Vec::new();
        while let Some((at, group_id)) = self.deadlines.first().cloned() {
            if at > now_ms {
                break;
            }
            let is_over = self.with(&group_id, |g| {
                g.tick(now_ms);
                g.members.is_empty() && !g.has_offsets && now_ms >= g.empty_since_ms.saturating_add(EMPTY_GROUP_MS)
            });
            effects.extend(self.take_effects(&group_id));
            if is_over == Some(true) {
                self.remove(&group_id);
            }
        }
        effects
    }

    /// When [`GroupTable::tick`] has something to do next.
    pub fn next_deadline_ms(&self) -> Option<i64> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    fn join(&mut self, now_ms: i64, group_id: &str, ticket: Ticket, r: JoinRequest) -> Vec<Effect> {
        let refuse = |error, id: &str| vec![Effect::Join(ticket, JoinReply::refused(id, error))];
        let checked = self.check_id(group_id).and_then(|()| self.check_join(group_id, &r));
        if let Err(e) = checked {
            return refuse(e, &r.member_id);
        }
        if !self.groups.contains_key(group_id) {
            if !r.member_id.is_empty() {
                return refuse(GroupError::UnknownMemberId, &r.member_id);
            }
            if let Err(e) = self.make(now_ms, group_id) {
                return refuse(e, &r.member_id);
            }
        }
        let bounds = JoinBounds { members: self.limits.members, gather_ms: self.limits.initial_rebalance_delay_ms };
        let result = self.with(group_id, |g| g.join(now_ms, ticket, &r, bounds));
        let mut effects = self.take_effects(group_id);
        if let Some(Err((error, id))) = result {
            effects.extend(refuse(error, &id));
        }
        effects
    }

    fn check_join(&self, group_id: &str, r: &JoinRequest) -> Result<(), GroupError> {
        let l = &self.limits;
        if !(l.session_timeout_min_ms..=l.session_timeout_max_ms).contains(&r.session_timeout_ms) {
            return Err(GroupError::InvalidSessionTimeout);
        }
        let instance = r.instance_id.as_deref().unwrap_or("-");
        let ids = [&r.member_id, &r.fresh_member_id, &r.protocol_type, &r.client_id, &r.client_host];
        let bytes = protocols_bytes(&r.protocols);
        let group_bytes = self.groups.get(group_id).map_or(0, |e| e.group.size_bytes());
        if ids.iter().any(|id| id.len() > l.id_bytes)
            || instance.is_empty()
            || instance.len() > l.id_bytes
            || r.protocols.len() > l.protocols
            || bytes > l.member_bytes
            || group_bytes + bytes > l.group_bytes
        {
            return Err(GroupError::InvalidRequest);
        }
        Ok(())
    }

    fn sync(&mut self, now_ms: i64, group_id: &str, ticket: Ticket, r: SyncRequest) -> Vec<Effect> {
        let l = &self.limits;
        let bytes: usize = r.assignments.iter().map(|(_, a)| a.len()).sum();
        let is_large = bytes > l.group_bytes || r.assignments.iter().any(|(_, a)| a.len() > l.member_bytes);
        let result = match self.check_id(group_id) {
            Err(e) => Err(e),
            Ok(()) if is_large => Err(GroupError::InvalidRequest),
            Ok(()) => {
                let result = self.with(group_id, |g| g.sync(now_ms, ticket, r));
                result.unwrap_or(Err(GroupError::UnknownMemberId))
            }
        };
        let mut effects = self.take_effects(group_id);
        effects.extend(result.err().map(|e| Effect::Sync(ticket, SyncReply::refused(e))));
        effects
    }

    fn leave(&mut self, now_ms: i64, group_id: &str, ticket: Ticket, members: Vec<LeaveMember>) -> Vec<Effect> {
        if let Err(e) = self.check_id(group_id) {
            return vec![Effect::Leave(ticket, Some(e), Vec::new())];
        }
        let mut results = Vec::with_capacity(members.len());
        for m in members {
            let result = self.with(group_id, |g| g.leave(now_ms, &m)).unwrap_or(Err(GroupError::UnknownMemberId));
            results.push((m, result.err()));
        }
        let mut effects = self.take_effects(group_id);
        effects.push(Effect::Leave(ticket, None, results));
        effects
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
        // The group of an offset may have no name: old clients that assign partitions by hand use none.
        if group_id.len() > self.limits.id_bytes {
            return Err(GroupError::InvalidGroupId);
        }
        if !self.groups.contains_key(group_id) {
            if generation >= 0 || !member_id.is_empty() {
                return Err(GroupError::IllegalGeneration);
            }
            self.make(now_ms, group_id)?;
        }
        let result = self.with(group_id, |g| g.commit(now_ms, member_id, instance_id, generation));
        result.unwrap_or(Err(GroupError::UnknownMemberId))
    }

    /// All groups, by id.
    pub fn list(&self) -> Vec<GroupListing> {
        let listing = |(id, e): (&String, &Entry)| GroupListing {
            group_id: id.clone(),
            protocol_type: e.group.protocol_type.clone().unwrap_or_default(),
            state: e.group.state,
        };
        self.groups.iter().map(listing).collect()
    }

    /// One group; one that is not there is described as `Dead`, as Kafka does.
    pub fn describe(&self, group_id: &str) -> GroupDescription {
        if let Some(e) = self.groups.get(group_id) {
            return e.group.describe(group_id);
        }
        GroupDescription {
            group_id: group_id.to_owned(),
            state: GroupState::Dead,
            protocol_type: String::new(),
            protocol: String::new(),
            members: Vec::new(),
        }
    }

    /// Takes a group without members out of the table; the driver then deletes its offset marks.
    ///
    /// # Errors
    /// `GroupIdNotFound`, `NonEmptyGroup`.
    pub fn delete(&mut self, group_id: &str) -> Result<(), GroupError> {
        let entry = self.groups.get(group_id).ok_or(GroupError::GroupIdNotFound)?;
        if !entry.group.members.is_empty() || !entry.group.pending.is_empty() {
            return Err(GroupError::NonEmptyGroup);
        }
        self.remove(group_id);
        Ok(())
    }

    /// Whether an offset committed at `commit_ms` may be forgotten: the group has had no members for `retention_ms`, and
    /// the commit is at least as old.
    pub fn offset_expired(&self, now_ms: i64, group_id: &str, commit_ms: i64, retention_ms: i64) -> bool {
        let since_ms = match self.groups.get(group_id) {
            Some(e) if e.group.state != GroupState::Empty => return false,
            Some(e) => e.group.empty_since_ms.max(commit_ms),
            None => commit_ms,
        };
        now_ms.saturating_sub(since_ms) > retention_ms
    }

    fn check_id(&self, group_id: &str) -> Result<(), GroupError> {
        if group_id.is_empty() || group_id.len() > self.limits.id_bytes {
            return Err(GroupError::InvalidGroupId);
        }
        Ok(())
    }

    fn make(&mut self, now_ms: i64, group_id: &str) -> Result<(), GroupError> {
        if self.groups.contains_key(group_id) {
            return Ok(());
        }
        if self.groups.len() >= self.limits.groups {
            return Err(GroupError::GroupMaxSizeReached);
        }
        self.groups.insert(group_id.to_owned(), Entry { group: Group::new(now_ms), deadline_ms: None });
        self.with(group_id, |_| ());
        Ok(())
    }

    /// Changes a group and keeps its deadline up to date.
    fn with<T>(&mut self, group_id: &str, change: impl FnOnce(&mut Group) -> T) -> Option<T> {
        let entry = self.groups.get_mut(group_id)?;
        let result = change(&mut entry.group);
        let g = &entry.group;
        let end_ms = (g.members.is_empty() && g.pending.is_empty() && !g.has_offsets)
            .then(|| g.empty_since_ms.saturating_add(EMPTY_GROUP_MS));
        let deadline_ms = g.deadline_ms().into_iter().chain(end_ms).min();
        if deadline_ms != entry.deadline_ms {
            if let Some(old) = entry.deadline_ms {
                self.deadlines.remove(&(old, group_id.to_owned()));
            }
            self.deadlines.extend(deadline_ms.map(|at| (at, group_id.to_owned())));
            entry.deadline_ms = deadline_ms;
        }
        Some(result)
    }

    fn take_effects(&mut self, group_id: &str) -> Vec<Effect> {
        self.groups.get_mut(group_id).map(|e| std::mem::take(&mut e.group.effects)).unwrap_or_default()
    }

    fn remove(&mut self, group_id: &str) {
        if let Some(Entry { deadline_ms: Some(at), .. }) = self.groups.remove(group_id) {
            self.deadlines.remove(&(at, group_id.to_owned()));
        }
    }
}

#[cfg(test)]
impl GroupTable {
    pub(super) fn groups_generation(&self, group_id: &str) -> i32 {
        self.groups.get(group_id).map_or(0, |e| e.group.generation)
    }
}
