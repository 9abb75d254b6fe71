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
            "unchanged view public.d",
            "unchanged view public.c",
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
