//! sum, avg, variance and standard deviation over floating-point numbers.
//!
//! Where rows can go again, sums are kept as unevaluated pairs of doubles (Dekker 1971; Shewchuk 1997), so that taking a
//! value out leaves no trace worth speaking of; infinities and NaN are counted apart, since they could not be taken out.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Float64Array};
use arrow::datatypes::Float64Type;
use fleuve_types::{Error, Result};

use super::accumulator::{Accumulator, Input};
use super::count::{int_at, int_column};
use crate::state::{ByteSet, resize};

/// One running sum per group.
#[derive(Default)]
struct Sums {
    plain: bool,
    high: Vec<f64>,
    low: Vec<f64>,
    /// By group: how many NaN, +inf, -inf are in it.
    special: HashMap<u32, [i64; 3]>,
}

impl Sums {
    fn resize(&mut self, groups: usize) {
        resize(&mut self.high, groups, 0.0);
        resize(&mut self.low, groups, 0.0);
    }

    fn reset(&mut self, group: u32) {
        self.high[group as usize] = 0.0;
        self.low[group as usize] = 0.0;
        self.special.remove(&group);
    }

    /// Adds the exact value `a + b` of a pair.
    fn add(&mut self, group: usize, a: f64, b: f64) {
        let (high, low) = (self.high[group], self.low[group]);
        if self.plain {
            self.high[group] = high + a;
            return;
        }
        let (sum, error) = two_sum(high, a);
        let (sum, rest) = two_sum(sum, error + low + b);
        self.high[group] = sum;
        self.low[group] = rest;
    }

    fn add_value(&mut self, group: usize, value: f64, weight: i64) {
        if value.is_finite() || self.plain {
            if self.plain {
                for _ in 0..weight.max(0) {
                    self.add(group, value, 0.0);
                }
                return;
            }
            let (product, error) = two_product(value, weight as f64);
            self.add(group, product, error);
            return;
        }
        let kind = if value.is_nan() {
            0
        } else if value > 0.0 {
            1
        } else {
            2
        };
        let counts = self.special.entry(group as u32).or_default();
        counts[kind] += weight;
        if counts.iter().all(|c| *c == 0) {
            self.special.remove(&(group as u32));
        }
    }

    fn value(&self, group: u32) -> f64 {
        if let Some([nan, plus, minus]) = self.special.get(&group) {
            if *nan != 0 || (*plus != 0 && *minus != 0) {
                return f64::NAN;
            }
            return if *plus != 0 { f64::INFINITY } else { f64::NEG_INFINITY };
        }
        self.high[group as usize] + self.low[group as usize]
    }

    fn bytes(&self) -> usize {
        (self.high.capacity() + self.low.capacity()) * 8 + self.special.capacity() * 40
    }

    fn save(&self, groups: &[u32]) -> Vec<ArrayRef> {
        let floats = |v: &Vec<f64>| -> ArrayRef {
            Arc::new(groups.iter().map(|g| Some(v[*g as usize])).collect::<Float64Array>())
        };
        let mut out = vec![floats(&self.high), floats(&self.low)];
        for kind in 0..3 {
            let counts: Vec<i64> = groups.iter().map(|g| self.special.get(g).map_or(0, |c| c[kind])).collect();
            out.push(int_column(&counts, &(0..groups.len() as u32).collect::<Vec<_>>()));
        }
        out
    }

    fn load(&mut self, group: u32, state: &[ArrayRef], row: usize) -> Result<()> {
        let float = |c: &ArrayRef| -> Result<f64> {
            Ok(c.as_primitive_opt::<Float64Type>().ok_or_else(|| Error::bug("state: a float sum"))?.value(row))
        };
        self.high[group as usize] = float(&state[0])?;
        self.low[group as usize] = float(&state[1])?;
        let counts = [int_at(&state[2], row)?, int_at(&state[3], row)?, int_at(&state[4], row)?];
        self.special.remove(&group);
        if counts != [0; 3] {
            self.special.insert(group, counts);
        }
        Ok(())
    }
}

const SUM_WIDTH: usize = 5;

fn two_sum(a: f64, b: f64) -> (f64, f64) {
    let sum = a + b;
    let b_part = sum - a;
    (sum, (a - (sum - b_part)) + (b - b_part))
}

fn two_product(a: f64, b: f64) -> (f64, f64) {
    let product = a * b;
    (product, a.mul_add(b, -product))
}

fn floats<'a>(input: &'a Input<'_>) -> Result<&'a [f64]> {
    let array = input.arguments[0].as_primitive_opt::<Float64Type>();
    Ok(array.ok_or_else(|| Error::bug("a float aggregate got another type"))?.values())
}

/// `sum(x)`.
pub(super) struct FloatSum {
    sums: Sums,
    counts: Vec<i64>,
}

impl FloatSum {
    pub(super) fn new(append_only: bool) -> Self {
        Self { sums: Sums { plain: append_only, ..Sums::default() }, counts: vec![] }
    }

    fn results(&self, groups: &[u32], mean: bool) -> ArrayRef {
        let array: Float64Array = groups
            .iter()
            .map(|g| {
                let count = self.counts[*g as usize];
                let sum = self.sums.value(*g);
                (count != 0).then_some(if mean { sum / count as f64 } else { sum })
            })
            .collect();
        Arc::new(array)
    }
}

impl Accumulator for FloatSum {
    fn resize(&mut self, groups: usize) {
        self.sums.resize(groups);
        resize(&mut self.counts, groups, 0);
    }

    fn reset(&mut self, group: u32) {
        self.sums.reset(group);
        self.counts[group as usize] = 0;
    }

