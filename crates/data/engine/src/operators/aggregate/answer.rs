//! The present answer of an aggregate, from its groups.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use fleuve_types::{Delta, Error, Result};

use super::pages::{Fetched, Store};
use super::{Aggregate, Groups};
use crate::operators::concat_deltas;
use crate::operators::shard::{for_each, shard_of};
use crate::state::{Pages, Part, RowCodec};

impl Aggregate {
    /// Groups that wait for their window have not been put out.
    pub(super) fn has_answer(&self) -> bool {
        self.close_by.is_empty()
    }

    pub(super) fn answer_in(&mut self, part: Part) -> Result<Delta> {
        let mut rows = vec![];
        if let Some(mut absent) = self.absent(part)? {
            rows.push(absent.shown(part, self.global, &self.codec, &self.schema)?);
        }
        let held = self.shards.iter().map(|groups| groups.keys.len()).sum();
        let (is_global, codec, schema) = (self.global, &self.codec, &self.schema);
        rows.extend(for_each(&mut self.shards, held, |_, groups| groups.shown(part, is_global, codec, schema))?);
        let rows: Vec<Delta> = rows.into_iter().map(Delta::insert).collect();
        concat_deltas(&self.schema, &rows)
    }

    /// The groups of a part that memory does not hold.
    fn absent(&self, part: Part) -> Result<Option<Groups>> {
        let Some(mut all) = self.pages.as_ref().map(|p| Pages::scan(p, part)).transpose()?.flatten() else {
            return Ok(None);
        };
        let store = Store::of(&self.pages, &self.state_codec, &self.codec, &[]);
        let store = store.ok_or_else(|| Error::bug("groups lie in runs that cannot"))?;
        let mut groups = Groups::new(&self.calls, self.append_only)?;
        let mut fetched = Fetched::default();
        while all.next()? {
            let entry = all.entry();
            if !self.shards[shard_of(entry.hash, self.shards.len())].holds(entry.hash) {
                groups.note(entry, &mut fetched)?;
            }
        }
        groups.take_in(&fetched, &store)?;
        Ok(Some(groups))
    }

    /// The hashes of the groups of rows that were put out.
    pub(super) fn places_of(&self, rows: &Delta) -> Result<Vec<u64>> {
        let keys = self.codec.encode(&rows.batch.columns()[..self.codec.types().len()])?;
        Ok(keys.hashes(rows.len()))
    }
}

impl Groups {
    /// The rows of all groups of a part.
    fn shown(&mut self, part: Part, is_global: bool, codec: &RowCodec, schema: &SchemaRef) -> Result<RecordBatch> {
        let is_shown = |s: &u32| is_global || self.totals[*s as usize] != 0;
        let slots: Vec<u32> = self.keys.iter_part(part).filter(is_shown).collect();
        self.emit(&slots, codec, schema)
    }
}
