//! The settings of the server: plain data with documented defaults, read once and checked at start.
//!
//! A value comes from the first of these that has one: a flag, a `FLEUVE_*` variable, `fleuve.toml`, the default. One table
//! ([`SETTINGS`]) holds every setting with its default, unit and meaning; `fleuve config` and `docs/configuration.md` are printed
//! from it, and the [`Config`] that the platform takes is made from the same lines, so they cannot drift apart.

mod load;
mod machine;
mod print;
mod settings;
mod values;

#[cfg(test)]
mod tests;

pub use load::{FlagValue, Loaded, alone, load, server_data_folder};
pub use print::{ConfigFormat, print};
pub use settings::{Config, SETTINGS};
pub use values::{Door, HostPort};

/// Where a setting's value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody said anything.
    Default,
    /// A line of this file.
    File(String),
    /// This environment variable.
    Variable(String),
    /// This flag of the command line.
    Flag(String),
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File(path) => f.write_str(path),
            Origin::Variable(name) => f.write_str(name),
            Origin::Flag(name) => f.write_str(name),
        }
    }
}

/// One line of the table of settings.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Its name in `fleuve.toml`; the variable is `FLEUVE_` and the same in capitals.
    pub key: &'static str,
    /// The heading it stands under in the documentation.
    pub group: &'static str,
    /// What its number counts, or what else it holds (`HOST:PORT`, `true or false`).
    pub unit: &'static str,
    /// What it does.
    pub meaning: &'static str,
    /// The default in the words of the documentation, when it depends on the machine.
    pub default_words: Option<&'static str>,
    /// The default on this machine.
    pub default: fn() -> String,
}

impl Setting {
    /// The environment variable that sets it.
    pub fn variable(&self) -> String {
        format!("FLEUVE_{}", self.key.to_uppercase())
    }
}
