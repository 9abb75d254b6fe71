//! A rule of DataFusion's with something around it.

use std::fmt;

use datafusion::common::Result;
use datafusion::common::tree_node::Transformed;
use datafusion::logical_expr::LogicalPlan;
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

type Rewrite<R> = fn(&R, LogicalPlan, &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>>;

/// Stands in the place of a rule, under its name and in its order, and decides when it is asked.
pub(crate) struct Careful<R> {
    rule: R,
    rewrite: Rewrite<R>,
}

impl<R: Default> Careful<R> {
    pub(crate) fn new(rewrite: Rewrite<R>) -> Self {
        Self { rule: R::default(), rewrite }
    }
}

impl<R: fmt::Debug> fmt::Debug for Careful<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Careful").field(&self.rule).finish()
    }
}

impl<R: OptimizerRule> OptimizerRule for Careful<R> {
    fn name(&self) -> &str {
        self.rule.name()
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        self.rule.apply_order()
    }

    fn supports_rewrite(&self) -> bool {
        true
    }

    fn rewrite(&self, plan: LogicalPlan, config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        (self.rewrite)(&self.rule, plan, config)
    }
}
