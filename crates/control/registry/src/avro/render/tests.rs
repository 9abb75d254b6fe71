use super::*;

/// Avro's own test data: `<<INPUT text` or a block up to `INPUT`, then `<<canonical` and perhaps `<<fingerprint`.
#[test]
fn canonical_forms_and_fingerprints_are_those_of_avros_test_data() {
    let data = include_str!("../../../tests/data/avro-schema-tests.txt");
    let (mut input, mut block, mut canonical) = (String::new(), None::<String>, String::new());
    let (mut forms, mut prints) = (0, 0);
    for line in data.lines() {
        if let Some(text) = &mut block {
            if line.trim() == "INPUT" {
                input = block.take().unwrap();
            } else {
                text.push_str(line);
                text.push('\n');
            }
        } else if let Some(text) = line.strip_prefix("<<INPUT") {
            if text.trim().is_empty() { block = Some(String::new()) } else { input = text.trim().into() }
        } else if let Some(expected) = line.strip_prefix("<<canonical ") {
            canonical = Schema::parse(&input, &[]).unwrap_or_else(|e| panic!("{input}: {e}")).canonical();
            assert_eq!(canonical, expected.trim(), "{input}");
            // A canonical form is its own.
            assert_eq!(Schema::parse(&canonical, &[]).unwrap().canonical(), canonical);
            forms += 1;
        } else if let Some(expected) = line.strip_prefix("<<fingerprint ") {
            assert_eq!(fingerprint(&canonical) as i64, expected.trim().parse::<i64>().unwrap(), "{canonical}");
            prints += 1;
        }
    }
    assert!(forms >= 34 && prints >= 26, "{forms} forms, {prints} fingerprints");
}

#[track_caller]
fn normal(text: &str, expected: &str) {
    let schema = Schema::parse(text, &[]).unwrap();
    assert_eq!(schema.normal(), expected);
    assert_eq!(Schema::parse(expected, &[]).unwrap().normal(), expected, "the normal form is stable");
}

#[test]
fn the_normal_form_loses_nothing() {
    normal(r#"{"type":"string"}"#, r#""string""#);
    normal(r#"{ "logicalType": "date", "type": "int" }"#, r#"{"type":"int","logicalType":"date"}"#);
    normal(
        r#"{"fields":[{"default":{"b":1,"a":[2.50,"é\n"]},"type":{"values":["int",{"type":"array","items":["double","string"]}],"type":"map"},"name":"f","doc":"d","order":"descending","aliases":["g"],"pii":true},
            {"name":"n","type":["null","R"],"default":null}],
            "aliases":["Q","z.P"],"name":"a.b.R","type":"record","doc":"a \"doc\"","owner":{"y":1,"x":null}}"#,
        r#"{"type":"record","name":"R","namespace":"a.b","doc":"a \"doc\"","aliases":["a.b.Q","z.P"],"fields":[{"name":"f","type":{"type":"map","values":["int",{"type":"array","items":["double","string"]}]},"doc":"d","default":{"a":[2.5,"é\n"],"b":1},"order":"descending","aliases":["g"],"pii":true},{"name":"n","type":["null","a.b.R"],"default":null}],"owner":{"x":null,"y":1}}"#,
    );
    normal(
        r#"{"type":"error","name":"E","fields":[{"name":"k","type":{"type":"enum","name":"x.K","symbols":["A","B"],"default":"A"}},{"name":"l","type":"x.K"}]}"#,
        r#"{"type":"error","name":"E","fields":[{"name":"k","type":{"type":"enum","name":"K","namespace":"x","symbols":["A","B"],"default":"A"}},{"name":"l","type":"x.K"}]}"#,
    );
    // A type of the null namespace within another, hidden by one of the same name.
    normal(
        r#"[{"type":"fixed","name":"F","size":1},{"type":"record","name":"x.R","fields":[{"name":"a","type":{"type":"fixed","name":"F","size":2}},{"name":"b","type":".F"}]}]"#,
        r#"[{"type":"fixed","name":"F","size":1},{"type":"record","name":"R","namespace":"x","fields":[{"name":"a","type":{"type":"fixed","name":"F","namespace":"x","size":2}},{"name":"b","type":".F"}]}]"#,
    );
}

#[test]
fn the_whole_form_stands_alone() {
    let money = r#"{"type":"record","name":"x.Money","fields":[{"name":"cents","type":"long"}]}"#;
    let order =
        r#"{"type":"record","name":"Order","fields":[{"name":"a","type":"x.Money"},{"name":"b","type":"x.Money"}]}"#;
    let schema = Schema::parse(order, &[money]).unwrap();
    assert_eq!(schema.normal(), order);
    let whole = schema.whole();
    assert_eq!(
        whole,
        r#"{"type":"record","name":"Order","fields":[{"name":"a","type":{"type":"record","name":"Money","namespace":"x","fields":[{"name":"cents","type":"long"}]}},{"name":"b","type":"x.Money"}]}"#
    );
    assert_eq!(Schema::parse(&whole, &[]).unwrap().canonical(), schema.canonical());
}
