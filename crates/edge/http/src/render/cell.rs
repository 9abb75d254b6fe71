//! One value as JSON or as the text of a CSV field.

use std::fmt::Write;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, FixedSizeListArray, GenericListArray, MapArray, OffsetSizeTrait,
    PrimitiveArray, StructArray, make_array,
};
use arrow::compute::cast;
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Decimal32Type, Decimal64Type, Decimal128Type, Decimal256Type, DecimalType,
    Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type,
    UInt32Type, UInt64Type,
};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use fleuve_types::{Error, Result};

use super::json::push_string;

/// How a value stands in its surroundings. Within lists and structs it is always JSON.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// A JSON value.
    Json,
    /// Text without quotes; nothing for NULL.
    Text,
}

/// Writes the value of a row that is not NULL.
type Writer = Box<dyn Fn(usize, Form, &mut String)>;

/// A column, ready to write any of its rows. What depends on the type is decided once.
pub(super) struct Cells {
    array: ArrayRef,
    write: Writer,
}

impl Cells {
    pub(super) fn new(array: &ArrayRef) -> Result<Self> {
        Ok(Self { array: array.clone(), write: writer(array)? })
    }

    pub(super) fn is_null(&self, row: usize) -> bool {
        self.array.is_null(row) || matches!(self.array.data_type(), DataType::Null)
    }

    pub(super) fn write(&self, row: usize, form: Form, out: &mut String) {
        match (self.is_null(row), form) {
            (false, _) => (self.write)(row, form, out),
            (true, Form::Json) => out.push_str("null"),
            (true, Form::Text) => {}
        }
    }
}

fn writer(array: &ArrayRef) -> Result<Writer> {
    use DataType as T;
    Ok(match array.data_type() {
        T::Null => Box::new(|_, _, _| {}),
        T::Boolean => {
            let array: BooleanArray = array.as_boolean().clone();
            Box::new(move |row, _, out| out.push_str(if array.value(row) { "true" } else { "false" }))
        }
        T::Int8 => integer::<Int8Type>(array),
        T::Int16 => integer::<Int16Type>(array),
        T::Int32 => integer::<Int32Type>(array),
        T::Int64 => integer::<Int64Type>(array),
        T::UInt8 => integer::<UInt8Type>(array),
        T::UInt16 => integer::<UInt16Type>(array),
        T::UInt32 => integer::<UInt32Type>(array),
        T::UInt64 => integer::<UInt64Type>(array),
        T::Float16 => {
            let array: PrimitiveArray<Float16Type> = array.as_primitive().clone();
            Box::new(move |row, form, out| float(array.value(row).to_f32(), array.value(row).to_f64(), form, out))
        }
        T::Float32 => {
            let array: PrimitiveArray<Float32Type> = array.as_primitive().clone();
            Box::new(move |row, form, out| float(array.value(row), f64::from(array.value(row)), form, out))
        }
        T::Float64 => {
            let array: PrimitiveArray<Float64Type> = array.as_primitive().clone();
            Box::new(move |row, form, out| float(array.value(row), array.value(row), form, out))
        }
        T::Decimal32(..) => decimal::<Decimal32Type>(array),
        T::Decimal64(..) => decimal::<Decimal64Type>(array),
        T::Decimal128(..) => decimal::<Decimal128Type>(array),
        T::Decimal256(..) => decimal::<Decimal256Type>(array),
        T::Utf8 => {
            let array = array.as_string::<i32>().clone();
            Box::new(move |row, form, out| string(array.value(row), form, out))
        }
        T::LargeUtf8 => {
            let array = array.as_string::<i64>().clone();
            Box::new(move |row, form, out| string(array.value(row), form, out))
        }
        T::Utf8View => {
            let array = array.as_string_view().clone();
            Box::new(move |row, form, out| string(array.value(row), form, out))
        }
        T::Binary => {
            let array = array.as_binary::<i32>().clone();
            Box::new(move |row, form, out| string(&BASE64.encode(array.value(row)), form, out))
        }
        T::LargeBinary | T::BinaryView | T::FixedSizeBinary(_) => writer(&converted(array, &T::Binary)?)?,
        T::Dictionary(_, values) => writer(&converted(array, values)?)?,
        T::List(_) => list(array.as_list::<i32>())?,
        T::LargeList(_) => list(array.as_list::<i64>())?,
        T::FixedSizeList(..) => fixed_list(array.as_fixed_size_list())?,
        T::Struct(_) => structure(array.as_struct())?,
        T::Map(..) => map(array.as_map())?,
        T::Timestamp(unit, Some(zone)) if is_utc(zone) => {
            // Without the zone's name no table of zones is needed; the Z is put after.
            let data = array.to_data().into_builder().data_type(T::Timestamp(*unit, None));
            let naive = make_array(data.build().map_err(|e| Error::bug(e.to_string()))?);
            shown(naive, "Z")?
        }
        _ => shown(array.clone(), "")?,
    })
}

