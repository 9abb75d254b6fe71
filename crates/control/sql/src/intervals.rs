//! The order of intervals. `INTERVAL '1 day'` is equal to `'24 hours'` and less than `'25 hours'`; their bytes, by which Arrow and DataFusion (54.1)
//! sort and group, say otherwise. ORDER BY goes by how long they are; what else would need their order is refused.

use std::sync::{Arc, LazyLock};

use arrow::array::{AsArray, Decimal128Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, Result, exec_err, plan_err};
use datafusion::logical_expr::expr::{AggregateFunction, Case, WindowFunction};
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{
    ColumnarValue, Distinct, Expr, ExprSchemable, LogicalPlan, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    SortExpr, Subquery, Volatility,
};

/// Functions that compare what they are given with each other.
const COMPARING: [&str; 20] = [
    "approx_distinct",
    "array_distinct",
    "array_except",
    "array_has",
    "array_intersect",
    "array_max",
    "array_min",
    "array_position",
    "array_sort",
    "array_union",
    "greatest",
    "hll_sketch",
    "least",
    "max",
    "median",
    "min",
    "mode",
    "nullif",
    "percentile_disc",
    "topk_sketch",
];

/// A plan that sorts intervals by how long they are.
///
/// # Errors
/// One that groups by intervals, sorts by lists of them, or compares them in another way than by operators.
pub(crate) fn ordered(plan: LogicalPlan) -> Result<LogicalPlan> {
    Ok(plan.transform_up_with_subqueries(node)?.data)
}

fn node(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let schema = merge_schema(&plan.inputs());
    refuse_comparing(&plan, &schema)?;
    let is_meant = match &plan {
        LogicalPlan::Aggregate(aggregate) => any_in(&aggregate.group_expr, &schema),
        LogicalPlan::Distinct(Distinct::All(input)) => {
            input.schema().fields().iter().any(|f| has_interval(f.data_type()))
        }
        LogicalPlan::Distinct(Distinct::On(on)) => {
            any_in(&on.on_expr, &schema) || on.sort_expr.iter().flatten().any(|e| is_in(&e.expr, &schema))
        }
        LogicalPlan::RecursiveQuery(query) if query.is_distinct => {
            query.static_term.schema().fields().iter().any(|f| has_interval(f.data_type()))
        }
        LogicalPlan::Sort(sort) if sort.expr.iter().any(|s| is_within(&s.expr, &schema)) => {
            return refused("ORDER BY of lists and structs does");
        }
        LogicalPlan::Sort(_) => return Ok(sorted(plan, &schema)),
        _ => false,
    };
    if is_meant { refused("GROUP BY, DISTINCT and set operations do") } else { Ok(Transformed::no(plan)) }
}

fn refused<T>(what: &str) -> Result<T> {
    plan_err!(
        "INTERVALs are not compared as {what} it: '1 day' and '24 hours' are equal; take extract(EPOCH FROM i) in the place of an interval i"
    )
}

