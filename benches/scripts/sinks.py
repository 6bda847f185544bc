"""Where the scripts write to: what is written is on disk before it counts."""

import os
import sqlite3

import orjson


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

    def write(self, lines):
        data = memoryview(b"".join(lines))
        while data:
            data = data[os.write(self.file, data) :]
        os.fdatasync(self.file)


class Documents(File):
    """Each document as it came, if it is one line of JSON."""

    def prepare(self, body):
        document = orjson.loads(body)
        return body + b"\n" if b"\n" not in body else orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE)


class Fields(File):
    def prepare(self, body):
        return orjson.dumps(five_fields(orjson.loads(body)), option=orjson.OPT_APPEND_NEWLINE)


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

    def prepare(self, body):
        row = tuple(five_fields(orjson.loads(body)).values())
        if row[0] in self.seen:
            return None
        self.seen.add(row[0])
        return row

    def write(self, rows):
        self.database.execute("BEGIN IMMEDIATE")
        self.database.executemany("INSERT INTO seen VALUES (?)", [row[:1] for row in rows])
        self.database.executemany(
            "INSERT INTO readings VALUES (?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET station = excluded.station, "
            "time = excluded.time, temperature = excluded.temperature, wind = excluded.wind",
            rows,
        )
        self.database.execute("COMMIT")


def sink(job, path):
    return {"file": Documents, "map-file": Fields, "map-new-sqlite": Table}[job](path)
