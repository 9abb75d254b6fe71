//! Replaced views that keep state: what stays the same is not read again, whatever stands above it, and the answer is that of the new
//! query, then and later, through crashes.

use fleuve_types::Keeps;

use crate::world::{Random, World, for_seeds};

/// Relations whose state can be kept: columns `k`, `a`, `b`.
const COMMON: [&str; 9] = [
    "SELECT k, count(*) AS a, sum(v) AS b FROM s0 GROUP BY k",
    "SELECT k, min(v) AS a, max(v) AS b FROM s0 GROUP BY k",
    "SELECT DISTINCT k, v AS a, v + k AS b FROM s0",
    "SELECT k, count(DISTINCT v) AS a, max(a) AS b FROM (SELECT k, v, count(*) AS a FROM s0 GROUP BY k, v) GROUP BY k",
    "SELECT g.k, g.a, h.b FROM (SELECT k, count(*) AS a FROM s0 GROUP BY k) g
       JOIN (SELECT k, max(v) AS b FROM s1 GROUP BY k) h ON g.k = h.k",
    "SELECT x.k, x.v AS a, y.v AS b FROM s0 x JOIN s1 y ON x.k = y.k",
    "SELECT k, v AS a, CAST(r AS BIGINT) AS b FROM (SELECT k, v, row_number() OVER (PARTITION BY k ORDER BY v DESC) AS r FROM s0)
       WHERE r <= 2",
    "SELECT k, a, b FROM (SELECT k, count(*) AS a, max(v) AS b FROM s0 GROUP BY k) ORDER BY b DESC, a, k LIMIT 4",
    "SELECT k, a, b FROM (SELECT k, v AS a, count(*) AS b FROM s0 GROUP BY k, v) WHERE k IN (SELECT k FROM s1 GROUP BY k HAVING count(*) > 1)",
];

/// Queries over a relation, each of which reads all of its columns. The first ones have its columns.
const OVER: [&str; 11] = [
    "SELECT k, a, b FROM (Q) q",
    "SELECT k, a, b FROM (Q) q WHERE a > 1",
    "SELECT k, b AS a, a AS b FROM (Q) q WHERE b <> 2",
    "SELECT k, a, b FROM (Q) q ORDER BY b, a DESC, k LIMIT 3",
    "SELECT k, a, b FROM (Q) q UNION ALL SELECT k, b, a FROM (Q) r WHERE a > 1",
    "SELECT max(k) AS k, a, sum(b) AS b FROM (Q) q GROUP BY a",
    "SELECT k, a, b, a + 2 * b AS c FROM (Q) q",
    "SELECT q.k, q.a, q.b, r.a AS c FROM (Q) q LEFT JOIN (Q) r ON q.a = r.b",
    "SELECT k, a, b, rank() OVER (ORDER BY a, k) AS c FROM (Q) q",
    "SELECT count(*) AS n, sum(a) AS a, sum(b) AS b, max(k) AS k FROM (Q) q",
    "SELECT q.k, q.a, q.b, x.v FROM (Q) q JOIN s1 x ON x.k = q.a",
];
const READER: &str = "SELECT a, count(*) AS n, max(k) AS m FROM v0 GROUP BY a";
/// How many of them have the relation's own columns.
const ALIKE: usize = 5;
/// The last one reads a stream besides.
const READS_MORE: usize = 10;

/// A condition on columns that are keys is moved to below what could have been kept. Where a column is not read everywhere, a rank is one of
/// a window function and not of the first rows.
fn changes_below(over: usize, common: usize) -> bool {
    ([1, 2, 4].contains(&over) && [2, 5, 8].contains(&common)) || (over, common) == (7, 6)
}

fn query(over: usize, common: usize) -> &'static str {
    Box::leak(OVER[over].replace('Q', COMMON[common]).into_boxed_str())
}

async fn check(world: &World, names: &[&str], what: &str) {
    world.wait().await;
    for name in names {
        assert!(world.is_running(name), "{what}: {name}");
        assert_eq!(world.view(name), world.batch(name).await, "{what}: {name}");
    }
}

