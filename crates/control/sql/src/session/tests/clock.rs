//! What time it is in a statement: that of the platform's clock.

use super::*;

const CLOCKS: &str = "SELECT now(), current_timestamp, current_date, current_time, (SELECT now()) = now()";

#[tokio::test]
async fn queries_have_the_time_of_the_platform() {
    let (fake, session) = session();
    let eight = "2027-01-15T08:00:00Z|2027-01-15T08:00:00Z|2027-01-15|08:00:00|true";
    assert_eq!(run(&session, CLOCKS).await.unwrap(), [eight]);
    let prepared = session.prepare(session.parse(CLOCKS).unwrap().remove(0), &[]).await.unwrap();
    fake.clock.advance_us(86_400_000_000 + 1_500_000);
    let Outcome::Rows { mut rows, .. } = session.run(&prepared, ParamValues::List(vec![])).await.unwrap() else {
        panic!("no rows");
    };
    let batch = rows.next().await.unwrap().unwrap();
    let cell = |at: usize| arrow::util::display::array_value_to_string(batch.column(at), 0).unwrap();
    assert_eq!([cell(0), cell(2), cell(3)], ["2027-01-16T08:00:01.500Z", "2027-01-16", "08:00:01.500"]);
}

#[tokio::test]
async fn what_is_written_has_the_time_of_the_platform() {
    let (fake, session) = session();
    run(&session, "CREATE STREAM s (n BIGINT, ts TIMESTAMP)").await.unwrap();
    run(&session, "INSERT INTO s VALUES (1, now()), (2, '2027-01-15 08:00:01')").await.unwrap();
    let passed = "SELECT n, ts = '2027-01-15 08:00:00' AS is_eight FROM s WHERE ts <= now()";
    assert_eq!(run(&session, passed).await.unwrap(), ["1|true"]);
    fake.clock.advance_us(1_000_000);
    assert_eq!(run(&session, passed).await.unwrap(), ["1|true", "2|false"]);
    let series = "SELECT count(*) FROM generate_series(TIMESTAMP '2027-01-15', now()::timestamp, INTERVAL '1 hour')";
    assert_eq!(run(&session, series).await.unwrap(), ["9"]);
}

#[tokio::test]
async fn rows_are_explained_by_the_time_of_the_platform() {
    let (_, session) = session();
    run(&session, "CREATE STREAM s (n BIGINT, ts TIMESTAMP); CREATE MATERIALIZED VIEW v AS SELECT n, ts FROM s")
        .await
        .unwrap();
    run(&session, "INSERT INTO s VALUES (7, '2027-01-15 07:59:59'), (8, '2027-01-15 08:00:01')").await.unwrap();
    let lines = run(&session, "EXPLAIN ROW v WHERE ts < now()").await.unwrap().join("\n");
    assert!(lines.contains("07:59:59") && !lines.contains("08:00:01"), "{lines}");
}

#[tokio::test]
async fn by_the_epoch_all_clocks_are_the_same() {
    let (_, session) = session();
    session.set_setting("query_time", "epoch");
    assert_eq!(
        run(&session, CLOCKS).await.unwrap(),
        ["2023-11-14T22:13:20Z|2023-11-14T22:13:20Z|2023-11-14|22:13:20|true"]
    );
}
