//! ORDER BY of a derived table or a common table expression. The standard gives it no meaning, and DataFusion 54.1 leaves it out or
//! loses it; PostgreSQL keeps it, and queries rely on that: `SELECT * FROM (SELECT ... ORDER BY v) q LIMIT 3`, `SELECT string_agg(s, ',')
//! FROM (SELECT ... ORDER BY v) q`. Here it is said where it tells, and left out elsewhere:
//!
//! - below LIMIT and in what a query gives, through projections and filters;
//! - for aggregates, window functions and DISTINCT ON without an order of their own.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchemaRef, Result};
use datafusion::logical_expr::expr::Sort as SortExpr;
use datafusion::logical_expr::{
    Distinct, Expr, Filter, Limit, LogicalPlan, Projection, Sort, Subquery, SubqueryAlias, WindowFunctionDefinition,
};
use datafusion::optimizer::AnalyzerRule;

use crate::has_subquery;
use crate::names::map_with_names;

/// Aggregates, as window functions too, whose value depends on the order of rows.
const IN_ORDER: [&str; 5] = ["array_agg", "first_value", "last_value", "nth_value", "string_agg"];
/// Window functions that go by a row's place. Without an order all rows are peers to the others.
const BY_PLACE: [&str; 4] = ["lag", "lead", "ntile", "row_number"];

/// Says such orders where they tell. To come first: what subqueries become has no place for them.
#[derive(Debug)]
pub(crate) struct DerivedOrders;

