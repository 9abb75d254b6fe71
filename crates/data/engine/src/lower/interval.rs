//! Interval joins: conditions between the event times of both sides, `b.ts BETWEEN a.ts - x AND a.ts + y`. They tell behind which
//! watermark a row gets no partner any more.

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, JoinType};
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{BinaryExpr, Expr, Join as JoinPlan, Operator as Op};
use fleuve_types::{Error, Result};

use super::Lowering;
use super::time::{alone, follows, is_shift};
use crate::event_time::{Horizon, TimeSource, TimeStep};
use crate::operators::join::RowTime;
use crate::operators::physical;

/// What a join's conditions say about time.
#[derive(Default)]
pub(super) struct Interval {
    /// Times of the left rows and of the right rows, with the watermark behind which a row is done with.
    pub(super) left: Vec<(RowTime, Horizon)>,
    pub(super) right: Vec<(RowTime, Horizon)>,
    /// Columns of a side that the join's rows carry on: true for the left side, the column there, its watermark.
    pub(super) times: Vec<(bool, usize, TimeSource)>,
}

/// An expression that follows a column of one side which carries event time.
#[derive(Clone)]
struct Timed {
    is_left: bool,
    column: usize,
    expr: Expr,
}

/// `lower <= upper`, of different sides.
struct Pair {
    lower: Timed,
    upper: Timed,
}

/// One side of a join: its node and its schema.
#[derive(Clone, Copy)]
struct Input<'a> {
    node: usize,
    schema: &'a DFSchema,
}

struct Sides<'a> {
    left: Input<'a>,
    right: Input<'a>,
    pairs: Vec<Pair>,
}

/// `expr`, which follows a column, with that column's place taken by `inner`.
fn over(expr: &Expr, inner: &Expr) -> Result<Expr> {
    let replaced = expr.clone().transform_down(|e| match e {
        Expr::Column(_) => {
            Ok(Transformed::new(inner.clone(), true, datafusion::common::tree_node::TreeNodeRecursion::Jump))
        }
        e => Ok(Transformed::no(e)),
    });
    replaced.map(|t| t.data).map_err(|e| Error::bug(e.to_string()))
}

/// What the column in `expr` is when `expr` is `value`. Only shifts can be undone.
fn undone(expr: &Expr, value: Expr) -> Option<Expr> {
    let binary = |left, op, right| Expr::BinaryExpr(BinaryExpr::new(Box::new(left), op, Box::new(right)));
    match expr {
        Expr::Column(_) => Some(value),
        Expr::Alias(a) => undone(&a.expr, value),
        Expr::BinaryExpr(b) if b.op == Op::Plus && is_shift(&b.left, &b.right) => {
            undone(&b.right, binary(value, Op::Minus, b.left.as_ref().clone()))
        }
        Expr::BinaryExpr(b) if matches!(b.op, Op::Plus | Op::Minus) && is_shift(&b.right, &b.left) => {
            let op = if b.op == Op::Plus { Op::Minus } else { Op::Plus };
            undone(&b.left, binary(value, op, b.right.as_ref().clone()))
        }
        _ => None,
    }
}

