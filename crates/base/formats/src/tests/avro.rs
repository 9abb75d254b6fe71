use std::sync::Mutex;

use fleuve_types::{Error, ErrorKind, Result};

use super::*;

/// A registry in memory that counts how often it is asked.
#[derive(Default)]
pub(super) struct Registry {
    schemas: BTreeMap<u32, String>,
    asked: Mutex<Vec<u32>>,
}

impl SchemaLookup for Registry {
    fn schema_by_id(&self, id: u32) -> Result<Option<String>> {
        self.asked.lock().unwrap().push(id);
        if id == 500 {
            return Err(Error::new(ErrorKind::Retry, "the registry does not answer"));
        }
        Ok(self.schemas.get(&id).cloned())
    }
}

pub(super) fn registry(schemas: &[(u32, &str)]) -> Arc<Registry> {
    let schemas = schemas.iter().map(|(id, text)| (*id, text.to_string())).collect();
    Arc::new(Registry { schemas, asked: Mutex::default() })
}

pub(super) fn framed(id: u32, datum: &[u8]) -> Vec<u8> {
    [&[0], &id.to_be_bytes()[..], datum].concat()
}

fn decode_all(fields: Vec<Field>, registry: &Arc<Registry>, values: &[Vec<u8>]) -> Vec<String> {
    let spec = spec("avro", &[], &schema(fields));
    let values: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
    lines(&decode(&spec, Some(registry.clone()), &values))
}

