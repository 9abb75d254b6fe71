//! Correlated subqueries that DataFusion 54.1 has no plan for, or gives wrong rows: with conditions on outer columns that are no equalities
//! under an aggregate, or anywhere under LIMIT, window functions, UNION or outer joins; in aggregates and select lists; and LATERAL with these.
//!
//! Each is computed once for each different combination of the outer columns that it names, and joined to the outer rows by these columns.

mod dependent;
mod lateral;
mod pulled;
#[cfg(test)]
mod tests;

use std::cell::Cell;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, NullEquality, Result, ScalarValue, plan_err};
use datafusion::functions_aggregate::expr_fn::count;
use datafusion::logical_expr::expr::{Exists, InSubquery};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{
    Aggregate, Distinct, Expr, Filter, Join, JoinType, LogicalPlan, LogicalPlanBuilder, Projection, Sort, Subquery,
    exists, lit, not, scalar_subquery, when,
};
use datafusion::optimizer::AnalyzerRule;

pub(crate) use self::lateral::laterals;

use self::dependent::{Dependent, Domain, is_lateral, opened, over_nothing};
use self::pulled::{Asked, is_pulled};
use crate::has_subquery;
use crate::membership::{WholeAggregate, leaves_one_row, of_outer, whole_aggregate};

/// The columns that are joined: what a subquery gives, and that it gives something.
const VALUE: &str = "__value";
const MARK: &str = "__mark";

/// Makes joins of such subqueries. To come before types are settled, and after [`Memberships`](crate::membership::Memberships).
#[derive(Debug)]
pub(crate) struct UnnestedSubqueries;

impl AnalyzerRule for UnnestedSubqueries {
    fn name(&self) -> &str {
        "unnested_subqueries"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        let numbers = Cell::new(0);
        Ok(plan.transform_down_with_subqueries(|plan| node(plan, &numbers))?.data)
    }
}

fn node(plan: LogicalPlan, numbers: &Cell<usize>) -> Result<Transformed<LogicalPlan>> {
    let (LogicalPlan::Projection(Projection { input, .. })
    | LogicalPlan::Filter(Filter { input, .. })
    | LogicalPlan::Aggregate(Aggregate { input, .. })
    | LogicalPlan::Sort(Sort { input, .. })) = &plan
    else {
        return match plan {
            LogicalPlan::Join(join) if is_lateral(&join)? => lateral(join, numbers),
            plan => Ok(Transformed::no(plan)),
        };
    };
    if !plan.expressions().iter().any(has_subquery) {
        return Ok(Transformed::no(plan));
    }
    let input = input.clone();
    let own = input.schema().columns().into_iter().map(Expr::Column);
    let mut outer = Outer { input: &input, joined: input.as_ref().clone(), node: &plan, is_changed: false, numbers };
    let names = NamePreserver::new(&plan);
    let mut exprs = vec![];
    for expr in plan.expressions() {
        let name = names.save(&expr);
        let new = match &plan {
            LogicalPlan::Filter(_) => Transformed::no(outer.filtered(expr)?),
            _ => outer.changed(expr)?,
        };
        let is_named = new.transformed && !matches!(plan, LogicalPlan::Sort(_));
        exprs.push(if is_named { name.restore(new.data) } else { new.data });
    }
    let Outer { joined, is_changed, .. } = outer;
    if !is_changed {
        return Ok(Transformed::no(plan));
    }
    let new = plan.with_new_exprs(exprs, vec![joined])?;
    Ok(Transformed::yes(match new {
        LogicalPlan::Filter(_) | LogicalPlan::Sort(_) => LogicalPlanBuilder::from(new).project(own)?.build()?,
        new => new,
    }))
}

/// The rows outside of the subqueries of a node.
struct Outer<'a> {
    input: &'a LogicalPlan,
    /// The input with further columns.
    joined: LogicalPlan,
    node: &'a LogicalPlan,
    is_changed: bool,
    numbers: &'a Cell<usize>,
}

impl<'a> Outer<'a> {
    /// A condition: what it asks of existence as a whole is a join.
    fn filtered(&mut self, condition: Expr) -> Result<Expr> {
        let mut conditions = vec![];
        for condition in split_conjunction_owned(condition) {
            let (asked, is_not) = match condition {
                Expr::Not(inner) if matches!(*inner, Expr::Exists(_)) => (*inner, true),
                condition => (condition, false),
            };
            match self.as_exists(asked)? {
                Expr::Exists(Exists { subquery, negated }) if self.is_joined(&subquery, negated != is_not)? => {}
                other => {
                    let other = self.changed(other)?.data;
                    conditions.push(if is_not { not(other) } else { other });
                }
            }
        }
        Ok(conjunction(conditions).unwrap_or_else(|| lit(true)))
    }

