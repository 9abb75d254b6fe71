//! One CSV row per record (RFC 4180 with a choice of delimiter, quote and null), fields in the order of the columns.

use arrow::datatypes::Field;
use fleuve_types::Result;

use crate::column::{Bad, Data, StructData, Taken};
use crate::encode::{Cells, unsayable, write_plain};
use crate::json::Budget;
use crate::spec::CsvOptions;
use crate::text_value::push_field;

/// Takes in one row. An unquoted field that is the null text is NULL; so is any empty unquoted one, but in a text column
/// only if the null text is empty.
pub(crate) fn decode_record(
    columns: &mut StructData,
    bytes: &[u8],
    options: &CsvOptions,
    budget: &mut Budget,
    field: &mut Vec<u8>,
) -> Taken {
    // Most records are ASCII, and that is seen much sooner.
    if !bytes.is_ascii()
        && let Err(e) = std::str::from_utf8(bytes)
    {
        return Err(Bad::new(format!("not UTF-8 at byte {}", e.valid_up_to())));
    }
    let bytes = without_last(without_last(bytes, b'\n'), b'\r');
    let wanted = columns.children.len();
    let mut rest = Some(bytes);
    let mut found = 0;
    while let Some(text) = rest {
        let split = split_field(text, options, field);
        let (raw, quoted, after) = split.map_err(|bad| match columns.children.get(found) {
            Some(column) => bad.within(&column.name),
            None => bad,
        })?;
        if let Some(column) = columns.children.get_mut(found) {
            let text_column = matches!(column.data, Data::Text(_));
            let null = !quoted && (raw == options.null.as_bytes() || (raw.is_empty() && !text_column));
            let taken = match null {
                true => column.push_null(),
                false => push_field(column, raw, budget),
            };
            taken.map_err(|bad| bad.within(&columns.children[found].name))?;
        }
        found += 1;
        rest = after;
    }
    if found == wanted { Ok(()) } else { Err(Bad::new(format!("expected {wanted} fields, found {found}"))) }
}

fn without_last(bytes: &[u8], last: u8) -> &[u8] {
    match bytes {
        [rest @ .., byte] if *byte == last => rest,
        _ => bytes,
    }
}

/// A field: its text, whether it was quoted, and what follows its delimiter (`None` at the end of the row).
type SplitField<'a, 's> = (&'s [u8], bool, Option<&'a [u8]>);

/// The first field of `text`; a quoted one with quotes inside is unescaped into `scratch`.
fn split_field<'a: 's, 's>(
    text: &'a [u8],
    options: &CsvOptions,
    scratch: &'s mut Vec<u8>,
) -> Taken<SplitField<'a, 's>> {
    let quote = match options.quote {
        Some(quote) if text.first() == Some(&quote) => quote,
        _ => {
            return Ok(match memchr::memchr(options.delimiter, text) {
                Some(end) => (&text[..end], false, Some(&text[end + 1..])),
                None => (text, false, None),
            });
        }
    };
    scratch.clear();
    let mut at = 1;
    loop {
        let Some(run) = memchr::memchr(quote, &text[at..]) else {
            return Err(Bad::new("a quoted field has no end"));
        };
        scratch.extend_from_slice(&text[at..at + run]);
        at += run + 1;
        match text.get(at) {
            Some(b) if *b == quote => {
                scratch.push(quote);
                at += 1;
            }
            Some(b) if *b == options.delimiter => return Ok((scratch, true, Some(&text[at + 1..]))),
            None => return Ok((scratch, true, None)),
            Some(_) => return Err(Bad::new(format!("text follows the closing quote at byte {at}"))),
        }
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
