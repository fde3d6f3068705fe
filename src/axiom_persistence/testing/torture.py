"""Kill a saving process again and again, and see what its store still knows.

::

    report = await torture(MyAdapter, tmp_path / "store", kills=100)
    assert report, report.violations
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pkgutil import resolve_name
from typing import Final, Self

from ..errors import ConfigurationError, PersistenceError
from ..persistence.persistence import AdapterBasedPersistence
from ..records.corruption import Corruption
from ..storage.adapter import Durability, StorageAdapter
from ._torture_worker import ACCOUNTS, BATCH, COUNTED, Account, Counted, balances, counted, main

__all__ = ["TortureReport", "percentile", "torture"]

_PATIENCE_SECONDS: Final = 60.0
"""A worker that says nothing for so long hangs; that is a failure like any other."""

_VIOLATIONS_KEPT: Final = 100


@dataclass(slots=True)
class TortureReport:
    """What was killed, what had been acknowledged and what was found. True when no promise was broken."""

    store: str
    seed: int
    kills: int = 0
    acknowledged: int = 0
    """Saves, deletions and transactions whose ``await`` had returned."""
    lost: int = 0
    """Acknowledged, and afterwards neither they nor anything later of the same key was there."""
    torn: int = 0
    """Values that nobody saved as they were found, transactions of which a part was there, damage."""
    failed: int = 0
    """Workers that ended by themselves, and stores that could not be opened."""
    in_flight_kept: int = 0
    """Saves not acknowledged when the end came, and found all the same: allowed."""
    moments: Counter[str] = field(default_factory=Counter)
    """What the worker was doing when it was killed: starting, opening, working, looking or closing."""
    save_seconds: list[float] = field(default_factory=list, repr=False)
    load_seconds: list[float] = field(default_factory=list, repr=False)
    violations: list[str] = field(default_factory=list)
    """Each broken promise in words, the first hundred."""

    @property
    def found(self) -> int:
        """The acknowledged ones that were found, or a later one of the same key."""
        return self.acknowledged - self.lost

    def __bool__(self) -> bool:
        return not (self.lost or self.torn or self.failed)

    def note(self, violation: str, *, lost: int = 0, torn: int = 0, failed: int = 0) -> None:
        """Count a broken promise, and keep the words for it."""
        self.lost += lost
        self.torn += torn
        self.failed += failed
        if len(self.violations) < _VIOLATIONS_KEPT:
            self.violations.append(f"after kill {self.kills}: {violation}")


def percentile(values: list[float], share: float) -> float:
    """The least of ``values`` that ``share`` of them do not exceed; 0.0 of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


async def torture(
    make: Callable[[str], StorageAdapter],
    place: str | os.PathLike[str],
    *,
    kills: int = 50,
    seconds: float | None = None,
    seed: int | None = None,
    until_violated: bool = False,
    progress: Callable[[TortureReport], None] | None = None,
) -> TortureReport:
    """SIGKILL processes that save into ``make(place)``, and check after each what is there.

    Four keys are saved concurrently with values of 40 bytes to 90 kB, one of them deleted now and then;
    where the adapter is atomic a transaction changes four more together. The end comes while the store is
    opened, while it works, and while it is opened after such an end. An acknowledged save must be found
    with exactly its value, or a later one of the same key; a transaction as a whole or not at all; a save
    in flight may be there or not. Latencies are measured on the way.

    ``make`` is called in other processes and must be importable by its name: a class or a function of a
    module. ``place`` must not exist yet, and its directory must. Stops after ``kills``, after ``seconds``
    and, with ``until_violated``, at the first broken promise; ``seed`` repeats the moments as far as an
    operating system repeats anything. Needs ``os.fork``. Raises ``ConfigurationError`` for what cannot be
    tortured: another platform, an adapter that does not promise to outlive its process.
    """
    _check(make, make(os.fspath(place)))
    seed = random.randrange(2**32) if seed is None else seed  # noqa: S311
    run = _Torture(make, os.fspath(place), seed)
    end = None if seconds is None else time.monotonic() + seconds
    async with _Nursery(make) as nursery:
        while run.report.kills < kills and (end is None or time.monotonic() < end):
            try:
                await run.kill_once(nursery, last=run.report.kills + 1 == kills)
            except TimeoutError:
                run.report.note(
                    f"the worker hangs: nothing was heard for {_PATIENCE_SECONDS:.0f} s", failed=1
                )
                break
            if progress is not None:
                progress(run.report)
            if until_violated and not run.report:
                break
    if run.report:
        await run.verify_all()
    return run.report


