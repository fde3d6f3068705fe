"""The verbs that look at a store as a whole."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from os import PathLike, fspath
from os.path import isabs
from typing import TYPE_CHECKING, Any

from ..errors import CapabilityUnavailableError, ConfigurationError
from ..keys import Key
from ..store.describe import About, RecordInfo
from ..store.store import Store

if TYPE_CHECKING:
    from ..jobs.encrypt import EncryptionReport
    from ..jobs.legacy import ImportReport
    from ..jobs.migrate import MigrationProgress, MigrationReport
    from ..jobs.rollback import RollbackReport
    from ..jobs.rotate import RotationReport
    from ..jobs.verify import VerifyReport
    from ..jobs.walk import OnProgress
    from ..layers.encrypted import Encrypted
    from ..security.keys import KeyProvider

__all__ = ["Maintenance"]


class Maintenance:
    """What can be done with the store behind a persistence, beyond its values."""

    _prefix: str
    """What every key begins with in the store."""
    _open_store: Store | None
    """The store, while it is open."""

    @property
    def _second(self) -> Store | None:
        """The open store of secrets, where that is another one."""
        return None

    def _not_open(self) -> Store:
        """Raise ``CapabilityUnavailableError``: there is no open store to return."""
        raise CapabilityUnavailableError(
            "this persistence is not open, or closed again",
            hint="use it inside its `with` block",
        )

    @property
    def _store(self) -> Store:
        return self._open_store or self._not_open()

    def _name(self, key: str | Key[Any]) -> str:
        """The key as the store knows it. Raises ``InvalidKeyError``."""
        return self._store.check_key(key.name if isinstance(key, Key) else key, self._prefix)

    async def describe(self, key: str | Key[Any]) -> RecordInfo | None:
        """Size, schema, times and damage of a record, its value untouched. None: nothing is stored."""
        return await self._store.describe(self._name(key))

    async def about(self) -> About:
        """Which store this is, when it was made, where it is and what it can do."""
        return await self._store.about()

    async def verify(self, *, repair: bool = False, progress: OnProgress | None = None) -> VerifyReport:
        """Read everything and report damage; with ``repair``, bring back or quarantine what is damaged.

        A store that is damaged as a whole, such as a database file with broken pages, is then moved aside
        and made anew of what can be read: ``report.salvage``. Nobody else may have it open meanwhile, and
        what this program does with it in these moments raises ``CapabilityUnavailableError``.
        """
        from ..jobs.verify import verify

        report = await verify(self._store, prefix=self._prefix, repair=repair, progress=progress)
        if report.salvage is not None:
            await self._store.aopen()  # what it says of itself may be lost
        return report

    async def import_legacy(
        self,
        source: str | PathLike[str],
        *,
        format: str | None = None,
        into: str = "",
        types: Mapping[str, Any] | None = None,
        allow: Collection[type] = (),
        dry_run: bool = False,
        progress: Callable[[int], None] | None = None,
    ) -> ImportReport:
        """Take over what another program or library has stored at ``source``, a file or a directory.

        Each name found there is saved under ``into + name``, as the type that ``types`` has for the first
        pattern that fits the name (``{"volume": int, "window/*": tuple[int, int]}``), else as what it is.
        What is stored here already is never replaced, so an import that was broken off is simply run again.
        The source is only read. The report names everything: imported, skipped or damaged, and why.

        ``format``: ``json``, ``rows`` (an SQLite table of keys and JSON), ``plist``, ``ini``, ``qsettings``,
        ``home-assistant``, ``axiom``, ``dbm``; None: told by the content. ``shelve``, ``sqlitedict``,
        ``diskcache`` and ``pickle`` have to be named: of their pickles only plain values are made, and the
        classes in ``allow``. ``dry_run``: only the report. ``progress`` is called with the number of names.

        Raises ``ConfigurationError`` for what is of no known format, ``StoreNotFoundError`` where nothing is.
        """
        from ..jobs.legacy import import_legacy

        return await import_legacy(
            self._store,
            fspath(source),
            format=format,
            into=self._prefix + into,
            types=types,
            allow=allow,
            dry_run=dry_run,
            progress=progress,
        )

    async def migrate(
        self,
        from_version: str,
        to_version: str,
        *,
        dry_run: bool = False,
        progress: Callable[[MigrationProgress], None] | None = None,
    ) -> MigrationReport:
        """Bring the whole store from ``from_version``, or a later one, to the version of this program.

        Nothing to do where that is so already: it may be called at every start. ``dry_run``: try every step,
        write nothing. The originals are kept until ``finalize``. Killed at any point, the next call goes on.
        Raises ``MigrationError``, naming step and key, or what the medium raised, with every record as it
        was; ``ConfigurationError`` where no steps lead there.
        """
        from ..jobs.migrate import migrate

        second = self._second
        if second is not None and second.adapter.traits.atomic:
            await migrate(second, from_version, to_version, dry_run=True)  # before anything is written
        report = await migrate(self._store, from_version, to_version, dry_run=dry_run, progress=progress)
        if second is not None and second.adapter.traits.atomic:
            report.add(await migrate(second, from_version, to_version, dry_run=dry_run))
        return report

    async def rollback(self, to_version: str, *, progress: OnProgress | None = None) -> RollbackReport:
        """Bring the whole store back to ``to_version``, which it had before a migration.

        Until ``finalize`` every record that nobody has saved since is byte for byte as it was; one that was
        goes through the ``down`` of each step, or to quarantine, and its original is back. Afterwards every
        step needs a ``down``. End newer programs first, and close this one: what they save next makes the
        store theirs again. Killed at any point, the next call goes on. ``progress`` is told of the records so
        far. Raises ``MigrationError`` with nothing changed where there is no way back.
        """
        from ..jobs.rollback import rollback

        second = self._second
        report = await rollback(self._store, to_version, progress=progress)
        if second is not None and second.adapter.traits.atomic:
            report.add(await rollback(second, to_version))
        return report

    async def finalize(self) -> int:
        """Drop the originals that migrations keep; how many. Idempotent.

        ``rollback`` then works by the ``down`` of steps alone. Raises ``MigrationError`` while a migration is
        not finished.
        """
        from ..jobs.rollback import finalize

        dropped = await finalize(self._store)
        return dropped if self._second is None else dropped + await finalize(self._second)

    def _encrypted(self) -> Encrypted:
        """The layer that encrypts. Raises ``ConfigurationError`` where there is none."""
        adapter = self._store.adapter
        if adapter.traits.confidential:
            from ..layers.encrypted import Encrypted

            found = adapter.find(Encrypted)
            if found is not None:
                return found
        raise ConfigurationError(
            "this store is not encrypted", adapter=adapter, hint="only a store opened with keys= has keys"
        )

    async def rotate_keys(self, *, progress: OnProgress | None = None) -> RotationReport:
        """Seal every record of an encrypted store with a new key; ``progress`` is told of the records so far.

        The store stays in use meanwhile. Killed or cancelled, the next call goes on where this one was.
        Raises ``ConfigurationError`` for a store that is not encrypted.
        """
        from ..jobs.rotate import rotate

        return await rotate(self._store, self._encrypted(), progress=progress)

    async def encrypt(self, *, dry_run: bool = False, progress: OnProgress | None = None) -> EncryptionReport:
        """Seal every record of a plain store, in place; it was opened with ``keys`` and ``mode="encrypt"``.

        Every record can be read meanwhile, and is sealed when it is saved. At the end no record is left in
        clear in the store: generations before are forgotten, a database file is written anew, its log cut.
        Killed or cancelled, the next call goes on; ``keys`` alone opens the store then. End other programs
        first: those without the key are refused from now on. ``dry_run``: only count. The report is false
        where something could not be read, and is still in clear. Raises ``ConfigurationError`` for a store
        without keys, ``StorageLockedError`` where another program keeps the log from being cut.
        """
        from ..jobs.encrypt import encrypt
        from ..jobs.snapshot import snapshots

        report = await encrypt(self._store, self._encrypted(), dry_run=dry_run, progress=progress)
        if report.rewritten and isabs(self._store.adapter.location):
            report.snapshots = len(await snapshots(self._store))
        return report

    async def decrypt(self, *, dry_run: bool = False, progress: OnProgress | None = None) -> EncryptionReport:
        """Write every record of an encrypted store in clear, in place, secure fields as well.

        Every record can be read meanwhile and afterwards, nothing is saved; open it again without ``keys``
        then. Killed or cancelled, the next call goes on. What cannot be opened stays as it is, and so do
        the keys: the report is false. ``dry_run``: only count. Raises ``ConfigurationError`` for a store that
        is not encrypted.
        """
        from ..jobs.encrypt import decrypt

        return await decrypt(self._store, self._encrypted(), dry_run=dry_run, progress=progress)

    async def change_key(self, keys: KeyProvider) -> None:
        """Have another key or passphrase open an encrypted store. No record is written.

        The one before opens it no longer, but still a copy that was made earlier. Raises
        ``ConfigurationError`` for a store that is not encrypted.
        """
        from ..jobs._noted import noted

        encrypted = self._encrypted()
        await noted(self._store, "change of the key")
        await encrypted.change_key(keys)

    async def flush(self) -> None:
        """Return when everything acknowledged here so far is as durable as the adapter can make it."""
        adapter = self._store.adapter
        await adapter.commit({}, durability=adapter.traits.durability)
