use super::*;
use crate::fake::{fails, run, session};
use crate::{Outcome, Session};

struct Known;

impl Relations for Known {
    fn find(&self, namespace: &str, name: &str) -> Option<bool> {
        match (namespace, name) {
            ("public", "s") | ("app", "s") => Some(true),
            ("public", "v") | ("pg_catalog", "pg_class") => Some(false),
            _ => None,
        }
    }

    fn names(&self) -> Vec<(String, String)> {
        [("public", "s"), ("public", "v"), ("app", "s"), ("app", "orders")]
            .map(|(a, b)| (a.to_string(), b.to_string()))
            .to_vec()
    }
}

fn rewritten(sql: &str) -> Result<String> {
    let crate::parse::Statement::Query(mut query) = crate::parse::parse_one(sql)?.statement else { panic!() };
    rewrite(&mut query, &Known, crate::parse::EDITION, Of::View)?;
    Ok(query.to_string().replace("\"main\".\"public\".", "~").replace('"', "").replace("PARTITION (fleuve scan)", ""))
}

#[test]
fn tables_get_full_names_and_ctes_do_not() {
    let cases = [
        ("SELECT a FROM S JOIN app.s AS b ON true", "SELECT a FROM ~s JOIN main.app.s AS b ON true"),
        ("WITH s AS (SELECT 1 AS x FROM s) SELECT x FROM s", "WITH s AS (SELECT 1 AS x FROM ~s) SELECT x FROM s"),
        (
            "WITH a AS (SELECT 1), b AS (SELECT * FROM a) SELECT x FROM b WHERE EXISTS (SELECT 1 FROM a, v)",
            "WITH a (1) AS (SELECT 1), b AS (SELECT * FROM a) SELECT x FROM b WHERE EXISTS (SELECT 1 FROM a, ~v)",
        ),
        (
            "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r WHERE n < 5) SELECT n FROM r",
            "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r WHERE n < 5) SELECT n FROM r",
        ),
        (
            "SELECT (SELECT max(x) FROM v) FROM (SELECT 1) AS q",
            "SELECT (SELECT max(x) FROM ~v) FROM (SELECT 1) AS q (1)",
        ),
        ("SELECT v.* FROM v", "SELECT ~v.* FROM ~v"),
        ("SELECT relname FROM pg_class", "SELECT relname FROM main.pg_catalog.pg_class"),
        ("SELECT 1 UNION SELECT x FROM v ORDER BY 1", "SELECT 1 UNION SELECT x FROM ~v ORDER BY 1"),
    ];
    for (sql, wanted) in cases {
        assert_eq!(rewritten(sql).unwrap(), wanted.replace('"', ""), "{sql}");
    }
}

#[test]
fn fields_are_spelled_and_named_as_in_postgresql() {
    let cases = [
        ("SELECT bid.price FROM s", "SELECT bid.price AS price FROM ~s"),
        ("SELECT (bid).price, s.a, v.b.c FROM s, v", "SELECT (bid).'price' AS price, s.a, v.b.c AS c FROM ~s, ~v"),
        ("SELECT x.bid.price FROM s AS x", "SELECT x.bid.price AS price FROM ~s AS x"),
        ("SELECT public.v.x FROM public.v", "SELECT public.v.x FROM ~v"),
        // Two of one name: both stay as they are.
        ("SELECT bid.id, auction.id FROM s", "SELECT bid.id, auction.id FROM ~s"),
        ("SELECT id, bid.id FROM s", "SELECT id, bid.id FROM ~s"),
        ("SELECT mod(a + 1, 3) FROM v", "SELECT ((a + 1) % (3)) FROM ~v"),
        ("SELECT a[:2], a[k:] FROM v", "SELECT a[1:2], a[k:2147483647] FROM ~v"),
        ("SELECT a = ANY (b), a < ANY (b) FROM v", "SELECT any_equal(b, a), any_greater(b, a) FROM ~v"),
        ("SELECT a = ANY (ARRAY[1, b]) FROM v", "SELECT (a) IN (1, b) FROM ~v"),
        (
            "SELECT ARRAY(SELECT a AS x FROM v ORDER BY x DESC, b)",
            "SELECT array_or_empty((SELECT array_agg(a ORDER BY a DESC, b) FROM ~v))",
        ),
        (
            "SELECT ARRAY(SELECT a FROM v ORDER BY a LIMIT 2)",
            "SELECT array_or_empty((SELECT array_agg(array element) FROM (SELECT a FROM ~v ORDER BY a LIMIT 2) AS array rows (array element)))",
        ),
    ];
    for (sql, wanted) in cases {
        assert_eq!(rewritten(sql).unwrap(), wanted, "{sql}");
    }
}

