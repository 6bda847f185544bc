"""What is gathered from: a static nginx, with and without encryption, and a server that lets its clients wait."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from .process import wait_until

TEMPORARY_KINDS = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]


@dataclass
class Nginx:
    """The base URLs of one nginx, all with the same documents."""

    plain: str
    tls: str
    http2: str
    authority: Path
    """The certificate in PEM of whoever signed nginx's."""


@contextlib.contextmanager
def nginx(folder, documents, workers):
    """A static nginx on free ports of loopback."""
    authority, certificate, key = make_certificate(folder)
    plain, tls, http2 = free_ports(3)
    configuration = folder / "nginx.conf"
    configuration.write_text(
        f"""
        worker_processes {workers};
        pid {folder}/nginx.pid;
        error_log {folder}/nginx-error.log;
        daemon off;
        {"user root;" if os.geteuid() == 0 else ""}
        events {{ worker_connections 1024; }}
        http {{
            access_log off;
            sendfile on;
            tcp_nopush on;
            keepalive_timeout 60s;
            keepalive_requests 1000000000;
            default_type application/json;
            types {{ application/octet-stream bin; }}
            {" ".join(f"{kind}_temp_path {folder}/{kind};" for kind in TEMPORARY_KINDS)}
            ssl_certificate {certificate};
            ssl_certificate_key {key};
            ssl_protocols TLSv1.3;
            server {{
                listen 127.0.0.1:{plain} backlog=1024;
                listen 127.0.0.1:{tls} backlog=1024 ssl;
                listen 127.0.0.1:{http2} backlog=1024 ssl http2;
                root {documents};
            }}
        }}
        """
    )
    process = subprocess.Popen(["nginx", "-e", folder / "nginx-error.log", "-c", configuration])
    try:
        otherwise = f"nginx does not answer; see {folder}/nginx-error.log"
        wait_until(lambda: all(map(listens, (plain, tls, http2))), otherwise)
        host = "127.0.0.1"
        yield Nginx(f"http://{host}:{plain}", f"https://{host}:{tls}", f"https://{host}:{http2}", authority)
    finally:
        process.send_signal(signal.SIGQUIT)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def make_certificate(folder):
    """An authority, and a certificate of its for loopback: both and the latter's key as files."""
    authority, certificate, key = (folder / f"{name}.pem" for name in ("authority", "certificate", "key"))
    new = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    own = ["-subj", "/CN=gatherd benches", "-out", authority, "-keyout", folder / "authority-key.pem"]
    name = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=CA:FALSE"]
    signed = ["-CA", authority, "-CAkey", folder / "authority-key.pem", "-out", certificate, "-keyout", key]
    for command in ([*new, *own], [*new, *name, *signed]):
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    return authority, certificate, key


def free_ports(count):
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [server.getsockname()[1] for server in sockets]


def listens(port):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


@contextlib.contextmanager
def document_server(documents, seconds=0):
    """A server that answers with these documents, each after so many seconds, the same on every machine. Yields its
    base URL, and what asks it how many requests waited at once at most."""
    script = Path(__file__).with_name("document_server.py")
    command = [sys.executable, script, len(documents), documents.chains, seconds]
    words = [str(word) for word in command]
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def most_at_once():
        process.stdin.write("\n")
        process.stdin.flush()
        return int(process.stdout.readline())

    try:
        port = int(process.stdout.readline())
        yield f"http://127.0.0.1:{port}", most_at_once
    finally:
        process.kill()
        process.wait()
