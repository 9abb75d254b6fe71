//! One session: reads messages, answers them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use datafusion::common::ParamValues;
use fleuve_sql::Session;

use crate::cancel::{CancelKey, Guard, Interrupt, stopped};
use crate::catalog::PgCatalog;
use crate::counters::{Open, PgCounters};
use crate::encode::BatchEncoder;
use crate::error::{PgError, Place, Severity, code};
use crate::extended::Portal;
use crate::io::{FULL_BYTES, Io};
use crate::server::Shared;
use crate::settings::Settings;
use crate::sql::split;
use crate::statement::{Answer, Body, Rows, Runner, Statement};
use crate::transaction::Transaction;
use crate::wire::{Frontend, decode};

/// How long to wait for a withdrawn change to be taken back. A view that is being built takes its step before.
const WITHDRAWN: Duration = Duration::from_secs(5);
/// The largest output buffer that is kept between messages.
const KEEP_BYTES: usize = 1024 * 1024;

/// Why a message was not answered to its end.
pub(crate) enum Stop {
    Error(PgError),
    /// Nobody is there to be told.
    Gone,
}

impl From<PgError> for Stop {
    fn from(e: PgError) -> Self {
        Self::Error(e)
    }
}

impl From<std::io::Error> for Stop {
    fn from(_: std::io::Error) -> Self {
        Self::Gone
    }
}

impl From<Interrupt> for Stop {
    fn from(why: Interrupt) -> Self {
        match why {
            Interrupt::Canceled => PgError::canceled().into(),
            Interrupt::Timeout => {
                PgError::error(code::QUERY_CANCELED, "canceling statement due to statement timeout").into()
            }
            Interrupt::Shutdown => shutting_down().into(),
            Interrupt::Disconnected => Self::Gone,
        }
    }
}

fn shutting_down() -> PgError {
    PgError::fatal(code::ADMIN_SHUTDOWN, "terminating connection due to administrator command")
}

pub(crate) type Answered<T> = Result<T, Stop>;

pub(crate) struct Connection {
    pub(crate) io: Io,
    shared: Arc<Shared>,
    key: CancelKey,
    pub(crate) settings: Arc<Settings>,
    pub(crate) runner: Runner,
    pub(crate) transaction: Transaction,
    /// Prepared statements by name; the unnamed one has the empty name.
    pub(crate) statements: HashMap<String, Arc<Statement>>,
    pub(crate) portals: HashMap<String, Portal>,
    /// After an error in the extended protocol, messages are skipped up to the next `Sync`.
    skip_to_sync: bool,
    _open: Open,
}

impl Connection {
    pub(crate) fn new(io: Io, shared: Arc<Shared>, key: CancelKey, settings: Arc<Settings>, user: &str) -> Self {
        let backend = shared.backend.clone();
        let catalog = PgCatalog::new(backend.clone(), shared.constants.clone(), settings.clone(), user, key.pid);
        let installed = catalog.clone();
        let session = Session::new(backend).with_extension(Arc::new(move |context| installed.install(context)));
        for (name, value) in settings.all() {
            session.set_setting(&name.to_ascii_lowercase(), &value);
        }
        let counters = shared.counters.clone();
        PgCounters::add(&counters.connections, 1);
        let open = Open::new(&counters, |c| &c.connections_open);
        Self {
            io,
            shared,
            key,
            settings: settings.clone(),
            runner: Runner { session: Arc::new(session), catalog, settings, counters },
            transaction: Transaction::default(),
            statements: HashMap::new(),
            portals: HashMap::new(),
            skip_to_sync: false,
            _open: open,
        }
    }

    /// Answers messages until the client leaves, an error ends the session, or the server stops.
    pub(crate) async fn serve(mut self) {
        self.io.out.ready_for_query(self.transaction.status);
        loop {
            let (kind, body) = match self.next_frame().await {
                Ok(frame) => frame,
                Err(Stop::Error(e)) => return self.farewell(e).await,
                Err(Stop::Gone) => return,
            };
            let extended = matches!(kind, b'P' | b'B' | b'D' | b'E' | b'C' | b'H');
            let answered = match decode(kind, body) {
                Ok(Frontend::Terminate) => return,
                Ok(message) => self.answer(message).await,
                Err(e) => Err(e.into()),
            };
            match answered {
                Ok(()) => {}
                Err(Stop::Gone) => return,
                Err(Stop::Error(e)) if e.severity == Severity::Fatal => return self.farewell(e).await,
                Err(Stop::Error(e)) => self.fail(&e, extended),
            }
        }
    }

