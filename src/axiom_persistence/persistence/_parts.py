"""What takes part in a transaction beside its keys: the fields of clients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager, ExitStack
from typing import Any, Protocol

from ..errors import ConfigurationError, ConflictError, shown
from ..storage.adapter import Changes, Durability, Expect
from ..store.store import Store

__all__ = ["Part", "Participant", "Participation", "commit_together", "end_together", "in_order"]


class Part(Protocol):
    """The share that one client has in a transaction."""

    # What it changes, and which versions it relies on. Raises what refuses that.
    def prepare(self) -> tuple[Changes, Expect]: ...

    # How it ended: done (and then, that hooks and streams are to be told); nothing was changed; nobody knows.
    def committed(self, versions: Mapping[str, str], durability: Durability | None) -> None: ...
    def tell(self) -> None: ...
    def withdrawn(self) -> None: ...
    def unclear(self) -> None: ...


class Participation(Protocol):
    """How one client joins a transaction."""

    name: str
    """Those of several clients are joined in this order, so that no two transactions wait for each other."""

    # Takes part, in a transaction of the store, until the end of the context.
    def join(self, store: Store) -> AbstractAsyncContextManager[Part]: ...


class Participant(Protocol):
    """What can change in one step with keys: a ``Client``."""

    @property
    def _participation(self) -> Participation: ...


def in_order(clients: Sequence[Participant]) -> list[Participation]:
    """What ``clients`` join by, each once. Raises ``ConfigurationError`` for what is no client."""
    joining: dict[str, Participation] = {}
    for client in clients:
        found: Any = getattr(client, "_participation", None)
        if found is None:
            raise ConfigurationError(
                f"a transaction takes clients, not {shown(client)}",
                hint="keys need not be named before they are used in it",
            )
        joining[found.name] = found
    return [joining[name] for name in sorted(joining)]


async def end_together(
    store: Store, parts: Sequence[Part], writes: Changes, expect: Expect, durability: Durability | None
) -> None:
    """One commit of ``writes`` and of what all parts have changed, and each part told how it ended."""
    changes, wanted = dict(writes), dict(expect)
    prepared: list[Part] = []
    try:
        for part in parts:
            changed, relied = part.prepare()
            prepared.append(part)
            changes |= changed
            wanted |= relied
    except BaseException:
        for part in prepared:
            part.withdrawn()
        raise
    await commit_together(store, parts, changes, wanted, durability)


async def commit_together(
    store: Store,
    parts: Sequence[Part],
    changes: Changes,
    expect: Expect,
    durability: Durability | None,
) -> None:
    """Commit what the parts have prepared, and tell each of them how that ended."""
    try:
        versions: Mapping[str, str] = {}
        if changes:
            versions = await store.commit(changes, expect=expect, durability=durability)
        else:  # each read has checked that the others still held
            await store.rely_on(expect, durability=durability)
        for part in parts:
            part.committed(versions, durability)
    except ConflictError:
        for part in parts:
            part.withdrawn()
        raise
    except BaseException:
        for part in parts:
            part.unclear()
        raise
    with ExitStack() as telling:  # a hook that raises keeps no other from being told
        for part in reversed(parts):
            telling.callback(part.tell)
