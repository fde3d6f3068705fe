"""What a storage backend is: bytes under string keys, changed by one verb, ``commit``.

Types live above (``store``), bytes below. An adapter never sees a user's class, and everything that
changes anything (one save, a batch, a transaction, a quarantine) is one ``commit``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Collection, Hashable, Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self, TypeVar

from ..errors import ConflictError, StorageFullError
from ..keys import check_stored_key
from ..runtime.faces import AsyncOnly
from ._foreign import guard

if TYPE_CHECKING:
    from ._salvage import SalvageReport

__all__ = [
    "MAX_STORED_KEY_BYTES",
    "NOT_NOW",
    "CachedRecord",
    "Changes",
    "Durability",
    "Expect",
    "NotNow",
    "StorageAdapter",
    "Stored",
    "Tidied",
    "Told",
    "Traits",
    "check_changes",
    "verify_expected",
]

T = TypeVar("T")

MAX_STORED_KEY_BYTES: Final = 1280
"""What the embedded adapters take: a user's 1,024 bytes and room for prefixes of the library's own."""

DELETED_TOGETHER: Final = 512
"""Keys that one commit of a ``delete_prefix`` forgets, where the medium cannot forget all in one step."""


class Durability(StrEnum):
    """What an acknowledged save survives, weakest first. Comparable: ``MEMORY < POWER_LOSS``."""

    MEMORY = "memory"  # nothing: accepted in this process's memory
    PROCESS_EXIT = "process_exit"  # the end of the process, SIGKILL included
    POWER_LOSS = "power_loss"  # the loss of power, where the disk honours a flush

    @property
    def rank(self) -> int:
        return _RANK[self]

    def __lt__(self, other: str) -> bool:
        return self.rank < Durability(other).rank

    def __le__(self, other: str) -> bool:
        return self.rank <= Durability(other).rank

    def __gt__(self, other: str) -> bool:
        return self.rank > Durability(other).rank

    def __ge__(self, other: str) -> bool:
        return self.rank >= Durability(other).rank


_RANK: Final = {Durability.MEMORY: 0, Durability.PROCESS_EXIT: 1, Durability.POWER_LOSS: 2}


class Stored(NamedTuple):
    """The bytes under a key.

    ``version`` is opaque: equal versions of a key mean equal bytes. ``damage`` says why a layer
    refused the bytes; ``data`` is then the raw bytes that layer got.
    """

    data: bytes
    version: str
    damage: str | None = None


class Tidied(NamedTuple):
    """What ``tidy`` did."""

    previous: int
    """How many generations were forgotten."""
    freed: int
    """How many bytes the medium has back."""


class CachedRecord(Stored):
    """A ``Stored`` that a cache hands out again and again.

    ``decoded`` is for whoever reads it: what was made of the bytes once lives exactly as long as the
    cache's entry.
    """

    decoded: Any = None

    @property
    def room(self) -> int:
        """How many bytes ``decoded`` may take: nested values take 3 to 4 times their JSON."""
        return 400 + 4 * len(self.data)


Changes = Mapping[str, bytes | None]
"""New bytes for each key; None deletes."""

Expect = Mapping[str, str | None]
"""The version each key must still have; None: it must be absent."""


Told = Callable[[int, int], object]
"""Is told how much is done, and how much there is: of files, pages or records."""


class NotNow(Enum):
    """The type of ``NOT_NOW``, which a synchronous read answers when only an awaited one can tell."""

    NOT_NOW = "not now"


NOT_NOW: Final = NotNow.NOT_NOW


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """What an adapter can do: data, no more. A layer may alter it."""

    atomic: bool
    """A commit of several keys is all or nothing, and a fetch of several keys is one snapshot."""
    durability: Durability
    """The strongest class it promises."""
    shared: bool
    """Several processes may use one store at once, and ``expect`` holds between them."""
    confidential: bool = False
    """What is stored cannot be read by somebody who gets the medium."""
    immediate: bool = False
    """``commit_now`` works for one key, though it may be refused at times. Clients then store at once."""
    audited: bool = False
    """Every commit leaves an entry in the audit trail."""
    ordered: bool = False
    """A loss of power leaves what a first part of the commits made, whole ones, however durable each was.

    So one that is not synced needs nothing to fall back on: it leaves the generation before alone.
    """
    replicated: bool = False
    """Each device has a copy, and commits reach the others later, key by key, the last one of a key for good.

    ``expect`` holds on this device only. Synchronisation meets there in another way than where it holds.
    """
    synchronised: bool = False
    """What other devices changed arrives here, too, also where no other process may use the store."""
    max_value_bytes: int | None = None
    max_key_bytes: int = MAX_STORED_KEY_BYTES

    @property
    def changed_elsewhere(self) -> bool:
        """Whether others commit, too: who keeps or shows values looks whether they still hold."""
        return self.shared or self.synchronised


class StorageAdapter(AsyncOnly, ABC):
    """A place that keeps bytes under string keys.

    To write one, implement ``traits``, ``fetch``, ``commit`` and ``keys``; or subclass
    ``BasicAdapter``, which asks for less and promises less. A key is non-empty text without NUL and lone
    surrogates, up to ``traits.max_key_bytes`` of UTF-8; ``keys.check_stored_key`` refuses any other. An
    adapter escapes whatever its medium cannot take, so that different keys never meet.

    Any number of tasks, threads and event loops may call one adapter at once. What a class of yours raises
    that is no ``PersistenceError`` leaves it as a ``StorageError`` with key, adapter and cause.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        guard(cls)

    @property
    @abstractmethod
    def traits(self) -> Traits:
        """What this adapter can do. Known before it is opened, and the same ever after."""

    @abstractmethod
    async def fetch(self, keys: Collection[str]) -> dict[str, Stored]:
        """The stored bytes of ``keys``, absent ones left out.

        One consistent snapshot where ``traits.atomic``: never half of somebody's commit.
        """

    @abstractmethod
    async def commit(
        self, changes: Changes, *, expect: Expect | None = None, durability: Durability | None = None
    ) -> Mapping[str, str]:
        """Apply all ``changes`` and return the new versions of the keys that were written.

        Returns when the changes are as durable as asked (None: as ``traits.durability``), in the order
        of the calls. With ``expect``, nothing changes and ``ConflictError`` is raised unless every
        named key has the given version; the check and the change are one step. Empty ``changes`` make
        everything committed before as durable as asked. Deleting what is absent is no error. The caller
        leaves ``changes`` and ``expect`` as they are until this has returned or raised; who keeps them for
        longer copies them. Values are bytes (``TypeError``).
        Raises ``StorageError`` when the medium refuses: what was asked may then have happened or not.
        """

    @abstractmethod
    def keys(
        self, prefix: str = "", *, after: str | None = None, limit: int | None = None, reverse: bool = False
    ) -> AsyncIterator[str]:
        """The keys that begin with ``prefix``, the library's own included, in code point order.

        That is the order of their UTF-8 bytes, too. ``reverse``: the last one first. Only keys behind
        ``after`` are listed, those before it where ``reverse``; it need not exist. At most ``limit``. Where
        the medium can search, a page costs what it holds, wherever it begins; ``Listing`` answers for one
        that cannot.
        Not a snapshot: a key written or deleted meanwhile may be seen or not, any other exactly once.
        Raises ``InvalidKeyError`` for an ``after`` without a UTF-8 form, ``ConfigurationError`` for a
        ``limit`` below 0.
        """

    async def aopen(self) -> None:
        """Make ready for use; finish what a crash left half done. Opening twice is fine."""

    async def aclose(self) -> None:
        """Let go of everything, after all that was accepted is stored. Closing twice is fine."""

    def commit_now(self, changes: Changes) -> Mapping[str, str] | None:  # noqa: ARG002
        """Commit so that it outlives this process, before returning, with no await.

        None: it cannot be done at once, and nothing was done. Never waits for long.
        """
        return None

    def fetch_now(self, key: str) -> Stored | None | NotNow:  # noqa: ARG002
        """What ``fetch`` would say of one key, where that is free to know; else ``NOT_NOW``."""
        return NOT_NOW

    async def fetch_range(self, keys: Collection[str], start: int, length: int) -> dict[str, bytes]:
        """At most ``length`` bytes from ``start`` of what is stored under ``keys``, absent ones left out.

        Shorter where the value ends, empty behind its end. One snapshot, as ``fetch``. An adapter that can
        read a part of a value overrides it; this one fetches whole values and cuts them.
        """
        return {key: stored.data[start : start + length] for key, stored in (await self.fetch(keys)).items()}

    async def delete_prefix(
        self, prefix: str, *, after: str | None = None, durability: Durability | None = None
    ) -> int:
        """Forget every key that begins with ``prefix``, and its kept generation; how many there were.

        Only those behind ``after``, where that is given.
        All that was committed before the call is gone when it returns, as durably as asked; what is
        committed meanwhile may go or stay. An empty ``prefix`` is every key, the library's own included.
        This one deletes in pages, each of which is one commit: a crash, a cancellation or an error in
        between leaves the later pages. An adapter that can delete all in one step overrides it.
        """
        weakest = min(Durability.PROCESS_EXIT, self.traits.durability)
        await self.commit({}, durability=weakest)  # what was called before has taken effect then
        count = 0
        while page := [key async for key in self.keys(prefix, after=after, limit=DELETED_TOGETHER)]:
            await self.commit(dict.fromkeys(page), durability=weakest)
            count += len(page)
            after = page[-1]
        await self.commit({}, durability=durability)
        return count

    async def purge(self, keys: Collection[str], *, previous_of: Collection[str] = ()) -> None:
        """Forget ``keys`` for good: no byte of their values is left in what this adapter has on its medium.

        Their kept generations are overwritten, too, and those of ``previous_of``, whose values stay. It is as
        durable as ``traits`` says when this returns. Not all or nothing: broken off, begin it again. What a
        file system keeps elsewhere (copies on write, freed blocks, flash) is out of every adapter's reach.
        This one deletes ``keys`` in one commit, for a medium that overwrites what it deletes and keeps no
        generation. Raises ``StorageLockedError`` where others go on reading what is to be overwritten.
        """
        del previous_of
        await self.commit(dict.fromkeys(keys))

    async def previous(self, key: str) -> Stored | None:  # noqa: ARG002
        """The kept generation before the current one, for recovery. None where there is none."""
        return None

    async def previous_many(self, keys: Collection[str]) -> dict[str, Stored]:
        """``previous`` of several keys, those without one left out. An adapter may know a shorter way."""
        found = {key: await self.previous(key) for key in keys}
        return {key: stored for key, stored in found.items() if stored is not None}

    async def set_previous(self, generations: Mapping[str, bytes | None]) -> None:
        """Make these the generations before what the keys hold, as durable as may be; None: there is none.

        For who takes back what it committed. Of an absent key none is kept. Not one step: after a crash some
        are set. An adapter that keeps no generations has nothing to do.
        """

    async def saved_at(self, key: str) -> float | None:  # noqa: ARG002
        """When the current bytes were committed, in seconds since 1970 UTC. None: not known."""
        return None

    async def check(self) -> list[str]:
        """Faults found in the medium itself, each a sentence. Empty: none. Reads everything."""
        return []

    async def copy_to(self, place: str, told: Told | None = None) -> bool:  # noqa: ARG002
        """Copy all that is stored, as it is at one moment, into a new store at the path ``place``.

        The store stays in use. The copy is of the same kind, and on the disk when this returns; nothing is at
        ``place`` before, and what is left there when this raises is the caller's to remove. ``told`` is
        called on any thread; what it raises ends the copy. False: this adapter cannot, and nothing was done.
        """
        return False

    async def scrub(self) -> bool:
        """Forget every kept generation, and overwrite what the medium still has of earlier records.

        What is stored now stays. It may take as long as writing everything anew, and commits wait
        meanwhile. Blocks that a file system or a flash drive has given up are out of its reach. False: this
        adapter cannot, and nothing was done. Raises ``StorageLockedError`` where others hold the medium.
        """
        return False

    async def salvage(self) -> SalvageReport | None:
        """Move a store that is damaged as a whole aside, and make one in its place of what can be read.

        Closes the store first. Nothing is deleted, and nobody else may have it open. None: nothing is
        damaged that this would help, or this adapter keeps no files; nothing was done.
        Raises ``StorageLockedError`` where somebody has it open, ``StorageError`` where the disk refuses.
        """
        return None

    async def tidy(self, kept_before: float) -> Tidied:  # noqa: ARG002
        """Forget the generations kept before this time (seconds since 1970 UTC), and give back room.

        Room only where much of it is free, and little has to be moved for it; commits wait meanwhile. Raises
        ``StorageLockedError`` where others hold the medium for long. This one has nothing to do.
        """
        return Tidied(0, 0)

    def find(self, kind: type[T]) -> T | None:
        """The outermost of this adapter and those it wraps that is a ``kind``; None where there is none.

        What it says of keys and versions holds here: whatever changes those answers for itself only.
        """
        return self if isinstance(self, kind) else None

    def change_mark(self) -> Hashable | None:
        """A value that differs once somebody committed other than through this object. None: unknown.

        Cheap enough to be compared at every cached load. May differ without need, never fail to.
        """
        return None

    @property
    def mark_reader(self) -> Callable[[], Hashable | None]:
        """The function that says the change mark, for whoever asks it often: that of the adapter itself."""
        return self.change_mark

    def is_remote(self, key: str, version: str | None) -> bool:  # noqa: ARG002
        """Whether this version of ``key`` (None: its absence) is known to be another device's."""
        return False

    def stats(self) -> dict[str, int]:
        """Counters of this adapter, by name."""
        return {}

    @property
    def location(self) -> str:
        """Where the data is, for a person."""
        return repr(self)

    def __str__(self) -> str:
        return f"{type(self).__name__}({self.location})"

    # The specification's four, each one line over the two above.

    async def read(self, key: str) -> bytes | None:
        """The bytes under ``key``, or None."""
        stored = (await self.fetch((key,))).get(key)
        return None if stored is None else stored.data

    async def write(self, key: str, data: bytes) -> None:
        """Store ``data`` under ``key``."""
        await self.commit({key: data})

    async def delete(self, key: str) -> None:
        """Forget ``key``. Fine when it is absent."""
        await self.commit({key: None})

    async def exists(self, key: str) -> bool:
        """Whether something is stored under ``key``. Reads no value where the medium can tell without."""
        return bool(await self.fetch((key,)))

    async def __aenter__(self) -> Self:
        await self.aopen()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


