//! Rows side by side: `(a, b) < (c, d)`, `(a, b) IN ((1, 2), (3, 4))`. DataFusion (54.1) compares structs, for which NULL is a value and a text
//! no timestamp.

use datafusion::sql::sqlparser::ast::{BinaryOperator, Expr, Ident, UnaryOperator};
use fleuve_types::{Error, Result};

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
        _ => return Ok(()),
    };
    *expr = if negated { Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(said) } } else { said };
    Ok(())
}

/// The columns of `(a, b)`.
fn row(expr: &Expr) -> Option<&[Expr]> {
    match expr {
        Expr::Tuple(columns) => Some(columns),
        Expr::Nested(inner) => row(inner),
        _ => None,
    }
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
