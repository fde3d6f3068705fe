"""What a type does not know of a stored value is found, and stays when a later value is saved."""

import json
from dataclasses import dataclass, field
from enum import Enum
from typing import Literal, NamedTuple, TypedDict

import attrs
import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from axiom_persistence.records.codec import Codec
from axiom_persistence.records.unknown import can_hide, is_newer, unknown_in


def kept(stored, kind, change=lambda value: value):
    """What is stored once a program that knows ``kind`` has loaded ``stored``, changed and saved it."""
    data = msgspec.json.encode(stored)
    value = Codec().decode(data, kind)
    unknown = unknown_in(data, kind, Codec().written(value, kind))
    new = Codec().encode(change(value), kind)
    return json.loads(new if unknown is None else unknown.kept_in(new))


@dataclass
class Data:
    name: str
    size: int = 1


class Struct(msgspec.Struct):
    name: str
    size: int = 1


class Short(msgspec.Struct, omit_defaults=True):
    name: str
    size: int = 1


class Camel(msgspec.Struct, rename="camel"):
    name: str
    the_size: int = 1


@attrs.define
class Attrs:
    name: str
    size: int = 1


class Model(pydantic.BaseModel):
    name: str
    size: int = 1


class Dict(TypedDict):
    name: str
    size: int


CLASSES = [Data, Struct, Short, Attrs, Model, Dict]


def renamed(value):
    if isinstance(value, dict):
        return {**value, "name": "new"}
    value.name = "new"
    return value


@pytest.mark.parametrize("kind", CLASSES)
def test_a_field_that_the_class_does_not_know_stays(kind):
    stored = {"name": "old", "size": 3, "colour": "red", "more": {"deep": [1, None]}}
    assert kept(stored, kind, renamed) == {**stored, "name": "new"}


@pytest.mark.parametrize("kind", CLASSES)
def test_nothing_is_kept_where_all_is_known(kind):
    value = Codec().decode(b'{"name":"old","size":3}', kind)
    data = Codec().encode(value)
    assert unknown_in(data, kind, Codec().written(value, kind)) is None


@pytest.mark.parametrize("kind", CLASSES)
def test_inside_dicts_and_lists(kind):
    def change(value):
        renamed_one = renamed(value["a"][1])
        return {"a": [value["a"][0], renamed_one], "c": [value["b"][0]]}

    item = {"name": "x", "size": 2, "colour": "red"}
    stored = {"a": [item, {**item, "name": "y", "size": 5, "colour": "blue"}], "b": [item]}
    assert kept(stored, dict[str, list[kind]], change) == {
        "a": [item, {"name": "new", "size": 5, "colour": "blue"}],
        "c": [{"name": "x", "size": 2}],
    }


def test_what_was_renamed_for_json_is_known():
    stored = {"name": "a", "theSize": 4, "the_size": 5}
    assert kept(stored, Camel, renamed) == {**stored, "name": "new"}


def test_a_default_that_is_left_out_can_be_set_and_unset():
    assert kept({"name": "a", "size": 7, "x": 1}, Short, lambda v: Short(v.name)) == {"name": "a", "x": 1}
    assert kept({"name": "a", "x": 1}, Short, lambda v: Short(v.name, 7)) == {"name": "a", "size": 7, "x": 1}


@pytest.mark.parametrize("change", [lambda items: items[::-1], lambda items: items[1:], lambda items: items])
def test_an_item_of_a_list_keeps_its_own_wherever_it_goes(change):
    stored = [{"name": str(number), "size": number % 2, "extra": number} for number in range(6)]
    assert kept(stored, list[Data], change) == change(stored)


def test_a_changed_item_is_found_by_what_it_has_in_common():
    def change(items):
        items[2].size = 9
        return [Data("new"), items[2], items[0]]

    stored = [{"name": name, "size": 1, "extra": name} for name in "abc"]
    assert kept(stored, list[Data], change) == [
        {"name": "new", "size": 1},
        {"name": "c", "size": 9, "extra": "c"},
        {"name": "a", "size": 1, "extra": "a"},
    ]


def test_what_is_deleted_is_gone():
    stored = {"a": {"name": "x", "size": 1, "extra": 1}, "b": {"name": "y", "size": 1, "extra": 2}}
    assert kept(stored, dict[str, Data], lambda value: {"b": value["b"]}) == {"b": stored["b"]}


@dataclass
class Circle:
    r: int
    name: str = ""


@dataclass
class Square:
    side: int
    name: str = ""


@dataclass
class Kind:
    value: int
    kind: Literal["a"] = "a"


@dataclass
class Other:
    value: int
    kind: Literal["b"] = "b"


