"""The verbs without ``await``: what they return, on which thread, and what ends them."""

import asyncio
import gc
import inspect
import os
import signal
import subprocess
import sys
import threading
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import timedelta

import pytest

from axiom_persistence import AdapterBasedPersistence
from axiom_persistence import open_persistence as open_async
from axiom_persistence.blocking import (
    MISSING,
    Collection,
    Key,
    Persistence,
    Stream,
    Transaction,
    _background,
    open_persistence,
    run,
)
from axiom_persistence.blocking._background import entered
from axiom_persistence.errors import CapabilityUnavailableError, ConfigurationError, ConflictError
from axiom_persistence.persistence.collection import Collection as AsyncCollection
from axiom_persistence.persistence.transaction import Transaction as AsyncTransaction


@dataclass
class Window:
    width: int
    height: int


VOLUME = Key("volume", int, default=5)


@pytest.fixture(params=["memory:", "store.db", "./store"])
def each(request, tmp_path, monkeypatch):
    """An open persistence of each kind in turn."""
    monkeypatch.chdir(tmp_path)
    with open_persistence(request.param) as opened:
        yield opened


@pytest.fixture
def persistence(tmp_path):
    """An open SQLite store."""
    with open_persistence(tmp_path / "store.db") as opened:
        yield opened


# -- the surface -----------------------------------------------------------------------------------


NAMED_OTHERWISE = {"activate", "deactivate", "aclose", "activation_timeout"}
FOR_CLIENTS = {"place"}


@pytest.mark.parametrize(
    ("face", "inner"),
    [(Persistence, AdapterBasedPersistence), (Collection, AsyncCollection), (Transaction, AsyncTransaction)],
)
def test_every_verb_is_there_with_the_same_parameters(face, inner):
    """Whatever the asynchronous class offers, the blocking one does, called the same way."""
    for name, member in inspect.getmembers(inner):
        if name.startswith("_") or name in NAMED_OTHERWISE | FOR_CLIENTS:
            continue
        ours = getattr(face, name)
        if inspect.isfunction(member):
            wanted = list(inspect.signature(member).parameters.values())
            there = inspect.signature(ours).parameters
            for parameter in wanted:
                assert there[parameter.name].kind == parameter.kind, (name, parameter)
                assert there[parameter.name].default == parameter.default, (name, parameter)
            assert set(there) - {p.name for p in wanted} <= {"timeout"}, name
            assert not inspect.iscoroutinefunction(ours), name


def test_single_values(each):
    """Save, load, exists, delete, update and describe do what their namesakes do."""
    each.save("window", Window(8, 6))
    assert each.load("window", Window) == Window(8, 6)
    assert each.load(VOLUME) == 5
    each.save("none", None)
    assert (each.load("none", None, default=MISSING), each.load("nothing", int)) == (None, None)
    assert each.exists("window")
    assert each.delete("window")
    assert not each.delete("window")
    assert each.update("n", int, lambda n: n + 1, default=0) == 1
    assert each.update(VOLUME, lambda volume: volume + 2) == 7
    each.save("short", 1, ttl=timedelta(hours=1))
    assert each.describe("short").expires_at is not None
    assert each.describe("nothing") is None


def test_many_values(each):
    """The forms for several keys, and iteration over all of them."""
    each.save_many({f"k/{n:04}": n for n in range(1500)})
    assert list(each.keys("k/")) == [f"k/{n:04}" for n in range(1500)]
    assert each.load_many(["k/0001", "k/0002", "no"], int) == {"k/0001": 1, "k/0002": 2}
    assert each.delete_many(["k/0001", "no"]) == 1
    view = each.namespace("k")
    assert next(view.keys()) == "0000"
    view.save("x", 1)
    assert each.load("k/x", int) == 1


def test_the_rest_of_the_surface(each):
    """Verify, flush, stats, location and the members of a capability."""
    each.save("a", 1)
    assert each.verify()
    assert each.verify().records == 2  # the header is one
    each.flush()
    each.migrate("1.0", "1.0")
    assert each.is_available
    assert each.is_supported()
    assert each.location
    assert each.reports == ()
    assert each.stats() == each.inner.stats()
    assert next(each.state_stream()) == each.state
    assert "blocking" in repr(each)


