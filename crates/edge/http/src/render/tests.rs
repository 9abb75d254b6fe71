use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, DictionaryArray, Float32Array,
    Float64Array, Int32Builder, Int64Array, ListArray, MapBuilder, NullArray, RecordBatch, StringArray, StringBuilder,
    StringViewArray, StructArray, Time64MicrosecondArray, TimestampMicrosecondArray, TimestampMillisecondArray,
    UInt64Array,
};
use arrow::datatypes::{DataType, Field, Int32Type};
use arrow::ipc::reader::StreamReader;

use super::*;

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, a)| (n, a, true))).unwrap()
}

#[track_caller]
fn json(array: ArrayRef, expected: &str) {
    let mut out = "\"rows\":[".to_string();
    assert_eq!(rows_json(&batch(vec![("c", array)]), 1000, &mut out).unwrap(), Fits::Yes);
    let rows: Vec<serde_json::Value> = serde_json::from_str(&format!("[{}]", &out["\"rows\":[".len()..])).unwrap();
    assert!(!rows.is_empty());
    assert_eq!(&out["\"rows\":[".len()..], expected);
}

#[test]
fn values_are_json_as_promised() {
    json(Arc::new(Int64Array::from(vec![Some(i64::MAX), None, Some(-1)])), "[9223372036854775807],[null],[-1]");
    json(Arc::new(UInt64Array::from(vec![u64::MAX])), "[18446744073709551615]");
    json(
        Arc::new(Float64Array::from(vec![0.1, 1e300, f64::NAN, f64::INFINITY, f64::NEG_INFINITY])),
        r#"[0.1],[1e+300],["NaN"],["Infinity"],["-Infinity"]"#,
    );
    json(Arc::new(Float32Array::from(vec![0.1])), "[0.1]");
    json(Arc::new(BooleanArray::from(vec![true, false])), "[true],[false]");
    let decimal = Decimal128Array::from(vec![Some(-1234), Some(5), None]).with_precision_and_scale(20, 3).unwrap();
    json(Arc::new(decimal), "[-1.234],[0.005],[null]");
    json(Arc::new(StringArray::from(vec!["a\"\n\u{1}é"])), r#"["a\"\n\u0001é"]"#);
    json(
        Arc::new(StringViewArray::from(vec!["a view that is longer than twelve"])),
        r#"["a view that is longer than twelve"]"#,
    );
    json(Arc::new(BinaryArray::from(vec![b"\x00\xff".as_slice()])), r#"["AP8="]"#);
    json(Arc::new(NullArray::new(1)), "[null]");
    json(Arc::new(Date32Array::from(vec![19000])), r#"["2022-01-08"]"#);
    json(Arc::new(Time64MicrosecondArray::from(vec![3_600_000_001])), r#"["01:00:00.000001"]"#);
    json(Arc::new(TimestampMillisecondArray::from(vec![1_431_857_103_000])), r#"["2015-05-17T10:05:03"]"#);
    json(
        Arc::new(TimestampMicrosecondArray::from(vec![1_431_857_103_000_001]).with_timezone("UTC")),
        r#"["2015-05-17T10:05:03.000001Z"]"#,
    );
    let words: DictionaryArray<Int32Type> = vec![Some("x"), None, Some("x")].into_iter().collect();
    json(Arc::new(words), r#"["x"],[null],["x"]"#);
}

#[test]
fn json_stops_where_there_is_no_more_room() {
    let mut out = "\"rows\":[".to_string();
    let many = batch(vec![("c", Arc::new(Int64Array::from_iter_values(0..1000)) as ArrayRef)]);
    assert_eq!(rows_json(&many, 100, &mut out).unwrap(), Fits::No);
    assert!(out.len() < 110);
}

#[test]
fn nested_values_are_nested_json() {
    let list = ListArray::from_iter_primitive::<Int32Type, _, _>(vec![Some(vec![Some(1), None]), None, Some(vec![])]);
    json(Arc::new(list.clone()), "[[1,null]],[null],[[]]");
    json(Arc::new(list.slice(2, 1)), "[[]]");
    let name: ArrayRef = Arc::new(StringArray::from(vec!["n"; 3]));
    let inside = StructArray::from(vec![
        (Arc::new(Field::new("s", DataType::Utf8, true)), name),
        (Arc::new(Field::new("l", list.data_type().clone(), true)), Arc::new(list) as ArrayRef),
    ]);
    json(Arc::new(inside), r#"[{"s":"n","l":[1,null]}],[{"s":"n","l":null}],[{"s":"n","l":[]}]"#);
    let mut map = MapBuilder::new(None, StringBuilder::new(), Int32Builder::new());
    map.keys().append_value("k");
    map.values().append_value(7);
    map.append(true).unwrap();
    json(Arc::new(map.finish()), r#"[{"k":7}]"#);
}

fn mixed() -> RecordBatch {
    batch(vec![
        ("id", Arc::new(Int64Array::from(vec![1, 2, 3])) as ArrayRef),
        ("a, \"b\"", Arc::new(StringArray::from(vec![Some("x,\"y\"\n"), Some(""), None]))),
    ])
}

#[test]
fn csv_quotes_what_needs_it_and_tells_null_from_empty() {
    assert_eq!(Csv::header(&mixed().schema()), "id,\"a, \"\"b\"\"\"\r\n");
    assert_eq!(Csv::rows(&mixed()).unwrap(), "1,\"x,\"\"y\"\"\n\"\r\n2,\"\"\r\n3,\r\n");
    let list = ListArray::from_iter_primitive::<Int32Type, _, _>(vec![Some(vec![Some(1), None])]);
    assert_eq!(Csv::rows(&batch(vec![("l", Arc::new(list))])).unwrap(), "\"[1,null]\"\r\n");
}

#[test]
fn lines_are_objects() {
    assert_eq!(
        Lines::rows(&mixed()).unwrap(),
        "{\"id\":1,\"a, \\\"b\\\"\":\"x,\\\"y\\\"\\n\"}\n{\"id\":2,\"a, \\\"b\\\"\":\"\"}\n{\"id\":3,\"a, \\\"b\\\"\":null}\n"
    );
}

#[test]
fn arrow_streams_come_back_whole() {
    let mut ipc = Ipc::new(&mixed().schema()).unwrap();
    let mut bytes = ipc.rows(&mixed()).unwrap();
    bytes.extend(ipc.rows(&mixed()).unwrap());
    bytes.extend(ipc.end().unwrap());
    let read: Vec<_> = StreamReader::try_new(bytes.as_slice(), None).unwrap().map(Result::unwrap).collect();
    assert_eq!(read, [mixed(), mixed()]);
    let mut empty = Ipc::new(&mixed().schema()).unwrap();
    assert_eq!(StreamReader::try_new(empty.end().unwrap().as_slice(), None).unwrap().count(), 0);
}

#[test]
fn columns_are_named_in_sql() {
    assert_eq!(columns_json(&mixed().schema()), r#"[{"name":"id","type":"BIGINT"},{"name":"a, \"b\"","type":"TEXT"}]"#);
}
