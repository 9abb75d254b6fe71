"""`fleuve slt --postgres`: the same files on a running Fleuve, on a real PostgreSQL, and on servers of its own.

Needs a PostgreSQL server (Debian and Ubuntu: postgresql).
"""

import os
import re
import subprocess
import urllib.parse

import psycopg
import pytest

import harness
from postgresql_server import DATABASE, USER, PostgreSQL

PATIENCE_S = 300
PASSWORD = "p@ss w:rd/100%"

# What all three servers answer alike.
EVERYWHERE = """\
statement ok
CREATE TABLE pets AS VALUES (1, 'cat'), (2, 'dog'), (NULL, '')

statement ok
SET datafusion.execution.target_partitions = 4

statement ok
CREATE TABLE prices (id INT NOT NULL, price DOUBLE PRECISION) AS VALUES (1, 2.5), (2, 3.5)

query I
INSERT INTO prices VALUES (3, 4.5)
----
1

query IT rowsort
SELECT * FROM pets
----
1 cat
2 dog
NULL (empty)

query ITR rowsort
SELECT column1, column2, sum(price) FROM pets JOIN prices ON id = column1 GROUP BY column1, column2
----
1 cat 2.5
2 dog 3.5

statement ok
CREATE EXTERNAL TABLE cities (name VARCHAR, people BIGINT, since DATE)
STORED AS CSV
LOCATION 'cities.csv'
OPTIONS ('format.has_header' 'true', 'format.delimiter' ';')

query TID rowsort
SELECT name, people, since FROM cities WHERE people > 100
----
A;o 200 2020-01-02
Bo's 300 2021-02-03

query TP rowsort
SELECT name, CAST(since AS TIMESTAMP) FROM cities WHERE people IS NULL
----
Co 2022-03-04T00:00:00

statement error DataFusion error: Arrow error: Cast error|invalid input syntax
SELECT CAST('x' AS INT)

statement ok
-- Its rows come from those that were inserted.
CREATE TABLE sums AS SELECT count(*) AS n FROM prices

query I
SELECT n FROM sums
----
3

statement ok
CREATE VIEW big AS SELECT name FROM cities WHERE people > 250

query T
SELECT name FROM big
----
Bo's

onlyif postgres
statement ok
CREATE TABLE copied (name TEXT, people BIGINT, since DATE)

onlyif postgres
statement ok
COPY copied
  FROM 'cities.csv' DELIMITER ';' CSV HEADER

skipif postgres
statement ok
CREATE TABLE copied AS SELECT * FROM cities

query T rowsort
SELECT name FROM copied
----
A;o
Bo's
Co

control substitution on

let most, least
SELECT max(people), min(people) FROM cities

# noview
query I retry 2 backoff 10ms
SELECT $most - ${least} + ${nothing:0}
----
100

statement ok
DROP VIEW big

connection another
query I
SELECT count(*) FROM pets
----
3

statement error DataFusion error: Error during planning: table 'datafusion\\.public\\.gone' not found
SELECT * FROM gone

statement ok
CREATE OR REPLACE TABLE prices AS SELECT 'none' AS price

query T
SELECT price FROM prices
----
none

statement ok
DROP TABLE prices
"""

CITIES = "name;people;since\n\"A;o\";200;2020-01-02\nBo's;300;2021-02-03\nCo;;2022-03-04\n"


@pytest.fixture(scope="module")
def postgresql():
    try:
        server = PostgreSQL()
    except SystemExit as e:
        pytest.fail(str(e))
    try:
        with server.start().connect() as connection:
            for kind, name in [("scram-sha-256", "ann"), ("md5", "bob")]:
                connection.execute(f"SET password_encryption = '{kind}'")
                connection.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{PASSWORD}'")
                connection.execute(f"CREATE DATABASE {name} OWNER {name}")
        yield server
    finally:
        server.stop()


@pytest.fixture
def suite(tmp_path):
    (tmp_path / "everywhere.slt").write_text(EVERYWHERE)
    (tmp_path / "cities.csv").write_text(CITIES)
    return tmp_path


