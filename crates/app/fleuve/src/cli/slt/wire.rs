//! A small client of the PostgreSQL protocol, version 3: simple queries, answers as text.
//!
//! <https://www.postgresql.org/docs/current/protocol-message-formats.html>

#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::Read;

use fleuve_types::{Error, ErrorKind, Result};
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpStream, UnixStream};

use super::address::Login;
use super::database::{Answer, count};
use super::show::{self, Kind};

const VERSION: i32 = 3 << 16;
/// A longer message is none of this protocol's.
const MAX_MESSAGE_BYTES: usize = 1 << 30;
/// As much of a file is in one message.
const COPIED_BYTES: usize = 1 << 16;

/// How values are written, whatever the server is set to.
const SETTINGS: [(&str, &str); 5] = [
    ("application_name", "fleuve slt"),
    ("client_encoding", "UTF8"),
    ("DateStyle", "ISO"),
    ("IntervalStyle", "postgres"),
    ("TimeZone", "UTC"),
];

/// A socket.
trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Socket for T {}

/// A connection.
pub struct Wire {
    socket: BufReader<Box<dyn Socket>>,
    /// JSON is how the server sends structs.
    pub has_structs: bool,
}

/// A column of an answer.
#[derive(Clone, Debug)]
pub struct Column {
    name: String,
    kind: Kind,
    oid: i32,
    /// Precision and scale of a decimal, or -1.
    modifier: i32,
}

fn broken(e: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Unknown, format!("the connection broke: {e}"))
}

fn strange(what: &str) -> Error {
    Error::unsupported(format!("the server's answer cannot be read: {what}"))
}

impl Wire {
    /// Connects and logs in.
    ///
    /// # Errors
    /// When nobody answers there, or does not let the user in.
    pub async fn connect(login: &Login) -> Result<Self> {
        let unreachable = |e| Error::new(ErrorKind::Retry, format!("cannot reach a PostgreSQL server at {login}: {e}"));
        let socket: Box<dyn Socket> = match login.host.starts_with('/') {
            true => {
                let path = format!("{}/.s.PGSQL.{}", login.host, login.port);
                Box::new(UnixStream::connect(path).await.map_err(unreachable)?)
            }
            false => Box::new(TcpStream::connect((login.host.as_str(), login.port)).await.map_err(unreachable)?),
        };
        let mut wire = Self { socket: BufReader::new(socket), has_structs: false };
        let mut body = VERSION.to_be_bytes().to_vec();
        let options = login.options.as_deref().map(|options| ("options", options));
        let who = [("user", login.user.as_str()), ("database", login.database.as_str())];
        for (name, value) in who.into_iter().chain(SETTINGS).chain(options) {
            text(&mut body, name);
            text(&mut body, value);
        }
        body.push(0);
        wire.send(None, &body).await?;
        let refused = |e: Error| {
            let message = format!("{login} does not let {} into {}: {}", login.user, login.database, e.message);
            let hint = "say who with postgres://USER:PASSWORD@HOST:PORT/DATABASE, or PGUSER, PGPASSWORD and PGDATABASE";
            Error { message, hint: e.hint.clone().or_else(|| Some(hint.into())), ..e }
        };
        wire.log_in(login).await.map_err(refused)?;
        wire.until_ready(None).await?;
        Ok(wire)
    }

    /// Shows the password in the way that the server asks for.
    async fn log_in(&mut self, login: &Login) -> Result<()> {
        let password = || login.password.as_deref().ok_or_else(|| Error::input("it wants a password"));
        let mut scram = None;
        loop {
            let (tag, body) = self.message().await?;
            let mut fields = Fields(&body);
            match tag {
                b'E' => return Err(fields.error()?),
                b'R' => {}
                // Notices, and the question for another version of the protocol.
                _ => continue,
            }
            match (fields.int32()?, &mut scram) {
                (0, _) => return Ok(()),
                (3, _) => {
                    let password = password()?;
                    self.answer(|body| text(body, password)).await?;
                }
                (5, _) => {
                    let salt = fields.take(4)?.try_into().map_err(broken)?;
                    let hash = md5_hash(login.user.as_bytes(), password()?.as_bytes(), salt);
                    self.answer(|body| text(body, &hash)).await?;
                }
                (10, _) => {
                    while fields.text()? != SCRAM_SHA_256 {}
                    let client = ScramSha256::new(password()?.as_bytes(), ChannelBinding::unsupported());
                    self.answer(|body| {
                        text(body, SCRAM_SHA_256);
                        let message = client.message();
                        body.extend(u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes());
                        body.extend(message);
                    })
                    .await?;
                    scram = Some(client);
                }
                (11, Some(client)) => {
                    client.update(fields.0).map_err(broken)?;
                    let message = client.message().to_vec();
                    self.answer(|body| body.extend(message)).await?;
                }
                (12, Some(client)) => client.finish(fields.0).map_err(broken)?,
                (other, _) => {
                    return Err(Error::unsupported(format!(
                        "it wants a way to log in that is not known here (number {other}): trust, password, md5 and scram-sha-256 are"
                    )));
                }
            }
        }
    }

