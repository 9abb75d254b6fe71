"""Random queries, answered by Fleuve and by PostgreSQL.

    python tests/postgresql/compare.py --queries 500 [--seed N] [--kind subqueries]

The engine's own oracle compares views with the batch engine, so it cannot see what is wrong in both. Here each query is asked of a real
PostgreSQL over the same rows (with many NULLs); every fifth is made a view, which is read. A query that is refused is counted and, by its
message, shown; a difference fails, in the rows or in what the columns are called.
"""

import argparse
import collections
import decimal
import glob
import os
import pathlib
import pwd
import random
import re
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
import harness  # noqa: E402

import psycopg  # noqa: E402

TABLES = {"a": 9, "b": 7, "c": 5}
COLUMNS = ["id", "k", "v"]
# What the kind `typed` reads, with the values that may stand in it.
EVENTS = 24
TYPED = {
    "s": ("TEXT", ["", "a", "Ab", "b c", "über", "a,b", "x_y", "10", "2.5"]),
    "d": ("DATE", ["1969-12-31", "2020-01-31", "2020-02-29", "2021-03-28", "2024-12-30"]),
    "t": ("TIMESTAMP", ["1969-12-31 23:59:59.5", "2020-01-31 12:30:00", "2020-02-29 00:00:00", "2021-03-28 02:30:15.123456", "2024-12-30 23:59:59"]),
    "n": ("NUMERIC(10,2)", ["0", "0.05", "-0.5", "1.50", "2.50", "-12.35", "1000.01"]),
    "f": ("DOUBLE PRECISION", ["0", "0.5", "1.5", "-2.5", "3.25", "1e6"]),
    "y": ("BOOLEAN", ["true", "false"]),
}  # fmt: skip
AS_A_VIEW = 5
SHOWN = 10


class PostgreSQL:
    """A server of its own in a temporary folder, reached by a socket there. It does not run as root, so that the package's user does."""

    def __init__(self):
        found = sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb"))
        on_path = shutil.which("initdb")
        if not found and not on_path:
            raise SystemExit("there is no PostgreSQL server here: apt-get install postgresql")
        self.bin = pathlib.Path(on_path or found[-1]).parent
        self.folder = tempfile.mkdtemp(prefix="fleuve-postgresql-")
        self.user = "postgres" if os.geteuid() == 0 else None
        if self.user:
            shutil.chown(self.folder, self.user)

    def run(self, *command):
        name = self.user and pwd.getpwnam(self.user)
        subprocess.run(
            command, check=True, stdout=subprocess.DEVNULL, cwd=self.folder, user=name and name.pw_uid, group=name and name.pw_gid
        )

    def start(self):
        data = f"{self.folder}/data"
        self.run(self.bin / "initdb", "-D", data, "-U", "compare", "--no-sync", "--auth=trust", "--no-instructions", "--locale=C.UTF-8")
        options = f"-k {self.folder} -c listen_addresses= -c timezone=UTC -c fsync=off"
        self.run(self.bin / "pg_ctl", "-D", data, "-o", options, "-l", f"{self.folder}/log", "-w", "start")
        connection = psycopg.connect(f"host={self.folder} user=compare dbname=postgres", autocommit=True)
        connection.execute("SET statement_timeout = 20000")
        return connection

    def stop(self):
        try:
            self.run(self.bin / "pg_ctl", "-D", f"{self.folder}/data", "-m", "immediate", "stop")
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)


