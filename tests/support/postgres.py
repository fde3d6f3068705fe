"""A real PostgreSQL server of the tests: unprivileged, on a port and in a directory of its own."""

import asyncio
import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import asyncpg
import pytest

from .servers import Shared, directory_of, free_port, name_of, query_of

USER = "ax"
PATIENCE_S = 60
PORT = "AXIOM_TEST_POSTGRES_PORT"


def program(name):
    """Where Debian has it, or the path."""
    found = shutil.which(name)
    for place in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True):
        if (place / name).exists():
            found = str(place / name)
            break
    if found is None:
        pytest.skip(f"{name} is not installed: apt-get install postgresql pgbouncer")
    return found


def unprivileged():
    """Whom the server runs as: it refuses root."""
    if os.getuid() != 0:
        return {}
    user = pwd.getpwnam("nobody")
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


class Postgres:
    """One server. ``settings`` are those of postgresql.conf."""

    def __init__(self, directory, **settings):
        self.directory = Path(directory)
        self.data = self.directory / "data"
        self.port = free_port()
        self.settings = {"fsync": "on", "max_connections": "200", "log_min_messages": "panic", **settings}
        self.process = None
        who = unprivileged()
        if who:
            os.chown(self.directory, who["user"], who["group"])
        command = [program("initdb"), "-D", self.data, "-A", "trust", "-U", USER, "-E", "UTF8"]
        command += ["--locale=C.UTF-8", "--no-sync"]
        subprocess.run(command, check=True, capture_output=True, cwd=self.directory, **who)

    @property
    def address(self):
        return f"postgresql://{USER}@127.0.0.1:{self.port}/postgres"

    def standby(self, path):
        """Another server that follows this one, not yet started."""
        other = object.__new__(Postgres)
        other.directory, other.data, other.port = Path(path), Path(path) / "data", free_port()
        other.settings, other.process = self.settings, None
        who = unprivileged()
        if who:
            os.chown(path, who["user"], who["group"])
        command = [program("pg_basebackup"), "-D", other.data, "-R", "-c", "fast", "-h", "127.0.0.1"]
        command += ["-p", str(self.port), "-U", USER, "--no-sync"]
        subprocess.run(command, check=True, capture_output=True, cwd=path, **who)
        return other

    def start(self):
        options = ["-clisten_addresses=127.0.0.1"]
        options += [f"-c{name}={value}" for name, value in self.settings.items()]
        self.process = subprocess.Popen(
            [program("postgres"), "-D", self.data, "-p", str(self.port), "-k", "", *options],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=self.directory,
            **unprivileged(),
        )
        self.wait()
        return self

    def wait(self):
        """Until it takes connections."""
        until = time.monotonic() + PATIENCE_S
        ready = [program("pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        while subprocess.run(ready, check=False).returncode:
            assert self.process.poll() is None, "the server has ended"
            assert time.monotonic() < until, "the server does not answer"
            time.sleep(0.02)

    def children(self):
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in path.read_text().split()]

    def kill(self):
        """SIGKILL to all of it at once, as a machine that stops; each back end is a session of its own."""
        for pid in (self.process.pid, *self.children()):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue  # it has just ended
        self.process.wait()

    def restart(self):
        self.kill()
        self.start()

    def stop(self):
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGQUIT)
            self.process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)


class Elsewhere:
    """The server that the process which started this one has."""

    def __init__(self, port):
        self.port = int(port)

    address = Postgres.address


class PgBouncer:
    """In transaction mode before a server."""

    def __init__(self, directory, server):
        self.directory = Path(directory)
        self.port = free_port()
        (self.directory / "users.txt").write_text(f'"{USER}" ""\n')
        (self.directory / "pgbouncer.ini").write_text(
            f"[databases]\npostgres = host=127.0.0.1 port={server.port}\n"
            f"[pgbouncer]\nlisten_addr=127.0.0.1\nlisten_port={self.port}\nauth_type=trust\n"
            f"auth_file={self.directory}/users.txt\npool_mode=transaction\ndefault_pool_size=3\n"
            "unix_socket_dir=\n"
        )
        who = unprivileged()
        if who:
            for path in (self.directory, *self.directory.iterdir()):
                os.chown(path, who["user"], who["group"])
        self.process = subprocess.Popen(
            [program("pgbouncer"), "-q", str(self.directory / "pgbouncer.ini")],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            **who,
        )
        until = time.monotonic() + PATIENCE_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                return
            except OSError:
                assert self.process.poll() is None, "pgbouncer has ended"
                assert time.monotonic() < until, "pgbouncer does not answer"
                time.sleep(0.02)

    @property
    def address(self):
        return f"postgresql://{USER}@127.0.0.1:{self.port}/postgres?pgbouncer=true"

    def stop(self):
        self.process.terminate()
        self.process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)


def directory():
    """Short, since a socket lies in it, and open to whom the server runs as."""
    path = directory_of("pg")
    os.chmod(path, 0o755)
    return path


shared = Shared(PORT, lambda: Postgres(directory()).start(), Elsewhere)
table_of = name_of


def address_at(place, **options):
    """The address of the store that stands for a test's directory, on the shared server."""
    return f"{shared().address}?table={table_of(place)}{query_of(options)}"


async def sql(server, statement, *arguments):
    """Have the server do something, beside the adapter; the rows."""
    connection = await asyncpg.connect(server.address)
    try:
        return await connection.fetch(statement, *arguments)
    finally:
        await connection.close()


def sql_now(statement, *arguments):
    """The same on the shared server, without waiting for it in the running event loop."""
    with ThreadPoolExecutor(1) as threads:
        return threads.submit(lambda: asyncio.run(sql(shared(), statement, *arguments))).result()
