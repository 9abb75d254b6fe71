use bytes::Bytes;
use proptest::prelude::*;

use super::*;

const CODECS: [Compression; 5] =
    [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

type Headers = Vec<(Vec<u8>, Option<Vec<u8>>)>;

#[derive(Clone, Debug)]
struct Owned {
    timestamp_ms: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Headers,
}

fn bytes(max: usize) -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 0..max)
}

fn record() -> impl Strategy<Value = Owned> {
    let headers = proptest::collection::vec((bytes(8), proptest::option::of(bytes(20))), 0..4);
    let fields = (any::<i64>(), proptest::option::of(bytes(30)), proptest::option::of(bytes(300)), headers);
    fields.prop_map(|(ts, key, value, headers)| Owned { timestamp_ms: ts, key, value, headers })
}

fn build(records: &[Owned], builder: BatchBuilder) -> Bytes {
    let mut builder = builder;
    for r in records {
        let headers: Vec<_> = r.headers.iter().map(|(k, v)| (k.as_slice(), v.as_deref())).collect();
        let record = NewRecord {
            timestamp_ms: r.timestamp_ms,
            key: r.key.as_deref(),
            value: r.value.as_deref(),
            headers: &headers,
        };
        builder.push(&record).unwrap();
    }
    builder.build().unwrap()
}

fn same(r: &Record, o: &Owned) -> bool {
    let headers = r.headers.iter().map(|(k, v)| (k.to_vec(), v.as_ref().map(|v| v.to_vec()))).collect::<Headers>();
    r.timestamp_ms == o.timestamp_ms
        && r.key.as_deref() == o.key.as_deref()
        && r.value.as_deref() == o.value.as_deref()
        && headers == o.headers
}

proptest! {
    #[test]
    fn what_is_built_is_read_back(
        records in proptest::collection::vec(record(), 1..30),
        codec in proptest::sample::select(&CODECS[..]),
        base in 0i64..1 << 40,
    ) {
        let built = build(&records, BatchBuilder::new().compression(codec).base_offset(base));
        let batch = Batch::parse(&built).unwrap();
        batch.verify().unwrap();
        prop_assert_eq!(batch.header().last_offset(), base + records.len() as i64 - 1);
        prop_assert_eq!(batch.header().max_timestamp_ms, records.iter().map(|r| r.timestamp_ms).max().unwrap().max(-1));
        let read: Vec<_> = batch.records().unwrap().collect::<Result<_, _>>().unwrap();
        prop_assert_eq!(read.len(), records.len());
        let all = batch.records().unwrap();
        for (borrowed, owned) in all.refs().map(Result::unwrap).zip(&read) {
            prop_assert_eq!((borrowed.offset, borrowed.timestamp_ms), (owned.offset, owned.timestamp_ms));
            prop_assert_eq!((borrowed.key, borrowed.value), (owned.key.as_deref(), owned.value.as_deref()));
            let headers: Vec<_> = owned.headers.iter().map(|(k, v)| (&k[..], v.as_deref())).collect();
            prop_assert_eq!(borrowed.headers, headers);
        }
        for (i, (r, o)) in read.iter().zip(&records).enumerate() {
            prop_assert_eq!(r.offset, base + i as i64);
            prop_assert!(same(r, o), "{:?} is not {:?}", r, o);
        }
    }

    #[test]
    fn hostile_bytes_are_refused_or_read_but_never_panic(
        records in proptest::collection::vec(record(), 1..5),
        codec in proptest::sample::select(&CODECS[..]),
        changes in proptest::collection::vec((any::<u16>(), any::<u8>()), 0..6),
        cut in any::<u16>(),
    ) {
        let mut bytes = build(&records, BatchBuilder::new().compression(codec)).to_vec();
        for (at, to) in changes {
            let at = at as usize % bytes.len();
            bytes[at] = to;
        }
        if cut % 3 == 0 {
            bytes.truncate(cut as usize % (bytes.len() + 1));
        }
        for batch in Batches::new(bytes.into()).flatten() {
            let _ = batch.verify();
            for record in batch.records_within(1 << 20).into_iter().flatten() {
                let _ = record;
            }
        }
    }

    #[test]
    fn varints_round_trip(v in any::<i64>(), w in any::<i32>()) {
        let mut out = Vec::new();
        varint::put_varlong(&mut out, v);
        prop_assert_eq!(out.len(), varint::varlong_len(v));
        varint::put_varint(&mut out, w);
        prop_assert_eq!(out.len(), varint::varlong_len(v) + varint::varint_len(w));
        let mut c = varint::Cursor::new(&out, 0);
        prop_assert_eq!((c.varlong().unwrap(), c.varint().unwrap(), c.remaining()), (v, w, 0));
    }
}

fn one(value: &[u8], codec: Compression) -> Bytes {
    let mut b = BatchBuilder::new().compression(codec);
    b.push(&NewRecord { value: Some(value), ..NewRecord::default() }).unwrap();
    b.build().unwrap()
}

#[test]
fn a_bomb_is_refused() {
    for codec in CODECS {
        let batch = Batch::parse(&one(&vec![0; 4 << 20], codec)).unwrap();
        let within = batch.records_within(1 << 20);
        match codec {
            Compression::None => assert!(within.is_ok(), "nothing was decompressed"),
            _ => assert!(matches!(within, Err(BatchError::Decompress(_))), "{codec:?}: {within:?}"),
        }
        assert_eq!(batch.records_within(5 << 20).unwrap().count(), 1);
    }
}

#[test]
fn raw_snappy_is_read() {
    // librdkafka writes snappy without the framing of snappy-java.
    let plain = Batch::parse(&one(b"hello hello hello", Compression::None)).unwrap();
    let body = plain.bytes().slice(HEADER_BYTES..);
    let raw = snap::raw::Encoder::new().compress_vec(&body).unwrap();
    assert_eq!(Compression::Snappy.decompress(&raw.into(), 1 << 20).unwrap(), body);
}

#[test]
fn every_flipped_bit_behind_the_checksum_is_seen() {
    let good = one(b"value", Compression::None);
    for at in (17..good.len()).filter(|at| *at != 16) {
        let mut bad = good.to_vec();
        bad[at] ^= 1;
        let batch = Batch::parse(&bad.into());
        assert!(batch.is_err() || batch.unwrap().verify().is_err(), "byte {at}");
    }
}

#[test]
fn a_record_is_laid_out_as_specified() {
    // The layout of KIP-98: length, attributes, timestamp delta, offset delta, key, value, number of headers.
    let mut b = BatchBuilder::new();
    b.push(&NewRecord { timestamp_ms: 1_700_000_000_000, key: Some(b"k"), value: Some(b"v"), headers: &[] }).unwrap();
    let bytes = b.build().unwrap();
    assert_eq!(bytes.len(), HEADER_BYTES + 9);
    assert_eq!(&bytes[61..], &[0x10, 0, 0, 0, 2, b'k', 2, b'v', 0]);
    assert_eq!(bytes[16], 2);
}

#[test]
fn old_formats_are_told_apart() {
    let mut v1 = vec![0; 40];
    v1[16] = 1;
    assert_eq!(BatchHeader::parse(&v1), Err(BatchError::Magic(1)));
    assert_eq!(BatchBuilder::new().build(), Err(BatchError::Invalid("a batch needs a record".into())));
}

#[test]
fn sequence_numbers_wrap() {
    let mut h = *Batch::parse(&one(b"", Compression::None)).unwrap().header();
    h.base_sequence = i32::MAX;
    h.last_offset_delta = 2;
    assert_eq!(h.last_sequence(), 1);
}
