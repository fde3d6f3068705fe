"""One connection, made when it is needed, and made anew once it broke."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import asyncpg

from ...errors import PersistenceError
from . import errors
from .place import Place
from .probe import probe

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["Line"]


class Line:
    """One connection of one event loop; one request at a time."""

    def __init__(self, place: Place, adapter: object) -> None:
        self._place = place
        self._adapter = adapter
        self._raw: asyncpg.Connection[Any] | None = None
        self.connected = 0
        """How often a connection was made."""
        self.settings: dict[str, str] = {}
        """What the server said of itself when it was."""

    async def run(
        self, statement: str, *arguments: object, sending: Callable[[], object] | None = None
    ) -> Sequence[Any]:
        """The rows. ``sending`` is called once there is a connection, before the statement goes out.

        Raises ``Unreachable``; one of ``errors.AGAIN``; else an error of the library. Cancelled, it hangs up:
        nobody knows then what the connection would answer next.
        """
        raw = self._raw
        if raw is None or raw.is_closed():
            raw = await self.connect()
        if sending is not None:
            sending()
        try:
            return await raw.fetch(statement, *arguments)
        except errors.AGAIN:
            raise
        except asyncpg.PostgresError as error:
            if errors.is_broken(error):
                self.hang_up()
                raise errors.unreachable(error) from error
            raise errors.explained(error, self._adapter) from error
        except Exception as error:
            self.hang_up()
            if errors.is_broken(error):
                raise errors.unreachable(error) from error
            raise errors.explained(error, self._adapter) from error
        except BaseException:
            self.hang_up()
            raise

    async def connect(self) -> asyncpg.Connection[Any]:
        """A new connection to a server that keeps what the store promises."""
        self.hang_up()
        raw: asyncpg.Connection[Any] | None = None
        try:
            raw = await asyncpg.connect(**self._place.login, timeout=self._place.timeout)
            self.settings = await probe(raw, self._place, self._adapter)
        except BaseException as error:
            if raw is not None:
                raw.terminate()
            # asyncpg has no class of its own for it.
            if isinstance(error, ConnectionError) and "rejected SSL" in str(error):
                raise errors.no_tls(self._adapter) from error
            if errors.is_broken(error):
                raise errors.unreachable(error) from error
            if isinstance(error, PersistenceError) or not isinstance(error, Exception):
                raise
            raise errors.explained(error, self._adapter) from error
        self._raw = raw
        self.connected += 1
        return raw

    async def listen(self, channel: str, heard: Callable[[], object]) -> None:
        """Call ``heard`` at every notice on ``channel``, as long as the connection lives."""
        raw = await self.connect()

        def notice(*_: object) -> None:
            heard()

        await raw.add_listener(channel, notice)

    @property
    def is_connected(self) -> bool:
        return self._raw is not None and not self._raw.is_closed()

    async def in_turn(
        self, turn: str, is_done: Callable[[], Awaitable[bool]], statements: Sequence[str]
    ) -> None:
        """``statements`` as one transaction, unless ``is_done`` once the lock of ``turn`` is ours."""
        raw = self._raw or await self.connect()
        try:
            async with raw.transaction():
                await raw.execute(turn)
                if not await is_done():
                    for statement in statements:
                        await raw.execute(statement)
        except asyncpg.PostgresError as error:
            raise errors.explained(error, self._adapter) from error
        except BaseException:
            self.hang_up()
            raise

    def hang_up(self) -> None:
        """Without waiting for anything."""
        raw, self._raw = self._raw, None
        if raw is not None and not raw.is_closed():
            raw.terminate()
