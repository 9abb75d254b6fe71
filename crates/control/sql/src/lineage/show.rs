//! The answer: rows of the view, each with the rows behind it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMillisecondArray, UInt32Array,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::util::display::array_value_to_string;
use datafusion::logical_expr::{Expr, LogicalPlanBuilder};
use fleuve_formats::{Encoder, FormatSpec};
use fleuve_types::{PSEUDO_COLUMNS, Result};

use super::trace::Found;
use super::wanted::{Same, Wanted, matching};
use super::{Reads, Tracer, bug};
use crate::errors::of_datafusion;

/// A line of the answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Line {
    /// The number of the view's row, from 1.
    pub(crate) row: Option<i64>,
    /// How the view comes to it.
    pub(crate) via: String,
    /// The view or stream that holds it.
    pub(crate) object: Option<String>,
    /// Partition, offset and time of a stream's record.
    pub(crate) place: Option<(i32, i64, Option<i64>)>,
    /// Its columns, as a JSON object.
    pub(crate) data: Option<String>,
}

/// The columns of the answer.
pub(crate) fn answer_schema() -> SchemaRef {
    let time = DataType::Timestamp(TimeUnit::Millisecond, None);
    Arc::new(Schema::new(vec![
        Field::new("row", DataType::Int64, true),
        Field::new("via", DataType::Utf8, true),
        Field::new("source", DataType::Utf8, true),
        Field::new("partition", DataType::Int32, true),
        Field::new("offset", DataType::Int64, true),
        Field::new("timestamp", time, true),
        Field::new("data", DataType::Utf8, true),
    ]))
}

/// The lines as rows.
pub(crate) fn to_batch(lines: &[Line]) -> Result<RecordBatch> {
    let text =
        |of: &dyn Fn(&Line) -> Option<String>| -> ArrayRef { Arc::new(lines.iter().map(of).collect::<StringArray>()) };
    let columns: Vec<ArrayRef> = vec![
        Arc::new(lines.iter().map(|l| l.row).collect::<Int64Array>()),
        text(&|l| Some(l.via.clone())),
        text(&|l| l.object.clone()),
        Arc::new(lines.iter().map(|l| l.place.map(|p| p.0)).collect::<Int32Array>()),
        Arc::new(lines.iter().map(|l| l.place.map(|p| p.1)).collect::<Int64Array>()),
        Arc::new(lines.iter().map(|l| l.place.and_then(|p| p.2)).collect::<TimestampMillisecondArray>()),
        text(&|l| l.data.clone()),
    ];
    RecordBatch::try_new(answer_schema(), columns).map_err(bug)
}

/// Each row as a JSON object.
fn as_json(batch: &RecordBatch) -> Result<Vec<String>> {
    // Values that are NULL for want of a partner may stand in columns that say they are not.
    let fields: Vec<Field> =
        batch.schema().fields().iter().map(|f| Field::new(f.name(), f.data_type().clone(), true)).collect();
    let schema = Arc::new(Schema::new(fields));
    let encoder = FormatSpec::new("json", &BTreeMap::new(), Some(schema.clone()))
        .and_then(|spec| Encoder::new(&spec, schema.clone(), None));
    let batch = RecordBatch::try_new(schema, batch.columns().to_vec()).map_err(bug)?;
    if let Ok(encoder) = encoder {
        let values = encoder.encode(&batch)?;
        return Ok(values.iter().map(|v| String::from_utf8_lossy(v).into_owned()).collect());
    }
    // A type that JSON records do not have (an interval): as it is shown elsewhere.
    let cell = |at: usize, row: usize| array_value_to_string(batch.column(at), row).map_err(bug);
    let row = |row: usize| {
        let schema = batch.schema();
        let fields = schema.fields().iter().enumerate();
        let cells = fields.map(|(at, f)| Ok(format!("{:?}:{:?}", f.name(), cell(at, row)?)));
        Ok(format!("{{{}}}", cells.collect::<Result<Vec<_>>>()?.join(",")))
    };
    (0..batch.num_rows()).map(row).collect()
}

/// The view's own rows, and what is looked for because of them.
pub(crate) fn output_lines(view: &str, batches: &[RecordBatch], most: usize) -> Result<(Vec<Line>, Vec<RecordBatch>)> {
    let (mut lines, mut wanted, mut number) = (vec![], vec![], 0_u32);
    for batch in batches {
        let rows = batch.num_rows().min(most - number as usize);
        let batch = batch.slice(0, rows);
        for data in as_json(&batch)? {
            number += 1;
            let row = Some(i64::from(number));
            lines.push(Line { row, via: "the row".into(), object: Some(view.into()), place: None, data: Some(data) });
        }
        let first = number + 1 - rows as u32;
        let tags: UInt32Array = (first..=number).collect();
        let mut columns: Vec<ArrayRef> = vec![Arc::new(tags)];
        columns.extend(batch.columns().iter().cloned());
        let mut fields = vec![Field::new(super::wanted::TAG, DataType::UInt32, true)];
        let own = batch.schema();
        let own = own.fields().iter().enumerate();
        fields.extend(own.map(|(i, f)| Field::new(format!("w{i}"), f.data_type().clone(), true)));
        wanted.push(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(bug)?);
    }
    Ok((lines, wanted))
}

