//! Blocks of a run: some kilobytes of entries, compressed and with a checksum.
//!
//! Stored: the length of the content (u32, its highest bit set if it is not compressed), the content, a checksum of both (u64).
//! Content: for each entry the difference of its hash to the one before it, the length of its key, the length of its value plus 1
//! (0 if the key is gone), all three as variable-length integers, then key and value.

use fleuve_types::{Error, ErrorKind, Result};

use crate::state::hash_bytes;

/// A block is closed when its content reaches this.
pub(super) const BLOCK_BYTES: usize = 4 << 10;
/// The longest content: one entry can be this long.
pub(super) const MAX_BLOCK_BYTES: usize = 1 << 30;
/// LZ4 makes nothing shorter than by this factor.
const MAX_RATIO: usize = 255;
const PLAIN: u32 = 1 << 31;
/// What a block holds beside its content.
pub(super) const OVERHEAD: usize = 12;

pub(super) fn damaged(what: &str) -> Error {
    Error::new(ErrorKind::Io, format!("a state run is damaged: {what}"))
}

fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 128 {
        out.push(number as u8 | 128);
        number >>= 7;
    }
    out.push(number as u8);
}

fn take(bytes: &[u8], at: &mut usize) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.get(*at)?;
        *at += 1;
        number |= u64::from(byte & 127) << shift;
        if byte < 128 {
            return Some(number);
        }
    }
    None
}

/// The content of a block, as it grows.
#[derive(Default)]
pub(super) struct BlockWriter {
    content: Vec<u8>,
    last: u64,
    pub(super) first: u64,
    /// Not compressed.
    pub(super) is_plain: bool,
}

impl BlockWriter {
    pub(super) fn len(&self) -> usize {
        self.content.len()
    }

    pub(super) fn add(&mut self, hash: u64, key: &[u8], value: Option<&[u8]>) {
        if self.content.is_empty() {
            (self.first, self.last) = (hash, 0);
        }
        put(&mut self.content, hash - self.last);
        self.last = hash;
        put(&mut self.content, key.len() as u64);
        put(&mut self.content, value.map_or(0, |v| v.len() as u64 + 1));
        self.content.extend_from_slice(key);
        self.content.extend_from_slice(value.unwrap_or_default());
    }

    /// The block as it is stored; begins the next one.
    pub(super) fn seal(&mut self, out: &mut Vec<u8>) {
        let from = out.len();
        let len = self.content.len();
        out.extend_from_slice(&(len as u32).to_le_bytes());
        let compressed = (!self.is_plain).then(|| {
            out.resize(from + 4 + lz4_flex::block::get_maximum_output_size(len), 0);
            lz4_flex::block::compress_into(&self.content, &mut out[from + 4..])
        });
        match compressed {
            Some(Ok(n)) if n < len => out.truncate(from + 4 + n),
            _ => {
                out.truncate(from);
                out.extend_from_slice(&(len as u32 | PLAIN).to_le_bytes());
                out.extend_from_slice(&self.content);
            }
        }
        let sum = hash_bytes(&out[from..]);
        out.extend_from_slice(&sum.to_le_bytes());
        self.content.clear();
    }
}

/// A stored block's content.
pub(super) fn open(stored: &[u8], content: &mut Vec<u8>) -> Result<()> {
    let (body, sum) = stored.split_last_chunk::<8>().ok_or_else(|| damaged("a block is too short"))?;
    if hash_bytes(body) != u64::from_le_bytes(*sum) {
        return Err(damaged("the checksum of a block does not match"));
    }
    let (len, body) = body.split_first_chunk::<4>().ok_or_else(|| damaged("a block is too short"))?;
    let len = u32::from_le_bytes(*len);
    content.clear();
    if len & PLAIN != 0 {
        content.extend_from_slice(body);
        return Ok(());
    }
    let len = len as usize;
    if len > MAX_BLOCK_BYTES || len > body.len().saturating_mul(MAX_RATIO) {
        return Err(damaged("a block says that it is too long"));
    }
    content.resize(len, 0);
    match lz4_flex::block::decompress_into(body, content) {
        Ok(n) if n == len => Ok(()),
        _ => Err(damaged("a block does not decompress")),
    }
}

/// Where the next entry of a block's content lies.
#[derive(Clone, Copy, Default)]
pub(super) struct Cursor {
    at: usize,
    pub(super) hash: u64,
    key: (usize, usize),
    value: Option<(usize, usize)>,
}

impl Cursor {
    /// Moves to the next entry; false at the end.
    pub(super) fn next(&mut self, content: &[u8]) -> Result<bool> {
        if self.at >= content.len() {
            return Ok(false);
        }
        let short = || damaged("a block ends within an entry");
        let mut at = self.at;
        let step = take(content, &mut at).ok_or_else(short)?;
        self.hash = self.hash.checked_add(step).ok_or_else(|| damaged("the hashes of a block do not ascend"))?;
        let key = take(content, &mut at).ok_or_else(short)? as usize;
        let value = take(content, &mut at).ok_or_else(short)? as usize;
        let key_end = at.checked_add(key).filter(|end| *end <= content.len()).ok_or_else(short)?;
        let value_end =
            key_end.checked_add(value.saturating_sub(1)).filter(|end| *end <= content.len()).ok_or_else(short)?;
        self.key = (at, key_end);
        self.value = (value > 0).then_some((key_end, value_end));
        self.at = value_end;
        Ok(true)
    }

    pub(super) fn key<'c>(&self, content: &'c [u8]) -> &'c [u8] {
        &content[self.key.0..self.key.1]
    }

    pub(super) fn value<'c>(&self, content: &'c [u8]) -> Option<&'c [u8]> {
        self.value.map(|(from, to)| &content[from..to])
    }
}
