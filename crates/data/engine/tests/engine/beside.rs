//! State is written while steps go on: what a checkpoint holds is what was there when it was taken, whatever came since.

use super::world::{Row, World};

const NEVER_MS: u64 = 1_000_000_000;
/// Its groups change, so that rows of it go from the join again.
const GROUPS: &str = "SELECT k, count(*) AS n, min(v) AS low FROM s0 GROUP BY k";
const JOINED: &str =
    "SELECT a.v, b.k FROM (SELECT v FROM s1) a RIGHT JOIN (SELECT k, n + 0 AS n FROM v0) b ON a.v = b.n";
const TOTALS: &str = "SELECT count(*) AS g, sum(n) AS n FROM (SELECT v, count(DISTINCT k) AS n FROM s0 GROUP BY v)";
const VIEWS: [(&str, &str); 3] = [("v0", GROUPS), ("v1", JOINED), ("v2", TOTALS)];

fn rows(from: i64, to: i64) -> Vec<Row> {
    (from..to).map(|n| (n * 7_919 % 1_000, n % 300, 100)).collect()
}

/// A world whose state lies in runs, with all of it in memory as long as nothing takes it out.
async fn world() -> World {
    let mut world = World::empty();
    world.read_more_at_once(195);
    world.options.checkpoint_interval_ms = NEVER_MS;
    world.options.hot_bytes = 50_000;
    world.start(2).await;
    for (name, query) in VIEWS {
        world.create(name, query).await;
    }
    (0..9).for_each(|v| world.push("s1", (1, v)));
    world.append_rows(0, &rows(0, 2_000));
    world.wait().await;
    world.checkpoint().await;
    world.stop().await;
    world.options.hot_bytes = usize::MAX;
    world.start(2).await;
    assert!(!world.run_files().is_empty());
    world
}

/// Begins a checkpoint, which goes on meanwhile.
fn begin_checkpoint(world: &World) -> tokio::task::JoinHandle<fleuve_types::Result<()>> {
    let engine = world.engine().clone();
    tokio::spawn(async move { engine.checkpoint().await })
}

/// A world with changes that no checkpoint has, of which one begins and is held.
async fn held() -> (World, tokio::task::JoinHandle<fleuve_types::Result<()>>) {
    let mut world = world().await;
    world.append_rows(1, &rows(1_900, 2_400));
    world.wait().await;
    world.hold_checkpoints(true);
    let writing = begin_checkpoint(&world);
    (world, writing)
}

