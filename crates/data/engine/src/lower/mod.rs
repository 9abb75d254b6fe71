//! From DataFusion's logical plan to a circuit. What has no incremental operator becomes a `Recompute`.

mod aggregate;
mod as_of;
mod close;
mod fallback;
mod fallible;
mod grouping;
mod growth;
mod interval;
mod join;
mod lift;
mod lookup;
mod map;
mod not_in;
pub(crate) mod now;
mod panes;
mod prune;
mod recursive;
mod scalar;
mod session;
pub(crate) mod share;
mod time;
mod top_n;
mod window;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::common::DFSchema;
use datafusion::execution::SessionState;
use datafusion::logical_expr::{Distinct as DistinctPlan, LogicalPlan, TableScan};
use fleuve_batch::words_of_columns;
use fleuve_types::{ColumnPart, Delta, Error, Result};

use self::time::Times;
use crate::circuit::{Circuit, CircuitInput, Node, NodeKind};
use crate::event_time::{TimeColumn, TimeColumns, TimeSource, is_time, spread};
use crate::lookup::{LookUp, RelationIndex};
use crate::operators::distinct::Distinct;
use crate::operators::union::Union;
use crate::operators::values::Values;
use crate::operators::{Guard, Operator, PlanRunner};
use crate::state::batch_of;

/// What lowering has to know about a relation.
pub trait Relations {
    /// True if rows of this relation never go (a stream, or a view whose circuit says so).
    fn is_append_only(&self, table: &(String, String)) -> bool;
    /// Columns that identify its rows, if known.
    fn key(&self, table: &(String, String)) -> Option<Vec<usize>>;
    /// The columns of its answer, if a circuit that reads it is given that answer in each of its steps: then joins look rows up in it
    /// by the key. `None` if it is a stream, or nobody can give it.
    fn answer(&self, table: &(String, String)) -> Option<SchemaRef> {
        let _ = table;
        None
    }
    /// The indexes of it that a circuit which reads it is given in each of its steps: then joins look rows up in them.
    fn indexes(&self, table: &(String, String)) -> Vec<RelationIndex> {
        let _ = table;
        vec![]
    }
    /// Columns that carry event time: with late rows left out, its rows come with a watermark of each.
    fn event_time(&self, table: &(String, String)) -> TimeColumns {
        let _ = table;
        TimeColumns::default()
    }
}

/// Builds the circuit of an optimised plan.
///
/// # Errors
/// When a part of the plan can be run neither incrementally nor by the batch engine.
pub fn lower(plan: &LogicalPlan, state: &SessionState, relations: &dyn Relations, shards: usize) -> Result<Circuit> {
    build(plan, state, relations, shards, false)
}

/// As [`lower`], for a view that shows rows only when the watermark has passed them (`EMIT ON WINDOW CLOSE`).
///
/// # Errors
/// As for [`lower`], and when no column of the answer carries event time.
pub fn lower_on_close(
    plan: &LogicalPlan,
    state: &SessionState,
    relations: &dyn Relations,
    shards: usize,
) -> Result<Circuit> {
    build(plan, state, relations, shards, true)
}

/// The circuit of an index of what a plan reads, which does nothing but that, by these of its columns.
///
/// # Errors
/// When rows cannot be kept by columns of these types.
pub fn lower_index(
    plan: &LogicalPlan,
    state: &SessionState,
    relations: &dyn Relations,
    shards: usize,
    by: &[usize],
) -> Result<Circuit> {
    let guard = Guard::default();
    let mut lowering = Lowering::new(state, relations, shards, false, guard.clone());
    let rows = lowering.plan(plan)?;
    let root = lowering.index(rows, by)?;
    let mut circuit = Circuit::new(lowering.nodes, lowering.inputs, root, false, guard);
    circuit.work = lowering.shared.into_work();
    Ok(circuit)
}

