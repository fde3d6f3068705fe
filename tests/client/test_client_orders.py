"""Clients that nobody entered, or closed in the right order: what they hold is stored, or named."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Final
from typing import ClassVar as Constant

import pytest

from axiom_persistence import blocking
from axiom_persistence.client import (
    AutoSave,
    Client,
    ClientManager,
    ClientPhase,
    ClientsFailedError,
    client_state,
)
from axiom_persistence.errors import ConfigurationError, PersistenceError, StorageError, TypeMismatchError
from axiom_persistence.opening.open import open_persistence
from axiom_persistence.testing.confidential import ConfidentialMemory
from support.client_worlds import Counter, full


class B(Client):
    z: int = client_state(0)
    tags: list[str] = client_state(default_factory=list)


class Secretive(Client):
    plain: int = client_state(0)
    token: str = client_state("", secure=True)
    codes: list[str] = client_state(default_factory=list, secure=True)


@pytest.fixture(params=["s.db", "directory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / request.param


async def stored(place: Path, key: str, kind: Any) -> Any:
    async with open_persistence(place) as persistence:
        return await persistence.load(key, kind)


# -- nobody entered it -----------------------------------------------------------------------------


async def test_assigned_and_never_entered(place):
    """What was assigned to a client that nobody entered is stored when its persistence closes."""
    async with open_persistence(place) as persistence:
        client = B(persistence)
        client.z = 8
    assert await stored(place, "B/z", int) == 8
    assert (client.phase, client.pending) == (ClientPhase.CREATED, ())
    await client.close()


@pytest.mark.parametrize("change", [lambda c: setattr(c, "z", 8), lambda c: c.tags.append("x")])
async def test_never_entered_and_not_held(place, change):
    """The same where nobody holds the client any more, for assignments and changes in place."""
    async with open_persistence(place) as persistence:
        change(B(persistence.namespace("inner")))
        gc.collect()
    assert (await stored(place, "inner/B/z", int), await stored(place, "inner/B/tags", list[str])) in (
        (8, None),
        (None, ["x"]),
    )


async def test_a_client_that_was_only_built_is_not_kept():
    """Building a client costs no memory once it is dropped, and stores nothing."""
    async with open_persistence("memory:") as persistence:
        gc.collect()
        before = sum(type(o) is B for o in gc.get_objects())
        for number in range(20):
            B(persistence, instance=str(number))
        gc.collect()
        assert sum(type(o) is B for o in gc.get_objects()) == before
        assert [key async for key in persistence.keys("")] == []


async def test_the_other_fields_keep_what_is_stored(place):
    """The save at the close overwrites no field that was not assigned."""
    async with open_persistence(place) as persistence:
        await persistence.save_many({"B/z": 1, "B/tags": ["old"]})
        B(persistence).z = 8
    assert (await stored(place, "B/z", int), await stored(place, "B/tags", list[str])) == (8, ["old"])


async def test_never_entered_over_an_unreadable_value(place):
    """A stored value that cannot be read is left alone, and the close names client and field."""
    async with open_persistence(place) as persistence:
        await persistence.save("B/z", "of another type")
        client = B(persistence)
        client.z = 8
        with pytest.raises(ClientsFailedError, match=r"B\.z: ") as caught:
            await persistence.aclose()
    assert isinstance(caught.value.failures["B.z"], TypeMismatchError)
    assert await stored(place, "B/z", str) == "of another type"
    await client.close()  # has been told


async def test_two_of_one_path_are_named():
    """A second client of the same path cannot be stored beside a live one: the close says which it is."""
    persistence = await open_persistence("memory:")
    async with B(persistence) as live:
        live.z = 1
        second = B(persistence)
        second.z, second.tags = 2, ["x"]
        with pytest.raises(ClientsFailedError, match=r"B\.z, B\.tags: .*live in this process already"):
            await persistence.aclose()


async def test_a_discarded_client_stores_nothing():
    """``close(discard=True)`` of a client that nobody entered is the end of its values."""
    async with open_persistence("memory:") as persistence:
        client = B(persistence)
        client.z = 8
        await client.close(discard=True)
        await persistence.aclose()
        await persistence.activate()
        assert await persistence.exists("B/z") is False


# -- the persistence is closed first ---------------------------------------------------------------


async def test_changes_in_place_when_the_store_closes_first(place):
    """Lists changed a moment before the persistence closes are stored, and the client may end later."""
    persistence = await open_persistence(place)
    client = B(persistence, auto_save=AutoSave.OFF)
    await client.restore_state()
    client.tags.append("x")
    client.z = 5
    await persistence.aclose()
    await client.close()
    assert (await stored(place, "B/z", int), await stored(place, "B/tags", list[str])) == (5, ["x"])


async def test_one_commit_for_all(flaky, failing):
    """All live clients of a store, and those that nobody entered, go out in one commit."""
    live = [B(flaky, instance=str(n), auto_save=AutoSave.OFF) for n in range(20)]
    for client in live:
        await client.restore_state()
        client.tags.append("x")
    B(flaky, instance="late").z = 8
    failing.commits = 0
    await flaky.aclose()
    assert failing.commits == 1
    for client in live:
        await client.close()
    await flaky.activate()
    assert await flaky.load_many([f"B/{n}/tags" for n in range(20)], list[str]) == {
        f"B/{n}/tags": ["x"] for n in range(20)
    }
    assert await flaky.load("B/late/z", int) == 8


@pytest.mark.parametrize("entered", [True, False])
async def test_secrets_too(tmp_path, entered):
    """What is secure is stored in its place before that closes, whichever is closed."""
    secure = ConfidentialMemory()
    persistence = await open_persistence(tmp_path / "s.db", secure=secure)
    client = Secretive(persistence, auto_save=AutoSave.OFF)
    if entered:
        await client.restore_state()
    client.plain, client.token = 1, "t"
    client.codes.append("c")
    await persistence.secure.aclose()
    assert {"token", "codes"}.isdisjoint(client.pending)
    await persistence.secure.activate()
    client.codes.append("d")
    await persistence.aclose()
    await client.close()
    again = open_persistence(tmp_path / "s.db", secure=secure)
    async with again, Secretive(again) as client:
        assert (client.plain, client.token, client.codes) == (1, "t", ["c", "d"])


async def test_a_failing_store_names_what_is_not_stored(failing):
    """The close of a store that refuses raises once, naming every field; the clients' ends repeat nothing."""
    persistence = await open_persistence(failing)
    client, other = Counter(persistence, auto_save=AutoSave.OFF), B(persistence)
    await client.restore_state()
    client.a, client.b, other.z = 1, 2, 3
    failing.error = full()
    with pytest.raises(ClientsFailedError) as caught:
        await persistence.aclose()
    assert not persistence.is_available
    for name in ("Counter.a", "Counter.b", "B.z", "disk says no"):
        assert name in str(caught.value)
    await client.close()
    await other.close()
    assert client.phase is other.phase is ClientPhase.CLOSED


