//! Views that look rows up in indexes of streams and views: the answer is that of the query, whatever changes, is replaced, leaves
//! memory or crashes, and no row is held for it but once.

use crate::world::{Random, World, for_seeds, id};

/// Views with columns `k`, `n`, `m`, most of them without a key: rows come twice, change, and go.
const BASES: [&str; 6] = [
    "SELECT k, v AS n, v % 3 AS m FROM s0",
    "SELECT k, v AS n, 1 AS m FROM s1 WHERE v <> 2",
    "SELECT CASE WHEN k = 2 THEN NULL ELSE k END AS k, count(*) AS n, sum(v) AS m FROM s0 GROUP BY 1",
    "SELECT max(v) AS k, count(*) AS n, k AS m FROM s0 GROUP BY k",
    "SELECT a.k, b.v AS n, a.v AS m FROM s0 a LEFT JOIN s1 b ON a.k = b.k AND a.v = b.v",
    "SELECT k, v AS n, v + k AS m FROM s0 UNION ALL SELECT v AS k, k AS n, v AS m FROM s1",
];

/// Views over the streams, which have indexes, and over `d` and `e`.
const READERS: [&str; 25] = [
    "SELECT a.k, a.v, b.v AS n FROM s1 a JOIN s0 b ON a.k = b.k",
    "SELECT a.k, a.v, b.v AS n FROM s1 a LEFT JOIN s0 b ON a.v = b.v",
    "SELECT b.k, a.v, b.v AS n FROM s0 a RIGHT JOIN s1 b ON a.k = b.k",
    "SELECT a.k, b.v AS n FROM s0 a FULL JOIN s1 b ON a.k = b.k",
    "SELECT k, v AS n FROM s1 WHERE k IN (SELECT k FROM s0)",
    "SELECT k, v AS n FROM s1 WHERE v NOT IN (SELECT v FROM s0)",
    "SELECT k, v AS n FROM s1 WHERE EXISTS (SELECT 1 FROM s0 WHERE s0.k = s1.v)",
    "SELECT k, v AS n FROM s1 WHERE v = 2 OR k IN (SELECT v FROM s0)",
    "SELECT a.k, a.v AS n, b.v AS w FROM s0 a JOIN s0 b ON a.k = b.v",
    "SELECT a.k, a.v AS n, b.v AS w FROM s0 a LEFT JOIN s0 b ON a.k = b.k AND a.v = b.v",
    "SELECT a.k, a.v AS n FROM s1 a JOIN s0 b ON b.v = a.v AND a.k = b.k",
    "SELECT a.k, a.v AS n FROM s1 a JOIN s0 b ON a.k = b.k AND a.v < b.v",
    "SELECT a.k, a.v AS n FROM s1 a LEFT JOIN s0 b ON a.k = b.k AND a.v < b.v",
    "SELECT a.k, a.v, d.n, d.m FROM s1 a JOIN d ON a.k = d.k",
    "SELECT a.k, a.v, d.n FROM s1 a LEFT JOIN d ON a.v = d.n",
    "SELECT d.k, d.n, b.v FROM d LEFT JOIN s0 b ON d.k = b.k",
    "SELECT d.k, d.n, b.v FROM d JOIN s0 b ON d.n = b.v",
    "SELECT d.k, d.n, e.m FROM d JOIN e ON d.k = e.k",
    "SELECT d.k, d.n, e.m FROM d LEFT JOIN e ON d.n = e.k",
    "SELECT k, n FROM d WHERE k NOT IN (SELECT k FROM e WHERE k IS NOT NULL)",
    "SELECT k, n FROM d WHERE NOT EXISTS (SELECT 1 FROM e WHERE d.n = e.n)",
    "SELECT k, n FROM d WHERE k IN (SELECT n FROM e)",
    "SELECT d.n, a.k, count(*) AS c, sum(a.v) AS s FROM s1 a LEFT JOIN d ON a.k = d.k GROUP BY d.n, a.k",
    "SELECT a.k, a.v AS n, d.n AS x, e.m FROM s1 a JOIN d ON a.k = d.k LEFT JOIN e ON d.n = e.n",
    "SELECT a.k, a.v AS n FROM (SELECT CASE WHEN v = 1 THEN NULL ELSE k END AS k, v FROM s1) a LEFT JOIN s0 b ON a.k = b.k",
];
/// Views over a reader.
const ABOVE: [&str; 3] = [
    "SELECT n, count(*) AS c FROM r0 GROUP BY n",
    "SELECT x.k, x.n, e.m FROM r0 x LEFT JOIN e ON x.n = e.n",
    // Without DISTINCT the rows that are equal make millions.
    "SELECT x.k, x.n, y.k AS z FROM (SELECT DISTINCT k, n FROM r0) x JOIN r0 y ON x.n = y.k",
];
/// Name, what it is of, its columns.
const INDEXES: [(&str, &str, &[&str]); 9] = [
    ("i0", "s0", &["k"]),
    ("i1", "s0", &["v"]),
    ("i2", "s0", &["v", "k"]),
    ("i3", "s1", &["k"]),
    ("i4", "s1", &["v"]),
    ("i5", "d", &["k"]),
    ("i6", "d", &["n"]),
    ("i7", "e", &["n"]),
    ("i8", "e", &["k"]),
];

