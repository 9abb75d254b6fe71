//! One test, in a server of its own.

use std::time::{Duration, Instant};

use arrow::array::timezone::Tz;
use arrow::compute::kernels::cast_utils::string_to_datetime;
use fleuve_sql::{Outcome, ProjectFile, Session};
use fleuve_types::{Error, Location, Result, sql_type_name};
use futures::TryStreamExt;

use super::file::{Step, Test, Wanted};
use super::table::{Place, Table, written};
use crate::cli::render::Column;
use crate::platform::Local;

/// Floating point numbers that differ by less are the same: sums depend on the order of the rows.
const RELATIVE_TOLERANCE: f64 = 1e-9;

/// How a test went.
#[derive(Debug)]
pub struct Report {
    pub took: Duration,
    /// Why and where it failed.
    pub failure: Option<Failure>,
    /// The tables that are to be written into the file, and where they belong in it.
    pub tables: Vec<(Place, Vec<String>)>,
}

impl Report {
    /// That of a file that cannot be read.
    pub fn unreadable(path: &str, mut error: Error) -> Self {
        let begin = || Location { file: Some(path.to_string()), line: 1, column: 1 };
        let at = error.location.take().unwrap_or_else(begin);
        let what = What::Message(error.to_string());
        Self { took: Duration::ZERO, failure: Some(Failure { at, sql: String::new(), what }), tables: vec![] }
    }
}

/// A statement that did not give what it should.
#[derive(Debug)]
pub struct Failure {
    pub at: Location,
    /// Empty of a file that cannot be read.
    pub sql: String,
    pub what: What,
}

/// What is wrong.
#[derive(Debug)]
pub enum What {
    Message(String),
    Rows(Difference),
}

/// Rows that were found and rows that are wanted.
#[derive(Debug, PartialEq)]
pub struct Difference {
    pub columns: Vec<Column>,
    /// Each row with `-` if it is wanted but not there, `+` if it is there but not wanted, else a blank.
    pub rows: Vec<(char, Vec<Option<String>>)>,
    /// The rows are right, but not their order: `+` is the first that is out of place, before it `-` the one that is wanted there.
    pub order_only: bool,
}

/// Rows as a query gave them.
pub struct Found {
    pub columns: Vec<Column>,
    pub rows: Vec<Vec<Option<String>>>,
}

/// Runs a test. With `write`, a table that is missing or differs is no failure: it is to be written.
///
/// # Errors
/// When no server can be started or the project cannot be applied; that is no fault of the test.
pub async fn run(project: &[ProjectFile], test: &Test, write: bool) -> Result<Report> {
    let begun = Instant::now();
    let local = Local::start_at(test.steps.iter().find_map(|step| step.now_us)).await?;
    let session = local.session();
    let applied = session.apply(project, false).await;
    let mut report = Report { took: Duration::ZERO, failure: None, tables: vec![] };
    if applied.is_ok() {
        for step in &test.steps {
            let tables = write.then_some(&mut report.tables);
            if let Some(what) = run_step(&local, &session, step, tables).await {
                report.failure = Some(Failure { at: step.at.clone(), sql: step.sql.clone(), what });
                break;
            }
        }
    }
    drop(session);
    local.stop().await;
    applied?;
    report.took = begun.elapsed();
    Ok(report)
}

async fn run_step(
    local: &Local,
    session: &Session,
    step: &Step,
    to_write: Option<&mut Vec<(Place, Vec<String>)>>,
) -> Option<What> {
    if let Some(now_us) = step.now_us {
        let set = async {
            local.settle().await?;
            local.set_time(now_us).await
        };
        return set.await.err().map(|e| What::Message(e.to_string()));
    }
    let found = match local.settle().await {
        Ok(()) => execute(session, &step.sql).await,
        Err(e) => Err(e),
    };
    let message = |text: String| Some(What::Message(text));
    match (&step.wanted, found) {
        (Wanted::Error(text), Err(e)) if contains(&e.to_string(), text) => None,
        (Wanted::Error(text), Err(e)) => message(format!("it is to fail with '{text}', but fails with: {e}")),
        (Wanted::Error(text), Ok(_)) => message(format!("it is to fail with '{text}', but works")),
        (_, Err(mut e)) => {
            // The place in the statement, as a place in the file.
            e.location = None;
            message(format!("it fails: {e}"))
        }
        (Wanted::Nothing, Ok(None)) => None,
        (Wanted::Rows(_) | Wanted::Missing, Ok(None)) => message("it gives no rows".into()),
        (wanted, Ok(Some(found))) => {
            let given = table(step, &found);
            let wrong = match wanted {
                Wanted::Rows(wanted) => Some(compare(wanted, found, step.ordered)?),
                Wanted::Missing => message(LACKS_TABLE.into()),
                _ => None,
            };
            let Some(tables) = to_write else { return wrong };
            tables.push(given);
            None
        }
    }
}

