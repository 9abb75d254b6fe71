mod apply;
mod clock;
mod handed;
mod restated;
mod told;

use datafusion::common::ScalarValue;
use fleuve_types::ErrorKind;
use futures::StreamExt;

use super::*;
use crate::fake::{fails, project, run, session};

const ORDERS: &str = "
    CREATE STREAM orders (id BIGINT NOT NULL, who TEXT, amount DECIMAL(12,2), ts TIMESTAMP);
    INSERT INTO orders VALUES (1, 'ann', 10.5, '2024-01-01 10:00:00'), (2, 'bob', 20, '2024-01-01 10:00:30'),
        (3, 'ann', 5.25, '2024-01-01 10:01:00');";
const TOTALS: &str = "CREATE MATERIALIZED VIEW totals AS SELECT who, sum(amount) AS total FROM orders GROUP BY who;";

#[tokio::test]
async fn create_insert_select() {
    let (_, session) = session();
    assert_eq!(run(&session, ORDERS).await.unwrap(), ["INSERT 0 3"]);
    assert_eq!(run(&session, TOTALS).await.unwrap(), ["CREATE MATERIALIZED VIEW"]);
    assert_eq!(run(&session, "SELECT * FROM totals ORDER BY who").await.unwrap(), ["ann|15.75", "bob|20.00"]);
    run(&session, "INSERT INTO orders (who, id) SELECT who, id + 10 FROM orders WHERE id < 3").await.unwrap();
    let query = "SELECT o.who, count(*), t.total FROM orders o JOIN totals t ON o.who = t.who GROUP BY 1, 3 ORDER BY 1";
    assert_eq!(run(&session, query).await.unwrap(), ["ann|3|15.75", "bob|2|20.00"]);
    assert_eq!(run(&session, "VALUES (1, 'a'), (2, NULL)").await.unwrap(), ["1|a", "2|NULL"]);
    assert_eq!(run(&session, "SELECT now() > '2020-01-01', random() < 2").await.unwrap(), ["true|true"]);
}

#[tokio::test]
async fn a_statement_reads_one_snapshot() {
    let (fake, session) = session();
    run(&session, ORDERS).await.unwrap();
    run(&session, TOTALS).await.unwrap();
    let before = *fake.snapshots.lock();
    run(&session, "SELECT (SELECT count(*) FROM orders), * FROM totals, orders o, TUMBLE(orders, ts, INTERVAL '1 s')")
        .await
        .unwrap();
    assert_eq!(*fake.snapshots.lock() - before, 1);
}

#[tokio::test]
async fn inserts_are_checked() {
    let (_, session) = session();
    run(&session, "CREATE STREAM s (a INT NOT NULL, b TEXT, c TIMESTAMP, d BOOLEAN, e INT[], f BYTEA)").await.unwrap();
    let good = [
        ("INSERT INTO s VALUES (1, 'x', '2024-01-01', true, [1, 2], '\\x01')", "INSERT 0 1"),
        ("INSERT INTO s (a) VALUES (1), (2)", "INSERT 0 2"),
        ("INSERT INTO s VALUES (7)", "INSERT 0 1"),
        ("INSERT INTO s (b, a) VALUES (NULL, '12')", "INSERT 0 1"),
        ("INSERT INTO s (a, b) SELECT 1, 2.5 WHERE false", "INSERT 0 0"),
        ("INSERT INTO s (a, b) VALUES (1, 2)", "INSERT 0 1"),
    ];
    for (sql, wanted) in good {
        assert_eq!(run(&session, sql).await.unwrap(), [wanted], "{sql}");
    }
    let bad = [
        ("INSERT INTO s (b) VALUES ('x')", "line 1, column 1: column \"a\" is NOT NULL and gets no value"),
        ("INSERT INTO s (a) VALUES (NULL)", "line 1, column 1: column \"a\" is NOT NULL and gets NULL"),
        ("INSERT INTO s (a, d) VALUES (1, 2)", "line 1, column 1: column \"d\" is BOOLEAN, and its value is BIGINT"),
        (
            "INSERT INTO s (a, x) VALUES (1, 2)",
            "line 1, column 19: stream \"s\" has no column \"x\" (did you mean \"a\"?)",
        ),
        ("INSERT INTO s (a, a) VALUES (1, 2)", "line 1, column 19: column \"a\" is named twice"),
        (
            "INSERT INTO s (a, _offset) VALUES (1, 2)",
            "line 1, column 19: \"_offset\" is made by the log; it cannot be given",
        ),
        ("INSERT INTO s (a, b) VALUES (1)", "line 1, column 1: there are 1 values for 2 columns"),
        ("INSERT INTO s VALUES (1,2,3,4,5,6,7)", "line 1, column 1: there are 7 values for the 6 columns of \"s\""),
        ("INSERT INTO t VALUES (1)", "line 1, column 13: there is no stream \"t\" (did you mean \"s\"?)"),
    ];
    for (sql, wanted) in bad {
        assert_eq!(fails(&session, sql).await.to_string(), wanted, "{sql}");
    }
    let e = fails(&session, "INSERT INTO s (a) VALUES (3000000000)").await;
    assert!(
        e.kind == ErrorKind::Input && e.message.contains("column \"a\"") && e.message.contains("3000000000"),
        "{e}"
    );
    let e = fails(&session, "INSERT INTO s (a) VALUES ('many')").await;
    assert!(e.message.contains("column \"a\"") && e.message.contains("many"), "{e}");
}

