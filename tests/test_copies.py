"""Copies of values: equal to what decoding gives, and nothing changeable shared with their source."""

import abc
import enum
import functools
import keyword
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, make_dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Annotated, Any, Generic, Literal, NamedTuple, NewType, Optional, TypedDict, TypeVar
from uuid import UUID, uuid4

import attrs
import msgspec
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from axiom_persistence import copies
from axiom_persistence.codec import register
from axiom_persistence.copies import copier


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


ATOMS = [
    (int, st.integers(-(2**53), 2**53)),
    (str, st.text(st.characters(exclude_categories=["Cs"]), max_size=4)),
    (float, st.floats(allow_nan=False, allow_infinity=False)),
    (bool, st.booleans()),
    (None, st.none()),
    (bytes, st.binary(max_size=4)),
    (datetime, st.datetimes(timezones=st.just(UTC))),
    (date, st.dates()),
    (time, st.times()),
    (timedelta, st.timedeltas(timedelta(days=-100), timedelta(days=100))),
    (UUID, st.uuids()),
    (Decimal, st.decimals(allow_nan=False, allow_infinity=False, places=2)),
    (Colour, st.sampled_from(Colour)),
    (Literal["a", 1], st.sampled_from(["a", 1])),
    (Annotated[int, msgspec.Meta(ge=0, extra={"unit": "m"})], st.integers(0, 9)),
    (NewType("Name", str), st.text("ab", max_size=3)),
]
KEYS = [pair for pair in ATOMS if pair[0] in (int, str, UUID, Colour, date)]


def of_fields(parts):
    return [(f"f{n}", kind, values) for n, (kind, values) in enumerate(parts)]


def instances(make, named):
    return st.tuples(*(values for _, _, values in named)).map(lambda items: make(*items))


def a_dataclass(slots, frozen):
    def build(parts):
        named = of_fields(parts)
        cls = make_dataclass("C", [part[:2] for part in named], slots=slots, frozen=frozen)
        return cls, instances(cls, named)

    return build


def a_struct(frozen):
    def build(parts):
        named = of_fields(parts)
        cls = msgspec.defstruct("S", [part[:2] for part in named], frozen=frozen)
        return cls, instances(cls, named)

    return build


def an_attrs_class(parts):
    named = of_fields(parts)
    cls = attrs.define(type("A", (), {"__annotations__": {name: kind for name, kind, _ in named}}))
    return cls, instances(cls, named)


def a_named_tuple(parts):
    named = of_fields(parts)
    cls = NamedTuple("N", [part[:2] for part in named])
    return cls, instances(cls, named)


def a_typed_dict(total):
    def build(parts):
        named = of_fields(parts)
        cls = TypedDict("T", {name: kind for name, kind, _ in named}, total=total)
        values = {name: values for name, _, values in named}
        return cls, st.fixed_dictionaries(values if total else {}, optional={} if total else values)

    return build


def larger(inner):
    """A type made of smaller ones, and its values."""
    several = st.lists(inner, min_size=1, max_size=4)
    keys = st.sampled_from(KEYS)
    one = [
        inner.map(lambda p: (list[p[0]], st.lists(p[1], max_size=4))),
        inner.map(lambda p: (tuple[p[0], ...], st.lists(p[1], max_size=4).map(tuple))),
        inner.map(lambda p: (Optional[p[0]], st.none() | p[1])),  # noqa: UP045
        keys.map(lambda p: (set[p[0]], st.sets(p[1], max_size=4))),
        keys.map(lambda p: (frozenset[p[0]], st.frozensets(p[1], max_size=4))),
        st.tuples(keys, inner).map(
            lambda p: (dict[p[0][0], p[1][0]], st.dictionaries(p[0][1], p[1][1], max_size=4))
        ),
    ]
    made = [
        lambda parts: (tuple[tuple(kind for kind, _ in parts)], st.tuples(*(values for _, values in parts))),
        *(a_dataclass(slots, frozen) for slots in (False, True) for frozen in (False, True)),
        *(a_struct(frozen) for frozen in (False, True)),
        *(an_attrs_class, a_named_tuple, a_typed_dict(True), a_typed_dict(False)),
    ]
    return st.one_of(*one, *(several.map(make) for make in made))


