use super::*;

#[test]
fn rows_and_nulls() {
    let fields = vec![column("i", DataType::Int32), column("t", DataType::Utf8), column("f", DataType::Float64)];
    check(
        &spec("csv", &[], &schema(fields.clone())),
        &[
            ("1,text,1.5", "1|text|1.5"),
            ("1, text , 1.5 \r\n", "1| text |1.5"),
            (",,", "~|~|~"),
            (r#"2,"",3"#, "2||3.0"),
            (
                r#"2,"a ""b"", c
d",3"#,
                "2|a \"b\", c\nd|3.0",
            ),
            ("1,2", "! expected 3 fields, found 2"),
            ("1,2,3,4", "! expected 3 fields, found 4"),
            ("x,2,3", "! column 'i': expected INT, found \"x\""),
            (r#"1,"open,3"#, "! column 't': a quoted field has no end"),
            (r#"1,"a"b,3"#, "! column 't': text follows the closing quote at byte 3"),
            (r#"1,a"b",3"#, "1|a\"b\"|3.0"),
        ],
    );
    check(
        &spec("csv", &[("delimiter", "\\t"), ("quote", "'"), ("null", "NA")], &schema(fields.clone())),
        &[("1\t'a\tb'\tNA", "1|a\tb|~"), ("NA\tNA\t", "~|~|~"), ("1\t\t2", "1||2.0"), ("1\t'NA'\t2", "1|NA|2.0")],
    );
    check(&spec("csv", &[("quote", "none")], &schema(fields)), &[(r#"1,"a",2"#, r#"1|"a"|2.0"#)]);
}

#[test]
fn all_types() {
    let fields = vec![
        column("b", DataType::Boolean),
        column("d", DataType::Decimal128(10, 2)),
        column("y", DataType::Binary),
        column("day", DataType::Date32),
        column("ts", micros()),
        column("l", list_of(DataType::Int32)),
        Field::new("u", DataType::UInt8, false),
    ];
    check(
        &spec("csv", &[], &schema(fields)),
        &[
            (
                r#"true,1.5,AAEC,2024-01-02,2024-01-02 03:04:05,"[1, 2]",255"#,
                "true|1.50|000102|2024-01-02|2024-01-02T03:04:05|[1, 2]|255",
            ),
            ("f,1,,,1000,[],0", "false|1.00|~|~|1970-01-01T00:00:01|[]|0"),
            ("f,1,,,1000,[],", "! column 'u': is NOT NULL and the value is null"),
            ("f,1,,,1000,[,0", "! column 'l.[0]': not JSON: expected a value at byte 1, found the end"),
            ("maybe,1,,,1000,,0", "! column 'b': expected BOOLEAN, found \"maybe\""),
            ("f,1,,,2024-01-02 03:04:05.0000006,,0", "false|1.00|~|~|2024-01-02T03:04:05.000001|~|0"),
            (
                "f,1,,,1767225600000000,,0",
                "! column 'ts': expected TIMESTAMP, found 1767225600000000, which is outside of the years 1 to 9999 as milliseconds; is it in microseconds?",
            ),
            (
                "f,1,,+10000-01-01,,,0",
                "! column 'day': expected DATE, found \"+10000-01-01\", which is outside of the years 1 to 9999",
            ),
        ],
    );
}
