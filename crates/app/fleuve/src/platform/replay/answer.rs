//! The answer of a replayed view, and the changes of one of its rows.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, Int64Array, RecordBatch, RecordBatchOptions, StringArray};
use arrow::datatypes::{DataType, SchemaRef};
use arrow::row::{RowConverter, SortField};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{Cast, Expr};
use datafusion::prelude::SessionContext;
use fleuve_sql::{BoundObject, ViewSpec, view_key};
use fleuve_types::{Delta, Error, ErrorKind, Result};

use super::bug;

/// Changes of a row that are told.
const MAX_CHANGES: usize = 100_000;
/// The answer may take this much memory.
const MAX_ANSWER_BYTES: usize = 256 << 20;

/// The rows of a view and how often each is there.
pub(super) struct Answer {
    pub(super) schema: SchemaRef,
    pub(super) converter: RowConverter,
    pub(super) rows: HashMap<Vec<u8>, i64>,
    pub(super) bytes: usize,
}

impl Answer {
    pub(super) fn new(schema: SchemaRef) -> Result<Self> {
        let fields = schema.fields().iter().map(|f| SortField::new(f.data_type().clone())).collect();
        Ok(Self { converter: RowConverter::new(fields).map_err(bug)?, schema, rows: HashMap::new(), bytes: 0 })
    }

    /// Takes in a change; gives what it comes to, each row once.
    pub(super) fn take(&mut self, delta: &Delta) -> Result<Vec<(Vec<u8>, i64)>> {
        if delta.is_empty() {
            return Ok(vec![]);
        }
        let rows = self.converter.convert_columns(delta.batch.columns()).map_err(bug)?;
        let mut changes: BTreeMap<Vec<u8>, i64> = BTreeMap::new();
        for row in 0..delta.len() {
            *changes.entry(rows.row(row).as_ref().to_vec()).or_default() += delta.weight(row);
        }
        changes.retain(|_, weight| *weight != 0);
        for (row, weight) in &changes {
            let there = self.rows.entry(row.clone()).or_insert_with(|| {
                self.bytes += row.len();
                0
            });
            *there += weight;
            if *there == 0 {
                self.rows.remove(row);
                self.bytes -= row.len();
            }
        }
        if self.bytes > MAX_ANSWER_BYTES {
            let message = format!("the answer takes more than {MAX_ANSWER_BYTES} bytes");
            return Err(Error::new(ErrorKind::Limit, message).hint("replay a view over it that asks for less"));
        }
        Ok(changes.into_iter().collect())
    }

    pub(super) fn to_batch(&self, rows: &[&Vec<u8>]) -> Result<RecordBatch> {
        let parser = self.converter.parser();
        let columns = self.converter.convert_rows(rows.iter().map(|r| parser.parse(r))).map_err(bug)?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        RecordBatch::try_new_with_options(self.schema.clone(), columns, &options).map_err(bug)
    }

    /// The rows, in an order that depends on them alone.
    pub(super) fn rows(&self) -> Result<RecordBatch> {
        let mut all: Vec<(&Vec<u8>, i64)> = self.rows.iter().map(|(row, n)| (row, *n)).collect();
        all.sort_unstable();
        let each: Vec<&Vec<u8>> =
            all.into_iter().flat_map(|(row, n)| std::iter::repeat_n(row, usize::try_from(n).unwrap_or(0))).collect();
        self.to_batch(&each)
    }
}

/// A text as a value of a type, as a cast in a query reads it; `None` if that cannot read it.
fn read_as(text: Option<&str>, data_type: &DataType) -> Option<ScalarValue> {
    if let (DataType::Binary, Some(text)) = (data_type, text) {
        return fleuve_sql::bytes_of_text(text).ok().map(|bytes| ScalarValue::Binary(Some(bytes)));
    }
    let context = SessionContext::new_with_state(fleuve_engine::session_state());
    let text = text.map(|text| fleuve_sql::text_for(text, data_type).into_owned());
    let text = Box::new(Expr::Literal(ScalarValue::Utf8(text), None));
    let cast = Expr::Cast(Cast::new(text, data_type.clone()));
    let read = async { context.read_empty()?.select(vec![cast])?.collect().await };
    let rows = futures::executor::block_on(read).ok()?;
    ScalarValue::try_from_array(rows.first()?.column(0), 0).ok()
}