#[tokio::test]
async fn query_errors_have_their_place() {
    let (_, session) = session();
    run(&session, ORDERS).await.unwrap();
    let cases = [
        ("SELECT 1;\nSELECT wo FROM orders", "line 2, column 8: there is no column \"wo\" (did you mean \"who\"?)"),
        (
            "SELECT who\nFROM order_s",
            "line 2, column 6: there is no stream or view \"order_s\" (did you mean \"orders\"?)",
        ),
        ("SELECT o.id FROM orders", "line 1, column 8: there is no column \"o.id\" (FROM has orders)"),
        (
            "SELECT id FROM orders a, orders b",
            "line 1, column 8: column \"id\" is in more than one table (write table.id)",
        ),
        (
            "SELECT lenght(who) FROM orders",
            "line 1, column 8: there is no function \"lenght\" (did you mean \"length\"?)",
        ),
        ("SHOW stream", "line 1, column 1: there is no setting \"stream\" (did you mean SHOW STREAMS?)"),
        ("DESCRIBE oders", "line 1, column 10: there is no object \"oders\" (did you mean \"orders\"?)"),
    ];
    for (sql, wanted) in cases {
        assert_eq!(fails(&session, sql).await.to_string(), wanted, "{sql}");
    }
    let e = fails(&session, "SELECT id / 0 FROM orders").await;
    assert_eq!((e.kind, e.message.as_str()), (ErrorKind::Input, "division by zero"));
    assert!(fails(&session, "SELECT who FROM orders GROUP BY id").await.location.is_some());
}

#[tokio::test]
async fn objects_exist_once_and_go_in_order() {
    let (fake, session) = session();
    run(&session, ORDERS).await.unwrap();
    run(&session, TOTALS).await.unwrap();
    let e = fails(&session, TOTALS).await;
    assert_eq!((e.kind, e.message.as_str()), (ErrorKind::AlreadyExists, "\"totals\" exists already"));
    let notice = run(&session, "CREATE STREAM IF NOT EXISTS orders (x INT)").await.unwrap();
    assert_eq!(notice, ["CREATE STREAM", "stream \"orders\" exists already, skipping"]);
    let e = fails(&session, "DROP STREAM orders").await;
    assert_eq!(
        e.to_string(),
        "line 1, column 13: stream \"orders\" is used by view totals (drop those first, or say CASCADE)"
    );
    let e = fails(&session, "DROP VIEW orders").await;
    assert_eq!(e.to_string(), "line 1, column 11: \"orders\" is a stream, not a view");
    assert_eq!(run(&session, "DROP SINK IF EXISTS nothing").await.unwrap()[1], "\"nothing\" does not exist, skipping");
    run(
        &session,
        "CREATE MATERIALIZED VIEW big AS SELECT * FROM totals WHERE total > 10; CREATE SINK k FROM big INTO o",
    )
    .await
    .unwrap();
    let done = run(&session, "DROP STREAM orders CASCADE").await.unwrap();
    assert_eq!(done[0], "DROP STREAM");
    assert_eq!(
        fake.last_applied(),
        ["drop sink k", "drop view big", "drop view totals", "drop stream orders__dead", "drop stream orders"]
    );
}

