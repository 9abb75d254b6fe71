//! Views that compare with `now()`: at every epoch they equal the batch answer at that epoch's time, whatever rows come, however the
//! clock goes on, and wherever the engine crashes; and when only the clock goes on they follow it by themselves.
//!
//! `FLEUVE_ENGINE_CASES` sets the number of cases.

use std::time::Duration;

use super::world::{DELAY_S, IDLE_US, Random, World, for_seeds};

const SECOND: i64 = 1_000_000;

/// A condition on the time of a row in `ts`.
fn condition(random: &mut Random, ts: &str) -> String {
    let n = random.below(40);
    match random.below(11) {
        0 | 1 => format!("{ts} > now() - INTERVAL '{n} seconds'"),
        2 => format!("now() < {ts} + INTERVAL '{n} seconds'"),
        3 => format!("{ts} <= now()"),
        4 => format!("{ts} BETWEEN now() - INTERVAL '{n} seconds' AND now() + INTERVAL '5 seconds'"),
        5 => format!("{ts} >= date_trunc('minute', now())"),
        6 => format!("date_bin(INTERVAL '10 seconds', now()) > {ts}"),
        7 => format!("date_trunc('minute', {ts}) = date_trunc('minute', now() - INTERVAL '{n} seconds')"),
        8 => format!("NOT ({ts} >= now() - INTERVAL '{n} seconds' OR {ts} < now() - INTERVAL '1 minute')"),
        9 => format!(
            "{ts} + INTERVAL '1 month' > now() + INTERVAL '{n} seconds' AND {ts} < now() - INTERVAL '{n} seconds'"
        ),
        _ => format!("CAST({ts} AS DATE) = CAST(now() AS DATE) AND {ts} >= now() - INTERVAL '{n} seconds'"),
    }
}

fn query(random: &mut Random) -> String {
    let (c, a, b) = (condition(random, "ts"), condition(random, "a.ts"), condition(random, "b.ts"));
    match random.below(12) {
        0 | 1 => format!("SELECT k, v, ts FROM s0 WHERE {c}"),
        2 => format!("SELECT k, count(*) AS n, sum(v) AS s FROM s0 WHERE {c} AND v > 0 GROUP BY k"),
        3 => format!("SELECT a.k, a.v, b.v AS w FROM s0 a JOIN s1 b ON a.k = b.k AND {b} WHERE {a}"),
        4 => format!("SELECT a.k, a.v, b.v AS w FROM s0 a LEFT JOIN (SELECT * FROM s1 b WHERE {b}) b ON a.k = b.k AND a.v < b.v"),
        5 => format!("SELECT k, max(ts) AS m, count(*) AS n FROM s0 GROUP BY k HAVING {}", c.replace("ts", "max(ts)")),
        6 => format!("SELECT k, v, ts FROM (SELECT *, row_number() OVER (PARTITION BY k ORDER BY ts DESC, v) AS r FROM s0) WHERE r <= 2 AND {c}"),
        7 => format!("SELECT k, v FROM s0 a WHERE EXISTS (SELECT 1 FROM s1 b WHERE a.k = b.k AND {b})"),
        8 => format!("SELECT k, v FROM s0 WHERE v >= (SELECT avg(v) FROM s1 WHERE {c})"),
        9 => format!("SELECT k, ts FROM s0 WHERE {c} UNION ALL SELECT k, ts FROM s1 b WHERE {b}"),
        // The later of two times: known only when both rows are there.
        10 => "SELECT a.k, a.ts, b.ts AS bt FROM s0 a JOIN s1 b ON a.k = b.k WHERE greatest(a.ts, b.ts) > now() - INTERVAL '15 seconds'".into(),
        _ => format!("SELECT DISTINCT k FROM s0 WHERE {c}"),
    }
}

pub async fn check(world: &World, name: &str, what: &str) {
    let (_, time_us, view) = world.shown(name);
    assert_eq!(view, world.batch_at(name, time_us).await, "{what}: {name} at {time_us}");
}

