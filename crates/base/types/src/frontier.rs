use std::collections::BTreeMap;

use crate::ObjectId;

/// One step of the engine. Epochs are numbered from 1 without gaps; 0 is "before anything".
pub type Epoch = u64;

/// For each input partition, the next offset that is not yet included. A partition that is absent stands at its start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frontier {
    /// `(stream, partition) -> next offset`.
    pub offsets: BTreeMap<(ObjectId, i32), i64>,
}

impl Frontier {
    /// The next offset of a partition, or `None` if it was never read.
    pub fn get(&self, stream: ObjectId, partition: i32) -> Option<i64> {
        self.offsets.get(&(stream, partition)).copied()
    }

    /// Moves a partition; never backwards.
    pub fn advance(&mut self, stream: ObjectId, partition: i32, next: i64) {
        let slot = self.offsets.entry((stream, partition)).or_insert(next);
        *slot = (*slot).max(next);
    }

    /// True when every partition of `other` is at or before this frontier.
    pub fn covers(&self, other: &Frontier) -> bool {
        other.offsets.iter().all(|(k, v)| *v <= self.offsets.get(k).copied().unwrap_or(0))
    }

    /// A canonical binary form (for the epoch journal): count, then stream id, partition, offset, big endian.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(4 + self.offsets.len() * 28);
        out.extend_from_slice(&(self.offsets.len() as u32).to_be_bytes());
        for ((id, p), o) in &self.offsets {
            out.extend_from_slice(&id.to_bytes());
            out.extend_from_slice(&p.to_be_bytes());
            out.extend_from_slice(&o.to_be_bytes());
        }
        out
    }

    /// Reads what [`Frontier::encode`] wrote; `None` if the bytes are not exactly that.
    pub fn decode(bytes: &[u8]) -> Option<Frontier> {
        Self::decode_prefix(bytes).filter(|(_, rest)| rest.is_empty()).map(|(frontier, _)| frontier)
    }

    /// As [`Frontier::decode`], and the bytes that follow.
    pub fn decode_prefix(bytes: &[u8]) -> Option<(Frontier, &[u8])> {
        let (count, rest) = bytes.split_first_chunk::<4>()?;
        let count = u32::from_be_bytes(*count) as usize;
        let (mut rest, after) = rest.split_at_checked(count.checked_mul(28)?)?;
        let mut frontier = Frontier::default();
        for _ in 0..count {
            let (id, r) = rest.split_first_chunk::<16>()?;
            let (p, r) = r.split_first_chunk::<4>()?;
            let (o, r) = r.split_first_chunk::<8>()?;
            frontier.offsets.insert((ObjectId::from_bytes(*id), i32::from_be_bytes(*p)), i64::from_be_bytes(*o));
            rest = r;
        }
        Some((frontier, after))
    }
}
