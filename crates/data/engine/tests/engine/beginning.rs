//! A sink begins with an answer of many pieces, and rows come between them: whenever the process dies the next one goes on with the same
//! answer, so that what is written comes to what the view shows, each row once.

use std::time::Duration;

use fleuve_types::ErrorKind;

use crate::world::{Random, World};

/// With a key, without one while rows go, and one whose rows only come.
const VIEWS: [&str; 3] = [
    "SELECT k, v, count(*) AS n, max(ts) AS t FROM s0 GROUP BY k, v",
    "SELECT a.k, a.v, b.v AS w FROM s0 a LEFT JOIN s1 b ON a.k = b.k AND a.v < b.v",
    "SELECT k, v, ts FROM s0 WHERE v > 0",
];
const SUMS: &str = "SELECT k, count(*) AS n, sum(v) AS s FROM s0 GROUP BY k";
const ANY: i64 = i64::MAX;
/// Writes of all kinds from the sink's start until it goes on with changes.
const WRITES: i64 = 40;

/// A view of some ten rows.
async fn world_of(query: &'static str, random: &mut Random, is_cold: bool) -> World {
    let mut world = World::new(random);
    (world.options.sink_piece_rows, world.options.hot_bytes) = (2, if is_cold { 0 } else { usize::MAX });
    world.start(1 + random.below(2)).await;
    for _ in 0..8 {
        world.append(random);
    }
    world.create("v0", query).await;
    world.wait().await;
    world
}

/// All that is there is written.
async fn check(world: &World, what: &str) {
    world.wait().await;
    world.checkpoint().await;
    assert_eq!(world.sink_failure(), None, "{what}");
    assert_eq!(world.view("v0"), world.batch("v0").await, "{what}");
    assert_eq!(world.sunk(), world.view("v0"), "{what}");
    assert_eq!(world.next_piece(), None, "{what}");
}

/// Tells if it died in the middle of the answer.
async fn died_after(writes: i64, query: &'static str) -> bool {
    let mut random = Random::new(writes as u64 + 1);
    let mut world = world_of(query, &mut random, writes % 2 == 0).await;
    world.let_pieces(random.below(3) as i64);
    world.dies_after(writes);
    let beginning = world.begin_to_add_sink("v0");
    for _ in 0..4 {
        world.append(&mut random);
        tokio::time::sleep(Duration::from_millis(random.below(8) as u64)).await;
        world.let_pieces([1, 2, 5, ANY][random.below(4)]);
    }
    world.halt().await;
    drop(beginning);
    let was_in_part = world.next_piece().is_some();
    // What was in memory may be on disk now, and the other way round.
    world.options.hot_bytes = if random.below(2) == 0 { 0 } else { usize::MAX };
    world.let_pieces(ANY);
    world.start(1 + random.below(2)).await;
    world.append(&mut random);
    check(&world, &format!("{writes} writes: {query}")).await;
    world.append(&mut random);
    check(&world, &format!("{writes} writes, and more: {query}")).await;
    world.stop().await;
    was_in_part
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sink_gets_an_answer_of_many_pieces_once_whenever_the_process_dies() {
    for query in VIEWS {
        let mut in_part = 0;
        for writes in 0..WRITES {
            in_part += usize::from(died_after(writes, query).await);
        }
        assert!(in_part > 5, "{in_part} of {WRITES}: {query}");
    }
}

/// It dies twice between pieces, with epochs before and after.
async fn goes_on(seed: u64, query: &'static str) {
    let mut random = Random::new(seed);
    let mut world = world_of(query, &mut random, seed.is_multiple_of(2)).await;
    world.let_pieces(2);
    let beginning = world.begin_to_add_sink("v0");
    for next in [2, 3] {
        world.pieces_taken().await;
        world.append(&mut random);
        world.taken_in().await;
        assert_ne!(world.view("v0"), world.sunk());
        let piece = world.next_piece().unwrap();
        assert_eq!((piece.n, Some(piece.epoch)), (next, world.saved().map(|s| s.epoch)), "{query}");
        assert!(piece.of > 4, "{query}");
        world.options.hot_bytes = if world.options.hot_bytes == 0 { usize::MAX } else { 0 };
        world.options.sink_piece_rows += 1;
        world.let_pieces(1);
        world.crash(1 + random.below(2)).await;
    }
    assert!(beginning.await.unwrap().is_err(), "the process of who asked for the sink is gone");
    world.let_pieces(ANY);
    check(&world, &format!("seed {seed}: {query}")).await;
    world.append(&mut random);
    check(&world, &format!("seed {seed}, and more: {query}")).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_goes_on_with_the_next_piece_of_the_same_answer() {
    for seed in 0..6 {
        for query in VIEWS {
            goes_on(seed, query).await;
        }
    }
}

/// What it begins with after the replay is in no checkpoint of before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_sink_of_many_pieces_goes_on_after_a_crash_too() {
    for query in VIEWS {
        let mut random = Random::new(3);
        let mut world = World::new(&mut random);
        world.options.sink_piece_rows = 2;
        // Of a view with dead letters epochs are in the journal.
        world.skip("v1", SUMS);
        world.start(2).await;
        world.create("v1", SUMS).await;
        world.create("v0", query).await;
        world.checkpoint().await;
        world.fill_disk(true);
        for _ in 0..8 {
            world.append(&mut random);
        }
        world.wait().await;
        let before = world.saved().unwrap().epoch;
        world.halt().await;
        world.fill_disk(false);
        world.declare_sink("v0");
        world.let_pieces(2);
        world.start(1).await;
        world.pieces_taken().await;
        world.append(&mut random);
        world.taken_in().await;
        let (piece, saved) = (world.next_piece().unwrap(), world.saved().unwrap().epoch);
        assert!(piece.epoch > before, "{query}");
        assert_eq!((piece.n, piece.epoch), (2, saved), "{query}");
        world.let_pieces(1);
        world.crash(2).await;
        world.let_pieces(ANY);
        check(&world, query).await;
        world.stop().await;
    }
}

/// What it was to be is not there any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sink_in_the_middle_of_an_answer_stops_if_the_view_is_built_anew() {
    let mut random = Random::new(5);
    let mut world = world_of(VIEWS[0], &mut random, false).await;
    world.let_pieces(3);
    drop(world.begin_to_add_sink("v0"));
    world.pieces_taken().await;
    let (piece, written) = (world.next_piece().unwrap(), world.sunk());
    world.halt().await;
    world.define_first("v0", "SELECT k, v, count(*) AS n, min(ts) AS t FROM s0 GROUP BY k, v", 2);
    world.let_pieces(ANY);
    world.start(1).await;
    world.append(&mut random);
    world.wait().await;
    let reason = world.sink_failure().unwrap();
    let begins =
        format!("3 of {} pieces of its first answer are written, and that answer, of epoch {},", piece.of, piece.epoch);
    assert!(reason.starts_with(&begins), "{reason}");
    assert!(reason.contains("drop the sink and create it anew, into a stream of its own"), "{reason}");
    assert_eq!(world.sunk(), written);
    // And it does not come back by itself.
    world.checkpoint().await;
    world.crash(2).await;
    assert!(world.sink_failure().unwrap().starts_with(&begins));
    world.stop().await;
}

