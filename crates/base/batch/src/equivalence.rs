//! What DataFusion calls the equivalence properties of an input, where they do not hold above it. The one row of an aggregate without groups is constant, and so is a column that a filter compares
//! with a value; DataFusion 54.1 goes on to take it for that where an outer join fills it up with NULL or grouping sets leave it out, and
//! sorts by it no more. The columns of groups are unique; a projection that moves them leaves that word to the columns that come to their
//! places, and what is sorted by such a column is sorted by no further one. And a sort that is wanted above an OFFSET is carried out below it
//! over as many rows as come out of it, without those that it leaves out. One below it is left out itself if none of its columns is left above it.
//! Grouping sets over an input that is known to have no row are taken to give none, although one without columns has a group.
//! What `count`, `min` and `max` give over frames that move is taken to be in an order that it often is not in: NULL is where a frame has no value,
//! at either end, a greatest value falls where the values do, and a count begins anew with each partition.

use std::fmt;
use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{Constraint, Constraints, JoinType, Result, Statistics, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::SetMonotonicity;
use datafusion::physical_expr::EquivalenceProperties;
use datafusion::physical_expr::PhysicalSortExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_expr::window::{PlainAggregateWindowExpr, SlidingAggregateWindowExpr, WindowExpr};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::execution_plan::CardinalityEffect;
use datafusion::physical_plan::joins::{HashJoinExec, NestedLoopJoinExec, SortMergeJoinExec};
use datafusion::physical_plan::limit::GlobalLimitExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::windows::{BoundedWindowAggExec, WindowAggExec};
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties};

/// Puts an [`Unsettled`] below each operator that makes NULL of what is constant in its input, moves what is unique, or wants rows in order that
/// come out of an OFFSET, and above each window whose columns are said to be in an order.
#[derive(Debug)]
pub(super) struct CarefulEquivalence;

