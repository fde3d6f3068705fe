"""What may be shared, what is remembered, and what a type costs only once."""

import datetime as dt
import enum
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
import pytest

from axiom_persistence.errors import ConfigurationError, TypeMismatchError
from axiom_persistence.records.codec import Codec, is_immutable


class Colour(enum.Enum):
    RED = 1


class Frozen(msgspec.Struct, frozen=True):
    a: int
    b: Any = None


class Open(msgspec.Struct):
    a: int


@dataclass(frozen=True)
class Point:
    x: int


class Pair(NamedTuple):
    a: Any


SHARED = [
    *(None, True, 1, 1.5, "text", b"bytes", Decimal(1), UUID(int=1)),
    *(dt.date.min, dt.time.min, dt.datetime.min, dt.timedelta(1), Colour.RED),
    *((), (1, "a"), (1, (2, (3,))), frozenset({1}), Frozen(1), Frozen(1, (2,)), Frozen(1, Frozen(2))),
]


class Caching(msgspec.Struct, frozen=True, dict=True):
    """Cached properties are kept in its __dict__, and may be changed there."""

    text: str


NOT_SHARED = [
    Caching("a b"),
    *([], {}, set(), bytearray(b"x"), ([],), (1, {2: 3}), Frozen(1, []), Frozen(1, Frozen(2, {}))),
    *(Open(1), frozenset({Pair(1)}), Pair([]), Point(1), range(3)),
]


@pytest.mark.parametrize("value", SHARED, ids=repr)
def test_what_cannot_be_changed_may_be_shared(value):
    """Values in which nothing can be changed are handed to everybody."""
    assert is_immutable(value)


@pytest.mark.parametrize("value", NOT_SHARED, ids=repr)
def test_what_can_be_changed_is_never_shared(value):
    """Anything else is decoded for each who asks; where it is not known, it is not shared."""
    assert not is_immutable(value)


def test_types_of_one_name_are_kept_apart():
    """Decoders are remembered by type, not by name."""

    def made(kind):
        @dataclass
        class Same:
            x: kind

        return Same

    one, two = made(int), made(str)
    codec = Codec()
    assert codec.decode(b'{"x":1}', one).x == 1
    assert codec.decode(b'{"x":"1"}', two).x == "1"
    with pytest.raises(TypeMismatchError):
        codec.decode(b'{"x":"1"}', one)
    assert codec.decoder(one) is codec.decoder(one)


def test_a_type_that_needs_no_remembering():
    """A type that cannot be hashed works as well."""
    from typing import Annotated

    unhashable = Annotated[int, msgspec.Meta(extra={"a": []})]
    assert Codec().decode(b"1", unhashable) == 1


def test_a_class_whose_names_do_not_resolve_is_refused_at_save():
    """An annotation that names nothing is told of before anything is stored."""

    @dataclass
    class Dangling:
        x: "NoSuchThing"  # noqa: F821

    with pytest.raises(ConfigurationError, match="NoSuchThing"):
        Codec().decode(b'{"x":1}', Dangling)
    with pytest.raises(ValueError, match="NoSuchThing"):
        Codec().encode(Dangling(1))


def test_types_that_contain_themselves_are_read():
    """Recursive types are looked through once."""
    codec = Codec()
    tree = Node(1, [Node(2, [])])
    assert codec.decode(codec.encode(tree), Node) == tree
    assert codec.decode(codec.encode({"a": tree}), dict[str, Node]) == {"a": tree}


@dataclass
class Node:
    value: int
    children: list["Node"]


def test_deep_nesting_is_refused_in_words():
    """Nesting beyond what the interpreter can follow is an error of ours in both directions."""
    deep = b"[" * 100_000 + b"]" * 100_000
    with pytest.raises(TypeMismatchError, match="recursion"):
        Codec().decode(deep, list)
    nested = []
    for _ in range(100_000):
        nested = [nested]
    with pytest.raises(ValueError, match="recursion"):
        Codec().encode(nested)
    while nested:  # taken apart step by step: freeing it at once would recurse
        nested = nested.pop()


def test_a_message_does_not_show_a_whole_large_value():
    """Error messages quote the beginning of a value only."""
    with pytest.raises(TypeMismatchError) as caught:
        Codec().decode(b'"' + b"x" * 100_000 + b'"', int)
    assert len(str(caught.value)) < 500
    with pytest.raises(TypeMismatchError) as caught:
        Codec().encode("x" * 100_000, int)
    assert len(str(caught.value)) < 500
