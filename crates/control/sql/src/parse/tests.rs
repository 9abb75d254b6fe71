use fleuve_types::ErrorKind;

use proptest::prelude::*;

use super::*;

/// The canonical text of each statement.
fn canonical(sql: &str) -> Vec<String> {
    parse(sql)
        .unwrap()
        .into_iter()
        .map(|p| match p.statement {
            Statement::CreateStream(s) => s.to_string(),
            Statement::CreateSource(s) => s.to_string(),
            Statement::CreateView(s) => s.to_string(),
            Statement::CreateSink(s) => s.to_string(),
            other => format!("{other:?}"),
        })
        .collect()
}

/// The error as `line:column message (hint)`.
fn error(sql: &str) -> String {
    match parse(sql) {
        Ok(parsed) => panic!("{sql} was to fail, and gave {parsed:?}"),
        Err(e) => {
            let at = e.location.as_ref().map_or("?".to_string(), |l| format!("{}:{}", l.line, l.column));
            let hint = e.hint.as_ref().map_or(String::new(), |h| format!(" ({h})"));
            format!("{at} {}{hint}", e.message)
        }
    }
}

#[test]
fn a_stream_with_everything() {
    let sql = "create stream if not exists Orders (
          id bigint not null, -- the number
          \"Who\" varchar(20) check (length(\"Who\") > 0), amount decimal(12, 2),
          ts timestamp, tags text[], at timestamptz,
          watermark for ts as ts - interval '1' minute,
          check (amount >= 0)
        ) with (partitions = 8, format = avro, retention = '7 days', retention_bytes = 1000)";
    assert_eq!(
        canonical(sql),
        [concat!(
            "CREATE STREAM public.orders (id BIGINT NOT NULL, \"Who\" VARCHAR(20), amount DECIMAL(12,2), ts TIMESTAMP, ",
            "tags TEXT[], at TIMESTAMPTZ, WATERMARK FOR ts AS ts - INTERVAL '60000000 microseconds', ",
            "CHECK (length(\"Who\") > 0), CHECK (amount >= 0)) ",
            "WITH (format = 'avro', partitions = 8, retention = '7 days', retention_bytes = 1000)"
        )]
    );
}

#[test]
fn canonical_text_reads_back_as_itself() {
    for sql in [
        "CREATE STREAM a (x INT, y STRUCT<p INT, q TEXT[]>, WATERMARK FOR t AS t, t TIMESTAMP(3))",
        "CREATE STREAM log WITH (format = combined_log)",
        "CREATE STREAM s (\"from\" TEXT, \"Select\" INT, \"a\"\"b\" INT, watermark INT)",
        "CREATE SOURCE src INTO app.s WITH (connector = 'file', path = 'a''b.log', follow = true)",
        "CREATE MATERIALIZED VIEW v (a, \"B\") AS WITH c AS (SELECT 1 x) SELECT x, count(*) FILTER (WHERE x > 1) FROM c GROUP BY 1 /* no */",
        "CREATE MATERIALIZED VIEW w AS SELECT * FROM HOP(TABLE s, DESCRIPTOR(ts), INTERVAL '1' MINUTE, INTERVAL '1 hour') AS h",
        "CREATE MATERIALIZED VIEW c AS SELECT window_start FROM TUMBLE(s, ts, INTERVAL '1 hour') GROUP BY 1 EMIT ON WINDOW CLOSE",
        "CREATE SINK k FROM v INTO t WITH (format = json, mode = upsert, key = 'a,b')",
    ] {
        let once = canonical(sql);
        assert_eq!(canonical(&once[0]), once, "{sql}");
    }
}

#[test]
fn formatting_and_comments_are_not_part_of_the_canonical_text() {
    let a = canonical("CREATE MATERIALIZED VIEW v AS select  a, -- first\n sum(b)\nfrom s /* all */ group by a");
    let b = canonical("create materialized view public.v as SELECT a, sum(b) FROM s GROUP BY a;");
    assert_eq!(a, b);
}

