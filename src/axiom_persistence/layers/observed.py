"""Who changes what, told to whoever wants to know."""

from __future__ import annotations

import asyncio
import logging
import threading
import weakref
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Final, Self

from ..errors import ConflictError
from ..storage.adapter import Changes, Durability, Expect, StorageAdapter
from ..storage.layer import Layer

if TYPE_CHECKING:
    from pathlib import Path

    from ._changes.stream import Change, ChangeStream, Origin

__all__ = ["Change", "ChangeStream", "Observed", "Origin"]

_log = logging.getLogger("axiom_persistence")

_QUICK_POLL_S: Final = 0.025
"""How often a waiting consumer looks at the change mark: a fraction of a microsecond each time."""


class Observed(Layer):
    """Tells changes: those committed through it at once, those of other processes when the mark moves.

    ``changes(prefix)`` gives a stream. Without streams a commit costs one look more. A stream looks at
    the inner adapter's change mark while somebody waits for it: 40 times a second, or every ``poll``
    seconds where there is no mark, or where file events wake it: in ``watch``, the directory of the
    store, if watchfiles is installed (the extra ``watch``). Which keys changed is found by reading what
    the stream watches, so watch few keys of a large store; the time between two readings is at least ten
    times that of one.
    """

    def __init__(self, inner: StorageAdapter, *, poll: float = 1.0, watch: Path | None = None) -> None:
        super().__init__(inner)
        self._poll = poll
        self._watch = watch if watch is not None and _has_watchfiles() else None
        self._foreign = inner.traits.changed_elsewhere
        self._lock = threading.Lock()
        self._streams: tuple[weakref.ref[ChangeStream], ...] = ()  # replaced, never changed
        self._watchers: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Task[None]] = (
            weakref.WeakKeyDictionary()
        )

    def changes(self, prefix: str = "", *, limit: int | None = None, exact: bool = False) -> ChangeStream:
        """The changes of keys that begin with ``prefix``; for one consumer, in any event loop.

        ``exact``: of the one key that is ``prefix``.
        At most ``limit`` changes wait (None: 4,096); what does not fit is found again by comparing.
        """
        from ..storage.changelog import ChangeLog
        from ._changes.stream import MAX_PENDING, ChangeStream

        limit = MAX_PENDING if limit is None else limit
        poll = self._poll
        if self._watch is None and self._foreign and self.inner.change_mark() is not None:
            poll = min(poll, _QUICK_POLL_S)
        stream = ChangeStream(
            self.inner,
            prefix,
            foreign=self._foreign,
            poll=poll,
            limit=limit,
            exact=exact,
            started=self._follow_files,
            log=self.inner.find(ChangeLog) if self._foreign else None,  # type: ignore[type-abstract]
        )
        with self._lock:
            self._streams = (*self._streams, weakref.ref(stream, self._forget))
        return stream

    async def aclose(self) -> None:
        """End all streams and close the inner adapter."""
        for stream in self._open_streams():
            stream.close()
        watcher = self._watchers.pop(asyncio.get_running_loop(), None)
        if watcher is not None:
            watcher.cancel()
            await asyncio.wait({watcher})
        await self.inner.aclose()

    async def commit(
        self, changes: Changes, *, expect: Expect | None = None, durability: Durability | None = None
    ) -> Mapping[str, str]:
        if self._streams:
            with _Telling(self, changes) as telling:
                telling.versions = await self.inner.commit(changes, expect=expect, durability=durability)
                return telling.versions
        known = None
        try:
            versions = known = await self.inner.commit(changes, expect=expect, durability=durability)
        finally:
            if self._streams:
                self._tell_late(changes, known)
        return versions

    def commit_now(self, changes: Changes) -> Mapping[str, str] | None:
        if self._streams:
            with _Telling(self, changes) as telling:
                telling.versions = versions = self.inner.commit_now(changes)
                telling.is_settled = versions is None
                return versions
        versions = None
        try:
            versions = self.inner.commit_now(changes)
        finally:
            if self._streams:
                self._tell_late(changes, versions)
        return versions

    async def delete_prefix(
        self, prefix: str, *, after: str | None = None, durability: Durability | None = None
    ) -> int:
        gone: Changes = {}
        if self._streams_over(prefix):
            gone = dict.fromkeys([key async for key in self.inner.keys(prefix, after=after)])
        try:
            with _Telling(self, gone) as telling:
                count = await self.inner.delete_prefix(prefix, after=after, durability=durability)
                telling.versions = {}
            return count
        finally:
            # What was written while it was on its way may be gone or not, and some came meanwhile.
            for stream in self._streams_over(prefix):
                stream.look_again()

    async def purge(self, keys: Collection[str], *, previous_of: Collection[str] = ()) -> None:
        with _Telling(self, dict.fromkeys(keys)) as telling:
            await self.inner.purge(keys, previous_of=previous_of)
            telling.versions = {}

    def _streams_over(self, prefix: str) -> list[ChangeStream]:
        """The open streams that watch keys with ``prefix``."""
        streams = self._open_streams()
        return [s for s in streams if s.prefix.startswith(prefix) or prefix.startswith(s.prefix)]

    def _tell_late(self, changes: Changes, versions: Mapping[str, str] | None) -> None:
        """Tell those who came while it was on its way: they may have read what was there before."""
        telling = _Telling(self, changes)
        telling.versions = versions
        telling.end(is_unchanged=False)

    def _forget(self, dropped: weakref.ref[ChangeStream]) -> None:
        with self._lock:
            self._streams = tuple(stream for stream in self._streams if stream is not dropped)

    def _open_streams(self) -> list[ChangeStream]:
        streams = [stream for reference in self._streams if (stream := reference()) is not None]
        return [stream for stream in streams if not stream.is_closed]

    # -- file events -------------------------------------------------------------------------------

    def _follow_files(self) -> None:
        """Have the streams of this event loop woken by file events."""
        if self._watch is None:
            return
        loop = asyncio.get_running_loop()
        watcher = self._watchers.get(loop)
        if watcher is None or watcher.done():
            self._watchers[loop] = loop.create_task(self._wake_by_file_events(self._watch))

    async def _wake_by_file_events(self, place: Path) -> None:
        from watchfiles import awatch

        try:
            events = awatch(place, watch_filter=None, debounce=50, step=5, yield_on_timeout=True)
            async for _ in events:
                streams = self._open_streams()
                if not streams:
                    return
                for stream in streams:
                    stream.wake()
        except (OSError, RuntimeError) as error:
            # No more watches to be had, or none on this file system: the mark tells as well.
            _log.warning("no file events from %s (%s): looking at the change mark instead", place, error)
            self._watch = None
            for stream in self._open_streams():
                stream.poll = min(stream.poll, _QUICK_POLL_S)
                stream.wake()


