"""A real Redis server of the tests: on a port and in a directory of its own; sentinels and clusters."""

import shutil
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import redis

from .servers import Shared, directory_of, free_port, name_of, query_of

PATIENCE_S = 60
PORT = "AXIOM_TEST_REDIS_PORT"


def program(name="redis-server"):
    """Its path."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed: apt-get install redis-server")
    return found


def directory():
    """Where a server keeps its log."""
    return directory_of("redis")


class Redis:
    """One server. ``settings`` are those of redis.conf; it syncs every commit unless they say otherwise."""

    def __init__(self, path, **settings):
        self.directory = Path(path)
        self.port = free_port()
        self.process = None
        self.settings = {"save": "", "appendonly": "yes", "appendfsync": "always"}
        self.settings["repl-diskless-sync-delay"] = "0"  # a replica follows at once
        self.settings |= {name.replace("_", "-"): value for name, value in settings.items()}

    @property
    def address(self):
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self, *more):
        options = [word for name, value in self.settings.items() for word in (f"--{name}", value)]
        listening = ["--port", str(self.port)] if "port" not in self.settings else []
        self.process = subprocess.Popen(
            [program(), *more, *listening, "--bind", "127.0.0.1", "--dir", self.directory, *options],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            self.wait()
        except BaseException:
            self.stop()
            raise
        return self

    def client(self, **options):
        """redis-py itself, which waits for its answers."""
        if "unixsocket" in self.settings:
            return redis.Redis(unix_socket_path=self.settings["unixsocket"], **options)
        if "tls-port" in self.settings:
            options |= {"ssl": True, "ssl_cert_reqs": "none"}
        return redis.Redis(port=self.port, **options)

    def wait(self):
        """Until it takes commands."""
        until = time.monotonic() + PATIENCE_S
        with self.client() as client:
            while True:
                try:
                    client.ping()
                    return
                except redis.ConnectionError:
                    assert self.process.poll() is None, "the server has ended"
                    assert time.monotonic() < until, "the server does not answer"
                    time.sleep(0.01)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def freeze(self):
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self):
        self.process.send_signal(signal.SIGCONT)

    def restart(self):
        self.kill()
        self.start()

    def stop(self):
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)


class Elsewhere(Redis):
    """The server that the process which started this one has."""

    def __init__(self, port):
        self.port = int(port)
        self.settings = {}


def sentinel(path, primary, name="notes"):
    """A sentinel that watches ``primary``, alone: its word is enough."""
    own = Redis(path)
    own.settings = {}
    conf = own.directory / "sentinel.conf"
    conf.write_text(
        f"sentinel monitor {name} 127.0.0.1 {primary.port} 1\n"
        f"sentinel down-after-milliseconds {name} 300\nsentinel failover-timeout {name} 1000\n"
    )
    return own.start(conf, "--sentinel")


shared = Shared(PORT, lambda: Redis(directory()).start(), Elsewhere)
store_of = name_of


def address_at(place, **options):
    """The address of the store that stands for a test's directory, on the shared server."""
    return f"{shared().address}?store={store_of(place)}{query_of(options)}"


def told(*command, server=None):
    """What the server answers, beside the adapter and not in the running event loop."""

    def ask():
        with (server or shared()).client() as client:
            return client.execute_command(*command)

    with ThreadPoolExecutor(1) as threads:
        return threads.submit(ask).result()