type Shown = BTreeMap<(i32, i64), (Option<i64>, String)>;

impl Tracer {
    /// The lines of what was found, by row of the view: of each way the first `most` rows, and how many there are in all.
    pub(crate) async fn lines(&self, most: usize) -> Result<BTreeMap<u32, Vec<Line>>> {
        let mut lines: BTreeMap<u32, Vec<Line>> = BTreeMap::new();
        for found in &self.found {
            let first = |places: &BTreeSet<(i32, i64)>| places.iter().take(most).copied().collect::<Vec<_>>();
            let wanted: BTreeSet<(i32, i64)> = found.places.values().flat_map(first).collect();
            let rows = self.records(found, &wanted).await?;
            for (tag, places) in &found.places {
                let of_tag = lines.entry(*tag).or_default();
                let via = found.via.join(" < ");
                for place in places.iter().take(most) {
                    let (time, data) = rows.get(place).cloned().unwrap_or_default();
                    of_tag.push(Line {
                        row: Some(i64::from(*tag)),
                        via: via.clone(),
                        object: Some(found.stream.shown()),
                        place: Some((place.0, place.1, time)),
                        data: Some(data),
                    });
                }
                if places.len() > most || found.cut {
                    let more = if found.cut { "at least " } else { "" };
                    let via = format!("... {} of {more}{} rows are shown: {via}", places.len().min(most), places.len());
                    let (row, object) = (Some(i64::from(*tag)), Some(found.stream.shown()));
                    of_tag.push(Line { row, via, object, place: None, data: None });
                }
            }
        }
        Ok(lines)
    }

    /// Records of a stream by their places.
    async fn records(&self, found: &Found, places: &BTreeSet<(i32, i64)>) -> Result<Shown> {
        if places.is_empty() {
            return Ok(Shown::new());
        }
        let whole = self.whole(&found.stream, Reads::All)?;
        let tags: UInt32Array = std::iter::repeat_n(0, places.len()).collect();
        let partitions: Int32Array = places.iter().map(|p| p.0).collect();
        let offsets: Int64Array = places.iter().map(|p| p.1).collect();
        let types = [DataType::UInt32, DataType::Int32, DataType::Int64];
        let fields: Vec<Field> =
            types.iter().enumerate().map(|(i, t)| Field::new(format!("c{i}"), t.clone(), true)).collect();
        let columns: Vec<ArrayRef> = vec![Arc::new(tags), Arc::new(partitions), Arc::new(offsets)];
        let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(bug)?;
        let wanted = Wanted::of(vec![batch], &types[1..])?;
        let columns = whole.schema().columns();
        let (hidden, own): (Vec<_>, Vec<_>) =
            columns.iter().cloned().partition(|c| PSEUDO_COLUMNS.contains(&c.name.as_str()));
        let hidden = |name: &str| hidden.iter().find(|c| c.name == name).cloned().ok_or_else(|| bug("hidden columns"));
        let first = [hidden("_partition")?, hidden("_offset")?, hidden("_timestamp")?];
        let width = first.len() + own.len();
        let names: Vec<String> = own.iter().map(|c| c.name.clone()).collect();
        let ordered = LogicalPlanBuilder::from(whole)
            .project(first.iter().cloned().chain(own).map(Expr::Column).collect::<Vec<_>>())
            .and_then(LogicalPlanBuilder::build)
            .map_err(|e| of_datafusion(&e))?;
        let same: Vec<Same> =
            (0..2).map(|wanted| Same { expr: Expr::Column(first[wanted].clone()), wanted, exact: true }).collect();
        let rows = matching(&self.ground.context, &ordered, width, &same, &wanted).await?;
        let mut shown = Shown::new();
        for batch in rows.batches() {
            let of = |at: usize| batch.column(at).as_any();
            let partitions = of(1).downcast_ref::<Int32Array>().ok_or_else(|| bug("partitions"))?;
            let offsets = of(2).downcast_ref::<Int64Array>().ok_or_else(|| bug("offsets"))?;
            let times = arrow::compute::cast(batch.column(3), &DataType::Timestamp(TimeUnit::Millisecond, None));
            let times = times.and_then(|t| arrow::compute::cast(&t, &DataType::Int64)).map_err(bug)?;
            let times = times.as_any().downcast_ref::<Int64Array>().ok_or_else(|| bug("times"))?;
            let columns = batch.columns()[4..].to_vec();
            let fields = names.iter().zip(&columns).map(|(n, c)| Field::new(n, c.data_type().clone(), true));
            let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
            let own = RecordBatch::try_new(schema, columns).map_err(bug)?;
            for (row, data) in as_json(&own)?.into_iter().enumerate() {
                let time = (!times.is_null(row)).then(|| times.value(row));
                shown.insert((partitions.value(row), offsets.value(row)), (time, data));
            }
        }
        Ok(shown)
    }
}
