//! How fast JSON, Avro, CSV and log lines are decoded, beside arrow-json on the same bytes. Build it optimised:
//! `cargo run --release -p fleuve-formats --example decode_speed`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use fleuve_formats::{Decoder, Encoder, FormatSpec, RecordRef, SchemaLookup, avro_schema_for};

const ROWS: usize = 200_000;
const RUN: usize = 8192;

struct OneSchema(String);

impl SchemaLookup for OneSchema {
    fn schema_by_id(&self, _: u32) -> fleuve_types::Result<Option<String>> {
        Ok(Some(self.0.clone()))
    }
}

fn column(name: &str, data_type: DataType) -> Field {
    Field::new(name, data_type, true)
}

/// Events like those of Nexmark, one of three kinds each.
fn nexmark() -> (SchemaRef, Vec<String>) {
    let at = DataType::Timestamp(TimeUnit::Millisecond, None);
    let record = |fields: Vec<Field>| DataType::Struct(Fields::from(fields));
    let text = |name| column(name, DataType::Utf8);
    let long = |name| column(name, DataType::Int64);
    let person = record(vec![
        long("id"),
        text("name"),
        text("email_address"),
        text("credit_card"),
        text("city"),
        text("state"),
        column("date_time", at.clone()),
        text("extra"),
    ]);
    let auction = record(vec![
        long("id"),
        text("item_name"),
        text("description"),
        long("initial_bid"),
        long("reserve"),
        column("date_time", at.clone()),
        column("expires", at.clone()),
        long("seller"),
        long("category"),
        text("extra"),
    ]);
    let bid = record(vec![
        long("auction"),
        long("bidder"),
        long("price"),
        text("channel"),
        text("url"),
        column("date_time", at),
        text("extra"),
    ]);
    let schema = Schema::new(vec![column("Person", person), column("Auction", auction), column("Bid", bid)]);
    let events = (0..ROWS)
        .map(|i| {
            let time = 1_436_918_400_000 + i as u64;
            let extra = "qwertyuiopasdfghjkl zxcvbnm".repeat(1 + i % 3);
            match i % 50 {
                0 => format!(
                    r#"{{"Person":{{"id":{i},"name":"vicky noris","email_address":"yplkvgz@qbxfg.com","credit_card":"7878 5821 1864 2539","city":"cheyenne","state":"az","date_time":{time},"extra":"{extra}"}}}}"#
                ),
                1..=3 => format!(
                    r#"{{"Auction":{{"id":{i},"item_name":"pc mac","description":"vu t bagwaw","initial_bid":873867,"reserve":931225,"date_time":{time},"expires":{},"seller":1000,"category":13,"extra":"{extra}"}}}}"#,
                    time + 60_000
                ),
                _ => format!(
                    r#"{{"Bid":{{"auction":{i},"bidder":2001,"price":{},"channel":"channel-{}","url":"https://www.nexmark.com/googl/item.htm?query=1&channel_id=1187","date_time":{time},"extra":"{extra}"}}}}"#,
                    i * 7919 % 1_000_000,
                    i % 10_000
                ),
            }
        })
        .collect();
    (Arc::new(schema), events)
}

/// Bids as flat objects.
fn bids() -> (SchemaRef, Vec<String>) {
    let schema = Schema::new(vec![
        column("auction", DataType::Int64),
        column("bidder", DataType::Int64),
        column("price", DataType::Int64),
        column("channel", DataType::Utf8),
        column("url", DataType::Utf8),
        column("date_time", DataType::Timestamp(TimeUnit::Microsecond, None)),
        column("extra", DataType::Utf8),
    ]);
    let bids = (0..ROWS)
        .map(|i| {
            let extra = "qwertyuiopasdfghjkl zxcvbnm".repeat(1 + i % 3);
            format!(
                r#"{{"auction":{i},"bidder":2001,"price":{},"channel":"channel-{}","url":"https://www.nexmark.com/googl/item.htm?query=1&channel_id=1187","date_time":"2015-07-15 00:{:02}:{:02}.{:03}","extra":"{extra}"}}"#,
                i * 7919 % 1_000_000, i % 10_000, i / 60_000, i / 1000 % 60, i % 1000
            )
        })
        .collect();
    (Arc::new(schema), bids)
}

fn log_lines() -> Vec<String> {
    (0..ROWS)
        .map(|i| {
            format!(
                r#"83.149.{}.{} - - [17/May/2015:10:05:{:02} +0000] "GET /presentations/logstash-monitorama-2013/images/{i}.png HTTP/1.1" 200 {} "http://semicomplete.com/presentations/logstash-monitorama-2013/" "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_9_1) AppleWebKit/537.36""#,
                i % 256, i / 256 % 256, i % 60, i * 31 % 300_000
            )
        })
        .collect()
}

/// The time that this thread was running, so that other work on the machine counts little.
fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux says how long a thread ran");
    text.split(' ').next().and_then(|nanos| nanos.parse::<f64>().ok()).expect("nanoseconds") / 1e9
}

