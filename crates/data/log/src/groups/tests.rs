use super::*;
use bytes::Bytes;
use fleuve_types::ObjectId;

const SESSION_MS: i32 = 10_000;
const REBALANCE_MS: i32 = 60_000;

/// A table with a driver that numbers its requests.
struct Driver {
    table: GroupTable,
    now_ms: i64,
    tickets: u64,
}

fn driver() -> Driver {
    Driver { table: GroupTable::new(GroupLimits::default()), now_ms: 1_000_000, tickets: 0 }
}

fn request(member_id: &str, fresh: &str) -> JoinRequest {
    JoinRequest {
        member_id: member_id.into(),
        fresh_member_id: fresh.into(),
        instance_id: None,
        client_id: "client".into(),
        client_host: "/127.0.0.1".into(),
        session_timeout_ms: SESSION_MS,
        rebalance_timeout_ms: REBALANCE_MS,
        protocol_type: "consumer".into(),
        protocols: vec![("range".into(), Bytes::from_static(b"meta")), ("sticky".into(), Bytes::new())],
        can_require_member_id: true,
        can_skip_assignment: true,
    }
}

impl Driver {
    fn ticket(&mut self) -> Ticket {
        self.tickets += 1;
        Ticket(self.tickets)
    }

    fn join(&mut self, request: JoinRequest) -> (Ticket, Vec<Effect>) {
        let ticket = self.ticket();
        (ticket, self.table.step(self.now_ms, "g", Event::Join(ticket, request)))
    }

    /// Joins a dynamic member the way clients do: first without an id.
    fn join_new(&mut self, id: &str) -> (Ticket, Vec<Effect>) {
        let (ticket, effects) = self.join(request("", id));
        let reply = join_reply(&effects, ticket).expect("answered at once");
        assert_eq!((reply.error, reply.member_id.as_str()), (Some(GroupError::MemberIdRequired), id));
        self.join(request(id, "unused"))
    }

    fn sync(&mut self, id: &str, generation: i32, assignments: &[(&str, &str)]) -> (Ticket, Vec<Effect>) {
        let ticket = self.ticket();
        let assignments =
            assignments.iter().map(|(m, a)| ((*m).into(), Bytes::copy_from_slice(a.as_bytes()))).collect();
        let request = SyncRequest {
            member_id: id.into(),
            instance_id: None,
            generation,
            protocol_type: Some("consumer".into()),
            protocol: Some("range".into()),
            assignments,
        };
        (ticket, self.table.step(self.now_ms, "g", Event::Sync(ticket, request)))
    }

    fn heartbeat(&mut self, id: &str, generation: i32) -> Option<GroupError> {
        let ticket = self.ticket();
        let event = Event::Heartbeat { ticket, member_id: id.into(), instance_id: None, generation };
        match self.table.step(self.now_ms, "g", event).as_slice() {
            [Effect::Heartbeat(t, error)] if *t == ticket => *error,
            other => panic!("unexpected {other:?}"),
        }
    }

    fn leave(&mut self, members: &[(&str, Option<&str>)]) -> (Vec<Option<GroupError>>, Vec<Effect>) {
        let ticket = self.ticket();
        let member = |(id, instance): &(&str, Option<&str>)| LeaveMember {
            member_id: (*id).into(),
            instance_id: instance.map(Into::into),
        };
        let event = Event::Leave(ticket, members.iter().map(member).collect());
        let mut effects = self.table.step(self.now_ms, "g", event);
        let Some(Effect::Leave(t, None, results)) = effects.pop() else { panic!("no answer") };
        assert_eq!(t, ticket);
        (results.into_iter().map(|(_, e)| e).collect(), effects)
    }

    fn advance(&mut self, ms: i64) -> Vec<Effect> {
        self.now_ms += ms;
        self.table.tick(self.now_ms)
    }

    fn state(&self) -> GroupState {
        self.table.describe("g").state
    }

