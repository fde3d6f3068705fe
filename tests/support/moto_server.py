"""A second S3 server of the tests, in memory and quick to start: moto. It is the stand-in for Google's, too.

It takes one request at a time: moto looks whether an object is there and then makes it, and of 400 times that
8 of its threads did so at once, 3 had two winners. No server for real data does that.
"""

import os
import subprocess
import sys
import threading

from support.objects import address, is_ready, until
from support.servers import Shared, free_port, name_of

__all__ = ["Moto", "address", "address_at", "shared"]


class Moto:
    """Takes any key, so that only SeaweedFS is asked about wrong ones."""

    def __init__(self):
        self.port = free_port()

    def start(self):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "support.moto_server", str(self.port)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
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


def serve(port):
    from moto.moto_server.werkzeug_app import create_backend_app
    from werkzeug.serving import run_simple

    moto, turn = create_backend_app("s3"), threading.Lock()

    def one_at_a_time(environ, start_response):
        # Google's name of the condition.
        if environ.pop("HTTP_X_GOOG_IF_GENERATION_MATCH", None) == "0":
            environ["HTTP_IF_NONE_MATCH"] = "*"
        with turn:
            return moto(environ, start_response)

    run_simple("127.0.0.1", port, one_at_a_time, threaded=True)


if __name__ == "__main__":
    serve(int(sys.argv[1]))
