//! Rows as an Arrow IPC stream.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::ipc::writer::StreamWriter;
use fleuve_types::{Error, Result};

/// A stream being written; each call gives the bytes that came to be.
pub(crate) struct Ipc(StreamWriter<Vec<u8>>);

impl Ipc {
    pub(crate) fn new(schema: &SchemaRef) -> Result<Self> {
        StreamWriter::try_new(Vec::new(), schema).map(Self).map_err(failed)
    }

    pub(crate) fn rows(&mut self, batch: &RecordBatch) -> Result<Vec<u8>> {
        self.0.write(batch).map_err(failed)?;
        Ok(std::mem::take(self.0.get_mut()))
    }

    pub(crate) fn end(&mut self) -> Result<Vec<u8>> {
        self.0.finish().map_err(failed)?;
        Ok(std::mem::take(self.0.get_mut()))
    }
}

fn failed(error: arrow::error::ArrowError) -> Error {
    Error::bug(format!("rows can't be written as Arrow: {error}"))
}
