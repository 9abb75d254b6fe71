use proptest::prelude::*;

use super::*;

struct AnySchema(String);

impl SchemaLookup for AnySchema {
    fn schema_by_id(&self, _: u32) -> fleuve_types::Result<Option<String>> {
        Ok(Some(self.0.clone()))
    }
}

fn columns() -> SchemaRef {
    let inner = struct_of(vec![column("x", DataType::Int32), column("y", list_of(DataType::Float64))]);
    schema(vec![
        column("a", DataType::Int64),
        column("b", DataType::Utf8),
        column("c", list_of(inner.clone())),
        column("d", inner),
        column("e", DataType::Decimal128(20, 4)),
        column("f", micros()),
        column("g", DataType::Binary),
        column("h", DataType::Boolean),
    ])
}

const AVRO: &str = r#"{"type":"record","name":"r","fields":[
    {"name":"a","type":["null","long"]},
    {"name":"b","type":{"type":"map","values":["string","r"]}},
    {"name":"c","type":{"type":"array","items":{"type":"record","name":"i","fields":[{"name":"x","type":"int"},{"name":"y","type":{"type":"array","items":"double"}}]}}},
    {"name":"e","type":{"type":"bytes","logicalType":"decimal","precision":20,"scale":2}},
    {"name":"z","type":["null","r"]}]}"#;

/// Decodes in every format; every record is a row or bad, and nothing panics.
fn decode_everywhere(values: &[&[u8]]) {
    let lookup = || Some(Arc::new(AnySchema(AVRO.into())) as Arc<dyn SchemaLookup>);
    for format in ["json", "csv", "avro"] {
        let decoded = decode(&spec(format, &[], &columns()), lookup(), values);
        assert_eq!(decoded.rows.len() + decoded.bad.len(), values.len());
        assert!(decoded.bad.iter().all(|(_, why)| why.len() <= crate::limits::MAX_REASON_BYTES));
    }
    for format in ["combined_log", "text", "raw"] {
        let spec = FormatSpec::new(format, &BTreeMap::new(), None).unwrap();
        let decoded = decode(&spec, None, values);
        assert_eq!(decoded.rows.len() + decoded.bad.len(), values.len());
    }
}

#[test]
fn deep_nesting() {
    let open = "[".repeat(200_000);
    let deep = [
        open.clone(),
        format!("{{\"a\":{open}"),
        format!("{{\"unknown\":{open}"),
        format!("{{\"b\":{open}"),
        "{\"d\":".repeat(100_000),
        "{\"x\":{\"y\":".repeat(100_000),
    ];
    decode_everywhere(&deep.iter().map(|v| v.as_bytes()).collect::<Vec<_>>());
    let schema = schema(vec![column("b", DataType::Utf8)]);
    let fits = format!("{{\"b\":{}{}}}", "[".repeat(100), "]".repeat(100));
    let too_deep = format!("{{\"b\":{}{}}}", "[".repeat(200), "]".repeat(200));
    let decoded = decode(&spec("json", &[], &schema), None, &[fits.as_bytes(), too_deep.as_bytes()]);
    assert_eq!(decoded.rows, [0]);
    assert_eq!(decoded.bad[0].1, "column 'b': nests deeper than 128");
}

#[test]
fn a_run_too_large_is_refused_whole() {
    let spec = FormatSpec::new("raw", &BTreeMap::new(), None).unwrap();
    let value = vec![0; crate::limits::MAX_DECODE_BYTES / 4 + 1];
    let mut decoder = Decoder::new(&spec, spec.schema().clone(), &[0], None).unwrap();
    let error = decoder.decode(&records(&[value.as_slice(); 4])).unwrap_err();
    assert_eq!(error.kind, fleuve_types::ErrorKind::Limit);
}

#[test]
fn hostile_schemas() {
    let spread = {
        // Each type names the one before twice: small text, 2^40 leaves.
        let mut text = r#"{"type":"record","name":"t0","fields":[]}"#.to_string();
        for level in 1..40 {
            let before = if level == 1 { text } else { format!("\"t{}\"", level - 1) };
            text = format!(
                r#"{{"type":"record","name":"t{level}","fields":[{{"name":"a","type":{before}}},{{"name":"b","type":"t{}"}}]}}"#,
                level - 1
            );
        }
        text
    };
    let schemas = [
        spread,
        "[".repeat(10_000),
        format!("{}\"int\"{}", "{\"type\":".repeat(100), "}".repeat(100)),
        r#"{"type":"record","name":"r","fields":[{"name":"a","type":"r"}]}"#.into(),
        r#"{"type":"record","name":"r","fields":[{"name":"a","type":{"type":"fixed","name":"f","size":18446744073709551615}}]}"#.into(),
        r#"{"type":"array","items":"missing"}"#.into(),
    ];
    for text in schemas {
        let lookup = Arc::new(AnySchema(text));
        let spec = spec("avro", &[], &columns());
        let decoded = decode(&spec, Some(lookup), &[&[0, 0, 0, 0, 1], &[0, 0, 0, 0, 1, 2, 3, 4]]);
        assert_eq!(decoded.bad.len(), 2);
    }
}

proptest! {
    #[test]
    fn any_bytes(values in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..6)) {
        decode_everywhere(&values.iter().map(Vec::as_slice).collect::<Vec<_>>());
    }

    /// Nearly right records: pieces of JSON, CSV and log lines in any order.
    #[test]
    fn nearly_right(pieces in prop::collection::vec(prop::sample::select(vec![
        "{", "}", "[", "]", "\"a\":", "\"b\":", "\"c\":", "\"d\":", "\"x\":", "\"y\":", "1", "-2.5e3", "\"t\"", "null", "true",
        ",", ":", "\\", "\"", "\\u12", " ", "1.2.3.4 - - ", "[17/May/2015:10:05:03 +0000] ", "\"GET / HTTP/1.1\" ", "200 1",
    ]), 0..20)) {
        decode_everywhere(&[pieces.concat().as_bytes()]);
    }

    /// A right record, bytes of which are changed, cut off or doubled.
    #[test]
    fn nearly_right_avro(at in 0usize..24, byte: u8, cut in 0usize..24) {
        let mut datum = vec![0, 0, 0, 0, 1, 2, 14, 2, 2, b'k', 0, 4, b'h', b'i', 0, 2, 4, 2, 0, 0, 0, 0, 2, 7];
        datum[at] = byte;
        decode_everywhere(&[&datum, &datum[..cut], &[&datum[..], &datum[cut..]].concat()]);
    }

    /// JSON that serde_json takes for an object of the stream's types is a row, and no other.
    #[test]
    fn agrees_with_serde_json(text in r#"(\{|\[)?( )?("a":)?(-?[0-9]{1,3}(\.[0-9]{0,2})?([eE][+-]?[0-9]{0,2})?|"[a-z\\"nu0-9]{0,6}"|null|true|\[1,?\]|\{"q":2\})?( )?(\}|\])?"#) {
        let schema = schema(vec![column("missing", DataType::Int32)]);
        let decoded = decode(&spec("json", &[], &schema), None, &[text.as_bytes()]);
        let parsed = serde_json::from_str::<serde_json::Value>(&text);
        let object = matches!(parsed, Ok(serde_json::Value::Object(_)));
        prop_assert_eq!(decoded.rows.len(), usize::from(object), "{}: {:?}", text, decoded.bad);
    }
}
