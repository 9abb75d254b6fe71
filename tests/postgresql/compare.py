"""Random queries, answered by Fleuve and by PostgreSQL.

    python tests/postgresql/compare.py --queries 500 [--seed N] [--kind subqueries] [--before]

The engine's own oracle compares views with the batch engine, so it cannot see what is wrong in both. Here each query is asked of a real
PostgreSQL over the same rows (with many NULLs); every fifth is made a view, which is read. A query that is refused is counted and, by its
message, shown; a difference fails, in the rows or in what the columns are called. With `--before` all are views, made before the rows come: these
come a few at a time, and the server is killed in between.
"""

import argparse
import collections
import decimal
import pathlib
import random
import re
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
import harness  # noqa: E402

import psycopg  # noqa: E402

from postgresql_server import PostgreSQL  # noqa: E402
from layered import LISTS, LayeredQueries  # noqa: E402
from queries import TABLES, Queries  # noqa: E402
from typed import TYPED, TypedQueries  # noqa: E402

# Rows of what the kind `typed` reads.
EVENTS = 24
# Rows of what the kind `lists` reads.
LISTED = 12
AS_A_VIEW = 5
# Views beside each other that are made before their rows.
AT_ONCE = 40
PATIENCE_S = 10
SHOWN = 10


# Whose method of that name makes one query.
KINDS = {kind: Queries for kind in ["subqueries", "correlated", "conditions", "aggregates", "windows", "sets", "names", "nested"]}
KINDS["typed"] = TypedQueries
KINDS |= {kind: LayeredQueries for kind in ["layers", "chained", "lists", "spans", "recursive"]}


def tables(seed):
    """The columns and the rows of each table, as SQL."""
    chance, made = random.Random(seed), {}
    for table, rows in TABLES.items():
        values = [tuple("NULL" if chance.random() < 0.2 else str(chance.randint(0, 3)) for _ in range(2)) for _ in range(rows)]
        made[table] = ("id BIGINT, k BIGINT, v BIGINT", [f"({i}, {k}, {v})" for i, (k, v) in enumerate(values)])
    columns = ", ".join(f"{name} {type_name}" for name, (type_name, _) in TYPED.items())
    rows = []
    for i in range(EVENTS):
        typed = [(type_name, "NULL" if chance.random() < 0.15 else chance.choice(values)) for type_name, values in TYPED.values()]
        cells = [value if value == "NULL" else f"'{value}'::{type_name}" for type_name, value in typed]
        rows.append(f"({i}, {'NULL' if chance.random() < 0.2 else chance.randint(-2, 3)}, {', '.join(cells)})")
    made["e"] = (f"id BIGINT, k BIGINT, {columns}", rows)
    columns = ", ".join(f"{name} {type_name}" for name, (type_name, _, _) in LISTS.items())
    rows = []
    for i in range(LISTED):
        cells = ["NULL" if chance.random() < 0.15 else f"'{chance.choice(values)}'::{type_name}" for type_name, _, values in LISTS.values()]
        rows.append(f"({i}, {'NULL' if chance.random() < 0.2 else chance.randint(0, 3)}, {', '.join(cells)})")
    made["l"] = (f"id BIGINT, k BIGINT, {columns}", rows)
    return made


def fill(connections, seed):
    for table, (columns, rows) in tables(seed).items():
        for connection, kind in zip(connections, ("STREAM", "TABLE"), strict=True):
            connection.execute(f"CREATE {kind} {table} ({columns})")
            connection.execute(f"INSERT INTO {table} VALUES {', '.join(rows)}")


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
    same, different, refused = 0, 0, Refusals()
    for number in range(queries):
        query = getattr(KINDS[kind](f"{seed}-{kind}-{number}"), kind)()
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
            refused.add(error, query)
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
    print(f"{kind}: {same} the same, {different} different, {sum(refused.counts.values())} refused")
    refused.show()
    return same, different


