use datafusion::common::Result;

use crate::testing;

const ROWS: &str = "CREATE TABLE t (a INT, b INT, s VARCHAR, d DECIMAL(10, 2)) AS VALUES \
                    (4, 2, '3', 2), (1, 0, 'x', 0), (6, 3, '7', 3), (5, NULL, '5', 1), (NULL, 1, '1', NULL)";

async fn answer(partitions: usize, sql: &str) -> Result<Vec<String>> {
    testing::rows(ROWS, partitions, sql).await
}

async fn is(sql: &str, expected: &[&str]) {
    for partitions in [1, 2, 8] {
        let rows = answer(partitions, sql).await.unwrap_or_else(|e| panic!("{sql}, {partitions} partitions: {e}"));
        assert_eq!(rows, expected, "{sql}, {partitions} partitions");
    }
}

async fn fails(sql: &str) {
    assert!(answer(1, sql).await.is_err(), "{sql}");
}

async fn plan(sql: &str) -> String {
    answer(1, &format!("EXPLAIN {sql}")).await.unwrap().join("\n")
}

#[tokio::test]
async fn a_condition_guards_those_behind_it() {
    is("SELECT a FROM t WHERE b <> 0 AND a / b > 1 ORDER BY a", &["|4|", "|6|"]).await;
    is("SELECT a FROM t WHERE a / b > 1 AND b <> 0 ORDER BY a", &["|4|", "|6|"]).await;
    is("SELECT a FROM t WHERE b = 0 OR a / b > 1 ORDER BY a", &["|1|", "|4|", "|6|"]).await;
    is("SELECT a FROM t WHERE NOT (b = 0 OR a / b > 1) ORDER BY a", &[]).await;
    is("SELECT a FROM t WHERE d <> 0 AND a % d = 0 ORDER BY a", &["|4|", "|5|", "|6|"]).await;
    is("SELECT a FROM t WHERE s ~ '^[0-9]+$' AND s::int > 4 ORDER BY a", &["|5|", "|6|"]).await;
    is("SELECT a FROM t WHERE s <> 'x' AND s::int <> 1 AND 8 / (s::int - 1) > 1 ORDER BY a", &["|4|", "|5|"]).await;
    is("SELECT a FROM t WHERE (b <> 0 AND a / b > 1) OR (s <> 'x' AND s::int = 5) ORDER BY a", &["|4|", "|5|", "|6|"])
        .await;
}

#[tokio::test]
async fn a_case_guards_its_branches() {
    is("SELECT a FROM t WHERE CASE WHEN b <> 0 THEN a / b > 1 ELSE false END ORDER BY a", &["|4|", "|6|"]).await;
    is("SELECT a FROM t WHERE CASE WHEN b = 0 THEN true ELSE a / b > 1 END ORDER BY a", &["|1|", "|4|", "|6|"]).await;
    let three = "CASE WHEN b = 0 THEN a = 1 WHEN s::int > 5 THEN a / b = 2 ELSE a / b = 3 END";
    is(&format!("SELECT a FROM t WHERE {three} ORDER BY a"), &["|1|", "|6|"]).await;
    is(&format!("SELECT a, {three} AS c FROM t WHERE a < 5 ORDER BY a"), &["|1|true|", "|4|false|"]).await;
}

#[tokio::test]
async fn a_condition_inside_guards_those_outside() {
    is("SELECT a / b AS r FROM (SELECT * FROM t WHERE b <> 0) x WHERE a / b > 1 ORDER BY a", &["|2|", "|2|"]).await;
    is("SELECT * FROM (SELECT a / b AS r FROM t WHERE b <> 0) x WHERE r > 1", &["|2|", "|2|"]).await;
}

#[tokio::test]
async fn null_is_told_from_false() {
    let sql = "SELECT a, b <> 0 AND a / b > 1 AS x, b = 0 OR a / b > 1 AS o FROM t ORDER BY a NULLS LAST";
    is(sql, &["|1|false|true|", "|4|true|true|", "|5|||", "|6|true|true|", "||||"]).await;
    let sql = "SELECT a, b <> 0 AND a > 4 AND 10 / a = 1 AS x, b > 9 OR 10 / a = 2 AS o FROM t ORDER BY a";
    is(sql, &["|1|false|false|", "|4|false|true|", "|5|false|true|", "|6|true|false|", "||||"]).await;
    let sql = "SELECT a FROM t WHERE (b <> 0 AND a / b > 1) IS NULL ORDER BY a";
    is(sql, &["|5|", "||"]).await;
    // NULL decides nothing.
    fails("SELECT NULLIF(a, 1) > 0 AND a / b > 1 FROM t").await;
    fails("SELECT a FROM t WHERE a / b > 1 OR b = 0").await;
}

