//! `unnest` in `FROM`, named as PostgreSQL names it; rows of values beside a table; lists that are written as texts or are the rows of a query; what is
//! compared with ANY; and slices.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::LazyLock;

use datafusion::logical_expr::Operator;
use datafusion::sql::sqlparser::ast::{
    AccessExpr, Array, BinaryOperator, CastKind, DataType, Expr, FunctionArg, FunctionArgExpr, FunctionArgumentClause,
    FunctionArguments, GroupByExpr, Ident, OrderByExpr, OrderByKind, OrderByOptions, Query, SelectItem, SetExpr,
    Subscript, TableAlias, TableAliasColumnDef, TableFactor, TableWithJoins, Value, Visit, visit_expressions,
    visit_expressions_mut,
};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;
use fleuve_batch::{ARRAY_OR_EMPTY, any_function, list_items};
use fleuve_types::{Error, Result};

use super::spelling::is_named;
use super::tree::{call, has_call};
use super::{fields, spelled};

/// The column that counts the elements.
const ORDINALITY: &str = "ordinality";
/// As [`ORDINALITY`], where nobody has asked for it.
const PLACE: &str = "fleuve place";
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

/// `x = ANY (list)` and the like as a function's call, or `x IN (a, b)` where the list is written: those know NULL, as DataFusion (54.1) does not.
pub(super) fn any_as_call(expr: &mut Expr) {
    let Expr::AnyOp { left, compare_op, right, .. } = expr else { return };
    let op = match compare_op {
        BinaryOperator::Eq => Operator::Eq,
        BinaryOperator::NotEq => Operator::NotEq,
        BinaryOperator::Lt => Operator::Lt,
        BinaryOperator::LtEq => Operator::LtEq,
        BinaryOperator::Gt => Operator::Gt,
        BinaryOperator::GtEq => Operator::GtEq,
        _ => return,
    };
    let Some(name) = any_function(op).filter(|_| !matches!(right.as_ref(), Expr::Subquery(_))) else { return };
    *expr = match elements(right).filter(|_| op == Operator::Eq) {
        Some(list) => Expr::InList { expr: Box::new(expr_of(left)), list, negated: false },
        None => call(name, [right, left].map(|side| FunctionArgExpr::Expr(side.as_ref().clone())), vec![]),
    };
}

/// The elements of `ARRAY[a, b]`, if these are no lists.
fn elements(list: &Expr) -> Option<Vec<Expr>> {
    let elements = match list {
        Expr::Nested(inner) => elements(inner)?,
        Expr::Array(array) => array.elem.clone(),
        Expr::Function(f) if is_named(&f.name, "make_array") => match &f.args {
            FunctionArguments::List(list) => list.args.iter().map(argument).collect::<Option<_>>()?,
            _ => return None,
        },
        _ => return None,
    };
    let is_list = |e: &Expr| match e {
        Expr::Array(_) => true,
        Expr::Function(f) => is_named(&f.name, "make_array"),
        _ => false,
    };
    (!elements.is_empty() && !elements.iter().any(is_list)).then_some(elements)
}

/// `ARRAY(SELECT x ... ORDER BY y)` as an aggregate of these rows, without elements where there are none; of the elements of a list in its order. To come before the query is rewritten.
pub(super) fn of_rows(expr: &mut Expr) {
    let Expr::Function(f) = expr else { return };
    let FunctionArguments::Subquery(rows) = &f.args else { return };
    if !is_named(&f.name, "array") {
        return;
    }
    let rows = gathered(rows).unwrap_or_else(|| gathered_around(rows));
    *expr = call(ARRAY_OR_EMPTY, [FunctionArgExpr::Expr(Expr::Subquery(Box::new(rows)))], vec![]);
}

/// The rows of a plain query, gathered where they are found.
fn gathered(rows: &Query) -> Option<Query> {
    let mut rows = rows.clone();
    let mut order = match rows.order_by.take().map(|order| order.kind) {
        None => vec![],
        Some(OrderByKind::Expressions(exprs)) => exprs,
        Some(OrderByKind::All(_)) => return None,
    };
    let is_whole = rows.with.is_none() && rows.limit_clause.is_none() && rows.fetch.is_none();
    let SetExpr::Select(select) = rows.body.as_mut() else { return None };
    let is_plain = is_whole
        && !select.from.is_empty()
        && select.distinct.is_none()
        && select.having.is_none()
        && select.qualify.is_none()
        && matches!(&select.group_by, GroupByExpr::Expressions(by, with) if by.is_empty() && with.is_empty());
    let [item] = select.projection.as_mut_slice() else { return None };
    let name = fields::output_name(item).map(spelled);
    let (SelectItem::UnnamedExpr(value) | SelectItem::ExprWithAlias { expr: value, .. }) = &*item else { return None };
    let value = value.clone();
    let place = if order.is_empty() { place_of_element(&mut select.from) } else { None };
    // A number stands for the column, an aggregate or a window is of other rows, and in an aggregate a subquery sees less.
    let is_other = |by: &OrderByExpr| matches!(by.expr, Expr::Value(_)) || has_query(&by.expr);
    let is_computed = has_call(&value) && !(place.is_some() && has_scalar_calls_only(&value));
    if !is_plain || is_computed || has_query(&value) || order.iter().any(is_other) {
        return None;
    }
    for by in &mut order {
        if matches!(&by.expr, Expr::Identifier(own) if Some(spelled(own)) == name) {
            by.expr = value.clone();
        }
    }
    order.extend(place);
    let clauses = if order.is_empty() { vec![] } else { vec![FunctionArgumentClause::OrderBy(order)] };
    *item = SelectItem::UnnamedExpr(call("array_agg", [FunctionArgExpr::Expr(value)], clauses));
    Some(rows)
}

