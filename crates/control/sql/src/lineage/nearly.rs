//! Why is a row not here? The condition is followed down the plan, as far as it can be said of a node's inputs, to the first node that
//! had such rows and let none of them pass.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::utils::{split_conjunction, split_conjunction_owned};
use datafusion::logical_expr::{Aggregate, Expr, Filter, Join, JoinType, LogicalPlan};
use fleuve_types::{AS_OF_FUNCTION, Result};

use super::as_of::as_of_call;
use super::failing::of_success;
use super::names::{self, listed};
use super::trace::{Step, Tracer, rows_where};
use super::withheld::withheld;
use super::{Reads, Scanned};
use crate::Spec;
use crate::errors::of_datafusion;

const NO_PARTNER: &str = "left out, as it has no partner in a join";

/// Nodes that are looked at.
const MAX_NODES: usize = 1000;

/// What a condition on a plan's output says of its input.
fn on_columns(
    conditions: &[Expr],
    output: &LogicalPlan,
    mut to: impl FnMut(usize) -> Option<Expr>,
) -> Result<Vec<Expr>> {
    let mut out = vec![];
    for condition in conditions {
        let mut known = true;
        let said = condition.clone().transform_up(|e| match &e {
            Expr::Column(c) => match output.schema().maybe_index_of_column(c).and_then(&mut to) {
                Some(expr) => Ok(Transformed::yes(expr)),
                None => {
                    known = false;
                    Ok(Transformed::no(e))
                }
            },
            _ => Ok(Transformed::no(e)),
        });
        let said = said.map_err(|e| of_datafusion(&e))?.data;
        if known {
            out.push(said);
        }
    }
    Ok(out)
}

/// A plan's columns by their numbers.
fn columns_of(plan: &LogicalPlan, from: usize) -> impl FnMut(usize) -> Option<Expr> + use<> {
    let columns = plan.schema().columns();
    move |i| columns.get(i.checked_sub(from)?).cloned().map(Expr::Column)
}

/// What is said of rows, and those rows.
pub(crate) type Done = (String, Step);

/// The first node on the way that had rows like those asked for and let none pass: what it says, and those rows.
pub(crate) async fn nearly(tracer: &Tracer, root: Step, view: &Scanned, condition: Expr) -> Result<Vec<Done>> {
    let conditions = split_conjunction_owned(condition);
    if let Some(done) = withheld(tracer, &root, view, &conditions).await? {
        return Ok(done);
    }
    let found = left_out(tracer, root.clone(), conditions.clone()).await?;
    if !found.is_empty() || root.reads == Reads::All {
        return Ok(found);
    }
    // Late rows may have been left out for another reason, too.
    let plan = Arc::new(tracer.ground.over(root.plan.as_ref().clone(), Reads::All)?);
    let found = left_out(tracer, Step { plan, reads: Reads::Late, ..root }, conditions).await?;
    Ok(found.into_iter().map(|(why, step)| (format!("{why}, and as it was late"), step)).collect())
}

