use super::*;

const V1: &str = r#"{"type":"record","name":"R","fields":[{"name":"a","type":"int"}]}"#;
/// Reads `V1`, and `V1` reads it.
const V2: &str =
    r#"{"type":"record","name":"R","fields":[{"name":"a","type":"int"},{"name":"b","type":"string","default":""}]}"#;
/// Not read by anything above, and reads none of it.
const OTHER: &str = r#"{"type":"record","name":"R","fields":[{"name":"a","type":"string"}]}"#;
/// Reads what lacks `b`; what needs no `a` of `V2`.
const NO_A: &str = r#"{"type":"record","name":"R","fields":[{"name":"b","type":"string","default":""}]}"#;

fn register(state: &mut State, subject: &str, text: &str) -> Result<(i32, i32)> {
    register_draft(state, subject, Draft::avro(text))
}

fn register_draft(state: &mut State, subject: &str, draft: Draft) -> Result<(i32, i32)> {
    let (writes, registered) = state.register(subject, &draft)?;
    state.apply(&writes);
    Ok((registered.schema.id, registered.version))
}

fn level(state: &mut State, subject: &str, level: Compatibility) {
    let writes = state.set_level(subject, Some(level)).unwrap();
    state.apply(&writes);
}

#[track_caller]
fn code<T: std::fmt::Debug>(result: Result<T>, code: Code) -> String {
    let error = result.unwrap_err();
    assert_eq!(error.code, code, "{error}");
    error.message
}

fn refer(name: &str, subject: &str, version: i32) -> Reference {
    Reference { name: name.into(), subject: subject.into(), version }
}

#[test]
fn the_same_schema_has_one_id_and_one_version() {
    let mut state = State::default();
    assert_eq!(register(&mut state, "a", V1), Ok((1, 1)));
    let spelled = r#"{ "name": "R", "fields": [{"type": {"type": "int"}, "name": "a"}], "type": "record" }"#;
    assert_eq!(register(&mut state, "a", spelled), Ok((1, 1)));
    assert_eq!(register(&mut state, "b", V1), Ok((1, 1)));
    assert_eq!(register(&mut state, "a", V2), Ok((2, 2)));
    assert_eq!(register(&mut state, "a", V1), Ok((1, 1)));
    assert_eq!(state.versions("a", false), Ok(vec![1, 2]));
    assert_eq!(state.uses(1, false), Ok(vec![("a".into(), 1), ("b".into(), 1)]));
    assert_eq!(state.version("a", VersionRef::Latest, false).unwrap().schema.draft.text, V2);
    assert_eq!(state.find("a", &Draft::avro(spelled), false).unwrap().version, 1);
    code(state.find("b", &Draft::avro(V2), false), Code::SchemaNotFound);
    code(state.find("c", &Draft::avro(V2), false), Code::SubjectNotFound);
    code(state.version("a", VersionRef::Number(3), false), Code::VersionNotFound);
    code(state.schema(3), Code::SchemaNotFound);
    assert_eq!(state.max_id(), Some(2));
}

#[test]
fn each_level_lets_through_what_it_means() {
    use Compatibility::*;
    // A field without default added: old data can't be read; one taken away: old readers can't read.
    let base =
        r#"{"type":"record","name":"R","fields":[{"name":"a","type":"int"},{"name":"o","type":"int","default":1}]}"#;
    let added = r#"{"type":"record","name":"R","fields":[{"name":"a","type":"int"},{"name":"o","type":"int","default":1},{"name":"c","type":"int"}]}"#;
    let removed = r#"{"type":"record","name":"R","fields":[{"name":"o","type":"int","default":1}]}"#;
    let optional = r#"{"type":"record","name":"R","fields":[{"name":"a","type":"int"}]}"#;
    for (at, added_ok, removed_ok, optional_ok, other_ok) in [
        (None, true, true, true, true),
        (Backward, false, true, true, false),
        (Forward, true, false, true, false),
        (Full, false, false, true, false),
        (BackwardTransitive, false, true, true, false),
        (ForwardTransitive, true, false, true, false),
        (FullTransitive, false, false, true, false),
    ] {
        for (text, fits) in [(added, added_ok), (removed, removed_ok), (optional, optional_ok), (OTHER, other_ok)] {
            let mut state = State::default();
            level(&mut state, "s", at);
            register(&mut state, "s", base).unwrap();
            let why = state.compatibility("s", &Draft::avro(text), Option::None).unwrap();
            assert_eq!(why.is_empty(), fits, "{at:?} {text}: {why:?}");
            match register(&mut state, "s", text) {
                Ok(registered) => assert!(fits && registered == (2, 2), "{at:?} {text}"),
                Err(error) => assert!(!fits && error.code == Code::Incompatible && error.status() == 409, "{error}"),
            }
        }
    }
}