#[test]
fn many_statements_with_their_places() {
    let parsed = parse("SELECT 1;\n\n-- a comment; with semicolon\n  SELECT ';' AS x ;;\nSHOW streams").unwrap();
    let places: Vec<_> = parsed.iter().map(|p| (p.at.line, p.at.column, p.text.as_str())).collect();
    assert_eq!(places, [(1, 1, "SELECT 1"), (4, 3, "SELECT ';' AS x"), (5, 1, "SHOW streams")]);
    assert!(parse(" ; -- nothing\n;").unwrap().is_empty());
}

#[test]
fn parameters_are_counted() {
    assert_eq!(parse_one("SELECT $2 + $1, '$9'").unwrap().parameters, 2);
    assert_eq!(parse_one("SELECT 1").unwrap().parameters, 0);
}

#[test]
fn other_statements() {
    let cases = [
        ("SHOW VIEWS", "Show(Views)"),
        ("show materialized views", "Show(Views)"),
        ("SHOW TRANSACTION ISOLATION LEVEL", "Show(Setting(\"transaction_isolation\"))"),
        ("SHOW Server_Version", "Show(Setting(\"server_version\"))"),
        ("SET search_path TO a, b", "Set { name: \"search_path\", value: Some(\"a, b\") }"),
        ("SET SESSION x.y = -1", "Set { name: \"x.y\", value: Some(\"-1\") }"),
        ("SET TIME ZONE 'UTC'", "Set { name: \"timezone\", value: Some(\"UTC\") }"),
        ("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY", "Acknowledge(\"SET\")"),
        ("RESET ALL", "Reset(None)"),
        ("BEGIN TRANSACTION ISOLATION LEVEL SERIALIZABLE", "Acknowledge(\"BEGIN\")"),
        ("start transaction", "Acknowledge(\"START TRANSACTION\")"),
        ("END", "Acknowledge(\"COMMIT\")"),
        ("DISCARD ALL", "Acknowledge(\"DISCARD ALL\")"),
        ("DEALLOCATE ALL", "Acknowledge(\"DEALLOCATE ALL\")"),
        ("DEALLOCATE s1", "Acknowledge(\"DEALLOCATE\")"),
    ];
    for (sql, wanted) in cases {
        assert_eq!(format!("{:?}", parse_one(sql).unwrap().statement), wanted, "{sql}");
    }
    assert!(matches!(
        parse_one("EXPLAIN (ANALYZE, VERBOSE off) SELECT 1").unwrap().statement,
        Statement::Explain(ExplainMode { analyze: true, verbose: false }, ExplainTarget::Query(_, false))
    ));
    assert!(matches!(
        parse_one("EXPLAIN MATERIALIZED VIEW app.v").unwrap().statement,
        Statement::Explain(_, ExplainTarget::View(Name { namespace: Some(_), .. }))
    ));
    for (sql, view) in [("EXPLAIN INDEX i", "i"), ("EXPLAIN index", "index"), ("EXPLAIN drop", "drop")] {
        assert!(matches!(
            parse_one(sql).unwrap().statement,
            Statement::Explain(_, ExplainTarget::View(Name { name, .. })) if name == view
        ));
    }
    assert!(matches!(parse_one("TABLE t").unwrap().statement, Statement::Query(_)));
    assert!(matches!(parse_one("((SELECT 1) UNION SELECT 2) ORDER BY 1").unwrap().statement, Statement::Query(_)));
    assert!(matches!(
        parse_one("DROP VIEW IF EXISTS a, main.x.b CASCADE").unwrap().statement,
        Statement::Drop { word: ObjectWord::View, if_exists: true, cascade: true, names } if names.len() == 2
    ));
    assert!(matches!(
        parse_one("COMMENT ON COLUMN a.b.c IS 'it''s'").unwrap().statement,
        Statement::Comment { target: CommentTarget::Column(_, column), text: Some(text) } if column == "c" && text == "it's"
    ));
}

