//! LeaveGroup: members go, one (to version 2) or several.

use fleuve_log::groups::{Effect, Event, LeaveMember};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::leave_group_response::MemberResponse;
use kafka_protocol::messages::{LeaveGroupRequest, LeaveGroupResponse};

use super::{OK, group_result_code};
use crate::broker::Session;
use crate::codec::string;

pub(crate) async fn handle(cx: &Session, version: i16, request: LeaveGroupRequest) -> LeaveGroupResponse {
    let members = if version < 3 {
        vec![LeaveMember { member_id: request.member_id.to_string(), instance_id: None }]
    } else {
        let members = request.members.into_iter().map(|m| LeaveMember {
            member_id: m.member_id.to_string(),
            instance_id: m.group_instance_id.map(|id| id.to_string()),
        });
        members.collect()
    };
    let answer = cx.broker.groups.ask(&request.group_id, |ticket| Event::Leave(ticket, members));
    let Ok(Effect::Leave(_, error, members)) = answer.await else {
        return LeaveGroupResponse::default().with_error_code(ResponseError::CoordinatorNotAvailable.code());
    };
    let code = group_result_code(error);
    if version < 3 {
        let member = members.first().map_or(OK, |(_, e)| group_result_code(*e));
        return LeaveGroupResponse::default().with_error_code(if code == OK { member } else { code });
    }
    let members = members.into_iter().map(|(member, error)| {
        MemberResponse::default()
            .with_member_id(string(member.member_id))
            .with_group_instance_id(member.instance_id.map(string))
            .with_error_code(group_result_code(error))
    });
    LeaveGroupResponse::default().with_error_code(code).with_members(members.collect())
}