#[test]
fn a_cte_is_not_seen_before_it_is_there() {
    let e = rewritten("WITH a AS (SELECT * FROM b), b AS (SELECT 1) SELECT * FROM a").unwrap_err();
    assert!(e.message.contains("no stream or view \"b\""), "{e}");
}

#[test]
fn unknown_tables_name_the_near_one() {
    let cases = [
        ("SELECT 1 FROM orders", "line 1, column 15: there is no stream or view \"orders\" (there is app.orders)"),
        (
            "SELECT 1\nFROM v, app.order",
            "line 2, column 9: there is no stream or view \"app.order\" (did you mean \"orders\"?)",
        ),
        ("SELECT 1 FROM zebra", "line 1, column 15: there is no stream or view \"zebra\""),
    ];
    for (sql, wanted) in cases {
        assert_eq!(rewritten(sql).unwrap_err().to_string(), wanted, "{sql}");
    }
}

const TWO: &str = "
    CREATE STREAM s (id INT, name TEXT);
    CREATE STREAM t (id INT, size INT);
    INSERT INTO s VALUES (1, 'a'), (2, 'b');
    INSERT INTO t VALUES (2, 20), (3, 30);";

#[tokio::test]
async fn pseudo_columns_are_seen_only_by_name() {
    let (_, session) = session();
    run(&session, TWO).await.unwrap();
    let cases: &[(&str, &[&str])] = &[
        ("SELECT * FROM s", &["1|a", "2|b"]),
        ("TABLE s", &["1|a", "2|b"]),
        ("SELECT s.* FROM s", &["1|a", "2|b"]),
        ("SELECT x.* FROM s AS x", &["1|a", "2|b"]),
        ("SELECT public.s.id FROM public.s", &["1", "2"]),
        ("SELECT _offset, name FROM s", &["0|a", "1|b"]),
        ("SELECT *, _offset FROM s", &["1|a|0", "2|b|1"]),
        ("SELECT s.*, s._offset FROM s", &["1|a|0", "2|b|1"]),
        ("SELECT * FROM s WHERE _offset = 1", &["2|b"]),
        ("SELECT * FROM s ORDER BY _offset DESC", &["2|b", "1|a"]),
        ("SELECT * FROM s JOIN t ON s.id = t.id", &["2|b|2|20"]),
        ("SELECT *, s._offset, t._offset AS o FROM s JOIN t ON s.id = t.id", &["2|b|2|20|1|0"]),
        ("SELECT *, s._offset FROM s JOIN t USING (id)", &["2|b|20|1"]),
        ("SELECT *, s._offset FROM s NATURAL JOIN t", &["2|b|20|1"]),
        ("SELECT * FROM s JOIN t USING (_offset)", &["1|a|2|20", "2|b|3|30"]),
        ("SELECT *, s._offset FROM s JOIN (SELECT id AS k FROM t) ON s.id = k", &["2|b|2|1"]),
        ("SELECT * FROM (SELECT name, _offset FROM s) AS q", &["a|0", "b|1"]),
        ("SELECT * FROM (SELECT *, _partition FROM s) AS q WHERE id = 1", &["1|a|0"]),
        ("SELECT * FROM s WHERE EXISTS (SELECT 1 FROM t WHERE t._offset = s._offset - 1)", &["2|b"]),
        ("SELECT * EXCLUDE (name) FROM s WHERE _offset = 0", &["1"]),
        ("SELECT count(*) FROM s", &["2"]),
        ("SELECT _partition, _timestamp, _key, _headers FROM s LIMIT 1", &["0|1970-01-01T00:00:01|NULL|NULL"]),
    ];
    for (sql, wanted) in cases {
        assert_eq!(run(&session, sql).await.unwrap(), *wanted, "{sql}");
    }
    let e = fails(&session, "SELECT *, _offset FROM s NATURAL JOIN t").await;
    assert!(e.message.contains("in more than one table"), "{e}");
    let e = fails(&session, "SELECT _offset FROM (SELECT * FROM s) AS q").await;
    assert!(e.message.contains("there is no column \"_offset\""), "{e}");
}

