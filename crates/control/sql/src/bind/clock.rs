//! `now()` at another time than that of the clock.

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan};

const DAY_US: i64 = 86_400_000_000;

/// The plan with `time_us` for what the clock says: a view's query so planned gives what the view shows at the epoch of that time.
pub(crate) fn at_time(plan: LogicalPlan, time_us: i64) -> DfResult<LogicalPlan> {
    let fix = |expr: Expr| {
        let value = match &expr {
            Expr::ScalarFunction(f) if f.func.name() == "now" => {
                let nanos = ScalarValue::TimestampNanosecond(time_us.checked_mul(1_000), None);
                nanos.cast_to(&expr.get_type(&DFSchema::empty())?)?
            }
            Expr::ScalarFunction(f) if f.func.name() == "current_date" => {
                ScalarValue::Date32(i32::try_from(time_us.div_euclid(DAY_US)).ok())
            }
            Expr::ScalarFunction(f) if f.func.name() == "current_time" => {
                let nanos = ScalarValue::Time64Nanosecond(Some(time_us.rem_euclid(DAY_US) * 1_000));
                nanos.cast_to(&expr.get_type(&DFSchema::empty())?)?
            }
            _ => return Ok(Transformed::no(expr)),
        };
        Ok(Transformed::yes(Expr::Literal(value, None)))
    };
    let fixed = plan.transform_up_with_subqueries(|node| {
        let names = NamePreserver::new(&node);
        node.map_expressions(|expr| {
            let name = names.save(&expr);
            Ok(expr.transform_up(fix)?.update_data(|e| name.restore(e)))
        })
    });
    fixed.map(|t| t.data)
}
