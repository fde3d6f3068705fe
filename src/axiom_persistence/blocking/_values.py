"""The verbs for values and keys, without ``await``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, cast

from ..errors import PersistenceError
from ..keys import MISSING, Key
from ..persistence._arguments import kind_and_default
from ..persistence.persistence import AdapterBasedPersistence
from ..storage.adapter import NOT_NOW, Durability
from ..store._options import Ttl
from ._background import refuse_deadlock, run
from ._streams import paged
from ._waiting import ByHand, Face, waiting

__all__ = ["Values"]


class Values(Face[AdapterBasedPersistence]):
    """The verbs for values and keys of a persistence, which return when they are done."""

    # -- one value ---------------------------------------------------------------------------------

    def _save(
        self,
        key: str | Key[Any],
        value: Any,
        *,
        type: Any = None,
        ttl: Ttl | None = None,
        subject: str | None = None,
        durability: Durability | str | None = None,
    ) -> None:
        refuse_deadlock()
        if subject is not None or not self._saved_now(key, value, type, ttl, durability):
            work = self.inner.save(
                cast(str, key), value, type=type, ttl=ttl, subject=subject, durability=durability
            )
            run(work)

    save: Final = ByHand(_save).typed_as(AdapterBasedPersistence.save)

    def _saved_now(
        self,
        key: str | Key[Any],
        value: Any,
        type: Any,
        ttl: Ttl | None,
        durability: Durability | str | None,
    ) -> bool:
        """Save on this thread, where outliving the process is enough and the adapter can do it at once."""
        store = self.inner._store
        if (store.durability(durability) or store.default_durability) is not Durability.PROCESS_EXIT:
            return False
        name = self.inner._name(key)
        data = store.seal(name, value, key.kind if isinstance(key, Key) else type, store.expiry(ttl))
        try:
            return store.commit_now({name: data}) is not None
        except PersistenceError as error:
            raise error.naming(key=name, adapter=store.adapter)  # noqa: B904 - the same error, named

    def _load(self, key: str | Key[Any], type: Any = MISSING, *, default: Any = None) -> Any:
        refuse_deadlock()
        inner = self.inner
        kind, missing = kind_and_default(key, type, default)
        value = inner._store.load_now(inner._name(key), kind, missing)
        if value is not NOT_NOW:
            return value
        return run(inner.load(cast(str, key), type, default=default))

    load: Final = ByHand(_load).typed_as(AdapterBasedPersistence.load)

    delete: Final = waiting(AdapterBasedPersistence.delete)
    exists: Final = waiting(AdapterBasedPersistence.exists)
    update: Final = waiting(AdapterBasedPersistence.update)
    touch: Final = waiting(AdapterBasedPersistence.touch)
    expires_at: Final = waiting(AdapterBasedPersistence.expires_at)
    load_with_expiry: Final = waiting(AdapterBasedPersistence.load_with_expiry)

    # -- several values ----------------------------------------------------------------------------

    save_many: Final = waiting(AdapterBasedPersistence.save_many)
    load_many: Final = waiting(AdapterBasedPersistence.load_many)
    delete_many: Final = waiting(AdapterBasedPersistence.delete_many)

    delete_prefix: Final = waiting(AdapterBasedPersistence.delete_prefix)
    count: Final = waiting(AdapterBasedPersistence.count)

    def keys(
        self, prefix: str = "", *, after: str | None = None, limit: int | None = None, reverse: bool = False
    ) -> Iterator[str]:
        """The keys that begin with ``prefix``, in code point order, fetched a page at a time.

        ``reverse``: the last one first. Only keys behind ``after`` (before it where ``reverse``), at most
        ``limit``.
        """
        return paged(self.inner.keys(prefix, after=after, limit=limit, reverse=reverse))

    def namespaces(self) -> Iterator[str]:
        """The names of the namespaces, collections and client types that hold something."""
        return paged(self.inner.namespaces())
