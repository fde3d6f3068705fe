"""Whether concurrent calls can be put into one order that explains all their answers.

::

    recorder = Recorder(persistence, int)                   # one for each client, in any process
    await recorder.save("k", 1)
    await recorder.load("k")
    report = check_linearizable([*recorder.operations, *others])
    assert report, report.violations
"""

from __future__ import annotations

import itertools
import time
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final

from ..errors import ConfigurationError, ConflictError
from ..keys import MISSING
from ..persistence.persistence import AdapterBasedPersistence
from ..storage.adapter import Durability

__all__ = ["LinearizabilityReport", "Operation", "Recorder", "Unknown", "Violation", "check_linearizable"]

_CONFIGURATIONS_MAX: Final = 1_000_000
"""Possible pasts of one key at one moment; more take longer than anybody waits (half a gigabyte, too)."""

_CONTEXT: Final = 12


class Unknown(Enum):
    """What stands for a value in an operation that does not fix one."""

    ANYTHING = "anything"  # seen: any value, or none
    SOMETHING = "something"  # seen: any value
    UNCHANGED = "unchanged"  # left: what was there

    def __repr__(self) -> str:
        return self.value


@dataclass(slots=True)
class Operation:
    """One call on one key: what it saw there and what it left there.

    Values are hashable; ``MISSING`` is none. A deletion that found a value saw ``SOMETHING`` and left
    ``MISSING``; one that found none saw ``MISSING`` and left it ``UNCHANGED``. Several keys that change
    together are one key (a tuple of their names, say) whose value is all of theirs. Times are nanoseconds
    of one clock for all clients; ``ended`` None: it may have taken effect, may still do so, or never will.
    Can be pickled.
    """

    client: str
    verb: str
    key: Hashable
    saw: Hashable = Unknown.ANYTHING
    left: Hashable = Unknown.UNCHANGED
    began: int = 0
    ended: int | None = None

    @property
    def only_reads(self) -> bool:
        return self.left is Unknown.UNCHANGED

    def __str__(self) -> str:
        end = "?" if self.ended is None else f"{self.ended / 1e3:.1f}"
        times = f"[{self.began / 1e3:.1f} .. {end}] us"
        return f"{times} {self.client}: {self.verb} {self.key!r} saw {self.saw!r} left {self.left!r}"


