use std::sync::Arc;

use arrow::array::{Array, AsArray, TimestampMicrosecondArray};
use arrow::datatypes::TimestampMicrosecondType;
use datafusion::common::ScalarValue;
use datafusion::common::config::ConfigOptions;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF};
use proptest::prelude::*;

use super::functions;
use crate::fake::{fails, run, session};

/// Three clicks: 10:00:10, 10:00:50, 10:03:00; one of 1969-12-31 23:59:30; one without a time.
const CLICKS: &str = "
    CREATE STREAM clicks (who TEXT, ts TIMESTAMP);
    INSERT INTO clicks VALUES ('a', '2024-01-01 10:00:10'), ('b', '2024-01-01 10:00:50'), ('c', '2024-01-01 10:03:00'),
        ('old', '1969-12-31 23:59:30'), ('none', NULL);";

async fn answer(query: &str) -> Vec<String> {
    let (_, session) = session();
    run(&session, CLICKS).await.unwrap();
    run(&session, query).await.unwrap()
}

async fn error(query: &str) -> String {
    let (_, session) = session();
    run(&session, CLICKS).await.unwrap();
    fails(&session, query).await.to_string()
}

#[tokio::test]
async fn tumble_puts_each_row_into_one_window() {
    let wanted = [
        "a|2024-01-01T10:00:00|2024-01-01T10:01:00",
        "b|2024-01-01T10:00:00|2024-01-01T10:01:00",
        "c|2024-01-01T10:03:00|2024-01-01T10:04:00",
        "old|1969-12-31T23:59:00|1970-01-01T00:00:00",
    ];
    for from in [
        "TUMBLE(clicks, ts, INTERVAL '1 minute')",
        "TUMBLE(TABLE clicks, DESCRIPTOR(ts), INTERVAL '1' MINUTE)",
        "TABLE(TUMBLE(TABLE clicks, DESCRIPTOR(ts), INTERVAL '1' MINUTE))",
        "tumble(data => TABLE public.clicks, size => '60 seconds'::interval, timecol => DESCRIPTOR(ts)) AS t",
        "TUMBLE((SELECT who, ts FROM clicks), ts, INTERVAL '1 minute')",
        "TUMBLE(main.public.clicks, ts, INTERVAL '1 minute') clicks",
    ] {
        let got = answer(&format!("SELECT who, window_start, window_end FROM {from} ORDER BY who")).await;
        assert_eq!(got, wanted, "{from}");
    }
    let through_cte = "WITH c AS (SELECT upper(who) AS who, ts AS at FROM clicks)
        SELECT who, window_start FROM TUMBLE(c, at, INTERVAL '1 hour') ORDER BY who LIMIT 1";
    assert_eq!(answer(through_cte).await, ["A|2024-01-01T10:00:00"]);
}

#[tokio::test]
async fn tumble_takes_months_from_the_calendar() {
    let query = "SELECT who, window_start, window_end FROM TUMBLE(clicks, ts, INTERVAL '1 month') ORDER BY who";
    let wanted = [
        "a|2024-01-01T00:00:00|2024-02-01T00:00:00",
        "b|2024-01-01T00:00:00|2024-02-01T00:00:00",
        "c|2024-01-01T00:00:00|2024-02-01T00:00:00",
        "old|1969-12-01T00:00:00|1970-01-01T00:00:00",
    ];
    assert_eq!(answer(query).await, wanted);
}

#[tokio::test]
async fn hop_puts_each_row_into_every_window_that_holds_it() {
    let query = "SELECT who, window_start, window_end FROM
        HOP(clicks, ts, INTERVAL '30 seconds', INTERVAL '1 minute') ORDER BY who, window_start";
    let wanted = [
        "a|2024-01-01T09:59:30|2024-01-01T10:00:30",
        "a|2024-01-01T10:00:00|2024-01-01T10:01:00",
        "b|2024-01-01T10:00:00|2024-01-01T10:01:00",
        "b|2024-01-01T10:00:30|2024-01-01T10:01:30",
        "c|2024-01-01T10:02:30|2024-01-01T10:03:30",
        "c|2024-01-01T10:03:00|2024-01-01T10:04:00",
        "old|1969-12-31T23:59:00|1970-01-01T00:00:00",
        "old|1969-12-31T23:59:30|1970-01-01T00:00:30",
    ];
    assert_eq!(answer(query).await, wanted);
}