def test_collections(each):
    """One record an item: single items, all of them, in order and from a place on."""
    todos = each.collection("todos", Window)
    assert todos.save_all({f"{n:03}": Window(n, n) for n in range(700)}) == 700
    todos.put("700", Window(700, 0))
    assert todos.get("700") == Window(700, 0)
    assert todos.get("no") is None
    assert todos.count() == 701
    assert len(list(todos)) == len(list(todos.ids())) == len(todos.load_all()) == 701
    assert [id for id, _ in todos.items(after="697", page=2)] == ["698", "699", "700"]
    assert todos.delete("700")


# -- transactions ----------------------------------------------------------------------------------


def test_a_transaction_is_all_or_nothing(each):
    """The body's changes are one commit at its end, and none when it raises."""
    with each.transaction() as tx:
        tx.save("a", 1)
        tx.save("b", 2)
        assert (tx.load("a", int), tx.exists("b"), each.exists("a")) == (1, True, False)

    def fail(tx):
        tx.delete("a")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), each.transaction() as tx:
        fail(tx)
    assert each.load_many(["a", "b"], int) == {"a": 1, "b": 2}


def test_a_conflict_is_raised_at_the_end(persistence):
    """Somebody else's commit of what was read undoes the whole, and ``run_transaction`` tries again."""

    def hinder(tx):
        tx.load("a", int)
        persistence.save("a", 1)
        tx.save("b", 1)

    with pytest.raises(ConflictError), persistence.transaction() as tx:
        hinder(tx)
    assert not persistence.exists("b")
    threads = []

    def body(tx):
        threads.append(threading.current_thread())
        found = tx.load("a", int)
        if len(threads) < 3:
            persistence.save("a", found + 1)
        tx.save("b", found)
        return found

    assert persistence.run_transaction(body) == 3
    assert threads == [threading.current_thread()] * 3


def test_one_transaction_in_another_is_refused(persistence, tmp_path):
    """Of the same store and thread, in every spelling; one of another store is fine."""
    with persistence.transaction() as tx, open_persistence(tmp_path / "other.db") as other:
        for inner in (persistence.transaction(), persistence.namespace("n").transaction()):
            with pytest.raises(ConfigurationError, match="running in this thread already"), inner:
                pass
        with pytest.raises(ConfigurationError):
            persistence.run_transaction(lambda tx: None)
        with other.transaction() as second:
            second.save("a", 1)
        tx.save("a", 1)
    with pytest.raises(CapabilityUnavailableError, match="over"):
        tx.load("a", int)
    with pytest.raises(ConfigurationError):
        persistence.run_transaction(lambda tx: persistence.transaction().__enter__())
    persistence.run_transaction(lambda tx: tx.save("a", 2))
    assert persistence.load("a", int) == 2


# -- threads and loops -----------------------------------------------------------------------------


def test_threads_share_one_persistence(each):
    """Counting in four threads by update and by transaction loses nothing."""

    def count():
        for _ in range(25):
            each.update("n", int, lambda n: n + 1, default=0)
            each.run_transaction(lambda tx: tx.save("m", tx.load("m", int, default=0) + 1))

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert each.load_many(["n", "m"], int) == {"n": 100, "m": 100}


def test_what_need_not_wait_stays_on_the_calling_thread(persistence):
    """A load from memory and a save for ``process_exit`` return even while the loop does something else."""
    persistence.save("a", 1)
    persistence.load("a", int)
    busy, hold = threading.Event(), threading.Event()

    async def occupy():
        busy.set()
        hold.wait()

    occupying = threading.Thread(target=run, args=(occupy(),))
    occupying.start()
    busy.wait()
    try:
        assert persistence.load("a", int) == 1
        persistence.save("a", 2, durability="process_exit")
        assert persistence.load("a", int) == 2
    finally:
        hold.set()
        occupying.join()


async def test_a_call_inside_a_running_loop(persistence):
    """A thread whose own event loop is running, as in a notebook, may wait: the work is done elsewhere."""
    persistence.save("a", 1)
    assert persistence.load("a", int) == 1
    assert persistence.exists("a")
    assert persistence.update("a", int, lambda n: n + 1, default=0) == 2
    assert list(persistence.keys("a")) == ["a"]
    with persistence.transaction() as tx:
        tx.save("b", tx.load("a", int, default=0) + 1)
        assert persistence.load("a", int) == 2
    changes = persistence.changes("c", timeout=0.1)
    persistence.save("c", 1)
    assert [change.key for change in changes] == ["c"]
    with open_persistence("memory:") as other:
        other.save("d", 1)


