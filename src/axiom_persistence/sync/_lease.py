"""Which of the processes that have a store open is the one that synchronises it."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Hashable
from typing import Final

import msgspec

from ..errors import ConflictError
from ..layers.tracked import SYNC
from ..records.record import INTERNAL_SCHEMA, look_at, seal_record
from ..store.store import Store

__all__ = ["WAIT_S", "Lease"]

_LEASE: Final = SYNC + "lease"

WAIT_S: float = 5.0
"""How long the process that synchronises has to answer before another one takes over."""


class _StoredLease(msgspec.Struct):
    holder: str
    """What this opening signs its stamps with: no two openings have the same."""
    host: str
    pid: int
    asked: bool = False
    """Whether another process waits for the holder to say that it is still there."""


class Lease:
    """One process at a time has it. It saves work and protects nothing: two that meet disturb no one.

    A process alone writes it once and never renews it. Another one asks by a mark in it, and takes it where
    nobody has taken that mark away for ``WAIT_S`` by its own clock; at once where the holder has ended or,
    on the same machine, was killed.
    """

    def __init__(self, store: Store, who: str) -> None:
        self._store = store
        self._mine = _StoredLease(who, socket.gethostname(), os.getpid())
        self._mark: Hashable | None = None
        self._version: str | None = None
        self._since = 0.0
        self.held: bool = False

    async def hold(self) -> bool:
        """Whether this process is the one; if there is none, it is from now on."""
        mark = self._store.adapter.change_mark()
        is_quiet = mark is not None and mark == self._mark
        if is_quiet and (self.held or time.monotonic() < self._since + WAIT_S):
            return self.held
        self._mark = mark
        lease, version = await self._read()
        if lease is None or (lease.holder != self._mine.holder and self._has_ended(lease)):
            self.held = await self._write(self._mine, version)
        elif lease.holder == self._mine.holder:
            self.held = not lease.asked or await self._write(self._mine, version)
        else:
            self.held = await self._ask(lease, version)
        return self.held

    async def _ask(self, lease: _StoredLease, version: str | None) -> bool:
        """Ask another process whether it is there; after ``WAIT_S`` without an answer, take its place."""
        if version != self._version:
            self._version, self._since = version, time.monotonic()
        elif time.monotonic() >= self._since + WAIT_S:
            if lease.asked:
                return await self._write(self._mine, version)
            await self._write(_StoredLease(lease.holder, lease.host, lease.pid, asked=True), version)
        return False

    async def release(self) -> None:
        """Let another process take over at once."""
        if self.held:
            self.held = False
            lease, version = await self._read()
            if lease is not None and lease.holder == self._mine.holder:
                await self._commit(None, version)

    async def _read(self) -> tuple[_StoredLease | None, str | None]:
        """The lease, if there is a whole one, and the version of what is there."""
        stored = (await self._store.adapter.fetch((_LEASE,))).get(_LEASE)
        if stored is None:
            return None, None
        record = look_at(_LEASE, stored.data, INTERNAL_SCHEMA)[0]
        lease = None if record is None else msgspec.json.decode(record.value, type=_StoredLease)
        return lease, stored.version

    async def _write(self, lease: _StoredLease, version: str | None) -> bool:
        return await self._commit(seal_record(_LEASE, msgspec.json.encode(lease), INTERNAL_SCHEMA), version)

    async def _commit(self, data: bytes | None, version: str | None) -> bool:
        """Whether nobody else was faster."""
        store = self._store
        try:
            made = await store.commit({_LEASE: data}, expect={_LEASE: version}, durability=store.weakest)
        except ConflictError:
            return False
        self._version, self._since = made.get(_LEASE), time.monotonic()
        return True

    def _has_ended(self, lease: _StoredLease) -> bool:
        """Whether the holder was a process of this machine that is no more.

        Containers may share a name and see other processes: then two synchronise, which is harmless.
        """
        if os.name != "posix" or lease.host != self._mine.host:
            return False  # elsewhere the same call would end the process
        try:
            os.kill(lease.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            return False  # it is there, and somebody else's
        return False
