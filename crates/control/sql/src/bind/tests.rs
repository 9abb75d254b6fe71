mod editions;

use arrow::datatypes::{DataType, TimeUnit};
use fleuve_catalog::ObjectKind;
use fleuve_types::ErrorKind;

use super::*;
use crate::fake::{Fake, fails, run, session};
use crate::{Backend, SinkMode, Watermark};

async fn after(sql: &str) -> (Arc<Fake>, crate::Session) {
    let (fake, session) = session();
    run(&session, sql).await.unwrap();
    (fake, session)
}

fn stream(set: &ObjectSet, name: &str) -> crate::StreamSpec {
    match &set.get("public", name).unwrap().spec {
        Spec::Stream(s) => s.clone(),
        other => panic!("{other:?}"),
    }
}

fn view(set: &ObjectSet, name: &str) -> crate::ViewSpec {
    match &set.get("public", name).unwrap().spec {
        Spec::View(v) => v.clone(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_stream_with_all_types() {
    let (fake, _) = after(
        "CREATE STREAM s (a BOOLEAN, b SMALLINT, c INT NOT NULL, d BIGINT, e REAL, f DOUBLE PRECISION, g DECIMAL(12,2),
           h TEXT, i VARCHAR(5), j BYTEA, k DATE, l TIME, m TIMESTAMP, n TIMESTAMP(3), o TIMESTAMPTZ, p INT[],
           q STRUCT<x INT, y TEXT[]>, WATERMARK FOR m AS m - INTERVAL '1 minute')
         WITH (format = json, partitions = 3, retention = '7 days', retention_bytes = '1 GB', max_record_bytes = 1000)",
    )
    .await;
    let s = stream(&fake.objects(), "s");
    let types: Vec<DataType> = s.schema.fields().iter().map(|f| f.data_type().clone()).collect();
    let us = TimeUnit::Microsecond;
    assert_eq!(
        types[..7],
        [
            DataType::Boolean,
            DataType::Int16,
            DataType::Int32,
            DataType::Int64,
            DataType::Float32,
            DataType::Float64,
            DataType::Decimal128(12, 2)
        ]
    );
    assert_eq!(
        types[7..15],
        [
            DataType::Utf8,
            DataType::Utf8,
            DataType::Binary,
            DataType::Date32,
            DataType::Time64(us),
            DataType::Timestamp(us, None),
            DataType::Timestamp(TimeUnit::Millisecond, None),
            DataType::Timestamp(us, Some("UTC".into()))
        ]
    );
    assert_eq!(fleuve_types::sql_type_name(&types[15]), "INT[]");
    assert_eq!(fleuve_types::sql_type_name(&types[16]), "STRUCT<x INT, y TEXT[]>");
    assert!(!s.schema.field(2).is_nullable() && s.schema.field(1).is_nullable());
    assert_eq!(s.watermark, Some(Watermark::new("m", 60_000_000)));
    assert_eq!((s.partitions, s.retention_ms, s.retention_bytes), (3, Some(604_800_000), Some(1_000_000_000)));
    assert_eq!(s.format_options.get("max_record_bytes").map(String::as_str), Some("1000"));
}

#[tokio::test]
async fn formats_bring_their_columns() {
    let (fake, _) = after(
        "CREATE STREAM log WITH (format = combined_log); CREATE STREAM lines WITH (format = text);
         CREATE STREAM bytes WITH (format = raw)",
    )
    .await;
    let objects = fake.objects();
    let names: Vec<String> = stream(&objects, "log").schema.fields().iter().map(|f| f.name().clone()).collect();
    assert_eq!(names.join(" "), "host ident user_name ts method path protocol status bytes referer agent");
    assert_eq!(stream(&objects, "log").watermark, Some(Watermark::new("ts", 0)));
    assert_eq!(stream(&objects, "lines").schema.fields().len(), 1);
    assert_eq!(stream(&objects, "bytes").schema.field(0).data_type(), &DataType::Binary);
}

#[tokio::test]
async fn a_stream_comes_and_goes_with_its_dead_letters() {
    let (fake, session) = after("CREATE STREAM s (a INT)").await;
    assert_eq!(fake.last_applied(), ["create stream s", "create stream s__dead"]);
    let objects = fake.objects();
    let dead = objects.get("public", "s__dead").unwrap();
    assert_eq!(dead.object.depends_on, [objects.get("public", "s").unwrap().object.id]);
    let columns: Vec<String> = stream(&objects, "s__dead")
        .schema
        .fields()
        .iter()
        .map(|f| format!("{} {}", f.name(), fleuve_types::sql_type_name(f.data_type())))
        .collect();
    assert_eq!(
        columns,
        ["reason TEXT", "partition INT", "offset BIGINT", "timestamp TIMESTAMP", "key BYTEA", "value BYTEA"]
    );
    let e = fails(&session, "DROP STREAM s__dead").await;
    assert_eq!(
        e.to_string(),
        "line 1, column 13: \"s__dead\" holds the dead letters of stream \"s\" (it goes with DROP STREAM s)"
    );
    run(&session, "DROP STREAM s").await.unwrap();
    assert_eq!(fake.last_applied(), ["drop stream s__dead", "drop stream s"]);
    assert!(fake.objects().by_name.is_empty());
}

#[tokio::test]
async fn views_over_a_stream_and_its_dead_letters_go_before_them() {
    let (fake, session) = after("CREATE STREAM s (a INT)").await;
    run(
        &session,
        "CREATE MATERIALIZED VIEW lost AS SELECT reason FROM s__dead; CREATE MATERIALIZED VIEW both AS SELECT a, reason FROM s, lost",
    )
    .await
    .unwrap();
    let done = run(&session, "DROP STREAM s CASCADE").await.unwrap();
    assert_eq!(done[1..], ["drop cascades to view lost", "drop cascades to view both"]);
    assert_eq!(fake.last_applied(), ["drop view both", "drop view lost", "drop stream s__dead", "drop stream s"]);
}

#[tokio::test]
async fn wrong_streams_are_refused_with_their_place() {
    let (fake, session) = session();
    let cases = [
        (
            "CREATE STREAM s (a INT) WITH (partition = 2)",
            "line 1, column 31: a stream has no option \"partition\" (did you mean \"partitions\"?)",
        ),
        (
            "CREATE STREAM s (a INT) WITH (format = jsn)",
            "line 1, column 31: \"jsn\" is not a format (did you mean 'json'?)",
        ),
        ("CREATE STREAM s (a INT) WITH (header = true)", "line 1, column 31: option \"header\" belongs to format csv"),
        (
            "CREATE STREAM s (a INT) WITH (partitions = 0)",
            "line 1, column 31: option \"partitions\" is a whole number from 1 to 1024, not 0",
        ),
        (
            "CREATE STREAM s (a INT) WITH (retention = 7)",
            "line 1, column 31: option \"retention\" is a duration such as '7 days' or '24h', not 7",
        ),
        (
            "CREATE STREAM s (\n  a INT,\n  b TXT)",
            "line 3, column 3: \"TXT\" is not a type of a stream's column (did you mean TEXT?)",
        ),
        (
            "CREATE STREAM s (a DECIMAL(50, 2))",
            "line 1, column 18: DECIMAL(50,2) is not possible (a DECIMAL has 1 to 38 digits, and at most that many behind the point)",
        ),
        ("CREATE STREAM s (_offset INT)", "line 1, column 18: column '_offset' has the name of a pseudo-column"),
        ("CREATE STREAM s", "line 1, column 15: a stream in format json needs its columns declared"),
        (
            "CREATE STREAM s (a INT, WATERMARK FOR b AS b)",
            "line 1, column 25: the watermark's column \"b\" is not a column of the stream (did you mean \"a\"?)",
        ),
        (
            "CREATE STREAM s (a INT, WATERMARK FOR a AS a)",
            "line 1, column 25: the watermark's column \"a\" is INT, not TIMESTAMP",
        ),
        ("CREATE STREAM s (a INT, CHECK (a + 1))", "line 1, column 32: a CHECK is a condition, and a + 1 is BIGINT"),
        ("CREATE STREAM s (a INT, CHECK (b > 1))", "line 1, column 32: there is no column \"b\" (did you mean \"a\"?)"),
        (
            "CREATE STREAM s (a INT, CHECK (sum(a) > 1))",
            "line 1, column 32: a CHECK has no aggregates, subqueries or window functions",
        ),
        ("CREATE STREAM s (a INT, CHECK (a > (SELECT 1)))", "line 1, column 32: a CHECK has no subqueries"),
        (
            "CREATE STREAM s (a INT, CHECK (random() > a))",
            "line 1, column 32: random() gives another value each time, so a CHECK cannot use it",
        ),
        ("CREATE STREAM fleuve.s (a INT)", "line 1, column 15: namespace \"fleuve\" is the system's own"),
        (
            "CREATE STREAM \"a/b\" (a INT)",
            "line 1, column 15: \"a/b\" holds a character other than ASCII letters, digits, _ and -",
        ),
        (
            "CREATE STREAM \"a.b\".c (a INT)",
            "line 1, column 15: \"a.b\" holds a character other than ASCII letters, digits, _ and -",
        ),
    ];
    for (sql, wanted) in cases {
        assert_eq!(fails(&session, sql).await.to_string(), wanted, "{sql}");
    }
    assert!(fake.applied.lock().is_empty());
}

#[tokio::test]
async fn what_has_the_name_of_dead_letters_is_named() {
    let (_, session) = after("CREATE STREAM zz__dead WITH (format = 'raw'); CREATE STREAM a.\"B__dead\" (v INT)").await;
    assert_eq!(
        fails(&session, "CREATE STREAM zz (a INT)").await.to_string(),
        "line 1, column 15: stream zz has its dead letters in a stream zz__dead, and there is a stream of that name already (it is a \
         topic whose records have no columns, perhaps made by a client that asked for dead letters too early: DROP STREAM zz__dead takes \
         it with its records; or give the stream another name)"
    );
    assert_eq!(
        fails(&session, "CREATE STREAM a.\"B\" (a INT)").await.to_string(),
        "line 1, column 15: stream a.\"B\" has its dead letters in a stream a.\"B__dead\", and there is a stream of that name already \
         (give the stream another name, or drop what is there: DROP STREAM a.\"B__dead\")"
    );
    run(&session, "DROP STREAM zz__dead; CREATE STREAM zz (a INT)").await.unwrap();
}

#[test]
fn names_that_topics_may_have_are_not_all_those_of_streams() {
    let problem = |namespace: &str, name: &str| crate::check_stream_name(namespace, name).err().map(|e| e.to_string());
    assert_eq!([("public", "orders-1_B"), ("a", "c")].map(|(namespace, name)| problem(namespace, name)), [None, None]);
    let cases = [
        ("fleuve", "s", "namespace \"fleuve\" is the system's own"),
        ("a", "b.c", "\"b.c\" holds a character other than ASCII letters, digits, _ and -"),
        (
            "a",
            &"x".repeat(196),
            "the name of a stream with dead letters has 196 bytes; at most 194 (its dead letters go to a stream of this name with __dead behind it)",
        ),
    ];
    for (namespace, name, wanted) in cases {
        assert_eq!(problem(namespace, name).as_deref(), Some(wanted));
    }
}

#[test]
fn a_text_that_would_not_read_back_is_kept_as_written() {
    use datafusion::sql::sqlparser::ast::{Ident, SelectItem, SetExpr};
    let mut parsed = crate::parse::parse_one("CREATE MATERIALIZED VIEW v AS  SELECT a AS b FROM s").unwrap();
    assert_eq!(declaration(&parsed).unwrap().2, "CREATE MATERIALIZED VIEW public.v AS SELECT a AS b FROM s");
    let crate::parse::Statement::CreateView(view) = &mut parsed.statement else { panic!() };
    let SetExpr::Select(select) = view.query.body.as_mut() else { panic!() };
    let SelectItem::ExprWithAlias { alias, .. } = &mut select.projection[0] else { panic!() };
    *alias = Ident::with_quote('`', "b");
    assert_eq!(declaration(&parsed).unwrap().2, "CREATE MATERIALIZED VIEW v AS  SELECT a AS b FROM s");
}

#[test]
fn checks_are_conditions_on_a_row() {
    use arrow::array::{ArrayRef, AsArray, Int32Array, RecordBatch};
    let create =
        crate::parse::parse_one("CREATE STREAM s (a INT, b INT, CHECK (a > 0 AND b < a * 2), CHECK (a IS NOT NULL))")
            .unwrap();
    let Spec::Stream(spec) = bind_spec(&ObjectSet::default(), &create).unwrap() else { panic!() };
    let checks = check_expressions(&spec).unwrap();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int32Array::from(vec![Some(1), Some(1), None])),
        Arc::new(Int32Array::from(vec![Some(1), Some(2), Some(1)])),
    ];
    let batch = RecordBatch::try_new(spec.schema.clone(), columns).unwrap();
    let results: Vec<Vec<Option<bool>>> = checks
        .iter()
        .map(|c| c.evaluate(&batch).unwrap().into_array(3).unwrap().as_boolean().iter().collect())
        .collect();
    assert_eq!(results, [[Some(true), Some(false), None], [Some(true), Some(true), Some(false)]]);
}