impl PhysicalOptimizerRule for CarefulEquivalence {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        let plan = plan.transform_up(offset_on_what_is_sorted).data()?;
        plan.transform_up(|plan| {
            let fills = fills(&plan);
            let mut changed = false;
            let children = plan.children().into_iter().cloned().enumerate().map(|(n, child)| {
                let makes_null = fills.get(n).is_some_and(|f| *f) && has_constants(&child);
                let moving = moving(&child);
                let tells = if makes_null || has_grouping_sets(&plan) || sorts_below_offset(&plan, n, &child) {
                    Tells::Nothing
                } else if !moving.is_empty() {
                    Tells::OrderBut(moving)
                } else if moves_unique(&plan, &child) {
                    Tells::Order
                } else {
                    return child;
                };
                changed = true;
                Arc::new(Unsettled::new(child, tells)) as Arc<dyn ExecutionPlan>
            });
            let children: Vec<_> = children.collect();
            if changed { plan.with_new_children(children).map(Transformed::yes) } else { Ok(Transformed::no(plan)) }
        })
        .data()
    }

    fn name(&self) -> &str {
        "CarefulEquivalence"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// OFFSET over columns of what is sorted by others, which are not among them: the columns are taken after it. Otherwise the sort is taken for one
/// that nobody wants.
fn offset_on_what_is_sorted(plan: Arc<dyn ExecutionPlan>) -> Result<Transformed<Arc<dyn ExecutionPlan>>> {
    let projection =
        plan.downcast_ref::<GlobalLimitExec>().filter(|limit| limit.skip() > 0).map(GlobalLimitExec::input);
    let Some(projection) = projection.filter(|p| p.downcast_ref::<ProjectionExec>().is_some()).cloned() else {
        return Ok(Transformed::no(plan));
    };
    let input = projection.children().into_iter().cloned().collect();
    let limit = offset_on_what_is_sorted(plan.with_new_children(input)?)?.data;
    projection.with_new_children(vec![limit]).map(Transformed::yes)
}

/// Of each input: may its columns come out as NULL?
fn fills(plan: &Arc<dyn ExecutionPlan>) -> Vec<bool> {
    if has_grouping_sets(plan) {
        return vec![true];
    }
    match join_type(plan) {
        Some(JoinType::Left) => vec![false, true],
        Some(JoinType::Right) => vec![true, false],
        Some(JoinType::Full) => vec![true, true],
        _ => vec![],
    }
}

fn has_grouping_sets(plan: &Arc<dyn ExecutionPlan>) -> bool {
    plan.downcast_ref::<AggregateExec>().is_some_and(|a| !a.group_expr().is_single() && !a.group_expr().is_empty())
}

/// What a join gives; None for what is no join.
pub(crate) fn join_type(plan: &Arc<dyn ExecutionPlan>) -> Option<JoinType> {
    let join = plan.downcast_ref::<HashJoinExec>().map(|j| *j.join_type());
    let join = join.or_else(|| plan.downcast_ref::<NestedLoopJoinExec>().map(|j| *j.join_type()));
    join.or_else(|| plan.downcast_ref::<SortMergeJoinExec>().map(|j| j.join_type()))
}

fn has_constants(plan: &Arc<dyn ExecutionPlan>) -> bool {
    !plan.equivalence_properties().constants().is_empty()
}

/// Is `plan` a projection that has other columns where the unique ones of its input were?
fn moves_unique(plan: &Arc<dyn ExecutionPlan>, input: &Arc<dyn ExecutionPlan>) -> bool {
    let Some(projection) = plan.downcast_ref::<ProjectionExec>() else { return false };
    let is_kept = |at: &usize| {
        let expr = projection.expr().get(*at).map(|e| &e.expr);
        expr.and_then(|e| e.downcast_ref::<Column>()).is_some_and(|c| c.index() == *at)
    };
    input.equivalence_properties().constraints().iter().any(|constraint| match constraint {
        Constraint::PrimaryKey(columns) | Constraint::Unique(columns) => !columns.iter().all(is_kept),
    })
}

/// The columns of a window that are counts or extremes; none of another plan.
fn moving(plan: &Arc<dyn ExecutionPlan>) -> Vec<usize> {
    let windows = plan.downcast_ref::<BoundedWindowAggExec>().map(BoundedWindowAggExec::window_expr);
    let windows = windows.or_else(|| plan.downcast_ref::<WindowAggExec>().map(WindowAggExec::window_expr));
    let Some(windows) = windows else { return vec![] };
    let first = plan.schema().fields().len() - windows.len();
    let is_moving = |window: &Arc<dyn WindowExpr>| {
        let sliding = window.as_any().downcast_ref().map(SlidingAggregateWindowExpr::get_aggregate_expr);
        let plain = || window.as_any().downcast_ref().map(PlainAggregateWindowExpr::get_aggregate_expr);
        sliding.or_else(plain).is_some_and(|a| a.set_monotonicity() != SetMonotonicity::NotMonotonic)
    };
    windows.iter().enumerate().filter(|(_, window)| is_moving(window)).map(|(at, _)| first + at).collect()
}

/// Does `plan` want its `n`th input in an order that may be made below an OFFSET?
fn sorts_below_offset(plan: &Arc<dyn ExecutionPlan>, n: usize, input: &Arc<dyn ExecutionPlan>) -> bool {
    let wants = plan.required_input_ordering().get(n).is_some_and(Option::is_some);
    if !wants && plan.downcast_ref::<SortExec>().is_none() {
        return false;
    }
    let mut at = input;
    loop {
        if at.downcast_ref::<GlobalLimitExec>().is_some_and(|limit| limit.skip() > 0) {
            return true;
        }
        match (at.children().as_slice(), at.maintains_input_order().as_slice()) {
            ([below], [true]) => at = below,
            _ => return false,
        }
    }
}

/// What is told of how columns relate.
#[derive(Clone, Debug, PartialEq)]
enum Tells {
    Nothing,
    /// All but what is unique: an order that is wanted above is looked for below.
    Order,
    /// All but what is unique, and an order by these columns: one that is wanted above is made above.
    OrderBut(Vec<usize>),
}

/// Passes on what comes, and tells less of how its columns relate and nothing for certain of how many rows there are.
#[derive(Debug)]
struct Unsettled {
    input: Arc<dyn ExecutionPlan>,
    tells: Tells,
    properties: Arc<PlanProperties>,
}

impl Unsettled {
    fn new(input: Arc<dyn ExecutionPlan>, tells: Tells) -> Self {
        let all = || input.equivalence_properties().clone().with_constraints(Constraints::default());
        let equivalence = match &tells {
            Tells::Nothing => EquivalenceProperties::new(input.schema()),
            Tells::Order => all(),
            Tells::OrderBut(columns) => {
                let mut all = all();
                let orders: Vec<_> = all.oeq_class().iter().map(|order| without(order, columns)).collect();
                all.clear_orderings();
                all.add_orderings(orders);
                all
            }
        };
        let properties = PlanProperties::new(
            equivalence,
            input.output_partitioning().clone(),
            input.pipeline_behavior(),
            input.boundedness(),
        );
        Self { input, tells, properties: Arc::new(properties) }
    }
}

/// `order` up to the first place where it is one of `columns`.
fn without(order: &[PhysicalSortExpr], columns: &[usize]) -> Vec<PhysicalSortExpr> {
    let is_kept = |by: &&PhysicalSortExpr| collect_columns(&by.expr).iter().all(|c| !columns.contains(&c.index()));
    order.iter().take_while(is_kept).cloned().collect()
}

impl DisplayAs for Unsettled {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Unsettled")
    }
}

impl ExecutionPlan for Unsettled {
    fn name(&self) -> &str {
        "Unsettled"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![self.tells == Tells::Order]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        match <[_; 1]>::try_from(children) {
            Ok([input]) => Ok(Arc::new(Self::new(input, self.tells.clone()))),
            Err(_) => internal_err!("Unsettled has one input"),
        }
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        self.input.execute(partition, context)
    }

    fn partition_statistics(&self, partition: Option<usize>) -> Result<Arc<Statistics>> {
        Ok(Arc::new(self.input.partition_statistics(partition)?.as_ref().clone().to_inexact()))
    }

    fn supports_limit_pushdown(&self) -> bool {
        true
    }

    fn cardinality_effect(&self) -> CardinalityEffect {
        CardinalityEffect::Equal
    }
}

#[cfg(test)]
mod tests;
