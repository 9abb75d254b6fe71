mod whole;

use fleuve_sql::ProjectFile;

use super::file::{Test, Wanted, read};
use super::report::{junit, told};
use super::run::{Failure, Found, What, compare, run};
use super::table::{Line, Table, line, written};
use crate::cli::render::{Column, TableStyle};
use crate::cli::term::Paint;

fn file(text: &str) -> ProjectFile {
    ProjectFile { path: "tests/a.sql".into(), text: text.into() }
}

fn tests(text: &str) -> Vec<Test> {
    read(&file(text)).unwrap()
}

fn refused(text: &str) -> String {
    read(&file(text)).unwrap_err().to_string()
}

fn row(cells: &[&str]) -> Vec<Option<String>> {
    cells.iter().map(|c| (*c != "NULL").then(|| c.to_string())).collect()
}

#[test]
fn tables_are_read_as_the_prompt_and_people_write_them() {
    assert_eq!(line(" │ /buy │ 1 │ "), Line::Row(row(&["/buy", "1"])));
    assert_eq!(line("| NULL | 'NULL' | '' |"), Line::Row(vec![None, Some("NULL".into()), Some(String::new())]));
    assert_eq!(line(r"| 'a|b\'c' | ' \n' |"), Line::Row(row(&["a|b'c", " \n"])));
    for decoration in ["┌──────┬───┐", "+----+---+", "|----|--:|", "2 rows", "(1 row)"] {
        assert_eq!(line(decoration), Line::Decoration, "{decoration}");
    }
    assert_eq!(line("a comment | with a bar"), Line::Other);
}

#[test]
fn what_is_written_is_read_again() {
    let columns: Vec<Column> =
        [("a", "TEXT"), ("n", "BIGINT")].map(|(name, t)| Column { name: name.into(), sql_type: t.into() }).to_vec();
    let rows = vec![row(&["it's | \\ so", "10"]), vec![None, Some("5".into())], row(&["", "1"])];
    let lines = written(&columns, &rows);
    assert_eq!(lines[2], "-- | NULL            |  5 |");
    let read: Vec<Line> = lines.iter().skip(1).map(|l| line(l.trim_start_matches("--"))).collect();
    assert_eq!(read, rows.into_iter().map(Line::Row).collect::<Vec<_>>());
}

#[test]
fn a_file_is_read() {
    let all = tests(
        "-- about it\nINSERT INTO s VALUES (0);\n-- test: one\n-- why\nINSERT INTO s\n  VALUES (1);\nSELECT a\n FROM s ORDER BY a;\n\
         -- ┌───┐\n-- │ a │\n-- ├───┤\n-- │ 1 │\n-- └───┘\n-- 1 row\n\n-- test: two\nINSERT INTO s VALUES ('x');\n-- error: not a number\n",
    );
    let names: Vec<&str> = all.iter().map(|t| t.name.as_str()).collect();
    assert_eq!(names, ["one", "two"]);
    let one = &all[0].steps;
    assert_eq!(one.len(), 3);
    assert_eq!(one[2].wanted, Wanted::Rows(Table { columns: vec!["a".into()], rows: vec![row(&["1"])] }));
    assert!(one[2].ordered && one[2].query && !one[1].query);
    assert_eq!((one[2].place.clone(), one[2].at.to_string()), (8..14, "tests/a.sql:7:1".to_string()));
    assert_eq!(all[1].steps[1].wanted, Wanted::Error("not a number".into()));
}

#[test]
fn mistakes_say_where() {
    assert_eq!(refused("-- test: a\nSELEC 1;\n").split(": ").next(), Some("tests/a.sql:2:1"));
    assert_eq!(tests("SELECT 1;\n-- test: a\n\n  SELECT 1;\n")[0].steps[1].wanted, Wanted::Missing);
    assert!(refused("SELECT 1;").contains("no test"));
    assert!(refused("-- test:\n").starts_with("tests/a.sql:1:1: a test wants a name"));
    assert!(refused("-- test: a\nINSERT INTO s VALUES (1);\n-- | a |\n").starts_with("tests/a.sql:3:1: no query"));
    assert!(
        refused("-- test: a\nSELECT 1 AS x;\n-- | x |\n-- | 1 | 2 |\n").starts_with("tests/a.sql:4:1: the row has 2")
    );
    assert!(refused("-- test: a\n-- error: x\n").starts_with("tests/a.sql:2:1: no statement"));
    let twice = refused("-- test: a\nSELECT 1 AS x;\n-- | x |\n-- test: a\nSELECT 1 AS x;\n-- | x |\n");
    assert!(twice.starts_with("tests/a.sql:4:1: two tests have the name 'a'"), "{twice}");
    let empty = refused("SELECT 1;\n-- test: a\n-- now: 2026-05-01 10:00\n-- test: b\nSELECT 1;\n-- | x |\n");
    assert!(empty.starts_with("tests/a.sql:2:1: the test 'a' has no statement"), "{empty}");
    // A `;` that lacks takes what stands below for a part of the statement, which may be one all the same.
    let below = "-- | x |\n-- | 1 |\n\n-- test: b\nSELECT 2 AS x;\n-- | x |\n";
    let lacks = refused(&format!("-- test: a\nSELECT 1 AS x -- the one\n{below}"));
    assert!(lacks.starts_with("tests/a.sql:7:1: "), "{lacks}");
    assert!(lacks.contains("the statement that ends in line 2 wants a ;"), "{lacks}");
    let lacks = refused("-- test: a\nSELECT x FROM s\n-- | x |\nWHERE x > 1;\n-- | x |\n");
    assert!(lacks.starts_with("tests/a.sql:2:1: the statement that ends here wants a ;"), "{lacks}");
    assert_eq!(tests("-- test: a\nSELECT 1 AS x -- error: or so;\n;\n-- | x |\n")[0].steps.len(), 1);
}