#[test]
fn errors_say_where_and_what() {
    let cases = [
        ("SELEC 1", "1:1 \"selec\" does not begin a statement (did you mean SELECT?)"),
        ("SELECT 1;\n  SELECT 1 FROM", "2:16 expected identifier, found the end of the statement"),
        ("SELECT 1;\nCREATE STREAM s (a INT,, b INT)", "2:24 expected a column, WATERMARK FOR or CHECK, found ,"),
        ("CREATE STREAM s (a INT, a TEXT)", "1:25 column \"a\" is declared twice"),
        ("CREATE STREAM s (a INT) WITH (x 1)", "1:33 expected '=', found 1"),
        ("CREATE STREAM s (a INT) WITH (x = 1, X = 2)", "1:38 option \"x\" is given twice"),
        ("SELECT 'abc", "1:8 Unterminated string literal"),
        ("CREATE TABLE t (a INT)", "1:8 tables come in a later version (use CREATE STREAM for data that arrives)"),
        ("CREATE STREAM x.main.y.s (a INT)", "1:15 a name has at most three parts: environment.namespace.name"),
        ("DESCRIBE dev.public.s", "1:10 environment \"dev\" does not exist (the only environment is \"main\")"),
        (
            "CREATE STREAM s (t TIMESTAMP, WATERMARK FOR t AS t + INTERVAL '1 s')",
            "1:50 a watermark is t or t - INTERVAL '...' (for instance WATERMARK FOR t AS t - INTERVAL '5 seconds')",
        ),
        (
            "SELECT a FROM s\nEMIT ON WINDOW CLOSE",
            "2:1 EMIT ON WINDOW CLOSE belongs to a view (write CREATE MATERIALIZED VIEW name AS SELECT ... EMIT ON WINDOW CLOSE)",
        ),
        ("SELECT a FROM s ON ERROR STOP", "1:17 ON ERROR belongs to CREATE MATERIALIZED VIEW"),
        (
            "CREATE MATERIALIZED VIEW v AS SELECT a FROM s\nON ERROR IGNORE",
            "2:1 there is no ON ERROR IGNORE; there are ON ERROR STOP and ON ERROR SKIP TO DEAD LETTER",
        ),
        (
            "CREATE MATERIALIZED VIEW v AS SELECT a FROM s\nON ERROR SKIP",
            "2:1 expected TO DEAD LETTER after ON ERROR SKIP",
        ),
        (
            "ALTER STREAM s RESUME",
            "1:7 of ALTER there are ALTER STREAM name ADD COLUMN, ALTER COLUMN ... TYPE, DROP COLUMN and ADVANCE WATERMARK TO, ALTER MATERIALIZED VIEW name AS, SET, RESET and RESUME, and ALTER INDEX name RESUME (`fleuve apply` changes what files declare)",
        ),
        ("ALTER STREAM s ADD COLUMN c", "1:28 expected a data type name, found the end of the statement"),
        ("ALTER STREAM s ADD c INT CHECK (c > 0)", "1:33 a CHECK cannot come to a stream that is there"),
        ("ALTER STREAM s ALTER c INT", "1:24 expected TYPE: of a column its type can change, found INT"),
        (
            "ALTER STREAM s DROP c CASCADE",
            "1:23 CASCADE is not offered here (replace or drop what reads the column first)",
        ),
        ("ALTER STREAM s ADD c INT, RESUME", "1:27 expected ADD COLUMN, ALTER COLUMN or DROP COLUMN, found RESUME"),
        (
            "EXPLAIN ALTER STREAM s RESUME",
            "1:15 of ALTER there are ALTER STREAM name ADD COLUMN, ALTER COLUMN ... TYPE, DROP COLUMN and ADVANCE WATERMARK TO, ALTER MATERIALIZED VIEW name AS, SET, RESET and RESUME, and ALTER INDEX name RESUME (`fleuve apply` changes what files declare)",
        ),
        (
            "EXPLAIN CREATE INDEX k ON orders (shop)",
            "1:9 of CREATE only that of a materialized view can be explained (EXPLAIN takes a query, the name of a view or index, CREATE [OR REPLACE] MATERIALIZED VIEW, ALTER MATERIALIZED VIEW, ALTER STREAM, or ROW of a view)",
        ),
        (
            "EXPLAIN DROP INDEX x",
            "1:9 DROP cannot be explained (EXPLAIN takes a query, the name of a view or index, CREATE [OR REPLACE] MATERIALIZED VIEW, ALTER MATERIALIZED VIEW, ALTER STREAM, or ROW of a view)",
        ),
        (
            "EXPLAIN ANALYZE INSERT INTO s SELECT 1",
            "1:17 INSERT cannot be explained (EXPLAIN takes a query, the name of a view or index, CREATE [OR REPLACE] MATERIALIZED VIEW, ALTER MATERIALIZED VIEW, ALTER STREAM, or ROW of a view)",
        ),
        (
            "CREATE INDEX i ON s USING btree (a)",
            "1:21 USING is not offered for an index (there is one kind of index: leave USING and the word after it out)",
        ),
        ("SELECT 1 SELECT 2", "1:10 expected the end of the statement, found SELECT"),
        (
            "DELETE FROM s",
            "1:1 DELETE is not offered: a stream keeps what was written (a materialized view can leave rows out or keep only the newest)",
        ),
    ];
    for (sql, wanted) in cases {
        assert_eq!(error(sql), wanted, "{sql}");
    }
}

