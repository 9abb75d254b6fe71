//! A circuit: operators in an order in which each comes after its inputs.

mod text;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::datatypes::{Schema, SchemaRef};
use fleuve_types::{ColumnPart, Delta, Error, Result};

use crate::event_time::{Complete, Horizon, Loss, Mark, TimeColumn, TimeColumns};
use crate::keep::Above;
use crate::lookup::{LookUp, lookups_of};
use crate::lower::share::Work;
use crate::operators::{DeadRow, Guard, Operator, StepContext, concat_deltas};
use crate::profile::{Counters, Profile};
use crate::state::runs::Space;
use crate::state::{Pages, Section, read_run, write_run};

/// What a circuit reads: a relation and which of its columns.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CircuitInput {
    /// `(namespace, name)` as the plan says it.
    pub table: (String, String),
    /// In the order of the plan's scan.
    pub columns: Vec<ColumnPart>,
    /// No operator keeps its rows: a join looks them up.
    pub lookup: Option<LookUp>,
}

pub(crate) enum NodeKind {
    /// The circuit's input of that number.
    Input(usize),
    Operator(Box<dyn Operator>),
}

pub(crate) struct Node {
    pub(crate) kind: NodeKind,
    pub(crate) inputs: Vec<usize>,
    pub(crate) schema: SchemaRef,
    /// No row that this node puts out ever goes again.
    pub(crate) append_only: bool,
    /// Why not, where it is lost: at inputs, and at operators whose inputs only grow.
    pub(crate) shrinks: Option<String>,
    /// Columns that identify a row of this node's answer.
    pub(crate) key: Option<Vec<usize>>,
    /// Columns that carry event time. Only circuits that emit on window close have any.
    pub(crate) times: Vec<TimeColumn>,
    /// Sets of them of which no row that has a time lacks all.
    pub(crate) complete: Complete,
    /// Why there are none, where they are lost.
    pub(crate) loss: Option<Loss>,
    /// Which of them the operator closes windows by.
    pub(crate) close_by: Vec<usize>,
    /// What it closes by besides.
    pub(crate) horizons: Vec<Horizon>,
    /// Every row that this node puts out is final: its window is closed.
    pub(crate) is_closed: bool,
}

/// A running query: changes of its inputs in, change of its answer out.
pub struct Circuit {
    pub(crate) nodes: Vec<Node>,
    pub(crate) inputs: Vec<CircuitInput>,
    pub(crate) root: usize,
    pub(crate) fresh: bool,
    /// Shows rows only when the watermark has passed them.
    pub(crate) on_close: bool,
    /// What `now()` is; it never goes back.
    pub(crate) now_us: i64,
    /// The operators that follow it.
    by_clock: Vec<usize>,
    pub(crate) profile: Arc<Profile>,
    /// Its own, and those of operators that it took over.
    pub(crate) guards: Vec<Guard>,
    dead: Vec<DeadRow>,
    /// Sides of operators whose rows are looked up: the node, which of its inputs, and the number of the circuit's input.
    pub(crate) lookups: Vec<(usize, usize, usize)>,
    /// What nodes do, where lowering noted it.
    pub(crate) work: BTreeMap<usize, Work>,
    /// What some nodes put out, noted for whoever builds on it.
    pub(crate) taps: BTreeMap<usize, Vec<Delta>>,
    /// Nodes that take in and put out nothing yet, and whether that is known to pay.
    pub(crate) held: BTreeMap<usize, bool>,
    pub(crate) steps: u64,
    /// By node: the step in which it last had something to do.
    pub(crate) touched: Vec<u64>,
    /// Where its state may go, and in which folder.
    pub(crate) space: Option<(Arc<Space>, String)>,
    /// Is told, in the next step, of how many operators have done their part, and how many there are.
    pub(crate) watcher: Option<Watcher>,
}

pub(crate) type Watcher = Box<dyn FnMut(u64, u64) + Send + Sync>;

