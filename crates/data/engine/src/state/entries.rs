//! Entries of a state, copied out of it in no order, to be sorted and written as a run elsewhere: what a checkpoint takes along, while the
//! steps go on.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use fleuve_types::Result;

use super::in_order::{self, Item};
use super::runs::{Run, RunWriter, Space};
use super::tables::{PREFIX, entry_parts};

/// What all that copy a state may take together, in bytes.
pub(crate) struct Room(AtomicUsize);

/// So much of it is taken at once.
const ROOM_AT_ONCE: usize = 64 << 10;

impl Room {
    pub(crate) fn of(bytes: usize) -> Self {
        Self(AtomicUsize::new(bytes))
    }

    /// What is left.
    pub(crate) fn left(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    fn take(&self, bytes: usize) -> bool {
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes)).is_ok()
    }
}

/// Entries that one thread copied.
#[derive(Default)]
pub(crate) struct Entries {
    /// Of each entry its key (as `entry_key` makes it) and then its value.
    bytes: Vec<u8>,
    spans: Vec<Span>,
    /// Taken of the room, and not used yet.
    taken: usize,
    is_over: bool,
}

struct Span {
    hash: u64,
    from: usize,
    key_len: u32,
    /// The value's length; absent where the key is gone.
    value_len: Option<u32>,
}

impl Entries {
    /// Adds an entry; without a value it says that the row is gone. False if there is no room for it.
    pub(crate) fn push(
        &mut self,
        room: &Room,
        hash: u64,
        (part, key, row): (u8, &[u8], &[u8]),
        value: Option<&[u8]>,
    ) -> bool {
        let from = self.bytes.len();
        let lens = (u32::try_from(PREFIX + key.len() + row.len()), value.map(|v| u32::try_from(v.len())).transpose());
        let (Ok(key_len), Ok(value_len)) = lens else {
            self.is_over = true;
            return false;
        };
        let more = key_len as usize + value_len.unwrap_or(0) as usize + size_of::<Span>() + size_of::<Item>();
        if more > self.taken {
            let wanted = more.max(ROOM_AT_ONCE);
            if self.spans.len() >= u32::MAX as usize || !room.take(wanted) {
                self.is_over = true;
                return false;
            }
            self.taken += wanted;
        }
        self.taken -= more;
        self.bytes.push(part);
        self.bytes.extend_from_slice(&(key.len() as u32).to_be_bytes());
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(row);
        self.bytes.extend_from_slice(value.unwrap_or_default());
        self.spans.push(Span { hash, from, key_len, value_len });
        true
    }

    /// True if it lacks entries that there was no room for.
    pub(crate) fn is_over(&self) -> bool {
        self.is_over
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    fn key(&self, at: usize) -> &[u8] {
        let span = &self.spans[at];
        &self.bytes[span.from..span.from + span.key_len as usize]
    }

    fn value(&self, at: usize) -> Option<&[u8]> {
        let span = &self.spans[at];
        let from = span.from + span.key_len as usize;
        span.value_len.map(|len| &self.bytes[from..from + len as usize])
    }
}

/// Writes entries as one run; no run if there are none. An entry that is there twice is written once.
///
/// # Errors
/// [`fleuve_types::ErrorKind::Io`]; the entries are as they were.
pub(crate) fn write_entries(entries: &[Entries], space: &Arc<Space>, place: &str) -> Result<Option<Arc<Run>>> {
    let mut items = vec![];
    for (source, of) in (0..).zip(entries) {
        items.extend((0..).zip(&of.spans).map(|(at, span)| Item { hash: span.hash, source, at }));
    }
    if items.is_empty() {
        return Ok(None);
    }
    let of = |item: &Item| (&entries[item.source as usize], item.at as usize);
    let nothing: (u8, &[u8], &[u8]) = (0, &[], &[]);
    in_order::sort(&mut items, |item| {
        let (entries, at) = of(item);
        entry_parts(entries.key(at)).unwrap_or(nothing)
    });
    let mut writer = RunWriter::create(space, place, items.len() as u64)?.plain();
    let mut last: &[u8] = &[];
    for item in &items {
        let (entries, at) = of(item);
        let key = entries.key(at);
        // A row can have gone more than once.
        if key != last {
            writer.add(item.hash, key, entries.value(at))?;
        }
        last = key;
    }
    writer.finish().map(Some)
}

#[cfg(test)]
mod tests;