#[test]
fn places_count_characters_not_bytes() {
    assert_eq!(error("SELECT 'äöü', ß FROM s;\nSELECT 'ä' 1"), "2:12 expected the end of the statement, found 1");
}

#[test]
fn depth_and_size_are_bounded() {
    let deep = |open: &str, close: &str, n: usize| format!("SELECT {}1{}", open.repeat(n), close.repeat(n));
    let cases = [
        deep("(", ")", 100_000),
        deep("f(", ")", 60),
        deep("CASE WHEN ", " THEN 1 END", 5_000),
        deep("NOT ", "", 100_000),
        deep("- ", "", 100_000),
        deep("INTERVAL ", "", 100_000),
        deep("", "::int", 100_000),
        deep("", " + 1", 100_000),
        deep("", " IS NULL", 100_000),
        deep("", " UNION ALL SELECT 1", 100_000),
        deep("cast(", "", 45),
        format!("SELECT * FROM {}", "(".repeat(47)),
        format!("SELECT 1 FROM {}", "(((SELECT FROM ".repeat(15)),
        format!("SELECT {}", "[".repeat(50_000)),
        format!("CREATE STREAM s (a {}", "STRUCT<a ".repeat(10_000)),
        format!("CREATE STREAM s (a INT{})", "[]".repeat(10_000)),
    ];
    for sql in cases {
        let shown: String = sql.chars().take(40).collect();
        assert!(parse(&sql).is_err(), "{shown}");
    }
    let e = parse(&" ".repeat(MAX_TEXT_BYTES + 1)).unwrap_err();
    assert_eq!(e.kind, ErrorKind::Limit);
    // What people write is far from the limits.
    parse(&deep("(", ")", 20)).unwrap();
    parse(&deep("coalesce(", ", 1)", 20)).unwrap();
    parse(&deep("", " + 1", 500)).unwrap();
    parse("SELECT * FROM (((a JOIN b ON x) JOIN c ON y) JOIN d ON z)").unwrap();
}

#[test]
fn durations_and_sizes() {
    let cases = [
        ("7 days", Some(604_800_000_000)),
        ("24h", Some(86_400_000_000)),
        ("1 hour 30 minutes", Some(5_400_000_000)),
        ("1h30m", Some(5_400_000_000)),
        ("250ms", Some(250_000)),
        ("10 us", Some(10)),
        ("1.5 seconds", Some(1_500_000)),
        ("1 week", Some(604_800_000_000)),
        ("1 month", None),
        ("soon", None),
        ("", None),
    ];
    for (text, us) in cases {
        assert_eq!(duration_us(text), us, "{text}");
    }
    let cases = [
        ("1048576", Some(1 << 20)),
        ("1 GB", Some(1_000_000_000)),
        ("1.5 MiB", Some(1_572_864)),
        ("10kb", Some(10_000)),
        ("9223372036854775807 TB", None),
        ("many", None),
        ("1 day", None),
    ];
    for (text, bytes) in cases {
        assert_eq!(size_bytes(text), bytes, "{text}");
    }
}

