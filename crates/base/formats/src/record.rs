use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryBuilder, Int32Array, Int64Array, StringBuilder, TimestampMillisecondArray};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fleuve_types::{Error, PSEUDO_COLUMNS, Result};

/// One record of a partition, borrowed from the log.
#[derive(Clone, Copy, Debug, Default)]
pub struct RecordRef<'a> {
    /// Where it stands in its partition.
    pub offset: i64,
    /// The record's timestamp, milliseconds since the Unix epoch.
    pub timestamp_ms: i64,
    /// The key, if it has one.
    pub key: Option<&'a [u8]>,
    /// The value; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// The headers.
    pub headers: Headers<'a>,
}

impl<'a> RecordRef<'a> {
    /// A record that has only a value.
    pub fn of_value(offset: i64, timestamp_ms: i64, value: &'a [u8]) -> Self {
        Self { offset, timestamp_ms, key: None, value: Some(value), headers: Headers::None }
    }
}

/// A header's name and value.
pub type Header<'a> = (&'a [u8], Option<&'a [u8]>);

/// A record's headers: names (UTF-8 by convention only) and values, in order; names can repeat.
#[derive(Clone, Copy, Debug, Default)]
pub enum Headers<'a> {
    /// No header.
    #[default]
    None,
    /// As pairs.
    Pairs(&'a [Header<'a>]),
    /// As they stand in a Kafka record (format v2): a count, then length and bytes of each name and value, all lengths
    /// zigzag varints, -1 for a null value. What is cut off or malformed ends the list.
    Wire(&'a [u8]),
}

impl<'a> Headers<'a> {
    /// The headers in order.
    pub fn iter(self) -> impl Iterator<Item = Header<'a>> {
        let (pairs, mut wire): (&[Header<'a>], &[u8]) = match self {
            Headers::None => (&[], &[]),
            Headers::Pairs(pairs) => (pairs, &[]),
            Headers::Wire(bytes) => (&[], bytes),
        };
        let mut left = zigzag(&mut wire).unwrap_or(0);
        let from_wire = std::iter::from_fn(move || {
            if left <= 0 {
                return None;
            }
            left -= 1;
            let name = sized(&mut wire)??;
            let value = sized(&mut wire)?;
            Some((name, value))
        });
        pairs.iter().copied().chain(from_wire)
    }
}

/// A zigzag varint of at most 10 bytes.
fn zigzag(bytes: &mut &[u8]) -> Option<i64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some((value >> 1) as i64 ^ -((value & 1) as i64));
        }
    }
    None
}

/// A length and that many bytes; the inner `None` is a length below zero.
fn sized<'a>(bytes: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    let length = zigzag(bytes)?;
    if length < 0 {
        return Some(None);
    }
    let (taken, rest) = bytes.split_at_checked(usize::try_from(length).ok()?)?;
    *bytes = rest;
    Some(Some(taken))
}

/// The pseudo-columns of the records that became rows: `which` holds positions in [`fleuve_types::PSEUDO_COLUMNS`], the arrays come
/// in that order with the types of [`fleuve_types::pseudo_fields`]; `rows` is [`crate::Decoded::rows`].
///
/// # Errors
/// A bug of the caller: a row that is not in `records`, or a pseudo-column that does not exist.
pub fn pseudo_columns(
    records: &[RecordRef<'_>],
    rows: &[u32],
    partition: i32,
    which: &[usize],
) -> Result<Vec<ArrayRef>> {
    if rows.iter().any(|row| *row as usize >= records.len()) {
        return Err(Error::bug("a row's record is not among the records"));
    }
    let chosen = || rows.iter().map(|row| &records[*row as usize]);
    which
        .iter()
        .map(|pseudo| -> Result<ArrayRef> {
            Ok(match PSEUDO_COLUMNS.get(*pseudo).copied() {
                Some("_partition") => Arc::new(Int32Array::from_value(partition, rows.len())),
                Some("_offset") => Arc::new(Int64Array::from_iter_values(chosen().map(|r| r.offset))),
                Some("_timestamp") => {
                    Arc::new(TimestampMillisecondArray::from_iter_values(chosen().map(|r| r.timestamp_ms)))
                }
                Some("_key") => {
                    let mut keys = BinaryBuilder::new();
                    chosen().for_each(|r| keys.append_option(r.key));
                    Arc::new(keys.finish())
                }
                Some("_headers") => {
                    let mut texts = StringBuilder::new();
                    for record in chosen() {
                        texts.append_option(headers_json(record.headers)?);
                    }
                    Arc::new(texts.finish())
                }
                _ => return Err(Error::bug(format!("there is no pseudo-column {pseudo}"))),
            })
        })
        .collect()
}

/// Headers as a JSON array of `[name, value]`; bytes that are not UTF-8 as `base64:...`.
fn headers_json(headers: Headers<'_>) -> Result<Option<String>> {
    let text = |bytes: &[u8]| match std::str::from_utf8(bytes) {
        Ok(text) => text.to_string(),
        Err(_) => format!("base64:{}", STANDARD.encode(bytes)),
    };
    let pairs: Vec<(String, Option<String>)> =
        headers.iter().map(|(name, value)| (text(name), value.map(text))).collect();
    if pairs.is_empty() {
        return Ok(None);
    }
    serde_json::to_string(&pairs).map(Some).map_err(|e| Error::bug(e.to_string()))
}
