use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::{ApiKey, RequestHeader};
use kafka_protocol::protocol::Encodable;

use super::request::decode_body;
use super::shape::{Field, Kind, check};
use super::shapes::SHAPES;
use super::*;

/// A small generator of pseudo-random numbers, the same in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }
}

/// Writes a random request in the layout that the table says.
struct Writer<'a> {
    out: BytesMut,
    version: i16,
    flexible: bool,
    dice: &'a mut Dice,
}

impl Writer<'_> {
    fn varint(&mut self, mut n: u32) {
        while n >= 0x80 {
            self.out.put_u8(n as u8 | 0x80);
            n >>= 7;
        }
        self.out.put_u8(n as u8);
    }

    fn length(&mut self, n: usize, wide: bool) {
        match (self.flexible, wide) {
            (true, _) => self.varint(n as u32 + 1),
            (false, true) => self.out.put_i32(n as i32),
            (false, false) => self.out.put_i16(n as i16),
        }
    }

    fn kind(&mut self, kind: &Kind) {
        match kind {
            Kind::Fixed(n) => (0..*n).for_each(|_| {
                let byte = self.dice.roll(2) as u8;
                self.out.put_u8(byte);
            }),
            Kind::Text | Kind::Blob => {
                let n = self.dice.roll(5) as usize;
                self.length(n, matches!(kind, Kind::Blob));
                self.out.put_bytes(b'x', n);
            }
            Kind::List(of) => {
                let n = self.dice.roll(4) as usize;
                self.length(n, true);
                (0..n).for_each(|_| self.kind(of));
            }
            Kind::Struct(fields) => self.fields(fields),
            Kind::Nullable(fields) => {
                if self.dice.roll(2) == 0 {
                    self.out.put_i8(-1);
                } else {
                    self.out.put_i8(1);
                    self.fields(fields);
                }
            }
        }
    }

    fn fields(&mut self, fields: &'static [Field]) {
        let version = self.version;
        let tagged = |f: &&Field| f.tag.is_some_and(|(_, from)| version >= from);
        for field in fields.iter().filter(|f| !tagged(f)) {
            if (field.from..=field.to).contains(&version) {
                self.kind(&field.kind);
            }
        }
        if !self.flexible {
            return;
        }
        let known: Vec<&Field> = fields.iter().filter(tagged).collect();
        self.varint(known.len() as u32 + 1);
        for field in known {
            self.varint(field.tag.unwrap().0);
            let mut inner = Writer { out: BytesMut::new(), version, flexible: true, dice: self.dice };
            inner.kind(&field.kind);
            let bytes = inner.out;
            self.varint(bytes.len() as u32);
            self.out.put_slice(&bytes);
        }
        // One that nobody knows.
        self.varint(9999);
        self.varint(3);
        self.out.put_slice(b"new");
    }
}

fn random_body(key: i16, version: i16, dice: &mut Dice) -> Bytes {
    let shape = SHAPES.iter().find(|s| s.key == key).unwrap();
    let mut writer = Writer { out: BytesMut::new(), version, flexible: version >= shape.flexible_from, dice };
    writer.fields(shape.fields);
    writer.out.freeze()
}

fn read_versions(api: &Api) -> std::ops::RangeInclusive<i16> {
    // Produce 0 to 2 are read through a detour.
    let from = if api.key == 0 { 3 } else { api.min_version };
    from..=api.max_version
}

#[test]
fn the_layouts_are_those_of_the_decoder() {
    let mut dice = Dice(7);
    for api in APIS {
        for version in read_versions(api) {
            for _ in 0..50 {
                let body = random_body(api.key, version, &mut dice);
                assert_eq!(check(api.key, version, &body), Ok(body.len()), "{} {version}", api.name);
                let mut rest = body.clone();
                let decoded = decode_body(api.key, version, &mut rest);
                assert!(decoded.is_ok(), "{} {version}: {body:02x?}", api.name);
                assert!(rest.is_empty(), "{} {version} leaves {} bytes", api.name, rest.len());
                decode_request_body(api.key, version, body).unwrap();
            }
        }
    }
}

