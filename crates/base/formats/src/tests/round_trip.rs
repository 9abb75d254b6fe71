use proptest::prelude::*;

use super::*;
use crate::column::{Column, Data};
use crate::{Encoder, avro_schema_for};

/// SplitMix64: values from a seed that proptest chose.
struct Seed(u64);

impl Seed {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    /// Small, large and extreme ones.
    fn between(&mut self, min: i64, max: i64) -> i64 {
        let span = (i128::from(max) - i128::from(min) + 1) as u128;
        match self.below(4) {
            0 => min,
            1 => max,
            2 => (self.below(200) as i64 - 100).clamp(min, max),
            _ => (i128::from(min) + (u128::from(self.next()) % span) as i128) as i64,
        }
    }

    fn text(&mut self) -> String {
        let pieces = [
            "a",
            "Z",
            "\"",
            "\\",
            ",",
            "\n",
            "\r",
            "\t",
            " ",
            "é",
            "😀",
            "null",
            "-",
            "'",
            "{",
            "\u{1}",
            "longer piece",
        ];
        (0..self.below(6)).map(|_| pieces[self.below(pieces.len() as u64) as usize]).collect()
    }
}

fn day(unit: TimeUnit) -> i64 {
    crate::time::per_second(unit) * 86_400
}

fn fill(column: &mut Column, seed: &mut Seed) {
    if column.nullable && seed.below(5) == 0 {
        return column.push_null_unchecked();
    }
    column.begin_struct();
    match &mut column.data {
        Data::Bool(_) => column.push_bool(seed.below(2) == 0),
        Data::Int { min, max, .. } => {
            let value = seed.between(*min, *max);
            column.push_i64(value);
        }
        Data::UInt64(_) => column.push_u64(if seed.below(4) == 0 { u64::MAX } else { seed.next() }),
        Data::Float { single, .. } => {
            let special = [0.0, -0.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.1, 1e30];
            let value = match seed.below(3) {
                0 => special[seed.below(7) as usize],
                _ => f64::from_bits(seed.next()),
            };
            let value = if value.is_nan() { f64::NAN } else { value };
            let value = if *single { f64::from(value as f32) } else { value };
            column.push_f64(value);
        }
        Data::Decimal { precision, .. } => {
            let limit = 10i128.pow((*precision).into());
            let value = (i128::from(seed.next() as i64) * i128::from(seed.next() >> 1)) % limit;
            column.push_decimal(value);
        }
        Data::Wide { .. } => column.push_wide(arrow::datatypes::i256::from_i128(i128::from(seed.next() as i64))),
        Data::Text(_) => column.push_bytes(seed.text().as_bytes()),
        Data::Bytes(_) => {
            let bytes = seed.next().to_le_bytes();
            column.push_bytes(&bytes[..seed.below(9) as usize]);
        }
        Data::Date(_) => column.push_i64(seed.between(-719_162, 2_932_896)),
        Data::Time(unit, _) => {
            let ticks = seed.between(0, day(*unit) - 1);
            column.push_i64(ticks);
        }
        Data::Timestamp(unit, _) => {
            let limit = |seconds: i64| seconds.saturating_mul(crate::time::per_second(*unit));
            let ticks = seed.between(limit(-62_135_596_800), limit(253_402_300_800).saturating_sub(1));
            column.push_i64(ticks);
        }
        Data::List { child, .. } => {
            (0..seed.below(4)).for_each(|_| fill(child, seed));
            column.end_list();
        }
        Data::Struct(s) => {
            s.children.iter_mut().for_each(|child| fill(child, seed));
            column.end_struct();
        }
    }
}

fn data_type(deep: bool) -> impl Strategy<Value = DataType> {
    use TimeUnit::{Microsecond, Millisecond, Nanosecond, Second};
    let utc = || Some("UTC".into());
    let flat = prop::sample::select(vec![
        DataType::Boolean,
        DataType::Int8,
        DataType::Int16,
        DataType::Int32,
        DataType::Int64,
        DataType::UInt8,
        DataType::UInt16,
        DataType::UInt32,
        DataType::UInt64,
        DataType::Float32,
        DataType::Float64,
        DataType::Decimal128(38, 10),
        DataType::Decimal128(7, 2),
        DataType::Decimal256(60, 5),
        DataType::Utf8,
        DataType::Utf8View,
        DataType::LargeUtf8,
        DataType::Binary,
        DataType::BinaryView,
        DataType::Date32,
        DataType::Time32(Second),
        DataType::Time32(Millisecond),
        DataType::Time64(Microsecond),
        DataType::Timestamp(Second, None),
        DataType::Timestamp(Millisecond, utc()),
        DataType::Timestamp(Microsecond, None),
        DataType::Timestamp(Microsecond, utc()),
        DataType::Timestamp(Nanosecond, None),
    ]);
    flat.prop_recursive(u32::from(deep) * 3, 12, 3, |inner| {
        let field = (inner, any::<bool>());
        let list = field.clone().prop_map(|(t, null)| DataType::List(Arc::new(Field::new("item", t, null))));
        let fields = prop::collection::vec(field, 1..4).prop_map(|fields| {
            let named = fields.into_iter().enumerate().map(|(at, (t, null))| Field::new(format!("f{at}"), t, null));
            DataType::Struct(named.collect())
        });
        prop_oneof![list, fields]
    })
}

fn columns() -> impl Strategy<Value = SchemaRef> {
    prop::collection::vec((data_type(true), any::<bool>()), 1..6).prop_map(|columns| {
        let named = columns.into_iter().enumerate().map(|(at, (t, null))| Field::new(format!("c{at}"), t, null));
        Arc::new(Schema::new(named.collect::<Vec<_>>()))
    })
}

