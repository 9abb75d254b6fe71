//! What statements run on: a server in this process, or one at the other end of the PostgreSQL wire.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use fleuve_sql::parse::{Name, Statement};
use fleuve_sql::{DEFAULT_NAMESPACE, Outcome, RowStream, Session};
use fleuve_types::{Error, Result, sql_type_name};
use futures::TryStreamExt;

use super::address::Login;
use super::foreign::{Here, TypeName, here, on_postgresql, type_here, type_on_postgresql};
use super::show::{self, Kind};
use super::wire::Wire;
use crate::platform::Local;

/// Rows of a query, or how many rows a statement was about.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    pub kinds: Vec<Kind>,
    pub rows: Vec<Vec<String>>,
    pub count: Option<u64>,
}

/// Where databases are.
#[derive(Clone)]
pub enum Server {
    /// A new Fleuve server for each, in this process.
    Own,
    /// A running Fleuve server.
    Fleuve(Login),
    /// A running PostgreSQL server, or another one that speaks its protocol.
    PostgreSql(Login),
}

impl Server {
    /// Looks who answers there.
    ///
    /// # Errors
    /// When it cannot be reached.
    pub async fn find(login: Option<Login>) -> Result<Self> {
        let Some(login) = login else { return Ok(Self::Own) };
        let version = Wire::connect(&login).await?.run("SELECT version()").await?.rows.concat().concat();
        Ok(if version.contains("Fleuve") { Self::Fleuve(login) } else { Self::PostgreSql(login) })
    }

    /// Its names for `onlyif` and `skipif`.
    pub fn labels(&self) -> &'static [&'static str] {
        match self {
            Self::Own | Self::Fleuve(_) => &["fleuve", "datafusion"],
            Self::PostgreSql(_) => &["postgres", "postgresql"],
        }
    }

    /// The name of the database that statements run in.
    pub fn database(&self) -> &str {
        match self {
            Self::Own => "main",
            Self::Fleuve(login) | Self::PostgreSql(login) => &login.database,
        }
    }
}

/// What the statements of a file run on.
pub struct Database {
    place: Place,
    is_postgresql: bool,
}

enum Place {
    Local { local: Box<Local>, sessions: HashMap<Option<Arc<str>>, Session> },
    Wire { login: Login, wires: HashMap<Option<Arc<str>>, Wire>, schema: Option<String>, before: BTreeSet<Made> },
}

/// An object that there is: the word for it in `DROP`, and its name with what quotes it needs.
type Made = (String, String);

/// What there is on a PostgreSQL server, but for what is the server's own or another user's.
const OBJECTS_OF_POSTGRESQL: &str = "\
SELECT 'SCHEMA', quote_ident(nspname), 1 AS place FROM pg_namespace
WHERE nspname !~ '^pg_' AND nspname <> 'information_schema' AND pg_get_userbyid(nspowner) = current_user
UNION ALL
SELECT CASE relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW' WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END,
  quote_ident(nspname) || '.' || quote_ident(relname), 2
FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace
WHERE relkind IN ('r', 'p', 'v', 'm', 'S') AND nspname !~ '^pg_' AND nspname <> 'information_schema'
  AND pg_get_userbyid(relowner) = current_user
ORDER BY place";

impl Database {
    /// A new, empty one, or the one that is running there; of a PostgreSQL server a schema of its own.
    ///
    /// # Errors
    /// When it cannot be started or reached.
    pub async fn open(server: &Server) -> Result<Self> {
        let (login, is_postgresql) = match server {
            Server::Own => {
                let local = Box::new(Local::start().await?);
                let place = Place::Local { local, sessions: HashMap::new() };
                return Ok(Self { place, is_postgresql: false });
            }
            Server::Fleuve(login) => (login, false),
            Server::PostgreSql(login) => (login, true),
        };
        let mut wire = Wire::connect(login).await?;
        let before = objects(&mut wire, is_postgresql).await?.into_iter().collect();
        let schema = is_postgresql.then(|| format!("fleuve_slt_{}", uuid::Uuid::new_v4().simple()));
        if let Some(schema) = &schema {
            let refused = |e: Error| {
                let message =
                    format!("there is no schema for the file in the database {}: {}", login.database, e.message);
                let hint =
                    format!("GRANT CREATE ON DATABASE {} TO {}, or take another user", login.database, login.user);
                Error { message, hint: Some(hint), ..e }
            };
            wire.run(&format!("CREATE SCHEMA {schema}")).await.map_err(refused)?;
        }
        Ok(Self { place: Place::Wire { login: login.clone(), wires: HashMap::new(), schema, before }, is_postgresql })
    }