impl Circuit {
    pub(crate) fn new(nodes: Vec<Node>, inputs: Vec<CircuitInput>, root: usize, on_close: bool, guard: Guard) -> Self {
        let profile = Arc::new(Profile(counters(&nodes, &inputs).collect()));
        let follows = |node: &Node| matches!(&node.kind, NodeKind::Operator(o) if o.follows_clock());
        let by_clock = (0..nodes.len()).filter(|n| follows(&nodes[*n])).collect();
        let now_us = i64::MIN;
        let touched = vec![0; nodes.len()];
        let lookups = lookups_of(&nodes, &inputs);
        Self {
            nodes,
            inputs,
            root,
            fresh: true,
            on_close,
            now_us,
            by_clock,
            profile,
            guards: vec![guard],
            dead: vec![],
            lookups,
            work: BTreeMap::new(),
            taps: BTreeMap::new(),
            held: BTreeMap::new(),
            steps: 0,
            touched,
            space: None,
            watcher: None,
        }
    }

    /// What it reads.
    pub fn inputs(&self) -> &[CircuitInput] {
        &self.inputs
    }

    /// Counts, above its operators, what becomes of the answer, too.
    pub(crate) fn count_answer(&mut self, description: String) {
        let answer = Counters { description, inputs: vec![self.root], ..Counters::default() };
        self.profile = Arc::new(Profile(counters(&self.nodes, &self.inputs).chain([answer]).collect()));
    }

    /// The figures of the answer, where they are counted.
    pub(crate) fn answer_counters(&self) -> Option<&Counters> {
        self.profile.0.get(self.nodes.len())
    }

    /// The node that is one of its inputs.
    pub(crate) fn input_node(&self, number: usize) -> Option<usize> {
        self.nodes.iter().position(|n| matches!(n.kind, NodeKind::Input(i) if i == number))
    }

    /// The columns of one of its inputs.
    pub(crate) fn input_schema(&self, number: usize) -> SchemaRef {
        let node = self.input_node(number).map(|n| &self.nodes[n]);
        node.map_or_else(|| Arc::new(Schema::empty()), |n| n.schema.clone())
    }

    /// So much time was spent on the rows of one of its inputs before a step.
    pub(crate) fn took_in(&self, number: usize, time: Duration) {
        if let Some(node) = self.input_node(number) {
            self.profile.spent(node, time);
        }
    }

    /// The columns of the answer.
    pub fn schema(&self) -> &SchemaRef {
        &self.nodes[self.root].schema
    }

    /// The columns that identify a row of the answer, if the plan tells.
    pub fn key(&self) -> Option<&[usize]> {
        self.nodes[self.root].key.as_deref()
    }

    /// True if rows of the answer never go.
    pub fn is_append_only(&self) -> bool {
        self.nodes[self.root].append_only
    }

    /// True if rows are shown only when the watermark has passed them: the inputs must then be without late rows.
    pub fn emits_on_close(&self) -> bool {
        self.on_close
    }

    /// True if the answer changes as time passes: what `now()` is has to be told before each step.
    pub fn follows_clock(&self) -> bool {
        !self.by_clock.is_empty()
    }

    /// What `now()` is from the next step on, in microseconds; a time before the one told last changes nothing.
    pub fn tell_time(&mut self, now_us: i64) {
        self.now_us = self.now_us.max(now_us);
    }

    /// When the answer changes next with no input to tell of it. `None` if it will not.
    pub fn due_us(&self) -> Option<i64> {
        let due = |n: &usize| match &self.nodes[*n].kind {
            NodeKind::Operator(o) => o.due_us(),
            NodeKind::Input(_) => None,
        };
        self.by_clock.iter().filter_map(due).min()
    }

    /// The columns of the answer that carry event time, with the watermarks that they have by now.
    pub fn marks(&self) -> Vec<Mark> {
        self.nodes[self.root].times.iter().filter_map(|t| Some((t.column, t.watermark?))).collect()
    }

