"""A model of what a disk may hold after a crash: weaker than any file system in use.

* What was written to a file since its last sync may be there, be lost, be there in part, or be zeros
  under the new length; of several writes, any may be missing.
* Of the entries of a directory changed since its last sync, any subset may be there: a rename before
  the data, a later change without an earlier one. A rename within a directory is one change. A later
  change of a name is never undone by an earlier one.
* Syncing a file does not make its name durable, nor syncing a directory that of the directory.
* After a failed sync, nothing written before it becomes durable by a later one: operating systems mark
  the pages clean. (A. Rebello et al., "Can Applications Recover from fsync Failures?", USENIX ATC 2020.)

The model follows T. S. Pillai et al., "All File Systems Are Not Created Equal" (ALICE), OSDI 2014.
"""

from __future__ import annotations

import itertools
import os
import random
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from ._operations import Action, Operation

__all__ = ["Image", "Medium"]

SECTOR: Final = 512
CHANGES_MAX: Final = 14
"""Beyond so many unsynced changes of one directory, only some of their subsets are considered."""
WRITES_IN_ANY_ORDER_MAX: Final = 4
"""Beyond so many unsynced writes to one file, only prefixes of them are considered."""


@dataclass(frozen=True)
class Image:
    """A directory tree at rest. Names with one number in ``files`` are links to one file."""

    directories: frozenset[str] = frozenset()
    files: Mapping[str, int] = field(default_factory=dict)
    contents: Mapping[int, bytes] = field(default_factory=dict)

    def key(self, random_names: re.Pattern[str] | None = None) -> tuple[object, ...]:
        """Equal for images that no program can tell apart, names that match ``random_names`` aside."""
        shown = {
            name: random_names.sub("*", name) if random_names is not None else name for name in self.files
        }
        links: dict[int, list[str]] = {}
        for name, at in self.files.items():
            links.setdefault(at, []).append(shown[name])
        files = sorted((tuple(sorted(names)), self.contents[at]) for at, names in links.items())
        return (tuple(files), tuple(sorted(self.directories)))

    def write_to(self, place: Path) -> None:
        """Make a real directory of it."""
        place.mkdir(mode=0o700)
        for folder in sorted(self.directories):
            (place / folder).mkdir(mode=0o700)
        written: dict[int, Path] = {}
        for name, number in self.files.items():
            path = place / name
            if number in written:
                os.link(written[number], path)
                continue
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                os.write(handle, self.contents[number])
            finally:
                os.close(handle)
            written[number] = path

    @classmethod
    def read_from(cls, place: Path) -> Image:
        """Of a real directory."""
        directories, files, contents = set(), {}, {}
        for path in place.rglob("*"):
            name = path.relative_to(place).as_posix()
            if path.is_dir():
                directories.add(name)
            else:
                files[name] = path.stat().st_ino
                contents[files[name]] = path.read_bytes()
        return cls(frozenset(directories), files, contents)

    def __str__(self) -> str:
        files = (f"{name}: {self.contents[at][:40]!r}" for name, at in sorted(self.files.items()))
        return "{" + ", ".join([*files, *(f"{name}/" for name in sorted(self.directories))]) + "}"


class _Write(NamedTuple):
    offset: int
    data: bytes
    doomed: bool = False

    @property
    def end(self) -> int:
        return self.offset + len(self.data)

    def over(self, content: bytes) -> bytes:
        return content[: self.offset].ljust(self.offset, b"\0") + self.data + content[self.end :]

    def torn(self) -> Iterator[_Write]:
        half = len(self.data) // 2
        zeros = bytes(len(self.data))
        yield _Write(self.offset, self.data[:half])
        yield _Write(self.offset + half, self.data[half:])
        yield _Write(self.offset, zeros)
        yield _Write(self.offset, self.data[:half] + zeros[half:])
        if len(self.data) > SECTOR:
            yield _Write(self.offset, self.data[:SECTOR])
            yield _Write(self.offset, self.data[:SECTOR] + zeros[SECTOR:])


