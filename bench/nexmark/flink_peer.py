"""One query on Flink's MiniCluster, as a streaming job from the file into a blackhole sink.

Standard input: {"tables": SQL, "query": SQL, "parallelism": N}. Prints JSON: `seconds` and `cpu_seconds` go from handing in the job to its end
(planning, the start of the cluster and of the job included, the start of Python and of the JVM not); `job_seconds` is the running
time of the job alone; `peak_mb` is the JVM's.
"""

import json
import re
import sys
import time

from pyflink.java_gateway import get_gateway
from pyflink.table import EnvironmentSettings, TableEnvironment

TICKS_PER_S = 100


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def peak_mb(pid):
    with open(f"/proc/{pid}/status") as status:
        return int(re.search(r"^VmHWM:\s+(\d+) kB", status.read(), re.MULTILINE)[1]) * 1024 / 1e6


def run(request):
    tables = TableEnvironment.create(EnvironmentSettings.in_streaming_mode())
    options = tables.get_config()
    options.set("parallelism.default", str(request["parallelism"]))
    options.set("table.local-time-zone", "UTC")
    for statement in request["tables"].split(";"):
        tables.execute_sql(statement)
    query = tables.sql_query(request["query"])
    schema = query.get_schema()
    columns = ", ".join(f"`{name}` {plain(kind)}" for name, kind in zip(schema.get_field_names(), schema.get_field_data_types()))
    tables.execute_sql(f"CREATE TABLE answer ({columns}) WITH ('connector' = 'blackhole')")
    jvm = get_gateway().jvm.java.lang.ProcessHandle.current().pid()
    begun, cpu = time.monotonic(), cpu_seconds(jvm)
    job = tables.execute_sql(f"INSERT INTO answer {request['query']}").get_job_client()
    done = job.get_job_execution_result().result()
    return {
        "seconds": time.monotonic() - begun,
        "cpu_seconds": cpu_seconds(jvm) - cpu,
        "job_seconds": done.get_net_runtime() / 1000,
        "peak_mb": peak_mb(jvm),
    }


def plain(kind):
    """A column's type without what a sink has no use for."""
    text = str(kind._j_data_type.getLogicalType().asSerializableString()) if hasattr(kind, "_j_data_type") else sql_type(kind)
    return text.replace(" *ROWTIME*", "").replace(" NOT NULL", "")


def sql_type(kind):
    from pyflink.table.types import _to_java_data_type

    return _to_java_data_type(kind).getLogicalType().asSerializableString()


print(json.dumps(run(json.load(sys.stdin))))
