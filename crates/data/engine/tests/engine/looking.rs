//! Views that join to others by their keys look rows up in those views' answers: the answer is that of the query, whatever changes, is
//! replaced, leaves memory or crashes, and no row is kept for it.

use fleuve_engine::ViewState;

use crate::memory::add;
use crate::world::{Random, World, for_seeds, id};

/// Views with a key, columns `k`, `n`, `m`: rows change, come, and go.
const KEYED: [&str; 8] = [
    "SELECT k, count(*) AS n, max(v) AS m FROM s0 GROUP BY k",
    "SELECT k, n, m FROM (SELECT k, count(*) AS n, min(v) AS m FROM s0 GROUP BY k) WHERE n < 4",
    "SELECT v AS k, sum(k) AS n, max(k) AS m FROM s1 GROUP BY v HAVING sum(k) % 3 <> 0",
    "SELECT CASE WHEN k = 2 THEN NULL ELSE k END AS k, count(*) AS n, sum(v) AS m FROM s0 GROUP BY 1",
    "SELECT k, count(*) AS n, v AS m FROM s1 GROUP BY k, v",
    "SELECT k, v AS n, ts AS m FROM (SELECT k, v, 1 AS ts, row_number() OVER (PARTITION BY k ORDER BY v, ts) AS r FROM s0) WHERE r = 1",
    "SELECT DISTINCT k, v AS n, 1 AS m FROM s0",
    "SELECT DISTINCT ON (k) k, v AS n, 1 AS m FROM s0 ORDER BY k, v DESC",
];
/// Without one: what a view may become.
const KEYLESS: &str = "SELECT k, v AS n, v + 1 AS m FROM s0";

/// Views over `d`, and `e`, another one with a key; `r` is a view over `d` and `e` itself.
const READERS: [&str; 22] = [
    "SELECT a.k, a.v, d.n, d.m FROM s1 a JOIN d ON a.k = d.k",
    "SELECT a.k, a.v, d.n FROM s1 a LEFT JOIN d ON d.k = a.v",
    "SELECT a.k, a.v, d.n, d.m FROM d RIGHT JOIN s1 a ON a.k = d.k",
    "SELECT a.v, d.k, d.n FROM s1 a FULL JOIN d ON a.k = d.k",
    "SELECT a.v, d.k, d.n FROM s1 a RIGHT JOIN d ON a.k = d.k",
    "SELECT k, v FROM s1 WHERE k IN (SELECT k FROM d)",
    "SELECT k, v FROM s1 WHERE k NOT IN (SELECT k FROM d)",
    "SELECT k, v FROM s1 WHERE NOT EXISTS (SELECT 1 FROM d WHERE d.k = s1.k)",
    "SELECT k, v FROM s1 WHERE v = 2 OR k IN (SELECT k FROM d)",
    "SELECT a.k, a.v, d.m FROM s1 a JOIN d ON d.m = a.v AND a.k = d.k",
    "SELECT a.k, a.v, d.n FROM s1 a LEFT JOIN d ON a.k = d.k AND a.v < d.n",
    "SELECT a.k, a.v, d.n FROM s1 a JOIN d ON a.k = d.k AND a.v < d.n",
    "SELECT d.k, d.n, e.m FROM d JOIN e ON d.k = e.k",
    "SELECT d.k, d.n, e.m FROM d LEFT JOIN e ON d.k = e.k",
    "SELECT d.k, d.n, e.m FROM e FULL JOIN d ON d.k = e.k",
    "SELECT k, n FROM d WHERE k NOT IN (SELECT k FROM e WHERE k IS NOT NULL)",
    "SELECT k, n FROM d WHERE NOT EXISTS (SELECT 1 FROM e WHERE d.k = e.k)",
    "SELECT d.n, count(*) AS c, sum(a.v) AS s FROM s1 a LEFT JOIN d ON a.k = d.k GROUP BY d.n",
    "SELECT a.k, a.v, d.n, e.m FROM s1 a JOIN d ON a.k = d.k LEFT JOIN e ON d.n = e.k",
    "SELECT a.k, b.n FROM d a JOIN d b ON a.n = b.k",
    "SELECT a.k, a.n, b.m FROM d a JOIN d b ON a.k = b.k",
    "SELECT a.k, a.v, d.n FROM (SELECT CASE WHEN v = 1 THEN NULL ELSE k END AS k, v FROM s1) a LEFT JOIN d ON a.k = d.k",
];
/// Views over a reader.
const ABOVE: [&str; 2] =
    ["SELECT n, count(*) AS c FROM r0 GROUP BY n", "SELECT x.k, x.n, e.m FROM r0 x LEFT JOIN e ON x.n = e.k"];
/// How many of [`READERS`] can be read so: they have columns `k` and `n`.
const WITH_N: [usize; 8] = [0, 1, 2, 10, 11, 12, 13, 18];

