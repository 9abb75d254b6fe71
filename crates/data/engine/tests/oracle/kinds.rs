//! Which kinds of plans compute changes from changes, which a group anew, and which everything anew. The last are listed in docs/sql.md:
//! every example of that list is lowered here, and every query here that is recomputed has to be in it.

use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::datasource::MemTable;
use datafusion::prelude::SessionContext;
use fleuve_engine::{Circuit, Relations, lower};

use super::{hops, sessions, tables};

struct All {
    append_only: bool,
}

impl Relations for All {
    fn is_append_only(&self, _: &(String, String)) -> bool {
        self.append_only
    }

    fn key(&self, _: &(String, String)) -> Option<Vec<usize>> {
        None
    }
}

/// The circuit of a query over `t` and `u`.
pub fn circuit(sql: &str, append_only: bool) -> Circuit {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let context = SessionContext::new_with_state(fleuve_engine::session_state());
    sessions::register(&context);
    hops::register(&context);
    for name in ["t", "u"] {
        let rows = MemTable::try_new(tables::schema(), vec![vec![RecordBatch::new_empty(tables::schema())]]).unwrap();
        context.register_table(name, Arc::new(rows)).unwrap();
    }
    let state = context.state();
    let plan = runtime.block_on(state.create_logical_plan(sql)).unwrap_or_else(|e| panic!("{sql}\n{e}"));
    lower(&state.optimize(&plan).unwrap(), &state, &All { append_only }, 2).unwrap_or_else(|e| panic!("{sql}\n{e}"))
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    /// From changes.
    Changes,
    /// Groups that changed, anew.
    Groups,
    /// Everything anew.
    All,
}

fn kind(sql: &str, append_only: bool) -> Kind {
    let lines = circuit(sql, append_only).explain(false);
    let has = |operator: &str| lines.iter().any(|l| l.trim_start().starts_with(operator));
    match (has("Recompute"), has("Partitioned")) {
        (true, _) => Kind::All,
        (_, true) => Kind::Groups,
        _ => Kind::Changes,
    }
}

