use std::io::{Read, Write};

use bytes::Bytes;

use super::{BatchError, invalid};
use crate::limits;

/// How the records of a batch are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// gzip (RFC 1952).
    Gzip,
    /// Snappy; written in the framing of snappy-java, read with that framing or raw.
    Snappy,
    /// LZ4 frames.
    Lz4,
    /// Zstandard frames.
    Zstd,
}

/// What a stream of snappy-java begins with, before two 4-byte version numbers.
const XERIAL_MAGIC: &[u8] = &[0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
const XERIAL_HEADER_BYTES: usize = 16;
const XERIAL_BLOCK_BYTES: usize = 32 << 10;
const ZSTD_LEVEL: i32 = 3;

impl Compression {
    /// The codec of a batch's attribute bits.
    ///
    /// # Errors
    /// `Invalid` for a number that stands for none.
    pub fn from_code(code: u8) -> Result<Self, BatchError> {
        Ok(match code {
            0 => Self::None,
            1 => Self::Gzip,
            2 => Self::Snappy,
            3 => Self::Lz4,
            4 => Self::Zstd,
            other => return Err(invalid(format!("a batch is compressed with unknown codec {other}"))),
        })
    }

    /// The number of the codec in a batch's attributes.
    pub fn code(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Gzip => 1,
            Self::Snappy => 2,
            Self::Lz4 => 3,
            Self::Zstd => 4,
        }
    }

    /// The bytes behind `bytes`, which may be at most `max_bytes`.
    pub(super) fn decompress(self, bytes: &Bytes, max_bytes: usize) -> Result<Bytes, BatchError> {
        match self {
            Self::None => Ok(bytes.clone()),
            Self::Gzip => read_bounded(flate2::read::MultiGzDecoder::new(&bytes[..]), max_bytes),
            Self::Snappy => unsnappy(bytes, max_bytes).map(Bytes::from),
            Self::Lz4 => read_bounded(lz4_flex::frame::FrameDecoder::new(&bytes[..]), max_bytes),
            Self::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(&bytes[..]).map_err(decompress_error)?;
                decoder.window_log_max(limits::ZSTD_WINDOW_LOG).map_err(decompress_error)?;
                read_bounded(decoder, max_bytes)
            }
        }
    }

    /// Compresses `bytes` to the end of `out`.
    pub(super) fn compress(self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), BatchError> {
        let failed = |e: std::io::Error| invalid(format!("cannot compress: {e}"));
        match self {
            Self::None => out.extend_from_slice(bytes),
            Self::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(out, flate2::Compression::default());
                encoder.write_all(bytes).and_then(|()| encoder.finish()).map_err(failed)?;
            }
            Self::Snappy => snappy(bytes, out)?,
            Self::Lz4 => {
                let mut encoder = lz4_flex::frame::FrameEncoder::new(out);
                encoder.write_all(bytes).map_err(failed)?;
                encoder.finish().map_err(|e| invalid(format!("cannot compress: {e}")))?;
            }
            Self::Zstd => zstd::stream::copy_encode(bytes, out, ZSTD_LEVEL).map_err(failed)?,
        }
        Ok(())
    }
}

fn decompress_error(e: impl std::fmt::Display) -> BatchError {
    BatchError::Decompress(e.to_string())
}

fn too_large(max_bytes: usize) -> BatchError {
    BatchError::Decompress(format!("it holds more than {max_bytes} bytes"))
}

fn read_bounded(source: impl Read, max_bytes: usize) -> Result<Bytes, BatchError> {
    let mut out = Vec::new();
    source.take(max_bytes as u64 + 1).read_to_end(&mut out).map_err(decompress_error)?;
    if out.len() > max_bytes {
        return Err(too_large(max_bytes));
    }
    Ok(out.into())
}

fn unsnappy(bytes: &[u8], max_bytes: usize) -> Result<Vec<u8>, BatchError> {
    let mut out = Vec::new();
    if !bytes.starts_with(XERIAL_MAGIC) {
        unsnappy_block(bytes, max_bytes, &mut out)?;
        return Ok(out);
    }
    let mut rest =
        bytes.get(XERIAL_HEADER_BYTES..).ok_or_else(|| decompress_error("a snappy stream ends too early"))?;
    while !rest.is_empty() {
        // snappy-java concatenates streams: a new header may stand where a block would.
        if rest.starts_with(XERIAL_MAGIC) {
            rest = rest.get(XERIAL_HEADER_BYTES..).ok_or_else(|| decompress_error("a snappy stream ends too early"))?;
            continue;
        }
        let (len, tail) = rest.split_first_chunk::<4>().ok_or_else(|| decompress_error("a snappy block is cut off"))?;
        let len = u32::from_be_bytes(*len) as usize;
        let block = tail.get(..len).ok_or_else(|| decompress_error("a snappy block is cut off"))?;
        unsnappy_block(block, max_bytes, &mut out)?;
        rest = &tail[len..];
    }
    Ok(out)
}

fn unsnappy_block(block: &[u8], max_bytes: usize, out: &mut Vec<u8>) -> Result<(), BatchError> {
    let len = snap::raw::decompress_len(block).map_err(decompress_error)?;
    // Snappy makes at most 64 bytes of 3, so a larger length is a lie that must not become an allocation.
    if len > block.len().saturating_mul(32) {
        return Err(decompress_error("a snappy block says it holds more than it can"));
    }
    let start = out.len();
    if start + len > max_bytes {
        return Err(too_large(max_bytes));
    }
    out.resize(start + len, 0);
    let written = snap::raw::Decoder::new().decompress(block, &mut out[start..]).map_err(decompress_error)?;
    out.truncate(start + written);
    Ok(())
}

fn snappy(bytes: &[u8], out: &mut Vec<u8>) -> Result<(), BatchError> {
    out.extend_from_slice(XERIAL_MAGIC);
    out.extend_from_slice(&1u32.to_be_bytes());
    out.extend_from_slice(&1u32.to_be_bytes());
    let mut encoder = snap::raw::Encoder::new();
    for block in bytes.chunks(XERIAL_BLOCK_BYTES) {
        let compressed = encoder.compress_vec(block).map_err(|e| invalid(format!("cannot compress: {e}")))?;
        out.extend_from_slice(&(compressed.len() as u32).to_be_bytes());
        out.extend_from_slice(&compressed);
    }
    Ok(())
}
