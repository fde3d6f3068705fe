"""The verbs by which all that is about somebody is erased."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ..errors import ConfigurationError, shown
from ..store.store import Store
from ._snapshots import Snapshots

if TYPE_CHECKING:
    from ..jobs._receipt import Receipt
    from ..jobs.erase import ErasureReport, Target
    from ..jobs.walk import OnProgress
    from ._parts import Participant

__all__ = ["Privacy"]


class Privacy(Snapshots):
    """Erasure, and its receipt."""

    async def erase(
        self,
        subject: str | Participant | None = None,
        *,
        prefix: str | None = None,
        dry_run: bool = False,
        progress: OnProgress | None = None,
    ) -> ErasureReport:
        """Erase all that is about ``subject``, here and in the snapshots beside the store, for good.

        ``subject`` is what ``save(..., subject=...)`` was told, or a client, whose records it is; ``prefix``
        stands for every key that begins so. Gone when this returns: the records, what was there before them,
        what lies in quarantine and in caches of them; in an encrypted store, first of all, the subject's own
        key, and with it every copy of what was saved about them. What was erased does not come back by
        ``restore`` or ``import_from``. Who is saved again later is somebody new.

        ``dry_run``: only list the keys. Killed, the next call goes on; once done, it gives the same receipt.
        What overwriting cannot reach: see the page Privacy of the documentation. Raises
        ``StorageLockedError`` where another process goes on reading what is to be overwritten: nothing of
        it can be read any more, call it again.
        """
        from ..jobs.erase import erase

        return await erase(self._stores(), self._target(subject, prefix), dry_run=dry_run, progress=progress)

    async def verify_erasure(
        self,
        receipt: Receipt | str | os.PathLike[str] | bytes,
        subject: str | Participant | None = None,
        *,
        prefix: str | None = None,
    ) -> Receipt:
        """The receipt of an erasure, if this store agrees with it and has nothing of what was erased.

        ``receipt``: as ``erase`` gave it, its JSON, or the path of a file with that. ``subject``, ``prefix``:
        whom it must be about, where that is known. Raises ``ConfigurationError`` for what is no receipt, that
        of another store or about somebody else, and ``CorruptedDataError`` for one that was altered, and
        where what was erased is here again.
        """
        from ..jobs._receipt import Receipt, read_receipt, verify_receipt

        data = receipt.to_json() if isinstance(receipt, Receipt) else await read_receipt(receipt)
        asked = subject is not None or prefix is not None
        name = self._target(subject, prefix).name if asked else None
        return await verify_receipt(self._stores(), data, name)

    def _stores(self) -> list[Store]:
        second = self._second
        return [self._store] if second is None else [self._store, second]

    def _target(self, subject: str | Participant | None, prefix: str | None) -> Target:
        from ..jobs.erase import Target

        if (subject is None) is (prefix is None):
            raise ConfigurationError(
                "what is to be erased is a subject or a prefix, one of the two",
                hint="erase('alice') for what was saved with subject='alice'; erase(prefix='users/alice/')",
            )
        if prefix is not None:
            if not self._prefix + prefix:
                raise ConfigurationError(
                    "an empty prefix is every key there is",
                    hint="delete the store to erase all of it; name a prefix to erase a part",
                )
            return Target.keys(self._prefix + prefix)
        if isinstance(subject, str):
            self._whole("erase")
            if subject:
                return Target.subject(subject)
        elif subject is not None:
            from ._parts import in_order

            (client,) = in_order([subject])
            return Target.keys(client.name)
        raise ConfigurationError(
            f"nobody is meant by {shown(subject)}", hint="name the subject: erase('alice')"
        )
