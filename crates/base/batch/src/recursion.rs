//! Recursive queries keep all their columns. 54.1 leaves out those of the first term that nothing above asks for, also when the recursive
//! term reads them ("project index 1 out of bounds"), and where they tell rows of a UNION apart. It does not where it finds a subquery.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::logical_expr::{Expr, LogicalPlan, Projection, RecursiveQuery, SubqueryAlias};
use datafusion::optimizer::optimize_projections::OptimizeProjections;
use datafusion::optimizer::{AnalyzerRule, OptimizerConfig, OptimizerRule};

use crate::dependencies::corrected;

/// The name of the first term as a subquery, which no query gives to its own: one of that name would not count as another subquery.
const FIRST_TERM: &str = "fleuve first term";

/// Makes the first term of each recursive query a subquery.
#[derive(Debug)]
pub(crate) struct WholeRecursion;

impl AnalyzerRule for WholeRecursion {
    fn name(&self) -> &str {
        "whole_recursion"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        Ok(plan.transform_down_with_subqueries(whole)?.data)
    }
}

/// In the place of the rule that leaves columns out, which goes by what tells others.
pub(crate) fn within_terms(
    rule: &OptimizeProjections,
    plan: LogicalPlan,
    config: &dyn OptimizerConfig,
) -> Result<Transformed<LogicalPlan>> {
    rule.rewrite(corrected(plan)?, config)?.transform_data(|plan| {
        plan.transform_down_with_subqueries(|plan| {
            let LogicalPlan::RecursiveQuery(query) = plan else { return Ok(Transformed::no(plan)) };
            let first = rule.rewrite(Arc::unwrap_or_clone(query.static_term), config)?;
            let term = rule.rewrite(Arc::unwrap_or_clone(query.recursive_term), config)?;
            let is_changed = first.transformed || term.transformed;
            let (static_term, recursive_term) = (Arc::new(first.data), Arc::new(term.data));
            let query = RecursiveQuery { static_term, recursive_term, ..query };
            let plan = LogicalPlan::RecursiveQuery(query);
            Ok(if is_changed { Transformed::yes(plan) } else { Transformed::no(plan) })
        })
    })
}

fn whole(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let LogicalPlan::RecursiveQuery(query) = plan else { return Ok(Transformed::no(plan)) };
    if is_subquery(&query.static_term) {
        return Ok(Transformed::no(LogicalPlan::RecursiveQuery(query)));
    }
    let schema = query.static_term.schema().clone();
    let first = LogicalPlan::SubqueryAlias(SubqueryAlias::try_new(query.static_term, FIRST_TERM)?);
    // What stands above names them as they were.
    let columns = first.schema().columns().into_iter().zip(schema.iter());
    let columns = columns.map(|(c, (of, field))| Expr::Column(c).alias_qualified(of.cloned(), field.name()));
    let static_term = Projection::try_new(columns.collect(), Arc::new(first)).map(LogicalPlan::Projection)?;
    Ok(Transformed::yes(LogicalPlan::RecursiveQuery(RecursiveQuery { static_term: Arc::new(static_term), ..query })))
}

fn is_subquery(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Projection(projection) => is_subquery(&projection.input),
        LogicalPlan::SubqueryAlias(alias) => alias.alias.table() == FIRST_TERM,
        _ => false,
    }
}
