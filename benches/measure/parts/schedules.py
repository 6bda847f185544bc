"""How late the ticks of 10,000 schedules of one second come."""

import calendar
import collections
import functools
import json
import shutil
import statistics
import sys
import time

from ..figures import Figure, Report, mebibytes, milliseconds, table
from ..process import memory, service, wait_until

TITLE = "Schedules"
PROGRAMS = []
SCHEDULES = 10_000

PIPELINE = """
[pipeline.p{number}]
from  = {{ every = "1s" }}
steps = [{{ map = "[{number}, .end, now]" }}]
to    = ["out"]
"""

SINK = """
[sink.out]
file = "out.ndjson"
"""


def prepare(_bench):
    pass


def run(bench):
    count = 1000 if bench.arguments.quick else SCHEDULES
    seconds = 5 if bench.arguments.quick else 20
    folder = bench.folder / "schedules"
    configs = bench.configs("".join(PIPELINE.format(number=number) for number in range(count)) + SINK, folder)
    out = folder / "out.ndjson"
    with service([bench.gatherd, "run", *configs], folder, limit=180) as running:
        wait_until(lambda: out.exists() and len({tick[0] for tick in ticks(out)}) == count, "not all ticked", 60)
        began = time.time()
        time.sleep(seconds)
        ended, resident = time.time(), memory(running.pid)
    late, seen = [], collections.Counter()
    for number, tick, now in ticks(out):
        if began <= tick < ended:
            late.append(now - tick)
            seen[number] += 1
    left_out = sum(max(0, seconds - times) for times in (seen[number] for number in range(count)))
    if max(seen.values()) > seconds + 1 or min(late) < -0.001:
        sys.exit("ticks came twice, or before their time")
    shutil.rmtree(folder)
    spots = statistics.quantiles(late, n=1000)
    rows = [
        ["schedules", "start to READY", "ticks", "left out", "median", "99 %", "99.9 %", "latest", "resident"],
        [
            f"{count:,}",
            f"{running.seconds_to_ready:.1f} s",
            f"{len(late):,}",
            f"{left_out:,}",
            *(milliseconds(spots[at]) for at in (499, 989, 998)),
            milliseconds(max(late)),
            mebibytes(resident),
        ],
    ]
    name = f"{count:,} schedules of one second: 99 % within so long of their tick"
    # A tick that was left out is later than any.
    worst = spots[989] if left_out <= 0.01 * seconds * count else float("inf")
    return Report(list(table(*rows)), [Figure(name, worst, milliseconds, 0.02, 0.005)])


def ticks(path):
    """The schedule's number, when it should have ticked, and when it did; in seconds."""
    with open(path, encoding="utf-8") as file:
        for line in file:
            if line.endswith("\n"):
                number, tick, now = json.loads(line)
                yield number, timestamp(tick), now


def timestamp(text):
    """Of RFC 3339 in UTC, with any number of decimals."""
    whole, _, fraction = text.removesuffix("Z").partition(".")
    return whole_seconds(whole) + float(f"0.{fraction or 0}")


@functools.cache
def whole_seconds(text):
    return calendar.timegm(time.strptime(text, "%Y-%m-%dT%H:%M:%S"))
