//! What each command takes. The texts here are the program's manual.

mod test;

use std::path::PathBuf;

use clap::builder::styling::{AnsiColor, Styles};
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config::{ConfigFormat, HostPort};
pub use test::{TestArgs, TestFormat};

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold())
    .placeholder(AnsiColor::Cyan.on_default());

const EXAMPLES: &str = "\
A first minute:
  fleuve serve                                   start everything, in this folder
  fleuve sql -c \"CREATE STREAM clicks (page TEXT, ms BIGINT) WITH (format = 'json')\"
  echo '{\"page\":\"/\",\"ms\":12}' | fleuve produce clicks
  fleuve sql -c \"CREATE MATERIALIZED VIEW pages AS
                 SELECT page, count(*) AS n, avg(ms) AS ms FROM clicks GROUP BY page\"
  fleuve watch pages                             see it change while events come in

Any Kafka client, psql and a browser do as well: 127.0.0.1:9092, :5433 and http://127.0.0.1:8080.";

/// Live SQL over an event log, in one program: a Kafka-protocol log, SQL views that stay up to date, and the doors to read them.
#[derive(Debug, Parser)]
#[command(name = "fleuve", version, styles = STYLES, after_help = EXAMPLES, max_term_width = 110, disable_help_subcommand = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start the server
    Serve(ServeArgs),
    /// Print every setting: its value, where that came from, its default, unit and meaning
    Config(ConfigArgs),
    /// Make the server hold what a folder of .sql files declares
    Apply(ApplyArgs),
    /// Ask in SQL: a prompt, or one command, file or standard input
    Sql(SqlArgs),
    /// Show views changing live
    Watch(WatchArgs),
    /// Compare views with the batch answer of their query
    Verify(VerifyArgs),
    /// Run a view again up to a point of its streams, and print its answer then
    Replay(ReplayArgs),
    /// Run the tests of a project's SQL
    Test(TestArgs),
    /// Write lines as records of a topic
    Produce(ProduceArgs),
    /// Print the records of a topic
    Consume(ConsumeArgs),
    /// List, describe, create and delete topics
    Topics(TopicsArgs),
    /// What the server holds and how it is doing
    Status(StatusArgs),
    /// Run sqllogictest files
    Slt(SltArgs),
}

/// The settings that have a flag of their own, and `--set` for the rest.
#[derive(Args, Debug, Default)]
pub struct SettingArgs {
    /// Read settings from FILE instead of ./fleuve.toml
    #[arg(long, value_name = "FILE", env = "FLEUVE_CONFIG")]
    pub config: Option<PathBuf>,
    /// Folder that holds everything [default: ./fleuve-data]
    #[arg(long, value_name = "DIR")]
    pub data: Option<String>,
    /// Where Kafka clients connect, or off [default: 127.0.0.1:9092]
    #[arg(long, value_name = "HOST:PORT")]
    pub kafka: Option<String>,
    /// Where PostgreSQL clients connect, or off [default: 127.0.0.1:5433]
    #[arg(long, value_name = "HOST:PORT")]
    pub postgres: Option<String>,
    /// The HTTP API and status page, or off [default: 127.0.0.1:8080]
    #[arg(long, value_name = "HOST:PORT")]
    pub http: Option<String>,
    /// The schema registry, or off [default: 127.0.0.1:8081]
    #[arg(long, value_name = "HOST:PORT")]
    pub registry: Option<String>,
    /// Let doors listen on other than loopback, although nobody has to log in yet
    #[arg(long)]
    pub insecure: bool,
    /// Any other setting; may be given more than once (`fleuve config` lists them)
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = pair)]
    pub set: Vec<(String, String)>,
}

#[derive(Args, Debug)]
#[command(
    args_override_self = true,
    after_help = "\
Examples:
  fleuve serve
  fleuve serve --data /var/lib/fleuve --http off
  fleuve serve --kafka 127.0.0.1:0                      any free port; see DIR/doors.json
  fleuve serve --set checkpoint_interval_ms=1000 --set 'memory_budget_bytes=4 GiB'

