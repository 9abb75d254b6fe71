//! DISTINCT in an aggregate: the values of each group with their weights. What is under it sees a value come when its first row
//! comes, and go with its last.

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::DataType;
use fleuve_types::Result;

use super::accumulator::{Accumulator, Input};
use crate::state::{Arrangement, ByteSet, RowCodec, hash_bytes};

/// How long the key of an [`entry`] is, in front of it.
pub(super) const PREFIX_BYTES: usize = 4;

/// A value told from those of other groups by the group's key in front of it.
pub(super) fn entry(buffer: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    buffer.clear();
    buffer.extend_from_slice(&(key.len() as u32).to_le_bytes());
    buffer.extend_from_slice(key);
    buffer.extend_from_slice(value);
}

/// See the module.
pub(super) struct Distinct {
    codec: RowCodec,
    values: Arrangement,
    inner: Box<dyn Accumulator>,
}

impl Distinct {
    pub(super) fn new(argument: DataType, inner: Box<dyn Accumulator>) -> Result<Self> {
        Ok(Self { codec: RowCodec::new(vec![argument])?, values: Arrangement::default(), inner })
    }
}

impl Accumulator for Distinct {
    fn resize(&mut self, groups: usize) {
        self.inner.resize(groups);
    }

    fn reset(&mut self, group: u32) {
        self.inner.reset(group);
    }

    fn forget(&mut self, group: u32, key: &[u8]) {
        self.values.drop_key(hash_bytes(key), key);
        self.inner.forget(group, key);
    }

    fn update(&mut self, input: &Input<'_>) -> Result<()> {
        let encoded = input.encode(&self.codec, &input.arguments[..1])?;
        let mut buffer = Vec::new();
        let mut touched = Vec::new();
        let values = &mut self.values;
        // Whether a NULL is of interest is for the inner one to say.
        input.each_place(false, |group, place, weight| {
            let key = input.keys.key(group as u32);
            entry(&mut buffer, key, encoded.at(place));
            let t = values.add(hash_bytes(key), key, hash_bytes(&buffer), &buffer, weight);
            let change = i64::from(values.weight(t.slot) > 0) - i64::from(t.old > 0);
            if change != 0 {
                touched.push((place.row as u32, group as u32, change));
            }
        });
        self.values.sweep();
        let mut weights = vec![0; input.arguments.first().map_or(0, |a| a.len())];
        for (row, _, change) in &touched {
            weights[*row as usize] = *change;
        }
        let rows: Vec<u32> = touched.iter().map(|t| t.0).collect();
        let groups: Vec<u32> = touched.iter().map(|t| t.1).collect();
        let (arguments, keys) = (input.arguments, input.keys);
        self.inner.update(&Input {
            arguments,
            filter: None,
            rows: &rows,
            groups: &groups,
            weights: Some(&weights),
            keys,
        })
    }

    fn emit(&mut self, groups: &[u32], keys: &ByteSet) -> Result<ArrayRef> {
        self.inner.emit(groups, keys)
    }

    fn bytes(&self) -> usize {
        self.values.bytes() + self.inner.bytes()
    }

    fn state_width(&self) -> usize {
        self.inner.state_width()
    }

    fn save_groups(&mut self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        self.inner.save_groups(groups)
    }

    fn load_group(&mut self, group: u32, state: &[ArrayRef], row: usize) -> Result<()> {
        self.inner.load_group(group, state, row)
    }

    fn save_entries(&mut self, full: bool) -> Vec<(Vec<u8>, Vec<u8>, i64)> {
        let tagged = |entries: Vec<(Vec<u8>, Vec<u8>, i64)>, tag: u8| {
            entries.into_iter().map(move |(key, mut entry, weight)| {
                entry.push(tag);
                (key, entry, weight)
            })
        };
        let own = tagged(self.values.take_changes(full), OWN);
        own.chain(tagged(self.inner.save_entries(full), INNER)).collect()
    }

    fn load_entry(&mut self, key: &[u8], entry: &[u8], weight: i64) {
        match entry.split_last() {
            Some((&OWN, entry)) => self.values.restore(key, entry, weight),
            Some((_, entry)) => self.inner.load_entry(key, entry, weight),
            None => {}
        }
    }

    fn entries_loaded(&mut self) {
        self.values.mark_saved();
        self.inner.entries_loaded();
    }

    fn tables(&self) -> Vec<&Arrangement> {
        std::iter::once(&self.values).chain(self.inner.tables()).collect()
    }

    fn fetch(&mut self, table: usize, key: &[u8], row: &[u8], weight: i64) {
        match table.checked_sub(1) {
            None => {
                self.values.fetch(key, row, weight);
            }
            Some(table) => self.inner.fetch(table, key, row, weight),
        }
    }
}

/// The last byte of an entry: whose it is.
const OWN: u8 = 0;
const INNER: u8 = 1;
