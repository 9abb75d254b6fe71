//! What the tests of the rules ask: rows of a table as text.

use arrow::util::pretty::pretty_format_batches;
use datafusion::common::Result;
use datafusion::prelude::{SessionConfig, SessionContext};

/// With the rules and functions of this crate.
pub(crate) fn context(partitions: usize) -> SessionContext {
    SessionContext::new_with_state(crate::session_state(SessionConfig::new().with_target_partitions(partitions)))
}

/// The rows of `sql` over the table that `table` makes.
pub(crate) async fn rows(table: &str, partitions: usize, sql: &str) -> Result<Vec<String>> {
    let context = context(partitions);
    context.sql(table).await?.collect().await?;
    rows_of(&context, sql).await
}

/// The rows of `sql`.
pub(crate) async fn rows_of(context: &SessionContext, sql: &str) -> Result<Vec<String>> {
    let batches = context.sql(sql).await?.collect().await?;
    let table = pretty_format_batches(&batches)?.to_string();
    Ok(table.lines().skip(3).filter(|l| l.starts_with('|')).map(|l| l.replace(' ', "")).collect())
}
