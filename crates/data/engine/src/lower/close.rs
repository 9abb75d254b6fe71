//! EMIT ON WINDOW CLOSE: where rows wait until they are final, and why a query can have no such place.

use datafusion::common::{Column, DFSchema};
use datafusion::logical_expr::{Expr, Join as JoinPlan, LogicalPlan};
use fleuve_batch::in_words;
use fleuve_types::{Error, Result};

use super::Lowering;
use super::time::Times;
use crate::event_time::{Loss, is_time};
use crate::operators::gate::Gate;

/// What can be done where an operator does not keep the event time.
pub(super) const PARTITION_BY: &str = "a window function takes it from a subquery: OVER (PARTITION BY m) FROM (SELECT *, date_trunc('minute', ts) AS m FROM ...), \
     or OVER (PARTITION BY window_start) FROM TUMBLE(...)";
pub(super) const GROUP_BY: &str = "put window_start, window_end or the event time (as it is, or through date_bin or date_trunc) into GROUP BY, or DISTINCT ON, and into the select list";
pub(super) const SESSION: &str = "put window_end into the select list and, if there is one, into GROUP BY";
pub(super) const ON_BOTH_SIDES: &str = "join ON a.window_start = b.window_start, or ON b.ts BETWEEN a.ts - INTERVAL '5 minutes' AND a.ts + INTERVAL '1 hour'";
pub(super) const LEAVE_OUT: &str =
    "leave EMIT ON WINDOW CLOSE out, or put this into a view over one that emits on window close";
const SELECT_LIST: &str = "put window_start, window_end or the event time (as it is, or through date_bin or date_trunc) into the select list \
     and, if there is one, into GROUP BY; a join needs it equal on both sides, and a window function takes it from a subquery: \
     OVER (PARTITION BY m) FROM (SELECT *, date_trunc('minute', ts) AS m FROM ...)";
const WATERMARK: &str = "declare WATERMARK FOR ts AS ts - INTERVAL '5 seconds' in CREATE STREAM and use ts in the query; between a stream and this view each view needs EMIT ON WINDOW CLOSE, too";

