use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, UInt32Array};
use arrow::compute::{SortOptions, take};
use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use fleuve_types::{Error, Result};

use super::best::best_number;
use super::bits::{BitFold, Which};
use super::count::{BoolFold, Count};
use super::distinct::Distinct;
use super::extreme::{end_of_order, extreme, has_extremes, keeps_one};
use super::float::{FloatMean, FloatSum, Variance};
use super::generic::Generic;
use super::in_order::{self, InOrder, reads_in_order};
use super::sum::ExactSum;
use crate::state::{Arrangement, ByteSet, Encoded, RowCodec};

/// One aggregate call of the SELECT.
pub(crate) struct AggregateCall {
    /// The function's name in lower case.
    pub(crate) function: String,
    pub(crate) distinct: bool,
    /// Of a function that reads its values in an order: the value, then what orders them.
    pub(crate) arguments: Vec<Arc<dyn PhysicalExpr>>,
    pub(crate) argument_types: Vec<DataType>,
    /// The second argument where it is a constant.
    pub(crate) parameter: Option<ScalarValue>,
    /// ORDER BY.
    pub(crate) order: Vec<(Arc<dyn PhysicalExpr>, SortOptions)>,
    pub(crate) ignores_null: bool,
    pub(crate) filter: Option<Arc<dyn PhysicalExpr>>,
    pub(crate) output: DataType,
    /// DataFusion's own form, for functions without one of ours.
    pub(crate) expr: Arc<AggregateFunctionExpr>,
    /// For EXPLAIN.
    pub(crate) label: String,
    /// As people write it.
    pub(crate) words: String,
    /// Its arguments are what was added up already: of `count` a count, of `sum` and `avg` a sum and a count.
    pub(crate) is_partial: bool,
}

/// The rows of one step that belong to one shard.
pub(crate) struct Input<'a> {
    pub(crate) arguments: &'a [ArrayRef],
    pub(crate) filter: Option<&'a BooleanArray>,
    /// Row numbers in the arguments.
    pub(crate) rows: &'a [u32],
    /// The group of each of `rows`.
    pub(crate) groups: &'a [u32],
    pub(crate) weights: Option<&'a [i64]>,
    /// The groups' keys.
    pub(crate) keys: &'a ByteSet,
}

impl Input<'_> {
    /// Calls `each(group, row, weight)` for the rows that pass the filter and whose first argument is not NULL.
    pub(crate) fn each(&self, each: impl FnMut(usize, usize, i64)) {
        self.each_row(true, each);
    }

    /// As [`Input::each`]; rows whose first argument is NULL are left out only if `skip_null`.
    pub(crate) fn each_row(&self, skip_null: bool, mut each: impl FnMut(usize, usize, i64)) {
        self.each_place(skip_null, |group, place, weight| each(group, place.row, weight));
    }

    /// As [`Input::each_row`], with the rows' places in [`Input::encode`].
    pub(crate) fn each_place(&self, skip_null: bool, mut each: impl FnMut(usize, Place, i64)) {
        let nulls = self.arguments.first().filter(|_| skip_null).and_then(|a| a.logical_nulls());
        for (own, (row, group)) in self.rows.iter().zip(self.groups).enumerate() {
            let row = *row as usize;
            if self.filter.is_some_and(|f| !f.value(row)) || nulls.as_ref().is_some_and(|n| n.is_null(row)) {
                continue;
            }
            each(*group as usize, Place { row, own }, self.weights.map_or(1, |w| w[row]));
        }
    }

    /// Columns as bytes. Where most rows are those of other shards, only its own are encoded.
    pub(crate) fn encode(&self, codec: &RowCodec, columns: &[ArrayRef]) -> Result<EncodedRows> {
        let all = columns.first().map_or(0, |c| c.len());
        if self.rows.len() > all / 2 {
            return Ok(EncodedRows { rows: codec.encode(columns)?, is_all: true });
        }
        let own = UInt32Array::from(self.rows.to_vec());
        let taken = |c: &ArrayRef| take(c, &own, None).map_err(|e| Error::bug(e.to_string()));
        let columns = columns.iter().map(taken).collect::<Result<Vec<_>>>()?;
        Ok(EncodedRows { rows: codec.encode(&columns)?, is_all: false })
    }
}

/// Where a row is in the arguments, and among those of its shard.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    pub(crate) row: usize,
    own: usize,
}

/// What [`Input::encode`] gives.
pub(crate) struct EncodedRows {
    rows: Encoded,
    is_all: bool,
}

impl EncodedRows {
    /// The bytes of a row.
    pub(crate) fn at(&self, place: Place) -> &[u8] {
        self.rows.row(if self.is_all { place.row } else { place.own })
    }
}

