//! What of an operator's state lies in runs, and what memory holds of it.
//!
//! The unit is a hash: memory holds all entries of a hash or none. Before a step touches keys, what memory does not hold of their
//! hashes is fetched, for all of them at once ([`Reader::fetch`]). What changed since the last flush is written as a new run
//! ([`flush`]); after that everything may leave memory ([`evict`]). As long as nothing left it, nothing is looked up.
//!
//! Derived state, as the runs are.

use std::sync::Arc;

use fleuve_types::{Error, Result};
use hashbrown::HashTable;

use super::arrangement::Arrangement;
use super::bytes::hash_bytes;
use super::in_order::{self, Item};
use super::runs::{Combine, Entry, Merge, Run, RunRef, RunSet, RunWriter, Space, may_hold, read_many};
use crate::operators::shard_of;

/// See the module.
pub(crate) struct Pages {
    runs: RunSet,
    /// The state is kept in runs from now on: a checkpoint names them.
    active: bool,
    /// Memory holds everything.
    complete: bool,
}

/// The hashes that memory holds all entries of, in one shard of a state that is not held whole.
#[derive(Default)]
pub(crate) struct Resident(HashTable<u64>);

impl Resident {
    /// Memory held, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.0.allocation_size()
    }

    pub(crate) fn holds(&self, hash: u64) -> bool {
        self.0.find(hash, |h| *h == hash).is_some()
    }

    /// Those of `hashes` that memory did not hold until now, in order. They are held from now on.
    fn take_missing(&mut self, hashes: impl Iterator<Item = u64>) -> Vec<u64> {
        let mut missing = vec![];
        for hash in hashes {
            if !self.holds(hash) {
                self.0.insert_unique(hash, hash, |h| *h);
                missing.push(hash);
            }
        }
        missing.sort_unstable();
        missing
    }
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

    pub(crate) fn holds(self, hash: u64) -> bool {
        (self.first..=self.last).contains(&hash)
    }

    /// The first and the last hash.
    pub(crate) fn bounds(self) -> (u64, u64) {
        (self.first, self.last)
    }
}

/// Looks entries up for the shards of a step.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a> {
    runs: &'a [Arc<Run>],
}

impl Reader<'_> {
    /// Calls `each` for the entries of those of `hashes` that memory does not hold, what an older run says of a key first. With
    /// `whole`, a run that has an entry of a hash has all of it.
    ///
    /// # Errors
    /// What `each` gives; [`fleuve_types::ErrorKind::Io`] if a run cannot be read.
    pub(crate) fn fetch(
        &self,
        resident: &mut Resident,
        hashes: impl Iterator<Item = u64>,
        whole: bool,
        each: impl FnMut(Entry<'_>) -> Result<()>,
    ) -> Result<()> {
        let missing = resident.take_missing(hashes);
        if missing.is_empty() { Ok(()) } else { read_many(self.runs, &missing, whole, each) }
    }
}

impl Pages {
    /// A state that may go to runs in the folder `place`, and is all in memory yet.
    pub(crate) fn new(space: Arc<Space>, place: &str) -> Self {
        Self { runs: RunSet::new(space, place.into(), Combine::Newest), active: false, complete: true }
    }

    /// What a step fetches by; `None` as long as memory holds everything.
    pub(crate) fn reader(&self) -> Option<Reader<'_>> {
        (!self.complete).then(|| Reader { runs: self.runs.runs() })
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
        if self.complete { held } else { held.max(self.runs.entries() as usize) }
    }

    /// Bytes on disk.
    pub(crate) fn disk_bytes(&self) -> u64 {
        self.runs.disk_bytes()
    }

    /// Memory held by what finds entries, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.runs.bytes()
    }

    /// The runs for a manifest. Their files stay from now on.
    pub(crate) fn name_all(&self) -> Vec<RunRef> {
        self.runs.name_all()
    }

    /// Files that the next checkpoint no longer names.
    pub(crate) fn take_stale(&mut self) -> Vec<String> {
        self.runs.take_stale()
    }

    /// Takes in a merge of runs that is done, and begins one that is due.
    ///
    /// # Errors
    /// [`fleuve_types::ErrorKind::Io`] if a merge failed; nothing is lost.
    pub(crate) fn tidy(&mut self) -> Result<()> {
        self.runs.tidy()
    }
}

/// A state that can lie in runs.
pub(crate) trait Paged {
    /// `None` if it stays in memory as it is set up.
    fn pages(&mut self) -> &mut Option<Pages>;

    /// Writes what changed since [`Paged::written`], or everything, as runs, no key in two of them.
    fn write(&mut self, target: &Target<'_>) -> Result<Vec<Arc<Run>>>;

    /// What [`Paged::write`] wrote is in a run now.
    fn written(&mut self);

    /// Drops all that memory holds.
    fn drop_all(&mut self) -> Result<()>;

    /// Takes everything in.
    fn take_all(&mut self, all: Merge) -> Result<()>;
}

/// Where [`Paged::write`] writes to.
pub(crate) struct Target<'a> {
    runs: &'a RunSet,
    pub(crate) full: bool,
}

