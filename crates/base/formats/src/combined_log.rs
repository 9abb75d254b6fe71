//! Lines of a web server's access log, in the combined format or the shorter common one:
//! `host ident user [17/May/2015:10:05:03 +0000] "GET /path HTTP/1.1" 200 203023 "referer" "agent"`.
//!
//! `-` is NULL. A line whose request is not `METHOD path PROTOCOL` keeps the request's text as its path. In quotes, `\"` is a quote and `\\` a backslash; other escapes (`\xe4`) stay as they are written, because
//! the bytes behind them need not be UTF-8.

use std::borrow::Cow;

use arrow::datatypes::{Field, TimeUnit};
use fleuve_types::{Error, Result};

use crate::column::{Bad, Data, StructData, Taken, quoted};
use crate::encode::{self, Cells};
use crate::spec::format_columns;
use crate::text_value::{push_count, push_text};
use crate::time::{NANOS_PER_SECOND, SECONDS_PER_DAY, civil_from_days, days_from_civil, parse_time};

/// The parts of a line in the order of the format's columns, without the time; NULL is `None`.
type Parts<'a> = [Option<Cow<'a, [u8]>>; 11];

/// Where the time stands among the format's columns.
const TS: usize = 3;

/// A request: three parts, or only a text that stands as the path.
struct Request<'a> {
    method: Option<Cow<'a, [u8]>>,
    path: Option<Cow<'a, [u8]>>,
    protocol: Option<Cow<'a, [u8]>>,
}

/// For each column, which part of a line it takes.
pub(crate) fn parts_of(columns: &StructData) -> Vec<usize> {
    let brought = format_columns("combined_log").expect("the format brings columns");
    columns.children.iter().map(|c| brought.index_of(&c.name).unwrap_or(TS)).collect()
}

/// Takes in one line; `parts` is what [`parts_of`] gave.
pub(crate) fn decode_record(columns: &mut StructData, parts: &[usize], bytes: &[u8]) -> Taken {
    if let Err(e) = std::str::from_utf8(bytes) {
        return Err(Bad::new(format!("not UTF-8 at byte {}", e.valid_up_to())));
    }
    let (seconds, line) = parse(bytes.trim_ascii_end())?;
    for (column, part) in columns.children.iter_mut().zip(parts) {
        let taken = match (&column.data, &line[*part]) {
            (Data::Timestamp(..), _) => push_count(column, seconds, TimeUnit::Second, ""),
            (_, Some(text)) => push_text(column, text),
            (_, None) => column.push_null(),
        };
        taken.map_err(|bad| bad.within(&column.name))?;
    }
    Ok(())
}

/// The time in seconds since the Unix epoch, and the parts.
fn parse(line: &[u8]) -> Taken<(i64, Parts<'_>)> {
    let mut rest = line;
    let host = word(&mut rest, "host")?.map(Cow::Borrowed);
    let ident = word(&mut rest, "ident")?.map(Cow::Borrowed);
    let user_name = word(&mut rest, "user")?.map(Cow::Borrowed);
    let seconds = time(&mut rest)?;
    let Request { method, path, protocol } = request(in_quotes(&mut rest, "request")?);
    space(&mut rest, "status")?;
    let status = digits(word(&mut rest, "status")?, "status")?;
    let end = memchr::memchr(b' ', rest).unwrap_or(rest.len());
    let bytes = digits(dash(&rest[..end]), "bytes")?;
    rest = &rest[end..];
    let (mut referer, mut agent) = (None, None);
    if !rest.is_empty() {
        space(&mut rest, "referer")?;
        referer = dash_cow(in_quotes(&mut rest, "referer")?);
        space(&mut rest, "agent")?;
        agent = dash_cow(in_quotes(&mut rest, "agent")?);
    }
    if !rest.is_empty() {
        return Err(Bad::new(format!("not a log line: text follows its end: '{}'", quoted(rest))));
    }
    Ok((seconds, [host, ident, user_name, None, method, path, protocol, status, bytes, referer, agent]))
}

fn missing(what: &str, rest: &[u8]) -> Box<Bad> {
    Bad::new(format!("not a log line: expected the {what}, found '{}'", quoted(rest)))
}

fn dash(text: &[u8]) -> Option<&[u8]> {
    (text != b"-").then_some(text)
}

fn dash_cow(text: Cow<'_, [u8]>) -> Option<Cow<'_, [u8]>> {
    (text.as_ref() != b"-").then_some(text)
}

fn space(rest: &mut &[u8], before: &str) -> Taken {
    match rest.split_first() {
        Some((b' ', after)) => {
            *rest = after;
            Ok(())
        }
        _ => Err(missing(before, rest)),
    }
}

/// The text up to the next blank, and over it.
fn word<'a>(rest: &mut &'a [u8], what: &str) -> Taken<Option<&'a [u8]>> {
    match memchr::memchr(b' ', rest) {
        Some(end) if end > 0 => {
            let text = &rest[..end];
            *rest = &rest[end + 1..];
            Ok(dash(text))
        }
        _ => Err(missing(what, rest)),
    }
}

