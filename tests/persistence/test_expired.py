"""Expired means gone, in every verb and every face: all public verbs over one record that is, or is not.

Each table below names every public verb of a class, with what it says of the record at ``c/x``; a new verb
without an entry fails. The tables are written once, in the blocking spelling, and run over both faces.
"""

import asyncio
import inspect
import io
import json
import tempfile
import time
from contextlib import AbstractAsyncContextManager, contextmanager
from pathlib import Path

import pytest

from axiom_persistence import (
    AdapterBasedPersistence,
    Client,
    MemoryAdapter,
    blocking,
    client_state,
    open_persistence,
)
from axiom_persistence.cli import main
from axiom_persistence.cli.app import app
from axiom_persistence.persistence._collected import TransactionCollection
from axiom_persistence.persistence.collection import Collection
from axiom_persistence.persistence.transaction import Transaction

KEY = "c/x"
PAGES = ({}, {"limit": 1}, {"limit": 5, "reverse": True})
NO_LOOK = None  # the verb says nothing of what is stored under a key


def alike(*answers):
    """What several looks say alike."""
    assert len(set(answers)) == 1, answers
    return answers[0]


def plus(n):
    return n + 1


def by_prefix(verbs, take):
    """Whether the record is among the items of a stream, which go on to a later key."""
    verbs.save("c/y", 5)
    for key, _ in verbs.observe_prefix("c/", int):
        if key == "c/y":
            return False
        if key == KEY:
            return True
    raise AssertionError("the stream has ended")


def in_transaction(verbs, take):
    with verbs.transaction() as tx:
        return tx.exists(KEY)


def archive():
    """One with another value under the key."""
    file = io.BytesIO()
    with blocking.open_persistence("memory:") as other:
        other.save(KEY, 2)
        other.export_to(file)
    file.seek(0)
    return file


def others(path):
    """A file of another program with another value under the key."""
    path.mkdir(parents=True)
    (path / "x.json").write_text("2")
    return path


def taken_over(verbs, take):
    with tempfile.TemporaryDirectory() as directory:
        return not verbs.import_legacy(others(Path(directory) / "old"), into="c/").imported


