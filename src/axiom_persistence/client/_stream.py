"""Who watches a client: each sees the present state first, then what changed, and never costs more."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Any

from ..errors import shown
from ..layers.observed import Origin

__all__ = ["ClientUpdate", "Watchers"]


class ClientUpdate:
    """The values of all fields at one moment, and which of them changed since the update before.

    ``changed`` says of each where the latest change came from. ``overwritten`` holds what another process
    stored in a field that had an unsaved value here: the local value stays and replaces it.
    """

    __slots__ = ("_hidden", "changed", "overwritten", "values")

    def __init__(
        self,
        values: Mapping[str, Any],
        changed: Mapping[str, Origin],
        overwritten: Mapping[str, Any],
        hidden: frozenset[str],
    ) -> None:
        self.values: Mapping[str, Any] = MappingProxyType(dict(values))
        self.changed: Mapping[str, Origin] = MappingProxyType(dict(changed))
        self.overwritten: Mapping[str, Any] = MappingProxyType(dict(overwritten))
        self._hidden = hidden

    def __getitem__(self, name: str) -> Any:
        return self.values[name]

    def __repr__(self) -> str:
        values = ", ".join(
            f"{name}={'<secret>' if name in self._hidden else shown(value)}"
            for name, value in self.values.items()
        )
        return (
            f"<ClientUpdate {values} changed={sorted(self.changed)} overwritten={sorted(self.overwritten)}>"
        )


class _Watcher:
    """One consumer: what changed since it last looked, at most one entry a field."""

    def __init__(self, only: frozenset[str] | None) -> None:
        self.only = only
        self.changed: dict[str, Origin] = {}
        self.overwritten: dict[str, Any] = {}
        self.over = False
        self.loop = asyncio.get_running_loop()
        self.event = asyncio.Event()

    def wake(self) -> None:
        with suppress(RuntimeError):  # that loop is closed, and its consumer gone with it
            self.loop.call_soon_threadsafe(self.event.set)


class Watchers:
    """All consumers of one client, on any event loops."""

    __slots__ = ("_all", "_lock")

    def __init__(self) -> None:
        self._all: set[_Watcher] = set()
        self._lock = threading.Lock()

    def __bool__(self) -> bool:
        return bool(self._all)

    def tell(self, names: Iterable[str], origin: Origin, overwritten: Mapping[str, Any]) -> None:
        """Note that fields changed, and wake whoever waits for one of them."""
        with self._lock:
            for watcher in self._all:
                concerned = [name for name in names if watcher.only is None or name in watcher.only]
                lost = {n: v for n, v in overwritten.items() if watcher.only is None or n in watcher.only}
                if concerned or lost:
                    watcher.changed.update(dict.fromkeys(concerned, origin))
                    watcher.overwritten.update(lost)
                    watcher.wake()

    def end(self) -> None:
        """Let every stream finish."""
        with self._lock:
            for watcher in self._all:
                watcher.over = True
                watcher.wake()

    async def stream(
        self,
        values: Callable[[], Mapping[str, Any]],
        hidden: frozenset[str],
        only: frozenset[str] | None,
    ) -> AsyncIterator[ClientUpdate]:
        watcher = _Watcher(only)
        with self._lock:
            self._all.add(watcher)
        try:
            yield ClientUpdate(values(), {}, {}, hidden)
            while True:
                watcher.event.clear()
                with self._lock:
                    changed, watcher.changed = watcher.changed, {}
                    overwritten, watcher.overwritten = watcher.overwritten, {}
                if changed or overwritten:
                    yield ClientUpdate(values(), changed, overwritten, hidden)
                elif watcher.over:
                    return
                else:
                    await watcher.event.wait()
        finally:
            with self._lock:
                self._all.discard(watcher)
