use super::*;

fn texts(sql: &str) -> Vec<&str> {
    split(sql).into_iter().map(|p| p.text).collect()
}

#[test]
fn statements_end_at_semicolons_outside_quotes_and_comments() {
    assert_eq!(texts("select 1; select 2"), ["select 1", "select 2"]);
    assert_eq!(texts(";; -- nothing\n /* ; /* ; */ ; */ "), [""; 0]);
    assert_eq!(
        texts("select ';', \"a;b\", E'\\';', $$;$$, $q$;$$;$q$; x"),
        ["select ';', \"a;b\", E'\\';', $$;$$, $q$;$$;$q$", "x"]
    );
    assert_eq!(texts("select 'it''s;'; y"), ["select 'it''s;'", "y"]);
    assert_eq!(texts("select 'open; z"), ["select 'open; z"]);
    assert_eq!(texts("select $1; select a$b$c;"), ["select $1", "select a$b$c"]);
}

#[test]
fn offsets_count_characters() {
    let sql = "select 'é'; -- ü\n  select 2";
    let pieces = split(sql);
    assert_eq!(pieces[1].offset as usize, sql.chars().position(|c| c == '\n').unwrap() + 3);
}

fn known(sql: &str) -> Command {
    command(sql).unwrap().unwrap()
}

fn set_to(name: &str, value: &str) -> Command {
    Command::Set { name: name.into(), value: SetValue::To(value.into()), local: false }
}

#[test]
fn transactions_are_read_in_all_their_spellings() {
    for sql in ["BEGIN", "begin isolation level serializable read only", "/* x */ START TRANSACTION"] {
        assert_eq!(known(sql), Command::Begin);
    }
    assert_eq!(known("END"), Command::Commit);
    assert_eq!(known("abort"), Command::Rollback);
    assert_eq!(known("ROLLBACK TO SAVEPOINT \"Sa\""), Command::RollbackTo("Sa".into()));
    assert_eq!(known("rollback work to a"), Command::RollbackTo("a".into()));
    assert_eq!(known("release a"), Command::Release("a".into()));
    assert!(command("commit prepared 'x'").is_err());
}

#[test]
fn settings_are_read_in_all_their_spellings() {
    assert_eq!(known("SET DateStyle TO 'ISO, MDY'"), set_to("datestyle", "ISO, MDY"));
    assert_eq!(known("set search_path = a, \"B\""), set_to("search_path", "a, \"B\""));
    assert_eq!(known("SET SESSION statement_timeout = 100"), set_to("statement_timeout", "100"));
    assert_eq!(known("SET extra_float_digits = -1"), set_to("extra_float_digits", "-1"));
    assert_eq!(known("set time zone 'UTC'"), set_to("timezone", "UTC"));
    assert_eq!(known("set my.app = 'x'"), set_to("my.app", "x"));
    assert_eq!(known("SET datafusion.execution.Batch_Size = 4"), set_to("datafusion.execution.batch_size", "4"));
    assert_eq!(known("SET NAMES 'utf8'"), set_to("client_encoding", "utf8"));
    assert_eq!(
        known("SET LOCAL a TO DEFAULT"),
        Command::Set { name: "a".into(), value: SetValue::Default, local: true }
    );
    assert_eq!(known("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY"), Command::SetTransaction);
    assert_eq!(known("show transaction isolation level"), Command::Show("transaction_isolation".into()));
    assert_eq!(known("SHOW server_version"), Command::Show("server_version".into()));
    assert_eq!(command("SHOW CREATE VIEW v").unwrap(), None);
}

#[test]
fn cursors_are_read() {
    assert_eq!(
        known("DECLARE \"c\" NO SCROLL CURSOR WITH HOLD FOR select 1"),
        Command::Declare { name: "c".into(), query: "select 1".into(), offset: 43, hold: true }
    );
    assert_eq!(
        known("FETCH FORWARD 10 FROM c"),
        Command::Fetch { name: "c".into(), count: Fetch::Rows(10), skip: false }
    );
    assert_eq!(known("fetch all in c"), Command::Fetch { name: "c".into(), count: Fetch::All, skip: false });
    assert_eq!(known("MOVE c"), Command::Fetch { name: "c".into(), count: Fetch::Rows(1), skip: true });
    assert!(command("FETCH BACKWARD 1 FROM c").is_err());
    assert!(command("declare c scroll cursor for select 1").is_err());
}

#[test]
fn what_cannot_be_done_is_refused_and_the_rest_goes_on() {
    for sql in ["COPY t FROM STDIN", "listen x", "PREPARE a AS SELECT 1"] {
        assert_eq!(command(sql).unwrap_err().code, "0A000");
    }
    for sql in ["", "select 1", "create stream s (a int)", "subscribe to v", "(select 1)", "insert into t values (1)"] {
        assert_eq!(command(sql).unwrap(), None);
    }
}
