//! Random queries whose first column, `c0`, is the start of a window; then `c1` an integer and `c2` a text.

use super::random::Random;

pub const WINDOW_SECONDS: i64 = 10;

/// A query and the tables that hold it back.
pub struct Query {
    pub sql: String,
    /// Each with how many seconds it holds it back longer.
    pub tables: Vec<(usize, i64)>,
    /// `c0` is the end of a session: it is over when that has passed.
    pub is_session: bool,
    /// `c0` can be NULL in rows that have a time.
    pub hidden: Option<Hidden>,
}

/// The times of rows that do not show them.
pub struct Hidden {
    /// The query with them beside.
    rows: String,
    /// Columns of it and the tables that hold them back: a row is final by any of them.
    times: Vec<(&'static str, Vec<(usize, i64)>)>,
    /// They are starts of windows.
    are_windows: bool,
}

impl Query {
    /// The batch query of the rows that are final; `watermark` is what holds back what these tables do.
    pub fn closed(&self, watermark: impl Fn(&[(usize, i64)]) -> Option<i64>) -> String {
        let is_before = |column: &str, is_window: bool, tables: &[(usize, i64)]| {
            let watermark = watermark(tables).map(|w| format!("to_timestamp_micros({w})"))?;
            Some(match is_window {
                true => format!("{column} + INTERVAL '{WINDOW_SECONDS} seconds' <= {watermark}"),
                false => format!("{column} < {watermark}"),
            })
        };
        let (rows, is_final): (_, Vec<String>) = match &self.hidden {
            None => (&self.sql, is_before("c0", !self.is_session, &self.tables).into_iter().collect()),
            Some(Hidden { rows, times, are_windows }) => {
                (rows, times.iter().filter_map(|(column, tables)| is_before(column, *are_windows, tables)).collect())
            }
        };
        let is_final = if is_final.is_empty() { "false".into() } else { is_final.join(" OR ") };
        format!("SELECT c0, c1, c2 FROM ({rows}) q WHERE {is_final}")
    }
}

pub fn generate(random: &mut Random) -> Query {
    if random.chance(10) {
        return sessions(random);
    }
    if random.chance(20) {
        return hidden(random);
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
    Query { sql, tables: vec![(n, 0)], is_session: true, hidden: None }
}

/// Rows that do not all show their time: of an outer join the time of one side alone, or a CASE over it.
fn hidden(random: &mut Random) -> Query {
    let depth = random.below(2);
    let (rows, times, are_windows) = match random.below(5) {
        0 => {
            let of = relation(random, depth);
            let rows = format!(
                "SELECT CASE WHEN c1 > 0 THEN c0 END AS c0, c1, c2, c0 AS ta, c0 AS tb FROM (SELECT DISTINCT c0, c1, c2 FROM ({}) a) a",
                of.sql
            );
            (rows, vec![("ta", of.tables)], true)
        }
        1 | 2 => {
            let near = near(random);
            let kind = *random.pick(&["LEFT", "RIGHT", "FULL"]);
            let side = *random.pick(&["a", "b"]);
            let (of_a, of_b) = (("ta", near.of_a.clone()), ("tb", near.of_b.clone()));
            let times = match (kind, side) {
                // The answer itself has the time of each row.
                ("LEFT", "a") => vec![of_a],
                ("RIGHT", "b") => vec![of_b],
                _ => vec![of_a, of_b],
            };
            let rows = format!(
                "SELECT {side}.ts AS c0, coalesce(a.v, -1) + coalesce(b.v, -1) AS c1, coalesce(b.s, a.s) AS c2, a.ts AS ta, b.ts AS tb
                 FROM t{} a {kind} JOIN t{} b ON {}",
                near.a, near.b, near.condition
            );
            (rows, times, false)
        }
        _ => {
            let (a, b) = (relation(random, depth), relation(random, 0));
            let kind = *random.pick(&["LEFT", "RIGHT", "FULL"]);
            let side = *random.pick(&["a", "b"]);
            let more = *random.pick(&["", " AND a.c2 = b.c2", " AND a.c1 <= b.c1"]);
            let of = both(&a, &b, |a, b| {
                format!(
                    "SELECT {side}.c0 AS c0, coalesce(a.c1, -1) + coalesce(b.c1, -1) AS c1, coalesce(b.c2, a.c2) AS c2, a.c0 AS ta, b.c0 AS tb
                     FROM ({a}) a {kind} JOIN ({b}) b ON a.c0 = b.c0{more}"
                )
            });
            if random.chance(20) {
                // What has no time in `c0` has no partner here.
                let right = relation(random, 0);
                return both(&of, &right, |a, b| {
                    format!(
                        "SELECT a.c0, a.c1 + b.c1 AS c1, a.c2 FROM ({a}) a JOIN ({b}) b ON a.c0 = b.c0 AND a.c2 = b.c2"
                    )
                });
            }
            (of.sql, vec![("ta", of.tables.clone()), ("tb", of.tables)], true)
        }
    };
    let rows = match random.below(3) {
        0 => format!("SELECT c0, c1 + 1 AS c1, c2, ta, tb FROM ({rows}) r WHERE c1 <> {}", random.below(4)),
        1 => format!("SELECT c0, c1, c2, ta, tb FROM ({rows}) r WHERE c0 IS NULL OR c1 > 0"),
        _ => rows,
    };
    let sql = format!("SELECT c0, c1, c2 FROM ({rows}) r");
    Query { sql, tables: vec![], is_session: false, hidden: Some(Hidden { rows, times, are_windows }) }
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
    let sql = format!("SELECT {window} AS c0, v AS c1, s AS c2 FROM t{n}");
    Query { sql, tables: vec![(n, 0)], is_session: false, hidden: None }
}

/// When rows of two tables are near each other in time.
struct Near {
    a: usize,
    b: usize,
    before: i64,
    after: i64,
    condition: String,
    /// What holds back the times of each.
    of_a: Vec<(usize, i64)>,
    of_b: Vec<(usize, i64)>,
}

fn near(random: &mut Random) -> Near {
    let (a, b) = (random.below(super::TABLES), random.below(super::TABLES));
    let before = random.below(25) as i64 - 5;
    let after = random.below(20) as i64 - before.min(0);
    let near = match random.below(3) {
        0 => format!("b.ts BETWEEN a.ts - INTERVAL '{before} seconds' AND a.ts + INTERVAL '{after} seconds'"),
        1 => format!("b.ts + INTERVAL '{before} seconds' >= a.ts AND a.ts > b.ts - INTERVAL '{after} seconds'"),
        _ => format!("a.ts <= b.ts + INTERVAL '{before} seconds' AND b.ts - INTERVAL '{after} seconds' < a.ts"),
    };
    let more = *random.pick(&["", " AND a.k = b.k", " AND a.k = b.k", " AND a.k = b.k AND a.v < b.v"]);
    // With a negative `before` a partner lies in the past: what is decided runs ahead of the other side.
    let (of_a, of_b) = (vec![(a, 0), (b, after)], vec![(a, before), (b, 0)]);
    Near { a, b, before, after, condition: format!("{near}{more}"), of_a, of_b }
}

/// Rows of two tables that are near each other in time.
fn interval(random: &mut Random) -> Query {
    let Near { a, b, before, after, condition, of_a, of_b } = near(random);
    let kind = *random.pick(&["JOIN", "JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN"]);
    let exists = random.chance(20);
    let bin = |time: &str| format!("date_bin(INTERVAL '{WINDOW_SECONDS} seconds', {time})");
    let (time, tables) = match kind {
        _ if exists => ("a.ts", of_a),
        "RIGHT JOIN" => ("b.ts", of_b),
        "FULL JOIN" => ("coalesce(a.ts, b.ts)", vec![(a, before.max(0)), (b, after)]),
        _ => ("a.ts", of_a),
    };
    let sql = if exists {
        let not = *random.pick(&["", "NOT "]);
        format!(
            "SELECT {} AS c0, v AS c1, s AS c2 FROM t{a} a WHERE {not}EXISTS (SELECT 1 FROM t{b} b WHERE {condition})",
            bin("ts")
        )
    } else {
        format!(
            "SELECT {} AS c0, coalesce(a.v, -1) + coalesce(b.v, -1) AS c1, coalesce(b.s, a.s) AS c2 FROM t{a} a {kind} t{b} b ON {condition}",
            bin(time)
        )
    };
    Query { sql, tables, is_session: false, hidden: None }
}

fn as_of(random: &mut Random) -> Query {
    let (a, b) = (random.below(super::TABLES), random.below(super::TABLES));
    let (left, right) = (format!("SELECT * FROM t{a}"), format!("SELECT * FROM t{b}"));
    let join = super::as_of::Join {
        columns: &["k", "v", "s", "ts"],
        left: &left,
        right: &right,
        keys: if random.chance(30) { &[] } else { &["k"] },
        time: "ts",
        op: if random.chance(60) { ">=" } else { ">" },
        outer: random.chance(50),
    };
    let bin = format!("date_bin(INTERVAL '{WINDOW_SECONDS} seconds', ts)");
    let sql = format!(
        "SELECT {bin} AS c0, v * 10 + coalesce(rv, -1) AS c1, coalesce(rs, s) AS c2 FROM ({}) j",
        join.planned()
    );
    Query { sql, tables: vec![(a, 0), (b, 0)], is_session: false, hidden: None }
}

fn relation(random: &mut Random, depth: usize) -> Query {
    if depth == 0 {
        return match random.below(8) {
            0 | 1 => interval(random),
            2 => as_of(random),
            _ => table(random),
        };
    }
    let input = relation(random, depth - 1);
    let of = |sql: String| Query { sql, tables: input.tables.clone(), is_session: false, hidden: None };
    let a = &input.sql;
    match random.below(17) {
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
        15 => of(format!("SELECT DISTINCT ON (c0, c2) c0, c1, c2 FROM ({a}) a ORDER BY c0, c2, c1 DESC")),
        16 => of(format!("SELECT max(c0) AS c0, count(*) AS c1, c2 FROM ({a}) a GROUP BY c0, c2")),
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
    let mut tables: Vec<(usize, i64)> = left.tables.iter().chain(&right.tables).copied().collect();
    tables.sort_unstable();
    tables.dedup();
    Query { sql: sql(&left.sql, &right.sql), tables, is_session: false, hidden: None }
}
