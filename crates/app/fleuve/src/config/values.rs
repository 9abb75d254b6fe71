//! From text to a setting's value. Each function gives what is wrong in words that fit after "setting x is 'text', ".

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use tracing_subscriber::filter::LevelFilter;

/// Why a text is no value of its setting.
pub type Problem = String;

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    /// A name or an address; an IPv6 address without its brackets.
    pub host: String,
    /// 0 takes any free port where a server listens.
    pub port: u16,
}

impl HostPort {
    /// True when only this machine can reach it.
    pub fn is_loopback(&self) -> bool {
        match self.host.parse::<IpAddr>() {
            Ok(address) => address.is_loopback(),
            Err(_) => self.host.eq_ignore_ascii_case("localhost"),
        }
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

impl std::str::FromStr for HostPort {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        let wanted = || "but HOST:PORT is wanted, for example 127.0.0.1:9092".to_string();
        let (host, port) = text.rsplit_once(':').ok_or_else(wanted)?;
        let port = port.parse().map_err(|_| wanted())?;
        let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
        let host = match bare {
            Some(v6) if v6.parse::<std::net::Ipv6Addr>().is_ok() => v6,
            Some(_) => return Err(wanted()),
            None if host.contains(':') => return Err("but an IPv6 address is written in brackets: [::1]:9092".into()),
            None => host,
        };
        if host.is_empty() || host.contains(char::is_whitespace) || host.contains('/') {
            return Err(wanted());
        }
        Ok(HostPort { host: host.to_string(), port })
    }
}

/// A place where clients connect, or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Door {
    /// Nobody is let in here.
    Off,
    /// Where the server listens.
    At(HostPort),
}

impl Door {
    /// Where it is, if it is open.
    pub fn address(&self) -> Option<&HostPort> {
        match self {
            Door::Off => None,
            Door::At(address) => Some(address),
        }
    }
}

pub(super) fn folder(text: &str) -> Result<PathBuf, Problem> {
    match text.is_empty() {
        true => Err("but a folder is wanted".into()),
        false => Ok(PathBuf::from(text)),
    }
}

pub(super) fn door(text: &str) -> Result<Door, Problem> {
    match is_off(text) {
        true => Ok(Door::Off),
        false => text.parse().map(Door::At).map_err(|e: Problem| format!("{e}, or off")),
    }
}

pub(super) fn optional_host_port(text: &str) -> Result<Option<HostPort>, Problem> {
    match is_off(text) {
        true => Ok(None),
        false => text.parse().map(Some),
    }
}

pub(super) fn flag(text: &str) -> Result<bool, Problem> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Ok(true),
        "false" | "no" | "off" | "0" => Ok(false),
        _ => Err("but true or false is wanted".into()),
    }
}

pub(super) fn count(text: &str) -> Result<usize, Problem> {
    match text.parse() {
        Ok(0) | Err(_) => Err("but a whole number of at least 1 is wanted".into()),
        Ok(n) => Ok(n),
    }
}

pub(super) fn count32(text: &str) -> Result<u32, Problem> {
    u32::try_from(count(text)?).map_err(|_| "which is too many".into())
}

/// `4096`, `64 KiB`, `1.5GB`.
pub(super) fn bytes(text: &str) -> Result<u64, Problem> {
    const UNITS: &[(&str, u64)] = &[
        ("", 1),
        ("b", 1),
        ("kb", 1000),
        ("mb", 1000 * 1000),
        ("gb", 1000 * 1000 * 1000),
        ("tb", 1000 * 1000 * 1000 * 1000),
        ("k", 1 << 10),
        ("m", 1 << 20),
        ("g", 1 << 30),
        ("t", 1 << 40),
        ("kib", 1 << 10),
        ("mib", 1 << 20),
        ("gib", 1 << 30),
        ("tib", 1 << 40),
    ];
    measure(text, UNITS, "a size is wanted, for example 67108864 or 64 MiB")
}

/// `5000`, `5 s`, `2 minutes`, `7 days`.
pub(super) fn millis(text: &str) -> Result<u64, Problem> {
    const UNITS: &[(&str, u64)] = &[
        ("", 1),
        ("ms", 1),
        ("s", 1000),
        ("second", 1000),
        ("seconds", 1000),
        ("m", 60_000),
        ("min", 60_000),
        ("minute", 60_000),
        ("minutes", 60_000),
        ("h", 3_600_000),
        ("hour", 3_600_000),
        ("hours", 3_600_000),
        ("d", 86_400_000),
        ("day", 86_400_000),
        ("days", 86_400_000),
    ];
    measure(text, UNITS, "a time in milliseconds is wanted, for example 5000, '5 s' or '7 days'")
}

pub(super) fn optional_bytes(text: &str) -> Result<Option<u64>, Problem> {
    optional(text, bytes)
}

pub(super) fn optional_millis(text: &str) -> Result<Option<u64>, Problem> {
    optional(text, millis)
}

pub(super) fn log_level(text: &str) -> Result<String, Problem> {
    // A word alone is a module's name to the filter, whatever it is.
    let is_known = |part: &str| {
        let part = part.trim();
        part.contains(['=', '[', ':']) || part.starts_with("fleuve") || part.parse::<LevelFilter>().is_ok()
    };
    match tracing_subscriber::EnvFilter::builder().parse(text) {
        Ok(_) if !text.trim().is_empty() && text.split(',').all(is_known) => Ok(text.to_string()),
        _ => Err("but error, warn, info, debug, trace or a filter such as info,fleuve_log=debug is wanted".into()),
    }
}

fn is_off(text: &str) -> bool {
    text.eq_ignore_ascii_case("off")
}

fn optional<T>(text: &str, parse: fn(&str) -> Result<T, Problem>) -> Result<Option<T>, Problem> {
    match is_off(text) {
        true => Ok(None),
        false => parse(text).map(Some).map_err(|e| format!("{e}, or off")),
    }
}

/// A number of at least 1 with one of `units` behind it.
fn measure(text: &str, units: &[(&str, u64)], wanted: &str) -> Result<u64, Problem> {
    let wrong = || format!("but {wanted}");
    let text = text.trim();
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.' && c != '_').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let unit = unit.trim().to_ascii_lowercase();
    let factor = units.iter().find(|(name, _)| *name == unit).map(|(_, f)| *f).ok_or_else(wrong)?;
    let digits = number.replace('_', "");
    let value = match digits.parse::<u64>() {
        Ok(whole) => whole.checked_mul(factor),
        Err(_) => {
            let scaled = digits.parse::<f64>().map_err(|_| wrong())? * factor as f64;
            (scaled.is_finite() && scaled < u64::MAX as f64).then_some(scaled as u64)
        }
    };
    match value {
        Some(0) => Err("but it must be more than 0".into()),
        Some(value) => Ok(value),
        None => Err("which is too much".into()),
    }
}
