"""A store that is only looked at."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from ..errors import AccessDeniedError
from ..storage.adapter import Changes, Durability, Expect, Tidied
from ..storage.layer import Layer

__all__ = ["ReadOnly"]


class ReadOnly(Layer):
    """Refuses every commit that would change something; everything else is as the inner adapter has it.

    A commit without changes still validates its expectations and still makes what was committed before
    durable. Opening is the inner adapter's own: it may finish what a crash left half done. Nobody else
    is kept from writing to the same place.

    Raises ``AccessDeniedError`` for a commit with changes, before the inner adapter sees it.
    """

    async def commit(
        self, changes: Changes, *, expect: Expect | None = None, durability: Durability | None = None
    ) -> Mapping[str, str]:
        self._refuse(changes)
        return await self.inner.commit(changes, expect=expect, durability=durability)

    def commit_now(self, changes: Changes) -> Mapping[str, str] | None:
        self._refuse(changes)
        return self.inner.commit_now(changes)

    async def set_previous(self, generations: Mapping[str, bytes | None]) -> None:
        self._refuse(generations)

    async def purge(self, keys: Collection[str], *, previous_of: Collection[str] = ()) -> None:
        self._refuse(dict.fromkeys((*keys, *previous_of)))

    async def tidy(self, kept_before: float) -> Tidied:  # noqa: ARG002
        return Tidied(0, 0)

    async def scrub(self) -> bool:
        raise self._refused(None)

    def _refuse(self, changes: Changes) -> None:
        for key in changes:
            raise self._refused(key)

    def _refused(self, key: str | None) -> AccessDeniedError:
        return AccessDeniedError(
            "this store is open for reading only; nothing was changed",
            key=key,
            adapter=self,
            hint="open it without ReadOnly to write",
        )
