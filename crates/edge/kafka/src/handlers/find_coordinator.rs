//! FindCoordinator: this node, for every group. Transactions are not offered yet.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::{BrokerId, FindCoordinatorRequest, FindCoordinatorResponse};

use super::{OK, message};
use crate::broker::{NODE_ID, Session};
use crate::codec::string;

const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;

pub(crate) fn handle(cx: &Session, version: i16, request: FindCoordinatorRequest) -> FindCoordinatorResponse {
    let refusal = match request.key_type {
        GROUP => None,
        // The only code for which clients give up at once instead of asking again and again.
        TRANSACTION => Some((
            ResponseError::TransactionalIdAuthorizationFailed.code(),
            "transactions are not offered yet: use an idempotent producer without a transactional id",
        )),
        _ => Some((ResponseError::InvalidRequest.code(), "there are coordinators of groups only")),
    };
    let at = cx.advertised();
    let (host, port) = (string(&at.host), i32::from(at.port));
    let (code, text) = refusal.map_or((OK, None), |(code, text)| (code, message(text)));
    let node = if code == OK { NODE_ID } else { BrokerId(-1) };
    let (host, port) = if code == OK { (host, port) } else { (string(""), -1) };
    if version < 4 {
        return FindCoordinatorResponse::default()
            .with_error_code(code)
            .with_error_message(text)
            .with_node_id(node)
            .with_host(host)
            .with_port(port);
    }
    let coordinators = request.coordinator_keys.into_iter().map(|key| {
        Coordinator::default()
            .with_key(key)
            .with_error_code(code)
            .with_error_message(text.clone())
            .with_node_id(node)
            .with_host(host.clone())
            .with_port(port)
    });
    FindCoordinatorResponse::default().with_coordinators(coordinators.collect())
}