#[test]
fn a_check_that_fails_refuses_its_row_alone() {
    use arrow::array::{ArrayRef, Int32Array, RecordBatch};
    let create = crate::parse::parse_one("CREATE STREAM s (a INT, b INT, CHECK (a / b > 1))").unwrap();
    let Spec::Stream(spec) = bind_spec(&ObjectSet::default(), &create).unwrap() else { panic!() };
    let check = &check_expressions(&spec).unwrap()[0];
    for bad in [vec![], vec![2], vec![0, 1, 4], (0..9).collect()] {
        let b = (0..9).map(|n| {
            if bad.contains(&n) {
                0
            } else if n == 3 {
                5
            } else {
                1
            }
        });
        let columns: Vec<ArrayRef> =
            vec![Arc::new(Int32Array::from(vec![4; 9])), Arc::new(Int32Array::from(b.collect::<Vec<_>>()))];
        let batch = RecordBatch::try_new(spec.schema.clone(), columns).unwrap();
        let refused = refused_rows(check, &batch).unwrap();
        let failed: Vec<usize> = refused.iter().filter(|r| r.1.is_some()).map(|r| r.0).collect();
        assert_eq!(failed, bad);
        let is_false: Vec<usize> = refused.iter().filter(|r| r.1.is_none()).map(|r| r.0).collect();
        assert_eq!(is_false, if bad.contains(&3) { vec![] } else { vec![3] });
        assert!(refused.is_sorted_by_key(|r| r.0));
    }
}

