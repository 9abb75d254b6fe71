//! `(array_agg(a ORDER BY x))[1], (array_agg(b ORDER BY y))[1]`. DataFusion 54.1 makes `nth_value` of each, which wants its rows in order, and
//! refuses two that want them in different ones.

use std::sync::{Arc, LazyLock};

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{Column, Result, ScalarValue};
use datafusion::functions_aggregate::first_last::{first_value_udaf, last_value_udaf};
use datafusion::functions_nested::expr_fn::array_element;
use datafusion::logical_expr::expr::AggregateFunction;
use datafusion::logical_expr::{Aggregate, AggregateUDF, Expr, LogicalPlan, Projection, SortExpr, lit};
use datafusion::optimizer::AnalyzerRule;

use crate::one_way::one_way;

/// Takes values at places of different orders by functions that sort for themselves. Those that one order serves stay.
#[derive(Debug)]
pub(crate) struct Places;

impl AnalyzerRule for Places {
    fn name(&self) -> &str {
        "places"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        Ok(plan.transform_down_with_subqueries(node)?.data)
    }
}

fn node(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    match plan {
        LogicalPlan::Aggregate(aggregate) if has_several_orders(&aggregate) => apart(aggregate).map(Transformed::yes),
        plan => Ok(Transformed::no(plan)),
    }
}

fn has_several_orders(aggregate: &Aggregate) -> bool {
    let orders: Vec<Vec<SortExpr>> =
        aggregate.aggr_expr.iter().filter_map(place).map(|(c, _)| order_in_group(c, aggregate)).collect();
    orders
        .iter()
        .enumerate()
        .any(|(i, one)| orders[..i].iter().any(|other| !serves(one, other) && !serves(one, &reversed(other))))
}

/// What an order comes to within a group, where what is grouped by is the same for all rows.
fn order_in_group(call: &AggregateFunction, aggregate: &Aggregate) -> Vec<SortExpr> {
    call.params.order_by.iter().filter(|by| !aggregate.group_expr.contains(&by.expr)).cloned().collect()
}

/// Whether rows in one of two orders are in both.
fn serves(one: &[SortExpr], other: &[SortExpr]) -> bool {
    one.iter().zip(other).all(|(a, b)| a == b)
}

fn reversed(order: &[SortExpr]) -> Vec<SortExpr> {
    order.iter().map(|by| SortExpr::new(by.expr.clone(), !by.asc, !by.nulls_first)).collect()
}

/// A call of `nth_value` with an order, and its place.
fn place(expr: &Expr) -> Option<(&AggregateFunction, i64)> {
    match expr {
        Expr::Alias(alias) => place(&alias.expr),
        Expr::AggregateFunction(call) if call.func.name() == "nth_value" && !call.params.order_by.is_empty() => {
            match call.params.args.as_slice() {
                [_, Expr::Literal(ScalarValue::Int64(Some(n)), _)] => Some((call, *n)),
                _ => None,
            }
        }
        _ => None,
    }
}

/// The aggregate with the first and the last value, or the whole list, for each value at a place, and the same columns above.
fn apart(aggregate: Aggregate) -> Result<LogicalPlan> {
    static LIST: LazyLock<Arc<AggregateUDF>> =
        LazyLock::new(|| Arc::new(one_way().into_iter().next().expect("array_agg")));
    let groups = aggregate.schema.fields().len() - aggregate.aggr_expr.len();
    let columns: Vec<Column> = aggregate.schema.columns();
    let mut shown: Vec<Expr> = columns.iter().map(|c| Expr::Column(c.clone())).collect();
    let mut calls = vec![];
    for (i, expr) in aggregate.aggr_expr.iter().enumerate() {
        let Some((call, n)) = place(expr) else {
            calls.push(expr.clone());
            continue;
        };
        let Column { relation, name, .. } = columns[groups + i].clone();
        let mut call = call.clone();
        call.params.args.truncate(1);
        call.func = match n {
            1 => first_value_udaf(),
            -1 => last_value_udaf(),
            _ => LIST.clone(),
        };
        let made = format!("fleuve place {i}");
        calls.push(Expr::AggregateFunction(call).alias(&made));
        let column = Expr::Column(Column::from_name(made));
        let value = if n.abs() == 1 { column } else { array_element(column, lit(n)) };
        shown[groups + i] = value.alias_qualified(relation, name);
    }
    let aggregate = Aggregate::try_new(aggregate.input, aggregate.group_expr, calls)?;
    Ok(LogicalPlan::Projection(Projection::try_new(shown, Arc::new(LogicalPlan::Aggregate(aggregate)))?))
}

#[cfg(test)]
mod tests {
    use crate::testing;

    const T: &str = "CREATE TABLE t (k INT, v INT, s TEXT) AS VALUES (1, 1, 'a'), (1, 3, 'c'), (1, 2, 'b'), (2, 5, NULL), (2, 4, 'z'), (2, 6, 'y')";

    #[tokio::test]
    async fn values_at_places_of_different_orders() {
        for (of, expected) in [
            ("(array_agg(s ORDER BY v))[1], (array_agg(v ORDER BY s))[1]", ["|1|a|1|", "|2|z|6|"]),
            ("(array_agg(s ORDER BY v DESC))[1], (array_agg(v ORDER BY s, v))[2]", ["|1|c|2|", "|2|y|4|"]),
            ("(array_agg(s ORDER BY v))[2], (array_agg(v ORDER BY s NULLS FIRST))[1] + 1", ["|1|b|2|", "|2||6|"]),
            ("(array_agg(s ORDER BY v))[9], (array_agg(v ORDER BY s))[1]", ["|1||1|", "|2||6|"]),
            ("nth_value(s, -1 ORDER BY v), nth_value(v, -2 ORDER BY s)", ["|1|c|2|", "|2|y|4|"]),
            (
                "(array_agg(s ORDER BY v) FILTER (WHERE v > 1))[1], (array_agg(v ORDER BY s) FILTER (WHERE v < 3))[1]",
                ["|1|b|1|", "|2|z||"],
            ),
            // One order serves both.
            ("(array_agg(s ORDER BY v))[1], (array_agg(s ORDER BY v DESC))[1]", ["|1|a|c|", "|2|z|y|"]),
            ("(array_agg(s ORDER BY k, v))[1], (array_agg(s ORDER BY v, s))[2]", ["|1|a|b|", "|2|z||"]),
        ] {
            for partitions in [1, 3] {
                let sql = format!("SELECT k, {of} FROM t GROUP BY k ORDER BY k");
                let rows = testing::rows(T, partitions, &sql).await.map_err(|e| e.to_string());
                assert_eq!(rows, Ok(expected.iter().map(|r| r.to_string()).collect()), "{sql}");
            }
        }
        let sql = "SELECT (array_agg(s ORDER BY v))[1] AS a, (array_agg(v ORDER BY s))[2] AS b, count(*) AS n FROM t WHERE v > 9";
        assert_eq!(testing::rows(T, 1, sql).await.unwrap(), ["|||0|"]);
    }
}
