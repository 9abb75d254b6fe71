use std::path::PathBuf;

use tempfile::TempDir;

use super::*;
use crate::{Checkpoint, Replaced};

fn object(id: u128, kind: ObjectKind, name: &str, depends_on: &[u128]) -> Object {
    Object {
        id: ObjectId(id),
        kind,
        namespace: "public".into(),
        name: name.into(),
        sql: format!("CREATE {kind} {name}"),
        comment: Some("über".into()),
        column_comments: vec![("a".into(), "first".into()), ("b".into(), "\"second\"".into())],
        depends_on: depends_on.iter().copied().map(ObjectId).collect(),
        version: 1,
        created_ms: 1_700_000_000_000,
        edition: 1,
    }
}

struct Place {
    _dir: TempDir,
    path: PathBuf,
}

fn place() -> Place {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("catalog.db");
    Place { _dir: dir, path }
}

fn shop() -> Vec<Object> {
    vec![
        object(1, ObjectKind::Stream, "orders", &[]),
        object(2, ObjectKind::View, "revenue", &[1]),
        object(3, ObjectKind::Stream, "revenue_out", &[]),
        object(4, ObjectKind::Sink, "out", &[3, 2]),
    ]
}

async fn open_with_shop(path: &Path) -> Catalog {
    let catalog = Catalog::open(path).await.unwrap();
    let changes = catalog.apply(shop().into_iter().map(Command::Create).collect()).await.unwrap();
    assert_eq!(changes.created, shop());
    catalog
}

#[tokio::test]
async fn objects_survive_a_reopening() {
    let place = place();
    open_with_shop(&place.path).await.close().await;
    let catalog = Catalog::open(&place.path).await.unwrap();
    assert_eq!(catalog.objects().await.unwrap(), shop());
    let other = Object { sql: "other".into(), depends_on: vec![], ..object(2, ObjectKind::View, "revenue", &[]) };
    let remarked = Object { comment: None, column_comments: vec![], ..shop()[2].clone() };
    let changes = catalog
        .apply(vec![
            Command::Replace(other.clone()),
            Command::Drop(ObjectId(4)),
            Command::Comment(remarked.clone()),
            Command::Create(object(5, ObjectKind::Sink, "out", &[2, 3])),
        ])
        .await
        .unwrap();
    let after = Object { version: 2, ..other };
    assert_eq!(changes.replaced, [Replaced { before: shop()[1].clone(), after: after.clone() }]);
    // Without a clean stop: what was answered is in the file.
    drop(catalog);
    let catalog = Catalog::open(&place.path).await.unwrap();
    let expected = [shop()[0].clone(), after, remarked, object(5, ObjectKind::Sink, "out", &[2, 3])];
    assert_eq!(catalog.objects().await.unwrap(), expected);
}

#[tokio::test]
async fn a_refused_list_leaves_everything_as_it_was() {
    let place = place();
    let catalog = open_with_shop(&place.path).await;
    let error = catalog
        .apply(vec![Command::Create(object(9, ObjectKind::Stream, "new", &[])), Command::Drop(ObjectId(1))])
        .await
        .unwrap_err();
    assert!(error.message.contains("view \"revenue\" depends on it"), "{error}");
    assert_eq!(catalog.objects().await.unwrap(), shop());
}

