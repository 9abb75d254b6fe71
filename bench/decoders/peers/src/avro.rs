//! Avro with Confluent's frame: ours beside arrow-avro's streaming decoder, and apache-avro, which makes a value of each record that is
//! then brought into builders.

use std::sync::Arc;

use apache_avro::types::Value;
use arrow::array::{ArrayRef, RecordBatch};
use arrow_avro::reader::ReaderBuilder;
use arrow_avro::schema::{AvroSchema, Fingerprint, FingerprintAlgorithm, SchemaStore};
use fleuve_formats::{Encoder, FormatSpec, RecordRef, SchemaLookup, avro_schema_for};

use super::{ALL, BTreeMap, Columns, Measured, RUN, TWO, arrow, ours, schema_of};

/// The writer's schema in the registry.
const ID: u32 = 7;
/// A zero byte and the schema's id.
const FRAME_BYTES: usize = 5;

struct OneSchema(String);

impl SchemaLookup for OneSchema {
    fn schema_by_id(&self, _: u32) -> fleuve_types::Result<Option<String>> {
        Ok(Some(self.0.clone()))
    }
}

/// Lines of CSV as records. Where fields are unions with null an empty text is null.
fn encoded(csv: &[String], nullable: bool) -> Vec<Vec<u8>> {
    let schema = schema_of(nullable);
    let spec = FormatSpec::new("avro", &BTreeMap::new(), Some(schema.clone())).expect("a format");
    let encoder = Encoder::new(&spec, schema.clone(), Some(ID)).expect("an encoder");
    let of_run = |run: &[String]| {
        let mut columns = Columns::default();
        for line in run {
            for (at, text) in line.split(',').enumerate() {
                match at.checked_sub(columns.numbers.len()) {
                    None => columns.numbers[at].append_value(text.parse().expect("a number")),
                    Some(at) => columns.texts[at].append_option((!nullable || !text.is_empty()).then_some(text)),
                }
            }
        }
        let numbers = columns.numbers.iter_mut().map(|c| Arc::new(c.finish()) as ArrayRef).collect::<Vec<_>>();
        let texts = columns.texts.iter_mut().map(|c| Arc::new(c.finish()) as ArrayRef);
        let arrays = numbers.into_iter().chain(texts).collect();
        let batch = RecordBatch::try_new(schema.clone(), arrays).expect("a batch");
        encoder.encode(&batch).expect("values")
    };
    csv.chunks(RUN).flat_map(of_run).map(|value| value.to_vec()).collect()
}

impl Columns {
    /// The fields of a record that are read.
    fn value(&mut self, record: &Value, projection: &[usize]) {
        let Value::Record(fields) = record else { panic!("no record: {record:?}") };
        for at in projection {
            let value = match &fields[*at].1 {
                Value::Union(_, value) => value,
                value => value,
            };
            match (value, at.checked_sub(self.numbers.len())) {
                (Value::Long(n), None) => self.numbers[*at].append_value(*n),
                (Value::String(text), Some(at)) => self.texts[at].append_value(text),
                (Value::Null, Some(at)) => self.texts[at].append_null(),
                (other, _) => panic!("{other:?} in field {at}"),
            }
        }
    }
}

/// Measures all subjects over the lines of CSV, encoded.
pub(crate) fn measure(csv: &[String], format: &str, nullable: bool, base: &Measured<'_>) {
    let values = encoded(csv, nullable);
    let joined = values.concat();
    let mut rest = joined.as_slice();
    let records: Vec<RecordRef<'_>> = values
        .iter()
        .map(|value| {
            let (record, after) = rest.split_at(value.len());
            rest = after;
            RecordRef::of_value(0, 0, record)
        })
        .collect();
    let text = avro_schema_for(&schema_of(nullable), "bid").expect("a schema");
    let writer = apache_avro::Schema::parse_str(&text).expect("a schema");
    for (columns, projection) in [("seven columns", &ALL[..]), ("two columns", &TWO[..])] {
        let case = format!("{format}, {columns}");
        let measured = Measured { case: &case, bytes: joined.len(), ..*base };
        let lookup = Arc::new(OneSchema(text.clone()));
        measured.subject("fleuve", ours("avro", projection, &records, Some(lookup)));
        measured.subject("arrow-avro", || {
            let mut store = SchemaStore::new_with_type(FingerprintAlgorithm::Id);
            store.set(Fingerprint::Id(ID), AvroSchema::new(text.clone())).expect("a schema");
            let builder = ReaderBuilder::new().with_writer_schema_store(store).with_batch_size(RUN);
            // All columns need no projection, which costs it something.
            let builder =
                if projection.len() == ALL.len() { builder } else { builder.with_projection(projection.to_vec()) };
            let mut decoder = builder.build_decoder().expect("a decoder");
            arrow(&joined, |rest| {
                let read = decoder.decode(rest).expect("Avro");
                (read, decoder.flush().expect("Avro"))
            })
        });
        measured.subject("apache-avro", || {
            let mut total = 0;
            for run in records.chunks(RUN) {
                let mut columns = Columns::default();
                for record in run {
                    let mut datum = &record.value.expect("a value")[FRAME_BYTES..];
                    let value = apache_avro::from_avro_datum(&writer, &mut datum, None).expect("Avro");
                    columns.value(&value, projection);
                }
                total += columns.finish();
            }
            total
        });
    }
}
