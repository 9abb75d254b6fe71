//! Rows that an expression fails for. A batch that fails is tried again in halves down to the row, so that whether a row fails
//! depends on that row alone and not on the rows beside it. What a failing row does is the view's choice: the view stops and says
//! which row it was, or the row is left out and told.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::DataType;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use fleuve_types::{Delta, Error, ErrorKind, Result};
use parking_lot::Mutex;

use super::named::Names;

/// A row that was left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadRow {
    /// The operator's place in the circuit.
    pub node: usize,
    /// What it does, as EXPLAIN says it.
    pub operator: String,
    /// Why the row was left out.
    pub reason: String,
    /// The row that the operator was given, as a JSON object.
    pub row: String,
    /// How often.
    pub copies: u64,
}

impl DeadRow {
    pub(crate) fn memory_bytes(&self) -> usize {
        std::mem::size_of::<Self>() + self.operator.len() + self.reason.len() + self.row.len()
    }
}

/// What happens to rows that fail, for all operators of a circuit. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Guard(Arc<Shared>);

#[derive(Default)]
struct Shared {
    skip: AtomicBool,
    dead: Mutex<Vec<DeadRow>>,
    /// Columns that nobody named, with what they stand for.
    names: OnceLock<Names>,
}

/// Rows that were left out of one piece of work.
pub(crate) type Left = Vec<DeadRow>;

impl Guard {
    /// Leaves failing rows out from now on, instead of failing.
    pub(crate) fn skip(&self) {
        self.0.skip.store(true, Ordering::Relaxed);
    }

    /// What the columns of a plan stand for that nobody named: messages and rows say that instead.
    pub(crate) fn names(&self, names: Vec<(String, String)>) {
        let _ = self.0.names.set(Names::new(names));
    }

    /// A message in the names that people know.
    pub(crate) fn told(&self, text: &str) -> String {
        self.0.names.get().map_or_else(|| text.to_string(), |names| names.told(text))
    }

    /// True if something else has it, too: an operator.
    pub(crate) fn is_used(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }

    /// Runs `work` over rows: over all at once, and where that fails over parts of them. Gives what it made of the parts, in
    /// order, with `None` in the place of each row that was left out.
    ///
    /// # Errors
    /// The first row's failure if rows may not be left out; whatever is no row's fault.
    pub(crate) fn run<T>(
        &self,
        rows: &Delta,
        left: &mut Left,
        work: &impl Fn(&Delta) -> Result<T>,
    ) -> Result<Vec<Option<T>>> {
        let mut out = Vec::with_capacity(1);
        self.part(rows, left, work, &mut out)?;
        Ok(out)
    }

    fn part<T>(
        &self,
        rows: &Delta,
        left: &mut Left,
        work: &impl Fn(&Delta) -> Result<T>,
        out: &mut Vec<Option<T>>,
    ) -> Result<()> {
        match attempt(|| work(rows)) {
            Ok(done) => out.push(Some(done)),
            Err(e) if e.kind != ErrorKind::Input || rows.is_empty() => return Err(e),
            Err(e) if rows.len() == 1 => {
                self.reject(rows, e, left)?;
                out.push(None);
            }
            Err(_) => {
                let half = rows.len() / 2;
                self.part(&slice(rows, 0, half), left, work, out)?;
                self.part(&slice(rows, half, rows.len() - half), left, work, out)?;
            }
        }
        Ok(())
    }

    fn reject(&self, row: &Delta, error: Error, left: &mut Left) -> Result<()> {
        let text = named_json(&row.batch, self.0.names.get())?;
        let reason = self.told(&error.message);
        if !self.0.skip.load(Ordering::Relaxed) {
            return Err(Error { message: format!("{reason} for the row {text}"), ..error });
        }
        // A row that goes was told when it came.
        if let Ok(copies @ 1..) = u64::try_from(row.weight(0)) {
            left.push(DeadRow { node: 0, operator: String::new(), reason, row: text, copies });
        }
        Ok(())
    }

    /// Takes note of what a step left out.
    pub(crate) fn note(&self, left: Left) {
        if !left.is_empty() {
            self.0.dead.lock().extend(left);
        }
    }

    /// What was left out since the last call, as the work of one operator.
    pub(crate) fn take(&self, node: usize, operator: impl FnOnce() -> String) -> Vec<DeadRow> {
        let mut dead = std::mem::take(&mut *self.0.dead.lock());
        if !dead.is_empty() {
            let operator = self.told(&operator());
            for row in &mut dead {
                row.node = node;
                // An operator that steps a circuit of its own has told already which of that circuit's it was.
                if row.operator.is_empty() {
                    row.operator.clone_from(&operator);
                }
            }
        }
        dead
    }
}

/// A panic of a function is that function's error.
pub(crate) fn attempt<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|panic| Err(Error::input(format!("a function panicked: {}", said(panic.as_ref())))))
}

/// A panic in `what` is an error that says so. What the work changed must not be used any more.
pub(crate) fn caught<T>(what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|panic| Err(Error::bug(format!("{what} panicked: {}", said(panic.as_ref())))))
}

fn said(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message")
}

/// `len` rows from `from` on.
pub(crate) fn slice(delta: &Delta, from: usize, len: usize) -> Delta {
    Delta { batch: delta.batch.slice(from, len), weights: delta.weights.as_ref().map(|w| w[from..from + len].into()) }
}

/// The first row of a batch as a JSON object. Of columns with the same name the later ones get a number.
pub(super) fn row_json(batch: &RecordBatch) -> Result<String> {
    named_json(batch, None)
}

/// The same, of the columns that have a name, by that.
fn named_json(batch: &RecordBatch, known: Option<&Names>) -> Result<String> {
    let failed = |e: arrow::error::ArrowError| Error::bug(format!("a row as JSON: {e}"));
    let options = FormatOptions::default();
    let text = |text: &str| serde_json::to_string(text).map_err(|e| Error::bug(e.to_string()));
    let mut names: Vec<String> = vec![];
    let mut out = String::from("{");
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        let Some(own) = known.map_or(Some(field.name().as_str()), |names| names.of(field.name())) else { continue };
        let same = names.iter().filter(|n| *n == own).count();
        names.push(own.to_string());
        let name = if same == 0 { own.to_string() } else { format!("{own}_{}", same + 1) };
        let value = if column.logical_nulls().is_some_and(|n| n.is_null(0)) {
            "null".to_string()
        } else {
            let value = ArrayFormatter::try_new(column, &options).map_err(failed)?.value(0).to_string();
            let is_plain = match column.data_type() {
                DataType::Boolean => true,
                t if t.is_floating() => value.parse::<f64>().is_ok_and(f64::is_finite),
                t => t.is_integer() || matches!(t, DataType::Decimal128(..)),
            };
            if is_plain { value } else { text(&value)? }
        };
        let comma = if out.len() > 1 { "," } else { "" };
        out.push_str(&format!("{comma}{}:{value}", text(&name)?));
    }
    out.push('}');
    Ok(out)
}