TYPES = st.recursive(st.sampled_from(ATOMS), larger, max_leaves=8)


def inside(value):
    """The values that ``value`` is made of."""
    if isinstance(value, dict):
        return [*value, *value.values()]
    if isinstance(value, (list, tuple, set, frozenset)):
        return list(value)
    if isinstance(value, msgspec.Struct):
        return [getattr(value, name) for name in value.__struct_fields__]
    if is_dataclass(value):
        return [getattr(value, field.name) for field in fields(value)]
    if attrs.has(type(value)):
        return [getattr(value, field.name) for field in attrs.fields(type(value))]
    return []


def changeable(value):
    """What in ``value`` can be changed, by id. Containers that cannot be are only looked through."""
    found, pending = {}, [value]
    while pending:
        item = pending.pop()
        parts = inside(item)
        fixed = isinstance(item, (tuple, frozenset)) or (
            isinstance(item, msgspec.Struct) and item.__struct_config__.frozen
        )
        if isinstance(item, bytearray) or (
            not fixed and (parts or isinstance(item, (list, dict, set)) or hasattr(item, "__dict__"))
        ):
            found[id(item)] = item
        if not isinstance(item, enum.Enum):
            pending += parts
        else:
            found.pop(id(item), None)
    return found


def shape(value):
    """The classes of all that ``value`` is made of, in order."""
    return type(value), [shape(part) for part in inside(value)]


def spoil(value):
    """Change whatever in ``value`` can be changed."""
    for item in changeable(value).values():
        if isinstance(item, (list, bytearray, dict, set)):
            item.clear()
        elif isinstance(item, msgspec.Struct) or attrs.has(type(item)):
            names = getattr(item, "__struct_fields__", None) or [f.name for f in attrs.fields(type(item))]
            for name in names:
                setattr(item, name, "spoilt")
        else:
            for part in fields(item):
                object.__setattr__(item, part.name, "spoilt")


def check_copier(kind, value, copy):
    data = msgspec.json.encode(value)
    decoder = msgspec.json.Decoder(kind)
    first = decoder.decode(data)
    source = copy(first)
    second = copy(source)
    for made in (source, second):
        assert made == first
        assert shape(made) == shape(first)
    for one, other in ((first, source), (source, second), (first, second)):
        assert changeable(one).keys().isdisjoint(changeable(other))
    spoil(first)
    spoil(second)
    assert source == decoder.decode(data)


@settings(max_examples=400, deadline=None)
@given(TYPES, st.data())
def test_a_copy_is_what_decoding_gives(pair, data):
    """For any type, a copy equals the decoded value, and each can be changed without the other."""
    kind, values = pair
    copy = copier(kind)
    if copy is not None:
        check_copier(kind, data.draw(values), copy)


@dataclass
class Leaf:
    name: str
    parts: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Slots:
    leaf: Leaf
    more: dict[str, Leaf] = field(default_factory=dict)


@dataclass(frozen=True)
class Frozen:
    leaf: Leaf
    size: int = 1


class Fixed(msgspec.Struct, frozen=True):
    name: str


class Changing(msgspec.Struct, frozen=True):
    parts: list[int]
    name: str = ""


class Cat(msgspec.Struct, tag=True):
    lives: list[int]


class Dog(msgspec.Struct, tag=True):
    name: str


class Pair(NamedTuple):
    left: list[int]
    right: int = 0


class Choice(TypedDict, total=False):
    parts: list[int]
    name: str


T = TypeVar("T")


@dataclass
class Box(Generic[T]):
    content: T


@dataclass(kw_only=True)
class Keywords:
    later: int = 3
    first: list[int]


@dataclass
class Derived(Leaf):
    _private: list[int] = field(default_factory=list)


@attrs.define
class Attrs:
    leaf: Leaf
    parts: list[int]


