"""The decoders of JSON, CSV and Avro beside others, over the same records into the same columns.

    LINES=200000 ROUNDS=9 ./dev bench decoders

Bids of Nexmark, one in a record; all seven columns, and two of them. `arrow` and `arrow-avro` are Arrow's own decoders; simd-json and
sonic-rs parse with SIMD instructions, into a struct by serde whose fields are appended to Arrow's builders, which is what a decoder on top of
them would do at the least; so it is with the values that apache-avro makes of records. Avro has Confluent's frame; `nullable` fields are unions
with null, and an empty text is null. CPU seconds of one thread, the best of the rounds. `NATIVE=1` builds all for the processor of this
machine (sonic-rs uses SIMD instructions only so); else, as Fleuve is built, for any of the architecture.
"""

import json
import os
import pathlib
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from common import OUT, Results, machine, setting  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent


def main():
    lines, rounds, native = setting("LINES", 200_000), setting("ROUNDS", 9), os.environ.get("NATIVE") == "1"
    target = OUT / ("decoders-native" if native else "decoders")
    print(f"building bench/decoders/peers into {target}", flush=True)
    flags = {"RUSTFLAGS": "-C target-cpu=native"} if native else {}
    # In its own folder, so that nothing of the workspace's settings is taken.
    command = ["cargo", "build", "--release", "--locked", "--quiet", "--target-dir", str(target)]
    subprocess.run(command, cwd=HERE / "peers", check=True, env=os.environ | flags)
    program = str(target / "release" / "decoders")
    done = subprocess.run([program, str(lines), str(rounds)], capture_output=True, text=True, check=True)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    ours = {row["case"]: row["cpu_seconds"] for row in rows if row["subject"] == "fleuve"}
    results = Results("decoders")
    print(f"{lines} records. {machine()}. The best of {rounds} rounds.\n")
    print(f"{'case':<31}{'subject':<12}{'MB/s':>8}{'of ours':>9}   (its time; to reach: 1)")
    for row in rows:
        seconds = row["cpu_seconds"]
        results.add(row["case"], row["subject"], seconds, cpu=seconds, rows=lines, correct=True)
        print(f"{row['case']:<31}{row['subject']:<12}{row['bytes'] / seconds / 1e6:>8.0f}{seconds / ours[row['case']]:>9.2f}")
    results.write()


if __name__ == "__main__":
    main()
