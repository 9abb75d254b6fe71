use bytes::{BufMut, Bytes, BytesMut};

use super::*;
use crate::error::{Severity, code};

fn startup(version: u32, rest: &[u8]) -> BytesMut {
    let mut b = BytesMut::new();
    b.put_u32(8 + rest.len() as u32);
    b.put_u32(version);
    b.put_slice(rest);
    b
}

#[test]
fn a_session_packet_is_read_whole_or_not_at_all() {
    let whole = startup(3 << 16, b"user\0ann\0database\0main\0\0");
    for cut in 0..whole.len() {
        let mut part = BytesMut::from(&whole[..cut]);
        assert_eq!(take_startup(&mut part).unwrap(), None);
        assert_eq!(part.len(), cut);
    }
    let mut buf = whole;
    buf.put_slice(b"rest");
    let StartupPacket::Session { major, minor, parameters } = take_startup(&mut buf).unwrap().unwrap() else {
        panic!()
    };
    assert_eq!((major, minor), (3, 0));
    assert_eq!(parameters, [("user".into(), "ann".into()), ("database".into(), "main".into())]);
    assert_eq!(&buf[..], b"rest");
}

#[test]
fn startup_packets_out_of_bounds_are_refused() {
    for bytes in [&[0, 0, 0, 4, 0, 0, 0, 0][..], &[0x7f, 0, 0, 0, 0, 3, 0, 0], &[0x16, 3, 1]] {
        assert_eq!(take_startup(&mut BytesMut::from(bytes)).unwrap_err().severity, Severity::Fatal);
    }
    assert!(take_startup(&mut startup(3 << 16, b"user\0ann")).is_err());
}

#[test]
fn requests_for_encryption_and_cancel_are_told_apart() {
    assert_eq!(take_startup(&mut startup(80_877_103, b"")).unwrap(), Some(StartupPacket::Ssl));
    assert_eq!(take_startup(&mut startup(80_877_104, b"")).unwrap(), Some(StartupPacket::GssEnc));
    let packet = take_startup(&mut startup(80_877_102, &[0, 0, 0, 7, 1, 2, 3, 4])).unwrap();
    assert_eq!(packet, Some(StartupPacket::Cancel { pid: 7, secret: Bytes::from_static(&[1, 2, 3, 4]) }));
}

#[test]
fn a_large_message_is_refused_before_it_is_read() {
    let mut buf = BytesMut::from(&[b'Q', 0x3f, 0xff, 0xff, 0xff][..]);
    let e = take_frame(&mut buf, 1024).unwrap_err();
    assert_eq!((e.severity, e.code), (Severity::Fatal, code::PROGRAM_LIMIT));
    let mut buf = BytesMut::from(&[b'Q', 0, 0, 0, 3][..]);
    assert!(take_frame(&mut buf, 1024).is_err());
}

#[test]
fn bind_is_read_and_every_cut_of_it_is_an_error() {
    let mut b = BytesMut::new();
    b.put_slice(b"p\0s\0");
    b.put_u16(1);
    b.put_i16(1);
    b.put_u16(2);
    b.put_i32(-1);
    b.put_i32(3);
    b.put_slice(b"abc");
    b.put_u16(1);
    b.put_i16(0);
    let whole = b.freeze();
    let expected = Bind {
        portal: "p".into(),
        statement: "s".into(),
        parameter_formats: vec![1],
        parameters: vec![None, Some(Bytes::from_static(b"abc"))],
        result_formats: vec![0],
    };
    assert_eq!(decode(b'B', whole.clone()).unwrap(), Frontend::Bind(expected));
    for cut in 0..whole.len() {
        assert!(decode(b'B', whole.slice(..cut)).is_err(), "cut at {cut}");
    }
}

#[test]
fn no_body_makes_the_decoder_panic() {
    let mut state = 7u64;
    for kind in 0..=255u8 {
        for length in 0..40usize {
            let bytes: Vec<u8> = (0..length)
                .map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    let v = (state >> 33) as u8;
                    if v < 100 { 0 } else { v }
                })
                .collect();
            let _ = decode(kind, Bytes::from(bytes));
        }
    }
}

#[test]
fn text_that_is_not_utf8_fails_the_statement_only() {
    let e = decode(b'Q', Bytes::from_static(b"select '\xff'\0")).unwrap_err();
    assert_eq!((e.severity, e.code), (Severity::Error, code::CHARACTER_NOT_IN_REPERTOIRE));
}

#[test]
fn messages_carry_their_length() {
    let mut out = Out::new();
    out.command_complete("SELECT 1");
    assert_eq!(&out.bytes[..], b"C\0\0\0\x0dSELECT 1\0");
    let mut out = Out::new();
    out.parameter_status("a\0b", "c");
    assert_eq!(&out.bytes[..], b"S\0\0\0\x09ab\0c\0");
}
