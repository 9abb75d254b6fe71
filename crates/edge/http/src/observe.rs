//! What the platform says about itself. The app implements [`Observe`]; the status page and `fleuve status` read it.

use serde::{Deserialize, Serialize};

/// How the platform is doing. All calls answer from memory, at once.
pub trait Observe: Send + Sync + 'static {
    /// True once all doors serve.
    fn ready(&self) -> bool;
    /// Why no work should be sent here now; `None` if it should.
    fn not_ready(&self) -> Option<String>;
    /// Everything there is to see.
    fn status(&self) -> StatusReport;
    /// The same and more as numbers, in Prometheus' text format (0.0.4).
    fn metrics(&self) -> String;
}

/// Answer of `GET /v1/status`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StatusReport {
    /// The process.
    pub server: ServerReport,
    /// By name.
    pub streams: Vec<StreamReport>,
    /// By name.
    pub views: Vec<ViewReport>,
    /// By name.
    pub sources: Vec<ConnectorReport>,
    /// By name.
    pub sinks: Vec<ConnectorReport>,
}

/// The process.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ServerReport {
    /// Version of Fleuve.
    pub version: String,
    /// Seconds since the start.
    pub uptime_s: u64,
    /// The epoch that queries see.
    pub epoch: u64,
    /// Where the data is.
    pub data_dir: String,
    /// The doors that are open.
    pub doors: Vec<DoorReport>,
}

/// One door.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DoorReport {
    /// `kafka`, `postgres`, `http`, `registry`
    pub name: String,
    /// `host:port`
    pub address: String,
}

/// One stream.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StreamReport {
    /// `namespace.name`, or only the name in `public`.
    pub name: String,
    /// The durable id, also the Kafka topic id.
    pub id: String,
    /// Number of partitions.
    pub partitions: u32,
    /// Records that are there.
    pub records: u64,
    /// Bytes that they take.
    pub bytes: u64,
    /// Records per second, lately.
    pub records_per_s: f64,
    /// Records that could not be read as rows.
    pub dead_letters: u64,
    /// The stream that holds them.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub dead_letter_stream: Option<String>,
    /// Rows that came behind the watermark.
    #[serde(default)]
    pub late_records: u64,
    /// Seconds that epochs have spent on reading and decoding its records since the start, once for all views.
    #[serde(default)]
    pub decode_s: f64,
    /// The watermark: no row that is on time comes below it. Absent before the first row, and without WATERMARK.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub watermark: Option<String>,
    /// Records older than this go; absent keeps them.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub retention_ms: Option<i64>,
    /// A partition larger than this loses its oldest records; absent is no limit.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub retention_bytes: Option<i64>,
}

/// One view.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ViewReport {
    /// `namespace.name`, or only the name in `public`.
    pub name: String,
    /// `running`, `building`, `failed`, `stopped` (one that it reads is), `starting`
    pub state: String,
    /// Why it failed or stopped.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error: Option<String>,
    /// Rows of the answer.
    pub rows: u64,
    /// Bytes of its state in memory.
    pub state_bytes: u64,
    /// Bytes of its state that lie on disk and are read as needed.
    #[serde(default)]
    pub disk_bytes: u64,
    /// The epoch that it shows.
    pub epoch: u64,
    /// Records of its inputs that are not in it yet.
    pub lag_records: u64,
    /// What a row does that an expression fails for: `stop` or `skip`.
    #[serde(default)]
    pub on_error: String,
    /// Rows that were left out because an expression failed for them.
    #[serde(default)]
    pub dead_letters: u64,
    /// The stream that holds them.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub dead_letter_stream: Option<String>,
    /// The records that are behind, for each input.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub inputs: Vec<InputReport>,
    /// While it is built: how much of what was there before it is taken in.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub backfill: Option<BackfillReport>,
    /// Changed rows per second, lately.
    pub rows_per_s: f64,
    /// Its statement.
    pub sql: String,
}

/// What a view reads.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct InputReport {
    /// The stream or view.
    pub name: String,
    /// Its records that are not in the answer yet. A view has none: its changes come in the same epoch.
    pub lag_records: u64,
}

/// How far a view under construction is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BackfillReport {
    /// Records and rows taken in.
    pub done: u64,
    /// All that there were.
    pub total: u64,
    /// `done` of `total`, 0 to 100.
    pub percent: f64,
    /// Seconds until it is done, if it goes on as it did.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub eta_s: Option<f64>,
}

impl BackfillReport {
    /// `42 % of 1000000, 12 s left`
    pub fn text(&self) -> String {
        let left = self.eta_s.map_or_else(String::new, |s| format!(", {s:.0} s left"));
        format!("{:.0} % of {}{left}", self.percent, self.total)
    }
}

/// One source or sink.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ConnectorReport {
    /// `namespace.name`, or only the name in `public`.
    pub name: String,
    /// For a sink: the view it reads.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub from: Option<String>,
    /// The stream that it writes.
    pub into: String,
    /// `file`, `stream`, ...
    pub connector: String,
    /// `running`, `done`, `stopped`, `failed`
    pub state: String,
    /// Where it stands, in its own words.
    pub position: String,
    /// Records that it brought or took.
    pub records: u64,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error: Option<String>,
}