fn build(
    plan: &LogicalPlan,
    state: &SessionState,
    relations: &dyn Relations,
    shards: usize,
    on_close: bool,
) -> Result<Circuit> {
    let guard = Guard::default();
    let mut lowering = Lowering::new(state, relations, shards, on_close, guard.clone());
    let plan = now::filters(fallible::compute_first(scalar::join_scalars(plan)?)?)?;
    guard.names(words_of_columns(&plan).map_err(|e| Error::bug(e.to_string()))?);
    let root = match on_close {
        true => lowering.closed(&plan)?,
        false => {
            let root = lowering.plan(&plan)?;
            lowering.named(root, &plan)
        }
    };
    let mut circuit = Circuit::new(lowering.nodes, lowering.inputs, root, on_close, guard);
    circuit.work = lowering.shared.into_work();
    Ok(circuit)
}

pub(crate) struct Lowering<'a> {
    state: &'a SessionState,
    relations: &'a dyn Relations,
    shards: usize,
    /// The circuit follows event time.
    on_close: bool,
    /// Something that it reads has one.
    has_event_time: bool,
    nodes: Vec<Node>,
    inputs: Vec<CircuitInput>,
    /// Equal subplans share one node.
    memo: HashMap<LogicalPlan, usize>,
    cells: usize,
    guard: Guard,
    /// Of the circuit of a recursive term: what it reads.
    leaves: Option<recursive::Leaves>,
    shared: share::Shared,
}

/// The Arrow schema of a plan's output, with every column nullable: state and intermediate rows are not checked for NULL.
pub(crate) fn loose(schema: &DFSchema) -> SchemaRef {
    let fields: Vec<Field> =
        schema.fields().iter().map(|f| Field::new(f.name(), f.data_type().clone(), true)).collect();
    Arc::new(Schema::new(fields))
}

/// `(namespace, name)` of what is scanned.
fn table_of(scan: &TableScan) -> (String, String) {
    (scan.table_name.schema().unwrap_or("public").to_string(), scan.table_name.table().to_string())
}

/// Which of its columns are.
fn columns_of(scan: &TableScan) -> Vec<usize> {
    match &scan.projection {
        Some(columns) => columns.clone(),
        None => (0..scan.source.schema().fields().len()).collect(),
    }
}

impl<'a> Lowering<'a> {
    fn new(state: &'a SessionState, relations: &'a dyn Relations, shards: usize, on_close: bool, guard: Guard) -> Self {
        Self {
            state,
            relations,
            shards,
            on_close,
            has_event_time: false,
            nodes: vec![],
            inputs: vec![],
            memo: HashMap::new(),
            cells: 0,
            guard,
            leaves: None,
            shared: share::Shared::default(),
        }
    }
}