#[tokio::test]
async fn dead_letters_go_with_their_view() {
    let (fake, session) = session();
    let view = "MATERIALIZED VIEW v AS SELECT k, 10 / v AS m FROM s";
    let objects = format!("CREATE STREAM s (k INT, v INT); CREATE {view} ON ERROR SKIP TO DEAD LETTER;");
    run(&session, &objects).await.unwrap();
    let done = run(&session, "DROP STREAM s CASCADE").await.unwrap();
    assert_eq!(done, ["DROP STREAM", "drop cascades to view v"]);
    assert_eq!(fake.last_applied(), ["drop stream v__dead", "drop view v", "drop stream s__dead", "drop stream s"]);
    // The letters of before stay when the view stops at the next ones, and go when it does. What reads them goes first.
    run(&session, &objects).await.unwrap();
    run(&session, &format!("CREATE OR REPLACE {view}; CREATE MATERIALIZED VIEW a AS SELECT reason FROM v__dead"))
        .await
        .unwrap();
    let e = fails(&session, "DROP STREAM s").await;
    assert_eq!(e.message, "stream \"s\" is used by view v, view a");
    let e = fails(&session, "DROP VIEW v").await;
    assert_eq!(e.message, "view \"v\" is used by view a");
    assert!(fails(&session, "DROP STREAM v__dead CASCADE").await.message.contains("holds the dead letters of view"));
    let done = run(&session, "DROP STREAM s CASCADE").await.unwrap();
    assert_eq!(done, ["DROP STREAM", "drop cascades to view v", "drop cascades to view a"]);
    let dropped = ["drop view a", "drop stream v__dead", "drop view v", "drop stream s__dead", "drop stream s"];
    assert_eq!(fake.last_applied(), dropped);
    run(&session, &objects).await.unwrap();
}

#[tokio::test]
async fn a_view_is_replaced_with_what_reads_it() {
    let (fake, session) = session();
    run(&session, ORDERS).await.unwrap();
    run(&session, TOTALS).await.unwrap();
    run(&session, "CREATE MATERIALIZED VIEW big AS SELECT who FROM totals WHERE total > 10").await.unwrap();
    let id = fake.objects().get("public", "totals").unwrap().object.id;
    run(&session, "CREATE OR REPLACE MATERIALIZED VIEW totals AS SELECT who, sum(amount) * 2 AS total, 1 AS one FROM orders GROUP BY who").await.unwrap();
    assert_eq!(fake.last_applied(), ["replace view totals v2", "replace view big v2"]);
    assert_eq!(fake.objects().get("public", "totals").unwrap().object.id, id);
    assert_eq!(run(&session, "SELECT * FROM totals ORDER BY who").await.unwrap(), ["ann|31.50|1", "bob|40.00|1"]);
    let e = fails(&session, "CREATE OR REPLACE MATERIALIZED VIEW totals AS SELECT who FROM orders").await;
    assert!(
        e.message.starts_with("\"totals\" cannot change like this, because of view big (there is no column \"total\""),
        "{e}"
    );
    let e = fails(&session, "CREATE OR REPLACE MATERIALIZED VIEW totals AS SELECT b.who, 1 AS total FROM big b").await;
    assert_eq!(e.message, "\"totals\" would read itself");
}

#[tokio::test]
async fn show_and_describe() {
    let (_, session) = session();
    run(&session, ORDERS).await.unwrap();
    run(&session, TOTALS).await.unwrap();
    run(&session, "COMMENT ON COLUMN orders.who IS 'who pays'; COMMENT ON STREAM orders IS 'what was bought'")
        .await
        .unwrap();
    run(
        &session,
        "CREATE SINK k FROM totals INTO out; CREATE SOURCE src INTO orders WITH (connector = file, path = 'a.json')",
    )
    .await
    .unwrap();
    let cases: &[(&str, &[&str])] = &[
        (
            "SHOW STREAMS",
            &[
                "orders|json|1|for ever|NULL|id, who, amount, ts|what was bought",
                "orders__dead|json|1|for ever|NULL|reason, partition, offset, timestamp, key, value|NULL",
                "out|json|1|for ever|NULL|who, total|NULL",
                "out__dead|json|1|for ever|NULL|reason, partition, offset, timestamp, key, value|NULL",
            ],
        ),
        ("SHOW VIEWS", &["totals|running|NULL|orders|who|who, total|NULL"]),
        ("SHOW SINKS", &["k|totals|out|json|upsert|who|NULL"]),
        ("SHOW SOURCES", &["src|file|orders|path = a.json|NULL"]),
        ("SHOW server_encoding", &["UTF8"]),
        ("SET application_name = 'me'; SHOW application_name", &["me"]),
        ("RESET application_name; SHOW application_name", &[""]),
        (
            "DESCRIBE orders",
            &["id|BIGINT|no|NULL", "who|TEXT|yes|who pays", "amount|DECIMAL(12,2)|yes|NULL", "ts|TIMESTAMP|yes|NULL"],
        ),
        ("DESCRIBE fleuve.things", &["name|TEXT|no|NULL"]),
        (
            "SHOW CREATE VIEW totals",
            &[
                "totals|CREATE MATERIALIZED VIEW public.totals AS SELECT who, sum(amount) AS total FROM orders GROUP BY who",
            ],
        ),
        ("SELECT * FROM fleuve.things", &["one"]),
        ("BEGIN", &["BEGIN"]),
    ];
    for (sql, wanted) in cases {
        assert_eq!(run(&session, sql).await.unwrap(), *wanted, "{sql}");
    }
    let tables = run(&session, "SHOW TABLES").await.unwrap();
    assert!(
        tables.contains(&"orders__dead|dead letters|NULL".into())
            && tables.contains(&"fleuve.things|system table|NULL".into())
    );
    let listed =
        run(&session, "SELECT table_schema, table_name FROM information_schema.tables WHERE table_name = 'totals'")
            .await
            .unwrap();
    assert_eq!(listed, ["public|totals"]);
}

