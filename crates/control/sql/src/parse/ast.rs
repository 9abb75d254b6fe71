//! What a statement says, as the parser read it. `Display` gives the canonical text that the catalog keeps.

use std::fmt;

use datafusion::sql::sqlparser::ast::{self, DataType, Expr, Ident, Query};
use fleuve_types::Location;

use super::as_of::with_as_of;
use super::canonical;

/// A name in a statement: `[environment.][namespace.]name`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// The namespace if the text said one.
    pub namespace: Option<String>,
    /// The object's own name.
    pub name: String,
    /// Where it stands.
    pub at: Location,
}

impl Name {
    /// The namespace, `public` if none was said.
    pub fn namespace(&self) -> &str {
        self.namespace.as_deref().unwrap_or(crate::DEFAULT_NAMESPACE)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", quoted(self.namespace()), quoted(&self.name))
    }
}

/// A name as it must be written in SQL: with quotes only where it needs them.
pub fn quoted(name: &str) -> String {
    let plain = !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if plain && !is_reserved(name) { name.to_string() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

/// Words that cannot be a column's or table's name without quotes.
fn is_reserved(name: &str) -> bool {
    use datafusion::sql::sqlparser::keywords::{
        ALL_KEYWORDS, ALL_KEYWORDS_INDEX, RESERVED_FOR_COLUMN_ALIAS, RESERVED_FOR_IDENTIFIER, RESERVED_FOR_TABLE_ALIAS,
    };
    let upper = name.to_ascii_uppercase();
    ALL_KEYWORDS.binary_search(&upper.as_str()).is_ok_and(|i| {
        let keyword = ALL_KEYWORDS_INDEX[i];
        RESERVED_FOR_COLUMN_ALIAS.contains(&keyword)
            || RESERVED_FOR_TABLE_ALIAS.contains(&keyword)
            || RESERVED_FOR_IDENTIFIER.contains(&keyword)
            || matches!(
                upper.as_str(),
                "WATERMARK" | "CHECK" | "CONSTRAINT" | "TABLE" | "NOT" | "NULL" | "USER" | "PRIMARY"
            )
    })
}

/// The value of an option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OptionValue {
    /// `'text'` or a bare word
    Text(String),
    /// `8`
    Number(String),
    /// `true`
    Boolean(bool),
}

impl OptionValue {
    /// The value as text.
    pub fn text(&self) -> String {
        match self {
            Self::Text(s) | Self::Number(s) => s.clone(),
            Self::Boolean(b) => b.to_string(),
        }
    }
}

impl fmt::Display for OptionValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(s) => write!(f, "'{}'", s.replace('\'', "''")),
            Self::Number(s) => f.write_str(s),
            Self::Boolean(b) => write!(f, "{b}"),
        }
    }
}

/// `key = value` of a `WITH`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OptionEntry {
    /// In lower case.
    pub key: String,
    /// As written.
    pub value: OptionValue,
    /// Where the key stands.
    pub at: Location,
}

/// A list of options; keys are unique.
pub type Options = Vec<OptionEntry>;

/// The option of that key.
pub fn option<'a>(options: &'a Options, key: &str) -> Option<&'a OptionEntry> {
    options.iter().find(|o| o.key == key)
}

/// An option's key is read as a bare word even where that word is reserved elsewhere.
fn option_key(key: &str) -> String {
    let plain = key.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '.');
    if plain { key.to_string() } else { format!("'{key}'") }
}

fn write_options(f: &mut fmt::Formatter<'_>, options: &Options) -> fmt::Result {
    if options.is_empty() {
        return Ok(());
    }
    let mut sorted: Vec<_> = options.iter().collect();
    sorted.sort_by(|a, b| a.key.cmp(&b.key));
    let list: Vec<_> = sorted.iter().map(|o| format!("{} = {}", option_key(&o.key), o.value)).collect();
    write!(f, " WITH ({})", list.join(", "))
}

/// A column of `CREATE STREAM`.
#[derive(Clone, Debug, PartialEq)]
pub struct ColumnSpec {
    /// Its name.
    pub name: String,
    /// Its type as written.
    pub data_type: DataType,
    /// False for `NOT NULL`.
    pub nullable: bool,
    /// Where it stands.
    pub at: Location,
}

