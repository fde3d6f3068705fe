"""Opening a store: the options, and what they mean together."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from types import NoneType
from typing import TYPE_CHECKING, Final, Literal

from ..errors import ConfigurationError, shown
from ..jobs._schedule import Every
from ..layers.cached import CachePolicy
from ..persistence.persistence import AdapterBasedPersistence
from ..records.corruption import Corruption, OnCorruption
from ..records.migrations import Migrations
from ..storage.adapter import Durability, StorageAdapter
from ._chores import chores_of
from ._stack import encrypted, stack
from .addresses import Where, adapter_for, address_of

if TYPE_CHECKING:
    from ..layers.tracked import Tracked
    from ..security.audit import AuditLog
    from ..security.gates import Gate
    from ..security.keys import KeyProvider
    from ..sync._options import Sync
    from ..sync.synchroniser import Synchroniser

__all__ = ["keychain_key", "open_persistence"]

_DEFAULT_CACHE: Final = CachePolicy()


def open_persistence(
    where: Where,
    *,
    durability: Durability | str | None = None,
    cache: CachePolicy | None = _DEFAULT_CACHE,
    on_corruption: OnCorruption | Literal["recover", "raise", "repair"] = Corruption.RECOVER,
    secure: StorageAdapter | str | None = None,
    keys: KeyProvider | Literal["keychain"] | None = None,
    guard: Gate | None = None,
    migrations: Migrations | None = None,
    snapshots: Every | None = None,
    retention: Mapping[str, timedelta] | None = None,
    audit: AuditLog | None = None,
    sync: Sync | None = None,
    mode: Literal["normal", "inspect", "encrypt"] = "normal",
    exclusive: bool = False,
) -> AdapterBasedPersistence:
    """The persistence at ``where``, to be opened by ``async with`` or ``await``.

    ``where`` is one of: the name of an application (``"notes"``: SQLite in its data directory, or below
    ``AXIOM_PERSISTENCE_HOME``); a URL (``"sqlite:notes.db"``, ``"file:notes"``, ``"memory:"``,
    ``"defaults:org.example.notes"``); a path (a suffix .db, .sqlite or .sqlite3 means SQLite in one file,
    any other a directory of JSON files; ``~`` is expanded); or an adapter. A ``Path`` is a path.

    ``durability``: what a save survives unless it says otherwise; None: the strongest the place promises.
    ``cache``: how much is kept in memory (16 MiB, written through; leave it); None: nothing. With
    ``CachePolicy.write_back(...)`` a save returns once it is in memory, unless it asks for more.
    ``on_corruption``: what happens to damaged records; ``"repair"``: and to a store that cannot be opened.
    ``secure``: a confidential adapter for secrets, never cached, or its address; ``"keychain"``: the
    system's. ``keys``: who gives the key that all is encrypted under; ``"keychain"``: a key of its own there.
    ``guard``: asks the person first. ``migrations``: the version that this program knows, and the steps to
    it. ``snapshots=Every(...)``: copies beside the store. ``retention={pattern: timedelta}``: how long keys
    stay. ``audit=AuditLog()``: every commit says who changed what. ``sync=Sync(...)``: the same on other
    devices. ``mode="inspect"`` changes nothing; ``"encrypt"``: see ``encrypt``. ``exclusive``: no other
    process. Raises ``ConfigurationError`` for an invalid address; opening raises ``ForeignStoreError`` for a
    place that holds something else, ``StoreNotFoundError`` in inspect mode.
    """
    _refuse_wrong_options(mode, cache, secure, snapshots, keys, audit, sync)
    inspect, keys = mode == "inspect", keychain_key(where) if keys == "keychain" else keys
    adapter = _plain_stack(where, cache, keys, guard, audit, mode, exclusive, None if inspect else sync)
    return AdapterBasedPersistence(
        adapter,
        durability=_durability(durability, cache, inspect),
        on_corruption=Corruption.RAISE if inspect else on_corruption,
        secure=None if secure is None else _secure_stack(secure, where, inspect, guard),
        migrations=migrations,
        retention=retention,
        upkeep=None if inspect else chores_of(snapshots),
        sync=_synchroniser(None if inspect else sync, adapter, migrations),
    )


def _plain_stack(
    where: Where,
    cache: CachePolicy | None,
    keys: KeyProvider | None,
    guard: Gate | None,
    audit: AuditLog | None,
    mode: str,
    exclusive: bool,
    sync: Sync | None,
) -> StorageAdapter:
    inspect, plain = mode == "inspect", mode == "encrypt"
    adapter = adapter_for(where, inspect=inspect, exclusive=exclusive)
    tracked = None if sync is None else sync.wants()
    return stack(
        adapter,
        cache=cache,
        inspect=inspect,
        keys=keys,
        guard=guard,
        plain=plain,
        audit=audit,
        tracked=tracked,
    )


def _synchroniser(
    sync: Sync | None, adapter: StorageAdapter, migrations: Migrations | None
) -> Synchroniser | None:
    if sync is None:
        return None
    from ..layers.tracked import Tracked
    from ..sync.synchroniser import Synchroniser  # not every program has a second device

    tracked = adapter.find(Tracked)
    assert tracked is not None
    return Synchroniser(sync, tracked, _place(sync, tracked), migrations)


def _place(sync: Sync, tracked: Tracked) -> StorageAdapter:
    """Where the devices meet."""
    from ..sync._options import Opened

    if isinstance(sync.remote, Opened):
        from ._beside import beside  # not every program has a second store

        return beside(sync, sync.remote, tracked)
    if sync.remote is None:
        from ._beside import Inside

        place: StorageAdapter = Inside(tracked.inner)
    else:
        place = adapter_for(sync.remote)
    if sync.remote_keys is not None:
        place = encrypted(place, sync.remote_keys)
    if sync.hide_keys:
        from ..sync._hidden import Hidden  # it needs the extra

        place = Hidden(place)
    return place


def _durability(
    asked: Durability | str | None, cache: CachePolicy | None, inspect: bool
) -> Durability | str | None:
    is_write_back = cache is not None and cache.interval is not None and not inspect
    return Durability.MEMORY if asked is None and is_write_back else asked  # what such a cache is for


def _secure_stack(
    secure: StorageAdapter | str, where: Where, inspect: bool, guard: Gate | None
) -> StorageAdapter:
    if secure == "keychain":
        secure = "keychain:" + _application(where, "secure")
    return stack(adapter_for(secure, inspect=inspect), cache=None, inspect=inspect, guard=guard)


def _refuse_wrong_options(
    mode: object,
    cache: object,
    secure: object,
    snapshots: object,
    keys: object,
    audit: object,
    sync: object,
) -> None:
    if sync is not None:
        from ..sync._options import Sync  # not every program has a second device

        if not isinstance(sync, Sync):
            raise ConfigurationError(
                f"sync is a Sync or None, not {shown(sync)}", hint="sync=Sync('file:/mnt/shared/notes')"
            )
    if mode == "encrypt" and keys is None:
        raise ConfigurationError("mode='encrypt' needs keys=", hint="keys='keychain', or a KeyProvider")
    if mode not in ("normal", "inspect", "encrypt"):
        raise ConfigurationError(
            f"mode is 'normal', 'inspect' or 'encrypt', not {shown(mode)}",
            hint="leave mode out to read and write",
        )
    if not isinstance(cache, (CachePolicy, NoneType)):
        raise ConfigurationError(
            f"cache is a CachePolicy or None, not {shown(cache)}",
            hint="leave cache out for the usual one; CachePolicy(max_bytes=...) makes another",
        )
    addressed = isinstance(secure, str) and (secure == "keychain" or ":" in secure)
    if not addressed and not isinstance(secure, (StorageAdapter, NoneType)):
        raise ConfigurationError(
            f"secure is a confidential adapter or its address, not {shown(secure)}",
            hint="write secure='keychain', or pass an adapter whose traits say confidential; it takes no "
            "password",
        )
    if not isinstance(snapshots, (Every, NoneType)):
        raise ConfigurationError(
            f"snapshots is an Every or None, not {shown(snapshots)}", hint="snapshots=Every(hours=24, keep=7)"
        )
    if audit is not None:
        from ._auditing import checked_audit  # not every store is audited

        checked_audit(audit, writes_back=isinstance(cache, CachePolicy) and cache.interval is not None)


def keychain_key(where: Where) -> KeyProvider:
    """What ``keys="keychain"`` means. Raises ``ConfigurationError`` for what has no application's name."""
    from ..security.keys import KeychainKey  # not every program encrypts

    return KeychainKey(_application(where, "keys"))


def _application(where: Where, option: str) -> str:
    """The application's name, which a keychain shows to people."""
    if isinstance(where, str):
        kind, name = address_of(where)
        if kind == "application":
            return name
    way = "secure=KeychainAdapter('name')" if option == "secure" else "keys=KeychainKey('name')"
    raise ConfigurationError(
        f"{option}='keychain' needs the name of an application, and the store is opened by another address",
        hint=f"name what the keychain shall show: {way}",
    )
