"""Kills the server at random points while it is under load, and shows that nothing is lost and nothing is there twice.

    python tests/crash/crash.py --kills 10 [--seed N]

A producer (librdkafka, idempotent) writes numbered events all the time; a consumer group reads them and commits; a file grows that a source
follows; a sink writes a view's changes into a stream. The server is ended with SIGKILL, sometimes while it is still recovering from the
kill before, and started again on the same data. After each start: every acknowledged event is there once; every view equals
the batch answer of its query at the same epoch; no line of the file is there twice; the sink's changes add up to rows that are
there once or not at all; the group's offsets are the last acknowledged ones. At the end, all of it is complete.

Each check reads all that was acknowledged since the data folder was made, so there is a new one after each 25 kills.
"""

import argparse
import json
import pathlib
import random
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
import harness  # noqa: E402

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition  # noqa: E402

PARTITIONS = 3
KEYS = 50
EVENTS_PER_SECOND = 3000
GROUP = "readers"
# The columns of the view that the sink reads.
ROW = "key, n, total, least, most, kinds"
PATIENCE_S = 180
KILLS_OF_A_FOLDER = 25

STATEMENTS = f"""
CREATE STREAM events (id BIGINT, key BIGINT, amount BIGINT, ts TIMESTAMP) WITH (format = 'json', partitions = {PARTITIONS});
CREATE MATERIALIZED VIEW totals AS
  SELECT key, count(*) AS n, sum(amount) AS total, min(amount) AS least, max(amount) AS most, count(DISTINCT amount) AS kinds
  FROM events GROUP BY key;
CREATE MATERIALIZED VIEW per_minute AS
  SELECT window_start, count(*) AS n, sum(amount) AS total FROM TUMBLE(events, ts, INTERVAL '1 minute') GROUP BY window_start;
CREATE MATERIALIZED VIEW pairs AS
  SELECT a.key, a.id AS first, b.id AS second FROM events a JOIN events b ON a.id + 1 = b.id WHERE a.amount = b.amount;
CREATE MATERIALIZED VIEW big AS
  SELECT count(*) AS n, sum(total) AS total FROM totals WHERE total > 1000;
CREATE SINK totals_out FROM totals INTO totals_changes WITH (format = 'json', mode = 'changes');
CREATE STREAM lines (id BIGINT, text TEXT) WITH (format = 'json');
CREATE SOURCE lines_in INTO lines WITH (connector = 'file', path = '{{path}}', follow = true);
CREATE MATERIALIZED VIEW line_count AS SELECT count(*) AS n, sum(id) AS total FROM lines;
"""


