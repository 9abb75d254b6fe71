//! The table of settings for people, programs and the documentation.

use clap::ValueEnum;
use fleuve_types::{Error, Result};

use super::{Loaded, Origin, SETTINGS, Setting};

/// How `fleuve config` writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ConfigFormat {
    /// For reading.
    Text,
    /// A list of objects.
    Json,
    /// A `fleuve.toml` with these values; what is a default is commented out.
    Toml,
    /// The page `docs/configuration.md`, without this machine's values.
    Markdown,
}

/// The settings as text.
///
/// # Errors
/// None in practice; JSON could in theory refuse.
pub fn print(loaded: &Loaded, format: ConfigFormat) -> Result<String> {
    match format {
        ConfigFormat::Text => Ok(text(loaded)),
        ConfigFormat::Json => json(loaded),
        ConfigFormat::Toml => Ok(toml(loaded)),
        ConfigFormat::Markdown => Ok(markdown()),
    }
}

fn groups() -> Vec<&'static str> {
    let mut groups: Vec<&str> = SETTINGS.iter().map(|s| s.group).collect();
    groups.dedup();
    groups
}

fn default_of(setting: &Setting) -> String {
    match (setting.default_words, (setting.default)()) {
        (Some(words), text) if text == "off" => words.to_string(),
        (Some(words), text) => format!("{words}: {text}"),
        (None, text) => text,
    }
}

fn text(loaded: &Loaded) -> String {
    let mut out = String::new();
    for group in groups() {
        out.push_str(&format!("{group}\n"));
        for (setting, value, origin) in loaded.values.iter().filter(|(s, _, _)| s.group == group) {
            out.push_str(&format!("  {} = {}", setting.key, with_size(setting, value)));
            match origin {
                Origin::Default => match setting.default_words.filter(|_| value == "off") {
                    Some(words) => out.push_str(&format!("   (default: {words}")),
                    None => out.push_str("   (default"),
                },
                other => out.push_str(&format!("   (from {other}; default {}", default_of(setting))),
            }
            out.push_str(&format!("; {})\n      {}\n", setting.unit, setting.meaning));
        }
        out.push('\n');
    }
    out.push_str("Order: a flag wins over a FLEUVE_* variable, that over fleuve.toml, that over the default.\n");
    out
}

/// A large number of bytes, said in words too.
fn with_size(setting: &Setting, value: &str) -> String {
    let size = match (setting.unit.starts_with("bytes"), value.parse::<u64>()) {
        (true, Ok(n)) if n >= 1 << 30 => format!(" [{:.1} GiB]", n as f64 / (1u64 << 30) as f64),
        (true, Ok(n)) if n >= 1 << 20 => format!(" [{:.0} MiB]", n as f64 / (1u64 << 20) as f64),
        _ => String::new(),
    };
    format!("{value}{size}")
}

fn json(loaded: &Loaded) -> Result<String> {
    let list: Vec<serde_json::Value> = loaded
        .values
        .iter()
        .map(|(setting, value, origin)| {
            serde_json::json!({
                "key": setting.key,
                "value": value,
                "default": (setting.default)(),
                "unit": setting.unit,
                "meaning": setting.meaning,
                "from": origin.to_string(),
                "variable": setting.variable(),
                "group": setting.group,
            })
        })
        .collect();
    let text = serde_json::to_string_pretty(&list).map_err(|e| Error::bug(e.to_string()))?;
    Ok(text + "\n")
}

fn toml(loaded: &Loaded) -> String {
    let mut out = String::new();
    for (setting, value, origin) in &loaded.values {
        let bare = value.parse::<i64>().is_ok() || matches!(value.as_str(), "true" | "false");
        // A basic string of TOML is written as JSON writes one.
        let value = if bare { value.clone() } else { serde_json::Value::String(value.clone()).to_string() };
        let comment = if *origin == Origin::Default { "# " } else { "" };
        out.push_str(&format!("# {} ({})\n{comment}{} = {value}\n\n", setting.meaning, setting.unit, setting.key));
    }
    out
}

fn markdown() -> String {
    let mut out = String::from(
        "<!-- Written by `fleuve config --format markdown`; `./dev docs` brings it up to date. -->\n\
         # Configuration\n\n\
         `fleuve serve` needs no configuration. What you want otherwise you say in one of these places; the first that says something wins:\n\n\
         1. a flag: `--data DIR`, `--kafka`, `--postgres`, `--http`, `--registry` (each `HOST:PORT` or `off`), `--insecure`, and `--set KEY=VALUE`\n   for every setting;\n\
         2. an environment variable: `FLEUVE_` and the setting's name in capitals, such as `FLEUVE_HTTP=127.0.0.1:9000`;\n\
         3. the file `fleuve.toml` in the working folder, or the one that `--config FILE` or `FLEUVE_CONFIG` names;\n\
         4. the default.\n\n\
         `fleuve config` prints every setting with its value, where that came from, its default, unit and meaning. A name that does not exist\n\
         is an error. Sizes may be written as `64 MiB`, times as `5 s` or `7 days`.\n",
    );
    for group in groups() {
        out.push_str(&format!("\n## {group}\n\n| setting | default | unit | meaning |\n| --- | --- | --- | --- |\n"));
        for s in SETTINGS.iter().filter(|s| s.group == group) {
            let default = s.default_words.map_or_else(|| format!("`{}`", (s.default)()), ToString::to_string);
            out.push_str(&format!("| `{}` | {default} | {} | {} |\n", s.key, s.unit, s.meaning));
        }
    }
    out
}