#[tokio::test]
async fn a_check_that_always_fails_is_refused_for_a_new_stream_alone() {
    let sql = "CREATE STREAM s (a INT, CHECK (a > 10 / 0))";
    let (_, session) = session();
    let refused = fails(&session, sql).await;
    assert!(refused.message.contains("cannot be computed for any row"), "{refused}");
    // One that is in the catalog is there after a restart.
    assert!(bind_spec(&ObjectSet::default(), &crate::parse::parse_one(sql).unwrap()).is_ok());
}

const ORDERS: &str = "CREATE STREAM orders (id BIGINT NOT NULL, who TEXT, amount DECIMAL(12,2), ts TIMESTAMP);";

#[tokio::test]
async fn views_are_bound_with_full_names_and_inputs() {
    let (fake, session) = after(ORDERS).await;
    run(&session, "CREATE MATERIALIZED VIEW a AS SELECT who, count(*) AS n FROM orders GROUP BY who ORDER BY who")
        .await
        .unwrap();
    run(&session, "CREATE MATERIALIZED VIEW b (x, y) AS SELECT a.who, (SELECT max(o.id) FROM orders o) FROM a")
        .await
        .unwrap();
    let objects = fake.objects();
    let b = view(&objects, "b");
    let inputs: Vec<&str> = b.inputs.keys().map(|(_, n)| n.as_str()).collect();
    assert_eq!(inputs, ["a", "orders"]);
    let columns: Vec<&str> = b.schema.fields().iter().map(|f| f.name().as_str()).collect();
    assert_eq!(columns, ["x", "y"]);
    assert_eq!(b.query, "SELECT a.who, (SELECT max(o.id) FROM orders o) FROM a");
    let plan = b.plan.display_indent().to_string();
    assert!(plan.contains("TableScan: main.public.a") && plan.contains("TableScan: main.public.orders"), "{plan}");
    let a = objects.get("public", "a").unwrap();
    assert_eq!(a.object.kind, ObjectKind::View);
    assert_eq!(
        a.object.sql,
        "CREATE MATERIALIZED VIEW public.a AS SELECT who, count(*) AS n FROM orders GROUP BY who ORDER BY who"
    );
    assert_eq!(a.object.depends_on, [objects.get("public", "orders").unwrap().object.id]);
    assert_eq!((a.object.version, a.object.created_ms), (1, 1_800_000_000_000));
}

