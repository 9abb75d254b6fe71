//! Which columns of a node carry event time: those that a monotone expression makes of one that does.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::{Expr, Join as JoinPlan, Operator as Op, Union as UnionPlan, Unnest};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use fleuve_types::{Error, Result};

use super::Lowering;
use super::map::plain_column;
use crate::circuit::Node;
use crate::event_time::{TimeColumn, TimeSource, TimeStep, is_time};
use crate::operators::gate::Gate;
use crate::operators::physical;

/// The column of `input` that an expression follows: the later the one, the later (or equal) the other.
pub(super) fn follows(expr: &Expr, input: &DFSchema) -> Option<usize> {
    match followed(expr)? {
        Expr::Column(column) => input.maybe_index_of_column(column),
        _ => None,
    }
}

/// What an expression follows, itself at the least.
fn followed(expr: &Expr) -> Option<&Expr> {
    let constant = |e: &Expr| matches!(e, Expr::Literal(..));
    match expr {
        Expr::Alias(alias) => followed(&alias.expr),
        Expr::Cast(c) => followed(&c.expr).filter(|_| is_time(c.field.data_type())),
        Expr::BinaryExpr(b) if matches!(b.op, Op::Plus | Op::Minus) && is_shift(&b.right, &b.left) => followed(&b.left),
        Expr::BinaryExpr(b) if b.op == Op::Plus && is_shift(&b.left, &b.right) => followed(&b.right),
        Expr::ScalarFunction(f) => {
            let at = match f.name() {
                "date_bin" | "date_trunc" => 1,
                "fleuve_tumble" | "fleuve_shift" | "fleuve_hop" | "fleuve_cumulate" | fleuve_batch::MICROS_OF => 0,
                _ => return Some(expr),
            };
            let others_are_constant = f.args.iter().enumerate().all(|(i, a)| i == at || constant(a));
            followed(f.args.get(at)?).filter(|_| others_are_constant)
        }
        _ => Some(expr),
    }
}

/// True for a constant interval that keeps the order of what it is added to. Months do not: the 30th and the 31st of January both
/// become the last of February, whatever their hour. Of the starts of months they do.
pub(super) fn is_shift(interval: &Expr, of: &Expr) -> bool {
    let months = match interval {
        Expr::Literal(ScalarValue::IntervalMonthDayNano(Some(v)), _) => v.months != 0,
        Expr::Literal(ScalarValue::IntervalDayTime(Some(_)), _) => false,
        Expr::Literal(ScalarValue::IntervalYearMonth(Some(_)), _) => true,
        _ => return false,
    };
    !months || starts_months(of)
}

fn starts_months(expr: &Expr) -> bool {
    match expr {
        Expr::Alias(a) => starts_months(&a.expr),
        Expr::ScalarFunction(f) => match (f.name(), f.args.first()) {
            ("date_bin", Some(Expr::Literal(ScalarValue::IntervalMonthDayNano(Some(v)), _))) => {
                v.months != 0 && v.days == 0 && v.nanoseconds == 0
            }
            ("date_trunc", Some(Expr::Literal(value, _))) => {
                matches!(value.try_as_str().flatten(), Some("month" | "quarter" | "year"))
            }
            _ => false,
        },
        _ => false,
    }
}

/// `expr`, which reads one column, over a row of that column alone.
pub(super) fn alone(expr: &Arc<dyn PhysicalExpr>) -> Result<Arc<dyn PhysicalExpr>> {
    let moved = expr.clone().transform(|e| {
        let column = (e.as_ref() as &dyn std::any::Any).downcast_ref::<Column>().map(|c| Column::new(c.name(), 0));
        Ok(match column {
            Some(column) => Transformed::yes(Arc::new(column) as Arc<dyn PhysicalExpr>),
            None => Transformed::no(e),
        })
    });
    moved.map(|t| t.data).map_err(|e| Error::bug(e.to_string()))
}

/// Which keys carry event time, by number, and what.
pub(super) type TimeKeys = Vec<(usize, TimeSource)>;

/// The event times of a row as it passes through projections and filters.
#[derive(Clone)]
pub(super) struct Times(Vec<TimeColumn>);

impl Times {
    /// The columns of a node, to be followed.
    pub(super) fn of(number: usize, node: &Node) -> Self {
        let of = |t: &TimeColumn| {
            TimeColumn::new(t.column, TimeSource::Least { of: vec![(number, t.column)], steps: vec![] })
        };
        Self(node.times.iter().map(of).collect())
    }