/// A view becomes another one, and, as the server does it, its indexes and who reads it are made anew.
async fn replace(world: &mut World, name: &'static str, query: &'static str) {
    world.renew(name, query).await.unwrap();
    for changed in std::iter::once(name).chain(world.readers_of(name)) {
        if changed != name {
            let query = world.query(changed);
            world.renew(changed, query).await.unwrap();
        }
        for index in world.indexes_of(changed) {
            world.renew_index(index).await;
        }
    }
}

async fn case(seed: u64) -> usize {
    let mut random = Random::new(seed);
    let mut world = World::new(&mut random);
    let hot = |random: &mut Random| [0, usize::MAX][random.below(2)];
    world.options.hot_bytes = hot(&mut random);
    world.options.part_rows = [1, 65_536][random.below(2)];
    world.start(1 + random.below(3)).await;
    let base = |random: &mut Random| BASES[random.below(BASES.len())];
    world.create("d", base(&mut random)).await;
    world.create("e", base(&mut random)).await;
    let mut indexes: Vec<_> = INDEXES.into_iter().filter(|_| random.below(3) > 0).collect();
    let mut readers = vec![("r0", READERS[random.below(READERS.len())])];
    readers.push(("r1", ABOVE[random.below(ABOVE.len())]));
    readers.push(("r2", READERS[random.below(READERS.len())]));
    readers.push(("r3", READERS[random.below(READERS.len())]));
    let what = format!("seed {seed}: {readers:?}");
    let mut readers = readers.into_iter();
    for _ in 0..30 {
        match random.below(14) {
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
                let (name, query) = (["d", "e"][random.below(2)], base(&mut random));
                replace(&mut world, name, query).await;
            }
            10 => world.check(&what).await,
            11..=12 => {
                if !indexes.is_empty() {
                    let (name, on, by) = indexes.swap_remove(random.below(indexes.len()));
                    world.create_index(name, on, by).await;
                }
            }
            _ => world.wait().await,
        }
    }
    for (name, query) in readers {
        world.create(name, query).await;
    }
    world.check(&what).await;
    world.append(&mut random);
    world.check(&what).await;
    let mut used = 0;
    for name in world.names() {
        used += usize::from(uses(&world, name).await);
    }
    world.crash(1 + random.below(3)).await;
    world.append(&mut random);
    world.check(&what).await;
    world.stop().await;
    used
}

async fn lines(world: &World, name: &str) -> String {
    world.engine().explain(id(name)).await.unwrap().join("\n")
}

async fn uses(world: &World, name: &str) -> bool {
    lines(world, name).await.contains("looked up in the index")
}

#[test]
fn views_that_use_indexes_equal_the_batch_answer() {
    let used = for_seeds("views that use indexes", 40, case);
    let (used, cases) = (used.iter().sum::<usize>(), used.len());
    println!("{used} views of {cases} cases used an index");
    assert!(used > cases / 2, "only {used} views used an index");
}

const INNER: &str = "SELECT a.k, a.v, b.v AS n FROM s1 a JOIN s0 b ON a.k = b.k";
const OUTER: &str = "SELECT a.k, a.v, b.v AS n FROM s1 a LEFT JOIN s0 b ON a.k = b.k";
const BOTH: &str = "SELECT a.k, a.v, b.v AS n FROM s0 a LEFT JOIN s0 b ON a.k = b.k";
const ASKED: &str = "SELECT k, v FROM s1 WHERE k NOT IN (SELECT k FROM s0)";

