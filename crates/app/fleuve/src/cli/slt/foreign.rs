//! Statements of other databases' files: what the server has in other words, and what it has not.

use datafusion::sql::sqlparser::ast::{ColumnDef, ColumnOption, CreateTable, Statement};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::Parser;

use super::external::External;

/// What becomes of a statement.
#[derive(Debug, PartialEq)]
pub enum Here {
    /// It runs as it is.
    Same,
    /// These statements do the same.
    Instead(String),
    /// A stream, with the rows of a query if there is one.
    Table { name: String, columns: Option<String>, query: Option<String>, drop: bool },
    /// A stream with the rows of files.
    External(Box<External>),
    /// A `COPY … FROM STDIN` of this file.
    Copy { sql: String, file: String },
    /// There is no such thing; the object that is missing from then on.
    Missing { reason: String, name: Option<String> },
}

impl Here {
    /// The table that is dropped before another of its name is made.
    pub fn replaced(&self) -> Option<&str> {
        match self {
            Self::Table { name, drop: true, .. } => Some(name),
            Self::External(table) if table.or_replace => Some(&table.name),
            _ => None,
        }
    }
}

/// What a type is called there.
pub type TypeName = fn(&str) -> String;

/// A column of a table.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    /// With its quotes, if it has some.
    pub name: String,
    /// Its type.
    pub of: String,
    pub not_null: bool,
}

/// Beginnings of statements that are not offered, and why that is no fault of the file.
const NOT_OFFERED: [&str; 14] = [
    "create function",
    "create schema",
    "create database",
    "create catalog",
    "drop function",
    "drop schema",
    "copy",
    "update",
    "delete",
    "truncate",
    "alter table",
    "alter view",
    "prepare",
    "execute",
];

/// A statement from its first word on.
fn without_comments(sql: &str) -> &str {
    let mut rest = sql.trim_start();
    loop {
        let end = match rest {
            comment if comment.starts_with("--") => comment.find('\n'),
            comment if comment.starts_with("/*") => comment.find("*/").map(|at| at + 1),
            _ => None,
        };
        match end {
            Some(end) => rest = rest[end + 1..].trim_start(),
            None => return rest,
        }
    }
}

fn first_words(sql: &str) -> Vec<String> {
    without_comments(sql).split_whitespace().take(5).map(str::to_ascii_lowercase).collect()
}

/// The first word of a statement, in small letters.
pub fn first_word(sql: &str) -> String {
    first_words(sql).into_iter().next().unwrap_or_default()
}

/// The name of what a `CREATE` makes.
pub fn created(sql: &str) -> Option<String> {
    let mut words =
        without_comments(sql).split(|c: char| c.is_whitespace() || c == '(').filter(|word| !word.is_empty());
    if !words.next()?.eq_ignore_ascii_case("create") {
        return None;
    }
    let is_kind = |word: &str| ["table", "view", "stream", "source", "sink"].contains(&word);
    words.find(|word| is_kind(&word.to_ascii_lowercase()))?;
    let name = words.find(|word| !is_filler(&word.to_ascii_lowercase()))?;
    Some(name.trim_end_matches(';').to_string())
}

/// What to do with a statement of a file.
pub fn here(sql: &str) -> Here {
    let sql = without_comments(sql);
    let words = first_words(sql);
    let beginning = words.join(" ") + " ";
    let starts = |text: &str| beginning.starts_with(&format!("{text} "));
    if starts("create table") || starts("create or replace table") || starts("create temporary table") {
        return table(sql, type_here);
    }
    if is_external(&words) {
        return external(sql);
    }
    if starts("create view") || starts("create or replace view") {
        let at = sql.to_ascii_lowercase().find("view").unwrap_or_default();
        return Here::Instead(format!("{}MATERIALIZED {}", &sql[..at], &sql[at..]));
    }
    if starts("drop table") {
        let at = sql.to_ascii_lowercase().find("table").unwrap_or_default();
        return Here::Instead(format!("{}STREAM{}", &sql[..at], &sql[at + "table".len()..]));
    }
    match NOT_OFFERED.iter().find(|text| starts(text)) {
        Some(text) => {
            let name = words.iter().find(|w| !text.split(' ').any(|t| t == *w) && !is_filler(w));
            let name = name.filter(|_| text.ends_with("table")).map(|w| w.trim_end_matches('(').to_string());
            Here::Missing { reason: format!("{} is not offered", text.to_uppercase()), name }
        }
        None => Here::Same,
    }
}

/// `CREATE EXTERNAL TABLE`, with the words that may stand in between.
fn is_external(words: &[String]) -> bool {
    let between = |word: &&String| matches!(word.as_str(), "or" | "replace" | "unbounded" | "temporary");
    words.first().is_some_and(|word| word == "create")
        && words.iter().skip(1).find(|w| !between(w)).is_some_and(|w| w == "external")
}

fn external(sql: &str) -> Here {
    match External::new(sql) {
        Ok(table) => Here::External(Box::new(table)),
        Err((reason, name)) => Here::Missing { reason, name },
    }
}