Ctrl-C or SIGTERM makes a checkpoint and stops."
)]
pub struct ServeArgs {
    #[command(flatten)]
    pub settings: SettingArgs,
}

#[derive(Args, Debug)]
#[command(
    args_override_self = true,
    after_help = "\
Examples:
  fleuve config
  fleuve config --format toml > fleuve.toml             a file to start from
  FLEUVE_HTTP=off fleuve config --format json"
)]
pub struct ConfigArgs {
    #[command(flatten)]
    pub settings: SettingArgs,
    /// How to print
    #[arg(long, value_enum, default_value = "text")]
    pub format: ConfigFormat,
}

/// Which server a command that speaks HTTP goes to.
#[derive(Args, Debug)]
pub struct ServerArgs {
    /// The server's HTTP address [default: that of the server in ./fleuve-data, else http://127.0.0.1:8080]
    #[arg(long, value_name = "URL", env = "FLEUVE_SERVER", value_parser = server_url)]
    pub server: Option<HostPort>,
}

/// Which server a command that speaks the Kafka protocol goes to.
#[derive(Args, Debug)]
pub struct BrokerArgs {
    /// The Kafka address [default: that of the server in ./fleuve-data, else 127.0.0.1:9092]
    #[arg(long, value_name = "HOST:PORT", env = "FLEUVE_KAFKA")]
    pub kafka: Option<HostPort>,
}

#[derive(Args, Debug)]
#[command(after_help = "\
The files *.sql of DIR and the folders in it (but DIR/tests, see `fleuve test`) are read in the order of their names. What they declare
is created or replaced; what is there already and the same is left alone. All of it happens, or none.

Examples:
  fleuve apply examples/access-log --dry-run
  fleuve apply examples/access-log")]
pub struct ApplyArgs {
    /// The project folder, or a single .sql file
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
    /// Say what would be done, and do nothing
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub server: ServerArgs,
}

/// How rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RowFormat {
    /// For reading
    Table,
    /// With a header line
    Csv,
    /// An array of objects, one row per line
    Json,
    /// An Arrow IPC stream of the last result
    Arrow,
}

/// How rows are written that come whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TextFormat {
    /// For reading
    Table,
    /// With a header line
    Csv,
    /// An array of objects, one row per line
    Json,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Without -c or -f and with a terminal, a prompt opens; \\? lists its commands. Otherwise standard input is read.

Examples:
  fleuve sql
  fleuve sql -c 'SELECT * FROM pages ORDER BY n DESC LIMIT 5'
  fleuve sql -f report.sql --format csv > report.csv
  fleuve sql -c 'SELECT * FROM pages' --format arrow > pages.arrows
  fleuve sql -c 'SUBSCRIBE TO pages' --format json       changes, one per line, until Ctrl-C")]
pub struct SqlArgs {
    /// Run this and stop
    #[arg(short, long, value_name = "SQL", conflicts_with = "file")]
    pub command: Option<String>,
    /// Run this file and stop; - is standard input
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// How rows are written
    #[arg(long, value_enum, default_value = "table")]
    pub format: RowFormat,
    #[command(flatten)]
    pub server: ServerArgs,
}

#[derive(Args, Debug)]
#[command(after_help = "\
On a terminal the rows are drawn in place, changed ones marked, until Ctrl-C; several views share the screen. Otherwise every change is
a line: its epoch, + or -, and the row.

Examples:
  fleuve watch pages
  fleuve watch pages top_talkers --sort n:desc --limit 10
  fleuve watch pages | head")]
