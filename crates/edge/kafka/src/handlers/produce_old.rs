//! Produce in versions 0 to 2, from before record batches: refused in words of their own. They are told of at all because
//! librdkafka compresses nothing for a broker without them.

use bytes::{BufMut, Bytes, BytesMut};
use fleuve_types::{Error, Result};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::ProduceRequest;

use crate::codec::Header;

fn count(n: usize) -> Result<i32> {
    i32::try_from(n).map_err(|_| Error::bug("an answer has too many parts"))
}

/// `UNSUPPORTED_VERSION` for every partition, in the layout of those versions.
pub(crate) fn refuse(header: &Header, request: &ProduceRequest) -> Result<Bytes> {
    let mut out = BytesMut::new();
    out.put_i32(0);
    out.put_i32(header.correlation_id);
    out.put_i32(count(request.topic_data.len())?);
    for topic in &request.topic_data {
        let length = i16::try_from(topic.name.len()).map_err(|_| Error::bug("a name came in that cannot go out"))?;
        out.put_i16(length);
        out.put_slice(topic.name.as_bytes());
        out.put_i32(count(topic.partition_data.len())?);
        for part in &topic.partition_data {
            out.put_i32(part.index);
            out.put_i16(ResponseError::UnsupportedVersion.code());
            out.put_i64(-1);
            if header.version >= 2 {
                out.put_i64(-1);
            }
        }
    }
    if header.version >= 1 {
        out.put_i32(0);
    }
    let length = count(out.len() - 4)?;
    out[..4].copy_from_slice(&length.to_be_bytes());
    Ok(out.freeze())
}
