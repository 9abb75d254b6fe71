//! Fields of structs as PostgreSQL spells and names them: `(bid).price` is read, and it and `bid.price` give a column `price`. So does the
//! cast of a column.

use std::collections::HashMap;

use datafusion::sql::sqlparser::ast::{
    AccessExpr, Expr, Ident, OrderBy, OrderByExpr, OrderByKind, Select, SelectItem, SetExpr, TableFactor,
    TableWithJoins, Value, ValueWithSpan,
};

use super::{alias_of, spelled};

/// `(bid).price`, which DataFusion knows as `(bid)['price']` only, and `t.list[1]`, which it knows as an element of the column `t.list`
/// only.
pub(super) fn respell(root: &mut Expr, chain: &mut Vec<AccessExpr>) {
    if let Expr::Identifier(first) = root {
        // Without brackets around the first name these are the parts of one name.
        let dots = chain.iter().take_while(|a| matches!(a, AccessExpr::Dot(Expr::Identifier(_)))).count();
        if dots > 0 && dots < chain.len() {
            let rest = chain.drain(..dots).filter_map(|access| match access {
                AccessExpr::Dot(Expr::Identifier(part)) => Some(part),
                _ => None,
            });
            *root = Expr::CompoundIdentifier(std::iter::once(first.clone()).chain(rest).collect());
        }
    }
    for access in chain {
        if let AccessExpr::Dot(Expr::Identifier(field)) = access {
            let value = Value::SingleQuotedString(spelled(field));
            *access = AccessExpr::Dot(Expr::Value(ValueWithSpan { value, span: field.span }));
        }
    }
}

/// Names the items of a select list that are fields, where the name is nobody else's.
pub(super) fn name(select: &mut Select) {
    let tables: Vec<String> = select.from.iter().flat_map(table_names).collect();
    name_where(select, |expr| is_field(expr, &tables));
}

fn name_where(select: &mut Select, is_meant: impl Fn(&Expr) -> bool) {
    let mut given: HashMap<String, usize> = HashMap::new();
    for item in &select.projection {
        if let Some(name) = output_name(item) {
            *given.entry(spelled(name)).or_default() += 1;
        }
    }
    for item in &mut select.projection {
        let Some(alias) = output_name(item).cloned() else { continue };
        if let SelectItem::UnnamedExpr(expr) = item
            && is_meant(expr)
            && given[&spelled(&alias)] == 1
        {
            *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias };
        }
    }
}

/// Names the casts of columns (`id::text` is `id`), where the name is nobody else's and nothing behind the select list could take it for the
/// column of the table.
pub(super) fn name_casts(body: &mut SetExpr, order_by: Option<&OrderBy>) {
    let plain = |e: &OrderByExpr| matches!(e.expr, Expr::Identifier(_) | Expr::Value(_));
    let computes = order_by.is_some_and(|o| match &o.kind {
        OrderByKind::Expressions(exprs) => !exprs.iter().all(plain),
        OrderByKind::All(_) => false,
    });
    match body {
        SetExpr::Select(select) if !computes && select.having.is_none() && select.qualify.is_none() => {
            name_where(select, |expr| matches!(expr, Expr::Cast { .. }));
        }
        SetExpr::SetOperation { left, .. } => name_casts(left, None),
        _ => {}
    }
}

/// The name that PostgreSQL gives a column of the result, if it comes from a name.
pub(super) fn output_name(item: &SelectItem) -> Option<&Ident> {
    match item {
        SelectItem::ExprWithAlias { alias, .. } => Some(alias),
        SelectItem::UnnamedExpr(expr) => name_of_expr(expr),
        _ => None,
    }
}

/// The name that an item was given.
pub(super) fn output_alias(item: &SelectItem) -> Option<&Ident> {
    match item {
        SelectItem::ExprWithAlias { alias, .. } => Some(alias),
        _ => None,
    }
}

/// The name of a column or field, also of one that is cast.
pub(super) fn name_of_expr(expr: &Expr) -> Option<&Ident> {
    match expr {
        Expr::Nested(inner) => name_of_expr(inner),
        Expr::Identifier(name) => Some(name),
        Expr::CompoundIdentifier(parts) => parts.last(),
        Expr::Cast { expr, .. } => name_of_expr(expr),
        Expr::CompoundFieldAccess { access_chain, .. } => match access_chain.last()? {
            AccessExpr::Dot(Expr::Identifier(name)) => Some(name),
            _ => None,
        },
        _ => None,
    }
}

/// True for a field of a struct, false for a column of a table.
fn is_field(expr: &Expr, tables: &[String]) -> bool {
    match expr {
        Expr::CompoundFieldAccess { .. } => true,
        Expr::CompoundIdentifier(parts) => {
            let columns_at = usize::from(parts.first().is_some_and(|first| tables.contains(&spelled(first))));
            // More than two parts that begin with no table of this FROM can be namespace.table.column.
            parts.len() == columns_at + 2
        }
        _ => false,
    }
}

fn table_names(from: &TableWithJoins) -> Vec<String> {
    let factors = std::iter::once(&from.relation).chain(from.joins.iter().map(|j| &j.relation));
    factors.flat_map(factor_names).collect()
}

/// The names by which columns say that they are of an item of `FROM`.
pub(crate) fn factor_names(factor: &TableFactor) -> Vec<String> {
    match (alias_of(factor), factor) {
        (Some(alias), _) => vec![spelled(&alias.name)],
        (None, TableFactor::Table { name, .. }) => {
            name.0.last().and_then(|p| p.as_ident()).map(spelled).into_iter().collect()
        }
        (None, TableFactor::NestedJoin { table_with_joins, .. }) => table_names(table_with_joins),
        _ => vec![],
    }
}
