"""What is fetched: JSON documents of 1 KB, all different, and whether what became of them is right."""

import contextlib
import json
import sqlite3
import sys

DOCUMENT_BYTES = 1024
FIRST = 1_000_000


def document(number, chains, end):
    """What is served as `NUMBER.json`: 1 KB, different for each number. Each leads to the next of its chain."""
    value = {
        "id": number,
        "next": f"/{number + chains}.json" if number + chains < end else None,
        "station": {
            "name": f"Station {number % 997}",
            "network": "north",
            "latitude": 40 + number % 1000 / 100,
            "longitude": -number % 1000 / 100,
            "tags": ["coast", "automatic", "10 m"],
        },
        "time": f"2026-{number % 12 + 1:02}-{number % 28 + 1:02}T{number % 24:02}:{number % 60:02}:00Z",
        "measured": {
            "temperature": number % 400 / 10,
            "humidity": number % 100,
            "pressure": 980 + number % 500 / 10,
            "wind": {"speed": number % 300 / 10, "direction": number % 360, "gusts": None},
        },
        "hours": [{"hour": hour, "temperature": (number + hour) % 400 / 10, "rain": False} for hour in range(9)],
        "note": "",
    }
    length = len(json.dumps(value, separators=(",", ":")))
    value["note"] = ("Readings are checked every hour. " * 20)[: DOCUMENT_BYTES - length]
    return value


def five_fields(value):
    measured = value["measured"]
    return {
        "id": value["id"],
        "station": value["station"]["name"],
        "time": value["time"],
        "temperature": measured["temperature"],
        "wind": measured["wind"]["speed"],
    }


class Documents:
    """So many documents, in as many chains as there are connections."""

    def __init__(self, count, chains):
        self.chains = chains
        self.numbers = range(FIRST, FIRST + count)
        # The number by the text, once it was found right: of documents, and of five of their fields.
        self.right = {True: {}, False: {}}

    def __len__(self):
        return len(self.numbers)

    def write(self, folder):
        """A file for each."""
        folder.mkdir()
        for number in self.numbers:
            (folder / f"{number}.json").write_text(self.text(number))

    def write_lines(self, path):
        """One file of them all, as NDJSON."""
        with open(path, "w", encoding="utf-8") as file:
            file.writelines(f"{self.text(number)}\n" for number in self.numbers)

    def text(self, number):
        text = json.dumps(self[number], separators=(",", ":"))
        assert len(text) == DOCUMENT_BYTES, f"document {number} has {len(text)} bytes"
        return text

    def __getitem__(self, number):
        return document(number, self.chains, self.numbers.stop)

    def check(self, path, whole, times=1):
        """Ends the bench unless every document is there so many times, with the right content: `whole`, or five of
        its fields."""
        missing = dict.fromkeys(self.numbers, times)
        right = self.right[whole]
        for text in rows(path) if path.suffix == ".db" else lines(path):
            number = right.get(text)
            if number is None:
                value = json.loads(text)
                number = value.get("id")
                if number not in missing:
                    sys.exit(f"{path}: document {number} was never asked for")
                if value != (self[number] if whole else five_fields(self[number])):
                    sys.exit(f"{path}: document {number} is altered: {value}")
                right[text] = number
            missing[number] -= 1
            if missing[number] < 0:
                sys.exit(f"{path}: document {number} is there too often")
        if absent := [number for number, count in missing.items() if count]:
            sys.exit(f"{path}: {len(absent)} documents are missing, such as {absent[0]}")


def lines(path):
    with open(path, encoding="utf-8") as file:
        yield from file


def rows(path):
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.row_factory = sqlite3.Row
        for row in database.execute("SELECT id, station, time, temperature, wind FROM readings"):
            yield json.dumps(dict(row))