#[tokio::test]
async fn hop_with_a_size_that_is_no_multiple_of_the_slide() {
    // Windows of 50 s every 30 s: [09:59:30, 10:00:20), [10:00:00, 10:00:50), [10:00:30, 10:01:20).
    let query = "SELECT who, window_start, window_end FROM
        HOP(clicks, ts, INTERVAL '30 seconds', INTERVAL '50 seconds') WHERE who < 'c' ORDER BY who, window_start";
    let wanted = [
        "a|2024-01-01T09:59:30|2024-01-01T10:00:20",
        "a|2024-01-01T10:00:00|2024-01-01T10:00:50",
        "b|2024-01-01T10:00:30|2024-01-01T10:01:20",
    ];
    assert_eq!(answer(query).await, wanted);
    // A slide longer than the size leaves gaps: 10:00:50 is in none of [10:00:00, 10:00:20), [10:01:00, ...).
    let gaps = "SELECT who, window_start FROM HOP(clicks, ts, INTERVAL '1 minute', INTERVAL '20 seconds') ORDER BY who";
    assert_eq!(answer(gaps).await, ["a|2024-01-01T10:00:00", "c|2024-01-01T10:03:00"]);
}

#[tokio::test]
async fn cumulate_grows_by_steps_up_to_the_size() {
    let query = "SELECT who, window_start, window_end FROM
        CUMULATE(clicks, ts, INTERVAL '20 seconds', INTERVAL '1 minute') ORDER BY who, window_end";
    let wanted = [
        "a|2024-01-01T10:00:00|2024-01-01T10:00:20",
        "a|2024-01-01T10:00:00|2024-01-01T10:00:40",
        "a|2024-01-01T10:00:00|2024-01-01T10:01:00",
        "b|2024-01-01T10:00:00|2024-01-01T10:01:00",
        "c|2024-01-01T10:03:00|2024-01-01T10:03:20",
        "c|2024-01-01T10:03:00|2024-01-01T10:03:40",
        "c|2024-01-01T10:03:00|2024-01-01T10:04:00",
        "old|1969-12-31T23:59:00|1969-12-31T23:59:40",
        "old|1969-12-31T23:59:00|1970-01-01T00:00:00",
    ];
    assert_eq!(answer(query).await, wanted);
}

#[tokio::test]
async fn a_session_goes_on_while_no_gap_is_too_long() {
    let by_who = "CREATE STREAM clicks (who TEXT, page INT, ts TIMESTAMP);
        INSERT INTO clicks VALUES ('a', 1, '2024-01-01 10:00:10'), ('a', 2, '2024-01-01 10:00:40'), ('b', 1, '2024-01-01 10:00:50'),
        ('a', 1, '2024-01-01 10:01:10'), ('a', 1, '2024-01-01 10:01:41'), ('b', 1, NULL), (NULL, 1, '2024-01-01 10:00:00')";
    let (_, session) = session();
    run(&session, by_who).await.unwrap();
    // 30 s between 10:00:10, 10:00:40 and 10:01:10 are not too long, 31 s to 10:01:41 are.
    let wanted = [
        "a|3|2024-01-01T10:00:10|2024-01-01T10:01:40",
        "a|1|2024-01-01T10:01:41|2024-01-01T10:02:11",
        "b|1|2024-01-01T10:00:50|2024-01-01T10:01:20",
        "NULL|1|2024-01-01T10:00:00|2024-01-01T10:00:30",
    ];
    for from in [
        "SESSION(clicks PARTITION BY who, ts, INTERVAL '30 seconds')",
        "SESSION(TABLE clicks PARTITION BY who, DESCRIPTOR(ts), INTERVAL '30' SECOND)",
        "TABLE(SESSION(TABLE clicks PARTITION BY (who), DESCRIPTOR(ts), INTERVAL '30' SECOND))",
        "session(data => TABLE public.clicks PARTITION BY (who), gap => '30 s'::interval, timecol => DESCRIPTOR(ts)) AS t",
        "SESSION((SELECT ts, who FROM clicks) PARTITION BY lower(who), ts, INTERVAL '30 seconds')",
    ] {
        let query = format!(
            "SELECT who, count(*), window_start, window_end FROM {from}
             GROUP BY who, window_start, window_end ORDER BY who, window_start"
        );
        assert_eq!(run(&session, &query).await.unwrap(), wanted, "{from}");
    }
    // Without keys, and with several.
    let all = "SELECT count(*), window_start FROM SESSION(clicks, ts, INTERVAL '30 seconds') GROUP BY 2 ORDER BY 2";
    assert_eq!(run(&session, all).await.unwrap(), ["5|2024-01-01T10:00:00", "1|2024-01-01T10:01:41"]);
    let both = "SELECT clicks.* FROM SESSION(clicks PARTITION BY (who, page), ts, INTERVAL '1 minute')
        WHERE who = 'a' ORDER BY ts";
    let wanted = [
        "a|1|2024-01-01T10:00:10|2024-01-01T10:00:10|2024-01-01T10:02:41",
        "a|2|2024-01-01T10:00:40|2024-01-01T10:00:40|2024-01-01T10:01:40",
        "a|1|2024-01-01T10:01:10|2024-01-01T10:00:10|2024-01-01T10:02:41",
        "a|1|2024-01-01T10:01:41|2024-01-01T10:00:10|2024-01-01T10:02:41",
    ];
    assert_eq!(run(&session, both).await.unwrap(), wanted);
}

