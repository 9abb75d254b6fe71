//! Queries whose circuits compute changes from changes, with no part of them run again by the batch engine.

use arrow::array::{ArrayRef, Int32Array, Int64Array, RecordBatch, TimestampMicrosecondArray};
use datafusion::prelude::SessionContext;
use fleuve_engine::{Circuit, lower};
use fleuve_types::Delta;

use super::tables::{self, TABLES, Table};
use super::{Growth, as_of, hops, nearest, sessions};

/// The circuit of a query over tables whose rows come and go, or only come.
fn circuit(sql: &str, append_only: bool) -> Circuit {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let context = SessionContext::new_with_state(fleuve_engine::session_state());
    sessions::register(&context);
    as_of::register(&context);
    hops::register(&context);
    tables::register(&context, &std::array::from_fn::<_, TABLES, _>(|_| Table::default()));
    let state = context.state();
    let plan = runtime.block_on(state.create_logical_plan(sql)).unwrap();
    lower(&state.optimize(&plan).unwrap(), &state, &Growth([append_only; TABLES]), 2).unwrap()
}

#[test]
fn nothing_of_these_is_run_again() {
    let aggregates = [
        "array_agg(v)",
        "array_agg(v ORDER BY ts DESC NULLS LAST, k) FILTER (WHERE v > 1)",
        "array_agg(DISTINCT s ORDER BY s)",
        "string_agg(s, ', ')",
        "string_agg(DISTINCT s, ', ' ORDER BY s DESC)",
        "first_value(v ORDER BY ts) FILTER (WHERE s <> 'a')",
        "last_value(v ORDER BY ts, k) IGNORE NULLS",
        "nth_value(v, 2 ORDER BY ts)",
        "median(v), median(DISTINCT d)",
        "percentile_cont(0.9) WITHIN GROUP (ORDER BY v DESC)",
        "percentile_disc(0.9) WITHIN GROUP (ORDER BY s DESC)",
        "bit_and(v), bit_or(k), bit_xor(DISTINCT v)",
        "sum(DISTINCT v), avg(DISTINCT d) FILTER (WHERE b), count(DISTINCT s), min(DISTINCT v)",
    ];
    let mut queries: Vec<String> = vec![];
    for call in aggregates {
        queries.push(format!("SELECT k, {call} FROM t0 GROUP BY k"));
        queries.push(format!("SELECT {call} FROM t0"));
        queries.push(format!("SELECT k, s, grouping(s), {call} FROM t0 GROUP BY ROLLUP (k, s)"));
    }
    queries.extend(
        [
            "SELECT k, s, count(*) FROM t0 GROUP BY CUBE (k, s)",
            "SELECT k, s, grouping(k, s), max(v) FROM t0 GROUP BY GROUPING SETS ((k), (s), (k), ())",
            "SELECT * FROM t0 WHERE v NOT IN (SELECT v FROM t1)",
            "SELECT w, count(*) FROM (SELECT fleuve_session_start(ts, 5) OVER (PARTITION BY k, s ORDER BY ts) AS w FROM t0) GROUP BY w",
            "SELECT *, fleuve_session_start(ts, 5) OVER (ORDER BY ts), fleuve_session_end(ts, 5) OVER (ORDER BY ts) FROM t0",
        ]
        .map(String::from),
    );
    for op in [">=", ">", "<=", "<"] {
        for outer in [false, true] {
            let (left, right) = ("SELECT * FROM t0", "SELECT * FROM t1");
            let columns = &nearest::COLUMNS;
            queries.push(as_of::Join { columns, left, right, keys: &["k"], time: "ts", op, outer }.planned());
        }
    }
    for sql in queries {
        for append_only in [true, false] {
            let lines = circuit(&sql, append_only).explain(false);
            let again = |line: &String| line.contains("Recompute") || line.contains("Partitioned");
            assert!(!lines.iter().any(again), "{sql}\n{}", lines.join("\n"));
        }
    }
}