    /// A stable group of `a` (leader) and `b`; returns the generation.
    fn stable_pair(&mut self) -> i32 {
        let (a1, effects) = self.join_new("a");
        assert_eq!(join_reply(&effects, a1).expect("alone").generation, 1);
        let (b1, effects) = self.join_new("b");
        assert!(join_reply(&effects, b1).is_none(), "waits for a");
        assert_eq!(self.heartbeat("a", 1), Some(GroupError::RebalanceInProgress));
        let (a2, effects) = self.join(request("a", "unused"));
        let (ra, rb) = (join_reply(&effects, a2).expect("a"), join_reply(&effects, b1).expect("b"));
        assert_eq!((ra.generation, rb.generation, ra.leader.as_str()), (2, 2, "a"));
        assert_eq!((ra.members.len(), rb.members.len()), (2, 0));
        let (sb, effects) = self.sync("b", 2, &[]);
        assert!(sync_reply(&effects, sb).is_none(), "waits for the leader");
        let (sa, effects) = self.sync("a", 2, &[("a", "p0"), ("b", "p1")]);
        assert_eq!(&sync_reply(&effects, sa).expect("a").assignment[..], b"p0");
        assert_eq!(&sync_reply(&effects, sb).expect("b").assignment[..], b"p1");
        assert_eq!(self.state(), GroupState::Stable);
        2
    }
}

fn join_reply(effects: &[Effect], ticket: Ticket) -> Option<JoinReply> {
    effects.iter().find_map(|e| match e {
        Effect::Join(t, reply) if *t == ticket => Some(reply.clone()),
        _ => None,
    })
}

fn sync_reply(effects: &[Effect], ticket: Ticket) -> Option<SyncReply> {
    effects.iter().find_map(|e| match e {
        Effect::Sync(t, reply) if *t == ticket => Some(reply.clone()),
        _ => None,
    })
}

#[test]
fn two_members_get_a_stable_group() {
    let mut d = driver();
    let generation = d.stable_pair();
    assert_eq!(d.heartbeat("a", generation), None);
    assert_eq!(d.heartbeat("a", generation - 1), Some(GroupError::IllegalGeneration));
    assert_eq!(d.heartbeat("nobody", generation), Some(GroupError::UnknownMemberId));
    let described = d.table.describe("g");
    assert_eq!((described.protocol.as_str(), described.members.len()), ("range", 2));
    assert_eq!(&described.members[1].assignment[..], b"p1");
    assert_eq!(d.table.list()[0].protocol_type, "consumer");
}

#[test]
fn a_member_that_leaves_makes_the_others_join_again() {
    let mut d = driver();
    let generation = d.stable_pair();
    assert_eq!(d.leave(&[("b", None)]).0, vec![None]);
    assert_eq!(d.state(), GroupState::PreparingRebalance);
    assert_eq!(d.heartbeat("a", generation), Some(GroupError::RebalanceInProgress));
    let (t, effects) = d.join(request("a", "unused"));
    assert_eq!(join_reply(&effects, t).expect("alone now").generation, generation + 1);
    let (results, _) = d.leave(&[("a", None), ("b", None)]);
    assert_eq!(results, vec![None, Some(GroupError::UnknownMemberId)]);
    assert_eq!(d.state(), GroupState::Empty);
}

#[test]
fn a_silent_member_is_out_after_its_session() {
    let mut d = driver();
    let generation = d.stable_pair();
    d.advance(i64::from(SESSION_MS) - 1);
    assert_eq!(d.heartbeat("a", generation), None);
    assert_eq!(d.table.next_deadline_ms(), Some(d.now_ms + 1));
    d.advance(1);
    assert_eq!(d.heartbeat("b", generation), Some(GroupError::UnknownMemberId));
    assert_eq!(d.heartbeat("a", generation), Some(GroupError::RebalanceInProgress));
}

#[test]
fn a_rebalance_ends_without_those_who_do_not_join() {
    let mut d = driver();
    d.stable_pair();
    let (c, effects) = d.join_new("c");
    assert!(join_reply(&effects, c).is_none());
    // a and b go on with heartbeats but never join.
    let mut answered = Vec::new();
    for _ in 0..7 {
        answered.extend(d.advance(i64::from(SESSION_MS) - 1));
        d.heartbeat("a", 2);
        d.heartbeat("b", 2);
    }
    let reply = join_reply(&answered, c).expect("the rebalance timeout is over");
    assert_eq!((reply.error, reply.leader.as_str(), reply.members.len()), (None, "c", 1));
    assert_eq!(d.heartbeat("a", 2), Some(GroupError::UnknownMemberId));
}