const WORDS: &[&str] = &[
    "SELECT",
    "FROM",
    "WHERE",
    "GROUP",
    "BY",
    "WITH",
    "AS",
    "(",
    ")",
    "(",
    ")",
    ",",
    ";",
    "*",
    ".",
    "a",
    "b",
    "\"Q\"",
    "'x'",
    "1",
    "2.5",
    "$1",
    "+",
    "-",
    "=",
    "<",
    ">",
    ">>",
    "::",
    "[",
    "]",
    "NOT",
    "NULL",
    "CASE",
    "WHEN",
    "THEN",
    "END",
    "CAST(",
    "INTERVAL",
    "'1 day'",
    "CREATE",
    "STREAM",
    "SOURCE",
    "SINK",
    "MATERIALIZED",
    "VIEW",
    "OR",
    "REPLACE",
    "IF",
    "EXISTS",
    "INTO",
    "WATERMARK",
    "FOR",
    "CHECK",
    "INT",
    "TEXT",
    "STRUCT<",
    "TIMESTAMP",
    "TUMBLE(",
    "HOP(",
    "TABLE",
    "DESCRIPTOR(",
    "=>",
    "EXTRACT(",
    "UNION",
    "ALL",
    "JOIN",
    "LATERAL",
    "USING",
    "ON",
    "IN",
    "BETWEEN",
    "VALUES",
    "INSERT",
    "SHOW",
    "SET",
    "EXPLAIN",
    "ANALYZE",
    "COMMENT",
    "IS",
    "DROP",
    "CASCADE",
    "ARRAY[",
    "{",
    "}",
    "--",
    "/*",
    "*/",
    "E'\\n'",
    "$$",
    "@",
    "#",
    "\u{e9}",
    "OVER",
    "ROW",
    "ORDER",
    "LIMIT",
    "EMIT",
    "WINDOW",
    "CLOSE",
    "f(",
    "SUBSTRING(",
    "EXISTS(",
    "POSITION(",
    "\n",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Whatever the words, reading ends, in statements or in an error with a place in the text.
    #[test]
    fn any_words_end_in_statements_or_an_error(words in proptest::collection::vec(proptest::sample::select(WORDS), 0..80)) {
        let sql = words.join(" ");
        if let Err(e) = parse(&sql) {
            let at = e.location.expect("an error has a place");
            let lines: Vec<&str> = sql.split('\n').collect();
            let line = lines.get(at.line as usize - 1).expect("the line is in the text");
            prop_assert!(at.column as usize <= line.chars().count() + 1, "{sql:?} {at}");
        }
    }

    /// A statement with a piece cut out or doubled is read or refused; what is read has a canonical text that reads again.
    #[test]
    fn damaged_statements_are_read_or_refused(which in 0usize..6, from in 0usize..200, length in 0usize..40, doubled: bool) {
        let whole = [
            "CREATE STREAM s (id BIGINT NOT NULL, x STRUCT<p INT, q TEXT[]>, WATERMARK FOR t AS t - INTERVAL '1 s', CHECK (a > (1 + 2))) WITH (format = csv, delimiter = ';', retention = '7 days')",
            "CREATE MATERIALIZED VIEW v (a, b) AS WITH c AS (SELECT CASE WHEN x THEN 1 ELSE 2 END FROM s) SELECT a, count(*) FILTER (WHERE a > 1) OVER (PARTITION BY b) FROM HOP(TABLE s, DESCRIPTOR(ts), size => INTERVAL '1' HOUR) JOIN ((c)) USING (a) UNION ALL SELECT 1, 2",
            "CREATE SINK k FROM a.v INTO main.b.o WITH (mode = upsert, key = 'a, b'); DROP SINK IF EXISTS k CASCADE",
            "INSERT INTO s (a, b) VALUES (1, 'x'), (-2.5e3, NULL), (DATE '2024-01-01', ARRAY[1, 2])",
            "SELECT extract(year FROM cast(ts AS date)), substring(a FROM 1 FOR 2), position('x' IN a), a::int[], a[1]['k'], x -> 'y' ->> 'z' FROM t AS u (c, d) WHERE a IN (1, 2) AND b NOT BETWEEN 1 AND 2 OR EXISTS (SELECT 1)",
            "EXPLAIN (ANALYZE) SELECT * FROM (((a JOIN b ON true) LEFT JOIN LATERAL (SELECT 1) c ON true)) ORDER BY 1 LIMIT $1",
        ][which];
        let chars: Vec<char> = whole.chars().collect();
        let from = from % chars.len();
        let to = (from + length).min(chars.len());
        let middle: String = if doubled { chars[from..to].iter().chain(&chars[from..to]).collect() } else { String::new() };
        let sql = format!("{}{middle}{}", chars[..from].iter().collect::<String>(), chars[to..].iter().collect::<String>());
        for parsed in parse(&sql).unwrap_or_default() {
            let text = match &parsed.statement {
                Statement::CreateStream(s) => s.to_string(),
                Statement::CreateView(s) => s.to_string(),
                Statement::CreateSink(s) => s.to_string(),
                _ => continue,
            };
            let again = parse_one(&text);
            prop_assert!(again.is_ok(), "{text}\n{again:?}");
        }
    }
}

