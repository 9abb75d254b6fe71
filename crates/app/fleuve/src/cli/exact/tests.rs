use super::{IN_EVENT, IN_RESULTS, IN_ROWS, exact};

#[track_caller]
fn check(place: &[u8], json: &str, expected: &str) {
    assert_eq!(String::from_utf8(exact(json.as_bytes(), place)).unwrap(), expected);
}

#[test]
fn numbers_in_cells_stay_as_they_are_written() {
    check(
        IN_RESULTS,
        r#"{"results":[{"columns":[{"n":1.50}],"rows":[[1,-12.50,"1.50",null,1e300],[0.10,[1.50],{"a":2.50}]]}]}"#,
        r#"{"results":[{"columns":[{"n":1.50}],"rows":[[1,"-12.50","1.50",null,1e300],["0.10",[1.50],{"a":2.50}]]}]}"#,
    );
    check(
        IN_RESULTS,
        r#"{"results":[{"rows":[[18446744073709551615,18446744073709551616,"\"7.0 [\\"]]}]}"#,
        r#"{"results":[{"rows":[[18446744073709551615,"18446744073709551616","\"7.0 [\\"]]}]}"#,
    );
    check(
        IN_ROWS,
        r#"{"columns":[{"n":1.50}],"rows":[[1,12345678901234567890.0123456789,38.50],[[2.50],null,1e9]],"read":[{"to":7.0}]}"#,
        r#"{"columns":[{"n":1.50}],"rows":[[1,"12345678901234567890.0123456789","38.50"],[[2.50],null,1e9]],"read":[{"to":7.0}]}"#,
    );
    check(IN_EVENT, r#"{"weight":1,"row":{"a":1.0,"b":[1.0]}}"#, r#"{"weight":1,"row":{"a":"1.0","b":[1.0]}}"#);
    check(IN_EVENT, r#"{"row":{"a":1"#, r#"{"row":{"a":1"#);
    check(IN_EVENT, r#"{"a":"b\"#, r#"{"a":"b\"#);
}
