//! The options of `WITH (...)`: one table, from which statements are checked and the reference is made.

use std::collections::BTreeMap;

use fleuve_types::{Error, Result};

use crate::parse::{OptionEntry, OptionValue, Options, duration_us, size_bytes};
use crate::suggest::nearest;

/// The statements that take options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OptionOf {
    /// `CREATE STREAM`
    Stream,
    /// `CREATE SOURCE`
    Source,
    /// `CREATE SINK`
    Sink,
    /// `CREATE MATERIALIZED VIEW`
    View,
}

impl OptionOf {
    /// The word for messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stream => "stream",
            Self::Source => "source",
            Self::Sink => "sink",
            Self::View => "view",
        }
    }
}

/// What the value of an option is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OptionType {
    /// Any text.
    Text,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// A whole number from the first to the second.
    Integer(i64, i64),
    /// `true` or `false`
    Boolean,
    /// `'7 days'`, `'24h'`
    Duration,
    /// `'1 GB'`, or a number of bytes
    Size,
    /// Exactly one character.
    Character,
}

/// One option.
#[derive(Clone, Copy, Debug)]
pub struct OptionSpec {
    /// The statement it belongs to.
    pub of: OptionOf,
    /// Only with this value of the statement's `format` or `connector`; `*` is every format's own business, `None` the
    /// statement's.
    pub only: Option<&'static str>,
    /// Its name.
    pub key: &'static str,
    /// Its type.
    pub kind: OptionType,
    /// What holds when it is not given, for people.
    pub default: &'static str,
    /// The unit of a bare number; empty if there is none.
    pub unit: &'static str,
    /// What it does, in one sentence.
    pub meaning: &'static str,
}

/// The formats of streams.
pub const STREAM_FORMATS: &[&str] = &["json", "avro", "csv", "combined_log", "text", "raw"];
/// The connectors of sources.
pub const CONNECTORS: &[&str] = &["file"];

/// Handed to the decoder, whatever the format.
const ANY_FORMAT: Option<&str> = Some("*");

const fn stream(
    key: &'static str,
    kind: OptionType,
    default: &'static str,
    unit: &'static str,
    meaning: &'static str,
) -> OptionSpec {
    OptionSpec { of: OptionOf::Stream, only: None, key, kind, default, unit, meaning }
}

const fn csv(key: &'static str, kind: OptionType, default: &'static str, meaning: &'static str) -> OptionSpec {
    OptionSpec { of: OptionOf::Stream, only: Some("csv"), key, kind, default, unit: "", meaning }
}

const fn file(key: &'static str, kind: OptionType, default: &'static str, meaning: &'static str) -> OptionSpec {
    OptionSpec { of: OptionOf::Source, only: Some("file"), key, kind, default, unit: "", meaning }
}

const fn sink(key: &'static str, kind: OptionType, default: &'static str, meaning: &'static str) -> OptionSpec {
    OptionSpec { of: OptionOf::Sink, only: None, key, kind, default, unit: "", meaning }
}

const fn view(key: &'static str, default: &'static str, meaning: &'static str) -> OptionSpec {
    OptionSpec { of: OptionOf::View, only: None, key, kind: OptionType::Size, default, unit: "bytes", meaning }
}

/// All options.
pub const OPTIONS: &[OptionSpec] = &[
    stream("format", OptionType::OneOf(STREAM_FORMATS), "json", "", "How the bytes of a record become a row."),
    stream("partitions", OptionType::Integer(1, 1024), "1", "", "Number of partitions; it can grow later, not shrink."),
    stream("retention", OptionType::Duration, "for ever", "", "Records older than this may be removed."),
    stream(
        "retention_bytes",
        OptionType::Size,
        "no limit",
        "bytes",
        "A partition larger than this loses its oldest records.",
    ),
    stream(
        "idle_timeout",
        OptionType::Duration,
        "30 seconds",
        "",
        "A partition without records for this long does not hold the watermark back.",
    ),
    stream(
        "late",
        OptionType::OneOf(&["ignore", "dead_letter"]),
        "ignore",
        "",
        "dead_letter: rows behind the watermark also go to the dead-letter stream.",
    ),
    OptionSpec {
        of: OptionOf::Stream,
        only: ANY_FORMAT,
        key: "max_record_bytes",
        kind: OptionType::Integer(1, 268_435_456),
        default: "1048576",
        unit: "bytes",
        meaning: "A record with a longer value is a dead letter.",
    },
    csv("delimiter", OptionType::Character, ",", "The character between two fields."),
    csv("quote", OptionType::Text, "\"", "The character around a field that holds a delimiter; 'none' for none."),
    csv("header", OptionType::Boolean, "false", "Whether a record's first line names the columns and is left out."),
    csv("null", OptionType::Text, "the empty field", "The text that stands for NULL."),
    OptionSpec {
        of: OptionOf::Source,
        only: None,
        key: "connector",
        kind: OptionType::OneOf(CONNECTORS),
        default: "none, it must be given",
        unit: "",
        meaning: "What the source reads from.",
    },
    file(
        "path",
        OptionType::Text,
        "none, it must be given",
        "A file or a pattern such as 'logs/*.gz'; gzip is recognised.",
    ),
    file(
        "follow",
        OptionType::Boolean,
        "false",
        "Whether to wait for more when the end is reached, and for new files.",
    ),
    sink("format", OptionType::OneOf(&["json", "avro"]), "json", "How a row becomes the value of a record."),
    sink(
        "mode",
        OptionType::OneOf(&["upsert", "changes"]),
        "upsert if the view has a key, else changes",
        "upsert: the new row by key, a tombstone when it is gone; changes: every change with its sign and epoch.",
    ),
    sink("key", OptionType::Text, "the view's key", "The key columns for mode upsert, with commas: 'a,b'."),
    view(
        "memory_bytes",
        "setting view_memory_bytes",
        "What the view's state may take in memory: what is beyond goes to disk, and if it cannot the view stops.",
    ),
    view(
        "state_bytes",
        "setting view_state_bytes",
        "What the view's state may take in memory and on disk together: a view that needs more stops.",
    ),
];

