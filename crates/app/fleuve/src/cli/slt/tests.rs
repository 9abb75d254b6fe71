use std::path::{Path, PathBuf};
use std::time::Duration;

use fleuve_types::Error;

use super::address::Address;
use super::compare::{difference, values};
use super::database::{Answer, Database, Server};
use super::external::External;
use super::foreign::{Here, created, here, mentions, on_postgresql, type_here};
use super::message::{Fit, Message};
use super::parse::{Record, Retry, Rows, Sort, Wanted, read};
use super::run::{Options, Tally, Way, run};
use super::show::{Kind, decimal, float};
use super::vars::Variables;

fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("case.slt");
    std::fs::write(&path, text).unwrap();
    (folder, path)
}

fn records(text: &str) -> Vec<Record> {
    read(&file(text).1, Server::Own.labels()).unwrap()
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
fn what_is_not_known_or_wrong_is_one_record_and_the_rest_is_read() {
    let cases = [
        ("frobnicate x\ny\n----\nz\n", Wanted::Unknown("the directive 'frobnicate' is not known".into())),
        ("SELECT 1\n", Wanted::Unknown("the directive 'SELECT' is not known".into())),
        ("control colour red\n", Wanted::Unknown("the directive 'control colour red' is not known".into())),
        ("system error\nexit 1\n", Wanted::Unknown("the directive 'system' is not known".into())),
        ("statement maybe\nx\n", Wanted::Wrong("after 'statement', ok, error or count N is wanted".into())),
        ("statement ok\nx\n----\n1\n", Wanted::Wrong("a statement has no rows: use 'query'".into())),
        ("statement ok\n", Wanted::Wrong("there is no SQL after this line".into())),
        ("query I nosort lab more\nx\n", Wanted::Wrong("'more': retry N backoff TIME is wanted, or nothing".into())),
        ("sleep long\n", Wanted::Wrong("'long' is not a time such as 1s".into())),
        ("let a b\nx\n", Wanted::Wrong("'a b' is no name of a variable".into())),
        (
            "statement error a\nx\n----\nb\n\n\n",
            Wanted::Wrong("the error is said twice: after 'error' and after '----'".into()),
        ),
    ];
    for (text, wanted) in cases {
        let all = records(&format!("\n{text}\nstatement ok\nSELECT 2\n"));
        assert_eq!(all.len(), 2, "{text} {all:#?}");
        assert_eq!((all[0].line, &all[0].wanted), (2, &wanted), "{text}");
        assert_eq!(all[1].sql, "SELECT 2", "{text}");
    }
    let wrong = |text: &str| match &records(text)[0].wanted {
        Wanted::Wrong(why) => why.clone(),
        other => panic!("{other:?}"),
    };
    assert!(wrong("statement error (\nx\n").to_lowercase().contains("regular expression"));
    assert!(wrong("include nowhere.slt\n").contains("nowhere.slt"));
}

#[test]
fn a_file_does_not_include_itself() {
    let (folder, path) = file("include other.slt\n\nstatement ok\nSELECT 1\n");
    std::fs::write(folder.path().join("other.slt"), "include *.slt\n\nstatement ok\nSELECT 2\n").unwrap();
    let all = read(&path, Server::Own.labels()).unwrap();
    assert!(matches!(&all[0].wanted, Wanted::Wrong(why) if why.ends_with("case.slt includes itself")), "{all:#?}");
    assert_eq!(all.iter().map(|r| r.sql.as_str()).collect::<Vec<_>>(), ["", "SELECT 2", "SELECT 1"]);
}

#[test]
fn what_is_created_has_a_name() {
    let name = |sql: &str| created(sql).unwrap_or_default();
    assert_eq!(name("-- x\nCREATE OR REPLACE MATERIALIZED VIEW v AS SELECT 1"), "v");
    assert_eq!(name("create table if not exists \"T\"(a INT)"), "\"T\"");
    assert_eq!(name("INSERT INTO t VALUES (1)"), "");
}

#[test]
fn what_stands_beside_a_record_is_read() {
    let all = records(
        "statement ok retry 3 backoff 20ms\nSELECT 1\n\nquery I rowsort retry 2 backoff 1s\nSELECT 2\n\n\
         query I lab retry 1 backoff 1s\nSELECT 3\n\ncontrol substitution on\nconnection two\n\
         statement error retry 1 backoff 1s\nSELECT 4\n----\nx\n\n\nlet (a, b)\nSELECT 5\n\n\
         system ok\necho\n----\n1\n\n2\n\n\nquery\nCREATE TABLE t AS VALUES (1)\n\n\
         query I\nINSERT INTO t VALUES (2)\n----\n1\n",
    );
    let retry = |times, ms| Some(Retry { times, pause: Duration::from_millis(ms) });
    let retries: Vec<_> = all.iter().map(|r| r.retry).collect();
    assert_eq!(retries, [retry(3, 20), retry(2, 1000), retry(1, 1000), retry(1, 1000), None, None, None, None]);
    let Wanted::Rows(rows) = &all[2].wanted else { panic!("{all:#?}") };
    assert_eq!((rows.sort, rows.label.as_deref()), (Sort::Nothing, Some("lab")));
    assert_eq!(all[3].wanted, Wanted::Failure(Message::Exactly("x".into())));
    let substituted: Vec<_> = all.iter().map(|r| r.substituted).collect();
    assert_eq!(substituted, [false, false, false, true, true, true, true, true]);
    let connections: Vec<_> = all.iter().map(|r| r.connection.as_deref()).collect();
    assert_eq!(connections, [None, None, None, Some("two"), None, None, None, None]);
    assert_eq!(all[4].wanted, Wanted::Variables(vec!["a".into(), "b".into()]));
    assert_eq!(all[5].wanted, Wanted::System(Some("1\n\n2".into())));
    assert_eq!((&all[6].wanted, &all[7].wanted), (&Wanted::Done(None), &Wanted::Done(Some(1))));
}

#[test]
fn an_error_of_datafusion_is_compared_where_it_can_be() {
    let matches = |text: &str| Message::new(&[text]).unwrap();
    let table = Error::not_found("there is no stream or view \"nix\"");
    let cast = Error::input("Cannot cast string 'c' to value of INT type");
    let column = Error::not_found("there is no column \"x\"").hint("there are a, b");
    let cases = [
        ("no column", &column, Fit::Yes),
        ("no table", &column, Fit::No),
        ("Error during planning: table 'datafusion\\.public\\.nix' not found", &table, Fit::Yes),
        ("DataFusion error: Error during planning: table 'datafusion.public.nox' not found", &table, Fit::No),
        ("Error during planning: table 'nix.public.nox' not found", &table, Fit::No),
        ("DataFusion error: Arrow error: Cast error: Cannot cast string 'c' to value of Int32 type", &cast, Fit::Yes),
        ("DataFusion error: Arrow error: Cast error: Cannot cast string 'd' to value", &cast, Fit::Unknown),
        ("DataFusion error: Schema error: No field named x\\. Valid fields are t\\.a\\.", &column, Fit::Yes),
        ("DataFusion error: Schema error: No field named t\\.y\\.", &column, Fit::No),
        ("No field named x", &table, Fit::No),
        ("DataFusion error: Optimizer rule 'simplify' failed", &table, Fit::Unknown),
    ];
    for (text, error, fit) in cases {
        assert_eq!(matches(text).fits(error), fit, "{text}: {error}");
    }
    let long = "DataFusion error: Optimizer rule 'x' failed\ncaused by\nArrow error: Divide by zero error";
    assert_eq!(Message::Exactly(long.into()).fits(&Error::input("division by zero")), Fit::Yes);
    assert_eq!(Message::Any.fits(&Error::bug("x")), Fit::No);
    assert_eq!(Message::Any.fits(&table), Fit::Yes);
    assert_eq!(matches("DataFusion error").fits(&Error::bug("x")), Fit::No);
}

#[test]
fn variables_are_replaced() {
    let mut variables = Variables::new("main".into());
    variables.bind("a", "1".into());
    let mut put = |text: &str| variables.put_into(text);
    assert_eq!(put("$a${a}b \\$a \\\\ ${none_of_it:x$a\\}} $__DATABASE__").unwrap(), "11b $a \\ x1} main");
    assert!(put("$none_of_it").unwrap_err().contains("none_of_it"));
    assert_eq!(put("${a:$none_of_it}").unwrap(), "1");
    for wrong in ["$", "${a", "${a:b", "\\x", "${a-}"] {
        assert!(put(wrong).is_err(), "{wrong}");
    }
    let folder = put("$__TEST_DIR__").unwrap();
    assert!(Path::new(&folder).is_dir());
    drop(variables);
    assert!(!Path::new(&folder).exists());
}

#[test]
fn an_address_is_as_libpq_has_it() {
    let login = |text: &str, environment: &[(&str, &str)]| {
        let said = |name: &str| environment.iter().find(|(n, _)| *n == name).map(|(_, value)| value.to_string());
        let login = text.parse::<Address>().unwrap().login(said).unwrap();
        let password = login.password.unwrap_or_default();
        format!("{} {} {} {password} {}", login.host, login.port, login.user, login.database)
    };
    let all = [("PGHOST", "h"), ("PGPORT", "1"), ("PGUSER", "u"), ("PGPASSWORD", "p"), ("PGDATABASE", "d")];
    assert_eq!(login("127.0.0.1:5433", &[]), "127.0.0.1 5433 fleuve  main");
    assert_eq!(login("127.0.0.1:5433", &all), "127.0.0.1 5433 u p d");
    assert_eq!(login("postgres://", &all), "h 1 u p d");
    assert_eq!(login("postgresql://ann:p%40%2F:x@[::1]:7/db", &all), "::1 7 ann p@/:x db");
    assert_eq!(login("postgres://ann@host", &[]), "host 5432 ann  ann");
    assert_eq!(login("postgres://%2Ftmp/db?user=bob&sslmode=prefer&host=/run", &[]), "/run 5432 bob  db");
    for wrong in ["host", "postgres://h:x", "postgres://h?sslmode=require", "postgres://h?x=y", "postgres://%FF"] {
        assert!(wrong.parse::<Address>().is_err(), "{wrong}");
    }
    for secret in ["ann:s3/c@h", "ann:1/s3c@h", "ann:s3?c=s3c@h", "ann:x@h:s3c", "h?password=s3c&s3c=1", "%FF:s3c@h"] {
        let told = format!("postgres://{secret}").parse::<Address>().unwrap_err();
        assert!(!told.contains("s3"), "{told}");
    }
    assert!("ann:secret@h:5432".parse::<Address>().is_err());
    let secret = "postgres://ann:secret@h".parse::<Address>().unwrap();
    assert!(!format!("{secret:?}").contains("secret"));
}

#[test]
fn csv_files_are_read_as_rows() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.csv"), "a;b\n1;'x;''y'\n;\n").unwrap();
    let table = |sql: &str| External::new(sql).unwrap();
    let inserts = |table: &External| -> Vec<String> {
        table.inserts(folder.path(), type_here).unwrap().collect::<Result<_, _>>().unwrap()
    };
    let one = table(
        "CREATE EXTERNAL TABLE t (a BIGINT UNSIGNED NOT NULL, b VARCHAR) STORED AS CSV LOCATION 'a.csv' \
         OPTIONS ('format.delimiter' ';', 'quote' '''', 'FORMAT.HAS_HEADER' true)",
    );
    assert_eq!(one.columns(folder.path(), type_here).unwrap(), "a DECIMAL(20,0) NOT NULL, b VARCHAR");
    assert_eq!(
        inserts(&one),
        ["INSERT INTO t VALUES (CAST('1' AS DECIMAL(20,0)), CAST('x;''y' AS VARCHAR)), (NULL, NULL)"]
    );
    let inferred = table("CREATE EXTERNAL TABLE t STORED AS CSV LOCATION '*.csv' OPTIONS (delimiter ';', quote '''')");
    assert_eq!(inferred.columns(folder.path(), type_here).unwrap(), "\"a\" BIGINT, \"b\" TEXT");
    let nowhere = table("CREATE EXTERNAL TABLE t (a INT) STORED AS CSV LOCATION 'b.csv'");
    assert_eq!(nowhere.columns(folder.path(), type_here).unwrap_err().message, "b.csv is not there");
    for (clause, why) in [
        ("STORED AS PARQUET LOCATION 'x'", "STORED AS PARQUET is not offered"),
        ("STORED AS CSV LOCATION 's3://x/y.csv'", "is not a file"),
        ("STORED AS CSV LOCATION 'x' OPTIONS ('format.colour' 'red')", "colour"),
        ("STORED AS CSV PARTITIONED BY (a) LOCATION 'x'", "PARTITIONED BY"),
    ] {
        let (reason, name) = External::new(&format!("CREATE EXTERNAL TABLE t (b INT) {clause}")).unwrap_err();
        assert!(reason.contains(why) && name.as_deref() == Some("t"), "{reason}");
    }
}

