//! One group: members, generation and phase of the rebalance. See Kafka's `GroupCoordinator` and `GroupMetadata` for the
//! behaviour that clients rely on.

use std::collections::{BTreeMap, HashMap, HashSet};

use bytes::Bytes;

use super::types::{
    Effect, GroupDescription, GroupError, GroupState, JoinMember, JoinReply, JoinRequest, LeaveMember,
    MemberDescription, SyncReply, SyncRequest, Ticket,
};

/// How long a new member that waits for the others is believed to be there, in milliseconds.
const NEW_MEMBER_JOIN_MS: i64 = 5 * 60 * 1000;

#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) instance_id: Option<String>,
    pub(super) client_id: String,
    pub(super) client_host: String,
    pub(super) session_timeout_ms: i64,
    pub(super) rebalance_timeout_ms: i64,
    pub(super) protocols: Vec<(String, Bytes)>,
    pub(super) assignment: Bytes,
    /// The JoinGroup that awaits its answer.
    pub(super) joining: Option<Ticket>,
    /// The SyncGroup that awaits its answer.
    pub(super) syncing: Option<Ticket>,
    /// It has never been in a generation.
    pub(super) is_new: bool,
    /// Without a sign of life until then it is out.
    pub(super) deadline_ms: i64,
}

impl Member {
    pub(super) fn new(r: &JoinRequest) -> Self {
        Self {
            instance_id: r.instance_id.clone(),
            client_id: r.client_id.clone(),
            client_host: r.client_host.clone(),
            session_timeout_ms: i64::from(r.session_timeout_ms),
            rebalance_timeout_ms: i64::from(r.rebalance_timeout_ms.max(1)),
            protocols: r.protocols.clone(),
            assignment: Bytes::new(),
            joining: None,
            syncing: None,
            is_new: true,
            deadline_ms: i64::MAX,
        }
    }

    pub(super) fn metadata(&self, protocol: Option<&str>) -> Bytes {
        let found = self.protocols.iter().find(|(name, _)| Some(name.as_str()) == protocol);
        found.map_or_else(Bytes::new, |(_, metadata)| metadata.clone())
    }

    pub(super) fn size_bytes(&self) -> usize {
        protocols_bytes(&self.protocols) + self.assignment.len()
    }

    /// It waits for the group, not the group for it.
    fn is_waiting(&self) -> bool {
        (self.joining.is_some() && !self.is_new) || self.syncing.is_some()
    }
}

pub(super) fn protocols_bytes(protocols: &[(String, Bytes)]) -> usize {
    protocols.iter().map(|(name, metadata)| name.len() + metadata.len()).sum()
}

/// A group. Its effects gather in `effects` until the table takes them.
#[derive(Clone, Debug, Default)]
pub(super) struct Group {
    pub(super) state: GroupState,
    pub(super) generation: i32,
    pub(super) protocol_type: Option<String>,
    pub(super) protocol: Option<String>,
    pub(super) leader: Option<String>,
    pub(super) members: BTreeMap<String, Member>,
    /// Static members: instance id to member id.
    pub(super) instances: HashMap<String, String>,
    /// Member ids that were given out and not joined with yet, and when they are forgotten.
    pub(super) pending: BTreeMap<String, i64>,
    /// When the phase ends whether all have come or not: joining, or handing out assignments.
    pub(super) phase_deadline_ms: Option<i64>,
    /// The first rebalance waits until the deadline for more members.
    pub(super) is_gathering: bool,
    pub(super) has_offsets: bool,
    pub(super) empty_since_ms: i64,
    pub(super) effects: Vec<Effect>,
}

impl Group {
    pub(super) fn new(now_ms: i64) -> Self {
        Self { empty_since_ms: now_ms, ..Self::default() }
    }

