//! Writes a run.

use std::sync::Arc;

use fleuve_types::{Error, ErrorKind, Result};

use super::block::{BLOCK_BYTES, BlockWriter, MAX_BLOCK_BYTES};
use super::files::RunFileWriter;
use super::filter::Filter;
use super::run::{Footer, Index, Run};
use super::set::Space;

/// Bytes are handed to the file in pieces of about this length.
const WRITE_BYTES: usize = 256 << 10;

/// A run being written, entry by entry. Dropped before it is finished, it leaves nothing.
pub(crate) struct RunWriter {
    space: Arc<Space>,
    name: String,
    file: Box<dyn RunFileWriter>,
    block: BlockWriter,
    index: Index,
    filter: Filter,
    /// Sealed blocks not yet handed over.
    pending: Vec<u8>,
    offset: u64,
    last: Option<(u64, Vec<u8>)>,
    footer: Footer,
}

impl RunWriter {
    /// Begins a run of at most so many different hashes (more make it slower to read, not wrong). `place` is the folder of its
    /// file.
    pub(crate) fn create(space: &Arc<Space>, place: &str, hashes: u64) -> Result<Self> {
        let name = space.name(place);
        let file = space.files().create(&name)?;
        Ok(Self {
            space: space.clone(),
            name,
            file,
            block: BlockWriter::default(),
            index: Index::default(),
            filter: Filter::with_room(hashes),
            pending: vec![],
            offset: 0,
            last: None,
            footer: Footer::default(),
        })
    }

    /// Leaves its blocks as they are, for a run that is soon merged into another.
    pub(crate) fn plain(mut self) -> Self {
        self.block.is_plain = true;
        self
    }

    /// Adds an entry; they come in ascending order of hash, then key. `None` says that the key is gone.
    ///
    /// # Errors
    /// A bug if they do not ascend; a limit if one is longer than a gigabyte.
    pub(crate) fn add(&mut self, hash: u64, key: &[u8], value: Option<&[u8]>) -> Result<()> {
        let is_new = match &mut self.last {
            Some((last, last_key)) => {
                if (*last, last_key.as_slice()) >= (hash, key) {
                    return Err(Error::bug("the entries of a state run do not ascend"));
                }
                let is_new = *last != hash;
                *last = hash;
                last_key.clear();
                last_key.extend_from_slice(key);
                is_new
            }
            None => {
                self.last = Some((hash, key.to_vec()));
                true
            }
        };
        let len = key.len() + value.map_or(0, <[u8]>::len) + 32;
        if len > MAX_BLOCK_BYTES {
            let text = format!("an entry of {len} bytes is too long for a state run: at most {MAX_BLOCK_BYTES}");
            return Err(Error::new(ErrorKind::Limit, text));
        }
        if is_new {
            self.filter.insert(hash);
            self.footer.hashes += 1;
        }
        self.footer.entries += 1;
        self.footer.gone += u64::from(value.is_none());
        if self.block.len() > 0 && self.block.len() + len > BLOCK_BYTES {
            self.seal()?;
        }
        self.block.add(hash, key, value);
        Ok(())
    }

    fn seal(&mut self) -> Result<()> {
        let from = self.pending.len();
        self.index.push(self.block.first, self.offset);
        self.block.seal(&mut self.pending);
        self.offset += (self.pending.len() - from) as u64;
        if self.pending.len() >= WRITE_BYTES { self.hand_over() } else { Ok(()) }
    }

    fn hand_over(&mut self) -> Result<()> {
        self.file.write(&self.pending)?;
        self.pending.clear();
        Ok(())
    }

    /// How many entries it has.
    pub(crate) fn entries(&self) -> u64 {
        self.footer.entries
    }

    /// The run, which can be read from now on.
    ///
    /// # Errors
    /// [`ErrorKind::Io`]
    pub(crate) fn finish(mut self) -> Result<Arc<Run>> {
        if self.block.len() > 0 {
            self.seal()?;
        }
        self.hand_over()?;
        self.filter.shrink_to(self.footer.hashes);
        let tail = self.footer.tail(self.offset, &self.filter, &mut self.index);
        tail.iter().try_for_each(|part| self.file.write(part))?;
        self.file.finish()?;
        Run::finished(&self.space, self.name, self.footer, self.filter, self.index)
    }
}
