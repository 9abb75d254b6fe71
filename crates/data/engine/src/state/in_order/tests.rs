use super::{Item, PARALLEL_ITEMS, sort};

/// Hash, table, key and row of an item.
type Entry = (u64, u8, Vec<u8>, Vec<u8>);

fn check(entries: &[Entry]) {
    let item = |(at, entry): (usize, &Entry)| Item { hash: entry.0, source: 7, at: at as u32 };
    let mut items: Vec<Item> = entries.iter().enumerate().map(item).collect();
    sort(&mut items, |item| {
        let (_, part, key, row) = &entries[item.at as usize];
        (*part, key, row)
    });
    let order = |item: &Item| {
        let (hash, part, key, row) = &entries[item.at as usize];
        assert_eq!((item.hash, item.source), (*hash, 7));
        (*hash, *part, key.len(), key, row)
    };
    assert!(items.is_sorted_by_key(order));
    let mut places: Vec<u32> = items.iter().map(|i| i.at).collect();
    places.sort_unstable();
    assert!(places.into_iter().eq(0..entries.len() as u32));
}

/// A sequence of numbers that look random.
fn random(seed: u64) -> impl FnMut(u64) -> u64 {
    let mut state = seed;
    move |below| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    }
}

#[test]
fn items_are_in_the_order_of_entries() {
    for seed in 0..300 {
        let mut random = random(seed);
        let (count, hashes) = (random(300), 1 + random(60));
        let mut bytes = |most: u64| -> Vec<u8> { (0..random(most)).map(|_| [0, 1, 255][random(3) as usize]).collect() };
        let entries: Vec<Entry> = (0..count)
            .map(|_| {
                let (key, tail) = (bytes(3), bytes(12));
                let part = tail.len() as u8 % 2;
                (u64::from(key.iter().chain(&tail).map(|b| u32::from(*b)).sum::<u32>()) % hashes, part, key, tail)
            })
            .map(|(hash, part, key, tail)| (hash, part, key, [vec![9; 3], tail].concat()))
            .collect();
        check(&entries);
    }
}

#[test]
fn many_items_with_a_hot_key_are_too() {
    let row = |n: u64| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20).to_be_bytes().to_vec();
    let entries: Vec<Entry> = (0..3 * PARALLEL_ITEMS as u64)
        .map(|n| if n % 3 < 2 { (5, 0, vec![1], row(n)) } else { (n % 50, 1, row(n % 50), row(n)) })
        .collect();
    check(&entries);
}