fn batch(schema: &SchemaRef, rows: usize, seed: u64) -> RecordBatch {
    let mut seed = Seed(seed);
    let arrays = schema
        .fields()
        .iter()
        .map(|field| {
            let mut column = Column::new(field, true).unwrap();
            (0..rows).for_each(|_| fill(&mut column, &mut seed));
            column.finish().unwrap()
        })
        .collect();
    RecordBatch::try_new(schema.clone(), arrays).unwrap()
}

struct OneSchema(String);

impl SchemaLookup for OneSchema {
    fn schema_by_id(&self, id: u32) -> fleuve_types::Result<Option<String>> {
        Ok((id == 70_000).then(|| self.0.clone()))
    }
}

fn check_round_trip(format: &str, options: &[(&str, &str)], batch: &RecordBatch) {
    let schema = batch.schema();
    let spec = spec(format, options, &schema);
    let lookup = (format == "avro").then(|| {
        let text = avro_schema_for(&schema, "shop.rows").unwrap();
        Arc::new(OneSchema(text)) as Arc<dyn SchemaLookup>
    });
    let encoded = Encoder::new(&spec, schema.clone(), Some(70_000)).unwrap().encode(batch).unwrap();
    assert_eq!(encoded.len(), batch.num_rows());
    let values: Vec<&[u8]> = encoded.iter().map(AsRef::as_ref).collect();
    let decoded = decode(&spec, lookup, &values);
    assert_eq!(decoded.bad, [], "of {:?}", values.iter().map(|v| String::from_utf8_lossy(v)).collect::<Vec<_>>());
    assert_eq!(&decoded.batch, batch);
}

proptest! {
    #[test]
    fn json(schema in columns(), rows in 0usize..12, seed: u64) {
        check_round_trip("json", &[], &batch(&schema, rows, seed));
    }

    #[test]
    fn avro(schema in columns(), rows in 0usize..12, seed: u64) {
        check_round_trip("avro", &[], &batch(&schema, rows, seed));
    }

    #[test]
    fn csv(schema in columns(), rows in 0usize..12, seed: u64, tabs: bool) {
        let options: &[(&str, &str)] = if tabs { &[("delimiter", "\\t"), ("quote", "'"), ("null", "null")] } else { &[] };
        check_round_trip("csv", options, &batch(&schema, rows, seed));
    }

    /// serde_json reads what is written, and finds the same text.
    #[test]
    fn json_is_json(seed: u64) {
        let schema = schema(vec![column("te\"xt", DataType::Utf8), column("f", DataType::Float64)]);
        let batch = batch(&schema, 5, seed);
        let spec = spec("json", &[], &schema);
        let encoded = Encoder::new(&spec, schema.clone(), None).unwrap().encode(&batch).unwrap();
        let texts = arrow::array::AsArray::as_string::<i32>(batch.column(0));
        for (row, value) in encoded.iter().enumerate() {
            let parsed: serde_json::Value = serde_json::from_slice(value).unwrap();
            let expected = texts.is_valid(row).then(|| texts.value(row));
            prop_assert_eq!(parsed["te\"xt"].as_str(), expected);
        }
    }
}

#[test]
fn text_and_raw() {
    let texts = schema(vec![column("line", DataType::Utf8)]);
    let bytes = schema(vec![column("value", DataType::Binary)]);
    let decoded = decode(&spec("text", &[], &texts), None, &[b"a line", b"", b"\xff"]);
    assert_eq!(lines(&decoded), ["a line", "", "! not UTF-8 at byte 0"]);
    check_round_trip("text", &[], &decoded.batch);
    let decoded = decode(&spec("raw", &[], &bytes), None, &[b"a", b"", b"\xff\x00"]);
    assert_eq!(lines(&decoded), ["61", "", "ff00"]);
    check_round_trip("raw", &[], &decoded.batch);
    let nulls = RecordBatch::new_empty(texts.clone());
    assert_eq!(Encoder::new(&spec("text", &[], &texts), texts, None).unwrap().encode(&nulls).unwrap().len(), 0);
}

#[test]
fn what_cannot_be_written() {
    use arrow::array::{Int32Array, StringArray};
    let strict = schema(vec![Field::new("a", DataType::Int32, false)]);
    let loose = schema(vec![column("a", DataType::Int32)]);
    let batch = RecordBatch::try_new(loose.clone(), vec![Arc::new(Int32Array::from(vec![Some(1), None]))]).unwrap();
    let encode = |format: &str, schema: &SchemaRef, batch: &RecordBatch| {
        Encoder::new(&spec(format, &[], schema), schema.clone(), None)?
            .encode(batch)
            .map_err(|e| e.to_string())
            .map(|_| ())
            .map_err(fleuve_types::Error::input)
    };
    let error = encode("json", &strict, &batch).unwrap_err();
    assert_eq!(error.to_string(), "column 'a' is NOT NULL and has a NULL");
    assert!(encode("avro", &loose, &batch).unwrap_err().to_string().contains("schema's id"));
    assert!(encode("json", &loose, &batch).is_ok());
    let text = schema(vec![column("line", DataType::Utf8)]);
    let null = RecordBatch::try_new(text.clone(), vec![Arc::new(StringArray::from(vec![None::<&str>]))]).unwrap();
    assert!(encode("text", &text, &null).unwrap_err().to_string().contains("no value of a record"));
    let named = Schema::new(vec![column("count(*)", DataType::Int64)]);
    assert!(avro_schema_for(&named, "v").unwrap_err().to_string().contains("count(*)"));
    assert!(avro_schema_for(&Schema::empty(), "1v").is_err());
}
