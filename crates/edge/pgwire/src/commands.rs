//! The commands that the door answers itself.

use std::sync::Arc;

use datafusion::common::ParamValues;

use crate::cancel::Guard;
use crate::connection::{Answered, Connection};
use crate::error::{PgError, PgResult, code};
use crate::extended::{MAX_PORTALS, Portal};
use crate::settings::SetDone;
use crate::sql::{Command, Fetch, SetValue};
use crate::statement::{Answer, Rows, Statement, text_batch};
use crate::types;
use crate::wire::Column;

fn tag(tag: &str) -> PgResult<Answer> {
    Ok(Answer::Done { tag: tag.to_string(), notices: Vec::new() })
}

fn tag_with(tag: &str, notice: Option<PgError>) -> PgResult<Answer> {
    Ok(Answer::Done { tag: tag.to_string(), notices: notice.into_iter().collect() })
}

fn no_cursor(name: &str) -> PgError {
    PgError::error(code::INVALID_CURSOR_NAME, format!("cursor \"{name}\" does not exist"))
}

impl Connection {
    pub(crate) async fn command(&mut self, command: Command, guard: &mut Guard) -> Answered<Answer> {
        let answer = match command {
            Command::Begin => {
                let warning = self.transaction.begin();
                if warning.is_none() {
                    self.settings.begin();
                }
                tag_with("BEGIN", warning)
            }
            Command::Commit => self.end(true),
            Command::Rollback => self.end(false),
            Command::Savepoint(name) => self.transaction.savepoint(name).and_then(|()| tag("SAVEPOINT")),
            Command::Release(name) => self.transaction.release(&name).and_then(|()| tag("RELEASE")),
            Command::RollbackTo(name) => {
                self.transaction.rollback_to(&name).and_then(|warning| tag_with("ROLLBACK", warning))
            }
            Command::Set { name, value, local } => {
                self.settings.set(&name, &value, local).and_then(|done| self.after_set("SET", &name, done))
            }
            Command::SetTransaction => tag("SET"),
            Command::Reset(Some(name)) => self
                .settings
                .set(&name, &SetValue::Default, false)
                .and_then(|done| self.after_set("RESET", &name, done)),
            Command::Reset(None) => {
                self.reset_settings();
                tag("RESET")
            }
            Command::Show(name) => self.show(&name),
            Command::ShowAll => self.show_all(),
            Command::Discard(all) => {
                if all {
                    self.statements.clear();
                    self.portals.clear();
                    self.reset_settings();
                }
                tag(if all { "DISCARD ALL" } else { "DISCARD" })
            }
            Command::Deallocate(Some(name)) => match self.statements.remove(&name) {
                Some(_) => tag("DEALLOCATE"),
                None => {
                    let message = format!("prepared statement \"{name}\" does not exist");
                    Err(PgError::error(code::INVALID_STATEMENT_NAME, message))
                }
            },
            Command::Deallocate(None) => {
                self.statements.clear();
                tag("DEALLOCATE ALL")
            }
            Command::Unlisten => tag("UNLISTEN"),
            // Planned with its query: see `Body::Cursor`.
            Command::Declare { .. } => Err(PgError::error(code::INTERNAL, "a cursor without its query")),
            Command::Fetch { name, count, skip } => return self.fetch(&name, count, skip, guard).await,
            Command::CloseCursor(Some(name)) => match self.portals.remove(&name) {
                Some(_) => tag("CLOSE CURSOR"),
                None => Err(no_cursor(&name)),
            },
            Command::CloseCursor(None) => {
                self.portals.clear();
                tag("CLOSE CURSOR ALL")
            }
        };
        Ok(answer?)
    }

    fn end(&mut self, commit: bool) -> PgResult<Answer> {
        let (word, warning) = self.transaction.end(commit);
        for (name, value) in self.settings.end(word == "COMMIT") {
            self.io.out.parameter_status(name, &value);
        }
        self.portals.retain(|_, p| p.hold);
        tag_with(word, warning)
    }

    fn after_set(&mut self, word: &str, name: &str, done: SetDone) -> PgResult<Answer> {
        if let Some((display, value)) = &done.report {
            self.io.out.parameter_status(display, value);
        }
        if done.warning.is_none()
            && let Some(value) = self.settings.get(name)
        {
            self.runner.session.set_setting(&name.to_ascii_lowercase(), &value);
        }
        tag_with(word, done.warning)
    }

