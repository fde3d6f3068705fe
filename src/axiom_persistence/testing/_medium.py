"""A model of what a disk may hold after a crash: weaker than any file system in use.

* What was written to a file since its last sync may be there, be lost, be there in part, or be zeros
  under the new length; of several writes, any may be missing.
* Of the entries of a directory changed since its last sync, any subset may be there: a rename before
  the data, a later change without an earlier one. A rename within a directory is one change. A later
  change of a name is never undone by an earlier one. Where they are ``ordered``, only those up to some
  moment: so file systems do it that keep a journal.
* Syncing a file does not make its name durable, nor syncing a directory that of the directory.
* After a failed sync, nothing written before it becomes durable by a later one: operating systems mark
  the pages clean. (A. Rebello et al., "Can Applications Recover from fsync Failures?", USENIX ATC 2020.)

The model follows T. S. Pillai et al., "All File Systems Are Not Created Equal" (ALICE), OSDI 2014.
"""

from __future__ import annotations

import itertools
import math
import os
import random
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Generic, NamedTuple, TypeVar

from .recording import Action, Operation

__all__ = ["Image", "Medium"]

_State = dict[str, int] | bytes
"""Of a node: the entries of a directory, each with the number of its node, or the content of a file."""
S = TypeVar("S", bound=_State)

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
        links: dict[int, list[str]] = {}
        for name, at in self.files.items():
            links.setdefault(at, []).append(random_names.sub("*", name) if random_names else name)
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
            path.touch(mode=0o600, exist_ok=False)
            path.write_bytes(self.contents[number])
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

    def after(self, later: _Write) -> _Write | None:
        """What of it can still show once ``later`` is durable."""
        return None if later.offset <= self.offset and self.end <= later.end else self

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


class _Change(NamedTuple):
    """Entries of a directory that change together; one that becomes None is gone."""

    entries: dict[str, int | None]
    doomed: bool = False

    def over(self, entries: dict[str, int]) -> dict[str, int]:
        return {name: node for name, node in {**entries, **self.entries}.items() if node is not None}

    def after(self, later: _Change) -> _Change | None:
        """What of it can still show once ``later`` is durable."""
        rest = {name: node for name, node in self.entries.items() if name not in later.entries}
        return _Change(rest, self.doomed) if rest else None


@dataclass
class _Node(Generic[S]):
    """What the medium has for certain, and the changes that it may have, too, the oldest first."""

    durable: S
    pending: list[Any] = field(default_factory=list)

    @property
    def live(self) -> S:
        """What it holds while nothing crashes."""
        state = self.durable
        for change in self.pending:
            state = change.over(state)
        return state

    def sync(self, *, failed: bool) -> None:
        if failed:
            self.pending = [change._replace(doomed=True) for change in self.pending]
            return
        doomed: list[Any] = []
        for change in self.pending:
            if change.doomed:
                doomed.append(change)
            else:
                self.durable = change.over(self.durable)
                doomed = [rest for old in doomed if (rest := old.after(change))]
        self.pending = doomed


class _File(_Node[bytes]):
    pending: list[_Write]

    def outcomes(self) -> list[bytes]:
        """Every content it may have after a crash."""
        writes = [write for write in self.pending if write.data]
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


@dataclass
class _Directory(_Node[dict[str, int]]):
    pending: list[_Change] = field(default_factory=list)
    ordered: bool = False

    def outcomes(self) -> list[dict[str, int]]:
        """Every set of entries it may have after a crash."""
        last = self.durable
        found = {frozenset(last.items()): last}
        for change in self.pending:
            before = [last] if self.ordered else [*found.values()]
            for last in [change.over(entries) for entries in before]:
                found[frozenset(last.items())] = last
        return list(found.values())


