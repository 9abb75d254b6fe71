//! The tables. **Ground state**.

use std::sync::Arc;

use sqlx::{Row, SqliteConnection, SqlitePool};

use crate::state::{Draft, SchemaKind, Stored, Write};
use crate::{Code, Compatibility, RegistryError, Result, State};

/// Version of these tables; they live beside the catalog's, so `user_version` is not theirs.
const VERSION: i64 = 1;

const TABLES: &str = "
CREATE TABLE registry_setting (key TEXT NOT NULL PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE registry_schema (
  id INTEGER PRIMARY KEY,
  kind TEXT NOT NULL,
  text TEXT NOT NULL,
  refers TEXT NOT NULL,        -- JSON: [{\"name\", \"subject\", \"version\"}, ...]
  whole TEXT NOT NULL
) STRICT;
CREATE TABLE registry_version (
  subject TEXT NOT NULL,
  version INTEGER NOT NULL,
  schema INTEGER NOT NULL REFERENCES registry_schema (id) DEFERRABLE INITIALLY DEFERRED,
  deleted INTEGER NOT NULL,
  PRIMARY KEY (subject, version)
) STRICT, WITHOUT ROWID;
CREATE TABLE registry_level (subject TEXT NOT NULL PRIMARY KEY, level TEXT NOT NULL) STRICT, WITHOUT ROWID;
INSERT INTO registry_setting VALUES ('version', 1), ('last_id', 0);
";

fn failed(what: &str) -> impl FnOnce(sqlx::Error) -> RegistryError {
    move |e| RegistryError::new(Code::Store, format!("can't {what}: {e}"))
}

fn damaged(what: &str) -> RegistryError {
    RegistryError::new(Code::Store, format!("the registry's tables hold an unreadable {what}"))
}

/// Makes the tables if there are none.
pub(crate) async fn prepare(pool: &SqlitePool) -> Result<()> {
    let mut tx = pool.begin_with("BEGIN IMMEDIATE").await.map_err(failed("open the registry"))?;
    let there: bool = sqlx::query_scalar("SELECT count(*) > 0 FROM sqlite_schema WHERE name = 'registry_setting'")
        .fetch_one(&mut *tx)
        .await
        .map_err(failed("open the registry"))?;
    if !there {
        sqlx::raw_sql(TABLES).execute(&mut *tx).await.map_err(failed("make the registry's tables"))?;
    }
    let version = setting(&mut tx, "version").await?;
    if version != VERSION {
        let message = format!(
            "the registry's tables have version {version}; this version of Fleuve knows {VERSION}: start the newer Fleuve that wrote them"
        );
        return Err(RegistryError::new(Code::Store, message));
    }
    tx.commit().await.map_err(failed("make the registry's tables"))
}

async fn setting(tx: &mut SqliteConnection, key: &str) -> Result<i64> {
    let query = sqlx::query_scalar("SELECT value FROM registry_setting WHERE key = ?").bind(key);
    query.fetch_one(tx).await.map_err(failed("read the registry's settings"))
}

/// All that the tables hold.
pub(crate) async fn load(pool: &SqlitePool) -> Result<State> {
    let mut tx = pool.begin().await.map_err(failed("read the registry"))?;
    let last_id = i32::try_from(setting(&mut tx, "last_id").await?).map_err(|_| damaged("last id"))?;
    let mut state = State::after(last_id);
    let rows = sqlx::query("SELECT id, kind, text, refers, whole FROM registry_schema ORDER BY id")
        .fetch_all(&mut *tx)
        .await
        .map_err(failed("read the schemas"))?;
    for row in rows {
        let draft = Draft {
            kind: SchemaKind::from_word(row.get(1)).ok_or_else(|| damaged("kind of schema"))?,
            text: row.get(2),
            references: serde_json::from_str(row.get(3)).map_err(|_| damaged("list of references"))?,
        };
        state.apply(&[Write::Schema(Arc::new(Stored { id: row.get(0), draft, whole: row.get(4) }))]);
    }
    let rows = sqlx::query("SELECT subject, version, schema, deleted FROM registry_version")
        .fetch_all(&mut *tx)
        .await
        .map_err(failed("read the subjects"))?;
    for row in rows {
        let (subject, version, id, deleted) = (row.get(0), row.get(1), row.get(2), row.get(3));
        state.apply(&[Write::Version { subject, version, id, deleted }]);
    }
    state.retire_unused();
    let rows = sqlx::query("SELECT subject, level FROM registry_level")
        .fetch_all(&mut *tx)
        .await
        .map_err(failed("read the compatibility levels"))?;
    for row in rows {
        let level = Compatibility::from_word(row.get(1)).ok_or_else(|| damaged("compatibility level"))?;
        state.apply(&[Write::Level { subject: row.get(0), level: Some(level) }]);
    }
    Ok(state)
}

/// Makes `writes` durable, all or nothing.
pub(crate) async fn write(pool: &SqlitePool, writes: &[Write]) -> Result<()> {
    let mut tx = pool.begin_with("BEGIN IMMEDIATE").await.map_err(failed("begin a change of the registry"))?;
    for write in writes {
        step(&mut tx, write).await.map_err(failed("write the registry"))?;
    }
    tx.commit().await.map_err(failed("commit to the registry (it may or may not be written)"))
}

async fn step(tx: &mut SqliteConnection, write: &Write) -> sqlx::Result<()> {
    let query = match write {
        Write::Schema(stored) => {
            sqlx::query("UPDATE registry_setting SET value = max(value, ?) WHERE key = 'last_id'")
                .bind(stored.id)
                .execute(&mut *tx)
                .await?;
            let references = serde_json::to_string(&stored.draft.references).expect("references are always JSON");
            sqlx::query("INSERT INTO registry_schema (id, kind, text, refers, whole) VALUES (?, ?, ?, ?, ?)")
                .bind(stored.id)
                .bind(stored.draft.kind.as_str())
                .bind(&stored.draft.text)
                .bind(references)
                .bind(&stored.whole)
        }
        Write::Version { subject, version, id, deleted } => sqlx::query(
            "INSERT INTO registry_version (subject, version, schema, deleted) VALUES (?, ?, ?, ?)
             ON CONFLICT (subject, version) DO UPDATE SET schema = excluded.schema, deleted = excluded.deleted",
        )
        .bind(subject)
        .bind(version)
        .bind(id)
        .bind(deleted),
        Write::RemoveVersion { subject, version } => {
            sqlx::query("DELETE FROM registry_version WHERE subject = ? AND version = ?").bind(subject).bind(version)
        }
        // It stays, and that no version has it says what it is.
        Write::Retire(_) => return Ok(()),
        Write::Level { subject, level: Some(level) } => sqlx::query(
            "INSERT INTO registry_level (subject, level) VALUES (?, ?) ON CONFLICT (subject) DO UPDATE SET level = excluded.level",
        )
        .bind(subject)
        .bind(level.as_str()),
        Write::Level { subject, level: None } => {
            sqlx::query("DELETE FROM registry_level WHERE subject = ?").bind(subject)
        }
    };
    query.execute(&mut *tx).await.map(drop)
}