#[test]
fn as_of_joins_are_joins_with_a_mark() {
    let read = |sql: &str| match parse_one(sql).unwrap().statement {
        Statement::Query(query) => query.to_string(),
        other => panic!("{other:?}"),
    };
    let on = "ON fleuve_as_of_join() AND";
    for (sql, wanted) in [
        (
            "SELECT * FROM a x ASOF JOIN b ON x.k = b.k AND x.t >= b.t",
            format!("SELECT * FROM a x JOIN b {on} x.k = b.k AND x.t >= b.t"),
        ),
        (
            "SELECT * FROM a asof left join b MATCH_CONDITION (a.t > b.t) ON a.k = b.k",
            format!("SELECT * FROM a LEFT JOIN b {on} (a.t > b.t) AND a.k = b.k"),
        ),
        (
            "SELECT * FROM a ASOF JOIN (SELECT * FROM c JOIN d ON c.i = d.i) b MATCH_CONDITION (a.t > b.t)",
            format!("SELECT * FROM a LEFT JOIN (SELECT * FROM c JOIN d ON c.i = d.i) b {on} (a.t > b.t)"),
        ),
        (
            "SELECT * FROM a ASOF INNER JOIN b MATCH_CONDITION (a.t > b.t) ON a.k = b.k",
            format!("SELECT * FROM a INNER JOIN b {on} (a.t > b.t) AND a.k = b.k"),
        ),
        (
            "SELECT * FROM a LEFT JOIN b FOR SYSTEM_TIME AS OF a.t AS r ON a.k = r.k",
            "SELECT * FROM a LEFT JOIN b AS r ON fleuve_system_time(a.t) AND a.k = r.k".into(),
        ),
        ("SELECT asof FROM asof JOIN b ON asof.k = b.k", "SELECT asof FROM asof JOIN b ON asof.k = b.k".into()),
    ] {
        assert_eq!(read(sql), wanted);
        assert_eq!(read(&wanted), wanted, "it is read again");
    }
    for (query, shown) in [
        (
            "SELECT * FROM a ASOF LEFT JOIN b MATCH_CONDITION (a.t > b.t) ON a.k = b.k",
            "ASOF LEFT JOIN b ON (a.t > b.t) AND a.k = b.k",
        ),
        (
            "SELECT * FROM a ASOF JOIN (SELECT * FROM c JOIN d ON c.i = d.i) b ON a.t > b.t",
            "ASOF JOIN (SELECT * FROM c JOIN d ON c.i = d.i) b ON a.t > b.t",
        ),
        (
            "SELECT * FROM a JOIN x.b FOR SYSTEM_TIME AS OF a.t AS r ON a.k = r.k",
            "JOIN x.b FOR SYSTEM_TIME AS OF a.t AS r ON a.k = r.k",
        ),
    ] {
        let shown = format!("CREATE MATERIALIZED VIEW public.v AS SELECT * FROM a {shown}");
        assert_eq!(canonical(&format!("CREATE MATERIALIZED VIEW v AS {query}")), std::slice::from_ref(&shown));
        assert_eq!(canonical(&shown), std::slice::from_ref(&shown), "it is read again");
    }
    let error = parse_one("SELECT *\nFROM a ASOF JOIN b USING (k)").unwrap_err().to_string();
    assert!(error.starts_with("line 2, column 8: an ASOF JOIN has no USING"), "{error}");
}

