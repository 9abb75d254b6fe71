//! JoinGroup: a member asks to take part; answered when the group begins its next generation.

use bytes::Bytes;
use fleuve_log::groups::{Effect, Event, JoinReply, JoinRequest, LeaveMember};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::join_group_response::JoinGroupResponseMember;
use kafka_protocol::messages::{JoinGroupRequest, JoinGroupResponse};

use super::group_result_code;
use crate::broker::Session;
use crate::codec::{Header, string};

/// Characters of a client's name that are kept, and go into a member id that is made for it (which has a limit too).
const CLIENT_ID_CHARS: usize = 100;

pub(crate) async fn handle(cx: &Session, header: &Header, request: JoinGroupRequest) -> JoinGroupResponse {
    let version = header.version;
    let join = to_join(cx, header, &request);
    let member_id = if join.member_id.is_empty() { join.fresh_member_id.clone() } else { join.member_id.clone() };
    let answer = cx.broker.groups.ask(&request.group_id, |ticket| Event::Join(ticket, join));
    let reply = tokio::select! {
        answer = answer => answer.ok(),
        () = cx.until_gone() => None,
    };
    if reply.is_none() && request.group_instance_id.is_none() {
        // The client is gone: the others need not wait for it. (A static member keeps its place until it times out.)
        let leaving = vec![LeaveMember { member_id, instance_id: None }];
        drop(cx.broker.groups.ask(&request.group_id, |ticket| Event::Leave(ticket, leaving)));
    }
    match reply {
        Some(Effect::Join(_, reply)) => to_response(version, reply),
        // The server stops, or nobody waits for this.
        _ => JoinGroupResponse::default()
            .with_error_code(ResponseError::CoordinatorNotAvailable.code())
            .with_generation_id(-1)
            .with_protocol_name((version < 7).then(|| string("")))
            .with_member_id(request.member_id),
    }
}

/// What the group keeps is copied, so that it does not hold on to the whole frame.
fn to_join(cx: &Session, header: &Header, request: &JoinGroupRequest) -> JoinRequest {
    let client: String = header.client_id.chars().take(CLIENT_ID_CHARS).collect();
    let rebalance_timeout_ms =
        if header.version == 0 { request.session_timeout_ms } else { request.rebalance_timeout_ms };
    JoinRequest {
        member_id: request.member_id.to_string(),
        fresh_member_id: format!("{client}-{}", uuid::Uuid::new_v4()),
        instance_id: request.group_instance_id.as_ref().map(ToString::to_string),
        client_id: client,
        client_host: format!("/{}", cx.peer.ip().to_canonical()),
        session_timeout_ms: request.session_timeout_ms,
        rebalance_timeout_ms,
        protocol_type: request.protocol_type.to_string(),
        protocols: request
            .protocols
            .iter()
            .map(|p| (p.name.to_string(), Bytes::copy_from_slice(&p.metadata)))
            .collect(),
        can_require_member_id: header.version >= 4,
        can_skip_assignment: header.version >= 9,
    }
}

fn to_response(version: i16, reply: JoinReply) -> JoinGroupResponse {
    let members = reply.members.into_iter().map(|m| {
        JoinGroupResponseMember::default()
            .with_member_id(string(m.member_id))
            .with_group_instance_id(m.instance_id.map(string))
            .with_metadata(m.metadata)
    });
    // Null only from version 7 on.
    let protocol = reply.protocol.or_else(|| (version < 7).then(String::new));
    JoinGroupResponse::default()
        .with_error_code(group_result_code(reply.error))
        .with_generation_id(reply.generation)
        .with_protocol_type(reply.protocol_type.map(string))
        .with_protocol_name(protocol.map(string))
        .with_leader(string(reply.leader))
        .with_skip_assignment(reply.skip_assignment && version >= 9)
        .with_member_id(string(reply.member_id))
        .with_members(members.collect())
}
