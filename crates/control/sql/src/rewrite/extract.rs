//! Fields of times as PostgreSQL has them: decimals of `extract`, DOUBLE PRECISION of `date_part`. DataFusion's are INT. And other functions of
//! our own that stand in the place of DataFusion's from edition 2 on.

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, CastKind, DataType, ExactNumberInfo, Expr, FunctionArgExpr, Ident, ObjectName, UnaryOperator, Value,
};

use super::spelling::is_named;
use super::tree::call;

/// Functions that edition 2 has others for, and what the registry calls these.
const NEW: [(&str, &str); 5] = [
    ("date_part", "fleuve_date_part"),
    ("datepart", "fleuve_date_part"),
    ("to_char", "fleuve_to_char"),
    ("array_remove", "fleuve_array_remove"),
    ("array_dims", "fleuve_array_dims"),
];

const EXTRACT: &str = "extract";

/// Puts these functions in place. A quotient of a field has as many digits as DOUBLE PRECISION: that of decimals would have four.
pub(super) fn respell(expr: &mut Expr) {
    match expr {
        Expr::Extract { field, expr: time, .. } => {
            let field = Expr::value(Value::SingleQuotedString(field.to_string()));
            let hole = Expr::Identifier(Ident::new(""));
            let time = std::mem::replace(time.as_mut(), hole);
            *expr = call(EXTRACT, [field, time].map(FunctionArgExpr::Expr), vec![]);
        }
        Expr::Function(f) => {
            if let Some((_, name)) = NEW.iter().find(|(of, _)| is_named(&f.name, of)) {
                f.name = ObjectName::from(vec![Ident::new(*name)]);
            }
        }
        Expr::BinaryOp { left, op: BinaryOperator::Divide, right } => {
            for side in [left, right] {
                if is_of_extract(side) {
                    let hole = Expr::Identifier(Ident::new(""));
                    let inner = std::mem::replace(side.as_mut(), hole);
                    *side.as_mut() = as_double(inner);
                }
            }
        }
        _ => {}
    }
}

/// True for a sum or product with a field in it.
fn is_of_extract(expr: &Expr) -> bool {
    use BinaryOperator::{Minus, Multiply, Plus};
    match expr {
        Expr::Function(f) => is_named(&f.name, EXTRACT),
        Expr::Nested(inner) | Expr::UnaryOp { op: UnaryOperator::Minus | UnaryOperator::Plus, expr: inner } => {
            is_of_extract(inner)
        }
        Expr::BinaryOp { left, op: Plus | Minus | Multiply, right } => is_of_extract(left) || is_of_extract(right),
        _ => false,
    }
}

fn as_double(expr: Expr) -> Expr {
    Expr::Cast {
        kind: CastKind::Cast,
        expr: Box::new(Expr::Nested(Box::new(expr))),
        data_type: DataType::Double(ExactNumberInfo::None),
        array: false,
        format: None,
    }
}
