use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use fleuve_types::{ErrorKind, Result};

use super::*;

/// Numbers for a test, the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }

    fn hash(&mut self, different: u64) -> u64 {
        // Spread as hashes are, with neighbours and extremes among them.
        match self.below(different) {
            0 => 0,
            1 => u64::MAX,
            n => n.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (n & 1),
        }
    }
}

type Model = BTreeMap<(u64, Vec<u8>), Option<Vec<u8>>>;

fn space() -> (MemoryFiles, Arc<Space>) {
    let files = MemoryFiles::default();
    (files.clone(), Space::open(Arc::new(files), false).unwrap())
}

fn random_entries(numbers: &mut Numbers, count: u64, different: u64) -> Model {
    (0..count)
        .map(|_| {
            let key = vec![numbers.below(3) as u8; numbers.below(12) as usize];
            let len = if numbers.below(100) == 0 { 20_000 } else { numbers.below(40) };
            let value = (numbers.below(6) > 0).then(|| (0..len).map(|_| numbers.below(256) as u8).collect());
            ((numbers.hash(different), key), value)
        })
        .collect()
}

fn write(space: &Arc<Space>, model: &Model) -> Arc<Run> {
    let mut writer = RunWriter::create(space, "p", model.len() as u64).unwrap();
    for ((hash, key), value) in model {
        writer.add(*hash, key, value.as_deref()).unwrap();
    }
    writer.finish().unwrap()
}

fn found(entry: Entry<'_>) -> ((u64, Vec<u8>), Option<Vec<u8>>) {
    ((entry.hash, entry.key.to_vec()), entry.value.map(<[u8]>::to_vec))
}

/// What a run says of a key.
type Said = ((u64, Vec<u8>), Option<Vec<u8>>);

fn scanned(run: &Arc<Run>) -> Result<Vec<Said>> {
    let mut scan = run.scan();
    let mut out = vec![];
    while scan.next()? {
        out.push(found(scan.entry()));
    }
    Ok(out)
}

fn looked_up(run: &Run, hashes: &[u64]) -> Result<Vec<Said>> {
    let mut out = vec![];
    run.get_many(hashes, |e| {
        out.push(found(e));
        Ok(())
    })?;
    Ok(out)
}

#[test]
fn a_run_gives_back_what_was_written() {
    for seed in 0..60 {
        let mut numbers = Numbers(seed);
        let (_, space) = space();
        let (count, different) = (numbers.below(3_000), 2 + numbers.below(2_000));
        let model = random_entries(&mut numbers, count, different);
        let written = write(&space, &model);
        let opened = Run::open(&space, written.name()).unwrap();
        for run in [&written, &opened] {
            assert_eq!(scanned(run).unwrap(), model.clone().into_iter().collect::<Vec<_>>(), "seed {seed}");
            assert_eq!(run.entries(), model.len() as u64);
            assert_eq!(run.gone(), model.values().filter(|v| v.is_none()).count() as u64);
            let asked: BTreeSet<u64> = (0..numbers.below(600)).map(|_| numbers.hash(2 * different)).collect();
            let asked: Vec<u64> = asked.into_iter().collect();
            let expected: Vec<_> = model.clone().into_iter().filter(|((h, _), _)| asked.contains(h)).collect();
            assert_eq!(looked_up(run, &asked).unwrap(), expected, "seed {seed}");
        }
    }
}

#[test]
fn hashes_that_are_not_there_are_mostly_not_looked_for() {
    let (_, space) = space();
    let model: Model = (0..20_000_u64).map(|n| ((crate::state::hash_bytes(&n.to_le_bytes()), vec![]), None)).collect();
    let run = write(&space, &model);
    assert_eq!(run.hashes(), 20_000);
    assert!(model.keys().all(|(hash, _)| run.may_hold(*hash)));
    let others = (20_000..120_000_u64).filter(|n| run.may_hold(crate::state::hash_bytes(&n.to_le_bytes()))).count();
    assert!(others < 3_000, "{others} of 100,000");
    // Made for far more than came.
    let mut large = RunWriter::create(&space, "p", 10_000_000).unwrap();
    model.keys().for_each(|(hash, key)| large.add(*hash, key, None).unwrap());
    let large = large.finish().unwrap();
    assert!(model.keys().all(|(hash, _)| large.may_hold(*hash)));
    assert!(large.bytes() < 2 * run.bytes() + 4_096, "{} and {}", large.bytes(), run.bytes());
    assert!(run.bytes() < 100_000, "{}", run.bytes());
}