/// Until a view shows what the rows come to now, by the clock.
pub async fn follow(world: &World, name: &str, what: &str) {
    let batch = world.batch_at(name, world.now_us()).await;
    for _ in 0..1_000 {
        if world.shown(name).2 == batch {
            return;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert_eq!(world.shown(name).2, batch, "{what}: {name} does not follow the clock to {}", world.now_us());
}

async fn case(seed: u64) {
    let mut random = Random::new(seed);
    let mut world = World::new(&mut random);
    let hot_bytes = |random: &mut Random| [0, 2_000, usize::MAX][random.below(3)];
    world.options.hot_bytes = hot_bytes(&mut random);
    world.start(1 + random.below(3)).await;
    world.pass(90 * SECOND);
    let leak = |text: String| -> &'static str { Box::leak(text.into_boxed_str()) };
    let over = condition(&mut random, "ts");
    let views: [(&str, &str); 5] = [
        ("v0", leak(query(&mut random))),
        ("v1", leak(query(&mut random))),
        ("v2", leak(format!("SELECT k, v, ts FROM s0 WHERE {}", condition(&mut random, "ts")))),
        ("v3", "SELECT k, count(*) AS n, max(ts) AS m FROM v2 GROUP BY k"),
        ("v4", leak(format!("SELECT k, m AS ts FROM v3 WHERE {}", over.replace("ts", "m")))),
    ];
    let what =
        |made: usize| format!("seed {seed}\n{}", views[..made].iter().map(|v| v.1).collect::<Vec<_>>().join("\n"));
    let mut made = 0;
    for _ in 0..30 {
        if random.below(10) == 0 {
            // From the next crash on.
            world.options.hot_bytes = hot_bytes(&mut random);
        }
        match random.below(12) {
            0..=3 => world.append(&mut random),
            4..=6 => world.pass(random.below(12) as i64 * SECOND),
            7 | 8 if made < views.len() => {
                world.create(views[made].0, views[made].1).await;
                made += 1;
            }
            9 => world.checkpoint().await,
            10 => world.crash(1 + random.below(3)).await,
            11 if made > 0 && !world.has_sink() => world.add_sink("v0").await,
            _ => {}
        }
        if made > 0 && random.below(2) == 0 {
            world.wait().await;
            check(&world, views[random.below(made)].0, &what(made)).await;
        }
    }
    for (name, query) in &views[made..] {
        world.create(name, query).await;
    }
    // Time alone goes on, until all is over.
    for pass in [1, 3, 7, 20, 20, 100, 3_000_000] {
        world.wait().await;
        for (name, _) in &views {
            assert!(world.is_running(name), "{}", what(5));
            check(&world, name, &what(5)).await;
            follow(&world, name, &what(5)).await;
        }
        if world.has_sink() {
            assert_eq!(world.sunk(), world.view("v0"), "{}", what(5));
        }
        world.pass(pass * SECOND);
    }
    world.stop().await;
}

#[test]
fn views_with_the_time_in_them_follow_the_clock() {
    for_seeds("now()", 25, case);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkpoint_has_the_time_of_its_answer() {
    let mut world = World::empty();
    world.start(1).await;
    world.pass(90 * SECOND);
    world.create("v0", "SELECT k, v, ts FROM s0 WHERE date_bin(INTERVAL '10 seconds', now()) > ts").await;
    for n in 0..10 {
        world.push("s0", (n, n));
        world.wait().await;
        // Too little for the view to change: no epoch is taken.
        world.pass(SECOND / 100);
        world.checkpoint().await;
        let (saved, epochs) = (world.saved().unwrap(), world.engine().epochs());
        let epoch = epochs.iter().find(|e| e.epoch == saved.epoch).unwrap();
        assert_eq!(saved.time_us, epoch.time_us);
        world.crash(1).await;
        check(&world, "v0", "after a restart").await;
    }
    world.stop().await;
}

/// Epochs are taken when a row comes or goes, and at no other time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_happens_in_between() {
    let mut world = World::empty();
    world.start(1).await;
    world.pass(100 * SECOND);
    world.create("v0", "SELECT v FROM s0 WHERE ts > now() - INTERVAL '10 seconds' AND ts <= now()").await;
    world.append_rows(0, &[(0, 1, 95), (0, 2, 100), (0, 3, 103), (0, 4, 80)]);
    world.wait().await;
    // The silent partition is passed over once.
    world.advance(IDLE_US, 103 - DELAY_S).await;
    let epoch = world.shown("v0").0;
    assert_eq!(world.status("v0").rows, 2);
    world.pass(SECOND);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(world.shown("v0").0, epoch, "no row came or went");
    world.pass(SECOND);
    follow(&world, "v0", "103 has come").await;
    assert_eq!((world.shown("v0").0, world.status("v0").rows), (epoch + 1, 3));
    world.pass(2 * SECOND);
    follow(&world, "v0", "95 has gone").await;
    assert_eq!((world.shown("v0").0, world.status("v0").rows), (epoch + 2, 2));
    // All that is left goes in one epoch, and nothing is held any more.
    world.pass(60 * SECOND);
    follow(&world, "v0", "all have gone").await;
    assert_eq!((world.shown("v0").0, world.status("v0").rows), (epoch + 3, 0));
    let lines = world.engine().explain(super::world::id("v0")).await.unwrap().join("\n");
    assert!(lines.contains("TemporalFilter: ") && lines.contains("state 0 rows"), "{lines}");
    world.stop().await;
}

#[tokio::test]
async fn what_cannot_be_followed_is_refused() {
    let mut world = World::empty();
    world.start(1).await;
    for (query, why) in [
        ("SELECT v, now() AS n FROM s0", "outside of a condition"),
        ("SELECT v FROM s0 WHERE ts > now() OR v = 1", "cannot be followed"),
        ("SELECT v FROM s0 WHERE ts <> now()", "cannot be followed"),
        ("SELECT v FROM s0 WHERE now() - ts < INTERVAL '1 hour'", "cannot be followed"),
        ("SELECT v FROM s0 WHERE ts > now() - INTERVAL '1 month'", "does not go on evenly"),
        ("SELECT a.v FROM s0 a LEFT JOIN s1 b ON a.k = b.k AND a.ts > now()", "now() in Left Join"),
    ] {
        let error = world.try_create("v0", query).await.unwrap_err();
        assert!(error.message.contains(why), "{query}: {error}");
        assert!(error.hint.as_ref().is_some_and(|h| h.contains("ts > now() - INTERVAL")), "{query}: {error}");
    }
    let error = world.try_create("c0", "SELECT ts FROM s0 WHERE ts > now()").await.unwrap_err();
    assert!(error.message.contains("emits on window close"), "{error}");
    world.stop().await;
}
