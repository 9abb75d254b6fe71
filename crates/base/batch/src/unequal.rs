//! A subquery for one value that refers to the tables outside of it by more than equalities: `(SELECT count(*) FROM b WHERE b.ts <= a.ts)`.
//! DataFusion 54.1 has no plan for it.
//!
//! It is computed once for each different combination of the outer columns that it names, their domain, and joined to the outer rows by these
//! columns (Neumann and Kemper, "Unnesting Arbitrary Queries", BTW 2015).

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, NullEquality, Result, ScalarValue};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{
    Aggregate, Expr, Filter, JoinType, LogicalPlan, LogicalPlanBuilder, Operator, Projection, Subquery, lit, when,
};
use datafusion::optimizer::AnalyzerRule;

use crate::has_subquery;
use crate::membership::{WholeAggregate, whole_aggregate};
use crate::outer::subqueries;

/// Aggregates that are NULL over no rows; `count` is 0. Of others a join does not tell what they are.
const NULL_OVER_NOTHING: [&str; 22] = [
    "array_agg",
    "avg",
    "bit_and",
    "bit_or",
    "bit_xor",
    "bool_and",
    "bool_or",
    "corr",
    "first_value",
    "last_value",
    "max",
    "median",
    "min",
    "nth_value",
    "percentile_cont",
    "stddev",
    "stddev_pop",
    "stddev_samp",
    "string_agg",
    "sum",
    "var",
    "var_pop",
];

/// Makes joins of such subqueries. To come before types are settled, and after [`Memberships`](crate::membership::Memberships).
#[derive(Debug)]
pub(crate) struct UnequalSubqueries;

impl AnalyzerRule for UnequalSubqueries {
    fn name(&self) -> &str {
        "unequal_subqueries"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        let mut made = 0;
        Ok(plan.transform_up_with_subqueries(|plan| node(plan, &mut made))?.data)
    }
}

fn node(plan: LogicalPlan, made: &mut usize) -> Result<Transformed<LogicalPlan>> {
    let (LogicalPlan::Projection(Projection { input, .. }) | LogicalPlan::Filter(Filter { input, .. })) = &plan else {
        return Ok(Transformed::no(plan));
    };
    if !plan.expressions().iter().any(has_subquery) {
        return Ok(Transformed::no(plan));
    }
    let (input, names) = (input.clone(), NamePreserver::new(&plan));
    let mut joined = input.as_ref().clone();
    let mut exprs = vec![];
    let mut is_changed = false;
    for expr in plan.expressions() {
        let name = names.save(&expr);
        let new = expr.transform_down(|expr| {
            let Expr::ScalarSubquery(subquery) = &expr else { return Ok(Transformed::no(expr)) };
            let Some(domain) = Domain::of(subquery, &input)? else { return Ok(Transformed::no(expr)) };
            *made += 1;
            let (plan, value) = domain.joined(std::mem::take(&mut joined), &input, *made)?;
            joined = plan;
            Ok(Transformed::new(value, true, TreeNodeRecursion::Jump))
        })?;
        is_changed |= new.transformed;
        exprs.push(if new.transformed { name.restore(new.data) } else { new.data });
    }
    if !is_changed {
        return Ok(Transformed::no(plan));
    }
    let joined = LogicalPlanBuilder::from(joined);
    let new = match plan {
        LogicalPlan::Filter(_) => {
            let own = input.schema().columns().into_iter().map(Expr::Column);
            let condition = exprs.pop().unwrap_or_else(|| lit(true));
            joined.filter(condition)?.project(own)?.build()?
        }
        _ => joined.project(exprs)?.build()?,
    };
    Ok(Transformed::yes(new))
}

/// A subquery whose value each combination of some outer columns has one of.
struct Domain<'a> {
    columns: Vec<Column>,
    whole: WholeAggregate<'a>,
    filter: &'a Filter,
}

