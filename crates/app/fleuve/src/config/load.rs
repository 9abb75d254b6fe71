use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use fleuve_types::{Error, ErrorKind, Result};

use super::{Config, Origin, SETTINGS, Setting};

/// A server with less for its views could not take one step.
const LEAST_MEMORY_BYTES: u64 = 16 << 20;

/// Read when it is there and `--config` names no other.
const DEFAULT_FILE: &str = "fleuve.toml";

/// Variables with our prefix that are no settings of the server: they belong to the command line's other commands and to `./dev`.
const OTHER_VARIABLES: &[&str] =
    &["FLEUVE_SERVER", "FLEUVE_CONFIG", "FLEUVE_BIN", "FLEUVE_HISTORY", "FLEUVE_BUILD_CACHE"];

/// A setting given on the command line.
#[derive(Clone, Debug)]
pub struct FlagValue {
    /// The setting.
    pub key: String,
    /// The flag as the user knows it (`--kafka`, `--set`).
    pub flag: String,
    /// Its text.
    pub text: String,
}

/// The settings and where each came from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The settings.
    pub config: Config,
    /// For each setting in the table's order: its text and its origin.
    pub values: Vec<(&'static Setting, String, Origin)>,
}

/// Reads the settings from flags, variables, the file and the defaults, in that order of precedence, and checks them.
///
/// # Errors
/// [`ErrorKind::Config`] naming the setting, its value and where it came from.
pub fn load(
    file: Option<&Path>,
    variables: impl IntoIterator<Item = (String, String)>,
    flags: &[FlagValue],
) -> Result<Loaded> {
    let mut texts: BTreeMap<&'static str, (String, Origin)> =
        SETTINGS.iter().map(|s| (s.key, ((s.default)(), Origin::Default))).collect();
    if let Some((path, text)) = read_file(file)? {
        for (key, value) in file_values(&path, &text)? {
            texts.insert(key, (value, Origin::File(path.clone())));
        }
    }
    for (name, text) in variables {
        if let Some(setting) = setting_of_variable(&name)? {
            texts.insert(setting.key, (text, Origin::Variable(name)));
        }
    }
    for value in flags {
        let setting = find(&value.key).ok_or_else(|| {
            unknown(
                &format!("{} names the setting", value.flag),
                &value.key,
                SETTINGS.iter().map(|s| s.key.to_string()),
            )
        })?;
        texts.insert(setting.key, (value.text.clone(), Origin::Flag(value.flag.clone())));
    }
    let plain = texts.iter().map(|(key, (text, _))| (*key, text.clone())).collect();
    let config = Config::from_texts(&plain).map_err(|(key, problem)| {
        let (text, origin) = &texts[key];
        config_error(format!("setting {key} is '{text}' ({origin}), {problem}"))
    })?;
    if config.memory_budget_bytes < LEAST_MEMORY_BYTES {
        let (text, origin) = &texts["memory_budget_bytes"];
        return Err(config_error(format!(
            "setting memory_budget_bytes is '{text}' ({origin}), but at least {} MiB are wanted",
            LEAST_MEMORY_BYTES >> 20
        )));
    }
    check(&config)?;
    let values = SETTINGS
        .iter()
        .map(|s| {
            let (text, origin) = texts.remove(s.key).expect("every setting has a text");
            (s, text, origin)
        })
        .collect();
    Ok(Loaded { config, values })
}

/// The settings of a server that is alone with its folder, whatever the environment and `fleuve.toml` say.
///
/// # Errors
/// As for [`load`]; none is known.
pub fn alone(data: &Path) -> Result<Config> {
    let mut texts: BTreeMap<&'static str, String> = SETTINGS.iter().map(|s| (s.key, (s.default)())).collect();
    texts.insert("data", data.display().to_string());
    for door in ["kafka", "postgres", "http", "registry"] {
        texts.insert(door, "off".into());
    }
    Config::from_texts(&texts).map_err(|(key, problem)| config_error(format!("setting {key}: {problem}")))
}

/// The data folder of the server that a client command most likely means; never fails, because a client may run without settings.
pub fn server_data_folder() -> PathBuf {
    let flag: &[FlagValue] = &[];
    let relevant = std::env::vars().filter(|(name, _)| name == "FLEUVE_DATA");
    load(None, relevant, flag).map_or_else(|_| PathBuf::from("./fleuve-data"), |loaded| loaded.config.data)
}