#[tokio::test]
async fn explain_shows_plans_and_circuits() {
    let (_, session) = session();
    run(&session, ORDERS).await.unwrap();
    run(&session, TOTALS).await.unwrap();
    let lines = run(&session, "EXPLAIN SELECT who FROM orders WHERE id = 1").await.unwrap().join("\n");
    for part in
        ["Logical plan\n", "Optimised plan\n", "TableScan: main.public.orders", "Circuit\n  circuit of 1 inputs"]
    {
        assert!(lines.contains(part), "{part}\n{lines}");
    }
    let lines = run(&session, "EXPLAIN SELECT now()").await.unwrap().join("\n");
    assert!(lines.contains("none, as it cannot be a view: now() gives another value"), "{lines}");
    let lines = run(&session, "EXPLAIN totals").await.unwrap().join("\n");
    assert!(lines.contains("Running\n  running circuit") && lines.contains("Aggregate"), "{lines}");
    let lines = run(&session, "EXPLAIN ANALYZE VIEW totals").await.unwrap().join("\n");
    assert_eq!(lines, "Running\n  running circuit");
    let lines = run(&session, "EXPLAIN ANALYZE SELECT count(*) FROM orders").await.unwrap().join("\n");
    assert!(lines.contains("output_rows"), "{lines}");
}

#[tokio::test]
async fn subscriptions_come_from_the_platform() {
    let (_, session) = session();
    run(&session, ORDERS).await.unwrap();
    run(&session, TOTALS).await.unwrap();
    assert_eq!(run(&session, "SUBSCRIBE TO totals").await.unwrap().len(), 2);
    let e = fails(&session, "SUBSCRIBE total").await;
    assert_eq!(e.to_string(), "line 1, column 11: there is no view or stream \"total\" (did you mean \"totals\"?)");
}

fn names(schema: &SchemaRef) -> Vec<String> {
    schema.fields().iter().map(|f| format!("{}:{}", f.name(), f.data_type())).collect()
}