/// The same by gaps and islands.
#[tokio::test]
async fn a_session_is_an_island_between_gaps() {
    let (_, session) = session();
    run(&session, "CREATE STREAM hits (id BIGINT, k INT, ts TIMESTAMP)").await.unwrap();
    let seconds = (0..120_u64).map(|i| (i, i * i * 7919 % 11, i * i * 104_729 % 3_571));
    let rows: Vec<String> = seconds
        .map(|(i, k, s)| format!("({i}, {k}, TIMESTAMP '2024-01-01 10:00:00' + INTERVAL '{s} seconds')"))
        .collect();
    run(&session, &format!("INSERT INTO hits SELECT * FROM (VALUES {}) v", rows.join(", "))).await.unwrap();
    for gap in [1, 30, 120, 1_000, 10_000] {
        let asked = format!(
            "SELECT id, window_start, window_end FROM SESSION(hits PARTITION BY k, ts, INTERVAL '{gap} s') ORDER BY id"
        );
        let islands = format!(
            "SELECT id, min(ts) OVER (PARTITION BY k, n), max(ts) OVER (PARTITION BY k, n) + INTERVAL '{gap} s' FROM (
               SELECT *, sum(begins) OVER (PARTITION BY k ORDER BY ts) AS n FROM (
                 SELECT *, CASE WHEN ts <= lag(ts) OVER (PARTITION BY k ORDER BY ts) + INTERVAL '{gap} s' THEN 0 ELSE 1
                   END AS begins FROM hits))
             ORDER BY id"
        );
        let got = run(&session, &asked).await.unwrap();
        assert_eq!(got.len(), 120);
        assert_eq!(got, run(&session, &islands).await.unwrap(), "gap {gap}");
    }
}

#[tokio::test]
async fn the_columns_are_those_of_the_table_then_the_window() {
    assert_eq!(
        answer("SELECT * FROM TUMBLE(clicks, ts, INTERVAL '1 day') WHERE who = 'a'").await,
        ["a|2024-01-01T10:00:10|2024-01-01T00:00:00|2024-01-02T00:00:00"]
    );
    // The time's own type: a record's timestamp counts milliseconds.
    assert_eq!(
        answer("SELECT count(*), pg_typeof(min(window_start)) FROM TUMBLE(clicks, _timestamp, INTERVAL '1 second')")
            .await,
        ["5|timestamp"]
    );
    assert_eq!(
        answer("SELECT *, _offset FROM TUMBLE(clicks, ts, INTERVAL '1 day') AS t WHERE t.who = 'b'").await,
        ["b|2024-01-01T10:00:50|2024-01-01T00:00:00|2024-01-02T00:00:00|1"]
    );
    assert_eq!(
        answer(
            "SELECT clicks.who, clicks.window_start FROM TUMBLE(clicks, ts, INTERVAL '1 day') WHERE clicks.who = 'b'"
        )
        .await,
        ["b|2024-01-01T00:00:00"]
    );
}