class Medium:
    """Follows recorded operations and says what a crash may leave."""

    def __init__(self, initial: Image | None = None, *, ordered: bool = False) -> None:
        self._ordered = ordered
        self.nodes: list[_File | _Directory] = [self._new_directory()]
        self._open: dict[int, int] = {}
        image = initial or Image()
        there = {folder: self._add(self._new_directory()) for folder in sorted(image.directories)}
        numbers = {number: self._add(_File(content)) for number, content in image.contents.items()}
        there |= {name: numbers[number] for name, number in image.files.items()}
        for name, node in there.items():
            parent, last = self._parent(name)
            parent.durable[last] = node

    def _new_directory(self) -> _Directory:
        return _Directory({}, ordered=self._ordered)

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
                    parent.pending.append(_Change({last: self._add(_File(b""))}))
                self._open[operation.file] = parent.live[last]
            case Action.WRITE:
                self._opened(operation).pending.append(_Write(operation.offset, operation.data))
            case Action.SYNC:
                self._opened(operation).sync(failed=operation.failed)
            case Action.SYNC_DIRECTORY:
                self._directory(operation.name).sync(failed=operation.failed)
            case Action.MKDIR:
                parent, last = self._parent(operation.name)
                parent.pending.append(_Change({last: self._add(self._new_directory())}))
            case Action.UNLINK | Action.RMDIR:
                parent, last = self._parent(operation.name)
                parent.pending.append(_Change({last: None}))
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
            target.pending.append(_Change({new: node}))
        elif target.live.get(new) == node:
            pass  # POSIX: two names of one file, and the rename does nothing
        elif source is target:
            source.pending.append(_Change({old: None, new: node}))
        else:
            target.pending.append(_Change({new: node}))
            source.pending.append(_Change({old: None}))

    def live(self) -> Image:
        """What the directory looks like while nothing crashes."""
        return _image([node.live for node in self.nodes])

    def outcomes(self, limit: int, seed: int) -> tuple[list[Image], bool]:
        """The images a crash may leave now, and whether these are all.

        Beyond ``limit``, everything kept, everything lost, and a choice made by ``seed``.
        """
        if any(isinstance(node, _Directory) and len(node.pending) > CHANGES_MAX for node in self.nodes):
            return self._corners(limit, seed), False
        choices: list[Sequence[_State]] = [node.outcomes() for node in self.nodes]
        if math.prod(map(len, choices)) > limit:
            # Most combinations differ in files that nothing names: worth a look before giving up.
            found = _reachable(choices, limit)
            return (self._corners(limit, seed), False) if found is None else (found, True)
        return [_image(states) for states in itertools.product(*choices)], True

    def _corners(self, limit: int, seed: int) -> list[Image]:
        chance = random.Random(seed)  # noqa: S311 - a reproducible choice, no secret
        found = [self.live(), self._random(chance, 0.0)]
        found += [self._random(chance, chance.random()) for _ in range(limit)]
        return found

    def _random(self, chance: random.Random, keep: float) -> Image:
        states: list[_State] = []
        for node in self.nodes:
            if isinstance(node, _Directory):
                kept = [change for change in node.pending if chance.random() < keep]
                if node.ordered:
                    kept = node.pending[: len(kept)]
                states.append(_Directory(node.durable, kept).live)
            else:
                states.append(chance.choice(node.outcomes()) if keep else node.durable)
        return _image(states)


def _reachable(choices: Sequence[Sequence[_State]], limit: int) -> list[Image] | None:
    """The images that differ in what a name leads to. None: more than ``limit``."""
    found: dict[tuple[object, ...], Image] = {}
    shapes = itertools.product(*(some if isinstance(some[0], dict) else some[:1] for some in choices))
    for states in itertools.islice(shapes, limit + 1):
        shape = _image(states)
        for contents in itertools.product(*(choices[at] for at in shape.contents)):
            named = dict(zip(shape.contents, contents, strict=True))
            image = replace(shape, contents=named)  # type: ignore[arg-type]
            found[image.key()] = image
            if len(found) > limit:
                return None
    return list(found.values())


def _image(states: Sequence[_State]) -> Image:
    """The tree below node 0."""
    directories: set[str] = set()
    files: dict[str, int] = {}
    contents: dict[int, bytes] = {}
    folders = [("", 0)]
    while folders:
        folder, at = folders.pop()
        entries = states[at]
        assert isinstance(entries, dict)
        for last, node in entries.items():
            name = f"{folder}/{last}" if folder else last
            state = states[node]
            if isinstance(state, bytes):
                files[name], contents[node] = node, state
            else:
                directories.add(name)
                folders.append((name, node))
    return Image(frozenset(directories), files, contents)