    async fn farewell(mut self, e: PgError) {
        PgCounters::add(&self.runner.counters.errors, 1);
        self.io.out.error(&e);
        // If the client does not take the last words, it is gone all the same.
        let _ = tokio::time::timeout(std::time::Duration::from_secs(1), self.io.flush()).await;
    }

    fn fail(&mut self, e: &PgError, extended: bool) {
        PgCounters::add(&self.runner.counters.errors, 1);
        tracing::debug!(code = e.code, "statement failed: {}", e.message);
        self.io.out.error(e);
        self.transaction.fail();
        if extended {
            self.skip_to_sync = true;
        } else {
            self.ready();
        }
    }

    /// Ends the answer to a simple query or to a `Sync`.
    fn ready(&mut self) {
        if self.transaction.is_idle() {
            self.portals.retain(|_, p| p.hold);
        }
        self.io.out.ready_for_query(self.transaction.status);
    }

    async fn next_frame(&mut self) -> Answered<(u8, bytes::Bytes)> {
        let max_bytes = self.shared.options.max_message_bytes;
        loop {
            if let Some(frame) = self.io.take_frame(max_bytes)? {
                return Ok(frame);
            }
            // Nothing more to do: the client gets what it waits for.
            self.io.flush().await?;
            if self.io.out.bytes.capacity() > KEEP_BYTES {
                self.io.out = crate::wire::Out::new();
            }
            let mut shutdown = self.shared.shutdown.clone();
            tokio::select! {
                read = self.io.read() => read?,
                () = stopped(&mut shutdown) => return Err(shutting_down().into()),
            }
        }
    }

    async fn answer(&mut self, message: Frontend) -> Answered<()> {
        if self.skip_to_sync && !matches!(message, Frontend::Sync) {
            return Ok(());
        }
        match message {
            Frontend::Query(sql) => self.simple_query(&sql).await,
            Frontend::Parse { name, sql, types } => self.parse(name, &sql, types).await,
            Frontend::Bind(bind) => self.bind(bind),
            Frontend::Describe { target, name } => self.describe(target, &name),
            Frontend::Execute { portal, max_rows } => self.execute(&portal, max_rows).await,
            Frontend::Close { target, name } => {
                self.close(target, &name);
                Ok(())
            }
            Frontend::Flush => Ok(self.io.flush().await?),
            Frontend::Sync => {
                self.skip_to_sync = false;
                self.ready();
                Ok(())
            }
            // The rest of a COPY that was refused: the error has been sent.
            Frontend::Copy | Frontend::Terminate => Ok(()),
            Frontend::FunctionCall => {
                Err(PgError::error(code::FEATURE_NOT_SUPPORTED, "function calls outside SQL are not supported").into())
            }
        }
    }

    /// Watches over one statement.
    pub(crate) fn guard(&self) -> Guard {
        self.key.guard(self.settings.statement_timeout_ms(), &self.shared.shutdown)
    }

    async fn simple_query(&mut self, sql: &str) -> Answered<()> {
        let pieces = split(sql);
        if pieces.is_empty() {
            self.io.out.empty_query_response();
        }
        let whole = Place::new(sql, 0);
        for piece in &pieces {
            self.simple_statement(piece.text, whole.at(piece.offset)).await?;
        }
        self.ready();
        Ok(())
    }

    async fn simple_statement(&mut self, sql: &str, place: Place) -> Answered<()> {
        let mut guard = self.guard();
        let statement = self.plan(sql, Vec::new(), place, &mut guard).await?;
        if !statement.parameter_oids().is_empty() {
            return Err(PgError::error(code::UNDEFINED_PARAMETER, "there is no parameter $1").into());
        }
        let answer = self.start(Arc::new(statement), ParamValues::List(Vec::new()), &mut guard).await?;
        match answer {
            Answer::Empty => self.io.out.empty_query_response(),
            Answer::Done { tag, notices } => self.done(&tag, &notices),
            Answer::Rows(mut rows) => {
                let columns = rows.columns.clone();
                self.io.out.row_description(&columns, &[]);
                self.send_rows(&mut rows, &[], usize::MAX, &mut guard).await?;
                self.io.out.command_complete(&rows.tag());
            }
        }
        Ok(())
    }

    pub(crate) fn done(&mut self, tag: &str, notices: &[PgError]) {
        notices.iter().for_each(|n| self.io.out.notice(n));
        self.io.out.command_complete(tag);
    }

