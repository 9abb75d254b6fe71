use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::datasource::MemTable;
use datafusion::prelude::SessionContext;

use crate::testing;

const ROWS: &str = "CREATE TABLE t (k INT, v INT) AS VALUES (3, 1), (1, 2), (4, 1), (2, 2)";

async fn rows(partitions: usize, sql: &str) -> Vec<String> {
    testing::rows(ROWS, partitions, sql).await.unwrap()
}

async fn is(sql: &str, expected: &[&str]) {
    for partitions in [1, 2, 8] {
        assert_eq!(rows(partitions, sql).await, expected, "{sql}, {partitions} partitions");
    }
}

#[tokio::test]
async fn one_row_is_not_constant_where_an_outer_join_fills_it_up() {
    let one = "(SELECT sum(v) AS s FROM t) b";
    let left = format!("SELECT t.k, b.s FROM t LEFT JOIN {one} ON t.k > 2 ORDER BY b.s DESC NULLS LAST, t.k");
    is(&left, &["|3|6|", "|4|6|", "|1||", "|2||"]).await;
    let right = format!("SELECT t.k, b.s FROM {one} RIGHT JOIN t ON t.k > 2 ORDER BY b.s NULLS FIRST, t.k DESC");
    is(&right, &["|2||", "|1||", "|4|6|", "|3|6|"]).await;
    let full = format!("SELECT t.k, b.s FROM t FULL JOIN {one} ON t.k = b.s - 3 ORDER BY b.s NULLS LAST, t.k LIMIT 2");
    is(&full, &["|3|6|", "|1||"]).await;
}

#[tokio::test]
async fn what_a_filter_fixes_is_not_constant_where_an_outer_join_fills_it_up() {
    let sql =
        "SELECT t.k, b.v FROM t LEFT JOIN (SELECT k, v FROM t WHERE v = 1) b ON t.k = b.k ORDER BY b.v NULLS LAST, t.k";
    is(sql, &["|3|1|", "|4|1|", "|1||", "|2||"]).await;
}

#[tokio::test]
async fn one_row_is_not_constant_under_grouping_sets() {
    let sql =
        "SELECT s, count(*) AS n FROM (SELECT sum(v) AS s FROM t) GROUP BY ROLLUP (s) ORDER BY s NULLS FIRST LIMIT 1";
    is(sql, &["||1|"]).await;
    let sql = "SELECT v, count(*) AS n FROM (SELECT v FROM t WHERE v = 1) GROUP BY CUBE (v) ORDER BY v NULLS FIRST, n";
    is(sql, &["||2|", "|1|2|"]).await;
}

#[tokio::test]
async fn what_takes_the_place_of_a_unique_column_is_not_unique() {
    let groups =
        "(SELECT CASE WHEN n > 2 THEN 1 ELSE n END AS p, k, n FROM (SELECT k, count(*) AS n FROM t GROUP BY k))";
    let sql = format!(
        "SELECT k, cume_dist() OVER (PARTITION BY p, n ORDER BY n DESC) AS d, count(*) OVER (PARTITION BY p, n \
         ORDER BY k DESC, n NULLS FIRST ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS r FROM {groups} ORDER BY k"
    );
    is(&sql, &["|1|1.0|3|", "|2|1.0|2|", "|3|1.0|1|", "|4|1.0|0|"]).await;
}

#[tokio::test]
async fn a_sort_above_an_offset_is_not_made_below_it() {
    let page = "(SELECT k, v FROM t ORDER BY k LIMIT 2 OFFSET 2)";
    is(&format!("SELECT k, row_number() OVER (ORDER BY k) AS r FROM {page} ORDER BY r"), &["|3|1|", "|4|2|"]).await;
    is(
        &format!("SELECT k, cume_dist() OVER (PARTITION BY k ORDER BY v) AS r FROM {page} ORDER BY k"),
        &["|3|1.0|", "|4|1.0|"],
    )
    .await;
    is(&format!("SELECT * FROM {page} ORDER BY k, v"), &["|3|1|", "|4|1|"]).await;
    is("SELECT k FROM t ORDER BY k LIMIT 1 OFFSET 3", &["|4|"]).await;
}

#[tokio::test]
async fn lists_are_in_their_own_order_whatever_that_of_their_input() {
    let counted = "(SELECT k, v, count(*) OVER (PARTITION BY v ORDER BY k DESC) AS n FROM t)";
    for list in ["array_to_string(array_agg(n ORDER BY n DESC), '-')", "string_agg(n::text, '-' ORDER BY n DESC)"] {
        is(&format!("SELECT v, {list} AS l FROM {counted} GROUP BY v ORDER BY v"), &["|1|2-1|", "|2|2-1|"]).await;
        let both =
            format!("SELECT {list} AS l, nth_value(k, 1 ORDER BY n, k) AS f FROM {counted} GROUP BY v ORDER BY v");
        is(&both, &["|2-1|4|", "|2-1|2|"]).await;
    }
}

#[tokio::test]
async fn an_offset_leaves_out_the_first_rows_of_what_is_sorted_below_it() {
    for (limit, expected) in
        [("OFFSET 1", &["|1|", "|2|", "|3|"][..]), ("LIMIT 2 OFFSET 1", &["|2|", "|3|"]), ("LIMIT 2", &["|3|", "|4|"])]
    {
        let first = format!("SELECT DISTINCT k, v FROM t ORDER BY v, k DESC {limit}");
        is(&format!("SELECT q.k FROM ({first}) q ORDER BY q.k"), expected).await;
        is(&format!("SELECT t.k FROM t WHERE t.k IN (SELECT q.k FROM ({first}) q) ORDER BY t.k"), expected).await;
    }
}

