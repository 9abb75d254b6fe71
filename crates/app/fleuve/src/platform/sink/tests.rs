use std::path::Path;

use bytes::Bytes;
use fleuve_engine::{SinkPiece, SinkRecord};
use fleuve_types::{Error, ErrorKind};

use super::{Written, by_key, fitting, unfit};
use crate::platform::tested::{self, id, rest};
use crate::platform::{Ground, SteppedServer};

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

#[test]
fn the_mark_of_a_sink_says_how_far_it_is() {
    let piece = SinkPiece { epoch: 1 << 40, n: 1, of: 3 };
    for (written, length) in [(Written::Epoch(7), 8), (Written::Before(piece), 16)] {
        let bytes = written.encode();
        assert_eq!((Written::decode(&bytes), bytes.len()), (Some(written), length));
    }
    assert_eq!(
        Written::decode(&[0, 0, 0, 0, 0, 0, 0, 9]),
        Some(Written::Epoch(9)),
        "as it was before there were pieces"
    );
    assert_eq!([&[1_u8; 4][..], &[1; 11], &[1; 17]].map(Written::decode), [None; 3]);
    assert_eq!(Written::after(piece), Written::Before(SinkPiece { n: 2, ..piece }));
    assert_eq!(Written::after(SinkPiece { n: 2, ..piece }), Written::Epoch(1 << 40));
    assert_eq!(Written::Before(piece).to_string(), format!("1 of 3 pieces of the answer of epoch {}", 1_u64 << 40));
}

#[test]
fn a_piece_that_is_too_large_is_refused_with_advice() {
    let error = unfit(Error::new(ErrorKind::Limit, "too much"), SinkPiece { epoch: 1, n: 1, of: 3 });
    let expected = "piece 2 of 3 of the answer that the sink begins with cannot be written: too much \
                    (make the sink of a view with one row where many are equal)";
    assert_eq!((error.to_string().as_str(), error.kind), (expected, ErrorKind::Limit));
}

async fn start(folder: &Path) -> SteppedServer {
    tested::start_by(folder, |ground| Ground { sink_piece_rows: 1, ..ground }).await
}

async fn run(server: &SteppedServer, sql: &str) -> Vec<String> {
    tested::run(server, sql).await.unwrap()
}

fn written(server: &SteppedServer) -> Option<Written> {
    Written::of(server.log(), id(server, "x"))
}

/// Rows come between the pieces of its answer, and the process is killed twice.
async fn killed(options: &str, sums: &str) {
    let folder = tempfile::tempdir().unwrap();
    let mut server = start(folder.path()).await;
    run(&server, "CREATE STREAM s (k INT, v INT)").await;
    let rows: Vec<String> = (0..40).map(|n| format!("({}, {n})", n % 30)).collect();
    run(&server, &format!("INSERT INTO s VALUES {}", rows.join(", "))).await;
    run(&server, "CREATE MATERIALIZED VIEW totals AS SELECT k, count(*) AS n, sum(v) AS total FROM s GROUP BY k").await;
    let sql = format!("CREATE SINK x FROM totals INTO x_out WITH (format = 'json', {options})");
    server.session().execute(&sql).await.unwrap();
    let mut before = 0;
    for part in 0..2 {
        run(&server, &format!("INSERT INTO s VALUES ({part}, 100), (5, 100)")).await;
        server.log().write_queued();
        let Some(Written::Before(piece)) = written(&server) else { panic!("{:?}", written(&server)) };
        assert!(piece.of == 30 && piece.n > before, "{piece:?}");
        before = piece.n;
        server.kill().await;
        server = start(folder.path()).await;
    }
    rest(&server).await;
    assert!(matches!(written(&server), Some(Written::Epoch(_))), "{:?}", written(&server));
    let expected = run(&server, "SELECT k, n, total FROM totals ORDER BY k").await;
    assert_eq!(run(&server, sums).await, expected, "{options}");
    run(&server, "INSERT INTO s VALUES (2, 1000)").await;
    rest(&server).await;
    let expected = run(&server, "SELECT k, n, total FROM totals ORDER BY k").await;
    assert_eq!(run(&server, sums).await, expected, "{options}");
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_killed_in_the_middle_of_a_first_answer_goes_on_with_it() {
    killed(
        "mode = 'changes'",
        "SELECT k, n, total * sum(weight) AS total FROM x_out GROUP BY k, n, total HAVING sum(weight) <> 0 ORDER BY k",
    )
    .await;
    let newest = "SELECT k, n, total, row_number() OVER (PARTITION BY k ORDER BY _offset DESC) AS r FROM x_out";
    killed("mode = 'upsert', key = 'k'", &format!("SELECT k, n, total FROM ({newest}) WHERE r = 1 ORDER BY k")).await;
}
