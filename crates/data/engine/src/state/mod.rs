//! State of operators: byte sets, arrangements, rows as bytes, and the files that a checkpoint writes.

mod arrangement;
mod bytes;
mod calendar;
mod entries;
mod flat;
mod flushing;
mod growth;
mod in_order;
mod ordered;
mod pages;
mod rows;
mod run;
pub(crate) mod runs;
mod tables;
mod values;
mod windows;

pub(crate) use arrangement::Arrangement;
pub(crate) use bytes::{ByteSet, hash_bytes};
pub(crate) use calendar::{Due, copy_dues, write_dues};
pub(crate) use entries::{Entries, Room};
pub(crate) use flat::{Flat, write_pieces};
pub(crate) use flushing::Flush;
pub(crate) use growth::resize;
pub(crate) use ordered::{Ordered, Placed};
pub(crate) use pages::{Paged, Pages, Part, Reader, Resident, SharedRuns, Target, begin_flush, evict, missing, open};
pub(crate) use rows::{Encoded, RowCodec, batch_of};
pub(crate) use run::{Section, changes_from_batch, changes_to_batch, read_run, write_run};
pub(crate) use tables::{
    CALENDAR, FetchedKeys, Rows, TableShard, absent_rows, copy_rows, copy_shards, entry_parts, entry_weight, fetch_due,
    fetch_rows, paged_shards, take_all_rows, take_row, write_rows, write_shards,
};
pub(crate) use values::Values;
pub(crate) use windows::{OpenKeys, Windows, times_at, times_of};

#[cfg(test)]
mod tests;
