//! `POST /v1/sql`: statements in, rows out, in the form that `Accept` asks for.

use std::pin::Pin;
use std::sync::Arc;

use arrow::array::{RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use fleuve_sql::{Outcome, RowStream};
use fleuve_types::{Error, ErrorKind, Result};
use futures::{Stream, StreamExt, stream};
use serde::Deserialize;
use tokio::sync::OwnedSemaphorePermit;

use super::request::{BodyType, parse, read};
use super::{Api, MAX_QUERIES, place};
use crate::error::Refusal;
use crate::render::{Csv, Fits, Ipc, Lines, columns_json, push_string, rows_json};

/// Largest JSON answer; it is made whole before it is sent, so that an error on the way still gets its own status. The other forms flow
/// and have no such limit.
pub const MAX_JSON_BYTES: usize = 64 << 20;

/// Tells what the user should know about an answer whose body has rows alone.
const NOTICE_HEADER: HeaderName = HeaderName::from_static("fleuve-notice");
const MAX_NOTICE_HEADERS: usize = 4;
const MAX_NOTICE_HEADER_BYTES: usize = 1024;

const EXAMPLE: &str = r#"{"sql": "SELECT 1"}"#;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Statements {
    sql: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Json,
    Arrow,
    Csv,
    Lines,
}

const FORMATS: [(&str, Format); 4] = [
    ("application/json", Format::Json),
    ("application/vnd.apache.arrow.stream", Format::Arrow),
    ("text/csv", Format::Csv),
    ("application/x-ndjson", Format::Lines),
];

pub(super) async fn sql(State(api): State<Api>, request: Request) -> Result<Response, Refusal> {
    let format = accepted(request.headers())?;
    let (kind, text) = read(request).await?;
    let sql = match kind {
        BodyType::Json => parse::<Statements>(&text, EXAMPLE)?.sql,
        BodyType::Text => text,
    };
    let held = place(&api.queries, "queries", MAX_QUERIES)?;
    let outcomes = api.sql.execute(&sql).await?;
    if outcomes.iter().any(|o| matches!(o, Outcome::Changes(_))) {
        return Err(Error::unsupported("SUBSCRIBE does not end, so it can't be answered here")
            .hint("GET /v1/subscribe?name=VIEW gives a view's changes as server-sent events")
            .into());
    }
    match format {
        Format::Json => {
            let body = as_json(outcomes).await?;
            Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
        }
        _ => as_rows(outcomes, format, held).await,
    }
}

/// The first format that the client names and that there is, by its own order of preference.
fn accepted(headers: &HeaderMap) -> Result<Format, Refusal> {
    let said: Vec<&str> = headers.get_all(header::ACCEPT).iter().filter_map(|v| v.to_str().ok()).collect();
    if said.is_empty() {
        return Ok(Format::Json);
    }
    let said = said.join(",");
    let mut asked: Vec<(f32, &str)> = said
        .split(',')
        .filter_map(|range| {
            let mut parts = range.split(';').map(str::trim);
            let name = parts.next()?;
            let quality = parts.find_map(|p| p.strip_prefix("q=")).map_or(Some(1.0), |q| q.parse().ok())?;
            (quality > 0.0).then_some((quality, name))
        })
        .collect();
    asked.sort_by(|a, b| b.0.total_cmp(&a.0));
    let found = asked.iter().find_map(|(_, name)| match *name {
        "*/*" | "application/*" => Some(Format::Json),
        "text/*" => Some(Format::Csv),
        name => FORMATS.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, format)| *format),
    });
    found.ok_or_else(|| {
        let known: Vec<_> = FORMATS.iter().map(|(name, _)| *name).collect();
        let error = Error::new(ErrorKind::Input, format!("rows can't be given as '{said}'"))
            .hint(format!("there is {}", known.join(", ")));
        Refusal::new(StatusCode::NOT_ACCEPTABLE, error)
    })
}

async fn as_json(outcomes: Vec<Outcome>) -> Result<String> {
    let mut out = "{\"results\":[".to_string();
    for (n, outcome) in outcomes.into_iter().enumerate() {
        if n > 0 {
            out.push(',');
        }
        match outcome {
            Outcome::Rows { schema, mut rows, notices } => {
                out.push_str("{\"columns\":");
                out.push_str(&columns_json(&schema));
                out.push_str(",\"rows\":[");
                let mut count = 0;
                while let Some(batch) = rows.next().await.transpose()? {
                    count += batch.num_rows();
                    if rows_json(&batch, MAX_JSON_BYTES, &mut out)? == Fits::No {
                        return Err(too_long());
                    }
                }
                out.push_str(&format!("],\"row_count\":{count}"));
                if !notices.is_empty() {
                    let notices = serde_json::Value::from(notices);
                    out.push_str(&format!(",\"notices\":{notices}"));
                }
                out.push('}');
            }
            Outcome::Done { tag, notices } => {
                out.push_str("{\"tag\":");
                push_string(&tag, &mut out);
                let notices = serde_json::Value::from(notices);
                out.push_str(&format!(",\"notices\":{notices}}}"));
            }
            Outcome::Changes(_) => return Err(Error::bug("a subscription among the results")),
        }
    }
    out.push_str("]}");
    Ok(out)
}

fn too_long() -> Error {
    Error::new(ErrorKind::Limit, format!("the answer has more than {MAX_JSON_BYTES} bytes as JSON"))
        .hint("add a LIMIT, or ask for application/vnd.apache.arrow.stream, text/csv or application/x-ndjson")
}

