//! A session's PostgreSQL settings. Derived from the connection; gone with it.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use crate::error::{PgError, PgResult, code};
use crate::sql::SetValue;

/// What this server calls itself where PostgreSQL gives its version.
pub(crate) const SERVER_VERSION: &str = "16.6";

/// The largest value of a setting, in bytes, and the most settings of a client's own (`a.b`).
const MAX_VALUE_BYTES: usize = 10_000;
const MAX_OWN_SETTINGS: usize = 100;

/// How a setting answers `SET`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    /// Any value; it is remembered and has no effect here.
    Free,
    /// Cannot be changed.
    Fixed,
    /// Only values that mean the one way things are done here (compared without case, up to the first comma).
    Only(&'static [&'static str]),
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// Milliseconds, or a number with `ms`, `s`, `min`, `h`.
    Duration,
}

struct Known {
    name: &'static str,
    /// As `SHOW ALL` and `ParameterStatus` spell it.
    display: &'static str,
    default: &'static str,
    rule: Rule,
    /// Told to the client at the start and whenever it changes.
    reported: bool,
}

const fn known(name: &'static str, default: &'static str, rule: Rule) -> Known {
    Known { name, display: name, default, rule, reported: false }
}

const fn reported(name: &'static str, display: &'static str, default: &'static str, rule: Rule) -> Known {
    Known { name, display, default, rule, reported: true }
}

/// What `now()` is in queries: the platform's own setting.
pub(crate) const QUERY_TIME: &str = "query_time";

const UTC: Rule =
    Rule::Only(&["utc", "etc/utc", "gmt", "z", "zulu", "universal", "0", "+00", "+00:00", "00:00", "default", "local"]);

/// Settings that drivers and tools ask for. PostgreSQL has 350; a name that is not here is refused as PostgreSQL does.
const KNOWN: &[Known] = &[
    reported("application_name", "application_name", "", Rule::Free),
    reported("client_encoding", "client_encoding", "UTF8", Rule::Only(&["utf8", "utf-8", "unicode", "sql_ascii"])),
    reported("datestyle", "DateStyle", "ISO, MDY", Rule::Only(&["iso"])),
    reported("default_transaction_read_only", "default_transaction_read_only", "off", Rule::Free),
    reported("in_hot_standby", "in_hot_standby", "off", Rule::Fixed),
    reported("integer_datetimes", "integer_datetimes", "on", Rule::Fixed),
    reported("intervalstyle", "IntervalStyle", "postgres", Rule::Only(&["postgres"])),
    reported("is_superuser", "is_superuser", "on", Rule::Fixed),
    reported("server_encoding", "server_encoding", "UTF8", Rule::Fixed),
    reported("server_version", "server_version", SERVER_VERSION, Rule::Fixed),
    reported("session_authorization", "session_authorization", "", Rule::Free),
    reported(
        "standard_conforming_strings",
        "standard_conforming_strings",
        "on",
        Rule::Only(&["on", "true", "1", "yes"]),
    ),
    reported("timezone", "TimeZone", "UTC", UTC),
    known("backslash_quote", "safe_encoding", Rule::Free),
    known("bytea_output", "hex", Rule::Only(&["hex"])),
    known("check_function_bodies", "on", Rule::Free),
    known("client_min_messages", "notice", Rule::Free),
    known("cursor_tuple_fraction", "0.1", Rule::Free),
    known("default_transaction_deferrable", "off", Rule::Free),
    known("default_transaction_isolation", "read committed", Rule::Free),
    known("default_table_access_method", "heap", Rule::Free),
    known("default_tablespace", "", Rule::Free),
    known("enable_hashjoin", "on", Rule::Free),
    known("enable_mergejoin", "on", Rule::Free),
    known("enable_nestloop", "on", Rule::Free),
    known("enable_seqscan", "on", Rule::Free),
    known("extra_float_digits", "1", Rule::Free),
    known("geqo", "on", Rule::Free),
    known("idle_in_transaction_session_timeout", "0", Rule::Free),
    known("idle_session_timeout", "0", Rule::Free),
    known("jit", "off", Rule::Free),
    known("lc_collate", "C", Rule::Fixed),
    known("lc_ctype", "C.UTF-8", Rule::Fixed),
    known("lc_messages", "C", Rule::Free),
    known("lc_monetary", "C", Rule::Free),
    known("lc_numeric", "C", Rule::Free),
    known("lc_time", "C", Rule::Free),
    known("lock_timeout", "0", Rule::Free),
    known("max_identifier_length", "63", Rule::Fixed),
    known("max_index_keys", "32", Rule::Fixed),
    known("max_connections", "100", Rule::Fixed),
    known("password_encryption", "scram-sha-256", Rule::Free),
    known("plan_cache_mode", "auto", Rule::Free),
    known(QUERY_TIME, "clock", Rule::OneOf(&["clock", "epoch"])),
    known("quote_all_identifiers", "off", Rule::Free),
    known("role", "none", Rule::Free),
    known("row_security", "on", Rule::Free),
    known("search_path", "\"$user\", public", Rule::Free),
    known("server_version_num", "160006", Rule::Fixed),
    known("ssl", "off", Rule::Fixed),
    known("statement_timeout", "0", Rule::Duration),
    known("synchronize_seqscans", "on", Rule::Free),
    known("synchronous_commit", "on", Rule::Free),
    known("transaction_deferrable", "off", Rule::Free),
    known("transaction_isolation", "read committed", Rule::Free),
    known("transaction_read_only", "off", Rule::Free),
    known("work_mem", "4MB", Rule::Free),
    known("xmloption", "content", Rule::Free),
];