    /// Whether a member may speak for itself; static members may have been replaced.
    pub(super) fn check_member(&self, member_id: &str, instance_id: Option<&str>) -> Result<(), GroupError> {
        if let Some(instance) = instance_id {
            return match self.instances.get(instance) {
                None => Err(GroupError::UnknownMemberId),
                Some(current) if current != member_id => Err(GroupError::FencedInstanceId),
                Some(_) => Ok(()),
            };
        }
        if self.members.contains_key(member_id) { Ok(()) } else { Err(GroupError::UnknownMemberId) }
    }

    fn check_generation(&self, generation: i32) -> Result<(), GroupError> {
        if generation == self.generation { Ok(()) } else { Err(GroupError::IllegalGeneration) }
    }

    /// A sign of life.
    pub(super) fn touch(&mut self, now_ms: i64, member_id: &str) {
        if let Some(m) = self.members.get_mut(member_id) {
            m.deadline_ms = now_ms.saturating_add(m.session_timeout_ms);
        }
    }

    pub(super) fn heartbeat(
        &mut self,
        now_ms: i64,
        member_id: &str,
        instance_id: Option<&str>,
        generation: i32,
    ) -> Result<(), GroupError> {
        self.check_member(member_id, instance_id)?;
        self.check_generation(generation)?;
        self.touch(now_ms, member_id);
        if self.state == GroupState::PreparingRebalance { Err(GroupError::RebalanceInProgress) } else { Ok(()) }
    }

    pub(super) fn commit(
        &mut self,
        now_ms: i64,
        member_id: &str,
        instance_id: Option<&str>,
        generation: i32,
    ) -> Result<(), GroupError> {
        if generation < 0 && self.members.is_empty() && member_id.is_empty() {
            self.has_offsets = true;
            return Ok(());
        }
        self.check_member(member_id, instance_id)?;
        self.check_generation(generation)?;
        self.touch(now_ms, member_id);
        // Assignments are on their way: what the member read belongs to an older one.
        if self.state == GroupState::CompletingRebalance {
            return Err(GroupError::RebalanceInProgress);
        }
        self.has_offsets = true;
        Ok(())
    }

    pub(super) fn sync(&mut self, now_ms: i64, ticket: Ticket, r: SyncRequest) -> Result<(), GroupError> {
        self.check_member(&r.member_id, r.instance_id.as_deref())?;
        self.check_generation(r.generation)?;
        let differs = |asked: &Option<String>, own: &Option<String>| asked.is_some() && asked != own;
        if differs(&r.protocol_type, &self.protocol_type) || differs(&r.protocol, &self.protocol) {
            return Err(GroupError::InconsistentGroupProtocol);
        }
        match self.state {
            GroupState::Empty | GroupState::Dead => return Err(GroupError::UnknownMemberId),
            GroupState::PreparingRebalance => return Err(GroupError::RebalanceInProgress),
            GroupState::Stable => {
                self.touch(now_ms, &r.member_id);
                self.answer_sync(&r.member_id, ticket);
                return Ok(());
            }
            GroupState::CompletingRebalance => {}
        }
        self.touch(now_ms, &r.member_id);
        let old = self.members.get_mut(&r.member_id).and_then(|m| m.syncing.replace(ticket));
        if let Some(old) = old {
            self.refuse_sync(old, GroupError::RebalanceInProgress);
        }
        if self.leader.as_deref() == Some(&r.member_id) {
            for (id, assignment) in r.assignments {
                if let Some(m) = self.members.get_mut(&id) {
                    m.assignment = assignment;
                }
            }
            self.state = GroupState::Stable;
            self.phase_deadline_ms = None;
            let ready: Vec<_> = self.members.iter().filter_map(|(id, m)| Some((id.clone(), m.syncing?))).collect();
            for (id, ticket) in ready {
                self.touch(now_ms, &id);
                self.answer_sync(&id, ticket);
            }
        }
        Ok(())
    }

    fn answer_sync(&mut self, member_id: &str, ticket: Ticket) {
        let Some(m) = self.members.get_mut(member_id) else { return };
        m.syncing = None;
        let assignment = m.assignment.clone();
        let (protocol_type, protocol) = (self.protocol_type.clone(), self.protocol.clone());
        self.effects.push(Effect::Sync(ticket, SyncReply { error: None, protocol_type, protocol, assignment }));
    }