    fn reset_settings(&mut self) {
        for (name, value) in self.settings.reset_all() {
            self.io.out.parameter_status(name, &value);
        }
    }

    fn show(&self, name: &str) -> PgResult<Answer> {
        let value = self.settings.get(name).unwrap_or_default();
        let column = types::column(&arrow::datatypes::Field::new(name, arrow::datatypes::DataType::Utf8, true));
        Ok(Answer::Rows(Rows::ready(text_batch(&[column], vec![vec![value]])?, "SHOW")))
    }

    fn show_all(&self) -> PgResult<Answer> {
        let (names, values): (Vec<String>, Vec<String>) = self.settings.all().into_iter().unzip();
        let descriptions = vec![String::new(); names.len()];
        let column =
            |name: &str| types::column(&arrow::datatypes::Field::new(name, arrow::datatypes::DataType::Utf8, true));
        let columns = ["name", "setting", "description"].map(column);
        Ok(Answer::Rows(Rows::ready(text_batch(&columns, vec![names, values, descriptions])?, "SHOW")))
    }

    pub(crate) fn declare(
        &mut self,
        name: &str,
        hold: bool,
        of: &Arc<Statement>,
        parameters: ParamValues,
    ) -> PgResult<Answer> {
        if self.transaction.is_idle() && !hold {
            let message = "DECLARE CURSOR can only be used in transaction blocks";
            return Err(PgError::error(code::NO_ACTIVE_TRANSACTION, message)
                .hint("BEGIN first, or DECLARE ... CURSOR WITH HOLD"));
        }
        if self.portals.contains_key(name) {
            return Err(PgError::error(code::DUPLICATE_CURSOR, format!("cursor \"{name}\" already exists")));
        }
        if self.portals.len() >= MAX_PORTALS {
            let message = format!("a session has at most {MAX_PORTALS} open cursors");
            return Err(PgError::error(code::CONFIGURATION_LIMIT, message));
        }
        self.portals.insert(name.to_string(), Portal::new(of.clone(), parameters, Vec::new(), hold));
        tag("DECLARE CURSOR")
    }

    /// The columns that `FETCH` will give.
    pub(crate) fn cursor_columns(&self, command: &Command) -> Option<Vec<Column>> {
        match command {
            Command::Fetch { name, skip: false, .. } => self.portals.get(name)?.statement.columns.clone(),
            _ => None,
        }
    }

    /// Takes rows off a cursor. They are collected first, as `FETCH` is itself a statement with rows; its count bounds them.
    async fn fetch(&mut self, name: &str, count: Fetch, skip: bool, guard: &mut Guard) -> Answered<Answer> {
        let mut portal = self.portals.remove(name).ok_or_else(|| no_cursor(name))?;
        let taken = self.fetch_from(&mut portal, count, skip, guard).await;
        self.portals.insert(name.to_string(), portal);
        taken
    }

    async fn fetch_from(
        &mut self,
        portal: &mut Portal,
        count: Fetch,
        skip: bool,
        guard: &mut Guard,
    ) -> Answered<Answer> {
        self.open(portal, guard).await?;
        let want = match count {
            Fetch::Rows(n) => n,
            Fetch::All => usize::MAX,
        };
        let rows = match &mut portal.rows {
            Some(rows) => rows,
            None => return Err(PgError::error(code::INTERNAL, "a cursor without rows").into()),
        };
        let (mut batches, mut have) = (Vec::new(), 0);
        while have < want {
            let batch = match portal.rest.take() {
                Some(batch) => batch,
                None => match self.io.watch(guard, rows.batches.recv()).await? {
                    None => break,
                    Some(batch) => batch.map_err(|e| PgError::from_fleuve(e, &rows.place))?,
                },
            };
            let n = batch.num_rows().min(want - have);
            if n < batch.num_rows() {
                portal.rest = Some(batch.slice(n, batch.num_rows() - n));
            }
            have += n;
            if !skip {
                batches.push(batch.slice(0, n));
            }
        }
        if skip {
            return Ok(tag(&format!("MOVE {have}"))?);
        }
        Ok(Answer::Rows(Rows::collected(rows.columns.clone(), batches, "FETCH")))
    }
}
