"""Values to JSON and back, strictly typed.

msgspec carries what it knows: builtins, dataclasses, Structs, TypedDict, NamedTuple, enums, dates, UUID,
Decimal, attrs classes, unions. pydantic models validate themselves. Any other class joins with
``register``. Nothing is pickled, so a stored value can never run code.

Limits: what JSON with types cannot say exactly is refused with ``EncodingError`` (NaN and infinities,
lone surrogates, unregistered classes, dict keys that JSON cannot spell). UTC offsets are kept to the
minute and without their zone's name, as ISO 8601 has them; of dict keys with one spelling (1 and "1")
the last one stays. What is saved under a type is read back and compared, at the price of a load and ``==``
(14 us for a dataclass of 1.1 KB); without one, an instance only where it could silently come back as less.
"""

from __future__ import annotations

import math
import types
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Annotated, Any, Final, TypeVar, get_origin

import msgspec

from ..errors import (
    ConfigurationError,
    EncodingError,
    InsecureStorageError,
    PersistenceError,
    TypeMismatchError,
    refused_by,
    shown,
    values_are_shown,
)
from ._checks import (
    ATOMS,
    CONTAINERS,
    NO_LOSS,
    checks_itself,
    key_step,
    place_of,
    refuse_difference,
    refuse_no_json,
    silent_loss,
)
from ._refusals import found_in, reason_of
from ._secret import Secret
from ._types import (
    Registered,
    decoder_of,
    forget_types,
    is_adapter,
    is_model,
    is_path,
    name_of,
    names_of,
    registered,
)

__all__ = [
    "Codec",
    "can_change_in_place",
    "encode_bare",
    "encode_value",
    "is_hashable",
    "is_immutable",
    "register",
]

T = TypeVar("T")


def register(
    kind: type[T], encode: Callable[[T], Any], decode: Callable[[Any], T], *, replace: bool = False
) -> None:
    """Teach every store a class of your own.

    ``encode`` turns an instance into anything already known (a str, a dict, a dataclass); ``decode``
    gets the same back as builtins. Raises ``ConfigurationError`` for a class that is written without this,
    since the functions would never be called, and for a second, other pair unless ``replace``.
    """
    if not isinstance(kind, type):
        raise ConfigurationError(
            f"register takes a class, not {shown(kind)}", hint="write `register(MyClass, encode, decode)`"
        )
    known = not isinstance(msgspec.inspect.type_info(kind), msgspec.inspect.CustomType)
    if known or issubclass(kind, CONTAINERS):
        raise ConfigurationError(
            f"{kind.__qualname__} is written as what it is already; registering it would change nothing",
            hint="wrap it in a class of its own, or save another form of it",
        )
    pair = Registered(encode, decode)
    if not replace and registered.get(kind, pair) != pair:
        raise ConfigurationError(
            f"{kind.__qualname__} is registered already", hint="pass replace=True to register it anew"
        )
    registered[kind] = pair
    forget_types()
    silent_loss.cache_clear()
    checks_itself.cache_clear()


def _encode_other(value: Any) -> Any:
    for kind in type(value).__mro__:
        pair = registered.get(kind)
        if pair is not None:
            return pair.encode(value)
    if is_model(type(value)):
        return msgspec.Raw(_encode_model(value))
    if is_path(type(value)):
        return str(value)
    if isinstance(value, Secret):
        return value.reveal()
    raise _Unwritable(value)


def _encode_no_secret(value: Any) -> Any:
    if isinstance(value, Secret):
        raise InsecureStorageError(
            "a Secret has no confidential place to go",
            hint="open the store with keys=, or with secure= and save it to persistence.secure; in a client "
            "declare the field secure=True",
        )
    return _encode_other(value)


class _Unwritable(Exception):
    """Something in a value has no form; where it is in there is found out outside."""

    def __init__(self, culprit: Any) -> None:
        super().__init__(type(culprit).__qualname__)
        self.culprit: Final = culprit


_LIMITS: Final[tuple[tuple[type[Exception], str, str], ...]] = (
    (RecursionError, "it is nested too deeply (recursion)", "save its parts under keys of their own"),
    (UnicodeEncodeError, "a lone surrogate in a text has no UTF-8 form", "save the bytes it was made of"),
)