#[test]
fn on_postgresql_statements_stay_as_they_are() {
    let same =
        ["CREATE TABLE t AS VALUES (1)", "CREATE TABLE t (a INT)", "CREATE VIEW v AS SELECT 1", "UPDATE t SET a = 1"];
    for sql in same {
        assert_eq!(on_postgresql(sql, false), Here::Same, "{sql}");
    }
    let typed = Here::Table {
        name: "t".into(),
        columns: Some("a DOUBLE PRECISION".into()),
        query: Some("VALUES (1)".into()),
        drop: false,
    };
    assert_eq!(on_postgresql("CREATE TABLE t (a DOUBLE) AS VALUES (1)", false), typed);
    let copied = Here::Copy { sql: "COPY t (a)\nFROM STDIN CSV".into(), file: "a.csv".into() };
    assert_eq!(on_postgresql("COPY t (a)\nFROM  'a.csv' CSV", false), copied);
    let untyped = Here::Table { name: "t".into(), columns: None, query: Some("VALUES (1)".into()), drop: false };
    assert_eq!(on_postgresql("CREATE TABLE t AS VALUES (1)", true), untyped);
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
    for (lines, like) in [
        (&["2 <slt:ignore>", "1 (empty)"][..], true),
        (&["<slt:ignore>(empty)"], true),
        (&["2 b c<slt:ignore>"], true),
        (&["b c<slt:ignore>"], false),
        (&["2 <slt:ignore>c d<slt:ignore>"], false),
        (&["<slt:ignore>b c"], false),
    ] {
        assert_eq!(difference(&wanted("IT", lines), &found, Sort::Nothing).is_none(), like, "{lines:?}");
    }
}