impl Lowering<'_> {
    /// The node of a whole plan, which shows rows only when the watermark has passed them.
    pub(super) fn closed(&mut self, plan: &LogicalPlan) -> Result<usize> {
        let mark = self.mark();
        let root = self.plan(plan)?;
        let root = self.named(root, plan);
        let shows_time = !self.shown_times(root).is_empty();
        if shows_time && self.has_final_rows(root) {
            return self.gate(root);
        }
        let refused = self.not_final(root);
        if !shows_time {
            return Err(refused);
        }
        self.back_to(mark);
        match self.gate_below(plan)? {
            Some(root) => Ok(self.named(root, plan)),
            None => Err(refused),
        }
    }

    /// A plan whose select list leaves rows without the time that they have below it, as where it shows of an outer join that side only
    /// which is filled up with NULL: rows wait where they still have it. `None` if there is no such place.
    fn gate_below(&mut self, plan: &LogicalPlan) -> Result<Option<usize>> {
        let mut top = plan;
        loop {
            match top {
                LogicalPlan::SubqueryAlias(alias) => top = &alias.input,
                LogicalPlan::Sort(sort) if sort.fetch.is_none() => top = &sort.input,
                LogicalPlan::Repartition(r) => top = &r.input,
                LogicalPlan::Projection(_) | LogicalPlan::Filter(_) => break,
                _ => return Ok(None),
            }
        }
        let (chain, input) = self.below(top)?;
        let chain: Vec<&LogicalPlan> = chain.iter().map(AsRef::as_ref).collect();
        let mut times = self.times_of(input);
        let mut upper = times.is_complete(&self.nodes[input].schema).then_some(chain.len());
        for (at, step) in chain.iter().enumerate().rev() {
            if let LogicalPlan::Projection(p) = step {
                times = times.project(&p.expr, p.input.schema())?;
            }
            if times.is_complete(step.schema().as_arrow()) {
                upper = Some(at);
            }
        }
        let Some(upper) = upper else { return Ok(None) };
        let (above, beneath) = chain.split_at(upper);
        let rows = if beneath.is_empty() { input } else { self.map_over(beneath, input)? };
        let gate = self.gate(rows)?;
        Ok(Some(if above.is_empty() { gate } else { self.map_over(above, gate)? }))
    }

    /// The columns of a node that are points in time and carry event time.
    fn shown_times(&self, node: usize) -> Vec<usize> {
        let node = &self.nodes[node];
        node.times.iter().map(|t| t.column).filter(|c| is_time(node.schema.field(*c).data_type())).collect()
    }

    fn has_final_rows(&self, node: usize) -> bool {
        self.nodes[node].is_closed || self.times_of(node).is_complete(&self.nodes[node].schema)
    }

    /// The node that shows rows of `rows` only when the watermark has passed them.
    fn gate(&mut self, rows: usize) -> Result<usize> {
        if self.nodes[rows].is_closed {
            self.nodes[rows].append_only = true;
            return Ok(rows);
        }
        let times = self.shown_times(rows);
        let (schema, key) = (self.nodes[rows].schema.clone(), self.nodes[rows].key.clone());
        let operator = Gate::new(schema.clone(), times.clone())?;
        let node = self.node(Box::new(operator), vec![rows], schema, true, key);
        let carried = self.times_of(rows).moved(|c| times.contains(&c).then_some(c));
        self.closes_by(node, carried);
        self.nodes[node].is_closed = true;
        Ok(node)
    }

    fn not_final(&self, root: usize) -> Error {
        let (why, hint) = match self.lost(root) {
            _ if !self.has_event_time => {
                let mut tables: Vec<String> =
                    self.inputs.iter().map(|i| format!("{}.{}", i.table.0, i.table.1)).collect();
                tables.dedup();
                let read = if tables.is_empty() { "nothing".into() } else { tables.join(", ") };
                let why = format!(
                    "it reads {read}, without a stream that has a watermark or a view that emits on window close"
                );
                (why, WATERMARK)
            }
            Some(loss) if self.shown_times(root).is_empty() => {
                (format!("no column of the answer follows the event time of a stream: {}", loss.why), &*loss.hint)
            }
            Some(loss) => (loss.why.clone(), &*loss.hint),
            None => ("no column of the answer follows the event time of a stream".into(), SELECT_LIST),
        };
        Error::input(format!("EMIT ON WINDOW CLOSE cannot tell when a row is final: {why}")).hint(hint)
    }

    /// Why a node has no complete event times: what is told of the lowest node that lost them.
    fn lost(&self, node: usize) -> Option<&Loss> {
        let node = &self.nodes[node];
        if !node.complete.is_empty() {
            return None;
        }
        node.inputs.iter().find_map(|input| self.lost(*input)).or(node.loss.as_ref())
    }

    /// Says why a node has no complete event times, if its input has. `why` is asked if it has none at all, `from` is the schema of the
    /// input.
    pub(super) fn loses(
        &mut self,
        node: usize,
        input: usize,
        from: &DFSchema,
        why: impl FnOnce() -> (String, &'static str),
    ) {
        if !self.nodes[node].complete.is_empty() {
            return;
        }
        let Some(set) = self.nodes[input].complete.first() else { return };
        let loss = if self.nodes[node].times.is_empty() {
            let (why, hint) = why();
            Loss { why, hint: hint.into() }
        } else {
            let schema = &self.nodes[node].schema;
            let shown: Vec<&str> = self.shown_times(node).iter().map(|c| schema.field(*c).name().as_str()).collect();
            let held: Vec<String> = set.iter().filter_map(|c| from.columns().get(*c).map(name)).collect();
            let instead = if held.len() == 1 { held[0].clone() } else { format!("coalesce({})", held.join(", ")) };
            let why = format!("{} can be NULL in rows whose event time is in {}", shown.join(", "), held.join(" or "));
            let hint = format!("take {instead} in its place, also in GROUP BY, DISTINCT, PARTITION BY and joins");
            Loss { why, hint }
        };
        self.nodes[node].loss = Some(loss);
    }

    /// Says why a join has no complete event times, if one of its sides has. Its condition says `by_key` that times are equal.
    pub(super) fn join_loses(&mut self, node: usize, plan: &JoinPlan, (left, right): (usize, usize), by_key: bool) {
        let keeps = || {
            let why = "a join, or a subquery, keeps the event time only where it is equal on both sides or within an interval";
            (why.into(), ON_BOTH_SIDES)
        };
        if by_key || self.nodes[node].times.is_empty() {
            self.loses(node, right, plan.right.schema(), keeps);
            self.loses(node, left, plan.left.schema(), keeps);
        } else if self.nodes[node].complete.is_empty() {
            let kind = plan.join_type.to_string().to_uppercase();
            let why = format!(
                "a row of the {kind} JOIN without a partner is never final, as the condition bounds the time of one side alone"
            );
            let hint =
                "bound it from both sides: b.ts BETWEEN a.ts - INTERVAL '5 minutes' AND a.ts + INTERVAL '1 hour'";
            self.nodes[node].loss = Some(Loss { why, hint: hint.into() });
        }
    }
}

fn name(column: &Column) -> String {
    in_words(&Expr::Column(column.clone()))
}

/// The columns that carry event time, by name, without those that nobody wrote.
pub(super) fn names(times: &Times, schema: &DFSchema) -> String {
    let columns = schema.columns();
    let written = times.numbers().into_iter().filter_map(|c| columns.get(c)).filter(|c| !c.name.starts_with("__"));
    let names: Vec<String> = written.map(name).collect();
    if names.is_empty() { "the event time".into() } else { names.join(", ") }
}

/// Why a view that emits on window close, itself over one, cannot go by these columns of it.
pub(super) fn of_view(view: &str, columns: &str) -> Loss {
    Loss {
        why: format!("{columns} of {view} can be NULL in rows that have an event time"),
        hint: format!(
            "read all columns of {view} that follow the event time, or let it show one that every row has: coalesce(a.window_start, b.window_start)"
        ),
    }
}