fn find(name: &str) -> Option<&'static Known> {
    KNOWN.iter().find(|k| k.name.eq_ignore_ascii_case(name))
}

/// What a change did, for the connection to tell the client.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct SetDone {
    /// `(name, value)` to report with `ParameterStatus`.
    pub(crate) report: Option<(String, String)>,
    /// Why nothing changed although the client asked.
    pub(crate) warning: Option<PgError>,
}

type Values = BTreeMap<String, String>;

/// The values, those a transaction would bring back, and those that hold only until its end.
#[derive(Debug, Default)]
struct State {
    /// What the start-up packet said; `RESET` brings these back.
    start: Values,
    now: Values,
    /// As they were at `BEGIN`.
    at_begin: Option<Values>,
    /// As they were before `SET LOCAL`.
    before_local: Values,
}

/// The settings of one session, shared with the functions `current_setting` and `set_config`.
#[derive(Debug, Default)]
pub(crate) struct Settings {
    state: Mutex<State>,
}

impl Settings {
    /// Takes what a start-up packet asked for. Values that cannot be are left at their default, as a refusal would keep
    /// harmless clients out.
    pub(crate) fn new(user: &str, asked: &[(String, String)]) -> Self {
        let settings = Self::default();
        let _ = settings.set("session_authorization", &SetValue::To(user.to_string()), false);
        for (name, value) in asked {
            let _ = settings.set(name, &SetValue::To(value.clone()), false);
        }
        {
            let mut state = settings.state.lock();
            state.start = state.now.clone();
        }
        settings
    }

    /// True for a name that `SHOW` answers here.
    pub(crate) fn knows(&self, name: &str) -> bool {
        find(name).is_some() || self.state.lock().now.contains_key(&name.to_ascii_lowercase())
    }

    pub(crate) fn get(&self, name: &str) -> Option<String> {
        let set = self.state.lock().now.get(&name.to_ascii_lowercase()).cloned();
        set.or_else(|| find(name).map(|k| k.default.to_string()))
    }

    /// All settings, for `SHOW ALL`.
    pub(crate) fn all(&self) -> Vec<(String, String)> {
        let mut all: Vec<(String, String)> =
            KNOWN.iter().map(|k| (k.display.to_string(), self.get(k.name).unwrap_or_default())).collect();
        let state = self.state.lock();
        all.extend(state.now.iter().filter(|(n, _)| find(n).is_none()).map(|(n, v)| (n.clone(), v.clone())));
        all.sort_by_key(|(name, _)| name.to_ascii_lowercase());
        all
    }

    /// What the client is told at the start.
    pub(crate) fn reported(&self) -> Vec<(&'static str, String)> {
        KNOWN.iter().filter(|k| k.reported).map(|k| (k.display, self.get(k.name).unwrap_or_default())).collect()
    }

    /// `statement_timeout` in milliseconds, 0 for none.
    pub(crate) fn statement_timeout_ms(&self) -> u64 {
        self.get("statement_timeout").and_then(|v| duration_ms(&v)).unwrap_or(0)
    }

