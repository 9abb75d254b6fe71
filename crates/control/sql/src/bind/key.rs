//! Which columns of a query's answer identify a row.

use datafusion::common::{Column, Dependency};
use datafusion::logical_expr::{Distinct, Expr, LogicalPlan};

/// The key of a query's answer: columns that no two rows share, as far as its shape proves it (`GROUP BY` columns that are all
/// in the answer, `DISTINCT`). `None` when nothing is proved.
pub fn view_key(plan: &LogicalPlan) -> Option<Vec<String>> {
    let mut key = distinct_key(plan).or_else(|| dependency_key(plan))?;
    key.dedup();
    (!key.is_empty()).then_some(key)
}

/// From the functional dependencies that DataFusion carries through a plan.
fn dependency_key(plan: &LogicalPlan) -> Option<Vec<String>> {
    let schema = plan.schema();
    let width = schema.fields().len();
    let dependencies = schema.functional_dependencies();
    let proved = dependencies
        .iter()
        .filter(|d| d.mode == Dependency::Single && !d.source_indices.is_empty())
        .filter(|d| (0..width).all(|i| d.target_indices.contains(&i) || d.source_indices.contains(&i)))
        .min_by_key(|d| d.source_indices.len())?;
    Some(proved.source_indices.iter().map(|i| schema.field(*i).name().clone()).collect())
}

/// `DISTINCT` below what keeps rows as they are; the names are those at the top.
fn distinct_key(plan: &LogicalPlan) -> Option<Vec<String>> {
    match plan {
        LogicalPlan::Distinct(Distinct::All(_)) => {
            Some(plan.schema().fields().iter().map(|f| f.name().clone()).collect())
        }
        LogicalPlan::Distinct(Distinct::On(on)) => {
            let names: Vec<Option<String>> = on
                .on_expr
                .iter()
                .map(|e| match e {
                    Expr::Column(c) => on
                        .select_expr
                        .iter()
                        .position(|s| is_column(s, c))
                        .map(|i| plan.schema().field(i).name().clone()),
                    _ => None,
                })
                .collect();
            names.into_iter().collect()
        }
        LogicalPlan::Sort(sort) => distinct_key(&sort.input),
        LogicalPlan::Limit(limit) => distinct_key(&limit.input),
        LogicalPlan::Filter(filter) => distinct_key(&filter.input),
        LogicalPlan::SubqueryAlias(alias) => distinct_key(&alias.input),
        LogicalPlan::Projection(projection) => {
            let key = distinct_key(&projection.input)?;
            key.iter()
                .map(|name| {
                    let at = projection.expr.iter().position(|e| unaliased(e).is_some_and(|c| c.name == *name))?;
                    Some(projection.schema.field(at).name().clone())
                })
                .collect()
        }
        _ => None,
    }
}

fn unaliased(expr: &Expr) -> Option<&Column> {
    match expr {
        Expr::Column(column) => Some(column),
        Expr::Alias(alias) => unaliased(&alias.expr),
        _ => None,
    }
}

fn is_column(expr: &Expr, column: &Column) -> bool {
    unaliased(expr).is_some_and(|c| c.name == column.name)
}
