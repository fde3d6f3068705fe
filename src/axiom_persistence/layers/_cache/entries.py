"""What a cache holds: bytes within a limit, and the rule by which a slow read never undoes a newer write."""

from __future__ import annotations

import itertools
import threading
import weakref
from collections import OrderedDict
from collections.abc import Container, Hashable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from ...errors import ConflictError
from ...storage.adapter import CachedRecord, Changes, Stored

__all__ = ["Entries", "Entry", "Follower"]

_ENTRY_BYTES: Final = 700
"""What an entry costs beside its data: nine small objects and a place in the dict, on 64-bit CPython."""


_openings: Final = itertools.count()

_FOLLOWED_KEYS: Final = 1 << 16
"""How many written keys are noted for one that does not ask."""


class Entry:
    """One cached answer. ``kept`` is None where the answer is that nothing is stored."""

    __slots__ = ("born", "kept", "mark", "size", "used")

    def __init__(self, kept: CachedRecord | None, size: int, mark: Hashable, born: float) -> None:
        self.kept = kept
        self.size = size
        self.mark = mark
        self.born = born
        self.used = False


class Follower:
    """Which keys with ``prefix`` were written through a cache since it was last asked, and their versions."""

    __slots__ = ("__weakref__", "mark", "prefix", "written")

    def __init__(self, prefix: str) -> None:
        self.prefix: str = prefix
        self.mark: Hashable = None
        self.written: dict[str, str | None] | None = None
        """The version of each key. None in its place: the key must be read; in place of all: all of them."""

    def note(self, key: str, version: str | None) -> None:
        if self.written is not None and key.startswith(self.prefix):
            self.written[key] = version
            if len(self.written) > _FOLLOWED_KEYS:
                self.written = None


