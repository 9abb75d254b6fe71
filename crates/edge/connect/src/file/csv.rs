//! Rows of CSV files: where one ends, and which of its fields is which column. Pure.
//!
//! A row goes over line ends that stand in quotes. Whatever cannot be such a row is cut at its first line end, so that
//! a quote too many spoils one line and not those behind it. Where a row ends depends on its own bytes only, wherever
//! reading begins and however they come.
//!
//! A file whose every line opens quotes must not be looked at as often as it has lines. At each line end that was seen
//! of a row before it was cut, that row was in quotes. One behind it that is in quotes at its own first line end is
//! thus in the same place from there on, and goes on where the cut row stopped.

use super::CsvRows;

/// Finds the end of one row while its bytes come in.
#[derive(Default)]
pub(crate) struct RowEnd {
    /// How far the row was looked at.
    at: usize,
    place: Place,
    /// The first line end in quotes.
    first_break: Option<usize>,
    /// How far a row that was cut was looked at, when that is beyond the beginning of this one, and its place there.
    ahead: Option<(usize, Place)>,
}

/// What the next byte belongs to.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Place {
    #[default]
    FieldStart,
    Plain,
    Quoted,
    /// A quote within quotes: the second of a pair follows, or what comes after a field.
    Quote,
}

impl RowEnd {
    /// Where the line end of the row is that begins `bytes`; `None` when it is not among them. Goes on where it stopped when it is
    /// asked again with more bytes.
    pub(crate) fn find(&mut self, bytes: &[u8], quote: u8, delimiter: u8, max_bytes: usize) -> Option<usize> {
        // Most rows have no quotes, and that is seen much sooner.
        if self.at == 0
            && let Some(end) = memchr::memchr(b'\n', bytes)
            && memchr::memchr(quote, &bytes[..end]).is_none()
        {
            return Some(end);
        }
        let end = self.walk(bytes, quote, delimiter)?;
        let text = bytes[..end].strip_suffix(b"\r").unwrap_or(&bytes[..end]);
        Some(self.first_break.filter(|_| text.len() > max_bytes).unwrap_or(end))
    }

    /// What finds the end of the row that follows, once `bytes` bytes of this one are taken with its line end.
    pub(crate) fn after(&self, bytes: u64) -> RowEnd {
        let was_cut = self.first_break.is_some_and(|end| end as u64 + 1 == bytes);
        let seen = if was_cut { Some((self.at, self.place)) } else { self.ahead };
        let beyond = |at: usize| at.checked_sub(usize::try_from(bytes).ok()?).filter(|beyond| *beyond > 0);
        let ahead = seen.and_then(|(at, place)| Some((beyond(at)?, place)));
        RowEnd { ahead, ..RowEnd::default() }
    }

    /// The first line end in quotes: where a row that is too long is cut.
    pub(crate) fn first_break(&self) -> Option<usize> {
        self.first_break
    }

    /// True when what was seen ends in quotes.
    pub(crate) fn is_open(&self) -> bool {
        self.place == Place::Quoted
    }

    fn walk(&mut self, bytes: &[u8], quote: u8, delimiter: u8) -> Option<usize> {
        while let Some(byte) = bytes.get(self.at) {
            match (self.place, *byte) {
                (Place::FieldStart, b) if b == quote => self.step(Place::Quoted),
                (Place::FieldStart | Place::Plain, _) => {
                    let Some(run) = memchr::memchr2(delimiter, b'\n', &bytes[self.at..]) else {
                        self.place = Place::Plain;
                        self.at = bytes.len();
                        return None;
                    };
                    self.at += run;
                    if bytes[self.at] == b'\n' {
                        return Some(self.at);
                    }
                    self.step(Place::FieldStart);
                }
                (Place::Quoted, _) => {
                    let rest = &bytes[self.at..];
                    let run = match self.first_break {
                        None => memchr::memchr2(quote, b'\n', rest),
                        Some(_) => memchr::memchr(quote, rest),
                    };
                    self.at += run.unwrap_or(rest.len());
                    match bytes.get(self.at) {
                        Some(b) if *b == quote => self.step(Place::Quote),
                        Some(_) => self.break_here(),
                        None => {}
                    }
                }
                (Place::Quote, b) if b == quote => self.step(Place::Quoted),
                (Place::Quote, b) if b == delimiter => self.step(Place::FieldStart),
                (Place::Quote, b'\n') => return Some(self.at),
                (Place::Quote, b'\r') if bytes.get(self.at + 1) == Some(&b'\n') => return Some(self.at + 1),
                // What comes decides, and is not there yet.
                (Place::Quote, b'\r') if self.at + 1 == bytes.len() => return None,
                // Text after a closing quote: no row of several lines.
                (Place::Quote, _) => match self.first_break {
                    Some(end) => return Some(end),
                    None => self.place = Place::Plain,
                },
            }
        }
        None
    }

