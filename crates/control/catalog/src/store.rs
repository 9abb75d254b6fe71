//! The SQLite file. **Ground state**: objects, names, settings and the checkpoint.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fleuve_types::{Error, ErrorKind, ObjectId, Result};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteRow, SqliteSynchronous};
use sqlx::{Connection, Row, Sqlite, SqliteConnection, SqlitePool, Transaction};

use crate::{Changes, Command, Object, ObjectKind, State, decide};

/// The one environment until there are more.
pub(crate) const ENVIRONMENT: &str = "main";

/// Longest value of a setting, in bytes.
pub const MAX_SETTING_BYTES: usize = 1 << 20;

/// How long a writer waits for another before it gives up.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);

/// Connections to the file: one writes, the others read beside it.
const MAX_CONNECTIONS: u32 = 4;

/// Step `n` (from 0) brings a file from schema version `n` to `n + 1`. Steps are never changed, only added.
const MIGRATIONS: [&str; 2] = [include_str!("schema/1.sql"), include_str!("schema/2.sql")];

/// The catalog database. Clones share it.
#[derive(Clone, Debug)]
pub struct Catalog {
    pool: SqlitePool,
    faults: Option<Arc<dyn CommitFaults>>,
}

/// Is asked around every commit: how a simulation makes one fail, or leaves its outcome unknown.
pub trait CommitFaults: Send + Sync + fmt::Debug {
    /// An error stands for a commit that was not made.
    ///
    /// # Errors
    /// `Io`.
    fn before(&self) -> Result<()>;
    /// An error stands for a commit that was made, and nobody was told.
    ///
    /// # Errors
    /// `Io`.
    fn after(&self) -> Result<()>;
}

impl Catalog {
    /// Opens the file at `path`, makes it if there is none, and brings an older one up to date.
    ///
    /// # Errors
    /// `Config` if a newer version of Fleuve wrote it; `Io` if it can't be opened or is not a catalog.
    pub async fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_with(path, None, false).await
    }

    /// As [`Catalog::open`]; `faults` decides what becomes of commits. `is_named` says that there is data whose names are in the catalog.
    ///
    /// # Errors
    /// As [`Catalog::open`]; `Config` if there is such data and no catalog, which is not made then.
    pub async fn open_with(
        path: impl AsRef<Path>,
        faults: Option<Arc<dyn CommitFaults>>,
        is_named: bool,
    ) -> Result<Self> {
        let path = path.as_ref();
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY_TIMEOUT);
        let opening = format!("open the catalog {}", path.display());
        let pool = SqlitePoolOptions::new()
            .max_connections(MAX_CONNECTIONS)
            // One that a full disk has left within a transaction, as sqlx sees it, begins no other.
            .before_acquire(|connection, _| Box::pin(async move { Ok(!connection.is_in_transaction()) }))
            .connect_with(options)
            .await
            .map_err(|e| failed(&opening, e))?;
        let catalog = Self { pool, faults };
        catalog.migrate(path, is_named).await?;
        Ok(catalog)
    }

    async fn migrate(&self, path: &Path, is_named: bool) -> Result<()> {
        let mut tx = self.begin().await?;
        let version: i64 = sqlx::query_scalar("PRAGMA user_version")
            .fetch_one(&mut *tx)
            .await
            .map_err(|e| failed(&format!("read the catalog {}", path.display()), e))?;
        let known = MIGRATIONS.len();
        let done = usize::try_from(version).ok().filter(|v| *v <= known).ok_or_else(|| {
            let message = format!(
                "the catalog {} has schema version {version}; this version of Fleuve knows up to {known}",
                path.display()
            );
            Error::new(ErrorKind::Config, message).hint("start the newer version of Fleuve that wrote it")
        })?;
        if done == known {
            return Ok(());
        }
        if done == 0 && is_named {
            let message =
                format!("the catalog {} is missing or empty, and there is data that it has to name", path.display());
            return Err(Error::new(ErrorKind::Config, message)
                .hint("restore it from a backup (catalog.db, and catalog.db-wal beside it), or begin with an empty data folder"));
        }
        for step in &MIGRATIONS[done..] {
            sqlx::raw_sql(step).execute(&mut *tx).await.map_err(|e| failed("bring the catalog up to date", e))?;
        }
        // A pragma takes no parameters; `known` is a number of ours.
        sqlx::raw_sql(&format!("PRAGMA user_version = {known}"))
            .execute(&mut *tx)
            .await
            .map_err(|e| failed("bring the catalog up to date", e))?;
        self.commit(tx).await
    }

    /// The connections, for other rooms that keep tables of their own in the same file (the schema registry).
    pub fn pool(&self) -> &SqlitePool {
        &self.pool
    }

    /// Folds the write-ahead file into the database and closes all connections; for a clean stop.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    /// Applies `commands` in order, all or nothing, and says what came of it. Durable when it returns.
    ///
    /// # Errors
    /// Those of [`decide`]; `Io`; `Retry` if the database was busy; `Unknown` if the commit itself failed.
    pub async fn apply(&self, commands: Vec<Command>) -> Result<Changes> {
        let mut tx = self.begin().await?;
        let state = State::new(read_objects(&mut tx).await?)?;
        let changes = decide(&state, &commands)?;
        if changes.is_empty() {
            return Ok(changes);
        }
        write(&mut tx, &changes).await.map_err(|e| failed("write the catalog", e))?;
        self.commit(tx).await?;
        Ok(changes)
    }

    /// All objects, by id.
    ///
    /// # Errors
    /// `Io` if the database can't be read; `Bug` if what it holds is not what was written.
    pub async fn objects(&self) -> Result<Vec<Object>> {
        let mut tx = self.pool.begin().await.map_err(|e| failed("read the catalog", e))?;
        read_objects(&mut tx).await
    }

    /// The value of a setting of this installation (its cluster id, for instance).
    ///
    /// # Errors
    /// `Io` if the database can't be read.
    pub async fn setting(&self, key: &str) -> Result<Option<String>> {
        sqlx::query_scalar("SELECT value FROM setting WHERE key = ?")
            .bind(key)
            .fetch_optional(&self.pool)
            .await
            .map_err(|e| failed("read a setting", e))
    }

    /// Gives a setting a value; durable when it returns.
    ///
    /// # Errors
    /// `Limit` if the value is longer than [`MAX_SETTING_BYTES`]; `Io`; `Retry` if the database was busy.
    pub async fn set_setting(&self, key: &str, value: &str) -> Result<()> {
        if value.len() > MAX_SETTING_BYTES {
            let message = format!("setting '{key}' has {} bytes; the limit is {MAX_SETTING_BYTES}", value.len());
            return Err(Error::new(ErrorKind::Limit, message));
        }
        sqlx::query(
            "INSERT INTO setting (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        )
        .bind(key)
        .bind(value)
        .execute(&self.pool)
        .await
        .map_err(|e| failed("write a setting", e))?;
        Ok(())
    }

    /// A transaction that writes: it takes the write lock at once, so that it never has to give up half-way.
    pub(crate) async fn begin(&self) -> Result<Transaction<'static, Sqlite>> {
        self.pool.begin_with("BEGIN IMMEDIATE").await.map_err(|e| failed("begin a change of the catalog", e))
    }

    /// Nobody knows whether a commit that failed was written; all before it surely was not.
    pub(crate) async fn commit(&self, tx: Transaction<'static, Sqlite>) -> Result<()> {
        if let Some(faults) = &self.faults {
            faults.before().map_err(unknown)?;
        }
        tx.commit().await.map_err(|e| unknown(failed("commit to the catalog", e)))?;
        self.faults.as_ref().map_or(Ok(()), |faults| faults.after().map_err(unknown))
    }
}

