"""Answers `GET /NUMBER.json` with that document, after so many seconds: document_server.py DOCUMENTS CHAINS SECONDS

Prints its port, and for each line of its standard input how many requests have waited at once at most. What it sends is
the same everywhere, to the byte.
"""

import asyncio
import functools
import sys

from documents import Documents


class Answering(asyncio.Protocol):
    documents = None
    seconds = 0.0
    waiting = 0
    most = 0

    def connection_made(self, transport):
        self.transport = transport
        self.buffered = b""

    def data_received(self, data):
        self.buffered += data
        while b"\r\n\r\n" in self.buffered:
            head, self.buffered = self.buffered.split(b"\r\n\r\n", 1)
            number = head.split(b" ", 2)[1].removeprefix(b"/").removesuffix(b".json")
            Answering.waiting += 1
            Answering.most = max(Answering.most, Answering.waiting)
            if self.seconds:
                asyncio.get_running_loop().call_later(self.seconds, self.answer, int(number))
            else:
                self.answer(int(number))

    def answer(self, number):
        Answering.waiting -= 1
        self.transport.write(reply(number))


@functools.cache
def reply(number):
    body = Answering.documents.text(number).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


async def main():
    documents, chains, seconds = sys.argv[1:]
    Answering.documents = Documents(int(documents), int(chains))
    Answering.seconds = float(seconds)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Answering, "127.0.0.1", 0, backlog=16_384)
    print(server.sockets[0].getsockname()[1], flush=True)
    loop.add_reader(sys.stdin, lambda: sys.stdin.readline() and print(Answering.most, flush=True))
    await server.serve_forever()


asyncio.run(main())