#[test]
fn damage_is_an_error() {
    let mut numbers = Numbers(3);
    let (files, space) = space();
    let model = random_entries(&mut numbers, 300, 200);
    let run = write(&space, &model);
    let all: Vec<u64> = model.keys().map(|(hash, _)| *hash).collect::<BTreeSet<_>>().into_iter().collect();
    let bytes = files.bytes(run.name()).unwrap();
    let check = |damaged: Vec<u8>, what: String| {
        files.set("damaged", Some(damaged));
        let read = Run::open(&space, "damaged").and_then(|run| {
            let looked_up = looked_up(&run, &all)?;
            Ok((scanned(&run)?, looked_up))
        });
        assert_eq!(read.err().map(|e| e.kind), Some(ErrorKind::Io), "{what}");
    };
    for n in 0..3_000 {
        let at = if n < 400 { bytes.len() - 1 - n } else { numbers.below(bytes.len() as u64) as usize };
        let mut damaged = bytes.clone();
        damaged[at] ^= 1 << numbers.below(8);
        check(damaged, format!("a flipped bit at {at}"));
        check(bytes[..at].to_vec(), format!("cut off at {at}"));
    }
    assert_eq!(Run::open(&space, "nothing").err().map(|e| e.kind), Some(ErrorKind::NotFound));
}

/// What lies behind right checksums but is no run gives errors, too, without taking memory that the file does not pay for.
#[test]
fn nonsense_is_an_error() {
    let mut numbers = Numbers(9);
    let mut content = vec![];
    for _ in 0..20_000 {
        let len = numbers.below(60) as usize;
        let mut body: Vec<u8> = (0..len).map(|_| numbers.below(256) as u8).collect();
        if len > 4 && numbers.below(2) == 0 {
            body[3] = if numbers.below(2) == 0 { 0 } else { 128 };
        }
        let sum = crate::state::hash_bytes(&body);
        body.extend_from_slice(&sum.to_le_bytes());
        if block::open(&body, &mut content).is_ok() {
            assert!(content.len() <= 255 * len);
            let mut cursor = block::Cursor::default();
            while let Ok(true) = cursor.next(&content) {
                assert!(cursor.key(&content).len() + cursor.value(&content).map_or(0, <[u8]>::len) <= content.len());
            }
        }
    }
}

#[test]
fn entries_have_to_ascend() {
    let (_, space) = space();
    let mut writer = RunWriter::create(&space, "p", 3).unwrap();
    writer.add(5, b"b", None).unwrap();
    assert!(writer.add(5, b"b", None).is_err());
    assert!(writer.add(5, b"a", None).is_err());
    assert!(writer.add(4, b"c", None).is_err());
    writer.add(5, b"c", Some(b"")).unwrap();
    let run = writer.finish().unwrap();
    assert_eq!(scanned(&run).unwrap(), [((5, b"b".to_vec()), None), ((5, b"c".to_vec()), Some(vec![]))]);
}

#[test]
fn one_hash_may_fill_many_blocks() {
    let (_, space) = space();
    let model: Model = (0..3_000_u64)
        .map(|n| ((if n < 10 { 6 } else { 7 + n / 2_900 }, n.to_be_bytes().to_vec()), Some(n.to_be_bytes().repeat(3))))
        .collect();
    let run = write(&space, &model);
    for hashes in [vec![6], vec![7], vec![8], vec![6, 7, 8], vec![5, 7, 9], vec![6, 8]] {
        let expected: Vec<_> = model.clone().into_iter().filter(|((h, _), _)| hashes.contains(h)).collect();
        assert_eq!(looked_up(&run, &hashes).unwrap(), expected, "{hashes:?}");
    }
}

#[test]
fn runs_read_as_one_say_what_the_newest_says() {
    for seed in 0..40 {
        let mut numbers = Numbers(seed);
        let (_, space) = space();
        let mut runs = vec![];
        let mut model = Model::new();
        for _ in 0..1 + numbers.below(7) {
            let count = numbers.below(300);
            let entries = random_entries(&mut numbers, count, 150);
            model.extend(entries.clone());
            runs.insert(0, write(&space, &entries));
        }
        for is_all in [true, false] {
            let mut merge = Merge::new(&runs, Combine::Newest, is_all).unwrap();
            let mut out = vec![];
            while merge.next().unwrap() {
                out.push(found(merge.entry()));
            }
            let expected: Vec<_> = model.clone().into_iter().filter(|(_, v)| !is_all || v.is_some()).collect();
            assert_eq!(out, expected, "seed {seed}");
        }
    }
}

