//! The names that a list behind an alias gives the columns of a query: `WITH r (n) AS (...)`, `(SELECT ...) AS q (n)`.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    AccessExpr, BinaryOperator, Distinct, Expr, FunctionArguments, Ident, ObjectName, Query, Select, SelectItem,
    SetExpr, Subscript, TableAlias, TableFactor, TableWithJoins, visit_expressions, visit_relations,
};

use super::{columns, fields, spelled};
use crate::parse::select_all_from;

/// The name of a query whose columns get others; no table of a statement has it.
const ALIAS: &str = "fleuve named";

/// Prepares a query for the list of its alias: its own names may repeat. What refers to itself must have the names already: DataFusion
/// (54.1) gives them only to what is outside of the recursion.
pub(super) fn entitle(query: &mut Query, alias: &TableAlias, recursive: bool, edition: u32) {
    if alias.columns.is_empty() {
        return;
    }
    unique(&mut query.body, edition);
    if recursive
        && let SetExpr::SetOperation { left, right, .. } = query.body.as_mut()
        && reads(right, &spelled(&alias.name))
    {
        let wanted: Vec<String> = alias.columns.iter().map(|c| spelled(&c.name)).collect();
        if columns::own_names(left).is_some_and(|own| own == wanted) {
            return;
        }
        let mut inner = select_all_from(ObjectName::from(vec![Ident::new("x")]));
        let mut around = inner.body.clone();
        std::mem::swap(left, &mut inner.body);
        if let SetExpr::Select(select) = around.as_mut()
            && let Some(TableWithJoins { relation, .. }) = select.from.first_mut()
        {
            let alias = Some(TableAlias { name: Ident::with_quote('"', ALIAS), ..alias.clone() });
            *relation = TableFactor::Derived { lateral: false, subquery: Box::new(inner), alias, sample: None };
        }
        *left = around;
    }
}

/// True if a query reads a table of that name.
pub(super) fn reads(body: &SetExpr, name: &str) -> bool {
    let found = visit_relations(body, |relation| match relation.0.as_slice() {
        [part] if part.as_ident().is_some_and(|i| spelled(i) == name) => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    found.is_break()
}

/// What the columns of an answer are to be called whose names were repeated, by the names that they have got.
pub(crate) type Titles = HashMap<String, String>;

/// Gives the columns of a query that have the name of one before another one, and says what they were called.
pub(crate) fn unique(body: &mut SetExpr, edition: u32) -> Titles {
    match body {
        SetExpr::Select(select) => unique_items(select, edition),
        SetExpr::SetOperation { left, right, .. } => {
            unique(right, edition);
            unique(left, edition)
        }
        SetExpr::Query(query) => unique(&mut query.body, edition),
        _ => Titles::new(),
    }
}

const FRESH: &str = "fleuve column ";

/// A name for the item of a select list at a place that nothing else there has.
pub(super) fn fresh(place: usize) -> Ident {
    Ident::with_quote('"', format!("{FRESH}{}", place + 1))
}

/// A name for a column that is to be called as another one is.
pub(super) fn repeated(title: String, titles: &mut Titles) -> Ident {
    let name = format!("fleuve repeated {}", titles.len() + 1);
    titles.insert(name.clone(), title);
    Ident::with_quote('"', name)
}

/// True for what [`fresh`] gives.
pub(super) fn is_fresh(name: &Ident) -> bool {
    name.value.starts_with(FRESH)
}

/// True for what DataFusion (54.1) may call as something else: its names leave out casts and what is in subqueries, and some things are said by
/// others.
fn is_vague(expr: &Expr) -> bool {
    let found = visit_expressions(expr, |e| match e {
        Expr::Cast { .. }
        | Expr::TypedString(_)
        | Expr::Subquery(_)
        | Expr::Exists { .. }
        | Expr::InSubquery { .. } => ControlFlow::Break(()),
        Expr::Function(f) if matches!(f.args, FunctionArguments::Subquery(_)) => ControlFlow::Break(()),
        Expr::BinaryOp { op: BinaryOperator::ArrowAt, .. } => ControlFlow::Break(()),
        Expr::CompoundFieldAccess { access_chain, .. } if access_chain.iter().any(is_open) => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    found.is_break()
}

/// True for a slice without a bound.
fn is_open(access: &AccessExpr) -> bool {
    let AccessExpr::Subscript(Subscript::Slice { lower_bound, upper_bound, .. }) = access else { return false };
    lower_bound.is_none() || upper_bound.is_none()
}

fn unique_items(select: &mut Select, edition: u32) -> Titles {
    let (mut seen, mut titles) = (HashSet::new(), Titles::new());
    // DataFusion (54.1) wants to find what is ordered by among the columns as they were.
    if matches!(select.distinct, Some(Distinct::On(_))) {
        return titles;
    }
    for (i, item) in select.projection.iter_mut().enumerate() {
        let (name, title) = match (fields::output_name(item), &*item) {
            (Some(name), _) => (spelled(name), spelled(name)),
            (None, SelectItem::UnnamedExpr(expr)) => (format!(" {expr}"), expr.to_string()),
            (None, _) => continue,
        };
        let vague = edition > 0 && matches!(&*item, SelectItem::UnnamedExpr(expr) if is_vague(expr));
        if seen.insert(name) && !vague {
            continue;
        }
        let fresh = fresh(i);
        titles.insert(fresh.value.clone(), title);
        match item {
            SelectItem::UnnamedExpr(expr) => {
                *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias: fresh };
            }
            SelectItem::ExprWithAlias { alias, .. } => *alias = fresh,
            _ => {}
        }
    }
    titles
}
