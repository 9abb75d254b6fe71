//! Any bytes as record batches: no panic, no large allocation; and what can be read is the same once written again.

#![no_main]

use bytes::Bytes;
use fleuve_log::batch::{Batch, BatchBuilder, Batches, HEADER_BYTES, NewRecord, Record};
use libfuzzer_sys::fuzz_target;

/// Enough for any honest input of the fuzzer; a bomb is stopped here.
const DECOMPRESSED_BYTES: usize = 4 << 20;

fuzz_target!(|bytes: &[u8]| {
    read(Bytes::copy_from_slice(bytes));
    if let Some(framed) = frame(bytes) {
        read(framed);
    }
});

/// Makes the bytes a batch whose length, format and number of records fit, so that the records are reached.
fn frame(bytes: &[u8]) -> Option<Bytes> {
    let (count, rest) = bytes.split_first()?;
    let mut batch = rest.to_vec();
    if batch.len() < HEADER_BYTES {
        return None;
    }
    let length = i32::try_from(batch.len() - 12).ok()?;
    batch[0] &= 0x3f;
    batch[8..12].copy_from_slice(&length.to_be_bytes());
    batch[16] = 2;
    batch[23..27].copy_from_slice(&i32::from(*count).to_be_bytes());
    batch[57..61].copy_from_slice(&(i32::from(*count) + 1).to_be_bytes());
    Some(batch.into())
}

fn read(bytes: Bytes) {
    for batch in Batches::new(bytes).flatten() {
        let _ = batch.verify();
        let Ok(records) = batch.records_within(DECOMPRESSED_BYTES) else { continue };
        let borrowed = records.refs().map(|r| r.map(|r| r.offset)).collect::<Vec<_>>();
        let owned: Vec<_> = records.collect();
        assert_eq!(
            borrowed,
            owned.iter().map(|r| r.as_ref().map(|r| r.offset).map_err(Clone::clone)).collect::<Vec<_>>()
        );
        if let Ok(owned) = owned.into_iter().collect::<Result<Vec<_>, _>>() {
            write_again(&owned);
        }
    }
}

fn write_again(records: &[Record]) {
    let mut builder = BatchBuilder::new();
    for r in records {
        let headers: Vec<_> = r.headers.iter().map(|(k, v)| (&k[..], v.as_deref())).collect();
        let record = NewRecord {
            timestamp_ms: r.timestamp_ms,
            key: r.key.as_deref(),
            value: r.value.as_deref(),
            headers: &headers,
        };
        builder.push(&record).expect("it was read from a batch");
    }
    if records.is_empty() {
        return;
    }
    let batch = Batch::parse(&builder.build().expect("not empty")).expect("just built");
    batch.verify().expect("just built");
    let again = batch.records().expect("not compressed").collect::<Result<Vec<_>, _>>().expect("just built");
    let content = |r: &Record| (r.timestamp_ms, r.key.clone(), r.value.clone(), r.headers.clone());
    assert!(records.iter().map(content).eq(again.iter().map(content)));
}