#[tokio::test]
async fn view_columns_have_types_that_can_be_kept() {
    let (fake, session) = after(ORDERS).await;
    run(
        &session,
        "CREATE MATERIALIZED VIEW v AS SELECT NULL AS a, 'x' AS b, upper(who) AS c, arrow_cast(who, 'Utf8View') AS d,
           arrow_cast(who, 'Dictionary(Int32, Utf8)') AS e, split_part(who, '.', 1) AS f FROM orders",
    )
    .await
    .unwrap();
    let v = view(&fake.objects(), "v");
    let types: Vec<&DataType> = v.schema.fields().iter().map(|f| f.data_type()).collect();
    assert_eq!(types, [&DataType::Utf8; 6]);
}

#[tokio::test]
async fn wrong_views_are_refused_with_their_place() {
    let (_, session) = after(ORDERS).await;
    run(&session, "CREATE SOURCE src INTO orders WITH (connector = 'file', path = 'x')").await.unwrap();
    let cases = [
        ("SELECT whoo FROM orders", "line 2, column 8: there is no column \"whoo\" (did you mean \"who\"?)"),
        (
            "SELECT o.amont\n FROM orders o",
            "line 2, column 8: there is no column \"o.amont\" (did you mean \"amount\"?)",
        ),
        (
            "SELECT who, who FROM orders",
            "line 2, column 8: there are two columns \"who\" (give one of them another name with AS)",
        ),
        (
            "SELECT lenght(who) FROM orders",
            "line 2, column 8: there is no function \"lenght\" (did you mean \"length\"?)",
        ),
        ("SELECT id FROM oders", "line 2, column 16: there is no stream or view \"oders\" (did you mean \"orders\"?)"),
        ("SELECT id FROM src", "line 2, column 16: \"src\" is a source, which cannot be read"),
        (
            "SELECT name FROM fleuve.things",
            "line 2, column 18: a view cannot read the system table fleuve.things (views read streams and views; system tables are for queries)",
        ),
        (
            "SELECT id, random() AS r FROM orders",
            "line 2, column 12: random() gives another value each time, so a view cannot use it (a view's answer depends on its input alone, so that it can be computed again; use it when you query the view)",
        ),
        (
            "SELECT id, now() AS n FROM orders",
            "line 2, column 12: now() gives another value each time, so a view cannot use it (only a condition may compare with it: WHERE ts > now() - INTERVAL '1 hour'; else use the event time of a stream, or now() when you query the view)",
        ),
        (
            "SELECT id, ts - current_timestamp AS n FROM orders",
            "line 2, column 17: now() gives another value each time, so a view cannot use it (only a condition may compare with it: WHERE ts > now() - INTERVAL '1 hour'; else use the event time of a stream, or now() when you query the view)",
        ),
        ("SELECT id, $1 AS x FROM orders", "line 1, column 1: a view has no parameters, and $1 is one"),
    ];
    for (query, wanted) in cases {
        let got = fails(&session, &format!("CREATE MATERIALIZED VIEW v AS\n{query}")).await;
        assert_eq!(got.to_string(), wanted, "{query}");
    }
    let e = fails(&session, "CREATE MATERIALIZED VIEW v (a, b) AS SELECT id FROM orders").await;
    assert_eq!(e.to_string(), "line 1, column 29: 2 column names are given, and the query has 1 columns");
    let e = fails(&session, "CREATE MATERIALIZED VIEW v AS SELECT id + who + ts AS x FROM orders").await;
    assert!(e.kind == ErrorKind::Input && e.location.is_some(), "{e:?}");
}

