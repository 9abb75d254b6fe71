"""The PostgreSQL door with psycopg 3, psycopg2 and SQLAlchemy.

    FLEUVE_POSTGRES=localhost:5433 pytest test_postgres.py

Makes its own streams and views, with names of their own, and drops them.
"""

import datetime as dt
import decimal
import os
import socket
import struct
import threading
import time
import uuid

import psycopg
import psycopg.rows
import psycopg2
import pytest
import sqlalchemy as sa
from psycopg import sql

HOST, _, PORT = os.environ.get("FLEUVE_POSTGRES", "localhost:5433").rpartition(":")
DSN = f"host={HOST} port={PORT} user=ann dbname=main"
PATIENCE_S = 60


def connect(**options):
    return psycopg.connect(DSN, autocommit=True, **options)


@pytest.fixture
def db():
    with connect() as connection:
        yield connection


@pytest.fixture(scope="module")
def shop():
    """A stream of orders and a view over it."""
    orders, totals = f"orders_{uuid.uuid4().hex[:8]}", f"totals_{uuid.uuid4().hex[:8]}"
    with connect() as c:
        c.execute(
            f"CREATE STREAM {orders} (id BIGINT NOT NULL, customer TEXT, amount DECIMAL(12,2), at TIMESTAMP) WITH (format = 'json')"
        )
        c.execute(f"COMMENT ON STREAM {orders} IS 'what was bought'")
        c.execute(f"CREATE MATERIALIZED VIEW {totals} AS SELECT customer, count(*) AS n, sum(amount) AS total FROM {orders} GROUP BY customer")
        c.execute(
            f"INSERT INTO {orders} VALUES (1, 'ann', 10.50, TIMESTAMP '2024-05-01 10:00:00'), "
            f"(2, 'bob', 3.25, TIMESTAMP '2024-05-01 11:00:00.5'), (3, 'ann', NULL, NULL)"
        )
    yield orders, totals
    with connect() as c:
        c.execute(f"DROP MATERIALIZED VIEW {totals}")
        c.execute(f"DROP STREAM {orders}")


def test_it_says_what_clients_expect(db):
    assert db.execute("SELECT version()").fetchone()[0].startswith("PostgreSQL 16.6 (Fleuve ")
    assert db.execute("SELECT current_database(), current_schema()").fetchone() == ("main", "public")
    assert db.execute("SELECT current_user").fetchone() == ("ann",)
    assert db.info.server_version == 160006
    assert db.info.parameter_status("server_encoding") == "UTF8"
    assert db.info.parameter_status("TimeZone") == "UTC"
    for name, value in [
        ("server_version", "16.6"),
        ("standard_conforming_strings", "on"),
        ("transaction isolation level", "read committed"),
        ("client_encoding", "UTF8"),
    ]:
        assert db.execute(f"SHOW {name}").fetchone() == (value,), name
    assert db.execute("SELECT current_setting('server_version')").fetchone() == ("16.6",)
    assert len(db.execute("SHOW ALL").fetchall()) > 30
    assert db.execute("SELECT pg_backend_pid()").fetchone() == (db.info.backend_pid,)


def test_computed_columns_are_found_by_their_names(shop):
    orders, _ = shop
    with connect(row_factory=psycopg.rows.dict_row) as db:
        row = db.execute(f"SELECT count(*), max(id), min(id) + 1 FROM {orders}").fetchone()
        assert row == {"count": 3, "max": 3, "min(id) + 1": 2}
        rows = db.execute(f"SELECT customer, count FROM (SELECT customer, count(*) FROM {orders} GROUP BY customer) q ORDER BY count")
        assert rows.fetchall() == [{"customer": "bob", "count": 1}, {"customer": "ann", "count": 2}]
        # A name twice is no error.
        columns = db.execute(f"SELECT id, * FROM {orders}").description
        assert [column.name for column in columns] == ["id", "id", "customer", "amount", "at"]


