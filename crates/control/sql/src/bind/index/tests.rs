use crate::fake::{fails, project, run, session};

const STREAM: &str = "CREATE STREAM s (a INT NOT NULL, b TEXT, \"C d\" BIGINT) WITH (format = 'json')";

#[tokio::test]
async fn a_statement_is_kept_with_all_that_it_leaves_open() {
    let (_, session) = session();
    run(&session, STREAM).await.unwrap();
    run(&session, "CREATE MATERIALIZED VIEW v AS SELECT b, count(*) AS n FROM s GROUP BY b").await.unwrap();
    let made = [
        ("CREATE INDEX ON s (b)", "s_b_idx", "CREATE INDEX public.s_b_idx ON public.s (b) INCLUDE (a, \"C d\")"),
        ("CREATE INDEX ON s (b)", "s_b_idx1", "CREATE INDEX public.s_b_idx1 ON public.s (b) INCLUDE (a, \"C d\")"),
        ("CREATE INDEX i ON public.s (b, \"C d\", a)", "i", "CREATE INDEX public.i ON public.s (b, \"C d\", a)"),
        ("CREATE INDEX j ON s (b) INCLUDE ()", "j", "CREATE INDEX public.j ON public.s (b)"),
        (
            "CREATE INDEX CONCURRENTLY IF NOT EXISTS k ON v (n) INCLUDE (b)",
            "k",
            "CREATE INDEX public.k ON public.v (n) INCLUDE (b)",
        ),
    ];
    for (sql, name, text) in made {
        assert_eq!(run(&session, sql).await.unwrap()[0], "CREATE INDEX", "{sql}");
        assert_eq!(run(&session, &format!("SHOW CREATE INDEX {name}")).await.unwrap(), [format!("{name}|{text}")]);
    }
    assert_eq!(run(&session, "SHOW INDEXES").await.unwrap().len(), made.len());
    assert_eq!(run(&session, "DESCRIBE k").await.unwrap()[1], "columns|option|NULL|n");
    assert_eq!(run(&session, "DROP INDEX i, j").await.unwrap(), ["DROP INDEX"]);
    assert_eq!(run(&session, "SHOW INDEXES").await.unwrap().len(), made.len() - 2);
}

#[tokio::test]
async fn an_index_by_the_same_columns_is_told() {
    let (_, session) = session();
    run(&session, STREAM).await.unwrap();
    run(&session, "CREATE STREAM t (a INT, b TEXT)").await.unwrap();
    let same = |name: &str| format!("index \"{name}\" is by the same columns already; both are held");
    for (sql, notices) in [
        ("CREATE INDEX ON s (b)", vec![]),
        ("CREATE INDEX ON s (b) INCLUDE ()", vec![same("s_b_idx")]),
        ("CREATE INDEX IF NOT EXISTS s_b_idx ON s (b)", vec!["index \"s_b_idx\" exists already, skipping".to_string()]),
        ("CREATE INDEX ON t (b)", vec![]),
        ("CREATE INDEX ON s (a, b)", vec![]),
        ("CREATE INDEX other ON s (b, a)", vec![same("s_a_b_idx")]),
        ("CREATE INDEX ON s (a)", vec![]),
    ] {
        let said = run(&session, sql).await.unwrap();
        assert_eq!((said[0].as_str(), &said[1..]), ("CREATE INDEX", &notices[..]), "{sql}");
    }
}

#[tokio::test]
async fn what_cannot_be_an_index_is_refused_where_it_stands() {
    let (_, session) = session();
    run(&session, STREAM).await.unwrap();
    run(&session, "CREATE INDEX i ON s (a)").await.unwrap();
    let bad = [
        ("CREATE INDEX ON s (x)", "line 1, column 20: \"s\" has no column \"x\""),
        ("CREATE INDEX ON s (a) INCLUDE (aa)", "line 1, column 32: \"s\" has no column \"aa\" (did you mean \"a\"?)"),
        (
            "CREATE INDEX ON s (a) INCLUDE (b, a)",
            "line 1, column 35: column \"a\" is named twice (an index holds each column once)",
        ),
        ("CREATE INDEX ON s ()", "line 1, column 17: an index is by at least one column"),
        (
            "CREATE INDEX ON s (a + 1)",
            "line 1, column 22: expected ',' or ')', found + (an index is by columns; of what",
        ),
        ("CREATE INDEX ON nope (a)", "line 1, column 17: there is no stream or view \"nope\""),
        (
            "CREATE INDEX z ON fleuve.views (name)",
            "line 1, column 19: system tables, as those of \"fleuve\", have no indexes (an index is of a stream or view)",
        ),
        ("CREATE INDEX ON i (a)", "line 1, column 17: \"i\" is an index; an index is of a stream or view"),
        ("CREATE INDEX other.j ON s (a)", "line 1, column 14: an index is in the namespace of what it is of"),
        ("CREATE INDEX i ON s (b)", "exists already"),
        ("CREATE INDEX IF NOT EXISTS ON s (a)", "expected ON"),
        ("CREATE OR REPLACE INDEX i ON s (a)", "OR REPLACE is offered for materialized views only"),
        ("SELECT * FROM i", "\"i\" is an index, which cannot be read"),
        ("INSERT INTO i VALUES (1)", "\"i\" is an index, and only streams take rows"),
        ("CREATE MATERIALIZED VIEW w AS SELECT * FROM i", "\"i\" is an index, which cannot be read"),
        ("SUBSCRIBE TO i", "\"i\" is an index, which has no changes to follow"),
        ("DROP STREAM i", "\"i\" is an index, not a stream"),
        ("DROP INDEX s", "\"s\" is a stream, not an index"),
        ("DROP STREAM s", "stream \"s\" is used by index i"),
        ("ALTER STREAM s DROP COLUMN b", "index i (\"s\" has no column \"b\")"),
        ("ALTER STREAM s ALTER COLUMN a TYPE BIGINT", "index i (it holds a column that changes)"),
    ];
    for (sql, message) in bad {
        let error = fails(&session, sql).await.to_string();
        assert!(error.contains(message), "{sql}\n{error}");
    }
}

#[tokio::test]
async fn a_project_makes_indexes_before_the_views_over_the_same() {
    let (_, session) = session();
    let view = "CREATE MATERIALIZED VIEW a AS SELECT x.a, y.b FROM s x JOIN s y ON x.b = y.b;";
    let text = format!("CREATE INDEX ON s (b); {STREAM}; CREATE INDEX z ON a (b);");
    let files = project(&[("a.sql", view), ("z.sql", text.as_str())]);
    let lines = |applied: Vec<crate::Applied>| -> Vec<String> {
        applied.into_iter().map(|a| format!("{} {}", a.action, a.name)).collect()
    };
    let made = lines(session.apply(&files, false).await.unwrap());
    assert_eq!(made, ["create public.s", "create public.s_b_idx", "create public.a", "create public.z"]);
    let again = lines(session.apply(&files, false).await.unwrap());
    assert!(again.iter().all(|line| line.starts_with("unchanged")), "{again:?}");
    // A stream with one more column: an index that says no INCLUDE holds it, too.
    let text = text.replace("\"C d\"", "e INT, \"C d\"");
    let files = project(&[("a.sql", view), ("z.sql", text.as_str())]);
    let other = lines(session.apply(&files, false).await.unwrap());
    assert_eq!(other[..2], ["replace public.s", "replace public.s_b_idx"], "{other:?}");
}