#[tokio::test]
async fn statements_are_prepared_with_parameters() {
    let (_, session) = session();
    run(&session, ORDERS).await.unwrap();
    let prepare = async |sql: &str| {
        let parsed = session.parse(sql).unwrap().remove(0);
        session.prepare(parsed, &[]).await.unwrap()
    };
    let p = prepare("SELECT id, who FROM orders WHERE id > $1 AND who = $2 ORDER BY id").await;
    assert_eq!(p.parameter_types(), [DataType::Int64, DataType::Utf8]);
    assert_eq!(names(&p.schema().unwrap()), ["id:Int64", "who:Utf8"]);
    let values = || ParamValues::from(vec![ScalarValue::Int64(Some(0)), ScalarValue::from("ann")]);
    let count = async |p: &Prepared| {
        let Outcome::Rows { rows, .. } = session.run(p, values()).await.unwrap() else { panic!() };
        rows.map(|b| b.unwrap().num_rows()).fold(0, async |a, b| a + b).await
    };
    assert_eq!(count(&p).await, 2);
    // A prepared statement reads what is there when it runs.
    run(&session, "INSERT INTO orders VALUES (9, 'ann')").await.unwrap();
    assert_eq!(count(&p).await, 3);

    // A list that something is compared with is one of what that is.
    let list = |element| DataType::List(Arc::new(arrow::datatypes::Field::new_list_field(element, true)));
    let p = prepare("SELECT id FROM orders WHERE who = ANY($1) AND id <> ALL ($2) AND $3 = who AND ts + $4 > ts").await;
    let span = DataType::Interval(arrow::datatypes::IntervalUnit::MonthDayNano);
    assert_eq!(p.parameter_types(), [list(DataType::Utf8), list(DataType::Int64), DataType::Utf8, span]);

    let p = prepare("INSERT INTO orders (ts, id, who) VALUES ($1, $2, upper($3))").await;
    assert!(p.schema().is_none());
    assert_eq!(
        p.parameter_types()[..2],
        [DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, None), DataType::Int64]
    );
    let values =
        vec![ScalarValue::TimestampMicrosecond(Some(0), None), ScalarValue::Int64(Some(77)), ScalarValue::from("x")];
    session.run(&p, ParamValues::from(values)).await.unwrap();
    assert_eq!(run(&session, "SELECT who, ts FROM orders WHERE id = 77").await.unwrap(), ["X|1970-01-01T00:00:00"]);

    let p = prepare("INSERT INTO orders (id, who, amount) VALUES (78, 1.50, $1), ('79', 'x', 2)").await;
    assert_eq!(p.parameter_types(), [DataType::Decimal128(12, 2)]);
    session.run(&p, ParamValues::from(vec![ScalarValue::Decimal128(Some(150), 12, 2)])).await.unwrap();
    let rows = run(&session, "SELECT who, amount FROM orders WHERE id > 77 ORDER BY id").await.unwrap();
    assert_eq!(rows, ["1.50|1.50", "x|2.00"]);
    let p = prepare("SELECT coalesce(amount, id::double precision) AS x FROM orders").await;
    assert_eq!(names(&p.schema().unwrap()), ["x:Float64"]);

    let p = prepare("SHOW VIEWS").await;
    assert_eq!(p.schema().unwrap().fields().len(), 7);
    let p = prepare("SUBSCRIBE TO orders").await;
    assert_eq!(names(&p.schema().unwrap())[..3], ["_epoch:Int64", "_weight:Int64", "id:Int64"]);
    assert!(prepare("BEGIN").await.schema().is_none());
    let p = prepare("SELECT $1::int + 1 AS x LIMIT $2").await;
    assert_eq!(p.parameter_types().len(), 2);
    let e = session.run(&p, ParamValues::List(vec![])).await.err().unwrap();
    assert_eq!(e.to_string(), "line 1, column 1: the statement has 2 parameters and 0 values");
}

#[tokio::test]
async fn extensions_add_schemas_and_functions_once() {
    use std::sync::atomic::{AtomicUsize, Ordering};
    let (fake, _) = session();
    let runs = Arc::new(AtomicUsize::new(0));
    let counted = runs.clone();
    let extension: Extension = Arc::new(move |context| {
        counted.fetch_add(1, Ordering::SeqCst);
        let schema = Arc::new(datafusion::catalog::MemorySchemaProvider::new());
        let names: arrow::array::ArrayRef = Arc::new(arrow::array::StringArray::from(vec!["t"]));
        let batch = RecordBatch::try_from_iter([("relname", names)]).unwrap();
        let table = datafusion::datasource::MemTable::try_new(batch.schema(), vec![vec![batch]]).unwrap();
        datafusion::catalog::SchemaProvider::register_table(schema.as_ref(), "pg_class".into(), Arc::new(table))
            .unwrap();
        context.catalog("main").unwrap().register_schema("pg_catalog", schema).unwrap();
        let abs = datafusion::functions::math::abs().as_ref().clone().with_aliases(["my_abs"]);
        context.register_udf(abs);
    });
    let session = Session::new(fake).with_extension(extension);
    assert_eq!(run(&session, "SELECT relname, my_abs(-1) FROM pg_class").await.unwrap(), ["t|1"]);
    assert_eq!(run(&session, "SELECT relname FROM pg_catalog.pg_class").await.unwrap(), ["t"]);
    assert_eq!(runs.load(Ordering::SeqCst), 1);
    assert!(session.session_context().catalog("main").unwrap().schema("pg_catalog").is_some());
}

fn lines(applied: Vec<Applied>) -> Vec<String> {
    applied.into_iter().map(|a| format!("{} {} {}", a.action, a.kind, a.name)).collect()
}