async fn world_of(rows: i64, options: impl FnOnce(&mut World)) -> World {
    let mut world = World::empty();
    world.options.epoch_bytes = 4_096;
    world.read_more_at_once(300);
    options(&mut world);
    world.start(2).await;
    for n in 0..rows {
        world.push("s0", (n * 7 % (rows / 2), n % 5));
    }
    for n in 0..40 {
        world.push("s1", (n * 3, n % 7));
    }
    world.wait().await;
    world
}

/// The rows that the joins of a view, or an index, hold.
async fn held(world: &World, name: &str) -> Vec<u64> {
    let lines = world.engine().explain(id(name)).await.unwrap();
    let of = |line: &String| line.split("state ").nth(1)?.split(' ').next()?.parse().ok();
    let holds = |l: &&String| l.trim_start().starts_with("Join") || l.trim_start().starts_with("Index");
    lines.iter().filter(holds).filter_map(of).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn views_over_one_index_hold_none_of_its_rows() {
    let mut world = world_of(500, |_| {}).await;
    world.create("before", INNER).await;
    world.create_index("i", "s0", &["k"]).await;
    for (name, query) in [("r0", INNER), ("r1", OUTER), ("r2", BOTH), ("r3", ASKED)] {
        world.create(name, query).await;
    }
    for n in 200..400 {
        world.push("s0", (n, 3));
        world.push("s1", (n, n));
    }
    world.check("at first").await;
    for crashed in [false, true] {
        assert_eq!(held(&world, "before").await, [680], "what was there goes on as it was; crashed: {crashed}");
        assert_eq!(held(&world, "i").await, [440]);
        // NOT IN asks whether there is a NULL, too.
        for (name, rows) in [("r0", &[240][..]), ("r1", &[240]), ("r2", &[0]), ("r3", &[1, 240])] {
            assert_eq!(held(&world, name).await, rows, "{name}, crashed: {crashed}");
            assert!(lines(&world, name).await.contains("right side looked up in the index public.i"), "{name}");
        }
        world.checkpoint().await;
        if !crashed {
            world.take_reads("s0");
            world.take_reads("s1");
            world.crash(1).await;
            assert_eq!((world.take_reads("s0"), world.take_reads("s1")), (0, 0), "nothing is built again");
        }
    }
    world.push("s0", (3, 3));
    world.push("s1", (3, 9));
    world.push("s1", (1_000, 9));
    world.check("after a crash").await;
    world.push("s0", (1_000, 1));
    world.check("after a crash").await;
    world.push("s1", (4, 4));
    world.crash(2).await;
    world.check("in the end").await;
    world.stop().await;
}

/// A view's own key goes before an index by the same columns; an index may be by its columns in another order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_key_of_a_view_goes_first() {
    let mut world = world_of(100, |_| {}).await;
    world.create("d", "SELECT k, v, count(*) AS n FROM s0 GROUP BY k, v").await;
    world.create_index("i", "d", &["k", "v"]).await;
    world.create_index("j", "s0", &["v", "k"]).await;
    world.create("r0", "SELECT a.k, d.n FROM s1 a JOIN d ON a.k = d.k AND a.v = d.v").await;
    world.create("r1", "SELECT a.k, b.v FROM s1 a JOIN s0 b ON a.k = b.k AND a.v = b.v").await;
    world.create("r2", "SELECT a.k, b.v FROM s1 a JOIN s0 b ON a.k = b.k").await;
    assert!(lines(&world, "r0").await.contains("looked up in the answer of public.d"));
    assert!(lines(&world, "r1").await.contains("looked up in the index public.j"));
    assert!(!uses(&world, "r2").await);
    world.check("at first").await;
    world.stop().await;
}

/// What is looked up lies on disk, but for what changed last; two readers want it at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_on_disk_are_looked_up() {
    let mut world = world_of(6_000, |w| w.options.budget_bytes = 192 << 10).await;
    world.create_index("i", "s0", &["k"]).await;
    world.create("r0", "SELECT a.k, a.v, count(*) AS n FROM s1 a JOIN s0 b ON a.k = b.k GROUP BY a.k, a.v").await;
    world.create("r1", "SELECT k, count(*) AS n FROM s1 WHERE k NOT IN (SELECT k FROM s0) GROUP BY k").await;
    for round in 0..4 {
        for n in 0..300 {
            world.push("s0", (n * 13 % 3_200, round));
            world.push("s1", (n * 11 % 3_300, n % 3));
        }
        world.check(&format!("round {round}")).await;
        if round == 1 {
            world.crash(3).await;
        }
    }
    assert!(world.status("i").disk_bytes > 0, "{:?}", world.status("i"));
    assert!(uses(&world, "r0").await && uses(&world, "r1").await);
    world.stop().await;
}

