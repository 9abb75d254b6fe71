use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use fleuve_types::{ColumnPart, Error, ErrorKind, Result};

use crate::avro::AvroDecoder;
use crate::column::{Bad, Data, StructData, Taken};
use crate::json::Budget;
use crate::limits::MAX_DECODE_BYTES;
use crate::spec::CsvOptions;
use crate::{Format, FormatSpec, RecordRef, SchemaLookup, combined_log, csv, json};

/// What a run of records became.
#[derive(Clone, Debug)]
pub struct Decoded {
    /// The rows, with the projected columns in the order asked for.
    pub batch: RecordBatch,
    /// For each row, the index of its record in the run; grows strictly.
    pub rows: Vec<u32>,
    /// The records that are no row: index in the run and the reason, in order.
    pub bad: Vec<(u32, String)>,
}

/// Turns runs of records into rows. Keeps its buffers and what it learned between runs; one per thread.
pub struct Decoder {
    columns: StructData,
    reading: Reading,
    max_record_bytes: usize,
    /// For each column of the answer, the position of the column it is (or is a copy of).
    projection: Vec<usize>,
    schema: SchemaRef,
    budget: Budget,
    scratch: Vec<u8>,
}

/// How a record is read.
enum Reading {
    Json,
    Avro(Box<AvroDecoder>),
    Csv(CsvOptions),
    /// For each column, the part of the line.
    CombinedLog(Vec<usize>),
    /// The value is the only column.
    Whole,
}

impl Decoder {
    /// A decoder for a stream with the columns `schema`, of which it gives those in `projection` (positions in `schema`).
    /// `lookup` is needed for Avro only.
    ///
    /// # Errors
    /// A bug of the caller: a projection out of bounds, Avro without lookup. Unsupported: a type that [`FormatSpec::new`] refuses.
    pub fn new(
        spec: &FormatSpec,
        schema: SchemaRef,
        projection: &[usize],
        lookup: Option<Arc<dyn SchemaLookup>>,
    ) -> Result<Decoder> {
        let parts: Vec<ColumnPart> = projection.iter().copied().map(ColumnPart::whole).collect();
        Self::with_parts(spec, schema, &parts, lookup)
    }

    /// As [`Decoder::new`], of struct columns maybe some fields only. Whether a record is a row does not depend on what
    /// is asked for.
    ///
    /// # Errors
    /// As [`Decoder::new`]; a bug of the caller: two parts of one column, or a part without fields.
    pub fn with_parts(
        spec: &FormatSpec,
        schema: SchemaRef,
        parts: &[ColumnPart],
        lookup: Option<Arc<dyn SchemaLookup>>,
    ) -> Result<Decoder> {
        for (n, part) in parts.iter().enumerate() {
            let Some(field) = schema.fields().get(part.at) else {
                let all = schema.fields().len();
                return Err(Error::bug(format!("column {} is projected from a stream of {all}", part.at)));
            };
            let DataType::Struct(children) = field.data_type() else { continue };
            let wrong = |f: &Vec<usize>| f.is_empty() || f.iter().any(|f| *f >= children.len());
            if part.fields.as_ref().is_some_and(wrong) || parts[..n].iter().any(|p| p.at == part.at && p != part) {
                return Err(Error::bug(format!("no such part of column '{}'", field.name())));
            }
        }
        let columns = StructData::new(schema.fields(), |at| parts.iter().find(|p| p.at == at).cloned())?;
        let reading = match spec.format() {
            Format::Json => Reading::Json,
            Format::Avro => {
                let lookup = lookup.ok_or_else(|| Error::bug("an Avro decoder needs a registry to look schemas up"))?;
                Reading::Avro(Box::new(AvroDecoder::new(lookup)))
            }
            Format::Csv => Reading::Csv(spec.csv.clone()),
            Format::CombinedLog => Reading::CombinedLog(combined_log::parts_of(&columns)),
            Format::Text | Format::Raw => Reading::Whole,
        };
        let fields: Vec<_> = parts.iter().map(|p| p.field(&schema.fields()[p.at])).collect();
        Ok(Decoder {
            columns,
            reading,
            max_record_bytes: spec.max_record_bytes(),
            projection: parts.iter().map(|p| p.at).collect(),
            schema: Arc::new(Schema::new(fields)),
            budget: Budget::default(),
            scratch: Vec::new(),
        })
    }