/// Has the elements of a list counted if nothing else is read, and gives their numbers: without another order they come in that of the list.
fn place_of_element(from: &mut [TableWithJoins]) -> Option<OrderByExpr> {
    let [TableWithJoins { relation, joins }] = from else { return None };
    let (alias, list, with_ordinality) = match relation {
        TableFactor::Function { name, args, alias, with_ordinality, .. } if is_named(name, "unnest") => {
            (alias, argument(args.first().filter(|_| args.len() == 1)?)?, with_ordinality)
        }
        TableFactor::UNNEST { alias, array_exprs, with_ordinality, .. } if array_exprs.len() == 1 => {
            (alias, array_exprs.first()?.clone(), with_ordinality)
        }
        _ => return None,
    };
    let names: Vec<String> =
        alias.iter().flat_map(|alias| &alias.columns).map(|column| spelled(&column.name)).collect();
    let table = alias.as_ref().map_or_else(|| Ident::new("unnest"), |alias| alias.name.clone());
    if !joins.is_empty() || has_query(&list) || has_call(&list) || names.len() > 1 || *with_ordinality {
        return None;
    }
    *with_ordinality = true;
    // Of a name that nothing outside has.
    let place = Ident::with_quote('"', PLACE);
    let column = |name: Ident| TableAliasColumnDef { name, data_type: None };
    let alias =
        alias.get_or_insert_with(|| TableAlias { explicit: true, name: table.clone(), columns: vec![], at: None });
    if alias.columns.is_empty() {
        alias.columns.push(column(table.clone()));
    }
    alias.columns.push(column(place.clone()));
    let expr = Expr::CompoundIdentifier(vec![table, place]);
    Some(OrderByExpr { expr, options: OrderByOptions::default(), with_fill: None })
}

/// Whether all that an expression calls is computed for each row.
fn has_scalar_calls_only(expr: &Expr) -> bool {
    static NAMES: LazyLock<HashSet<String>> = LazyLock::new(|| {
        let all = datafusion::functions::all_default_functions();
        all.iter().flat_map(|f| f.aliases().iter().cloned().chain([f.name().to_string()])).collect()
    });
    let found = visit_expressions(expr, |e| match e {
        Expr::Function(f) if f.over.is_some() || f.filter.is_some() => ControlFlow::Break(()),
        Expr::Function(f) => match f.name.0.as_slice() {
            [part] if part.as_ident().is_some_and(|name| NAMES.contains(&spelled(name))) => ControlFlow::Continue(()),
            _ => ControlFlow::Break(()),
        },
        _ => ControlFlow::Continue(()),
    });
    found.is_continue()
}

fn has_query(expr: &Expr) -> bool {
    let found = visit_expressions(expr, |e| match e {
        Expr::Subquery(_) | Expr::Exists { .. } | Expr::InSubquery { .. } => ControlFlow::Break(()),
        Expr::Function(f) if matches!(f.args, FunctionArguments::Subquery(_)) => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    found.is_break()
}

/// The rows of any query, gathered around it.
fn gathered_around(rows: &Query) -> Query {
    const AROUND: &str = "SELECT array_agg(\"array element\") FROM (SELECT 1) AS \"array rows\" (\"array element\")";
    let mut around = Parser::new(&PostgreSqlDialect {})
        .try_with_sql(AROUND)
        .and_then(|mut p| p.parse_query())
        .expect("a query of our own is well formed");
    if let SetExpr::Select(select) = around.body.as_mut()
        && let Some(TableFactor::Derived { subquery, .. }) = select.from.first_mut().map(|f| &mut f.relation)
    {
        **subquery = rows.clone();
    }
    *around
}

/// `(list)[:2]` and `(list)[2:]` with both bounds.
pub(super) fn with_bounds(chain: &mut [AccessExpr]) {
    for access in chain {
        if let AccessExpr::Subscript(Subscript::Slice { lower_bound, upper_bound, .. }) = access {
            lower_bound.get_or_insert_with(|| Expr::value(Value::Number("1".into(), false)));
            upper_bound.get_or_insert_with(|| Expr::value(Value::Number(i32::MAX.to_string(), false)));
        }
    }
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