    /// A message about a password.
    async fn answer(&mut self, fill: impl FnOnce(&mut Vec<u8>)) -> Result<()> {
        let mut body = vec![];
        fill(&mut body);
        self.send(Some(b'p'), &body).await
    }

    /// Runs statements and gives the answer of the last.
    ///
    /// # Errors
    /// The server's.
    pub async fn run(&mut self, sql: &str) -> Result<Answer> {
        let mut body = sql.as_bytes().to_vec();
        body.push(0);
        self.send(Some(b'Q'), &body).await?;
        Ok(self.until_ready(None).await?.0)
    }

    /// Runs a `COPY … FROM STDIN`, which reads what the file holds.
    ///
    /// # Errors
    /// The server's, and when the file cannot be read.
    pub async fn copy(&mut self, sql: &str, file: File) -> Result<Answer> {
        let mut body = vec![];
        text(&mut body, sql);
        self.send(Some(b'Q'), &body).await?;
        Ok(self.until_ready(Some(file)).await?.0)
    }

    /// The columns of a query, which is not run.
    ///
    /// # Errors
    /// The server's.
    pub async fn columns(&mut self, sql: &str) -> Result<Vec<Column>> {
        let mut parse = vec![0];
        text(&mut parse, sql);
        parse.extend(0_i16.to_be_bytes());
        self.send(Some(b'P'), &parse).await?;
        self.send(Some(b'D'), b"S\0").await?;
        self.send(Some(b'S'), &[]).await?;
        Ok(self.until_ready(None).await?.1)
    }

    async fn send(&mut self, tag: Option<u8>, body: &[u8]) -> Result<()> {
        let mut message: Vec<u8> = tag.into_iter().collect();
        let length = i32::try_from(body.len() + 4).map_err(|_| Error::input("the statement is too long"))?;
        message.extend(length.to_be_bytes());
        message.extend(body);
        self.socket.get_mut().write_all(&message).await.map_err(broken)
    }

    async fn message(&mut self) -> Result<(u8, Vec<u8>)> {
        let tag = self.socket.read_u8().await.map_err(broken)?;
        let length = self.socket.read_i32().await.map_err(broken)?;
        let length = usize::try_from(length - 4).ok().filter(|n| *n <= MAX_MESSAGE_BYTES);
        let mut body = vec![0; length.ok_or_else(|| strange("a message's length"))?];
        self.socket.read_exact(&mut body).await.map_err(broken)?;
        Ok((tag, body))
    }

    /// The rows that a COPY waits for.
    async fn send_file(&mut self, mut file: File) -> Result<()> {
        let mut piece = vec![0; COPIED_BYTES];
        loop {
            match file.read(&mut piece) {
                Ok(0) => return self.send(Some(b'c'), &[]).await,
                Ok(n) => self.send(Some(b'd'), &piece[..n]).await?,
                Err(e) => return self.send(Some(b'f'), format!("the file cannot be read: {e}\0").as_bytes()).await,
            }
        }
    }

    async fn until_ready(&mut self, mut file: Option<File>) -> Result<(Answer, Vec<Column>)> {
        let (mut answer, mut columns, mut error) = (Answer::default(), vec![], None);
        loop {
            let (tag, body) = match self.message().await {
                Ok(message) => message,
                // What it said before it hung up says more.
                Err(e) => return Err(error.unwrap_or(e)),
            };
            let mut fields = Fields(&body);
            match tag {
                b'T' => {
                    columns = fields.columns()?;
                    answer = Answer { kinds: columns.iter().map(|c| c.kind).collect(), ..Answer::default() };
                }
                b'D' => answer.rows.push(fields.row(&columns, self.has_structs)?),
                b'C' => answer.count = count(&fields.text()?),
                b'E' => error = Some(fields.error()?),
                b'G' => match file.take() {
                    Some(file) => self.send_file(file).await?,
                    None => self.send(Some(b'f'), b"fleuve slt has no rows for COPY FROM STDIN\0").await?,
                },
                b'Z' => return error.map_or(Ok((answer, columns)), Err),
                // Parameters, notices, the key for cancelling, an empty query.
                _ => {}
            }
        }
    }
}

