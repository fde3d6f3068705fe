"""What is true of every client: its phases, what a restore found, and who can be driven by a manager."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol, runtime_checkable

from ..errors import PersistenceError
from ..persistence.protocol import PersistenceCapability
from ..records.corruption import CorruptionReport

__all__ = ["ClientPhase", "Persistable", "RestoreReport"]


class ClientPhase(StrEnum):
    """Where a client is in its life."""

    CREATED = "created"  # holds defaults; what is assigned waits for the restore
    RESTORING = "restoring"
    READY = "ready"
    DEGRADED = "degraded"  # usable, but some stored value could not be read and is left as it is
    CLOSED = "closed"  # nothing can be assigned; it can be restored again


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreReport:
    """What a restore found, by the names of the fields."""

    restored: tuple[str, ...] = ()
    """They have the stored value now."""
    defaulted: tuple[str, ...] = ()
    """Nothing was stored, or what was is in quarantine."""
    kept: tuple[str, ...] = ()
    """Assigned before the restore was over: that value won, and is being saved."""
    migrated: tuple[str, ...] = ()
    """Restored from a record of another schema version."""
    unreadable: Mapping[str, PersistenceError] = field(default_factory=dict)
    """The stored value is too new, of another type, or locked. It is left alone until ``accept``.

    ``client.restore_report`` has what is so at that moment, whoever stored it and when.
    """
    damaged: tuple[CorruptionReport, ...] = ()
    """Records that failed their check, and what became of each."""


@runtime_checkable
class Persistable(Protocol):
    """Whatever keeps state in a persistence: a ``Client``, or a class written by hand.

    The four members are all that ``ClientManager`` needs.
    """

    @property
    def persisted_keys(self) -> Sequence[str]: ...
    @property
    def persistence(self) -> PersistenceCapability: ...
    async def persist_state(self) -> None: ...
    async def restore_state(self) -> object: ...
