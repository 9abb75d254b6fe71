use super::*;

#[test]
fn values_are_as_they_are_without_a_wire() {
    for (oid, text, shown) in [
        (16, "t", "true"),
        (1114, "2024-02-29 10:11:12.5", "2024-02-29T10:11:12.500"),
        (1184, "2024-02-29 10:11:12.123456+00", "2024-02-29T10:11:12.123456Z"),
        (1083, "23:59:59.1234", "23:59:59.123400"),
        (1000, "{t,NULL,f}", "[true, , false]"),
        (1007, "{{1,2},{3,4}}", "[[1, 2], [3, 4]]"),
        (1009, "{a,\"b, c\",\"\"}", "[a, b, c, ]"),
        // Arrow does not round in lists.
        (1022, "{0.30000000000000004}", "[0.30000000000000004]"),
        (1115, "{\"2024-02-29 10:11:12\",NULL}", "[2024-02-29T10:11:12, ]"),
        (114, "{\"a\": 1}", "{\"a\": 1}"),
    ] {
        assert_eq!(value(oid, text), shown, "{oid}");
    }
    let json = "{\"a\":[1,null,true],\"b\":\"x\\\"y:\\u00e4\",\"c\":null}";
    assert_eq!(structure(json), "{a: [1, , true], b: x\"y:ä, c: }");
}

#[test]
fn columns_are_told_as_a_stream_has_them() {
    let column = |oid, modifier| Column { name: "a\"b".into(), kind: kind(oid), oid, modifier }.definition();
    assert_eq!(column(20, -1).unwrap(), "\"a\"\"b\" BIGINT");
    assert_eq!(column(1700, ((20 << 16) | 3) + 4).unwrap(), "\"a\"\"b\" DECIMAL(20,3)");
    assert_eq!(column(1009, -1).unwrap(), "\"a\"\"b\" TEXT[]");
    assert!(column(114, -1).unwrap_err().message.contains("object id 114"));
}