async fn case(seed: u64) {
    let mut random = Random::new(seed);
    let mut world = World::new(&mut random);
    world.options.hot_bytes = if random.below(2) == 0 { 0 } else { usize::MAX };
    world.options.part_rows = [1, 3, 65_536][random.below(3)];
    world.start(1 + random.below(3)).await;
    let common = random.below(COMMON.len());
    // With a view that reads it, and a sink, it has to keep its columns.
    let is_read = random.below(2) == 0;
    let most = if is_read { ALIKE } else { OVER.len() };
    let (before, after) = (random.below(most), random.below(most));
    let is_kept = ![before, after].iter().any(|over| *over == READS_MORE || changes_below(*over, common));
    let (before, after) = (query(before, common), query(after, common));
    let what = format!("seed {seed}: {before}\n{after}");
    world.create("v0", before).await;
    let mut names = vec!["v0"];
    if is_read {
        world.create("v1", READER).await;
        world.add_sink("v0").await;
        names.push("v1");
    }
    for _ in 0..random.below(4) {
        world.append(&mut random);
        match random.below(4) {
            0 => world.checkpoint().await,
            1 => world.crash(1 + random.below(3)).await,
            _ => world.wait().await,
        }
    }
    world.wait().await;
    world.take_reads("s0");
    world.create("v0", after).await;
    let read = world.take_reads("s0");
    assert!(read == 0 || !is_kept, "{what}");
    if is_read {
        // As the server does it: who reads a replaced view is made anew.
        world.create("v1", READER).await;
        // A crash before that is the server's to mend: see `replacing`.
        world.checkpoint().await;
    }
    check(&world, &names, &what).await;
    for _ in 0..random.below(4) {
        world.append(&mut random);
        match random.below(4) {
            0 => world.checkpoint().await,
            1 => world.crash(1 + random.below(3)).await,
            _ => {}
        }
    }
    check(&world, &names, &what).await;
    if is_read {
        assert_eq!(world.sunk(), world.view("v0"), "{what}: the sink");
    }
    world.stop().await;
}

#[test]
fn what_is_kept_is_not_read_again_and_gives_the_new_answer() {
    for_seeds("kept state", 100, case);
}

/// Rows come while the kept state is told, a group at a time, and while a view that reads the replaced one is replaced, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_view_goes_on_while_its_kept_state_is_told() {
    for seed in 0..10 {
        let mut random = Random::new(seed + 500);
        let mut world = World::empty();
        world.options.hot_bytes = if seed % 2 == 0 { 0 } else { usize::MAX };
        world.options.part_rows = 1;
        world.start(2).await;
        world.create("v0", "SELECT v, count(*) AS n, sum(k) AS s FROM s0 GROUP BY v").await;
        for v in 0..300 {
            world.push("s0", (v % 7, v));
        }
        world.wait().await;
        let engine = world.engine().clone();
        let more = tokio::spawn({
            let rows = world.rows_to_push("s0");
            async move {
                for n in 0..200 {
                    rows((n % 5, n * 7 % 310));
                    engine.wake();
                    tokio::time::sleep(std::time::Duration::from_micros(200)).await;
                }
            }
        });
        world.create("v0", query_of(&mut random)).await;
        more.await.unwrap();
        check(&world, &["v0"], &format!("seed {seed}")).await;
        world.crash(1 + random.below(3)).await;
        check(&world, &["v0"], &format!("seed {seed}")).await;
        world.stop().await;
    }
}

fn query_of(random: &mut Random) -> &'static str {
    [
        "SELECT v, count(*) AS n, sum(k) AS s FROM s0 GROUP BY v HAVING sum(k) > 3",
        "SELECT n, count(*) AS c, max(v) AS v, sum(s) AS s FROM (SELECT v, count(*) AS n, sum(k) AS s FROM s0 GROUP BY v) GROUP BY n",
        "SELECT v, n, s FROM (SELECT v, count(*) AS n, sum(k) AS s FROM s0 GROUP BY v) ORDER BY n DESC, s, v LIMIT 20",
    ][random.below(3)]
}

