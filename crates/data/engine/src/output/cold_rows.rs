//! Reading what of an answer lies on disk.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use fleuve_types::{Error, Result};

use super::cold::{LOG_ROWS, weight};
use super::layout::{Form, SharedLayout, from_ipc};
use crate::state::hash_bytes;
use crate::state::runs::{Merge, Run};

/// The runs of an answer as a snapshot holds them: their files stay readable as long as it is there.
#[derive(Clone)]
pub(super) struct ColdShot {
    pub(super) layout: SharedLayout,
    /// The newest first.
    pub(super) runs: Arc<[Arc<Run>]>,
    /// The number of the next row to arrive.
    pub(super) next: u64,
}

impl ColdShot {
    /// The `n`th of `parts` parts of the rows.
    pub(super) fn part(&self, n: usize, parts: usize) -> ColdRows {
        let all = match self.layout.form {
            Form::Log => u128::from(self.next),
            Form::Keyed | Form::Bag => 1 << 64,
        };
        let cut = |n: usize| all * n as u128 / parts as u128;
        // The last hash is one less than the first of the next part, which is the whole only for the last one.
        let range = (cut(n) as u64, (cut(n + 1).max(1) - 1) as u64);
        self.entries((cut(n) < cut(n + 1)).then_some(range))
    }

    fn entries(&self, range: Option<(u64, u64)>) -> ColdRows {
        ColdRows { shot: self.clone(), range, ordinals: (0, u64::MAX), merge: None, left: None }
    }

    /// The rows whose identity has a hash in this range, the last one included.
    pub(super) fn hashed(&self, range: (u64, u64)) -> ColdRows {
        self.entries(Some(range))
    }

    /// The rows that came as these: the first, and the one after the last.
    pub(super) fn arrived(&self, (from, to): (u64, u64)) -> ColdRows {
        // An entry has the number of its first row.
        let entries = (from.saturating_sub(LOG_ROWS as u64 - 1), to.max(1) - 1);
        ColdRows { ordinals: (from, to), ..self.entries((from < to.min(self.next)).then_some(entries)) }
    }

    /// The row with this key, encoded.
    pub(super) fn lookup(&self, key: &[u8]) -> Result<Option<RecordBatch>> {
        let hash = hash_bytes(key);
        for run in self.runs.iter() {
            let mut found = None;
            run.get_many(&[hash], |entry| {
                if entry.key == key {
                    found = Some(entry.value.map(<[u8]>::to_vec));
                }
                Ok(())
            })?;
            match found {
                None => {}
                Some(None) => return Ok(None),
                Some(Some(value)) => {
                    let all: Vec<usize> = (0..self.layout.schema.fields().len()).collect();
                    return self.layout.decode(&[key], &[&value], &all, &self.layout.schema).map(Some);
                }
            }
        }
        Ok(None)
    }

    /// The rows with some of these keys, `(hash, encoded key)` in order: each run is read forward, once. Gives which of the keys they
    /// have, too.
    pub(super) fn lookup_many(
        &self,
        keys: &[(u64, &[u8])],
        mut wanted: Vec<usize>,
        projection: &[usize],
        schema: &SchemaRef,
    ) -> Result<(Vec<usize>, RecordBatch)> {
        let (mut found, mut values) = (vec![], Strings::default());
        for run in self.runs.iter() {
            let mut hashes: Vec<u64> = wanted.iter().map(|n| keys[*n].0).collect();
            hashes.dedup();
            let mut told = vec![];
            run.get_many(&hashes, |entry| {
                let Ok(at) = wanted.binary_search_by(|n| keys[*n].cmp(&(entry.hash, entry.key))) else { return Ok(()) };
                told.push(wanted[at]);
                if let Some(value) = entry.value {
                    found.push(wanted[at]);
                    values.push(value);
                }
                Ok(())
            })?;
            // What a newer run says of a key counts, also that it is gone.
            wanted.retain(|n| told.binary_search(n).is_err());
        }
        let of: Vec<&[u8]> = found.iter().map(|n| keys[*n].1).collect();
        let rows = self.layout.decode(&of, &values.all(), projection, schema)?;
        Ok((found, rows))
    }
}

