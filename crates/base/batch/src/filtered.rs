//! `sum(a / b) FILTER (WHERE b <> 0)` divides where `b` is not zero. DataFusion 54.1 computes the arguments of an aggregate for all rows, and
//! then leaves out those that do not pass its FILTER; `first_value` and `last_value` take rows for which that is NULL, too.

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::logical_expr::{Case, Expr, LogicalPlan};
use datafusion::optimizer::AnalyzerRule;

use crate::names::map_with_names;
use crate::{can_fail, has_subquery};

/// Computes what can fail of the arguments of an aggregate with FILTER for the rows alone that pass it. To come after types are settled.
#[derive(Debug)]
pub(crate) struct FilteredArguments;

impl AnalyzerRule for FilteredArguments {
    fn name(&self) -> &str {
        "filtered_arguments"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        Ok(plan.transform_down_with_subqueries(node)?.data)
    }
}

fn node(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let input = match &plan {
        LogicalPlan::Aggregate(aggregate) => &aggregate.input,
        LogicalPlan::Window(window) => &window.input,
        _ => return Ok(Transformed::no(plan)),
    };
    let schema = input.schema().clone();
    map_with_names(plan, |expr| expr.transform_up(|e| Ok(call(e, &schema))))
}

/// The plan with filters that are never NULL where that would tell, to be run.
///
/// # Errors
/// DataFusion's.
pub(crate) fn with_known_filters(plan: LogicalPlan) -> Result<LogicalPlan> {
    let node = |plan: LogicalPlan| match plan {
        LogicalPlan::Aggregate(_) => map_with_names(plan, |expr| expr.transform_up(|e| Ok(known(e)))),
        plan => Ok(Transformed::no(plan)),
    };
    Ok(plan.transform_up_with_subqueries(node)?.data)
}

fn known(mut expr: Expr) -> Transformed<Expr> {
    let Expr::AggregateFunction(call) = &mut expr else { return Transformed::no(expr) };
    match call.params.filter.take() {
        Some(filter)
            if matches!(call.func.name(), "first_value" | "last_value") && !matches!(*filter, Expr::IsTrue(_)) =>
        {
            call.params.filter = Some(Box::new(Expr::IsTrue(filter)));
            Transformed::yes(expr)
        }
        filter => {
            call.params.filter = filter;
            Transformed::no(expr)
        }
    }
}

fn call(mut expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
    let filter = match &mut expr {
        Expr::AggregateFunction(call) => call.params.filter.as_deref_mut(),
        Expr::WindowFunction(call) => call.params.filter.as_deref_mut(),
        _ => None,
    };
    // `FILTER (WHERE NULL)`, which has no type.
    if let Some(Expr::Literal(value @ ScalarValue::Null, _)) = filter {
        *value = ScalarValue::Boolean(None);
        return Transformed::yes(expr);
    }
    let (filter, exprs): (_, Vec<&mut Expr>) = match &mut expr {
        Expr::AggregateFunction(call) => {
            let order = call.params.order_by.iter_mut().map(|by| &mut by.expr);
            (&call.params.filter, call.params.args.iter_mut().chain(order).collect())
        }
        Expr::WindowFunction(call) => (&call.params.filter, call.params.args.iter_mut().collect()),
        _ => return Transformed::no(expr),
    };
    // A filter that comes out differently each time does not guard, and a subquery that stands twice may lose its condition.
    let Some(filter) = filter.as_deref().filter(|f| !f.is_volatile() && !has_subquery(f)) else {
        return Transformed::no(expr);
    };
    let changed = exprs.into_iter().fold(false, |changed, e| only_if(filter, e, schema) | changed);
    Transformed::new_transformed(expr, changed)
}

/// Makes `CASE WHEN filter THEN expr END` of it, if it can fail, reads a row, and is not that already.
fn only_if(filter: &Expr, expr: &mut Expr, schema: &DFSchema) -> bool {
    if is_only_if(filter, expr) || !expr.any_column_refs() || !can_fail(expr, schema) {
        return false;
    }
    let then = Box::new(std::mem::take(expr));
    *expr = Expr::Case(Case::new(None, vec![(Box::new(filter.clone()), then)], None));
    true
}

fn is_only_if(filter: &Expr, expr: &Expr) -> bool {
    let Expr::Case(case) = expr else { return false };
    matches!(case.when_then_expr.as_slice(), [(when, _)] if **when == *filter)
        && case.expr.is_none()
        && case.else_expr.is_none()
}

#[cfg(test)]
mod tests {
    use crate::testing;

    #[tokio::test]
    async fn rows_whose_filter_is_null_are_not_the_first_or_last() {
        let table = "CREATE TABLE t (k INT, v INT, b BOOLEAN) AS VALUES
            (1, 1, NULL), (1, 2, true), (1, 3, false), (2, 4, NULL), (3, 5, true), (3, 6, NULL)";
        let both = "first_value(v ORDER BY v) FILTER (WHERE b) AS f, last_value(v ORDER BY v) FILTER (WHERE b) AS l";
        for partitions in [1, 3] {
            let sql = format!("SELECT k, {both} FROM t GROUP BY k ORDER BY k");
            assert_eq!(testing::rows(table, partitions, &sql).await.unwrap(), ["|1|2|2|", "|2|||", "|3|5|5|"]);
            let places = "(array_agg(k ORDER BY v DESC) FILTER (WHERE b))[1] AS a, (array_agg(v ORDER BY k, v) FILTER (WHERE b))[1] AS d";
            let sql = format!("SELECT {both}, {places} FROM t");
            assert_eq!(testing::rows(table, partitions, &sql).await.unwrap(), ["|2|5|3|2|"]);
            let sql = "SELECT DISTINCT ON (k) k, v FROM t WHERE b IS NULL ORDER BY k, v DESC";
            assert_eq!(testing::rows(table, partitions, sql).await.unwrap(), ["|1|1|", "|2|4|", "|3|6|"]);
        }
    }
}
