"""The engine alone, against numbers that go through two channels."""

import re
import sys

from ..figures import Figure, Report, percent, table
from ..process import measure, median
from ..talk import say

TITLE = "The engine alone"
PROGRAMS = []
ITEMS = 1_000_000  # as in engine.toml


def prepare(bench):
    bench.library_bench("two_hops")


def run(bench):
    runs = {}
    for turn in bench.rounds():
        for threads in bench.arguments.threads:
            say(f"round {turn}: two hops and the engine, {threads} threads")
            command = [bench.library_bench("two_hops"), "--items", ITEMS, "--threads", threads]
            two_hops = measure(ITEMS, command, bench.folder)
            folder = bench.folder / f"engine-{turn}-{threads}"
            engine = bench.once("engine.toml", ITEMS, folder, threads)
            check(engine.output)
            runs.setdefault(("two hops of async-channel", threads), []).append(two_hops)
            runs.setdefault(("gatherd: `items` → `map` → `to = []`", threads), []).append(engine)
    runs = {what: median(measured) for what, measured in runs.items()}
    return Report(list(lines(runs)), figures(bench, runs))


def figures(bench, runs):
    threads = bench.arguments.threads[0]
    two_hops, engine = [run for (_, ran_on), run in runs.items() if ran_on == threads]
    ratio = engine.items_per_second / two_hops.items_per_second
    name = "engine alone: items a second against two hops of async-channel"
    return [Figure(name, ratio, percent, 0.4, 0.6, more_is_better=True)]


def check(text):
    """`to = []` leaves nothing to look at but what gatherd counted: two_hops checks its numbers itself."""
    everything = rf"{ITEMS} items from the source, 0 delivered, {ITEMS} filtered \(no_sink {ITEMS}\)$"
    if not re.search(everything, text, re.MULTILINE):
        sys.exit(f"gatherd does not say that {ITEMS} items came and went:\n{text}")


def lines(runs):
    rows = [["", "threads", "CPU per item", "against the two hops", "items/s", "of the two hops'", "peak memory"]]
    for (name, threads), run in runs.items():
        two_hops = next(run for (_, ran_on), run in runs.items() if ran_on == threads)
        rows.append(
            [
                name,
                str(threads),
                f"{run.cpu_per_item:.2f} µs",
                f"{run.cpu_per_item / two_hops.cpu_per_item:.1f}x",
                f"{run.items_per_second:,.0f}",
                f"{run.items_per_second / two_hops.items_per_second:.0%}",
                f"{run.peak_bytes / 2**20:.0f} MiB",
            ]
        )
    return table(*rows)
