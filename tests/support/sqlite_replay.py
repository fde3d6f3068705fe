"""Crash states of a SQLite store: the system calls of real processes, replayed up to every moment.

``python sqlite_replay.py DIRECTORY NAME SAVES PLANT PROCESSES`` is the process that saves; ``record`` runs
one or several of them under strace. ``explore`` then builds what a disk may hold after a loss of power at
every moment between two calls: a write is certain once a sync of its file began after it and has ended;
until then it is there, missing, there by half or as zeros, each write for itself. A name is certain once
its directory is synced. The -shm file is memory and is never there.
"""

import asyncio
import os
import random
import re
import sqlite3
import subprocess
import sys
import time
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path

from support.known import Known

STORE = "store.db"
HEADER = "\x01store"
CALLS = "openat,write,pwrite64,pwritev,fsync,fdatasync,sync_file_range,ftruncate,unlink,unlinkat,rename"


# The process under observation.


def plant_bug(name, process):
    """Break the store on purpose: an explorer that does not notice proves nothing."""
    from axiom_persistence.adapters._sqlite import checkpoint as _sqlite_checkpoint
    from axiom_persistence.adapters._sqlite import schema as _sqlite_schema
    from axiom_persistence.adapters._sqlite import wal as _sqlite_wal

    if name == "no-sync":  # acknowledged as soon as it is written
        _sqlite_wal.Log.sync = lambda self: None
    elif name == "synchronous-off":  # checkpoints that copy what the log may still lose
        settings = [s.replace("synchronous=NORMAL", "synchronous=OFF") for s in _sqlite_schema._SETTINGS]
        _sqlite_schema._SETTINGS = tuple(settings)
        real = _sqlite_checkpoint.connect

        class Careless(sqlite3.Connection):
            def execute(self, statement, *rest):
                return super().execute(statement.replace("synchronous=NORMAL", "synchronous=OFF"), *rest)

        def connect(path):
            real(path).close()
            return sqlite3.connect(
                path, isolation_level=None, check_same_thread=False, factory=Careless, timeout=0.005
            )

        _sqlite_checkpoint.connect = connect
    elif name == "slow-sync":  # no bug: another process has time to checkpoint and restart the log first
        if process != "a":
            return
        sync = _sqlite_wal.Log.sync

        def wait_and_sync(log):
            time.sleep(0.01)
            sync(log)

        _sqlite_wal.Log.sync = wait_and_sync
    elif name == "zeros-over-frames":  # a log made longer from where it was, not from where it ends
        lengthen, size = _sqlite_wal.Log.lengthen, _sqlite_wal.Log.size

        def too_early(log, length):
            _sqlite_wal.Log.size = lambda log: size(log) - 4120
            lengthen(log, length)
            _sqlite_wal.Log.size = size

        _sqlite_wal.Log.lengthen = too_early
    elif name == "witness-ahead":  # what tells a file without its log tells it of a whole store
        from axiom_persistence.adapters._sqlite import transactions as _sqlite_transactions

        steps = [step.replace("SELECT last", "SELECT last+9") for step in _sqlite_transactions.ADVANCE]
        _sqlite_transactions.ADVANCE = tuple(steps)
    elif name == "nothing-to-sync":  # what has nothing to do has nothing to sync
        from axiom_persistence.adapters.sqlite import SQLiteAdapter
        from support.nothing_to_sync import nothing_to_sync

        SQLiteAdapter.commit = nothing_to_sync(SQLiteAdapter.commit)
    else:
        assert name == "none", name


def shorten_logs():
    from axiom_persistence.adapters._sqlite import checkpoint as _sqlite_checkpoint
    from axiom_persistence.adapters._sqlite import writer as _sqlite_writer

    # A log that is copied and started again every few saves.
    _sqlite_writer.COPY_FRAMES = _sqlite_checkpoint.RESTART_FRAMES = 12
    # And made longer ahead of the second save that is waited for.
    _sqlite_writer._LOOK_PAGES = 1
    _sqlite_writer._SAVER_SYNCS, _sqlite_writer._MARGIN_BYTES, _sqlite_writer._AHEAD_BYTES = 1, 8192, 20_480


def tell(*words):
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


