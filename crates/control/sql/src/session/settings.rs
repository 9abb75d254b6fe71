//! The settings of a session. Derived: they live as long as the connection.

use std::collections::BTreeMap;

use parking_lot::Mutex;

/// Most settings that a client can add, and the longest value.
const MAX_SETTINGS: usize = 200;
const MAX_VALUE_BYTES: usize = 10_000;

/// What PostgreSQL clients ask for, with the values that describe this server.
const DEFAULTS: &[(&str, &str)] = &[
    ("application_name", ""),
    ("bytea_output", "hex"),
    ("client_encoding", "UTF8"),
    ("client_min_messages", "notice"),
    ("datestyle", "ISO, MDY"),
    ("default_transaction_isolation", "read committed"),
    ("default_transaction_read_only", "off"),
    ("extra_float_digits", "1"),
    ("in_hot_standby", "off"),
    ("integer_datetimes", "on"),
    ("intervalstyle", "postgres"),
    ("is_superuser", "on"),
    ("lc_collate", "C"),
    ("lc_ctype", "C"),
    ("lock_timeout", "0"),
    ("max_identifier_length", "200"),
    ("query_time", "clock"),
    ("row_security", "off"),
    ("search_path", "public"),
    ("server_encoding", "UTF8"),
    ("server_version", "16.6"),
    ("server_version_num", "160006"),
    ("session_authorization", "fleuve"),
    ("standard_conforming_strings", "on"),
    ("statement_timeout", "0"),
    ("timezone", "UTC"),
    ("transaction_isolation", "read committed"),
    ("transaction_read_only", "off"),
];

#[derive(Debug, Default)]
pub(super) struct Settings(Mutex<BTreeMap<String, String>>);

impl Settings {
    pub(super) fn get(&self, name: &str) -> Option<String> {
        let name = name.to_lowercase();
        if let Some(value) = self.0.lock().get(&name) {
            return Some(value.clone());
        }
        DEFAULTS.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_string())
    }

    /// False when it was not kept: too many, or too long.
    pub(super) fn set(&self, name: &str, value: &str) -> bool {
        let mut set = self.0.lock();
        let name = name.to_lowercase();
        if value.len() > MAX_VALUE_BYTES || (set.len() >= MAX_SETTINGS && !set.contains_key(&name)) {
            return false;
        }
        set.insert(name, value.to_string());
        true
    }

    pub(super) fn reset(&self, name: Option<&str>) {
        let mut set = self.0.lock();
        match name {
            Some(name) => {
                set.remove(&name.to_lowercase());
            }
            None => set.clear(),
        }
    }

    /// All settings by name.
    pub(super) fn all(&self) -> BTreeMap<String, String> {
        let mut all: BTreeMap<String, String> =
            DEFAULTS.iter().map(|(n, v)| ((*n).to_string(), (*v).to_string())).collect();
        all.extend(self.0.lock().clone());
        all
    }

    /// The names, for suggestions.
    pub(super) fn names() -> impl Iterator<Item = &'static str> {
        DEFAULTS.iter().map(|(n, _)| *n)
    }
}
