//! A small client of the PostgreSQL protocol, version 3: simple queries, answers as text.
//!
//! <https://www.postgresql.org/docs/current/protocol-message-formats.html>

use fleuve_types::{Error, ErrorKind, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use super::database::{Answer, count};
use super::show::{self, Kind};
use crate::config::HostPort;

const VERSION: i32 = 3 << 16;
/// A longer message is none of this protocol's.
const MAX_MESSAGE_BYTES: usize = 1 << 30;

/// A connection.
pub struct Wire {
    stream: BufReader<TcpStream>,
}

struct Column {
    kind: Kind,
    oid: i32,
}

fn broken(e: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Unknown, format!("the connection broke: {e}"))
}

fn strange(what: &str) -> Error {
    Error::unsupported(format!("the server's answer cannot be read: {what}"))
}

impl Wire {
    /// Connects as user `fleuve` to database `main`.
    ///
    /// # Errors
    /// When nobody answers there, or somebody who wants a password.
    pub async fn connect(address: &HostPort) -> Result<Self> {
        let stream = TcpStream::connect((address.host.as_str(), address.port))
            .await
            .map_err(|e| Error::new(ErrorKind::Retry, format!("cannot reach a PostgreSQL door at {address}: {e}")))?;
        let mut wire = Self { stream: BufReader::new(stream) };
        let mut body = VERSION.to_be_bytes().to_vec();
        for text in ["user", "fleuve", "database", "main", "application_name", "fleuve slt", ""] {
            body.extend(text.as_bytes());
            body.push(0);
        }
        wire.send(None, &body).await?;
        wire.until_ready().await?;
        Ok(wire)
    }

    /// Runs statements and gives the answer of the last.
    ///
    /// # Errors
    /// The server's.
    pub async fn run(&mut self, sql: &str) -> Result<Answer> {
        let mut body = sql.as_bytes().to_vec();
        body.push(0);
        self.send(Some(b'Q'), &body).await?;
        self.until_ready().await
    }

    async fn send(&mut self, tag: Option<u8>, body: &[u8]) -> Result<()> {
        let mut message: Vec<u8> = tag.into_iter().collect();
        let length = i32::try_from(body.len() + 4).map_err(|_| Error::input("the statement is too long"))?;
        message.extend(length.to_be_bytes());
        message.extend(body);
        self.stream.get_mut().write_all(&message).await.map_err(broken)
    }

    async fn until_ready(&mut self) -> Result<Answer> {
        let (mut answer, mut columns, mut error) = (Answer::default(), vec![], None);
        loop {
            let tag = self.stream.read_u8().await.map_err(broken)?;
            let length = self.stream.read_i32().await.map_err(broken)?;
            let length = usize::try_from(length - 4).ok().filter(|n| *n <= MAX_MESSAGE_BYTES);
            let mut body = vec![0; length.ok_or_else(|| strange("a message's length"))?];
            self.stream.read_exact(&mut body).await.map_err(broken)?;
            let mut fields = Fields(&body);
            match tag {
                b'R' if fields.int32()? != 0 => {
                    return Err(Error::unsupported("the server wants a password, and there is no way to give one"));
                }
                b'T' => {
                    columns = fields.columns()?;
                    answer = Answer { kinds: columns.iter().map(|c| c.kind).collect(), ..Answer::default() };
                }
                b'D' => answer.rows.push(fields.row(&columns)?),
                b'C' => answer.count = count(&fields.text()?),
                b'E' => error = Some(fields.error()?),
                b'Z' => return error.map_or(Ok(answer), Err),
                // Parameters, notices, the key for cancelling, an empty query.
                _ => {}
            }
        }
    }
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
                self.text()?;
                self.take(6)?;
                let oid = self.int32()?;
                self.take(8)?;
                Ok(Column { kind: kind(oid), oid })
            })
            .collect()
    }

    fn row(&mut self, columns: &[Column]) -> Result<Vec<String>> {
        (0..self.int16()?)
            .map(|n| match self.int32()? {
                -1 => Ok("NULL".to_string()),
                length => {
                    let bytes = self.take(usize::try_from(length).map_err(|_| strange("a value's length"))?)?;
                    let text = String::from_utf8_lossy(bytes);
                    Ok(columns.get(n as usize).map_or_else(|| text.to_string(), |c| value(c.oid, &text)))
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
        18 | 19 | 25 | 1042 | 1043 => Kind::Text,
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
        1114 | 1184 => {
            let zone = if oid == 1184 { "Z" } else { "" };
            text.strip_suffix("+00").unwrap_or(text).replacen(' ', "T", 1) + zone
        }
        199 | 1000..=1028 | 1115 | 1182..=1187 | 1231 => array(text),
        _ => text.to_string(),
    }
}

/// `{1,NULL,"a b"}` as `[1, , a b]`.
fn array(text: &str) -> String {
    let (mut out, mut quoted, mut word) = (String::new(), false, String::new());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' if quoted => word.extend(chars.next()),
            '"' => quoted = !quoted,
            '{' if !quoted => out.push('['),
            ',' | '}' if !quoted => {
                if word != "NULL" {
                    out.push_str(&word);
                }
                word.clear();
                out.push_str(if c == ',' { ", " } else { "]" });
            }
            c => word.push(c),
        }
    }
    out
}
