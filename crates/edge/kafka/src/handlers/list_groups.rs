//! ListGroups: all groups, or those in some states.

use kafka_protocol::messages::list_groups_response::ListedGroup;
use kafka_protocol::messages::{GroupId, ListGroupsRequest, ListGroupsResponse};

use crate::broker::Session;
use crate::codec::string;

/// The kind of every group here, as newer tools call it.
const CLASSIC: &str = "classic";

pub(crate) fn handle(cx: &Session, version: i16, request: ListGroupsRequest) -> ListGroupsResponse {
    let (states, types) = (&request.states_filter, &request.types_filter);
    let type_fits = types.is_empty() || types.iter().any(|t| t.eq_ignore_ascii_case(CLASSIC));
    let groups = cx.broker.groups.list().into_iter().filter(|group| {
        type_fits && (states.is_empty() || states.iter().any(|s| s.eq_ignore_ascii_case(group.state.name())))
    });
    let groups = groups.map(|group| {
        let listed = ListedGroup::default()
            .with_group_id(GroupId(string(group.group_id)))
            .with_protocol_type(string(group.protocol_type));
        let listed = if version >= 4 { listed.with_group_state(string(group.state.name())) } else { listed };
        if version >= 5 { listed.with_group_type(string(CLASSIC)) } else { listed }
    });
    ListGroupsResponse::default().with_groups(groups.collect())
}