def test_an_answer_is_whole_or_an_error(own_server):
    """Also where a function panics, as this one does in a debug build for a group of NULLs."""
    own_server.sql("CREATE STREAM o (k INT, ts TIMESTAMP)")
    values = ", ".join(f"({n}, {'NULL' if n % 5 == 0 else repr('2024-01-01')})" for n in range(40))
    own_server.sql(f"INSERT INTO o VALUES {values}")
    query = "SELECT date_trunc('day', max(ts)) AS d FROM o GROUP BY k"
    host, _, port = own_server.postgres.rpartition(":")
    with psycopg.connect(f"host={host} port={port} user=ann dbname=main", autocommit=True) as connection:
        try:
            assert len(connection.execute(query).fetchall()) == 40
        except psycopg.errors.InternalError as error:
            assert "the statement crashed" in str(error)
        assert connection.execute("SELECT count(*) FROM o").fetchone() == (40,)
    said = own_server.run("sql", "-c", query, check=False)
    assert said.stdout.count("2024-01-01") == 32 if said.returncode == 0 else "the statement crashed" in said.stderr, said


def test_queries_over_streams_and_views(db, shop):
    orders, totals = shop
    rows = db.execute(f"SELECT customer, n, total FROM {totals} ORDER BY customer").fetchall()
    assert rows == [("ann", 2, decimal.Decimal("10.50")), ("bob", 1, decimal.Decimal("3.25"))]
    rows = db.execute(f"SELECT o.id, t.n FROM {orders} o JOIN {totals} t USING (customer) ORDER BY o.id").fetchall()
    assert rows == [(1, 2), (2, 1), (3, 2)]
    cursor = db.execute(f"SELECT * FROM {orders} ORDER BY id")
    assert [c.name for c in cursor.description] == ["id", "customer", "amount", "at"]
    assert [c.type_display for c in cursor.description][:3] == ["int8", "text", "numeric(12,2)"]
    assert cursor.fetchone() == (1, "ann", decimal.Decimal("10.50"), dt.datetime(2024, 5, 1, 10, 0))
    assert cursor.statusmessage == "SELECT 3"


VALUES = [
    ("bool", True),
    ("int", 7),
    ("int", -(2**31) - 5),
    ("bigint", 2**62),
    ("float", 0.1),
    ("float", float("inf")),
    ("numeric", decimal.Decimal("-12345678901234567890.0123456789")),
    ("numeric", decimal.Decimal("100000000")),
    ("text", "it's \\ é \n \U0001f30a"),
    ("text", ""),
    ("bytea", b"\x00\xff'\\"),
    ("date", dt.date(1999, 12, 31)),
    ("time", dt.time(23, 59, 59, 999999)),
    ("timestamp", dt.datetime(2024, 2, 29, 12, 30, 45, 123456)),
    ("timestamptz", dt.datetime(2024, 2, 29, 12, 30, 45, 123456, tzinfo=dt.timezone(dt.timedelta(hours=2)))),
    ("interval", dt.timedelta(days=3, hours=4, microseconds=5)),
    ("list", [1, None, 3]),
    ("texts", ["a", 'b"\\,{}', None, "", "NULL"]),
    ("list", [1.5, -2.0]),
    ("list", [True, False]),
    ("list", [dt.date(2020, 1, 1), None]),
]


@pytest.mark.parametrize("binary_out", [False, True], ids=["text-out", "binary-out"])
@pytest.mark.parametrize("placeholder", ["%s", "%b", "%t"])
@pytest.mark.parametrize("kind,value", VALUES, ids=[f"{k}-{i}" for i, (k, _) in enumerate(VALUES)])
def test_every_type_comes_back(db, kind, value, placeholder, binary_out):
    # Texts have no type of their own in psycopg, so a list of them has none either.
    cast = {"text": "::text", "texts": "::text[]"}.get(kind, "")
    cursor = db.cursor(binary=binary_out)
    got = cursor.execute(f"SELECT {placeholder}{cast}", [value]).fetchone()[0]
    assert got == value
    if not isinstance(value, (list, bool)):
        assert type(got) is type(value)