async def test_nothing_is_let_go_that_was_assigned_later(failing):
    """A value assigned after the store closed is no part of what was told: the client's end raises."""
    persistence = await open_persistence(failing)
    client = Counter(persistence, auto_save=AutoSave.OFF)
    await client.restore_state()
    client.a = 1
    failing.error = full()
    with pytest.raises(ClientsFailedError):
        await persistence.aclose()
    client.b = 2
    with pytest.raises(PersistenceError):
        await client.close()
    assert client.pending == ("a", "b")
    failing.error = None
    await persistence.activate()
    await client.close()
    assert await persistence.load_many(["Counter/a", "Counter/b"], int) == {"Counter/a": 1, "Counter/b": 2}
    await persistence.aclose()


async def test_what_a_close_raised_is_not_raised_by_the_store(failing):
    """The error of a client's end passes through the end of its persistence as it is."""

    async def use() -> None:
        persistence = open_persistence(failing)
        async with persistence, Counter(persistence, auto_save=AutoSave.OFF) as counter:
            counter.a = 1
            failing.error = full()

    with pytest.raises(StorageError, match="disk says no") as caught:
        await use()
    assert "Counter.a" in "".join(caught.value.__notes__)


async def test_a_hook_that_raises_keeps_nothing_from_being_saved(flaky):
    """Where a hook of the application fails at the close, everything is stored and the error is raised."""

    class Hooked(Client):
        items: list[int] = client_state(default_factory=list)

        def state_did_update(self, old: Any, new: Any) -> None:
            raise RuntimeError("of the hook")

    first, second = Hooked(flaky, auto_save=AutoSave.OFF), B(flaky, auto_save=AutoSave.OFF)
    await first.restore_state()
    await second.restore_state()
    first.items.append(1)
    second.tags.append("x")
    with pytest.raises(ClientsFailedError, match="of the hook"):
        await flaky.aclose()
    await flaky.activate()
    assert await flaky.load("Hooked/items", list[int]) == [1]
    assert await flaky.load("B/tags", list[str]) == ["x"]
    await first.close()
    await second.close()


async def test_a_manager_stops_after_the_store(place):
    """A manager that is stopped too late has nothing left to save, and raises nothing."""
    manager = ClientManager()
    async with open_persistence(place) as persistence:
        client = manager.register(B(persistence, auto_save=AutoSave.OFF))
        await manager.start()
        client.tags.append("x")
    await manager.stop()
    assert manager.running == ()
    assert await stored(place, "B/tags", list[str]) == ["x"]


