//! Written texts beside times in arithmetic are times or intervals: `ts - '2025-01-01'`, `ts + '1 hour'`, which DataFusion refuses.

use arrow::datatypes::{DataType, IntervalUnit};
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{Cast, Expr, ExprSchemable};
use datafusion::sql::sqlparser::ast::BinaryOperator;

/// Reads the text as PostgreSQL does: as what the other side is, if there is such an operator.
#[derive(Debug)]
pub(crate) struct TimeOperators;

impl ExprPlanner for TimeOperators {
    fn plan_binary_op(&self, expr: RawBinaryExpr, schema: &DFSchema) -> Result<PlannerResult<RawBinaryExpr>> {
        let is_written = |e: &Expr| matches!(e, Expr::Literal(value, _) if value.data_type().is_string());
        let RawBinaryExpr { op, left, right } = expr;
        let is_sum = matches!(op, BinaryOperator::Plus | BinaryOperator::Minus);
        let (left, right) = match (is_sum, is_written(&left), is_written(&right)) {
            (true, true, false) => match read_as(&right, &op, schema) {
                Some(to) => (read(left, to), right),
                None => (left, right),
            },
            (true, false, true) => match read_as(&left, &op, schema) {
                Some(to) => (left, read(right, to)),
                None => (left, right),
            },
            _ => (left, right),
        };
        Ok(PlannerResult::Original(RawBinaryExpr { op, left, right }))
    }
}

/// What a text beside `other` is.
fn read_as(other: &Expr, op: &BinaryOperator, schema: &DFSchema) -> Option<DataType> {
    let span = DataType::Interval(IntervalUnit::MonthDayNano);
    match (other.get_type(schema).ok()?, op) {
        (of @ DataType::Timestamp(..), BinaryOperator::Minus) => Some(of),
        (DataType::Timestamp(..), _) | (DataType::Interval(_), _) => Some(span),
        (DataType::Date32, BinaryOperator::Minus) => Some(DataType::Date32),
        _ => None,
    }
}

fn read(text: Expr, to: DataType) -> Expr {
    Expr::Cast(Cast::new(Box::new(text), to))
}