@dataclass
class _File:
    durable: bytes = b""
    writes: list[_Write] = field(default_factory=list)

    def sync(self, *, failed: bool) -> None:
        if failed:
            self.writes = [write._replace(doomed=True) for write in self.writes]
            return
        doomed: list[_Write] = []
        for write in self.writes:
            if write.doomed:
                doomed.append(write)
            else:
                self.durable = write.over(self.durable)
                doomed = [old for old in doomed if old.offset < write.offset or old.end > write.end]
        self.writes = doomed

    def outcomes(self) -> list[bytes]:
        """Every content it may have after a crash."""
        writes = [write for write in self.writes if write.data]
        found = {self.durable: None}
        chosen: Iterable[tuple[_Write, ...]]
        if len(writes) <= WRITES_IN_ANY_ORDER_MAX:
            chosen = itertools.chain.from_iterable(
                itertools.combinations(writes, n) for n in range(1, len(writes) + 1)
            )
        else:
            chosen = [tuple(writes[:n]) for n in range(1, len(writes) + 1)]
        for some in chosen:
            content = self.durable
            for write in some[:-1]:
                content = write.over(content)
            for last in (some[-1], *some[-1].torn()):
                found[last.over(content)] = None
        return list(found)


class _Change(NamedTuple):
    entries: tuple[tuple[str, int | None], ...]
    doomed: bool = False


@dataclass
class _Directory:
    durable: dict[str, int] = field(default_factory=dict)
    changes: list[_Change] = field(default_factory=list)
    live: dict[str, int] = field(default_factory=dict)

    def change(self, *entries: tuple[str, int | None]) -> None:
        self.changes.append(_Change(entries))
        _apply(self.live, entries)

    def sync(self, *, failed: bool) -> None:
        if failed:
            self.changes = [change._replace(doomed=True) for change in self.changes]
            return
        doomed: list[_Change] = []
        for change in self.changes:
            if change.doomed:
                doomed.append(change)
                continue
            _apply(self.durable, change.entries)
            names = {name for name, _ in change.entries}
            doomed = [
                _Change(tuple(entry for entry in old.entries if entry[0] not in names), True)
                for old in doomed
            ]
        self.changes = [change for change in doomed if change.entries]

    def outcomes(self) -> list[dict[str, int]]:
        """Every set of entries it may have after a crash."""
        found: dict[frozenset[tuple[str, int]], None] = {}
        for kept in itertools.product((True, False), repeat=len(self.changes)):
            entries = dict(self.durable)
            for change, keep in zip(self.changes, kept, strict=True):
                if keep:
                    _apply(entries, change.entries)
            found[frozenset(entries.items())] = None
        return [dict(entries) for entries in found]


_Axis = tuple[int, list[dict[str, int]] | list[bytes]]
"""A node, and what may become of it."""


def _apply(entries: dict[str, int], changes: tuple[tuple[str, int | None], ...]) -> None:
    for name, node in changes:
        if node is None:
            entries.pop(name, None)
        else:
            entries[name] = node


