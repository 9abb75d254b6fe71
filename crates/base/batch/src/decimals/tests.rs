use crate::testing;

const W: &str = "CREATE TABLE w (id INT, d DECIMAL(10,2), f DOUBLE, r REAL, e DECIMAL(38,10)) AS VALUES
    (1, 0.30, 0.30000000000000004, 0.1, 5),
    (2, 0.00, 1e-20, 0, '1234567890123456789012345678.5'::decimal(38,10)),
    (3, 1.10, 1.1, 1.1, 0.25),
    (4, 5.00, 7, 5, NULL)";

async fn ids(condition: &str) -> String {
    let sql = format!("SELECT id FROM w WHERE {condition} ORDER BY id");
    match testing::rows(W, 2, &sql).await {
        Ok(rows) => rows.concat().replace('|', ""),
        Err(e) => e.to_string(),
    }
}

#[tokio::test]
async fn a_decimal_is_compared_with_a_floating_point_number_as_one() {
    for (condition, expected) in [
        ("d = f", "3"),
        ("d < f", "124"),
        ("f > d", "124"),
        ("d <> f", "124"),
        ("d IS NOT DISTINCT FROM f", "3"),
        ("d = r", "24"),
        ("d BETWEEN f AND 7", "3"),
        ("f BETWEEN d AND d + 1", "123"),
        ("d IN (f, 5)", "34"),
        ("f IN (d, 7)", "34"),
        ("d IN (SELECT f FROM w)", "3"),
        ("f IN (SELECT d FROM w)", "3"),
        ("d NOT IN (SELECT f FROM w)", "124"),
        ("d = ANY (SELECT x.f FROM w x)", "3"),
        ("d >= ALL (SELECT x.f FROM w x WHERE x.id < 4)", "34"),
        ("d = (SELECT max(x.f) FROM w x WHERE x.id = w.id)", "3"),
        ("nullif(d, f) IS NULL", "3"),
        ("CASE f WHEN d THEN 1 ELSE 2 END = 1", "3"),
        ("d = 1e300 / f", ""),
        ("d < 1 / (f - f)", "1234"),
    ] {
        assert_eq!(ids(condition).await, expected, "{condition}");
    }
}

#[tokio::test]
async fn a_number_in_a_query_has_the_digits_that_it_is_written_with() {
    for (condition, expected) in [
        ("d = 0.3", "1"),
        ("d = 0.1 + 0.2", "1"),
        ("d = 3 * 0.1", "1"),
        ("-d = -0.3", "1"),
        ("d IN (0.3, 1e2, 5)", "14"),
        ("d = ANY (ARRAY[0.3, 1e2, 5])", "14"),
        ("d = ANY (ARRAY[0.3, 1e200])", "1"),
        ("d = ANY (ARRAY[f, 5])", "34"),
        ("f = ANY (ARRAY[d, 7::decimal(10,2)])", "34"),
        ("0.3 = ANY (ARRAY[d, e])", "1"),
        ("d IN (0.3, 1e20)", "1"),
        ("d < 1e30", "1234"),
        ("d < 1e300", "1234"),
        ("d > -1e16", "1234"),
        ("e > 0.5", "12"),
        ("e = 0.25", "3"),
        ("e > 0.000000000001", "123"),
        ("e = '1234567890123456789012345678.5'::decimal(38,10)", "2"),
        ("f = '0.30000000000000004'::decimal(17,17)", "1"),
        ("f = -('-0.30000000000000004'::decimal(17,17))", "1"),
        ("e = '1234567890123456789012345678'::decimal(28) + 0.5", "2"),
        ("1.5::decimal(10,2) / 0.5 = 3", "1234"),
        ("d BETWEEN 0.3 AND 1.1", "13"),
        ("coalesce(e, 0.0) < 0.25", "4"),
        ("d = 0.3::double", "1"),
        ("id = 0.5 + 0.5", "1"),
        ("d = '0.3'", "1"),
        ("d = '0.299'", ""),
        ("d > '0.299'", "134"),
        ("'0.299' <> d", "1234"),
        ("d IN ('1.101', '5')", "4"),
        ("d IN (f, '0.3')", "13"),
        ("d < '123456789012'", "1234"),
        ("d BETWEEN ' 2.999e-1 ' AND '1.1'", "13"),
        ("CASE d WHEN '1.101' THEN false ELSE true END", "1234"),
        ("nullif(d, '1.101') IS NOT NULL", "1234"),
        ("e > '0.000000000001'", "123"),
        ("e = '1234567890123456789012345678.5'", "2"),
        ("1.5::decimal(10,2) > '-.5'", "1234"),
    ] {
        assert_eq!(ids(condition).await, expected, "{condition}");
    }
}

