use bytes::{BufMut, BytesMut};

use crate::error::PgError;

/// The byte that `ReadyForQuery` carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TransactionStatus {
    Idle,
    InTransaction,
    Failed,
}

impl TransactionStatus {
    fn byte(self) -> u8 {
        match self {
            Self::Idle => b'I',
            Self::InTransaction => b'T',
            Self::Failed => b'E',
        }
    }
}

/// One column of a `RowDescription`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) type_oid: u32,
    /// `pg_type.typlen`
    pub(crate) type_len: i16,
    /// `pg_attribute.atttypmod`, -1 for none.
    pub(crate) type_mod: i32,
}

/// Messages on their way to the client. Writing never blocks; whoever owns it sends the bytes when there are enough.
#[derive(Debug, Default)]
pub(crate) struct Out {
    pub(crate) bytes: BytesMut,
}

impl Out {
    pub(crate) fn new() -> Self {
        Self { bytes: BytesMut::with_capacity(16 * 1024) }
    }

    pub(crate) fn message(&mut self, kind: u8, body: impl FnOnce(&mut BytesMut)) {
        self.bytes.put_u8(kind);
        let start = self.bytes.len();
        self.bytes.put_u32(0);
        body(&mut self.bytes);
        patch_length(&mut self.bytes, start, 0);
    }

    pub(crate) fn authentication_ok(&mut self) {
        self.message(b'R', |b| b.put_u32(0));
    }

    pub(crate) fn negotiate_protocol_version(&mut self, unknown_options: &[String]) {
        self.message(b'v', |b| {
            b.put_u32(3 << 16);
            b.put_u32(unknown_options.len() as u32);
            unknown_options.iter().for_each(|o| cstring(b, o));
        });
    }

    pub(crate) fn parameter_status(&mut self, name: &str, value: &str) {
        self.message(b'S', |b| {
            cstring(b, name);
            cstring(b, value);
        });
    }

    pub(crate) fn backend_key_data(&mut self, pid: u32, secret: u32) {
        self.message(b'K', |b| {
            b.put_u32(pid);
            b.put_u32(secret);
        });
    }

    pub(crate) fn ready_for_query(&mut self, status: TransactionStatus) {
        self.message(b'Z', |b| b.put_u8(status.byte()));
    }

    /// `formats` gives each column's format code; none means text.
    pub(crate) fn row_description(&mut self, columns: &[Column], formats: &[i16]) {
        self.message(b'T', |b| {
            b.put_u16(columns.len() as u16);
            for (i, column) in columns.iter().enumerate() {
                cstring(b, &column.name);
                b.put_u32(0); // table: not told
                b.put_u16(0);
                b.put_u32(column.type_oid);
                b.put_i16(column.type_len);
                b.put_i32(column.type_mod);
                b.put_i16(formats.get(i).copied().unwrap_or(0));
            }
        });
    }

    pub(crate) fn parameter_description(&mut self, types: &[u32]) {
        self.message(b't', |b| {
            b.put_u16(types.len() as u16);
            types.iter().for_each(|t| b.put_u32(*t));
        });
    }

    pub(crate) fn command_complete(&mut self, tag: &str) {
        self.message(b'C', |b| cstring(b, tag));
    }

    pub(crate) fn empty_query_response(&mut self) {
        self.message(b'I', |_| {});
    }

    pub(crate) fn no_data(&mut self) {
        self.message(b'n', |_| {});
    }

    pub(crate) fn parse_complete(&mut self) {
        self.message(b'1', |_| {});
    }

    pub(crate) fn bind_complete(&mut self) {
        self.message(b'2', |_| {});
    }

    pub(crate) fn close_complete(&mut self) {
        self.message(b'3', |_| {});
    }

    pub(crate) fn portal_suspended(&mut self) {
        self.message(b's', |_| {});
    }

    pub(crate) fn error(&mut self, error: &PgError) {
        self.message(b'E', |b| report(b, error));
    }

    pub(crate) fn notice(&mut self, notice: &PgError) {
        self.message(b'N', |b| report(b, notice));
    }
}

/// Fills in a length that was left open at `start`, `less` bytes smaller than what was written from there on.
pub(crate) fn patch_length(bytes: &mut BytesMut, start: usize, less: usize) {
    let length = (bytes.len() - start - less) as u32;
    bytes[start..start + 4].copy_from_slice(&length.to_be_bytes());
}

fn report(b: &mut BytesMut, e: &PgError) {
    let mut field = |kind: u8, value: &str| {
        b.put_u8(kind);
        cstring(b, value);
    };
    field(b'S', e.severity.as_str());
    field(b'V', e.severity.as_str());
    field(b'C', e.code);
    field(b'M', &e.message);
    if let Some(hint) = &e.hint {
        field(b'H', hint);
    }
    if let Some(position) = e.position {
        field(b'P', &position.to_string());
    }
    b.put_u8(0);
}

/// A zero inside would end the string early and break the message apart, so it is left out.
fn cstring(b: &mut BytesMut, text: &str) {
    if text.contains('\0') {
        b.put_slice(text.replace('\0', "").as_bytes());
    } else {
        b.put_slice(text.as_bytes());
    }
    b.put_u8(0);
}
