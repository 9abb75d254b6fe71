use bytes::{Buf, Bytes, BytesMut};

use crate::error::{PgError, PgResult, code};

/// The largest start-up packet, in bytes (PostgreSQL's own limit).
const MAX_STARTUP_BYTES: usize = 10_000;
/// The first bytes of a TLS handshake, which some clients send without asking.
const TLS_HANDSHAKE: u8 = 0x16;
const CANCEL_CODE: u32 = 80_877_102;
const SSL_CODE: u32 = 80_877_103;
const GSS_CODE: u32 = 80_877_104;

/// What a connection can open with.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum StartupPacket {
    /// The client asks for TLS.
    Ssl,
    /// The client asks for GSSAPI encryption.
    GssEnc,
    /// Cancel what another connection runs.
    Cancel { pid: u32, secret: Bytes },
    /// A session.
    Session { major: u16, minor: u16, parameters: Vec<(String, String)> },
}

/// What `Describe` and `Close` name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Statement,
    Portal,
}

/// A message of a running session.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Frontend {
    Query(String),
    Parse {
        name: String,
        sql: String,
        types: Vec<u32>,
    },
    Bind(Bind),
    Describe {
        target: Target,
        name: String,
    },
    Execute {
        portal: String,
        max_rows: usize,
    },
    Close {
        target: Target,
        name: String,
    },
    Flush,
    Sync,
    Terminate,
    /// `CopyData`, `CopyDone`, `CopyFail`: left over from a COPY that was refused.
    Copy,
    FunctionCall,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Bind {
    pub(crate) portal: String,
    pub(crate) statement: String,
    pub(crate) parameter_formats: Vec<i16>,
    /// `None` is NULL.
    pub(crate) parameters: Vec<Option<Bytes>>,
    pub(crate) result_formats: Vec<i16>,
}

/// Takes a start-up packet off `buf`, or `None` if it is not complete yet.
pub(crate) fn take_startup(buf: &mut BytesMut) -> PgResult<Option<StartupPacket>> {
    if buf.first() == Some(&TLS_HANDSHAKE) {
        return Err(PgError::fatal(
            code::FEATURE_NOT_SUPPORTED,
            "this server does not speak TLS yet; connect with sslmode=disable",
        ));
    }
    let Some(length) = buf.first_chunk::<4>().map(|b| u32::from_be_bytes(*b) as usize) else {
        return Ok(None);
    };
    if !(8..=MAX_STARTUP_BYTES).contains(&length) {
        return Err(PgError::fatal(code::PROTOCOL_VIOLATION, "invalid length of startup packet"));
    }
    if buf.len() < length {
        return Ok(None);
    }
    let mut body = Body(buf.split_to(length).freeze());
    body.0.advance(4);
    let version = body.u32()?;
    Ok(Some(match version {
        SSL_CODE => StartupPacket::Ssl,
        GSS_CODE => StartupPacket::GssEnc,
        CANCEL_CODE => StartupPacket::Cancel { pid: body.u32()?, secret: body.0 },
        _ => {
            let mut parameters = Vec::new();
            loop {
                let name = body.cstring()?;
                if name.is_empty() {
                    break;
                }
                parameters.push((name, body.cstring()?));
            }
            StartupPacket::Session { major: (version >> 16) as u16, minor: (version & 0xffff) as u16, parameters }
        }
    }))
}

/// Takes one message (its type and body) off `buf`, or `None` if it is not complete yet. A body over `max_bytes` is refused
/// before it is read.
pub(crate) fn take_frame(buf: &mut BytesMut, max_bytes: usize) -> PgResult<Option<(u8, Bytes)>> {
    let Some(head) = buf.first_chunk::<5>() else { return Ok(None) };
    let kind = head[0];
    let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
    if length < 4 {
        return Err(PgError::fatal(code::PROTOCOL_VIOLATION, "invalid message length"));
    }
    if length > max_bytes {
        return Err(PgError::fatal(
            code::PROGRAM_LIMIT,
            format!("a message of {length} bytes is over the limit of {max_bytes} bytes"),
        )
        .hint("send less at once, or raise the message limit of the PostgreSQL door"));
    }
    if buf.len() < length + 1 {
        return Ok(None);
    }
    let mut frame = buf.split_to(length + 1).freeze();
    frame.advance(5);
    Ok(Some((kind, frame)))
}