pub struct WatchArgs {
    /// The views (or streams)
    #[arg(value_name = "VIEW", required = true)]
    pub views: Vec<String>,
    /// Order rows by this column, or VIEW.COLUMN for one of several views; append :desc for the largest first; may be given more than once
    #[arg(long, value_name = "COLUMN[:desc]", value_parser = sort_column)]
    pub sort: Vec<SortColumn>,
    /// Show at most so many rows of each view
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
    /// A line to show above the views; may be given more than once
    #[arg(long, value_name = "TEXT")]
    pub note: Vec<String>,
    /// How changes are written when there is no terminal
    #[arg(long, value_enum, default_value = "text")]
    pub format: ChangeFormat,
    /// Stop after so many seconds
    #[arg(long, value_name = "SECONDS")]
    pub seconds: Option<u64>,
    #[command(flatten)]
    pub server: ServerArgs,
}

/// `--sort`: `[VIEW.]COLUMN[:desc]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SortColumn {
    pub view: Option<String>,
    pub column: String,
    pub descending: bool,
}

/// How changes are written as lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ChangeFormat {
    /// Epoch, sign and row
    Text,
    /// An object per line
    Json,
}

#[derive(Args, Debug)]
#[command(
    args_override_self = true,
    after_help = "\
Examples:
  fleuve replay revenue --until orders/0@1234
  fleuve replay revenue --until '2026-05-01 08:00:00' --format csv
  fleuve replay totals --until orders/0@1234 --watch Ann     each change of Ann's row, and the record that made it
  fleuve replay sums --until orders/0@1234 --watch \"'Ann, Bob', 7\"

