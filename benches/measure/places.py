"""Where things are."""

import functools
import json
import subprocess
from pathlib import Path

BENCHES = Path(__file__).resolve().parent.parent
REPOSITORY = BENCHES.parent


@functools.cache
def target_folder():
    """Where cargo puts what it builds."""
    command = ["cargo", "metadata", "--format-version=1", "--no-deps"]
    found = subprocess.run(command, cwd=REPOSITORY, stdout=subprocess.PIPE, check=True).stdout
    return Path(json.loads(found)["target_directory"])


@functools.cache
def area():
    """On the disk that is built on; what is in it may be thrown away."""
    folder = target_folder() / "benches"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
