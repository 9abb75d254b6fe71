use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use fleuve_types::{Error, Result};

use super::FileOptions;
use super::limits::{MAX_BATCH_LINES, MAX_OPEN_FILES};
use super::position::{decode, encode};
use super::reader::{Next, Reader};
use super::scan::{Tracked, scan};

/// A line of a file: the value of one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The line without its end (`\n` or `\r\n`).
    pub bytes: Bytes,
    /// The file's path when it was read.
    pub file: Arc<str>,
    /// The line's number in the file, from 1; a header line counts.
    pub line_no: u64,
    /// The line is longer than `max_line_bytes`: `bytes` is its beginning, and it belongs to the dead letters.
    pub oversize: bool,
}

/// What a poll gave.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The lines, in the order of each file.
    pub lines: Vec<Line>,
    /// Where the source stands after these lines. Store it atomically with them; [`FileSource::open`] goes on from there.
    pub position: Vec<u8>,
    /// Nothing will ever come again: all files were read to their end and the source does not follow them.
    pub end: bool,
}

/// Reads the lines of the files that match a path. One per thread; every call does blocking I/O.
pub struct FileSource {
    options: FileOptions,
    /// Oldest generation of each log first.
    tracked: Vec<Tracked>,
    /// The position as it was last encoded.
    position: Vec<u8>,
    changed: bool,
    /// The last poll read all there was, so it is time to look for files again.
    drained: bool,
    /// The file with which the next poll begins.
    turn: usize,
    /// There was a stored position when it was opened.
    resumed: bool,
}

impl FileSource {
    /// Opens a source, at the start of every file or at a stored position.
    ///
    /// # Errors
    /// `NotFound` when nothing matches the path and the source does not follow. Input: the position is none.
    pub fn open(options: FileOptions, position: Option<&[u8]>) -> Result<FileSource> {
        let known = position.map(decode).transpose()?.unwrap_or_default();
        let mut source = FileSource {
            options,
            tracked: known.into_iter().map(Tracked::new).collect(),
            position: position.unwrap_or_default().to_vec(),
            changed: position.is_none(),
            drained: true,
            turn: 0,
            resumed: position.is_some(),
        };
        if !source.options.follow {
            scan(&source.options.path, &mut source.tracked, true)?;
            // After a restart, what was read before may have been taken away since.
            if source.tracked.iter().all(|t| t.stamp.is_none()) && !source.resumed {
                return Err(nothing_matches(&source.options.path));
            }
        }
        Ok(source)
    }

    /// The lines that come, up to about `max_bytes` of them and at least one if there is one. Empty when nothing is new: call
    /// again after a while.
    ///
    /// # Errors
    /// Io or Input, naming the file: it cannot be read, when the source does not follow; one that follows tries such a file again when it
    /// changes, and goes on with the others. Limit: too many files. After an error the source stands where it stood.
    pub fn poll(&mut self, max_bytes: usize) -> Result<Batch> {
        let mut out = Collected { buffer: Vec::new(), lines: Vec::new(), max_bytes };
        loop {
            let scanned = self.options.follow && self.drained;
            if scanned {
                let files = self.tracked.len();
                scan(&self.options.path, &mut self.tracked, true)?;
                self.changed |= files != self.tracked.len();
            }
            self.read_all(&mut out)?;
            // Nothing came from the files of the last scan, but there may be others by now.
            if scanned || !self.options.follow || !out.lines.is_empty() {
                break;
            }
        }
        self.close_surplus();
        self.changed |= !out.lines.is_empty();
        if self.changed {
            // What was not begun is as good as new to whoever goes on from here.
            self.position = encode(self.tracked.iter().map(|t| &t.known).filter(|known| known.offset > 0))?;
            self.changed = false;
        }
        let end = self.drained && !self.options.follow;
        Ok(Batch { lines: out.finish(), position: self.position.clone(), end })
    }

    /// Reads the files in turn until the batch is full.
    fn read_all(&mut self, out: &mut Collected) -> Result<()> {
        let count = self.tracked.len();
        let mut full = None;
        for step in 0..count {
            let at = (self.turn + step) % count;
            if self.read(at, out)? {
                full = Some(at);
                break;
            }
        }
        self.drained = full.is_none();
        // A file that is written to all the time must not keep others waiting; the generations of a log keep their order.
        self.turn = match full {
            Some(at) if self.tracked[at].name.is_live() => (at + 1) % count,
            _ => 0,
        };
        Ok(())
    }

