//! Groups in runs. An entry is a group: its key, and as its value its total and what its accumulators save, as a row's bytes; or a
//! row of an accumulator's table, with its weight.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array};
use arrow::datatypes::DataType;
use fleuve_types::{Error, Result};
use rayon::prelude::*;

use super::{Aggregate, Groups};
use crate::operators::shard::shard_of;
use crate::state::runs::{Entry, Merge, Run};
use crate::state::{
    CALENDAR, Due, Encoded, Entries, Flat, Paged, Pages, Reader, Room, RowCodec, Rows, Target, Windows, copy_dues,
    copy_rows, entry_parts, entry_weight, hash_bytes, missing, write_dues, write_pieces, write_rows,
};

/// The part that the groups are; the accumulators' tables are those after it.
const GROUPS: u8 = 0;
/// So many groups are encoded, or taken in, at once.
const AT_ONCE: usize = 4_096;

/// A group to be written, and whether it is gone: then `at` is its place among those that are.
struct Item {
    hash: u64,
    shard: u32,
    at: u32,
    gone: bool,
}

/// Groups that were fetched, as bytes one after the other.
#[derive(Default)]
pub(super) struct Fetched {
    bytes: Vec<u8>,
    /// Hash, where the key ends, where the value ends; no value if the group is gone.
    groups: Vec<(u64, usize, usize, bool)>,
}

impl Fetched {
    fn note(&mut self, hash: u64, key: &[u8], value: Option<&[u8]>) {
        self.bytes.extend_from_slice(key);
        let key_end = self.bytes.len();
        self.bytes.extend_from_slice(value.unwrap_or_default());
        self.groups.push((hash, key_end, self.bytes.len(), value.is_some()));
    }

    /// `(hash, key, value)` of the groups that are there: of a group that was noted more than once the last.
    fn last_of_each(&self) -> Vec<(u64, &[u8], &[u8])> {
        let mut from = 0;
        let mut all: Vec<(u64, &[u8], &[u8], bool)> = Vec::with_capacity(self.groups.len());
        for (hash, key_end, end, there) in &self.groups {
            all.push((*hash, &self.bytes[from..*key_end], &self.bytes[*key_end..*end], *there));
            from = *end;
        }
        // Stable: what was noted last stays last.
        all.sort_by(|a, b| (a.0, a.1).cmp(&(b.0, b.1)));
        let is_last = |n: usize| all.get(n + 1).is_none_or(|next| (next.0, next.1) != (all[n].0, all[n].1));
        (0..all.len()).filter(|n| is_last(*n) && all[*n].3).map(|n| (all[n].0, all[n].1, all[n].2)).collect()
    }
}

impl Aggregate {
    /// The codec of what is saved of a group; `None` if that cannot be a row's bytes.
    pub(super) fn codec_of_states(&mut self) -> Option<RowCodec> {
        let mut types = vec![DataType::Int64];
        for a in &mut self.shards.first_mut()?.accumulators {
            types.extend(a.save_groups(&[]).ok()?.iter().map(|c| c.data_type().clone()));
        }
        RowCodec::new(types).ok()
    }

    /// One group has nothing to leave memory for.
    pub(super) fn can_page(&self) -> bool {
        let tables = self.shards.first().map_or(0, |g| g.accumulators.iter().map(|a| a.tables().len()).sum());
        !self.global && self.state_codec.is_some() && tables < usize::from(CALENDAR)
    }
}

/// Where groups are that memory does not hold, and what reads them.
#[derive(Clone, Copy)]
pub(super) struct Store<'a> {
    reader: Option<Reader<'a>>,
    states: &'a RowCodec,
    keys: &'a RowCodec,
    close_by: &'a [usize],
}

impl<'a> Store<'a> {
    /// `None` if all groups are in memory for good.
    pub(super) fn of(
        pages: &'a Option<Pages>,
        states: &'a Option<RowCodec>,
        keys: &'a RowCodec,
        close_by: &'a [usize],
    ) -> Option<Self> {
        Some(Self { reader: pages.as_ref()?.reader(), states: states.as_ref()?, keys, close_by })
    }
}

impl Groups {
    /// Brings the groups of these hashes into memory.
    pub(super) fn fetch(&mut self, store: &Store<'_>, hashes: impl Iterator<Item = u64>) -> Result<()> {
        let Some(reader) = store.reader else { return Ok(()) };
        let whole = self.accumulators.iter().all(|a| a.tables().is_empty());
        let mut fetched = Fetched::default();
        let missing = missing(hashes, |hash| self.holds(hash));
        reader.fetch(&missing, whole, |entry| self.note(entry, &mut fetched))?;
        if !self.keys_tell {
            self.resident.hold(&missing);
        }
        self.take_in(&fetched, store)
    }

