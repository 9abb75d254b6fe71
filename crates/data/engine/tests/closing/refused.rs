//! What cannot close says why, and what looks as if it could not does.

use std::collections::BTreeSet;

use datafusion::prelude::SessionContext;
use fleuve_engine::{Relations, TimeColumns, lower_on_close};

use super::{Row, SECOND, Streams, TABLES, TIME, add, inputs, register};

/// `t0` and `t1` are views that emit on window close, of which some rows have NULL in the column that follows the event time.
struct Halves(bool);

impl Relations for Halves {
    fn is_append_only(&self, _: &(String, String)) -> bool {
        true
    }

    fn key(&self, _: &(String, String)) -> Option<Vec<usize>> {
        None
    }

    fn event_time(&self, table: &(String, String)) -> TimeColumns {
        match (self.0, table.1.as_str()) {
            (false, "t0") => TimeColumns { all: vec![TIME], complete: vec![] },
            // As if the integers were times, too, which no query takes them for.
            (true, "t0") => TimeColumns { all: vec![TIME, 1], complete: vec![BTreeSet::from([1, TIME])] },
            _ => TimeColumns::of_stream(Some(TIME)),
        }
    }
}

/// What is said of a query, its hint last; nothing if it can close.
fn refusal(sql: &str, relations: &dyn Relations) -> Option<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let context = SessionContext::new_with_state(fleuve_engine::session_state());
    register(&context, &vec![vec![]; TABLES]);
    super::sessions::register(&context);
    super::as_of::register(&context);
    let state = context.state();
    let plan = runtime.block_on(state.create_logical_plan(sql)).unwrap();
    let plan = state.optimize(&plan).unwrap();
    let error = lower_on_close(&plan, &state, relations, 2).err()?;
    Some(format!("{} | {}", error.message, error.hint.unwrap_or_default()))
}

const WINDOWS: &str = "(SELECT date_trunc('minute', ts) AS w, * FROM t0) a {} JOIN (SELECT date_trunc('minute', ts) AS w, * FROM t1) b ON a.w = b.w";

fn over_windows(sql: &str, kind: &str) -> String {
    sql.replace("{}", &WINDOWS.replace("{}", kind))
}

fn as_of(left: &str, op: &str, select: &str) -> String {
    let join = super::as_of::Join {
        columns: &["k", "v", "s", "ts"],
        left,
        right: "SELECT * FROM t1",
        keys: &["k"],
        time: "ts",
        op,
        outer: true,
    };
    format!("SELECT {select} FROM ({}) j", join.planned())
}

