"""Which strings are keys, and how names are joined into them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from copy import deepcopy
from enum import Enum
from functools import lru_cache, partial
from typing import Any, Final, Generic, Optional, TypeVar, overload
from uuid import UUID

from .errors import ConfigurationError, InvalidKeyError, PersistenceError, shown
from .records.codec import Codec, can_change_in_place, is_hashable

__all__ = [
    "AUDIT",
    "BEHIND_INTERNAL",
    "INTERNAL",
    "KEYSET",
    "MAX_KEY_BYTES",
    "MISSING",
    "TRAIL",
    "Key",
    "Missing",
    "check_key",
    "check_stored_key",
    "check_stored_keys",
    "decode_part",
    "decode_segment",
    "encode_part",
    "encode_segment",
    "is_key",
    "join_key",
    "key_text",
    "split_key",
]

T = TypeVar("T")


class Missing(Enum):
    """The type of ``MISSING``, which stands for "nothing is stored" where None could be a value."""

    MISSING = "missing"

    def __repr__(self) -> str:
        return "MISSING"

    def __bool__(self) -> bool:
        return False


MISSING: Final = Missing.MISSING

MAX_KEY_BYTES: Final = 1024
"""The longest key of a user, in bytes of UTF-8."""

_TO_ENCODE: Final = re.compile("[%/\\x00-\\x1f\\x7f]")
_NEVER_ENCODED: Final = re.compile("[/\\x00-\\x1f\\x7f]")
_ENCODED: Final = re.compile("%([0-7][0-9A-F])")

INTERNAL: Final = "\x01"
"""The first character of every key of the library's own: header, quarantine, journal."""

BEHIND_INTERNAL: Final = INTERNAL + "\U0010ffff"
"""Behind every key of the library's own, and before those of users."""

KEYSET: Final = INTERNAL + "keys"
"""Where an encrypted store keeps the keys of its records, sealed. In plain stores there is no such record."""


AUDIT: Final = INTERNAL + "audit/"
"""What every key of the audit trail begins with."""

TRAIL: Final = AUDIT + "trail"
"""Where a store says that it is audited. In others there is no such record."""


@lru_cache(maxsize=8192)
def check_key(key: str, limit: int = MAX_KEY_BYTES) -> str:
    """The key itself, if a user may use it. Raises ``InvalidKeyError`` saying what is wrong with it."""
    check_stored_key.__wrapped__(key, limit)  # what is found is remembered here
    if key[0] == INTERNAL:
        raise InvalidKeyError(
            "a key cannot begin with U+0001, which marks the library's own records",
            key=key,
            hint="begin it with another character",
        )
    return key


@lru_cache(maxsize=8192)
def check_stored_key(key: str, limit: int) -> str:
    """The key itself, if an adapter that takes ``limit`` bytes of UTF-8 can keep it."""
    if not isinstance(key, str):
        raise _no_key(key)
    if not key:
        raise InvalidKeyError("a key cannot be empty", key=key, hint="name the value: 'settings'")
    if "\0" in key:
        raise InvalidKeyError(
            "a key cannot contain NUL (U+0000)", key=key, hint="separate its parts by another character, '/'"
        )
    try:
        size = len(key.encode())
    except UnicodeEncodeError:
        raise InvalidKeyError(
            "a key cannot contain a lone surrogate; it has no UTF-8 form",
            key=key,
            hint="give it another name: the bytes it was made of are no UTF-8",
        ) from None
    if size > limit:
        raise InvalidKeyError(
            f"a key has at most {limit:,} bytes of UTF-8 here; this one has {size:,}",
            key=key if len(key) <= 80 else key[:77] + "...",
            hint="shorten it, or keep the long part in the value",
        )
    return key


def check_stored_keys(keys: Iterable[str], limit: int) -> list[str]:
    """``keys`` in a list, if an adapter that takes ``limit`` bytes of UTF-8 can keep each of them.

    It remembers none: of many keys each comes once, and would drive out those that come again.
    """
    wanted = list(keys)
    for key in wanted:
        # Nearly all keys are ASCII, and seen to be right at once.
        if not (isinstance(key, str) and key.isascii() and 0 < len(key) <= limit and "\0" not in key):
            check_stored_key(key, limit)
    return wanted


def key_text(key: object) -> str:
    """``key`` as a plain str: of an enum member or another subclass, its text."""
    if isinstance(key, str):
        return str.__str__(key)
    raise _no_key(key)


def _no_key(given: object) -> InvalidKeyError:
    """The error for what is no key at all; it may be the value, in the wrong place."""
    if isinstance(given, (int, UUID)):
        return InvalidKeyError(f"a key is a str or a Key, not {shown(given)}", hint="pass `str(key)`")
    return InvalidKeyError(
        f"a key is a str or a Key, not {shown(given)}", hint="the key comes first: `save('settings', value)`"
    )


def is_key(text: object) -> bool:
    """Whether a user may use ``text`` as a key. An adapter may take shorter ones only."""
    try:
        check_key(key_text(text))
    except InvalidKeyError:
        return False
    return True


def join_key(*parts: str) -> str:
    """One key of several names, so that no two lists of names give the same one.

    ``/`` stands between the parts. In them ``%``, ``/`` and control characters are percent-encoded, and an
    empty part is a lone ``%``; everything else stays readable. So all keys that begin with ``a`` and ``b``
    begin with ``join_key("a", "b") + "/"``. Raises ``InvalidKeyError`` for no part at all, what is not
    text, and what is longer than a key may be.

    >>> join_key("user", "a/b", "")
    'user/a%2Fb/%'
    >>> split_key("user/a%2Fb/%")
    ('user', 'a/b', '')
    """
    return check_key("/".join(map(encode_part, parts)))


