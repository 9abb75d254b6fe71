//! System tables: what runs, as tables of the namespace `fleuve`.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, StringArray};
use arrow::record_batch::RecordBatch;
use datafusion::catalog::TableProvider;
use datafusion::datasource::MemTable;

use super::Platform;

/// The namespace of system tables.
pub const NAMESPACE: &str = "fleuve";
/// Their names.
pub const TABLES: [&str; 4] = ["sinks", "sources", "streams", "views"];

fn texts(values: impl IntoIterator<Item = Option<String>>) -> ArrayRef {
    Arc::new(values.into_iter().collect::<StringArray>())
}

fn numbers(values: impl IntoIterator<Item = u64>) -> ArrayRef {
    Arc::new(values.into_iter().map(|v| i64::try_from(v).ok()).collect::<Int64Array>())
}

fn rates(values: impl IntoIterator<Item = f64>) -> ArrayRef {
    Arc::new(values.into_iter().map(Some).collect::<Float64Array>())
}

impl Platform {
    /// The system table of that name, as things stand.
    pub(super) fn system_table(&self, name: &str) -> Option<Arc<dyn TableProvider>> {
        let status = self.report();
        let columns: Vec<(&str, ArrayRef)> = match name {
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
                ]
            }
            "views" => {
                let v = &status.views;
                vec![
                    ("name", texts(v.iter().map(|v| Some(v.name.clone())))),
                    ("state", texts(v.iter().map(|v| Some(v.state.clone())))),
                    ("error", texts(v.iter().map(|v| v.error.clone()))),
                    ("rows", numbers(v.iter().map(|v| v.rows))),
                    ("state_bytes", numbers(v.iter().map(|v| v.state_bytes))),
                    ("epoch", numbers(v.iter().map(|v| v.epoch))),
                    ("lag_records", numbers(v.iter().map(|v| v.lag_records))),
                    ("rows_per_s", rates(v.iter().map(|v| v.rows_per_s))),
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
