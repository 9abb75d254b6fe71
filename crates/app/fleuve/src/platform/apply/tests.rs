use std::path::Path;
use std::pin::pin;
use std::task::Poll;

use fleuve_sql::ProjectFile;
use fleuve_types::Result;

use crate::platform::SteppedServer;
use crate::platform::sink::Written;
use crate::platform::tested::{crash, id, rest, run, start};

/// A project of one file, applied while the server is moved on; the lines, with their notices.
async fn apply(server: &SteppedServer, text: &str, dry_run: bool) -> Result<Vec<String>> {
    let session = server.session();
    let files = [ProjectFile { path: "p.sql".into(), text: text.into() }];
    let mut call = pin!(session.apply(&files, dry_run));
    let applied = loop {
        if let Poll::Ready(answer) = futures::poll!(&mut call) {
            break answer?;
        }
        server.engine().step().await?;
        server.log().write_queued();
        tokio::task::yield_now().await;
    };
    let line = |a: &fleuve_sql::Applied| {
        let own = format!("{} {} {}", a.action, a.kind, a.name);
        std::iter::once(own).chain(a.notices.clone()).collect::<Vec<_>>()
    };
    Ok(applied.iter().flat_map(line).collect())
}

/// What a sink with keys has left in its stream, in the order of the offsets: rows, and tombstones by their keys.
async fn written(server: &SteppedServer, stream: &str) -> Vec<String> {
    rest(server).await;
    let sql = format!("SELECT k || ':' || s FROM {stream} ORDER BY _offset");
    let mut out = run(server, &sql).await.unwrap();
    let gone = format!("SELECT 'gone ' || encode(key, 'escape') FROM {stream}__dead ORDER BY _offset");
    out.extend(run(server, &gone).await.unwrap());
    out
}

const SUMS: &str = "CREATE STREAM z (k BIGINT, v BIGINT);
    CREATE MATERIALIZED VIEW z1 AS SELECT k, sum(v) AS s FROM z GROUP BY k;
    CREATE MATERIALIZED VIEW z2 AS SELECT k, sum(v) * 100 AS s FROM z WHERE k < 2 GROUP BY k;";

fn sink(of: &str) -> String {
    format!("{SUMS} CREATE SINK zs {of}")
}

