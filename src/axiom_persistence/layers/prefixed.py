"""One part of a store that is shared with others."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from ..errors import ConfigurationError, PersistenceError
from ..keys import check_stored_key
from ..storage.adapter import (
    Changes,
    Durability,
    Expect,
    NotNow,
    StorageAdapter,
    Stored,
    Tidied,
    Told,
    Traits,
)
from ..storage.layer import Layer
from ..storage.listing import Listing

if TYPE_CHECKING:
    from ..storage._salvage import SalvageReport

__all__ = ["Prefixed"]

T = TypeVar("T")


class Prefixed(Layer):
    """Sees and touches only the keys that begin with ``prefix``, and knows them without it.

    Versions, snapshots and all-or-nothing commits are the inner adapter's, and so is ``check``, which
    looks at the whole medium; ``change_mark`` also moves when others change keys outside the prefix.
    Keys may be as long as the inner adapter's, less the bytes of the prefix. Two prefixes where one
    begins with the other overlap: end a prefix with a separator. Closing closes the inner adapter.

    Raises ``ConfigurationError`` for a prefix that is empty or leaves no room for a key, and
    ``InvalidKeyError`` for one with characters that no key may have. Errors name keys without it.
    """

    def __init__(self, inner: StorageAdapter, prefix: str) -> None:
        super().__init__(inner)
        if not prefix:
            raise ConfigurationError("a prefix cannot be empty", hint="use the adapter without Prefixed")
        limit = inner.traits.max_key_bytes
        check_stored_key(prefix, limit)
        self.prefix = prefix
        self._limit = limit - len(prefix.encode())
        if self._limit < 1:
            raise ConfigurationError(
                f"the prefix takes all of the {limit:,} bytes a key may have",
                adapter=inner,
                hint="choose a shorter one",
            )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.inner!r}, {self.prefix!r})"

    @property
    def traits(self) -> Traits:
        return replace(self.inner.traits, max_key_bytes=self._limit)

    @property
    def location(self) -> str:
        return f"{self.inner.location}, keys beginning with {self.prefix!r}"

    async def fetch(self, keys: Collection[str]) -> dict[str, Stored]:
        outer = {self._full(key): key for key in keys}
        with self._names_without_prefix():
            found = await self.inner.fetch(list(outer))
        return {outer[key]: stored for key, stored in found.items()}

    async def commit(
        self, changes: Changes, *, expect: Expect | None = None, durability: Durability | None = None
    ) -> Mapping[str, str]:
        full = {self._full(key): data for key, data in changes.items()}
        expected = None if expect is None else {self._full(key): version for key, version in expect.items()}
        with self._names_without_prefix():
            versions = await self.inner.commit(full, expect=expected, durability=durability)
        return self._stripped(versions)

    def commit_now(self, changes: Changes) -> Mapping[str, str] | None:
        full = {self._full(key): data for key, data in changes.items()}
        with self._names_without_prefix():
            versions = self.inner.commit_now(full)
        return None if versions is None else self._stripped(versions)

    def fetch_now(self, key: str) -> Stored | None | NotNow:
        with self._names_without_prefix():
            return self.inner.fetch_now(self._full(key))

    async def keys(
        self, prefix: str = "", *, after: str | None = None, limit: int | None = None, reverse: bool = False
    ) -> AsyncIterator[str]:
        # The inner store may have a key that is the prefix itself; here it would be the empty key.
        listing = Listing(prefix, after if reverse else after or "", limit, reverse)
        start = None if listing.after is None else self.prefix + listing.after
        keys = self.inner.keys(self.prefix + prefix, after=start, limit=limit, reverse=reverse)
        async for key in keys:
            if len(key) > len(self.prefix):
                yield key[len(self.prefix) :]

    async def exists(self, key: str) -> bool:
        with self._names_without_prefix():
            return await self.inner.exists(self._full(key))

    async def fetch_range(self, keys: Collection[str], start: int, length: int) -> dict[str, bytes]:
        outer = {self._full(key): key for key in keys}
        with self._names_without_prefix():
            found = await self.inner.fetch_range(list(outer), start, length)
        return {outer[key]: data for key, data in found.items()}

    async def delete_prefix(
        self, prefix: str, *, after: str | None = None, durability: Durability | None = None
    ) -> int:
        start = self.prefix + (after or "")  # the key that is the prefix itself is somebody else's
        with self._names_without_prefix():
            return await self.inner.delete_prefix(self.prefix + prefix, after=start, durability=durability)

    async def purge(self, keys: Collection[str], *, previous_of: Collection[str] = ()) -> None:
        full, older = [self._full(key) for key in keys], [self._full(key) for key in previous_of]
        with self._names_without_prefix():
            await self.inner.purge(full, previous_of=older)

    async def previous(self, key: str) -> Stored | None:
        with self._names_without_prefix():
            return await self.inner.previous(self._full(key))

    async def set_previous(self, generations: Mapping[str, bytes | None]) -> None:
        with self._names_without_prefix():
            await self.inner.set_previous({self._full(key): data for key, data in generations.items()})

    async def saved_at(self, key: str) -> float | None:
        with self._names_without_prefix():
            return await self.inner.saved_at(self._full(key))

    async def copy_to(self, place: str, told: Told | None = None) -> bool:  # noqa: ARG002
        return False  # it would be a copy of what others keep there, too

    async def tidy(self, kept_before: float) -> Tidied:  # noqa: ARG002
        return Tidied(0, 0)  # for the same reason

    async def scrub(self) -> bool:
        return False  # the earlier generations of others are not ours to forget

    async def salvage(self) -> SalvageReport | None:
        return None  # nor is the whole of it this one's to repair

    def find(self, kind: type[T]) -> T | None:
        return self if isinstance(self, kind) else None  # below, the keys have other names

    def _full(self, key: str) -> str:
        return self.prefix + check_stored_key(key, self._limit)

    def _stripped(self, versions: Mapping[str, str]) -> dict[str, str]:
        return {key[len(self.prefix) :]: version for key, version in versions.items()}

    @contextmanager
    def _names_without_prefix(self) -> Iterator[None]:
        try:
            yield
        except PersistenceError as error:
            if error.key is not None:
                error.key = error.key.removeprefix(self.prefix)
            raise
