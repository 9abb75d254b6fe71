use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Decimal128Array, Decimal256Array, Float32Array, Float64Array,
    Int64Array, StringArray, UInt64Array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{
    DataType, Decimal128Type, Decimal256Type, Field, Float32Type, Float64Type, Int64Type, TimeUnit, UInt64Type,
};
use fleuve_types::{Error, Result, sql_type_name};

use super::cast;

/// A column as encoders read it: the many Arrow types brought down to the few that formats tell apart.
pub(crate) struct Cells {
    nulls: Option<NullBuffer>,
    pub(crate) values: Values,
}

pub(crate) enum Values {
    Null,
    Bool(BooleanArray),
    Int(Int64Array),
    UInt64(UInt64Array),
    Float32(Float32Array),
    Float64(Float64Array),
    Decimal(Decimal128Array, i8),
    Wide(Decimal256Array, i8),
    Text(StringArray),
    Bytes(BinaryArray),
    /// Days.
    Date(Int64Array),
    /// Ticks since midnight.
    Time(TimeUnit, Int64Array),
    /// Ticks since the Unix epoch.
    Timestamp {
        unit: TimeUnit,
        zoned: bool,
        ticks: Int64Array,
    },
    List(OffsetBuffer<i32>, Box<Cells>),
    Struct(Vec<(Field, Cells)>),
}

impl Cells {
    /// # Errors
    /// Unsupported: a type that no format can say.
    pub(crate) fn new(array: &ArrayRef) -> Result<Cells> {
        let int64 =
            |array: &ArrayRef| Ok::<_, Error>(cast(array, &DataType::Int64)?.as_primitive::<Int64Type>().clone());
        let int32_first = |array: &ArrayRef| int64(&cast(array, &DataType::Int32)?);
        let values = match array.data_type() {
            DataType::Null => Values::Null,
            DataType::Boolean => Values::Bool(array.as_boolean().clone()),
            DataType::UInt64 => Values::UInt64(array.as_primitive::<UInt64Type>().clone()),
            t if t.is_integer() => Values::Int(int64(array)?),
            DataType::Float16 | DataType::Float32 => {
                Values::Float32(cast(array, &DataType::Float32)?.as_primitive::<Float32Type>().clone())
            }
            DataType::Float64 => Values::Float64(array.as_primitive::<Float64Type>().clone()),
            DataType::Decimal32(p, s) | DataType::Decimal64(p, s) | DataType::Decimal128(p, s) => {
                let wide = cast(array, &DataType::Decimal128(*p, *s))?;
                Values::Decimal(wide.as_primitive::<Decimal128Type>().clone(), *s)
            }
            DataType::Decimal256(_, s) => Values::Wide(array.as_primitive::<Decimal256Type>().clone(), *s),
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => text(array)?,
            DataType::Interval(_) | DataType::Duration(_) => text(array)?,
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
                Values::Bytes(cast(array, &DataType::Binary)?.as_binary::<i32>().clone())
            }
            DataType::Date32 => Values::Date(int32_first(array)?),
            DataType::Date64 => Values::Date(int32_first(&cast(array, &DataType::Date32)?)?),
            DataType::Time32(unit) => Values::Time(*unit, int32_first(array)?),
            DataType::Time64(unit) => Values::Time(*unit, int64(array)?),
            DataType::Timestamp(unit, zone) => {
                Values::Timestamp { unit: *unit, zoned: zone.is_some(), ticks: int64(array)? }
            }
            DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
                return Cells::new(&cast(array, &DataType::List(item.clone()))?);
            }
            DataType::List(_) => {
                let list = array.as_list::<i32>();
                Values::List(list.offsets().clone(), Box::new(Cells::new(list.values())?))
            }
            DataType::Struct(fields) => {
                let columns = array.as_struct().columns().iter().map(Cells::new).collect::<Result<Vec<_>>>()?;
                Values::Struct(fields.iter().map(|f| f.as_ref().clone()).zip(columns).collect())
            }
            DataType::Dictionary(_, value) => return Cells::new(&cast(array, value)?),
            other => {
                return Err(Error::unsupported(format!("type {} cannot be written", sql_type_name(other))));
            }
        };
        Ok(Cells { nulls: array.logical_nulls(), values })
    }

    pub(crate) fn is_null(&self, row: usize) -> bool {
        self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row))
    }
}

fn text(array: &ArrayRef) -> Result<Values> {
    Ok(Values::Text(cast(array, &DataType::Utf8)?.as_string::<i32>().clone()))
}
