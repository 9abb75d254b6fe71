use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use fleuve_types::{Error, Result};

use super::csv::Order;
use super::limits::{MAX_BATCH_LINES, MAX_OPEN_FILES};
use super::position::{decode, encode};
use super::reader::{Ending, Next, Reader};
use super::scan::{Tracked, scan};
use super::{CsvRows, FileOptions};

/// A line of a file, or a row of a CSV file: the value of one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The line without its end (`\n` or `\r\n`); of a CSV file the row, with its fields in the order of the columns.
    pub bytes: Bytes,
    /// The file's path when it was read.
    pub file: Arc<str>,
    /// The number in the file of the line that it begins in, from 1; a header line counts.
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
    /// A file, and the line in it at which a row begins whose quotes are not closed yet: what follows waits for that.
    pub in_quotes: Option<(String, u64)>,
    /// Nothing will ever come again: all files were read to their end and the source does not follow them.
    pub end: bool,
}

/// Reads the lines, or of CSV files the rows, of the files that match a path. One per thread; every call does blocking I/O.
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
    /// Set by whoever wants a poll to end early.
    stop: Arc<AtomicBool>,
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
            stop: Arc::default(),
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

    /// Has polls end soon, with the lines that were read so far, once `stop` is set.
    pub fn stopped_by(self, stop: Arc<AtomicBool>) -> FileSource {
        FileSource { stop, ..self }
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    /// The lines that come, up to about `max_bytes` of them and at least one if there is one. Empty when nothing is new: call
    /// again after a while.
    ///
    /// # Errors
    /// Io or Input, naming the file: it cannot be read, when the source does not follow; one that follows tries such a file again when it
    /// changes, and goes on with the others. Input: the header of a CSV file has the columns in an order that can only be guessed. Limit: too many
    /// files. After an error the source stands where it stood.
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
            if scanned || !self.options.follow || !out.lines.is_empty() || self.is_stopped() {
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
        let end = self.drained && !self.options.follow && !self.is_stopped();
        let open = self.tracked.iter().find(|t| t.reader.as_ref().is_some_and(Reader::is_open));
        let in_quotes = open.map(|t| (t.known.path.clone(), t.known.lines + 1));
        Ok(Batch { lines: out.finish(), position: self.position.clone(), in_quotes, end })
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

    /// Reads one file; true when the batch is full, or reading shall stop.
    fn read(&mut self, at: usize, out: &mut Collected) -> Result<bool> {
        let t = &mut self.tracked[at];
        if (t.stamp.is_none() && t.reader.is_none()) || (t.stamp.is_some() && t.ended == t.stamp) {
            return Ok(false);
        }
        if t.failed.is_some() && t.failed == t.stamp {
            return Ok(false);
        }
        let lines = out.lines.len();
        match read_lines(t, &self.options, &self.stop, out) {
            Ok(Read::Full) => return Ok(true),
            // What is in quotes now may be half a row that is being written: it has until nothing came twice.
            Ok(Read::End) if is_quoted_anew(t) => {
                if out.lines.len() == lines {
                    t.quoted = t.stamp;
                }
            }
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
            Ok(Read::Refused(error)) => {
                t.reader = None;
                return if out.lines.is_empty() { Err(error) } else { Ok(true) };
            }
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

/// True when a file that nobody writes to, as far as its name tells, turns out to end in quotes.
fn is_quoted_anew(t: &Tracked) -> bool {
    !t.name.is_live() && t.quoted != t.stamp && t.reader.as_ref().is_some_and(Reader::is_open)
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
    /// The batch is full, or reading shall stop.
    Full,
    /// The file has no more now.
    End,
    /// The file is not the known one at the moment, or not ready: the next scan tells.
    Later,
    /// The file's header does not fit.
    Refused(Error),
}

fn read_lines(t: &mut Tracked, options: &FileOptions, stop: &AtomicBool, out: &mut Collected) -> std::io::Result<Read> {
    if t.reader.is_none() {
        let Some(reader) = Reader::open(Path::new(&t.known.path), t.known.offset, stop)? else {
            return Ok(Read::Later);
        };
        if reader.identity()? != (t.known.device, t.known.inode) {
            return Ok(Read::Later);
        }
        t.reader = Some(reader);
        if t.known.offset > 0
            && let Some(read) = read_header(t, options, stop)?
        {
            return Ok(read);
        }
    }
    let ending = match options.follow {
        false => Ending::Final,
        true if t.quoted.is_some() && t.quoted == t.stamp => Ending::Quiet,
        true => Ending::Open,
    };
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
        let line = match reader.next(options.max_line_bytes, ending, options.csv.as_ref(), stop)? {
            Next::Line(line) => line,
            Next::Nothing => return Ok(Read::End),
            Next::Stopped => return Ok(Read::Full),
        };
        let header = options.header && t.known.offset == 0;
        if header && let Some(csv) = &options.csv {
            match order_of(reader.bytes(line.text.clone()), line.oversize, csv, &file) {
                Ok(order) => reader.order = order,
                Err(error) => return Ok(Read::Refused(error)),
            }
        }
        let line_no = t.known.lines + 1;
        t.known.offset += line.bytes;
        t.known.lines += line.lines;
        if header {
            t.known.fingerprint.leave_out(line.raw.len() as u64);
        }
        t.known.fingerprint.extend(reader.bytes(line.raw.clone()), line.raw.len() as u64 == line.bytes);
        if header || (options.skip_empty_lines && line.text.is_empty()) {
            continue;
        }
        let start = out.buffer.len();
        let text = reader.bytes(line.text);
        match (&options.csv, &reader.order) {
            (Some(csv), Some(order)) if !line.oversize => order.arrange(text, csv, &mut out.buffer),
            _ => out.buffer.extend_from_slice(text),
        }
        out.lines.push((start..out.buffer.len(), file.clone(), line_no, line.oversize));
    }
}

/// Reads once more the header of a file that goes on somewhere behind it; what keeps the file from being read.
fn read_header(t: &mut Tracked, options: &FileOptions, stop: &AtomicBool) -> std::io::Result<Option<Read>> {
    let Some(csv) = options.csv.as_ref().filter(|_| options.header) else { return Ok(None) };
    let Some(mut from_start) = Reader::open(Path::new(&t.known.path), 0, stop)? else { return Ok(Some(Read::Later)) };
    if from_start.identity()? != (t.known.device, t.known.inode) {
        return Ok(Some(Read::Later));
    }
    let Next::Line(line) = from_start.next(options.max_line_bytes, Ending::Final, Some(csv), stop)? else {
        return Ok(Some(Read::Later));
    };
    match (order_of(from_start.bytes(line.text), line.oversize, csv, &t.known.path), &mut t.reader) {
        (Ok(order), Some(reader)) => reader.order = order,
        (Ok(_), None) => {}
        (Err(error), _) => return Ok(Some(Read::Refused(error))),
    }
    Ok(None)
}

/// The order of a file's fields.
///
/// # Errors
/// Input: its header says one that can only be guessed.
fn order_of(header: &[u8], is_cut: bool, csv: &CsvRows, file: &str) -> Result<Option<Order>> {
    if is_cut {
        return Ok(None);
    }
    Order::of_header(header, csv).map_err(|names| {
        let columns = csv.columns.join(", ");
        Error::input(format!("the header of {file} has the columns ({names}), and the stream has ({columns})")).hint(
            "write all of the stream's columns into the header, in any order, and no others, or other words for them in the stream's order; \
             or make a stream that has the file's columns",
        )
    })
}