def split_key(key: str) -> tuple[str, ...]:
    """The parts that ``join_key`` made ``key`` of. Raises ``InvalidKeyError`` for what it never makes."""
    parts = [decode_part(part) for part in check_key(key).split("/")]
    found = tuple(part for part in parts if part is not None)
    if len(found) < len(parts):
        raise InvalidKeyError(
            "the key was not made by join_key: a part is empty, or holds a % that stands for nothing",
            key=key,
            hint="split it as it was made; join_key makes keys that split_key takes apart",
        )
    return found


def encode_segment(name: str) -> str:
    """``name`` as one part of a key, so that no two lists of names give the same key.

    ``%``, ``/`` and control characters are percent-encoded; everything else stays readable.
    """
    if not isinstance(name, str) or not name:
        raise InvalidKeyError(
            f"a name is a str that is not empty, not {shown(name) if name != '' else 'an empty one'}",
            hint="pass `str(name)`" if isinstance(name, (int, UUID)) else "for example 'notes'",
        )
    return _TO_ENCODE.sub(lambda found: f"%{ord(found[0]):02X}", name)


def encode_part(text: str) -> str:
    """The same for a part that may be empty, which is a lone ``%``."""
    return "%" if text == "" else encode_segment(text)


def decode_part(text: str) -> str | None:
    """What ``encode_part`` made ``text`` of. None: nothing."""
    return "" if text == "%" else decode_segment(text)


def decode_segment(text: str) -> str | None:
    """The name that ``encode_segment`` made ``text`` of. None: there is no such name."""
    if not text or _NEVER_ENCODED.search(text):
        return None
    if "%" not in text:
        return text
    name = _ENCODED.sub(lambda found: chr(int(found[1], 16)), text)
    return name if encode_segment(name) == text else None


class Key(Generic[T]):
    """A name, the type of its value and what to answer when nothing is stored, in one object.

    ``Key("volume", int, default=5)`` is a ``Key[int]``; without a default it is a ``Key[int | None]``.
    ``default_factory`` makes a new default at each load: lists and dicts need it. Raises
    ``ConfigurationError`` for what is no type of values, a default of another type, and one that could be
    changed, which all who load it would share.
    """

    __slots__ = ("_default", "_factory", "kind", "name")
    name: str
    kind: Any
    _default: T
    _factory: Callable[[], T] | None

    # Overloads on __new__: on __init__, pyright, ty and pyrefly do not infer the type argument.
    @overload
    def __new__(cls, name: str, type: type[T]) -> Key[T | None]: ...
    @overload
    def __new__(cls, name: str, type: type[T], *, default: T) -> Key[T]: ...
    @overload
    def __new__(cls, name: str, type: type[T], *, default_factory: Callable[[], T]) -> Key[T]: ...
    @overload
    def __new__(cls, name: str, type: Any, *, default: Any = ...) -> Key[Any]: ...
    @overload
    def __new__(cls, name: str, type: Any, *, default_factory: Callable[[], Any]) -> Key[Any]: ...
    def __new__(
        cls,
        name: str,
        type: Any,
        *,
        default: Any = MISSING,
        default_factory: Callable[[], Any] | None = None,
    ) -> Any:
        self = object.__new__(cls)
        self.name = check_key(key_text(name))
        codec = Codec()
        codec.decoder(type)
        if default_factory is not None:
            if default is not MISSING or not callable(default_factory):
                raise ConfigurationError(
                    f"a Key takes a default or a default_factory, a function; not {shown(default_factory)}",
                    key=name,
                    hint="for example Key('tags', list[str], default_factory=list)",
                )
        elif default is not MISSING and default is not None:
            _check_default(codec, name, type, default)
            if can_change_in_place(default):
                default_factory = partial(deepcopy, default)
        # Without a default the value may be None, so a stored None must read back as one.
        given = default is not MISSING or default_factory is not None
        self.kind = type if given or codec.is_adapter(type) else Optional[type]  # noqa: UP045 - any form
        self._default = None if default is MISSING else default  # type: ignore[assignment]
        self._factory = default_factory
        return self

    @property
    def default(self) -> T:
        """The answer where nothing is stored: a new one at each time where there is a ``default_factory``."""
        return self._default if self._factory is None else self._factory()

    def __repr__(self) -> str:
        made = (
            f"default={self._default!r}"
            if self._factory is None or self._default is not None
            else f"default_factory={self._factory!r}"
        )
        return f"Key({self.name!r}, {self.kind!r}, {made})"


def _check_default(codec: Codec, name: str, type: Any, default: Any) -> None:
    """Refuse a default that is not of the type, or that one who loads it could change for all others."""
    if not is_hashable(default):
        raise ConfigurationError(
            f"the default, {shown(default)}, can be changed, and all who load it would share it",
            key=name,
            hint="pass default_factory=, a function that makes it: list, dict, or a lambda",
        )
    try:
        codec.encode(default, type)
    except PersistenceError as error:
        raise ConfigurationError(
            f"the default cannot be used: {error.message}", key=name, hint="give one of the type of the key"
        ) from error