/// The fuzzer's.
#[test]
fn as_of_joins_that_share_a_condition_are_an_error() {
    for text in [
        "SELECT * FROM a ASOFSC) FROM a ASOF FROM a ASOF JOIN b MATCH_CONDITION (a.ts >= b.ts )ON a.k = b.k WHERE x",
        "SELECT * FROM a ASOF JOIN a ASOF JOIN b MATCH_CONDITION (a.ts >= b.ts) ON a.k = b.k",
        "WITH RECURSIVE r(nUNION ALL SELEC T + n1 FROM r WHERE n < 5)$SELECT a.*, row_nITION BY k ORDEV BY ts DESC) FROM a ASOFSC) FROM a ASOF JOIN b MATCH_CONDITION (a.ts >= b.ts )ON a.k = b.k WHERE a.ts > now() - INTERVAL '1 hour'",
        "SELECT a.* FROM a ASOF JOIN b MATCH_CONDITION (a.ts >= b.ts)ON\u{458} = b.k WHERE a.ts ",
    ] {
        assert!(parse(text).is_err(), "{text}");
    }
}

/// What the catalog keeps of a text is that text, whatever quotes are in it. The fuzzer's, too.
#[test]
fn texts_are_kept_with_all_their_quotes() {
    let texts = [
        "",
        "'",
        "''",
        "a''b",
        "'''",
        "a'b''c'''d",
        "\\",
        "\\'",
        "\\''",
        "a\\'b",
        "'\\",
        "\\\\'",
        "\n",
        "a\nb'",
        "$$",
        "--'",
    ];
    for text in texts {
        let literal = format!("'{}'", text.replace('\'', "''"));
        let national = format!("N{literal}");
        let escaped = format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"));
        for written in [&literal, &national, &escaped] {
            let sql = format!(
                "CREATE MATERIALIZED VIEW v AS SELECT {written} AS a, f({written}) FROM s WHERE b LIKE {written}"
            );
            let Statement::CreateView(view) = parse_one(&sql).unwrap().statement else { panic!("{sql}") };
            let kept = view.to_string();
            let wanted = format!("SELECT {literal} AS a, f({literal}) FROM s WHERE b LIKE {literal}");
            assert!(kept.ends_with(&wanted), "{sql}: {kept}");
            let Statement::CreateView(again) = parse_one(&kept).unwrap().statement else { panic!("{kept}") };
            assert_eq!(again.to_string(), kept, "{sql}");
        }
    }
    let sql = "CREATE MATERIALIZED VIEW v AS SELECT 1 AS \"a\"\"b\", 2 AS \"\"\"\"";
    let Statement::CreateView(view) = parse_one(sql).unwrap().statement else { panic!("{sql}") };
    assert!(view.to_string().ends_with("SELECT 1 AS \"a\"\"b\", 2 AS \"\"\"\""), "{view}");
    // Names that sqlparser prints as others.
    for name in ["\"a\"\"\"\"b\"", "\"a\\\"\"b\"", "'a''''b'"] {
        let sql = format!("CREATE MATERIALIZED VIEW v AS  SELECT 1 AS {name}");
        assert_eq!(kept(&parse_one(&sql).unwrap()), Some(sql));
    }
    let check = "CREATE STREAM s (a TEXT, CHECK (a <> 'x''''y'))";
    let Statement::CreateStream(stream) = parse_one(check).unwrap().statement else { panic!("{check}") };
    assert!(stream.to_string().contains("'x''''y'"), "{stream}");
}
