//! The rows of an index, which the joins of other circuits read: those of one wave side by side, and builds while epochs go on.
//!
//! A live reader finds the rows as they are, and what it had to fetch stays in memory. A build reads the rows as they were when its
//! round began: the index notes for it what changed since ([`Since`]), and that is taken out of what is found. It changes nothing of
//! what memory holds.

use std::collections::HashSet;
use std::sync::{Arc, Weak};

use arrow::datatypes::{FieldRef, SchemaRef};
use fleuve_types::{ColumnPart, Delta, Error, Result, narrow_struct};
use parking_lot::{Mutex, RwLock};

use crate::lookup::Found;
use crate::operators::shard_of;
use crate::state::runs::{Combine, Merge, read_many};
use crate::state::{
    Arrangement, Part, Reader, Resident, RowCodec, SharedRuns, TableShard, batch_of, fetch_rows, hash_bytes, take_row,
};

/// Rows by key, in shards. See the module.
pub(super) struct Arranged {
    pub(super) schema: SchemaRef,
    pub(super) codec: RowCodec,
    /// The columns of the key, among those of the rows.
    pub(super) by: Vec<usize>,
    pub(super) key_codec: RowCodec,
    pub(super) shards: Vec<RwLock<Shard>>,
    builds: Mutex<Vec<Weak<Since>>>,
}

#[derive(Default)]
pub(super) struct Shard {
    pub(super) rows: Arrangement,
    pub(super) resident: Resident,
    /// Where the rows are that memory does not hold; `None` if it holds all.
    pub(super) runs: Option<SharedRuns>,
}

impl Shard {
    pub(super) fn bytes(&self) -> usize {
        self.rows.bytes() + self.resident.bytes()
    }
}

impl TableShard for Shard {
    fn tables(&self) -> Vec<&Arrangement> {
        vec![&self.rows]
    }

    fn fetch(&mut self, _: u8, key: &[u8], row: &[u8], weight: i64) {
        self.rows.fetch(key, row, weight);
    }

    fn written(&mut self) {
        self.rows.mark_saved();
    }

    fn resident(&mut self) -> &mut Resident {
        &mut self.resident
    }
}

/// What changed since a build's round began, in the shards of the index; of rows with a NULL key, too.
pub(crate) struct Since {
    pub(super) shards: Vec<Mutex<Arrangement>>,
}

impl Arranged {
    pub(super) fn new(schema: SchemaRef, by: Vec<usize>, shards: usize) -> Result<Self> {
        let types = by.iter().map(|at| schema.field(*at).data_type().clone()).collect();
        Ok(Self {
            codec: RowCodec::for_schema(&schema)?,
            key_codec: RowCodec::new(types)?,
            schema,
            by,
            shards: (0..shards).map(|_| RwLock::default()).collect(),
            builds: Mutex::default(),
        })
    }

    /// Those for which changes are noted.
    pub(super) fn builds(&self) -> Vec<Arc<Since>> {
        let mut builds = self.builds.lock();
        builds.retain(|b| b.strong_count() > 0);
        builds.iter().filter_map(Weak::upgrade).collect()
    }
}

type Key<'a> = (u64, &'a [u8]);

/// Rows that were found, as bytes.
#[derive(Default)]
struct Bytes {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    keys: Vec<usize>,
    weights: Vec<i64>,
}

impl Bytes {
    fn push(&mut self, key: usize, row: &[u8], weight: i64) {
        self.bytes.extend_from_slice(row);
        self.ends.push(self.bytes.len());
        self.keys.push(key);
        self.weights.push(weight);
    }

    /// The rows of some of `keys`; with `only_keys` these themselves, as often as they have rows.
    fn take(&mut self, rows: &Arrangement, keys: &[Key<'_>], own: &[usize], only_keys: bool) {
        for at in own {
            let (hash, key) = keys[*at];
            let Some(slot) = rows.key_slot(hash, key) else { continue };
            if only_keys {
                self.push(*at, key, rows.total(hash, key));
            } else {
                rows.rows_of(slot).for_each(|row| self.push(*at, rows.row(row), rows.weight(row)));
            }
        }
    }

    fn all(&self) -> Vec<&[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(from, to)| &self.bytes[from..*to]).collect()
    }
}

/// An index in which rows are looked up, with the columns that are read. Cheap to clone.
#[derive(Clone)]
pub(crate) struct IndexReader {
    arranged: Arc<Arranged>,
    /// Of a build: what was not there when its round began.
    since: Option<Arc<Since>>,
    /// Where the columns stand that are read: among those of the key if these are all, else among all.
    columns: Vec<usize>,
    only_keys: bool,
    schema: SchemaRef,
}

impl IndexReader {
    /// One that reads all columns.
    pub(super) fn new(arranged: Arc<Arranged>) -> Self {
        let schema = arranged.schema.clone();
        let columns = (0..schema.fields().len()).collect();
        Self { arranged, since: None, columns, only_keys: false, schema }
    }

