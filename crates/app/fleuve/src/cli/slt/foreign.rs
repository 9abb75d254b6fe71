//! Statements of other databases' files: what Fleuve has in other words, and what it has not.

use datafusion::sql::sqlparser::ast::{ColumnOption, CreateTable, Statement};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::Parser;

/// What becomes of a statement.
#[derive(Debug, PartialEq)]
pub enum Here {
    /// It runs as it is.
    Same,
    /// These statements do the same.
    Instead(String),
    /// A stream, with the rows of a query if there is one.
    Table { name: String, columns: Option<String>, query: Option<String>, drop: bool },
    /// There is no such thing; the object that is missing from then on.
    Missing { reason: String, name: Option<String> },
}

/// Beginnings of statements that are not offered, and why that is no fault of the file.
const NOT_OFFERED: [&str; 16] = [
    "create external table",
    "create unbounded external table",
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

/// What to do with a statement of a file.
pub fn here(sql: &str) -> Here {
    let words: Vec<String> = sql.split_whitespace().take(5).map(str::to_ascii_lowercase).collect();
    let beginning = words.join(" ") + " ";
    let starts = |text: &str| beginning.starts_with(&format!("{text} "));
    if starts("create table") || starts("create or replace table") || starts("create temporary table") {
        return table(sql);
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

fn is_filler(word: &str) -> bool {
    matches!(word, "if" | "not" | "exists" | "or" | "replace")
}

fn table(sql: &str) -> Here {
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
    let mut texts = vec![];
    for column in &columns {
        let mut text = format!("{} {}", column.name, column.data_type);
        for option in &column.options {
            match &option.option {
                ColumnOption::NotNull => text.push_str(" NOT NULL"),
                // Neither DataFusion nor a stream enforces a key.
                ColumnOption::Null | ColumnOption::Unique(_) | ColumnOption::PrimaryKey(_) => {}
                other => return missing(format!("a stream's column has no {other}"), Some(name)),
            }
        }
        texts.push(text);
    }
    let columns = (!texts.is_empty()).then(|| texts.join(", "));
    if columns.is_none() && query.is_none() {
        return missing("a stream without columns".into(), Some(name));
    }
    Here::Table { name, columns, query: query.map(|q| q.to_string()), drop: or_replace }
}

/// Whether a text names an object as a whole word.
pub fn mentions(sql: &str, name: &str) -> bool {
    let (sql, name) = (sql.to_ascii_lowercase(), name.trim_matches('"').to_ascii_lowercase());
    let part = |c: char| c.is_alphanumeric() || c == '_';
    sql.match_indices(&name).any(|(at, _)| !sql[..at].ends_with(part) && !sql[at + name.len()..].starts_with(part))
}