#[tokio::test]
async fn a_query_after_all_or_any_may_read_the_same_table() {
    let (_, session) = session();
    run(&session, TWO).await.unwrap();
    let cases: &[(&str, &[&str])] = &[
        ("SELECT id FROM s WHERE id >= ALL (SELECT id FROM s)", &["2"]),
        ("SELECT id FROM s WHERE id > ANY (SELECT id FROM s)", &["2"]),
        ("SELECT id FROM s WHERE id <> ALL (SELECT id FROM s WHERE id < 2)", &["2"]),
        ("SELECT id FROM s WHERE NOT (id < ALL (SELECT id FROM s))", &["1", "2"]),
        ("SELECT x.id FROM s x WHERE x.id >= ALL (SELECT t.id FROM t WHERE t.id = x.id)", &["1", "2"]),
        ("SELECT id FROM s WHERE id < ALL (SELECT id FROM t) AND id >= ALL (SELECT id FROM s WHERE id < 2)", &["1"]),
    ];
    for (sql, wanted) in cases {
        let mut rows = run(&session, sql).await.unwrap();
        rows.sort();
        assert_eq!(rows, *wanted, "{sql}");
    }
}

/// What the columns of an answer are called.
async fn headings(session: &Session, sql: &str) -> Vec<String> {
    let mut outcomes = session.execute(sql).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
    let Some(Outcome::Rows { schema, .. }) = outcomes.pop() else { panic!("no rows") };
    schema.fields().iter().map(|f| f.name().clone()).collect()
}

