"""What a server promises, and what it is refused for: asked at every connection, since settings change."""

from __future__ import annotations

from typing import Any, Final

from ...errors import (
    AccessDeniedError,
    ConfigurationError,
    ForeignStoreError,
    PersistenceError,
    SchemaTooNewError,
    StorageUnavailableError,
)
from ...storage.adapter import Durability
from .place import Place
from .script import FORMAT

__all__ = ["ASK", "check_mark", "refuse_at_opening", "replicas", "settings_of"]

ASK: Final = ((b"INFO",), (b"CONFIG", b"GET", b"*appendfsync*"))
"""What is asked; managed servers often refuse the second."""
_OLDEST: Final = 6


def settings_of(info: bytes, config: Any, place: Place, adapter: object) -> dict[str, str]:
    """The settings that matter. Raises ``ConfigurationError`` for those under which no promise holds."""
    lines = (line.partition(":") for line in info.decode(errors="replace").splitlines())
    settings = {name: value for name, colon, value in lines if colon}
    if not isinstance(config, PersistenceError):
        # Pairs, one after the other.
        settings |= {config[n].decode(): config[n + 1].decode() for n in range(0, len(config), 2)}
    if int(settings["redis_version"].partition(".")[0]) < _OLDEST:
        raise ConfigurationError("the server is older than Redis 6", adapter=adapter, hint="use a newer one")
    policy = settings.get("maxmemory_policy", "noeviction")
    if settings.get("maxmemory", "0") != "0" and policy != "noeviction":
        raise ConfigurationError(
            f"the server throws records away when its memory is full: its maxmemory-policy is {policy}",
            adapter=adapter,
            hint="set maxmemory-policy noeviction, or use a server that is no cache",
        )
    _durable(settings, place, adapter)
    return settings


def _durable(settings: dict[str, str], place: Place, adapter: object) -> None:
    """See that the server keeps what the address promises."""
    if place.durability is Durability.MEMORY:
        return
    if settings.get("aof_enabled") != "1":
        raise ConfigurationError(
            "the server runs with appendonly no: what it acknowledges is lost when it ends",
            adapter=adapter,
            hint="set appendonly yes and appendfsync always, or write durability=memory into the address",
        )
    if place.durability is Durability.PROCESS_EXIT:
        return
    if "appendfsync" not in settings:
        if place.is_named:
            return
        raise ConfigurationError(
            "the server does not tell when it writes to its disk (CONFIG GET is refused)",
            adapter=adapter,
            hint="write what its operator promises into the address: durability=power_loss or process_exit",
        )
    for name, wanted in (("appendfsync", "always"), ("no-appendfsync-on-rewrite", "no")):
        if settings[name] != wanted:
            raise ConfigurationError(
                f"the server runs with {name} {settings[name]}: what it acknowledges may be lost with its "
                "power",
                adapter=adapter,
                hint=f"set {name} {wanted}, or write durability=process_exit into the address",
            )


def replicas(settings: dict[str, str]) -> int:
    """How many follow the server."""
    return sum(name.startswith("slave") and "state=online" in value for name, value in settings.items())


def refuse_at_opening(settings: dict[str, str], place: Place, adapter: object) -> None:
    """Raise for a server that takes no writes of ours."""
    if settings["role"] != "master":
        raise AccessDeniedError(
            "the server is a replica, and takes no writes",
            adapter=adapter,
            hint="name the primary in the address, or open with mode='inspect'",
        )
    if replicas(settings) < place.replicas:
        raise StorageUnavailableError(
            f"the server has {replicas(settings)} replicas, and the address wants each commit on "
            f"{place.replicas}",
            adapter=adapter,
            hint="start them, or lower replicas= in the address",
            indeterminate=False,
        )


def check_mark(mark: bytes | None, adapter: object) -> bool:
    """Whether there is a store of ours. Raises for what is not ours, or is of a newer program."""
    if mark is None or mark == FORMAT:
        return mark is not None
    name, _, number = FORMAT.partition(b" ")
    if mark.startswith(name + b" "):
        raise SchemaTooNewError(
            f"the store is of format {mark.partition(b' ')[2].decode(errors='replace')!r}, and this program "
            f"knows {number.decode()!r}",
            adapter=adapter,
            hint="use a newer version of axiom-persistence",
        )
    raise ForeignStoreError(
        "there is something under the store's name which this library did not make",
        adapter=adapter,
        hint="name another one in the address: store=...",
    )
