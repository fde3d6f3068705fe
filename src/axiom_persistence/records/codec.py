"""Values to JSON and back, strictly typed.

msgspec carries what it knows: builtins, dataclasses, Structs, TypedDict, NamedTuple, enums, dates, UUID,
Decimal, attrs classes, unions. pydantic models validate themselves. Any other class joins with
``register``. Nothing is pickled, so a stored value can never run code.

Limits: what JSON with types cannot say exactly is refused with ``EncodingError`` (NaN and infinities,
lone surrogates, unregistered classes, dict keys that JSON cannot spell). UTC offsets are kept to the
minute and without their zone's name, as ISO 8601 has them; of dict keys with one spelling (1 and "1")
the last one stays; an instance's fields are checked against their annotations when it is read.
"""

from __future__ import annotations

import datetime
import math
import sys
import types
from collections.abc import Callable, Mapping
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Final, TypeVar, get_origin
from uuid import UUID

import msgspec

from ..errors import ConfigurationError, EncodingError, TypeMismatchError

__all__ = ["Codec", "encode_bare", "is_immutable", "register"]

T = TypeVar("T")


class _Registered(msgspec.Struct, frozen=True):
    encode: Callable[[Any], Any]
    decode: Callable[[Any], Any]


_registered: dict[type, _Registered] = {}

_CONTAINERS: Final = (dict, list, tuple, set, frozenset)
"""Their subclasses, too, are written as JSON arrays and objects, and read back as the plain classes."""


def register(
    kind: type[T], encode: Callable[[T], Any], decode: Callable[[Any], T], *, replace: bool = False
) -> None:
    """Teach every store a class of your own.

    ``encode`` turns an instance into anything already known (a str, a dict, a dataclass); ``decode``
    gets the same back as builtins. Raises ``ConfigurationError`` for a class that is written without this,
    since the functions would never be called, and for a second, other pair unless ``replace``.
    """
    if not isinstance(kind, type):
        raise ConfigurationError(f"register takes a class, not {kind!r}")
    known = not isinstance(msgspec.inspect.type_info(kind), msgspec.inspect.CustomType)
    if known or issubclass(kind, _CONTAINERS):
        raise ConfigurationError(
            f"{kind.__qualname__} is written as what it is already; registering it would change nothing",
            hint="wrap it in a class of its own, or save another form of it",
        )
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
        return msgspec.Raw(_encode_model(value))
    name = type(value).__qualname__
    if isinstance(value, (bool, types.NoneType, *_CONTAINERS)):
        raise EncodingError(
            f"{value!r:.80} is a key of a dict, and JSON cannot spell a {name} there",
            hint="use str, int, float, bytes, enums, dates or UUIDs as keys, or save a list of pairs",
        )
    raise EncodingError(
        f"{name} is a class this library cannot write",
        hint=_how_to_write(type(value)),
    )


def _how_to_write(cls: type) -> str:
    from pathlib import PurePath  # it and what it imports cost a start more than any module here

    if issubclass(cls, PurePath):
        return (
            "save str(path); or call register(Path, str, Path), and name the type: save(key, path, type=Path)"
        )
    if cls.__module__.partition(".")[0] in sys.stdlib_module_names:  # nobody can make these a dataclass
        return "save what it can be built from, its text or a list of its items, and build it after loading"
    name = cls.__qualname__
    return (
        f"make it a dataclass, a msgspec Struct, a pydantic or attrs model, or call register({name}, "
        "encode, decode)"
    )


def _encode_model(value: Any) -> bytes:
    """A pydantic model as JSON that is known to come back equal.

    A model decides itself what it writes: NaN as null, a secret as asterisks, an alias that it does not
    read. So what it wrote is read again before it may replace anything.
    """
    text = value.model_dump_json(by_alias=True, round_trip=True, warnings=False)
    name = type(value).__qualname__
    try:
        back = type(value).model_validate_json(text, strict=True)
    except ValueError as error:
        path, reason = _first_fault(error)
        raise EncodingError(
            f"the {name} writes itself as what it does not read: {reason} at {path}",
            hint="NaN and infinities are refused; else see its aliases and serializers, and whether its "
            "fields hold what they declare",
        ) from error
    if back.model_dump(round_trip=True, warnings=False) != value.model_dump(round_trip=True, warnings=False):
        raise EncodingError(
            f"the {name} would come back with another value",
            hint="NaN, infinities and secrets have no form in its JSON; give such fields a serializer",
        )
    return text.encode()  # type: ignore[no-any-return]


