//! sqllogictest files, as DataFusion publishes them: text to records.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use fleuve_types::{Error, Result};

use super::foreign::first_word;
use super::message::Message;

/// Files within files.
const MAX_INCLUDES: usize = 16;
/// Files that a file may include, those of its includes counted.
const MAX_INCLUDED: usize = 10_000;

/// One record of a file that is to be run.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    pub file: Arc<str>,
    /// Its first line, from 1.
    pub line: usize,
    /// The statement; of `system` the command.
    pub sql: String,
    pub wanted: Wanted,
    /// `# noview` stands before it: it makes no sense as a view.
    pub noview: bool,
    /// `control substitution on` stands before it: variables in it are replaced.
    pub substituted: bool,
    /// The name of the connection that it runs on; of its own when it has none.
    pub connection: Option<Arc<str>>,
    pub retry: Option<Retry>,
}

/// `retry N backoff TIME`: how often it is tried again, and how long it waits before.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Retry {
    pub times: usize,
    pub pause: Duration,
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
    /// A command of the shell that ends well; perhaps with this output.
    System(Option<String>),
    /// One row, whose values become variables of these names.
    Variables(Vec<String>),
    /// What is not known here, so that it is skipped: why.
    Unknown(String),
    /// What is wrong with the record, so that it fails.
    Wrong(String),
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

    /// Its file and line.
    pub fn key(&self) -> (Arc<str>, usize) {
        (self.file.clone(), self.line)
    }
}

/// Reads a file and those that it includes. `labels` are the names of the server for `onlyif` and `skipif`. What is wrong in the file
/// becomes a record that says so.
///
/// # Errors
/// When the file cannot be read.
pub fn read(path: &Path, labels: &[&str]) -> Result<Vec<Record>> {
    let mut reader = Reader {
        labels,
        records: vec![],
        sort: Sort::default(),
        substituted: false,
        halted: false,
        reading: vec![],
        included: 0,
    };
    reader.file(path)?;
    Ok(reader.records)
}

struct Reader<'a> {
    labels: &'a [&'a str],
    records: Vec<Record>,
    /// `control sortmode`
    sort: Sort,
    /// `control substitution`
    substituted: bool,
    halted: bool,
    /// The files that are being read, the one that is included within the one that includes it.
    reading: Vec<PathBuf>,
    /// How many files were included.
    included: usize,
}

/// What stands before a record and is about it alone.
struct Before {
    noview: bool,
    ours: bool,
    connection: Option<Arc<str>>,
}

impl Default for Before {
    fn default() -> Self {
        Self { noview: false, ours: true, connection: None }
    }
}

/// What is wrong with a record.
type Wrong = String;

/// A record's text, what it wants and its retry.
type Body = (String, Wanted, Option<Retry>);

/// The lines of one file.
struct Lines<'a> {
    lines: Vec<&'a str>,
    at: usize,
}

impl Lines<'_> {
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

    /// As [`Lines::block`], with at least one line.
    fn text(&mut self, of: &str) -> Result<(String, bool), Wrong> {
        match self.block() {
            (text, _) if text.is_empty() => Err(format!("there is no {of} after this line")),
            block => Ok(block),
        }
    }

    fn results(&mut self) -> Vec<String> {
        let begin = self.at;
        while self.lines.get(self.at).is_some_and(|line| !line.is_empty()) {
            self.at += 1;
        }
        self.lines[begin..self.at].iter().map(ToString::to_string).collect()
    }

    /// A text that may have empty lines in it: two of them end it.
    fn long_text(&mut self) -> String {
        let begin = self.at;
        while self.at < self.lines.len() {
            let empty = |at: usize| self.lines.get(at).is_none_or(|line| line.is_empty());
            if empty(self.at) && empty(self.at + 1) {
                break;
            }
            self.at += 1;
        }
        self.lines[begin..self.at].join("\n")
    }
}

