//! What statements tell beside what they do.

use crate::fake::{run, session};

#[tokio::test]
async fn a_sink_tells_what_may_be_a_mistake() {
    let (_, session) = session();
    let setup = "CREATE STREAM e (k BIGINT, g BIGINT);
        CREATE MATERIALIZED VIEW ev AS SELECT k, max(g) AS g FROM e GROUP BY k;
        CREATE MATERIALIZED VIEW above AS SELECT k, g FROM ev WHERE g > 1";
    run(&session, setup).await.unwrap();
    let told = async |sql: &str| run(&session, sql).await.unwrap().split_off(1);
    let own = |stream: &str| format!("stream \"{stream}\" was made for the sink");
    assert_eq!(told("CREATE SINK a FROM ev INTO a_out WITH (mode = 'upsert', key = 'k,g')").await, [own("a_out")]);
    assert_eq!(told("CREATE SINK b FROM ev INTO b_out WITH (mode = 'changes')").await, [own("b_out")]);
    let [_, key] = &told("CREATE SINK c FROM ev INTO c_out WITH (mode = 'upsert', key = 'g')").await[..] else {
        panic!("no notice")
    };
    assert!(key.contains("proves that \"g\" is unique") && key.ends_with("\"k\" is unique"), "{key}");
    // The view reads what the sink writes, by another sink.
    run(&session, "CREATE SINK round FROM above INTO e WITH (mode = 'upsert')").await.unwrap();
    let [round] = &told("CREATE SINK again FROM above INTO e WITH (mode = 'upsert')").await[..] else {
        panic!("no notice")
    };
    assert!(round.contains("view \"above\" reads what sink \"again\" writes"), "{round}");
}

#[tokio::test]
async fn an_error_tells_how_many_statements_were_carried_out_before_it() {
    let (_, session) = session();
    let hint = async |sql: &str| session.execute(sql).await.err().and_then(|e| e.hint).unwrap_or_default();
    assert!(
        hint("CREATE STREAM a (x INT); SELECT y FROM a")
            .await
            .ends_with("one statement in front of it was carried out")
    );
    assert!(
        hint("CREATE STREAM b (x INT); DROP STREAM b; SELECT * FROM aa")
            .await
            .ends_with("; 2 statements in front of it were carried out")
    );
    assert!(!hint("SELECT 1; SELECT * FROM aa").await.contains("carried out"));
    // What cannot be read is seen before anything is done.
    assert!(!hint("CREATE STREAM c (x INT); SELEC 1").await.contains("carried out"));
}
