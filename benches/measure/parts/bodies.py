"""Fetching bodies of 1 MiB into one file, byte by byte as they are: gatherd, and curl as the limit."""

import hashlib
import shutil
import sys

from ..figures import Figure, Report, table, times
from ..process import measure, median
from ..talk import say

TITLE = "Bodies of 1 MiB"
PROGRAMS = ["curl", "nginx", "openssl"]
BODY_BYTES = 1 << 20
# How many different ones there are.
DIFFERENT = 16


def prepare(bench):
    pass


def run(bench):
    count = 100 if bench.arguments.quick else 1000
    base = bench.site.plain
    bodies = [body(number) for number in range(DIFFERENT)]
    for number, data in enumerate(bodies):
        (bench.folder / "documents" / f"{number}.bin").write_bytes(data)
    urls = [f"{base}/{number % DIFFERENT}.bin?{number}" for number in range(count)]
    wanted = sorted(digest(bodies[number % DIFFERENT]) for number in range(count))
    runs = {"curl": [], "gatherd: `get` + raw `file`": []}
    for turn in bench.rounds():
        for (what, measured), run_one in zip(runs.items(), [run_curl, run_gatherd], strict=True):
            say(f"round {turn}: {what}")
            folder = bench.folder / "bodies"
            folder.mkdir()
            measured.append(run_one(bench, folder, urls))
            check(folder / "out.bin", wanted)
            shutil.rmtree(folder)
    runs = {what: median(measured) for what, measured in runs.items()}
    curl, gatherd = runs.values()
    ratio = gatherd.cpu_per_item / curl.cpu_per_item
    name = "1 MiB bodies, `get` + raw `file`: CPU per byte against curl's"
    return Report(list(lines(runs, curl)), [Figure(name, ratio, times, 1.8, 1.3)])


def body(number):
    """Bytes that are no text, and tell which body they belong to wherever one looks."""
    line = b"".join(hashlib.sha256(b"%d %d" % (number, part)).digest() for part in range(32))
    return b"".join(b"%8d" % at + line[8:] for at in range(BODY_BYTES // len(line)))


def digest(data):
    return hashlib.sha256(data).hexdigest()


def run_curl(_bench, folder, urls):
    """One process that keeps its connection, all bodies into one file."""
    configuration = folder / "urls.curl"
    configuration.write_text("".join(f'url = "{url}"\n' for url in urls))
    command = ["sh", "-c", f"exec curl --silent --fail --config {configuration} > out.bin"]
    return measure(len(urls), command, folder)


def run_gatherd(bench, folder, urls):
    (folder / "urls.txt").write_text("".join(f"{url}\n" for url in urls))
    return bench.once("bodies.toml", len(urls), folder)


def check(path, wanted):
    """Bodies of one length stand whole behind each other, in any order."""
    with open(path, "rb") as file:
        found = [digest(data) for data in iter(lambda: file.read(BODY_BYTES), b"")]
    if sorted(found) != wanted:
        right = len(set(found) & set(wanted))
        sys.exit(f"{path}: of {len(set(wanted))} different bodies {right} are right, in {len(found)} pieces")


def lines(runs, curl):
    rows = [["", "CPU per MiB", "against curl", "MiB/s", "peak memory"]]
    for what, run in runs.items():
        rows.append(
            [
                what,
                f"{run.cpu_per_item:.0f} µs",
                f"{run.cpu_per_item / curl.cpu_per_item:.2f}x",
                f"{run.items_per_second:,.0f}",
                f"{run.peak_bytes / 2**20:.0f} MiB",
            ]
        )
    return table(*rows)
