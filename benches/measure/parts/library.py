"""Parts of gatherd measured without the program around them: the durable queue."""

import re
import sys

from ..figures import Figure, Report, percent
from ..process import measure

TITLE = "Parts by themselves"
PROGRAMS = []


def prepare(bench):
    bench.library_bench("queue")


def run(bench):
    quick = ["--items", 20_000, "--queued", 10_000] if bench.arguments.quick else []
    output = measure(1, [bench.library_bench("queue"), *quick], bench.folder / "queue").output
    found = re.search(r"^queue: .* items/s, ([\d.]+) of the blobs", output, re.MULTILINE)
    if not found:
        sys.exit(f"the bench of the queue does not say how fast it was:\n{output}")
    name = "durable queue: push + lease + ack against the raw store's batched insert + delete"
    figure = Figure(name, float(found[1]), percent, 0.5, 0.7, more_is_better=True)
    return Report(["```text", "$ cargo bench --bench queue", *output.splitlines(), "```"], [figure])