/// An expression of the new query fails for what is there: the old view goes on, with its state, and can be replaced again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replacement_that_fails_leaves_the_view_as_it_was() {
    for hot_bytes in [0, usize::MAX] {
        let mut random = Random::new(9);
        let mut world = World::empty();
        world.options.hot_bytes = hot_bytes;
        world.start(2).await;
        world.create("v0", COMMON[0]).await;
        for k in 0..6 {
            world.push("s0", (k, k));
        }
        world.wait().await;
        let failing = "SELECT k, count(*) AS a, sum(v) AS b, 12 / (sum(v) - 3) AS c FROM s0 GROUP BY k";
        let error = world.try_create("v0", failing).await.unwrap_err();
        assert!(error.to_string().contains("division by zero"), "{error}");
        world.append(&mut random);
        check(&world, &["v0"], "after the failure").await;
        world.checkpoint().await;
        world.crash(1).await;
        world.append(&mut random);
        check(&world, &["v0"], "after a crash").await;
        world.take_reads("s0");
        world.create("v0", query(1, 0)).await;
        assert_eq!(world.take_reads("s0"), 0);
        world.append(&mut random);
        check(&world, &["v0"], "replaced again").await;
        world.stop().await;
    }
}

/// The state of a view does not follow from the difference when one that it reads, whose rows only came, loses some.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn state_over_a_view_that_lost_rows_is_not_kept() {
    let reader = "SELECT k, max(v) AS m, count(*) AS n FROM v0 GROUP BY k";
    let mut random = Random::new(4);
    for dies in [false, true] {
        let mut world = World::new(&mut random);
        world.start(2).await;
        world.create("v0", "SELECT k, v FROM s0").await;
        world.create("v1", reader).await;
        for _ in 0..3 {
            world.append(&mut random);
        }
        world.wait().await;
        world.create("v0", "SELECT k, v FROM s0 WHERE v <> 3").await;
        if dies {
            world.checkpoint().await;
            world.crash(1).await;
        }
        // As the server does it: who reads a replaced view is made anew.
        world.create("v1", reader).await;
        check(&world, &["v0", "v1"], &format!("dies: {dies}")).await;
        world.append(&mut random);
        check(&world, &["v0", "v1"], &format!("dies: {dies}")).await;
        world.stop().await;
    }
}

/// A query that comes to the same circuit is not built at all, and its state is there after a restart.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_circuit_goes_on() {
    let mut random = Random::new(5);
    let mut world = World::new(&mut random);
    world.start(2).await;
    world.create("v0", COMMON[0]).await;
    world.create("v1", READER).await;
    world.append(&mut random);
    world.wait().await;
    let before = world.status("v1").rows_out;
    world.create("v1", READER).await;
    assert_eq!(world.status("v1").rows_out, before);
    world.append(&mut random);
    check(&world, &["v0", "v1"], "the same").await;
    world.checkpoint().await;
    assert_eq!(world.saved_version("v1"), Some(2));
    world.take_reads("s0");
    world.crash(1).await;
    check(&world, &["v0", "v1"], "after a crash").await;
    assert_eq!(world.take_reads("s0"), 0);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn explain_says_what_is_kept() {
    let mut random = Random::new(6);
    let mut world = World::new(&mut random);
    world.start(2).await;
    world.create("v0", COMMON[0]).await;
    world.append(&mut random);
    world.wait().await;
    let groups = world.view("v0").len() as u64;
    let of = async |query| world.explain_replacement("v0", query).await;
    let kept = of(query(1, 0)).await;
    let Keeps::Some(state) = kept.keeps else { panic!("{kept:?}") };
    assert!(state.state_bytes > 0, "{state:?}");
    assert_eq!((state.rows, state.state_rows), (groups, groups));
    assert!(kept.circuit.iter().any(|l| l.contains("Aggregate") && l.contains(&format!("kept: {groups} rows"))));
    assert_eq!(of(COMMON[0]).await.keeps, Keeps::All);
    let other = of("SELECT k, count(*) AS a, min(v) AS b FROM s0 GROUP BY k").await.keeps;
    assert!(matches!(&other, Keeps::None(why) if why.contains("public.s0")), "{other:?}");
    assert_eq!(world.view("v0").len() as u64, groups);
    world.stop().await;
}