fn digits<'a>(text: Option<&'a [u8]>, what: &str) -> Taken<Option<Cow<'a, [u8]>>> {
    match text {
        Some(t) if t.is_empty() || !t.iter().all(u8::is_ascii_digit) => Err(missing(what, t)),
        _ => Ok(text.map(Cow::Borrowed)),
    }
}

/// `[dd/Mon/yyyy:HH:MM:SS +zzzz] `, in seconds since the Unix epoch.
fn time(rest: &mut &[u8]) -> Taken<i64> {
    let Some((text, after)) = rest.split_at_checked(29) else { return Err(missing("time", rest)) };
    match text.strip_prefix(b"[").and_then(|t| t.strip_suffix(b"] ")).and_then(moment) {
        Some(seconds) => {
            *rest = after;
            Ok(seconds)
        }
        None => Err(missing("time", rest)),
    }
}

/// `dd/Mon/yyyy:HH:MM:SS +zzzz`, which is 26 bytes.
fn moment(text: &[u8]) -> Option<i64> {
    let number = |at: &[u8]| at.iter().try_fold(0u32, |n, b| b.is_ascii_digit().then(|| n * 10 + u32::from(b - b'0')));
    if text[2] != b'/' || text[6] != b'/' || text[11] != b':' || text[20] != b' ' {
        return None;
    }
    let month = MONTHS.iter().position(|name| name.as_slice() == &text[3..6])? as u32 + 1;
    let (day, year) = (number(&text[..2])?, i64::from(number(&text[7..11])?));
    let days = days_from_civil(year, month, day);
    if civil_from_days(days) != (year, month, day) {
        // The month has no such day.
        return None;
    }
    let clock = parse_time(&text[12..20])? / NANOS_PER_SECOND;
    let east = i64::from(number(&text[22..24])? * 3600 + number(&text[24..26])? * 60);
    let local = days * SECONDS_PER_DAY + clock;
    match text[21] {
        b'+' => Some(local - east),
        b'-' => Some(local + east),
        _ => None,
    }
}

const MONTHS: [[u8; 3]; 12] =
    [*b"Jan", *b"Feb", *b"Mar", *b"Apr", *b"May", *b"Jun", *b"Jul", *b"Aug", *b"Sep", *b"Oct", *b"Nov", *b"Dec"];

/// A text in quotes, unescaped.
fn in_quotes<'a>(rest: &mut &'a [u8], what: &str) -> Taken<Cow<'a, [u8]>> {
    let Some(text) = rest.strip_prefix(b"\"") else { return Err(missing(what, rest)) };
    let mut escapes = false;
    let mut at = 0;
    loop {
        let Some(found) = text.get(at..).and_then(|text| memchr::memchr2(b'"', b'\\', text)) else {
            return Err(Bad::new(format!("not a log line: the {what} has no closing quote")));
        };
        at += found;
        if text[at] == b'"' {
            break;
        }
        escapes |= matches!(text.get(at + 1), Some(b'"' | b'\\'));
        at += 2;
    }
    *rest = &text[at + 1..];
    let text = &text[..at];
    if !escapes {
        return Ok(Cow::Borrowed(text));
    }
    let mut plain = Vec::with_capacity(text.len());
    let mut bytes = text.iter().peekable();
    while let Some(byte) = bytes.next() {
        match (byte, bytes.peek()) {
            (b'\\', Some(next @ (b'"' | b'\\'))) => {
                plain.push(**next);
                bytes.next();
            }
            _ => plain.push(*byte),
        }
    }
    Ok(Cow::Owned(plain))
}