def slt(*arguments, cwd, env=None):
    clean = {k: v for k, v in harness.clean_environment().items() if not k.startswith("PG")}
    return subprocess.run(
        [harness.binary(), "slt", *arguments], capture_output=True, text=True, cwd=cwd, env=clean | (env or {}), timeout=PATIENCE_S
    )


def last_line(done):
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()[-1]


def url(server, user, database=None, password=PASSWORD):
    return f"postgres://{user}:{urllib.parse.quote(password, safe='')}@127.0.0.1:{server.port}/{database or user}"


def by_socket(server):
    return f"postgres://{USER}@{urllib.parse.quote(server.folder, safe='')}:{server.port}/{DATABASE}"


def what_there_is(server, database=DATABASE):
    names = "SELECT nspname FROM pg_namespace UNION ALL SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace"
    with psycopg.connect(f"host={server.folder} port={server.port} user={USER} dbname={database}") as connection:
        return sorted(name for (name,) in connection.execute(names) if not name.startswith("pg_t"))


def test_a_running_fleuve_answers_as_one_of_its_own(suite, own_server):
    own_server.sql("CREATE STREAM mine (a BIGINT) WITH (format = 'json')")
    before = own_server.rows("SHOW STREAMS")
    own = last_line(slt("--as-views", "--deny-skips", "everywhere.slt", cwd=suite))
    running = last_line(slt("--as-views", "--deny-skips", "--postgres", own_server.postgres, "everywhere.slt", cwd=suite))
    assert own == running
    assert re.fullmatch(r"\d+ passed, 0 failed", own)
    assert own_server.rows("SHOW STREAMS") == before
    assert own_server.rows("SHOW VIEWS") == []


def test_values_are_the_same_over_the_wire(own_server):
    files = [str(harness.ROOT / "tests" / "slt" / f"{name}.slt") for name in ("11_structs", "22_casts", "24_dates", "25_arrays")]
    done = slt("--deny-skips", "--postgres", own_server.postgres, *files, cwd=own_server.data)
    assert re.fullmatch(r"\d+ passed, 0 failed", last_line(done))


def test_a_real_postgresql_answers_the_same(suite, postgresql):
    before = what_there_is(postgresql)
    done = slt("--as-views", "--deny-skips", "--postgres", by_socket(postgresql), "everywhere.slt", cwd=suite)
    assert re.fullmatch(r"\d+ passed, 0 failed", last_line(done))
    assert what_there_is(postgresql) == before


def test_what_a_file_makes_elsewhere_stays_and_is_named(tmp_path, postgresql):
    file = tmp_path / "elsewhere.slt"
    file.write_text(
        "statement ok\nCREATE SCHEMA \"Else\"\n\nstatement ok\nCREATE TABLE \"Else\".a (x INT)\n\n"
        "statement ok\nCREATE TABLE public.b (x SERIAL)\n\nstatement ok\nBEGIN\n\nstatement ok\nCREATE TABLE c (x INT)\n\n"
        "statement error\nCOPY c FROM STDIN\n\nquery I\nSELECT x FROM c\n----\n1\n"
    )
    with postgresql.connect() as connection:
        connection.execute("CREATE TABLE kept (x INT)")
        before = what_there_is(postgresql)
        done = slt("--postgres", by_socket(postgresql), str(file), cwd=tmp_path)
        assert "6 passed, 1 failed" in done.stdout, done.stdout + done.stderr
        assert 'left over there: SCHEMA "Else", ' in done.stdout
        assert 'TABLE "Else".a' in done.stdout and "TABLE public.b" in done.stdout and "kept" not in done.stdout
        connection.execute('DROP SCHEMA "Else" CASCADE')
        connection.execute("DROP TABLE public.b")
        assert what_there_is(postgresql) == before
        connection.execute("DROP TABLE kept")


REPLACED = """\
statement ok
CREATE OR REPLACE TABLE x AS SELECT 1 AS a

query I
SELECT a FROM x
----
1

statement ok
DROP TABLE x
"""


