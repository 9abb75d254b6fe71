use crate::fake::{fails, project, run, session};

const OBJECTS: &str = "
    CREATE STREAM s (a INT, b TEXT, x INT, ts TIMESTAMP, WATERMARK FOR ts AS ts, CHECK (x > 0)) WITH (format = 'json');
    CREATE STREAM lines (a INT, b TEXT) WITH (format = 'csv');
    INSERT INTO s VALUES (1, 'one', 1, '2026-01-01 00:00:00'), (2, 'two', 2, '2026-01-01 00:01:00');
    CREATE MATERIALIZED VIEW some AS SELECT a, ts FROM s WHERE a > 1;
    CREATE MATERIALIZED VIEW stars AS SELECT * FROM s;
    CREATE MATERIALIZED VIEW offsets AS SELECT max(_offset) AS last FROM s;
    CREATE MATERIALIZED VIEW above AS SELECT * FROM stars WHERE a = 1;
    CREATE SINK k FROM some INTO out WITH (mode = 'changes')";

#[tokio::test]
async fn what_reads_a_stream_goes_on_with_more_columns() {
    let (fake, session) = session();
    run(&session, OBJECTS).await.unwrap();
    assert_eq!(
        run(&session, "ALTER STREAM s ADD COLUMN c BIGINT").await.unwrap(),
        ["ALTER STREAM", "view \"stars\" goes on without the new columns in its *"]
    );
    let restated = ["replace stream s v2", "restate view offsets v1", "restate view some v1", "restate view stars v1"];
    assert_eq!(fake.last_applied(), restated);
    run(&session, "INSERT INTO s VALUES (3, 'three', 3, '2026-01-01 00:02:00', 33)").await.unwrap();
    for (query, wanted) in [
        ("SELECT a, c FROM s ORDER BY a", &["1|NULL", "2|NULL", "3|33"][..]),
        ("SELECT a FROM some ORDER BY a", &["2", "3"]),
        ("SELECT a, b, x FROM stars ORDER BY a", &["1|one|1", "2|two|2", "3|three|3"]),
        ("SELECT last FROM offsets", &["2"]),
        ("SELECT a, b FROM above", &["1|one"]),
        ("SHOW CREATE some", &["some|CREATE MATERIALIZED VIEW public.some AS SELECT a, ts FROM s WHERE a > 1"]),
        ("SHOW CREATE stars", &["stars|CREATE MATERIALIZED VIEW public.stars AS SELECT * EXCLUDE (c) FROM s"]),
    ] {
        assert_eq!(run(&session, query).await.unwrap(), wanted, "{query}");
    }
    let error = fails(&session, "SELECT c FROM stars").await;
    assert!(error.message.contains("there is no column \"c\""), "{error}");
    // A second one, and both go again: the text is what it was.
    run(&session, "ALTER STREAM s ADD COLUMN \"D\" TEXT").await.unwrap();
    assert_eq!(
        run(&session, "SHOW CREATE stars").await.unwrap(),
        ["stars|CREATE MATERIALIZED VIEW public.stars AS SELECT * EXCLUDE (c, \"D\") FROM s"]
    );
    assert_eq!(
        run(&session, "ALTER STREAM s DROP COLUMN \"D\", DROP COLUMN c").await.unwrap(),
        ["ALTER STREAM", "view \"stars\" goes on; its * no longer names the columns that go"]
    );
    assert_eq!(
        run(&session, "SHOW CREATE stars").await.unwrap(),
        ["stars|CREATE MATERIALIZED VIEW public.stars AS SELECT * FROM s"]
    );
    assert_eq!(fake.version_of("s"), Some(4));
}

#[tokio::test]
async fn a_column_that_nobody_reads_changes_and_goes() {
    let (fake, session) = session();
    run(&session, OBJECTS).await.unwrap();
    run(&session, "DROP MATERIALIZED VIEW stars CASCADE; COMMENT ON COLUMN s.b IS 'words'").await.unwrap();
    run(&session, "ALTER STREAM s ALTER COLUMN x TYPE BIGINT; INSERT INTO s VALUES (3, 'three', 3000000000, NULL)")
        .await
        .unwrap();
    assert_eq!(run(&session, "SELECT x FROM s ORDER BY x").await.unwrap(), ["1", "2", "3000000000"]);
    run(&session, "ALTER STREAM s DROP b").await.unwrap();
    assert_eq!(fake.last_applied(), ["replace stream s v3", "restate view offsets v1", "restate view some v1"]);
    assert_eq!(run(&session, "SELECT a, x FROM s ORDER BY a LIMIT 1").await.unwrap(), ["1|1"]);
    assert_eq!(run(&session, "SELECT a FROM some ORDER BY a").await.unwrap(), ["2", "3"]);
    let error = fails(&session, "SELECT b FROM s").await;
    assert!(error.message.contains("there is no column \"b\""), "{error}");
}