/// A text as the protocol has it.
fn text(body: &mut Vec<u8>, text: &str) {
    body.extend(text.as_bytes());
    body.push(0);
}

impl Column {
    /// The column as `CREATE STREAM` has it.
    ///
    /// # Errors
    /// When the protocol does not tell the type.
    pub fn definition(&self) -> Result<String> {
        let array = ARRAYS.iter().find(|(array, _)| *array == self.oid).map(|(_, element)| *element);
        let name = type_name(array.unwrap_or(self.oid), self.modifier).ok_or_else(|| {
            let message =
                format!("the protocol does not tell the type of the column {} (object id {})", self.name, self.oid);
            Error::unsupported(message)
        })?;
        let brackets = if array.is_some() { "[]" } else { "" };
        Ok(format!("\"{}\" {name}{brackets}", self.name.replace('"', "\"\"")))
    }
}

/// Arrays and their elements.
const ARRAYS: [(i32, i32); 15] = [
    (1000, 16),
    (1001, 17),
    (1005, 21),
    (1007, 23),
    (1009, 25),
    (1015, 1043),
    (1016, 20),
    (1021, 700),
    (1022, 701),
    (1115, 1114),
    (1182, 1082),
    (1183, 1083),
    (1185, 1184),
    (1187, 1186),
    (1231, 1700),
];

fn type_name(oid: i32, modifier: i32) -> Option<String> {
    let name = match oid {
        16 => "BOOLEAN",
        17 => "BYTEA",
        20 => "BIGINT",
        21 => "SMALLINT",
        23 => "INT",
        25 | 705 | 1042 | 1043 => "TEXT",
        700 => "REAL",
        701 => "DOUBLE PRECISION",
        1082 => "DATE",
        1083 => "TIME",
        1114 => "TIMESTAMP",
        1184 => "TIMESTAMP WITH TIME ZONE",
        1186 => "INTERVAL",
        1700 if modifier >= 4 => {
            let bits = modifier - 4;
            return Some(format!("DECIMAL({},{})", (bits >> 16) & 0xffff, bits & 0x7ff));
        }
        _ => return None,
    };
    Some(name.to_string())
}

/// The fields of a message, taken one after the other.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take(&mut self, n: usize) -> Result<&[u8]> {
        let (head, tail) = self.0.split_at_checked(n).ok_or_else(|| strange("a message that is too short"))?;
        self.0 = tail;
        Ok(head)
    }

    fn int16(&mut self) -> Result<i16> {
        Ok(i16::from_be_bytes(self.take(2)?.try_into().map_err(broken)?))
    }

    fn int32(&mut self) -> Result<i32> {
        Ok(i32::from_be_bytes(self.take(4)?.try_into().map_err(broken)?))
    }

    fn text(&mut self) -> Result<String> {
        let end = self.0.iter().position(|b| *b == 0).ok_or_else(|| strange("a text without an end"))?;
        let text = String::from_utf8_lossy(self.take(end)?).into_owned();
        self.take(1)?;
        Ok(text)
    }

    fn columns(&mut self) -> Result<Vec<Column>> {
        (0..self.int16()?)
            .map(|_| {
                let name = self.text()?;
                self.take(6)?;
                let oid = self.int32()?;
                self.take(2)?;
                let modifier = self.int32()?;
                self.take(2)?;
                Ok(Column { name, kind: kind(oid), oid, modifier })
            })
            .collect()
    }

    fn row(&mut self, columns: &[Column], has_structs: bool) -> Result<Vec<String>> {
        (0..self.int16()?)
            .map(|n| match self.int32()? {
                -1 => Ok("NULL".to_string()),
                length => {
                    let bytes = self.take(usize::try_from(length).map_err(|_| strange("a value's length"))?)?;
                    let text = String::from_utf8_lossy(bytes);
                    Ok(match columns.get(n as usize) {
                        Some(Column { oid: 114, .. }) if has_structs => structure(&text),
                        Some(column) => value(column.oid, &text),
                        None => text.to_string(),
                    })
                }
            })
            .collect()
    }

    fn error(&mut self) -> Result<Error> {
        let mut error = Error::input("the server gave an error without a text");
        while let Ok(&[field]) = self.take(1)
            && field != 0
        {
            let text = self.text()?;
            match field {
                b'M' => error.message = text,
                b'C' if text == "0A000" => error.kind = ErrorKind::Unsupported,
                b'C' if text == "XX000" => error.kind = ErrorKind::Bug,
                b'C' if text.starts_with("42P01") || text.starts_with("42704") => error.kind = ErrorKind::NotFound,
                b'H' => error.hint = Some(text),
                _ => {}
            }
        }
        Ok(error)
    }
}

