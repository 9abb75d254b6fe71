//! Reads a run.
//!
//! A file is its blocks, then the filter, the index (for each block its first hash and its offset, both u64), and a footer of
//! fixed length: magic, checksum of all of that but the blocks, and the numbers of [`Footer`].

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use fleuve_types::Result;

use super::block::{self, Cursor, OVERHEAD, damaged};
use super::files::RunFile;
use super::filter::Filter;
use super::set::{RunRef, Space};
use crate::state::hash_bytes;

/// The last bytes of a run: name and version of the format.
const MAGIC: &[u8; 8] = b"FLVSRT01";
const FOOTER_BYTES: usize = 64;
/// Scans read about this much at once, but less in the beginning.
const READ_BYTES: u64 = 128 << 10;
const FIRST_READ_BYTES: u64 = 8 << 10;

/// What is known of a run beside its entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Footer {
    pub(super) entries: u64,
    /// Different hashes.
    pub(super) hashes: u64,
    /// Entries that say that a key is gone.
    pub(super) gone: u64,
    blocks_bytes: u64,
    filter_bytes: u64,
    bytes: u64,
}

impl Footer {
    /// What follows the blocks, which end at `offset`: filter, index, footer.
    pub(super) fn tail(&mut self, offset: u64, filter: &Filter, index: &mut Index) -> [Vec<u8>; 3] {
        index.end = offset;
        let (filter, index) = (filter.to_bytes(), index.to_bytes());
        self.blocks_bytes = offset;
        self.filter_bytes = filter.len() as u64;
        self.bytes = offset + (filter.len() + index.len() + FOOTER_BYTES) as u64;
        let mut footer = vec![];
        for n in [self.entries, self.hashes, self.gone, self.blocks_bytes, self.filter_bytes, self.bytes] {
            footer.extend_from_slice(&n.to_le_bytes());
        }
        let sum = checksum(&filter, &index, &footer);
        footer.extend_from_slice(&sum.to_le_bytes());
        footer.extend_from_slice(MAGIC);
        [filter, index, footer]
    }
}

fn checksum(filter: &[u8], index: &[u8], numbers: &[u8]) -> u64 {
    let sums = [filter, index, numbers].map(|part| hash_bytes(part).to_le_bytes());
    hash_bytes(&sums.concat())
}

/// Where the blocks of a run begin.
#[derive(Default)]
pub(super) struct Index {
    first: Vec<u64>,
    offset: Vec<u64>,
    /// Where the last one ends.
    end: u64,
}

impl Index {
    pub(super) fn push(&mut self, first: u64, offset: u64) {
        self.first.push(first);
        self.offset.push(offset);
    }

    fn to_bytes(&self) -> Vec<u8> {
        let pairs = self.first.iter().zip(&self.offset);
        pairs.flat_map(|(first, offset)| [first.to_le_bytes(), offset.to_le_bytes()]).flatten().collect()
    }

    fn from_bytes(bytes: &[u8], end: u64) -> Option<Self> {
        let (pairs, rest) = bytes.as_chunks::<16>();
        let mut index = Self { end, ..Self::default() };
        index.first.reserve_exact(pairs.len());
        index.offset.reserve_exact(pairs.len());
        for pair in pairs {
            let (first, offset) = pair.split_at(8);
            index.push(u64::from_le_bytes(first.try_into().ok()?), u64::from_le_bytes(offset.try_into().ok()?));
        }
        let starts = index.offset.first().is_none_or(|o| *o == 0);
        let ascends = index.offset.windows(2).all(|w| w[0] + OVERHEAD as u64 <= w[1]) && index.first.is_sorted();
        let ends = index.offset.last().map_or(end == 0, |o| *o + OVERHEAD as u64 <= end);
        (rest.is_empty() && starts && ascends && ends).then_some(index)
    }

    fn len(&self) -> usize {
        self.first.len()
    }

    fn range(&self, block: usize) -> (u64, u64) {
        (self.offset[block], self.offset.get(block + 1).copied().unwrap_or(self.end))
    }

    /// The first block, from `from` on, that can hold a hash.
    fn find(&self, from: usize, hash: u64) -> usize {
        // Entries of one hash may begin at the end of the block before the one that begins with it.
        let after = from + self.first[from..].partition_point(|first| *first < hash);
        after.saturating_sub(1).max(from)
    }