impl Reader<'_> {
    fn file(&mut self, path: &Path) -> Result<()> {
        let unreadable = |e| Error::io(format!("cannot read {}", path.display()), e);
        let text = std::fs::read_to_string(path).map_err(unreadable)?;
        self.reading.push(path.canonicalize().map_err(unreadable)?);
        let done = self.lines(path, &text);
        self.reading.pop();
        done
    }

    fn lines(&mut self, path: &Path, text: &str) -> Result<()> {
        let file: Arc<str> = path.display().to_string().into();
        let mut lines = Lines { lines: text.split('\n').collect(), at: 0 };
        // A file from Windows reads the same.
        lines.lines.iter_mut().for_each(|line| *line = line.strip_suffix('\r').unwrap_or(line));
        let mut before = Before::default();
        while lines.at < lines.lines.len() && !self.halted {
            let begin = lines.at;
            let line = lines.lines[begin];
            lines.at += 1;
            if line.starts_with('#') {
                before.noview |= line.trim() == "# noview";
                continue;
            }
            let words: Vec<&str> = line.split_whitespace().collect();
            let Some((first, rest)) = words.split_first() else { continue };
            let labels = self.labels;
            let label = |label: &str| labels.contains(&label.to_ascii_lowercase().as_str());
            match (*first, rest) {
                ("onlyif", [name, ..]) => before.ours &= label(name),
                ("skipif", [name, ..]) => before.ours &= !label(name),
                ("connection", [name, ..]) => before.connection = (*name != "default").then(|| (*name).into()),
                ("include", [name]) => {
                    if std::mem::take(&mut before).ours
                        && let Err(why) = self.include(path, name)?
                    {
                        let body = (String::new(), Wanted::Wrong(why), None);
                        self.record(&file, begin, Before::default(), body);
                    }
                }
                ("halt", _) => self.halted = std::mem::take(&mut before).ours,
                // Rows are compared in any of their written forms, hashed or not.
                ("hash-threshold" | "subtest", _) | ("control", ["resultmode", ..]) => {}
                ("control", ["substitution", on @ ("on" | "off")]) => self.substituted = *on == "on",
                ("control", ["sortmode", mode]) if sort(mode).is_some() => self.sort = sort(mode).unwrap_or_default(),
                _ => {
                    let body = self.body(&mut lines, first, rest).unwrap_or_else(|wrong| {
                        // What is left of the record says nothing without its first line.
                        let (text, results) = lines.block();
                        if results {
                            lines.results();
                        }
                        (text, Wanted::Wrong(wrong), None)
                    });
                    self.record(&file, begin, std::mem::take(&mut before), body);
                }
            }
        }
        Ok(())
    }

    fn record(&mut self, file: &Arc<str>, begin: usize, before: Before, (sql, wanted, retry): Body) {
        let Before { noview, ours, connection } = before;
        let (file, line, substituted) = (file.clone(), begin + 1, self.substituted);
        if ours {
            self.records.push(Record { file, line, sql, wanted, noview, substituted, connection, retry });
        }
    }

    fn body(&self, lines: &mut Lines<'_>, first: &str, rest: &[&str]) -> Result<Body, Wrong> {
        match (first, rest) {
            ("statement", rest) => statement(lines, rest),
            ("query", rest) => self.query(lines, rest),
            ("system", ["ok", rest @ ..]) => {
                let retry = retry(rest)?;
                let (command, results) = lines.text("command")?;
                Ok((command, Wanted::System(results.then(|| lines.long_text())), retry))
            }
            ("let", names) if !names.is_empty() => {
                let names = names.join(" ");
                let names = names.trim_start_matches('(').trim_end_matches(')');
                let names: Vec<String> = names.split(',').map(|name| name.trim().to_string()).collect();
                let is_name =
                    |name: &String| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
                match names.iter().find(|name| !is_name(name)) {
                    Some(name) => Err(format!("'{name}' is no name of a variable")),
                    None => Ok((lines.text("query")?.0, Wanted::Variables(names), None)),
                }
            }
            ("sleep", [time]) => Ok((String::new(), Wanted::Pause(duration(time)?), None)),
            // One line without more, so that the next record stays.
            ("control" | "sleep" | "include" | "onlyif" | "skipif" | "connection", _) => {
                let why = format!("the directive '{first} {}' is not known", rest.join(" "));
                Ok((String::new(), Wanted::Unknown(why.trim_end().to_string()), None))
            }
            _ => {
                let (text, results) = lines.block();
                if results {
                    lines.results();
                }
                Ok((text, Wanted::Unknown(format!("the directive '{first}' is not known")), None))
            }
        }
    }

    /// The files that a name or a pattern such as `part_*.slt` stands for, in place of it.
    fn include(&mut self, path: &Path, name: &str) -> Result<Result<(), Wrong>> {
        if self.reading.len() > MAX_INCLUDES {
            return Ok(Err(format!("more than {MAX_INCLUDES} files include each other")));
        }
        let included = path.parent().unwrap_or(Path::new(".")).join(name);
        let files = match super::external::matching(&included, MAX_INCLUDED) {
            Ok(files) if files.is_empty() => {
                return Ok(Err(format!("there is no file {} to include", included.display())));
            }
            Ok(files) => files,
            Err(e) => return Ok(Err(e.message)),
        };
        let is_read = |file: &&PathBuf| file.canonicalize().is_ok_and(|file| self.reading.contains(&file));
        if let Some(file) = files.iter().find(is_read) {
            return Ok(Err(format!("{} includes itself", file.display())));
        }
        for file in files {
            self.included += 1;
            if self.included > MAX_INCLUDED {
                return Ok(Err(format!("more than {MAX_INCLUDED} files are included")));
            }
            self.file(&file)?;
        }
        Ok(Ok(()))
    }

    fn query(&self, lines: &mut Lines<'_>, words: &[&str]) -> Result<Body, Wrong> {
        let (types, mut rest) = match words {
            ["error", message @ ..] => return failure(lines, message),
            [] => ("", words),
            [types, rest @ ..] => (*types, rest),
        };
        let mut rows = Rows { types: types.to_ascii_uppercase(), sort: self.sort, ..Rows::default() };
        if let [mode, tail @ ..] = rest
            && let Some(mode) = sort(mode)
        {
            (rows.sort, rest) = (mode, tail);
        }
        if let [label, tail @ ..] = rest
            && *label != "retry"
        {
            rows.label = Some(label.to_string());
            rest = tail;
        }
        let retry = retry(rest)?;
        let (sql, results) = lines.text("SQL")?;
        rows.at = (results.then_some(lines.at), lines.at);
        if results {
            rows.lines = lines.results();
            rows.at.1 = lines.at;
        }
        // Files of DataFusion may have statements as queries: it gives no rows for them, or how many there were as the only one.
        let wanted = match (first_word(&sql).as_str(), rows.lines.as_slice()) {
            ("create" | "drop" | "set", []) => Wanted::Done(None),
            ("insert", [n]) if rows.types == "I" && n.parse::<u64>().is_ok() => Wanted::Done(n.parse().ok()),
            _ => Wanted::Rows(rows),
        };
        Ok((sql, wanted, retry))
    }
}

