//! Statements without a prompt.

use std::io::Write;

use fleuve_types::{Error, Result};
use serde_json::json;

use super::split::{first_word, split};
use super::{Reply, ask, subscribed, table_style};
use crate::cli::args::{ChangeFormat, RowFormat};
use crate::cli::http::Server;
use crate::cli::render;
use crate::cli::subscription::{Step, Subscription, change_line};
use crate::cli::term::Out;

/// Runs `text`. A `SUBSCRIBE` in it goes on until it is cut off.
pub(super) async fn run(server: &Server, text: &str, format: RowFormat) -> Result<()> {
    let parts = split(text);
    let statements: Vec<&str> = parts.complete.iter().copied().chain(parts.rest).collect();
    let Some(subscribe) = statements.iter().position(|s| subscribed(s).is_some()) else {
        return match format {
            RowFormat::Arrow => pass_through(server, text, "application/vnd.apache.arrow.stream").await,
            RowFormat::Csv if statements.len() == 1 && gives_rows(statements[0]) => {
                pass_through(server, text, "text/csv").await
            }
            _ => print_all(server, text, format).await,
        };
    };
    for statement in &statements[..subscribe] {
        print_all(server, statement, format).await?;
    }
    let name = subscribed(statements[subscribe]).expect("found as a subscription");
    follow(server, &name, format).await
}

fn gives_rows(statement: &str) -> bool {
    matches!(first_word(statement).as_str(), "SELECT" | "WITH" | "VALUES" | "TABLE")
}

async fn print_all(server: &Server, text: &str, format: RowFormat) -> Result<()> {
    let mut out = Out::new();
    for reply in ask(server, text).await? {
        let (Reply::Rows(_, notices) | Reply::Done { notices, .. }) = &reply;
        notices.iter().for_each(|notice| tell(notice));
        match (reply, format) {
            (Reply::Rows(rows, _), RowFormat::Json) => out.bytes(render::json_array(&rows).as_bytes())?,
            (Reply::Rows(rows, _), RowFormat::Csv) => out.bytes(render::csv(&rows).as_bytes())?,
            (Reply::Rows(rows, _), _) => out.bytes(render::shown(&rows, table_style()).as_bytes())?,
            (Reply::Done { tag, .. }, RowFormat::Table) => out.line(&tag)?,
            (Reply::Done { .. }, _) => {}
        }
    }
    out.flush()
}

/// A notice is for the person who watches, not for the program that reads the rows.
fn tell(notice: &str) {
    let _ = writeln!(std::io::stderr(), "notice: {notice}");
}

/// Lets the server write the format, so that an answer of any size passes by in pieces.
async fn pass_through(server: &Server, text: &str, accept: &str) -> Result<()> {
    let mut answer = server.post("/v1/sql", &json!({"sql": text}), accept).await?;
    if answer.content_type != accept {
        return match accept {
            "text/csv" => Err(Error::bug(format!("the server answered {} instead of CSV", answer.content_type))),
            _ => Err(Error::input("no statement gave rows, so there is nothing to write as Arrow")),
        };
    }
    answer.notices.iter().for_each(|notice| tell(notice));
    let mut out = Out::new();
    let mut lines = PlainLines::default();
    while let Some(piece) = answer.piece().await? {
        match accept {
            "text/csv" => out.bytes(&lines.convert(&piece))?,
            _ => out.bytes(&piece)?,
        }
    }
    out.flush()
}

/// The server ends CSV lines as RFC 4180 wants, with CR LF; a shell wants LF. Texts within quotes stay as they are.
#[derive(Debug, Default)]
pub(super) struct PlainLines {
    quoted: bool,
}

impl PlainLines {
    pub(super) fn convert(&mut self, piece: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(piece.len());
        for byte in piece {
            self.quoted ^= *byte == b'"';
            if *byte != b'\r' || self.quoted {
                out.push(*byte);
            }
        }
        out
    }
}

async fn follow(server: &Server, name: &str, format: RowFormat) -> Result<()> {
    let lines = match format {
        RowFormat::Table => ChangeFormat::Text,
        RowFormat::Json => ChangeFormat::Json,
        _ => return Err(Error::input("a subscription is written as --format table or json")),
    };
    let mut subscription = Subscription::open(server, name).await?;
    let mut out = Out::new();
    while let Some(step) = subscription.next().await? {
        match step {
            Step::Change(change) => out.line(&change_line(&subscription.columns, &change, lines))?,
            Step::Epoch(_) => out.flush()?,
        }
    }
    out.flush()
}