fn converted(array: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    cast(array, to).map_err(|e| Error::bug(format!("a column can't be shown: {e}")))
}

fn is_utc(zone: &str) -> bool {
    matches!(zone, "UTC" | "utc" | "Z" | "+00:00" | "+00" | "Etc/UTC" | "GMT")
}

fn integer<P: ArrowPrimitiveType>(array: &ArrayRef) -> Writer
where
    P::Native: std::fmt::Display,
{
    let array: PrimitiveArray<P> = array.as_primitive().clone();
    Box::new(move |row, _, out| {
        let _ = write!(out, "{}", array.value(row));
    })
}

fn decimal<P: DecimalType + ArrowPrimitiveType>(array: &ArrayRef) -> Writer {
    let array: PrimitiveArray<P> = array.as_primitive().clone();
    Box::new(move |row, _, out| out.push_str(&array.value_as_string(row)))
}

/// `shortest` in its own width, so that a REAL 0.1 is not shown as 0.10000000149.
fn float(shortest: impl serde::Serialize, value: f64, form: Form, out: &mut String) {
    let word = match value {
        v if v.is_nan() => "NaN",
        v if v == f64::INFINITY => "Infinity",
        v if v == f64::NEG_INFINITY => "-Infinity",
        _ => {
            return out.push_str(&serde_json::to_string(&shortest).expect("a finite number is always JSON"));
        }
    };
    string(word, form, out);
}

fn string(text: &str, form: Form, out: &mut String) {
    match form {
        Form::Json => push_string(text, out),
        Form::Text => out.push_str(text),
    }
}

/// Dates, times, intervals and what else Arrow knows how to show.
fn shown(array: ArrayRef, after: &'static str) -> Result<Writer> {
    // The formatter borrows its array, so it is made for each value; it costs little beside writing a date.
    let options = FormatOptions::default();
    ArrayFormatter::try_new(&array, &options).map_err(|e| Error::bug(format!("a column can't be shown: {e}")))?;
    Ok(Box::new(move |row, form, out| {
        let text = match ArrayFormatter::try_new(&array, &FormatOptions::default()) {
            Ok(formatter) => match formatter.value(row).try_to_string() {
                Ok(text) => text + after,
                // A timestamp beyond the calendar, for instance.
                Err(error) => format!("({error})"),
            },
            Err(error) => format!("({error})"),
        };
        string(&text, form, out);
    }))
}

fn elements(range: std::ops::Range<usize>, values: &Cells, out: &mut String) {
    out.push('[');
    for (n, at) in range.enumerate() {
        if n > 0 {
            out.push(',');
        }
        values.write(at, Form::Json, out);
    }
    out.push(']');
}

fn list<O: OffsetSizeTrait>(array: &GenericListArray<O>) -> Result<Writer> {
    let (array, values) = (array.clone(), Cells::new(array.values())?);
    Ok(Box::new(move |row, _, out| {
        let offsets = array.value_offsets();
        elements(offsets[row].as_usize()..offsets[row + 1].as_usize(), &values, out);
    }))
}

fn fixed_list(array: &FixedSizeListArray) -> Result<Writer> {
    let (array, values) = (array.clone(), Cells::new(array.values())?);
    Ok(Box::new(move |row, _, out| {
        let (from, length) = (array.value_offset(row) as usize, array.value_length() as usize);
        elements(from..from + length, &values, out);
    }))
}

fn structure(array: &StructArray) -> Result<Writer> {
    let names: Vec<String> = array.column_names().into_iter().map(Into::into).collect();
    let columns = array.columns().iter().map(Cells::new).collect::<Result<Vec<_>>>()?;
    Ok(Box::new(move |row, _, out| {
        out.push('{');
        for (n, (name, cells)) in names.iter().zip(&columns).enumerate() {
            if n > 0 {
                out.push(',');
            }
            push_string(name, out);
            out.push(':');
            cells.write(row, Form::Json, out);
        }
        out.push('}');
    }))
}

/// An object when the keys are text, else a list of pairs.
fn map(array: &MapArray) -> Result<Writer> {
    let (array, keys, values) = (array.clone(), Cells::new(array.keys())?, Cells::new(array.values())?);
    let texts = matches!(keys.array.data_type(), DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
    let (open, between, close) = if texts { ("{", "", "}") } else { ("[", "[", "]") };
    Ok(Box::new(move |row, _, out| {
        let offsets = array.value_offsets();
        out.push_str(open);
        for (n, at) in (offsets[row] as usize..offsets[row + 1] as usize).enumerate() {
            if n > 0 {
                out.push(',');
            }
            out.push_str(between);
            keys.write(at, Form::Json, out);
            out.push(if texts { ':' } else { ',' });
            values.write(at, Form::Json, out);
            if !texts {
                out.push(']');
            }
        }
        out.push_str(close);
    }))
}

/// All columns of a batch.
pub(super) fn cells(batch: &arrow::array::RecordBatch) -> Result<Vec<Cells>> {
    batch.columns().iter().map(Cells::new).collect()
}