#[tokio::test]
async fn conditions_of_joins_are_guarded() {
    let sql = "SELECT x.a, y.a FROM t x JOIN t y ON x.a = y.a AND y.b <> 0 AND x.a / y.b > 1 ORDER BY x.a";
    is(sql, &["|4|4|", "|6|6|"]).await;
    let sql = "SELECT x.a, y.a FROM t x LEFT JOIN t y ON x.a = y.a AND x.a / y.b > 1 AND x.b <> 0 ORDER BY x.a";
    is(sql, &["|1||", "|4|4|", "|5||", "|6|6|", "|||"]).await;
    for on in ["x.b <> y.b AND 6 / (x.b - y.b) > 2", "6 / (x.b - y.b) > 2 AND x.b <> y.b"] {
        let sql = format!("SELECT x.a, y.b FROM t x LEFT JOIN t y ON {on} ORDER BY x.a, y.b");
        is(&sql, &["|1||", "|4|0|", "|4|1|", "|5||", "|6|1|", "|6|2|", "||0|"]).await;
    }
}

#[tokio::test]
async fn aggregates_are_guarded() {
    is("SELECT count(*) FILTER (WHERE b <> 0 AND a / b > 1) AS n FROM t", &["|2|"]).await;
    is("SELECT count(*) FILTER (WHERE a / b > 1 AND b <> 0) AS n, sum(a) AS s FROM t", &["|2|16|"]).await;
    is(
        "SELECT sum(CASE WHEN b <> 0 AND a / b > 1 THEN a END) AS s, bool_or(b <> 0 AND a / b > 1) AS o FROM t",
        &["|10|true|"],
    )
    .await;
    // The arguments of a row that FILTER leaves out are not computed.
    is("SELECT sum(a / b) FILTER (WHERE b <> 0) AS s, count(*) FROM t", &["|4|5|"]).await;
    is("SELECT count(DISTINCT a / b) FILTER (WHERE b <> 0) AS s FROM t", &["|1|"]).await;
    is(
        "SELECT b > 1 AS g, max(s::int) FILTER (WHERE s <> 'x') AS m FROM t GROUP BY 1 ORDER BY 1",
        &["|false|1|", "|true|7|", "||5|"],
    )
    .await;
    is("SELECT array_agg(a ORDER BY a / b DESC, a) FILTER (WHERE b > 0) AS l FROM t", &["|[,4,6]|"]).await;
    is(
        "SELECT b, sum(a / b) FILTER (WHERE b <> 0) AS s FROM t GROUP BY ROLLUP (b) ORDER BY b, s",
        &["|0||", "|1||", "|2|2|", "|3|2|", "||4|", "|||"],
    )
    .await;
    fails("SELECT sum(a / b) AS s FROM t").await;
    fails("SELECT sum(a / b) FILTER (WHERE a > 0) AS s FROM t").await;
    // Of two in opposite orders one is computed from the other end.
    is(
        "SELECT nth_value(a, 1 ORDER BY a) AS f, nth_value(CASE WHEN b <> 0 AND a / b > 1 THEN a END, 1 ORDER BY a DESC) AS l \
         FROM t WHERE b > 1",
        &["|4|6|"],
    )
    .await;
    is("SELECT sum(10 / b) FILTER (WHERE EXISTS (SELECT 1 FROM t x WHERE x.a = t.b)) AS s FROM t", &["|10|"]).await;
}

#[tokio::test]
async fn orders_hold_above_guards() {
    let sql =
        "SELECT a, row_number() OVER (PARTITION BY b ORDER BY a) AS n FROM t WHERE b = 2 AND a / b > 1 ORDER BY b, a";
    is(sql, &["|4|1|"]).await;
    let sql = "SELECT a, lag(a) OVER (PARTITION BY s::int ORDER BY a) AS n FROM t WHERE b <> 0 AND s::int = 7 ORDER BY s::int, a";
    is(sql, &["|6||"]).await;
}

#[tokio::test]
async fn what_cannot_fail_is_left_alone() {
    for sql in [
        "SELECT a FROM t WHERE b <> 0 AND a > 1 OR s = 'x'",
        "SELECT a FROM t WHERE a > 1 AND b / 2 > 1 AND a % 10 = 3",
        "SELECT a FROM t WHERE b <> 0 AND a::bigint > 5 AND a::double / b > 1 AND d * a > 3",
        "SELECT a FROM t WHERE b <> 0 AND try_cast(s AS int) > 1",
        "SELECT a FROM t WHERE a / b > 1",
    ] {
        let plan = plan(sql).await;
        assert!(plan.contains("FilterExec") && !plan.contains("CASE"), "{plan}");
    }
    let volatile = plan("SELECT a FROM t WHERE random() < 0.5 AND a / b > 1").await;
    assert!(!volatile.contains("CASE"), "{volatile}");
    for divisor in ["0", "-1"] {
        let plan = plan(&format!("SELECT a FROM t WHERE s = 'y' AND a / {divisor} > 1")).await;
        assert!(plan.contains("CASE"), "{plan}");
    }
}