#[test]
fn weights_add_up() {
    let mut numbers = Numbers(2);
    let (_, space) = space();
    let mut sums: BTreeMap<(u64, Vec<u8>), i64> = BTreeMap::new();
    let mut runs = vec![];
    for _ in 0..6 {
        let part: BTreeMap<(u64, Vec<u8>), i64> =
            (0..80).map(|_| ((numbers.hash(40), vec![]), numbers.below(5) as i64 - 2)).collect();
        part.iter().for_each(|(k, w)| *sums.entry(k.clone()).or_default() += w);
        let entries = part.into_iter().map(|(k, w)| (k, Some(w.to_le_bytes().to_vec()))).collect();
        runs.insert(0, write(&space, &entries));
    }
    sums.retain(|_, w| *w != 0);
    let mut merge = Merge::new(&runs, Combine::Sum, false).unwrap();
    let mut out = vec![];
    while merge.next().unwrap() {
        let (key, value) = found(merge.entry());
        out.push((key, i64::from_le_bytes(value.unwrap().try_into().unwrap())));
    }
    assert_eq!(out, sums.into_iter().collect::<Vec<_>>());
}

/// Changes written to a set run by run, merged meanwhile, closed and opened again: it is the map that they make.
#[test]
fn a_set_of_runs_is_the_map_of_its_changes() {
    for seed in 0..12 {
        let mut numbers = Numbers(seed);
        let (files, mut at) = space();
        let mut set = RunSet::new(at.clone(), "s".into(), Combine::Newest);
        let mut model = Model::new();
        let mut refs = vec![];
        for _ in 0..50 {
            let count = 1 + numbers.below(60);
            let entries = random_entries(&mut numbers, count, 120);
            model.extend(entries.clone());
            let mut writer = set.writer(count).unwrap();
            entries.iter().for_each(|((h, k), v)| writer.add(*h, k, v.as_deref()).unwrap());
            set.push(writer.finish().unwrap());
            set.tidy();
            set.check().unwrap();
            match numbers.below(8) {
                0 | 1 => set.wait().unwrap(),
                by @ (2 | 3) => {
                    set.compact(by == 2);
                }
                4 => {
                    set.tend();
                }
                _ => {}
            }
            if numbers.below(6) == 0 {
                // A checkpoint.
                let stale = set.take_stale();
                refs = set.name_all();
                assert!(refs.iter().all(|r| !stale.contains(&r.name)));
                at.files().remove(&stale);
                if numbers.below(3) == 0 {
                    // A restart; a run that nobody named is left behind.
                    set.wait().unwrap();
                    set.take_stale();
                    files.set("s/99999999999999999999.sorted", Some(vec![1]));
                    files.set("s/other", Some(vec![1]));
                    at = Space::open(Arc::new(files.clone()), false).unwrap();
                    let named: HashSet<&str> = refs.iter().map(|r| r.name.as_str()).collect();
                    set = RunSet::open(at.clone(), "s".into(), Combine::Newest, &refs).unwrap();
                    at.remove_others(&named).unwrap();
                    assert_eq!(at.files().list().unwrap().len(), named.len() + 1, "seed {seed}");
                    files.set("s/other", None);
                }
            }
            let asked: BTreeSet<u64> = (0..50).map(|_| numbers.hash(160)).collect();
            let asked: Vec<u64> = asked.into_iter().collect();
            let mut answer = Model::new();
            set.get_many(&asked, false, |e| {
                let (key, value) = found(e);
                answer.insert(key, value);
                Ok(())
            })
            .unwrap();
            answer.retain(|_, v| v.is_some());
            let live = || model.clone().into_iter().filter(|(_, v)| v.is_some());
            assert_eq!(answer, live().filter(|((h, _), _)| asked.contains(h)).collect(), "seed {seed}");
            let mut all = set.scan().unwrap();
            let mut out = Model::new();
            while all.next().unwrap() {
                out.extend([found(all.entry())]);
            }
            assert_eq!(out, live().collect(), "seed {seed}");
            assert!(set.runs().len() <= 24, "{} runs", set.runs().len());
        }
        // Nothing is left behind but what is read, named, or waits to go.
        set.wait().unwrap();
        let stale = set.take_stale();
        let mut left: BTreeSet<String> = at.files().list().unwrap().into_iter().collect();
        left.retain(|name| !stale.contains(name) && !refs.iter().any(|r| r.name == *name));
        assert!(left.iter().all(|name| set.runs().iter().any(|r| r.name() == name)), "seed {seed}: {left:?}");
    }
}