class Red(msgspec.Struct, tag=True):
    value: int


class Blue(msgspec.Struct, tag=True):
    value: int


@dataclass
class Holder:
    it: Circle | Square


@pytest.mark.parametrize(
    ("stored", "kind", "new", "expected"),
    [
        ({"r": 1, "name": "c", "x": 1}, Circle | Square, Square(2, "s"), {"side": 2, "name": "s"}),
        ({"value": 1, "kind": "a", "x": 1}, Kind | Other, Other(1), {"value": 1, "kind": "b"}),
        ({"value": 1, "type": "Red", "x": 1}, Red | Blue, Blue(1), {"value": 1, "type": "Blue"}),
        ({"value": 1, "type": "Red", "x": 1}, Red | Blue, Red(2), {"value": 2, "type": "Red", "x": 1}),
        (
            {"it": {"r": 1, "name": "c", "x": 1}, "y": 2},
            Holder,
            Holder(Square(2)),
            {"it": {"side": 2, "name": ""}, "y": 2},
        ),
    ],
)
def test_another_class_of_a_union_takes_nothing_over(stored, kind, new, expected):
    assert kept(stored, kind, lambda _: new) == expected


class Array(msgspec.Struct, array_like=True):
    x: int
    y: int


class Pair(NamedTuple):
    x: int
    y: int


def test_a_struct_that_is_an_array_keeps_its_end():
    def change(items):
        items[0].x = 9
        return items

    assert kept([[1, 2, "more"], [3, 4]], list[Array], change) == [[9, 2, "more"], [3, 4]]


def test_a_model_that_reads_an_old_name_reads_the_new_value():
    class Reads(pydantic.BaseModel):
        size: int

        @pydantic.model_validator(mode="before")
        @classmethod
        def old_name(cls, value):
            return {"size": value["width"]} if "width" in value else value

    assert kept({"width": 3, "x": 1}, Reads, lambda _: Reads(size=4)) == {"size": 4}


def test_items_of_a_set_are_not_confused():
    @dataclass(frozen=True)
    class Item:
        name: str

    stored = [{"name": name, "x": name} for name in "abc"]
    back = kept(stored, set[Item])
    assert sorted(item["name"] for item in back) == ["a", "b", "c"]


class Theme(Enum):
    DARK = "dark"


@dataclass
class Nested:
    inner: list[Data] = field(default_factory=list)


@pytest.mark.parametrize(
    ("kind", "can"),
    [
        *((each, False) for each in (int, str, list[int], dict[str, list[float]], Theme, Pair, int | None)),
        *((each, True) for each in (*CLASSES, Nested, list[Model] | None, pydantic.TypeAdapter(Data))),
    ],
)
def test_only_classes_can_hide_something(kind, can):
    assert can_hide(kind) is can


@pytest.mark.parametrize(
    ("schema", "ours", "newer"),
    [
        *(("1.1", "1.0", True), ("1.10", "1.9", True), ("1.0", "1.0", False), ("1.0", "1.1", False)),
        *(("2.0", "1.0", False), ("1.0.1", "1.0", True), ("x.2", "x.1", False), ("1", "1.0", False)),
    ],
)
def test_a_later_minor_version(schema, ours, newer):
    assert is_newer(schema, ours) is newer


values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.sampled_from(["", "é", "ab"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=5,
)
extras = st.dictionaries(st.sampled_from(["x1", "x2", "x3"]), values, max_size=3)


@st.composite
def documents(draw):
    names = draw(st.lists(st.integers(0, 50), unique=True, max_size=6))
    return {
        "items": [{"name": str(n), "size": draw(st.integers(0, 2)), **draw(extras)} for n in names],
        "by_name": {str(n): {"name": "k", "size": 1, **draw(extras)} for n in names[:3]},
        **draw(extras),
    }


@dataclass
class Document:
    items: list[Data]
    by_name: dict[str, Data]


@given(documents(), st.data())
def test_whatever_is_changed_nothing_unknown_is_lost(stored, data):
    """Items are deleted, added, moved, and one field of each may change: the rest stays."""
    order = data.draw(st.permutations(stored["items"]))
    chosen = [dict(item) for item in order if data.draw(st.booleans())]
    for item in chosen:
        item["size"] += data.draw(st.integers(0, 1)) * 10
    named = {
        name: {**item, "size": 8} for name, item in stored["by_name"].items() if data.draw(st.booleans())
    }
    expected = {**stored, "items": chosen, "by_name": named}

    def known(item):
        return Data(item["name"], item["size"])

    def change(document):
        document.items = [known(item) for item in chosen]
        document.by_name = {name: known(item) for name, item in named.items()}
        return document

    assert kept(stored, Document, change) == expected
