//! Zigzag varints of at most 32 and 64 bits (Protocol Buffers encoding).

use super::{BatchError, invalid};

/// Bytes still to be read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at }
    }

    pub(super) fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    pub(super) fn byte(&mut self) -> Result<u8, BatchError> {
        let b = *self.bytes.get(self.at).ok_or_else(|| invalid("a record ends too early"))?;
        self.at += 1;
        Ok(b)
    }

    fn unsigned(&mut self, max_bits: u32) -> Result<u64, BatchError> {
        let mut value = 0u64;
        let mut shift = 0;
        loop {
            let b = self.byte()?;
            let bits = u64::from(b & 0x7f);
            if shift + 7 > max_bits && bits >> (max_bits - shift) != 0 {
                return Err(invalid("a variable-length number is too long"));
            }
            value |= bits << shift;
            if b & 0x80 == 0 {
                return Ok(value);
            }
            shift += 7;
            if shift >= max_bits {
                return Err(invalid("a variable-length number is too long"));
            }
        }
    }

    pub(super) fn varint(&mut self) -> Result<i32, BatchError> {
        let v = self.unsigned(32)? as u32;
        Ok((v >> 1) as i32 ^ -((v & 1) as i32))
    }

    pub(super) fn varlong(&mut self) -> Result<i64, BatchError> {
        let v = self.unsigned(64)?;
        Ok((v >> 1) as i64 ^ -((v & 1) as i64))
    }

    /// The place of the next `len` bytes, which are skipped.
    pub(super) fn skip(&mut self, len: usize) -> Result<std::ops::Range<usize>, BatchError> {
        if len > self.remaining() {
            return Err(invalid(format!("a field of {len} bytes stands where {} are left", self.remaining())));
        }
        let start = self.at;
        self.at += len;
        Ok(start..self.at)
    }

    /// A length and that many bytes; -1 is none.
    pub(super) fn nullable(&mut self) -> Result<Option<std::ops::Range<usize>>, BatchError> {
        match self.varint()? {
            -1 => Ok(None),
            len => {
                let len = usize::try_from(len).map_err(|_| invalid(format!("a field has length {len}")))?;
                self.skip(len).map(Some)
            }
        }
    }
}

pub(super) fn put_varint(out: &mut Vec<u8>, v: i32) {
    put_unsigned(out, u64::from(((v << 1) ^ (v >> 31)) as u32));
}

pub(super) fn put_varlong(out: &mut Vec<u8>, v: i64) {
    put_unsigned(out, ((v << 1) ^ (v >> 63)) as u64);
}

fn put_unsigned(out: &mut Vec<u8>, mut v: u64) {
    while v >= 0x80 {
        out.push((v as u8 & 0x7f) | 0x80);
        v >>= 7;
    }
    out.push(v as u8);
}

/// Bytes that [`put_varint`] takes.
pub(super) fn varint_len(v: i32) -> usize {
    let v = ((v << 1) ^ (v >> 31)) as u32;
    (38 - v.leading_zeros().min(31) as usize) / 7
}

/// Bytes that [`put_varlong`] takes.
pub(super) fn varlong_len(v: i64) -> usize {
    let v = ((v << 1) ^ (v >> 63)) as u64;
    (70 - v.leading_zeros().min(63) as usize) / 7
}