/// `METHOD path PROTOCOL`, where the protocol has a name, a slash and a version; else all of it is the path.
fn request(text: Cow<'_, [u8]>) -> Request<'_> {
    let only_path = |text| Request { method: None, path: dash_cow(text), protocol: None };
    let mut parts = text.split(|b| *b == b' ');
    let (Some(method), Some(path), Some(protocol), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return only_path(text);
    };
    let is_method = !method.is_empty() && method.iter().all(|b| b.is_ascii_alphabetic() || matches!(b, b'-' | b'_'));
    let is_protocol = match protocol.iter().position(|b| *b == b'/') {
        Some(slash) if slash > 0 && slash + 1 < protocol.len() => {
            protocol[..slash].iter().all(u8::is_ascii_alphabetic)
                && protocol[slash + 1..].iter().all(|b| b.is_ascii_digit() || *b == b'.')
        }
        _ => false,
    };
    if !is_method || path.is_empty() || !is_protocol {
        return only_path(text);
    }
    let (first, second) = (method.len(), method.len() + 1 + path.len());
    let part = |from: usize, to: usize| match &text {
        Cow::Borrowed(text) => Cow::Borrowed(&text[from..to]),
        Cow::Owned(text) => Cow::Owned(text[from..to].to_vec()),
    };
    Request {
        method: Some(part(0, first)),
        path: Some(part(first + 1, second)),
        protocol: Some(part(second + 1, text.len())),
    }
}

/// Writes rows as lines of the combined format.
pub(crate) struct Writer {
    /// For each part of a line, the column that holds it.
    columns: [Option<usize>; 11],
}

impl Writer {
    pub(crate) fn new(columns: &[(Field, Cells)]) -> Self {
        let brought = format_columns("combined_log").expect("the format brings columns");
        let find = |part: usize| columns.iter().position(|(field, _)| field.name() == brought.field(part).name());
        Self { columns: std::array::from_fn(find) }
    }

    /// # Errors
    /// Input: a value that would be read back as another one.
    pub(crate) fn write_row(&self, out: &mut Vec<u8>, columns: &[(Field, Cells)], row: usize) -> Result<()> {
        let mut texts: [Option<Vec<u8>>; 11] = Default::default();
        let mut seconds = None;
        for (part, at) in self.columns.iter().enumerate() {
            let Some((field, cells)) = at.map(|at| &columns[at]) else { continue };
            if cells.is_null(row) {
                continue;
            }
            if part == TS {
                seconds = encode::seconds(cells, row);
                continue;
            }
            let mut text = Vec::new();
            encode::write_plain(&mut text, field, cells, row)?;
            if text == b"-" {
                return Err(encode::unsayable(field, "'-' would be read as NULL"));
            }
            texts[part] = Some(text);
        }
        let [host, ident, user, _, method, path, protocol, status, bytes, referer, agent] = texts;
        for word in [host, ident, user] {
            write_word(out, word, |b| *b > b' ')?;
            out.push(b' ');
        }
        write_moment(out, seconds)?;
        write_request(out, method, path, protocol)?;
        for number in [status, bytes] {
            out.push(b' ');
            write_word(out, number, u8::is_ascii_digit)?;
        }
        for text in [referer, agent] {
            out.push(b' ');
            write_quoted(out, text.as_deref().unwrap_or(b"-"));
        }
        Ok(())
    }
}

fn write_word(out: &mut Vec<u8>, word: Option<Vec<u8>>, allowed: fn(&u8) -> bool) -> Result<()> {
    match word {
        Some(word) if word.is_empty() || !word.iter().all(allowed) => {
            Err(Error::input(format!("'{}' cannot stand in an access log at its place", quoted(&word))))
        }
        Some(word) => {
            out.extend_from_slice(&word);
            Ok(())
        }
        None => {
            out.push(b'-');
            Ok(())
        }
    }
}

fn write_moment(out: &mut Vec<u8>, seconds: Option<i64>) -> Result<()> {
    let seconds = seconds.ok_or_else(|| Error::input("a line of an access log needs its time (column ts)"))?;
    let (year, month, day) = civil_from_days(seconds.div_euclid(SECONDS_PER_DAY));
    if !(0..=9999).contains(&year) {
        return Err(Error::input(format!("year {year} cannot stand in an access log")));
    }
    let clock = seconds.rem_euclid(SECONDS_PER_DAY);
    let month = String::from_utf8_lossy(&MONTHS[month as usize - 1]);
    let (hour, minute, second) = (clock / 3600, clock / 60 % 60, clock % 60);
    let text = format!("[{day:02}/{month}/{year:04}:{hour:02}:{minute:02}:{second:02} +0000] ");
    out.extend_from_slice(text.as_bytes());
    Ok(())
}

fn write_request(
    out: &mut Vec<u8>,
    method: Option<Vec<u8>>,
    path: Option<Vec<u8>>,
    protocol: Option<Vec<u8>>,
) -> Result<()> {
    let three = method.is_some();
    let text = match (method, path, protocol) {
        (None, None, None) => b"-".to_vec(),
        (None, Some(path), None) => path,
        (Some(method), Some(path), Some(protocol)) => [method, path, protocol].join(&b' '),
        _ => return Err(Error::input("a request has a method, a path and a protocol, or only a path")),
    };
    if request(Cow::Borrowed(&text)).method.is_some() != three {
        return Err(Error::input(format!("the request '{}' would be read back as another one", quoted(&text))));
    }
    write_quoted(out, &text);
    Ok(())
}

fn write_quoted(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    for byte in text {
        if matches!(byte, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(*byte);
    }
    out.push(b'"');
}
