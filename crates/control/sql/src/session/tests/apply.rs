//! Projects of files, applied.

use super::*;

const PROJECT: &[(&str, &str)] = &[
    ("1.sql", "CREATE SINK k FROM busy INTO out;\nCREATE MATERIALIZED VIEW busy AS SELECT who, n FROM counts WHERE n > 1;"),
    (
        "2.sql",
        "-- counts per minute\nCREATE MATERIALIZED VIEW counts AS\n  SELECT who, count(*) AS n FROM TUMBLE(s, ts, INTERVAL '1 minute') GROUP BY who, window_start;\n
         COMMENT ON VIEW counts IS 'per minute';",
    ),
    ("3.sql", "CREATE STREAM s (who TEXT, ts TIMESTAMP) WITH (retention = '1 day');
               CREATE SOURCE src INTO s WITH (connector = file, path = 'x')"),
];

#[tokio::test]
async fn apply_makes_what_the_files_say_and_then_nothing() {
    let (fake, session) = session();
    let files = project(PROJECT);
    let wanted = [
        "create stream public.s",
        "create view public.counts",
        "create source public.src",
        "create view public.busy",
        "create stream public.out",
        "create sink public.k",
    ];
    assert_eq!(lines(session.apply(&files, true).await.unwrap()), wanted);
    assert!(fake.applied.lock().is_empty(), "a dry run changes nothing");
    assert_eq!(lines(session.apply(&files, false).await.unwrap()), wanted);
    assert_eq!(fake.applied.lock().len(), 1, "one step");
    let counts = fake.objects().get("public", "counts").unwrap().object.clone();
    assert_eq!(counts.comment.as_deref(), Some("per minute"));

    let again = lines(session.apply(&files, false).await.unwrap());
    assert!(again.iter().all(|l| l.starts_with("unchanged ")), "{again:?}");
    assert_eq!(fake.applied.lock().len(), 1, "the second time does nothing");

    // Spelling is not a change.
    let respelled: Vec<(&str, String)> = PROJECT
        .iter()
        .map(|(p, t)| {
            (*p, t.replace("\n", " \n /* x */ ").replace("-- counts per minute", "").replace("'1 day'", "'24h'"))
        })
        .collect();
    let respelled: Vec<(&str, &str)> = respelled.iter().map(|(p, t)| (*p, t.as_str())).collect();
    let again = lines(session.apply(&project(&respelled), false).await.unwrap());
    assert!(again.iter().all(|l| l.starts_with("unchanged ")), "{again:?}");
}

#[tokio::test]
async fn apply_replaces_what_changed() {
    let (fake, session) = session();
    session.apply(&project(PROJECT), false).await.unwrap();
    let changed: Vec<(&str, String)> = PROJECT
        .iter()
        .map(|(p, t)| {
            (
                *p,
                t.replace("'1 day'", "'2 days', partitions = 4")
                    .replace("n > 1", "n > 2")
                    .replace("per minute'", "each minute'"),
            )
        })
        .collect();
    let changed: Vec<(&str, &str)> = changed.iter().map(|(p, t)| (*p, t.as_str())).collect();
    let did = lines(session.apply(&project(&changed), false).await.unwrap());
    assert_eq!(
        did,
        [
            "replace stream public.s",
            "comment view public.counts",
            "unchanged source public.src",
            "replace view public.busy",
            "unchanged sink public.k",
        ]
    );
    let Spec::Stream(s) = &fake.objects().get("public", "s").unwrap().spec.clone() else { panic!() };
    assert_eq!((s.partitions, s.retention_ms), (4, Some(172_800_000)));
}

#[tokio::test]
async fn apply_says_where_and_changes_nothing_on_an_error() {
    let (fake, session) = session();
    session.apply(&project(PROJECT), false).await.unwrap();
    let with = |path: &str, text: &str| {
        let mut files = project(PROJECT);
        files.push(ProjectFile { path: path.into(), text: text.into() });
        files
    };
    let cases = [
        (
            "CREATE MATERIALIZED VIEW z AS\n SELECT wo FROM s",
            "views/z.sql:2:9: there is no column \"wo\" (did you mean \"who\"?)",
        ),
        (
            "CREATE STREAM z (a INT);\nCREATE STREM y",
            "views/z.sql:2:8: expected STREAM, SOURCE, MATERIALIZED VIEW, SINK or INDEX after CREATE, found STREM",
        ),
        (
            "SELECT 1",
            "views/z.sql:1:1: a project file holds CREATE and COMMENT ON statements only (run other statements with `fleuve sql -f file`)",
        ),
        ("CREATE STREAM s (a INT)", "views/z.sql:1:15: \"s\" is declared already at 3.sql:1"),
        (
            "CREATE MATERIALIZED VIEW a AS SELECT 1 AS x FROM b; CREATE MATERIALIZED VIEW b AS SELECT 1 AS x FROM a",
            "views/z.sql:1:1: these need each other: a, b",
        ),
        ("COMMENT ON COLUMN s.whom IS 'x'", "views/z.sql:1:19: \"s\" has no column \"whom\""),
    ];
    for (text, wanted) in cases {
        let e = session.apply(&with("views/z.sql", text), false).await.unwrap_err();
        assert_eq!(e.to_string(), wanted);
    }
    let swap = |from: &str, to: &str| {
        let texts: Vec<(&str, String)> = PROJECT.iter().map(|(p, t)| (*p, t.replace(from, to))).collect();
        project(&texts.iter().map(|(p, t)| (*p, t.as_str())).collect::<Vec<_>>())
    };
    let e = session.apply(&swap("(retention", "(format = 'avro', retention"), false).await.unwrap_err();
    assert_eq!(
        e.to_string(),
        "3.sql:1:15: stream \"s\" exists, and its format cannot change (its columns and retention can change and its partitions grow; for anything else make a stream of another name)"
    );
    // The sink's stream has what `busy` had; another name breaks it.
    let e = session.apply(&swap("SELECT who, n FROM", "SELECT who AS whom, n FROM"), false).await.unwrap_err();
    let wanted = "1.sql:1:30: stream \"out\" does not take what the sink writes: it has no column \"whom\"";
    assert!(e.to_string().starts_with(wanted), "{e}");
    let alone = project(&[("b.sql", "CREATE MATERIALIZED VIEW busy AS SELECT who AS whom, n FROM counts")]);
    let e = session.apply(&alone, false).await.unwrap_err();
    assert!(e.message.contains("\"busy\" cannot change like this, because of sink k ("), "{e}");
    assert_eq!(fake.applied.lock().len(), 1);
}

#[tokio::test]
async fn a_view_and_what_reads_it_change_together() {
    let (fake, session) = session();
    let stream = "CREATE STREAM s (who TEXT, n INT);";
    let before = "CREATE MATERIALIZED VIEW a AS SELECT who, n FROM s; CREATE MATERIALIZED VIEW b AS SELECT who FROM a;
        CREATE MATERIALIZED VIEW c AS SELECT upper(who) AS who FROM b; CREATE MATERIALIZED VIEW d AS SELECT * FROM a;";
    session.apply(&project(&[("x.sql", stream), ("y.sql", before)]), false).await.unwrap();
    run(&session, "CREATE MATERIALIZED VIEW other AS SELECT who FROM c").await.unwrap();
    // `b` reads the new name; `d` gets a new column though its text is the same; `c` and `other` see no difference.
    let after = before
        .replace("SELECT who, n FROM s", "SELECT who AS name, n FROM s")
        .replace("SELECT who FROM a", "SELECT name AS who FROM a");
    let did = lines(session.apply(&project(&[("x.sql", stream), ("y.sql", &after)]), false).await.unwrap());
    assert_eq!(
        did,
        [
            "unchanged stream public.s",
            "replace view public.a",
            "replace view public.b",
            "rebuild view public.d",
            "rebuild view public.c",
            "rebuild view public.other",
        ]
    );
    assert_eq!(
        fake.last_applied(),
        ["replace view a v2", "replace view b v2", "replace view d v2", "replace view c v2", "replace view other v2",]
    );
    run(&session, "INSERT INTO s VALUES ('x', 1)").await.unwrap();
    assert_eq!(run(&session, "SELECT d.*, other.* FROM d, other").await.unwrap(), ["x|1|X"]);
    let names: Vec<String> =
        names(&fake.objects().get("public", "d").map(|o| crate::bind::columns(&o.spec).unwrap()).unwrap());
    assert_eq!(names, ["name:Utf8", "n:Int32"]);
    // Without its reader in the files, the reader has to fit.
    let e = session
        .apply(&project(&[("y.sql", "CREATE MATERIALIZED VIEW c AS SELECT 1 AS one FROM b")]), false)
        .await
        .unwrap_err();
    assert!(e.message.contains("because of view other"), "{e}");
}

#[tokio::test]
async fn a_column_goes_together_with_what_read_it() {
    let (fake, session) = session();
    let before = "CREATE STREAM s (k INT, v INT, x INT); CREATE INDEX i ON s (k); CREATE MATERIALIZED VIEW a AS SELECT k, v FROM s;
        CREATE MATERIALIZED VIEW stars AS SELECT * FROM s; CREATE MATERIALIZED VIEW other AS SELECT x FROM s;
        CREATE STREAM o (k INT, v INT); CREATE SINK t FROM a INTO o WITH (mode = 'changes')";
    let before = before.replace("o (k INT, v INT)", "o (k INT, v INT, weight BIGINT NOT NULL, epoch BIGINT NOT NULL)");
    session.apply(&project(&[("x.sql", &before)]), false).await.unwrap();
    let after =
        before.replace("v INT, x INT", "x INT, w INT").replace("SELECT k, v", "SELECT k").replace("v INT, w", "w");
    let files = project(&[("x.sql", &after)]);
    let wanted = [
        "replace stream public.o",
        "replace stream public.s",
        "replace index public.i",
        "replace view public.a",
        "unchanged view public.other",
        "replace view public.stars",
    ];
    let told = lines(session.apply(&files, true).await.unwrap());
    assert_eq!(told[..6], wanted[..6]);
    assert_eq!(fake.applied.lock().len(), 1, "a dry run changes nothing");
    session.apply(&files, false).await.unwrap();
    assert_eq!(fake.applied.lock().len(), 3, "the columns go in a step of their own");
    let end = fake.last_applied();
    assert!(
        end.contains(&"replace stream s v3".to_string()) && end.contains(&"replace stream o v2".to_string()),
        "{end:?}"
    );
    assert_eq!(
        run(&session, "SHOW CREATE VIEW stars").await.unwrap(),
        ["stars|CREATE MATERIALIZED VIEW public.stars AS SELECT * FROM s"]
    );
    let again = lines(session.apply(&files, false).await.unwrap());
    assert!(again.iter().all(|l| l.starts_with("unchanged ")), "{again:?}");
    // One that goes on to read it, in the files or not.
    for text in [after.replace("x INT, w", "w"), "CREATE STREAM s (k INT, w INT); CREATE INDEX i ON s (k)".into()] {
        let error = session.apply(&project(&[("x.sql", &text)]), true).await.unwrap_err();
        assert!(
            error.to_string().starts_with("x.sql:1:") && error.message.contains("view other (there is no column \"x\""),
            "{error}"
        );
    }
}

#[tokio::test]
async fn what_others_change_meanwhile_is_bound_again() {
    let (fake, session) = session();
    run(&session, "CREATE STREAM s (k INT); CREATE MATERIALIZED VIEW v AS SELECT k FROM s").await.unwrap();
    let told = async |meanwhile: &[&str], sql: &str| {
        fake.meanwhile.lock().extend(meanwhile.iter().map(|s| (*s).to_string()));
        let told = run(&session, sql).await.map_err(|e| e.to_string());
        assert!(fake.meanwhile.lock().is_empty());
        told
    };
    let index = "CREATE INDEX IF NOT EXISTS i ON s (k)";
    assert_eq!(told(&["CREATE INDEX i ON s (k)"], index).await.unwrap()[1], "index \"i\" exists already, skipping");
    let dropped = told(&["DROP INDEX i"], "DROP INDEX IF EXISTS i").await.unwrap();
    assert_eq!(dropped[1], "\"i\" does not exist, skipping");
    told(
        &["CREATE MATERIALIZED VIEW w AS SELECT k FROM v", "CREATE MATERIALIZED VIEW x AS SELECT k FROM s"],
        "DROP MATERIALIZED VIEW v CASCADE",
    )
    .await
    .unwrap();
    assert_eq!(fake.last_applied(), ["drop view w", "drop view v"]);
    // A project, too.
    fake.meanwhile.lock().push("CREATE MATERIALIZED VIEW y AS SELECT k FROM x".into());
    let files = project(&[(
        "x.sql",
        "CREATE MATERIALIZED VIEW x AS SELECT k + 1 AS k FROM s; CREATE MATERIALIZED VIEW y AS SELECT k FROM x",
    )]);
    assert_eq!(lines(session.apply(&files, false).await.unwrap()), ["replace view public.x", "rebuild view public.y"]);
    // Not for ever.
    let others: Vec<String> = (0..200).map(|n| format!("CREATE STREAM z{n} (k INT)")).collect();
    fake.meanwhile.lock().extend(others);
    let error = session.execute("CREATE STREAM a (k INT)").await.err().unwrap();
    assert_eq!(error.to_string(), "line 1, column 1: others changed the objects again and again (try again)");
}

#[tokio::test]
async fn what_cannot_be_made_to_run_is_told_with_its_place() {
    let (fake, session) = session();
    let files = project(&[
        ("a.sql", "CREATE STREAM s (k INT);"),
        ("b.sql", "\n\n  CREATE MATERIALIZED VIEW v AS SELECT k FROM s"),
    ]);
    session.apply(&files, false).await.unwrap();
    run(&session, "CREATE MATERIALIZED VIEW w AS SELECT k FROM v").await.unwrap();
    let changed = project(&[("b.sql", "\n\n  CREATE MATERIALIZED VIEW v AS SELECT -k AS k FROM s")]);
    for (name, wanted) in [("v", "b.sql:3:3: view \"v\": no"), ("w", "view \"w\": no")] {
        let object = fake.objects().get("public", name).unwrap().object.id;
        *fake.failing.lock() = Some(crate::Unapplied::of(object)(fleuve_types::Error::input("no")));
        assert_eq!(session.apply(&changed, false).await.unwrap_err().to_string(), wanted);
    }
}

#[tokio::test]
async fn several_views_are_dropped_in_whatever_order() {
    let (fake, session) = session();
    let made = "CREATE STREAM s (k INT); CREATE MATERIALIZED VIEW h1 AS SELECT k FROM s; CREATE MATERIALIZED VIEW h2 AS SELECT k FROM h1;
        CREATE MATERIALIZED VIEW h3 AS SELECT k FROM h2";
    for (sql, wanted) in [
        ("DROP MATERIALIZED VIEW h1, h3, h2", vec!["drop view h3", "drop view h2", "drop view h1"]),
        ("DROP MATERIALIZED VIEW h2, h1, h2, h3", vec!["drop view h3", "drop view h2", "drop view h1"]),
        ("DROP MATERIALIZED VIEW IF EXISTS h1, no, h3 CASCADE", vec!["drop view h3", "drop view h2", "drop view h1"]),
    ] {
        run(&session, made).await.unwrap();
        run(&session, sql).await.unwrap();
        assert_eq!(fake.last_applied(), wanted, "{sql}");
        run(&session, "DROP STREAM s").await.unwrap();
    }
    run(&session, made).await.unwrap();
    let error = fails(&session, "DROP MATERIALIZED VIEW h1, h2").await;
    assert!(error.message.contains("is used by view h3"), "{error}");
}

#[tokio::test]
async fn a_refusal_names_the_column_that_would_change() {
    let (_, session) = session();
    let made = "CREATE STREAM s (k INT, v INT); CREATE MATERIALIZED VIEW a AS SELECT k, v FROM s; CREATE MATERIALIZED VIEW b AS SELECT * FROM a;
        CREATE SINK t FROM a INTO o WITH (mode = 'upsert', key = 'k')";
    run(&session, made).await.unwrap();
    for (columns, wanted) in [
        ("k, v::BIGINT AS v", "view b (its columns would change: \"v\" INT becomes \"v\" BIGINT)"),
        ("k, v, v AS w", "view b (its columns would change: \"w\" INT comes)"),
        ("k", "view b (its columns would change: \"v\" INT goes)"),
    ] {
        let error = fails(&session, &format!("CREATE OR REPLACE MATERIALIZED VIEW a AS SELECT {columns} FROM s")).await;
        assert!(error.message.contains(wanted), "{error}");
    }
    let wider = made.replace("SELECT k, v FROM", "SELECT k, v, v AS w FROM");
    let error = session.apply(&project(&[("a.sql", &wider)]), true).await.unwrap_err();
    let hint = "ALTER STREAM o ADD COLUMN w INT; or write into a stream that does not exist yet, and the sink makes it";
    assert_eq!(error.hint.as_deref(), Some(hint));
}
