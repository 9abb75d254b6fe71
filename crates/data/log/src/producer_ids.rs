//! Producer ids: a durable counter in a mark, taken in blocks. Ids of a block that was not used up are lost; that is fine.

use bytes::Bytes;
use tokio::sync::Mutex;

use crate::{AppendError, Log, limits};

/// The next id that no block has.
const MARK: &str = "log/next-producer-id";

/// The block at hand: the next id and its end.
#[derive(Debug, Default)]
pub(crate) struct ProducerIds(Mutex<(i64, i64)>);

/// An id that was never given out.
pub(crate) async fn next(log: &Log, ids: &ProducerIds) -> Result<i64, AppendError> {
    let mut block = ids.0.lock().await;
    if block.0 == block.1 {
        let corrupt = || AppendError::Io(format!("the mark {MARK} does not hold a number"));
        let from = match log.mark(MARK) {
            Some(value) => i64::from_be_bytes(value[..].try_into().map_err(|_| corrupt())?),
            None => 0,
        };
        let to = from + limits::PRODUCER_ID_BLOCK;
        let value = Bytes::copy_from_slice(&to.to_be_bytes());
        log.append_atomic(Vec::new(), vec![(MARK.to_owned(), Some(value))]).await?;
        *block = (from, to);
    }
    block.0 += 1;
    Ok(block.0 - 1)
}
