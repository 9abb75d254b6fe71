use super::*;
use crate::state::runs::{Combine, MemoryFiles, RunSet};

fn content(run: Option<Arc<Run>>, space: &Arc<Space>) -> Vec<(u64, Vec<u8>, Option<Vec<u8>>)> {
    let mut set = RunSet::new(space.clone(), "p".into(), Combine::Newest);
    run.into_iter().for_each(|run| set.push(run));
    let mut out = vec![];
    let hashes: Vec<u64> = (0..10).collect();
    let each = |e: crate::state::runs::Entry<'_>| {
        out.push((e.hash, e.key.to_vec(), e.value.map(<[u8]>::to_vec)));
        Ok(())
    };
    set.get_many(&hashes, false, each).unwrap();
    out
}

#[test]
fn what_was_copied_in_any_order_is_written_in_the_order_of_runs_and_each_entry_once() {
    let space = Space::open(Arc::new(MemoryFiles::default()), false).unwrap();
    let room = Room::of(1 << 20);
    let mut all = [Entries::default(), Entries::default()];
    assert!(all[0].push(&room, 3, (0, b"k", b"row2"), Some(b"1")));
    assert!(all[0].push(&room, 3, (0, b"k", b"row10"), None));
    assert!(all[0].push(&room, 3, (0, b"k", b"row10"), None));
    assert!(all[1].push(&room, 1, (1, b"", b""), Some(b"")));
    assert!(all[1].push(&room, 3, (0, b"longer", b"a"), Some(b"2")));
    let written = write_entries(&all, &space, "p").unwrap();
    let key = |part: u8, key: &[u8], row: &[u8]| {
        let mut out = vec![];
        crate::state::tables::entry_key(&mut out, part, key, row);
        out
    };
    let expected = vec![
        (1, key(1, b"", b""), Some(b"".to_vec())),
        (3, key(0, b"k", b"row10"), None),
        (3, key(0, b"k", b"row2"), Some(b"1".to_vec())),
        (3, key(0, b"longer", b"a"), Some(b"2".to_vec())),
    ];
    assert_eq!(content(written, &space), expected);
    assert!(write_entries(&[], &space, "p").unwrap().is_none());
}

#[test]
fn what_there_is_no_room_for_is_told() {
    let room = Room::of(2 * ROOM_AT_ONCE - 1);
    let mut entries = Entries::default();
    assert!(entries.push(&room, 1, (0, b"key", b"row"), None));
    assert!(!entries.is_over() && room.left() < ROOM_AT_ONCE);
    assert!(!entries.push(&room, 1, (0, b"key", &[0; ROOM_AT_ONCE]), None));
    assert!(entries.is_over() && !entries.is_empty());
}
