//! WITH RECURSIVE over random graphs whose edges come and go: reachability, hops, hierarchies, and what else a recursive term may
//! hold. Edges are rows of the tables: from `k`, to `v`.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, Int64Array, RecordBatch};
use fleuve_engine::Circuit;
use fleuve_types::Delta;

use super::kinds;
use super::random::Random;

fn edge(random: &mut Random, alias: &str) -> (String, String) {
    let n = random.below(3);
    let to = if random.chance(70) { "v" } else { "abs(v) % 5" };
    let filter = match random.below(4) {
        0 => " WHERE b IS NOT FALSE",
        1 => " WHERE k < v",
        _ => "",
    };
    let sql = format!("(SELECT CAST(k AS BIGINT) AS a, {to} AS b, s FROM t{n}{filter}) {alias}");
    (sql, alias.to_string())
}

/// Where the recursion begins: a column `x`.
fn start(random: &mut Random) -> String {
    let n = random.below(3);
    match random.below(4) {
        0 => format!("SELECT CAST({} AS BIGINT) AS x", random.below(5)),
        1 => format!("SELECT v AS x FROM t{n} WHERE v = {}", random.below(4)),
        2 => format!("SELECT CAST(max(k) AS BIGINT) AS x FROM t{n}"),
        _ => format!("SELECT CAST(k AS BIGINT) AS x FROM t{n} WHERE k > {}", random.below(5)),
    }
}

/// What comes after `SELECT` of a query over `r`.
fn above(random: &mut Random, columns: &[&str]) -> String {
    let last = columns.last().unwrap_or(&"x");
    match random.below(5) {
        0 => format!("SELECT count(*) AS n, min({last}) AS least FROM r"),
        1 => format!("SELECT r.{last}, count(*) AS n FROM r JOIN t0 ON t0.v = r.{last} GROUP BY r.{last}"),
        2 => format!("SELECT {}, r2.v FROM r LEFT JOIN t1 r2 ON r2.k = r.{last}", columns.join(", ")),
        _ => format!("SELECT {} FROM r", columns.join(", ")),
    }
}

pub fn generate(random: &mut Random) -> String {
    let (with, columns) = match random.below(12) {
        0 | 1 => reachable(random),
        2 => pairs(random),
        3 | 4 => hops(random),
        5 | 6 => hierarchy(random),
        7 => without_those(random),
        8 => padded(random),
        9 => grouped(random),
        10 => in_each_round(random),
        _ => counting(random),
    };
    format!("WITH RECURSIVE {with} {}", above(random, &columns))
}

