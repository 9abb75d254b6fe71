use super::*;

#[track_caller]
fn refused(text: &str, says: &str) {
    let error = Schema::parse(text, &[]).unwrap_err();
    assert!(error.contains(says), "{error}");
}

#[track_caller]
fn accepted(text: &str) {
    Schema::parse(text, &[]).unwrap();
}

#[test]
fn what_the_specification_forbids_is_refused() {
    refused("{", "not JSON");
    refused("7", "is not a schema");
    refused("\"strin\"", "unknown type \"strin\"");
    refused(r#"{"items":"int"}"#, "\"type\"");
    refused(r#"{"type":"array"}"#, "\"items\"");
    refused(r#"{"type":"map","items":"int"}"#, "\"values\"");
    refused(r#"["int",["string"]]"#, "union directly within a union");
    refused(r#"["int","string","int"]"#, "\"int\" twice");
    refused(r#"[{"type":"array","items":"int"},{"type":"array","items":"string"}]"#, "\"array\" twice");
    refused(r#"{"type":"record","name":"R"}"#, "list of \"fields\"");
    refused(r#"{"type":"record","fields":[]}"#, "\"name\"");
    refused(r#"{"type":"record","name":"1R","fields":[]}"#, "is not a name");
    refused(r#"{"type":"record","name":"a..R","fields":[]}"#, "is not a name");
    refused(r#"{"type":"record","name":"string","fields":[]}"#, "primitive");
    refused(
        r#"{"type":"record","name":"R","fields":[{"name":"a","type":"int"},{"name":"a","type":"int"}]}"#,
        "two fields",
    );
    refused(r#"{"type":"record","name":"R","fields":[{"name":"a","type":"int","order":"up"}]}"#, "no order");
    refused(r#"{"type":"record","name":"R","fields":[{"name":"a","type":"S"}]}"#, "field \"a\": unknown type \"S\"");
    refused(
        r#"{"type":"record","name":"R","fields":[{"name":"a","type":{"type":"fixed","name":"R","size":1}}]}"#,
        "defined twice",
    );
    refused(r#"{"type":"enum","name":"E","symbols":["A","A"]}"#, "\"A\" twice");
    refused(r#"{"type":"enum","name":"E","symbols":["A-B"]}"#, "is not a name");
    refused(r#"{"type":"enum","name":"E","symbols":["A"],"default":"B"}"#, "not one of its symbols");
    refused(r#"{"type":"fixed","name":"F","size":-1}"#, "\"size\"");
    refused(&format!("\"{}\"", "x".repeat(MAX_SCHEMA_BYTES)), "the limit is");
    refused(&format!("{}\"int\"{}", r#"{"type":"array","items":"#.repeat(500), "}".repeat(500)), "recursion limit");
}

#[test]
fn defaults_must_fit() {
    for (field, default, fits) in [
        (r#""int""#, "1", true),
        (r#""int""#, "2147483648", false),
        (r#""int""#, "\"1\"", false),
        (r#""long""#, "2147483648", true),
        (r#""long""#, "1.5", false),
        (r#""double""#, "1", true),
        (r#""double""#, "\"NaN\"", true),
        (r#""double""#, "\"nan\"", false),
        (r#""boolean""#, "true", true),
        (r#""null""#, "null", true),
        (r#""string""#, "null", false),
        (r#""bytes""#, r#""\u00ff\u0001""#, true),
        (r#""bytes""#, r#""\u0100""#, false),
        (r#"["null","int"]"#, "null", true),
        (r#"["null","int"]"#, "3", true),
        (r#"["null","int"]"#, "\"x\"", false),
        (r#"{"type":"array","items":"int"}"#, "[]", true),
        (r#"{"type":"array","items":"int"}"#, "[1,null]", false),
        (r#"{"type":"map","values":"int"}"#, r#"{"a":1}"#, true),
        (r#"{"type":"map","values":"int"}"#, r#"[1]"#, false),
        (r#"{"type":"enum","name":"E","symbols":["A"]}"#, "\"A\"", true),
        (r#"{"type":"enum","name":"E","symbols":["A"]}"#, "\"B\"", false),
        (r#"{"type":"fixed","name":"F","size":2}"#, "\"ab\"", true),
        (r#"{"type":"fixed","name":"F","size":2}"#, "\"abc\"", false),
        (r#"{"type":"record","name":"I","fields":[{"name":"x","type":"int"}]}"#, r#"{"x":1}"#, true),
        (r#"{"type":"record","name":"I","fields":[{"name":"x","type":"int"}]}"#, "{}", false),
        (r#"{"type":"record","name":"I","fields":[{"name":"x","type":"int","default":1}]}"#, "{}", true),
        (r#"["null","R"]"#, "null", true),
    ] {
        let text =
            format!(r#"{{"type":"record","name":"R","fields":[{{"name":"f","type":{field},"default":{default}}}]}}"#);
        match Schema::parse(&text, &[]) {
            Ok(_) => assert!(fits, "accepted {text}"),
            Err(error) => assert!(!fits && error.contains("does not fit its type"), "{text}: {error}"),
        }
    }
}

#[test]
fn names_are_found_in_their_namespace() {
    accepted(
        r#"{"type":"record","name":"a.b.R","fields":[
          {"name":"one","type":{"type":"enum","name":"E","symbols":["X"]}},
          {"name":"two","type":"E"},{"name":"three","type":"a.b.E"},{"name":"self","type":["null","R"]},
          {"name":"s","type":{"type":"record","name":"S","namespace":"c","fields":[
             {"name":"e","type":{"type":"fixed","name":"E","size":1}},{"name":"f","type":"a.b.E"}]}},
          {"name":"four","type":"c.E"}]}"#,
    );
    refused(
        r#"{"type":"record","name":"a.R","fields":[
          {"name":"s","type":{"type":"record","name":"S","namespace":"c","fields":[]}},{"name":"t","type":"S"}]}"#,
        "unknown type \"a.S\"",
    );
}

#[test]
fn references_bring_their_types() {
    let money = r#"{"type":"record","name":"x.Money","fields":[{"name":"cents","type":"long"}]}"#;
    let line = r#"{"type":"record","name":"x.Line","fields":[{"name":"price","type":"Money"}]}"#;
    let order =
        r#"{"type":"record","name":"y.Order","fields":[{"name":"lines","type":{"type":"array","items":"x.Line"}}]}"#;
    refused(order, "unknown type \"x.Line\"");
    Schema::parse(order, &[money, line]).unwrap();
    let error = Schema::parse(order, &[line, money]).unwrap_err();
    assert!(error.contains("in a referenced schema"), "{error}");
    Schema::parse(r#"["x.Money","x.Line"]"#, &[money, line]).unwrap();
    assert!(Schema::parse(money, &[money]).unwrap_err().contains("defined twice"));
}
