//! CPU seconds of decoders over the same records, into the same columns: Fleuve's beside SIMD parsers and Arrow's.
//! `decoders LINES ROUNDS [FORMAT [SUBJECT]]`; a line of JSON for each case and subject, with the best of the rounds.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

mod avro;

use arrow::array::{Array, ArrayRef, AsArray, Int64Builder, RecordBatch, StringBuilder};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use fleuve_formats::{Decoder, FormatSpec, RecordRef, SchemaLookup};
use serde::Deserialize;

/// Records that are decoded at once.
const RUN: usize = 8192;
const ALL: [usize; 7] = [0, 1, 2, 3, 4, 5, 6];
const TWO: [usize; 2] = [0, 2];

/// A bid of Nexmark.
#[derive(Deserialize)]
struct Bid<'a> {
    auction: i64,
    bidder: i64,
    price: i64,
    #[serde(borrow)]
    channel: Cow<'a, str>,
    #[serde(borrow)]
    url: Cow<'a, str>,
    #[serde(borrow)]
    date_time: Cow<'a, str>,
    #[serde(borrow)]
    extra: Cow<'a, str>,
}

/// What is read of it where two columns are.
#[derive(Deserialize)]
struct Price {
    auction: i64,
    price: i64,
}

/// The columns of a run, built by hand from what a parser gives.
#[derive(Default)]
struct Columns {
    numbers: [Int64Builder; 3],
    texts: [StringBuilder; 4],
}

impl Columns {
    fn bid(&mut self, bid: &Bid<'_>) {
        let numbers = [bid.auction, bid.bidder, bid.price];
        self.numbers.iter_mut().zip(numbers).for_each(|(column, n)| column.append_value(n));
        let texts = [&bid.channel, &bid.url, &bid.date_time, &bid.extra];
        self.texts.iter_mut().zip(texts).for_each(|(column, t)| column.append_value(t));
    }

    fn price(&mut self, price: &Price) {
        self.numbers[0].append_value(price.auction);
        self.numbers[2].append_value(price.price);
    }

    /// The sum of the first column, when all are finished.
    fn finish(mut self) -> i64 {
        let texts: Vec<ArrayRef> = self.texts.iter_mut().map(|t| Arc::new(t.finish()) as ArrayRef).collect();
        std::hint::black_box(texts);
        sum(&self.numbers[0].finish())
    }
}

fn sum(column: &dyn Array) -> i64 {
    column.as_primitive::<Int64Type>().values().iter().sum()
}

/// The time that this thread was running, so that other work on the machine counts little.
fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux says how long a thread ran");
    text.split(' ').next().and_then(|nanos| nanos.parse::<f64>().ok()).expect("nanoseconds") / 1e9
}

fn schema() -> SchemaRef {
    schema_of(true)
}

