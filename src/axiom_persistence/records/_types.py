"""Types that values can be read as: what msgspec knows, registered classes, models, paths and stand-ins."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from enum import Enum
from functools import lru_cache, reduce
from operator import or_
from types import FunctionType
from typing import Annotated, Any, Final, Literal, NewType, get_args, get_origin, get_type_hints

import msgspec

from ..errors import ConfigurationError, shown
from ._refusals import Refusal, reason_of
from ._secret import Secret

__all__ = [
    "Registered",
    "StandIn",
    "decoder_of",
    "forget_types",
    "form_of",
    "is_adapter",
    "is_model",
    "is_path",
    "name_of",
    "names_of",
    "parts_of",
    "registered",
]


class Registered(msgspec.Struct, frozen=True):
    """How a registered class is written and read."""

    encode: Callable[[Any], Any]
    decode: Callable[[Any], Any]


registered: Final[dict[type, Registered]] = {}


def pydantic() -> Any:
    """The module, if the application uses pydantic at all."""
    return sys.modules.get("pydantic")


def is_adapter(kind: Any) -> bool:
    """Whether ``kind`` is a ``TypeAdapter`` of pydantic."""
    module = pydantic()
    return module is not None and isinstance(kind, module.TypeAdapter)


def is_model(kind: Any) -> bool:
    """Whether ``kind`` is a class of pydantic models."""
    module = pydantic()
    return module is not None and isinstance(kind, type) and issubclass(kind, module.BaseModel)


def is_path(kind: Any) -> bool:
    """Whether ``kind`` is a class of paths."""
    module = sys.modules.get("pathlib")  # it and what it imports cost a start more than any module here
    return module is not None and isinstance(kind, type) and issubclass(kind, module.PurePath)


def name_of(kind: Any) -> str:
    return kind.__qualname__ if isinstance(kind, type) else str(kind)


def names_of(one: Any, other: Any) -> tuple[str, str]:
    """The names of two different types, with their modules where they would be the same without."""
    if name_of(one) != name_of(other):
        return name_of(one), name_of(other)
    full, of_other = (f"{kind.__module__}.{name_of(kind)}" for kind in (one, other))
    return (
        (full, of_other) if full != of_other else (full, f"the other {full}, made when it was defined again")
    )


_decoders: dict[Any, Callable[[bytes], Any]] = {}


def forget_types() -> None:
    """Look at every type anew: something was registered."""
    _decoders.clear()
    form_of.cache_clear()


def decoder_of(kind: Any) -> Callable[[bytes], Any]:
    """What reads JSON as ``kind``, strictly. Raises ``ConfigurationError`` for what is no type of values."""
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
    if is_model(kind) and kind not in registered:
        validate: Callable[..., Any] = kind.model_validate_json
        return lambda data: validate(data, strict=True)
    if is_adapter(kind):
        read: Callable[..., Any] = kind.validate_json
        return lambda data: read(data, strict=True)
    try:
        try:
            form = form_of(kind)
        except TypeError:  # not hashable
            form = form_of.__wrapped__(kind)
        _check_readable(form)
        decoder: Any = msgspec.json.Decoder(form, strict=True, dec_hook=_decode_other)
    except ConfigurationError:
        raise
    except (TypeError, ValueError, NameError, AttributeError, RecursionError) as error:
        raise _no_type(kind, error) from error
    decode: Callable[[bytes], Any] = decoder.decode
    return decode


def _no_type(kind: Any, error: Exception) -> ConfigurationError:
    """Each cause has its own words: what is wrong with the type, and what to write."""
    if not isinstance(kind, type) and type(kind).__module__ not in ("typing", "types", "typing_extensions"):
        hint = "pass the class itself, not its name" if isinstance(kind, str) else f"pass {_called(kind)}"
        return ConfigurationError(
            f"a type is needed here, and a value was passed: {shown(kind)}",
            hint=f"{hint}; what to answer where nothing is stored is default=",
        )
    if isinstance(error, NameError):
        return ConfigurationError(
            f"{name_of(kind)} cannot be read: an annotation in it names {error.name}, which is not defined "
            "there at run time",
            hint=f"import {error.name} where it is annotated, not only under `if TYPE_CHECKING:`",
        )
    said = f"{name_of(kind)} is not a type that values can be read as: {error}"
    if isinstance(kind, type) and issubclass(kind, Enum):
        return ConfigurationError(said, hint="give its members str values only, or int values only")
    if "unions" in str(error):
        return ConfigurationError(
            said,
            hint="give the classes a tag, `class A(msgspec.Struct, tag=True)`; or have the union in a field "
            "of a dataclass, or in the type you pass",
        )
    return ConfigurationError(
        said, hint="name a concrete type: a class, list[...], dict[str, ...], a union, Any"
    )


def _called(kind: Any) -> str:
    """How the type is spelt that a value was passed for."""
    if isinstance(kind, FunctionType):
        return "the type that it returns"
    return type(kind).__qualname__


def _decode_other(kind: Any, data: Any) -> Any:
    pair = registered.get(get_origin(kind) or kind)
    if pair is not None:
        return pair.decode(data)
    if kind is Secret or get_origin(kind) is Secret:
        (held,) = get_args(kind) or (Any,)
        return Secret(decoder_of(held)(msgspec.json.encode(data)))
    if is_path(kind):
        if not isinstance(data, str):
            raise Refusal(f"a path is text, not {type(data).__name__}")
        return kind(data)
    # JSON again: pydantic is strict about builtins but knows what JSON has to spell as text.
    again = msgspec.json.encode(data)
    if issubclass(kind, StandIn):
        return kind.read(again)
    return kind.model_validate_json(again, strict=True)  # no decoder is made for any other class


def _check_readable(form: Any) -> None:
    """Raise unless every class inside a type can be read, all of it."""
    for item in parts_of(form):
        cls: Any = getattr(item, "cls", None)
        if isinstance(item, msgspec.inspect.CustomType):
            if cls not in registered and not _is_read_here(cls):
                raise ConfigurationError(
                    f"{name_of(cls)}{_held_by(form, cls)} is a type this library cannot read",
                    hint="name a class of data: str, list[int], a dataclass"
                    if cls.__module__.partition(".")[0] in sys.stdlib_module_names - {"__main__"}
                    else "make it a dataclass, a Struct, a pydantic or attrs model, or call "
                    f"`register({name_of(cls)}, encode, decode)`",
                )
        elif hasattr(cls, "__attrs_attrs__"):
            hidden = [field.name for field in cls.__attrs_attrs__ if field.name.startswith("_")]
            if hidden:  # the encoder skips them, silently
                raise ConfigurationError(
                    f"{cls.__qualname__} is an attrs class with private fields, which are not written: "
                    + ", ".join(hidden),
                    hint=f"rename them, or call register on a class around {cls.__qualname__}",
                )


def _is_read_here(cls: Any) -> bool:
    return is_model(cls) or is_path(cls) or cls is Secret or _stands_in(cls)


def _held_by(form: Any, cls: type) -> str:
    """Of which class a field of type ``cls`` is: the type that was passed may be far from it."""
    for part in parts_of(form):
        for field in getattr(part, "fields", ()):
            if isinstance(field, msgspec.inspect.Field) and _mentions(field.type, cls):
                return f", the type of {name_of(part.cls)}.{field.name},"
    return ""


def _mentions(item: Any, cls: type) -> bool:
    """Whether ``cls`` is named in a type, not only in a field of a class that is."""
    if isinstance(item, tuple):
        return any(_mentions(each, cls) for each in item)
    if not isinstance(item, msgspec.inspect.Type):
        return False
    parts = (getattr(item, name) for name in item.__struct_fields__)
    return getattr(item, "cls", None) is cls or any(_mentions(part, cls) for part in parts)


def parts_of(form: Any) -> list[Any]:
    """What a type is made of, itself first, as msgspec sees it."""
    pending: list[Any] = [msgspec.inspect.type_info(form)]
    parts: list[Any] = []
    seen: set[Any] = set()  # types may contain themselves
    while pending:
        item = pending.pop()
        if isinstance(item, (list, tuple)):
            pending += item
            continue
        if parts and item is parts[0]:
            parts.append(parts[0])  # it contains itself
        if not isinstance(item, (msgspec.inspect.Type, msgspec.inspect.Field)) or id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, msgspec.inspect.Type):
            parts.append(item)
        cls: Any = getattr(item, "cls", None)
        if _stands_in(cls) and cls not in seen:
            seen.add(cls)
            pending += [msgspec.inspect.type_info(each) for each in cls.kinds]
        pending += [getattr(item, name) for name in item.__struct_fields__]
    return parts


# -- what msgspec does not read by itself ---------------------------------------------------------------


class _Anything(type):
    """The decoder asks whether what was read is an instance: of a stand-in, whatever it stands for is."""

    def __instancecheck__(cls, instance: object) -> bool:
        return True


class StandIn(metaclass=_Anything):
    """Base of classes that stand in a type for what msgspec refuses there, and read it."""

    kinds: tuple[Any, ...] = ()

    @classmethod
    def read(cls, data: bytes) -> Any:
        """The value that exactly one of the kinds makes of ``data``: never the first of several."""
        found, reasons = [], []
        for kind in cls.kinds:
            try:
                found.append((kind, decoder_of(kind)(data)))
            except Exception as error:  # a model or a __post_init__ may raise anything
                text, path, _ = reason_of(error, kind)
                reasons.append(f"{name_of(kind)}: {text}{'' if path == '$' else f' at {path}'}")
        if len(found) == 1:
            return found[0][1]
        if found:
            fitting = " and of ".join(name_of(kind) for kind, _ in found)
            raise Refusal(
                f"it may be of {fitting}, which nothing in it tells apart",
                "give the classes a tag, or a field that differs: `kind: Literal['a'] = 'a'`",
            )
        raise Refusal("; ".join(reasons))


def _stands_in(cls: Any) -> bool:
    return isinstance(cls, type) and issubclass(cls, StandIn)


def _stand_in(name: str, kinds: tuple[Any, ...] = ()) -> Any:
    return _Anything(name, (StandIn,), {"kinds": kinds, "__qualname__": name})


@lru_cache(maxsize=1024)
def form_of(kind: Any) -> Any:
    """``kind`` as msgspec reads it: itself, or with stand-ins where that would be refused.

    These are unions of classes that JSON cannot tell apart, ``date | datetime``, and ``type`` aliases
    that contain themselves (which are read once more at each level, so that depth costs time).
    """
    return kind if _is_known(kind) else _with_stand_ins(kind, {})


def _is_known(kind: Any) -> bool:
    try:
        msgspec.json.Decoder(kind)
    except (TypeError, RecursionError):
        return False
    return True


def _with_stand_ins(kind: Any, made: dict[Any, Any]) -> Any:
    origin: Any = get_origin(kind)
    arguments = get_args(kind)
    if isinstance(kind, NewType):
        return _with_stand_ins(kind.__supertype__, made)
    if type(kind).__name__ == "TypeAliasType":  # Python 3.12 and later
        return _once(kind, made, _fill_alias)
    if isinstance(kind, type) and dataclasses.is_dataclass(kind) and not _is_known(kind):
        return _once(kind, made, _fill_dataclass)
    if not arguments or origin is Literal:
        return kind
    if origin is Annotated:
        return Annotated[_with_stand_ins(arguments[0], made), *arguments[1:]]
    inner = tuple(_with_stand_ins(each, made) for each in arguments)
    if type(kind).__name__ not in ("Union", "UnionType", "_UnionGenericAlias"):
        return origin[inner]
    union = reduce(or_, inner)
    if _is_known(union):
        return union
    kinds = tuple(each for each in inner if each is not type(None))
    choice = _stand_in(" | ".join(map(name_of, kinds)), kinds)
    return choice if len(kinds) == len(inner) else choice | None


def _once(kind: Any, made: dict[Any, Any], fill: Callable[[Any, Any, dict[Any, Any]], None]) -> Any:
    if kind not in made:
        made[kind] = _stand_in(kind.__name__)
        fill(made[kind], kind, made)
    return made[kind]


def _fill_alias(stand_in: Any, alias: Any, made: dict[Any, Any]) -> None:
    stand_in.kinds = (_with_stand_ins(alias.__value__, made),)


def _fill_dataclass(stand_in: Any, cls: Any, made: dict[Any, Any]) -> None:
    """Read the fields as a Struct, and make the instance of them as msgspec would."""
    hints = get_type_hints(cls, include_extras=True)
    fields = []
    for field in dataclasses.fields(cls):
        given: dict[str, Any] = {}
        if field.default is not dataclasses.MISSING:
            given["default"] = field.default
        elif field.default_factory is not dataclasses.MISSING:
            given["default_factory"] = field.default_factory
        fields.append((field.name, _with_stand_ins(hints[field.name], made), msgspec.field(**given)))
    twin = msgspec.defstruct(cls.__name__, fields, kw_only=True)
    stand_in.kinds = (twin,)

    def read(data: bytes) -> Any:
        values, instance = decoder_of(twin)(data), object.__new__(cls)
        for name in values.__struct_fields__:
            object.__setattr__(instance, name, getattr(values, name))
        if hasattr(cls, "__post_init__"):
            instance.__post_init__()
        return instance

    stand_in.read = read