/// By the object ids of `pg_type.dat`.
fn kind(oid: i32) -> Kind {
    match oid {
        16 => Kind::Boolean,
        20 | 21 | 23 | 26 => Kind::Integer,
        1700 => Kind::Decimal,
        700 | 701 => Kind::Float,
        18 | 19 | 25 | 705 | 1042 | 1043 => Kind::Text,
        1082 | 1083 => Kind::Date,
        1114 | 1184 => Kind::Timestamp,
        _ => Kind::Other,
    }
}

/// A value in PostgreSQL's text form as [`show`] would have it.
fn value(oid: i32, text: &str) -> String {
    match oid {
        16 => if text == "t" { "true" } else { "false" }.to_string(),
        17 => text.strip_prefix("\\x").unwrap_or(text).to_string(),
        701 => text.parse().map_or_else(|_| text.to_string(), show::float),
        700 | 1700 => show::decimal(text),
        1083 => time(text),
        1114 | 1184 => {
            let zone = if oid == 1184 { "Z" } else { "" };
            time(&text.strip_suffix("+00").unwrap_or(text).replacen(' ', "T", 1)) + zone
        }
        199 | 1000..=1028 | 1115 | 1182..=1187 | 1231 => array(oid, text),
        _ => text.to_string(),
    }
}

/// A time with three, six or nine digits after the point, as Arrow shows it.
fn time(text: &str) -> String {
    match text.rsplit_once('.') {
        Some((whole, fraction)) => {
            let digits = fraction.len().next_multiple_of(3);
            format!("{whole}.{fraction:0<digits$}")
        }
        None => text.to_string(),
    }
}

/// `{1,NULL,"a b"}` as `[1, , a b]`.
fn array(oid: i32, text: &str) -> String {
    let element = ARRAYS.iter().find(|(array, _)| *array == oid).map_or(25, |(_, element)| *element);
    let (mut out, mut quoted, mut word) = (String::new(), false, String::new());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' if quoted => word.extend(chars.next()),
            '"' => quoted = !quoted,
            '{' if !quoted => out.push('['),
            ',' | '}' if !quoted => {
                // Empty is what stands behind an array in an array, too.
                match element {
                    _ if word == "NULL" || word.is_empty() => {}
                    16 | 1083 | 1114 | 1184 => out.push_str(&value(element, &word)),
                    _ => out.push_str(&word),
                }
                word.clear();
                out.push_str(if c == ',' { ", " } else { "]" });
            }
            c => word.push(c),
        }
    }
    out
}

/// JSON as Arrow shows structs and lists of lists, which Fleuve sends so: `{"a":[1,null],"b":"x"}` as `{a: [1, ], b: x}`.
fn structure(json: &str) -> String {
    let (mut out, mut chars) = (String::new(), json.chars().peekable());
    while let Some(c) = chars.next() {
        match c {
            '"' => {
                let mut text = String::from(c);
                while let Some(c) = chars.next() {
                    text.push(c);
                    match c {
                        '\\' => text.extend(chars.next()),
                        '"' => break,
                        _ => {}
                    }
                }
                out.push_str(&serde_json::from_str::<String>(&text).unwrap_or(text));
            }
            ',' | ':' => out.extend([c, ' ']),
            // Of true, false and null only the last begins so.
            'n' => while chars.next_if(|c| c.is_ascii_alphabetic()).is_some() {},
            c if c.is_whitespace() => {}
            c => out.push(c),
        }
    }
    out
}