    fn refuse_sync(&mut self, ticket: Ticket, error: GroupError) {
        self.effects.push(Effect::Sync(ticket, SyncReply::refused(error)));
    }

    pub(super) fn refuse_join(&mut self, ticket: Ticket, member_id: &str, error: GroupError) {
        self.effects.push(Effect::Join(ticket, JoinReply::refused(member_id, error)));
    }

    pub(super) fn leave(&mut self, now_ms: i64, leaving: &LeaveMember) -> Result<(), GroupError> {
        let id = match &leaving.instance_id {
            Some(instance) => {
                let id = self.instances.get(instance).ok_or(GroupError::UnknownMemberId)?.clone();
                if !leaving.member_id.is_empty() && leaving.member_id != id {
                    return Err(GroupError::FencedInstanceId);
                }
                id
            }
            None => leaving.member_id.clone(),
        };
        if self.pending.remove(&id).is_some() {
            self.maybe_complete_join(now_ms);
            return Ok(());
        }
        if !self.members.contains_key(&id) {
            return Err(GroupError::UnknownMemberId);
        }
        self.remove(&id, GroupError::UnknownMemberId);
        self.after_removal(now_ms);
        Ok(())
    }

    /// Takes a member out; what it waits for is refused.
    fn remove(&mut self, member_id: &str, error: GroupError) {
        let Some(m) = self.members.remove(member_id) else { return };
        if let Some(instance) = &m.instance_id {
            self.instances.remove(instance);
        }
        if let Some(ticket) = m.joining {
            self.refuse_join(ticket, member_id, error);
        }
        if let Some(ticket) = m.syncing {
            self.refuse_sync(ticket, error);
        }
        if self.leader.as_deref() == Some(member_id) {
            self.leader = self.members.keys().next().cloned();
        }
    }

    fn after_removal(&mut self, now_ms: i64) {
        match self.state {
            GroupState::Stable | GroupState::CompletingRebalance => self.prepare_rebalance(now_ms),
            GroupState::PreparingRebalance => self.maybe_complete_join(now_ms),
            GroupState::Empty | GroupState::Dead => {}
        }
    }

    /// Asks all members to join again.
    pub(super) fn prepare_rebalance(&mut self, now_ms: i64) {
        self.prepare_rebalance_within(now_ms, None);
    }

    /// As [`Group::prepare_rebalance`]; a group that was empty waits `gather_ms` for more members.
    pub(super) fn prepare_rebalance_within(&mut self, now_ms: i64, gather_ms: Option<i64>) {
        if self.state == GroupState::PreparingRebalance {
            return self.maybe_complete_join(now_ms);
        }
        let syncing = self.members.iter_mut().filter_map(|(id, m)| Some((id.clone(), m.syncing.take()?)));
        for (id, ticket) in syncing.collect::<Vec<_>>() {
            // Its session stood still while it waited.
            self.touch(now_ms, &id);
            self.refuse_sync(ticket, GroupError::RebalanceInProgress);
        }
        if self.state == GroupState::CompletingRebalance {
            self.members.values_mut().for_each(|m| m.assignment = Bytes::new());
        }
        self.is_gathering = self.state == GroupState::Empty && gather_ms.is_some_and(|ms| ms > 0);
        self.state = GroupState::PreparingRebalance;
        let wait_ms = self.rebalance_timeout_ms();
        let wait_ms = if self.is_gathering { wait_ms.min(gather_ms.unwrap_or(0)) } else { wait_ms };
        self.phase_deadline_ms = Some(now_ms.saturating_add(wait_ms));
        self.maybe_complete_join(now_ms);
    }

    fn rebalance_timeout_ms(&self) -> i64 {
        self.members.values().map(|m| m.rebalance_timeout_ms).max().unwrap_or(0)
    }

