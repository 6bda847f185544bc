"""The same job as a script with a client of its own: asyncio on uvloop, httptools, orjson, batched durable writes.

    with_httptools.py URLS OUTPUT {file|map-file|map-new-sqlite}

Reads one URL a line, fetches each with 64 requests in flight over kept-alive connections, and does with the replies
what with_aiohttp.py does. No task and no future a request: callbacks lead from one reply to the next request. What a
library would bring is not there: redirects, proxies, cookies, compression.
"""

import asyncio
import collections
import gc
import ssl
import sys
from concurrent.futures import ThreadPoolExecutor

import httptools
import uvloop

from sinks import sink

IN_FLIGHT = 64
BATCH = 1000
BATCH_SECONDS = 0.2
# Beyond so many results that are not written yet, no more is asked for.
HELD = 4 * BATCH
TRIES = 5
TIME_LIMIT = 30


class Request:
    __slots__ = ("url", "origin", "head", "tries")

    def __init__(self, url):
        scheme, _, host, path = url.split("/", 3)
        self.url = url
        self.origin = scheme, host
        self.head = f"GET /{path} HTTP/1.1\r\nHost: {host}\r\nAccept: */*\r\nUser-Agent: gather\r\n\r\n".encode("ascii")
        self.tries = 0


class Connection(asyncio.Protocol):
    """Carries one request after the other."""

    def __init__(self, gather):
        self.gather = gather
        self.request = None

    def connection_made(self, transport):
        self.transport = transport
        self.parser = httptools.HttpResponseParser(self)

    def send(self, request, now):
        self.request = request
        self.began = now
        self.body = b""
        self.transport.write(request.head)

    def data_received(self, data):
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError as error:
            self.fail(repr(error))

    def on_body(self, data):
        self.body = self.body + data if self.body else data

    def on_message_complete(self):
        request, self.request = self.request, None
        status, reuse = self.parser.get_status_code(), self.parser.should_keep_alive()
        if not reuse:
            self.transport.close()
        self.gather.replied(request, status, self.body, self if reuse else None)

    def connection_lost(self, error):
        self.gather.connections.discard(self)
        self.fail(f"the connection was closed: {error!r}")

    def fail(self, fault):
        request, self.request = self.request, None
        self.transport.abort()
        if request:
            self.gather.failed(request, fault)


class Gather:
    def __init__(self, urls, sink):
        self.urls = urls
        self.sink = sink
        self.loop = asyncio.get_running_loop()
        self.over = self.loop.create_future()
        self.thread = ThreadPoolExecutor(1)
        self.connections = set()
        self.idle = collections.defaultdict(list)
        self.tls = ssl.create_default_context()
        self.in_flight = 0
        self.batch = []
        self.writing = False
        self.timer = None

    async def run(self):
        self.watch()
        self.fill()
        await self.over

    # Requests

    def fill(self):
        """Keeps as many requests in flight as may be, unless writing does not keep up."""
        while self.in_flight < IN_FLIGHT and len(self.batch) < HELD:
            line = self.urls.readline()
            if not line:
                break
            self.in_flight += 1
            self.send(Request(line.rstrip("\n")))

    def send(self, request):
        request.tries += 1
        idle = self.idle[request.origin]
        while idle:
            connection = idle.pop()
            if connection in self.connections:
                connection.send(request, self.loop.time())
                return
        self.loop.create_task(self.connect(request))

    async def connect(self, request):
        scheme, authority = request.origin
        host, _, port = authority.partition(":")
        try:
            _, connection = await asyncio.wait_for(
                self.loop.create_connection(
                    lambda: Connection(self),
                    host,
                    int(port or (443 if scheme == "https:" else 80)),
                    ssl=self.tls if scheme == "https:" else None,
                ),
                TIME_LIMIT,
            )
        except (OSError, asyncio.TimeoutError) as error:
            self.failed(request, repr(error))
            return
        self.connections.add(connection)
        connection.send(request, self.loop.time())

    def watch(self):
        """Ends what has taken too long."""
        now = self.loop.time()
        for connection in list(self.connections):
            if connection.request and now - connection.began > TIME_LIMIT:
                connection.fail("no reply in time")
        self.loop.call_later(1, self.watch)

    def replied(self, request, status, body, connection):
        """`connection` is nothing if it cannot be used again."""
        if connection:
            self.idle[request.origin].append(connection)
        if status in (408, 425, 429) or status >= 500:
            self.failed(request, f"status {status}")
        elif status >= 400:
            self.give_up(RuntimeError(f"{request.url}: status {status}"))
        else:
            self.take(body)

    def take(self, body):
        try:
            result = self.sink.prepare(body)
        except (ValueError, LookupError, TypeError) as error:
            self.give_up(error)
            return
        if result is not None:
            self.batch.append(result)
        self.in_flight -= 1
        self.fill()
        self.write_soon()

    def failed(self, request, fault):
        if request.tries == TRIES:
            self.give_up(RuntimeError(f"{request.url}: given up after {TRIES} tries: {fault}"))
        else:
            self.loop.call_later(2 ** (request.tries - 1), self.send, request)

    def give_up(self, error):
        if not self.over.done():
            self.over.set_exception(error)

    # Writing

    def write_soon(self):
        if len(self.batch) >= BATCH or not self.in_flight:
            self.write()
        elif self.batch and not self.timer:
            self.timer = self.loop.call_later(BATCH_SECONDS, self.write)

    def write(self):
        """Writes what there is, on a thread while the loop goes on."""
        if self.timer:
            self.timer.cancel()
            self.timer = None
        if self.writing:
            return
        if self.batch:
            self.writing, batch, self.batch = True, self.batch, []
            self.thread.submit(self.sink.write, batch).add_done_callback(
                lambda written: self.loop.call_soon_threadsafe(self.written, written)
            )
        elif not self.in_flight and not self.over.done():
            self.over.set_result(None)

    def written(self, written):
        self.writing = False
        if error := written.exception():
            self.give_up(error)
            return
        self.fill()
        self.write_soon()


async def main(urls_path, output_path, job):
    with open(urls_path, encoding="ascii") as urls:
        await Gather(urls, sink(job, output_path)).run()


if __name__ == "__main__":
    gc.disable()
    uvloop.run(main(*sys.argv[1:]))
