//! The bytes of sketches: a kind, a version, numbers of variable length (LEB128).

use fleuve_types::{Error, Result};

/// The only version that there is.
const VERSION: u8 = 1;

/// The beginning of a sketch of a kind.
pub(super) fn begin(kind: [u8; 2]) -> Vec<u8> {
    vec![kind[0], kind[1], VERSION]
}

pub(super) fn put(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

/// A sketch's bytes that are still to be read.
pub(super) struct Reader<'a> {
    name: &'static str,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// # Errors
    /// When these are not the bytes of such a sketch.
    pub(super) fn new(kind: [u8; 2], name: &'static str, bytes: &'a [u8]) -> Result<Self> {
        match bytes {
            [a, b, VERSION, rest @ ..] if [*a, *b] == kind => Ok(Self { name, rest }),
            [a, b, version, ..] if [*a, *b] == kind => {
                Err(Error::input(format!("this {name} is of version {version}, which is not known here")))
            }
            _ => Err(Error::input(format!("these bytes are no {name}"))),
        }
    }

    pub(super) fn broken(&self, what: &str) -> Error {
        Error::input(format!("this {} is damaged: {what}", self.name))
    }

    pub(super) fn left(&self) -> usize {
        self.rest.len()
    }

    pub(super) fn take(&mut self, n: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(n).ok_or_else(|| self.broken("it is too short"))?;
        self.rest = rest;
        Ok(taken)
    }

    pub(super) fn byte(&mut self) -> Result<u8> {
        self.take(1).map(|b| b[0])
    }

    pub(super) fn number(&mut self) -> Result<u64> {
        let mut n = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            n |= bits << shift;
            if byte < 0x80 {
                return Ok(n);
            }
        }
        Err(self.broken("a number is too long"))
    }

    /// A number that counts rows.
    pub(super) fn count(&mut self) -> Result<i64> {
        i64::try_from(self.number()?).map_err(|_| self.broken("a count is too large"))
    }

    /// How many entries of at least `bytes` bytes follow.
    pub(super) fn entries(&mut self, bytes: usize) -> Result<usize> {
        let n = usize::try_from(self.number()?).unwrap_or(usize::MAX);
        if n > self.left() / bytes {
            return Err(self.broken("it is too short"));
        }
        Ok(n)
    }

    pub(super) fn end(&self) -> Result<()> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.broken("it is too long")) }
    }
}
