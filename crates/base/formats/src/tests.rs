use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use arrow::util::display::{ArrayFormatter, FormatOptions};

use fleuve_types::{ColumnPart, narrow_struct};

use crate::{Decoded, Decoder, FormatSpec, RecordRef, SchemaLookup};

mod avro;
mod byte_by_byte;
mod csv;
mod hostile;
mod json;
mod logs;
mod older;
mod parts;
mod round_trip;
mod specs;

/// A nullable column.
fn column(name: &str, data_type: DataType) -> Field {
    Field::new(name, data_type, true)
}

fn schema(fields: Vec<Field>) -> SchemaRef {
    Arc::new(Schema::new(fields))
}

fn list_of(item: DataType) -> DataType {
    DataType::List(Arc::new(Field::new("item", item, true)))
}

fn struct_of(fields: Vec<Field>) -> DataType {
    DataType::Struct(Fields::from(fields))
}

fn micros() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, None)
}

fn micros_utc() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into()))
}

fn spec(format: &str, options: &[(&str, &str)], schema: &SchemaRef) -> FormatSpec {
    let options: BTreeMap<String, String> = options.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
    FormatSpec::new(format, &options, Some(schema.clone())).unwrap()
}

fn records<'a>(values: &[&'a [u8]]) -> Vec<RecordRef<'a>> {
    values.iter().enumerate().map(|(at, value)| RecordRef::of_value(at as i64, 0, value)).collect()
}

/// All columns of some values.
fn decode(spec: &FormatSpec, lookup: Option<Arc<dyn SchemaLookup>>, values: &[&[u8]]) -> Decoded {
    let all: Vec<usize> = (0..spec.schema().fields().len()).collect();
    let mut decoder = Decoder::new(spec, spec.schema().clone(), &all, lookup.clone()).unwrap();
    let decoded = decoder.decode(&records(values)).unwrap();
    // Whatever is projected, the same records are rows, for the same reasons not, with the same values.
    for projection in [vec![], vec![all.len() - 1], all.iter().rev().copied().collect::<Vec<_>>()] {
        let mut decoder = Decoder::new(spec, spec.schema().clone(), &projection, lookup.clone()).unwrap();
        let part = decoder.decode(&records(values)).unwrap();
        assert_eq!((&part.rows, &part.bad), (&decoded.rows, &decoded.bad), "projection {projection:?}");
        assert_eq!(part.batch, decoded.batch.project(&projection).unwrap());
    }
    for (at, field) in spec.schema().fields().iter().enumerate() {
        let DataType::Struct(fields) = field.data_type() else { continue };
        for wanted in (0..fields.len()).map(|f| vec![f]).chain([(0..fields.len()).step_by(2).collect()]) {
            let part = ColumnPart { at, fields: Some(wanted) };
            let narrow = part.field(field).data_type().clone();
            let mut decoder = Decoder::with_parts(spec, spec.schema().clone(), &[part], lookup.clone()).unwrap();
            let part = decoder.decode(&records(values)).unwrap();
            assert_eq!((&part.rows, &part.bad), (&decoded.rows, &decoded.bad), "{narrow}");
            assert_eq!(part.batch.column(0), &narrow_struct(decoded.batch.column(at), &narrow).unwrap());
        }
    }
    decoded
}

/// Rows as `a|b|c`, NULL as `~`.
fn rows(batch: &RecordBatch) -> Vec<String> {
    let options = FormatOptions::default().with_null("~");
    let formatters: Vec<ArrayFormatter<'_>> =
        batch.columns().iter().map(|c| ArrayFormatter::try_new(c.as_ref(), &options).unwrap()).collect();
    (0..batch.num_rows())
        .map(|row| formatters.iter().map(|f| f.value(row).to_string()).collect::<Vec<_>>().join("|"))
        .collect()
}

/// One line per record: its row, or `! ` and the reason.
fn lines(decoded: &Decoded) -> Vec<String> {
    let mut all: Vec<(u32, String)> = decoded.rows.iter().copied().zip(rows(&decoded.batch)).collect();
    all.extend(decoded.bad.iter().map(|(at, why)| (*at, format!("! {why}"))));
    all.sort();
    all.into_iter().map(|(_, line)| line).collect()
}

fn check(spec: &FormatSpec, cases: &[(&str, &str)]) {
    let values: Vec<&[u8]> = cases.iter().map(|(input, _)| input.as_bytes()).collect();
    let decoded = decode(spec, None, &values);
    for ((input, expected), line) in cases.iter().zip(lines(&decoded)) {
        assert_eq!(&line, expected, "for {input}");
    }
    assert_eq!(decoded.rows.len() + decoded.bad.len(), cases.len());
}