#[tokio::test]
async fn keys_are_inferred() {
    let (fake, session) = after(ORDERS).await;
    run(&session, "CREATE MATERIALIZED VIEW counts AS SELECT count(*) AS n, who AS name FROM orders GROUP BY who")
        .await
        .unwrap();
    let objects = fake.objects();
    let cases: &[(&str, Option<&[&str]>)] = &[
        ("SELECT who, count(*) FROM orders GROUP BY who", Some(&["who"])),
        ("SELECT count(*) AS n, who AS w, max(id) AS m FROM orders GROUP BY who HAVING count(*) > 1", Some(&["w"])),
        ("SELECT count(*) AS n FROM orders GROUP BY who", None),
        ("SELECT who, date_trunc('day', ts) AS d, sum(amount) AS s FROM orders GROUP BY who, 2", Some(&["who", "d"])),
        (
            "SELECT window_start, who, count(*) AS n FROM TUMBLE(orders, ts, INTERVAL '1 minute') GROUP BY window_start, who",
            Some(&["window_start", "who"]),
        ),
        ("SELECT DISTINCT who, ts FROM orders", Some(&["who", "ts"])),
        ("SELECT DISTINCT who FROM orders ORDER BY who LIMIT 3", Some(&["who"])),
        ("SELECT DISTINCT ON (who) who, id FROM orders ORDER BY who, ts DESC", Some(&["who"])),
        (
            "SELECT w, id FROM (SELECT who AS w, id, row_number() OVER (PARTITION BY who ORDER BY ts DESC) AS n FROM orders) WHERE n = 1",
            Some(&["w"]),
        ),
        (
            "SELECT * FROM (SELECT *, row_number() OVER (PARTITION BY who, id ORDER BY ts) AS n FROM orders) AS r WHERE 2 > n AND ts IS NOT NULL",
            Some(&["id", "who"]),
        ),
        (
            "SELECT who, id FROM orders QUALIFY row_number() OVER (PARTITION BY who ORDER BY ts DESC) <= 1",
            Some(&["who"]),
        ),
        (
            "SELECT id FROM (SELECT who, id, row_number() OVER (PARTITION BY who ORDER BY ts) AS n FROM orders) WHERE n = 1",
            None,
        ),
        (
            "SELECT who FROM (SELECT who, id, row_number() OVER (PARTITION BY who ORDER BY ts) AS n FROM orders) WHERE n <= 2",
            None,
        ),
        (
            "SELECT who FROM (SELECT who, id, rank() OVER (PARTITION BY who ORDER BY ts) AS n FROM orders) WHERE n = 1",
            None,
        ),
        (
            "SELECT who FROM (SELECT who, row_number() OVER (PARTITION BY lower(who) ORDER BY ts) AS n FROM orders) WHERE n = 1",
            None,
        ),
        (
            "SELECT id FROM (SELECT id, row_number() OVER (PARTITION BY who ORDER BY ts) AS n FROM orders) WHERE n = 1 OR id = 1",
            None,
        ),
        ("SELECT who AS x FROM (SELECT DISTINCT who FROM orders) AS d", Some(&["x"])),
        ("SELECT id, who FROM orders", None),
        ("SELECT count(*) AS n FROM orders", None),
        (
            "SELECT a.n, b.m, a.who FROM (SELECT who, count(*) AS n FROM orders GROUP BY who) a
             JOIN (SELECT who, max(id) AS m FROM orders GROUP BY who) b ON a.who = b.who",
            Some(&["who"]),
        ),
        (
            "SELECT a.who, b.d, n, m FROM (SELECT who, count(*) AS n FROM orders GROUP BY who) a
             JOIN (SELECT ts AS d, max(id) AS m FROM orders GROUP BY ts) b ON n = m",
            Some(&["who", "d"]),
        ),
        ("SELECT n, name FROM (SELECT name, n FROM counts) WHERE n > 1", Some(&["name"])),
        ("SELECT who, sum(id) AS s FROM orders GROUP BY ROLLUP (who)", None),
        ("SELECT who, 1 AS one FROM orders UNION ALL SELECT who, 2 FROM orders", None),
        (
            "SELECT o.who, a.n FROM orders o JOIN (SELECT who, count(*) AS n FROM orders GROUP BY who) a ON o.who = a.who",
            None,
        ),
    ];
    for (query, wanted) in cases {
        let spec = plan_view(&objects, query).unwrap();
        let key = view_key(&spec.plan);
        assert_eq!(
            key.as_deref().map(|k| k.iter().map(String::as_str).collect::<Vec<_>>()).as_deref(),
            *wanted,
            "{query}"
        );
    }
}

