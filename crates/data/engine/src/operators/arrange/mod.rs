//! An index: the rows of what it reads, kept by some of their columns for the joins of other circuits. It puts nothing out.
//!
//! Rows with a NULL in one of these columns are not kept: nothing joins to them. The rows are [`Arranged`], which readers share.
//!
//! Readers look up in tasks of the thread pool, and may wait for a shard there. So whoever holds a shard to write waits for no other task; what
//! does so while it writes runs only reads the shards.

mod arranged;

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::datatypes::SchemaRef;
use fleuve_types::{Delta, Result};
use parking_lot::RwLock;
use rayon::prelude::*;

pub(crate) use self::arranged::IndexReader;
use self::arranged::{Arranged, Shard};
use super::shard::{for_each_by, shard_of, split};
use super::{Operator, StepContext};
use crate::state::runs::{Merge, Run};
use crate::state::{
    Entries, Paged, Pages, Room, Rows, TableShard, Target, changes_from_batch, changes_to_batch, copy_rows, fetch_rows,
    hash_bytes, take_all_rows, write_rows,
};

/// As many shards for each core as a join has: it looks up shard by shard.
const SHARDS_PER_CORE: usize = super::join::SHARDS_PER_CORE;

pub(crate) struct Arrange {
    arranged: Arc<Arranged>,
    pages: Option<Pages>,
}

impl Arrange {
    /// `by` are places of columns in `schema`.
    pub(crate) fn new(schema: SchemaRef, by: Vec<usize>, shards: usize) -> Result<Self> {
        Ok(Self { arranged: Arc::new(Arranged::new(schema, by, shards * SHARDS_PER_CORE)?), pages: None })
    }

    fn shards(&self) -> &[RwLock<Shard>] {
        &self.arranged.shards
    }
}

impl Operator for Arrange {
    fn step(&mut self, inputs: &[Delta], _: StepContext) -> Result<Delta> {
        let delta = &inputs[0];
        let columns: Vec<ArrayRef> = self.arranged.by.iter().map(|at| delta.batch.column(*at).clone()).collect();
        let keys = self.arranged.key_codec.encode(&columns)?;
        let hashes = keys.hashes(delta.len());
        let nulls: Vec<_> = columns.iter().filter_map(|c| c.logical_nulls()).collect();
        let is_null = |row: usize| nulls.iter().any(|n| n.is_null(row));
        let rows = self.arranged.codec.encode(delta.batch.columns())?;
        let parts = split(&hashes, self.shards().len());
        let reader = self.pages.as_ref().and_then(Pages::reader);
        let runs = self.pages.as_ref().and_then(Pages::shared_runs);
        let builds = self.arranged.builds();
        let mut shards: Vec<&RwLock<Shard>> = self.shards().iter().collect();
        let counts: Vec<usize> = parts.iter().map(Vec::len).collect();
        for_each_by(&mut shards, &counts, |s, shard| {
            let mut shard = shard.write();
            shard.runs.clone_from(&runs);
            let held = || parts[s].iter().map(|i| *i as usize).filter(|i| !is_null(*i));
            fetch_rows(&mut *shard, reader, held().map(|i| hashes[i]))?;
            for i in held() {
                let row = rows.row(i);
                shard.rows.add(hashes[i], keys.row(i), hash_bytes(row), row, delta.weight(i));
            }
            shard.rows.sweep();
            for build in &builds {
                let mut since = build.shards[s].lock();
                for i in parts[s].iter().map(|i| *i as usize) {
                    let row = rows.row(i);
                    since.add(hashes[i], keys.row(i), hash_bytes(row), row, delta.weight(i));
                }
                since.sweep();
            }
            Ok(())
        })?;
        Ok(Delta::empty(self.arranged.schema.clone()))
    }

    fn arranged(&self) -> Option<IndexReader> {
        Some(IndexReader::new(self.arranged.clone()))
    }

    fn describe(&self) -> String {
        let name = |at: &usize| self.arranged.schema.field(*at).name().as_str();
        let names: Vec<&str> = self.arranged.by.iter().map(name).collect();
        format!("Index: by {}", names.join(", "))
    }

    fn state_rows(&self) -> usize {
        let held = self.shards().iter().map(|s| s.read().rows.len()).sum();
        self.pages.as_ref().map_or(held, |p| p.rows(held))
    }

    fn state_bytes(&self) -> usize {
        let shards: usize = self.shards().iter().map(|s| s.read().bytes()).sum();
        self.pages.as_ref().map_or(0, Pages::bytes) + shards
    }

    fn save(&mut self, full: bool) -> Result<Vec<RecordBatch>> {
        self.shards().iter().map(|s| changes_to_batch(0, &s.write().rows.take_changes(full))).collect()
    }

    fn load(&mut self, batch: &RecordBatch) -> Result<()> {
        let shards = self.shards();
        changes_from_batch(batch, |_, key, row, weight| {
            shards[shard_of(hash_bytes(key), shards.len())].write().rows.restore(key, row, weight);
        })?;
        shards.iter().for_each(|s| s.write().rows.mark_saved());
        Ok(())
    }

    fn loaded(&mut self) -> Result<()> {
        let runs = self.pages.as_ref().and_then(Pages::shared_runs);
        self.shards().iter().for_each(|s| s.write().runs.clone_from(&runs));
        Ok(())
    }

    fn paged(&mut self) -> Option<&mut dyn Paged> {
        Some(self)
    }

    fn pages(&self) -> Option<&Pages> {
        self.pages.as_ref()
    }
}

impl Paged for Arrange {
    fn pages(&mut self) -> &mut Option<Pages> {
        &mut self.pages
    }

    fn write(&mut self, target: &Target<'_>) -> Result<Vec<Arc<Run>>> {
        let shards: Vec<_> = self.shards().iter().map(RwLock::read).collect();
        let sources: Vec<Rows<'_>> =
            shards.iter().map(|s| Rows { part: 0, rows: &s.rows, hash: Shard::hash_of(0) }).collect();
        Ok(write_rows(target, &sources)?.into_iter().collect())
    }

    fn copy(&mut self, target: &Target<'_>, room: &Room) -> Result<Vec<Entries>> {
        let copy = |shard: &RwLock<Shard>| {
            let (shard, mut out) = (shard.read(), Entries::default());
            copy_rows(target, room, &Rows { part: 0, rows: &shard.rows, hash: Shard::hash_of(0) }, &mut out);
            out
        };
        Ok(self.shards().par_iter().map(copy).collect())
    }

    fn written(&mut self) {
        self.shards().par_iter().for_each(|s| s.write().written());
    }

    /// A reader finds a key in memory or in these runs, whenever it looks.
    fn drop_all(&mut self) -> Result<()> {
        let runs = self.pages.as_ref().map(Pages::all_runs);
        self.shards().iter().for_each(|s| *s.write() = Shard { runs: runs.clone(), ..Shard::default() });
        Ok(())
    }

    fn take_all(&mut self, all: Merge) -> Result<()> {
        let mut shards: Vec<Shard> = self.shards().iter().map(|s| std::mem::take(&mut *s.write())).collect();
        let taken = take_all_rows(&mut shards, all);
        self.shards().iter().zip(shards).for_each(|(own, shard)| *own.write() = shard);
        taken
    }
}
