//! A statement from its text to its answer, the same way for both query protocols.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use bytes::Bytes;
use datafusion::common::ParamValues;
use fleuve_sql::{ChangeSet, Outcome, Prepared, RowStream, Session, Subscription};
use fleuve_types::Error;
use futures::StreamExt;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use crate::catalog::{CatalogQuery, PgCatalog, looks_like_catalog_query};
use crate::counters::{Open, PgCounters};
use crate::decode::Parameter;
use crate::encode::BatchEncoder;
use crate::error::{PgError, PgResult, Place, code};
use crate::placeholders;
use crate::settings::{QUERY_TIME, Settings};
use crate::sql::{Command, command, tokens};
use crate::types;
use crate::wire::Column;

/// Batches that wait between the query and the socket.
const BATCHES_AHEAD: usize = 2;
/// `RowDescription` counts columns with 16 bits; PostgreSQL's own limit is 1664.
const MAX_COLUMNS: usize = 16_384;

/// What a statement is.
#[derive(Clone)]
pub(crate) enum Body {
    Empty,
    Command(Command),
    /// `DECLARE name CURSOR FOR` a query.
    Cursor {
        name: String,
        hold: bool,
        of: Arc<Statement>,
    },
    Platform(Arc<Prepared>),
    Catalog(Arc<CatalogQuery>),
}

/// A planned statement.
#[derive(Clone)]
pub(crate) struct Statement {
    pub(crate) body: Body,
    /// The types that the client declared; 0 or missing leaves it to the server.
    declared: Vec<u32>,
    parameter_types: Vec<DataType>,
    pub(crate) columns: Option<Vec<Column>>,
    /// The first word of the command tag.
    verb: &'static str,
    /// True if the statement changes something: it is never cut off half-way.
    pub(crate) changes: bool,
    place: Place,
}

impl Statement {
    pub(crate) fn empty() -> Self {
        Self::of(Body::Empty, None)
    }

    pub(crate) fn of(body: Body, columns: Option<Vec<Column>>) -> Self {
        let (declared, parameter_types) = (Vec::new(), Vec::new());
        Self { body, declared, parameter_types, columns, verb: "SELECT", changes: false, place: Place::nowhere() }
    }

    /// True for what a failed transaction still takes.
    pub(crate) fn ends_transaction(&self) -> bool {
        matches!(&self.body, Body::Command(c) if c.ends_transaction())
    }

    /// The parameters' types as the client is told.
    pub(crate) fn parameter_oids(&self) -> Vec<u32> {
        let oid = |(i, t): (usize, &DataType)| match self.declared.get(i) {
            Some(declared) if *declared != 0 => *declared,
            _ => types::type_oid(t),
        };
        self.parameter_types.iter().enumerate().map(oid).collect()
    }

    /// The values of a `Bind` message.
    pub(crate) fn parameters(&self, formats: &[i16], values: &[Option<Bytes>]) -> PgResult<ParamValues> {
        let wanted = self.parameter_types.len();
        if values.len() != wanted {
            let message =
                format!("bind message supplies {} parameters, but the statement needs {wanted}", values.len());
            return Err(PgError::error(code::PROTOCOL_VIOLATION, message));
        }
        if formats.len() > 1 && formats.len() != values.len() {
            let message = format!("bind message has {} formats for {} parameters", formats.len(), values.len());
            return Err(PgError::error(code::PROTOCOL_VIOLATION, message));
        }
        let one = |(i, value): (usize, &Option<Bytes>)| {
            let format = if formats.len() == 1 { formats[0] } else { formats.get(i).copied().unwrap_or(0) };
            let declared_oid = self.declared.get(i).copied().unwrap_or(0);
            let wanted = &self.parameter_types[i];
            Parameter { number: i + 1, declared_oid, wanted, binary: format == 1, value: value.as_ref() }.decode()
        };
        let values = values.iter().enumerate().map(one).collect::<PgResult<Vec<_>>>()?;
        Ok(ParamValues::from(values))
    }
}

/// What planning and running need of a session.
#[derive(Clone)]
pub(crate) struct Runner {
    pub(crate) session: Arc<Session>,
    pub(crate) catalog: PgCatalog,
    pub(crate) settings: Arc<Settings>,
    pub(crate) counters: Arc<PgCounters>,
}

