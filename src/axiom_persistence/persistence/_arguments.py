"""What users pass to the verbs, checked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ..errors import ConfigurationError, shown
from ..keys import MISSING, Key
from ..records.codec import Codec

__all__ = ["kind_and_default", "mapping", "several", "update_arguments"]


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


def mapping(values: Any, verb: str) -> Mapping[str, Any]:
    """``values``, if they are a mapping."""
    if not isinstance(values, Mapping):
        raise ConfigurationError(
            f"{verb} takes a dict of keys and values, not {shown(values)}",
            hint=f"for example `{verb}({{'width': 800, 'height': 600}})`",
        )
    return values


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


def update_arguments(
    key: str | Key[Any], type: Any, function: Any, default: Any
) -> tuple[Any, Callable[[Any], Any], Any]:
    """What an update is asked for: the type, the function, and what it gets for "nothing there"."""
    if isinstance(key, Key) and function is None:
        type, function = MISSING, type
    kind, default = kind_and_default(key, type, default)
    if not callable(function):
        raise ConfigurationError(
            f"update needs a function of the old value, not {shown(function)}",
            hint="for example `update('count', int, lambda n: n + 1, default=0)`",
        )
    return kind, function, default