    /// Changes a setting. `local` brings it back at the end of the transaction.
    pub(crate) fn set(&self, name: &str, value: &SetValue, local: bool) -> PgResult<SetDone> {
        let key = name.to_ascii_lowercase();
        let known = find(&key);
        if known.is_none() && !key.contains('.') {
            let message = format!("unrecognized configuration parameter \"{name}\"");
            return Err(PgError::error(code::UNDEFINED_OBJECT, message));
        }
        let value = match value {
            SetValue::Default => self.state.lock().start.get(&key).cloned().or(known.map(|k| k.default.to_string())),
            SetValue::To(v) => Some(v.clone()),
        };
        let value = value.unwrap_or_default();
        if value.len() > MAX_VALUE_BYTES {
            return Err(PgError::error(code::INVALID_PARAMETER_VALUE, format!("the value of \"{name}\" is too long")));
        }
        let value = match known {
            Some(known) => match check(known, &value)? {
                Checked::Keep(value) => value,
                Checked::Warn(warning) => return Ok(SetDone { report: None, warning: Some(warning) }),
            },
            None => value,
        };
        let mut state = self.state.lock();
        if known.is_none() && !state.now.contains_key(&key) && state.now.len() > MAX_OWN_SETTINGS {
            let message = format!("a session keeps at most {MAX_OWN_SETTINGS} settings of its own");
            return Err(PgError::error(code::CONFIGURATION_LIMIT, message));
        }
        if local {
            if state.at_begin.is_none() {
                let warning =
                    PgError::warning(code::NO_ACTIVE_TRANSACTION, "SET LOCAL can only be used in transaction blocks");
                return Ok(SetDone { report: None, warning: Some(warning) });
            }
            let before = state.now.get(&key).cloned().unwrap_or_else(|| known.map_or("", |k| k.default).to_string());
            state.before_local.entry(key.clone()).or_insert(before);
        } else {
            state.before_local.remove(&key);
        }
        state.now.insert(key, value.clone());
        let report = known.filter(|k| k.reported).map(|k| (k.display.to_string(), value));
        Ok(SetDone { report, warning: None })
    }

    /// Brings all settings back to what the session started with. Gives what to report.
    pub(crate) fn reset_all(&self) -> Vec<(&'static str, String)> {
        let mut state = self.state.lock();
        state.now = state.start.clone();
        state.before_local.clear();
        drop(state);
        self.reported()
    }

    pub(crate) fn begin(&self) {
        let mut state = self.state.lock();
        state.at_begin = Some(state.now.clone());
        state.before_local.clear();
    }

    /// Ends a transaction: a commit undoes `SET LOCAL`, a rollback every `SET` in it. Gives what to report.
    pub(crate) fn end(&self, commit: bool) -> Vec<(&'static str, String)> {
        let mut state = self.state.lock();
        let Some(at_begin) = state.at_begin.take() else { return Vec::new() };
        let before = state.now.clone();
        if commit {
            let local = std::mem::take(&mut state.before_local);
            state.now.extend(local);
        } else {
            state.before_local.clear();
            state.now = at_begin;
        }
        let changed = before != state.now;
        drop(state);
        if changed { self.reported() } else { Vec::new() }
    }
}

enum Checked {
    Keep(String),
    Warn(PgError),
}

fn check(known: &Known, value: &str) -> PgResult<Checked> {
    let name = known.display;
    match known.rule {
        Rule::Free => Ok(Checked::Keep(value.to_string())),
        Rule::Fixed if value == known.default => Ok(Checked::Keep(value.to_string())),
        Rule::Fixed => {
            // CANT_CHANGE_RUNTIME_PARAM in PostgreSQL.
            Err(PgError::error(code::OBJECT_NOT_READY, format!("parameter \"{name}\" cannot be changed")))
        }
        Rule::Only(allowed) => {
            let first = value.split(',').next().unwrap_or("").trim().to_ascii_lowercase();
            if allowed.contains(&first.as_str()) {
                // DateStyle keeps its second part, the rest have one spelling.
                let keep = if known.name == "datestyle" && value.contains(',') { value } else { known.default };
                return Ok(Checked::Keep(keep.to_string()));
            }
            let message = format!("{name} stays {}: \"{value}\" is not supported", known.default);
            if known.name == "timezone" {
                // Many clients set their own zone; an instant is the same instant in UTC.
                return Ok(Checked::Warn(PgError::warning(code::FEATURE_NOT_SUPPORTED, message)));
            }
            Err(PgError::error(code::INVALID_PARAMETER_VALUE, message))
        }
        Rule::OneOf(words) => match words.iter().find(|word| word.eq_ignore_ascii_case(value)) {
            Some(word) => Ok(Checked::Keep((*word).to_string())),
            None => Err(PgError::error(
                code::INVALID_PARAMETER_VALUE,
                format!("invalid value for parameter \"{name}\": \"{value}\""),
            )
            .hint(format!("it is one of {}", words.join(", ")))),
        },
        Rule::Duration => match duration_ms(value) {
            Some(0) => Ok(Checked::Keep("0".to_string())),
            Some(ms) => Ok(Checked::Keep(format!("{ms}ms"))),
            None => Err(PgError::error(
                code::INVALID_PARAMETER_VALUE,
                format!("invalid value for parameter \"{name}\": \"{value}\""),
            )
            .hint("milliseconds, or a number with ms, s, min or h")),
        },
    }
}

fn duration_ms(text: &str) -> Option<u64> {
    let text = text.trim();
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let factor = match unit.trim() {
        "" | "ms" => 1,
        "s" => 1000,
        "min" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests;
