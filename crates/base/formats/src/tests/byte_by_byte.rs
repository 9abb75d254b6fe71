//! The decoders of CSV and Avro, which take many bytes at once, beside ones that go byte by byte: the same rows, and the same reasons
//! for the records that are none.

use proptest::prelude::*;

use super::avro::{framed, registry, zigzag};
use super::*;
use crate::column::quoted;

/// A row's fields with whether they were quoted, and what is wrong after the last of them.
fn split(row: &[u8], delimiter: u8, quote: Option<u8>) -> (Vec<(Vec<u8>, bool)>, Option<String>) {
    let (mut fields, mut at) = (vec![], 0);
    loop {
        let (start, mut text) = (at, vec![]);
        let is_quote = |at: usize| quote.is_some() && row.get(at).copied() == quote;
        let in_quotes = is_quote(at);
        at += usize::from(in_quotes);
        while in_quotes && (!is_quote(at) || is_quote(at + 1)) {
            let Some(byte) = row.get(at) else { return (fields, Some("a quoted field has no end".into())) };
            text.push(*byte);
            at += if is_quote(at) { 2 } else { 1 };
        }
        at += usize::from(in_quotes);
        while !in_quotes && at < row.len() && row[at] != delimiter {
            text.push(row[at]);
            at += 1;
        }
        match row.get(at) {
            Some(byte) if *byte != delimiter => {
                return (fields, Some(format!("text follows the closing quote at byte {}", at - start)));
            }
            byte => {
                fields.push((text, in_quotes));
                if byte.is_none() {
                    return (fields, None);
                }
            }
        }
        at += 1;
    }
}

fn csv_value(field: &Field, (text, in_quotes): &(Vec<u8>, bool), null: &str) -> std::result::Result<String, String> {
    let is_text = *field.data_type() == DataType::Utf8;
    let shown = String::from_utf8(text.clone()).unwrap();
    if !in_quotes && (shown == null || (text.is_empty() && !is_text)) {
        return if field.is_nullable() { Ok("~".into()) } else { Err("is NOT NULL and the value is null".into()) };
    }
    if is_text {
        return Ok(shown);
    }
    let (name, range) = match field.data_type() {
        DataType::Int8 => ("TINYINT", i64::from(i8::MIN)..=i64::from(i8::MAX)),
        _ => ("BIGINT", i64::MIN..=i64::MAX),
    };
    let trimmed = text.trim_ascii();
    let value = std::str::from_utf8(trimmed).unwrap().parse::<i64>().ok().filter(|v| range.contains(v));
    value.map(|v| v.to_string()).ok_or_else(|| format!("expected {name}, found \"{}\"", quoted(trimmed)))
}

/// What [`lines`] shows of a record.
fn csv_line(record: &[u8], fields: &[Field], delimiter: u8, quote: Option<u8>, null: &str) -> String {
    if let Err(e) = std::str::from_utf8(record) {
        return format!("! not UTF-8 at byte {}", e.valid_up_to());
    }
    let row = record.strip_suffix(b"\n").unwrap_or(record);
    let (found, wrong) = split(row.strip_suffix(b"\r").unwrap_or(row), delimiter, quote);
    let values: std::result::Result<Vec<String>, String> = (fields.iter().zip(&found))
        .map(|(field, text)| csv_value(field, text, null).map_err(|why| format!("! column '{}': {why}", field.name())))
        .collect();
    match (values, wrong) {
        (Err(why), _) => why,
        (_, Some(why)) if found.len() < fields.len() => format!("! column '{}': {why}", fields[found.len()].name()),
        (_, Some(why)) => format!("! {why}"),
        (Ok(values), _) if found.len() == fields.len() => values.join("|"),
        _ => format!("! expected {} fields, found {}", fields.len(), found.len()),
    }
}

/// A datum that is read byte by byte.
struct Plain<'a>(&'a [u8]);

impl<'a> Plain<'a> {
    fn long(&mut self) -> std::result::Result<i64, String> {
        let mut value = 0u128;
        for (at, byte) in self.0.iter().take(10).enumerate() {
            value += u128::from(byte % 128) << (7 * at);
            if *byte < 128 {
                self.0 = &self.0[at + 1..];
                let half = (value as u64 / 2) as i64;
                return Ok(if value.is_multiple_of(2) { half } else { -1 - half });
            }
        }
        Err("the datum has a broken integer, or ends within one".into())
    }