PERSISTENCE = {
    "load": lambda v, _: v.load(KEY, int) == 1,
    "load_many": lambda v, _: v.load_many([KEY], int) == {KEY: 1},
    "load_with_expiry": lambda v, _: v.load_with_expiry(KEY, int) != (None, None),
    "exists": lambda v, _: v.exists(KEY),
    "expires_at": lambda v, _: v.expires_at(KEY) is not None,
    "touch": lambda v, _: alike(v.touch(KEY, ttl=60), v.exists(KEY)),
    "update": lambda v, _: v.update(KEY, int, plus, default=100) == 2,
    "delete": lambda v, _: v.delete(KEY),
    "delete_many": lambda v, _: v.delete_many([KEY, "c/never"]) == 1,
    "delete_prefix": lambda v, _: v.delete_prefix("c/") == 1,
    "keys": lambda v, _: alike(*(list(v.keys(**how)) == [KEY] for how in PAGES)),
    "count": lambda v, _: v.count() == 1,
    "namespaces": lambda v, _: list(v.namespaces()) == ["c"],
    "describe": lambda v, _: v.describe(KEY) is not None,
    "observe": lambda v, take: take(v.observe(KEY, int)) == 1,
    "observe_prefix": by_prefix,
    "transaction": in_transaction,
    "collection": lambda v, _: v.collection("c", int).get("x") == 1,
    "namespace": lambda v, _: v.namespace("c").load("x", int) == 1,
    **dict.fromkeys(("save", "save_many"), NO_LOOK),  # they replace what is there, whatever it is
    **dict.fromkeys(("audit", "verify_audit"), NO_LOOK),
    **dict.fromkeys(
        ("verify", "rotate_keys", "change_key", "migrate", "rollback", "finalize", "changes", "flush"),
        NO_LOOK,
    ),  # see bytes
    **dict.fromkeys(
        ("quarantined", "show_quarantined", "restore_quarantined", "drop_quarantined"), NO_LOOK
    ),  # the same
    **dict.fromkeys(("encrypt", "decrypt", "snapshot", "snapshots", "restore"), NO_LOOK),  # the same
    **dict.fromkeys(("erase", "verify_erasure"), NO_LOOK),  # the same: what has expired is erased, too
    "export_to": lambda v, _: v.export_to(io.BytesIO()).records == 1,
    "import_from": lambda v, _: v.import_from(archive()).kept == 1,
    "import_legacy": taken_over,
    "sweep": lambda v, _: v.sweep().expired == 0,
    **dict.fromkeys(("about", "adapter", "location", "reports", "secure", "state", "stats", "sync"), NO_LOOK),
    **dict.fromkeys(
        ("salvaged", "state_stream", "is_available", "is_supported", "request_permission"), NO_LOOK
    ),
}
ASYNC = {
    "run_transaction": lambda v, _: v.run_transaction(lambda tx: tx.exists(KEY)),
    **dict.fromkeys(("activate", "deactivate", "aclose", "activation_timeout", "place"), NO_LOOK),
}
BLOCKING = {
    "run_transaction": lambda v, _: v.run_transaction(lambda tx: tx.exists(KEY)),
    "mapping": lambda v, _: "x" in v.mapping("c"),
    **dict.fromkeys(("open", "close"), NO_LOOK),
}
TRANSACTION = {
    verb: PERSISTENCE[verb]
    for verb in (
        *("load", "load_many", "load_with_expiry", "exists", "expires_at", "touch", "update", "delete"),
        *("delete_many", "delete_prefix", "keys", "count", "collection", "save", "save_many"),
    )
}
IN_BOTH = {
    "get": lambda v, _: v.get("x") == 1,
    "exists": lambda v, _: v.exists("x"),
    "expires_at": lambda v, _: v.expires_at("x") is not None,
    "touch": lambda v, _: alike(v.touch("x", ttl=60), v.exists("x")),
    "update": lambda v, _: v.update("x", plus, default=100) == 2,
    "delete": lambda v, _: v.delete("x"),
    "load_all": lambda v, _: v.load_all() == {"x": 1},
    "ids": lambda v, _: alike(*(list(v.ids(**how)) == ["x"] for how in PAGES)),
    "count": lambda v, _: v.count() == 1,
    "clear": lambda v, _: v.clear() == 1,
    "items": lambda v, _: alike(*(list(v.items(**how)) == [("x", 1)] for how in PAGES)),
    "put": NO_LOOK,
}
COLLECTION = IN_BOTH | {
    "observe": lambda v, take: [v.put("y", 5), take(v.observe())][1] == ("x", 1),
    "save_all": NO_LOOK,  # writes both: an item with an end is never the same as one without
}
CLIENT = {
    "snapshot": lambda v, _: v.snapshot() == {"x": 1},
    "observe": lambda v, take: take(v.observe("x")) == 1,
    "state_stream": lambda v, take: take(v.state_stream()).values["x"] == 1,
    "restore_state": lambda v, _: "x" in v.restore_state().restored,
    "restore_report": lambda v, _: "x" in v.restore_report.restored,
    **dict.fromkeys(("accept", "aclose", "close", "last_error", "pending", "persist_state"), NO_LOOK),
    **dict.fromkeys(("persisted_keys", "phase", "process", "reset", "touch", "transaction"), NO_LOOK),
    **dict.fromkeys(("state_did_update", "state_will_update"), NO_LOOK),
}
TABLES = {
    AdapterBasedPersistence: PERSISTENCE | ASYNC,
    blocking.Persistence: PERSISTENCE | BLOCKING,
    Transaction: TRANSACTION,
    blocking.Transaction: TRANSACTION,
    Collection: COLLECTION,
    blocking.Collection: COLLECTION,
    TransactionCollection: IN_BOTH,
    blocking.TransactionCollection: IN_BOTH,
    Client: CLIENT,
    blocking.Client: CLIENT,
}
LOOKS = [
    pytest.param(kind, verb, id=f"{kind.__module__.removeprefix('axiom_persistence.')}-{verb}")
    for kind, table in TABLES.items()
    for verb, look in table.items()
    if look is not NO_LOOK
]


class AsyncPrefs(Client, name="c"):
    x: int = client_state(0)


class BlockingPrefs(blocking.Client, name="c"):
    x: int = client_state(0)


class Waited:
    """An asynchronous object in the spelling of the blocking ones: each coroutine is run to its end."""

    def __init__(self, inner, runner):
        self._inner = inner
        self._runner = runner

    def __getattr__(self, name):
        found = getattr(self._inner, name)
        if not callable(found):
            return found

        def call(*arguments, **options):
            if name == "run_transaction":
                arguments = (self._in_body(arguments[0]),)
            return self._waited(found(*arguments, **options))

        return call

    def _in_body(self, function):
        async def body(tx):
            return await function(tx)

        return body

    def _waited(self, result):
        if inspect.iscoroutine(result):
            return self._runner.run(result)
        if type(result) in TABLES or isinstance(result, AdapterBasedPersistence):
            return Waited(result, self._runner)
        if isinstance(result, AbstractAsyncContextManager):
            return self._entered(result)
        if hasattr(result, "__anext__"):
            return self._items(result)
        return result

    @contextmanager
    def _entered(self, manager):
        yield Waited(self._runner.run(manager.__aenter__()), self._runner)
        self._runner.run(manager.__aexit__(None, None, None))

    def _items(self, source):
        try:
            while True:
                try:
                    yield self._runner.run(anext(source))
                except StopAsyncIteration:
                    return
        finally:
            self._runner.run(source.aclose())


def first(stream):
    return next(iter(stream))


