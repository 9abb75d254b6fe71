use crate::column::{Bad, Taken, quoted};

/// Where a pass over a datum stands.
#[derive(Clone, Copy)]
pub(crate) struct Datum<'a> {
    rest: &'a [u8],
}

impl<'a> Datum<'a> {
    pub(crate) fn new(rest: &'a [u8]) -> Self {
        Self { rest }
    }

    /// Bytes not yet read.
    pub(crate) fn left(&self) -> usize {
        self.rest.len()
    }

    pub(crate) fn take(&mut self, bytes: usize) -> Taken<&'a [u8]> {
        match self.rest.split_at_checked(bytes) {
            Some((taken, rest)) => {
                self.rest = rest;
                Ok(taken)
            }
            None => Err(Bad::new(format!("the datum ends early: {bytes} bytes needed, {} left", self.rest.len()))),
        }
    }

    /// A zigzag varint, which `int` and `long` are.
    #[inline]
    pub(crate) fn long(&mut self) -> Taken<i64> {
        let mut value = 0u64;
        for (at, byte) in self.rest.iter().take(10).enumerate() {
            value |= u64::from(byte & 0x7f) << (7 * at);
            if byte & 0x80 == 0 {
                self.rest = &self.rest[at + 1..];
                return Ok((value >> 1) as i64 ^ -((value & 1) as i64));
            }
        }
        Err(Bad::new("the datum has a broken integer, or ends within one"))
    }

    /// A length and that many bytes.
    pub(crate) fn sized(&mut self) -> Taken<&'a [u8]> {
        let length = self.long()?;
        match usize::try_from(length) {
            Ok(length) => self.take(length),
            Err(_) => Err(Bad::new(format!("the datum has a length of {length}"))),
        }
    }

    pub(crate) fn text(&mut self) -> Taken<&'a [u8]> {
        let bytes = self.sized()?;
        match std::str::from_utf8(bytes) {
            Ok(_) => Ok(bytes),
            Err(_) => Err(Bad::new(format!("a string is not UTF-8: \"{}\"", quoted(bytes)))),
        }
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