#[test]
fn every_api_has_a_layout_and_the_versions_exist() {
    for api in APIS {
        let shape = SHAPES.iter().find(|s| s.key == api.key).expect(api.name);
        assert_eq!(shape.flexible_from, api.flexible_from, "{}", api.name);
        let range = ApiKey::try_from(api.key).unwrap().valid_versions();
        assert!(api.max_version <= range.max, "{}", api.name);
        assert!(*read_versions(api).start() >= range.min, "{}", api.name);
    }
}

#[test]
fn a_cut_request_is_refused_at_every_length() {
    let mut dice = Dice(11);
    for api in APIS {
        for version in read_versions(api) {
            let body = random_body(api.key, version, &mut dice);
            for cut in 0..body.len() {
                let answer = decode_request_body(api.key, version, body.slice(..cut));
                assert!(answer.is_err(), "{} {version} cut at {cut}", api.name);
            }
        }
    }
}

#[test]
fn too_many_elements_are_refused() {
    // Metadata version 1: an array of strings, each of them empty.
    let n = MAX_ELEMENTS + 1;
    let mut body = BytesMut::new();
    body.put_u32(n);
    body.put_bytes(0, n as usize * 2);
    assert_eq!(decode_request_body(3, 1, body.freeze()), Err(Malformed::TooMany));
}

#[test]
fn a_tagged_field_has_the_length_that_it_says() {
    // Fetch 12 without topics, whose tag 0 is the id of the cluster.
    let body = |says: u8| {
        let mut body = BytesMut::from(&[0; 25][..]);
        body.put_slice(&[1, 1, 1]);
        body.put_slice(&[1, 0, says, 3, b'i', b'd']);
        body.freeze()
    };
    assert!(decode_request_body(1, 12, body(3)).is_ok());
    assert_eq!(decode_request_body(1, 12, body(2)), Err(Malformed::TagLength));
    assert_eq!(decode_request_body(1, 12, body(9)), Err(Malformed::TagLength));
}

fn frame(api_key: i16, version: i16, client: Option<&str>, body: &[u8]) -> Vec<u8> {
    let header = RequestHeader::default()
        .with_request_api_key(api_key)
        .with_request_api_version(version)
        .with_correlation_id(77)
        .with_client_id(client.map(string));
    let mut out = BytesMut::new();
    let header_version = ApiKey::try_from(api_key).unwrap().request_header_version(version);
    header.encode(&mut out, header_version).unwrap();
    out.put_slice(body);
    out.to_vec()
}

#[test]
fn headers_of_both_kinds_are_read() {
    let mut dice = Dice(5);
    for api in APIS {
        for version in read_versions(api) {
            for client in [None, Some(""), Some("a client")] {
                let body = random_body(api.key, version, &mut dice);
                let (header, _) = decode_request(&frame(api.key, version, client, &body)).unwrap();
                assert_eq!(header.api_key, api.key);
                assert_eq!(header.version, version);
                assert_eq!(header.correlation_id, 77);
                assert_eq!(header.client_id, client.unwrap_or_default());
            }
        }
    }
}

#[test]
fn produce_before_record_batches_is_read() {
    let mut body = BytesMut::new();
    body.put_i16(1);
    body.put_i32(1000);
    body.put_i32(1);
    body.put_i16(1);
    body.put_slice(b"t");
    body.put_i32(1);
    body.put_i32(0);
    body.put_i32(3);
    body.put_slice(b"old");
    for version in 0..3 {
        let (header, request) = decode_request(&frame(0, version, None, &body)).unwrap();
        assert_eq!(header.version, version);
        let Request::Produce(request) = request else { panic!("{request:?}") };
        assert_eq!(request.acks, 1);
        assert_eq!(request.topic_data[0].partition_data[0].records.as_deref(), Some(&b"old"[..]));
    }
}

#[test]
fn unknown_apis_and_versions_are_told_apart() {
    assert_eq!(decode_request(&[0, 71, 0, 0, 0, 0, 0, 1, 0, 0]), Err(Malformed::UnknownApi));
    assert_eq!(decode_request(&[0, 18, 0, 99, 0, 0, 0, 1, 0, 0]), Err(Malformed::UnknownVersion));
    assert_eq!(decode_request(&[0, 1]), Err(Malformed::Short));
}