#[tokio::test]
async fn a_write_that_fails_half_way_is_undone() {
    let place = place();
    let catalog = open_with_shop(&place.path).await;
    sqlx::raw_sql(
        "CREATE TRIGGER full BEFORE INSERT ON name WHEN new.name = 'second' BEGIN SELECT RAISE(FAIL, 'disk full'); END;
         CREATE TRIGGER full_view BEFORE INSERT ON view_checkpoint WHEN new.version = 13 BEGIN SELECT RAISE(FAIL, 'disk full'); END;",
    )
    .execute(catalog.pool())
    .await
    .unwrap();
    let error = catalog
        .apply(vec![
            Command::Drop(ObjectId(4)),
            Command::Create(object(8, ObjectKind::Stream, "first", &[])),
            Command::Create(object(9, ObjectKind::Stream, "second", &[])),
        ])
        .await
        .unwrap_err();
    assert_eq!(error.kind, ErrorKind::Io, "{error}");
    assert_eq!(catalog.objects().await.unwrap(), shop());

    let first = Checkpoint { epoch: 1, views: vec![(ObjectId(2), 1, vec![1])], ..Checkpoint::default() };
    catalog.commit_checkpoint(first.clone()).await.unwrap();
    let torn = Checkpoint {
        epoch: 2,
        views: vec![(ObjectId(3), 1, vec![2]), (ObjectId(5), 13, vec![3])],
        removed: vec![ObjectId(2)],
        ..Checkpoint::default()
    };
    catalog.commit_checkpoint(torn).await.unwrap_err();
    assert_eq!(catalog.load_checkpoint().await.unwrap(), Some(first));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_that_want_a_name_one_gets_it() {
    let place = place();
    let catalog = Catalog::open(&place.path).await.unwrap();
    let tries: Vec<_> = (1..=12u128)
        .map(|id| {
            let catalog = catalog.clone();
            let name = if id % 2 == 0 { "even" } else { "odd" };
            tokio::spawn(async move {
                catalog.apply(vec![Command::Create(object(id, ObjectKind::Stream, name, &[]))]).await
            })
        })
        .collect();
    let mut won = 0;
    for attempt in tries {
        match attempt.await.unwrap() {
            Ok(changes) => won += changes.created.len(),
            Err(error) => assert_eq!(error.kind, ErrorKind::AlreadyExists, "{error}"),
        }
    }
    assert_eq!((won, catalog.objects().await.unwrap().len()), (2, 2));
}

#[tokio::test]
async fn checkpoints_keep_the_views_they_do_not_name() {
    let place = place();
    let catalog = Catalog::open(&place.path).await.unwrap();
    assert_eq!(catalog.load_checkpoint().await.unwrap(), None);
    let first = Checkpoint {
        epoch: 3,
        time_us: -5,
        frontier: vec![0, 1, 255],
        views: vec![(ObjectId(1), 1, b"one".to_vec()), (ObjectId(2), 4, b"two".to_vec())],
        removed: vec![],
    };
    catalog.commit_checkpoint(first.clone()).await.unwrap();
    assert_eq!(catalog.load_checkpoint().await.unwrap(), Some(first));
    let second = Checkpoint {
        epoch: 4,
        time_us: 6,
        frontier: vec![9],
        views: vec![(ObjectId(2), 5, b"two again".to_vec()), (ObjectId(3), 1, vec![])],
        removed: vec![ObjectId(1), ObjectId(77)],
    };
    catalog.commit_checkpoint(second.clone()).await.unwrap();
    drop(catalog);
    let catalog = Catalog::open(&place.path).await.unwrap();
    let loaded = Checkpoint { removed: vec![], ..second.clone() };
    assert_eq!(catalog.load_checkpoint().await.unwrap(), Some(loaded.clone()));

    let back = Checkpoint { epoch: 3, ..Checkpoint::default() };
    assert_eq!(catalog.commit_checkpoint(back).await.unwrap_err().kind, ErrorKind::Bug);
    let twice = Checkpoint { epoch: 5, removed: vec![ObjectId(2)], ..second };
    assert_eq!(catalog.commit_checkpoint(twice).await.unwrap_err().kind, ErrorKind::Bug);
    assert_eq!(catalog.load_checkpoint().await.unwrap(), Some(loaded));
}

#[tokio::test]
async fn settings_are_kept() {
    let place = place();
    let catalog = Catalog::open(&place.path).await.unwrap();
    assert_eq!(catalog.setting("cluster_id").await.unwrap(), None);
    catalog.set_setting("cluster_id", "a").await.unwrap();
    catalog.set_setting("cluster_id", "b").await.unwrap();
    catalog.close().await;
    let catalog = Catalog::open(&place.path).await.unwrap();
    assert_eq!(catalog.setting("cluster_id").await.unwrap().as_deref(), Some("b"));
    let long = "x".repeat(MAX_SETTING_BYTES + 1);
    assert_eq!(catalog.set_setting("k", &long).await.unwrap_err().kind, ErrorKind::Limit);
}

#[tokio::test]
async fn objects_of_a_file_of_the_first_version_have_the_first_rules() {
    let place = place();
    let old = SqliteConnectOptions::new().filename(&place.path).create_if_missing(true);
    let old = SqlitePoolOptions::new().connect_with(old).await.unwrap();
    sqlx::raw_sql(MIGRATIONS[0]).execute(&old).await.unwrap();
    sqlx::raw_sql(
        "PRAGMA user_version = 1;
         INSERT INTO object VALUES (x'00000000000000000000000000000001', 1, 'stream', 'CREATE STREAM s', NULL, '[]', 7);
         INSERT INTO name VALUES ('main', 'public', 's', x'00000000000000000000000000000001', 1)",
    )
    .execute(&old)
    .await
    .unwrap();
    old.close().await;
    let catalog = Catalog::open(&place.path).await.unwrap();
    catalog.apply(vec![Command::Create(object(2, ObjectKind::Stream, "t", &[]))]).await.unwrap();
    let editions: Vec<(String, u32)> =
        catalog.objects().await.unwrap().into_iter().map(|o| (o.name, o.edition)).collect();
    assert_eq!(editions, [("s".to_string(), 0), ("t".to_string(), 1)]);
}

#[tokio::test]
async fn a_file_of_a_newer_version_or_another_kind_is_refused() {
    let place = place();
    let catalog = Catalog::open(&place.path).await.unwrap();
    sqlx::raw_sql("PRAGMA user_version = 99").execute(catalog.pool()).await.unwrap();
    catalog.close().await;
    let error = Catalog::open(&place.path).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Config);
    assert!(error.to_string().contains("schema version 99") && error.to_string().contains("newer version"), "{error}");

    let other = place.path.with_file_name("other.db");
    std::fs::write(&other, "this is no database, but long enough to be taken for one".repeat(20)).unwrap();
    assert_eq!(Catalog::open(&other).await.unwrap_err().kind, ErrorKind::Io);
    assert_eq!(Catalog::open(place.path.join("no/such/folder.db")).await.unwrap_err().kind, ErrorKind::Io);
}

