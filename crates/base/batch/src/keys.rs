//! Keys that can be sorted by. DataFusion 54.1 asks an expression for the range and the order of what it gives, and takes for unordered one that
//! cannot tell: the sign of a decimal, a function of some numbers only, a time with a computed interval. It then sorts by it and finds
//! itself that this is not sorted: `SELECT k, sum(v) FROM t GROUP BY k ORDER BY - sum(v), k` ("does not satisfy order requirements").
//!
//! Such a key is computed below, so that the sort, or the window, has a column. So are lists and structs, as bytes (see [`crate::nested`]). And
//! an aggregate has each key once, and is computed over a frame from its beginning (see [`crate::forward`]).

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, Result};
use datafusion::execution::SessionState;
use datafusion::execution::context::QueryPlanner;
use datafusion::logical_expr::execution_props::ExecutionProps;
use datafusion::logical_expr::expr::{Alias, Sort as SortKey};
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, Sort, Window};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalSortExpr, create_physical_expr};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_planner::{DefaultPhysicalPlanner, PhysicalPlanner};

use crate::filtered::with_known_filters;
use crate::forward::forward;
use crate::map_with_names;
use crate::nested::in_order;
use crate::texts::with_read_texts;

/// Plans a query that is optimized already.
#[derive(Debug)]
pub struct CarefulPlanner;

#[async_trait]
impl QueryPlanner for CarefulPlanner {
    async fn create_physical_plan(&self, plan: &LogicalPlan, state: &SessionState) -> Result<Arc<dyn ExecutionPlan>> {
        let plan = with_known_filters(with_read_texts(with_sortable_keys(plan.clone())?)?)?;
        DefaultPhysicalPlanner::default().create_physical_plan(&plan, state).await
    }
}

/// The plan with keys that can be sorted by.
///
/// # Errors
/// DataFusion's.
pub fn with_sortable_keys(plan: LogicalPlan) -> Result<LogicalPlan> {
    Ok(plan.transform_up_with_subqueries(node)?.data)
}

fn node(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    match plan {
        LogicalPlan::Sort(sort) => {
            let mut keys = Keys::of(sort.input.schema());
            let expr = keys.sorted(sort.expr.clone());
            if keys.below.is_empty() {
                return Ok(Transformed::no(LogicalPlan::Sort(sort)));
            }
            let input = Arc::new(keys.below(&sort.input)?);
            let sorted = LogicalPlan::Sort(Sort { expr, input, fetch: sort.fetch });
            shown(sorted, sort.input.schema()).map(Transformed::yes)
        }
        LogicalPlan::Window(_) => {
            let plan = map_with_names(plan, |expr| expr.transform(forward))?;
            let LogicalPlan::Window(window) = plan.data else { return Ok(plan) };
            let mut keys = Keys::of(window.input.schema());
            let exprs = window.window_expr.iter().map(|e| keys.windowed(e)).collect();
            if keys.below.is_empty() {
                return Ok(Transformed::new_transformed(LogicalPlan::Window(window), plan.transformed));
            }
            let input = Arc::new(keys.below(&window.input)?);
            let windowed = LogicalPlan::Window(Window::try_new(exprs, input)?);
            shown(windowed, &window.schema).map(Transformed::yes)
        }
        plan @ LogicalPlan::Aggregate(_) => map_with_names(plan, |expr| expr.transform(ordered_once)),
        other => Ok(Transformed::no(other)),
    }
}

/// An aggregate function that is ordered by each of its keys once. DataFusion 54.1 leaves out what comes again when it plans, and
/// `first_value` and `last_value` then look for as many columns as were written.
fn ordered_once(expr: Expr) -> Result<Transformed<Expr>> {
    let Expr::AggregateFunction(mut function) = expr else { return Ok(Transformed::no(expr)) };
    let keys = &mut function.params.order_by;
    let written = keys.len();
    let mut seen: Vec<Expr> = vec![];
    keys.retain(|key| {
        let is_new = !seen.contains(&key.expr);
        seen.extend(is_new.then(|| key.expr.clone()));
        is_new
    });
    let is_changed = keys.len() < written;
    Ok(Transformed::new_transformed(Expr::AggregateFunction(function), is_changed))
}

/// Only these columns.
fn shown(plan: LogicalPlan, schema: &DFSchema) -> Result<LogicalPlan> {
    LogicalPlanBuilder::from(plan).project(schema.columns().into_iter().map(Expr::Column))?.build()
}

/// Keys over a plan of this schema.
struct Keys<'s> {
    schema: &'s DFSchema,
    /// Those that are computed below.
    below: Vec<Expr>,
}

impl<'s> Keys<'s> {
    fn of(schema: &'s DFSchema) -> Self {
        Self { schema, below: vec![] }
    }

    /// A key as it is, or the column that it is computed into.
    fn key(&mut self, key: Expr) -> Expr {
        if is_refused(&key, self.schema) { self.computed(key) } else { key }
    }

    fn computed(&mut self, key: Expr) -> Expr {
        let at = self.below.iter().position(|e| *e == key).unwrap_or(self.below.len());
        if at == self.below.len() {
            self.below.push(key);
        }
        Expr::Column(Column::new_unqualified(name(at)))
    }

