use datafusion::logical_expr::execution_props::ExecutionProps;
use datafusion::logical_expr::{Aggregate as AggregatePlan, Expr, LogicalPlan};
use datafusion::physical_expr::aggregate::LoweredAggregateBuilder;
use fleuve_types::{Error, Result};

use super::{Lowering, loose};
use crate::operators::aggregate::{Aggregate, AggregateCall, is_supported};
use crate::operators::physical;

impl Lowering<'_> {
    pub(super) fn aggregate(&mut self, plan: &AggregatePlan) -> Result<usize> {
        if plan.group_expr.iter().any(|e| matches!(e, Expr::GroupingSet(_))) {
            return Err(Error::unsupported("GROUPING SETS have no incremental operator"));
        }
        let input = self.plan(&plan.input)?;
        let append_only = self.nodes[input].append_only;
        let calls = plan.aggr_expr.iter().map(|e| self.call(e, &plan.input)).collect::<Result<Option<Vec<_>>>>()?;
        let calls = calls.filter(|c| c.iter().all(|c| is_supported(c, append_only)));
        let schema = loose(&plan.schema);
        let key = Some((0..plan.group_expr.len()).collect::<Vec<_>>());
        let Some(calls) = calls else {
            if plan.group_expr.is_empty() {
                return Err(Error::unsupported("this aggregate has no incremental operator"));
            }
            let node = self.partitioned(
                &LogicalPlan::Aggregate(plan.clone()),
                &plan.input,
                &plan.group_expr,
                (0..plan.group_expr.len()).collect(),
            )?;
            self.nodes[node].key = key;
            return Ok(node);
        };
        let keys = plan.group_expr.iter().map(|e| physical(e, plan.input.schema())).collect::<Result<Vec<_>>>()?;
        let key_types = schema.fields().iter().take(keys.len()).map(|f| f.data_type().clone()).collect();
        // Without calls this is DISTINCT: what was there once stays.
        let stays = append_only && calls.is_empty() && !keys.is_empty();
        let operator = Aggregate::new(keys, key_types, calls, schema.clone(), append_only, self.shards)?;
        Ok(self.node(Box::new(operator), vec![input], schema, stays, key))
    }

    /// `None` for a call that only the batch engine can do (ORDER BY inside, IGNORE NULLS).
    fn call(&self, expr: &Expr, input: &LogicalPlan) -> Result<Option<AggregateCall>> {
        let inner = unalias(expr);
        let Expr::AggregateFunction(f) = inner else {
            return Err(Error::bug(format!("{expr} is not an aggregate")));
        };
        if !f.params.order_by.is_empty() || f.params.null_treatment.is_some() {
            return Ok(None);
        }
        let schema = input.schema();
        let arrow = std::sync::Arc::new(schema.as_arrow().clone());
        let props = ExecutionProps::new();
        let lowered = LoweredAggregateBuilder::new(expr, schema, &arrow, &props)
            .build()
            .map_err(|e| Error::unsupported(format!("aggregate {expr}: {}", e.strip_backtrace())))?;
        let mut arguments = f.params.args.iter().map(|a| physical(a, schema)).collect::<Result<Vec<_>>>()?;
        let argument_types = arguments
            .iter()
            .map(|a| a.data_type(&arrow).map_err(|e| Error::bug(e.to_string())))
            .collect::<Result<Vec<_>>>()?;
        let function = f.func.name().to_lowercase();
        let counts_rows = matches!(f.params.args.as_slice(), [Expr::Literal(v, _)] if !v.is_null());
        if function == "count" && !f.params.distinct && counts_rows {
            arguments.clear();
        }
        Ok(Some(AggregateCall {
            function,
            distinct: f.params.distinct,
            arguments,
            argument_types,
            filter: lowered.filter,
            output: lowered.aggregate.field().data_type().clone(),
            expr: lowered.aggregate,
            label: inner.to_string(),
        }))
    }
}

fn unalias(expr: &Expr) -> &Expr {
    match expr {
        Expr::Alias(a) => unalias(&a.expr),
        other => other,
    }
}
