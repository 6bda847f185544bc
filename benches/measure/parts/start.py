"""How long gatherd takes from its start until it is ready: with nothing in its store, and with many queued items."""

import json
import shutil
import statistics
import sys

from ..figures import Figure, Report, milliseconds, table
from ..process import service
from ..talk import say

TITLE = "Start to READY"
PROGRAMS = []

EMPTY = """
[pipeline.beat]
from = { every = "1h" }
to   = []
"""

FILL = """
[pipeline.fill]
from = {{ items = {{ range = [1, {items}] }} }}
to   = ["work"]

[queue.work]
"""

DRAIN = """
[pipeline.drain]
from = { queue = "work" }
to   = ["out"]

[sink.out]
file = "out.ndjson"

[queue.work]
"""


def prepare(_bench):
    pass


def run(bench):
    queued = 50_000 if bench.arguments.quick else 1_000_000
    rows = [["", "median of 5", "slowest"]]
    first, again = [], []
    say("an empty store")
    for turn in range(5):
        folder = bench.folder / f"start-{turn}"
        configs = bench.configs(EMPTY, folder)
        for measured in (first, again):
            with service([bench.gatherd, "run", *configs], folder) as running:
                measured.append(running.seconds_to_ready)
        shutil.rmtree(folder)
    say(f"{queued:,} queued items")
    folder = bench.folder / "start"
    bench.once(FILL.format(items=queued), queued, folder)
    many = []
    configs = bench.configs(DRAIN, folder)
    for _ in range(5):
        with service([bench.gatherd, "run", *configs], folder) as running:
            many.append(running.seconds_to_ready)
    bench.once(DRAIN, queued, folder)
    check(folder / "out.ndjson", queued)
    shutil.rmtree(folder)
    kinds = {"a new state folder": first, "an empty store": again, f"{queued:,} queued items": many}
    rows += [[what, milliseconds(statistics.median(all)), milliseconds(max(all))] for what, all in kinds.items()]
    figures = [
        Figure("start to READY, new state folder", statistics.median(first), milliseconds, 0.03, 0.01),
        Figure("start to READY, empty store", statistics.median(again), milliseconds, 0.03, 0.01),
        Figure(f"start to READY, {queued:,} queued items", statistics.median(many), milliseconds, 2, 1),
    ]
    return Report(list(table(*rows)), figures)


def check(path, queued):
    with open(path, encoding="ascii") as file:
        numbers = sorted(json.loads(line) for line in file)
    if numbers != list(range(1, queued + 1)):
        sys.exit(f"{path}: of {queued} queued items {len(set(numbers))} came out, in {len(numbers)} lines")
