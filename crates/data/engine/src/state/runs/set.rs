//! The runs of one state, and how they stay few.
//!
//! Runs are merged when there are [`FANOUT`] neighbours of about the same size, on a thread of its own: a merge takes as long as it
//! takes, and an epoch must not. Its result takes the place of what it was made from between two steps, when the owner asks. Each
//! entry is so written a logarithmic number of times. When merges cannot keep up, the owner is made to wait for one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError};

use fleuve_types::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

use super::files::RunFiles;
use super::merge::{Combine, Merge};
use super::run::{Entry, Run};
use super::writer::RunWriter;
use crate::state::Part;

/// So many runs of about one size become one.
const FANOUT: usize = 4;
/// With more runs than this the owner waits for a merge.
const MAX_RUNS: usize = 24;
/// With more runs than that, a state is given up when so many merges failed one after the other.
const MOST_FAILURES: usize = 24;
/// Merges at once in the whole engine; more wait.
const MERGES: usize = 2;

/// So many entries are merged between looks at whether anybody still wants it.
const CANCEL_EVERY: u64 = 1_024;

/// Where all runs of an engine lie.
pub(crate) struct Space {
    files: Arc<dyn RunFiles>,
    next: AtomicU64,
    merging: AtomicUsize,
    /// Whether merges have threads of their own.
    beside: bool,
}

/// How a file of a run ends, so that it is told from other files of a state.
const SUFFIX: &str = ".sorted";
/// How a file ends that is read whole.
const WHOLE_SUFFIX: &str = ".run";

impl Space {
    /// Over these files. Those that are there already keep their names. `stepped` says that a merge is done when it has begun.
    ///
    /// # Errors
    /// [`fleuve_types::ErrorKind::Io`] if they cannot be listed.
    pub(crate) fn open(files: Arc<dyn RunFiles>, stepped: bool) -> Result<Arc<Self>> {
        let number = |name: &String| stem(name)?.rsplit('/').next()?.parse::<u64>().ok();
        let last = files.list()?.iter().filter_map(number).max();
        let next = AtomicU64::new(last.map_or(0, |n| n + 1));
        Ok(Arc::new(Self { files, next, merging: AtomicUsize::new(0), beside: !stepped }))
    }

    pub(crate) fn files(&self) -> &dyn RunFiles {
        self.files.as_ref()
    }

    /// A name that no run had.
    pub(super) fn name(&self, place: &str) -> String {
        format!("{place}/{:020}{SUFFIX}", self.next.fetch_add(1, Ordering::SeqCst))
    }

    /// A name that no file read whole had, not even one that was never in a checkpoint as far as this process knows: a commit that
    /// failed may have happened.
    pub(crate) fn name_whole(&self, place: &str) -> String {
        format!("{place}/{:020}{WHOLE_SUFFIX}", self.next.fetch_add(1, Ordering::SeqCst))
    }

    /// Removes the files that none of `named` is, which a crash left behind.
    ///
    /// # Errors
    /// [`fleuve_types::ErrorKind::Io`] if the files cannot be listed.
    pub(crate) fn remove_others(&self, named: &std::collections::HashSet<&str>) -> Result<()> {
        let mut names = self.files.list()?;
        names.retain(|name| stem(name).is_some() && !named.contains(name.as_str()));
        self.files.remove(&names);
        Ok(())
    }

    pub(super) fn begin_merge(self: &Arc<Self>) -> Option<Merging> {
        let free = |n: usize| (n < MERGES).then_some(n + 1);
        self.merging.fetch_update(Ordering::SeqCst, Ordering::SeqCst, free).ok().map(|_| Merging(self.clone()))
    }
}

/// The name of a file of state without what tells its kind.
fn stem(name: &str) -> Option<&str> {
    name.strip_suffix(SUFFIX).or_else(|| name.strip_suffix(WHOLE_SUFFIX))
}

/// One of the merges that may go on at once.
pub(super) struct Merging(Arc<Space>);

