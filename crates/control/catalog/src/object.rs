use fleuve_types::ObjectId;
use serde::{Deserialize, Serialize};

/// The kinds of object that a user declares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ObjectKind {
    /// An append-only, partitioned log of rows; also a Kafka topic of the same name.
    Stream,
    /// A connector that brings rows into a stream.
    Source,
    /// A query whose answer is kept up to date.
    View,
    /// A connector that takes a view's changes out.
    Sink,
    /// The rows of a stream or view, kept by some of their columns for the joins of views.
    Index,
}

impl ObjectKind {
    /// The word used in messages and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stream => "stream",
            Self::Source => "source",
            Self::View => "view",
            Self::Sink => "sink",
            Self::Index => "index",
        }
    }

    /// The word as it stands in a sentence.
    pub fn with_article(self) -> &'static str {
        match self {
            Self::Stream => "a stream",
            Self::Source => "a source",
            Self::View => "a view",
            Self::Sink => "a sink",
            Self::Index => "an index",
        }
    }
}

impl std::fmt::Display for ObjectKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One object as the catalog keeps it. The statement's text is the one truth about what it is; everything else about it
/// is derived by binding that text again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Durable id; for a stream, the Kafka topic id too.
    pub id: ObjectId,
    /// What it is.
    pub kind: ObjectKind,
    /// Schema in PostgreSQL's words; `public` by default.
    pub namespace: String,
    /// Unique within the namespace over all kinds.
    pub name: String,
    /// The canonical `CREATE ...` statement.
    pub sql: String,
    /// `COMMENT ON` text.
    pub comment: Option<String>,
    /// Comments on columns, by column name.
    pub column_comments: Vec<(String, String)>,
    /// The objects this one reads or writes.
    pub depends_on: Vec<ObjectId>,
    /// Grows by one with each replacement, from 1.
    pub version: u32,
    /// When it was created, milliseconds since the epoch.
    pub created_ms: i64,
    /// The rules for what the statement leaves open, such as the names of computed columns: those of the version that it was made with.
    pub edition: u32,
}