    /// Runs statements on the connection of that name, which is made when there is none yet, and gives the answer of the last.
    ///
    /// # Errors
    /// The server's.
    pub async fn run_on(&mut self, connection: Option<&Arc<str>>, sql: &str) -> Result<Answer> {
        if let Some(refused) = self.refused(sql) {
            return Err(refused);
        }
        match &mut self.place {
            Place::Local { local, sessions } => {
                let session = sessions.entry(connection.cloned()).or_insert_with(|| local.session());
                let mut last = Answer::default();
                for outcome in session.execute(sql).await? {
                    last = answer(outcome).await?;
                }
                Ok(last)
            }
            Place::Wire { .. } => self.wire(connection).await?.run(sql).await,
        }
    }

    /// Runs a `COPY … FROM STDIN` with what a file holds.
    ///
    /// # Errors
    /// The server's, and when the file cannot be read.
    pub async fn copy(&mut self, connection: Option<&Arc<str>>, sql: &str, file: &Path) -> Result<Answer> {
        let opened = File::open(file).map_err(|e| Error::io(format!("cannot read {}", file.display()), e))?;
        self.wire(connection).await?.copy(sql, opened).await
    }

    /// As [`Database::run_on`], on the file's first connection.
    ///
    /// # Errors
    /// The server's.
    pub async fn run(&mut self, sql: &str) -> Result<Answer> {
        self.run_on(None, sql).await
    }

    async fn wire(&mut self, connection: Option<&Arc<str>>) -> Result<&mut Wire> {
        let Place::Wire { login, wires, schema, .. } = &mut self.place else {
            return Err(Error::bug("a server in this process has no wire"));
        };
        let name = connection.cloned();
        if !wires.contains_key(&name) {
            let mut wire = Wire::connect(login).await?;
            wire.has_structs = !self.is_postgresql;
            if let Some(schema) = schema {
                wire.run(&format!("SET search_path = {schema}")).await?;
            }
            wires.insert(name.clone(), wire);
        }
        wires.get_mut(&name).ok_or_else(|| Error::bug("a connection that was made is gone"))
    }

    /// What stands behind the name in a `CREATE STREAM` or `CREATE TABLE`, so that it has the columns of a query.
    ///
    /// # Errors
    /// The server's.
    pub async fn columns(&mut self, query: &str) -> Result<String> {
        if self.is_postgresql {
            return Ok(format!("AS {query} WITH NO DATA"));
        }
        Ok(format!("({})", self.columns_of(query).await?))
    }

    async fn columns_of(&mut self, query: &str) -> Result<String> {
        let Place::Local { local, .. } = &mut self.place else {
            let columns = self.wire(None).await?.columns(query).await?;
            return Ok(columns.iter().map(|c| c.definition()).collect::<Result<Vec<_>>>()?.join(", "));
        };
        let session = local.session();
        let statement = session.parse(query)?.pop().ok_or_else(|| Error::input("there is no query"))?;
        let prepared = session.prepare(statement, &[]).await?;
        let schema: SchemaRef = prepared.schema().ok_or_else(|| Error::input("a query is wanted"))?;
        let column = |f: &arrow::datatypes::FieldRef| {
            format!("\"{}\" {}", f.name().replace('"', "\"\""), type_here(&sql_type_name(f.data_type())))
        };
        Ok(schema.fields().iter().map(column).collect::<Vec<_>>().join(", "))
    }

    /// What becomes of a statement there; `in_two` when its table is to be made first and filled later.
    pub fn here(&self, sql: &str, in_two: bool) -> Here {
        if self.is_postgresql { on_postgresql(sql, in_two) } else { here(sql) }
    }

