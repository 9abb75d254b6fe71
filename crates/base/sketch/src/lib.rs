//! Mergeable sketches as SQL functions: `hll_*` counts distinct values, `quantile*` gives quantiles, `topk*` the most frequent values.
//! Each is a value of type BYTEA that can be stored, and merged again into that of a coarser group.
//!
//! Own code, because a view has to give the same bytes whatever the order and the batches in which rows came: the bytes of
//! HyperLogLog and DDSketch here are a function of the set (the multiset) of values alone. What is known of Apache DataSketches'
//! formats depends on the order (estimators that count on the way, modes that change on the way).
//!
//! Bytes may come from a user, so decoding trusts nothing: it is bounded by the length of what it is given.

mod aggregates;
mod bytes;
mod frequent;
mod hash;
mod hll;
mod quantiles;
mod scalars;

#[cfg(test)]
mod tests;

pub use aggregates::all as aggregates;
pub use frequent::{Frequent, Heavy};
pub use hll::Hll;
pub use quantiles::Quantiles;
pub use scalars::all as scalars;

use fleuve_types::{Error, Result};

/// Decodes a sketch of any kind, to see that it can be done.
///
/// # Errors
/// When the bytes are no sketch of that kind.
pub fn check(bytes: &[u8]) -> Result<()> {
    let tries = [Hll::decode(bytes).err(), Quantiles::decode(bytes).err(), Frequent::decode(bytes).err()];
    match tries.into_iter().collect::<Option<Vec<Error>>>() {
        Some(mut errors) => Err(errors.remove(0)),
        None => Ok(()),
    }
}