    /// Goes over the first line end in quotes, and over what was looked at before.
    fn break_here(&mut self) {
        let end = self.at;
        self.first_break = Some(end);
        (self.at, self.place) = self.ahead.filter(|(at, _)| *at > end).unwrap_or((end + 1, Place::Quoted));
    }

    fn step(&mut self, to: Place) {
        self.at += 1;
        self.place = to;
    }
}

/// The fields of a row as they are written, with their quotes; `None` where quotes are not closed.
fn fields<'a>(row: &'a [u8], csv: &CsvRows) -> Option<Vec<&'a [u8]>> {
    let mut out = Vec::new();
    let mut start = 0;
    loop {
        let rest = &row[start..];
        let quoted = match csv.quote {
            Some(quote) if rest.first() == Some(&quote) => past_quotes(rest, quote)?,
            _ => 0,
        };
        match memchr::memchr(csv.delimiter, &rest[quoted..]) {
            Some(run) => {
                out.push(&rest[..quoted + run]);
                start += quoted + run + 1;
            }
            None => {
                out.push(rest);
                return Some(out);
            }
        }
    }
}

/// The length of what stands in quotes at the beginning of `text`, with them.
fn past_quotes(text: &[u8], quote: u8) -> Option<usize> {
    let mut at = 1;
    while let Some(run) = memchr::memchr(quote, &text[at..]) {
        at += run + 1;
        if text.get(at) != Some(&quote) {
            return Some(at);
        }
        at += 1;
    }
    None
}

/// For each column, the place of its field in the rows of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Order(Vec<usize>);

impl Order {
    /// The order that a header says; `None` where the fields stand in the order of the columns.
    ///
    /// A header that has all columns and nothing else is taken by name. Else its names may be other words for the columns in their order, unless
    /// one of them is the name of another column.
    ///
    /// # Errors
    /// What the header says, where its order can only be guessed.
    pub(crate) fn of_header(header: &[u8], csv: &CsvRows) -> Result<Option<Order>, String> {
        let header = header.strip_prefix(b"\xef\xbb\xbf").unwrap_or(header);
        let names: Vec<String> = fields(header, csv).into_iter().flatten().map(|field| name(field, csv)).collect();
        let columns: Vec<Option<usize>> = names.iter().map(|name| column_of(name, &csv.columns)).collect();
        if columns.iter().enumerate().all(|(at, column)| column.is_none_or(|column| column == at)) {
            return Ok(None);
        }
        let place = |column: usize| columns.iter().position(|c| *c == Some(column));
        let order: Option<Vec<usize>> = (0..csv.columns.len()).map(place).collect();
        match order {
            Some(order) if names.len() == order.len() => Ok(Some(Order(order))),
            _ => Err(names.join(", ")),
        }
    }

    /// Puts a row's fields into the order of the columns, as they are written. What has more or fewer fields, or is no row, stays as it is.
    pub(crate) fn arrange(&self, row: &[u8], csv: &CsvRows, out: &mut Vec<u8>) {
        let Some(fields) = fields(row, csv).filter(|fields| fields.len() == self.0.len()) else {
            return out.extend_from_slice(row);
        };
        for (at, place) in self.0.iter().enumerate() {
            if at > 0 {
                out.push(csv.delimiter);
            }
            out.extend_from_slice(fields[*place]);
        }
    }
}

/// A name in a header without its quotes and the spaces around it.
fn name(field: &[u8], csv: &CsvRows) -> String {
    let text = String::from_utf8_lossy(field);
    let text = text.trim();
    let Some(quote) = csv.quote.map(char::from) else { return text.to_string() };
    match text.strip_prefix(quote).and_then(|text| text.strip_suffix(quote)) {
        Some(inner) => inner.replace(&format!("{quote}{quote}"), &quote.to_string()).trim().to_string(),
        None => text.to_string(),
    }
}

/// The column of a name: this very one, else the only one that is it in another case.
fn column_of(name: &str, columns: &[String]) -> Option<usize> {
    let exact = columns.iter().position(|column| column == name);
    exact.or_else(|| {
        let mut alike = (0..columns.len()).filter(|at| columns[*at].to_lowercase() == name.to_lowercase());
        alike.next().filter(|_| alike.next().is_none())
    })
}

#[cfg(test)]
mod tests;
