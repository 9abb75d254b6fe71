//! The names of the columns of tables and queries, as far as their text tells.

use std::collections::HashMap;

use datafusion::sql::sqlparser::ast::{
    ExcludeSelectItem, FunctionArg, FunctionArgExpr, JoinConstraint, ObjectName, Query, Select, SelectItem,
    SelectItemQualifiedWildcardKind, SetExpr, TableAlias, TableFactor, TableWithJoins, WildcardAdditionalOptions,
};

use super::{Expr, Relations, alias_of, fields, is_marked, joins, mentions, names, spelled, windows};
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
        match fields::output_name(item) {
            Some(name) => out.push(spelled(name)),
            None => out.extend(of_wildcard(item, select, |f| of_factor(f, relations, ctes))?),
        }
    }
    Some(out)
}

/// The columns that all wildcards of a select list stand for.
pub(super) fn of_wildcards(select: &Select, relations: &dyn Relations, ctes: &Ctes) -> Columns {
    let one = |item| of_wildcard(item, select, |f| of_factor(f, relations, ctes));
    select.projection.iter().map(one).collect::<Option<Vec<_>>>().map(|lists| lists.concat())
}

/// The columns that each wildcard of a select list stands for, before its tables were looked up.
pub(super) fn of_stars(select: &Select, relations: &dyn Relations, ctes: &Ctes) -> Option<Vec<Vec<String>>> {
    if select.from.iter().any(merges) {
        return None;
    }
    let is_star = |i: &&SelectItem| matches!(i, SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..));
    let stars = select.projection.iter().filter(is_star);
    stars.map(|star| of_wildcard(star, select, |f| of_new_factor(f, relations, ctes))).collect()
}

/// The columns of all tables of a `SELECT`, before these were looked up.
pub(super) fn of_all(select: &Select, relations: &dyn Relations, ctes: &Ctes) -> Columns {
    let factors = select.from.iter().flat_map(factors_of);
    factors.map(|f| of_new_factor(f, relations, ctes)).collect::<Option<Vec<_>>>().map(|lists| lists.concat())
}

/// True where not each table gives all of its columns.
fn merges(from: &TableWithJoins) -> bool {
    let inside = |factor: &TableFactor| match factor {
        TableFactor::NestedJoin { table_with_joins, .. } => merges(table_with_joins),
        _ => false,
    };
    let joins = from.joins.iter().any(|join| {
        let merged = match mentions::constraint(&join.join_operator) {
            None | Some(JoinConstraint::Using(_) | JoinConstraint::Natural) => true,
            Some(JoinConstraint::On(_) | JoinConstraint::None) => false,
        };
        merged || !joins::gives_both(&join.join_operator) || inside(&join.relation)
    });
    joins || inside(&from.relation)
}

/// The columns of an item of `FROM` that was not rewritten yet.
fn of_new_factor(factor: &TableFactor, relations: &dyn Relations, ctes: &Ctes) -> Columns {
    if let Some(names) = alias_of(factor).and_then(listed) {
        return Some(names);
    }
    match factor {
        TableFactor::Table { name, args: None, .. } => {
            let name = name_of(name).ok()?;
            let scope = ctes.iter().rev().find(|scope| name.namespace.is_none() && scope.contains_key(&name.name));
            match scope {
                Some(scope) => scope.get(&name.name).cloned().flatten(),
                None => relations.columns(name.namespace(), &name.name),
            }
        }
        TableFactor::Derived { subquery, .. } => names::of_query(subquery, relations, ctes),
        _ => None,
    }
}

fn of_wildcard(item: &SelectItem, select: &Select, of: impl Fn(&TableFactor) -> Columns) -> Columns {
    match item {
        SelectItem::Wildcard(options) => {
            let factors = select.from.iter().flat_map(factors_of);
            let lists: Vec<_> = factors.map(of).collect::<Option<_>>()?;
            without(lists.concat(), options)
        }
        SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), options) => {
            let factor = select.from.iter().flat_map(factors_of).find(|f| answers(f, name))?;
            without(of(factor)?, options)
        }
        SelectItem::QualifiedWildcard(..) => None,
        _ => Some(Vec::new()),
    }
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