#[tokio::test]
async fn what_cannot_be_is_refused_and_says_why() {
    let (fake, session) = session();
    run(&session, OBJECTS).await.unwrap();
    let before = fake.applied.lock().len();
    for (statement, wanted) in [
        ("ALTER STREAM nope ADD COLUMN c INT", "there is no stream \"nope\""),
        ("ALTER STREAM some ADD COLUMN c INT", "\"some\" is a view, not a stream"),
        ("ALTER STREAM s ADD COLUMN a INT", "\"s\" has a column \"a\" already"),
        ("ALTER STREAM s ADD COLUMN _offset INT", "\"s\" has a column \"_offset\" already"),
        ("ALTER STREAM s ADD COLUMN c INT NOT NULL", "it cannot be NOT NULL"),
        ("ALTER STREAM s DROP COLUMN bb", "\"s\" has no column \"bb\" (did you mean \"b\"?)"),
        ("ALTER STREAM s DROP COLUMN b", "because of view stars (it would be another query)"),
        ("ALTER STREAM s DROP COLUMN a", "view some (there is no column \"a\""),
        ("ALTER STREAM s ALTER COLUMN a TYPE BIGINT", "view some (it would be another query); view stars"),
        ("ALTER STREAM s ALTER COLUMN a TYPE TEXT", "column \"a\" of type INT cannot become TEXT"),
        ("ALTER STREAM s ALTER COLUMN a TYPE SMALLINT", "cannot become SMALLINT"),
        (
            "ALTER STREAM s ALTER COLUMN ts TYPE TIMESTAMP(9)",
            "column \"ts\" of type TIMESTAMP cannot become TIMESTAMP(9)",
        ),
        (
            "ALTER STREAM s ALTER COLUMN ts TYPE TIMESTAMP(3) WITH TIME ZONE",
            "of type TIMESTAMP cannot become TIMESTAMP(3) WITH TIME ZONE",
        ),
        ("ALTER STREAM s DROP COLUMN ts", "\"ts\" is the column of the stream's watermark, so it cannot go"),
        (
            "ALTER STREAM s ADD COLUMN c INT, DROP COLUMN x",
            "\"x\" is a column of the stream's CHECK (x > 0), so it cannot go (a stream's checks stay as they are",
        ),
        ("ALTER STREAM s__dead ADD COLUMN c INT", "holds the dead letters of stream \"s\""),
        ("ALTER STREAM lines ADD COLUMN c INT", "a record of format csv has a value for each column"),
        ("ALTER STREAM lines DROP COLUMN b", "a record of format csv has a value for each column"),
        ("ALTER STREAM out DROP COLUMN a", "sink k ("),
        (
            "ALTER STREAM out DROP COLUMN a, DROP COLUMN ts, DROP COLUMN weight, DROP COLUMN epoch",
            "at least one column",
        ),
    ] {
        for explain in ["", "EXPLAIN "] {
            let error = fails(&session, &format!("{explain}{statement}")).await;
            assert!(error.to_string().contains(wanted), "{statement}: {error}");
            assert!(error.location.is_some(), "{statement}: {error}");
        }
    }
    assert_eq!(fake.applied.lock().len(), before);
    // In CSV a type may be wider.
    run(&session, "ALTER STREAM lines ALTER COLUMN a TYPE BIGINT").await.unwrap();
}

#[tokio::test]
async fn names_that_would_mean_another_column_keep_it_from_coming() {
    let (_, session) = session();
    run(
        &session,
        "CREATE STREAM s (a INT); CREATE STREAM t (a INT, c INT);
         CREATE MATERIALIZED VIEW joined AS SELECT s.a, c FROM s JOIN t ON s.a = t.a;
         CREATE MATERIALIZED VIEW natural_join AS SELECT t.a FROM s NATURAL JOIN t",
    )
    .await
    .unwrap();
    let error = fails(&session, "ALTER STREAM s ADD COLUMN c INT").await;
    assert!(error.message.contains("view joined (") && error.message.contains("view natural_join ("), "{error}");
    run(&session, "ALTER STREAM s ADD COLUMN d INT").await.unwrap();
}

#[tokio::test]
async fn explain_says_what_goes_on() {
    let (fake, session) = session();
    run(&session, OBJECTS).await.unwrap();
    let before = fake.applied.lock().len();
    let lines = run(&session, "EXPLAIN ALTER STREAM s ADD COLUMN c BIGINT").await.unwrap();
    let wanted = [
        "Columns of s",
        "  c comes; a record from before shows what it holds of that name if that fits, else NULL",
        "",
        "Goes on with all its state",
        "  view offsets",
        "  view some",
        "  view stars, from now on as CREATE MATERIALIZED VIEW public.stars AS SELECT * EXCLUDE (c) FROM s",
        "",
        "Rebuilt",
        "  nothing; nothing is read again",
    ];
    assert_eq!(lines, wanted);
    assert_eq!(fake.applied.lock().len(), before);
}