async fn read_objects(tx: &mut SqliteConnection) -> Result<Vec<Object>> {
    let rows = sqlx::query(
        "SELECT o.id, o.kind, n.namespace, n.name, o.sql, o.comment, o.column_comments, o.version, o.created_ms,
                o.edition
         FROM name n JOIN object o ON o.id = n.object AND o.version = n.version
         WHERE n.environment = ? ORDER BY o.id",
    )
    .bind(ENVIRONMENT)
    .fetch_all(&mut *tx)
    .await
    .map_err(|e| failed("read the objects", e))?;
    let mut objects = rows.iter().map(read_object).collect::<Result<Vec<_>>>()?;
    let rows = sqlx::query(
        "SELECT d.object, d.depends_on FROM dependency d JOIN name n ON n.object = d.object AND n.version = d.version
         WHERE n.environment = ? ORDER BY d.object, d.position",
    )
    .bind(ENVIRONMENT)
    .fetch_all(&mut *tx)
    .await
    .map_err(|e| failed("read the dependencies", e))?;
    for row in rows {
        let id = object_id(row.get(0))?;
        let at = objects
            .binary_search_by_key(&id, |o| o.id)
            .map_err(|_| Error::bug(format!("the catalog holds a dependency of the unknown object {id}")))?;
        objects[at].depends_on.push(object_id(row.get(1))?);
    }
    Ok(objects)
}

fn read_object(row: &SqliteRow) -> Result<Object> {
    let id = object_id(row.get(0))?;
    let damaged = |what: &str| Error::bug(format!("the catalog holds an unreadable {what} for object {id}"));
    Ok(Object {
        id,
        kind: match row.get(1) {
            "stream" => ObjectKind::Stream,
            "source" => ObjectKind::Source,
            "view" => ObjectKind::View,
            "sink" => ObjectKind::Sink,
            "index" => ObjectKind::Index,
            _ => return Err(damaged("kind")),
        },
        namespace: row.get(2),
        name: row.get(3),
        sql: row.get(4),
        comment: row.get(5),
        column_comments: serde_json::from_str(row.get(6)).map_err(|_| damaged("list of column comments"))?,
        depends_on: Vec::new(),
        version: u32::try_from(row.get::<i64, _>(7)).map_err(|_| damaged("version"))?,
        created_ms: row.get(8),
        edition: u32::try_from(row.get::<i64, _>(9)).map_err(|_| damaged("edition"))?,
    })
}

