use fleuve_catalog::Catalog;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::testing::{Answer, Door};

const V1: &str = r#"{"type":"record","name":"R","fields":[{"name":"a","type":"int"}]}"#;
const V2: &str =
    r#"{"type":"record","name":"R","fields":[{"name":"a","type":"int"},{"name":"b","type":"string","default":""}]}"#;
const OTHER: &str = r#"{"type":"record","name":"R","fields":[{"name":"a","type":"string"}]}"#;

struct Tried {
    door: Door,
    _dir: TempDir,
}

async fn open() -> Tried {
    let dir = tempfile::tempdir().unwrap();
    let catalog = Catalog::open(dir.path().join("catalog.db")).await.unwrap();
    let registry = Registry::open(catalog.pool().clone()).await.unwrap();
    Tried { door: Door::open(registry_router(registry)).await, _dir: dir }
}

impl Tried {
    async fn ask(&self, method: &str, path: &str, body: Value) -> Answer {
        let headers = [("content-type", wire::CONTENT_TYPE), ("accept", wire::CONTENT_TYPE)];
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let answer = self.door.ask(method, path, &headers, &body).await;
        assert_eq!(answer.kind(), wire::CONTENT_TYPE, "{method} {path}");
        answer
    }

    #[track_caller]
    fn check(answer: &Answer, status: u16, expected: &Value) {
        assert_eq!((answer.status.as_u16(), &answer.json()), (status, expected));
    }

    async fn ok(&self, method: &str, path: &str, body: Value, expected: Value) {
        let answer = self.ask(method, path, body).await;
        assert_eq!((answer.status.as_u16(), answer.json()), (200, expected), "{method} {path}");
    }

    async fn refused(&self, method: &str, path: &str, body: Value, code: u32) -> String {
        let answer = self.ask(method, path, body).await;
        let status = if code >= 10_000 { code / 100 } else { code };
        let error = answer.json();
        assert_eq!(
            (u32::from(answer.status.as_u16()), &error["error_code"]),
            (status, &json!(code)),
            "{method} {path}: {error}"
        );
        error["message"].as_str().unwrap().to_string()
    }
}

fn schema(text: &str) -> Value {
    json!({"schema": text})
}

#[tokio::test]
async fn what_a_serializer_does() {
    let t = open().await;
    t.refused("POST", "/subjects/orders-value", schema(V1), 40401).await;
    t.ok(
        "POST",
        "/subjects/orders-value/versions?normalize=false",
        json!({"schema": V1, "schemaType": "AVRO", "references": []}),
        json!({"id": 1}),
    )
    .await;
    t.ok("POST", "/subjects/orders-value/versions", schema(V1), json!({"id": 1})).await;
    let first = json!({"subject": "orders-value", "version": 1, "id": 1, "schema": V1});
    t.ok("POST", "/subjects/orders-value?normalize=false&deleted=false", schema(V1), first.clone()).await;
    t.ok("GET", "/schemas/ids/1?subject=orders-value", Value::Null, schema(V1)).await;
    t.ok("GET", "/subjects/orders-value/versions/latest", Value::Null, first.clone()).await;
    t.ok("GET", "/subjects/orders-value/versions/1", Value::Null, first.clone()).await;
    t.ok("GET", "/subjects/orders-value/versions/-1", Value::Null, first).await;
    t.ok("GET", "/config/orders-value?defaultToGlobal=true", Value::Null, json!({"compatibilityLevel": "BACKWARD"}))
        .await;
    t.ok("GET", "/mode", Value::Null, json!({"mode": "READWRITE"})).await;
    t.refused("POST", "/subjects/orders-value", schema(V2), 40403).await;
    t.refused("GET", "/schemas/ids/2", Value::Null, 40403).await;
    t.refused("GET", "/schemas/ids/x", Value::Null, 40403).await;
    t.door.close().await;
}

