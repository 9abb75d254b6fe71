//! What an earlier version made keeps its types and answers.

use arrow::array::{ArrayRef, Date32Array, Int32Array, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, TimeUnit};

use super::*;
use crate::fake::{project, session_over};

/// The objects of statements, all as an earlier version made them.
async fn made_before(sql: &str) -> ObjectSet {
    let (fake, _) = after(sql).await;
    let edition_1 = |o: &Arc<BoundObject>| Object { edition: 1, ..o.object.clone() };
    bind_all(fake.objects().by_name.values().map(edition_1).collect()).unwrap()
}

/// Views of two streams by the rules of an edition, whether today's version would make them or not.
async fn views_of(edition: u32, queries: &[&str]) -> ObjectSet {
    let sql = "CREATE STREAM s (k INT, v INT, d DATE, a TIMESTAMP, b TIMESTAMP); CREATE STREAM r (k INT, w INT);
               CREATE MATERIALIZED VIEW v AS SELECT s.k FROM s JOIN r ON s.k = r.k";
    let (fake, _) = after(sql).await;
    let set = fake.objects();
    let model = &set.get("public", "v").unwrap().object;
    let views = queries.iter().zip(0..).map(|(query, n)| {
        let name = format!("v{n}");
        let sql = format!("CREATE MATERIALIZED VIEW public.{name} AS {query}");
        Object { id: fleuve_types::ObjectId(model.id.0 + 1 + n), name, sql, edition, ..model.clone() }
    });
    bind_all(set.by_name.values().map(|o| o.object.clone()).chain(views).collect()).unwrap()
}

/// What is refused now goes on where it is there.
async fn only_before(queries: &[&str]) {
    let before = views_of(1, queries).await;
    assert!(before.unusable.is_empty(), "{:?}", before.unusable);
    let now = views_of(crate::parse::EDITION, queries).await;
    assert_eq!(now.unusable.len(), queries.len(), "{:?}", now.unusable.keys());
}

#[tokio::test]
async fn windows_that_are_refused_now_go_on() {
    only_before(&[
        "SELECT k, sum(v) OVER (w PARTITION BY k ORDER BY v) AS t FROM s WINDOW w AS (PARTITION BY k ORDER BY v)",
        "SELECT k, sum(v) OVER w AS t FROM s WINDOW w AS (PARTITION BY k ORDER BY v), u AS (w PARTITION BY v)",
        "SELECT k, sum(v) OVER (nope PARTITION BY k) AS t FROM s",
        "SELECT k, count(*) AS n FROM (SELECT k, sum(v) OVER (w) AS t FROM s
           WINDOW w AS (PARTITION BY k ORDER BY v ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)) AS x GROUP BY k",
        "SELECT sum(v) OVER (w ORDER BY v) AS t FROM s WINDOW w AS (PARTITION BY k)
           UNION ALL SELECT sum(v) OVER (nope PARTITION BY k) FROM s",
    ])
    .await;
}

#[tokio::test]
async fn windows_that_are_allowed_are_said_in_full_in_all_editions() {
    let query = "SELECT k, sum(v) OVER (w ORDER BY v) AS t FROM s WINDOW w AS (PARTITION BY k)";
    for edition in [1, crate::parse::EDITION] {
        let set = views_of(edition, &[query]).await;
        let plan = view(&set, "v0").plan.display_indent().to_string();
        assert!(plan.contains("PARTITION BY [main.public.s.k] ORDER BY [main.public.s.v"), "{plan}");
    }
}

#[tokio::test]
async fn joins_without_a_condition_and_orders_of_intervals_go_on() {
    only_before(&[
        "SELECT s.k, r.w FROM s JOIN r",
        "SELECT s.k, r.w FROM s LEFT JOIN (r JOIN r AS q) ON s.k = r.k",
        "SELECT max(v * INTERVAL '1 hour') AS m FROM s",
    ])
    .await;
}

#[tokio::test]
async fn fields_of_lengths_of_time_keep_their_types() {
    let queries = ["SELECT extract(HOUR FROM b - a) AS h FROM s", "SELECT date_part('day', b - a) / 2 AS h FROM s"];
    let types = |set: &ObjectSet| ["v0", "v1"].map(|name| view(set, name).schema.field(0).data_type().clone());
    assert_eq!(types(&views_of(1, &queries).await), [DataType::Int32, DataType::Int64]);
    let now = types(&views_of(crate::parse::EDITION, &queries).await);
    assert!(matches!(now, [DataType::Decimal128(..), DataType::Float64]), "{now:?}");
}

/// How many of the checks of `s` refuse 14:30 of a day in 1970.
fn refusals(set: &ObjectSet) -> usize {
    let spec = stream(set, "s");
    let half_past_two = i64::from(14 * 60 + 30) * 60_000_000;
    let columns = spec.schema.fields().iter().map(|field| -> ArrayRef {
        match field.data_type() {
            DataType::Timestamp(..) => Arc::new(TimestampMicrosecondArray::from(vec![half_past_two])),
            DataType::Date32 => Arc::new(Date32Array::from(vec![0])),
            _ => Arc::new(Int32Array::from(vec![1])),
        }
    });
    let row = RecordBatch::try_new(spec.schema.clone(), columns.collect()).unwrap();
    let checks = check_expressions(&spec).unwrap();
    checks.iter().filter(|check| !refused_rows(check, &row).unwrap().is_empty()).count()
}

