"""What the parts of a run share: what was asked for, the programs, the folder, and the server."""

import contextlib
import functools
import os

from . import programs
from .documents import Documents
from .places import BENCHES
from .process import measure
from .servers import nginx

CONNECTIONS = 64


class Bench(contextlib.ExitStack):
    """What is started for it ends with it."""

    def __init__(self, arguments, folder):
        super().__init__()
        self.arguments = arguments
        self.folder = folder
        self.connections = CONNECTIONS

    @functools.cached_property
    def gatherd(self):
        if self.arguments.gatherd:
            return self.arguments.gatherd.resolve()
        return programs.cargo("build", "--profile", self.arguments.profile, "--bin", "gatherd")

    def library_bench(self, name):
        """The built `benches/NAME.rs`."""
        return programs.cargo_bench(name, self.arguments.profile)

    @functools.cached_property
    def documents(self):
        documents = Documents(self.arguments.items, CONNECTIONS)
        documents.write(self.folder / "documents")
        return documents

    @functools.cached_property
    def site(self):
        """nginx with the documents, and whatever else is put into that folder."""
        assert self.documents
        return self.enter_context(nginx(self.folder, self.folder / "documents", self.arguments.nginx_workers))

    def urls(self, base, name, numbers=None, ending=""):
        """A file of the documents' URLs."""
        path = self.folder / name
        with open(path, "w", encoding="ascii") as file:
            for number in self.documents.numbers if numbers is None else numbers:
                file.write(f"{base}/{number}.json{ending}\n")
        return path

    def once(self, config, items, folder, threads=1, environment=None, watch=None):
        """Runs a config of this folder, or the text of one, to its end."""
        command = [self.gatherd, "run", "--once", *self.configs(config, folder, threads)]
        return measure(items, command, folder, {**os.environ, **(environment or {})}, watch)

    def configs(self, config, folder, threads=1):
        folder.mkdir(exist_ok=True)
        path = BENCHES / config
        if not config.endswith(".toml"):
            path = folder / "gatherd.toml"
            path.write_text(config)
        service = folder / "threads.toml"
        service.write_text(f"[service]\nthreads = {threads}\n")
        return [path, service]

    def rounds(self):
        return range(1, self.arguments.runs + 1)
