//! `GET /v1/replay?view=NAME&until=POINT[&watch=KEY]`: a view run again.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use fleuve_types::{Error, ErrorKind};
use serde::Deserialize;
use serde_json::json;

use super::{Api, MAX_JSON_BYTES, MAX_QUERIES, place};
use crate::error::Refusal;
use crate::render::{Fits, columns_json, rows_json};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    view: String,
    until: String,
    /// The values of the view's key, with commas between.
    watch: Option<String>,
}

pub(super) async fn replay(
    State(api): State<Api>,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Result<Response, Refusal> {
    let example = "as in /v1/replay?view=revenue&until=orders/0@1234";
    let Query(asked) = asked.map_err(|e| Error::input(e.body_text()).hint(example))?;
    let _held = place(&api.queries, "queries", MAX_QUERIES)?;
    let name = asked.view.split_once('.').unwrap_or(("public", &asked.view));
    let watch = asked.watch.map(|w| w.split(',').map(|v| v.trim().to_string()).collect()).unwrap_or_default();
    let replayed = api.sql.replay(name, &asked.until, watch).await?;
    let mut body = format!("{{\"columns\":{},\"rows\":[", columns_json(&replayed.rows.schema()));
    if rows_json(&replayed.rows, MAX_JSON_BYTES, &mut body)? == Fits::No {
        let message = format!("the answer has more than {MAX_JSON_BYTES} bytes as JSON");
        return Err(Error::new(ErrorKind::Limit, message).hint("replay a view that gives fewer rows").into());
    }
    let read: Vec<_> =
        replayed.ends.iter().map(|(s, p, end)| json!({"stream": s, "partition": p, "to": end})).collect();
    let Json(read) = Json(json!(read));
    body.push_str(&format!(
        "],\"row_count\":{},\"steps\":{},\"records\":{},\"read\":{read}}}",
        replayed.rows.num_rows(),
        replayed.steps,
        replayed.records
    ));
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}
