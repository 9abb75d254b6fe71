//! The extended query protocol: statements prepared once, bound to parameters, run in portions.

use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::common::ParamValues;

use crate::cancel::Guard;
use crate::connection::{Answered, Connection};
use crate::error::{PgError, Place, code};
use crate::statement::{Answer, Rows, Statement};
use crate::wire::{Bind, Target};

/// The most prepared statements and portals (with cursors) of a session.
const MAX_STATEMENTS: usize = 10_000;
pub(crate) const MAX_PORTALS: usize = 1_000;

/// A statement with its parameters, perhaps half-way through its rows. A cursor is one too.
pub(crate) struct Portal {
    pub(crate) statement: Arc<Statement>,
    parameters: Option<ParamValues>,
    formats: Vec<i16>,
    pub(crate) rows: Option<Rows>,
    /// Rows of a batch that a `FETCH` left over.
    pub(crate) rest: Option<RecordBatch>,
    finished: bool,
    /// It outlives its transaction.
    pub(crate) hold: bool,
}

impl Portal {
    pub(crate) fn new(statement: Arc<Statement>, parameters: ParamValues, formats: Vec<i16>, hold: bool) -> Self {
        Self { statement, parameters: Some(parameters), formats, rows: None, rest: None, finished: false, hold }
    }
}

impl Connection {
    pub(crate) async fn parse(&mut self, name: String, sql: &str, types: Vec<u32>) -> Answered<()> {
        if !name.is_empty() && self.statements.contains_key(&name) {
            let message = format!("prepared statement \"{name}\" already exists");
            return Err(PgError::error(code::DUPLICATE_PREPARED_STATEMENT, message).into());
        }
        if self.statements.len() >= MAX_STATEMENTS {
            let message = format!("a session has at most {MAX_STATEMENTS} prepared statements");
            return Err(PgError::error(code::CONFIGURATION_LIMIT, message).hint("DEALLOCATE some").into());
        }
        let mut guard = self.guard();
        let pieces = crate::sql::split(sql);
        let statement = match pieces.as_slice() {
            [] => Statement::empty(),
            [one] => self.plan(one.text, types, Place::new(sql, one.offset), &mut guard).await?,
            _ => {
                let message = "cannot insert multiple commands into a prepared statement";
                return Err(PgError::error(code::SYNTAX_ERROR, message).into());
            }
        };
        self.statements.insert(name, Arc::new(statement));
        self.io.out.parse_complete();
        Ok(())
    }

    fn statement(&self, name: &str) -> Answered<Arc<Statement>> {
        self.statements.get(name).cloned().ok_or_else(|| {
            let message = match name {
                "" => "unnamed prepared statement does not exist".to_string(),
                name => format!("prepared statement \"{name}\" does not exist"),
            };
            PgError::error(code::INVALID_STATEMENT_NAME, message).into()
        })
    }

    pub(crate) fn bind(&mut self, bind: Bind) -> Answered<()> {
        let statement = self.statement(&bind.statement)?;
        if self.transaction.is_failed() && !statement.ends_transaction() {
            return Err(PgError::in_failed_transaction().into());
        }
        if !bind.portal.is_empty() && self.portals.contains_key(&bind.portal) {
            return Err(
                PgError::error(code::DUPLICATE_CURSOR, format!("portal \"{}\" already exists", bind.portal)).into()
            );
        }
        if self.portals.len() >= MAX_PORTALS {
            let message = format!("a session has at most {MAX_PORTALS} open portals");
            return Err(PgError::error(code::CONFIGURATION_LIMIT, message).into());
        }
        let parameters = statement.parameters(&bind.parameter_formats, &bind.parameters)?;
        let columns = statement.columns.as_ref().map_or(0, Vec::len);
        let formats = match bind.result_formats.as_slice() {
            [] => Vec::new(),
            [one] => vec![*one; columns],
            many if many.len() == columns => many.to_vec(),
            many => {
                let message = format!("bind message has {} result formats but query has {columns} columns", many.len());
                return Err(PgError::error(code::PROTOCOL_VIOLATION, message).into());
            }
        };
        if let Some(format) = formats.iter().find(|f| !matches!(f, 0 | 1)) {
            return Err(
                PgError::error(code::INVALID_PARAMETER_VALUE, format!("unsupported format code: {format}")).into()
            );
        }
        self.portals.insert(bind.portal, Portal::new(statement, parameters, formats, false));
        self.io.out.bind_complete();
        Ok(())
    }