impl Drop for Merging {
    fn drop(&mut self) {
        self.0.merging.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A run in a manifest.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub(crate) struct RunRef {
    pub(crate) name: String,
    pub(crate) bytes: u64,
    /// How far the state was asked for what is due, by column of its calendar. The runs of a state all say the same, or nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) passed: Vec<i64>,
}

/// A merge under way: of the `count` runs from the one named `newest` on.
struct Pending {
    newest: String,
    count: usize,
    result: Receiver<Result<Option<Arc<Run>>>>,
    cancel: Arc<AtomicBool>,
    /// Memory that it holds, about.
    bytes: usize,
}

/// A merge that nobody waits for ends before the next thing happens: it may not write into files that others have by then.
impl Drop for Pending {
    fn drop(&mut self) {
        self.cancel.store(true, Ordering::SeqCst);
        let _ = self.result.recv();
    }
}

/// Tells an entry that nobody asks for any more, whatever a run says of its key: a merge leaves it out.
pub(crate) type IsOver = Arc<dyn Fn(&Entry<'_>) -> bool + Send + Sync>;

/// The runs of one state, the newest first.
pub(crate) struct RunSet {
    space: Arc<Space>,
    place: String,
    combine: Combine,
    is_over: Option<IsOver>,
    runs: Vec<Arc<Run>>,
    pending: Option<Pending>,
    /// So many merges failed since the last one that did not, and why the last did.
    failures: usize,
    failure: Option<Error>,
    /// Named runs that were merged into others, to be removed when no checkpoint names them any more.
    stale: Vec<String>,
}

impl RunSet {
    /// No runs yet; their files will be in the folder `place`.
    pub(crate) fn new(space: Arc<Space>, place: String, combine: Combine) -> Self {
        Self {
            space,
            place,
            combine,
            is_over: None,
            runs: vec![],
            pending: None,
            failures: 0,
            failure: None,
            stale: vec![],
        }
    }

    /// Merges leave out what this says.
    pub(crate) fn leaving_out(self, is_over: IsOver) -> Self {
        Self { is_over: Some(is_over), ..self }
    }

    /// Opens the runs that a manifest names, the newest first.
    ///
    /// # Errors
    /// [`fleuve_types::ErrorKind::Io`] or [`fleuve_types::ErrorKind::NotFound`] if one is damaged or not there.
    pub(crate) fn open(space: Arc<Space>, place: String, combine: Combine, refs: &[RunRef]) -> Result<Self> {
        let runs = refs.iter().map(|r| Run::open(&space, &r.name)).collect::<Result<_>>()?;
        Ok(Self { runs, ..Self::new(space, place, combine) })
    }

    /// Begins a run of at most so many different hashes, to be given to [`RunSet::push`].
    pub(crate) fn writer(&self, hashes: u64) -> Result<RunWriter> {
        RunWriter::create(&self.space, &self.place, hashes)
    }

    /// Adds the newest run.
    pub(crate) fn push(&mut self, run: Arc<Run>) {
        self.runs.insert(0, run);
    }

    pub(crate) fn space(&self) -> &Arc<Space> {
        &self.space
    }

    /// The folder of their files.
    pub(crate) fn place(&self) -> &str {
        &self.place
    }

    pub(crate) fn runs(&self) -> &[Arc<Run>] {
        &self.runs
    }

    /// Bytes on disk.
    pub(crate) fn disk_bytes(&self) -> u64 {
        self.runs.iter().map(|r| r.disk_bytes()).sum()
    }

    /// Bytes on disk that merging cannot save, about: those of the largest run.
    pub(crate) fn least_disk_bytes(&self) -> u64 {
        self.runs.iter().map(|r| r.disk_bytes()).max().unwrap_or(0)
    }

    /// Entries of all runs: at least as many as the state has.
    pub(crate) fn entries(&self) -> u64 {
        self.runs.iter().map(|r| r.entries()).sum()
    }

    /// Memory held, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.runs.iter().map(|r| r.bytes()).sum::<usize>() + self.pending.as_ref().map_or(0, |p| p.bytes)
    }

    /// The runs as a manifest names them. Their files stay from now on.
    pub(crate) fn name_all(&self) -> Vec<RunRef> {
        self.runs.iter().map(|r| r.name_it()).collect()
    }

    /// The names of the runs whose files stay when nobody reads them any more.
    pub(crate) fn named(&self) -> impl Iterator<Item = &str> {
        self.runs.iter().filter(|r| r.is_named()).map(|r| r.name())
    }

    /// Takes the names of files that the next checkpoint no longer names: they can go when it is there.
    pub(crate) fn take_stale(&mut self) -> Vec<String> {
        std::mem::take(&mut self.stale)
    }

    /// See [`read_many`].
    #[cfg(test)]
    pub(crate) fn get_many(
        &self,
        hashes: &[u64],
        whole: bool,
        each: impl FnMut(Entry<'_>) -> Result<()>,
    ) -> Result<()> {
        read_many(&self.runs, hashes, whole, each)
    }

    /// All entries of the state in order, one for each key.
    ///
    /// # Errors
    /// [`fleuve_types::ErrorKind::Io`] if a run cannot be read.
    pub(crate) fn scan(&self) -> Result<Merge> {
        Merge::new(&self.runs, self.combine, true)
    }

    /// As [`RunSet::scan`], of the entries whose hash is in `part`.
    ///
    /// # Errors
    /// As there.
    pub(crate) fn scan_part(&self, part: Part) -> Result<Merge> {
        Merge::range(&self.runs, self.combine, true, part.bounds())
    }

    /// Takes in a merge that is done and begins the next one if there is one to do. Waits only if there are too many runs. If a merge
    /// failed, the runs are as they were, and it is tried again: that there could be fewer is no reason to give up.
    pub(crate) fn tidy(&mut self) {
        if let Err(e) = self.try_to_tidy() {
            self.failed(e);
        }
    }

    fn failed(&mut self, error: Error) {
        tracing::warn!(place = %self.place, %error, "runs of a state could not be merged; it is tried again");
        self.failures += 1;
        self.failure = Some(error);
    }

    /// # Errors
    /// When there are too many runs, because they cannot be merged.
    pub(crate) fn check(&self) -> Result<()> {
        match &self.failure {
            Some(e) if self.runs.len() > MAX_RUNS && self.failures >= MOST_FAILURES => {
                let runs = self.runs.len();
                Err(Error::new(e.kind, format!("its state lies in {runs} runs that cannot be merged: {}", e.message)))
            }
            _ => Ok(()),
        }
    }

    fn try_to_tidy(&mut self) -> Result<()> {
        self.take_merged(false)?;
        if self.pending.is_none() {
            self.begin_merge(false)?;
        }
        while self.runs.len() > MAX_RUNS {
            self.begin_merge(true)?;
            self.take_merged(true)?;
        }
        Ok(())
    }

    /// As [`RunSet::tidy`], for the time between changes: what could not be merged is not tried again before the next one. Tells if a merge was
    /// under way, is, or is due.
    pub(crate) fn tend(&mut self) -> bool {
        let was_merging = self.pending.is_some();
        match &self.failure {
            None => self.tidy(),
            Some(_) => {
                if let Err(e) = self.take_merged(false) {
                    self.failed(e);
                }
            }
        }
        was_merging || self.pending.is_some() || (self.failure.is_none() && self.due().is_some())
    }

    /// A merge is under way.
    pub(crate) fn is_merging(&self) -> bool {
        self.pending.is_some()
    }

    /// Begins to merge all runs into one, or `wait`s until they are: what newer ones say over again takes no room then. Tells if one is under
    /// way, or will be as soon as one may begin.
    pub(crate) fn compact(&mut self, wait: bool) -> bool {
        let merge_all = |set: &mut Self| -> Result<bool> {
            set.take_merged(wait)?;
            if set.pending.is_none() && set.runs.len() > 1 {
                set.begin_merge_of((0, set.runs.len()), wait)?;
            }
            let is_under_way = set.runs.len() > 1 || set.pending.is_some();
            if wait {
                set.take_merged(true)?;
            }
            Ok(is_under_way)
        };
        merge_all(self).unwrap_or_else(|e| {
            self.failed(e);
            false
        })
    }

    /// What is to be merged.
    fn due(&self) -> Option<(usize, usize)> {
        choose(&self.runs.iter().map(|r| r.entries()).collect::<Vec<_>>())
    }

    /// Waits for the merge that is under way.
    #[cfg(test)]
    pub(crate) fn wait(&mut self) -> Result<()> {
        self.take_merged(true)
    }

    fn take_merged(&mut self, wait: bool) -> Result<()> {
        let Some(pending) = &self.pending else { return Ok(()) };
        let result = if wait {
            pending.result.recv().map_err(|_| TryRecvError::Disconnected)
        } else {
            pending.result.try_recv()
        };
        let result = match result {
            Err(TryRecvError::Empty) => return Ok(()),
            Err(TryRecvError::Disconnected) => Err(Error::bug("the thread that merges state runs ended")),
            Ok(result) => result,
        };
        let Some(pending) = self.pending.take() else { return Ok(()) };
        let merged = result?;
        (self.failures, self.failure) = (0, None);
        let Some(from) = self.runs.iter().position(|r| r.name() == pending.newest) else { return Ok(()) };
        let old = self.runs.splice(from..from + pending.count, merged);
        self.stale.extend(old.filter(|r| r.is_named()).map(|r| r.name().to_string()));
        Ok(())
    }

    /// `wait` until a merge may begin.
    fn begin_merge(&mut self, wait: bool) -> Result<()> {
        match self.due().filter(|_| self.pending.is_none()) {
            Some(due) => self.begin_merge_of(due, wait),
            None => Ok(()),
        }
    }

    fn begin_merge_of(&mut self, (from, count): (usize, usize), wait: bool) -> Result<()> {
        let slot = loop {
            match self.space.begin_merge() {
                Some(slot) => break slot,
                None if wait => std::thread::sleep(std::time::Duration::from_millis(5)),
                None => return Ok(()),
            }
        };
        let runs = self.runs[from..from + count].to_vec();
        let is_all = from + count == self.runs.len();
        let (tell, result) = std::sync::mpsc::channel();
        let newest = runs[0].name().to_string();
        // What finds the entries of the new run is about what finds those of the old ones.
        let bytes = runs.iter().map(|r| r.bytes()).sum();
        let (place, combine, is_over) = (self.place.clone(), self.combine, self.is_over.clone());
        let cancel = Arc::new(AtomicBool::new(false));
        let cancelled = cancel.clone();
        let work = move || {
            let merged = merge(&slot.0, &place, (&runs, combine, is_all), is_over.as_ref(), &cancelled);
            drop(runs);
            drop(slot);
            let _ = tell.send(merged);
        };
        if self.space.beside {
            std::thread::Builder::new().name("merge".into()).spawn(work).map_err(|e| Error::io("start a merge", e))?;
        } else {
            work();
        }
        self.pending = Some(Pending { newest, count, result, cancel, bytes });
        Ok(())
    }
}

/// False if none of `runs` has an entry of this hash.
pub(crate) fn may_hold(runs: &[Arc<Run>], hash: u64) -> bool {
    runs.iter().any(|run| run.may_hold(hash))
}

/// Calls `each` for the entries of `runs` (the newest first) that have one of `hashes`, which ascend without repetition: for each
/// key what an older run says before what a newer one says. With `whole`, a run that has an entry of a hash has all of that hash:
/// older ones are not asked then.
///
/// # Errors
/// What `each` gives; [`fleuve_types::ErrorKind::Io`] if a run cannot be read.
pub(crate) fn read_many(
    runs: &[Arc<Run>],
    hashes: &[u64],
    whole: bool,
    mut each: impl FnMut(Entry<'_>) -> Result<()>,
) -> Result<()> {
    if !whole {
        return runs.iter().rev().try_for_each(|run| run.get_many(hashes, &mut each));
    }
    let mut left = hashes.to_vec();
    let mut found: Vec<u64> = vec![];
    for run in runs {
        if left.is_empty() {
            break;
        }
        found.clear();
        run.get_many(&left, |entry| {
            if found.last() != Some(&entry.hash) {
                found.push(entry.hash);
            }
            each(entry)
        })?;
        let mut gone = found.iter().peekable();
        left.retain(|hash| gone.next_if_eq(&hash).is_none());
    }
    Ok(())
}

fn merge(
    space: &Arc<Space>,
    place: &str,
    (runs, combine, is_all): (&[Arc<Run>], Combine, bool),
    is_over: Option<&IsOver>,
    cancelled: &AtomicBool,
) -> Result<Option<Arc<Run>>> {
    let mut writer = RunWriter::create(space, place, runs.iter().map(|r| r.hashes()).sum())?;
    let mut merged = Merge::new(runs, combine, is_all)?;
    let mut read = 0_u64;
    while merged.next()? {
        read += 1;
        if read.is_multiple_of(CANCEL_EVERY) && cancelled.load(Ordering::SeqCst) {
            return Err(Error::new(ErrorKind::Retry, "the merge of state runs was cancelled"));
        }
        let entry = merged.entry();
        if is_over.is_some_and(|is_over| is_over(&entry)) {
            continue;
        }
        writer.add(entry.hash, entry.key, entry.value)?;
    }
    if writer.entries() == 0 { Ok(None) } else { writer.finish().map(Some) }
}

/// Which neighbours to merge, as `(first, how many)`. `sizes` in entries, the newest first: runs that were not merged yet are not compressed.
fn choose(sizes: &[u64]) -> Option<(usize, usize)> {
    // What newer runs say over again, or that it is gone, still lies in the oldest: at most twice as much beside it.
    if let Some((oldest, newer)) = sizes.split_last()
        && newer.iter().sum::<u64>() > oldest.saturating_mul(2)
    {
        return Some((0, sizes.len()));
    }
    // Neighbours of about one size, the newest first: what comes out is several times as large.
    for from in 0..sizes.len() {
        let same = sizes[from..].iter().take_while(|size| **size <= sizes[from].saturating_mul(2)).count();
        if same >= FANOUT {
            return Some((from, same));
        }
    }
    (sizes.len() > MAX_RUNS).then_some((0, MAX_RUNS / 2))
}
