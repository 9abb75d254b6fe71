//! `GET /v1/subscribe?name=VIEW`: a view's changes as server-sent events.
//!
//! Events: `change` with `{"epoch", "weight", "row"}`; `epoch` with `{"epoch"}` when a change set is complete; `error` with the usual error
//! body, and then the end. The first set is the answer as it stood. A line `:` comes when it is quiet, so that a broken connection shows.

use std::fmt::Write;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use fleuve_sql::{ChangeSet, Subscription};
use fleuve_types::{Error, Result};
use futures::{Stream, StreamExt, stream};
use serde::Deserialize;
use tokio::sync::OwnedSemaphorePermit;

use super::{Api, MAX_SUBSCRIPTIONS, place};
use crate::error::{self, Refusal};
use crate::render::{object_row, objects};

/// How long it may be quiet before a comment is sent.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// Rows that are made ready at once.
const SLICE_ROWS: usize = 1024;
/// Bytes that are sent at once, but for the last row.
const PART_BYTES: usize = 256 << 10;

#[derive(Deserialize)]
pub(super) struct Asked {
    name: Option<String>,
}

pub(super) async fn subscribe(State(api): State<Api>, Query(asked): Query<Asked>) -> Result<Response, Refusal> {
    let name = asked.name.filter(|n| !n.is_empty());
    let name = name.ok_or_else(|| Error::input("which view? the parameter 'name' is missing").hint("?name=VIEW"))?;
    let (namespace, name) = name.split_once('.').unwrap_or(("public", &name));
    let held = place(&api.subscriptions, "subscriptions", MAX_SUBSCRIPTIONS)?;
    let subscription = api.sql.subscribe(namespace, name).await?;
    let headers = [(header::CONTENT_TYPE, "text/event-stream; charset=utf-8"), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, Body::from_stream(events(subscription, held))).into_response())
}

struct Flow {
    subscription: Subscription,
    /// The set being sent, and its next row.
    sending: Option<(ChangeSet, usize)>,
    _held: OwnedSemaphorePermit,
}

fn events(subscription: Subscription, held: OwnedSemaphorePermit) -> impl Stream<Item = Result<Bytes>> + Send {
    // A comment at once, so that the client knows that the subscription stands.
    let hello = stream::iter([Ok(Bytes::from_static(b":\n\n"))]);
    let flow = Flow { subscription, sending: None, _held: held };
    hello.chain(stream::unfold(Some(flow), |flow| async move {
        let mut flow = flow?;
        match flow.next().await {
            Ok(Some(text)) => Some((Ok(Bytes::from(text)), Some(flow))),
            Ok(None) => None,
            Err(error) => Some((Ok(Bytes::from(format!("event: error\ndata: {}\n\n", error::body(&error)))), None)),
        }
    }))
}

impl Flow {
    async fn next(&mut self) -> Result<Option<String>> {
        if let Some((set, from)) = self.sending.take() {
            return self.part(set, from).map(Some);
        }
        match tokio::time::timeout(HEARTBEAT, self.subscription.changes.next()).await {
            Err(_) => Ok(Some(":\n\n".into())),
            Ok(Some(set)) => self.part(set?, 0).map(Some),
            Ok(None) => Ok(None),
        }
    }

    /// Some rows of a set; with its last rows, the event that says so.
    fn part(&mut self, set: ChangeSet, from: usize) -> Result<String> {
        let rows = set.delta.len();
        let end = rows.min(from + SLICE_ROWS);
        let objects = objects(&set.delta.batch.slice(from, end - from))?;
        let (mut out, mut next) = (String::new(), from);
        while next < end && out.len() < PART_BYTES {
            let (epoch, weight) = (set.epoch, set.delta.weight(next));
            let _ = write!(out, "event: change\ndata: {{\"epoch\":{epoch},\"weight\":{weight},\"row\":");
            object_row(&objects, next - from, &mut out);
            out.push_str("}\n\n");
            next += 1;
        }
        if next < rows {
            self.sending = Some((set, next));
        } else if !set.more {
            let _ = write!(out, "event: epoch\ndata: {{\"epoch\":{}}}\n\n", set.epoch);
        }
        Ok(out)
    }
}