    /// One that reads `wanted` columns, as `schema` says; `held` are those of the index, as they stand in the relation, and `key` is what
    /// rows are looked up by.
    ///
    /// # Errors
    /// When it is by other columns than these, or does not hold what is wanted.
    pub(crate) fn of(
        self,
        held: &[ColumnPart],
        key: &[usize],
        wanted: &[ColumnPart],
        schema: SchemaRef,
    ) -> Result<Self> {
        let arranged = &self.arranged;
        let by = arranged.by.iter().map(|at| held.get(*at).map(|part| part.at));
        if !by.eq(key.iter().map(|at| Some(*at))) {
            return Err(Error::input("the index in which rows are looked up is by other columns by now"));
        }
        let place = |(part, field): (&ColumnPart, &FieldRef)| {
            let at = held.iter().position(|h| h.at == part.at)?;
            let own = arranged.schema.fields().get(at)?;
            (part.field(own).data_type() == field.data_type()).then_some(at)
        };
        let columns: Option<Vec<usize>> = wanted.iter().zip(schema.fields()).map(place).collect();
        let Some(columns) = columns else {
            return Err(Error::input("the index in which rows are looked up holds other columns by now"));
        };
        let in_key = columns.iter().map(|c| arranged.by.iter().position(|k| k == c)).collect::<Option<Vec<_>>>();
        let only_keys = in_key.is_some();
        Ok(Self { columns: in_key.unwrap_or(columns), only_keys, schema, ..self })
    }

    /// One that goes on to find the rows as they are now, whatever changes.
    pub(crate) fn as_it_is(&self) -> Self {
        let shards = self.arranged.shards.iter().map(|_| Mutex::default()).collect();
        let since = Arc::new(Since { shards });
        self.arranged.builds.lock().push(Arc::downgrade(&since));
        Self { since: Some(since), ..self.clone() }
    }

