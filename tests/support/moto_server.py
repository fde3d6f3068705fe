"""A second S3 server of the tests, in memory and quick to start: moto's."""

import subprocess

from .objects import address, is_ready, program, until
from .servers import Shared, free_port, name_of

__all__ = ["Moto", "address", "address_at", "shared"]


class Moto:
    """Takes any key, so that only SeaweedFS is asked about wrong ones."""

    def __init__(self):
        self.port = free_port()

    def start(self):
        command = [program("moto_server"), "-H", "127.0.0.1", "-p", str(self.port)]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until(lambda: is_ready(self.port), [self.process])
        return self

    def stop(self):
        self.process.kill()
        self.process.wait()


class Elsewhere:
    """The server that the process which started this one has."""

    def __init__(self, port):
        self.port = int(port)


shared = Shared("AXIOM_TEST_MOTO_PORT", lambda: Moto().start(), Elsewhere)


def address_at(place, **options):
    """The address of the store that stands for a test's directory, on the shared server."""
    return address(shared().port, name_of(place), **options)
