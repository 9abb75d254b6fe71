//! Lengths of time, compared as PostgreSQL compares them: a day is 24 hours, a month 30 days.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Int64Array};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Int64Type, IntervalMonthDayNanoType, IntervalUnit, TimeUnit};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, DFSchemaRef};
use datafusion::error::Result;
use datafusion::logical_expr::expr::{Between, ScalarFunction};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{
    BinaryExpr, ColumnarValue, Expr, ExprSchemable, LogicalPlan, Operator, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, Volatility,
};

const DAY_US: i64 = 24 * 60 * 60 * 1_000_000;
const DAYS_PER_MONTH: i64 = 30;

/// Arrow compares intervals by their months, then days, then the rest, so that four days as hours are less than one day. Both sides
/// of a comparison of intervals become microseconds here.
pub(super) fn compared(plan: LogicalPlan) -> Result<LogicalPlan> {
    let compared = plan.transform_up_with_subqueries(|node| {
        let mut schema = DFSchema::empty();
        node.inputs().iter().for_each(|input| schema.merge(input.schema()));
        let schema: DFSchemaRef = Arc::new(schema);
        // What stands above knows an expression by its name.
        let names = NamePreserver::new(&node);
        node.map_expressions(|expr| {
            let name = names.save(&expr);
            expr.transform_up(|e| in_microseconds(e, &schema)).map(|done| done.update_data(|e| name.restore(e)))
        })
    })?;
    Ok(compared.data)
}

fn in_microseconds(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    // What has no type yet is told by the planner, better than here.
    let spans = |sides: &[&Expr]| {
        let types: Vec<DataType> = sides.iter().filter_map(|side| side.get_type(schema).ok()).collect();
        types.len() == sides.len() && types.iter().all(|t| matches!(t, DataType::Interval(_) | DataType::Duration(_)))
    };
    Ok(match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if is_comparison(op) && spans(&[&left, &right]) => {
            let (left, right) = (Box::new(microseconds(*left)), Box::new(microseconds(*right)));
            Transformed::yes(Expr::BinaryExpr(BinaryExpr { left, op, right }))
        }
        Expr::Between(b) if spans(&[&b.expr, &b.low, &b.high]) => {
            let [expr, low, high] = [b.expr, b.low, b.high].map(|side| Box::new(microseconds(*side)));
            Transformed::yes(Expr::Between(Between { expr, negated: b.negated, low, high }))
        }
        other => Transformed::no(other),
    })
}

fn is_comparison(op: Operator) -> bool {
    use Operator as O;
    matches!(op, O::Eq | O::NotEq | O::Lt | O::LtEq | O::Gt | O::GtEq | O::IsDistinctFrom | O::IsNotDistinctFrom)
}

fn microseconds(span: Expr) -> Expr {
    let signature = Signature::any(1, Volatility::Immutable);
    let function = Arc::new(ScalarUDF::new_from_impl(Microseconds { signature }));
    Expr::ScalarFunction(ScalarFunction { func: function, args: vec![span] })
}

/// `microseconds(interval)`
#[derive(Debug, PartialEq, Eq, Hash)]
struct Microseconds {
    signature: Signature,
}

impl ScalarUDFImpl for Microseconds {
    fn name(&self) -> &str {
        "microseconds"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Int64)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [span] = args.args.as_slice() else {
            return datafusion::common::exec_err!("microseconds takes one interval");
        };
        let spans = span.to_array(args.number_rows)?;
        Ok(ColumnarValue::Array(match spans.data_type() {
            DataType::Duration(_) => {
                cast(&cast(&spans, &DataType::Duration(TimeUnit::Microsecond))?, &DataType::Int64)?
            }
            _ => of_intervals(&cast(&spans, &DataType::Interval(IntervalUnit::MonthDayNano))?),
        }))
    }
}

fn of_intervals(spans: &ArrayRef) -> ArrayRef {
    let spans = spans.as_primitive::<IntervalMonthDayNanoType>();
    let microseconds: Int64Array = spans.unary::<_, Int64Type>(|span| {
        let days = i64::from(span.months) * DAYS_PER_MONTH + i64::from(span.days);
        days.saturating_mul(DAY_US).saturating_add(span.nanoseconds / 1000)
    });
    Arc::new(microseconds)
}