async fn ended(end: &str, (query, same_columns): (&'static str, &'static str)) {
    let mut random = Random::new(1);
    let mut world = world_of(query, &mut random, false).await;
    world.let_pieces(1);
    let beginning = world.begin_to_add_sink("v0");
    world.pieces_taken().await;
    world.append(&mut random);
    world.taken_in().await;
    assert!(world.next_piece().is_some());
    world.let_pieces(ANY);
    match end {
        "stop" => {
            world.stop().await;
            assert_eq!(world.sunk(), world.view("v0"), "{query}");
            world.start(1).await;
        }
        "same columns" => world.create("v0", same_columns).await,
        _ => world.create("v0", "SELECT v, k, v + 1 AS w FROM s0 WHERE v > 1").await,
    }
    beginning.await.unwrap().unwrap();
    check(&world, &format!("{end}: {query}")).await;
    world.append(&mut random);
    check(&world, &format!("{end}, and more: {query}")).await;
    world.stop().await;
}

/// A stop and a view that becomes another one find the answer whole.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_is_written_before_what_would_be_in_its_way() {
    let others = [
        "SELECT k, v, count(*) AS n, min(ts) AS t FROM s0 GROUP BY k, v",
        "SELECT a.k, a.v, b.v AS w FROM s0 a LEFT JOIN s1 b ON a.k = b.k AND a.v <= b.v",
        "SELECT k, v, ts FROM s0 WHERE v > 1",
    ];
    for both in VIEWS.into_iter().zip(others) {
        for end in ["stop", "same columns", "other columns"] {
            ended(end, both).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_makes_a_sink_waits_for_the_whole_answer() {
    let mut random = Random::new(9);
    let mut world = world_of(VIEWS[1], &mut random, true).await;
    world.let_pieces(1);
    let beginning = world.begin_to_add_sink("v0");
    world.pieces_taken().await;
    world.append(&mut random);
    world.taken_in().await;
    assert!(!beginning.is_finished());
    world.let_pieces(ANY);
    beginning.await.unwrap().unwrap();
    check(&world, "made").await;
    world.stop().await;
}

/// The engine would take no epoch until the first one has it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_sink_does_not_wait_for_the_answer_of_the_first() {
    let mut world = world_of(VIEWS[1], &mut Random::new(9), true).await;
    world.let_pieces(1);
    let beginning = world.begin_to_add_sink("v0");
    world.pieces_taken().await;
    let error = world.add_another_sink("v0").await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Retry);
    assert!(error.message.starts_with("another sink is being given its first answer"), "{}", error.message);
    world.let_pieces(ANY);
    beginning.await.unwrap().unwrap();
    check(&world, "made").await;
    world.stop().await;
}
