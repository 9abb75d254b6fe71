//! DescribeCluster: the one broker.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::describe_cluster_response::DescribeClusterBroker;
use kafka_protocol::messages::{DescribeClusterRequest, DescribeClusterResponse};

use super::message;
use crate::broker::{CLUSTER_OPERATIONS, NO_OPERATIONS, NODE_ID, Session};
use crate::codec::string;

/// The endpoints of brokers; the other kind (2) is that of controllers.
const BROKERS: i8 = 1;

pub(crate) fn handle(cx: &Session, version: i16, request: DescribeClusterRequest) -> DescribeClusterResponse {
    let answer = DescribeClusterResponse::default()
        .with_cluster_id(string(cx.broker.topics.cluster_id()))
        .with_controller_id(NODE_ID);
    if version >= 1 && request.endpoint_type != BROKERS {
        return answer
            .with_error_code(ResponseError::MismatchedEndpointType.code())
            .with_error_message(message("this is a broker: ask for the endpoints of brokers"))
            .with_endpoint_type(BROKERS)
            .with_cluster_authorized_operations(NO_OPERATIONS);
    }
    let at = cx.advertised();
    let broker = DescribeClusterBroker::default()
        .with_broker_id(NODE_ID)
        .with_host(string(&at.host))
        .with_port(i32::from(at.port));
    let operations = if request.include_cluster_authorized_operations { CLUSTER_OPERATIONS } else { NO_OPERATIONS };
    answer.with_endpoint_type(BROKERS).with_brokers(vec![broker]).with_cluster_authorized_operations(operations)
}
