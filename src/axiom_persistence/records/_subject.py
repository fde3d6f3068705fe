"""Whom a record is about: the mark in it, and the library's own records by which all of somebody's are found.

A subject's name is stored nowhere, only a hash of it. With a number that is drawn anew after each erasure it
is the tag of a record: what an old copy brings back has a tag that was erased.
"""

from __future__ import annotations

import os
import re
from typing import Final

import msgspec

__all__ = [
    "DIRECTORY",
    "ENTRIES",
    "ERASED",
    "SUBJECT_KEYS",
    "SubjectKey",
    "directory_key",
    "entries_of",
    "entry_key",
    "erased_key",
    "name_of",
    "subject_key",
    "tag_in",
]

DIRECTORY: Final = "\x01subject/"
"""Behind it the hash of a name; the record there is the tag of those that are about this subject now."""
SUBJECT_KEYS: Final = "\x01subject-key/"
"""Behind it a tag; the record is the key that such records are sealed with. No snapshot has it."""
ENTRIES: Final = "\x01about/"
"""Behind it a tag and a key: that record is about this subject. Written in the same commit."""
ERASED: Final = "\x01erased/"
"""Behind it the tag of what was erased: no copy brings it back."""

_PADDING: Final = "-" * 4096
_BEGINS: Final = 36
"""Behind the sum of a record: see ``records/record.py``."""
_MARK: Final = b'"subject":"'
_TAG: Final = re.compile(rb'"subject":"([0-9a-f]{32}-[0-9a-f]{16})",')


class SubjectKey(msgspec.Struct, frozen=True):
    """What the records about one subject are sealed with.

    Behind 4 KiB of padding: the end of such a record has a page of its own in SQLite, overwritten when it
    is deleted. Of small records a copy may stay in the unused part of a page, when rows are moved.
    """

    padding: str
    key: bytes

    @classmethod
    def new(cls) -> SubjectKey:
        return cls(_PADDING, os.urandom(32))

    def __repr__(self) -> str:
        return "SubjectKey(<secret>)"


def name_of(subject: str) -> str:
    """32 hex digits in place of a name: the same in every store. Who guesses the name can find them."""
    from hashlib import blake2b  # most programs need none

    return blake2b(
        subject.encode(errors="surrogatepass"), digest_size=16, person=b"axiom-subject"
    ).hexdigest()


def directory_key(name: str) -> str:
    return DIRECTORY + name[:32]


def subject_key(tag: str) -> str:
    return SUBJECT_KEYS + tag


def entries_of(tag: str) -> str:
    """What the keys of all entries with this tag begin with."""
    return f"{ENTRIES}{tag}/"


def entry_key(tag: str, key: str) -> str:
    return entries_of(tag) + key


def erased_key(tag: str) -> str:
    return ERASED + tag


def tag_in(data: bytes) -> str | None:
    """The tag in a record, whatever key it has. Unchecked. None: it is about nobody."""
    if not data.startswith(_MARK, _BEGINS):
        return None  # nearly all
    found = _TAG.match(data, _BEGINS)
    return None if found is None else found[1].decode()
