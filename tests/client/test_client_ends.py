"""The ends of a process, each as a real one: whatever was assigned is there afterwards."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from axiom_persistence.opening.open import open_persistence

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="signals and forks are POSIX")

PRELUDE = """
import asyncio, logging, os, signal, sys, threading, time, warnings
from pathlib import Path
from axiom_persistence.client import *
from axiom_persistence.opening.open import open_persistence
from axiom_persistence.errors import *

class Counter(Client):
    a: int = client_state(0)
    b: int = client_state(0)
    items: list[int] = client_state(default_factory=list)

place = Path(sys.argv[1])
SLOW = AutoSave(3600, 3600)

def say(*words):
    print(*words, flush=True)

async def started(**options):
    persistence = open_persistence(place)
    await persistence.activate()
    counter = Counter(persistence, **options)
    await counter.restore_state()
    return persistence, counter

def fill(counter):
    counter.a = 1
    counter.b = 2
    counter.items.append(3)
"""


class Ended:
    def __init__(self, process: subprocess.Popen[str], out: str, err: str) -> None:
        self.status, self.out, self.err = process.returncode, out, err


@pytest.fixture(params=["state.db", "directory"])
def place(request, tmp_path) -> Path:
    return tmp_path / request.param


def run(place: Path, code: str, kill: signal.Signals | None = None) -> Ended:
    """Run ``code``; with ``kill``, send that once it says ``ready``."""
    program = PRELUDE + textwrap.dedent(code)
    child = subprocess.Popen(
        [sys.executable, "-W", "error", "-W", "ignore::ResourceWarning", "-c", program, str(place)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    said = ""
    if kill is not None:
        while "ready" not in said:
            line = child.stdout.readline()
            if not line:
                break
            said += line
        child.send_signal(kill)
    out, err = child.communicate(timeout=60)
    return Ended(child, said + out, err)


async def stored(place: Path) -> tuple[int, int, list[int]]:
    async with open_persistence(place) as persistence:
        return (
            await persistence.load("Counter/a", int, default=0),
            await persistence.load("Counter/b", int, default=0),
            await persistence.load("Counter/items", list[int], default=[]),
        )


ENDS = {
    "the end of the context managers": """
        async def main():
            async with open_persistence(place) as store, Counter(store, auto_save=SLOW) as counter:
                fill(counter)
        asyncio.run(main())
        """,
    "sys.exit in the body": """
        async def main():
            async with open_persistence(place) as store, Counter(store, auto_save=SLOW) as counter:
                fill(counter)
                sys.exit(0)
        asyncio.run(main())
        """,
    "no context manager at all": """
        async def main():
            persistence, counter = await started(auto_save=SLOW)
            fill(counter)
        asyncio.run(main())
        """,
    "an event loop that is just dropped": """
        loop = asyncio.new_event_loop()
        persistence, counter = loop.run_until_complete(started(auto_save=SLOW))
        fill(counter)
        del loop
        """,
    "assigned when the loop is closed": """
        persistence, counter = asyncio.run(started(auto_save=SLOW))
        fill(counter)
        """,
    "a client that nobody holds any more": """
        async def main():
            persistence, counter = await started(auto_save=SLOW)
            fill(counter)
            del persistence, counter
            import gc
            gc.collect()
        asyncio.run(main())
        """,
    "a store opened after the client": """
        async def main():
            persistence, counter = await started(auto_save=SLOW)
            fill(counter)
            other = open_persistence(place.with_name("other.db"))
            await other.activate()
        asyncio.run(main())
        """,
    "a loop in a thread that outlives the main one": """
        done = threading.Event()
        def work():
            async def main():
                persistence, counter = await started(auto_save=SLOW)
                fill(counter)
                done.set()
                await asyncio.sleep(3600)
            asyncio.run(main())
        threading.Thread(target=work, daemon=True).start()
        done.wait()
        """,
}


@pytest.mark.parametrize("end", ENDS)
async def test_ordinary_ends(place, end):
    """Nothing assigned is lost, mutated lists included, although auto-save would have waited an hour."""
    ended = run(place, ENDS[end])
    assert (ended.status, ended.err) == (0, "")
    assert await stored(place) == (1, 2, [3])


async def test_an_uncaught_exception(place):
    """An exception that nobody catches still ends the client; status and traceback are its own."""
    for number, body in enumerate(
        (
            "async with open_persistence(place) as p, Counter(p, auto_save=SLOW) as counter:",
            "p, counter = await started(auto_save=SLOW)\n    if True:",
        )
    ):
        where = place.with_name(f"{number}-{place.name}")
        code = f"async def main():\n    {body}\n        fill(counter)\n        raise KeyError('mine')\n"
        code += "asyncio.run(main())"
        ended = run(where, code)
        assert ended.status == 1
        assert "KeyError: 'mine'" in ended.err
        assert await stored(where) == (1, 2, [3])


async def test_sigint(place):
    """Ctrl-C ends as it does without clients, and loses nothing."""
    ended = run(
        place,
        """
        async def main():
            async with open_persistence(place) as store, Counter(store, auto_save=SLOW) as counter:
                fill(counter)
                say("ready")
                await asyncio.sleep(60)
        asyncio.run(main())
        """,
        signal.SIGINT,
    )
    assert "KeyboardInterrupt" in ended.err
    assert ended.status == -signal.SIGINT
    assert await stored(place) == (1, 2, [3])


IDLE = """
async def main():
    persistence, counter = await started(auto_save=SLOW)
    {before}
    save_on_signals()
    {after}
    fill(counter)
    say("ready")
    {wait}
    say("went on")
    os._exit(5)
