"""What the adapters of servers share: an address, something kept for each event loop, commits in groups."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from typing import Final, Generic, Protocol, TypeVar

from ...errors import CapabilityUnavailableError, StorageUnavailableError, StoreNotFoundError
from ...keys import check_stored_keys
from ...storage.adapter import (
    MAX_STORED_KEY_BYTES,
    Changes,
    Durability,
    Expect,
    StorageAdapter,
    Stored,
    Traits,
    check_changes,
)
from ...storage.changelog import ChangeLog
from ...storage.listing import Listing
from .fetch import FetchGroup
from .group import CommitGroup
from .loops import Closing, PerLoop

__all__ = [
    "MAX_VALUE_BYTES",
    "NO_STORE",
    "OPENING_S",
    "NetworkedAdapter",
    "no_store",
    "not_reached",
    "nothing",
]

MAX_VALUE_BYTES: Final = 64 << 20
OPENING_S: Final = 4.0
"""How long an opening tries to reach a server; a person may wait for it."""
NO_STORE: Final = "there is no store"
"""What an opening would make, where it may; it makes no database and no bucket."""


class Place(Protocol):
    """Where a store is. Its text shows no credential."""

    @property
    def durability(self) -> Durability: ...


class Lanes(Closing, Protocol):
    """What goes to the server from one event loop."""

    commits: CommitGroup
    fetches: FetchGroup


P = TypeVar("P", bound=Place)
L = TypeVar("L", bound=Lanes)


class NetworkedAdapter(StorageAdapter, ChangeLog, Generic[P, L]):
    """A store on a server, shared by any number of processes and machines.

    To be opened by ``aopen`` of the class below, which sets ``_loops``.
    """

    def __init__(self, place: P, *, inspect: bool) -> None:
        self._place: P = place
        self._inspect = inspect
        self._traits = Traits(
            atomic=True, durability=place.durability, shared=True, max_value_bytes=MAX_VALUE_BYTES
        )
        self._loops: PerLoop[L] | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self._place)!r})"

    @property
    def traits(self) -> Traits:
        return self._traits

    @property
    def location(self) -> str:
        return str(self._place)

    def _is_open(self) -> bool:
        return self._loops is not None and self._loops.is_usable

    async def aclose(self) -> None:
        loops, self._loops = self._loops, None
        if loops is not None:
            await loops.aclose(lambda lanes: lanes.commits.finish())

    def _lanes(self) -> L:
        if self._loops is None:
            raise CapabilityUnavailableError(
                "the store is not open", adapter=self, hint="open it first, in `async with`"
            )
        return self._loops.here()

    async def fetch(self, keys: Collection[str]) -> dict[str, Stored]:
        lanes = self._lanes()
        check_stored_keys(keys, MAX_STORED_KEY_BYTES)
        return await lanes.fetches.fetch(keys) if keys else {}

    async def _listed(
        self, rest: Listing, most: int, page: Callable[[Listing, int], Awaitable[Sequence[str]]]
    ) -> AsyncIterator[str]:
        """The keys of a listing: each ``page``, of at most ``most``, begins where the last one ended."""
        while not rest.is_empty:
            size = most if rest.limit is None else min(rest.limit, most)
            found = await page(rest, size)
            for key in found:
                yield key
            if len(found) < size:
                return
            rest = rest.behind(found)

    async def commit(
        self,
        changes: Changes,
        *,
        expect: Expect | None = None,
        durability: Durability | None = None,  # noqa: ARG002 - every commit is as durable as the address says
    ) -> Mapping[str, str]:
        lanes = self._lanes()
        check_changes(changes, self._traits, self)
        check_stored_keys(expect or (), MAX_STORED_KEY_BYTES)
        return await lanes.commits.commit(changes, expect)

    def _counted(self) -> dict[str, int]:
        """``commits``, and ``requests`` that carried them, of every event loop."""
        every = [] if self._loops is None else self._loops.all()
        return {
            "commits": sum(lanes.commits.commits for lanes in every),
            "requests": sum(lanes.commits.requests for lanes in every),
        }


async def nothing(_: object) -> None:
    """Nothing waits yet."""


def no_store(adapter: object) -> StoreNotFoundError:
    """An opening that makes nothing finds nothing."""
    return StoreNotFoundError(NO_STORE, adapter=adapter, hint="open it without mode='inspect' to make it")


def not_reached(adapter: object, why: str, hint: str) -> StorageUnavailableError:
    """A server that cannot be opened. ``why``: empty where it did not answer in time."""
    return StorageUnavailableError(
        f"the server cannot be reached: {why or f'no answer within {OPENING_S:g} seconds'}",
        adapter=adapter,
        hint=hint,
        indeterminate=False,
    )
