"""A store in a bucket of an object store, shared by any number of processes and machines."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from typing import TYPE_CHECKING, Final

from ..errors import ConfigurationError
from ..keys import check_stored_key, check_stored_keys
from ..storage.adapter import MAX_STORED_KEY_BYTES
from ..storage.changelog import Changed
from ..storage.listing import Listing
from ._networked.adapter import OPENING_S, NetworkedAdapter, no_store
from ._networked.commit import time_of
from ._networked.loops import PerLoop
from ._networked.settle import answer
from ._objects.place import Place

if TYPE_CHECKING:
    from ._objects.lanes import Lanes  # noqa: F401 - the base below names it in quotes

__all__ = ["ObjectStoreAdapter"]

_PAGE: Final = 1000


class ObjectStoreAdapter(NetworkedAdapter[Place, "Lanes"]):
    """Keeps a log of commits in the bucket and below the prefix at ``address`` (extra ``objects``).

    ``s3://user:secret@bucket/prefix``, ``az://:key@account/container/prefix`` (Azure) or
    ``gs://bucket/prefix`` (Google), and behind ``?``, with ``&`` between them: ``endpoint``
    (``https://host:port`` of a server that is not the vendor's) and ``plaintext=true`` where that is
    ``http://``; ``timeout``, seconds until a call that gets no answer is given up (30);
    ``durability=power_loss`` for an endpoint that has written to its disks when it answers. For ``s3`` also
    ``region``, and ``path_style`` and ``anonymous``, true or false. Without keys in the address, those of
    the environment are used (``AWS_ACCESS_KEY_ID`` and ``AWS_SECRET_ACCESS_KEY``,
    ``AZURE_STORAGE_ACCOUNT_KEY``, ``GOOGLE_APPLICATION_CREDENTIALS``), or the role of the machine.

    Commits that come while one is under way go out as one object, whose number all writers compete for: at
    most one object a round trip, over all processes. A read asks whether there is a newer one. Where
    every value lies is kept here, in a temporary file. Values of at most 64 MiB.

    ``inspect``: reads only, and makes no store.

    Raises ``ConfigurationError`` for a server that ignores conditions, ``AccessDeniedError`` for wrong keys,
    ``StoreNotFoundError`` for a bucket that is not there, ``ForeignStoreError`` for a prefix with objects
    that are not ours, ``StorageUnavailableError`` for a server that does not answer; no error shows a
    credential. It cannot be used in a forked child, once its parent has used one.
    """

    def __init__(self, address: str, *, inspect: bool = False) -> None:
        super().__init__(Place.parse(address), inspect=inspect)

    # -- lifecycle ---------------------------------------------------------------------------------

    async def aopen(self) -> None:
        if self._is_open():
            return
        try:
            from ._objects import probe
            from ._objects.lanes import Lanes, Workers
        except ImportError as error:
            raise ConfigurationError(
                "an object store needs obstore",
                adapter=self,
                hint="pip install 'axiom-persistence[objects]'",
            ) from error
        workers = Workers(self._place, self)
        try:
            bucket = workers.bucket
            soon = min(OPENING_S, self._place.timeout)
            there = await answer(lambda: workers.run("call", probe.is_store, bucket, self), soon, self)
            if not self._inspect:
                await workers.read(probe.find_store, bucket, workers.readers, self)
            elif not there:
                raise no_store(self)
            await workers.long("call", workers.log.open)
        except BaseException:
            await workers.close()
            raise
        if self._is_open():  # somebody else has opened it meanwhile
            await workers.close()
            return
        self._workers = workers
        self._loops = PerLoop(lambda: Lanes(workers, self._place, self), self)

    async def aclose(self) -> None:
        usable = self._is_open()
        await super().aclose()
        if usable:  # else the threads are the parent's
            await self._workers.close()

    # -- reading -----------------------------------------------------------------------------------

    async def fetch_range(self, keys: Collection[str], start: int, length: int) -> dict[str, bytes]:
        self._lanes()
        wanted = check_stored_keys(keys, MAX_STORED_KEY_BYTES)
        return await self._workers.read(self._workers.log.fetch_range, wanted, start, length)

    async def exists(self, key: str) -> bool:
        return await self._version(key) is not None

    async def saved_at(self, key: str) -> float | None:
        version = await self._version(key)
        return None if version is None else time_of(version)

    async def _version(self, key: str) -> str | None:
        self._lanes()
        check_stored_key(key, MAX_STORED_KEY_BYTES)
        log = self._workers.log
        found = await self._workers.read(lambda: log.refresh().find([key]), key=key)
        return found[key].version if key in found else None

    async def keys(
        self, prefix: str = "", *, after: str | None = None, limit: int | None = None, reverse: bool = False
    ) -> AsyncIterator[str]:
        rest = Listing(prefix, after, limit, reverse)
        self._lanes()
        if rest.is_empty:
            return
        index = await self._workers.read(self._workers.log.refresh)

        async def page(listing: Listing, size: int) -> Sequence[str]:
            return index.page(listing, size)

        async for key in self._listed(rest, _PAGE, page):
            yield key

    # -- changes -----------------------------------------------------------------------------------

    async def changed(self, since: str | None) -> Changed:
        """From the log: it misses none."""
        self._lanes()
        index = await self._workers.read(self._workers.log.refresh)
        with index.lock:
            last = index.last
            keys = frozenset[str]() if since is None else index.changed(int(since))
        return Changed(str(last), keys)

    async def wait_for_change(self, timeout: float) -> None:
        await asyncio.sleep(timeout)  # a bucket tells nobody; a look is one request

    # -- writing ---------------------------------------------------------------------------------

    async def purge(self, keys: Collection[str], *, previous_of: Collection[str] = ()) -> None:
        del previous_of  # no generation is kept
        await self.commit(dict.fromkeys(keys))
        await self.scrub()

    async def scrub(self) -> bool:
        self._lanes()
        await self._workers.long("tidy", self._workers.purge)
        return True

    # -- about -------------------------------------------------------------------------------------

    def stats(self) -> dict[str, int]:
        """``commits`` and the ``requests`` that carried them; ``races`` for a number, lost to others.

        ``puts``, ``gets``, ``lists`` and ``deletes``: requests by kind, for the bill. ``checkpoints`` made.
        """
        if self._loops is None:
            return {}
        kinds = self._workers.bucket.requests
        return {
            **self._counted(),
            "races": self._workers.log.races,
            "checkpoints": self._workers.checkpoints,
            **{f"{kind}s": kinds[kind] for kind in ("put", "get", "list", "delete")},
        }
