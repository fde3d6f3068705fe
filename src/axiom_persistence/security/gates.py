"""Who may: a gate that a person opens by showing who it is."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping
from typing import Final

from ..errors import AuthenticationError, ConfigurationError, shown
from ..runtime.turn import Turn
from ..runtime.upkeep import UNATTENDED
from .keys import KeyProvider
from .presence import Authenticator

__all__ = ["Gate", "GuardedKey"]

_REASON: Final = "open your data"


class Gate:
    """Open for ``grace`` seconds after the person has shown who it is; closed again after that.

    With ``grace=0`` each step asks, and an update is two steps: one reads, one writes.
    One question at a time: whoever comes to a closed gate meanwhile gets the same answer. After ``attempts``
    failures in a row it is locked for ``lockout`` seconds, and nobody is asked. ``reason`` is what the person
    reads where the system shows a text: "... wants to ``reason``".

    A gate is a question and an answer inside this process, and no cryptography: code in this process, and
    whoever reads the files, does not pass it. In front of a key (``GuardedKey``) it is stronger than in front
    of a store, since nothing can be read before it was open once.
    """

    def __init__(
        self,
        authenticator: Authenticator,
        *,
        reason: str = _REASON,
        grace: float = 60.0,
        attempts: int = 5,
        lockout: float = 60.0,
    ) -> None:
        if not isinstance(authenticator, Authenticator):
            raise ConfigurationError(
                f"a gate is opened by an Authenticator, not by {shown(authenticator)}",
                hint="for example Gate(FingerprintAuthenticator())",
            )
        if not grace >= 0 or not lockout >= 0 or attempts < 1:
            raise ConfigurationError(
                "grace and lockout of a gate are seconds from 0 on, attempts is at least 1",
                hint="Gate(authenticator, grace=60.0, attempts=5, lockout=60.0)",
            )
        self.authenticator: Authenticator = authenticator
        self._reason = reason
        self._grace = grace
        self._attempts = attempts
        self._lockout = lockout
        self._turn = Turn()
        self._opened: tuple[float, float, int] | None = None
        self._failures = 0
        self._locked_until = 0.0
        self._answers = 0
        self._refusal: AuthenticationError | None = None
        self._asking: tuple[asyncio.AbstractEventLoop, asyncio.Task[None]] | None = None

    def __repr__(self) -> str:
        return f"Gate({self.authenticator!r})"

    @property
    def is_open(self) -> bool:
        """Whether nobody would be asked now."""
        if self._opened is None:
            return False
        clock, wall, pid = self._opened
        # Both clocks: the first may stand still while the machine sleeps, the second may be set.
        return (
            pid == os.getpid()
            and time.monotonic() - clock < self._grace
            and 0 <= time.time() - wall < self._grace
        )

    async def enter(self) -> None:
        """Return once the gate is open; asks the person where it is closed.

        Raises ``AuthenticationError``. Cancelled, it takes its question back.
        """
        if self.is_open:
            return
        if UNATTENDED.get():
            raise AuthenticationError(
                "the gate is closed, and what a program does in the background asks nobody",
                outcome="unavailable",
                hint="open it first: read or save something, which asks the person",
            )
        seen = self._answers
        async with self._turn:
            if self._answers == seen:
                self._check_lock()
                await self._ask()
            elif self._refusal is not None:  # somebody asked meanwhile, for us too
                raise _again(self._refusal)

    async def _ask(self) -> None:
        loop = asyncio.get_running_loop()
        asking = loop.create_task(self.authenticator.authenticate(self._reason))
        self._asking = loop, asking
        try:
            await asyncio.wait((asking,))
        finally:
            self._asking = None
            if not asking.done():  # we were cancelled ourselves: whoever waits asks anew
                asking.cancel()
                await asyncio.wait((asking,))
        self._take(asking)

    def _take(self, asking: asyncio.Task[None]) -> None:
        """The answer to the question."""
        refusal: AuthenticationError | None = None
        if asking.cancelled():
            refusal = AuthenticationError(
                "the question was taken back", outcome="cancelled", hint="ask again when the person wants it"
            )
        elif (error := asking.exception()) is None:
            self._failures = 0
            self._opened = time.monotonic(), time.time(), os.getpid()
        elif isinstance(error, AuthenticationError):
            refusal = error
            self._failures += error.outcome == "denied"
            if self._failures >= self._attempts or error.outcome == "locked_out":
                self._failures = 0
                self._locked_until = time.monotonic() + self._lockout
        else:
            raise error  # no answer: whoever waits asks anew
        self._refusal = refusal
        self._answers += 1
        if refusal is not None:
            raise refusal

    def _check_lock(self) -> None:
        left = self._locked_until - time.monotonic()
        if left > 0:
            raise AuthenticationError(
                "there were too many failures, and nobody is asked for a while",
                outcome="locked_out",
                hint=f"try again in {left:.0f} seconds",
            )

    def cancel(self) -> None:
        """Take back the question that is being asked, if there is one. From any thread."""
        asking = self._asking
        if asking is not None:
            try:
                asking[0].call_soon_threadsafe(asking[1].cancel)
            except RuntimeError:
                pass  # that loop is closed, and its question with it

    def require_authentication_on_next_access(self) -> None:
        """Close the gate: when the screen is locked, the person goes away, or something weighty is next."""
        self._opened = None

    async def can_access(self) -> bool:
        """Whether an access could succeed now: the gate is open, or the person can be asked. Asks nobody."""
        if self.is_open:
            return True
        if time.monotonic() < self._locked_until:
            return False
        return await self.authenticator.can_authenticate()


class GuardedKey(KeyProvider):
    """The key of ``provider``, which is released once the gate is open.

    A store opened with ``keys=GuardedKey(KeychainKey("diary"), gate)`` asks the person when it is opened. The
    key then stays in memory until the store is closed.
    """

    def __init__(self, provider: KeyProvider, gate: Gate) -> None:
        self._provider = provider
        self.gate: Gate = gate
        self.name: str = provider.name  # a store can be opened with the provider alone, too

    def __repr__(self) -> str:
        return f"GuardedKey({self._provider!r}, {self.gate!r})"

    async def create(self) -> tuple[bytes, dict[str, str]]:
        await self.gate.enter()
        return await self._provider.create()

    async def find(self, parameters: Mapping[str, str]) -> bytes:
        await self.gate.enter()
        return await self._provider.find(parameters)


def _again(error: AuthenticationError) -> AuthenticationError:
    """The same refusal for another caller: an exception belongs to whom it was raised to."""
    return AuthenticationError(error.message, outcome=error.outcome, hint=error.hint)