#[tokio::test]
async fn a_project_says_it_by_its_declaration() {
    let (fake, session) = session();
    let stream = "CREATE STREAM s (a INT, b TEXT);";
    let views = "CREATE MATERIALIZED VIEW some AS SELECT a FROM s; CREATE MATERIALIZED VIEW stars AS SELECT * FROM s;";
    session.apply(&project(&[("s.sql", stream), ("v.sql", views)]), false).await.unwrap();
    let wider = project(&[("s.sql", "CREATE STREAM s (a INT, c DATE, b TEXT);"), ("v.sql", views)]);
    let lines = |applied: Vec<crate::Applied>| -> Vec<String> {
        applied.iter().map(|a| format!("{} {} {}", a.action, a.kind, a.name)).collect()
    };
    // The declaration of `stars` means one column more now, and is taken by its word.
    let did = lines(session.apply(&wider, false).await.unwrap());
    assert_eq!(did, ["replace stream public.s", "unchanged view public.some", "replace view public.stars"]);
    let changes = fake.last_applied();
    assert_eq!(
        changes,
        ["replace stream s v2", "restate view some v1", "restate view stars v1", "replace view stars v2"]
    );
    let did = lines(session.apply(&wider, false).await.unwrap());
    assert_eq!(did, ["unchanged stream public.s", "unchanged view public.some", "unchanged view public.stars"]);
    let moved = project(&[("s.sql", "CREATE STREAM s (c DATE, a INT, b TEXT);"), ("v.sql", views)]);
    let error = session.apply(&moved, false).await.unwrap_err();
    assert!(error.to_string().contains("s.sql:1:15: the columns of a stream cannot change places"), "{error}");
}

/// What they do not read does not change them.
#[tokio::test]
async fn windows_and_as_of_joins_go_on_with_more_columns() {
    let (fake, session) = session();
    run(
        &session,
        "CREATE STREAM e (k TEXT, x INT, v INT, ts TIMESTAMP, WATERMARK FOR ts AS ts);
         CREATE STREAM f (k TEXT, w INT, ts TIMESTAMP, x INT);
         CREATE MATERIALIZED VIEW hops AS SELECT window_start, count(*) AS n FROM HOP(e, ts, INTERVAL '5 minutes', INTERVAL '10 minutes') GROUP BY window_start;
         CREATE MATERIALIZED VIEW steps AS SELECT k, window_end, sum(v) AS n FROM CUMULATE(e, ts, INTERVAL '5 minutes', INTERVAL '10 minutes') GROUP BY k, window_end;
         CREATE MATERIALIZED VIEW hop_rows AS SELECT k, v, window_start FROM HOP(e, ts, INTERVAL '5 minutes', INTERVAL '10 minutes');
         CREATE MATERIALIZED VIEW tumbles AS SELECT window_start, count(*) AS n FROM TUMBLE(e, ts, INTERVAL '5 minutes') GROUP BY window_start;
         CREATE MATERIALIZED VIEW sessions AS SELECT k, window_start, count(*) AS n FROM SESSION(e PARTITION BY (k), ts, INTERVAL '5 minutes') GROUP BY k, window_start;
         CREATE MATERIALIZED VIEW before AS SELECT f.k, f.w, e.v FROM f ASOF LEFT JOIN e ON f.k = e.k AND f.ts >= e.ts;
         CREATE MATERIALIZED VIEW system AS SELECT f.k, r.v FROM f LEFT JOIN e FOR SYSTEM_TIME AS OF f.ts AS r ON f.k = r.k",
    )
    .await
    .unwrap();
    run(&session, "ALTER STREAM f ADD COLUMN c TEXT").await.unwrap();
    run(&session, "ALTER STREAM f DROP COLUMN x").await.unwrap();
    run(&session, "ALTER STREAM e ADD COLUMN c TEXT").await.unwrap();
    assert!(fake.last_applied().iter().skip(1).all(|change| change.starts_with("restate view")));
    let text = async |view: &str| run(&session, &format!("SHOW CREATE {view}")).await.unwrap().remove(0);
    // All columns there decide which of several rows of one time counts.
    assert!(
        text("before")
            .await
            .ends_with("FROM f ASOF LEFT JOIN (SELECT * EXCLUDE (c) FROM e) AS e ON f.k = e.k AND f.ts >= e.ts")
    );
    assert!(
        text("system")
            .await
            .ends_with("FROM f ASOF LEFT JOIN (SELECT * EXCLUDE (c) FROM e) AS r ON f.ts >= r.\"ts\" AND f.k = r.k"),
        "{}",
        text("system").await
    );
    run(&session, "ALTER STREAM e ADD COLUMN d TEXT; ALTER STREAM e DROP COLUMN c").await.unwrap();
    assert!(text("before").await.contains("ASOF LEFT JOIN (SELECT * EXCLUDE (d) FROM e) AS e ON"));
    let error = fails(&session, "ALTER STREAM e DROP COLUMN x").await;
    assert!(error.message.contains("because of view before ("), "{error}");
}