async fn summed(folder: &Path) -> SteppedServer {
    let server = start(folder).await;
    apply(&server, &sink("FROM z1 INTO zo WITH (mode = 'upsert')"), false).await.unwrap();
    run(&server, "INSERT INTO z VALUES (1, 10), (2, 20)").await.unwrap();
    assert_eq!(written(&server, "zo").await, ["1:10", "2:20"]);
    server
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_of_another_view_writes_the_difference() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = summed(folder.path()).await;
    let other = sink("FROM z2 INTO zo WITH (mode = 'upsert')");
    let lines = apply(&server, &other, false).await.unwrap();
    assert_eq!(lines.last().unwrap(), "replace sink public.zs");
    let expected = ["1:10", "2:20", "1:1000", "gone {\"k\":2}"];
    assert_eq!(written(&server, "zo").await, expected);
    server = crash(server, folder.path()).await;
    assert_eq!(written(&server, "zo").await, expected);
    run(&server, "INSERT INTO z VALUES (1, 1), (2, 1)").await.unwrap();
    let more = ["1:10", "2:20", "1:1000", "1:1100", "gone {\"k\":2}"];
    assert_eq!(written(&server, "zo").await, more);
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_by_another_key_takes_the_old_keys_away() {
    let folder = tempfile::tempdir().unwrap();
    let server = summed(folder.path()).await;
    apply(&server, &sink("FROM z1 INTO zo WITH (mode = 'upsert', key = 'k,s')"), false).await.unwrap();
    let expected = ["1:10", "2:20", "1:10", "2:20", "gone {\"k\":1}", "gone {\"k\":2}"];
    assert_eq!(written(&server, "zo").await, expected);
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_into_another_stream_begins_with_the_answer() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = summed(folder.path()).await;
    apply(&server, &sink("FROM z1 INTO zp WITH (mode = 'upsert')"), false).await.unwrap();
    run(&server, "INSERT INTO z VALUES (2, 1)").await.unwrap();
    assert_eq!(written(&server, "zp").await, ["1:10", "2:20", "2:21"]);
    assert_eq!(written(&server, "zo").await, ["1:10", "2:20"]);
    server = crash(server, folder.path()).await;
    assert_eq!(written(&server, "zp").await, ["1:10", "2:20", "2:21"]);
    server.stop().await.unwrap();
}

/// The new view is made in the same step as the old one loses the column that the sink wrote.
#[tokio::test(flavor = "multi_thread")]
async fn a_sink_goes_to_a_new_view_while_its_old_one_changes() {
    let folder = tempfile::tempdir().unwrap();
    let server = summed(folder.path()).await;
    let after = "CREATE STREAM z (k BIGINT, v BIGINT);
        CREATE MATERIALIZED VIEW z1 AS SELECT k, count(*) AS n FROM z GROUP BY k;
        CREATE MATERIALIZED VIEW z3 AS SELECT z1.k, z1.n + 1 AS s FROM z1 WHERE k = 2;
        CREATE SINK zs FROM z3 INTO zo WITH (mode = 'upsert', key = 'k')";
    apply(&server, after, false).await.unwrap();
    assert_eq!(written(&server, "zo").await, ["1:10", "2:20", "2:2", "gone {\"k\":1}"]);
    server.stop().await.unwrap();
}

/// A stream and two views of it: JSON cannot say a date that the second one shows.
const DATES: &str = "CREATE STREAM t (k INT, n BIGINT);
    CREATE MATERIALIZED VIEW t1 AS SELECT k, arrow_cast(k, 'Date32') AS d FROM t WHERE k < 9 GROUP BY k;
    CREATE MATERIALIZED VIEW t2 AS SELECT k, arrow_cast(k, 'Date32') AS d FROM t GROUP BY k;";

fn dates(of: &str) -> String {
    format!("{DATES} CREATE SINK zt {of} WITH (mode = 'upsert');")
}

async fn keys(server: &SteppedServer, stream: &str) -> Vec<String> {
    rest(server).await;
    run(server, &format!("SELECT k FROM {stream} ORDER BY _offset")).await.unwrap()
}

async fn summed_and_dated(folder: &Path, of: &str) -> SteppedServer {
    let server = start(folder).await;
    let text = format!("{}; {}", sink(of), dates("FROM t1 INTO to1"));
    apply(&server, &text, false).await.unwrap();
    run(&server, "INSERT INTO z VALUES (1, 10), (2, 20)").await.unwrap();
    run(&server, "INSERT INTO t VALUES (1, 0), (400000000, 0)").await.unwrap();
    rest(&server).await;
    server
}

/// What a sink wrote of a view that was made in the same step is taken back when a later sink cannot become what it is to be.
#[tokio::test(flavor = "multi_thread")]
async fn a_sink_gets_back_from_a_view_that_is_taken_back() {
    let folder = tempfile::tempdir().unwrap();
    let before = "FROM z1 INTO zo WITH (mode = 'upsert')";
    let mut server = summed_and_dated(folder.path(), before).await;
    let new = "CREATE MATERIALIZED VIEW z3 AS SELECT k, sum(v) * 100 AS s FROM z WHERE k < 2 GROUP BY k";
    let after = format!("{}; {new}; {}", sink("FROM z3 INTO zo WITH (mode = 'upsert')"), dates("FROM t2 INTO to1"));
    let error = apply(&server, &after, false).await.unwrap_err().to_string();
    assert!(error.contains("\"zt\"") && error.contains("a date has a year beyond six digits"), "{error}");
    let mut expected = ["1:10", "2:20", "1:1000", "1:10", "2:20", "gone {\"k\":2}"].map(String::from).to_vec();
    assert_eq!(written(&server, "zo").await, expected);
    run(&server, "INSERT INTO z VALUES (2, 1)").await.unwrap();
    run(&server, "INSERT INTO t VALUES (2, 0)").await.unwrap();
    expected.insert(5, "2:21".into());
    for _ in 0..2 {
        assert_eq!(written(&server, "zo").await, expected);
        assert_eq!(keys(&server, "to1").await, ["1", "2"]);
        server = crash(server, folder.path()).await;
    }
    let again = format!("{}; {}", sink(before), dates("FROM t1 INTO to1"));
    let lines = apply(&server, &again, false).await.unwrap();
    assert!(lines.iter().all(|line| line.starts_with("unchanged ")), "{lines:?}");
    server.stop().await.unwrap();
}

/// Into another stream a sink goes when everything else of the step runs.
#[tokio::test(flavor = "multi_thread")]
async fn a_sink_stays_in_its_stream_when_something_else_of_the_step_fails() {
    for mode in ["upsert", "changes"] {
        let folder = tempfile::tempdir().unwrap();
        let into = |stream: &str| format!("FROM z1 INTO {stream} WITH (mode = '{mode}')");
        let mut server = summed_and_dated(folder.path(), &into("zo")).await;
        let dates = dates("FROM t1 INTO to1");
        let schema = r#"{"type": "record", "name": "r", "fields": [{"name": "s", "type": "boolean"}]}"#;
        server.platform.registry.register("bo-value", schema).await.unwrap();
        let refused = "CREATE SINK bad FROM z1 INTO bo WITH (mode = 'upsert', format = 'avro')";
        let unwritable = "CREATE SINK bad FROM t2 INTO bo WITH (mode = 'upsert')";
        for bad in [refused, unwritable] {
            let after = format!("{}; {dates} {bad}", sink(&into("zp")));
            let error = apply(&server, &after, false).await.unwrap_err().to_string();
            assert!(error.contains("sink \"bad\""), "{error}");
            assert_eq!(keys(&server, "zo").await.len(), 2, "{mode}: {bad}");
            assert!(server.objects().get("public", "zp").is_none());
        }
        server = crash(server, folder.path()).await;
        run(&server, "INSERT INTO z VALUES (3, 1)").await.unwrap();
        assert_eq!(keys(&server, "zo").await.len(), 3, "{mode}");
        server.stop().await.unwrap();
    }
}

/// The process dies after a sink could not write the first of what it would have in another stream.
#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_cannot_begin_elsewhere_goes_on_where_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = summed_and_dated(folder.path(), "FROM z1 INTO zo WITH (mode = 'upsert')").await;
    let sums = sink("FROM z1 INTO zo WITH (mode = 'upsert')");
    let after = format!("{sums}; {}", dates("FROM t2 INTO to2"));
    let how_far = Written::of(server.log(), id(&server, "zt"));
    let error = apply(&server, &after, false).await.unwrap_err().to_string();
    assert!(error.contains("a date has a year beyond six digits"), "{error}");
    assert_eq!(Written::of(server.log(), id(&server, "zt")), how_far);
    server = crash(server, folder.path()).await;
    run(&server, "INSERT INTO t VALUES (2, 0)").await.unwrap();
    assert_eq!(keys(&server, "to1").await, ["1", "2"]);
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_stopped_lacks_changes_and_begins_elsewhere_only() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path()).await;
    apply(&server, &dates("FROM t2 INTO to1"), false).await.unwrap();
    run(&server, "INSERT INTO t VALUES (1, 0)").await.unwrap();
    assert_eq!(keys(&server, "to1").await, ["1"]);
    run(&server, "INSERT INTO t VALUES (400000000, 0)").await.unwrap();
    rest(&server).await;
    run(&server, "INSERT INTO t VALUES (2, 0)").await.unwrap();
    rest(&server).await;
    let error = apply(&server, &dates("FROM t1 INTO to1"), false).await.unwrap_err().to_string();
    assert!(error.contains("it has stopped, and lacks the changes since then: "), "{error}");
    assert!(error.contains("drop the sink and create it anew"), "{error}");
    assert_eq!(keys(&server, "to1").await, ["1"]);
    apply(&server, &dates("FROM t1 INTO to2"), false).await.unwrap();
    assert_eq!(keys(&server, "to2").await, ["1", "2"]);
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_holds_less_tells_what_is_lost_by_it() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path()).await;
    let text = |include: &str| {
        format!(
            "CREATE STREAM rs (id BIGINT, k BIGINT, v BIGINT); CREATE STREAM rc (k BIGINT, name TEXT);
             CREATE INDEX ri ON rs (k) INCLUDE ({include});
             CREATE MATERIALIZED VIEW rj AS SELECT c.name, r.id, r.v FROM rc c JOIN rs r ON c.k = r.k;
             CREATE MATERIALIZED VIEW rn AS SELECT name, count(*) AS n FROM rj GROUP BY name;"
        )
    };
    apply(&server, &text("id, v"), false).await.unwrap();
    run(&server, "INSERT INTO rc VALUES (0, 'a'), (1, 'b')").await.unwrap();
    run(&server, "INSERT INTO rs VALUES (1, 0, 1), (2, 1, 1), (3, 0, 1)").await.unwrap();
    rest(&server).await;
    server.platform.delete_records(id(&server, "rs"), 0, 2).await.unwrap();
    assert!(apply(&server, &text("id, v"), true).await.unwrap().iter().all(|l| l.starts_with("unchanged ")));
    let lost = "of stream rs 1 of 3 records are left, and what came of the others will be missing";
    let expected = [
        "unchanged stream public.rc".to_string(),
        "unchanged stream public.rs".into(),
        "replace index public.ri".into(),
        format!("index ri is built anew: {lost}, also from view rj, view rn"),
        "rebuild view public.rj".into(),
        format!("view rj is built anew: {lost}, also from view rn"),
        "rebuild view public.rn".into(),
    ];
    let told = apply(&server, &text("id"), true).await.unwrap();
    assert_eq!(told, expected);
    assert_eq!(apply(&server, &text("id"), false).await.unwrap(), expected);
    assert_eq!(run(&server, "SELECT name, n FROM rn").await.unwrap(), ["a|1"]);
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_moves_to_another_view_than_the_one_that_uses_it() {
    let text = |index: &str, view: &str| {
        format!(
            "CREATE STREAM u1 (k BIGINT); CREATE STREAM u2 (k BIGINT); CREATE INDEX ui ON {index};
             CREATE MATERIALIZED VIEW ua AS SELECT {view};
             CREATE MATERIALIZED VIEW ub AS SELECT k, count(*) AS v FROM ua GROUP BY k;"
        )
    };
    let (alone, joined) = ("k FROM u2", "a.k FROM u2 a JOIN u1 b ON a.k = b.k");
    for before in [alone, joined] {
        let folder = tempfile::tempdir().unwrap();
        let server = start(folder.path()).await;
        apply(&server, &text("u1 (k)", before), false).await.unwrap();
        run(&server, "INSERT INTO u1 VALUES (1), (2)").await.unwrap();
        run(&server, "INSERT INTO u2 VALUES (1), (1)").await.unwrap();
        let after = text("ub (v)", joined);
        apply(&server, &after, true).await.unwrap();
        apply(&server, &after, false).await.unwrap();
        rest(&server).await;
        assert_eq!(run(&server, "SELECT * FROM ub").await.unwrap(), ["1|2"], "{before}");
        let again = apply(&server, &after, false).await.unwrap();
        assert!(again.iter().all(|line| line.starts_with("unchanged ")), "{again:?}");
        server.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_column_goes_together_with_what_read_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = start(folder.path()).await;
    let text = |columns: &str, view: &str, out: &str| {
        format!(
            "CREATE STREAM s (k BIGINT{columns}); CREATE INDEX i ON s (k);
             CREATE STREAM o (k BIGINT{out});
             CREATE MATERIALIZED VIEW t AS SELECT k{view} FROM s GROUP BY k;
             CREATE MATERIALIZED VIEW all_of_it AS SELECT * FROM s;
             CREATE SINK x FROM t INTO o WITH (mode = 'upsert')"
        )
    };
    apply(&server, &text(", v BIGINT", ", sum(v) AS s", ", s BIGINT"), false).await.unwrap();
    run(&server, "INSERT INTO s VALUES (1, 10)").await.unwrap();
    let after = text(", w BIGINT", ", sum(w) AS u", ", u BIGINT");
    apply(&server, &after, true).await.unwrap();
    apply(&server, &after, false).await.unwrap();
    run(&server, "INSERT INTO s VALUES (2, 5)").await.unwrap();
    rest(&server).await;
    for _ in 0..2 {
        assert_eq!(run(&server, "SELECT * FROM t ORDER BY k").await.unwrap(), ["1|", "2|5"]);
        assert_eq!(run(&server, "SELECT * FROM all_of_it ORDER BY k").await.unwrap(), ["1|", "2|5"]);
        assert_eq!(run(&server, "SELECT k, u FROM o ORDER BY _offset").await.unwrap(), ["1|", "1|", "2|5"]);
        let again = apply(&server, &after, false).await.unwrap();
        assert!(again.iter().all(|line| line.starts_with("unchanged ")), "{again:?}");
        server = crash(server, folder.path()).await;
    }
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_while_it_is_built_is_told_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path()).await;
    run(&server, "CREATE STREAM y (k BIGINT, v BIGINT)").await.unwrap();
    run(&server, "INSERT INTO y VALUES (1, 2)").await.unwrap();
    let text = "CREATE MATERIALIZED VIEW q8 AS SELECT k FROM y;\n\n CREATE MATERIALIZED VIEW q9 AS SELECT k, 1 / (v - v) AS z FROM y;";
    let error = apply(&server, text, false).await.unwrap_err().to_string();
    assert!(error.starts_with("p.sql:3:2: view \"q9\": ") && error.contains("1 / (y.v - y.v)"), "{error}");
    assert!(server.objects().get("public", "q8").is_none());
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_at_once_are_bound_to_what_is_there_when_they_are_carried_out() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path()).await;
    run(&server, "CREATE STREAM s (k BIGINT); CREATE MATERIALIZED VIEW v AS SELECT k FROM s").await.unwrap();
    for sql in [
        "CREATE INDEX IF NOT EXISTS i ON s (k)",
        "CREATE SINK IF NOT EXISTS x FROM v INTO o",
        "CREATE OR REPLACE MATERIALIZED VIEW v AS SELECT k + 1 AS k FROM s",
        "DROP SINK IF EXISTS x",
        "DROP MATERIALIZED VIEW IF EXISTS v CASCADE",
        "DROP INDEX IF EXISTS i CASCADE",
    ] {
        let all = futures::future::join_all((0..6).map(|_| run(&server, sql))).await;
        assert!(all.iter().all(Result::is_ok), "{sql}\n{all:?}");
    }
    assert!(server.objects().get("public", "v").is_none());
    server.stop().await.unwrap();
}