    /// The columns of the answer that carry event time.
    pub fn time_columns(&self) -> TimeColumns {
        let root = &self.nodes[self.root];
        TimeColumns { all: root.times.iter().map(|t| t.column).collect(), complete: root.complete.clone() }
    }

    /// The watermarks that the columns of the answer have which carry event time, when its inputs have these.
    ///
    /// # Errors
    /// When an expression that event time passes through fails.
    pub fn marks_given(&self, inputs: &[Vec<Mark>]) -> Result<Vec<Mark>> {
        let mut known: Vec<Vec<Mark>> = Vec::with_capacity(self.nodes.len());
        for node in &self.nodes {
            let of = |node: usize, column: usize| known[node].iter().find(|m| m.0 == column).map(|m| m.1);
            let mark = |t: &TimeColumn| Ok(t.source.now(inputs, &of)?.map(|watermark| (t.column, watermark)));
            let marks = node.times.iter().filter_map(|t| mark(t).transpose()).collect::<Result<_>>()?;
            known.push(marks);
        }
        Ok(known.swap_remove(self.root))
    }

    /// Takes its inputs from where another circuit of the same shape finds them.
    pub(crate) fn read_as(&mut self, other: Circuit) {
        self.inputs = other.inputs;
        // It speaks of columns by where they stand in the relation.
        self.work = other.work;
        for (node, new) in self.nodes.iter_mut().zip(&other.nodes) {
            for (time, new) in node.times.iter_mut().zip(&new.times) {
                time.source = new.source.clone();
            }
            for (horizon, new) in node.horizons.iter_mut().zip(&new.horizons) {
                horizon.source = new.source.clone();
            }
        }
    }

    /// Leaves out the rows that an expression fails for from now on, instead of failing: each is a [`DeadRow`].
    pub fn skip_failing_rows(&self) {
        self.guards.iter().for_each(Guard::skip);
    }

    /// The rows that were left out since the last call.
    pub fn take_dead_rows(&mut self) -> Vec<DeadRow> {
        std::mem::take(&mut self.dead)
    }

    /// Memory of the rows that were left out and not yet taken.
    pub(crate) fn dead_bytes(&self) -> usize {
        self.dead.iter().map(DeadRow::memory_bytes).sum()
    }

    /// Takes the change of each input (in the order of [`Circuit::inputs`]) and gives the change of the answer.
    ///
    /// # Errors
    /// When an expression fails. The circuit's state is then undefined: it has to be made again.
    pub fn step(&mut self, inputs: &[Delta]) -> Result<Delta> {
        self.step_at(inputs, &[])
    }

    /// As [`Circuit::step`]; `marks` are the watermarks of each input after the change, columns counted as in its relation.
    ///
    /// # Errors
    /// As for [`Circuit::step`].
    pub fn step_at(&mut self, inputs: &[Delta], marks: &[Vec<Mark>]) -> Result<Delta> {
        if inputs.len() != self.inputs.len() {
            return Err(Error::bug("a circuit was given another number of inputs than it has"));
        }
        self.run(inputs, marks, None)
    }

