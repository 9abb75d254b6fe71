//! What statements run on: a server in this process, or one at the other end of the PostgreSQL wire.

use std::collections::BTreeSet;

use arrow::datatypes::SchemaRef;
use fleuve_sql::{Outcome, RowStream};
use fleuve_types::{Error, Result, sql_type_name};
use futures::TryStreamExt;

use super::show::{self, Kind};
use super::wire::Wire;
use crate::config::HostPort;
use crate::platform::Local;

/// Rows of a query, or how many rows a statement was about.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    pub kinds: Vec<Kind>,
    pub rows: Vec<Vec<String>>,
    pub count: Option<u64>,
}

pub enum Database {
    Local(Box<Local>),
    Wire(Box<Wire>),
}

/// An object that a file made: the word for it in `DROP`, and its name.
pub type Made = (&'static str, String);

impl Database {
    /// A new, empty one, or the one that is running there.
    ///
    /// # Errors
    /// When it cannot be started or reached.
    pub async fn open(address: Option<&HostPort>) -> Result<Self> {
        Ok(match address {
            None => Self::Local(Box::new(Local::start().await?)),
            Some(address) => Self::Wire(Box::new(Wire::connect(address).await?)),
        })
    }

    /// Runs statements and gives the answer of the last.
    ///
    /// # Errors
    /// The server's.
    pub async fn run(&mut self, sql: &str) -> Result<Answer> {
        match self {
            Self::Local(local) => {
                let mut last = Answer::default();
                for outcome in local.session().execute(sql).await? {
                    last = answer(outcome).await?;
                }
                Ok(last)
            }
            Self::Wire(wire) => wire.run(sql).await,
        }
    }

    /// The columns of a query as a `CREATE STREAM` has them.
    ///
    /// # Errors
    /// The server's; over the wire this is not known.
    pub async fn columns(&mut self, query: &str) -> Result<String> {
        let Self::Local(local) = self else {
            return Err(Error::unsupported("the columns of CREATE TABLE … AS are not known over the wire"));
        };
        let session = local.session();
        let statement = session.parse(query)?.pop().ok_or_else(|| Error::input("there is no query"))?;
        let prepared = session.prepare(statement, &[]).await?;
        let schema: SchemaRef = prepared.schema().ok_or_else(|| Error::input("a query is wanted"))?;
        let column = |f: &arrow::datatypes::FieldRef| {
            format!("\"{}\" {}", f.name().replace('"', "\"\""), sql_type_name(f.data_type()))
        };
        Ok(schema.fields().iter().map(column).collect::<Vec<_>>().join(", "))
    }

    /// What there is, in an order in which it can be dropped.
    ///
    /// # Errors
    /// The server's.
    pub async fn objects(&mut self) -> Result<Vec<Made>> {
        let mut all = vec![];
        for (kind, word) in
            [("SINKS", "SINK"), ("SOURCES", "SOURCE"), ("VIEWS", "MATERIALIZED VIEW"), ("STREAMS", "STREAM")]
        {
            let names = self.run(&format!("SHOW {kind}")).await?;
            all.extend(
                names.rows.into_iter().filter_map(|mut row| (!row.is_empty()).then(|| (word, row.swap_remove(0)))),
            );
        }
        Ok(all)
    }

    /// Drops what was not there before, or goes away whole.
    ///
    /// # Errors
    /// The server's.
    pub async fn close(mut self, before: &[Made]) -> Result<()> {
        if let Self::Local(local) = self {
            local.stop().await;
            return Ok(());
        }
        let before: BTreeSet<&Made> = before.iter().collect();
        let mut last = None;
        for _ in 0..2 {
            let made = self.objects().await?;
            for (word, name) in made.iter().filter(|o| !before.contains(o)) {
                // It may have gone with another; what is left in the second round is an error.
                let name = name.replace('"', "\"\"").replacen('.', "\".\"", 1);
                last = self.run(&format!("DROP {word} IF EXISTS \"{name}\" CASCADE")).await.err();
            }
        }
        if let Some(error) = last {
            return Err(error);
        }
        Ok(())
    }
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
