use bytes::Bytes;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    DeleteGroupsRequest, DescribeGroupsRequest, FindCoordinatorRequest, GroupId, HeartbeatRequest, JoinGroupRequest,
    JoinGroupResponse, LeaveGroupRequest, ListGroupsRequest, OffsetCommitRequest, OffsetDeleteRequest,
    OffsetFetchRequest, SyncGroupRequest,
};

use crate::client::{Client, Server, text, topic};
use crate::records::new_topic;
use crate::run;

fn group(name: &str) -> GroupId {
    GroupId(text(name))
}

fn join(member: &str) -> JoinGroupRequest {
    let protocol =
        JoinGroupRequestProtocol::default().with_name(text("range")).with_metadata(Bytes::from_static(b"meta"));
    JoinGroupRequest::default()
        .with_group_id(group("g"))
        .with_session_timeout_ms(10_000)
        .with_rebalance_timeout_ms(10_000)
        .with_member_id(text(member))
        .with_protocol_type(text("consumer"))
        .with_protocols(vec![protocol])
}

/// Joins in two steps, as version 4 and later ask for.
async fn join_alone(client: &mut Client, version: i16) -> JoinGroupResponse {
    let first = client.ask(version, &join("")).await;
    if first.error_code == 0 {
        return first;
    }
    assert_eq!(first.error_code, 79);
    client.ask(version, &join(&first.member_id)).await
}