/// An accumulator of all groups of a shard, in columns.
pub(crate) trait Accumulator: Send {
    /// Makes room for groups `0..groups`.
    fn resize(&mut self, groups: usize);
    /// Sets a group back to "no rows".
    fn reset(&mut self, group: u32);
    /// Drops all that is held for a group with this key, also what is not kept by group number.
    fn forget(&mut self, group: u32, key: &[u8]) {
        let _ = key;
        self.reset(group);
    }
    /// Takes in rows.
    fn update(&mut self, input: &Input<'_>) -> Result<()>;
    /// The result of each of `groups`.
    fn emit(&mut self, groups: &[u32], keys: &ByteSet) -> Result<ArrayRef>;
    /// Memory held, in bytes.
    fn bytes(&self) -> usize;
    /// How many columns [`Accumulator::save_groups`] gives.
    fn state_width(&self) -> usize;
    /// The state of each of `groups` as columns.
    fn save_groups(&mut self, groups: &[u32]) -> Result<Vec<ArrayRef>>;
    /// Takes in row `row` of what [`Accumulator::save_groups`] gave.
    fn load_group(&mut self, group: u32, state: &[ArrayRef], row: usize) -> Result<()>;
    /// State that is not per group, as `(group key, entry, weight)`: what changed since the last call, or all.
    fn save_entries(&mut self, full: bool) -> Vec<(Vec<u8>, Vec<u8>, i64)> {
        let _ = full;
        vec![]
    }
    /// Takes in one entry of [`Accumulator::save_entries`].
    fn load_entry(&mut self, key: &[u8], entry: &[u8], weight: i64) {
        let _ = (key, entry, weight);
    }
    /// Called after each batch of [`Accumulator::load_entry`].
    fn entries_loaded(&mut self) {}
    /// State that is not per group, as rows by the key of their group.
    fn tables(&self) -> Vec<&Arrangement> {
        vec![]
    }
    /// Sets the weight of a row in the table of that number to what a run says.
    fn fetch(&mut self, table: usize, key: &[u8], row: &[u8], weight: i64) {
        let _ = (table, key, row, weight);
    }
}

/// Functions whose DataFusion accumulator can be asked again and again while rows are only added.
const REPEATABLE: [&str; 17] = [
    "approx_distinct",
    "corr",
    "covar_pop",
    "covar_samp",
    "hll_merge",
    "hll_sketch",
    "regr_avgx",
    "regr_avgy",
    "regr_count",
    "regr_intercept",
    "regr_r2",
    "regr_slope",
    "regr_sxx",
    "regr_sxy",
    "regr_syy",
    "topk_merge",
    "topk_sketch",
];

/// Those whose accumulator knows how to take a value out again, without a trace.
const RETRACTABLE: [&str; 2] = ["quantile_sketch", "quantile_merge"];

/// True if a call can be kept up to date group by group, without reading the group's rows again.
pub(crate) fn is_supported(call: &AggregateCall, append_only: bool) -> bool {
    if reads_in_order(&call.function) {
        return in_order::is_supported(call);
    }
    if call.distinct && call.arguments.len() != 1 {
        return false;
    }
    let argument = call.argument_types.first();
    match call.function.as_str() {
        "count" => call.arguments.len() <= 1,
        "sum" => matches!(
            argument,
            Some(
                DataType::Int64
                    | DataType::UInt64
                    | DataType::Float64
                    | DataType::Decimal128(..)
                    | DataType::Duration(_)
            )
        ),
        "avg" => matches!(argument, Some(DataType::Float64 | DataType::Decimal128(..) | DataType::Duration(_))),
        "min" | "max" => argument.is_some_and(has_extremes),
        "var" | "var_samp" | "var_sample" | "var_pop" | "stddev" | "stddev_samp" | "stddev_pop" => {
            matches!(argument, Some(DataType::Float64))
        }
        "bool_and" | "bool_or" => true,
        "bit_and" | "bit_or" | "bit_xor" => argument.is_some_and(DataType::is_integer),
        name if RETRACTABLE.contains(&name) => !call.distinct,
        name => append_only && !call.distinct && REPEATABLE.contains(&name),
    }
}

/// The accumulator of a call.
pub(crate) fn accumulator_for(call: &AggregateCall, append_only: bool) -> Result<Box<dyn Accumulator>> {
    let argument = call.argument_types.first().cloned().unwrap_or(DataType::Null);
    let inner = plain(call, argument.clone(), append_only)?;
    let counts_copies = !matches!(call.function.as_str(), "min" | "max" | "bool_and" | "bool_or");
    Ok(if call.distinct && counts_copies { Box::new(Distinct::new(argument, inner)?) } else { inner })
}

/// The accumulator of a call without DISTINCT.
fn plain(call: &AggregateCall, argument: DataType, append_only: bool) -> Result<Box<dyn Accumulator>> {
    if keeps_one(call, append_only) {
        return end_of_order(call);
    }
    if reads_in_order(&call.function) {
        return Ok(Box::new(InOrder::new(call)?));
    }
    Ok(match call.function.as_str() {
        "count" => Box::new(Count::new(call.is_partial)),
        "sum" => match argument {
            DataType::Float64 => Box::new(FloatSum::new(append_only)),
            _ => Box::new(ExactSum::sum(call.output.clone()).of_parts(call.is_partial)),
        },
        "avg" => match argument {
            DataType::Float64 => Box::new(FloatMean::new(append_only)),
            DataType::Decimal128(_, scale) => {
                Box::new(ExactSum::mean(scale, call.output.clone())?.of_parts(call.is_partial))
            }
            DataType::Duration(_) => Box::new(ExactSum::mean(0, call.output.clone())?),
            other => return Err(Error::bug(format!("avg over {other}"))),
        },
        "min" | "max" => {
            let max = call.function == "max";
            match append_only.then(|| best_number(&argument, max)).transpose()?.flatten() {
                Some(best) => best,
                None => extreme(argument, max, append_only)?,
            }
        }
        "var" | "var_samp" | "var_sample" => Box::new(Variance::new(false, true)),
        "var_pop" => Box::new(Variance::new(false, false)),
        "stddev" | "stddev_samp" => Box::new(Variance::new(true, true)),
        "stddev_pop" => Box::new(Variance::new(true, false)),
        "bool_and" => Box::new(BoolFold::new(true)),
        "bool_or" => Box::new(BoolFold::new(false)),
        "bit_and" => Box::new(BitFold::new(Which::All, call.output.clone())),
        "bit_or" => Box::new(BitFold::new(Which::Any, call.output.clone())),
        "bit_xor" => Box::new(BitFold::new(Which::Odd, call.output.clone())),
        _ => Box::new(Generic::new(call.expr.clone())?),
    })
}
