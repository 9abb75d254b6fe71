//! Heartbeat: a member is alive, and learns whether it has to join again.

use fleuve_log::groups::{Effect, Event};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::{HeartbeatRequest, HeartbeatResponse};

use super::group_result_code;
use crate::broker::Session;

pub(crate) async fn handle(cx: &Session, request: HeartbeatRequest) -> HeartbeatResponse {
    let answer = cx.broker.groups.ask(&request.group_id, |ticket| Event::Heartbeat {
        ticket,
        member_id: request.member_id.to_string(),
        instance_id: request.group_instance_id.as_ref().map(ToString::to_string),
        generation: request.generation_id,
    });
    let code = match answer.await {
        Ok(Effect::Heartbeat(_, error)) => group_result_code(error),
        _ => ResponseError::CoordinatorNotAvailable.code(),
    };
    HeartbeatResponse::default().with_error_code(code)
}
