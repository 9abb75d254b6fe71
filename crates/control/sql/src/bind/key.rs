//! Which columns of a query's answer identify a row.
//!
//! Worked out from the plan's shape. DataFusion's functional dependencies are not used: those of a projection that reorders
//! columns name the wrong ones (54.1), and a wrong key would lose rows in a sink.

use std::collections::BTreeSet;

use datafusion::common::{Column, JoinType};
use datafusion::datasource::source_as_provider;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{BinaryExpr, Distinct, Expr, Join, LogicalPlan, Operator, TableScan};

use crate::context::key_of_columns;

/// The key of a query's answer: columns that no two rows share, as far as its shape proves it (`GROUP BY` columns that are all
/// in the answer, `DISTINCT`, joins of these). `None` when nothing is proved.
pub fn view_key(plan: &LogicalPlan) -> Option<Vec<String>> {
    let key = key(plan)?;
    let names: Vec<String> = key.into_iter().map(|i| plan.schema().field(i).name().clone()).collect();
    (!names.is_empty()).then_some(names)
}

/// The key as positions in the plan's output. An empty one says that there is at most one row.
fn key(plan: &LogicalPlan) -> Option<BTreeSet<usize>> {
    match plan {
        LogicalPlan::Aggregate(aggregate) => {
            let grouping = aggregate.group_expr.iter().any(|e| matches!(e, Expr::GroupingSet(_)));
            (!grouping).then(|| (0..aggregate.group_expr.len()).collect())
        }
        LogicalPlan::Distinct(Distinct::All(input)) => {
            Some(key(input).unwrap_or_else(|| (0..plan.schema().fields().len()).collect()))
        }
        LogicalPlan::Distinct(Distinct::On(on)) => on
            .on_expr
            .iter()
            .map(|e| on.select_expr.iter().position(|s| unaliased(s) == unaliased(e)))
            .collect::<Option<BTreeSet<usize>>>(),
        LogicalPlan::Projection(projection) => {
            let input = projection.input.schema();
            key(&projection.input)?
                .into_iter()
                .map(|i| {
                    let column = Column::from(input.qualified_field(i));
                    projection.expr.iter().position(|e| matches!(unaliased(e), Expr::Column(c) if *c == column))
                })
                .collect()
        }
        LogicalPlan::Filter(filter) => key(&filter.input),
        LogicalPlan::Sort(sort) => key(&sort.input),
        LogicalPlan::Limit(limit) => key(&limit.input),
        LogicalPlan::Repartition(repartition) => key(&repartition.input),
        LogicalPlan::SubqueryAlias(alias) => key(&alias.input),
        // Its own columns come after those of its input.
        LogicalPlan::Window(window) => key(&window.input),
        LogicalPlan::Join(join) => join_key(join),
        LogicalPlan::TableScan(scan) => scan_key(scan),
        _ => None,
    }
}

fn join_key(join: &Join) -> Option<BTreeSet<usize>> {
    match join.join_type {
        JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark => key(&join.left),
        JoinType::RightSemi | JoinType::RightAnti => key(&join.right),
        JoinType::Inner | JoinType::Left => {
            let left = key(&join.left)?;
            let right = key(&join.right)?;
            let (matched_left, matched_right) = matched(join);
            // Where one side's whole key is matched, each row of the other meets at most one of its rows.
            if right.is_subset(&matched_right) {
                return Some(left);
            }
            let width = join.left.schema().fields().len();
            let right: BTreeSet<usize> = right.into_iter().map(|i| i + width).collect();
            if join.join_type == JoinType::Inner && left.is_subset(&matched_left) {
                return Some(right);
            }
            Some(left.into_iter().chain(right).collect())
        }
        _ => None,
    }
}

/// The columns of either side that must equal one of the other side.
fn matched(join: &Join) -> (BTreeSet<usize>, BTreeSet<usize>) {
    let mut sides = (BTreeSet::new(), BTreeSet::new());
    let mut add = |a: &Expr, b: &Expr| {
        let (Expr::Column(a), Expr::Column(b)) = (a, b) else { return };
        let (left, right) = (join.left.schema(), join.right.schema());
        let pairs = [
            (left.maybe_index_of_column(a), right.maybe_index_of_column(b)),
            (left.maybe_index_of_column(b), right.maybe_index_of_column(a)),
        ];
        if let Some((l, r)) = pairs.into_iter().find_map(|(l, r)| Some((l?, r?))) {
            sides.0.insert(l);
            sides.1.insert(r);
        }
    };
    join.on.iter().for_each(|(a, b)| add(a, b));
    for condition in join.filter.iter().flat_map(split_conjunction) {
        if let Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) = condition {
            add(left, right);
        }
    }
    sides
}

/// A view that is read has the key that it has.
fn scan_key(scan: &TableScan) -> Option<BTreeSet<usize>> {
    let provider = source_as_provider(&scan.source).ok()?;
    let key = key_of_columns(provider.as_ref())?;
    key.iter().map(|name| scan.projected_schema.fields().iter().position(|f| f.name() == name)).collect()
}

fn unaliased(expr: &Expr) -> &Expr {
    match expr {
        Expr::Alias(alias) => unaliased(&alias.expr),
        other => other,
    }
}