/// `WATERMARK FOR column AS column - INTERVAL '...'`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatermarkClause {
    /// The column.
    pub column: String,
    /// How far it stays behind, microseconds.
    pub delay_us: i64,
    /// Where it stands.
    pub at: Location,
}

/// `CREATE STREAM`
#[derive(Clone, Debug, PartialEq)]
pub struct CreateStream {
    /// `IF NOT EXISTS`
    pub if_not_exists: bool,
    /// The stream's name.
    pub name: Name,
    /// None when the format brings them.
    pub columns: Option<Vec<ColumnSpec>>,
    /// The watermark.
    pub watermark: Option<WatermarkClause>,
    /// `CHECK (...)`, each with its place.
    pub checks: Vec<(Expr, Location)>,
    /// `WITH (...)`
    pub options: Options,
}

impl fmt::Display for CreateStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CREATE STREAM {}", self.name)?;
        let mut items: Vec<String> = Vec::new();
        for c in self.columns.iter().flatten() {
            let not_null = if c.nullable { "" } else { " NOT NULL" };
            items.push(format!("{} {}{not_null}", quoted(&c.name), c.data_type));
        }
        if let Some(w) = &self.watermark {
            let column = quoted(&w.column);
            items.push(match w.delay_us {
                0 => format!("WATERMARK FOR {column} AS {column}"),
                us => format!("WATERMARK FOR {column} AS {column} - INTERVAL '{us} microseconds'"),
            });
        }
        items.extend(self.checks.iter().map(|(c, _)| format!("CHECK ({})", canonical(c))));
        if self.columns.is_some() || !items.is_empty() {
            write!(f, " ({})", items.join(", "))?;
        }
        write_options(f, &self.options)
    }
}

/// `CREATE SOURCE`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateSource {
    /// `IF NOT EXISTS`
    pub if_not_exists: bool,
    /// The source's name.
    pub name: Name,
    /// The stream it feeds.
    pub into: Name,
    /// `WITH (...)`
    pub options: Options,
}

impl fmt::Display for CreateSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CREATE SOURCE {} INTO {}", self.name, self.into)?;
        write_options(f, &self.options)
    }
}

/// `CREATE MATERIALIZED VIEW`
#[derive(Clone, Debug, PartialEq)]
pub struct CreateView {
    /// `OR REPLACE`
    pub or_replace: bool,
    /// `IF NOT EXISTS`
    pub if_not_exists: bool,
    /// The view's name.
    pub name: Name,
    /// Column names after the view's name; empty when the query names them.
    pub columns: Vec<(String, Location)>,
    /// `WITH (...)`
    pub options: Options,
    /// The query.
    pub query: Box<Query>,
    /// The query as written.
    pub query_text: String,
    /// `EMIT ON WINDOW CLOSE`
    pub emit_on_close: bool,
    /// `ON ERROR ...`
    pub on_error: OnError,
}

/// What `ALTER MATERIALIZED VIEW` changes.
#[derive(Clone, Debug, PartialEq)]
pub enum ViewChange {
    /// `AS query ...`
    Query(Box<ViewQuery>),
    /// `SET (option = value, ...)`
    Set(Options),
    /// `RESET (option, ...)`
    Reset(Vec<(String, Location)>),
}

/// `AS query [EMIT ON WINDOW CLOSE] [ON ERROR ...]`
#[derive(Clone, Debug, PartialEq)]
pub struct ViewQuery {
    /// The query.
    pub query: Box<Query>,
    /// The query as written.
    pub text: String,
    /// `EMIT ON WINDOW CLOSE`
    pub emit_on_close: bool,
    /// `ON ERROR ...`
    pub on_error: Option<OnError>,
}

/// What a row does that an expression of a view fails for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnError {
    /// `STOP`: the view stops.
    #[default]
    Stop,
    /// `SKIP TO DEAD LETTER`: the row is left out, and told in the view's dead-letter stream.
    Skip,
}

