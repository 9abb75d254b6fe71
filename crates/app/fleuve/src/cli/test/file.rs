//! A file of tests: SQL statements, and comments that say what they are to give.
//!
//! ```sql
//! -- test: NAME            begins a test; statements before the first happen in every test
//! SELECT ...;
//! -- | column | column |   the table that the query above gives
//! -- | value  | value  |
//! INSERT ...;
//! -- error: TEXT           the statement above fails, and its message holds TEXT
//! -- now: TIME             from here on it is that time
//! ```

use std::collections::HashSet;

use arrow::compute::kernels::cast_utils::string_to_timestamp_nanos;
use fleuve_sql::ProjectFile;
use fleuve_sql::parse::{Parsed, Statement};
use fleuve_types::{Error, Location, Result};

use super::table::{Line, Place, Table, line};

/// One test.
#[derive(Clone, Debug)]
pub struct Test {
    pub name: String,
    /// Its `-- test:` line.
    pub at: Location,
    pub steps: Vec<Step>,
}

/// A statement and what it is to give.
#[derive(Clone, Debug)]
pub struct Step {
    pub sql: String,
    pub at: Location,
    /// Whether it gives rows.
    pub query: bool,
    /// Whether their order counts.
    pub ordered: bool,
    pub wanted: Wanted,
    /// The lines of the table in the file, or where it would be.
    pub place: Place,
    /// Instead of a statement: what the clock shows from here on, in microseconds.
    pub now_us: Option<i64>,
}

/// What a statement is to give.
#[derive(Clone, Debug, PartialEq)]
pub enum Wanted {
    Nothing,
    Rows(Table),
    /// Rows, and their table is not in the file yet.
    Missing,
    /// An error whose message holds this text.
    Error(String),
}

struct Reader<'a> {
    path: &'a str,
    setup: Vec<Step>,
    tests: Vec<Test>,
}

/// Reads the tests of a file.
///
/// # Errors
/// With file, line and column.
pub fn read(file: &ProjectFile) -> Result<Vec<Test>> {
    let lines: Vec<&str> = file.text.lines().collect();
    let statements = fleuve_sql::parse(&file.text).map_err(|mut e| {
        let at = e.location.take().unwrap_or_default();
        let unended = unended(lines.get(..at.line as usize).unwrap_or(&lines));
        let e = e.at(Location { file: Some(file.path.clone()), ..at });
        match unended {
            Some(line) => e.hint(format!("the statement that ends in line {} wants a ; at its end", line + 1)),
            None => e,
        }
    })?;
    let mut reader = Reader { path: &file.path, setup: vec![], tests: vec![] };
    let mut next = 0;
    for parsed in statements {
        let begin = (parsed.at.line as usize).saturating_sub(1);
        reader.comments(&lines, next..begin)?;
        next = begin + parsed.text.matches('\n').count() + 1;
        if let Some(line) = unended(lines.get(begin..next).unwrap_or_default()) {
            return Err(reader.error(begin + line, 0, "the statement that ends here wants a ; at its end"));
        }
        reader.step(parsed, next);
    }
    reader.comments(&lines, next..lines.len())?;
    reader.finish()
}

