//! What fails for some values.

use std::sync::Arc;

use arrow::datatypes::{DataType, Schema};
use datafusion::common::ScalarValue;
use datafusion::common::tree_node::TreeNode;
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::expressions::{BinaryExpr, CastExpr, Literal};
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};

use crate::texts::TEXT_CAST;

/// Functions that fail for values that are common: the checked arithmetic of integers, and the casts of a text.
const FALLIBLE: [&str; 5] = ["+", "-", "*", "bytea", TEXT_CAST];

/// Whether an expression fails for some row: it divides, casts to a type that has not all values, or calls one of a few functions.
pub(super) fn can_fail(expr: &Arc<dyn PhysicalExpr>, schema: &Schema) -> bool {
    expr.exists(|e| Ok(fails_itself(e, schema))).unwrap_or(true)
}

fn fails_itself(expr: &Arc<dyn PhysicalExpr>, schema: &Schema) -> bool {
    let type_of = |e: &Arc<dyn PhysicalExpr>| e.data_type(schema).ok();
    if let Some(binary) = expr.downcast_ref::<BinaryExpr>() {
        return matches!(binary.op(), Operator::Divide | Operator::Modulo)
            && !type_of(binary.left()).is_some_and(|t| t.is_floating())
            && !divides_well(binary.right());
    }
    if let Some(cast) = expr.downcast_ref::<CastExpr>() {
        return !type_of(cast.expr()).is_some_and(|from| widens(&from, cast.cast_type()));
    }
    expr.downcast_ref::<ScalarFunctionExpr>().is_some_and(|f| FALLIBLE.contains(&f.name()))
}

/// Is it a value by which every other can be divided? The least integer cannot be divided by -1.
fn divides_well(divisor: &Arc<dyn PhysicalExpr>) -> bool {
    let Some(literal) = divisor.downcast_ref::<Literal>() else { return false };
    let of = literal.value().data_type();
    let is_not = |value: datafusion::common::Result<ScalarValue>| value.is_ok_and(|v| v != *literal.value());
    is_not(ScalarValue::new_zero(&of)) && (!of.is_signed_integer() || is_not(ScalarValue::new_negative_one(&of)))
}

/// Whether every value of a type has one in another, if not always its very own.
fn widens(from: &DataType, to: &DataType) -> bool {
    use DataType::{
        Boolean, Date32, Decimal128, Float32, Float64, Int16, Int32, Int64, LargeUtf8, Null, Timestamp, UInt8, UInt16,
        UInt32, Utf8, Utf8View,
    };
    CastExpr::check_bigger_cast(to, from)
        || match (from, to) {
            (Null, _) => true,
            (UInt8, Int16 | Int32 | Int64) | (UInt16, Int32 | Int64) | (UInt32, Int64) => true,
            (f, Float32 | Float64) => f.is_numeric(),
            (f, Utf8 | LargeUtf8 | Utf8View) => f.is_primitive() || f.is_string() || *f == Boolean,
            (Boolean, t) => t.is_integer(),
            (Decimal128(digits, scale), Decimal128(to_digits, to_scale)) => {
                to_scale >= scale && room(*to_digits, *to_scale) >= room(*digits, *scale)
            }
            (f, Decimal128(digits, scale)) => digits_of(f).is_some_and(|of| room(*digits, *scale) >= of),
            (Timestamp(..), Date32) => true,
            (Timestamp(from, _), Timestamp(to, _)) => from == to,
            _ => false,
        }
}

/// Digits before the point.
fn room(digits: u8, scale: i8) -> i16 {
    i16::from(digits) - i16::from(scale)
}

/// The most digits that an integer of the type has.
fn digits_of(integer: &DataType) -> Option<i16> {
    match integer {
        DataType::Int8 | DataType::UInt8 => Some(3),
        DataType::Int16 | DataType::UInt16 => Some(5),
        DataType::Int32 | DataType::UInt32 => Some(10),
        DataType::Int64 => Some(19),
        DataType::UInt64 => Some(20),
        _ => None,
    }
}
