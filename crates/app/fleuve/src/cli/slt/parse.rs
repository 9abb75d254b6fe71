//! sqllogictest files, as DataFusion publishes them: text to records.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::StringArray;
use arrow::compute::kernels::regexp::regexp_is_match_scalar;
use fleuve_types::{Error, Location, Result};

/// Files within files.
const MAX_INCLUDES: usize = 16;
/// `onlyif` and `skipif` know us by these names.
const LABELS: [&str; 2] = ["fleuve", "datafusion"];

/// One record of a file that is to be run.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    pub file: Arc<str>,
    /// Its first line, from 1.
    pub line: usize,
    pub sql: String,
    pub wanted: Wanted,
    /// `# noview` stands before it: it makes no sense as a view.
    pub noview: bool,
}

/// What a record wants.
#[derive(Clone, Debug, PartialEq)]
pub enum Wanted {
    /// A statement that works; perhaps on so many rows.
    Done(Option<u64>),
    /// An error.
    Failure(Message),
    /// Rows.
    Rows(Rows),
    /// Nothing but time.
    Pause(Duration),
}

/// Which error.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    Any,
    /// A regular expression; case does not matter.
    Matches(String),
    Exactly(String),
}

/// The rows of a query as the file has them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rows {
    /// A letter per column.
    pub types: String,
    pub sort: Sort,
    /// Queries of one label give the same rows.
    pub label: Option<String>,
    /// The lines after `----`.
    pub lines: Vec<String>,
    /// Where these lines stand in the file, counted from 0; `None` when there is no `----` yet, with the line where it would be.
    pub at: (Option<usize>, usize),
}

/// What is sorted before rows are compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sort {
    #[default]
    Nothing,
    Rows,
    Values,
}

impl Record {
    /// Its place, for messages.
    pub fn place(&self) -> String {
        format!("{}:{}", self.file, self.line)
    }
}

impl Message {
    fn new(words: &[&str]) -> std::result::Result<Self, String> {
        let text = words.join(" ");
        if text.is_empty() {
            return Ok(Self::Any);
        }
        regex_matches(&text, "").map(|_| Self::Matches(text))
    }

    /// Whether an error's text is the wanted one. What DataFusion says in its own words, Fleuve says in others.
    pub fn fits(&self, message: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Matches(text) | Self::Exactly(text) if text.starts_with("DataFusion error") => true,
            Self::Matches(text) => regex_matches(text, message).unwrap_or(false),
            Self::Exactly(text) => text.trim() == message.trim(),
        }
    }
}

fn regex_matches(pattern: &str, text: &str) -> std::result::Result<bool, String> {
    let texts = StringArray::from(vec![text]);
    let found = regexp_is_match_scalar(&texts, pattern, Some("i")).map_err(|e| e.to_string())?;
    Ok(found.value(0))
}

/// Reads a file and those that it includes.
///
/// # Errors
/// With file and line: what is no sqllogictest, and directives that are not offered.
pub fn read(path: &Path) -> Result<Vec<Record>> {
    let mut reader = Reader { records: vec![], sort: Sort::default(), halted: false };
    reader.file(path, 0)?;
    Ok(reader.records)
}

struct Reader {
    records: Vec<Record>,
    /// `control sortmode`
    sort: Sort,
    halted: bool,
}

/// The lines of one file.
struct Lines<'a> {
    file: Arc<str>,
    lines: Vec<&'a str>,
    at: usize,
}

impl Lines<'_> {
    fn error(&self, line: usize, message: impl Into<String>) -> Error {
        let file = Some(self.file.to_string());
        Error::input(message).at(Location { file, line: line as u64 + 1, column: 1 })
    }

    /// The lines up to an empty one or `----`; true if it was that.
    fn block(&mut self) -> (String, bool) {
        let begin = self.at;
        while let Some(line) = self.lines.get(self.at) {
            if line.trim().is_empty() || *line == "----" {
                break;
            }
            self.at += 1;
        }
        let text = self.lines[begin..self.at].join("\n");
        let results = self.lines.get(self.at).is_some_and(|line| *line == "----");
        if results {
            self.at += 1;
        }
        (text, results)
    }

    fn results(&mut self) -> Vec<String> {
        let begin = self.at;
        while self.lines.get(self.at).is_some_and(|line| !line.is_empty()) {
            self.at += 1;
        }
        self.lines[begin..self.at].iter().map(ToString::to_string).collect()
    }

    /// An error text of several lines ends with two empty lines.
    fn message(&mut self) -> Message {
        let begin = self.at;
        while self.at < self.lines.len() {
            let empty = |at: usize| self.lines.get(at).is_none_or(|line| line.is_empty());
            if empty(self.at) && empty(self.at + 1) {
                break;
            }
            self.at += 1;
        }
        Message::Exactly(self.lines[begin..self.at].join("\n"))
    }
}