/// Functions, windows and other expressions that would compare intervals.
fn refuse_comparing(plan: &LogicalPlan, schema: &DFSchema) -> Result<()> {
    plan.apply_expressions(|expr| {
        expr.apply(|e| {
            let by_order = |order: &[SortExpr]| order.iter().any(|o| is_in(&o.expr, schema));
            let compares = |name: &str, args: &[Expr]| {
                (COMPARING.contains(&name) || fleuve_batch::operator_of_any(name).is_some()) && any_in(args, schema)
            };
            let looked_for = |value: &Expr, within: &Subquery| {
                is_in(value, schema) || within.subquery.schema().fields().iter().any(|f| has_interval(f.data_type()))
            };
            match e {
                Expr::InList(list) if is_in(&list.expr, schema) || any_in(&list.list, schema) => refused("IN does"),
                Expr::InSubquery(within) if looked_for(&within.expr, &within.subquery) => refused("IN does"),
                Expr::SetComparison(within) if looked_for(&within.expr, &within.subquery) => refused("ANY and ALL do"),
                Expr::Case(Case { expr: Some(value), when_then_expr, .. })
                    if is_in(value, schema) || when_then_expr.iter().any(|(when, _)| is_in(when, schema)) =>
                {
                    refused("CASE does")
                }
                Expr::ScalarFunction(call) if compares(call.name(), &call.args) => {
                    let is_any = fleuve_batch::operator_of_any(call.name()).is_some();
                    refused(if is_any { "ANY does" } else { call.name() })
                }
                Expr::AggregateFunction(AggregateFunction { func, params })
                    if compares(func.name(), &params.args)
                        || params.distinct && any_in(&params.args, schema)
                        || by_order(&params.order_by) =>
                {
                    let what = if params.distinct { "DISTINCT does" } else { func.name() };
                    refused(what)
                }
                Expr::WindowFunction(call) => {
                    let WindowFunction { fun, params } = call.as_ref();
                    let is_meant = compares(fun.name(), &params.args)
                        || params.distinct && any_in(&params.args, schema)
                        || any_in(&params.partition_by, schema)
                        || by_order(&params.order_by);
                    if is_meant { refused("a window does") } else { Ok(TreeNodeRecursion::Continue) }
                }
                _ => Ok(TreeNodeRecursion::Continue),
            }
        })
    })?;
    Ok(())
}

fn any_in(exprs: &[Expr], schema: &DFSchema) -> bool {
    exprs.iter().any(|e| match e {
        Expr::GroupingSet(sets) => sets.distinct_expr().iter().any(|e| is_in(e, schema)),
        e => is_in(e, schema),
    })
}

fn is_in(expr: &Expr, schema: &DFSchema) -> bool {
    expr.get_type(schema).is_ok_and(|t| has_interval(&t))
}

/// True for a list or struct with intervals in it.
fn is_within(expr: &Expr, schema: &DFSchema) -> bool {
    expr.get_type(schema).is_ok_and(|t| !matches!(t, DataType::Interval(_)) && has_interval(&t))
}

fn has_interval(data_type: &DataType) -> bool {
    match data_type {
        DataType::Interval(_) => true,
        DataType::List(of) | DataType::LargeList(of) | DataType::FixedSizeList(of, _) => has_interval(of.data_type()),
        DataType::Struct(fields) => fields.iter().any(|f| has_interval(f.data_type())),
        _ => false,
    }
}

/// A sort with the length of intervals in their place.
fn sorted(plan: LogicalPlan, schema: &DFSchema) -> Transformed<LogicalPlan> {
    static LENGTH: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| {
        let signature = Signature::any(1, Volatility::Immutable);
        Arc::new(ScalarUDF::new_from_impl(Length { signature }))
    });
    let LogicalPlan::Sort(mut sort) = plan else { return Transformed::no(plan) };
    let is_interval = |e: &Expr| matches!(e.get_type(schema), Ok(DataType::Interval(_)));
    let changes = sort.expr.iter().any(|s| is_interval(&s.expr));
    for by in sort.expr.iter_mut().filter(|s| is_interval(&s.expr)) {
        by.expr = LENGTH.call(vec![by.expr.clone()]);
    }
    let plan = LogicalPlan::Sort(sort);
    if changes { Transformed::yes(plan) } else { Transformed::no(plan) }
}

/// How long an interval is: a month has 30 days, a day 24 hours.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Length {
    signature: Signature,
}

impl ScalarUDFImpl for Length {
    fn name(&self) -> &str {
        "interval_length"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Decimal128(38, 0))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let [intervals] = arrays.as_slice() else { return exec_err!("{} takes an interval", self.name()) };
        let intervals = cast(intervals, &DataType::Interval(IntervalUnit::MonthDayNano))?;
        let lengths: Decimal128Array = intervals.as_primitive::<IntervalMonthDayNanoType>().unary(length);
        Ok(ColumnarValue::Array(Arc::new(lengths.with_precision_and_scale(38, 0)?)))
    }
}

fn length(interval: IntervalMonthDayNano) -> i128 {
    let IntervalMonthDayNano { months, days, nanoseconds } = interval;
    let days = i128::from(months) * 30 + i128::from(days);
    days * 86_400_000_000_000 + i128::from(nanoseconds)
}