fn read_file(file: Option<&Path>) -> Result<Option<(String, String)>> {
    let path = file.unwrap_or(Path::new(DEFAULT_FILE));
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some((path.display().to_string(), text))),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound && file.is_none() => Ok(None),
        Err(e) => Err(config_error(format!("cannot read {}: {e}", path.display()))),
    }
}

fn file_values(path: &str, text: &str) -> Result<Vec<(&'static str, String)>> {
    let table: toml::Table = text.parse().map_err(|e: toml::de::Error| {
        let line = e.span().map(|s| text[..s.start.min(text.len())].matches('\n').count() + 1);
        let place = line.map_or_else(|| path.to_string(), |line| format!("{path}:{line}"));
        config_error(format!("{place}: {}", e.message()))
    })?;
    let mut values = Vec::with_capacity(table.len());
    for (key, value) in table {
        let setting = find(&key).ok_or_else(|| {
            unknown(&format!("{path} names the setting"), &key, SETTINGS.iter().map(|s| s.key.to_string()))
        })?;
        let text = match value {
            toml::Value::String(text) => text,
            toml::Value::Integer(n) => n.to_string(),
            toml::Value::Float(n) => n.to_string(),
            toml::Value::Boolean(b) => b.to_string(),
            _ => {
                return Err(config_error(format!(
                    "{path}: setting {key} holds a list or a table, but a single value is wanted"
                )));
            }
        };
        values.push((setting.key, text));
    }
    Ok(values)
}

/// The setting of an environment variable; `None` when it is not ours.
fn setting_of_variable(name: &str) -> Result<Option<&'static Setting>> {
    let Some(rest) = name.strip_prefix("FLEUVE_") else { return Ok(None) };
    if let Some(setting) = find(&rest.to_lowercase()) {
        return Ok(Some(setting));
    }
    // Kubernetes sets FLEUVE_PORT, FLEUVE_SERVICE_HOST and so on in every container beside a service of the name fleuve.
    let kubernetes = rest.starts_with("SERVICE_") || rest == "PORT" || rest.starts_with("PORT_");
    if kubernetes || OTHER_VARIABLES.contains(&name) {
        return Ok(None);
    }
    let names = SETTINGS.iter().map(Setting::variable).chain(OTHER_VARIABLES.iter().map(ToString::to_string));
    Err(unknown("the environment names the setting", name, names))
}

fn find(key: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|s| s.key == key)
}

fn unknown(who: &str, key: &str, names: impl Iterator<Item = String>) -> Error {
    let near = names
        .map(|name| (strsim::normalized_damerau_levenshtein(&name.to_lowercase(), &key.to_lowercase()), name))
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .filter(|(likeness, _)| *likeness > 0.5);
    let error = config_error(format!("{who} '{key}', which does not exist"));
    match near {
        Some((_, name)) => error.hint(format!("did you mean '{name}'?")),
        None => error.hint("`fleuve config` lists them all"),
    }
}

fn check(config: &Config) -> Result<()> {
    let doors = [
        ("kafka", &config.kafka),
        ("postgres", &config.postgres),
        ("http", &config.http),
        ("registry", &config.registry),
    ];
    for (i, (name, door)) in doors.iter().enumerate() {
        let Some(address) = door.address() else { continue };
        if !address.is_loopback() && !config.insecure {
            return Err(config_error(format!(
                "{name} = {address} would let in everyone who can reach this machine, and nobody has to log in yet"
            ))
            .hint("say --insecure if that is what you want, or listen on 127.0.0.1"));
        }
        let other = doors[..i].iter().find(|(_, d)| d.address().is_some_and(|a| a.port != 0 && a == address));
        if let Some((other, _)) = other {
            return Err(config_error(format!("{other} and {name} cannot both listen on {address}")));
        }
    }
    if config.view_memory_bytes.is_some_and(|limit| limit > config.memory_budget_bytes) {
        return Err(config_error("view_memory_bytes is more than memory_budget_bytes, which all views share")
            .hint("lower the one or raise the other"));
    }
    if config.message_max_bytes > config.request_max_bytes {
        return Err(config_error(
            "message_max_bytes is more than request_max_bytes, so such a batch could never be sent",
        ));
    }
    Ok(())
}

fn config_error(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Config, message)
}