    /// Begins the next generation when all have joined.
    pub(super) fn maybe_complete_join(&mut self, now_ms: i64) {
        let all_joined = self.pending.is_empty() && self.members.values().all(|m| m.joining.is_some());
        let is_over = all_joined && (!self.is_gathering || self.members.is_empty());
        if self.state == GroupState::PreparingRebalance && is_over {
            self.complete_join(now_ms);
        }
    }

    /// Begins the next generation with those who have joined; static members may be late.
    fn complete_join(&mut self, now_ms: i64) {
        self.is_gathering = false;
        let late = |(_, m): &(&String, &Member)| m.joining.is_none() && m.instance_id.is_none();
        let late: Vec<_> = self.members.iter().filter(late).map(|(id, _)| id.clone()).collect();
        late.iter().for_each(|id| self.remove(id, GroupError::UnknownMemberId));
        let joined = |id: &String| self.members.get(id).is_some_and(|m| m.joining.is_some());
        if !self.leader.as_ref().is_some_and(joined) {
            let first = self.members.iter().find(|(_, m)| m.joining.is_some()).map(|(id, _)| id.clone());
            if first.is_none() && !self.members.is_empty() {
                // Only static members, and none has come: go on when one does, or when their sessions end.
                self.phase_deadline_ms = Some(now_ms.saturating_add(self.rebalance_timeout_ms().max(1)));
                return;
            }
            self.leader = first;
        }
        self.generation = if self.generation == i32::MAX { 1 } else { self.generation + 1 };
        if self.members.is_empty() {
            self.state = GroupState::Empty;
            self.protocol = None;
            self.leader = None;
            self.phase_deadline_ms = None;
            self.empty_since_ms = now_ms;
            return;
        }
        self.protocol = self.select_protocol();
        self.state = GroupState::CompletingRebalance;
        self.phase_deadline_ms = Some(now_ms.saturating_add(self.rebalance_timeout_ms()));
        let joined: Vec<_> = self.members.iter().filter_map(|(id, m)| Some((id.clone(), m.joining?))).collect();
        for (id, ticket) in joined {
            if let Some(m) = self.members.get_mut(&id) {
                m.joining = None;
                m.is_new = false;
            }
            self.touch(now_ms, &id);
            let reply = self.join_reply(&id);
            self.effects.push(Effect::Join(ticket, reply));
        }
    }

    /// The present generation as an answer to a member's JoinGroup.
    pub(super) fn join_reply(&self, member_id: &str) -> JoinReply {
        let leader = self.leader.clone().unwrap_or_default();
        let is_leader = leader == member_id;
        JoinReply {
            error: None,
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            leader,
            member_id: member_id.to_owned(),
            members: if is_leader { self.join_members() } else { Vec::new() },
            skip_assignment: false,
        }
    }

    pub(super) fn join_members(&self) -> Vec<JoinMember> {
        let member = |(id, m): (&String, &Member)| JoinMember {
            member_id: id.clone(),
            instance_id: m.instance_id.clone(),
            metadata: m.metadata(self.protocol.as_deref()),
        };
        self.members.iter().map(member).collect()
    }

    /// The protocol that all members know and most like best; the leader's order breaks a tie.
    pub(super) fn select_protocol(&self) -> Option<String> {
        let common = self.common_protocols();
        let mut votes: HashMap<&str, usize> = HashMap::new();
        for m in self.members.values() {
            if let Some((name, _)) = m.protocols.iter().find(|(name, _)| common.contains(name.as_str())) {
                *votes.entry(name).or_default() += 1;
            }
        }
        let most = votes.values().copied().max()?;
        let leader =
            self.leader.as_ref().and_then(|id| self.members.get(id)).or_else(|| self.members.values().next())?;
        leader.protocols.iter().map(|(name, _)| name).find(|n| votes.get(n.as_str()) == Some(&most)).cloned()
    }