/// `(k, v, ts in seconds)`
fn rows(rows: &[(i32, i64, i64)], weight: i64) -> Delta {
    let columns: [(&str, ArrayRef); 3] = [
        ("k", std::sync::Arc::new(rows.iter().map(|r| r.0).collect::<Int32Array>())),
        ("v", std::sync::Arc::new(rows.iter().map(|r| r.1).collect::<Int64Array>())),
        ("ts", std::sync::Arc::new(rows.iter().map(|r| Some(r.2 * 1_000_000)).collect::<TimestampMicrosecondArray>())),
    ];
    Delta::weighted(RecordBatch::try_from_iter(columns).unwrap(), vec![weight; rows.len()]).unwrap()
}

/// Of 100,000 rows of one key, in sessions of ten, a change touches the sessions around it.
#[test]
fn a_change_of_a_session_touches_that_session() {
    let over = "(ts, 2000000) OVER (PARTITION BY k ORDER BY ts)";
    let sql = format!("SELECT k, v, ts, fleuve_session_start{over} AS f, fleuve_session_end{over} AS t FROM t0");
    let mut circuit = circuit(&sql, false);
    let read: Vec<usize> = circuit.inputs()[0].columns.iter().map(|c| c.at).collect();
    assert_eq!(read, [0, 1, 5], "what the rows are made of");
    // Sessions of 20 s with 80 s between them.
    let all: Vec<(i32, i64, i64)> = (0..100_000).map(|i| (1, i, i / 10 * 100 + i % 10 * 2)).collect();
    assert_eq!(circuit.step(&[rows(&all, 1)]).unwrap().len(), 100_000);
    let mut change = |row: (i32, i64, i64), weight: i64| circuit.step(&[rows(&[row], weight)]).unwrap().len();
    assert_eq!(change((1, -1, 5_003), 1), 1, "in a session: only the row itself");
    assert_eq!(change((1, -2, 5_020), 1), 1 + 2 * 11, "at the end of a session: its rows too");
    assert_eq!(change((1, -2, 5_020), -1), 1 + 2 * 11);
    assert_eq!(change((1, -3, 5_050), 1), 1, "between sessions: a session of its own");
    assert_eq!(change((1, 70_004, 700_008), -1), 1 + 2 * 9, "out of the middle: the rows of both halves");
}

/// 100,000 rows of one session: where all that is read of them is the key, they are one row.
#[test]
fn a_session_holds_what_is_read_of_it() {
    let over = "(ts, 2000000) OVER (PARTITION BY k ORDER BY ts)";
    let sql = format!("SELECT k, fleuve_session_start{over} AS f, fleuve_session_end{over} AS t FROM t0");
    let all: Vec<(i32, i64, i64)> = (0..100_000).map(|i| (1, i, i)).collect();
    let without_v = |delta: Delta| Delta { batch: delta.batch.project(&[0, 2]).unwrap(), weights: delta.weights };
    for append_only in [true, false] {
        let mut circuit = circuit(&sql, append_only);
        let mut change = |rows: Delta| circuit.step(&[without_v(rows)]).unwrap();
        let first = change(rows(&all, 1));
        assert_eq!((first.len(), first.weight(0)), (1, 100_000));
        let second = change(rows(&[(1, 0, 100_000)], 1));
        let weights: Vec<i64> = (0..second.len()).map(|i| second.weight(i)).collect();
        assert_eq!(weights, [-100_000, 100_001], "it ends later: one row goes, one comes");
        let state = circuit.explain(true).into_iter().find(|l| l.contains("Session")).unwrap();
        assert_eq!(state.contains("state 1 rows"), append_only, "{state}");
    }
}