    fn take(&mut self, bytes: usize) -> std::result::Result<&'a [u8], String> {
        let left = self.0.len();
        if left < bytes {
            return Err(format!("the datum ends early: {bytes} bytes needed, {left} left"));
        }
        let (taken, rest) = self.0.split_at(bytes);
        self.0 = rest;
        Ok(taken)
    }

    fn sized(&mut self) -> std::result::Result<&'a [u8], String> {
        let length = self.long()?;
        usize::try_from(length).map_err(|_| format!("the datum has a length of {length}")).and_then(|n| self.take(n))
    }

    /// What is shown of a value of that type, for a column that takes no NULL if `strict`.
    fn value(&mut self, kind: Kind, strict: bool) -> std::result::Result<String, String> {
        Ok(match kind {
            Kind::Long => self.long()?.to_string(),
            Kind::Small => match self.long()? {
                value @ -128..=127 => value.to_string(),
                value => return Err(format!("expected TINYINT, found the Avro int {value}")),
            },
            Kind::Text => {
                let bytes = self.sized()?;
                let text = String::from_utf8(bytes.to_vec());
                text.map_err(|_| format!("a string is not UTF-8: \"{}\"", quoted(bytes)))?
            }
            Kind::Boolean => match self.take(1)? {
                [0] => "false".into(),
                [1] => "true".into(),
                other => return Err(format!("the datum has {} for a boolean", other[0])),
            },
            Kind::NullOrLong | Kind::TextOrNull => {
                let (null, kind) = if kind == Kind::NullOrLong { (0, Kind::Long) } else { (1, Kind::Text) };
                match self.long()? {
                    branch if branch == null && strict => return Err("is NOT NULL and the value is null".into()),
                    branch if branch == null => "~".into(),
                    0 | 1 => self.value(kind, strict)?,
                    branch => return Err(format!("the datum takes branch {branch} of a union of 2")),
                }
            }
            Kind::Unread => {
                self.sized()?;
                String::new()
            }
        })
    }
}

/// A field of the writer's, and the column that it is for.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Long,
    Small,
    Text,
    Boolean,
    NullOrLong,
    TextOrNull,
    Unread,
}

impl Kind {
    fn avro(self) -> &'static str {
        match self {
            Kind::Long => r#""long""#,
            Kind::Small => r#""int""#,
            Kind::Text | Kind::Unread => r#""string""#,
            Kind::Boolean => r#""boolean""#,
            Kind::NullOrLong => r#"["null","long"]"#,
            Kind::TextOrNull => r#"["string","null"]"#,
        }
    }

    fn column(self) -> Option<DataType> {
        match self {
            Kind::Long | Kind::NullOrLong => Some(DataType::Int64),
            Kind::Small => Some(DataType::Int8),
            Kind::Text | Kind::TextOrNull => Some(DataType::Utf8),
            Kind::Boolean => Some(DataType::Boolean),
            Kind::Unread => None,
        }
    }

    /// A value, mostly a good one.
    fn write(self, out: &mut Vec<u8>, seed: u64) {
        let text = |out: &mut Vec<u8>| {
            let text = ["", "a", "é", "some text that is a little longer", "\u{7f}\u{80}"][(seed % 5) as usize];
            let text = text.repeat(1 + (seed >> 8) as usize % 4);
            out.extend(zigzag(text.len() as i64));
            out.extend(text.as_bytes());
        };
        let long = |out: &mut Vec<u8>| out.extend(zigzag(seed as i64 >> (seed % 64)));
        match self {
            Kind::Long => long(out),
            Kind::Small => out.extend(zigzag((seed % 300) as i64 - 150)),
            Kind::Text | Kind::Unread => text(out),
            Kind::Boolean => out.push((seed % 2) as u8),
            Kind::NullOrLong if seed.is_multiple_of(3) => out.push(0),
            Kind::NullOrLong => {
                out.push(2);
                long(out);
            }
            Kind::TextOrNull if seed.is_multiple_of(3) => out.push(2),
            Kind::TextOrNull => {
                out.push(0);
                text(out);
            }
        }
    }
}

/// What [`lines`] shows of a datum; a field that is not `true` takes no NULL. One more column than there are fields is missing.
fn avro_line(datum: &[u8], fields: &[(Kind, bool)], missing: bool) -> String {
    let mut datum = Plain(datum);
    let mut shown = vec![];
    for (at, (kind, nullable)) in fields.iter().enumerate() {
        match datum.value(*kind, !nullable) {
            Ok(value) if kind.column().is_some() => shown.push(value),
            Ok(_) => {}
            Err(why) if kind.column().is_some() => return format!("! column 'f{at}': {why}"),
            Err(why) => return format!("! {why}"),
        }
    }
    match datum.0.len() {
        _ if !missing => "! column 'missing': is NOT NULL and has no value".into(),
        0 => [shown, vec!["~".into()]].concat().join("|"),
        left => format!("! {left} bytes follow the Avro datum of schema 1"),
    }
}

