"""Fetching 1 KB documents from a static nginx: gatherd, wrk as the limit, and the asyncio scripts."""

import re
import shutil
import sys

from .. import programs
from ..figures import Figure, Report, percent, table, times
from ..places import BENCHES
from ..process import measure, median
from ..talk import say

TITLE = "Fetching"
PROGRAMS = ["nginx", "openssl", "wrk"]

# What a job is called, and what is due of its CPU time against wrk's.
JOBS = {
    "file": ("`get` + `file`", (2.0, 1.6)),
    "polite": ("`get` + `file`, signed, polite and paged", None),
    "map-file": ("`get` + `map` + `file`", (2.2, 1.7)),
    "map-new-sqlite": ("`get` + `map` + `new` + `sqlite`", (3.2, 2.6)),
}

# These are run on each of the given numbers of threads, the others on the first alone.
ON_MORE_THREADS = ["file", "map-new-sqlite"]

# What the scripts are called.
SCRIPTS = {"with_aiohttp": "asyncio, aiohttp", "with_httptools": "asyncio, own client on httptools"}

# They do not do what these do.
WITHOUT_SCRIPTS = ["polite"]


def prepare(bench):
    if not bench.arguments.without_scripts:
        programs.python_with_packages()


def run(bench):
    arguments, base = bench.arguments, bench.site.plain
    urls = bench.urls(base, "urls.txt")
    bench.urls(base, "starts.txt", bench.documents.numbers[: bench.connections])
    runs = {}
    for turn in bench.rounds():
        for threads in arguments.threads:
            say(f"round {turn}: wrk, {threads} threads")
            runs.setdefault(("wrk", threads), []).append(
                run_wrk(bench, threads, f"{base}/{bench.documents.numbers[0]}.json")
            )
        for job in arguments.job:
            for threads in arguments.threads if job in ON_MORE_THREADS else arguments.threads[:1]:
                say(f"round {turn}: gatherd {job}, {threads} threads")
                measured = run_gatherd(bench, job, threads, urls, base)
                runs.setdefault(("gatherd", job, threads), []).append(measured)
            if not arguments.without_scripts and job not in WITHOUT_SCRIPTS:
                for script in SCRIPTS:
                    say(f"round {turn}: {script} {job}")
                    runs.setdefault((script, job), []).append(run_script(bench, script, job, urls))
    runs = {what: median(measured) for what, measured in runs.items()}
    return Report(list(lines(bench, runs)), list(figures(bench, runs)))


def run_wrk(bench, threads, url):
    seconds = bench.arguments.seconds
    command = ["wrk", f"-t{threads}", f"-c{bench.connections}", f"-d{seconds}s", url]
    run = measure(1, command, bench.folder / "wrk")
    found = re.search(r"(\d+) requests in ([\d.]+)(m?s), ", run.output)
    if not found or "Non-2xx" in run.output or "Socket errors" in run.output:
        sys.exit(f"wrk did not get what it asked for:\n{run.output}")
    run.items = int(found[1])
    run.wall_seconds = float(found[2]) / (1000 if found[3] == "ms" else 1)
    return run


def run_gatherd(bench, job, threads, urls, base):
    folder = bench.folder / "gatherd"
    folder.mkdir()
    (folder / "urls.txt").symlink_to(urls)
    (folder / "starts.txt").symlink_to(urls.parent / "starts.txt")
    environment = {"BASE": base, "TOKEN": "a-token-of-forty-letters-or-thereabouts"}
    run = bench.once(f"{job}.toml", len(bench.documents), folder, threads, environment)
    return checked(bench, job, folder, run)


def run_script(bench, script, job, urls):
    folder = bench.folder / "script"
    command = [programs.python_with_packages(), BENCHES / "scripts" / f"{script}.py", urls, output_of(job), job]
    return checked(bench, job, folder, measure(len(bench.documents), command, folder))


def checked(bench, job, folder, run):
    bench.documents.check(folder / output_of(job), whole=job in ("file", "polite"))
    shutil.rmtree(folder)
    return run


def output_of(job):
    return "out.db" if job == "map-new-sqlite" else "out.ndjson"


def lines(bench, runs):
    rows = [["", "threads", "CPU per item", "against wrk", "against gatherd", "items/s", "of wrk's", "peak memory"]]
    for what, run in runs.items():
        threads = 1 if what[0] in SCRIPTS else what[-1]
        wrk = runs.get(("wrk", threads)) or runs["wrk", bench.arguments.threads[0]]
        name = "wrk" if what[0] == "wrk" else f"{SCRIPTS.get(what[0], 'gatherd')}: {JOBS[what[1]][0]}"
        gatherd = runs["gatherd", what[1], bench.arguments.threads[0]] if what[0] in SCRIPTS else None
        rows.append(
            [
                name,
                str(threads),
                f"{run.cpu_per_item:.1f} µs",
                f"{run.cpu_per_item / wrk.cpu_per_item:.2f}x",
                f"{run.cpu_per_item / gatherd.cpu_per_item:.1f}x" if gatherd else "",
                f"{run.items_per_second:,.0f}",
                f"{run.items_per_second / wrk.items_per_second:.0%}",
                f"{run.peak_bytes / 2**20:.0f} MiB",
            ]
        )
    yield from table(*rows)
    threads = bench.arguments.threads[0]
    plain, polite = runs.get(("gatherd", "file", threads)), runs.get(("gatherd", "polite", threads))
    if plain and polite:
        more = polite.cpu_per_item / plain.cpu_per_item - 1
        yield ""
        yield f"Signing, paging and politeness add {more:+.0%} to the CPU per item of a plain `get` + `file`."


def figures(bench, runs):
    """With as many threads as gatherd runs on by itself."""
    threads = bench.arguments.threads[0]
    wrk = runs["wrk", threads]
    jobs = [job for job in bench.arguments.job if JOBS[job][1]]
    for job in jobs:
        name, (must, aim) = JOBS[job]
        ratio = runs["gatherd", job, threads].cpu_per_item / wrk.cpu_per_item
        yield Figure(f"{name}: CPU per item against wrk's per request", ratio, times, must, aim)
    for script, what in SCRIPTS.items():
        for job in jobs:
            if measured := runs.get((script, job)):
                ratio = measured.cpu_per_item / runs["gatherd", job, threads].cpu_per_item
                name = f"{JOBS[job][0]}: CPU of the script ({what}) against gatherd's"
                yield Figure(name, ratio, times, 4, 6, more_is_better=True)
    for job in jobs:
        ratio = runs["gatherd", job, threads].items_per_second / wrk.items_per_second
        name = f"{JOBS[job][0]}: items a second against wrk's requests a second"
        yield Figure(name, ratio, percent, 0.55, 0.7, more_is_better=True)
