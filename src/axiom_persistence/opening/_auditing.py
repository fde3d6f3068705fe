"""The audit trail of a store that is opened: what is refused, and the chore that seals."""

from __future__ import annotations

from typing import Final

from ..errors import AccessDeniedError, ConfigurationError, shown
from ..runtime.upkeep import Chore
from ..storage.adapter import StorageAdapter

__all__ = ["SEAL_SECONDS", "checked_audit", "sealing"]

SEAL_SECONDS: Final = 1.0
"""Between two sealings: for so long an entry can be altered unnoticed."""


def checked_audit(audit: object, *, writes_back: bool) -> None:
    """Raise ``ConfigurationError`` unless ``audit`` can be asked for."""
    from ..security.audit import AuditLog

    if not isinstance(audit, AuditLog):
        raise ConfigurationError(
            f"audit is an AuditLog, not {shown(audit)}",
            hint="from axiom_persistence.security import AuditLog; audit=AuditLog()",
        )
    if writes_back:
        raise ConfigurationError(
            "a write-back cache makes one of several changes, and an audit trail has an entry for each",
            hint="leave cache out, or audit",
        )


def sealing(adapter: StorageAdapter) -> Chore:
    """What seals the entries in ``adapter``, a second after the first."""
    from ..layers.audited import Audited

    layer = adapter.find(Audited)

    async def seal() -> float | None:
        try:
            if layer is not None and layer.has_news:
                await layer.seal()
        except AccessDeniedError:
            return None  # a store that is only read is somebody else's to seal
        return SEAL_SECONDS

    return seal