/// A view becomes another one, and, as the server does it, who reads it is made anew.
async fn replace(world: &mut World, name: &'static str, query: &'static str) {
    world.create(name, query).await;
    for reader in world.readers_of(name) {
        let query = world.query(reader);
        world.create(reader, query).await;
    }
}

async fn case(seed: u64) {
    let mut random = Random::new(seed);
    let mut world = World::new(&mut random);
    let hot = |random: &mut Random| [0, usize::MAX][random.below(2)];
    world.options.hot_bytes = hot(&mut random);
    world.options.part_rows = [1, 65_536][random.below(2)];
    world.start(1 + random.below(3)).await;
    let keyed = |random: &mut Random| KEYED[random.below(KEYED.len())];
    world.create("d", keyed(&mut random)).await;
    world.create("e", keyed(&mut random)).await;
    let first = random.below(READERS.len());
    let mut readers = vec![("r0", READERS[first])];
    if WITH_N.contains(&first) {
        readers.push(("r1", ABOVE[random.below(ABOVE.len())]));
    }
    readers.push(("r2", READERS[random.below(READERS.len())]));
    readers.push(("r3", READERS[random.below(READERS.len())]));
    let what = format!("seed {seed}: {readers:?}");
    let mut readers = readers.into_iter();
    for _ in 0..25 {
        match random.below(12) {
            0..=4 => world.append(&mut random),
            5..=6 => {
                if let Some((name, query)) = readers.next() {
                    world.create(name, query).await;
                }
            }
            7 => world.checkpoint().await,
            8 => {
                world.options.hot_bytes = hot(&mut random);
                world.crash(1 + random.below(3)).await;
            }
            9 if random.below(3) == 0 => {
                let query = if random.below(3) == 0 { KEYLESS } else { keyed(&mut random) };
                let name = ["d", "e"][random.below(2)];
                replace(&mut world, name, query).await;
            }
            10 => world.check(&what).await,
            _ => world.wait().await,
        }
    }
    for (name, query) in readers {
        world.create(name, query).await;
    }
    world.check(&what).await;
    world.append(&mut random);
    world.check(&what).await;
    world.crash(1 + random.below(3)).await;
    world.append(&mut random);
    world.check(&what).await;
    world.stop().await;
}

#[test]
fn views_that_look_rows_up_equal_the_batch_answer() {
    for_seeds("lookups", 100, case);
}

const SUMS: &str = "SELECT k, count(*) AS n, sum(v) AS s FROM s0 GROUP BY k";
const INNER: &str = "SELECT a.k, a.v, d.n, d.s FROM s1 a JOIN d ON a.k = d.k";
const OUTER: &str = "SELECT a.k, a.v, d.s FROM s1 a LEFT JOIN d ON a.k = d.k";

async fn world_of(groups: i64, options: impl FnOnce(&mut World)) -> World {
    let mut world = World::empty();
    world.options.epoch_bytes = 4_096;
    world.read_more_at_once(300);
    options(&mut world);
    world.start(2).await;
    for k in 0..groups {
        world.push("s0", (k, k % 5));
    }
    for k in 0..40 {
        world.push("s1", (k * 3, k % 7));
    }
    world.wait().await;
    world
}

/// The rows that the joins of a view hold.
async fn held(world: &World, name: &str) -> Vec<u64> {
    let lines = world.engine().explain(id(name)).await.unwrap();
    let of = |line: &String| line.split("state ").nth(1)?.split(' ').next()?.parse().ok();
    lines.iter().filter(|l| l.trim_start().starts_with("Join")).filter_map(of).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn joins_to_one_view_hold_none_of_its_rows() {
    let mut world = world_of(500, |_| {}).await;
    world.create("d", SUMS).await;
    world.create("r0", INNER).await;
    world.create("r1", OUTER).await;
    world.create("r2", "SELECT d.k, d.n, e.s FROM d LEFT JOIN d e ON d.k = e.k").await;
    for k in 400..600 {
        world.push("s0", (k, 3));
        world.push("s1", (k, k));
    }
    world.check("at first").await;
    for crashed in [false, true] {
        for (name, rows) in [("r0", 240), ("r1", 240), ("r2", 0)] {
            assert_eq!(held(&world, name).await, [rows], "{name}, crashed: {crashed}");
            let lines = world.engine().explain(id(name)).await.unwrap().join("\n");
            assert!(lines.contains("right side looked up in the answer of public.d"), "{lines}");
        }
        world.checkpoint().await;
        world.take_reads("s1");
        world.crash(1).await;
        assert_eq!(world.take_reads("s1"), 0, "nothing is built again");
        world.push("s0", (3, 3));
        world.push("s1", (3, 9));
        world.push("s1", (1_000, 9));
        world.check("after a crash").await;
        world.push("s0", (1_000, 1));
        world.check("after a crash").await;
        if !crashed {
            world.push("s1", (4, 4));
            world.crash(2).await;
            break;
        }
    }
    world.check("in the end").await;
    world.stop().await;
}

/// What is looked up lies on disk, but for what changed last.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_on_disk_are_looked_up() {
    let mut world = world_of(3_000, |w| w.options.budget_bytes = 192 << 10).await;
    world.create("d", SUMS).await;
    world.create("r0", INNER).await;
    world.create("r1", OUTER).await;
    for round in 0..4 {
        for n in 0..300 {
            world.push("s0", (n * 13 % 3_200, round));
            world.push("s1", (n * 11 % 3_300, n));
        }
        world.check(&format!("round {round}")).await;
        if round == 1 {
            world.crash(3).await;
        }
    }
    assert!(world.status("d").disk_bytes > 0, "{:?}", world.status("d"));
    world.stop().await;
}

