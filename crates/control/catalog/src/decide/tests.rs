use std::collections::{BTreeMap, BTreeSet};

use fleuve_types::{ErrorKind, ObjectId};
use proptest::prelude::*;

use super::*;

pub(crate) fn object(id: u128, kind: ObjectKind, name: &str, depends_on: &[u128]) -> Object {
    Object {
        id: ObjectId(id),
        kind,
        namespace: "public".into(),
        name: name.into(),
        sql: format!("CREATE {kind} {name}"),
        comment: None,
        column_comments: vec![],
        depends_on: depends_on.iter().copied().map(ObjectId).collect(),
        version: 1,
        created_ms: 7,
        edition: 1,
    }
}

fn stream(id: u128, name: &str) -> Object {
    object(id, ObjectKind::Stream, name, &[])
}

fn view(id: u128, name: &str, on: &[u128]) -> Object {
    object(id, ObjectKind::View, name, on)
}

fn state(objects: &[Object]) -> State {
    State::new(objects.iter().cloned()).unwrap()
}

#[track_caller]
fn refused(state: &State, commands: &[Command], kind: ErrorKind, says: &str) {
    let error = decide(state, commands).unwrap_err();
    assert_eq!(error.kind, kind, "{error}");
    assert!(error.to_string().contains(says), "{error}");
}

#[test]
fn a_name_is_taken_over_all_kinds() {
    let state = state(&[stream(1, "a")]);
    refused(&state, &[Command::Create(view(2, "a", &[1]))], ErrorKind::AlreadyExists, "stream \"a\" already exists");
    let mut elsewhere = view(2, "a", &[1]);
    elsewhere.namespace = "ops".into();
    assert_eq!(decide(&state, &[Command::Create(elsewhere)]).unwrap().created.len(), 1);
}

#[test]
fn an_unknown_id_is_refused() {
    let empty = State::default();
    for command in [Command::Drop(ObjectId(9)), Command::Replace(stream(9, "a")), Command::Comment(stream(9, "a"))] {
        refused(&empty, &[command], ErrorKind::NotFound, "00000000-0000-0000-0000-000000000009");
    }
    refused(&empty, &[Command::Create(view(1, "v", &[9]))], ErrorKind::NotFound, "unknown object");
}

#[test]
fn a_drop_names_its_dependants() {
    let state = state(&[stream(1, "s"), view(2, "v", &[1]), view(3, "w", &[1, 2])]);
    refused(
        &state,
        &[Command::Drop(ObjectId(1))],
        ErrorKind::Input,
        "can't drop stream \"s\": view \"v\", view \"w\" depend on it",
    );
    refused(&state, &[Command::Drop(ObjectId(2))], ErrorKind::Input, "view \"w\" depends on it");
    let all = [Command::Drop(ObjectId(1)), Command::Drop(ObjectId(3)), Command::Drop(ObjectId(2))];
    let changes = decide(&state, &all).unwrap();
    assert_eq!(changes.dropped.iter().map(|o| o.id.0).collect::<Vec<_>>(), [1, 3, 2]);
    assert_eq!(state.with(&changes), State::default());
}

#[test]
fn a_replacement_counts_up_and_keeps_what_it_was_born_with() {
    let before = state(&[stream(1, "s"), view(2, "v", &[1])]);
    let mut new = view(2, "v", &[1]);
    new.sql = "other".into();
    new.created_ms = 99;
    new.version = 40;
    let changes = decide(&before, &[Command::Replace(new.clone()), Command::Replace(new)]).unwrap();
    let [Replaced { before: old, after }] = changes.replaced.as_slice() else { panic!("{changes:?}") };
    assert_eq!((old.version, after.version, after.created_ms, after.sql.as_str()), (1, 3, 7, "other"));
    refused(&before, &[Command::Replace(stream(2, "v"))], ErrorKind::Input, "can't be replaced by");
    refused(&before, &[Command::Replace(view(2, "u", &[1]))], ErrorKind::Input, "can't be replaced by");
}

#[test]
fn a_name_can_move_to_a_new_id_in_one_list() {
    let before = state(&[stream(1, "s")]);
    let changes = decide(&before, &[Command::Drop(ObjectId(1)), Command::Create(stream(2, "s"))]).unwrap();
    assert_eq!((changes.dropped[0].id, changes.created[0].id), (ObjectId(1), ObjectId(2)));
    refused(
        &before,
        &[Command::Create(stream(2, "s")), Command::Drop(ObjectId(1))],
        ErrorKind::AlreadyExists,
        "already exists",
    );
    refused(&before, &[Command::Drop(ObjectId(1)), Command::Create(stream(1, "s"))], ErrorKind::Bug, "used again");
}

#[test]
fn a_cycle_is_refused() {
    let before = state(&[stream(1, "s"), view(2, "v", &[1]), view(3, "w", &[2])]);
    let cycle = [Command::Replace(view(2, "v", &[1, 3]))];
    refused(&before, &cycle, ErrorKind::Input, "view \"v\" would depend on itself through view \"w\"");
    refused(&before, &[Command::Replace(view(2, "v", &[2]))], ErrorKind::Input, "would depend on itself");
}