/// What newer runs say over again takes room until all of them are one.
#[test]
fn runs_become_as_small_as_they_can_be() {
    let (_, space) = space();
    let mut set = RunSet::new(space, "s".into(), Combine::Newest);
    for round in 0..3_u8 {
        let mut writer = set.writer(1_000).unwrap();
        (0..1_000_u64).for_each(|n| writer.add(n * 7_919, b"key", Some(&[round; 30])).unwrap());
        set.push(writer.finish().unwrap());
        while set.tend() {
            set.wait().unwrap();
        }
    }
    let before = (set.entries(), set.disk_bytes());
    // Where others are merging it will begin when they are done.
    let slots: Vec<_> = std::iter::from_fn(|| set.space().begin_merge()).collect();
    assert!(!slots.is_empty() && set.compact(false) && !set.is_merging());
    drop(slots);
    assert!(before.0 == 3_000 && set.compact(true) && !set.compact(true), "{before:?}");
    assert_eq!((set.runs().len(), set.entries()), (1, 1_000));
    assert!(set.disk_bytes() < before.1 / 2, "{} of {}", set.disk_bytes(), before.1);
    assert_eq!(set.least_disk_bytes(), set.disk_bytes());
    assert!(!set.tend());
}

/// A run that is damaged keeps all others that are merged with it as they are, and what they say; in the end it is too much.
#[test]
fn runs_that_cannot_be_merged() {
    let (files, space) = space();
    let mut set = RunSet::new(space, "s".into(), Combine::Newest);
    for n in 0..100_u64 {
        let mut writer = set.writer(1).unwrap();
        writer.add(n, b"k", Some(&[1])).unwrap();
        set.push(writer.finish().unwrap());
        if n == 0 {
            let name = set.runs()[0].name().to_string();
            let mut bytes = files.bytes(&name).unwrap();
            bytes[0] ^= 1;
            files.set(&name, Some(bytes));
            set = RunSet::open(set.space().clone(), "s".into(), Combine::Newest, &set.name_all()).unwrap();
        }
        set.tidy();
        let mut found = 0;
        set.get_many(&(1..=n).collect::<Vec<_>>(), true, |_| {
            found += 1;
            Ok(())
        })
        .unwrap();
        assert_eq!(found, n);
        if let Err(e) = set.check() {
            assert!(n > 24 && e.message.contains("damaged"), "after {n}: {e}");
            // Nothing is tried over and over while nothing changes.
            set.tend();
            assert!(!set.tend());
            return;
        }
    }
    panic!("{} runs", set.runs().len());
}

/// Where a run has all of a hash, the newest that has it is enough.
#[test]
fn whole_hashes_are_found_once() {
    let (_, space) = space();
    let mut set = RunSet::new(space, "s".into(), Combine::Newest);
    for round in 0..3_u8 {
        let mut writer = set.writer(4).unwrap();
        for hash in (u64::from(round)..4).map(|n| n * 1_000) {
            writer.add(hash, b"k", Some(&[round])).unwrap();
        }
        set.push(writer.finish().unwrap());
    }
    let mut out = vec![];
    let mut note = |e: Entry<'_>| {
        out.push((e.hash, e.value.map(|v| v[0])));
        Ok(())
    };
    set.get_many(&[0, 1_000, 2_000, 2_500, 3_000], true, &mut note).unwrap();
    out.sort_unstable();
    assert_eq!(out, [(0, Some(0)), (1_000, Some(1)), (2_000, Some(2)), (3_000, Some(2))]);
}

#[test]
fn a_range_of_a_merge_is_what_lies_in_it() {
    for seed in 0..40 {
        let mut numbers = Numbers(seed);
        let (_, space) = space();
        let mut model = Model::new();
        let mut runs = vec![];
        for _ in 0..1 + numbers.below(4) {
            let entries = random_entries(&mut numbers, 400, 300);
            runs.insert(0, write(&space, &entries));
            model.extend(entries);
        }
        let (a, b) = (numbers.hash(300), numbers.hash(300));
        let (first, last) = (a.min(b), a.max(b));
        let mut merge = Merge::range(&runs, Combine::Newest, false, (first, last)).unwrap();
        let mut out = vec![];
        while merge.next().unwrap() {
            out.push(found(merge.entry()));
        }
        let expected: Vec<_> = model.into_iter().filter(|((hash, _), _)| (first..=last).contains(hash)).collect();
        assert_eq!(out, expected, "seed {seed}");
    }
}
