//! One client's session. It keeps the client's settings and the functions and schemas that an edge added; both are derived
//! from the connection and go with it.

mod apply;
mod crash;
mod explain;
mod handed;
mod insert;
mod query;
mod replaced;
mod row;
mod run;
mod settings;
mod show;
mod values;

#[cfg(test)]
mod tests;

use std::pin::Pin;
use std::sync::{Arc, OnceLock};

use arrow::datatypes::{DataType, SchemaRef};
use arrow::record_batch::RecordBatch;
use chrono::DateTime;
use datafusion::common::ParamValues;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::execution::session_state::SessionState;
use datafusion::prelude::SessionContext;
use datafusion::sql::sqlparser::ast::Query;
use fleuve_types::{Clock, Error, Result};
use futures::Stream;
use tokio::sync::watch;

#[cfg(test)]
use crate::Spec;
use crate::context::{ExtraSchemas, SnapshotCatalog, SnapshotSource, default_runtime, shared_state, single};
use crate::errors::Where;
use crate::parse::{self, Parsed, Statement};
use crate::{Backend, Snapshot, Subscription, Withdrawal};

use settings::Settings;

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
        /// What the user should know about them (`view "x" stopped ...`).
        notices: Vec<String>,
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
    /// `create`, `replace`, `restate` (the same view in other words), `rebuild` (the same, built anew because of what it reads or uses),
    /// `revive`, `comment`, `unchanged`
    pub action: String,
    /// `stream`, `view`, ...
    pub kind: String,
    /// `namespace.name`
    pub name: String,
    /// What the user should know of it.
    pub notices: Vec<String>,
}

/// What an edge adds to the context of every statement of a session: functions, tables (`pg_catalog`), rules.
pub type Extension = Arc<dyn Fn(&SessionContext) + Send + Sync>;

/// One statement as it was read, before anything is known about the tables in it.
#[derive(Clone, Debug)]
pub struct ParsedStatement {
    parsed: Parsed,
}

impl ParsedStatement {
    /// The statement's own text, without the semicolon.
    pub fn text(&self) -> &str {
        &self.parsed.text
    }

    /// The highest `$n` in the statement; 0 when it takes no parameters.
    pub fn parameters(&self) -> usize {
        self.parsed.parameters
    }

    /// What it says.
    pub fn statement(&self) -> &Statement {
        &self.parsed.statement
    }

    /// True when running it gives rows (also `SHOW`, `EXPLAIN`, `SUBSCRIBE`), not only a command tag.
    pub fn gives_rows(&self) -> bool {
        matches!(
            self.parsed.statement,
            Statement::Query(_)
                | Statement::Show(_)
                | Statement::Describe(_)
                | Statement::Explain(..)
                | Statement::Subscribe(_)
        )
    }

    /// Changes the tree of a query before it is planned, as edges do for their clients' sake. `None` when the statement is
    /// not a plain query.
    pub fn query_mut(&mut self) -> Option<&mut Query> {
        match &mut self.parsed.statement {
            Statement::Query(query) => Some(query),
            _ => None,
        }
    }
}

/// A statement planned against the objects as they were: its columns and parameters are known. Running it plans it again, so
/// that it reads the newest state.
#[derive(Clone, Debug)]
pub struct Prepared {
    statement: ParsedStatement,
    schema: Option<SchemaRef>,
    parameter_types: Vec<DataType>,
}

impl Prepared {
    /// The statement.
    pub fn statement(&self) -> &ParsedStatement {
        &self.statement
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
    backend: Arc<dyn Backend>,
    clock: Arc<dyn Clock>,
    runtime: Arc<RuntimeEnv>,
    extensions: Vec<Extension>,
    settings: Settings,
    /// Functions, planners and rules, after the extensions ran; without a snapshot.
    base: OnceLock<SessionState>,
    extra: ExtraSchemas,
    /// Counts how often what was under way was withdrawn.
    withdrawals: watch::Sender<u64>,
}

impl Session {
    /// A new session.
    pub fn new(backend: Arc<dyn Backend>) -> Self {
        Self {
            clock: backend.clock(),
            backend,
            runtime: default_runtime(),
            extensions: Vec::new(),
            settings: Settings::default(),
            base: OnceLock::new(),
            extra: ExtraSchemas::default(),
            withdrawals: watch::channel(0).0,
        }
    }

    /// Takes back the change that is being carried out for this session, if it is not whole by then: the call that waits for it ends with
    /// an error. False if there is none; rows that are being inserted are not withdrawn. What is carried out when a session goes away is
    /// carried through.
    pub fn withdraw(&self) -> bool {
        self.withdrawals.send_modify(|n| *n += 1);
        self.withdrawals.receiver_count() > 0
    }

    fn withdrawal(&self) -> Withdrawal {
        Withdrawal::of(&self.withdrawals)
    }

    /// Takes memory and temporary files for queries from `runtime` (see [`crate::query_runtime`]).
    #[must_use]
    pub fn with_runtime(mut self, runtime: Arc<RuntimeEnv>) -> Self {
        self.runtime = runtime;
        self
    }

