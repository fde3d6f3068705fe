"""What a store is asked for, checked: durability, keys, times."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Final, TypedDict, Unpack

from ..errors import ConfigurationError, shown
from ..keys import MAX_KEY_BYTES, check_key, key_text
from ..records.corruption import Corruption, OnCorruption
from ..records.migrations import Migrations
from ..records.record import FIRST_SCHEMA, Record
from ..storage.adapter import Durability, StorageAdapter

if TYPE_CHECKING:
    from ._retention import Retention

__all__ = ["Asked", "Options", "Ttl", "wall_clock"]

Ttl = timedelta | float
"""How long a value stays: a ``timedelta``, or a number of seconds."""

_TTL_MAX_SECONDS: Final = 10_000 * 366 * 86_400


def wall_clock() -> float:
    """Seconds since 1970 UTC. Looked up at each call: a test that moves it moves that of open stores, too."""
    return time.time()


class Asked(TypedDict, total=False):
    """What a store may be asked for when it is made."""

    durability: Durability | str | None
    on_corruption: OnCorruption
    schema: str
    """That of a program without migrations."""
    migrations: Migrations | None
    retention: Mapping[str, timedelta] | None
    """The longest that records stay, by the pattern of their keys."""
    clock: Callable[[], float]
    """Seconds since 1970 UTC."""


class Options:
    """What holds for all records of one adapter: schema, clock, durability, the length of keys."""

    def __init__(self, adapter: StorageAdapter, **asked: Unpack[Asked]) -> None:
        self.adapter = adapter
        self.clock: Callable[[], float] = asked.get("clock", lambda: wall_clock())
        self.on_corruption: OnCorruption = asked.get("on_corruption", Corruption.RECOVER)
        self.confidential: bool = adapter.traits.confidential
        self.weakest: Durability = min(Durability.PROCESS_EXIT, adapter.traits.durability)
        """What saves in the background ask for: to outlive the process, where the adapter can do that."""
        self.together: Durability | None = self.weakest if adapter.traits.ordered else None
        """What jobs that change many records ask for: a loss of power undoes commits, and halves none."""
        retention = asked.get("retention")
        self.retention: Retention | None = None
        """Which records do not stay for good although nobody said so. None: all do."""
        if retention is not None:
            from ._retention import Retention  # not every store has one

            self.retention = Retention(retention)
        migrations = asked.get("migrations")
        if migrations is None:
            migrations = Migrations(asked.get("schema", FIRST_SCHEMA))
        elif not isinstance(migrations, Migrations):
            raise ConfigurationError(
                f"migrations is a Migrations, not {shown(migrations)}",
                adapter=adapter,
                hint="migrations=Migrations(current='2.0'), with the steps declared on it",
            )
        migrations.begin()
        self.migrations: Migrations = migrations
        self.schema_of: Callable[[str], str] = lru_cache(maxsize=8192)(migrations.label)
        """The schema that this program gives to what it stores under a key."""
        self._promised: dict[str, Durability] = {}
        self.default_durability: Durability | None = self.durability(asked.get("durability"))
        """The class of a save that names none. None: the strongest that the adapter promises."""
        self._key_limit = min(MAX_KEY_BYTES, adapter.traits.max_key_bytes)
        self.check_plain: Callable[[str], str] = (
            check_key if self._key_limit == MAX_KEY_BYTES else self.check_key
        )
        """``check_key`` for what is known to be a str, without a prefix: a look-up, mostly."""

    def declare_client(self, name: str, schema: str | None) -> bool:
        """What a client type's class says of its schema; whether that is news.

        Raises ``ConfigurationError`` where the steps for this client type end elsewhere.
        """
        if not self.migrations.declare_client(name, schema):
            return False
        self.schema_of = lru_cache(maxsize=8192)(self.migrations.label)
        return True

    def durability(self, asked: Durability | str | None) -> Durability | None:
        """The class to commit with; refused here when the adapter cannot promise it."""
        if asked is None:
            return None
        try:
            if asked in self._promised:
                return self._promised[asked]
            durability = Durability(asked)
        except (ValueError, TypeError):
            names = ", ".join(repr(d.value) for d in Durability)
            raise ConfigurationError(
                f"durability is one of {names}, not {shown(asked)}",
                hint="leave durability out for the strongest that the place can promise",
            ) from None
        strongest = self.adapter.traits.durability
        if durability > strongest:
            raise ConfigurationError(
                f"durability {durability.value!r} was asked for; the strongest here is {strongest.value!r}",
                adapter=self.adapter,
                hint="leave durability out, or use an adapter that promises it (sqlite, file)",
            )
        self._promised[asked] = durability
        return durability

    def check_key(self, key: str, prefix: str = "") -> str:
        """``prefix + key``, if a user may use it."""
        name = key if type(key) is str else key_text(key)
        if prefix:
            check_key(name, self._key_limit)  # an empty key is none, whatever is before it
            name = prefix + name
        return check_key(name, self._key_limit)

    def expiry(self, ttl: Ttl | None) -> int | None:
        """When a value saved now with ``ttl`` stops being there, in milliseconds since 1970 UTC."""
        if ttl is None:
            return None
        if isinstance(ttl, timedelta):
            seconds = ttl.total_seconds()
        else:
            seconds = ttl if isinstance(ttl, (int, float)) and not isinstance(ttl, bool) else 0.0
        if not 0 < seconds <= _TTL_MAX_SECONDS:
            raise ConfigurationError(
                "ttl is a timedelta or a number of seconds, above zero and below 10,000 years, not "
                f"{shown(ttl)}",
                hint="None keeps the value for good",
            )
        return max(int((self.clock() + seconds) * 1000), 1)

    def expired(self, record: Record) -> bool:
        return record.expires is not None and record.expires <= self.clock() * 1000
