use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::{JoinType, NullEquality};
use datafusion::logical_expr::{Expr, Join as JoinPlan, LogicalPlan, build_join_schema};
use datafusion::physical_expr::PhysicalExpr;
use fleuve_batch::{in_words, without_widening};
use fleuve_types::{Error, Result};

use super::lookup::scan_of;
use super::map::plain_column;
use super::share::Work;
use super::time::Times;
use super::{Lowering, loose};
use crate::event_time::{Complete, TimeColumn, TimeSource, crossed, spread};
use crate::lookup::LookUp;
use crate::operators::join::{Alone, Join, JoinSpec};
use crate::operators::physical;

/// `(pairs, left alone, right alone)` of a join type.
fn shape(kind: JoinType) -> (bool, Alone, Alone) {
    match kind {
        JoinType::Inner => (true, Alone::No, Alone::No),
        JoinType::Left => (true, Alone::Padded, Alone::No),
        JoinType::Right => (true, Alone::No, Alone::Padded),
        JoinType::Full => (true, Alone::Padded, Alone::Padded),
        JoinType::LeftSemi => (false, Alone::Semi, Alone::No),
        JoinType::RightSemi => (false, Alone::No, Alone::Semi),
        JoinType::LeftAnti => (false, Alone::Anti, Alone::No),
        JoinType::RightAnti => (false, Alone::No, Alone::Anti),
        JoinType::LeftMark => (false, Alone::Mark, Alone::No),
        JoinType::RightMark => (false, Alone::No, Alone::Mark),
    }
}

/// Whether a join shows the columns of its left side, `width` many, and from which column on those of its right side.
fn shown_at(kind: JoinType, width: usize) -> (bool, Option<usize>) {
    match kind {
        JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark => (true, None),
        JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark => (false, Some(0)),
        JoinType::Inner | JoinType::Left | JoinType::Right | JoinType::Full => (true, Some(width)),
    }
}

/// What is compared with `=`.
struct Keys {
    left: Vec<Arc<dyn PhysicalExpr>>,
    right: Vec<Arc<dyn PhysicalExpr>>,
    types: Vec<DataType>,
}

/// The pairs of a condition in an order.
fn keys_of(plan: &JoinPlan, order: &[usize]) -> Result<Keys> {
    let (left_schema, right_schema) = (plan.left.schema(), plan.right.schema());
    let on = || order.iter().filter_map(|n| plan.on.get(*n));
    let left = on().map(|(l, _)| physical(l, left_schema)).collect::<Result<Vec<_>>>()?;
    let right = on().map(|(_, r)| physical(r, right_schema)).collect::<Result<Vec<_>>>()?;
    let bug = |e: datafusion::error::DataFusionError| Error::bug(e.to_string());
    let mut types = vec![];
    for (l, r) in left.iter().zip(&right) {
        let (a, b) =
            (l.data_type(left_schema.as_arrow()).map_err(bug)?, r.data_type(right_schema.as_arrow()).map_err(bug)?);
        if a != b {
            return Err(Error::unsupported(format!("a join key compares {a} with {b}")));
        }
        types.push(a);
    }
    Ok(Keys { left, right, types })
}

