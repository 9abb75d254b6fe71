//! Rows side by side: `(a, b) < (c, d)`, `(a, b) IN ((1, 2), (3, 4))`. DataFusion (54.1) compares structs, for which NULL is a value and a text
//! no timestamp.

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, ObjectName, SetExpr, TableAlias,
    TableAliasColumnDef, TableFactor, UnaryOperator,
};
use fleuve_types::{Error, Result};

use super::spelling::is_named;
use crate::parse::select_all_from;

/// Says such a comparison by its columns.
///
/// # Errors
/// Rows of different lengths.
pub(super) fn by_columns(expr: &mut Expr) -> Result<()> {
    use BinaryOperator::{And, Eq, GtEq, LtEq, Or};
    let (said, negated) = match expr {
        Expr::BinaryOp { left, op, right } if is_comparison(op) => match (row(left), row(right)) {
            (Some(left), Some(right)) => (compared(left, op.clone(), right)?, false),
            _ => return Ok(()),
        },
        Expr::InList { expr: one, list, negated } => {
            let Some(one) = row(one) else { return Ok(()) };
            let wrong = || Error::input("a row is compared with rows, as in (a, b) IN ((1, 2), (3, 4))");
            let equal = |other: &Expr| compared(one, Eq, row(other).ok_or_else(wrong)?);
            (nested(joined(Or, list.iter().map(equal).collect::<Result<_>>()?)), *negated)
        }
        Expr::Between { expr: one, negated, low, high } => match (row(one), row(low), row(high)) {
            (Some(one), Some(low), Some(high)) => {
                (nested(joined(And, vec![compared(one, GtEq, low)?, compared(one, LtEq, high)?])), *negated)
            }
            _ => return Ok(()),
        },
        Expr::IsNull(one) => match fields(one) {
            Some(columns) => (each(columns, Expr::IsNull), false),
            None => return Ok(()),
        },
        Expr::IsNotNull(one) => match fields(one) {
            Some(columns) => (each(columns, Expr::IsNotNull), false),
            None => return Ok(()),
        },
        _ => return Ok(()),
    };
    *expr = if negated { Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(said) } } else { said };
    Ok(())
}

/// `(a, b) IN (SELECT x, y ...)` as `EXISTS (SELECT ... WHERE x = a AND y = b)` where a condition has to be true, and NULL is as good as false.
/// DataFusion (54.1) knows one column.
pub(super) fn members(condition: &mut Expr) {
    match condition {
        Expr::Nested(inner) => members(inner),
        Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
            members(left);
            members(right);
        }
        Expr::InSubquery { expr, subquery, negated: false } => {
            let Some(columns) = row(expr) else { return };
            let names: Vec<Ident> =
                (1..=columns.len()).map(|n| Ident::with_quote('"', format!("fleuve member {n}"))).collect();
            let equal = columns
                .iter()
                .zip(&names)
                .map(|(column, name)| pair(&Expr::Identifier(name.clone()), BinaryOperator::Eq, column));
            let selection = joined(BinaryOperator::And, equal.collect());
            let nothing = || Box::new(select_all_from(ObjectName::from(vec![Ident::new("x")])));
            let mut exists = nothing();
            if let SetExpr::Select(select) = exists.body.as_mut()
                && let Some(from) = select.from.first_mut()
            {
                let columns = names.iter().map(|n| TableAliasColumnDef { name: n.clone(), data_type: None }).collect();
                let name = Ident::with_quote('"', "fleuve members");
                let alias = Some(TableAlias { explicit: true, name, columns, at: None });
                let subquery = std::mem::replace(subquery, nothing());
                from.relation = TableFactor::Derived { lateral: false, subquery, alias, sample: None };
                select.selection = Some(selection);
            }
            *condition = Expr::Exists { subquery: exists, negated: false };
        }
        _ => {}
    }
}

/// The columns of `(a, b)`.
fn row(expr: &Expr) -> Option<&[Expr]> {
    match expr {
        Expr::Tuple(columns) => Some(columns),
        Expr::Nested(inner) => row(inner),
        _ => None,
    }
}

/// The columns of `(a, b)` or `ROW(a, b)`.
fn fields(expr: &Expr) -> Option<Vec<Expr>> {
    match expr {
        Expr::Nested(inner) => fields(inner),
        Expr::Tuple(columns) => Some(columns.clone()),
        Expr::Function(f) if is_named(&f.name, "row") => match &f.args {
            FunctionArguments::List(list) if !list.args.is_empty() => {
                let column = |argument: &FunctionArg| match argument {
                    FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
                    _ => None,
                };
                list.args.iter().map(column).collect()
            }
            _ => None,
        },
        _ => None,
    }
}

/// A row is NULL, or not, if all its columns are.
fn each(columns: Vec<Expr>, is: fn(Box<Expr>) -> Expr) -> Expr {
    let one = |column: Expr| nested(is(Box::new(nested(column))));
    nested(joined(BinaryOperator::And, columns.into_iter().map(one).collect()))
}

fn is_comparison(op: &BinaryOperator) -> bool {
    use BinaryOperator::{Eq, Gt, GtEq, Lt, LtEq, NotEq};
    matches!(op, Eq | NotEq | Lt | LtEq | Gt | GtEq)
}

fn compared(left: &[Expr], op: BinaryOperator, right: &[Expr]) -> Result<Expr> {
    use BinaryOperator::{And, Eq, Gt, Lt, LtEq, NotEq, Or};
    if left.len() != right.len() || left.is_empty() {
        return Err(Error::input(format!("a row of {} is compared with a row of {}", left.len(), right.len())));
    }
    let pairs = left.iter().zip(right);
    let all = |op: BinaryOperator| pairs.clone().map(|(l, r)| pair(l, op.clone(), r)).collect();
    let strict = match op {
        Eq => return Ok(nested(joined(And, all(Eq)))),
        NotEq => return Ok(nested(joined(Or, all(NotEq)))),
        Lt | LtEq => Lt,
        _ => Gt,
    };
    // The last column decides as it stands, each one before it only where it is equal.
    let whole = pairs.clone().rev().fold(None, |after: Option<Expr>, (l, r)| {
        Some(match after {
            None => pair(l, op.clone(), r),
            Some(after) => {
                let equal_so_far = joined(And, vec![pair(l, Eq, r), after]);
                nested(joined(Or, vec![pair(l, strict.clone(), r), nested(equal_so_far)]))
            }
        })
    });
    Ok(whole.unwrap_or_else(|| unreachable!("a row has a column")))
}

fn pair(left: &Expr, op: BinaryOperator, right: &Expr) -> Expr {
    let side = |e: &Expr| Box::new(nested(e.clone()));
    nested(Expr::BinaryOp { left: side(left), op, right: side(right) })
}

fn joined(op: BinaryOperator, exprs: Vec<Expr>) -> Expr {
    let both = |left, right| Expr::BinaryOp { left: Box::new(left), op: op.clone(), right: Box::new(right) };
    exprs.into_iter().reduce(both).unwrap_or_else(|| Expr::Identifier(Ident::new("")))
}

fn nested(expr: Expr) -> Expr {
    Expr::Nested(Box::new(expr))
}
