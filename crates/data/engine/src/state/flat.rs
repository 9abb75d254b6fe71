//! A run is written in pieces: while one is compressed and handed to the file, the next is put together.

use fleuve_types::Result;

use super::runs::RunWriter;
use super::tables::entry_key;
use crate::operators::both;

/// So many entries are a piece.
pub(crate) const PIECE: usize = 4_096;

/// Entries in their order, as bytes one after the other.
#[derive(Default)]
pub(crate) struct Flat {
    bytes: Vec<u8>,
    key: Vec<u8>,
    entries: Vec<Entry>,
}

struct Entry {
    hash: u64,
    key_end: usize,
    end: usize,
    is_gone: bool,
}

impl Flat {
    /// Adds an entry after those that are there; without a value it says that its row is gone.
    pub(crate) fn push(&mut self, hash: u64, (part, key, row): (u8, &[u8], &[u8]), value: Option<&[u8]>) {
        entry_key(&mut self.key, part, key, row);
        self.bytes.extend_from_slice(&self.key);
        let key_end = self.bytes.len();
        self.bytes.extend_from_slice(value.unwrap_or_default());
        self.entries.push(Entry { hash, key_end, end: self.bytes.len(), is_gone: value.is_none() });
    }

    fn write(&self, writer: &mut RunWriter) -> Result<()> {
        let mut from = 0;
        for entry in &self.entries {
            let (key, value) = (&self.bytes[from..entry.key_end], &self.bytes[entry.key_end..entry.end]);
            writer.add(entry.hash, key, (!entry.is_gone).then_some(value))?;
            from = entry.end;
        }
        Ok(())
    }
}

/// Writes the entries that `make` makes of items, a piece at a time and in their order.
///
/// # Errors
/// What `make` gives, and those of [`RunWriter::add`].
pub(crate) fn write_pieces<I: Sync>(
    writer: &mut RunWriter,
    items: &[I],
    mut make: impl FnMut(&[I]) -> Result<Flat> + Send,
) -> Result<()> {
    let mut ready = Flat::default();
    for items in items.chunks(PIECE) {
        let (written, next) = both(items.len(), || ready.write(writer), || make(items));
        written?;
        ready = next?;
    }
    ready.write(writer)
}
