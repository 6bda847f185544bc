"""Parts of gatherd measured without the program around them: filters, and the durable queue."""

import re
import sys

from ..figures import Figure, Report, percent, times
from ..process import measure

TITLE = "Parts by themselves"
PROGRAMS = []


def prepare(bench):
    for name in ("filters", "queue"):
        bench.library_bench(name)


def run(bench):
    quick = bench.arguments.quick
    filters = output_of(bench, "filters", ["--milliseconds", 20] if quick else ["--milliseconds", 100])
    queue = output_of(bench, "queue", ["--items", 20_000, "--queued", 10_000] if quick else [])
    return Report(
        [*filters.splitlines(), "", "```text", *queue.splitlines(), "```"],
        [*figures_of_filters(filters), figure_of_queue(queue)],
    )


def output_of(bench, name, words):
    return measure(1, [bench.library_bench(name), *words], bench.folder / name).output


def figures_of_filters(output):
    """Of the two items that they are run on, the one for which native operations gain less."""
    means = re.findall(r"^\| geometric mean \| \| \| ([\d.]+)x \| \| \| ([\d.]+)x \|", output, re.MULTILINE)
    if not means:
        sys.exit(f"the bench of filters does not say how fast they were:\n{output}")
    for what, ratios in zip(["alone", "from JSON text to JSON text"], zip(*means)):
        name = f"common jq filters {what}: CPU in jaq against native (mean of the ratios)"
        yield Figure(name, min(map(float, ratios)), times, 5, 8, more_is_better=True)


def figure_of_queue(output):
    found = re.search(r"^queue: .* items/s, ([\d.]+) of the blobs", output, re.MULTILINE)
    if not found:
        sys.exit(f"the bench of the queue does not say how fast it was:\n{output}")
    name = "durable queue: push + lease + ack against the raw store's batched insert + delete"
    return Figure(name, float(found[1]), percent, 0.5, 0.7, more_is_better=True)