    fn changed(&mut self, expr: Expr) -> Result<Transformed<Expr>> {
        expr.transform_down(|expr| {
            let new = match &expr {
                Expr::ScalarSubquery(subquery) => self.value(subquery)?,
                Expr::Exists(exists) => self.existence(exists)?,
                Expr::InSubquery(_) => match self.as_exists(expr.clone())? {
                    Expr::Exists(exists) => self.existence(&exists)?,
                    _ => None,
                },
                _ => None,
            };
            self.is_changed |= new.is_some();
            Ok(match new {
                Some(new) => Transformed::new(new, true, TreeNodeRecursion::Jump),
                None => Transformed::no(expr),
            })
        })
    }

    /// The domain of a subquery, if DataFusion does not make a join of it.
    fn domain(&self, subquery: &Subquery, asked: Asked) -> Result<Option<Domain<'a>>> {
        let plan = subquery.subquery.as_ref();
        let Some(domain) = Domain::of(plan, self.input, self.numbers)? else { return Ok(None) };
        let is_planned = match self.node {
            LogicalPlan::Filter(_) => true,
            LogicalPlan::Projection(_) => asked == Asked::Rows,
            _ => false,
        };
        let is_theirs = is_planned && !is_computed(plan) && domain.is_named_directly(plan) && is_pulled(plan, asked)?;
        Ok((!is_theirs).then_some(domain))
    }

    /// `expr IN subquery`, where false is as good as NULL, as EXISTS.
    fn as_exists(&self, expr: Expr) -> Result<Expr> {
        let Expr::InSubquery(InSubquery { expr: member, subquery, negated: false }) = &expr else { return Ok(expr) };
        if has_subquery(member) || self.domain(subquery, Asked::Rows)?.is_none() {
            return Ok(expr);
        }
        let member = of_outer(member.as_ref().clone(), self.input.schema())?;
        let plan = subquery.subquery.as_ref();
        let is_equal = Expr::Column(Column::from(plan.schema().qualified_field(0))).eq(member);
        Ok(exists(LogicalPlanBuilder::from(plan.clone()).filter(is_equal)?.build()?.into()))
    }

    /// Joins the rows of which there are any, or none; false if that is not to be done here.
    fn is_joined(&mut self, subquery: &Subquery, negated: bool) -> Result<bool> {
        let Some(domain) = self.domain(subquery, Asked::Existence)? else { return Ok(false) };
        let Some(Dependent { plan, table }) = domain.dependent(rows_of(&subquery.subquery))? else { return refused() };
        let keys = domain.keys(&table);
        let plan = LogicalPlanBuilder::from(plan).project(keys.iter().cloned().map(Expr::Column))?.build()?;
        let kind = if negated { JoinType::LeftAnti } else { JoinType::LeftSemi };
        self.join(plan, kind, &domain, keys)?;
        Ok(true)
    }

    fn join(&mut self, plan: LogicalPlan, kind: JoinType, domain: &Domain<'_>, keys: Vec<Column>) -> Result<()> {
        let joined = LogicalPlanBuilder::from(std::mem::take(&mut self.joined));
        let on = (domain.columns(), keys);
        self.joined = joined.join_detailed(plan, kind, on, None, NullEquality::NullEqualsNull)?.build()?;
        self.is_changed = true;
        Ok(())
    }

    fn existence(&mut self, Exists { subquery, negated }: &Exists) -> Result<Option<Expr>> {
        if subquery.outer_ref_columns.is_empty() && !matches!(self.node, LogicalPlan::Filter(_)) {
            let rows = LogicalPlanBuilder::from(rows_of(&subquery.subquery).clone());
            let rows = rows.aggregate(Vec::<Expr>::new(), [count(lit(1_i64))])?.build()?;
            let (rows, none) = (scalar_subquery(rows.into()), lit(0_i64));
            return Ok(Some(if *negated { rows.eq(none) } else { rows.gt(none) }));
        }
        let Some(domain) = self.domain(subquery, Asked::Existence)? else { return Ok(None) };
        let Some(Dependent { plan, table }) = domain.dependent(rows_of(&subquery.subquery))? else { return refused() };
        let values = domain.table("values");
        let keys = || domain.keys(&table).into_iter().map(Expr::Column);
        let plan = LogicalPlanBuilder::from(plan).project(keys())?.distinct()?;
        let plan = plan.project(keys().chain([lit(true).alias(MARK)]))?.alias(values.as_str())?.build()?;
        self.join(plan, JoinType::Left, &domain, domain.keys(&values))?;
        let mark = Expr::Column(Column::new(Some(values), MARK));
        Ok(Some(if *negated { mark.is_null() } else { mark.is_not_null() }))
    }

    fn value(&mut self, subquery: &Subquery) -> Result<Option<Expr>> {
        let plan = subquery.subquery.as_ref();
        if plan.schema().fields().len() != 1 {
            return Ok(None);
        }
        let Some(domain) = self.domain(subquery, Asked::Rows)? else { return Ok(None) };
        if let Some(whole) = whole_aggregate(plan)
            && let Some(value) = self.aggregated(&domain, whole)?
        {
            return Ok(Some(value));
        }
        let Some(Dependent { plan, table }) = domain.dependent(plan)? else { return refused() };
        let values = domain.table("values");
        let value = Expr::Column(Column::from(plan.schema().qualified_field(domain.columns().len())));
        let keys = domain.keys(&table).into_iter().map(Expr::Column);
        let plan = LogicalPlanBuilder::from(plan).project(keys.chain([value.alias(VALUE)]))?;
        self.join(plan.alias(values.as_str())?.build()?, JoinType::Left, &domain, domain.keys(&values))?;
        Ok(Some(Expr::Column(Column::new(Some(values), VALUE))))
    }

    /// The value of an aggregate over all rows: what it is over none needs no row.
    fn aggregated(&mut self, domain: &Domain<'_>, whole: WholeAggregate<'_>) -> Result<Option<Expr>> {
        let WholeAggregate { value, having, aggregate } = whole;
        let Some(results) = over_nothing(aggregate) else { return Ok(None) };
        if has_subquery(&value) || having.as_ref().is_some_and(has_subquery) {
            return Ok(None);
        }
        let nothing = having_value(
            nothing_for(value.clone(), aggregate, &results)?,
            having.clone().map(|h| nothing_for(h, aggregate, &results)).transpose()?,
        )?;
        let Some(Dependent { plan, table }) = domain.grouped(aggregate)? else { return Ok(None) };
        let values = domain.table("values");
        let value = domain.replaced(having_value(value, having)?, &table)?.data;
        let keys = domain.keys(&table).into_iter().map(Expr::Column);
        let plan = LogicalPlanBuilder::from(plan)
            .project(keys.chain([value.alias(VALUE), lit(true).alias(MARK)]))?
            .alias(values.as_str())?
            .build()?;
        self.join(plan, JoinType::Left, domain, domain.keys(&values))?;
        let of_values = |name: &str| Expr::Column(Column::new(Some(values.as_str()), name));
        Ok(Some(when(of_values(MARK).is_null(), nothing).otherwise(of_values(VALUE))?))
    }
}