@pytest.mark.parametrize("placeholder", ["%s", "%b", "%t"])
def test_parameters_in_conditions(db, shop, placeholder):
    orders, _ = shop
    p = placeholder

    def ids(where, *values):
        return sorted(r[0] for r in db.execute(f"SELECT id FROM {orders} WHERE {where}", values).fetchall())

    assert ids(f"id = {p}", 2) == [2]
    assert ids(f"id IN ({p}, {p})", 1, 3) == [1, 3]
    assert ids(f"customer = {p}", "ann") == [1, 3]
    assert ids(f"customer LIKE {p}", "b%") == [2]
    assert ids(f"amount > {p}", decimal.Decimal("3.255")) == [1]
    assert ids(f"at >= {p}", dt.datetime(2024, 5, 1, 10, 30)) == [2]
    assert ids(f"at BETWEEN {p} AND {p}", dt.datetime(2024, 5, 1), dt.datetime(2024, 5, 1, 10)) == [1]
    assert ids(f"id > {p} LIMIT 10", -1) == [1, 2, 3]
    assert ids(f"id = ANY({p})", [1, 3, 7]) == [1, 3]
    assert ids(f"customer = ANY({p})", ["ann", "eve"]) == [1, 3]
    assert ids(f"customer <> ALL({p})", ["ann"]) == [2]
    assert ids(f"NOT customer = ANY({p})", []) == [1, 2, 3]
    assert ids(f"at = ANY({p})", [dt.datetime(2024, 5, 1, 10)]) == [1]
    assert ids(f"at::date + {p} = {p}", 3, dt.date(2024, 5, 4)) == [1, 2]
    assert ids(f"at + {p} = {p}", dt.timedelta(hours=1), dt.datetime(2024, 5, 1, 11)) == [1]


def test_texts_are_read_as_what_they_stand_beside(db, shop):
    orders, _ = shop
    assert db.execute(f"SELECT id FROM {orders} WHERE at = %s", ["2024-05-01 10:00"]).fetchall() == [(1,)]
    assert db.execute("SELECT %s::timestamp", ["2024-05-01 10:00"]).fetchone() == (dt.datetime(2024, 5, 1, 10),)
    assert db.execute(f"SELECT id FROM {orders} WHERE at + %t = %s", ["1 hour", "2024-05-01 11:00"]).fetchall() == [(1,)]
    assert db.execute(f"SELECT id FROM {orders} WHERE extract(hour FROM at) = %s", ["10.4"]).fetchall() == []
    assert db.execute(f"SELECT count(*) FROM {orders} WHERE extract(second FROM at) < %s", ["100"]).fetchone() == (2,)
    assert db.execute(f"SELECT id FROM {orders} WHERE id = ANY(%s)", ["{2,3}"]).fetchall() in ([(2,), (3,)], [(3,), (2,)])


def test_null_parameters(db, shop):
    orders, _ = shop
    assert db.execute("SELECT %s::bigint IS NULL, %s::text", [None, None]).fetchone() == (True, None)
    assert db.execute(f"SELECT id FROM {orders} WHERE customer = %s", [None]).fetchall() == []


def test_prepared_statements_are_reused(db, shop):
    orders, _ = shop
    for i in range(20):
        row = db.execute(f"SELECT %s + id FROM {orders} WHERE id = %s", [i, 1], prepare=True).fetchone()
        assert row == (i + 1,)


def test_insert_with_parameters(db):
    stream = f"typed_{uuid.uuid4().hex[:8]}"
    db.execute(f"CREATE STREAM {stream} (i INT, f DOUBLE PRECISION, d DECIMAL(10,3), s TEXT, b BOOLEAN, t TIMESTAMP) WITH (format = 'json')")
    try:
        row = (5, 1.25, decimal.Decimal("7.125"), "x", False, dt.datetime(2024, 1, 2, 3, 4, 5))
        assert db.execute(f"INSERT INTO {stream} VALUES (%s, %s, %s, %s, %s, %s)", row).statusmessage == "INSERT 0 1"
        with db.cursor() as cursor:
            cursor.executemany(f"INSERT INTO {stream} (i, s) VALUES (%s, %s)", [(i, str(i)) for i in range(10, 15)])
        assert db.execute(f"SELECT * FROM {stream} WHERE i = 5").fetchone() == row
        assert db.execute(f"SELECT count(*), count(f) FROM {stream}").fetchone() == (6, 1)
    finally:
        db.execute(f"DROP STREAM {stream}")


