//! What the tests of the rules ask: rows of a table as text.

use arrow::util::pretty::pretty_format_batches;
use datafusion::common::Result;
use datafusion::execution::SessionStateBuilder;
use datafusion::prelude::{SessionConfig, SessionContext};

/// The rows of `sql` over the table that `table` makes, planned with the rules of this crate.
pub(crate) async fn rows(table: &str, partitions: usize, sql: &str) -> Result<Vec<String>> {
    let state = SessionStateBuilder::new()
        .with_config(SessionConfig::new().with_target_partitions(partitions))
        .with_default_features()
        .with_optimizer_rules(crate::logical_rules())
        .with_analyzer_rules(crate::analyzer_rules([]))
        .with_physical_optimizer_rules(crate::physical_rules())
        .build();
    let context = SessionContext::new_with_state(state);
    crate::one_way().into_iter().for_each(|f| context.register_udaf(f.as_ref().clone()));
    context.sql(table).await?.collect().await?;
    let batches = context.sql(sql).await?.collect().await?;
    let table = pretty_format_batches(&batches)?.to_string();
    Ok(table.lines().skip(3).filter(|l| l.starts_with('|')).map(|l| l.replace(' ', "")).collect())
}