class Recorder:
    """Calls a persistence and writes down what came of it: the history of one client.

    A client makes one call at a time. A call that raises (a timeout, a cancellation, a lost connection) may
    have taken effect all the same and is recorded so; only ``ConflictError`` promises that nothing changed.
    ``clock`` must be one clock for all clients: ``time.monotonic_ns`` is, for the processes of one machine.
    """

    def __init__(
        self,
        persistence: AdapterBasedPersistence,
        kind: Any,
        *,
        client: str = "",
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.operations: list[Operation] = []
        self._persistence = persistence
        self._kind = kind
        self._client = client
        self._clock = clock

    @contextmanager
    def call(self, verb: str, key: Hashable, *, left: Hashable = Unknown.UNCHANGED) -> Iterator[Operation]:
        """Record one call of any kind. The body makes it, and sets ``saw`` and ``left`` as it finds out."""
        operation = Operation(self._client, verb, key, left=left, began=self._clock())
        try:
            yield operation
        except ConflictError:
            raise
        except BaseException:
            if not operation.only_reads:
                self.operations.append(operation)
            raise
        operation.ended = self._clock()
        self.operations.append(operation)

    async def load(self, key: str) -> Any:
        """Load ``key``; ``MISSING`` where nothing is stored."""
        with self.call("load", key) as operation:
            operation.saw = value = await self._persistence.load(key, self._kind, default=MISSING)
            return value

    async def save(self, key: str, value: Any, *, durability: Durability | str | None = None) -> None:
        """Save ``value`` whatever was there."""
        with self.call("save", key, left=value):
            await self._persistence.save(key, value, type=self._kind, durability=durability)

    async def delete(self, key: str, *, durability: Durability | str | None = None) -> bool:
        """Delete ``key``; whether it was there."""
        with self.call("delete", key, left=MISSING) as operation:
            there = await self._persistence.delete(key, durability=durability)
            operation.saw = Unknown.SOMETHING if there else MISSING
            operation.left = MISSING if there else Unknown.UNCHANGED
            return there

    async def update(
        self, key: str, function: Callable[[Any], Any], *, durability: Durability | str | None = None
    ) -> Any:
        """Replace the value, or ``MISSING``, by ``function(value)``, in one step."""
        with self.call("update", key) as operation:

            def seen(value: Any) -> Any:
                # After a conflict it is called again: the last call is the one that may have taken effect.
                operation.saw, operation.left = value, function(value)
                return operation.left

            update = self._persistence.update
            return await update(key, self._kind, seen, default=MISSING, durability=durability)


@dataclass(frozen=True, slots=True)
class Violation:
    """An operation whose answer no order explains, with what was possible and what went before."""

    operation: Operation
    possible: tuple[Hashable, ...]
    """What the key may have held before the operation and those that overlap it."""
    context: tuple[Operation, ...]

    def __str__(self) -> str:
        lines = [f"no order explains: {self.operation}", f"possible was: {list(self.possible)!r}"]
        return "\n  ".join([*lines, *map(str, self.context)])


@dataclass(slots=True)
class LinearizabilityReport:
    """What was checked. True when every key has an order that explains all its answers."""

    operations: int = 0
    keys: int = 0
    contended: int = 0
    """Operations that overlap another one of their key, one of the two a write."""
    violations: list[Violation] = field(default_factory=list)
    """For each key without an order, the first operation that has no place in any."""

    def __bool__(self) -> bool:
        return not self.violations

    def __str__(self) -> str:
        verdict = "\n".join(map(str, self.violations)) or "linearizable"
        return f"{self.operations:,} operations ({self.contended:,} contended) on {self.keys} keys: {verdict}"


def check_linearizable(
    operations: Iterable[Operation], *, initial: Hashable = MISSING
) -> LinearizabilityReport:
    """Look for one order of all ``operations`` in which every one saw what the one before it had left.

    An order keeps to the clock: what ended before another began stands before it. What has no end stands
    anywhere after its beginning, or nowhere. Every key begins as ``initial``. Each key is searched on its
    own, which loses nothing (Herlihy and Wing 1990: linearizability is local); the search is that of Wing
    and Gong (1993), made at the end of each operation rather than over the whole history (Lowe 2017,
    "just-in-time").

    The more values differ, the more is found out: let no two writes leave the same. A stale answer is legal
    while the write that it missed is still on its way, so an absent violation says little of a history
    without contention; look at ``contended``, and plant a bug now and then.

    Limits: time and memory grow exponentially with the writes of one key that overlap; ten are fine.
    Raises ``ConfigurationError`` when there are too many to be ordered.
    """
    by_key: defaultdict[Hashable, list[Operation]] = defaultdict(list)
    for operation in operations:
        by_key[operation.key].append(operation)
    report = LinearizabilityReport(keys=len(by_key))
    for history in by_key.values():
        history.sort(key=lambda operation: operation.began)
        report.operations += len(history)
        report.contended += _contended(history)
        violation = _search(history, initial)
        if violation is not None:
            report.violations.append(violation)
    return report


def _contended(history: list[Operation]) -> int:
    contended: set[int] = set()
    open_now: list[tuple[int, Operation]] = []
    for number, operation in enumerate(history):
        began = operation.began
        open_now = [(n, other) for n, other in open_now if other.ended is None or other.ended >= began]
        for n, other in open_now:
            if not (other.only_reads and operation.only_reads):
                contended |= {n, number}
        open_now.append((number, operation))
    return len(contended)


_Configuration = tuple[Hashable, int]
"""What the key may hold, and which of the open operations (bits) have then taken effect."""


def _search(history: list[Operation], initial: Hashable) -> Violation | None:
    """Carry all possible pasts of one key forward from one end of an operation to the next."""
    events = [(operation.began, False, number) for number, operation in enumerate(history)]
    events += [(each.ended, True, number) for number, each in enumerate(history) if each.ended is not None]
    possible: set[_Configuration] = {(initial, 0)}
    pending: dict[int, Operation] = {}  # by a bit of its own, free again after its end
    bits: dict[int, int] = {}
    for moment, is_end, number in sorted(events):  # of one moment beginnings first: the two overlap
        if not is_end:
            bits[number] = free = next(bit for n in itertools.count() if (bit := 1 << n) not in pending)
            pending[free] = history[number]
            continue
        bit = bits.pop(number)
        reached = _with(bit, possible, pending)
        if not reached:
            before = [other for other in history if other.began <= moment and other is not history[number]]
            values = sorted({value for value, _ in possible}, key=repr)
            return Violation(history[number], tuple(values), tuple(before[-_CONTEXT:]))
        possible = {(value, done & ~bit) for value, done in reached}
        del pending[bit]
    return None


def _with(last: int, possible: set[_Configuration], pending: dict[int, Operation]) -> set[_Configuration]:
    """Every past in which ``last`` has taken effect, the pending operations that precede it before it."""
    reads = [(bit, each.saw) for bit, each in pending.items() if each.only_reads]
    writes = [(bit, each.saw, each.left) for bit, each in pending.items() if not each.only_reads]
    found: set[_Configuration] = set()
    met = set(possible)
    waiting = list(met)
    while waiting:
        value, done = waiting.pop()
        for bit, saw in reads:
            # A read that fits takes effect at once: nothing later is hindered by it.
            if not done & bit and _fits(value, saw):
                done |= bit
        if done & last:
            found.add((value, done))
            continue
        for bit, saw, left in writes:
            if not done & bit and _fits(value, saw):
                reached = (left, done | bit)
                if reached not in met:
                    met.add(reached)
                    waiting.append(reached)
        if len(met) > _CONFIGURATIONS_MAX:
            raise ConfigurationError(
                f"{len(writes)} writes overlap, which are too many to be ordered",
                key=str(next(iter(pending.values())).key),
                hint="record more keys, fewer clients, or more loads between the saves",
            )
    return found


def _fits(value: Hashable, saw: Hashable) -> bool:
    if saw is Unknown.SOMETHING:
        return value is not MISSING
    return saw is Unknown.ANYTHING or value == saw