/// Foreign keys are checked at the commit, so the order within does not matter; names are freed before they are taken.
async fn write(tx: &mut SqliteConnection, changes: &Changes) -> sqlx::Result<()> {
    for object in &changes.dropped {
        delete_name(tx, object).await?;
        delete_version(tx, object).await?;
    }
    for replaced in &changes.replaced {
        delete_name(tx, &replaced.before).await?;
        delete_version(tx, &replaced.before).await?;
    }
    for object in changes.replaced.iter().map(|r| &r.after).chain(&changes.created) {
        insert(tx, object).await?;
    }
    for object in &changes.commented {
        let update =
            "UPDATE object SET sql = ?, edition = ?, comment = ?, column_comments = ? WHERE id = ? AND version = ?";
        sqlx::query(update)
            .bind(&object.sql)
            .bind(i64::from(object.edition))
            .bind(&object.comment)
            .bind(column_comments(object))
            .bind(object.id.to_bytes().to_vec())
            .bind(i64::from(object.version))
            .execute(&mut *tx)
            .await?;
    }
    Ok(())
}

async fn insert(tx: &mut SqliteConnection, object: &Object) -> sqlx::Result<()> {
    let (id, version) = (object.id.to_bytes().to_vec(), i64::from(object.version));
    sqlx::query(
        "INSERT INTO object (id, version, kind, sql, comment, column_comments, created_ms, edition)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(id.clone())
    .bind(version)
    .bind(object.kind.as_str())
    .bind(&object.sql)
    .bind(&object.comment)
    .bind(column_comments(object))
    .bind(object.created_ms)
    .bind(i64::from(object.edition))
    .execute(&mut *tx)
    .await?;
    sqlx::query("INSERT INTO name (environment, namespace, name, object, version) VALUES (?, ?, ?, ?, ?)")
        .bind(ENVIRONMENT)
        .bind(&object.namespace)
        .bind(&object.name)
        .bind(id.clone())
        .bind(version)
        .execute(&mut *tx)
        .await?;
    for (position, depends_on) in object.depends_on.iter().enumerate() {
        sqlx::query("INSERT INTO dependency (object, version, position, depends_on) VALUES (?, ?, ?, ?)")
            .bind(id.clone())
            .bind(version)
            .bind(position as i64)
            .bind(depends_on.to_bytes().to_vec())
            .execute(&mut *tx)
            .await?;
    }
    Ok(())
}

async fn delete_name(tx: &mut SqliteConnection, object: &Object) -> sqlx::Result<()> {
    sqlx::query("DELETE FROM name WHERE environment = ? AND namespace = ? AND name = ?")
        .bind(ENVIRONMENT)
        .bind(&object.namespace)
        .bind(&object.name)
        .execute(&mut *tx)
        .await?;
    Ok(())
}

async fn delete_version(tx: &mut SqliteConnection, object: &Object) -> sqlx::Result<()> {
    sqlx::query("DELETE FROM object WHERE id = ? AND version = ?")
        .bind(object.id.to_bytes().to_vec())
        .bind(i64::from(object.version))
        .execute(&mut *tx)
        .await?;
    Ok(())
}

fn column_comments(object: &Object) -> String {
    serde_json::to_string(&object.column_comments).expect("pairs of strings are always JSON")
}

pub(crate) fn object_id(bytes: &[u8]) -> Result<ObjectId> {
    let bytes = bytes.try_into().map_err(|_| Error::bug("the catalog holds an id that has not 16 bytes"))?;
    Ok(ObjectId::from_bytes(bytes))
}

fn unknown(error: Error) -> Error {
    match error.kind {
        ErrorKind::Io => Error { kind: ErrorKind::Unknown, ..error },
        _ => error,
    }
}

pub(crate) fn failed(what: &str, error: sqlx::Error) -> Error {
    let busy = match &error {
        sqlx::Error::PoolTimedOut => true,
        // SQLITE_BUSY (5) and SQLITE_LOCKED (6), also in their extended forms.
        sqlx::Error::Database(e) => {
            e.code().and_then(|c| c.parse::<u32>().ok()).is_some_and(|c| matches!(c & 0xff, 5 | 6))
        }
        _ => false,
    };
    if busy {
        return Error::new(ErrorKind::Retry, format!("can't {what}: the database is busy: {error}"));
    }
    match &error {
        sqlx::Error::Database(e) if e.is_foreign_key_violation() || e.is_unique_violation() => {
            Error::bug(format!("can't {what}: {error}"))
        }
        _ => Error::io(format_args!("can't {what}"), error),
    }
}

#[cfg(test)]
mod tests;
