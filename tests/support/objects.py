"""A real object store of the tests: SeaweedFS with its S3 server, on ports and in a directory of its own."""

import json
import shutil
import subprocess
import sys
import time
import urllib.request
from functools import cache
from pathlib import Path

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from .servers import Shared, directory_of, free_port, name_of, query_of

USER, SECRET, BUCKET = "ax", "swordfish", "bucket"
PATIENCE_S = 60
PORT = "AXIOM_TEST_OBJECTS_PORT"


def program(name):
    """Beside the running Python, where pip installs what a package brings, or the path."""
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed: pip install --group test")
    return found


def until(ready, processes):
    """Wait for ``ready``, which may raise OSError until then."""
    end = time.monotonic() + PATIENCE_S
    while True:
        try:
            if ready():
                return
        except OSError:
            pass  # nothing listens yet, or it is not ready
        if any(process.poll() is not None for process in processes):
            raise EndedError("the server has ended")
        assert time.monotonic() < end, "the server does not answer"
        time.sleep(0.02)


def http(url, method="GET"):
    request = urllib.request.Request(url, data=None if method == "GET" else b"", method=method)
    with urllib.request.urlopen(request, timeout=5) as answer:
        return answer.read()


@cache
def boto(port):
    """The vendor's own client, beside the adapter."""
    return boto3.client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{port}",
        aws_access_key_id=USER,
        aws_secret_access_key=SECRET,
        region_name="us-east-1",
        config=Config(retries={"total_max_attempts": 1}, connect_timeout=5, read_timeout=5),
    )


def is_ready(port):
    """Whether the server takes objects. Makes the bucket."""
    made = boto(port)
    try:
        try:
            made.create_bucket(Bucket=BUCKET)
        except (made.exceptions.BucketAlreadyExists, made.exceptions.BucketAlreadyOwnedByYou):
            pass  # from before a restart
        made.put_object(Bucket=BUCKET, Key="ready", Body=b"")
    except (BotoCoreError, ClientError) as error:
        raise OSError(str(error)) from error
    return True


class EndedError(AssertionError):
    """A program ended by itself: somebody else has taken its port meanwhile."""


class Seaweed:
    """A master, a volume server, a filer and the S3 server before them: four programs."""

    def __init__(self, directory):
        self.directory = Path(directory)
        self._draw_ports()
        self.processes = []
        keys = {"accessKey": USER, "secretKey": SECRET}
        actions = ["Admin", "Read", "Write", "List", "Tagging"]
        identities = [{"name": USER, "credentials": [keys], "actions": actions}]
        (self.directory / "s3.json").write_text(json.dumps({"identities": identities}))

    @property
    def port(self):
        return self.ports["s3"][0]

    @property
    def address(self):
        return address(self.port, "")

    def _draw_ports(self):
        self.ports = {name: (free_port(), free_port()) for name in ("master", "volume", "filer", "s3")}

    def start(self, attempts=3):
        """With other ports where one of them is taken before the server has it, unless they are known."""
        for _ in range(attempts - 1):
            try:
                return self.restart()
            except EndedError:
                self.kill()
                self._draw_ports()
        return self.restart()

    def restart(self):
        """At the same ports."""
        place = str(self.directory)
        master = "127.0.0.1:{}.{}".format(*self.ports["master"])
        filer = "127.0.0.1:{}.{}".format(*self.ports["filer"])
        self.run(
            "master", "-mdir", place, "-volumeSizeLimitMB", "64", "-electionTimeout", "1s", "-ip", "127.0.0.1"
        )
        status = f"http://127.0.0.1:{self.ports['master'][0]}/cluster/status"
        until(lambda: json.loads(http(status)).get("IsLeader"), self.processes)
        self.run("volume", "-dir", place, "-max", "20", "-master", master, "-ip", "127.0.0.1")
        self.run("filer", "-defaultStoreDir", place, "-master", master, "-ip", "127.0.0.1")
        self.run(
            "s3", "-filer", filer, "-config", f"{place}/s3.json", "-port.iceberg", "0", "-port.lance", "0"
        )
        until(lambda: is_ready(self.port), self.processes)
        return self

    def run(self, name, *arguments):
        port, grpc = self.ports[name]
        command = [program("weed"), "-logtostderr=false", f"-logdir={self.directory}", name]
        command += ["-port", str(port), "-port.grpc", str(grpc), "-ip.bind", "127.0.0.1", *arguments]
        self.processes.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))

    def kill(self):
        """SIGKILL to all of it at once."""
        for process in self.processes:
            process.kill()
        for process in self.processes:
            process.wait()
        self.processes = []

    def stop(self):
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)


class Elsewhere:
    """The server that the process which started this one has."""

    def __init__(self, port):
        self.port = int(port)


def directory():
    return directory_of("s3")


shared = Shared(PORT, lambda: Seaweed(directory()).start(), Elsewhere)
prefix_of = name_of
_made = set()  # of the stores that stand for directories


def address(port, prefix, login=f"{USER}:{SECRET}@", **options):
    options = {"durability": "power_loss", **options}  # what it is worth is not what these tests show
    return f"s3://{login}{BUCKET}/{prefix}?endpoint=http://127.0.0.1:{port}{query_of(options)}"


def made(prefix):
    """``prefix``, with a store that is made: what a first opening tries takes this server a second."""
    boto(shared().port).put_object(
        Bucket=BUCKET, Key=f"{prefix}/axiom-persistence.json", Body=b'{"format":1}'
    )
    return prefix


def address_at(place, **options):
    """The address of the store that stands for a test's directory, on the shared server."""
    if place not in _made:
        _made.add(place)
        made(prefix_of(place))
    return address(shared().port, prefix_of(place), **options)
