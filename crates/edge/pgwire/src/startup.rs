//! How a connection becomes a session.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;

use crate::catalog::DATABASE;
use crate::connection::Connection;
use crate::counters::PgCounters;
use crate::error::{PgError, PgResult, code};
use crate::io::Io;
use crate::server::Shared;
use crate::settings::Settings;
use crate::wire::{StartupPacket, take_startup};

/// A client may ask for TLS and for GSSAPI before it starts; more questions than that are not asked in earnest.
const MAX_QUESTIONS: usize = 4;

/// Serves one connection to its end.
pub(crate) async fn serve(socket: TcpStream, shared: Arc<Shared>) {
    // Small answers must not wait for more.
    let _ = socket.set_nodelay(true);
    let mut io = Io::new(socket, shared.counters.clone());
    let limit = Duration::from_millis(shared.options.startup_timeout_ms);
    let opened = match tokio::time::timeout(limit, open(&mut io, &shared)).await {
        Ok(opened) => opened,
        Err(_) => return, // nothing was said in time
    };
    match opened {
        Ok(Some(asked)) => {
            // Held until the session ends.
            let Ok(_seat) = shared.seats.clone().try_acquire_owned() else {
                PgCounters::add(&shared.counters.connections_refused, 1);
                let most = shared.options.max_connections;
                let e = PgError::fatal(code::TOO_MANY_CONNECTIONS, "sorry, too many clients already")
                    .hint(format!("at most {most} sessions at once; raise the limit or use a pool"));
                return refuse(&mut io, &e, limit).await;
            };
            let connection = match session(io, &shared, asked) {
                Ok(connection) => connection,
                Err(refused) => {
                    let (mut io, e) = *refused;
                    return refuse(&mut io, &e, limit).await;
                }
            };
            connection.serve().await;
        }
        Ok(None) => {}
        Err(e) => refuse(&mut io, &e, limit).await,
    }
}

async fn refuse(io: &mut Io, e: &PgError, limit: Duration) {
    PgCounters::add(&io.counters.errors, 1);
    io.out.error(e);
    // If the client does not listen, there is no more to do.
    let _ = tokio::time::timeout(limit, io.flush()).await;
}

/// Answers questions about encryption until the client asks for a session. `None` ends the connection.
async fn open(io: &mut Io, shared: &Shared) -> PgResult<Option<Asked>> {
    for _ in 0..=MAX_QUESTIONS {
        let packet = loop {
            if let Some(packet) = take_startup(&mut io.inbox)? {
                break packet;
            }
            if io.read().await.is_err() {
                return Ok(None);
            }
        };
        match packet {
            StartupPacket::Ssl | StartupPacket::GssEnc => {
                io.out.bytes.extend_from_slice(b"N");
                if io.flush().await.is_err() {
                    return Ok(None);
                }
            }
            StartupPacket::Cancel { pid, secret } => {
                if shared.cancels.cancel(pid, &secret) {
                    PgCounters::add(&shared.counters.cancels, 1);
                }
                return Ok(None);
            }
            StartupPacket::Session { major, minor, parameters } => {
                return asked(io, major, minor, parameters).map(Some);
            }
        }
    }
    Err(PgError::fatal(code::PROTOCOL_VIOLATION, "too many negotiation requests"))
}

/// What the start-up packet asked for.
struct Asked {
    user: String,
    settings: Vec<(String, String)>,
}

fn asked(io: &mut Io, major: u16, minor: u16, parameters: Vec<(String, String)>) -> PgResult<Asked> {
    if major != 3 {
        let message = format!("unsupported frontend protocol {major}.{minor}: server supports 3.0");
        return Err(PgError::fatal(code::FEATURE_NOT_SUPPORTED, message));
    }
    let (mut user, mut database) = (String::new(), String::new());
    let (mut settings, mut unknown) = (Vec::new(), Vec::new());
    for (name, value) in parameters {
        match name.as_str() {
            "user" => user = value,
            "database" => database = value,
            "options" => settings.extend(command_line(&value)),
            "replication" if !matches!(value.as_str(), "false" | "off" | "no" | "0") => {
                return Err(PgError::fatal(code::FEATURE_NOT_SUPPORTED, "replication connections are not supported"));
            }
            "replication" => {}
            _ if name.starts_with("_pq_.") => unknown.push(name),
            _ => settings.push((name, value)),
        }
    }
    if minor > 0 || !unknown.is_empty() {
        io.out.negotiate_protocol_version(&unknown);
    }
    if user.is_empty() {
        return Err(PgError::fatal("28000", "no PostgreSQL user name specified in startup packet"));
    }
    // Clients that name no database send the user's name.
    if !database.is_empty() && database != DATABASE && database != user {
        return Err(PgError::fatal(code::INVALID_CATALOG, format!("database \"{database}\" does not exist"))
            .hint(format!("connect to the database \"{DATABASE}\"")));
    }
    Ok(Asked { user, settings })
}

/// `-c name=value --name=value`, with `\ ` for a space in a value.
fn command_line(options: &str) -> Vec<(String, String)> {
    let mut words = vec![String::new()];
    let mut chars = options.chars();
    while let Some(c) = chars.next() {
        match (c, words.last_mut()) {
            ('\\', Some(word)) => word.extend(chars.next()),
            (c, _) if c.is_whitespace() => words.push(String::new()),
            (c, Some(word)) => word.push(c),
            (_, None) => {}
        }
    }
    let words: Vec<String> = words.into_iter().filter(|w| !w.is_empty()).collect();
    let mut settings = Vec::new();
    let mut i = 0;
    while i < words.len() {
        let word = &words[i];
        let assignment = if word == "-c" {
            i += 1;
            words.get(i).map(String::as_str)
        } else {
            word.strip_prefix("--").or_else(|| word.strip_prefix("-c"))
        };
        if let Some((name, value)) = assignment.and_then(|a| a.split_once('=')) {
            settings.push((name.replace('-', "_"), value.to_string()));
        }
        i += 1;
    }
    settings
}

fn session(mut io: Io, shared: &Arc<Shared>, asked: Asked) -> Result<Connection, Box<(Io, PgError)>> {
    let encoding = asked.settings.iter().find(|(n, _)| n.eq_ignore_ascii_case("client_encoding"));
    if let Some((_, encoding)) = encoding
        && !["utf8", "utf-8", "unicode", "sql_ascii", "auto", "'utf-8'", "'utf8'"]
            .contains(&encoding.to_lowercase().as_str())
    {
        let e = PgError::fatal(code::FEATURE_NOT_SUPPORTED, format!("client_encoding {encoding} is not supported"))
            .hint("use UTF8");
        return Err(Box::new((io, e)));
    }
    let key = shared.cancels.register();
    let settings = Arc::new(Settings::new(&asked.user, &asked.settings));
    io.out.authentication_ok();
    for (name, value) in settings.reported() {
        io.out.parameter_status(name, &value);
    }
    io.out.backend_key_data(key.pid, key.secret);
    Ok(Connection::new(io, shared.clone(), key, settings, &asked.user))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_as_a_command_line() {
        let read = command_line("-c statement_timeout=5s  --search-path=a\\ b -cwork_mem=1MB -x");
        let pairs: Vec<(&str, &str)> = read.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        assert_eq!(pairs, [("statement_timeout", "5s"), ("search_path", "a b"), ("work_mem", "1MB")]);
    }
}
