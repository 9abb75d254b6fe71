//! `EXISTS (SELECT ...)` as a value of a select list. DataFusion (54.1) plans it as a condition only, and the count of the rows is a value. Of
//! other queries `base/batch` makes joins.

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Distinct, Expr, FunctionArgExpr, GroupByExpr, Query, Select, SelectItem, SetExpr, Value,
};
use fleuve_types::Result;

use super::tree::{call, change_own, has_call};

/// Makes `(SELECT count(*) FROM ...) > 0` of each `EXISTS` in a select list whose rows can be counted so.
pub(super) fn as_count(select: &mut Select) {
    for item in &mut select.projection {
        let changed = change_own(item, counted);
        debug_assert!(changed.is_ok(), "counting does not fail");
    }
}

fn counted(expr: &mut Expr) -> Result<()> {
    let Expr::Exists { subquery, negated } = expr else { return Ok(()) };
    if !count(subquery) {
        return Ok(());
    }
    let op = if *negated { BinaryOperator::Eq } else { BinaryOperator::Gt };
    let rows = Box::new(Expr::Subquery(subquery.clone()));
    let none = Box::new(Expr::value(Value::Number("0".into(), false)));
    *expr = Expr::Nested(Box::new(Expr::BinaryOp { left: rows, op, right: none }));
    Ok(())
}

/// Makes a query give the number of its rows; false where that is not so simple.
fn count(query: &mut Query) -> bool {
    let has_limit = query.limit_clause.is_some() || query.fetch.is_some();
    let SetExpr::Select(select) = query.body.as_mut() else { return false };
    let is_plain = matches!(&select.group_by, GroupByExpr::Expressions(by, with) if by.is_empty() && with.is_empty())
        && matches!(select.distinct, None | Some(Distinct::All | Distinct::Distinct))
        && select.having.is_none()
        && select.qualify.is_none()
        // An aggregate gives a row where there is none, and which functions are aggregates is not known here.
        && !select.projection.iter().any(has_call);
    if has_limit || !is_plain {
        return false;
    }
    let all = call("count", [FunctionArgExpr::Wildcard], vec![]);
    select.distinct = None;
    select.projection = vec![SelectItem::UnnamedExpr(all)];
    query.order_by = None;
    true
}