def _name_of(make: Callable[[str], StorageAdapter]) -> str:
    return f"{make.__module__}:{make.__qualname__}"


def _check(make: Callable[[str], StorageAdapter], adapter: StorageAdapter) -> None:
    if not hasattr(os, "fork"):
        raise ConfigurationError("torture needs os.fork, which this platform lacks", adapter=adapter)
    try:
        importable = resolve_name(_name_of(make)) is make and make.__module__ != "__main__"
    except (AttributeError, ImportError, ValueError):  # the last: no name that could be looked up
        importable = False
    if not importable:
        raise ConfigurationError(
            f"torture makes the adapter in other processes, which cannot import {make!r}",
            hint="give a class or a function at the top of a module",
        )
    if adapter.traits.durability < Durability.PROCESS_EXIT:
        raise ConfigurationError("this adapter does not promise to outlive its process", adapter=adapter)


class _Nursery:
    """The other side of ``_torture_worker``."""

    def __init__(self, make: Callable[[str], StorageAdapter]) -> None:
        self._program = (
            f"import sys; sys.path[:] = {sys.path!r}; "  # what can be imported here can be there
            f"from {main.__module__} import main; main({_name_of(make)!r})"
        )

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-c", self._program),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=2**20,
            start_new_session=True,  # Ctrl-C is for whoever asked for the torture
        )
        if (await self.hear())[0] != "ready":
            raise ConfigurationError("the worker of the torture does not start; its words are above")
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()  # it ends itself and its child
        await self._process.wait()

    def tell(self, words: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(words).encode() + b"\n")

    async def hear(self) -> list[str]:
        """The next line in words; at the end of all lines ``["gone"]``."""
        assert self._process.stdout is not None
        async with asyncio.timeout(_PATIENCE_SECONDS):
            line = await self._process.stdout.readline()
        return line.decode().rstrip("\n").split(" ", 3) if line else ["gone"]


