//! Rows as order-preserving bytes (Arrow row format), for keys and for state.

use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, SchemaRef};
use arrow::row::{RowConverter, Rows, SortField};
use fleuve_types::{Error, Result};
use rayon::prelude::*;

use super::bytes::hash_bytes;

/// Columns <-> bytes of one fixed list of types.
pub(crate) struct RowCodec {
    types: Vec<DataType>,
    converter: Option<RowConverter>,
}

/// Rows that are encoded, or hashed, at once; more are spread over the cores.
const PIECE_ROWS: usize = 8_192;

/// Encoded rows; zero columns encode to empty strings.
pub(crate) enum Encoded {
    Rows(Rows),
    /// Pieces of [`PIECE_ROWS`], the last one shorter.
    Pieces(Vec<Rows>),
    Unit,
}

impl Encoded {
    /// The bytes of a row.
    pub(crate) fn row(&self, i: usize) -> &[u8] {
        match self {
            Encoded::Rows(rows) => rows.row(i).data(),
            Encoded::Pieces(pieces) => pieces[i / PIECE_ROWS].row(i % PIECE_ROWS).data(),
            Encoded::Unit => &[],
        }
    }

    /// The hashes of the first `rows` rows.
    pub(crate) fn hashes(&self, rows: usize) -> Vec<u64> {
        if rows < 2 * PIECE_ROWS {
            return (0..rows).map(|i| hash_bytes(self.row(i))).collect();
        }
        (0..rows).into_par_iter().with_min_len(PIECE_ROWS).map(|i| hash_bytes(self.row(i))).collect()
    }
}

impl RowCodec {
    /// A codec for columns of these types.
    pub(crate) fn new(types: Vec<DataType>) -> Result<Self> {
        let options = vec![SortOptions::default(); types.len()];
        Self::sorted(types, &options)
    }

    /// A codec whose bytes are in the order that `options` says, one for each column.
    pub(crate) fn sorted(types: Vec<DataType>, options: &[SortOptions]) -> Result<Self> {
        let converter = if types.is_empty() {
            None
        } else {
            let field = |(t, o): (&DataType, &SortOptions)| SortField::new_with_options(t.clone(), *o);
            let fields: Vec<SortField> = types.iter().zip(options).map(field).collect();
            let fits = |field: &&SortField| RowConverter::supports_fields(std::slice::from_ref(*field));
            if let Some(of) = fields.iter().zip(&types).find(|(field, _)| !fits(field)).map(|(_, of)| of) {
                let of = fleuve_types::sql_type_name(of);
                return Err(Error::unsupported(format!("a key or row with a value of type {of} cannot be kept")));
            }
            Some(RowConverter::new(fields).map_err(|e| Error::bug(e.to_string()))?)
        };
        Ok(Self { types, converter })
    }

    /// A codec for all columns of a schema.
    pub(crate) fn for_schema(schema: &SchemaRef) -> Result<Self> {
        Self::new(schema.fields().iter().map(|f| f.data_type().clone()).collect())
    }

    /// Columns to bytes.
    pub(crate) fn encode(&self, columns: &[ArrayRef]) -> Result<Encoded> {
        let Some(converter) = &self.converter else { return Ok(Encoded::Unit) };
        let convert = |columns: &[ArrayRef]| {
            converter.convert_columns(columns).map_err(|e| Error::bug(format!("encode rows: {e}")))
        };
        let rows = columns.first().map_or(0, |c| c.len());
        if rows < 2 * PIECE_ROWS || rayon::current_num_threads() == 1 {
            return convert(columns).map(Encoded::Rows);
        }
        let piece = |n: usize| {
            let (at, len) = (n * PIECE_ROWS, PIECE_ROWS.min(rows - n * PIECE_ROWS));
            convert(&columns.iter().map(|c| c.slice(at, len)).collect::<Vec<_>>())
        };
        let pieces = (0..rows.div_ceil(PIECE_ROWS)).into_par_iter().map(piece).collect::<Result<_>>()?;
        Ok(Encoded::Pieces(pieces))
    }

    /// Bytes to columns.
    pub(crate) fn decode<'a>(&self, rows: impl Iterator<Item = &'a [u8]>) -> Result<Vec<ArrayRef>> {
        match &self.converter {
            None => Ok(vec![]),
            Some(c) => {
                let parser = c.parser();
                c.convert_rows(rows.map(|r| parser.parse(r))).map_err(|e| Error::bug(format!("decode rows: {e}")))
            }
        }
    }

    /// Bytes to a batch of `schema`, whose types are those of this codec.
    pub(crate) fn decode_batch(&self, schema: &SchemaRef, rows: &[&[u8]]) -> Result<RecordBatch> {
        let columns = self.decode(rows.iter().copied())?;
        batch_of(schema, columns, rows.len())
    }

    /// The types of the columns.
    pub(crate) fn types(&self) -> &[DataType] {
        &self.types
    }
}

/// A batch from columns, also when there are none.
pub(crate) fn batch_of(schema: &SchemaRef, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(schema.clone(), columns, &options)
        .map_err(|e| Error::bug(format!("a batch does not fit its schema: {e}")))
}