class Load(threading.Thread):
    """The producer. `acked` are the numbers of the events that the server has acknowledged."""

    def __init__(self, kafka):
        super().__init__(daemon=True)
        self.producer = Producer(
            {
                "bootstrap.servers": kafka,
                "enable.idempotence": True,
                "linger.ms": 5,
                "message.timeout.ms": 0,
                "reconnect.backoff.ms": 50,
                "reconnect.backoff.max.ms": 500,
                "error_cb": self.on_error,
                "log_level": 0,
            }
        )
        self.lock = threading.Lock()
        self.acked = set()
        # All below this have been acknowledged.
        self.prefix = 0
        self.next = 0
        self.failure = None
        self.stopping = threading.Event()

    def on_error(self, error):
        if error.fatal():
            self.failure = self.failure or f"the producer failed for good: {error}"

    def on_delivery(self, error, message):
        if error is not None:
            self.failure = self.failure or f"an event was refused: {error}"
            return
        number = int(message.key())
        with self.lock:
            if number in self.acked or number < self.prefix:
                self.failure = self.failure or f"event {number} was acknowledged twice"
            self.acked.add(number)
            while self.prefix in self.acked:
                self.acked.discard(self.prefix)
                self.prefix += 1

    def run(self):
        chooser = random.Random(7)
        begun = time.monotonic()
        while not self.stopping.is_set():
            due = int((time.monotonic() - begun) * EVENTS_PER_SECOND)
            while self.next < due:
                number = self.next
                event = {
                    "id": number,
                    "key": chooser.randrange(KEYS),
                    "amount": chooser.randrange(100),
                    "ts": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(1_700_000_000 + number // 100)),
                }
                try:
                    self.producer.produce("events", json.dumps(event), key=str(number), on_delivery=self.on_delivery)
                except BufferError:
                    break
                self.next += 1
            self.producer.poll(0.01)

    def finish(self):
        """Stops and waits until all that was sent is acknowledged."""
        self.stopping.set()
        self.join()
        left = self.producer.flush(PATIENCE_S)
        if left:
            self.failure = self.failure or f"{left} events were never acknowledged"


class Lines(threading.Thread):
    """A file that grows, sometimes by half a line."""

    def __init__(self, path):
        super().__init__(daemon=True)
        self.path = path
        self.path.touch()
        self.written = 0
        self.stopping = threading.Event()

    def run(self):
        with open(self.path, "a") as file:
            while not self.stopping.is_set():
                for _ in range(20):
                    line = json.dumps({"id": self.written, "text": "x" * (self.written % 40)}) + "\n"
                    half = len(line) // 2 if self.written % 7 == 0 else 0
                    file.write(line[:half])
                    file.flush()
                    file.write(line[half:])
                    self.written += 1
                file.flush()
                time.sleep(0.05)


class Reader(threading.Thread):
    """The consumer group. `acked` are the offsets whose commit the server has acknowledged."""

    def __init__(self, kafka):
        super().__init__(daemon=True)
        self.consumer = Consumer(
            {
                "bootstrap.servers": kafka,
                "group.id": GROUP,
                "auto.offset.reset": "earliest",
                "enable.auto.commit": False,
                "session.timeout.ms": 10000,
                "reconnect.backoff.ms": 50,
                "reconnect.backoff.max.ms": 500,
                "log_level": 0,
            }
        )
        self.lock = threading.Lock()
        self.acked = {}
        self.stopping = threading.Event()

    def run(self):
        self.consumer.subscribe(["events"])
        while not self.stopping.is_set():
            messages = self.consumer.consume(500, 0.2)
            at = {}
            for message in messages:
                if message.error() is None:
                    at[message.partition()] = message.offset() + 1
            if not at:
                continue
            try:
                done = self.consumer.commit(
                    offsets=[TopicPartition("events", p, o) for p, o in at.items()], asynchronous=False
                )
            except KafkaException:
                continue
            with self.lock:
                for partition in done or []:
                    if partition.error is None:
                        self.acked[partition.partition] = partition.offset

    def finish(self):
        self.stopping.set()
        self.join()
        self.consumer.close()


def committed(kafka):
    """What the server says the group has read."""
    asker = Consumer({"bootstrap.servers": kafka, "group.id": GROUP, "log_level": 0})
    try:
        wanted = [TopicPartition("events", p) for p in range(PARTITIONS)]
        for attempt in range(20):
            try:
                return {p.partition: p.offset for p in asker.committed(wanted, timeout=30)}
            except KafkaException:
                if attempt == 19:
                    raise
                time.sleep(0.2)
    finally:
        asker.close()


def check(server, load, before_kill, group_before_kill):
    """What must hold after a start; gives the problems."""
    problems = []
    lost_below = before_kill
    deadline = time.monotonic() + PATIENCE_S
    # A query shows an epoch that was finished; what was acknowledged right before the kill may take one more.
    while True:
        present = server.rows(f"SELECT count(DISTINCT id) AS n FROM events WHERE id < {lost_below}")[0][0]
        if present == lost_below or time.monotonic() > deadline:
            break
        time.sleep(0.1)
    if present != lost_below:
        problems.append(f"{lost_below - present} of {lost_below} acknowledged events are lost")
    twice = server.rows("SELECT id, count(*) AS n FROM events GROUP BY id HAVING count(*) > 1 LIMIT 5")
    if twice:
        problems.append(f"events that are there more than once: {twice}")
    twice = server.rows("SELECT id, count(*) AS n FROM lines GROUP BY id HAVING count(*) > 1 LIMIT 5")
    if twice:
        problems.append(f"lines of the file that are there more than once: {twice}")
    wrong = server.rows(f"SELECT {ROW}, sum(weight) AS w FROM totals_changes GROUP BY {ROW} HAVING sum(weight) NOT IN (0, 1) LIMIT 5")
    if wrong:
        problems.append(f"the sink's changes do not add up: {wrong}")
    verified = server.run("verify", check=False, patience_s=PATIENCE_S)
    if verified.returncode != 0:
        problems.append(f"views differ from the batch answer:\n{verified.stdout}{verified.stderr}")
    now = committed(server.kafka)
    for partition, offset in group_before_kill.items():
        if now.get(partition, -1) < offset:
            problems.append(f"partition {partition}: the group had committed {offset}, the server says {now.get(partition)}")
    if load.failure:
        problems.append(load.failure)
    return problems, now


def complete(server, lines):
    """What must hold once nothing more comes in; gives the problems."""
    wanted = [[lines, lines, lines * (lines - 1) // 2]]
    counted = "SELECT count(*), count(DISTINCT id), sum(id) FROM lines"
    # The sum of the sink's changes, less the view: nothing is left when they are equal.
    left = (
        f"SELECT {ROW}, sum(w) AS w FROM (SELECT {ROW}, weight AS w FROM totals_changes UNION ALL SELECT {ROW}, -1 FROM totals) AS u "
        f"GROUP BY {ROW} HAVING sum(w) <> 0 LIMIT 5"
    )
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if server.rows(counted) == wanted and not server.rows(left):
            return []
        time.sleep(0.2)
    return [f"the file has {lines} lines, the stream {server.rows(counted)}; sink less view: {server.rows(left)}"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=None)
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1 << 31)
    print(f"seed {seed}", flush=True)
    chooser = random.Random(seed)
    passed = failed = 0
    for first in range(1, options.kills + 1, KILLS_OF_A_FOLDER):
        kills = range(first, min(first + KILLS_OF_A_FOLDER, options.kills + 1))
        right, wrong = life(kills, options.kills, chooser)
        passed, failed = passed + right, failed + wrong
    print(f"{passed} passed, {failed} failed", flush=True)
    sys.exit(1 if failed else 0)


def life(kills, of, chooser):
    """One data folder, from its first start to a clean stop, with these kills; gives how many checks passed and failed."""
    server = harness.Server(flags=["--set", "checkpoint_interval_ms=400"])
    passed = failed = 0
    load = reader = lines = None
    try:
        server.start()
        # Clients find the server again where it was.
        server.flags += ["--kafka", server.kafka]
        lines = Lines(pathlib.Path(server.folder) / "lines.jsonl")
        server.sql(STATEMENTS.replace("{path}", str(lines.path)))
        load, reader = Load(server.kafka), Reader(server.kafka)
        for thread in (load, reader, lines):
            thread.start()
        for kill in kills:
            lived = chooser.uniform(0.2, 2.5)
            time.sleep(lived)
            with load.lock:
                acked = load.prefix
            with reader.lock:
                group = dict(reader.acked)
            server.kill()
            again = ""
            if chooser.random() < 0.25:
                # And once more while it recovers.
                process = subprocess.Popen(
                    [harness.binary(), "serve", "--data", server.data, "--postgres", "off", "--registry", "off", "--http", "127.0.0.1:0"]
                    + server.flags,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    env=harness.clean_environment(),
                )
                time.sleep(chooser.uniform(0.01, 0.6))
                process.kill()
                process.wait()
                again = ", and again while recovering"
            begun = time.monotonic()
            server.start()
            took = time.monotonic() - begun
            problems, now = check(server, load, acked, group)
            said = f"kill {kill}/{of} after {lived:.1f} s{again}: {acked} acknowledged"
            if problems:
                failed += 1
                print(f"{said}: FAIL\n  " + "\n  ".join(problems), flush=True)
            else:
                passed += 1
                offsets = sorted(o for o in now.values() if o >= 0)
                print(f"{said}, all there once; views equal; group at {offsets}; serving after {took:.1f} s", flush=True)
        load.finish()
        reader.finish()
        lines.stopping.set()
        lines.join()
        problems, _ = check(server, load, load.next, dict(reader.acked))
        total = server.rows("SELECT count(*), count(DISTINCT id), min(id), max(id) FROM events")[0]
        if total != [load.next, load.next, 0, load.next - 1]:
            problems.append(f"{load.next} events were sent, the stream says {total}")
        problems += complete(server, lines.written)
        with reader.lock:
            if not reader.acked:
                problems.append("the group never committed anything")
        code = server.stop()
        if code != 0:
            problems.append(f"the server ended with {code}")
        if problems:
            failed += 1
            print("at the end: FAIL\n  " + "\n  ".join(problems))
        else:
            passed += 1
            print(
                f"at the end: {load.next} events sent and acknowledged, {lines.written} lines written, each there once; "
                "views equal; the sink's changes add up to its view; a clean stop"
            )
    except Exception as e:  # whatever stops the test has failed it
        failed += 1
        print(f"FAIL: {type(e).__name__}: {e}\nThe server said:\n{server.tail()}")
    finally:
        for thread in (load, reader, lines):
            if thread is not None:
                thread.stopping.set()
        server.remove()
    return passed, failed


if __name__ == "__main__":
    main()