impl Lowering<'_> {
    pub(super) fn join(&mut self, plan: &JoinPlan) -> Result<usize> {
        let (pairs, left_alone, right_alone) = shape(plan.join_type);
        let looked_up = self.looked_up(plan, (left_alone, right_alone));
        let left = self.side(&plan.left, looked_up.left.as_ref())?;
        let right = self.side(&plan.right, looked_up.right.as_ref())?;
        let (left_schema, right_schema) = (plan.left.schema(), plan.right.schema());
        let Keys { left: left_keys, right: right_keys, types: key_types } = keys_of(plan, &looked_up.order)?;
        let pair = build_join_schema(left_schema, right_schema, &JoinType::Inner)
            .map_err(|e| Error::bug(format!("join schema: {}", e.strip_backtrace())))?;
        let filter = plan.filter.as_ref().map(|f| physical(f, &pair)).transpose()?;
        let nulls_match = plan.null_equality == NullEquality::NullEqualsNull;
        let mut work = Work::new("join", format!("{} {nulls_match}", plan.join_type));
        let of_keys = left_keys.iter().map(Some).chain([None]).chain(right_keys.iter().map(Some));
        if let Some(same) = self.same_rows(&mut work, &[left, right], of_keys.chain([filter.as_ref()]))? {
            return Ok(same);
        }
        let label = describe(plan, &|e| e.to_string());
        let both = plan.left.schema().join(plan.right.schema());
        let words = describe(plan, &|e| match &both {
            Ok(both) => in_words(&without_widening(e, both)),
            Err(_) => in_words(e),
        });
        let answers = self.places(&looked_up, plan);
        let keeps_all = answers.iter().all(Option::is_none);
        let (l, r) = (&self.nodes[left], &self.nodes[right]);
        let fields: Vec<Field> =
            l.schema.fields().iter().chain(r.schema.fields()).map(|f| f.as_ref().clone()).collect();
        let takes_back = self.takes_back(plan.join_type, left, right);
        let append_only = l.append_only && r.append_only && takes_back.is_none();
        let key = self.join_key(plan, left, right);
        let schema = loose(&plan.schema);
        let spec = JoinSpec {
            label,
            words,
            left_keys,
            right_keys,
            key_types,
            left_schema: l.schema.clone(),
            right_schema: r.schema.clone(),
            filter,
            pair_schema: Arc::new(Schema::new(fields)),
            schema: schema.clone(),
            nulls_match,
            pairs,
            left_alone,
            right_alone,
            waits: append_only
                && keeps_all
                && !self.on_close
                && plan.join_type == JoinType::LeftSemi
                && plan.filter.is_none(),
            looked_up: answers,
            guard: self.guard.clone(),
        };
        let mut operator = Join::new(spec, self.shards)?;
        let times = self.join_times(plan, left, right);
        operator.close_by(times.iter().map(|(key, _, _)| *key).collect());
        let interval = self.interval(plan, left, right)?;
        let (carried, close_by) = self.joined_times(plan, (left, right), &times, interval.times);
        let horizons = operator.close_rows(interval.left, interval.right);
        let node = self.node(Box::new(operator), vec![left, right], schema, append_only, key);
        self.shrinks(node, || takes_back.unwrap_or_default().to_string());
        self.carries(node, carried);
        self.join_loses(node, plan, (left, right), !times.is_empty());
        self.nodes[node].close_by = close_by;
        self.nodes[node].horizons = horizons;
        self.does(node, work);
        Ok(node)
    }

    fn side(&mut self, plan: &LogicalPlan, lookup: Option<&LookUp>) -> Result<usize> {
        match scan_of(plan).zip(lookup) {
            Some((scan, lookup)) => self.scan_by(scan, &BTreeMap::new(), Some(lookup.clone())),
            None => self.plan(plan),
        }
    }

    /// The event times of a join's rows, and which of them belong to the keys of `times`. A change of either side touches rows of
    /// the other: only a time that is equal on both sides is not below the least of their watermarks, or one of `within`, which its
    /// condition bounds.
    fn joined_times(
        &self,
        plan: &JoinPlan,
        (left, right): (usize, usize),
        times: &[(usize, usize, usize)],
        within: Vec<(bool, usize, TimeSource)>,
    ) -> (Times, Vec<usize>) {
        let (shows_left, shows_right) = shown_at(plan.join_type, self.nodes[left].schema.fields().len());
        let place = |is_left: bool, column: usize| match is_left {
            true => shows_left.then_some(column),
            false => shows_right.map(|from| from + column),
        };
        let (mut columns, mut close_by): (Vec<TimeColumn>, _) = (vec![], vec![]);
        // What is compared is not NULL in a row that has a partner.
        let mut compared = vec![];
        for (_, l, r) in times {
            let source = TimeSource::Least { of: vec![(left, *l), (right, *r)], steps: vec![] };
            close_by.push(columns.len());
            for column in [place(true, *l), place(false, *r)].into_iter().flatten() {
                columns.push(TimeColumn::new(column, source.clone()));
                compared.extend((plan.null_equality == NullEquality::NullEqualsNothing).then_some(column));
            }
        }
        for (is_left, column, source) in within {
            let Some(column) = place(is_left, column) else { continue };
            compared.push(column);
            if columns.iter().all(|t| t.column != column) {
                columns.push(TimeColumn::new(column, source));
            }
        }
        let of = |is_left: bool, node: usize| -> Complete {
            spread(&self.nodes[node].complete, |c| place(is_left, c).into_iter().collect())
        };
        let (of_left, of_right) = (of(true, left), of(false, right));
        let compared = compared.into_iter().map(|c| BTreeSet::from([c]));
        let complete: Complete = match plan.join_type {
            JoinType::Inner | JoinType::LeftSemi | JoinType::RightSemi => {
                of_left.into_iter().chain(of_right).chain(compared).collect()
            }
            JoinType::Left | JoinType::LeftAnti | JoinType::LeftMark => of_left,
            JoinType::Right | JoinType::RightAnti | JoinType::RightMark => of_right,
            JoinType::Full => crossed(&of_left, &of_right),
        };
        (Times::new(columns, complete), close_by)
    }

    fn join_key(&self, plan: &JoinPlan, left: usize, right: usize) -> Option<Vec<usize>> {
        let (l, r) = (&self.nodes[left].key, &self.nodes[right].key);
        let width = self.nodes[left].schema.fields().len();
        match plan.join_type {
            JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark => l.clone(),
            JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark => r.clone(),
            JoinType::Inner | JoinType::Left => {
                let (l, r) = (l.clone()?, r.clone()?);
                let right_columns: Vec<Option<usize>> =
                    plan.on.iter().map(|(_, e)| plain_column(e, plan.right.schema())).collect();
                if r.iter().all(|k| right_columns.contains(&Some(*k))) {
                    // At most one partner for each left row.
                    return Some(l);
                }
                Some(l.into_iter().chain(r.into_iter().map(|k| k + width)).collect())
            }
            JoinType::Right | JoinType::Full => None,
        }
    }
}

fn describe(plan: &JoinPlan, shown: &dyn Fn(&Expr) -> String) -> String {
    let on: Vec<String> = plan.on.iter().map(|(l, r)| format!("{} = {}", shown(l), shown(r))).collect();
    let mut label = if on.is_empty() {
        format!("Join {}: every row with every row", plan.join_type)
    } else {
        format!("Join {}: {}", plan.join_type, on.join(" AND "))
    };
    if let Some(filter) = &plan.filter {
        label.push_str(&format!(", if {}", shown(filter)));
    }
    label
}
