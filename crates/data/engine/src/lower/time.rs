//! Which columns of a node carry event time: those that a monotone expression makes of one that does.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::Schema;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::{Case, Expr, Join as JoinPlan, Operator as Op, Union as UnionPlan, Unnest};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use fleuve_types::{Error, Result};

use super::Lowering;
use super::map::plain_column;
use crate::circuit::Node;
use crate::event_time::{Complete, TimeColumn, TimeSource, TimeStep, crossed, is_time, smallest, spread};
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

/// When the value of an expression that carries event time is not NULL.
enum Presence {
    /// When any of these columns is not.
    Any(Vec<usize>),
    /// When all of them are not.
    All(Vec<usize>),
    Unknown,
}

/// The event times of a row as it passes through projections and filters. Of keys they are numbered as these.
#[derive(Clone, Default)]
pub(super) struct Times {
    columns: Vec<TimeColumn>,
    /// Sets of them of which no row that has a time lacks all.
    complete: Complete,
}

impl Times {
    /// Sets that have other columns are left out.
    pub(super) fn new(columns: Vec<TimeColumn>, complete: Complete) -> Self {
        let carried: BTreeSet<usize> = columns.iter().map(|t| t.column).collect();
        Self { columns, complete: smallest(complete.into_iter().filter(|set| set.is_subset(&carried))) }
    }

    /// The columns of a node, to be followed.
    pub(super) fn of(number: usize, node: &Node) -> Self {
        let of = |t: &TimeColumn| {
            TimeColumn::new(t.column, TimeSource::Least { of: vec![(number, t.column)], steps: vec![] })
        };
        Self { columns: node.times.iter().map(of).collect(), complete: node.complete.clone() }
    }

    fn find(&self, column: usize) -> Option<&TimeSource> {
        self.columns.iter().find(|t| t.column == column).map(|t| &t.source)
    }

    /// True if no row that has a time lacks it in all of the columns that are points in time.
    pub(super) fn is_complete(&self, schema: &Schema) -> bool {
        self.complete.iter().any(|set| set.iter().all(|c| is_time(schema.field(*c).data_type())))
    }

    /// What an expression over these columns carries.
    fn expression(&self, expr: &Expr, input: &DFSchema) -> Result<Option<(TimeSource, Presence)>> {
        if self.columns.is_empty() {
            return Ok(None);
        }
        let Some(leaf) = followed(expr) else { return Ok(None) };
        if let Some(all) = choices(leaf) {
            let columns: Option<Vec<usize>> = all.iter().map(|e| plain_column(e, input)).collect();
            let sources: Option<Vec<&TimeSource>> = columns.iter().flatten().map(|c| self.find(*c)).collect();
            let (Some(columns), Some(sources)) = (columns, sources) else { return Ok(None) };
            let Some(column) = columns.first().copied() else { return Ok(None) };
            // Whichever it is, it is not below the least of them.
            let least: Option<Vec<_>> = sources.iter().map(|s| s.as_columns().map(<[_]>::to_vec)).collect();
            let is_leaf = expr.clone().unalias() == *leaf;
            let mut steps = vec![];
            if !is_leaf {
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
            let presence = match leaf {
                _ if takes_first(leaf) => Presence::Any(columns),
                Expr::Case(case) if has_no_null(case) => Presence::All(columns),
                _ => Presence::Unknown,
            };
            let source = match least {
                Some(least) => TimeSource::Least { of: least.concat(), steps },
                None if is_leaf => TimeSource::All(sources.into_iter().cloned().collect()),
                None => return Ok(None),
            };
            return Ok(Some((source, presence)));
        }
        let Some(column) = follows(expr, input) else { return Ok(None) };
        let Some(mut source) = self.find(column).cloned() else { return Ok(None) };
        if plain_column(expr, input).is_none() {
            let TimeSource::Least { steps, .. } = &mut source else { return Ok(None) };
            steps.push(TimeStep {
                expr: alone(&physical(expr, input)?)?,
                input: input.field(column).data_type().clone(),
            });
        }
        Ok(Some((source, Presence::Any(vec![column]))))
    }

    /// Behind a projection.
    pub(super) fn project(&self, exprs: &[Expr], input: &DFSchema) -> Result<Self> {
        let (mut columns, mut of_any, mut complete) = (vec![], vec![], vec![]);
        for (column, expr) in exprs.iter().enumerate() {
            let Some((source, presence)) = self.expression(expr, input)? else { continue };
            columns.push(TimeColumn::new(column, source));
            match presence {
                Presence::Any(of) => of_any.push((column, of)),
                Presence::All(of) if of.iter().all(|c| self.complete.contains(&BTreeSet::from([*c]))) => {
                    complete.push(BTreeSet::from([column]));
                }
                Presence::All(_) | Presence::Unknown => {}
            }
        }
        let shown = |column: usize| of_any.iter().filter(|(_, of)| of.contains(&column)).map(|(at, _)| *at).collect();
        complete.extend(spread(&self.complete, shown));
        Ok(Self::new(columns, complete))
    }

    /// With columns that are equal to others: of each pair the second to the first.
    pub(super) fn with_equals(mut self, pairs: &[(usize, usize)]) -> Self {
        let same = |column: usize| pairs.iter().filter(move |(of, _)| *of == column).map(|(_, equal)| *equal);
        self.complete = spread(&self.complete, |c| std::iter::once(c).chain(same(c)).collect());
        let equal = |t: &TimeColumn| same(t.column).map(|c| TimeColumn::new(c, t.source.clone())).collect::<Vec<_>>();
        let more: Vec<TimeColumn> = self.columns.iter().flat_map(equal).collect();
        self.columns.extend(more);
        self
    }

    /// With each column where it is then; those that are nowhere are left out.
    pub(super) fn moved(self, place: impl Fn(usize) -> Option<usize>) -> Self {
        let complete = spread(&self.complete, |c| place(c).into_iter().collect());
        let at = |t: TimeColumn| Some(TimeColumn { column: place(t.column)?, ..t });
        Self { columns: self.columns.into_iter().filter_map(at).collect(), complete }
    }

    /// Their numbers.
    pub(super) fn numbers(&self) -> Vec<usize> {
        self.columns.iter().map(|t| t.column).collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.columns.is_empty()
    }
}

/// True for a choice that is NULL only if all that it takes are: `coalesce`, which is planned as CASE.
fn takes_first(choice: &Expr) -> bool {
    match choice {
        Expr::ScalarFunction(f) => f.name() == "coalesce",
        Expr::Case(case) if case.expr.is_none() => {
            let is_there = |when: &Expr, then: &Expr| matches!(when, Expr::IsNotNull(of) if **of == *then);
            case.when_then_expr.iter().all(|(when, then)| is_there(when, then))
                && case.else_expr.as_ref().is_some_and(|e| !is_null(e))
        }
        _ => false,
    }
}

/// True if no branch is NULL as such.
fn has_no_null(case: &Case) -> bool {
    case.else_expr.as_ref().is_some_and(|e| !is_null(e)) && !case.when_then_expr.iter().any(|(_, then)| is_null(then))
}

fn is_null(expr: &Expr) -> bool {
    match expr {
        Expr::Alias(a) => is_null(&a.expr),
        Expr::Cast(c) => is_null(&c.expr),
        Expr::Literal(value, _) => value.is_null(),
        _ => false,
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
                .filter(|e| !is_null(e))
                .collect(),
        ),
        _ => None,
    }
}

