//! What of an operator's state lies in runs, and what memory holds of it.
//!
//! The unit is a hash: memory holds all entries of a hash or none. Before a step touches keys, what memory does not hold of their
//! hashes is fetched, for all of them at once ([`Reader::fetch`]). What changed since the last flush is written as a new run
//! ([`flush`]), or copied to be written beside the steps ([`begin_flush`]); after that everything may leave memory ([`evict`]). As long as nothing left it, nothing is looked up.
//!
//! Derived state, as the runs are.

use std::sync::Arc;

use fleuve_types::{Error, Result};
use hashbrown::HashTable;

use super::calendar::Calendar;
use super::entries::{Entries, Room};
use super::flushing::{Flush, Flushing, Settled};
use super::runs::{Combine, Entry, Merge, Run, RunRef, RunSet, RunWriter, Space, may_hold, read_many};

/// See the module.
pub(crate) struct Pages {
    runs: RunSet,
    /// The state is kept in runs from now on: a checkpoint names them.
    active: bool,
    /// Memory holds everything.
    complete: bool,
    /// What is being written beside the steps, newer than all runs.
    flushing: Option<Flushing>,
    calendar: Calendar,
}

/// The hashes that memory holds all entries of, in one shard of a state that is not held whole.
#[derive(Default)]
pub(crate) struct Resident {
    held: HashTable<u64>,
    /// Those of which everything was dropped and that may be forgotten: since the last flush, and before it. When the next flush begins the runs
    /// know of what was dropped before the last one.
    dropped: [Vec<u64>; 2],
}

impl Resident {
    /// Memory held, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.held.allocation_size() + self.dropped.iter().map(|d| d.capacity() * 8).sum::<usize>()
    }

    /// Everything of a hash was dropped. It need not be held when the runs know of that.
    pub(crate) fn dropped(&mut self, hash: u64) {
        if self.holds(hash) {
            self.dropped[0].push(hash);
        }
    }

    /// As a flush is taken care of: forgets what was dropped before the last one, but for what is there again. What is there again was written with
    /// this one, and goes another time.
    pub(crate) fn written(&mut self, is_there: impl Fn(u64) -> bool) {
        let [new, old] = std::mem::take(&mut self.dropped);
        for hash in old.into_iter().filter(|hash| !is_there(*hash)) {
            if let Ok(found) = self.held.find_entry(hash, |h| *h == hash) {
                found.remove();
            }
        }
        self.dropped[1] = new.into_iter().filter(|hash| !is_there(*hash)).collect();
    }

    /// All of them, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = u64> + '_ {
        self.held.iter().copied()
    }

    pub(crate) fn holds(&self, hash: u64) -> bool {
        self.held.find(hash, |h| *h == hash).is_some()
    }

    /// Memory holds all of these from now on; it did not before.
    pub(crate) fn hold(&mut self, hashes: &[u64]) {
        for hash in hashes {
            self.held.insert_unique(*hash, *hash, |h| *h);
        }
    }
}

/// Those of `hashes` that memory does not hold, in order and each once.
pub(crate) fn missing(hashes: impl Iterator<Item = u64>, is_held: impl Fn(u64) -> bool) -> Vec<u64> {
    let mut missing: Vec<u64> = hashes.filter(|hash| !is_held(*hash)).collect();
    missing.sort_unstable();
    missing.dedup();
    missing
}

/// A share of all hashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    first: u64,
    last: u64,
}

impl Part {
    /// The `n`th of so many shares, about equal in size.
    pub(crate) fn nth(n: u64, of: u64) -> Self {
        let width = u64::MAX / of.max(1);
        let last = if n + 1 >= of { u64::MAX } else { (n + 1) * width - 1 };
        Self { first: n * width, last }
    }

    /// The first `n` of so many shares together; `None` if that is none.
    pub(crate) fn up_to(n: u64, of: u64) -> Option<Self> {
        Some(Self { first: 0, last: Self::nth(n.checked_sub(1)?, of).last })
    }

    /// The hashes from the first to the last.
    pub(crate) fn between(first: u64, last: u64) -> Self {
        Self { first, last }
    }

    pub(crate) fn holds(self, hash: u64) -> bool {
        (self.first..=self.last).contains(&hash)
    }

