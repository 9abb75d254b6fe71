//! SyncGroup: the leader brings the assignment, every member fetches its part.

use bytes::Bytes;
use fleuve_log::groups::{Effect, Event, SyncRequest};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::{SyncGroupRequest, SyncGroupResponse};

use super::group_result_code;
use crate::broker::Session;
use crate::codec::string;

pub(crate) async fn handle(cx: &Session, version: i16, request: SyncGroupRequest) -> SyncGroupResponse {
    let sync = SyncRequest {
        member_id: request.member_id.to_string(),
        instance_id: request.group_instance_id.map(|id| id.to_string()),
        generation: request.generation_id,
        protocol_type: request.protocol_type.filter(|_| version >= 5).map(|p| p.to_string()),
        protocol: request.protocol_name.filter(|_| version >= 5).map(|p| p.to_string()),
        assignments: request
            .assignments
            .iter()
            .map(|a| (a.member_id.to_string(), Bytes::copy_from_slice(&a.assignment)))
            .collect(),
    };
    let answer = cx.broker.groups.ask(&request.group_id, |ticket| Event::Sync(ticket, sync));
    let reply = tokio::select! {
        answer = answer => answer.ok(),
        () = cx.until_gone() => None,
    };
    let Some(Effect::Sync(_, reply)) = reply else {
        return SyncGroupResponse::default().with_error_code(ResponseError::CoordinatorNotAvailable.code());
    };
    SyncGroupResponse::default()
        .with_error_code(group_result_code(reply.error))
        .with_protocol_type(reply.protocol_type.map(string))
        .with_protocol_name(reply.protocol.map(string))
        .with_assignment(reply.assignment)
}
