//! `(SELECT name FROM r WHERE r.k = s.k ORDER BY ts DESC LIMIT 1)`: the first row for each row outside. DataFusion (54.1) plans such a
//! subquery only if it is an aggregate, and `first_value` is the same.

use datafusion::sql::sqlparser::ast::{
    Expr, FunctionArgExpr, FunctionArgumentClause, GroupByExpr, LimitClause, OrderByKind, Query, SelectItem, SetExpr,
    Value, visit_expressions,
};
use std::ops::ControlFlow;

use super::spelled;
use super::tree::{call, has_call, table_name};

/// Makes an aggregate of a subquery for one value that refers to the tables outside of it and takes the first row.
pub(super) fn as_aggregate(expr: &mut Expr) {
    if let Expr::Subquery(query) = expr
        && takes_first(query)
        && let Some(()) = rewrite(query)
    {
        query.order_by = None;
        query.limit_clause = None;
    }
}

fn takes_first(query: &Query) -> bool {
    let Some(LimitClause::LimitOffset { limit: Some(Expr::Value(one)), offset: None, limit_by }) = &query.limit_clause
    else {
        return false;
    };
    let is_one = matches!(&one.value, Value::Number(n, _) if n == "1");
    is_one && limit_by.is_empty() && query.with.is_none() && query.fetch.is_none()
}

/// Puts `first_value` around the one value; `None` where that is not the same.
fn rewrite(query: &mut Query) -> Option<()> {
    let order = match query.order_by.as_ref().map(|o| &o.kind) {
        None => vec![],
        Some(OrderByKind::Expressions(exprs)) => exprs.clone(),
        Some(OrderByKind::All(_)) => return None,
    };
    let SetExpr::Select(select) = query.body.as_mut() else { return None };
    let is_plain = select.distinct.is_none()
        && select.having.is_none()
        && select.qualify.is_none()
        && matches!(&select.group_by, GroupByExpr::Expressions(by, with) if by.is_empty() && with.is_empty());
    let tables =
        select.from.iter().flat_map(|f| std::iter::once(&f.relation).chain(f.joins.iter().map(|j| &j.relation)));
    let tables: Vec<String> = tables.filter_map(table_name).collect();
    let condition = select.selection.as_ref()?;
    if !is_plain || !refers_outside(condition, &tables) {
        return None;
    }
    let [item] = select.projection.as_mut_slice() else { return None };
    let (value, name) = match &*item {
        SelectItem::UnnamedExpr(e @ Expr::Identifier(name)) => (e.clone(), name.clone()),
        SelectItem::UnnamedExpr(e @ Expr::CompoundIdentifier(parts)) => (e.clone(), parts.last()?.clone()),
        SelectItem::ExprWithAlias { expr, alias } if !has_call(expr) => (expr.clone(), alias.clone()),
        _ => return None,
    };
    // A number or an alias of the select list means something else within a call.
    let means_the_same = |e: &Expr| match e {
        Expr::Value(_) => false,
        Expr::Identifier(i) => matches!(&value, Expr::Identifier(own) if own == i) || spelled(i) != spelled(&name),
        _ => true,
    };
    if !order.iter().all(|o| means_the_same(&o.expr)) {
        return None;
    }
    let clauses = if order.is_empty() { vec![] } else { vec![FunctionArgumentClause::OrderBy(order)] };
    let first = call("first_value", [FunctionArgExpr::Expr(value)], clauses);
    *item = SelectItem::ExprWithAlias { expr: first, alias: name };
    Some(())
}

/// True if a condition names a table that is none of `tables`.
fn refers_outside(condition: &Expr, tables: &[String]) -> bool {
    let found = visit_expressions(condition, |e| match e {
        Expr::CompoundIdentifier(parts) if parts.len() == 2 && !tables.contains(&spelled(&parts[0])) => {
            ControlFlow::Break(())
        }
        _ => ControlFlow::Continue(()),
    });
    found.is_break()
}
