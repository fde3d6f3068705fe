"""Several keys at once, and the list of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any, TypeVar

from ..errors import ConfigurationError
from ..storage.adapter import Durability
from ..store._options import Ttl
from ._arguments import mapping, several
from ._values import Values

__all__ = ["Several"]

T = TypeVar("T")


class Several(Values):
    """The verbs for several values, and for keys."""

    async def save_many(
        self,
        values: Mapping[str, Any],
        *,
        type: Any = None,
        ttl: Ttl | None = None,
        durability: Durability | str | None = None,
    ) -> None:
        """Store all of ``values`` in one commit: all or nothing."""
        store = self._store
        asked = store.durability(durability)
        expires = store.expiry(ttl)
        named = {self._name(key): value for key, value in mapping(values, "save_many").items()}
        self._must_be_atomic("save_many", len(named))
        changes = {name: store.seal(name, value, type, expires) for name, value in named.items()}
        if changes:
            await store.commit(changes, durability=asked)

    async def load_many(self, keys: Iterable[str], type: type[T]) -> dict[str, T]:
        """The values of ``keys``, one snapshot; absent ones are left out."""
        names = {self._name(key): key for key in several(keys, "load_many")}
        found = await self._store.load_many(list(names), type)
        return {names[name]: value for name, value in found.items()}

    async def delete_many(self, keys: Iterable[str], *, durability: Durability | str | None = None) -> int:
        """Forget all of ``keys`` in one commit; how many were there."""
        store = self._store
        names = [self._name(key) for key in several(keys, "delete_many")]
        self._must_be_atomic("delete_many", len(names))
        return await store.delete(names, durability=store.durability(durability))

    def _must_be_atomic(self, verb: str, count: int) -> None:
        store = self._store
        if count > 1 and not store.adapter.traits.atomic:
            raise ConfigurationError(
                f"{verb} is all or nothing, which this adapter cannot promise",
                adapter=store.adapter,
                hint="put Journaled around it, or save one by one",
            )

    async def keys(self, prefix: str = "") -> AsyncIterator[str]:
        """Every key that begins with ``prefix``, in code point order. Expired ones may be among them."""
        cut = len(self._prefix)
        async for key in self._store.keys(self._prefix + prefix):
            yield key[cut:]
