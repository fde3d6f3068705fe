"""Work over a store with ``KeyboardInterrupt`` at random moments, as a signal handler raises it.

Every value that is written is greater than the ones before, so that what is found tells by itself whether
something acknowledged was lost. Whatever does not end within ``PATIENCE_S`` ends the process with the stacks
of all its threads.
"""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import json
import math
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

from axiom_persistence import blocking
from axiom_persistence.client import Client, client_state
from axiom_persistence.errors import ConflictError, StorageError
from axiom_persistence.layers.cached import CachePolicy
from axiom_persistence.opening.open import open_persistence

PATIENCE_S = 60.0
ROUND = 60
"""Verbs between an opening and a closing."""
KEYS = ("a", "b", "c", "counter")
FIELDS = ("level", "left", "right")
PAIRS = (("b", "c"), ("left", "right"))
"""What is only ever changed together."""
CACHES = (CachePolicy(), CachePolicy.write_back(interval=0.003))


class Kept(Client):
    level: int = client_state(0)
    left: int = client_state(0)
    right: int = client_state(0)


class BlockingKept(blocking.Client):
    level: int = blocking.client_state(0)
    left: int = blocking.client_state(0)
    right: int = blocking.client_state(0)


class Watchdog:
    """Ends the process with the stacks of its threads and tasks when something takes too long."""

    def __init__(self) -> None:
        self.patience = PATIENCE_S
        self._deadline = math.inf
        threading.Thread(target=self._watch, daemon=True).start()

    def begin(self) -> None:
        self._deadline = time.monotonic() + self.patience

    def end(self) -> None:
        self._deadline = math.inf

    def _watch(self) -> None:
        while time.monotonic() < self._deadline:
            time.sleep(0.2)
        print(f"nothing happened for {self.patience} s", file=sys.stderr)
        faulthandler.dump_traceback(all_threads=True)
        for loop in [each for each in gc.get_objects() if isinstance(each, asyncio.AbstractEventLoop)]:
            for task in asyncio.all_tasks(loop):
                task.print_stack()
        sys.stderr.flush()
        os._exit(3)


WATCHDOG = Watchdog()


