use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};
use tempfile::TempDir;

use super::*;
use crate::{Reference, SchemaKind};

const V1: &str = r#"{"type":"record","name":"R","fields":[{"name":"a","type":"int"}]}"#;
const V2: &str =
    r#"{"type":"record","name":"R","fields":[{"name":"a","type":"int"},{"name":"b","type":"string","default":""}]}"#;

async fn pool(dir: &TempDir) -> SqlitePool {
    let options = SqliteConnectOptions::new().filename(dir.path().join("catalog.db")).create_if_missing(true);
    SqlitePoolOptions::new().connect_with(options.foreign_keys(true)).await.unwrap()
}

#[tokio::test]
async fn everything_survives_a_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let registry = Registry::open(pool(&dir).await).await.unwrap();
    assert_eq!(registry.register("s", V1).await.unwrap(), 1);
    assert_eq!(registry.register("s", V2).await.unwrap(), 2);
    assert_eq!(registry.register("gone", r#""int""#).await.unwrap(), 3);
    registry.delete_subject("gone", false).await.unwrap();
    registry.delete_subject("gone", true).await.unwrap();
    registry.delete_version("s", VersionRef::Number(1), false).await.unwrap();
    registry.set_level("", Some(Compatibility::FullTransitive)).await.unwrap();
    registry.set_level("s", Some(Compatibility::None)).await.unwrap();
    registry.set_level("t", Some(Compatibility::None)).await.unwrap();
    registry.set_level("t", None).await.unwrap();
    let union = Draft {
        kind: SchemaKind::Avro,
        text: r#"["null","R"]"#.into(),
        references: vec![Reference { name: "R".into(), subject: "s".into(), version: 2 }],
    };
    assert_eq!(registry.submit("u", union.clone()).await.unwrap().schema.id, 4);

    let again = Registry::open(pool(&dir).await).await.unwrap();
    for registry in [&registry, &again] {
        assert_eq!(registry.subjects("", true), ["s", "u"]);
        assert_eq!(
            (registry.versions("s", false).unwrap(), registry.versions("s", true).unwrap()),
            (vec![2], vec![1, 2])
        );
        assert_eq!(registry.schema(1).unwrap().draft.text, V1);
        assert_eq!(registry.schema(4).unwrap().draft, union);
        assert_eq!(registry.schema_by_id(4).unwrap(), format!(r#"["null",{V2}]"#));
        // Deleted for good: nothing for clients, and what records of that id are read by.
        assert_eq!(registry.schema(3).unwrap_err().code, Code::SchemaNotFound);
        assert_eq!(registry.schema_by_id(3).unwrap(), r#""int""#);
        assert_eq!(registry.schema_by_id(5), None);
        assert_eq!(registry.default_level(), Compatibility::FullTransitive);
        assert_eq!(registry.level("s"), Compatibility::None);
        assert_eq!(registry.own_level("t").unwrap_err().code, Code::NoSubjectCompatibility);
        assert_eq!(registry.referenced_by("s", VersionRef::Number(2)).unwrap(), [4]);
    }
    // The id of what was deleted for good is not given out again.
    drop(registry);
    assert_eq!(again.register("gone", r#""int""#).await.unwrap(), 5);
}

#[tokio::test]
async fn an_id_that_was_deleted_last_is_not_given_out_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let registry = Registry::open(pool(&dir).await).await.unwrap();
    registry.register("s", V1).await.unwrap();
    registry.delete_subject("s", false).await.unwrap();
    registry.delete_subject("s", true).await.unwrap();
    let registry = Registry::open(pool(&dir).await).await.unwrap();
    assert_eq!(registry.register("s", V2).await.unwrap(), 2);
}

#[tokio::test]
async fn what_came_back_after_a_deletion_for_good_has_its_new_id_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let registry = Registry::open(pool(&dir).await).await.unwrap();
    registry.register("s", V1).await.unwrap();
    registry.delete_subject("s", false).await.unwrap();
    registry.delete_subject("s", true).await.unwrap();
    assert_eq!(registry.register("s", V1).await.unwrap(), 2);
    let again = Registry::open(pool(&dir).await).await.unwrap();
    for registry in [&registry, &again] {
        assert_eq!(registry.find("s", Draft::avro(V1), false).await.unwrap().schema.id, 2);
        assert_eq!(registry.schema(1).unwrap_err().code, Code::SchemaNotFound);
        assert_eq!((registry.schema_by_id(1).unwrap(), registry.schema_by_id(2).unwrap()), (V1.into(), V1.into()));
    }
    assert_eq!(again.register("t", V1).await.unwrap(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_at_once_get_one_id_each_schema() {
    let dir = tempfile::tempdir().unwrap();
    let registry = Registry::open(pool(&dir).await).await.unwrap();
    let tasks: Vec<_> = (0..24)
        .map(|n| {
            let registry = registry.clone();
            tokio::spawn(async move {
                registry
                    .register(&format!("s{}", n % 3), &format!(r#"{{"type":"fixed","name":"F","size":{}}}"#, n % 3))
                    .await
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    let versions: Vec<_> = registry.list(&Listed::default()).iter().map(|v| (v.subject.clone(), v.version)).collect();
    assert_eq!(versions, [("s0".to_string(), 1), ("s1".into(), 1), ("s2".into(), 1)]);
    assert_eq!(registry.max_id(), Some(3));
}

#[tokio::test]
async fn a_write_that_fails_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let registry = Registry::open(pool(&dir).await).await.unwrap();
    registry.register("s", V1).await.unwrap();
    sqlx::raw_sql("CREATE TRIGGER full BEFORE INSERT ON registry_version BEGIN SELECT RAISE(FAIL, 'disk full'); END;")
        .execute(&registry.pool)
        .await
        .unwrap();
    let error = registry.submit("s", Draft::avro(V2)).await.unwrap_err();
    assert_eq!((error.code, error.status()), (Code::Store, 500));
    assert_eq!((registry.versions("s", true).unwrap(), registry.max_id()), (vec![1], Some(1)));
    sqlx::raw_sql("DROP TRIGGER full").execute(&registry.pool).await.unwrap();
    assert_eq!(registry.submit("s", Draft::avro(V2)).await.unwrap().schema.id, 2);
}

#[tokio::test]
async fn tables_of_another_version_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let first = pool(&dir).await;
    Registry::open(first.clone()).await.unwrap();
    sqlx::raw_sql("UPDATE registry_setting SET value = 9 WHERE key = 'version'").execute(&first).await.unwrap();
    let error = Registry::open(first).await.unwrap_err();
    assert!(error.message.contains("have version 9"), "{error}");
}

#[tokio::test]
async fn a_schema_that_does_not_follow_is_refused_in_few_words() {
    let dir = tempfile::tempdir().unwrap();
    let registry = Registry::open(pool(&dir).await).await.unwrap();
    let fields: Vec<String> = (0..40).map(|n| format!(r#"{{"name":"f{n}","type":"int"}}"#)).collect();
    let wide = format!(r#"{{"type":"record","name":"R","fields":[{}]}}"#, fields.join(","));
    registry.register("s", V1).await.unwrap();
    let error = registry.register("s", &wide).await.unwrap_err();
    let text = error.to_string();
    assert_eq!(error.kind, fleuve_types::ErrorKind::Input);
    for part in [r#"subject "s""#, "BACKWARD", "at /f0", "(and 39 more)", "PUT /config/s with"] {
        assert!(text.contains(part), "{text}");
    }
    assert!(text.len() < 500, "{text}");
    // A client is told all of it, as it is used to.
    assert!(registry.submit("s", Draft::avro(wide)).await.unwrap_err().message.contains("at /f39"));
    // What is wrong in itself says what it said.
    assert!(registry.register("s", "{").await.unwrap_err().message.contains("Invalid AVRO schema"));
}

#[tokio::test]
async fn the_record_of_a_subject_has_the_name_of_its_latest_schema() {
    let dir = tempfile::tempdir().unwrap();
    let registry = Registry::open(pool(&dir).await).await.unwrap();
    assert_eq!(registry.record_name("s"), None);
    registry.register("s", V1).await.unwrap();
    assert_eq!(registry.record_name("s").as_deref(), Some("R"));
    registry.set_level("s", Some(Compatibility::None)).await.unwrap();
    for (name, space) in [("Order", "\"namespace\":\"shop\","), ("shop.Order", "")] {
        let text = format!(r#"{{"type":"record","name":"{name}",{space}"fields":[]}}"#);
        registry.register("s", &text).await.unwrap();
        assert_eq!(registry.record_name("s").as_deref(), Some("shop.Order"));
    }
    registry.delete_version("s", VersionRef::Latest, false).await.unwrap();
    assert_eq!(registry.record_name("s").as_deref(), Some("R"));
    registry.register("s", r#""string""#).await.unwrap();
    assert_eq!(registry.record_name("s"), None);
}
