//! `unnest` in `FROM`, named as PostgreSQL names it; rows of values beside a table; and lists that are written as texts.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Array, BinaryOperator, CastKind, DataType, Expr, FunctionArg, FunctionArgExpr, Ident, Query, SetExpr, TableAlias,
    TableAliasColumnDef, TableFactor, Value, Visit, visit_expressions, visit_expressions_mut,
};
use fleuve_batch::list_items;
use fleuve_types::{Error, Result};

use super::spelling::is_named;
use super::tree::call;

/// The column that counts the elements.
const ORDINALITY: &str = "ordinality";
/// Most elements that something is compared with one by one.
const MAX_COMPARED: usize = 100;

/// `LATERAL unnest(a)` is `unnest(a)`, which is lateral anyway; `unnest(a) AS e` has the column `e`; and WITH ORDINALITY a further one.
///
/// # Errors
/// WITH ORDINALITY of several lists.
pub(super) fn as_table(factor: &mut TableFactor) -> Result<()> {
    if let Some(lists) = rows_as_lists(factor) {
        *factor = lists;
        return Ok(());
    }
    if let TableFactor::Function { name, args, with_ordinality, alias, .. } = factor
        && is_named(name, "unnest")
        && let Some(array_exprs) = args.iter().map(argument).collect::<Option<Vec<_>>>()
    {
        *factor = TableFactor::UNNEST {
            alias: alias.take(),
            array_exprs,
            with_offset: false,
            with_offset_alias: None,
            with_ordinality: *with_ordinality,
        };
    }
    let TableFactor::UNNEST { alias, array_exprs, with_ordinality, .. } = factor else { return Ok(()) };
    let [list] = array_exprs.as_slice() else {
        if *with_ordinality {
            return Err(Error::unsupported("WITH ORDINALITY is of one list"));
        }
        return Ok(());
    };
    let alias = alias.get_or_insert_with(|| TableAlias {
        explicit: true,
        name: Ident::new("unnest"),
        columns: vec![],
        at: None,
    });
    if alias.columns.is_empty() {
        alias.columns.push(TableAliasColumnDef { name: alias.name.clone(), data_type: None });
    }
    if *with_ordinality {
        let numbers = numbers(list.clone());
        array_exprs.push(numbers);
        *with_ordinality = false;
        if alias.columns.len() == 1 {
            alias.columns.push(TableAliasColumnDef::from_name(ORDINALITY));
        }
    }
    Ok(())
}

/// A list with columns in it is a call, in which these may be of tables outside: DataFusion (54.1) plans `ARRAY[...]` without these.
pub(super) fn as_call(expr: &mut Expr) {
    let Expr::Array(array) = expr else { return };
    if names_column(&array.elem) {
        *expr = call("make_array", std::mem::take(&mut array.elem).into_iter().map(FunctionArgExpr::Expr), vec![]);
    }
}

