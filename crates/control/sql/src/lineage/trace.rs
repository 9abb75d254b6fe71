//! From rows of a plan's output to rows of the streams that it reads, one node at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{Array, Int32Array, Int64Array, UInt32Array};
use datafusion::common::ScalarValue;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{
    Aggregate, Distinct, Expr, GroupingSet, LogicalPlan, LogicalPlanBuilder, TableScan, Unnest, lit,
};
use fleuve_types::{Error, Result};

use super::names::listed;
use super::recursion::Within;
use super::wanted::{Same, gather, matching, same_columns};
use super::{Ground, Reads, Scanned, Wanted, bug, is_float, schema_of};
use crate::Spec;
use crate::errors::of_datafusion;

/// Nodes that one trace goes through; views over views can have any number.
const MAX_STEPS: usize = 10_000;

/// Rows of a node, to be traced further.
#[derive(Clone)]
pub(crate) struct Step {
    pub(crate) plan: Arc<LogicalPlan>,
    pub(crate) wanted: Wanted,
    /// What was passed on the way, from the view down.
    pub(crate) via: Vec<String>,
    /// Which rows of streams with a watermark its plan is about.
    pub(crate) reads: Reads,
}

/// Rows of a stream that were reached on one way.
pub(crate) struct Found {
    pub(crate) via: Vec<String>,
    pub(crate) stream: Scanned,
    /// By row of the answer: partitions and offsets in order.
    pub(crate) places: BTreeMap<u32, BTreeSet<(i32, i64)>>,
    /// Some were left out on the way.
    pub(crate) cut: bool,
}

/// A trace under way.
pub(crate) struct Tracer {
    pub(super) ground: Ground,
    todo: Vec<Step>,
    pub(crate) found: Vec<Found>,
    plans: BTreeMap<(String, String), Arc<LogicalPlan>>,
    /// Set in a trace of one round of a recursion, which ends at what the recursion reads.
    pub(super) within: Option<Within>,
    /// Rows that may still be computed again to find what is needed.
    pub(super) work_left: usize,
}

impl Step {
    /// The same rows, of another node.
    pub(super) fn onto(&self, plan: &Arc<LogicalPlan>) -> Self {
        self.of(plan, self.wanted.clone())
    }

    /// Other rows of another node.
    pub(super) fn of(&self, plan: &Arc<LogicalPlan>, wanted: Wanted) -> Self {
        Self { plan: plan.clone(), wanted, via: self.via.clone(), reads: self.reads }
    }

    pub(super) fn via(mut self, what: impl Into<String>) -> Self {
        self.via.push(what.into());
        self
    }
}

impl Tracer {
    pub(crate) fn new(ground: Ground) -> Self {
        let (todo, found, plans) = (vec![], vec![], BTreeMap::new());
        Self { ground, todo, found, plans, within: None, work_left: super::minimal::MAX_WORK }
    }

    /// Another one, of a part that ends earlier.
    pub(super) fn within(&self, within: Within) -> Self {
        Self { within: Some(within), work_left: self.work_left, ..Self::new(self.ground.clone()) }
    }

    /// Traces rows down to streams; what is found is added to `found`.
    pub(crate) async fn trace(&mut self, step: Step) -> Result<()> {
        self.todo.push(step);
        for _ in 0..MAX_STEPS {
            let Some(step) = self.todo.pop() else { return Ok(()) };
            if step.wanted.rows() == 0 {
                continue;
            }
            let subqueries = self.subqueries(&step).await?;
            self.todo.extend(subqueries);
            let mut next = self.step(&step).await?;
            // The first input is looked at first.
            next.reverse();
            self.todo.extend(next);
        }
        Err(Error::unsupported(format!("the row goes through more than {MAX_STEPS} operators")))
    }