#[tokio::test]
async fn times_with_a_zone() {
    let (_, session) = session();
    run(&session, "CREATE STREAM s (at TIMESTAMPTZ, ts TIMESTAMP)").await.unwrap();
    run(&session, "INSERT INTO s VALUES ('2024-01-01T02:00:00+02:00', '2024-01-01 00:00:00')").await.unwrap();
    let cases = [
        (
            "SELECT at, at < now(), at = '2024-01-01T00:00:00Z', ts < now() FROM s",
            "2024-01-01T00:00:00Z|true|true|true",
        ),
        (
            "SELECT at::timestamp = ts, date_trunc('day', at), extract(year FROM at) FROM s",
            "true|2024-01-01T00:00:00Z|2024",
        ),
        (
            "SELECT window_start, window_end FROM TUMBLE(s, at, INTERVAL '1 day')",
            "2024-01-01T00:00:00Z|2024-01-02T00:00:00Z",
        ),
        ("SELECT window_start FROM TUMBLE(s, at, INTERVAL '1 month')", "2024-01-01T00:00:00Z"),
        (
            "SELECT TIMESTAMPTZ '2024-01-01 00:00:00+01' < at, at - INTERVAL '1 hour' FROM s",
            "true|2023-12-31T23:00:00Z",
        ),
    ];
    for (sql, wanted) in cases {
        assert_eq!(run(&session, sql).await.unwrap(), [wanted], "{sql}");
    }
}

#[tokio::test]
async fn postgresql_spellings() {
    let (_, session) = session();
    run(&session, ORDERS).await.unwrap();
    let cases: &[(&str, &[&str])] = &[
        ("SELECT 2 ^ 3 ^ 2, 2 * 3 ^ 2", &["64.0|18.0"]),
        (
            "SELECT to_char(ts, 'YYYY-MM-DD\"T\"HH24:MI:SS') FROM orders FETCH FIRST 1 ROW ONLY",
            &["2024-01-01T10:00:00"],
        ),
        ("SELECT to_char(ts, '%Y') FROM orders LIMIT 1", &["2024"]),
        ("SELECT id FROM orders ORDER BY id OFFSET 1 ROWS FETCH NEXT 1 ROWS ONLY", &["2"]),
        (
            "SELECT every(id > 0), pg_typeof(min(ts)), quote_literal(min(who) || '''') FROM orders",
            &["true|timestamp|'ann'''"],
        ),
        (
            "SELECT who ~ '^a', who ILIKE 'A%', id::text || 'x', 7 / 2, 7 % 2 FROM orders WHERE id = 1",
            &["true|true|1x|3|1"],
        ),
    ];
    for (sql, wanted) in cases {
        assert_eq!(run(&session, sql).await.unwrap(), *wanted, "{sql}");
    }
}

#[tokio::test]
async fn the_planners_errors_are_told_in_plain_words() {
    let (_, session) = session();
    run(&session, ORDERS).await.unwrap();
    let cases = [
        (
            "SELECT who, id FROM orders GROUP BY who",
            "line 1, column 13: column \"orders.id\" must be in GROUP BY or inside an aggregate function",
        ),
        (
            "SELECT sum(who) FROM orders",
            "line 1, column 8: function 'sum' does not take these arguments: it takes numbers, not TEXT",
        ),
        (
            "SELECT bit_and(id::float8) FROM orders",
            "line 1, column 8: function 'bit_and' requires Integer, but received DOUBLE PRECISION",
        ),
        (
            "SELECT bit_and(id::decimal(10, 2)) FROM orders",
            "line 1, column 8: function 'bit_and' requires Integer, but received DECIMAL(10,2)",
        ),
        (
            "SELECT max(count(*)) FROM orders",
            "line 1, column 1: an aggregate function cannot stand inside another, or in this place",
        ),
        ("SELECT * FROM orders TABLESAMPLE BERNOULLI (10)", "line 1, column 15: TABLESAMPLE is not offered"),
        ("SELECT * FROM generate_serie(1, 2)", "line 1, column 15: table function 'generate_serie' not found"),
        ("SELECT cast('abc' AS int)", "line 1, column 14: Cannot cast string 'abc' to value of INT type"),
        (
            "SELECT 1 FROM orders JOIN orders ON true",
            "line 1, column 1: there are two columns \"id\" (give one of them another name with AS)",
        ),
    ];
    for (sql, wanted) in cases {
        assert_eq!(fails(&session, sql).await.to_string(), wanted, "{sql}");
    }
    // What cannot be run is no view either.
    for query in [
        "SELECT max(count(*)) AS m FROM orders",
        "SELECT o.id, (SELECT count(*) FROM (SELECT * FROM orders i WHERE i.id = o.id) i FULL JOIN orders j ON i.id = j.id) AS n FROM orders o",
    ] {
        assert!(fails(&session, &format!("CREATE MATERIALIZED VIEW v AS {query}")).await.location.is_some(), "{query}");
    }
}

#[tokio::test]
async fn views_named_like_columns_are_no_circle() {
    let (_, session) = session();
    let files = project(&[(
        "a.sql",
        "CREATE MATERIALIZED VIEW total AS SELECT hits AS total FROM hits;
         CREATE MATERIALIZED VIEW hits AS SELECT total AS hits FROM s;
         CREATE STREAM s (total INT)",
    )]);
    assert_eq!(session.apply(&files, false).await.unwrap().len(), 3);
}

