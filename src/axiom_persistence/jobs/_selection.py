"""The records of a store that a job takes along, some at a time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from fnmatch import fnmatchcase
from typing import Final, NamedTuple

from ..keys import INTERNAL
from ..layers.cached import Cached
from ..records._subject import entries_of, name_of, tag_in
from ..records.head import HEAD_BYTES, expiry_in
from ..records.record import body_of, is_plain, look_at, whole_body
from ..storage.adapter import StorageAdapter, Stored
from ..store.store import Store
from ._lines import ArchiveFault
from ._sealed import sealed_body, sealing_of
from .walk import PAGE, pages

__all__ = ["Selected", "Selection", "about_subject", "selected", "source_of"]


_FIRST: Final = 32
_NOBODY: Final = "nobody"
"""In place of the tag of a subject that is not known."""
_BYTES: Final = 1 << 20
"""Fewer bytes than that, and more records are fetched at once the next time."""


class Selected(NamedTuple):
    """A whole record that has not expired."""

    name: str
    """Its key, without what the view puts before it."""
    body: bytes
    saved: float | None


class Selection(NamedTuple):
    """Which records of ``store`` a job takes along."""

    store: Store
    view: str = ""
    """What every key of a namespace begins with."""
    prefix: str = ""
    pattern: str | None = None
    """As in ``fnmatch``: ``*``, ``?`` and ``[...]``, upper and lower case told apart."""
    secure: bool = False
    """Whether they are secrets."""
    tag: str | None = None
    """Only what is about the subject with this tag; None: whatever it is about."""
    sealed: bool = False
    """Whether what is about somebody stays sealed with their own key."""


async def about_subject(selection: Selection, subject: str) -> Selection:
    """What of ``selection`` is about ``subject``."""
    known = await selection.store.known_tag(name_of(subject))
    return selection._replace(tag=_NOBODY if known is None else known.text)


async def source_of(store: Store) -> StorageAdapter:
    """Where to read everything: below the cache, which would forget what the application needs."""
    cached = store.adapter.find(Cached)
    if cached is None:
        return store.adapter
    await store.adapter.commit({}, durability=store.weakest)  # what a write-back cache has not stored yet
    return cached.inner


async def selected(
    selection: Selection, faults: list[ArchiveFault], *, after: str | None = None, times: bool = False
) -> AsyncIterator[list[Selected]]:
    """The records in the order of their keys, a list for each page of the walk, which may be empty.

    ``after``: the name behind which an interrupted job goes on. ``times``: ask when each was saved. What is
    damaged is left where it is, and told in ``faults``.
    """
    store, view, prefix, pattern, _, tag, sealed = selection
    source, sealing = await source_of(store), sealing_of(store) if sealed else None
    behind = None if after is None else view + after
    size = _FIRST
    beginning = view + prefix
    keys = source.keys(beginning, after=behind) if tag is None else _about(source, beginning, behind, tag)
    async for page in pages(keys):
        wanted = [
            key
            for key in page
            if key[0] != INTERNAL and (pattern is None or fnmatchcase(key[len(view) :], pattern))
        ]
        at = 0
        while at < len(wanted):
            found = await source.fetch(wanted[at : at + size])
            taken, seen = [], 0
            for key in wanted[at : at + size]:
                stored = found.get(key)
                if stored is None or (tag is not None and tag_in(stored.data) != tag):
                    continue  # deleted meanwhile, or saved anew about somebody else
                seen += len(stored.data)
                body = _whole(store, key, stored, faults)
                about = None if body is None else tag_in(stored.data)
                if about is not None and await store.is_erased(about):
                    continue  # it is being erased
                if about is not None and sealing is not None:
                    body = await sealed_body(sealing, key, stored.data)
                if body is not None:
                    saved = await source.saved_at(key) if times else None
                    taken.append(Selected(key[len(view) :], body, saved))
            at += size
            size = min(PAGE, size * 4) if seen < _BYTES else max(1, size // 4)
            yield taken


async def _about(source: StorageAdapter, prefix: str, after: str | None, tag: str) -> AsyncIterator[str]:
    """The keys with ``prefix`` that are about one subject: by its own list of them."""
    before = entries_of(tag)
    async for key in source.keys(before + prefix, after=None if after is None else before + after):
        yield key[len(before) :]


def _whole(store: Store, key: str, stored: Stored, faults: list[ArchiveFault]) -> bytes | None:
    """The body of a record that is whole and has not expired."""
    record, damage = None, stored.damage
    if damage is None:
        body = whole_body(key, stored.data)
        if body is not None and (is_plain(body) or expiry_in(stored.data[:HEAD_BYTES]) is None):
            return body  # the short way, of nearly all
        record, damage, _ = look_at(key, stored.data, store.schema_of(key))
    if record is None:
        faults.append(ArchiveFault(None, key, damage or "it cannot be read"))
        return None
    return None if store.expired(record) else body_of(stored.data)
