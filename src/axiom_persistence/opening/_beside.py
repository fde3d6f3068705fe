"""Where two open stores of one program meet: at the place of one of them, which may be inside it."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from ..errors import ConfigurationError, InsecureStorageError
from ..layers.prefixed import Prefixed
from ..layers.tracked import SYNC
from ..storage.adapter import Changes, Durability, Expect, StorageAdapter, Stored, Traits
from ..storage.layer import Layer
from ..sync._options import Opened, Sync
from ..sync._remote import HEAD

if TYPE_CHECKING:
    from ..sync.synchroniser import Synchroniser

__all__ = ["Inside", "beside"]

_PLACE: Final = SYNC + "place/"


class Inside(Prefixed):
    """A place where devices meet in the store of one of them, which opens and closes it."""

    def __init__(self, inner: StorageAdapter) -> None:
        super().__init__(inner, _PLACE)

    @property
    def traits(self) -> Traits:
        return replace(super().traits, shared=True)  # also in memory: who meets there is in this process

    async def aopen(self) -> None:
        """It is open."""

    async def aclose(self) -> None:
        """It stays open."""


class _Beside(Layer):
    """The place of ``other``, which first sends what it has before each look, and takes over what is sent."""

    def __init__(self, other: Synchroniser) -> None:
        super().__init__(other.place)
        self._other = other

    async def aclose(self) -> None:
        """It is the other's to close."""

    def change_mark(self) -> Hashable | None:
        return self.inner.change_mark(), self._other.status.sent

    async def fetch(self, keys: Collection[str]) -> dict[str, Stored]:
        if HEAD in keys:
            await self._other.bring()
        return await self.inner.fetch(keys)

    async def commit(
        self, changes: Changes, *, expect: Expect | None = None, durability: Durability | None = None
    ) -> Mapping[str, str]:
        versions = await self.inner.commit(changes, expect=expect, durability=durability)
        if HEAD in changes:
            await self._other.now()
        return versions


def beside(asked: Sync, other: Opened, adapter: StorageAdapter) -> StorageAdapter:
    """The place where ``other`` meets, for the store of ``adapter``. Raises for stores that cannot."""
    found: Any = getattr(other, "sync")  # noqa: B009 - raises where there is none
    synchroniser: Synchroniser = getattr(found, "inner", found)  # the face without ``await`` has it inside
    if asked.remote_keys is not None:
        raise ConfigurationError(
            "remote_keys= is said by the store whose place it is",
            adapter=adapter,
            hint="leave it out here, and give it to the other store",
        )
    if other.adapter.traits.confidential and not adapter.traits.confidential:
        raise InsecureStorageError(
            "what is in a confidential store would be plain text here",
            adapter=adapter,
            hint="open this store with keys=, too",
        )
    return _Beside(synchroniser)
