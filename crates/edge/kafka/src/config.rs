//! The settings of topics and of the broker, as Kafka's tools know them.
//!
//! Every name that Kafka has for a topic is taken, so that existing scripts work; [`Setting::effect`] says what it does here.
//! A value that would promise what Fleuve does not do (compaction) is refused.

use std::collections::BTreeMap;

use fleuve_log::{TimestampType, TopicConfig, limits};
use fleuve_types::{Error, ErrorKind, Result};

/// The protocol's number for a value's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i8)]
pub enum ValueType {
    /// `true` or `false`.
    Boolean = 1,
    /// Text.
    String = 2,
    /// A 32-bit number.
    Int = 3,
    /// A 64-bit number.
    Long = 5,
    /// A fraction.
    Double = 6,
    /// Words with commas between.
    List = 7,
}

/// A topic setting.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Kafka's name.
    pub name: &'static str,
    /// What values it takes.
    pub value_type: ValueType,
    /// The value when none was given.
    pub default: &'static str,
    /// What it does here.
    pub effect: &'static str,
}

const NOTHING: &str = "Taken and shown, without effect: Fleuve decides this itself.";

const fn setting(name: &'static str, value_type: ValueType, default: &'static str, effect: &'static str) -> Setting {
    Setting { name, value_type, default, effect }
}

/// Every topic setting, by name.
pub static TOPIC_SETTINGS: &[Setting] = &[
    setting("cleanup.policy", ValueType::List, "delete", "Only 'delete' is offered yet."),
    setting("compression.type", ValueType::String, "producer", "Batches stay as the producer compressed them."),
    setting("delete.retention.ms", ValueType::Long, "86400000", NOTHING),
    setting("file.delete.delay.ms", ValueType::Long, "60000", NOTHING),
    setting("flush.messages", ValueType::Long, "9223372036854775807", "Every acknowledged batch is on disk already."),
    setting("flush.ms", ValueType::Long, "9223372036854775807", "Every acknowledged batch is on disk already."),
    setting("follower.replication.throttled.replicas", ValueType::List, "", NOTHING),
    setting("index.interval.bytes", ValueType::Int, "4096", NOTHING),
    setting("leader.replication.throttled.replicas", ValueType::List, "", NOTHING),
    setting("local.retention.bytes", ValueType::Long, "-2", NOTHING),
    setting("local.retention.ms", ValueType::Long, "-2", NOTHING),
    setting("max.compaction.lag.ms", ValueType::Long, "9223372036854775807", NOTHING),
    setting("max.message.bytes", ValueType::Int, "1048588", "The largest batch, with its header."),
    setting("message.format.version", ValueType::String, "3.0-IV1", NOTHING),
    setting("message.timestamp.after.max.ms", ValueType::Long, "9223372036854775807", NOTHING),
    setting("message.timestamp.before.max.ms", ValueType::Long, "9223372036854775807", NOTHING),
    setting("message.timestamp.type", ValueType::String, "CreateTime", "Who gives records their timestamp."),
    setting("min.cleanable.dirty.ratio", ValueType::Double, "0.5", NOTHING),
    setting("min.compaction.lag.ms", ValueType::Long, "0", NOTHING),
    setting("min.insync.replicas", ValueType::Int, "1", "There is one replica, which is always in sync."),
    setting("preallocate", ValueType::Boolean, "false", NOTHING),
    setting("remote.storage.enable", ValueType::Boolean, "false", NOTHING),
    setting("retention.bytes", ValueType::Long, "-1", "Bytes of each partition that stay; -1 for all."),
    setting("retention.ms", ValueType::Long, "-1", "How long records stay after they were appended; -1 for ever."),
    setting("segment.bytes", ValueType::Int, "67108864", NOTHING),
    setting("segment.index.bytes", ValueType::Int, "10485760", NOTHING),
    setting("segment.jitter.ms", ValueType::Long, "0", NOTHING),
    setting("segment.ms", ValueType::Long, "604800000", NOTHING),
    setting("unclean.leader.election.enable", ValueType::Boolean, "false", NOTHING),
];

/// The topic setting of that name.
pub fn topic_setting(name: &str) -> Option<&'static Setting> {
    TOPIC_SETTINGS.iter().find(|s| s.name == name)
}

fn wrong(name: &str, value: &str, wanted: &str) -> Error {
    Error::input(format!("the setting {name} cannot be '{value}'")).hint(wanted.to_string())
}

/// Says whether a topic can be given this setting.
///
/// # Errors
/// `Input` for an unknown name or a value that it cannot have, `Unsupported` for one that is not offered yet.
pub fn check_topic_setting(name: &str, value: &str) -> Result<()> {
    let Some(setting) = topic_setting(name) else {
        return Err(Error::input(format!("there is no topic setting '{name}'")));
    };
    let typed = match setting.value_type {
        ValueType::Boolean => value.parse::<bool>().is_ok(),
        ValueType::Int => value.parse::<i32>().is_ok(),
        ValueType::Long => value.parse::<i64>().is_ok(),
        ValueType::Double => value.parse::<f64>().is_ok_and(f64::is_finite),
        ValueType::String | ValueType::List => value.len() <= 4096,
    };
    if !typed {
        return Err(wrong(name, value, &format!("it takes a {:?}", setting.value_type)));
    }
    match name {
        "cleanup.policy" if value != "delete" => {
            Err(Error::new(ErrorKind::Unsupported, format!("cleanup.policy '{value}' is not offered yet"))
                .hint("use 'delete'"))
        }
        "message.timestamp.type" if !matches!(value, "CreateTime" | "LogAppendTime") => {
            Err(wrong(name, value, "it is CreateTime or LogAppendTime"))
        }
        "compression.type" if !matches!(value, "producer" | "uncompressed" | "gzip" | "snappy" | "lz4" | "zstd") => {
            Err(wrong(name, value, "it is producer, uncompressed, gzip, snappy, lz4 or zstd"))
        }
        "retention.ms" | "retention.bytes" if value.parse::<i64>().is_ok_and(|v| v < -1) => {
            Err(wrong(name, value, "it is -1 or more"))
        }
        "max.message.bytes" if value.parse::<i32>().is_ok_and(|v| v < 0) => Err(wrong(name, value, "it is 0 or more")),
        "min.insync.replicas" if value.parse::<i32>().is_ok_and(|v| !(1..=3).contains(&v)) => {
            Err(wrong(name, value, "there is one replica"))
        }
        "remote.storage.enable" if value == "true" => {
            Err(Error::unsupported("tiered storage is not offered").hint("leave out remote.storage.enable"))
        }
        _ => Ok(()),
    }
}

/// What the log has to be told for these settings.
///
/// # Errors
/// As [`check_topic_setting`].
pub fn topic_config(configs: &BTreeMap<String, String>) -> Result<TopicConfig> {
    let mut config = TopicConfig::default();
    for (name, value) in configs {
        check_topic_setting(name, value)?;
        let number = || value.parse::<i64>().ok().filter(|v| *v >= 0);
        match name.as_str() {
            "retention.ms" => config.retention_ms = number(),
            "retention.bytes" => config.retention_bytes = number(),
            "max.message.bytes" => {
                let asked = number().and_then(|v| usize::try_from(v).ok()).unwrap_or(limits::MESSAGE_BYTES);
                config.max_message_bytes = asked.min(limits::BATCH_BYTES);
            }
            "message.timestamp.type" if value == "LogAppendTime" => {
                config.timestamp_type = TimestampType::LogAppendTime;
            }
            _ => {}
        }
    }
    Ok(config)
}
