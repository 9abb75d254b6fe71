use std::collections::BTreeMap;
use std::path::PathBuf;

use super::machine::{default_memory_budget_bytes, default_shards};
use super::values::{self, Door, HostPort};
use super::{Setting, values::Problem};

/// Declares the settings once: the struct's field, its way from text, and its line of the table.
macro_rules! settings {
    ($($group:literal { $(
        $key:ident: $type:ty, $parse:path, $unit:literal, $default:expr $(, $words:literal)? => $meaning:literal;
    )* })*) => {
        /// The server's settings, each with a value.
        #[derive(Clone, Debug)]
        pub struct Config {
            $($(#[doc = $meaning] pub $key: $type,)*)*
        }

        /// Every setting there is, in the order of the documentation.
        pub const SETTINGS: &[Setting] = &[$($(Setting {
            key: stringify!($key),
            group: $group,
            unit: $unit,
            meaning: $meaning,
            default_words: settings!(@words $($words)?),
            default: || $default.to_string(),
        },)*)*];

        impl Config {
            /// The settings from a text for each key. Gives the first key whose text is wrong, and why.
            pub(super) fn from_texts(texts: &BTreeMap<&'static str, String>) -> Result<Config, (&'static str, Problem)> {
                Ok(Config {
                    $($($key: {
                        let text = texts.get(stringify!($key)).map_or("", String::as_str);
                        $parse(text).map_err(|problem| (stringify!($key), problem))?
                    },)*)*
                })
            }
        }
    };
    (@words $words:literal) => { Some($words) };
    (@words) => { None };
}

settings! {
    "Where" {
        data: PathBuf, values::folder, "folder", "./fleuve-data"
            => "Holds everything the server keeps. Made when it does not exist. One server at a time.";
        kafka: Door, values::door, "HOST:PORT or off", "127.0.0.1:9092"
            => "Where Kafka clients connect. Port 0 takes any free one.";
        postgres: Door, values::door, "HOST:PORT or off", "127.0.0.1:5433"
            => "Where PostgreSQL clients connect.";
        http: Door, values::door, "HOST:PORT or off", "127.0.0.1:8080"
            => "The HTTP API, the status page and the metrics.";
        registry: Door, values::door, "HOST:PORT or off", "127.0.0.1:8081"
            => "The schema registry.";
        kafka_advertised: Option<HostPort>, values::optional_host_port, "HOST:PORT or off", "off", "the address of `kafka`"
            => "The address that Kafka clients are told to use, when it differs from the one the server listens on (containers, tunnels).";
        insecure: bool, values::flag, "true or false", "false"
            => "Lets a door listen on other than loopback, although nobody has to log in yet.";
    }
    "Streams" {
        auto_create_topics: bool, values::flag, "true or false", "true"
            => "Makes a topic when a Kafka client first names it.";
        default_partitions: u32, values::count32, "partitions", "1"
            => "Partitions of a topic or stream that does not say.";
        retention_ms: Option<u64>, values::optional_millis, "ms or off", "off"
            => "Records older than this may go, for topics and streams that do not say; off keeps them for ever.";
        retention_bytes: Option<u64>, values::optional_bytes, "bytes or off", "off"
            => "A partition larger than this loses its oldest segments, for topics and streams that do not say.";
        retention_check_ms: u64, values::millis, "ms", "60000"
            => "How often retention looks for segments that may go.";
        wal_bytes: u64, values::bytes, "bytes", "134217728"
            => "Size at which a file of the write-ahead log is closed and the next one begun.";
        segment_bytes: u64, values::bytes, "bytes", "268435456"
            => "Size at which a partition's segment is closed and the next one begun.";
        message_max_bytes: u64, values::bytes, "bytes", "8388608"
            => "The largest record batch that a topic may allow; a topic's own limit is max.message.bytes, 1 MiB unless it is set.";
    }
    "Views" {
        memory_budget_bytes: u64, values::bytes, "bytes", default_memory_budget_bytes(), "half of the machine's memory"
            => "The memory that all views may take together, at least 16 MiB: their state and what is on its way to them. On Linux what else the process takes while it works counts, too, up to half of it. State that does not fit goes to disk, the coldest first; if what cannot go is more, the largest view stops.";
        view_memory_bytes: Option<u64>, values::optional_bytes, "bytes or off", "off", "memory_budget_bytes"
            => "The memory that the state of one view may take before some of it goes to disk; if what cannot go is more, that view stops alone and says so.";
        view_state_bytes: Option<u64>, values::optional_bytes, "bytes or off", "off"
            => "What the state of one view may take in memory and on disk together; a view that needs more stops alone and says so.";
        shards: usize, values::count, "threads", default_shards(), "the number of cores"
            => "Threads over which a view's work is spread.";
        epoch_max_bytes: u64, values::bytes, "bytes", "16777216"
            => "The most input that one epoch takes in from the log; never more than a 64th of memory_budget_bytes.";
        checkpoint_interval_ms: u64, values::millis, "ms", "5000"
            => "Time between checkpoints while something changes. A restart repeats at most this much work.";
    }
    "Limits" {
        max_connections: usize, values::count, "connections", "1024"
            => "Connections that each door keeps open at once.";
        request_max_bytes: u64, values::bytes, "bytes", "104857600"
            => "The largest request of a Kafka client.";
        fetch_max_bytes: u64, values::bytes, "bytes", "57671680"
            => "The most that one answer to a Kafka consumer carries.";
    }
    "Running" {
        log_level: String, values::log_level, "level or filter", "info"
            => "What is written to standard error: error, warn, info, debug, trace, or a filter such as info,fleuve_log=debug.";
        stop_timeout_ms: u64, values::millis, "ms", "8000"
            => "How long a stop waits for open requests and the last checkpoint.";
    }
}