/// Queries with their kinds: over rows that only come, and over rows that go as well.
const QUERIES: [(&str, Kind, Kind); 80] = {
    use Kind::{All, Changes, Groups};
    [
        ("SELECT k + 1, upper(s) FROM t WHERE v > 2", Changes, Changes),
        ("SELECT DISTINCT k FROM t", Changes, Changes),
        ("SELECT DISTINCT ON (k) k, v FROM t ORDER BY k, ts", Changes, Changes),
        ("SELECT k FROM t UNION ALL SELECT k FROM u", Changes, Changes),
        ("SELECT k FROM t UNION SELECT k FROM u", Changes, Changes),
        ("SELECT k FROM t INTERSECT SELECT k FROM u", Changes, Changes),
        ("SELECT k FROM t EXCEPT SELECT k FROM u", Changes, Changes),
        ("VALUES (1), (2)", Changes, Changes),
        ("SELECT 1 AS one", Changes, Changes),
        ("SELECT * FROM t JOIN u ON t.k = u.k", Changes, Changes),
        ("SELECT * FROM t JOIN u ON t.k = u.k AND t.v < u.v", Changes, Changes),
        ("SELECT * FROM t LEFT JOIN u ON t.k = u.k", Changes, Changes),
        ("SELECT * FROM t RIGHT JOIN u ON t.k = u.k AND t.v <> u.v", Changes, Changes),
        ("SELECT * FROM t FULL JOIN u ON t.k = u.k", Changes, Changes),
        ("SELECT * FROM t CROSS JOIN u", Changes, Changes),
        ("SELECT * FROM t JOIN u ON t.v < u.v", Changes, Changes),
        ("SELECT * FROM t WHERE k IN (SELECT k FROM u)", Changes, Changes),
        ("SELECT * FROM t WHERE k NOT IN (SELECT k FROM u)", Changes, Changes),
        ("SELECT * FROM t WHERE EXISTS (SELECT 1 FROM u WHERE u.k = t.k)", Changes, Changes),
        ("SELECT * FROM t WHERE NOT EXISTS (SELECT 1 FROM u WHERE u.k = t.k AND u.v > t.v)", Changes, Changes),
        ("SELECT * FROM t WHERE v > 3 OR k IN (SELECT k FROM u)", Changes, Changes),
        ("SELECT k, (SELECT max(v) FROM u) FROM t", Changes, Changes),
        ("SELECT k, (SELECT count(*) FROM u WHERE u.k = t.k) FROM t", Changes, Changes),
        ("SELECT * FROM t WHERE v = (SELECT max(v) FROM u WHERE u.k = t.k)", Changes, Changes),
        ("SELECT k, (SELECT v FROM u WHERE k = 1) FROM t", Changes, Changes),
        ("SELECT k, (SELECT v FROM u WHERE u.k = t.k) FROM t", Changes, Changes),
        ("SELECT k, (SELECT u.v FROM u WHERE u.ts <= t.ts ORDER BY u.ts DESC LIMIT 1) FROM t", Changes, Changes),
        ("SELECT k, v IN (SELECT u.v FROM u WHERE u.k < t.k) FROM t", Changes, Changes),
        ("SELECT k, v > ALL (SELECT max(u.v) FROM u WHERE u.k < t.k GROUP BY u.s) FROM t", Changes, Changes),
        (
            "SELECT k, count(*) FILTER (WHERE EXISTS (SELECT 1 FROM u WHERE u.k = t.v)) FROM t GROUP BY k",
            Changes,
            Changes,
        ),
        (
            "SELECT t.k, l.v FROM t LEFT JOIN LATERAL (SELECT u.v FROM u WHERE u.k = t.k ORDER BY u.ts LIMIT 2) l ON true",
            Changes,
            Changes,
        ),
        ("SELECT t.k, x FROM t, unnest(make_array(t.k, t.v)) AS l (x)", Changes, Changes),
        ("SELECT k, unnest(make_array(v, 2)) FROM t", Changes, Changes),
        ("SELECT * FROM t LIMIT 3", Changes, Changes),
        ("SELECT * FROM t ORDER BY v LIMIT 3 OFFSET 2", Changes, Changes),
        (
            "SELECT * FROM (SELECT *, rank() OVER (PARTITION BY k ORDER BY v) AS n FROM t) w WHERE n < 3",
            Changes,
            Changes,
        ),
        ("SELECT row_number() OVER (PARTITION BY k ORDER BY v) FROM t", Changes, Changes),
        ("SELECT sum(v) OVER (PARTITION BY k ORDER BY ts) FROM t", Changes, Changes),
        ("SELECT lag(v) OVER (ORDER BY ts) FROM t", Changes, Changes),
        ("SELECT ntile(3) OVER (ORDER BY ts) FROM t", Changes, Changes),
        ("SELECT fleuve_session_start(ts, 5) OVER (PARTITION BY k ORDER BY ts) FROM t", Changes, Changes),
        ("SELECT count(*), sum(v), avg(v), min(s), max(d), stddev(v), var_pop(v) FROM t", Changes, Changes),
        ("SELECT k, count(*), sum(v), avg(v), min(s), max(d) FROM t GROUP BY k", Changes, Changes),
        ("SELECT k, count(DISTINCT v), sum(DISTINCT v) FROM t GROUP BY k", Changes, Changes),
        ("SELECT sum(ts - date_trunc('day', ts)), avg(ts - date_trunc('day', ts)) FROM t", Changes, Changes),
        (
            "SELECT k, sum(ts - date_trunc('day', ts)), avg(ts - date_trunc('day', ts)) FROM t GROUP BY k",
            Changes,
            Changes,
        ),
        ("SELECT bool_and(b), bool_or(b), bit_and(v), bit_xor(v) FROM t", Changes, Changes),
        ("SELECT k, array_agg(v ORDER BY ts), string_agg(s, ',') FROM t GROUP BY k", Changes, Changes),
        ("SELECT first_value(v ORDER BY ts), nth_value(v, 2 ORDER BY ts) FROM t", Changes, Changes),
        ("SELECT median(v) FROM t", Changes, Changes),
        ("SELECT percentile_cont(0.9) WITHIN GROUP (ORDER BY v) FROM t", Changes, Changes),
        ("SELECT percentile_disc(0.9) WITHIN GROUP (ORDER BY s DESC) FROM t", Changes, Changes),
        ("SELECT k, mode() WITHIN GROUP (ORDER BY v) FROM t GROUP BY k", Changes, Changes),
        ("SELECT mode() WITHIN GROUP (ORDER BY s DESC) FROM t", Changes, Changes),
        ("SELECT min((k, s)), max(make_array(v, k)) FROM t", Changes, Changes),
        ("SELECT b, min(make_array(v, k)), max((k, s)) FROM t GROUP BY b", Changes, Changes),
        ("SELECT k, s, count(*) FROM t GROUP BY ROLLUP (k, s)", Changes, Changes),
        ("SELECT k, s, count(*) FROM t GROUP BY GROUPING SETS ((k), (s), ())", Changes, Changes),
        ("SELECT k, approx_distinct(v), corr(v, k), regr_r2(v, k) FROM t GROUP BY k", Changes, Groups),
        ("SELECT approx_distinct(v) FROM t", Changes, All),
        ("SELECT corr(v, k) FROM t", Changes, All),
        ("SELECT k, approx_median(v) FROM t GROUP BY k", Groups, Groups),
        ("SELECT k, approx_percentile_cont(0.5) WITHIN GROUP (ORDER BY v) FROM t GROUP BY k", Groups, Groups),
        ("SELECT k, count(DISTINCT (k, v)) FROM t GROUP BY k", Changes, Changes),
        ("SELECT approx_median(v) FROM t", All, All),
        ("SELECT k, approx_median(v) FROM t GROUP BY ROLLUP (k)", All, All),
        (
            "SELECT w, count(*) FROM (SELECT unnest(fleuve_hop(ts, INTERVAL '1 second', INTERVAL '3 seconds')) AS w FROM t) h GROUP BY w",
            Changes,
            Changes,
        ),
        (
            "SELECT w, stddev(v) FROM (SELECT v, unnest(fleuve_hop(ts, INTERVAL '1 second', INTERVAL '3 seconds')) AS w FROM t) h GROUP BY w",
            Changes,
            Changes,
        ),
        (
            "WITH RECURSIVE r AS (SELECT v FROM t UNION SELECT u.v FROM r JOIN u ON u.k = r.v) SELECT * FROM r",
            Changes,
            Changes,
        ),
        (
            "WITH RECURSIVE r AS (SELECT v FROM t UNION ALL SELECT r.v - 1 FROM r WHERE r.v > 0) SELECT * FROM r",
            Changes,
            Changes,
        ),
        (
            "WITH RECURSIVE r AS (SELECT v FROM t UNION SELECT u.v FROM r LEFT JOIN u ON u.k = r.v) SELECT * FROM r",
            Changes,
            Changes,
        ),
        (
            "WITH RECURSIVE r AS (SELECT v FROM t UNION SELECT u.v FROM r RIGHT JOIN u ON u.k = r.v) SELECT * FROM r",
            Changes,
            Changes,
        ),
        (
            "WITH RECURSIVE r AS (SELECT v FROM t UNION SELECT r.v + 1 FROM r WHERE r.v NOT IN (SELECT v FROM u) AND r.v < 9) SELECT * FROM r",
            Changes,
            Changes,
        ),
        (
            "WITH RECURSIVE r AS (SELECT v FROM t UNION SELECT max(r.v) FROM r JOIN u ON u.k = r.v GROUP BY u.k) SELECT * FROM r",
            Changes,
            Changes,
        ),
        (
            "WITH RECURSIVE r AS (SELECT v FROM t UNION SELECT v + (SELECT min(v) FROM u) FROM r WHERE v < 5) SELECT * FROM r",
            Changes,
            Changes,
        ),
        (
            "WITH RECURSIVE r AS (SELECT v FROM t UNION SELECT max(v) - 1 FROM r HAVING max(v) > 0) SELECT * FROM r",
            All,
            All,
        ),
        (
            "WITH RECURSIVE r AS (SELECT v FROM t UNION SELECT row_number() OVER (ORDER BY v) FROM r WHERE v < 9) SELECT * FROM r",
            All,
            All,
        ),
        (
            "WITH RECURSIVE r AS (SELECT v FROM t UNION (SELECT v - 1 FROM r WHERE v > 0 ORDER BY v LIMIT 1)) SELECT * FROM r",
            All,
            All,
        ),
        (
            "WITH RECURSIVE r AS (SELECT v FROM t UNION SELECT coalesce(r.v, u.v) FROM r FULL JOIN u ON u.k = r.v) SELECT * FROM r",
            All,
            All,
        ),
        (
            "WITH RECURSIVE r AS (SELECT v FROM t UNION SELECT unnest(make_array(v, 3)) FROM r) SELECT * FROM r",
            All,
            All,
        ),
    ]
};

