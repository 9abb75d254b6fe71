//! Groups by event time: shown once, when no more rows can come for them, and then dropped.

use fleuve_types::{Delta, Result};

use super::{Aggregate, Groups};
use crate::operators::map::concat;
use crate::operators::shard::for_each;
use crate::state::{Windows, times_at, times_of};

impl Aggregate {
    /// Shows groups only when the watermark has passed them in one of these keys, which carry event time.
    pub(crate) fn close_by(&mut self, keys: Vec<usize>) {
        for shard in &mut self.shards {
            shard.windows = Windows::new(keys.len());
        }
        self.close_by = keys;
    }

    pub(super) fn show_closed(&mut self, watermarks: &[Option<i64>]) -> Result<Option<Delta>> {
        let rows = self.shards.iter().map(|s| s.keys.len()).sum();
        let (codec, schema) = (&self.codec, &self.schema);
        let outs = for_each(&mut self.shards, rows, |_, groups| {
            let mut slots = groups.windows.closed(watermarks);
            slots.retain(|s| groups.is_group(*s));
            slots.sort_by(|a, b| groups.keys.key(*a).cmp(groups.keys.key(*b)));
            let shown = groups.emit(&slots, codec, schema)?;
            for slot in slots {
                groups.forget(slot);
            }
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
            let columns = self.codec.decode(slots.iter().map(|s| groups.keys.key(*s)))?;
            let times = self.close_by.iter().map(|k| times_of(&columns[*k])).collect::<Result<Vec<_>>>()?;
            for (row, slot) in slots.iter().enumerate() {
                groups.windows.put(*slot, times_at(&times, row));
            }
        }
        Ok(())
    }
}

impl Groups {
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
        self.keys.remove(slot);
    }
}