    async fn step(&mut self, step: &Step) -> Result<Vec<Step>> {
        Ok(match step.plan.as_ref() {
            LogicalPlan::Filter(filter) => vec![step.onto(&filter.input)],
            LogicalPlan::SubqueryAlias(alias) => vec![step.onto(&alias.input)],
            LogicalPlan::Repartition(repartition) => vec![step.onto(&repartition.input)],
            LogicalPlan::Sort(sort) if sort.fetch.is_none() => vec![step.onto(&sort.input)],
            LogicalPlan::Sort(sort) => vec![step.onto(&sort.input).via("among the first of an order")],
            LogicalPlan::Limit(limit) => vec![step.onto(&limit.input).via("within a LIMIT")],
            LogicalPlan::Distinct(Distinct::All(input)) => vec![step.onto(input).via("equal rows, shown once")],
            LogicalPlan::Projection(projection) => {
                let unstable = unstable(&projection.input);
                let same: Vec<Same> =
                    projection.expr.iter().enumerate().map(|(i, e)| same(e, i, &unstable, &projection.input)).collect();
                let input = self.behind(&projection.input, &same, &step.wanted).await?;
                vec![step.of(&projection.input, input)]
            }
            LogicalPlan::Aggregate(aggregate) => self.aggregate(step, aggregate).await?,
            LogicalPlan::Union(union) => {
                let mut next = vec![];
                for (n, input) in union.inputs.iter().enumerate() {
                    let rows = self.behind(input, &same_columns(input), &step.wanted).await?;
                    next.push(step.of(input, rows).via(format!("part {} of a UNION", n + 1)));
                }
                next
            }
            LogicalPlan::Join(join) => self.join(step, join).await?,
            LogicalPlan::Window(window) => self.window(step, window).await?,
            LogicalPlan::Unnest(unnest) => self.unnest(step, unnest).await?,
            LogicalPlan::TableScan(scan) => self.scan(step, scan).await?,
            LogicalPlan::RecursiveQuery(query) => Box::pin(self.recursion(step, query)).await?,
            LogicalPlan::EmptyRelation(_) | LogicalPlan::Values(_) => vec![],
            other => everything(step, other)?,
        })
    }

    /// All columns of the rows of `input` that are behind the wanted ones.
    pub(super) async fn behind(&self, input: &LogicalPlan, same: &[Same], wanted: &Wanted) -> Result<Wanted> {
        matching(&self.ground.context, input, input.schema().fields().len(), same, wanted).await
    }

    /// A value that a node takes from a subquery comes from all of its answer.
    async fn subqueries(&self, step: &Step) -> Result<Vec<Step>> {
        let mut found: Vec<Arc<LogicalPlan>> = vec![];
        let mut look = |e: &Expr| {
            let subquery = match e {
                Expr::ScalarSubquery(s) => Some(s),
                Expr::InSubquery(s) => Some(&s.subquery),
                Expr::Exists(s) => Some(&s.subquery),
                _ => None,
            };
            found.extend(subquery.map(|s| s.subquery.clone()));
            Ok(TreeNodeRecursion::Continue)
        };
        for expr in step.plan.expressions() {
            expr.apply(&mut look).map_err(|e| of_datafusion(&e))?;
        }
        let mut next = vec![];
        for plan in found {
            let rows = self.behind(&plan, &[], &Wanted::any(&step.wanted.tags())?).await?;
            next.push(step.of(&plan, rows).via("the value of a subquery"));
        }
        Ok(next)
    }

    async fn aggregate(&self, step: &Step, aggregate: &Aggregate) -> Result<Vec<Step>> {
        let input = &aggregate.input;
        let sets = aggregate.group_expr.iter().find_map(|e| match e {
            Expr::GroupingSet(set) => Some(set),
            _ => None,
        });
        let Some(set) = sets else {
            let keys = aggregate.group_expr.iter().enumerate();
            let same: Vec<Same> = keys.map(|(wanted, e)| Same { expr: e.clone(), wanted, exact: true }).collect();
            let rows = self.behind(input, &same, &step.wanted).await?;
            let via = match aggregate.group_expr.as_slice() {
                [] => "one of all rows".to_string(),
                keys => match (listed(keys, input), aggregate.aggr_expr.is_empty()) {
                    (names, true) if names.is_empty() => "equal rows, shown once".into(),
                    (names, true) => format!("equal {names}, shown once"),
                    (names, false) if names.is_empty() => "a group".into(),
                    (names, false) => format!("group of {names}"),
                },
            };
            return Ok(vec![step.of(input, rows).via(via)]);
        };
        let keys = set.distinct_expr();
        let mut next = vec![];
        for (members, id) in numbered_sets(set, &keys)? {
            let of_set = step.wanted.filter(|batch, row| {
                ScalarValue::try_from_array(batch.column(keys.len() + 1), row)
                    .and_then(|v| v.cast_to(&arrow::datatypes::DataType::UInt64))
                    .is_ok_and(|v| v == ScalarValue::UInt64(Some(id)))
            })?;
            if of_set.rows() == 0 {
                continue;
            }
            let same: Vec<Same> =
                members.iter().map(|i| Same { expr: keys[*i].clone(), wanted: *i, exact: true }).collect();
            let rows = self.behind(input, &same, &of_set).await?;
            let via = match listed(members.iter().map(|i| keys[*i]), input) {
                _ if members.is_empty() => "one of all rows".into(),
                names if names.is_empty() => "a group".into(),
                names => format!("group of {names}"),
            };
            next.push(step.of(input, rows).via(via));
        }
        Ok(next)
    }