#[test]
fn a_leader_that_never_assigns_is_replaced() {
    let mut d = driver();
    let (_, _) = d.join_new("a");
    let (b, _) = d.join_new("b");
    let (_, effects) = d.join(request("a", "unused"));
    assert_eq!(join_reply(&effects, b).expect("b").leader, "a");
    let (sb, _) = d.sync("b", 2, &[]);
    let mut effects = Vec::new();
    while sync_reply(&effects, sb).is_none() {
        assert_eq!(d.heartbeat("a", 2), None, "the leader is alive");
        effects.extend(d.advance(i64::from(SESSION_MS) - 1));
    }
    assert_eq!(d.heartbeat("a", 2), Some(GroupError::UnknownMemberId));
    assert_eq!(sync_reply(&effects, sb).expect("refused").error, Some(GroupError::RebalanceInProgress));
    let (t, effects) = d.join(request("b", "unused"));
    assert_eq!(join_reply(&effects, t).expect("b leads").leader, "b");
}

#[test]
fn a_member_id_that_is_not_used_is_forgotten() {
    let mut d = driver();
    let (t, effects) = d.join(request("", "x"));
    assert_eq!(join_reply(&effects, t).expect("at once").error, Some(GroupError::MemberIdRequired));
    d.advance(i64::from(SESSION_MS));
    let (t, effects) = d.join(request("x", "unused"));
    assert_eq!(join_reply(&effects, t).expect("at once").error, Some(GroupError::UnknownMemberId));
}

#[test]
fn a_pending_member_holds_up_the_rebalance_only_for_a_session() {
    let mut d = driver();
    d.stable_pair();
    d.join(request("", "late"));
    let (c, _) = d.join_new("c");
    let (_, _) = d.join(request("a", "unused"));
    let (b, effects) = d.join(request("b", "unused"));
    assert!(join_reply(&effects, b).is_none(), "late has an id and may still come");
    let effects = d.advance(i64::from(SESSION_MS));
    assert_eq!(join_reply(&effects, c).expect("goes on").generation, 3);
}

#[test]
fn old_clients_join_without_asking_for_an_id() {
    let mut d = driver();
    let (t, effects) = d.join(JoinRequest { can_require_member_id: false, ..request("", "old") });
    assert_eq!(join_reply(&effects, t).expect("at once").member_id, "old");
}

fn static_request(member_id: &str, fresh: &str) -> JoinRequest {
    JoinRequest { instance_id: Some("i".into()), ..request(member_id, fresh) }
}

#[test]
fn a_static_member_comes_back_without_a_rebalance() {
    let mut d = driver();
    let (t, effects) = d.join(static_request("", "s1"));
    assert_eq!(join_reply(&effects, t).expect("at once").member_id, "s1");
    let sync = |id: &str, generation, assignments| SyncRequest {
        member_id: id.into(),
        instance_id: Some("i".into()),
        generation,
        protocol_type: None,
        protocol: None,
        assignments,
    };
    let assigned = vec![("s1".to_owned(), Bytes::from_static(b"p0"))];
    d.table.step(d.now_ms, "g", Event::Sync(Ticket(100), sync("s1", 1, assigned)));
    let (t, effects) = d.join(static_request("", "s2"));
    let reply = join_reply(&effects, t).expect("at once");
    assert_eq!((reply.generation, reply.leader.as_str(), reply.skip_assignment), (1, "s2", true));
    assert_eq!(reply.members.len(), 1);
    let effects = d.table.step(d.now_ms, "g", Event::Sync(Ticket(101), sync("s2", 1, vec![])));
    assert_eq!(&sync_reply(&effects, Ticket(101)).expect("at once").assignment[..], b"p0");
    // The one that it replaced is fenced.
    let effects = d.table.step(d.now_ms, "g", Event::Sync(Ticket(102), sync("s1", 1, vec![])));
    assert_eq!(sync_reply(&effects, Ticket(102)).expect("at once").error, Some(GroupError::FencedInstanceId));
    assert_eq!(d.table.commit(d.now_ms, "g", "s1", Some("i"), 1), Err(GroupError::FencedInstanceId));
    // An older client that was the leader must not believe it leads: it would assign again.
    let (t, effects) = d.join(JoinRequest { can_skip_assignment: false, ..static_request("", "s3") });
    let reply = join_reply(&effects, t).expect("at once");
    assert_eq!((reply.leader.as_str(), reply.members.len()), ("s2", 0));
    assert_eq!(d.leave(&[("", Some("i"))]).0, vec![None]);
    assert_eq!(d.state(), GroupState::Empty);
}