/// The last result that has rows; of statements that give none, their tags.
async fn as_rows(outcomes: Vec<Outcome>, format: Format, held: OwnedSemaphorePermit) -> Result<Response, Refusal> {
    let tags: Vec<String> = outcomes
        .iter()
        .filter_map(|o| if let Outcome::Done { tag, .. } = o { Some(tag.clone()) } else { None })
        .collect();
    let notices = notice_headers(&outcomes);
    let last = outcomes.into_iter().rev().find_map(|o| match o {
        Outcome::Rows { schema, rows, .. } => Some((schema, rows)),
        _ => None,
    });
    let (schema, mut rows) = match last {
        Some(last) => last,
        None => tag_rows(tags)?,
    };
    // The first batch is waited for: most errors come before it, and can still have their status.
    let first = rows.next().await.transpose()?;
    let rows = stream::iter(first.map(Ok)).chain(rows);
    let mut writer = RowWriter::new(format, &schema)?;
    let head = writer.head();
    let body: Pin<Box<dyn Stream<Item = Result<Bytes>> + Send>> = Box::pin(flow(rows, writer, held));
    let body = stream::iter([Ok(Bytes::from(head))]).chain(body).map(|part| {
        // The client sees the connection break off: the rows that it has are not all.
        part.inspect_err(|error| tracing::warn!(%error, "a query failed after rows were sent"))
    });
    let kind = FORMATS.iter().find(|(_, f)| *f == format).map_or("", |(name, _)| name);
    let kind = if kind.starts_with("text/") { format!("{kind}; charset=utf-8; header=present") } else { kind.into() };
    Ok((notices, [(header::CONTENT_TYPE, kind)], Body::from_stream(body)).into_response())
}

/// What the user should know, where the body has rows alone: a header for each, without line ends and not longer than a proxy lets pass.
fn notice_headers(outcomes: &[Outcome]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let notices = outcomes.iter().flat_map(|o| match o {
        Outcome::Rows { notices, .. } | Outcome::Done { notices, .. } => notices.as_slice(),
        Outcome::Changes(_) => &[],
    });
    for notice in notices.take(MAX_NOTICE_HEADERS) {
        let text: String = notice.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let text = &text[..text.floor_char_boundary(MAX_NOTICE_HEADER_BYTES)];
        if let Ok(value) = HeaderValue::from_bytes(text.as_bytes()) {
            headers.append(NOTICE_HEADER, value);
        }
    }
    headers
}

fn tag_rows(tags: Vec<String>) -> Result<(SchemaRef, RowStream)> {
    let schema = Arc::new(Schema::new(vec![Field::new("tag", DataType::Utf8, false)]));
    let batch = RecordBatch::try_new(schema.clone(), vec![Arc::new(StringArray::from(tags))])
        .map_err(|e| Error::bug(e.to_string()))?;
    Ok((schema, Box::pin(stream::iter([Ok(batch)]))))
}

/// Each batch as bytes, then the end. Dropping it drops the rows, and with them the query.
fn flow(
    rows: impl Stream<Item = Result<RecordBatch>> + Send + Unpin,
    writer: RowWriter,
    held: OwnedSemaphorePermit,
) -> impl Stream<Item = Result<Bytes>> + Send {
    stream::unfold(Some((rows, writer, held)), |state| async move {
        let (mut rows, mut writer, held) = state?;
        match rows.next().await {
            Some(Ok(batch)) => Some((writer.rows(&batch).map(Bytes::from), Some((rows, writer, held)))),
            Some(Err(error)) => Some((Err(error), None)),
            None => Some((writer.end().map(Bytes::from), None)),
        }
    })
}

enum RowWriter {
    Arrow(Box<Ipc>),
    Csv(String),
    Lines,
}

impl RowWriter {
    fn new(format: Format, schema: &SchemaRef) -> Result<Self> {
        Ok(match format {
            Format::Arrow => Self::Arrow(Box::new(Ipc::new(schema)?)),
            Format::Csv => Self::Csv(Csv::header(schema)),
            Format::Lines | Format::Json => Self::Lines,
        })
    }

    fn head(&mut self) -> String {
        match self {
            Self::Csv(header) => std::mem::take(header),
            _ => String::new(),
        }
    }

    fn rows(&mut self, batch: &RecordBatch) -> Result<Vec<u8>> {
        match self {
            Self::Arrow(ipc) => ipc.rows(batch),
            Self::Csv(_) => Csv::rows(batch).map(String::into_bytes),
            Self::Lines => Lines::rows(batch).map(String::into_bytes),
        }
    }

    fn end(&mut self) -> Result<Vec<u8>> {
        match self {
            Self::Arrow(ipc) => ipc.end(),
            _ => Ok(Vec::new()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(notices: &[&str]) -> Vec<Vec<u8>> {
        let notices = notices.iter().map(|n| (*n).to_string()).collect();
        let headers = notice_headers(&[Outcome::Done { tag: "SELECT".into(), notices }]);
        headers.get_all(NOTICE_HEADER).iter().map(|v| v.as_bytes().to_vec()).collect()
    }

    #[test]
    fn a_notice_in_a_header_has_no_line_ends() {
        let told = told(&["view \"a\r\nSet-Cookie: x=1\" stopped\u{0}\u{7f}\u{85}: 1\t/ 0"]);
        assert_eq!(told, [b"view \"a  Set-Cookie: x=1\" stopped   : 1 / 0"]);
    }

    #[test]
    fn notices_in_headers_are_few_and_short() {
        // The cut falls into a letter of three bytes.
        let long = "\u{20ac}".repeat(MAX_NOTICE_HEADER_BYTES);
        let told = told(&[&long, "b", "c", "d", "e"]);
        assert_eq!(told.len(), MAX_NOTICE_HEADERS);
        assert_eq!(told[0], "\u{20ac}".repeat(MAX_NOTICE_HEADER_BYTES / 3).as_bytes());
    }
}
