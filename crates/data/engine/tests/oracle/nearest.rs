//! Random as-of joins, each with an ordinary query that gives the same.

use super::as_of::Join;
use super::random::Random;

/// The columns of the tables.
pub const COLUMNS: [&str; 6] = ["k", "v", "s", "d", "b", "ts"];

/// An as-of join by its definition.
fn defined(join: &Join<'_>) -> String {
    let Join { columns, left, right, keys, time, op, outer } = join;
    let list = |one: &dyn Fn(&str) -> String| columns.iter().map(|c| one(c)).collect::<Vec<_>>().join(", ");
    let on: String = keys.iter().map(|k| format!("l.{k} = r.{k} AND ")).collect();
    let way = if op.starts_with('>') { "DESC" } else { "ASC" };
    let ties = list(&|c: &str| format!("r.{c} DESC NULLS LAST"));
    let kind = if *outer { "LEFT JOIN" } else { "JOIN" };
    format!(
        "SELECT {}, {} FROM (SELECT {}, {}, row_number() OVER (PARTITION BY l.id ORDER BY r.{time} {way}, {ties}) AS n
         FROM (SELECT *, row_number() OVER () AS id FROM ({left}) l) l {kind} ({right}) r ON {on}l.{time} {op} r.{time}) j WHERE n = 1",
        columns.join(", "),
        list(&|c: &str| format!("r{c}")),
        list(&|c: &str| format!("l.{c}")),
        list(&|c: &str| format!("r.{c} AS r{c}")),
    )
}

/// `(the view's query, the query that gives the same)`
pub fn generate(random: &mut Random) -> (String, String) {
    let mut side = || {
        let n = random.below(3);
        match random.below(4) {
            // Rows that change.
            0 => format!(
                "SELECT k, CAST(max(v) AS BIGINT) AS v, s, max(d) AS d, bool_and(b) AS b, max(ts) AS ts FROM t{n} GROUP BY k, s"
            ),
            1 => format!("SELECT * FROM t{n} WHERE v > 0"),
            _ => format!("SELECT * FROM t{n}"),
        }
    };
    let (left, right) = (side(), side());
    let keys: &[&str] = match random.below(5) {
        0 => &[],
        1 => &["s"],
        2 => &["k", "b"],
        _ => &["k"],
    };
    let time = if keys != ["k", "b"] && random.chance(25) { "v" } else { "ts" };
    let op = *random.pick(&[">=", ">=", ">", "<=", "<"]);
    let join = Join { columns: &COLUMNS, left: &left, right: &right, keys, time, op, outer: random.chance(50) };
    let over = |of: String, random: usize| match random {
        0 => format!("SELECT k, count(*) AS n, sum(rv) AS s, max(rts) AS m FROM ({of}) j GROUP BY k"),
        1 => format!("SELECT v, rv FROM ({of}) j"),
        2 => format!("SELECT ts, rs FROM ({of}) j WHERE rv IS NULL OR rv > v"),
        _ => of,
    };
    // Where the tie is broken by what is not read, all is read.
    let what = random.below(6);
    (over(join.planned(), what), over(defined(&join), what))
}
