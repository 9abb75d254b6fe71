use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::ipc::reader::StreamReader;
use http_body_util::BodyExt;
use serde_json::{Value, json};

use super::*;
use crate::testing::{Door, batch};

const JSON: (&str, &str) = ("content-type", "application/json");

async fn until(true_at_last: impl Fn() -> bool) {
    tokio::time::timeout(Duration::from_secs(60), async {
        while !true_at_last() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("it should have come to that");
}

#[tokio::test]
async fn health_status_and_metrics_say_what_the_platform_says() {
    let (door, fake) = Door::api().await;
    let answer = door.get("/healthz").await;
    assert_eq!((answer.status.as_u16(), answer.text().as_str()), (503, "starting\n"));
    let answer = door.get("/readyz").await;
    assert_eq!((answer.status.as_u16(), answer.json()), (503, json!({"ready": false, "reason": "it is starting"})));
    fake.ready.store(true, Ordering::SeqCst);
    let answer = door.get("/healthz").await;
    assert_eq!((answer.status.as_u16(), answer.text().as_str()), (200, "ok\n"));
    let answer = door.get("/readyz").await;
    assert_eq!((answer.status.as_u16(), answer.json()), (200, json!({"ready": true})));
    let metrics = door.get("/metrics").await;
    assert_eq!(metrics.kind(), "text/plain; version=0.0.4; charset=utf-8");
    assert!(metrics.text().contains("fleuve_epoch 9"));
    let status: crate::StatusReport = serde_json::from_value(door.get("/v1/status").await.json()).unwrap();
    assert_eq!(status, fake.status());
    door.close().await;
}

#[tokio::test]
async fn sql_answers_in_json() {
    let (door, _) = Door::api().await;
    let columns = json!([{"name": "id", "type": "BIGINT"}, {"name": "name", "type": "TEXT"}]);
    let answer = door.post("/v1/sql", r#"{"sql": "SELECT"}"#).await;
    assert_eq!(answer.kind(), "application/json");
    let rows = json!([[0, "n0"], [1, null], [2, "n2"]]);
    assert_eq!(answer.json(), json!({"results": [{"columns": columns, "rows": rows, "row_count": 3}]}));
    let text = door.ask("POST", "/v1/sql", &[("content-type", "text/plain; charset=utf-8")], "CREATE; SELECT").await;
    assert_eq!(
        text.json(),
        json!({"results": [
            {"columns": columns, "rows": [[7, null]], "row_count": 1},
            {"columns": columns, "rows": [[0, "n0"]], "row_count": 1},
            {"tag": "CREATE VIEW", "notices": ["view \"v\" is \"new\""]},
        ]})
    );
    assert_eq!(door.post("/v1/sql", r#"{"sql": ""}"#).await.json(), json!({"results": []}));
    // A failure on the way still has its status, for the answer was not begun.
    let answer = door.post("/v1/sql", r#"{"sql": "FAIL LATE"}"#).await;
    assert_eq!((answer.status.as_u16(), &answer.json()["error"]["kind"]), (500, &json!("io")));
}

#[tokio::test]
async fn json_has_a_limit_that_says_what_to_do() {
    let (door, fake) = Door::api().await;
    let answer = door.post("/v1/sql", r#"{"sql": "WIDE"}"#).await;
    assert_eq!((answer.status.as_u16(), &answer.json()["error"]["kind"]), (413, &json!("limit")));
    assert!(answer.text().contains("LIMIT"), "{}", answer.text());
    until(|| fake.dropped.load(Ordering::SeqCst) > 0).await;
}

#[tokio::test]
async fn rows_flow_in_the_form_that_is_asked_for() {
    let (door, _) = Door::api().await;
    let ask = async |accept: &str, sql: &str| {
        door.ask("POST", "/v1/sql", &[("content-type", "text/plain"), ("accept", accept)], sql).await
    };
    let answer = ask("application/vnd.apache.arrow.stream", "SELECT").await;
    assert_eq!(answer.kind(), "application/vnd.apache.arrow.stream");
    let bytes = answer.body.unwrap();
    let read: Vec<RecordBatch> = StreamReader::try_new(bytes.as_slice(), None).unwrap().map(Result::unwrap).collect();
    assert_eq!(read, [batch(0, 2), batch(2, 1)]);

    let csv = ask("text/csv", "SELECT").await;
    assert_eq!(
        (csv.kind(), csv.text().as_str()),
        ("text/csv; charset=utf-8; header=present", "id,name\r\n0,n0\r\n1,\r\n2,n2\r\n")
    );
    let lines = ask("application/x-ndjson;q=0.9, text/csv;q=0.1", "CREATE; SELECT").await;
    assert_eq!((lines.kind(), lines.text().as_str()), ("application/x-ndjson", "{\"id\":0,\"name\":\"n0\"}\n"));
    assert_eq!(ask("text/csv", "CREATE").await.text(), "tag\r\nCREATE VIEW\r\n");
    assert_eq!(ask("*/*", "CREATE").await.kind(), "application/json");
    let refused = ask("image/png", "SELECT").await;
    assert_eq!((refused.status.as_u16(), refused.text().contains("text/csv")), (406, true));
    // An error before the first row has its status; one after it breaks the answer off, so that no one takes it for whole.
    assert_eq!(ask("text/csv", "nonsense").await.status, 400);
    let request =
        door.request("POST", "/v1/sql", &[("content-type", "text/plain"), ("accept", "text/csv")], "FAIL LATE");
    let broken = match door.try_send(request).await {
        Ok(response) => response.into_body().collect().await.is_err(),
        Err(_) => true,
    };
    assert!(broken);
}

#[tokio::test]
async fn an_error_says_what_where_and_what_to_do() {
    let (door, _) = Door::api().await;
    let answer = door.post("/v1/sql", r#"{"sql": "nonsense"}"#).await;
    assert_eq!(answer.status, 400);
    assert_eq!(
        answer.json(),
        json!({"error": {"kind": "input", "message": "expected a statement", "location": {"file": null, "line": 1, "column": 3}, "hint": "write SELECT"}})
    );
    let hint = door.post("/v1/sql", r#"{"sql": "SUBSCRIBE"}"#).await;
    assert_eq!((hint.status.as_u16(), hint.text().contains("/v1/subscribe?name=")), (501, true));
    for (status, method, path, headers, body) in [
        (404, "GET", "/nothing", &[][..], ""),
        (405, "GET", "/v1/sql", &[], ""),
        (405, "POST", "/metrics", &[JSON], "{}"),
        (400, "POST", "/v1/sql", &[JSON], "{"),
        (400, "POST", "/v1/sql", &[JSON], r#"{"sequel": "SELECT"}"#),
        (415, "POST", "/v1/sql", &[], "SELECT"),
        (415, "POST", "/v1/sql", &[("content-type", "application/x-www-form-urlencoded")], "sql=SELECT"),
        (400, "GET", "/v1/subscribe", &[], ""),
        (404, "GET", "/v1/subscribe?name=nobody", &[], ""),
    ] {
        let answer = door.ask(method, path, headers, body).await;
        assert_eq!(answer.status.as_u16(), status, "{method} {path} {body}");
        assert!(answer.json()["error"]["message"].is_string(), "{}", answer.text());
    }
    let long = format!(r#"{{"sql": "{}"}}"#, "x".repeat(MAX_BODY_BYTES));
    let answer = door.post("/v1/sql", &long).await;
    assert_eq!((answer.status.as_u16(), &answer.json()["error"]["kind"]), (413, &json!("limit")));
}

#[test]
fn every_kind_of_error_has_a_status() {
    use fleuve_types::ErrorKind::*;
    for (kind, status) in [
        (Input, 400),
        (NotFound, 404),
        (AlreadyExists, 409),
        (Limit, 413),
        (Config, 500),
        (Unknown, 500),
        (Io, 500),
        (Bug, 500),
        (Unsupported, 501),
        (Retry, 503),
    ] {
        assert_eq!(crate::status_of(kind).as_u16(), status);
        let response = crate::error::Refusal::from(Error::new(kind, "m")).into_response();
        assert_eq!(response.headers().contains_key("retry-after"), kind == Retry);
    }
}

#[tokio::test]
async fn a_project_is_applied_or_tried() {
    let (door, _) = Door::api().await;
    let answer = door.post("/v1/apply", r#"{"files": [{"path": "a.sql", "text": "x"}]}"#).await;
    assert_eq!(
        answer.json(),
        json!({"applied": [{"action": "create", "kind": "view", "name": "a.sql"}], "dry_run": false})
    );
    let tried = door.post("/v1/apply", r#"{"files": [{"path": "a.sql", "text": "x"}], "dry_run": true}"#).await;
    assert_eq!(tried.json()["applied"][0]["action"], "would create");
    let wrong = door.post("/v1/apply", r#"{"files": [{"path": "b.sql", "text": "wrong"}]}"#).await;
    assert_eq!(
        (wrong.status.as_u16(), wrong.json()["error"]["location"].clone()),
        (400, json!({"file": "b.sql", "line": 2, "column": 5}))
    );
    let files: Vec<Value> = (0..=MAX_APPLY_FILES).map(|n| json!({"path": n.to_string(), "text": ""})).collect();
    assert_eq!(door.post("/v1/apply", &json!({"files": files}).to_string()).await.status, 413);
    assert_eq!(door.ask("POST", "/v1/apply", &[("content-type", "text/plain")], "x").await.status, 400);
}

/// Reads events until `enough` of them are there or the stream ends.
async fn events(door: &Door, path: &str, enough: usize) -> Vec<(String, Value)> {
    let response = door.send(door.request("GET", path, &[], "")).await;
    assert_eq!(response.headers()["content-type"], "text/event-stream; charset=utf-8");
    let (mut body, mut text) = (response.into_body(), String::new());
    while text.matches("event: ").count() < enough || !text.ends_with("\n\n") {
        let Some(frame) = body.frame().await else { break };
        text.push_str(std::str::from_utf8(frame.unwrap().data_ref().unwrap()).unwrap());
    }
    let event = |block: &str| {
        let (name, data) = block.strip_prefix("event: ")?.split_once("\ndata: ")?;
        Some((name.to_string(), serde_json::from_str(data).unwrap()))
    };
    text.split("\n\n").filter_map(event).collect()
}

#[tokio::test]
async fn a_subscription_gives_changes_and_says_when_a_set_is_whole() {
    let (door, fake) = Door::api().await;
    let got = events(&door, "/v1/subscribe?name=v", 2504).await;
    assert_eq!(got.len(), 2504);
    assert_eq!(got[1], ("change".into(), json!({"epoch": 4, "weight": 1, "row": {"id": 1, "name": null}})));
    assert_eq!(got[2499].1["row"]["id"], 2499);
    assert_eq!(got[2500], ("epoch".into(), json!({"epoch": 4})));
    assert_eq!(got[2501], ("change".into(), json!({"epoch": 5, "weight": -1, "row": {"id": 1, "name": null}})));
    assert_eq!(got[2502], ("change".into(), json!({"epoch": 5, "weight": 3, "row": {"id": 2, "name": "n2"}})));
    assert_eq!(got[2503], ("epoch".into(), json!({"epoch": 5})));
    // The reader went away, and so did the subscription.
    until(|| fake.dropped.load(Ordering::SeqCst) == 1).await;

    let got = events(&door, "/v1/subscribe?name=ops.v", usize::MAX).await;
    let (name, error) = got.last().unwrap();
    assert_eq!(
        (name.as_str(), &error["error"]["kind"], &error["error"]["message"]),
        ("error", &json!("limit"), &json!("the reader is too slow"))
    );
}

#[tokio::test]
async fn a_request_that_goes_away_takes_its_query_with_it() {
    let (door, fake) = Door::api().await;
    let request = |accept: &str, sql: &str| {
        door.request("POST", "/v1/sql", &[("content-type", "text/plain"), ("accept", accept)], sql)
    };
    // Before there is an answer.
    let waiting = tokio::time::timeout(Duration::from_millis(200), door.send(request("*/*", "HANG"))).await;
    assert!(waiting.is_err());
    until(|| fake.dropped.load(Ordering::SeqCst) == 1).await;
    // While rows flow.
    let mut body = door.send(request("text/csv", "ENDLESS")).await.into_body();
    body.frame().await.unwrap().unwrap();
    drop(body);
    until(|| fake.dropped.load(Ordering::SeqCst) == 2).await;
}

#[tokio::test]
async fn queries_at_once_are_bounded() {
    let (door, _) = Door::api().await;
    let mut running = Vec::new();
    for _ in 0..MAX_QUERIES {
        let request =
            door.request("POST", "/v1/sql", &[("content-type", "text/plain"), ("accept", "text/csv")], "ENDLESS");
        running.push(door.send(request).await);
    }
    let refused = door.post("/v1/sql", r#"{"sql": "SELECT"}"#).await;
    assert_eq!((refused.status.as_u16(), refused.headers["retry-after"].to_str().unwrap()), (503, "1"));
    running.pop();
    loop {
        if door.post("/v1/sql", r#"{"sql": "SELECT"}"#).await.status == 200 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn pages_of_others_are_kept_out() {
    let (door, _) = Door::api().await;
    let own = format!("http://{}", door.address);
    let allowed = door.ask("POST", "/v1/sql", &[JSON, ("origin", &own)], r#"{"sql": "SELECT"}"#).await;
    assert_eq!(allowed.status, 200);
    assert!(!allowed.headers.contains_key("access-control-allow-origin"));
    for headers in
        [&[("origin", "http://evil.example")][..], &[("host", "evil.example")], &[("sec-fetch-site", "cross-site")]]
    {
        let headers: Vec<_> = headers.iter().copied().chain([JSON]).collect();
        let refused = door.ask("POST", "/v1/sql", &headers, r#"{"sql": "SELECT"}"#).await;
        assert_eq!(refused.status, 403, "{headers:?}");
        assert!(refused.json()["error"]["message"].is_string());
    }
    assert_eq!(door.ask("GET", "/v1/status", &[("host", "evil.example")], "").await.status, 403);
}

#[tokio::test]
async fn the_page_is_whole_and_talks_to_this_server_only() {
    let (door, _) = Door::api().await;
    let page = door.get("/").await;
    assert_eq!((page.status.as_u16(), page.kind()), (200, "text/html; charset=utf-8"));
    let policy = page.headers["content-security-policy"].to_str().unwrap();
    assert!(policy.starts_with("default-src 'none'") && policy.contains("connect-src 'self'"));
    let text = page.text();
    let elsewhere: Vec<&str> = text.match_indices("http").map(|(at, _)| &text[at..(at + 30).min(text.len())]).collect();
    // Namespaces of SVG are names, not addresses.
    assert!(elsewhere.iter().all(|t| t.starts_with("http://www.w3.org/2000/svg")), "{elsewhere:?}");
    for path in ["/v1/status", "/v1/sql", "/v1/subscribe?name=", "/healthz"] {
        assert!(text.contains(path), "{path}");
    }
    for header in ["x-content-type-options", "x-frame-options", "cache-control"] {
        assert!(page.headers.contains_key(header), "{header}");
    }
}

#[tokio::test]
async fn the_document_describes_the_routes_that_there_are() {
    let (door, _) = Door::api().await;
    let document = door.get("/openapi.json").await.json();
    assert_eq!(
        (&document["openapi"], &document["info"]["version"]),
        (&json!("3.1.0"), &json!(env!("CARGO_PKG_VERSION")))
    );
    let described: BTreeSet<(String, String)> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, verbs)| verbs.as_object().unwrap().keys().map(|verb| (path.clone(), verb.to_uppercase())))
        .collect();
    // The router does not list its routes, so its source does.
    let source = include_str!("mod.rs");
    let routes: BTreeSet<(String, String)> = source
        .lines()
        .filter_map(|line| line.trim().strip_prefix(".route(\""))
        .map(|route| {
            let (path, verb) = route.split_once("\", ").unwrap();
            (path.to_string(), verb.split('(').next().unwrap().to_uppercase())
        })
        .collect();
    assert!(routes.len() >= 8);
    assert_eq!(described, routes);
    for (path, verb) in &described {
        let headers = if verb == "POST" { &[JSON][..] } else { &[] };
        let response = door.send(door.request(verb, path, headers, "{}")).await;
        assert!(![404, 405].contains(&response.status().as_u16()), "{verb} {path}");
        let described = &document["paths"][path][verb.to_lowercase()]["responses"];
        assert!(described[response.status().as_str()].is_object(), "{verb} {path} gave {}", response.status());
    }
    let text = document.to_string();
    for (at, _) in text.match_indices("#/components/schemas/") {
        let name = text[at + "#/components/schemas/".len()..].split('"').next().unwrap();
        assert!(document["components"]["schemas"][name].is_object(), "{name}");
    }
}

/// The schema of a report in the document has the very fields that the report has.
#[test]
fn the_document_knows_every_field_of_the_status() {
    let document: Value = serde_json::from_str(openapi()).unwrap();
    let full = crate::StatusReport {
        streams: vec![crate::StreamReport {
            dead_letter_stream: Some(String::new()),
            watermark: Some(String::new()),
            retention_ms: Some(1),
            retention_bytes: Some(1),
            ..Default::default()
        }],
        views: vec![crate::ViewReport { error: Some(String::new()), ..Default::default() }],
        sources: vec![crate::ConnectorReport {
            from: Some(String::new()),
            error: Some(String::new()),
            ..Default::default()
        }],
        ..Default::default()
    };
    let full = serde_json::to_value(full).unwrap();
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
    for (name, value) in [
        ("Status", &full),
        ("Server", &full["server"]),
        ("Stream", &full["streams"][0]),
        ("View", &full["views"][0]),
        ("Connector", &full["sources"][0]),
    ] {
        assert_eq!(keys(&document["components"]["schemas"][name]["properties"]), keys(value), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flame_graph_is_taken_one_at_a_time() {
    let (door, _) = Door::api().await;
    for wrong in ["seconds=0", "seconds=61", "seconds=ten", "format=png", "second=1"] {
        let answer = door.get(&format!("/debug/flamegraph?{wrong}")).await;
        assert_eq!((answer.status.as_u16(), &answer.json()["error"]["kind"]), (400, &json!("input")), "{wrong}");
    }
    let answer = door.ask("GET", "/debug/flamegraph", &[("sec-fetch-site", "cross-site")], "").await;
    assert_eq!(answer.status.as_u16(), 403);
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let busy = stop.clone();
    let load = std::thread::Builder::new().name("load".into()).spawn(move || {
        while !busy.load(Ordering::Relaxed) {
            std::hint::black_box((0..1000_u64).map(std::hint::black_box).sum::<u64>());
        }
    });
    let path = "/debug/flamegraph?seconds=3&format=folded";
    let (first, second) = tokio::join!(door.get(path), door.get(path));
    let (folded, refused) = if first.status.as_u16() == 200 { (first, second) } else { (second, first) };
    assert_eq!((folded.status.as_u16(), refused.status.as_u16()), (200, 429));
    assert_eq!(&refused.json()["error"]["kind"], &json!("retry"));
    assert_eq!(folded.kind(), "text/plain; charset=utf-8");
    assert!(folded.text().lines().any(|l| l.starts_with("load;")), "{}", folded.text());
    let picture = door.get("/debug/flamegraph?seconds=1").await;
    assert_eq!(picture.kind(), "image/svg+xml; charset=utf-8");
    assert!(picture.text().starts_with("<svg ") && picture.text().contains("load"));
    stop.store(true, Ordering::Relaxed);
    load.unwrap().join().unwrap();
    door.close().await;
}

#[tokio::test]
async fn a_replay_says_what_it_read() {
    let (door, _) = Door::api().await;
    let answer = door.get("/v1/replay?view=orders&until=s/0@6&watch=a,b").await.json();
    assert_eq!(answer["rows"], json!([[0, "n0"], [1, null], [2, "n2"], [3, null]]));
    assert_eq!((&answer["row_count"], &answer["steps"], &answer["records"]), (&json!(4), &json!(3), &json!(5)));
    assert_eq!(answer["read"], json!([{"stream": "s/0@6", "partition": 0, "to": 7}]));
    let quoted = door.get("/v1/replay?view=orders&until=s/0@6&watch=%27a,b%27").await.json();
    assert_eq!(quoted["row_count"], json!(3));
    let compared = door.get("/v1/replay?view=orders&until=now&compare=true").await.json();
    assert_eq!(compared["row_count"], json!(3));
    assert_eq!(door.get("/v1/replay?view=orders&until=s/0@6&watch=%27a").await.status.as_u16(), 400);
    assert_eq!(door.get("/v1/replay?view=x&until=1").await.status.as_u16(), 404);
    assert_eq!(door.get("/v1/replay?view=x").await.status.as_u16(), 400);
    door.close().await;
}