fn refused<T>() -> Result<T> {
    plan_err!("this subquery cannot refer to the tables outside of it in this way; write it as a join")
}

/// `left JOIN LATERAL subquery`.
fn lateral(join: Join, numbers: &Cell<usize>) -> Result<Transformed<LogicalPlan>> {
    // What the subquery is called, and what it is joined to, may stand above it.
    let right = opened(&join.right, join.left.schema(), &[])?.data;
    let unchanged = |join| Ok(Transformed::no(LogicalPlan::Join(join)));
    let Some(domain) = Domain::of(&right, &join.left, numbers)? else { return unchanged(join) };
    if join.join_type == JoinType::Inner
        && let Some(rows) = domain.of_rows(&right)?
        && let Some(dependent) = rows.dependent(&right)?
    {
        return Ok(Transformed::yes(beside_rows(&join, &rows, dependent)?));
    }
    let is_theirs = domain.is_named_directly(&right) && is_pulled_lateral(&join, &right)?;
    if is_theirs || !matches!(join.join_type, JoinType::Inner | JoinType::Left) {
        return unchanged(join);
    }
    let Some(Dependent { plan, table }) = domain.dependent(&right)? else { return refused() };
    let on = join.on.iter().map(|(l, r)| l.clone().eq(r.clone()));
    let filter = conjunction(join.filter.clone().into_iter().chain(on));
    let columns = join.schema.columns().into_iter().map(Expr::Column);
    let keys = (domain.columns(), domain.keys(&table));
    let joined = LogicalPlanBuilder::from(join.left.as_ref().clone())
        .join_detailed(plan, join.join_type, keys, filter, NullEquality::NullEqualsNull)?
        .project(columns)?
        .build()?;
    Ok(Transformed::yes(joined))
}