    /// Whether memory holds all that there is of a hash, if not all is held.
    pub(super) fn holds(&self, hash: u64) -> bool {
        if self.keys_tell { self.keys.has_hash(hash) } else { self.resident.holds(hash) }
    }

    pub(super) fn note(&mut self, entry: Entry<'_>, fetched: &mut Fetched) -> Result<()> {
        let (part, key, row) = entry_parts(entry.key)?;
        if part == GROUPS {
            fetched.note(entry.hash, key, entry.value);
            return Ok(());
        }
        if part == CALENDAR {
            return Ok(());
        }
        let mut table = usize::from(part) - 1;
        for a in &mut self.accumulators {
            let tables = a.tables().len();
            if table < tables {
                a.fetch(table, key, row, entry_weight(entry.value)?);
                return Ok(());
            }
            table -= tables;
        }
        Err(Error::io("read a state run", "it names an aggregate that is not there"))
    }

    pub(super) fn take_in(&mut self, fetched: &Fetched, store: &Store<'_>) -> Result<()> {
        let groups = fetched.last_of_each();
        for groups in groups.chunks(AT_ONCE) {
            let columns = store.states.decode(groups.iter().map(|g| g.2))?;
            let damaged = || Error::io("read a state run", "a group has no total");
            let totals: &Int64Array = columns.first().and_then(|c| c.as_primitive_opt()).ok_or_else(damaged)?;
            let slots: Vec<u32> = groups.iter().map(|(hash, key, _)| self.group(*hash, key).0).collect();
            for (row, slot) in slots.iter().enumerate() {
                self.totals[*slot as usize] = totals.value(row);
                self.dirty[*slot as usize] = false;
            }
            let mut column = 1;
            for a in &mut self.accumulators {
                let width = a.state_width();
                let state = columns.get(column..column + width).ok_or_else(damaged)?;
                for (row, slot) in slots.iter().enumerate() {
                    a.load_group(*slot, state, row)?;
                }
                column += width;
            }
            self.date(&slots, store.keys, store.close_by)?;
        }
        Ok(())
    }

    /// The times of the groups that changed, or of all.
    fn dues(&self, full: bool) -> Vec<Due> {
        let mut out = vec![];
        if !self.windows.is_off() {
            let slots = self.keys.iter().filter(|s| full || self.dirty[*s as usize]);
            slots.for_each(|slot| self.windows.dues(slot, self.keys.hash(slot), 0, &mut out));
        }
        out
    }

    /// What is saved of groups, as rows.
    fn encode(&mut self, slots: &[u32], codec: &RowCodec) -> Result<Encoded> {
        let totals: Int64Array = slots.iter().map(|s| self.totals[*s as usize]).collect();
        let mut columns: Vec<ArrayRef> = vec![Arc::new(totals)];
        for a in &mut self.accumulators {
            columns.extend(a.save_groups(slots)?);
        }
        codec.encode(&columns)
    }

    /// The groups that changed, or all.
    fn items(&mut self, shard: u32, target: &Target<'_>, out: &mut Vec<Item>) {
        let slots = self.keys.iter().filter(|s| target.full || self.dirty[*s as usize]);
        out.extend(slots.map(|at| Item { hash: self.keys.hash(at), shard, at, gone: false }));
        self.removed.sort_unstable();
        self.removed.dedup();
        for (at, key) in self.removed.iter().enumerate() {
            let hash = hash_bytes(key);
            if target.may_hold(hash) && self.keys.get(hash, key).is_none() {
                out.push(Item { hash, shard, at: at as u32, gone: true });
            }
        }
    }

    /// Copies the groups that changed, or all, and the rows of their tables, as far as there is room.
    fn copy(&mut self, target: &Target<'_>, codec: &RowCodec, room: &Room) -> Result<Entries> {
        let mut out = Entries::default();
        let mut items = vec![];
        self.items(0, target, &mut items);
        let (gone, mut there): (Vec<Item>, Vec<Item>) = items.into_iter().partition(|item| item.gone);
        // As they lie in memory.
        there.sort_unstable_by_key(|item| item.at);
        let has_room = gone.iter().all(|item| out.push(room, item.hash, (GROUPS, self.key_of(item), &[]), None));
        for groups in there.chunks(AT_ONCE).take_while(|_| has_room) {
            let slots: Vec<u32> = groups.iter().map(|item| item.at).collect();
            let states = self.encode(&slots, codec)?;
            let mut groups = groups.iter().enumerate();
            let mut push = |(n, item): (usize, &Item)| {
                out.push(room, item.hash, (GROUPS, self.keys.key(item.at), &[]), Some(states.row(n)))
            };
            if !groups.all(&mut push) {
                return Ok(out);
            }
        }
        for (rows, part) in self.accumulators.iter().flat_map(|a| a.tables()).zip(GROUPS + 1..) {
            copy_rows(target, room, &Rows { part, rows, hash: |key, _| hash_bytes(key) }, &mut out);
        }
        copy_dues(target, room, self.dues(target.full), &mut out);
        Ok(out)
    }

