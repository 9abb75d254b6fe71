//! The rows of one view, kept up to date. Derived from the subscription; gone with the command.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::cli::render::{Column, Rows, plain};

/// How long a row that changed stays marked.
const MARK: Duration = Duration::from_millis(1500);
/// Views may have millions of rows; the screen shows a few, and this many are kept to choose from.
const MAX_ROWS: usize = 200_000;

#[derive(Debug)]
struct Row {
    values: Vec<Value>,
    copies: i64,
    changed: Option<Instant>,
}

/// A view on the screen.
#[derive(Debug)]
pub(super) struct Pane {
    pub(super) name: String,
    columns: Vec<Column>,
    order: Vec<(usize, bool)>,
    limit: Option<usize>,
    rows: HashMap<String, Row>,
    epoch: u64,
    /// Changes since the view was first complete.
    changes: u64,
    complete: bool,
    overflow: bool,
}

impl Pane {
    /// A pane without rows. `order` are columns and whether their largest come first.
    pub(super) fn new(name: &str, columns: Vec<Column>, mut order: Vec<(usize, bool)>, limit: Option<usize>) -> Self {
        let rows = HashMap::new();
        let name = name.to_string();
        // Without an order, the newest time first, else the first column upwards.
        if order.is_empty() {
            let time = columns.iter().position(|c| c.sql_type.to_ascii_uppercase().starts_with("TIMESTAMP"));
            order.extend(time.map(|at| (at, true)));
        }
        Self { name, columns, order, limit, rows, epoch: 0, changes: 0, complete: false, overflow: false }
    }

    /// Takes in a change of one row.
    pub(super) fn change(&mut self, values: Vec<Value>, weight: i64) {
        let key = Value::Array(values.clone()).to_string();
        let mark = self.complete.then(Instant::now);
        if !self.rows.contains_key(&key) && self.rows.len() >= MAX_ROWS {
            self.overflow = true;
            return;
        }
        let row = self.rows.entry(key.clone()).or_insert(Row { values, copies: 0, changed: None });
        row.copies += weight;
        row.changed = mark.or(row.changed);
        if row.copies == 0 {
            self.rows.remove(&key);
        }
        self.changes += u64::from(self.complete);
    }

    /// All changes of an epoch are in.
    pub(super) fn epoch(&mut self, epoch: u64) {
        self.epoch = epoch;
        self.complete = true;
    }

    /// `name   12 rows   epoch 7`
    pub(super) fn title(&self) -> String {
        let more = if self.overflow { "+" } else { "" };
        format!("{}   {}{more} rows   epoch {}   {} changes", self.name, self.rows.len(), self.epoch, self.changes)
    }

    /// The lines that the pane would like to have: its rows and the frame around them.
    pub(super) fn wanted_lines(&self) -> usize {
        self.rows.len().min(self.limit.unwrap_or(usize::MAX)).saturating_add(5)
    }

    /// The first rows in their order, and which of them have just changed.
    pub(super) fn rows(&self, limit: usize) -> (Rows, Vec<bool>) {
        let limit = limit.min(self.limit.unwrap_or(usize::MAX));
        let mut sorted: Vec<&Row> = self.rows.values().filter(|r| r.copies > 0).collect();
        if sorted.len() > limit && limit > 0 {
            sorted.select_nth_unstable_by(limit - 1, |a, b| self.compare(a, b));
        }
        sorted.truncate(limit);
        sorted.sort_by(|a, b| self.compare(a, b));
        let marked = sorted.iter().map(|r| r.changed.is_some_and(|at| at.elapsed() < MARK)).collect();
        let rows = sorted.iter().map(|r| r.values.clone()).collect();
        (Rows { columns: self.columns.clone(), rows }, marked)
    }

    fn compare(&self, a: &Row, b: &Row) -> Ordering {
        for (at, descending) in &self.order {
            let order = compare_values(&a.values[*at], &b.values[*at]);
            let order = if *descending { order.reverse() } else { order };
            if order != Ordering::Equal {
                return order;
            }
        }
        let pairs = a.values.iter().zip(&b.values);
        pairs.map(|(a, b)| compare_values(a, b)).find(|o| *o != Ordering::Equal).unwrap_or(Ordering::Equal)
    }
}

/// Numbers by size (decimals come as text), all else by its text; NULL is the least.
pub(super) fn compare_values(a: &Value, b: &Value) -> Ordering {
    let number = |v: &Value| v.as_f64().or_else(|| v.as_str()?.parse::<f64>().ok());
    match (a.is_null(), b.is_null()) {
        (true, true) => return Ordering::Equal,
        (true, false) => return Ordering::Less,
        (false, true) => return Ordering::Greater,
        (false, false) => {}
    }
    match (number(a), number(b)) {
        (Some(x), Some(y)) => x.total_cmp(&y),
        _ => plain(a).cmp(&plain(b)),
    }
}
