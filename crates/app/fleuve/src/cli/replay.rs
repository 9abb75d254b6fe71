//! `fleuve replay`: a view's answer at some point of its streams.

use std::io::Write;
use std::process::ExitCode;

use fleuve_types::{Error, Result};
use serde_json::Value;

use super::args::{ReplayArgs, TextFormat};
use super::exact::IN_ROWS;
use super::http::{Server, query_value};
use super::render::{self, Rows};
use super::sql::table_style;
use super::term::Out;

/// `fleuve replay`
pub async fn run(args: ReplayArgs) -> Result<ExitCode> {
    let server = Server::find(&args.server);
    let mut path = format!("/v1/replay?view={}&until={}", query_value(&args.view), query_value(&args.until));
    if let Some(key) = &args.watch {
        path.push_str(&format!("&watch={}", query_value(key)));
    }
    let mut answer = server.get_json(&path, IN_ROWS).await?;
    let rows = Rows::from_json(&mut answer)?.ok_or_else(|| Error::bug("the server's answer has no rows"))?;
    let mut out = Out::new();
    match args.format {
        TextFormat::Json => out.bytes(render::json_array(&rows).as_bytes())?,
        TextFormat::Csv => out.bytes(render::csv(&rows).as_bytes())?,
        TextFormat::Table => out.bytes(render::shown(&rows, table_style()).as_bytes())?,
    }
    out.flush()?;
    // For the person who watches, not for the program that reads the rows.
    let _ = writeln!(std::io::stderr(), "{}", summary(&answer));
    Ok(ExitCode::SUCCESS)
}

fn summary(answer: &Value) -> String {
    let none = Vec::new();
    let read = answer["read"].as_array().unwrap_or(&none).iter().map(|part| {
        let text = |name: &str| part[name].as_str().map_or_else(|| part[name].to_string(), str::to_string);
        format!("{}/{} to offset {}", text("stream"), text("partition"), text("to"))
    });
    let read: Vec<String> = read.collect();
    format!("{} rows of input in {} steps: {}", answer["records"], answer["steps"], read.join(", "))
}
