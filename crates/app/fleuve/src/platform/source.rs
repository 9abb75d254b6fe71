//! Running sources: a thread each, from files into a stream, exactly once.
//!
//! The position of a source is a mark of the log, set in the same atomic append as the records it stands behind.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use fleuve_connect::{CsvRows, FileOptions, FileSource};
use fleuve_formats::{Format, FormatSpec};
use fleuve_log::Log;
use fleuve_log::batch::{BatchBuilder, NewRecord};
use fleuve_sql::SourceSpec;
use fleuve_types::{Clock, Error, ObjectId, Result};
use parking_lot::Mutex;
use tokio::runtime::Handle;

/// A source reads about this much between two appends.
const POLL_BYTES: usize = 1 << 20;
/// Between looks at files that did not grow.
const IDLE: Duration = Duration::from_millis(100);
/// Between tries after a failure.
const RETRY: Duration = Duration::from_secs(2);

/// How a source is doing.
#[derive(Default)]
pub struct SourceStatus {
    pub records: AtomicU64,
    pub ended: AtomicBool,
    pub error: Mutex<Option<String>>,
    pub file: Mutex<String>,
}

/// A source at work; stops when dropped.
pub struct RunningSource {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
    pub status: Arc<SourceStatus>,
}

/// The mark that holds a source's position.
pub fn mark_of(source: ObjectId) -> String {
    format!("source/{source}")
}

struct Work {
    id: ObjectId,
    into: ObjectId,
    options: FileOptions,
    log: Log,
    clock: Arc<dyn Clock>,
    runtime: Handle,
    stop: Arc<AtomicBool>,
    status: Arc<SourceStatus>,
    /// Grows with each append; spreads them over the partitions.
    turn: i32,
}

/// Checks a source's options and that its file can be read.
pub fn check(spec: &SourceSpec) -> Result<FileOptions> {
    if spec.connector != "file" {
        return Err(Error::unsupported(format!("there is no connector '{}'", spec.connector)).hint("there is: file"));
    }
    FileOptions::new(&spec.options)
}

/// That a source finds no file yet; `None` when it has one to read.
pub fn finds_nothing(spec: &SourceSpec) -> Option<String> {
    let options = check(spec).ok()?;
    if fleuve_connect::names_a_file(&options.path) {
        return None;
    }
    // What a relative path is relative to is not what the client thinks it is.
    let looked_at =
        std::path::absolute(&options.path).map_or_else(|_| options.path.clone(), |p| p.display().to_string());
    Some(format!("no file matches '{looked_at}' on the server yet; one that comes is read"))
}

impl RunningSource {
    pub fn start(
        id: ObjectId,
        spec: &SourceSpec,
        format: &FormatSpec,
        log: Log,
        clock: Arc<dyn Clock>,
        runtime: Handle,
    ) -> Result<RunningSource> {
        let mut options = check(spec)?;
        options.header |= format.header();
        options.csv = format.csv_marks().map(|(delimiter, quote)| CsvRows {
            delimiter,
            quote,
            columns: format.schema().fields().iter().map(|field| field.name().clone()).collect(),
        });
        // An empty line is no record of these formats, and would only be a dead letter.
        let blank_is_nothing = matches!(format.format(), Format::Json | Format::CombinedLog | Format::Csv);
        options.skip_empty_lines |= blank_is_nothing && !spec.options.contains_key("skip_empty_lines");
        let (stop, status) = (Arc::new(AtomicBool::new(false)), Arc::new(SourceStatus::default()));
        let mut work = Work {
            id,
            into: spec.into,
            options,
            log,
            clock,
            runtime,
            stop: stop.clone(),
            status: status.clone(),
            turn: 0,
        };
        let thread = std::thread::Builder::new()
            .name("source".into())
            .spawn(move || work.run())
            .map_err(|e| Error::io("start a source", e))?;
        Ok(RunningSource { stop, thread: Some(thread), status })
    }
}

impl Drop for RunningSource {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

impl Work {
    fn stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    fn run(&mut self) {
        while !self.stopped() {
            match self.read() {
                Ok(()) => return,
                Err(e) => {
                    let text = e.to_string();
                    // Once: `fleuve.sources` says it as long as it is so.
                    if self.status.error.lock().replace(text.clone()) != Some(text) {
                        tracing::warn!(source = %self.id, error = %e, "a source failed and is tried again");
                    }
                    std::thread::park_timeout(RETRY);
                }
            }
        }
    }

    /// Reads until the end, a stop, or a failure; begins at the stored position.
    fn read(&mut self) -> Result<()> {
        let position = self.log.mark(&mark_of(self.id));
        let mut source = FileSource::open(self.options.clone(), position.as_deref())?.stopped_by(self.stop.clone());
        while !self.stopped() {
            let batch = source.poll(POLL_BYTES)?;
            *self.status.error.lock() = None;
            if batch.lines.is_empty() {
                if let Some((file, line)) = batch.in_quotes {
                    *self.status.file.lock() = format!("{file}:{line}, in quotes that are not closed yet");
                }
                if batch.end {
                    self.status.ended.store(true, Ordering::SeqCst);
                    return Ok(());
                }
                std::thread::park_timeout(IDLE);
                continue;
            }
            let now = self.clock.now_ms();
            let mut builder = BatchBuilder::new();
            for line in &batch.lines {
                let record = NewRecord { timestamp_ms: now, key: None, value: Some(&line.bytes), headers: &[] };
                builder.push(&record).map_err(|e| Error::bug(e.to_string()))?;
            }
            let bytes = builder.build().map_err(|e| Error::bug(e.to_string()))?;
            let partitions = self.log.topic(self.into).map_or(1, |t| t.partitions).max(1);
            self.turn = (self.turn + 1) % partitions;
            let mark = (mark_of(self.id), Some(Bytes::from(batch.position)));
            let parts = vec![(self.into, self.turn, bytes)];
            self.runtime.block_on(self.log.append_atomic(parts, vec![mark])).map_err(Error::from)?;
            self.status.records.fetch_add(batch.lines.len() as u64, Ordering::Relaxed);
            if let Some(line) = batch.lines.last() {
                *self.status.file.lock() = format!("{}:{}", line.file, line.line_no);
            }
        }
        Ok(())
    }
}
