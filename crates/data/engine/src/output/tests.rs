//! An answer against a plain multiset: any changes, snapshots held over later ones, saves and loads in between.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use fleuve_types::{ColumnPart, Delta};

use super::difference::difference_in;
use super::{Answer, Output, SavedOutput, SavedRows, SavedRuns, ViewSnapshot, consolidate, with_weights};
use crate::state::runs::{MemoryFiles, RunFiles, Space};
use crate::state::{RowCodec, hash_bytes};

/// `k`, `name`, `n`
type Row = (i64, Option<String>, Option<i64>);
type Rows = BTreeMap<Row, i64>;

/// Numbers that are the same for the same seed.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n as u64) as usize
    }

    fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }
}

/// What is known of the answer.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    /// `k` is the key.
    Keyed,
    Bag,
    Log,
}

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("k", DataType::Int64, true),
        Field::new("name", DataType::Utf8, true),
        Field::new("n", DataType::Int64, true),
    ]))
}

fn delta(changes: &[(Row, i64)]) -> Delta {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(changes.iter().map(|(r, _)| r.0).collect::<Int64Array>()),
        Arc::new(changes.iter().map(|(r, _)| r.1.clone()).collect::<StringArray>()),
        Arc::new(changes.iter().map(|(r, _)| r.2).collect::<Int64Array>()),
    ];
    let batch = RecordBatch::try_new(schema(), columns).unwrap();
    consolidate(Delta::weighted(batch, changes.iter().map(|c| c.1).collect()).unwrap()).unwrap()
}

fn read(batches: impl IntoIterator<Item = RecordBatch>) -> Rows {
    let mut rows = Rows::new();
    for batch in batches {
        let number = |c: usize| batch.column(c).as_any().downcast_ref::<Int64Array>().unwrap();
        let name = batch.column(1).as_any().downcast_ref::<StringArray>().unwrap();
        for i in 0..batch.num_rows() {
            let of = |a: &Int64Array| a.is_valid(i).then(|| a.value(i));
            let row = (number(0).value(i), name.is_valid(i).then(|| name.value(i).to_string()), of(number(2)));
            *rows.entry(row).or_default() += 1;
        }
    }
    rows
}

fn new_row(random: &mut Random, k: i64) -> Row {
    let name = (!random.chance(10)).then(|| "x".repeat(random.below(20)));
    (k, name, (!random.chance(10)).then(|| random.below(5) as i64))
}

/// Some change that fits what is there.
fn change(random: &mut Random, kind: Kind, rows: &Rows, largest: usize) -> Vec<(Row, i64)> {
    let mut out: Vec<(Row, i64)> = vec![];
    match kind {
        Kind::Keyed => {
            for _ in 0..random.below(largest) {
                let k = random.below(200) as i64;
                if out.iter().any(|(r, _)| r.0 == k) {
                    continue;
                }
                let old = rows.range((k, None, None)..).next().map(|(r, _)| r.clone()).filter(|r| r.0 == k);
                let goes = old.is_some() && random.chance(30);
                out.extend(old.map(|r| (r, -1)));
                if !goes {
                    out.push((new_row(random, k), 1));
                }
            }
        }
        Kind::Bag => {
            for _ in 0..random.below(largest) {
                let at = random.below(rows.len().max(1));
                match rows.iter().nth(at).filter(|_| random.chance(50)) {
                    Some((row, count)) if !out.iter().any(|(r, _)| r == row) => {
                        out.push((row.clone(), -(1 + random.below(*count as usize) as i64)));
                    }
                    _ => {
                        let k = random.below(30) as i64;
                        out.push((new_row(random, k), 1 + random.below(3) as i64));
                    }
                }
            }
        }
        Kind::Log => {
            for _ in 0..random.below(largest) {
                let k = random.below(50) as i64;
                out.push((new_row(random, k), 1 + random.below(2) as i64));
            }
        }
    }
    out
}