fn sync(joined: &JoinGroupResponse, assignments: &[(&str, &'static [u8])]) -> SyncGroupRequest {
    let assignments = assignments.iter().map(|(member, bytes)| {
        SyncGroupRequestAssignment::default().with_member_id(text(member)).with_assignment(Bytes::from_static(bytes))
    });
    SyncGroupRequest::default()
        .with_group_id(group("g"))
        .with_generation_id(joined.generation_id)
        .with_member_id(joined.member_id.clone())
        .with_assignments(assignments.collect())
}

fn heartbeat(joined: &JoinGroupResponse) -> HeartbeatRequest {
    HeartbeatRequest::default()
        .with_group_id(group("g"))
        .with_generation_id(joined.generation_id)
        .with_member_id(joined.member_id.clone())
}

fn commit(member: &str, generation: i32, partition: i32, offset: i64) -> OffsetCommitRequest {
    let part = OffsetCommitRequestPartition::default()
        .with_partition_index(partition)
        .with_committed_offset(offset)
        .with_committed_metadata(Some(text("note")));
    let asked = OffsetCommitRequestTopic::default().with_name(topic("t")).with_partitions(vec![part]);
    OffsetCommitRequest::default()
        .with_group_id(group("g"))
        .with_member_id(text(member))
        .with_generation_id_or_member_epoch(generation)
        .with_topics(vec![asked])
}

async fn commit_code(client: &mut Client, request: OffsetCommitRequest) -> i16 {
    client.ask(8, &request).await.topics[0].partitions[0].error_code
}

/// The offsets of partitions 0 and 1, asked for in an old and in a new version.
async fn committed(client: &mut Client, name: &str) -> [i64; 2] {
    let old = OffsetFetchRequest::default().with_group_id(group(name)).with_topics(Some(vec![
        OffsetFetchRequestTopic::default().with_name(topic("t")).with_partition_indexes(vec![0, 1]),
    ]));
    let answer = client.ask(7, &old).await;
    let of_old: Vec<i64> = answer.topics[0].partitions.iter().map(|p| p.committed_offset).collect();
    let asked = OffsetFetchRequestTopics::default().with_name(topic("t")).with_partition_indexes(vec![0, 1]);
    let new = OffsetFetchRequestGroup::default().with_group_id(group(name)).with_topics(Some(vec![asked]));
    let answer = client.ask(8, &OffsetFetchRequest::default().with_groups(vec![new])).await;
    let of_new: Vec<i64> = answer.groups[0].topics[0].partitions.iter().map(|p| p.committed_offset).collect();
    assert_eq!(of_old, of_new);
    [of_old[0], of_old[1]]
}

#[test]
fn one_member_goes_through_a_life() {
    run(async {
        let server = Server::start().await;
        for version in [0, 1, 3, 4, 5, 6, 7, 8, 9] {
            let mut client = server.client().await;
            let joined = join_alone(&mut client, version).await;
            assert_eq!(joined.error_code, 0, "version {version}");
            assert_eq!(joined.leader, joined.member_id);
            assert_eq!(joined.members.len(), 1);
            assert_eq!(joined.protocol_name.as_deref(), Some("range"));
            let mine = joined.member_id.to_string();
            let synced = client.ask(3, &sync(&joined, &[(&mine, b"all")])).await;
            assert_eq!((synced.error_code, synced.assignment.as_ref()), (0, &b"all"[..]));
            assert_eq!(client.ask(3, &heartbeat(&joined)).await.error_code, 0);
            let leave = LeaveGroupRequest::default().with_group_id(group("g"));
            if version < 3 {
                let leave = leave.with_member_id(joined.member_id.clone());
                assert_eq!(client.ask(2, &leave).await.error_code, 0);
            } else {
                let member = MemberIdentity::default().with_member_id(joined.member_id.clone());
                let answer = client.ask(5, &leave.with_members(vec![member])).await;
                assert_eq!((answer.error_code, answer.members[0].error_code), (0, 0));
            }
            assert_eq!(client.ask(3, &heartbeat(&joined)).await.error_code, 25);
        }
    });
}

#[test]
fn a_second_member_makes_the_first_join_again() {
    run(async {
        let server = Server::start().await;
        let (mut one, mut two) = (server.client().await, server.client().await);
        let first = join_alone(&mut one, 5).await;
        let synced = one.ask(3, &sync(&first, &[(&first.member_id, b"all")])).await;
        assert_eq!(synced.error_code, 0);

        let asked = two.ask(5, &join("")).await;
        let waiting = two.send(5, &join(&asked.member_id)).await;
        while one.ask(3, &heartbeat(&first)).await.error_code == 0 {
            tokio::task::yield_now().await;
        }
        let first = one.ask(5, &join(&first.member_id)).await;
        let second = two.take::<JoinGroupRequest>(5, waiting).await;
        assert_eq!(first.generation_id, second.generation_id);
        assert_eq!((first.members.len(), second.members.len()), (2, 0));

        // The follower waits for what the leader decides.
        let waiting = two.send(3, &sync(&second, &[])).await;
        let shares: [(&str, &[u8]); 2] = [(&first.member_id, b"left"), (&second.member_id, b"right")];
        assert_eq!(one.ask(3, &sync(&first, &shares)).await.assignment.as_ref(), b"left");
        assert_eq!(two.take::<SyncGroupRequest>(3, waiting).await.assignment.as_ref(), b"right");

        let described = one.ask(5, &DescribeGroupsRequest::default().with_groups(vec![group("g")])).await;
        assert_eq!(&*described.groups[0].group_state, "Stable");
        assert_eq!(described.groups[0].members.len(), 2);
        assert!(described.groups[0].members.iter().all(|m| &*m.client_id == "test"));
        let delete = DeleteGroupsRequest::default().with_groups_names(vec![group("g")]);
        assert_eq!(one.ask(2, &delete).await.results[0].error_code, 68);
    });
}

#[test]
fn a_silent_member_is_put_out() {
    run(async {
        let server = Server::start().await;
        let (mut one, mut two) = (server.client().await, server.client().await);
        let silent = one.ask(3, &join("").with_session_timeout_ms(1000).with_rebalance_timeout_ms(1000)).await;
        assert_eq!(silent.error_code, 0);
        assert_eq!(one.ask(3, &sync(&silent, &[])).await.error_code, 0);
        // The silent one neither joins again nor heartbeats, so this waits for its time to run out.
        let joined = join_alone(&mut two, 5).await;
        assert_eq!((joined.error_code, joined.members.len()), (0, 1));
        assert_eq!(one.ask(3, &heartbeat(&silent)).await.error_code, 25);
    });
}

#[test]
fn offsets_are_kept_over_a_restart() {
    run(async {
        let mut server = Server::start().await;
        new_topic(&server, "t", 2).await;
        let mut client = server.client().await;
        assert_eq!(committed(&mut client, "g").await, [-1, -1]);
        let joined = join_alone(&mut client, 5).await;
        let member = joined.member_id.to_string();
        client.ask(3, &sync(&joined, &[(&member, b"all")])).await;
        assert_eq!(commit_code(&mut client, commit(&member, joined.generation_id, 0, 41)).await, 0);
        assert_eq!(commit_code(&mut client, commit(&member, joined.generation_id, 0, 42)).await, 0);
        assert_eq!(commit_code(&mut client, commit(&member, joined.generation_id - 1, 0, 7)).await, 22);
        assert_eq!(commit_code(&mut client, commit("stranger", joined.generation_id, 0, 7)).await, 25);
        assert_eq!(commit_code(&mut client, commit(&member, joined.generation_id, 9, 7)).await, 3);
        assert_eq!(committed(&mut client, "g").await, [42, -1]);

        server.restart().await;
        let mut client = server.client().await;
        assert_eq!(committed(&mut client, "g").await, [42, -1]);
        let listed = client.ask(5, &ListGroupsRequest::default()).await;
        assert_eq!(listed.groups.iter().map(|g| &*g.group_id.0).collect::<Vec<_>>(), ["g"]);
        assert_eq!((&*listed.groups[0].group_state, &*listed.groups[0].group_type), ("Empty", "classic"));
        let all = OffsetFetchRequest::default().with_group_id(group("g")).with_topics(None);
        let answer = client.ask(7, &all).await;
        assert_eq!(answer.topics[0].partitions[0].committed_offset, 42);
        assert_eq!(answer.topics[0].partitions[0].metadata.as_deref(), Some("note"));
    });
}

#[test]
fn offsets_without_members_and_their_end() {
    run(async {
        let server = Server::start().await;
        new_topic(&server, "t", 2).await;
        let mut client = server.client().await;
        assert_eq!(commit_code(&mut client, commit("", -1, 0, 5)).await, 0);
        assert_eq!(commit_code(&mut client, commit("", -1, 1, 6)).await, 0);
        assert_eq!(committed(&mut client, "g").await, [5, 6]);
        let part = OffsetDeleteRequestPartition::default().with_partition_index(0);
        let asked = OffsetDeleteRequestTopic::default().with_name(topic("t")).with_partitions(vec![part]);
        let forget = OffsetDeleteRequest::default().with_group_id(group("g")).with_topics(vec![asked]);
        assert_eq!(client.ask(0, &forget).await.error_code, 0);
        assert_eq!(committed(&mut client, "g").await, [-1, 6]);
        let delete = DeleteGroupsRequest::default().with_groups_names(vec![group("g"), group("other")]);
        let answer = client.ask(2, &delete).await;
        assert_eq!(answer.results.iter().map(|r| r.error_code).collect::<Vec<_>>(), [0, 69]);
        assert_eq!(committed(&mut client, "g").await, [-1, -1]);
        let described = client.ask(6, &DescribeGroupsRequest::default().with_groups(vec![group("g")])).await;
        assert_eq!(described.groups[0].error_code, 69);
    });
}

#[test]
fn the_coordinator_is_this_node_but_not_for_transactions() {
    run(async {
        let server = Server::start().await;
        let mut client = server.client().await;
        for version in 0..=3 {
            let answer = client.ask(version, &FindCoordinatorRequest::default().with_key(text("g"))).await;
            assert_eq!((answer.error_code, answer.port), (0, i32::from(server.addr.port())));
        }
        let keys = vec![text("g"), text("h")];
        let answer = client.ask(4, &FindCoordinatorRequest::default().with_coordinator_keys(keys.clone())).await;
        assert_eq!(answer.coordinators.len(), 2);
        assert!(answer.coordinators.iter().all(|c| c.error_code == 0 && &*c.host == "127.0.0.1"));
        let transactions = FindCoordinatorRequest::default().with_coordinator_keys(keys).with_key_type(1);
        let answer = client.ask(4, &transactions).await;
        assert!(answer.coordinators[0].error_message.as_ref().unwrap().contains("transactions"));
    });
}

#[test]
fn a_member_that_leaves_while_it_waits_holds_up_nobody() {
    run(async {
        let server = Server::start().await;
        let mut one = server.client().await;
        let first = join_alone(&mut one, 5).await;
        one.ask(3, &sync(&first, &[(&first.member_id, b"all")])).await;
        let mut two = server.client().await;
        let asked = two.ask(5, &join("")).await;
        two.send(5, &join(&asked.member_id)).await;
        drop(two);
        let describe = DescribeGroupsRequest::default().with_groups(vec![group("g")]);
        // One member again, and the group prepares for that.
        loop {
            let described = one.ask(5, &describe).await;
            let group = &described.groups[0];
            if group.members.len() == 1 && &*group.group_state == "PreparingRebalance" {
                break;
            }
        }
        let first = one.ask(5, &join(&first.member_id)).await;
        assert_eq!((first.error_code, first.members.len()), (0, 1));
    });
}

#[test]
fn leaving_behind_a_waiting_join_is_answered_at_once() {
    run(async {
        let server = Server::start().await;
        let (mut one, mut two) = (server.client().await, server.client().await);
        let first = join_alone(&mut one, 5).await;
        one.ask(3, &sync(&first, &[(&first.member_id, b"all")])).await;
        let asked = two.ask(5, &join("")).await;
        let joining = two.send(5, &join(&asked.member_id)).await;
        let member = MemberIdentity::default().with_member_id(asked.member_id.clone());
        let leave = LeaveGroupRequest::default().with_group_id(group("g")).with_members(vec![member]);
        let leaving = two.send(4, &leave).await;
        assert_eq!(two.take::<JoinGroupRequest>(5, joining).await.error_code, 25);
        assert_eq!(two.take::<LeaveGroupRequest>(4, leaving).await.members[0].error_code, 0);
    });
}
