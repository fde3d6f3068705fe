"""The ends of a process without an event loop, each as a real one, and forks."""

from __future__ import annotations

import os
import signal

import pytest

from support.blocking_programs import run, stored

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="signals and forks are POSIX")


@pytest.fixture(params=["state.db", "directory"])
def place(request, tmp_path):
    return tmp_path / request.param


ENDS = {
    "the end of the with blocks": """
        with open_persistence(place) as persistence, Counter(persistence, auto_save=SLOW) as counter:
            fill(counter)
        """,
    "sys.exit in the body": """
        with open_persistence(place) as persistence, Counter(persistence, auto_save=SLOW) as counter:
            fill(counter)
            sys.exit(0)
        """,
    "no close at all": """
        persistence, counter = started(auto_save=SLOW)
        fill(counter)
        """,
    "a client that nobody holds any more": """
        persistence, counter = started(auto_save=SLOW)
        fill(counter)
        del persistence, counter
        gc.collect()
        """,
    "a thread that outlives the main one": """
        def work():
            persistence, counter = started(auto_save=SLOW)
            time.sleep(0.2)
            fill(counter)
        threading.Thread(target=work).start()
        """,
    "a daemon thread that waits for changes": """
        persistence, counter = started(auto_save=SLOW)
        changes = persistence.changes("nothing/")
        threading.Thread(target=list, args=(changes,), daemon=True).start()
        fill(counter)
        """,
    "streams and iterators left half-way": """
        persistence, counter = started(auto_save=SLOW)
        persistence.save_many({str(n): n for n in range(3000)})
        keys, updates = persistence.keys(), counter.state_stream()
        next(keys), next(updates)
        changes = persistence.changes()
        fill(counter)
        """,
    "an exit handler that still saves": """
        persistence, counter = started(auto_save=SLOW)
        def late():
            fill(counter)
            counter.persist_state()
        atexit.register(late)
        """,
    "an exit handler that closes": """
        persistence, counter = started(auto_save=SLOW)
        fill(counter)
        atexit.register(persistence.close)
        atexit.register(counter.close)
        """,
}


@pytest.mark.parametrize("end", ENDS)
def test_an_orderly_end_keeps_everything(place, end):
    """However a program comes to its end, what was assigned is stored, nothing hangs and nothing warns."""
    ended = run(place, ENDS[end])
    assert (ended.status, ended.err) == (0, "")
    assert stored(place) == (1, 2, [3])


def test_an_uncaught_exception_keeps_everything_and_the_status(place):
    """A traceback ends the program as ever, after what was assigned was stored."""
    ended = run(
        place,
        """
        persistence, counter = started(auto_save=SLOW)
        fill(counter)
        raise LookupError("of the application")
        """,
    )
    assert ended.status == 1
    assert ended.err.rstrip().endswith("LookupError: of the application")
    assert stored(place) == (1, 2, [3])


def test_ctrl_c_keeps_everything_and_the_status(place):
    """SIGINT ends a waiting program the way it ends any, after what was assigned was stored."""
    code = """
        persistence, counter = started(auto_save=SLOW)
        fill(counter)
        say("ready")
        for change in persistence.changes("nothing/"):
            pass
        """
    ended = run(place, code, kill=signal.SIGINT)
    assert ended.status == -signal.SIGINT
    assert ended.err.rstrip().endswith("KeyboardInterrupt")
    assert stored(place) == (1, 2, [3])


def test_sigterm_keeps_everything_where_it_was_asked_for(place):
    """``save_on_signals`` saves also while the main thread waits in a blocking call."""
    code = """
        from axiom_persistence.client import save_on_signals
        save_on_signals()
        persistence, counter = started(auto_save=SLOW)
        fill(counter)
        changes = persistence.changes("nothing/")
        say("ready")
        next(changes)
        """
    ended = run(place, code, kill=signal.SIGTERM)
    assert (ended.status, ended.err) == (-signal.SIGTERM, "")
    assert stored(place) == (1, 2, [3])


