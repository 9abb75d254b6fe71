//! One CSV row per record (RFC 4180 with a choice of delimiter, quote and null), fields in the order of the columns.

use arrow::datatypes::Field;
use fleuve_types::Result;

use crate::column::{Bad, Column, Data, StructData, Taken};
use crate::encode::{Cells, unsayable, write_plain};
use crate::json::Budget;
use crate::spec::CsvOptions;
use crate::text_value::push_field;
use crate::words::Positions;

/// Takes in one row. An unquoted field that is the null text is NULL; so is any empty unquoted one, but in a text column
/// only if the null text is empty.
pub(crate) fn decode_record(
    columns: &mut StructData,
    bytes: &[u8],
    options: &CsvOptions,
    budget: &mut Budget,
    scratch: &mut Vec<u8>,
) -> Taken {
    // Most records are ASCII, and that is seen much sooner.
    if !bytes.is_ascii()
        && let Err(e) = std::str::from_utf8(bytes)
    {
        return Err(Bad::new(format!("not UTF-8 at byte {}", e.valid_up_to())));
    }
    let bytes = without_last(without_last(bytes, b'\n'), b'\r');
    let wanted = columns.children.len();
    let mut fields = Fields::new(bytes, options);
    for (at, column) in columns.children.iter_mut().enumerate() {
        let taken = match fields.next(scratch) {
            Ok(Some(field)) => take_field(column, &field, options, budget),
            Ok(None) => return Err(Bad::new(format!("expected {wanted} fields, found {at}"))),
            Err(bad) => Err(bad),
        };
        if let Err(bad) = taken {
            return Err(bad.within(&column.name));
        }
    }
    let mut found = wanted;
    while fields.next(scratch)?.is_some() {
        found += 1;
    }
    if found == wanted { Ok(()) } else { Err(Bad::new(format!("expected {wanted} fields, found {found}"))) }
}

#[inline(always)]
fn take_field(column: &mut Column, field: &FieldText<'_>, options: &CsvOptions, budget: &mut Budget) -> Taken {
    let null = options.null.as_bytes();
    let is_null = match field.text.is_empty() {
        true => null.is_empty() || !matches!(column.data, Data::Text(_)),
        false => !null.is_empty() && field.text == null,
    };
    if is_null && !field.quoted {
        return column.push_null();
    }
    push_field(column, field.text, budget)
}

fn without_last(bytes: &[u8], last: u8) -> &[u8] {
    match bytes {
        [rest @ .., byte] if *byte == last => rest,
        _ => bytes,
    }
}

struct FieldText<'s> {
    text: &'s [u8],
    quoted: bool,
}

/// The fields of a row, one after the other.
struct Fields<'a> {
    row: &'a [u8],
    quote: Option<u8>,
    delimiters: Positions<'a>,
    /// Where the next field begins; beyond the row's end when there is none.
    start: usize,
}

impl<'a> Fields<'a> {
    fn new(row: &'a [u8], options: &CsvOptions) -> Self {
        Self { row, quote: options.quote, delimiters: Positions::new(row, options.delimiter), start: 0 }
    }

    /// The next field; a quoted one is unescaped into `scratch`.
    #[inline(always)]
    fn next<'s>(&mut self, scratch: &'s mut Vec<u8>) -> Taken<Option<FieldText<'s>>>
    where
        'a: 's,
    {
        let (row, start) = (self.row, self.start);
        match (row.get(start), self.quote) {
            (Some(first), Some(quote)) if *first == quote => {
                self.start = unquote(row, start, quote, &mut self.delimiters, scratch)?;
                Ok(Some(FieldText { text: scratch, quoted: true }))
            }
            (None, _) if start > row.len() => Ok(None),
            _ => {
                let end = self.delimiters.next_or_end();
                self.start = end + 1;
                Ok(Some(FieldText { text: &row[start..end], quoted: false }))
            }
        }
    }
}

/// Unescapes the quoted field that begins at `start`; gives the next one's start.
fn unquote(row: &[u8], start: usize, quote: u8, delimiters: &mut Positions<'_>, scratch: &mut Vec<u8>) -> Taken<usize> {
    scratch.clear();
    let text = &row[start..];
    let mut at = 1;
    loop {
        let Some(run) = memchr::memchr(quote, &text[at..]) else {
            return Err(Bad::new("a quoted field has no end"));
        };
        scratch.extend_from_slice(&text[at..at + run]);
        at += run + 1;
        if text.get(at) != Some(&quote) {
            break;
        }
        scratch.push(quote);
        at += 1;
    }
    // Delimiters inside of the quotes are passed over.
    delimiters.seek(start + at);
    match delimiters.next_or_end() == start + at {
        true => Ok(start + at + 1),
        false => Err(Bad::new(format!("text follows the closing quote at byte {at}"))),
    }
}

/// Writes a field so that [`decode_record`] reads it back. False when that takes quotes and there are none.
fn write_text(out: &mut Vec<u8>, text: &[u8], options: &CsvOptions) -> bool {
    let special = |b: &u8| *b == options.delimiter || Some(*b) == options.quote || matches!(*b, b'\n' | b'\r');
    if !text.is_empty() && text != options.null.as_bytes() && !text.iter().any(special) {
        out.extend_from_slice(text);
        return true;
    }
    let Some(quote) = options.quote else { return false };
    out.push(quote);
    for byte in text {
        if *byte == quote {
            out.push(quote);
        }
        out.push(*byte);
    }
    out.push(quote);
    true
}

/// Writes a row.
///
/// # Errors
/// Input: a value that takes quotes when there are none.
pub(crate) fn write_row(out: &mut Vec<u8>, options: &CsvOptions, fields: &[(Field, Cells)], row: usize) -> Result<()> {
    let mut text = Vec::new();
    for (at, (field, cells)) in fields.iter().enumerate() {
        if at > 0 {
            out.push(options.delimiter);
        }
        if cells.is_null(row) {
            out.extend_from_slice(options.null.as_bytes());
            continue;
        }
        text.clear();
        write_plain(&mut text, field, cells, row)?;
        if !write_text(out, &text, options) {
            return Err(unsayable(field, "a value takes quotes, and the stream has quote = none"));
        }
    }
    Ok(())
}
