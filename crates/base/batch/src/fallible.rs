//! What of a plan's expressions fails for some values.

use arrow::datatypes::DataType;
use datafusion::common::DFSchema;
use datafusion::common::tree_node::TreeNode;
use datafusion::logical_expr::{Expr, ExprSchemable, Operator};

/// Whether an expression may fail for some row. In doubt it may.
pub fn can_fail(expr: &Expr, schema: &DFSchema) -> bool {
    expr.exists(|e| Ok(fails_itself(e, schema))).unwrap_or(true)
}

/// As [`can_fail`], where it is known of more functions that they give a value for every row.
pub fn can_fail_in(expr: &Expr, schema: &DFSchema) -> bool {
    let is_total = |e: &Expr| {
        const TOTAL: [&str; 5] = ["get_field", "fleuve_tumble", "fleuve_shift", "fleuve_hop", "fleuve_cumulate"];
        matches!(e, Expr::ScalarFunction(f) if TOTAL.contains(&f.func.name()))
    };
    expr.exists(|e| Ok(fails_itself(e, schema) && !is_total(e))).unwrap_or(true)
}

/// Whether there is a subquery in an expression.
pub fn has_subquery(expr: &Expr) -> bool {
    let subquery = |e: &Expr| {
        Ok(matches!(e, Expr::ScalarSubquery(_) | Expr::InSubquery(_) | Expr::Exists(_) | Expr::SetComparison(_)))
    };
    expr.exists(subquery).unwrap_or(true)
}

fn fails_itself(expr: &Expr, schema: &DFSchema) -> bool {
    let type_of = |e: &Expr| e.get_type(schema).ok();
    match expr {
        Expr::Column(_)
        | Expr::Literal(..)
        | Expr::Alias(_)
        | Expr::Not(_)
        | Expr::IsNull(_)
        | Expr::IsNotNull(_)
        | Expr::IsTrue(_)
        | Expr::IsFalse(_)
        | Expr::IsUnknown(_)
        | Expr::IsNotTrue(_)
        | Expr::IsNotFalse(_)
        | Expr::IsNotUnknown(_)
        | Expr::Between(_)
        | Expr::InList(_)
        | Expr::Case(_)
        | Expr::TryCast(_)
        | Expr::Like(_)
        // Only in EXISTS and count(*): nothing is computed.
        | Expr::OuterReferenceColumn(..) => false,
        Expr::BinaryExpr(binary) => match binary.op {
            Operator::And
            | Operator::Or
            | Operator::Eq
            | Operator::NotEq
            | Operator::Lt
            | Operator::LtEq
            | Operator::Gt
            | Operator::GtEq
            | Operator::IsDistinctFrom
            | Operator::IsNotDistinctFrom
            | Operator::StringConcat => false,
            // Integers wrap; where they are to be checked they come as functions.
            Operator::Plus | Operator::Minus | Operator::Multiply => {
                !type_of(expr).is_some_and(|t| t.is_integer() || t.is_floating())
            }
            _ => !type_of(expr).is_some_and(|t| t.is_floating()),
        },
        Expr::Cast(cast) => match (type_of(&cast.expr), cast.field.data_type()) {
            (Some(from), to) => !widens(&from, to),
            (None, _) => true,
        },
        // The first two stand in the keys of windows, whose event time is known by them.
        Expr::ScalarFunction(f) => !matches!(f.func.name(), "date_bin" | "date_trunc" | "coalesce" | crate::written::TEXT_OF),
        _ => true,
    }
}

/// Whether every value of a type has one in another, if not always its very own.
fn widens(from: &DataType, to: &DataType) -> bool {
    use DataType::{Boolean, Float32, Float64, Int8, Int16, Int32, Int64, LargeUtf8, Null, Utf8, Utf8View};
    from == to
        || match (from, to) {
            (Null, _) => true,
            (Int8, Int16 | Int32 | Int64) | (Int16, Int32 | Int64) | (Int32, Int64) => true,
            (f, Float32 | Float64) => f.is_numeric(),
            (f, Utf8 | LargeUtf8 | Utf8View) => f.is_primitive() || matches!(f, Boolean | Utf8 | LargeUtf8 | Utf8View),
            _ => false,
        }
}