#[tokio::test]
async fn dropping_the_rows_stops_the_query() {
    let (_, session) = session();
    let endless = "SELECT count(*) FROM generate_series(1, 1000000000) a, generate_series(1, 1000000000) b";
    let Outcome::Rows { rows, .. } = session.execute(endless).await.unwrap().remove(0) else { panic!() };
    let waited = tokio::time::timeout(std::time::Duration::from_millis(50), rows.into_future()).await;
    assert!(waited.is_err(), "the query was to be cut off");
}

#[tokio::test]
async fn what_a_view_does_with_rows_that_fail() {
    let (fake, session) = session();
    run(&session, "CREATE STREAM s (k INT, v INT); CREATE STREAM t (k INT)").await.unwrap();
    // Behind a join, too, where ON could begin its condition.
    let view = "CREATE MATERIALIZED VIEW v AS SELECT s.k, 10 / v AS q FROM s CROSS JOIN t ON ERROR skip to Dead letter";
    run(&session, view).await.unwrap();
    assert_eq!(fake.last_applied(), ["create view v", "create stream v__dead"]);
    let shown = run(&session, "SHOW CREATE v").await.unwrap().join("");
    assert!(shown.ends_with("FROM s CROSS JOIN t ON ERROR SKIP TO DEAD LETTER"), "{shown}");
    assert_eq!(
        run(&session, "DESCRIBE v__dead").await.unwrap(),
        ["reason|TEXT|yes|NULL", "operator|TEXT|yes|NULL", "row|TEXT|yes|NULL", "epoch|BIGINT|yes|NULL"]
    );
    let error = fails(&session, "DROP STREAM v__dead").await.to_string();
    assert!(error.contains("holds the dead letters of view \"v\" (it goes with DROP MATERIALIZED VIEW v)"), "{error}");
    assert_eq!(run(&session, "ALTER MATERIALIZED VIEW v RESUME").await.unwrap(), ["ALTER MATERIALIZED VIEW"]);
    assert_eq!(fake.last_applied(), ["resume v"]);
    assert!(fails(&session, "ALTER MATERIALIZED VIEW s RESUME").await.to_string().contains("is a stream, not a view"));
    // Letters stay when the view stops leaving rows out, and are gone on with when it does again.
    run(&session, "CREATE OR REPLACE MATERIALIZED VIEW v AS SELECT k, 1 AS q FROM s ON ERROR STOP").await.unwrap();
    assert_eq!(fake.last_applied(), ["replace view v v2"]);
    assert!(run(&session, "SHOW CREATE v").await.unwrap().join("").ends_with("FROM s"));
    run(&session, "CREATE OR REPLACE MATERIALIZED VIEW v AS SELECT k, 2 AS q FROM s ON ERROR SKIP TO DEAD LETTER")
        .await
        .unwrap();
    assert_eq!(fake.last_applied(), ["replace view v v3"]);
    run(&session, "CREATE MATERIALIZED VIEW w AS SELECT k FROM s").await.unwrap();
    run(&session, "CREATE OR REPLACE MATERIALIZED VIEW w AS SELECT v / k AS x FROM s ON ERROR SKIP TO DEAD LETTER")
        .await
        .unwrap();
    assert_eq!(fake.last_applied(), ["create stream w__dead", "replace view w v2"]);
    run(&session, "DROP MATERIALIZED VIEW v").await.unwrap();
    assert_eq!(fake.last_applied(), ["drop stream v__dead", "drop view v"]);
}

