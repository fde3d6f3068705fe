"""Several keys at once, and the list of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any, Final, TypeVar

from ..errors import ConfigurationError
from ..keys import decode_segment
from ..runtime.faces import walk
from ..storage.adapter import Durability
from ..store._options import Ttl
from ._arguments import mapping, several
from ._values import Values

__all__ = ["Several"]

T = TypeVar("T")

_NAMES: Final = 64
"""Keys that are looked at together for names of namespaces."""


class Several(Values):
    """The verbs for several values, and for keys."""

    async def save_many(
        self,
        values: Mapping[str, Any],
        *,
        type: Any = None,
        ttl: Ttl | None = None,
        subject: str | None = None,
        durability: Durability | str | None = None,
    ) -> None:
        """Store all of ``values`` in one commit: all or nothing. ``subject``: whom they are about."""
        store = self._store
        asked = store.durability(durability)
        expires = store.expiry(ttl)
        named = {self._name(key): value for key, value in mapping(values, "save_many").items()}
        self._must_be_atomic("save_many", len(named))
        changes = {name: store.seal(name, value, type, expires) for name, value in named.items()}
        if changes and subject is not None:
            await store.save_about(subject, changes, durability=asked)
        elif changes:
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

    async def delete_prefix(self, prefix: str, *, durability: Durability | str | None = None) -> int:
        """Forget every key that begins with ``prefix``, and its kept generations; how many were there.

        An empty ``prefix`` is every key here; the library's own stay. SQLite, memory and files do it in
        one step, another adapter perhaps in several, the last of which a crash may leave undone. What is
        saved meanwhile may go or stay.
        """
        store = self._store
        return await store.delete_prefix(self._prefix + prefix, durability=store.durability(durability))

    # -- keys --------------------------------------------------------------------------------------

    @walk
    async def keys(
        self, prefix: str = "", *, after: str | None = None, limit: int | None = None, reverse: bool = False
    ) -> AsyncIterator[str]:
        """The keys that begin with ``prefix``, in code point order, expired ones left out.

        ``reverse``: the last one first. Only keys behind ``after`` are listed, those before it where
        ``reverse``; it need not exist. At most ``limit``. A page costs what it holds, wherever it begins.
        Not a snapshot: a key that comes or goes meanwhile may be seen or not, any other exactly once.
        """
        cut = len(self._prefix)
        start = None if after is None else self._prefix + after
        keys = self._store.keys(self._prefix + prefix, after=start, limit=limit, reverse=reverse)
        async for key in keys:
            yield key[cut:]

    async def count(self, prefix: str = "") -> int:
        """How many keys begin with ``prefix``, expired ones not counted. It walks over them."""
        return await self._store.count(self._prefix + prefix)

    @walk
    async def namespaces(self) -> AsyncIterator[str]:
        """The names of the namespaces that hold something, in the order of their keys.

        Those of collections and client types are among them: each is what stands before the first ``/`` of
        a key. Costs a step a name, and a walk over the keys that are in none.
        """
        after: str | None = None
        last: str | None = None
        while page := [key async for key in self.keys(after=after, limit=_NAMES)]:
            after = page[-1]
            for key in page:
                segment, slash, _ = key.partition("/")
                if slash and segment != last:
                    last = segment
                    name = decode_segment(segment)
                    if name is not None:
                        yield name
            if last is not None:
                after = max(after, f"{last}/\U0010ffff")  # most of what is left in that namespace is behind