/// Views are built while the stream that they look up in an index grows all the time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_build_looks_up_in_what_goes_on() {
    for seed in 0..6 {
        let mut world = world_of(2_000, |w| w.options.hot_bytes = if seed % 2 == 0 { 0 } else { usize::MAX }).await;
        world.create_index("i", "s0", &["k"]).await;
        world.create("d", "SELECT k, v + 1 AS n FROM s0").await;
        world.create_index("j", "d", &["k"]).await;
        for n in 0..2_000 {
            world.push("s1", (n * 7 % 1_000, n % 9));
        }
        world.wait().await;
        let engine = world.engine().clone();
        let (rows, others) = (world.rows_to_push("s0"), world.rows_to_push("s1"));
        let more = tokio::spawn(async move {
            for n in 0..300 {
                rows((n * 17 % 1_050, n));
                others((n % 30, n));
                engine.wake();
                tokio::time::sleep(std::time::Duration::from_micros(200)).await;
            }
        });
        world.create("r0", INNER).await;
        world.create("r1", BOTH).await;
        world.create("r2", OUTER).await;
        world.create("r3", "SELECT a.k, d.n FROM s1 a JOIN d ON a.k = d.k").await;
        world.create("r4", ASKED).await;
        more.await.unwrap();
        world.check(&format!("seed {seed}")).await;
        assert!(uses(&world, "r1").await && uses(&world, "r3").await);
        world.stop().await;
    }
}

/// So far behind that it goes several rounds: what came to the index since is taken in first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_build_goes_several_rounds() {
    for both in [false, true] {
        let mut world = world_of(2_000, |w| w.options.epoch_bytes = 1 << 20).await;
        world.read_more_at_once(20_000);
        world.create_index("i", "s0", &["k"]).await;
        world.wait().await;
        let engine = world.engine().clone();
        let (rows, others) = (world.rows_to_push("s0"), world.rows_to_push("s1"));
        for n in 0..60_000 {
            others((n % 20_000, n % 9));
        }
        let more = tokio::task::spawn_blocking(move || {
            for n in 0..260_000 {
                rows((20 + n % 15_000, n));
                if n % 10 == 0 {
                    others((n % 25_000, n));
                }
                if n % 1_000 == 0 {
                    engine.wake();
                }
            }
            engine.wake();
        });
        let query = if both {
            "SELECT a.k % 10 AS k, count(*) AS c, count(b.v) AS n FROM s0 a LEFT JOIN s0 b ON a.k = b.v GROUP BY 1"
        } else {
            "SELECT a.k % 10 AS k, count(*) AS c, count(b.v) AS n FROM s1 a LEFT JOIN s0 b ON a.k = b.k GROUP BY 1"
        };
        world.create("r0", query).await;
        more.await.unwrap();
        world.check(&format!("both sides: {both}")).await;
        world.stop().await;
    }
}

/// An index stops with what it is of, and its readers with it; it becomes what that becomes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_that_is_replaced_or_fails_takes_its_readers_along() {
    let mut world = world_of(20, |_| {}).await;
    world.create("d", "SELECT k, 12 / (v - 99) AS n FROM s0").await;
    world.create_index("i", "d", &["k"]).await;
    world.create("r0", "SELECT a.k, a.v, d.n FROM s1 a JOIN d ON a.k = d.k").await;
    assert!(uses(&world, "r0").await);
    let stopped = |world: &World| {
        for name in ["d", "i", "r0"] {
            assert!(!world.is_running(name), "{name}: {:?}", world.status(name));
        }
    };
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
    world.push("s0", (3, 2));
    world.push("s1", (3, 2));
    world.check("and gone on").await;
    assert!(uses(&world, "r0").await);
    // By another query with the same columns, and by one whose columns have other types.
    replace(&mut world, "d", "SELECT k, v AS n FROM s0 WHERE v <> 1").await;
    world.check("replaced").await;
    world.push("s0", (3, 2));
    world.push("s1", (3, 2));
    world.check("replaced, and gone on").await;
    replace(&mut world, "d", "SELECT CAST(k AS SMALLINT) AS k, v AS n FROM s0").await;
    world.push("s0", (3, 2));
    world.push("s1", (3, 2));
    world.check("of another type").await;
    world.crash(2).await;
    world.check("in the end").await;
    world.stop().await;
}