#[tokio::test]
async fn windows_join_and_aggregate() {
    let query = "SELECT a.window_start, count(*), count(DISTINCT b.who)
        FROM TUMBLE(clicks, ts, INTERVAL '1 minute') a
        JOIN HOP(clicks, ts, INTERVAL '1 minute', INTERVAL '5 minutes') b ON a.window_start = b.window_start
        GROUP BY a.window_start HAVING count(*) > 1 ORDER BY 1";
    // [10:00, 10:01) has a and b; the hop windows from 10:00 on hold a, b and c.
    assert_eq!(answer(query).await, ["2024-01-01T10:00:00|6|3"]);
    let nested = "SELECT window_start, n FROM (
        SELECT window_start, window_end, count(*) AS n FROM TUMBLE(clicks, ts, INTERVAL '1 minute')
        GROUP BY window_start, window_end) ORDER BY 1 DESC LIMIT 2";
    assert_eq!(answer(nested).await, ["2024-01-01T10:03:00|1", "2024-01-01T10:00:00|2"]);
}

#[tokio::test]
async fn a_view_over_windows_holds_what_the_query_gives() {
    let (_, session) = session();
    run(&session, "CREATE STREAM clicks (who TEXT, ts TIMESTAMP)").await.unwrap();
    let queries = [
        "SELECT window_start, window_end, count(*) AS n FROM HOP(clicks, ts, INTERVAL '30 s', INTERVAL '50 s') GROUP BY 1, 2",
        "SELECT who, window_start, max(window_end) AS last FROM CUMULATE(clicks, ts, INTERVAL '20 s', INTERVAL '1 minute') GROUP BY 1, 2",
        "SELECT *, _offset FROM TUMBLE(clicks, ts, INTERVAL '1 month')",
        "SELECT * FROM TUMBLE(TABLE v0, DESCRIPTOR(ws), INTERVAL '1 minute')",
    ];
    for (i, query) in queries.iter().enumerate() {
        let query = if i == 3 { query.replace("v0", "plain") } else { (*query).to_string() };
        if i == 3 {
            run(&session, "CREATE MATERIALIZED VIEW plain AS SELECT window_start AS ws, n FROM v0").await.unwrap();
        }
        run(&session, &format!("CREATE MATERIALIZED VIEW v{i} AS {query}")).await.unwrap();
    }
    run(&session, CLICKS.split_once(';').unwrap().1).await.unwrap();
    for (i, query) in queries.iter().enumerate() {
        let query = if i == 3 { query.replace("v0", "plain") } else { (*query).to_string() };
        let mut view = run(&session, &format!("SELECT * FROM v{i}")).await.unwrap();
        let mut direct = run(&session, &query).await.unwrap();
        view.sort();
        direct.sort();
        assert!(!direct.is_empty());
        assert_eq!(view, direct, "{query}");
    }
}

#[tokio::test]
async fn wrong_windows_are_refused_in_plain_words() {
    let cases = [
        ("SELECT 1 FROM TUMBLE(clicks, ts)", "line 1, column 15: TUMBLE has too few arguments"),
        ("SELECT 1 FROM HOP(clicks, ts, INTERVAL '1 s', INTERVAL '1 s', 1)", "HOP has too many arguments"),
        ("SELECT 1 FROM TUMBLE(clicks, who, INTERVAL '1 s')", "TUMBLE needs a column of type TIMESTAMP"),
        ("SELECT 1 FROM TUMBLE(clicks, tz, INTERVAL '1 s')", "line 1, column 30: there is no column \"tz\""),
        (
            "SELECT 1 FROM TUMBLE(click, ts, INTERVAL '1 s')",
            "line 1, column 22: there is no stream or view \"click\" (did you mean \"clicks\"?)",
        ),
        ("SELECT 1 FROM TUMBLE(clicks, ts, INTERVAL '0 s')", "the length of a window must be positive"),
        ("SELECT 1 FROM HOP(clicks, ts, INTERVAL '-1 s', INTERVAL '1 s')", "the length of a window must be positive"),
        ("SELECT 1 FROM HOP(clicks, ts, INTERVAL '1 ms', INTERVAL '1 day')", "more than 10000 windows"),
        ("SELECT 1 FROM HOP(clicks, ts, INTERVAL '1 month', INTERVAL '1 year')", "not months or years"),
        ("SELECT 1 FROM CUMULATE(clicks, ts, INTERVAL '7 s', INTERVAL '1 minute')", "a multiple of its step"),
        ("SELECT 1 FROM TUMBLE(clicks, ts, size => 5)", "needs a constant INTERVAL"),
        ("SELECT 1 FROM TUMBLE(clicks, ts, step => INTERVAL '1 s')", "TUMBLE has no argument \"step\""),
        ("SELECT 1 FROM TUMBLE(clicks PARTITION BY who, ts, INTERVAL '1 s')", "TUMBLE has no PARTITION BY"),
        ("SELECT 1 FROM SESSION(clicks PARTITION BY who, ts)", "SESSION has too few arguments"),
        ("SELECT 1 FROM SESSION(clicks PARTITION BY wo, ts, INTERVAL '1 s')", "there is no column \"wo\""),
        ("SELECT 1 FROM SESSION(clicks, ts, INTERVAL '0 s')", "must be positive"),
        ("SELECT 1 FROM SESSION(clicks, ts, INTERVAL '1 month')", "not months or years"),
        (
            "SELECT 1 FROM TUMBLE((SELECT ts, 1 AS window_end FROM clicks), ts, INTERVAL '1 s')",
            "adds a column \"window_end\", and its table has one already",
        ),
    ];
    for (query, wanted) in cases {
        let got = error(query).await;
        assert!(got.contains(wanted), "{query}\n  {got}\n  {wanted}");
    }
}

