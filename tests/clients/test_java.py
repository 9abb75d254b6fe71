"""The Java client from Maven Central, run as its own program."""

import pathlib
import re
import subprocess

JAVA = pathlib.Path(__file__).resolve().parent / "java"


def test_java_client():
    done = subprocess.run(
        ["mvn", "-q", "-B", "compile", "exec:java"], cwd=JAVA, capture_output=True, text=True, timeout=900
    )
    output = done.stdout + done.stderr
    counts = re.search(r"(\d+) passed, (\d+) failed", output)
    assert counts, output[-4000:]
    assert int(counts[1]) > 0 and int(counts[2]) == 0, output[-4000:]
    assert done.returncode == 0, output[-4000:]