fn check(snapshot: &ViewSnapshot, rows: &Rows, kind: Kind, random: &mut Random) {
    assert_eq!(&read(snapshot.batches().unwrap()), rows);
    assert_eq!(snapshot.num_rows() as i64, rows.values().sum::<i64>());
    let parts = 1 + random.below(4);
    let size = 1 + random.below(300);
    let some =
        (0..parts).flat_map(|n| snapshot.part(n, parts).batches_of(size).map(Result::unwrap)).collect::<Vec<_>>();
    assert!(some.iter().all(|b| b.num_rows() <= size));
    assert_eq!(&read(some), rows);
    let two = snapshot.rows().project(vec![2, 0]).unwrap().map(Result::unwrap);
    let sum: i64 =
        two.map(|b| b.column(0).as_any().downcast_ref::<Int64Array>().unwrap().iter().flatten().sum::<i64>()).sum();
    assert_eq!(sum, rows.iter().map(|(r, w)| r.2.unwrap_or(0) * w).sum::<i64>());
    if kind == Kind::Keyed {
        check_lookups(snapshot, rows, random);
    }
    for _ in 0..4 {
        let k = random.below(220) as i64;
        let found = snapshot.lookup(&[Arc::new(Int64Array::from(vec![k]))]).unwrap();
        match kind {
            Kind::Keyed => {
                let expected = rows.iter().filter(|(r, _)| r.0 == k).map(|(r, w)| (r.clone(), *w)).collect();
                assert_eq!(read(found.unwrap()), expected, "key {k}");
            }
            Kind::Bag | Kind::Log => assert!(found.is_none()),
        }
    }
}

/// Many keys at once give what each gives, in other columns.
fn check_lookups(snapshot: &ViewSnapshot, rows: &Rows, random: &mut Random) {
    let part = |at| ColumnPart { at, fields: None };
    let narrow = Arc::new(schema().project(&[2, 0]).unwrap());
    let answer = Answer::new(snapshot.clone(), &[0], &[part(2), part(0)], narrow).unwrap();
    let wanted: BTreeSet<i64> = (0..random.below(250)).map(|_| random.below(220) as i64).collect();
    let column: ArrayRef = Arc::new(wanted.iter().copied().collect::<Int64Array>());
    let codec = RowCodec::new(vec![DataType::Int64]).unwrap();
    let encoded = codec.encode(&[column]).unwrap();
    let own = |(i, k): (usize, &i64)| ((hash_bytes(encoded.row(i)), encoded.row(i)), *k);
    let mut by_key: Vec<((u64, &[u8]), i64)> = wanted.iter().enumerate().map(own).collect();
    by_key.sort_unstable();
    let keys: Vec<(u64, &[u8])> = by_key.iter().map(|(key, _)| *key).collect();
    let found = answer.find(&keys).unwrap();
    let column = |c: usize| found.rows.column(c).as_any().downcast_ref::<Int64Array>().unwrap();
    let mut got = vec![];
    for (i, key) in found.keys.iter().enumerate() {
        assert_eq!(column(1).value(i), by_key[*key].1);
        got.push((by_key[*key].1, column(0).is_valid(i).then(|| column(0).value(i))));
    }
    got.sort_unstable();
    let expected: Vec<_> = rows.keys().filter(|r| wanted.contains(&r.0)).map(|r| (r.0, r.2)).collect();
    assert_eq!(got, expected);
    assert!(Answer::new(snapshot.clone(), &[1], &[part(0)], Arc::new(schema().project(&[0]).unwrap())).is_err());
    assert!(Answer::new(snapshot.clone(), &[0], &[part(1)], Arc::new(schema().project(&[0]).unwrap())).is_err());
}

/// An answer, what it must be, and its saves.
struct World {
    kind: Kind,
    output: Output,
    rows: Rows,
    files: MemoryFiles,
    space: Arc<Space>,
    saved: Vec<RecordBatch>,
    runs: Option<SavedRuns>,
    held: Vec<(ViewSnapshot, Rows)>,
}

impl World {
    fn new(kind: Kind) -> Self {
        let files = MemoryFiles::default();
        let space = Space::open(Arc::new(files.clone()), false).unwrap();
        let output = new_output(kind, &space);
        Self { kind, output, rows: Rows::new(), files, space, saved: vec![], runs: None, held: vec![] }
    }

