//! The records of a file, in one of three ways.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use fleuve_sql::parse::Statement;
use fleuve_types::{Error, ErrorKind, Result};

use super::compare;
use super::database::{Answer, Database};
use super::foreign::{first_word, mentions};
use super::parse::{Record, Retry, Rows, Sort, Wanted};
use super::vars::Variables;

/// How queries are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// As they stand.
    Plain,
    /// As views that are there before the rows are.
    Before,
    /// As views over rows that are there already.
    After,
}

impl Way {
    fn words(self) -> &'static str {
        match self {
            Way::Plain => "",
            Way::Before => " (as a view before the data)",
            Way::After => " (as a view after the data)",
        }
    }
}

/// What the command line says about a run.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Where the files of external tables are, when their paths are relative.
    pub data: PathBuf,
    /// Commands of the shell are run.
    pub system: bool,
    /// An expected error in words of DataFusion that say nothing here is a failure.
    pub strict_errors: bool,
}

/// How it went.
#[derive(Debug, Default)]
pub struct Tally {
    pub passed: usize,
    /// How many of those are errors of which only that there is one could be compared.
    pub uncompared: usize,
    pub failures: Vec<String>,
    /// How often for each reason.
    pub skipped: BTreeMap<String, usize>,
    /// For each record by its file and line: the rows that were found.
    pub found: BTreeMap<(Arc<str>, usize), Vec<String>>,
    /// What stays on the server and was not there before.
    pub left: BTreeSet<String>,
}

impl Tally {
    pub fn add(&mut self, other: Tally) {
        self.passed += other.passed;
        self.uncompared += other.uncompared;
        self.failures.extend(other.failures);
        for (reason, n) in other.skipped {
            *self.skipped.entry(reason).or_default() += n;
        }
        self.found.extend(other.found);
        self.left.extend(other.left);
    }
}

/// What became of one record.
pub(super) enum End {
    Passed,
    Failed(String),
    Skipped(String),
}

/// How often a record is still tried.
pub(super) struct Tries {
    left: usize,
    pause: Duration,
}

impl Tries {
    pub(super) fn new(record: &Record) -> Self {
        let Retry { times, pause } = record.retry.unwrap_or_default();
        Self { left: times, pause }
    }

    /// Waits if there is another try.
    pub(super) async fn are_over(&mut self, end: &End) -> bool {
        if self.left == 0 || !matches!(end, End::Failed(_)) {
            return true;
        }
        self.left -= 1;
        tokio::time::sleep(self.pause).await;
        false
    }
}

pub struct Runner<'a> {
    pub(super) database: &'a mut Database,
    pub(super) way: Way,
    pub(super) options: &'a Options,
    pub(super) variables: &'a mut Variables,
    pub(super) tally: Tally,
    /// Objects that could not be made: what needs them is skipped.
    pub(super) missing: HashSet<String>,
    labels: HashMap<String, Vec<String>>,
    /// Views of queries that are there, by the index of their record.
    views: Vec<usize>,
}

/// Runs all records.
///
/// # Errors
/// When the database is gone.
pub async fn run(
    records: &[Record],
    way: Way,
    options: &Options,
    variables: &mut Variables,
    database: &mut Database,
) -> Result<Tally> {
    let mut runner = Runner {
        database,
        way,
        options,
        variables,
        tally: Tally::default(),
        missing: HashSet::new(),
        labels: HashMap::new(),
        views: vec![],
    };
    match way {
        Way::Before => runner.before(records).await?,
        Way::Plain | Way::After => {
            for (index, record) in records.iter().enumerate() {
                runner.one(index, record).await?;
            }
        }
    }
    Ok(runner.tally)
}

/// Whether a record makes or drops objects and is to work.
fn begins(record: &Record, word: &str) -> bool {
    matches!(record.wanted, Wanted::Done(_)) && first_word(&record.sql) == word
}

/// Whether a query can be a view at all.
fn is_select(sql: &str) -> bool {
    fleuve_sql::parse(sql)
        .is_ok_and(|all| matches!(all.as_slice(), [one] if matches!(one.statement, Statement::Query(_))))
}

fn in_one_line(sql: &str) -> String {
    sql.split_whitespace().collect::<Vec<_>>().join(" ")
}

