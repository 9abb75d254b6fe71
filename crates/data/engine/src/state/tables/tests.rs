use super::*;
use crate::state::entries::write_entries;
use crate::state::runs::{MemoryFiles, Space};

#[derive(Default)]
struct Held {
    rows: Arrangement,
    resident: Resident,
}

impl TableShard for Held {
    fn tables(&self) -> Vec<&Arrangement> {
        vec![&self.rows]
    }

    fn fetch(&mut self, _: u8, key: &[u8], row: &[u8], weight: i64) {
        self.rows.fetch(key, row, weight);
    }

    fn has(&self, hash: u64) -> bool {
        self.rows.has_key_hash(hash)
    }

    fn written(&mut self) {
        self.rows.mark_saved();
        self.resident.written(|hash| self.rows.has_key_hash(hash));
    }

    fn resident(&mut self) -> &mut Resident {
        &mut self.resident
    }
}

/// What could not be read is not taken for absent, and is there when it can be.
#[test]
fn what_is_fetched_is_held_when_that_has_gone_well() {
    let files = MemoryFiles::default();
    let space = Space::open(Arc::new(files.clone()), false).unwrap();
    let room = Room::of(1 << 20);
    let mut entries = Entries::default();
    for n in 0..100_u8 {
        assert!(entries.push(&room, n.into(), (0, b"k", &[n]), Some(&1_i64.to_le_bytes())));
    }
    let good = write_entries(&[entries], &space, "p").unwrap().unwrap();
    let mut bytes = files.bytes(good.name()).unwrap();
    bytes[20] ^= 1;
    files.set("damaged", Some(bytes));
    let (good, bad) = ([good], [Run::open(&space, "damaged").unwrap()]);
    let mut shard = Held::default();
    for _ in 0..2 {
        assert!(fetch_rows(&mut shard, Some(Reader::of(&bad)), [7, 3, 7].into_iter()).is_err());
        assert!(!shard.resident().holds(7) && !shard.resident().holds(3));
    }
    fetch_rows(&mut shard, Some(Reader::of(&good)), [7, 3, 7, 200].into_iter()).unwrap();
    assert!([3, 7, 200].into_iter().all(|hash| shard.resident().holds(hash)) && !shard.resident().holds(4));
    let mut rows: Vec<_> =
        shard.rows.iter().map(|slot| (shard.rows.row(slot).to_vec(), shard.rows.weight(slot))).collect();
    rows.sort();
    assert_eq!(rows, [(vec![3], 1), (vec![7], 1)]);
    // Nothing is asked for again.
    fetch_rows(&mut shard, Some(Reader::of(&bad)), [3, 200].into_iter()).unwrap();
}

/// A hash of which everything was dropped is held until the runs know of it: what they have of it would come back otherwise.
#[test]
fn what_was_dropped_is_forgotten_with_the_flush_after_the_next() {
    let mut resident = Resident::default();
    resident.hold(&[1, 2, 3, 4]);
    [1, 2, 4, 7].into_iter().for_each(|hash| resident.dropped(hash));
    // 4 is there again when the flush begins, and goes before the next one.
    resident.written(|hash| hash == 4);
    assert!([1, 2, 3, 4].into_iter().all(|hash| resident.holds(hash)), "the flush is on its way");
    resident.written(|hash| hash == 2);
    let held = [1, 2, 3, 4].map(|hash| resident.holds(hash));
    assert_eq!(held, [false, true, true, true], "2 has come back, the runs hold 4");
}