/// The names are PostgreSQL's (15), but for those in double quotes, which it calls `?column?` or gives to several columns.
#[tokio::test]
async fn computed_columns_are_named_as_in_postgresql() {
    let (_, session) = session();
    run(&session, "CREATE STREAM o (k INT, v INT, s TEXT, ts TIMESTAMP)").await.unwrap();
    let cases: &[(&str, &[&str])] = &[
        ("SELECT count(*), max(v) AS m, upper(s), k FROM o GROUP BY s, k", &["count", "m", "upper", "k"]),
        (
            "SELECT id::text, '1'::int, CAST(1.5 AS bigint), upper(s)::varchar FROM (SELECT k AS id, s FROM o) q",
            &["id", "int4", "int8", "upper"],
        ),
        (
            "SELECT CASE WHEN v > 1 THEN 1 END, coalesce(k, 1), nullif(k, 1), greatest(k, v) FROM o",
            &["case", "coalesce", "nullif", "greatest"],
        ),
        ("SELECT CASE WHEN v > 1 THEN 1 ELSE k END, (CASE WHEN v > 1 THEN 1 END)::text FROM o", &["k", "text"]),
        (
            "SELECT EXISTS (SELECT 1 FROM o), ARRAY[1, 2], INTERVAL '1 day', DATE '2020-01-01', '2020-01-01'::timestamptz, '1'::float, '1'::float(3)",
            &["exists", "array", "interval", "date", "timestamptz", "float8", "float4"],
        ),
        ("SELECT (SELECT max(v) FROM o), (SELECT k FROM o LIMIT 1), (SELECT 1 AS one)", &["max", "k", "one"]),
        ("SELECT '{1,2}'::BIGINT[], ('{a}'::text[])[1], ARRAY(SELECT k FROM o)", &["int8", "text", "array"]),
        ("SELECT ('{1,2}'::INT[])[:1], CASE WHEN true THEN 1 ELSE ('{1}'::INT[])[1] END", &["int4", "case"]),
        (
            "SELECT extract(year FROM ts), trim(s), substring(s FROM 1 FOR 2), substr(s, 2), position('a' IN s) FROM o",
            &["extract", "btrim", "substring", "substr", "position"],
        ),
        ("SELECT k, count(*) FROM o GROUP BY k HAVING count(*) > 1 ORDER BY count(*) DESC", &["k", "count"]),
        ("SELECT k, count(*) FROM o GROUP BY k ORDER BY count", &["k", "count"]),
        ("SELECT date_trunc('day', ts), count(*) FROM o GROUP BY date_trunc", &["date_trunc", "count"]),
        ("SELECT count FROM (SELECT k, count(*) FROM o GROUP BY k) q", &["count"]),
        ("WITH c AS (SELECT k, sum(v) FROM o GROUP BY k) SELECT sum, c.sum + 1 AS more FROM c", &["sum", "more"]),
        ("SELECT *, row_number() OVER (ORDER BY k) FROM o", &["k", "v", "s", "ts", "row_number"]),
        ("SELECT * FROM (SELECT max(k) FROM o) q", &["max"]),
        ("SELECT count(*) FROM o UNION ALL SELECT 1 ORDER BY count", &["count"]),
        ("SELECT DISTINCT upper(s) FROM o ORDER BY upper(s)", &["upper"]),
        ("SELECT DISTINCT upper(s), k + 1 AS x FROM o ORDER BY k + 1, upper(s)", &["upper", "x"]),
        ("SELECT lower(s) FROM o ORDER BY lower(s) || 'x'", &["lower"]),
        ("SELECT sum(v) OVER (PARTITION BY k), lag(v) OVER (ORDER BY k) FROM o", &["sum", "lag"]),
        ("SELECT now()::date, string_agg(s, ',') FROM o", &["now", "string_agg"]),
        (
            "SELECT '1'::int::text, (ARRAY[1, 2])[1], overlay(s PLACING 'x' FROM 1 FOR 1), ceil(1.5), floor(1.5) FROM o",
            &["text", "array", "overlay", "ceil", "floor"],
        ),
        // What PostgreSQL has no name for, or one twice.
        ("SELECT 1, v + 1, -v, 'a', s IS NULL, true FROM o", &["1", "v + 1", "-v", "'a'", "s IS NULL", "true"]),
        ("SELECT sum(k), sum(v), count(*) FROM o", &["sum(k)", "sum(v)", "count"]),
        ("SELECT '1'::int, CAST('2' AS int), (SELECT 1), 1", &["'1'::INT", "CAST('2' AS INT)", "(SELECT 1)", "1"]),
        ("SELECT o.k, (SELECT k FROM o LIMIT 1) FROM o", &["k", "(SELECT k FROM o LIMIT 1)"]),
        ("SELECT count(*), (SELECT count(*) FROM o) FROM o", &["count(*)", "(SELECT count(*) FROM o)"]),
        ("SELECT v + 1, v + 1 FROM o", &["v + 1", "v + 1"]),
        // A name of the table's beside its columns.
        ("SELECT k, * FROM o", &["k", "k", "v", "s", "ts"]),
        ("SELECT *, upper(s) AS s, v FROM o ORDER BY v", &["k", "v", "s", "ts", "s", "v"]),
        ("SELECT a.k, b.* FROM o a JOIN o b USING (k)", &["k", "k", "v", "s", "ts"]),
        ("SELECT * FROM (SELECT s, o.* FROM o) q", &["s", "k", "v", "s", "ts"]),
        (
            "WITH c AS (SELECT v, * FROM o), d AS (SELECT s, * FROM c) SELECT k, d.* FROM d",
            &["k", "s", "v", "k", "v", "s", "ts"],
        ),
        ("SELECT unnest(l), l[1], k::text FROM (SELECT k, ARRAY[k] AS l FROM o) q", &["unnest", "l", "k"]),
        ("SELECT o.k::text FROM o ORDER BY o.k", &["k"]),
        ("SELECT k::text FROM o ORDER BY k + 1", &["k"]),
        ("SELECT DISTINCT ON (k) k, upper(s), v + 1 FROM o ORDER BY k, v", &["k", "upper", "v + 1"]),
        ("SELECT *, max(k) OVER () FROM (SELECT k AS max, k FROM o) q", &["max", "k", "max(k) OVER ()"]),
    ];
    for (sql, wanted) in cases {
        assert_eq!(headings(&session, sql).await, *wanted, "{sql}");
    }
    run(&session, "CREATE MATERIALIZED VIEW w AS SELECT k, count(*), v + 1, sum(v), sum(k) FROM o GROUP BY k, v")
        .await
        .unwrap();
    let twice = fails(&session, "CREATE MATERIALIZED VIEW x AS SELECT k, * FROM o").await;
    assert!(twice.message.contains("there are two columns \"k\""), "{twice}");
    run(&session, "CREATE MATERIALIZED VIEW x (a, b, c, d, e) AS SELECT k, * FROM o").await.unwrap();
    assert_eq!(headings(&session, "TABLE w").await, ["k", "count", "v + 1", "sum(v)", "sum(k)"]);
    assert_eq!(headings(&session, "SELECT count, w.\"v + 1\" FROM w").await, ["count", "v + 1"]);
}

