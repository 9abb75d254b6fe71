//! A sink becomes one of another view, or into another place, and the process dies after any of its writes: what is written comes to what its
//! view shows, each row once.

use std::time::Duration;

use crate::world::{Random, World};

const VIEWS: [(&str, &str); 2] = [
    ("v0", "SELECT k, count(*) AS n, sum(v) AS s FROM s0 GROUP BY k"),
    ("v1", "SELECT k, v, max(ts) AS t FROM s0 WHERE v <> 1 GROUP BY k, v"),
];
/// Writes of all kinds that a move takes, and some after it.
const WRITES: i64 = 16;

async fn world_of(random: &mut Random) -> World {
    let mut world = World::new(random);
    world.options.sink_piece_rows = 3;
    world.start(1 + random.below(2)).await;
    for (name, query) in VIEWS {
        world.create(name, query).await;
    }
    world.add_sink("v0").await;
    for _ in 0..3 {
        world.append(random);
    }
    world.wait().await;
    world
}

async fn moved(writes: i64, into: &'static str) {
    let mut random = Random::new(writes as u64 + 1);
    let mut world = world_of(&mut random).await;
    world.dies_after(writes);
    world.append(&mut random);
    let moving = world.begin_to_move_sink("v1", into);
    world.append(&mut random);
    tokio::time::sleep(Duration::from_millis(random.below(20) as u64)).await;
    world.halt().await;
    drop(moving);
    let has_moved = world.has_moved("v1", into);
    world.start(1 + random.below(2)).await;
    if !has_moved {
        world.begin_to_move_sink("v1", into).await.unwrap().unwrap();
        assert!(world.has_moved("v1", into));
    }
    for _ in 0..2 {
        world.append(&mut random);
        world.wait().await;
        world.checkpoint().await;
        assert_eq!(world.sink_failure(), None, "{writes} writes into {into}");
        assert_eq!(world.sunk(), world.view("v1"), "{writes} writes into {into}");
    }
    world.crash(1).await;
    world.append(&mut random);
    world.wait().await;
    assert_eq!(world.sunk(), world.view("v1"), "{writes} writes into {into}, after a crash");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sink_of_another_view_writes_the_difference_once_whenever_the_process_dies() {
    for writes in 0..WRITES {
        moved(writes, "out").await;
    }
    moved(i64::MAX, "out").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sink_into_another_place_begins_with_the_answer_whenever_the_process_dies() {
    for writes in 0..WRITES {
        moved(writes, "elsewhere").await;
    }
    moved(i64::MAX, "elsewhere").await;
}

/// Its own view gets other columns in the same step: what it has written is known all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sink_leaves_a_view_that_gets_other_columns() {
    let mut random = Random::new(5);
    let mut world = world_of(&mut random).await;
    world.create_alone("v0", "SELECT k, count(*) AS n FROM s0 GROUP BY k").await;
    assert_eq!(world.sink_failure().as_deref(), Some("the columns of its view changed"));
    world.append(&mut random);
    world.wait().await;
    world.begin_to_move_sink("v1", "out").await.unwrap().unwrap();
    assert!(world.has_moved("v1", "out"));
    world.append(&mut random);
    world.wait().await;
    assert_eq!((world.sink_failure(), world.sunk()), (None, world.view("v1")));
    world.stop().await;
}
