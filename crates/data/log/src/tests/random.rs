use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Append { partition: i32, records: usize, bytes: usize, durable: bool },
    Atomic { parts: Vec<(i32, usize)>, mark: u8, value: Option<u8> },
    Delete { partition: i32, part: u8 },
    Reopen,
    Tear,
    Settle,
    Size,
}

fn step() -> impl Strategy<Value = Step> {
    let append = (0..3i32, 1..6usize, 0..400usize, any::<bool>())
        .prop_map(|(partition, records, bytes, durable)| Step::Append { partition, records, bytes, durable });
    let parts = proptest::collection::vec((0..3i32, 1..4usize), 0..4);
    let atomic = (parts, 0..4u8, proptest::option::of(any::<u8>())).prop_map(|(parts, mark, value)| Step::Atomic {
        parts,
        mark,
        value,
    });
    prop_oneof![
        12 => append,
        6 => atomic,
        1 => (0..3i32, any::<u8>()).prop_map(|(partition, part)| Step::Delete { partition, part }),
        1 => Just(Step::Reopen),
        1 => Just(Step::Tear),
        1 => Just(Step::Settle),
        1 => Just(Step::Size),
    ]
}

/// What the log should hold.
#[derive(Default)]
struct Model {
    records: [Vec<String>; 3],
    starts: [i64; 3],
    marks: BTreeMap<String, u8>,
    count: usize,
}

impl Model {
    fn values(&mut self, n: usize, bytes: usize) -> Vec<String> {
        let from = self.count;
        self.count += n;
        (from..from + n).map(|i| format!("{i}{}", "-".repeat(bytes))).collect()
    }

    fn check(&self, log: &Log) {
        for p in 0..3 {
            let start = self.starts[p];
            assert_eq!(log.offsets(T, p as i32), Some((start, self.records[p].len() as i64)));
            let read: Vec<_> = read_all(log, T, p as i32, start, 700).into_iter().map(|(_, v)| v).collect();
            assert_eq!(read, self.records[p][start as usize..]);
        }
        let marks: BTreeMap<_, _> = log.marks_with_prefix("").into_iter().map(|(k, v)| (k, v[0])).collect();
        assert_eq!(marks, self.marks);
    }
}

fn batch_of(values: &[String]) -> Bytes {
    batch(&values.iter().map(String::as_str).collect::<Vec<_>>())
}

async fn run(steps: Vec<Step>) {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path());
    log.create_topic(spec(T, 3)).await.unwrap();
    let mut model = Model::default();
    for step in steps {
        match step {
            Step::Append { partition, records, bytes, durable } => {
                let values = model.values(records, bytes);
                let at = &mut model.records[partition as usize];
                let a = log.append(T, partition, batch_of(&values), durable).await.unwrap();
                assert_eq!((a.base_offset, a.last_offset), (at.len() as i64, (at.len() + records) as i64 - 1));
                at.extend(values);
            }
            Step::Atomic { parts, mark, value } => {
                let mut batches = Vec::new();
                for (p, n) in parts {
                    let values = model.values(n, 30);
                    batches.push((T, p, batch_of(&values)));
                    model.records[p as usize].extend(values);
                }
                let key = format!("mark/{mark}");
                log.append_atomic(batches, vec![(key.clone(), value.map(|v| vec![v].into()))]).await.unwrap();
                match value {
                    Some(v) => drop(model.marks.insert(key, v)),
                    None => drop(model.marks.remove(&key)),
                }
            }
            Step::Delete { partition, part } => {
                // What was not waited for may not be readable yet, and only what is can be deleted.
                log.append_atomic(vec![], vec![("barrier".into(), None)]).await.unwrap();
                let p = partition as usize;
                let before = model.records[p].len() as i64 * i64::from(part) / 255;
                model.starts[p] = model.starts[p].max(before);
                assert_eq!(log.delete_records(T, partition, before).await.unwrap(), model.starts[p]);
            }
            Step::Reopen => {
                drop(log);
                log = open(dir.path());
                model.check(&log);
            }
            Step::Tear => {
                drop(log);
                let wal = wal_files(dir.path()).pop().unwrap();
                let mut bytes = std::fs::read(&wal).unwrap();
                bytes.extend_from_slice(b"FlR\x01half a record");
                std::fs::write(&wal, bytes).unwrap();
                log = open(dir.path());
                model.check(&log);
            }
            Step::Settle => log.settle().await.unwrap(),
            Step::Size => {
                log.set_config(T, TopicConfig { retention_bytes: Some(6000), ..TopicConfig::default() }).await.unwrap();
                log.enforce_retention(NOW_MS).await.unwrap();
                log.set_config(T, TopicConfig::default()).await.unwrap();
                for p in 0..3 {
                    let (start, _) = log.offsets(T, p).unwrap();
                    assert!(start >= model.starts[p as usize]);
                    model.starts[p as usize] = start;
                }
            }
        }
    }
    // A record that was not waited for is there once a later one is durable.
    log.append_atomic(vec![], vec![("end".into(), Some(vec![1].into()))]).await.unwrap();
    model.marks.insert("end".into(), 1);
    model.check(&log);
    drop(log);
    model.check(&open(dir.path()));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn the_log_holds_what_was_put_into_it(steps in proptest::collection::vec(step(), 1..80)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(run(steps));
    }
}