async fn check(world: &World) {
    for (name, _) in VIEWS {
        assert_eq!(world.view(name), world.batch(name).await, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn steps_go_on_while_a_checkpoint_is_written() {
    let (mut world, writing) = held().await;
    // Groups of the checkpoint change, and rows of it go, before it is there.
    for part in 0..5 {
        world.append_rows(0, &rows(2_300 + part * 50, 2_350 + part * 50));
        world.wait().await;
        check(&world).await;
    }
    assert!(!writing.is_finished());
    world.hold_checkpoints(false);
    writing.await.unwrap().unwrap();
    let epoch = world.saved().unwrap().epoch;
    world.crash(3).await;
    check(&world).await;
    // The next one holds what came meanwhile.
    world.append_rows(1, &rows(0, 100));
    world.wait().await;
    world.checkpoint().await;
    assert!(world.saved().unwrap().epoch > epoch);
    world.crash(1).await;
    check(&world).await;
    world.stop().await;
}

/// A process that ends in it finds the checkpoint before; one that fails is made up for by the next.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkpoint_that_is_not_written_to_its_end() {
    for is_killed in [true, false] {
        let (mut world, writing) = held().await;
        let before = world.saved().unwrap().epoch;
        world.append_rows(0, &rows(500, 600));
        world.wait().await;
        if is_killed {
            world.halt().await;
            world.hold_checkpoints(false);
            world.start(2).await;
            check(&world).await;
        } else {
            world.has_room_for_runs(false);
            world.hold_checkpoints(false);
            writing.await.unwrap().unwrap_err();
            assert_eq!(world.saved().unwrap().epoch, before);
            world.has_room_for_runs(true);
            world.append_rows(0, &rows(550, 650));
            world.wait().await;
        }
        world.checkpoint().await;
        assert!(world.saved().unwrap().epoch > before);
        world.crash(2).await;
        check(&world).await;
        world.append_rows(1, &rows(100, 200));
        world.wait().await;
        check(&world).await;
        world.checkpoint().await;
        assert_eq!(world.unnamed_files(), Vec::<String>::new());
        world.stop().await;
    }
}

/// What leaves memory while it is written waits until it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn state_that_is_being_written_can_leave_memory() {
    let mut world = world().await;
    world.stop().await;
    world.options.hot_bytes = 150_000;
    world.start(2).await;
    for part in 0..12 {
        let writing = begin_checkpoint(&world);
        world.append_rows(part % 2, &rows(part as i64 * 170, part as i64 * 170 + 400));
        world.wait().await;
        writing.await.unwrap().unwrap();
        if part % 4 == 3 {
            world.crash(1 + part % 3).await;
        }
        check(&world).await;
    }
    world.stop().await;
}

/// A view that goes, or becomes another, while its state is written, leaves no file behind, whether it can be written or not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn views_that_go_while_they_are_written() {
    for fails in [false, true] {
        let (mut world, writing) = held().await;
        // After the command, as they are taken in their order.
        world.drop_view("v2").await;
        world.create("v1", "SELECT a.v, b.k, 1 AS one FROM (SELECT v FROM s1) a RIGHT JOIN (SELECT k, n + 0 AS n FROM v0) b ON a.v = b.n").await;
        world.fill_disk(fails);
        world.hold_checkpoints(false);
        assert_eq!(writing.await.unwrap().is_err(), fails);
        world.fill_disk(false);
        world.append_rows(0, &rows(10, 60));
        world.wait().await;
        assert_eq!(world.view("v1"), world.batch("v1").await);
        world.checkpoint().await;
        world.checkpoint().await;
        world.drop_view("v1").await;
        world.drop_view("v0").await;
        world.checkpoint().await;
        world.checkpoint().await;
        assert_eq!(world.run_files(), Vec::<String>::new());
        world.stop().await;
    }
}

/// Runs that only a checkpoint named that failed go with their view.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn views_that_go_after_a_checkpoint_that_failed() {
    let mut world = world().await;
    let before = world.run_files();
    world.append_rows(1, &rows(1_900, 2_400));
    world.wait().await;
    world.fill_disk(true);
    assert!(begin_checkpoint(&world).await.unwrap().is_err());
    assert_ne!(world.run_files(), before, "its runs are there");
    for name in ["v2", "v1", "v0"] {
        world.drop_view(name).await;
    }
    world.fill_disk(false);
    world.checkpoint().await;
    assert_eq!((world.run_files(), world.unnamed_files()), (vec![], vec![]));
    world.stop().await;
}

/// A run that cannot be read is merged with no other: checkpoints go on without that, until it is too much for the view that it belongs to.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_run_stops_its_view_only() {
    let mut world = world().await;
    let before = world.run_files();
    let (mut step, mut last) = (0, 0);
    while world.is_running("v0") {
        step += 1;
        assert!(step < 200, "it does not stop");
        // Other groups each time: nothing is looked up in what is damaged.
        let groups: Vec<Row> = (0..10).map(|n| (10_000 + step * 10 + n, n, 100)).collect();
        world.append_rows(0, &groups);
        world.wait().await;
        world.checkpoint().await;
        let epoch = world.saved().unwrap().epoch;
        assert!(epoch > last);
        if last == 0 {
            let mut new = world.operator_runs("v0");
            new.retain(|name| !before.contains(name));
            new.iter().for_each(|name| world.damage(name, 20));
            assert!(!new.is_empty());
            // It is not read as a whole at the start.
            world.options.hot_bytes = 50_000;
            world.crash(2).await;
        }
        last = epoch;
    }
    assert!(step > 20, "at once: {step}");
    let reason = format!("{:?}", world.status("v0").state);
    assert!(reason.contains("cannot be merged") && reason.contains("damaged"), "{reason}");
    assert_eq!(world.view("v2"), world.batch("v2").await);
    world.checkpoint().await;
    assert!(world.operator_runs("v0").is_empty(), "of a view that stopped only the answer is kept");
    world.crash(2).await;
    assert!(world.is_running("v2") && !world.is_running("v0"));
    world.engine().resume_view(super::world::id("v0")).await.unwrap();
    world.check("resumed").await;
    world.stop().await;
}