    fn find(&self, column: usize) -> Option<&TimeSource> {
        self.0.iter().find(|t| t.column == column).map(|t| &t.source)
    }

    /// What an expression over these columns carries.
    fn expression(&self, expr: &Expr, input: &DFSchema) -> Result<Option<TimeSource>> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let Some(leaf) = followed(expr) else { return Ok(None) };
        if let Some(all) = choices(leaf) {
            // Whichever it is, it is not below the least of them.
            let mut least = vec![];
            let Some(column) = all.first().and_then(|e| plain_column(e, input)) else { return Ok(None) };
            for argument in all {
                match plain_column(argument, input).and_then(|c| self.find(c)) {
                    Some(TimeSource::Least { of, steps }) if steps.is_empty() => least.extend(of),
                    _ => return Ok(None),
                }
            }
            let mut steps = vec![];
            if expr.clone().unalias() != *leaf {
                let one = Expr::Column(input.columns()[column].clone());
                let over = expr.clone().transform_down(|e| {
                    let is_leaf = e == *leaf;
                    Ok(if is_leaf {
                        Transformed::new(one.clone(), true, TreeNodeRecursion::Jump)
                    } else {
                        Transformed::no(e)
                    })
                });
                let over = over.map_err(|e| Error::bug(e.to_string()))?.data;
                steps.push(TimeStep {
                    expr: alone(&physical(&over, input)?)?,
                    input: input.field(column).data_type().clone(),
                });
            }
            return Ok(Some(TimeSource::Least { of: least, steps }));
        }
        let Some(column) = follows(expr, input) else { return Ok(None) };
        let Some(TimeSource::Least { of, steps }) = self.find(column) else { return Ok(None) };
        let mut steps = steps.clone();
        if plain_column(expr, input).is_none() {
            steps.push(TimeStep {
                expr: alone(&physical(expr, input)?)?,
                input: input.field(column).data_type().clone(),
            });
        }
        Ok(Some(TimeSource::Least { of: of.clone(), steps }))
    }

    /// Behind a projection.
    pub(super) fn project(&self, exprs: &[Expr], input: &DFSchema) -> Result<Self> {
        let mut out = vec![];
        for (column, expr) in exprs.iter().enumerate() {
            if let Some(source) = self.expression(expr, input)? {
                out.push(TimeColumn::new(column, source));
            }
        }
        Ok(Self(out))
    }

    pub(super) fn into_columns(self) -> Vec<TimeColumn> {
        self.0
    }
}

/// What the value of an expression is one of, if it is a choice (`coalesce`, CASE) and not NULL.
fn choices(expr: &Expr) -> Option<Vec<&Expr>> {
    match expr {
        Expr::Alias(a) => choices(&a.expr),
        Expr::ScalarFunction(f) if f.name() == "coalesce" => Some(f.args.iter().collect()),
        Expr::Case(case) => Some(
            case.when_then_expr
                .iter()
                .map(|(_, then)| then)
                .chain(&case.else_expr)
                .map(AsRef::as_ref)
                .filter(|e| !matches!(e, Expr::Literal(value, _) if value.is_null()))
                .collect(),
        ),
        _ => None,
    }
}

