//! How rows of an answer become entries of runs, and back.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BinaryViewArray, RecordBatch, StringViewArray};
use arrow::datatypes::SchemaRef;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use fleuve_types::{Error, ErrorKind, Result};

use crate::state::runs::Combine;
use crate::state::{Encoded, RowCodec, batch_of};

/// What tells the rows of an answer apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// A key: one entry for each row, from the key's columns to the others.
    Keyed,
    /// The whole row: one entry for each different row, to the number of its copies.
    Bag,
    /// Nothing, as no row ever goes: one entry for some thousand rows in the order of their arrival, as Arrow IPC.
    Log,
}

impl Form {
    pub(super) fn of(key: Option<&[usize]>, append_only: bool) -> Self {
        match key {
            Some(_) => Form::Keyed,
            None if append_only => Form::Log,
            None => Form::Bag,
        }
    }

    pub(super) fn combine(self) -> Combine {
        match self {
            Form::Bag => Combine::Sum,
            Form::Keyed | Form::Log => Combine::Newest,
        }
    }
}

/// The columns of an answer as entries hold them.
pub(super) struct Layout {
    pub(super) schema: SchemaRef,
    pub(super) form: Form,
    /// Columns of the entries' keys, and the others.
    identity: Vec<usize>,
    rest: Vec<usize>,
    key_codec: RowCodec,
    rest_codec: RowCodec,
}

impl Layout {
    pub(super) fn new(schema: SchemaRef, key: Option<&[usize]>, append_only: bool) -> Result<Self> {
        let all = 0..schema.fields().len();
        let identity: Vec<usize> = key.map_or_else(|| all.clone().collect(), <[usize]>::to_vec);
        let rest: Vec<usize> = all.filter(|c| !identity.contains(c)).collect();
        let form = Form::of(key, append_only);
        let codec = |of: &[usize]| RowCodec::new(of.iter().map(|c| schema.field(*c).data_type().clone()).collect());
        let (key_codec, rest_codec) = (codec(&identity)?, codec(&rest)?);
        Ok(Self { schema, form, identity, rest, key_codec, rest_codec })
    }

    /// The identities of rows.
    pub(super) fn keys(&self, batch: &RecordBatch) -> Result<Encoded> {
        self.key_codec.encode(&columns(batch, &self.identity))
    }

    /// The values of rows that have a key.
    pub(super) fn rest(&self, batch: &RecordBatch) -> Result<Encoded> {
        self.rest_codec.encode(&columns(batch, &self.rest))
    }

    /// Rows of entries: their keys and, if the form has them, their values. Only the columns of `projection`.
    pub(super) fn decode(
        &self,
        keys: &[&[u8]],
        values: &[&[u8]],
        projection: &[usize],
        schema: &SchemaRef,
    ) -> Result<RecordBatch> {
        let wants = |of: &[usize]| projection.iter().any(|c| of.contains(c));
        let decoded = |codec: &RowCodec, rows: &[&[u8]], wanted: bool| -> Result<Vec<ArrayRef>> {
            if wanted { codec.decode(rows.iter().copied()) } else { Ok(vec![]) }
        };
        let own = decoded(&self.key_codec, keys, wants(&self.identity))?;
        let others = decoded(&self.rest_codec, values, wants(&self.rest))?;
        let column = |c: &usize| {
            let place = |of: &[usize]| of.iter().position(|other| other == c);
            let found = match place(&self.identity) {
                Some(at) => own.get(at),
                None => place(&self.rest).and_then(|at| others.get(at)),
            };
            found.cloned().ok_or_else(|| Error::bug("an answer has no such column"))
        };
        batch_of(schema, projection.iter().map(column).collect::<Result<_>>()?, keys.len())
    }
}

fn columns(batch: &RecordBatch, of: &[usize]) -> Vec<ArrayRef> {
    of.iter().map(|c| batch.column(*c).clone()).collect()
}

/// Rows as the value of an entry.
pub(super) fn to_ipc(batch: &RecordBatch) -> Result<Vec<u8>> {
    let bug = |e: arrow::error::ArrowError| Error::bug(format!("write rows of an answer: {e}"));
    // A slice of views would come with all the bytes that the whole has.
    let own = |column: &ArrayRef| -> ArrayRef {
        if let Some(views) = column.as_any().downcast_ref::<StringViewArray>() {
            Arc::new(views.gc())
        } else if let Some(views) = column.as_any().downcast_ref::<BinaryViewArray>() {
            Arc::new(views.gc())
        } else {
            column.clone()
        }
    };
    let batch = batch_of(&batch.schema(), batch.columns().iter().map(own).collect(), batch.num_rows())?;
    let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema()).map_err(bug)?;
    writer.write(&batch).map_err(bug)?;
    writer.finish().map_err(bug)?;
    writer.into_inner().map_err(bug)
}

/// What [`to_ipc`] wrote; only the columns of `projection`.
pub(super) fn from_ipc(bytes: &[u8], projection: &[usize], schema: &SchemaRef) -> Result<RecordBatch> {
    let broken = |e: arrow::error::ArrowError| Error::new(ErrorKind::Io, format!("rows of an answer are damaged: {e}"));
    let mut reader = StreamReader::try_new(std::io::Cursor::new(bytes), None).map_err(broken)?;
    let batch = reader.next().transpose().map_err(broken)?;
    let batch = batch.ok_or_else(|| Error::new(ErrorKind::Io, "rows of an answer are damaged: there are none"))?;
    let columns = projection.iter().map(|c| batch.columns().get(*c).cloned()).collect::<Option<Vec<_>>>();
    let columns = columns.ok_or_else(|| Error::new(ErrorKind::Io, "rows of an answer are damaged: a column lacks"))?;
    batch_of(schema, columns, batch.num_rows())
}

/// The layout to share.
pub(super) type SharedLayout = Arc<Layout>;
