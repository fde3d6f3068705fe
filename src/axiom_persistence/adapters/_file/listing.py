"""Listing the files of a store in the order of their keys, one directory at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ...platform.filesystem import Entry, FileKind
from ...storage.listing import Listing
from .names import CUT, DEPTH, SUFFIX, escape, is_name_of, parents_of_prefix, unescape

__all__ = ["in_order"]

Scan = Callable[[str], list[Entry]]
"""The entries of a directory, by its name."""


def in_order(scan: Scan, listing: Listing) -> Iterator[str]:
    """The keys of a listing, without an end at its limit. Enters only directories that can hold one.

    A directory holds exactly the keys that begin with its own and a slash, so that it has one place among
    the files beside it. No recursion: keys nest deep.
    """
    parents = parents_of_prefix(listing.prefix)
    top, beginning = "/".join(map(escape, parents)), "".join(f"{parent}/" for parent in parents)
    levels = [_level(scan, top, beginning, len(parents), listing)]
    while levels:
        for key, name, is_folder in levels[-1]:
            if is_folder:
                levels.append(_level(scan, name, key, len(parents) + len(levels), listing))
                break
            if is_name_of(key, name):
                yield key
        else:
            levels.pop()


def _level(
    scan: Scan, folder: str, beginning: str, depth: int, listing: Listing
) -> Iterator[tuple[str, str, bool]]:
    """What a directory holds, in order: keys, and beginnings of keys, which directories have."""
    found = set()
    for escaped, name, is_folder in _components(scan, folder):
        component = unescape(escaped)
        if component is None or (is_folder and depth == DEPTH - 1):
            continue
        key = f"{beginning}{component}/" if is_folder else beginning + component
        if listing.may_hold(key) if is_folder else listing.wants(key):
            found.add((key, name, is_folder))
    return iter(sorted(found, reverse=listing.reverse))


def _components(scan: Scan, folder: str) -> Iterator[tuple[str, str, bool]]:
    """The last components of what is in a directory, cut ones put together, each with its whole name."""
    places = [(folder, "")]
    while places:
        place, begun = places.pop()
        for entry in scan(place):
            name, component = f"{place}/{entry.name}" if place else entry.name, entry.name
            if component[0] == ".":
                continue  # the store's own
            if begun:
                if component[0] != CUT:
                    continue  # no rest of a component
                component = begun + component[1:]
            if entry.kind is FileKind.FILE:
                if component.endswith(SUFFIX):
                    yield component.removesuffix(SUFFIX), name, False
            elif entry.kind is FileKind.DIRECTORY:
                if component[-1] == CUT:
                    places.append((name, component[:-1]))
                else:
                    yield component, name, True
