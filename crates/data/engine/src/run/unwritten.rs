//! Records that a sink has to write where a change of its view cannot be handed to it: what it wrote before has other columns.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, LargeBinaryArray, RecordBatch, StringArray, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema};
use bytes::Bytes;
use fleuve_types::{Epoch, Error, ObjectId, Result};

/// A record as a sink writes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SinkRecord {
    /// Its key.
    pub key: Option<Bytes>,
    /// Its value; none is a tombstone.
    pub value: Option<Bytes>,
}

impl SinkRecord {
    pub(super) fn memory_bytes(&self) -> usize {
        size_of::<Self>() + [&self.key, &self.value].into_iter().flatten().map(Bytes::len).sum::<usize>()
    }
}

/// Records of one sink and epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unwritten {
    pub(super) sink: ObjectId,
    pub(super) epoch: Epoch,
    pub(super) records: Vec<SinkRecord>,
}

impl Unwritten {
    /// As a checkpoint keeps it.
    pub(super) fn to_batch(&self) -> Result<RecordBatch> {
        let rows = self.records.len();
        let bytes = |of: fn(&SinkRecord) -> Option<&Bytes>| -> ArrayRef {
            Arc::new(self.records.iter().map(|r| of(r).map(AsRef::as_ref)).collect::<LargeBinaryArray>())
        };
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from(vec![self.sink.to_string(); rows])),
            Arc::new(UInt64Array::from(vec![self.epoch; rows])),
            bytes(|r| r.key.as_ref()),
            bytes(|r| r.value.as_ref()),
        ];
        let schema = Schema::new(vec![
            Field::new("sink", DataType::Utf8, false),
            Field::new("epoch", DataType::UInt64, false),
            Field::new("key", DataType::LargeBinary, true),
            Field::new("value", DataType::LargeBinary, true),
        ]);
        crate::state::batch_of(&Arc::new(schema), columns, rows)
    }

    /// What [`Unwritten::to_batch`] gave, of one record at least.
    pub(super) fn from_batch(batch: &RecordBatch) -> Result<Self> {
        let damaged = || Error::bug("saved records of a sink are damaged");
        let [sinks, epochs, keys, values] = batch.columns() else { return Err(damaged()) };
        let sinks = sinks.as_any().downcast_ref::<StringArray>().filter(|s| !s.is_empty()).ok_or_else(damaged)?;
        let epochs = epochs.as_any().downcast_ref::<UInt64Array>().ok_or_else(damaged)?;
        let bytes = |array: &ArrayRef| -> Result<Vec<Option<Bytes>>> {
            let array = array.as_any().downcast_ref::<LargeBinaryArray>().ok_or_else(damaged)?;
            Ok(array.iter().map(|b| b.map(Bytes::copy_from_slice)).collect())
        };
        let records = bytes(keys)?.into_iter().zip(bytes(values)?).map(|(key, value)| SinkRecord { key, value });
        let sink = sinks.value(0).parse().map_err(|_| damaged())?;
        Ok(Self { sink, epoch: epochs.value(0), records: records.collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_kept_with_their_keys_and_tombstones() {
        let record = |key: Option<&'static str>, value: Option<&'static str>| SinkRecord {
            key: key.map(|k| Bytes::from_static(k.as_bytes())),
            value: value.map(|v| Bytes::from_static(v.as_bytes())),
        };
        let records = vec![record(Some("a"), None), record(Some(""), Some("1")), record(None, Some(""))];
        let unwritten = Unwritten { sink: ObjectId(7), epoch: 9, records };
        assert_eq!(Unwritten::from_batch(&unwritten.to_batch().unwrap()).unwrap(), unwritten);
        let none = Unwritten { records: vec![], ..unwritten };
        assert!(Unwritten::from_batch(&none.to_batch().unwrap()).is_err());
    }
}
