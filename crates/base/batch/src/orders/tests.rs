use crate::testing;

#[tokio::test]
async fn orders_of_derived_tables_are_kept() {
    let table = "CREATE TABLE t (k INT, v INT, s TEXT) AS VALUES
        (1, 5, 'a'), (2, 3, 'b'), (3, 9, 'c'), (4, 1, 'd'), (5, 7, 'e')";
    let q = "(SELECT k, s FROM t ORDER BY v DESC) q";
    for (sql, expected) in [
        ("SELECT s FROM {q} LIMIT 2", &["|c|", "|e|"][..]),
        ("SELECT s FROM {q}", &["|c|", "|e|", "|a|", "|b|", "|d|"]),
        ("SELECT k + 1 AS n FROM {q} LIMIT 2", &["|4|", "|6|"]),
        ("SELECT s FROM {q} OFFSET 3", &["|b|", "|d|"]),
        ("SELECT s FROM {q} WHERE k <> 3 LIMIT 2", &["|e|", "|a|"]),
        ("SELECT s FROM {q} WHERE EXISTS (SELECT 1 FROM t u WHERE u.k = q.k + 1) LIMIT 2", &["|c|", "|a|"]),
        ("SELECT s FROM (SELECT * FROM {q} WHERE k < 5) r WHERE k > 1", &["|c|", "|b|", "|d|"]),
        ("WITH o AS (SELECT * FROM t ORDER BY v) SELECT s FROM o LIMIT 2", &["|d|", "|b|"]),
        ("WITH o AS (SELECT * FROM t ORDER BY v + k) SELECT s FROM o LIMIT 2", &["|b|", "|d|"]),
        ("SELECT string_agg(s, ',') AS l FROM {q}", &["|c,e,a,b,d|"]),
        ("SELECT string_agg(s, ',') AS l FROM {q} WHERE k > 1", &["|c,e,b,d|"]),
        ("SELECT string_agg(s, ',') AS l, string_agg(s, ',' ORDER BY s) AS m FROM {q}", &["|c,e,a,b,d|a,b,c,d,e|"]),
        ("SELECT string_agg(s, ',') AS l, count(*) AS n FROM (SELECT * FROM {q} LIMIT 3) r", &["|c,e,a|3|"]),
        ("SELECT k % 2 AS p, array_agg(k) AS l FROM {q} GROUP BY 1 ORDER BY 1", &["|0|[2,4]|", "|1|[3,5,1]|"]),
        ("SELECT first_value(s) AS f, last_value(s) AS l FROM {q}", &["|c|d|"]),
        ("SELECT row_number() OVER () AS n, s FROM {q} ORDER BY s", &["|3|a|", "|4|b|", "|1|c|", "|5|d|", "|2|e|"]),
        ("SELECT k, lag(s) OVER () AS b FROM {q} ORDER BY k", &["|1|e|", "|2|a|", "|3||", "|4|b|", "|5|c|"]),
        ("SELECT s FROM (SELECT DISTINCT ON (k % 2) s FROM {q}) r ORDER BY s", &["|b|", "|c|"]),
        ("SELECT s FROM (SELECT DISTINCT ON (p) s FROM (SELECT s, k % 2 AS p FROM t ORDER BY p DESC, v) q) r ORDER BY s", &["|a|", "|d|"]),
        ("SELECT t.s, (SELECT string_agg(s, '') FROM (SELECT s FROM t u WHERE u.k <= t.k ORDER BY v) q) AS l
            FROM t ORDER BY t.s", &["|a|a|", "|b|ba|", "|c|bac|", "|d|dbac|", "|e|dbaec|"]),
        ("SELECT t.s, (SELECT s FROM (SELECT s FROM t u WHERE u.k < t.k ORDER BY v) q LIMIT 1) AS l FROM t ORDER BY 1",
            &["|a||", "|b|a|", "|c|b|", "|d|b|", "|e|d|"]),
        ("SELECT t.s, l.s AS o FROM t, LATERAL (SELECT s FROM (SELECT * FROM t u ORDER BY v) q WHERE q.k < t.k LIMIT 1) l
            ORDER BY 1", &["|b|a|", "|c|b|", "|d|b|", "|e|d|"]),
        ("SELECT count(*) AS n FROM {q} JOIN t ON t.k = q.k", &["|5|"]),
        ("SELECT s FROM {q} UNION SELECT s FROM {q} ORDER BY s LIMIT 1", &["|a|"]),
        ("SELECT s FROM (SELECT k, s FROM t ORDER BY v DESC LIMIT 3) q ORDER BY k LIMIT 2", &["|a|", "|c|"]),
    ] {
        for partitions in [1, 3] {
            let sql = sql.replace("{q}", q);
            assert_eq!(testing::rows(table, partitions, &sql).await.expect(&sql), expected, "{sql}");
        }
    }
}

#[tokio::test]
async fn deep_queries_are_planned() {
    let table = "CREATE TABLE t (k INT, v INT) AS VALUES (1, 5), (2, 3)";
    let ctes: Vec<String> = (1..150).map(|i| format!("c{i} AS (SELECT k, v FROM c{} WHERE v > -{i})", i - 1)).collect();
    let with = |first: &str| format!("WITH c0 AS ({first}), {}", ctes.join(", "));
    let sorted = with("SELECT k, v FROM t ORDER BY v");
    let sql = format!("{sorted} SELECT k FROM c149 LIMIT 1");
    assert_eq!(testing::rows(table, 1, &sql).await.unwrap(), ["|2|"]);
    let of_each = with("SELECT u.k, u.v FROM t u WHERE u.k <= t.k");
    let sql = format!("SELECT t.k, ({of_each} SELECT count(*) FROM c149 WHERE v + t.v > 0) AS n FROM t ORDER BY 1");
    assert_eq!(testing::rows(table, 1, &sql).await.unwrap(), ["|1|1|", "|2|2|"]);
}

#[tokio::test]
async fn many_calls_without_an_order_are_planned_at_once() {
    let table = "CREATE TABLE t (k INT, v INT) AS VALUES (1, 5), (2, 3)";
    let number = |i: usize| format!("c{i} AS (SELECT k, row_number() OVER () AS n FROM c{})", i - 1);
    let numbered: Vec<String> = (1..40).map(number).collect();
    let sql = format!(
        "WITH c0 AS (SELECT k, v FROM t ORDER BY random()), {} SELECT count(*) AS n FROM c39",
        numbered.join(", ")
    );
    assert_eq!(testing::rows(table, 1, &sql).await.unwrap(), ["|2|"]);
}