    fn common_protocols(&self) -> HashSet<&str> {
        let mut members = self.members.values();
        let Some(first) = members.next() else { return HashSet::new() };
        let mut common: HashSet<&str> = first.protocols.iter().map(|(name, _)| name.as_str()).collect();
        for m in members {
            let known: HashSet<&str> = m.protocols.iter().map(|(name, _)| name.as_str()).collect();
            common.retain(|name| known.contains(name));
        }
        common
    }

    /// Whether a member with these protocols fits the others.
    pub(super) fn supports(&self, member_id: &str, protocol_type: &str, protocols: &[(String, Bytes)]) -> bool {
        if protocol_type.is_empty() || protocols.is_empty() {
            return false;
        }
        let others = || self.members.iter().filter(|(id, _)| *id != member_id).map(|(_, m)| m);
        if others().next().is_none() {
            return true;
        }
        let knows = |m: &Member, name: &str| m.protocols.iter().any(|(n, _)| n == name);
        self.protocol_type.as_deref() == Some(protocol_type)
            && protocols.iter().any(|(name, _)| others().all(|m| knows(m, name)))
    }

    /// Lets time pass.
    pub(super) fn tick(&mut self, now_ms: i64) {
        let pending = self.pending.len();
        self.pending.retain(|_, until_ms| *until_ms > now_ms);
        let silent = |(_, m): &(&String, &Member)| m.deadline_ms <= now_ms && !m.is_waiting();
        let silent: Vec<_> = self.members.iter().filter(silent).map(|(id, _)| id.clone()).collect();
        silent.iter().for_each(|id| self.remove(id, GroupError::UnknownMemberId));
        if !silent.is_empty() {
            self.after_removal(now_ms);
        } else if pending != self.pending.len() {
            self.maybe_complete_join(now_ms);
        }
        if self.phase_deadline_ms.is_none_or(|at| at > now_ms) {
            return;
        }
        match self.state {
            GroupState::PreparingRebalance => self.complete_join(now_ms),
            GroupState::CompletingRebalance => {
                // Whoever has not asked for its assignment by now is taken for gone; without the leader there is none.
                self.phase_deadline_ms = None;
                let gone = self.members.iter().filter(|(_, m)| m.syncing.is_none()).map(|(id, _)| id.clone());
                gone.collect::<Vec<_>>().iter().for_each(|id| self.remove(id, GroupError::UnknownMemberId));
                self.prepare_rebalance(now_ms);
            }
            GroupState::Empty | GroupState::Stable | GroupState::Dead => self.phase_deadline_ms = None,
        }
    }

    /// When [`Group::tick`] has something to do.
    pub(super) fn deadline_ms(&self) -> Option<i64> {
        let sessions = self.members.values().filter(|m| !m.is_waiting()).map(|m| m.deadline_ms);
        sessions.chain(self.pending.values().copied()).chain(self.phase_deadline_ms).min()
    }

    pub(super) fn size_bytes(&self) -> usize {
        self.members.values().map(Member::size_bytes).sum()
    }

    /// A new member that has sent a JoinGroup is kept this long while it waits for the others.
    pub(super) fn new_member_deadline_ms(now_ms: i64) -> i64 {
        now_ms.saturating_add(NEW_MEMBER_JOIN_MS)
    }

    pub(super) fn describe(&self, group_id: &str) -> GroupDescription {
        let protocol = self.protocol.as_deref();
        let member = |(id, m): (&String, &Member)| MemberDescription {
            member_id: id.clone(),
            instance_id: m.instance_id.clone(),
            client_id: m.client_id.clone(),
            client_host: m.client_host.clone(),
            // While the group rebalances, neither is settled.
            metadata: if self.state == GroupState::Stable { m.metadata(protocol) } else { Bytes::new() },
            assignment: if self.state == GroupState::Stable { m.assignment.clone() } else { Bytes::new() },
        };
        GroupDescription {
            group_id: group_id.to_owned(),
            state: self.state,
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            protocol: protocol.filter(|_| self.state == GroupState::Stable).unwrap_or_default().to_owned(),
            members: self.members.iter().map(member).collect(),
        }
    }
}
