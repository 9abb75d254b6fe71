use super::*;
use crate::fake::{fails, run, session};

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
    rewrite(&mut query, &Known)?;
    Ok(query.to_string().replace("\"main\".\"public\".", "~").replace('"', "").replace("PARTITION (fleuve scan)", ""))
}

#[test]
fn tables_get_full_names_and_ctes_do_not() {
    let cases = [
        ("SELECT a FROM S JOIN app.s AS b ON true", "SELECT a FROM ~s JOIN main.app.s AS b ON true"),
        ("WITH s AS (SELECT 1 AS x FROM s) SELECT x FROM s", "WITH s AS (SELECT 1 AS x FROM ~s) SELECT x FROM s"),
        (
            "WITH a AS (SELECT 1), b AS (SELECT * FROM a) SELECT x FROM b WHERE EXISTS (SELECT 1 FROM a, v)",
            "WITH a AS (SELECT 1), b AS (SELECT * FROM a) SELECT x FROM b WHERE EXISTS (SELECT 1 FROM a, ~v)",
        ),
        (
            "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r WHERE n < 5) SELECT n FROM r",
            "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r WHERE n < 5) SELECT n FROM r",
        ),
        ("SELECT (SELECT max(x) FROM v) FROM (SELECT 1) AS q", "SELECT (SELECT max(x) FROM ~v) FROM (SELECT 1) AS q"),
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