#[tokio::test]
async fn a_sink_makes_its_stream() {
    let (fake, session) = after(ORDERS).await;
    run(
        &session,
        "CREATE MATERIALIZED VIEW v AS SELECT who, sum(amount) AS total, max(ts) AS last FROM orders GROUP BY who",
    )
    .await
    .unwrap();
    let notices = run(&session, "CREATE SINK k FROM v INTO out WITH (format = avro)").await.unwrap();
    assert_eq!(notices, ["CREATE SINK", "stream \"out\" was made for the sink"]);
    assert_eq!(fake.last_applied(), ["create stream out", "create stream out__dead", "create sink k"]);
    let objects = fake.objects();
    let Spec::Sink(sink) = &objects.get("public", "k").unwrap().spec else { panic!() };
    assert_eq!(
        (sink.mode, sink.key.as_slice(), sink.format.as_str()),
        (SinkMode::Upsert, &["who".to_string()][..], "avro")
    );
    let out = stream(&objects, "out");
    assert_eq!(out.format, "avro");
    assert_eq!(out.schema.fields(), view(&objects, "v").schema.fields());

    run(&session, "CREATE SINK c FROM v INTO log WITH (mode = changes)").await.unwrap();
    let objects = fake.objects();
    let names: Vec<String> = stream(&objects, "log").schema.fields().iter().map(|f| f.name().clone()).collect();
    assert_eq!(names, ["who", "total", "last", "weight", "epoch"]);
    // A second sink into the same stream, which is there now.
    run(&session, "CREATE SINK c2 FROM v INTO log WITH (mode = changes)").await.unwrap();
    assert_eq!(fake.last_applied(), ["create sink c2"]);
    // Without a mode it is the one that the stream was made for, although the view has a key.
    run(&session, "CREATE SINK c3 FROM v INTO log; CREATE SINK u2 FROM v INTO out WITH (format = avro)").await.unwrap();
    let objects = fake.objects();
    for (name, wanted) in [("c3", SinkMode::Changes), ("u2", SinkMode::Upsert)] {
        let Spec::Sink(sink) = &objects.get("public", name).unwrap().spec else { panic!() };
        assert_eq!(sink.mode, wanted, "{name}");
    }
}

