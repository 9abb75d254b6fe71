use std::path::PathBuf;

use super::compare::{difference, values};
use super::database::{Answer, Database};
use super::foreign::{Here, here, mentions};
use super::parse::{Message, Record, Rows, Sort, Wanted, read};
use super::run::{Tally, Way, run};
use super::show::{Kind, decimal, float};

fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("case.slt");
    std::fs::write(&path, text).unwrap();
    (folder, path)
}

fn records(text: &str) -> Vec<Record> {
    read(&file(text).1).unwrap()
}

fn refused(text: &str) -> String {
    let error = read(&file(text).1).unwrap_err();
    format!("{}: {}", error.location.map_or(0, |l| l.line), error.message)
}

#[test]
fn a_file_is_read() {
    let all = records(
        "# a comment\nstatement ok\nSELECT\n1\n\nstatement count 3\nINSERT\n\nstatement error no such\nx\n\n\
         # noview\nquery IT rowsort lab\nSELECT 2\n----\n1\ta\n2\t(empty)\n\nquery error\nSELECT 3\n----\nall\nof it\n\n\n\
         onlyif mysql # theirs\nstatement ok\nfor others\n\nskipif postgres\nquery\nSELECT 4\n\nhalt\n\nnonsense\n",
    );
    let wanted: Vec<&Wanted> = all.iter().map(|r| &r.wanted).collect();
    assert_eq!(wanted[0], &Wanted::Done(None));
    assert_eq!((all[0].line, all[0].sql.as_str()), (2, "SELECT\n1"));
    assert_eq!(wanted[1], &Wanted::Done(Some(3)));
    assert_eq!(wanted[2], &Wanted::Failure(Message::Matches("no such".into())));
    let Wanted::Rows(rows) = wanted[3] else { panic!("{wanted:?}") };
    assert_eq!((rows.types.as_str(), rows.sort, rows.label.as_deref()), ("IT", Sort::Rows, Some("lab")));
    assert_eq!(rows.lines, ["1\ta", "2\t(empty)"]);
    assert!(all[3].noview && !all[4].noview);
    assert_eq!(wanted[4], &Wanted::Failure(Message::Exactly("all\nof it".into())));
    assert_eq!(all[5].sql, "SELECT 4");
    assert_eq!(all.len(), 6);
}

#[test]
fn what_is_not_offered_says_where() {
    assert_eq!(refused("\nsystem ok\necho\n"), "2: 'system ok': this directive of sqllogictest is not offered");
    assert!(refused("statement maybe\nx\n").starts_with("1: after 'statement'"));
    assert!(refused("query I upsidedown\nx\n").contains("rowsort"));
    assert!(refused("\n\nSELECT 1\n").starts_with("3: 'SELECT 1': a directive"));
    assert!(refused("statement error (\nx\n").starts_with("1: "));
    assert!(refused("include nowhere.slt\n").contains("nowhere.slt"));
}

fn answer(kinds: &[Kind], rows: &[&[&str]]) -> Answer {
    let rows = rows.iter().map(|row| row.iter().map(ToString::to_string).collect()).collect();
    Answer { kinds: kinds.to_vec(), rows, count: None }
}

fn wanted(types: &str, lines: &[&str]) -> Rows {
    Rows { types: types.into(), lines: lines.iter().map(ToString::to_string).collect(), ..Rows::default() }
}

#[test]
fn rows_are_equal_in_any_of_their_forms() {
    let found = answer(&[Kind::Integer, Kind::Text], &[&["2", "b c"], &["1", ""]]);
    for lines in [&["2\tb c", "1\t(empty)"][..], &["2 b c", "1 (empty)"], &["2", "b c", "1", "(empty)"]] {
        assert_eq!(difference(&wanted("IT", lines), &found, Sort::Nothing), None);
    }
    let other = wanted("IT", &["1\t(empty)", "2\tb c"]);
    assert!(difference(&other, &found, Sort::Nothing).unwrap().contains("another order"));
    assert_eq!(difference(&other, &found, Sort::Rows), None);
    let text = difference(&wanted("IT", &["2\tb c", "1\tx"]), &found, Sort::Rows).unwrap();
    assert!(text.contains("- 1\tx") && text.contains("+ 1\t(empty)"), "{text}");
    assert!(difference(&wanted("II", &[]), &found, Sort::Rows).unwrap().contains("column 2"));
    assert!(difference(&wanted("I", &[]), &found, Sort::Rows).unwrap().contains("2 columns"));
    assert_eq!(values(&found, Sort::Values), ["(empty)", "1", "2", "b c"]);
}