def test_a_table_of_the_same_name_survives_on_postgresql(tmp_path, postgresql):
    (tmp_path / "x.slt").write_text(REPLACED)
    (tmp_path / "public.slt").write_text("statement ok\nCREATE OR REPLACE TABLE public.x AS SELECT 1 AS a\n")
    with postgresql.connect() as connection:
        connection.execute("CREATE TABLE public.x (mine TEXT)")
        connection.execute("CREATE VIEW public.over_x AS SELECT mine FROM public.x")
        connection.execute("INSERT INTO public.x VALUES ('kept')")
        assert last_line(slt("--postgres", by_socket(postgresql), "x.slt", cwd=tmp_path)) == "3 passed, 0 failed"
        done = slt("--postgres", by_socket(postgresql), "public.slt", cwd=tmp_path)
        assert "public.x is not replaced" in done.stdout and "0 passed, 1 failed" in done.stdout, done.stdout
        assert connection.execute("SELECT mine FROM public.over_x").fetchall() == [("kept",)]
        connection.execute("DROP TABLE public.x CASCADE")


def test_what_was_there_before_survives_on_fleuve(tmp_path, own_server):
    own_server.sql("CREATE STREAM x (mine TEXT) WITH (format = 'json')")
    own_server.sql("CREATE MATERIALIZED VIEW v AS SELECT mine FROM x")
    (tmp_path / "x.slt").write_text(
        REPLACED + "\nstatement ok\nDROP STREAM public.x CASCADE\n\n"
        "statement ok\nCREATE OR REPLACE VIEW v AS SELECT 1 AS a FROM x\n"
    )
    done = slt("--postgres", own_server.postgres, "x.slt", cwd=tmp_path)
    assert done.stdout.count("was on the server before the file") == 4, done.stdout
    assert "0 passed, 5 failed" in done.stdout
    assert [row[0] for row in own_server.rows("SHOW STREAMS")] == ["x", "x__dead"]
    assert [row[0] for row in own_server.rows("SHOW VIEWS")] == ["v"]


def test_what_is_made_at_last_is_missing_no_longer(tmp_path):
    (tmp_path / "a.slt").write_text(
        "statement ok\nCREATE TABLE t (a INT DEFAULT 1)\n\nstatement ok\nCREATE TABLE t (a INT)\n\nquery I\nSELECT b FROM t\n"
    )
    done = slt("a.slt", cwd=tmp_path)
    assert done.stdout.endswith("1 passed, 1 failed, 1 skipped\n"), done.stdout


def test_rows_are_counted_where_their_number_is_known(tmp_path):
    (tmp_path / "c.csv").write_text("a\n1\n2\n")
    external = "CREATE EXTERNAL TABLE {} (a INT) STORED AS CSV LOCATION 'c.csv'\n\n"
    (tmp_path / "a.slt").write_text(
        "statement count 2\nCREATE TABLE a AS VALUES (1), (2)\n\nstatement count 1\nCREATE TABLE b AS VALUES (1), (2)\n\n"
        f"statement count 2\n{external.format('c')}statement count 3\n{external.format('d')}"
        "statement count 0\nCREATE TABLE e (a INT)\n"
    )
    done = slt("a.slt", cwd=tmp_path)
    assert done.stdout.endswith("2 passed, 2 failed, 1 skipped\n"), done.stdout


def test_write_leaves_other_files_rows(tmp_path):
    (tmp_path / "inner.slt").write_text("\n\nquery I\nSELECT 7\n----\n0\n")
    (tmp_path / "outer.slt").write_text("\n\nquery I\nSELECT 1\n----\n0\n\ninclude inner.slt\n")
    slt("--write", "outer.slt", cwd=tmp_path)
    assert (tmp_path / "outer.slt").read_text() == "\n\nquery I\nSELECT 1\n----\n1\n\ninclude inner.slt\n"
    assert (tmp_path / "inner.slt").read_text() == "\n\nquery I\nSELECT 7\n----\n0\n"