type Recursion = (String, Vec<&'static str>);

fn reachable(random: &mut Random) -> Recursion {
    let (edges, e) = edge(random, "e");
    let condition = random.pick::<&str>(&["", "", " WHERE r.x <> 2", " WHERE e.s IS NOT NULL"]);
    let start = start(random);
    (format!("r AS ({start} UNION SELECT {e}.b FROM r JOIN {edges} ON e.a = r.x{condition})"), vec!["x"])
}

fn pairs(random: &mut Random) -> Recursion {
    let ((edges, _), n) = (edge(random, "e"), random.below(3));
    let start = format!("SELECT CAST(k AS BIGINT) AS f, v AS x FROM t{n}");
    (format!("r AS ({start} UNION SELECT r.f, e.b FROM r JOIN {edges} ON e.a = r.x)"), vec!["f", "x"])
}

/// Shortest paths by a depth column, bounded.
fn hops(random: &mut Random) -> Recursion {
    let (edges, _) = edge(random, "e");
    let kind = random.pick::<&str>(&["UNION", "UNION ALL"]);
    let (start, depth) = (start(random), 1 + random.below(4));
    let hops = format!(
        "h AS (SELECT x, 0 AS d FROM ({start}) s {kind} SELECT e.b, h.d + 1 FROM h JOIN {edges} ON e.a = h.x WHERE h.d < {depth})"
    );
    if random.chance(50) {
        (format!("{hops}, r AS (SELECT x, min(d) AS d FROM h GROUP BY x)"), vec!["x", "d"])
    } else {
        (format!("{hops}, r AS (SELECT d, x FROM h)"), vec!["d", "x"])
    }
}

/// UNION ALL where edges only go up, so that there is an end.
fn hierarchy(random: &mut Random) -> Recursion {
    let n = random.below(3);
    let start = start(random);
    let path = if random.chance(40) { "CAST(r.p || '/' || e.v AS VARCHAR)" } else { "r.p" };
    let sql = format!(
        "r AS (SELECT CAST(x AS VARCHAR) AS p, 0 AS d, x FROM ({start}) s \
         UNION ALL SELECT {path}, r.d + 1, e.v FROM t{n} e JOIN r ON e.k = r.x AND e.v > e.k)"
    );
    (sql, vec!["p", "d", "x"])
}

fn without_those(random: &mut Random) -> Recursion {
    let ((edges, _), n, start) = (edge(random, "e"), random.below(3), start(random));
    let test = match random.below(3) {
        0 => format!("NOT EXISTS (SELECT 1 FROM t{n} q WHERE q.v = e.b)"),
        1 => format!("e.b IN (SELECT q.v FROM t{n} q)"),
        _ => format!("e.b < (SELECT max(q.v) FROM t{n} q)"),
    };
    (format!("r AS ({start} UNION SELECT e.b FROM r JOIN {edges} ON e.a = r.x WHERE {test})"), vec!["x"])
}

fn padded(random: &mut Random) -> Recursion {
    let ((edges, _), start) = (edge(random, "e"), start(random));
    let sql = format!(
        "r AS (SELECT 0 AS d, x FROM ({start}) s \
         UNION ALL SELECT r.d + 1, coalesce(e.b, r.x + 1) FROM r LEFT JOIN {edges} ON e.a = r.x WHERE r.d < 3)"
    );
    (sql, vec!["d", "x"])
}

fn grouped(random: &mut Random) -> Recursion {
    let ((edges, _), start) = (edge(random, "e"), start(random));
    let call = random.pick::<&str>(&["count(*)", "max(r.x)", "sum(e.b)", "count(DISTINCT e.s)"]);
    let sql = match random.below(2) {
        0 => format!(
            "r AS (SELECT 0 AS d, x FROM ({start}) s \
             UNION ALL SELECT r.d + 1, {call} FROM r JOIN {edges} ON e.a = r.x WHERE r.d < 3 GROUP BY r.d, e.b)"
        ),
        _ => format!(
            "r AS (SELECT 0 AS d, x FROM ({start}) s \
             UNION ALL SELECT DISTINCT r.d + 1, e.b FROM r JOIN {edges} ON e.a = r.x WHERE r.d < 4)"
        ),
    };
    (sql, vec!["d", "x"])
}

/// What does not depend on the recursion, and yet is there as often as it has rounds.
fn in_each_round(random: &mut Random) -> Recursion {
    let ((edges, _), start) = (edge(random, "e"), start(random));
    let kind = *random.pick::<&str>(&["UNION", "UNION ALL"]);
    let term = match random.below(5) {
        0 => format!("SELECT e.a FROM {edges} LEFT SEMI JOIN r ON r.x = e.b"),
        1 => format!("SELECT e.a FROM {edges} LEFT SEMI JOIN r ON r.x = e.b AND r.x > 1 AND e.a < e.b"),
        2 => format!("SELECT e.b FROM {edges} LEFT ANTI JOIN r ON r.x = e.a"),
        3 => {
            format!("SELECT coalesce(r.x, 0) + e.b FROM r RIGHT JOIN {edges} ON r.x = e.a WHERE r.x < 9 OR r.x IS NULL")
        }
        _ => format!("(SELECT r.x + 1 FROM r WHERE r.x < 6 UNION ALL SELECT e.a FROM {edges} WHERE e.a > 9)"),
    };
    // With UNION ALL the others would have no end.
    let (kind, term) = if kind == "UNION ALL" && !term.starts_with('(') { ("UNION", term) } else { (kind, term) };
    (format!("r AS ({start} {kind} {term})"), vec!["x"])
}

fn counting(random: &mut Random) -> Recursion {
    let start = start(random);
    let end = random.below(12);
    (format!("r AS ({start} UNION ALL SELECT r.x + 1 FROM r WHERE r.x < {end})"), vec!["x"])
}

/// `(k, v)`
fn rows(rows: &[(i32, i64)], weight: i64) -> Delta {
    let columns: [(&str, ArrayRef); 2] = [
        ("k", Arc::new(rows.iter().map(|r| r.0).collect::<Int32Array>())),
        ("v", Arc::new(rows.iter().map(|r| r.1).collect::<Int64Array>())),
    ];
    Delta::weighted(RecordBatch::try_from_iter(columns).unwrap(), vec![weight; rows.len()]).unwrap()
}

const REACHABLE: &str =
    "WITH RECURSIVE r AS (SELECT CAST(0 AS BIGINT) AS x UNION SELECT t.v FROM r JOIN t ON t.k = r.x) SELECT * FROM r";

/// The rows that went through the joins of a recursive term.
fn joined(circuit: &Circuit) -> u64 {
    let lines = circuit.explain(true);
    let term = lines.iter().skip_while(|l| !l.contains("each round:")).filter(|l| l.trim_start().starts_with("Join"));
    let counted = term.map(|l| l.split("rows in ").nth(1).unwrap().split(',').next().unwrap().parse::<u64>().unwrap());
    counted.sum()
}

/// Of a path of 2,000 edges, a change at its end goes through the rounds at its end.
#[test]
fn a_change_goes_through_the_rounds_that_it_changes() {
    let mut circuit = kinds::circuit(REACHABLE, false);
    let path: Vec<(i32, i64)> = (0..2_000).map(|i| (i, i64::from(i) + 1)).collect();
    assert_eq!(circuit.step(&[rows(&path, 1)]).unwrap().len(), 2_001);
    let mut change = |row: (i32, i64), weight: i64| {
        let before = joined(&circuit);
        let out = circuit.step(&[rows(&[row], weight)]).unwrap();
        (out.len(), joined(&circuit) - before)
    };
    assert_eq!(change((2_000, 2_001), 1), (1, 2), "the edge, and what it reaches");
    assert_eq!(change((2_000, 2_001), -1), (1, 2));
    assert_eq!(change((1_999, 5), 1), (0, 1), "to what is reached already");
    assert_eq!(change((1_990, 1_991), -1), (10, 11), "and all that was reached by it");
    assert_eq!(change((7_000, 7_001), 1), (0, 1), "out of reach");
}

/// A shorter way moves what is behind it into earlier rounds; the answer stays.
#[test]
fn a_shorter_way_is_no_change() {
    let mut circuit = kinds::circuit(REACHABLE, true);
    assert!(circuit.is_append_only());
    let path: Vec<(i32, i64)> = (0..50).map(|i| (i, i64::from(i) + 1)).collect();
    circuit.step(&[rows(&path, 1)]).unwrap();
    let out = circuit.step(&[rows(&[(0, 30), (50, 51)], 1)]).unwrap();
    assert_eq!((out.len(), out.weight(0)), (1, 1));
}

#[test]
fn a_recursion_without_an_end_says_so() {
    let cases = [
        (
            "WITH RECURSIVE walk AS (SELECT k AS v FROM t UNION ALL SELECT v + 1 FROM walk) SELECT * FROM walk",
            "10000 rounds",
        ),
        (
            "WITH RECURSIVE walk AS (SELECT k AS v FROM t UNION ALL SELECT a.v FROM walk a CROSS JOIN (VALUES (1), (2)) b) SELECT * FROM walk",
            "10000000 rows",
        ),
    ];
    for (sql, limit) in cases {
        let mut circuit = kinds::circuit(sql, true);
        let v = rows(&[(1, 0)], 1).batch.project(&[0]).unwrap();
        let e = circuit.step(&[Delta::insert(v)]).unwrap_err();
        assert!(e.message.starts_with(&format!("WITH RECURSIVE walk: it does not end within {limit}; ")), "{e}");
        assert!(e.message.contains("{\"v\":"), "{e}");
    }
}
