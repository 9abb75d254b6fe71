//! `fleuve verify`: a view against the batch answer of its own query.
//!
//! Both sides are read by one statement, so they show one epoch. A view over other views is compared over those views as they are
//! kept; when all are equal, so is the whole. A view with EMIT ON WINDOW CLOSE is compared with a replay of its streams up to its epoch.

mod difference;
mod estimates;

use std::process::ExitCode;

use fleuve_types::{Error, Result};
use serde_json::Value;

use super::args::VerifyArgs;
use super::exact::IN_ROWS;
use super::http::{Server, query_value};
use super::render::{Rows, plain};
use super::sql::ask_rows;
use super::subscription::bare_name;
use super::term::{Out, Paint};
use difference::{Difference, difference};
use estimates::estimates;

/// `fleuve verify`
pub async fn run(args: VerifyArgs) -> Result<ExitCode> {
    let server = Server::find(&args.server);
    let states = states(&server).await?;
    let views: Vec<String> = match args.views.is_empty() {
        true => states.iter().map(|s| s.name.clone()).collect(),
        false => args.views,
    };
    let paint = Paint::stdout();
    let mut out = Out::new();
    let mut wrong = 0;
    for view in &views {
        let found = verified(&server, &states, view).await;
        wrong += usize::from(found.is_wrong());
        match found {
            Found::Equal(to, rows) => {
                out.line(&format!("{} {view}: {rows} rows, equal to {}", paint.green("ok"), to.text()))?;
            }
            Found::EqualButFor(to, rows, columns) => {
                out.line(&format!(
                    "{} {view}: {rows} rows, equal to {} but for {}: estimates that depend on the order of the rows",
                    paint.green("ok"),
                    to.text(),
                    columns.join(", ")
                ))?;
            }
            Found::Differs(to, difference) => {
                let (extra, missing) = (difference.only_view.len(), difference.only_batch.len());
                out.line(&format!(
                    "{} {view}: {} rows; {extra} that {} lacks, {missing} that only it has",
                    paint.red("differs"),
                    difference.rows,
                    to.text()
                ))?;
                for (sign, rows) in [("view  ", &difference.only_view), (to.sign(), &difference.only_batch)] {
                    for row in rows.iter().take(args.show) {
                        out.line(&format!("  {sign} {}", Value::Array(row.clone())))?;
                    }
                }
            }
            Found::Stopped(why) => out.line(&format!("{} {view}: not compared: {why}", paint.red("stopped")))?,
            Found::Failed(error) => out.line(&format!("{} {view}: not compared: {error}", paint.red("failed")))?,
            Found::Skipped(why) => out.line(&format!("{} {view}: not compared, {why}", paint.dim("skipped")))?,
        }
    }
    if views.is_empty() {
        out.line("There is no view.")?;
    }
    out.flush()?;
    Ok(if wrong == 0 { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// What a view is compared with.
#[derive(Clone, Copy)]
enum Other {
    Batch,
    Replay,
}

impl Other {
    fn text(self) -> &'static str {
        match self {
            Other::Batch => "the batch answer",
            Other::Replay => "a replay of its streams",
        }
    }

    fn sign(self) -> &'static str {
        match self {
            Other::Batch => "batch ",
            Other::Replay => "replay",
        }
    }
}

/// What came of one view.
enum Found {
    /// So many rows.
    Equal(Other, usize),
    /// So many rows, which differ in these columns alone.
    EqualButFor(Other, usize, Vec<String>),
    Differs(Other, Difference),
    /// It shows an answer of before.
    Stopped(String),
    Failed(Error),
    Skipped(String),
}

impl Found {
    fn is_wrong(&self) -> bool {
        matches!(self, Found::Differs(..) | Found::Stopped(_) | Found::Failed(_))
    }
}

async fn verified(server: &Server, states: &[State], view: &str) -> Found {
    if let Some(why) = stopped(states, view) {
        return Found::Stopped(why);
    }
    let (to, compared) = match query_of_view(server, view).await {
        Ok(Query { text, leaves_out, on_close: false }) => {
            (Other::Batch, (compare(server, view, &text).await, leaves_out))
        }
        // What leaves rows out does so in a replay, too.
        Ok(Query { text, .. }) => (Other::Replay, (compare_with_replay(server, view, &text).await, false)),
        Err(e) => (Other::Batch, (Err(e), false)),
    };
    match compared {
        (Ok(Compared { difference: d, estimated, .. }), _) if d.only_view.is_empty() && d.only_batch.is_empty() => {
            return match d.but_for_estimates {
                0 => Found::Equal(to, d.rows),
                _ => Found::EqualButFor(to, d.rows, estimated),
            };
        }
        (Ok(Compared { elsewhere: Some(function), .. }), _) => {
            return Found::Skipped(format!(
                "{function} estimates by the order of the rows, and what it gives decides about more than its column"
            ));
        }
        (Err(e), true) => return Found::Skipped(format!("it leaves out rows that the batch engine fails for: {e}")),
        _ => {}
    }
    // It may have stopped meanwhile.
    let now = self::states(server).await.ok().and_then(|states| stopped(&states, view));
    match (now, compared.0) {
        (Some(why), _) => Found::Stopped(why),
        (None, Ok(compared)) => Found::Differs(to, compared.difference),
        (None, Err(e)) => Found::Failed(e),
    }
}

/// A view as `SHOW VIEWS` has it.
struct State {
    /// As SQL writes it.
    name: String,
    word: String,
    detail: String,
}

async fn states(server: &Server) -> Result<Vec<State>> {
    let rows = ask_rows(server, "SHOW VIEWS").await?;
    let place = |name: &str| {
        let found = rows.columns.iter().position(|c| c.name == name);
        found.ok_or_else(|| Error::bug(format!("SHOW VIEWS has no column {name}")))
    };
    let (name, word, detail) = (place("name")?, place("state")?, place("detail")?);
    let text = |row: &[Value], at: usize| row.get(at).and_then(plain).unwrap_or_default();
    let state =
        |row: &Vec<Value>| State { name: in_sql(&text(row, name)), word: text(row, word), detail: text(row, detail) };
    Ok(rows.rows.iter().map(state).collect())
}

/// Why a view takes no part in what comes in any more.
fn stopped(states: &[State], view: &str) -> Option<String> {
    let short = |name: &str| name.strip_prefix("public.").unwrap_or(name).to_string();
    let view = short(&if view.contains('"') { view.to_string() } else { view.to_lowercase() });
    let state = states.iter().find(|s| short(&s.name) == view)?;
    match state.word.as_str() {
        "failed" | "stopped" if state.detail.is_empty() => Some("no reason is known".into()),
        "failed" | "stopped" => Some(state.detail.clone()),
        _ => None,
    }
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

/// A view's query.
struct Query {
    text: String,
    /// Rows that fail.
    leaves_out: bool,
    /// It shows closed windows, without late rows.
    on_close: bool,
}

async fn query_of_view(server: &Server, view: &str) -> Result<Query> {
    let created = ask_rows(server, &format!("SHOW CREATE MATERIALIZED VIEW {view}")).await?;
    let statement = created.rows.first().and_then(|row| row.iter().rev().find_map(Value::as_str)).unwrap_or_default();
    // The catalog's own spelling.
    let (statement, leaves_out) = match statement.strip_suffix(" ON ERROR SKIP TO DEAD LETTER") {
        Some(rest) => (rest, true),
        None => (statement, false),
    };
    let statement = statement.trim_end_matches([';', ' ']);
    let (statement, on_close) = match statement.strip_suffix(" EMIT ON WINDOW CLOSE") {
        Some(rest) => (rest, true),
        None => (statement, false),
    };
    let text = query_of(statement).ok_or_else(|| Error::input(format!("{view} is not a materialized view")))?.into();
    Ok(Query { text, leaves_out, on_close })
}

/// A view and the batch answer.
struct Compared {
    difference: Difference,
    /// The columns that are estimates.
    estimated: Vec<String>,
    /// A function that estimates elsewhere in the query.
    elsewhere: Option<&'static str>,
}

async fn compare(server: &Server, view: &str, query: &str) -> Result<Compared> {
    // What is now in the view is the time of its epoch.
    let both = format!(
        "SET query_time = 'epoch'; SELECT 0 AS \"_side\", \"_v\".* FROM {view} AS \"_v\" UNION ALL SELECT 1 AS \"_side\", \"_q\".* FROM ({query}) AS \"_q\""
    );
    Ok(compared(ask_rows(server, &both).await?, query))
}

/// A view and its streams run again up to its epoch.
async fn compare_with_replay(server: &Server, view: &str, query: &str) -> Result<Compared> {
    let path = format!("/v1/replay?view={}&until=now&compare=true", query_value(&bare_name(view)));
    let mut answer = server.get_json(&path, IN_ROWS).await?;
    let rows = Rows::from_json(&mut answer)?.ok_or_else(|| Error::bug("the server's answer has no rows"))?;
    Ok(compared(rows, query))
}

fn compared(rows: Rows, query: &str) -> Compared {
    // The first column says whose a row is.
    let estimates = estimates(query, rows.columns.len().saturating_sub(1));
    let name = |at: &usize| rows.columns.get(at + 1).map(|c| c.name.clone());
    let estimated = estimates.columns.iter().filter_map(name).collect();
    let difference = difference(rows, &estimates.columns);
    Compared { difference, estimated, elsewhere: estimates.elsewhere }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_query_is_found_in_the_statement() {
        assert_eq!(query_of("CREATE MATERIALIZED VIEW public.v AS SELECT 1 AS x"), Some("SELECT 1 AS x"));
        assert_eq!(
            query_of("CREATE MATERIALIZED VIEW public.\"a as b\" (x, \"y as z\") AS SELECT 1, 2;"),
            Some("SELECT 1, 2")
        );
        assert_eq!(query_of("CREATE STREAM s (a INT)"), None);
    }

    #[test]
    fn a_view_that_stopped_is_found_however_it_is_written() {
        let state = |name: &str, word: &str| State { name: name.into(), word: word.into(), detail: "why".into() };
        let states = [state("v", "failed"), state("other.v", "running"), state("\"V\"", "stopped")];
        for (view, wanted) in
            [("v", true), ("V", true), ("public.v", true), ("other.v", false), ("\"V\"", true), ("nope", false)]
        {
            assert_eq!(stopped(&states, view).is_some(), wanted, "{view}");
        }
    }
}
