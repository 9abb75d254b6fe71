//! `IN`, `NOT IN`, `EXISTS`, `ANY` and `ALL` over subqueries, where DataFusion 54.1 gives wrong rows or none:
//!
//! - `NOT IN` over a correlated subquery, or anywhere but as a whole condition, did not know NULL;
//! - a correlated subquery that is one aggregate has a row for each outer row, also where nothing is aggregated; it had none there;
//! - a computed column of a subquery below `OR` was looked for by a name that cannot be read.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, ExprSchema, Result, ScalarValue, plan_err};
use datafusion::functions_aggregate::expr_fn::count;
use datafusion::logical_expr::expr::{Exists, InSubquery, SetComparison, SetQuantifier};
use datafusion::logical_expr::utils::{conjunction, merge_schema, split_conjunction_owned};
use datafusion::logical_expr::{
    Aggregate, Distinct, Expr, FetchType, Limit, LogicalPlan, LogicalPlanBuilder, Operator, SkipType, Subquery,
    binary_expr, exists, lit, not, when,
};
use datafusion::optimizer::AnalyzerRule;

/// The name that the column of a subquery gets, and that of a table around one that is not correlated.
const MEMBER: &str = "__member";
const MEMBERS: &str = "__members";

/// Says memberships by what DataFusion does well: joins that ask for existence, and scalar subqueries. To come before types are settled.
#[derive(Debug)]
pub(crate) struct Memberships;

impl AnalyzerRule for Memberships {
    fn name(&self) -> &str {
        "memberships"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        Ok(plan.transform_up_with_subqueries(node)?.data)
    }
}

fn node(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    if !plan.expressions().iter().any(crate::has_subquery) {
        return Ok(Transformed::no(plan));
    }
    let mut filter = match plan {
        LogicalPlan::Filter(filter) => filter,
        LogicalPlan::Projection(_) | LogicalPlan::Aggregate(_) => {
            let outer = merge_schema(&plan.inputs());
            return crate::map_with_names(plan, |expr| expr.transform_down(|e| value(e, &outer)));
        }
        plan => return Ok(Transformed::no(plan)),
    };
    let outer = merge_schema(&[filter.input.as_ref()]);
    let conditions = split_conjunction_owned(filter.predicate).into_iter().map(|c| condition(c, &outer));
    let conditions = conditions.collect::<Result<Vec<_>>>()?;
    filter.predicate = conjunction(conditions).unwrap_or_else(|| lit(true));
    Ok(Transformed::yes(LogicalPlan::Filter(filter)))
}

/// A whole condition, for which NULL is as good as false.
fn condition(expr: Expr, outer: &DFSchema) -> Result<Expr> {
    let expr = match expr {
        Expr::Not(inner) => match *inner {
            Expr::InSubquery(within) => Expr::InSubquery(InSubquery { negated: !within.negated, ..within }),
            Expr::Exists(exists) => Expr::Exists(Exists { negated: !exists.negated, ..exists }),
            other => not(other),
        },
        other => other,
    };
    match expr {
        // DataFusion's join for NOT IN compares no constant.
        Expr::InSubquery(within)
            if !is_correlated(&within.subquery) && (!within.negated || within.expr.any_column_refs()) =>
        {
            Ok(Expr::InSubquery(within))
        }
        Expr::InSubquery(within) if one_row(&within.subquery)?.is_none() => {
            if !within.negated {
                return Ok(Expr::InSubquery(within));
            }
            // One join: no row that is equal, or may be.
            let equal = equal_member(*within.expr, &within.subquery, outer)?;
            Ok(not(exists_where(&equal.plan, Expr::IsNotFalse(Box::new(equal.condition)))?))
        }
        other => positive(other, outer),
    }
}

/// A part of a condition that is true as often as it would be with false in place of NULL.
fn positive(expr: Expr, outer: &DFSchema) -> Result<Expr> {
    match expr {
        Expr::BinaryExpr(both) if matches!(both.op, Operator::And | Operator::Or) => {
            Ok(binary_expr(positive(*both.left, outer)?, both.op, positive(*both.right, outer)?))
        }
        Expr::InSubquery(within) if !within.negated && one_row(&within.subquery)?.is_none() => {
            let subquery = with_simple_name(within.subquery)?;
            Ok(Expr::InSubquery(InSubquery { subquery, ..within }))
        }
        other => Ok(other.transform_down(|e| value(e, outer))?.data),
    }
}

