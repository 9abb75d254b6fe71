//! What `fleuve test` takes.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// How the results of tests are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TestFormat {
    /// For reading
    Text,
    /// JUnit's XML, for CI
    Junit,
}

#[derive(Args, Debug)]
#[command(after_help = "\
The files DIR/tests/*.sql hold tests in plain SQL. Each test runs in a server of its own, in this process, that holds what the project
declares (its sources read nothing). Under a query stands the table that it gives, under a statement that fails its error:

  -- test: a page counts its clicks
  INSERT INTO clicks VALUES ('/', 12), ('/buy', 40), ('/', 8);
  SELECT page, n FROM pages;
  -- | page | n |
  -- | /    | 2 |
  -- | /buy | 1 |
  INSERT INTO clicks VALUES (1, 2, 3);
  -- error: 3 values

What stands before the first test happens at the beginning of each. Rows are compared in their order only if the query says ORDER BY.
After a line `-- now: 2026-05-01 10:00` it is that time, in views and in queries.

Exits with 1 if a test fails. A file that cannot be read counts as a test that fails; the others run. With --write a table that is
missing or other than what the query gives is no failure: it is written into the file, and the test goes on. A statement that fails,
or an error that does not come, is one all the same, and what stands behind it in that test stays as it is.

Examples:
  fleuve test examples/access-log
  fleuve test --only scanners
  fleuve test --write                              put what queries give under them, to be reviewed
  fleuve test --format junit > results.xml")]
pub struct TestArgs {
    /// The project folder
    #[arg(value_name = "DIR", default_value = ".")]
    pub dir: PathBuf,
    /// Only tests whose name or file holds TEXT
    #[arg(long, value_name = "TEXT")]
    pub only: Option<String>,
    /// Write the tables that queries give into the files, where others stand there or none
    #[arg(long)]
    pub write: bool,
    /// How the results are written
    #[arg(long, value_enum, default_value = "text")]
    pub format: TestFormat,
}
