//! Lines of one open file, plain or gzip. Derived state: an offset in the uncompressed content is all it takes to make it again.

use std::fs::File;
use std::io::{self, BufReader, ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use flate2::bufread::MultiGzDecoder;

use super::CsvRows;
use super::csv::{Order, RowEnd};
use super::limits::CHUNK_BYTES;

enum Input {
    Plain(File),
    Gzip(Box<MultiGzDecoder<BufReader<File>>>),
}

/// An open file.
pub(crate) struct Reader {
    input: Input,
    /// Content from the current offset on: the line that comes, maybe only its beginning, and what follows it.
    buffer: Vec<u8>,
    /// Where in `buffer` the line that comes begins.
    start: usize,
    /// Bytes of the line that comes that were dropped because it is too long; they followed the buffer's end.
    dropped: u64,
    /// How far `buffer` was searched for the line's end.
    searched: usize,
    /// Of a CSV file, what was seen of the row that comes.
    row: RowEnd,
    /// Of a CSV file whose fields stand in another order than the columns, that order.
    pub(crate) order: Option<Order>,
}

/// A line that was read. Its text is in the reader until the next call.
pub(crate) struct Taken {
    /// Bytes that the line takes in the file, with its end.
    pub(crate) bytes: u64,
    /// Its text, without its end; cut off when it is too long.
    pub(crate) text: std::ops::Range<usize>,
    /// The bytes of it that are in the reader, with its end; all of them unless it is too long.
    pub(crate) raw: std::ops::Range<usize>,
    pub(crate) oversize: bool,
    /// Lines that it takes in the file.
    pub(crate) lines: u64,
}

/// What the end of a file means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Ending {
    /// More may come.
    Open,
    /// Nobody seems to write any more: quotes that are not closed are not waited for.
    Quiet,
    /// What stands after the last line end is a line, too.
    Final,
}

/// What the file gave.
pub(crate) enum Next {
    Line(Taken),
    /// No whole line is left now.
    Nothing,
    /// Reading shall stop.
    Stopped,
}

impl Reader {
    /// Opens a file and moves to an offset of its uncompressed content. `None` while a compressed file has no header
    /// yet, and when `stop` is set on the way.
    pub(crate) fn open(path: &Path, offset: u64, stop: &AtomicBool) -> io::Result<Option<Self>> {
        let mut file = File::open(path)?;
        let mut magic = [0; 2];
        let read = file.read_at(&mut magic, 0)?;
        let input = if magic == [0x1f, 0x8b] {
            let mut decoder = MultiGzDecoder::new(BufReader::with_capacity(CHUNK_BYTES, file));
            let missing = skip(&mut decoder, offset, stop)?;
            if stop.load(Ordering::SeqCst) {
                return Ok(None);
            }
            if missing > 0 {
                return Err(io::Error::new(ErrorKind::UnexpectedEof, "it is shorter than it was"));
            }
            Input::Gzip(Box::new(decoder))
        } else if read < 2 && path.extension().is_some_and(|e| e == "gz") {
            return Ok(None);
        } else {
            file.seek(SeekFrom::Start(offset))?;
            Input::Plain(file)
        };
        let row = RowEnd::default();
        Ok(Some(Self { input, buffer: Vec::new(), start: 0, dropped: 0, searched: 0, row, order: None }))
    }

    fn file(&self) -> &File {
        match &self.input {
            Input::Plain(file) => file,
            Input::Gzip(decoder) => decoder.get_ref().get_ref(),
        }
    }

    pub(crate) fn is_compressed(&self) -> bool {
        matches!(self.input, Input::Gzip(_))
    }

    /// Device and inode of the open file.
    pub(crate) fn identity(&self) -> io::Result<(u64, u64)> {
        let metadata = self.file().metadata()?;
        Ok((metadata.dev(), metadata.ino()))
    }

    /// The first bytes of a plain file, as it is now.
    pub(crate) fn plain_head(&self, bytes: u64) -> io::Result<Option<Vec<u8>>> {
        match &self.input {
            Input::Plain(file) => read_head(file, bytes).map(Some),
            Input::Gzip(_) => Ok(None),
        }
    }

    /// The size of the file on disk, as it is now.
    pub(crate) fn stored_bytes(&self) -> io::Result<u64> {
        Ok(self.file().metadata()?.len())
    }

    pub(crate) fn bytes(&self, range: std::ops::Range<usize>) -> &[u8] {
        &self.buffer[range]
    }

