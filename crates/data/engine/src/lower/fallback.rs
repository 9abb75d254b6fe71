//! Parts of a plan that the batch engine runs: by change (flat map), by key (partitioned), or whole (recompute).

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::{Expr, Extension, LogicalPlan};
use fleuve_types::{Error, Result};

use super::aggregate::not_grouped;
use super::map::plain_column;
use super::share::Work;
use super::time::Times;
use super::{Lowering, close, loose};
use crate::operators::flat_map::FlatMap;
use crate::operators::partitioned::{Partitioned, PartitionedSpec};
use crate::operators::recompute::Recompute;
use crate::operators::{Cell, CellNode, PlanRunner, physical};

fn bug(e: datafusion::error::DataFusionError) -> Error {
    Error::unsupported(format!("this part of the query cannot be planned: {}", e.strip_backtrace()))
}

impl Lowering<'_> {
    fn cell(&mut self, of: &LogicalPlan) -> (Cell, LogicalPlan) {
        let cell = Cell::default();
        self.cells += 1;
        let node = CellNode { number: self.cells, schema: of.schema().clone(), cell: cell.clone() };
        (cell, LogicalPlan::Extension(Extension { node: Arc::new(node) }))
    }

    /// `plan` with its one input replaced by a cell.
    fn over_cell(&mut self, plan: &LogicalPlan, input: &LogicalPlan) -> Result<(Cell, PlanRunner)> {
        let (cell, leaf) = self.cell(input);
        let plan = with_inputs(plan, vec![leaf])?;
        Ok((cell, PlanRunner::new(&plan, self.state)?))
    }

    pub(super) fn flat_map(&mut self, plan: &LogicalPlan, input: &LogicalPlan) -> Result<usize> {
        let node = self.plan(input)?;
        let work = match plan {
            LogicalPlan::Unnest(u) => {
                let lists: Vec<(usize, usize)> = u.list_type_columns.iter().map(|(at, c)| (*at, c.depth)).collect();
                let nulls = u.options.preserve_nulls;
                let text = format!("{lists:?}{:?}{:?}{nulls}", u.struct_type_columns, u.dependency_indices);
                let mut work = Work::new("unnest", text);
                if let Some(same) = self.same_rows(&mut work, &[node], [])? {
                    return Ok(same);
                }
                Some(work)
            }
            _ => None,
        };
        let (cell, runner) = self.over_cell(plan, input)?;
        let schema = loose(plan.schema());
        let append_only = self.nodes[node].append_only;
        let (label, guard) = (plan.display().to_string(), self.guard.clone());
        let operator = FlatMap { label, input: cell, plan: runner, schema: schema.clone(), guard };
        let (times, is_closed) = match plan {
            LogicalPlan::Unnest(unnest) => (self.unnest_times(unnest, node), self.nodes[node].is_closed),
            _ => (Times::default(), false),
        };
        let out = self.node(Box::new(operator), vec![node], schema, append_only, None);
        self.carries(out, times);
        self.nodes[out].is_closed = is_closed;
        if let Some(work) = work {
            self.does(out, work);
        }
        Ok(out)
    }

    /// `keys` over the input; `output_columns` are where the same values stand in the output.
    pub(super) fn partitioned(
        &mut self,
        plan: &LogicalPlan,
        input: &LogicalPlan,
        keys: &[Expr],
        output_columns: Vec<usize>,
    ) -> Result<usize> {
        let node = self.plan(input)?;
        let (cell, runner) = self.over_cell(plan, input)?;
        let schema = loose(plan.schema());
        let input_keys = keys.iter().map(|k| physical(k, input.schema())).collect::<Result<Vec<_>>>()?;
        let times = self.time_keys(node, keys, input.schema())?;
        let shown_at = |key: usize| match output_columns.as_slice() {
            [] => plain_column(&keys[key], input.schema()),
            columns => columns.get(key).copied(),
        };
        // Only a key that is also a column of the output can be followed further.
        let closing = times.numbers().into_iter().filter(|key| shown_at(*key).is_some()).collect();
        let times = times.moved(shown_at);
        let output_keys = if output_columns.is_empty() {
            // The output begins with the input's columns, so the same expressions hold.
            input_keys.clone()
        } else {
            let column = |c: &usize| {
                let name = schema.field(*c).name();
                Arc::new(datafusion::physical_expr::expressions::Column::new(name, *c))
                    as Arc<dyn datafusion::physical_expr::PhysicalExpr>
            };
            output_columns.iter().map(column).collect()
        };
        let key_types = input_keys
            .iter()
            .map(|k| k.data_type(input.schema().as_arrow()).map_err(|e| Error::bug(e.to_string())))
            .collect::<Result<_>>()?;
        let spec = PartitionedSpec {
            label: plan.display().to_string(),
            input_keys,
            output_keys,
            key_types,
            cell,
            plan: runner,
            input_schema: self.nodes[node].schema.clone(),
            schema: schema.clone(),
        };
        let mut operator = Partitioned::new(spec)?;
        operator.close_by(closing);
        let out = self.node(Box::new(operator), vec![node], schema, false, None);
        self.shrinks(out, || "a group is computed anew when rows arrive".into());
        self.closes_by(out, times);
        self.loses(out, node, input.schema(), || not_grouped(keys));
        Ok(out)
    }

    /// The batch engine runs `plan` over all its current input in each epoch.
    pub(super) fn recompute(&mut self, plan: &LogicalPlan) -> Result<usize> {
        let mut leaves: Vec<(Cell, LogicalPlan)> = vec![];
        let over =
            if whole(plan) { self.replace_scans(plan, &mut leaves)? } else { self.cut(plan, &mut leaves, true)? };
        let runner = PlanRunner::new(&over, self.state)?;
        let mut inputs = vec![];
        let mut cells = vec![];
        for (cell, leaf) in &leaves {
            let node = self.plan(leaf)?;
            inputs.push(node);
            cells.push((cell.clone(), self.nodes[node].schema.clone()));
        }
        let schema = loose(plan.schema());
        let label = plan.display().to_string();
        let operator = Recompute::new(label, cells, runner, schema.clone())?;
        let node = self.node(Box::new(operator), inputs, schema, false, None);
        self.shrinks(node, || "it is computed anew when rows arrive".into());
        for (input, (_, from)) in self.nodes[node].inputs.clone().into_iter().zip(&leaves) {
            self.loses(node, input, from.schema(), || {
                (format!("{} is computed anew as a whole and keeps no event time", plan.display()), close::LEAVE_OUT)
            });
        }
        Ok(node)
    }

    /// Replaces the inputs of `plan` by cells; an order below it that it depends on stays part of it.
    fn cut(&mut self, plan: &LogicalPlan, leaves: &mut Vec<(Cell, LogicalPlan)>, top: bool) -> Result<LogicalPlan> {
        let keeps_order = matches!(
            plan,
            LogicalPlan::Sort(_) | LogicalPlan::Limit(_) | LogicalPlan::Projection(_) | LogicalPlan::SubqueryAlias(_)
        );
        if !top && !keeps_order {
            let (cell, leaf) = self.cell(plan);
            leaves.push((cell, plan.clone()));
            return Ok(leaf);
        }
        let ordered =
            matches!(plan, LogicalPlan::Limit(_) | LogicalPlan::Projection(_) | LogicalPlan::SubqueryAlias(_));
        let mut inputs = vec![];
        for input in plan.inputs() {
            inputs.push(if ordered && has_order(input) {
                self.cut(input, leaves, false)?
            } else {
                let (cell, leaf) = self.cell(input);
                leaves.push((cell, input.clone()));
                leaf
            });
        }
        with_inputs(plan, inputs)
    }

    /// Replaces every scan under `plan`, also in subqueries, by a cell.
    fn replace_scans(&mut self, plan: &LogicalPlan, leaves: &mut Vec<(Cell, LogicalPlan)>) -> Result<LogicalPlan> {
        let mut recursive: Vec<String> = vec![];
        let _ = plan.apply_with_subqueries(|p| {
            if let LogicalPlan::RecursiveQuery(r) = p {
                recursive.push(r.name.clone());
            }
            Ok(datafusion::common::tree_node::TreeNodeRecursion::Continue)
        });
        plan.clone()
            .transform_down_with_subqueries(|p| {
                let LogicalPlan::TableScan(scan) = &p else { return Ok(Transformed::no(p)) };
                if scan.table_name.schema().is_none() && recursive.iter().any(|r| r == scan.table_name.table()) {
                    return Ok(Transformed::no(p));
                }
                let (cell, leaf) = self.cell(&p);
                leaves.push((cell, p));
                Ok(Transformed::yes(leaf))
            })
            .map(|t| t.data)
            .map_err(bug)
    }
}

