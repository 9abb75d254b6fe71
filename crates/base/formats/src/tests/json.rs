use super::*;

fn one(data_type: DataType) -> FormatSpec {
    spec("json", &[], &schema(vec![column("a", data_type)]))
}

#[test]
fn fields_by_name() {
    let fields = vec![Field::new("id", DataType::Int64, false), column("name", DataType::Utf8)];
    check(
        &spec("json", &[], &schema(fields)),
        &[
            (r#"{"id":1,"name":"x"}"#, "1|x"),
            (r#" { "name" : "y" , "id" : 2 } "#, "2|y"),
            (r#"{"id":3}"#, "3|~"),
            (r#"{"id":4,"name":null,"more":{"a":[1,{"b":"}"}],"id":9}}"#, "4|~"),
            (r#"{"name":"no id"}"#, "! column 'id': is NOT NULL and has no value"),
            (r#"{"id":null}"#, "! column 'id': is NOT NULL and the value is null"),
            (r#"{"id":5,"id":6,"name":"a","name":"b"}"#, "6|b"),
            (r#"{"id":5,"name":"a","name":null}"#, "5|~"),
            (r#"{"ID":7,"Name":"case"}"#, "7|case"),
            (r#"{"id":8,"ID":9}"#, "8|~"),
            (r#"{"ID":9,"id":8}"#, "8|~"),
            (r#"{"i\u0064":10,"na\u006de":"escaped"}"#, "10|escaped"),
            (r#"{"id":"1"}"#, "! column 'id': expected BIGINT, found \"1\""),
            (r#"{"id":11,"name":5}"#, "! column 'name': expected TEXT, found 5"),
            (r#"{"id":11,"name":true}"#, "! column 'name': expected TEXT, found true"),
            (r#"{"id":12,"name":{"k":[1, 2]}}"#, r#"12|{"k":[1, 2]}"#),
            (r#"{"id":13,"name":["x"]}"#, r#"13|["x"]"#),
            (r#"[1]"#, "! expected a JSON object, found an array"),
            ("", "! expected a JSON object, found nothing"),
            (r#"{"id":14"#, "! not JSON: expected ',' or '}' at byte 8, found the end"),
            (r#"{"id":15} x"#, "! not JSON: expected the end of the record at byte 10, found 'x'"),
            (r#"{"id":16,}"#, "! not JSON: expected a key at byte 9, found '}'"),
            (r#"{"id":17,"other":tru}"#, "! not JSON: expected a value at byte 17, found 'tru}'"),
        ],
    );
}

#[test]
fn numbers() {
    check(
        &one(DataType::Int16),
        &[
            (r#"{"a":-32768}"#, "-32768"),
            (r#"{"a":32768}"#, "! column 'a': expected SMALLINT, found 32768"),
            (r#"{"a":1e2}"#, "100"),
            (r#"{"a":12.50e1}"#, "125"),
            (r#"{"a":-0}"#, "0"),
            (r#"{"a":1.5}"#, "! column 'a': expected SMALLINT, found 1.5"),
            (
                r#"{"a":99999999999999999999999999999999999999999999}"#,
                "! column 'a': expected SMALLINT, found 99999999999999999999999999999999999999999999",
            ),
            (r#"{"a":01}"#, "! column 'a': not JSON: expected a number at byte 5, found '01}'"),
            (r#"{"a":-}"#, "! column 'a': not JSON: expected a number at byte 6, found '}'"),
            (r#"{"a":1.}"#, "! column 'a': not JSON: expected a digit at byte 7, found '}'"),
        ],
    );
    check(
        &one(DataType::Int64),
        &[
            (r#"{"a":9223372036854775807}"#, "9223372036854775807"),
            (r#"{"a":-9223372036854775808}"#, "-9223372036854775808"),
            (r#"{"a":9223372036854775808}"#, "! column 'a': expected BIGINT, found 9223372036854775808"),
        ],
    );
    check(
        &one(DataType::UInt64),
        &[
            (r#"{"a":18446744073709551615}"#, "18446744073709551615"),
            (r#"{"a":-1}"#, "! column 'a': expected BIGINT UNSIGNED, found -1"),
        ],
    );
    check(
        &one(DataType::Float64),
        &[
            (r#"{"a":1}"#, "1.0"),
            (r#"{"a":-1.5e-3}"#, "-0.0015"),
            (r#"{"a":"NaN"}"#, "NaN"),
            (r#"{"a":"-Infinity"}"#, "-inf"),
            (r#"{"a":1e999}"#, "! column 'a': expected DOUBLE PRECISION, found 1e999"),
            (r#"{"a":"1.5"}"#, "! column 'a': expected DOUBLE PRECISION, found \"1.5\""),
        ],
    );
    check(
        &one(DataType::Decimal128(5, 2)),
        &[
            (r#"{"a":1}"#, "1.00"),
            (r#"{"a":-123.45}"#, "-123.45"),
            (r#"{"a":"99.9"}"#, "99.90"),
            (r#"{"a":0.005}"#, "0.01"),
            (r#"{"a":-0.0049}"#, "0.00"),
            (r#"{"a":1e2}"#, "100.00"),
            (r#"{"a":999.99}"#, "999.99"),
            (r#"{"a":999.995}"#, "! column 'a': expected DECIMAL(5,2), found 999.995 (too large)"),
            (r#"{"a":1000}"#, "! column 'a': expected DECIMAL(5,2), found 1000 (too large)"),
            (r#"{"a":"x"}"#, "! column 'a': expected DECIMAL(5,2), found x"),
        ],
    );
}

#[test]
fn scalars() {
    check(
        &one(DataType::Boolean),
        &[
            (r#"{"a":true}"#, "true"),
            (r#"{"a":false}"#, "false"),
            (r#"{"a":"true"}"#, "! column 'a': expected BOOLEAN, found \"true\""),
            (r#"{"a":1}"#, "! column 'a': expected BOOLEAN, found 1"),
            (r#"{"a":truefalse}"#, "! column 'a': expected BOOLEAN, found truefalse"),
        ],
    );
    check(
        &one(DataType::Binary),
        &[
            (r#"{"a":"AAEC"}"#, "000102"),
            (r#"{"a":"AAE="}"#, "0001"),
            (r#"{"a":"AAE"}"#, "0001"),
            (r#"{"a":"%"}"#, "! column 'a': expected base64, found \"%\""),
        ],
    );
    check(
        &one(DataType::Date32),
        &[
            (r#"{"a":"2024-02-29"}"#, "2024-02-29"),
            (r#"{"a":"2023-02-29"}"#, "! column 'a': expected DATE, found \"2023-02-29\""),
            (r#"{"a":19000}"#, "! column 'a': expected DATE, found 19000"),
        ],
    );
    check(
        &one(DataType::Time64(TimeUnit::Microsecond)),
        &[
            (r#"{"a":"23:59:59.123456789"}"#, "23:59:59.123456"),
            (r#"{"a":"07:30"}"#, "07:30:00"),
            (r#"{"a":"24:00"}"#, "! column 'a': expected TIME, found \"24:00\""),
        ],
    );
}

#[test]
fn timestamps() {
    let cases = [
        (r#"{"a":"2015-09-12T00:46:58.771Z"}"#, "2015-09-12T00:46:58.771"),
        (r#"{"a":"2015-09-12T02:46:58.771+02:00"}"#, "2015-09-12T00:46:58.771"),
        (r#"{"a":"2015-09-12 00:46:58.1234567"}"#, "2015-09-12T00:46:58.123457"),
        // As an INSERT of them: to the even one, and into the next second.
        (r#"{"a":"2015-09-12 00:46:58.1234565"}"#, "2015-09-12T00:46:58.123456"),
        (r#"{"a":"2015-09-12 00:46:58.1234564999999999999999999"}"#, "2015-09-12T00:46:58.123456"),
        (r#"{"a":"2015-09-12 23:59:59,9999995Z"}"#, "2015-09-13T00:00:00"),
        (r#"{"a":"1969-12-31 23:59:59.9999996"}"#, "1970-01-01T00:00:00"),
        (r#"{"a":"0001-01-01T00:00:00"}"#, "0001-01-01T00:00:00"),
        (r#"{"a":"9999-12-31 23:59:59.9999994"}"#, "9999-12-31T23:59:59.999999"),
        (r#"{"a":253402300799999}"#, "9999-12-31T23:59:59.999"),
        (r#"{"a":"2015-09-12 00:46:58+00"}"#, "2015-09-12T00:46:58"),
        (r#"{"a":"2015-09-12"}"#, "2015-09-12T00:00:00"),
        (r#"{"a":1442018818771}"#, "2015-09-12T00:46:58.771"),
        (r#"{"a":-1}"#, "1969-12-31T23:59:59.999"),
    ];
    check(&one(micros()), &cases);
    let zoned: Vec<(&str, String)> = cases.iter().map(|(input, text)| (*input, format!("{text}Z"))).collect();
    let zoned: Vec<(&str, &str)> = zoned.iter().map(|(input, text)| (*input, text.as_str())).collect();
    check(&one(micros_utc()), &zoned);
    check(
        &one(DataType::Timestamp(TimeUnit::Nanosecond, None)),
        &[
            (r#"{"a":"1677-09-21T00:12:43.145224192Z"}"#, "1677-09-21T00:12:43.145224192"),
            (
                r#"{"a":"1677-09-21T00:12:43.145224191Z"}"#,
                "! column 'a': expected TIMESTAMP, found \"1677-09-21T00:12:43.145224191Z\", which is outside of the years 1677 to 2262",
            ),
            (r#"{"a":"2015-09-12T25:00:00Z"}"#, "! column 'a': expected TIMESTAMP, found \"2015-09-12T25:00:00Z\""),
            (
                r#"{"a":99999999999999999}"#,
                "! column 'a': expected TIMESTAMP, found 99999999999999999, which is outside of the years 1677 to 2262 as milliseconds; is it in nanoseconds?",
            ),
        ],
    );
}

/// Of the years 1 to 9999 and no others: a time far ahead would take the watermark with it.
#[test]
fn far_dates_and_timestamps() {
    let far = "which is outside of the years 1 to 9999";
    for (value, reason) in [
        ("1767225600000000", format!("1767225600000000, {far} as milliseconds; is it in microseconds?")),
        ("1767225600000000000", format!("1767225600000000000, {far} as milliseconds; is it in nanoseconds?")),
        ("\"1767225600000000\"", format!("1767225600000000, {far} as milliseconds; is it in microseconds?")),
        ("-9223372036854775808", format!("-9223372036854775808, {far} as milliseconds; is it in nanoseconds?")),
        ("253402300800000", format!("253402300800000, {far} as milliseconds; is it in microseconds?")),
        ("\"+10000-01-01\"", format!("\"+10000-01-01\", {far}")),
        ("\"9999-12-31 23:59:59.9999996\"", format!("\"9999-12-31 23:59:59.9999996\", {far}")),
        ("\"9999-12-31 23:30-01:00\"", format!("\"9999-12-31 23:30-01:00\", {far}")),
        ("\"0000-12-31T23:59:59\"", format!("\"0000-12-31T23:59:59\", {far}")),
        ("\"-0044-03-15\"", format!("\"-0044-03-15\", {far}")),
    ] {
        let input = format!("{{\"a\":{value}}}");
        check(&one(micros()), &[(&input, &format!("! column 'a': expected TIMESTAMP, found {reason}"))]);
    }
    check(
        &one(DataType::Date32),
        &[
            (r#"{"a":"0001-01-01"}"#, "0001-01-01"),
            (r#"{"a":"9999-12-31"}"#, "9999-12-31"),
            (
                r#"{"a":"+10000-01-01"}"#,
                "! column 'a': expected DATE, found \"+10000-01-01\", which is outside of the years 1 to 9999",
            ),
            (
                r#"{"a":"0000-12-31"}"#,
                "! column 'a': expected DATE, found \"0000-12-31\", which is outside of the years 1 to 9999",
            ),
        ],
    );
}

#[test]
fn strings() {
    check(
        &one(DataType::Utf8),
        &[
            (r#"{"a":""}"#, ""),
            (r#"{"a":"plain text longer than a word"}"#, "plain text longer than a word"),
            (r#"{"a":"q\" b\\ s\/ \n\t\r\b\f"}"#, "q\" b\\ s/ \n\t\r\u{8}\u{c}"),
            (r#"{"a":"\u00e9\ud83d\ude00é😀"}"#, "é😀é😀"),
            (r#"{"a":"\ud83d"}"#, "! column 'a': a \\u escape before byte 12 is half a surrogate pair"),
            (r#"{"a":"\udc00\ud83d"}"#, "! column 'a': a \\u escape before byte 12 is half a surrogate pair"),
            (r#"{"a":"\x"}"#, "! column 'a': not JSON: expected an escape at byte 7, found 'x\"}'"),
            (
                "{\"a\":\"tab\there\"}",
                "! column 'a': not JSON: expected the end of a string at byte 9, found '\there\"}'",
            ),
            (r#"{"a":"open"#, "! column 'a': not JSON: expected the end of a string at byte 10, found the end"),
        ],
    );
    let decoded = decode(&one(DataType::Utf8), None, &[b"{\"a\":\"\xff\"}", b"{\"a\":\"ok\"}"]);
    assert_eq!(lines(&decoded), ["! not UTF-8 at byte 6", "ok"]);
}

#[test]
fn nested() {
    let inner = struct_of(vec![Field::new("x", DataType::Int32, false), column("tags", list_of(DataType::Utf8))]);
    let fields =
        vec![column("s", inner.clone()), column("l", list_of(inner)), column("n", list_of(list_of(DataType::Int8)))];
    check(
        &spec("json", &[], &schema(fields)),
        &[
            (
                r#"{"s":{"x":1,"tags":["a",null]},"l":[{"x":2},{"x":3,"tags":[]}],"n":[[1],[],[2,3]]}"#,
                "{x: 1, tags: [a, ~]}|[{x: 2, tags: ~}, {x: 3, tags: []}]|[[1], [], [2, 3]]",
            ),
            (r#"{"s":null,"l":[null],"n":[null]}"#, "~|[~]|[~]"),
            (r#"{"s":{"tags":["x"]}}"#, "! column 's.x': is NOT NULL and has no value"),
            (r#"{"s":{"x":1,"tags":["a",5]}}"#, "! column 's.tags.[1]': expected TEXT, found 5"),
            (r#"{"s":{"x":1},"s":{"x":2,"tags":["b"]},"l":[],"l":[{"x":4}]}"#, "{x: 2, tags: [b]}|[{x: 4, tags: ~}]|~"),
            (r#"{"l":[{"x":1},{"x":"2"}]}"#, "! column 'l.[1].x': expected INT, found \"2\""),
            (r#"{"l":{}}"#, "! column 'l': expected STRUCT<x INT, tags TEXT[]>[], found an object"),
            (r#"{"n":[[1],[2}"#, "! column 'n.[1]': not JSON: expected ',' or ']' at byte 12, found '}'"),
            (r#"{"n":[[9]]}"#, "~|~|[[9]]"),
        ],
    );
}

#[test]
fn the_same_columns_in_other_arrow_types() {
    let fields = vec![
        column("v", DataType::Utf8View),
        column("l", DataType::LargeUtf8),
        column("b", DataType::BinaryView),
        column("t", DataType::Time32(TimeUnit::Second)),
        column("w", DataType::Decimal256(50, 10)),
        column("f", DataType::Float32),
    ];
    check(
        &spec("json", &[], &schema(fields)),
        &[(
            r#"{"v":"a string of more than twelve bytes","l":"l","b":"AAEC","t":"00:01:02","w":1234567890123456789012345678901234567890.0000000001,"f":0.1}"#,
            "a string of more than twelve bytes|l|000102|00:01:02|1234567890123456789012345678901234567890.0000000001|0.1",
        )],
    );
}

#[test]
fn bad_records_leave_no_trace() {
    let fields = vec![column("s", DataType::Utf8), column("l", list_of(DataType::Int64)), column("i", DataType::Int64)];
    let spec = spec("json", &[], &schema(fields));
    let good: Vec<String> = (0..500).map(|i| format!(r#"{{"s":"row {i}","l":[{i},null],"i":{i}}}"#)).collect();
    let bad =
        [r#"{"s":"x","l":[1,2,"3"],"i":1}"#, r#"{"s":"half"#, r#"{"i":1,"l":[1],"s":{}"#, "null", r#"{"l":[[],1]}"#];
    let mut mixed: Vec<&[u8]> = Vec::new();
    for (at, value) in good.iter().enumerate() {
        mixed.push(value.as_bytes());
        mixed.push(bad[at % bad.len()].as_bytes());
    }
    let clean: Vec<&[u8]> = good.iter().map(|v| v.as_bytes()).collect();
    let (mixed, clean) = (decode(&spec, None, &mixed), decode(&spec, None, &clean));
    assert_eq!(mixed.batch, clean.batch);
    assert_eq!(mixed.rows, (0..500).map(|i| i * 2).collect::<Vec<u32>>());
    assert_eq!(mixed.bad.len(), 500);
}

#[test]
fn records_without_value_and_too_long() {
    let schema = schema(vec![column("a", DataType::Utf8)]);
    let spec = spec("json", &[("max_record_bytes", "12")], &schema);
    let mut decoder = Decoder::new(&spec, schema, &[0], None).unwrap();
    let mut all = records(&[br#"{"a":"fits"}"#, br#"{"a":"longer"}"#]);
    all.push(RecordRef { offset: 2, ..RecordRef::default() });
    let decoded = decoder.decode(&all).unwrap();
    assert_eq!(lines(&decoded), ["fits", "! 14 bytes are more than max_record_bytes = 12", "! no value"]);
}

/// Of a struct, only the fields that are asked for are built; what is bad stays bad.
#[test]
fn some_fields_of_a_struct() {
    let inner =
        vec![column("a", DataType::Utf8), Field::new("b", DataType::Int64, false), column("c", DataType::Int64)];
    let fields = vec![column("s", DataType::Struct(inner.into())), column("n", DataType::Int64)];
    let spec = spec("json", &[], &schema(fields));
    check(
        &spec,
        &[
            (r#"{"s":{"a":"x","b":1,"c":2},"n":1}"#, "{a: x, b: 1, c: 2}|1"),
            (r#"{"n":2}"#, "~|2"),
            (r#"{"s":{"a":5,"b":1,"c":2},"n":3}"#, "! column 's.a': expected TEXT, found 5"),
            (r#"{"s":{"a":"y","c":3},"n":4}"#, "! column 's.b': is NOT NULL and has no value"),
            (r#"{"s":{"c":4,"b":7,"c":6},"n":5}"#, "{a: ~, b: 7, c: 6}|5"),
            (r#"{"s":null,"n":6}"#, "~|6"),
            (r#"{"s":7,"n":7}"#, "! column 's': expected STRUCT<a TEXT, b BIGINT, c BIGINT>, found 7"),
        ],
    );
    for wrong in [vec![], vec![3]] {
        let parts = [ColumnPart { at: 0, fields: Some(wrong) }];
        assert!(Decoder::with_parts(&spec, spec.schema().clone(), &parts, None).is_err());
    }
}
