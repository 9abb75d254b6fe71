//! A year of events: state of closed windows is dropped.

use datafusion::prelude::SessionContext;
use fleuve_engine::{MemoryFiles, lower_on_close};

use std::sync::Arc;

use super::{Row, Streams, TABLES, inputs, register};

const HOUR: i64 = 3_600 * 1_000_000;

/// Queries over windows of a day, one for each operator that keeps state.
const QUERIES: [(&str, &str); 16] = [
    (
        "aggregate",
        "SELECT date_trunc('day', ts) d, k, count(*), sum(v), min(s), max(v), count(DISTINCT s) FROM t0 GROUP BY 1, k",
    ),
    ("aggregate of distinct values", "SELECT date_trunc('day', ts) d, sum(DISTINCT v) FROM t0 GROUP BY 1"),
    ("aggregate of an aggregate", "SELECT d, max(n) FROM (SELECT date_trunc('day', ts) d, k, count(*) n FROM t0 GROUP BY 1, k) GROUP BY d"),
    ("distinct", "SELECT DISTINCT date_trunc('day', ts) d, k, s FROM t0"),
    (
        "join",
        "SELECT a.d, a.v, b.s FROM (SELECT date_trunc('day', ts) d, * FROM t0) a JOIN (SELECT date_trunc('day', ts) d, * FROM t1) b
         ON a.d = b.d AND a.k = b.k WHERE a.v = b.v",
    ),
    (
        "outer join with a condition",
        "SELECT a.d, a.v, b.s FROM (SELECT date_trunc('day', ts) d, * FROM t0) a LEFT JOIN (SELECT date_trunc('day', ts) d, * FROM t1) b
         ON a.d = b.d AND a.k = b.k AND a.v < b.v",
    ),
    (
        "outer join that shows the time of the other side",
        "SELECT b.d, a.v, b.s FROM (SELECT date_trunc('day', ts) d, * FROM t0) a LEFT JOIN (SELECT date_trunc('day', ts) d, * FROM t1) b
         ON a.d = b.d AND a.k = b.k AND a.v < b.v",
    ),
    ("first of each", "SELECT DISTINCT ON (d, s) d, s, v FROM (SELECT date_trunc('day', ts) d, s, v FROM t0) ORDER BY d, s, v"),
    ("window function", "SELECT d, rank() OVER (PARTITION BY d ORDER BY v) FROM (SELECT date_trunc('day', ts) d, v FROM t0)"),
    (
        "top-n",
        "SELECT d, v FROM (SELECT d, v, rank() OVER (PARTITION BY d, k ORDER BY v) r FROM (SELECT date_trunc('day', ts) d, k, v FROM t0))
         WHERE r <= 2",
    ),
    (
        "sessions",
        "SELECT e, g, count(*) FROM (SELECT fleuve_session_end(ts, 60000000) OVER (PARTITION BY g ORDER BY ts) AS e, g
         FROM (SELECT k % 7 AS g, ts FROM t0)) GROUP BY g, e",
    ),
    (
        "interval join",
        "SELECT a.ts, a.v, b.s FROM t0 a JOIN t1 b ON a.k = b.k AND b.ts BETWEEN a.ts - INTERVAL '1 hour' AND a.ts + INTERVAL '2 hours'",
    ),
    (
        "outer interval join",
        "SELECT a.ts, a.v, b.s FROM t0 a LEFT JOIN t1 b ON a.k = b.k AND b.ts > a.ts AND b.ts < a.ts + INTERVAL '1 day'",
    ),
    (
        "what did not follow",
        "SELECT ts, v FROM t0 a WHERE NOT EXISTS (SELECT 1 FROM t1 b WHERE a.k + 1 = b.k AND b.ts BETWEEN a.ts AND a.ts + INTERVAL '5 minutes')",
    ),
    ("as-of join", "AS OF"),
    ("rows as they are", "SELECT ts, v FROM t0 WHERE v > 2"),
];

/// Steps of a day.
const STEPS: i64 = 4;
const ROWS: i64 = 60;

