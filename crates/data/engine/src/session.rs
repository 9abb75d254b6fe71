//! DataFusion, as views use it.

use std::sync::Arc;

use datafusion::common::alias::AliasGenerator;
use datafusion::execution::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::prelude::SessionConfig;
use fleuve_types::{Error, ErrorKind, Result};

use crate::lower::now;

/// Its planner: one partition, so that the order of work is fixed, and without the physical rule that pushes
/// filters through joins: DataFusion 54.1 finds a filter's column by its name there, and with equal names on both sides of an outer
/// join filters the wrong one (oracle case 5148). The logical optimizer has pushed filters down already. The rule that pushes
/// projections down is left out, too: it computes below a filter what fails for the rows that the filter takes out. So is the one that lets
/// an aggregate keep the first groups only: it takes a group's column for the value of `min` or `max` (oracle case 104705).
pub fn session_state() -> SessionState {
    let rules = PhysicalOptimizer::new().rules;
    let is_wrong =
        |name: &str| name.starts_with("FilterPushdown") || ["ProjectionPushdown", "LimitAggregation"].contains(&name);
    let rules = rules.into_iter().filter(|r| !is_wrong(r.name())).collect();
    SessionStateBuilder::new()
        .with_config(SessionConfig::new().with_target_partitions(1))
        .with_default_features()
        .with_physical_optimizer_rules(rules)
        .build()
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