fn measure(what: &str, bytes: usize, mut run: impl FnMut() -> usize) {
    let mut best = f64::INFINITY;
    let mut rows = 0;
    for _ in 0..5 {
        let start = cpu_seconds();
        rows = run();
        best = best.min(cpu_seconds() - start);
    }
    let (megabytes, millions) = (bytes as f64 / 1e6, rows as f64 / 1e6);
    println!("{what:<40} {:>7.0} MB/s {:>7.2} M rows/s", megabytes / best, millions / best);
}

fn ours(
    what: &str,
    spec: &FormatSpec,
    projection: &[usize],
    lookup: Option<Arc<dyn SchemaLookup>>,
    values: &[impl AsRef<[u8]>],
) {
    let records: Vec<RecordRef<'_>> =
        values.iter().enumerate().map(|(at, v)| RecordRef::of_value(at as i64, 0, v.as_ref())).collect();
    let bytes = values.iter().map(|v| v.as_ref().len()).sum();
    let mut decoder = Decoder::new(spec, spec.schema().clone(), projection, lookup).expect("a decoder");
    measure(what, bytes, || {
        let runs = records.chunks(RUN).map(|run| {
            let decoded = decoder.decode(run).expect("a run is decoded");
            assert!(decoded.bad.is_empty(), "{:?}", decoded.bad.first());
            decoded.rows.len()
        });
        runs.sum()
    });
}

fn arrow_json(what: &str, schema: &SchemaRef, values: &[String]) {
    let mut text = String::new();
    values.iter().for_each(|v| writeln!(text, "{v}").expect("memory"));
    measure(what, text.len(), || {
        let mut decoder =
            arrow_json::ReaderBuilder::new(schema.clone()).with_batch_size(RUN).build_decoder().expect("a decoder");
        let (mut rest, mut rows) = (text.as_bytes(), 0);
        loop {
            let read = decoder.decode(rest).expect("it is JSON");
            rest = &rest[read..];
            match decoder.flush().expect("rows") {
                Some(batch) => rows += batch.num_rows(),
                None if rest.is_empty() => return rows,
                None => {}
            }
        }
    });
}

fn main() {
    let spec = |format: &str, schema: Option<&SchemaRef>| {
        FormatSpec::new(format, &BTreeMap::new(), schema.cloned()).expect("a format")
    };
    let (schema, events) = nexmark();
    ours("json, nested, all columns", &spec("json", Some(&schema)), &[0, 1, 2], None, &events);
    ours("json, nested, one struct of three", &spec("json", Some(&schema)), &[2], None, &events);
    let pruned: Fields = match schema.field(2).data_type() {
        DataType::Struct(fields) => fields.iter().take(3).cloned().collect(),
        _ => Fields::empty(),
    };
    let declared = Arc::new(Schema::new(vec![column("Bid", DataType::Struct(pruned))]));
    ours("json, nested, three fields declared", &spec("json", Some(&declared)), &[0], None, &events);
    arrow_json("arrow-json, nested, all columns", &schema, &events);
    arrow_json("arrow-json, nested, three fields", &declared, &events);

    let (schema, bids) = bids();
    ours("json, flat, all columns", &spec("json", Some(&schema)), &[0, 1, 2, 3, 4, 5, 6], None, &bids);
    ours("json, flat, three columns", &spec("json", Some(&schema)), &[0, 2, 5], None, &bids);
    ours("json, flat, no column", &spec("json", Some(&schema)), &[], None, &bids);
    arrow_json("arrow-json, flat, all columns", &schema, &bids);

    let json = spec("json", Some(&schema));
    let records: Vec<RecordRef<'_>> = bids.iter().map(|b| RecordRef::of_value(0, 0, b.as_bytes())).collect();
    let all: Vec<usize> = (0..7).collect();
    let batch = Decoder::new(&json, schema.clone(), &all, None)
        .and_then(|mut d| d.decode(&records[..RUN * 10]))
        .expect("rows")
        .batch;
    for format in ["avro", "csv"] {
        let spec = spec(format, Some(&schema));
        let encoder = Encoder::new(&spec, schema.clone(), Some(1)).expect("an encoder");
        let values = encoder.encode(&batch).expect("values");
        let lookup = Arc::new(OneSchema(avro_schema_for(&schema, "bid").expect("a schema")));
        ours(&format!("{format}, flat, all columns"), &spec, &all, Some(lookup), &values);
        let bytes = values.iter().map(bytes::Bytes::len).sum();
        measure(&format!("{format}, encode"), bytes, || encoder.encode(&batch).expect("values").len());
    }
    let encoder = Encoder::new(&json, schema, None).expect("an encoder");
    let bytes = encoder.encode(&batch).expect("values").iter().map(bytes::Bytes::len).sum();
    measure("json, encode", bytes, || encoder.encode(&batch).expect("values").len());
    ours("combined_log, all columns", &spec("combined_log", None), &(0..11).collect::<Vec<_>>(), None, &log_lines());
}
