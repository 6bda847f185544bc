"""The same job as a script: asyncio on uvloop, aiohttp, orjson, batched writes that are on disk before they count.

    gather.py URLS OUTPUT {file|map-file|map-new-sqlite}

Reads one URL a line, fetches each with 64 workers over kept-alive connections, and writes the replies: the documents
as NDJSON, five fields of each as NDJSON, or those of new stations and readings as rows of an SQLite table.
"""

import asyncio
import gc
import os
import sqlite3
import sys
from concurrent.futures import ThreadPoolExecutor

import aiohttp
import orjson
import uvloop
from yarl import URL

WORKERS = 64
BATCH = 1000
TRIES = 5


def five_fields(document):
    measured = document["measured"]
    return {
        "id": document["id"],
        "station": document["station"]["name"],
        "time": document["time"],
        "temperature": measured["temperature"],
        "wind": measured["wind"]["speed"],
    }


class File:
    """Appends lines; a batch is on disk when `write` returns."""

    def __init__(self, path):
        self.file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    @staticmethod
    def prepare(value):
        return orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE)

    def write(self, lines):
        data = memoryview(b"".join(lines))
        while data:
            data = data[os.write(self.file, data) :]
        os.fdatasync(self.file)


class Table:
    """Upserts rows that were not seen before; row and mark are committed together."""

    def __init__(self, path):
        self.database = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self.database.executescript(
            """
            PRAGMA journal_mode = wal;
            PRAGMA synchronous = full;
            CREATE TABLE IF NOT EXISTS seen (key INTEGER PRIMARY KEY) WITHOUT ROWID;
            CREATE TABLE IF NOT EXISTS readings
                (id INTEGER PRIMARY KEY, station TEXT, time TEXT, temperature REAL, wind REAL);
            """
        )
        self.seen = {key for (key,) in self.database.execute("SELECT key FROM seen")}

    def prepare(self, row):
        if row["id"] in self.seen:
            return None
        self.seen.add(row["id"])
        return tuple(row.values())

    def write(self, rows):
        self.database.execute("BEGIN IMMEDIATE")
        self.database.executemany("INSERT INTO seen VALUES (?)", [row[:1] for row in rows])
        self.database.executemany(
            "INSERT INTO readings VALUES (?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET station = excluded.station, "
            "time = excluded.time, temperature = excluded.temperature, wind = excluded.wind",
            rows,
        )
        self.database.execute("COMMIT")


async def fetch(session, url):
    """The reply's document; tried again after what may pass."""
    for attempt in range(TRIES):
        try:
            async with session.get(url) as response:
                if response.status < 400:
                    return orjson.loads(await response.read())
                if response.status not in (408, 425, 429) and response.status < 500:
                    response.raise_for_status()
                fault = f"status {response.status}"
        except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, asyncio.TimeoutError) as error:
            fault = repr(error)
        await asyncio.sleep(2**attempt)
    raise RuntimeError(f"{url}: given up after {TRIES} tries: {fault}")


async def worker(session, urls, results, transform, prepare):
    while (url := await urls.get()) is not None:
        document = await fetch(session, url)
        result = prepare(transform(document) if transform else document)
        if result is not None:
            await results.put(result)
    await urls.put(None)


async def write_batches(results, sink):
    """Takes all that is there, up to a batch, and writes it on a thread while the loop goes on."""
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(1) as thread:
        at_end = False
        while not at_end:
            batch = [await results.get()]
            while len(batch) < BATCH and not results.empty():
                batch.append(results.get_nowait())
            if batch[-1] is None:
                at_end = True
                batch.pop()
            if batch:
                await loop.run_in_executor(thread, sink.write, batch)


async def main(urls_path, output_path, job):
    transform = None if job == "file" else five_fields
    sink = Table(output_path) if job == "map-new-sqlite" else File(output_path)
    urls = asyncio.Queue(BATCH)
    results = asyncio.Queue(BATCH)
    connector = aiohttp.TCPConnector(limit=0, ttl_dns_cache=300)
    timeout = aiohttp.ClientTimeout(total=30)
    jar = aiohttp.DummyCookieJar()
    async with aiohttp.ClientSession(connector=connector, timeout=timeout, cookie_jar=jar) as session:
        async with asyncio.TaskGroup() as tasks:
            writer = tasks.create_task(write_batches(results, sink))
            workers = [
                tasks.create_task(worker(session, urls, results, transform, sink.prepare)) for _ in range(WORKERS)
            ]
            with open(urls_path, encoding="ascii") as lines:
                for line in lines:
                    await urls.put(URL(line.rstrip("\n"), encoded=True))
            await urls.put(None)
            await asyncio.gather(*workers)
            await results.put(None)
            await writer


if __name__ == "__main__":
    gc.freeze()
    gc.set_threshold(100_000)
    uvloop.run(main(*sys.argv[1:]))