class Interrupts:
    """A timer whose handler raises, while it is armed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.count = 0
        self._armed = False
        self._conflict: ConflictError | None = None
        self._usual: dict[str, float] = {}
        signal.signal(signal.SIGALRM, self._handle)

    def _handle(self, *_: object) -> None:
        if self._armed:
            self._armed = False
            raise KeyboardInterrupt

    def arm(self, name: str) -> None:
        WATCHDOG.begin()
        if name in self._usual:  # the first time is only measured
            self._armed = True
            signal.setitimer(signal.ITIMER_REAL, self.random.uniform(1e-6, 1.3 * self._usual[name]))

    def disarm(self) -> None:
        self._armed = False
        signal.setitimer(signal.ITIMER_REAL, 0)

    def interrupted(self, name: str, error: BaseException) -> bool:
        """Whoever waits for what another task or thread was interrupted in writing is told so."""
        if isinstance(error, StorageError) and "interrupted by KeyboardInterrupt()" not in str(error):
            raise error
        if isinstance(error, ConflictError):
            # What was interrupted may take effect a little later, under the feet of the next: once.
            if self._conflict is not None or not name.startswith("client transaction"):
                raise error
            self._conflict = error
        else:
            self._conflict = None
        self.count += isinstance(error, KeyboardInterrupt)
        self._usual[name] = 1.02 * self._usual.get(name, 1e-4)
        return False

    def took(self, name: str, seconds: float) -> None:
        if name.startswith("client transaction"):
            self._conflict = None
        usual = self._usual.get(name, seconds)
        self._usual[name] = usual + 0.1 * (min(seconds, 4 * usual) - usual)

    def during(self, name: str, work: Callable[[], object]) -> bool:
        """Do it; whether it was not interrupted."""
        started = time.perf_counter()
        try:
            try:
                self.arm(name)
                work()
            finally:
                self.disarm()
        except (KeyboardInterrupt, StorageError, ConflictError) as error:
            return self.interrupted(name, error)
        self.took(name, time.perf_counter() - started)
        return True

    async def during_async(self, name: str, work: Callable[[], Coroutine[Any, Any, object]]) -> bool:
        started = time.perf_counter()
        try:
            try:
                self.arm(name)
                await work()
            finally:
                self.disarm()
        except (KeyboardInterrupt, StorageError, ConflictError) as error:
            return self.interrupted(name, error)
        self.took(name, time.perf_counter() - started)
        return True


class Model:
    """What was tried and what was acknowledged."""

    def __init__(self) -> None:
        self.tried = dict.fromkeys((*KEYS, *FIELDS), 0)
        self.kept = dict(self.tried)

    def check(self, found: dict[str, int]) -> None:
        for name, value in found.items():
            if not self.kept[name] <= value <= self.tried[name]:
                raise AssertionError(
                    f"{name}: found {value}, acknowledged {self.kept[name]}, tried {self.tried[name]}"
                )
        for one, other in PAIRS:
            if found.get(one) != found.get(other):
                raise AssertionError(f"half of a transaction: {found}")


WRITES = {
    "save": ("a",),
    "many": ("b", "c"),
    "transaction": ("b", "c"),
    "update": ("counter",),
    "assign": ("level",),
    "client transaction": ("left", "right"),
    "together": ("b", "c", "left", "right"),
}


class _Step:
    """One verb with its values, and what is known once it has returned."""

    def __init__(self, model: Model, chance: random.Random) -> None:
        self.name = chance.choice((*WRITES, "save", "assign", "load", "flush"))
        self.durability = chance.choice((None, "process_exit"))
        self.label = f"{self.name} {self.durability}"
        self.keys = WRITES.get(self.name, ())
        self._model = model
        self.value = 0
        if self.keys:
            self.value = 1 + max(model.tried[key] for key in self.keys)
            for key in self.keys:
                model.tried[key] = model.tried[key] + 1 if key == "counter" else self.value

    def done(self) -> None:
        for key in self.keys:
            self._model.kept[key] = self._model.kept[key] + 1 if key == "counter" else self.value


class BlockingWorld:
    def __init__(self, place: Path, interrupts: Interrupts) -> None:
        self.place = place
        self.interrupts = interrupts
        self.model = Model()

    def run(self, count: int) -> None:
        while self.interrupts.count < count:
            self.round()

    def round(self) -> None:
        cache = self.interrupts.random.choice(CACHES)
        persistence = blocking.open_persistence(self.place, cache=cache)
        client = BlockingKept(persistence)
        opened = self.interrupts.during("open", persistence.open)
        if not opened:
            persistence.open()
        self._check(persistence)
        try:
            client.restore_state()
            for _ in range(ROUND):
                step = _Step(self.model, self.interrupts.random)
                if self.interrupts.during(step.label, lambda step=step: self._do(step, persistence, client)):
                    step.done()
        finally:
            WATCHDOG.begin()
            if not self.interrupts.during("close client", client.close):
                client.close()
            if not self.interrupts.during("close", persistence.close):
                persistence.close()

    def _do(self, step: _Step, persistence: blocking.Persistence, client: BlockingKept) -> None:
        match step.name:
            case "save":
                persistence.save("a", step.value, durability=step.durability)
            case "many":
                persistence.save_many(dict.fromkeys(step.keys, step.value), durability=step.durability)
            case "transaction":
                with persistence.transaction(durability=step.durability) as tx:
                    for key in step.keys:
                        tx.save(key, step.value)
            case "update":
                persistence.update("counter", int, lambda value: value + 1, default=0)
            case "client transaction":
                with client.transaction(durability=step.durability):
                    client.left = client.right = step.value
            case "together":
                with persistence.transaction(client, durability=step.durability) as tx:
                    client.left = client.right = step.value
                    tx.save_many({"b": step.value, "c": step.value})
            case "flush":
                persistence.flush()
            case "load":
                if persistence.load("a", int, default=0) < self.model.kept["a"]:
                    raise AssertionError("an older value was loaded")
            case "assign":
                client.level = step.value

    def _check(self, persistence: blocking.Persistence) -> None:
        WATCHDOG.begin()
        found = {key: persistence.load(key, int, default=0) for key in KEYS}
        with BlockingKept(persistence) as client:
            found |= {name: getattr(client, name) for name in FIELDS}
        self.model.check(found)


class AsyncWorld:
    def __init__(self, place: Path, interrupts: Interrupts) -> None:
        self.place = place
        self.interrupts = interrupts
        self.model = Model()
        self.loops_ended = 0
        self._opened: list[Any] = []

    def run(self, count: int) -> None:
        while self.interrupts.count < count or self._opened:
            loop = asyncio.new_event_loop()
            try:
                loop.run_until_complete(self._rounds(count))
            except KeyboardInterrupt:  # in asyncio itself, which ends the loop
                self.interrupts.disarm()
                self.interrupts.count += 1
                self.loops_ended += 1
                self._end(loop)
            finally:
                loop.close()

    def _end(self, loop: asyncio.AbstractEventLoop) -> None:
        WATCHDOG.begin()
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        if tasks:
            # asyncio may have lost the step of a task that it was about to run.
            loop.run_until_complete(asyncio.wait(tasks, timeout=1))

    async def _rounds(self, count: int) -> None:
        for opened in self._opened:  # by a loop that ended in the middle
            await opened.aclose()
        self._opened.clear()
        while self.interrupts.count < count:
            await self._round()

    async def _round(self) -> None:
        persistence = open_persistence(self.place, cache=self.interrupts.random.choice(CACHES))
        self._opened.append(persistence)
        if not await self.interrupts.during_async("open", persistence.activate):
            await persistence.activate()
        await self._check(persistence)
        client = Kept(persistence)
        self._opened.insert(0, client)
        await client.restore_state()
        for _ in range(ROUND):
            step = _Step(self.model, self.interrupts.random)

            async def work(step: _Step = step) -> None:
                await self._do(step, persistence, client)

            if await self.interrupts.during_async(step.label, work):
                step.done()
        for opened in (client, persistence):
            if not await self.interrupts.during_async("close", opened.aclose):
                await opened.aclose()
        self._opened.clear()

    async def _do(self, step: _Step, persistence: Any, client: Kept) -> None:
        match step.name:
            case "save":
                await persistence.save("a", step.value, durability=step.durability)
            case "many":
                await persistence.save_many(dict.fromkeys(step.keys, step.value), durability=step.durability)
            case "transaction":
                async with persistence.transaction(durability=step.durability) as tx:
                    for key in step.keys:
                        await tx.save(key, step.value)
            case "update":
                await persistence.update("counter", int, lambda value: value + 1, default=0)
            case "client transaction":
                async with client.transaction(durability=step.durability):
                    client.left = client.right = step.value
            case "together":
                async with persistence.transaction(client, durability=step.durability) as tx:
                    client.left = client.right = step.value
                    await tx.save_many({"b": step.value, "c": step.value})
            case "flush":
                await persistence.flush()
            case "load":
                if await persistence.load("a", int, default=0) < self.model.kept["a"]:
                    raise AssertionError("an older value was loaded")
            case "assign":
                client.level = step.value

    async def _check(self, persistence: Any) -> None:
        WATCHDOG.begin()
        found = {key: await persistence.load(key, int, default=0) for key in KEYS}
        async with Kept(persistence) as client:
            found |= {name: getattr(client, name) for name in FIELDS}
        self.model.check(found)


WORLDS = {"async": AsyncWorld, "blocking": BlockingWorld}
STORES = {"sqlite": "store.db", "files": "store"}


def found_by_another_process(place: Path) -> dict[str, int]:
    program = (
        "import sys, json\n"
        "from axiom_persistence.blocking import open_persistence\n"
        "with open_persistence(sys.argv[1]) as p:\n"
        f"    print(json.dumps({{key: p.load(key, int, default=0) for key in {KEYS!r}}}))\n"
    )
    asked = [sys.executable, "-c", program, str(place)]
    return json.loads(subprocess.run(asked, check=True, capture_output=True, timeout=60).stdout)


def work(face: str, store: str, count: int, seed: int, directory: Path) -> str:
    """So many interrupts; what there is to say of them. Raises AssertionError for a broken promise."""
    interrupts = Interrupts(seed)
    place = directory / STORES[store]
    world = WORLDS[face](place, interrupts)
    started = time.monotonic()
    world.run(count)
    WATCHDOG.end()
    found = found_by_another_process(place)
    world.model.check(found)
    said = f"{face} {store}: {interrupts.count} interrupts in {time.monotonic() - started:.0f} s, seed {seed}"
    with suppress(AttributeError):
        said += f", {world.loops_ended} ended an event loop"
    return said + f"; acknowledged {world.model.kept}"
