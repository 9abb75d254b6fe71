"""SQL logic tests: every query of tests/slt/*.slt, three ways.

    python tests/slt/run.py [--write] [--only batch|before|after] [FILE...]

A file is a list of records in sqllogictest's manner, separated by empty lines:

    statement ok                      a statement that works
    CREATE STREAM t (a BIGINT) WITH (format = 'json')

    statement error no such column    one whose error message holds that text (a regular expression)
    SELECT b FROM t

    query ITR rowsort                 a query: a letter per column (I whole number, R other number, T anything else), and how rows are
    SELECT ...                        compared: nosort (in their order, the default) or rowsort
    ----
    1   x   2.5                       its rows, values separated by a tab; NULL is NULL, an empty text is (empty)

Lines that begin with # are comments; `# noview` before a query leaves the ways with views out, for queries that make no sense as a view.

The ways: "batch" runs each query as it stands. "before" makes a view of every query before the first row is there, and reads that view
where the query stands. "after" makes the view where the query stands, over rows that are there already. A view has no order, so its
rows are compared sorted. `--write` writes what the batch way gives into the files.
"""

import argparse
import pathlib
import re
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
import harness  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
WAYS = ("batch", "before", "after")
SHOWN_FAILURES = 40


class Record:
    """One record of a file."""

    def __init__(self, path, line, kind, sql):
        self.path, self.line, self.kind, self.sql = path, line, kind, sql
        self.error = None
        self.types = ""
        self.sort = "nosort"
        self.noview = False
        self.expected = []
        # Lines of the file that hold the expected rows: [first, last).
        self.span = (0, 0)

    @property
    def place(self):
        return f"{self.path.relative_to(harness.ROOT)}:{self.line}"


def parse(path):
    lines = path.read_text().split("\n")
    records, at, noview = [], 0, False
    while at < len(lines):
        line = lines[at]
        if line.startswith("#"):
            noview = noview or line.strip() == "# noview"
            at += 1
            continue
        if not line.strip():
            at += 1
            continue
        words = line.split()
        begin = at
        at += 1
        sql = []
        while at < len(lines) and lines[at].strip() and lines[at] != "----":
            sql.append(lines[at])
            at += 1
        record = Record(path, begin + 1, words[0], "\n".join(sql))
        if words[0] == "statement" and words[1] == "ok":
            pass
        elif words[0] == "statement" and words[1] == "error":
            record.error = " ".join(words[2:])
        elif words[0] == "query":
            record.types = words[1]
            record.sort = words[2] if len(words) > 2 else "nosort"
            record.noview = noview
            first = at
            if at < len(lines) and lines[at] == "----":
                at += 1
                first = at
                while at < len(lines) and lines[at] != "":
                    record.expected.append(lines[at])
                    at += 1
            else:
                first = None
            record.span = (first, at)
        else:
            raise SystemExit(f"{path}:{begin + 1}: neither statement nor query: {line}")
        noview = False
        records.append(record)
    return records


def show(value, kind):
    """A value of an answer as it stands in a file."""
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "true" if value else "false"
    if kind == "R":
        number = float(value)
        text = f"{number:.9g}"
        return "0" if text == "-0" else text
    if kind == "I":
        return str(int(value)) if float(value) == int(float(value)) else str(value)
    if isinstance(value, float):
        return f"{value:.9g}"
    text = str(value).replace("\t", "\\t").replace("\n", "\\n")
    return text if text else "(empty)"


def lines_of(rows, types):
    if rows and len(rows[0]) != len(types):
        return [f"the query gives {len(rows[0])} columns, the record says {len(types)}"]
    return ["\t".join(show(v, t) for v, t in zip(row, types)) for row in rows]