fn call(function: &Arc<ScalarUDF>, times: &[Option<i64>], lengths_us: &[i64]) -> arrow::array::ArrayRef {
    let array = Arc::new(TimestampMicrosecondArray::from(times.to_vec()));
    let mut args = vec![ColumnarValue::Array(array.clone())];
    args.extend(lengths_us.iter().map(|us| ColumnarValue::Scalar(ScalarValue::new_interval_mdn(0, 0, us * 1000))));
    let fields: Vec<_> =
        args.iter().map(|a| Arc::new(arrow::datatypes::Field::new("a", a.data_type(), true))).collect();
    let types: Vec<_> = fields.iter().map(|f| f.data_type().clone()).collect();
    let return_type = function.return_type(&types).unwrap();
    let out = function
        .invoke_with_args(ScalarFunctionArgs {
            args,
            arg_fields: fields,
            number_rows: times.len(),
            return_field: Arc::new(arrow::datatypes::Field::new("r", return_type, true)),
            config_options: Arc::new(ConfigOptions::default()),
        })
        .unwrap();
    out.into_array(times.len()).unwrap()
}

fn list(array: &arrow::array::ArrayRef, row: usize) -> Vec<i64> {
    array.as_list::<i32>().value(row).as_primitive::<TimestampMicrosecondType>().values().to_vec()
}

#[test]
fn the_ends_of_time_are_null_or_empty_and_do_not_fail() {
    let ends = [Some(i64::MIN), Some(i64::MAX), None];
    let tumbled = call(&functions::tumble(), &ends, &[60_000_000]);
    assert_eq!((tumbled.is_null(0), tumbled.is_null(1), tumbled.is_null(2)), (true, false, true));
    let shifted = call(&functions::shift(), &ends, &[1]);
    assert_eq!((shifted.is_null(0), shifted.is_null(1), shifted.is_null(2)), (false, true, true));
    let hops = call(&functions::hop(), &ends, &[10, 20]);
    assert!(list(&hops, 0).is_empty());
    assert_eq!(list(&hops, 1).len(), 2);
    assert!(hops.is_null(2));
    assert!(list(&call(&functions::cumulate(), &ends, &[10, 20]), 0).is_empty());
}

proptest! {
    /// Against the definition: a window [k * slide, k * slide + size) holds t.
    #[test]
    fn hop_gives_exactly_the_windows_that_hold_the_time(t in -5_000i64..5_000, slide in 1i64..60, size in 1i64..200) {
        let got = list(&call(&functions::hop(), &[Some(t)], &[slide, size]), 0);
        let wanted: Vec<i64> =
            (-6_000..6_000).map(|k| k * slide).filter(|s| *s <= t && t < s + size).collect();
        prop_assert_eq!(got, wanted);
    }

    /// Against the definition: a window [n * size, n * size + k * step) for k = 1.. holds t.
    #[test]
    fn cumulate_gives_exactly_the_windows_that_hold_the_time(t in -5_000i64..5_000, step in 1i64..40, steps in 1i64..8) {
        let size = step * steps;
        let got = list(&call(&functions::cumulate(), &[Some(t)], &[step, size]), 0);
        let start = t.div_euclid(size) * size;
        let wanted: Vec<i64> = (1..=steps).map(|k| start + k * step).filter(|end| t < *end).collect();
        prop_assert_eq!(got, wanted);
        let tumbled = call(&functions::tumble(), &[Some(t)], &[size]);
        prop_assert_eq!(tumbled.as_primitive::<TimestampMicrosecondType>().value(0), start);
    }
}