fn statement(lines: &mut Lines<'_>, words: &[&str]) -> Result<Body, Wrong> {
    let (wanted, rest) = match words {
        ["ok", rest @ ..] => (Wanted::Done(None), rest),
        ["count", n, rest @ ..] => match n.parse() {
            Ok(n) => (Wanted::Done(Some(n)), rest),
            Err(_) => return Err(format!("'{n}' is not a number of rows")),
        },
        ["error", message @ ..] => return failure(lines, message),
        _ => return Err("after 'statement', ok, error or count N is wanted".into()),
    };
    let retry = retry(rest)?;
    match lines.text("SQL")? {
        (_, true) => {
            lines.results();
            Err("a statement has no rows: use 'query'".into())
        }
        (sql, false) => Ok((sql, wanted, retry)),
    }
}

fn failure(lines: &mut Lines<'_>, words: &[&str]) -> Result<Body, Wrong> {
    let (words, retry) = match words {
        ["retry", _, "backoff", _] => (&[][..], retry(words)?),
        _ => (words, None),
    };
    let mut message = Message::new(words)?;
    let (sql, more) = lines.text("SQL")?;
    if more {
        let text = lines.long_text();
        if message != Message::Any {
            return Err("the error is said twice: after 'error' and after '----'".into());
        }
        message = Message::Exactly(text);
    }
    Ok((sql, Wanted::Failure(message), retry))
}

fn retry(words: &[&str]) -> Result<Option<Retry>, Wrong> {
    match words {
        [] => Ok(None),
        ["retry", times, "backoff", pause] => {
            let times = times.parse().map_err(|_| format!("'{times}' is not a number of tries"))?;
            Ok(Some(Retry { times, pause: duration(pause)? }))
        }
        _ => Err(format!("'{}': retry N backoff TIME is wanted, or nothing", words.join(" "))),
    }
}

fn duration(text: &str) -> Result<Duration, Wrong> {
    let us = fleuve_sql::parse::duration_us(text).and_then(|us| u64::try_from(us).ok());
    us.map(Duration::from_micros).ok_or_else(|| format!("'{text}' is not a time such as 1s"))
}

fn sort(word: &str) -> Option<Sort> {
    match word {
        "nosort" => Some(Sort::Nothing),
        "rowsort" => Some(Sort::Rows),
        "valuesort" => Some(Sort::Values),
        _ => None,
    }
}
