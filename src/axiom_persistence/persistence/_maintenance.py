"""The verbs that look at a store as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import CapabilityUnavailableError, ConfigurationError
from ..keys import Key
from ..store.describe import About, RecordInfo
from ..store.store import Store

if TYPE_CHECKING:
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
        """Read everything and report damage; with ``repair``, bring back or quarantine what is damaged."""
        from ..jobs.verify import verify

        return await verify(self._store, prefix=self._prefix, repair=repair, progress=progress)

    async def migrate(self, from_version: str, to_version: str) -> None:
        """Bring every record from one schema version to another. Without migrations there is one version."""
        store = self._store
        if from_version != to_version:
            raise ConfigurationError(
                f"no migration from {from_version!r} to {to_version!r} is known",
                adapter=store.adapter,
                hint=f"the schema of this store is {store.schema_of('')!r}",
            )

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

        return await rotate(self._encrypted(), progress=progress)

    async def change_key(self, keys: KeyProvider) -> None:
        """Have another key or passphrase open an encrypted store. No record is written.

        The one before opens it no longer, but still a copy that was made earlier. Raises
        ``ConfigurationError`` for a store that is not encrypted.
        """
        await self._encrypted().change_key(keys)

    async def flush(self) -> None:
        """Return when everything acknowledged here so far is as durable as the adapter can make it."""
        adapter = self._store.adapter
        await adapter.commit({}, durability=adapter.traits.durability)