impl Runner {
    /// Plans the one statement in `sql`, which stands at `place`.
    pub(crate) async fn plan(&self, sql: &str, declared: Vec<u32>, place: Place) -> PgResult<Statement> {
        match command(sql)? {
            // `SHOW STREAMS` and the like are the platform's.
            Some(Command::Show(name)) if !self.settings.knows(&name) => {}
            Some(Command::Declare { name, query, offset, hold }) => {
                let place = place.inside(offset);
                let of = Arc::new(Box::pin(self.plan(&query, declared, place)).await?);
                if of.columns.is_none() {
                    return Err(PgError::error(code::SYNTAX_ERROR, "a cursor needs a query that gives rows"));
                }
                let (declared, parameter_types) = (of.declared.clone(), of.parameter_types.clone());
                let body = Body::Cursor { name, hold, of };
                return Ok(Statement { declared, parameter_types, ..Statement::of(body, None) });
            }
            Some(c) => {
                let columns = command_columns(&c);
                return Ok(Statement { verb: "SHOW", ..Statement::of(Body::Command(c), columns) });
            }
            None => {}
        }
        let mut hints: Vec<Option<DataType>> = declared.iter().map(|oid| types::parameter_type(*oid)).collect();
        let from_fleuve = |e: Error| PgError::from_fleuve(e, &place);
        if looks_like_catalog_query(sql)
            && let Some(found) = CatalogQuery::plan(&self.catalog, &self.session, sql, &hints).await?
        {
            let columns = Some(checked_columns(&found.schema())?);
            let parameter_types = found.parameter_types.clone();
            let body = Body::Catalog(Arc::new(found));
            return Ok(Statement { declared, parameter_types, place, ..Statement::of(body, columns) });
        }
        let mut parsed = self.session.parse(sql).map_err(from_fleuve)?;
        let Some(mut first) = parsed.pop() else { return Ok(Statement::empty()) };
        if !parsed.is_empty() {
            return Err(PgError::error(
                code::SYNTAX_ERROR,
                "cannot insert multiple commands into a prepared statement",
            ));
        }
        let parameters = first.parameters();
        if parameters > placeholders::MAX_PARAMETERS {
            let message = format!("a statement has at most {} parameters", placeholders::MAX_PARAMETERS);
            return Err(PgError::error(code::PROGRAM_LIMIT, message));
        }
        if let Some(query) = first.query_mut() {
            placeholders::take_cast_types(query, &mut hints);
        }
        let mut typed = first.clone();
        // The types that are known first: what stands beside such a parameter is not to be taken for a text, or a date.
        if let Some(query) = first.query_mut() {
            placeholders::cast_all(query, &hints);
        }
        let mut prepared = self.session.prepare(first, &hints).await.map_err(from_fleuve)?;
        if parameters > 0
            && let Some(query) = typed.query_mut()
        {
            let hints = placeholders::all_types(query, &hints, prepared.parameter_types());
            placeholders::cast_all(query, &hints);
            prepared = self.session.prepare(typed, &hints).await.map_err(from_fleuve)?;
        }
        let columns = prepared.schema().map(|s| checked_columns(&s)).transpose()?;
        let (verb, changes) = verb(sql);
        let parameter_types = prepared.parameter_types().to_vec();
        let body = Body::Platform(Arc::new(prepared));
        Ok(Statement { body, declared, parameter_types, columns, verb, changes, place })
    }

    /// Runs a statement of the platform or the catalog up to its first rows.
    pub(crate) async fn run(&self, statement: &Statement, parameters: ParamValues) -> PgResult<Answer> {
        let outcome = match &statement.body {
            Body::Platform(prepared) => {
                // Also after a rollback, RESET ALL or set_config().
                self.session.set_setting(QUERY_TIME, &self.settings.get(QUERY_TIME).unwrap_or_default());
                let ran = self.session.run(prepared, parameters).await;
                ran.map_err(|e| PgError::from_fleuve(e, &statement.place))?
            }
            Body::Catalog(query) => {
                let rows = query.run(&self.catalog, &self.session, parameters).await?;
                Outcome::Rows { schema: query.schema(), rows, notices: Vec::new() }
            }
            Body::Empty | Body::Command(_) | Body::Cursor { .. } => {
                return Err(PgError::error(code::INTERNAL, "not a statement of the platform"));
            }
        };
        Ok(match outcome {
            Outcome::Rows { schema, rows, notices } => {
                let mut rows = Rows::pump(&schema, rows, statement, None)?;
                rows.warnings = notices.into_iter().map(|n| PgError::warning(code::WARNING, n)).collect();
                Answer::Rows(rows)
            }
            Outcome::Done { tag, notices } => {
                Answer::Done { tag, notices: notices.into_iter().map(PgError::notice).collect() }
            }
            Outcome::Changes(subscription) => {
                let open = Open::new(&self.counters, |c| &c.subscriptions_open);
                let (schema, rows) = changes(subscription);
                Answer::Rows(Rows::pump(&schema, rows, statement, Some(open))?)
            }
        })
    }
}

/// What a statement gave.
pub(crate) enum Answer {
    Empty,
    Done { tag: String, notices: Vec<PgError> },
    Rows(Rows),
}

/// Rows on their way: a task runs the query, a few batches ahead of the socket, until this is dropped.
pub(crate) struct Rows {
    pub(crate) columns: Vec<Column>,
    pub(crate) batches: mpsc::Receiver<Result<RecordBatch, Error>>,
    pub(crate) current: Option<BatchEncoder>,
    pub(crate) sent: u64,
    /// What the user should know about the rows; sent before the first of them, once.
    pub(crate) warnings: Vec<PgError>,
    verb: &'static str,
    pub(crate) place: Place,
    task: Option<AbortHandle>,
    _open: Option<Open>,
}

