//! Walks a request along its known wire layout before it is decoded.
//!
//! The decoder reserves memory for an array from its announced length, before it looks whether the bytes are there, so four
//! hostile bytes would abort the process. This walk allocates nothing, follows the same layout, and refuses a length that the
//! remaining bytes cannot hold, and more elements than any honest request has.

use super::shapes::SHAPES;

/// The layout of one API's request over all its versions.
pub(super) struct Shape {
    pub(super) key: i16,
    /// The first version with compact lengths and tagged fields.
    pub(super) flexible_from: i16,
    pub(super) fields: &'static [Field],
}

/// A field, present in the versions `from..=to`.
pub(super) struct Field {
    pub(super) from: i16,
    pub(super) to: i16,
    /// The tag, and the version from which the field is tagged.
    pub(super) tag: Option<(u32, i16)>,
    pub(super) kind: Kind,
}

pub(super) enum Kind {
    /// So many bytes.
    Fixed(u8),
    /// A string: 2-byte or compact length.
    Text,
    /// Bytes: 4-byte or compact length.
    Blob,
    List(&'static Kind),
    Struct(&'static [Field]),
    /// A struct behind one byte that says whether it is there.
    Nullable(&'static [Field]),
}

/// What is wrong with a request's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// A length or a value reaches over the end.
    #[error("the request ends before its content does")]
    Short,
    /// A length below -1.
    #[error("a length in the request is negative")]
    NegativeLength,
    /// More array elements and tagged fields than `MAX_ELEMENTS`.
    #[error("the request has too many elements")]
    TooMany,
    /// A tagged field is not as long as it says.
    #[error("a tagged field has the wrong length")]
    TagLength,
    /// The API is not known here.
    #[error("unknown API")]
    UnknownApi,
    /// The API is known, this version of it is not.
    #[error("unknown version of the API")]
    UnknownVersion,
    /// The decoder refused the content (not UTF-8, a null where none may be, …).
    #[error("the request cannot be decoded")]
    Content,
}

/// Array elements and tagged fields that one request may have, nested ones included.
pub const MAX_ELEMENTS: u32 = 200_000;

/// Checks the body of a request; `Ok` gives the number of bytes that its content takes.
pub(crate) fn check(api_key: i16, version: i16, body: &[u8]) -> Result<usize, Malformed> {
    let shape = SHAPES.iter().find(|s| s.key == api_key).ok_or(Malformed::UnknownApi)?;
    let mut walk = Walk { rest: body, version, flexible: version >= shape.flexible_from, left: MAX_ELEMENTS };
    walk.fields(shape.fields)?;
    Ok(body.len() - walk.rest.len())
}

struct Walk<'a> {
    rest: &'a [u8],
    version: i16,
    flexible: bool,
    left: u32,
}

impl Walk<'_> {
    fn skip(&mut self, n: usize) -> Result<(), Malformed> {
        self.rest = self.rest.get(n..).ok_or(Malformed::Short)?;
        Ok(())
    }

    fn byte(&mut self) -> Result<u8, Malformed> {
        let (first, rest) = self.rest.split_first().ok_or(Malformed::Short)?;
        self.rest = rest;
        Ok(*first)
    }

    fn i16(&mut self) -> Result<i16, Malformed> {
        let (value, rest) = self.rest.split_first_chunk::<2>().ok_or(Malformed::Short)?;
        self.rest = rest;
        Ok(i16::from_be_bytes(*value))
    }

    fn i32(&mut self) -> Result<i32, Malformed> {
        let (value, rest) = self.rest.split_first_chunk::<4>().ok_or(Malformed::Short)?;
        self.rest = rest;
        Ok(i32::from_be_bytes(*value))
    }

    /// At most five bytes; bits over the 32nd are dropped, as the decoder does.
    fn varint(&mut self) -> Result<u32, Malformed> {
        let mut value = 0;
        for i in 0..5 {
            let byte = u32::from(self.byte()?);
            value |= (byte & 0x7f) << (i * 7);
            if byte < 0x80 {
                break;
            }
        }
        Ok(value)
    }

    /// A length; `None` is null.
    fn length(&mut self, wide: bool) -> Result<Option<usize>, Malformed> {
        let n = if self.flexible {
            i64::from(self.varint()?) - 1
        } else if wide {
            i64::from(self.i32()?)
        } else {
            i64::from(self.i16()?)
        };
        match n {
            -1 => Ok(None),
            n => usize::try_from(n).map(Some).map_err(|_| Malformed::NegativeLength),
        }
    }

    fn spend(&mut self, n: usize) -> Result<(), Malformed> {
        let n = u32::try_from(n).map_err(|_| Malformed::TooMany)?;
        self.left = self.left.checked_sub(n).ok_or(Malformed::TooMany)?;
        Ok(())
    }

    fn kind(&mut self, kind: &Kind) -> Result<(), Malformed> {
        match kind {
            Kind::Fixed(n) => self.skip(usize::from(*n)),
            Kind::Text => self.length(false)?.map_or(Ok(()), |n| self.skip(n)),
            Kind::Blob => self.length(true)?.map_or(Ok(()), |n| self.skip(n)),
            Kind::Struct(fields) => self.fields(fields),
            Kind::Nullable(fields) => match self.byte()? as i8 {
                -1 => Ok(()),
                _ => self.fields(fields),
            },
            Kind::List(of) => {
                let Some(n) = self.length(true)? else { return Ok(()) };
                // Every element takes at least a byte.
                if n > self.rest.len() {
                    return Err(Malformed::Short);
                }
                self.spend(n)?;
                match of {
                    Kind::Fixed(width) => self.skip(n * usize::from(*width)),
                    of => (0..n).try_for_each(|_| self.kind(of)),
                }
            }
        }
    }

    fn fields(&mut self, fields: &'static [Field]) -> Result<(), Malformed> {
        for field in fields {
            let tagged = field.tag.is_some_and(|(_, from)| self.version >= from);
            if (field.from..=field.to).contains(&self.version) && !tagged {
                self.kind(&field.kind)?;
            }
        }
        if self.flexible { self.tags(fields) } else { Ok(()) }
    }

    fn tags(&mut self, fields: &'static [Field]) -> Result<(), Malformed> {
        for _ in 0..self.varint()? {
            self.spend(1)?;
            let tag = self.varint()?;
            let size = self.varint()? as usize;
            let known = fields.iter().find(|f| f.tag.is_some_and(|(t, from)| t == tag && self.version >= from));
            let Some(field) = known else {
                self.skip(size)?;
                continue;
            };
            let before = self.rest.len();
            self.kind(&field.kind)?;
            if before - self.rest.len() != size {
                return Err(Malformed::TagLength);
            }
        }
        Ok(())
    }
}

/// The bytes that a block of tagged fields takes, all of them unknown.
pub(super) fn skip_tags(bytes: &[u8]) -> Result<usize, Malformed> {
    let mut walk = Walk { rest: bytes, version: 0, flexible: true, left: MAX_ELEMENTS };
    walk.tags(&[])?;
    Ok(bytes.len() - walk.rest.len())
}
