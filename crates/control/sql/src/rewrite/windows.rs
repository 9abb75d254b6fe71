//! The one shape of a window table function: `tumble((SELECT * FROM t), time, size)`, whatever way it was written. The keys of
//! a `SESSION` come last.

use datafusion::sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, ObjectName, Query, SetExpr, TableFactor,
    TableFunctionArgs,
};
use fleuve_types::{Error, Location, Result};

use super::{alias_of, place_of, set_alias, spelled};
use crate::parse::select_all_from;
use crate::window::WindowKind;

/// The kind of window, if this is a window table function in any of its spellings.
fn kind_of(name: &ObjectName) -> Option<(WindowKind, Location)> {
    let [part] = name.0.as_slice() else { return None };
    let ident = part.as_ident()?;
    Some((WindowKind::of(&ident.value)?, place_of(ident)))
}

/// The normal form of a window table function; `None` if the factor is something else or has that form already.
///
/// # Errors
/// Arguments that are missing, unknown or too many.
pub(super) fn normal_form(factor: &TableFactor) -> Result<Option<TableFactor>> {
    let (name, args) = match factor {
        TableFactor::Table { name, args: Some(args), .. } => (name, args.args.as_slice()),
        TableFactor::Function { name, args, .. } => (name, args.as_slice()),
        // Flink: TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '1' MINUTE))
        TableFactor::TableFunction {
            expr: Expr::Function(Function { name, args: FunctionArguments::List(list), .. }),
            ..
        } => (name, list.args.as_slice()),
        _ => return Ok(None),
    };
    let Some((kind, at)) = kind_of(name) else { return Ok(None) };
    let (slots, mut keys) = arguments(kind, args, &at)?;
    let (mut table, rest) =
        slots.split_first().map(|(t, rest)| (*t, rest)).expect("there are at least three arguments");
    if let Expr::Tuple(parts) = table
        && let [of, by @ ..] = parts.as_slice()
        && kind == WindowKind::Session
    {
        table = of;
        keys.extend(by);
    }
    let (query, inner_name) = table_argument(kind, table, &at)?;
    let mut args = vec![unnamed(Expr::Subquery(Box::new(query)))];
    args.extend(rest.iter().enumerate().map(|(i, e)| unnamed(if i == 0 { time_argument(e) } else { (*e).clone() })));
    args.extend(keys.into_iter().map(|k| unnamed(k.clone())));
    let mut out = TableFactor::Table {
        name: ObjectName::from(vec![Ident { value: kind.name().to_lowercase(), ..first_ident(name) }]),
        alias: alias_of(factor).cloned(),
        args: Some(TableFunctionArgs { args, settings: None }),
        with_hints: vec![],
        version: None,
        with_ordinality: false,
        partitions: vec![],
        json_path: None,
        sample: None,
        index_hints: vec![],
    };
    if alias_of(&out).is_none() {
        // Without an alias it goes by the name of its table, so that `orders.amount` works over TUMBLE(orders, ...).
        set_alias(&mut out, inner_name.as_deref().unwrap_or(&kind.name().to_lowercase()));
    }
    Ok(Some(out))
}

fn first_ident(name: &ObjectName) -> Ident {
    name.0.first().and_then(|p| p.as_ident()).cloned().unwrap_or_else(|| Ident::new(""))
}

fn unnamed(expr: Expr) -> FunctionArg {
    FunctionArg::Unnamed(FunctionArgExpr::Expr(expr))
}

/// The arguments in order: table, time, lengths; and the keys after them in the normal form of a `SESSION`.
fn arguments<'a>(kind: WindowKind, args: &'a [FunctionArg], at: &Location) -> Result<(Vec<&'a Expr>, Vec<&'a Expr>)> {
    let names: Vec<&str> = ["data", "timecol"].iter().chain(kind.lengths()).copied().collect();
    let wrong = |what: String| Error::input(what).at(at.clone()).hint(format!("write {}", kind.usage()));
    let mut slots: Vec<Option<&Expr>> = vec![None; names.len()];
    let mut keys = vec![];
    for (i, arg) in args.iter().enumerate() {
        let (slot, expr) = match arg {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(e)) => (i, e),
            FunctionArg::Named { name, arg: FunctionArgExpr::Expr(e), .. } => {
                let name = spelled(name);
                let slot = names.iter().position(|n| *n == name);
                (slot.ok_or_else(|| wrong(format!("{} has no argument \"{name}\"", kind.name())))?, e)
            }
            other => return Err(wrong(format!("{other} is not an argument of {}", kind.name()))),
        };
        match slots.get_mut(slot) {
            Some(free @ None) => *free = Some(expr),
            None if kind == WindowKind::Session => keys.push(expr),
            Some(Some(_)) => return Err(wrong(format!("{} is given \"{}\" twice", kind.name(), names[slot]))),
            None => return Err(wrong(format!("{} has too many arguments", kind.name()))),
        }
    }
    let count = slots.len();
    let given: Vec<&Expr> = slots.into_iter().flatten().collect();
    if given.len() == count { Ok((given, keys)) } else { Err(wrong(format!("{} has too few arguments", kind.name()))) }
}

