//! What is said again in other words goes on as it is.

use super::lines;
use crate::fake::{project, run, session};

#[tokio::test]
async fn a_view_in_other_words_goes_on() {
    let (fake, session) = session();
    let setup = "CREATE STREAM s (who TEXT, n INT); CREATE STREAM r (who TEXT, at INT);
        CREATE MATERIALIZED VIEW v AS SELECT a.who, sum(a.n) AS total, max(b.at) AS last FROM s a JOIN r b ON a.who = b.who
          WHERE a.n > 1 GROUP BY a.who;
        CREATE MATERIALIZED VIEW w AS SELECT who, total FROM v";
    run(&session, setup).await.unwrap();
    let same = [
        "SELECT left_.who, sum(left_.n) AS total,   max(\"right\".at) AS last /* newest */ FROM s AS left_ JOIN r \"right\"
           ON left_.who = \"right\".who WHERE left_.n > 1 GROUP BY left_.who",
        "SELECT who, total, last FROM (SELECT a.who, sum(a.n) AS total, max(b.at) AS last FROM s a JOIN r b ON a.who = b.who
           WHERE a.n > 1 GROUP BY a.who) inner_",
        "SELECT a.who, sum(a.n) AS total, max(b.at) AS last FROM s a JOIN r b ON a.who = b.who WHERE 1 < a.n GROUP BY a.who",
    ];
    for query in same {
        let plan = run(&session, &format!("EXPLAIN CREATE OR REPLACE MATERIALIZED VIEW v AS {query}")).await.unwrap();
        assert!(plan[1].contains("goes on as it is"), "{query}: {plan:?}");
        run(&session, &format!("CREATE OR REPLACE MATERIALIZED VIEW v AS {query}")).await.unwrap();
        assert_eq!(fake.last_applied(), ["restate view v v1"], "{query}");
    }
    let text = run(&session, "SHOW CREATE v").await.unwrap();
    assert!(text[0].contains("1 < a.n"), "{text:?}");
    let other = [
        "SELECT a.who, sum(a.n) AS total, max(b.at) AS last FROM s a JOIN r b ON a.who = b.who WHERE a.n > 2 GROUP BY a.who",
        "SELECT a.who, sum(a.n) AS total, min(b.at) AS last FROM s a JOIN r b ON a.who = b.who WHERE a.n > 1 GROUP BY a.who",
        "SELECT a.who, sum(a.n) AS total, max(b.at) AS last FROM s b2 JOIN s a ON a.who = b2.who JOIN r b ON a.who = b.who
           WHERE a.n > 1 GROUP BY a.who",
    ];
    for query in other {
        let plan = run(&session, &format!("EXPLAIN CREATE OR REPLACE MATERIALIZED VIEW v AS {query}")).await.unwrap();
        assert!(plan[1].contains("is built anew"), "{query}: {plan:?}");
        assert!(plan.iter().any(|l| l == "  view w") && plan.iter().any(|l| l == "Rebuilt: w"), "{plan:?}");
    }
    run(&session, &format!("CREATE OR REPLACE MATERIALIZED VIEW v AS {}", other[0])).await.unwrap();
    assert_eq!(fake.last_applied(), ["replace view v v2", "replace view w v2"]);
    // In a project, too; and under another policy or with other columns it is another view.
    let file = format!(
        "CREATE MATERIALIZED VIEW v AS {} -- as before",
        other[0].replace("a.", "x.").replace(" s a ", " s x ")
    );
    let did = session.apply(&project(&[("v.sql", &file)]), false).await.unwrap();
    assert_eq!(lines(did), ["restate view public.v"]);
    let skips = format!("{} ON ERROR SKIP TO DEAD LETTER", other[0]);
    run(&session, &format!("CREATE OR REPLACE MATERIALIZED VIEW v AS {skips}")).await.unwrap();
    assert!(fake.last_applied().contains(&"replace view v v3".to_string()));
}

#[tokio::test]
async fn a_table_without_an_alias_is_the_same_with_one() {
    let (fake, session) = session();
    run(&session, "CREATE STREAM s (who TEXT, n INT); CREATE STREAM r (who TEXT, at INT)").await.unwrap();
    for (before, after) in [
        ("SELECT who, sum(n) AS t FROM s GROUP BY who", "SELECT x.who, sum(x.n) AS t FROM s x GROUP BY x.who"),
        ("SELECT s.n, r.at FROM s JOIN r ON s.who = r.who", "SELECT a.n, b.at FROM s a JOIN r AS b ON a.who = b.who"),
        ("SELECT count(*) AS n FROM s, s t WHERE s.n < t.n", "SELECT count(*) AS n FROM s a, s b WHERE a.n < b.n"),
        (
            "SELECT who FROM s WHERE who IN (SELECT who FROM r)",
            "SELECT a.who FROM s a WHERE a.who IN (SELECT b.who FROM r b)",
        ),
        (
            "WITH RECURSIVE q AS (SELECT n FROM s UNION SELECT q.n - 1 FROM q JOIN r ON r.at = q.n) SELECT * FROM q",
            "WITH RECURSIVE q AS (SELECT x.n FROM s x UNION SELECT y.n - 1 FROM q y JOIN r ON r.at = y.n) SELECT q.* FROM q",
        ),
    ] {
        run(&session, &format!("CREATE MATERIALIZED VIEW v AS {before}")).await.unwrap();
        run(&session, &format!("CREATE OR REPLACE MATERIALIZED VIEW v AS {after}")).await.unwrap();
        assert_eq!(fake.last_applied(), ["restate view v v1"], "{after}");
        run(&session, "DROP MATERIALIZED VIEW v").await.unwrap();
    }
    // The same table twice is told apart.
    run(&session, "CREATE MATERIALIZED VIEW v AS SELECT s.n FROM s JOIN s t ON s.n = t.n AND s.who < t.who")
        .await
        .unwrap();
    let other = "SELECT t.n FROM s JOIN s t ON s.n = t.n AND t.who < s.who";
    run(&session, &format!("CREATE OR REPLACE MATERIALIZED VIEW v AS {other}")).await.unwrap();
    assert_eq!(fake.last_applied(), ["replace view v v2"]);
}