    /// Lists are unnested again beside what they were, so that a row is found by what came out of it.
    async fn unnest(&self, step: &Step, unnest: &Unnest) -> Result<Vec<Step>> {
        let input = &unnest.input;
        let width = input.schema().fields().len();
        let out = unnest.schema.fields().len();
        let build = || {
            let own = input.schema().columns().into_iter().map(Expr::Column);
            let kept = numbered(input, width);
            let both = LogicalPlanBuilder::from(input.as_ref().clone()).project(own.chain(kept).collect::<Vec<_>>())?;
            both.unnest_columns_with_options(unnest.exec_columns.clone(), unnest.options.clone())?.build()
        };
        let unnested = build().map_err(|e| of_datafusion(&e))?;
        let columns = unnested.schema().columns();
        if columns.len() != out + width {
            return everything(step, &step.plan);
        }
        let same: Vec<Same> = columns[..out]
            .iter()
            .enumerate()
            .map(|(wanted, c)| Same { expr: Expr::Column(c.clone()), wanted, exact: true })
            .collect();
        let kept = LogicalPlanBuilder::from(unnested.clone())
            .project(columns[out..].iter().chain(&columns[..out]).cloned().map(Expr::Column).collect::<Vec<_>>())
            .and_then(LogicalPlanBuilder::build)
            .map_err(|e| of_datafusion(&e))?;
        let rows = matching(&self.ground.context, &kept, width, &same, &step.wanted).await?;
        Ok(vec![step.of(input, rows).via("one of several made of a row")])
    }

    async fn scan(&mut self, step: &Step, scan: &TableScan) -> Result<Vec<Step>> {
        if let Some(within) = &mut self.within {
            within.reached(step, scan);
            return Ok(vec![]);
        }
        let Some(object) = self.ground.object(scan) else { return Ok(vec![]) };
        let whole = self.whole(&object, step.reads)?;
        let same = same_in_scan(scan, &whole, &step.wanted);
        match &object.bound.spec {
            // What a view below shows was not late.
            Spec::View(_) if step.reads == Reads::Late => Ok(vec![]),
            Spec::View(view) => {
                let rows = self.behind(&whole, &same, &step.wanted).await?;
                let key = (object.namespace.clone(), object.name.clone());
                let plan = match self.plans.get(&key) {
                    Some(plan) => plan.clone(),
                    None => {
                        let plan = Arc::new(self.ground.plan_of(view)?);
                        self.plans.insert(key, plan.clone());
                        plan
                    }
                };
                let reads = Reads::of(view);
                let inside = Step { plan, wanted: rows, via: step.via.clone(), reads };
                Ok(vec![inside.via(object.shown())])
            }
            Spec::Stream(_) => {
                let found = self.places(step, object, &whole, &same).await?;
                self.found.push(found);
                Ok(vec![])
            }
            Spec::Source(_) | Spec::Sink(_) | Spec::Index(_) => Ok(vec![]),
        }
    }

    /// All columns of a stream or view; of a stream with a watermark, of those rows that a plan is about.
    pub(super) fn whole(&self, object: &Scanned, reads: Reads) -> Result<LogicalPlan> {
        let table = self.ground.table(object, reads)?;
        LogicalPlanBuilder::scan("__read", datafusion::datasource::provider_as_source(table), None)
            .and_then(LogicalPlanBuilder::build)
            .map_err(|e| of_datafusion(&e))
    }