#[test]
fn no_common_protocol_is_refused() {
    let mut d = driver();
    d.stable_pair();
    let (t, effects) = d.join(JoinRequest { protocols: vec![("other".into(), Bytes::new())], ..request("", "c") });
    assert_eq!(join_reply(&effects, t).expect("at once").error, Some(GroupError::InconsistentGroupProtocol));
    let (t, effects) = d.join(JoinRequest { protocol_type: "connect".into(), ..request("", "c") });
    assert_eq!(join_reply(&effects, t).expect("at once").error, Some(GroupError::InconsistentGroupProtocol));
}

#[test]
fn the_protocol_most_members_prefer_is_chosen() {
    let mut d = driver();
    let only_sticky = vec![("sticky".to_owned(), Bytes::new())];
    d.join_new("a");
    let (c, _) = d.join_new("c");
    d.join(JoinRequest { protocols: only_sticky, ..request("a", "unused") });
    let (_, effects) = d.join(request("a", "unused"));
    assert!(effects.iter().all(|e| !matches!(e, Effect::Join(t, _) if *t == c)), "already answered");
    let described = d.table.describe("g");
    assert_eq!(described.state, GroupState::PreparingRebalance);
}

#[test]
fn limits_are_refused() {
    let mut d = driver();
    d.table = GroupTable::new(GroupLimits { members: 1, groups: 1, ..GroupLimits::default() });
    let error = |effects: &[Effect], t| join_reply(effects, t).expect("at once").error;
    let (t, effects) = d.join(JoinRequest { session_timeout_ms: 1, ..request("", "a") });
    assert_eq!(error(&effects, t), Some(GroupError::InvalidSessionTimeout));
    d.join_new("a");
    let (t, effects) = d.join(request("", "b"));
    assert_eq!(error(&effects, t), Some(GroupError::GroupMaxSizeReached));
    let effects = d.table.step(d.now_ms, "h", Event::Join(Ticket(50), request("", "c")));
    assert_eq!(error(&effects, Ticket(50)), Some(GroupError::GroupMaxSizeReached));
    let effects = d.table.step(d.now_ms, "", Event::Join(Ticket(51), request("", "c")));
    assert_eq!(error(&effects, Ticket(51)), Some(GroupError::InvalidGroupId));
    let many = (0..100).map(|i| (format!("p{i}"), Bytes::new())).collect();
    let (t, effects) = d.join(JoinRequest { protocols: many, ..request("a", "unused") });
    assert_eq!(error(&effects, t), Some(GroupError::InvalidRequest));
}

#[test]
fn commits_are_fenced_by_generation() {
    let mut d = driver();
    let now = d.now_ms;
    assert_eq!(d.table.commit(now, "g", "a", None, 3), Err(GroupError::IllegalGeneration));
    assert_eq!(d.table.commit(now, "simple", "", None, -1), Ok(()));
    let generation = d.stable_pair();
    assert_eq!(d.table.commit(now, "g", "a", None, generation), Ok(()));
    assert_eq!(d.table.commit(now, "g", "a", None, generation - 1), Err(GroupError::IllegalGeneration));
    assert_eq!(d.table.commit(now, "g", "", None, -1), Err(GroupError::UnknownMemberId));
    // While the group rebalances a member may still commit what it has read.
    d.join_new("c");
    assert_eq!(d.table.commit(now, "g", "a", None, generation), Ok(()));
}

#[test]
fn a_group_is_deleted_only_when_empty() {
    let mut d = driver();
    assert_eq!(d.table.delete("g"), Err(GroupError::GroupIdNotFound));
    d.stable_pair();
    assert_eq!(d.table.delete("g"), Err(GroupError::NonEmptyGroup));
    d.leave(&[("a", None), ("b", None)]);
    assert_eq!(d.table.delete("g"), Ok(()));
    assert_eq!(d.table.describe("g").state, GroupState::Dead);
    assert_eq!(d.table.next_deadline_ms(), None);
}

