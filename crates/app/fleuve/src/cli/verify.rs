//! `fleuve verify`: a view against the batch answer of its own query.
//!
//! Both sides are read by one statement, so they show one epoch. A view over other views is compared over those views as they are
//! kept; when all are equal, so is the whole.

use std::collections::HashMap;
use std::process::ExitCode;

use fleuve_types::{Error, Result};
use serde_json::Value;

use super::args::VerifyArgs;
use super::http::Server;
use super::render::{Rows, plain};
use super::sql::ask_rows;
use super::term::{Out, Paint};

/// Sums of floating point numbers depend on the order of the rows; this much is the same number.
const RELATIVE_TOLERANCE: f64 = 1e-9;

/// How the two answers relate.
#[derive(Debug, Default, PartialEq)]
pub struct Difference {
    /// Rows of the view.
    pub rows: usize,
    /// Rows that the batch answer lacks.
    pub only_view: Vec<Vec<Value>>,
    /// Rows that the view lacks.
    pub only_batch: Vec<Vec<Value>>,
}

/// `fleuve verify`
pub async fn run(args: VerifyArgs) -> Result<ExitCode> {
    let server = Server::find(&args.server);
    let views = match args.views.is_empty() {
        true => all_views(&server).await?,
        false => args.views,
    };
    let paint = Paint::stdout();
    let mut out = Out::new();
    let mut wrong = 0;
    for view in &views {
        let Some((query, leaves_out)) = query_of_view(&server, view).await? else {
            out.line(&format!(
                "{} {view}: not compared, it shows closed windows without late rows (EMIT ON WINDOW CLOSE)",
                paint.dim("skipped")
            ))?;
            continue;
        };
        let difference = match compare(&server, view, &query).await {
            Err(e) if leaves_out => {
                let why = "not compared, it leaves out rows that the batch engine fails for";
                out.line(&format!("{} {view}: {why}: {e}", paint.dim("skipped")))?;
                continue;
            }
            compared => compared?,
        };
        if difference.only_view.is_empty() && difference.only_batch.is_empty() {
            out.line(&format!("{} {view}: {} rows, equal to the batch answer", paint.green("ok"), difference.rows))?;
            continue;
        }
        wrong += 1;
        let (extra, missing) = (difference.only_view.len(), difference.only_batch.len());
        out.line(&format!(
            "{} {view}: {} rows; {extra} that the batch answer lacks, {missing} that only it has",
            paint.red("differs"),
            difference.rows
        ))?;
        for (sign, rows) in [("view ", &difference.only_view), ("batch", &difference.only_batch)] {
            for row in rows.iter().take(args.show) {
                out.line(&format!("  {sign} {}", Value::Array(row.clone())))?;
            }
        }
    }
    if views.is_empty() {
        out.line("There is no view.")?;
    }
    out.flush()?;
    Ok(if wrong == 0 { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

async fn all_views(server: &Server) -> Result<Vec<String>> {
    let rows = ask_rows(server, "SHOW VIEWS").await?;
    let at = rows
        .columns
        .iter()
        .position(|c| c.name == "name")
        .ok_or_else(|| Error::bug("SHOW VIEWS has no column of names"))?;
    Ok(rows.rows.iter().filter_map(|row| plain(row.get(at)?)).map(|name| in_sql(&name)).collect())
}

/// `name` or `namespace.name` as SQL writes it.
fn in_sql(name: &str) -> String {
    let part = |part: &str| match part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_') {
        true => part.to_string(),
        false => format!("\"{}\"", part.replace('"', "\"\"")),
    };
    match name.split_once('.') {
        Some((namespace, name)) => format!("{}.{}", part(namespace), part(name)),
        None => part(name),
    }
}

/// A view's query, and whether it leaves out rows that fail. `None` for a view whose answer the batch answer of its query is not.
async fn query_of_view(server: &Server, view: &str) -> Result<Option<(String, bool)>> {
    let created = ask_rows(server, &format!("SHOW CREATE MATERIALIZED VIEW {view}")).await?;
    let statement = created.rows.first().and_then(|row| row.iter().rev().find_map(Value::as_str)).unwrap_or_default();
    // The catalog's own spelling.
    let (statement, leaves_out) = match statement.strip_suffix(" ON ERROR SKIP TO DEAD LETTER") {
        Some(rest) => (rest, true),
        None => (statement, false),
    };
    if statement.trim_end_matches([';', ' ']).ends_with(" EMIT ON WINDOW CLOSE") {
        return Ok(None);
    }
    let query = query_of(statement).ok_or_else(|| Error::input(format!("{view} is not a materialized view")))?;
    Ok(Some((query.into(), leaves_out)))
}

async fn compare(server: &Server, view: &str, query: &str) -> Result<Difference> {
    // What is now in the view is the time of its epoch.
    let both = format!(
        "SET query_time = 'epoch'; SELECT 0 AS \"_side\", \"_v\".* FROM {view} AS \"_v\" UNION ALL SELECT 1 AS \"_side\", \"_q\".* FROM ({query}) AS \"_q\""
    );
    ask_rows(server, &both).await.map(difference)
}

/// The query of a `CREATE MATERIALIZED VIEW` statement: what follows the first `AS` outside of quotes and parentheses.
fn query_of(statement: &str) -> Option<&str> {
    let (mut quoted, mut depth) = (false, 0usize);
    for (at, c) in statement.char_indices() {
        match c {
            '"' => quoted = !quoted,
            '(' if !quoted => depth += 1,
            ')' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
        let word =
            statement[at..].get(..4).is_some_and(|w| w.eq_ignore_ascii_case(" as ") || w.eq_ignore_ascii_case("\nas "));
        if !quoted && depth == 0 && word {
            return Some(statement[at + 4..].trim().trim_end_matches(';'));
        }
    }
    None
}

/// Splits rows by their first column (0 the view, 1 the batch answer) and compares the two sides as multisets.
fn difference(rows: Rows) -> Difference {
    let mut sides: [Vec<Vec<Value>>; 2] = Default::default();
    for mut row in rows.rows {
        let side = usize::from(row.first().and_then(Value::as_i64) == Some(1));
        row.remove(0);
        sides[side].push(row);
    }
    let [view, batch] = sides;
    let total = view.len();
    let (only_view, only_batch) = cancel_equal(view, batch);
    let (only_view, only_batch) = cancel_close(only_view, only_batch);
    Difference { rows: total, only_view, only_batch }
}

type Remaining = (Vec<Vec<Value>>, Vec<Vec<Value>>);

fn cancel_equal(view: Vec<Vec<Value>>, batch: Vec<Vec<Value>>) -> Remaining {
    let key = |row: &Vec<Value>| Value::Array(row.clone()).to_string();
    let mut counts: HashMap<String, usize> = HashMap::new();
    for row in &batch {
        *counts.entry(key(row)).or_default() += 1;
    }
    let mut take = |row: &Vec<Value>| match counts.get_mut(&key(row)) {
        Some(n) if *n > 0 => {
            *n -= 1;
            true
        }
        _ => false,
    };
    let only_view = view.into_iter().filter(|row| !take(row)).collect();
    // What is left in the counts is what the view did not take.
    let only_batch = batch.into_iter().filter(|row| take(row)).collect();
    (only_view, only_batch)
}

/// Of what is left, rows that differ only by the rounding of floating point numbers.
fn cancel_close(view: Vec<Vec<Value>>, mut batch: Vec<Vec<Value>>) -> Remaining {
    let mut only_view = Vec::new();
    for row in view {
        match batch.iter().position(|other| row.len() == other.len() && row.iter().zip(other).all(|(a, b)| close(a, b)))
        {
            Some(at) => {
                batch.swap_remove(at);
            }
            None => only_view.push(row),
        }
    }
    (only_view, batch)
}

fn close(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(x), Value::Number(y)) if x.is_f64() || y.is_f64() => match (x.as_f64(), y.as_f64()) {
            (Some(x), Some(y)) => (x - y).abs() <= RELATIVE_TOLERANCE * x.abs().max(y.abs()),
            _ => false,
        },
        _ => a == b,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn compared(rows: Value) -> Difference {
        let rows = rows.as_array().unwrap().iter().map(|r| r.as_array().unwrap().clone()).collect();
        difference(Rows { columns: Vec::new(), rows })
    }

    #[test]
    fn equal_multisets_in_any_order_are_equal() {
        let d = compared(json!([[0, "a", 1], [0, "b", null], [1, "b", null], [1, "a", 1]]));
        assert_eq!(d, Difference { rows: 2, ..Difference::default() });
    }

    #[test]
    fn copies_count() {
        let d = compared(json!([[0, "a"], [0, "a"], [1, "a"], [1, "b"]]));
        assert_eq!(d.only_view, vec![vec![json!("a")]]);
        assert_eq!(d.only_batch, vec![vec![json!("b")]]);
    }

    #[test]
    fn rounding_is_no_difference_but_a_number_is() {
        let d = compared(json!([[0, "a", 0.1], [1, "a", 0.100_000_000_000_000_02]]));
        assert!(d.only_view.is_empty() && d.only_batch.is_empty());
        let d = compared(json!([[0, "a", 0.1], [1, "a", 0.1001]]));
        assert_eq!((d.only_view.len(), d.only_batch.len()), (1, 1));
        let d = compared(json!([[0, 1], [1, 2]]));
        assert_eq!((d.only_view.len(), d.only_batch.len()), (1, 1));
    }

    #[test]
    fn the_query_is_found_in_the_statement() {
        assert_eq!(query_of("CREATE MATERIALIZED VIEW public.v AS SELECT 1 AS x"), Some("SELECT 1 AS x"));
        assert_eq!(
            query_of("CREATE MATERIALIZED VIEW public.\"a as b\" (x, \"y as z\") AS SELECT 1, 2;"),
            Some("SELECT 1, 2")
        );
        assert_eq!(query_of("CREATE STREAM s (a INT)"), None);
    }
}
