//! DataFusion, as views use it.

use std::sync::Arc;

use datafusion::common::alias::AliasGenerator;
use datafusion::execution::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::SessionConfig;
use fleuve_types::{Error, ErrorKind, Result};

use crate::lower::now;

/// Its planner: one partition, so that the order of work is fixed.
pub fn session_state() -> SessionState {
    let mut config = SessionConfig::new().with_target_partitions(1);
    config.options_mut().sql_parser.enable_subquery_sort_elimination = false;
    let mut state = SessionStateBuilder::new()
        .with_config(config)
        .with_default_features()
        .with_optimizer_rules(fleuve_batch::logical_rules())
        .with_analyzer_rules(fleuve_batch::analyzer_rules([]))
        .with_physical_optimizer_rules(fleuve_batch::physical_rules())
        .build();
    fleuve_batch::register(&mut state).expect("functions can be registered");
    state
}

/// Its optimizer. What it names itself is numbered from the start in each plan: the shape of a circuit, by
/// which a restart knows its state, holds these names.
pub(crate) fn optimize(plan: &LogicalPlan, state: &SessionState) -> Result<LogicalPlan> {
    let mut state = state.clone();
    state.execution_props_mut().alias_generator = Arc::new(AliasGenerator::new());
    let state = &state;
    let optimized = match now::as_parameter(plan)? {
        None => state.optimize(plan),
        Some(plan) => now::optimize(plan, state),
    };
    optimized
        .map_err(|e| Error::new(ErrorKind::Input, format!("the query cannot be optimised: {}", e.strip_backtrace())))
}
