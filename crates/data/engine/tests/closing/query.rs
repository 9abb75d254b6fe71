//! Random queries whose first column, `c0`, is the start of a window; then `c1` an integer and `c2` a text.

use super::random::Random;

pub const WINDOW_SECONDS: i64 = 10;

/// A query and the tables that hold it back.
pub struct Query {
    pub sql: String,
    pub tables: Vec<usize>,
    /// `c0` is the end of a session: it is over when that has passed.
    pub is_session: bool,
}

impl Query {
    /// The condition under which a row is final at a watermark.
    pub fn closed(&self, watermark: &str) -> String {
        if self.is_session {
            return format!("c0 < {watermark}");
        }
        format!("c0 + INTERVAL '{WINDOW_SECONDS} seconds' <= {watermark}")
    }
}

pub fn generate(random: &mut Random) -> Query {
    if random.chance(10) {
        return sessions(random);
    }
    let depth = 1 + random.below(3);
    relation(random, depth)
}

fn sessions(random: &mut Random) -> Query {
    let n = random.below(super::TABLES);
    let call =
        |bound: &str| format!("fleuve_session_{bound}(ts, 5000000) OVER (PARTITION BY k ORDER BY ts) AS {bound}_of");
    let rows = format!("SELECT *, {}, {} FROM t{n}", call("start"), call("end"));
    let sql = match random.below(3) {
        0 => format!("SELECT end_of AS c0, v AS c1, s AS c2 FROM ({rows}) a"),
        1 => format!("SELECT end_of AS c0, k AS c1, count(*) AS c2 FROM ({rows}) a GROUP BY k, start_of, end_of"),
        _ => format!(
            "SELECT end_of AS c0, start_of AS c1, sum(v) AS c2 FROM ({rows}) a WHERE v > 0 GROUP BY k, start_of, end_of"
        ),
    };
    Query { sql, tables: vec![n], is_session: true }
}

fn table(random: &mut Random) -> Query {
    let n = random.below(super::TABLES);
    let window = match random.below(3) {
        0 => format!("date_bin(INTERVAL '{WINDOW_SECONDS} seconds', ts, TIMESTAMP '1970-01-01')"),
        1 => format!("date_bin(INTERVAL '{WINDOW_SECONDS} seconds', ts)"),
        // Another way to say it, through more than one monotone step.
        _ => format!(
            "date_bin(INTERVAL '{WINDOW_SECONDS} seconds', date_trunc('second', ts) + INTERVAL '1 minute') - INTERVAL '1 minute'"
        ),
    };
    Query { sql: format!("SELECT {window} AS c0, v AS c1, s AS c2 FROM t{n}"), tables: vec![n], is_session: false }
}

fn relation(random: &mut Random, depth: usize) -> Query {
    if depth == 0 {
        return table(random);
    }
    let input = relation(random, depth - 1);
    let of = |sql: String| Query { sql, tables: input.tables.clone(), is_session: false };
    let a = &input.sql;
    match random.below(15) {
        0 => of(format!("SELECT c0, c1 + 1 AS c1, c2 FROM ({a}) a WHERE c1 <> {}", random.below(4))),
        1 => of(format!("SELECT DISTINCT c0, c1, c2 FROM ({a}) a")),
        2 => of(format!("SELECT c0, count(*) AS c1, min(c2) AS c2 FROM ({a}) a GROUP BY c0")),
        3 => of(format!("SELECT c0, sum(c1) AS c1, c2 FROM ({a}) a GROUP BY c0, c2 HAVING count(*) > 1")),
        4 => of(format!("SELECT c0, count(DISTINCT c1) AS c1, max(c2) AS c2 FROM ({a}) a GROUP BY c0, c1 % 2")),
        5 => of(format!("SELECT c0, sum(DISTINCT c1) AS c1, max(c2) AS c2 FROM ({a}) a GROUP BY c0")),
        6 => of(format!("SELECT c0, CAST(rank() OVER (PARTITION BY c0 ORDER BY c1) AS BIGINT) AS c1, c2 FROM ({a}) a")),
        7 => of(format!("SELECT c0, CAST(sum(c1) OVER (PARTITION BY c0, c2) AS BIGINT) AS c1, c2 FROM ({a}) a")),
        8 => of(format!(
            "SELECT c0, c1, c2 FROM (SELECT *, rank() OVER (PARTITION BY c0 ORDER BY c1 DESC) AS r FROM ({a}) a) a WHERE r <= 2"
        )),
        13 => of(format!("SELECT c0, count(*) AS c1, c2 FROM ({a}) a GROUP BY GROUPING SETS ((c0, c2), (c0))")),
        14 => of(format!("SELECT c0, max(c1) AS c1, string_agg(c2, ',' ORDER BY c2) AS c2 FROM ({a}) a GROUP BY c0")),
        9 => {
            let right = relation(random, random_depth(depth));
            let all = if random.chance(60) { "UNION ALL" } else { "UNION" };
            both(&input, &right, |a, b| {
                format!(
                    "SELECT c0, CAST(c1 AS BIGINT) AS c1, c2 FROM ({a}) a {all} SELECT c0, CAST(c1 AS BIGINT) AS c1, c2 FROM ({b}) b"
                )
            })
        }
        10 => {
            let right = relation(random, random_depth(depth));
            let negate = if random.chance(50) { "NOT " } else { "" };
            let more = if random.chance(50) { " AND a.c1 < b.c1" } else { "" };
            both(&input, &right, |a, b| {
                format!(
                    "SELECT c0, c1, c2 FROM ({a}) a WHERE {negate}EXISTS (SELECT 1 FROM ({b}) b WHERE a.c0 = b.c0{more})"
                )
            })
        }
        _ => {
            let right = relation(random, random_depth(depth));
            let kind = *random.pick(&["JOIN", "JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN"]);
            let window = match kind {
                "FULL JOIN" => "coalesce(a.c0, b.c0)",
                "RIGHT JOIN" => "b.c0",
                _ => "a.c0",
            };
            let more = match random.below(3) {
                0 => " AND a.c2 = b.c2",
                1 => " AND a.c1 <= b.c1",
                _ => "",
            };
            both(&input, &right, |a, b| {
                format!(
                    "SELECT {window} AS c0, coalesce(a.c1, -1) + coalesce(b.c1, -1) AS c1, coalesce(b.c2, a.c2) AS c2 FROM ({a}) a {kind} ({b}) b ON a.c0 = b.c0{more}"
                )
            })
        }
    }
}

fn random_depth(depth: usize) -> usize {
    depth.saturating_sub(2)
}

fn both(left: &Query, right: &Query, sql: impl Fn(&str, &str) -> String) -> Query {
    let mut tables: Vec<usize> = left.tables.iter().chain(&right.tables).copied().collect();
    tables.sort_unstable();
    tables.dedup();
    Query { sql: sql(&left.sql, &right.sql), tables, is_session: false }
}