/// What may be anything: true, false or NULL.
fn value(expr: Expr, outer: &DFSchema) -> Result<Transformed<Expr>> {
    let (value, negated) = match expr {
        Expr::Exists(Exists { subquery, negated }) => {
            let Some(row) = one_row_of(&subquery)? else {
                return Ok(Transformed::no(Expr::Exists(Exists { subquery, negated })));
            };
            (row.is_there.map_or(lit(true), |is_there| Expr::IsTrue(Box::new(is_there))), negated)
        }
        Expr::InSubquery(InSubquery { expr, subquery, negated }) => (membership(*expr, &subquery, outer)?, negated),
        Expr::SetComparison(SetComparison { expr, subquery, op, quantifier }) => {
            let otherwise = matches!(quantifier, SetQuantifier::All);
            let compared = match one_row(&subquery)? {
                Some(row) => row.or(otherwise, |value| binary_expr(*expr, op, value))?,
                None => compared(of_outer(*expr, outer)?, op, otherwise, &subquery)?,
            };
            (compared, false)
        }
        other => return Ok(Transformed::no(other)),
    };
    let value = if negated { not(value) } else { value };
    // What is in it has been said already.
    Ok(Transformed::new(value, true, TreeNodeRecursion::Jump))
}

/// `expr IN subquery`: true, false or NULL.
fn membership(expr: Expr, subquery: &Subquery, outer: &DFSchema) -> Result<Expr> {
    if let Some(row) = one_row(subquery)? {
        return row.or(false, |value| expr.eq(value));
    }
    let equal = equal_member(expr.clone(), subquery, outer)?;
    let unknown = if is_correlated(subquery) {
        exists_where(&equal.plan, Expr::IsNull(Box::new(equal.condition.clone())))?
    } else {
        // No join is needed to tell whether there is a row, or one with NULL.
        let plan = LogicalPlanBuilder::from(equal.plan.clone());
        let all = scalar(plan.clone().aggregate(Vec::<Expr>::new(), [count(lit(1_i64))])?.build()?);
        let known = scalar(plan.aggregate(Vec::<Expr>::new(), [count(equal.member)])?.build()?);
        all.clone().not_eq(known).or(expr.is_null().and(all.gt(lit(0_i64))))
    };
    when(exists_where(&equal.plan, equal.condition)?, lit(true))
        .when(unknown, Expr::Literal(ScalarValue::Boolean(None), None))
        .otherwise(lit(false))
}

/// `expr op ANY subquery`, or ALL of it if that is true of no row: true, false or NULL. DataFusion says the same, but only later, and changes the names of columns.
fn compared(expr: Expr, op: Operator, is_all: bool, subquery: &Subquery) -> Result<Expr> {
    let plan = subquery.subquery.as_ref();
    let compared = binary_expr(expr, op, Expr::Column(Column::from(plan.schema().qualified_field(0))));
    let decides = Box::new(compared.clone());
    let decides = if is_all { Expr::IsFalse(decides) } else { Expr::IsTrue(decides) };
    when(exists_where(plan, decides)?, lit(!is_all))
        .when(exists_where(plan, Expr::IsNull(Box::new(compared)))?, Expr::Literal(ScalarValue::Boolean(None), None))
        .otherwise(lit(is_all))
}

/// An expression over the rows outside of a subquery, for a place within it.
pub(crate) fn of_outer(expr: Expr, outer: &DFSchema) -> Result<Expr> {
    let expr = expr.transform(|e| match e {
        Expr::Column(column) => {
            let field = outer.field_from_column(&column)?.clone();
            Ok(Transformed::yes(Expr::OuterReferenceColumn(field, column)))
        }
        other => Ok(Transformed::no(other)),
    })?;
    Ok(expr.data)
}

/// A subquery whose column has a name of its own, and the condition on it that makes an outer row a member.
struct EqualMember {
    plan: LogicalPlan,
    member: Expr,
    condition: Expr,
}

fn equal_member(expr: Expr, subquery: &Subquery, outer: &DFSchema) -> Result<EqualMember> {
    let named = with_simple_name(subquery.clone())?.subquery;
    let mut plan = LogicalPlanBuilder::from(named);
    if !is_correlated(subquery) {
        plan = plan.alias(MEMBERS)?;
    }
    let plan = plan.build()?;
    let member = Expr::Column(Column::from(plan.schema().qualified_field(0)));
    if is_correlated(subquery) {
        refuse_equal_names(&expr, &member, &plan)?;
    }
    Ok(EqualMember { condition: of_outer(expr, outer)?.eq(member.clone()), member, plan })
}