async def test_a_restore_under_way_when_the_store_closes(flaky, failing):
    """What is assigned while a restore reads is stored, although the persistence closes meanwhile."""
    client = B(flaky)
    failing.fetch_gate = asyncio.Event()
    restoring = asyncio.create_task(client.restore_state())
    while client.phase is not ClientPhase.RESTORING:
        await asyncio.sleep(0)
    client.z = 8
    closing = asyncio.create_task(flaky.aclose())
    await asyncio.sleep(0)
    failing.fetch_gate.set()
    await asyncio.gather(restoring, closing)
    await client.close()
    await flaky.activate()
    assert await flaky.load("B/z", int) == 8


def test_without_await(tmp_path):
    """The blocking face saves at its close, too, entered or not."""

    class Blocked(blocking.Client):
        z: int = client_state(0)
        tags: list[str] = client_state(default_factory=list)

    with blocking.open_persistence(tmp_path / "s.db") as persistence:
        never, entered = Blocked(persistence), Blocked(persistence, instance="entered")
        never.z = 8
        entered.restore_state()
        entered.tags.append("x")
    entered.close()
    with blocking.open_persistence(tmp_path / "s.db") as persistence:
        assert persistence.load("Blocked/z", int) == 8
        assert persistence.load("Blocked/entered/tags", list[str]) == ["x"]


# -- the end of the process ------------------------------------------------------------------------

PRELUDE = """
import asyncio, sys
from pathlib import Path
from axiom_persistence import Client, blocking, client_state, open_persistence

class B(Client):
    z: int = client_state(0)
    tags: list[str] = client_state(default_factory=list)

place = Path(sys.argv[1])
"""


def end(place: Path, code: str) -> subprocess.CompletedProcess[str]:
    program = PRELUDE + textwrap.dedent(code)
    return subprocess.run(
        [sys.executable, "-W", "error", "-W", "ignore::ResourceWarning", "-c", program, str(place)],
        capture_output=True,
        text=True,
        timeout=60,
    )


UNENTERED = {
    "held": "client = B(persistence); client.z = 8; client.tags.append('x')",
    "not held": "B(persistence).z = 8; B(persistence, instance='other').tags.append('x'); gc.collect()",
    "built only": "client = B(persistence)",
}