    fn sorted(&mut self, keys: Vec<SortKey>) -> Vec<SortKey> {
        let mut sorted = |key: SortKey| {
            let is_nested = key.expr.get_type(self.schema).is_ok_and(|t| t.is_nested());
            let expr = match is_nested {
                // As Arrow's sort does it, and a view.
                true => self.computed(in_order(key.expr, key.nulls_first == key.asc)),
                false => self.key(key.expr),
            };
            SortKey { expr, ..key }
        };
        keys.into_iter().map(&mut sorted).collect()
    }

    /// A window function under the name that it has.
    fn windowed(&mut self, expr: &Expr) -> Expr {
        let (name, inner) = match expr {
            Expr::Alias(Alias { expr, name, relation: None, .. }) => (name.clone(), expr.as_ref()),
            other => (other.schema_name().to_string(), other),
        };
        let Expr::WindowFunction(function) = inner else { return expr.clone() };
        let mut function = function.clone();
        let params = &mut function.params;
        params.partition_by = std::mem::take(&mut params.partition_by).into_iter().map(|e| self.key(e)).collect();
        params.order_by = self.sorted(std::mem::take(&mut params.order_by));
        let keyed = Expr::WindowFunction(function);
        if keyed == *inner { expr.clone() } else { keyed.alias(name) }
    }

    /// A plan with the computed keys beside its columns.
    fn below(self, plan: &LogicalPlan) -> Result<LogicalPlan> {
        let columns = self.schema.columns().into_iter().map(Expr::Column);
        let computed = self.below.into_iter().enumerate().map(|(at, key)| key.alias(name(at)));
        LogicalPlanBuilder::from(plan.clone()).project(columns.chain(computed))?.build()
    }
}

fn name(at: usize) -> String {
    format!("fleuve key {}", at + 1)
}

/// Whether what is sorted by a key is not taken for sorted by it.
fn is_refused(key: &Expr, schema: &DFSchema) -> bool {
    if matches!(key, Expr::Column(_) | Expr::Literal(..)) {
        return false;
    }
    let Ok(key) = create_physical_expr(key, schema, &ExecutionProps::new()) else { return false };
    let sorted = || [PhysicalSortExpr::new_default(key.clone())];
    let properties = EquivalenceProperties::new_with_orderings(schema.inner().clone(), [sorted()]);
    !properties.ordering_satisfy(sorted()).unwrap_or(true)
}

#[cfg(test)]
mod tests {
    use crate::testing;

    const TABLE: &str = "CREATE TABLE t (k BIGINT, n DECIMAL(10, 2), f DOUBLE PRECISION) AS VALUES
        (1, 2.5, 0.25), (2, -1.0, 0.5), (2, 0.5, 0.5), (3, 7.0, 0.5)";

    #[tokio::test]
    async fn rows_are_sorted_by_them() {
        for partitions in [1, 3] {
            for (key, expected) in [
                ("- max(n)", ["|3|", "|1|", "|2|"]),
                ("- (max(n) * 2) DESC", ["|2|", "|1|", "|3|"]),
                ("sqrt(max(f))", ["|1|", "|3|", "|2|"]),
                ("ln(max(f)) DESC", ["|3|", "|2|", "|1|"]),
                ("acos(max(f))", ["|3|", "|2|", "|1|"]),
            ] {
                let sql = format!("SELECT k FROM t GROUP BY k ORDER BY {key}, k DESC");
                assert_eq!(testing::rows(TABLE, partitions, &sql).await.unwrap(), expected, "{key}");
                let sql = format!("SELECT max(k) AS m, k FROM t GROUP BY k ORDER BY {key}, k DESC LIMIT 1");
                let expected = format!("{}{}", expected[0], &expected[0][1..]);
                assert_eq!(testing::rows(TABLE, partitions, &sql).await.unwrap(), [expected], "{key}");
            }
        }
    }

    #[tokio::test]
    async fn windows_are_parted_and_ordered_by_them() {
        for partitions in [1, 3] {
            for (window, expected) in [
                ("PARTITION BY - n ORDER BY k", ["|1|1|", "|2|1|", "|2|1|", "|3|1|"]),
                ("PARTITION BY sqrt(f) ORDER BY k, n", ["|1|1|", "|2|1|", "|2|2|", "|3|3|"]),
                ("ORDER BY - n", ["|1|2|", "|2|3|", "|2|4|", "|3|1|"]),
                ("PARTITION BY k % 2 ORDER BY - n, sqrt(f)", ["|1|2|", "|2|1|", "|2|2|", "|3|1|"]),
            ] {
                let call = format!("row_number() OVER ({window})");
                let sql = format!("SELECT k, {call} AS m FROM t ORDER BY k, m");
                assert_eq!(testing::rows(TABLE, partitions, &sql).await.unwrap(), expected, "{window}");
                // Two of them, one as it is, and the name that DataFusion gives.
                let sql = format!(
                    "SELECT k, m FROM (SELECT k, {call} AS m, sum(n) OVER (PARTITION BY k), {call} FROM t) ORDER BY k, m"
                );
                assert_eq!(testing::rows(TABLE, partitions, &sql).await.unwrap(), expected, "{window}");
            }
        }
    }
}
