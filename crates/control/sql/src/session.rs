use std::pin::Pin;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use fleuve_types::{Error, Result};
use futures::Stream;

use crate::{Backend, Subscription};

/// Rows as they come.
pub type RowStream = Pin<Box<dyn Stream<Item = Result<RecordBatch>> + Send>>;

/// What one statement gave.
pub enum Outcome {
    /// Rows of a query, `SHOW`, `DESCRIBE` or `EXPLAIN`.
    Rows {
        /// The columns.
        schema: SchemaRef,
        /// The rows.
        rows: RowStream,
    },
    /// Something was done; `tag` is PostgreSQL's command tag (`CREATE STREAM`, `INSERT 0 3`, ...).
    Done {
        /// The command tag.
        tag: String,
        /// Things the user should know (`view "x" already exists, skipping`).
        notices: Vec<String>,
    },
    /// `SUBSCRIBE TO`: columns `_epoch BIGINT, _weight BIGINT`, then the view's.
    Changes(Subscription),
}

/// One file of a project folder.
#[derive(Clone, Debug)]
pub struct ProjectFile {
    /// Path relative to the project, for messages.
    pub path: String,
    /// Its SQL.
    pub text: String,
}

/// One line of what `apply` did (or would do).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// `create`, `replace`, `unchanged`, `comment`
    pub action: String,
    /// `stream`, `view`, ...
    pub kind: String,
    /// `namespace.name`
    pub name: String,
}

/// One client's session: its settings and its way to the platform.
pub struct Session {
    #[allow(dead_code)]
    backend: Arc<dyn Backend>,
}

impl Session {
    /// A new session.
    pub fn new(backend: Arc<dyn Backend>) -> Self {
        Self { backend }
    }

    /// Runs the statements of `sql` in order and gives an outcome for each; stops at the first error.
    ///
    /// # Errors
    /// [`Error`] with its place in the text.
    pub async fn execute(&self, _sql: &str) -> Result<Vec<Outcome>> {
        Err(Error::unsupported("not built yet"))
    }

    /// Makes the platform hold what `files` declare: all or nothing. `dry_run` only says what would be done.
    ///
    /// # Errors
    /// [`Error`] with file, line and column.
    pub async fn apply(&self, _files: &[ProjectFile], _dry_run: bool) -> Result<Vec<Applied>> {
        Err(Error::unsupported("not built yet"))
    }
}
