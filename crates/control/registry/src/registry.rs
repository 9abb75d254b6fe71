//! The registry as a running thing: reads from memory, decides, writes, then changes memory.

use std::sync::{Arc, PoisonError, RwLock};

use fleuve_types::Error;
use sqlx::SqlitePool;
use tokio::sync::Mutex;

use crate::state::{Draft, Stored, VersionRef, Versioned, Write};
use crate::{Code, Compatibility, RegistryError, Result, State, store};

/// How versions are listed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listed {
    /// Only subjects whose names begin so.
    pub prefix: String,
    /// Those too that are deleted, but not permanently.
    pub deleted: bool,
    /// Of each subject only the latest.
    pub latest_only: bool,
}

/// The schema registry. Clones share it.
#[derive(Clone, Debug)]
pub struct Registry {
    pool: SqlitePool,
    state: Arc<RwLock<State>>,
    /// One change after the other: a decision holds until it is written.
    writer: Arc<Mutex<()>>,
}

impl Registry {
    /// Opens the registry in the catalog's file (`Catalog::pool`), and makes its tables if there are none.
    ///
    /// # Errors
    /// `Store` if the tables can't be read or are of a newer version.
    pub async fn open(pool: SqlitePool) -> Result<Self> {
        store::prepare(&pool).await?;
        let state = store::load(&pool).await?;
        Ok(Self { pool, state: Arc::new(RwLock::new(state)), writer: Arc::default() })
    }

    /// The text of a schema by id, with references put in: what a decoder needs, also of schemas that are deleted for good. Never
    /// waits for the disk.
    pub fn schema_by_id(&self, id: i32) -> Option<String> {
        self.read(|state| state.whole(id).map(str::to_owned))
    }

    /// Registers an Avro schema without references and gives its id; the same id if it is there already.
    ///
    /// # Errors
    /// `Input` if it is no schema or not compatible with earlier versions, with the first reason only; `Io`.
    pub async fn register(&self, subject: &str, schema: &str) -> fleuve_types::Result<i32> {
        let error = match self.submit(subject, Draft::avro(schema)).await {
            Ok(registered) => return Ok(registered.schema.id),
            Err(error) => error,
        };
        let why = match error.code {
            Code::Incompatible => self.check(subject, Draft::avro(schema), None).await.unwrap_or_default(),
            _ => Vec::new(),
        };
        Err(if why.is_empty() { error.into() } else { refused(subject, self.level(subject), &why) })
    }

    /// What the record of a subject's latest schema is called; `None` where that is no Avro record.
    pub fn record_name(&self, subject: &str) -> Option<String> {
        self.read(|state| state.record_name(subject))
    }

    /// Registers a schema as the newest version of a subject, unless the subject has it already.
    ///
    /// # Errors
    /// `InvalidSubject`, `InvalidSchema`, `Incompatible`, `NotPermitted` (a language that can't be checked; registry full), `Store`.
    pub async fn submit(&self, subject: &str, draft: Draft) -> Result<Versioned> {
        let subject = subject.to_string();
        self.change(move |state| state.register(&subject, &draft)).await
    }

    /// Why a schema may not become a version of a subject; nothing when it may. With `against` only that version counts.
    ///
    /// # Errors
    /// `InvalidSchema`, `VersionNotFound`, `NotPermitted`.
    pub async fn check(&self, subject: &str, draft: Draft, against: Option<VersionRef>) -> Result<Vec<String>> {
        let subject = subject.to_string();
        self.decide(move |state| state.compatibility(&subject, &draft, against)).await
    }

    /// The version of a subject that is this schema.
    ///
    /// # Errors
    /// `SubjectNotFound`, `SchemaNotFound`, `InvalidSchema`.
    pub async fn find(&self, subject: &str, draft: Draft, deleted: bool) -> Result<Versioned> {
        let subject = subject.to_string();
        self.decide(move |state| state.find(&subject, &draft, deleted)).await
    }

    /// The schema of an id.
    ///
    /// # Errors
    /// `SchemaNotFound`.
    pub fn schema(&self, id: i32) -> Result<Arc<Stored>> {
        self.read(|state| state.schema(id))
    }

    /// Subjects and versions that have this id.
    ///
    /// # Errors
    /// `SchemaNotFound`.
    pub fn uses(&self, id: i32, deleted: bool) -> Result<Vec<(String, i32)>> {
        self.read(|state| state.uses(id, deleted))
    }

    /// The highest id in use.
    pub fn max_id(&self) -> Option<i32> {
        self.read(State::max_id)
    }

    /// The subjects.
    pub fn subjects(&self, prefix: &str, deleted: bool) -> Vec<String> {
        self.read(|state| state.subjects(prefix, deleted))
    }

    /// The versions of all subjects.
    pub fn list(&self, listed: &Listed) -> Vec<Versioned> {
        self.read(|state| state.all(&listed.prefix, listed.deleted, listed.latest_only))
    }

    /// The version numbers of a subject.
    ///
    /// # Errors
    /// `SubjectNotFound`.
    pub fn versions(&self, subject: &str, deleted: bool) -> Result<Vec<i32>> {
        self.read(|state| state.versions(subject, deleted))
    }

