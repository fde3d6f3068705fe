"""The verbs that keep copies of a whole store, and put one back."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import TYPE_CHECKING

from ..errors import ConfigurationError
from ..store._recovery import Older, Whole
from ..store.store import Store
from ._archives import Archives

if TYPE_CHECKING:
    from ..jobs._schedule import Keep
    from ..jobs._snapshots import Snapshot
    from ..jobs.snapshot import RestoreReport
    from ..jobs.sweep import SweepReport
    from ..jobs.walk import OnProgress

__all__ = ["Snapshots", "look_in_snapshots"]


def look_in_snapshots(store: Store) -> None:
    """Have the store take what is damaged, and has no whole generation, from the snapshots beside it."""

    async def older(key: str, whole: Whole) -> Older | None:
        from ..jobs._snapshots import last_good  # only damage needs it

        return await last_good(store, key, whole)

    store.recovery.older = older


class Snapshots(Archives):
    """Snapshots, and what is done with them."""

    async def snapshot(
        self,
        where: str | os.PathLike[str] | None = None,
        *,
        keep: Keep | None = None,
        dry_run: bool = False,
        progress: OnProgress | None = None,
    ) -> Snapshot:
        """Copy the whole store, as it is at one moment, while it is in use; returns when that is on the disk.

        ``where``: a directory; None: beside the store, its name with ``.snapshots`` behind. ``keep``: so many
        snapshots are left there, this one among them, or, as a ``timedelta``, those that are not older.
        ``dry_run``: only say where it would be, and which would be ``removed``. ``progress`` is told of pages
        or files. The confidential store beside this one is not in it: ``persistence.secure.snapshot()``.

        Raises ``ConfigurationError`` where the adapter cannot be read as it is at one moment.
        """
        from ..jobs.snapshot import take

        return await take(self._whole("snapshot"), where, keep, dry_run=dry_run, progress=progress)

    async def snapshots(self, where: str | os.PathLike[str] | None = None) -> list[Snapshot]:
        """The snapshots in ``where`` (None: beside the store), the oldest first."""
        from ..jobs.snapshot import snapshots

        return await snapshots(self._store, where)

    async def restore(
        self,
        snapshot: Snapshot | str | os.PathLike[str],
        *,
        dry_run: bool = False,
        progress: OnProgress | None = None,
    ) -> RestoreReport:
        """Make the store what ``snapshot`` is: all of it, in one commit, or nothing.

        ``snapshot``: one of ``snapshots()``, its name, or a path. The store as it is becomes a snapshot of
        its own first, ``report.before``: restore that, and the restore is taken back. Other processes see
        the restore as they see any commit. Clients take the restored values when they are restored anew.
        What lies in quarantine stays. Takes as much memory as what has to change.

        Raises ``ConfigurationError`` for a snapshot of another store, ``StoreNotFoundError`` where there is
        none, and ``CorruptedDataError`` for a damaged one; nothing is changed then.
        """
        from ..jobs.snapshot import restore

        return await restore(self._whole("restore"), snapshot, dry_run=dry_run, progress=progress)

    async def sweep(
        self,
        *,
        quarantine: timedelta | None = None,
        previous: timedelta | None = None,
        dry_run: bool = False,
        progress: OnProgress | None = None,
    ) -> SweepReport:
        """Remove the records whose time is over, and what was kept for long, from the medium.

        An expired record reads as missing at once; a store that is open removes it by itself within minutes.
        ``quarantine`` and ``previous``: how long damaged bytes, and the generation before a value, are kept;
        None: 90 days. SQLite's log is cut then, and room that is free goes back to the file system where that
        is worth it. In a namespace only its own records are removed. ``dry_run``: only count expired records
        and damaged bytes.
        """
        from ..jobs.sweep import KEPT_FOR, sweep

        return await sweep(
            self._store,
            prefix=self._prefix,
            quarantine=KEPT_FOR if quarantine is None else quarantine,
            previous=KEPT_FOR if previous is None else previous,
            dry_run=dry_run,
            progress=progress,
        )

    def _whole(self, verb: str) -> Store:
        store = self._store
        if self._prefix:
            raise ConfigurationError(
                f"{verb} is about a whole store, and this is a namespace of one",
                adapter=store.adapter,
                hint="call it on the persistence that was opened; export_to takes a namespace alone",
            )
        return store