    fn step(&mut self, random: &mut Random, largest: usize, spills: bool) {
        let changes = change(random, self.kind, &self.rows, largest);
        self.output.apply(&delta(&changes)).unwrap();
        for (row, weight) in changes {
            *self.rows.entry(row).or_default() += weight;
        }
        self.rows.retain(|_, w| *w != 0);
        if spills && random.chance(20) {
            let target = [0, 1_000, 10_000, 100_000][random.below(4)];
            self.output.shrink(target).unwrap();
        }
        if random.chance(20) {
            self.held.push((self.output.snapshot(1), self.rows.clone()));
        }
        if random.chance(10) {
            self.save(random);
        }
        if random.chance(5) {
            self.save(random);
            self.load(random);
        }
    }

    fn save(&mut self, random: &mut Random) {
        self.save_as((self.saved.is_empty() && self.runs.is_none()) || random.chance(20));
    }

    fn save_as(&mut self, full: bool) {
        let SavedOutput { rows, runs } = self.output.save(full).unwrap();
        let is_whole = matches!(rows, SavedRows::All(_));
        let batches = rows.batches().unwrap();
        if is_whole || runs.is_some() {
            self.saved.clear();
        }
        self.saved.extend(batches);
        assert!(runs.is_none() || self.saved.is_empty());
        self.runs = runs;
        // The checkpoint is there.
        self.files.remove(&self.output.take_stale());
    }

    fn load(&mut self, random: &mut Random) {
        self.output = new_output(self.kind, &self.space);
        let mut wants_full = false;
        if let Some(runs) = &self.runs {
            let text = serde_json::to_string(runs).unwrap();
            let eager_bytes = [0, 1 << 20][random.below(2)];
            wants_full = self.output.open(&serde_json::from_str(&text).unwrap(), eager_bytes).unwrap();
            // What an earlier file said does not count any more.
            self.output.load(&with_weights(&delta(&[((0, None, None), 1)])).unwrap()).unwrap();
        }
        for batch in &self.saved {
            self.output.load(batch).unwrap();
        }
        if wants_full {
            self.save_as(true);
        }
    }
}

fn new_output(kind: Kind, space: &Arc<Space>) -> Output {
    let mut output = Output::new(schema(), (kind == Kind::Keyed).then(|| vec![0]), kind == Kind::Log).unwrap();
    output.page_in_space(space, "v/answer");
    output
}