def _not_written(error: Exception, value: Any) -> PersistenceError:
    """Why ``value`` cannot be written, and what to do. A registered class or a model may raise anything."""
    if isinstance(error, (EncodingError, InsecureStorageError)):
        return error
    for kind, reason, way_out in _LIMITS:
        if isinstance(error, kind):
            return EncodingError(f"the value cannot be written: {reason}", hint=way_out)
    if not isinstance(error, _Unwritable):
        return EncodingError(
            f"the value cannot be written: {refused_by(error)}",
            hint="see the cause of this error; the page Values of the documentation lists what can be saved",
        )
    culprit = error.culprit
    path = place_of(value, culprit)
    place = "" if path in (None, "$") else f" at {path}"
    if isinstance(culprit, (bool, types.NoneType, *CONTAINERS)):
        return EncodingError(
            f"{shown(culprit)}{place} is a key of a dict, and JSON cannot spell a "
            f"{type(culprit).__qualname__} there",
            hint="use str, int, float, bytes, enums, dates or UUIDs as keys, or save a list of pairs",
        )
    from ._advice import unwritable  # no program that is right needs it

    what, hint = unwritable(culprit)
    return EncodingError(f"{what}{place and f' ({place.strip()})'}", hint=hint)


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
        reason = reason_of(error, type(value))
        raise EncodingError(
            f"the {name} writes itself as what it does not read: {reason.text} at {reason.path}",
            hint="NaN and infinities are refused; else see its aliases and serializers, and whether its "
            "fields hold what they declare",
        ) from error
    refuse_difference(value, back)
    return text.encode()  # type: ignore[no-any-return]


encode_bare: Final = msgspec.json.Encoder(enc_hook=_encode_other).encode
"""``encode_value`` without its checks: for what was checked when it was first saved."""
_encode_in_clear: Final = msgspec.json.Encoder(enc_hook=_encode_no_secret).encode


def encode_value(value: Any) -> bytes:
    """``value`` as JSON. Raises ``EncodingError``, saying what in it cannot be written."""
    try:
        data = encode_bare(value)
    except Exception as error:
        raise _not_written(error, value) from _cause_of(error)
    # msgspec writes NaN and infinities as null, silently: look closer wherever there is a null.
    if data.find(b"null") >= 0:
        _refuse_not_finite(value)
    return data


def decode_value(data: bytes, kind: Any, key: str | None = None) -> Any:
    """The value in ``data`` as ``kind``. Raises ``TypeMismatchError`` with the path inside the value."""
    decode = decoder_of(kind)
    try:
        return decode(data)
    except Exception as error:  # a registered class, a model or a __post_init__ may raise anything
        mismatch = _mismatch(error, kind, data, key=key)
        if values_are_shown() or not _quotes(error):
            raise mismatch from error
    raise mismatch  # out of the handler: what quotes the stored value is not even the context


def _quotes(error: Exception) -> bool:
    """Whether its words are those of a decoder, which quotes what it read; ours say the same without.

    What a check of the user's own raised stays the cause: it says what that program wants it to say.
    """
    if isinstance(error, msgspec.ValidationError):
        return error.__cause__ is None
    return type(error).__module__.startswith("pydantic")


def _mismatch(
    error: Exception,
    kind: Any,
    data: bytes,
    what: str = "the stored value",
    hint: str = "",
    key: str | None = None,
) -> TypeMismatchError:
    from ._ways_out import way_out  # few programs ever need it

    reason = reason_of(error, kind)
    return TypeMismatchError(
        f"{what} is not of type {name_of(kind)}: {reason.text} at {reason.path}; it is {found_in(data)}",
        path=reason.path,
        hint=hint or reason.hint or way_out(reason.text, reason.path, key),
    )


def _cause_of(error: Exception) -> BaseException | None:
    """What ``error`` is raised from: nothing where the new one says all that it says."""
    return None if isinstance(error, (_Unwritable, EncodingError, InsecureStorageError)) else error


def _refuse_not_finite(value: Any) -> None:
    """Raise if NaN or an infinity is anywhere in ``value``, naming the path."""
    try:
        plain = msgspec.to_builtins(value, enc_hook=_plain_other)
    except Exception as error:
        raise _not_written(error, value) from _cause_of(error)
    pending: list[tuple[str, Any]] = [("$", plain)]
    while pending:
        path, item = pending.pop()
        if isinstance(item, float) and not math.isfinite(item):
            raise EncodingError(
                f"{item!r} at {path} has no form in JSON, so it would not come back",
                hint="save None, a string or a Decimal instead",
            )
        if isinstance(item, Mapping):
            pending += [(path + key_step(k), v) for k, v in item.items()]
        elif isinstance(item, (list, tuple, set, frozenset)):
            pending += [(f"{path}[{i}]", v) for i, v in enumerate(item)]


def _plain_other(value: Any) -> Any:
    if is_model(type(value)):
        return None  # checked when it was encoded
    return _encode_other(value)


