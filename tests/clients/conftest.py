"""One server for all client tests, started before they are collected (they read its addresses from the environment)."""

import os
import pathlib
import sys
import uuid

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
import harness  # noqa: E402

SERVER = None


def pytest_configure(config):
    global SERVER
    if config.option.collectonly or config.option.help or "FLEUVE_HTTP" in os.environ:
        return
    SERVER = harness.Server().start()
    os.environ.update(SERVER.environment())


def pytest_unconfigure(config):
    if SERVER is not None:
        SERVER.remove()


@pytest.fixture(scope="session")
def server():
    """The server that the other tests use too: names of objects must be unique."""
    if SERVER is None:
        pytest.fail("these tests start their own server: unset FLEUVE_HTTP")
    return SERVER


@pytest.fixture(autouse=True)
def server_is_alive():
    """Once the server is gone every test would wait in vain: fail at once and say why."""
    if SERVER is not None and SERVER.process is not None and SERVER.process.poll() is not None:
        pytest.fail(f"the server has ended with {SERVER.process.returncode}:\n{SERVER.tail()}")


@pytest.fixture
def own_server():
    """A server for one test alone."""
    server = harness.Server().start()
    yield server
    server.remove()


@pytest.fixture
def clicks(server):
    """A stream with three rows and a view over it."""
    stream, view = (f"{prefix}_{uuid.uuid4().hex[:10]}" for prefix in ("clicks", "pages"))
    server.sql(f"CREATE STREAM {stream} (page TEXT, ms BIGINT) WITH (format = 'json')")
    server.sql(f"CREATE MATERIALIZED VIEW {view} AS SELECT page, count(*) AS n, sum(ms) AS ms FROM {stream} GROUP BY page")
    server.sql(f"INSERT INTO {stream} VALUES ('/a', 10), ('/b', 20), ('/a', 30)")
    return stream, view


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """A test that is skipped has shown nothing: here it fails and says why it was skipped."""
    outcome = yield
    report = outcome.get_result()
    if report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        report.outcome = "failed"
        report.longrepr = f"skipped, which counts as failed: {reason}"