fn case(kind: Kind, seed: u64, spills: bool) {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut world = World::new(kind);
    let largest = [3, 30, 300][random.below(3)];
    for _ in 0..40 {
        world.step(&mut random, largest, spills);
        check(&world.output.snapshot(2), &world.rows, kind, &mut random);
        if !world.held.is_empty() && random.chance(30) {
            let at = random.below(world.held.len());
            let (snapshot, rows) = world.held.swap_remove(at);
            check(&snapshot, &rows, kind, &mut random);
            check_difference(&snapshot, rows, &world, 1 + random.below(3) as u64);
        }
    }
    for (snapshot, rows) in &world.held {
        check(snapshot, rows, kind, &mut random);
    }
    // What is not in a checkpoint goes with its last reader.
    world.save(&mut random);
    let World { output, held, files, runs, .. } = world;
    drop((output, held));
    let named: Vec<String> = runs.iter().flat_map(SavedRuns::names).map(str::to_string).collect();
    let named = sorted(named);
    // A merge that nobody waits for any more takes its file away itself.
    for _ in 0..200 {
        if sorted(files.list().unwrap()) == named {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert_eq!(sorted(files.list().unwrap()), named, "{kind:?} {seed}");
}

fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort();
    names
}

fn check_difference(before: &ViewSnapshot, rows: Rows, world: &World, passes: u64) {
    let difference = difference_in(before, &world.output.snapshot(3), passes).unwrap();
    let mut both = rows;
    for i in 0..difference.len() {
        let row = read([difference.batch.slice(i, 1)]).into_keys().next().unwrap();
        *both.entry(row).or_default() += difference.weight(i);
    }
    both.retain(|_, w| *w != 0);
    assert_eq!(both, world.rows);
}

#[test]
fn an_answer_is_a_multiset() {
    for seed in 1..20 {
        for kind in [Kind::Keyed, Kind::Bag, Kind::Log] {
            case(kind, seed, false);
        }
    }
}

#[test]
fn an_answer_is_a_multiset_on_disk_too() {
    for seed in 1..40 {
        for kind in [Kind::Keyed, Kind::Bag, Kind::Log] {
            case(kind, seed, true);
        }
    }
}

/// The rows of each piece.
fn pieces(output: &Output, of: u32) -> Vec<Rows> {
    let snapshot = output.snapshot(1);
    (0..of).map(|n| read(snapshot.piece(n, of).batches_of(1 + n as usize * 7).map(Result::unwrap))).collect()
}

/// Whatever of it is in memory, on disk, or both, and after it was saved and opened again.
#[test]
fn pieces_of_an_answer_are_the_same_rows_wherever_they_lie() {
    for seed in 1..40 {
        for kind in [Kind::Keyed, Kind::Bag, Kind::Log] {
            let mut random = Random(seed * 77);
            let mut world = World::new(kind);
            let largest = [3, 30, 300][random.below(3)];
            for _ in 0..20 {
                world.step(&mut random, largest, seed % 3 > 0);
            }
            let of = 1 + random.below(20) as u32;
            let before = pieces(&world.output, of);
            let mut all = Rows::new();
            for (row, count) in before.iter().flatten() {
                *all.entry(row.clone()).or_default() += count;
            }
            assert_eq!(all, world.rows, "{kind:?} {seed}");
            world.save(&mut random);
            world.load(&mut random);
            assert_eq!(pieces(&world.output, of), before, "{kind:?} {seed}: opened again");
            world.output.shrink(1_000).unwrap();
            assert_eq!(pieces(&world.output, of), before, "{kind:?} {seed}: partly on disk");
            world.output.shrink(0).unwrap();
            assert_eq!(pieces(&world.output, of), before, "{kind:?} {seed}: on disk");
            world.save_as(true);
            world.load(&mut random);
            assert_eq!(pieces(&world.output, of), before, "{kind:?} {seed}: opened from disk");
        }
    }
}

/// Entries of arrived rows are cut where a piece begins or ends in the middle of them, also by those in memory.
#[test]
fn pieces_of_arrived_rows_are_about_equal() {
    let space = Space::open(Arc::new(MemoryFiles::default()), false).unwrap();
    let mut output = new_output(Kind::Log, &space);
    let rows = |range: std::ops::Range<i64>| -> Vec<(Row, i64)> { range.map(|k| ((k, None, Some(k)), 1)).collect() };
    output.apply(&delta(&rows(0..20_000))).unwrap();
    let bounds = |output: &Output| -> Vec<(i64, i64)> {
        pieces(output, 7)
            .iter()
            .map(|rows| (rows.keys().next().unwrap().0, rows.keys().next_back().unwrap().0))
            .collect()
    };
    output.shrink(0).unwrap();
    output.apply(&delta(&rows(20_000..30_000))).unwrap();
    let cut = |n: i64| 30_000 * n / 7;
    let expected: Vec<(i64, i64)> = (0..7).map(|n| (cut(n), cut(n + 1) - 1)).collect();
    assert_eq!(bounds(&output), expected);
    assert_eq!(pieces(&output, 7).iter().map(Rows::len).sum::<usize>(), 30_000);
    output.shrink(0).unwrap();
    assert_eq!(bounds(&output), expected);
}

#[test]
fn an_answer_on_disk_takes_little_memory() {
    let mut random = Random(7);
    for kind in [Kind::Keyed, Kind::Bag, Kind::Log] {
        let space = Space::open(Arc::new(MemoryFiles::default()), false).unwrap();
        let mut output = new_output(kind, &space);
        let mut rows = Rows::new();
        for part in 0..10 {
            let new: Vec<(Row, i64)> =
                (0..20_000).map(|k| ((part * 20_000 + k, Some("some name".into()), Some(k)), 1)).collect();
            output.apply(&delta(&new)).unwrap();
            rows.extend(new);
        }
        let before = output.snapshot(1);
        let bytes = output.bytes();
        output.shrink(bytes / 2).unwrap();
        assert!(output.bytes() <= bytes * 6 / 10, "{kind:?}: {} of {bytes}", output.bytes());
        check(&output.snapshot(1), &rows, kind, &mut random);
        output.shrink(0).unwrap();
        assert!(output.bytes() < bytes / 20, "{kind:?}: {} of {bytes}", output.bytes());
        assert!(output.disk_bytes() > 0);
        check(&output.snapshot(1), &rows, kind, &mut random);
        check(&before, &rows, kind, &mut random);
    }
}

#[test]
fn an_answer_of_many_chunks_counts_its_memory_once() {
    let mut output = Output::new(schema(), Some(vec![0]), false).unwrap();
    let rows = |range: std::ops::Range<i64>, weight: i64| -> Vec<(Row, i64)> {
        range.map(|k| ((k, Some("name".into()), Some(1)), weight)).collect()
    };
    for part in 0..12 {
        output.apply(&delta(&rows(part * 60_000..(part + 1) * 60_000, 1))).unwrap();
    }
    let full = output.bytes();
    output.save(true).unwrap();
    let full = full.min(output.bytes());
    // More than half goes, and what is left is written together.
    for part in 0..7 {
        output.apply(&delta(&rows(part * 60_000..(part + 1) * 60_000, -1))).unwrap();
    }
    output.save(true).unwrap();
    assert!(output.bytes() < full, "{} bytes of {full}", output.bytes());
    assert_eq!(output.rows(), 300_000);
}

/// What is to be saved of rows that change all the time is no more than the rows.
#[test]
fn changes_that_are_more_than_the_answer_are_not_kept() {
    let rows_in = |saved: &[RecordBatch]| saved.iter().map(RecordBatch::num_rows).sum::<usize>();
    let mut output = Output::new(schema(), Some(vec![0]), false).unwrap();
    let mut again = Output::new(schema(), Some(vec![0]), false).unwrap();
    let mut save = |output: &mut Output, full| {
        let rows = output.save(full).unwrap().rows;
        let is_whole = matches!(rows, SavedRows::All(_));
        let batches = rows.batches().unwrap();
        if is_whole {
            again.forget_loaded();
        }
        batches.iter().try_for_each(|batch| again.load(batch)).unwrap();
        assert_eq!(read(again.snapshot(1).batches().unwrap()), read(output.snapshot(1).batches().unwrap()));
        (is_whole, rows_in(&batches))
    };
    let row = |k: i64, n: i64| (k, Some("name".into()), Some(n));
    let first: Vec<(Row, i64)> = (0..100).map(|k| (row(k, 0), 1)).collect();
    output.apply(&delta(&first)).unwrap();
    assert_eq!(save(&mut output, true), (true, 100));
    // A few changes are saved as they are.
    output.apply(&delta(&[(row(3, 0), -1), (row(3, 1), 1)])).unwrap();
    assert_eq!(save(&mut output, false), (false, 2));
    let bytes = output.bytes();
    for n in 1..2_000 {
        output.apply(&delta(&[(row(3, n), -1), (row(3, n + 1), 1)])).unwrap();
    }
    assert!(output.bytes() < bytes * 2, "{} bytes, {bytes} before", output.bytes());
    assert_eq!(save(&mut output, false), (true, 100));
    // Nothing has changed since.
    assert_eq!(save(&mut output, false), (false, 0));
    // One that became empty is saved as such.
    let last: Vec<(Row, i64)> = (0..100).map(|k| (row(k, if k == 3 { 2_000 } else { 0 }), -1)).collect();
    output.apply(&delta(&last)).unwrap();
    assert_eq!(save(&mut output, false), (true, 0));
}

#[test]
fn a_row_that_is_not_there_cannot_go() {
    let mut output = Output::new(schema(), None, false).unwrap();
    output.apply(&delta(&[((1, None, None), 1)])).unwrap();
    assert!(output.apply(&delta(&[((2, None, None), -1)])).is_err());
    let mut output = Output::new(schema(), None, true).unwrap();
    output.apply(&delta(&[((1, None, None), 1)])).unwrap();
    assert!(output.apply(&delta(&[((1, None, None), -1)])).is_err());
}
