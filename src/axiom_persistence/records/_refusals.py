"""Why bytes were refused as a value of a type, in words that quote nothing of them."""

from __future__ import annotations

import re
import sys
from typing import Any, Final, NamedTuple, get_args

import msgspec

from ..errors import counted, cut, refused_by, values_are_shown

__all__ = ["Reason", "Refusal", "found_in", "reason_of"]

_QUOTED: Final = re.compile(r"^(Invalid (?:enum )?value|Object contains unknown field) .*$", re.DOTALL)

_CHANGED: Final = "load it as the type it was saved with, or migrate it"
_SEE_CAUSE: Final = "see the cause of this error for its words, which may quote the value"


class Reason(NamedTuple):
    """Why a value was refused, where in it, and what to do."""

    text: str
    path: str
    hint: str


class Refusal(ValueError):
    """A reason of this library's own, raised while something else decodes."""

    def __init__(self, text: str, hint: str = _CHANGED) -> None:
        super().__init__(text)
        self.reason: Final = Reason(text, "$", hint)


def reason_of(error: BaseException, kind: Any) -> Reason:
    """What ``error``, raised while something was read as ``kind``, says without quoting the value."""
    if isinstance(error, Refusal):
        return error.reason
    if isinstance(error, msgspec.ValidationError):
        return _of_msgspec(error, kind)
    if isinstance(error, (msgspec.DecodeError, UnicodeDecodeError)):
        return Reason("it is not JSON", "$", _CHANGED)
    if isinstance(error, RecursionError):
        return Reason("it is nested too deeply (recursion)", "$", "save it in several values")
    if hasattr(error, "errors"):
        return _of_pydantic(error, kind)
    return Reason(refused_by(error), "$", _SEE_CAUSE)


def _of_msgspec(error: msgspec.ValidationError, kind: Any) -> Reason:
    text, at, place = str(error).rpartition(" - at `")
    text, path = (text, place.replace("`", "")) if at else (place, "$")
    if error.__cause__ is not None:  # a ``__post_init__`` or a decoder, ours or the user's
        inner = reason_of(error.__cause__, kind)
        return inner._replace(path=path + inner.path.removeprefix("$"))
    if not values_are_shown():
        text = _QUOTED.sub(r"\1", text)
    missing = "required field" in text
    return Reason(text, path, "give the new field a default, or migrate the value" if missing else _CHANGED)


def _of_pydantic(error: Any, kind: Any) -> Reason:
    """The first of the faults that an error of pydantic lists."""
    first = error.errors()[0]
    names = _field_names(kind)
    path = "$"
    for step in first["loc"]:
        shown = isinstance(step, str) and (step in names or values_are_shown())
        path += f"[{step}]" if isinstance(step, int) else f".{step}" if shown else "[...]"
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, Exception):
        return Reason(refused_by(cause), path, _SEE_CAUSE)
    fault: str = first["type"]
    if values_are_shown() or (fault in _known_faults() and fault != "union_tag_invalid"):
        return Reason(first["msg"], path, _CHANGED)
    return Reason(f"its check {fault!r} refused it", path, _SEE_CAUSE)


def _known_faults() -> tuple[str, ...]:
    """The faults whose words are pydantic's own: they say what was expected, not what was found."""
    schema: Any = sys.modules["pydantic_core"].core_schema
    return get_args(schema.ErrorType)


def _field_names(kind: Any) -> set[str]:
    """The names of the fields of all models in a type. Other steps of a path are keys: part of the value."""
    names: set[str] = set()
    pending, seen = [getattr(kind, "_type", kind)], set()
    while pending:
        each = pending.pop()
        fields = getattr(each, "model_fields", None)
        if isinstance(fields, dict) and each not in seen:
            seen.add(each)
            for name, field in fields.items():
                names |= {name, str(field.alias)}
                pending.append(field.annotation)
        pending += get_args(each)
    return names


_KINDS: Final[dict[type, tuple[str, str]]] = {
    dict: ("object", "fields"),
    list: ("array", "items"),
    str: ("string", "characters"),
}


def found_in(data: bytes) -> str:
    """Which kind of JSON ``data`` is, and its size; or its beginning, where values are shown."""
    if values_are_shown():
        return cut(data.decode(errors="replace"))
    try:
        value: Any = msgspec.json.decode(data)
    except RecursionError:
        return f"{len(data):,} bytes of JSON"
    except (msgspec.DecodeError, UnicodeDecodeError):
        return f"{len(data):,} bytes that are not JSON"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    if type(value) not in _KINDS:
        return "a JSON number"
    kind, things = _KINDS[type(value)]
    return f"a JSON {kind} of {counted(len(value), things)}"