#[test]
fn each_kind_of_plan_is_computed_as_it_is_said() {
    let mut wrong = vec![];
    for (sql, grows, changes) in QUERIES {
        for (append_only, expected) in [(true, grows), (false, changes)] {
            let found = kind(sql, append_only);
            if found != expected {
                wrong.push(format!("{sql} (append-only: {append_only}): {found:?}, not {expected:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The examples of the list in docs/sql.md.
fn documented_table() -> String {
    let docs = include_str!("../../../../../docs/sql.md");
    let (_, list) = docs.split_once("### What is computed anew").unwrap();
    let rows = list.lines().skip_while(|l| !l.starts_with("| ---")).skip(1).take_while(|l| l.starts_with('|'));
    rows.collect::<Vec<_>>().join("\n")
}

fn documented() -> Vec<String> {
    documented_table().lines().map(|l| l.rsplit('`').nth(1).unwrap().to_string()).collect()
}

#[test]
fn what_is_computed_anew_is_documented() {
    let documented = documented();
    assert!(documented.len() > 2, "{documented:?}");
    for sql in &documented {
        assert_eq!(kind(sql, false), Kind::All, "documented as computed anew: {sql}");
    }
    // A part of a query of that kind, and what the list calls it.
    let reasons = [
        ("approx_median(", "an aggregate over all rows"),
        ("approx_distinct(", "`approx_distinct`"),
        ("corr(", "`corr`"),
        (" max(", "a recursive term with an aggregate over all its rows"),
        (" OVER (", "a window function"),
        (" LIMIT ", "LIMIT"),
        (" FULL JOIN ", "a FULL JOIN"),
        ("unnest(", "`unnest`"),
    ];
    for (sql, _, changes) in QUERIES {
        if changes == Kind::All {
            let (_, reason) = reasons.iter().find(|(part, _)| sql.contains(part)).expect(sql);
            assert!(documented_table().contains(reason), "not documented, as {reason}: {sql}");
        }
    }
}

/// The one operator of a kind in a circuit, as EXPLAIN shows it.
fn lines_of(sql: &str, append_only: bool, operator: &str) -> Vec<String> {
    let lines = circuit(sql, append_only).explain(false);
    lines.into_iter().map(|l| l.trim_start().to_string()).filter(|l| l.starts_with(operator)).collect()
}

/// Whether or not what the rows are chosen by is shown.
#[test]
fn first_rows_are_kept_as_such() {
    let ranked = "(SELECT *, row_number() OVER (PARTITION BY k ORDER BY v DESC, ts) AS n FROM t) w";
    for sql in [
        format!("SELECT * FROM {ranked} WHERE n = 1"),
        format!("SELECT k, v FROM {ranked} WHERE n = 1"),
        format!("SELECT k, s FROM {ranked} WHERE n = 1"),
        format!("SELECT s FROM {ranked} WHERE n <= 3"),
        format!("SELECT s, n FROM {ranked} WHERE n <= 3 AND s <> 'a'"),
        format!("SELECT s FROM {ranked} WHERE n <= 3 AND (n > 1 OR b)"),
        format!("SELECT x.s FROM (SELECT s, n AS m FROM {ranked} WHERE n < 5) x WHERE x.m > 2"),
        "SELECT s FROM t QUALIFY rank() OVER (PARTITION BY k ORDER BY v) < 3".to_string(),
    ] {
        let lines = circuit(&sql, true).explain(false);
        let has = |operator: &str| lines.iter().any(|l| l.trim_start().starts_with(operator));
        assert!(has("TopN") && !has("Window"), "{sql}\n{}", lines.join("\n"));
    }
    // A key that is shown is the answer's, though the order is not.
    let latest = format!("SELECT k, s FROM {ranked} WHERE n = 1");
    assert_eq!(circuit(&latest, true).key(), Some(&[0][..]));
    let distinct = "SELECT DISTINCT ON (k) k, s, v FROM t ORDER BY k, v DESC";
    assert!(lines_of(distinct, true, "Aggregate").iter().all(|l| l.contains("(one row kept)")));
    assert!(!lines_of(distinct, false, "Aggregate").iter().any(|l| l.contains("(one row kept)")));
}

#[test]
fn append_only_is_told_and_where_it_is_lost() {
    let cases: [(&str, &str, &str); 15] = [
        ("SELECT k FROM t WHERE v > 1", "Map", "(append-only)"),
        ("SELECT DISTINCT k FROM t", "Aggregate", "(append-only)"),
        ("SELECT k, min(k), max(k) FROM t GROUP BY k", "Aggregate", "(append-only)"),
        (
            "SELECT k, count(*) FROM t GROUP BY k",
            "Aggregate",
            "(not append-only: count(Int64(1)) changes when rows arrive)",
        ),
        ("SELECT t.v, u.v FROM t JOIN u ON t.k = u.k", "Join", "(append-only)"),
        ("SELECT v FROM t WHERE k IN (SELECT k FROM u)", "Join", "(append-only)"),
        (
            "SELECT t.v, u.v FROM t LEFT JOIN u ON t.k = u.k",
            "Join",
            "(not append-only: a row filled up with NULL goes when its partner comes)",
        ),
        ("SELECT t.v, u.x FROM t LEFT JOIN (VALUES (1, 2)) u (k, x) ON t.k = u.k", "Join", "(append-only)"),
        (
            "SELECT v FROM t WHERE NOT EXISTS (SELECT 1 FROM u WHERE u.k = t.k)",
            "Join",
            "(not append-only: a row goes when a match for it comes)",
        ),
        (
            "SELECT * FROM t ORDER BY v LIMIT 2",
            "TopN",
            "(not append-only: a row goes when enough others come before it)",
        ),
        ("SELECT k FROM t UNION ALL SELECT k FROM u", "Union", "(append-only)"),
        (
            "SELECT k, lag(v) OVER (ORDER BY ts) FROM t",
            "Window",
            "(not append-only: lag(t.v) changes when rows arrive)",
        ),
        (
            "SELECT k, lead(v) IGNORE NULLS OVER (ORDER BY ts) FROM t",
            "Window",
            "(not append-only: lead(t.v) IGNORE NULLS changes when rows arrive)",
        ),
        (
            "WITH RECURSIVE r AS (SELECT v FROM t UNION SELECT u.v FROM r JOIN u ON u.k = r.v) SELECT * FROM r",
            "Recursive",
            "(append-only)",
        ),
        (
            "WITH RECURSIVE r AS (SELECT v FROM t UNION SELECT u.v FROM r LEFT JOIN u ON u.k = r.v) SELECT * FROM r",
            "Recursive",
            "(not append-only: its recursive term takes rows back)",
        ),
    ];
    for (sql, operator, expected) in cases {
        let lines = lines_of(sql, true, operator);
        assert!(
            lines.iter().any(|l| l.ends_with(expected)),
            "{sql}\n{lines:?}\n{}",
            circuit(sql, true).explain(false).join("\n")
        );
    }
    let lines = circuit("SELECT t.v FROM t JOIN u ON t.k = u.k", false).explain(false);
    assert!(
        lines
            .iter()
            .any(|l| l.contains("Input: public.t") && l.ends_with("(not append-only: rows of public.t can go)")),
        "{lines:?}"
    );
    assert_eq!(lines.iter().filter(|l| l.contains("not append-only")).count(), 2, "only where it is lost: {lines:?}");
}

/// How many operators of a kind a circuit has, each counted once however often it is read.
fn count(sql: &str, operator: &str) -> usize {
    let circuit = circuit(sql, true);
    circuit.profile().operators().iter().filter(|o| o.operator().starts_with(operator)).count()
}

#[test]
fn equal_work_is_done_once() {
    let hop = |columns: &str| {
        format!("(SELECT {columns}, unnest(fleuve_hop(ts, INTERVAL '2 seconds', INTERVAL '10 seconds')) AS w FROM t)")
    };
    let queries = [
        // Nexmark's query 5.
        (
            format!(
                "SELECT c.k, c.n FROM (SELECT k, w, count(*) AS n FROM {} h GROUP BY k, w) c \
                 JOIN (SELECT w, max(m) AS most FROM (SELECT w, count(*) AS m FROM {} h GROUP BY k, w) p GROUP BY w) o \
                 ON c.w = o.w AND c.n >= o.most",
                hop("k"),
                hop("k, v")
            ),
            vec![("Panes", 1), ("Aggregate", 2), ("Join", 1)],
        ),
        // Other names, and other columns beside.
        (
            "SELECT a.n, b.v FROM (SELECT k AS x, count(*) AS n FROM t WHERE v > 2 GROUP BY k) a \
             JOIN (SELECT v, s, m FROM (SELECT k AS y, count(*) AS m FROM (SELECT k, v, s FROM t) q WHERE v > 2 GROUP BY k) z \
             JOIN u ON u.k = z.y) b ON a.n = b.m"
                .to_string(),
            vec![("Aggregate", 1)],
        ),
        (
            "SELECT * FROM (SELECT DISTINCT a.k FROM t a JOIN u b ON a.k = b.k) x \
             JOIN (SELECT count(*) AS n, d.k FROM (SELECT DISTINCT c.k FROM t c JOIN u d ON c.k = d.k) d GROUP BY d.k) y ON x.k = y.k"
                .to_string(),
            vec![("Join", 2)],
        ),
        // Windows that are written the same way are one, so that equal rows come in one order for all of them.
        (
            "SELECT k, last_value(ts) OVER (PARTITION BY CASE WHEN v > 2 THEN 1 ELSE v END ORDER BY v DESC, k \
             ROWS BETWEEN 1 FOLLOWING AND 2 FOLLOWING) AS a, avg(coalesce(k, 0)) OVER (PARTITION BY CASE WHEN v > 2 THEN 1 ELSE v END \
             ORDER BY v DESC, k ROWS BETWEEN 1 FOLLOWING AND 2 FOLLOWING) AS b FROM t"
                .to_string(),
            vec![("Window", 1)],
        ),
        (
            "SELECT sum(coalesce(k, 2)) OVER w AS a, dense_rank() OVER (PARTITION BY s ORDER BY coalesce(k, 1) DESC, d) AS b, \
             sum(v) OVER w AS c FROM t WINDOW w AS (PARTITION BY v + 2 ORDER BY v, ts, k ROWS BETWEEN 1 FOLLOWING AND 2 FOLLOWING)"
                .to_string(),
            vec![("Window", 2)],
        ),
        // Not the same.
        (
            "SELECT * FROM (SELECT k, count(*) AS n FROM t GROUP BY k) a JOIN (SELECT k, count(v) AS n FROM t GROUP BY k) b ON a.k = b.k"
                .to_string(),
            vec![("Aggregate", 2)],
        ),
        (
            "SELECT * FROM (SELECT k, count(*) AS n FROM t WHERE v > 1 GROUP BY k) a \
             JOIN (SELECT k, count(*) AS n FROM t WHERE v > 2 GROUP BY k) b ON a.k = b.k"
                .to_string(),
            vec![("Aggregate", 2)],
        ),
    ];
    for (sql, expected) in queries {
        for (operator, n) in expected {
            assert_eq!(
                count(&sql, operator),
                n,
                "{operator}\n{sql}\n{}",
                circuit(&sql, true).explain(false).join("\n")
            );
        }
    }
}