/// A view that only grew becomes another one: its index is built again, and then what joins through that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_joins_through_an_index_waits_for_it() {
    let mut world = world_of(60, |_| {}).await;
    world.create("d", "SELECT k, v AS n FROM s0 WHERE v > 1").await;
    world.create_index("i", "d", &["k"]).await;
    world.create("r0", "SELECT a.k, a.v, d.n FROM s1 a JOIN d ON a.k = d.k").await;
    assert!(uses(&world, "r0").await);
    // Enough that the index is not there before the join would be.
    for n in 0..20_000 {
        world.push("s0", (n % 500, n % 4));
    }
    world.wait().await;
    replace(&mut world, "d", "SELECT k, v AS n FROM s0 WHERE v > 2").await;
    world.check("replaced").await;
    world.push("s0", (3, 9));
    world.push("s1", (3, 2));
    world.check("and gone on").await;
    assert!(uses(&world, "r0").await);
    world.crash(2).await;
    world.check("after a crash").await;
    world.stop().await;
}

/// The process dies after any of its writes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn views_and_their_index_go_on_whenever_the_process_dies() {
    for writes in 0..14 {
        for hot_bytes in [0, usize::MAX] {
            let mut world = world_of(300, |w| w.options.hot_bytes = hot_bytes).await;
            world.create_index("i", "s0", &["k"]).await;
            world.create("r0", INNER).await;
            world.create("r1", BOTH).await;
            world.checkpoint().await;
            world.dies_after(writes);
            for n in 0..50 {
                world.push("s0", (n, 3));
                world.push("s1", (n, n));
            }
            world.wait().await;
            let _ = world.engine().checkpoint().await;
            world.push("s0", (3, 4));
            world.wait().await;
            world.halt().await;
            world.start(1 + writes as usize % 3).await;
            world.check(&format!("{writes} writes")).await;
            world.push("s0", (4, 4));
            world.push("s1", (4, 4));
            world.check(&format!("{writes} writes, and gone on")).await;
            assert!(uses(&world, "r0").await && uses(&world, "r1").await);
            world.stop().await;
        }
    }
}

/// A stream gets columns, in other places: index and readers go on with what they have.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_columns_of_an_indexed_stream_change_places() {
    let mut world = world_of(100, |_| {}).await;
    world.create_index("i", "s0", &["k"]).await;
    world.create("r0", INNER).await;
    world.create("r1", BOTH).await;
    world.wait().await;
    world.take_reads("s0");
    world.alter("s0", &["extra", "k", "v", "more", "ts"]).await.unwrap();
    assert_eq!(world.take_reads("s0"), 0);
    world.push("s0", (3, 4));
    world.push("s1", (3, 4));
    world.check("altered").await;
    assert!(uses(&world, "r0").await && uses(&world, "r1").await);
    world.create("r2", "SELECT a.k, a.v, b.v AS n, b.extra FROM s1 a JOIN s0 b ON a.k = b.k").await;
    world.create("r3", OUTER).await;
    assert!(!uses(&world, "r2").await, "the index does not hold the new column");
    assert!(uses(&world, "r3").await);
    world.crash(2).await;
    world.push("s0", (3, 4));
    world.push("s1", (3, 4));
    world.check("in the end").await;
    world.stop().await;
}

/// A join that looks rows up in an index tells its present answer to a replacement that keeps it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_join_that_looks_up_is_kept() {
    let replacements = [
        (INNER, "SELECT a.k, a.v, b.v AS n, a.v + b.v AS w FROM s1 a JOIN s0 b ON a.k = b.k"),
        (
            "SELECT b.v, count(*) AS c FROM s1 a LEFT JOIN s0 b ON a.k = b.k GROUP BY b.v",
            "SELECT b.v, count(*) AS c, b.v + count(*) AS x FROM s1 a LEFT JOIN s0 b ON a.k = b.k GROUP BY b.v",
        ),
    ];
    for (before, after) in replacements {
        for part_rows in [1, 65_536] {
            let mut world = world_of(100, |w| w.options.part_rows = part_rows).await;
            world.create_index("i", "s0", &["k"]).await;
            world.create("r0", before).await;
            world.wait().await;
            world.take_reads("s1");
            world.create("r0", after).await;
            world.check(after).await;
            assert_eq!(world.take_reads("s1"), 0, "{after}");
            world.crash(1).await;
            world.push("s0", (6, 9));
            world.push("s1", (6, 9));
            world.check(after).await;
            world.stop().await;
        }
    }
}