@contextmanager
def opened(kind, memory, clock):
    """The verbs of ``kind``, over what is in ``memory``, at the time of ``clock``."""
    is_blocking = ".blocking." in kind.__module__
    with asyncio.Runner() as runner:
        if is_blocking:
            verbs = persistence = blocking.open_persistence(memory).open()
        else:
            persistence = runner.run(open_persistence(memory)._opened_self())
            verbs = Waited(persistence, runner)
        (persistence.inner if is_blocking else persistence)._opened.clock = clock
        try:
            if kind in (Collection, blocking.Collection):
                yield verbs.collection("c", int)
            elif kind in (
                Transaction,
                blocking.Transaction,
                TransactionCollection,
                blocking.TransactionCollection,
            ):
                with verbs.transaction() as tx:
                    yield tx if kind in (Transaction, blocking.Transaction) else tx.collection("c", int)
            elif kind is blocking.Client:
                with BlockingPrefs(verbs) as client:
                    yield client
            elif kind is Client:
                client = runner.run(AsyncPrefs(persistence).__aenter__())
                yield Waited(client, runner)
                runner.run(client.close())
            else:
                yield verbs
        finally:
            if is_blocking:
                persistence.close()
            else:
                runner.run(persistence.deactivate())


async def _a_record(memory, state, now):
    async with AdapterBasedPersistence(memory) as persistence:
        persistence._opened.clock = lambda: now
        await persistence.save(KEY, 1, ttl=100 if state == "unexpired" else 5)
        if state == "touched":
            assert await persistence.touch(KEY, ttl=100)


@pytest.mark.parametrize("state", ["expired", "unexpired", "touched"])
@pytest.mark.parametrize(("kind", "verb"), LOOKS)
def test_expired_means_gone(kind, verb, state):
    """The verb finds the record exactly if its time has not come."""
    memory, now = MemoryAdapter(), time.time()
    asyncio.run(_a_record(memory, state, now))
    with opened(kind, memory, lambda: now + 10) as verbs:
        assert TABLES[kind][verb](verbs, first) is (state != "expired")


@pytest.mark.parametrize("kind", TABLES)
def test_every_verb_has_its_entry(kind):
    """A verb that is new, or gone, is missed in its table."""
    assert {name for name in dir(kind) if name[0] != "_"} == set(TABLES[kind])


# -- the command line -------------------------------------------------------------------------------


def listed(run, where):
    short, long = json.loads(run("ls", where, "--json")[1]), run("ls", where, "-l")[1]
    return alike(short == [{"key": KEY}], KEY in long)


def described(run, where):
    records = json.loads(run("info", where, "--json")[1])["records"]
    return alike(run("info", where, KEY)[0] == 0, records == 1)


def copied(run, where):
    run("copy", where, where + ".copy.db")
    return KEY in run("ls", where + ".copy.db")[1]


def imported(run, where):
    source = Path(where + ".jsonl")
    source.write_bytes(archive().read())
    return json.loads(run("import", where, str(source), "--json")[1])["kept"] == 1


def taken_over_by_command(run, where):
    source = others(Path(where + ".old"))
    found = json.loads(run("import-legacy", where, str(source), "--into", "c/", "--json")[1])
    return [entry["outcome"] for entry in found["entries"]] == ["skipped"]


COMMANDS = {
    "ls": listed,
    "browse": lambda run, where: KEY in run("browse", where)[1],
    "get": lambda run, where: run("get", where, KEY)[0] == 0,
    "has": lambda run, where: run("has", where, KEY)[0] == 0,
    "rm": lambda run, where: run("rm", where, KEY, "--yes")[0] == 0,
    "info": described,
    "schema": lambda run, where: json.loads(run("schema", where, "--json")[1])["stored"] != [],
    "export": lambda run, where: KEY in run("export", where, "-")[1],
    "copy": copied,
    "import": imported,
    "import-legacy": taken_over_by_command,
    "sweep": lambda run, where: json.loads(run("sweep", where, "--json")[1])["expired"] == 0,
    **dict.fromkeys(("demo", "set", "path", "verify", "completion", "watch"), NO_LOOK),
    **dict.fromkeys(("migrate", "rollback", "finalize", "quarantine", "erase"), NO_LOOK),  # see bytes
    **dict.fromkeys(("encrypt", "decrypt", "keys", "doctor", "sync", "audit"), NO_LOOK),  # the same
    **dict.fromkeys(("snapshot", "snapshots", "restore"), NO_LOOK),  # the same
}


@pytest.mark.parametrize("state", ["expired", "unexpired", "touched"])
@pytest.mark.parametrize("command", [name for name, look in COMMANDS.items() if look])
def test_expired_means_gone_in_the_command_line(command, state, tmp_path, capsys):
    """Each command that names or counts keys."""
    where = str(tmp_path / "s.db")

    async def a_record():
        async with open_persistence(where) as persistence:
            await persistence.save(KEY, 1, ttl=3600 if state == "unexpired" else 0.001)
            if state == "touched":
                persistence._opened.clock = lambda: time.time() - 60  # in time
                assert await persistence.touch(KEY, ttl=3600)

    asyncio.run(a_record())

    def run(*arguments):
        code = main(list(arguments))
        return code, capsys.readouterr().out

    assert COMMANDS[command](run, where) is (state != "expired")


def test_every_command_has_its_entry():
    """A command that is new is missed in the table."""
    assert set(app.commands) == set(COMMANDS)
