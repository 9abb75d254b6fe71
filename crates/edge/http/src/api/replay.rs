//! `GET /v1/replay?view=NAME&until=POINT[&watch=KEY][&compare=true]`: a view run again.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use fleuve_types::{Error, ErrorKind, Result};
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
    /// The values of the view's key, as [`key_values`] reads them.
    watch: Option<String>,
    /// With what the view shows.
    #[serde(default)]
    compare: bool,
}

pub(super) async fn replay(
    State(api): State<Api>,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Result<Response, Refusal> {
    let example = "as in /v1/replay?view=revenue&until=orders/0@1234";
    let Query(asked) = asked.map_err(|e| Error::input(e.body_text()).hint(example))?;
    let _held = place(&api.queries, "queries", MAX_QUERIES)?;
    let name = asked.view.split_once('.').unwrap_or(("public", &asked.view));
    let watch = asked.watch.as_deref().map(key_values).transpose()?.unwrap_or_default();
    let replayed = api.sql.replay(name, &asked.until, watch, asked.compare).await?;
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

/// The values of a key, with commas between. In single quotes one is text as it is, with `''` for a quote; without, blanks around it do
/// not count, and NULL is `None`.
fn key_values(text: &str) -> Result<Vec<Option<String>>> {
    let (mut values, mut rest) = (vec![], text);
    loop {
        let (value, behind) = key_value(rest.trim_start())?;
        values.push(value);
        let behind = behind.trim_start();
        match behind.strip_prefix(',') {
            Some(next) => rest = next,
            None if behind.is_empty() => return Ok(values),
            None => return Err(misread(format!("a comma is wanted before {behind}"))),
        }
    }
}

/// The value at the beginning of a text, and what stands behind it.
fn key_value(text: &str) -> Result<(Option<String>, &str)> {
    let Some(mut rest) = text.strip_prefix('\'') else {
        let (value, behind) = text.split_at(text.find(',').unwrap_or(text.len()));
        let value = value.trim_end();
        return Ok(((value != "NULL").then(|| value.to_string()), behind));
    };
    let mut value = String::new();
    loop {
        let (part, behind) = rest.split_once('\'').ok_or_else(|| misread(format!("a quote is not closed: {text}")))?;
        value.push_str(part);
        let Some(more) = behind.strip_prefix('\'') else { return Ok((Some(value), behind)) };
        value.push('\'');
        rest = more;
    }
}

fn misread(message: String) -> Error {
    Error::input(format!("watch: {message}")).hint("as in 'a, b', 7; a quote within quotes is doubled: 'it''s'")
}

#[cfg(test)]
mod tests {
    use super::key_values;

    #[test]
    fn the_values_of_a_key_are_read_as_sql_has_them() {
        let cases: [(&str, &[Option<&str>]); 10] = [
            ("Ann", &[Some("Ann")]),
            ("a, b ,7", &[Some("a"), Some("b"), Some("7")]),
            ("", &[Some("")]),
            ("a,", &[Some("a"), Some("")]),
            ("'a,b', 7", &[Some("a,b"), Some("7")]),
            (" ' it''s, ''' , 'x'", &[Some(" it's, '"), Some("x")]),
            ("''", &[Some("")]),
            ("NULL,'NULL',null", &[None, Some("NULL"), Some("null")]),
            ("O'Brien,5", &[Some("O'Brien"), Some("5")]),
            ("Zoë, 'Zoë,é'", &[Some("Zoë"), Some("Zoë,é")]),
        ];
        for (text, wanted) in cases {
            let wanted: Vec<Option<String>> = wanted.iter().map(|v| v.map(ToString::to_string)).collect();
            assert_eq!(key_values(text).unwrap(), wanted, "{text}");
        }
        for (text, wanted) in [("'a", "a quote is not closed: 'a"), ("'a' b, 7", "a comma is wanted before b, 7")] {
            let message = key_values(text).unwrap_err().message;
            assert!(message.contains(wanted), "{text}: {message}");
        }
    }
}