impl Lowering<'_> {
    /// The event times of a node, to be followed.
    pub(super) fn times_of(&self, node: usize) -> Times {
        Times::of(node, &self.nodes[node])
    }

    /// Gives a node the columns that carry event time.
    pub(super) fn carries(&mut self, node: usize, times: Times) {
        self.nodes[node].times = times.columns;
        self.nodes[node].complete = times.complete;
    }

    /// Keys over `input` that carry event time, by their numbers.
    pub(super) fn time_keys(&self, input: usize, keys: &[Expr], schema: &DFSchema) -> Result<Times> {
        self.times_of(input).project(keys, schema)
    }

    /// The keys of PARTITION BY that carry event time: their numbers, and the columns where their values stand behind the
    /// operator, whose first columns are its input's. Only a key that is a column can be followed further.
    pub(super) fn partition_times(
        &self,
        input: usize,
        keys: &[Expr],
        schema: &DFSchema,
    ) -> Result<(Vec<usize>, Times)> {
        let column = |number: usize| plain_column(&keys[number], schema);
        let times = self.time_keys(input, keys, schema)?;
        let numbers = times.numbers().into_iter().filter(|number| column(*number).is_some()).collect();
        Ok((numbers, times.moved(column)))
    }

    /// A node closes windows by all of these columns, which carry event time.
    pub(super) fn closes_by(&mut self, node: usize, times: Times) {
        self.nodes[node].close_by = (0..times.columns.len()).collect();
        self.carries(node, times);
    }

    /// Columns that carry event time in every input.
    pub(super) fn union_times(&self, plan: &UnionPlan, inputs: &[usize]) -> Times {
        let carried = |node: &usize, column: usize| self.nodes[*node].times.iter().any(|t| t.column == column);
        let columns = (0..plan.schema.fields().len())
            .filter(|c| !inputs.is_empty() && inputs.iter().all(|n| carried(n, *c)))
            .map(|c| {
                let of = inputs.iter().map(|n| (*n, c)).collect();
                TimeColumn::new(c, TimeSource::Least { of, steps: vec![] })
            })
            .collect();
        let complete = inputs.iter().map(|n| self.nodes[*n].complete.clone()).reduce(|a, b| crossed(&a, &b));
        Times::new(columns, complete.unwrap_or_default())
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
    pub(super) fn unnest_times(&self, unnest: &Unnest, input: usize) -> Times {
        let times = self.times_of(input);
        let column = |(column, from): (usize, &usize)| {
            is_time(unnest.schema.field(column).data_type())
                .then(|| times.find(*from).map(|s| TimeColumn::new(column, s.clone())))
                .flatten()
        };
        let columns = unnest.dependency_indices.iter().enumerate().filter_map(column).collect();
        // Of several lists the shorter ones are filled up with NULL.
        let is_filled = |from: usize| {
            unnest.list_type_columns.len() > 1 && unnest.list_type_columns.iter().any(|(at, _)| *at == from)
        };
        let places = |from: usize| {
            let of = unnest.dependency_indices.iter().enumerate().filter(|(_, of)| **of == from && !is_filled(from));
            of.map(|(at, _)| at).collect()
        };
        let complete = spread(&times.complete, places);
        Times::new(columns, complete)
    }
}
