"""How much memory 10,000 requests take that wait for their replies."""

import resource
import shutil

from ..documents import Documents
from ..figures import Figure, Report, mebibytes
from ..servers import document_server

TITLE = "Replies in flight"
PROGRAMS = []
IN_FLIGHT = 10_000
SECONDS = 2


def prepare(_bench):
    pass


CONFIG = f"""
[http.slow]
per_host = {IN_FLIGHT}

[pipeline.fetch]
from  = {{ lines = "urls.txt" }}
steps = [{{ get = {{ via = "slow", url = "{{.}}", allow = ["127.0.0.1"] }}, workers = {IN_FLIGHT} }}]
to    = ["out"]

[sink.out]
file = "out.ndjson"
"""


def run(bench):
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most < IN_FLIGHT + 200:
        return Report([f"Not measured: a process may have {most} files open here."], [])
    documents = Documents(3 * IN_FLIGHT, 1)
    items = len(documents)
    folder = bench.folder / "in-flight"
    folder.mkdir()
    with document_server(documents, SECONDS) as (base, most_at_once):
        (folder / "urls.txt").write_text("".join(f"{base}/{number}.json\n" for number in documents.numbers))
        run = bench.once(CONFIG, items, folder)
        reached = most_at_once()
    documents.check(folder / "out.ndjson", whole=True)
    shutil.rmtree(folder)
    text = f"{items:,} replies from a server that waits {SECONDS} s, at most {reached:,} of them at once, in "
    text += f"{run.wall_seconds:.0f} s: {mebibytes(run.peak_bytes)} at most, {run.cpu_per_item:.1f} µs of CPU each."
    if reached < 0.99 * IN_FLIGHT:
        return Report([text, "", f"{IN_FLIGHT:,} were wanted at once, so this is no figure for them."], [])
    name = f"resident with {reached:,} replies in flight"
    return Report([text], [Figure(name, run.peak_bytes, mebibytes, 200 * 2**20, 80 * 2**20)])
