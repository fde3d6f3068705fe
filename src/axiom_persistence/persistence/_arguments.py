"""What users pass to the verbs, checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..errors import ConfigurationError
from ..keys import MISSING, Key
from ..records.codec import Codec

__all__ = ["kind_and_default", "mapping", "several", "update_arguments"]


def several(keys: Any, verb: str) -> Any:
    """``keys``, unless they are one key: a str is iterable too, and its letters are not what was meant."""
    if isinstance(keys, (str, bytes, Key)):
        raise ConfigurationError(f"{verb} takes several keys, not one: {keys!r:.80}", hint="pass a list")
    return keys


def mapping(values: Any, verb: str) -> Mapping[str, Any]:
    """``values``, if they are a mapping."""
    if not isinstance(values, Mapping):
        raise ConfigurationError(f"{verb} takes a dict of keys and values, not {values!r:.80}")
    return values


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


def update_arguments(
    key: str | Key[Any], type: Any, function: Any, default: Any
) -> tuple[Any, Callable[[Any], Any], Any]:
    """What an update is asked for: the type, the function, and what it gets for "nothing there"."""
    if isinstance(key, Key) and function is None:
        type, function = MISSING, type
    kind, default = kind_and_default(key, type, default)
    if not callable(function):
        raise ConfigurationError(f"update needs a function of the old value, not {function!r}")
    return kind, function, default