    /// Runs `extension` on the context that this session's statements are planned and run in, once, when it is first made.
    /// Schemas that it registers in catalog `main` are seen by all statements.
    #[must_use]
    pub fn with_extension(mut self, extension: Extension) -> Self {
        self.extensions.push(extension);
        self
    }

    /// The platform behind the session.
    pub fn backend(&self) -> &Arc<dyn Backend> {
        &self.backend
    }

    /// A context over the newest snapshot: catalog `main`, default schema `public`, `fleuve`, `information_schema` and what
    /// the extensions registered. Everything planned in it shows one epoch.
    pub fn session_context(&self) -> SessionContext {
        self.context_at(self.backend.snapshot())
    }

    /// A context over one snapshot. Its clock is the machine's.
    fn context_at(&self, snapshot: Arc<dyn Snapshot>) -> SessionContext {
        SessionContext::new_with_state(self.state_at(snapshot))
    }

    /// A state over one snapshot, to plan and run one statement in. `now()` and its like are, all through the statement, the time by
    /// the platform's clock: a context would give each plan the machine's time anew.
    fn state_at(&self, snapshot: Arc<dyn Snapshot>) -> SessionState {
        let mut state = self.base().clone();
        let catalog = SnapshotCatalog { source: SnapshotSource::Pinned(snapshot), extra: self.extra.clone() };
        state.register_catalog_list(single(Arc::new(catalog)));
        state.mark_start_execution();
        let now = DateTime::from_timestamp_micros(self.clock.now_us());
        state.execution_props_mut().query_execution_start_time = now;
        state
    }

    fn base(&self) -> &SessionState {
        self.base.get_or_init(|| {
            let mut state = shared_state(&self.runtime);
            // What an extension keeps for itself (lists of tables) follows the platform, not one statement's snapshot.
            let source = SnapshotSource::Live(self.backend.clone());
            let catalog = SnapshotCatalog { source, extra: self.extra.clone() };
            state.register_catalog_list(single(Arc::new(catalog)));
            let context = SessionContext::new_with_state(state);
            self.extensions.iter().for_each(|extend| extend(&context));
            context.state()
        })
    }

    /// Reads the statements of `sql` without looking at any object. An empty text gives no statement.
    ///
    /// # Errors
    /// Syntax, with its place in the text.
    pub fn parse(&self, sql: &str) -> Result<Vec<ParsedStatement>> {
        Ok(parse::parse(sql)?.into_iter().map(|parsed| ParsedStatement { parsed }).collect())
    }

    /// Plans a statement, so that its columns and parameters are known. `types` are those the client declared (may be
    /// shorter than the statement's parameters; `None` is "you say").
    ///
    /// # Errors
    /// Names, types, and what is not supported, with the place in the text.
    pub async fn prepare(&self, statement: ParsedStatement, types: &[Option<DataType>]) -> Result<Prepared> {
        let (schema, inferred) = self.describe(&statement.parsed).await?;
        let parameter_types = (0..statement.parameters())
            .map(|i| {
                let given = types.get(i).cloned().flatten();
                given.or_else(|| inferred.get(i).cloned().flatten()).unwrap_or(DataType::Utf8)
            })
            .collect();
        Ok(Prepared { statement, schema, parameter_types })
    }

    /// Runs a prepared statement on the newest state.
    ///
    /// # Errors
    /// Those of [`Session::prepare`], of the parameters' number and types, and of the run.
    pub async fn run(&self, prepared: &Prepared, parameters: ParamValues) -> Result<Outcome> {
        self.run_parsed(&prepared.statement.parsed, Some(parameters)).await
    }

    /// The value of a setting (`search_path`, `application_name`, ...), as `SHOW` gives it.
    pub fn setting(&self, name: &str) -> Option<String> {
        self.settings.get(name)
    }

    /// Sets a setting without SQL, e.g. from a startup packet. Unknown names are kept, as PostgreSQL keeps `a.b` names.
    pub fn set_setting(&self, name: &str, value: &str) {
        self.settings.set(name, value);
    }

    /// Runs the statements of `sql` in order and gives an outcome for each; stops at the first error.
    ///
    /// # Errors
    /// [`fleuve_types::Error`] with its place in the text.
    pub async fn execute(&self, sql: &str) -> Result<Vec<Outcome>> {
        let mut out = Vec::new();
        for parsed in parse::parse(sql)? {
            let outcome = self.run_parsed(&parsed, None).await;
            out.push(outcome.map_err(|error| behind(error, &out))?);
        }
        Ok(out)
    }
}

/// The error of a statement, with how many in front of it did something: nobody gets their outcomes.
fn behind(error: Error, outcomes: &[Outcome]) -> Error {
    let told = match outcomes.iter().filter(|o| matches!(o, Outcome::Done { .. })).count() {
        0 => return error,
        1 => "one statement in front of it was carried out".to_string(),
        n => format!("{n} statements in front of it were carried out"),
    };
    let hint = error.hint.as_ref().map_or_else(|| told.clone(), |hint| format!("{hint}; {told}"));
    error.hint(hint)
}

fn place_of(parsed: &Parsed) -> Where<'_> {
    Where { text: &parsed.text, at: &parsed.at }
}
