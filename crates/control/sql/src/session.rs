//! One client's session. It keeps the client's settings and the functions and schemas that an edge added; both are derived
//! from the connection and go with it.

use std::pin::Pin;
use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};
use arrow::record_batch::RecordBatch;
use datafusion::common::ParamValues;
use datafusion::prelude::SessionContext;
use fleuve_types::{Error, Result};
use futures::Stream;

use crate::{Backend, Subscription};

/// Rows as they come. Dropping the stream cancels the query.
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

/// What an edge adds to the context of every statement of a session: functions, tables (`pg_catalog`), rules.
pub type Extension = Arc<dyn Fn(&SessionContext) + Send + Sync>;

/// One statement as it was read, before anything is known about the tables in it.
#[derive(Clone, Debug)]
pub struct ParsedStatement {
    text: String,
}

impl ParsedStatement {
    /// The statement's own text, without the semicolon.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The highest `$n` in the statement; 0 when it takes no parameters.
    pub fn parameters(&self) -> usize {
        0
    }
}

/// A statement planned against the objects as they were: its columns and parameters are known. Running it plans it again, so
/// that it reads the newest state.
#[derive(Clone, Debug)]
pub struct Prepared {
    parsed: ParsedStatement,
    schema: Option<SchemaRef>,
    parameter_types: Vec<DataType>,
}

impl Prepared {
    /// The statement.
    pub fn statement(&self) -> &ParsedStatement {
        &self.parsed
    }

    /// The columns of the answer; `None` when the statement gives no rows (only a command tag).
    pub fn schema(&self) -> Option<SchemaRef> {
        self.schema.clone()
    }

    /// The types of `$1`, `$2`, ...: those the client gave, else those inferred, else text.
    pub fn parameter_types(&self) -> &[DataType] {
        &self.parameter_types
    }
}

/// One client's session: its settings and its way to the platform.
pub struct Session {
    #[allow(dead_code)]
    backend: Arc<dyn Backend>,
    extensions: Vec<Extension>,
}

impl Session {
    /// A new session.
    pub fn new(backend: Arc<dyn Backend>) -> Self {
        Self { backend, extensions: Vec::new() }
    }

    /// Runs `extension` on the context that this session's statements are planned and run in, once, when it is first made.
    #[must_use]
    pub fn with_extension(mut self, extension: Extension) -> Self {
        self.extensions.push(extension);
        self
    }

    /// A context over the newest snapshot: catalog `main`, default schema `public`, `fleuve`, `information_schema` and what
    /// the extensions registered. Everything planned in it shows one epoch.
    pub fn session_context(&self) -> SessionContext {
        SessionContext::new()
    }

    /// Reads the statements of `sql` without looking at any object. An empty text gives no statement.
    ///
    /// # Errors
    /// Syntax, with its place in the text.
    pub fn parse(&self, _sql: &str) -> Result<Vec<ParsedStatement>> {
        Err(Error::unsupported("not built yet"))
    }

    /// Plans a statement, so that its columns and parameters are known. `parameter_types` are those the client declared
    /// (may be shorter than the statement's parameters; `None` is "you say").
    ///
    /// # Errors
    /// Names, types, and what is not supported, with the place in the text.
    pub async fn prepare(&self, _statement: ParsedStatement, _types: &[Option<DataType>]) -> Result<Prepared> {
        Err(Error::unsupported("not built yet"))
    }

    /// Runs a prepared statement on the newest state.
    ///
    /// # Errors
    /// Those of [`Session::prepare`], of the parameters' number and types, and of the run.
    pub async fn run(&self, _prepared: &Prepared, _parameters: ParamValues) -> Result<Outcome> {
        Err(Error::unsupported("not built yet"))
    }

    /// The value of a setting (`search_path`, `application_name`, ...), as `SHOW` gives it.
    pub fn setting(&self, _name: &str) -> Option<String> {
        None
    }

    /// Sets a setting without SQL, e.g. from a startup packet. Unknown names are kept, as PostgreSQL keeps `a.b` names.
    pub fn set_setting(&self, _name: &str, _value: &str) {}

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
