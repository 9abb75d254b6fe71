"""Starts and stops the built server for the tests, on free ports and a folder of its own."""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
DOORS = ("kafka", "postgres", "http", "registry")
START_PATIENCE_S = 120
STOP_PATIENCE_S = 60


def binary():
    """The binary under test: FLEUVE_BIN, else the newest debug build."""
    named = os.environ.get("FLEUVE_BIN")
    if named:
        return named
    targets = [os.environ.get("CARGO_TARGET_DIR"), os.path.expanduser("~/.cache/fleuve/target"), str(ROOT / "target")]
    built = [pathlib.Path(t) / "debug" / "fleuve" for t in targets if t]
    built = [b for b in built if b.exists()]
    if not built:
        raise SystemExit("there is no fleuve binary: ./dev build makes one, or name one with FLEUVE_BIN")
    return str(max(built, key=lambda b: b.stat().st_mtime))


def clean_environment():
    """The environment without settings of the server, so that a test sees only what it gives."""
    return {k: v for k, v in os.environ.items() if not k.startswith("FLEUVE_")}


class Server:
    """One server. `data` is kept over restarts and removed by `remove`."""

    def __init__(self, data=None, flags=()):
        self.folder = None if data else tempfile.mkdtemp(prefix="fleuve-test-")
        self.data = str(data or os.path.join(self.folder, "data"))
        self.flags = list(flags)
        # Where a door listens; any free port when it is not said.
        self.addresses = {}
        self.process = None
        self.doors = {}
        self.log = None

    def start(self):
        """Starts it and returns when all doors serve."""
        self.spawn()
        self._wait_until_ready()
        return self

    def spawn(self):
        """Starts it without waiting."""
        pathlib.Path(self.data).mkdir(parents=True, exist_ok=True)
        # Whatever an earlier, killed server wrote is about other ports.
        (pathlib.Path(self.data) / "doors.json").unlink(missing_ok=True)
        self.log = open(os.path.join(self.data, "server.log"), "ab")
        command = [binary(), "serve", "--data", self.data]
        for door in DOORS:
            command += [f"--{door}", self.addresses.get(door, "127.0.0.1:0")]
        self.process = subprocess.Popen(
            command + self.flags, stdout=self.log, stderr=self.log, stdin=subprocess.DEVNULL, env=clean_environment(), cwd=self.data
        )

    def _wait_until_ready(self):
        path = pathlib.Path(self.data) / "doors.json"
        deadline = time.monotonic() + START_PATIENCE_S
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise AssertionError(f"the server ended with {self.process.returncode} at its start:\n{self.tail()}")
            try:
                self.doors = json.loads(path.read_text())
                with urllib.request.urlopen(f"http://{self.doors['http']}/healthz", timeout=5) as answer:
                    if answer.status == 200:
                        return
            except (FileNotFoundError, json.JSONDecodeError, urllib.error.URLError, ConnectionError, TimeoutError):
                pass
            time.sleep(0.05)
        raise AssertionError(f"the server was not ready after {START_PATIENCE_S} s:\n{self.tail()}")

    @property
    def kafka(self):
        return self.doors["kafka"]

    @property
    def postgres(self):
        return self.doors["postgres"]

    @property
    def http(self):
        return f"http://{self.doors['http']}"

    @property
    def registry(self):
        return f"http://{self.doors['registry']}"

    def environment(self):
        """What the tests of the clients read."""
        host, port = self.postgres.rsplit(":", 1)
        return {
            "FLEUVE_KAFKA": self.kafka,
            "FLEUVE_POSTGRES": self.postgres,
            "FLEUVE_POSTGRES_URL": f"postgresql://fleuve@{host}:{port}/main",
            "FLEUVE_HTTP": self.http,
            "FLEUVE_REGISTRY": self.registry,
        }

    def sql(self, text, patience_s=60):
        """Runs statements; gives the results of POST /v1/sql."""
        request = urllib.request.Request(
            f"{self.http}/v1/sql",
            data=json.dumps({"sql": text}).encode(),
            headers={"Content-Type": "application/json", "Accept": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=patience_s) as answer:
                return json.load(answer)["results"]
        except urllib.error.HTTPError as e:
            raise SqlError(e.code, e.read().decode(errors="replace")) from None

    def rows(self, text, patience_s=60):
        """The rows of the last statement that gave some."""
        return [r for r in self.sql(text, patience_s) if "rows" in r][-1]["rows"]

    def metrics(self):
        """What Prometheus scrapes."""
        with urllib.request.urlopen(f"{self.http}/metrics", timeout=60) as answer:
            return answer.read().decode()

    def run(self, *arguments, stdin=None, check=True, patience_s=120):
        """Runs a command of the binary against this server."""
        env = clean_environment() | {"FLEUVE_SERVER": self.http, "FLEUVE_KAFKA": self.kafka}
        done = subprocess.run(
            [binary(), *arguments], input=stdin, capture_output=True, text=True, env=env, cwd=self.data, timeout=patience_s
        )
        if check and done.returncode != 0:
            raise AssertionError(f"fleuve {' '.join(arguments)} ended with {done.returncode}:\n{done.stderr}")
        return done

    def kill(self):
        """SIGKILL: no goodbye."""
        self.process.kill()
        self.process.wait()
        self._close()

    def stop(self):
        """SIGTERM; gives the exit code."""
        if self.process is None:
            return None
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(STOP_PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"the server did not stop within {STOP_PATIENCE_S} s of SIGTERM:\n{self.tail()}") from None
        self._close()
        return code

    def _close(self):
        self.process = None
        if self.log:
            self.log.close()
            self.log = None

    def tail(self, lines=40):
        """The last lines of what the server said."""
        try:
            with open(os.path.join(self.data, "server.log"), errors="replace") as log:
                return "".join(log.readlines()[-lines:])
        except FileNotFoundError:
            return ""

    def remove(self):
        """Ends it and takes its folder away, unless FLEUVE_KEEP says to look at it."""
        if self.process is not None:
            self.kill()
        if self.folder and not os.environ.get("FLEUVE_KEEP"):
            shutil.rmtree(self.folder, ignore_errors=True)


class SqlError(Exception):
    """The server refused a statement."""

    def __init__(self, status, body):
        try:
            error = json.loads(body)["error"]
            self.message = error.get("message", body)
        except (ValueError, KeyError, TypeError):
            self.message = body
        super().__init__(f"{status}: {self.message}")
        self.status = status
