use crate::testing;

#[tokio::test]
async fn values_are_those_of_each_row() {
    let table = "CREATE TABLE t (id INT, k INT, v INT) AS VALUES (1, 1, 10), (2, 1, NULL), (3, 2, 30), (4, NULL, 40)";
    for (sql, expected) in [
        ("SELECT id, (SELECT count(*) FROM t u WHERE u.k <= t.k) AS n FROM t", ["|1|2|", "|2|2|", "|3|3|", "|4|0|"]),
        ("SELECT id, (SELECT sum(u.v) FROM t u WHERE u.id < t.id) AS n FROM t", ["|1||", "|2|10|", "|3|10|", "|4|40|"]),
        (
            "SELECT id, (SELECT coalesce(max(u.v), -1) FROM t u WHERE u.id < t.id AND u.k = t.k) AS n FROM t",
            ["|1|-1|", "|2|10|", "|3|-1|", "|4|-1|"],
        ),
        (
            "SELECT id, (SELECT count(*) + 1 FROM t u WHERE u.id <> t.id AND u.v > t.v) AS n FROM t",
            ["|1|3|", "|2|1|", "|3|2|", "|4|1|"],
        ),
        (
            "SELECT id, (SELECT count(*) FROM t u WHERE u.id > t.id HAVING count(*) > 1) AS n FROM t",
            ["|1|3|", "|2|2|", "|3||", "|4||"],
        ),
        (
            "SELECT id, (SELECT count(*) FROM t u WHERE u.id > t.id HAVING count(*) < 2) AS n FROM t",
            ["|1||", "|2||", "|3|1|", "|4|0|"],
        ),
        (
            "SELECT id, (SELECT count(*) FROM t u WHERE u.id < t.id AND EXISTS (SELECT 1 FROM t w WHERE w.v = u.id * 10)) AS n FROM t",
            ["|1|0|", "|2|1|", "|3|1|", "|4|2|"],
        ),
    ] {
        assert_eq!(testing::rows(table, 2, &format!("{sql} ORDER BY id")).await.unwrap(), expected, "{sql}");
    }
    let largest = "SELECT id FROM t WHERE id >= (SELECT max(u.id) FROM t u WHERE u.k <= t.k) AND v > 1 ORDER BY id";
    assert_eq!(testing::rows(table, 2, largest).await.unwrap(), ["|3|"]);
    let grouped = "SELECT k, (SELECT sum(u.v) FROM t u WHERE u.k < t.k) AS n FROM t GROUP BY k ORDER BY k";
    assert_eq!(testing::rows(table, 2, grouped).await.unwrap(), ["|1||", "|2|10|", "|||"]);
}

const T: &str =
    "CREATE TABLE t (id INT, k INT, v INT) AS VALUES (1, 1, 10), (2, 1, NULL), (3, 2, 30), (4, NULL, 40), (5, 2, 10)";

