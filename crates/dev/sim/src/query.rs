//! Random queries over streams and views. All have columns `k` and `v`, so that one can be read by the next.

use crate::Scope;
use crate::random::Random;

/// Something that can be read.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    /// Its name.
    pub(crate) name: String,
    /// Whether it has, besides `k INT` and `v BIGINT`, the columns `id BIGINT`, `s TEXT` and `ts TIMESTAMP` of a stream.
    pub(crate) is_stream: bool,
}

/// A query, and what it reads.
#[derive(Clone, Debug)]
pub(crate) struct Query {
    /// Its text.
    pub(crate) sql: String,
    /// Names of what it reads.
    pub(crate) reads: Vec<String>,
    /// Its shape: queries of one shape have the same columns.
    pub(crate) shape: usize,
}

/// How many shapes there are in wide runs, and in full ones.
const SHAPES: usize = 16;
const ALL_SHAPES: usize = 19;

/// A random query over some of `sources`, which hold at least one stream.
pub(crate) fn generate(random: &mut Random, sources: &[Source], scope: Scope) -> Query {
    let shape = random.below(if scope < Scope::Full { SHAPES } else { ALL_SHAPES });
    of_shape(random, sources, shape)
}

/// A random query of a shape.
pub(crate) fn of_shape(random: &mut Random, sources: &[Source], shape: usize) -> Query {
    let streams: Vec<&Source> = sources.iter().filter(|s| s.is_stream).collect();
    let all: Vec<&Source> = sources.iter().collect();
    let a = if !(8..SHAPES).contains(&shape) { *random.pick(&streams) } else { *random.pick(&all) };
    let b = *random.pick(&all);
    let (n, m) = (random.below(6), 1 + random.below(4));
    let (a, b) = (a.name.as_str(), b.name.as_str());
    let op = *random.pick(&["<", ">", "<>"]);
    let alone = |sql: String| (sql, vec![a.to_string()]);
    let (sql, reads) = match shape {
        0 => alone(format!("SELECT k, v, id FROM {a} WHERE v {op} {n} OR s = 'a'")),
        1 => alone(format!("SELECT id, k, v, s FROM {a} ORDER BY v DESC NULLS LAST, id LIMIT {m}")),
        2 => alone(format!(
            "SELECT k, v, id FROM (SELECT *, row_number() OVER (PARTITION BY k ORDER BY v, id) AS n FROM {a}) r WHERE n <= {m}"
        )),
        3 => alone(format!(
            "SELECT window_start, k, sum(v) AS v, count(*) AS n FROM TUMBLE({a}, ts, INTERVAL '{m}0 seconds') GROUP BY window_start, k"
        )),
        4 => alone(format!(
            "SELECT k, count(DISTINCT s) AS v, string_agg(s, '/' ORDER BY id) AS t FROM {a} WHERE id % 7 <> {n} GROUP BY k"
        )),
        5 => alone(format!("SELECT id, k, sum(v) OVER (PARTITION BY k ORDER BY id) AS v, {n} AS c FROM {a}")),
        6 => alone(format!("SELECT k, max(id) AS v, min(s) AS s, max(ts) AS t FROM {a} WHERE v {op} {n} GROUP BY k")),
        7 => alone(format!("SELECT id, k, v - {n} AS v FROM {a} WHERE v > (SELECT avg(v) FROM {a})")),
        8 => alone(format!(
            "SELECT k, count(*) AS n, sum(v) AS v, min(v) AS low, max(v) AS high FROM {a} WHERE v {op} {n} GROUP BY k"
        )),
        9 => alone(format!("SELECT DISTINCT k, v + {n} AS v FROM {a}")),
        10 => {
            let kind = *random.pick(&["JOIN", "LEFT JOIN", "FULL JOIN"]);
            let sql = format!(
                "SELECT coalesce(a.k, b.k) AS k, sum(a.v) AS v, count(b.v) AS n FROM (SELECT k, v FROM {a}) a \
                 {kind} (SELECT k, v FROM {b}) b ON a.k = b.k GROUP BY coalesce(a.k, b.k)"
            );
            (sql, vec![a.to_string(), b.to_string()])
        }
        11 => {
            let op = *random.pick(&["UNION ALL", "UNION", "EXCEPT", "INTERSECT"]);
            let sql = format!(
                "SELECT k, CAST(v AS BIGINT) AS v FROM {a} WHERE v >= {n} {op} SELECT k, CAST(v AS BIGINT) AS v FROM {b}"
            );
            (sql, vec![a.to_string(), b.to_string()])
        }
        12 => {
            let test = *random.pick(&["EXISTS", "NOT EXISTS"]);
            let sql =
                format!("SELECT a.k, a.v FROM {a} a WHERE {test} (SELECT 1 FROM {b} b WHERE b.k = a.k AND b.v > {n})");
            (sql, vec![a.to_string(), b.to_string()])
        }
        13 => alone(format!("SELECT count(*) AS k, sum(v) AS v FROM {a} WHERE v IS NULL OR v {op} {n}")),
        14 => {
            let sql = format!(
                "SELECT a.k AS k, a.v AS v, b.v AS w FROM {a} a JOIN {b} b ON a.k = b.k AND a.v {op} b.v WHERE b.v > {n}"
            );
            (sql, vec![a.to_string(), b.to_string()])
        }
        15 => alone(format!("SELECT k, v, count(*) AS n FROM {a} WHERE v {op} {n} GROUP BY ROLLUP (k, v)")),
        16 => alone(format!(
            "SELECT window_start, k, window_end, sum(v) AS v, count(*) AS n FROM SESSION({a} PARTITION BY k, ts, INTERVAL '{m} seconds') \
             GROUP BY window_start, k, window_end"
        )),
        17 => {
            let right = random.pick(&streams).name.clone();
            let sql = format!(
                "SELECT a.id, a.k, a.v, b.v AS w FROM {a} a ASOF LEFT JOIN {right} b ON a.k = b.k AND a.ts >= b.ts WHERE a.v {op} {n}"
            );
            (sql, vec![a.to_string(), right])
        }
        _ => alone(format!(
            "WITH RECURSIVE r (k, v) AS (SELECT k, v FROM {a} WHERE id % 3 <> {m} UNION SELECT k, v + 2 FROM r WHERE v < {n}) SELECT k, v FROM r"
        )),
    };
    Query { sql, reads, shape }
}
