"""The preferences of the system, as a place for small values that its own tools show and change."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator, Callable, Collection, Hashable, Mapping
from math import isfinite
from typing import Final, Literal, TypeVar

import msgspec

from ..errors import CapabilityUnavailableError, ConfigurationError, PersistenceError
from ..keys import check_stored_key, check_stored_keys
from ..platform.local import local_preferences, preference_kinds, preferences_file
from ..platform.preferences import Native, Preferences, Strange
from ..records.record import FIRST_SCHEMA, plain_value, seal_record
from ..runtime.threads import in_thread
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

__all__ = ["UserDefaultsAdapter"]

T = TypeVar("T")

MOST_BYTES: Final = 65_536
"""The largest record: a preference is small, and most systems write all of them at each change."""
_SUITE: Final = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
_RECORD: Final = b'{"axiom":'
"""What a record kept as text begins with, and no string that is kept as itself."""


class UserDefaultsAdapter(StorageAdapter):
    """Small values of one ``suite`` (``org.example.notes``) in the preferences of the system.

    ``backend``: ``"NSUserDefaults"`` on macOS, ``"registry"`` on Windows, ``"dconf"`` where a desktop offers
    it (extra ``preferences``), or ``"file"``, a JSON file below the user's configuration. None: what was
    chosen before; at first the system's own, and the file where it has none or ``AXIOM_PERSISTENCE_HOME`` is
    set. The choice is noted with the first save and never changes by itself.

    A value that is a string, a boolean or a number is kept as such a value, so that ``defaults read``,
    ``dconf read`` and regedit show it, and what they write is read. Everything else is kept as a record in
    text, or as bytes. So is what has an expiry or a schema other than "1.0". Not confidential.

    A record has at most 65,536 bytes. It promises ``process_exit``. Processes that use this library take
    turns, so ``expect`` holds between them, and not against other programs. Commits are atomic in dconf and
    in the file; in NSUserDefaults and the registry a crash may leave some of the keys of one commit.
    """

    def __init__(
        self, suite: str, *, backend: Literal["NSUserDefaults", "registry", "dconf", "file"] | None = None
    ) -> None:
        if not isinstance(suite, str) or not _SUITE.fullmatch(suite) or len(suite) > 200:
            raise ConfigurationError(
                "a suite of preferences is named by words of letters, digits, '-' and '_' with dots between",
                hint="for example UserDefaultsAdapter('org.example.notes')",
            )
        if backend is not None and backend not in preference_kinds():
            raise ConfigurationError(
                f"this system keeps preferences in one of {', '.join(map(repr, preference_kinds()))}",
                hint="leave backend out for the usual one",
            )
        self.suite: str = suite
        self._asked = backend
        self._file = preferences_file(suite)
        self._preferences: Preferences | None = None
        self._turn = Turn()
        self._pid = 0
        self._traits = Traits(
            atomic=backend == "file" or "dconf" in preference_kinds(),
            durability=Durability.PROCESS_EXIT,
            shared=True,
            max_value_bytes=MOST_BYTES,
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.suite!r})"

    @property
    def location(self) -> str:
        return f"the preferences of {self.suite!r}"

    @property
    def backend(self) -> str | None:
        """Where the preferences are kept; None while it is not open."""
        return None if self._preferences is None else self._preferences.kind

    @property
    def traits(self) -> Traits:
        return self._traits

    async def aopen(self) -> None:
        async with self._turn:
            if self._preferences is None:
                self._preferences = await self._done(self._local)
                self._pid = os.getpid()

    def _local(self) -> Preferences:
        return local_preferences(self.suite, self._asked, self._file)

    async def aclose(self) -> None:
        async with self._turn:
            preferences, self._preferences = self._preferences, None
            if preferences is not None and self._pid == os.getpid():
                preferences.close()

    async def fetch(self, keys: Collection[str]) -> dict[str, Stored]:
        check_stored_keys(keys, self._traits.max_key_bytes)
        return self._fetched(keys)

    def _fetched(self, keys: Collection[str]) -> dict[str, Stored]:
        try:
            found = self._opened().read(keys)
        except PersistenceError as error:
            raise error.naming(adapter=self)  # noqa: B904 - the same error, named
        return {key: _stored(key, value) for key, value in found.items()}

    async def commit(
        self,
        changes: Changes,
        *,
        expect: Expect | None = None,
        durability: Durability | None = None,  # noqa: ARG002 - there is one class
    ) -> Mapping[str, str]:
        check_changes(changes, self._traits, self)
        for key in expect or ():
            check_stored_key(key, self._traits.max_key_bytes)
        # A caller that is cancelled leaves it to its end: the thread would go on anyway.
        return await asyncio.shield(asyncio.ensure_future(self._commit(dict(changes), dict(expect or {}))))

    async def _commit(self, changes: Changes, expect: Expect) -> Mapping[str, str]:
        def work() -> None:
            preferences = self._opened()
            with self._file.locked():
                if changes:
                    self._note(preferences.kind)
                verify_expected(self._fetched(expect), expect, self)
                preferences.write(
                    {
                        k: None if data is None else _native(k, data, preferences)
                        for k, data in changes.items()
                    }
                )

        async with self._turn:
            self._opened()
            if changes or expect:
                await self._done(work)
        return {key: content_version(data) for key, data in changes.items() if data is not None}

    def _note(self, kind: str) -> None:
        """Note where the preferences are, or find that another process has chosen otherwise meanwhile."""
        recorded = self._file.recorded()
        if recorded is None:
            self._file.record(kind)
        elif recorded != kind:
            raise ConfigurationError(
                f"another process has begun to keep these preferences in {recorded!r}, not {kind!r}",
                hint="open them again",
            )

    async def keys(
        self, prefix: str = "", *, after: str | None = None, limit: int | None = None, reverse: bool = False
    ) -> AsyncIterator[str]:
        listing = Listing(prefix, after, limit, reverse)
        for key in listing.of(sorted(self._all())):
            yield key

    async def check(self) -> list[str]:
        return faults_in({key: _stored(key, value) for key, value in self._all().items()})

    def change_mark(self) -> Hashable | None:
        return None if self._preferences is None else self._preferences.mark()

    def _all(self) -> Mapping[str, Native | Strange]:
        try:
            return self._opened().read(None)
        except PersistenceError as error:
            raise error.naming(adapter=self)  # noqa: B904 - the same error, named

    def _opened(self) -> Preferences:
        if self._preferences is None or self._pid != os.getpid():
            forked = self._preferences is not None
            raise CapabilityUnavailableError(
                "this process was forked from the one that opened the preferences"
                if forked
                else "the preferences are not open",
                adapter=self,
                hint="make an adapter of its own here" if forked else "open them first, in `async with`",
            )
        return self._preferences

    async def _done(self, work: Callable[[], T]) -> T:
        try:
            return await in_thread(work)
        except PersistenceError as error:
            raise error.naming(adapter=self)  # noqa: B904 - the same error, named


def _native(key: str, data: bytes, preferences: Preferences) -> Native:
    """The plainest form of a record that gives back exactly its bytes."""
    forms: list[Native] = [data]
    if data.startswith(_RECORD):
        try:
            forms.insert(0, data.decode())
        except UnicodeDecodeError:
            pass  # damaged, and kept as it is
        value = plain_value(key, data, FIRST_SCHEMA)
        if value is not None:
            plain = msgspec.json.decode(value)
            if isinstance(plain, (str, bool, int, float)):
                forms.insert(0, plain)
    return next(form for form in forms if preferences.takes(form) and _record(key, form) == data)


def _record(key: str, value: Native) -> bytes:
    """The record that ``value`` stands for. Raises ``ValueError`` where JSON has no such value."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, float) and not isfinite(value):
        raise ValueError("it is no finite number")
    data = value.encode() if isinstance(value, str) else b""
    if data.startswith(_RECORD):
        return data
    return seal_record(key, msgspec.json.encode(value), FIRST_SCHEMA)


def _stored(key: str, value: Native | Strange) -> Stored:
    if isinstance(value, Strange):
        why = f"another program wrote it with the type {value.kind!r}; strings, booleans, numbers are read"
        return Stored(value.data, content_version(value.data), why)
    try:
        data = _record(key, value)
    except (ValueError, OverflowError):  # no finite number, one of too many digits, or half a character
        data = repr(value).encode()
        return Stored(data, content_version(data), "another program wrote a value that JSON cannot say")
    return Stored(data, content_version(data))