fn names_column(node: &impl Visit) -> bool {
    let found = visit_expressions(node, |e| match e {
        Expr::Identifier(_) | Expr::CompoundIdentifier(_) => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    found.is_break()
}

/// `LATERAL (VALUES (t.a, 1), (t.b, 2)) x (v, n)` as `unnest(ARRAY[t.a, t.b], ARRAY[1, 2]) x (v, n)`: DataFusion (54.1) plans VALUES without
/// the columns of tables outside.
fn rows_as_lists(factor: &TableFactor) -> Option<TableFactor> {
    let TableFactor::Derived { lateral: true, subquery, alias: Some(alias), .. } = factor else { return None };
    let Query { with: None, body, order_by: None, limit_clause: None, fetch: None, .. } = subquery.as_ref() else {
        return None;
    };
    let SetExpr::Values(values) = body.as_ref() else { return None };
    let width = values.rows.first()?.len();
    let is_even = values.rows.iter().all(|row| row.len() == width) && alias.columns.len() <= width;
    if !is_even || !names_column(values) {
        return None;
    }
    let list = |column: usize| {
        let elements = values.rows.iter().map(|row| FunctionArgExpr::Expr(row[column].clone()));
        call("make_array", elements, vec![])
    };
    let mut alias = alias.clone();
    let named = alias.columns.len();
    alias.columns.extend((named + 1..=width).map(|at| TableAliasColumnDef::from_name(format!("column{at}"))));
    Some(TableFactor::UNNEST {
        alias: Some(alias),
        array_exprs: (0..width).map(list).collect(),
        with_offset: false,
        with_offset_alias: None,
        with_ordinality: false,
    })
}

/// A list that is written as a text: `'{1,2}'::int[]` as `ARRAY['1', '2']::int[]`, and `x = ANY ('{a,b}')` as `x IN ('a', 'b')`, whose elements
/// get the type of `x`.
pub(super) fn of_text(expr: &mut Expr) {
    match expr {
        Expr::Cast { expr: value, data_type: DataType::Array(_), .. } => {
            if let Some(items) = written(value) {
                **value = Expr::Array(Array { elem: items, named: true });
            }
        }
        Expr::AnyOp { left, compare_op, right, .. } => {
            if let Some(items) = written(right) {
                compare(expr_of(left), compare_op.clone(), items, true, expr);
            }
        }
        Expr::AllOp { left, compare_op, right } => {
            if let Some(items) = written(right) {
                compare(expr_of(left), compare_op.clone(), items, false, expr);
            }
        }
        _ => {}
    }
}

fn expr_of(expr: &Expr) -> Expr {
    Expr::Nested(Box::new(expr.clone()))
}

/// The elements of a list that is written as a text.
fn written(expr: &Expr) -> Option<Vec<Expr>> {
    match expr {
        Expr::Nested(inner) => written(inner),
        Expr::Value(value) => {
            let Value::SingleQuotedString(text) = &value.value else { return None };
            let element = |item: Option<String>| Expr::value(item.map_or(Value::Null, Value::SingleQuotedString));
            Some(list_items(text)?.into_iter().map(element).collect())
        }
        _ => None,
    }
}

/// Compares with any, or with each, of the elements.
fn compare(left: Expr, op: BinaryOperator, items: Vec<Expr>, any: bool, whole: &mut Expr) {
    let in_list = if any { BinaryOperator::Eq } else { BinaryOperator::NotEq };
    if !items.is_empty() && op == in_list {
        *whole = Expr::InList { expr: Box::new(left), list: items, negated: !any };
        return;
    }
    if items.len() > MAX_COMPARED {
        return;
    }
    let joined = if any { BinaryOperator::Or } else { BinaryOperator::And };
    let both = |left: Expr, op: BinaryOperator, right: Expr| {
        Expr::Nested(Box::new(Expr::BinaryOp { left: Box::new(left), op, right: Box::new(right) }))
    };
    let compared = items.into_iter().map(|item| both(left.clone(), op.clone(), item));
    // No element decides nothing.
    *whole =
        compared.reduce(|all, one| both(all, joined.clone(), one)).unwrap_or_else(|| Expr::value(Value::Boolean(!any)));
}

/// For each `x op ANY ($1)` of a query `x op $1`, whose parameters are what the elements of its own are; and the numbers of these. `None` if
/// there are none.
pub(crate) fn with_elements(query: &Query) -> Option<(Query, Vec<usize>)> {
    let mut query = query.clone();
    let mut numbers = vec![];
    let _: ControlFlow<()> = visit_expressions_mut(&mut query, |expr| {
        if let Expr::AnyOp { left, compare_op, right, .. } | Expr::AllOp { left, compare_op, right } = expr
            && let Some(number) = parameter(right)
        {
            numbers.push(number);
            *expr = Expr::BinaryOp { left: left.clone(), op: compare_op.clone(), right: right.clone() };
        }
        ControlFlow::Continue(())
    });
    (!numbers.is_empty()).then_some((query, numbers))
}

/// The number of `$1`.
fn parameter(expr: &Expr) -> Option<usize> {
    match expr {
        Expr::Nested(inner) => parameter(inner),
        Expr::Value(value) => match &value.value {
            Value::Placeholder(name) => name.strip_prefix('$')?.parse().ok(),
            _ => None,
        },
        _ => None,
    }
}

fn argument(argument: &FunctionArg) -> Option<Expr> {
    match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
        _ => None,
    }
}

/// 1, 2, ... for each element of a list.
fn numbers(list: Expr) -> Expr {
    let of = |name: &str, args: Vec<Expr>| call(name, args.into_iter().map(FunctionArgExpr::Expr), vec![]);
    let number = |n: &str| Expr::value(Value::Number(n.into(), false));
    let length = Expr::Cast {
        kind: CastKind::Cast,
        expr: Box::new(of("array_length", vec![list])),
        data_type: DataType::BigInt(None),
        array: false,
        format: None,
    };
    let behind = Expr::BinaryOp { left: Box::new(length), op: BinaryOperator::Plus, right: Box::new(number("1")) };
    of("range", vec![number("1"), behind])
}
