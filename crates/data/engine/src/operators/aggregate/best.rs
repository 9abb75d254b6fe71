//! min and max of numbers and times where rows only come: one value per group, in a column.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BinaryArray, PrimitiveArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{
    ArrowNativeTypeOp, ArrowPrimitiveType, DataType, Date32Type, Decimal128Type, Float64Type, Int8Type, Int16Type,
    Int32Type, Int64Type, Time64MicrosecondType, TimeUnit, TimestampMicrosecondType, UInt64Type,
};
use fleuve_types::{Error, Result};

use super::accumulator::{Accumulator, Input};
use crate::state::{ByteSet, RowCodec, resize};

/// The least or greatest value per group; `None` for types that are compared as bytes (see [`super::extreme`]).
pub(super) fn best_number(argument: &DataType, max: bool) -> Result<Option<Box<dyn Accumulator>>> {
    fn of<T: ArrowPrimitiveType<Native: FromRow>>(
        argument: &DataType,
        max: bool,
    ) -> Result<Option<Box<dyn Accumulator>>> {
        let codec = RowCodec::new(vec![argument.clone()])?;
        Ok(Some(Box::new(BestNumber::<T> { codec, output: argument.clone(), max, best: vec![], has: vec![] })))
    }
    match argument {
        DataType::Int8 => of::<Int8Type>(argument, max),
        DataType::Int16 => of::<Int16Type>(argument, max),
        DataType::Int32 => of::<Int32Type>(argument, max),
        DataType::Int64 => of::<Int64Type>(argument, max),
        DataType::UInt64 => of::<UInt64Type>(argument, max),
        DataType::Float64 => of::<Float64Type>(argument, max),
        DataType::Decimal128(..) => of::<Decimal128Type>(argument, max),
        DataType::Date32 => of::<Date32Type>(argument, max),
        DataType::Time64(TimeUnit::Microsecond) => of::<Time64MicrosecondType>(argument, max),
        DataType::Timestamp(TimeUnit::Microsecond, _) => of::<TimestampMicrosecondType>(argument, max),
        _ => Ok(None),
    }
}

/// A number from the bytes that Arrow's row format has for it in ascending order, NULLs first: a one, and the number in an order that bytes
/// compare in (`arrow_row::fixed`).
trait FromRow: Sized {
    /// `None` for NULL and what is no number of this type.
    fn from_row(row: &[u8]) -> Option<Self>;
}

/// Big-endian, of signed ones with the sign turned over.
macro_rules! whole_number {
    ($($native:ty: $sign:expr),*) => {$(
        impl FromRow for $native {
            fn from_row(row: &[u8]) -> Option<Self> {
                let (1, bytes) = row.split_first()? else { return None };
                Some(<$native>::from_be_bytes(bytes.try_into().ok()?) ^ $sign)
            }
        }
    )*};
}

whole_number!(i8: i8::MIN, i16: i16::MIN, i32: i32::MIN, i64: i64::MIN, i128: i128::MIN, u64: 0);

impl FromRow for f64 {
    fn from_row(row: &[u8]) -> Option<Self> {
        // The bits as a whole number, whose lower 63 are turned over where the sign is set: so IEEE 754's total order is that of numbers.
        let ordered = i64::from_row(row)?;
        Some(f64::from_bits((ordered ^ (((ordered >> 63) as u64) >> 1) as i64) as u64))
    }
}

struct BestNumber<T: ArrowPrimitiveType> {
    codec: RowCodec,
    output: DataType,
    max: bool,
    best: Vec<T::Native>,
    has: Vec<bool>,
}

impl<T: ArrowPrimitiveType> BestNumber<T> {
    fn column(&self, groups: &[u32]) -> ArrayRef {
        let values = groups.iter().map(|g| self.best[*g as usize]).collect();
        let has = groups.iter().map(|g| self.has[*g as usize]).collect::<NullBuffer>();
        Arc::new(PrimitiveArray::<T>::new(values, Some(has)).with_data_type(self.output.clone()))
    }
}

impl<T: ArrowPrimitiveType<Native: FromRow>> Accumulator for BestNumber<T> {
    fn resize(&mut self, groups: usize) {
        resize(&mut self.best, groups, T::Native::default());
        resize(&mut self.has, groups, false);
    }

    fn reset(&mut self, group: u32) {
        self.has[group as usize] = false;
    }

    fn update(&mut self, input: &Input<'_>) -> Result<()> {
        let values = input.arguments.first().and_then(|a| a.as_any().downcast_ref::<PrimitiveArray<T>>());
        let values = values.ok_or_else(|| Error::bug("min/max of another type"))?.values();
        let (best, has) = (&mut self.best, &mut self.has);
        let mut take_in = |is_better: fn(T::Native, T::Native) -> bool| {
            input.each(|group, row, _| {
                if !has[group] || is_better(values[row], best[group]) {
                    (best[group], has[group]) = (values[row], true);
                }
            });
        };
        if self.max {
            take_in(ArrowNativeTypeOp::is_gt)
        } else {
            take_in(ArrowNativeTypeOp::is_lt)
        }
        Ok(())
    }

