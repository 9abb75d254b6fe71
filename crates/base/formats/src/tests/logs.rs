use std::io::Read;
use std::path::Path;

use arrow::array::AsArray;
use arrow::datatypes::{Int32Type, Int64Type};

use super::*;
use crate::format_columns;

fn log() -> FormatSpec {
    FormatSpec::new("combined_log", &BTreeMap::new(), None).unwrap()
}

#[test]
fn lines_of_both_formats() {
    check(
        &log(),
        &[
            (
                r#"83.149.9.216 - - [17/May/2015:10:05:03 +0000] "GET /a?b=c HTTP/1.1" 200 203023 "http://x/" "Mozilla/5.0 (X)""#,
                "83.149.9.216|~|~|2015-05-17T10:05:03|GET|/a?b=c|HTTP/1.1|200|203023|http://x/|Mozilla/5.0 (X)",
            ),
            (
                r#"::1 id frank [10/Oct/2000:13:55:36 -0700] "GET /apache_pb.gif HTTP/1.0" 200 2326"#,
                "::1|id|frank|2000-10-10T20:55:36|GET|/apache_pb.gif|HTTP/1.0|200|2326|~|~",
            ),
            (r#"h - - [17/May/2015:10:05:03 +0530] "-" 408 - "-" "-""#, "h|~|~|2015-05-17T04:35:03|~|~|~|408|~|~|~"),
            (
                r#"h - - [17/May/2015:10:05:03 +0000] "\x16\x03\x01" 400 226 "-" "-""#,
                r"h|~|~|2015-05-17T10:05:03|~|\x16\x03\x01|~|400|226|~|~",
            ),
            (
                r#"h - - [17/May/2015:10:05:03 +0000] "GET /only" 400 0 "-" "a \"quoted\" \\ agent""#,
                r#"h|~|~|2015-05-17T10:05:03|~|GET /only|~|400|0|~|a "quoted" \ agent"#,
            ),
            (
                r#"h - - [17/May/2015:10:05:03 +0000] "GET /\"x\" HTTP/1.1" - - "" """#,
                r#"h|~|~|2015-05-17T10:05:03|GET|/"x"|HTTP/1.1|~|~||"#,
            ),
        ],
    );
}

#[test]
fn lines_that_do_not_fit() {
    check(
        &log(),
        &[
            ("", "! not a log line: expected the host, found ''"),
            ("hello", "! not a log line: expected the host, found 'hello'"),
            (
                r#"h - - [17/May/2015:10:05:03] "GET / HTTP/1.1" 200 1"#,
                r#"! not a log line: expected the time, found '[17/May/2015:10:05:03] "GET / HTTP/1.1" 200 1'"#,
            ),
            (
                r#"h - - [31/Jun/2015:10:05:03 +0000] "GET / HTTP/1.1" 200 1"#,
                r#"! not a log line: expected the time, found '[31/Jun/2015:10:05:03 +0000] "GET / HTTP/1.1" 200 1'"#,
            ),
            (
                r#"h - - [17/May/2015:10:05:03 +0000] "GET / HTTP/1.1" abc 1"#,
                "! not a log line: expected the status, found 'abc'",
            ),
            (
                r#"h - - [17/May/2015:10:05:03 +0000] "GET / HTTP/1.1" 200 1 "-""#,
                "! not a log line: expected the agent, found ''",
            ),
            (
                r#"h - - [17/May/2015:10:05:03 +0000] "GET / HTTP/1.1" 200 1 "-" "cut"#,
                "! not a log line: the agent has no closing quote",
            ),
            (
                r#"h - - [17/May/2015:10:05:03 +0000] "GET / HTTP/1.1" 200 1 "-" "a" more"#,
                "! not a log line: text follows its end: ' more'",
            ),
            (
                r#"h - - [17/May/2015:10:05:03 +0000] "GET / HTTP/1.1" 99999999999 1"#,
                "! column 'status': expected INT, found \"99999999999\"",
            ),
        ],
    );
}

#[test]
fn some_of_the_columns() {
    let schema = schema(vec![column("ts", micros_utc()), column("status", DataType::UInt16)]);
    check(
        &spec("combined_log", &[], &schema),
        &[(r#"h - - [17/May/2015:10:05:03 +0000] "GET / HTTP/1.1" 200 1"#, "2015-05-17T10:05:03Z|200")],
    );
}

/// The log that `examples/access-log` ships.
#[test]
fn a_real_log() {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../examples/access-log/data/apache_access_2015-05.log.gz");
    let mut text = String::new();
    let file = std::fs::File::open(path).unwrap();
    flate2::read::GzDecoder::new(file).read_to_string(&mut text).unwrap();
    let values: Vec<&[u8]> = text.lines().map(str::as_bytes).collect();
    let decoded = decode(&log(), None, &values);
    assert_eq!((values.len(), decoded.rows.len(), decoded.bad.len()), (10_000, 9_999, 1));
    assert_eq!(decoded.bad[0].1, "not a log line: the agent has no closing quote");

    let schema = format_columns("combined_log").unwrap();
    let at = |name: &str| decoded.batch.column(schema.index_of(name).unwrap());
    let mut statuses = BTreeMap::new();
    for status in at("status").as_primitive::<Int32Type>().iter().flatten() {
        *statuses.entry(status).or_insert(0) += 1;
    }
    let expected = [(200, 9125), (304, 445), (404, 213), (301, 164), (206, 45), (500, 3)];
    for (status, count) in expected {
        assert_eq!(statuses.get(&status), Some(&count), "status {status}");
    }
    let hosts: std::collections::BTreeSet<_> = at("host").as_string::<i32>().iter().flatten().collect();
    assert_eq!(hosts.len(), 1753);
    // Added up from the text itself, by another way than the decoder's.
    let bytes: i64 = text
        .lines()
        .filter(|line| line.matches('"').count() % 2 == 0)
        .filter_map(|line| line.split("\" ").nth(1)?.split(' ').nth(1)?.parse::<i64>().ok())
        .sum();
    assert_eq!(at("bytes").as_primitive::<Int64Type>().iter().flatten().sum::<i64>(), bytes);
    assert_eq!(at("method").null_count() + at("path").null_count() + at("ts").null_count(), 0);

    let mut lines = Vec::new();
    let encoder = crate::Encoder::new(&log(), schema, None).unwrap();
    lines.extend(encoder.encode(&decoded.batch).unwrap());
    let again = decode(&log(), None, &lines.iter().map(AsRef::as_ref).collect::<Vec<_>>());
    assert_eq!(again.batch, decoded.batch);
}