class Entries:
    """Cached answers by key, the least used evicted by second chance when ``max_bytes`` are exceeded.

    A read takes a lease before it asks the store and may keep the answer only while it holds it; a write
    ends the leases of its keys when it begins, and none is given until it has ended. An entry counts for
    five times its data and more, since readers hang what they decoded on it: see ``CachedRecord.room``.

    ``lock`` guards everything, and may be taken again by who has it; ``get`` alone takes no lock, so it may
    answer what a commit that is just beginning will replace. Keys in ``elsewhere`` are never kept: somebody
    else answers for them.
    """

    def __init__(self, max_bytes: int, elsewhere: Container[str] = ()) -> None:
        self.max_bytes = max_bytes
        self.lock = threading.RLock()
        self.bytes = 0
        self.evictions = 0
        self._elsewhere = elsewhere
        self._entries: OrderedDict[str, Entry] = OrderedDict()
        self.get = self._entries.get
        self._leases: dict[str, int] = {}
        # Commits of a key that are on their way: how many, and the number of the only one; 0 once there were
        # several, since which of them comes last is not known.
        self._writing: dict[str, tuple[int, int]] = {}
        # Keys of commits that may yet take effect, and how many commits had been called when that was known.
        self._doubtful: dict[str, int] = {}
        # Deletions of all keys with a prefix, on their way by number, and those that may yet take effect.
        self._sweeps: dict[int, str] = {}
        self._doubtful_sweeps: dict[str, int] = {}
        self._swept: tuple[str, ...] = ()  # the prefixes of both
        self._followers: tuple[weakref.ref[Follower], ...] = ()  # replaced, never changed
        # No lease of an earlier opening of the cache is one of these.
        self._number = next(_openings) << 40

    def __len__(self) -> int:
        return len(self._entries)

    # -- reads -------------------------------------------------------------------------------------

    def lease(self, keys: Iterable[str]) -> int:
        """Announce a read of ``keys``; to be followed by ``fill`` or ``give_up``."""
        with self.lock:
            self._number += 1
            for key in keys:
                if not (
                    key in self._writing
                    or key in self._doubtful
                    or key in self._elsewhere
                    or key.startswith(self._swept)
                ):
                    self._leases[key] = self._number
            return self._number

    def fill(
        self, lease: int, keys: Iterable[str], found: Mapping[str, Stored], mark: Hashable, born: float
    ) -> dict[str, Stored]:
        """Keep what a read found, where its lease still holds; what to hand out for ``found``.

        ``mark`` was read before the store was asked, so that a commit in between makes it differ.
        """
        answer: dict[str, Stored] = {}
        with self.lock:
            for key in keys:
                stored = found.get(key)
                if self._leases.get(key) == lease:
                    del self._leases[key]
                    stored = self._keep(key, stored, mark, born)
                if stored is not None:
                    answer[key] = stored
        return answer

    def give_up(self, lease: int, keys: Iterable[str]) -> None:
        """End the leases of a read that found nothing out."""
        with self.lock:
            for key in keys:
                if self._leases.get(key) == lease:
                    del self._leases[key]

    def _keep(self, key: str, stored: Stored | None, mark: Hashable, born: float) -> Stored | None:
        if stored is not None and stored.damage is not None:
            self._remove(key)  # whoever repairs it must be asked again
            return stored
        entry = self._entries.get(key)
        if entry is not None and _same(entry.kept, stored):
            # The same object again: what was decoded from it is still good.
            entry.mark, entry.born = mark, born
            return entry.kept
        return self._insert(key, None if stored is None else CachedRecord(*stored), mark, born)

    # -- writes ------------------------------------------------------------------------------------

    def is_settled(self, keys: Iterable[str]) -> bool:
        """Whether no commit of ``keys`` is on its way, and none that failed may yet land. Under ``lock``."""
        if self._doubtful or self._doubtful_sweeps:
            return False
        return not any(key in self._writing or key.startswith(self._swept) for key in keys)

    def begin_write(self, keys: Iterable[str]) -> tuple[int, dict[str, Entry]]:
        """Announce a commit that touches ``keys``: its number, and their entries, which are taken out.

        To be followed by ``end_write``.
        """
        leases, entries, writing = self._leases, self._entries, self._writing
        cached = {}
        with self.lock:
            self._number = number = self._number + 1
            for key in keys:
                if leases:
                    leases.pop(key, None)
                entry = entries.pop(key, None)
                if entry is not None:
                    self.bytes -= entry.size
                    cached[key] = entry
                writing[key] = (writing[key][0] + 1, 0) if key in writing else (1, number)
        return number, cached

    def end_write(
        self,
        number: int,
        keys: Iterable[str],
        cached: Mapping[str, Entry],
        changes: Changes,
        versions: Mapping[str, str] | None,
        born: float,
    ) -> None:
        """Keep what was written to keys that were ``cached``, unless the key had another commit on its way.

        With the mark of the entry that was replaced: if somebody else committed since, it differs. None for
        ``versions``: nothing was done, or not by this call.
        """
        writing = self._writing
        with self.lock:
            if (self._doubtful or self._doubtful_sweeps) and versions is not None and changes:
                self._end_doubts(number)
            for key in keys:
                count, only = writing[key]
                if count == 1:
                    del writing[key]
                else:
                    writing[key] = (count - 1, 0)
                if versions is not None and key in cached and key in changes and only == number:
                    data = changes[key]
                    kept = None if data is None else CachedRecord(data, versions[key])
                    self._insert(key, kept, cached[key].mark, born)
                if self._followers:
                    self._note(key, None if versions is None or only != number else versions.get(key))

    def fail_write(
        self, number: int, keys: Iterable[str], changes: Iterable[str], error: BaseException
    ) -> None:
        """End a commit that raised. Unless it was refused, it may still take effect: then keep no answer for
        its keys until one did that is called from now on, since the mark need not tell of our own commits.
        One called earlier proves nothing: threads may have called the two in another order.
        """
        with self.lock:
            if not isinstance(error, ConflictError):
                self._number += 1
                for key in changes:
                    self._doubtful[key] = self._number
                    self.forget(key)
            self.end_write(number, keys, {}, {}, None, 0.0)

    def _end_doubts(self, number: int) -> None:
        """Commit ``number`` took effect, and so did, or never will, all that had been called before it."""
        self._doubtful = {key: n for key, n in self._doubtful.items() if n > number}
        self._doubtful_sweeps = {prefix: n for prefix, n in self._doubtful_sweeps.items() if n > number}
        self._swept = (*self._sweeps.values(), *self._doubtful_sweeps)

    @contextmanager
    def sweeping(self, prefix: str) -> Iterator[None]:
        """Inside, all keys that begin with ``prefix`` are deleted: no answer for one of them is kept.

        If it raises, none is kept afterwards either, until a commit took effect that is called later.
        """
        with self.lock:
            self._number = number = self._number + 1
            self._sweeps[number] = prefix
            self._swept = (*self._swept, prefix)
            for key in [key for key in self._entries if key.startswith(prefix)]:
                self._remove(key)
            for key in [key for key in self._leases if key.startswith(prefix)]:
                del self._leases[key]
            for key, (count, _) in self._writing.items():
                if key.startswith(prefix):
                    self._writing[key] = (count, 0)  # which of the two comes last is not known
            self.distrust()
        try:
            yield
        except BaseException:
            with self.lock:
                self._number += 1
                self._doubtful_sweeps[prefix] = self._number
                self._end_sweep(number, 0)
            raise
        with self.lock:
            self._end_sweep(number, number)

    def _end_sweep(self, number: int, proven: int) -> None:
        del self._sweeps[number]
        self._end_doubts(proven)
        self.distrust()

    # -- followers ---------------------------------------------------------------------------------

    def _unfollow(self, dropped: weakref.ref[Follower]) -> None:
        with self.lock:
            self._followers = tuple(each for each in self._followers if each is not dropped)

    def _note(self, key: str, version: str | None) -> None:
        for reference in self._followers:
            follower = reference()
            if follower is not None:
                follower.note(key, version)

    def written(self, follower: Follower, mark: Hashable) -> dict[str, str | None] | None:
        """What was noted since the last call, if the mark is still the one of then; None: not known."""
        with self.lock:
            written, follower.written = follower.written, {}
            if all(reference() is not follower for reference in self._followers):
                written, self._followers = None, (*self._followers, weakref.ref(follower, self._unfollow))
            for key in (*self._doubtful, *self._writing):
                # It may have been written just now, or be at any moment: to be read now and next time.
                follower.note(key, None)
                if written is not None and key.startswith(follower.prefix):
                    written[key] = None
            is_known, follower.mark = mark == follower.mark and not self._swept, mark
        return written if is_known else None

    def distrust(self) -> None:
        """Have followers read everything anew."""
        with self.lock:
            for reference in self._followers:
                follower = reference()
                if follower is not None:
                    follower.written = None

    # -- entries -----------------------------------------------------------------------------------

    def forget(self, key: str) -> None:
        """Drop the entry and the lease of ``key``. Under ``lock``."""
        self._leases.pop(key, None)
        self._remove(key)

    def clear(self, keys: Iterable[str] | None = None) -> None:
        """Drop the entries and leases of ``keys``; None: of all."""
        with self.lock:
            self.distrust()
            if keys is not None:
                for key in keys:
                    self.forget(key)
                return
            self._leases.clear()
            self._entries.clear()
            self.bytes = 0

    def _remove(self, key: str) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self.bytes -= entry.size

    def _insert(
        self, key: str, kept: CachedRecord | None, mark: Hashable, born: float
    ) -> CachedRecord | None:
        if key in self._entries:
            self._remove(key)
        size = _ENTRY_BYTES + len(key)
        if kept is not None:
            size += len(kept.data) + kept.room
        if size > self.max_bytes // 2:
            return kept  # it would push out half of everything else
        self._entries[key] = Entry(kept, size, mark, born)
        self.bytes += size
        while self.bytes > self.max_bytes:
            oldest, entry = self._entries.popitem(last=False)
            if entry.used:
                entry.used = False
                self._entries[oldest] = entry
            else:
                self.bytes -= entry.size
                self.evictions += 1
        return kept


def _same(kept: CachedRecord | None, stored: Stored | None) -> bool:
    if kept is None or stored is None:
        return kept is stored
    return kept.version == stored.version
