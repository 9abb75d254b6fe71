use fleuve_log::batch::{BatchBuilder, NewRecord};
use fleuve_types::KNOWN_MS;

use crate::platform::tested::{id, rest, run, start};

/// Nanoseconds for milliseconds.
const FAR: i64 = 1_790_000_000_000_000_000;

/// The producer's batch says so of its first and its greatest timestamp, and is refused; others may have got in.
#[tokio::test(flavor = "multi_thread")]
async fn a_record_without_a_known_time_is_a_dead_letter() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path()).await;
    run(&server, "CREATE STREAM s (n INT, CHECK (n > 0)) WITH (format = 'json')").await.unwrap();
    run(&server, "CREATE MATERIALIZED VIEW v AS SELECT n FROM s WHERE _timestamp > now() - INTERVAL '1 hour'")
        .await
        .unwrap();
    run(&server, "CREATE MATERIALIZED VIEW w AS SELECT count(*) AS n FROM s").await.unwrap();
    let now = server.platform.clock.now_ms();
    let mut batch = BatchBuilder::new();
    let records = [
        (now, r#"{"n":1}"#),
        (FAR, r#"{"n":2}"#),
        (i64::MIN, r#"{"n":3}"#),
        (now, r#"{"n":0}"#),
        (KNOWN_MS.end, "no JSON"),
        (KNOWN_MS.end - 1, r#"{"n":4}"#),
        (KNOWN_MS.start, r#"{"n":5}"#),
    ];
    for (timestamp_ms, value) in records {
        let record = NewRecord { timestamp_ms, value: Some(value.as_bytes()), ..NewRecord::default() };
        batch.push(&record).unwrap();
    }
    server.log().append_atomic(vec![(id(&server, "s"), 0, batch.build().unwrap())], vec![]).await.unwrap();
    rest(&server).await;
    assert_eq!(run(&server, "SELECT n FROM v ORDER BY n").await.unwrap(), ["1", "4"]);
    assert_eq!(run(&server, "SELECT n FROM w").await.unwrap(), ["3"]);
    let shown = run(&server, "SELECT n, _timestamp::text FROM s WHERE n > 3 ORDER BY n").await.unwrap();
    assert_eq!(shown, ["4|9999-12-31 23:59:59.999", "5|0001-01-01 00:00:00"]);
    let dead = run(&server, "SELECT \"offset\", \"timestamp\" IS NULL, reason FROM s__dead ORDER BY 1").await.unwrap();
    let far = "the record's timestamp:";
    assert_eq!(
        dead,
        [
            format!("1|true|{far} {FAR} as milliseconds is outside of the years 1 to 9999; is it in nanoseconds?"),
            format!(
                "2|true|{far} {} as milliseconds is outside of the years 1 to 9999; is it in nanoseconds?",
                i64::MIN
            ),
            "3|false|CHECK (n > 0) is false".to_string(),
            format!(
                "4|true|{far} {} as milliseconds is outside of the years 1 to 9999; is it in microseconds?",
                KNOWN_MS.end
            ),
        ]
    );
    server.stop().await.unwrap();
}
