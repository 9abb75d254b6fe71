//! `generate_series` and `range` in `FROM`. DataFusion (54.1) makes a table of them, of literals alone; as rows of a list they may be of columns of
//! the tables before them and of subqueries, and a view can have them, in which there is no other table than streams and views.

use datafusion::sql::sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, Ident, ObjectName, ObjectNamePart, TableAlias, TableAliasColumnDef,
    TableFactor, UnaryOperator,
};
use fleuve_batch::{RANGE_ROWS, SERIES_ROWS};

use super::mentions::SERIES_COLUMN;
use super::spelled;
use super::tree::call;

/// The list whose elements are the rows of a series; where nothing else follows from its arguments, only in a view.
pub(super) fn as_list(factor: &mut TableFactor, names_value: bool, is_view: bool) {
    let (name, args, alias, ordinality) = match factor {
        TableFactor::Table { name, args: Some(args), alias, with_ordinality, .. } if args.settings.is_none() => {
            (name, &args.args, alias, *with_ordinality)
        }
        TableFactor::Function { name, args, alias, with_ordinality, .. } => (name, &*args, alias, *with_ordinality),
        _ => return,
    };
    let Some(function) = function(name) else { return };
    let Some(args) = args.iter().map(argument).collect::<Option<Vec<_>>>() else { return };
    if !is_view && !ordinality && args.iter().all(is_literal) {
        return;
    }
    let mut alias = alias.take().unwrap_or_else(|| TableAlias {
        explicit: true,
        name: Ident::new(name.to_string()),
        columns: vec![TableAliasColumnDef::from_name(SERIES_COLUMN)],
        at: None,
    });
    if alias.columns.is_empty() && names_value {
        alias.columns.push(TableAliasColumnDef::from_name(SERIES_COLUMN));
    }
    *factor = TableFactor::UNNEST {
        alias: Some(alias),
        array_exprs: vec![call(function, args.into_iter().map(FunctionArgExpr::Expr), vec![])],
        with_offset: false,
        with_offset_alias: None,
        with_ordinality: ordinality,
    };
}

/// The function whose list has the rows of the one of that name, if it is one of a series.
pub(super) fn function(name: &ObjectName) -> Option<&'static str> {
    let [ObjectNamePart::Identifier(only)] = name.0.as_slice() else { return None };
    match spelled(only).as_str() {
        "generate_series" => Some(SERIES_ROWS),
        "range" => Some(RANGE_ROWS),
        _ => None,
    }
}

fn argument(argument: &FunctionArg) -> Option<Expr> {
    match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
        _ => None,
    }
}

fn is_literal(expr: &Expr) -> bool {
    match expr {
        Expr::Value(_) | Expr::TypedString(_) | Expr::Interval(_) => true,
        Expr::UnaryOp { op: UnaryOperator::Minus | UnaryOperator::Plus, expr } => is_literal(expr),
        _ => false,
    }
}
