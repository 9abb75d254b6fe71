"""What the benchmarks share: settings, the server, measuring processes, the table and the JSON file.

Seconds are wall time, CPU seconds are user and system time of all threads, memory is the peak of the resident set in MB (10^6 bytes).
"""

import json
import math
import os
import pathlib
import re
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))
import harness  # noqa: E402

OUT = ROOT / "target" / "bench"
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
FIELDS = ("bench", "case", "subject", "seconds", "cpu_seconds", "peak_mb", "rows", "correct")


# ---- settings ----------------------------------------------------------------------------------------------------


def setting(name, default):
    """A number from the environment."""
    text = os.environ.get(name, "").replace("_", "")
    if not text:
        return default
    try:
        return type(default)(text)
    except ValueError:
        raise SystemExit(f"{name}={text} is not a number") from None


def choices(name, known, default=None):
    """Names from a comma-separated variable, in the order of `known`."""
    asked = [w for w in os.environ.get(name, "").split(",") if w] or list(default or known)
    unknown = [w for w in asked if w not in known]
    if unknown:
        raise SystemExit(f"{name} has no {', '.join(unknown)}; it takes {', '.join(known)}")
    return [w for w in known if w in asked]


def peers_python():
    """The Python that has the peers' packages."""
    path = os.environ.get("BENCH_PYTHON", str(ROOT / ".dev" / "bench-venv" / "bin" / "python"))
    if not os.path.exists(path):
        raise SystemExit(f"{path} is not there: ./dev bench installs it, or name a Python with bench/requirements.txt as BENCH_PYTHON")
    return path


# ---- measuring ---------------------------------------------------------------------------------------------------


def cpu_seconds(pid):
    """CPU seconds of a process so far, its ended and waited-for children included."""
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return sum(int(f) for f in fields[11:15]) / TICKS_PER_S


def _memory(pid, name):
    with open(f"/proc/{pid}/status") as status:
        found = re.search(rf"^{name}:\s+(\d+) kB", status.read(), re.MULTILINE)
    return int(found[1]) * 1024 / 1e6


def peak_mb(pid):
    """The largest resident set of a process since it began, or since `reset_peak`."""
    return _memory(pid, "VmHWM")


def resident_mb(pid):
    return _memory(pid, "VmRSS")


def reset_peak(pid):
    with open(f"/proc/{pid}/clear_refs", "w") as file:
        file.write("5")


class Span:
    """Seconds and CPU seconds of a running process from here on."""

    def __init__(self, pid):
        self.pid = pid
        self.cpu = cpu_seconds(pid)
        self.begun = time.monotonic()

    def end(self):
        """`(seconds, cpu_seconds, peak_mb)`."""
        return time.monotonic() - self.begun, cpu_seconds(self.pid) - self.cpu, peak_mb(self.pid)


def peer(script, request):
    """Runs a peer's script with a JSON request on its standard input; its answer is the last line that it prints."""
    done = subprocess.run(
        [peers_python(), str(script)], input=json.dumps(request), capture_output=True, text=True, env=harness.clean_environment()
    )
    if done.returncode != 0:
        raise PeerError(f"{script.name} ended with {done.returncode}:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


class PeerError(Exception):
    """A peer could not do it."""


# ---- the server --------------------------------------------------------------------------------------------------


class Server(harness.Server):
    """A server on free ports with a folder of its own. `FLEUVE_BENCH_SET` gives it settings: `shards=1,epoch_max_bytes=64MiB`."""

    def __init__(self):
        sets = [s for s in os.environ.get("FLEUVE_BENCH_SET", "").split(",") if s]
        super().__init__(flags=[flag for s in sets for flag in ("--set", s)])

    @property
    def pid(self):
        return self.process.pid

    def restart(self):
        """The same data in a new process, so that nothing of earlier work is in memory."""
        self.stop()
        return self.start()

    def status(self):
        import urllib.request

        with urllib.request.urlopen(f"{self.http}/v1/status", timeout=60) as answer:
            return json.load(answer)

    def view(self, name):
        """What the server reports of a view; a failed one is an error here."""
        found = [v for v in self.status()["views"] if v["name"] == name]
        if found and found[0].get("error"):
            raise PeerError(f"view {name}: {found[0]['error']}")
        return found[0] if found else None

    def fetch_arrow(self, sql, path):
        """Writes the answer of a query as an Arrow stream into a file."""
        import urllib.request

        request = urllib.request.Request(
            f"{self.http}/v1/sql", data=sql.encode(), headers={"Content-Type": "text/plain", "Accept": "application/vnd.apache.arrow.stream"}
        )
        with urllib.request.urlopen(request, timeout=600) as answer, open(path, "wb") as file:
            while part := answer.read(1 << 20):
                file.write(part)


# ---- results -----------------------------------------------------------------------------------------------------


class Results:
    """The rows of a run: printed as they come, written as JSON at the end."""

    def __init__(self, bench):
        self.bench = bench
        self.rows = []
        print(f"{'case':<14}{'subject':<14}{'seconds':>9}{'cpu s':>9}{'peak MB':>9}{'rows':>11}  answer")

    def add(self, case, subject, seconds=None, cpu=None, peak=None, rows=None, correct=None, note=""):
        values = (self.bench, case, subject, seconds, cpu, peak, rows, correct)
        self.rows.append({k: round(v, 4) if isinstance(v, float) else v for k, v in zip(FIELDS, values)})
        answer = {True: "correct", False: "WRONG", None: ""}[correct]
        cells = [f"{'' if v is None else format(v, f)}" for v, f in ((seconds, ".3f"), (cpu, ".2f"), (peak, ".0f"), (rows, "d"))]
        print(f"{case:<14}{subject:<14}{cells[0]:>9}{cells[1]:>9}{cells[2]:>9}{cells[3]:>11}  {answer:<8} {note}".rstrip(), flush=True)

    def of(self, subject, field="seconds"):
        """A field by case."""
        return {r["case"]: r[field] for r in self.rows if r["subject"] == subject and r[field] is not None}

    def write(self):
        OUT.mkdir(parents=True, exist_ok=True)
        path = OUT / f"{self.bench}.json"
        path.write_text(json.dumps(self.rows, indent=1) + "\n")
        print(f"\nwritten to {path.relative_to(ROOT)}")


def geometric_mean(values):
    values = list(values)
    return math.exp(sum(math.log(v) for v in values) / len(values)) if values else float("nan")


def machine():
    """A line about where it ran."""
    model = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "unknown processor")
    memory = next(int(line.split()[1]) for line in open("/proc/meminfo") if line.startswith("MemTotal"))
    version = subprocess.run([harness.binary(), "--version"], capture_output=True, text=True).stdout.strip()
    return f"{version}; {os.cpu_count()} cores of {model}, {memory / 1e6:.0f} GB"
