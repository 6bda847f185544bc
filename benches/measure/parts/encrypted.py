"""Fetching the same documents over TLS 1.3, and over HTTP/2: wrk and h2load are the limits."""

import re
import shutil
import sys

from ..figures import Figure, Report, table, times
from ..process import measure, median
from ..talk import say
from .fetch import run_wrk

TITLE = "Over TLS 1.3, and over HTTP/2"
PROGRAMS = ["h2load", "nginx", "openssl", "wrk"]
MUST, AIM = 2.2, 1.8


def prepare(bench):
    pass


def run(bench):
    runs = {}
    for turn in bench.rounds():
        for what, run_one in RUNS.items():
            say(f"round {turn}: {what}")
            runs.setdefault(what, []).append(run_one(bench))
    runs = {what: median(measured) for what, measured in runs.items()}
    return Report(list(lines(runs)), list(figures(runs)))


def run_wrk_over_tls(bench):
    return run_wrk(bench, 1, f"{bench.site.tls}/{bench.documents.numbers[0]}.json")


def run_h2load(bench):
    """As many streams as gatherd has workers, on one connection, as gatherd's client shares one."""
    requests, url = len(bench.documents), f"{bench.site.http2}/{bench.documents.numbers[0]}.json"
    command = ["h2load", "-t1", "-c1", f"-m{bench.connections}", f"-n{requests}", url]
    run = measure(requests, command, bench.folder / "h2load")
    found = re.search(r"finished in ([\d.]+)(m?s),", run.output)
    signs = ["Application protocol: h2\n", f" {requests} succeeded, 0 failed"]
    if not found or not all(sign in run.output for sign in signs):
        sys.exit(f"h2load did not get what it asked for:\n{run.output}")
    run.wall_seconds = float(found[1]) / (1000 if found[2] == "ms" else 1)
    return run


def run_gatherd(bench, base):
    folder = bench.folder / "gatherd"
    folder.mkdir()
    (folder / "urls.txt").symlink_to(bench.urls(base, "encrypted.txt"))
    environment = {"AUTHORITY": str(bench.site.authority)}
    run = bench.once("tls.toml", len(bench.documents), folder, environment=environment)
    bench.documents.check(folder / "out.ndjson", whole=True)
    shutil.rmtree(folder)
    return run


WRK, OVER_TLS = "wrk, TLS 1.3", "gatherd: `get` + `file`, TLS 1.3"
H2LOAD, OVER_HTTP2 = "h2load, HTTP/2", "gatherd: `get` + `file`, HTTP/2"
RUNS = {
    WRK: run_wrk_over_tls,
    OVER_TLS: lambda bench: run_gatherd(bench, bench.site.tls),
    H2LOAD: run_h2load,
    OVER_HTTP2: lambda bench: run_gatherd(bench, bench.site.http2),
}
LIMITS = {OVER_TLS: WRK, OVER_HTTP2: H2LOAD}


def lines(runs):
    rows = [["one thread each", "CPU per item", "against the limit", "items/s", "of the limit's", "peak memory"]]
    for what, run in runs.items():
        limit = runs[LIMITS.get(what, what)]
        rows.append(
            [
                what,
                f"{run.cpu_per_item:.1f} µs",
                f"{run.cpu_per_item / limit.cpu_per_item:.2f}x",
                f"{run.items_per_second:,.0f}",
                f"{run.items_per_second / limit.items_per_second:.0%}",
                f"{run.peak_bytes / 2**20:.0f} MiB",
            ]
        )
    return table(*rows)


def figures(runs):
    for what, limit in LIMITS.items():
        ratio = runs[what].cpu_per_item / runs[limit].cpu_per_item
        name = f"{what.removeprefix('gatherd: ')}: CPU per item against {limit.split(',')[0]}'s per request"
        yield Figure(name, ratio, times, MUST, AIM)