    fn bytes(&self) -> usize {
        (self.first.capacity() + self.offset.capacity()) * 8
    }
}

/// One entry: its value is absent where the key is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry<'a> {
    pub(crate) hash: u64,
    pub(crate) key: &'a [u8],
    pub(crate) value: Option<&'a [u8]>,
}

/// A run. Its file goes with it unless a checkpoint has named it.
pub(crate) struct Run {
    space: Arc<Space>,
    name: String,
    file: Arc<dyn RunFile>,
    footer: Footer,
    filter: Filter,
    index: Index,
    named: AtomicBool,
}

impl Run {
    pub(super) fn finished(
        space: &Arc<Space>,
        name: String,
        footer: Footer,
        filter: Filter,
        index: Index,
    ) -> Result<Arc<Self>> {
        let file = space.files().open(&name)?;
        Ok(Arc::new(Self { space: space.clone(), name, file, footer, filter, index, named: AtomicBool::new(false) }))
    }

    /// Opens a run that a checkpoint names. Reads its filter and its index, no entry.
    ///
    /// # Errors
    /// [`fleuve_types::ErrorKind::Io`] if it is damaged, [`fleuve_types::ErrorKind::NotFound`] if it is not there.
    pub(crate) fn open(space: &Arc<Space>, name: &str) -> Result<Arc<Self>> {
        let file = space.files().open(name)?;
        let len = file.size()?;
        let end = len.checked_sub(FOOTER_BYTES as u64).ok_or_else(|| damaged("it is too short"))?;
        let mut tail = [0; FOOTER_BYTES];
        file.read_at(end, &mut tail)?;
        let number = |n: usize| u64::from_le_bytes(std::array::from_fn(|i| tail[8 * n + i]));
        if tail[FOOTER_BYTES - 8..] != MAGIC[..] {
            return Err(damaged("it is of another format version"));
        }
        let footer = Footer {
            entries: number(0),
            hashes: number(1),
            gone: number(2),
            blocks_bytes: number(3),
            filter_bytes: number(4),
            bytes: number(5),
        };
        let index_at = footer.blocks_bytes.checked_add(footer.filter_bytes).filter(|at| *at <= end);
        let index_at = index_at.filter(|_| footer.bytes == len).ok_or_else(|| damaged("its footer"))?;
        // Both lengths are now known to be those of the file.
        let mut filter = vec![0; footer.filter_bytes as usize];
        file.read_at(footer.blocks_bytes, &mut filter)?;
        let mut index = vec![0; (end - index_at) as usize];
        file.read_at(index_at, &mut index)?;
        if checksum(&filter, &index, &tail[..48]) != number(6) {
            return Err(damaged("the checksum of its index does not match"));
        }
        let filter = Filter::from_bytes(&filter).ok_or_else(|| damaged("its filter"))?;
        let index = Index::from_bytes(&index, footer.blocks_bytes).ok_or_else(|| damaged("its index"))?;
        let named = AtomicBool::new(true);
        Ok(Arc::new(Self { space: space.clone(), name: name.into(), file, footer, filter, index, named }))
    }

    /// The name of its file.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// How many entries it has.
    pub(crate) fn entries(&self) -> u64 {
        self.footer.entries
    }

    /// How many different hashes its entries have.
    pub(crate) fn hashes(&self) -> u64 {
        self.footer.hashes
    }

    /// How many of its entries say that a key is gone.
    #[cfg(test)]
    pub(crate) fn gone(&self) -> u64 {
        self.footer.gone
    }

    /// The length of its file.
    pub(crate) fn disk_bytes(&self) -> u64 {
        self.footer.bytes
    }