    /// The first and the last hash.
    pub(crate) fn bounds(self) -> (u64, u64) {
        (self.first, self.last)
    }
}

/// Runs that others read beside the operator whose they are.
pub(crate) type SharedRuns = Arc<[Arc<Run>]>;

/// Looks entries up for the shards of a step.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a> {
    runs: &'a [Arc<Run>],
}

impl<'a> Reader<'a> {
    /// One for whoever shares the runs of a state.
    pub(crate) fn of(runs: &'a [Arc<Run>]) -> Self {
        Self { runs }
    }

    /// Calls `each` for the entries of `missing` hashes, in order and each once, what an older run says of a key first. With `whole`, a run
    /// that has an entry of a hash has all of it. Memory holds them when this has gone well, and not before.
    ///
    /// # Errors
    /// What `each` gives; [`fleuve_types::ErrorKind::Io`] if a run cannot be read.
    pub(crate) fn fetch(&self, missing: &[u64], whole: bool, each: impl FnMut(Entry<'_>) -> Result<()>) -> Result<()> {
        if missing.is_empty() { Ok(()) } else { read_many(self.runs, missing, whole, each) }
    }
}

impl Pages {
    /// A state that may go to runs in the folder `place`, and is all in memory yet.
    pub(crate) fn new(space: Arc<Space>, place: &str) -> Self {
        let (calendar, runs) = (Calendar::default(), RunSet::new(space, place.into(), Combine::Newest));
        let runs = runs.leaving_out(calendar.is_over());
        Self { active: false, complete: true, flushing: None, runs, calendar }
    }

    /// The hashes of what has left memory and may have a time before one of these, by column; empty as long as memory holds everything.
    /// Nothing before them is asked for again. What is in memory is not told of, though it may be among them.
    ///
    /// # Errors
    /// [`fleuve_types::ErrorKind::Io`] if a run cannot be read.
    pub(crate) fn due(&self, until: &[Option<i64>]) -> Result<Vec<u64>> {
        let mut hashes = vec![];
        for (column, until) in (0..).zip(until) {
            let runs = Some(&self.runs).filter(|_| !self.complete);
            until.map_or(Ok(()), |until| self.calendar.ask(column, until, runs, &mut hashes))?;
        }
        hashes.sort_unstable();
        hashes.dedup();
        Ok(hashes)
    }

    /// As [`Pages::due`], where it is known that all of that is in memory.
    pub(crate) fn pass(&self, until: &[Option<i64>]) {
        for (column, until) in (0..).zip(until).filter(|_| self.active) {
            until.iter().for_each(|until| self.calendar.pass(column, *until));
        }
    }

    /// The first time that [`Pages::due`] has not asked for, of what has left memory; something may have gone since.
    ///
    /// # Errors
    /// As there.
    pub(crate) fn first_due(&self, columns: u8) -> Result<Option<i64>> {
        if self.complete {
            return Ok(None);
        }
        self.calendar.first(columns, &self.runs)
    }

    /// What a step fetches by; `None` as long as memory holds everything.
    pub(crate) fn reader(&self) -> Option<Reader<'_>> {
        (!self.complete).then(|| Reader { runs: self.runs.runs() })
    }

    /// The runs, for readers beside the operator; `None` as long as memory holds everything.
    pub(crate) fn shared_runs(&self) -> Option<SharedRuns> {
        (!self.complete).then(|| self.all_runs())
    }

    /// The runs, for readers beside the operator.
    pub(crate) fn all_runs(&self) -> SharedRuns {
        self.runs.runs().into()
    }

    /// The entries of a part that lie in runs; `None` as long as memory holds everything. What memory holds of them counts instead.
    ///
    /// # Errors
    /// [`fleuve_types::ErrorKind::Io`] if a run cannot be read.
    pub(crate) fn scan(&self, part: Part) -> Result<Option<Merge>> {
        if self.complete { Ok(None) } else { self.runs.scan_part(part).map(Some) }
    }

    /// True if one of its runs has that name.
    pub(crate) fn has_run(&self, name: &str) -> bool {
        self.runs.runs().iter().any(|run| run.name() == name)
    }

    /// True if a checkpoint has to name its runs.
    pub(crate) fn is_active(&self) -> bool {
        self.active
    }

    /// How many rows or groups the state has, of which memory holds so many: about, if not all are held.
    pub(crate) fn rows(&self, held: usize) -> usize {
        self.dated_rows(held, 0)
    }