class Refusals:
    """What was refused, by its message, with the shortest query of each."""

    def __init__(self):
        self.counts, self.examples = collections.Counter(), {}

    def add(self, error, query):
        message = re.sub(r"\d+", "#", str(error).splitlines()[0])
        self.counts[message] += 1
        self.examples[message] = min(self.examples.get(message, query), query, key=len)

    def show(self):
        for message, count in self.counts.most_common():
            print(f"    {count} times: {message}\n        {self.examples[message]}")


def connect(server):
    # A view that is dropped and made again has other columns: nothing is prepared.
    return psycopg.connect(server.environment()["FLEUVE_POSTGRES_URL"], autocommit=True, prepare_threshold=None)


def compare_before(server, postgresql, kind, seed, queries):
    """As `compare`, of views that are made before their rows come, a few dozen at a time."""
    same, different, refused = 0, 0, Refusals()
    for first in range(0, queries, AT_ONCE):
        chance, fleuve, views = random.Random(f"{seed}-{kind}-{first}"), connect(server), {}
        for table, (columns, _) in tables(seed).items():
            fleuve.execute(f"CREATE STREAM {table} ({columns})")
        for number in range(first, min(first + AT_ONCE, queries)):
            query = getattr(KINDS[kind](f"{seed}-{kind}-{number}"), kind)()
            try:
                cursor = postgresql.execute(query)
                wanted, names = multiset(cursor.fetchall()), ", ".join(f"c{i}" for i in range(len(cursor.description)))
            except psycopg.Error:
                continue
            try:
                fleuve.execute(f"CREATE MATERIALIZED VIEW v{number} ({names}) AS {query}")
                views[number] = (query, wanted)
            except psycopg.Error as error:
                refused.add(error, query)
        left = {table: rows for table, (_, rows) in tables(seed).items()}
        while any(left.values()):
            table = chance.choice([t for t, rows in left.items() if rows])
            few = chance.randint(1, 6)
            fleuve.execute(f"INSERT INTO {table} VALUES {', '.join(left[table][:few])}")
            left[table] = left[table][few:]
            if chance.random() < 0.1:
                server.kill()
                server.start()
                fleuve = connect(server)
        for number, (query, wanted) in views.items():
            try:
                # What the last INSERT brought, or a start reads again, comes a little later.
                until = time.monotonic() + PATIENCE_S
                while (given := multiset(fleuve.execute(f"SELECT * FROM v{number}").fetchall())) != wanted and time.monotonic() < until:
                    time.sleep(0.1)
                (stopped,) = fleuve.execute(f"SELECT reason FROM fleuve.views WHERE name = 'v{number}'").fetchone()
            except psycopg.Error as error:
                refused.add(error, query)
                continue
            if stopped:
                # A row of the query may fail that no row of all of them does.
                refused.add(stopped, query)
            elif given == wanted:
                same += 1
            else:
                different += 1
                print(f"DIFFERENT as a view of before (seed {seed}, number {number})\n    {query}")
                print(f"    missing {dict(wanted - given)}\n    too many {dict(given - wanted)}")
            fleuve.execute(f"DROP MATERIALIZED VIEW v{number}")
        for table in tables(seed):
            fleuve.execute(f"DROP STREAM {table}")
    print(f"{kind}: {same} the same, {different} different, {sum(refused.counts.values())} refused or stopped")
    refused.show()
    return same, different


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--queries", type=int, default=500, help="of each kind (default 500)")
    arguments.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    arguments.add_argument("--kind", choices=KINDS, help="only these")
    arguments.add_argument("--before", action="store_true", help="as views that are made before their rows come")
    given = arguments.parse_args()
    print(f"seed {given.seed}", flush=True)
    server, other = harness.Server(), PostgreSQL()
    same = different = 0
    try:
        postgresql = other.start().connect()
        server.start()
        fleuve = connect(server)
        fill((fleuve, postgresql), given.seed)
        if given.before:
            for table in tables(given.seed):
                fleuve.execute(f"DROP STREAM {table}")
        for kind in [given.kind] if given.kind else KINDS:
            if given.before:
                counts = compare_before(server, postgresql, kind, given.seed, given.queries)
            else:
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