    fn update(&mut self, input: &Input<'_>) -> Result<()> {
        let values = floats(input)?;
        let (sums, counts) = (&mut self.sums, &mut self.counts);
        input.each(|group, row, weight| {
            sums.add_value(group, values[row], weight);
            counts[group] += weight;
        });
        // Not before all rows are in: one that goes may stand before one that comes.
        for group in input.groups.iter().filter(|g| counts[**g as usize] == 0) {
            sums.reset(*group);
        }
        Ok(())
    }

    fn emit(&mut self, groups: &[u32], _: &ByteSet) -> Result<ArrayRef> {
        Ok(self.results(groups, false))
    }

    fn bytes(&self) -> usize {
        self.sums.bytes() + self.counts.capacity() * 8
    }

    fn state_width(&self) -> usize {
        SUM_WIDTH + 1
    }

    fn save_groups(&mut self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        let mut out = self.sums.save(groups);
        out.push(int_column(&self.counts, groups));
        Ok(out)
    }

    fn load_group(&mut self, group: u32, state: &[ArrayRef], row: usize) -> Result<()> {
        self.sums.load(group, state, row)?;
        self.counts[group as usize] = int_at(&state[SUM_WIDTH], row)?;
        Ok(())
    }
}

/// `avg(x)`.
pub(super) struct FloatMean(FloatSum);

impl FloatMean {
    pub(super) fn new(append_only: bool) -> Self {
        Self(FloatSum::new(append_only))
    }
}

impl Accumulator for FloatMean {
    fn resize(&mut self, groups: usize) {
        self.0.resize(groups);
    }

    fn reset(&mut self, group: u32) {
        self.0.reset(group);
    }

    fn update(&mut self, input: &Input<'_>) -> Result<()> {
        self.0.update(input)
    }

    fn emit(&mut self, groups: &[u32], _: &ByteSet) -> Result<ArrayRef> {
        Ok(self.0.results(groups, true))
    }

    fn bytes(&self) -> usize {
        self.0.bytes()
    }

    fn state_width(&self) -> usize {
        self.0.state_width()
    }

    fn save_groups(&mut self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        self.0.save_groups(groups)
    }

    fn load_group(&mut self, group: u32, state: &[ArrayRef], row: usize) -> Result<()> {
        self.0.load_group(group, state, row)
    }
}

/// Variance and standard deviation from the sums of `x` and `x*x`, both kept to about 106 bits, so that the subtraction
/// that makes the textbook formula useless in doubles does no harm.
pub(super) struct Variance {
    root: bool,
    sample: bool,
    sums: Sums,
    squares: Sums,
    counts: Vec<i64>,
}

impl Variance {
    pub(super) fn new(root: bool, sample: bool) -> Self {
        Self { root, sample, sums: Sums::default(), squares: Sums::default(), counts: vec![] }
    }

    fn value(&self, group: u32) -> Option<f64> {
        let g = group as usize;
        let count = self.counts[g];
        let divisor = if self.sample { count - 1 } else { count };
        if divisor <= 0 {
            return None;
        }
        let (sum, low) = (self.sums.high[g], self.sums.low[g]);
        if !self.sums.value(group).is_finite() {
            return Some(f64::NAN);
        }
        // squares - sum^2 / n, in pairs of doubles.
        let n = count as f64;
        let (product, error) = two_product(sum, sum);
        let quotient = product / n;
        let rest = ((-quotient).mul_add(n, product) + error + 2.0 * sum * low) / n;
        let (high, e1) = two_sum(self.squares.high[g], -quotient);
        let deviation = high + (e1 + self.squares.low[g] - rest);
        let variance = deviation.max(0.0) / divisor as f64;
        Some(if self.root { variance.sqrt() } else { variance })
    }
}

impl Accumulator for Variance {
    fn resize(&mut self, groups: usize) {
        self.sums.resize(groups);
        self.squares.resize(groups);
        resize(&mut self.counts, groups, 0);
    }

    fn reset(&mut self, group: u32) {
        self.sums.reset(group);
        self.squares.reset(group);
        self.counts[group as usize] = 0;
    }

    fn update(&mut self, input: &Input<'_>) -> Result<()> {
        let values = floats(input)?;
        let (sums, squares, counts) = (&mut self.sums, &mut self.squares, &mut self.counts);
        input.each(|group, row, weight| {
            let value = values[row];
            sums.add_value(group, value, weight);
            if value.is_finite() {
                let (high, low) = two_product(value, value);
                let (product, error) = two_product(high, weight as f64);
                squares.add(group, product, error + low * weight as f64);
            }
            counts[group] += weight;
        });
        for group in input.groups.iter().filter(|g| counts[**g as usize] == 0) {
            sums.reset(*group);
            squares.reset(*group);
        }
        Ok(())
    }

    fn emit(&mut self, groups: &[u32], _: &ByteSet) -> Result<ArrayRef> {
        Ok(Arc::new(groups.iter().map(|g| self.value(*g)).collect::<Float64Array>()))
    }

    fn bytes(&self) -> usize {
        self.sums.bytes() + self.squares.bytes() + self.counts.capacity() * 8
    }

    fn state_width(&self) -> usize {
        2 * SUM_WIDTH + 1
    }

    fn save_groups(&mut self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        let mut out = self.sums.save(groups);
        out.extend(self.squares.save(groups));
        out.push(int_column(&self.counts, groups));
        Ok(out)
    }

    fn load_group(&mut self, group: u32, state: &[ArrayRef], row: usize) -> Result<()> {
        self.sums.load(group, &state[..SUM_WIDTH], row)?;
        self.squares.load(group, &state[SUM_WIDTH..2 * SUM_WIDTH], row)?;
        self.counts[group as usize] = int_at(&state[2 * SUM_WIDTH], row)?;
        Ok(())
    }
}
