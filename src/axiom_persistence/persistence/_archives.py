"""The verbs that copy records out of a store, and into it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import ConfigurationError, InsecureStorageError
from ..store.store import Store
from ._quarantine import Quarantine

if TYPE_CHECKING:
    from ..jobs._selection import Selection
    from ..jobs.export import Compression, ExportReport, Target
    from ..jobs.intake import Conflict, ImportReport, Place, Source
    from ..jobs.walk import OnProgress

__all__ = ["Archives"]


class Archives(Quarantine):
    """Export and import."""

    @property
    def _secure_store(self) -> Store | None:
        """The confidential store: this one, where it is confidential itself; else that beside it."""
        raise NotImplementedError

    async def export_to(
        self,
        target: Target,
        *,
        prefix: str = "",
        pattern: str | None = None,
        subject: str | None = None,
        compression: Compression | None = None,
        secure: bool = False,
        sealed: bool = False,
        times: bool = False,
        progress: OnProgress | None = None,
    ) -> ExportReport:
        """Write every record to an archive at ``target``: JSON Lines with sums, for any editor and ``jq``.

        ``target`` is a path, which is replaced when the archive is whole, or a binary file. ``prefix`` and
        ``pattern`` (as in ``fnmatch``) choose keys, ``subject`` what was saved about somebody.
        ``compression``: ``"deflate"`` makes a gzip file, ``"zstd"`` a smaller one, sooner. ``secure``: the
        records of the confidential store, too, in plain text. ``sealed``: what is about somebody stays sealed
        with their own key, so that only this store can read it, until they are erased. ``times``: also when
        each was saved, which ``import_from(conflict="newer")`` needs.

        The store may be in use: each record is as it was at some moment meanwhile. Memory is bounded. Broken
        off, the same call within an hour goes on where it was. Damaged records are left out and told in the
        report, which is then false. Raises ``InsecureStorageError`` for a confidential store without
        ``secure=True``, and ``StorageError`` when ``target`` cannot be written.
        """
        from ..jobs._selection import about_subject
        from ..jobs.export import export_to

        selections = self._selections(prefix, pattern, secure)
        if subject is not None:
            selections = [await about_subject(selection, subject) for selection in selections]
        if sealed:
            selections = [selection._replace(sealed=True) for selection in selections]
        return await export_to(target, selections, compression=compression, times=times, progress=progress)

    async def import_from(
        self,
        source: Source,
        *,
        conflict: Conflict = "skip",
        prefix: str = "",
        dry_run: bool = False,
        progress: OnProgress | None = None,
    ) -> ImportReport:
        """Bring the records of an archive, those whose keys begin with ``prefix``, into this store.

        ``conflict`` says what becomes of a key that has another value here: ``"skip"`` keeps it,
        ``"overwrite"`` replaces it, ``"newer"`` replaces it if the archive's was saved later, and ``"fail"``
        raises ``ConflictError`` before anything is changed. ``dry_run``: only tell what would be done.

        Values, expiry and schema come as they were. Memory is bounded. Broken off, the same call goes on:
        what is there already is found to be the same. Damaged lines are told in the report, with line and
        key, which is then false; all others are used. Secrets go to the confidential store, and nowhere
        else.
        """
        from ..jobs.intake import import_from

        return await import_from(
            source, self._intake_place(), conflict=conflict, prefix=prefix, dry_run=dry_run, progress=progress
        )

    def _selections(
        self, prefix: str = "", pattern: str | None = None, secure: bool = False
    ) -> list[Selection]:
        from ..jobs._selection import Selection

        store, beside = self._store, self._secure_store
        if store.confidential and not secure:
            raise InsecureStorageError(
                "an archive is plain text, and this store is confidential",
                adapter=store.adapter,
                hint="ask for it with secure=True, and keep the archive in a safe place",
            )
        if secure and beside is None:
            raise ConfigurationError(
                "secure=True was asked for, and there is no confidential store",
                adapter=store.adapter,
                hint="leave it out, or open the store with secure=",
            )
        chosen = [Selection(store, self._prefix, prefix, pattern, store.confidential)]
        if secure and beside is not None and beside is not store:
            chosen.append(Selection(beside, self._prefix, prefix, pattern, True))
        return chosen

    def _intake_place(self) -> Place:
        from ..jobs.intake import Place

        return Place(self._store, self._prefix, self._secure_store)