@pytest.mark.parametrize(
    "statement,code",
    [
        ("SELEC 1", "42601"),
        ("SELECT * FROM no_such_table", "42P01"),
        ("SELECT no_such_column FROM (SELECT 1 AS a) t", "42703"),
        ("SELECT no_such_function(1)", "42883"),
        ("SELECT 1/0", "22012"),
        ("SELECT CAST('x' AS BIGINT)", "22P02"),
        ("SELECT x::int FROM (VALUES ('x')) t (x)", "22P02"),
        ("SELECT x::timestamp FROM (VALUES ('x')) t (x)", "22007"),
        ("SELECT 'a' ~ '('", "2201B"),
        ("SELECT (SELECT x FROM (VALUES (1), (2)) t (x))", "21000"),
        ("SELECT 'a' + x FROM (VALUES (true)) t (x)", "42883"),
        ("SELECT rank() FROM (VALUES (1)) t (x)", "42809"),
        ("SELECT * FROM (VALUES (1)) t (x) WHERE row_number() OVER () = 1", "42P20"),
        ("SELECT * FROM (VALUES (1)) t (x) JOIN (VALUES (1)) u (y)", "42601"),
        ("COPY t FROM STDIN", "0A000"),
        ("LISTEN x", "0A000"),
        ("SET no_such_setting = 1", "42704"),
        ("FETCH 1 FROM no_such_cursor", "34000"),
    ],
)
def test_errors_have_their_codes(db, statement, code):
    with pytest.raises(psycopg.Error) as failed:
        db.execute(statement)
    assert failed.value.sqlstate == code, failed.value
    assert db.execute("SELECT 1").fetchone() == (1,)


def test_a_taken_name_and_a_bad_value_have_their_codes(db, shop):
    orders, _ = shop
    with pytest.raises(psycopg.errors.DuplicateTable):
        db.execute(f"CREATE STREAM {orders} (id BIGINT) WITH (format = 'json')")
    with pytest.raises(psycopg.errors.InvalidTextRepresentation):
        db.execute(f"SELECT * FROM {orders} WHERE id = %s", ["seven"])


def test_an_error_points_at_its_place(db):
    query = "SELECT 1 AS é;\nSELECT 2,\n  nowhere_to_be_found FROM (SELECT 1 AS a) t"
    with pytest.raises(psycopg.Error) as failed:
        db.execute(query)
    at = int(failed.value.diag.statement_position)
    assert query[at - 1 :].startswith("nowhere_to_be_found")


def test_several_statements_at_once(db):
    cursor = db.execute("SELECT 1; SELECT 2, 'x;y'; -- the end\n ;")
    assert cursor.fetchall() == [(1,)]
    assert cursor.nextset() and cursor.fetchall() == [(2, "x;y")]
    assert not cursor.nextset()
    assert db.execute("").statusmessage in (None, "")
    with pytest.raises(psycopg.errors.SyntaxError):
        db.execute("SELECT %s; SELECT 2", [1])


