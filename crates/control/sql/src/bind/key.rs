//! Which columns of a query's answer identify a row.
//!
//! Worked out from the plan's shape. DataFusion's functional dependencies are not used: those of a projection that reorders
//! columns name the wrong ones (54.1), and a wrong key would lose rows in a sink.

use std::collections::BTreeSet;

use arrow::datatypes::DataType;
use datafusion::common::{Column, JoinType, ScalarValue};
use datafusion::datasource::source_as_provider;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{
    BinaryExpr, Distinct, Expr, Filter, Join, LogicalPlan, Operator, Projection, TableScan, Window,
};

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
        LogicalPlan::Projection(projection) => projected(projection, key(&projection.input)?),
        LogicalPlan::Filter(filter) => key(&filter.input).or_else(|| key_of_firsts(filter)),
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

/// Where columns of a projection's input are in its output.
fn projected(projection: &Projection, key: BTreeSet<usize>) -> Option<BTreeSet<usize>> {
    let input = projection.input.schema();
    let place = |i| {
        let column = Column::from(input.qualified_field(i));
        projection.expr.iter().position(|e| matches!(unaliased(e), Expr::Column(c) if *c == column))
    };
    key.into_iter().map(place).collect()
}

/// The partition's columns, where a condition leaves the first row of each: `row_number() OVER (PARTITION BY ...) = 1`.
fn key_of_firsts(filter: &Filter) -> Option<BTreeSet<usize>> {
    split_conjunction(&filter.predicate).into_iter().filter_map(first_only).find_map(|number| {
        let mut at = filter.input.schema().maybe_index_of_column(number)?;
        // From the condition down to the window function, and back up.
        let mut plan = filter.input.as_ref();
        let mut above = vec![];
        let mut key = loop {
            match plan {
                LogicalPlan::Projection(p) => {
                    let Expr::Column(column) = unaliased(p.expr.get(at)?) else { return None };
                    at = p.input.schema().maybe_index_of_column(column)?;
                    above.push(p);
                    plan = &p.input;
                }
                LogicalPlan::SubqueryAlias(alias) => plan = &alias.input,
                LogicalPlan::Filter(filter) => plan = &filter.input,
                LogicalPlan::Window(window) => match at.checked_sub(window.input.schema().fields().len()) {
                    Some(number) => break partition(window, number)?,
                    None => plan = &window.input,
                },
                _ => return None,
            }
        };
        for projection in above.into_iter().rev() {
            key = projected(projection, key)?;
        }
        Some(key)
    })
}

/// The partition of a `row_number`.
fn partition(window: &Window, number: usize) -> Option<BTreeSet<usize>> {
    let Expr::WindowFunction(call) = unaliased(window.window_expr.get(number)?) else { return None };
    if call.fun.name() != "row_number" {
        return None;
    }
    let place = |e: &Expr| match unaliased(e) {
        Expr::Column(column) => window.input.schema().maybe_index_of_column(column),
        _ => None,
    };
    call.params.partition_by.iter().map(place).collect()
}

/// The column that a condition holds at 1 or below it, if it counts from 1.
fn first_only(condition: &Expr) -> Option<&Column> {
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = condition else { return None };
    let (column, op, number) = match (as_it_is(left), as_it_is(right)) {
        (Expr::Column(c), Expr::Literal(n, _)) => (c, *op, n),
        (Expr::Literal(n, _), Expr::Column(c)) => (c, op.swap()?, n),
        _ => return None,
    };
    let number = match number.cast_to(&DataType::Int64) {
        Ok(ScalarValue::Int64(Some(n))) if number.data_type().is_integer() => n,
        _ => return None,
    };
    matches!((op, number), (Operator::Eq | Operator::LtEq, 1) | (Operator::Lt, 2)).then_some(column)
}

/// Without what only makes two sides of a comparison one type.
fn as_it_is(expr: &Expr) -> &Expr {
    match expr {
        Expr::Cast(cast)
            if matches!(cast.field.data_type(), DataType::Int64 | DataType::UInt64 | DataType::Decimal128(..)) =>
        {
            as_it_is(&cast.expr)
        }
        Expr::Alias(alias) => as_it_is(&alias.expr),
        other => other,
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