/// What a LATERAL makes of each row alone, beside that row: no join is needed.
fn beside_rows(join: &Join, rows: &Domain<'_>, Dependent { plan, table }: Dependent) -> Result<LogicalPlan> {
    let first = rows.columns().len();
    let of_row = rows.keys(&table).into_iter().zip(rows.columns());
    let of_row = of_row.map(|(key, column)| Expr::Column(key).alias_qualified(column.relation, column.name));
    let of_right = plan.schema().columns().into_iter().skip(first).map(Expr::Column);
    let columns: Vec<Expr> = of_row.chain(of_right).collect();
    let on = join.on.iter().map(|(l, r)| l.clone().eq(r.clone()));
    let plan = LogicalPlanBuilder::from(plan).project(columns)?;
    match conjunction(join.filter.clone().into_iter().chain(on)) {
        None => plan.build(),
        Some(condition) => plan.filter(condition)?.build(),
    }
}

/// As [`is_pulled`]; DataFusion gives an aggregate over all rows its row where there are none only without HAVING and a condition of a LEFT JOIN.
fn is_pulled_lateral(join: &Join, right: &LogicalPlan) -> Result<bool> {
    let LogicalPlan::SubqueryAlias(alias) = right else { return Ok(false) };
    if join.left.exists(|plan| Ok(matches!(plan, LogicalPlan::Subquery(_))))? {
        return Ok(false);
    }
    let plan = alias.input.as_ref();
    let is_true = |e: &Expr| matches!(e, Expr::Literal(ScalarValue::Boolean(Some(true)), _));
    let is_free = join.join_type == JoinType::Inner || join.filter.as_ref().is_none_or(is_true);
    let is_whole = is_free && whole_aggregate(plan).is_some_and(|w| w.having.is_none());
    let is_aggregate = plan.exists(|node| Ok(matches!(node, LogicalPlan::Aggregate(a) if a.group_expr.is_empty())))?;
    Ok((is_whole || !is_aggregate) && is_pulled(plan, Asked::Rows)?)
}

/// True for a value that is computed of aggregates. DataFusion computes it over no rows of a NULL without a type, which not every function takes.
fn is_computed(plan: &LogicalPlan) -> bool {
    let Some(whole) = whole_aggregate(plan) else { return false };
    let is_count = |e: &Expr| matches!(e, Expr::AggregateFunction(call) if call.func.name() == "count");
    let takes_any = match whole.value.clone().unalias() {
        Expr::Column(_) => true,
        Expr::ScalarFunction(call) => call.func.name() == "coalesce",
        _ => false,
    };
    !takes_any && !whole.aggregate.aggr_expr.iter().all(is_count)
}

/// What a subquery has a row for, if it has one.
fn rows_of(mut plan: &LogicalPlan) -> &LogicalPlan {
    loop {
        plan = match plan {
            LogicalPlan::Projection(projection) => &projection.input,
            LogicalPlan::SubqueryAlias(alias) => &alias.input,
            LogicalPlan::Sort(sort) => &sort.input,
            LogicalPlan::Distinct(Distinct::All(input)) => input,
            LogicalPlan::Limit(limit) if leaves_one_row(limit) => &limit.input,
            _ => return plan,
        };
    }
}

/// The value, where HAVING is true.
fn having_value(value: Expr, having: Option<Expr>) -> Result<Expr> {
    match having {
        None => Ok(value),
        Some(having) => when(having, value).end(),
    }
}

/// What an expression of the aggregate's results comes to over no rows, where the outer columns are at hand.
fn nothing_for(expr: Expr, aggregate: &Aggregate, results: &[Expr]) -> Result<Expr> {
    let replaced = expr.transform(|expr| match &expr {
        Expr::Column(column) => match aggregate.schema.maybe_index_of_column(column).and_then(|i| results.get(i)) {
            Some(value) => Ok(Transformed::yes(value.clone())),
            None => Ok(Transformed::no(expr)),
        },
        Expr::OuterReferenceColumn(_, column) => Ok(Transformed::yes(Expr::Column(column.clone()))),
        _ => Ok(Transformed::no(expr)),
    })?;
    Ok(replaced.data)
}
