//! `unnest` in `FROM`, named as PostgreSQL names it.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, CastKind, DataType, Expr, FunctionArg, FunctionArgExpr, Ident, TableAlias, TableAliasColumnDef,
    TableFactor, Value, visit_expressions,
};
use fleuve_types::{Error, Result};

use super::spelling::is_named;
use super::tree::call;

/// The column that counts the elements.
const ORDINALITY: &str = "ordinality";

/// `LATERAL unnest(a)` is `unnest(a)`, which is lateral anyway; `unnest(a) AS e` has the column `e`; and WITH ORDINALITY a further one.
///
/// # Errors
/// WITH ORDINALITY of several lists.
pub(super) fn as_table(factor: &mut TableFactor) -> Result<()> {
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
    let names_column = visit_expressions(&array.elem, |e| match e {
        Expr::Identifier(_) | Expr::CompoundIdentifier(_) => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    if names_column.is_break() {
        *expr = call("make_array", std::mem::take(&mut array.elem).into_iter().map(FunctionArgExpr::Expr), vec![]);
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
