//! State of operators: byte sets, arrangements, rows as bytes, and the files that a checkpoint writes.

mod arrangement;
mod bytes;
mod in_order;
mod ordered;
mod pages;
mod rows;
mod run;
pub(crate) mod runs;
mod values;
mod windows;

pub(crate) use arrangement::Arrangement;
pub(crate) use bytes::{ByteSet, hash_bytes};
pub(crate) use ordered::{Ordered, Placed};
pub(crate) use pages::{
    FetchedKeys, Held, Paged, Pages, Part, Reader, Resident, Rows, TableShard, Target, absent_rows, entry_key,
    entry_parts, entry_weight, evict, fetch_rows, flush, open, paged_shards, take_all_rows, write_rows, write_shards,
};
pub(crate) use rows::{Encoded, RowCodec, batch_of};
pub(crate) use run::{Section, changes_from_batch, changes_to_batch, read_run, write_run};
pub(crate) use values::Values;
pub(crate) use windows::{OpenKeys, Windows, times_at, times_of};

#[cfg(test)]
mod tests;