class Medium:
    """Follows recorded operations and says what a crash may leave."""

    def __init__(self, initial: Image | None = None) -> None:
        self.nodes: list[_File | _Directory] = [_Directory()]
        self._open: dict[int, int] = {}
        if initial is not None:
            self._start_from(initial)

    def _start_from(self, image: Image) -> None:
        for folder in sorted(image.directories):
            self._settle(folder, self._add(_Directory()))
        numbers = {number: self._add(_File(content)) for number, content in image.contents.items()}
        for name, number in image.files.items():
            self._settle(name, numbers[number])

    def _settle(self, name: str, node: int) -> None:
        parent, last = self._parent(name)
        parent.durable[last] = parent.live[last] = node

    def _add(self, node: _File | _Directory) -> int:
        self.nodes.append(node)
        return len(self.nodes) - 1

    def _directory(self, name: str) -> _Directory:
        node = self.nodes[0]
        for component in name.split("/") if name else ():
            assert isinstance(node, _Directory)
            node = self.nodes[node.live[component]]
        assert isinstance(node, _Directory)
        return node

    def _parent(self, name: str) -> tuple[_Directory, str]:
        folder, _, last = name.rpartition("/")
        return self._directory(folder), last

    def perform(self, operation: Operation) -> None:
        """Follow one operation."""
        match operation.action:
            case Action.CREATE | Action.OPEN:
                parent, last = self._parent(operation.name)
                if last not in parent.live:
                    parent.change((last, self._add(_File())))
                self._open[operation.file] = parent.live[last]
            case Action.WRITE:
                self._opened(operation).writes.append(_Write(operation.offset, operation.data))
            case Action.SYNC:
                self._opened(operation).sync(failed=operation.failed)
            case Action.SYNC_DIRECTORY:
                self._directory(operation.name).sync(failed=operation.failed)
            case Action.MKDIR:
                parent, last = self._parent(operation.name)
                parent.change((last, self._add(_Directory())))
            case Action.UNLINK | Action.RMDIR:
                parent, last = self._parent(operation.name)
                parent.change((last, None))
            case Action.LINK | Action.REPLACE:
                self._rename(operation)

    def _opened(self, operation: Operation) -> _File:
        node = self.nodes[self._open[operation.file]]
        assert isinstance(node, _File)
        return node

    def _rename(self, operation: Operation) -> None:
        source, old = self._parent(operation.name)
        target, new = self._parent(operation.target)
        node = source.live[old]
        if operation.action is Action.LINK:
            target.change((new, node))
        elif target.live.get(new) == node:
            pass  # POSIX: two names of one file, and the rename does nothing
        elif source is target:
            source.change((old, None), (new, node))
        else:
            target.change((new, node))
            source.change((old, None))

    def live(self) -> Image:
        """What the directory looks like while nothing crashes."""
        entries = {at: node.live for at, node in enumerate(self.nodes) if isinstance(node, _Directory)}
        contents = {}
        for at, node in enumerate(self.nodes):
            if isinstance(node, _File):
                contents[at] = node.durable
                for write in node.writes:
                    contents[at] = write.over(contents[at])
        return _image(entries, contents)

    def outcomes(self, limit: int, seed: int) -> tuple[list[Image], bool]:
        """The images a crash may leave now, and whether these are all.

        Beyond ``limit``, everything kept, everything lost, and a choice made by ``seed``.
        """
        axes: list[_Axis] = []
        total = 1
        for at, node in enumerate(self.nodes):
            if isinstance(node, _Directory) and len(node.changes) > CHANGES_MAX:
                return self._corners(limit, seed), False
            options = node.outcomes()
            total *= len(options)
            axes.append((at, options))
        if total > limit:
            # Most combinations differ in files that nothing names: worth a look before giving up.
            found = self._reachable(axes, limit)
            return (self._corners(limit, seed), False) if found is None else (found, True)
        return [self._choose(axes, picks) for picks in itertools.product(*(o for _, o in axes))], True

    def _choose(
        self, axes: list[tuple[int, list[dict[str, int]] | list[bytes]]], picks: tuple[object, ...]
    ) -> Image:
        entries = {at: pick for (at, _), pick in zip(axes, picks, strict=True) if isinstance(pick, dict)}
        contents = {at: pick for (at, _), pick in zip(axes, picks, strict=True) if isinstance(pick, bytes)}
        return _image(entries, contents)

    def _reachable(self, axes: list[_Axis], limit: int) -> list[Image] | None:
        folders = [(at, o) for at, o in axes if isinstance(self.nodes[at], _Directory)]
        files = {at: o for at, o in axes if isinstance(self.nodes[at], _File)}
        found: dict[tuple[object, ...], Image] = {}
        for picks in itertools.islice(itertools.product(*(o for _, o in folders)), limit + 1):
            entries = {at: pick for (at, _), pick in zip(folders, picks, strict=True)}
            shape = _image(entries, dict.fromkeys(files, b""))  # type: ignore[arg-type]
            named = sorted(set(shape.files.values()))
            for contents in itertools.product(*(files[at] for at in named)):
                image = Image(shape.directories, shape.files, dict(zip(named, contents, strict=True)))  # type: ignore[arg-type]
                found[image.key()] = image
                if len(found) > limit:
                    return None
        return list(found.values())

    def _corners(self, limit: int, seed: int) -> list[Image]:
        chance = random.Random(seed)  # noqa: S311 - a reproducible choice, no secret
        found = [self.live(), self._random(chance, 0.0)]
        found += [self._random(chance, chance.random()) for _ in range(limit)]
        return found

    def _random(self, chance: random.Random, keep: float) -> Image:
        entries, contents = {}, {}
        for at, node in enumerate(self.nodes):
            if isinstance(node, _Directory):
                entries[at] = dict(node.durable)
                for change in node.changes:
                    if chance.random() < keep:
                        _apply(entries[at], change.entries)
            else:
                contents[at] = chance.choice(node.outcomes()) if keep else node.durable
        return _image(entries, contents)


def _image(entries: Mapping[int, Mapping[str, int]], contents: Mapping[int, bytes]) -> Image:
    """The tree below node 0."""
    directories, files = set(), {}
    folders = [("", 0)]
    while folders:
        folder, at = folders.pop()
        for last, node in entries[at].items():
            name = f"{folder}/{last}" if folder else last
            if node in entries:
                directories.add(name)
                folders.append((name, node))
            else:
                files[name] = node
    return Image(frozenset(directories), files, {at: contents[at] for at in files.values()})