impl Target<'_> {
    /// Begins a run of at most so many different hashes.
    pub(crate) fn begin(&self, hashes: usize) -> Result<RunWriter> {
        self.runs.writer(hashes as u64)
    }

    /// False if no run has an entry of this hash: then it need not be said to be gone.
    pub(crate) fn may_hold(&self, hash: u64) -> bool {
        !self.full && may_hold(self.runs.runs(), hash)
    }
}

/// Writes what changed since the last flush as a run. From now on the state is kept in runs.
///
/// # Errors
/// [`fleuve_types::ErrorKind::Io`]; the state is as it was.
pub(crate) fn flush(state: &mut dyn Paged) -> Result<()> {
    let Some(mut pages) = state.pages().take() else { return Ok(()) };
    let written = state.write(&Target { runs: &pages.runs, full: !pages.active });
    let result = match written {
        Ok(runs) => {
            pages.active = true;
            runs.into_iter().for_each(|run| pages.runs.push(run));
            state.written();
            Ok(())
        }
        Err(e) => Err(e),
    };
    *state.pages() = Some(pages);
    result
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
        pages.tidy()?;
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
    let runs = RunSet::open(space.clone(), place.into(), Combine::Newest, refs)?;
    let complete = runs.disk_bytes() <= eager_bytes;
    if complete {
        state.take_all(runs.scan()?)?;
    }
    *state.pages() = Some(Pages { runs, active: true, complete });
    Ok(())
}

/// Rows of an arrangement as a part of a state in runs.
pub(crate) struct Rows<'a> {
    /// Tells the parts of one state apart.
    pub(crate) part: u8,
    pub(crate) rows: &'a Arrangement,
    /// By what a row is looked up, of its key and itself.
    pub(crate) hash: fn(&[u8], &[u8]) -> u64,
}

/// Marks the source of what is gone.
const GONE: u32 = 1 << 31;
/// The bytes of an entry's key before the row's key: its part, and the length of the row's key.
const PREFIX: usize = 5;

/// The key of an entry: its part, the key of the row with its length in front, the row.
pub(crate) fn entry_key(out: &mut Vec<u8>, part: u8, key: &[u8], row: &[u8]) {
    out.clear();
    out.push(part);
    out.extend_from_slice(&(key.len() as u32).to_be_bytes());
    out.extend_from_slice(key);
    out.extend_from_slice(row);
}

/// `(part, key, row)` of an entry's key.
///
/// # Errors
/// [`fleuve_types::ErrorKind::Io`] if it is none.
pub(crate) fn entry_parts(bytes: &[u8]) -> Result<(u8, &[u8], &[u8])> {
    let short = || Error::io("read a state run", "the key of an entry is too short");
    let (head, rest) = bytes.split_first_chunk::<PREFIX>().ok_or_else(short)?;
    let len = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
    let (key, row) = rest.split_at_checked(len).ok_or_else(short)?;
    Ok((head[0], key, row))
}

/// The weight that an entry's value says; 0 if the row is gone.
///
/// # Errors
/// [`fleuve_types::ErrorKind::Io`] if it says none.
pub(crate) fn entry_weight(value: Option<&[u8]>) -> Result<i64> {
    let Some(value) = value else { return Ok(0) };
    let bytes = value.try_into().map_err(|_| Error::io("read a state run", "a weight is damaged"))?;
    Ok(i64::from_le_bytes(bytes))
}

/// Writes the changed rows of arrangements (swept before) as a run.
pub(crate) fn write_rows(target: &Target<'_>, sources: &[Rows<'_>]) -> Result<Option<Arc<Run>>> {
    let mut items = vec![];
    for (n, source) in sources.iter().enumerate() {
        let hash = |slot: u32| (source.hash)(source.rows.key_of(slot), source.rows.row(slot));
        let source_at = n as u32;
        items.extend(source.rows.changed(target.full).into_iter().map(|at| Item {
            hash: hash(at),
            source: source_at,
            at,
        }));
        for (at, (key, row)) in source.rows.removed().iter().enumerate() {
            let hash = (source.hash)(key, row);
            // One that came back is among the changed.
            if target.may_hold(hash) && source.rows.row_slot(row).is_none() {
                items.push(Item { hash, source: source_at | GONE, at: at as u32 });
            }
        }
    }
    if items.is_empty() {
        return Ok(None);
    }
    let content = |item: &Item| -> (u8, &[u8], &[u8]) {
        let source = &sources[(item.source & !GONE) as usize];
        if item.source & GONE != 0 {
            let (key, row) = &source.rows.removed()[item.at as usize];
            (source.part, key, row)
        } else {
            (source.part, source.rows.key_of(item.at), source.rows.row(item.at))
        }
    };
    in_order::sort(&mut items, content);
    let mut writer = target.begin(items.len())?;
    let (mut key, mut last) = (vec![], vec![]);
    for item in &items {
        let (part, of, row) = content(item);
        entry_key(&mut key, part, of, row);
        // A row can have gone more than once.
        if key == last {
            continue;
        }
        let gone = item.source & GONE != 0;
        let weight = if gone { 0 } else { sources[item.source as usize].rows.weight(item.at) };
        writer.add(item.hash, &key, (!gone).then_some(&weight.to_le_bytes()))?;
        std::mem::swap(&mut key, &mut last);
    }
    writer.finish().map(Some)
}