@pytest.mark.parametrize("user", ["ann", "bob"])
def test_passwords(suite, postgresql, user):
    by_url = slt("--postgres", url(postgresql, user), "everywhere.slt", cwd=suite)
    assert "0 failed" in last_line(by_url)
    address = f"127.0.0.1:{postgresql.port}"
    said = {"PGUSER": user, "PGPASSWORD": PASSWORD, "PGDATABASE": user}
    assert last_line(slt("--postgres", address, "everywhere.slt", cwd=suite, env=said)) == last_line(by_url)
    wrong = slt("--postgres", url(postgresql, user, password="no"), "everywhere.slt", cwd=suite)
    assert wrong.returncode == 1
    assert f"password authentication failed for user \"{user}\"" in wrong.stderr
    without = slt("--postgres", address, "everywhere.slt", cwd=suite, env={"PGUSER": user})
    assert without.returncode == 1
    assert "it wants a password" in without.stderr and "PGPASSWORD" in without.stderr


def test_what_cannot_be_done_is_skipped_and_the_rest_is_run(tmp_path, server):
    (tmp_path / "a.slt").write_text(
        "frobnicate\nx\n----\ny\n\nsystem ok\necho $GREETING > said\n\nstatement ok\n"
        "CREATE EXTERNAL TABLE p (a INT) STORED AS PARQUET LOCATION 'p.parquet'\n\nquery I\nSELECT a FROM p\n----\n1\n\n"
        "statement ok\nCREATE EXTERNAL TABLE q (a INT) STORED AS CSV LOCATION 'q.csv'\n\nquery I\nSELECT 1\n----\n1\n"
    )
    own = slt("a.slt", cwd=tmp_path)
    running = slt("--postgres", server.postgres, "a.slt", cwd=tmp_path)
    for done in (own, running):
        assert last_line(done) == "1 passed, 0 failed, 5 skipped"
        for reason in ("'frobnicate' is not known", "--allow-system", "STORED AS PARQUET", "needs p,", "q.csv is not there"):
            assert reason in done.stdout
    assert not (tmp_path / "said").exists()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "q.csv").write_text("a\n7\n")
    allowed = slt("--allow-system", "--data", "data", "a.slt", cwd=tmp_path, env={"GREETING": "hello"})
    assert last_line(allowed) == "3 passed, 0 failed, 3 skipped"
    assert (tmp_path / "said").read_text() == "hello\n"


def test_an_expected_error_is_compared(tmp_path):
    (tmp_path / "errors.slt").write_text(
        "statement error DataFusion error: Error during planning: table 'datafusion\\.public\\.nix' not found\nSELECT * FROM nix\n\n"
        "statement error DataFusion error: Schema error: No field named z\\.\nSELECT 1/0\n\n"
        "statement error DataFusion error: Execution error: what nobody can know\nSELECT 1/0\n"
    )
    done = slt("errors.slt", cwd=tmp_path)
    assert "errors.slt:4" in done.stdout and "division by zero" in done.stdout
    assert "1 expected errors" in done.stdout
    assert done.stdout.endswith("2 passed, 1 failed\n")
    assert slt("--strict-errors", "errors.slt", cwd=tmp_path).stdout.endswith("1 passed, 2 failed\n")


def test_addresses_that_are_none(tmp_path, postgresql):
    (tmp_path / "a.slt").write_text("statement ok\nSELECT 1\n")
    for address, message in [
        ("nowhere", "postgres://USER:PASSWORD@HOST:PORT/DATABASE is wanted"),
        ("postgres://localhost:x/", "its port 'x' is none"),
        ("postgres://localhost/?sslmode=require", "not encrypted"),
        ("postgres://localhost/?colour=red", "a setting 'colour' is not known"),
    ]:
        done = slt("--postgres", address, "a.slt", cwd=tmp_path)
        assert done.returncode == 2 and message in done.stderr, done.stderr
    for address in ("postgres://ann:hush@localhost:x/", "postgres://ann:hu/sh@localhost", "ann:hush@localhost:5432"):
        done = slt("--postgres", address, "a.slt", cwd=tmp_path)
        assert done.returncode == 2 and not re.search(r"hu|sh@|\bann\b", done.stdout + done.stderr), done.stderr
    done = slt("--postgres", url(postgresql, "ann", "nix"), "a.slt", cwd=tmp_path)
    assert done.returncode == 1 and 'database "nix" does not exist' in done.stderr
    assert os.listdir(tmp_path) == ["a.slt"]