    fn key_of(&self, item: &Item) -> &[u8] {
        if item.gone { &self.removed[item.at as usize] } else { self.keys.key(item.at) }
    }
}

impl Aggregate {
    fn write_groups(&mut self, target: &Target<'_>) -> Result<Option<Arc<Run>>> {
        let Some(codec) = &self.state_codec else { return Ok(None) };
        let shards = &mut self.shards;
        let mut items = vec![];
        for (n, groups) in shards.iter_mut().enumerate() {
            groups.items(n as u32, target, &mut items);
        }
        if items.is_empty() {
            return Ok(None);
        }
        items.par_sort_unstable_by_key(|item| item.hash);
        for same in items.chunk_by_mut(|a, b| a.hash == b.hash).filter(|same| same.len() > 1) {
            let key = |item: &Item| shards[item.shard as usize].key_of(item);
            same.sort_unstable_by(|a, b| (key(a).len(), key(a)).cmp(&(key(b).len(), key(b))));
        }
        let mut writer = target.begin(items.len())?;
        write_pieces(&mut writer, &items, |items| {
            let mut slots: Vec<Vec<u32>> = vec![vec![]; shards.len()];
            for item in items.iter().filter(|i| !i.gone) {
                slots[item.shard as usize].push(item.at);
            }
            let states = shards.iter_mut().zip(&slots).map(|(g, s)| g.encode(s, codec)).collect::<Result<Vec<_>>>()?;
            let mut next = vec![0; shards.len()];
            let mut flat = Flat::default();
            for item in items {
                let n = item.shard as usize;
                let state = (!item.gone).then(|| states[n].row(next[n]));
                next[n] += usize::from(!item.gone);
                flat.push(item.hash, (GROUPS, shards[n].key_of(item), &[]), state);
            }
            Ok(flat)
        })?;
        writer.finish().map(Some)
    }
}

impl Paged for Aggregate {
    fn pages(&mut self) -> &mut Option<Pages> {
        &mut self.pages
    }

    fn write(&mut self, target: &Target<'_>) -> Result<Vec<Arc<Run>>> {
        let mut runs: Vec<Arc<Run>> = self.write_groups(target)?.into_iter().collect();
        let mut tables = vec![];
        for groups in &self.shards {
            let rows = groups.accumulators.iter().flat_map(|a| a.tables()).zip(GROUPS + 1..);
            tables.extend(rows.map(|(rows, part)| Rows { part, rows, hash: |key, _| hash_bytes(key) }));
        }
        runs.extend(write_rows(target, &tables)?);
        runs.extend(write_dues(target, self.shards.iter().flat_map(|groups| groups.dues(target.full)).collect())?);
        Ok(runs)
    }

    fn copy(&mut self, target: &Target<'_>, room: &Room) -> Result<Vec<Entries>> {
        let Some(codec) = &self.state_codec else { return Ok(vec![]) };
        self.shards.par_iter_mut().map(|groups| groups.copy(target, codec, room)).collect()
    }

    fn written(&mut self) {
        self.shards.par_iter_mut().for_each(|groups| {
            groups.dirty.fill(false);
            groups.removed = vec![];
            groups.removed_bytes = 0;
            groups.accumulators.iter_mut().for_each(|a| a.entries_loaded());
            groups.resident.written(|hash| groups.keys.has_hash(hash));
        });
    }

    fn drop_all(&mut self) -> Result<()> {
        for groups in &mut self.shards {
            let closes = !self.close_by.is_empty();
            let keys_tell = self.append_only && !closes;
            let windows = Windows::new(self.close_by.len());
            *groups = Groups { keys_tell, windows, ..Groups::new(&self.calls, self.append_only)? };
        }
        Ok(())
    }

    fn take_all(&mut self, mut all: Merge) -> Result<()> {
        // Times are found for all groups at once, later.
        let Some(store) = Store::of(&self.pages, &self.state_codec, &self.codec, &[]) else { return Ok(()) };
        let shards = self.shards.len();
        let mut fetched: Vec<Fetched> = (0..shards).map(|_| Fetched::default()).collect();
        while all.next()? {
            let entry = all.entry();
            let shard = shard_of(entry.hash, shards);
            self.shards[shard].note(entry, &mut fetched[shard])?;
            if fetched[shard].groups.len() >= AT_ONCE {
                self.shards[shard].take_in(&std::mem::take(&mut fetched[shard]), &store)?;
            }
        }
        self.shards.iter_mut().zip(&fetched).try_for_each(|(groups, fetched)| groups.take_in(fetched, &store))
    }
}