    /// The word for what rows go into, in CREATE and DROP.
    pub fn table_word(&self) -> &'static str {
        if self.is_postgresql { "TABLE" } else { "STREAM" }
    }

    /// What the types of other databases are called there.
    pub fn type_name(&self) -> TypeName {
        if self.is_postgresql { type_on_postgresql } else { type_here }
    }

    /// What stands between a table's columns and its end.
    pub fn table_options(&self) -> &'static str {
        if self.is_postgresql { "" } else { " WITH (format = 'json')" }
    }

    /// The words for a view that is always up to date, in CREATE and DROP.
    pub fn view_words(&self) -> &'static str {
        if self.is_postgresql { "VIEW" } else { "MATERIALIZED VIEW" }
    }

    /// Why statements are not run: on a running Fleuve they would drop or replace what was there before the file.
    fn refused(&self, sql: &str) -> Option<Error> {
        let Place::Wire { before, .. } = &self.place else { return None };
        let low = sql.to_ascii_lowercase();
        if self.is_postgresql || !(low.contains("drop") || low.contains("replace")) {
            return None;
        }
        let statements = fleuve_sql::parse(sql).ok()?;
        let gone = statements.iter().flat_map(|one| match &one.statement {
            Statement::Drop { names, .. } => names.as_slice(),
            Statement::CreateView(view) if view.or_replace => std::slice::from_ref(&view.name),
            _ => &[],
        });
        let was_there = |name: &&Name| before.iter().any(|(_, old)| *old == as_listed(name));
        let name = gone.into_iter().find(was_there)?;
        Some(Error::input(format!("{name} was on the server before the file, and is neither dropped nor replaced")))
    }

    /// The name of a table as `DROP` is to have it, so that nothing of the user's goes.
    ///
    /// # Errors
    /// When it may be something of the user's.
    pub fn to_drop(&self, name: &str) -> Result<String> {
        if let Some(refused) = self.refused(&format!("DROP {} {name}", self.table_word())) {
            return Err(refused);
        }
        let Place::Wire { schema: Some(schema), .. } = &self.place else { return Ok(name.to_string()) };
        // Every other part of the text is within quotes.
        match name.split('"').step_by(2).any(|text| text.contains('.')) {
            true => Err(Error::input(format!("{name} is not replaced: only tables of the file's own schema are"))),
            false => Ok(format!("{schema}.{name}")),
        }
    }

    /// Drops what the file made, on a PostgreSQL server only its own schema, and gives the names of what is left.
    ///
    /// # Errors
    /// The server's.
    pub async fn close(self) -> Result<Vec<String>> {
        let (login, schema, before) = match self.place {
            Place::Local { local, sessions } => {
                drop(sessions);
                local.stop().await;
                return Ok(vec![]);
            }
            // Whatever the file left open on its own connections goes with them.
            Place::Wire { login, wires, schema, before } => {
                drop(wires);
                (login, schema, before)
            }
        };
        let mut wire = Wire::connect(&login).await?;
        if let Some(schema) = &schema {
            wire.run(&format!("DROP SCHEMA IF EXISTS {schema} CASCADE")).await?;
            let left = objects(&mut wire, true).await?.into_iter().filter(|o| !before.contains(o));
            return Ok(left.map(|(word, name)| format!("{word} {name}")).collect());
        }
        let mut last = None;
        for _ in 0..2 {
            last = None;
            let made = objects(&mut wire, false).await?;
            for (word, name) in made.iter().filter(|o| !before.contains(o)) {
                // It may have gone with another; what is left in the second round is an error.
                last = wire.run(&format!("DROP {word} IF EXISTS {name} CASCADE")).await.err().or(last);
            }
        }
        last.map_or(Ok(vec![]), Err)
    }
}

/// A name as [`objects`] has it.
fn as_listed(name: &Name) -> String {
    let quoted = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
    match name.namespace() {
        DEFAULT_NAMESPACE => quoted(&name.name),
        namespace => format!("{}.{}", quoted(namespace), quoted(&name.name)),
    }
}

/// What there is, in an order in which it can be dropped.
async fn objects(wire: &mut Wire, is_postgresql: bool) -> Result<Vec<Made>> {
    let mut all = vec![];
    if is_postgresql {
        for row in wire.run(OBJECTS_OF_POSTGRESQL).await?.rows {
            if let [word, name, ..] = row.as_slice() {
                all.push((word.clone(), name.clone()));
            }
        }
        return Ok(all);
    }
    for (kind, word) in
        [("SINKS", "SINK"), ("SOURCES", "SOURCE"), ("VIEWS", "MATERIALIZED VIEW"), ("STREAMS", "STREAM")]
    {
        for row in wire.run(&format!("SHOW {kind}")).await?.rows {
            let Some(name) = row.first() else { continue };
            let name = name.replace('"', "\"\"").replacen('.', "\".\"", 1);
            all.push((word.to_string(), format!("\"{name}\"")));
        }
    }
    Ok(all)
}

async fn answer(outcome: Outcome) -> Result<Answer> {
    match outcome {
        Outcome::Done { tag, .. } => Ok(Answer { count: count(&tag), ..Answer::default() }),
        Outcome::Rows { schema, rows, .. } => collect(&schema, rows).await,
        Outcome::Changes(_) => Err(Error::unsupported("SUBSCRIBE has no end, so it has no answer here")),
    }
}

/// The number of rows in a command tag such as `INSERT 0 3`.
pub fn count(tag: &str) -> Option<u64> {
    tag.rsplit(' ').next()?.parse().ok()
}

async fn collect(schema: &SchemaRef, rows: RowStream) -> Result<Answer> {
    let batches: Vec<_> = rows.try_collect().await?;
    let mut answer = Answer { kinds: show::kinds(schema), ..Answer::default() };
    for batch in &batches {
        answer.rows.extend(show::rows(batch)?);
    }
    answer.count = Some(answer.rows.len() as u64);
    Ok(answer)
}
