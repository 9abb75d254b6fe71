//! System tables: what runs, as tables of the namespace `fleuve`.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, StringArray, TimestampMicrosecondArray};
use arrow::record_batch::RecordBatch;
use datafusion::catalog::TableProvider;
use datafusion::datasource::MemTable;
use fleuve_engine::OperatorStatus;

use super::Platform;

/// The namespace of system tables.
pub const NAMESPACE: &str = "fleuve";
/// Their names.
pub const TABLES: [&str; 8] = ["changes", "epochs", "operators", "sinks", "sources", "streams", "view_inputs", "views"];

fn texts(values: impl IntoIterator<Item = Option<String>>) -> ArrayRef {
    Arc::new(values.into_iter().collect::<StringArray>())
}

fn numbers(values: impl IntoIterator<Item = u64>) -> ArrayRef {
    Arc::new(values.into_iter().map(|v| i64::try_from(v).ok()).collect::<Int64Array>())
}

/// Numbers that may be missing.
fn some_numbers(values: impl IntoIterator<Item = Option<u64>>) -> ArrayRef {
    Arc::new(values.into_iter().map(|v| v.and_then(|v| i64::try_from(v).ok())).collect::<Int64Array>())
}

/// Microseconds.
fn times(values: impl IntoIterator<Item = i64>) -> ArrayRef {
    Arc::new(values.into_iter().map(Some).collect::<TimestampMicrosecondArray>())
}

fn reals(values: impl IntoIterator<Item = Option<f64>>) -> ArrayRef {
    Arc::new(values.into_iter().collect::<Float64Array>())
}

fn rates(values: impl IntoIterator<Item = f64>) -> ArrayRef {
    reals(values.into_iter().map(Some))
}