    /// Reads one file; true when the batch is full.
    fn read(&mut self, at: usize, out: &mut Collected) -> Result<bool> {
        let t = &mut self.tracked[at];
        if (t.stamp.is_none() && t.reader.is_none()) || (t.stamp.is_some() && t.ended == t.stamp) {
            return Ok(false);
        }
        if t.failed.is_some() && t.failed == t.stamp {
            return Ok(false);
        }
        match read_lines(t, &self.options, out) {
            Ok(Read::Full) => return Ok(true),
            Ok(Read::End) => {
                t.failed = None;
                t.ended = t.stamp;
                // An open file can be read to its end even if it is moved away; one that nobody writes to need not be.
                let done =
                    !t.name.is_live() || !self.options.follow || t.reader.as_ref().is_some_and(Reader::is_compressed);
                if done && t.stamp.is_some() {
                    t.reader = None;
                }
            }
            Ok(Read::Later) => t.reader = None,
            // Moved since the scan.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && self.options.follow => t.reader = None,
            Err(e) => {
                t.reader = None;
                let error = Error::io(format!("{} after line {}", t.known.path, t.known.lines), e);
                if !self.options.follow {
                    // What was read before goes out first; the error comes back with the next poll.
                    return if out.lines.is_empty() { Err(error) } else { Ok(true) };
                }
                tracing::warn!("{error}; it is tried again when it changes");
                t.failed = t.stamp;
            }
        }
        Ok(false)
    }

    /// Keeps the number of open files within its limit: closes first what is gone, then what was at its end.
    fn close_surplus(&mut self) {
        let open = self.tracked.iter().filter(|t| t.reader.is_some()).count();
        let mut surplus = open.saturating_sub(MAX_OPEN_FILES);
        for gone in [true, false] {
            for t in self.tracked.iter_mut().filter(|t| t.reader.is_some() && t.stamp.is_none() == gone) {
                if surplus == 0 {
                    return;
                }
                t.reader = None;
                surplus -= 1;
            }
        }
    }
}

fn nothing_matches(path: &str) -> Error {
    Error::not_found(format!("no file matches path = '{path}'"))
        .hint("check the path, or set follow = true to wait for it")
}

/// Lines of one batch, in one buffer.
struct Collected {
    buffer: Vec<u8>,
    lines: Vec<(std::ops::Range<usize>, Arc<str>, u64, bool)>,
    max_bytes: usize,
}

impl Collected {
    fn is_full(&self) -> bool {
        !self.lines.is_empty() && (self.buffer.len() >= self.max_bytes || self.lines.len() >= MAX_BATCH_LINES)
    }

    fn finish(self) -> Vec<Line> {
        let all = Bytes::from(self.buffer);
        let line = |(range, file, line_no, oversize)| Line { bytes: all.slice(range), file, line_no, oversize };
        self.lines.into_iter().map(line).collect()
    }
}

enum Read {
    /// The batch is full.
    Full,
    /// The file has no more now.
    End,
    /// The file is not the known one at the moment, or not ready: the next scan tells.
    Later,
}

fn read_lines(t: &mut Tracked, options: &FileOptions, out: &mut Collected) -> std::io::Result<Read> {
    if t.reader.is_none() {
        let Some(reader) = Reader::open(Path::new(&t.known.path), t.known.offset)? else { return Ok(Read::Later) };
        if reader.identity()? != (t.known.device, t.known.inode) {
            return Ok(Read::Later);
        }
        t.reader = Some(reader);
    }
    let fingerprint = *t.fingerprint();
    let Some(reader) = &mut t.reader else { return Ok(Read::Later) };
    // It may have been truncated since the scan, or moved away and truncated.
    if let Some(head) = reader.plain_head(fingerprint.bytes)?
        && (!fingerprint.matches(&head) || reader.stored_bytes()? < t.known.offset)
    {
        return Ok(Read::Later);
    }
    let file: Arc<str> = t.known.path.as_str().into();
    loop {
        if out.is_full() {
            return Ok(Read::Full);
        }
        let line = match reader.next(options.max_line_bytes, !options.follow)? {
            Next::Line(line) => line,
            Next::Nothing => return Ok(Read::End),
        };
        t.known.offset += line.bytes;
        t.known.lines += 1;
        let header = options.header && t.known.lines == 1;
        if header {
            t.known.fingerprint.leave_out(line.raw.len() as u64);
        }
        t.known.fingerprint.extend(reader.bytes(line.raw.clone()), line.raw.len() as u64 == line.bytes);
        if header || (options.skip_empty_lines && line.text.is_empty()) {
            continue;
        }
        let start = out.buffer.len();
        out.buffer.extend_from_slice(reader.bytes(line.text));
        out.lines.push((start..out.buffer.len(), file.clone(), t.known.lines, line.oversize));
    }
}
