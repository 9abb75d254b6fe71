//! Completion: keywords, and the names of what the server has.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use reedline::{Completer, Span, Suggestion};

use super::ask_rows;
use crate::cli::http::Server;
use crate::cli::render::plain;

const KEYWORDS: &[&str] = &[
    "ALL",
    "ALTER",
    "AND",
    "AS",
    "ASC",
    "AVRO",
    "BETWEEN",
    "BIGINT",
    "BOOLEAN",
    "BY",
    "CASE",
    "CAST",
    "CHECK",
    "COMMENT",
    "CREATE",
    "CROSS",
    "CSV",
    "CUMULATE",
    "DATE",
    "DECIMAL",
    "DESC",
    "DESCRIBE",
    "DISTINCT",
    "DOUBLE",
    "DROP",
    "ELSE",
    "EMIT",
    "END",
    "EXCEPT",
    "EXISTS",
    "EXPLAIN",
    "EXTRACT",
    "FALSE",
    "FILTER",
    "FORMAT",
    "FROM",
    "FULL",
    "GROUP",
    "HAVING",
    "HOP",
    "IF",
    "IN",
    "INNER",
    "INSERT",
    "INT",
    "INTERSECT",
    "INTERVAL",
    "INTO",
    "IS",
    "JOIN",
    "JSON",
    "LAST",
    "LEFT",
    "LIKE",
    "LIMIT",
    "MATERIALIZED",
    "NOT",
    "NULL",
    "NULLS",
    "OFFSET",
    "ON",
    "OR",
    "ORDER",
    "OUTER",
    "OVER",
    "PARTITION",
    "PRIMARY",
    "RECURSIVE",
    "REPLACE",
    "RIGHT",
    "SELECT",
    "SESSION",
    "SHOW",
    "SINK",
    "SINKS",
    "SOURCE",
    "SOURCES",
    "STREAM",
    "STREAMS",
    "SUBSCRIBE",
    "TABLE",
    "TEXT",
    "THEN",
    "TIMESTAMP",
    "TO",
    "TRUE",
    "TUMBLE",
    "UNION",
    "USING",
    "VALUES",
    "VIEW",
    "VIEWS",
    "WATERMARK",
    "WHEN",
    "WHERE",
    "WINDOW",
    "WITH",
    "approx_distinct",
    "avg",
    "coalesce",
    "count",
    "date_bin",
    "date_trunc",
    "lag",
    "lower",
    "max",
    "min",
    "now",
    "rank",
    "row_number",
    "stddev",
    "substr",
    "sum",
    "upper",
];

/// More suggestions than a screen shows help nobody.
const MAX_SUGGESTIONS: usize = 200;

/// True for a word of SQL (not for a function's name).
pub(super) fn is_keyword(word: &str) -> bool {
    let upper = word.to_ascii_uppercase();
    KEYWORDS.binary_search(&upper.as_str()).is_ok()
}

/// The names that the server knows: derived from it, refreshed after each statement that changes them.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// Object -> its columns with their types.
    pub objects: BTreeMap<String, Vec<(String, String)>>,
}

impl Names {
    /// Asks the server. What it does not tell is not completed; that is no error.
    pub(super) async fn fetch(server: &Server) -> Self {
        let sql = "SELECT table_schema, table_name, column_name, data_type FROM information_schema.columns \
                   WHERE table_schema NOT IN ('information_schema', 'pg_catalog') ORDER BY 1, 2, ordinal_position";
        let mut names = Names::default();
        let Ok(rows) = ask_rows(server, sql).await else { return names };
        for row in rows.rows {
            let fields: Vec<String> = row.iter().map(|v| plain(v).unwrap_or_default()).collect();
            let [schema, table, column, data_type] = fields.as_slice() else { continue };
            let object = if schema == "public" { table.clone() } else { format!("{schema}.{table}") };
            names.objects.entry(object).or_default().push((column.clone(), sql_name(data_type)));
        }
        names
    }
}

