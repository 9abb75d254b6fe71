//! `x NOT IN (1, 2) OR x NOT IN (3, NULL)`: two lists side by side for one value. DataFusion 54.1 makes one list of them by what they have in
//! common, which is wrong where a list has NULL or something else than constants, and true or false where nothing is left, although the value
//! may be NULL.

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::{Case, Expr, LogicalPlan, Operator, binary_expr};
use datafusion::optimizer::AnalyzerRule;

use crate::has_subquery;
use crate::names::map_with_names;

/// Says such lists so that they are right when they are put together. To come before types are settled, which hides constants.
#[derive(Debug)]
pub(crate) struct CarefulLists;

impl AnalyzerRule for CarefulLists {
    fn name(&self) -> &str {
        "careful_lists"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        Ok(plan.transform_down_with_subqueries(node)?.data)
    }
}

fn node(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    map_with_names(plan, |expr| expr.transform_up(|e| Ok(side_by_side(e))))
}

fn side_by_side(expr: Expr) -> Transformed<Expr> {
    if let Expr::InList(list) = &expr
        && !list.list.iter().all(|e| is_constant(e) || matches!(e, Expr::Placeholder(_)))
        && !list.expr.is_volatile()
        && !has_subquery(&list.expr)
    {
        // Another list may come beside it when conditions are pushed down.
        return Transformed::yes(taken_apart(list.clone()));
    }
    let Expr::BinaryExpr(both) = &expr else { return Transformed::no(expr) };
    if !matches!(both.op, Operator::And | Operator::Or) {
        return Transformed::no(expr);
    }
    let (Some(left), Some(right)) = (list_of(&both.left), list_of(&both.right)) else { return Transformed::no(expr) };
    if left.expr != right.expr || left.expr.is_volatile() || has_subquery(&left.expr) {
        return Transformed::no(expr);
    }
    if !left.list.iter().chain(&right.list).all(is_constant) {
        return Transformed::yes(binary_expr(taken_apart(left), both.op, taken_apart(right)));
    }
    let is_merged = !matches!(
        (both.op, left.negated, right.negated),
        (Operator::Or, false, _) | (Operator::Or, _, false) | (Operator::And, true, true)
    );
    if !is_merged {
        return Transformed::no(expr);
    }
    // Where nothing is left of the lists, which types decide that are not settled yet, NULL has to stay.
    let value = Box::new(left.expr.as_ref().clone().is_null());
    let unknown = Box::new(Expr::Literal(ScalarValue::Boolean(None), None));
    Transformed::yes(Expr::Case(Case::new(None, vec![(value, unknown)], Some(Box::new(expr)))))
}

fn list_of(expr: &Expr) -> Option<InList> {
    match expr {
        Expr::InList(list) => Some(list.clone()),
        Expr::Not(inner) => list_of(inner).map(|list| InList { negated: !list.negated, ..list }),
        _ => None,
    }
}

fn is_constant(expr: &Expr) -> bool {
    matches!(expr, Expr::Literal(value, _) if !value.is_null())
}

/// The list of its constants, and a comparison with each other element.
fn taken_apart(list: InList) -> Expr {
    let InList { expr, list, negated } = list;
    let (constants, others): (Vec<Expr>, Vec<Expr>) = list.into_iter().partition(is_constant);
    let (op, join) = if negated { (Operator::NotEq, Operator::And) } else { (Operator::Eq, Operator::Or) };
    let first = (!constants.is_empty()).then(|| expr.clone().in_list(constants, negated));
    let others = others.into_iter().map(|other| binary_expr(expr.as_ref().clone(), op, other));
    first.into_iter().chain(others).reduce(|all, one| binary_expr(all, join, one)).expect("a list has elements")
}

#[cfg(test)]
mod tests {
    use crate::testing;

    #[tokio::test]
    async fn lists_side_by_side_know_null() {
        let table = "CREATE TABLE t (k INT, n INT) AS VALUES (1, 1), (2, 3), (3, 2), (NULL, 4)";
        for (condition, expected) in [
            ("k NOT IN (1, 2) OR k NOT IN (3, 4)", &["|1|", "|2|", "|3|"][..]),
            ("NOT (k IN (1, 2) AND k IN (3, 4))", &["|1|", "|2|", "|3|"]),
            ("(k IN (1, 2) AND k NOT IN (1, 2, 3)) IS NULL", &["|4|"]),
            ("(k NOT IN (1, 2) AND k IN (2, 1)) IS NULL", &["|4|"]),
            ("k NOT IN (1, 2, k) OR k NOT IN (1, 5)", &["|2|", "|3|"]),
            ("NOT (k IN (1, 2, k)) OR k NOT IN (1, NULL)", &[]),
            ("k IN (9, n) AND k IN (1, 8)", &["|1|"]),
            (
                "k IN (SELECT a.k FROM t a JOIN t b ON a.n = b.n AND b.k IN (3, 0, b.k) WHERE b.k IN (2, 1))",
                &["|1|", "|2|"],
            ),
            ("k NOT IN (1, NULL)", &[]),
            ("k IN (1, NULL) IS NULL", &["|2|", "|3|", "|4|"]),
            ("k IN (1, 2) OR k IN (2, 3)", &["|1|", "|2|", "|3|"]),
            ("k NOT IN (1, 2) OR k NOT IN (2, 3)", &["|1|", "|3|"]),
            ("k IN (1, 2) AND k IN (1.0, 3.0)", &["|1|"]),
            ("k NOT IN (1, 2) OR k NOT IN ('1', '3')", &["|2|", "|3|"]),
        ] {
            let sql = format!("SELECT coalesce(k, 4) AS k FROM t WHERE {condition} ORDER BY 1");
            assert_eq!(testing::rows(table, 1, &sql).await.unwrap(), expected, "{condition}");
        }
        let rows = testing::rows(table, 1, "SELECT n, k NOT IN (1, 2) OR k NOT IN (3, 4) AS b FROM t ORDER BY n").await;
        assert_eq!(rows.unwrap(), ["|1|true|", "|2|true|", "|3|true|", "|4||"]);
    }
}