fn avro_fields() -> impl Strategy<Value = Vec<(Kind, bool)>> {
    use Kind::{Boolean, Long, NullOrLong, Small, Text, TextOrNull, Unread};
    let kind = prop::sample::select(vec![Long, Small, Text, Boolean, NullOrLong, TextOrNull, Unread]);
    prop::collection::vec((kind, prop::bool::weighted(0.8)), 1..7)
}

/// A record: what its values are made of, and what is then done to a byte: changed to another, cut off from there, or added behind.
type Written = (Vec<u64>, Option<(usize, u8, u8)>);

fn write(fields: &[(Kind, bool)], (seeds, broken): &Written) -> Vec<u8> {
    let mut datum = vec![];
    fields.iter().zip(seeds).for_each(|((kind, _), seed)| kind.write(&mut datum, *seed));
    match broken {
        Some((_, byte, 0)) => datum.push(*byte),
        Some((at, byte, 1)) if !datum.is_empty() => {
            let at = at % datum.len();
            datum[at] = *byte;
        }
        Some((at, ..)) => datum.truncate(at % (datum.len() + 1)),
        None => {}
    }
    datum
}

/// Pieces of a row in any order, or fields that are mostly right.
fn csv_row() -> impl Strategy<Value = String> {
    let pieces = prop::sample::select(vec![
        ",",
        ",",
        "\t",
        "\t",
        "\"",
        "\"",
        "'",
        "a",
        "7",
        "-12",
        "-",
        "123456789",
        "1234567890123456",
        " ",
        "é",
        "NA",
        "\n",
        "\r",
        "a text that is longer than the others, and than what is looked at as one block of bytes",
    ]);
    let mixed = prop::collection::vec(pieces, 0..16).prop_map(|pieces| pieces.concat());
    let text = || prop_oneof!["[a-z ]{0,80}", "\"[a-z ]{0,80}\"", "\"([a-z,\t]|\"\"){0,50}\"", "[a-zé\"']{1,4}", "NA"];
    let fields = ("-?[0-9]{0,18}", text(), text(), " ?[0-9]{1,3} ?", any::<bool>());
    let right = fields.prop_map(|(a, b, c, d, tabs)| [a, b, c, d].join(if tabs { "\t" } else { "," }));
    prop_oneof![mixed, right]
}

proptest! {
    #[test]
    fn csv(
        rows in prop::collection::vec(csv_row(), 1..8),
        not_utf8 in prop::option::weighted(0.2, any::<usize>()),
        tabs: bool,
    ) {
        let mut rows: Vec<Vec<u8>> = rows.into_iter().map(String::into_bytes).collect();
        if let Some(at) = not_utf8 {
            let row = at % rows.len();
            let place = at % (rows[row].len() + 1);
            rows[row].insert(place, 0xff);
        }
        let fields = vec![
            column("a", DataType::Int64),
            column("b", DataType::Utf8),
            Field::new("c", DataType::Utf8, false),
            column("d", DataType::Int8),
        ];
        let (options, delimiter, quote, null): (&[(&str, &str)], _, _, _) = match tabs {
            true => (&[("delimiter", "\\t"), ("quote", "none"), ("null", "NA")], b'\t', None, "NA"),
            false => (&[], b',', Some(b'"'), ""),
        };
        let values: Vec<&[u8]> = rows.iter().map(Vec::as_slice).collect();
        let found = lines(&decode(&spec("csv", options, &schema(fields.clone())), None, &values));
        let expected: Vec<String> = rows.iter().map(|row| csv_line(row, &fields, delimiter, quote, null)).collect();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn avro(
        fields in avro_fields(),
        written in prop::collection::vec((prop::collection::vec(any::<u64>(), 7), prop::option::of((0usize..200, any::<u8>(), 0u8..3))), 1..8),
        missing in prop::bool::weighted(0.9),
    ) {
        let named = || fields.iter().enumerate().map(|(at, (kind, nullable))| (format!("f{at}"), *kind, *nullable));
        let avro: Vec<String> = named().map(|(name, kind, _)| format!(r#"{{"name":"{name}","type":{}}}"#, kind.avro())).collect();
        let registry = registry(&[(1, &format!(r#"{{"type":"record","name":"r","fields":[{}]}}"#, avro.join(",")))]);
        let columns = named().filter_map(|(name, kind, nullable)| Some(Field::new(name, kind.column()?, nullable)));
        let columns = columns.chain([Field::new("missing", DataType::Int32, missing)]).collect();
        let datums: Vec<Vec<u8>> = written.iter().map(|record| write(&fields, record)).collect();
        let values: Vec<Vec<u8>> = datums.iter().map(|datum| framed(1, datum)).collect();
        let values: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
        let found = lines(&decode(&spec("avro", &[], &schema(columns)), Some(registry), &values));
        let expected: Vec<String> = datums.iter().map(|datum| avro_line(datum, &fields, missing)).collect();
        prop_assert_eq!(found, expected);
    }
}
