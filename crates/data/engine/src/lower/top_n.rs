//! LIMIT, and filters on ranks, as the first rows of each partition.

use std::sync::Arc;

use arrow::compute::SortOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, ScalarValue, internal_err};
use datafusion::logical_expr::utils::{conjunction, split_conjunction};
use datafusion::logical_expr::{
    BinaryExpr, Expr, FetchType, Filter, LogicalPlan, Operator, Projection, SkipType, SortExpr, Window,
};
use fleuve_types::{Error, Result};

use super::fallback::has_order;
use super::map::plain_column;
use super::share::{Work, types};
use super::window::WindowCalls;
use super::{Lowering, close, loose};
use crate::operators::order::{SortKey, SortedRows};
use crate::operators::physical;
use crate::operators::top_n::{Bound, Ranking, TopN, TopNSpec};

/// What [`Lowering::top_n`] needs to know.
struct Firsts<'a> {
    input: &'a LogicalPlan,
    partition_by: &'a [Expr],
    order_by: &'a [SortExpr],
    bounds: Vec<Bound>,
    numbers: Vec<(Ranking, bool)>,
    /// The plan whose columns the operator puts out.
    of: &'a LogicalPlan,
}

/// An ORDER BY, runnable.
pub(super) fn sort_keys(order_by: &[SortExpr], input: &LogicalPlan) -> Result<Vec<SortKey>> {
    let key = |s: &SortExpr| {
        let options = SortOptions { descending: !s.asc, nulls_first: s.nulls_first };
        Ok(SortKey { expr: physical(&s.expr, input.schema())?, options })
    };
    order_by.iter().map(key).collect()
}

/// Rows that a LIMIT leaves, from 0.
#[derive(Clone, Copy)]
struct Slice {
    skip: u64,
    fetch: Option<u64>,
}

impl Slice {
    /// This slice of the rows that `inner` leaves.
    fn of(self, inner: Slice) -> Slice {
        let left = inner.fetch.map(|f| f.saturating_sub(self.skip));
        let fetch = match (left, self.fetch) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        Slice { skip: self.skip.saturating_add(inner.skip), fetch }
    }

    fn read(plan: &LogicalPlan) -> Result<Option<Slice>> {
        match plan {
            LogicalPlan::Sort(sort) => Ok(Some(Slice { skip: 0, fetch: sort.fetch.map(|n| n as u64) })),
            LogicalPlan::Limit(limit) => match (limit.get_skip_type(), limit.get_fetch_type()) {
                (Ok(SkipType::Literal(skip)), Ok(FetchType::Literal(fetch))) => {
                    Ok(Some(Slice { skip: skip as u64, fetch: fetch.map(|n| n as u64) }))
                }
                _ => Err(Error::unsupported("a LIMIT that is not a number has no incremental operator")),
            },
            _ => Ok(None),
        }
    }
}