impl<'a> Domain<'a> {
    /// None for one that DataFusion has a plan for, and for one that is not so simple.
    fn of(subquery: &'a Subquery, outer: &LogicalPlan) -> Result<Option<Self>> {
        let Some(whole) = whole_aggregate(&subquery.subquery) else { return Ok(None) };
        if subquery.subquery.schema().fields().len() != 1 {
            return Ok(None);
        }
        let mut input = whole.aggregate.input.as_ref();
        while let LogicalPlan::Projection(projection) = input
            && projection.expr.iter().all(|e| matches!(e, Expr::Column(_)))
        {
            input = &projection.input;
        }
        let LogicalPlan::Filter(filter) = input else { return Ok(None) };
        let inner = filter.input.schema();
        let is_equality = |condition: &&Expr| is_equality_with_outer(condition);
        if split_conjunction(&filter.predicate).iter().filter(|c| c.contains_outer()).all(is_equality) {
            return Ok(None);
        }
        let mut columns: Vec<Column> = vec![];
        filter.predicate.apply(|expr| {
            if let Expr::OuterReferenceColumn(_, column) = expr
                && !columns.contains(column)
            {
                columns.push(column.clone());
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
        let has_outer = |expr: &Expr| expr.contains_outer() || has_subquery(expr);
        let nested = subqueries(&filter.predicate);
        let is_simple = columns.iter().all(|c| outer.schema().has_column(c))
            && !whole.aggregate.aggr_expr.iter().chain([&whole.value]).chain(&whole.having).any(has_outer)
            && nested.iter().all(|s| s.outer_ref_columns.iter().all(|c| is_of(c, inner)))
            && filter.input.all_out_ref_exprs().is_empty()
            && outer.all_out_ref_exprs().is_empty()
            && !is_volatile(outer)?
            && whole.aggregate.aggr_expr.iter().all(|a| over_nothing(a).is_some());
        Ok(is_simple.then_some(Self { columns, whole, filter }))
    }

    /// `plan`, whose rows are those of `outer` with further columns, joined to the values; and the value of a row.
    fn joined(self, plan: LogicalPlan, outer: &LogicalPlan, number: usize) -> Result<(LogicalPlan, Expr)> {
        let (domain, values) = (format!("__domain_{number}"), format!("__values_{number}"));
        let name = |i: usize| format!("__outer_{i}");
        let of_domain = |i: usize| Expr::Column(Column::new(Some(domain.clone()), name(i)));
        let named = self.columns.iter().enumerate().map(|(i, c)| Expr::Column(c.clone()).alias(name(i)));
        let combinations =
            LogicalPlanBuilder::from(outer.clone()).project(named)?.distinct()?.alias(domain.as_str())?;
        let condition = self.filter.predicate.clone().transform(|expr| match &expr {
            Expr::OuterReferenceColumn(_, column) => {
                let at = self.columns.iter().position(|c| c == column);
                Ok(at.map_or_else(|| Transformed::no(expr.clone()), |at| Transformed::yes(of_domain(at))))
            }
            _ => Ok(Transformed::no(expr)),
        })?;
        let keys = || (0..self.columns.len()).map(of_domain);
        let WholeAggregate { value, having, aggregate } = self.whole;
        let nothing = having_value(
            nothing_for(value.clone(), aggregate)?,
            having.clone().map(|h| nothing_for(h, aggregate)).transpose()?,
        )?;
        let value = having_value(value, having)?;
        let computed = combinations
            .cross_join(self.filter.input.as_ref().clone())?
            .filter(condition.data)?
            .aggregate(keys(), aggregate.aggr_expr.clone())?
            .project(keys().chain([value.alias("__value"), lit(true).alias("__mark")]))?
            .alias(values.as_str())?
            .build()?;
        let on = (0..self.columns.len()).map(|i| Column::new(Some(values.clone()), name(i))).collect::<Vec<_>>();
        let plan = LogicalPlanBuilder::from(plan)
            .join_detailed(computed, JoinType::Left, (self.columns, on), None, NullEquality::NullEqualsNull)?
            .build()?;
        let of_values = |name: &str| Expr::Column(Column::new(Some(values.clone()), name));
        let value = when(of_values("__mark").is_null(), nothing).otherwise(of_values("__value"))?;
        Ok((plan, value))
    }
}

/// The value, where HAVING is true.
fn having_value(value: Expr, having: Option<Expr>) -> Result<Expr> {
    match having {
        None => Ok(value),
        Some(having) => when(having, value).end(),
    }
}

/// What an expression of the aggregate's results comes to over no rows.
fn nothing_for(expr: Expr, aggregate: &Aggregate) -> Result<Expr> {
    let results: Vec<(Column, Expr)> = aggregate
        .aggr_expr
        .iter()
        .enumerate()
        .filter_map(|(i, a)| Some((Column::from(aggregate.schema.qualified_field(i)), over_nothing(a)?)))
        .collect();
    let replaced = expr.transform(|expr| match &expr {
        Expr::Column(column) => match results.iter().find(|(c, _)| c == column) {
            Some((_, value)) => Ok(Transformed::yes(value.clone())),
            None => Ok(Transformed::no(expr)),
        },
        _ => Ok(Transformed::no(expr)),
    })?;
    Ok(replaced.data)
}

fn over_nothing(aggregate: &Expr) -> Option<Expr> {
    match aggregate {
        Expr::Alias(alias) => over_nothing(&alias.expr),
        Expr::AggregateFunction(call) if call.func.name() == "count" => Some(lit(0_i64)),
        Expr::AggregateFunction(call) if NULL_OVER_NOTHING.contains(&call.func.name()) => Some(lit(ScalarValue::Null)),
        _ => None,
    }
}

/// `column = outer`, which DataFusion joins by.
fn is_equality_with_outer(condition: &Expr) -> bool {
    let Expr::BinaryExpr(both) = condition else { return false };
    let is_column = |e: &Expr| match e {
        Expr::Column(_) => true,
        Expr::Cast(cast) => matches!(*cast.expr, Expr::Column(_)),
        _ => false,
    };
    let fits = |inner: &Expr, outer: &Expr| is_column(inner) && !outer.any_column_refs() && outer.contains_outer();
    both.op == Operator::Eq
        && !has_subquery(condition)
        && (fits(&both.left, &both.right) || fits(&both.right, &both.left))
}

fn is_of(outer: &Expr, schema: &DFSchema) -> bool {
    matches!(outer, Expr::OuterReferenceColumn(_, column) if schema.has_column(column))
}

fn is_volatile(plan: &LogicalPlan) -> Result<bool> {
    plan.exists(|node| Ok(node.expressions().iter().any(Expr::is_volatile)))
}

#[cfg(test)]
mod tests {
    use crate::testing;

    #[tokio::test]
    async fn values_are_those_of_each_row() {
        let table =
            "CREATE TABLE t (id INT, k INT, v INT) AS VALUES (1, 1, 10), (2, 1, NULL), (3, 2, 30), (4, NULL, 40)";
        for (sql, expected) in [
            (
                "SELECT id, (SELECT count(*) FROM t u WHERE u.k <= t.k) AS n FROM t",
                ["|1|2|", "|2|2|", "|3|3|", "|4|0|"],
            ),
            (
                "SELECT id, (SELECT sum(u.v) FROM t u WHERE u.id < t.id) AS n FROM t",
                ["|1||", "|2|10|", "|3|10|", "|4|40|"],
            ),
            (
                "SELECT id, (SELECT coalesce(max(u.v), -1) FROM t u WHERE u.id < t.id AND u.k = t.k) AS n FROM t",
                ["|1|-1|", "|2|10|", "|3|-1|", "|4|-1|"],
            ),
            (
                "SELECT id, (SELECT count(*) + 1 FROM t u WHERE u.id <> t.id AND u.v > t.v) AS n FROM t",
                ["|1|3|", "|2|1|", "|3|2|", "|4|1|"],
            ),
            (
                "SELECT id, (SELECT count(*) FROM t u WHERE u.id > t.id HAVING count(*) > 1) AS n FROM t",
                ["|1|3|", "|2|2|", "|3||", "|4||"],
            ),
            (
                "SELECT id, (SELECT count(*) FROM t u WHERE u.id > t.id HAVING count(*) < 2) AS n FROM t",
                ["|1||", "|2||", "|3|1|", "|4|0|"],
            ),
            (
                "SELECT id, (SELECT count(*) FROM t u WHERE u.id < t.id AND EXISTS (SELECT 1 FROM t w WHERE w.v = u.id * 10)) AS n FROM t",
                ["|1|0|", "|2|1|", "|3|1|", "|4|2|"],
            ),
        ] {
            assert_eq!(testing::rows(table, 2, &format!("{sql} ORDER BY id")).await.unwrap(), expected, "{sql}");
        }
        let largest = "SELECT id FROM t WHERE id >= (SELECT max(u.id) FROM t u WHERE u.k <= t.k) AND v > 1 ORDER BY id";
        assert_eq!(testing::rows(table, 2, largest).await.unwrap(), ["|3|"]);
        let grouped = "SELECT k, (SELECT sum(u.v) FROM t u WHERE u.k < t.k) AS n FROM t GROUP BY k ORDER BY k";
        assert_eq!(testing::rows(table, 2, grouped).await.unwrap(), ["|1||", "|2|10|", "|||"]);
    }
}