/// The rows of a quarter of a day; values that never come again, so that nothing is kept small by being equal.
fn quarter(number: i64) -> Vec<Row> {
    let row = |i: i64| {
        let time = number * 24 / STEPS * HOUR + (i * 7 % ROWS) * (24 / STEPS * HOUR / ROWS);
        (Some((number * ROWS + i) as i32), number * ROWS + i, if i % 2 == 0 { "even" } else { "odd" }, Some(time))
    };
    (0..ROWS).map(row).collect()
}

/// What byte sets hold back before they are written anew, and the like.
const SLACK_BYTES: usize = 1 << 20;
/// What runs hold that were not merged yet.
const SLACK_ON_DISK: u64 = 256 << 10;

#[test]
fn a_year_takes_no_more_state_than_two_weeks() {
    run(52, false);
}

/// State that leaves memory each night is dropped, too, where it lies.
#[test]
fn twenty_weeks_take_no_more_on_disk_than_two() {
    run(20, true);
}

fn run(weeks: i64, spills: bool) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let context = SessionContext::new_with_state(fleuve_engine::session_state());
    register(&context, &vec![vec![]; TABLES]);
    super::sessions::register(&context);
    super::as_of::register(&context);
    let state = context.state();
    let as_of = super::as_of::Join {
        columns: &["k", "v", "s", "ts"],
        left: "SELECT * FROM t0",
        right: "SELECT * FROM t1",
        keys: &["s"],
        time: "ts",
        op: ">",
        outer: true,
    };
    let as_of = format!("SELECT ts, v, rv FROM ({}) j", as_of.planned());
    for (what, query) in QUERIES {
        let query = if query == "AS OF" { &as_of } else { query };
        let plan = runtime.block_on(state.create_logical_plan(query)).unwrap();
        let plan = state.optimize(&plan).unwrap();
        let mut circuit = lower_on_close(&plan, &state, &Streams, 2).unwrap();
        let files = MemoryFiles::default();
        if spills {
            circuit.page_to(Arc::new(files.clone()), "view").unwrap();
        }
        let (mut rows_out, mut after_two_weeks, mut disk_after_two_weeks) = (0, 0, 0);
        for week in 1..=weeks {
            let mut most = 0;
            for n in (week - 1) * 7 * STEPS..week * 7 * STEPS {
                let rows = vec![quarter(n); TABLES];
                let watermark = Some((n * 24 / STEPS - 1) * HOUR);
                let (deltas, marks) = inputs(&circuit, &rows, &[watermark; TABLES]);
                rows_out += circuit.step_at(&deltas, &marks).unwrap().len();
                most = most.max(circuit.state_bytes());
                // A checkpoint, as the engine makes them.
                circuit.checkpoint(false).unwrap();
                if spills && n % STEPS == 0 {
                    circuit.evict_all().unwrap();
                }
            }
            if week == 2 {
                (after_two_weeks, disk_after_two_weeks) = (most, circuit.disk_bytes());
            }
            // Merges have a thread of their own.
            for _ in 0..5_000 {
                if week <= 2 || circuit.disk_bytes() <= disk_after_two_weeks + SLACK_ON_DISK {
                    break;
                }
                std::thread::sleep(std::time::Duration::from_millis(2));
                circuit.evict_all().unwrap();
            }
            let disk = circuit.disk_bytes();
            assert!(
                week <= 2 || disk <= disk_after_two_weeks + SLACK_ON_DISK,
                "{what}: {disk_after_two_weeks} bytes on disk in week 2, {disk} in week {week}"
            );
            assert!(
                week <= 2 || most <= after_two_weeks + after_two_weeks / 4 + SLACK_BYTES,
                "{what}: {after_two_weeks} bytes at most in week 2, {most} in week {week}\n{}",
                circuit.explain(true).join("\n")
            );
        }
        assert!(!spills || disk_after_two_weeks > 0, "{what}: nothing left memory");
        println!(
            "{what}: {after_two_weeks} bytes in week 2, {} in the end; on disk {disk_after_two_weeks} and {}",
            circuit.state_bytes(),
            circuit.disk_bytes()
        );
        assert!(rows_out >= weeks as usize * 7 - 1, "{what}: {rows_out} rows in {weeks} weeks");
    }
}