    /// A step of all operators, or of those above others that are given.
    pub(crate) fn run(&mut self, inputs: &[Delta], marks: &[Vec<Mark>], above: Option<Above<'_>>) -> Result<Delta> {
        let context = StepContext { first: self.fresh, now_us: self.now_us };
        self.fresh = false;
        self.steps += 1;
        let mut outs: Vec<Delta> = Vec::with_capacity(self.nodes.len());
        let (mut watcher, operators) = (self.watcher.take(), self.operators().count() as u64);
        let mut done = 0;
        // A change is let go as soon as its last reader has seen it.
        let mut last_reader = vec![0; self.nodes.len()];
        for (n, node) in self.nodes.iter().enumerate() {
            for i in &node.inputs {
                last_reader[*i] = n;
            }
        }
        for n in 0..self.nodes.len() {
            let (node, counters) = (&mut self.nodes[n], &self.profile.0[n]);
            let given = above.and_then(|above| above.out(n, node));
            let mut out = match (given, &mut node.kind) {
                (Some(given), _) => given,
                (None, NodeKind::Input(i)) => inputs[*i].clone(),
                (None, NodeKind::Operator(operator)) => {
                    let changes: Vec<Delta> = node.inputs.iter().map(|i| outs[*i].clone()).collect();
                    if changes.iter().all(Delta::is_empty) && !operator.wants_step(context) {
                        Delta::empty(node.schema.clone())
                    } else {
                        self.touched[n] = self.steps;
                        Counters::add(&counters.rows_in, changes.iter().map(Delta::len).sum());
                        let start = Instant::now();
                        let told = |e| in_names(&self.guards, e);
                        let out = if self.held.contains_key(&n) {
                            operator.take_in(&changes, context).map_err(told)?;
                            Delta::empty(node.schema.clone())
                        } else {
                            operator.step(&changes, context).map_err(told)?
                        };
                        counters.spent(start.elapsed());
                        for guard in &self.guards {
                            self.dead.extend(guard.take(n, || operator.in_words()));
                        }
                        out
                    }
                }
            };
            if self.move_watermarks(n, marks)?
                && let Some(closed) = self.close(n)?
            {
                out = concat_deltas(&self.nodes[n].schema, &[out, closed])?;
            }
            Counters::add(&self.profile.0[n].rows_out, out.len());
            if let Some(noted) = self.taps.get_mut(&n).filter(|_| !out.is_empty()) {
                noted.push(out.clone());
            }
            for i in self.nodes[n].inputs.clone() {
                if last_reader[i] == n && i != self.root {
                    outs[i] = Delta::empty(self.nodes[i].schema.clone());
                }
            }
            outs.push(out);
            if matches!(self.nodes[n].kind, NodeKind::Operator(_)) {
                done += 1;
                watcher.iter_mut().for_each(|tell| tell(done, operators));
            }
        }
        // It may have none.
        watcher.iter_mut().for_each(|tell| tell(1, 1));
        Ok(outs.swap_remove(self.root))
    }

    /// Brings a node's watermarks up to date; tells if one moved.
    fn move_watermarks(&mut self, n: usize, marks: &[Vec<Mark>]) -> Result<bool> {
        let watermark = |node: usize, column: usize| {
            self.nodes[node].times.iter().find(|t| t.column == column).and_then(|t| t.watermark)
        };
        let node = &self.nodes[n];
        let sources = node.times.iter().map(|t| &t.source).chain(node.horizons.iter().map(|h| &h.source));
        let now = sources.map(|s| s.now(marks, &watermark)).collect::<Result<Vec<_>>>()?;
        let mut moved = false;
        let node = &mut self.nodes[n];
        let times = node.times.iter_mut().map(|t| &mut t.watermark);
        for (watermark, now) in times.chain(node.horizons.iter_mut().map(|h| &mut h.watermark)).zip(now) {
            // It never goes back.
            if now > *watermark {
                *watermark = now;
                moved = true;
            }
        }
        Ok(moved)
    }

    fn close(&mut self, n: usize) -> Result<Option<Delta>> {
        let node = &mut self.nodes[n];
        let NodeKind::Operator(operator) = &mut node.kind else { return Ok(None) };
        if node.close_by.is_empty() && node.horizons.is_empty() {
            return Ok(None);
        }
        let by_columns = node.close_by.iter().map(|t| node.times[*t].watermark);
        let watermarks: Vec<Option<i64>> = by_columns.chain(node.horizons.iter().map(|h| h.watermark)).collect();
        let start = Instant::now();
        let closed = operator.close(&watermarks).map_err(|e| in_names(&self.guards, e))?;
        self.profile.0[n].spent(start.elapsed());
        Ok(closed)
    }

