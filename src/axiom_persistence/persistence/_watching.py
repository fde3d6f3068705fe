"""What changes, told to whoever waits for it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, TypeVar, overload

from ..keys import INTERNAL, MISSING, Key
from ..runtime.faces import walk
from ._arguments import kind_and_default
from ._several import Several

__all__ = ["Watching"]

if TYPE_CHECKING:
    from ..layers.observed import Change

T = TypeVar("T")
D = TypeVar("D")


class Watching(Several):
    """The streams: of changes, and of values."""

    def changes(self, prefix: str = "") -> AsyncIterator[Change]:
        """What is changed from now on under ``prefix``: key, version and by whom, without the value.

        Bounded: a key that changes often is told once, with its latest version. Other processes' commits
        are noticed too. That a value expires is no commit, and not told. Raises ``ConfigurationError``
        where no ``Observed`` is in the stack.
        """
        from ._observing import change_stream

        stream = change_stream(self._store, self._prefix + prefix)
        return _without_prefix(stream, len(self._prefix))

    @overload
    def observe(self, key: Key[T]) -> AsyncIterator[T]: ...
    @overload
    def observe(self, key: str, type: type[T], *, default: None = None) -> AsyncIterator[T | None]: ...
    @overload
    def observe(self, key: str, type: type[T], *, default: D) -> AsyncIterator[T | D]: ...
    @overload
    def observe(self, key: str, type: Any, *, default: Any = None) -> AsyncIterator[Any]: ...
    def observe(self, key: str | Key[Any], type: Any = MISSING, *, default: Any = None) -> AsyncIterator[Any]:
        """The value under ``key`` first, then each other value it gets; ends when the persistence closes.

        ``default`` while nothing is stored, also once the value was deleted or has expired. A slow consumer
        sees several changes as one, and never misses the last. Equal values in a row are told once. Raises
        what ``load`` raises, and ``ConfigurationError`` where no ``Observed`` is in the stack.
        """
        from ._observing import observe

        kind, default = kind_and_default(key, type, default)
        return observe(self._store, self._name(key), kind, default)

    @overload
    def observe_prefix(
        self, prefix: str, type: type[T], *, default: None = None
    ) -> AsyncIterator[tuple[str, T | None]]: ...
    @overload
    def observe_prefix(
        self, prefix: str, type: type[T], *, default: D
    ) -> AsyncIterator[tuple[str, T | D]]: ...
    @overload
    def observe_prefix(
        self, prefix: str, type: Any, *, default: Any = None
    ) -> AsyncIterator[tuple[str, Any]]: ...
    def observe_prefix(
        self, prefix: str, type: Any, *, default: Any = None
    ) -> AsyncIterator[tuple[str, Any]]:
        """Each key that begins with ``prefix``, with its value: those that are there, then what changes.

        The first are in key order. ``default`` for one that was deleted or has expired. Otherwise as
        ``observe``; it remembers some 100 bytes a key.
        """
        from ._observing import observe_prefix

        kind, default = kind_and_default(prefix, type, default)
        observed = observe_prefix(self._store, self._prefix + prefix, kind, default)
        return _named_without_prefix(observed, len(self._prefix))


@walk
async def _without_prefix(changes: AsyncIterator[Change], cut: int) -> AsyncIterator[Change]:
    async for change in changes:
        if change.key[cut : cut + 1] != INTERNAL:
            yield change._replace(key=change.key[cut:]) if cut else change


async def _named_without_prefix(
    observed: AsyncIterator[tuple[str, Any]], cut: int
) -> AsyncIterator[tuple[str, Any]]:
    async for key, value in observed:
        yield key[cut:], value