    /// This decoder, for records that are older than some of the stream's columns: what they hold under such a name was not meant for
    /// the column. It is the column's value if it fits, and NULL if not; whether a record is a row does not depend on it.
    #[must_use]
    pub fn before(mut self, columns: impl IntoIterator<Item = usize>) -> Decoder {
        for at in columns {
            if let Some(column) = self.columns.children.get_mut(at) {
                column.loose = column.nullable;
            }
        }
        self
    }

    /// The columns of the batches that this decoder gives.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Decodes a run of records.
    ///
    /// # Errors
    /// Limit: the run's values are larger than [`crate::limits::MAX_DECODE_BYTES`] together; decode fewer. Else what
    /// [`SchemaLookup`] gave: nothing was decoded, try again.
    pub fn decode(&mut self, records: &[RecordRef<'_>]) -> Result<Decoded> {
        if u32::try_from(records.len()).is_err() {
            return Err(too_many(records));
        }
        if let Reading::Avro(avro) = &mut self.reading {
            avro.begin();
        }
        // What an earlier call left behind when it failed.
        self.columns.truncate(0);
        let mut rows = Vec::with_capacity(records.len());
        let mut bad = Vec::new();
        let mut bytes = 0;
        for (index, record) in records.iter().enumerate() {
            bytes += record.value.map_or(0, <[u8]>::len);
            if bytes > MAX_DECODE_BYTES {
                return Err(too_many(records));
            }
            if let (Reading::Avro(avro), Some(value)) = (&mut self.reading, record.value) {
                avro.resolve(value, &self.columns)?;
            }
            match self.decode_record(rows.len(), record.value) {
                Ok(()) => rows.push(index as u32),
                Err(why) => {
                    self.columns.truncate(rows.len());
                    bad.push((index as u32, why.reason()));
                }
            }
        }
        Ok(Decoded { batch: self.finish(rows.len())?, rows, bad })
    }

    fn decode_record(&mut self, base: usize, value: Option<&[u8]>) -> Taken {
        let Some(value) = value else { return Err(Bad::new("no value")) };
        if value.len() > self.max_record_bytes {
            let text = format!("{} bytes are more than max_record_bytes = {}", value.len(), self.max_record_bytes);
            return Err(Bad::new(text));
        }
        let columns = &mut self.columns;
        self.budget.begin(value.len());
        match &mut self.reading {
            Reading::Json => json::decode_record(columns, base, value, &mut self.budget),
            Reading::Avro(avro) => avro.decode_record(columns, base, value, &mut self.budget),
            Reading::Csv(options) => csv::decode_record(columns, value, options, &mut self.budget, &mut self.scratch),
            Reading::CombinedLog(parts) => combined_log::decode_record(columns, parts, value),
            Reading::Whole => decode_whole(columns, value),
        }
    }

    fn finish(&mut self, rows: usize) -> Result<RecordBatch> {
        let mut built: Vec<Option<ArrayRef>> = vec![None; self.columns.children.len()];
        let mut arrays = Vec::with_capacity(self.projection.len());
        for at in &self.projection {
            let array = match &built[*at] {
                Some(array) => array.clone(),
                None => built[*at].insert(self.columns.children[*at].finish()?).clone(),
            };
            arrays.push(array);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(self.schema.clone(), arrays, &options)
            .map_err(|e| Error::bug(format!("decoded columns do not make a batch: {e}")))
    }
}

#[cold]
fn too_many(records: &[RecordRef<'_>]) -> Error {
    let bytes: usize = records.iter().filter_map(|r| r.value).map(<[u8]>::len).sum();
    let text = format!("{} records of {bytes} bytes are too many to decode at once", records.len());
    Error::new(ErrorKind::Limit, text)
}

/// `text` and `raw`: the value as it is.
fn decode_whole(columns: &mut StructData, value: &[u8]) -> Taken {
    let Some(column) = columns.children.first_mut() else { return Err(Bad::new("there is no column")) };
    if let (Data::Text(_), Err(e)) = (&column.data, std::str::from_utf8(value)) {
        return Err(Bad::new(format!("not UTF-8 at byte {}", e.valid_up_to())));
    }
    column.push_bytes(value);
    Ok(())
}
