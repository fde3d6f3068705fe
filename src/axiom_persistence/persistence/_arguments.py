"""What users pass to the verbs, checked."""

from __future__ import annotations

from typing import Any

from ..errors import ConfigurationError
from ..keys import MISSING, Key
from ..records.codec import Codec

__all__ = ["kind_and_default", "several"]


def several(keys: Any, verb: str) -> Any:
    """``keys``, unless they are one key: a str is iterable too, and its letters are not what was meant."""
    if isinstance(keys, (str, bytes, Key)):
        raise ConfigurationError(f"{verb} takes several keys, not one: {keys!r:.80}", hint="pass a list")
    return keys


def kind_and_default(key: str | Key[Any], type: Any, default: Any) -> tuple[Any, Any]:
    """What a load is asked to return: the type to decode as, and the answer for "nothing there"."""
    if isinstance(key, Key):
        if type is not MISSING:
            raise ConfigurationError("a Key carries its type; leave the second argument out", key=key.name)
        return key.kind, key.default if default is None else default
    if type is MISSING:
        raise ConfigurationError(
            "load needs the type of the value", key=key, hint='for example load("count", int)'
        )
    Codec().decoder(type)  # what is no type is refused before anything is read
    return type, default
