//! DataFusion, as views use it.

use std::sync::Arc;

use datafusion::common::alias::AliasGenerator;
use datafusion::execution::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::SessionConfig;
use fleuve_types::{Error, ErrorKind, Result};

use crate::lower::now;

/// The stack of a thread that plans. A plan of hundreds of levels is hashed, compared and dropped level by level, by derived code that cannot ask
/// for more; what is not used of it costs no memory.
pub const STACK_BYTES: usize = 16 << 20;

/// Its planner: one partition, so that the order of work is fixed.
pub fn session_state() -> SessionState {
    fleuve_batch::session_state(SessionConfig::new().with_target_partitions(1))
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
