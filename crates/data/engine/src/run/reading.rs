//! Reading what an epoch takes in. A stream that cannot be read stops the views that read it, and nothing else.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use fleuve_types::{ColumnPart, Delta, Error, ErrorKind, Frontier, ObjectId, Result};
use rayon::prelude::*;

use super::build::READING;
use super::core::Core;
use super::times::{Sorted, StreamTimes, TimeAt, with_time};
use super::{EventTime, StreamReader};
use crate::operators::caught;

/// An epoch passes over at most this many records that cannot be read, so that repeating it looks at no more.
const BROKEN_RECORDS: i64 = 10_000;

/// A piece of a partition.
#[derive(Clone, Copy, Debug)]
pub(super) struct Range {
    pub(super) stream: ObjectId,
    pub(super) partition: i32,
    pub(super) from: i64,
    pub(super) to: i64,
}

/// A partition's part of an epoch.
pub(super) struct Taken {
    pub(super) stream: ObjectId,
    pub(super) partition: i32,
    /// The offset after it.
    pub(super) next: i64,
    pub(super) rows: Vec<Delta>,
    /// The same of a stream with an event time: which of them are late.
    pub(super) sorted: Option<Sorted>,
    /// How long it took to read and decode it.
    pub(super) spent: Duration,
}

/// What an epoch found in the streams.
pub(super) struct Read {
    pub(super) taken: Vec<Taken>,
    /// The columns that were read.
    pub(super) columns: HashMap<ObjectId, Vec<ColumnPart>>,
    /// Streams that cannot be read, and why.
    pub(super) broken: HashMap<ObjectId, Error>,
}

pub(super) fn comes_back(e: &Error) -> bool {
    matches!(e.kind, ErrorKind::Retry | ErrorKind::Io)
}

impl Core {
    /// What each partition has that is not yet taken in, up to `to` if given.
    pub(super) fn ranges(&self, to: Option<&Frontier>) -> Result<Vec<Range>> {
        let mut ranges = vec![];
        for (id, reader) in &self.streams {
            for partition in 0..reader.partitions() {
                let (start, end) = reader.bounds(partition)?;
                let from = self.frontier.get(*id, partition).unwrap_or(start).max(start);
                let end = match to {
                    Some(to) => to.get(*id, partition).unwrap_or(from).min(end),
                    None => end,
                };
                if from < end {
                    ranges.push(Range { stream: *id, partition, from, to: end });
                }
            }
        }
        Ok(ranges)
    }

    /// Reads `ranges`, or each as far as an epoch goes unless they are `whole`: a replayed epoch has the journal's bounds.
    ///
    /// # Errors
    /// When nothing could be read now, or something of a `whole` epoch. It may be tried again. What can never be read is not an
    /// error, but [`Read::broken`].
    pub(super) fn read(&mut self, ranges: &[Range], whole: bool) -> Result<Read> {
        let ids: BTreeSet<ObjectId> = ranges.iter().map(|r| r.stream).collect();
        let topology = self.topology();
        let mut columns: HashMap<ObjectId, Vec<ColumnPart>> =
            ids.iter().map(|id| (*id, topology.columns(*id).cloned().unwrap_or_default())).collect();
        let events: HashMap<ObjectId, EventTime> =
            ids.iter().filter_map(|id| Some((*id, self.streams.get(id)?.event_time()?))).collect();
        for (id, event) in &events {
            with_time(columns.entry(*id).or_default(), event);
        }
        for range in ranges.iter().filter(|r| events.contains_key(&r.stream)) {
            self.times.entry(range.stream).or_default().raise_floor(range.partition, range.from);
        }
        let share = if whole { usize::MAX } else { (self.options.epoch_bytes / ranges.len().max(1)).max(64 << 10) };
        let (streams, times, reads) = (&self.streams, &self.times, &columns);
        let wanted = |id: &ObjectId| topology.columns(*id).is_some() || events.contains_key(id);
        let one = |range: &Range| {
            let id = &range.stream;
            let event = events.get(id).map(|event| (event, &times[id]));
            let source = Source { reader: streams[id].as_ref(), event, share, whole };
            let start = Instant::now();
            let taken = source.read(*range, reads.get(id).filter(|_| wanted(id)).map(Vec::as_slice));
            taken.map(|taken| Taken { spent: start.elapsed(), ..taken })
        };
        let parts: Vec<Result<Taken>> = ranges.par_iter().map(one).collect();
        if let Some(e) = parts.iter().filter_map(|p| p.as_ref().err()).find(|e| comes_back(e))
            && (whole || !parts.iter().any(Result::is_ok))
        {
            return Err(e.clone());
        }
        let mut read = Read { taken: Vec::with_capacity(parts.len()), columns, broken: HashMap::new() };
        for (range, part) in ranges.iter().zip(parts) {
            match part {
                Ok(taken) => read.taken.push(taken),
                Err(e) if comes_back(&e) => {
                    tracing::warn!(stream = %range.stream, error = %e, "a stream could not be read; it is tried again");
                }
                Err(e) => {
                    tracing::error!(stream = %range.stream, partition = range.partition, from = range.from, error = %e,
                        "a stream cannot be read");
                    let next = if whole { range.to } else { range.to.min(range.from + BROKEN_RECORDS) };
                    let (stream, partition) = (range.stream, range.partition);
                    let spent = Duration::ZERO;
                    read.taken.push(Taken { stream, partition, next, rows: vec![], sorted: None, spent });
                    read.broken.entry(range.stream).or_insert(e);
                }
            }
        }
        Ok(read)
    }

