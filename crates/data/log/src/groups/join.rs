//! JoinGroup: how a member gets in.

use super::group::{Group, Member};
use super::types::{Effect, GroupError, GroupState, JoinReply, JoinRequest, Ticket};

/// What the group is told about its bounds for one join.
#[derive(Clone, Copy, Debug)]
pub(super) struct JoinBounds {
    pub(super) members: usize,
    pub(super) gather_ms: i64,
}

impl Group {
    /// Takes a JoinGroup; an error is the answer, else it is among the effects, now or later.
    pub(super) fn join(
        &mut self,
        now_ms: i64,
        ticket: Ticket,
        r: &JoinRequest,
        bounds: JoinBounds,
    ) -> Result<(), (GroupError, String)> {
        let refuse = |error| Err((error, r.member_id.clone()));
        let known_as = r.instance_id.as_ref().and_then(|i| self.instances.get(i)).cloned();
        let replaces = if r.member_id.is_empty() { known_as.as_deref() } else { Some(r.member_id.as_str()) };
        if !self.supports(replaces.unwrap_or_default(), &r.protocol_type, &r.protocols) {
            return refuse(GroupError::InconsistentGroupProtocol);
        }
        if r.member_id.is_empty() {
            return self.join_without_id(now_ms, ticket, r, bounds, known_as);
        }
        if r.instance_id.is_none() && self.pending.remove(&r.member_id).is_some() {
            self.add(now_ms, ticket, &r.member_id, r, bounds);
            return Ok(());
        }
        if let Err(e) = self.check_member(&r.member_id, r.instance_id.as_deref()) {
            return refuse(e);
        }
        self.rejoin(now_ms, ticket, r, bounds);
        Ok(())
    }

    fn join_without_id(
        &mut self,
        now_ms: i64,
        ticket: Ticket,
        r: &JoinRequest,
        bounds: JoinBounds,
        known_as: Option<String>,
    ) -> Result<(), (GroupError, String)> {
        let id = r.fresh_member_id.as_str();
        if let Some(old) = known_as {
            self.replace_static(now_ms, ticket, &old, r, bounds);
            return Ok(());
        }
        if self.members.len() + self.pending.len() >= bounds.members {
            return Err((GroupError::GroupMaxSizeReached, String::new()));
        }
        if r.instance_id.is_none() && r.can_require_member_id {
            // A client that never hears of its id does not leave a member behind that nobody is.
            self.pending.insert(id.to_owned(), now_ms.saturating_add(i64::from(r.session_timeout_ms)));
            return Err((GroupError::MemberIdRequired, id.to_owned()));
        }
        self.add(now_ms, ticket, id, r, bounds);
        Ok(())
    }

    fn add(&mut self, now_ms: i64, ticket: Ticket, id: &str, r: &JoinRequest, bounds: JoinBounds) {
        if self.members.is_empty() {
            self.protocol_type = Some(r.protocol_type.clone());
        }
        let mut member = Member::new(r);
        member.joining = Some(ticket);
        member.deadline_ms = Self::new_member_deadline_ms(now_ms);
        if let Some(instance) = &r.instance_id {
            self.instances.insert(instance.clone(), id.to_owned());
        }
        self.members.insert(id.to_owned(), member);
        self.leader.get_or_insert_with(|| id.to_owned());
        self.prepare_rebalance_within(now_ms, Some(bounds.gather_ms));
    }

    /// A member that is known asks again.
    fn rejoin(&mut self, now_ms: i64, ticket: Ticket, r: &JoinRequest, bounds: JoinBounds) {
        let Some(m) = self.members.get(&r.member_id) else { return };
        let is_same = m.protocols == r.protocols;
        let is_leader = self.leader.as_deref() == Some(&r.member_id);
        let answer_now = match self.state {
            // The answer was lost, most likely.
            GroupState::CompletingRebalance => is_same,
            // A leader that joins again wants to assign anew, e.g. because partitions were added.
            GroupState::Stable => is_same && !is_leader,
            _ => false,
        };
        if answer_now {
            self.touch(now_ms, &r.member_id);
            let reply = self.join_reply(&r.member_id);
            self.effects.push(Effect::Join(ticket, reply));
            return;
        }
        self.update(&r.member_id, ticket, r);
        self.prepare_rebalance_within(now_ms, Some(bounds.gather_ms));
    }

    fn update(&mut self, id: &str, ticket: Ticket, r: &JoinRequest) {
        let Some(m) = self.members.get_mut(id) else { return };
        m.protocols = r.protocols.clone();
        m.session_timeout_ms = i64::from(r.session_timeout_ms);
        m.rebalance_timeout_ms = i64::from(r.rebalance_timeout_ms.max(1));
        m.client_id = r.client_id.clone();
        m.client_host = r.client_host.clone();
        let old = m.joining.replace(ticket);
        if let Some(old) = old {
            self.refuse_join(old, id, GroupError::RebalanceInProgress);
        }
    }

    /// A static member has come back without its id: it gets a new one, and keeps its assignment if nothing changes.
    fn replace_static(&mut self, now_ms: i64, ticket: Ticket, old_id: &str, r: &JoinRequest, bounds: JoinBounds) {
        let Some(mut member) = self.members.remove(old_id) else { return };
        let new_id = r.fresh_member_id.as_str();
        if let Some(old) = member.joining.take() {
            self.refuse_join(old, old_id, GroupError::FencedInstanceId);
        }
        if let Some(old) = member.syncing.take() {
            let reply = super::types::SyncReply::refused(GroupError::FencedInstanceId);
            self.effects.push(Effect::Sync(old, reply));
        }
        if let Some(instance) = &r.instance_id {
            self.instances.insert(instance.clone(), new_id.to_owned());
        }
        let was_leader = self.leader.as_deref() == Some(old_id);
        if was_leader {
            self.leader = Some(new_id.to_owned());
        }
        self.members.insert(new_id.to_owned(), member);
        self.update(new_id, ticket, r);
        self.touch(now_ms, new_id);
        let keeps_protocol = self.select_protocol() == self.protocol;
        if self.state != GroupState::Stable || !keeps_protocol {
            return self.prepare_rebalance_within(now_ms, Some(bounds.gather_ms));
        }
        if let Some(m) = self.members.get_mut(new_id) {
            m.joining = None;
        }
        let mut reply = self.join_reply(new_id);
        if was_leader && r.can_skip_assignment {
            reply.skip_assignment = true;
        } else if was_leader {
            // An older client that finds itself leader would assign again: it is told that the one it was leads.
            reply = JoinReply { leader: old_id.to_owned(), members: Vec::new(), ..reply };
        }
        self.effects.push(Effect::Join(ticket, reply));
    }
}
