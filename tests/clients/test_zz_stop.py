"""The last test: after all that the others did to it, the server stops cleanly."""


def test_sigterm_stops_the_server_cleanly(server):
    assert server.process.poll() is None, f"the server has died:\n{server.tail()}"
    assert server.stop() == 0, server.tail()
    log = server.tail(100000)
    assert "panicked" not in log, log[-4000:]
