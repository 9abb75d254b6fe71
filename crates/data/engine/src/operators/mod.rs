//! The operators of a circuit, one file each. Each turns changes of its inputs into the change of its answer
//! (Budiu et al., "DBSP", VLDB 2023) and keeps what it needs to do so.

pub(crate) mod aggregate;
pub(crate) mod arrange;
pub(crate) mod as_of;
pub(crate) mod distinct;
pub(crate) mod expand;
pub(crate) mod flat_map;
pub(crate) mod gate;
pub(crate) mod join;
pub(crate) mod map;
pub(crate) mod order;
pub(crate) mod panes;
pub(crate) mod partitioned;
pub(crate) mod recompute;
pub(crate) mod recursive;
pub(crate) mod session;
pub(crate) mod temporal;
pub(crate) mod top_n;
pub(crate) mod union;
pub(crate) mod values;
pub(crate) mod window;

mod arrivals;
mod cell;
mod eval;
pub(crate) mod guard;
pub(crate) mod named;
mod shard;
mod timed;

pub(crate) use cell::{Cell, CellNode, PlanRunner};
pub(crate) use eval::{evaluate, evaluate_filter, physical, unwritten, words_of};
pub use guard::DeadRow;
pub(crate) use guard::{Guard, Left, caught};
pub(crate) use map::concat as concat_deltas;
pub(crate) use shard::{both, for_each, shard_of, split};

use arrow::record_batch::RecordBatch;
use fleuve_types::{Delta, Error, Result};

use self::arrange::IndexReader;
use crate::circuit::Circuit;
use crate::lookup::LookedIn;
use crate::state::{Paged, Pages, Part};

/// What an operator may know about the step it takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StepContext {
    /// True in the first step of a fresh circuit, in which constants are given out.
    pub(crate) first: bool,
    /// What `now()` is in this step; it never goes back.
    pub(crate) now_us: i64,
}

/// One operator of a circuit. `save` and `load` carry its state over a restart; its state id is its place in the circuit,
/// which the plan's shape determines.
pub(crate) trait Operator: Send {
    /// Takes the changes of its inputs and gives the change of its output.
    fn step(&mut self, inputs: &[Delta], context: StepContext) -> Result<Delta>;

    /// True if it can take changes in without putting out what follows from them, to tell its whole answer later:
    /// [`Operator::take_in`] works, and [`Operator::present_answer`].
    fn can_hold_back(&self) -> bool {
        false
    }

    /// As [`Operator::step`] without what that puts out.
    fn take_in(&mut self, inputs: &[Delta], context: StepContext) -> Result<()> {
        let _ = (inputs, context);
        Err(Error::bug(format!("{} cannot hold its answer back", self.describe())))
    }

    /// True if what it puts out for rows that come by this input is right whatever other rows come later, and never taken back because of
    /// them.
    fn only_adds(&self, input: usize) -> bool {
        let _ = input;
        false
    }

    /// True if [`Operator::step`] has to be called although no input changed.
    fn wants_step(&self, context: StepContext) -> bool {
        let _ = context;
        false
    }

    /// True if what it puts out changes as time passes: [`Operator::due_us`] is asked.
    fn follows_clock(&self) -> bool {
        false
    }

    /// When a row becomes valid or expires next, with no input to tell of it. `None` if none will.
    fn due_us(&self) -> Option<i64> {
        None
    }

    /// The watermarks moved of the columns by which the operator closes windows (in the order in which it was told of them):
    /// no later change has a value below them. Gives what is shown now that it is final, and drops what no later change can
    /// touch. Called after the step.
    fn close(&mut self, watermarks: &[Option<i64>]) -> Result<Option<Delta>> {
        let _ = watermarks;
        Ok(None)
    }

    /// What [`Operator::close`] does, for EXPLAIN. `None` if it does nothing.
    fn closing(&self) -> Option<&'static str> {
        None
    }

    /// Where it finds the rows of an input that it does not keep, in the next step; `None` after that.
    fn look_up_in(&mut self, input: usize, place: Option<LookedIn>) {
        let _ = (input, place);
    }

    /// Of an index: how others look rows up in it.
    fn arranged(&self) -> Option<IndexReader> {
        None
    }

    /// True if it can tell its present answer: [`Operator::present_answer`] and [`Operator::places`] work.
    fn can_answer(&self) -> bool {
        false
    }

    /// The rows of its present answer whose place is in `part`: all that it has put out and not taken back.
    fn present_answer(&mut self, part: Part) -> Result<Delta> {
        let _ = part;
        Err(Error::bug(format!("{} cannot tell its answer", self.describe())))
    }

    /// The place of each of some rows that it put out: the hash by which [`Operator::present_answer`] finds them.
    fn places(&self, rows: &Delta) -> Result<Vec<u64>> {
        let _ = rows;
        Err(Error::bug(format!("{} cannot tell its answer", self.describe())))
    }

    /// One line for EXPLAIN.
    fn describe(&self) -> String;

    /// The same beside a row that it left out, with expressions as people write them.
    fn in_words(&self) -> String {
        named::plain(&self.describe())
    }

    /// The circuit that it steps itself, for EXPLAIN.
    fn inner(&self) -> Option<&Circuit> {
        None
    }

    /// Rows or groups held.
    fn state_rows(&self) -> usize {
        0
    }

    /// Memory held, in bytes.
    fn state_bytes(&self) -> usize {
        0
    }

    /// The state that changed since the last call, or all of it.
    fn save(&mut self, full: bool) -> Result<Vec<RecordBatch>> {
        let _ = full;
        Ok(vec![])
    }

    /// Takes in one batch that [`Operator::save`] gave; batches come in the order in which they were given.
    fn load(&mut self, batch: &RecordBatch) -> Result<()> {
        let _ = batch;
        Ok(())
    }

    /// Its state as one that can lie in runs; `None` if it has to stay in memory.
    fn paged(&mut self) -> Option<&mut dyn Paged> {
        None
    }

    /// What of its state lies in runs, if it can.
    fn pages(&self) -> Option<&Pages> {
        None
    }

    /// Called once after the last [`Operator::load`]: what is not saved because it follows from the rest is made here.
    fn loaded(&mut self) -> Result<()> {
        Ok(())
    }
}
