"""Copying values, where that gives what decoding them again would give, and faster.

A copier is Python source, written for one type and compiled once: it sets attribute by attribute, and shares
with its source only what cannot be changed. Where a class may do more than a decoder's setting of
attributes, there is none.
"""

from __future__ import annotations

import keyword
from collections.abc import Callable
from types import MemberDescriptorType
from typing import Any, Final, get_origin

import msgspec
import msgspec.inspect as types

__all__ = ["copier"]

_MAX_TYPES: Final = 4096
"""Copiers that are remembered."""

_MAX_LINES: Final = 1000
"""Statements of one copier. A type that needs more is decoded: compiling that many would be felt."""

_MAX_DEPTH: Final = 16
"""Loops in loops: Python compiles no more than 20."""

_ATOMS: Final = (
    *(types.NoneType, types.BoolType, types.IntType, types.FloatType, types.StrType, types.BytesType),
    *(types.DateTimeType, types.DateType, types.TimeType, types.TimeDeltaType, types.DecimalType),
    *(types.UUIDType, types.EnumType, types.LiteralType),
)

_STRUCT_METHODS: Final = ("__copy__", "__setattr__", "__getattribute__")

_HOOKS: Final = ("__post_init__", "__attrs_pre_init__", "__attrs_post_init__")

_copiers: dict[Any, Callable[[Any], Any] | None] = {}


def copier(kind: Any) -> Callable[[Any], Any] | None:
    """The function that copies values of ``kind`` so that nothing mutable is shared with the copy.

    What it is given must come from strict decoding, and none of it from a default: then the copy is what
    decoding again would make. None: that is not certain (a hook of a class, ``Any``, a type that contains
    itself, one that is another library's).
    """
    try:
        return _copiers[kind]
    except KeyError:
        pass
    except TypeError:  # an unhashable annotation cannot be remembered
        return None
    try:
        copy = _Source().compiled(types.type_info(kind))
    except _NotKnown:
        copy = None
    if len(_copiers) >= _MAX_TYPES:
        _copiers.clear()
    _copiers[kind] = copy
    return copy


class _NotKnown(Exception):
    """It is not known how decoding makes values of this type, or it is more than setting attributes."""


