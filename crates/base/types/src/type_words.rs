//! Messages of Arrow and DataFusion with the types' names in SQL.

use arrow::datatypes::DataType;

use crate::sql_type_name;

/// Words that types of Arrow's begin with.
const FIRST_WORDS: [&str; 35] = [
    "Binary",
    "BinaryView",
    "Boolean",
    "Date32",
    "Date64",
    "Decimal128",
    "Decimal256",
    "Dictionary",
    "Duration",
    "FixedSizeList",
    "Float16",
    "Float32",
    "Float64",
    "Int16",
    "Int32",
    "Int64",
    "Int8",
    "Interval",
    "LargeBinary",
    "LargeList",
    "LargeUtf8",
    "List",
    "ListView",
    "Map",
    "Null",
    "Struct",
    "Time32",
    "Time64",
    "Timestamp",
    "UInt16",
    "UInt32",
    "UInt64",
    "UInt8",
    "Utf8",
    "Utf8View",
];

/// A message in which Arrow's types are called as in SQL, `TEXT + BIGINT` for `Utf8 + Int64`, and literals are written as there, `'month'` for
/// `Utf8("month")`. What stands in quotes is left alone.
pub fn with_sql_types(message: &str) -> String {
    let mut out = String::with_capacity(message.len());
    let mut rest = message;
    let mut before = None;
    while let Some(c) = rest.chars().next() {
        let is_part = |c: char| c.is_alphanumeric() || c == '_';
        let taken = match c {
            '\'' | '"' if !before.is_some_and(is_part) => quoted(rest, c),
            c if is_part(c) && !before.is_some_and(|b| is_part(b) || b == '.') => {
                let word = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
                match named(rest, word) {
                    Some((text, len)) => {
                        out.push_str(&text);
                        before = rest[..len].chars().next_back();
                        rest = &rest[len..];
                        continue;
                    }
                    None => word,
                }
            }
            c => c.len_utf8(),
        };
        out.push_str(&rest[..taken]);
        before = rest[..taken].chars().next_back();
        rest = &rest[taken..];
    }
    out
}

/// The length of the quoted text that this begins with; of a quote alone, where there is no other.
fn quoted(text: &str, quote: char) -> usize {
    text[1..].find(quote).map_or(1, |end| end + 2)
}

/// The type or literal that a text begins with, whose first word is so long, as SQL has it, and its length.
fn named(text: &str, word: usize) -> Option<(String, usize)> {
    FIRST_WORDS.binary_search(&&text[..word]).ok()?;
    if text[word..].starts_with('(') {
        let len = word + closed(&text[word..])?;
        if let Ok(named) = text[..len].parse::<DataType>() {
            return Some((sql_type_name(&named), len));
        }
        return literal(&text[..word], &text[word + 1..len - 1]).map(|literal| (literal, len));
    }
    // `Null` and the like are words of their own.
    let is_plain = text[..word].bytes().any(|b| b.is_ascii_digit()) || text[..word] == *"Boolean";
    let named = text[..word].parse::<DataType>().ok().filter(|_| is_plain)?;
    Some((sql_type_name(&named), word))
}

/// `Utf8("a")` and `Int64(1)`
fn literal(of: &str, value: &str) -> Option<String> {
    if value == "NULL" {
        return Some(value.into());
    }
    let is_number = ["Int", "UInt", "Float"].iter().any(|number| of.starts_with(number));
    if of.starts_with("Utf8") || of == "LargeUtf8" {
        let text = value.strip_prefix('"')?.strip_suffix('"')?;
        return Some(format!("'{}'", text.replace('\'', "''")));
    }
    (is_number || of == "Boolean").then(|| value.to_string())
}

/// The length of what stands in the parentheses that a text begins with, and these.
fn closed(text: &str) -> Option<usize> {
    let (mut depth, mut at) = (0_usize, 0);
    while let Some(c) = text[at..].chars().next() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            '"' => {
                at += quoted(&text[at..], c);
                continue;
            }
            _ => {}
        }
        at += c.len_utf8();
        if depth == 0 {
            return Some(at);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_and_literals_are_called_as_in_sql() {
        assert!(FIRST_WORDS.is_sorted());
        for (message, wanted) in [
            ("Cannot coerce arithmetic expression Utf8 + Int64 to valid types", "TEXT + BIGINT"),
            ("Date32 + Date32", "DATE + DATE"),
            ("Timestamp(µs) + Timestamp(ns, \"+00:00\")", "TIMESTAMP + TIMESTAMP WITH TIME ZONE"),
            ("Duration(µs) / Int64", "INTERVAL / BIGINT"),
            ("Decimal128(38, 10) type", "DECIMAL(38,10) type"),
            ("List(Utf8) + Interval(MonthDayNano)", "TEXT[] + INTERVAL"),
            ("'f(Utf8)' of 'Int64' and \"Utf8\"", "'f(Utf8)' of 'Int64' and \"Utf8\""),
            ("date_trunc(Utf8(\"month\"),t.day)", "date_trunc('month',t.day)"),
            ("v + Int64(1), Utf8(NULL), Boolean(true)", "v + 1, NULL, true"),
            ("a Null, Interval, Struct and t.Utf8, x_Utf8", "a Null, Interval, Struct and t.Utf8, x_Utf8"),
            ("é isn't Utf8", "é isn't TEXT"),
            ("Utf8(\"a", "Utf8(\"a"),
        ] {
            let told = with_sql_types(message);
            assert!(told.contains(wanted), "{message}: {told}");
        }
    }
}