async def test_a_call_inside_an_asynchronous_transaction_is_refused(persistence):
    """It would hold up the end of what it waits for. Before and after it is fine, in another thread, too."""
    async with open_async("memory:") as other:
        async with other.transaction() as tx:
            await tx.save("a", 1)
            for call in (
                lambda: persistence.save("a", 1),
                lambda: persistence.load("a", int),
                lambda: persistence.exists("a"),
                lambda: persistence.transaction().__enter__(),
            ):
                with pytest.raises(CapabilityUnavailableError, match="transaction of this event loop"):
                    call()
            await asyncio.to_thread(persistence.save, "a", 1)
        assert persistence.load("a", int) == 1


def test_a_call_from_the_loops_own_thread_is_refused(persistence):
    """What runs on the background thread must not wait for itself."""
    with pytest.raises(CapabilityUnavailableError, match="wait for itself"):
        persistence.update("a", int, lambda n: persistence.load("b", int) or 0, default=0)
    assert persistence.update("a", int, lambda n: n + 1, default=0) == 1


def test_context_variables_reach_the_work():
    """What runs in the background sees the caller's context, and leaves it as it is."""
    request = ContextVar("request", default="none")
    request.set("mine")

    async def work():
        seen = request.get()
        request.set("theirs")
        return seen

    assert run(work()) == "mine"
    assert request.get() == "mine"


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, GeneratorExit, asyncio.CancelledError])
def test_an_exit_in_a_function_ends_the_caller_only(persistence, error):
    """SystemExit and its like are raised where the call was made, and the loop goes on for the others."""

    def leave(value):
        raise error

    with pytest.raises(error):
        persistence.update("a", int, leave, default=0)
    with pytest.raises(error):
        persistence.run_transaction(leave)
    assert persistence.update("a", int, lambda n: n + 1, default=0) == 1


def test_an_exit_in_a_callback_leaves_the_loop_running(persistence):
    """Also where asyncio itself would let it end the loop's thread."""
    told = threading.Event()

    async def plant():
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda loop, context: told.set())
        loop.call_soon(sys.exit)

    run(plant())
    told.wait()
    persistence.save("a", 1)

    async def clean():
        asyncio.get_running_loop().set_exception_handler(None)

    run(clean())


# -- Ctrl-C ----------------------------------------------------------------------------------------

posix = pytest.mark.skipif(os.name != "posix", reason="signals to oneself are POSIX")


def press_ctrl_c():
    os.kill(os.getpid(), signal.SIGINT)


@posix
def test_ctrl_c_cancels_what_is_waited_for(persistence):
    """The work is cancelled before the call raises, and the next call works."""
    ended = []

    async def work():
        try:
            press_ctrl_c()
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    with pytest.raises(KeyboardInterrupt):
        run(work())
    assert ended == ["cancelled"]
    persistence.save("a", 1)


@posix
def test_ctrl_c_in_a_body_undoes_it(persistence):
    """In the body of a transaction and in a function of ``run_transaction``, while it waits and between."""

    def body(tx):
        tx.save("a", 1)
        press_ctrl_c()
        tx.exists("b")

    with pytest.raises(KeyboardInterrupt), persistence.transaction() as tx:
        body(tx)
    with pytest.raises(KeyboardInterrupt):
        persistence.run_transaction(body)
    assert not persistence.exists("a")
    with persistence.transaction() as tx:
        tx.save("a", 2)
    assert persistence.load("a", int) == 2


@posix
def test_ctrl_c_while_entering_leaves_nothing_entered():
    """A context that was entered in the very moment of the interrupt is left again."""

    class Room:
        inside = 0

        async def __aenter__(self):
            press_ctrl_c()
            Room.inside += 1

        async def __aexit__(self, *_):
            Room.inside -= 1

    for _ in range(20):
        with pytest.raises(KeyboardInterrupt), entered(Room()):
            pass
        assert Room.inside == 0


@pytest.mark.parametrize("moment", ["entered", "left"])
def test_ctrl_c_around_a_body_leaves_nothing_entered(moment, monkeypatch):
    """Right after the context was entered, and right before it would be left."""

    class Room:
        inside = 0

        async def __aenter__(self):
            Room.inside += 1

        async def __aexit__(self, *_):
            Room.inside -= 1

    calls = 0

    def interrupted_run(work):
        nonlocal calls
        calls += 1
        if moment == "entered" and calls == 1:
            run(work)
            raise KeyboardInterrupt
        if moment == "left" and calls == 2:
            work.close()
            raise KeyboardInterrupt
        return run(work)

    monkeypatch.setattr(_background, "run", interrupted_run)
    with pytest.raises(KeyboardInterrupt), entered(Room()):
        pass
    assert Room.inside == 0


