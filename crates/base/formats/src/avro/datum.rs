use crate::column::{Bad, Taken, quoted};
use crate::words::{HIGH, ascii_suffix};

/// Where a pass over a datum stands.
#[derive(Clone, Copy)]
pub(crate) struct Datum<'a> {
    rest: &'a [u8],
    /// So many bytes at the datum's end are ASCII, so that strings among them need no look of their own.
    ascii: usize,
}

impl<'a> Datum<'a> {
    pub(crate) fn new(rest: &'a [u8]) -> Self {
        Self { rest, ascii: ascii_suffix(rest) }
    }

    /// Bytes not yet read.
    pub(crate) fn left(&self) -> usize {
        self.rest.len()
    }

    #[inline]
    pub(crate) fn take(&mut self, bytes: usize) -> Taken<&'a [u8]> {
        match self.rest.split_at_checked(bytes) {
            Some((taken, rest)) => {
                self.rest = rest;
                Ok(taken)
            }
            None => Err(self.ends_early(bytes)),
        }
    }

    #[cold]
    fn ends_early(&self, bytes: usize) -> Box<Bad> {
        Bad::new(format!("the datum ends early: {bytes} bytes needed, {} left", self.rest.len()))
    }

    /// A zigzag varint, which `int` and `long` are.
    #[inline(always)]
    pub(crate) fn long(&mut self) -> Taken<i64> {
        let zigzag = |value: u64| (value >> 1) as i64 ^ -((value & 1) as i64);
        if let [first @ ..0x80, rest @ ..] = self.rest {
            self.rest = rest;
            return Ok(zigzag(u64::from(*first)));
        }
        if let Some(chunk) = self.rest.first_chunk::<8>() {
            let word = u64::from_le_bytes(*chunk);
            let ends = !word & HIGH;
            if ends != 0 {
                self.rest = &self.rest[(ends.trailing_zeros() / 8 + 1) as usize..];
                // What lies behind the last byte goes, then the seven bits of each byte move together.
                let sevens = word & (ends ^ (ends - 1)) & !HIGH;
                let pairs = (sevens & 0x007f_007f_007f_007f) | ((sevens & 0x7f00_7f00_7f00_7f00) >> 1);
                let fours = (pairs & 0x0000_3fff_0000_3fff) | ((pairs & 0x3fff_0000_3fff_0000) >> 2);
                return Ok(zigzag((fours & 0x0fff_ffff) | ((fours & 0x0fff_ffff_0000_0000) >> 4)));
            }
        }
        self.long_by_bytes().map(zigzag)
    }

    /// One that is long, or near the datum's end.
    fn long_by_bytes(&mut self) -> Taken<u64> {
        let mut value = 0u64;
        for (at, byte) in self.rest.iter().take(10).enumerate() {
            value |= u64::from(byte & 0x7f) << (7 * at);
            if byte & 0x80 == 0 {
                self.rest = &self.rest[at + 1..];
                return Ok(value);
            }
        }
        Err(Bad::new("the datum has a broken integer, or ends within one"))
    }

    /// A length and that many bytes.
    #[inline(always)]
    pub(crate) fn sized(&mut self) -> Taken<&'a [u8]> {
        let length = self.long()?;
        match usize::try_from(length) {
            Ok(length) => self.take(length),
            Err(_) => Err(negative(length)),
        }
    }

    #[inline(always)]
    pub(crate) fn text(&mut self) -> Taken<&'a [u8]> {
        let bytes = self.sized()?;
        if self.rest.len() + bytes.len() > self.ascii && !is_utf8(bytes) {
            return Err(no_utf8(bytes));
        }
        Ok(bytes)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Taken<[u8; N]> {
        let bytes = self.take(N)?;
        Ok(bytes.try_into().expect("as many bytes as were asked for"))
    }

    pub(crate) fn boolean(&mut self) -> Taken<bool> {
        match self.array::<1>()? {
            [0] => Ok(false),
            [1] => Ok(true),
            [other] => Err(Bad::new(format!("the datum has {other} for a boolean"))),
        }
    }

    /// Items of the block of an array or map that comes; 0 at the end.
    pub(crate) fn block(&mut self) -> Taken<u64> {
        let count = self.long()?;
        if count < 0 {
            // The block's size in bytes, for readers that skip.
            self.long()?;
        }
        Ok(count.unsigned_abs())
    }
}

#[cold]
fn negative(length: i64) -> Box<Bad> {
    Bad::new(format!("the datum has a length of {length}"))
}

#[cold]
fn no_utf8(bytes: &[u8]) -> Box<Bad> {
    Bad::new(format!("a string is not UTF-8: \"{}\"", quoted(bytes)))
}

#[inline(never)]
fn is_utf8(bytes: &[u8]) -> bool {
    bytes.is_ascii() || std::str::from_utf8(bytes).is_ok()
}