#[test]
fn a_query_that_cannot_close_says_which_part_of_it_does_not_keep_the_time() {
    let late_left = "SELECT b.k, b.v, b.s, b.ts FROM t0 a LEFT JOIN t1 b ON a.ts = b.ts";
    let queries = [
        (
            "SELECT ts, v, lag(v) OVER (PARTITION BY k ORDER BY ts, v) FROM t0".to_string(),
            "a stream: lag(t0.v) OVER (PARTITION BY t0.k ORDER BY t0.ts",
        ),
        (
            "SELECT ts, sum(v) OVER (ORDER BY ts RANGE BETWEEN INTERVAL '1 minute' PRECEDING AND CURRENT ROW) FROM t0".into(),
            "CURRENT ROW) keeps the event time only as a column in PARTITION BY",
        ),
        (
            "WITH RECURSIVE r AS (SELECT ts, v FROM t0 UNION SELECT ts, v + 1 FROM r WHERE v < 3) SELECT ts, v FROM r".into(),
            "WITH RECURSIVE does not keep the event time",
        ),
        (
            "SELECT ts, v FROM (SELECT ts, v, row_number() OVER (PARTITION BY k ORDER BY ts) AS n FROM t0) q WHERE n = 1".into(),
            "the first rows of each partition keep the event time only as a column in PARTITION BY",
        ),
        ("SELECT ts, v FROM t0 ORDER BY ts LIMIT 3".into(), "LIMIT does not keep the event time"),
        ("SELECT DISTINCT ON (k) k, ts FROM t0 ORDER BY k, ts".into(), "DISTINCT ON t0.k leaves out the event time"),
        ("SELECT k, max(ts) FROM t0 GROUP BY k".into(), "GROUP BY or DISTINCT ON t0.k leaves out the event time"),
        ("SELECT max(ts) FROM t0".into(), "an aggregate over all rows does not keep the event time"),
        (
            "SELECT m, k, count(*) FROM (SELECT date_trunc('minute', ts) AS m, k FROM t0) q GROUP BY ROLLUP (m, k)".into(),
            "a grouping set leaves out the event time, and its rows belong to no window",
        ),
        (
            "SELECT ts, v FROM t0 UNION ALL SELECT NULL, v FROM t1".into(),
            "UNION keeps the event time only in a column where each side has it",
        ),
        ("SELECT a.ts, b.v FROM t0 a JOIN t1 b ON a.k = b.k".into(), "only where it is equal on both sides or within an interval"),
        ("SELECT ts, (SELECT max(v) FROM t1) FROM t0".into(), "a join, or a subquery, keeps the event time only where"),
        (
            "SELECT (SELECT max(b.ts) FROM t1 b WHERE b.k = a.k) AS last FROM t0 a".into(),
            "GROUP BY or DISTINCT ON b.k leaves out the event time",
        ),
        ("SELECT a.ts, b.v FROM t0 a LEFT JOIN t1 b ON a.k = b.k AND b.ts >= a.ts".into(), "a row of the LEFT JOIN without a partner is never final"),
        (
            "SELECT b.ts, a.v FROM t0 a LEFT JOIN t1 b ON a.k = b.k AND b.ts >= a.ts".into(),
            "a row of the LEFT JOIN without a partner is never final, as the condition bounds the time of one side alone",
        ),
        (
            over_windows("SELECT b.w, count(*) FROM {} GROUP BY b.w", "LEFT"),
            "w can be NULL in rows whose event time is in a.w | take a.w in its place, also in GROUP BY, DISTINCT",
        ),
        (
            over_windows("SELECT a.w, count(*) FROM {} GROUP BY a.w", "FULL"),
            "w can be NULL in rows whose event time is in a.w or b.w | take coalesce(a.w, b.w) in its place",
        ),
        (
            over_windows("SELECT DISTINCT b.w, a.v FROM {}", "LEFT"),
            "w can be NULL in rows whose event time is in a.w | take a.w",
        ),
        (
            over_windows("SELECT b.w, rank() OVER (PARTITION BY b.w ORDER BY a.v) FROM {}", "LEFT"),
            "w can be NULL in rows whose event time is in a.w | take a.w",
        ),
        (
            over_windows("SELECT b.w, a.v FROM {} UNION ALL SELECT ts, v FROM t0", "LEFT"),
            "w can be NULL in rows whose event time is in a.w | take a.w",
        ),
        (
            format!("{} LEFT JOIN t1 c ON b.w = c.ts", over_windows("SELECT b.w, c.ts FROM {}", "LEFT")),
            "w can be NULL in rows whose event time is in a.w | take a.w",
        ),
        (
            format!("SELECT fleuve_session_end(ts, 5000000) OVER (PARTITION BY k ORDER BY ts) AS e, v FROM ({late_left}) q"),
            "ts can be NULL in rows whose event time is in a.ts | take a.ts",
        ),
        (as_of(late_left, ">=", "ts, rv"), "t can be NULL in rows whose event time is in a.ts | take a.ts"),
        (as_of("SELECT * FROM t0", ">=", "v, rts"), "no column of the answer follows the event time"),
        (as_of("SELECT * FROM t0", "<=", "ts, rv"), "an as-of join keeps the event time of its left side alone, with >= or >"),
        ("SELECT v FROM t0".into(), "no column of the answer follows the event time of a stream | put window_start"),
        ("SELECT nullif(ts, TIMESTAMP '2020-01-01') FROM t0".into(), "a select list leaves out t0.ts"),
    ];
    let wrong = queries.into_iter().filter_map(|(query, reason)| {
        let said = refusal(&query, &Streams);
        let is_said = said.as_ref().is_some_and(|said| said.contains(reason));
        (!is_said).then(|| format!("{query}\n{said:?}\nin place of {reason}"))
    });
    let wrong: Vec<String> = wrong.collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn a_view_over_a_view_whose_rows_do_not_all_show_their_time_is_refused() {
    let said = refusal("SELECT ts, v FROM t0", &Halves(false)).unwrap();
    assert!(said.contains("ts of t0 can be NULL in rows that have an event time | read all columns of t0"), "{said}");
    let inner = "SELECT a.ts, a.v FROM t0 a JOIN t1 b ON a.ts = b.ts";
    assert_eq!(refusal(inner, &Halves(false)), None, "a row without a time has no partner");
    let said = refusal("SELECT ts FROM t0", &Halves(true)).unwrap();
    assert!(said.contains("ts of t0 can be NULL"), "{said}");
}

/// Rows at these seconds, of one key.
fn at(seconds: &[i64]) -> Vec<Row> {
    seconds.iter().map(|s| (Some(1), *s, "", Some(s * SECOND))).collect()
}

#[test]
fn rows_are_shown_though_the_answer_leaves_them_without_their_time() {
    let near = "t0 a {} JOIN t1 b ON b.ts BETWEEN a.ts - INTERVAL '2 seconds' AND a.ts";
    let near = |select: &str, kind: &str| format!("SELECT {select} FROM {}", near.replace("{}", kind));
    let queries = [
        (over_windows("SELECT b.w, a.v FROM {}", "LEFT"), 4),
        (over_windows("SELECT a.w, b.v FROM {}", "RIGHT"), 3),
        (over_windows("SELECT a.w, b.v FROM {}", "FULL"), 5),
        (over_windows("SELECT b.w, a.v FROM {} WHERE b.w IS NULL", "FULL"), 2),
        (over_windows("SELECT coalesce(a.w, b.w), b.v FROM {}", "FULL"), 5),
        (over_windows("SELECT a.w, b.w FROM {}", "FULL"), 5),
        (near("b.ts, a.v", "LEFT"), 3),
        (near("a.ts, b.v", "RIGHT"), 3),
        (near("a.ts, b.v", "FULL"), 5),
        ("SELECT CASE WHEN v > 70 THEN ts END, v FROM t0".to_string(), 3),
        ("SELECT CASE WHEN v > 70 THEN ts ELSE NULL END FROM (SELECT DISTINCT ts, v FROM t0) q WHERE v < 80".into(), 2),
        (
            "SELECT CASE WHEN v > 70 THEN ts ELSE m END FROM (SELECT DISTINCT ts, date_trunc('minute', ts) AS m, v FROM t0) q"
                .into(),
            3,
        ),
        (
            "SELECT CASE WHEN v > 70 THEN m END FROM (SELECT date_trunc('minute', ts) AS m, v FROM t0 WHERE v < 80) q".into(),
            2,
        ),
        (
            "SELECT CASE WHEN v > 70 THEN m ELSE ts END FROM (SELECT date_trunc('minute', ts) AS m, ts, v FROM t0) q".into(),
            3,
        ),
        ("SELECT max(ts), k FROM t0 GROUP BY ts, k".into(), 3),
        (
            "SELECT DISTINCT ON (w, k) k, v, w FROM (SELECT date_trunc('minute', ts) AS w, k, v FROM t1) q ORDER BY w, k, v"
                .into(),
            2,
        ),
    ];
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let context = SessionContext::new_with_state(fleuve_engine::session_state());
    register(&context, &vec![vec![]; TABLES]);
    let state = context.state();
    for (query, shown) in queries {
        let plan = runtime.block_on(state.create_logical_plan(&query)).unwrap();
        let plan = state.optimize(&plan).unwrap();
        let mut circuit = lower_on_close(&plan, &state, &Streams, 2).unwrap_or_else(|e| panic!("{query}\n{e}"));
        let mut answer = std::collections::BTreeMap::new();
        // Of the second minute both have rows.
        let rows = [at(&[10, 70, 130]), at(&[69, 75, 250])];
        let (deltas, marks) = inputs(&circuit, &rows, &[Some(0); TABLES]);
        add(&mut answer, &circuit.step_at(&deltas, &marks).unwrap());
        assert!(answer.is_empty(), "{query}: nothing is final yet");
        let (deltas, marks) = inputs(&circuit, &[vec![], vec![]], &[Some(1_000 * SECOND); TABLES]);
        let out = circuit.step_at(&deltas, &marks).unwrap();
        assert!(out.is_append() && circuit.is_append_only(), "{query}");
        add(&mut answer, &out);
        let rows: i64 = answer.values().sum();
        assert_eq!(rows, shown, "{query}\n{answer:?}\n{}", circuit.explain(true).join("\n"));
        let lines = circuit.explain(true);
        let holds = |line: &String| line.contains(", state ") && !line.contains(", state 0 rows");
        assert!(!lines.iter().any(holds), "{query}: rows stay for ever\n{}", lines.join("\n"));
    }
}
