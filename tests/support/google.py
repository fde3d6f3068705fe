"""A stand-in for Google Cloud Storage, which no program that can be installed speaks as obstore does.

Google's XML interface is S3's but for the names of some headers. So it is moto, which is told of a condition
by the name that it knows. What Google's own servers do is not shown by it.
"""

import os
import subprocess
import sys

from support.objects import BUCKET, is_ready, until
from support.servers import Shared, free_port, name_of, query_of

__all__ = ["BUCKET", "TOKEN", "Google", "address", "address_at", "shared"]


class Google:
    """One process."""

    def __init__(self):
        self.port = free_port()

    def start(self):
        command = [sys.executable, "-m", "support.google", str(self.port)]
        paths = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        self.process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=paths
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


TOKEN = "GOOGLE_BEARER_TOKEN"
"""The variable of the environment in which the client finds a token; any is taken."""
shared = Shared("AXIOM_TEST_GOOGLE_PORT", lambda: Google().start(), Elsewhere)


def address(port, prefix, bucket=BUCKET, **options):
    options = {"durability": "power_loss", **options}  # what it is worth is not what these tests show
    return f"gs://{bucket}/{prefix}?endpoint=http://127.0.0.1:{port}{query_of(options)}"


def address_at(place, **options):
    """The address of the store that stands for a test's directory, on the shared server."""
    return address(shared().port, name_of(place), **options)


def serve(port):
    from moto.moto_server.werkzeug_app import create_backend_app
    from werkzeug.serving import run_simple

    moto = create_backend_app("s3")

    def renaming(environ, start_response):
        if environ.pop("HTTP_X_GOOG_IF_GENERATION_MATCH", None) == "0":
            environ["HTTP_IF_NONE_MATCH"] = "*"
        return moto(environ, start_response)

    run_simple("127.0.0.1", port, renaming, threaded=True)


if __name__ == "__main__":
    serve(int(sys.argv[1]))