#[test]
fn floats_are_near_and_nothing_else_is() {
    let found = answer(&[Kind::Float, Kind::Decimal], &[&["0.333333333333", "1.25"]]);
    assert_eq!(difference(&wanted("RR", &["0.333333333\t1.25"]), &found, Sort::Rows), None);
    assert!(difference(&wanted("RR", &["0.3334\t1.25"]), &found, Sort::Rows).is_some());
    assert!(difference(&wanted("RR", &["0.333333333\t1.2500000001"]), &found, Sort::Rows).is_some());
}

#[test]
fn numbers_are_plain() {
    assert_eq!(decimal("12.500"), "12.5");
    assert_eq!(decimal("-0.000"), "0");
    assert_eq!(decimal("9.99999999999951"), "10");
    assert_eq!(decimal("-99.9999999999996"), "-100");
    assert_eq!(decimal("0.1234567890124"), "0.123456789012");
    assert_eq!(decimal("1000"), "1000");
    assert_eq!(float(1e20), "100000000000000000000");
    assert_eq!(float(f64::NEG_INFINITY), "-Infinity");
    assert_eq!(float(0.1 + 0.2), "0.3");
}

#[test]
fn statements_of_others_are_put_in_our_words() {
    let table = Here::Table {
        name: "t".into(),
        columns: Some("a INT NOT NULL, b VARCHAR".into()),
        query: Some("VALUES (1, 'x')".into()),
        drop: false,
    };
    assert_eq!(here("CREATE TABLE t(a INT NOT NULL, b VARCHAR) AS VALUES (1, 'x');"), table);
    assert_eq!(here("create view v as select 1"), Here::Instead("create MATERIALIZED view v as select 1".into()));
    assert_eq!(here("DROP TABLE t"), Here::Instead("DROP STREAM t".into()));
    assert_eq!(here("SELECT 1"), Here::Same);
    assert_eq!(
        here("CREATE EXTERNAL TABLE aggregate_test_100 (c1 VARCHAR) STORED AS CSV"),
        Here::Missing {
            reason: "CREATE EXTERNAL TABLE is not offered".into(),
            name: Some("aggregate_test_100".into())
        }
    );
    assert!(mentions("SELECT * FROM T1 x", "t1") && !mentions("SELECT * FROM t10", "t1"));
}

async fn run_text(text: &str, way: Way) -> Tally {
    let mut database = Database::open(None).await.unwrap();
    let tally = run(&records(text), way, &mut database).await.unwrap();
    database.close(&[]).await.unwrap();
    tally
}

const CASE: &str = "\
statement ok
CREATE STREAM s (a BIGINT, b TEXT) WITH (format = 'json')

statement count 2
INSERT INTO s VALUES (1, 'x'), (2, 'y')

query I nosort total
SELECT sum(a) FROM s
----
3

query TI rowsort
SELECT b, a FROM s
----
1 values hashing to 00000000000000000000000000000000

query IT valuesort
SELECT a, b FROM s
----
4 values hashing to a07fbfebb0fbe4a8e0a0b9a4d3b1a3a5

statement error is not offered
UPDATE s SET a = 1

statement ok
CREATE EXTERNAL TABLE e (a INT) STORED AS CSV

query I
SELECT a FROM e

query I
SELECT a + 1 FROM s
----
7
";

#[tokio::test(flavor = "multi_thread")]
async fn each_way_finds_what_is_wrong() {
    for way in [Way::Plain, Way::Before, Way::After] {
        let tally = run_text(CASE, way).await;
        // The two hashes that are made up, and the last query.
        assert_eq!(tally.failures.len(), 3, "{way:?} {:#?}", tally.failures);
        assert!(tally.failures.iter().any(|f| f.contains("- 7") && f.contains("+ 2")), "{:#?}", tally.failures);
        let skipped: usize = tally.skipped.values().sum();
        assert_eq!(skipped, 2, "{:?}", tally.skipped);
        // Errors are for the other ways.
        assert_eq!(tally.passed, if way == Way::Before { 3 } else { 4 }, "{way:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_are_streams_and_come_anew() {
    let text = "\
statement ok
CREATE TABLE t AS VALUES (1, 'a'), (2, NULL)

query IT rowsort
SELECT * FROM t
----
1 a
2 NULL

statement ok
DROP TABLE t

statement ok
CREATE TABLE t (x DOUBLE)

statement ok
INSERT INTO t VALUES (0.5), (NULL)

query R rowsort
SELECT x FROM t
----
0.5
NULL
";
    for way in [Way::Plain, Way::Before, Way::After] {
        let tally = run_text(text, way).await;
        assert_eq!(
            (tally.failures.len(), tally.skipped.len()),
            (0, 0),
            "{way:?} {:#?} {:?}",
            tally.failures,
            tally.skipped
        );
        assert_eq!(tally.passed, 6, "{way:?}");
    }
}
