//! `GET /debug/flamegraph?seconds=10&format=svg|folded`: where the processor time goes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use fleuve_types::{Error, ErrorKind};
use serde::Deserialize;

use super::Api;
use crate::error::Refusal;
use crate::guard::comes_from_another_site;

const DEFAULT_SECONDS: u64 = 10;
/// The picture brings its script and style; it loads nothing.
const POLICY: &str =
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; frame-ancestors 'none'";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    seconds: Option<u64>,
    format: Option<String>,
}

/// Tells the sampling to stop when the request goes away.
struct GivesUp(Arc<AtomicBool>);

impl Drop for GivesUp {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

pub(super) async fn flamegraph(
    State(api): State<Api>,
    headers: HeaderMap,
    asked: Result<Query<Asked>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, Refusal> {
    if comes_from_another_site(&headers) {
        let error = Error::input("a page of another site may not take a profile of this server");
        return Err(Refusal::new(StatusCode::FORBIDDEN, error));
    }
    let example = "/debug/flamegraph?seconds=10&format=svg";
    let Query(asked) = asked.map_err(|e| Error::input(e.body_text()).hint(format!("as in {example}")))?;
    let folded = match asked.format.as_deref() {
        None | Some("svg") => false,
        Some("folded") => true,
        Some(other) => {
            return Err(Error::input(format!("there is no format '{other}'")).hint("there is svg and folded").into());
        }
    };
    let seconds = asked.seconds.unwrap_or(DEFAULT_SECONDS);
    let busy = || {
        let error = Error::new(ErrorKind::Retry, "another profile is being taken, and they are taken one at a time");
        Refusal::new(StatusCode::TOO_MANY_REQUESTS, error.hint("try again when it has ended"))
    };
    let held = api.profiles.clone().try_acquire_owned().map_err(|_| busy())?;
    let stop = Arc::new(AtomicBool::new(false));
    let gives_up = GivesUp(stop.clone());
    let work = move || {
        // Held until the sampling has ended, also when nobody waits for it any more.
        let _held = held;
        fleuve_profile::take(seconds, &stop)
    };
    let taken = tokio::task::spawn_blocking(work).await.map_err(|e| Error::bug(e.to_string()))?;
    drop(gives_up);
    let profile = taken.map_err(|e| if e.kind == ErrorKind::Retry { busy() } else { e.into() })?;
    Ok(match folded {
        true => ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], profile.folded()).into_response(),
        false => {
            let kind = (header::CONTENT_TYPE, "image/svg+xml; charset=utf-8");
            let policy = (header::CONTENT_SECURITY_POLICY, POLICY);
            ([kind, policy], fleuve_profile::svg(&profile)).into_response()
        }
    })
}
