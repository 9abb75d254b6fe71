use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use fleuve_types::{ErrorKind, ObjectId};

use super::{PATIENCE, Place, Refused};
use crate::platform::SteppedServer;
use crate::platform::tested::{crash, id, rest, run, start};

/// A stream of ten appends of ten records each, and views of it.
async fn hundred(folder: &Path) -> SteppedServer {
    let server = start(folder).await;
    // Keeps no more than the last append.
    run(&server, "CREATE STREAM s (n INT) WITH (retention_bytes = 1)").await.unwrap();
    for ten in 0..10 {
        let rows: Vec<String> = (0..10).map(|n| format!("({})", ten * 10 + n)).collect();
        run(&server, &format!("INSERT INTO s VALUES {}", rows.join(", "))).await.unwrap();
    }
    run(&server, "CREATE MATERIALIZED VIEW v AS SELECT count(*) AS n FROM s").await.unwrap();
    run(&server, "CREATE MATERIALIZED VIEW w AS SELECT n + 1 AS n FROM v").await.unwrap();
    rest(&server).await;
    counts(&server, 100).await;
    server
}

async fn counts(server: &SteppedServer, n: u64) {
    let found = run(server, "SELECT v.n, w.n FROM v, w").await.unwrap();
    assert_eq!(found, [format!("{n}|{}", n + 1)]);
}

fn first(server: &SteppedServer) -> i64 {
    first_of(server, "s")
}

fn first_of(server: &SteppedServer, stream: &str) -> i64 {
    server.log().offsets(id(server, stream), 0).unwrap().0
}

fn place(server: &SteppedServer, stream: &str) -> BTreeSet<Place> {
    BTreeSet::from([(id(server, stream), 0)])
}

/// Retention once; the partitions of which nothing could go.
async fn retain(server: &SteppedServer, at_once: &BTreeSet<Place>) -> BTreeSet<Place> {
    server.platform.enforce_retention(at_once).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn views_have_what_was_deleted_after_a_crash() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = hundred(folder.path()).await;
    let s = id(&server, "s");
    assert_eq!(server.platform.delete_records(s, 0, 60).await.unwrap(), 60);
    counts(&server, 100).await;
    server = crash(server, folder.path()).await;
    counts(&server, 100).await;
    // What came since the checkpoint.
    run(&server, "INSERT INTO s VALUES (1), (2), (3)").await.unwrap();
    rest(&server).await;
    assert_eq!(server.platform.delete_records(s, 0, -1).await.unwrap(), 103);
    server = crash(server, folder.path()).await;
    counts(&server, 103).await;
    assert_eq!(server.platform.delete_records(s, 0, 104).await.unwrap_err().kind, ErrorKind::Input);
    assert_eq!(server.platform.delete_records(s, 1, 0).await.unwrap_err().kind, ErrorKind::NotFound);
    assert_eq!(server.platform.delete_records(s, 0, 3).await.unwrap(), 103, "it never goes back");
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn retention_waits_for_a_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = hundred(folder.path()).await;
    assert_eq!(retain(&server, &BTreeSet::new()).await, place(&server, "s"));
    assert_eq!(first(&server), 0);
    // One is made soon.
    rest(&server).await;
    assert_eq!(retain(&server, &BTreeSet::new()).await, BTreeSet::new());
    assert_eq!(first(&server), 90);
    server = crash(server, folder.path()).await;
    counts(&server, 100).await;
    // What the checkpoint has goes whatever came since.
    run(&server, "INSERT INTO s VALUES (1), (2), (3)").await.unwrap();
    rest(&server).await;
    counts(&server, 103).await;
    assert_eq!(retain(&server, &BTreeSet::new()).await, BTreeSet::new());
    assert_eq!(first(&server), 100);
    server = crash(server, folder.path()).await;
    counts(&server, 103).await;
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn retention_does_not_wait_for_ever() {
    let folder = tempfile::tempdir().unwrap();
    let server = hundred(folder.path()).await;
    assert_eq!(retain(&server, &BTreeSet::new()).await, place(&server, "s"));
    assert_eq!(retain(&server, &place(&server, "s")).await, BTreeSet::new());
    assert_eq!(first(&server), 90);
    counts(&server, 100).await;
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_stay_late_whatever_goes_without_a_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path()).await;
    let stream = "ts TIMESTAMP, WATERMARK FOR ts AS ts - INTERVAL '10 seconds'";
    run(&server, &format!("CREATE STREAM e ({stream}) WITH (retention_bytes = 1)")).await.unwrap();
    // The second row says how far time is, and goes; the third one is late.
    for time in ["08:00", "10:00", "09:00"] {
        run(&server, &format!("INSERT INTO e VALUES ('2026-01-01 {time}')")).await.unwrap();
    }
    rest(&server).await;
    assert_eq!(retain(&server, &place(&server, "e")).await, BTreeSet::new());
    assert_eq!(first_of(&server, "e"), 2);
    run(&server, "INSERT INTO e VALUES ('2026-01-01 11:00'), ('2026-01-01 12:30')").await.unwrap();
    rest(&server).await;
    let hours = "SELECT date_bin('1 hour', ts) AS w FROM e GROUP BY 1 EMIT ON WINDOW CLOSE";
    run(&server, &format!("CREATE MATERIALIZED VIEW later AS {hours}")).await.unwrap();
    assert_eq!(run(&server, "SELECT w::text FROM later").await.unwrap(), ["2026-01-01 11:00:00"]);
    server.stop().await.unwrap();
}