    pub(crate) fn describe(&mut self, target: Target, name: &str) -> Answered<()> {
        let (statement, formats) = match target {
            Target::Statement => {
                let statement = self.statement(name)?;
                self.io.out.parameter_description(&statement.parameter_oids());
                (statement, Vec::new())
            }
            Target::Portal => {
                let portal = self.portals.get(name).ok_or_else(|| no_portal(name))?;
                (portal.statement.clone(), portal.formats.clone())
            }
        };
        match &statement.columns {
            Some(columns) => self.io.out.row_description(columns, &formats),
            None => self.io.out.no_data(),
        }
        Ok(())
    }

    pub(crate) fn close(&mut self, target: Target, name: &str) {
        match target {
            Target::Statement => drop(self.statements.remove(name)),
            Target::Portal => drop(self.portals.remove(name)),
        }
        self.io.out.close_complete();
    }

    pub(crate) async fn execute(&mut self, name: &str, max_rows: usize) -> Answered<()> {
        let mut portal = self.portals.remove(name).ok_or_else(|| no_portal(name))?;
        let mut guard = self.guard();
        let executed = self.execute_portal(&mut portal, max_rows, &mut guard).await;
        // A portal that failed is of no use.
        if executed.is_ok() {
            self.portals.insert(name.to_string(), portal);
        }
        executed
    }

    async fn execute_portal(&mut self, portal: &mut Portal, max_rows: usize, guard: &mut Guard) -> Answered<()> {
        if portal.finished {
            self.io.out.command_complete("SELECT 0");
            return Ok(());
        }
        if portal.rows.is_none() {
            match self.begin(portal, guard).await? {
                Answer::Rows(rows) => portal.rows = Some(rows),
                Answer::Empty => {
                    self.io.out.empty_query_response();
                    portal.finished = true;
                    return Ok(());
                }
                Answer::Done { tag, notices } => {
                    self.done(&tag, &notices);
                    portal.finished = true;
                    return Ok(());
                }
            }
        }
        let Some(rows) = &mut portal.rows else { return Ok(()) };
        let limit = if max_rows == 0 { usize::MAX } else { max_rows };
        if self.send_rows(rows, &portal.formats, limit, guard).await? {
            self.io.out.portal_suspended();
        } else {
            self.io.out.command_complete(&rows.tag());
            portal.finished = true;
            portal.rows = None;
        }
        Ok(())
    }

    /// Starts a portal's query if it has not been.
    pub(crate) async fn open(&mut self, portal: &mut Portal, guard: &mut Guard) -> Answered<()> {
        if portal.rows.is_none() {
            match self.begin(portal, guard).await? {
                Answer::Rows(rows) => portal.rows = Some(rows),
                _ => return Err(PgError::error(code::SYNTAX_ERROR, "a cursor needs a query that gives rows").into()),
            }
        }
        Ok(())
    }

    async fn begin(&mut self, portal: &mut Portal, guard: &mut Guard) -> Answered<Answer> {
        let parameters = portal.parameters.take().unwrap_or_else(|| ParamValues::List(Vec::new()));
        // Boxed, because FETCH runs a portal from inside a statement.
        let answer = Box::pin(self.start(portal.statement.clone(), parameters, guard)).await?;
        if let (Answer::Rows(rows), Some(described)) = (&answer, &portal.statement.columns) {
            let types = |c: &[crate::wire::Column]| c.iter().map(|c| c.type_oid).collect::<Vec<_>>();
            if types(&rows.columns) != types(described) {
                // The objects changed since the statement was prepared, and the client was told other columns.
                return Err(PgError::error(code::FEATURE_NOT_SUPPORTED, "cached plan must not change result type")
                    .hint("prepare the statement again")
                    .into());
            }
        }
        Ok(answer)
    }
}

fn no_portal(name: &str) -> PgError {
    PgError::error(code::INVALID_CURSOR_NAME, format!("portal \"{name}\" does not exist"))
}