class _Source:
    """The source of one copier, and the objects that it names."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.names: dict[str, Any] = {
            "new": object.__new__,
            "new_tuple": tuple.__new__,
            "set_field": msgspec.structs.force_setattr,
        }
        self.variables = 0
        self.inside: list[Any] = []  # the classes around the one that is being written

    def compiled(self, info: types.Type) -> Callable[[Any], Any]:
        result = self.copy(info, "source", 1)
        text = "\n".join(["def copy(source):", *self.lines, f"    return {result}"])
        exec(compile(text, "<copier>", "exec"), self.names)  # noqa: S102 - made of checked names only
        copy: Callable[[Any], Any] = self.names["copy"]
        return copy

    def line(self, depth: int, text: str) -> None:
        if len(self.lines) >= _MAX_LINES or depth > _MAX_DEPTH:
            raise _NotKnown
        self.lines.append("    " * depth + text)

    def name(self, thing: Any) -> str:
        """A name for ``thing``."""
        name = f"class{len(self.names)}"
        self.names[name] = thing
        return name

    def variable(self) -> str:
        """A name that is not used yet."""
        self.variables += 1
        return f"v{self.variables}"

    def copy(self, info: types.Type, source: str, depth: int) -> str:
        """Write what copies the value that ``source`` names; the expression for the copy."""
        info = _plain(info)
        if _is_shared(info):
            return source
        match info:
            case types.ListType() | types.SetType() | types.VarTupleType():
                return self.items(info, source, depth)
            case types.DictType():
                return self.mapping(info, source, depth)
            case types.TupleType(item_types):
                return f"({self.fixed(item_types, source, depth)})"
            case types.ByteArrayType():
                return f"{source}.copy()"
            case types.UnionType(alternatives):
                return self.union(alternatives, source, depth)
            case types.NamedTupleType() | types.TypedDictType() | types.DataclassType() | types.StructType():
                return self.instance(info, source, depth)
        raise _NotKnown

    def items(self, info: Any, source: str, depth: int) -> str:
        is_tuple = isinstance(info, types.VarTupleType)
        if _is_shared(info.item_type) and not is_tuple:
            return f"{source}.copy()"
        if isinstance(info, types.SetType):
            raise _NotKnown  # hashing each copy takes longer than decoding
        result, item = self.variable(), self.variable()
        self.line(depth, f"{result} = []")
        self.line(depth, f"for {item} in {source}:")
        self.line(depth + 1, f"{result}.append({self.copy(info.item_type, item, depth + 1)})")
        return f"tuple({result})" if is_tuple else result

    def mapping(self, info: types.DictType, source: str, depth: int) -> str:
        if not _is_shared(info.key_type):
            raise _NotKnown
        if _is_shared(info.value_type):
            return f"{source}.copy()"
        result, key, value = self.variable(), self.variable(), self.variable()
        self.line(depth, f"{result} = {{}}")
        self.line(depth, f"for {key}, {value} in {source}.items():")
        self.line(depth + 1, f"{result}[{key}] = {self.copy(info.value_type, value, depth + 1)}")
        return result

    def fixed(self, item_types: Any, source: str, depth: int) -> str:
        """The items of a tuple, each with a comma behind it."""
        items = [self.variable() for _ in item_types]
        self.line(depth, f"{''.join(f'{item}, ' for item in items)}= {source}")
        copies = [self.copy(info, item, depth) for info, item in zip(item_types, items, strict=True)]
        return "".join(f"{copy}, " for copy in copies)

    def union(self, alternatives: tuple[types.Type, ...], source: str, depth: int) -> str:
        changing = [_plain(info) for info in alternatives if not _is_shared(info)]
        classes = [_class_of(info) for info in changing]
        atoms = [info for info in alternatives if _is_shared(info) and not isinstance(info, types.NoneType)]
        if atoms or len(set(classes)) < len(classes):
            raise _NotKnown  # asking each atom for its class takes longer than decoding it
        result = self.variable()
        word = "if"
        for info, cls in zip(changing, classes, strict=True):
            self.line(depth, f"{word} {source}.__class__ is {self.name(cls)}:")
            self.line(depth + 1, f"{result} = {self.copy(info, source, depth + 1)}")
            word = "elif"
        self.line(depth, f"else: {result} = {source}")
        return result

    def instance(self, info: Any, source: str, depth: int) -> str:
        if info.cls in self.inside:
            raise _NotKnown  # nested as deeply as its value: Python's recursion ends before a decoder's
        self.inside.append(info.cls)
        try:
            if isinstance(info, types.TypedDictType):
                return self.typed_dict(info, source, depth)
            if isinstance(info, types.NamedTupleType):
                if not _is_plain_namedtuple(info.cls):
                    raise _NotKnown
                items = self.fixed([field.type for field in info.fields], source, depth)
                return f"new_tuple({self.name(_origin(info.cls))}, ({items}))"
            if isinstance(info, types.StructType):
                return self.struct(info, source, depth)
            return self.dataclass(info, source, depth)
        finally:
            self.inside.pop()

    def typed_dict(self, info: types.TypedDictType, source: str, depth: int) -> str:
        result, value = self.variable(), self.variable()
        self.line(depth, f"{result} = {source}.copy()")
        for field in info.fields:
            if not _is_shared(field.type):
                self.line(depth, f"if {field.name!r} in {source}:")
                self.line(depth + 1, f"{value} = {source}[{field.name!r}]")
                copy = self.copy(field.type, value, depth + 1)
                self.line(depth + 1, f"{result}[{field.name!r}] = {copy}")
        return result

    def struct(self, info: types.StructType, source: str, depth: int) -> str:
        cls = _origin(info.cls)
        if not _is_plain_struct(cls) or not all(map(_is_plain_field, info.fields)):
            raise _NotKnown
        result = self.variable()
        self.line(depth, f"{result} = {source}.__copy__()")
        for field in info.fields:
            if not _is_shared(field.type):
                copy = self.attribute(field.type, f"{source}.{field.name}", depth)
                if _is_frozen(cls):
                    self.line(depth, f"set_field({result}, {field.name!r}, {copy})")
                else:
                    self.line(depth, f"{result}.{field.name} = {copy}")
        return result

    def dataclass(self, info: types.DataclassType, source: str, depth: int) -> str:
        cls = _origin(info.cls)
        if not _is_plain_dataclass(cls) or not all(map(_is_plain_field, info.fields)):
            raise _NotKnown
        result = self.variable()
        self.line(depth, f"{result} = new({self.name(cls)})")
        kinds = {field.name: field.type for field in info.fields}
        # In one order, so that the instances of a class share the keys of their attributes.
        names = [name for name in _field_names(cls) if name in kinds]
        if not _is_frozen(cls):
            for name in names:
                self.line(
                    depth, f"{result}.{name} = {self.attribute(kinds[name], f'{source}.{name}', depth)}"
                )
            return result
        if any(isinstance(_found(cls, name), MemberDescriptorType) for name in names):
            raise _NotKnown  # frozen slots: setting each past the class takes longer than decoding
        attributes = self.variable()
        self.line(depth, f"{attributes} = {result}.__dict__")
        self.line(depth, f"{attributes}.update({source}.__dict__)")
        for name in names:
            if not _is_shared(kinds[name]):
                copy = self.attribute(kinds[name], f"{source}.{name}", depth)
                self.line(depth, f"{attributes}[{name!r}] = {copy}")
        return result

    def attribute(self, info: types.Type, source: str, depth: int) -> str:
        """As ``copy``, of an expression that is not to be evaluated twice."""
        if _is_shared(info):
            return source
        item = self.variable()
        self.line(depth, f"{item} = {source}")
        return self.copy(info, item, depth)


def _plain(info: types.Type) -> types.Type:
    while isinstance(info, types.Metadata):
        info = info.type
    return info


def _origin(cls: Any) -> Any:
    return get_origin(cls) or cls


def _is_shared(info: types.Type, around: tuple[Any, ...] = ()) -> bool:
    """Whether nothing in values of this type can be changed, so that the copy has the value itself."""
    match _plain(info):
        case types.UnionType(parts) | types.TupleType(parts):
            return all(_is_shared(part, around) for part in parts)
        case types.VarTupleType(item) | types.FrozenSetType(item):
            return _is_shared(item, around)
        case types.NamedTupleType(cls, fields) | types.StructType(cls, fields):
            frozen = _is_plain_namedtuple(cls) or (_is_plain_struct(cls) and _is_frozen(cls))
            around = (*around, cls)
            return frozen and cls not in around[:-1] and all(_is_shared(f.type, around) for f in fields)
        case plain:
            return isinstance(plain, _ATOMS)


def _class_of(info: types.Type) -> type:
    """The class of all values that decoding makes of a type that is not a union."""
    match info:
        case types.ListType():
            return list
        case types.SetType():
            return set
        case types.VarTupleType() | types.TupleType():
            return tuple
        case types.DictType() | types.TypedDictType():
            return dict
        case types.ByteArrayType():
            return bytearray
        case types.NamedTupleType(cls) | types.DataclassType(cls) | types.StructType(cls):
            return _origin(cls)  # type: ignore[no-any-return]
    raise _NotKnown


# -- classes that are no more than their fields --------------------------------------------------------


def _is_plain_namedtuple(cls: Any) -> bool:
    cls = _origin(cls)
    return issubclass(cls, tuple) and cls.__bases__[0] is tuple  # no subclass, which has a __dict__


def _is_plain_struct(cls: Any) -> bool:
    cls = _origin(cls)
    return (
        issubclass(cls, msgspec.Struct)
        and not cls.__struct_config__.omit_defaults  # what is not written cannot be told from a default
        and not hasattr(cls, "__post_init__")
        and not cls.__dictoffset__
        and all(getattr(cls, name) is getattr(msgspec.Struct, name) for name in _STRUCT_METHODS)
        # The decoder sets a field in its place, whatever a subclass has put under its name.
        and all(isinstance(_found(cls, name), MemberDescriptorType) for name in cls.__struct_fields__)
    )


def _is_plain_dataclass(cls: Any) -> bool:
    """Of dataclasses and attrs classes."""
    return (
        cls.__new__ is object.__new__
        and cls.__getattribute__ is object.__getattribute__
        and (cls.__setattr__ is object.__setattr__ or _is_frozen(cls))
        and not getattr(cls, "__abstractmethods__", None)
        and not any(hasattr(cls, name) for name in _HOOKS)
        and not any(
            field.validator or field.converter or field.on_setattr
            for field in getattr(cls, "__attrs_attrs__", ())
        )
        and not any(_is_computed(cls, name) for name in _field_names(cls))
    )


def _field_names(cls: Any) -> list[str]:
    """In the order of the class, in which its own ``__init__`` sets them."""
    if hasattr(cls, "__dataclass_fields__"):
        return list(cls.__dataclass_fields__)
    return [field.name for field in cls.__attrs_attrs__]


def _is_frozen(cls: Any) -> bool:
    cls = _origin(cls)
    config = getattr(cls, "__struct_config__", None) or getattr(cls, "__dataclass_params__", None)
    return config is not None and bool(config.frozen)


def _found(cls: Any, name: str) -> Any:
    """What the class itself has under the name of an attribute: a default, a descriptor, or None."""
    return next((base.__dict__[name] for base in cls.__mro__ if name in base.__dict__), None)


def _is_computed(cls: Any, name: str) -> bool:
    """Whether code runs when the attribute is set."""
    found = _found(cls, name)
    return hasattr(type(found), "__set__") and not isinstance(found, MemberDescriptorType)


def _is_plain_field(field: types.Field) -> bool:
    # A default that is UNSET is shown as no default at all; it is of no type, and is not written.
    unset = not field.required and field.default is msgspec.NODEFAULT is field.default_factory
    name = field.name
    # In source a name stands for its normal form (NFKC), which an attribute need not have.
    return not unset and name.isascii() and name.isidentifier() and not keyword.iskeyword(name)