/// What [`nearly`] finds on the way down a plan.
async fn left_out(tracer: &Tracer, root: Step, mut conditions: Vec<Expr>) -> Result<Vec<Done>> {
    let mut at = root;
    for _ in 0..MAX_NODES {
        let plan = at.plan.clone();
        let found = match plan.as_ref() {
            LogicalPlan::Projection(p) => {
                let exprs: Vec<Expr> = p.expr.iter().map(|e| e.clone().unalias_nested().data).collect();
                conditions = on_columns(&conditions, &plan, |i| exprs.get(i).cloned())?;
                at = at.onto(&p.input);
                continue;
            }
            LogicalPlan::SubqueryAlias(alias) => {
                conditions = on_columns(&conditions, &plan, columns_of(&alias.input, 0))?;
                at = at.onto(&alias.input);
                continue;
            }
            LogicalPlan::Sort(sort) if sort.fetch.is_none() => {
                at = at.onto(&sort.input);
                continue;
            }
            LogicalPlan::Filter(filter) => {
                let written = names::condition(&filter.predicate, &[&filter.input]).join(" AND ");
                let why = match of_success(&filter.predicate) {
                    _ if asks_for_partner(&filter.predicate) => NO_PARTNER.into(),
                    Some(_) => {
                        let fails = failing_for(tracer, filter, &conditions).await?;
                        format!("left out, as it makes this fail: {}", listed(&fails, &filter.input))
                    }
                    None if written.is_empty() => "left out by a condition".into(),
                    None => format!("left out, as this is not true of it: {written}"),
                };
                Found { why, input: filter.input.clone(), conditions: conditions.clone(), passes: true }
            }
            LogicalPlan::Sort(sort) => Found {
                why: "left out, as others come first in the order".into(),
                input: sort.input.clone(),
                conditions: conditions.clone(),
                passes: true,
            },
            LogicalPlan::Limit(limit) => {
                let why = "left out by LIMIT".into();
                Found { why, input: limit.input.clone(), conditions: conditions.clone(), passes: true }
            }
            LogicalPlan::Aggregate(aggregate) => match group(tracer, &at, aggregate, &conditions).await? {
                Ok(done) => return Ok(vec![done]),
                Err(below) => {
                    conditions = below;
                    at = at.onto(&aggregate.input);
                    continue;
                }
            },
            LogicalPlan::Window(window) if as_of_call(window).is_some() => {
                let (columns, width) = (plan.schema().columns(), window.input.schema().fields().len());
                let of_left = |i| columns[..width].get(i).cloned().map(Expr::Column);
                let own = on_columns(&conditions, &plan, of_left)?;
                if own.is_empty() {
                    return Ok(vec![]);
                }
                let rows = rows_where(&tracer.ground, &plan, all_of(&own)).await?;
                let found = ("there, with another partner in a join".into(), at.of(&plan, rows));
                return Ok(Some(found).into_iter().filter(|(_, step)| step.wanted.rows() > 0).collect());
            }
            LogicalPlan::Window(window) => {
                let own = on_columns(&conditions, &plan, columns_of(&window.input, 0))?;
                let why = "there, with other values of its window functions".into();
                let passes = own.len() == conditions.len();
                Found { why, input: window.input.clone(), conditions: own, passes }
            }
            LogicalPlan::Join(join) => match sides(tracer, &at, join, &conditions).await? {
                Sides::Done(done) => return Ok(done),
                Sides::Down(side, below) => {
                    conditions = below;
                    at = at.onto(&side);
                    continue;
                }
                Sides::Unknown => return Ok(vec![]),
            },
            LogicalPlan::TableScan(scan) => {
                let Some(object) = tracer.ground.object(scan) else { return Ok(vec![]) };
                let Spec::View(view) = &object.bound.spec else { return Ok(vec![]) };
                let below = Arc::new(tracer.ground.plan_of(view)?);
                let projected = scan.projection.clone();
                let mut of_below = columns_of(&below, 0);
                let place = |i: usize| projected.as_ref().map_or(Some(i), |p| p.get(i).copied());
                conditions = on_columns(&conditions, &plan, |i| of_below(place(i)?))?;
                at = Step { plan: below, reads: Reads::of(view), ..at }.via(object.shown());
                if let Some(done) = withheld(tracer, &at, &object, &conditions).await? {
                    return Ok(done);
                }
                continue;
            }
            _ => return Ok(vec![]),
        };
        let rows = rows_where(&tracer.ground, &found.input, all_of(&found.conditions)).await?;
        if rows.rows() > 0 {
            // Where such rows pass, it is not this node that leaves them out.
            let passed = match found.passes {
                true => rows_where(&tracer.ground, &plan, all_of(&conditions)).await?.rows(),
                false => 0,
            };
            return Ok(if passed > 0 { vec![] } else { vec![(found.why, at.of(&found.input, rows))] });
        }
        conditions = found.conditions;
        at = at.onto(&found.input);
    }
    Ok(vec![])
}

