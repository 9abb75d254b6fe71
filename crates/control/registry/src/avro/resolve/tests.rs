use super::*;

fn parse(text: &str) -> Schema {
    let text = if text.starts_with(['{', '[', '"']) { text.to_string() } else { format!("\"{text}\"") };
    Schema::parse(&text, &[]).unwrap_or_else(|e| panic!("{text}: {e}"))
}

#[track_caller]
fn reads(reader: &str, writer: &str) {
    let why = check_readable(&parse(reader), &parse(writer));
    assert!(why.is_empty(), "{reader} should read {writer}: {why:?}");
}

#[track_caller]
fn fails(reader: &str, writer: &str, expected: &[(MismatchKind, &str)]) {
    let why = check_readable(&parse(reader), &parse(writer));
    let found: Vec<_> = why.iter().map(|m| (m.kind, m.path.as_str())).collect();
    assert_eq!(found, expected, "{reader} <- {writer}: {why:?}");
}

fn record(fields: &str) -> String {
    format!(r#"{{"type":"record","name":"R","fields":[{fields}]}}"#)
}

#[test]
fn primitives_are_promoted_one_way() {
    let all = ["null", "boolean", "int", "long", "float", "double", "bytes", "string"];
    let promoted = [
        ("long", "int"),
        ("float", "int"),
        ("double", "int"),
        ("float", "long"),
        ("double", "long"),
        ("double", "float"),
        ("string", "bytes"),
        ("bytes", "string"),
    ];
    for reader in all {
        for writer in all {
            if reader == writer || promoted.contains(&(reader, writer)) {
                reads(reader, writer);
            } else {
                fails(reader, writer, &[(MismatchKind::TypeMismatch, "/")]);
            }
        }
    }
}

#[test]
fn records_match_fields_by_name_alias_and_default() {
    let a = record(r#"{"name":"a","type":"int"}"#);
    reads(&record(r#"{"name":"b","type":"int","default":0},{"name":"a","type":"long"}"#), &a);
    reads(&record(r#"{"name":"x","aliases":["a"],"type":"int"}"#), &a);
    reads(&record(""), &a);
    fails(
        &record(r#"{"name":"a","type":"int"},{"name":"b","type":"string"}"#),
        &a,
        &[(MismatchKind::ReaderFieldMissingDefaultValue, "/b")],
    );
    fails(&record(r#"{"name":"a","type":"string"}"#), &a, &[(MismatchKind::TypeMismatch, "/a")]);
    reads(&a.replace("\"R\"", "\"other.R\""), &a);
    reads(&a.replace("\"R\"", "\"S\",\"aliases\":[\"R\"]"), &a);
    fails(&a.replace("\"R\"", "\"S\""), &a, &[(MismatchKind::NameMismatch, "/")]);
}

#[test]
fn unions_resolve_branch_by_branch() {
    reads(r#"["null","int"]"#, "int");
    reads(r#"["null","long"]"#, r#"["int","null"]"#);
    reads("double", r#"["int","float"]"#);
    fails("int", r#"["null","int"]"#, &[(MismatchKind::TypeMismatch, "/0")]);
    fails(r#"["null","int"]"#, "string", &[(MismatchKind::MissingUnionBranch, "/")]);
    fails(r#"["null","int"]"#, r#"["null","int","string"]"#, &[(MismatchKind::MissingUnionBranch, "/")]);
}

#[test]
fn enums_fixed_arrays_maps() {
    let small = r#"{"type":"enum","name":"E","symbols":["A"]}"#;
    let large = r#"{"type":"enum","name":"E","symbols":["A","B"]}"#;
    let open = r#"{"type":"enum","name":"E","symbols":["A"],"default":"A"}"#;
    reads(large, small);
    reads(open, large);
    fails(small, large, &[(MismatchKind::MissingEnumSymbols, "/")]);
    let fixed = r#"{"type":"fixed","name":"F","size":4}"#;
    reads(fixed, fixed);
    fails(fixed, &fixed.replace('4', "5"), &[(MismatchKind::FixedSizeMismatch, "/")]);
    fails(fixed, "bytes", &[(MismatchKind::TypeMismatch, "/")]);
    reads(r#"{"type":"array","items":"long"}"#, r#"{"type":"array","items":"int"}"#);
    let map = r#"{"type":"map","values":"int"}"#;
    fails(map, r#"{"type":"map","values":"long"}"#, &[(MismatchKind::TypeMismatch, "/values")]);
    fails(map, r#"{"type":"array","items":"int"}"#, &[(MismatchKind::TypeMismatch, "/")]);
}

#[test]
fn decimals_keep_their_scale() {
    let decimal = |p, s| format!(r#"{{"type":"bytes","logicalType":"decimal","precision":{p},"scale":{s}}}"#);
    reads(&decimal(12, 2), &decimal(10, 2));
    reads("bytes", &decimal(10, 2));
    fails(&decimal(10, 3), &decimal(10, 2), &[(MismatchKind::DecimalMismatch, "/")]);
    fails(&decimal(9, 2), &decimal(10, 2), &[(MismatchKind::DecimalMismatch, "/")]);
}

#[test]
fn types_within_themselves_are_compared_once() {
    let list = |value: &str| {
        format!(
            r#"{{"type":"record","name":"L","fields":[{{"name":"v","type":{value}}},{{"name":"next","type":["null","L"]}}]}}"#
        )
    };
    reads(&list("\"long\""), &list("\"int\""));
    fails(&list("\"int\""), &list("\"long\""), &[(MismatchKind::TypeMismatch, "/v")]);
}

/// What leaned on an assumption that turned out wrong must not be remembered as fitting: in the reader, trying the first branch assumes
/// that `A` reads `A`, finds `B` fine on that ground, and then fails on `x`; the field `b` must be looked at again.
#[test]
fn a_wrong_assumption_is_forgotten() {
    let schema = |x: &str| {
        format!(
            r#"{{"type":"record","name":"R","fields":[
              {{"name":"u","type":["null",{{"type":"record","name":"A","fields":[
                 {{"name":"b","type":{{"type":"record","name":"B","fields":[{{"name":"a","type":["null","A"]}}]}}}},
                 {{"name":"x","type":"{x}"}}]}}]}},
              {{"name":"b","type":"B"}}]}}"#
        )
    };
    let why = check_readable(&parse(&schema("int")), &parse(&schema("string")));
    assert_eq!(why.iter().map(|m| m.path.as_str()).collect::<Vec<_>>(), ["/u", "/b/a"], "{why:?}");
}

#[test]
fn deep_and_wide_schemas_are_given_up_not_followed() {
    let chain = |last: &str| {
        let mut text = format!(r#"[{{"type":"record","name":"R0","fields":[{{"name":"f","type":"{last}"}}]}}"#);
        for n in 1..5000 {
            text.push_str(&format!(
                r#",{{"type":"record","name":"R{n}","fields":[{{"name":"f","type":"R{}"}}]}}"#,
                n - 1
            ));
        }
        text + "]"
    };
    let why = check_readable(&parse(&chain("int")), &parse(&chain("int")));
    assert!(why.iter().any(|m| m.kind == MismatchKind::TooLarge), "{why:?}");
    let deep = |n: usize| {
        let text = chain("int");
        format!(
            r#"{{"type":"record","name":"Top","fields":[{{"name":"all","type":{text}}},{{"name":"d","type":"R{n}"}}]}}"#
        )
    };
    let why = check_readable(&parse(&deep(4999)), &parse(&deep(4999).replace("\"all\"", "\"other\"")));
    assert!(why.iter().any(|m| m.kind == MismatchKind::TooLarge), "{why:?}");
}
