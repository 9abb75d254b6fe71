//! Written texts beside conditions are such: `b = 'true'`, which DataFusion refuses.

use arrow::datatypes::DataType;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{Cast, Expr, ExprSchemable};
use datafusion::sql::sqlparser::ast::BinaryOperator;

/// Plans comparisons of a condition with a written text, whose types DataFusion asks for in a select list before anything can mend them.
#[derive(Debug)]
pub(crate) struct TruthOperators;

impl ExprPlanner for TruthOperators {
    fn plan_binary_op(&self, expr: RawBinaryExpr, schema: &DFSchema) -> Result<PlannerResult<RawBinaryExpr>> {
        use BinaryOperator::{Eq, Gt, GtEq, Lt, LtEq, NotEq};
        let is_written = |e: &Expr| matches!(e, Expr::Literal(value, _) if value.data_type().is_string());
        let RawBinaryExpr { op, left, right } = expr;
        if !matches!(op, Eq | NotEq | Lt | LtEq | Gt | GtEq) || is_written(&left) == is_written(&right) {
            return Ok(PlannerResult::Original(RawBinaryExpr { op, left, right }));
        }
        let is_truth = |e: &Expr| matches!(e.get_type(schema), Ok(DataType::Boolean));
        let read = |e: Expr| Expr::Cast(Cast::new(Box::new(e), DataType::Boolean));
        let (left, right) = match (is_written(&left), is_written(&right)) {
            (true, _) if is_truth(&right) => (read(left), right),
            (_, true) if is_truth(&left) => (left, read(right)),
            _ => (left, right),
        };
        Ok(PlannerResult::Original(RawBinaryExpr { op, left, right }))
    }
}

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