@pytest.mark.parametrize("name", ["state.db", "directory"])
def test_kill_9_takes_nothing_acknowledged(tmp_path, name):
    """After SIGKILL, what ``persist_state`` and ``save`` returned for is there; on SQLite assignments too."""
    code = """
        persistence, counter = started()
        fill(counter)
        counter.items = [3]
        if place.suffix != ".db":
            counter.persist_state()
        persistence.save("saved", "durable")
        persistence.save("Counter/b", 2, durability="process_exit")
        say("ready")
        time.sleep(60)
        """
    ended = run(tmp_path / name, code, kill=signal.SIGKILL)
    assert ended.status == -signal.SIGKILL
    assert stored(tmp_path / name) == (1, 2, [3])


def test_the_harness_notices_a_program_that_saves_nothing(tmp_path):
    """Without the save at exit a slow auto-save does lose its values: the tests above could fail."""
    ended = run(
        tmp_path / "directory",
        """
        from axiom_persistence.client._ends import save_at_exit
        from axiom_persistence.runtime.ending import not_at_exit
        persistence, counter = started(auto_save=SLOW)
        fill(counter)
        not_at_exit(save_at_exit)
        """,
    )
    assert ended.status == 0
    assert stored(tmp_path / "directory") == (0, 0, [])


def test_a_call_after_the_end_of_the_loop_is_refused(place):
    """An exit handler older than the library is told that it comes too late, instead of hanging."""
    ended = run(
        place,
        """
        ending = sys.modules["axiom_persistence.runtime.ending"]
        atexit.unregister(ending._end)
        def late():
            try:
                persistence.exists("a")
            except CapabilityUnavailableError as error:
                say(error)
        atexit.register(late)
        atexit.register(ending._end)
        persistence, counter = started()
        """,
    )
    assert (ended.status, ended.err) == (0, "")
    assert "the interpreter is exiting" in ended.out


FORK = """
    persistence, counter = started()
    counter.a = 1
    persistence.save("parent", 1)
    child = os.fork()
    if child == 0:
        refused = []
        for attempt in (
            lambda: persistence.save("x", 1), lambda: persistence.load("x", int),
            lambda: setattr(counter, "b", 5), counter.persist_state,
        ):
            try:
                attempt()
            except CapabilityUnavailableError:
                refused.append(1)
        with open_persistence(place) as own, Counter(own) as mine:
            mine.b = 7
            own.save("child", own.load("parent", int) + 1)
            say(len(refused), mine.a, sorted(own.keys()))
        CHILD_END
    status = os.waitpid(child, 0)[1]
    say(status, persistence.load("child", int), persistence.exists("x"))
    persistence.save("parent", 3)
    counter.a = 9
    counter.persist_state()
    """


@pytest.mark.parametrize("end", ["os._exit(0)", "sys.exit(0)"])
def test_a_forked_child_opens_the_store_for_itself(tmp_path, end):
    """A child is refused its parent's store, opens it for itself, and leaves the parent's as it is."""
    ended = run(tmp_path / "state.db", FORK.replace("CHILD_END", end))
    assert (ended.status, ended.err) == (0, "")
    child, parent = ended.out.splitlines()
    assert child == "4 1 ['Counter/a', 'Counter/b', 'child', 'parent']"
    assert parent == "0 2 False"
    assert stored(tmp_path / "state.db") == (9, 7, [])


def test_a_child_of_many_threads_can_call_at_once(tmp_path):
    """Whatever other threads were doing at the fork, the child's first call starts a loop and returns."""
    ended = run(
        tmp_path / "state.db",
        """
        persistence, counter = started()
        over = threading.Event()
        def busy(n):
            while not over.is_set():
                persistence.save(f"busy-{n}", n, durability="process_exit")
                persistence.exists("x")
        threads = [threading.Thread(target=busy, args=(n,)) for n in range(3)]
        for thread in threads:
            thread.start()
        for n in range(10):
            child = os.fork()
            if child == 0:
                with open_persistence(place) as own:
                    own.save(f"child-{n}", n)
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0
        over.set()
        for thread in threads:
            thread.join()
        say(sum(1 for _ in persistence.keys("child-")))
        """,
    )
    assert (ended.status, ended.err, ended.out) == (0, "", "10\n")
