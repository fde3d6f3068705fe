"""Values to JSON and back, strictly typed.

msgspec carries what it knows: builtins, dataclasses, Structs, TypedDict, NamedTuple, enums, dates, UUID,
Decimal, attrs classes, unions. pydantic models validate themselves. Any other class joins with
``register``. Nothing is pickled, so a stored value can never run code.

Limits: what JSON with types cannot say exactly is refused with ``EncodingError`` (NaN and infinities,
lone surrogates, unregistered classes, dict keys that are no str or number). UTC offsets are kept to the
minute and without their zone's name, as ISO 8601 has them.
"""

from __future__ import annotations

import datetime
import math
import sys
from collections.abc import Callable, Mapping
from decimal import Decimal
from enum import Enum
from typing import Any, Final, NamedTuple, TypeVar
from uuid import UUID

import msgspec

from .errors import ConfigurationError, EncodingError, TypeMismatchError

__all__ = ["Codec", "is_immutable", "register"]

T = TypeVar("T")


class _Registered(NamedTuple):
    encode: Callable[[Any], Any]
    decode: Callable[[Any], Any]


_registered: dict[type, _Registered] = {}


def register(
    kind: type[T], encode: Callable[[T], Any], decode: Callable[[Any], T], *, replace: bool = False
) -> None:
    """Teach every store a class of your own.

    ``encode`` turns an instance into anything already known (a str, a dict, a dataclass); ``decode``
    gets the same back as builtins. Registering a class twice with other functions is an error unless
    ``replace``.
    """
    if not isinstance(kind, type):
        raise ConfigurationError(f"register takes a class, not {kind!r}")
    pair = _Registered(encode, decode)
    if not replace and _registered.get(kind, pair) != pair:
        raise ConfigurationError(
            f"{kind.__qualname__} is registered already", hint="pass replace=True to register it anew"
        )
    _registered[kind] = pair
    _decoders.clear()


def _pydantic_model() -> type | None:
    """``pydantic.BaseModel``, if the application uses pydantic at all."""
    module = sys.modules.get("pydantic")
    return None if module is None else module.BaseModel


def _encode_other(value: Any) -> Any:
    for kind in type(value).__mro__:
        pair = _registered.get(kind)
        if pair is not None:
            return pair.encode(value)
    model = _pydantic_model()
    if model is not None and isinstance(value, model):
        # Refuse non-finite floats here: pydantic, too, would write them as null.
        _refuse_not_finite(value.model_dump())  # type: ignore[attr-defined]
        return msgspec.Raw(value.model_dump_json(by_alias=True).encode())  # type: ignore[attr-defined]
    name = type(value).__qualname__
    raise EncodingError(
        f"{name} is a class this library cannot write",
        hint=f"make it a dataclass, a msgspec Struct, a pydantic or attrs model, or call register({name}, "
        "encode, decode)",
    )


def _decode_other(kind: type, data: Any) -> Any:
    pair = _registered.get(kind)
    if pair is not None:
        return pair.decode(data)
    model = _pydantic_model()
    if model is not None and isinstance(kind, type) and issubclass(kind, model):
        # JSON again: pydantic is strict about builtins but knows what JSON has to spell as text.
        return kind.model_validate_json(msgspec.json.encode(data), strict=True)  # type: ignore[attr-defined]
    raise ConfigurationError(
        f"{getattr(kind, '__qualname__', kind)} is a type this library cannot read",
        hint="use a dataclass, a Struct, a pydantic or attrs model, or register it",
    )


_encoder: Final = msgspec.json.Encoder(enc_hook=_encode_other)
_encode: Final = _encoder.encode
_decoders: dict[Any, Callable[[bytes], Any]] = {}


def _decoder(kind: Any) -> Callable[[bytes], Any]:
    try:
        known = _decoders.get(kind)
    except TypeError:  # an unhashable annotation cannot be remembered
        return _make_decoder(kind)
    if known is None:
        known = _make_decoder(kind)
        if len(_decoders) >= 4096:
            _decoders.clear()
        _decoders[kind] = known
    return known


def _make_decoder(kind: Any) -> Callable[[bytes], Any]:
    model = _pydantic_model()
    if model is not None and isinstance(kind, type) and issubclass(kind, model):
        validate: Callable[..., Any] = kind.model_validate_json  # type: ignore[attr-defined]
        return lambda data: validate(data, strict=True)
    try:
        decode: Callable[[bytes], Any] = msgspec.json.Decoder(
            kind, strict=True, dec_hook=_decode_other
        ).decode
    except (TypeError, ValueError, NameError) as error:
        raise ConfigurationError(
            f"{_name(kind)} is not a type that values can be read as: {error}",
            hint="name a concrete type; unions take at most one class that JSON cannot tell apart",
        ) from error
    return decode


def _name(kind: Any) -> str:
    return kind.__qualname__ if isinstance(kind, type) else str(kind)


