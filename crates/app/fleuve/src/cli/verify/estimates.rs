//! Which columns of a query are estimates that depend on the order of the rows: a view, that takes them as they come, has others than the
//! batch answer.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, OrderByKind, Query, Select, SelectItem, SetExpr, SetOperator, SetQuantifier, Value, Visit, visit_expressions,
};
use fleuve_sql::parse::{Statement, parse};

/// Aggregates that estimate so: t-digests.
const ESTIMATES: [&str; 3] = ["approx_median", "approx_percentile_cont", "approx_percentile_cont_with_weight"];

/// Where a query estimates.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Estimates {
    /// In columns of its answer, by their places.
    pub columns: Vec<usize>,
    /// The function that is called elsewhere, so that it may decide which rows there are.
    pub elsewhere: Option<&'static str>,
}

/// Those of a query whose answer has so many columns.
pub fn estimates(query: &str, width: usize) -> Estimates {
    let Ok(mut parsed) = parse(query) else { return Estimates::default() };
    let Some(Statement::Query(query)) = parsed.pop().map(|p| p.statement) else { return Estimates::default() };
    let mut of_answer = Estimates::default();
    let mut shown = 0;
    for select in selects(&query.body) {
        for (place, item) in places(select, width) {
            let calls = calls(item);
            shown += calls.len();
            if !calls.is_empty() && !of_answer.columns.contains(&place) {
                of_answer.columns.push(place);
            }
        }
    }
    let all = calls(query.as_ref());
    let decide = all.len() > shown || !all.is_empty() && decides(&query, &of_answer.columns);
    of_answer.elsewhere = if decide { all.into_iter().next() } else { None };
    of_answer
}

/// True where estimates in these columns of a query's answer may decide which rows there are.
fn decides(query: &Query, columns: &[usize]) -> bool {
    let is_cut = query.limit_clause.is_some() || query.fetch.is_some();
    is_cut && is_sorted_by(query, columns) || body_decides(&query.body, columns)
}

fn is_sorted_by(query: &Query, columns: &[usize]) -> bool {
    let titles = titles(&query.body);
    let is_meant = |by: &Expr| is_place(by, columns) || names(by, &titles);
    match query.order_by.as_ref().map(|order| &order.kind) {
        Some(OrderByKind::Expressions(order)) => order.iter().any(|by| is_meant(&by.expr)),
        Some(OrderByKind::All(_)) => true,
        None => false,
    }
}

/// Where rows are told apart by them, or are kept by a condition that names them.
fn body_decides(body: &SetExpr, columns: &[usize]) -> bool {
    match body {
        SetExpr::Select(select) => {
            let titles = titles(body);
            let conditions = [&select.having, &select.qualify];
            !calls(&select.projection).is_empty() && select.distinct.is_some()
                || conditions.into_iter().flatten().any(|condition| names(condition, &titles))
        }
        SetExpr::SetOperation { op, set_quantifier, left, right } => {
            let is_all = matches!(set_quantifier, SetQuantifier::All | SetQuantifier::AllByName);
            !(is_all && *op == SetOperator::Union) || body_decides(left, columns) || body_decides(right, columns)
        }
        SetExpr::Query(query) => decides(query, columns),
        _ => false,
    }
}

/// What columns with estimates are called.
fn titles<'s>(body: &'s SetExpr) -> Vec<&'s str> {
    let items = selects(body).into_iter().flat_map(|select| &select.projection);
    let title = |item: &'s SelectItem| match item {
        SelectItem::ExprWithAlias { expr, alias } if !calls(expr).is_empty() => Some(alias.value.as_str()),
        _ => None,
    };
    items.filter_map(title).collect()
}

/// True for `ORDER BY 2`, if that is one of the columns.
fn is_place(by: &Expr, columns: &[usize]) -> bool {
    let Expr::Value(value) = by else { return false };
    let Value::Number(place, _) = &value.value else { return false };
    columns.iter().any(|column| *place == (column + 1).to_string())
}