impl Reader<'_> {
    fn error(&self, line: usize, column: usize, message: impl Into<String>) -> Error {
        let file = Some(self.path.to_string());
        Error::input(message).at(Location { file, line: line as u64 + 1, column: column as u64 + 1 })
    }

    fn steps(&mut self) -> &mut Vec<Step> {
        match self.tests.last_mut() {
            Some(test) => &mut test.steps,
            None => &mut self.setup,
        }
    }

    fn step(&mut self, parsed: Parsed, next: usize) {
        let ordered = matches!(&parsed.statement, Statement::Query(query) if query.order_by.is_some());
        let query = matches!(
            parsed.statement,
            Statement::Query(_) | Statement::Show(_) | Statement::Describe(_) | Statement::Explain(..)
        );
        let at = Location { file: Some(self.path.to_string()), ..parsed.at };
        let step =
            Step { sql: parsed.text, at, query, ordered, wanted: Wanted::Nothing, place: next..next, now_us: None };
        self.steps().push(step);
    }

    /// The comments between two statements.
    fn comments(&mut self, lines: &[&str], range: Place) -> Result<()> {
        for at in range {
            let Some(text) = lines.get(at) else { break };
            let indent = text.len() - text.trim_start().len();
            let Some(comment) = text.trim().strip_prefix("--").map(str::trim) else { continue };
            if let Some(name) = directive(comment, "test:") {
                if name.is_empty() {
                    return Err(self.error(at, indent, "a test wants a name"));
                }
                let file = Some(self.path.to_string());
                let at = Location { file, line: at as u64 + 1, column: indent as u64 + 1 };
                self.tests.push(Test { name: name.to_string(), at, steps: vec![] });
            } else if let Some(message) = directive(comment, "error:") {
                let wanted = Wanted::Error(message.to_string());
                match self.steps().last_mut().filter(|step| step.wanted == Wanted::Nothing) {
                    Some(step) => step.wanted = wanted,
                    None => return Err(self.error(at, indent, "no statement stands above this error")),
                }
            } else if let Some(time) = directive(comment, "now:") {
                let step = self.clock(at, indent, time)?;
                self.steps().push(step);
            } else {
                self.table_line(at, indent, comment)?;
            }
        }
        Ok(())
    }

    /// A step that sets the clock.
    fn clock(&self, line: usize, indent: usize, time: &str) -> Result<Step> {
        let minute = "2026-05-01 10:00";
        let whole = if time.len() == minute.len() { format!("{time}:00") } else { time.to_string() };
        let nanos = string_to_timestamp_nanos(&whole);
        let nanos = nanos.map_err(|_| self.error(line, indent, format!("'{time}' is no time, as {minute} is")))?;
        Ok(Step {
            sql: format!("now: {time}"),
            at: Location { file: Some(self.path.to_string()), line: line as u64 + 1, column: indent as u64 + 1 },
            query: false,
            ordered: false,
            wanted: Wanted::Nothing,
            place: line..line,
            now_us: Some(nanos.div_euclid(1_000)),
        })
    }

    fn table_line(&mut self, at: usize, indent: usize, comment: &str) -> Result<()> {
        let cells = match line(comment) {
            Line::Other => return Ok(()),
            // A rule or the number of rows belongs to the table that it touches.
            Line::Decoration => {
                if let Some(step) = self.steps().last_mut().filter(|s| s.query && at == s.place.end) {
                    step.place.end = at + 1;
                }
                return Ok(());
            }
            Line::Row(cells) => cells,
        };
        let Some(step) = self.steps().last_mut().filter(|step| step.query) else {
            return Err(self.error(at, indent, "no query stands above this table"));
        };
        match &mut step.wanted {
            Wanted::Nothing => {
                let columns = cells.into_iter().map(Option::unwrap_or_default).collect();
                step.wanted = Wanted::Rows(Table { columns, rows: vec![] });
                let first = if step.place.end == at { step.place.start } else { at };
                step.place = first..at + 1;
            }
            Wanted::Rows(table) if table.columns.len() == cells.len() => {
                table.rows.push(cells);
                step.place.end = at + 1;
            }
            Wanted::Rows(table) => {
                let message = format!("the row has {} values, the table {} columns", cells.len(), table.columns.len());
                return Err(self.error(at, indent, message));
            }
            Wanted::Error(_) | Wanted::Missing => {
                return Err(self.error(at, indent, "the query is to fail, so it gives no table"));
            }
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Vec<Test>> {
        if self.tests.is_empty() {
            let error = self.error(0, 0, "there is no test in this file");
            return Err(error.hint("a test begins with a line `-- test: NAME`"));
        }
        let mut names = HashSet::new();
        for test in &mut self.tests {
            let refused = |why: String| Err(Error::input(why).at(test.at.clone()));
            if !names.insert(test.name.clone()) {
                return refused(format!("two tests have the name '{}'", test.name));
            }
            if test.steps.iter().all(|step| step.now_us.is_some()) {
                return refused(format!("the test '{}' has no statement", test.name));
            }
            // What happens in every test may go without: it is not what the test is about.
            for step in test.steps.iter_mut().filter(|s| s.query && s.wanted == Wanted::Nothing) {
                step.wanted = Wanted::Missing;
            }
            test.steps.splice(0..0, self.setup.iter().cloned());
        }
        Ok(self.tests)
    }
}

/// The line of a statement behind which a comment says what it is to give, or begins a test, before its `;`.
fn unended(lines: &[&str]) -> Option<usize> {
    let mut last: Option<(usize, bool)> = None;
    for (at, text) in lines.iter().map(|l| l.trim()).enumerate() {
        match text.strip_prefix("--").map(str::trim) {
            Some(comment) => {
                let speaks = ["test:", "error:"].iter().any(|word| directive(comment, word).is_some());
                if let Some((line, false)) = last.filter(|_| speaks || matches!(line(comment), Line::Row(_))) {
                    return Some(line);
                }
            }
            None if text.is_empty() => {}
            None => last = Some((at, text.split(" --").next().unwrap_or(text).trim_end().ends_with(';'))),
        }
    }
    None
}

fn directive<'a>(comment: &'a str, word: &str) -> Option<&'a str> {
    let head = comment.get(..word.len())?;
    head.eq_ignore_ascii_case(word).then(|| comment[word.len()..].trim())
}
