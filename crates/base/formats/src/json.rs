//! JSON objects into columns: one pass over the bytes, driven by the columns, without a tree in between.

mod keys;
mod scan;

pub(crate) use keys::{Keys, Slot};
pub(crate) use scan::Cursor;

use arrow::datatypes::{TimeUnit, i256};

use crate::column::{Bad, Column, Data, StructData, Taken, quoted};
use crate::limits::{ALLOWANCE_BASE, ALLOWANCE_PER_BYTE, MAX_DEPTH};
use crate::number::{DecimalError, parse_decimal, parse_integer};
use crate::text_value::{push_count, push_text};

/// What one record may still make (see [`crate::limits::ALLOWANCE_PER_BYTE`]), and room to unescape strings in.
#[derive(Debug, Default)]
pub(crate) struct Budget {
    cells: u64,
    text: u64,
    pub(crate) scratch: Vec<u8>,
}

impl Budget {
    /// A new record of that many bytes begins.
    pub(crate) fn begin(&mut self, record_bytes: usize) {
        self.cells = ALLOWANCE_BASE + ALLOWANCE_PER_BYTE * record_bytes as u64;
        self.text = self.cells;
    }

    /// What is left, to be given back by [`Budget::restore`].
    pub(crate) fn left(&self) -> (u64, u64) {
        (self.cells, self.text)
    }

    pub(crate) fn restore(&mut self, (cells, text): (u64, u64)) {
        (self.cells, self.text) = (cells, text);
    }

    /// One more element of an array.
    pub(crate) fn spend_cells(&mut self, cells: u64) -> Taken {
        match self.cells.checked_sub(cells) {
            Some(left) => {
                self.cells = left;
                Ok(())
            }
            None => Err(Bad::new("its arrays hold more elements than a record of its length may")),
        }
    }

    /// Text that does not stand in the record itself.
    pub(crate) fn spend_text(&mut self, bytes: usize) -> Taken {
        match self.text.checked_sub(bytes as u64) {
            Some(left) => {
                self.text = left;
                Ok(())
            }
            None => Err(Bad::new("it stands for more text than a record of its length may")),
        }
    }
}

/// Takes in a record that is one JSON object. `base` is the number of rows so far.
pub(crate) fn decode_record(columns: &mut StructData, base: usize, bytes: &[u8], budget: &mut Budget) -> Taken {
    if let Err(e) = std::str::from_utf8(bytes) {
        return Err(Bad::new(format!("not UTF-8 at byte {}", e.valid_up_to())));
    }
    let mut cursor = Cursor::new(bytes);
    cursor.blanks();
    if cursor.peek() != Some(b'{') {
        return Err(Bad::new(format!("expected a JSON object, found {}", cursor.describe())));
    }
    decode_object(columns, base, &mut cursor, MAX_DEPTH, budget)?;
    cursor.blanks();
    if cursor.peek().is_some() {
        return Err(cursor.syntax("the end of the record"));
    }
    Ok(())
}

/// The cursor stands at `{`; `base` is the length of the columns before.
fn decode_object(
    columns: &mut StructData,
    base: usize,
    cursor: &mut Cursor<'_>,
    depth: usize,
    budget: &mut Budget,
) -> Taken {
    if depth == 0 {
        return Err(Bad::new(format!("nests deeper than {MAX_DEPTH}")));
    }
    columns.begin();
    columns.keys.begin();
    cursor.advance(1);
    cursor.blanks();
    if cursor.eat(b'}') {
        return columns.end();
    }
    loop {
        match columns.keys.next(cursor, &mut budget.scratch)? {
            Slot::Column { child, exact } if columns.set(child, exact, base) => {
                let column = &mut columns.children[child];
                let taken = match column.loose {
                    false => decode_value(column, cursor, depth - 1, budget),
                    true => decode_loosely(column, base, cursor, depth - 1, budget),
                };
                if let Err(bad) = taken {
                    return Err(bad.within(&columns.children[child].name));
                }
            }
            _ => cursor.skip_value(depth - 1)?,
        }
        cursor.blanks();
        if cursor.eat(b',') {
            cursor.blanks();
        } else if cursor.eat(b'}') {
            return columns.end();
        } else {
            return Err(cursor.syntax("',' or '}'"));
        }
    }
}

/// Takes in one value; the cursor stands at its first byte.
pub(crate) fn decode_value(column: &mut Column, cursor: &mut Cursor<'_>, depth: usize, budget: &mut Budget) -> Taken {
    let Some(first) = cursor.peek() else { return Err(cursor.syntax("a value")) };
    match (&mut column.data, first) {
        (_, b'n') if cursor.literal(b"null") => return column.push_null(),
        (_, b'-' | b'0'..=b'9') => return decode_number(column, cursor),
        (Data::Text(_), b'"') => {
            let text = cursor.string(&mut budget.scratch)?;
            column.push_bytes(text);
        }
        (_, b'"') => return decode_string(column, cursor, budget),
        (Data::Text(_), b'{' | b'[') => {
            let start = cursor.position();
            cursor.skip_value(depth)?;
            column.push_bytes(cursor.since(start));
        }
        (Data::Bool(_), b't') if cursor.literal(b"true") => column.push_bool(true),
        (Data::Bool(_), b'f') if cursor.literal(b"false") => column.push_bool(false),
        (Data::List { .. }, b'[') => return decode_array(column, cursor, depth, budget),
        (Data::Struct(_), b'{') => {
            let base = column.begin_struct();
            if let Data::Struct(fields) = &mut column.data {
                decode_object(fields, base, cursor, depth, budget)?;
            }
            column.end_struct();
        }
        _ => return Err(Bad::expected(column, cursor.describe())),
    }
    Ok(())
}