impl Lowering<'_> {
    fn plan(&mut self, plan: &LogicalPlan) -> Result<usize> {
        if let Some(node) = self.memo.get(plan) {
            return Ok(*node);
        }
        let mark = self.mark();
        let node = match self.incremental(plan) {
            Ok(node) => node,
            // A recursive term is run again as a whole, not in each of its rounds.
            Err(e) if e.kind == fleuve_types::ErrorKind::Unsupported && self.leaves.is_none() => {
                self.back_to(mark);
                self.recompute(plan)?
            }
            Err(e) => return Err(e),
        };
        self.memo.insert(plan.clone(), node);
        Ok(node)
    }

    /// The root under the names that the query gives its columns: where equal work is shared, they may be those of another part.
    fn named(&mut self, root: usize, plan: &LogicalPlan) -> usize {
        let own = self.nodes[root].schema.clone();
        let names = plan.schema().fields().iter().map(|f| f.name());
        if own.fields().iter().map(|f| f.name()).eq(names.clone()) {
            return root;
        }
        let fields = own.fields().iter().zip(names).map(|(f, name)| f.as_ref().clone().with_name(name));
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let places: Vec<usize> = (0..schema.fields().len()).collect();
        let is_closed = self.nodes[root].is_closed;
        let append_only = self.nodes[root].append_only;
        let node = self.reorder(root, &places, schema);
        (self.nodes[node].is_closed, self.nodes[node].append_only) = (is_closed, append_only);
        node
    }

    /// How far lowering has come.
    fn mark(&self) -> (usize, usize) {
        (self.nodes.len(), self.inputs.len())
    }

    /// Gives up what was lowered since: nodes that an attempt left behind would run for nothing.
    fn back_to(&mut self, mark: (usize, usize)) {
        self.memo.retain(|_, n| *n < mark.0);
        self.nodes.truncate(mark.0);
        self.inputs.truncate(mark.1);
        self.shared.truncate(mark.0);
        if let Some(leaves) = &mut self.leaves {
            leaves.truncate(mark.1);
        }
    }

    fn incremental(&mut self, plan: &LogicalPlan) -> Result<usize> {
        match plan {
            LogicalPlan::Filter(filter) if now::is_asked(&filter.predicate) => self.temporal(filter),
            LogicalPlan::Projection(_) | LogicalPlan::Filter(_) => self.map(plan),
            LogicalPlan::SubqueryAlias(alias) => self.plan(&alias.input),
            LogicalPlan::Sort(sort) if sort.fetch.is_none() => self.plan(&sort.input),
            LogicalPlan::Sort(_) | LogicalPlan::Limit(_) => self.limit(plan),
            LogicalPlan::Repartition(r) => self.plan(&r.input),
            LogicalPlan::TableScan(scan) => self.scan(scan, &BTreeMap::new()),
            LogicalPlan::Aggregate(aggregate) => self.aggregate(aggregate),
            LogicalPlan::Join(join) if join.null_aware => self.plan(&not_in::joins(join)?),
            LogicalPlan::Join(join) => self.join(join),
            LogicalPlan::Union(union) => {
                let inputs = union.inputs.iter().map(|i| self.plan(i)).collect::<Result<Vec<_>>>()?;
                let schema = loose(&union.schema);
                let mut work = share::Work::new("union", share::types(&schema));
                if let Some(same) = self.same_rows(&mut work, &inputs, [])? {
                    return Ok(same);
                }
                let append_only = inputs.iter().all(|i| self.nodes[*i].append_only);
                let times = self.union_times(union, &inputs);
                let operator = Box::new(Union { schema: schema.clone() });
                let node = self.node(operator, inputs.clone(), schema, append_only, None);
                self.carries(node, times);
                for (input, plan) in inputs.iter().zip(&union.inputs) {
                    self.loses(node, *input, plan.schema(), || {
                        ("UNION keeps the event time only in a column where each side has it".into(), close::GROUP_BY)
                    });
                }
                self.does(node, work);
                Ok(node)
            }
            LogicalPlan::Distinct(DistinctPlan::All(input)) => {
                let input = self.plan(input)?;
                let schema = self.nodes[input].schema.clone();
                let mut work = share::Work::new("distinct", String::new());
                if let Some(same) = self.same_rows(&mut work, &[input], [])? {
                    return Ok(same);
                }
                let key = Some((0..schema.fields().len()).collect());
                let append_only = self.nodes[input].append_only;
                let mut operator = Distinct::new(schema.clone(), self.shards)?;
                let times = self.times_of(input);
                operator.close_by(times.numbers());
                let node = self.node(Box::new(operator), vec![input], schema, append_only, key);
                self.closes_by(node, times);
                self.does(node, work);
                Ok(node)
            }
            LogicalPlan::EmptyRelation(_) | LogicalPlan::Values(_) => self.values(plan),
            LogicalPlan::Window(window) if session::is_session(window) => {
                self.session(window, &session::read_of(&[], window))
            }
            LogicalPlan::Window(window) if as_of::is_as_of(window) => self.as_of(window),
            LogicalPlan::Window(window) => self.window(window),
            LogicalPlan::Unnest(unnest) => self.flat_map(plan, &unnest.input),
            LogicalPlan::RecursiveQuery(query) => self.recursive(query),
            LogicalPlan::Extension(extension) => self.leaf(extension),
            other => Err(Error::unsupported(format!("{} has no incremental operator", other.display()))),
        }
    }

    fn node(
        &mut self,
        operator: Box<dyn Operator>,
        inputs: Vec<usize>,
        schema: SchemaRef,
        append_only: bool,
        key: Option<Vec<usize>>,
    ) -> usize {
        self.push(NodeKind::Operator(operator), inputs, schema, append_only, key)
    }

    fn push(
        &mut self,
        kind: NodeKind,
        inputs: Vec<usize>,
        schema: SchemaRef,
        append_only: bool,
        key: Option<Vec<usize>>,
    ) -> usize {
        self.nodes.push(Node {
            kind,
            inputs,
            schema,
            append_only,
            shrinks: None,
            key,
            times: vec![],
            complete: vec![],
            loss: None,
            close_by: vec![],
            horizons: vec![],
            is_closed: false,
        });
        self.nodes.len() - 1
    }

    /// The node of a scan; `fields` says of which columns only some fields are read.
    fn scan(&mut self, scan: &TableScan, fields: &BTreeMap<usize, Vec<usize>>) -> Result<usize> {
        self.scan_by(scan, fields, None)
    }

    /// As [`Lowering::scan`]; of an input that is looked up only the join that does so may read.
    fn scan_by(
        &mut self,
        scan: &TableScan,
        fields: &BTreeMap<usize, Vec<usize>>,
        lookup: Option<LookUp>,
    ) -> Result<usize> {
        if !scan.filters.is_empty() {
            return Err(Error::bug("a filter was pushed into the scan of a view's plan"));
        }
        let (table, columns) = (table_of(scan), columns_of(scan));
        let parts: Vec<ColumnPart> =
            columns.iter().enumerate().map(|(n, at)| ColumnPart { at: *at, fields: fields.get(&n).cloned() }).collect();
        let whole = loose(&scan.projected_schema);
        let pruned: Vec<Field> = whole.fields().iter().zip(&parts).map(|(f, p)| p.field(f)).collect();
        let schema = Arc::new(Schema::new(pruned));
        let append_only = self.relations.is_append_only(&table);
        let key = self
            .relations
            .key(&table)
            .and_then(|key| key.iter().map(|k| columns.iter().position(|c| c == k)).collect::<Option<Vec<_>>>());
        let event_time = if self.on_close { self.relations.event_time(&table) } else { TimeColumns::default() };
        self.has_event_time |= !event_time.all.is_empty();
        let input = CircuitInput { table, columns: parts, lookup };
        let number = match self.inputs.iter().position(|i| *i == input) {
            Some(number) => number,
            None => {
                self.inputs.push(input);
                self.inputs.len() - 1
            }
        };
        // Two scans of the same columns are one node.
        if let Some(same) = self.nodes.iter().position(|n| matches!(n.kind, NodeKind::Input(i) if i == number)) {
            return Ok(same);
        }
        let carried = |(at, column): (usize, &ColumnPart)| {
            (event_time.all.contains(&column.at) && is_time(schema.field(at).data_type()))
                .then(|| TimeColumn::new(at, TimeSource::Input { input: number, column: column.at }))
        };
        let parts = &self.inputs[number].columns;
        let read = |at: usize| parts.iter().enumerate().filter(|(_, p)| p.at == at).map(|(n, _)| n).collect();
        let complete = spread(&event_time.complete, read);
        let times = Times::new(parts.iter().enumerate().filter_map(carried).collect(), complete);
        let name = self.inputs[number].table.1.clone();
        let names: Vec<&str> = times.numbers().iter().map(|c| schema.field(*c).name().as_str()).collect();
        let loss = (!names.is_empty()).then(|| close::of_view(&name, &names.join(", ")));
        let shrinks = format!("rows of {}.{name} can go", self.inputs[number].table.0);
        let node = self.push(NodeKind::Input(number), vec![], schema, append_only, key);
        self.shrinks(node, || shrinks);
        self.carries(node, times);
        self.nodes[node].loss = loss;
        Ok(node)
    }

    fn values(&mut self, plan: &LogicalPlan) -> Result<usize> {
        let rows = PlanRunner::new(plan, self.state)?.run_apart()?;
        let schema = loose(plan.schema());
        let rows = Delta::insert(batch_of(&schema, rows.columns().to_vec(), rows.num_rows())?);
        Ok(self.node(Box::new(Values { rows }), vec![], schema, true, None))
    }
}
