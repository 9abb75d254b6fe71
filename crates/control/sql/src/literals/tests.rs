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
