//! What a replacement does to those who have the view's answer.

use crate::fake::{run, session};

const SETUP: &str = "
    CREATE STREAM s (k BIGINT, g BIGINT, name TEXT);
    CREATE MATERIALIZED VIEW v AS SELECT k, max(name) AS name FROM s GROUP BY k;
    CREATE MATERIALIZED VIEW below AS SELECT name, count(*) AS n FROM v GROUP BY name;
    CREATE SINK by_key FROM v INTO by_key_out;
    CREATE SINK by_change FROM v INTO by_change_out WITH (mode = 'changes');
    CREATE SINK below_out FROM below INTO o;
    ALTER STREAM by_key_out ADD COLUMN low TEXT;
    ALTER STREAM by_change_out ADD COLUMN low TEXT";

#[tokio::test]
async fn sinks_of_a_view_with_other_columns_are_others_and_those_below_are_not() {
    let (fake, session) = session();
    run(&session, SETUP).await.unwrap();
    let wider = "MATERIALIZED VIEW v AS SELECT k, max(name) AS name, min(name) AS low FROM s GROUP BY k";
    let plan = run(&session, &format!("EXPLAIN CREATE OR REPLACE {wider}")).await.unwrap().join("\n");
    for wanted in [
        "sink by_key: a tombstone for each key that is gone, and each record that is another one now",
        "sink by_change: each row of before goes, with the columns that it had, and each of now comes",
        "sink below_out\n",
        "Ended\n  subscriptions to v, as its columns change",
    ] {
        assert!(plan.contains(wanted), "{wanted}\n{plan}");
    }
    assert!(!plan.contains("subscribers"), "{plan}");
    run(&session, &format!("CREATE OR REPLACE {wider}")).await.unwrap();
    let mut applied = fake.last_applied();
    applied.sort();
    let wanted = ["replace sink by_change v2", "replace sink by_key v2", "replace view below v2", "replace view v v2"];
    assert_eq!(applied, wanted);
}

#[tokio::test]
async fn a_sink_by_another_key_is_another_one() {
    let (fake, session) = session();
    run(&session, SETUP).await.unwrap();
    let same = "MATERIALIZED VIEW v AS SELECT k, min(name) AS name FROM s GROUP BY k";
    let plan = run(&session, &format!("EXPLAIN CREATE OR REPLACE {same}")).await.unwrap().join("\n");
    assert!(plan.contains("sink by_key\n") && plan.contains("subscribers") && !plan.contains("Ended"), "{plan}");
    run(&session, &format!("CREATE OR REPLACE {same}")).await.unwrap();
    assert_eq!(fake.last_applied(), ["replace view v v2", "replace view below v2"]);
    let by_name = "MATERIALIZED VIEW v AS SELECT max(k) AS k, name FROM s GROUP BY name";
    let plan = run(&session, &format!("EXPLAIN CREATE OR REPLACE {by_name}")).await.unwrap().join("\n");
    assert!(plan.contains("sink by_key: a tombstone") && plan.contains("sink by_change\n"), "{plan}");
    run(&session, &format!("CREATE OR REPLACE {by_name}")).await.unwrap();
    let mut applied = fake.last_applied();
    applied.sort();
    assert_eq!(applied, ["replace sink by_key v2", "replace view below v3", "replace view v v3"]);
}
