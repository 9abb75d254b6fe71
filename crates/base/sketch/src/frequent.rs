//! The most frequent values: counters that are cut down when there are too many (Misra, Gries 1982, and for merging Agarwal et al.,
//! "Mergeable Summaries", PODS 2012). While there are no more different values than counters, counts are exact. Beyond that a count
//! is too low by `error` at most, which is at most the number of rows divided by the number of counters, and which values of nearly the
//! same count are kept depends on the order in which rows came.
//!
//! Bytes: `FT`, version 1, k, the rows, the error, then how many counters, and for each its count, length and value, ascending by value.

use std::collections::BTreeMap;

use fleuve_types::{Error, Result};

use super::bytes::{Reader, begin, put};

const KIND: [u8; 2] = *b"FT";
const NAME: &str = "top-k sketch (of topk_sketch or topk_merge)";

/// A frequent value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heavy {
    /// As text.
    pub value: String,
    /// There are at least so many rows of it.
    pub count: i64,
    /// There are at most so many more.
    pub error: i64,
}

/// A sketch of the frequent ones of a multiset of texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frequent {
    k: usize,
    rows: i64,
    error: i64,
    counts: BTreeMap<String, i64>,
}

impl Frequent {
    /// The greatest k.
    pub const MAX_K: usize = 1000;
    /// Values are cut off after so many bytes.
    pub const MAX_VALUE_BYTES: usize = 1024;
    /// Counters for each of the k.
    const COUNTERS_PER_K: usize = 8;
    /// Fewest counters.
    const MIN_COUNTERS: usize = 64;

    /// A sketch of no values.
    ///
    /// # Errors
    /// When `k` is out of its range.
    pub fn new(k: i64) -> Result<Self> {
        match usize::try_from(k) {
            Ok(k @ 1..=Self::MAX_K) => Ok(Self { k, rows: 0, error: 0, counts: BTreeMap::new() }),
            _ => Err(Error::input(format!("the k of a top-k sketch is between 1 and {}, not {k}", Self::MAX_K))),
        }
    }

    /// How many values are counted.
    pub fn counters(&self) -> usize {
        (self.k * Self::COUNTERS_PER_K).max(Self::MIN_COUNTERS)
    }

    /// Takes in a value.
    pub fn add(&mut self, value: &str) {
        let value = &value[..value.floor_char_boundary(Self::MAX_VALUE_BYTES)];
        self.rows = self.rows.saturating_add(1);
        match self.counts.get_mut(value) {
            Some(count) => *count = count.saturating_add(1),
            None => {
                self.counts.insert(value.to_string(), 1);
            }
        }
        // Cutting down costs as much as it frees.
        if self.counts.len() > 2 * self.counters() {
            self.cut();
        }
    }

    /// Leaves as many counters as there may be.
    fn cut(&mut self) {
        let counters = self.counters();
        if self.counts.len() <= counters {
            return;
        }
        let mut all: Vec<i64> = self.counts.values().copied().collect();
        let (_, cut, _) = all.select_nth_unstable_by(counters, |a, b| b.cmp(a));
        let cut = *cut;
        self.error = self.error.saturating_add(cut);
        self.counts.retain(|_, count| {
            *count -= cut;
            *count > 0
        });
    }

    /// Takes in the values of another one. The k of the result is the greater one.
    pub fn merge(&mut self, other: &Self) {
        self.k = self.k.max(other.k);
        self.rows = self.rows.saturating_add(other.rows);
        self.error = self.error.saturating_add(other.error);
        for (value, count) in &other.counts {
            let sum = self.counts.entry(value.clone()).or_default();
            *sum = sum.saturating_add(*count);
        }
        if self.counts.len() > 2 * self.counters() {
            self.cut();
        }
    }

    /// The k most frequent values, the most frequent first.
    pub fn top(&self) -> Vec<Heavy> {
        let mut all: Vec<(&String, i64)> = self.counts.iter().map(|(v, c)| (v, *c)).collect();
        all.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(b.0)));
        all.truncate(self.k);
        all.into_iter().map(|(value, count)| Heavy { value: value.clone(), count, error: self.error }).collect()
    }

    /// How many rows there were.
    pub fn rows(&self) -> i64 {
        self.rows
    }

    /// The bytes that [`Frequent::decode`] reads. What they leave out is left out here as well, so that who goes on with them
    /// comes to the same.
    pub fn encode(&mut self) -> Vec<u8> {
        self.cut();
        let mut out = begin(KIND);
        put(&mut out, self.k as u64);
        put(&mut out, self.rows as u64);
        put(&mut out, self.error as u64);
        put(&mut out, self.counts.len() as u64);
        for (value, count) in &self.counts {
            put(&mut out, *count as u64);
            put(&mut out, value.len() as u64);
            out.extend_from_slice(value.as_bytes());
        }
        out
    }

    /// # Errors
    /// When the bytes are no such sketch.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(KIND, NAME, bytes)?;
        let mut sketch = Self::new(reader.count()?)?;
        (sketch.rows, sketch.error) = (reader.count()?, reader.count()?);
        let entries = reader.entries(2)?;
        if entries > sketch.counters() {
            return Err(reader.broken("it has more counters than it may"));
        }
        let mut last: Option<&str> = None;
        for _ in 0..entries {
            let count = reader.count()?;
            let len = reader.entries(1)?;
            if len > Self::MAX_VALUE_BYTES || count == 0 {
                return Err(reader.broken("a counter is out of its range"));
            }
            let value = std::str::from_utf8(reader.take(len)?).map_err(|_| reader.broken("a value is no text"))?;
            if last.is_some_and(|last| last >= value) {
                return Err(reader.broken("its values are out of order"));
            }
            sketch.counts.insert(value.to_string(), count);
            last = Some(value);
        }
        reader.end()?;
        Ok(sketch)
    }

    /// Memory held, in bytes.
    pub fn bytes(&self) -> usize {
        self.counts.keys().map(|v| v.len() + 48).sum()
    }
}