#[test]
fn transitive_levels_look_at_all_versions() {
    // Each step is fine by itself; the third can't read the first, for `b` was not there and now has no default.
    let strict_b = r#"{"type":"record","name":"R","fields":[{"name":"a","type":"int"},{"name":"b","type":"string"}]}"#;
    for (at, fits) in [(Compatibility::Backward, true), (Compatibility::BackwardTransitive, false)] {
        let mut state = State::default();
        level(&mut state, "", at);
        register(&mut state, "s", V1).unwrap();
        register(&mut state, "s", V2).unwrap();
        let result = register(&mut state, "s", strict_b);
        assert_eq!(result.is_ok(), fits);
        if let Err(error) = result {
            for part in ["READER_FIELD_MISSING_DEFAULT_VALUE at /b", "{oldSchemaVersion: 1}", "BACKWARD_TRANSITIVE"] {
                assert!(error.message.contains(part), "{error}");
            }
        }
        // Against one version only that one counts, whatever the level.
        let draft = Draft::avro(strict_b);
        assert!(state.compatibility("s", &draft, Some(VersionRef::Number(2))).unwrap().is_empty());
        assert!(!state.compatibility("s", &draft, Some(VersionRef::Number(1))).unwrap().is_empty());
        code(state.compatibility("s", &draft, Some(VersionRef::Number(9))), Code::VersionNotFound);
    }
}

#[test]
fn a_subject_may_differ_from_the_rest() {
    let mut state = State::default();
    level(&mut state, "", Compatibility::Full);
    level(&mut state, "s", Compatibility::None);
    assert_eq!((state.level("s"), state.level("t")), (Compatibility::None, Compatibility::Full));
    register(&mut state, "s", V1).unwrap();
    register(&mut state, "s", OTHER).unwrap();
    register(&mut state, "t", V1).unwrap();
    code(register(&mut state, "t", NO_A), Code::Incompatible);
    let writes = state.set_level("", None).unwrap();
    state.apply(&writes);
    assert_eq!(state.level("t"), Compatibility::Backward);
    assert_eq!(register(&mut state, "t", NO_A).unwrap().1, 2);
}

#[test]
fn nonsense_is_refused() {
    let mut state = State::default();
    for text in ["", "{", "\"strin\"", r#"{"type":"record","name":"R"}"#] {
        code(register(&mut state, "s", text), Code::InvalidSchema);
    }
    code(register(&mut state, "", V1), Code::InvalidSubject);
    code(register(&mut state, "a\nb", V1), Code::InvalidSubject);
    code(register(&mut state, &"s".repeat(MAX_SUBJECT_BYTES + 1), V1), Code::InvalidSubject);
    for text in ["0", "-2", "", "new", "2147483648"] {
        code(VersionRef::parse(text), Code::InvalidVersion);
    }
    assert_eq!(VersionRef::parse("latest"), Ok(VersionRef::Latest));
    assert_eq!(VersionRef::parse("7"), Ok(VersionRef::Number(7)));
    assert!(state.subjects("", true).is_empty());
}

#[test]
fn languages_that_cant_be_checked_need_the_level_none() {
    let mut state = State::default();
    let json = |text: &str| Draft { kind: SchemaKind::Json, text: text.into(), references: vec![] };
    let message = code(register_draft(&mut state, "s", json("{}")), Code::NotPermitted);
    assert!(message.contains("NONE"), "{message}");
    level(&mut state, "s", Compatibility::None);
    code(register_draft(&mut state, "s", json("{")), Code::InvalidSchema);
    assert_eq!(register_draft(&mut state, "s", json("{}")), Ok((1, 1)));
    let proto = Draft { kind: SchemaKind::Protobuf, text: "syntax = \"proto3\";".into(), references: vec![] };
    assert_eq!(register_draft(&mut state, "s", proto), Ok((2, 2)));
    level(&mut state, "s", Compatibility::Backward);
    code(register(&mut state, "s", V1), Code::Incompatible);
}