    /// The next line, or of a CSV file the next row. Looks at `stop` before each chunk that it reads.
    ///
    /// # Errors
    /// Reading failed; a compressed file that is cut off or damaged.
    pub(crate) fn next(
        &mut self,
        max_line_bytes: usize,
        ending: Ending,
        csv: Option<&CsvRows>,
        stop: &AtomicBool,
    ) -> io::Result<Next> {
        loop {
            if let Some(end) = self.find_end(max_line_bytes, csv) {
                return Ok(Next::Line(self.take(end, 1, max_line_bytes)));
            }
            let kept = self.start + max_line_bytes;
            // One more byte than the limit may be the \r of a line that is just as long.
            if self.buffer.len() > kept + 1 {
                if let Some(end) = self.row.first_break() {
                    return Ok(Next::Line(self.take(self.start + end, 1, max_line_bytes)));
                }
                self.dropped += (self.buffer.len() - kept) as u64;
                self.buffer.truncate(kept);
                self.searched = kept;
            }
            if stop.load(Ordering::SeqCst) {
                return Ok(Next::Stopped);
            }
            if self.fill()? == 0 {
                // The end of a compressed file is there to stay.
                let ending = if self.is_compressed() { Ending::Final } else { ending };
                let too_long = ending == Ending::Final && self.buffer.len() > kept;
                let unclosed = ending >= Ending::Quiet && self.row.is_open();
                if let Some(end) = self.row.first_break().filter(|_| too_long || unclosed) {
                    return Ok(Next::Line(self.take(self.start + end, 1, max_line_bytes)));
                }
                let waiting = self.buffer.len() > self.start || self.dropped > 0;
                if waiting && ending == Ending::Final {
                    return Ok(Next::Line(self.take(self.buffer.len(), 0, max_line_bytes)));
                }
                return Ok(Next::Nothing);
            }
        }
    }

    fn find_end(&mut self, max_line_bytes: usize, csv: Option<&CsvRows>) -> Option<usize> {
        // Of what is too long in its first line, the rest of that line goes.
        if let Some((csv, quote)) = csv.and_then(|csv| Some((csv, csv.quote?))).filter(|_| self.dropped == 0) {
            let end = self.row.find(&self.buffer[self.start..], quote, csv.delimiter, max_line_bytes);
            return end.map(|end| self.start + end);
        }
        let found = memchr::memchr(b'\n', &self.buffer[self.searched..]).map(|at| self.searched + at);
        self.searched = found.unwrap_or(self.buffer.len());
        found
    }

    /// True when the row that comes has line ends in quotes that are not closed so far.
    pub(crate) fn is_open(&self) -> bool {
        self.row.is_open() && self.row.first_break().is_some()
    }

    /// Takes the line that ends at `end`, and `newline` bytes after it.
    fn take(&mut self, end: usize, newline: usize, max_line_bytes: usize) -> Taken {
        let start = self.start;
        let breaks = match self.row.first_break() {
            Some(_) => memchr::memchr_iter(b'\n', &self.buffer[start..end]).count(),
            None => 0,
        };
        let bytes = (end - start + newline) as u64 + self.dropped;
        let mut text = start..end;
        if newline == 1 && self.dropped == 0 && self.buffer[text.clone()].last() == Some(&b'\r') {
            text.end -= 1;
        }
        let oversize = self.dropped > 0 || text.len() > max_line_bytes;
        let raw = if self.dropped > 0 { start..start + max_line_bytes } else { start..end + newline };
        if oversize {
            text = start..start + max_line_bytes;
        }
        self.start = end + newline;
        self.searched = self.start;
        self.dropped = 0;
        self.row = self.row.after(bytes);
        Taken { bytes, text, raw, oversize, lines: breaks as u64 + 1 }
    }

    /// Reads on; gives the number of bytes.
    fn fill(&mut self) -> io::Result<usize> {
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.searched -= self.start;
            self.start = 0;
        }
        let before = self.buffer.len();
        self.buffer.resize(before + CHUNK_BYTES, 0);
        let room = &mut self.buffer[before..];
        let read = loop {
            let read = match &mut self.input {
                Input::Plain(file) => file.read(room),
                Input::Gzip(decoder) => decoder.read(room),
            };
            match read {
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        self.buffer.truncate(before + read.as_ref().map_or(0, |n| *n));
        read
    }
}

/// Reads over `bytes` bytes; gives how many of them there are not, or were left when `stop` was set.
fn skip(input: &mut impl Read, bytes: u64, stop: &AtomicBool) -> io::Result<u64> {
    let mut left = bytes;
    while left > 0 && !stop.load(Ordering::SeqCst) {
        match io::copy(&mut input.take(left.min(CHUNK_BYTES as u64)), &mut io::sink())? {
            0 => break,
            skipped => left -= skipped,
        }
    }
    Ok(left)
}

fn read_head(file: &File, bytes: u64) -> io::Result<Vec<u8>> {
    let mut head = vec![0; usize::try_from(bytes).unwrap_or(usize::MAX)];
    let mut filled = 0;
    while filled < head.len() {
        match file.read_at(&mut head[filled..], filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    head.truncate(filled);
    Ok(head)
}

/// The first bytes of a file's uncompressed content; fewer when it is shorter, or is compressed and still being written. The
/// flag says whether it is compressed.
pub(crate) fn head(path: &Path, bytes: u64) -> io::Result<(Vec<u8>, bool)> {
    let file = File::open(path)?;
    let mut magic = [0; 2];
    if file.read_at(&mut magic, 0)? < 2 || magic != [0x1f, 0x8b] {
        return Ok((read_head(&file, bytes)?, false));
    }
    let mut head = Vec::new();
    let mut decoder = MultiGzDecoder::new(BufReader::new(file)).take(bytes);
    let mut chunk = [0; 4096];
    loop {
        match decoder.read(&mut chunk) {
            Ok(0) => break,
            Ok(read) => head.extend_from_slice(&chunk[..read]),
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    Ok((head, true))
}