asyncio.run(main())
"""


# In short sleeps: a signal that comes just before one waits for its end.
BLOCKED = "[time.sleep(0.1) for _ in range(600)]"


@pytest.mark.parametrize(
    ("number", "wait"), [(signal.SIGTERM, "await asyncio.sleep(60)"), (signal.SIGHUP, BLOCKED)]
)
async def test_signals_on_request(place, number, wait):
    """With ``save_on_signals`` SIGTERM and SIGHUP save first, also in a blocked loop, and then end."""
    ended = run(place, IDLE.format(before="", after="", wait=wait), number)
    assert (ended.status, ended.err) == (-number, "")
    assert await stored(place) == (1, 2, [3])


async def test_signals_without_request(place):
    """Without it SIGTERM ends the process as ever, and what SQLite has at once is there."""
    code = IDLE.format(before="", after="", wait="await asyncio.sleep(60)")
    code = code.replace("save_on_signals()", "pass").replace("auto_save=SLOW", "")
    ended = run(place, code, signal.SIGTERM)
    assert ended.status == -signal.SIGTERM
    if place.suffix == ".db":
        assert (await stored(place))[:2] == (1, 2)


async def test_the_applications_own_handler(place):
    """A handler that was there before is called after the save, and decides how the process ends."""
    before = "signal.signal(signal.SIGTERM, lambda number, frame: (say('mine', number), os._exit(7)))"
    ended = run(place, IDLE.format(before=before, after="", wait="await asyncio.sleep(60)"), signal.SIGTERM)
    assert (ended.status, ended.err) == (7, "")
    assert f"mine {int(signal.SIGTERM)}" in ended.out
    assert await stored(place) == (1, 2, [3])


async def test_the_event_loops_handler(place):
    """A handler of the event loop works as before, whether it was set before or after."""
    own = "asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)"
    for before, after in ((own, ""), ("", own)):
        where = place.with_name(f"{bool(before)}-{place.name}")
        code = IDLE.format(before=f"stop = asyncio.Event(); {before}", after=after, wait="await stop.wait()")
        code = code.replace("os._exit(5)", "await counter.close(); await persistence.deactivate()")
        ended = run(where, code, signal.SIGTERM)
        assert (ended.status, ended.err) == (0, "")
        assert "went on" in ended.out
        assert await stored(where) == (1, 2, [3])


async def test_an_ignored_signal(place):
    """A signal that the application ignores stays ignored."""
    before = "signal.signal(signal.SIGHUP, signal.SIG_IGN)"
    ended = run(place, IDLE.format(before=before, after="", wait="await asyncio.sleep(0.3)"), signal.SIGHUP)
    assert ended.status == 5
    assert "went on" in ended.out


async def test_a_signal_in_the_middle_of_an_assignment(place):
    """A signal that arrives while the library is at work waits until it is through, and loses nothing."""
    for _ in range(3):
        ended = run(
            place,
            """
            async def main():
                persistence, counter = await started(auto_save=SLOW if place.suffix != ".db" else None)
                save_on_signals()
                while True:
                    counter.a += 1
                    counter.b = counter.a
                    os.write(2, b"%d\\n" % counter.b)
                    if counter.a % 500 == 0:
                        say("ready")
                        await asyncio.sleep(0)
            asyncio.run(main())
            """,
            signal.SIGTERM,
        )
        assert ended.status == -signal.SIGTERM
        last = int(ended.err.splitlines()[-1])
        a, b, _ = await stored(place)
        assert a - 1 <= b <= a
        assert b >= last


async def test_a_fork(place):
    """A forked child may not use the inherited client, saves nothing at its end, and can open its own."""
    ended = run(
        place,
        """
        async def main():
            persistence, counter = await started(auto_save=SLOW)
            fill(counter)
            return persistence, counter

        # A timer may fire as the loop stops for good, and its task never begin: asyncio says so, of any.
        warnings.filterwarnings("ignore", message="coroutine .* was never awaited")
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)
        loop = asyncio.new_event_loop()
        persistence, counter = loop.run_until_complete(main())
        sys.stdout.flush()
        child = os.fork()
        if child == 0:
            try:
                counter.a = 99
            except CapabilityUnavailableError as error:
                say("refused:", error)
            counter.items.append(99)
            async def own():
                async with open_persistence(place) as store, Counter(store, instance="child") as mine:
                    mine.a = 5
            asyncio.run(own())
            sys.exit(3)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
        counter.b = 4
        """,
    )
    assert (ended.status, ended.err) == (0, "")
    assert "refused: this process was forked" in ended.out
    assert await stored(place) == (1, 4, [3])
    async with open_persistence(place) as persistence:
        assert await persistence.load("Counter/child/a", int) == 5


async def test_what_cannot_be_saved_at_the_end_is_said(tmp_path):
    """A last save that fails is told on stderr, naming client, field and reason."""
    ended = run(
        tmp_path / "state.db",
        """
        async def main():
            persistence, counter = await started()
            counter.items.append(object())
        asyncio.run(main())
        """,
    )
    assert "ClientsFailedError" in ended.err
    assert "Counter.items: object is a class this library cannot write" in ended.err


async def test_kill_after_a_sync_action(tmp_path):
    """What a plain action changed over SQLite is there after SIGKILL on the next line."""
    ended = run(
        tmp_path / "state.db",
        """
        class Counter(Counter):
            @action
            def both(self, value):
                self.a = value
                self.b = value
                self.items.append(value)

        async def main():
            persistence, counter = await started()
            counter.both(6)
            os.kill(os.getpid(), signal.SIGKILL)
        asyncio.run(main())
        """,
    )
    assert ended.status == -signal.SIGKILL
    assert await stored(tmp_path / "state.db") == (6, 6, [6])
