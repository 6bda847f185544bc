"""Runs programs, and measures what they take."""

import contextlib
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Run:
    """What one run of one program took."""

    items: int
    cpu_seconds: float
    wall_seconds: float
    peak_bytes: int
    output: str = ""

    @property
    def cpu_per_item(self):
        """In microseconds."""
        return self.cpu_seconds / self.items * 1e6

    @property
    def items_per_second(self):
        return self.items / self.wall_seconds


def median(runs):
    """A run of which each figure is the median of those of `runs`."""

    def middle(figure):
        return statistics.median(figure(run) for run in runs)

    items = runs[0].items
    return Run(
        items,
        middle(lambda run: run.cpu_per_item) * items / 1e6,
        items / middle(lambda run: run.items_per_second),
        middle(lambda run: run.peak_bytes),
    )


def measure(items, command, folder, environment=None, watch=None):
    """Runs a program to its end; its CPU time is user and system time of the process with all its threads. `watch` is
    called with the process's id, in a thread of its own, fifty times a second."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "stdout", "w+b") as stdout, open(folder / "stderr", "w+b") as stderr:
        os.sync()
        started = time.perf_counter()
        process = subprocess.Popen(
            [str(word) for word in command], cwd=folder, stdout=stdout, stderr=stderr, env=environment
        )
        with watch_peak(process.pid, watch) as peak:
            _, status, usage = os.wait4(process.pid, 0)
            wall = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        texts = [read_back(stdout), read_back(stderr)]
    if process.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))} ended with {process.returncode}:\n{''.join(texts)[-4000:]}")
    return Run(items, usage.ru_utime + usage.ru_stime, wall, peak(), "".join(texts))


def read_back(file):
    file.seek(0)
    return file.read().decode(errors="replace")


@contextlib.contextmanager
def watch_peak(process, watch=None):
    """The kernel's own high-water mark of a process, read until it ends. (`ru_maxrss` would include this program's
    memory, which a child shares until it has begun its own.)"""
    peak, over = 0, threading.Event()

    def look():
        nonlocal peak
        while not over.wait(0.02):
            # It may be over by now.
            with contextlib.suppress(OSError):
                peak = memory(process, "VmHWM") or peak
                if watch:
                    watch(process)

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield lambda: peak
    finally:
        over.set()
        watcher.join()


def memory(process, field="VmRSS"):
    """In bytes."""
    found = re.search(rf"{field}:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text())
    return int(found[1]) * 1024 if found else 0


def wake_ups(process):
    """How often threads of a process have waited for something and gone on."""
    statuses = Path(f"/proc/{process}/task").glob("*/status")
    counts = [re.search(r"^voluntary_ctxt_switches:\s+(\d+)", status.read_text(), re.MULTILINE) for status in statuses]
    return sum(int(count[1]) for count in counts)


def wait_until(condition, otherwise, limit=10):
    end = time.monotonic() + limit
    while not condition():
        if time.monotonic() > end:
            sys.exit(otherwise)
        time.sleep(0.02)


@dataclass
class Service:
    """A process that tells when it is ready, as systemd's services do."""

    process: subprocess.Popen
    seconds_to_ready: float
    folder: Path

    @property
    def pid(self):
        return self.process.pid


def drain(notified):
    """Reads what a service says, until its socket is closed."""
    with contextlib.suppress(OSError):
        while notified.recv(4096):
            pass


@contextlib.contextmanager
def service(command, folder, limit=60):
    """Starts a service, waits until it is ready, and stops it at the end, which must be in good order."""
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        # A socket's path must be short.
        sockets = stack.enter_context(tempfile.TemporaryDirectory(prefix="gatherd-"))
        notified = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        notified.bind(f"{sockets}/notify")
        notified.settimeout(limit)
        log = stack.enter_context(open(folder / "log", "wb"))
        environment = {**os.environ, "NOTIFY_SOCKET": f"{sockets}/notify"}
        started = time.perf_counter()
        process = subprocess.Popen([str(word) for word in command], cwd=folder, stdout=log, stderr=log, env=environment)
        try:
            while b"READY=1" not in notified.recv(4096).split(b"\n"):
                pass
            # What is not read would fill the socket, and hold up the service.
            notified.settimeout(None)
            threading.Thread(target=drain, args=[notified], daemon=True).start()
            yield Service(process, time.perf_counter() - started, folder)
            process.send_signal(signal.SIGTERM)
            code = process.wait(limit)
        except (TimeoutError, subprocess.TimeoutExpired):
            code = None
        finally:
            process.kill()
            process.wait()
    if code != 0:
        words = "did not become ready, or did not stop" if code is None else f"ended with {code}"
        sys.exit(f"{' '.join(map(str, command))} {words}:\n{(folder / 'log').read_text()[-4000:]}")
