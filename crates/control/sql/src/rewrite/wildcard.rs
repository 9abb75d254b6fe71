//! `*` and `t.*`: the full name for `t`, and without the pseudo-columns that are visible only because something names them.

use std::collections::HashSet;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    ExcludeSelectItem, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, ObjectName,
    ObjectNamePart, Select, SelectItem, SelectItemQualifiedWildcardKind, WildcardAdditionalOptions,
};
use fleuve_types::{Error, Result, is_pseudo_column};

use super::joins::{Piece, Scope};
use super::tree::change_own;
use super::{place_of, spelled};

/// Writes out the wildcards of a select list.
pub(super) fn expand(select: &mut Select, scope: &Scope) -> Result<()> {
    let mut projection = Vec::with_capacity(select.projection.len());
    for item in std::mem::take(&mut select.projection) {
        match item {
            SelectItem::Wildcard(options) if scope.expands => expand_star(&options, scope, &mut projection)?,
            SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), mut options) => {
                let source = scope.sources.iter().find(|s| s.answers_to(&name));
                let name = source.map_or(name, |s| s.qualifier.clone());
                exclude(&mut options, source.map_or(&[][..], |s| &s.hidden));
                projection
                    .push(SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), options));
            }
            other => projection.push(other),
        }
    }
    select.projection = projection;
    Ok(())
}

fn expand_star(options: &WildcardAdditionalOptions, scope: &Scope, out: &mut Vec<SelectItem>) -> Result<()> {
    if let [only] = scope.sources.as_slice() {
        let mut options = options.clone();
        exclude(&mut options, &only.hidden);
        out.push(SelectItem::Wildcard(options));
        return Ok(());
    }
    let left_out = left_out(options)?;
    for piece in &scope.pieces {
        match piece {
            Piece::Merged { name, .. } if is_pseudo_column(name) || left_out.contains(name) => {}
            Piece::Merged { name, expr } => out.push(match expr.as_ref() {
                column @ Expr::CompoundIdentifier(_) => SelectItem::UnnamedExpr(column.clone()),
                expr => SelectItem::ExprWithAlias { expr: expr.clone(), alias: Ident::with_quote('"', name) },
            }),
            Piece::Rest { source, taken } => {
                let source = &scope.sources[*source];
                let mut hidden: Vec<String> = source.hidden.iter().chain(taken).cloned().collect();
                match &source.columns {
                    Some(columns) => {
                        hidden.extend(columns.iter().filter(|c| left_out.contains(*c)).cloned());
                        if columns.iter().all(|c| hidden.contains(c)) {
                            continue;
                        }
                    }
                    None if left_out.is_empty() => {}
                    None => return Err(too_much()),
                }
                let mut options = WildcardAdditionalOptions::default();
                exclude(&mut options, &hidden);
                let kind = SelectItemQualifiedWildcardKind::ObjectName(source.qualifier.clone());
                out.push(SelectItem::QualifiedWildcard(kind, options));
            }
        }
    }
    Ok(())
}

fn too_much() -> Error {
    Error::unsupported("* with this clause, over several tables with USING, NATURAL or a pseudo-column that is named")
        .hint("write table.* for each table, or name the columns")
}

/// The columns that `* EXCLUDE (...)` leaves out.
fn left_out(options: &WildcardAdditionalOptions) -> Result<HashSet<String>> {
    let plain = options.opt_except.is_none()
        && options.opt_replace.is_none()
        && options.opt_rename.is_none()
        && options.opt_ilike.is_none();
    if !plain {
        return Err(too_much());
    }
    let names = match &options.opt_exclude {
        None => &[][..],
        Some(ExcludeSelectItem::Single(one)) => std::slice::from_ref(one),
        Some(ExcludeSelectItem::Multiple(many)) => many.as_slice(),
    };
    names
        .iter()
        .map(|name| match name.0.as_slice() {
            [ObjectNamePart::Identifier(ident)] => Ok(spelled(ident)),
            _ => Err(too_much()),
        })
        .collect()
}

/// True if something counts `table.*`.
pub(super) fn counts_rows_of_one(select: &Select) -> bool {
    let found = datafusion::sql::sqlparser::ast::visit_expressions(select, |e| match e {
        Expr::Function(f) if counted(f).is_some() => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    found.is_break()
}

/// The table of `count(table.*)`.
fn counted(f: &Function) -> Option<&ObjectName> {
    let [ObjectNamePart::Identifier(name)] = f.name.0.as_slice() else { return None };
    let FunctionArguments::List(list) = &f.args else { return None };
    match list.args.as_slice() {
        [FunctionArg::Unnamed(FunctionArgExpr::QualifiedWildcard(table))] if spelled(name) == "count" => Some(table),
        _ => None,
    }
}

/// `count(t.*)` counts the rows that have a row of `t`. Without an outer join that are all, and DataFusion (54.1) counts all anyway.
///
/// # Errors
/// Where it is not the number of all rows.
pub(super) fn count_rows(select: &mut Select, scope: &Scope) -> Result<()> {
    let from = std::mem::take(&mut select.from);
    let done = change_own(select, |expr| count_of_all(expr, scope));
    select.from = from;
    done
}

fn count_of_all(expr: &mut Expr, scope: &Scope) -> Result<()> {
    let Expr::Function(f) = expr else { return Ok(()) };
    let Some(table) = counted(f).cloned() else { return Ok(()) };
    let shown = table.to_string();
    let at = table.0.first().and_then(|p| p.as_ident()).map(place_of).unwrap_or_default();
    let FunctionArguments::List(list) = &mut f.args else { return Ok(()) };
    let source = scope.sources.iter().find(|s| s.answers_to(&table));
    let column = source.and_then(|s| s.columns.as_ref()).and_then(|c| c.first()).map_or("column", String::as_str);
    let refused = |what: &str| {
        let table = shown.trim_end_matches(".*");
        let hint = format!("name a column that is never NULL, as in count({table}.{column})");
        Err(Error::unsupported(format!("count({table}.*) {what}")).at(at.clone()).hint(hint))
    };
    match source {
        None => refused("is of a table that FROM does not have"),
        Some(_) if list.duplicate_treatment.is_some() => refused("cannot be DISTINCT"),
        Some(source) if source.nullable => refused("is of a table that an outer join may leave without a row"),
        Some(_) => {
            list.args = vec![FunctionArg::Unnamed(FunctionArgExpr::Wildcard)];
            Ok(())
        }
    }
}

fn exclude(options: &mut WildcardAdditionalOptions, hidden: &[String]) {
    if hidden.is_empty() {
        return;
    }
    let mut all: Vec<ObjectName> = match options.opt_exclude.take() {
        None => vec![],
        Some(ExcludeSelectItem::Single(one)) => vec![one],
        Some(ExcludeSelectItem::Multiple(many)) => many,
    };
    for column in hidden {
        let is_there =
            |n: &ObjectName| matches!(n.0.as_slice(), [ObjectNamePart::Identifier(i)] if spelled(i) == *column);
        if !all.iter().any(is_there) {
            all.push(ObjectName::from(vec![Ident::new(column)]));
        }
    }
    options.opt_exclude = Some(ExcludeSelectItem::Multiple(all));
}