class Codec:
    """How a store turns values into JSON and back; the two functions above, checked against a type."""

    def __init__(self, *, confidential: bool = True) -> None:
        """``confidential``: what it writes may have a ``Secret`` in it."""
        self._encode: Callable[[Any], bytes] = encode_bare if confidential else _encode_in_clear

    def encode(self, value: Any, kind: Any = None) -> bytes:
        """``value`` as JSON; with ``kind``, only if it can be read back as that.

        Raises ``EncodingError`` for what cannot be written, or would silently come back as less,
        ``TypeMismatchError`` for what is no ``kind`` and ``InsecureStorageError`` for a ``Secret`` where what
        is written can be read by others.
        """
        cls: Any = type(value)
        is_untyped = kind is None or kind is Any
        if is_untyped or kind is cls or not is_adapter(kind):
            try:  # as in ``encode_value``: every save comes by here
                data = self._encode(value)
            except Exception as error:
                raise _not_written(error, value) from _cause_of(error)
            if data.find(b"null") >= 0:
                _refuse_not_finite(value)
        else:
            data = _encode_by(kind, value)
        if cls in ATOMS and (is_untyped or kind is cls):
            return data
        if is_untyped:
            try:
                loss = silent_loss(cls)
            except ConfigurationError as error:
                raise _never_read_back(cls, error) from error
            if loss is None:
                refuse_no_json(data)
            elif loss is not NO_LOSS and loss.is_possible():
                _check_back(value, cls, decoder_of(cls), data)
            return data
        decode = decoder_of(kind)  # a type that could never be read back is refused in any case
        if cls is kind:
            if checks_itself(cls):
                return data
        elif not _accepts(kind, value):
            own, asked = names_of(cls, kind)
            raise TypeMismatchError(
                f"the value is of type {own}, not {asked}",
                hint=f"pass a value of type {asked}; nothing was stored",
            )
        _check_back(value, kind, decode, data)
        return data

    def decode(self, data: bytes, kind: Any, key: str | None = None) -> Any:
        """The value in ``data`` as ``kind``; what does not fit is told with what to write for ``key``."""
        return decode_value(data, kind, key)

    def written(self, value: Any, kind: Any) -> bytes:
        """``value``, which was read as ``kind``, as JSON again. Not checked."""
        return _encode_by(kind, value) if is_adapter(kind) else encode_bare(value)

    def decoder(self, kind: Any) -> Callable[[bytes], Any]:
        """The bare decoder of ``kind``, whose errors are not of our tree."""
        return decoder_of(kind)

    def is_adapter(self, kind: Any) -> bool:
        """Whether ``kind`` is a ``TypeAdapter`` of pydantic, which cannot be a part of other types."""
        return is_adapter(kind)


def _never_read_back(cls: Any, error: ConfigurationError) -> EncodingError:
    """Why an instance of ``cls`` is not written: ``error`` says why it could not be read as that class."""
    hint = error.hint
    for base in cls.__mro__:
        if base in registered:
            hint = f"{base.__qualname__} is registered: save it with type={base.__qualname__}"
            break
    return EncodingError(error.message, hint=hint)


def _check_back(value: Any, kind: Any, decode: Callable[[bytes], Any], data: bytes) -> None:
    """Refuse what does not come back equal: read it as it will be read. Costs what a load and ``==`` cost."""
    try:
        back = decode(data)
    except Exception as error:
        refuse_no_json(data)
        # The same as when a stored value is read.
        raise _mismatch(error, kind, data, "the value", "pass one that fits; nothing was stored") from error
    if not data.isascii():
        refuse_no_json(data)
    refuse_difference(value, back)


def _encode_by(adapter: Any, value: Any) -> bytes:
    """``value`` as a ``TypeAdapter`` of pydantic writes it."""
    try:
        data: bytes = adapter.dump_json(value, by_alias=True, round_trip=True, warnings=False)
    except Exception as error:  # serializers of the user may raise anything
        raise EncodingError(
            f"the value cannot be written: {refused_by(error)}", hint="see the serializers of the type"
        ) from error
    return data


def is_immutable(value: Any) -> bool:
    """Whether one object may be handed to everybody: nothing in it can be changed."""
    kind = type(value)
    if kind in ATOMS or isinstance(value, Enum):
        return True
    if kind in (tuple, frozenset):
        return all(is_immutable(item) for item in value)
    if kind is Secret:
        return is_immutable(value.reveal())
    if isinstance(value, msgspec.Struct):
        # One with a __dict__ keeps its cached properties there.
        config = value.__struct_config__
        return bool(config.frozen and not config.dict) and all(
            is_immutable(getattr(value, name)) for name in value.__struct_fields__
        )
    return False


def can_change_in_place(value: Any) -> bool:
    """Whether ``value`` may become another one without being assigned."""
    if is_immutable(value):
        return False
    kind = type(value)
    if is_dataclass(kind) and kind.__dataclass_params__.frozen:  # type: ignore[attr-defined]
        return any(can_change_in_place(getattr(value, field.name)) for field in fields(kind))
    if kind in (tuple, frozenset):
        return any(can_change_in_place(item) for item in value)
    return True


def is_hashable(value: Any) -> bool:
    """Whether it has a hash: a list in a tuple, or in a frozen dataclass, has none."""
    try:
        hash(value)
    except TypeError:
        return False
    return True


def _accepts(kind: Any, value: Any) -> bool:
    """Whether ``value`` may be a ``kind``, as far as its own class tells."""
    while get_origin(kind) is Annotated:
        kind = kind.__origin__
    kind = get_origin(kind) or kind
    if not isinstance(kind, type) or kind is types.UnionType or hasattr(kind, "__total__"):
        return True  # a union, a Literal, a TypedDict: decoding tells
    return isinstance(value, kind) or (kind is float and type(value) is int)
