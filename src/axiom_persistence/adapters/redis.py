"""A store in Redis or Valkey, shared by any number of processes and machines."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from typing import TYPE_CHECKING, Final

from ..errors import ConfigurationError
from ..keys import check_stored_key, check_stored_keys
from ..storage.adapter import MAX_STORED_KEY_BYTES
from ..storage.changelog import Changed
from ..storage.listing import Listing
from ._networked.adapter import MAX_VALUE_BYTES, OPENING_S, NetworkedAdapter, no_store, not_reached, nothing
from ._networked.commit import time_of
from ._networked.loops import PerLoop
from ._networked.settle import Unreachable
from ._redis.place import Place

if TYPE_CHECKING:
    from ._redis.lanes import Lanes  # noqa: F401 - the base below names it in quotes
    from ._redis.line import Line

__all__ = ["RedisAdapter"]

_PAGE: Final = 2000
_NOT_REACHED: Final = (
    "check the host and port in the address, whether the server runs, and whether that port takes "
    "TLS (rediss://) or not (redis://)"
)


class RedisAdapter(NetworkedAdapter[Place, "Lanes"]):
    """Keeps every record as one string on the server at ``address`` (extra ``redis``).

    ``redis://user:password@host:6379/0``, ``rediss://`` for TLS; the path is the number of a database.
    Several hosts, with ``,`` between them, are nodes of a cluster, or servers of which the primary is used.
    Behind ``?``, with ``&`` between them: ``store`` (``axiom``), for several stores on one server;
    ``durability=process_exit`` or ``memory`` for servers that do not sync every commit; ``replicas``, how
    many must have a commit before it is acknowledged (0); ``sentinel``, the primary's name where the hosts
    are sentinels; ``timeout``, seconds until a call that gets no answer is given up (30); ``sslmode``
    (``verify-full``), ``sslrootcert``, ``sslcert``, ``sslkey``.

    Commits that come while one is under way go out together, each a script that runs undisturbed. One whose
    reply was lost is settled by sending it again under its id. Each event loop has its own connections: one
    for commits, two for reading. Values of at most 64 MiB; a store is as large as the memory of one node.

    Replication is asynchronous: a failover may lose commits that were acknowledged.

    ``inspect``: reads only, makes nothing, and works on a replica.

    Raises ``ConfigurationError`` for a server that cannot keep what is promised (``appendfsync``, an eviction
    policy, no TLS), ``AccessDeniedError`` for a wrong password and for a replica, ``ForeignStoreError`` for a
    store that is not ours, ``StorageUnavailableError`` for a server that does not answer; no error shows a
    credential. In a forked child it must be opened again.
    """

    def __init__(self, address: str, *, inspect: bool = False) -> None:
        super().__init__(Place.parse(address), inspect=inspect)
        self._settings: dict[str, str] = {}

    # -- lifecycle ---------------------------------------------------------------------------------

    async def aopen(self) -> None:
        if self._is_open():
            return
        try:
            from ._redis import line
            from ._redis.lanes import Lanes
            from ._redis.script import Names
        except ImportError as error:
            raise ConfigurationError(
                "a store in Redis needs redis-py",
                adapter=self,
                hint="pip install 'axiom-persistence[redis]'",
            ) from error
        self._names = Names(self._place)
        loops = PerLoop(lambda: Lanes(self._place, self._names, self, inspect=self._inspect), self)
        writing = loops.here().writing
        try:
            async with asyncio.timeout(OPENING_S):
                await self._make(writing)
        except BaseException as error:
            await loops.aclose(nothing)
            if isinstance(error, line.Replica):
                self._refuse(writing)
            if isinstance(error, TimeoutError | Unreachable):
                raise not_reached(self, str(error), _NOT_REACHED) from error
            raise
        if self._is_open():  # somebody else has opened it meanwhile
            await loops.aclose(nothing)
            return
        self._settings = writing.settings
        self._loops = loops

    async def _make(self, line: Line) -> None:
        """See that there is a store of ours, or make it, which several processes may do at once."""
        from ._redis.probe import check_mark
        from ._redis.script import FORMAT, MAKE

        names = self._names
        (mark,) = await line.ask((b"GET", names.mark))
        if not self._inspect:
            self._refuse(line)
            if mark is None:
                (mark,) = await line.ask((b"EVAL", MAKE, b"2", names.mark, names.log, FORMAT))
        if isinstance(mark, Exception):
            raise mark
        if not check_mark(mark, self):
            raise no_store(self)

    def _refuse(self, line: Line) -> None:
        from ._redis.probe import refuse_at_opening

        refuse_at_opening(line.settings, self._place, self)

    # -- reading -----------------------------------------------------------------------------------

    async def fetch_range(self, keys: Collection[str], start: int, length: int) -> dict[str, bytes]:
        from ._redis.script import VERSION

        lanes = self._lanes()
        wanted = check_stored_keys(keys, MAX_STORED_KEY_BYTES)
        start, length = min(start, MAX_VALUE_BYTES), min(length, MAX_VALUE_BYTES)
        first, end = VERSION + start, VERSION + start + length
        names = [self._names.record_of(key) for key in wanted]
        # Each part comes with the version, which tells what is empty from what is absent.
        parts = [
            (b"GETRANGE", name, b"%d" % begin, b"%d" % (stop - 1))
            for name in names
            for begin, stop in ((0, VERSION), (first, end))
        ]
        found = await lanes.read(*parts) if parts else []
        return {
            key: part if length else b""
            for key, version, part in zip(wanted, found[::2], found[1::2], strict=True)
            if version
        }

    async def exists(self, key: str) -> bool:
        lanes = self._lanes()
        check_stored_key(key, MAX_STORED_KEY_BYTES)
        (count,) = await lanes.read((b"EXISTS", self._names.record_of(key)), key=key)
        return bool(count)

    async def saved_at(self, key: str) -> float | None:
        from ._redis.script import VERSION

        lanes = self._lanes()
        check_stored_key(key, MAX_STORED_KEY_BYTES)
        asked = (b"GETRANGE", self._names.record_of(key), b"0", b"%d" % (VERSION - 1))
        (version,) = await lanes.read(asked, key=key)
        return time_of(version.decode()) if version else None

    async def keys(
        self, prefix: str = "", *, after: str | None = None, limit: int | None = None, reverse: bool = False
    ) -> AsyncIterator[str]:
        async for key in self._listed(Listing(prefix, after, limit, reverse), _PAGE, self._page):
            yield key

    async def _page(self, listing: Listing, size: int) -> Sequence[str]:
        """The next keys: each page is a request of its own."""
        from ._redis.script import PAGE

        lowest, highest = b"[" + listing.prefix.encode(), b"+"
        if listing.end is not None:
            highest = b"(" + listing.end.encode()
        if listing.after is not None and listing.reverse:
            if listing.end is None or listing.after < listing.end:
                highest = b"(" + listing.after.encode()
        elif listing.after is not None and listing.after >= listing.prefix:
            lowest = b"(" + listing.after.encode()
        command, ends = b"ZRANGEBYLEX", (lowest, highest)
        if listing.reverse:
            command, ends = b"ZREVRANGEBYLEX", (highest, lowest)
        asked = (b"EVAL", PAGE, b"1", self._names.index, command, *ends, b"%d" % size)
        (keys,) = await self._lanes().read(asked)
        return keys.decode().split("\0") if keys else []

    # -- changes -----------------------------------------------------------------------------------

    async def changed(self, since: str | None) -> Changed:
        """From the log of the last 10,000 commits; whoever comes later than that is told so."""
        return await self._lanes().changes.since(since)

    async def wait_for_change(self, timeout: float) -> None:
        await self._lanes().changes.wait(timeout)

    # -- about -------------------------------------------------------------------------------------

    def stats(self) -> dict[str, int]:
        """``commits`` and ``requests`` that carried them; ``connections`` made; ``replicas`` at opening."""
        if self._loops is None:
            return {}
        from ._redis.probe import replicas

        every = self._loops.all()
        return {
            **self._counted(),
            "connections": sum(lanes.connected for lanes in every),
            "replicas": replicas(self._settings),
        }