const LACKS_TABLE: &str =
    "the query lacks the table that it is to give (write it as comments under the query; `fleuve test --write` does)";

/// What `--write` writes: rows without an order of their own are sorted, so that it writes the same again.
fn table(step: &Step, found: &Found) -> (Place, Vec<String>) {
    let mut rows = found.rows.clone();
    if !step.ordered {
        rows.sort();
    }
    (step.place.clone(), written(&found.columns, &rows))
}

fn contains(message: &str, text: &str) -> bool {
    message.to_lowercase().contains(&text.to_lowercase())
}

async fn execute(session: &Session, sql: &str) -> Result<Option<Found>> {
    let mut last = None;
    for outcome in session.execute(sql).await? {
        last = match outcome {
            Outcome::Done { .. } => None,
            Outcome::Changes(_) => return Err(Error::unsupported("SUBSCRIBE has no end, so it is no part of a test")),
            Outcome::Rows { schema, rows, .. } => {
                let columns = schema
                    .fields()
                    .iter()
                    .map(|f| Column { name: f.name().clone(), sql_type: sql_type_name(f.data_type()) })
                    .collect();
                let batches: Vec<_> = rows.try_collect().await?;
                let rows = batches.iter().map(fleuve_http::texts).collect::<Result<Vec<_>>>()?.concat();
                Some(Found { columns, rows })
            }
        };
    }
    Ok(last)
}

/// Compares a table with rows; `None` if they are equal.
pub fn compare(wanted: &Table, found: Found, ordered: bool) -> Option<What> {
    let names: Vec<&str> = found.columns.iter().map(|c| c.name.as_str()).collect();
    if names != wanted.columns {
        let text = format!("its columns are {}; wanted are {}", names.join(", "), wanted.columns.join(", "));
        return Some(What::Message(text));
    }
    let same = |a: &Vec<Option<String>>, b: &Vec<Option<String>>| {
        a.iter().zip(b).zip(&found.columns).all(|((a, b), column)| same_value(a.as_ref(), b.as_ref(), column))
    };
    let mut left = wanted.rows.clone();
    let mut rows: Vec<(char, Vec<Option<String>>)> = vec![];
    for row in &found.rows {
        match left.iter().position(|other| same(other, row)) {
            Some(at) => {
                left.remove(at);
                rows.push((' ', row.clone()));
            }
            None => rows.push(('+', row.clone())),
        }
    }
    let equal = left.is_empty() && rows.iter().all(|(sign, _)| *sign == ' ');
    if equal {
        let first = wanted.rows.iter().zip(&found.rows).position(|(a, b)| !same(a, b)).filter(|_| ordered)?;
        rows[first].0 = '+';
        rows.insert(first, ('-', wanted.rows[first].clone()));
    }
    rows.extend(left.into_iter().map(|row| ('-', row)));
    Some(What::Rows(Difference { columns: found.columns, rows, order_only: equal }))
}

fn same_value(wanted: Option<&String>, found: Option<&String>, column: &Column) -> bool {
    let (Some(wanted), Some(found)) = (wanted, found) else { return wanted.is_none() && found.is_none() };
    if wanted == found {
        return true;
    }
    if column.is_number() {
        return same_number(wanted, found, matches!(column.sql_type.as_str(), "REAL" | "DOUBLE PRECISION"));
    }
    column.sql_type.starts_with("TIMESTAMP") && moment(wanted).is_some_and(|time| moment(found) == Some(time))
}

fn same_number(wanted: &str, found: &str, float: bool) -> bool {
    let short = |text: &str| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_string(),
        false => text.to_string(),
    };
    match (wanted.parse::<f64>(), found.parse::<f64>()) {
        (Ok(a), Ok(b)) if float => (a - b).abs() <= RELATIVE_TOLERANCE * a.abs().max(b.abs()),
        _ => short(wanted) == short(found),
    }
}

/// A moment in one of its usual forms, as seconds and nanoseconds: `2024-05-01`, `2024-05-01 10:00`, `2024-05-01T10:00:00.000Z`,
/// `2024-05-01 12:00:00+02`. Without an offset it is UTC.
fn moment(text: &str) -> Option<(i64, u32)> {
    let utc: Tz = "+00:00".parse().ok()?;
    let read = |text: &str| string_to_datetime(&utc, text).ok();
    let without_seconds = || {
        let (minute, zone) = text.split_at_checked("2024-05-01 10:00".len())?;
        read(&format!("{minute}:00{zone}"))
    };
    let time = read(text).or_else(without_seconds)?;
    Some((time.timestamp(), time.timestamp_subsec_nanos()))
}
