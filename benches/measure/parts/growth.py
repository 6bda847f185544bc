"""Whether an item costs as much, and memory stays as it is, however many items came before."""

import shutil

from ..figures import Figure, Report, mebibytes, percent, table
from ..process import median, memory
from ..talk import say

TITLE = "Many items"
PROGRAMS = ["nginx", "openssl"]
FEW = 10_000


def prepare(_bench):
    pass


def run(bench):
    documents = bench.documents
    times = 2 if bench.arguments.quick else max(1, 1_000_000 // len(documents))
    many = times * len(documents)
    urls = bench.folder / "growth.txt"
    with open(urls, "w", encoding="ascii") as file:
        for time in range(times):
            # nginx gives the same document, but no URL comes twice.
            file.writelines(f"{bench.site.plain}/{number}.json?{time}\n" for number in documents.numbers)
    head = urls.read_text().splitlines(keepends=True)

    def fetch(count, watch=None):
        folder = bench.folder / "growth"
        folder.mkdir()
        (folder / "urls.txt").write_text("".join(head[:count]))
        run = bench.once("file.toml", count, folder, watch=watch)
        if count == many:
            documents.check(folder / "out.ndjson", whole=True, times=times)
        shutil.rmtree(folder)
        return run

    say("the start alone, and few items")
    start = median([fetch(1) for _ in range(5)])
    few = median([fetch(FEW) for _ in range(5)])
    say(f"{many:,} items")
    resident = []
    run = fetch(many, watch=lambda process: resident.append(memory(process)))
    rows = [["", "CPU per item", "less the start's", "resident, highest"]]
    costs = []
    for what, measured in [(f"{FEW:,} items", few), (f"{many:,} items", run)]:
        costs.append((measured.cpu_seconds - start.cpu_seconds) / measured.items)
        cost = f"{costs[-1] * 1e6:.2f} µs"
        rows.append([what, f"{measured.cpu_per_item:.2f} µs", cost, mebibytes(measured.peak_bytes)])
    tenth = len(resident) // 10
    early, late = max(resident[tenth : 2 * tenth]), max(resident[-tenth:])
    text = f"The start itself takes {start.cpu_seconds * 1e3:.1f} ms of CPU. With {many:,} items, the highest resident "
    text += f"memory was {mebibytes(early)} in the second tenth of the time and {mebibytes(late)} in the last."
    name = f"CPU per item at {many:,} items more than at {FEW:,}"
    figures = [
        Figure(name, costs[1] / costs[0] - 1, percent, 0.1),
        Figure("resident memory, growth from the second tenth of them to the last", late / early - 1, percent, 0.1),
    ]
    return Report([*table(*rows), "", text], figures)
