"""The crash-state explorer: every state a loss of power may leave, looked at one by one.

::

    recording = RecordingFileSystem(local_filesystem(place))
    ... work through ``recording``, calling recording.acknowledge(label) when a save returned ...

    async def check(place, acknowledged):
        ... open the store at ``place``; raise AssertionError if anything acknowledged is missing ...

    found = await explore(recording.operations, check, scratch=tmp_path)
    assert not found.violations, found.violations[0]

What may be lost is modelled weaker than any file system in use; the rules are in ``Medium``.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ._medium import Image, Medium
from .recording import Action, Operation

__all__ = [
    "Check",
    "CrashState",
    "Exploration",
    "Image",
    "Violation",
    "crash_states",
    "explore",
    "final_image",
]

Check = Callable[[Path, tuple[str, ...]], Awaitable[Sequence[Operation] | None]]
"""Judges the store in a directory, given what had been acknowledged; raises when it broke its promise.

May return the operations of its own recovery: crashes during those are then explored too.
"""


@dataclass(frozen=True)
class CrashState:
    """What may be left when power fails after ``after`` operations."""

    image: Image
    acknowledged: tuple[str, ...]
    after: int


@dataclass(frozen=True)
class Violation:
    """A state in which the promise was broken, and how it came about."""

    state: CrashState
    error: Exception
    last: tuple[str, ...]
    """The operations before the crash, the last ones of them."""
    during_recovery: bool = False

    def __str__(self) -> str:
        when = "during recovery, " if self.during_recovery else ""
        return (
            f"{when}after operation {self.state.after}, with {list(self.state.acknowledged)} acknowledged: "
            f"{type(self.error).__name__}: {self.error}\n  left: {self.state.image}\n  last: "
            + "\n        ".join(self.last)
        )


@dataclass
class Exploration:
    """What was looked at, and what was found. ``exhaustive``: no state of the model was left out."""

    states: int = 0
    recoveries: int = 0
    exhaustive: bool = True
    violations: list[Violation] = field(default_factory=list)


def crash_states(
    operations: Sequence[Operation],
    *,
    initial: Image | None = None,
    acknowledged: tuple[str, ...] = (),
    limit: int = 4096,
    found: Exploration | None = None,
    ordered: bool = False,
) -> Iterator[CrashState]:
    """Every state that a crash after any of ``operations`` may leave; some more than once.

    At most about ``limit`` for each moment; ``found.exhaustive`` is cleared where that left some out.
    ``ordered``: changes of one directory reach the disk in their order, as where there is a journal.
    """
    medium = Medium(initial, ordered=ordered)
    for after in range(len(operations) + 1):
        if after:
            operation = operations[after - 1]
            medium.perform(operation)
            if operation.action is Action.ACKNOWLEDGE:
                acknowledged = (*acknowledged, operation.name)
            elif operation.action in (Action.SYNC, Action.SYNC_DIRECTORY):
                continue  # such a crash leaves nothing that one just before could not have left
        images, complete = medium.outcomes(limit, seed=after)
        if found is not None:
            found.exhaustive &= complete
        for image in images:
            yield CrashState(image, acknowledged, after)


def final_image(operations: Sequence[Operation], *, initial: Image | None = None) -> Image:
    """What the directory must look like after ``operations`` with no crash: the record is complete."""
    medium = Medium(initial)
    for operation in operations:
        medium.perform(operation)
    return medium.live()


async def explore(
    operations: Sequence[Operation],
    check: Check,
    *,
    scratch: Path,
    initial: Image | None = None,
    limit: int = 4096,
    stop_at: int | None = None,
    random_names: re.Pattern[str] | None = None,
    ordered: bool = False,
) -> Exploration:
    """Put every crash state into a directory of its own below ``scratch`` and ``check`` it there.

    Where ``check`` returns operations, the states that a second crash during them may leave are checked
    as well. ``stop_at``: give up after so many violations.
    ``random_names`` matches what differs from run to run in a file's name, so that states which differ in
    nothing else are checked once. ``ordered``: changes of one directory reach the disk in their order.
    """
    found = Exploration()
    seen: set[tuple[object, ...]] = set()
    pending: list[tuple[Sequence[Operation], Image | None, tuple[str, ...], bool]]
    pending = [(operations, initial, (), False)]
    for ops, start, before, second in pending:  # which grows meanwhile
        for state in crash_states(
            ops, initial=start, acknowledged=before, limit=limit, found=found, ordered=ordered
        ):
            key = (state.image.key(random_names), state.acknowledged)
            if key in seen:
                continue
            seen.add(key)
            found.states += 1
            found.recoveries += second
            place = scratch / f"state-{found.states}"
            state.image.write_to(place)
            try:
                recovery = await check(place, state.acknowledged)
            except Exception as error:
                last = tuple(map(str, ops[max(0, state.after - 8) : state.after]))
                found.violations.append(Violation(state, error, last, second))
                if stop_at is not None and len(found.violations) >= stop_at:
                    return found
            else:
                if recovery and not second:
                    pending.append((recovery, state.image, state.acknowledged, True))
            finally:
                shutil.rmtree(place)
    return found
