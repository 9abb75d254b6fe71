//! Two answers as multisets of rows. Floating-point numbers that differ by their last digits only are the same: what a sum of them is
//! depends on the order of the rows.

#[cfg(test)]
mod tests;

use std::collections::HashMap;

use serde_json::Value;

use crate::cli::render::{Column, Rows};

/// By so much of the larger one, two floating-point numbers may differ.
const RELATIVE_TOLERANCE: f64 = 1e-9;
/// Rows that are looked at for a partner of one row.
const MAX_CANDIDATES: usize = 1_000;

/// How the two answers relate.
#[derive(Debug, Default, PartialEq)]
pub struct Difference {
    /// Rows of the view.
    pub rows: usize,
    /// Rows that the batch answer lacks.
    pub only_view: Vec<Vec<Value>>,
    /// Rows that the view lacks.
    pub only_batch: Vec<Vec<Value>>,
    /// Rows of the view that are equal but for the columns that are estimates.
    pub but_for_estimates: usize,
}

/// Splits rows by their first column (0 the view, 1 the batch answer) and compares the two sides. What differs is compared once more without
/// the columns that are estimates, by their places behind the first.
pub fn difference(rows: Rows, estimates: &[usize]) -> Difference {
    let is_float = |c: &Column| c.sql_type.starts_with("DOUBLE") || c.sql_type == "REAL";
    let floats: Vec<usize> = (1..rows.columns.len()).filter(|n| is_float(&rows.columns[*n])).map(|n| n - 1).collect();
    let mut sides: [Vec<Vec<Value>>; 2] = Default::default();
    for mut row in rows.rows {
        let side = usize::from(row.first().and_then(Value::as_i64) == Some(1));
        row.remove(0);
        sides[side].push(row);
    }
    let [view, batch] = sides;
    let rows = view.len();
    let cancel = |view, batch| match cancel_equal(view, batch) {
        left if floats.is_empty() => left,
        left => cancel_close(left, &floats),
    };
    let (mut only_view, mut only_batch) = cancel(view, batch);
    let mut but_for_estimates = 0;
    let differs = !only_view.is_empty() || !only_batch.is_empty();
    if differs && !estimates.is_empty() {
        let differ = only_view.len();
        let [view, batch] = [only_view, only_batch].map(|rows| without(rows, estimates));
        (only_view, only_batch) = cancel(view, batch);
        but_for_estimates = differ - only_view.len();
    }
    Difference { rows, only_view, only_batch, but_for_estimates }
}

/// Rows without the values of some columns.
fn without(mut rows: Vec<Vec<Value>>, columns: &[usize]) -> Vec<Vec<Value>> {
    for row in &mut rows {
        for at in columns {
            if let Some(value) = row.get_mut(*at) {
                *value = Value::from("(an estimate)");
            }
        }
    }
    rows
}

type Remaining = (Vec<Vec<Value>>, Vec<Vec<Value>>);

fn cancel_equal(view: Vec<Vec<Value>>, batch: Vec<Vec<Value>>) -> Remaining {
    let key = |row: &Vec<Value>| Value::Array(row.clone()).to_string();
    let mut counts: HashMap<String, usize> = HashMap::new();
    for row in &batch {
        *counts.entry(key(row)).or_default() += 1;
    }
    let mut take = |row: &Vec<Value>| match counts.get_mut(&key(row)) {
        Some(n) if *n > 0 => {
            *n -= 1;
            true
        }
        _ => false,
    };
    let only_view = view.into_iter().filter(|row| !take(row)).collect();
    // What is left in the counts is what the view did not take.
    let only_batch = batch.into_iter().filter(|row| take(row)).collect();
    (only_view, only_batch)
}

/// A number, as it is or as the text that it came in.
fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(n) => n.as_f64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
    .filter(|n: &f64| n.is_finite())
}

/// A row of the batch answer, and its floating-point numbers.
struct Candidate {
    row: Vec<Value>,
    floats: Vec<f64>,
    is_taken: bool,
}

/// Of what is left, rows that differ only by the rounding of the columns `floats`.
fn cancel_close((view, batch): Remaining, floats: &[usize]) -> Remaining {
    // What has to be the same: all else, and which of the numbers there are.
    let split = |row: &[Value]| {
        let mut exact = row.to_vec();
        let mut numbers = vec![];
        for at in floats {
            if let Some(value) = exact.get_mut(*at)
                && let Some(n) = number(value)
            {
                numbers.push(n);
                *value = Value::Array(vec![]);
            }
        }
        (Value::Array(exact).to_string(), numbers)
    };
    let mut groups: HashMap<String, Vec<Candidate>> = HashMap::new();
    for row in batch {
        let (key, floats) = split(&row);
        groups.entry(key).or_default().push(Candidate { row, floats, is_taken: false });
    }
    let first = |floats: &[f64]| floats.first().copied().unwrap_or_default();
    for group in groups.values_mut() {
        group.sort_by(|a, b| first(&a.floats).total_cmp(&first(&b.floats)));
    }
    let mut only_view = vec![];
    for row in view {
        let (key, floats) = split(&row);
        let partner = groups.get_mut(&key).and_then(|group| {
            let (n, near) = (first(&floats), first(&floats).abs() * RELATIVE_TOLERANCE * 2.0);
            let from = group.partition_point(|c| first(&c.floats) < n - near);
            let found = group[from..].iter_mut().take_while(|c| first(&c.floats) <= n + near);
            found.filter(|c| !c.is_taken).take(MAX_CANDIDATES).find(|c| all_close(&c.floats, &floats))
        });
        match partner {
            Some(partner) => partner.is_taken = true,
            None => only_view.push(row),
        }
    }
    let mut only_batch = vec![];
    for group in groups.into_values() {
        only_batch.extend(group.into_iter().filter(|c| !c.is_taken).map(|c| c.row));
    }
    (only_view, only_batch)
}

fn all_close(a: &[f64], b: &[f64]) -> bool {
    let close = |(x, y): (&f64, &f64)| (x - y).abs() <= RELATIVE_TOLERANCE * x.abs().max(y.abs());
    a.iter().zip(b).all(close)
}
