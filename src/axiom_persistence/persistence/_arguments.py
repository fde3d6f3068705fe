"""What users pass to the verbs, checked."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..errors import ConfigurationError, shown
from ..keys import MISSING, Key
from ..records.codec import Codec

__all__ = ["kind_and_default", "several"]


def several(keys: Any, verb: str) -> Any:
    """``keys``, unless they are one key: a str is iterable too, and its letters are not what was meant."""
    if isinstance(keys, (str, bytes, Key)):
        one = keys.name if isinstance(keys, Key) else keys if isinstance(keys, str) else None
        raise ConfigurationError(
            f"{verb} takes several keys, not one", key=one, hint=f"pass a list: `{verb}([key])`"
        )
    if not isinstance(keys, Iterable):
        raise ConfigurationError(f"{verb} takes several keys, not {shown(keys)}", hint="pass a list of str")
    return keys


def kind_and_default(key: str | Key[Any], type: Any, default: Any) -> tuple[Any, Any]:
    """What a load is asked to return: the type to decode as, and the answer for "nothing there"."""
    if isinstance(key, Key):
        if type is not MISSING:
            raise ConfigurationError(
                "a Key carries its type, and another one was passed", key=key.name, hint="write `load(KEY)`"
            )
        return key.kind, key.default if default is None else default
    if type is MISSING:
        raise ConfigurationError(
            "load needs the type of the value", key=key, hint='for example load("count", int)'
        )
    Codec().decoder(type)  # what is no type is refused before anything is read
    return type, default