KNOWN = [
    (Leaf, Leaf("a", ["b"])),
    (Slots, Slots(Leaf("a"), {"b": Leaf("c")})),
    (Frozen, Frozen(Leaf("a", ["b"]))),
    (Changing, Changing([1], "a")),
    (Cat | Dog | None, Cat([9])),
    (list[Cat | Dog], [Cat([9]), Dog("Rex")]),
    (Leaf | None, None),
    (Leaf | None, Leaf("a", ["b"])),
    (Pair, Pair([1])),
    (Choice, {"parts": [1]}),
    (Choice, {"name": "x"}),
    (Box[list[int]], Box([1])),
    (Box[Box[int]], Box(Box(1))),
    (Keywords, Keywords(first=[1])),
    (Derived, Derived("a", ["b"], [1])),
    (Attrs, Attrs(Leaf("a"), [1])),
    (Mapping[str, Sequence[int]], {"a": [1]}),
    (list[Fixed], [Fixed("a")]),
    (dict[str, tuple[int, list[int]]], {"a": (1, [2])}),
    (
        Annotated[list[Annotated[Leaf, msgspec.Meta(description="x")]], msgspec.Meta(max_length=9)],
        [Leaf("a")],
    ),
    (bytearray, bytearray(b"ab")),
    (set[str], {"a", "b"}),
]


@pytest.mark.parametrize(("kind", "value"), KNOWN, ids=[str(kind) for kind, _ in KNOWN])
def test_a_type_that_is_copied(kind, value):
    """The forms that applications use have a copier."""
    copy = copier(kind)
    assert copy is not None
    check_copier(kind, value, copy)


def test_what_cannot_change_is_not_copied():
    """Parts that nothing can change are shared with the source, frozen Structs and named tuples with them."""
    source = [Fixed("a"), Fixed("b")]
    assert copier(list[Fixed])(source)[0] is source[0]
    source = {"a": (1, frozenset({2}))}
    assert copier(dict[str, tuple[int, frozenset[int]]])(source)["a"] is source["a"]


@dataclass
class Tree:
    children: list["Tree"]


class Chain(msgspec.Struct, frozen=True):
    rest: Optional["Chain"]


@dataclass
class Hooked:
    parts: list[int]

    def __post_init__(self):
        self.parts.append(1)


class HookedStruct(msgspec.Struct):
    parts: list[int]

    def __post_init__(self):
        self.parts.append(1)


@dataclass
class Setting:
    parts: list[int]

    def __setattr__(self, name, value):
        object.__setattr__(self, name, value)


class SettingStruct(msgspec.Struct):
    parts: list[int]

    def __setattr__(self, name, value):
        super().__setattr__(name, value)


@dataclass
class Getting:
    parts: list[int]

    def __getattribute__(self, name):
        return object.__getattribute__(self, name)


@dataclass
class Making:
    parts: list[int]

    def __new__(cls, *args):
        return object.__new__(cls)


class CopyingStruct(msgspec.Struct):
    parts: list[int]

    def __copy__(self):
        return self


class OmittingStruct(msgspec.Struct, omit_defaults=True):
    parts: list[int] = None


class OpenStruct(msgspec.Struct, dict=True):
    parts: list[int]


class UnsetStruct(msgspec.Struct):
    parts: list[int] = msgspec.UNSET


@dataclass
class UnsetDataclass:
    parts: list[int] | msgspec.UnsetType = msgspec.UNSET


class Described:
    def __set_name__(self, owner, name):
        self.name = "_" + name

    def __get__(self, instance, owner):
        return getattr(instance, self.name, 0) if instance is not None else 0

    def __set__(self, instance, value):
        setattr(instance, self.name, value + 1)


@dataclass
class Computed:
    number: int = Described()


@dataclass
class Abstract(abc.ABC):
    parts: list[int]

    @abc.abstractmethod
    def method(self): ...


@dataclass(frozen=True, slots=True)
class FrozenSlots:
    parts: list[int]


@attrs.define
class Converted:
    parts: list[int] = attrs.field(converter=list)


@attrs.define
class Validated:
    parts: list[int] = attrs.field()

    @parts.validator
    def check(self, attribute, value):
        value.append(1)


@attrs.define
class SetByHook:
    parts: list[int] = attrs.field(on_setattr=attrs.setters.frozen)


@attrs.frozen
class FrozenAttrs:
    parts: list[int]


@attrs.define
class AttrsHook:
    parts: list[int]

    def __attrs_post_init__(self):
        self.parts.append(1)


@attrs.define
class AttrsPreHook:
    parts: list[int]

    def __attrs_pre_init__(self):
        pass


