//! Quantiles with a relative accuracy: DDSketch (Masson, Rim, Lee, "DDSketch: A Fast and Fully-Mergeable Quantile Sketch with
//! Relative-Error Guarantees", VLDB 2019). A value belongs to the bucket of its logarithm; a sketch counts the values of each bucket.
//! Buckets are never collapsed (with a thousandth there are at most 1.5 million of them over all doubles), so a sketch depends on
//! the multiset of values alone, and a value can be taken out again.
//!
//! Bytes: `FQ`, version 1, the accuracy (f64, little-endian), the counts of -inf, 0 and +inf, then the buckets of the negative values and
//! those of the positive ones: how many, and for each the distance to the one before it and its count.

use std::collections::BTreeMap;

use fleuve_types::{Error, Result};

use super::bytes::{Reader, begin, put};

const KIND: [u8; 2] = *b"FQ";
const NAME: &str = "quantile sketch (of quantile_sketch or quantile_merge)";

/// A sketch of a multiset of numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct Quantiles {
    accuracy: f64,
    /// ln of the ratio between the bounds of a bucket.
    width: f64,
    below: i64,
    zero: i64,
    above: i64,
    negative: BTreeMap<i32, i64>,
    positive: BTreeMap<i32, i64>,
}

impl Quantiles {
    /// The accuracy of sketches for which none is given.
    pub const ACCURACY: f64 = 0.01;
    /// The finest.
    pub const LEAST: f64 = 0.001;
    /// The coarsest.
    pub const MOST: f64 = 0.5;

    /// A sketch of no values, whose quantiles are off by no more than `accuracy` times their value.
    ///
    /// # Errors
    /// When the accuracy is out of its range.
    pub fn new(accuracy: f64) -> Result<Self> {
        if !(Self::LEAST..=Self::MOST).contains(&accuracy) {
            return Err(Error::input(format!(
                "the relative accuracy of a quantile sketch is between {} and {}, not {accuracy}",
                Self::LEAST,
                Self::MOST
            )));
        }
        let width = ((1.0 + accuracy) / (1.0 - accuracy)).ln();
        let (negative, positive) = (BTreeMap::new(), BTreeMap::new());
        Ok(Self { accuracy, width, below: 0, zero: 0, above: 0, negative, positive })
    }

    fn bucket(&self, value: f64) -> i32 {
        (value.ln() / self.width).ceil() as i32
    }

    /// Adds `times` copies of a value; takes them out if that is negative. NaN is left out, as NULL is.
    pub fn add(&mut self, value: f64, times: i64) {
        if value.is_nan() {
        } else if value == 0.0 {
            self.zero += times;
        } else if value == f64::INFINITY {
            self.above += times;
        } else if value == f64::NEG_INFINITY {
            self.below += times;
        } else {
            let bucket = self.bucket(value.abs());
            let buckets = if value > 0.0 { &mut self.positive } else { &mut self.negative };
            change(buckets, bucket, times);
        }
    }

    /// Adds another one `times` times; takes it out if that is negative.
    ///
    /// # Errors
    /// When their accuracies differ.
    pub fn merge(&mut self, other: &Self, times: i64) -> Result<()> {
        if self.accuracy != other.accuracy {
            return Err(Error::input(format!(
                "quantile sketches of different accuracy cannot be merged: {} and {}",
                self.accuracy, other.accuracy
            )));
        }
        let of = |n: i64| n.saturating_mul(times);
        self.below = self.below.saturating_add(of(other.below));
        self.zero = self.zero.saturating_add(of(other.zero));
        self.above = self.above.saturating_add(of(other.above));
        other.negative.iter().for_each(|(bucket, n)| change(&mut self.negative, *bucket, of(*n)));
        other.positive.iter().for_each(|(bucket, n)| change(&mut self.positive, *bucket, of(*n)));
        Ok(())
    }

    /// How far from the value a quantile may be, in parts of it.
    pub fn accuracy(&self) -> f64 {
        self.accuracy
    }

    /// The value below which the part `p` (0 to 1) of the values lies. `None` if there are none.
    pub fn quantile(&self, p: f64) -> Option<f64> {
        let counts = self.negative.values().chain(self.positive.values()).chain([&self.below, &self.zero, &self.above]);
        let total = counts.fold(0_i64, |sum, n| sum.saturating_add(*n));
        if total <= 0 {
            return None;
        }
        let rank = (p * (total - 1) as f64).floor() as i64;
        let negative = self.negative.iter().rev().map(|(bucket, n)| (-self.middle(*bucket), *n));
        let positive = self.positive.iter().map(|(bucket, n)| (self.middle(*bucket), *n));
        let ascending = std::iter::once((f64::NEG_INFINITY, self.below))
            .chain(negative)
            .chain([(0.0, self.zero)])
            .chain(positive)
            .chain([(f64::INFINITY, self.above)]);
        let mut seen = 0_i64;
        let mut last = None;
        for (value, n) in ascending.filter(|(_, n)| *n > 0) {
            seen = seen.saturating_add(n);
            last = Some(value);
            if seen > rank {
                break;
            }
        }
        last
    }

    /// The value that is no further than the accuracy from all values of a bucket.
    fn middle(&self, bucket: i32) -> f64 {
        let middle = (f64::from(bucket) * self.width).exp() * (1.0 - self.accuracy);
        middle.clamp(f64::from_bits(1), f64::MAX)
    }

    /// The bytes that [`Quantiles::decode`] reads.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = begin(KIND);
        out.extend(self.accuracy.to_le_bytes());
        [self.below, self.zero, self.above].into_iter().for_each(|n| put(&mut out, n.max(0) as u64));
        for buckets in [&self.negative, &self.positive] {
            let counted = || buckets.iter().filter(|(_, n)| **n > 0);
            put(&mut out, counted().count() as u64);
            let mut last = i64::from(i32::MIN);
            for (bucket, n) in counted() {
                put(&mut out, (i64::from(*bucket) - last) as u64);
                put(&mut out, *n as u64);
                last = i64::from(*bucket);
            }
        }
        out
    }

    /// # Errors
    /// When the bytes are no such sketch.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(KIND, NAME, bytes)?;
        let accuracy = reader.take(8)?.first_chunk().map_or(f64::NAN, |b| f64::from_le_bytes(*b));
        let mut sketch = Self::new(accuracy)?;
        (sketch.below, sketch.zero, sketch.above) = (reader.count()?, reader.count()?, reader.count()?);
        let range = sketch.bucket(f64::from_bits(1))..=sketch.bucket(f64::MAX);
        for negative in [true, false] {
            let mut last = i64::from(i32::MIN);
            for n in 0..reader.entries(2)? {
                let step = reader.count()?;
                let bucket = last.checked_add(step).and_then(|b| i32::try_from(b).ok());
                let count = reader.count()?;
                let bucket = bucket.filter(|b| range.contains(b) && (n == 0 || step > 0) && count > 0);
                let bucket = bucket.ok_or_else(|| reader.broken("a bucket is out of its range"))?;
                let buckets = if negative { &mut sketch.negative } else { &mut sketch.positive };
                buckets.insert(bucket, count);
                last = i64::from(bucket);
            }
        }
        reader.end()?;
        Ok(sketch)
    }

    /// Memory held, in bytes.
    pub fn bytes(&self) -> usize {
        (self.negative.len() + self.positive.len()) * 24
    }
}

fn change(buckets: &mut BTreeMap<i32, i64>, bucket: i32, by: i64) {
    let count = buckets.entry(bucket).or_default();
    *count = count.saturating_add(by);
    if *count == 0 {
        buckets.remove(&bucket);
    }
}