#[tokio::test]
async fn computed_columns_are_read_by_their_names() {
    let (_, session) = session();
    run(
        &session,
        "CREATE STREAM o (k INT, v INT, s TEXT); INSERT INTO o VALUES (1, 3, 'b'), (10, 1, 'a'), (1, 5, 'c')",
    )
    .await
    .unwrap();
    let cases: &[(&str, &[&str])] = &[
        // The order is that of what is named, as in PostgreSQL.
        ("SELECT k::text FROM o ORDER BY k DESC, s", &["10", "1", "1"]),
        ("SELECT (k + 1)::text, s FROM o ORDER BY k + 1, s", &["2|b", "2|c", "11|a"]),
        ("SELECT v::text, s FROM o ORDER BY v DESC LIMIT 2", &["5|c", "3|b"]),
        ("SELECT k::text, (SELECT max(v) FROM o) FROM o ORDER BY k, 2", &["1|5", "1|5", "10|5"]),
        ("SELECT DISTINCT k::text FROM o ORDER BY k", &["1", "10"]),
        ("SELECT k::text, count(*) FROM o GROUP BY 1 ORDER BY k", &["1|2", "10|1"]),
        ("SELECT k::text FROM o GROUP BY k::text ORDER BY k DESC", &["10", "1"]),
        ("SELECT k::bigint FROM o UNION SELECT v FROM o ORDER BY k", &["1", "3", "5", "10"]),
        (
            "(SELECT k::text FROM o ORDER BY k LIMIT 1) UNION ALL (SELECT s FROM o ORDER BY s LIMIT 1) ORDER BY k",
            &["1", "a"],
        ),
        ("SELECT v, (SELECT max(k) AS m FROM o) FROM o ORDER BY m, v", &["1|10", "3|10", "5|10"]),
        ("SELECT k, sum(v)::text FROM o GROUP BY k ORDER BY sum", &["10|1", "1|8"]),
        ("SELECT CASE WHEN EXISTS (SELECT k FROM o) THEN v END FROM o ORDER BY \"case\" DESC", &["5", "3", "1"]),
        ("SELECT *, upper(s) FROM o ORDER BY upper DESC LIMIT 1", &["1|5|c|C"]),
        ("SELECT * FROM (SELECT k, v::text FROM o ORDER BY v LIMIT 1) q", &["10|1"]),
        ("SELECT v FROM o WHERE EXISTS (SELECT k::text FROM o p WHERE p.k = o.v)", &["1"]),
        ("SELECT v FROM o WHERE v::text IN (SELECT k::text FROM o p WHERE p.k = o.v)", &["1"]),
        ("SELECT * FROM (SELECT DISTINCT ON (k) k, v::text FROM o ORDER BY k, s DESC) q ORDER BY v", &["10|1", "1|5"]),
        ("SELECT k::text, k::text FROM o GROUP BY k ORDER BY k DESC", &["10|10", "1|1"]),
        ("SELECT DISTINCT v::text, v::text FROM o ORDER BY v LIMIT 2", &["1|1", "3|3"]),
        ("SELECT k, count(*), count(*) FROM o GROUP BY k ORDER BY count", &["10|1|1", "1|2|2"]),
        ("SELECT (v * 5)::text FROM o ORDER BY (text)", &["15", "25", "5"]),
        ("SELECT k::text, count(*) FROM o GROUP BY 1 ORDER BY (k) DESC", &["10|1", "1|2"]),
        ("SELECT DISTINCT ON (k) k, (v * 5)::text FROM o ORDER BY k, text", &["1|15", "10|5"]),
        (
            "SELECT k % 2 AS odd, k, count(*) FROM o GROUP BY ROLLUP (1, 2) ORDER BY 1, 2",
            &["0|10|1", "0|NULL|1", "1|1|2", "1|NULL|2", "NULL|NULL|3"],
        ),
        ("SELECT -v AS w, k FROM o ORDER BY w", &["-5|1", "-3|1", "-1|10"]),
        ("SELECT k, count(*) FROM o GROUP BY k ORDER BY count DESC", &["1|2", "10|1"]),
        ("SELECT abs(v) FROM o UNION ALL SELECT 4 ORDER BY abs", &["1", "3", "4", "5"]),
        ("SELECT count(*), v % 2 AS odd FROM o GROUP BY odd", &["3|1"]),
        ("SELECT upper(s), count(*) FROM o GROUP BY upper ORDER BY upper", &["A|1", "B|1", "C|1"]),
        // A column of the table comes first there.
        (
            "SELECT abs(k), max(s) FROM (SELECT v AS abs, k, s FROM o) q GROUP BY abs, k ORDER BY max(s)",
            &["10|a", "1|b", "1|c"],
        ),
        ("SELECT DISTINCT s, v + 1 AS x FROM o ORDER BY v + 1 DESC", &["c|6", "b|4", "a|2"]),
        ("SELECT DISTINCT upper(s) AS u FROM o ORDER BY (Upper(s)) DESC", &["C", "B", "A"]),
        ("SELECT DISTINCT k, COUNT(*) FROM o GROUP BY k ORDER BY count(*) DESC", &["1|2", "10|1"]),
        ("SELECT DISTINCT k, sum(v) AS x FROM o GROUP BY k ORDER BY sum(v) + 1", &["10|1", "1|8"]),
        ("SELECT DISTINCT ON (k) k, v + 1 FROM o ORDER BY k, v DESC", &["1|6", "10|2"]),
        // Derived tables, with and without a name.
        ("SELECT max FROM (SELECT max(v) FROM o)", &["5"]),
        ("SELECT * FROM (SELECT max(k) FROM o), (SELECT max(v) FROM o)", &["10|5"]),
        ("SELECT a.max, b.max FROM (SELECT max(k) FROM o) a, (SELECT max(v) FROM o) b", &["10|5"]),
        ("SELECT * FROM (SELECT * FROM (SELECT max(k) FROM o) a, (SELECT max(v) FROM o) b) q", &["10|5"]),
        (
            "SELECT * FROM (SELECT max(k) FROM o) UNION ALL SELECT * FROM (SELECT max(v) FROM o) ORDER BY max",
            &["5", "10"],
        ),
        ("SELECT max FROM (SELECT max(k) FROM o UNION ALL SELECT max(v) FROM o) ORDER BY max", &["5", "10"]),
        (
            "SELECT q.count FROM (SELECT *, count(*) OVER (PARTITION BY k) FROM o) q WHERE s <> 'b' ORDER BY 1",
            &["1", "2"],
        ),
        ("SELECT sum FROM (SELECT o.*, p.sum FROM o, (SELECT sum(v) FROM o) p) q WHERE s = 'a'", &["9"]),
        (
            "WITH c AS (SELECT k, count(*) FROM o GROUP BY k), d AS (SELECT *, count + 1 FROM c) SELECT count, \"count + 1\" FROM d ORDER BY k",
            &["2|3", "1|2"],
        ),
        (
            "WITH RECURSIVE r (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < 3), t AS (SELECT sum(n) FROM r) SELECT sum FROM t",
            &["6"],
        ),
        ("SELECT count FROM (SELECT k, k, count(*) FROM o GROUP BY k) q ORDER BY count", &["1", "2"]),
        ("SELECT sum FROM o JOIN LATERAL (SELECT sum(v) FROM o p WHERE p.k = o.k) q ON true WHERE s = 'b'", &["8"]),
    ];
    for (sql, wanted) in cases {
        assert_eq!(run(&session, sql).await.unwrap_or_else(|e| panic!("{sql}: {e}")), *wanted, "{sql}");
    }
    assert_eq!(
        headings(&session, "SELECT * FROM (SELECT max(k) FROM o), (SELECT max(v) FROM o)").await,
        ["max", "max"]
    );
}
