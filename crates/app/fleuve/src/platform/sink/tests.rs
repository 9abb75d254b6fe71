use bytes::Bytes;
use fleuve_engine::SinkRecord;

use super::{by_key, fitting};

fn records(list: &[(&'static str, &'static str)]) -> Vec<SinkRecord> {
    let bytes = |text: &'static str| (text != "-").then(|| Bytes::from_static(text.as_bytes()));
    list.iter().map(|(key, value)| SinkRecord { key: bytes(key), value: bytes(value) }).collect()
}

fn between(was: &[(&'static str, &'static str)], is: &[(&'static str, &'static str)]) -> Vec<SinkRecord> {
    // In parts, as they come.
    let parts = |list| records(list).chunks(2).map(|part| Ok(part.to_vec())).collect::<Vec<_>>().into_iter();
    by_key(parts(was), parts(is)).unwrap()
}

#[test]
fn keys_that_are_gone_get_tombstones_and_records_that_are_others_are_written() {
    let was = &[("d", "4"), ("a", "1"), ("b", "2"), ("c", "3")];
    let is = &[("e", "5"), ("c", "x"), ("b", "2")];
    assert_eq!(between(was, is), records(&[("a", "-"), ("d", "-"), ("e", "5"), ("c", "x")]));
    assert_eq!(between(was, was), vec![]);
    assert_eq!(between(&[], is), records(is));
    assert_eq!(between(&[("a", "1")], &[]), records(&[("a", "-")]));
}

/// The last record of a key is what it comes to, should a key come twice.
#[test]
fn a_key_that_comes_twice_ends_as_its_last_record() {
    assert_eq!(between(&[("a", "1"), ("a", "2")], &[("a", "1"), ("a", "2")]), records(&[("a", "1"), ("a", "2")]));
    assert_eq!(between(&[("a", "1"), ("a", "2")], &[("a", "2")]), vec![]);
    assert_eq!(between(&[("a", "2")], &[("a", "2"), ("a", "3")]), records(&[("a", "3")]));
}

/// Of records without a key nothing can be taken back by one.
#[test]
fn what_was_written_without_keys_stays() {
    assert_eq!(between(&[("-", "1")], &[("a", "1")]), records(&[("a", "1")]));
}

#[test]
fn more_than_one_append_takes_is_refused() {
    let parts = || records(&[("a", "1"), ("b", "2"), ("c", "3")]).into_iter().map(|r| Ok(vec![r]));
    assert_eq!(fitting(parts(), 3 * 34).unwrap().len(), 3);
    let error = fitting(parts(), 3 * 34 - 1).unwrap_err();
    assert!(error.to_string().contains("more than the 101 bytes of one append"), "{error}");
}
