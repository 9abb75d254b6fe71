"""Feldera's engine, the crate dbsp, with circuits written by hand: the program in bench/nexmark/feldera.

`FELDERA_BIN` uses that program instead of building it, which takes many minutes the first time.
"""

import json
import os
import pathlib
import subprocess

from common import OUT, PeerError

HERE = pathlib.Path(__file__).resolve().parent


def build():
    """The program, built if it has to be."""
    if ready := os.environ.get("FELDERA_BIN"):
        return ready
    target = OUT / "feldera"
    print(f"building bench/nexmark/feldera into {target}", flush=True)
    # In its own folder, so that nothing of the workspace's settings is taken.
    command = ["cargo", "build", "--release", "--locked", "--target-dir", str(target)]
    subprocess.run(command, cwd=HERE / "feldera", check=True)
    return str(target / "release" / "nexmark-dbsp")


def run(program, query, events, workers, answer):
    """Runs a query; writes the answer as CSV. Gives `seconds`, `cpu_seconds`, `peak_mb` and `rows`."""
    command = [program, query, str(events), "--workers", str(workers), "--answer", str(answer)]
    if batch := os.environ.get("FELDERA_BATCH"):
        command += ["--batch", batch]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise PeerError(f"{query} of dbsp ended with {done.returncode}:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])