impl Rows {
    fn pump(schema: &SchemaRef, mut rows: RowStream, of: &Statement, open: Option<Open>) -> PgResult<Self> {
        let columns = checked_columns(schema)?;
        let (sender, batches) = mpsc::channel(BATCHES_AHEAD);
        let task = tokio::spawn(async move {
            while let Some(batch) = rows.next().await {
                let failed = batch.is_err();
                if sender.send(batch).await.is_err() || failed {
                    return;
                }
            }
        });
        let task = Some(task.abort_handle());
        Ok(Self {
            columns,
            batches,
            current: None,
            sent: 0,
            warnings: Vec::new(),
            verb: of.verb,
            place: of.place.clone(),
            task,
            _open: open,
        })
    }

    /// Rows that are there already.
    pub(crate) fn ready(batch: RecordBatch, verb: &'static str) -> Self {
        Self::collected(types::columns(&batch.schema()), vec![batch], verb)
    }

    /// Rows of a cursor, collected.
    pub(crate) fn collected(columns: Vec<Column>, collected: Vec<RecordBatch>, verb: &'static str) -> Self {
        let (sender, batches) = mpsc::channel(collected.len().max(1));
        for batch in collected {
            // The channel has room for all of them.
            let _ = sender.try_send(Ok(batch));
        }
        Self {
            columns,
            batches,
            current: None,
            sent: 0,
            warnings: Vec::new(),
            verb,
            place: Place::nowhere(),
            task: None,
            _open: None,
        }
    }

    pub(crate) fn tag(&self) -> String {
        match self.verb {
            "SHOW" | "EXPLAIN" => self.verb.to_string(),
            verb => format!("{verb} {}", self.sent),
        }
    }
}

impl Drop for Rows {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

fn checked_columns(schema: &SchemaRef) -> PgResult<Vec<Column>> {
    if schema.fields().len() > MAX_COLUMNS {
        let message = format!("the answer has {} columns; the limit is {MAX_COLUMNS}", schema.fields().len());
        return Err(PgError::error(code::PROGRAM_LIMIT, message));
    }
    Ok(types::columns(schema))
}

/// The first word of the tag, and whether the statement changes something.
fn verb(sql: &str) -> (&'static str, bool) {
    let first = tokens(sql).find(|t| !t.is_symbol('('));
    match first.map(|t| t.value()).as_deref() {
        Some("select" | "with" | "values" | "table" | "describe" | "desc") => ("SELECT", false),
        Some("show") => ("SHOW", false),
        Some("explain") => ("EXPLAIN", false),
        Some("subscribe") => ("SUBSCRIBE", false),
        _ => ("SELECT", true),
    }
}

fn text_column(name: &str) -> Column {
    types::column(&Field::new(name, DataType::Utf8, false))
}

fn command_columns(command: &Command) -> Option<Vec<Column>> {
    match command {
        Command::Show(name) => Some(vec![text_column(name)]),
        Command::ShowAll => Some(["name", "setting", "description"].map(text_column).to_vec()),
        _ => None,
    }
}

/// Text columns as a batch, for the door's own answers.
pub(crate) fn text_batch(columns: &[Column], values: Vec<Vec<String>>) -> PgResult<RecordBatch> {
    let fields: Vec<Field> = columns.iter().map(|c| Field::new(&c.name, DataType::Utf8, true)).collect();
    let arrays: Vec<ArrayRef> = values.into_iter().map(|v| Arc::new(StringArray::from(v)) as ArrayRef).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)
        .map_err(|e| PgError::error(code::INTERNAL, e.to_string()))
}

/// A subscription as rows: `_epoch`, `_weight`, then the view's columns. Heartbeats give none.
fn changes(subscription: Subscription) -> (SchemaRef, RowStream) {
    let mut fields: Vec<FieldRef> = vec![
        Arc::new(Field::new("_epoch", DataType::Int64, false)),
        Arc::new(Field::new("_weight", DataType::Int64, false)),
    ];
    fields.extend(subscription.schema.fields().iter().cloned());
    let schema = Arc::new(Schema::new(fields));
    let of = schema.clone();
    let rows = subscription.changes.filter_map(move |change| {
        let rows = match change {
            Ok(change) if change.delta.is_empty() => None,
            Ok(change) => Some(change_rows(&of, &change)),
            Err(e) => Some(Err(e)),
        };
        futures::future::ready(rows)
    });
    (schema, Box::pin(rows))
}

fn change_rows(schema: &SchemaRef, change: &ChangeSet) -> Result<RecordBatch, Error> {
    let n = change.delta.len();
    let weights = (0..n).map(|row| change.delta.weight(row));
    let mut columns: Vec<ArrayRef> =
        vec![Arc::new(Int64Array::from_value(change.epoch as i64, n)), Arc::new(Int64Array::from_iter_values(weights))];
    columns.extend(change.delta.batch.columns().iter().cloned());
    RecordBatch::try_new(schema.clone(), columns)
        .map_err(|e| Error::bug(format!("a change does not fit its schema: {e}")))
}