#[test]
fn a_group_without_members_and_offsets_goes_away_and_one_with_offsets_stays() {
    let mut d = driver();
    d.table.restore(d.now_ms, "kept");
    d.join_new("a");
    d.leave(&[("a", None)]);
    assert_eq!(d.table.list().len(), 2);
    d.advance(11 * 60 * 1000);
    let left: Vec<_> = d.table.list().into_iter().map(|g| g.group_id).collect();
    assert_eq!(left, ["kept"]);
    let week = 7 * 24 * 3600 * 1000;
    assert!(!d.table.offset_expired(d.now_ms, "kept", 0, week), "it may have had members until the restart");
    assert!(d.table.offset_expired(d.now_ms + week, "kept", 0, week));
    assert!(!d.table.offset_expired(d.now_ms, "kept", d.now_ms, week));
}

#[test]
fn a_new_group_can_wait_for_more_members() {
    let mut d = driver();
    d.table = GroupTable::new(GroupLimits { initial_rebalance_delay_ms: 3000, ..GroupLimits::default() });
    let (a, effects) = d.join_new("a");
    assert!(join_reply(&effects, a).is_none());
    let (b, effects) = d.join_new("b");
    assert!(join_reply(&effects, b).is_none());
    let effects = d.advance(3000);
    assert_eq!(join_reply(&effects, a).expect("a").members.len(), 2);
    assert_eq!(join_reply(&effects, b).expect("b").generation, 1);
}

#[test]
fn every_ticket_is_answered_once() {
    use proptest::prelude::*;
    let event = prop_oneof![
        (0..4usize, any::<bool>()).prop_map(|(m, fresh)| (0u8, m, fresh)),
        (0..4usize, any::<bool>()).prop_map(|(m, lead)| (1u8, m, lead)),
        (0..4usize, any::<bool>()).prop_map(|(m, x)| (2u8, m, x)),
        (0..4usize, any::<bool>()).prop_map(|(m, x)| (3u8, m, x)),
    ];
    proptest!(|(events in proptest::collection::vec(event, 1..60))| {
        let mut d = driver();
        let ids = ["a", "b", "c", "d"];
        let mut open = std::collections::BTreeSet::new();
        let mut answered = Vec::new();
        for (kind, m, flag) in events {
            let generation = d.table.groups_generation("g");
            // A fresh id is one that no member has.
            let is_member = d.table.describe("g").members.iter().any(|member| member.member_id == ids[m]);
            let (ticket, effects) = match kind {
                0 if flag && !is_member => d.join(JoinRequest { can_require_member_id: m % 2 == 0, ..request("", ids[m]) }),
                0 => d.join(request(ids[m], "unused")),
                1 => d.sync(ids[m], generation, if flag { &[("a", "x"), ("b", "y")] } else { &[] }),
                2 => {
                    d.leave(&[(ids[m], None)]).1.into_iter().for_each(|e| answered.push(e));
                    continue;
                }
                _ => {
                    let effects = d.advance(if flag { 4000 } else { 70_000 });
                    answered.extend(effects);
                    continue;
                }
            };
            open.insert(ticket);
            answered.extend(effects);
        }
        // All members go: nobody may be left waiting.
        for _ in 0..20 {
            let effects = d.advance(100_000_000);
            answered.extend(effects);
        }
        let mut seen = std::collections::BTreeSet::new();
        for e in answered {
            let ticket = match e { Effect::Join(t, _) | Effect::Sync(t, _) => t, _ => continue };
            prop_assert!(seen.insert(ticket), "{ticket:?} was answered twice");
        }
        prop_assert_eq!(seen, open);
        prop_assert!(d.table.list().is_empty());
    });
}

#[test]
fn offsets_survive_their_marks() {
    let offset = CommittedOffset { offset: 42, leader_epoch: -1, commit_ms: 7, metadata: "é".into() };
    assert_eq!(CommittedOffset::decode(&offset.encode()), Some(offset));
    assert_eq!(CommittedOffset::decode(b"\x02garbage"), None);
    let key = offset_key("a/b", ObjectId(7), 3);
    assert_eq!(parse_offset_key(&key), Some(("a/b", ObjectId(7), 3)));
    assert!(key.starts_with(&group_prefix("a/b")));
    assert!(!key.starts_with(&group_prefix("a")));
    assert_eq!(parse_offset_key("group/9:x/y"), None);
}