#[tokio::test]
async fn checks_of_before_refuse_what_they_refused() {
    let (columns, checks) = (
        "a TIMESTAMP, d DATE",
        "CHECK (extract(HOUR FROM a) / 6 = 2), CHECK (d + INTERVAL '12 hours' = d), CHECK (a < '2000-01-01')",
    );
    let declared = |columns: &str, with: &str| format!("CREATE STREAM s ({columns}, {checks}){with}");
    let (fake, _) = after(&declared(columns, "")).await;
    assert_eq!(refusals(&fake.objects()), 2);
    let before = made_before(&declared(columns, "")).await;
    assert_eq!(refusals(&before), 0);

    let (fake, session) = session_over(before);
    let keeps_its_rules = || {
        let set = fake.objects();
        assert_eq!((refusals(&set), set.get("public", "s").unwrap().object.edition), (0, 1));
    };
    run(&session, "ALTER STREAM s ADD COLUMN i INT").await.unwrap();
    keeps_its_rules();
    let columns = format!("{columns}, i INT");
    for (columns, with) in
        [(columns.clone(), " WITH (partitions = 2)"), (format!("{columns}, j INT"), " WITH (partitions = 2)")]
    {
        let changed = session.apply(&project(&[("s.sql", &declared(&columns, with))]), false).await.unwrap();
        assert_eq!(changed.len(), 1);
        keeps_its_rules();
    }
    let restarted = bind_all(fake.objects().by_name.values().map(|o| o.object.clone()).collect()).unwrap();
    assert_eq!(refusals(&restarted), 0);
}

#[tokio::test]
async fn a_view_that_a_project_declares_as_before_keeps_its_rules_when_columns_go() {
    let query = "CREATE MATERIALIZED VIEW vst AS SELECT *, extract(HOUR FROM a) AS h FROM s";
    let before = made_before(&format!("CREATE STREAM s (a TIMESTAMP, b INT); {query}")).await;
    let (fake, session) = session_over(before);
    let files = project(&[("s.sql", "CREATE STREAM s (a TIMESTAMP)"), ("v.sql", query)]);
    session.apply(&files, false).await.unwrap();
    let set = fake.objects();
    let fields = view(&set, "vst").schema.fields().clone();
    let shown: Vec<_> = fields.iter().map(|f| (f.name().as_str(), f.data_type())).collect();
    let us = DataType::Timestamp(TimeUnit::Microsecond, None);
    assert_eq!(shown, [("a", &us), ("h", &DataType::Int32)]);
    assert_eq!(set.get("public", "vst").unwrap().object.edition, 1);
    // Another text is a view of today.
    let other = query.replace("SELECT *,", "SELECT a,");
    let files = project(&[("s.sql", "CREATE STREAM s (a TIMESTAMP)"), ("v.sql", &other)]);
    session.apply(&files, false).await.unwrap();
    assert_eq!(fake.objects().get("public", "vst").unwrap().object.edition, crate::parse::EDITION);
}

#[tokio::test]
async fn views_of_before_keep_what_times_were() {
    let (fake, session) = after(
        "CREATE STREAM s (d DATE, a TIMESTAMP, i INT, l TEXT[]) WITH (format = 'json');
         CREATE MATERIALIZED VIEW v AS SELECT extract(MONTH FROM d) / 3 AS q, extract(SECOND FROM a) AS s, date_part('day', d) AS p,
           d + INTERVAL '12 hours' AS t, array_dims(l) AS n, to_char(a, 'FMMonth') AS c, array_remove(l, NULL) AS r FROM s",
    )
    .await;
    let types = |set: &ObjectSet| {
        let fields = view(set, "v").schema.fields().clone();
        fields.iter().take(5).map(|f| f.data_type().clone()).collect::<Vec<_>>()
    };
    let us = TimeUnit::Microsecond;
    assert_eq!(
        types(&fake.objects()),
        [
            DataType::Float64,
            DataType::Decimal128(8, 6),
            DataType::Float64,
            DataType::Timestamp(us, None),
            DataType::Utf8
        ]
    );
    let edition_1 = |o: &Arc<BoundObject>| Object { edition: 1, ..o.object.clone() };
    let before = bind_all(fake.objects().by_name.values().map(edition_1).collect()).unwrap();
    assert!(before.unusable.is_empty(), "{:?}", before.unusable);
    let numbers = DataType::new_list(DataType::Int64, true);
    assert_eq!(types(&before), [DataType::Int64, DataType::Int32, DataType::Int32, DataType::Date32, numbers]);
    let plan = view(&before, "v").plan.display_indent().to_string();
    assert!(plan.contains("array_remove_all("), "{plan}");
    // Intervals were ordered by their bytes.
    let made = run(&session, "CREATE MATERIALIZED VIEW w AS SELECT max(i * INTERVAL '1 hour') AS m FROM s").await;
    let Err(refusal) = made else { panic!("an order of intervals was not refused") };
    assert!(refusal.message.contains("INTERVALs are not compared"), "{refusal}");
}

#[tokio::test]
async fn a_text_of_another_edition_is_another_view() {
    let (fake, _) = after(
        "CREATE STREAM s (k INT, a TIMESTAMP);
         CREATE MATERIALIZED VIEW text AS SELECT a::text AS t FROM s; CREATE MATERIALIZED VIEW number AS SELECT k AS t FROM s",
    )
    .await;
    let now = fake.objects();
    let edition_1 = |o: &Arc<BoundObject>| Object { edition: 1, ..o.object.clone() };
    let before = bind_all(now.by_name.values().map(edition_1).collect()).unwrap();
    let same = |name: &str| crate::same_view(&view(&before, name), &view(&now, name));
    assert!(!same("text"), "times are written otherwise");
    assert!(same("number"));
}