def encode_value(value: Any) -> bytes:
    """``value`` as JSON. Raises ``EncodingError``, saying what in it cannot be written."""
    try:
        data = _encode(value)
    except EncodingError:
        raise
    except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError) as error:
        raise EncodingError(
            f"the value cannot be written: {error or type(error).__name__}",
            hint="the types that can be saved are listed in docs/values.md",
        ) from error
    # msgspec writes NaN and infinities as null, silently: look closer wherever there is a null.
    if b"null" in data:
        _refuse_not_finite(value)
    return data


def decode_value(data: bytes, kind: Any) -> Any:
    """The value in ``data`` as ``kind``. Raises ``TypeMismatchError`` with the path inside the value."""
    decode = _decoder(kind)
    try:
        return decode(data)
    except ConfigurationError:
        raise
    except (ValueError, TypeError, RecursionError, ArithmeticError, LookupError) as error:
        raise _mismatch(error, kind, data) from error


def _mismatch(error: Exception, kind: Any, data: bytes) -> TypeMismatchError:
    text, path = str(error), "$"
    if isinstance(error, msgspec.ValidationError) and " - at `" in text:
        text, _, tail = text.rpartition(" - at `")
        path = tail.rstrip("`")
    elif callable(details := getattr(error, "errors", None)):  # pydantic
        first: dict[str, Any] = details()[0]
        path = "$" + "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in first["loc"])
        text = first["msg"]
    found = data[:60].decode(errors="replace") + ("…" if len(data) > 60 else "")
    return TypeMismatchError(
        f"the stored value is not a {_name(kind)}: {text} at {path}; stored is {found}",
        path=path,
        hint="load it as the type it was saved with, give the new field a default, or migrate it",
    )


def _refuse_not_finite(value: Any) -> None:
    """Raise if NaN or an infinity is anywhere in ``value``, naming the path."""
    try:
        plain = msgspec.to_builtins(value, enc_hook=_plain_other)
    except (TypeError, ValueError) as error:
        raise EncodingError(f"the value cannot be written: {error}") from error
    pending: list[tuple[str, Any]] = [("$", plain)]
    while pending:
        path, item = pending.pop()
        if isinstance(item, float) and not math.isfinite(item):
            raise EncodingError(
                f"{item!r} at {path} has no form in JSON, so it would not come back",
                hint="save None, a string or a Decimal instead",
            )
        if isinstance(item, Mapping):
            pending += [(f"{path}[{k!r}]", k) for k in item if isinstance(k, float)]
            pending += [(f"{path}.{k}", v) for k, v in item.items()]
        elif isinstance(item, (list, tuple, set, frozenset)):
            pending += [(f"{path}[{i}]", v) for i, v in enumerate(item)]


def _plain_other(value: Any) -> Any:
    model = _pydantic_model()
    if model is not None and isinstance(value, model):
        return None  # checked when it was encoded
    return _encode_other(value)


class Codec:
    """How a store turns values into JSON and back; the two functions above, checked against a type."""

    def encode(self, value: Any, kind: Any = None) -> bytes:
        """``value`` as JSON; with ``kind``, only if it can be read back as that.

        Raises ``EncodingError`` for what cannot be written and ``TypeMismatchError`` for what is no ``kind``.
        """
        data = encode_value(value)
        if kind is None or kind is Any:
            return data
        _decoder(kind)  # a type that could never be read back is refused before anything is written
        if type(value) is kind:
            return data
        if isinstance(kind, type) and not _accepts(kind, value) and not isinstance(value, kind):
            raise TypeMismatchError(
                f"the value is a {type(value).__qualname__}, not a {kind.__qualname__}: {value!r:.80}",
                hint="nothing was stored",
            )
        decode_value(data, kind)
        return data

    def decode(self, data: bytes, kind: Any) -> Any:
        return decode_value(data, kind)

    def decoder(self, kind: Any) -> Callable[[bytes], Any]:
        """The bare decoder of ``kind``, whose errors are not of our tree."""
        return _decoder(kind)


_ATOMS: Final = frozenset(
    (
        *(int, str, float, bool, type(None), bytes, Decimal, UUID),
        *(datetime.datetime, datetime.date, datetime.time, datetime.timedelta),
    )
)


def is_immutable(value: Any) -> bool:
    """Whether one object may be handed to everybody: nothing in it can be changed."""
    kind = type(value)
    if kind in _ATOMS or isinstance(value, Enum):
        return True
    if kind in (tuple, frozenset):
        return all(is_immutable(item) for item in value)
    if isinstance(value, msgspec.Struct):
        return bool(value.__struct_config__.frozen) and all(
            is_immutable(getattr(value, name)) for name in value.__struct_fields__
        )
    return False


def _accepts(kind: type, value: Any) -> bool:
    """Whether ``value`` is as good as a ``kind`` although it is no instance: an int where a float is due."""
    return (kind is float and type(value) is int) or hasattr(kind, "__total__")
