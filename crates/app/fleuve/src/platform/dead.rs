//! Dead letters: records that are no row go to the stream's dead-letter stream, each exactly once.
//!
//! How far a partition has been looked at is a mark of the log, set in the same atomic append as the letters. So looking at the
//! same records again after a crash writes nothing twice.

use bytes::Bytes;
use fleuve_log::Log;
use fleuve_log::batch::{BatchBuilder, NewRecord};
use fleuve_types::{Error, ObjectId, Result};
use parking_lot::Mutex;
use std::collections::HashMap;

/// A record that is no row.
pub struct BadRecord {
    pub reason: String,
    pub partition: i32,
    pub offset: i64,
    pub timestamp_ms: i64,
    pub key: Option<Bytes>,
    pub value: Bytes,
}

/// Where the bad records of one stream go.
pub struct DeadLetters {
    log: Log,
    of: ObjectId,
    into: ObjectId,
    /// By partition: up to where letters are written or on their way.
    sent: Mutex<HashMap<i32, i64>>,
}

impl DeadLetters {
    pub fn new(log: Log, of: ObjectId, into: ObjectId) -> Self {
        Self { log, of, into, sent: Mutex::default() }
    }

    pub fn stream(&self) -> ObjectId {
        self.into
    }

    fn mark(&self, partition: i32) -> String {
        format!("dead/{}/{partition}", self.of)
    }

    /// Writes the bad records of a partition below `next` that were not written before.
    pub fn write(&self, partition: i32, next: i64, bad: &[BadRecord]) -> Result<()> {
        if bad.is_empty() {
            return Ok(());
        }
        let mut sent = self.sent.lock();
        let from = *sent.entry(partition).or_insert_with(|| {
            let mark = self.log.mark(&self.mark(partition));
            mark.and_then(|m| Some(i64::from_be_bytes(m.as_ref().try_into().ok()?))).unwrap_or(0)
        });
        let mut builder = BatchBuilder::new();
        for letter in bad.iter().filter(|b| b.offset >= from) {
            builder
                .push(&NewRecord {
                    timestamp_ms: letter.timestamp_ms,
                    key: None,
                    value: Some(letter.to_json()?.as_bytes()),
                    headers: &[],
                })
                .map_err(|e| Error::bug(format!("a dead letter: {e}")))?;
        }
        if builder.is_empty() {
            return Ok(());
        }
        let bytes = builder.build().map_err(|e| Error::bug(format!("dead letters: {e}")))?;
        let mark = (self.mark(partition), Some(Bytes::copy_from_slice(&next.to_be_bytes())));
        // Its outcome is the log's own: after a failed write the log takes nothing any more and says so everywhere.
        let _pending = self
            .log
            .append_atomic_nowait(vec![(self.into, 0, bytes)], vec![mark])
            .map_err(|e| Error::io("write dead letters", e))?;
        sent.insert(partition, next);
        Ok(())
    }
}

impl BadRecord {
    /// As a row of the dead-letter stream.
    fn to_json(&self) -> Result<String> {
        use base64::Engine as _;
        let base64 = |b: &Bytes| base64::engine::general_purpose::STANDARD.encode(b);
        let row = serde_json::json!({
            "reason": self.reason,
            "partition": self.partition,
            "offset": self.offset,
            "timestamp": self.timestamp_ms,
            "key": self.key.as_ref().map(base64),
            "value": base64(&self.value),
        });
        serde_json::to_string(&row).map_err(|e| Error::bug(e.to_string()))
    }
}
