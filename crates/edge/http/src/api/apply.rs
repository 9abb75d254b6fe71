//! `POST /v1/apply`: make the platform hold what files declare.

use axum::Json;
use axum::extract::{Request, State};
use fleuve_sql::{Applied, ProjectFile};
use fleuve_types::{Error, ErrorKind};
use serde::Deserialize;
use serde_json::{Value, json};

use super::request::{BodyType, parse, read};
use super::{Api, MAX_QUERIES, place};
use crate::error::Refusal;

/// Most files of one project.
pub const MAX_APPLY_FILES: usize = 10_000;

const EXAMPLE: &str = r#"{"files": [{"path": "views.sql", "text": "CREATE ..."}], "dry_run": false}"#;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    files: Vec<File>,
    #[serde(default)]
    dry_run: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    path: String,
    text: String,
}

/// Goes on to its end even if the client does not wait: all or nothing was promised, and half is neither.
pub(super) async fn apply(State(api): State<Api>, request: Request) -> Result<Json<Value>, Refusal> {
    let (kind, text) = read(request).await?;
    if kind != BodyType::Json {
        return Err(Error::input("a project is sent as application/json").hint(EXAMPLE).into());
    }
    let body: Body = parse(&text, EXAMPLE)?;
    if body.files.len() > MAX_APPLY_FILES {
        let message = format!("{} files; the limit is {MAX_APPLY_FILES}", body.files.len());
        return Err(Error::new(ErrorKind::Limit, message).into());
    }
    let held = place(&api.queries, "queries", MAX_QUERIES)?;
    let files: Vec<_> = body.files.into_iter().map(|f| ProjectFile { path: f.path, text: f.text }).collect();
    let sql = api.sql.clone();
    let applied = tokio::spawn(async move {
        let _held = held;
        sql.apply(&files, body.dry_run).await
    });
    let applied = applied.await.map_err(|e| Error::bug(format!("applying the files failed: {e}")))??;
    let line = |a: &Applied| {
        let mut line = json!({"action": a.action, "kind": a.kind, "name": a.name});
        if !a.notices.is_empty() {
            line["notices"] = json!(a.notices);
        }
        line
    };
    let lines: Vec<_> = applied.iter().map(line).collect();
    Ok(Json(json!({"applied": lines, "dry_run": body.dry_run})))
}
