//! `fleuve test` on a folder: what it writes, and how it ends.

use std::path::PathBuf;
use std::process::ExitCode;

use fleuve_types::Error;
use tempfile::TempDir;

use super::super::run::Report;
use super::super::{READING, report, run, tests_of};
use crate::cli::args::{TestArgs, TestFormat};

struct Project(TempDir);

impl Project {
    /// A project with a stream and a view, and files of tests.
    fn new(files: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("tests")).unwrap();
        let sql = "CREATE STREAM s (k TEXT, n BIGINT);
            CREATE MATERIALIZED VIEW v AS SELECT k, sum(n) AS n FROM s GROUP BY k;";
        std::fs::write(dir.path().join("p.sql"), sql).unwrap();
        let project = Self(dir);
        files.iter().for_each(|(name, text)| std::fs::write(project.path(name), text).unwrap());
        project
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join("tests").join(name)
    }

    fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    /// Whether it ends well.
    async fn passes(&self, write: bool) -> bool {
        let args = TestArgs { dir: self.0.path().into(), only: None, write, format: TestFormat::Junit };
        let code = run(args).await.unwrap();
        format!("{code:?}") == format!("{:?}", ExitCode::SUCCESS)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_that_differ_are_written_and_the_test_goes_on() {
    let before = "INSERT INTO s VALUES ('a', 1);\n-- test: differs\nSELECT n FROM v;\n-- | n |\n-- | 7 |\nSELECT k FROM v;\n\
                  SELECT 1.50 AS d;\n-- | d   |\n-- | 1.5 |\n-- test: is right\nSELECT n FROM v;\n-- |  n |\n-- |  1 |\n";
    let after = "INSERT INTO s VALUES ('a', 1);\n-- test: differs\nSELECT n FROM v;\n-- | n |\n-- | 1 |\nSELECT k FROM v;\n\
                 -- | k |\n-- | a |\nSELECT 1.50 AS d;\n-- | d   |\n-- | 1.5 |\n-- test: is right\nSELECT n FROM v;\n-- |  n |\n-- |  1 |\n";
    let project = Project::new(&[("a.sql", before)]);
    assert!(!project.passes(false).await);
    assert_eq!(project.text("a.sql"), before);
    assert!(project.passes(true).await);
    assert_eq!(project.text("a.sql"), after);
    assert!(project.passes(false).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_writing_does_not_mend_fails() {
    let fails = "-- test: fails\nSELECT 1 AS n;\n-- | n |\n-- | 2 |\nINSERT INTO nowhere VALUES (1);\nSELECT 1 AS n;\n-- | n |\n-- | 2 |\n";
    let works = "-- test: works\nINSERT INTO s VALUES ('a', 1);\n-- error: much\n";
    let project = Project::new(&[("fails.sql", fails)]);
    assert!(!project.passes(true).await);
    // What stands before the failure is written, what stands behind it is not known.
    assert_eq!(project.text("fails.sql"), fails.replacen("-- | 2 |", "-- | 1 |", 1));
    let project = Project::new(&[("works.sql", works)]);
    assert!(!project.passes(true).await);
    assert_eq!(project.text("works.sql"), works);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_read_is_a_test_that_fails() {
    let ragged = "-- test: ragged\nSELECT 1 AS x;\n-- | x |\n-- | 1 | 2 |\n";
    let differs = "-- test: differs\nSELECT 1 AS n;\n-- | n |\n-- | 2 |\n";
    let project = Project::new(&[("a.sql", ragged), ("b.sql", differs)]);
    assert!(!project.passes(true).await);
    // The other one ran.
    assert_eq!(project.text("b.sql"), differs.replace('2', "1"));
    assert_eq!(project.text("a.sql"), ragged);
    assert!(!project.passes(false).await);

    let (path, tests) = tests_of(&project.path("a.sql"), None).unwrap();
    let unreadable = Report::unreadable(&path, tests.unwrap_err());
    let gone = Report::unreadable("tests/c.sql", Error::io("cannot read tests/c.sql", "no text"));
    let xml = report::junit(&[(path, vec![(READING.into(), unreadable)]), ("c".into(), vec![(READING.into(), gone)])]);
    assert!(xml.contains("tests=\"1\" failures=\"1\"") && xml.contains("name=\"the file is read\""), "{xml}");
    assert!(xml.contains("a.sql:4:1\">") && xml.contains("a.sql:4:1\nthe row has 2 values"), "{xml}");
    assert!(xml.contains("tests/c.sql:1:1\ncannot read tests/c.sql: no text"), "{xml}");
}

#[test]
fn a_file_that_cannot_be_read_may_hold_the_test_that_is_wanted() {
    let project = Project::new(&[("a.sql", "-- test: wanted\nSELEC 1;\n"), ("b.sql", "-- test: b\nSELECT 1;\n")]);
    let is_there = |file: &str, only: &str| tests_of(&project.path(file), Some(only)).map(|(_, tests)| tests.is_ok());
    assert_eq!(is_there("a.sql", "wanted"), Some(false));
    assert_eq!(is_there("a.sql", "a.sql"), Some(false));
    assert_eq!(is_there("a.sql", "other"), None);
    assert_eq!((is_there("b.sql", "b"), is_there("b.sql", "wanted")), (Some(true), None));
    assert_eq!(is_there("gone.sql", "wanted"), Some(false));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_without_its_table_is_a_failure_of_its_test() {
    let all =
        super::tests("SELECT k FROM v;\n-- test: lacks\nSELECT n FROM v;\n-- test: has\nSELECT n FROM v;\n-- | n |\n");
    let project = [fleuve_sql::ProjectFile {
        path: "p.sql".into(),
        text: "CREATE STREAM s (k TEXT, n BIGINT); CREATE MATERIALIZED VIEW v AS SELECT k, n FROM s".into(),
    }];
    let lacks = super::run(&project, &all[0], false).await.unwrap().failure.unwrap();
    assert_eq!(lacks.at.to_string(), "tests/a.sql:3:1");
    assert!(matches!(&lacks.what, super::What::Message(m) if m.contains("lacks the table") && m.contains("--write")));
    let has = super::run(&project, &all[1], false).await.unwrap();
    assert!(has.failure.is_none() && has.tables.is_empty(), "{has:#?}");
}
