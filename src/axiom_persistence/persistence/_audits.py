"""The verbs of the audit trail."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from typing import TYPE_CHECKING

from ..runtime.faces import walk
from ._privacy import Privacy

if TYPE_CHECKING:
    from ..jobs.audit import AuditReport, Operation
    from ..jobs.walk import OnProgress
    from ..security._seals import Checkpoint
    from ..security.audit import AuditEntry

__all__ = ["Audits"]


class Audits(Privacy):
    """Who changed what, and whether that was altered since."""

    @walk
    async def audit(
        self,
        *,
        since: datetime | float | None = None,
        until: datetime | float | None = None,
        actor: str | None = None,
        key: str | None = None,
        prefix: str = "",
        operation: Operation | None = None,
    ) -> AsyncIterator[AuditEntry]:
        """The entries of the audit trail: those that are sealed, then those that are not yet.

        ``since``, ``until``: a ``datetime``, or seconds since 1970 UTC; ``until`` itself is not among them.
        ``key``, ``prefix``: of keys as the whole store has them. ``operation``: ``"save"`` or ``"delete"``.
        Entries of one second, of several processes, may not be in the order of their times.

        Raises ``ConfigurationError`` for a store that keeps no trail, for a namespace, and for ``prefix``
        where the trail hashes keys.
        """
        from ..jobs.audit import entries

        found = entries(
            self._whole("audit"),
            since=since,
            until=until,
            actor=actor,
            key=key,
            prefix=prefix,
            operation=operation,
        )
        async for entry in found:
            yield entry

    async def verify_audit(
        self, *, checkpoint: Checkpoint | None = None, progress: OnProgress | None = None
    ) -> AuditReport:
        """Prove that no sealed entry was altered, removed, put elsewhere or added since.

        The end of the trail is compared with its anchor and with ``checkpoint``, the one that an earlier
        report has. Without either, a trail that was cut, or written anew as a whole, looks whole. Changes
        nothing. Raises ``ConfigurationError`` for a store that keeps no trail, and for a namespace.
        """
        from ..jobs.audit import verify_audit

        return await verify_audit(self._whole("verify_audit"), checkpoint=checkpoint, progress=progress)