impl Runner<'_> {
    fn end(&mut self, record: &Record, end: End) {
        match end {
            End::Passed => self.tally.passed += 1,
            End::Failed(why) => {
                let line = format!("{}{}: {why}\n    {}", record.place(), self.way.words(), in_one_line(&record.sql));
                self.tally.failures.push(line);
            }
            End::Skipped(reason) => *self.tally.skipped.entry(reason).or_default() += 1,
        }
    }

    /// A failure, unless something is missing that could not be made.
    pub(super) fn failed(&self, record: &Record, what: &str, error: &Error) -> End {
        match self.missing.iter().find(|name| mentions(&record.sql, name)) {
            Some(name) => End::Skipped(format!("needs {name}, which could not be made")),
            None => End::Failed(format!("{what}: {error}")),
        }
    }

    /// The record with its variables replaced; a failure when one has no value.
    pub(super) fn filled<'r>(&mut self, record: &'r Record) -> std::result::Result<Cow<'r, Record>, End> {
        // The shell replaces them itself.
        if !record.substituted || matches!(record.wanted, Wanted::System(_)) {
            return Ok(Cow::Borrowed(record));
        }
        let sql = self.variables.put_into(&record.sql).map_err(End::Failed)?;
        Ok(Cow::Owned(Record { sql, ..record.clone() }))
    }

    async fn one(&mut self, index: usize, record: &Record) -> Result<()> {
        if begins(record, "drop") {
            self.drop_views().await?;
        }
        let Wanted::Rows(rows) = &record.wanted else {
            let end = self.statement(record, true, true).await;
            self.end(record, end);
            return Ok(());
        };
        if self.way == Way::Plain {
            let end = self.query(record, rows).await;
            self.end(record, end);
        } else if self.make_view(index, record, rows).await {
            let end = self.read_view(index, record, rows).await;
            self.end(record, end);
        }
        Ok(())
    }

    /// What is created first, then the views, then everything else in its place; anew after each DROP.
    async fn before(&mut self, records: &[Record]) -> Result<()> {
        let mut begin = 0;
        while begin < records.len() {
            let next = records[begin + 1..].iter().position(|r| begins(r, "drop"));
            let end = next.map_or(records.len(), |n| begin + 1 + n);
            if begins(&records[begin], "drop") {
                self.drop_views().await?;
                let end = self.statement(&records[begin], true, true).await;
                self.end(&records[begin], end);
            }
            self.block(&records[begin..end], begin).await;
            begin = end;
        }
        Ok(())
    }

    async fn block(&mut self, records: &[Record], first: usize) {
        for record in records.iter().filter(|r| begins(r, "create")) {
            let end = self.statement(record, true, false).await;
            self.end(record, end);
        }
        let mut made = HashSet::new();
        for (index, record) in records.iter().enumerate() {
            if let Wanted::Rows(rows) = &record.wanted
                && self.make_view(first + index, record, rows).await
            {
                made.insert(index);
            }
        }
        for (index, record) in records.iter().enumerate() {
            match &record.wanted {
                Wanted::Rows(rows) if made.contains(&index) => {
                    let end = self.read_view(first + index, record, rows).await;
                    self.end(record, end);
                }
                Wanted::Done(_) if begins(record, "create") => {
                    // Only the rows of a table that has some; the rest is done.
                    if let End::Failed(why) = self.statement(record, false, true).await {
                        self.end(record, End::Failed(why));
                    }
                }
                // Errors are for the other ways.
                Wanted::Rows(_) | Wanted::Failure(_) => {}
                _ if begins(record, "drop") => {}
                _ => {
                    let end = self.statement(record, true, true).await;
                    self.end(record, end);
                }
            }
        }
    }

    async fn query(&mut self, record: &Record, rows: &Rows) -> End {
        let record = match self.filled(record) {
            Ok(record) => record,
            Err(end) => return end,
        };
        let mut tries = Tries::new(&record);
        loop {
            let end = self.asked(&record, rows).await;
            if tries.are_over(&end).await {
                return end;
            }
        }
    }

    async fn asked(&mut self, record: &Record, rows: &Rows) -> End {
        let answer = match self.database.run_on(record.connection.as_ref(), &record.sql).await {
            Ok(answer) => answer,
            Err(e) => return self.failed(record, "the query failed", &e),
        };
        self.tally.found.insert(record.key(), compare::lines(&answer, rows.sort));
        if let Some(label) = &rows.label {
            let values = compare::values(&answer, rows.sort);
            if *self.labels.entry(label.clone()).or_insert_with(|| values.clone()) != values {
                return End::Failed(format!("it gives other rows than another query of the label {label}"));
            }
        }
        let plan = |line: &String| line.starts_with("logical_plan") || line.starts_with("physical_plan");
        match self.compared(rows, &answer, rows.sort).await {
            None => End::Passed,
            Some(_) if rows.lines.iter().any(plan) => End::Skipped("shows a plan of DataFusion's own".into()),
            Some(difference) => End::Failed(difference),
        }
    }

    async fn compared(&mut self, rows: &Rows, answer: &Answer, sort: Sort) -> Option<String> {
        if let [line] = rows.lines.as_slice()
            && let [n, "values", "hashing", "to", hash] = line.split_whitespace().collect::<Vec<_>>()[..]
        {
            let values = compare::values(answer, sort);
            let text = values.iter().fold(String::new(), |text, value| text + value + "\n");
            let sql = format!("SELECT md5('{}')", text.replace('\'', "''"));
            let found = match self.database.run(&sql).await {
                Ok(answer) => answer.rows.concat().concat(),
                Err(e) => return Some(format!("the hash of the rows cannot be told: {e}")),
            };
            let same = *n == values.len().to_string() && *hash == found;
            return (!same).then(|| format!("{} values hashing to {found}; wanted are: {line}", values.len()));
        }
        compare::difference(rows, answer, sort)
    }

    /// Makes the view of a query; false if there is none, which then is told or need not be.
    async fn make_view(&mut self, index: usize, record: &Record, rows: &Rows) -> bool {
        if record.noview || !is_select(&record.sql) {
            return false;
        }
        let record = match self.filled(record) {
            Ok(record) => record,
            // The views are there before anything is bound.
            Err(_) if self.way == Way::Before => {
                self.end(record, End::Skipped("the view needs a variable that has no value yet".into()));
                return false;
            }
            Err(end) => {
                self.end(record, end);
                return false;
            }
        };
        let record = record.as_ref();
        let columns: Vec<String> = (0..rows.types.chars().count()).map(|n| format!("c{n}")).collect();
        let columns = if columns.is_empty() { String::new() } else { format!(" ({})", columns.join(", ")) };
        let query = record.sql.trim_end().trim_end_matches(';');
        let sql = format!("CREATE {} __q_{index}{columns} AS\n{query}", self.database.view_words());
        match self.database.run(&sql).await {
            Ok(_) => {
                self.views.push(index);
                true
            }
            Err(e) if e.kind == ErrorKind::Unsupported => {
                self.end(record, End::Skipped(format!("no view can be made: {}", e.message)));
                false
            }
            Err(e) => {
                let end = self.failed(record, "no view can be made", &e);
                self.end(record, end);
                false
            }
        }
    }

    async fn read_view(&mut self, index: usize, record: &Record, rows: &Rows) -> End {
        let mut tries = Tries::new(record);
        loop {
            let end = self.view(index, record, rows).await;
            if tries.are_over(&end).await {
                return end;
            }
        }
    }

    /// A view has no order, so its rows are compared sorted.
    async fn view(&mut self, index: usize, record: &Record, rows: &Rows) -> End {
        let answer = match self.database.run(&format!("SELECT * FROM __q_{index}")).await {
            Ok(answer) => answer,
            Err(e) => return self.failed(record, "the view cannot be read", &e),
        };
        let sort = if rows.sort == Sort::Nothing { Sort::Rows } else { rows.sort };
        match self.compared(rows, &answer, sort).await {
            None => End::Passed,
            Some(difference) => End::Failed(difference),
        }
    }

    pub(super) async fn drop_views(&mut self) -> Result<()> {
        for index in std::mem::take(&mut self.views) {
            self.database.run(&format!("DROP {} __q_{index}", self.database.view_words())).await?;
        }
        Ok(())
    }
}
