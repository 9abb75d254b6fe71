"""DuckDB over the whole file: a batch answer, and the comparison of another answer with it.

Standard input: {"tables": SQL, "threads": N, "query": SQL, "answer": parquet to write} or
{"compare": arrow stream or CSV, "answer": parquet, "columns": columns to compare or null}. Prints JSON.
"""

import json
import resource
import sys
import time

import duckdb


def run(request):
    db = duckdb.connect(config={"threads": request["threads"]})
    db.execute("SET TimeZone = 'UTC'")
    db.execute(request["tables"])
    begun, cpu = time.monotonic(), sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
    db.execute(f"CREATE TABLE answer AS {request['query']}")
    seconds, cpu = time.monotonic() - begun, sum(resource.getrusage(resource.RUSAGE_SELF)[:2]) - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    rows = db.execute("SELECT count(*) FROM answer").fetchone()[0]
    if request.get("answer"):
        db.execute(f"COPY answer TO '{request['answer']}' (FORMAT parquet)")
    return {"seconds": seconds, "cpu_seconds": cpu, "peak_mb": peak, "rows": rows}


def shown(name, kind):
    """A column in the form in which it is compared: floating-point numbers to nine digits."""
    if kind in ("DOUBLE", "FLOAT"):
        return f"printf('%.9g', \"{name}\"::DOUBLE)"
    return f'"{name}"::{kind}'


def from_csv(db, path, columns):
    """The view `ours` of a CSV without a header: times in milliseconds, texts in quotes."""
    kinds = ", ".join(f"'{name}': '{'BIGINT' if kind == 'TIMESTAMP' else kind}'" for name, kind, *_ in columns)
    cells = ", ".join(f'make_timestamp_ms("{name}") AS "{name}"' if kind == "TIMESTAMP" else f'"{name}"' for name, kind, *_ in columns)
    options = "auto_detect = false, header = false, delim = ',', quote = '\"', escape = '\"', allow_quoted_nulls = false"
    db.execute(f"CREATE TABLE ours AS SELECT {cells} FROM read_csv('{path}', {options}, columns = {{{kinds}}})")


def compare(request):
    db = duckdb.connect()
    db.execute("SET TimeZone = 'UTC'")
    db.execute(f"CREATE VIEW theirs AS SELECT * FROM '{request['answer']}'")
    columns = db.execute("DESCRIBE theirs").fetchall()
    if request["compare"].endswith(".csv"):
        from_csv(db, request["compare"], columns)
    else:
        import pyarrow

        ours = pyarrow.ipc.open_stream(pyarrow.memory_map(request["compare"])).read_all()
        db.register("ours_arrow", ours)
        if len(columns) != ours.num_columns:
            return {"rows": ours.num_rows, "correct": False, "why": f"{ours.num_columns} columns instead of {len(columns)}"}
        renamed = ", ".join(f'"{c[0]}"' for c in columns)
        db.execute(f"CREATE VIEW ours({renamed}) AS SELECT * FROM ours_arrow")
    picked = [c for c in columns if request["columns"] is None or c[0] in request["columns"]]
    row = ", ".join(shown(c[0], c[1]) for c in picked)
    # The sum of the rows' hashes does not depend on their order.
    digest = "SELECT count(*), sum(hash(row({}))::HUGEINT) FROM {}"
    mine, theirs = (db.execute(digest.format(row, t)).fetchone() for t in ("ours", "theirs"))
    answer = {"rows": mine[0], "correct": mine == theirs, "why": ""}
    if mine != theirs:
        extra = db.execute(f"(SELECT {row} FROM ours EXCEPT ALL SELECT {row} FROM theirs) LIMIT 3").fetchall()
        missing = db.execute(f"(SELECT {row} FROM theirs EXCEPT ALL SELECT {row} FROM ours) LIMIT 3").fetchall()
        answer["why"] = f"{mine[0]} rows instead of {theirs[0]}; too many: {extra}; missing: {missing}"
    return answer


request = json.load(sys.stdin)
print(json.dumps(compare(request) if "compare" in request else run(request)))