    /// Memory held, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.filter.bytes() + self.index.bytes() + size_of::<Self>()
    }

    /// As a checkpoint is about to name it: its file stays from now on, until a checkpoint that does not name it removes it.
    pub(crate) fn name_it(&self) -> RunRef {
        self.named.store(true, Ordering::SeqCst);
        RunRef { name: self.name.clone(), bytes: self.footer.bytes, passed: vec![] }
    }

    /// True if a checkpoint may name it.
    pub(crate) fn is_named(&self) -> bool {
        self.named.load(Ordering::SeqCst)
    }

    /// False if it surely has no entry of this hash.
    pub(crate) fn may_hold(&self, hash: u64) -> bool {
        self.index.len() > 0 && self.filter.may_hold(hash)
    }

    /// Calls `each` for all entries that have one of these hashes, which ascend. Each block is read once.
    ///
    /// # Errors
    /// What `each` gives; [`fleuve_types::ErrorKind::Io`] if the run cannot be read.
    pub(crate) fn get_many(&self, hashes: &[u64], mut each: impl FnMut(Entry<'_>) -> Result<()>) -> Result<()> {
        let mut reader = BlockReader::default();
        // The block that was read last.
        let mut held = None;
        let mut from = 0;
        for hash in hashes {
            if !self.may_hold(*hash) {
                continue;
            }
            from = self.index.find(from, *hash);
            for number in from..self.index.len() {
                if self.index.first[number] > *hash {
                    break;
                }
                if held != Some(number) {
                    reader.read(self, number)?;
                    held = Some(number);
                }
                let mut cursor = reader.at;
                while cursor.next(&reader.content)? {
                    if cursor.hash < *hash {
                        // What comes later in the block is greater, as are the hashes asked for later.
                        reader.at = cursor;
                        continue;
                    }
                    if cursor.hash > *hash {
                        break;
                    }
                    let content = &reader.content;
                    each(Entry { hash: *hash, key: cursor.key(content), value: cursor.value(content) })?;
                }
            }
        }
        Ok(())
    }

    /// All entries in order.
    #[cfg(test)]
    pub(crate) fn scan(self: &Arc<Self>) -> Scan {
        self.scan_from(0)
    }

    /// The entries from the block on in which the first of this hash lies.
    pub(crate) fn scan_from(self: &Arc<Self>, hash: u64) -> Scan {
        Scan {
            run: self.clone(),
            next: self.index.find(0, hash),
            read_bytes: FIRST_READ_BYTES,
            stored: vec![],
            stored_from: 0,
            content: vec![],
            cursor: Cursor::default(),
        }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if !self.is_named() {
            self.space.files().remove(std::slice::from_ref(&self.name));
        }
    }
}

#[derive(Default)]
struct BlockReader {
    stored: Vec<u8>,
    content: Vec<u8>,
    /// Entries up to here are behind the hashes that are asked for.
    at: Cursor,
}

impl BlockReader {
    fn read(&mut self, run: &Run, number: usize) -> Result<()> {
        let (from, to) = run.index.range(number);
        self.stored.resize((to - from) as usize, 0);
        run.file.read_at(from, &mut self.stored)?;
        self.at = Cursor::default();
        block::open(&self.stored, &mut self.content)
    }
}

/// See [`Run::scan_from`].
pub(crate) struct Scan {
    run: Arc<Run>,
    /// The next block.
    next: usize,
    /// So many bytes are read at once next: more and more, as a short scan does not need what a long one does.
    read_bytes: u64,
    /// Some blocks as they lie in the file, and where they begin there.
    stored: Vec<u8>,
    stored_from: u64,
    content: Vec<u8>,
    cursor: Cursor,
}

impl Scan {
    /// Moves to the next entry; false at the end.
    ///
    /// # Errors
    /// [`fleuve_types::ErrorKind::Io`] if the run cannot be read.
    pub(crate) fn next(&mut self) -> Result<bool> {
        while !self.cursor.next(&self.content)? {
            if self.next == self.run.index.len() {
                return Ok(false);
            }
            self.read_block()?;
        }
        Ok(true)
    }

    /// The entry that [`Scan::next`] moved to.
    pub(crate) fn entry(&self) -> Entry<'_> {
        let (cursor, content) = (&self.cursor, &self.content);
        Entry { hash: cursor.hash, key: cursor.key(content), value: cursor.value(content) }
    }

    fn read_block(&mut self) -> Result<()> {
        let (from, to) = self.run.index.range(self.next);
        if to > self.stored_from + self.stored.len() as u64 {
            let mut last = self.next;
            while last + 1 < self.run.index.len() && self.run.index.range(last + 1).1 - from <= self.read_bytes {
                last += 1;
            }
            self.read_bytes = (2 * self.read_bytes).min(READ_BYTES);
            self.stored_from = from;
            self.stored.resize((self.run.index.range(last).1 - from) as usize, 0);
            self.run.file.read_at(from, &mut self.stored)?;
        }
        let (start, end) = ((from - self.stored_from) as usize, (to - self.stored_from) as usize);
        self.next += 1;
        self.cursor = Cursor::default();
        block::open(&self.stored[start..end], &mut self.content)
    }
}