/// DataFusion's join of a correlated subquery would take an outer column for an inner one of the same name.
fn refuse_equal_names(outer: &Expr, member: &Expr, plan: &LogicalPlan) -> Result<()> {
    let mut inner: HashSet<Column> = member.column_refs().into_iter().cloned().collect();
    plan.apply(|node| {
        if let LogicalPlan::Filter(filter) = node
            && filter.predicate.contains_outer()
        {
            inner.extend(filter.predicate.column_refs().into_iter().cloned());
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    match outer.column_refs().into_iter().find(|c| inner.contains(c)) {
        None => Ok(()),
        Some(column) => plan_err!(
            "a table in the subquery has the name of the one outside that \"{}\" is of: give it another one",
            column.name
        ),
    }
}

/// The subquery with a column whose name is simple: DataFusion reads it anew, and a computed one is no name.
fn with_simple_name(subquery: Subquery) -> Result<Subquery> {
    let plan = &subquery.subquery;
    let column = Column::from(plan.schema().qualified_field(0));
    let is_simple = column.name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if is_simple || plan.schema().fields().len() != 1 {
        return Ok(subquery);
    }
    let named = LogicalPlanBuilder::from(plan.clone()).project([Expr::Column(column).alias(MEMBER)])?.build()?;
    Ok(Subquery { subquery: Arc::new(named), ..subquery })
}

fn exists_where(plan: &LogicalPlan, condition: Expr) -> Result<Expr> {
    Ok(exists(Arc::new(LogicalPlanBuilder::from(plan.clone()).filter(condition)?.build()?)))
}

fn scalar(plan: LogicalPlan) -> Expr {
    Expr::ScalarSubquery(Subquery {
        outer_ref_columns: plan.all_out_ref_exprs(),
        subquery: Arc::new(plan),
        spans: datafusion::common::Spans::default(),
    })
}

fn is_correlated(subquery: &Subquery) -> bool {
    !subquery.outer_ref_columns.is_empty()
}

/// What a correlated subquery gives that is one aggregate over all its rows.
struct OneRow {
    value: Expr,
    /// Its HAVING; the row is there if that is true.
    is_there: Option<Expr>,
}

impl OneRow {
    /// What is said of its value, or `otherwise` where there is no row.
    fn or(self, otherwise: bool, said: impl FnOnce(Expr) -> Expr) -> Result<Expr> {
        match self.is_there {
            None => Ok(said(self.value)),
            Some(is_there) => when(Expr::IsTrue(Box::new(is_there)), said(self.value)).otherwise(lit(otherwise)),
        }
    }
}

/// As [`one_row_of`], of a subquery with one column.
fn one_row(subquery: &Subquery) -> Result<Option<OneRow>> {
    if subquery.subquery.schema().fields().len() == 1 { one_row_of(subquery) } else { Ok(None) }
}

/// The row, and the first column of it.
fn one_row_of(subquery: &Subquery) -> Result<Option<OneRow>> {
    if !is_correlated(subquery) {
        return Ok(None);
    }
    let Some(WholeAggregate { value, having, aggregate }) = whole_aggregate(&subquery.subquery) else {
        return Ok(None);
    };
    let of = |expr: Expr| -> Result<Expr> {
        let plan = LogicalPlan::Aggregate(aggregate.clone());
        Ok(scalar(LogicalPlanBuilder::from(plan).project([expr.alias(MEMBER)])?.build()?))
    };
    // HAVING guards the value.
    let value = match having.clone() {
        Some(having) => when(Expr::IsTrue(Box::new(having)), value).end()?,
        None => value,
    };
    Ok(Some(OneRow { value: of(value)?, is_there: having.map(of).transpose()? }))
}

/// A query for one value of an aggregate over all its rows.
pub(crate) struct WholeAggregate<'a> {
    /// Over the results of the aggregate.
    pub(crate) value: Expr,
    pub(crate) having: Option<Expr>,
    pub(crate) aggregate: &'a Aggregate,
}

/// True for a LIMIT that leaves the first row, if there is one.
pub(crate) fn leaves_one_row(limit: &Limit) -> bool {
    matches!(limit.get_skip_type(), Ok(SkipType::Literal(0)))
        && matches!(limit.get_fetch_type(), Ok(FetchType::Literal(fetch)) if fetch != Some(0))
}

/// The first column of such a query.
pub(crate) fn whole_aggregate(mut plan: &LogicalPlan) -> Option<WholeAggregate<'_>> {
    if plan.schema().fields().is_empty() {
        return None;
    }
    let mut value = Expr::Column(Column::from(plan.schema().qualified_field(0)));
    loop {
        plan = match plan {
            LogicalPlan::Sort(sort) if sort.fetch.is_none() => &sort.input,
            LogicalPlan::Distinct(Distinct::All(input)) => input,
            LogicalPlan::Limit(limit) if leaves_one_row(limit) => &limit.input,
            _ => break,
        };
    }
    if let LogicalPlan::Projection(projection) = plan {
        value = projection.expr[0].clone();
        plan = &projection.input;
    }
    let mut having = None;
    if let LogicalPlan::Filter(filter) = plan {
        having = Some(filter.predicate.clone());
        plan = &filter.input;
    }
    match plan {
        LogicalPlan::Aggregate(aggregate) if aggregate.group_expr.is_empty() => {
            Some(WholeAggregate { value, having, aggregate })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use crate::testing;

    /// `t` has the rows outside and, under other names, those inside.
    const T: &str = "CREATE TABLE t (id INT, k INT, v INT) AS VALUES (1, 1, 1), (2, 1, NULL), (3, 2, 5), (4, NULL, 2), (5, 3, NULL)";

    #[tokio::test]
    async fn memberships_know_null() {
        for (condition, expected) in [
            // Correlated: nobody has k = 9, so that all pass; and u.v of k = 1 are 1 and NULL.
            ("v NOT IN (SELECT u.v FROM t u WHERE u.k = t.k + 9)", &[1, 2, 3, 4, 5][..]),
            ("v NOT IN (SELECT u.v FROM t u WHERE u.k = t.k - 1)", &[1, 2, 4]),
            ("NOT v IN (SELECT u.v FROM t u WHERE u.k = t.k - 1)", &[1, 2, 4]),
            ("id NOT IN (SELECT u.v FROM t u WHERE u.id <> t.id AND u.k = 2)", &[1, 2, 3, 4]),
            // Not the whole condition.
            ("v NOT IN (SELECT u.v FROM t u) OR id = 4", &[4]),
            ("v NOT IN (SELECT u.v FROM t u WHERE u.v IS NOT NULL AND u.v > 1) OR id = 2", &[1, 2]),
            ("(v IN (SELECT u.v FROM t u)) IS NULL", &[2, 5]),
            ("(id IN (SELECT u.v FROM t u WHERE u.k = t.k)) IS NULL", &[2, 5]),
            ("(9 IN (SELECT u.v FROM t u WHERE u.id < 0)) IS FALSE AND id = 1", &[1]),
            // A constant.
            ("7 NOT IN (SELECT u.v FROM t u)", &[]),
            ("7 NOT IN (SELECT u.v FROM t u WHERE u.v IS NOT NULL)", &[1, 2, 3, 4, 5]),
            // One aggregate has a row over nothing.
            ("NOT EXISTS (SELECT max(u.v) FROM t u WHERE u.k = t.v)", &[]),
            ("EXISTS (SELECT max(u.v) FROM t u WHERE u.k = t.k HAVING count(*) > 1)", &[1, 2]),
            ("EXISTS (SELECT max(u.v) FROM t u WHERE u.k = t.k HAVING count(*) < 2)", &[3, 4, 5]),
            ("0 IN (SELECT count(*) FROM t u WHERE u.k = t.v)", &[2, 3, 5]),
            ("3 NOT IN (SELECT max(u.v) FROM t u WHERE u.k = t.v)", &[1, 4]),
            ("1 > ALL (SELECT count(*) FROM t u WHERE u.k = t.v)", &[2, 3, 5]),
            ("1 <= ANY (SELECT count(*) FROM t u WHERE u.k = t.v)", &[1, 4]),
            ("1 > ALL (SELECT count(*) FROM t u WHERE u.k = t.v HAVING count(*) > 0)", &[2, 3, 5]),
            ("EXISTS (SELECT max(u.v), min(u.v) FROM t u WHERE u.k = t.v)", &[1, 2, 3, 4, 5]),
            ("NOT EXISTS (SELECT DISTINCT max(u.v) FROM t u WHERE u.k = t.v LIMIT 1)", &[]),
            ("5 IN (SELECT 10 / count(*) FROM t u WHERE u.k = t.k HAVING count(*) > 0)", &[1, 2]),
            // A computed column below OR.
            ("id IN (SELECT count(u.v) FROM t u) OR id = 1", &[1, 3]),
        ] {
            let rows = testing::rows(T, 2, &format!("SELECT id FROM t WHERE {condition} ORDER BY id")).await;
            let expected: Vec<String> = expected.iter().map(|id| format!("|{id}|")).collect();
            assert_eq!(rows.map_err(|e| e.to_string()), Ok(expected), "{condition}");
        }
    }
}