/// The row whose changes are told: the key's columns and their values.
pub(super) struct Watched {
    pub(super) columns: Vec<usize>,
    pub(super) values: Vec<ScalarValue>,
}

impl Watched {
    pub(super) fn new(bound: &BoundObject, view: &ViewSpec, values: &[Option<String>]) -> Result<Self> {
        let key = view_key(&view.plan).ok_or_else(|| {
            let error =
                Error::input(format!("\"{}\" has no key that is known, so no row can be watched", bound.object.name));
            error.hint("a view that is grouped or DISTINCT has one")
        })?;
        if key.len() != values.len() {
            let message = format!(
                "the key of \"{}\" is ({}), and {} values are given",
                bound.object.name,
                key.join(", "),
                values.len()
            );
            return Err(Error::input(message).hint(
                "--watch takes one value for each, with commas between; a text that holds one stands in single quotes",
            ));
        }
        let columns = key.iter().map(|name| view.schema.index_of(name).map_err(bug)).collect::<Result<Vec<_>>>()?;
        let value = |(column, text): (&usize, &Option<String>)| {
            let field = view.schema.field(*column);
            read_as(text.as_deref(), field.data_type()).ok_or_else(|| {
                let (text, name) = (text.as_deref().unwrap_or_default(), field.name());
                let wanted = fleuve_types::sql_type_name(field.data_type());
                Error::input(format!("'{text}' is no {wanted}, which column \"{name}\" of the key is"))
            })
        };
        let values = columns.iter().zip(values).map(value).collect::<Result<_>>()?;
        Ok(Self { columns, values })
    }

    pub(super) fn is(&self, batch: &RecordBatch, row: usize) -> Result<bool> {
        for (column, value) in self.columns.iter().zip(&self.values) {
            if ScalarValue::try_from_array(batch.column(*column), row).map_err(bug)? != *value {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Changes of a row: step, weight, the record behind it, the row.
#[derive(Default)]
pub(super) struct Told {
    pub(super) steps: Vec<i64>,
    pub(super) weights: Vec<i64>,
    pub(super) places: Vec<Option<(String, i32, i64)>>,
    pub(super) rows: Vec<Vec<u8>>,
}

impl Told {
    pub(super) fn changes(
        &mut self,
        answer: &Answer,
        watched: &Watched,
        changes: &[(Vec<u8>, i64)],
        step: u64,
        place: Option<(String, i32, i64)>,
    ) -> Result<()> {
        if changes.is_empty() {
            return Ok(());
        }
        let batch = answer.to_batch(&changes.iter().map(|c| &c.0).collect::<Vec<_>>())?;
        // What goes is told before what comes.
        let mut order: Vec<usize> = (0..changes.len()).collect();
        order.sort_by_key(|i| changes[*i].1);
        for i in order {
            if !watched.is(&batch, i)? {
                continue;
            }
            if self.rows.len() >= MAX_CHANGES {
                let error = Error::new(ErrorKind::Limit, format!("the row changes more than {MAX_CHANGES} times"));
                return Err(error.hint("replay to an earlier point"));
            }
            self.steps.push(step as i64);
            self.weights.push(changes[i].1);
            self.places.push(place.clone());
            self.rows.push(changes[i].0.clone());
        }
        Ok(())
    }

    pub(super) fn to_batch(&self, answer: &Answer) -> Result<RecordBatch> {
        let rows = answer.to_batch(&self.rows.iter().collect::<Vec<_>>())?;
        let place = |of: &dyn Fn(&(String, i32, i64)) -> i64| -> Int64Array {
            self.places.iter().map(|p| p.as_ref().map(of)).collect()
        };
        let partitions: Int32Array = self.places.iter().map(|p| p.as_ref().map(|p| p.1)).collect();
        let streams: StringArray = self.places.iter().map(|p| p.as_ref().map(|p| p.0.clone())).collect();
        let mut columns: Vec<(&str, ArrayRef)> = vec![
            ("_step", Arc::new(Int64Array::from(self.steps.clone()))),
            ("_weight", Arc::new(Int64Array::from(self.weights.clone()))),
            ("_source", Arc::new(streams)),
            ("_partition", Arc::new(partitions)),
            ("_offset", Arc::new(place(&|p| p.2))),
        ];
        let schema = rows.schema();
        columns.extend(schema.fields().iter().map(|f| f.name().as_str()).zip(rows.columns().iter().cloned()));
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, c)| (n, c, true))).map_err(bug)
    }
}
