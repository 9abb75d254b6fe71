//! Written texts beside conditions are such: `b = 'true'`, which DataFusion refuses.

use arrow::datatypes::DataType;
use datafusion::common::tree_node::Transformed;
use datafusion::logical_expr::{Cast, Expr};

/// Values of which one is a BOOLEAN, with the written texts among them read as such, if there is nothing else.
pub(crate) fn read(all: Vec<Expr>, types: &[DataType]) -> Transformed<Vec<Expr>> {
    let is_text = |e: &Expr, t: &DataType| matches!(e, Expr::Literal(..)) && t.is_string();
    let are_fit = all.iter().zip(types).all(|(e, t)| is_text(e, t) || t.is_null() || *t == DataType::Boolean);
    if !are_fit || !all.iter().zip(types).any(|(e, t)| is_text(e, t)) {
        return Transformed::no(all);
    }
    let one = |(e, t): (Expr, &DataType)| {
        if is_text(&e, t) { Expr::Cast(Cast::new(Box::new(e), DataType::Boolean)) } else { e }
    };
    Transformed::yes(all.into_iter().zip(types).map(one).collect())
}