#[tokio::test]
async fn evolution_is_checked() {
    let t = open().await;
    t.ok("POST", "/subjects/s/versions", schema(V1), json!({"id": 1})).await;
    t.ok("POST", "/compatibility/subjects/s/versions/latest", schema(V2), json!({"is_compatible": true})).await;
    t.ok("POST", "/compatibility/subjects/new/versions/latest", schema(V2), json!({"is_compatible": true})).await;
    let answer = t.ask("POST", "/compatibility/subjects/s/versions?verbose=true", schema(OTHER)).await.json();
    assert_eq!(answer["is_compatible"], false);
    assert!(answer["messages"][0].as_str().unwrap().contains("TYPE_MISMATCH at /a"), "{answer}");
    t.refused("POST", "/compatibility/subjects/s/versions/7", schema(V2), 40402).await;
    let message = t.refused("POST", "/subjects/s/versions", schema(OTHER), 409).await;
    assert!(message.contains("incompatible with an earlier schema for subject \"s\""), "{message}");
    t.ok("PUT", "/config/s", json!({"compatibility": "none"}), json!({"compatibility": "NONE"})).await;
    t.ok("POST", "/subjects/s/versions", schema(OTHER), json!({"id": 2})).await;
    t.ok("GET", "/config/s", Value::Null, json!({"compatibilityLevel": "NONE"})).await;
    t.ok("DELETE", "/config/s", Value::Null, json!({"compatibilityLevel": "NONE"})).await;
    t.refused("GET", "/config/s", Value::Null, 40408).await;
    t.refused("DELETE", "/config/s", Value::Null, 40408).await;
    t.refused("GET", "/mode/s", Value::Null, 40409).await;
    t.ok("PUT", "/config", json!({"compatibility": "FULL_TRANSITIVE"}), json!({"compatibility": "FULL_TRANSITIVE"}))
        .await;
    t.ok("GET", "/config", Value::Null, json!({"compatibilityLevel": "FULL_TRANSITIVE"})).await;
    t.refused("PUT", "/config", json!({"compatibility": "SIDEWAYS"}), 42203).await;
    t.refused("PUT", "/config", json!({"compatibility": "FULL", "compatibilityGroup": "g"}), 42205).await;
    t.refused("PUT", "/mode", json!({"mode": "READONLY"}), 42205).await;
}

#[tokio::test]
async fn lists_and_deletions() {
    let t = open().await;
    for (subject, text) in [("a/b c", V1), ("a/b c", V2), ("z", V1)] {
        let path = format!("/subjects/{}/versions", subject.replace('/', "%2F").replace(' ', "%20"));
        assert_eq!(t.ask("POST", &path, schema(text)).await.status, 200);
    }
    t.ok("GET", "/subjects", Value::Null, json!(["a/b c", "z"])).await;
    t.ok("GET", "/subjects?subjectPrefix=a", Value::Null, json!(["a/b c"])).await;
    t.ok("GET", "/subjects/a%2Fb%20c/versions", Value::Null, json!([1, 2])).await;
    t.ok("GET", "/schemas/ids/1/subjects", Value::Null, json!(["a/b c", "z"])).await;
    t.ok(
        "GET",
        "/schemas/ids/1/versions",
        Value::Null,
        json!([{"subject": "a/b c", "version": 1}, {"subject": "z", "version": 1}]),
    )
    .await;
    let parsed: Value = serde_json::from_str(V1).unwrap();
    t.ok("GET", "/schemas/ids/1/schema", Value::Null, parsed.clone()).await;
    t.ok("GET", "/subjects/z/versions/1/schema", Value::Null, parsed).await;
    assert_eq!(t.ask("GET", "/schemas", Value::Null).await.json().as_array().unwrap().len(), 3);
    assert_eq!(t.ask("GET", "/schemas?latestOnly=true", Value::Null).await.json()[0]["version"], 2);
    t.ok("DELETE", "/subjects/a%2Fb%20c/versions/1", Value::Null, json!(1)).await;
    t.refused("GET", "/subjects/a%2Fb%20c/versions/1", Value::Null, 40402).await;
    t.refused("DELETE", "/subjects/a%2Fb%20c/versions/1", Value::Null, 40406).await;
    t.ok("DELETE", "/subjects/a%2Fb%20c/versions/1?permanent=true", Value::Null, json!(1)).await;
    t.refused("DELETE", "/subjects/z?permanent=true", Value::Null, 40405).await;
    t.ok("DELETE", "/subjects/z", Value::Null, json!([1])).await;
    t.ok("GET", "/subjects", Value::Null, json!(["a/b c"])).await;
    t.ok("GET", "/subjects?deleted=true", Value::Null, json!(["a/b c", "z"])).await;
    t.refused("DELETE", "/subjects/z", Value::Null, 40404).await;
    t.ok("DELETE", "/subjects/z?permanent=true", Value::Null, json!([1])).await;
    t.refused("GET", "/schemas/ids/1", Value::Null, 40403).await;
    t.refused("DELETE", "/subjects/z", Value::Null, 40401).await;
    t.refused("GET", "/subjects/z/versions", Value::Null, 40401).await;
    t.refused("GET", "/subjects/a%2Fb%20c/versions/zero", Value::Null, 42202).await;
}