/// The table as a query, and the name it goes by.
fn table_argument(kind: WindowKind, expr: &Expr, at: &Location) -> Result<(Query, Option<String>)> {
    let name = match expr {
        Expr::Identifier(ident) => ObjectName::from(vec![ident.clone()]),
        Expr::CompoundIdentifier(idents) => ObjectName::from(idents.clone()),
        Expr::Subquery(query) => {
            let mut query = query.as_ref().clone();
            let name = simple_input(&mut query).and_then(|f| match f {
                TableFactor::Table { name, args: None, alias: None, .. } => last_name(name),
                _ => None,
            });
            return Ok((query, name));
        }
        Expr::Nested(inner) => return table_argument(kind, inner, at),
        Expr::Function(f) if kind_of(&f.name).is_some() => {
            let mut query = select_all_from(ObjectName::from(vec![Ident::new("x")]));
            let inner = normal_form(&TableFactor::TableFunction { expr: expr.clone(), alias: None })?;
            if let (Some(slot), Some(inner)) = (simple_input(&mut query), inner) {
                *slot = inner;
            }
            return Ok((query, None));
        }
        Expr::Tuple(_) if kind != WindowKind::Session => {
            return Err(Error::input(format!(
                "{} has no PARTITION BY: its windows are the same for all rows",
                kind.name()
            ))
            .at(at.clone())
            .hint(format!("write {}", kind.usage())));
        }
        other => {
            return Err(Error::input(format!("{} needs a table first, not {other}", kind.name()))
                .at(at.clone())
                .hint(format!("write {}", kind.usage())));
        }
    };
    let last = last_name(&name);
    Ok((select_all_from(name), last))
}

fn last_name(name: &ObjectName) -> Option<String> {
    name.0.last().and_then(|p| p.as_ident()).map(spelled)
}

/// `DESCRIPTOR(ts)` is `ts`.
fn time_argument(expr: &Expr) -> Expr {
    if let Expr::Function(f) = expr
        && first_ident(&f.name).value.eq_ignore_ascii_case("descriptor")
        && let FunctionArguments::List(list) = &f.args
        && let [FunctionArg::Unnamed(FunctionArgExpr::Expr(inner))] = list.args.as_slice()
    {
        return inner.clone();
    }
    expr.clone()
}

/// The one table of a query that is nothing but `SELECT * FROM table`.
pub(crate) fn simple_input(query: &mut Query) -> Option<&mut TableFactor> {
    let template = select_all_from(ObjectName::from(vec![Ident::new("x")]));
    let SetExpr::Select(wanted) = template.body.as_ref() else { return None };
    let SetExpr::Select(select) = query.body.as_ref() else { return None };
    let [from] = select.from.as_slice() else { return None };
    let mut shape = select.as_ref().clone();
    shape.from = wanted.from.clone();
    let simple = shape == **wanted
        && from.joins.is_empty()
        && !matches!(from.relation, TableFactor::Derived { .. } | TableFactor::NestedJoin { .. })
        && Query { body: template.body.clone(), ..query.clone() } == template;
    if !simple {
        return None;
    }
    let SetExpr::Select(select) = query.body.as_mut() else { return None };
    select.from.first_mut().map(|f| &mut f.relation)
}

/// The table inside a window table function in normal form, when it is a plain table or another window.
pub(super) fn input(factor: &mut TableFactor) -> Option<&mut TableFactor> {
    let TableFactor::Table { name, args: Some(args), .. } = factor else { return None };
    kind_of(name)?;
    match args.args.first_mut()? {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Subquery(query))) => simple_input(query),
        _ => None,
    }
}

/// True for a window table function in normal form.
pub(super) fn is_window(factor: &TableFactor) -> bool {
    matches!(factor, TableFactor::Table { name, args: Some(_), .. } if kind_of(name).is_some())
}

/// As [`input`], to look at.
pub(super) fn input_ref(factor: &TableFactor) -> Option<&TableFactor> {
    let TableFactor::Table { name, args: Some(args), .. } = factor else { return None };
    kind_of(name)?;
    let FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Subquery(query))) = args.args.first()? else { return None };
    simple_input(&mut query.as_ref().clone())?;
    let SetExpr::Select(select) = query.body.as_ref() else { return None };
    select.from.first().map(|f| &f.relation)
}