impl Platform {
    /// The system table of that name, as things stand.
    pub(super) fn system_table(&self, name: &str) -> Option<Arc<dyn TableProvider>> {
        if !TABLES.contains(&name) {
            return None;
        }
        let status = self.report();
        let columns: Vec<(&str, ArrayRef)> = match name {
            "changes" => {
                let c = self.under_way.shown();
                vec![
                    ("objects", texts(c.iter().map(|c| Some(c.objects.clone())))),
                    ("state", texts(c.iter().map(|c| Some(c.state.to_string())))),
                    ("waits_for", texts(c.iter().map(|c| c.waits_for.clone()))),
                    ("since", times(c.iter().map(|c| c.since_us))),
                ]
            }
            "epochs" => {
                let e = self.engine.epochs();
                vec![
                    ("epoch", numbers(e.iter().map(|e| e.epoch))),
                    ("time", times(e.iter().map(|e| e.time_us))),
                    ("rows", numbers(e.iter().map(|e| e.rows))),
                    ("duration_ms", rates(e.iter().map(|e| e.duration.as_secs_f64() * 1e3))),
                ]
            }
            "operators" => {
                let o = self.operators();
                let reads =
                    |o: &OperatorStatus| o.inputs.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                vec![
                    ("view", texts(o.iter().map(|(view, _)| Some(view.clone())))),
                    ("node", numbers(o.iter().map(|(_, o)| o.node as u64))),
                    ("operator", texts(o.iter().map(|(_, o)| Some(o.operator().to_string())))),
                    ("description", texts(o.iter().map(|(_, o)| Some(o.description.clone())))),
                    ("reads", texts(o.iter().map(|(_, o)| Some(reads(o))))),
                    ("rows_in", numbers(o.iter().map(|(_, o)| o.rows_in))),
                    ("rows_out", numbers(o.iter().map(|(_, o)| o.rows_out))),
                    ("busy_s", rates(o.iter().map(|(_, o)| o.busy.as_secs_f64()))),
                    ("state_rows", numbers(o.iter().map(|(_, o)| o.state_rows))),
                    ("state_bytes", numbers(o.iter().map(|(_, o)| o.state_bytes))),
                    ("disk_bytes", numbers(o.iter().map(|(_, o)| o.disk_bytes))),
                ]
            }
            "view_inputs" => {
                let each = || status.views.iter().flat_map(|v| v.inputs.iter().map(move |i| (v, i)));
                vec![
                    ("view", texts(each().map(|(v, _)| Some(v.name.clone())))),
                    ("input", texts(each().map(|(_, i)| Some(i.name.clone())))),
                    ("lag_records", numbers(each().map(|(_, i)| i.lag_records))),
                ]
            }
            "streams" => {
                let s = &status.streams;
                vec![
                    ("name", texts(s.iter().map(|s| Some(s.name.clone())))),
                    ("id", texts(s.iter().map(|s| Some(s.id.clone())))),
                    ("partitions", numbers(s.iter().map(|s| u64::from(s.partitions)))),
                    ("records", numbers(s.iter().map(|s| s.records))),
                    ("bytes", numbers(s.iter().map(|s| s.bytes))),
                    ("records_per_s", rates(s.iter().map(|s| s.records_per_s))),
                    ("dead_letters", numbers(s.iter().map(|s| s.dead_letters))),
                    ("dead_letter_stream", texts(s.iter().map(|s| s.dead_letter_stream.clone()))),
                    ("watermark", texts(s.iter().map(|s| s.watermark.clone()))),
                    ("late_records", numbers(s.iter().map(|s| s.late_records))),
                    ("decode_s", rates(s.iter().map(|s| s.decode_s))),
                ]
            }
            "views" => {
                let v = &status.views;
                vec![
                    ("name", texts(v.iter().map(|v| Some(v.name.clone())))),
                    ("state", texts(v.iter().map(|v| Some(v.state.clone())))),
                    ("reason", texts(v.iter().map(|v| v.error.clone()))),
                    ("epoch", numbers(v.iter().map(|v| v.epoch))),
                    ("rows", numbers(v.iter().map(|v| v.rows))),
                    ("state_bytes", numbers(v.iter().map(|v| v.state_bytes))),
                    ("disk_bytes", numbers(v.iter().map(|v| v.disk_bytes))),
                    ("lag_records", numbers(v.iter().map(|v| v.lag_records))),
                    ("rows_per_s", rates(v.iter().map(|v| v.rows_per_s))),
                    ("on_error", texts(v.iter().map(|v| Some(v.on_error.clone())))),
                    ("dead_letters", numbers(v.iter().map(|v| v.dead_letters))),
                    ("dead_letter_stream", texts(v.iter().map(|v| v.dead_letter_stream.clone()))),
                    ("backfill_done", some_numbers(v.iter().map(|v| Some(v.backfill.as_ref()?.done)))),
                    ("backfill_total", some_numbers(v.iter().map(|v| Some(v.backfill.as_ref()?.total)))),
                    ("backfill_percent", reals(v.iter().map(|v| Some(v.backfill.as_ref()?.percent)))),
                    ("eta_s", reals(v.iter().map(|v| v.backfill.as_ref()?.eta_s))),
                ]
            }
            "sources" | "sinks" => {
                let c = if name == "sources" { &status.sources } else { &status.sinks };
                vec![
                    ("name", texts(c.iter().map(|c| Some(c.name.clone())))),
                    ("reads", texts(c.iter().map(|c| c.from.clone()))),
                    ("writes", texts(c.iter().map(|c| Some(c.into.clone())))),
                    ("connector", texts(c.iter().map(|c| Some(c.connector.clone())))),
                    ("state", texts(c.iter().map(|c| Some(c.state.clone())))),
                    ("position", texts(c.iter().map(|c| Some(c.position.clone())))),
                    ("records", numbers(c.iter().map(|c| c.records))),
                    ("error", texts(c.iter().map(|c| c.error.clone()))),
                ]
            }
            _ => return None,
        };
        let batch = RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, c)| (n, c, true))).ok()?;
        let table = MemTable::try_new(batch.schema(), vec![vec![batch]]).ok()?;
        Some(Arc::new(table))
    }
}
