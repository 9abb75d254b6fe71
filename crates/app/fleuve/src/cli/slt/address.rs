//! Where a PostgreSQL server is and who connects to what there: HOST:PORT, or a URL as libpq takes it.

use std::fmt;

use percent_encoding::percent_decode_str;

use crate::config::HostPort;

/// The user and the database of a Fleuve server, which are taken when nothing else is said.
const USER: &str = "fleuve";
const DATABASE: &str = "main";
const HOST: &str = "127.0.0.1";
const PORT: u16 = 5432;

/// What was said on the command line.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Address {
    /// A name, an address, or the folder of a socket.
    pub host: Option<String>,
    pub port: Option<u16>,
    pub user: Option<String>,
    pub password: Option<String>,
    pub database: Option<String>,
    /// Settings of the session, as on the command line of the server: `-c name=value`.
    pub options: Option<String>,
}

/// All of it, with what the environment says.
#[derive(Clone)]
pub struct Login {
    pub host: String,
    pub port: u16,
    pub user: String,
    pub password: Option<String>,
    pub database: String,
    pub options: Option<String>,
}

impl Address {
    /// What is not said comes from `PGHOST`, `PGPORT`, `PGUSER`, `PGPASSWORD`, `PGDATABASE` and `PGOPTIONS`, as for libpq.
    ///
    /// # Errors
    /// When `PGPORT` is no port.
    pub fn login(&self, environment: impl Fn(&str) -> Option<String>) -> Result<Login, String> {
        let said = |said: &Option<String>, name: &str| {
            said.clone().or_else(|| environment(name).filter(|value| !value.is_empty()))
        };
        let port = match (self.port, environment("PGPORT").filter(|value| !value.is_empty())) {
            (Some(port), _) => port,
            (None, Some(text)) => text.parse().map_err(|_| format!("PGPORT is '{text}', which is no port"))?,
            (None, None) => PORT,
        };
        let user = said(&self.user, "PGUSER");
        let database = said(&self.database, "PGDATABASE").unwrap_or_else(|| match &user {
            Some(user) => user.clone(),
            None => DATABASE.into(),
        });
        Ok(Login {
            host: said(&self.host, "PGHOST").unwrap_or_else(|| HOST.into()),
            port,
            user: user.unwrap_or_else(|| USER.into()),
            password: said(&self.password, "PGPASSWORD"),
            database,
            options: said(&self.options, "PGOPTIONS"),
        })
    }
}

impl std::str::FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix("postgres://").or_else(|| text.strip_prefix("postgresql://")) {
            Some(rest) => of_url(rest),
            None => match text.parse::<HostPort>() {
                // Whoever forgets `postgres://` is not to see a password in the next error.
                Ok(at) if !at.host.contains('@') => {
                    Ok(Self { host: Some(at.host), port: Some(at.port), ..Self::default() })
                }
                _ => Err("but HOST:PORT or postgres://USER:PASSWORD@HOST:PORT/DATABASE is wanted".into()),
            },
        }
    }
}

/// `USER:PASSWORD@HOST:PORT/DATABASE?NAME=VALUE&…`, of which everything may be left out.
fn of_url(rest: &str) -> Result<Address, String> {
    // Then nothing of it is told: a password that is not escaped may be anywhere.
    let secret = rest.contains('@') || rest.to_ascii_lowercase().contains("password");
    let (rest, parameters) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
    let (login, place) = authority.rsplit_once('@').unwrap_or(("", authority));
    let (user, password) = login.split_once(':').map_or((login, None), |(user, password)| (user, Some(password)));
    let (host, port) = match place.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port),
        _ => (place, ""),
    };
    if database.contains('@') {
        return Err("but /, ?, : and @ in a user's name or a password are %2F, %3F, %3A and %40".into());
    }
    let mut address = Address::default();
    for (name, value) in [("user", user), ("host", host), ("port", port), ("dbname", database)] {
        address.set(name, value, secret)?;
    }
    if let Some(password) = password {
        address.set("password", password, secret)?;
    }
    for parameter in parameters.split('&').filter(|p| !p.is_empty()) {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        address.set(name, value, secret)?;
    }
    Ok(address)
}

impl Address {
    /// Sets what is called so; when there is a `secret`, errors quote nothing.
    fn set(&mut self, name: &str, value: &str, secret: bool) -> Result<(), String> {
        let told = |text: &str| if secret { String::new() } else { format!(" '{text}'") };
        let text = percent_decode_str(value).decode_utf8();
        let text = text.map_err(|_| format!("but the value of a part{} is not UTF-8", told(name)))?;
        if text.contains('\0') {
            return Err(format!("but the value of a part{} has a zero byte", told(name)));
        }
        let text = Some(text.into_owned()).filter(|text| !text.is_empty());
        match name {
            "host" => {
                let bare = |host: String| match host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
                    Some(v6) => v6.to_string(),
                    None => host,
                };
                self.host = text.map(bare).or(self.host.take());
            }
            "port" => {
                let port =
                    text.map(|p| p.parse().map_err(|_| format!("but its port{} is none", told(&p)))).transpose()?;
                self.port = port.or(self.port);
            }
            "user" => self.user = text,
            "password" => self.password = text,
            "dbname" => self.database = text,
            "options" => self.options = text,
            "sslmode" if matches!(text.as_deref(), Some("disable" | "allow" | "prefer")) => {}
            "sslmode" => {
                return Err("but connections are not encrypted here: only sslmode=disable, allow and prefer".into());
            }
            "application_name" | "connect_timeout" => {}
            _ => {
                let known = "host, port, user, password, dbname, options, sslmode are";
                return Err(format!("but a setting{} is not known: {known}", told(name)));
            }
        }
        Ok(())
    }
}

// Without the password.
impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}@{:?}:{:?}/{:?}", self.user, self.host, self.port, self.database)
    }
}

impl fmt::Display for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let v6 = self.host.contains(':');
        let (open, close) = if v6 { ("[", "]") } else { ("", "") };
        write!(f, "{open}{}{close}:{}", self.host, self.port)
    }
}
