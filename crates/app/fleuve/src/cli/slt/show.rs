//! Values as sqllogictest files have them.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, make_array};
use arrow::datatypes::{DataType, Schema};
use arrow::util::display::ArrayFormatter;
use datafusion::common::format::DEFAULT_FORMAT_OPTIONS;
use fleuve_types::{Error, Result};

/// What becomes of numbers with more digits after the point.
const MAX_DECIMALS: usize = 12;

/// What a column holds, as far as the letters of a record tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Boolean,
    Integer,
    Decimal,
    Float,
    Text,
    Date,
    Timestamp,
    Other,
    /// Nothing but NULL.
    Null,
}

impl Kind {
    /// Whether a record's letter may stand for it. `T` and `?` are anything but a number.
    pub fn is(self, letter: char) -> bool {
        let number = matches!(self, Kind::Integer | Kind::Decimal | Kind::Float);
        match letter {
            _ if self == Kind::Null => true,
            'I' => self == Kind::Integer,
            'R' => number,
            'B' => self == Kind::Boolean,
            'D' => self == Kind::Date,
            'P' => self == Kind::Timestamp,
            _ => !number,
        }
    }

    /// The letter for it.
    pub fn letter(self) -> char {
        match self {
            Kind::Integer => 'I',
            Kind::Decimal | Kind::Float => 'R',
            _ => 'T',
        }
    }
}

/// The kinds of a schema's columns.
pub fn kinds(schema: &Schema) -> Vec<Kind> {
    schema.fields().iter().map(|f| kind(f.data_type())).collect()
}

fn kind(t: &DataType) -> Kind {
    match t {
        DataType::Null => Kind::Null,
        DataType::Boolean => Kind::Boolean,
        t if t.is_integer() => Kind::Integer,
        t if t.is_decimal() => Kind::Decimal,
        t if t.is_floating() => Kind::Float,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Kind::Text,
        DataType::Date32 | DataType::Date64 | DataType::Time32(_) | DataType::Time64(_) => Kind::Date,
        DataType::Timestamp(..) => Kind::Timestamp,
        DataType::Dictionary(_, values) => kind(values),
        _ => Kind::Other,
    }
}

/// The rows of a batch.
///
/// # Errors
/// A bug: Arrow shows every type.
pub fn rows(batch: &RecordBatch) -> Result<Vec<Vec<String>>> {
    let columns: Vec<Vec<String>> = batch.columns().iter().map(column).collect::<Result<_>>()?;
    Ok((0..batch.num_rows()).map(|row| columns.iter().map(|c| c[row].clone()).collect()).collect())
}

fn column(array: &ArrayRef) -> Result<Vec<String>> {
    let bug = |e: arrow::error::ArrowError| Error::bug(format!("a column can't be shown: {e}"));
    let (array, zone) = without_utc(array).map_err(bug)?;
    let kind = kind(array.data_type());
    let formatter = ArrayFormatter::try_new(&array, &DEFAULT_FORMAT_OPTIONS).map_err(bug)?;
    let value = |row: usize| -> Result<String> {
        if array.is_null(row) || kind == Kind::Null {
            return Ok("NULL".into());
        }
        Ok(match array.data_type() {
            DataType::Float64 => float(array.as_primitive::<arrow::datatypes::Float64Type>().value(row)),
            DataType::Float32 => short(&array.as_primitive::<arrow::datatypes::Float32Type>().value(row).to_string()),
            _ => {
                let text = formatter.value(row).try_to_string().map_err(bug)?;
                if kind == Kind::Decimal { decimal(&text) } else { text + zone }
            }
        })
    };
    (0..array.len()).map(value).collect()
}

/// Without the zone's name Arrow needs no table of zones; the Z is put after.
fn without_utc(array: &ArrayRef) -> Result<(ArrayRef, &'static str), arrow::error::ArrowError> {
    match array.data_type() {
        DataType::Timestamp(unit, Some(zone)) if matches!(&**zone, "UTC" | "Z" | "+00:00" | "+00") => {
            let data = array.to_data().into_builder().data_type(DataType::Timestamp(*unit, None)).build()?;
            Ok((make_array(data), "Z"))
        }
        _ => Ok((array.clone(), "")),
    }
}

/// A floating point number without exponent and with at most [`MAX_DECIMALS`] digits after the point.
pub fn float(value: f64) -> String {
    short(&value.to_string())
}

fn short(text: &str) -> String {
    match text {
        "inf" => "Infinity".into(),
        "-inf" => "-Infinity".into(),
        text => decimal(text),
    }
}

/// A number in plain digits without zeros at its end, rounded to [`MAX_DECIMALS`] digits after the point.
pub fn decimal(text: &str) -> String {
    let Some((whole, fraction)) = text.split_once('.') else { return text.to_string() };
    if fraction.len() <= MAX_DECIMALS || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return trimmed(text);
    }
    let mut digits: Vec<u8> = whole.bytes().chain(fraction[..MAX_DECIMALS].bytes()).collect();
    if fraction.as_bytes()[MAX_DECIMALS] >= b'5' {
        carry(&mut digits);
    }
    digits.insert(digits.len() - MAX_DECIMALS, b'.');
    trimmed(&String::from_utf8_lossy(&digits))
}

/// Adds one in the last place.
fn carry(digits: &mut Vec<u8>) {
    for digit in digits.iter_mut().rev().filter(|d| d.is_ascii_digit()) {
        if *digit < b'9' {
            *digit += 1;
            return;
        }
        *digit = b'0';
    }
    let first = usize::from(digits.first() == Some(&b'-'));
    digits.insert(first, b'1');
}

fn trimmed(text: &str) -> String {
    match text.contains('.') {
        true => match text.trim_end_matches('0').trim_end_matches('.') {
            "-0" | "" => "0".into(),
            text => text.into(),
        },
        false => text.into(),
    }
}
