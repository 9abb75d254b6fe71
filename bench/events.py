"""The file of Nexmark events that benchmarks read, made once for each number of events by the crate `nexmark` with its defaults:
10,000 events a second of event time, in order; of 50 events 1 is a person, 3 are auctions, 46 are bids."""

import shutil
import subprocess

from common import OUT, ROOT

SPACING = "10,000 events a second of event time"


def events_file(events):
    path = OUT / "data" / f"nexmark-{events}.jsonl"
    if not path.exists():
        generator = shutil.which("nexmark") or str(ROOT / ".dev" / "tools" / "bin" / "nexmark")
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        with open(part, "wb") as file:
            subprocess.run([generator, "--no-wait", "--number", str(events)], stdout=file, check=True)
        part.rename(path)
    return path


def dealt(path, files):
    """A folder with the lines of a file dealt to so many files in turn."""
    folder = path.with_name(f"{path.stem}-in-{files}")
    if not folder.exists():
        part = folder.with_suffix(".part")
        part.mkdir(exist_ok=True)
        outs = [open(part / f"{n}.jsonl", "wb") for n in range(files)]
        with open(path, "rb") as lines:
            for n, line in enumerate(lines):
                outs[n % files].write(line)
        for out in outs:
            out.close()
        part.rename(folder)
    return folder


def bids_file(events):
    """The bids among them, as flat objects."""
    path = OUT / "data" / f"bids-{events}.jsonl"
    if not path.exists():
        part = path.with_suffix(".part")
        with open(events_file(events), "rb") as lines, open(part, "wb") as file:
            file.writelines(line[7:-2] + b"\n" for line in lines if line.startswith(b'{"Bid":{'))
        part.rename(path)
    return path