    async fn places(&self, step: &Step, stream: Scanned, whole: &LogicalPlan, same: &[Same]) -> Result<Found> {
        let read = whole.schema().columns();
        let place = |name: &str| read.iter().find(|c| c.name == name).cloned().map(Expr::Column);
        let (Some(partition), Some(offset)) = (place("_partition"), place("_offset")) else {
            return Err(bug(format!("{} has no offsets", stream.shown())));
        };
        // The place first, so that it is what is kept of a row.
        let rest = read.iter().filter(|c| !matches!(c.name.as_str(), "_partition" | "_offset"));
        let columns: Vec<Expr> = [partition, offset].into_iter().chain(rest.cloned().map(Expr::Column)).collect();
        let ordered = LogicalPlanBuilder::from(whole.clone())
            .project(columns)
            .and_then(LogicalPlanBuilder::build)
            .map_err(|e| of_datafusion(&e))?;
        let rows = matching(&self.ground.context, &ordered, 2, same, &step.wanted).await?;
        let mut places: BTreeMap<u32, BTreeSet<(i32, i64)>> = BTreeMap::new();
        for batch in rows.batches() {
            let of = |at: usize| batch.column(at).as_any();
            let tags = of(0).downcast_ref::<UInt32Array>().ok_or_else(|| bug("tags"))?;
            let partitions = of(1).downcast_ref::<Int32Array>().ok_or_else(|| bug("partitions"))?;
            let offsets = of(2).downcast_ref::<Int64Array>().ok_or_else(|| bug("offsets"))?;
            for row in 0..batch.num_rows() {
                places.entry(tags.value(row)).or_default().insert((partitions.value(row), offsets.value(row)));
            }
        }
        Ok(Found { via: step.via.clone(), stream, places, cut: rows.cut })
    }
}

/// What rows of a scan say of all columns of what it reads. Fewer are wanted where any row of the scan is meant.
pub(super) fn same_in_scan(scan: &TableScan, whole: &LogicalPlan, wanted: &Wanted) -> Vec<Same> {
    let columns = whole.schema().columns();
    let projected = scan.projection.clone().unwrap_or_else(|| (0..columns.len()).collect());
    let read = projected.iter().take(wanted.width()).enumerate();
    read.map(|(wanted, c)| Same { expr: Expr::Column(columns[*c].clone()), wanted, exact: true }).collect()
}

/// `column` as `__kept0`, ...: what an unnested row was made of.
fn numbered(input: &LogicalPlan, width: usize) -> Vec<Expr> {
    let columns = input.schema().columns().into_iter().take(width).enumerate();
    columns.map(|(i, c)| Expr::Column(c).alias(format!("__kept{i}"))).collect()
}

/// Where nothing better is known: every row of every input is behind it.
pub(super) fn everything(step: &Step, plan: &LogicalPlan) -> Result<Vec<Step>> {
    let any = Wanted::any(&step.wanted.tags())?;
    let (mut next, mut read) = (vec![], BTreeSet::new());
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node
            && read.insert(scan.table_name.to_string())
        {
            let name = match plan {
                LogicalPlan::RecursiveQuery(query) => super::recursion::named(query),
                plan => plan.display().to_string().split([':', ' ']).next().unwrap_or_default().to_string(),
            };
            next.push(step.of(&Arc::new(node.clone()), any.clone()).via(format!("any row below {name}")));
        }
        Ok(TreeNodeRecursion::Continue)
    })
    .map_err(|e| of_datafusion(&e))?;
    Ok(next)
}

