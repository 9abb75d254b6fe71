//! CPU seconds of the bare decoder over a file of JSON lines, as JSON: what `bench/end-to-end` compares the server with.
//! `decode_file FILE COLUMNS PROJECTION`: the columns as `name type, ...`, those to decode as positions `0,2`.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema, TimeUnit};
use fleuve_formats::{Decoder, FormatSpec, RecordRef};

/// Records that are decoded at once.
const RUN: usize = 8192;

/// The types that the benchmark's events have, in SQL's spelling.
fn data_type(text: &str) -> DataType {
    match text.trim() {
        "BIGINT" => DataType::Int64,
        "TEXT" => DataType::Utf8,
        "TIMESTAMP(3)" => DataType::Timestamp(TimeUnit::Millisecond, None),
        text => match text.strip_prefix("STRUCT<").and_then(|t| t.strip_suffix('>')) {
            Some(fields) => DataType::Struct(columns(fields)),
            None => panic!("{text} is none of BIGINT, TEXT, TIMESTAMP(3), STRUCT<...>"),
        },
    }
}

/// Columns separated by the commas outside of `<...>`.
fn columns(text: &str) -> Fields {
    let mut depth = 0;
    let mut outside = |c: char| {
        depth += i32::from(c == '<') - i32::from(c == '>');
        c == ',' && depth == 0
    };
    let column = |text: &str| {
        let (name, data_type_text) = text.trim().split_once(char::is_whitespace).expect("a name and a type");
        Field::new(name.trim_matches('"'), data_type(data_type_text), true)
    };
    text.split(&mut outside).map(column).collect()
}

/// The time that this thread was running, so that other work on the machine counts little.
fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux says how long a thread ran");
    text.split(' ').next().and_then(|nanos| nanos.parse::<f64>().ok()).expect("nanoseconds") / 1e9
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [file, schema, projection] = &arguments[..] else { panic!("decode_file FILE COLUMNS PROJECTION") };
    let schema = Arc::new(Schema::new(columns(schema)));
    let projection: Vec<usize> = projection.split(',').map(|n| n.parse().expect("a position")).collect();
    let text = std::fs::read(file).expect("the file is read");
    let records: Vec<RecordRef<'_>> = text
        .split(|b| *b == b'\n')
        .filter(|line| !line.is_empty())
        .enumerate()
        .map(|(at, line)| RecordRef::of_value(at as i64, 0, line))
        .collect();
    let spec = FormatSpec::new("json", &BTreeMap::new(), Some(schema.clone())).expect("a format");
    let mut decoder = Decoder::new(&spec, schema, &projection, None).expect("a decoder");
    let start = cpu_seconds();
    let rows: usize = records
        .chunks(RUN)
        .map(|run| {
            let decoded = decoder.decode(run).expect("a run is decoded");
            assert!(decoded.bad.is_empty(), "{:?}", decoded.bad.first());
            decoded.rows.len()
        })
        .sum();
    println!(r#"{{"rows": {rows}, "bytes": {}, "cpu_seconds": {}}}"#, text.len(), cpu_seconds() - start);
}
