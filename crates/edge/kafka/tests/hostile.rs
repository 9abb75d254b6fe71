//! Hostile bytes must not make the decoder reserve memory that they do not have.

#![allow(clippy::unwrap_used)] // a test

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::BytesMut;
use fleuve_kafka::{APIS, decode_request};
use kafka_protocol::messages::{ApiKey, RequestHeader};
use kafka_protocol::protocol::Encodable;

/// Remembers the largest piece of memory that was asked for.
struct Watching;

static LARGEST: AtomicUsize = AtomicUsize::new(0);

unsafe impl GlobalAlloc for Watching {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LARGEST.fetch_max(layout.size(), Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        LARGEST.fetch_max(size, Ordering::Relaxed);
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Watching = Watching;

/// What the test itself and honest small requests need at most.
const ENOUGH_BYTES: usize = 4 << 20;

fn header(key: i16, version: i16) -> BytesMut {
    let mut out = BytesMut::new();
    RequestHeader::default()
        .with_request_api_key(key)
        .with_request_api_version(version)
        .encode(&mut out, ApiKey::try_from(key).unwrap().request_header_version(version))
        .unwrap();
    out
}

/// Lengths as the protocol writes them, most of them lies.
const LIES: [&[u8]; 9] = [
    &[0x7f, 0xff, 0xff, 0xff],
    &[0x0f, 0xff, 0xff, 0xff],
    &[0x00, 0xff, 0xff, 0xff],
    &[0x80, 0x00, 0x00, 0x00],
    &[0xff, 0xff, 0xff, 0xff, 0x0f],
    &[0xff, 0xff, 0xff, 0x7f],
    &[0xff, 0xff, 0x7f],
    &[0x7f, 0xff],
    &[0xff, 0xff, 0xff, 0xfe],
];

/// One test only: the allocator watches the whole process.
#[test]
fn hostile_lengths_reserve_nothing() {
    let mut dice: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut roll = move |below: u64| {
        dice ^= dice << 13;
        dice ^= dice >> 7;
        dice ^= dice << 17;
        dice % below
    };
    for api in APIS {
        for version in api.min_version..=api.max_version {
            let head = header(api.key, version);
            for lie in LIES {
                for zeros in 0..40 {
                    let mut frame = head.to_vec();
                    frame.extend(std::iter::repeat_n(0, zeros));
                    frame.extend_from_slice(lie);
                    frame.extend([1; 40]);
                    let _ = decode_request(&frame);
                }
            }
            for _ in 0..300 {
                let mut frame = head.to_vec();
                for _ in 0..roll(60) {
                    match roll(6) {
                        0 => frame.extend_from_slice(LIES[roll(9) as usize]),
                        1 => frame.extend_from_slice(&[0, 0, 0, roll(4) as u8]),
                        2 => frame.push(roll(256) as u8),
                        _ => frame.push(roll(4) as u8),
                    }
                }
                let _ = decode_request(&frame);
            }
            let largest = LARGEST.load(Ordering::Relaxed);
            assert!(largest < ENOUGH_BYTES, "{} version {version} reserved {largest} bytes", api.name);
        }
    }
}
