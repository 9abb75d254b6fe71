//! Dead letters: records that are no row go to the stream's dead-letter stream, and rows that an expression of a view fails for to
//! the view's, each exactly once.
//!
//! How far a partition has been looked at is a mark of the log, set in the same atomic append as the letters. So looking at the
//! same records again after a crash writes nothing twice. For a view it is the last epoch that wrote some.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use fleuve_engine::{DeadLetterWriter, DeadRow};
use fleuve_log::batch::{BatchBuilder, NO_TIMESTAMP, NewRecord};
use fleuve_log::{AppendError, Log};
use fleuve_types::{Clock, Epoch, Error, KNOWN_MS, ObjectId, Result};
use parking_lot::Mutex;

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
        let (mut builder, mut parts) = (BatchBuilder::new(), vec![]);
        for letter in bad.iter().filter(|b| b.offset >= from) {
            builder
                .push(&NewRecord {
                    timestamp_ms: letter.known_ms().unwrap_or(NO_TIMESTAMP),
                    key: None,
                    value: Some(letter.to_json()?.as_bytes()),
                    headers: &[],
                })
                .map_err(|e| Error::bug(format!("a dead letter: {e}")))?;
            if builder.size_bytes() >= BATCH_BYTES {
                parts.push((self.into, 0, built(std::mem::take(&mut builder))?));
            }
        }
        if !builder.is_empty() {
            parts.push((self.into, 0, built(builder)?));
        }
        if parts.is_empty() {
            return Ok(());
        }
        let mark = (self.mark(partition), Some(Bytes::copy_from_slice(&next.to_be_bytes())));
        // Its outcome is the log's own: after a failed write the log takes nothing any more and says so everywhere.
        let _pending = self.log.append_atomic_nowait(parts, vec![mark]).map_err(|e| match e {
            AppendError::Busy => Error::from(e),
            e => Error::io("write dead letters", e),
        })?;
        sent.insert(partition, next);
        Ok(())
    }
}

fn built(batch: BatchBuilder) -> Result<Bytes> {
    batch.build().map_err(|e| Error::bug(format!("dead letters: {e}")))
}

impl BadRecord {
    pub fn memory_bytes(&self) -> usize {
        size_of::<Self>() + self.reason.len() + self.value.len() + self.key.as_ref().map_or(0, Bytes::len)
    }

    /// Its timestamp, if a row can have it: a dead letter is one.
    fn known_ms(&self) -> Option<i64> {
        KNOWN_MS.contains(&self.timestamp_ms).then_some(self.timestamp_ms)
    }

    /// As a row of the dead-letter stream.
    fn to_json(&self) -> Result<String> {
        use base64::Engine as _;
        let base64 = |b: &Bytes| base64::engine::general_purpose::STANDARD.encode(b);
        let row = serde_json::json!({
            "reason": self.reason,
            "partition": self.partition,
            "offset": self.offset,
            "timestamp": self.known_ms(),
            "key": self.key.as_ref().map(base64),
            "value": base64(&self.value),
        });
        serde_json::to_string(&row).map_err(|e| Error::bug(e.to_string()))
    }
}

/// The mark that holds the last epoch in which a view wrote letters.
pub fn mark_of_view(view: ObjectId) -> String {
    format!("dead-view/{view}")
}

/// A record batch is closed at about this size.
const BATCH_BYTES: usize = 1 << 20;

/// Where the rows of one view go that an expression fails for.
pub struct ViewLetters {
    pub log: Log,
    pub clock: Arc<dyn Clock>,
    pub view: ObjectId,
    pub into: ObjectId,
}

impl DeadLetterWriter for ViewLetters {
    fn write(&self, epoch: Epoch, rows: &[DeadRow]) -> Result<()> {
        let mark = mark_of_view(self.view);
        let last = self.log.mark(&mark).and_then(|m| Some(Epoch::from_be_bytes(m.as_ref().try_into().ok()?)));
        if last.is_some_and(|last| epoch <= last) {
            return Ok(());
        }
        let timestamp_ms = self.clock.now_ms();
        let (mut builder, mut parts) = (BatchBuilder::new(), vec![]);
        for row in rows {
            let letter = serde_json::json!({
                "reason": row.reason,
                "operator": row.operator,
                "row": row.row,
                "epoch": epoch,
            });
            let value = serde_json::to_string(&letter).map_err(|e| Error::bug(e.to_string()))?;
            for _ in 0..row.copies {
                builder
                    .push(&NewRecord { timestamp_ms, key: None, value: Some(value.as_bytes()), headers: &[] })
                    .map_err(|e| Error::bug(format!("a dead letter: {e}")))?;
                if builder.size_bytes() >= BATCH_BYTES {
                    parts.push((self.into, 0, built(std::mem::take(&mut builder))?));
                }
            }
        }
        if !builder.is_empty() {
            parts.push((self.into, 0, built(builder)?));
        }
        let mark = (mark, Some(Bytes::copy_from_slice(&epoch.to_be_bytes())));
        // As for sinks: the order of appends is the order of epochs, and a failed log takes nothing after.
        self.log.append_atomic_nowait(parts, vec![mark]).map(|_| ()).map_err(Error::from)
    }
}