/// Each grouping set: the numbers of its keys, and DataFusion's `__grouping_id` for it (a bit for each key that is not in it, the last
/// key's the lowest; above them how many equal sets came before).
fn numbered_sets(set: &GroupingSet, keys: &[&Expr]) -> Result<Vec<(Vec<usize>, u64)>> {
    const MAX_SETS: usize = 65_535;
    let members = |of: &[Expr]| -> Vec<usize> { (0..keys.len()).filter(|i| of.contains(keys[*i])).collect() };
    let sets: Vec<Vec<usize>> = match set {
        GroupingSet::GroupingSets(sets) => sets.iter().map(|s| members(s)).collect(),
        GroupingSet::Rollup(exprs) => (0..=exprs.len()).map(|n| members(&exprs[..n])).collect(),
        GroupingSet::Cube(exprs) => {
            let sets = u32::try_from(exprs.len()).ok().and_then(|n| 1_usize.checked_shl(n));
            let sets = sets.filter(|n| *n <= MAX_SETS).ok_or_else(|| Error::unsupported("too many grouping sets"))?;
            let chosen = |n: usize| -> Vec<Expr> {
                exprs.iter().enumerate().filter(|(i, _)| n >> i & 1 == 1).map(|(_, e)| e.clone()).collect()
            };
            (0..sets).map(|n| members(&chosen(n))).collect()
        }
    };
    let mut before: BTreeMap<Vec<usize>, u64> = BTreeMap::new();
    Ok(sets
        .into_iter()
        .map(|set| {
            let equal = before.entry(set.clone()).or_default();
            let id = (0..keys.len()).fold(*equal, |id, key| (id << 1) | u64::from(!set.contains(&key)));
            *equal += 1;
            (set, id)
        })
        .collect())
}

fn same(expr: &Expr, wanted: usize, unstable: &BTreeSet<usize>, input: &LogicalPlan) -> Same {
    let expr = expr.clone().unalias_nested().data;
    let reads_unstable = expr
        .column_refs()
        .iter()
        .any(|c| input.schema().maybe_index_of_column(c).is_some_and(|i| unstable.contains(&i)));
    let subquery = expr.exists(|e| Ok(matches!(e, Expr::ScalarSubquery(_)))).unwrap_or(true);
    Same { exact: !reads_unstable && !subquery, expr, wanted }
}

/// The columns of a plan whose values may come out differently when they are computed again.
fn unstable(plan: &LogicalPlan) -> BTreeSet<usize> {
    let all_from = |from: usize| (from..plan.schema().fields().len()).collect::<BTreeSet<usize>>();
    match plan {
        LogicalPlan::Filter(filter) => unstable(&filter.input),
        LogicalPlan::SubqueryAlias(alias) => unstable(&alias.input),
        LogicalPlan::Sort(sort) => unstable(&sort.input),
        LogicalPlan::Limit(limit) => unstable(&limit.input),
        LogicalPlan::Aggregate(aggregate) => all_from(plan.schema().fields().len() - aggregate.aggr_expr.len()),
        LogicalPlan::Window(window) => {
            let mut columns = unstable(&window.input);
            columns.extend(all_from(window.input.schema().fields().len()));
            columns
        }
        LogicalPlan::TableScan(_) | LogicalPlan::EmptyRelation(_) | LogicalPlan::Values(_) => BTreeSet::new(),
        LogicalPlan::Projection(projection) => {
            let below = unstable(&projection.input);
            let exprs = projection.expr.iter().enumerate();
            exprs.filter(|(i, e)| !same(e, *i, &below, &projection.input).exact).map(|(i, _)| i).collect()
        }
        LogicalPlan::Join(join)
            if join.left.schema().fields().len() + join.right.schema().fields().len()
                == plan.schema().fields().len() =>
        {
            let width = join.left.schema().fields().len();
            let mut columns = unstable(&join.left);
            columns.extend(unstable(&join.right).into_iter().map(|c| c + width));
            columns
        }
        _ => schema_of(plan)
            .fields()
            .iter()
            .enumerate()
            .filter(|(_, f)| is_float(f.data_type()))
            .map(|(i, _)| i)
            .collect(),
    }
}

/// `plan` restricted by a condition, as a table of the rows for one tag.
pub(super) async fn rows_where(ground: &Ground, plan: &LogicalPlan, condition: Option<Expr>) -> Result<Wanted> {
    let build = || {
        let mut rows = LogicalPlanBuilder::from(plan.clone());
        if let Some(condition) = condition {
            rows = rows.filter(condition)?;
        }
        let tag = std::iter::once(lit(1_u32).alias(super::wanted::TAG));
        rows.project(tag.chain(super::wanted::numbered(plan, "w")).collect::<Vec<_>>())
    };
    gather(&ground.context, build().map_err(|e| of_datafusion(&e))?).await
}
