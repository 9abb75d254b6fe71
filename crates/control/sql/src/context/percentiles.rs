//! Several percentiles of the same values in one call, as PostgreSQL has it: `percentile_cont(ARRAY[0.5, 0.9]) WITHIN GROUP (ORDER BY v)` is the
//! array of `percentile_cont(0.5)` and `percentile_cont(0.9)`, or NULL without values.

use datafusion::common::{Result, ScalarValue, plan_err};
use datafusion::functions_nested::expr_fn::make_array;
use datafusion::logical_expr::expr::AggregateFunction;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawAggregateExpr};
use datafusion::logical_expr::{Expr, lit, when};

/// Plans percentiles whose parts are an array.
#[derive(Debug)]
pub(super) struct PercentilesPlanner;

/// Those whose second argument is a part.
const PERCENTILES: [&str; 3] = ["approx_percentile_cont", "percentile_cont", "percentile_disc"];

impl ExprPlanner for PercentilesPlanner {
    fn plan_aggregate(&self, call: RawAggregateExpr) -> Result<PlannerResult<RawAggregateExpr>> {
        let name = call.func.name();
        let parts = match call.args.get(1).filter(|_| PERCENTILES.contains(&name)).map(items) {
            Some(Some(parts)) => parts,
            _ => return Ok(PlannerResult::Original(call)),
        };
        if parts.is_empty() {
            return plan_err!("{name} of an empty array: name the parts, as in {name}(ARRAY[0.5, 0.9])");
        }
        let one = |part: Expr| {
            let RawAggregateExpr { func, mut args, distinct, filter, order_by, null_treatment } = call.clone();
            args[1] = part;
            Expr::AggregateFunction(AggregateFunction::new_udf(func, args, distinct, filter, order_by, null_treatment))
        };
        // One of these has a value where there are values.
        let known = parts.iter().position(|part| !matches!(part, Expr::Literal(value, _) if value.is_null()));
        let all: Vec<Expr> = parts.into_iter().map(one).collect();
        let there = all[known.unwrap_or(0)].clone().is_not_null();
        Ok(PlannerResult::Planned(when(there, make_array(all)).end()?))
    }
}

/// What an array is written of.
fn items(array: &Expr) -> Option<Vec<Expr>> {
    match array {
        Expr::ScalarFunction(made) if made.func.name() == "make_array" => Some(made.args.clone()),
        Expr::Literal(ScalarValue::List(list), _) => {
            let items = list.value(0);
            (0..items.len()).map(|at| ScalarValue::try_from_array(&items, at).ok().map(lit)).collect()
        }
        _ => None,
    }
}