fn found(types: &[&str], rows: &[&[&str]]) -> Found {
    let columns =
        types.iter().enumerate().map(|(n, t)| Column { name: format!("c{n}"), sql_type: t.to_string() }).collect();
    Found { columns, rows: rows.iter().map(|r| row(r)).collect() }
}

fn table(rows: &[&[&str]]) -> Table {
    let width = rows.first().map_or(0, |r| r.len());
    Table { columns: (0..width).map(|n| format!("c{n}")).collect(), rows: rows.iter().map(|r| row(r)).collect() }
}

#[test]
fn values_are_compared_by_what_they_mean() {
    let types = ["DECIMAL(10,2)", "TIMESTAMP", "DOUBLE PRECISION", "TEXT"];
    let is = |wanted: &[&str], given: &[&str]| compare(&table(&[wanted]), found(&types, &[given]), true).is_none();
    let given = ["1.50", "2024-05-01T10:00:00", "0.1", "1.0"];
    assert!(is(&["1.5", "2024-05-01 10:00", "0.10000000000001", "1.0"], &given));
    assert!(!is(&["1.51", "2024-05-01 10:00", "0.1", "1.0"], &given));
    assert!(!is(&["1.5", "2024-05-01 10:01", "0.1", "1.0"], &given));
    assert!(!is(&["1.5", "2024-05-01 10:00", "0.1", "1"], &given));
    assert!(!is(&["1.5", "2024-05-01 10:00", "NULL", "1.0"], &given));
}

#[test]
fn times_are_compared_by_their_value() {
    let is = |wanted: &str, given: &str| {
        compare(&table(&[&[wanted]]), found(&["TIMESTAMP WITH TIME ZONE"], &[&[given]]), true).is_none()
    };
    let given = "2024-04-30T22:00:00Z";
    for same in [
        "2024-05-01 00:00:00+02",
        "2024-05-01 00:00+02:00",
        "2024-04-30 22:00",
        "2024-04-30 22:00:00.000",
        "2024-04-30T22:00:00+00:00",
        "2024-04-30 16:30:00-0530",
    ] {
        assert!(is(same, given), "{same}");
    }
    for other in ["2024-05-01 00:00:00", "2024-04-30 22:00:00+02", "2024-04-30 22:00:00.000001", "2024-04-30", "soon"] {
        assert!(!is(other, given), "{other}");
    }
    assert!(is("9999-12-31", "9999-12-31T00:00:00Z") && is("infinity", "infinity") && !is("soon", "late"));
}

#[test]
fn copies_and_order_count() {
    let types = ["BIGINT"];
    let is = |wanted: &[&[&str]], given: &[&[&str]], ordered| compare(&table(wanted), found(&types, given), ordered);
    assert!(is(&[&["1"], &["2"]], &[&["2"], &["1"]], false).is_none());
    let Some(What::Rows(order)) = is(&[&["1"], &["2"]], &[&["2"], &["1"]], true) else { panic!() };
    assert!(order.order_only);
    let marked = |sign: char, value: &str| (sign, row(&[value]));
    assert_eq!(order.rows, [marked('-', "1"), marked('+', "2"), marked(' ', "1")]);
    let Some(What::Rows(copies)) = is(&[&["1"], &["1"], &["2"]], &[&["1"], &["2"], &["2"]], false) else { panic!() };
    let signs: String = copies.rows.iter().map(|(sign, _)| *sign).collect();
    assert_eq!(signs, "  +-");
    let failure = Failure { at: Default::default(), sql: "SELECT\n c0".into(), what: What::Rows(copies) };
    let lines = told(&failure, TableStyle { paint: Paint::none(), max_width: None });
    assert!(lines.contains(&"│ - │  1 │".to_string()), "{lines:#?}");
}

