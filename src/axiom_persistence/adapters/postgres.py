"""A store in a PostgreSQL database, shared by any number of processes and machines."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from typing import TYPE_CHECKING, Final, cast

from ..errors import ConfigurationError
from ..keys import check_stored_key, check_stored_keys
from ..storage.adapter import MAX_STORED_KEY_BYTES
from ..storage.changelog import Changed
from ..storage.listing import Listing
from ._networked.adapter import MAX_VALUE_BYTES, OPENING_S, NetworkedAdapter, not_reached, nothing
from ._networked.loops import PerLoop
from ._networked.settle import Unreachable
from ._postgres.place import Place

if TYPE_CHECKING:
    from ._postgres.lanes import Lanes  # noqa: F401 - the base below names it in quotes

__all__ = ["PostgresAdapter"]

_PAGE: Final = 1000
_NOT_REACHED: Final = "check the host and port in the address, and whether the server runs"


class PostgresAdapter(NetworkedAdapter[Place, "Lanes"]):
    """Keeps every record as one row of a table of the database at ``address`` (extra ``postgres``).

    ``postgresql://user:password@host:5432/database``, and behind ``?``, with ``&`` between them: ``table``
    (``axiom_record``) and ``schema`` (``public``), for several stores in one database; ``sslmode``
    (``verify-full`` for any host but this one), ``sslrootcert``, ``sslcert``, ``sslkey``; ``timeout``,
    seconds until a call that gets no answer is given up (30); ``durability=process_exit`` for servers that
    may lose what they acknowledged; ``pgbouncer=true`` behind one in transaction mode. Without a password,
    that of ``PGPASSWORD`` or ``~/.pgpass`` is used.

    Commits that come while one is under way go out as one statement. A commit whose reply was lost is
    settled by sending it again under its id. Each event loop has its own connections: one for commits, two
    for reading. Values of at most 64 MiB.

    ``inspect``: reads only, makes no tables, and works on a standby.

    Raises ``ConfigurationError`` for a server that cannot keep what is promised (``fsync=off``, a database
    that is not UTF-8), ``AccessDeniedError`` for a wrong password and for a standby, ``ForeignStoreError``
    for a table that is not ours, ``StorageUnavailableError`` for a server that does not answer; no error
    shows a credential. In a forked child it must be opened again.
    """

    def __init__(self, address: str, *, inspect: bool = False) -> None:
        super().__init__(Place.parse(address), inspect=inspect)
        self._settings: dict[str, str] = {}

    # -- lifecycle ---------------------------------------------------------------------------------

    async def aopen(self) -> None:
        if self._is_open():
            return
        try:
            from ._postgres import probe, tables
            from ._postgres.lanes import Lanes
            from ._postgres.statements import Statements
        except ImportError as error:
            raise ConfigurationError(
                "a store in PostgreSQL needs asyncpg",
                adapter=self,
                hint="pip install 'axiom-persistence[postgres]'",
            ) from error
        self._say = Statements(self._place)
        loops = PerLoop(lambda: Lanes(self._place, self._say, self), self)
        line = loops.here().writing
        try:
            async with asyncio.timeout(OPENING_S):
                await line.connect()
            if not self._inspect:
                probe.refuse_read_only(line.settings, self)
            async with asyncio.timeout(self._place.timeout):
                await tables.make_tables(line, self._say, self, inspect=self._inspect)
        except BaseException as error:
            await loops.aclose(nothing)
            if isinstance(error, TimeoutError | Unreachable):
                raise not_reached(self, str(error), _NOT_REACHED) from error
            raise
        if self._is_open():  # somebody else has opened it meanwhile
            await loops.aclose(nothing)
            return
        self._settings = line.settings
        self._loops = loops

    # -- reading -----------------------------------------------------------------------------------

    async def fetch_range(self, keys: Collection[str], start: int, length: int) -> dict[str, bytes]:
        lanes = self._lanes()
        wanted = check_stored_keys(keys, MAX_STORED_KEY_BYTES)
        start, length = min(start, MAX_VALUE_BYTES), min(length, MAX_VALUE_BYTES)
        rows = await lanes.read(self._say.fetch_range, wanted, start + 1, length)
        return {row["key"]: row["data"] for row in rows}

    async def exists(self, key: str) -> bool:
        lanes = self._lanes()
        check_stored_key(key, MAX_STORED_KEY_BYTES)
        return bool(await lanes.read(self._say.exists, key, key=key))

    async def saved_at(self, key: str) -> float | None:
        lanes = self._lanes()
        check_stored_key(key, MAX_STORED_KEY_BYTES)
        rows = await lanes.read(self._say.saved_at, key, key=key)
        return rows[0]["at"] if rows else None

    async def keys(
        self, prefix: str = "", *, after: str | None = None, limit: int | None = None, reverse: bool = False
    ) -> AsyncIterator[str]:
        if after is not None and "\0" in after:
            # It is in no key, and in no text of PostgreSQL; keys behind it are behind what stands before it.
            after = after.partition("\0")[0] + ("\1" if reverse else "")
        rest = Listing(prefix, after, limit, reverse)
        if "\0" not in prefix:
            async for key in self._listed(rest, _PAGE, self._page):
                yield key

    async def _page(self, listing: Listing, size: int) -> Sequence[str]:
        """The next keys: each page is a statement of its own."""
        lanes = self._lanes()
        statement, after = (
            (self._say.page_back, listing.after) if listing.reverse else (self._say.page, listing.after or "")
        )
        ((keys,),) = await lanes.read(statement, listing.prefix, listing.end, after, size)
        return cast("list[str]", keys)

    # -- changes -----------------------------------------------------------------------------------

    async def changed(self, since: str | None) -> Changed:
        """From the log of commits, by the numbers of their transactions: it misses none.

        One transaction anywhere on the server that stays open delays what comes after it.
        """
        return await self._lanes().changes.since(since)

    async def wait_for_change(self, timeout: float) -> None:
        await self._lanes().changes.wait(timeout)

    # -- about -------------------------------------------------------------------------------------

    def stats(self) -> dict[str, int]:
        """``commits`` and ``requests`` that carried them; ``connections`` made; ``repeats`` for races met.

        ``replicated``: 1 where the server waits for a standby before it acknowledges. Where it is 0, a
        failover may lose what was acknowledged.
        """
        if self._loops is None:
            return {}
        every = self._loops.all()
        return {
            **self._counted(),
            "connections": sum(lanes.connected for lanes in every),
            "repeats": sum(lanes.repeats for lanes in every),
            "replicated": int(bool(self._settings.get("synchronous_standby_names"))),
        }