/// Reads a message's body. Fatal errors mean that the stream cannot be trusted any more.
pub(crate) fn decode(kind: u8, body: Bytes) -> PgResult<Frontend> {
    let mut body = Body(body);
    let message = match kind {
        b'Q' => Frontend::Query(body.cstring()?),
        b'P' => {
            let (name, sql) = (body.cstring()?, body.cstring()?);
            let count = body.u16()?;
            let types = (0..count).map(|_| body.u32()).collect::<PgResult<_>>()?;
            Frontend::Parse { name, sql, types }
        }
        b'B' => Frontend::Bind(bind(&mut body)?),
        b'D' => Frontend::Describe { target: body.target()?, name: body.cstring()? },
        b'E' => {
            let portal = body.cstring()?;
            let max_rows = usize::try_from(body.u32()? as i32).unwrap_or(0);
            Frontend::Execute { portal, max_rows }
        }
        b'C' => Frontend::Close { target: body.target()?, name: body.cstring()? },
        b'H' => Frontend::Flush,
        b'S' => Frontend::Sync,
        b'X' => Frontend::Terminate,
        b'd' | b'c' | b'f' => return Ok(Frontend::Copy),
        b'F' => return Ok(Frontend::FunctionCall),
        other => {
            let message = format!("invalid frontend message type {other}");
            return Err(PgError::fatal(code::PROTOCOL_VIOLATION, message));
        }
    };
    if !body.0.is_empty() {
        return Err(PgError::fatal(code::PROTOCOL_VIOLATION, "invalid message format: bytes left over"));
    }
    Ok(message)
}

fn bind(body: &mut Body) -> PgResult<Bind> {
    let (portal, statement) = (body.cstring()?, body.cstring()?);
    let count = body.u16()?;
    let parameter_formats = (0..count).map(|_| body.i16()).collect::<PgResult<_>>()?;
    let count = body.u16()?;
    let parameters = (0..count).map(|_| body.value()).collect::<PgResult<_>>()?;
    let count = body.u16()?;
    let result_formats = (0..count).map(|_| body.i16()).collect::<PgResult<_>>()?;
    Ok(Bind { portal, statement, parameter_formats, parameters, result_formats })
}

/// A message body whose reads are checked against what is there.
struct Body(Bytes);

impl Body {
    fn short() -> PgError {
        PgError::fatal(code::PROTOCOL_VIOLATION, "insufficient data left in message")
    }

    fn u16(&mut self) -> PgResult<u16> {
        self.0.try_get_u16().map_err(|_| Self::short())
    }

    fn i16(&mut self) -> PgResult<i16> {
        self.0.try_get_i16().map_err(|_| Self::short())
    }

    fn u32(&mut self) -> PgResult<u32> {
        self.0.try_get_u32().map_err(|_| Self::short())
    }

    fn cstring(&mut self) -> PgResult<String> {
        let Some(end) = self.0.iter().position(|b| *b == 0) else {
            return Err(PgError::fatal(code::PROTOCOL_VIOLATION, "invalid string in message"));
        };
        let bytes = self.0.split_to(end);
        self.0.advance(1);
        match std::str::from_utf8(&bytes) {
            Ok(text) => Ok(text.to_string()),
            Err(_) => {
                Err(PgError::error(code::CHARACTER_NOT_IN_REPERTOIRE, "invalid byte sequence for encoding \"UTF8\""))
            }
        }
    }

    fn target(&mut self) -> PgResult<Target> {
        match self.0.try_get_u8() {
            Ok(b'S') => Ok(Target::Statement),
            Ok(b'P') => Ok(Target::Portal),
            _ => Err(PgError::fatal(code::PROTOCOL_VIOLATION, "invalid target of Describe or Close")),
        }
    }

    fn value(&mut self) -> PgResult<Option<Bytes>> {
        let length = self.u32()? as i32;
        if length == -1 {
            return Ok(None);
        }
        match usize::try_from(length) {
            Ok(length) if length <= self.0.len() => Ok(Some(self.0.split_to(length))),
            _ => Err(Self::short()),
        }
    }
}