def test_transactions_have_their_states():
    with psycopg.connect(DSN) as c:
        status = psycopg.pq.TransactionStatus
        assert c.info.transaction_status == status.IDLE
        c.execute("SELECT 1")
        assert c.info.transaction_status == status.INTRANS
        with pytest.raises(psycopg.Error):
            c.execute("SELECT * FROM nowhere")
        assert c.info.transaction_status == status.INERROR
        with pytest.raises(psycopg.errors.InFailedSqlTransaction):
            c.execute("SELECT 1")
        with pytest.raises(psycopg.errors.InFailedSqlTransaction):
            c.execute("SELECT %s", [1])
        c.rollback()
        assert c.info.transaction_status == status.IDLE
        with c.transaction():
            c.execute("SELECT 1")
            with pytest.raises(psycopg.Error), c.transaction():
                c.execute("SELECT * FROM nowhere")
            assert c.info.transaction_status == status.INTRANS
        c.commit()
        c.set_isolation_level(psycopg.IsolationLevel.SERIALIZABLE)
        c.execute("SELECT 1")
        c.commit()


def test_a_rollback_of_a_change_warns(shop):
    orders, _ = shop
    with psycopg.connect(DSN) as c:
        notices = []
        c.add_notice_handler(lambda n: notices.append(n.message_primary))
        c.execute(f"INSERT INTO {orders} (id, customer) VALUES (99, 'warned')")
        c.rollback()
        assert any("not undone" in n for n in notices)


def test_an_insert_tells_what_a_check_refused():
    with psycopg.connect(DSN, autocommit=True) as c:
        c.execute("CREATE STREAM checked (x BIGINT, CHECK (x > 0)) WITH (format = 'json')")
        notices = []
        c.add_notice_handler(lambda n: notices.append(n.message_primary))
        c.execute("INSERT INTO checked VALUES (1), (-1), (0)")
        assert notices == ["2 of 3 rows went to the dead letters of checked: CHECK (x > 0)"]
        deadline = time.monotonic() + 20
        while (dead := c.execute("SELECT count(*) FROM checked__dead").fetchone()) != (2,):
            assert time.monotonic() < deadline, dead
            time.sleep(0.05)
        c.execute("DROP STREAM checked")


def test_cursors_move_forward():
    with psycopg.connect(DSN) as c:
        with c.cursor(name="walk") as cursor:
            cursor.itersize = 100
            cursor.execute("SELECT value FROM generate_series(1, 1050)")
            assert [r[0] for r in cursor] == list(range(1, 1051))
        with c.cursor(name="steps") as cursor:
            cursor.execute("SELECT value FROM generate_series(1, 20) WHERE value <= %s", [10])
            assert cursor.fetchmany(3) == [(1,), (2,), (3,)]
            assert cursor.fetchone() == (4,)
            assert len(cursor.fetchall()) == 6
            assert cursor.fetchone() is None


def test_many_rows_and_wide_rows(db):
    assert db.execute("SELECT count(*), sum(value) FROM generate_series(1, 200000)").fetchone() == (200000, 20000100000)
    rows = db.execute("SELECT value, repeat('x', 100) FROM generate_series(1, 100000)").fetchall()
    assert len(rows) == 100000 and rows[-1] == (100000, "x" * 100)
    big = db.execute("SELECT repeat('y', 5000000)").fetchone()[0]
    assert len(big) == 5_000_000
    with db.pipeline():
        cursors = [db.execute("SELECT %s", [i]) for i in range(200)]
    assert [c.fetchone()[0] for c in cursors] == list(range(200))


SLOW = "SELECT count(*) FROM generate_series(1, 200000) a JOIN generate_series(1, 200000) b ON a.value + b.value < 0"


def test_cancel_stops_what_runs(db):
    def cancel():
        time.sleep(0.5)
        db.cancel_safe()

    thread = threading.Thread(target=cancel)
    thread.start()
    with pytest.raises(psycopg.errors.QueryCanceled) as failed:
        db.execute(SLOW)
    thread.join()
    assert "due to user request" in str(failed.value)
    assert db.execute("SELECT 1").fetchone() == (1,)


def test_a_wrong_key_cancels_nothing(db):
    with socket.create_connection((HOST, int(PORT))) as s:
        s.sendall(struct.pack("!iiii", 16, 80877102, db.info.backend_pid, 12345))
        assert s.recv(100) == b""
    assert db.execute("SELECT 1").fetchone() == (1,)