def _decode_other(kind: Any, data: Any) -> Any:
    pair = _registered.get(get_origin(kind) or kind)
    if pair is not None:
        return pair.decode(data)
    # A pydantic model: no decoder is made for any other class. JSON again, since pydantic is strict about
    # builtins but knows what JSON has to spell as text.
    return kind.model_validate_json(msgspec.json.encode(data), strict=True)


_encoder: Final = msgspec.json.Encoder(enc_hook=_encode_other)
encode_bare: Final = _encoder.encode
"""``encode_value`` without its checks: for what was checked when it was first saved."""
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
    if _is_model(kind) and kind not in _registered:
        validate: Callable[..., Any] = kind.model_validate_json
        return lambda data: validate(data, strict=True)
    try:
        decode: Callable[[bytes], Any] = msgspec.json.Decoder(
            kind, strict=True, dec_hook=_decode_other
        ).decode
        _check_readable(msgspec.inspect.type_info(kind))
    except ConfigurationError:
        raise
    except (TypeError, ValueError, NameError) as error:
        raise ConfigurationError(
            f"{_name(kind)} is not a type that values can be read as: {error}",
            hint=_way_out(kind),
        ) from error
    return decode


def _way_out(kind: Any) -> str:
    if isinstance(kind, str):
        return "pass the class itself, not its name"
    if isinstance(kind, type) and issubclass(kind, Enum):
        return "give its members str values only, or int values only"
    return "name a concrete type; unions take at most one class that JSON cannot tell apart"


def _check_readable(info: msgspec.inspect.Type) -> None:
    """Raise unless every class inside a type can be read, all of it."""
    pending: list[Any] = [info]
    seen: set[int] = set()  # types may contain themselves
    while pending:
        item = pending.pop()
        if isinstance(item, (list, tuple)):
            pending += item
            continue
        if not isinstance(item, (msgspec.inspect.Type, msgspec.inspect.Field)) or id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, msgspec.inspect.CustomType):
            if item.cls not in _registered and not _is_model(item.cls):
                raise ConfigurationError(
                    f"{item.cls.__qualname__} is a type this library cannot read",
                    hint="use a dataclass, a Struct, a pydantic or attrs model, or register it",
                )
            continue
        cls: Any = getattr(item, "cls", None)
        if hasattr(cls, "__attrs_attrs__"):
            hidden = [field.name for field in cls.__attrs_attrs__ if field.name.startswith("_")]
            if hidden:  # the encoder skips them, silently
                raise ConfigurationError(
                    f"{cls.__qualname__} is an attrs class with private fields, which are not written: "
                    + ", ".join(hidden),
                    hint=f"rename them, or call register on a class around {cls.__qualname__}",
                )
        pending += [getattr(item, name) for name in item.__struct_fields__]


def _is_model(kind: Any) -> bool:
    model = _pydantic_model()
    return model is not None and isinstance(kind, type) and issubclass(kind, model)


def _name(kind: Any) -> str:
    return kind.__qualname__ if isinstance(kind, type) else str(kind)


def encode_value(value: Any) -> bytes:
    """``value`` as JSON. Raises ``EncodingError``, saying what in it cannot be written."""
    try:
        data = encode_bare(value)
    except EncodingError:
        raise
    except Exception as error:  # a registered class or a model may raise anything
        raise EncodingError(
            f"the value cannot be written: {str(error) or type(error).__name__}",
            hint="the types that can be saved are listed in docs/values.md",
        ) from error
    # msgspec writes NaN and infinities as null, silently: look closer wherever there is a null.
    if data.find(b"null") >= 0:
        _refuse_not_finite(value)
    return data


def decode_value(data: bytes, kind: Any) -> Any:
    """The value in ``data`` as ``kind``. Raises ``TypeMismatchError`` with the path inside the value."""
    decode = _decoder(kind)
    try:
        return decode(data)
    except Exception as error:  # a registered class, a model or a __post_init__ may raise anything
        raise _mismatch(error, kind, data) from error


