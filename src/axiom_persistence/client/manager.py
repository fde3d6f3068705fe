"""Several clients started in order, each on its own, and stopped in reverse."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Mapping
from typing import Any, Self, TypeVar

from ..errors import ClientsFailedError, ConfigurationError
from ..runtime.faces import AsyncOnly
from ._commit import save_together
from ._lifecycle import ClientPhase, Persistable
from ._state import State, state_of

__all__ = ["ClientManager"]

_log = logging.getLogger("axiom_persistence")

T = TypeVar("T")


class ClientManager(AsyncOnly):
    """Starts clients in the order of their registration and stops them in reverse.

    Takes any ``Persistable``: a ``Client``, or a class of your own. One that cannot be restored does not
    keep the others from starting: ``failures`` says which, and it can be started again by ``start``.
    At the end, all clients of a store are saved in one commit. An async context manager.
    """

    def __init__(self) -> None:
        self._clients: dict[str, Persistable] = {}
        self._started: dict[str, Persistable] = {}
        self.failures: dict[str, Exception] = {}
        """Why clients are not running, or are degraded, by key. Empty: all is well."""

    def register(self, client: T, key: str | None = None) -> T:
        """Add ``client`` under ``key`` (its class's name, if none is given), and return it."""
        if not isinstance(client, Persistable):
            missing = [
                name
                for name in ("persisted_keys", "persistence", "persist_state", "restore_state")
                if not hasattr(client, name)
            ]
            raise ConfigurationError(
                f"{type(client).__qualname__} is not Persistable: it has no {', '.join(missing)}",
                hint="make it a Client, or give it these",
            )
        name = type(client).__qualname__ if key is None else key
        if name in self._clients:
            raise ConfigurationError(
                f"a client is registered as {name!r} already", hint="give this one a key of its own"
            )
        self._clients[name] = client
        return client

    def client(self, key: str, type: type[T]) -> T:
        """The client registered under ``key``."""
        found: object = self._clients.get(key)
        if not isinstance(found, type):
            known = ", ".join(repr(name) for name in self._clients) or "none"
            raise ConfigurationError(
                f"no {type.__qualname__} is registered as {key!r}", hint=f"registered are {known}"
            )
        return found

    async def process(self, key: str, action: object) -> Any:
        """Have the client under ``key`` process ``action``, and return what it returns."""
        client = self.client(key, object)
        process = getattr(client, "process", None)
        if process is None:
            raise ConfigurationError(
                f"{type(client).__qualname__}, registered as {key!r}, processes no actions",
                hint="give it `async def process(self, action)`, as a Client has",
            )
        return await process(action)

    @property
    def running(self) -> tuple[str, ...]:
        """The keys of the clients that were started."""
        return tuple(self._started)

    async def start(self) -> Mapping[str, Exception]:
        """Restore every client that is not running, in order; return what failed, by key."""
        for key, client in self._clients.items():
            if key in self._started:
                continue
            self.failures.pop(key, None)
            try:
                restoring = client.restore_state()
                if not inspect.isawaitable(restoring):
                    raise ConfigurationError(
                        f"{type(client).__qualname__} is a blocking client, which nobody can await",
                        hint="declare it as an axiom_persistence.Client, or enter it with `with`",
                    )
                await restoring
            except Exception as error:
                self._failed(key, error)
                continue
            self._started[key] = client
            state = state_of(client)
            if state is not None and state.phase is ClientPhase.DEGRADED:
                self._failed(key, next(iter(state.unreadable.values())))
        return dict(self.failures)

    async def stop(self) -> None:
        """Save and close every running client, the last one first.

        Raises ``ClientsFailedError`` after all of them were tried; a client that could not be saved stays
        as it is, and ``stop`` tries it again.
        """
        failures: dict[str, Exception] = {}
        # One commit for all of a store; whatever fails in it is raised by the client's own end.
        states = [state for state in map(state_of, self._started.values()) if state is not None]
        await save_together(filter(_is_live, states))
        for key, client in reversed(list(self._started.items())):
            try:
                if state_of(client) is not None:
                    await client.close()  # type: ignore[attr-defined]
                else:
                    await client.persist_state()
            except Exception as error:
                failures[key] = error
                continue
            del self._started[key]
        if failures:
            self.failures.update(failures)
            raise ClientsFailedError(failures)

    def _failed(self, key: str, error: Exception) -> None:
        self.failures[key] = error
        _log.error("the client %r: %s", key, error)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()


def _is_live(state: State) -> bool:
    return state.is_live
