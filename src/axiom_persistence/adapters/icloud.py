"""Apple's key-value store in iCloud, as a place where the devices of one person meet."""

from __future__ import annotations

import hashlib
import re
import time
import zlib
from collections import Counter
from collections.abc import AsyncIterator, Collection, Mapping
from typing import Final

from ..errors import (
    CapabilityUnavailableError,
    PersistenceError,
    StorageFullError,
    StorageUnavailableError,
)
from ..keys import INTERNAL, check_stored_key, check_stored_keys
from ..platform.local import local_ubiquitous
from ..platform.preferences import escaped, plain
from ..platform.ubiquitous import MOST_BYTES, MOST_KEYS, MOST_NAME_BYTES, Foreign, Reason, Ubiquitous
from ..runtime.turn import Turn
from ..storage.adapter import (
    Changes,
    Durability,
    Expect,
    StorageAdapter,
    Stored,
    Traits,
    check_changes,
    verify_expected,
)
from ..storage.basic import content_version, faults_in
from ..storage.listing import Listing
from ..storage.takers import kind_of, takers

__all__ = ["ICloudKeyValueAdapter"]

MOST_RECORDS: Final = 1000
"""Keys of users and of the application itself. The other 24 are for the library's own."""
MOST_VALUE: Final = MOST_BYTES - 4096
"""A value, so that there is room for its key beside it."""

# How a record is kept: under its key, or a hash of a long one, which then stands in front of the value.
_SHORT: Final = "axiom/"
_HASHED: Final = "axiom#"
_UNSAFE: Final = re.compile(rb"[^ -~]|%")
_INTERNAL: Final = _SHORT + escaped(INTERNAL, _UNSAFE)
_RAW: Final = b"r"
_DEFLATED: Final = b"z"
_WORTH_IT: Final = 128
"""Bytes: what is smaller is not deflated."""


