"""The fleuve command itself, as a user at a shell meets it."""

import csv
import io
import json
import os
import pathlib
import signal
import socket
import subprocess
import time
import urllib.request
import uuid

import pytest

import harness

PATIENCE_S = 60


def name(prefix):
    return f"{prefix}_{uuid.uuid4().hex[:10]}"


def fleuve(*arguments, cwd=None, env=None, stdin=None, patience_s=PATIENCE_S):
    """Runs the binary without any server in mind."""
    return subprocess.run(
        [harness.binary(), *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        cwd=cwd,
        env=harness.clean_environment() | (env or {}),
        timeout=patience_s,
    )


def serve_arguments(data, **doors):
    arguments = ["serve", "--data", str(data)]
    for door in harness.DOORS:
        arguments += [f"--{door}", doors.get(door, "127.0.0.1:0")]
    return arguments


def one_line_error(done, *parts):
    """The command failed, with one line that holds all `parts`."""
    assert done.returncode == 1, done
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("error: ")
    for part in parts:
        assert part in lines[0], done.stderr


# ---- serve ----------------------------------------------------------------------------------------------------------


def test_a_taken_port_is_one_clear_line(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        for door in harness.DOORS:
            done = fleuve(*serve_arguments(tmp_path / door, **{door: address}))
            one_line_error(done, address)
            assert door in done.stderr.lower(), done.stderr


def test_an_unwritable_folder_is_one_clear_line(tmp_path):
    in_the_way = tmp_path / "file"
    in_the_way.write_text("not a folder")
    one_line_error(fleuve(*serve_arguments(in_the_way)), str(in_the_way))
    one_line_error(fleuve(*serve_arguments("/proc/fleuve")), "/proc/fleuve")


def test_a_second_server_on_the_same_data_is_one_clear_line(server):
    one_line_error(fleuve(*serve_arguments(server.data)), server.data, "another")
    with urllib.request.urlopen(f"{server.http}/healthz", timeout=10) as answer:
        assert answer.status == 200, "the first one must not notice"
    with urllib.request.urlopen(f"{server.http}/readyz", timeout=10) as answer:
        assert (answer.status, json.load(answer)) == (200, {"ready": True})


def test_a_door_to_the_world_wants_insecure(tmp_path):
    for door in harness.DOORS:
        done = fleuve(*serve_arguments(tmp_path / "data", **{door: "0.0.0.0:0"}))
        one_line_error(done, "--insecure", "0.0.0.0")
    assert not (tmp_path / "data").exists()


def test_insecure_opens_a_door_to_the_world_and_sigterm_stops_within_seconds(tmp_path):
    # The flags come after the harness's own, and the last one counts.
    server = harness.Server(data=tmp_path / "data", flags=["--http", "0.0.0.0:0", "--insecure"])
    server.start()
    try:
        assert server.stop() == 0
    finally:
        server.remove()


def test_doors_can_be_off_and_their_places_are_printed(tmp_path):
    data = tmp_path / "data"
    process = subprocess.Popen(
        [harness.binary(), *serve_arguments(data, postgres="off", registry="off")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=harness.clean_environment(),
    )
    try:
        said = ""
        while "Ready" not in said:
            line = process.stdout.readline()
            assert line, process.stderr.read()
            said += line
        doors = json.loads((data / "doors.json").read_text())
        assert doors["postgres"] is None and doors["registry"] is None
        assert doors["kafka"] in said and doors["http"] in said
        assert doors["pid"] == process.pid
        begun = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0
        assert time.monotonic() - begun < PATIENCE_S
        assert not (data / "doors.json").exists(), "nobody is there any more"
    finally:
        process.kill()


def test_a_catalog_that_is_lost_costs_no_stream(own_server):
    server = own_server
    server.sql("CREATE STREAM s (k INT) WITH (format = 'json'); INSERT INTO s VALUES (1), (2)")
    server.stop()
    data = pathlib.Path(server.data)
    files = {file: file.read_bytes() for file in data.glob("catalog.db*")}
    assert files
    for without in (lambda file: file.unlink(), lambda file: file.write_bytes(b"")):
        for file in files:
            without(file)
        for _ in range(2):
            said = subprocess.run(
                [harness.binary(), *serve_arguments(data)], capture_output=True, text=True, env=harness.clean_environment(), timeout=PATIENCE_S
            )
            assert said.returncode != 0 and "catalog.db is missing or empty" in said.stderr, said.stderr
            assert "restore it from a backup" in said.stderr, said.stderr
        for file in data.glob("catalog.db*"):
            file.unlink()
        for file, content in files.items():
            file.write_bytes(content)
    server.start()
    assert server.rows("SELECT count(*) FROM s") == [[2]]


def test_a_log_that_cannot_be_written_stops_nothing(tmp_path):
    data = tmp_path / "data"
    with open("/dev/full", "w") as full:
        process = subprocess.Popen(
            [harness.binary(), *serve_arguments(data, postgres="off", registry="off")],
            stdout=subprocess.PIPE,
            stderr=full,
            text=True,
            env=harness.clean_environment(),
        )
    try:
        said = ""
        while "Ready" not in said:
            line = process.stdout.readline()
            assert line, said
            said += line
        http = json.loads((data / "doors.json").read_text())["http"]

        def sql(text):
            return fleuve("sql", "-c", text, env={"FLEUVE_SERVER": f"http://{http}"})

        sql("CREATE STREAM s (v INT) WITH (format = 'json'); CREATE MATERIALIZED VIEW q AS SELECT 10 / v AS q FROM s")
        # The view stops, which is told in the log.
        sql("INSERT INTO s VALUES (0)")
        deadline = time.monotonic() + PATIENCE_S
        while "failed" not in sql("SELECT state FROM fleuve.views").stdout:
            assert time.monotonic() < deadline
        assert "1" in sql("SELECT count(*) FROM s").stdout and process.poll() is None
    finally:
        process.kill()


def test_a_wrong_setting_names_the_near_one(tmp_path):
    (tmp_path / "fleuve.toml").write_text("kafak = 'off'\n")
    one_line_error(fleuve("serve", cwd=tmp_path), "kafak", "did you mean 'kafka'?")
    one_line_error(fleuve("config", env={"FLEUVE_SHARD": "2"}, cwd="/"), "FLEUVE_SHARD", "FLEUVE_SHARDS")
    one_line_error(fleuve("config", "--set", "shards=lots", cwd="/"), "shards", "lots", "--set")


# ---- config ---------------------------------------------------------------------------------------------------------


def test_config_says_where_each_value_came_from(tmp_path):
    (tmp_path / "fleuve.toml").write_text("shards = 3\nhttp = 'off'\nregistry = 'off'\n")
    env = {"FLEUVE_HTTP": "127.0.0.1:1", "FLEUVE_REGISTRY": "127.0.0.1:2"}
    done = fleuve("config", "--format", "json", "--registry", "127.0.0.1:3", cwd=tmp_path, env=env)
    assert done.returncode == 0, done.stderr
    settings = {s["key"]: s for s in json.loads(done.stdout)}
    assert (settings["shards"]["value"], settings["shards"]["from"]) == ("3", "fleuve.toml")
    assert (settings["http"]["value"], settings["http"]["from"]) == ("127.0.0.1:1", "FLEUVE_HTTP")
    assert (settings["registry"]["value"], settings["registry"]["from"]) == ("127.0.0.1:3", "--registry")
    assert (settings["kafka"]["value"], settings["kafka"]["from"]) == ("127.0.0.1:9092", "default")
    assert all(s["meaning"] and s["unit"] and s["default"] for s in settings.values())
    text = fleuve("config", cwd=tmp_path).stdout
    assert all(key in text for key in settings)


def test_config_as_toml_is_a_file_that_serves(tmp_path):
    written = fleuve("config", "--format", "toml", "--set", "shards=2", cwd=tmp_path).stdout
    (tmp_path / "fleuve.toml").write_text(written)
    again = json.loads(fleuve("config", "--format", "json", cwd=tmp_path).stdout)
    assert [(s["value"], s["from"]) for s in again if s["key"] == "shards"] == [("2", "fleuve.toml")]


def test_the_page_of_settings_is_up_to_date():
    page = pathlib.Path(harness.ROOT, "docs", "configuration.md").read_text()
    assert fleuve("config", "--format", "markdown", cwd="/").stdout == page, "write it again with ./dev docs"


# ---- usage ----------------------------------------------------------------------------------------------------------


def test_help_teaches_and_a_wrong_command_line_is_2():
    said = fleuve("--help").stdout
    for command in ["serve", "config", "apply", "sql", "watch", "verify", "produce", "consume", "topics", "status"]:
        assert command in said
        shown = fleuve(command, "--help")
        assert shown.returncode == 0 and "Usage:" in shown.stdout
    for wrong in [["srve"], [], ["apply"], ["sql", "--format", "xml"], ["consume", "t", "--from", "middle"]]:
        assert fleuve(*wrong).returncode == 2, wrong


def test_without_a_server_every_command_says_how_to_start_one(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    (tmp_path / "a.sql").write_text("SELECT 1")
    env = {"FLEUVE_SERVER": f"http://{address}", "FLEUVE_KAFKA": address}
    for command in [
        ["apply", str(tmp_path)],
        ["sql", "-c", "SELECT 1"],
        ["watch", "v"],
        ["verify"],
        ["status"],
        ["produce", "t"],
        ["consume", "t"],
        ["topics"],
    ]:
        one_line_error(fleuve(*command, env=env, stdin="", cwd=tmp_path), address, "fleuve serve")


def test_the_commands_find_the_server_of_this_folder(own_server):
    folder = pathlib.Path(own_server.data).parent
    done = fleuve("sql", "-c", "SELECT 40 + 2 AS n", "--format", "csv", env={"FLEUVE_DATA": "data"}, cwd=folder)
    assert done.stdout == "n\n42\n", done.stderr
    done = fleuve("topics", "create", "here", env={"FLEUVE_DATA": "data"}, cwd=folder)
    assert done.returncode == 0, done.stderr


# ---- apply ----------------------------------------------------------------------------------------------------------


def write_project(folder, stream, view, threshold=0):
    (folder / "views").mkdir(parents=True, exist_ok=True)
    (folder / "1_streams.sql").write_text(f"CREATE STREAM {stream} (page TEXT, ms BIGINT) WITH (format = 'json');\n")
    (folder / "views" / "pages.sql").write_text(
        f"CREATE MATERIALIZED VIEW {view} AS\n  SELECT page, count(*) AS n FROM {stream} WHERE ms >= {threshold} GROUP BY page;\n"
    )


def test_apply_creates_then_does_nothing_then_changes(server, tmp_path):
    stream, view = name("s"), name("v")
    write_project(tmp_path, stream, view)
    said = server.run("apply", str(tmp_path), "--dry-run").stdout
    assert "Would be: 2 created, 0 changed, 0 unchanged" in said
    said = server.run("apply", str(tmp_path)).stdout
    assert stream in said and view in said and "2 created, 0 changed, 0 unchanged" in said
    said = server.run("apply", str(tmp_path)).stdout
    assert "0 created, 0 changed, 2 unchanged" in said
    server.sql(f"INSERT INTO {stream} VALUES ('/a', 1), ('/a', 100)")
    assert server.rows(f"SELECT n FROM {view}") == [[2]]
    write_project(tmp_path, stream, view, threshold=50)
    assert "0 created, 1 changed, 1 unchanged" in server.run("apply", str(tmp_path)).stdout
    assert server.rows(f"SELECT n FROM {view}") == [[1]], "the changed view has taken in what was there"


def test_apply_names_file_line_and_column_and_leaves_everything_as_it_was(server, tmp_path):
    stream, view = name("s"), name("v")
    write_project(tmp_path, stream, view)
    broken = tmp_path / "views" / "zz.sql"
    broken.write_text(f"-- a comment\nCREATE MATERIALIZED VIEW {name('w')} AS\n  SELECT nonsense FROM {stream};\n")
    done = server.run("apply", str(tmp_path), check=False)
    one_line_error(done, f"{broken}:3:10", "nonsense")
    with pytest.raises(harness.SqlError):
        server.sql(f"SELECT * FROM {stream}")
    broken.write_text("CREATE STREAM\n")
    one_line_error(server.run("apply", str(tmp_path), check=False), f"{broken}:")
    broken.unlink()
    assert "2 created" in server.run("apply", str(tmp_path)).stdout


def test_apply_of_a_folder_without_sql_says_so(server, tmp_path):
    one_line_error(server.run("apply", str(tmp_path), check=False), str(tmp_path), "no .sql file")


# ---- sql ------------------------------------------------------------------------------------------------------------


def test_sql_prints_tables_csv_json_and_arrow(server, clicks):
    _, view = clicks
    query = f"SELECT page, n, ms FROM {view} ORDER BY page"
    table = server.run("sql", "-c", query).stdout
    assert "│ /a   │ 2 │ 40 │" in table and "2 rows" in table
    rows = list(csv.reader(io.StringIO(server.run("sql", "-c", query, "--format", "csv").stdout)))
    assert rows == [["page", "n", "ms"], ["/a", "2", "40"], ["/b", "1", "20"]]
    rows = json.loads(server.run("sql", "-c", query, "--format", "json").stdout)
    assert rows == [{"page": "/a", "n": 2, "ms": 40}, {"page": "/b", "n": 1, "ms": 20}]
    env = harness.clean_environment() | {"FLEUVE_SERVER": server.http}
    done = subprocess.run(
        [harness.binary(), "sql", "-c", query, "--format", "arrow"], capture_output=True, env=env, timeout=PATIENCE_S
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout[:4] == b"\xff\xff\xff\xff" and b"page" in done.stdout, "an Arrow IPC stream begins with a continuation marker"


def test_sql_runs_files_and_standard_input(server, tmp_path):
    script = tmp_path / "script.sql"
    stream = name("s")
    script.write_text(
        f"CREATE STREAM {stream} (n BIGINT) WITH (format = 'json'); -- a semicolon; in a comment\n"
        f"INSERT INTO {stream} VALUES (1), (2);\nSELECT ';' AS c, sum(n) AS total FROM {stream};\n"
    )
    said = server.run("sql", "-f", str(script), "--format", "json").stdout
    assert json.loads(said) == [{"c": ";", "total": 3}]
    assert server.run("sql", stdin="SELECT 1 AS one", ).stdout.count("one") == 1
    assert server.run("sql", "-f", "-", "--format", "csv", stdin="SELECT 1 AS one").stdout == "one\n1\n"


def test_sql_errors_have_their_place(server, tmp_path):
    one_line_error(server.run("sql", "-c", "SELECT\n  nonsense", check=False), "line 2, column 3", "nonsense")
    script = tmp_path / "script.sql"
    script.write_text("SELECT 1;\nSELEC 2;\n")
    one_line_error(server.run("sql", "-f", str(script), check=False), f"{script}:2:1")


def test_sql_tells_null_from_empty(server):
    said = server.run("sql", "-c", "SELECT NULL AS a, '' AS b", "--format", "csv").stdout
    assert said == 'a,b\n,""\n'
    assert json.loads(server.run("sql", "-c", "SELECT NULL AS a, '' AS b", "--format", "json").stdout) == [{"a": None, "b": ""}]


def test_a_closed_pipe_is_quiet(server):
    env = harness.clean_environment() | {"FLEUVE_SERVER": server.http}
    command = f"{harness.binary()} sql -c 'SELECT * FROM generate_series(1, 200000)' | head -2"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, env=env, timeout=PATIENCE_S)
    assert done.stderr == "" and len(done.stdout.splitlines()) == 2


def prompt(server, folder):
    """`fleuve sql` at a terminal of its own: its process, the terminal's descriptor, and what plays the terminal."""
    import pty

    env = harness.clean_environment() | {
        "FLEUVE_SERVER": server.http,
        "FLEUVE_HISTORY": str(folder / "history"),
        "TERM": "xterm-256color",
    }
    pid, fd = pty.fork()
    if pid == 0:
        os.execve(harness.binary(), ["fleuve", "sql"], env)
    return pid, fd, Terminal(fd)


def test_the_prompt_answers_at_a_terminal(server, clicks, tmp_path):
    """A real terminal (a pty): statements over lines, \\d, an error with a mark, Ctrl-C on a query, and leaving."""
    stream, view = clicks
    pid, fd, terminal = prompt(server, tmp_path)
    try:
        terminal.expect("for help")
        terminal.type(f"SELECT page,\rn FROM {view}\rORDER BY page;\r")
        terminal.expect("2 rows")
        terminal.type("\\dv\r")
        terminal.expect(view)
        terminal.type(f"\\d {stream}\r")
        terminal.expect("BIGINT")
        terminal.type("SELECT nonsense;\r")
        terminal.expect("^\x1b")
        terminal.type(f"SUBSCRIBE TO {view};\r")
        terminal.expect("page=/a")
        terminal.type("\x03")
        terminal.expect("Cancelled")
        # The line editor is there again.
        terminal.expect("\x1b[6n")
        terminal.type("SELECT count(*) FROM generate_series(1, 1000000000000);\r")
        terminal.expect("1000000000000")
        # The line has been taken: before that, Ctrl-C would only clear it.
        terminal.expect("\r\n")
        # And before the query is under way it is nobody's.
        terminal.watch(3)
        terminal.type("\x03")
        terminal.expect("Cancelled")
        terminal.type("SELECT 40 + 2 AS n;\r")
        terminal.expect("42")
        terminal.type("\\q\r")
        assert terminal.exit_code(pid) == 0
        assert "ORDER BY page" in (tmp_path / "history").read_text()
    finally:
        os.close(fd)


class Terminal:
    """The other side of a pty."""

    def __init__(self, fd):
        import fcntl
        import struct
        import termios

        fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
        self.fd = fd
        self.seen = ""

    def type(self, text):
        os.write(self.fd, text.encode())

    def read(self):
        """Takes what has come, if anything does within a second; false when the other side is gone."""
        import select

        if not select.select([self.fd], [], [], 1)[0]:
            return True
        try:
            piece = os.read(self.fd, 65536).decode(errors="replace")
        except OSError:
            return False
        # The line editor asks where the cursor is and waits for the answer, as every terminal gives it.
        for _ in range(piece.count("\x1b[6n")):
            self.type("\x1b[1;1R")
        self.seen += piece
        return bool(piece)

    def expect(self, text):
        """Reads until `text` has come; forgets what came before it."""
        deadline = time.monotonic() + PATIENCE_S
        while text not in self.seen:
            gone = not self.read()
            assert not gone and time.monotonic() < deadline, f"{text!r} did not come; the terminal shows {self.seen[-2000:]!r}"
        self.seen = self.seen.split(text, 1)[1]

    def watch(self, seconds):
        """Goes on answering for a while."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            assert self.read(), f"it went; the terminal shows {self.seen[-2000:]!r}"

    def exit_code(self, pid):
        deadline = time.monotonic() + PATIENCE_S
        while self.read():
            if time.monotonic() > deadline:
                os.kill(pid, signal.SIGKILL)
                raise AssertionError(f"it did not end; the terminal shows {self.seen[-2000:]!r}")
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


# ---- watch, and the help -----------------------------------------------------------------------------------------------


def test_watch_prints_changes_with_their_sign(server, clicks):
    stream, view = clicks
    env = harness.clean_environment() | {"FLEUVE_SERVER": server.http}
    process = subprocess.Popen(
        [harness.binary(), "watch", view, "--format", "json", "--seconds", str(PATIENCE_S)],
        stdout=subprocess.PIPE,
        text=True,
        env=env,
    )
    try:
        first = [json.loads(process.stdout.readline()) for _ in range(2)]
        assert sorted((c["row"]["page"], c["row"]["n"], c["weight"]) for c in first) == [("/a", 2, 1), ("/b", 1, 1)]
        server.sql(f"INSERT INTO {stream} VALUES ('/b', 5)")
        change = [json.loads(process.stdout.readline()) for _ in range(2)]
        assert sorted((c["weight"], c["row"]["n"], c["row"]["ms"]) for c in change) == [(-1, 1, 20), (1, 2, 25)]
        assert change[0]["epoch"] == change[1]["epoch"] > first[0]["epoch"]
    finally:
        process.kill()
        process.wait()


def test_watch_draws_on_a_terminal(server, clicks):
    import pty

    _, view = clicks
    env = harness.clean_environment() | {"FLEUVE_SERVER": server.http, "TERM": "xterm-256color"}
    pid, fd = pty.fork()
    if pid == 0:
        os.execve(harness.binary(), ["fleuve", "watch", view, "--sort", "n:desc"], env)
    terminal = Terminal(fd)
    try:
        terminal.expect("\x1b[?1049h")
        terminal.expect("2 rows")
        terminal.expect("/a")
        terminal.expect("/b")
        terminal.type("\x03")
        terminal.expect("\x1b[?1049l")
        assert terminal.exit_code(pid) == 0
    finally:
        os.close(fd)


def test_the_first_minute_of_the_help_works(own_server):
    """Its commands as they stand, but for the one that starts the server."""
    text = fleuve("--help").stdout.split("A first minute:")[1].split("Any Kafka client")[0]
    script = "\n".join(line for line in text.splitlines() if "fleuve serve" not in line and "fleuve watch" not in line)
    script = script.replace("fleuve ", f"{harness.binary()} ")
    done = subprocess.run(["bash", "-e"], input=script, capture_output=True, text=True, env=os.environ | {"FLEUVE_SERVER": own_server.http, "FLEUVE_KAFKA": own_server.kafka})
    assert done.returncode == 0, done.stderr
    assert own_server.rows("SELECT page, n FROM pages") == [["/", 1]]
    own_server.run("produce", "raw_one", stdin="{}")
    refused = own_server.run("sql", "-c", "CREATE STREAM raw_one (a INT) WITH (format = 'json')", check=False)
    assert refused.returncode == 1 and "exists already" in refused.stderr, refused.stderr
    assert "it is a topic whose records have no columns yet" in refused.stderr, refused.stderr


# ---- produce, consume, topics ---------------------------------------------------------------------------------------


def test_produce_and_consume_lines(server):
    topic = name("t")
    done = server.run("produce", topic, stdin="one\ntwo\nthree")
    assert "3 records written" in done.stderr and done.stdout == ""
    assert server.run("consume", topic).stdout == "one\ntwo\nthree\n"
    assert server.run("consume", topic, "-n", "2").stdout == "one\ntwo\n"
    assert server.run("consume", topic, "--from", "2").stdout == "three\n"
    assert server.run("consume", topic, "--from", "end").stdout == ""
    assert server.run("consume", topic, "--offset", "-n", "1").stdout == "0:0\tone\n"


@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4", "zstd"])
def test_every_compression_is_read_back(server, codec):
    topic = name("t")
    lines = "".join(f"line {n} of many that are much alike\n" for n in range(5000))
    server.run("produce", topic, "--compression", codec, stdin=lines)
    assert server.run("consume", topic).stdout == lines


def test_keys_headers_and_partitions(server):
    topic = name("t")
    server.run("topics", "create", topic, "--partitions", "4")
    server.run("produce", topic, "--key-separator", ":", "-H", "source=shell", "-H", "source=again", stdin="a:1\nb:2\na:3\nno key\n")
    records = [json.loads(line) for line in server.run("consume", topic, "--format", "json").stdout.splitlines()]
    assert len(records) == 4
    of_a = [(r["partition"], r["value"]) for r in records if r["key"] == "a"]
    assert len({p for p, _ in of_a}) == 1 and [v for _, v in of_a] == ["1", "3"]
    assert all(r["headers"] == [["source", "shell"], ["source", "again"]] for r in records)
    assert [r["key"] for r in records if r["value"] == "no key"] == [None]
    server.run("produce", topic, "--partition", "3", "--key", "k", stdin="here\n")
    assert server.run("consume", topic, "--partition", "3", "--key").stdout.splitlines()[-1] == "k\there"
    assert server.run("produce", topic, "--partition", "9", stdin="x\n", check=False).returncode == 1


def test_produced_lines_are_rows(server, clicks):
    stream, view = clicks
    server.run("produce", stream, stdin='{"page": "/c", "ms": 7}\n')
    deadline = time.monotonic() + PATIENCE_S
    while not server.rows(f"SELECT n FROM {view} WHERE page = '/c'"):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_group_goes_on_where_it_stopped(server):
    topic, group = name("t"), name("g")
    server.run("produce", topic, stdin="".join(f"{n}\n" for n in range(10)))
    assert server.run("consume", topic, "--group", group, "-n", "4").stdout == "0\n1\n2\n3\n"
    assert server.run("consume", topic, "--group", group).stdout == "4\n5\n6\n7\n8\n9\n"
    assert server.run("consume", topic, "--group", group).stdout == ""
    server.run("produce", topic, stdin="10\n")
    assert server.run("consume", topic, "--group", group).stdout == "10\n"


def test_follow_waits_for_more(server):
    topic = name("t")
    server.run("produce", topic, stdin="old\n")
    env = harness.clean_environment() | {"FLEUVE_KAFKA": server.kafka}
    process = subprocess.Popen(
        [harness.binary(), "consume", topic, "--follow", "-n", "2"], stdout=subprocess.PIPE, text=True, env=env
    )
    try:
        assert process.stdout.readline() == "old\n"
        server.run("produce", topic, stdin="new\n")
        assert process.stdout.readline() == "new\n"
        assert process.wait(PATIENCE_S) == 0
    finally:
        process.kill()


def test_produce_reads_gzip_and_keeps_a_rate(server, tmp_path):
    import gzip

    topic = name("t")
    file = tmp_path / "lines.gz"
    with gzip.open(file, "wt") as out:
        out.writelines(f"{n}\n" for n in range(30))
    begun = time.monotonic()
    server.run("produce", topic, "--file", str(file), "--rate", "20")
    assert time.monotonic() - begun >= 1, "30 records at 20 a second take more than a second"
    assert server.run("consume", topic).stdout == "".join(f"{n}\n" for n in range(30))


def test_topics_are_listed_described_and_deleted(server):
    topic = name("t")
    assert f"created {topic}" in server.run("topics", "create", topic, "-p", "2", "--config", "retention.ms=86400000").stdout
    server.run("produce", topic, "--partition", "1", stdin="x\ny\n")
    listed = [line for line in server.run("topics").stdout.splitlines() if f" {topic} " in line]
    assert [cell.strip() for cell in listed[0].split("│")[1:4]] == [topic, "2", "2"]
    described = server.run("topics", "describe", topic).stdout
    assert "retention.ms" in described and "86400000" in described
    one_line_error(server.run("topics", "create", topic, check=False), topic, "exists")
    server.run("topics", "delete", topic)
    assert f" {topic} " not in server.run("topics").stdout
    one_line_error(server.run("consume", topic, check=False), topic)


# ---- status ---------------------------------------------------------------------------------------------------------


def test_status_shows_what_there_is(server, clicks):
    stream, view = clicks
    said = server.run("status").stdout
    assert stream in said and view in said
    assert isinstance(json.loads(server.run("status", "--json").stdout), dict)


def test_a_source_without_a_file_says_where_it_looks(own_server, tmp_path):
    def create(source, path):
        create = f"CREATE SOURCE {source} INTO lines WITH (connector = 'file', path = '{path}', follow = 'true')"
        said = fleuve("sql", "-c", create, env={"FLEUVE_SERVER": own_server.http})
        assert said.returncode == 0, said.stderr
        return said.stderr

    own_server.sql("CREATE STREAM lines (v INT) WITH (format = 'json')")
    (tmp_path / "there.json").write_text('{"v": 1}\n')
    assert create("found", tmp_path / "th*.json") == ""
    assert f"notice: no file matches '{tmp_path}/later*.json' on the server yet" in create("awaited", tmp_path / "later*.json")
    assert "no file matches '/" in create("relative", "no/such/file.json")
    (tmp_path / "later1.json").write_text('{"v": 2}\n')
    deadline = time.monotonic() + PATIENCE_S
    while own_server.rows("SELECT v FROM lines ORDER BY v") != [[1], [2]]:
        assert time.monotonic() < deadline
        time.sleep(0.1)