class Model(pydantic.BaseModel):
    parts: list[int]


class Plain:
    def __init__(self, text):
        self.text = text


register(Plain, lambda plain: plain.text, Plain)


class PairWithDict(Pair):
    """Its instances have a __dict__, and may keep anything there."""


class Based(msgspec.Struct):
    x: list[int]


class Hiding(Based):
    """A property in the place of a field, which the decoder passes by."""

    @property
    def x(self):
        return (1, 2)


class Swallowing(Based):
    """One that can be set, and keeps nothing."""

    @property
    def x(self):
        return [0]

    @x.setter
    def x(self, value):
        pass


Ligature = msgspec.defstruct("Ligature", [("\ufb01", list[int])])


NEVER = [
    Hiding,
    Swallowing,
    Ligature,
    Any,
    object,
    list,
    dict,
    list[Any],
    dict[str, Any],
    dict[str, object],
    tuple,
    T,
    msgspec.Raw,
    list[msgspec.Raw],
    memoryview,
    Tree,
    Chain,
    Hooked,
    HookedStruct,
    list[Hooked],
    dict[str, HookedStruct | None],
    Setting,
    SettingStruct,
    Getting,
    Making,
    CopyingStruct,
    OmittingStruct,
    OpenStruct,
    UnsetStruct,
    UnsetDataclass,
    Computed,
    Abstract,
    FrozenSlots,
    Converted,
    Validated,
    SetByHook,
    FrozenAttrs,
    AttrsHook,
    AttrsPreHook,
    Model,
    list[Model],
    Plain,
    dict[str, Plain],
    PairWithDict,
    list[int] | int,
    list[int | list[int]],
    set[Frozen],
    list[dict[str, Any] | None],
]


@pytest.mark.parametrize("kind", NEVER, ids=str)
def test_a_type_that_is_not_copied(kind):
    """Where a copy might differ from a decoded value there is no copier, wherever the type is."""
    assert copier(kind) is None
    assert copier(tuple[int, kind]) is None
    assert copier(make_dataclass("Around", [("inside", list[kind])])) is None


def test_names_are_names():
    """A field whose name is no name of Python's has no place in the source of a copier."""
    for name in ("a b", "x=1;y", "class"):
        try:
            kind = msgspec.defstruct("Named", [(name, list[int])])
        except (TypeError, ValueError):
            continue
        assert not (name.isidentifier() and not keyword.iskeyword(name))
        assert copier(kind) is None
    kind = TypedDict("Keyed", {"a b": list[int], "'\"\n": list[int], "class": int})
    check_copier(kind, {"a b": [1], "'\"\n": [2], "class": 3}, copier(kind))


def test_types_without_end():
    """A type too deep or too wide to compile has no copier, nor does one that cannot be remembered."""
    deep = functools.reduce(lambda kind, _: list[kind], range(30), int)
    assert copier(deep) is None
    wide = functools.reduce(
        lambda kind, n: make_dataclass(f"W{n}", [(f"f{i}", kind) for i in range(8)]), range(5), list[int]
    )
    assert copier(wide) is None
    assert copier(Annotated[list[int], []]) is None


def test_a_copier_is_made_once():
    """Equal types have one copier."""
    assert copier(list[Leaf]) is copier(list[Leaf])
    assert copier(Tree) is copier(Tree) is None


def test_two_uuids_in_defaults():
    """A default made by any function is no part of a copy: the source says what it has."""

    @dataclass
    class Named:
        id: UUID = field(default_factory=uuid4)

    source = Named()
    assert copier(Named)(source) == source


@pytest.mark.parametrize("planted", ["ListType", "DictType", "DataclassType", "StructType"])
def test_planted_sharing_is_caught(monkeypatch, planted):
    """A copier that shares one kind of mutable part fails the check above."""
    honest = copies._is_shared

    def sharing(info, around=()):
        return type(copies._plain(info)).__name__ == planted or honest(info, around)

    monkeypatch.setattr(copies, "_is_shared", sharing)
    monkeypatch.setattr(copies, "_copiers", {})
    caught = 0
    for kind, value in KNOWN:
        try:
            check_copier(kind, value, copier(kind))
        except AssertionError:
            caught += 1
    assert caught > 0