#[test]
fn floats_are_near_and_nothing_else_is() {
    let found = answer(&[Kind::Float, Kind::Decimal], &[&["0.333333333333", "1.25"]]);
    assert_eq!(difference(&wanted("RR", &["0.333333333\t1.25"]), &found, Sort::Rows), None);
    assert_eq!(difference(&wanted("RR", &["0.333333333333 1.2500"]), &found, Sort::Rows), None);
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
    assert_eq!(here("-- a table\n/* a table */ DROP TABLE t"), Here::Instead("DROP STREAM t".into()));
    let missing = Here::Missing {
        reason: "CREATE EXTERNAL TABLE … STORED AS ARROW is not offered".into(),
        name: Some("aggregate_test_100".into()),
    };
    assert_eq!(here("CREATE EXTERNAL TABLE aggregate_test_100 (c1 VARCHAR) STORED AS ARROW LOCATION 'x'"), missing);
    assert!(matches!(here("CREATE UNBOUNDED EXTERNAL TABLE t (a INT) STORED AS CSV LOCATION 'x'"), Here::External(_)));
    assert!(mentions("SELECT * FROM T1 x", "t1") && !mentions("SELECT * FROM t10", "t1"));
}

async fn run_text(text: &str, way: Way) -> Tally {
    let mut database = Database::open(&Server::Own).await.unwrap();
    let mut variables = Variables::new("main".into());
    let options = Options { system: true, ..Options::default() };
    let tally = run(&records(text), way, &options, &mut variables, &mut database).await.unwrap();
    database.close().await.unwrap();
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
CREATE EXTERNAL TABLE e (a INT) STORED AS PARQUET LOCATION 'e'

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

#[tokio::test(flavor = "multi_thread")]
async fn variables_commands_and_tries() {
    let text = "\
statement ok
CREATE TABLE t AS VALUES (1), (2)

control substitution on

let n
SELECT count(*) FROM t

query I
SELECT column1 FROM t WHERE column1 = $n
----
2

system ok
echo $n > $__TEST_DIR__/n; cat $__TEST_DIR__/n
----
2


connection two
query I retry 1 backoff 1ms
SELECT 1
----
2

query I
INSERT INTO t VALUES (3)
----
1

system ok
exit 3
";
    for way in [Way::Plain, Way::Before, Way::After] {
        let tally = run_text(text, way).await;
        let failed = tally.failures.join("\n");
        assert!(failed.contains("exit status: 3") && failed.contains("1 rows, 1 are wanted"), "{way:?} {failed}");
        // A view that is there before has no value for the variable.
        let passed = if way == Way::Before { 4 } else { 5 };
        assert_eq!((tally.failures.len(), tally.passed), (2, passed), "{way:?} {failed} {:?}", tally.skipped);
    }
}