/// `information_schema` names types as Arrow does; the user wrote them as SQL does.
fn sql_name(arrow: &str) -> String {
    let plain = match arrow {
        "Boolean" => "BOOLEAN",
        "Int16" => "SMALLINT",
        "Int32" => "INT",
        "Int64" => "BIGINT",
        "Float32" => "REAL",
        "Float64" => "DOUBLE PRECISION",
        "Utf8" | "LargeUtf8" | "Utf8View" => "TEXT",
        "Binary" | "LargeBinary" | "BinaryView" => "BYTEA",
        "Date32" => "DATE",
        other if other.starts_with("Timestamp") => "TIMESTAMP",
        other => return other.replace("Decimal128", "DECIMAL").replace(", ", ","),
    };
    plain.to_string()
}

/// Completes at the cursor.
pub(super) struct SqlCompleter {
    names: Arc<Mutex<Names>>,
}

impl SqlCompleter {
    pub(super) fn new(names: Arc<Mutex<Names>>) -> Self {
        Self { names }
    }
}

impl Completer for SqlCompleter {
    fn complete(&mut self, line: &str, pos: usize) -> Vec<Suggestion> {
        let names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        suggest(&names, line, pos)
    }
}

/// What could stand at `pos`.
pub(super) fn suggest(names: &Names, line: &str, pos: usize) -> Vec<Suggestion> {
    let before = &line[..pos];
    let start = before
        .rfind(|c: char| !c.is_alphanumeric() && c != '_' && c != '.')
        .map_or(0, |n| n + before[n..].chars().next().map_or(1, char::len_utf8));
    let word = &before[start..];
    let command = before.trim_start().starts_with('\\');
    if word.is_empty() && !command {
        return Vec::new();
    }
    let make = |value: String, description: Option<String>, start: usize| Suggestion {
        value,
        description,
        span: Span::new(start, pos),
        append_whitespace: true,
        ..Suggestion::default()
    };
    let starts =
        |name: &str, word: &str| name.len() >= word.len() && name.to_lowercase().starts_with(&word.to_lowercase());
    let mut found = Vec::new();
    if let Some((qualifier, part)) = word.rsplit_once('.') {
        let object = names.objects.get(&resolve(line, qualifier));
        let columns = object.into_iter().flatten().filter(|(name, _)| starts(name, part));
        found.extend(columns.map(|(name, t)| make(name.clone(), Some(t.clone()), start + qualifier.len() + 1)));
    }
    let mentioned = line.to_lowercase();
    for (object, columns) in names.objects.iter().filter(|_| !command && !word.contains('.')) {
        let in_use = mentioned.contains(object.to_lowercase().as_str());
        let columns = columns.iter().filter(|(name, _)| in_use && starts(name, word));
        found.extend(columns.map(|(name, t)| make(name.clone(), Some(format!("{t} of {object}")), start)));
    }
    for (object, columns) in names.objects.iter().filter(|(object, _)| starts(object, word)) {
        found.push(make(object.clone(), Some(format!("{} columns", columns.len())), start));
    }
    if !command && !word.contains('.') {
        found.extend(KEYWORDS.iter().filter(|k| starts(k, word)).map(|k| {
            let lower = word.chars().all(char::is_lowercase);
            make(if lower { k.to_lowercase() } else { (*k).to_string() }, None, start)
        }));
    }
    let mut seen = std::collections::HashSet::new();
    found.retain(|s| seen.insert(s.value.clone()));
    found.truncate(MAX_SUGGESTIONS);
    // The line editor takes the first one whole when another is the beginning of it; so that one goes first.
    if let Some(shortest) = (0..found.len()).min_by_key(|i| found[*i].value.len())
        && found.iter().all(|s| s.value.starts_with(&found[shortest].value))
    {
        found[..=shortest].rotate_right(1);
    }
    found
}

/// The object that a qualifier means: itself, or what it is an alias of in the line (`FROM orders o`, `FROM orders AS o`).
fn resolve(line: &str, qualifier: &str) -> String {
    let words: Vec<&str> =
        line.split(|c: char| c.is_whitespace() || c == ',' || c == '(' || c == ')').filter(|w| !w.is_empty()).collect();
    for (at, word) in words.iter().enumerate() {
        if at == 0 || !word.eq_ignore_ascii_case(qualifier) {
            continue;
        }
        let before = words[at - 1];
        let object = if before.eq_ignore_ascii_case("as") && at > 1 { words[at - 2] } else { before };
        if !is_keyword(object) {
            return object.to_lowercase();
        }
    }
    qualifier.to_string()
}
