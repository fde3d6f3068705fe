"""A foreign value as the type an application has for it."""

from __future__ import annotations

from typing import Any

import msgspec

from ..errors import PersistenceError, TypeMismatchError
from ..records.codec import Codec
from ._legacy import why

__all__ = ["typed"]


def typed(value: Any, kind: Any) -> Any:
    """``value`` as ``kind``: as it is, as its JSON is read, or, of text, by what it says.

    Raises ``TypeMismatchError``.
    """
    if kind is None:
        return value
    codec = Codec()
    for form in _forms(value):
        try:
            return codec.decode(codec.encode(form), kind)
        except PersistenceError:
            continue  # the next form may fit
    try:
        plain = msgspec.to_builtins(value, enc_hook=str)
        loose = msgspec.convert(plain, kind, strict=False)
        return codec.decode(codec.encode(loose, kind), kind)
    except (msgspec.ValidationError, PersistenceError, TypeError, ValueError) as error:
        raise TypeMismatchError(
            f"it is not of type {getattr(kind, '__qualname__', kind)}: {why(error)}"
        ) from error


def _forms(value: Any) -> list[Any]:
    """What a value may be meant as: itself; a text that is JSON; of a text, a list of one."""
    forms = [value]
    if isinstance(value, str):
        try:
            forms.append(msgspec.json.decode(value))
        except msgspec.DecodeError:
            pass  # most texts are not
        forms.append([value])
    return forms