/// A stream that is written all the time keeps no other one, and loses itself what is in a checkpoint.
#[tokio::test(flavor = "multi_thread")]
async fn retention_of_a_stream_does_not_wait_for_others() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = hundred(folder.path()).await;
    run(&server, "CREATE STREAM t (n INT) WITH (retention_bytes = 1)").await.unwrap();
    for n in 0..3 {
        run(&server, &format!("INSERT INTO t VALUES ({n})")).await.unwrap();
    }
    rest(&server).await;
    server.engine().checkpoint().await.unwrap();
    for _ in 0..2 {
        run(&server, "INSERT INTO s VALUES (1)").await.unwrap();
    }
    rest(&server).await;
    assert_eq!(retain(&server, &BTreeSet::new()).await, BTreeSet::new());
    assert_eq!((first(&server), first_of(&server, "t")), (100, 2), "the first of the two records is due, too");
    // Of one there is nothing more that a checkpoint has, and what has come into the other may go.
    assert_eq!(retain(&server, &BTreeSet::new()).await, place(&server, "s"));
    server = crash(server, folder.path()).await;
    counts(&server, 102).await;
    server.stop().await.unwrap();
}

/// Only where nothing can go for long records go that no checkpoint has.
#[tokio::test(flavor = "multi_thread")]
async fn patience_ends_for_each_partition() {
    let folder = tempfile::tempdir().unwrap();
    let server = hundred(folder.path()).await;
    run(&server, "CREATE STREAM t (n INT) WITH (retention_bytes = 1)").await.unwrap();
    for n in 0..3 {
        run(&server, &format!("INSERT INTO t VALUES ({n})")).await.unwrap();
    }
    run(&server, "CREATE MATERIALIZED VIEW new AS SELECT count(*) AS n FROM t").await.unwrap();
    assert_eq!(retain(&server, &place(&server, "s")).await, place(&server, "t"), "a view of it is in no checkpoint");
    assert_eq!((first(&server), first_of(&server, "t")), (90, 0));
    server.stop().await.unwrap();
}

#[test]
fn patience_begins_anew_when_something_went() {
    let (one, other): (Place, Place) = ((ObjectId(1), 0), (ObjectId(1), 1));
    let (both, begin) = (BTreeSet::from([one, other]), Instant::now());
    let later = |part: u32| begin + PATIENCE / 4 * part;
    let mut refused = Refused::default();
    refused.note(both.clone(), begin);
    refused.note(BTreeSet::from([one]), later(1));
    refused.note(both.clone(), later(2));
    assert_eq!(refused.at_once(later(4)), BTreeSet::new());
    assert_eq!(refused.at_once(later(5)), BTreeSet::from([one]));
    assert_eq!(refused.at_once(later(6) + Duration::from_secs(1)), both);
}

/// Views would never see them.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_deleted_was_read_before() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = hundred(folder.path()).await;
    let s = id(&server, "s");
    for (before, n) in [(-1, 103), (106, 106)] {
        run(&server, "INSERT INTO s VALUES (1), (2), (3)").await.unwrap();
        assert_eq!(server.platform.delete_records(s, 0, before).await.unwrap(), n as i64);
        counts(&server, n).await;
        server = crash(server, folder.path()).await;
        counts(&server, n).await;
    }
    server.stop().await.unwrap();
}