#[tokio::test]
async fn a_view_is_altered() {
    let (fake, session) = session();
    let setup = "CREATE STREAM s (who TEXT, n INT);
        CREATE MATERIALIZED VIEW v WITH (state_bytes = '1 GiB') AS SELECT who, sum(n) AS n FROM s GROUP BY who ON ERROR SKIP TO DEAD LETTER;
        CREATE MATERIALIZED VIEW w AS SELECT who FROM v";
    run(&session, setup).await.unwrap();
    let limits = || match &fake.objects().get("public", "v").unwrap().spec {
        Spec::View(view) => (view.limits.memory_bytes, view.limits.state_bytes),
        other => panic!("{other:?}"),
    };
    assert_eq!(limits(), (None, Some(1 << 30)));
    // Its limits alone: what runs goes on.
    let options = |lines: &[String]| lines.iter().skip_while(|l| *l != "Options").skip(1).cloned().collect::<Vec<_>>();
    let default = |setting: &str| format!("its default (setting {setting})");
    let (memory, state) = (default("view_memory_bytes"), default("view_state_bytes"));
    for (change, expected, told) in [
        ("SET (state_bytes = 1073741824)", (None, Some(1 << 30)), vec![]),
        (
            "SET (memory_bytes = '64 MB')",
            (Some(64_000_000), Some(1 << 30)),
            vec![format!("  memory_bytes: from {memory} to '64 MB'")],
        ),
        (
            "SET (memory_bytes = 5000000, state_bytes = '2 GB')",
            (Some(5_000_000), Some(2_000_000_000)),
            vec![
                "  memory_bytes: from '64 MB' to 5000000".to_string(),
                "  state_bytes: from 1073741824 to '2 GB'".to_string(),
            ],
        ),
        ("RESET (state_bytes)", (Some(5_000_000), None), vec![format!("  state_bytes: from '2 GB' to {state}")]),
    ] {
        let plan = run(&session, &format!("EXPLAIN ALTER MATERIALIZED VIEW v {change}")).await.unwrap();
        assert!(plan[1].contains("goes on as it is"), "{change}: {plan:?}");
        assert_eq!(options(&plan), told, "{change}");
        let done = run(&session, &format!("ALTER MATERIALIZED VIEW v {change}")).await.unwrap();
        assert_eq!(done, ["ALTER MATERIALIZED VIEW"]);
        assert_eq!(fake.last_applied(), ["restate view v v1"], "{change}");
        assert_eq!(limits(), expected, "{change}");
    }
    // Another query: what is not said stays.
    let change = "AS SELECT who, sum(n) AS n, max(n) AS high FROM s GROUP BY who";
    let plan = run(&session, &format!("EXPLAIN ALTER MATERIALIZED VIEW v {change}")).await.unwrap();
    assert!(plan[1].contains("is built anew") && plan.iter().any(|l| l == "Rebuilt: w"), "{plan:?}");
    run(&session, &format!("ALTER MATERIALIZED VIEW public.v {change}")).await.unwrap();
    assert_eq!(fake.last_applied(), ["replace view v v2", "replace view w v2"]);
    assert_eq!(limits(), (Some(5_000_000), None));
    let text = run(&session, "SHOW CREATE v").await.unwrap().join(" ");
    assert!(text.contains("VIEW public.v WITH (memory_bytes = 5000000) AS SELECT"), "{text}");
    assert!(text.contains("max(n) AS high") && text.contains("ON ERROR SKIP TO DEAD LETTER"), "{text}");
    for (change, wanted) in [
        ("SET (memory = '1 GB')", "a view has no option \"memory\" (its options are memory_bytes, state_bytes)"),
        ("SET (state_bytes = 'much')", "a size such as '1 GB'"),
        ("SET memory_bytes = 5", "expected '('"),
        ("RESET (state_bytes)", "view \"v\" has no option \"state_bytes\" that could go"),
        ("AS SELECT nope FROM s", "nope"),
        ("RENAME TO x", "of ALTER there are"),
    ] {
        let error = fails(&session, &format!("ALTER MATERIALIZED VIEW v {change}")).await.to_string();
        assert!(error.contains(wanted), "{change}: {error}");
    }
    let missing = fails(&session, "ALTER MATERIALIZED VIEW vv AS SELECT 1 AS x FROM s").await.to_string();
    assert!(missing.contains("vv") && missing.contains("did you mean"), "{missing}");
    let stream = fails(&session, "ALTER MATERIALIZED VIEW s SET (memory_bytes = 5)").await.to_string();
    assert!(stream.contains("is a stream, not a view"), "{stream}");
}

#[tokio::test]
async fn an_insert_tells_what_its_checks_refuse() {
    let (_, session) = session();
    run(&session, "CREATE STREAM s (x BIGINT, y BIGINT, CHECK (x > 0), CHECK (y < 10))").await.unwrap();
    let notices = |outcomes: Vec<Outcome>| match outcomes.into_iter().next() {
        Some(Outcome::Done { notices, .. }) => notices,
        _ => panic!("not done"),
    };
    let sql = "INSERT INTO s VALUES (1, 1), (-1, 1), (0, 99), (NULL, NULL), (1, 10)";
    assert_eq!(
        notices(session.execute(sql).await.unwrap()),
        [
            "2 of 5 rows went to the dead letters of s: CHECK (x > 0)",
            "1 of 5 rows went to the dead letters of s: CHECK (y < 10)"
        ]
    );
    assert!(notices(session.execute("INSERT INTO s VALUES (1, 1)").await.unwrap()).is_empty());
}