/// Options that were checked: every key is known, every value has its type.
#[derive(Clone, Debug, Default)]
pub(crate) struct Checked {
    of_statement: BTreeMap<String, OptionEntry>,
    /// Those that belong to the format or connector, as text.
    pub(crate) specific: BTreeMap<String, String>,
}

impl Checked {
    pub(crate) fn entry(&self, key: &str) -> Option<&OptionEntry> {
        self.of_statement.get(key)
    }

    pub(crate) fn text(&self, key: &str) -> Option<String> {
        self.entry(key).map(|o| o.value.text())
    }

    pub(crate) fn integer(&self, key: &str) -> Option<i64> {
        self.text(key).and_then(|t| t.parse().ok())
    }

    pub(crate) fn duration_us(&self, key: &str) -> Option<i64> {
        self.text(key).and_then(|t| duration_us(&t))
    }

    pub(crate) fn size_bytes(&self, key: &str) -> Option<i64> {
        self.text(key).and_then(|t| size_bytes(&t))
    }
}

/// Checks the options of a statement whose `format` or `connector` is `variant`.
///
/// # Errors
/// An unknown key (naming the near one), one that belongs to another format, a value of the wrong type.
pub(crate) fn check(of: OptionOf, variant: Option<&str>, options: &Options) -> Result<Checked> {
    let mut out = Checked::default();
    for option in options {
        let fitting = OPTIONS.iter().find(|s| s.of == of && s.key == option.key && fits(s, variant));
        let Some(spec) = fitting else { return Err(unknown(of, variant, option)) };
        check_value(spec, option)?;
        if spec.only.is_some() {
            out.specific.insert(option.key.clone(), option.value.text());
        } else {
            out.of_statement.insert(option.key.clone(), option.clone());
        }
    }
    Ok(out)
}

fn fits(spec: &OptionSpec, variant: Option<&str>) -> bool {
    spec.only.is_none() || spec.only == ANY_FORMAT || spec.only == variant
}

fn unknown(of: OptionOf, variant: Option<&str>, option: &OptionEntry) -> Error {
    let key = option.key.escape_debug();
    if let Some(other) = OPTIONS.iter().find(|s| s.of == of && s.key == option.key) {
        let kind = if of == OptionOf::Source { "connector" } else { "format" };
        return Error::input(format!("option \"{key}\" belongs to {kind} {}", other.only.unwrap_or_default()))
            .at(option.at.clone());
    }
    let known: Vec<&str> = OPTIONS.iter().filter(|s| s.of == of && fits(s, variant)).map(|s| s.key).collect();
    let error = Error::input(format!("a {} has no option \"{key}\"", of.as_str())).at(option.at.clone());
    match nearest(&option.key, known.iter().copied()) {
        Some(near) => error.hint(format!("did you mean \"{near}\"?")),
        None => error.hint(format!("its options are {}", known.join(", "))),
    }
}

fn check_value(spec: &OptionSpec, option: &OptionEntry) -> Result<()> {
    let text = option.value.text();
    let wanted = match spec.kind {
        OptionType::Text => return Ok(()),
        OptionType::Boolean if matches!(text.to_ascii_lowercase().as_str(), "true" | "false") => return Ok(()),
        OptionType::Boolean => "true or false".to_string(),
        OptionType::Integer(min, max) => match text.parse::<i64>() {
            Ok(n) if (min..=max).contains(&n) => return Ok(()),
            _ => format!("a whole number from {min} to {max}"),
        },
        OptionType::Duration => match (&option.value, duration_us(&text)) {
            (OptionValue::Text(_), Some(us)) if us > 0 => return Ok(()),
            _ => "a duration such as '7 days' or '24h'".to_string(),
        },
        OptionType::Size => match size_bytes(&text) {
            Some(bytes) if bytes > 0 => return Ok(()),
            _ => "a size such as '1 GB'".to_string(),
        },
        OptionType::Character => match text.as_str() {
            "\\t" | "tab" => return Ok(()),
            one if one.len() == 1 => return Ok(()),
            _ => "one ASCII character".to_string(),
        },
        OptionType::OneOf(words) => {
            if words.contains(&text.as_str()) {
                return Ok(());
            }
            let error =
                Error::input(format!("\"{}\" is not a {}", text.escape_debug(), spec.key)).at(option.at.clone());
            return Err(match nearest(&text, words.iter().copied()) {
                Some(near) => error.hint(format!("did you mean '{near}'?")),
                None => error.hint(format!("it is one of {}", words.join(", "))),
            });
        }
    };
    Err(Error::input(format!("option \"{}\" is {wanted}, not {}", spec.key, option.value)).at(option.at.clone()))
}