class _Telling:
    """One commit, told to the streams when it ends."""

    __slots__ = ("_begun", "_changes", "_observed", "is_settled", "versions")

    def __init__(self, observed: Observed, changes: Changes) -> None:
        self.versions: Mapping[str, str] | None = None
        self.is_settled = False  # that nothing was changed
        self._observed = observed
        self._changes = changes
        self._begun: list[tuple[ChangeStream, dict[str, bytes | None], int]] = []

    def __enter__(self) -> Self:
        for stream in self._observed._open_streams():
            wanted = self._wanted_by(stream)
            # Its end tells a stream in doubt that what had failed before has taken effect or never will.
            if wanted or (self._changes and stream.is_in_doubt):
                self._begun.append((stream, wanted, stream.begin(wanted)))
        return self

    def _wanted_by(self, stream: ChangeStream) -> dict[str, bytes | None]:
        return {key: data for key, data in self._changes.items() if stream.wants(key)}

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.end(is_unchanged=self.is_settled or (kind is not None and issubclass(kind, ConflictError)))

    def end(self, *, is_unchanged: bool) -> None:
        begun = {id(stream) for stream, _, _ in self._begun}
        for stream in self._observed._open_streams():
            if id(stream) not in begun and (wanted := self._wanted_by(stream)):
                # It came meanwhile: this one was called before whatever failed since, so it proves nothing.
                stream.begin(wanted)
                self._begun.append((stream, wanted, 0))
        for stream, wanted, number in self._begun:
            if is_unchanged:
                stream.withdraw(wanted)
            elif self.versions is None:
                stream.fail(wanted)
            else:
                stream.end(number, wanted, self.versions)


def _has_watchfiles() -> bool:
    from importlib.util import find_spec

    return find_spec("watchfiles") is not None


def __getattr__(name: str) -> object:
    # Most programs watch nothing, and start without the half of this that streams are made of.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from ._changes import stream as _change_stream

    return getattr(_change_stream, name)
