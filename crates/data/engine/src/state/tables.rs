//! States in runs that are nothing but rows with weights, and the entries that rows are.

use std::sync::Arc;

use fleuve_types::{Error, Result};
use rayon::prelude::*;

use super::arrangement::Arrangement;
use super::bytes::hash_bytes;
use super::calendar::{Due, copy_dues, write_dues};
use super::entries::{Entries, Room};
use super::flat::{Flat, write_pieces};
use super::in_order::{self, Item};
use super::pages::{Pages, Part, Reader, Resident, Target, missing};
use super::runs::{Entry, Merge, Run};
use crate::operators::{for_each, shard_of, split};

/// Rows of an arrangement as a part of a state in runs.
pub(crate) struct Rows<'a> {
    /// Tells the parts of one state apart.
    pub(crate) part: u8,
    pub(crate) rows: &'a Arrangement,
    /// By what a row is looked up, of its key and itself.
    pub(crate) hash: fn(&[u8], &[u8]) -> u64,
}

/// The part of entries that tell times: see [`Pages::due`].
pub(crate) const CALENDAR: u8 = u8::MAX;
/// Marks the source of what is gone.
const GONE: u32 = 1 << 31;
/// The bytes of an entry's key before the row's key: its part, and the length of the row's key.
pub(super) const PREFIX: usize = 5;

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
    let mut last = None;
    write_pieces(&mut writer, &items, |items| {
        let mut flat = Flat::default();
        for item in items {
            let now = content(item);
            // A row can have gone more than once.
            if last.replace(now) == Some(now) {
                continue;
            }
            let is_gone = item.source & GONE != 0;
            let weight = if is_gone { 0 } else { sources[item.source as usize].rows.weight(item.at) };
            flat.push(item.hash, now, (!is_gone).then_some(&weight.to_le_bytes()));
        }
        Ok(flat)
    })?;
    writer.finish().map(Some)
}

/// Copies the changed rows of an arrangement (swept before), as far as there is room.
pub(crate) fn copy_rows(target: &Target<'_>, room: &Room, source: &Rows<'_>, out: &mut Entries) {
    let Rows { part, rows, hash } = source;
    for (key, row) in rows.removed() {
        let hash = hash(key, row);
        // One that came back is among the changed.
        let is_told = target.may_hold(hash) && rows.row_slot(row).is_none();
        if is_told && !out.push(room, hash, (*part, key, row), None) {
            return;
        }
    }
    for slot in rows.changed(target.full) {
        let (key, row) = (rows.key_of(slot), rows.row(slot));
        if !out.push(room, hash(key, row), (*part, key, row), Some(&rows.weight(slot).to_le_bytes())) {
            return;
        }
    }
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

    /// The times of what changed since it was last written, or of everything, if it is found by time.
    fn dues(&self, full: bool) -> Vec<Due> {
        let _ = full;
        vec![]
    }

    /// False if memory has no rows of this hash. One that does not tell goes on holding what was due and had gone.
    fn has(&self, hash: u64) -> bool {
        let _ = hash;
        true
    }

    /// Forgets what changed.
    fn written(&mut self);

    /// What is left when everything has left memory.
    fn emptied(&self) -> Self {
        Self::default()
    }

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
    let resident: &Resident = shard.resident();
    let missing = missing(hashes, |hash| resident.holds(hash));
    let mut keys = FetchedKeys::new();
    reader.fetch(&missing, false, |entry| take_row(shard, entry, Some(&mut keys)))?;
    shard.resident().hold(&missing);
    keys.sort_unstable();
    keys.dedup();
    Ok(keys)
}

/// Brings into the shards what has left memory and may have a time before one of these, by column. Gives the keys of each shard that runs say
/// something about.
pub(crate) fn fetch_due<S: TableShard + Send>(
    shards: &mut [S],
    pages: Option<&Pages>,
    until: &[Option<i64>],
) -> Result<Vec<FetchedKeys>> {
    let Some(pages) = pages else { return Ok(shards.iter().map(|_| vec![]).collect()) };
    let due = pages.due(until)?;
    let (reader, parts) = (pages.reader(), split(&due, shards.len()));
    for_each(shards, due.len(), |s, shard| {
        let hashes = || parts[s].iter().map(|i| due[*i as usize]);
        let fetched = fetch_rows(shard, reader, hashes())?;
        // What was due may have gone long ago.
        hashes()
            .filter(|hash| !shard.has(*hash))
            .collect::<Vec<_>>()
            .into_iter()
            .for_each(|h| shard.resident().dropped(h));
        Ok(fetched)
    })
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

/// Takes an entry of a run in, and its key if `keys` are asked for.
pub(crate) fn take_row<S: TableShard>(shard: &mut S, entry: Entry<'_>, keys: Option<&mut FetchedKeys>) -> Result<()> {
    let (table, key, row) = entry_parts(entry.key)?;
    if table == CALENDAR {
        return Ok(());
    }
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
    let rows = write_rows(target, &sources)?;
    let dues = shards.iter().flat_map(|shard| shard.dues(target.full)).collect();
    Ok(rows.into_iter().chain(write_dues(target, dues)?).collect())
}

/// [`Paged::copy`] of such a state.
pub(crate) fn copy_shards<S: TableShard + Send>(target: &Target<'_>, shards: &mut [S], room: &Room) -> Vec<Entries> {
    let copy = |shard: &mut S| {
        let mut out = Entries::default();
        for (part, rows) in (0..).zip(shard.tables()) {
            copy_rows(target, room, &Rows { part, rows, hash: S::hash_of(part) }, &mut out);
        }
        copy_dues(target, room, shard.dues(target.full), &mut out);
        out
    };
    shards.par_iter_mut().map(copy).collect()
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

            fn copy(
                &mut self,
                target: &$crate::state::Target<'_>,
                room: &$crate::state::Room,
            ) -> fleuve_types::Result<Vec<$crate::state::Entries>> {
                Ok($crate::state::copy_shards(target, &mut self.shards, room))
            }

            fn written(&mut self) {
                rayon::prelude::ParallelIterator::for_each(
                    rayon::prelude::IntoParallelRefMutIterator::par_iter_mut(&mut self.shards),
                    $crate::state::TableShard::written,
                );
            }

            fn drop_all(&mut self) -> fleuve_types::Result<()> {
                self.shards.iter_mut().for_each(|s| *s = $crate::state::TableShard::emptied(s));
                Ok(())
            }

            fn take_all(&mut self, all: $crate::state::runs::Merge) -> fleuve_types::Result<()> {
                $crate::state::take_all_rows(&mut self.shards, all)
            }
        }
    };
}
pub(crate) use paged_shards;

#[cfg(test)]
mod tests;