def test_a_statement_timeout_stops_what_runs(db):
    db.execute("SET statement_timeout = '300ms'")
    assert db.execute("SHOW statement_timeout").fetchone() == ("300ms",)
    with pytest.raises(psycopg.errors.QueryCanceled) as failed:
        db.execute(SLOW)
    assert "timeout" in str(failed.value)


def fetch_until(rows, enough):
    got = []
    for row in rows:
        got.append(row)
        if enough(got):
            return got
    raise AssertionError(f"the subscription ended after {got}")


@pytest.mark.parametrize("parameters", [None, []], ids=["simple-or-extended", "extended"])
def test_subscribe_gives_changes_as_they_happen(shop, parameters):
    orders, totals = shop
    customer = f"c{uuid.uuid4().hex[:6]}"
    with connect() as reader, connect() as writer:
        stream = reader.cursor().stream(f"SUBSCRIBE TO {totals}", parameters)
        first = next(stream)
        assert len(first) == 5 and first[1] == 1

        def mine(rows):
            return [r for r in rows if r[2] == customer]

        writer.execute(f"INSERT INTO {orders} (id, customer, amount) VALUES (50, '{customer}', 5)")
        got = mine(fetch_until(stream, mine))
        assert [r[1:] for r in got] == [(1, customer, 1, decimal.Decimal("5.00"))]
        writer.execute(f"INSERT INTO {orders} (id, customer, amount) VALUES (51, '{customer}', 1)")
        got = mine(fetch_until(stream, lambda rows: len(mine(rows)) == 2))
        changes = sorted(r[1:] for r in got)
        assert changes == [(-1, customer, 1, decimal.Decimal("5.00")), (1, customer, 2, decimal.Decimal("6.00"))]
        assert len({r[0] for r in got}) == 1, "both belong to one epoch"
        reader.cancel_safe()
        with pytest.raises(psycopg.errors.QueryCanceled):
            for _ in stream:
                pass
        assert reader.execute("SELECT 1").fetchone() == (1,)


def test_subscribe_ends_with_the_client(shop):
    _, totals = shop
    reader = connect()
    next(reader.cursor().stream(f"SUBSCRIBE TO {totals}"))
    reader.close()
    with connect() as c:
        assert c.execute("SELECT 1").fetchone() == (1,)


def test_connections_that_misbehave_end_alone(db):
    address = (HOST, int(PORT))
    for nonsense in [
        b"\x00\x00\x00\x04",
        b"\x7f\xff\xff\xff\x00\x03\x00\x00",
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01",
        struct.pack("!ii", 8, 3 << 16),
        struct.pack("!ii", 9, 2 << 16) + b"\0",
    ]:
        with socket.create_connection(address, timeout=PATIENCE_S) as s:
            s.sendall(nonsense)
            s.shutdown(socket.SHUT_WR)
            while s.recv(4096):
                pass
    start = b"user\0ann\0database\0main\0\0"
    with socket.create_connection(address, timeout=PATIENCE_S) as s:
        s.sendall(struct.pack("!ii", 8 + len(start), 3 << 16) + start)
        s.recv(4096)
        s.sendall(b"Q\x7f\xff\xff\xff")
        answer = b""
        while data := s.recv(4096):
            answer += data
        assert b"54000" in answer
    assert db.execute("SELECT 1").fetchone() == (1,)


def test_an_unknown_database_is_refused():
    with pytest.raises(psycopg.OperationalError, match='database "elsewhere" does not exist'):
        psycopg.connect(f"host={HOST} port={PORT} user=ann dbname=elsewhere")
    with psycopg.connect(f"host={HOST} port={PORT} user=ann") as c:
        assert c.execute("SELECT current_database()").fetchone() == ("main",)


