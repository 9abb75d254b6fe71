//! Fixed-width big endian fields for the log's own files. Reading never panics and never reserves more than is there.

use fleuve_types::ObjectId;

/// The bytes ended or said something impossible.
#[derive(Debug)]
pub(crate) struct Malformed;

pub(crate) type Decoded<T> = Result<T, Malformed>;

/// Reads fields from the front of a slice.
#[derive(Debug)]
pub(crate) struct Fields<'a> {
    all: usize,
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { all: bytes.len(), rest: bytes }
    }

    /// Bytes read so far.
    pub(crate) fn position(&self) -> usize {
        self.all - self.rest.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    fn array<const N: usize>(&mut self) -> Decoded<[u8; N]> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or(Malformed)?;
        self.rest = rest;
        Ok(*head)
    }

    pub(crate) fn u8(&mut self) -> Decoded<u8> {
        self.array::<1>().map(|a| a[0])
    }

    pub(crate) fn i16(&mut self) -> Decoded<i16> {
        self.array().map(i16::from_be_bytes)
    }

    pub(crate) fn i32(&mut self) -> Decoded<i32> {
        self.array().map(i32::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Decoded<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Decoded<u64> {
        self.array().map(u64::from_be_bytes)
    }

    pub(crate) fn i64(&mut self) -> Decoded<i64> {
        self.array().map(i64::from_be_bytes)
    }

    pub(crate) fn id(&mut self) -> Decoded<ObjectId> {
        self.array().map(ObjectId::from_bytes)
    }

    /// A count of things that take at least `min_bytes` each.
    pub(crate) fn count(&mut self, min_bytes: usize) -> Decoded<usize> {
        let n = self.u32()? as usize;
        if n.saturating_mul(min_bytes) > self.rest.len() { Err(Malformed) } else { Ok(n) }
    }

    /// A length and that many bytes.
    pub(crate) fn bytes(&mut self) -> Decoded<&'a [u8]> {
        let len = self.u32()? as usize;
        let (head, rest) = self.rest.split_at_checked(len).ok_or(Malformed)?;
        self.rest = rest;
        Ok(head)
    }

    pub(crate) fn string(&mut self) -> Decoded<&'a str> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Malformed)
    }
}

/// Writes fields at the end of a vector.
pub(crate) trait PutFields {
    fn put_u8(&mut self, v: u8);
    fn put(&mut self, bytes: &[u8]);

    fn put_i16(&mut self, v: i16) {
        self.put(&v.to_be_bytes());
    }

    fn put_i32(&mut self, v: i32) {
        self.put(&v.to_be_bytes());
    }

    fn put_u32(&mut self, v: u32) {
        self.put(&v.to_be_bytes());
    }

    fn put_u64(&mut self, v: u64) {
        self.put(&v.to_be_bytes());
    }

    fn put_i64(&mut self, v: i64) {
        self.put(&v.to_be_bytes());
    }

    fn put_id(&mut self, v: ObjectId) {
        self.put(&v.to_bytes());
    }

    /// A length and the bytes. Callers bound the length far below 4 GiB.
    fn put_bytes(&mut self, v: &[u8]) {
        self.put_u32(v.len() as u32);
        self.put(v);
    }
}

impl PutFields for Vec<u8> {
    fn put_u8(&mut self, v: u8) {
        self.push(v);
    }

    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}