impl AnalyzerRule for DerivedOrders {
    fn name(&self) -> &str {
        "derived_orders"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        let mut is_sorted = false;
        plan.apply_with_subqueries(|node| {
            is_sorted |= matches!(node, LogicalPlan::Sort(_));
            Ok(if is_sorted { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
        })?;
        if is_sorted { Orders { columns: 0 }.told(plan, true) } else { Ok(plan) }
    }
}

struct Orders {
    /// How many columns were made to sort by.
    columns: usize,
}

/// Rows, and what they are sorted by: columns of theirs. There may be more columns at their end than there were.
struct Sorted {
    rows: LogicalPlan,
    order: Vec<SortExpr>,
}

impl Orders {
    /// The plan with its sorts where they tell; its own order does if `is_told`.
    #[recursive::recursive]
    fn told(&mut self, plan: LogicalPlan, is_told: bool) -> Result<LogicalPlan> {
        let plan = plan.map_subqueries(|subquery| match subquery {
            LogicalPlan::Subquery(subquery) => {
                let plan = self.told(Arc::unwrap_or_clone(subquery.subquery), false)?;
                Ok(Transformed::yes(LogicalPlan::Subquery(Subquery { subquery: Arc::new(plan), ..subquery })))
            }
            other => Ok(Transformed::no(other)),
        })?;
        match plan.data {
            LogicalPlan::Sort(sort) if sort.fetch.is_none() && !is_told => {
                self.told(Arc::unwrap_or_clone(sort.input), false)
            }
            LogicalPlan::Filter(filter) if is_told => {
                let schema = filter.input.schema().clone();
                let input = self.told(Arc::unwrap_or_clone(filter.input.clone()), true)?;
                let Some(Sorted { rows, order }) = self.sorted(&input)? else {
                    return with_input(LogicalPlan::Filter(filter), input);
                };
                // What becomes of the filter may lose the order below it.
                let rows = LogicalPlan::Filter(Filter::try_new(filter.predicate, Arc::new(rows))?);
                columns_of(sort(rows, order), &schema)
            }
            LogicalPlan::Limit(limit) => {
                let schema = limit.input.schema().clone();
                let input = self.told(Arc::unwrap_or_clone(limit.input.clone()), true)?;
                let sorted = if is_sorted_columns(&input) { None } else { self.sorted(&input)? };
                let Some(Sorted { rows, order }) = sorted else {
                    return with_input(LogicalPlan::Limit(limit), input);
                };
                with_input(LogicalPlan::Limit(limit), columns_of(sort(rows, order), &schema)?)
            }
            LogicalPlan::Aggregate(_) | LogicalPlan::Window(_) => self.of_calls(plan.data),
            LogicalPlan::Distinct(Distinct::On(mut on)) => {
                let input = Arc::unwrap_or_clone(on.input);
                let input = self.told(input, on.sort_expr.is_none())?;
                let Some(Sorted { rows, order }) = self.sorted(&input)?.filter(|_| on.sort_expr.is_none()) else {
                    on.input = Arc::new(input);
                    return Ok(LogicalPlan::Distinct(Distinct::On(on)));
                };
                on.input = Arc::new(rows);
                let first = on.on_expr.iter().map(|e| e.clone().sort(true, false));
                let rest = order.into_iter().filter(|s| !on.on_expr.contains(&s.expr));
                let order = first.chain(rest).collect();
                Ok(LogicalPlan::Distinct(Distinct::On(on.with_sort_expr(order)?)))
            }
            plan => {
                let goes_on = match plan {
                    LogicalPlan::Explain(_) | LogicalPlan::Analyze(_) => true,
                    LogicalPlan::Projection(_) | LogicalPlan::SubqueryAlias(_) => is_told,
                    _ => false,
                };
                let child = |child| self.told(child, goes_on).map(Transformed::yes);
                plan.map_children(child)?.data.recompute_schema()
            }
        }
    }

    /// An aggregate, or window functions: calls that go by the order of rows and have none get that of the input.
    fn of_calls(&mut self, plan: LogicalPlan) -> Result<LogicalPlan> {
        let calls = match &plan {
            LogicalPlan::Aggregate(aggregate) => &aggregate.aggr_expr,
            LogicalPlan::Window(window) => &window.window_expr,
            _ => return Ok(plan),
        };
        let goes_by_order = calls.iter().any(lacks_order);
        let input = plan.inputs().into_iter().next().cloned();
        let Some(input) = input else { return Ok(plan) };
        let input = self.told(input, goes_by_order)?;
        if !goes_by_order {
            return with_input(plan, input);
        }
        let Some(Sorted { rows, order }) = self.sorted(&input)? else { return with_input(plan, input) };
        let schema = plan.schema().clone();
        let plan = with_input(plan, rows)?;
        let plan = map_with_names(plan, |expr| Ok(in_order(expr, &order)))?.data;
        columns_of(plan, &schema)
    }

    /// The rows of a plan without the sort that they come from, if there is one.
    #[recursive::recursive]
    fn sorted(&mut self, plan: &LogicalPlan) -> Result<Option<Sorted>> {
        Ok(match plan {
            LogicalPlan::Sort(sort) if sort.fetch.is_none() => {
                let can_be_repeated = |s: &SortExpr| !s.expr.is_volatile() && !has_subquery(&s.expr);
                let is_plain = sort.expr.iter().all(can_be_repeated);
                is_plain.then(|| Sorted { rows: sort.input.as_ref().clone(), order: sort.expr.clone() })
            }
            LogicalPlan::Projection(projection) => match self.sorted(&projection.input)? {
                Some(sorted) => Some(self.projected(projection, sorted)?),
                None => None,
            },
            LogicalPlan::SubqueryAlias(alias) => match self.sorted(&alias.input)? {
                Some(sorted) => Some(renamed(alias, sorted)?),
                None => None,
            },
            LogicalPlan::Filter(filter) => match self.sorted(&filter.input)? {
                Some(Sorted { rows, order }) => {
                    let filter = Filter::try_new(filter.predicate.clone(), Arc::new(rows))?;
                    Some(Sorted { rows: LogicalPlan::Filter(filter), order })
                }
                None => None,
            },
            // Which rows there are depends on it, and they are in order above it, too.
            LogicalPlan::Limit(limit) => self.sorted(&limit.input)?.map(|Sorted { rows, order }| {
                let input = Arc::new(sort(rows, order.clone()));
                Sorted { rows: LogicalPlan::Limit(Limit { input, ..limit.clone() }), order }
            }),
            _ => None,
        })
    }

    fn projected(&mut self, projection: &Projection, of: Sorted) -> Result<Sorted> {
        let mut exprs = projection.expr.clone();
        let mut order = vec![];
        for key in of.order {
            let at = projection.expr.iter().position(|e| e.clone().unalias() == key.expr);
            let expr = match at {
                Some(at) => Expr::from(projection.schema.qualified_field(at)),
                None => {
                    self.columns += 1;
                    let name = format!("__order_{}", self.columns);
                    exprs.push(key.expr.alias(&name));
                    Expr::Column(Column::from_name(name))
                }
            };
            order.push(SortExpr { expr, ..key });
        }
        Ok(Sorted { rows: LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(of.rows))?), order })
    }
}