/// The expressions that fail for rows which a filter of those that do not fail was given.
async fn failing_for(tracer: &Tracer, filter: &Filter, conditions: &[Expr]) -> Result<Vec<Expr>> {
    let mut found = vec![];
    for part in split_conjunction(&filter.predicate) {
        let conditions: Vec<Expr> = conditions.iter().cloned().chain([Expr::Not(Box::new(part.clone()))]).collect();
        let fails = of_success(part).into_iter().flatten();
        if rows_where(&tracer.ground, &filter.input, all_of(&conditions)).await?.rows() > 0 {
            found.extend(fails.cloned());
        }
    }
    Ok(found)
}

/// Whether a condition is that of an as-of join.
fn asks_for_partner(condition: &Expr) -> bool {
    condition.column_refs().iter().any(|column| column.name.starts_with(AS_OF_FUNCTION))
}

/// A node whose input had the rows.
struct Found {
    why: String,
    input: Arc<LogicalPlan>,
    conditions: Vec<Expr>,
    /// The node's own columns tell whether such rows passed it.
    passes: bool,
}

pub(super) fn all_of(conditions: &[Expr]) -> Option<Expr> {
    conditions.iter().cloned().reduce(Expr::and)
}

/// The group may be there with other values; if not, its rows may be.
async fn group(
    tracer: &Tracer,
    at: &Step,
    aggregate: &Aggregate,
    conditions: &[Expr],
) -> Result<std::result::Result<Done, Vec<Expr>>> {
    if aggregate.group_expr.iter().any(|e| matches!(e, Expr::GroupingSet(_))) {
        return Ok(Err(vec![]));
    }
    let keys = aggregate.group_expr.len();
    let own = at.plan.schema().columns();
    let of_keys = on_columns(conditions, &at.plan, |i| own.get(i).filter(|_| i < keys).cloned().map(Expr::Column))?;
    if of_keys.len() < conditions.len() && (keys == 0 || !of_keys.is_empty()) {
        let rows = rows_where(&tracer.ground, &at.plan, all_of(&of_keys)).await?;
        if rows.rows() > 0 {
            let why = match listed(&aggregate.group_expr, &aggregate.input) {
                names if names.is_empty() => "the answer has other values".to_string(),
                names => format!("the group of {names} has other values"),
            };
            return Ok(Ok((why, at.of(&at.plan, rows))));
        }
    }
    on_columns(conditions, &at.plan, |i| aggregate.group_expr.get(i).cloned()).map(Err)
}

enum Sides {
    Done(Vec<Done>),
    Down(Arc<LogicalPlan>, Vec<Expr>),
    Unknown,
}

/// Either side may lack the rows; or both have them, and they do not meet.
async fn sides(tracer: &Tracer, at: &Step, join: &Join, conditions: &[Expr]) -> Result<Sides> {
    let left_width = join.left.schema().fields().len();
    let (left, right) = match join.join_type {
        JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark => {
            (None, Some(on_columns(conditions, &at.plan, columns_of(&join.right, 0))?))
        }
        JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark => {
            (Some(on_columns(conditions, &at.plan, columns_of(&join.left, 0))?), None)
        }
        _ => (
            Some(on_columns(conditions, &at.plan, columns_of(&join.left, 0))?),
            Some(on_columns(conditions, &at.plan, columns_of(&join.right, left_width))?),
        ),
    };
    let anti = matches!(join.join_type, JoinType::LeftAnti | JoinType::RightAnti);
    let mut steps = vec![];
    for (side, conditions) in [(&join.left, left), (&join.right, right)] {
        let Some(conditions) = conditions else { continue };
        if conditions.is_empty() {
            continue;
        }
        let rows = rows_where(&tracer.ground, side, all_of(&conditions)).await?;
        if rows.rows() == 0 {
            return Ok(Sides::Down(side.clone(), conditions));
        }
        steps.push(at.of(side, rows));
    }
    let why = if anti { "left out, as it has a partner that NOT IN or NOT EXISTS rules out" } else { NO_PARTNER };
    let done = steps.into_iter().map(|step| (why.to_string(), step)).collect::<Vec<_>>();
    Ok(if done.is_empty() { Sides::Unknown } else { Sides::Done(done) })
}