/// `plan` over other inputs.
fn with_inputs(plan: &LogicalPlan, inputs: Vec<LogicalPlan>) -> Result<LogicalPlan> {
    match plan {
        // What it calls its expressions are columns, which it does not take back.
        LogicalPlan::Unnest(_) => plan.with_new_exprs(vec![], inputs),
        _ => plan.with_new_exprs(plan.expressions(), inputs),
    }
    .map_err(bug)
}

/// True if the order of a plan's rows is decided below it without a cut in between.
pub(super) fn has_order(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Sort(_) => true,
        LogicalPlan::Limit(l) => has_order(&l.input),
        LogicalPlan::Projection(p) => has_order(&p.input),
        LogicalPlan::SubqueryAlias(a) => has_order(&a.input),
        _ => false,
    }
}

/// True if a plan cannot be cut below its top node: a subquery in its expressions, or a recursion.
fn whole(plan: &LogicalPlan) -> bool {
    if matches!(plan, LogicalPlan::RecursiveQuery(_)) {
        return true;
    }
    plan.expressions().iter().any(|e| {
        e.exists(|e| {
            Ok(matches!(e, Expr::ScalarSubquery(_) | Expr::InSubquery(_) | Expr::Exists(_) | Expr::SetComparison(_)))
        })
        .unwrap_or(false)
    })
}