fn schema_of(nullable: bool) -> SchemaRef {
    let names = ["auction", "bidder", "price", "channel", "url", "date_time", "extra"];
    let of = |at: usize| if at < 3 { DataType::Int64 } else { DataType::Utf8 };
    let fields = names.iter().enumerate().map(|(at, name)| Field::new(*name, of(at), nullable));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// Bids as JSON and as CSV.
fn lines(count: usize) -> [Vec<String>; 2] {
    let mut all = [vec![], vec![]];
    for i in 0..count {
        let r = (i as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20;
        let (auction, bidder, price) = (r % 10_000, r % 77_777, r % 1_000_000);
        let channel = ["Google", "Facebook", "Baidu", "Apple"][(r % 4) as usize];
        let url = format!("https://www.nexmark.com/{}/item.htm?query=1&channel_id={}", r % 99_999, r % 50_000);
        let time = format!("2024-05-01 10:{:02}:{:02}.{:03}", (i / 60_000) % 60, (i / 1_000) % 60, i % 1_000);
        let extra = "abcdefghijklmnopqrstuvwxyz".repeat((r % 4) as usize);
        all[0].push(format!(
            r#"{{"auction":{auction},"bidder":{bidder},"price":{price},"channel":"{channel}","url":"{url}","date_time":"{time}","extra":"{extra}"}}"#
        ));
        all[1].push(format!("{auction},{bidder},{price},{channel},{url},{time},{extra}"));
    }
    all
}

/// One case: what all subjects read, and what the sum of the first column is.
struct Measured<'a> {
    rounds: usize,
    bytes: usize,
    case: &'a str,
    expected: i64,
    /// For a profile: no other subject.
    only: Option<&'a str>,
}

impl Measured<'_> {
    fn subject(&self, subject: &str, mut work: impl FnMut() -> i64) {
        if self.only.is_some_and(|only| only != subject) {
            return;
        }
        let mut best = f64::MAX;
        for _ in 0..self.rounds {
            let begun = cpu_seconds();
            let came = work();
            best = best.min(cpu_seconds() - begun);
            assert_eq!(came, self.expected, "{}: {subject}", self.case);
        }
        let (case, bytes) = (self.case, self.bytes);
        println!(r#"{{"case": "{case}", "subject": "{subject}", "cpu_seconds": {best}, "bytes": {bytes}}}"#);
    }
}

fn ours(
    format: &str,
    projection: &[usize],
    records: &[RecordRef<'_>],
    lookup: Option<Arc<dyn SchemaLookup>>,
) -> impl FnMut() -> i64 {
    let spec = FormatSpec::new(format, &BTreeMap::new(), Some(schema())).expect("a format");
    let mut decoder = Decoder::new(&spec, schema(), projection, lookup).expect("a decoder");
    move || {
        let run = |run| {
            let decoded = decoder.decode(run).expect("a run is decoded");
            assert!(decoded.bad.is_empty(), "{:?}", decoded.bad.first());
            sum(decoded.batch.column(0))
        };
        records.chunks(RUN).map(run).sum()
    }
}

/// One of Arrow's decoders, over all bytes.
fn arrow(bytes: &[u8], mut step: impl FnMut(&[u8]) -> (usize, Option<RecordBatch>)) -> i64 {
    let (mut at, mut total) = (0, 0);
    loop {
        let (read, batch) = step(&bytes[at..]);
        at += read;
        match batch {
            Some(batch) => total += sum(batch.column(0)),
            None if at >= bytes.len() => return total,
            None => {}
        }
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (numbers, names) = arguments.split_at(arguments.len().min(2));
    let numbers: Vec<usize> = numbers.iter().map(|a| a.parse().expect("a number")).collect();
    let [count, rounds] = numbers[..] else { panic!("decoders LINES ROUNDS [FORMAT [SUBJECT]]") };
    let wanted = |format: &str| names.first().is_none_or(|name| name == format);
    let only = names.get(1).map(String::as_str);
    let [json, csv] = lines(count);
    let expected = csv.iter().map(|l| l.split(',').next().expect("a field").parse::<i64>().expect("a number")).sum();
    for (format, lines) in [("json", &json), ("csv", &csv)].into_iter().filter(|(format, _)| wanted(format)) {
        // All read the same bytes, which lie one after the other, as in the log.
        let joined = lines.join("\n") + "\n";
        let lines: Vec<&str> = joined.lines().collect();
        let records: Vec<RecordRef<'_>> =
            lines.iter().enumerate().map(|(at, line)| RecordRef::of_value(at as i64, 0, line.as_bytes())).collect();
        let bytes = lines.iter().map(|l| l.len()).sum();
        for (columns, projection) in [("seven columns", &ALL[..]), ("two columns", &TWO[..])] {
            let case = format!("{format}, {columns}");
            let measured = Measured { rounds, bytes, case: &case, expected, only };
            let is_two = projection.len() == 2;
            measured.subject("fleuve", ours(format, projection, &records, None));
            if format == "csv" {
                measured.subject("arrow", || {
                    let builder = arrow::csv::ReaderBuilder::new(schema()).with_batch_size(RUN);
                    let mut decoder = builder.with_projection(projection.to_vec()).build_decoder();
                    arrow(joined.as_bytes(), |rest| {
                        let read = decoder.decode(rest).expect("CSV");
                        (read, decoder.flush().expect("CSV"))
                    })
                });
                continue;
            }
            measured.subject("arrow", || {
                let of = Arc::new(schema().project(projection).expect("columns"));
                let mut decoder =
                    arrow::json::ReaderBuilder::new(of).with_batch_size(RUN).build_decoder().expect("a decoder");
                arrow(joined.as_bytes(), |rest| {
                    let read = decoder.decode(rest).expect("JSON");
                    (read, decoder.flush().expect("JSON"))
                })
            });
            measured.subject("simd-json", || {
                let (mut total, mut line) = (0, vec![]);
                for run in lines.chunks(RUN) {
                    let mut columns = Columns::default();
                    for text in run {
                        // It changes what it reads.
                        line.clear();
                        line.extend_from_slice(text.as_bytes());
                        match is_two {
                            true => columns.price(&simd_json::serde::from_slice(&mut line).expect("JSON")),
                            false => columns.bid(&simd_json::serde::from_slice(&mut line).expect("JSON")),
                        }
                    }
                    total += columns.finish();
                }
                total
            });
            measured.subject("sonic-rs", || {
                let mut total = 0;
                for run in lines.chunks(RUN) {
                    let mut columns = Columns::default();
                    for text in run {
                        match is_two {
                            true => columns.price(&sonic_rs::from_slice(text.as_bytes()).expect("JSON")),
                            false => columns.bid(&sonic_rs::from_slice(text.as_bytes()).expect("JSON")),
                        }
                    }
                    total += columns.finish();
                }
                total
            });
        }
    }
    for (format, nullable) in [("avro", false), ("avro, nullable", true)] {
        if wanted(format) {
            avro::measure(&csv, format, nullable, &Measured { rounds, bytes: 0, case: "", expected, only });
        }
    }
}