#[test]
fn writer_and_stream_differ() {
    let registry = registry(&[
        (
            1,
            r#"{"type":"record","name":"r","fields":[{"name":"gone","type":{"type":"map","values":{"type":"array","items":"long"}}},{"name":"id","type":"int"},{"name":"name","type":["null","string"]}]}"#,
        ),
        (
            2,
            r#"{"type":"record","name":"r","namespace":"a.b","fields":[{"name":"name","type":{"type":"enum","name":"e","symbols":["RED","GREEN"]}},{"name":"Extra","type":"a.b.e"},{"name":"id","type":["null","long"]}]}"#,
        ),
        (3, r#"{"type":"record","name":"r","fields":[{"name":"name","type":"string"}]}"#),
        (4, r#"{"type":"record","name":"r","fields":[{"name":"id","type":"double"}]}"#),
        (5, r#""string""#),
        (6, r#"{"type":"record"}"#),
    ]);
    let fields = || vec![Field::new("id", DataType::Int64, false), column("name", DataType::Utf8)];
    // A map with one entry "k" -> [1, 2], in blocks with and without a byte size.
    let map = [1, 10, 2, b'k', 4, 2, 4, 0, 0];
    let one = |rest: &[u8]| framed(1, &[&map[..], rest].concat());
    let values = [
        one(&[14, 2, 4, b'h', b'i']),
        one(&[13, 0]),
        framed(2, &[2, 0, 2, 200, 1]),
        framed(2, &[2, 0, 0]),
        framed(3, &[2, b'x']),
        framed(4, &[0; 8]),
        framed(5, &[2, b'x']),
        framed(6, &[]),
        framed(7, &[]),
        one(&[14, 2, 4, b'h']),
        one(&[14, 0, 0]),
        one(&[14, 4]),
        framed(2, &[9, 0, 0]),
        b"{\"id\":1}".to_vec(),
        vec![0, 0, 0],
    ];
    let expected = [
        "7|hi",
        "-7|~",
        "100|GREEN",
        "! column 'id': is NOT NULL and the value is null",
        "! column 'id': is NOT NULL and has no value",
        "! column 'id': expected BIGINT, found an Avro double",
        "! schema 5 cannot be used: it is of type string, not a record",
        "! schema 6 cannot be used: a named type has no name",
        "! the registry has no schema 7",
        "! column 'name': the datum ends early: 2 bytes needed, 1 left",
        "! 1 bytes follow the Avro datum of schema 1",
        "! column 'name': the datum takes branch 2 of a union of 2",
        "! column 'name': the datum has symbol -5 of an enum of 2",
        "! not Avro in Confluent framing (a zero byte and the schema's id in four bytes)",
        "! not Avro in Confluent framing (a zero byte and the schema's id in four bytes)",
    ];
    for (at, (found, expected)) in decode_all(fields(), &registry, &values).iter().zip(expected).enumerate() {
        assert_eq!(found, expected, "record {at}");
    }
}

#[test]
fn logical_types() {
    let registry = registry(&[(
        1,
        r#"{"type":"record","name":"r","fields":[
        {"name":"day","type":{"type":"int","logicalType":"date"}},
        {"name":"at","type":{"type":"long","logicalType":"timestamp-millis"}},
        {"name":"clock","type":{"type":"int","logicalType":"time-millis"}},
        {"name":"price","type":{"type":"bytes","logicalType":"decimal","precision":9,"scale":3}},
        {"name":"fixed","type":{"type":"fixed","name":"f","size":2,"logicalType":"decimal","precision":4,"scale":2}},
        {"name":"uuid","type":{"type":"fixed","name":"u","size":16,"logicalType":"uuid"}},
        {"name":"plain","type":"long"},
        {"name":"text","type":"string"},
        {"name":"odd","type":{"type":"int","logicalType":"unheard-of"}}]}"#,
    )]);
    let fields = vec![
        column("day", DataType::Date32),
        column("at", micros()),
        column("clock", DataType::Time64(TimeUnit::Microsecond)),
        column("price", DataType::Decimal128(9, 2)),
        column("fixed", DataType::Decimal128(9, 2)),
        column("uuid", DataType::Utf8),
        column("plain", micros()),
        column("text", micros()),
        column("odd", DataType::Float64),
    ];
    let mut datum = vec![2, 0xd0, 0x0f, 0xd0, 0x0f, 4, 0x04, 0xd2, 0xff, 0xff];
    datum.extend(0..16);
    datum.extend([0xd1, 0x0f, 20]);
    datum.extend(b"2024-01-02");
    datum.push(5);
    assert_eq!(
        decode_all(fields, &registry, &[framed(1, &datum)]),
        [
            "1970-01-02|1970-01-01T00:00:01|00:00:01|1.23|-0.01|00010203-0405-0607-0809-0a0b0c0d0e0f|1969-12-31T23:59:58.999|2024-01-02T00:00:00|-3.0"
        ]
    );
}

/// An Avro integer.
pub(super) fn zigzag(value: i64) -> Vec<u8> {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    let mut out = vec![];
    while rest > 0x7f {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
    out
}

#[test]
fn far_times_and_large_numbers() {
    let far = "which is outside of the years 1 to 9999";
    let now = 1_767_225_600;
    for (avro, to, good, bad, reason) in [
        (
            "int\",\"logicalType\":\"date",
            DataType::Date32,
            2_932_896,
            2_932_897,
            format!("DATE, found the Avro int 2932897, {far}"),
        ),
        (
            "long",
            micros(),
            now * 1_000,
            now * 1_000_000,
            format!("TIMESTAMP, found the Avro long 1767225600000000, {far} as milliseconds; is it in microseconds?"),
        ),
        (
            "long\",\"logicalType\":\"timestamp-millis",
            micros_utc(),
            253_402_300_799_999,
            now * 1_000_000_000,
            format!(
                "TIMESTAMP WITH TIME ZONE, found the Avro long 1767225600000000000, {far} as milliseconds; is it in nanoseconds?"
            ),
        ),
        (
            "long\",\"logicalType\":\"timestamp-micros",
            micros(),
            253_402_300_799_999_999,
            now * 1_000_000_000,
            format!("TIMESTAMP, found the Avro long 1767225600000000000, {far} as microseconds; is it in nanoseconds?"),
        ),
        (
            "long\",\"logicalType\":\"local-timestamp-micros",
            micros(),
            -62_135_596_800_000_000,
            i64::MIN,
            format!(
                "TIMESTAMP, found the Avro long -9223372036854775808, {far} as microseconds; is it in nanoseconds?"
            ),
        ),
    ] {
        let schema = format!(r#"{{"type":"record","name":"r","fields":[{{"name":"a","type":{{"type":"{avro}"}}}}]}}"#);
        let registry = registry(&[(1, &schema)]);
        let values = [framed(1, &zigzag(good)), framed(1, &zigzag(bad))];
        let found = decode_all(vec![column("a", to)], &registry, &values);
        assert!(!found[0].starts_with('!'), "{avro}: {}", found[0]);
        assert_eq!(found[1], format!("! column 'a': expected {reason}"), "{avro}");
    }
    let registry = registry(&[(1, r#"{"type":"record","name":"r","fields":[{"name":"a","type":"double"}]}"#)]);
    let values: Vec<_> =
        [1e300, -1e39, f64::INFINITY, f64::NAN, 1e38, 1e-300].map(|v: f64| framed(1, &v.to_le_bytes())).into();
    assert_eq!(
        decode_all(vec![column("a", DataType::Float32)], &registry, &values),
        [
            "! column 'a': expected REAL, found the Avro double 1e300 (too large)",
            "! column 'a': expected REAL, found the Avro double -1e39 (too large)",
            "inf",
            "NaN",
            "1e38",
            "0.0",
        ]
    );
}

#[test]
fn nested_as_columns_and_as_text() {
    let registry = registry(&[(
        1,
        r#"{"type":"record","name":"r","fields":[{"name":"s","type":{"type":"record","name":"inner","fields":[
        {"name":"n","type":["null","inner"]},{"name":"l","type":{"type":"array","items":["null","string"]}}]}}]}"#,
    )]);
    // {n: {n: null, l: []}, l: ["x", null]}
    let datum = [2, 0, 0, 4, 2, 2, b'x', 0, 0];
    let inner = struct_of(vec![column("l", list_of(DataType::Utf8)), column("n", DataType::Utf8)]);
    assert_eq!(
        decode_all(vec![column("s", inner)], &registry, &[framed(1, &datum)]),
        [r#"{l: [x, ~], n: {"n":null,"l":[]}}"#]
    );
    assert_eq!(
        decode_all(vec![column("s", DataType::Utf8)], &registry, &[framed(1, &datum)]),
        [r#"{"n":{"n":null,"l":[]},"l":["x",null]}"#]
    );
}

#[test]
fn two_fields_for_one_column() {
    let twins = |first: &str, second: &str| {
        let field = |name: &str| format!(r#"{{"name":"{name}","type":"string"}}"#);
        format!(r#"{{"type":"record","name":"r","fields":[{},{}]}}"#, field(first), field(second))
    };
    let registry =
        registry(&[(1, &twins("t", "T")), (2, &twins("T", "t")), (3, &twins("T", "T")), (4, &twins("t", "u"))]);
    let values: Vec<_> = (1..=4).map(|id| framed(id, &[2, b'1', 2, b'2'])).collect();
    assert_eq!(decode_all(vec![column("t", DataType::Utf8)], &registry, &values), ["1", "2", "2", "1"]);
}

#[test]
fn a_schema_is_asked_for_once_and_an_error_is_the_callers() {
    let registry = registry(&[(1, r#"{"type":"record","name":"r","fields":[{"name":"a","type":"int"}]}"#)]);
    let schema = schema(vec![column("a", DataType::Int32)]);
    let mut decoder = Decoder::new(&spec("avro", &[], &schema), schema, &[0], Some(registry.clone())).unwrap();
    let (one, two, broken) = (framed(1, &[2]), framed(2, &[2]), framed(500, &[2]));
    for _ in 0..3 {
        assert_eq!(lines(&decoder.decode(&records(&[&one, &two, &two, &one])).unwrap()).len(), 4);
    }
    // What was unknown may be there by now, so it is asked for again.
    assert_eq!(*registry.asked.lock().unwrap(), [1, 2, 2, 2]);
    assert_eq!(decoder.decode(&records(&[&one, &broken])).unwrap_err().kind, ErrorKind::Retry);
    assert_eq!(decoder.decode(&records(&[&one])).unwrap().rows, [0]);
}

#[test]
fn few_bytes_make_no_large_columns() {
    let registry = registry(&[
        (1, r#"{"type":"record","name":"r","fields":[{"name":"a","type":{"type":"array","items":"null"}}]}"#),
        (
            2,
            r#"{"type":"record","name":"r","fields":[{"name":"b","type":{"type":"array","items":{"type":"record","name":"empty","fields":[]}}}]}"#,
        ),
        (
            3,
            &format!(
                r#"{{"type":"record","name":"r","fields":[{{"name":"c","type":{{"type":"array","items":{{"type":"enum","name":"e","symbols":["{}"]}}}}}}]}}"#,
                "x".repeat(5000)
            ),
        ),
    ]);
    let fields = || vec![column("a", list_of(DataType::Int64)), column("c", list_of(DataType::Utf8))];
    // An array that claims 2^62 items.
    let many = [0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01];
    let values = [framed(1, &many), framed(2, &many), framed(3, &[2, 0, 0]), framed(1, &[6, 0])];
    assert_eq!(
        decode_all(fields(), &registry, &values),
        [
            "! column 'a': its arrays hold more elements than a record of its length may",
            "! its arrays hold more elements than a record of its length may",
            "! column 'c.[]': it stands for more text than a record of its length may",
            "[~, ~, ~]|~",
        ]
    );
}