class Queries:
    """Makes one query of each kind."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.aliases = 0

    def some(self, *choices):
        return self.random.choice(choices)

    def often(self, share):
        return self.random.random() < share

    def alias(self):
        self.aliases += 1
        return f"t{self.aliases}"

    # ---- values and conditions ----

    def value(self, columns):
        one = self.random.choice(columns)
        return self.some(one, one, one, str(self.random.randint(0, 3)), f"({one} + {self.random.choice(columns)})", f"coalesce({one}, 2)")

    def in_list(self, columns):
        of = [str(self.random.randint(0, 3)) if self.often(0.8) else self.random.choice([*columns, "NULL"]) for _ in range(self.random.randint(1, 4))]
        return f"{self.random.choice(columns)} {self.some('IN', 'NOT IN')} ({', '.join(of)})"

    def condition(self, columns, depth):
        one, other = self.random.choice(columns), self.value(columns)
        if depth <= 0 or self.often(0.2):
            return self.some(
                self.in_list(columns),
                self.in_list(columns),
                f"{one} {self.some('=', '<', '>', '<>', '>=', '<=')} {other}",
                f"{one} IS {self.some('', 'NOT ')}NULL",
                f"{one} {self.some('', 'NOT ')}BETWEEN {other} AND {self.value(columns)}",
                f"{one} IS {self.some('', 'NOT ')}DISTINCT FROM {other}",
                self.some("NULL::boolean", "TRUE", "FALSE"),
            )
        return self.combined(lambda: self.condition(columns, depth - 1))

    def combined(self, make):
        truth = self.some("NULL", "NOT NULL", "TRUE", "NOT TRUE", "FALSE", "NOT FALSE")
        pick = self.random.random()
        if pick < 0.6:
            return f"({make()} {self.some('AND', 'OR')} {make()})"
        if pick < 0.75:
            return f"NOT ({make()})"
        if pick < 0.87:
            return f"({make()}) IS {truth}"
        if pick < 0.95:
            return f"CASE WHEN {make()} THEN {make()} ELSE {make()} END"
        return f"({make()}) = ({make()})"

    def joined(self):
        columns, tables = [f"a.{c}" for c in COLUMNS], "a"
        if self.often(0.45):
            on = self.some("a.k = b.k", "a.v = b.k", "a.k = b.k AND a.v <= b.v", f"a.k = b.v AND {self.condition(['b.id', 'b.k', 'b.v'], 1)}")
            tables = f"a {self.some('JOIN', 'LEFT JOIN', 'RIGHT JOIN', 'FULL JOIN')} b ON {on}"
            columns += [f"b.{c}" for c in COLUMNS]
            if self.often(0.3):
                tables += f" {self.some('JOIN', 'LEFT JOIN')} c ON {self.some('b.v = c.k', 'a.k = c.k', 'a.v = c.v AND b.k = c.k')}"
                columns += [f"c.{c}" for c in COLUMNS]
        return tables, columns

    def where(self, columns, share=0.5, depth=1):
        return f" WHERE {self.condition(columns, depth)}" if self.often(share) else ""

    # ---- kinds ----

    def conditions(self):
        tables, columns = self.joined()
        shown = f"{columns[0]}, {columns[-1]}"
        if self.often(0.5):
            return f"SELECT {shown}, {self.condition(columns, 3)} FROM {tables}"
        return f"SELECT {shown} FROM {tables} WHERE {self.condition(columns, 3)}"

    def inner_where(self, own, outer, depth):
        conditions = []
        if self.often(0.7):
            left = self.some(*own, f"{own[1]} + 1")
            conditions.append(f"{left} {self.some('=', '=', '=', '<', '>=', '<>')} {self.random.choice(outer)}")
        if self.often(0.4):
            conditions.append(self.with_subquery(own, depth))
        return " WHERE " + " AND ".join(conditions) if conditions else ""

    def one_value(self, columns, depth):
        table, alias = self.random.choice(list(TABLES)), self.alias()
        own = [f"{alias}.{c}" for c in COLUMNS]
        of = self.some("max({})", "min({})", "count({})", "sum({})", "count(*)").format(self.random.choice(own))
        return f"(SELECT {of} FROM {table} {alias}{self.inner_where(own, columns, depth)})"

    def rows(self, columns, depth):
        table, alias = self.random.choice(list(TABLES)), self.alias()
        own = [f"{alias}.{c}" for c in COLUMNS]
        where, one = self.inner_where(own, columns, depth), self.random.choice(own)
        pick = self.random.random()
        if pick < 0.6:
            return f"(SELECT {one} FROM {table} {alias}{where})"
        if pick < 0.7:
            return f"(SELECT DISTINCT {one} FROM {table} {alias}{where})"
        if pick < 0.82:
            having = self.some("", " HAVING count(*) > 1", f" HAVING max({own[2]}) > 1")
            return f"(SELECT max({one}) FROM {table} {alias}{where} GROUP BY {self.random.choice(own)}{having})"
        if pick < 0.92:
            return f"(SELECT {self.some('max', 'min', 'count', 'sum')}({one}) FROM {table} {alias}{where})"
        other = self.alias()
        where = self.inner_where([*own, *(f"{other}.{c}" for c in COLUMNS)], columns, depth)
        return f"(SELECT {self.random.choice(own)} FROM {table} {alias} JOIN c {other} ON {own[1]} = {other}.k{where})"

    def with_subquery(self, columns, depth):
        if depth <= 0 or self.often(0.15):
            return self.condition(columns, 0)
        pick, value = self.random.random(), self.value(columns)
        if pick < 0.25:
            return f"{value} {self.some('IN', 'NOT IN')} {self.rows(columns, depth - 1)}"
        if pick < 0.42:
            return f"{self.some('EXISTS', 'NOT EXISTS')} {self.rows(columns, depth - 1)}"
        if pick < 0.54:
            return f"{value} {self.some('=', '<', '>', '<>', '>=')} {self.some('ANY', 'ALL')} {self.rows(columns, depth - 1)}"
        if pick < 0.64:
            return f"{value} {self.some('=', '<', '>', '<>')} {self.one_value(columns, depth - 1)}"
        return self.combined(lambda: self.with_subquery(columns, depth - 1))

    def subqueries(self):
        tables, columns = "a", [f"a.{c}" for c in COLUMNS]
        if self.often(0.25):
            tables = f"a {self.some('JOIN', 'LEFT JOIN', 'FULL JOIN')} b ON a.k = b.k"
            columns += [f"b.{c}" for c in COLUMNS]
        if self.often(0.12):
            having = self.some(self.with_subquery(["a.k"], 2), "count(*) > 1")
            return f"SELECT a.k, count(*) FROM {tables} WHERE {self.with_subquery(columns, 2)} GROUP BY a.k HAVING {having}"
        more = f", {self.one_value(columns, 1)}" if self.often(0.25) else ""
        also = f" AND {self.condition(columns, 1)}" if self.often(0.35) else ""
        return f"SELECT {columns[0]}, {columns[-1]}{more} FROM {tables} WHERE {self.with_subquery(columns, 2)}{also}"

    # ---- subqueries of any shape, which name what is outside anywhere ----

    def body(self, outer, depth):
        """A query with the columns x and y; LIMIT and numbers are by all of both, so that there is one answer."""
        pick = self.random.random() if depth > 0 else 0
        if pick < 0.35:
            alias = self.alias()
            own = [f"{alias}.{c}" for c in COLUMNS]
            x = self.some(*own, *own, f"{own[0]} + {self.random.choice(outer)}", self.random.choice(outer))
            distinct = self.some("", "", "", "DISTINCT ")
            return f"SELECT {distinct}{x} AS x, {self.random.choice(own)} AS y FROM {self.random.choice(list(TABLES))} {alias}{self.inner_where(own, outer, 0)}"
        q, r = self.alias(), self.alias()
        inner = f"({self.body(outer, depth - 1)}) {q}"
        if pick < 0.5:
            aggregate = self.some("count(*)", f"max({q}.y)", f"min({q}.y)", f"count({q}.y)", f"sum({q}.y)")
            having = self.some("", "", " HAVING count(*) > 1", f" HAVING count(*) > {self.random.choice(outer)}")
            if self.often(0.5):
                return f"SELECT max({q}.x) AS x, {aggregate} AS y FROM {inner}{having}"
            return f"SELECT {q}.x AS x, {aggregate} AS y FROM {inner} GROUP BY {q}.x{having}"
        if pick < 0.65:
            limit = self.some("LIMIT 1", "LIMIT 2", "LIMIT 1 OFFSET 1", "OFFSET 1", "LIMIT 0")
            return f"SELECT {q}.x, {q}.y FROM {inner} ORDER BY {q}.x{self.some('', ' DESC', ' NULLS FIRST')}, {q}.y {limit}"
        if pick < 0.75:
            operation = self.some("UNION", "UNION ALL", "INTERSECT", "EXCEPT", "INTERSECT ALL", "EXCEPT ALL")
            return f"(SELECT {q}.x, {q}.y FROM {inner}) {operation} ({self.body(outer, depth - 1)})"
        if pick < 0.9:
            on = self.some(f"{q}.x = {r}.x", f"{q}.x = {r}.y AND {q}.y <= {r}.y", f"{q}.x = {r}.x AND {r}.y < {self.random.choice(outer)}")
            other = self.body(outer, depth - 1)
            return f"SELECT {q}.x, {r}.y FROM {inner} {self.some('JOIN', 'LEFT JOIN', 'RIGHT JOIN')} ({other}) {r} ON {on}"
        if pick < 0.95:
            return f"SELECT DISTINCT ON ({q}.x) {q}.x, {q}.y FROM {inner} ORDER BY {q}.x, {q}.y"
        call = self.some("row_number()", f"sum({q}.y)", "rank()", f"lag({q}.y)")
        return f"SELECT {q}.x, {call} OVER ({self.some('', f'PARTITION BY {q}.x ')}ORDER BY {q}.x, {q}.y) AS y FROM {inner}"

    def of_body(self, columns, depth=2):
        """A value, and a condition."""
        body, q, value = self.body(columns, depth), self.alias(), self.value(columns)
        if self.often(0.4):
            of = self.some(f"max({q}.x)", f"count({q}.y)", "count(*)", f"sum({q}.x) + {self.random.choice(columns)}", f"min({q}.y)")
            having = self.some("", "", f" HAVING {self.some('count(*)', f'max({q}.y)')} {self.some('=', '>')} {self.random.randint(0, 2)}")
            one = self.some(f"SELECT {of} FROM ({body}) {q}{having}", f"SELECT {q}.y FROM ({body}) {q} ORDER BY {q}.y, {q}.x LIMIT 1")
            if self.often(0.15):
                one = f"{value} {self.some('=', '<', '<>')} {self.some('ANY', 'ALL')} ({one})"
                return one, one
            return f"({one})", f"{value} {self.some('=', '<', '>=')} ({one})"
        asked = self.some(
            f"{self.some('', 'NOT ')}EXISTS ({body})",
            f"{value} {self.some('', 'NOT ')}IN (SELECT {q}.x FROM ({body}) {q})",
            f"{value} {self.some('=', '<', '>', '<>')} {self.some('ANY', 'ALL')} (SELECT {q}.y FROM ({body}) {q})",
        )
        return asked, asked

    def correlated(self):
        tables, columns = "a", [f"a.{c}" for c in COLUMNS]
        if self.often(0.15):
            tables = f"(SELECT min(id) AS id, k, count(*) AS v FROM {self.random.choice(list(TABLES))} GROUP BY k) a{self.some('', ' CROSS JOIN c')}"
        elif self.often(0.2):
            tables = f"a {self.some('JOIN', 'LEFT JOIN')} b ON a.k = b.k"
            columns += [f"b.{c}" for c in COLUMNS]
        pick = self.random.random()
        if pick < 0.35:
            return f"SELECT {columns[0]}, {columns[-1]}, {self.of_body(columns)[0]} FROM {tables}{self.where(columns, 0.3)}"
        if pick < 0.6:
            more = f" {self.some('AND', 'AND', 'OR')} {self.condition(columns, 1)}" if self.often(0.4) else ""
            return f"SELECT {columns[0]}, {columns[-1]} FROM {tables} WHERE {self.of_body(columns)[1]}{more}"
        if pick < 0.7:
            value, condition = self.of_body(columns, 1)
            shown = self.some(f"count(*) FILTER (WHERE {condition})", f"count({value})", f"sum(CASE WHEN {condition} THEN 1 ELSE 2 END)")
            return f"SELECT a.k, {shown} FROM {tables} GROUP BY a.k"
        lateral = f"LATERAL ({self.body(columns, 2)}) l"
        if self.often(0.4):
            tables = f"{tables} CROSS JOIN {lateral}"
        else:
            tables = f"{tables} {self.some('JOIN', 'LEFT JOIN')} {lateral} ON {self.some('true', 'l.y > 1', f'l.x = {self.random.choice(columns)}')}"
        if self.often(0.2):
            tables = f"{tables} CROSS JOIN LATERAL ({self.body([*columns, 'l.x'], 1)}) m"
            return f"SELECT {columns[0]}, l.x, m.x, m.y FROM {tables}"
        return f"SELECT {columns[0]}, l.x, l.y FROM {tables}{self.where([*columns, 'l.x'], 0.3)}"

    # ---- aggregates, windows, sets ----

    def aggregate(self, columns):
        one = self.random.choice(columns)
        only = f" FILTER (WHERE {self.condition(columns, 1)})" if self.often(0.25) else ""
        name = self.some("count", "sum", "min", "max", "avg", "count", "sum", "text", "list", "bool_and", "bool_or", "bit_and", "percentile")
        if name == "text":
            return f"string_agg({one}::text, ',' ORDER BY {one}{self.some('', ' DESC')}){only}"
        if name == "list":
            distinct = self.some("", "DISTINCT ")
            return f"array_agg({distinct}{one} ORDER BY {one}{self.some('', ' NULLS FIRST', ' DESC NULLS LAST')}){only}"
        if name in ("bool_and", "bool_or"):
            return f"{name}({self.condition(columns, 1)}){only}"
        if name == "percentile":
            return f"percentile_cont({self.some('0', '0.25', '0.5', '1')}) WITHIN GROUP (ORDER BY {one})"
        return f"{name}({self.some('', '', 'DISTINCT ') if name != 'bit_and' else ''}{self.value(columns)}){only}"

    def aggregates(self):
        tables, columns = self.joined()
        keys = [self.some(*columns, *columns, f"{columns[1]} % 2", f"coalesce({columns[2]}, 0)") for _ in range(self.random.randint(0, 2))]
        keys = list(dict.fromkeys(keys))
        shown, by, having = [self.aggregate(columns) for _ in range(self.random.randint(1, 3))], "", ""
        if keys:
            every = ", ".join(keys)
            sets = self.some(f"ROLLUP ({every})", f"CUBE ({every})", f"GROUPING SETS ((), ({every}))")
            by = f" GROUP BY {every if self.often(0.65) else sets}"
        if self.often(0.3):
            having = f" HAVING {self.condition(['count(*)', f'max({columns[0]})', *keys], 1)}"
        return f"SELECT {', '.join(keys + shown)} FROM {tables}{self.where(columns)}{by}{having}"

    def windows(self):
        tables, columns = self.joined()
        ids = [c for c in columns if c.endswith(".id")]
        shown = []
        for _ in range(self.random.randint(1, 2)):
            one = self.random.choice(columns)
            name = self.some("row_number()", "rank()", "dense_rank()", "ntile(3)", f"lag({one})", f"lead({one}, 2, 7)", "percent_rank()", "cume_dist()")
            frame = ""
            if self.often(0.6):
                name = self.some("first_value", "last_value", "sum", "count", "min", "max", "avg") + f"({one})"
                if self.often(0.6):
                    first = self.some("UNBOUNDED PRECEDING", "2 PRECEDING", "1 PRECEDING", "CURRENT ROW")
                    frame = f" {self.some('ROWS', 'GROUPS')} BETWEEN {first} AND {self.some('CURRENT ROW', '1 FOLLOWING', 'UNBOUNDED FOLLOWING')}"
            part = f"PARTITION BY {self.random.choice(columns)} " if self.often(0.7) else ""
            order = f"ORDER BY {self.random.choice(columns)}{self.some('', ' DESC', ' NULLS FIRST', ' DESC NULLS LAST')}, {', '.join(ids)}"
            shown.append(f"{name} OVER ({part}{order}{frame})")
        return f"SELECT {', '.join(ids + shown)} FROM {tables}{self.where(columns, 0.4)}"

    def sets(self, depth=2):
        if depth == 0 or self.often(0.2):
            tables, columns = self.joined()
            one = self.random.choice(columns)
            if self.often(0.15):
                return f"SELECT {one} AS x, count(*) AS y FROM {tables}{self.where(columns)} GROUP BY {one}"
            return f"SELECT {self.some('', '', 'DISTINCT ')}{one} AS x, {self.value(columns)} AS y FROM {tables}{self.where(columns)}"
        operation = self.some("UNION", "UNION ALL", "INTERSECT", "EXCEPT", "INTERSECT ALL", "EXCEPT ALL")
        query = f"({self.sets(depth - 1)}) {operation} ({self.sets(depth - 1)})"
        if self.often(0.2):
            return f"SELECT x, count(*) AS y FROM ({query}) q{depth} GROUP BY x"
        return query


    # ---- names ----

    ITEMS = {
        "k": "k", "t.v": "v", "id AS named": "named", "abs(k) AS v": "v", "v::text": "v", "(k + 1)::int": "int4", "'1'::int": "int4",
        "CAST(k AS text)::int": "k", "upper(v::text)": "upper", "coalesce(k, 0)": "coalesce", "nullif(k, 1)": "nullif", "abs(v)": "abs",
        "CASE WHEN k > 1 THEN v END": "case", "CASE WHEN k > 1 THEN 1 ELSE v END": "v", "greatest(k, v)": "greatest",
        "(SELECT max(v) FROM b)": "max", "(SELECT b.k FROM b WHERE b.id = 1)": "k", "(SELECT count(*) FROM b WHERE b.k = t.k) + 1": None,
        "EXISTS (SELECT 1 FROM b WHERE b.k = t.k)": None, "1": None, "k + v": None, "(k)": "k", "v IS NULL": None,
        "row_number() OVER (ORDER BY id)": "row_number", "sum(v) OVER (PARTITION BY k)": "sum", "max(k) OVER ()": "max",
        "extract(year FROM DATE '2020-01-01')": "extract", "DATE '2020-02-03'": "date", "NULL::bigint": "int8",
    }  # fmt: skip
    GROUPED = {
        "k": "k", "count(*)": "count", "sum(v)": "sum", "max(v)": "max", "max(v)::text": "max", "count(*) + 1": None, "abs(k)": "abs",
        "string_agg(v::text, ',' ORDER BY id)": "string_agg", "sum(v) FILTER (WHERE v > 1)": "sum", "coalesce(min(v), 0)": "coalesce",
        "min(v) AS least": "least", "round(avg(v), 2)": "round",
    }  # fmt: skip

    def names(self):
        """Columns without a name, read by the one that they get."""
        grouped = self.often(0.3)
        items = self.random.choices(list((self.GROUPED if grouped else self.ITEMS).items()), k=self.random.randint(1, 4))
        names, shown = [name for _, name in items], ", ".join(item for item, _ in items)
        distinct = "" if grouped else self.some("", "", "DISTINCT ")
        if not grouped and self.often(0.2):
            names, shown = [*names, "id", "k", "v"], f"{shown}, {self.some('*', 't.*')}"
        query = f"SELECT {distinct}{shown} FROM {self.some('a', 'b', 'c')} t{' GROUP BY k' if grouped else ''}"
        for level in range(self.random.randint(0, 3)):
            once = [name for name in names if name and names.count(name) == 1]
            if once and self.often(0.5):
                column = self.random.choice(once)
                query = f"SELECT {column}, count(*) FROM ({query}) q GROUP BY {column}"
                names = [column, "count"] if column != "count" else [None, None]
            elif once and self.often(0.6):
                chosen = self.random.sample(once, self.random.randint(1, len(once)))
                query = f"WITH q AS ({query}) SELECT {', '.join(chosen)} FROM q"
                names = chosen
            else:
                query = f"SELECT {self.some('*', f'q{level}.*')} FROM ({query}) q{level}"
        once = [name for name in names if name and names.count(name) == 1]
        if once and self.often(0.4):
            query += f" ORDER BY {self.random.choice(once)}{self.some('', ' DESC')}"
        return query


    # ---- derived tables over each other ----

    def nested(self):
        """Each reads the one before, and shows, groups, numbers, joins, or cuts off some of it."""
        names = iter(f"c{n}" for n in range(1000))
        columns = [next(names) for _ in COLUMNS]
        query = f"SELECT {', '.join(f'{c} AS {n}' for c, n in zip(COLUMNS, columns, strict=True))} FROM {self.some('a', 'b', 'c')}"
        for level in range(self.random.randint(1, 5)):
            query, columns = self.above(query, columns, f"q{level}", names)
        return query

    def above(self, query, columns, alias, names):
        def computed():
            one, other = self.random.choice(columns), self.random.choice(columns)
            return self.some(one, f"{one} + 1", f"coalesce({one}, 0)", f"abs({one} - {other})", f"{one} % 2", "1", f"greatest({one}, {other})")

        def some_columns(least=1):
            return self.random.sample(columns, self.random.randint(min(least, len(columns)), len(columns)))

        def select(items, rest, distinct=""):
            self.random.shuffle(items)
            given = [next(names) for _ in items]
            return f"SELECT {distinct}{', '.join(f'{i} AS {n}' for i, n in zip(items, given, strict=True))} {rest}", given

        source, all_columns = f"FROM ({query}) {alias}", ", ".join(columns)
        kind = self.some("group", "group", "group", "distinct", "show", "show", "number", "filter", "join", "join", "set", "limit", "with")
        if kind == "group":
            keys = [self.some(key, key, key, f"{key} % 2", f"coalesce({key}, 1)") for key in some_columns(0)[:3]]
            made = [self.some("count(*)", f"sum({computed()})", f"max({computed()})", f"min({computed()}) + 1", f"count(DISTINCT {computed()})")
                    for _ in range(self.random.randint(0 if keys else 1, 2))]  # fmt: skip
            shown = [key for key in keys if self.often(0.7)] + made
            by = f" GROUP BY {', '.join(keys)}" if keys else ""
            having = f" HAVING {self.condition(['count(*)', *keys], 1)}" if self.often(0.2) else ""
            return select(shown or ["count(*)"], source + by + having)
        if kind == "distinct":
            return select([*some_columns(), *([computed()] if self.often(0.5) else [])], source, "DISTINCT ")
        if kind == "show":
            return select([*some_columns(0), *(computed() for _ in range(self.random.randint(1, 2)))], source)
        if kind == "number":
            part = self.some("", f"PARTITION BY {self.random.choice(columns)} ")
            number = self.some("row_number()", "row_number()", "rank()", f"sum({self.random.choice(columns)})", "count(*)")
            return select([*some_columns(), f"{number} OVER ({part}ORDER BY {all_columns})"], source)
        if kind == "filter":
            where = self.some(self.condition(columns, 1), f"{self.random.choice(columns)} {self.some('', 'NOT ')}IN (SELECT k FROM b)",
                              f"EXISTS (SELECT 1 FROM b WHERE b.v = {alias}.{self.random.choice(columns)})")  # fmt: skip
            return select(some_columns(), f"{source} WHERE {where}")
        if kind == "join":
            join = self.some("JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN")
            on = f"{alias}.{self.random.choice(columns)} = t.{self.some('id', 'k', 'v')}"
            other = self.some("a", "b", "(SELECT k, max(id) AS id, count(*) AS v FROM b GROUP BY k)", "(SELECT DISTINCT k, v, 1 AS id FROM a)")
            return select([*some_columns(), *self.random.sample(["t.id", "t.k", "t.v"], self.random.randint(0, 2))], f"{source} {join} {other} t ON {on}")
        if kind == "set":
            operation = self.some("UNION", "UNION ALL", "INTERSECT", "EXCEPT")
            given = [next(names) for _ in columns]
            shown = ", ".join(f"{c} AS {n}" for c, n in zip(columns, given, strict=True))
            other = ", ".join(self.some("id", "k", "v", "1") for _ in columns)
            return f"SELECT {shown} {source} {operation} SELECT {other} FROM {self.some('a', 'b')}", given
        if kind == "limit":
            order = ", ".join(f"{c}{self.some('', ' DESC', ' NULLS FIRST')}" for c in self.random.sample(columns, len(columns)))
            return f"SELECT {all_columns} {source} ORDER BY {order} LIMIT {self.random.randint(1, 6)}", columns
        text, given = select(some_columns(), f"FROM {alias}")
        return f"WITH {alias} AS ({query}) {text}", given



    # ---- texts, dates, times, decimals ----

    def plain(self, kind, of="e"):
        return f"{of}.{kind if kind != 'i' else self.some('id', 'k')}"

    def typed_value(self, kind, depth=2, of="e"):
        """An expression of a type, named by its column: `i` for integers. What docs/sql.md says to differ is left out, such as floating-point -0."""
        if depth == 0 or self.often(0.25):
            return self.plain(kind, of) if self.often(0.85) else self.literal(kind)

        def v(other):
            return self.typed_value(other, depth - 1, of)

        if self.often(0.2):
            return self.some(
                lambda: f"coalesce({v(kind)}, {self.literal(kind)})", lambda: f"CASE WHEN {v('y')} THEN {v(kind)} ELSE {v(kind)} END",
                lambda: f"nullif({v(kind)}, {v(kind)})", lambda: f"CASE WHEN {v('y')} THEN {v(kind)} END",
                lambda: f"{self.some('greatest', 'least')}({v(kind)}, {v(kind)})",
                lambda: f"CASE {v(kind)} WHEN {self.literal(kind)} THEN {v(kind)} ELSE {v(kind)} END",
            )()  # fmt: skip
        small = self.random.randint(-2, 3)
        span = self.some("1 day", "2 hours", "1 month", "-3 days", "1 year 2 months", "90 minutes", "0.5 seconds")
        field = self.some("year", "month", "day", "quarter", "week", "dow", "isodow", "doy", "isoyear")
        clock = self.some("hour", "minute", "microsecond")
        unit = self.some("year", "quarter", "month", "week", "day", "hour", "minute", "second")
        other = self.random.choice(list(TYPED))
        return self.some(*{
            "s": [
                lambda: f"{self.some('upper', 'lower', 'trim', 'ltrim', 'rtrim', 'reverse', 'initcap', 'md5', 'btrim')}({v('s')})",
                lambda: f"({v('s')} || {v(self.some('s', 's', 'i', 'd'))})", lambda: f"{self.some('left', 'right', 'repeat')}({v('s')}, {small})",
                lambda: f"substr({v('s')}, {small})", lambda: f"substring({v('s')} FROM {small} FOR {abs(small)})",
                lambda: f"replace({v('s')}, '{self.some('a', 'b', ',')}', {self.literal('s')})", lambda: f"split_part({v('s')}, ',', {self.some(1, 2, -1)})",
                lambda: f"concat({v(self.some('s', 'i', 'd'))}, {v('s')})", lambda: f"concat_ws('-', {v('s')}, {v('i')}, {v('s')})", lambda: f"translate({v('s')}, 'ab', 'x')",
                lambda: f"{self.some('lpad', 'rpad')}({v('s')}, {small + 2}{self.some('', ', $$xy$$')})", lambda: f"{v(self.some('i', 'd', 'y'))}::text", lambda: f"{self.plain('n', of)}::text",
                lambda: f"regexp_replace({v('s')}, '[a-c]', '<x>'{self.some('', ', $$g$$')})", lambda: f"overlay({v('s')} PLACING 'zz' FROM 2 FOR 1)",
                lambda: f"to_char({v('t')}, '{self.some('YYYY-MM-DD', 'HH24:MI:SS', 'Mon DD', 'YYYY-MM', 'MS')}')", lambda: f"left({v('d')}::text, 7)",
                lambda: f"CASE WHEN {v('s')} LIKE 'a%' THEN {v('s')} ELSE 'no' END",
            ],
            "d": [
                lambda: f"({v('d')} + {small})", lambda: f"({v('d')} - {small})", lambda: f"{v('t')}::date", lambda: f"CAST({v('t')} AS date)",
                lambda: f"date_trunc('{unit}', {v('t')})::date", lambda: f"({v('t')} + INTERVAL '{span}')::date", lambda: f"make_date(2020, {abs(small) + 1}, 28)",
            ],
            "t": [
                lambda: f"date_trunc('{unit}', {v('t')})", lambda: f"({v('t')} {self.some('+', '-')} INTERVAL '{span}')", lambda: f"{v('d')}::timestamp",
                lambda: f"({v('d')}::timestamp {self.some('+', '-')} INTERVAL '{span}')", lambda: f"({v('t')} + {v('i')} * INTERVAL '1 hour')",
                lambda: f"date_trunc('{unit}', {v('d')}::timestamp)", lambda: f"date_bin('15 minutes', {v('t')}, TIMESTAMP '2020-01-01')",
            ],
            "n": [
                lambda: f"({v('n')} {self.some('+', '-', '*')} {v(self.some('n', 'n', 'i'))})", lambda: f"round({v('n')}, {self.some(0, 1)})", lambda: f"(- {v('n')})",
                lambda: f"{self.some('abs', 'ceil', 'floor', 'round')}({v('n')})", lambda: f"{v('i')}::numeric(10,2)", lambda: f"({v('n')} % 2)",
                lambda: f"{v('n')}::numeric(12,1)",
            ],
            "f": [
                lambda: f"({v('f')} {self.some('+', '-')} {v(self.some('f', 'f', 'i'))})", lambda: f"{self.some('abs', 'floor', 'sign')}({v('f')})",
                lambda: f"{v(self.some('n', 'i'))}::double precision", lambda: f"sqrt(abs({v('f')}))", lambda: f"power({v('i')}, 2)",
                lambda: f"({v('f')} / (1 + abs({v('f')})))",
            ],
            "y": [
                lambda: f"({v(other)} {self.some('=', '<', '>', '<>', '<=', '>=')} {v(other)})", lambda: f"({v(other)} IS {self.some('', 'NOT ')}NULL)",
                lambda: f"({v('s')} {self.some('LIKE', 'NOT LIKE', 'ILIKE')} '{self.some('a%', '%b%', '_', '%', '')}')", lambda: f"({v('y')} {self.some('AND', 'OR')} {v('y')})",
                lambda: f"(NOT {v('y')})", lambda: f"({v('y')} IS {self.some('', 'NOT ')}{self.some('TRUE', 'FALSE', 'UNKNOWN')})",
                lambda: f"({v('s')} {self.some('~', '!~', '~*')} '{self.some('^a', 'b$', '[0-9]+', '^.$')}')", lambda: f"starts_with({v('s')}, 'a')",
                lambda: f"({v(other)} {self.some('', 'NOT ')}IN ({v(other)}, {self.literal(other)}))", lambda: f"({v(other)} IS DISTINCT FROM {v(other)})",
                lambda: f"({v(other)} BETWEEN {v(other)} AND {v(other)})", lambda: f"({v('d')} < {v('t')})", lambda: f"({v('n')} > {v('f')})", lambda: f"({v('i')} = {v('n')})",
            ],
            "i": [
                lambda: f"({v('i')} {self.some('+', '-', '*')} {v('i')})", lambda: f"{self.some('length', 'char_length', 'octet_length', 'ascii')}({v('s')})",
                lambda: f"strpos({v('s')}, 'b')", lambda: f"extract({field} FROM {v(self.some('d', 't'))})::bigint",
                lambda: f"extract({clock} FROM {v('t')})::bigint", lambda: f"({v('d')} - {v('d')})", lambda: f"floor({v(self.some('n', 'f'))})::bigint", lambda: f"{v('y')}::int",
                lambda: f"({v('i')} / {self.some(2, -3)})", lambda: f"({v('i')} % {self.some(2, -3)})", lambda: f"position('b' IN {v('s')})",
                lambda: f"date_part('{field}', {v('t')})::bigint", lambda: f"CASE WHEN {v('y')} THEN 1 ELSE 0 END", lambda: f"({v('i')} & 3)",
            ],
        }[kind])()  # fmt: skip

    def literal(self, kind):
        if kind == "i":
            return f"({self.random.randint(-2, 4)})"
        type_name, values = TYPED[kind]
        value = self.random.choice(values)
        return f"({value})" if kind == "f" else value if kind == "y" else f"'{value}'" if kind == "s" else f"{type_name.split('(')[0]} '{value}'"

    def typed_aggregate(self, of="e"):
        def v(kind):
            return self.typed_value(kind, 1, of)

        kind = self.random.choice([*TYPED, "i"])
        only = f" FILTER (WHERE {v('y')})" if self.often(0.25) else ""
        return self.some(
            lambda: "count(*)" + only, lambda: f"count({self.some('', 'DISTINCT ')}{v(kind)}){only}",
            lambda: f"{self.some('min', 'max')}({v(self.some('s', 'd', 't', 'n', 'f', 'i'))}){only}", lambda: f"sum({v('n')}){only}", lambda: f"{self.some('sum', 'avg')}({v('f')}){only}", lambda: f"sum({v('i')}){only}",
            lambda: f"{self.some('bool_and', 'bool_or', 'every')}({v('y')}){only}", lambda: f"round(avg({v('n')}), 2)",
            lambda: f"string_agg({v('s')}, '{self.some(',', '')}' ORDER BY {of}.id{self.some('', ' DESC')}){only}",
            lambda: f"array_agg({v(self.some('s', 'd', 'n', 'i'))} ORDER BY {of}.id){only}",
        )()  # fmt: skip

    def typed(self):
        def v(kind, depth=2):
            return self.typed_value(kind, depth)

        kinds = [*TYPED, "i"]
        kind = self.some("show", "show", "show", "group", "group", "rollup", "distinct on", "top", "lateral", "window", "range", "join", "union", "in")
        shown = [v(self.random.choice(kinds), 3) for _ in range(self.random.randint(1, 3))]
        where = f" WHERE {v('y')}" if self.often(0.5) else ""
        if kind == "show":
            return f"SELECT {self.some('', '', 'DISTINCT ')}{', '.join(shown)} FROM e{where}"
        if kind in ("group", "rollup"):
            keys = [v(self.random.choice(kinds)) for _ in range(self.random.randint(1, 2))]
            source = ", ".join(f"{key} AS g{n}" for n, key in enumerate(keys))
            names = [f"q.g{n}" for n in range(len(keys))]
            by = ", ".join(names) if kind == "group" else f"{self.some('ROLLUP', 'CUBE')} ({', '.join(names)})"
            aggregates = [self.typed_aggregate("q") for _ in range(self.random.randint(1, 3))]
            having = f" HAVING count(*) > {self.random.randint(1, 3)}" if self.often(0.2) else ""
            return f"SELECT {', '.join(names + aggregates)} FROM (SELECT e.*, {source} FROM e{where}) q GROUP BY {by}{having}"
        if kind == "distinct on":
            on = v(self.random.choice(kinds))
            return f"SELECT DISTINCT ON (g) g, x, id FROM (SELECT {on} AS g, {shown[0]} AS x, id FROM e{where}) q ORDER BY g{self.some('', ' DESC')}, x{self.some('', ' DESC', ' NULLS FIRST')}, id"
        if kind == "top":
            return f"SELECT {', '.join(shown)}, e.id FROM e{where} ORDER BY {v(self.random.choice(kinds))}{self.some('', ' DESC', ' NULLS FIRST', ' DESC NULLS LAST')}, e.id LIMIT {self.random.randint(1, 8)} OFFSET {self.random.randint(0, 3)}"
        if kind == "lateral":
            inner, rest = ", ".join(self.typed_aggregate("i") for _ in range(2)), ""
            if self.often(0.5):
                inner = f"{self.typed_value(self.random.choice(kinds), 2, 'i')}, i.id"
                rest = f" ORDER BY i.{self.random.choice(list(TYPED))}, i.id LIMIT 2"
            one = self.random.choice(list(TYPED))
            join, on = self.some(("CROSS JOIN", ""), ("LEFT JOIN", " ON TRUE"))
            return f"SELECT e.id, q.* FROM e {join} LATERAL (SELECT {inner} FROM e i WHERE i.{one} = e.{one}{rest}) q (x, y){on}"
        if kind == "window":
            one = v(self.random.choice(kinds))
            name = self.some(f"lag({one})", f"lead({one})", f"first_value({one})", f"last_value({one})", f"min({v(self.some('s', 'd', 'n'))})", f"sum({v(self.some('n', 'f', 'i'))})",
                             f"count({one})", "rank()", "row_number()", f"nth_value({one}, 2)")  # fmt: skip
            part = f"PARTITION BY {v(self.random.choice(kinds), 1)} " if self.often(0.7) else ""
            return f"SELECT e.id, {name} OVER ({part}ORDER BY {v(self.random.choice(kinds), 1)}{self.some('', ' DESC', ' NULLS FIRST')}, e.id) FROM e{where}"
        if kind == "range":
            by, before = self.some(("t", "INTERVAL '1 day'"), ("d", "INTERVAL '1 month'"), ("t", "INTERVAL '1 year'"), ("n", "1.5"), ("f", "2.5"), ("k", "1"))
            after = self.some("CURRENT ROW", f"{before} FOLLOWING", "UNBOUNDED FOLLOWING")
            one = self.some(f"count({v(self.random.choice(kinds), 1)})", f"sum({v(self.some('n', 'i'), 1)})", f"min({v(self.some('s', 'd', 't', 'n'), 1)})", "count(*)")
            return f"SELECT e.id, {one} OVER ({self.some('', 'PARTITION BY e.y ')}ORDER BY e.{by}{self.some('', ' DESC')} RANGE BETWEEN {before} PRECEDING AND {after}) FROM e{where}"
        if kind == "join":
            one, depth = self.random.choice(kinds), 1
            on = f"{self.typed_value(one, depth, 'e')} = {self.typed_value(one, depth, 'o')}"
            return f"SELECT e.id, o.id, {', '.join(shown)} FROM e {self.some('JOIN', 'LEFT JOIN', 'RIGHT JOIN', 'FULL JOIN')} e o ON {on}{where}"
        if kind == "union":
            of = [self.random.choice(kinds) for _ in range(2)]
            arms = [f"SELECT {v(of[0])} AS x, {v(of[1])} AS y FROM e" for _ in range(2)]
            return f"{arms[0]} {self.some('UNION', 'UNION ALL', 'INTERSECT', 'EXCEPT', 'EXCEPT ALL')} {arms[1]}"
        one = self.random.choice(kinds)
        return f"SELECT e.id, {shown[0]} FROM e WHERE {v(one, 1)} {self.some('IN', 'NOT IN')} (SELECT {self.typed_value(one, 1, 'o')} FROM e o WHERE {self.typed_value('y', 1, 'o')})"


KINDS = ["subqueries", "correlated", "conditions", "aggregates", "windows", "sets", "names", "nested", "typed"]


def fill(connections, seed):
    chance = random.Random(seed)
    for table, rows in TABLES.items():
        values = [tuple("NULL" if chance.random() < 0.2 else str(chance.randint(0, 3)) for _ in range(2)) for _ in range(rows)]
        text = ", ".join(f"({i}, {k}, {v})" for i, (k, v) in enumerate(values))
        for connection, kind in zip(connections, ("STREAM", "TABLE"), strict=True):
            connection.execute(f"CREATE {kind} {table} (id BIGINT, k BIGINT, v BIGINT)")
            connection.execute(f"INSERT INTO {table} VALUES {text}")
    columns = ", ".join(f"{name} {type_name}" for name, (type_name, _) in TYPED.items())
    rows = []
    for i in range(EVENTS):
        typed = [(type_name, "NULL" if chance.random() < 0.15 else chance.choice(values)) for type_name, values in TYPED.values()]
        cells = [value if value == "NULL" else f"'{value}'::{type_name}" for type_name, value in typed]
        rows.append(f"({i}, {'NULL' if chance.random() < 0.2 else chance.randint(-2, 3)}, {', '.join(cells)})")
    for connection, kind in zip(connections, ("STREAM", "TABLE"), strict=True):
        connection.execute(f"CREATE {kind} e (id BIGINT, k BIGINT, {columns})")
        connection.execute(f"INSERT INTO e VALUES {', '.join(rows)}")


def multiset(rows):
    """Rows to compare: in any order, numbers to nine digits whatever their type."""

    def cell(value):
        is_number = isinstance(value, (int, float, decimal.Decimal)) and not isinstance(value, bool)
        if isinstance(value, list):
            return str([cell(one) for one in value])
        return f"{float(value):.9g}" if is_number else str(value)

    return collections.Counter(tuple(cell(v) for v in row) for row in rows)


def answer(fleuve, query, names, as_view):
    """The names of the columns, and the rows."""
    if not as_view:
        cursor = fleuve.execute(query)
        return [column.name for column in cursor.description], cursor.fetchall()
    listed = ", ".join(f"c{i}" for i in range(len(names)))
    listed = f"({listed})" if len(set(names)) < len(names) else ""
    fleuve.execute(f"CREATE MATERIALIZED VIEW compared {listed} AS {query}")
    try:
        cursor = fleuve.execute("SELECT * FROM compared")
        return names if listed else [column.name for column in cursor.description], cursor.fetchall()
    finally:
        fleuve.execute("DROP MATERIALIZED VIEW compared")


def misnamed(wanted, given):
    """The first column that has another name than in PostgreSQL, which gives some none and several the same."""
    for one, other in zip(wanted, given, strict=True):
        as_it_is = one != "?column?" and wanted.count(one) == 1
        if one != other if as_it_is else re.match("fleuve |unnamed |main\\.public", other):
            return f"{one} is called {other}"
    return None


def compare(fleuve, postgresql, kind, seed, queries):
    """Says what it found; gives how many queries were the same, and how many were not."""
    same, different, refused, examples = 0, 0, collections.Counter(), {}
    for number in range(queries):
        query = getattr(Queries(f"{seed}-{kind}-{number}"), kind)()
        as_view = number % AS_A_VIEW == AS_A_VIEW - 1
        try:
            cursor = postgresql.execute(query)
        except psycopg.Error:
            # A random query may be none, as one with two types side by side.
            continue
        wanted, names = multiset(cursor.fetchall()), [column.name for column in cursor.description]
        try:
            called, rows = answer(fleuve, query, names, as_view)
            given = multiset(rows)
        except psycopg.Error as error:
            message = re.sub(r"\d+", "#", str(error).splitlines()[0])
            refused[message] += 1
            examples[message] = min(examples.get(message, query), query, key=len)
            continue
        otherwise = misnamed(names, called)
        if given == wanted and not otherwise:
            same += 1
            continue
        different += 1
        if different <= SHOWN:
            print(f"DIFFERENT {'as a view ' if as_view else ''}(seed {seed}, number {number})\n    {query}")
            if otherwise:
                print(f"    {otherwise}")
            print(f"    missing {dict(wanted - given)}\n    too many {dict(given - wanted)}")
    print(f"{kind}: {same} the same, {different} different, {sum(refused.values())} refused")
    for message, count in refused.most_common():
        print(f"    {count} times: {message}\n        {examples[message]}")
    return same, different


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--queries", type=int, default=500, help="of each kind (default 500)")
    arguments.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    arguments.add_argument("--kind", choices=KINDS, help="only these")
    given = arguments.parse_args()
    print(f"seed {given.seed}", flush=True)
    server, other = harness.Server(), PostgreSQL()
    same = different = 0
    try:
        postgresql = other.start()
        server.start()
        # A view that is dropped and made again has other columns: nothing is prepared.
        fleuve = psycopg.connect(server.environment()["FLEUVE_POSTGRES_URL"], autocommit=True, prepare_threshold=None)
        fill((fleuve, postgresql), given.seed)
        for kind in [given.kind] if given.kind else KINDS:
            counts = compare(fleuve, postgresql, kind, given.seed, given.queries)
            same, different = same + counts[0], different + counts[1]
    finally:
        server.stop()
        server.remove()
        other.stop()
    print(f"{same} passed, {different} failed")
    return 1 if different or not same else 0


if __name__ == "__main__":
    sys.exit(main())
