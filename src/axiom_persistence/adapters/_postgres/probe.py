"""What a server promises, and what it is refused for: asked at every connection, since settings change."""

from __future__ import annotations

from typing import Any, Final

import asyncpg

from ...errors import AccessDeniedError, ConfigurationError
from ...storage.adapter import Durability
from .place import Place

__all__ = ["probe", "refuse_read_only"]

_NAMES: Final = (
    *("fsync", "full_page_writes", "synchronous_commit", "synchronous_standby_names"),
    *("server_encoding", "server_version_num"),
)
_ASK: Final = (
    "SELECT name, setting FROM pg_settings WHERE name = ANY($1::text[]) "
    "UNION ALL SELECT 'standby', CASE WHEN pg_is_in_recovery() THEN 'on' ELSE 'off' END "
    "UNION ALL SELECT 'read_only', current_setting('transaction_read_only')"
)
_OLDEST: Final = 130000
"""The first version with the numbers of transactions that the log needs."""


async def probe(raw: asyncpg.Connection[Any], place: Place, adapter: object) -> dict[str, str]:
    """The settings that matter. Raises ``ConfigurationError`` for those under which no promise holds."""
    settings = {row["name"]: row["setting"] for row in await raw.fetch(_ASK, _NAMES)}
    if int(settings["server_version_num"]) < _OLDEST:
        raise ConfigurationError(
            "the server is older than PostgreSQL 13", adapter=adapter, hint="use a newer one"
        )
    if settings["server_encoding"] != "UTF8":
        raise ConfigurationError(
            f"the database is encoded in {settings['server_encoding']}, which cannot hold every key",
            adapter=adapter,
            hint="create one with ENCODING 'UTF8'",
        )
    if place.durability is Durability.POWER_LOSS:
        for name in ("fsync", "full_page_writes"):
            if settings[name] == "off":
                raise ConfigurationError(
                    f"the server runs with {name}=off: what it acknowledges may be lost with its power",
                    adapter=adapter,
                    hint=f"set {name}=on at the server, or write durability=process_exit into the address",
                )
    await _synchronous(raw, place, adapter, settings)
    return settings


def refuse_read_only(settings: dict[str, str], adapter: object) -> None:
    """Raise ``AccessDeniedError`` for a server that takes no writes."""
    if settings["standby"] == "on" or settings["read_only"] == "on":
        what = "is a standby" if settings["standby"] == "on" else "is read-only for this user"
        raise AccessDeniedError(
            f"the server {what}, and takes no writes",
            adapter=adapter,
            hint="name the primary in the address, or open with mode='inspect'",
        )


async def _synchronous(
    raw: asyncpg.Connection[Any], place: Place, adapter: object, settings: dict[str, str]
) -> None:
    """See that a commit is acknowledged once it is on the server's disk, where that is promised."""
    wanted = "on" if place.durability is Durability.POWER_LOSS else "off"
    if (settings["synchronous_commit"] == "off") == (wanted == "off"):
        return
    if not place.pgbouncer:
        await raw.execute(f"SET synchronous_commit = {wanted}")
    elif wanted == "on":
        raise ConfigurationError(
            "the server runs with synchronous_commit=off, and behind pgbouncer no session can set it",
            adapter=adapter,
            hint="set it for the user (ALTER ROLE ... SET synchronous_commit = on), or write "
            "durability=process_exit into the address",
        )
