use std::collections::BTreeMap;

use super::*;

/// Numbers for a test, the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

#[test]
fn a_byte_set_holds_what_was_put_in_and_not_taken_out() {
    let mut numbers = Numbers(7);
    let mut set = ByteSet::default();
    let mut model: BTreeMap<Vec<u8>, u32> = BTreeMap::new();
    for _ in 0..20_000 {
        let key = vec![b'k'; numbers.below(40) as usize + 1]
            .into_iter()
            .chain(numbers.below(500).to_le_bytes())
            .collect::<Vec<u8>>();
        let hash = hash_bytes(&key);
        if numbers.below(3) == 0 {
            if let Some(slot) = model.remove(&key) {
                set.remove(slot);
            }
        } else {
            let (slot, is_new) = set.insert(hash, &key);
            assert_eq!(is_new, !model.contains_key(&key));
            assert_eq!(*model.entry(key.clone()).or_insert(slot), slot, "a slot stays until its key goes");
        }
        assert_eq!(set.get(hash, &key), model.get(&key).copied());
    }
    assert_eq!(set.len(), model.len());
    for (key, slot) in &model {
        assert_eq!(set.key(*slot), &key[..]);
    }
}

/// A string of 16 MiB and more has its length in another place.
#[test]
fn a_byte_set_holds_strings_of_any_length() {
    let lens = [0, 1, 16 << 10, (16 << 20) - 2, (16 << 20) - 1, 16 << 20, 1, (16 << 20) + 1];
    let keys: Vec<Vec<u8>> = lens.iter().enumerate().map(|(n, len)| vec![n as u8; *len]).collect();
    let mut set = ByteSet::default();
    let slots: Vec<u32> = keys.iter().map(|key| set.insert(hash_bytes(key), key).0).collect();
    // More than half goes, long ones among it, so that the rest is written anew.
    for gone in [3, 5, 7] {
        set.remove(slots[gone]);
    }
    for (n, key) in keys.iter().enumerate() {
        let is_gone = [3, 5, 7].contains(&n);
        assert_eq!(set.get(hash_bytes(key), key), (!is_gone).then_some(slots[n]));
        assert_eq!(set.has_hash(hash_bytes(key)), !is_gone);
        assert!(is_gone || set.key(slots[n]) == key);
    }
    assert!(set.bytes() < 64 << 20, "{}", set.bytes());
}

type Model = BTreeMap<(Vec<u8>, Vec<u8>), i64>;

fn contents(a: &Arrangement) -> Model {
    a.iter().map(|s| ((a.key_of(s).to_vec(), a.row(s).to_vec()), a.weight(s))).collect()
}

#[test]
fn an_arrangement_equals_a_map_of_weights_also_from_its_changes() {
    for seed in 0..40 {
        let mut numbers = Numbers(seed);
        let mut arrangement = Arrangement::default();
        let mut restored = Arrangement::default();
        let mut model = Model::new();
        for _ in 0..30 {
            for _ in 0..numbers.below(40) {
                let key = vec![numbers.below(6) as u8];
                let row = vec![key[0], numbers.below(8) as u8];
                let weight = numbers.below(5) as i64 - 2;
                arrangement.add(hash_bytes(&key), &key, hash_bytes(&row), &row, weight);
                *model.entry((key, row)).or_default() += weight;
            }
            arrangement.sweep();
            model.retain(|_, w| *w != 0);
            assert_eq!(contents(&arrangement), model);
            for key in 0..6_u8 {
                let sum: i64 = model.iter().filter(|((k, _), _)| k[0] == key).map(|(_, w)| w).sum();
                assert_eq!(arrangement.total(hash_bytes(&[key]), &[key]), sum);
                let rows = model.keys().filter(|(k, _)| k[0] == key).count();
                let found = arrangement.key_slot(hash_bytes(&[key]), &[key]);
                assert_eq!(found.map_or(0, |k| arrangement.rows_of(k).count()), rows);
            }
            if numbers.below(3) == 0 {
                let full = numbers.below(4) == 0;
                if full {
                    restored = Arrangement::default();
                }
                for (key, row, weight) in arrangement.take_changes(full) {
                    restored.restore(&key, &row, weight);
                }
                restored.mark_saved();
                assert_eq!(contents(&restored), model, "seed {seed}");
            }
        }
    }
}

