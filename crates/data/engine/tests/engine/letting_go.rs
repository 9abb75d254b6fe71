//! Records go from the log when views have read them and no checkpoint has that yet: after a crash nobody finds them any more.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use fleuve_engine::{BuildProgress, Going, Published, ViewState, Which};
use fleuve_types::{Error, ErrorKind, Result};

use crate::world::{PARTITIONS, Row, World, id};

const QUERY: &str = "SELECT k, count(*) AS n FROM s0 GROUP BY k";

fn all_of(stream: &str) -> Vec<Going> {
    (0..PARTITIONS).map(|p| (id(stream), p as i32, i64::MAX)).collect()
}

/// All that the stream holds goes.
async fn goes(world: &mut World) {
    world.engine().let_go(all_of("s0"), Which::All, |_| Ok(())).await.unwrap();
    world.truncate("s0");
}

/// Why nothing of it goes now.
async fn stays(world: &World) -> String {
    let refused = world.engine().let_go(all_of("s0"), Which::All, |_| panic!("they are taken")).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Retry);
    refused.message
}

async fn crash(world: &mut World) {
    world.crash(2).await;
    world.runs("v").await;
    world.wait().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_view_has_after_a_crash_what_has_gone_before_it() {
    let mut world = World::empty();
    world.start(2).await;
    (0..10).for_each(|n| world.push("s0", (n % 3, n)));
    world.create("v", QUERY).await;
    world.wait().await;
    for round in 0..3 {
        let before = world.view("v");
        assert_eq!(before.len(), 3);
        goes(&mut world).await;
        crash(&mut world).await;
        assert_eq!(world.view("v"), before, "{round}");
        (0..10).for_each(|n| world.push("s0", (n % 3, n)));
        world.wait().await;
        assert_ne!(world.view("v"), before, "{round}");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_view_that_was_built_meanwhile_has_it_too() {
    let mut world = World::empty();
    world.read_more_at_once(1_000);
    world.start(2).await;
    (0..1_000).for_each(|n| world.push("s0", (n % 7, n)));
    world.wait().await;
    world.hold_builds_within("s0", true);
    let made = world.begin_to_create("v", QUERY).await;
    let of = |p: &Published| match p.status.get(&id("v")).map(|s| s.state.clone()) {
        Some(ViewState::Building(progress)) => progress,
        _ => BuildProgress::default(),
    };
    drop(world.engine().watch().wait_for(|p| of(p).done > 0).await.unwrap());
    goes(&mut world).await;
    world.hold_builds_within("s0", false);
    made.await.unwrap().unwrap();
    let before = world.view("v");
    assert_eq!(before.len(), 7);
    crash(&mut world).await;
    assert_eq!(world.view("v"), before);
    world.stop().await;
}

/// A view with event time is built while the first `gone` rows go, the last of which had moved the watermark: gives its windows but those of
/// these rows, which may or may not have been read before.
async fn built_while_rows_go(gone: usize) -> Vec<String> {
    let mut world = World::empty();
    world.start(2).await;
    let early = (0..gone - 1).map(|n| n as i64 % 10).chain([990]);
    let times = early.chain([500; 50]).chain((0..50).map(|n| 1_000 + n)).chain([2_000]);
    let rows: Vec<Row> = times.map(|time| (0, 0, time)).collect();
    world.append_rows(0, &rows);
    world.append_rows(1, &[(0, 0, 2_000)]);
    world.wait().await;
    world.hold_builds_within("s0", true);
    let query = "SELECT date_bin(INTERVAL '10 seconds', ts) AS w, count(*) AS n FROM s0 GROUP BY w";
    let made = world.begin_to_create("c0", query).await;
    let is_within = |p: &Arc<Published>| match p.status.get(&id("c0")).map(|s| s.state.clone()) {
        Some(ViewState::Building(progress)) => progress.done > 0,
        _ => false,
    };
    drop(world.engine().watch().wait_for(is_within).await.unwrap());
    let going = vec![(id("s0"), 0, gone as i64)];
    world.engine().let_go(going, Which::All, |_| Ok(())).await.unwrap();
    world.truncate_before("s0", 0, gone as i64);
    world.hold_builds_within("s0", false);
    made.await.unwrap().unwrap();
    let mut windows: Vec<String> = world.view("c0").into_keys().collect();
    windows.retain(|w| !w.starts_with("1970-01-01T00:00:00") && !w.starts_with("1970-01-01T00:16:30"));
    world.stop().await;
    windows
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn late_rows_are_late_for_a_view_that_is_built_while_what_made_them_so_goes() {
    let on_time: Vec<String> =
        (40..90).step_by(10).map(|s| format!("1970-01-01T00:{:02}:{:02}|10", 16 + s / 60, s % 60)).collect();
    // The first read of the build, during which they go, ends before 11 of the last, and takes all of the others.
    for gone in [1, 3, 10, 11, 12, 60] {
        assert_eq!(built_while_rows_go(gone).await, on_time, "{gone}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_takes_them_says_how_it_went() {
    let mut world = World::empty();
    world.start(1).await;
    let refused = |kind| move |_: &[Going]| -> Result<()> { Err(Error::new(kind, "not these")) };
    let error = world.engine().let_go(vec![], Which::All, refused(ErrorKind::Input)).await.unwrap_err();
    assert_eq!((error.kind, error.message.as_str()), (ErrorKind::Input, "not these"));
    let error = world.engine().let_go(vec![], Which::All, |_| panic!("here")).await.unwrap_err();
    assert_eq!((error.kind, error.message.as_str()), (ErrorKind::Bug, "the log panicked: here"));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_read_yet_stays() {
    let mut world = World::empty();
    world.start(2).await;
    world.create("v", QUERY).await;
    world.add_sink("v").await;
    world.journal_busy.store(true, Ordering::SeqCst);
    (0..10).for_each(|n| world.push("s0", (n % 3, n)));
    assert_eq!(stays(&world).await, "there are records among them that views have still to read");
    world.journal_busy.store(false, Ordering::SeqCst);
    world.taken_in().await;
    let before = world.view("v");
    assert_eq!(before.len(), 3);
    goes(&mut world).await;
    crash(&mut world).await;
    assert_eq!(world.view("v"), before);
    world.stop().await;
}

/// The engine would take no epoch until the sink has it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_waits_for_the_first_answer_of_a_sink() {
    let mut world = World::empty();
    world.options.sink_piece_rows = 1;
    world.start(2).await;
    (0..10).for_each(|n| world.push("s0", (n, n)));
    world.create("v", QUERY).await;
    world.wait().await;
    world.let_pieces(1);
    let beginning = world.begin_to_add_sink("v");
    world.pieces_taken().await;
    // What the checkpoint before the sink's start has may go.
    goes(&mut world).await;
    (0..10).for_each(|n| world.push("s0", (n, n)));
    world.taken_in().await;
    let reason = stays(&world).await;
    assert_eq!(reason, "views have read records that no checkpoint covers until a sink has its first answer");
    world.let_pieces(i64::MAX);
    beginning.await.unwrap().unwrap();
    let before = world.view("v");
    goes(&mut world).await;
    crash(&mut world).await;
    assert_eq!(world.view("v"), before);
    world.stop().await;
}