#[tokio::test]
async fn wrong_sinks_and_sources_are_refused() {
    let (fake, session) = after(ORDERS).await;
    run(&session, "CREATE MATERIALIZED VIEW v AS SELECT id, who FROM orders").await.unwrap();
    let applied = fake.applied.lock().len();
    let cases = [
        ("CREATE SINK k FROM w INTO o", "line 1, column 20: there is no view \"w\" (did you mean \"v\"?)"),
        ("CREATE SINK k FROM orders INTO o", "line 1, column 20: \"orders\" is a stream, not a view"),
        (
            "CREATE SINK k FROM v INTO o WITH (mode = upsert)",
            "line 1, column 13: mode upsert needs a key, and view \"v\" proves none (say WITH (key = 'a,b') if these columns are unique, or use mode = changes)",
        ),
        (
            "CREATE SINK k FROM v INTO o WITH (key = 'id, woh')",
            "line 1, column 35: the key's column \"woh\" is not a column of the view (did you mean \"who\"?)",
        ),
        (
            "CREATE SINK k FROM v INTO o WITH (format = csv)",
            "line 1, column 35: \"csv\" is not a format (it is one of json, avro)",
        ),
        (
            "CREATE SINK k FROM v INTO orders WITH (key = 'id', format = avro)",
            "line 1, column 27: stream \"orders\" has format json, and the sink writes avro (say WITH (format = 'json'))",
        ),
        (
            "CREATE SINK k FROM v INTO orders",
            "line 1, column 27: stream \"orders\" does not take what the sink writes: it has no column \"weight\" (write into a stream that does not exist yet, and the sink makes it)",
        ),
        (
            "CREATE SINK k FROM v WITH (connector = 'postgres')",
            "line 1, column 22: sinks into other systems come in a later version (CREATE SINK name FROM view INTO stream gives a stream that any Kafka client reads)",
        ),
        (
            "CREATE SOURCE q INTO orders",
            "line 1, column 15: a source needs a connector (write WITH (connector = 'file', path = '...'))",
        ),
        (
            "CREATE SOURCE q INTO orders WITH (connector = 'file')",
            "line 1, column 15: a file source needs option \"path\"",
        ),
        (
            "CREATE SOURCE q INTO orders WITH (connector = 'file', paht = 'x')",
            "line 1, column 55: a source has no option \"paht\" (did you mean \"path\"?)",
        ),
        (
            "CREATE SOURCE q INTO v WITH (connector = 'file', path = 'x')",
            "line 1, column 22: \"v\" is a view, not a stream",
        ),
    ];
    for (sql, wanted) in cases {
        assert_eq!(fails(&session, sql).await.to_string(), wanted, "{sql}");
    }
    assert_eq!(fake.applied.lock().len(), applied);
}

#[tokio::test]
async fn binding_goes_on_without_the_runtime() {
    // In one step of a task: tokio's budget for it is used up on the way.
    let (fake, _) = after(ORDERS).await;
    let objects = fake.objects();
    for _ in 0..300 {
        plan_view(&objects, "SELECT o.who, count(*) AS n FROM orders o JOIN orders p ON o.id = p.id GROUP BY 1")
            .unwrap();
    }
}

#[tokio::test]
async fn objects_go_on_by_the_rules_that_they_were_made_by() {
    let (fake, session) = after(ORDERS).await;
    run(
        &session,
        "CREATE MATERIALIZED VIEW a AS SELECT who, count(*) FROM orders GROUP BY who;
         CREATE MATERIALIZED VIEW b AS SELECT who, count FROM a",
    )
    .await
    .unwrap();
    let made = view(&fake.objects(), "a");
    assert_eq!(made.schema.field(1).name(), "count");
    // As a version kept them that had no such names.
    let before = |o: &Arc<BoundObject>| match o.object.name.as_str() {
        "a" => Object { edition: 0, ..o.object.clone() },
        "b" => {
            let sql = o.object.sql.replace("count FROM a", "\"count(*)\" FROM (SELECT who, \"count(*)\" FROM a) q");
            assert_ne!(sql, o.object.sql);
            Object { sql, edition: 0, ..o.object.clone() }
        }
        _ => o.object.clone(),
    };
    let set = bind_all(fake.objects().by_name.values().map(before).collect()).unwrap();
    assert!(set.unusable.is_empty(), "{:?}", set.unusable);
    for name in ["a", "b"] {
        assert_eq!(view(&set, name).schema.field(1).name(), "count(*)");
    }
    // The same text changes nothing; another one takes the rules of now.
    let declared = |set: &ObjectSet, sql: &str| {
        let mut draft = Draft::new(&Arc::new(set.clone()), Arc::new(fleuve_types::SystemClock));
        let declared = draft.declare(&crate::parse::parse_one(sql).unwrap());
        declared.map(|d| (d, draft.objects))
    };
    let text = set.get("public", "a").unwrap().object.sql.clone();
    assert_eq!(declared(&set, &text).unwrap().0, Declared::Unchanged);
    let (_, alone) = declared(
        &bind_all(set.by_name.values().map(|o| o.object.clone()).filter(|o| o.name != "b").collect()).unwrap(),
        &text.replace("GROUP BY", "WHERE id > 0 GROUP BY"),
    )
    .unwrap();
    assert_eq!(view(&alone, "a").schema.field(1).name(), "count");
    assert_eq!(alone.get("public", "a").unwrap().object.edition, crate::parse::EDITION);
}