#[tokio::test]
async fn lists_subqueries_and_recursions_go_on_with_more_columns() {
    let (fake, session) = session();
    run(
        &session,
        "CREATE STREAM s (id INT, tags INT[], x INT, y INT, z INT);
         CREATE MATERIALIZED VIEW tags AS SELECT id, unnest(tags) AS tag FROM s;
         CREATE MATERIALIZED VIEW counted AS SELECT tag, count(*) AS n FROM (SELECT unnest(tags) AS tag FROM s) t GROUP BY tag;
         CREATE MATERIALIZED VIEW greatest AS SELECT id FROM s WHERE x > ALL (SELECT y FROM s);
         CREATE MATERIALIZED VIEW some AS SELECT id FROM s WHERE x = 3 OR x IN (SELECT y FROM s);
         CREATE MATERIALIZED VIEW not_in AS SELECT id FROM s WHERE x NOT IN (SELECT y FROM s);
         CREATE MATERIALIZED VIEW reached AS WITH RECURSIVE r AS (SELECT id, x FROM s UNION SELECT r.id, s.y FROM r JOIN s ON r.x = s.id)
           SELECT * FROM r WHERE x > 1",
    )
    .await
    .unwrap();
    run(&session, "ALTER STREAM s ADD COLUMN c INT").await.unwrap();
    run(&session, "ALTER STREAM s DROP COLUMN z").await.unwrap();
    assert_eq!(fake.last_applied().len(), 7);
    assert!(fake.last_applied().iter().skip(1).all(|change| change.starts_with("restate view")));
    for column in ["tags", "x", "y"] {
        let error = fails(&session, &format!("ALTER STREAM s DROP COLUMN {column}")).await;
        assert!(error.message.contains("because of view"), "{error}");
    }
    // What differs below them is another query.
    for query in [
        "SELECT id, unnest(tags) AS tag FROM s WHERE x > 1",
        "SELECT x AS id, unnest(tags) AS tag FROM s",
        "SELECT id, unnest(array_append(tags, 1)) AS tag FROM s",
    ] {
        let plan =
            run(&session, &format!("EXPLAIN CREATE OR REPLACE MATERIALIZED VIEW tags AS {query}")).await.unwrap();
        assert!(plan[1].contains("is built anew"), "{query}: {plan:?}");
    }
    for query in [
        "WITH RECURSIVE r AS (SELECT id, x FROM s UNION ALL SELECT r.id, s.y FROM r JOIN s ON r.x = s.id) SELECT * FROM r WHERE x > 1",
        "WITH RECURSIVE r AS (SELECT id, x FROM s UNION SELECT r.x, s.y FROM r JOIN s ON r.x = s.id) SELECT * FROM r WHERE x > 1",
        "WITH RECURSIVE r AS (SELECT id, y AS x FROM s UNION SELECT r.id, s.y FROM r JOIN s ON r.x = s.id) SELECT * FROM r WHERE x > 1",
        "WITH RECURSIVE r AS (SELECT id, x FROM s UNION SELECT r.id, s.y FROM r JOIN s ON r.x = s.id) SELECT * FROM r WHERE x > 2",
    ] {
        let plan =
            run(&session, &format!("EXPLAIN CREATE OR REPLACE MATERIALIZED VIEW reached AS {query}")).await.unwrap();
        assert!(plan[1].contains("is built anew"), "{query}: {plan:?}");
    }
    let query = |first: &str, all: &str| {
        format!(
            "WITH RECURSIVE r AS (SELECT {first} FROM s UNION SELECT r.a + 1, 0 FROM r WHERE r.a < 3) SELECT {all} FROM r"
        )
    };
    run(&session, &format!("CREATE MATERIALIZED VIEW steps AS {}", query("id AS a, x AS b", "a AS k, b AS v")))
        .await
        .unwrap();
    for (first, all, is_same) in
        [("id AS a, x AS c", "a AS k, c AS v", true), ("id AS b, x AS a", "b AS k, a AS v", false)]
    {
        let sql = format!("EXPLAIN CREATE OR REPLACE MATERIALIZED VIEW steps AS {}", query(first, all));
        let plan = run(&session, &sql).await.unwrap();
        assert_eq!(plan[1].contains("goes on as it is"), is_same, "{first}: {plan:?}");
    }
}