impl Lowering<'_> {
    /// Gives a node the columns that carry event time.
    pub(super) fn carries(&mut self, node: usize, times: Vec<TimeColumn>) {
        self.nodes[node].times = times;
    }

    /// Keys over `input` that carry event time: `(number of the key, what it carries)`.
    pub(super) fn time_keys(&self, input: usize, keys: &[Expr], schema: &DFSchema) -> Result<TimeKeys> {
        let times = Times::of(input, &self.nodes[input]);
        let mut out = vec![];
        for (number, key) in keys.iter().enumerate() {
            if let Some(source) = times.expression(key, schema)? {
                out.push((number, source));
            }
        }
        Ok(out)
    }

    /// The keys of PARTITION BY that carry event time: their numbers, and the columns where their values stand behind the
    /// operator, whose first columns are its input's. Only a key that is a column can be followed further.
    pub(super) fn partition_times(
        &self,
        input: usize,
        keys: &[Expr],
        schema: &DFSchema,
    ) -> Result<(Vec<usize>, Vec<TimeColumn>)> {
        let keys_of = self.time_keys(input, keys, schema)?;
        let column = |(number, source)| Some((number, TimeColumn::new(plain_column(&keys[number], schema)?, source)));
        Ok(keys_of.into_iter().filter_map(column).unzip())
    }

    /// A node closes windows by all of these columns, which carry event time.
    pub(super) fn closes_by(&mut self, node: usize, times: Vec<TimeColumn>) {
        self.nodes[node].close_by = (0..times.len()).collect();
        self.carries(node, times);
    }

    /// The event times of an input, unchanged.
    pub(super) fn same_times(&self, input: usize) -> Vec<TimeColumn> {
        Times::of(input, &self.nodes[input]).into_columns()
    }

    /// Columns that carry event time in every input.
    pub(super) fn union_times(&self, plan: &UnionPlan, inputs: &[usize]) -> Vec<TimeColumn> {
        let carried = |node: &usize, column: usize| self.nodes[*node].times.iter().any(|t| t.column == column);
        (0..plan.schema.fields().len())
            .filter(|c| !inputs.is_empty() && inputs.iter().all(|n| carried(n, *c)))
            .map(|c| {
                let of = inputs.iter().map(|n| (*n, c)).collect();
                TimeColumn::new(c, TimeSource::Least { of, steps: vec![] })
            })
            .collect()
    }

    /// Keys of a join that carry event time on both sides: `(number of the key, left column, right column)`.
    pub(super) fn join_times(&self, plan: &JoinPlan, left: usize, right: usize) -> Vec<(usize, usize, usize)> {
        let carried = |node: usize, column: usize| self.nodes[node].times.iter().any(|t| t.column == column);
        let columns = plan.on.iter().enumerate().filter_map(|(number, (l, r))| {
            let (l, r) = (plain_column(l, plan.left.schema())?, plain_column(r, plan.right.schema())?);
            (carried(left, l) && carried(right, r)).then_some((number, l, r))
        });
        columns.collect()
    }

    /// Behind an unnest: the items of lists, and the columns beside them.
    pub(super) fn unnest_times(&self, unnest: &Unnest, input: usize) -> Vec<TimeColumn> {
        let times = Times::of(input, &self.nodes[input]);
        let column = |(column, from): (usize, &usize)| {
            is_time(unnest.schema.field(column).data_type())
                .then(|| times.find(*from).map(|s| TimeColumn::new(column, s.clone())))
                .flatten()
        };
        unnest.dependency_indices.iter().enumerate().filter_map(column).collect()
    }

    /// The node that shows rows of `root` only when the watermark has passed them.
    pub(super) fn gate(&mut self, root: usize) -> Result<usize> {
        let times: Vec<usize> = self.nodes[root]
            .times
            .iter()
            .map(|t| t.column)
            .filter(|c| is_time(self.nodes[root].schema.field(*c).data_type()))
            .collect();
        if times.is_empty() {
            let why = if self.has_event_time {
                "no column of the answer follows the event time of a stream"
            } else {
                "the query reads no stream that has a watermark"
            };
            return Err(Error::input(format!("EMIT ON WINDOW CLOSE cannot tell when a row is final: {why}")).hint(
                if self.has_event_time {
                    "put window_start, window_end or the event time (as it is, or through date_bin or date_trunc) into the select list \
                     and, if there is one, into GROUP BY; a join needs it equal on both sides, and a window function takes it from a subquery: \
                     OVER (PARTITION BY m) FROM (SELECT *, date_trunc('minute', ts) AS m FROM ...)"
                } else {
                    "declare WATERMARK FOR ts AS ts - INTERVAL '5 seconds' in CREATE STREAM, and use ts in the query"
                },
            ));
        }
        if self.nodes[root].is_closed {
            self.nodes[root].append_only = true;
            return Ok(root);
        }
        let (schema, key) = (self.nodes[root].schema.clone(), self.nodes[root].key.clone());
        let operator = Gate::new(schema.clone(), times.clone())?;
        let node = self.node(Box::new(operator), vec![root], schema, true, key);
        let carried = self.same_times(root).into_iter().filter(|t| times.contains(&t.column)).collect();
        self.carries(node, carried);
        self.nodes[node].close_by = (0..times.len()).collect();
        self.nodes[node].is_closed = true;
        Ok(node)
    }
}