class ICloudKeyValueAdapter(StorageAdapter):
    """The key-value store of this program in iCloud (macOS, extra ``icloud``): a place for ``sync=``.

    ``store``: another one than that of macOS: a device of ``testing.ICloudSimulator``. ``patience``: for how
    many seconds after the opening an empty store is taken for one whose first download has not come;
    until then nothing is read or written, and every call raises ``StorageUnavailableError``.

    A key is one of Apple's, so at most 1,000 fit, with 1 MiB of values together, deflated. What does not fit
    is refused with ``StorageFullError`` before anything is written. What the application keeps there itself
    counts, and is left alone. It promises ``memory``: Apple says neither when a value is on the disk nor
    when it is in iCloud. ``expect`` and the order of commits hold on this device only. Of two devices that
    write one key the later one replaces what the other wrote, unasked: keep a store elsewhere, and let it
    meet the others here (``Sync("icloud:")``). Not confidential.

    Only an application bundle that is signed with Apple's entitlement may use it; ``AccessDeniedError`` for
    all others. Written against Apple's documentation, and not run on macOS.
    """

    def __init__(self, store: Ubiquitous | None = None, *, patience: float = 30.0) -> None:
        self._store = store
        self._patience = patience
        self._is_open = False
        self._is_downloaded = False
        self._is_refused = False
        self._since = 0.0
        self._counts: Counter[Reason] = Counter()
        self._turn = Turn()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({'' if self._store is None else repr(self._store)})"

    @property
    def location(self) -> str:
        return "the key-value store of this program in iCloud"

    @property
    def traits(self) -> Traits:
        return Traits(
            atomic=False,
            durability=Durability.MEMORY,
            shared=False,
            replicated=True,
            max_value_bytes=MOST_VALUE,
        )

    async def aopen(self) -> None:
        async with self._turn:
            if not self._is_open:
                try:
                    self._store = local_ubiquitous() if self._store is None else self._store
                    self._store.open()
                except PersistenceError as error:
                    raise error.naming(adapter=self)  # noqa: B904 - the same error, named
                self._is_open, self._since = True, time.monotonic()

    async def aclose(self) -> None:
        async with self._turn:
            if self._is_open and self._store is not None:
                self._is_open = False
                self._store.close()

    # -- reading -----------------------------------------------------------------------------------

    async def fetch(self, keys: Collection[str]) -> dict[str, Stored]:
        check_stored_keys(keys, self.traits.max_key_bytes)
        return self._fetched(keys)

    def _fetched(self, keys: Collection[str]) -> dict[str, Stored]:
        names = {_name(key): key for key in keys}
        found = self._opened().read(names.keys())
        return {names[name]: _stored(names[name], value) for name, value in found.items()}

    async def keys(
        self, prefix: str = "", *, after: str | None = None, limit: int | None = None, reverse: bool = False
    ) -> AsyncIterator[str]:
        listing = Listing(prefix, after, limit, reverse)
        found = (_key(name, value) for name, value in self._opened().read(None).items())
        for key in listing.of(sorted(key for key in found if key is not None)):
            yield key

    async def check(self) -> list[str]:
        everything = self._opened().read(None)
        keys = ((_key(name, value), value) for name, value in everything.items())
        faults = faults_in({key: _stored(key, value) for key, value in keys if key is not None})
        if self._is_refused:
            faults.append(f"iCloud has refused what is too much: {_takers(everything)}")
            # Nobody tells that it was taken after all: below the limit it is told once.
            self._is_refused = _bytes(everything) > MOST_BYTES
        return faults

    # -- writing -----------------------------------------------------------------------------------

    async def commit(
        self,
        changes: Changes,
        *,
        expect: Expect | None = None,
        durability: Durability | None = None,  # noqa: ARG002 - there is one class
    ) -> Mapping[str, str]:
        check_changes(changes, self.traits, self)
        for key in expect or ():
            check_stored_key(key, self.traits.max_key_bytes)
        async with self._turn:
            store = self._opened()
            if expect:
                verify_expected(self._fetched(expect), expect, self)
            values = {_name(key): _value(key, data) for key, data in changes.items()}
            self._check_room(store, values)
            if values:
                try:
                    store.write(values)
                except PersistenceError as error:
                    raise error.naming(adapter=self)  # noqa: B904 - the same error, named
                self._check_taken(store, values)
        return {key: content_version(data) for key, data in changes.items() if data is not None}

    def _check_room(self, store: Ubiquitous, values: Mapping[str, bytes | None]) -> None:
        """Raise ``StorageFullError`` unless there is room for all of ``values``, or they make some."""
        before = store.read(None)
        after = {name: value for name, value in {**before, **values}.items() if value is not None}
        told = None
        for most, measure, what in (
            (MOST_RECORDS, _records, "keys"),
            (MOST_KEYS, len, "keys with the library's own"),
            (MOST_BYTES, _bytes, "bytes of values"),
        ):
            size = measure(after)
            if told is None and size > most and size > measure(before):
                told = f"that would be {size:,} {what} in iCloud, and {most:,} fit"
        if told is not None:
            first = next(name for name, value in values.items() if value is not None)
            raise StorageFullError(
                f"{told}; most is taken by {_takers(after)}",
                key=_key(first, after[first]),
                adapter=self,
                hint="delete some of that; nothing was changed",
            )
        self._is_refused = self._is_refused and _bytes(after) > MOST_BYTES

    def _check_taken(self, store: Ubiquitous, values: Mapping[str, bytes | None]) -> None:
        """Apple says nothing of what it does not take: the value from before stays."""
        now = store.read(values.keys())
        for name, value in values.items():
            if now.get(name) != value:
                raise StorageFullError(
                    "iCloud did not take the value; others of the same commit may be there",
                    key=_key(name, now.get(name)),
                    adapter=self,
                    hint="delete something else there",
                )

    # -- what the system tells -----------------------------------------------------------------------

    def stats(self) -> dict[str, int]:
        """How often iCloud has told of ``server_changes``, ``initial_changes``, ``quota_changes`` (something
        was refused) and ``account_changes``.
        """
        if self._is_open:
            self._listen()
        return {f"{reason.name.lower()}_changes": self._counts[reason] for reason in Reason}

    def _listen(self) -> Ubiquitous:
        store = self._store
        assert store is not None
        told = store.told()
        self._counts.update(told)
        self._is_refused |= Reason.QUOTA in told
        if not self._is_downloaded:
            waited = time.monotonic() - self._since >= self._patience
            self._is_downloaded = bool(waited or set(told) - {Reason.QUOTA} or store.read(None))
        return store

    def _opened(self) -> Ubiquitous:
        if not self._is_open:
            raise CapabilityUnavailableError(
                "the store in iCloud is not open", adapter=self, hint="open it first, in `async with`"
            )
        store = self._listen()
        if not self._is_downloaded:
            raise StorageUnavailableError(
                "what is in iCloud has not been downloaded yet, or there is nothing",
                adapter=self,
                indeterminate=False,
                hint=f"after {self._patience:g} seconds it is taken for empty",
            )
        return store


