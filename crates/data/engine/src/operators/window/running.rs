use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowNativeTypeOp, ArrowPrimitiveType, AsArray, Int64Array, PrimitiveArray, Scalar, UInt32Array,
};
use arrow::compute::kernels::cmp::{gt, lt};
use arrow::compute::kernels::zip::zip;
use arrow::compute::{prep_null_mask_filter, take};
use arrow::datatypes::{DataType, Decimal128Type, Int64Type, UInt64Type};
use fleuve_types::{Error, Result};

/// How values go on from the value of the row before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Running {
    /// It does not matter: the value depends on the row's peers alone.
    Peers,
    /// The number of rows before is added: row_number, rank.
    Position,
    /// It is added, NULL as nothing: sum, count, dense_rank.
    Sum,
    /// The lesser of both, NULL as nothing.
    Min,
    /// The greater of both, NULL as nothing.
    Max,
    /// It stays: first_value.
    First,
    /// It follows from the state of the aggregate, which is kept beside it: averages, and sums of floating-point numbers.
    State,
}

impl Running {
    /// True if values of this type can go on from each other and stay exact, whatever was computed at once.
    pub(crate) fn is_exact(self, value: &DataType) -> bool {
        match self {
            Running::Sum => matches!(value, DataType::Int64 | DataType::UInt64 | DataType::Decimal128(..)),
            Running::Min | Running::Max => !value.is_nested() && !value.is_floating() && !is_dictionary(value),
            Running::Peers | Running::Position | Running::First | Running::State => true,
        }
    }

    /// `values` of the rows from `position` on, as if they had begun at the partition's first row.
    pub(super) fn go_on(self, values: ArrayRef, before: Option<ArrayRef>, position: u64) -> Result<ArrayRef> {
        let bug = |e: arrow::error::ArrowError| Error::bug(format!("a running value: {e}"));
        let Some(before) = before else { return Ok(values) };
        match self {
            Running::Peers | Running::State => Ok(values),
            Running::Position => {
                let values: &Int64Array = values.as_primitive_opt().ok_or_else(|| Error::bug("a rank is a number"))?;
                Ok(Arc::new(values.unary::<_, Int64Type>(|v| v + position as i64)))
            }
            Running::First => take(&before, &UInt32Array::from(vec![0; values.len()]), None).map_err(bug),
            _ if before.is_null(0) => Ok(values),
            Running::Sum => match values.data_type() {
                DataType::Int64 => add::<Int64Type>(&values, &before),
                DataType::UInt64 => add::<UInt64Type>(&values, &before),
                DataType::Decimal128(precision, scale) => {
                    let sum = add::<Decimal128Type>(&values, &before)?;
                    let sum = sum.as_primitive::<Decimal128Type>().clone();
                    Ok(Arc::new(sum.with_precision_and_scale(*precision, *scale).map_err(bug)?))
                }
                other => Err(Error::bug(format!("a running sum of type {other}"))),
            },
            Running::Min | Running::Max => {
                let before = Scalar::new(before);
                let is_new = if self == Running::Min { lt(&values, &before) } else { gt(&values, &before) };
                let is_new = is_new.map_err(bug)?;
                // Where the value is NULL, so is the comparison, which is false.
                let is_new = if is_new.null_count() == 0 { is_new } else { prep_null_mask_filter(&is_new) };
                zip(&is_new, &values, &before).map_err(bug)
            }
        }
    }
}

fn add<T: ArrowPrimitiveType>(values: &ArrayRef, before: &ArrayRef) -> Result<ArrayRef> {
    let before = before.as_primitive::<T>().value(0);
    let sum = |v: Option<T::Native>| v.map_or(Ok(before), |v| v.add_checked(before)).map(Some);
    let sums = values.as_primitive::<T>().iter().map(sum).collect::<Result<PrimitiveArray<T>, _>>();
    Ok(Arc::new(sums.map_err(|e| Error::input(format!("a running sum is out of range: {e}")))?))
}

fn is_dictionary(value: &DataType) -> bool {
    matches!(value, DataType::Dictionary(..) | DataType::RunEndEncoded(..))
}
