//! What the tests of the rules ask: rows of a table as text.

use arrow::util::pretty::pretty_format_batches;
use datafusion::common::Result;
use datafusion::execution::SessionStateBuilder;
use datafusion::prelude::{SessionConfig, SessionContext};

/// With the rules and functions of this crate.
pub(crate) fn context(partitions: usize) -> SessionContext {
    let mut config = SessionConfig::new().with_target_partitions(partitions);
    config.options_mut().sql_parser.enable_subquery_sort_elimination = false;
    let mut state = SessionStateBuilder::new()
        .with_config(config)
        .with_default_features()
        .with_optimizer_rules(crate::logical_rules())
        .with_analyzer_rules(crate::analyzer_rules([]))
        .with_physical_optimizer_rules(crate::physical_rules())
        .build();
    crate::register(&mut state).expect("functions can be registered");
    SessionContext::new_with_state(state)
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