impl fmt::Display for CreateView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CREATE MATERIALIZED VIEW {}", self.name)?;
        if !self.columns.is_empty() {
            let columns: Vec<_> = self.columns.iter().map(|(c, _)| quoted(c)).collect();
            write!(f, " ({})", columns.join(", "))?;
        }
        write_options(f, &self.options)?;
        write!(f, " AS {}", with_as_of(canonical(&self.query)))?;
        if self.emit_on_close {
            f.write_str(" EMIT ON WINDOW CLOSE")?;
        }
        match self.on_error {
            OnError::Stop => Ok(()),
            OnError::Skip => f.write_str(" ON ERROR SKIP TO DEAD LETTER"),
        }
    }
}

/// `CREATE SINK`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateSink {
    /// `IF NOT EXISTS`
    pub if_not_exists: bool,
    /// The sink's name.
    pub name: Name,
    /// The view it reads.
    pub from: Name,
    /// The stream it writes.
    pub into: Name,
    /// `WITH (...)`
    pub options: Options,
}

impl fmt::Display for CreateSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CREATE SINK {} FROM {} INTO {}", self.name, self.from, self.into)?;
        write_options(f, &self.options)
    }
}

/// `CREATE INDEX`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateIndex {
    /// `IF NOT EXISTS`
    pub if_not_exists: bool,
    /// Its name; made of what it is of if the text says none.
    pub name: Name,
    /// The text says its name.
    pub is_named: bool,
    /// The stream or view that it is of.
    pub on: Name,
    /// The columns that it is by.
    pub columns: Vec<(String, Location)>,
    /// `INCLUDE (...)`: what it holds besides. `None` is all other columns in a statement, and nothing in what the catalog keeps.
    pub include: Option<Vec<(String, Location)>>,
}

impl fmt::Display for CreateIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |columns: &[(String, Location)]| -> String {
            let names: Vec<String> = columns.iter().map(|(c, _)| quoted(c)).collect();
            names.join(", ")
        };
        write!(f, "CREATE INDEX {} ON {} ({})", self.name, self.on, list(&self.columns))?;
        match &self.include {
            Some(include) if !include.is_empty() => write!(f, " INCLUDE ({})", list(include)),
            _ => Ok(()),
        }
    }
}

/// What `SHOW` lists, or a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Show {
    /// `SHOW STREAMS`
    Streams,
    /// `SHOW SOURCES`
    Sources,
    /// `SHOW [MATERIALIZED] VIEWS`
    Views,
    /// `SHOW SINKS`
    Sinks,
    /// `SHOW INDEXES`
    Indexes,
    /// `SHOW TABLES`: all that can be queried.
    Tables,
    /// `SHOW CREATE [kind] name`: the canonical statement.
    Create(Name),
    /// `SHOW ALL`: the settings.
    All,
    /// `SHOW setting`
    Setting(String),
}

/// How much `EXPLAIN` tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExplainMode {
    /// `ANALYZE`: run it and count.
    pub analyze: bool,
    /// `VERBOSE`: every step of the optimiser.
    pub verbose: bool,
}

/// What is explained.
#[derive(Clone, Debug, PartialEq)]
pub enum ExplainTarget {
    /// A query, and whether it would be emitted on window close.
    Query(Box<Query>, bool),
    /// A running view.
    View(Name),
    /// The rows of streams behind rows of a view.
    Row(Box<ExplainRow>),
    /// What `CREATE OR REPLACE` of a view would change.
    Replace(Box<CreateView>),
    /// What `ALTER MATERIALIZED VIEW` would change.
    AlterView(Name, ViewChange),
    /// What `ALTER STREAM` would change.
    Alter(Name, Vec<StreamChange>),
}

/// A change of a stream's columns.
#[derive(Clone, Debug, PartialEq)]
pub enum StreamChange {
    /// `ADD [COLUMN] name type`
    Add(ColumnSpec),
    /// `ALTER [COLUMN] name [SET DATA] TYPE type`
    Type(ColumnSpec),
    /// `DROP [COLUMN] name`, and where the name stands.
    Drop(String, Location),
}

/// `EXPLAIN ROW view WHERE ... [LIMIT n]`, or `EXPLAIN ROW (view, key, ...)`
#[derive(Clone, Debug, PartialEq)]
pub struct ExplainRow {
    /// The view.
    pub view: Name,
    /// Which of its rows.
    pub rows: RowsOf,
    /// The rows of streams to show for each row of the view and each way to it.
    pub limit: Option<usize>,
}

