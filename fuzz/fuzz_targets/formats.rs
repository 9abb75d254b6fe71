//! Any bytes as records of any format: no panic, the same records are rows whatever is projected, and rows are the same once written
//! and read again.

#![no_main]

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use fleuve_formats::{Decoded, Decoder, Encoder, FormatSpec, RecordRef, SchemaLookup, avro_schema_for};
use libfuzzer_sys::fuzz_target;

struct OneSchema(String);

impl SchemaLookup for OneSchema {
    fn schema_by_id(&self, _: u32) -> fleuve_types::Result<Option<String>> {
        Ok(Some(self.0.clone()))
    }
}

/// Columns of every kind.
static COLUMNS: LazyLock<SchemaRef> = LazyLock::new(|| {
    let column = |name: &str, data_type| Field::new(name, data_type, true);
    let list = |item| DataType::List(Arc::new(Field::new("item", item, true)));
    let inner = DataType::Struct(Fields::from(vec![
        Field::new("x", DataType::Int32, false),
        column("y", list(DataType::Float64)),
        column("z", list(DataType::Utf8)),
    ]));
    Arc::new(Schema::new(vec![
        column("a", DataType::Int64),
        column("b", DataType::Utf8),
        column("c", list(inner.clone())),
        column("d", inner),
        column("e", DataType::Decimal128(20, 4)),
        column("f", DataType::Timestamp(TimeUnit::Microsecond, None)),
        column("g", DataType::Binary),
        column("h", DataType::Boolean),
        column("i", DataType::Date32),
        column("j", DataType::Time64(TimeUnit::Microsecond)),
        column("k", DataType::UInt64),
        column("l", DataType::Float32),
    ]))
});

/// The Avro schema that an encoder of them writes.
static OWN_SCHEMA: LazyLock<String> = LazyLock::new(|| avro_schema_for(&COLUMNS, "row").expect("all types are Avro's"));

fuzz_target!(|bytes: &[u8]| {
    let Some((choice, rest)) = bytes.split_first() else { return };
    match choice % 8 {
        0 => check("json", &[], None, rest),
        1 => check("csv", &[], None, rest),
        2 => check("csv", &[("delimiter", ";"), ("quote", "'"), ("null", "NA")], None, rest),
        3 => check("combined_log", &[], None, rest),
        4 => check("text", &[], None, rest),
        // The first part is the writer's schema.
        5 => {
            let at = rest.iter().position(|b| *b == 0xff).unwrap_or(rest.len());
            let schema = String::from_utf8_lossy(&rest[..at]).into_owned();
            check("avro", &[], Some(schema), rest.get(at + 1..).unwrap_or_default());
        }
        _ => check("avro", &[], Some(OWN_SCHEMA.clone()), rest),
    }
});

fn check(format: &str, options: &[(&str, &str)], writer: Option<String>, bytes: &[u8]) {
    let options: BTreeMap<String, String> = options.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
    let declared = matches!(format, "json" | "csv" | "avro").then(|| COLUMNS.clone());
    let spec = FormatSpec::new(format, &options, declared).expect("the options are right");
    // Records are parted by a byte that is no UTF-8.
    let framed: Vec<Vec<u8>> = bytes
        .split(|b| *b == 0xfe)
        .map(|part| if writer.is_some() { [&[0, 0, 0, 0, 1], part].concat() } else { part.to_vec() })
        .collect();
    let decoded = decode(&spec, writer.clone(), &framed);
    assert_eq!(decoded.rows.len() + decoded.bad.len(), framed.len());
    // A schema of any kind need not be the one that an encoder writes.
    let written = (format == "avro").then(|| OWN_SCHEMA.clone());
    let encoder = Encoder::new(&spec, spec.schema().clone(), Some(1)).expect("what is decoded can be encoded");
    // Some rows cannot be written: a date far away, a log line that means two things.
    let Ok(values) = encoder.encode(&decoded.batch) else { return };
    let values: Vec<Vec<u8>> = values.iter().map(|v| v.to_vec()).collect();
    let again = decode(&spec, written, &values);
    assert!(again.bad.is_empty(), "{:?}", again.bad);
    assert_eq!(again.batch, decoded.batch);
}

fn decode(spec: &FormatSpec, writer: Option<String>, values: &[Vec<u8>]) -> Decoded {
    let records: Vec<RecordRef<'_>> = values.iter().map(|v| RecordRef::of_value(0, 0, v)).collect();
    let run = |projection: &[usize]| {
        let lookup = writer.clone().map(|text| Arc::new(OneSchema(text)) as Arc<dyn SchemaLookup>);
        let mut decoder = Decoder::new(spec, spec.schema().clone(), projection, lookup).expect("a decoder");
        decoder.decode(&records).expect("small enough")
    };
    let all: Vec<usize> = (0..spec.schema().fields().len()).collect();
    let decoded = run(&all);
    let nothing = run(&[]);
    assert_eq!((&decoded.rows, &decoded.bad), (&nothing.rows, &nothing.bad));
    let last = [all.len() - 1];
    let part: RecordBatch = run(&last).batch;
    assert_eq!(part, decoded.batch.project(&last).expect("a column"));
    decoded
}
