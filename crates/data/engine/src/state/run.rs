//! State runs: immutable files of Arrow IPC (LZ4) sections, one per operator that changed.

use std::io::Cursor;
use std::sync::Arc;

use arrow::array::{Array, BinaryArray, BinaryBuilder, Int64Array, RecordBatch, UInt8Array};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::ipc::CompressionType;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::{IpcWriteOptions, StreamWriter};
use fleuve_types::{Error, Result};

/// The first bytes of a run: name and version of the format. The version changes when any state encoding does.
const MAGIC: &[u8; 8] = b"FLVRUN02";
/// A section may not be larger than this.
const MAX_SECTION_BYTES: u64 = 8 << 30;

/// What one operator wrote.
pub(crate) struct Section {
    /// The operator's number in its circuit.
    pub(crate) node: u32,
    pub(crate) batch: RecordBatch,
}

/// Sections to bytes: magic, then `node u32, length u64, IPC stream` each, then a CRC-like hash of everything before.
pub(crate) fn write_run(sections: &[Section]) -> Result<Vec<u8>> {
    let mut out = MAGIC.to_vec();
    let bug = |e: arrow::error::ArrowError| Error::bug(format!("write a state run: {e}"));
    for section in sections {
        let options = IpcWriteOptions::default().try_with_compression(Some(CompressionType::LZ4_FRAME)).map_err(bug)?;
        let mut writer =
            StreamWriter::try_new_with_options(Vec::new(), &section.batch.schema(), options).map_err(bug)?;
        writer.write(&section.batch).map_err(bug)?;
        writer.finish().map_err(bug)?;
        let bytes = writer.into_inner().map_err(bug)?;
        out.extend_from_slice(&section.node.to_le_bytes());
        out.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
        out.extend_from_slice(&bytes);
    }
    let sum = super::hash_bytes(&out);
    out.extend_from_slice(&sum.to_le_bytes());
    Ok(out)
}

/// What [`write_run`] wrote.
pub(crate) fn read_run(bytes: &[u8]) -> Result<Vec<Section>> {
    let broken = |what: &str| Error::new(fleuve_types::ErrorKind::Io, format!("a state run is damaged: {what}"));
    let Some((body, sum)) = bytes.split_last_chunk::<8>() else {
        return Err(broken("too short"));
    };
    if super::hash_bytes(body) != u64::from_le_bytes(*sum) {
        return Err(broken("its checksum does not match"));
    }
    let mut rest = body.strip_prefix(MAGIC.as_slice()).ok_or_else(|| broken("it is of another format version"))?;
    let mut sections = Vec::new();
    while !rest.is_empty() {
        let (node, r) = rest.split_first_chunk::<4>().ok_or_else(|| broken("section header"))?;
        let (len, r) = r.split_first_chunk::<8>().ok_or_else(|| broken("section header"))?;
        let len = u64::from_le_bytes(*len);
        if len > MAX_SECTION_BYTES || len > r.len() as u64 {
            return Err(broken("section length"));
        }
        let (data, r) = r.split_at(len as usize);
        rest = r;
        let reader = StreamReader::try_new(Cursor::new(data), None).map_err(|e| broken(&e.to_string()))?;
        for batch in reader {
            let batch = batch.map_err(|e| broken(&e.to_string()))?;
            sections.push(Section { node: u32::from_le_bytes(*node), batch });
        }
    }
    Ok(sections)
}

/// `(key, row, weight)` changes of one arrangement as a batch; `part` tells the arrangements of one operator apart.
pub(crate) fn changes_to_batch(part: u8, changes: &[(Vec<u8>, Vec<u8>, i64)]) -> Result<RecordBatch> {
    let mut keys = BinaryBuilder::new();
    let mut rows = BinaryBuilder::new();
    for (key, row, _) in changes {
        keys.append_value(key);
        rows.append_value(row);
    }
    let schema = Arc::new(Schema::new(vec![
        Field::new("part", DataType::UInt8, false),
        Field::new("key", DataType::Binary, false),
        Field::new("row", DataType::Binary, false),
        Field::new("weight", DataType::Int64, false),
    ]));
    RecordBatch::try_new(
        schema,
        vec![
            Arc::new(UInt8Array::from(vec![part; changes.len()])),
            Arc::new(keys.finish()),
            Arc::new(rows.finish()),
            Arc::new(changes.iter().map(|c| c.2).collect::<Int64Array>()),
        ],
    )
    .map_err(|e| Error::bug(e.to_string()))
}

/// Calls `each(part, key, row, weight)` for what [`changes_to_batch`] wrote.
pub(crate) fn changes_from_batch(batch: &RecordBatch, mut each: impl FnMut(u8, &[u8], &[u8], i64)) -> Result<()> {
    let column = |i: usize| batch.columns().get(i).ok_or_else(|| Error::bug("a state section lacks a column"));
    let wrong = || Error::bug("a state section has other columns than expected");
    let parts = column(0)?.as_any().downcast_ref::<UInt8Array>().ok_or_else(wrong)?;
    let keys = column(1)?.as_any().downcast_ref::<BinaryArray>().ok_or_else(wrong)?;
    let rows = column(2)?.as_any().downcast_ref::<BinaryArray>().ok_or_else(wrong)?;
    let weights = column(3)?.as_any().downcast_ref::<Int64Array>().ok_or_else(wrong)?;
    for i in 0..batch.num_rows() {
        each(parts.value(i), keys.value(i), rows.value(i), weights.value(i));
    }
    Ok(())
}