/// `COPY t FROM 'file' …`: the file is one of this machine, as DataFusion's runner has it.
fn copy(sql: &str) -> Option<Here> {
    let lower = sql.to_ascii_lowercase();
    let from = lower
        .match_indices("from")
        .map(|(at, word)| at + word.len())
        .find(|end| sql[*end..].starts_with(char::is_whitespace) && sql[*end..].trim_start().starts_with('\''))?;
    let (file, rest) = sql[from..].trim_start()[1..].split_once('\'')?;
    Some(Here::Copy { sql: format!("{} STDIN{rest}", &sql[..from]), file: file.to_string() })
}

/// What to do with a statement of a file on a PostgreSQL server: all but what only DataFusion has runs as it is. `in_two` is for a
/// `CREATE TABLE … AS` whose table is to be made first and filled later.
pub fn on_postgresql(sql: &str, in_two: bool) -> Here {
    let words = first_words(sql);
    if is_external(&words) {
        return external(sql);
    }
    if words.first().is_some_and(|word| word == "copy")
        && let Some(copy) = copy(sql)
    {
        return copy;
    }
    if words.first().is_some_and(|word| word == "create") && words.iter().any(|word| word == "table") {
        // PostgreSQL has no types in the column list of CREATE TABLE … AS.
        match table(sql, type_on_postgresql) {
            made @ Here::Table { columns: Some(_), query: Some(_), .. } => return made,
            made @ Here::Table { columns: None, query: Some(_), .. } if in_two => return made,
            // Nor has it CREATE OR REPLACE TABLE.
            made @ Here::Table { drop: true, .. } => return made,
            _ => {}
        }
    }
    Here::Same
}

fn is_filler(word: &str) -> bool {
    matches!(word, "if" | "not" | "exists" | "or" | "replace")
}

fn table(sql: &str, type_name: TypeName) -> Here {
    let missing = |reason: String, name: Option<String>| Here::Missing { reason, name };
    let statement = match Parser::parse_sql(&GenericDialect {}, sql).map(|mut all| all.pop()) {
        Ok(Some(Statement::CreateTable(table))) => table,
        _ => return missing("CREATE TABLE in a form that cannot be read".into(), None),
    };
    let CreateTable { name, columns, query, or_replace, if_not_exists, .. } = statement;
    let name = name.to_string();
    if if_not_exists {
        return missing("CREATE TABLE IF NOT EXISTS is not offered".into(), Some(name));
    }
    let columns = match self::columns(&columns) {
        Ok(columns) => (!columns.is_empty()).then(|| listed(&columns, type_name)),
        Err(reason) => return missing(reason, Some(name)),
    };
    if columns.is_none() && query.is_none() {
        return missing("a stream without columns".into(), Some(name));
    }
    Here::Table { name, columns, query: query.map(|q| q.to_string()), drop: or_replace }
}

/// The columns of a statement.
///
/// # Errors
/// What no column of a stream has.
pub fn columns(definitions: &[ColumnDef]) -> Result<Vec<Column>, String> {
    let column = |definition: &ColumnDef| {
        let mut not_null = false;
        for option in &definition.options {
            match &option.option {
                ColumnOption::NotNull => not_null = true,
                // Neither DataFusion nor a stream enforces a key.
                ColumnOption::Null | ColumnOption::Unique(_) | ColumnOption::PrimaryKey(_) => {}
                other => return Err(format!("a stream's column has no {other}")),
            }
        }
        Ok(Column { name: definition.name.to_string(), of: definition.data_type.to_string(), not_null })
    };
    definitions.iter().map(column).collect()
}

/// Columns as CREATE STREAM and CREATE TABLE have them.
pub fn listed(columns: &[Column], type_name: TypeName) -> String {
    let null = |c: &Column| if c.not_null { " NOT NULL" } else { "" };
    let column = |c: &Column| format!("{} {}{}", c.name, type_name(&c.of), null(c));
    columns.iter().map(column).collect::<Vec<_>>().join(", ")
}

/// A type that a stream's column and PostgreSQL have, for one that DataFusion alone has or means otherwise: wide enough for its values.
pub fn type_here(of: &str) -> String {
    let upper = of.to_ascii_uppercase();
    let (element, brackets) = upper.strip_suffix("[]").map_or((upper.as_str(), ""), |element| (element, "[]"));
    let here = match element {
        "TINYINT UNSIGNED" => "SMALLINT",
        "SMALLINT UNSIGNED" => "INT",
        "INT UNSIGNED" | "INTEGER UNSIGNED" => "BIGINT",
        "BIGINT UNSIGNED" => "DECIMAL(20,0)",
        // In DataFusion it has 32 bits.
        "FLOAT" => "REAL",
        _ => return of.to_string(),
    };
    format!("{here}{brackets}")
}

/// As [`type_here`], for those that PostgreSQL alone has not.
pub fn type_on_postgresql(of: &str) -> String {
    match of.to_ascii_uppercase().as_str() {
        "TINYINT" => "SMALLINT".into(),
        "DOUBLE" => "DOUBLE PRECISION".into(),
        "STRING" => "TEXT".into(),
        _ => type_here(of),
    }
}

/// Whether a text names an object as a whole word.
pub fn mentions(sql: &str, name: &str) -> bool {
    let (sql, name) = (sql.to_ascii_lowercase(), name.trim_matches('"').to_ascii_lowercase());
    let part = |c: char| c.is_alphanumeric() || c == '_';
    sql.match_indices(&name).any(|(at, _)| !sql[..at].ends_with(part) && !sql[at + name.len()..].starts_with(part))
}