def test_psycopg2(shop):
    orders, totals = shop
    c = psycopg2.connect(DSN)
    try:
        with c.cursor() as cursor:
            cursor.execute(f"SELECT customer, n FROM {totals} WHERE customer = %s", ("bob",))
            assert cursor.fetchall() == [("bob", 1)]
            cursor.execute("SELECT %s, %s, %s::timestamp, %s", (1, "it's", dt.datetime(2024, 1, 1), [1, 2]))
            assert cursor.fetchone() == (1, "it's", dt.datetime(2024, 1, 1), [1, 2])
        c.rollback()
        with pytest.raises(psycopg2.errors.UndefinedTable), c.cursor() as cursor:
            cursor.execute("SELECT * FROM nowhere")
        c.rollback()
        with c.cursor(name="named") as cursor:
            cursor.execute("SELECT value FROM generate_series(1, 5)")
            assert len(cursor.fetchall()) == 5
    finally:
        c.close()


@pytest.fixture(params=["psycopg", "psycopg2"])
def engine(request):
    engine = sa.create_engine(f"postgresql+{request.param}://ann@{HOST}:{PORT}/main")
    yield engine
    engine.dispose()


def test_sqlalchemy_lists_what_there_is(engine, shop):
    orders, totals = shop
    inspector = sa.inspect(engine)
    assert "public" in inspector.get_schema_names()
    assert orders in inspector.get_table_names() and totals not in inspector.get_table_names()
    assert totals in inspector.get_view_names() and orders not in inspector.get_view_names()
    columns = {c["name"]: c for c in inspector.get_columns(orders)}
    assert list(columns) == ["id", "customer", "amount", "at"]
    assert isinstance(columns["id"]["type"], sa.BIGINT) and columns["id"]["nullable"] is False
    assert isinstance(columns["customer"]["type"], sa.TEXT)
    amount = columns["amount"]["type"]
    assert isinstance(amount, sa.NUMERIC) and (amount.precision, amount.scale) == (12, 2)
    assert isinstance(columns["at"]["type"], sa.TIMESTAMP)
    assert [c["name"] for c in inspector.get_columns(totals)] == ["customer", "n", "total"]
    assert "count" in inspector.get_view_definition(totals).lower()
    assert inspector.get_table_comment(orders) == {"text": "what was bought"}
    assert inspector.get_pk_constraint(orders)["constrained_columns"] == []
    assert inspector.get_foreign_keys(orders) == []
    assert inspector.get_indexes(orders) == []
    assert inspector.has_table(orders) and not inspector.has_table("nowhere")


def test_sqlalchemy_reads_tables(engine, shop):
    orders, totals = shop
    metadata = sa.MetaData()
    table = sa.Table(orders, metadata, autoload_with=engine)
    view = sa.Table(totals, metadata, autoload_with=engine)
    with engine.connect() as c:
        rows = c.execute(sa.select(table.c.id).where(table.c.customer == "ann").order_by(table.c.id)).fetchall()
        assert [r.id for r in rows] == [1, 3]
        joined = sa.select(table.c.id, view.c.n).join(view, table.c.customer == view.c.customer).where(table.c.id <= 3)
        assert [tuple(r) for r in c.execute(joined.order_by(table.c.id)).fetchall()] == [(1, 2), (2, 1), (3, 2)]
        assert c.execute(sa.select(sa.func.sum(table.c.amount))).scalar() is not None
        assert c.execute(sa.text("SELECT :a + 1"), {"a": 41}).scalar() == 42
        many = sa.text("SELECT value FROM generate_series(1, 3000) WHERE value <= :most")
        streamed = c.execute(many, {"most": 2500}, execution_options={"stream_results": True})
        assert sum(1 for _ in streamed) == 2500
        with c.begin_nested():
            c.execute(sa.text("SELECT 1"))


def test_identifiers_are_quoted(db):
    name = f"Order-{uuid.uuid4().hex[:6]}"
    db.execute(sql.SQL("CREATE STREAM {} (\"Some Id\" BIGINT) WITH (format = 'json')").format(sql.Identifier(name)))
    try:
        cursor = db.execute(sql.SQL("SELECT * FROM {}").format(sql.Identifier(name)))
        assert [c.name for c in cursor.description] == ["Some Id"]
    finally:
        db.execute(sql.SQL("DROP STREAM {}").format(sql.Identifier(name)))
