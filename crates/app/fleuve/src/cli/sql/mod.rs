//! `fleuve sql`: a prompt, or statements from the command line, a file or standard input.

mod complete;
mod highlight;
mod meta;
mod prompt;
mod script;
mod split;

#[cfg(test)]
mod tests;

use std::io::{IsTerminal, Read};
use std::process::ExitCode;

use fleuve_types::{Error, Result};
use serde_json::{Value, json};

use super::args::{RowFormat, SqlArgs};
use super::http::Server;
use super::render::Rows;
use super::term;

/// Standard input and files are read whole; nobody writes so much SQL.
const MAX_SCRIPT_BYTES: u64 = 256 << 20;

/// What one statement gave.
#[derive(Debug)]
pub enum Reply {
    /// Rows of a query, and what the user should know about them.
    Rows(Rows, Vec<String>),
    /// Something was done.
    Done {
        /// The command tag, such as `CREATE STREAM`.
        tag: String,
        /// Things the user should know.
        notices: Vec<String>,
    },
}

/// `fleuve sql`
pub async fn run(args: SqlArgs) -> Result<ExitCode> {
    let server = Server::find(&args.server);
    let (name, text) = match (args.command, args.file) {
        (Some(text), _) => (None, text),
        (None, Some(path)) if path.as_os_str() != "-" => {
            let file =
                std::fs::File::open(&path).map_err(|e| Error::io(format!("cannot read {}", path.display()), e))?;
            (Some(path.display().to_string()), read_script(file, &path.display().to_string())?)
        }
        (None, None) if std::io::stdin().is_terminal() => {
            if args.format != RowFormat::Table {
                return Err(Error::input("--format is for scripts: say what to run with -c or -f"));
            }
            return prompt::run(server).await;
        }
        _ => (None, read_script(std::io::stdin(), "standard input")?),
    };
    if args.format == RowFormat::Arrow && std::io::stdout().is_terminal() {
        return Err(
            Error::input("an Arrow stream is no text for a terminal").hint("write it into a file: > rows.arrows")
        );
    }
    script::run(&server, &text, args.format).await.map_err(|mut error| {
        if let (Some(location), Some(name)) = (error.location.as_mut(), name) {
            location.file = Some(name);
        }
        error
    })?;
    Ok(ExitCode::SUCCESS)
}

fn read_script(from: impl Read, name: &str) -> Result<String> {
    let mut text = String::new();
    from.take(MAX_SCRIPT_BYTES + 1)
        .read_to_string(&mut text)
        .map_err(|e| Error::io(format!("cannot read {name}"), e))?;
    match text.len() as u64 > MAX_SCRIPT_BYTES {
        true => Err(Error::input(format!("{name} is longer than {} MiB", MAX_SCRIPT_BYTES >> 20))),
        false => Ok(text),
    }
}

/// Runs statements and takes all that they give.
///
/// # Errors
/// The server's, with the place in `sql`.
pub async fn ask(server: &Server, sql: &str) -> Result<Vec<Reply>> {
    let mut answer = server.post_json("/v1/sql", &json!({"sql": sql})).await?;
    let Value::Array(results) = answer["results"].take() else {
        return Err(Error::bug("the server's answer has no results"));
    };
    results.into_iter().map(reply).collect()
}

/// The rows of a single query.
///
/// # Errors
/// As for [`ask`].
pub async fn ask_rows(server: &Server, sql: &str) -> Result<Rows> {
    let replies = ask(server, sql).await?;
    let rows = replies.into_iter().rev().find_map(|reply| match reply {
        Reply::Rows(rows, _) => Some(rows),
        Reply::Done { .. } => None,
    });
    rows.ok_or_else(|| Error::bug(format!("the server gave no rows for {sql}")))
}

fn reply(mut result: Value) -> Result<Reply> {
    let notices = result["notices"].as_array().map(Vec::as_slice).unwrap_or_default();
    let notices = notices.iter().filter_map(|n| n.as_str().map(ToString::to_string)).collect();
    if let Some(rows) = Rows::from_json(&mut result)? {
        return Ok(Reply::Rows(rows, notices));
    }
    Ok(Reply::Done { tag: result["tag"].as_str().unwrap_or_default().to_string(), notices })
}

/// The object of `SUBSCRIBE [TO] name`; `None` for any other statement.
fn subscribed(statement: &str) -> Option<String> {
    if split::first_word(statement) != "SUBSCRIBE" {
        return None;
    }
    let at = statement.to_ascii_uppercase().find("SUBSCRIBE")? + "SUBSCRIBE".len();
    let rest = statement[at..].trim();
    let name = match rest.split_once(char::is_whitespace) {
        Some((to, name)) if to.eq_ignore_ascii_case("to") => name,
        _ => rest,
    };
    let name = name.trim();
    (!name.is_empty()).then(|| name.to_string())
}

/// How rows are drawn on whatever standard output is.
pub(super) fn table_style() -> super::render::TableStyle {
    let terminal = std::io::stdout().is_terminal();
    super::render::TableStyle { paint: term::Paint::stdout(), max_width: terminal.then(|| term::size().0) }
}