    /// True if both read the same rows.
    pub(crate) fn is_of(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.arranged, &other.arranged)
    }

    /// Memory that what changed since takes.
    pub(crate) fn bytes_since(&self) -> usize {
        self.since.iter().flat_map(|s| &s.shards).map(|s| s.lock().bytes()).sum()
    }

    /// What changed since, in the columns that are read.
    ///
    /// # Errors
    /// Arrow's.
    pub(crate) fn changes_since(&self) -> Result<Delta> {
        let mut found = Bytes::default();
        for shard in self.since.iter().flat_map(|s| &s.shards) {
            let rows = shard.lock();
            rows.iter().for_each(|slot| {
                let row = if self.only_keys { rows.key_of(slot) } else { rows.row(slot) };
                found.push(0, row, rows.weight(slot));
            });
        }
        let Found { rows, weights, .. } = self.decode(found)?;
        Delta::weighted(rows, weights)
    }

    /// How many rows there are, about.
    pub(crate) fn rows(&self) -> usize {
        let of = |shard: &RwLock<Shard>| {
            let shard = shard.read();
            (shard.rows.len(), shard.runs.as_ref().map_or(0, |runs| runs.iter().map(|r| r.entries()).sum::<u64>()))
        };
        let (held, in_runs) =
            self.arranged.shards.iter().map(of).fold((0, 0), |all, one| (all.0 + one.0, all.1.max(one.1)));
        held.max(in_runs as usize)
    }

    /// The rows of a share of the keys, as they were when the round began, of a reader that goes on to find these. The index has to be of a
    /// stream.
    ///
    /// # Errors
    /// As [`IndexReader::find`].
    pub(crate) fn part(&self, part: Part) -> Result<Delta> {
        let since = self.since.as_ref().ok_or_else(|| Error::bug("an index that goes on is read as it was"))?;
        let shards = &self.arranged.shards;
        let mut before = Arrangement::default();
        let mut add = |from: &Arrangement, sign: i64, is_wanted: &dyn Fn(u64) -> bool| {
            for slot in from.iter() {
                let (key, row) = (from.key_of(slot), from.row(slot));
                let hash = hash_bytes(key);
                if part.holds(hash) && is_wanted(hash) {
                    before.add(hash, key, hash_bytes(row), row, sign * from.weight(slot));
                }
            }
        };
        // Of each shard where the rows are that memory does not hold, and the hashes that it does.
        let mut elsewhere: Vec<Option<(SharedRuns, HashSet<u64>)>> = vec![];
        for (shard, since) in shards.iter().zip(&since.shards) {
            let (shard, changes) = (shard.read(), since.lock());
            add(&shard.rows, 1, &|hash| shard.runs.is_none() || shard.resident.holds(hash));
            add(&changes, -1, &|_| true);
            let held = || shard.resident.iter().filter(|hash| part.holds(*hash)).collect();
            elsewhere.push(shard.runs.clone().map(|runs| (runs, held())));
        }
        let mut absent = Shard::default();
        for (n, (runs, _)) in elsewhere.iter().enumerate().filter_map(|(n, e)| Some((n, e.as_ref()?))) {
            let is_same = |at: usize| elsewhere[at].as_ref().filter(|(own, _)| Arc::ptr_eq(own, runs));
            if (0..n).any(|at| is_same(at).is_some()) {
                continue;
            }
            let mut all = Merge::range(runs, Combine::Newest, true, part.bounds())?;
            while all.next()? {
                let entry = all.entry();
                let own = is_same(shard_of(entry.hash, shards.len()));
                if own.is_some_and(|(_, held)| !held.contains(&entry.hash)) {
                    take_row(&mut absent, entry, None)?;
                }
            }
        }
        add(&absent.rows, 1, &|_| true);
        let mut found = Bytes::default();
        // A row with a NULL in its key that came since is noted, and never was in the index.
        before.iter().filter(|slot| before.weight(*slot) > 0).for_each(|slot| {
            let row = if self.only_keys { before.key_of(slot) } else { before.row(slot) };
            found.push(0, row, before.weight(slot));
        });
        let Found { rows, weights, .. } = self.decode(found)?;
        Delta::weighted(rows, weights)
    }

    /// The rows with these keys, `(hash, encoded key)` in order and each once. Where they lie makes no difference.
    ///
    /// # Errors
    /// Arrow's, and [`fleuve_types::ErrorKind::Io`] if what lies on disk cannot be read.
    pub(crate) fn find(&self, keys: &[(u64, &[u8])]) -> Result<Found> {
        let shards = self.arranged.shards.len();
        let mut by_shard: Vec<Vec<usize>> = vec![vec![]; shards];
        for (at, (hash, _)) in keys.iter().enumerate() {
            by_shard[shard_of(*hash, shards)].push(at);
        }
        let mut found = Bytes::default();
        for (s, own) in by_shard.iter().enumerate().filter(|(_, own)| !own.is_empty()) {
            match &self.since {
                None => self.find_now(s, keys, own, &mut found)?,
                Some(since) => self.find_before(s, since, keys, own, &mut found)?,
            }
        }
        self.decode(found)
    }

    fn find_now(&self, s: usize, keys: &[Key<'_>], own: &[usize], found: &mut Bytes) -> Result<()> {
        let mut shard = self.arranged.shards[s].write();
        if let Some(runs) = shard.runs.clone() {
            // The index goes on if this fails: what was read by then counts for nothing.
            fetch_rows(&mut *shard, Some(Reader::of(&runs)), own.iter().map(|at| keys[*at].0))?;
        }
        found.take(&shard.rows, keys, own, self.only_keys);
        Ok(())
    }

    fn find_before(&self, s: usize, since: &Since, keys: &[Key<'_>], own: &[usize], found: &mut Bytes) -> Result<()> {
        let shard = self.arranged.shards[s].read();
        let changes = since.shards[s].lock();
        if shard.runs.is_none() && changes.len() == 0 {
            found.take(&shard.rows, keys, own, self.only_keys);
            return Ok(());
        }
        let held = |at: &&usize| shard.runs.is_none() || shard.resident.holds(keys[**at].0);
        let (here, elsewhere): (Vec<&usize>, Vec<&usize>) = own.iter().partition(held);
        let here: Vec<usize> = here.into_iter().copied().collect();
        let (mut rows, mut changed) = (Bytes::default(), Bytes::default());
        rows.take(&shard.rows, keys, &here, false);
        changed.take(&changes, keys, own, false);
        let runs = shard.runs.clone();
        drop(changes);
        // Runs do not change: nobody waits while they are read.
        drop(shard);
        let mut before = Shard::default();
        if let Some(runs) = runs {
            let mut hashes: Vec<u64> = elsewhere.iter().map(|at| keys[**at].0).collect();
            hashes.dedup();
            read_many(&runs, &hashes, false, |entry| take_row(&mut before, entry, None))?;
        }
        let mut add = |bytes: &Bytes, sign: i64| {
            for ((row, at), weight) in bytes.all().into_iter().zip(&bytes.keys).zip(&bytes.weights) {
                let (hash, key) = keys[*at];
                before.rows.add(hash, key, hash_bytes(row), row, sign * weight);
            }
        };
        add(&rows, 1);
        add(&changed, -1);
        before.rows.sweep();
        found.take(&before.rows, keys, own, self.only_keys);
        Ok(())
    }

    fn decode(&self, found: Bytes) -> Result<Found> {
        let codec = if self.only_keys { &self.arranged.key_codec } else { &self.arranged.codec };
        let whole = codec.decode(found.all().into_iter())?;
        let columns = self.columns.iter().map(|c| &whole[*c]).zip(self.schema.fields());
        let narrow = columns.map(|(c, f)| narrow_struct(c, f.data_type())).collect::<Result<_>>()?;
        let rows = batch_of(&self.schema, narrow, found.keys.len())?;
        Ok(Found { keys: found.keys, rows, weights: found.weights })
    }
}
