use super::*;

#[test]
fn bytes_are_read_as_postgresql_reads_them() {
    let cases: &[(&str, &[u8])] = &[
        ("\\xdead", b"\xde\xad"),
        ("\\xDE ad", b"\xde\xad"),
        ("\\x", b""),
        ("", b""),
        ("abc", b"abc"),
        ("a\\\\b", b"a\\b"),
        ("\\000\\377", b"\x00\xff"),
        ("é", "é".as_bytes()),
    ];
    for (text, wanted) in cases {
        assert_eq!(bytes::of_text(text).unwrap(), *wanted, "{text}");
    }
    for text in ["\\xdea", "\\xzz", "\\", "\\9", "\\400", "a\\b", "\\x\u{e9}"] {
        assert!(bytes::of_text(text).is_err(), "{text}");
    }
}

#[test]
fn seconds_may_be_left_out() {
    let cases = [
        ("2026-05-01 08:00", "2026-05-01 08:00:00"),
        ("2026-05-01T08:00Z", "2026-05-01T08:00:00Z"),
        (" 2026-05-01 08:00+02 ", "2026-05-01 08:00:00+02"),
        ("2026-05-01 08:00:30", "2026-05-01 08:00:30"),
        ("2026-05-01", "2026-05-01"),
        ("2026-05-01 8:00", "2026-05-01 8:00"),
        ("ééééééééééééééééé", "ééééééééééééééééé"),
    ];
    for (text, wanted) in cases {
        assert_eq!(with_seconds(text), wanted);
    }
}

#[test]
fn digits_beyond_the_unit_are_rounded() {
    let cases = [
        ("2024-01-01 00:00:00.1234567", TimeUnit::Microsecond, "2024-01-01 00:00:00.123457"),
        ("2024-12-31T23:59:59.9999999Z", TimeUnit::Microsecond, "2025-01-01 00:00:00.000000Z"),
        ("2024-01-01 00:00:00.1234565 +02", TimeUnit::Microsecond, "2024-01-01 00:00:00.123456 +02"),
        ("2024-01-01 00:00:00.123456", TimeUnit::Microsecond, "2024-01-01 00:00:00.123456"),
        ("2024-01-01 00:00:00.6", TimeUnit::Second, "2024-01-01 00:00:01"),
        ("2024-01-01 00:00:00.0006", TimeUnit::Millisecond, "2024-01-01 00:00:00.001"),
        ("2024-01-01 00:00:00.1234567", TimeUnit::Nanosecond, "2024-01-01 00:00:00.1234567"),
        ("x.1234567", TimeUnit::Microsecond, "x.1234567"),
    ];
    for (text, unit, wanted) in cases {
        assert_eq!(of_time(text, unit), wanted);
    }
}