/// Rows on disk, read a batch at a time.
pub(super) struct ColdRows {
    shot: ColdShot,
    /// The first and the last hash; none if there is nothing to read.
    range: Option<(u64, u64)>,
    /// Of entries of arrived rows only the rows with these numbers: the first, and the one after the last.
    ordinals: (u64, u64),
    merge: Option<Merge>,
    /// What did not fit the last batch: copies of a row, or a part of some thousand arrived rows.
    left: Option<Left>,
}

enum Left {
    Copies(Vec<u8>, u64),
    Rows(RecordBatch),
}

impl ColdRows {
    /// At most `most` rows; none at the end.
    pub(super) fn next_batch(
        &mut self,
        most: usize,
        projection: &[usize],
        schema: &SchemaRef,
    ) -> Result<Option<RecordBatch>> {
        let Some(range) = self.range else { return Ok(None) };
        let form = self.shot.layout.form;
        if self.merge.is_none() {
            self.merge = Some(Merge::range(&self.shot.runs, form.combine(), true, range)?);
        }
        let batch = match form {
            Form::Log => self.next_arrived(most, projection, schema)?,
            Form::Keyed => self.next_keyed(most, projection, schema)?,
            Form::Bag => self.next_copies(most, projection, schema)?,
        };
        if batch.is_none() {
            (self.range, self.merge) = (None, None);
        }
        Ok(batch)
    }

    fn next_arrived(&mut self, most: usize, projection: &[usize], schema: &SchemaRef) -> Result<Option<RecordBatch>> {
        let batch = match self.left.take() {
            Some(Left::Rows(batch)) => batch,
            _ => loop {
                let Some(merge) = self.merge.as_mut() else { return Ok(None) };
                if !merge.next()? {
                    return Ok(None);
                }
                let entry = merge.entry();
                let batch = from_ipc(entry.value.unwrap_or_default(), projection, schema)?;
                let end = entry.hash + batch.num_rows() as u64;
                let (first, last) = (self.ordinals.0.clamp(entry.hash, end), self.ordinals.1.clamp(entry.hash, end));
                if first < last {
                    break batch.slice((first - entry.hash) as usize, (last - first) as usize);
                }
            },
        };
        if batch.num_rows() > most {
            self.left = Some(Left::Rows(batch.slice(most, batch.num_rows() - most)));
            return Ok(Some(batch.slice(0, most)));
        }
        Ok(Some(batch))
    }

    fn next_keyed(&mut self, most: usize, projection: &[usize], schema: &SchemaRef) -> Result<Option<RecordBatch>> {
        let Some(merge) = self.merge.as_mut() else { return Ok(None) };
        let (mut keys, mut values) = (Strings::default(), Strings::default());
        while keys.len() < most && merge.next()? {
            let entry = merge.entry();
            keys.push(entry.key);
            values.push(entry.value.unwrap_or_default());
        }
        if keys.len() == 0 {
            return Ok(None);
        }
        self.shot.layout.decode(&keys.all(), &values.all(), projection, schema).map(Some)
    }

    fn next_copies(&mut self, most: usize, projection: &[usize], schema: &SchemaRef) -> Result<Option<RecordBatch>> {
        let Some(merge) = self.merge.as_mut() else { return Ok(None) };
        let mut keys = Strings::default();
        loop {
            let (key, copies) = match self.left.take() {
                Some(Left::Copies(key, copies)) => (key, copies),
                _ => {
                    if !merge.next()? {
                        break;
                    }
                    let entry = merge.entry();
                    let copies = u64::try_from(weight(entry.value))
                        .map_err(|_| Error::bug("a view's answer on disk lacks a row that was taken away"))?;
                    (entry.key.to_vec(), copies)
                }
            };
            let now = copies.min((most - keys.len()) as u64);
            (0..now).for_each(|_| keys.push(&key));
            if now < copies {
                self.left = Some(Left::Copies(key, copies - now));
            }
            if keys.len() == most {
                break;
            }
        }
        if keys.len() == 0 {
            return Ok(None);
        }
        self.shot.layout.decode(&keys.all(), &[], projection, schema).map(Some)
    }
}

/// Byte strings one after the other.
#[derive(Default)]
struct Strings {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Strings {
    fn len(&self) -> usize {
        self.ends.len()
    }

    fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.ends.push(self.bytes.len());
    }

    fn all(&self) -> Vec<&[u8]> {
        let starts = std::iter::once(&0).chain(&self.ends);
        starts.zip(&self.ends).map(|(from, to)| &self.bytes[*from..*to]).collect()
    }
}
