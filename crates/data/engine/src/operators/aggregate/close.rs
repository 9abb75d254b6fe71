//! Groups by event time: shown once, when no more rows can come for them, and then dropped.

use fleuve_types::{Delta, Result};

use super::{Aggregate, Groups, Store};
use crate::operators::map::concat;
use crate::operators::shard::{for_each, split};
use crate::state::{RowCodec, Windows};

impl Aggregate {
    /// Shows groups only when the watermark has passed them in one of these keys, which carry event time.
    pub(crate) fn close_by(&mut self, keys: Vec<usize>) {
        for shard in &mut self.shards {
            shard.windows = Windows::new(keys.len());
            shard.keys_tell &= keys.is_empty();
        }
        self.close_by = keys;
    }

    pub(super) fn show_closed(&mut self, watermarks: &[Option<i64>]) -> Result<Option<Delta>> {
        let due = self.pages.as_ref().map_or(Ok(vec![]), |pages| pages.due(watermarks))?;
        let parts = split(&due, self.shards.len());
        let rows = self.shards.iter().map(|s| s.keys.len()).sum::<usize>() + due.len();
        let (codec, schema) = (&self.codec, &self.schema);
        let store = Store::of(&self.pages, &self.state_codec, codec, &self.close_by);
        let outs = for_each(&mut self.shards, rows, |n, groups| {
            if let Some(store) = &store {
                groups.fetch(store, parts[n].iter().map(|i| due[*i as usize]))?;
            }
            let mut slots = groups.windows.closed(watermarks);
            slots.retain(|s| groups.is_group(*s));
            slots.sort_by(|a, b| groups.keys.key(*a).cmp(groups.keys.key(*b)));
            let shown = groups.emit(&slots, codec, schema)?;
            for slot in slots {
                groups.forget(slot);
            }
            // What was due may have gone long ago.
            let absent = parts[n].iter().map(|i| due[*i as usize]).filter(|hash| !groups.keys.has_hash(*hash));
            absent.for_each(|hash| groups.resident.dropped(hash));
            Ok(Delta::insert(shown))
        })?;
        Ok(Some(concat(schema, &outs)?))
    }

    /// The groups' times again, after they were loaded.
    pub(super) fn find_windows(&mut self) -> Result<()> {
        if self.close_by.is_empty() {
            return Ok(());
        }
        for groups in &mut self.shards {
            let slots: Vec<u32> = groups.keys.iter().collect();
            groups.date(&slots, &self.codec, &self.close_by)?;
        }
        Ok(())
    }
}

impl Groups {
    /// Groups that were not here before, by the times in their keys.
    pub(super) fn date(&mut self, slots: &[u32], codec: &RowCodec, close_by: &[usize]) -> Result<()> {
        if self.windows.is_off() {
            return Ok(());
        }
        let columns = codec.decode(slots.iter().map(|s| self.keys.key(*s)))?;
        self.windows.put_all(slots, &columns, close_by)
    }

    /// True if a slot holds a group.
    fn is_group(&self, slot: u32) -> bool {
        self.totals[slot as usize] != 0
    }

    fn forget(&mut self, slot: u32) {
        self.note_removed(slot);
        self.totals[slot as usize] = 0;
        self.dirty[slot as usize] = false;
        for a in &mut self.accumulators {
            a.forget(slot, self.keys.key(slot));
        }
        self.resident.dropped(self.keys.hash(slot));
        self.keys.remove(slot);
    }
}