#[test]
fn references_are_resolved_and_held() {
    let mut state = State::default();
    let cents = r#"{"type":"record","name":"x.Cents","fields":[{"name":"n","type":"long"}]}"#;
    let money = r#"{"type":"record","name":"x.Money","fields":[{"name":"c","type":"x.Cents"}]}"#;
    let order =
        r#"{"type":"record","name":"Order","fields":[{"name":"m","type":"x.Money"},{"name":"c","type":"x.Cents"}]}"#;
    code(register(&mut state, "order", order), Code::InvalidSchema);
    register(&mut state, "cents", cents).unwrap();
    let draft = |text: &str, references: &[Reference]| Draft {
        text: text.into(),
        references: references.to_vec(),
        ..Draft::default()
    };
    let missing = register_draft(&mut state, "money", draft(money, &[refer("x.Cents", "cents", 2)]));
    assert!(code(missing, Code::InvalidSchema).contains("No schema reference found"));
    register_draft(&mut state, "money", draft(money, &[refer("x.Cents", "cents", 1)])).unwrap();
    let registered = register_draft(&mut state, "order", draft(order, &[refer("x.Money", "money", 1)])).unwrap();
    assert_eq!(registered, (3, 1));
    let stored = state.schema(3).unwrap();
    assert_eq!(stored.draft.text, order);
    assert!(stored.whole.contains(r#""name":"n","type":"long""#), "{}", stored.whole);
    assert_eq!(state.referenced_by("cents", VersionRef::Latest), Ok(vec![2]));
    // The same text with other references is another schema.
    let both = [refer("x.Money", "money", 1), refer("x.Cents", "cents", 1)];
    assert_eq!(register_draft(&mut state, "order2", draft(order, &both)).unwrap().0, 4);

    code(state.delete_subject("cents", false), Code::ReferenceExists);
    code(state.delete_version("money", VersionRef::Latest, false), Code::ReferenceExists);
    for subject in ["order", "order2", "money", "cents"] {
        let (writes, versions) = state.delete_subject(subject, false).unwrap();
        assert_eq!(versions, [1]);
        state.apply(&writes);
    }
    code(state.delete_subject("cents", true), Code::ReferenceExists);
    for subject in ["order", "order2", "money", "cents"] {
        let (writes, _) = state.delete_subject(subject, true).unwrap();
        state.apply(&writes);
    }
    assert_eq!((state.schemas.len(), state.ids.len(), state.text_bytes, state.last_id()), (0, 0, 0, 4));
    // Records read it on, with what it refers to.
    assert_eq!(state.whole(3), Some(stored.whole.as_str()));
}

#[test]
fn deletion_is_a_mark_first_and_for_good_later() {
    let mut state = State::default();
    register(&mut state, "s", V1).unwrap();
    register(&mut state, "s", V2).unwrap();
    register(&mut state, "t", V1).unwrap();
    level(&mut state, "s", Compatibility::None);
    code(state.delete_subject("nobody", false), Code::SubjectNotFound);
    code(state.delete_subject("s", true), Code::SubjectNotSoftDeleted);
    code(state.delete_version("s", VersionRef::Number(1), true), Code::VersionNotSoftDeleted);
    code(state.delete_version("s", VersionRef::Number(9), false), Code::VersionNotFound);

    let (writes, version) = state.delete_version("s", VersionRef::Latest, false).unwrap();
    state.apply(&writes);
    assert_eq!((version, state.versions("s", false), state.versions("s", true)), (2, Ok(vec![1]), Ok(vec![1, 2])));
    code(state.delete_version("s", VersionRef::Number(2), false), Code::VersionSoftDeleted);
    code(state.version("s", VersionRef::Number(2), false), Code::VersionNotFound);
    assert!(state.version("s", VersionRef::Number(2), true).unwrap().deleted);
    assert!(state.schema(2).is_ok());
    // What is registered again is a new version under its old id.
    assert_eq!(register(&mut state, "s", V2), Ok((2, 3)));

    let (writes, versions) = state.delete_subject("s", false).unwrap();
    state.apply(&writes);
    assert_eq!((versions, state.own_level("s")), (vec![1, 3], None));
    code(state.versions("s", false), Code::SubjectNotFound);
    code(state.delete_subject("s", false), Code::SubjectSoftDeleted);
    assert_eq!(
        (state.subjects("", false), state.subjects("", true)),
        (vec!["t".to_string()], vec!["s".into(), "t".into()])
    );

    let (writes, versions) = state.delete_subject("s", true).unwrap();
    state.apply(&writes);
    assert_eq!(versions, [1, 2, 3]);
    // Subject t still has the first schema; the second is gone, and its id stays used.
    assert!(state.schema(1).is_ok());
    code(state.schema(2), Code::SchemaNotFound);
    code(state.uses(2, true), Code::SchemaNotFound);
    assert_eq!(register(&mut state, "s", V2), Ok((3, 1)));
    // For records both ids mean it; what is deleted again leaves the other alone.
    assert_eq!((state.whole(1), state.whole(2), state.whole(3), state.whole(4)), (Some(V1), Some(V2), Some(V2), None));
    for permanent in [false, true] {
        let (writes, _) = state.delete_subject("s", permanent).unwrap();
        state.apply(&writes);
    }
    assert_eq!(register(&mut state, "s", V2), Ok((4, 1)));
    assert_eq!((state.whole(2), state.whole(3), state.retired.len()), (Some(V2), Some(V2), 2));
    assert_eq!((state.max_id(), state.retired_bytes), (Some(4), 2 * V2.len()));
}

#[test]
fn no_more_is_deleted_for_good_than_can_be_kept() {
    let mut state = State::default();
    register(&mut state, "s", V1).unwrap();
    let (writes, _) = state.delete_subject("s", false).unwrap();
    state.apply(&writes);
    state.retired_bytes = MAX_RETIRED_BYTES;
    let message = code(state.delete_subject("s", true), Code::NotPermitted);
    assert!(message.contains("kept for the records"), "{message}");
    state.retired_bytes = MAX_RETIRED_BYTES - V1.len();
    assert!(state.delete_subject("s", true).is_ok());
}