The server runs the view again in memory, over the log from its start, beside what it serves: up to the record that
is named, or all records not later than the time. Of other partitions it takes what is not later than that record.
The same log and point give the same answer."
)]
pub struct ReplayArgs {
    /// The view
    #[arg(value_name = "VIEW")]
    pub view: String,
    /// The last record to take in (stream/partition@offset), a time (of records, UTC), or now
    #[arg(long, value_name = "POINT")]
    pub until: String,
    /// The key of a row, with commas between the values of several columns: print each change of it. A text may stand
    /// in single quotes ('a, b'; 'it''s' with doubled ones), and has to where it holds a comma or is NULL
    #[arg(long, value_name = "KEY")]
    pub watch: Option<String>,
    /// How rows are written
    #[arg(long, value_enum, default_value = "table")]
    pub format: TextFormat,
    #[command(flatten)]
    pub server: ServerArgs,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Each view is compared, at one epoch, with the rows that its query gives when the batch engine runs it over the same inputs; one with
EMIT ON WINDOW CLOSE with a replay of its streams, as late rows are no part of it, and closed windows alone. Values of
type REAL and DOUBLE count as equal up to a part in 1e9 (their last digits depend on the order of the rows), all others only if they
are the same. Columns of approx_median and approx_percentile_cont, which estimate by the order of the rows, are named where they differ,
and are no failure. Exits with 1 if a view differs, has stopped or cannot be compared; the others are compared all the same.

Examples:
  fleuve verify
  fleuve verify hits_per_minute top_talkers")]
pub struct VerifyArgs {
    /// The views; all of them if none is named
    #[arg(value_name = "VIEW")]
    pub views: Vec<String>,
    /// How many differing rows to print of each view
    #[arg(long, value_name = "N", default_value = "5")]
    pub show: usize,
    #[command(flatten)]
    pub server: ServerArgs,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Runs files in the syntax of sqllogictest as DataFusion publishes them. Each file gets an empty server of its own in this process. \
CREATE TABLE makes a stream, and so does CREATE EXTERNAL TABLE of CSV files, with their rows. What files of other databases have and \
Fleuve has not is skipped, with the reason; the rest of the file is run.

With --postgres the files run on a running server. On Fleuve they run as without it, and what they make is dropped at \
the end of each; what was there before cannot be dropped. On a PostgreSQL server (known to onlyif and skipif as postgres) \
CREATE TABLE is left as it is, and each file has a schema of its own, which goes at the end; what it makes in others \
stays and is listed. What the address does not say comes from PGHOST, PGPORT, PGUSER, PGPASSWORD and PGDATABASE, else \
the user is fleuve and the database main.

Examples:
  fleuve slt --as-views tests/slt
  fleuve slt --data datafusion/datafusion/sqllogictest aggregate.slt
  fleuve slt --postgres 127.0.0.1:5433 case.slt
  fleuve slt --postgres postgres://ann:secret@127.0.0.1:5432/test case.slt
  fleuve slt --write case.slt                      put what queries give into the file, to be reviewed")]
pub struct SltArgs {
    /// The files, or folders with .slt files
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// Also run each query as a view made before the data and as one made after it
    #[arg(long)]
    pub as_views: bool,
    /// Run on the Fleuve or PostgreSQL server at HOST:PORT or postgres://USER:PASSWORD@HOST:PORT/DATABASE instead
    #[arg(long, value_name = "ADDRESS")]
    pub postgres: Option<String>,
    /// Folder that the paths in CREATE EXTERNAL TABLE begin at [default: the current one]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Run the commands of `system` records, with bash; else they are skipped
    #[arg(long)]
    pub allow_system: bool,
    /// Fail where an expected error is in words of DataFusion that cannot be compared; else any error will do there
    #[arg(long)]
    pub strict_errors: bool,
    /// Write the rows that queries give into the files
    #[arg(long, conflicts_with = "as_views")]
    pub write: bool,
    /// Exit with 1 if anything was skipped
    #[arg(long)]
    pub deny_skips: bool,
}

/// Compression of record batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Codec {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Each line of standard input (or of --file) becomes a record. Records are acknowledged only when they are on disk.

Examples:
  fleuve produce clicks < clicks.jsonl
  fleuve produce clicks --file access.log.gz --rate 400     400 records a second
  echo 'alice:{\"n\":1}' | fleuve produce orders --key-separator :
  echo '{\"n\":1}' | fleuve produce orders --key alice --header source=shell")]
pub struct ProduceArgs {
    /// The topic or stream
    #[arg(value_name = "TOPIC")]
    pub topic: String,
    /// Read lines from FILE instead of standard input; a name ending in .gz is unpacked
    #[arg(long, short, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// What stands between key and value in a line
    #[arg(long, value_name = "TEXT", conflicts_with = "key")]
    pub key_separator: Option<String>,
    /// The key of every record
    #[arg(long, value_name = "TEXT")]
    pub key: Option<String>,
    /// A header of every record; may be given more than once
    #[arg(long = "header", short = 'H', value_name = "NAME=VALUE", value_parser = pair)]
    pub headers: Vec<(String, String)>,
    /// Write to this partition instead of one chosen by the key, or in turn
    #[arg(long, short, value_name = "N")]
    pub partition: Option<i32>,
    /// Compress batches
    #[arg(long, value_enum, default_value = "none")]
    pub compression: Codec,
    /// At most so many records a second; 0 is no limit
    #[arg(long, value_name = "N")]
    pub rate: Option<u32>,
    /// Write no summary
    #[arg(long, short)]
    pub quiet: bool,
    #[command(flatten)]
    pub broker: BrokerArgs,
}

/// Where a consumer without a group begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    Beginning,
    End,
    Offset(i64),
}

/// How records are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RecordFormat {
    /// The value and a newline
    Raw,
    /// An object per line with everything about the record
    Json,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Without --follow it prints what is there and stops.

Examples:
  fleuve consume clicks -n 10
  fleuve consume clicks --from end --follow
  fleuve consume clicks --key --offset
  fleuve consume clicks --format json | jq .
  fleuve consume orders --group billing --follow         goes on where the group stopped, until Ctrl-C")]
pub struct ConsumeArgs {
    /// The topic or stream
    #[arg(value_name = "TOPIC")]
    pub topic: String,
    /// Where to start: beginning, end, or an offset
    #[arg(long, value_name = "WHERE", default_value = "beginning", value_parser = start)]
    pub from: Start,
    /// Stop after so many records
    #[arg(long, short = 'n', value_name = "N")]
    pub count: Option<u64>,
    /// Wait for more at the end
    #[arg(long, short = 'F')]
    pub follow: bool,
    /// Read as a member of this consumer group: its members share the partitions and go on where they stopped
    #[arg(long, short, value_name = "NAME", conflicts_with = "partition")]
    pub group: Option<String>,
    /// Only this partition
    #[arg(long, short, value_name = "N")]
    pub partition: Option<i32>,
    /// How records are written
    #[arg(long, value_enum, default_value = "raw")]
    pub format: RecordFormat,
    /// Print the key and a tab before the value
    #[arg(long)]
    pub key: bool,
    /// Print partition, offset and a tab before the value
    #[arg(long)]
    pub offset: bool,
    #[command(flatten)]
    pub broker: BrokerArgs,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  fleuve topics
  fleuve topics create clicks --partitions 8 --config retention.ms=604800000
  fleuve topics describe clicks
  fleuve topics delete clicks")]
pub struct TopicsArgs {
    #[command(subcommand)]
    pub action: Option<TopicsAction>,
    #[command(flatten)]
    pub broker: BrokerArgs,
}

#[derive(Debug, Subcommand)]
pub enum TopicsAction {
    /// List topics and how many records they hold (the default)
    List,
    /// Show partitions and settings of topics
    Describe {
        /// The topics
        #[arg(required = true)]
        topics: Vec<String>,
    },
    /// Create topics
    Create {
        /// The topics
        #[arg(required = true)]
        topics: Vec<String>,
        /// Number of partitions [default: the server's]
        #[arg(long, short)]
        partitions: Option<i32>,
        /// A setting of the topic (retention.ms, retention.bytes, …)
        #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
        config: Vec<(String, String)>,
    },
    /// Delete topics and all they hold
    Delete {
        /// The topics
        #[arg(required = true)]
        topics: Vec<String>,
    },
}

#[derive(Args, Debug)]
pub struct StatusArgs {
    /// Print the server's answer as JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub server: ServerArgs,
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.trim().to_string(), value.to_string())),
        _ => Err("NAME=VALUE is wanted".into()),
    }
}

