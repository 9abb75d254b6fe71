//! Arrow batches as `DataRow` messages. A column is looked at once per batch; per value there is one call and no allocation.

mod list;
mod numeric;
mod text;
mod value;

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::buffer::NullBuffer;
use bytes::{BufMut, BytesMut};

use crate::error::PgResult;
use crate::wire::{Out, patch_length};

/// Writes the value of a row, without its length; never called for NULL.
type Write = Box<dyn Fn(usize, &mut BytesMut) + Send + Sync>;

pub(crate) struct ColumnEncoder {
    nulls: Option<NullBuffer>,
    write: Write,
}

impl ColumnEncoder {
    pub(crate) fn new(array: &ArrayRef, binary: bool) -> PgResult<Self> {
        Ok(Self { nulls: array.logical_nulls(), write: value::writer(array, binary)? })
    }

    fn is_null(&self, row: usize) -> bool {
        self.nulls.as_ref().is_some_and(|n| n.is_null(row))
    }

    fn put(&self, row: usize, out: &mut BytesMut) {
        if self.is_null(row) {
            return out.put_i32(-1);
        }
        let start = out.len();
        out.put_u32(0);
        (self.write)(row, out);
        patch_length(out, start, 4);
    }
}

/// One batch on its way out.
pub(crate) struct BatchEncoder {
    columns: Vec<ColumnEncoder>,
    rows: usize,
    next: usize,
}

impl BatchEncoder {
    /// `formats` gives each column's format code; a missing one means text.
    pub(crate) fn new(batch: &RecordBatch, formats: &[i16]) -> PgResult<Self> {
        let columns = batch
            .columns()
            .iter()
            .enumerate()
            .map(|(i, a)| ColumnEncoder::new(a, formats.get(i) == Some(&1)))
            .collect::<PgResult<_>>()?;
        Ok(Self { columns, rows: batch.num_rows(), next: 0 })
    }

    /// Rows not yet written.
    pub(crate) fn left(&self) -> usize {
        self.rows - self.next
    }

    /// Writes up to `max_rows` rows, fewer once `out` holds `full_bytes`. Gives the number written.
    pub(crate) fn put_rows(&mut self, out: &mut Out, max_rows: usize, full_bytes: usize) -> usize {
        let first = self.next;
        let end = self.rows.min(first.saturating_add(max_rows));
        while self.next < end && out.bytes.len() < full_bytes {
            let row = self.next;
            out.message(b'D', |b| {
                b.put_u16(self.columns.len() as u16);
                self.columns.iter().for_each(|c| c.put(row, b));
            });
            self.next += 1;
        }
        self.next - first
    }
}

#[cfg(test)]
mod tests;