#[test]
fn a_run_comes_back_as_it_was_and_damage_is_noticed() {
    let batch = changes_to_batch(3, &[(b"k".to_vec(), b"row".to_vec(), -2), (vec![], vec![], 5)]).unwrap();
    let bytes = write_run(&[Section { node: 9, batch: batch.clone() }]).unwrap();
    let sections = read_run(&bytes).unwrap();
    assert_eq!((sections.len(), sections[0].node), (1, 9));
    assert_eq!(sections[0].batch, batch);
    let mut seen = vec![];
    changes_from_batch(&batch, |part, key, row, weight| seen.push((part, key.to_vec(), row.to_vec(), weight))).unwrap();
    assert_eq!(seen, [(3, b"k".to_vec(), b"row".to_vec(), -2), (3, vec![], vec![], 5)]);
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1;
        assert!(read_run(&damaged).is_err(), "a flipped bit at {at}");
        assert!(read_run(&bytes[..at]).is_err(), "cut off at {at}");
    }
}

#[test]
fn rows_of_no_columns_are_counted() {
    let codec = RowCodec::new(vec![]).unwrap();
    assert_eq!(codec.encode(&[]).unwrap().row(3), b"");
    let schema = std::sync::Arc::new(arrow::datatypes::Schema::empty());
    assert_eq!(codec.decode_batch(&schema, &[b"", b""]).unwrap().num_rows(), 2);
}

#[test]
fn ordered_rows_have_the_positions_of_a_sorted_list() {
    for seed in 0..30 {
        let mut numbers = Numbers(seed);
        let mut ordered = Ordered::default();
        let mut restored = Ordered::default();
        let mut model = Model::new();
        for _ in 0..40 {
            for _ in 0..numbers.below(60) {
                let key = vec![numbers.below(3) as u8];
                let row = [&key[..], &numbers.below(50).to_be_bytes()].concat();
                let now = model.get(&(key.clone(), row.clone())).copied().unwrap_or(0);
                let weight = (numbers.below(5) as i64 - 2).max(-now);
                ordered.add(hash_bytes(&key), &key, &row, weight);
                *model.entry((key, row)).or_default() += weight;
            }
            ordered.sweep();
            model.retain(|_, w| *w != 0);
            if numbers.below(3) == 0 {
                for (key, row, weight) in ordered.take_changes(false) {
                    restored.restore(&key, &row, weight);
                }
                restored.mark_saved();
                if numbers.below(2) == 0 {
                    std::mem::swap(&mut ordered, &mut restored);
                    restored = Ordered::default();
                    for (key, row, weight) in ordered.take_changes(true) {
                        restored.restore(&key, &row, weight);
                    }
                }
            }
            check_order(&ordered, &model);
        }
    }
}

fn check_order(ordered: &Ordered, model: &Model) {
    assert_eq!(ordered.len(), model.len());
    for key in 0..3_u8 {
        let mut position = 0;
        let mut expected: Vec<(Vec<u8>, u64, u64)> = vec![];
        for ((_, row), weight) in model.iter().filter(|((k, _), _)| k[0] == key) {
            expected.push((row.clone(), position, *weight as u64));
            position += *weight as u64;
        }
        let Some(slot) = ordered.key_slot(hash_bytes(&[key]), &[key]) else {
            assert!(expected.is_empty());
            continue;
        };
        assert_eq!(ordered.total(slot), position);
        assert_eq!(ordered.last(slot).map(|s| ordered.row(s)), expected.last().map(|e| &e.0[..]));
        for from in 0..=position + 1 {
            let found: Vec<(Vec<u8>, u64, u64)> =
                ordered.from(slot, from).map(|p| (ordered.row(p.slot).to_vec(), p.position, p.weight)).collect();
            let wanted: Vec<(Vec<u8>, u64, u64)> =
                expected.iter().filter(|(_, at, weight)| at + weight > from).cloned().collect();
            assert_eq!(found, wanted, "from {from}");
        }
    }
}
