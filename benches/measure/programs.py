"""The programs that are measured: built by cargo, installed from Debian and PyPI where they are missing."""

import functools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from .places import BENCHES, REPOSITORY, area
from .talk import say

# By the program that a package is installed for.
DEBIAN_PACKAGES = {
    "curl": "curl",
    "h2load": "nghttp2-client",
    "nginx": "nginx",
    "openssl": "openssl",
    "valgrind": "valgrind",
    "wrk": "wrk",
}


def install_what_is_missing(programs):
    """From Debian, as root or with sudo."""
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    missing = [DEBIAN_PACKAGES[program] for program in sorted(programs) if not shutil.which(program)]
    if missing:
        say("installing", *missing)
        as_root = [] if os.geteuid() == 0 else ["sudo"]
        quiet = {"stdout": sys.stderr, "check": True}
        subprocess.run([*as_root, "apt-get", "update", "-q"], **quiet)
        subprocess.run([*as_root, "apt-get", "install", "-qy", "--no-install-recommends", *missing], **quiet)


@functools.cache
def cargo(*words, name="gatherd"):
    """Builds, and answers the path of the program of this name. Others may be built beside it, in any order."""
    say("cargo", *words)
    command = ["cargo", words[0], "--locked", *words[1:], "--message-format=json-render-diagnostics"]
    built = subprocess.run(command, cwd=REPOSITORY, stdout=subprocess.PIPE, check=True, text=True).stdout
    artifacts = [artifact for artifact in map(json.loads, built.splitlines()) if artifact.get("executable")]
    return Path(next(artifact["executable"] for artifact in artifacts if artifact["target"]["name"] == name))


def cargo_bench(name, profile):
    """The built bench of this name."""
    return cargo("bench", "--profile", profile, "--no-run", "--bench", name, name=name)


@functools.cache
def python_with_packages():
    """A Python that has what the scripts ask for."""
    folder = area() / "venv"
    requirements = BENCHES / "scripts" / "requirements.txt"
    wanted = requirements.read_text()
    stamp = folder / "installed.txt"
    if not stamp.exists() or stamp.read_text() != wanted:
        say("installing the packages of the asyncio scripts")
        quiet = {"stdout": sys.stderr, "check": True}
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], **quiet)
        subprocess.run([folder / "bin/python", "-m", "pip", "install", "-q", "-r", requirements], **quiet)
        stamp.write_text(wanted)
    return folder / "bin/python"
