"""The same job as a script: asyncio on uvloop, aiohttp, orjson, batched writes that are on disk before they count.

    with_aiohttp.py URLS OUTPUT {file|map-file|map-new-sqlite}

Reads one URL a line, fetches each with 64 workers over kept-alive connections, and writes the replies: the documents
as NDJSON, five fields of each as NDJSON, or those of new stations and readings as rows of an SQLite table.
"""

import asyncio
import gc
import sys
from concurrent.futures import ThreadPoolExecutor

import aiohttp
import uvloop
from yarl import URL

from sinks import sink

WORKERS = 64
BATCH = 1000
TRIES = 5


async def fetch(session, url):
    """The reply's body; tried again after what may pass."""
    for attempt in range(TRIES):
        try:
            async with session.get(url) as response:
                if response.status < 400:
                    return await response.read()
                if response.status not in (408, 425, 429) and response.status < 500:
                    response.raise_for_status()
                fault = f"status {response.status}"
        except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, asyncio.TimeoutError) as error:
            fault = repr(error)
        await asyncio.sleep(2**attempt)
    raise RuntimeError(f"{url}: given up after {TRIES} tries: {fault}")


async def worker(session, urls, results, prepare):
    while (url := await urls.get()) is not None:
        result = prepare(await fetch(session, url))
        if result is not None:
            await results.put(result)
    await urls.put(None)


async def write_batches(results, write):
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
                await loop.run_in_executor(thread, write, batch)


async def main(urls_path, output_path, job):
    output = sink(job, output_path)
    urls = asyncio.Queue(BATCH)
    results = asyncio.Queue(BATCH)
    connector = aiohttp.TCPConnector(limit=0, ttl_dns_cache=300)
    timeout = aiohttp.ClientTimeout(total=30)
    jar = aiohttp.DummyCookieJar()
    async with aiohttp.ClientSession(connector=connector, timeout=timeout, cookie_jar=jar) as session:
        async with asyncio.TaskGroup() as tasks:
            writer = tasks.create_task(write_batches(results, output.write))
            workers = [tasks.create_task(worker(session, urls, results, output.prepare)) for _ in range(WORKERS)]
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