#[tokio::test]
async fn objects_are_bound_again_from_their_text() {
    let (fake, session) = after(ORDERS).await;
    run(
        &session,
        "CREATE MATERIALIZED VIEW a AS SELECT who, count(*) AS n FROM TUMBLE(orders, ts, INTERVAL '1 minute') GROUP BY who;
         CREATE MATERIALIZED VIEW b AS SELECT * FROM a WHERE n > 1;
         CREATE SINK k FROM b INTO out; CREATE SOURCE src INTO orders WITH (connector = 'file', path = 'x', follow = true)",
    )
    .await
    .unwrap();
    let objects = fake.objects();
    let kept: Vec<Object> = objects.by_name.values().rev().map(|o| o.object.clone()).collect();
    let again = bind_all(kept.clone()).unwrap();
    assert!(again.unusable.is_empty(), "{:?}", again.unusable);
    assert_eq!(again.by_name.len(), objects.by_name.len());
    for (key, object) in &objects.by_name {
        let other = &again.by_name[key];
        assert_eq!(other.object, object.object);
        if let (Spec::View(a), Spec::View(b)) = (&object.spec, &other.spec) {
            assert_eq!(
                (a.plan.display_indent().to_string(), &a.schema, &a.inputs),
                (b.plan.display_indent().to_string(), &b.schema, &b.inputs)
            );
        }
    }
    // One that cannot be bound takes along only what needs it.
    let broken: Vec<Object> = kept
        .into_iter()
        .map(|o| if o.name == "a" { Object { sql: o.sql.replace("count(*)", "conut(*)"), ..o } } else { o })
        .collect();
    let again = bind_all(broken).unwrap();
    let names: Vec<&str> = again.unusable.keys().map(|(_, name)| name.as_str()).collect();
    assert_eq!(names, ["a", "b", "k"]);
    assert!(again.get("public", "orders").is_some() && again.get("public", "src").is_some());
}

#[tokio::test]
async fn names_leave_room_for_what_stands_behind_them() {
    let name = |bytes: usize| "n".repeat(bytes);
    let (fake, session) = after(&format!("CREATE STREAM {} (a INT)", name(194))).await;
    let dead = format!("{}__dead", name(194));
    run(&session, &format!("SELECT reason FROM {dead}")).await.unwrap();
    let e = fails(&session, &format!("CREATE STREAM {} (a INT)", name(195))).await;
    let expected = "line 1, column 15: the name of a stream with dead letters has 195 bytes; at most 194 (its dead letters \
                    go to a stream of this name with __dead behind it)";
    assert_eq!(e.to_string(), expected);
    run(&session, &format!("CREATE MATERIALIZED VIEW {} AS SELECT a FROM {}", name(200), name(194))).await.unwrap();
    let view = format!("CREATE OR REPLACE MATERIALIZED VIEW {} AS SELECT 1 / a AS b FROM {}", name(200), name(194));
    let e = fails(&session, &format!("{view} ON ERROR SKIP TO DEAD LETTER")).await;
    assert!(e.to_string().contains("the name of a view with dead letters has 200 bytes; at most 194"), "{e}");
    let e = fails(&session, &format!("CREATE MATERIALIZED VIEW {} AS SELECT a FROM {}", name(201), name(194))).await;
    assert!(e.to_string().contains("a name has 201 bytes; at most 200"), "{e}");
    let e = fails(&session, &format!("CREATE INDEX ON {} (a)", name(200))).await;
    assert!(e.to_string().contains("a name has 206 bytes; at most 200 (give it one of its own"), "{e}");
    // Those of a stream that an earlier version let be.
    let mut dead = fake.objects().get("public", &dead).unwrap().object.clone();
    dead.sql = dead.sql.replace(&name(194), &name(200));
    assert!(dead.sql.contains(&format!("{}__dead", name(200))), "{}", dead.sql);
    statement_of(&dead).unwrap();
}