    /// Plans a statement; in a failed transaction only those that end it.
    pub(crate) async fn plan(
        &mut self,
        sql: &str,
        declared: Vec<u32>,
        place: Place,
        guard: &mut Guard,
    ) -> Answered<Statement> {
        let runner = self.runner.clone();
        if self.transaction.is_failed() && !crate::sql::command(sql)?.is_some_and(|c| c.ends_transaction()) {
            return Err(PgError::in_failed_transaction().into());
        }
        let planned = runner.plan(sql, declared, place);
        let mut statement = self.io.watch(guard, planned).await??;
        if let Body::Command(command) = &statement.body
            && let Some(columns) = self.cursor_columns(command)
        {
            statement.columns = Some(columns);
        }
        Ok(statement)
    }

    /// Runs a statement up to its first rows.
    pub(crate) async fn start(
        &mut self,
        statement: Arc<Statement>,
        parameters: ParamValues,
        guard: &mut Guard,
    ) -> Answered<Answer> {
        PgCounters::add(&self.runner.counters.statements, 1);
        if self.transaction.is_failed() && !statement.ends_transaction() {
            return Err(PgError::in_failed_transaction().into());
        }
        match &statement.body {
            Body::Empty => return Ok(Answer::Empty),
            Body::Command(command) => return self.command(command.clone(), guard).await,
            Body::Cursor { name, hold, of } => return Ok(self.declare(name, *hold, of, parameters)?),
            Body::Platform(_) | Body::Catalog(_) => {}
        }
        let changes = statement.changes;
        let runner = self.runner.clone();
        let mut task = tokio::spawn(async move { runner.run(&statement, parameters).await });
        let answer = match self.io.watch(guard, &mut task).await {
            Ok(Ok(answer)) => answer?,
            Ok(Err(crash)) => {
                tracing::error!("a statement crashed: {crash}");
                return Err(PgError::error(code::INTERNAL, "the statement crashed; please report this as a bug").into());
            }
            Err(why) if changes => {
                // It goes on by itself: a change is whole or not at all.
                let mut hint = "the statement was under way and may still take effect";
                let is_withdrawn = matches!(why, Interrupt::Canceled | Interrupt::Timeout);
                if is_withdrawn && self.runner.session.withdraw() {
                    match tokio::time::timeout(WITHDRAWN, &mut task).await {
                        // It was done before.
                        Ok(Ok(Ok(answer))) => {
                            self.transaction.note_change();
                            return Ok(answer);
                        }
                        Ok(_) => return Err(why.into()),
                        Err(_) => hint = "it is taken back when what is being built has taken its step; see SHOW VIEWS",
                    }
                }
                return Err(match Stop::from(why) {
                    Stop::Error(e) => Stop::Error(e.hint(hint)),
                    Stop::Gone => Stop::Gone,
                });
            }
            Err(why) => {
                task.abort();
                return Err(why.into());
            }
        };
        if changes {
            self.transaction.note_change();
        }
        Ok(answer)
    }

    /// Sends up to `max_rows` rows as they come. True if the limit stopped it before the end.
    pub(crate) async fn send_rows(
        &mut self,
        rows: &mut Rows,
        formats: &[i16],
        max_rows: usize,
        guard: &mut Guard,
    ) -> Answered<bool> {
        std::mem::take(&mut rows.warnings).iter().for_each(|w| self.io.out.notice(w));
        let mut left = max_rows;
        loop {
            if left == 0 {
                return Ok(true);
            }
            if let Some(batch) = &mut rows.current {
                let n = batch.put_rows(&mut self.io.out, left, FULL_BYTES);
                rows.sent += n as u64;
                left -= n;
                PgCounters::add(&self.runner.counters.rows, n as u64);
                if self.io.out.bytes.len() >= FULL_BYTES {
                    self.io.flush_watched(guard).await?;
                }
                if batch.left() > 0 {
                    continue;
                }
                rows.current = None;
            }
            let next = match rows.batches.try_recv() {
                Ok(batch) => Some(batch),
                Err(_) => {
                    // The next rows may be long in coming: the client gets those that are there.
                    self.flush_if_waiting(rows, guard).await?;
                    self.io.watch(guard, rows.batches.recv()).await?
                }
            };
            match next {
                None => return Ok(false),
                Some(Err(e)) => return Err(PgError::from_fleuve(e, &rows.place).into()),
                Some(Ok(batch)) => rows.current = Some(BatchEncoder::new(&batch, formats)?),
            }
        }
    }

    /// Sends what waits, unless the query ends within the moment that a task switch takes: most answers are small, and
    /// then rows and end go out together.
    async fn flush_if_waiting(&mut self, rows: &mut Rows, guard: &mut Guard) -> Answered<()> {
        if self.io.out.bytes.is_empty() || rows.batches.is_closed() {
            return Ok(());
        }
        tokio::task::yield_now().await;
        if rows.batches.is_empty() && !rows.batches.is_closed() {
            self.io.flush_watched(guard).await?;
        }
        Ok(())
    }
}
