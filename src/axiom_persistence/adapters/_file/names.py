"""The file name of a key, and the key of a file name.

Different keys get different names even where the file system folds case or composes letters, none
leaves the directory, and none meets a file of the store's own, which all begin with ``.``:

* the first 15 ``/`` separate directories (a later one is escaped: tools that walk a tree give up on one
  that is a thousand deep), and the last component ends in ``.json``;
* ``a-z 0-9 _ - .`` stay; an ASCII capital ``X`` is ``+x``; any other byte of the UTF-8 form is ``%XX``;
* a ``.`` at either end of a component is escaped, and every ``.`` of one that ends in ``.json``, for a
  directory would meet the file of a shorter key;
* an empty component is ``%``; the first letter of a Windows device name is escaped;
* a component of more than 130 characters becomes nested directories ``chunk=/=chunk=/=chunk``, which
  no escaped component looks like, with every ``.`` of it escaped.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from ...errors import InvalidKeyError
from ...keys import check_stored_key
from ...storage.adapter import MAX_STORED_KEY_BYTES

__all__ = [
    "CUT",
    "DEPTH",
    "PREVIOUS",
    "SUFFIX",
    "escape",
    "file_name",
    "is_name_of",
    "key_of",
    "parents_of_prefix",
    "unescape",
]

SUFFIX: Final = ".json"
PREVIOUS: Final = "~"
"""What follows the name of the generation before the current one."""

CHUNK: Final = 130
"""Characters of a component before it is cut: with its mark, suffix and "~" below the 143 of eCryptfs."""

CUT: Final = "="
"""What stands where a component was cut."""

DEPTH: Final = 16
"""Components a name has, before chunks."""

_ODD: Final = re.compile(r"[^a-z0-9_.\-]")
_PLAIN: Final = re.compile(r"[a-z0-9_\-]{1,130}")
_DEVICE: Final = re.compile(r"(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\.|$)")
_ESCAPED: Final = re.compile(r"%[0-9A-F]{2}|\+[a-z]|[a-z0-9_.\-]")


def _escape_character(match: re.Match[str]) -> str:
    character = match[0]
    if "A" <= character <= "Z":
        return "+" + character.lower()
    return "".join(f"%{byte:02X}" for byte in character.encode())


def escape(component: str) -> str:
    """One component of a key as the name of a file or directory, or of several, one in the other."""
    if not component:
        return "%"
    if _PLAIN.fullmatch(component) and not _DEVICE.match(component):
        return component
    escaped = _ODD.sub(_escape_character, component)
    long = len(escaped) > CHUNK
    if long or escaped.endswith(SUFFIX):
        escaped = escaped.replace(".", "%2E")
    if escaped[0] == ".":
        escaped = "%2E" + escaped[1:]
    if escaped[-1] == ".":
        escaped = escaped[:-1] + "%2E"
    if long:
        chunks = [escaped[i : i + CHUNK] for i in range(0, len(escaped), CHUNK)]
        return f"{CUT}/{CUT}".join(chunks)
    if _DEVICE.match(escaped):
        return f"%{ord(escaped[0]):02X}{escaped[1:]}"
    return escaped


def unescape(component: str) -> str | None:
    """The component of a key that has this name, if any has; ``is_name_of`` tells for a whole key."""
    if _PLAIN.fullmatch(component):
        return component
    if component == "%":
        return ""
    raw = bytearray()
    end = 0
    for match in _ESCAPED.finditer(component):
        if match.start() != end:
            return None
        end = match.end()
        token = match[0]
        if token[0] == "%":
            raw.append(int(token[1:], 16))
        else:
            raw += token[-1].upper().encode() if token[0] == "+" else token.encode()
    try:
        return raw.decode() if end == len(component) else None
    except UnicodeDecodeError:
        return None


@lru_cache(maxsize=8192)
def file_name(key: str) -> str:
    """Where ``key`` is kept, relative to the directory. Raises ``InvalidKeyError`` as a store must."""
    check_stored_key(key, MAX_STORED_KEY_BYTES)
    return "/".join(map(escape, key.split("/", DEPTH - 1))) + SUFFIX


def key_of(name: str) -> str | None:
    """The key kept in a file; None when no key has exactly this file name."""
    if not name.endswith(SUFFIX):
        return None
    parts = [unescape(part) for part in name.removesuffix(SUFFIX).replace(f"{CUT}/{CUT}", "").split("/")]
    if None in parts:
        return None
    key = "/".join(part for part in parts if part is not None)
    return key if is_name_of(key, name) else None


def is_name_of(key: str, name: str) -> bool:
    """Whether ``key`` is one, and kept in the file ``name``."""
    try:
        return file_name(key) == name
    except InvalidKeyError:
        return False


def parents_of_prefix(prefix: str) -> list[str]:
    """The components that every key with ``prefix`` has: it is kept in the directory of these."""
    return prefix.split("/", DEPTH - 1)[:-1]