class Runner:
    def __init__(self, server):
        self.server = server
        self.passed = 0
        self.failures = []
        self.seconds = {way: 0.0 for way in WAYS}

    def result(self, ok, record, way, why):
        if ok:
            self.passed += 1
        else:
            self.failures.append(f"{record.place} ({way}): {why}")

    def run(self, path, records, way):
        begun = time.monotonic()
        try:
            if way == "before":
                self.before(records)
            else:
                for number, record in enumerate(records):
                    self.one(number, record, way)
        finally:
            self.clean()
            self.seconds[way] += time.monotonic() - begun

    def before(self, records):
        """Objects and views first, then everything else in its place."""
        creates = [r for r in records if r.kind == "statement" and r.error is None and is_create(r.sql)]
        for record in creates:
            self.statement(record, "before")
        for number, record in enumerate(records):
            if record.kind == "query" and not record.noview:
                self.make_view(number, record, "before")
        for number, record in enumerate(records):
            if record in creates:
                continue
            if record.kind == "query":
                if not record.noview:
                    self.read_view(number, record, "before")
            elif record.error is None:
                self.statement(record, "before")

    def one(self, number, record, way):
        if record.kind == "statement":
            self.statement(record, way)
        elif way == "batch":
            self.compare(record, way, record.sql, record.sort == "rowsort")
        elif not record.noview:
            self.make_view(number, record, way)
            self.read_view(number, record, way)

    def statement(self, record, way):
        try:
            self.server.sql(record.sql)
        except harness.SqlError as e:
            if record.error is None:
                self.result(False, record, way, f"the statement failed: {e.message}")
            else:
                found = re.search(record.error, e.message, re.IGNORECASE)
                self.result(bool(found), record, way, f"the error should hold '{record.error}', it says: {e.message}")
            return
        if record.error is not None:
            self.result(False, record, way, "the statement should have failed")

    def make_view(self, number, record, way):
        columns = ", ".join(f"c{i}" for i in range(len(record.types)))
        try:
            self.server.sql(f"CREATE MATERIALIZED VIEW __q_{number} ({columns}) AS {record.sql}")
        except harness.SqlError as e:
            self.result(False, record, way, f"no view can be made of it: {e.message}")
            record.broken = way

    def read_view(self, number, record, way):
        if getattr(record, "broken", None) == way:
            return
        columns = ", ".join(f"c{i}" for i in range(len(record.types)))
        self.compare(record, way, f"SELECT {columns} FROM __q_{number}", True)

    def compare(self, record, way, sql, sort):
        try:
            found = lines_of(self.server.rows(sql), record.types)
        except harness.SqlError as e:
            self.result(False, record, way, f"the query failed: {e.message}")
            return
        record.found = sorted(found) if sort and way == "batch" else found
        expected = record.expected
        if sort:
            found, expected = sorted(found), sorted(expected)
        difference = ""
        if found != expected:
            missing = [line for line in expected if line not in found][:5]
            extra = [line for line in found if line not in expected][:5]
            difference = f"{len(found)} rows, {len(expected)} wanted; missing {missing}, not wanted {extra}\n    {record.sql}"
        self.result(found == expected, record, way, difference)

    def clean(self):
        """Drops everything."""
        for _ in range(3):
            for kind, word in (("SINKS", "SINK"), ("SOURCES", "SOURCE"), ("VIEWS", "MATERIALIZED VIEW"), ("STREAMS", "STREAM")):
                for name in reversed(self.names(kind)):
                    try:
                        self.server.sql(f'DROP {word} "{name}" CASCADE')
                    except harness.SqlError as e:
                        # It may have gone with another; the last round says whether anything is left.
                        self.last = e
        left = self.names("VIEWS") + [n for n in self.names("STREAMS") if not n.endswith("__dead")]
        if left:
            raise SystemExit(f"cannot drop {left}: {self.last}")

    def names(self, kind):
        results = self.server.sql(f"SHOW {kind}")
        result = [r for r in results if "rows" in r][-1]
        columns = [c["name"] for c in result["columns"]]
        at = columns.index("name")
        return [row[at] for row in result["rows"]]


def is_create(sql):
    return re.match(r"\s*create\b", sql, re.IGNORECASE) is not None


def write(path, records):
    """Puts the rows that were found into the file."""
    lines = path.read_text().split("\n")
    for record in reversed([r for r in records if r.kind == "query" and hasattr(r, "found")]):
        first, last = record.span
        if first is None:
            lines[last:last] = ["----"] + record.found
        else:
            lines[first:last] = record.found
    path.write_text("\n".join(lines))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write what the batch way gives into the files")
    parser.add_argument("--only", choices=WAYS)
    parser.add_argument("files", nargs="*", type=pathlib.Path)
    options = parser.parse_args()
    paths = [p.resolve() for p in options.files] or sorted(HERE.glob("*.slt"))
    ways = ["batch"] if options.write else [options.only] if options.only else WAYS
    server = harness.Server()
    queries = 0
    try:
        server.start()
        runner = Runner(server)
        for path in paths:
            records = parse(path)
            queries += sum(r.kind == "query" for r in records)
            for way in ways:
                runner.run(path, records, way)
            if options.write:
                write(path, records)
    finally:
        server.remove()
    for failure in runner.failures[:SHOWN_FAILURES]:
        print(f"FAIL {failure}")
    if len(runner.failures) > SHOWN_FAILURES:
        print(f"... and {len(runner.failures) - SHOWN_FAILURES} more")
    took = ", ".join(f"{way} {runner.seconds[way]:.0f} s" for way in ways)
    print(f"{queries} queries of {len(paths)} files ({took})")
    print(f"{runner.passed} passed, {len(runner.failures)} failed")
    sys.exit(1 if runner.failures and not options.write else 0)


if __name__ == "__main__":
    main()