async def save_and_tell(directory, name, saves, together):
    from axiom_persistence.adapters._sqlite import commits as _sqlite_commits
    from axiom_persistence.adapters.sqlite import SQLiteAdapter
    from axiom_persistence.storage.adapter import Durability

    shorten_logs()
    alone = []
    take_alone = _sqlite_commits.Commits.commit_alone
    _sqlite_commits.Commits.commit_alone = (
        lambda self, job: alone.append(taken := take_alone(self, job)) or taken
    )

    rng = random.Random(name)
    async with SQLiteAdapter(directory / STORE, lock_timeout=60) as adapter:
        (directory.parent / f"{name}.ready").touch()
        while len(list(directory.parent.glob("*.ready"))) < together:
            await asyncio.sleep(0.001)
        for number in range(1, saves + 1):
            pad = "x" * rng.choice((10, 500, 6000))
            data = b'{"n":%d,"pad":"%s"}' % (number, pad.encode())
            weak, one, pair = f"{name}/weak", f"{name}/one{number % 3}", (f"{name}/left", f"{name}/right")
            tell("try", number, weak)
            await adapter.commit({weak: data}, durability=Durability.PROCESS_EXIT)
            if number % 3:  # two that have the log for themselves
                lone = f"{name}/lone"
                tell("try", number, lone)
                await adapter.commit({lone: data})
                tell("ack", number, weak, lone)
            tell("try", number, one)
            waiting = asyncio.ensure_future(adapter.commit({one: data}))
            if number % 3:
                await waiting
                tell("ack", number, weak, one)
            tell("try", number, *pair)
            await asyncio.gather(waiting, adapter.commit(dict.fromkeys(pair, data)))
            # All that came before the durable one is durable with it.
            tell("ack", number, weak, one, *pair)
    assert saves < 6 or any(alone), "none was committed on its caller's thread"


# Recording.


@dataclass
class Call:
    kind: str
    path: str = ""
    data: bytes = b""
    offset: int = 0
    token: int | str = 0
    words: list = field(default_factory=list)
    thread: str = ""


