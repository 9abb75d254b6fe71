use std::borrow::Cow;
use std::sync::Arc;

use arrow::datatypes::Schema;
use datafusion::common::DFSchema;
use datafusion::logical_expr::{Expr, LogicalPlan};
use fleuve_types::Result;

use super::session::{is_session, read_of};
use super::{Lowering, close, loose, now, prune};
use crate::operators::map::{Map, Stage};
use crate::operators::physical;

/// The input column that an expression passes on unchanged.
pub(super) fn plain_column(expr: &Expr, input: &DFSchema) -> Option<usize> {
    match expr {
        Expr::Alias(alias) => plain_column(&alias.expr, input),
        Expr::Column(column) => input.maybe_index_of_column(column),
        _ => None,
    }
}

fn borrowed(chain: Vec<&LogicalPlan>) -> Vec<Cow<'_, LogicalPlan>> {
    chain.into_iter().map(Cow::Borrowed).collect()
}

impl Lowering<'_> {
    /// A run of projections and filters becomes one operator.
    pub(super) fn map(&mut self, plan: &LogicalPlan) -> Result<usize> {
        let (chain, input) = self.below(plan)?;
        let chain: Vec<&LogicalPlan> = chain.iter().map(AsRef::as_ref).collect();
        if chain.is_empty() { Ok(input) } else { self.map_over(&chain, input) }
    }

    /// What is to be mapped, with the projections and filters that are left to do, the topmost first.
    pub(super) fn below<'p>(&mut self, plan: &'p LogicalPlan) -> Result<(Vec<Cow<'p, LogicalPlan>>, usize)> {
        let mut chain = vec![];
        let mut at = plan;
        loop {
            match at {
                LogicalPlan::Projection(p) => {
                    chain.push(at);
                    at = &p.input;
                }
                LogicalPlan::Filter(f) if !now::is_asked(&f.predicate) => {
                    chain.push(at);
                    at = &f.input;
                }
                LogicalPlan::SubqueryAlias(a) => at = &a.input,
                _ => break,
            }
        }
        if let LogicalPlan::Window(window) = at
            && is_session(window)
        {
            let node = self.session(window, &read_of(&chain, window))?;
            return Ok((borrowed(chain), node));
        }
        if let LogicalPlan::Window(window) = at
            && let Some((node, left)) = self.first_ranks(&chain, at, window)?
        {
            return Ok((left.into_iter().map(Cow::Owned).collect(), node));
        }
        let input = match at {
            LogicalPlan::TableScan(scan) => {
                let fields = prune::struct_fields(&chain, &scan.projected_schema);
                self.scan(scan, &fields)?
            }
            _ => self.plan(at)?,
        };
        Ok((borrowed(chain), input))
    }

    /// Projections and filters, the topmost first, over a node.
    pub(super) fn map_over(&mut self, chain: &[&LogicalPlan], input: usize) -> Result<usize> {
        let mut key = self.nodes[input].key.clone();
        let mut schema = self.nodes[input].schema.clone();
        let mut times = self.times_of(input);
        let mut stages: Vec<Stage> = vec![];
        for step in chain.iter().rev() {
            match step {
                LogicalPlan::Filter(f) => {
                    let filter = physical(&f.predicate, f.input.schema())?;
                    stages.push(Stage { filter: Some(filter), project: None, schema: schema.clone() });
                }
                LogicalPlan::Projection(p) => {
                    let exprs = p.expr.iter().map(|e| physical(e, p.input.schema())).collect::<Result<Vec<_>>>()?;
                    let from: Vec<Option<usize>> = p.expr.iter().map(|e| plain_column(e, p.input.schema())).collect();
                    key = key.and_then(|k| k.iter().map(|c| from.iter().position(|f| *f == Some(*c))).collect());
                    times = times.project(&p.expr, p.input.schema())?;
                    // A column that is passed on keeps the type that it came with, which may have lost fields.
                    let loose = loose(&p.schema);
                    let fields = loose.fields().iter().zip(&from).map(|(f, from)| match from {
                        Some(at) => f.as_ref().clone().with_data_type(schema.field(*at).data_type().clone()),
                        None => f.as_ref().clone(),
                    });
                    schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
                    match stages.last_mut() {
                        Some(last) if last.project.is_none() => {
                            last.project = Some(exprs);
                            last.schema = schema.clone();
                        }
                        _ => stages.push(Stage { filter: None, project: Some(exprs), schema: schema.clone() }),
                    }
                }
                _ => {}
            }
        }
        let work = match self.same_map(chain, &stages, input)? {
            Ok(same) => return Ok(same),
            Err(work) => work,
        };
        let (append_only, is_closed) = (self.nodes[input].append_only, self.nodes[input].is_closed);
        let operator = Map { stages, guard: self.guard.clone() };
        let node = self.node(Box::new(operator), vec![input], schema, append_only, key);
        self.carries(node, times);
        self.nodes[node].is_closed = is_closed;
        if let Some(from) = chain.last().and_then(|step| step.inputs().pop()).map(LogicalPlan::schema) {
            let below = close::names(&self.times_of(input), from);
            self.loses(node, input, from, || {
                (format!("a select list leaves out {below}, or only has what does not keep its order"), close::GROUP_BY)
            });
        }
        self.maps(node, work);
        Ok(node)
    }
}
