use std::sync::Arc;

use arrow::compute::SortOptions;
use arrow::datatypes::SchemaRef;
use datafusion::logical_expr::execution_props::ExecutionProps;
use datafusion::logical_expr::expr::NullTreatment;
use datafusion::logical_expr::{Aggregate as AggregatePlan, Expr, LogicalPlan};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::LoweredAggregateBuilder;
use fleuve_batch::{in_words, without_widening};
use fleuve_types::{Error, Result};

use super::share::{Work, of_call, types};
use super::time::Times;
use super::{Lowering, close, grouping, growth, loose};
use crate::operators::aggregate::{Aggregate, AggregateCall, is_supported, reads_in_order};
use crate::operators::physical;

impl Lowering<'_> {
    pub(super) fn aggregate(&mut self, plan: &AggregatePlan) -> Result<usize> {
        if let Some(node) = self.panes(plan)? {
            return Ok(node);
        }
        let input = self.plan(&plan.input)?;
        let append_only = self.nodes[input].append_only;
        let sets = grouping::sets_of(plan);
        let Some(calls) = self.aggregate_calls(plan, append_only)? else {
            if plan.group_expr.is_empty() || sets.is_some() {
                return Err(Error::unsupported("this aggregate has no incremental operator"));
            }
            let key: Vec<usize> = (0..plan.group_expr.len()).collect();
            let node = LogicalPlan::Aggregate(plan.clone());
            let node = self.partitioned(&node, &plan.input, &plan.group_expr, key.clone())?;
            self.nodes[node].key = Some(key);
            return Ok(node);
        };
        if let Some(set) = sets {
            return self.grouping_sets(plan, set, input);
        }
        let keys = plan.group_expr.iter().map(|e| physical(e, plan.input.schema())).collect::<Result<Vec<_>>>()?;
        let times = self.time_keys(input, &plan.group_expr, plan.input.schema())?;
        let node = self.aggregate_by(input, (keys, times), (calls, None), loose(&plan.schema))?;
        self.loses(node, input, plan.input.schema(), || not_grouped(&plan.group_expr));
        Ok(node)
    }

    /// An aggregate over a node; `schema` has the keys, then the results. `times` are the keys that carry event time; `rows` says
    /// how many rows each one stands for, if not one.
    pub(super) fn aggregate_by(
        &mut self,
        input: usize,
        (keys, times): (Vec<Arc<dyn PhysicalExpr>>, Times),
        (calls, rows): (Vec<AggregateCall>, Option<Arc<dyn PhysicalExpr>>),
        schema: SchemaRef,
    ) -> Result<usize> {
        let mut work = Work::new("aggregate", types(&schema));
        let (texts, of_calls): (Vec<String>, Vec<_>) = calls.iter().map(of_call).unzip();
        work.tell(&texts);
        let exprs = keys.iter().map(Some).chain([rows.as_ref()]).chain(of_calls.into_iter().flatten());
        if let Some(same) = self.same(&mut work, input, exprs)? {
            return Ok(same);
        }
        let append_only = self.nodes[input].append_only;
        let key = Some((0..keys.len()).collect());
        let key_types = schema.fields().iter().take(keys.len()).map(|f| f.data_type().clone()).collect();
        // Without calls that change this is DISTINCT: what was there once stays.
        let changing = calls.iter().find(|c| !growth::is_fixed(c, &keys)).map(|c| c.label.clone());
        let fixed = |(n, call)| Some((growth::fixed_to(call, &keys)?, keys.len() + n));
        let equal: Vec<(usize, usize)> = calls.iter().enumerate().filter_map(fixed).collect();
        let stays = append_only && changing.is_none() && !keys.is_empty();
        let mut operator = Aggregate::new(keys, key_types, calls, schema.clone(), append_only, self.shards)?;
        operator.counts(rows);
        operator.stays(stays);
        let closing = times.numbers();
        operator.close_by(closing.clone());
        let closes = !closing.is_empty();
        let node = self.node(Box::new(operator), vec![input], schema, stays || closes, key);
        self.shrinks(node, || format!("{} changes when rows arrive", changing.as_deref().unwrap_or("the one row")));
        self.carries(node, times.with_equals(&equal));
        self.nodes[node].close_by = (0..closing.len()).collect();
        self.nodes[node].is_closed = !self.nodes[node].complete.is_empty();
        self.does(node, work);
        Ok(node)
    }

    /// The calls of an aggregate; `None` if there is one that only the batch engine can do.
    pub(super) fn aggregate_calls(
        &self,
        plan: &AggregatePlan,
        append_only: bool,
    ) -> Result<Option<Vec<AggregateCall>>> {
        let calls = plan.aggr_expr.iter().map(|e| self.call(e, &plan.input)).collect::<Result<Option<Vec<_>>>>()?;
        Ok(calls.filter(|c| c.iter().all(|c| is_supported(c, append_only))))
    }

    /// `None` for a call that only the batch engine can do (ORDER BY or IGNORE NULLS where we know no use for it).
    fn call(&self, expr: &Expr, input: &LogicalPlan) -> Result<Option<AggregateCall>> {
        let inner = unalias(expr);
        let Expr::AggregateFunction(f) = inner else {
            return Err(Error::bug(format!("{expr} is not an aggregate")));
        };
        let function = f.func.name().to_lowercase();
        let is_ordered = reads_in_order(&function);
        if !is_ordered && (!f.params.order_by.is_empty() || f.params.null_treatment.is_some()) {
            return Ok(None);
        }
        let schema = input.schema();
        let arrow = Arc::new(schema.as_arrow().clone());
        let props = ExecutionProps::new();
        let lowered = LoweredAggregateBuilder::new(expr, schema, &arrow, &props)
            .build()
            .map_err(|e| Error::unsupported(format!("aggregate {}: {}", in_words(inner), e.strip_backtrace())))?;
        let mut arguments = f.params.args.iter().map(|a| physical(a, schema)).collect::<Result<Vec<_>>>()?;
        let parameter = f.params.args.get(1).and_then(|a| a.as_literal().cloned());
        let mut order = vec![];
        for by in &f.params.order_by {
            let options = SortOptions { descending: !by.asc, nulls_first: by.nulls_first };
            order.push((physical(&by.expr, schema)?, options));
        }
        if is_ordered {
            arguments.truncate(1);
            arguments.extend(order.iter().map(|(by, _)| by.clone()));
        }
        let argument_types = arguments
            .iter()
            .map(|a| a.data_type(&arrow).map_err(|e| Error::bug(e.to_string())))
            .collect::<Result<Vec<_>>>()?;
        let counts_rows = matches!(f.params.args.as_slice(), [Expr::Literal(v, _)] if !v.is_null());
        if function == "count" && !f.params.distinct && counts_rows {
            arguments.clear();
        }
        let output = lowered.aggregate.field().data_type().clone();
        // What it answered before was cut off: state of then is not taken up.
        let rounded = if function == "avg" && output.is_decimal() { " rounded" } else { "" };
        Ok(Some(AggregateCall {
            function,
            distinct: f.params.distinct,
            arguments,
            argument_types,
            parameter,
            order,
            ignores_null: f.params.null_treatment == Some(NullTreatment::IgnoreNulls),
            filter: lowered.filter,
            output,
            expr: lowered.aggregate,
            label: format!("{inner}{rounded}"),
            words: in_words(&without_widening(inner, schema)),
            is_partial: false,
        }))
    }
}

/// Why an aggregate does not keep the event time.
pub(super) fn not_grouped(keys: &[Expr]) -> (String, &'static str) {
    if keys.is_empty() {
        return ("an aggregate over all rows does not keep the event time".into(), close::GROUP_BY);
    }
    let keys = keys.iter().map(in_words).collect::<Vec<_>>().join(", ");
    (format!("GROUP BY or DISTINCT ON {keys} leaves out the event time"), close::GROUP_BY)
}

fn unalias(expr: &Expr) -> &Expr {
    match expr {
        Expr::Alias(a) => unalias(&a.expr),
        other => other,
    }
}