/// An index goes on to hold rows that retention took from the log. A view made afterwards sees them on each side that is looked up there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_the_log_has_lost_pair_on_both_sides() {
    let readers = [
        ("r0", "SELECT a.k, a.v, d.n FROM s0 a JOIN d ON a.k = d.k"),
        ("r1", "SELECT a.k, a.v, d.n FROM s0 a LEFT JOIN d ON a.k = d.k"),
        ("r2", BOTH),
        ("r3", "SELECT b.v, count(*) AS c, sum(a.v) AS n FROM s0 a JOIN s0 b ON a.k = b.k GROUP BY b.v"),
    ];
    for hot_bytes in [0, usize::MAX] {
        let mut world = world_of(300, |w| w.options.hot_bytes = hot_bytes).await;
        world.create_index("i", "s0", &["k"]).await;
        world.create("d", "SELECT k, count(*) AS n FROM s0 WHERE k <> 7 GROUP BY k").await;
        world.wait().await;
        world.truncate("s0");
        for n in 0..20 {
            world.push("s0", (n, 9));
        }
        for (name, query) in readers {
            world.create(name, query).await;
            assert!(uses(&world, name).await, "{name}");
        }
        // For the batch answer.
        world.bring_back("s0");
        world.check("at first").await;
        for n in 0..60 {
            world.push("s0", (n, n));
        }
        world.check("changed").await;
        world.crash(3).await;
        world.push("s0", (7, 1));
        world.push("s0", (8, 1));
        world.check("in the end").await;
        world.stop().await;
    }
}

/// The index is written to disk, again and again, while a build looks up in it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_leaves_memory_while_builds_read_it() {
    let all = async {
        let mut world = world_of(2_000, |w| (w.options.hot_bytes, w.options.epoch_bytes) = (0, 1 << 20)).await;
        world.read_more_at_once(20_000);
        world.create_index("i", "s0", &["k"]).await;
        for n in 0..100_000 {
            world.push("s1", (n % 40_000, n % 9));
        }
        world.wait().await;
        let engine = world.engine().clone();
        let rows = world.rows_to_push("s0");
        let more = tokio::task::spawn_blocking(move || {
            for n in 0..200_000 {
                rows((n, n % 5));
                if n % 20_000 == 0 {
                    engine.wake();
                    std::thread::sleep(std::time::Duration::from_millis(20));
                }
            }
            engine.wake();
        });
        for name in ["r0", "r1", "r2"] {
            world.create(name, "SELECT b.v, count(*) AS n FROM s1 a JOIN s0 b ON a.k = b.k GROUP BY b.v").await;
        }
        more.await.unwrap();
        world.check("in the end").await;
        assert!(world.status("i").disk_bytes > 0);
        world.stop().await;
    };
    tokio::time::timeout(std::time::Duration::from_secs(300), all).await.expect("the engine stands still");
}

/// A view that could not read what the index has on disk stops; nobody takes what it did not find for all that there is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_could_not_be_read_is_not_taken_for_absent() {
    let mut world = world_of(6_000, |w| w.options.hot_bytes = 0).await;
    world.create_index("i", "s0", &["k"]).await;
    // Each looks the same rows up.
    let readers = ["r0", "r1", "r2", "r3", "r4", "r5"];
    for name in readers {
        world.create(name, INNER).await;
    }
    world.check("at first").await;
    world.checkpoint().await;
    world.checkpoint().await;
    world.halt().await;
    let files = world.run_files().into_iter().filter(|name| name.contains(&id("i").to_string()));
    let files: Vec<String> = files.collect();
    assert!(!files.is_empty());
    let damage = |world: &World| {
        let there = world.run_files();
        files.iter().filter(|name| there.contains(name)).for_each(|name| world.damage(name, 20));
    };
    damage(&world);
    // More than is read whole at a start, and nothing leaves memory: what one reader could not read the next finds as it left it.
    (world.options.hot_bytes, world.options.epoch_bytes) = (4 << 20, 1 << 20);
    world.start(2).await;
    for k in 0..1_000 {
        world.push("s1", (k, 1));
    }
    world.wait().await;
    let running: Vec<_> = readers.into_iter().filter(|name| world.is_running(name)).collect();
    assert!(running.is_empty(), "{running:?} did not read what is damaged");
    world.halt().await;
    damage(&world);
    world.start(2).await;
    // The end of some may not have come into a checkpoint.
    for name in readers.into_iter().filter(|name| !world.is_running(name)) {
        world.engine().resume_view(id(name)).await.unwrap();
    }
    world.check("in the end").await;
    world.push("s0", (3, 3));
    world.check("gone on").await;
    world.stop().await;
}