@pytest.mark.parametrize("how", UNENTERED)
async def test_the_end_of_the_process(place, how):
    """Values of clients that nobody entered are stored at the end of the process, without a word."""
    ended = end(
        place,
        f"""
        import gc
        async def main():
            global persistence, client
            persistence = await open_persistence(place)
            {UNENTERED[how]}
        asyncio.run(main())
        """,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert await stored(place, "B/z", int) == (None if how == "built only" else 8)
    path = "B/other/tags" if how == "not held" else "B/tags"
    assert await stored(place, path, list[str]) == (None if how == "built only" else ["x"])


async def test_a_signal_saves_too(place):
    """With ``save_on_signals`` a signal saves what nobody entered, and the process may go on."""
    ended = end(
        place,
        """
        import os, signal
        from axiom_persistence.client import save_on_signals
        async def main():
            persistence = await open_persistence(place)
            client = B(persistence)
            signal.signal(signal.SIGTERM, lambda *_: None)
            save_on_signals()
            client.z = 8
            signal.raise_signal(signal.SIGTERM)
            await asyncio.sleep(0)
            print(client.phase, client.pending)
            async with client:
                client.tags.append("x")
            os._exit(0)
        asyncio.run(main())
        """,
    )
    assert (ended.stdout.strip(), ended.stderr) == ("created ()", "")
    assert await stored(place, "B/z", int) == 8
    assert await stored(place, "B/tags", list[str]) == ["x"]


async def test_a_restore_that_never_ends(place):
    """Where the event loop stops in the middle of a restore, the end of the process still saves and ends."""
    ended = end(
        place,
        """
        loop = asyncio.new_event_loop()
        async def begin():
            global persistence, client, restoring
            persistence = await open_persistence(place)
            await persistence.save("B/tags", ["old"])
            client = B(persistence)
            restoring = asyncio.create_task(client.restore_state())
            while client.phase == "created":
                await asyncio.sleep(0)
        loop.run_until_complete(begin())
        client.z = 8
        print(client.phase)
        """,
    )
    assert ended.returncode == 0
    assert ended.stdout in ("restoring\n", "ready\n")
    assert await stored(place, "B/z", int) == 8
    assert await stored(place, "B/tags", list[str]) == ["old"]


def test_a_store_that_was_never_opened(place):
    """Where the store is never opened, the end of the process names client and field, once."""
    ended = end(place, "client = B(open_persistence(place)); client.z = 8")
    assert ended.stderr.count("B.z: ") == 1
    assert "not open" in ended.stderr


@pytest.mark.parametrize("caught", [True, False])
def test_a_failure_is_told_once(place, caught):
    """What a close has raised is not raised again at the end of the process, whether it was caught or not."""
    close = "try: await client.close()\n            except Exception as error: print(type(error).__name__)"
    ended = end(
        place,
        f"""
        async def main():
            global persistence, client
            persistence = await open_persistence(place)
            client = B(persistence)
            await client.restore_state()
            client.tags.append(object())
            {close if caught else "await client.close()"}
        asyncio.run(main())
        """,
    )
    if caught:
        assert (ended.stdout, ended.stderr) == ("EncodingError\n", "")
    else:
        assert ended.stderr.count("Traceback") == 1
        assert "EncodingError" in ended.stderr
        assert "B.tags" in ended.stderr


def test_what_the_store_raised_is_told_once(place):
    """Nor is what the close of the persistence has raised."""
    ended = end(
        place,
        """
        async def main():
            async with open_persistence(place) as persistence:
                client = B(persistence)
                await client.restore_state()
                client.tags.append(object())
        try:
            asyncio.run(main())
        except Exception as error:
            print(error)
        """,
    )
    assert "B.tags: " in ended.stdout
    assert ended.stderr == ""


def test_what_was_assigned_after_a_failed_close_is_told(place):
    """Another value of the same field is another loss: it is told, naming client and field."""
    ended = end(
        place,
        """
        async def main():
            global persistence, client
            persistence = await open_persistence(place)
            await persistence.save("B/z", "of another type")
            client = B(persistence)
            await client.restore_state()
            client.z = 1
            try:
                await client.close()
            except TypeError:
                client.z = 2
        asyncio.run(main())
        """,
    )
    assert ended.stderr.count("Traceback") == 1
    assert "B.z: " in ended.stderr


def test_the_end_of_a_process_without_await(tmp_path):
    """Values of a blocking client that nobody entered are stored at the end of the process."""
    ended = end(
        tmp_path / "s.db",
        """
        class C(blocking.Client):
            z: int = client_state(0)
        persistence = blocking.open_persistence(place).open()
        C(persistence).z = 8
        """,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    with blocking.open_persistence(tmp_path / "s.db") as persistence:
        assert persistence.load("C/z", int) == 8


# -- declarations ----------------------------------------------------------------------------------


def test_a_field_without_client_state_is_refused():
    """An annotated attribute that is neither ClassVar nor client_state is refused with the right spelling."""
    right = r"write tags: list\[str\] = client_state\(default_factory=list\)"
    with pytest.raises(ConfigurationError, match=right):

        class A(Client):
            tags: list[str] = []

    with pytest.raises(
        ConfigurationError, match=r"A\.theme .*write theme: str = client_state\(\.\.\.\) around"
    ):

        class A(Client):  # type: ignore[no-redef]
            theme: str = "system"

    with pytest.raises(ConfigurationError, match=r"write volume: int = client_state\(\.\.\.\)"):

        class A(Client):  # type: ignore[no-redef]
            volume: int

    with pytest.raises(ConfigurationError, match=r"default_factory=lambda: list\("):

        class A(blocking.Client):  # type: ignore[no-redef]
            tags: list[str] = ["a"]

    with pytest.raises(ConfigurationError, match="z: int = client_state"):

        class A(B):  # type: ignore[no-redef]
            z: int


def test_what_stays_free():
    """Constants, private names, methods and properties are no fields and may be annotated."""

    class Free(Client):
        z: int = client_state(0)
        LIMIT: ClassVar[int] = 3
        COLOURS: Constant = ["red"]
        NAMES: "ClassVar[list[str]]" = []  # noqa: UP037 - a type as text
        DEPTH: Final = 2
        _cache: dict[str, int]
        _seen: list[str] = []
        double: Callable[["Free"], int] = lambda self: self.z * 2  # noqa: UP037
        half: property = property(lambda self: self.z // 2)
        plain = "no type"

    assert list(Free._fields) == ["z"]


@pytest.mark.parametrize("base", [Client, blocking.Client])
async def test_an_init_without_super(base):
    """A class whose own __init__ forgets super().__init__ is told so at the first assignment."""

    class Own(base):
        z: int = client_state(0)

        def __init__(self, persistence: Any) -> None:
            self._mine = persistence
            self.z = 5

    with pytest.raises(ConfigurationError, match=r"super\(\).__init__\(persistence\)"):
        Own(open_persistence("memory:"))


async def test_an_init_without_super_is_not_entered():
    """Nor can such a client be entered."""

    class Own(Client):
        z: int = client_state(0)

        def __init__(self, persistence: Any) -> None:
            self._mine = persistence

    with pytest.raises(ConfigurationError, match=r"super\(\).__init__\(persistence\)"):
        async with Own(open_persistence("memory:")):
            pass