fn names(expr: &Expr, titles: &[&str]) -> bool {
    let found = visit_expressions(expr, |e| match e {
        Expr::Identifier(name) if titles.iter().any(|title| title.eq_ignore_ascii_case(&name.value)) => {
            ControlFlow::Break(())
        }
        _ => ControlFlow::Continue(()),
    });
    found.is_break()
}

/// Each SELECT whose list is among the answer's columns.
fn selects(body: &SetExpr) -> Vec<&Select> {
    match body {
        SetExpr::Select(select) => vec![select],
        SetExpr::SetOperation { left, right, .. } => [selects(left), selects(right)].concat(),
        SetExpr::Query(query) => selects(&query.body),
        _ => vec![],
    }
}

/// The items of a list in front of its first `*` and behind its last one, with their places.
fn places(select: &Select, width: usize) -> Vec<(usize, &Expr)> {
    let items = &select.projection;
    let is_star = |item: &SelectItem| matches!(item, SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..));
    let first = items.iter().position(is_star).unwrap_or(items.len());
    let last = items.iter().rposition(is_star);
    let all = items.iter().enumerate().filter_map(|(at, item)| {
        let expr = match item {
            SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => expr,
            _ => return None,
        };
        match last {
            Some(last) if at > last => Some((width.checked_sub(items.len() - at)?, expr)),
            _ => (at < first).then_some((at, expr)),
        }
    });
    all.collect()
}

/// The calls of such functions in a part of a query.
fn calls(node: &impl Visit) -> Vec<&'static str> {
    let mut found = vec![];
    let _: ControlFlow<()> = visit_expressions(node, |expr| {
        if let Expr::Function(call) = expr {
            let name = call.name.to_string().to_lowercase();
            found.extend(ESTIMATES.iter().find(|estimate| **estimate == name));
        }
        ControlFlow::Continue(())
    });
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn estimates_are_found_by_their_places() {
        let at = |columns: &[usize]| Estimates { columns: columns.to_vec(), elsewhere: None };
        for (query, width, wanted) in [
            ("SELECT k, approx_median(v), count(*) FROM t GROUP BY k", 3, at(&[1])),
            ("SELECT *, round(approx_percentile_cont(v, 0.9)) AS p, 1 FROM t", 5, at(&[3])),
            ("SELECT k, 1.5 FROM t UNION ALL SELECT 1, APPROX_MEDIAN(v) FROM t", 2, at(&[1])),
            ("SELECT approx_distinct(v), median(v) FROM t", 2, at(&[])),
            ("SELECT DISTINCT k FROM t ORDER BY k LIMIT 1", 1, at(&[])),
            ("SELECT k, approx_median(v) AS m FROM t GROUP BY k ORDER BY m", 2, at(&[1])),
            ("SELECT k, approx_median(v) AS m FROM t GROUP BY k ORDER BY k, 1 LIMIT 3", 2, at(&[1])),
        ] {
            assert_eq!(estimates(query, width), wanted, "{query}");
        }
        for query in [
            "SELECT k FROM t GROUP BY k HAVING approx_median(v) > 1",
            "SELECT m FROM (SELECT approx_median(v) AS m FROM t) q",
            "WITH q AS (SELECT approx_median(v) AS m FROM t) SELECT approx_median(m) FROM q",
            "SELECT k, approx_median(v) AS m FROM t GROUP BY k ORDER BY m LIMIT 3",
            "SELECT approx_median(v), k FROM t GROUP BY k ORDER BY k, 1 DESC FETCH FIRST 3 ROWS ONLY",
            "SELECT k FROM t UNION ALL (SELECT approx_median(v) AS m FROM t GROUP BY k ORDER BY - m LIMIT 1)",
            "SELECT DISTINCT approx_median(v) FROM t GROUP BY k",
            "SELECT k FROM t UNION SELECT approx_median(v) FROM t",
            "SELECT approx_median(v) FROM t INTERSECT ALL SELECT k FROM t",
            "SELECT k, approx_median(v) AS m FROM t GROUP BY k HAVING m > 1",
        ] {
            assert_eq!(estimates(query, 1).elsewhere, Some("approx_median"), "{query}");
        }
    }
}