/// Of 100,000 left rows of one key, each with a right row in a hundred, a change touches those up to the next right row.
#[test]
fn a_right_row_touches_the_left_rows_behind_it() {
    let (left, right) = ("SELECT * FROM t0", "SELECT * FROM t1");
    for (op, goes_back) in [(">=", true), ("<", false)] {
        let join = as_of::Join { columns: &["k", "v", "ts"], left, right, keys: &["k"], time: "ts", op, outer: true };
        let mut circuit = circuit(&format!("SELECT k, v, ts, rv FROM ({}) j", join.planned()), false);
        let sides: Vec<usize> = circuit.inputs().iter().map(|i| usize::from(i.table.1 == "t1")).collect();
        assert_eq!(sides.len(), 2);
        let mut change = |rows_of: [&[(i32, i64, i64)]; 2], weight: i64| {
            let inputs: Vec<Delta> = sides.iter().map(|s| rows(rows_of[*s], weight)).collect();
            circuit.step(&inputs).unwrap().len()
        };
        let all: Vec<(i32, i64, i64)> = (0..100_000).map(|i| (1, i, i * 10)).collect();
        let partners: Vec<(i32, i64, i64)> = (0..1_000).map(|i| (1, -i, i * 1_000 + 5)).collect();
        // In one go and one side after the other, it is as much work.
        assert_eq!(change([&all, &[]], 1), 100_000);
        let with_partner = if goes_back { 99_999 } else { 99_901 };
        assert_eq!(change([&[], &partners], 1), 2 * with_partner, "each once");
        assert_eq!(change([&[(1, -7, 555_555)], &[]], 1), 1);
        assert_eq!(change([&[], &[(1, 7, 500_255)]], 1), if goes_back { 2 * 75 } else { 2 * 26 - 2 });
        assert_eq!(change([&[], &[(1, 7, 500_255)]], -1), if goes_back { 2 * 75 } else { 2 * 26 - 2 });
    }
}

/// The rows of `all` as the inputs of a circuit.
fn inputs(circuit: &Circuit, all: &Delta) -> Vec<Delta> {
    let place = |at: usize| [0, 1, 5].iter().position(|p| *p == at).unwrap();
    let input = |i: &fleuve_engine::CircuitInput| {
        let columns: Vec<usize> = i.columns.iter().map(|c| place(c.at)).collect();
        Delta { batch: all.batch.project(&columns).unwrap(), weights: all.weights.clone() }
    };
    circuit.inputs().iter().map(input).collect()
}

/// A large step is spread over the cores, in shards and pieces; half of its rows have one key.
#[test]
fn much_at_once_equals_little_by_little() {
    let all: Vec<(i32, i64, i64)> =
        (0..40_000).map(|i| (if i % 2 == 0 { 0 } else { i % 997 }, i as i64, i as i64 / 3)).collect();
    let gone: Vec<(i32, i64, i64)> = all.iter().copied().filter(|r| r.1 % 3 != 0).collect();
    for sql in [
        "SELECT k, count(*) AS n, sum(v) AS s, min(v) AS m, count(DISTINCT v) AS d FROM t0 GROUP BY k",
        "SELECT v, count(*) AS n, max(ts) AS t FROM t0 GROUP BY v",
        "SELECT DISTINCT k, v % 1000 AS v FROM t0",
        "SELECT a.v, b.v AS w FROM t0 a JOIN t0 b ON a.k = b.k AND b.v < 4",
        "SELECT a.v, b.v AS w FROM t0 a LEFT JOIN t0 b ON a.v = b.v + 1",
        "SELECT k, v, row_number() OVER (PARTITION BY k ORDER BY v DESC) AS n FROM t0 WHERE v % 50 = 0",
    ] {
        let answer = |rows_at_once: usize| {
            let mut circuit = circuit(sql, false);
            let mut answer = std::collections::BTreeMap::new();
            for (part, weight) in [(&all, 1), (&gone, -1)] {
                for part in part.chunks(rows_at_once) {
                    let step = inputs(&circuit, &rows(part, weight));
                    super::add(&mut answer, &circuit.step(&step).unwrap());
                }
            }
            answer
        };
        let (much, little) = (answer(usize::MAX), answer(1_500));
        assert!(!much.is_empty() && much == little, "{sql}: {} rows and {}", much.len(), little.len());
    }
}