impl Sides<'_> {
    fn side(&self, is_left: bool) -> Input<'_> {
        if is_left { self.left } else { self.right }
    }

    /// The watermark of an expression over the column of `of`.
    fn watermark(&self, of: &Timed, expr: &Expr) -> Result<TimeSource> {
        let input = self.side(of.is_left);
        let column = vec![(input.node, of.column)];
        if matches!(expr, Expr::Column(_)) {
            return Ok(TimeSource::Least { of: column, steps: vec![] });
        }
        let step = TimeStep {
            expr: alone(&physical(expr, input.schema)?)?,
            input: input.schema.field(of.column).data_type().clone(),
        };
        Ok(TimeSource::Least { of: column, steps: vec![step] })
    }

    /// The rows of a side that can get a partner, or lose one, have a time in `column` that is not below this. `through` is put
    /// over the times.
    fn last(&self, is_left: bool, column: usize, through: Option<&Expr>) -> Result<Option<TimeSource>> {
        let mut sources = vec![];
        for Pair { lower, upper } in &self.pairs {
            if upper.is_left != is_left || upper.column != column || !sources.is_empty() {
                continue;
            }
            let own = first_column(&upper.expr)?;
            let Some(least) = undone(&upper.expr, lower.expr.clone()) else { continue };
            let put = |e: &Expr| through.map_or_else(|| Ok(e.clone()), |t| over(t, e));
            sources.push(self.watermark(lower, &put(&least)?)?);
            sources.push(self.watermark(upper, &put(&own)?)?);
        }
        Ok((!sources.is_empty()).then_some(TimeSource::All(sources)))
    }

    /// By which time rows of a side are dropped: those whose `pair.upper`, which is of that side, is behind. If the other side's
    /// rows are also shown alone, their partners are kept as long as they are: after a restart they are counted anew.
    fn dropped(&self, pair: &Pair, others_alone: bool, drops_null: bool) -> Result<Option<(RowTime, Horizon)>> {
        let Pair { lower, upper } = pair;
        let own = self.watermark(upper, &upper.expr)?;
        let others = match others_alone {
            false => Some(self.watermark(lower, &lower.expr)?),
            true => self.last(lower.is_left, lower.column, Some(&lower.expr))?,
        };
        let Some(others) = others else { return Ok(None) };
        let expr = physical(&upper.expr, self.side(upper.is_left).schema)?;
        let horizon = Horizon { source: TimeSource::All(vec![own, others]), watermark: None };
        Ok(Some((RowTime { expr, drops_null }, horizon)))
    }
}

/// The one column of an expression that follows one.
fn first_column(expr: &Expr) -> Result<Expr> {
    let column = expr.column_refs().into_iter().next().cloned();
    column.map(Expr::Column).ok_or_else(|| Error::bug("a time without a column"))
}

impl Lowering<'_> {
    /// What the conditions of a join say about the event times of its rows. Nothing, if it does not follow event time.
    pub(super) fn interval(&self, plan: &JoinPlan, left: usize, right: usize) -> Result<Interval> {
        let Some(filter) = plan.filter.as_ref().filter(|_| self.on_close) else { return Ok(Interval::default()) };
        let (left_schema, right_schema) = (plan.left.schema().as_ref(), plan.right.schema().as_ref());
        let timed = |expr: &Expr| {
            let of = |is_left: bool, node: usize, schema| {
                let column = follows(expr, schema)?;
                let carried = self.nodes[node].times.iter().any(|t| t.column == column);
                carried.then(|| Timed { is_left, column, expr: expr.clone() })
            };
            of(true, left, left_schema).or_else(|| of(false, right, right_schema))
        };
        let pair = |expr: &Expr| {
            let Expr::BinaryExpr(BinaryExpr { left, op, right }) = expr else { return None };
            let (lower, upper) = match op {
                Op::Lt | Op::LtEq => (left, right),
                Op::Gt | Op::GtEq => (right, left),
                _ => return None,
            };
            let (lower, upper) = (timed(lower)?, timed(upper)?);
            (lower.is_left != upper.is_left).then_some(Pair { lower, upper })
        };
        let sides = Sides {
            left: Input { node: left, schema: left_schema },
            right: Input { node: right, schema: right_schema },
            pairs: split_conjunction(filter).into_iter().filter_map(pair).collect(),
        };
        let alone = |is_left: bool| match plan.join_type {
            JoinType::Inner => false,
            JoinType::Full => true,
            JoinType::Left | JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark => is_left,
            JoinType::Right | JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark => !is_left,
        };
        let mut out = Interval::default();
        for pair in &sides.pairs {
            let is_left = pair.upper.is_left;
            let drops_null = self.nodes[if is_left { left } else { right }].append_only;
            if let Some(dropped) = sides.dropped(pair, alone(!is_left), drops_null)? {
                (if is_left { &mut out.left } else { &mut out.right }).push(dropped);
            }
            if let Some(source) = sides.last(is_left, pair.upper.column, None)? {
                out.times.push((is_left, pair.upper.column, source));
            }
        }
        Ok(out)
    }
}