#[tokio::test]
async fn grouping_sets_over_nothing_have_a_group() {
    let fields = ["k", "v"].map(|name| Field::new(name, DataType::Int32, true));
    let schema = Arc::new(Schema::new(fields.to_vec()));
    for partitions in [1, 3] {
        let context = testing::context(partitions);
        let empty = vec![vec![RecordBatch::new_empty(schema.clone())]];
        context.register_table("t", Arc::new(MemTable::try_new(schema.clone(), empty).unwrap())).unwrap();
        for sets in ["CUBE (k, v)", "ROLLUP (k, v)", "GROUPING SETS ((k), ())"] {
            let grouped = format!("SELECT grouping(k) AS g, count(*) AS n FROM t GROUP BY {sets}");
            for (sql, expected) in [
                (grouped.clone(), "|1|0|"),
                (format!("SELECT max(g) AS g, min(g) AS h FROM ({grouped}) q"), "|1|1|"),
                (format!("SELECT count(*) AS n FROM ({grouped}) q"), "|1|"),
                (format!("SELECT count(*) AS n FROM (SELECT k FROM t GROUP BY {sets}) q"), "|1|"),
                (format!("SELECT max(coalesce(k, 7)) AS k FROM (SELECT k FROM t GROUP BY {sets}) q"), "|7|"),
                (
                    format!("SELECT max(coalesce(g, 0)) AS g FROM (SELECT grouping(k) AS g FROM t GROUP BY {sets}) q"),
                    "|1|",
                ),
            ] {
                assert_eq!(testing::rows_of(&context, &sql).await.unwrap(), [expected], "{sql}");
            }
        }
    }
}

#[tokio::test]
async fn what_is_sorted_stays_so_where_unique_columns_move() {
    is("SELECT DISTINCT v, sum(k) AS x FROM t GROUP BY v ORDER BY sum(k) + 1, v", &["|2|3|", "|1|7|"]).await;
    is("SELECT DISTINCT v, sum(k) AS x FROM t GROUP BY v ORDER BY -sum(k), v", &["|1|7|", "|2|3|"]).await;
    let both = "SELECT DISTINCT a.k AS x, b.k AS y FROM t a JOIN t b ON a.k = b.k ORDER BY";
    is(&format!("{both} b.k DESC"), &["|4|4|", "|3|3|", "|2|2|", "|1|1|"]).await;
    is(
        "SELECT v + 0 AS v, k FROM (SELECT DISTINCT k, v FROM t) q ORDER BY q.k + 1",
        &["|2|1|", "|2|2|", "|1|3|", "|1|4|"],
    )
    .await;
}

const MOVED: &str = "CREATE TABLE t (g INT, k INT, v INT) AS VALUES (1, 1, 3), (1, 2, NULL), (1, 3, 5), (2, 4, 9), (2, 5, 1), (2, 6, NULL)";

/// Sorted in each way, and grouped, the values of a window are what sorting and grouping them gives.
async fn is_in_every_order(context: &SessionContext, window: &str) {
    let of = |row: &String| row.trim_matches('|').parse::<i64>().ok();
    let values: Vec<_> = testing::rows_of(context, window).await.unwrap().iter().map(of).collect();
    let groups: BTreeSet<_> = values.iter().collect();
    let grouped = testing::rows_of(context, &format!("SELECT m FROM ({window}) q GROUP BY m")).await.unwrap();
    assert_eq!(grouped.len(), groups.len(), "{grouped:?} of {window}");
    for (way, sign, nulls) in
        [("ASC", 1, true), ("ASC NULLS FIRST", 1, false), ("DESC NULLS LAST", -1, true), ("DESC", -1, false)]
    {
        let mut sorted = values.clone();
        sorted.sort_by_key(|m| (m.is_none() == nulls, m.map(|m| sign * m)));
        let rows = testing::rows_of(context, &format!("SELECT m FROM ({window}) q ORDER BY m {way}")).await.unwrap();
        assert_eq!(rows.iter().map(of).collect::<Vec<_>>(), sorted, "{way} of {window}");
    }
}

#[tokio::test]
async fn windows_are_in_the_order_that_is_asked_for() {
    const BOUNDS: [&str; 5] =
        ["UNBOUNDED PRECEDING", "1 PRECEDING", "CURRENT ROW", "1 FOLLOWING", "UNBOUNDED FOLLOWING"];
    let contexts = [testing::context(1), testing::context(3)];
    for context in &contexts {
        // Groups that come again in a later batch show.
        context.sql("SET datafusion.execution.batch_size = 2").await.unwrap();
        context.sql(MOVED).await.unwrap().collect().await.unwrap();
    }
    let frames = (0..4).flat_map(|start| (start.max(1)..5).map(move |end| (BOUNDS[start], BOUNDS[end])));
    for (start, end) in frames {
        for function in ["count(*)", "count(v)", "max(v)", "min(v)"] {
            for window in [
                "ORDER BY k",
                "PARTITION BY g ORDER BY k DESC",
                "ORDER BY v",
                "ORDER BY v DESC",
                "PARTITION BY g ORDER BY v",
            ] {
                let over = format!("OVER ({window} ROWS BETWEEN {start} AND {end})");
                for context in &contexts {
                    is_in_every_order(context, &format!("SELECT {function} {over} AS m FROM t")).await;
                }
            }
        }
    }
}
