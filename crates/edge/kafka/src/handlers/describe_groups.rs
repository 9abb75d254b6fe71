//! DescribeGroups: state and members of groups.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use kafka_protocol::messages::{DescribeGroupsRequest, DescribeGroupsResponse, GroupId};

use super::{OK, message};
use crate::broker::{GROUP_OPERATIONS, NO_OPERATIONS, Session};
use crate::codec::string;

pub(crate) fn handle(cx: &Session, version: i16, request: DescribeGroupsRequest) -> DescribeGroupsResponse {
    let operations = if request.include_authorized_operations { GROUP_OPERATIONS } else { NO_OPERATIONS };
    let groups = request.groups.into_iter().map(|id| one(cx, version, id).with_authorized_operations(operations));
    DescribeGroupsResponse::default().with_groups(groups.collect())
}

fn one(cx: &Session, version: i16, id: GroupId) -> DescribedGroup {
    let group = cx.broker.groups.describe(&id);
    let dead = group.state == fleuve_log::groups::GroupState::Dead;
    let members = group.members.into_iter().map(|m| {
        DescribedGroupMember::default()
            .with_member_id(string(m.member_id))
            .with_group_instance_id(m.instance_id.filter(|_| version >= 4).map(string))
            .with_client_id(string(m.client_id))
            .with_client_host(string(m.client_host))
            .with_member_metadata(m.metadata)
            .with_member_assignment(m.assignment)
    });
    // Version 6 tells an unknown group from a dead one.
    let missing = dead && version >= 6;
    let text = format!("there is no group '{}'", id.as_str());
    DescribedGroup::default()
        .with_error_code(if missing { ResponseError::GroupIdNotFound.code() } else { OK })
        .with_error_message(if missing { message(text) } else { None })
        .with_group_id(id)
        .with_group_state(string(group.state.name()))
        .with_protocol_type(string(group.protocol_type))
        .with_protocol_data(string(group.protocol))
        .with_members(members.collect())
}
