"""What is measured, part by part.

A part has a TITLE, the PROGRAMS it needs beside gatherd, `prepare(bench)`, which builds and makes what takes long
before the clock runs, and `run(bench)`, which checks what came out and answers a Report.
"""

from . import bodies, encrypted, engine, fetch, growth, idle, in_flight, library, schedules, start

ALL = {
    "fetch": fetch,
    "encrypted": encrypted,
    "bodies": bodies,
    "engine": engine,
    "growth": growth,
    "in-flight": in_flight,
    "idle": idle,
    "schedules": schedules,
    "start": start,
    "library": library,
}
