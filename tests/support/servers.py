"""What the servers of the tests have in common: one for each test process, in a directory of its own."""

import atexit
import os
import shutil
import socket
import tempfile
import zlib
from pathlib import Path


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def directory_of(kind):
    """Where a server keeps its files: in memory where there is room, since a test machine's disk is slow."""
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and shutil.disk_usage(memory).free > 2 << 30
    return tempfile.mkdtemp(prefix=f"ax-{kind}-", dir=memory if roomy else "/tmp")


def name_of(place):
    """A name for the store of a test's directory."""
    return f"t{zlib.crc32(str(place).encode()):08x}"


def query_of(options):
    return "".join(f"&{name}={value}" for name, value in options.items())


class Shared:
    """The one server of this test process: started when first asked for, or that of the process before.

    ``variable`` tells its port to the processes that tests start; ``elsewhere`` makes one of such a port.
    """

    def __init__(self, variable, start, elsewhere):
        self.variable, self.start, self.elsewhere = variable, start, elsewhere
        self.server = None

    def __call__(self):
        if self.server is None and self.variable in os.environ:
            self.server = self.elsewhere(os.environ[self.variable])
        if self.server is None:
            self.server = self.start()
            os.environ[self.variable] = str(self.server.port)
            atexit.register(self.server.stop)
        return self.server
