"""What an application says of its audit trail, and what it reads there."""

from __future__ import annotations

from datetime import timedelta
from types import NoneType
from typing import NamedTuple

from ..errors import ConfigurationError, shown
from ..runtime.acting import checked_words
from ..storage.adapter import StorageAdapter

__all__ = ["AuditEntry", "AuditLog", "KeptAudit"]


class AuditLog:
    """An audit trail: ``open_persistence("notes", audit=AuditLog())``. Every commit leaves an entry in it.

    ``actor``: who acts where no ``actor(...)`` block says otherwise. ``hash_keys``: entries name no key, only
    a hash of it, with a secret of the store; once asked for, it holds for good. ``keep``: how old an entry
    may become; None: they stay. ``anchor``: an adapter outside the store, ``KeychainAdapter("notes-audit")``
    or ``FileStorageAdapter("/elsewhere")``, where the state of the trail is written after each sealing, so
    that a trail that was cut or replaced is found. One anchor is for one store.

    Raises ``ConfigurationError`` for what is none of these.
    """

    def __init__(
        self,
        *,
        actor: str | None = None,
        hash_keys: bool = False,
        keep: timedelta | None = None,
        anchor: StorageAdapter | None = None,
    ) -> None:
        if keep is not None and not (isinstance(keep, timedelta) and keep > timedelta(0)):
            raise ConfigurationError(
                f"keep is a timedelta above zero, not {shown(keep)}",
                hint="leave keep out to keep all entries; keep=timedelta(days=365)",
            )
        if not isinstance(anchor, (StorageAdapter, NoneType)):
            raise ConfigurationError(
                f"anchor is an adapter, not {shown(anchor)}",
                hint="for example KeychainAdapter('notes-audit'), or adapter_for(address)",
            )
        self.actor: str | None = None if actor is None else checked_words(actor, "actor")
        self.hash_keys: bool = bool(hash_keys)
        self.keep: timedelta | None = keep
        self.anchor: StorageAdapter | None = anchor

    def __repr__(self) -> str:
        return f"AuditLog(actor={self.actor!r}, hash_keys={self.hash_keys}, keep={self.keep!r})"


class KeptAudit(AuditLog):
    """Keeps a trail on that is there, and begins none: for tools that open any store."""


class AuditEntry(NamedTuple):
    """One commit, as the audit trail has it. No values."""

    at: float
    """When, in seconds since 1970 UTC, by the clock of the process that made it."""
    actor: str | None
    """Who, as ``actor(...)`` or ``AuditLog(actor=...)`` said. None: nobody said."""
    operation: str
    """``save``, ``delete``, ``change`` (both in one commit), ``retention`` (old entries were dropped), or
    ``damaged`` (an entry was unreadable before it could be sealed)."""
    saved: tuple[str, ...]
    """The keys that were saved; hashes of them (``#`` and 32 hex digits) where the trail hashes keys."""
    deleted: tuple[str, ...]
    """The keys that were deleted, in the same way."""
    reason: str | None
    """Why, as ``actor(..., reason=...)``, a migration, a recovery or a job said."""
    writer: str
    """Which opening of the store made it: 8 hex digits."""
    number: int
    """The how manieth entry of that writer it is. A commit that failed leaves a gap."""
    batch: int | None
    """The number of the sealed batch that it is in. None: it is not sealed yet, and could be altered."""