/// Whoever looks rows up in a view that is replaced gets the difference, and is not built again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replaced_view_is_looked_up_as_it_is_now() {
    let mut world = world_of(50, |_| {}).await;
    world.create("d", SUMS).await;
    world.create("r0", INNER).await;
    world.create("r1", OUTER).await;
    world.add_sink("r1").await;
    world.wait().await;
    world.take_reads("s1");
    world.create("d", "SELECT k, count(*) AS n, max(v) AS s FROM s0 WHERE k % 4 <> 1 GROUP BY k").await;
    world.check("replaced").await;
    assert_eq!(world.take_reads("s1"), 0);
    assert_eq!(world.sunk(), world.view("r1"));
    world.push("s0", (9, 1));
    world.push("s0", (6, 9));
    world.push("s1", (6, 9));
    world.check("and gone on").await;
    assert_eq!(world.sunk(), world.view("r1"));
    world.stop().await;
}

/// One that loses its key cannot be looked up: its readers are built again by what it is now, with no command.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_of_a_view_that_loses_its_key_are_built_again() {
    for hot_bytes in [0, usize::MAX] {
        let mut world = world_of(50, |w| w.options.hot_bytes = hot_bytes).await;
        world.create("d", SUMS).await;
        world.create("r0", INNER).await;
        world.create("r1", "SELECT n, count(*) AS c FROM r0 GROUP BY n").await;
        world.create("d", "SELECT k, count(*) AS n, s FROM (SELECT k, v AS s FROM s0) GROUP BY k, s").await;
        world.push("s0", (6, 9));
        world.push("s0", (6, 8));
        world.push("s1", (6, 9));
        world.check("without the key").await;
        let lines = world.engine().explain(id("r0")).await.unwrap().join("\n");
        assert!(!lines.contains("looked up"), "{lines}");
        world.crash(2).await;
        world.check("after a crash").await;
        world.stop().await;
    }
}