#[tokio::test]
async fn references_are_kept_and_shown() {
    let t = open().await;
    t.ok("POST", "/subjects/r/versions", schema(V1), json!({"id": 1})).await;
    let references = json!([{"name": "R", "subject": "r", "version": 1}]);
    let list = json!({"schema": r#"{"type":"array","items":"R"}"#, "references": references});
    t.ok("POST", "/subjects/list/versions", list.clone(), json!({"id": 2})).await;
    t.ok("GET", "/schemas/ids/2", Value::Null, list).await;
    t.ok("GET", "/subjects/r/versions/1/referencedby", Value::Null, json!([2])).await;
    t.refused("DELETE", "/subjects/r", Value::Null, 42206).await;
}

#[tokio::test]
async fn what_is_not_offered_or_wrong_is_said_in_confluents_form() {
    let t = open().await;
    t.refused("GET", "/nothing", Value::Null, 404).await;
    t.refused("DELETE", "/subjects", Value::Null, 405).await;
    t.refused("POST", "/subjects/s/versions", json!({"schema": "{\"type\":\"recor\"}"}), 42201).await;
    t.refused("POST", "/subjects/s/versions", json!({}), 42201).await;
    t.refused("POST", "/subjects/s/versions", json!({"schema": V1, "schemaType": "XML"}), 42201).await;
    t.refused("POST", "/subjects/s/versions", json!({"schema": 7}), 400).await;
    t.refused("POST", "/subjects/s/versions", json!({"schema": V1, "id": 40}), 42205).await;
    t.refused("POST", "/subjects/s/versions", json!({"schema": V1, "ruleSet": {"domainRules": []}}), 42205).await;
    t.refused("POST", "/subjects/s/versions", json!({"schema": V1, "metadata": {"tags": {}}}), 42205).await;
    let message = t.refused("POST", "/subjects/s/versions", json!({"schema": "{}", "schemaType": "JSON"}), 42205).await;
    assert!(message.contains("NONE"), "{message}");
    t.ok("GET", "/schemas/types", Value::Null, json!(["JSON", "PROTOBUF", "AVRO"])).await;
    t.ok("GET", "/", Value::Null, json!({})).await;
    // What a form of another site can send is not taken.
    let answer =
        t.door.ask("POST", "/subjects/s/versions", &[("content-type", "text/plain")], &schema(V1).to_string()).await;
    assert_eq!(answer.status, 415);
    let headers = [("content-type", "application/json"), ("origin", "http://evil.example")];
    let answer = t.door.ask("POST", "/subjects/s/versions", &headers, &schema(V1).to_string()).await;
    assert_eq!(answer.status, 403);
    let answer = t
        .door
        .ask("POST", "/subjects/s/versions", &[("content-type", "application/json")], &schema(V1).to_string())
        .await;
    Tried::check(&answer, 200, &json!({"id": 1}));
    assert_eq!(t.ask("POST", "/subjects/s/versions", json!({"schema": "x".repeat(5 << 20)})).await.status, 413);
}