fn renamed(alias: &SubqueryAlias, of: Sorted) -> Result<Sorted> {
    let inner = of.rows.schema().clone();
    let rows = LogicalPlan::SubqueryAlias(SubqueryAlias::try_new(Arc::new(of.rows), alias.alias.clone())?);
    let outer = rows.schema();
    let rename = |expr: Expr| match expr {
        Expr::Column(column) => {
            let at = inner.index_of_column(&column)?;
            Ok(Transformed::yes(Expr::from(outer.qualified_field(at))))
        }
        other => Ok(Transformed::no(other)),
    };
    let key = |key: SortExpr| Ok(SortExpr { expr: key.expr.transform(rename)?.data, ..key });
    let order = of.order.into_iter().map(key).collect::<Result<_>>()?;
    Ok(Sorted { rows, order })
}

/// What LIMIT is above without a derived table: a sort, or the columns that are left of one.
fn is_sorted_columns(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Sort(_) => true,
        LogicalPlan::Projection(projection) => matches!(projection.input.as_ref(), LogicalPlan::Sort(_)),
        _ => false,
    }
}

fn sort(rows: LogicalPlan, order: Vec<SortExpr>) -> LogicalPlan {
    LogicalPlan::Sort(Sort { expr: order, input: Arc::new(rows), fetch: None })
}

fn with_input(plan: LogicalPlan, input: LogicalPlan) -> Result<LogicalPlan> {
    plan.with_new_exprs(plan.expressions(), vec![input])
}

/// Those of a schema alone, of which a plan has all.
fn columns_of(plan: LogicalPlan, schema: &DFSchemaRef) -> Result<LogicalPlan> {
    if plan.schema().fields().len() == schema.fields().len() {
        return Ok(plan);
    }
    let columns = schema.iter().map(Expr::from).collect();
    Ok(LogicalPlan::Projection(Projection::try_new(columns, Arc::new(plan))?))
}

fn lacks_order(expr: &Expr) -> bool {
    match expr {
        Expr::Alias(alias) => lacks_order(&alias.expr),
        Expr::AggregateFunction(call) => {
            let params = &call.params;
            IN_ORDER.contains(&call.func.name()) && !params.distinct && params.order_by.is_empty()
        }
        Expr::WindowFunction(call) => {
            let name = call.fun.name();
            let goes_by_order = IN_ORDER.contains(&name)
                || (BY_PLACE.contains(&name) && matches!(call.fun, WindowFunctionDefinition::WindowUDF(_)));
            goes_by_order && !call.params.distinct && call.params.order_by.is_empty()
        }
        _ => false,
    }
}

fn in_order(expr: Expr, order: &[SortExpr]) -> Transformed<Expr> {
    if !lacks_order(&expr) {
        return Transformed::no(expr);
    }
    match expr {
        Expr::Alias(mut alias) => {
            *alias.expr = in_order(*alias.expr, order).data;
            Transformed::yes(Expr::Alias(alias))
        }
        Expr::AggregateFunction(mut call) => {
            call.params.order_by = order.to_vec();
            Transformed::yes(Expr::AggregateFunction(call))
        }
        Expr::WindowFunction(mut call) => {
            call.params.order_by = order.to_vec();
            Transformed::yes(Expr::WindowFunction(call))
        }
        other => Transformed::no(other),
    }
}

#[cfg(test)]
mod tests;
