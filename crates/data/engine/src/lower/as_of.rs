use datafusion::logical_expr::expr::WindowFunction;
use datafusion::logical_expr::{Expr, SortExpr, Window};
use fleuve_types::{AS_OF_FUNCTION, Error, Result};

use super::map::plain_column;
use super::time::Times;
use super::{Lowering, close, loose};
use crate::operators::as_of::{AsOf, AsOfSpec, RightColumn};
use crate::operators::physical;

/// True for what `ASOF JOIN` is planned as.
pub(super) fn is_as_of(window: &Window) -> bool {
    window.window_expr.iter().all(|e| call(e).is_some())
}

fn call(expr: &Expr) -> Option<&WindowFunction> {
    match expr {
        Expr::Alias(alias) => call(&alias.expr),
        Expr::WindowFunction(call) if call.fun.name() == AS_OF_FUNCTION => Some(call),
        _ => None,
    }
}

impl Lowering<'_> {
    pub(super) fn as_of(&mut self, window: &Window) -> Result<usize> {
        let other = || Error::unsupported("an as-of join of another form has no incremental operator");
        let calls: Vec<&WindowFunction> = window.window_expr.iter().filter_map(call).collect();
        let one = calls.first().ok_or_else(other)?;
        let ([_, is_right, time], [by_time, by_side, ties @ ..]) = (&one.params.args[..], &one.params.order_by[..])
        else {
            return Err(other());
        };
        let same = |c: &&WindowFunction| {
            c.params.args.get(1..) == one.params.args.get(1..)
                && c.params.partition_by == one.params.partition_by
                && c.params.order_by == one.params.order_by
        };
        if !calls.iter().all(same) || by_time.expr != *time || by_side.expr != *is_right || by_time.nulls_first {
            return Err(other());
        }
        let input = self.plan(&window.input)?;
        let schema = window.input.schema();
        let mut columns: Vec<RightColumn> = vec![];
        for SortExpr { expr, asc, nulls_first } in ties {
            columns.push(RightColumn { expr: physical(expr, schema)?, descending: !asc, nulls_first: *nulls_first });
        }
        let mut values = vec![];
        for call in &calls {
            let value = call.params.args.first().ok_or_else(other)?;
            let known = ties.iter().position(|t| t.expr == *value);
            values.push(known.unwrap_or(columns.len()));
            if known.is_none() {
                columns.push(RightColumn { expr: physical(value, schema)?, descending: false, nulls_first: true });
            }
        }
        let by = &one.params.partition_by;
        let keys = by.iter().map(|k| physical(k, schema)).collect::<Result<Vec<_>>>()?;
        let names: Vec<String> = by.iter().map(ToString::to_string).collect();
        let label = format!(
            "AsOf: by [{}], the right row {} {time}{}",
            names.join(", "),
            if by_time.asc { "last before" } else { "first after" },
            if by_side.asc { "" } else { " or at it" }
        );
        let spec = AsOfSpec {
            label,
            keys,
            time: physical(time, schema)?,
            is_right: physical(is_right, schema)?,
            descending: !by_time.asc,
            strict: by_side.asc,
            columns,
            values,
            input_schema: self.nodes[input].schema.clone(),
            schema: loose(&window.schema),
        };
        let out = spec.schema.clone();
        let mut operator = AsOf::new(spec, self.shards)?;
        // A right row that is not below the watermark touches no left row before it; of the left rows before the first right row
        // after them nothing of the kind can be said.
        let times = match plain_column(time, schema) {
            Some(column) if by_time.asc => self.times_of(input).moved(|c| (c == column).then_some(c)),
            _ => Times::default(),
        };
        if !times.is_empty() {
            operator.close_by_time();
        }
        let node = self.node(Box::new(operator), vec![input], out, false, None);
        self.shrinks(node, || "a partner goes when a nearer one comes".into());
        self.closes_by(node, times);
        self.loses(node, input, schema, || {
            let why = "an as-of join keeps the event time of its left side alone, with >= or > between the times of the sides";
            (why.into(), close::LEAVE_OUT)
        });
        Ok(node)
    }
}
