//! Records that are older than a column: what they hold under its name makes none of them bad.

use proptest::prelude::*;

use super::avro::{framed, registry};
use super::*;

/// The records by a schema whose last columns they are older than.
fn older(spec: &FormatSpec, later: usize, lookup: Option<Arc<dyn SchemaLookup>>, values: &[&[u8]]) -> Decoded {
    let all: Vec<usize> = (0..spec.schema().fields().len()).collect();
    let decoder = Decoder::new(spec, spec.schema().clone(), &all, lookup).unwrap();
    decoder.before(all.len() - later..all.len()).decode(&records(values)).unwrap()
}

#[test]
fn a_json_value_that_does_not_fit_is_null() {
    let fields = vec![
        column("id", DataType::Int64),
        column("x", DataType::Utf8),
        column("l", list_of(struct_of(vec![Field::new("n", DataType::Int32, false)]))),
    ];
    let spec = spec("json", &[], &schema(fields));
    let cases = [
        (r#"{"id":1,"x":5,"l":[{"n":1}]}"#, "1|~|[{n: 1}]"),
        (r#"{"x":"five","id":2,"l":[{"n":1},{"n":null}]}"#, "2|five|~"),
        (r#"{"x":"a","x":7,"id":3,"l":{}}"#, "3|~|~"),
        (r#"{"X":7,"x":"own","id":4,"l":[{"n":2},{}],"l":[]}"#, "4|own|[]"),
        (r#"{"id":5}"#, "5|~|~"),
        (r#"{"id":"6","x":5}"#, "! column 'id': expected BIGINT, found \"6\""),
        (r#"{"id":7,"x":"a\q"}"#, "! column 'x': not JSON: expected an escape at byte 15, found 'q\"}'"),
        (r#"{"id":8,"l":[{"n":1}"#, "! column 'l': not JSON: expected ',' or ']' at byte 20, found the end"),
        (r#"{"id":9,"x":false,"l":[{"n":9}]}"#, "9|~|[{n: 9}]"),
    ];
    let values: Vec<&[u8]> = cases.iter().map(|(value, _)| value.as_bytes()).collect();
    let found = lines(&older(&spec, 2, None, &values));
    for ((value, expected), line) in cases.iter().zip(found) {
        assert_eq!(&line, expected, "{value}");
    }
    let strict = decode(&spec, None, &values);
    assert_eq!(strict.rows, [4], "the others are no rows for records that are not older");
}

#[test]
fn an_avro_value_that_does_not_fit_is_null() {
    let record = |fields: &str| format!(r#"{{"type":"record","name":"r","fields":[{fields}]}}"#);
    let number = record(r#"{"name":"x","type":"long"},{"name":"id","type":"int"}"#);
    let either = record(r#"{"name":"id","type":"int"},{"name":"x","type":["null","string","boolean"]}"#);
    let nested = record(
        r#"{"name":"x","type":{"type":"array","items":{"type":"record","name":"i","fields":[{"name":"k","type":"string"}]}}},{"name":"id","type":"int"}"#,
    );
    let registry = registry(&[(1, &number), (2, &either), (3, &nested)]);
    let values = [
        framed(1, &[10, 2]),
        framed(2, &[4, 0]),
        framed(2, &[6, 2, 2, b'a']),
        framed(2, &[8, 4, 1]),
        framed(3, &[2, 2, b'k', 0, 10]),
        framed(3, &[2, 2, b'k', 0]),
    ];
    let values: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
    let fields = |x: DataType| schema(vec![column("id", DataType::Int64), column("x", x)]);
    let found = |x: DataType| lines(&older(&spec("avro", &[], &fields(x)), 1, Some(registry.clone()), &values));
    let ends = "! column 'id': the datum has a broken integer, or ends within one";
    assert_eq!(found(DataType::Utf8), ["1|~", "2|~", "3|a", "4|~", r#"5|[{"k":"k"}]"#, ends]);
    assert_eq!(found(DataType::Boolean), ["1|~", "2|~", "3|~", "4|true", "5|~", ends]);
    let of_numbers = list_of(struct_of(vec![column("k", DataType::Int64)]));
    assert_eq!(found(of_numbers), ["1|~", "2|~", "3|~", "4|~", "5|~", ends]);
}

fn any_json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_string()),
        Just("true".to_string()),
        any::<i32>().prop_map(|n| n.to_string()),
        "\"[a-z]{0,3}\"",
        Just("1e999".to_string()),
        Just("[1,".to_string()),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(|items| format!("[{}]", items.join(","))),
            inner.prop_map(|value| format!("{{\"f\":{value}}}")),
        ]
    })
}

proptest! {
    /// They are rows, and otherwise the same ones, as they were without the column.
    #[test]
    fn what_was_a_row_is_one(values in prop::collection::vec((any_json(), any_json(), any::<bool>()), 1..12), kind in 0usize..5) {
        let x = [
            DataType::Int16,
            DataType::Utf8,
            list_of(DataType::Float64),
            struct_of(vec![Field::new("f", DataType::Int64, false)]),
            list_of(struct_of(vec![column("f", list_of(DataType::Boolean))])),
        ][kind].clone();
        let id = || column("id", list_of(DataType::Int64));
        let before = spec("json", &[], &schema(vec![id()]));
        let after = spec("json", &[], &schema(vec![id(), column("x", x)]));
        let texts: Vec<String> = values.iter().map(|(id, x, is_first)| match is_first {
            true => format!("{{\"x\":{x},\"id\":{id}}}"),
            false => format!("{{\"id\":{id},\"x\":{x}}}"),
        }).collect();
        let values: Vec<&[u8]> = texts.iter().map(|t| t.as_bytes()).collect();
        let (was, is) = (decode(&before, None, &values), older(&after, 1, None, &values));
        prop_assert_eq!(&was.rows, &is.rows);
        prop_assert_eq!(was.batch, is.batch.project(&[0]).unwrap());
        // Where the value fits it is the one that a newer record would have.
        let strict = decode(&after, None, &values);
        for (row, at) in strict.rows.iter().enumerate() {
            let found = is.rows.iter().position(|r| r == at).unwrap();
            prop_assert_eq!(rows(&strict.batch.slice(row, 1)), rows(&is.batch.slice(found, 1)));
        }
    }
}