/// The rows of a query side by side.
async fn rows(sql: &str) -> String {
    match testing::rows(W, 2, sql).await {
        Ok(rows) => rows.iter().map(|r| r.trim_matches('|')).collect::<Vec<_>>().join(" "),
        Err(e) => e.to_string(),
    }
}

#[tokio::test]
async fn what_is_chosen_of_both_is_a_floating_point_number() {
    for (chosen, expected) in [
        ("coalesce(d, f)", "0.3 0.0 1.1 5.0"),
        ("least(f, d)", "0.3 0.0 1.1 5.0"),
        ("greatest(d, f)", "0.30000000000000004 1e-20 1.1 7.0"),
        ("CASE WHEN id > 2 THEN d ELSE f END", "0.30000000000000004 1e-20 1.1 5.0"),
        ("coalesce(r, d)", "0.1 0.0 1.1 5.0"),
        ("coalesce(d, 0.0)", "0.30 0.00 1.10 5.00"),
        ("CASE WHEN id > 2 THEN d ELSE 0.125 END", "0.125 0.125 1.100 5.000"),
        ("make_array(d, f)[2]", "0.30000000000000004 1e-20 1.1 7.0"),
        ("d + r", "0.4000000014901161 0.0 2.200000023841858 10.0"),
        ("r - d", "-0.19999999850988387 0.0 2.3841857821338408e-8 0.0"),
        ("d * 2", "0.60 0.00 2.20 10.00"),
        ("d * 2.0", "0.6 0.0 2.2 10.0"),
    ] {
        assert_eq!(rows(&format!("SELECT {chosen} AS x FROM w ORDER BY id")).await, expected, "{chosen}");
    }
    for (sql, expected) in [
        (
            "SELECT d AS x FROM w UNION SELECT f FROM w WHERE id < 3 ORDER BY x",
            "0.0 1e-20 0.3 0.30000000000000004 1.1 5.0",
        ),
        ("SELECT d AS x FROM w UNION ALL SELECT 0.5 ORDER BY x", "0.00 0.30 0.50 1.10 5.00"),
        ("SELECT d AS x FROM w WHERE id = 1 UNION SELECT 1e30 ORDER BY x", "0.30 1000000000000000000000000000000.00"),
        ("SELECT d AS x FROM w INTERSECT SELECT f FROM w", "1.1"),
        ("SELECT f FROM w INTERSECT SELECT d FROM w", "1.1"),
        ("SELECT d AS x FROM w EXCEPT SELECT f FROM w ORDER BY x", "0.0 0.3 5.0"),
        ("SELECT a.d, b.id FROM w a JOIN w b ON a.d = b.f", "1.10|3"),
        (
            "SELECT a.id, coalesce(b.id, 0) FROM w a LEFT JOIN w b ON a.d = b.f AND b.id > 0 ORDER BY 1",
            "1|0 2|0 3|3 4|0",
        ),
        ("SELECT id FROM w JOIN (SELECT f AS d FROM w) q USING (d)", "3"),
        ("SELECT * FROM (VALUES (0.1::decimal(3,1)), (1e-20::double)) v(x)", "0.1 1e-20"),
        ("SELECT * FROM (VALUES (0.1::decimal(3,1)), (0.25)) v(x)", "0.10 0.25"),
        ("SELECT a.x = b.f FROM (SELECT 1 AS x UNION SELECT d FROM w) a JOIN w b ON a.x = b.f", "true"),
        ("SELECT count(x) FROM (SELECT '0.50'::decimal(3,2) AS x) q WHERE x = 0.5", "1"),
    ] {
        assert_eq!(rows(sql).await, expected, "{sql}");
    }
}
