"""One connection, made when it is needed, and made anew once it broke."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from redis.asyncio import Connection, SSLConnection, UnixDomainSocketConnection
from redis.exceptions import MovedError, RedisError

from ...errors import ConfigurationError, PersistenceError
from .._networked.address import is_here
from .._networked.settle import Unreachable
from . import errors
from .place import Place
from .probe import ASK, settings_of
from .script import COMMIT

__all__ = ["Command", "Line", "Replica"]

_MOST_MOVES: Final = 5
"""How often a cluster may name another node."""
_CONNECTING_S: Final = 2.0
"""How long one of several hosts is tried."""

Raw = Connection | UnixDomainSocketConnection
Command = Sequence[bytes]


class Replica(Unreachable):
    """The server takes no writes."""


class Line:
    """One connection of one event loop to the primary; one request at a time.

    ``inspect``: a replica will do.
    """

    def __init__(self, place: Place, adapter: object, *, inspect: bool) -> None:
        self._place = place
        self._adapter = adapter
        self._inspect = inspect
        self._raw: Raw | None = None
        self.connected = 0
        """How often a connection was made."""
        self.settings: dict[str, str] = {}
        """What the server said of itself when it was."""

    async def ask(self, *commands: Command, sending: Callable[[], object] | None = None) -> list[Any]:
        """What the server answers to each, in one round trip; an error of ours for one that it refuses.

        ``sending`` is called once there is a connection, before anything goes out. Raises ``Unreachable``.
        Cancelled, it hangs up: nobody knows then what the connection would answer next.
        """
        raw = self._raw
        if raw is None or not raw.is_connected:
            raw = await self.connect()
        if sending is not None:
            sending()
        return await self._exchange(raw, commands)

    async def connect(self) -> Raw:
        """A new connection to a primary that keeps what the store promises."""
        await self.hang_up()
        problem: Unreachable = Unreachable("no address")
        for host, port in await self._hosts():
            try:
                self._raw = await self._connect_to(host, port)
            except Unreachable as error:
                problem = error
                continue
            self.connected += 1
            return self._raw
        raise problem

    async def hang_up(self) -> None:
        raw, self._raw = self._raw, None
        if raw is not None:
            await raw.disconnect(nowait=True)

    async def _hosts(self) -> Sequence[tuple[str, int]]:
        """Where the primary may be."""
        name = self._place.sentinel
        if name is None:
            return self._place.address.hosts
        problem: Unreachable = Unreachable("no sentinel")
        asked = (b"SENTINEL", b"get-master-addr-by-name", name.encode())
        for host, port in self._place.address.hosts:
            raw = self._made(host, port, login=False)
            try:
                await self._dial(raw)
                (found,) = await self._exchange(raw, [asked])
            except Unreachable as error:
                problem = error
                continue
            finally:
                await raw.disconnect(nowait=True)
            if isinstance(found, list):
                return [(found[0].decode(), int(found[1]))]
            problem = Unreachable("the sentinels know no primary of that name")
        raise problem

    async def _connect_to(self, host: str, port: int) -> Raw:
        """The node of a cluster that has the store is the one where its mark is."""
        for _ in range(_MOST_MOVES):
            raw = self._made(host, port)
            try:
                await self._dial(raw)
                mark = (b"EXISTS", self._place.named("store").encode())
                info, config, *_ = await self._exchange(raw, [*ASK, (b"SCRIPT", b"LOAD", COMMIT), mark])
                if isinstance(info, PersistenceError):
                    raise info
                self.settings = settings_of(info, config, self._place, self._adapter)
                if self.settings["role"] != "master" and not self._inspect:
                    raise Replica("it is a replica, and takes no writes")
            except BaseException as error:
                await raw.disconnect(nowait=True)
                moved = error.__cause__
                if isinstance(error, Unreachable) and isinstance(moved, MovedError):
                    host, port = moved.host or host, moved.port
                    continue
                raise
            return raw
        raise Unreachable("the nodes of the cluster do not agree where the store is")

    def _made(self, host: str, port: int, *, login: bool = True) -> Raw:
        place = self._place
        if place.tls is None and not (place.may_be_plain or is_here(host)):
            raise ConfigurationError(
                "the server lies beyond this machine, and what is saved would travel in plain text",
                adapter=self._adapter,
                hint="write rediss:// for TLS, or sslmode=disable for a network you trust",
            )
        options: dict[str, Any] = {
            "db": place.database if login else 0,
            "username": place.address.user if login else None,
            "password": place.password.reveal() if login and place.password is not None else None,
            "socket_timeout": None,  # the deadlines are those of the calls
            "socket_connect_timeout": min(_CONNECTING_S, place.timeout),
            "driver_info": None,
            "client_name": None,
            "protocol": 2,
        }
        if host.startswith("/"):
            return UnixDomainSocketConnection(path=host, **options)
        if place.tls is None:
            return Connection(host=host, port=port, **options)
        raw = SSLConnection(host=host, port=port, **options)
        raw.ssl_context.context = place.tls
        return raw

    async def _dial(self, raw: Raw) -> None:
        try:
            await raw.connect()  # type: ignore[no-untyped-call]  # redis-py says nothing of it
        except RedisError as error:
            raise self._problem(error) from error

    async def _exchange(self, raw: Raw, commands: Sequence[Command]) -> list[Any]:
        replies: list[Any] = []
        try:
            await raw.send_packed_command(_packed(commands), check_health=False)
            for _ in commands:
                replies.append(await self._reply(raw))
        except RedisError as error:
            await raw.disconnect(nowait=True)
            raise self._problem(error) from error
        return replies

    async def _reply(self, raw: Raw) -> Any:
        try:
            return await raw.read_response()
        except RedisError as error:
            if not errors.is_refusal(error):
                raise
            refusal = errors.explained(error, self._adapter)
            if refusal is not None:
                refusal.__cause__ = error
            return refusal

    def _problem(self, error: RedisError) -> Exception:
        return errors.explained(error, self._adapter) or errors.unreachable(error)


def _packed(commands: Sequence[Command]) -> bytes:
    """As the protocol wants it. redis-py's own packing takes longer than all the rest of a commit."""
    parts = []
    for command in commands:
        parts.append(b"*%d\r\n" % len(command))
        parts += [b"$%d\r\n%b\r\n" % (len(word), word) for word in command]
    return b"".join(parts)
