"""The one order of the layers: it is part of what a store is, and nowhere else are they put together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import ConfigurationError, shown
from ..layers.cached import Cached, CachePolicy
from ..layers.observed import Observed
from ..storage.adapter import Durability, StorageAdapter

if TYPE_CHECKING:
    from ..security.audit import AuditLog
    from ..security.gates import Gate
    from ..security.keys import KeyProvider

__all__ = ["stack"]


def stack(
    adapter: StorageAdapter,
    *,
    cache: CachePolicy | None,
    inspect: bool,
    keys: KeyProvider | None = None,
    guard: Gate | None = None,
    plain: bool = False,
    audit: AuditLog | None = None,
) -> StorageAdapter:
    """``adapter`` with the layers of an opened store around it, be it the plain or the secure one.

    ``plain``: it may hold plain records, which are to be encrypted. What is only inspected is neither
    cached nor observed, what is in memory is not cached once more.
    """
    if keys is not None:
        adapter = _encrypted(adapter, keys, inspect, plain)
    if audit is not None or inspect:
        from ..layers.audited import Audited  # not every store is audited

        adapter = Audited(adapter, audit, inspect=inspect)
    if not inspect:
        if cache is not None and adapter.traits.durability > Durability.MEMORY:
            adapter = Cached(adapter, cache)
        adapter = Observed(adapter)
    return adapter if guard is None else _guarded(adapter, guard)


def _guarded(adapter: StorageAdapter, guard: Gate) -> StorageAdapter:
    from ..layers.guarded import Guarded
    from ..security.gates import Gate

    if not isinstance(guard, Gate):
        raise ConfigurationError(
            f"guard is a Gate, not {shown(guard)}",
            adapter=adapter,
            hint="from axiom_persistence.security import FingerprintAuthenticator, Gate; guard=Gate(...)",
        )
    return Guarded(adapter, guard)


def _encrypted(adapter: StorageAdapter, keys: KeyProvider, inspect: bool, plain: bool) -> StorageAdapter:
    from ..security.keys import KeyProvider

    if not isinstance(keys, KeyProvider):
        raise ConfigurationError(
            f"keys is a KeyProvider, not {type(keys).__qualname__}",
            adapter=adapter,
            hint="from axiom_persistence.security import PassphraseKey, FileKey, ...",
        )
    try:
        from ..layers.encrypted import Encrypted
        from ..layers.erasable import Erasable
    except ImportError as error:
        raise ConfigurationError(str(error), adapter=adapter) from error
    return Erasable(Encrypted(adapter, keys, inspect=inspect, plain=plain), inspect=inspect)
