//! The names of the columns of tables and queries, as far as their text tells.

use std::collections::HashMap;

use datafusion::sql::sqlparser::ast::{
    ExcludeSelectItem, FunctionArg, FunctionArgExpr, ObjectName, Query, Select, SelectItem,
    SelectItemQualifiedWildcardKind, SetExpr, TableAlias, TableFactor, TableWithJoins, WildcardAdditionalOptions,
};

use super::{Expr, Relations, alias_of, fields, is_marked, spelled, windows};
use crate::parse::name_of;
use crate::window::WINDOW_COLUMNS;

/// Names, or none where they cannot be told. Columns that have no name to be called by are left out.
pub(super) type Columns = Option<Vec<String>>;

/// The `WITH` names in scope and their columns, outermost first.
pub(super) type Ctes = [HashMap<String, Columns>];

/// The names that an alias lists.
pub(super) fn listed(alias: &TableAlias) -> Columns {
    (!alias.columns.is_empty()).then(|| alias.columns.iter().map(|c| spelled(&c.name)).collect())
}

/// The names that a query's select list has, where it has no `*` and each item a name.
pub(super) fn own_names(body: &SetExpr) -> Columns {
    let SetExpr::Select(select) = body else { return None };
    select.projection.iter().map(|item| fields::output_name(item).map(spelled)).collect()
}

/// The columns of a query.
pub(super) fn of_query(query: &Query, relations: &dyn Relations, ctes: &Ctes) -> Columns {
    match &query.with {
        // Its own names were looked at when it was rewritten, and are gone.
        Some(_) => of_body(&query.body, relations, &[]),
        None => of_body(&query.body, relations, ctes),
    }
}

fn of_body(body: &SetExpr, relations: &dyn Relations, ctes: &Ctes) -> Columns {
    match body {
        SetExpr::Select(select) => of_select(select, relations, ctes),
        SetExpr::SetOperation { left, .. } => of_body(left, relations, ctes),
        SetExpr::Query(query) => of_query(query, relations, ctes),
        SetExpr::Values(values) => {
            let first = values.rows.first()?;
            Some((1..=first.len()).map(|i| format!("column{i}")).collect())
        }
        _ => None,
    }
}

fn of_select(select: &Select, relations: &dyn Relations, ctes: &Ctes) -> Columns {
    let mut out = Vec::new();
    for item in &select.projection {
        match item {
            SelectItem::Wildcard(options) => {
                for from in &select.from {
                    out.extend(without(of_from(from, relations, ctes)?, options)?);
                }
            }
            SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), options) => {
                let factors = select.from.iter().flat_map(factors_of);
                let factor = factors.into_iter().find(|f| answers(f, name))?;
                out.extend(without(of_factor(factor, relations, ctes)?, options)?);
            }
            other => out.extend(fields::output_name(other).map(spelled)),
        }
    }
    Some(out)
}

fn without(columns: Vec<String>, options: &WildcardAdditionalOptions) -> Columns {
    if options.opt_except.is_some() || options.opt_replace.is_some() || options.opt_rename.is_some() {
        return None;
    }
    let left_out: Vec<String> = match &options.opt_exclude {
        None => return Some(columns),
        Some(ExcludeSelectItem::Single(one)) => last(one).into_iter().collect(),
        Some(ExcludeSelectItem::Multiple(many)) => many.iter().filter_map(last).collect(),
    };
    Some(columns.into_iter().filter(|c| !left_out.contains(c)).collect())
}

fn last(name: &ObjectName) -> Option<String> {
    name.0.last().and_then(|p| p.as_ident()).map(spelled)
}

fn answers(factor: &TableFactor, name: &ObjectName) -> bool {
    match (alias_of(factor), factor) {
        (Some(alias), _) => name.0.len() == 1 && last(name) == Some(spelled(&alias.name)),
        (None, TableFactor::Table { name: own, .. }) => last(own) == last(name),
        _ => false,
    }
}

/// The items of a `FROM`, those in brackets too.
pub(super) fn factors_of(from: &TableWithJoins) -> Vec<&TableFactor> {
    let mut out = Vec::new();
    for factor in std::iter::once(&from.relation).chain(from.joins.iter().map(|j| &j.relation)) {
        match factor {
            TableFactor::NestedJoin { table_with_joins, alias: None } => out.extend(factors_of(table_with_joins)),
            other => out.push(other),
        }
    }
    out
}

fn of_from(from: &TableWithJoins, relations: &dyn Relations, ctes: &Ctes) -> Columns {
    let all: Option<Vec<_>> = factors_of(from).into_iter().map(|f| of_factor(f, relations, ctes)).collect();
    all.map(|lists| lists.concat())
}

/// The columns of one item of `FROM`, without pseudo-columns.
pub(super) fn of_factor(factor: &TableFactor, relations: &dyn Relations, ctes: &Ctes) -> Columns {
    if let Some(names) = alias_of(factor).and_then(listed) {
        return Some(names);
    }
    match factor {
        TableFactor::Table { name, args: None, .. } if is_marked(name) => {
            let name = name_of(name).ok()?;
            relations.columns(name.namespace(), &name.name)
        }
        TableFactor::Table { name, args: None, .. } => {
            let [part] = name.0.as_slice() else { return None };
            let name = spelled(part.as_ident()?);
            ctes.iter().rev().find_map(|scope| scope.get(&name)).cloned().flatten()
        }
        TableFactor::Table { args: Some(args), .. } if windows::is_window(factor) => {
            let FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Subquery(query))) = args.args.first()? else {
                return None;
            };
            let mut columns = of_query(query, relations, ctes)?;
            columns.extend(WINDOW_COLUMNS.map(str::to_string));
            Some(columns)
        }
        TableFactor::Derived { subquery, .. } => of_query(subquery, relations, ctes),
        _ => None,
    }
}
