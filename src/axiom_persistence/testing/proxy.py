"""A network that misbehaves on purpose, between a client and a server."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from typing import Final, Literal, Self

from ..runtime.faces import AsyncOnly

__all__ = ["HeldRequest", "TCPProxy"]

_CHUNK: Final = 1 << 16

Toward = Literal["server", "client"]


class TCPProxy(AsyncOnly):
    """Passes bytes between its ``port`` on 127.0.0.1 and a server, and spoils what it is told to.

    ``async with TCPProxy("127.0.0.1", 5432) as proxy``, and connect to ``proxy.port``. It runs on the event
    loop that entered it. What it knows is bytes: a request is what a client sends without having got an
    answer in between, and a reply is what then comes back.

    ``delay``: seconds that every byte takes in each direction; a round trip takes twice as long. ``trips``
    counts the requests.
    """

    def __init__(self, host: str, port: int, *, delay: float = 0.0) -> None:
        self.delay: float = delay
        self.trips: int = 0
        self.connections: int = 0
        """How many were made."""
        self.lost: int = 0
        """Replies that no client got."""
        self._server_at = host, port
        self._listener: asyncio.Server | None = None
        self._flows: set[_Connection] = set()
        self._serving: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._going = asyncio.Event()
        self._going.set()
        self._losing = 0
        self._holding: asyncio.Future[HeldRequest] | None = None
        self._cut: dict[str, int] = {}

    @property
    def port(self) -> int:
        """Where clients connect, on 127.0.0.1."""
        assert self._listener is not None, "enter it first"
        port: int = self._listener.sockets[0].getsockname()[1]
        return port

    def lose_replies(self, count: int = 1) -> None:
        """The next replies never arrive: once the server has begun to send one, its connection is cut."""
        self._losing = count

    def hold_request(self) -> Awaitable[HeldRequest]:
        """The next request is kept here, and its client's connection cut. Await it to get hold of it."""
        self._holding = asyncio.get_running_loop().create_future()
        return self._holding

    def cut_after(self, count: int, toward: Toward = "server") -> None:
        """Pass ``count`` more bytes in that direction, then cut the connection in the middle."""
        self._cut[toward] = count

    def cut(self) -> None:
        """Cut every connection now."""
        for flow in list(self._flows):
            flow.cut()

    def freeze(self) -> None:
        """Pass nothing on and cut nothing until ``thaw``, as a server that is stopped or a cable pulled."""
        self._going.clear()

    def thaw(self) -> None:
        """Pass on what was kept back, and go on."""
        self._going.set()

    async def __aenter__(self) -> Self:
        self._listener = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._listener is not None
        self._listener.close()
        self.thaw()
        for flow in list(self._flows):
            await flow.aclose()
        for task in self._serving:
            task.cancel()
        if self._serving:
            await asyncio.wait(self._serving)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # No coroutine: one that is cancelled before it begins could not close what it was given.
        task = asyncio.create_task(self._serve(reader, writer))
        self._serving[task] = writer

        def end(task: asyncio.Task[None]) -> None:
            self._serving.pop(task).transport.abort()

        task.add_done_callback(end)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            theirs, ours = await asyncio.open_connection(*self._server_at)
        except OSError:
            return
        self.connections += 1
        flow = _Connection(self, (reader, writer), (theirs, ours))
        self._flows.add(flow)
        try:
            await flow.run()
        finally:
            self._flows.discard(flow)

    def _cuts(self, data: bytes, toward: Toward) -> bytes | None:
        """The part of ``data`` that is passed before the cut; None: no cut is due."""
        left = self._cut.get(toward)
        if left is None:
            return None
        if left > len(data):
            self._cut[toward] = left - len(data)
            return None
        del self._cut[toward]
        return data[:left]


class HeldRequest:
    """A request that a server has not got yet, though its client has given it up."""

    def __init__(self, flow: _Connection, data: bytes) -> None:
        self._flow = flow
        self._data = data

    async def release(self) -> bytes:
        """Give it to the server now, and return what that answers (at most 64 KiB)."""
        return await self._flow.deliver(self._data)


class _Connection:
    """One client's connection and the one to the server that belongs to it."""

    def __init__(
        self,
        proxy: TCPProxy,
        client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        server: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        self._proxy = proxy
        self._client = client
        self._server = server
        self._tasks: list[asyncio.Task[None]] = []
        self._answered = True
        self._is_held = False
        self._released = asyncio.Event()

    async def run(self) -> None:
        self._tasks = [asyncio.create_task(self._up()), asyncio.create_task(self._down())]
        try:
            await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
            if self._is_held:
                await self._released.wait()  # the server's side stays
        finally:
            self.cut()
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(self._tasks)

    async def _up(self) -> None:
        proxy = self._proxy
        while data := await _read(self._client[0]):
            if self._answered:
                self._answered = False
                proxy.trips += 1
                if proxy._holding is not None:
                    self._is_held = True
                    holding, proxy._holding = proxy._holding, None
                    self._client[1].transport.abort()
                    holding.set_result(HeldRequest(self, data))
                    return
            if not await self._pass(data, self._server[1], "server"):
                return

    async def _down(self) -> None:
        proxy = self._proxy
        while data := await _read(self._server[0]):
            if not self._answered:
                self._answered = True
                if proxy._losing:
                    proxy._losing -= 1
                    proxy.lost += 1
                    return
            if not await self._pass(data, self._client[1], "client"):
                return

    async def _pass(self, data: bytes, writer: asyncio.StreamWriter, toward: Toward) -> bool:
        """Whether the connection goes on."""
        proxy = self._proxy
        await proxy._going.wait()
        if proxy.delay:
            await asyncio.sleep(proxy.delay)
        part = proxy._cuts(data, toward)
        with suppress(OSError):  # the other side is gone: so is this one, at the next read
            writer.write(data if part is None else part)
            await writer.drain()
        if part is not None:
            writer.close()  # in order, so that what was passed arrives
        return part is None

    async def deliver(self, data: bytes) -> bytes:
        self._tasks[1].cancel()
        await asyncio.wait({self._tasks[1]})
        self._server[1].write(data)
        await self._server[1].drain()
        answer = await _read(self._server[0])
        self._released.set()
        return answer

    def cut(self) -> None:
        self._released.set()
        for _, writer in (self._client, self._server):
            writer.transport.abort()

    async def aclose(self) -> None:
        for task in self._tasks:
            task.cancel()
        self.cut()
        if self._tasks:
            await asyncio.wait(self._tasks)


async def _read(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read(_CHUNK)
    except OSError:
        return b""  # cut: that is an end, too