impl Lowering<'_> {
    /// LIMIT and OFFSET, with the ORDER BY below them.
    pub(super) fn limit(&mut self, plan: &LogicalPlan) -> Result<usize> {
        let mut slice = Slice { skip: 0, fetch: None };
        // Projections between a LIMIT and its order do not change which rows are left.
        let mut chain = vec![];
        let mut at = plan;
        let order_by: &[SortExpr] = loop {
            if let Some(inner) = Slice::read(at)? {
                slice = slice.of(inner);
            }
            match at {
                LogicalPlan::Limit(limit) if has_order(&limit.input) => at = &limit.input,
                LogicalPlan::Limit(limit) => {
                    at = &limit.input;
                    break &[];
                }
                LogicalPlan::Sort(sort) => {
                    at = &sort.input;
                    break &sort.expr;
                }
                LogicalPlan::Projection(p) => {
                    chain.push(at);
                    at = &p.input;
                }
                LogicalPlan::SubqueryAlias(a) => at = &a.input,
                other => return Err(Error::bug(format!("{} was taken for a part of a LIMIT", other.display()))),
            }
        };
        let last = slice.fetch.map_or(u64::MAX, |n| slice.skip.saturating_add(n));
        let bounds = vec![Bound { ranking: Ranking::RowNumber, first: slice.skip.saturating_add(1), last }];
        let firsts = Firsts { input: at, partition_by: &[], order_by, bounds, numbers: vec![], of: at };
        let node = self.top_n(firsts)?;
        if chain.is_empty() { Ok(node) } else { self.map_over(&chain, node) }
    }

    /// A window function under a chain of filters and projections, the topmost first, if the filters bound its ranks. Gives the
    /// operator and the chain that is left.
    pub(super) fn first_ranks(
        &mut self,
        chain: &[&LogicalPlan],
        plan: &LogicalPlan,
        window: &Window,
    ) -> Result<Option<(usize, Vec<LogicalPlan>)>> {
        let Some(calls) = WindowCalls::of(window) else { return Ok(None) };
        let Some(rankings) = calls.functions.iter().map(|f| ranking(f.fun.name())).collect::<Option<Vec<_>>>() else {
            return Ok(None);
        };
        let inputs = window.input.schema().fields().len();
        let (above, filters) = filters_first(chain, plan)?;
        let mut bounds: Vec<Bound> = vec![];
        let mut left: Vec<LogicalPlan> = vec![];
        let mut is_read = vec![false; rankings.len()];
        // The columns that follow those of the window's input are the numbers.
        let mut read = |expr: &Expr, of: &DFSchema| {
            for column in expr.column_refs() {
                if let Some(n) = of.maybe_index_of_column(column).and_then(|c| c.checked_sub(inputs)) {
                    is_read[n] = true;
                }
            }
        };
        for mut filter in filters {
            let mut rest: Vec<Expr> = vec![];
            for part in split_conjunction(&filter.predicate) {
                match bound(part, window, inputs, &rankings) {
                    Some(b) => bounds.push(b),
                    None => {
                        read(part, &window.schema);
                        rest.push(part.clone());
                    }
                }
            }
            if let Some(predicate) = conjunction(rest) {
                filter.predicate = predicate;
                left.push(LogicalPlan::Filter(filter));
            }
        }
        match above.last() {
            Some(LogicalPlan::Projection(p)) => p.expr.iter().for_each(|e| read(e, p.input.schema())),
            _ => is_read.fill(true),
        }
        let bounds = merge(bounds);
        let first_of_kind = rankings.iter().enumerate().all(|(n, r)| !rankings[..n].contains(r));
        if !bounds.iter().any(|b| b.last < u64::MAX) || !first_of_kind {
            return Ok(None);
        }
        let numbers = rankings.into_iter().zip(is_read).collect();
        let (partition_by, order_by) = (calls.partition_by, calls.order_by);
        let firsts = Firsts { input: &window.input, partition_by, order_by, bounds, numbers, of: plan };
        let node = self.top_n(firsts)?;
        left.reverse();
        let chain = above.into_iter().cloned().chain(left).collect();
        Ok(Some((node, chain)))
    }

    fn top_n(&mut self, firsts: Firsts<'_>) -> Result<usize> {
        let input = self.plan(firsts.input)?;
        let input_schema = self.nodes[input].schema.clone();
        let from = firsts.input.schema();
        let keys = firsts.partition_by.iter().map(|k| physical(k, from)).collect::<Result<Vec<_>>>()?;
        let rows = SortedRows::new(sort_keys(firsts.order_by, firsts.input)?, &input_schema)?;
        let schema = if firsts.numbers.is_empty() { input_schema.clone() } else { loose(firsts.of.schema()) };
        let is_one = |b: &Bound| b.ranking == Ranking::RowNumber && b.first.max(1) == b.last;
        let is_limit = firsts.numbers.is_empty();
        let one_each = firsts.bounds.iter().any(is_one);
        let partition = || firsts.partition_by.iter().map(|k| plain_column(k, from)).collect::<Option<Vec<usize>>>();
        let key = one_each.then(partition).flatten().or_else(|| self.nodes[input].key.clone());
        let mut work = Work::new("top-n", format!("{:?} {:?} {}", firsts.bounds, firsts.numbers, types(&schema)));
        let options: Vec<_> = rows.keys.iter().map(|k| k.options).collect();
        work.tell(&[format!("{options:?}")]);
        let exprs = keys.iter().map(Some).chain([None]).chain(rows.keys.iter().map(|k| Some(&k.expr)));
        if let Some(same) = self.same_rows(&mut work, &[input], exprs)? {
            return Ok(same);
        }
        let spec = TopNSpec {
            keys,
            rows,
            bounds: firsts.bounds,
            numbers: firsts.numbers,
            append_only: self.nodes[input].append_only,
            input_schema,
            schema: schema.clone(),
        };
        let mut operator = TopN::new(spec, self.shards)?;
        let (numbers, times) = self.partition_times(input, firsts.partition_by, from)?;
        operator.close_by(numbers);
        let node = self.node(Box::new(operator), vec![input], schema, false, key);
        self.shrinks(node, || "a row goes when enough others come before it".into());
        self.closes_by(node, times);
        self.loses(node, input, from, || {
            if is_limit {
                return (
                    "LIMIT does not keep the event time, as later rows take the places of others".into(),
                    close::LEAVE_OUT,
                );
            }
            let why = "the first rows of each partition keep the event time only as a column in PARTITION BY";
            (why.into(), close::PARTITION_BY)
        });
        self.does(node, work);
        Ok(node)
    }
}