    /// Memory held, in bytes.
    pub fn state_bytes(&self) -> usize {
        self.operators().map(|(_, o)| o.state_bytes()).sum()
    }

    /// Rows or groups held.
    pub(crate) fn state_rows(&self) -> usize {
        self.operators().map(|(_, o)| o.state_rows()).sum()
    }

    /// Brings the profile's state figures up to date; gives the memory held, in bytes.
    pub(crate) fn measure(&self) -> usize {
        let mut all = 0;
        for (n, operator) in self.operators() {
            let bytes = operator.state_bytes();
            let disk = operator.pages().map_or(0, Pages::disk_bytes);
            self.profile.0[n].holds(operator.state_rows(), bytes, disk);
            all += bytes;
        }
        all
    }

    /// The figures of its operators, which go on changing.
    pub fn profile(&self) -> Arc<Profile> {
        self.profile.clone()
    }

    pub(crate) fn operators(&self) -> impl Iterator<Item = (usize, &dyn Operator)> {
        self.nodes.iter().enumerate().filter_map(|(n, node)| match &node.kind {
            NodeKind::Operator(o) => Some((n, o.as_ref())),
            NodeKind::Input(_) => None,
        })
    }

    /// The state that changed since the last call, or all of it, as the bytes of one run. `None` if nothing changed.
    ///
    /// # Errors
    /// Arrow's.
    pub(crate) fn save(&mut self, full: bool) -> Result<Vec<Section>> {
        let mut sections = Vec::new();
        for (n, node) in self.nodes.iter_mut().enumerate() {
            if let NodeKind::Operator(operator) = &mut node.kind {
                if operator.pages().is_some_and(Pages::is_active) {
                    continue;
                }
                for batch in operator.save(full)? {
                    if batch.num_rows() > 0 {
                        sections.push(Section { node: n as u32, batch });
                    }
                }
            }
        }
        Ok(sections)
    }

    /// Takes in sections that [`Circuit::save`] gave; call for each run in order, after [`Circuit::open_pages`] and before
    /// [`Circuit::loaded`].
    pub(crate) fn load(&mut self, section: &Section) -> Result<()> {
        let node = self
            .nodes
            .get_mut(section.node as usize)
            .ok_or_else(|| Error::bug("a state run names an operator that is not there"))?;
        match &mut node.kind {
            // What a file said before the state went to runs.
            NodeKind::Operator(o) if o.pages().is_some_and(Pages::is_active) => Ok(()),
            NodeKind::Operator(o) => o.load(&section.batch),
            NodeKind::Input(_) => Err(Error::bug("a state run names an input")),
        }
    }

    pub(crate) fn loaded(&mut self) -> Result<()> {
        self.fresh = false;
        for node in &mut self.nodes {
            if let NodeKind::Operator(o) = &mut node.kind {
                o.loaded()?;
            }
        }
        Ok(())
    }

    /// The whole state as bytes.
    ///
    /// # Errors
    /// Arrow's.
    pub fn save_all(&mut self, full: bool) -> Result<Vec<u8>> {
        write_run(&self.save(full)?)
    }

    /// Restores a fresh circuit of the same plan from runs of [`Circuit::save_all`], oldest first.
    ///
    /// # Errors
    /// When a run is damaged or belongs to another plan.
    pub fn load_all(&mut self, runs: &[Vec<u8>]) -> Result<()> {
        for run in runs {
            for section in read_run(run)? {
                self.load(&section)?;
            }
        }
        self.loaded()
    }
}

/// An error in the names that people know.
pub(crate) fn in_names(guards: &[Guard], error: Error) -> Error {
    guards.iter().fold(error, |error, guard| Error { message: guard.told(&error.message), ..error })
}

fn counters<'n>(nodes: &'n [Node], inputs: &'n [CircuitInput]) -> impl Iterator<Item = Counters> + 'n {
    nodes.iter().map(|node| Counters {
        description: node.describe(inputs),
        inputs: node.inputs.clone(),
        ..Counters::default()
    })
}