/// Answers of PostgreSQL 15.
#[tokio::test]
async fn rows_are_as_postgresql_has_them() {
    for (sql, expected) in [
        (
            "SELECT id, (SELECT u.v FROM t u WHERE u.id < t.id ORDER BY u.id DESC LIMIT 1) AS n FROM t",
            &["|1||", "|2|10|", "|3||", "|4|30|", "|5|40|"][..],
        ),
        (
            "SELECT id, (SELECT u.v FROM t u WHERE u.id < t.id ORDER BY u.id DESC LIMIT 1 OFFSET 1) AS n FROM t",
            &["|1||", "|2||", "|3|10|", "|4||", "|5|30|"][..],
        ),
        (
            "SELECT id, (SELECT u.v + t.id FROM t u WHERE u.id <> t.id ORDER BY u.v DESC NULLS LAST, u.id LIMIT 1) AS n FROM t",
            &["|1|41|", "|2|42|", "|3|43|", "|4|34|", "|5|45|"][..],
        ),
        (
            "SELECT id, (SELECT n FROM (SELECT count(*) AS n FROM t u WHERE u.id < t.id) q WHERE n > 1) AS n FROM t",
            &["|1||", "|2||", "|3|2|", "|4|3|", "|5|4|"][..],
        ),
        (
            "SELECT id, (SELECT max(n) FROM (SELECT count(*) AS n FROM t u WHERE u.id <= t.id GROUP BY u.k) q) AS n FROM t",
            &["|1|1|", "|2|2|", "|3|2|", "|4|2|", "|5|2|"][..],
        ),
        (
            "SELECT id, (SELECT max(n) FROM (SELECT count(*) AS n FROM t u WHERE u.k = t.k GROUP BY u.v) q) AS n FROM t",
            &["|1|1|", "|2|1|", "|3|1|", "|4||", "|5|1|"][..],
        ),
        (
            "SELECT id, (SELECT sum(n) FROM (SELECT count(*) AS n FROM t u WHERE u.k = t.v) q) AS n FROM t",
            &["|1|0|", "|2|0|", "|3|0|", "|4|0|", "|5|0|"][..],
        ),
        (
            "SELECT id, (SELECT count(*) FROM (SELECT u.id FROM t u WHERE u.id < t.id UNION ALL SELECT w.v FROM t w WHERE w.v > t.v) q) AS n FROM t",
            &["|1|2|", "|2|1|", "|3|3|", "|4|3|", "|5|6|"][..],
        ),
        (
            "SELECT id, (SELECT count(*) FROM (SELECT u.v FROM t u WHERE u.id < t.id UNION SELECT w.v FROM t w WHERE w.k = t.k) q) AS n FROM t",
            &["|1|2|", "|2|2|", "|3|3|", "|4|3|", "|5|4|"][..],
        ),
        (
            "SELECT id, (SELECT count(*) FROM (SELECT u.v FROM t u WHERE u.id < t.id INTERSECT SELECT w.v FROM t w WHERE w.id <> t.id) q) AS n FROM t",
            &["|1|0|", "|2|1|", "|3|2|", "|4|3|", "|5|4|"][..],
        ),
        (
            "SELECT id, (SELECT count(*) FROM (SELECT u.v FROM t u WHERE u.id <= t.id EXCEPT SELECT w.v FROM t w WHERE w.id > t.id) q) AS n FROM t",
            &["|1|0|", "|2|1|", "|3|2|", "|4|3|", "|5|4|"][..],
        ),
        (
            "SELECT id, (SELECT count(*) FROM t u LEFT JOIN t w ON w.id = u.id AND w.k = t.k) AS n FROM t",
            &["|1|5|", "|2|5|", "|3|5|", "|4|5|", "|5|5|"][..],
        ),
        (
            "SELECT id, (SELECT count(w.id) FROM t u LEFT JOIN (SELECT * FROM t x WHERE x.k = t.k) w ON w.id = u.id WHERE u.id <= 3) AS n FROM t",
            &["|1|2|", "|2|2|", "|3|1|", "|4|0|", "|5|1|"][..],
        ),
        (
            "SELECT id, (SELECT count(w.id) FROM (SELECT * FROM t x WHERE x.k = t.k) w RIGHT JOIN t u ON w.id = u.id WHERE u.id < t.id) AS n FROM t",
            &["|1|0|", "|2|1|", "|3|0|", "|4|0|", "|5|1|"][..],
        ),
        (
            "SELECT id, (SELECT count(*) FROM (SELECT * FROM t x WHERE x.k = t.k) w JOIN (SELECT * FROM t y WHERE y.id < t.id) z ON w.k = z.k) AS n FROM t",
            &["|1|0|", "|2|2|", "|3|0|", "|4|0|", "|5|2|"][..],
        ),
        (
            "SELECT id, (SELECT count(*) FROM t u JOIN t w USING (k) WHERE u.id < t.id AND w.v = t.v) AS n FROM t",
            &["|1|0|", "|2|0|", "|3|0|", "|4|0|", "|5|3|"][..],
        ),
        (
            "SELECT id, (SELECT sum(r) FROM (SELECT row_number() OVER (ORDER BY u.id DESC) AS r FROM t u WHERE u.k = t.k) q WHERE r > 1) AS n FROM t",
            &["|1|2|", "|2|2|", "|3|2|", "|4||", "|5|2|"][..],
        ),
        (
            "SELECT id, (SELECT sum(r) FROM (SELECT sum(u.v) OVER (PARTITION BY u.k ORDER BY u.id) AS r FROM t u WHERE u.id <> t.id) q) AS n FROM t",
            &["|1|110|", "|2|120|", "|3|70|", "|4|90|", "|5|90|"][..],
        ),
        (
            "SELECT id, (SELECT count(*) FROM (SELECT DISTINCT ON (u.k) u.k, u.v FROM t u WHERE u.id <= t.id ORDER BY u.k, u.id DESC) q WHERE q.v > 5) AS n FROM t",
            &["|1|1|", "|2|0|", "|3|1|", "|4|2|", "|5|2|"][..],
        ),
        (
            "SELECT id, (SELECT sum(t.id * u.id) FROM t u WHERE u.k = t.k) AS n FROM t",
            &["|1|3|", "|2|6|", "|3|24|", "|4||", "|5|40|"][..],
        ),
        (
            "SELECT id, (SELECT count(*) FILTER (WHERE u.v > t.v) FROM t u WHERE u.k = t.k) AS n FROM t",
            &["|1|0|", "|2|0|", "|3|0|", "|4|0|", "|5|1|"][..],
        ),
        (
            "SELECT id, (SELECT t.id + count(*) FROM t u WHERE u.v > t.v) AS n FROM t",
            &["|1|3|", "|2|2|", "|3|4|", "|4|4|", "|5|7|"][..],
        ),
        (
            "SELECT id, (SELECT count(*) FROM t u WHERE u.k = t.k HAVING count(*) < t.id) AS n FROM t",
            &["|1||", "|2||", "|3|2|", "|4|0|", "|5|2|"][..],
        ),
        (
            "SELECT id FROM t WHERE EXISTS (SELECT u.k FROM t u WHERE u.id < t.id GROUP BY u.k HAVING count(*) > 1)",
            &["|3|", "|4|", "|5|"][..],
        ),
        (
            "SELECT id FROM t WHERE NOT EXISTS (SELECT u.k FROM t u WHERE u.id < t.id GROUP BY u.k HAVING count(*) > 1)",
            &["|1|", "|2|"][..],
        ),
        ("SELECT id FROM t WHERE EXISTS (SELECT 1 FROM t u WHERE u.id < t.id OFFSET 2)", &["|4|", "|5|"][..]),
        ("SELECT id FROM t WHERE EXISTS (SELECT 1 FROM t u WHERE u.id < t.id LIMIT 0)", &[][..]),
        (
            "SELECT id FROM t WHERE NOT EXISTS (SELECT 1 FROM t u WHERE u.k = t.k LIMIT 3 OFFSET 1) AND v > 1",
            &["|4|"][..],
        ),
        (
            "SELECT id FROM t WHERE v IN (SELECT u.v FROM t u WHERE u.id <> t.id ORDER BY u.v DESC NULLS LAST LIMIT 2)",
            &[][..],
        ),
        (
            "SELECT id FROM t WHERE v NOT IN (SELECT u.v FROM t u WHERE u.id <> t.id AND u.v IS NOT NULL ORDER BY u.v DESC LIMIT 2)",
            &["|1|", "|3|", "|4|", "|5|"][..],
        ),
        (
            "SELECT id FROM t WHERE k IN (SELECT u.k FROM t u WHERE u.id > t.id GROUP BY u.k HAVING count(*) >= 1) OR id = 4",
            &["|1|", "|3|", "|4|"][..],
        ),
        (
            "SELECT id FROM t WHERE (k IN (SELECT max(u.k) FROM t u WHERE u.id > t.id GROUP BY u.v)) IS NULL",
            &["|2|", "|4|"][..],
        ),
        (
            "SELECT id FROM t WHERE v >= ALL (SELECT max(u.v) FROM t u WHERE u.id < t.id GROUP BY u.k)",
            &["|1|", "|3|", "|4|"][..],
        ),
        (
            "SELECT id FROM t WHERE v < ANY (SELECT max(u.v) FROM t u WHERE u.id <> t.id GROUP BY u.k)",
            &["|1|", "|3|", "|5|"][..],
        ),
        (
            "SELECT id, EXISTS (SELECT 1 FROM t u WHERE u.v = t.id * 10) AS n FROM t",
            &["|1|true|", "|2|false|", "|3|true|", "|4|true|", "|5|false|"][..],
        ),
        (
            "SELECT id, NOT EXISTS (SELECT u.k FROM t u WHERE u.id < t.id GROUP BY u.k HAVING count(*) > 1) AS n FROM t",
            &["|1|true|", "|2|true|", "|3|false|", "|4|false|", "|5|false|"][..],
        ),
        (
            "SELECT id, EXISTS (SELECT u.k FROM t u GROUP BY u.k HAVING count(*) > 2) AS n FROM t",
            &["|1|false|", "|2|false|", "|3|false|", "|4|false|", "|5|false|"][..],
        ),
        (
            "SELECT id, k IN (SELECT u.v / 10 FROM t u) AS n FROM t",
            &["|1|true|", "|2|true|", "|3||", "|4||", "|5||"][..],
        ),
        (
            "SELECT id, k IN (SELECT u.v / 10 FROM t u WHERE u.v IS NOT NULL) AS n FROM t",
            &["|1|true|", "|2|true|", "|3|false|", "|4||", "|5|false|"][..],
        ),
        (
            "SELECT id, k NOT IN (SELECT u.v / 10 FROM t u WHERE u.id < t.id) AS n FROM t",
            &["|1|true|", "|2|false|", "|3||", "|4||", "|5||"][..],
        ),
        (
            "SELECT id, v > ALL (SELECT u.v FROM t u WHERE u.id < t.id) AS n FROM t",
            &["|1|true|", "|2||", "|3||", "|4||", "|5|false|"][..],
        ),
        (
            "SELECT id, CASE WHEN v = ANY (SELECT u.v FROM t u WHERE u.id <> t.id) THEN 'a' ELSE 'b' END AS n FROM t",
            &["|1|a|", "|2|b|", "|3|b|", "|4|b|", "|5|a|"][..],
        ),
        ("SELECT max(id) AS id, sum((SELECT count(*) FROM t u WHERE u.k = t.k)) AS n FROM t", &["|5|8|"][..]),
        (
            "SELECT k AS id, count(*) FILTER (WHERE EXISTS (SELECT 1 FROM t u WHERE u.k = t.k AND u.id < t.id)) AS n FROM t GROUP BY k",
            &["|1|1|", "|2|1|", "||0|"][..],
        ),
        (
            "SELECT sum(id) AS id, (SELECT count(*) FROM t u WHERE u.id < t.k) AS n FROM t GROUP BY (SELECT count(*) FROM t u WHERE u.id < t.k), k IS NULL",
            &["|3|0|", "|4|0|", "|8|1|"][..],
        ),
        (
            "SELECT t.id, l.v FROM t, LATERAL (SELECT u.v FROM t u WHERE u.k = t.k ORDER BY u.v DESC NULLS LAST LIMIT 1) l",
            &["|1|10|", "|2|10|", "|3|30|", "|5|30|"][..],
        ),
        (
            "SELECT t.id * 10 + l.id AS id, l.v FROM t JOIN LATERAL (SELECT u.v, u.id FROM t u WHERE u.id < t.id ORDER BY u.id DESC LIMIT 2) l ON l.id <> 2",
            &["|21|10|", "|31|10|", "|43|30|", "|53|30|", "|54|40|"][..],
        ),
        (
            "SELECT t.id, l.v FROM t LEFT JOIN LATERAL (SELECT u.v, u.id FROM t u WHERE u.id < t.id ORDER BY u.id DESC LIMIT 1) l ON l.id <> 2",
            &["|1||", "|2|10|", "|3||", "|4|30|", "|5|40|"][..],
        ),
        (
            "SELECT t.id, l.n FROM t CROSS JOIN LATERAL (SELECT count(*) FROM t u WHERE u.id < t.id) l(n)",
            &["|1|0|", "|2|1|", "|3|2|", "|4|3|", "|5|4|"][..],
        ),
        (
            "SELECT t.id, l.n FROM t LEFT JOIN LATERAL (SELECT sum(u.v) AS n FROM t u WHERE u.id < t.id HAVING count(*) > 1) l ON true",
            &["|1||", "|2||", "|3|10|", "|4|40|", "|5|80|"][..],
        ),
        (
            "SELECT t.id, l.n FROM t CROSS JOIN LATERAL (SELECT t.id + 1 AS n) l",
            &["|1|2|", "|2|3|", "|3|4|", "|4|5|", "|5|6|"][..],
        ),
        (
            "SELECT t.id, l.n + m.n AS n FROM t CROSS JOIN LATERAL (SELECT count(*) AS n FROM t u WHERE u.id < t.id) l CROSS JOIN LATERAL (SELECT count(*) AS n FROM t w WHERE w.id < l.n) m",
            &["|1|0|", "|2|1|", "|3|3|", "|4|5|", "|5|7|"][..],
        ),
        (
            "SELECT t.id, l.n FROM t CROSS JOIN LATERAL (SELECT count(*) AS n FROM t u WHERE u.k = t.k AND u.id IN (SELECT w.id FROM t w WHERE w.v > u.v - 1)) l",
            &["|1|1|", "|2|1|", "|3|2|", "|4|0|", "|5|2|"][..],
        ),
        (
            "SELECT t.id * 100 + l.e AS id, l.e AS n FROM t CROSS JOIN unnest(make_array(t.k, t.v)) AS l(e)",
            &["|101|1|", "|110|10|", "|201|1|", "|302|2|", "|330|30|", "|440|40|", "|502|2|", "|510|10|", "|||", "|||"]
                [..],
        ),
        (
            "SELECT id, (SELECT sum(e) FROM unnest(make_array(t.k, t.v)) AS q(e)) AS n FROM t",
            &["|1|11|", "|2|1|", "|3|32|", "|4|40|", "|5|12|"][..],
        ),
        (
            "SELECT id, (SELECT count(*) FROM t u WHERE u.id < t.id AND EXISTS (SELECT 1 FROM t w WHERE w.k = u.k AND w.id > u.id)) AS n FROM t",
            &["|1|0|", "|2|1|", "|3|1|", "|4|2|", "|5|2|"][..],
        ),
        (
            "SELECT id, (SELECT count(*) FROM t u WHERE EXISTS (SELECT 1 FROM t w WHERE w.k = u.k AND w.id > t.id)) AS n FROM t",
            &["|1|4|", "|2|2|", "|3|2|", "|4|2|", "|5|0|"][..],
        ),
        (
            "SELECT id, (SELECT count(*) FROM t u WHERE u.v > (SELECT avg(w.v) FROM t w WHERE w.id <> u.id AND w.id <= t.id)) AS n FROM t",
            &["|1|2|", "|2|2|", "|3|2|", "|4|2|", "|5|2|"][..],
        ),
        (
            "SELECT id FROM t WHERE EXISTS (SELECT 1 FROM t u WHERE u.k = t.k AND u.v = (SELECT max(w.v) FROM t w WHERE w.id < u.id))",
            &[][..],
        ),
        (
            "SELECT id, (SELECT min(x.v) FROM t x WHERE x.v > (SELECT y.v FROM t y WHERE y.id < t.id ORDER BY y.id LIMIT 1)) AS n FROM t",
            &["|1||", "|2|30|", "|3|30|", "|4|30|", "|5|30|"][..],
        ),
        (
            "SELECT id, (SELECT max(q.v) FROM (SELECT u.v FROM t u WHERE u.k = t.k) q) AS n FROM t",
            &["|1|10|", "|2|10|", "|3|30|", "|4||", "|5|30|"][..],
        ),
        (
            "SELECT id FROM t WHERE EXISTS (SELECT 1 FROM (SELECT u.v FROM t u WHERE u.k = t.k) q WHERE q.v > 15)",
            &["|3|", "|5|"][..],
        ),
        (
            "SELECT id FROM t WHERE EXISTS (SELECT u.k FROM t u GROUP BY u.k HAVING count(*) < t.id AND max(u.v) > t.v)",
            &["|3|", "|5|"][..],
        ),
        (
            "SELECT id, (SELECT string_agg(s, ',' ORDER BY s) FROM (SELECT CAST(u.id AS TEXT) AS s FROM t u WHERE u.id < t.id ORDER BY u.id DESC LIMIT 2) q) AS n FROM t",
            &["|1||", "|2|1|", "|3|1,2|", "|4|2,3|", "|5|3,4|"][..],
        ),
        (
            "SELECT t.id * 100 + l.e AS id, l.e AS n FROM t, unnest(make_array(t.k, t.v)) AS l(e) WHERE l.e > 2",
            &["|110|10|", "|330|30|", "|440|40|", "|510|10|"][..],
        ),
        (
            "SELECT t.id * 100 + l.e AS id, l.e AS n FROM t JOIN unnest(make_array(t.k, t.v)) AS l(e) ON l.e > t.id",
            &["|110|10|", "|330|30|", "|440|40|", "|510|10|"][..],
        ),
        (
            "SELECT t.id * 100 + l.e AS id, l.e AS n FROM t LEFT JOIN unnest(make_array(t.k, t.v)) AS l(e) ON l.e > 5",
            &["|110|10|", "|330|30|", "|440|40|", "|510|10|", "|||"][..],
        ),
        (
            "SELECT t.id FROM t WHERE EXISTS (SELECT 1 FROM unnest(make_array(t.k, t.v)) AS l(e) WHERE l.e > 5)",
            &["|1|", "|3|", "|4|", "|5|"][..],
        ),
        ("SELECT t.id FROM t WHERE 30 IN (SELECT e FROM unnest(make_array(t.k, t.v)) AS l(e))", &["|3|"][..]),
        (
            "SELECT t.id * 10000 + l.e * 100 + m.f AS id, l.e AS n FROM t, unnest(make_array(t.k, t.v)) AS l(e), unnest(make_array(l.e, t.id)) AS m(f) WHERE l.e + m.f + t.id > 3",
            &[
                "|11001|10|",
                "|11010|10|",
                "|20101|1|",
                "|20102|1|",
                "|30202|2|",
                "|30203|2|",
                "|33003|30|",
                "|33030|30|",
                "|44004|40|",
                "|44040|40|",
                "|50202|2|",
                "|50205|2|",
                "|51005|10|",
                "|51010|10|",
            ][..],
        ),
        (
            "SELECT a.id FROM t a, unnest(make_array(a.k, 3)) AS q(e) JOIN t b ON b.id = q.e WHERE a.id + b.id > 5",
            &["|3|", "|4|", "|5|", "|5|"][..],
        ),
        (
            "SELECT t.id, l.n FROM t LEFT JOIN LATERAL (SELECT count(*) AS n FROM t u WHERE u.k = t.k) l ON l.n > 1",
            &["|1|2|", "|2|2|", "|3|2|", "|4||", "|5|2|"][..],
        ),
        (
            "SELECT k AS id, count(*) FILTER (WHERE t.v > ALL (SELECT max(u.v) FROM t u WHERE u.id < t.id GROUP BY u.k)) AS n FROM t GROUP BY k",
            &["|1|1|", "|2|1|", "||1|"][..],
        ),
        (
            "SELECT t.id, l.v FROM t LEFT JOIN LATERAL (SELECT u.v FROM t u WHERE u.k = t.k AND FALSE) l ON true",
            &["|1||", "|2||", "|3||", "|4||", "|5||"][..],
        ),
        (
            "SELECT t.id * 10 + l.id AS id, l.v FROM t JOIN LATERAL (SELECT u.v, u.id FROM t u WHERE u.k = t.k OR TRUE) l ON l.v > 20",
            &[
                "|13|30|", "|14|40|", "|23|30|", "|24|40|", "|33|30|", "|34|40|", "|43|30|", "|44|40|", "|53|30|",
                "|54|40|",
            ][..],
        ),
        (
            "SELECT a.id * 100 + m.id * 10 + coalesce(l.id, 0) AS id, l.v FROM t a LEFT JOIN LATERAL (SELECT u.id, u.v FROM t u WHERE u.k <> a.k) l ON l.v > 5 CROSS JOIN LATERAL (SELECT w.id FROM t w WHERE w.k = a.k) m",
            &[
                "|113|30|", "|115|10|", "|123|30|", "|125|10|", "|213|30|", "|215|10|", "|223|30|", "|225|10|",
                "|331|10|", "|351|10|", "|531|10|", "|551|10|",
            ][..],
        ),
        (
            "SELECT a.id * 100 + m.id * 10 + coalesce(l.id, 0) AS id, l.v FROM t a LEFT JOIN LATERAL (SELECT u.id, u.v FROM t u WHERE u.k = a.k) l ON true LEFT JOIN LATERAL (SELECT w.id FROM t w WHERE w.k = a.k AND w.id > l.id) m ON true WHERE m.id IS NOT NULL",
            &["|121|10|", "|221|10|", "|353|30|", "|553|30|"][..],
        ),
        (
            "SELECT a.id * 10 + l.id AS id, l.n FROM t a JOIN LATERAL (SELECT u.id, coalesce(u.v, a.id) AS n FROM t u WHERE u.k >= a.k) l ON l.n = a.v",
            &["|11|10|", "|15|10|", "|33|30|", "|55|10|"][..],
        ),
        (
            "SELECT t.id * 10 + coalesce(l.x, 0) AS id, l.y FROM t JOIN LATERAL (SELECT u.k AS x, u.v AS y FROM t u WHERE u.id < t.id AND FALSE UNION ALL SELECT max(w.k) AS x, max(w.v) AS y FROM (SELECT DISTINCT z.k, z.v FROM t z WHERE z.id <> t.id) w) l ON l.x = t.k",
            &["|32|40|", "|52|40|"][..],
        ),
        (
            "SELECT id, coalesce(t.k, 2) IN (SELECT c.x FROM (SELECT a.x FROM (SELECT u.v AS x FROM t u WHERE u.k = t.v AND FALSE UNION SELECT w.k AS x FROM t w WHERE w.k < t.id) a JOIN (SELECT DISTINCT z.k AS x FROM t z) b ON a.x = b.x) c) AS n FROM t",
            &["|1|false|", "|2|true|", "|3|true|", "|4|true|", "|5|true|"][..],
        ),
        (
            "SELECT q.k AS id, (SELECT count(*) FROM t u WHERE u.v > q.k) AS n FROM (SELECT k, count(*) AS c FROM t GROUP BY k) q CROSS JOIN t r WHERE q.k IS NOT NULL",
            &["|1|4|", "|1|4|", "|1|4|", "|1|4|", "|1|4|", "|2|4|", "|2|4|", "|2|4|", "|2|4|", "|2|4|"][..],
        ),
        (
            "SELECT q.k AS id, sum((SELECT count(*) FROM t u WHERE u.id > q.k)) AS n FROM (SELECT k, array_agg(id) AS l FROM t WHERE k > 0 GROUP BY k) q, unnest(q.l) AS e GROUP BY q.k",
            &["|1|8|", "|2|6|"][..],
        ),
        (
            "SELECT q.k AS id FROM (SELECT k, count(*) AS c FROM t GROUP BY k) q WHERE EXISTS (SELECT 1 FROM t u WHERE u.v > q.k OFFSET 1) OR q.c > 100",
            &["|1|", "|2|"][..],
        ),
        (
            "SELECT t.k AS id, count(*) AS c, t.k IN (SELECT u.k FROM t u WHERE u.v > t.k) AS p FROM t GROUP BY t.k",
            &["|1|2|true|", "|2|2|true|", "||1|false|"][..],
        ),
        (
            "SELECT q.k AS id, (SELECT count(*) FROM t r WHERE r.k < (SELECT count(*) FROM t u WHERE u.id < q.k)) AS n FROM (SELECT k, count(*) AS c FROM t GROUP BY k) q",
            &["|1|0|", "|2|0|", "||0|"][..],
        ),
        (
            "SELECT t.id, (SELECT count(*) FROM t u WHERE u.id <> t.id AND u.k <= t.k AND EXISTS (SELECT 1 FROM t WHERE t.id > u.id AND EXISTS (SELECT 1 FROM t r WHERE r.k = t.k AND r.id < t.id))) AS n FROM t",
            &["|1|1|", "|2|1|", "|3|2|", "|4|0|", "|5|3|"][..],
        ),
        (
            "SELECT id, (SELECT 1 FROM t u WHERE u.k = t.v HAVING count(*) = 0) AS n FROM t",
            &["|1|1|", "|2|1|", "|3|1|", "|4|1|", "|5|1|"][..],
        ),
        (
            "SELECT id, (SELECT 1 FROM t u WHERE u.k = t.k HAVING count(*) > 1) AS n FROM t",
            &["|1|1|", "|2|1|", "|3|1|", "|4||", "|5|1|"][..],
        ),
        (
            "SELECT t.id FROM t WHERE EXISTS (SELECT b.k FROM t b JOIN t c ON b.id = c.id + 1 WHERE c.k = t.k)",
            &["|1|", "|2|", "|3|", "|5|"][..],
        ),
        (
            "SELECT t.id FROM t WHERE EXISTS (SELECT * FROM t u JOIN t r ON r.k = u.id WHERE r.k = t.k)",
            &["|1|", "|2|", "|3|", "|5|"][..],
        ),
        (
            "SELECT t.id FROM t WHERE t.id = ANY (SELECT u.id FROM t u JOIN t x ON x.k = u.k WHERE x.id = t.id)",
            &["|1|", "|2|", "|3|", "|5|"][..],
        ),
        (
            "SELECT t.id FROM t WHERE t.id NOT IN (SELECT u.id FROM t u JOIN t x ON x.k = u.k WHERE x.id = t.id)",
            &["|4|"][..],
        ),
        (
            "SELECT t.id FROM t WHERE t.v > ALL (SELECT u.id FROM t u JOIN t x ON x.k = u.k WHERE x.id = t.id)",
            &["|1|", "|3|", "|4|", "|5|"][..],
        ),
        (
            "SELECT t.id, count(*) AS n FROM t CROSS JOIN LATERAL (SELECT DISTINCT u.v AS x FROM t u WHERE u.id >= t.id) l GROUP BY t.id",
            &["|1|4|", "|2|4|", "|3|3|", "|4|2|", "|5|1|"][..],
        ),
        (
            "SELECT id, (SELECT max(u.v) + 1 FROM t u WHERE u.k = t.v) AS n FROM t",
            &["|1||", "|2||", "|3||", "|4||", "|5||"][..],
        ),
        (
            "SELECT id, (SELECT sum(u.v) * 2 FROM t u WHERE u.k = t.k) AS n FROM t",
            &["|1|20|", "|2|20|", "|3|80|", "|4||", "|5|80|"][..],
        ),
        (
            "SELECT id, (SELECT array_length(array_agg(u.id), 1) FROM t u WHERE u.id < t.id) AS n FROM t",
            &["|1||", "|2|1|", "|3|2|", "|4|3|", "|5|4|"][..],
        ),
        (
            "SELECT id, (SELECT count(*) FROM t u WHERE u.k = t.k AND u.v >= (SELECT min(r.v) FROM t r WHERE r.k = t.k)) AS n FROM t",
            &["|1|1|", "|2|1|", "|3|2|", "|4|0|", "|5|2|"][..],
        ),
        (
            "SELECT t.id FROM t WHERE t.k IN (SELECT u.k FROM t u WHERE u.v IN (SELECT x.v FROM t x WHERE x.k = t.k))",
            &["|1|", "|2|", "|3|", "|5|"][..],
        ),
        (
            "SELECT u.id, (SELECT x.k FROM t x WHERE x.k = u.id ORDER BY x.k LIMIT 1) AS n FROM t u",
            &["|1|1|", "|2|2|", "|3||", "|4||", "|5||"][..],
        ),
        (
            "SELECT t.id, (SELECT max(a.id) AS k FROM t a WHERE a.k = t.v / 10) AS n FROM t",
            &["|1|2|", "|2||", "|3||", "|4||", "|5|2|"][..],
        ),
        (
            "SELECT t.id FROM t WHERE t.id <> ALL (SELECT u.id FROM t u WHERE u.k = t.v ORDER BY u.id LIMIT 1)",
            &["|1|", "|2|", "|3|", "|4|", "|5|"][..],
        ),
        (
            "SELECT t.id FROM t WHERE NOT (t.k > ANY (SELECT u.id FROM t u WHERE u.k = t.v ORDER BY u.id LIMIT 1))",
            &["|1|", "|2|", "|3|", "|4|", "|5|"][..],
        ),
    ] {
        let rows = testing::rows(T, 2, &format!("SELECT * FROM ({sql}) q ORDER BY id")).await;
        assert_eq!(rows.map_err(|e| e.to_string()), Ok(expected.iter().map(|r| r.to_string()).collect()), "{sql}");
    }
}

#[tokio::test]
async fn what_cannot_be_joined_is_refused() {
    for sql in [
        "SELECT id, (SELECT count(*) FROM (SELECT * FROM t x WHERE x.k = t.k) x FULL JOIN t y ON x.id = y.id) AS n FROM t",
        "SELECT id FROM t WHERE EXISTS (SELECT u.k FROM t u WHERE u.k = t.k GROUP BY ROLLUP (u.k))",
        "SELECT id, (SELECT count(*) FROM (SELECT u.k FROM t u WHERE u.k = t.k GROUP BY GROUPING SETS ((u.k), ())) q) AS n FROM t",
        "SELECT id, (SELECT sum(t.v) FROM t u WHERE u.k = 1) AS n FROM t",
    ] {
        let error = testing::rows(T, 2, sql).await.unwrap_err().to_string();
        assert!(error.contains("tables outside of it"), "{sql}: {error}");
    }
}