def record(directory, names, saves, plant="none", program=__file__):
    """Run one process for each name at once; what they and SQLite asked of the system, in order."""
    log = directory.with_suffix(".strace")
    command = " & ".join(
        f'"{sys.executable}" "{program}" "{directory}" {name} {saves} {plant} {len(names)}' for name in names
    )
    done = subprocess.run(
        [
            *("strace", "-f", "-y", "-xx", "-qq", "-s", "1000000", "-e", "signal=none"),
            *("-e", f"trace={CALLS}", "-o", str(log), "/bin/sh", "-c", f"{command} & wait"),
        ],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    if program == __file__:
        assert done.stdout.count("ack") == len(names) * (3 * saves - 2 * (saves // 3)), done.stderr
    assert not done.stderr, done.stderr
    return list(parse(log.read_text(), str(directory)))


def parse(text, directory):
    begun = {}
    for token, line in enumerate(text.splitlines()):
        thread, _, rest = line.partition(" ")
        for call in parse_line(rest.strip(), thread, begun, token, directory):
            call.thread = thread
            yield call


def parse_line(rest, thread, begun, token, directory):
    """The calls that a line tells of; ``begun`` holds those of each thread that have not returned."""
    if rest.startswith("<..."):
        call, first = begun.pop(thread)
        if call is not None:
            call += rest.partition("resumed>")[2]
            yield from calls_of(call, directory, first, started=True)
    elif rest.endswith("<unfinished ...>"):
        call = rest.removesuffix("<unfinished ...>").rstrip()
        begun[thread] = (call, token)
        if call.startswith("write(1"):
            # An acknowledgement counts from the first moment that somebody may have seen it.
            yield from calls_of(call + ") = 1", directory, token, started=False)
            begun[thread] = (None, token)
        elif call.startswith(("fsync", "fdatasync")):
            yield from begin_of(call, directory, token)
    else:
        yield from calls_of(rest, directory, token, started=False)


def unescape(text):
    return bytes.fromhex(text.replace("\\x", ""))


def path_of(descriptor):
    inside = re.search(r"<(.*)>", descriptor)
    found = inside[1] if inside else ""
    return unescape(found).decode() if found.startswith("\\x") else found


def begin_of(call, directory, token):
    arguments = call.partition("(")[2]
    path = path_of(arguments)
    if path.startswith(directory):
        yield Call("sync-begin", path, token=token)


def calls_of(text, directory, token, *, started):
    name, _, rest = text.partition("(")
    arguments, _, result = rest.rpartition(" = ")
    arguments = arguments.rstrip().removesuffix(")")
    if result.startswith(("-1", "?")):
        return
    if name == "write" and arguments.startswith(("1<", "1,")):
        words = unescape(re.search(r'"([^"]*)"', arguments)[1]).decode().split()
        if words and words[0] in ("try", "ack"):
            yield Call(words[0], words=[int(words[1]), *words[2:]])
        return
    if name == "openat":
        path = unescape(re.search(r'"([^"]*)"', arguments)[1]).decode()
        if path.startswith(directory) and "O_CREAT" in arguments:
            yield Call("create", path)
        return
    if name in ("unlink", "unlinkat"):
        path = unescape(re.search(r'"([^"]*)"', arguments)[1]).decode()
        if path.startswith(directory):
            yield Call("unlink", path)
        return
    path = path_of(arguments.partition(",")[0])
    if not path.startswith(directory):
        return
    if name in ("fsync", "fdatasync"):
        if not started:
            yield Call("sync-begin", path, token=token)
        yield Call("sync-end", path, token=token)
    elif name == "pwrite64":
        head, _, offset = arguments.rpartition(", ")
        data = unescape(re.search(r'"([^"]*)"', head)[1])
        assert len(data) == int(result.split()[0]), "a whole write"
        yield Call("write", path, data, int(offset))
    elif name == "ftruncate":
        yield Call("truncate", path, offset=int(arguments.rpartition(", ")[2]))
    else:
        raise AssertionError(f"unforeseen: {text[:200]}")


# Replaying.


class File:
    def __init__(self):
        self.certain = bytearray()
        self.open = []  # (sequence, call) that no finished sync covers


class Disk:
    """What was asked, folded into what is certain and what is not."""

    def __init__(self, directory):
        self.directory = directory
        self.names = {}  # as the processes see it
        self.certain_names = {}
        self.open_names = []  # (sequence, name, file or None)
        self.sequence = 0
        self.begun = {}

    def apply(self, call):
        self.sequence += 1
        if call.path.endswith("-shm"):
            return
        if call.kind == "create" and call.path not in self.names:
            self.names[call.path] = File()
            self.open_names.append((self.sequence, call.path, self.names[call.path]))
        elif call.kind == "unlink":
            del self.names[call.path]
            self.open_names.append((self.sequence, call.path, None))
        elif call.kind in ("write", "truncate"):
            self.names[call.path].open.append((self.sequence, call))
        elif call.kind == "sync-begin":
            self.begun[call.token] = (self.sequence, self.names.get(call.path))
        elif call.kind == "sync-end":
            before, file = self.begun.pop(call.token)
            if call.path == self.directory:
                for _, name, made in [entry for entry in self.open_names if entry[0] < before]:
                    self._name(self.certain_names, name, made)
                self.open_names = [entry for entry in self.open_names if entry[0] >= before]
            elif file is not None:
                for _, change in [entry for entry in file.open if entry[0] < before]:
                    self._change(file.certain, change, "full")
                file.open = [entry for entry in file.open if entry[0] >= before]

    @staticmethod
    def _name(names, name, file):
        if file is None:
            names.pop(name, None)
        else:
            names[name] = file

    @staticmethod
    def _change(content, call, variant):
        if variant == "lost":
            return
        if call.kind == "truncate":
            content[:] = content[: call.offset].ljust(call.offset, b"\0")
            return
        data = call.data
        if variant == "half":
            data = data[: len(data) // 2]
        elif variant == "zero":
            data = bytes(len(data))
        if len(content) < call.offset:
            content.extend(bytes(call.offset - len(content)))
        content[call.offset : call.offset + len(data)] = data

    def image(self, choose):
        """One state the disk may be found in; ``choose(what)`` says what became of each open call."""
        names = dict(self.certain_names)
        stopped = set()
        for _, name, file in self.open_names:  # changes of one name reach the disk in their order
            if name not in stopped and choose("name") == "full":
                self._name(names, name, file)
            else:
                stopped.add(name)
        content = {}
        for name, file in names.items():
            data = bytearray(file.certain)
            for _, call in file.open:
                self._change(data, call, choose(call.kind))
            content[os.path.basename(name)] = bytes(data)
        return content

    def images(self, samples, rng):
        yield self.image(lambda what: "full")
        yield self.image(lambda what: "lost")
        yield self.image(lambda what: "full" if what == "name" else "lost")
        yield self.image(lambda what: "lost" if what == "name" else "full")
        for _ in range(samples):
            share = rng.choice((0.2, 0.5, 0.9))

            def choose(what, share=share):
                if rng.random() < share:
                    return "full"
                return "lost" if what != "write" else rng.choice(("lost", "half", "zero"))

            yield self.image(choose)


@dataclass
class Report:
    states: int = 0
    restarts: int = 0
    overtaken: int = 0
    violations: list = field(default_factory=list)


def explore(calls, directory, scratch, *, samples=4, check=None):
    """Some states for every moment, equal ones once. ``check(place, known)`` sees one in twenty."""
    disk, report, rng = Disk(str(directory)), Report(), random.Random(7)
    known, seen = Known(), set()
    report.restarts, report.overtaken = count_restarts(calls)
    for moment, call in enumerate(calls):
        if call.kind in ("try", "ack"):
            known.note(call.kind, *call.words)
        else:
            disk.apply(call)
        for content in disk.images(samples, rng):
            mark = fingerprint(content, known.acked)
            if mark in seen:
                continue
            seen.add(mark)
            report.states += 1
            place = scratch / f"{report.states}"
            place.mkdir()
            for name, data in content.items():
                (place / name).write_bytes(data)
            fault = judge(place, known)
            if fault is None and check is not None and report.states % 20 == 0:
                fault = check(place, known)
            if fault is not None:
                report.violations.append((moment, call.kind, call.path, fault))
            for file in place.iterdir():
                file.unlink()
            place.rmdir()
    return report


def fingerprint(content, acked):
    digest = blake2b(repr((sorted(content), sorted(acked.items()))).encode())
    for name in sorted(content):
        digest.update(blake2b(content[name]).digest())
    return digest.digest()


def count_restarts(calls):
    """How often a log began (again), and how often while the writer of another process had yet to sync it."""
    callers = {call.thread for call in calls if call.kind == "try"}
    restarts = overtaken = 0
    waiting = set()
    for call in calls:
        if not call.path.endswith("-wal"):
            continue
        if call.kind == "write" and call.offset == 0:
            restarts += 1
            overtaken += len(waiting - {call.thread}) if call.thread not in callers else 0
        if call.kind == "write" and call.thread not in callers:
            waiting.add(call.thread)
        elif call.kind == "sync-end":
            waiting.discard(call.thread)
    return restarts, overtaken


def number_of(data):
    """Of a value that was saved, as it is or as a record."""
    return int(re.match(r'(?:\{"axiom":.*"value":)?\{"n":(\d+),"pad":"x+"\}\}?$', data or "")[1])


def judge(place, known):
    """What SQLite finds in an image, compared with what is known."""
    found = {}
    try:
        connection = sqlite3.connect(place / STORE)
        try:
            if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                rows = connection.execute("SELECT key, data FROM record").fetchall()
                found = {key: number_of(data) for key, data in rows if key != HEADER}
                if connection.execute("PRAGMA integrity_check").fetchone()[0] != "ok":
                    return "the file is malformed"
                if connection.execute("SELECT 1 FROM witness, clock WHERE seen>last").fetchone():
                    return "it is told that the log is not here"
        finally:
            connection.close()
    except sqlite3.Error as error:
        return f"the file cannot be read: {error}"
    except TypeError:
        return "a value is torn"
    return known.compare(found)


if __name__ == "__main__":
    _, where, called, count, planted, processes = sys.argv
    plant_bug(planted, called)
    asyncio.run(save_and_tell(Path(where), called, int(count), int(processes)))