    /// The views that read a broken stream stop.
    pub(super) fn stop_readers(&mut self, broken: &HashMap<ObjectId, Error>) {
        if broken.is_empty() {
            return;
        }
        for n in 0..self.views.len() {
            let view = &self.views[n];
            let reads = view.inputs.iter().find_map(|i| Some((i.object, broken.get(&i.object)?)));
            if let Some((stream, e)) = reads.filter(|_| view.failed.is_none()) {
                let name = view.definition.inputs.iter().find(|(_, id)| **id == stream).map(|(name, _)| name);
                let name = name.map_or_else(|| stream.to_string(), |(namespace, name)| format!("{namespace}.{name}"));
                self.fail_view(n, &format!("stream {name} cannot be read: {e}"));
            }
        }
    }
}

/// A stream, as one epoch reads it.
struct Source<'a> {
    reader: &'a dyn StreamReader,
    event: Option<(&'a EventTime, &'a StreamTimes)>,
    /// About how much of a partition is read at once.
    share: usize,
    whole: bool,
}

impl Source<'_> {
    /// Reads a range; without `columns`, which nobody wants, passes over it.
    fn read(&self, range: Range, columns: Option<&[ColumnPart]>) -> Result<Taken> {
        let Range { stream, partition, from, to } = range;
        let (mut rows, mut next, spent) = (vec![], from, Duration::ZERO);
        let Some(columns) = columns else {
            self.pass(range, to, None)?;
            return Ok(Taken { stream, partition, next: to, rows, sorted: None, spent });
        };
        loop {
            let (batches, at) =
                caught(READING, || self.reader.read(partition, next, to, self.share, columns, &|_| ()))?;
            rows.extend(batches.into_iter().map(Delta::insert));
            next = at;
            if !self.whole || next >= to {
                break;
            }
        }
        let sorted = match self.event {
            Some((event, times)) => Some(times.sort_out(partition, from, &rows, TimeAt::of(event, columns)?)?),
            None => None,
        };
        self.pass(range, next, sorted.as_ref())?;
        Ok(Taken { stream, partition, next, rows, sorted, spent })
    }

    /// Tells the reader that a range was passed. If it cannot look at the range for dead letters, there are none of it.
    fn pass(&self, range: Range, next: i64, sorted: Option<&Sorted>) -> Result<()> {
        let late = sorted.map_or(&[][..], |s| &s.late);
        match caught(READING, || self.reader.passed(range.partition, range.from, next, late)) {
            Err(e) if !comes_back(&e) => {
                tracing::error!(stream = %range.stream, partition = range.partition, from = range.from, error = %e,
                    "dead letters could not be found");
                Ok(())
            }
            passed => passed,
        }
    }
}