    /// As [`Pages::rows`], where each has so many times by which it is found.
    pub(crate) fn dated_rows(&self, held: usize, times: usize) -> usize {
        if self.complete { held } else { held.max(self.runs.entries() as usize / (1 + times)) }
    }

    /// Bytes on disk.
    pub(crate) fn disk_bytes(&self) -> u64 {
        self.runs.disk_bytes()
    }

    /// As [`RunSet::least_disk_bytes`].
    pub(crate) fn least_disk_bytes(&self) -> u64 {
        self.runs.least_disk_bytes()
    }

    fn target(&self) -> Target<'_> {
        let (space, place) = (self.runs.space(), self.runs.place());
        Target { runs: self.runs.runs(), space, place, calendar: &self.calendar, full: !self.active }
    }

    /// Memory held by what finds entries, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.runs.bytes()
    }

    /// The runs for a manifest. Their files stay from now on.
    pub(crate) fn name_all(&self) -> Vec<RunRef> {
        let passed = self.calendar.passed();
        let of_state = |run: RunRef| RunRef { passed: passed.clone(), ..run };
        self.runs.name_all().into_iter().map(of_state).collect()
    }

    /// Those of its runs whose files stay.
    pub(crate) fn named(&self) -> impl Iterator<Item = &str> {
        self.runs.named()
    }

    /// Files that the next checkpoint no longer names.
    pub(crate) fn take_stale(&mut self) -> Vec<String> {
        self.runs.take_stale()
    }

    /// Takes in what was written beside the steps, if it is; `wait` until it is or has failed.
    pub(crate) fn settle(&mut self, wait: bool) {
        self.flushing = match self.flushing.take().map(|f| f.settle(wait)) {
            None | Some(Settled::Written(None)) => None,
            Some(Settled::Written(Some(run))) => {
                self.push(run);
                None
            }
            Some(Settled::NotYet(flushing) | Settled::Failed(flushing)) => Some(flushing),
        };
    }

    fn push(&mut self, run: Arc<Run>) {
        self.runs.push(run);
        self.calendar.runs_changed();
    }

    /// As [`Pages::settle`], and what failed is written now.
    fn settle_whole(&mut self) -> Result<()> {
        self.settle(true);
        if let Some(failed) = &self.flushing {
            let run = failed.write(self.runs.space(), self.runs.place())?;
            run.into_iter().for_each(|run| self.push(run));
            self.flushing = None;
        }
        Ok(())
    }

    /// Takes in a merge of runs that is done, and begins one that is due.
    pub(crate) fn tidy(&mut self) {
        self.runs.tidy();
    }

    /// As [`RunSet::tend`].
    pub(crate) fn tend(&mut self) -> bool {
        self.runs.tend()
    }

    pub(crate) fn is_merging(&self) -> bool {
        self.runs.is_merging()
    }

    /// As [`RunSet::compact`].
    pub(crate) fn compact(&mut self, wait: bool) -> bool {
        self.runs.compact(wait)
    }

    /// # Errors
    /// When there are too many runs, because they cannot be merged.
    pub(crate) fn check(&self) -> Result<()> {
        self.runs.check()
    }
}

/// A state that can lie in runs.
pub(crate) trait Paged {
    /// `None` if it stays in memory as it is set up.
    fn pages(&mut self) -> &mut Option<Pages>;

    /// Writes what changed since [`Paged::written`], or everything, as runs, no key in two of them.
    fn write(&mut self, target: &Target<'_>) -> Result<Vec<Arc<Run>>>;

    /// Copies what [`Paged::write`] would write, as far as there is room.
    fn copy(&mut self, target: &Target<'_>, room: &Room) -> Result<Vec<Entries>>;

    /// What [`Paged::write`] wrote, or [`Paged::copy`] gave, is taken care of.
    fn written(&mut self);

    /// Drops all that memory holds.
    fn drop_all(&mut self) -> Result<()>;

    /// Takes everything in.
    fn take_all(&mut self, all: Merge) -> Result<()>;
}

/// Where [`Paged::write`] writes to.
#[derive(Clone, Copy)]
pub(crate) struct Target<'a> {
    runs: &'a [Arc<Run>],
    space: &'a Arc<Space>,
    place: &'a str,
    calendar: &'a Calendar,
    pub(crate) full: bool,
}

impl Target<'_> {
    /// Begins a run of at most so many different hashes.
    pub(crate) fn begin(&self, hashes: usize) -> Result<RunWriter> {
        Ok(RunWriter::create(self.space, self.place, hashes as u64)?.plain())
    }