/// One value, or NULL where it does not fit. What follows finds everything as if there were no such column.
fn decode_loosely(
    column: &mut Column,
    base: usize,
    cursor: &mut Cursor<'_>,
    depth: usize,
    budget: &mut Budget,
) -> Taken {
    let (start, left) = (*cursor, budget.left());
    let fits = decode_value(column, cursor, depth, budget).is_ok();
    budget.restore(left);
    if fits {
        return Ok(());
    }
    column.truncate(base);
    column.push_null_unchecked();
    *cursor = start;
    cursor.skip_value(depth)
}

/// The cursor stands at a number.
fn decode_number(column: &mut Column, cursor: &mut Cursor<'_>) -> Taken {
    match &column.data {
        Data::Int { min, max, .. } => {
            let (min, max) = (*min, *max);
            let start = cursor.position();
            match cursor.integer()? {
                Some(value) if (min..=max).contains(&value) => column.push_i64(value),
                _ => return Err(Bad::expected(column, quoted(cursor.since(start)))),
            }
        }
        Data::Timestamp(..) => {
            let start = cursor.position();
            match cursor.integer()? {
                Some(millis) => return push_count(column, millis, TimeUnit::Millisecond, ""),
                None => return Err(Bad::expected(column, quoted(cursor.since(start)))),
            }
        }
        Data::UInt64(_) => {
            let number = cursor.number()?;
            match parse_integer(number).ok().and_then(|v| u64::try_from(v).ok()) {
                Some(value) => column.push_u64(value),
                None => return Err(Bad::expected(column, quoted(number))),
            }
        }
        Data::Float { single, .. } => {
            let single = *single;
            let number = cursor.number()?;
            match parse_float(number, single) {
                Some(value) => column.push_f64(value),
                None => return Err(Bad::expected(column, quoted(number))),
            }
        }
        Data::Decimal { .. } | Data::Wide { .. } => return push_decimal(column, cursor.number()?),
        _ => return Err(Bad::expected(column, cursor.describe())),
    }
    Ok(())
}

/// The cursor stands at a string, and the column is no text.
fn decode_string(column: &mut Column, cursor: &mut Cursor<'_>, budget: &mut Budget) -> Taken {
    match &column.data {
        Data::Bytes(_)
        | Data::Date(_)
        | Data::Time(..)
        | Data::Timestamp(..)
        | Data::Decimal { .. }
        | Data::Wide { .. } => push_text(column, cursor.string(&mut budget.scratch)?),
        Data::Float { .. } => {
            let text = cursor.string(&mut budget.scratch)?;
            match named_float(text) {
                Some(value) => column.push_f64(value),
                None => return Err(Bad::expected(column, format!("\"{}\"", quoted(text)))),
            }
            Ok(())
        }
        _ => Err(Bad::expected(column, cursor.describe())),
    }
}

/// The cursor stands at `[`.
fn decode_array(column: &mut Column, cursor: &mut Cursor<'_>, depth: usize, budget: &mut Budget) -> Taken {
    let Data::List { child, .. } = &mut column.data else { return Err(Bad::expected(column, "an array")) };
    if depth == 0 {
        return Err(Bad::new(format!("nests deeper than {MAX_DEPTH}")));
    }
    cursor.advance(1);
    cursor.blanks();
    if !cursor.eat(b']') {
        for at in 0usize.. {
            budget.spend_cells(child.leaves)?;
            decode_value(child, cursor, depth - 1, budget).map_err(|bad| bad.within(&format!("[{at}]")))?;
            cursor.blanks();
            if cursor.eat(b',') {
                cursor.blanks();
            } else if cursor.eat(b']') {
                break;
            } else {
                return Err(cursor.syntax("',' or ']'"));
            }
        }
    }
    column.end_list();
    Ok(())
}

/// The number nearest to a text that is a JSON number; `None` beyond the type's range.
pub(crate) fn parse_float(number: &[u8], single: bool) -> Option<f64> {
    let text = std::str::from_utf8(number).ok()?;
    let value = if single { f64::from(text.parse::<f32>().ok()?) } else { text.parse::<f64>().ok()? };
    value.is_finite().then_some(value)
}

/// What JSON has no number for.
pub(crate) fn named_float(text: &[u8]) -> Option<f64> {
    match text {
        b"NaN" => Some(f64::NAN),
        b"Infinity" => Some(f64::INFINITY),
        b"-Infinity" => Some(f64::NEG_INFINITY),
        _ => None,
    }
}

/// A number's text into a `DECIMAL` column.
pub(crate) fn push_decimal(column: &mut Column, number: &[u8]) -> Taken {
    let failed = match &column.data {
        Data::Decimal { precision, scale, .. } => match parse_decimal::<i128>(number, *precision, *scale, false) {
            Ok(value) => {
                column.push_decimal(value);
                return Ok(());
            }
            Err(e) => e,
        },
        Data::Wide { precision, scale, .. } => match parse_decimal::<i256>(number, *precision, *scale, false) {
            Ok(value) => {
                column.push_wide(value);
                return Ok(());
            }
            Err(e) => e,
        },
        _ => DecimalError::Syntax,
    };
    let why = if failed == DecimalError::Range { " (too large)" } else { "" };
    Err(Bad::expected(column, format!("{}{why}", quoted(number))))
}