# -- names and values ------------------------------------------------------------------------------


def _name(key: str) -> str:
    name = _SHORT + escaped(key, _UNSAFE)
    if len(name) <= MOST_NAME_BYTES:
        return name
    return _HASHED + hashlib.sha256(key.encode()).hexdigest()[:48]


def _key(name: str, value: bytes | Foreign | None) -> str | None:
    """The key of a record; None: it is none of ours."""
    try:
        if name.startswith(_SHORT):
            return plain(name.removeprefix(_SHORT))
        if name.startswith(_HASHED) and isinstance(value, bytes):
            return value[1 : value.index(b"\0")].decode()
    except ValueError:
        pass  # the application's own, which begins like ours
    return None


def _value(key: str, data: bytes | None) -> bytes | None:
    if data is None:
        return None
    before = key.encode() + b"\0" if _name(key).startswith(_HASHED) else b""
    packed = data if len(data) < _WORTH_IT else zlib.compress(data)
    return _DEFLATED + before + packed if len(packed) < len(data) else _RAW + before + data


def _stored(key: str, value: bytes | Foreign) -> Stored:
    damage = None
    data = value[1:] if isinstance(value, bytes) else b""
    if _name(key).startswith(_HASHED):
        data = data.partition(b"\0")[2]
    if isinstance(value, Foreign) or value[:1] not in (_RAW, _DEFLATED):
        damage = "something else than a record of this library is in its place"
    elif value[:1] == _DEFLATED:
        try:
            data = zlib.decompress(data)
        except zlib.error:
            damage = "it cannot be inflated"
    return Stored(data, content_version(data), damage)


# -- room --------------------------------------------------------------------------------------------

Values = Mapping[str, bytes | Foreign]


def _size(value: bytes | Foreign) -> int:
    return value.size if isinstance(value, Foreign) else len(value)


def _bytes(values: Values) -> int:
    return sum(map(_size, values.values()))


def _records(values: Values) -> int:
    return sum(not _is_internal(name, value) for name, value in values.items())


def _is_internal(name: str, value: bytes | Foreign) -> bool:
    hashed = name.startswith(_HASHED) and isinstance(value, bytes) and value[1:2] == INTERNAL.encode()
    return hashed or name.startswith(_INTERNAL)


def _takers(values: Values) -> str:
    """What takes the most, by the first part of its keys, for a message."""
    found = ((_kind(name, value), _size(value)) for name, value in values.items())
    return takers(found, by_number=_bytes(values) <= MOST_BYTES)


def _kind(name: str, value: bytes | Foreign) -> str:
    key = _key(name, value)
    if key is None:
        return "the application itself"
    return "the library's own records" if key.startswith(INTERNAL) else kind_of(key)
