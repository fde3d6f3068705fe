"""One value under one key: the verbs that most programs use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, overload

from ..keys import MISSING, Key
from ..storage.adapter import NOT_NOW, Durability
from ..store._options import Ttl
from ._arguments import kind_and_default, update_arguments
from ._maintenance import Maintenance
from ._turns import update

__all__ = ["Values"]

T = TypeVar("T")
D = TypeVar("D")


class Values(Maintenance):
    """The verbs for one value."""

    @overload
    async def save(
        self,
        key: Key[T],
        value: T,
        *,
        ttl: Ttl | None = None,
        subject: str | None = None,
        durability: Durability | str | None = None,
    ) -> None: ...
    @overload
    async def save(
        self,
        key: str,
        value: object,
        *,
        type: Any = None,
        ttl: Ttl | None = None,
        subject: str | None = None,
        durability: Durability | str | None = None,
    ) -> None: ...
    async def save(
        self,
        key: str | Key[Any],
        value: Any,
        *,
        type: Any = None,
        ttl: Ttl | None = None,
        subject: str | None = None,
        durability: Durability | str | None = None,
    ) -> None:
        """Store ``value`` under ``key``; when this returns, it is as durable as was asked.

        ``ttl``: after this time (wall clock) the value counts as missing. ``subject``: whom the value is
        about, so that ``erase`` finds it. Raises ``InvalidKeyError``, ``EncodingError`` or
        ``TypeMismatchError`` with nothing changed, and ``StorageError`` when the medium refused (the new
        value may then still appear).
        """
        store = self._open_store or self._not_open()
        if key.__class__ is str and not self._prefix:
            name = store.check_plain(key)  # type: ignore[arg-type]  # the short way
        else:
            name = self._name(key)
            type = key.kind if isinstance(key, Key) else type
        asked = None if durability is None else store.durability(durability)
        expires = None if ttl is None else store.expiry(ttl)
        if subject is None:
            await store.save(name, value, type, expires=expires, durability=asked)
        else:
            await store.save_about(subject, {name: store.seal(name, value, type, expires)}, durability=asked)

    @overload
    async def load(self, key: Key[T]) -> T: ...
    @overload
    async def load(self, key: str, type: type[T], *, default: None = None) -> T | None: ...
    @overload
    async def load(self, key: str, type: type[T], *, default: D) -> T | D: ...
    @overload
    async def load(self, key: str, type: Any, *, default: Any = None) -> Any: ...
    async def load(self, key: str | Key[Any], type: Any = MISSING, *, default: Any = None) -> Any:
        """The value under ``key`` as ``type``; ``default`` when nothing is stored.

        A stored None is a value: pass ``default=MISSING`` to tell it from nothing. Raises
        ``TypeMismatchError`` with the path when the value is of another type, ``SchemaTooNewError`` when a
        newer program wrote it, ``CorruptedDataError`` when it is damaged and may not be recovered.
        """
        store = self._open_store or self._not_open()
        if key.__class__ is str and type is not MISSING and not self._prefix:
            kind, name = type, store.check_plain(key)  # type: ignore[arg-type]  # the short way: no cast
        else:
            kind, default = kind_and_default(key, type, default)
            name = self._name(key)
        value = store.load_now(name, kind, default)
        if value is not NOT_NOW:
            return value
        return await store.load(name, kind, default)

    async def delete(self, key: str | Key[Any], *, durability: Durability | str | None = None) -> bool:
        """Forget ``key`` and its kept generations; whether it was there."""
        store = self._store
        return await store.delete([self._name(key)], durability=store.durability(durability)) > 0

    async def exists(self, key: str | Key[Any]) -> bool:
        """Whether something is stored under ``key``. Decodes nothing: true for a damaged record."""
        return await self._store.exists(self._name(key))

    @overload
    async def update(
        self,
        key: Key[T],
        type: Callable[[T], T],
        *,
        subject: str | None = None,
        durability: Durability | str | None = None,
    ) -> T: ...
    @overload
    async def update(
        self,
        key: str,
        type: type[T],
        function: Callable[[T], T],
        *,
        default: T,
        subject: str | None = None,
        durability: Durability | str | None = None,
    ) -> T: ...
    @overload
    async def update(
        self,
        key: str,
        type: Any,
        function: Callable[[T], T],
        *,
        default: T,
        subject: str | None = None,
        durability: Durability | str | None = None,
    ) -> T: ...
    async def update(
        self,
        key: str | Key[Any],
        type: Any,
        function: Callable[[Any], Any] | None = None,
        *,
        default: Any = None,
        subject: str | None = None,
        durability: Durability | str | None = None,
    ) -> Any:
        """Replace the value by ``function(value)``, atomically, and return the new one.

        ``function`` is plain and pure: after a conflict with another writer it runs again.
        ``update("count", int, lambda n: n + 1, default=0)``, or with a ``Key``, ``update(COUNT, function)``.
        ``subject``: whom the value is about from now on; without, about whom it was.
        """
        kind, function, default = update_arguments(key, type, function, default)
        store = self._open_store or self._not_open()
        name = self._name(key) if self._prefix or key.__class__ is not str else store.check_plain(key)  # type: ignore[arg-type]
        asked = None if durability is None else store.durability(durability)
        return await update(store, name, kind, function, default, subject=subject, durability=asked)

    # -- how long it stays -------------------------------------------------------------------------

    async def touch(
        self, key: str | Key[Any], *, ttl: Ttl | None, durability: Durability | str | None = None
    ) -> bool:
        """Have the value stay for ``ttl`` from now on (None: for good), and leave it as it is.

        Whether it was there. Raises ``SchemaTooNewError`` and ``CorruptedDataError`` as ``load`` does.
        """
        store = self._store
        return await store.touch(self._name(key), store.expiry(ttl), durability=store.durability(durability))

    async def expires_at(self, key: str | Key[Any]) -> float | None:
        """When the value stops being there, in seconds since 1970 UTC. None: never, or there is none."""
        return await self._store.expires_at(self._name(key))

    @overload
    async def load_with_expiry(self, key: Key[T]) -> tuple[T, float | None]: ...
    @overload
    async def load_with_expiry(
        self, key: str, type: type[T], *, default: None = None
    ) -> tuple[T | None, float | None]: ...
    @overload
    async def load_with_expiry(
        self, key: str, type: type[T], *, default: D
    ) -> tuple[T | D, float | None]: ...
    @overload
    async def load_with_expiry(
        self, key: str, type: Any, *, default: Any = None
    ) -> tuple[Any, float | None]: ...
    async def load_with_expiry(
        self, key: str | Key[Any], type: Any = MISSING, *, default: Any = None
    ) -> tuple[Any, float | None]:
        """What ``load`` returns and what ``expires_at`` does, of one and the same record."""
        kind, default = kind_and_default(key, type, default)
        return await self._store.load_with_expiry(self._name(key), kind, default)