    fn emit(&mut self, groups: &[u32], _: &ByteSet) -> Result<ArrayRef> {
        Ok(self.column(groups))
    }

    fn bytes(&self) -> usize {
        self.best.capacity() * size_of::<T::Native>() + self.has.capacity()
    }

    fn state_width(&self) -> usize {
        1
    }

    fn save_groups(&mut self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        let rows = self.codec.encode(&[self.column(groups)])?;
        let saved = groups.iter().enumerate().map(|(n, g)| self.has[*g as usize].then(|| rows.row(n)));
        Ok(vec![Arc::new(saved.collect::<BinaryArray>())])
    }

    fn load_group(&mut self, group: u32, state: &[ArrayRef], row: usize) -> Result<()> {
        let damaged = || Error::bug("state: min/max");
        let saved = state.first().and_then(|s| s.as_any().downcast_ref::<BinaryArray>()).ok_or_else(damaged)?;
        let group = group as usize;
        self.has[group] = saved.is_valid(row);
        if self.has[group] {
            self.best[group] = T::Native::from_row(saved.value(row)).ok_or_else(damaged)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{
        Date32Array, Decimal128Array, Float64Array, Int8Array, Int64Array, TimestampMicrosecondArray, UInt64Array,
    };
    use arrow::datatypes::DataType;

    use super::*;
    use crate::operators::aggregate::extreme::extreme;

    fn columns() -> Vec<ArrayRef> {
        let floats = [0.0, -0.0, f64::NAN, -f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1.5, -1.5, f64::MIN_POSITIVE];
        vec![
            Arc::new(Int8Array::from(vec![None, Some(0), Some(-1), Some(i8::MIN), Some(i8::MAX)])),
            Arc::new(Int64Array::from(vec![Some(0), Some(-1), Some(i64::MIN), None, Some(i64::MAX), Some(256)])),
            Arc::new(UInt64Array::from(vec![Some(0), Some(u64::MAX), None, Some(1 << 63)])),
            Arc::new(Float64Array::from(floats.to_vec())),
            Arc::new(
                Decimal128Array::from(vec![5, -5, i128::from(i64::MAX) * 9])
                    .with_data_type(DataType::Decimal128(38, 4)),
            ),
            Arc::new(Date32Array::from(vec![Some(-719_162), None, Some(19_000)])),
            Arc::new(TimestampMicrosecondArray::from(vec![1_700_000_000_000_000, -1]).with_timezone("UTC")),
        ]
    }

    /// Every single value and every pair, as the form that compares bytes has it; what either saves the other one loads.
    #[test]
    fn values_are_compared_and_kept_as_bytes_are() {
        let keys = ByteSet::default();
        for column in columns() {
            let rows = column.len() as u32;
            // Group a * rows + b has the values a and b; the last one has none.
            let groups = rows * rows + 1;
            let all: Vec<u32> = (0..groups).collect();
            let pairs = || (0..rows).flat_map(|a| (0..rows).map(move |b| (a, b)));
            let rows_of: Vec<u32> = pairs().flat_map(|(a, b)| [a, b]).collect();
            let groups_of: Vec<u32> = pairs().flat_map(|(a, b)| [a * rows + b; 2]).collect();
            for max in [false, true] {
                let both = || {
                    let number = best_number(column.data_type(), max).unwrap().unwrap();
                    let mut both = [number, extreme(column.data_type().clone(), max, true).unwrap()];
                    both.iter_mut().for_each(|a| a.resize(groups as usize));
                    both
                };
                let mut filled = both();
                let arguments = [column.clone()];
                let input = Input {
                    arguments: &arguments,
                    filter: None,
                    rows: &rows_of,
                    groups: &groups_of,
                    weights: None,
                    keys: &keys,
                };
                filled.iter_mut().for_each(|a| a.update(&input).unwrap());
                let shown = filled.each_mut().map(|a| a.emit(&all, &keys).unwrap());
                assert_eq!(shown[0].to_data(), shown[1].to_data());
                let saved = filled.each_mut().map(|a| a.save_groups(&all).unwrap());
                assert_eq!(saved[0], saved[1]);
                let mut loaded = both();
                for a in &mut loaded {
                    all.iter().for_each(|g| a.load_group(*g, &saved[0], *g as usize).unwrap());
                    assert_eq!(a.emit(&all, &keys).unwrap().to_data(), shown[0].to_data());
                }
            }
        }
    }
}
