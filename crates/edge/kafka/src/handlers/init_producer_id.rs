//! InitProducerId: an id for an idempotent producer. Transactional ids are refused.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::{InitProducerIdRequest, InitProducerIdResponse, ProducerId};

use crate::broker::Session;
use crate::errors::append_code;

pub(crate) async fn handle(cx: &Session, request: InitProducerIdRequest) -> InitProducerIdResponse {
    let none = InitProducerIdResponse::default()
        .with_producer_id(ProducerId(-1))
        .with_producer_epoch(-1)
        .with_ongoing_txn_producer_id(ProducerId(-1))
        .with_ongoing_txn_producer_epoch(-1);
    if request.transactional_id.is_some() {
        // The code for which clients give up at once; there is no room for words here.
        return none.with_error_code(ResponseError::TransactionalIdAuthorizationFailed.code());
    }
    match cx.broker.log.next_producer_id().await {
        Ok(id) => none.with_producer_id(ProducerId(id)).with_producer_epoch(0),
        Err(e) => none.with_error_code(append_code(&e)),
    }
}
