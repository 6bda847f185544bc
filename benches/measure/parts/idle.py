"""What ten pipelines take that wait for their next tick."""

import json
import shutil
import sys
import time

from ..figures import Figure, Report, mebibytes
from ..process import memory, service, wait_until, wake_ups

TITLE = "Idle"
PROGRAMS = ["nginx", "openssl"]
PIPELINES = 10

PIPELINE = """
[pipeline.p{number}]
from  = {{ every = "1h" }}
steps = [
  {{ get = {{ url = "{url}" }} }},
  {{ map = "{{id, station: .station.name}}" }},
]
to    = ["f{number}"]

[sink.f{number}]
file = "{number}.ndjson"
"""


def config(numbers, base):
    return "".join(PIPELINE.format(number=number, url=f"{base}/{number}.json") for number in numbers)


def prepare(_bench):
    pass


def run(bench):
    folder = bench.folder / "idle"
    numbers = bench.documents.numbers[:PIPELINES]
    configs = bench.configs(config(numbers, bench.site.plain), folder)
    seconds = 5 if bench.arguments.quick else 30
    with service([bench.gatherd, "run", *configs], folder) as running:
        # The first ticks come within five seconds.
        files = [folder / f"{number}.ndjson" for number in numbers]
        wait_until(lambda: all(has_content(file) for file in files), f"{folder}: not all have ticked", 30)
        for number, file in zip(numbers, files, strict=True):
            if json.loads(file.read_text())["id"] != number:
                sys.exit(f"{file}: this is not what was asked for")
        time.sleep(5)
        before = wake_ups(running.pid)
        time.sleep(seconds)
        rate = (wake_ups(running.pid) - before) / seconds
        resident = memory(running.pid)
        of_files = memory(running.pid, "RssFile")
    shutil.rmtree(folder)
    text = f"{PIPELINES} pipelines (`every` → `get` → `map` → `file`) that have ticked once and wait for an hour: "
    text += f"{resident / 2**20:.1f} MiB, of which {of_files / 2**20:.1f} MiB are the program's own file, "
    text += f"and {rate:.2f} wake-ups a second."
    return Report(
        [text],
        [
            Figure(f"resident idle with {PIPELINES} pipelines", resident, mebibytes, 12 * 2**20, 8 * 2**20),
            Figure("… its wake-ups a second besides ticks", rate, lambda value: f"{value:.2f}", 1),
        ],
    )


def has_content(file):
    return file.exists() and file.stat().st_size > 0