/// The filters that stand over a window, the lowest first, with the columns of `window`; and what is left of the chain above them. Columns that
/// nobody reads are left out as early as can be, right above the window; the filters then come before that.
fn filters_first<'a>(chain: &[&'a LogicalPlan], window: &LogicalPlan) -> Result<(Vec<&'a LogicalPlan>, Vec<Filter>)> {
    let (mut passed, mut filters): (Vec<(&LogicalPlan, &Projection)>, Vec<Filter>) = (vec![], vec![]);
    let input = Arc::new(window.clone());
    let mut steps = 0;
    for (at, step) in chain.iter().rev().enumerate() {
        match step {
            LogicalPlan::Projection(p) if p.expr.iter().all(|e| plain_column(e, p.input.schema()).is_some()) => {
                passed.push((*step, p));
            }
            LogicalPlan::Filter(filter) => {
                let predicate = below(&filter.predicate, filter.input.schema(), &passed, window.schema())?;
                let filter = Filter::try_new(predicate, input.clone()).map_err(|e| Error::bug(e.to_string()))?;
                filters.push(filter);
                steps = at + 1;
            }
            _ => break,
        }
    }
    let above = &chain[..chain.len() - steps];
    let passed = passed.iter().filter(|(step, _)| !above.iter().any(|a| std::ptr::eq(*a, *step)));
    Ok((above.iter().copied().chain(passed.rev().map(|(step, _)| *step)).collect(), filters))
}

/// An expression over `columns` as one over `lowest`, which projections lie over, the topmost last.
fn below(
    expr: &Expr,
    columns: &DFSchema,
    projections: &[(&LogicalPlan, &Projection)],
    lowest: &DFSchema,
) -> Result<Expr> {
    let place = |column: &Column| {
        let first = columns.maybe_index_of_column(column)?;
        projections.iter().rev().try_fold(first, |at, (_, p)| plain_column(p.expr.get(at)?, p.input.schema()))
    };
    let replaced = expr.clone().transform(|e| match &e {
        Expr::Column(column) => match place(column) {
            Some(at) => Ok(Transformed::yes(Expr::Column(Column::from(lowest.qualified_field(at))))),
            None => internal_err!("a condition on {column}, which is not there"),
        },
        _ => Ok(Transformed::no(e)),
    });
    Ok(replaced.map_err(|e| Error::bug(e.to_string()))?.data)
}

fn ranking(function: &str) -> Option<Ranking> {
    match function {
        "row_number" => Some(Ranking::RowNumber),
        "rank" => Some(Ranking::Rank),
        "dense_rank" => Some(Ranking::DenseRank),
        _ => None,
    }
}

/// `column op number` of a rank, as a bound.
fn bound(expr: &Expr, window: &Window, inputs: usize, rankings: &[Ranking]) -> Option<Bound> {
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = expr else { return None };
    let (column, op, value) = match (left.as_ref(), right.as_ref()) {
        (Expr::Column(c), Expr::Literal(v, _)) => (c, *op, v),
        (Expr::Literal(v, _), Expr::Column(c)) => (c, op.swap()?, v),
        _ => return None,
    };
    let ranking = *rankings.get(window.schema.maybe_index_of_column(column)?.checked_sub(inputs)?)?;
    let ScalarValue::Int64(Some(n)) = value else { return None };
    // There is no rank below 1.
    let rank = |n: i64| n.max(0) as u64;
    let (first, last) = match op {
        Operator::LtEq => (1, rank(*n)),
        Operator::Lt => (1, rank(n.saturating_sub(1))),
        Operator::Eq => (rank(*n), rank(*n)),
        Operator::GtEq => (rank(*n), u64::MAX),
        Operator::Gt => (rank(n.saturating_add(1)), u64::MAX),
        _ => return None,
    };
    Some(Bound { ranking, first, last })
}

/// One bound for each kind of rank.
fn merge(bounds: Vec<Bound>) -> Vec<Bound> {
    let mut out: Vec<Bound> = vec![];
    for bound in bounds {
        match out.iter_mut().find(|b| b.ranking == bound.ranking) {
            Some(b) => {
                b.first = b.first.max(bound.first);
                b.last = b.last.min(bound.last);
            }
            None => out.push(bound),
        }
    }
    out
}