/// A shard of a state that is nothing but rows with weights, in one or more tables.
pub(crate) trait TableShard: Default {
    /// By what the rows of a table are looked up: the hash of their key if not said otherwise.
    fn hash_of(table: u8) -> fn(&[u8], &[u8]) -> u64 {
        let _ = table;
        |key, _| hash_bytes(key)
    }

    /// The tables, swept.
    fn tables(&self) -> Vec<&Arrangement>;

    /// Sets the weight of a row to what a run says.
    fn fetch(&mut self, table: u8, key: &[u8], row: &[u8], weight: i64);

    /// Forgets what changed.
    fn written(&mut self);

    /// The hashes that it holds.
    fn resident(&mut self) -> &mut Resident;
}

/// Tables and keys, in order, each once.
pub(crate) type FetchedKeys = Vec<(u8, Vec<u8>)>;

/// Brings into a shard what it does not hold of these hashes; gives the keys that runs say something about.
pub(crate) fn fetch_rows<S: TableShard>(
    shard: &mut S,
    reader: Option<Reader<'_>>,
    hashes: impl Iterator<Item = u64>,
) -> Result<FetchedKeys> {
    let Some(reader) = reader else { return Ok(vec![]) };
    let mut resident = std::mem::take(shard.resident());
    let mut keys = FetchedKeys::new();
    let result = reader.fetch(&mut resident, hashes, false, |entry| take_row(shard, entry, Some(&mut keys)));
    *shard.resident() = resident;
    result?;
    keys.sort_unstable();
    keys.dedup();
    Ok(keys)
}

/// What memory does not hold of the rows of a part, as a shard of its own.
pub(crate) fn absent_rows<S: TableShard>(shards: &mut [S], pages: Option<&Pages>, part: Part) -> Result<Option<S>> {
    let Some(mut all) = pages.map(|p| p.scan(part)).transpose()?.flatten() else { return Ok(None) };
    let mut absent = S::default();
    while all.next()? {
        let entry = all.entry();
        let own = shard_of(entry.hash, shards.len());
        if !shards[own].resident().holds(entry.hash) {
            take_row(&mut absent, entry, None)?;
        }
    }
    Ok(Some(absent))
}

fn take_row<S: TableShard>(shard: &mut S, entry: Entry<'_>, keys: Option<&mut FetchedKeys>) -> Result<()> {
    let (table, key, row) = entry_parts(entry.key)?;
    shard.fetch(table, key, row, entry_weight(entry.value)?);
    if let Some(keys) = keys
        && keys.last().is_none_or(|(t, k)| (*t, k.as_slice()) != (table, key))
    {
        keys.push((table, key.to_vec()));
    }
    Ok(())
}

/// [`Paged::write`] of such a state.
pub(crate) fn write_shards<S: TableShard>(target: &Target<'_>, shards: &[S]) -> Result<Vec<Arc<Run>>> {
    let mut sources = vec![];
    for shard in shards {
        sources.extend((0..).zip(shard.tables()).map(|(part, rows)| Rows { part, rows, hash: S::hash_of(part) }));
    }
    Ok(write_rows(target, &sources)?.into_iter().collect())
}

/// [`Paged::take_all`] of such a state.
pub(crate) fn take_all_rows<S: TableShard>(shards: &mut [S], mut all: Merge) -> Result<()> {
    while all.next()? {
        let entry = all.entry();
        let shard = shard_of(entry.hash, shards.len());
        take_row(&mut shards[shard], entry, None)?;
    }
    Ok(())
}

/// Rows and which of them memory holds.
#[derive(Default)]
pub(crate) struct Held<R> {
    pub(crate) rows: R,
    pub(crate) resident: Resident,
}

/// [`Paged`] for an operator whose state is its `shards`, each a [`TableShard`], and which has `pages`.
macro_rules! paged_shards {
    ($operator:ty) => {
        impl $crate::state::Paged for $operator {
            fn pages(&mut self) -> &mut Option<$crate::state::Pages> {
                &mut self.pages
            }

            fn write(
                &mut self,
                target: &$crate::state::Target<'_>,
            ) -> fleuve_types::Result<Vec<std::sync::Arc<$crate::state::runs::Run>>> {
                $crate::state::write_shards(target, &self.shards)
            }

            fn written(&mut self) {
                self.shards.iter_mut().for_each($crate::state::TableShard::written);
            }

            fn drop_all(&mut self) -> fleuve_types::Result<()> {
                self.shards.iter_mut().for_each(|s| *s = Default::default());
                Ok(())
            }

            fn take_all(&mut self, all: $crate::state::runs::Merge) -> fleuve_types::Result<()> {
                $crate::state::take_all_rows(&mut self.shards, all)
            }
        }
    };
}
pub(crate) use paged_shards;