/// Readers that cannot take the difference wait with their answer until they are built again: they do not stop, and who follows them, or what
/// reads them, is given the difference.
async fn readers_wait((first, then): (&'static str, &'static str), readers: [&'static str; 2]) {
    let mut world = world_of(50, |w| w.read_more_at_once(1_000)).await;
    world.create("d", first).await;
    world.create("r0", readers[0]).await;
    world.create("r1", readers[1]).await;
    world.add_sink("r1").await;
    world.wait().await;
    let before = [world.view("r0"), world.view("r1")];
    let mut followed = world.engine().subscribe(id("r0")).await.unwrap();
    let mut shown = before[0].clone();
    world.hold_builds("s1");
    world.create_alone("d", then).await;
    world.builds_came("s1", 1).await;
    world.push("s0", (6, 9));
    world.engine().wake();
    assert_eq!([world.view("r0"), world.view("r1")], before);
    let now = world.engine().published();
    assert!(!matches!(now.status[&id("r0")].state, ViewState::Failed(_) | ViewState::Stopped(_)), "{then}");
    assert_eq!(now.status[&id("r1")].state, ViewState::Running, "{then}");
    world.let_builds_read("s1", None);
    world.runs("r0").await;
    world.push("s1", (6, 9));
    world.check(then).await;
    assert_ne!(world.view("r0"), before[0], "{then}");
    assert_eq!(world.sunk(), world.view("r1"), "{then}");
    while shown != world.view("r0") {
        add(&mut shown, &followed.changes.recv().await.unwrap().delta);
    }
    world.crash(2).await;
    world.check("after a crash").await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_wait_that_cannot_take_the_difference() {
    let grouped = "SELECT n, count(*) AS c FROM r0 GROUP BY n";
    let keyless = "SELECT k, count(*) AS n, s FROM (SELECT k, v AS s FROM s0) GROUP BY k, s";
    readers_wait((SUMS, keyless), [INNER, grouped]).await;
    // It only grew, and now rows go.
    let growing = ("SELECT k, v AS n, ts AS s FROM s0 WHERE v > 1", "SELECT k, v AS n, ts AS s FROM s0 WHERE v > 2");
    readers_wait(growing, ["SELECT a.k, a.v, d.n FROM s1 a JOIN d ON a.k = d.k WHERE d.n > 0", grouped]).await;
    // It only grew, and rows can go from now on, though none does yet.
    let growing = (
        "SELECT k, v AS n, 1 AS s FROM s0",
        "SELECT k, n, c / c AS s FROM (SELECT k, v AS n, count(*) AS c FROM s0 GROUP BY k, v)",
    );
    readers_wait(growing, ["SELECT a.k, max(d.n) AS n FROM s1 a JOIN d ON a.k = d.k GROUP BY a.k", grouped]).await;
}

/// A join that looks rows up tells its present answer to a replacement that keeps it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_join_that_looks_up_is_kept() {
    let replacements = [
        (INNER, "SELECT a.k, a.v, d.n, d.s, a.v + d.n AS w FROM s1 a JOIN d ON a.k = d.k"),
        (
            "SELECT k, v FROM s1 WHERE k IN (SELECT k FROM d)",
            "SELECT v, count(*) AS n, max(k) AS m FROM s1 WHERE k IN (SELECT k FROM d) GROUP BY v",
        ),
        (
            "SELECT d.n, count(*) AS c FROM s1 a LEFT JOIN d ON a.k = d.k GROUP BY d.n",
            "SELECT d.n, count(*) AS c, d.n + count(*) AS x FROM s1 a LEFT JOIN d ON a.k = d.k GROUP BY d.n",
        ),
    ];
    for (before, after) in replacements {
        for part_rows in [1, 7, 65_536] {
            let mut world = world_of(50, |w| w.options.part_rows = part_rows).await;
            world.options.hot_bytes = if part_rows == 7 { 0 } else { usize::MAX };
            world.crash(2).await;
            world.create("d", SUMS).await;
            world.create("r0", before).await;
            world.wait().await;
            world.take_reads("s1");
            let engine = world.engine().clone();
            let (groups, rows) = (world.rows_to_push("s0"), world.rows_to_push("s1"));
            let more = tokio::spawn(async move {
                for n in 0..60 {
                    groups((n % 20, n));
                    rows((n % 30, n));
                    engine.wake();
                    tokio::time::sleep(std::time::Duration::from_micros(200)).await;
                }
            });
            world.create("r0", after).await;
            more.await.unwrap();
            world.check(after).await;
            assert!(world.take_reads("s1") <= 60, "{after}");
            world.crash(1).await;
            world.push("s0", (6, 9));
            world.push("s1", (6, 9));
            world.check(after).await;
            world.stop().await;
        }
    }
}

/// A view is built while the one that it looks rows up in changes all the time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_build_looks_up_in_what_goes_on() {
    for seed in 0..6 {
        let mut world = world_of(300, |w| w.options.hot_bytes = if seed % 2 == 0 { 0 } else { usize::MAX }).await;
        world.create("d", SUMS).await;
        for n in 0..2_000 {
            world.push("s1", (n * 7 % 400, n % 9));
        }
        world.wait().await;
        let engine = world.engine().clone();
        let (groups, rows) = (world.rows_to_push("s0"), world.rows_to_push("s1"));
        let more = tokio::spawn(async move {
            for n in 0..200 {
                groups((n * 17 % 350, n));
                rows((n % 30, n));
                engine.wake();
                tokio::time::sleep(std::time::Duration::from_micros(300)).await;
            }
        });
        world.create("r0", INNER).await;
        world.create("r1", "SELECT a.k, a.n, b.s FROM d a LEFT JOIN d b ON a.k = b.k").await;
        world.create("r2", OUTER).await;
        more.await.unwrap();
        world.check(&format!("seed {seed}")).await;
        world.stop().await;
    }
}

/// One that it looks up stops: so do its readers, and all go on when it is resumed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_stop_with_what_they_look_up() {
    let stopped = |world: &World| {
        for name in ["d", "r0"] {
            assert!(!world.is_running(name), "{name}: {:?}", world.status(name));
        }
    };
    let mut world = world_of(20, |_| {}).await;
    world.create("d", "SELECT k, count(*) AS n, sum(12 / (v - 99)) AS s FROM s0 GROUP BY k").await;
    world.create("r0", INNER).await;
    world.push("s0", (1, 99));
    world.push("s1", (1, 1));
    world.wait().await;
    stopped(&world);
    world.crash(1).await;
    world.wait().await;
    stopped(&world);
    world.truncate("s0");
    world.push("s0", (3, 1));
    world.engine().resume_view(id("d")).await.unwrap();
    world.check("resumed").await;
    world.stop().await;
}
