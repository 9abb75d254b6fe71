use super::*;
use crate::format_columns;

fn message(format: &str, options: &[(&str, &str)], fields: Option<Vec<Field>>) -> String {
    let options = options.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
    FormatSpec::new(format, &options, fields.map(schema)).unwrap_err().to_string()
}

#[test]
fn unknown_names_get_the_nearest_one() {
    let a = || Some(vec![column("a", DataType::Int32)]);
    assert_eq!(message("jsn", &[], a()), "there is no format 'jsn' (did you mean 'json'?)");
    assert_eq!(
        message("protobuf", &[], a()),
        "there is no format 'protobuf' (there are: json, avro, csv, combined_log, text, raw)"
    );
    assert_eq!(
        message("csv", &[("delimeter", ";")], a()),
        "format csv has no option 'delimeter' (did you mean 'delimiter'?)"
    );
    assert_eq!(
        message("json", &[("header", "true")], a()),
        "format json has no option 'header' (there are: max_record_bytes)"
    );
    assert_eq!(
        message("combined_log", &[], Some(vec![column("refere", DataType::Utf8)])),
        "format combined_log has no column 'refere' (did you mean 'referer'?)"
    );
}

#[test]
fn values_and_columns_are_checked() {
    let a = || Some(vec![column("a", DataType::Int32)]);
    assert!(message("csv", &[("delimiter", "ab")], a()).contains("one ASCII character"));
    assert!(message("csv", &[("delimiter", "\"")], a()).contains("same character"));
    assert!(message("csv", &[("header", "perhaps")], a()).contains("true or false"));
    assert!(message("json", &[("max_record_bytes", "0")], a()).contains("from 1 to"));
    assert!(message("json", &[], None).contains("needs its columns"));
    assert!(message("json", &[], Some(vec![])).contains("at least one column"));
    assert!(message("json", &[], Some(vec![column("_offset", DataType::Int64)])).contains("pseudo-column"));
    let twice = vec![column("a", DataType::Int32), column("a", DataType::Utf8)];
    assert!(message("json", &[], Some(twice)).contains("twice"));
    let interval = DataType::Interval(arrow::datatypes::IntervalUnit::DayTime);
    let nested = vec![column("a", struct_of(vec![column("b", list_of(interval))]))];
    assert_eq!(
        message("json", &[], Some(nested)),
        "column 'a.b' is of type INTERVAL, which a stream's records cannot hold"
    );
    assert!(message("text", &[], a()).contains("exactly one column, of type TEXT"));
    assert!(message("raw", &[], Some(vec![column("a", DataType::Utf8)])).contains("of type BYTEA"));
    let status = Some(vec![column("status", DataType::Utf8)]);
    assert_eq!(message("combined_log", &[], status), "column 'status' of format combined_log is INT, not TEXT");
}

#[test]
fn formats_bring_columns() {
    let names = |format: &str| -> Option<Vec<String>> {
        Some(format_columns(format)?.fields().iter().map(|f| f.name().clone()).collect())
    };
    assert_eq!(names("text"), Some(vec!["line".to_string()]));
    assert_eq!(names("raw"), Some(vec!["value".to_string()]));
    assert_eq!(names("combined_log").map(|n| n.len()), Some(11));
    assert_eq!((names("json"), names("nonsense")), (None, None));
    let spec = FormatSpec::new(
        "CSV",
        &BTreeMap::from([("header".into(), "TRUE".into())]),
        Some(schema(vec![column("a", DataType::Int8)])),
    );
    assert!(spec.unwrap().header());
}

#[test]
fn decoders_and_encoders_move_between_threads() {
    fn moves<T: Send>() {}
    moves::<Decoder>();
    moves::<crate::Encoder>();
    moves::<FormatSpec>();
}
