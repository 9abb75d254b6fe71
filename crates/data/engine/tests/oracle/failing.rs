//! Queries with an expression that fails for some rows, each with the query over the rows that do not fail.

use super::query;
use super::random::Random;

/// `(the query that fails, the query that does not)`
pub fn generate(random: &mut Random) -> (String, String) {
    let r = query::some_relation(random);
    let columns: Vec<String> = (0..r.columns.len()).map(|i| format!("a.c{i} AS c{i}")).collect();
    let all = columns.join(", ");
    let e = query::int(random, &r, "a");
    // Fails exactly for the rows for which `fine` is false.
    let (value, fine) = failing(random, &e);
    let not_failing = format!("(SELECT * FROM ({}) a WHERE {fine})", r.sql);
    let r = r.sql;
    match random.below(7) {
        0 => (
            format!("SELECT {all}, {value} AS x FROM ({r}) a"),
            format!("SELECT {all}, {value} AS x FROM {not_failing} a"),
        ),
        1 => {
            let test = random.below(6);
            (
                format!("SELECT {all} FROM ({r}) a WHERE {value} > {test}"),
                format!("SELECT {all} FROM {not_failing} a WHERE {value} > {test}"),
            )
        }
        2 => {
            let aggregate = "SELECT a.c0, sum(X) AS s, max(X) AS m, count(*) AS n, count(DISTINCT X) AS d";
            let aggregate = aggregate.replace('X', &value);
            let by = random.pick(&["a.c0", "ROLLUP (a.c0)"]);
            (
                format!("{aggregate} FROM ({r}) a GROUP BY {by}"),
                format!("{aggregate} FROM {not_failing} a GROUP BY {by}"),
            )
        }
        3 => (
            format!("SELECT {value} AS x, count(*) AS n FROM ({r}) a GROUP BY {value}"),
            format!("SELECT {value} AS x, count(*) AS n FROM {not_failing} a GROUP BY {value}"),
        ),
        4 => {
            let order: Vec<String> = (0..columns.len()).map(|i| format!("a.c{i}")).collect();
            let window = format!("sum({value}) OVER (PARTITION BY a.c0 ORDER BY {})", order.join(", "));
            (
                format!("SELECT {all}, {window} AS x FROM ({r}) a"),
                format!("SELECT {all}, {window} AS x FROM {not_failing} a"),
            )
        }
        5 => {
            // In a join's key: the row has no key, so it is in no pair and not alone either. What names no column is asked of the other side.
            let kind = random.pick(&["JOIN", "LEFT JOIN"]);
            let join = |b: &str| format!("a {kind} {b} b ON {value} = b.v");
            let failing = format!("SELECT {all}, b.k AS x FROM ({r}) {}", join("t0"));
            let expected = match e.contains("a.") {
                true => format!("SELECT {all}, b.k AS x FROM {not_failing} {}", join("t0")),
                false => {
                    format!("SELECT {all}, b.k AS x FROM ({r}) {}", join(&format!("(SELECT * FROM t0 WHERE {fine})")))
                }
            };
            (failing, expected)
        }
        _ => {
            // In a join's condition: the pair does not count.
            let kind = random.pick(&["JOIN", "LEFT JOIN"]);
            let (l, op) = (random.below(5), random.pick(&["<", ">="]));
            let difference = format!("({e} - b.v)");
            let on = |by: &str| format!("a {kind} t1 b ON {e} >= b.k AND {l} / {by} {op} 1");
            (
                format!("SELECT {all}, b.v AS x FROM ({r}) {}", on(&difference)),
                format!("SELECT {all}, b.v AS x FROM ({r}) {}", on(&format!("nullif({difference}, 0)"))),
            )
        }
    }
}

/// An integer expression that fails for some rows of `a`, and for which it does not.
fn failing(random: &mut Random, e: &str) -> (String, String) {
    match random.below(4) {
        0 => (format!("(12 / {e})"), format!("{e} IS DISTINCT FROM 0")),
        1 => (format!("(7 % ({e} - 1))"), format!("{e} IS DISTINCT FROM 1")),
        2 => {
            let text = format!("CASE WHEN {e} = 2 THEN 'two' ELSE '2' END");
            (format!("(CAST({text} AS BIGINT) + {e})"), format!("{e} IS DISTINCT FROM 2"))
        }
        // Decided by the left side alone where that is false, whatever the rows beside it.
        _ => (
            format!("(CASE WHEN {e} <> 0 AND 12 / ({e} * ({e} - 3)) > 0 THEN 1 ELSE 2 END)"),
            format!("{e} IS DISTINCT FROM 3"),
        ),
    }
}