#[test]
fn texts_are_shown_as_the_tables_of_the_file_have_them() {
    let what = compare(&table(&[&["NULL"], &["a"]]), found(&["TEXT"], &[&["'NULL'"], &[""], &["a"]]), false).unwrap();
    let What::Rows(mut difference) = what else { panic!() };
    // `row` makes NULL of NULL.
    difference.rows[0].1 = vec![Some("NULL".into())];
    let failure = Failure { at: Default::default(), sql: "SELECT c0".into(), what: What::Rows(difference) };
    let lines = told(&failure, TableStyle { paint: Paint::none(), max_width: None });
    for line in ["│ + │ 'NULL' │", "│ + │ ''     │", "│   │ a      │", "│ - │ NULL   │"] {
        assert!(lines.contains(&line.to_string()), "{lines:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tests_run_on_their_own() {
    let project = [ProjectFile {
        path: "p.sql".into(),
        text:
            "CREATE STREAM s (k TEXT, n BIGINT); CREATE MATERIALIZED VIEW v AS SELECT k, sum(n) AS n FROM s GROUP BY k;
               CREATE SOURCE f INTO s WITH (connector = 'file', path = '/nowhere/*.json');"
                .into(),
    }];
    let all = tests(
        "INSERT INTO s VALUES ('a', 1);\n-- test: right\nINSERT INTO s VALUES ('a', 2), ('b', NULL);\nSELECT * FROM v;\n\
         -- | k | n |\n-- | b | NULL |\n-- | a | 3 |\n-- test: alone\nSELECT n FROM v;\n-- | n |\n-- | 1 |\n\
         INSERT INTO nowhere VALUES (1);\n-- error: NOWHERE\n-- test: wrong\nSELECT n FROM v;\n-- | n |\n-- | 4 |\n",
    );
    let mut reports = vec![];
    for test in all {
        reports.push((test.name.clone(), run(&project, &test, false).await.unwrap()));
    }
    let failed: Vec<bool> = reports.iter().map(|(_, r)| r.failure.is_some()).collect();
    assert_eq!(failed, [false, false, true], "{reports:#?}");
    let xml = junit(&[("tests/a.sql".into(), reports)]);
    assert!(xml.contains("tests=\"3\" failures=\"1\"") && xml.contains("name=\"wrong\""), "{xml}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_clock_is_set() {
    let project = [ProjectFile {
        path: "p.sql".into(),
        text: "CREATE STREAM s (n BIGINT, ts TIMESTAMP);
               CREATE MATERIALIZED VIEW v AS SELECT n FROM s WHERE ts > now() - INTERVAL '1 hour' AND ts <= now();"
            .into(),
    }];
    let all = tests(
        "-- now: 2026-05-01 10:00\nINSERT INTO s VALUES (1, '2026-05-01 09:30:00'), (2, '2026-05-01 10:30:00');\n\
         -- test: it goes on\nSELECT n FROM v;\n-- | n |\n-- | 1 |\n-- now: 2026-05-01 10:29:59.999999\nSELECT n FROM v;\n-- | n |\n-- | 1 |\n\
         -- now: 2026-05-01 10:30\nSELECT n FROM v;\n-- | n |\n-- | 2 |\n-- now: 2026-05-02\nSELECT n FROM v;\n-- | n |\n\
         SELECT now() AS now, current_date AS day, current_time AS time, count(*) AS n FROM s WHERE ts < now();\n\
         -- | now | day | time | n |\n-- | 2026-05-02 00:00 | 2026-05-02 | 00:00:00 | 2 |\n\
         -- test: it does not go back\n-- now: 2026-04-01\nSELECT 1 AS x;\n-- | x |\n-- | 1 |\n",
    );
    let went = run(&project, &all[0], false).await.unwrap();
    assert!(went.failure.is_none(), "{went:#?}");
    let back = run(&project, &all[1], false).await.unwrap().failure.unwrap();
    assert!(matches!(&back.what, What::Message(m) if m.contains("does not go back")), "{back:#?}");
    assert_eq!(back.at.line, 22);
    assert!(refused("-- test: a\n-- now: soon\n").starts_with("tests/a.sql:2:1: 'soon' is no time"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_said_to_be_complete() {
    let project = [ProjectFile {
        path: "p.sql".into(),
        text: "CREATE STREAM s (n BIGINT, ts TIMESTAMP, WATERMARK FOR ts AS ts - INTERVAL '1 minute') WITH (late = 'dead_letter');
               CREATE MATERIALIZED VIEW v AS SELECT window_start, count(*) AS n FROM TUMBLE(s, ts, INTERVAL '1 hour') GROUP BY window_start
               EMIT ON WINDOW CLOSE;"
            .into(),
    }];
    let all = tests(
        "INSERT INTO s VALUES (1, '2026-05-01 09:30:00'), (2, '2026-05-01 09:40:00');\n\
         -- test: a window closes\nSELECT n FROM v;\n-- | n |\nALTER STREAM s ADVANCE WATERMARK TO '2026-05-01 10:00';\nSELECT n FROM v;\n-- | n |\n-- | 2 |\n\
         INSERT INTO s VALUES (3, '2026-05-01 09:59:59');\nSELECT count(*) AS late FROM s__dead;\n-- | late |\n-- | 1 |\n\
         -- test: a stream without event time\nALTER STREAM s__dead ADVANCE WATERMARK TO '2026-05-01 10:00';\n-- error: no WATERMARK\n\
         ALTER STREAM s ADVANCE WATERMARK TO 'noon';\n-- error: 'noon' is no TIMESTAMP\n",
    );
    for test in &all {
        let went = run(&project, test, false).await.unwrap();
        assert!(went.failure.is_none(), "{went:#?}");
    }
}