def check_changes(changes: Changes, traits: Traits, adapter: object) -> None:
    """Raise unless an adapter of these ``traits`` takes every key and value of ``changes``.

    ``InvalidKeyError`` for a key, ``TypeError`` for what is not bytes, ``StorageFullError`` for too many.
    """
    longest, most = traits.max_key_bytes, traits.max_value_bytes
    for key, data in changes.items():
        # Nearly all keys are ASCII, and seen to be right at once. Those that come only once, in a commit of
        # many or an audit trail, are not remembered: they would drive out the keys that come again.
        if not (isinstance(key, str) and key.isascii() and 0 < len(key) <= longest and "\0" not in key):
            check_stored_key(key, longest)
        if data is None:
            continue
        if not isinstance(data, bytes):
            raise TypeError(f"the value of {key!r} is {type(data).__name__}, not bytes")
        if most is not None and len(data) > most:
            raise StorageFullError(
                f"a value has at most {most:,} bytes here; this one has {len(data):,}",
                key=key,
                adapter=adapter,
                hint="split it, or keep it in a file of its own",
            )


def verify_expected(found: Mapping[str, Stored], expect: Expect, adapter: object) -> None:
    """Raise ``ConflictError`` unless every key has its expected version."""
    for key, version in expect.items():
        stored = found.get(key)
        if (None if stored is None else stored.version) != version:
            said = "was absent" if version is None else "had another version"
            now = "is absent" if stored is None else "was written by somebody else"
            raise ConflictError(
                f"the key {said} when it was read and {now} now; nothing was changed",
                key=key,
                adapter=adapter,
                hint="read again and retry (update and run_transaction do so by themselves)",
            )