    /// One version of a subject.
    ///
    /// # Errors
    /// `SubjectNotFound`, `VersionNotFound`.
    pub fn version(&self, subject: &str, version: VersionRef, deleted: bool) -> Result<Versioned> {
        self.read(|state| state.version(subject, version, deleted))
    }

    /// Ids of the schemas that refer to a version.
    ///
    /// # Errors
    /// `SubjectNotFound`, `VersionNotFound`.
    pub fn referenced_by(&self, subject: &str, version: VersionRef) -> Result<Vec<i32>> {
        self.read(|state| state.referenced_by(subject, version))
    }

    /// Deletes a subject: first a mark; with `permanent`, what is marked goes for good. Gives the versions concerned.
    ///
    /// # Errors
    /// `SubjectNotFound`, `SubjectSoftDeleted`, `SubjectNotSoftDeleted`, `ReferenceExists`, `NotPermitted` (too much was deleted for good),
    /// `Store`.
    pub async fn delete_subject(&self, subject: &str, permanent: bool) -> Result<Vec<i32>> {
        let subject = subject.to_string();
        self.change(move |state| state.delete_subject(&subject, permanent)).await
    }

    /// Deletes one version, as [`Registry::delete_subject`] does all. Gives its number.
    ///
    /// # Errors
    /// `SubjectNotFound`, `VersionNotFound`, `VersionSoftDeleted`, `VersionNotSoftDeleted`, `ReferenceExists`, `NotPermitted`, `Store`.
    pub async fn delete_version(&self, subject: &str, version: VersionRef, permanent: bool) -> Result<i32> {
        let subject = subject.to_string();
        self.change(move |state| state.delete_version(&subject, version, permanent)).await
    }

    /// The level for all subjects that have none of their own.
    pub fn default_level(&self) -> Compatibility {
        self.level("")
    }

    /// The level that counts for a subject.
    pub fn level(&self, subject: &str) -> Compatibility {
        self.read(|state| state.level(subject))
    }

    /// The level that a subject has of its own.
    ///
    /// # Errors
    /// `NoSubjectCompatibility`.
    pub fn own_level(&self, subject: &str) -> Result<Compatibility> {
        self.read(|state| state.own_level(subject)).ok_or_else(|| {
            let message = format!("Subject '{subject}' does not have subject-level compatibility configured");
            RegistryError::new(Code::NoSubjectCompatibility, message)
        })
    }

    /// Sets the level of a subject, or of all (empty name); `None` takes it away.
    ///
    /// # Errors
    /// `InvalidSubject`, `Store`.
    pub async fn set_level(&self, subject: &str, level: Option<Compatibility>) -> Result<()> {
        let subject = subject.to_string();
        self.change(move |state| Ok((state.set_level(&subject, level)?, ()))).await
    }

    fn read<T>(&self, ask: impl FnOnce(&State) -> T) -> T {
        // A panic while the lock is held leaves a state that was not changed yet: only `apply` writes, and it does not panic.
        ask(&self.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reading schemas and comparing them takes CPU, so it has a thread of its own.
    async fn decide<T: Send + 'static>(&self, ask: impl FnOnce(&State) -> Result<T> + Send + 'static) -> Result<T> {
        let registry = self.clone();
        let asked = tokio::task::spawn_blocking(move || registry.read(ask)).await;
        asked.map_err(|e| RegistryError::new(Code::Store, format!("the registry failed: {e}")))?
    }

    /// Runs to its end even if the caller goes away, so that memory and tables can't part.
    async fn change<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&State) -> Result<(Vec<Write>, T)> + Send + 'static,
    ) -> Result<T> {
        let registry = self.clone();
        let changed = tokio::spawn(async move {
            let _writing = registry.writer.lock().await;
            let (writes, answer) = registry.decide(ask).await?;
            if writes.is_empty() {
                return Ok(answer);
            }
            let written = store::write(&registry.pool, &writes).await;
            if written.is_ok() {
                registry.state.write().unwrap_or_else(PoisonError::into_inner).apply(&writes);
            } else if let Ok(state) = store::load(&registry.pool).await {
                // Nobody knows whether a commit that failed was written: the tables do.
                *registry.state.write().unwrap_or_else(PoisonError::into_inner) = state;
            }
            written.map(|()| answer)
        });
        changed.await.map_err(|e| RegistryError::new(Code::Store, format!("the registry failed: {e}")))?
    }
}

/// Longest reason that is told whole, in characters.
const MAX_REASON: usize = 300;

/// An incompatible schema in few words, for somebody who did not write it.
fn refused(subject: &str, level: Compatibility, why: &[String]) -> Error {
    let reasons: Vec<&String> = why.iter().filter(|reason| !reason.starts_with('{')).collect();
    let first: String = reasons.first().map_or("", |reason| reason.as_str()).chars().take(MAX_REASON).collect();
    let more = match reasons.len() {
        0 | 1 => String::new(),
        n => format!(" (and {} more)", n - 1),
    };
    let level = level.as_str();
    Error::input(format!("the schema of these rows does not fit subject \"{subject}\", whose level is {level}: {first}{more}")).hint(
        format!("at the registry, PUT /config/{subject} with {{\"compatibility\": \"NONE\"}} lets any schema follow; or write the rows with a client that has the subject's schema"),
    )
}

#[cfg(test)]
mod tests;