    pub(super) fn calendar(&self) -> &Calendar {
        self.calendar
    }

    /// False if no run has an entry of this hash: then it need not be said to be gone.
    pub(crate) fn may_hold(&self, hash: u64) -> bool {
        !self.full && may_hold(self.runs, hash)
    }
}

/// Writes what changed since the last flush as a run. From now on the state is kept in runs.
///
/// # Errors
/// [`fleuve_types::ErrorKind::Io`]; the state is as it was.
fn flush(state: &mut dyn Paged) -> Result<()> {
    with_pages(state, |state, pages| {
        pages.settle_whole()?;
        let runs = state.write(&pages.target())?;
        pages.active = true;
        runs.into_iter().for_each(|run| pages.push(run));
        state.written();
        Ok(())
    })
    .unwrap_or(Ok(()))
}

/// As [`flush`], but only copies what is to be written, if there is room for it: whoever gets it writes it. `None` if there is nothing to
/// write any more.
///
/// # Errors
/// As [`flush`].
pub(crate) fn begin_flush(state: &mut dyn Paged, room: &mut Room) -> Result<Option<Flush>> {
    let copied = with_pages(state, |state, pages| {
        pages.settle_whole()?;
        let left = room.left();
        let mut entries = state.copy(&pages.target(), room)?;
        if entries.iter().any(Entries::is_over) {
            *room = Room::of(left);
            return Ok(Copied::TooMuch);
        }
        pages.active = true;
        state.written();
        entries.retain(|e| !e.is_empty());
        if entries.is_empty() {
            return Ok(Copied::Nothing);
        }
        let (flushing, flush) = Flushing::begin(entries, pages.runs.space().clone(), pages.runs.place().into());
        pages.flushing = Some(flushing);
        Ok(Copied::All(flush))
    });
    match copied.unwrap_or(Ok(Copied::Nothing))? {
        Copied::All(flush) => Ok(Some(flush)),
        Copied::Nothing => Ok(None),
        Copied::TooMuch => flush(state).map(|()| None),
    }
}

enum Copied {
    All(Flush),
    Nothing,
    TooMuch,
}

/// Works on a state beside its pages; `None` if it has none.
fn with_pages<R>(state: &mut dyn Paged, work: impl FnOnce(&mut dyn Paged, &mut Pages) -> R) -> Option<R> {
    let mut pages = state.pages().take()?;
    let result = work(state, &mut pages);
    *state.pages() = Some(pages);
    Some(result)
}

/// Lets everything leave memory.
///
/// # Errors
/// As [`flush`].
pub(crate) fn evict(state: &mut dyn Paged) -> Result<()> {
    flush(state)?;
    state.drop_all()?;
    if let Some(pages) = state.pages() {
        pages.complete = false;
        pages.tidy();
    }
    Ok(())
}

/// Opens the runs that a manifest names. Takes everything in if they are no longer than `eager_bytes`.
///
/// # Errors
/// [`fleuve_types::ErrorKind::Io`], [`fleuve_types::ErrorKind::NotFound`] if a run is damaged or not there.
pub(crate) fn open(
    state: &mut dyn Paged,
    space: &Arc<Space>,
    place: &str,
    refs: &[RunRef],
    eager_bytes: u64,
) -> Result<()> {
    if state.pages().is_none() {
        return Err(Error::bug("a state lies in runs that has to be in memory"));
    }
    // The newest may have been written after the others were named.
    let calendar =
        refs.iter().find(|run| !run.passed.is_empty()).map(|run| Calendar::saved(&run.passed)).unwrap_or_default();
    let runs = RunSet::open(space.clone(), place.into(), Combine::Newest, refs)?.leaving_out(calendar.is_over());
    let complete = runs.disk_bytes() <= eager_bytes;
    if complete {
        state.take_all(runs.scan()?)?;
    }
    *state.pages() = Some(Pages { runs, active: true, complete, flushing: None, calendar });
    Ok(())
}