#[test]
fn only_comments_change_with_a_comment() {
    let before = state(&[stream(1, "s")]);
    let said = Object { comment: Some("orders".into()), sql: "ignored".into(), ..stream(1, "s") };
    let changes = decide(&before, &[Command::Comment(said.clone())]).unwrap();
    assert_eq!(changes.commented, [Object { comment: said.comment.clone(), ..stream(1, "s") }]);
    assert!(decide(&before.clone().with(&changes), &[Command::Comment(said)]).unwrap().is_empty());
    let created = decide(
        &State::default(),
        &[Command::Create(stream(1, "s")), Command::Comment(Object { comment: Some("x".into()), ..stream(1, "s") })],
    )
    .unwrap();
    assert_eq!((created.created[0].comment.as_deref(), created.commented.len()), (Some("x"), 0));
}

#[test]
fn lengths_have_limits() {
    let empty = State::default();
    refused(&empty, &[Command::Create(stream(1, ""))], ErrorKind::Input, "0 bytes");
    refused(&empty, &[Command::Create(stream(1, &"n".repeat(250)))], ErrorKind::Input, "250 bytes");
    let long = Object { sql: "x".repeat(MAX_SQL_BYTES + 1), ..stream(1, "s") };
    refused(&empty, &[Command::Create(long)], ErrorKind::Limit, "statement");
    let long = Object { comment: Some("x".repeat(MAX_SQL_BYTES + 1)), ..stream(1, "s") };
    refused(&empty, &[Command::Create(stream(1, "s")), Command::Comment(long)], ErrorKind::Limit, "comments");
    let many = vec![Command::Drop(ObjectId(1)); MAX_COMMANDS + 1];
    refused(&empty, &many, ErrorKind::Limit, "10001 changes");
}

/// The rules said again, as plainly as possible: `None` is a refusal.
fn model(before: &[Object], commands: &[Command]) -> Option<Vec<Object>> {
    let mut now: BTreeMap<u128, Object> = before.iter().map(|o| (o.id.0, o.clone())).collect();
    let mut gone = BTreeSet::new();
    for command in commands {
        match command {
            Command::Create(new) => {
                let taken = now.values().any(|o| o.id == new.id || o.name == new.name);
                if taken || gone.contains(&new.id.0) {
                    return None;
                }
                now.insert(new.id.0, Object { version: 1, ..new.clone() });
            }
            Command::Replace(new) => {
                let old = now.get_mut(&new.id.0).filter(|o| o.name == new.name && o.kind == new.kind)?;
                *old = Object { version: old.version + 1, created_ms: old.created_ms, ..new.clone() };
            }
            Command::Drop(id) => {
                now.remove(&id.0)?;
                gone.insert(id.0);
            }
            Command::Restate(new) => now.get_mut(&new.id.0)?.sql = new.sql.clone(),
            Command::Comment(new) => now.get_mut(&new.id.0)?.comment = new.comment.clone(),
        }
    }
    // Every object can be started after all that it depends on, or there is a hole or a cycle.
    let mut started = BTreeSet::new();
    while started.len() < now.len() {
        let ready =
            now.values().find(|o| !started.contains(&o.id) && o.depends_on.iter().all(|d| started.contains(d)))?;
        started.insert(ready.id);
    }
    Some(now.into_values().collect())
}

fn any_command() -> impl Strategy<Value = Command> {
    let any_object = (0..6u128, any::<bool>(), 0..5usize, proptest::collection::vec(0..6u128, 0..3), 0..3usize);
    (0..8, any_object).prop_map(|(verb, (id, kind, name, on, comment))| {
        let kind = if kind { ObjectKind::View } else { ObjectKind::Stream };
        // Names mostly follow ids, so that replacements are often right.
        let name = ["a", "b", "c", "d", "e"][if name < 3 { id as usize % 5 } else { name }];
        let object =
            Object { comment: [None, Some("x"), Some("y")][comment].map(Into::into), ..object(id, kind, name, &on) };
        match verb {
            0..=2 => Command::Create(object),
            3 | 4 => Command::Replace(object),
            5 => Command::Drop(object.id),
            6 => Command::Restate(Object { sql: format!("as {name}"), ..object }),
            _ => Command::Comment(object),
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn decide_follows_the_model(lists in proptest::collection::vec(proptest::collection::vec(any_command(), 1..4), 1..20)) {
        let mut state = State::default();
        for commands in lists {
            let before: Vec<Object> = state.objects().cloned().collect();
            let expected = model(&before, &commands);
            match decide(&state, &commands) {
                Err(error) => prop_assert!(expected.is_none(), "refused {commands:?}: {error}"),
                Ok(changes) => {
                    let after = state.with(&changes);
                    let objects: Vec<Object> = after.objects().cloned().collect();
                    prop_assert_eq!(Some(&objects), expected.as_ref());
                    prop_assert_eq!(changes.is_empty(), objects == before);
                    prop_assert_eq!(&after, &State::new(objects).unwrap());
                    state = after;
                }
            }
        }
    }
}