impl Reader {
    fn file(&mut self, path: &Path, depth: usize) -> Result<()> {
        let text =
            std::fs::read_to_string(path).map_err(|e| Error::io(format!("cannot read {}", path.display()), e))?;
        let mut lines = Lines { file: path.display().to_string().into(), lines: text.split('\n').collect(), at: 0 };
        // A file from Windows reads the same.
        lines.lines.iter_mut().for_each(|line| *line = line.strip_suffix('\r').unwrap_or(line));
        let (mut noview, mut ours) = (false, true);
        while lines.at < lines.lines.len() && !self.halted {
            let begin = lines.at;
            let line = lines.lines[begin];
            lines.at += 1;
            if line.starts_with('#') {
                noview |= line.trim() == "# noview";
                continue;
            }
            let words: Vec<&str> = line.split_whitespace().collect();
            let Some((first, rest)) = words.split_first() else { continue };
            match (*first, rest) {
                ("onlyif", [label, ..]) => ours &= LABELS.contains(&label.to_ascii_lowercase().as_str()),
                ("skipif", [label, ..]) => ours &= !LABELS.contains(&label.to_ascii_lowercase().as_str()),
                ("statement" | "query", rest) => {
                    let (sql, wanted) = match *first {
                        "statement" => self.statement(&mut lines, begin, rest)?,
                        _ => self.query(&mut lines, begin, rest)?,
                    };
                    if sql.is_empty() {
                        return Err(lines.error(begin, format!("there is no SQL after '{first}'")));
                    }
                    if std::mem::replace(&mut ours, true) {
                        self.records.push(Record { file: lines.file.clone(), line: begin + 1, sql, wanted, noview });
                    }
                    noview = false;
                }
                ("include", [name]) => {
                    if depth >= MAX_INCLUDES {
                        return Err(lines.error(begin, format!("more than {MAX_INCLUDES} files include each other")));
                    }
                    let included = path.parent().unwrap_or(Path::new(".")).join(name);
                    if !included.is_file() {
                        return Err(lines.error(begin, format!("there is no file {} to include", included.display())));
                    }
                    self.file(&included, depth + 1)?;
                }
                ("halt", []) => self.halted = std::mem::replace(&mut ours, true),
                ("sleep", [time]) => {
                    let time = fleuve_sql::parse::duration_us(time)
                        .and_then(|us| u64::try_from(us).ok())
                        .ok_or_else(|| lines.error(begin, format!("'{time}' is not a time such as 1s")))?;
                    self.records.push(Record {
                        file: lines.file.clone(),
                        line: begin + 1,
                        sql: String::new(),
                        wanted: Wanted::Pause(Duration::from_micros(time)),
                        noview: true,
                    });
                }
                // Rows are compared in any of their written forms, hashed or not.
                ("hash-threshold" | "subtest", [_])
                | ("control", ["resultmode", "rowwise" | "valuewise"] | ["substitution", "off"])
                | ("connection", ["default"]) => {}
                ("control", ["sortmode", mode]) => self.sort = sort(mode).map_err(|e| lines.error(begin, e))?,
                ("system" | "let" | "connection" | "control" | "retry", _) => {
                    let message = format!("'{line}': this directive of sqllogictest is not offered");
                    return Err(lines.error(begin, message));
                }
                _ => {
                    let message =
                        format!("'{line}': a directive of sqllogictest is wanted, such as statement or query");
                    return Err(lines.error(begin, message));
                }
            }
        }
        Ok(())
    }

    fn statement(&mut self, lines: &mut Lines<'_>, begin: usize, words: &[&str]) -> Result<(String, Wanted)> {
        let wanted = match words {
            ["ok"] => Wanted::Done(None),
            ["count", n] => match n.parse() {
                Ok(n) => Wanted::Done(Some(n)),
                Err(_) => return Err(lines.error(begin, format!("'{n}' is not a number of rows"))),
            },
            ["error", message @ ..] => return failure(lines, begin, message),
            _ => return Err(lines.error(begin, "after 'statement', ok, error or count N is wanted")),
        };
        match lines.block() {
            (_, true) => Err(lines.error(begin, "a statement has no rows: use 'query'")),
            (sql, false) => Ok((sql, wanted)),
        }
    }

    fn query(&mut self, lines: &mut Lines<'_>, begin: usize, words: &[&str]) -> Result<(String, Wanted)> {
        let (types, rest) = match words {
            ["error", message @ ..] => return failure(lines, begin, message),
            [] => ("", words),
            [types, rest @ ..] => (*types, rest),
        };
        let mut rows = Rows { types: types.to_ascii_uppercase(), sort: self.sort, ..Rows::default() };
        if let Some(mode) = rest.first() {
            rows.sort = sort(mode).map_err(|e| lines.error(begin, e))?;
        }
        rows.label = rest.get(1).map(ToString::to_string);
        let (sql, results) = lines.block();
        rows.at = (results.then_some(lines.at), lines.at);
        if results {
            rows.lines = lines.results();
            rows.at.1 = lines.at;
        }
        Ok((sql, Wanted::Rows(rows)))
    }
}

fn failure(lines: &mut Lines<'_>, begin: usize, words: &[&str]) -> Result<(String, Wanted)> {
    let mut message = Message::new(words).map_err(|e| lines.error(begin, e))?;
    let (sql, more) = lines.block();
    if more {
        if message != Message::Any {
            return Err(lines.error(begin, "the error is said twice: after 'error' and after '----'"));
        }
        message = lines.message();
    }
    Ok((sql, Wanted::Failure(message)))
}

fn sort(word: &str) -> std::result::Result<Sort, String> {
    match word {
        "nosort" => Ok(Sort::Nothing),
        "rowsort" => Ok(Sort::Rows),
        "valuesort" => Ok(Sort::Values),
        _ => Err(format!("'{word}': nosort, rowsort or valuesort is wanted")),
    }
}