#[tokio::test]
async fn the_file_is_opened_as_promised() {
    let place = place();
    let catalog = Catalog::open(&place.path).await.unwrap();
    for (pragma, expected) in [("journal_mode", "wal"), ("synchronous", "2"), ("foreign_keys", "1")] {
        let row = sqlx::query(&format!("PRAGMA {pragma}")).fetch_one(catalog.pool()).await.unwrap();
        let value = row.try_get::<String, _>(0).unwrap_or_else(|_| row.get::<i64, _>(0).to_string());
        assert_eq!(value, expected, "{pragma}");
    }
}

/// Where the database rolls a change back by itself, as on a full disk, the next one is made all the same.
#[tokio::test]
async fn a_full_disk_is_over_when_there_is_room_again() {
    let place = place();
    let catalog = open_with_shop(&place.path).await;
    for _ in 0..MAX_CONNECTIONS {
        let mut tx = catalog.begin().await.unwrap();
        sqlx::raw_sql("PRAGMA max_page_count = 1").execute(&mut *tx).await.unwrap();
        let large = "x".repeat(1 << 20);
        let full =
            sqlx::query("INSERT INTO setting (key, value) VALUES ('large', ?)").bind(large).execute(&mut *tx).await;
        assert!(full.unwrap_err().to_string().contains("full"));
    }
    for id in 10..20 {
        let name = format!("s{id}");
        catalog.apply(vec![Command::Create(object(id, ObjectKind::Stream, &name, &[]))]).await.unwrap();
    }
    assert_eq!(catalog.objects().await.unwrap().len(), shop().len() + 10);
}

/// A catalog that is lost is not made anew over what it has named.
#[tokio::test]
async fn a_lost_catalog_is_told() {
    let place = place();
    for _ in 0..2 {
        let lost = Catalog::open_with(&place.path, None, true).await.err().unwrap();
        assert!(lost.message.contains("is missing or empty") && lost.hint.is_some(), "{lost}");
    }
    open_with_shop(&place.path).await.close().await;
    let catalog = Catalog::open_with(&place.path, None, true).await.unwrap();
    assert_eq!(catalog.objects().await.unwrap(), shop());
}