class _Torture:
    """One run: what must be there by now, and what was found."""

    def __init__(self, make: Callable[[str], StorageAdapter], place: str, seed: int) -> None:
        self._make = make
        self._place = place
        self._chance = random.Random(seed)  # noqa: S311 - to be repeated
        self._atomic = make(place).traits.atomic
        self._acknowledged = dict.fromkeys((*COUNTED, BATCH), 0)
        self._interrupted = False
        self.report = TortureReport(str(make(place)), seed)

    async def kill_once(self, nursery: _Nursery, *, last: bool) -> None:
        """One life and its end; then, unless the next is to find the store as it is, the check."""
        # What a killed commit leaves behind is recovered by whoever opens next, so that one is killed, too.
        kind = "reopen" if self._interrupted else "work"
        nursery.tell({"kind": kind, "place": self._place, "numbers": self._acknowledged})
        await self._live_and_die(nursery, kind)
        self.report.kills += 1
        self._interrupted = not last and self._chance.random() < 0.3
        if not self._interrupted:
            await self._check()

    async def _live_and_die(self, nursery: _Nursery, kind: str) -> None:
        moment = "starting"
        until = self._chance.randrange(1, 40) if kind == "work" and self._chance.random() < 0.7 else 0
        delay = self._chance.uniform(0, 0.003 if until else 0.015)
        while until and moment != "failed":  # so many acknowledgements, then a moment more
            moment = self._take(await nursery.hear(), moment)
            until -= moment == "kept"
        await asyncio.sleep(delay)
        nursery.tell("die")
        doing = "working" if moment == "kept" else moment
        while moment not in ("dead", "gone"):
            moment = self._take(await nursery.hear(), moment)
            if moment in ("starting", "opening", "working", "looking", "closing"):
                doing = moment
        self.report.moments[doing] += 1

    def _take(self, words: list[str], moment: str) -> str:
        """Note what the worker said; what it is doing now."""
        match words:
            case ["phase", phase]:
                return phase
            case ["kept", key, number, microseconds]:
                self._acknowledged[key] = int(number)
                self.report.acknowledged += 1
                self.report.save_seconds.append(int(microseconds) / 1e6)
                return "kept"
            case ["failed", *reason]:
                text = " ".join(reason)
                self.report.note(f"the worker failed: {text}", torn="torn: " in text, failed=1)
                return "failed"
            case ["dead", code]:
                if moment != "failed" and int(code) != -signal.SIGKILL:
                    self.report.note(f"the worker ended by itself, with {code}", failed=1)
                return "dead"
            case ["gone"]:
                raise RuntimeError("the worker's nursery is gone; its words are above")
            case _:
                return moment

    def _store(self) -> AdapterBasedPersistence:
        return AdapterBasedPersistence(self._make(self._place), on_corruption=Corruption.RAISE)

    async def _check(self) -> None:
        """Open the store as the application would at its next start, and compare."""
        try:
            async with self._store() as persistence:
                for key in COUNTED:
                    await self._check_counted(persistence, key)
                if self._atomic:
                    await self._check_accounts(persistence)
        except PersistenceError as error:
            self.report.note(f"the store does not open: {error}", failed=1)

    async def _check_counted(self, persistence: AdapterBasedPersistence, key: str) -> None:
        before = self._acknowledged[key]
        started = time.perf_counter()
        try:
            value = await persistence.load(key, Counted)
        except PersistenceError as error:
            self.report.note(f"{key} is torn: {error}", torn=1)
            return
        self.report.load_seconds.append(time.perf_counter() - started)
        if value is None:
            empty = [n for n in (before, before + 1) if counted(key, n) is None]
            if not empty:
                self.report.note(f"{key} is missing; save {before} was acknowledged", lost=1)
            self._settle(key, empty[0] if empty else before)
        elif value != counted(key, value.number) or value.number > before + 1:
            self.report.note(f"{key} holds what nobody saved: {value!r:.200}", torn=1)
        else:
            self._settle(key, value.number)

    async def _check_accounts(self, persistence: AdapterBasedPersistence) -> None:
        try:
            found = await persistence.load_many(ACCOUNTS, Account)
        except PersistenceError as error:
            self.report.note(f"the accounts are torn: {error}", torn=1)
            return
        number = max((account.number for account in found.values()), default=0)
        if found != balances(number) or number > self._acknowledged[BATCH] + 1:
            self.report.note(f"a transaction is there in part: {found}", torn=1)
        else:
            self._settle(BATCH, number)

    def _settle(self, key: str, number: int) -> None:
        """Go on from what was found: having been seen, it must not vanish again."""
        before = self._acknowledged[key]
        if number < before:
            self.report.note(f"{key} went back to {number}; {before} was acknowledged", lost=before - number)
        self.report.in_flight_kept += number > before
        self._acknowledged[key] = number

    async def verify_all(self) -> None:
        """Read everything once more, the medium included."""
        async with self._store() as persistence:
            listed = persistence.keys()
            strange = [key async for key in listed if key not in (*COUNTED, *ACCOUNTS)]
            verified = await persistence.verify()
        for fault in [*strange, *verified.findings, *verified.medium]:
            self.report.note(f"at the end: {fault}", torn=1)