/// Which rows of a view are meant.
#[derive(Clone, Debug, PartialEq)]
pub enum RowsOf {
    /// All.
    All,
    /// Those that meet a condition.
    Where(Box<Expr>),
    /// The one with this key.
    Key(Vec<Expr>),
}

/// What `COMMENT ON` comments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommentTarget {
    /// A stream, view, source, sink or index.
    Object(ObjectWord, Name),
    /// A column of one.
    Column(Name, String),
}

/// The word a statement uses for an object's kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectWord {
    /// `STREAM`
    Stream,
    /// `SOURCE`
    Source,
    /// `[MATERIALIZED] VIEW`
    View,
    /// `SINK`
    Sink,
    /// `INDEX`
    Index,
    /// `TABLE`, which clients say of anything that can be read.
    Table,
}

/// One statement.
#[derive(Clone, Debug, PartialEq)]
pub enum Statement {
    /// `CREATE STREAM`
    CreateStream(CreateStream),
    /// `CREATE SOURCE`
    CreateSource(CreateSource),
    /// `CREATE MATERIALIZED VIEW`
    CreateView(CreateView),
    /// `CREATE SINK`
    CreateSink(CreateSink),
    /// `CREATE INDEX`
    CreateIndex(CreateIndex),
    /// `DROP kind [IF EXISTS] name, ... [CASCADE]`
    Drop {
        /// The kind said.
        word: ObjectWord,
        /// `IF EXISTS`
        if_exists: bool,
        /// The names.
        names: Vec<Name>,
        /// `CASCADE`
        cascade: bool,
    },
    /// `ALTER MATERIALIZED VIEW name RESUME`, `ALTER INDEX name RESUME`
    Resume(ObjectWord, Name),
    /// `ALTER MATERIALIZED VIEW name AS ...`, `SET (...)` or `RESET (...)`
    AlterView {
        /// The view.
        name: Name,
        /// What changes.
        change: ViewChange,
    },
    /// `ALTER STREAM name change, ...`
    AlterStream {
        /// The stream.
        name: Name,
        /// What changes, in order.
        changes: Vec<StreamChange>,
    },
    /// `ALTER STREAM name ADVANCE WATERMARK TO 'time'`
    AdvanceWatermark {
        /// The stream.
        name: Name,
        /// The time as written, and where it stands.
        to: (String, Location),
    },
    /// `COMMENT ON kind name IS 'text' | NULL`
    Comment {
        /// What gets the comment.
        target: CommentTarget,
        /// None takes it away.
        text: Option<String>,
    },
    /// `SHOW ...`
    Show(Show),
    /// `DESCRIBE name`
    Describe(Name),
    /// `EXPLAIN ...`
    Explain(ExplainMode, ExplainTarget),
    /// `SUBSCRIBE TO name`
    Subscribe(Name),
    /// `INSERT INTO name [(columns)] VALUES ... | SELECT ...`
    Insert {
        /// The stream.
        into: Name,
        /// Its columns if said.
        columns: Vec<Ident>,
        /// The rows.
        source: Box<Query>,
    },
    /// `SELECT`, `WITH`, `VALUES`, `TABLE`
    Query(Box<Query>),
    /// `SET name = value`
    Set {
        /// In lower case.
        name: String,
        /// As text; `None` is `DEFAULT`.
        value: Option<String>,
    },
    /// `RESET name | ALL`
    Reset(Option<String>),
    /// Acknowledged, without effect: `BEGIN`, `COMMIT`, ...; the command tag.
    Acknowledge(String),
}

impl Statement {
    /// The query inside, if there is one.
    pub fn query(&self) -> Option<&ast::Query> {
        match self {
            Self::Query(q) | Self::Insert { source: q, .. } | Self::Explain(_, ExplainTarget::Query(q, _)) => Some(q),
            Self::CreateView(v) => Some(&v.query),
            Self::Explain(_, ExplainTarget::Replace(v)) => Some(&v.query),
            Self::AlterView { change: ViewChange::Query(v), .. }
            | Self::Explain(_, ExplainTarget::AlterView(_, ViewChange::Query(v))) => Some(&v.query),
            _ => None,
        }
    }
}