_LOAD_OR_MIGRATE: Final = "load it as the type it was saved with, give the new field a default, or migrate it"


def _mismatch(
    error: Exception, kind: Any, data: bytes, what: str = "the stored value", hint: str = _LOAD_OR_MIGRATE
) -> TypeMismatchError:
    text, path = str(error) or type(error).__name__, "$"
    if isinstance(error, msgspec.ValidationError) and " - at `" in text:
        text, _, tail = text.rpartition(" - at `")
        path = tail.rstrip("`")
    elif hasattr(error, "errors"):
        path, text = _first_fault(error)
    found = data[:60].decode(errors="replace") + ("…" if len(data) > 60 else "")
    return TypeMismatchError(
        f"{what} is not of type {_name(kind)}: {text} at {path}; it is {found}",
        path=path,
        hint=hint,
    )


def _first_fault(error: Any) -> tuple[str, str]:
    """Path and reason of the first of the faults that an error of pydantic lists."""
    if not hasattr(error, "errors"):
        return "$", str(error)
    first = error.errors()[0]
    path = "$" + "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in first["loc"])
    return path, first["msg"]


def _refuse_not_finite(value: Any) -> None:
    """Raise if NaN or an infinity is anywhere in ``value``, naming the path."""
    try:
        plain = msgspec.to_builtins(value, enc_hook=_plain_other)
    except Exception as error:
        raise EncodingError(f"the value cannot be written: {str(error) or type(error).__name__}") from error
    pending: list[tuple[str, Any]] = [("$", plain)]
    while pending:
        path, item = pending.pop()
        if isinstance(item, float) and not math.isfinite(item):
            raise EncodingError(
                f"{item!r} at {path} has no form in JSON, so it would not come back",
                hint="save None, a string or a Decimal instead",
            )
        if isinstance(item, Mapping):
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
        cls = type(value)
        if kind is None or kind is Any:
            if cls not in _decoders and cls not in _ATOMS and not issubclass(cls, _CONTAINERS):
                _check_own(cls)
            return data
        _decoder(kind)  # a type that could never be read back is refused before anything is written
        if cls is kind:
            return data
        if not _accepts(kind, value):
            raise TypeMismatchError(
                f"the value is of type {cls.__qualname__}, not {_name(kind)}: {value!r:.80}",
                hint="nothing was stored",
            )
        try:
            back = _decoder(kind)(data)
        except Exception as error:  # the same as when a stored value is read
            raise _mismatch(error, kind, data, "the value", "nothing was stored") from error
        if kind is float and back != value:
            raise EncodingError(f"the int {value!r} has no exact form as a float")
        return data

    def decode(self, data: bytes, kind: Any) -> Any:
        return decode_value(data, kind)

    def decoder(self, kind: Any) -> Callable[[bytes], Any]:
        """The bare decoder of ``kind``, whose errors are not of our tree."""
        return _decoder(kind)


def _check_own(cls: type) -> None:
    """Refuse instances of a class that could never be read back as that class."""
    try:
        _decoder(cls)
    except ConfigurationError as error:
        hint = error.hint
        for base in cls.__mro__:
            if base in _registered:
                hint = f"{base.__qualname__} is registered: save it with type={base.__qualname__}"
                break
        raise EncodingError(error.message, hint=hint) from error


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
        # One with a __dict__ keeps its cached properties there.
        config = value.__struct_config__
        return bool(config.frozen and not config.dict) and all(
            is_immutable(getattr(value, name)) for name in value.__struct_fields__
        )
    return False


def _accepts(kind: Any, value: Any) -> bool:
    """Whether ``value`` may be a ``kind``, as far as its own class tells."""
    while get_origin(kind) is Annotated:
        kind = kind.__origin__
    kind = get_origin(kind) or kind
    if not isinstance(kind, type) or kind is types.UnionType or hasattr(kind, "__total__"):
        return True  # a union, a Literal, a TypedDict: decoding tells
    return isinstance(value, kind) or (kind is float and type(value) is int)