fn server_url(text: &str) -> Result<HostPort, String> {
    if text.starts_with("https://") {
        return Err("the server speaks plain HTTP: write http://HOST:PORT".into());
    }
    let rest = text.strip_prefix("http://").unwrap_or(text).trim_end_matches('/');
    rest.parse().map_err(|_| "http://HOST:PORT is wanted, for example http://127.0.0.1:8080".into())
}

fn sort_column(text: &str) -> Result<SortColumn, String> {
    let (name, descending) = match text.rsplit_once(':') {
        Some((name, order)) if order.eq_ignore_ascii_case("desc") => (name, true),
        Some((name, order)) if order.eq_ignore_ascii_case("asc") => (name, false),
        Some(_) => return Err("after the colon, asc or desc is wanted".into()),
        None => (text, false),
    };
    let (view, column) = match name.rsplit_once('.') {
        Some((view, column)) => (Some(view.to_string()), column),
        None => (None, name),
    };
    match column.is_empty() {
        true => Err("a column's name is wanted".into()),
        false => Ok(SortColumn { view, column: column.to_string(), descending }),
    }
}

fn start(text: &str) -> Result<Start, String> {
    match text {
        "beginning" | "start" | "earliest" => Ok(Start::Beginning),
        "end" | "latest" => Ok(Start::End),
        offset => match offset.parse() {
            Ok(offset) if offset >= 0 => Ok(Start::Offset(offset)),
            _ => Err("beginning, end or an offset is wanted".into()),
        },
    }
}
