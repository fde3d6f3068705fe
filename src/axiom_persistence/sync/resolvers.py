"""Who stays where two devices changed one field without knowing of each other. By default: the later one."""

from __future__ import annotations

from difflib import SequenceMatcher
from typing import Any

from ._conflict import Clash

__all__ = ["keep_local", "keep_remote", "merge_set", "merge_text"]


def keep_local(clash: Clash) -> Any:
    """The value of the device that notices the conflict."""
    return clash.ours


def keep_remote(clash: Clash) -> Any:
    """The value that was sent first."""
    return clash.theirs


def merge_set(clash: Clash) -> Any:
    """For lists used as sets: what either has added is in, what either has removed is out.

    What is no list on both sides is left to the later change.

    >>> merge_set(Clash("tags", "", ["a", "b"], ["a", "b", "c"], ["b"], "1", "2"))
    ['b', 'c']
    """
    if not isinstance(clash.ours, list) or not isinstance(clash.theirs, list):
        return _later(clash)
    base = clash.base if isinstance(clash.base, list) else []
    removed = [one for one in base if one not in clash.ours or one not in clash.theirs]
    merged: list[Any] = []
    for one in (*clash.theirs, *clash.ours):
        if one not in removed and one not in merged:
            merged.append(one)
    return merged


def merge_text(clash: Clash) -> Any:
    """For texts: lines that only one side changed are taken from it; where both did, from the later change.

    What is no text on all three sides is left to the later change.

    >>> merge_text(Clash("note", "", "one\\ntwo\\n", "ONE\\ntwo\\n", "one\\ntwo\\nthree\\n", "1", "2"))
    'ONE\\ntwo\\nthree\\n'
    """
    texts = (clash.base, clash.ours, clash.theirs)
    if not all(isinstance(text, str) for text in texts):
        return _later(clash)
    base, ours, theirs = (text.splitlines(keepends=True) for text in texts)
    if clash.our_stamp > clash.their_stamp:
        later, earlier = ours, theirs
    else:
        later, earlier = theirs, ours
    changes = _changes(base, later)
    # Of the earlier change, what the later one has not touched.
    changes += [
        change
        for change in _changes(base, earlier)
        if not any(change[0] <= end and start <= change[1] for start, end, _ in changes)
    ]
    merged: list[str] = []
    at = 0
    for start, end, lines in sorted(changes, key=lambda change: change[:2]):
        merged += base[at:start] + lines
        at = end
    return "".join(merged + base[at:])


def _changes(base: list[str], text: list[str]) -> list[tuple[int, int, list[str]]]:
    """Which lines of ``base`` became which."""
    matcher = SequenceMatcher(None, base, text, autojunk=False)
    return [(i, j, text[k:m]) for tag, i, j, k, m in matcher.get_opcodes() if tag != "equal"]


def _later(clash: Clash) -> Any:
    return clash.ours if clash.our_stamp > clash.their_stamp else clash.theirs