@posix
def test_a_second_ctrl_c_does_not_wait():
    """Work that does not let itself be cancelled is left behind by the second one."""
    hold, stubborn = threading.Event(), threading.Event()

    async def work():
        press_ctrl_c()
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            stubborn.set()
            press_ctrl_c()
            hold.wait()

    with pytest.raises(KeyboardInterrupt):
        run(work())
    assert stubborn.is_set()
    hold.set()


# -- streams ---------------------------------------------------------------------------------------


def test_changes_end_after_the_timeout_and_go_on(each):
    """A loop ends when nothing comes for so long; the next loop misses nothing."""
    changes = each.changes("a/", timeout=0.05)
    assert list(changes) == []
    each.save_many({"a/1": 1, "b": 2})
    each.delete("a/1")
    each.save("a/2", 1)
    told = list(changes)
    assert {change.key for change in told} == {"a/1", "a/2"}
    assert {change.origin for change in told} == {"here"}
    each.save("a/3", 3)
    assert [change.key for change in changes] == ["a/3"]


def test_changes_of_other_processes_arrive(persistence, tmp_path):
    """What another process saves ends the wait of this one."""
    changes = persistence.changes()
    persistence.save("mine", 1)
    assert next(changes).key == "mine"  # it watches
    code = "import sys; from axiom_persistence.blocking import *\nwith open_persistence(sys.argv[1]) as p: "
    subprocess.run(
        [sys.executable, "-c", code + "p.save('a', 2)", str(tmp_path / "store.db")], check=True, timeout=60
    )
    assert next(changes)[::2] == ("a", "process")


def test_a_stream_can_be_closed_from_another_thread(persistence):
    """Closing it, or the persistence, ends the loop of a thread that waits."""
    for close in (lambda changes: changes.close(), lambda changes: persistence.close()):
        changes, told = persistence.changes(), []
        waiting = threading.Thread(target=lambda changes=changes, told=told: told.extend(changes))
        waiting.start()
        persistence.save("a", 1)
        close(changes)
        waiting.join()
        assert list(changes) == []
    persistence.open()


def test_threads_share_a_stream(persistence):
    """Two threads that iterate one stream see every change once between them."""
    changes = persistence.changes("k")
    told: list[str] = []
    threads = [
        threading.Thread(target=lambda: told.extend(change.key for change in changes)) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    persistence.save_many({f"k{n}": n for n in range(300)})
    while len(told) < 300:
        threads[0].join(0.01)
    changes.close()
    for thread in threads:
        thread.join()
    assert sorted(told) == sorted(f"k{n}" for n in range(300))


def test_an_error_of_a_stream_is_raised_once():
    """What ends the source is raised to whoever iterates, and then the stream is over."""

    async def source():
        yield 1
        raise LookupError("of the source")

    stream = Stream(source(), None)
    assert next(stream) == 1
    with pytest.raises(LookupError, match="of the source"):
        next(stream)
    assert list(stream) == []


def test_what_is_left_half_way_ends_by_itself(each):
    """Iterators and streams that nobody holds any more are closed without a word."""
    each.save_many({str(n): n for n in range(2500)})
    keys, items = each.keys(), iter(each.collection("c", int))
    next(keys)
    next(items, None)
    changes = each.changes()
    del keys, changes, items
    gc.collect()

    async def others():
        return len(asyncio.all_tasks()) - 1

    while run(others()):
        pass
    assert each.exists("1")


def test_it_opens_again(tmp_path):
    """Open, close and open again without a ``with`` block; a closed one says what to do."""
    persistence = open_persistence(tmp_path / "store.db").open()
    persistence.save("a", 1)
    persistence.close()
    persistence.close()
    for call in (lambda: persistence.load("a", int), lambda: persistence.save("a", 1), persistence.flush):
        with pytest.raises(CapabilityUnavailableError, match="closed"):
            call()
    with pytest.raises(CapabilityUnavailableError, match="closed"):
        persistence.changes()
    with persistence:
        assert persistence.load("a", int) == 1
