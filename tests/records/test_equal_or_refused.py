"""What is saved comes back equal, or is refused before anything is stored: everywhere, for every model."""

import datetime as dt
import sys
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, TypedDict
from zoneinfo import ZoneInfo

import attrs
import msgspec
import pydantic
import pytest

from axiom_persistence import AdapterBasedPersistence, Client, Key, MemoryAdapter, client_state
from axiom_persistence.errors import EncodingError, PersistenceError, TypeMismatchError
from axiom_persistence.records.codec import Codec
from support.embedded import listed


@dataclass
class Animal:
    name: str


@dataclass
class Dog(Animal):
    barks: bool = True


@dataclass
class Twin(Animal):
    """Its JSON is that of its base."""


@dataclass
class Zoo:
    pet: Animal


class SAnimal(msgspec.Struct):
    name: str


class SDog(SAnimal):
    barks: bool = True


class SZoo(msgspec.Struct):
    pet: SAnimal


@attrs.define
class AAnimal:
    name: str


@attrs.define
class ADog(AAnimal):
    barks: bool = True


@attrs.define
class AZoo:
    pet: AAnimal


class PAnimal(pydantic.BaseModel):
    name: str


class PDog(PAnimal):
    barks: bool = True


class PZoo(pydantic.BaseModel):
    pet: PAnimal


class POpen(pydantic.BaseModel):
    pet: pydantic.SerializeAsAny[PAnimal]


class TZoo(TypedDict):
    pet: Animal


class NZoo(NamedTuple):
    pet: Animal


class PCelsius(pydantic.BaseModel):
    degrees: float


class PFahrenheit(pydantic.BaseModel):
    degrees: float


class PReading(pydantic.BaseModel):
    temperature: PCelsius | PFahrenheit


@dataclass
class Celsius:
    degrees: float


@dataclass
class Fahrenheit:
    degrees: float


@dataclass
class Reading:
    temperature: Celsius | Fahrenheit


@dataclass
class Loose:
    anything: Any = None
    items: list = field(default_factory=list)


@dataclass
class Carrier:
    raw: msgspec.Raw


class SCarrier(msgspec.Struct):
    raw: msgspec.Raw


# (value, the type it is saved as, where the loss is)
SMALLER = [
    (Zoo(Dog("a")), Zoo, "$.pet"),
    (Zoo(Twin("a")), Zoo, "$.pet"),
    (SZoo(SDog("a")), SZoo, "$.pet"),
    (AZoo(ADog("a")), AZoo, "$.pet"),
    (PZoo(pet=PDog(name="a")), PZoo, "$.pet"),
    (POpen(pet=PDog(name="a")), POpen, "$.pet"),
    (NZoo(Dog("a")), NZoo, "$[0]"),
    (PReading(temperature=PFahrenheit(degrees=70)), PReading, "$.temperature"),
    (Loose(anything=Animal("a")), Loose, "$.anything"),
    (Loose(items=[(1, 2)]), Loose, "$.items[0]"),
]
# These are refused where the type is named only: without it nobody knows what they will be read as.
SMALLER_AS = [
    ({"pet": Dog("a")}, TZoo, "$[...]"),
    ([Dog("a")], list[Animal], "$[0]"),
    ({"a": SDog("a")}, dict[str, SAnimal], "$[...]"),
    ([PDog(name="a")], list[PAnimal], "$[0]"),
    ((ADog("a"),), tuple[AAnimal, ...], "$[0]"),
    (Dog("a"), Animal, "$"),
    (PDog(name="a"), PAnimal | None, "$"),
    ([[(1, 2)]], list[list[list[int]]], "$[0][0]"),
    ({1: "a"}, dict, "$"),
    ({"a": dt.date(2024, 1, 1)}, dict, "$[...]"),
    (Loose(anything={"a": {1}}), Loose, "$.anything[...]"),
    ({"a": 2**53 + 1}, dict[str, float], "$[...]"),
]


async def typed_places(persistence, value, kind):
    """Every way to save under a type."""

    async def in_transaction():
        async with persistence.transaction() as tx:
            await tx.save("k", value, type=kind)

    async def under_a_key_in_a_transaction():
        async with persistence.transaction() as tx:
            await tx.save(Key("k", kind, default=None), value)

    collection = persistence.collection("items", kind)
    return {
        "save": lambda: persistence.save("k", value, type=kind),
        "key": lambda: persistence.save(Key("k", kind), value),
        "save_many": lambda: persistence.save_many({"k": value}, type=kind),
        "update": lambda: persistence.update("k", kind, lambda _: value, default=None),
        "update_key": lambda: persistence.update(Key("k", kind, default=None), lambda _: value),
        "transaction": in_transaction,
        "transaction_key": under_a_key_in_a_transaction,
        "put": lambda: collection.put("k", value),
        "save_all": lambda: collection.save_all({"k": value}),
    }


def client_of(kind, start):
    namespace = {"__annotations__": {"field": kind, "other": int}, "__module__": __name__}
    namespace |= {"field": client_state(default_factory=lambda: start), "other": client_state(0)}
    return type("Holder", (Client,), namespace)


async def refused_everywhere(value, kind, error, path):
    async with AdapterBasedPersistence(MemoryAdapter()) as persistence:
        for name, call in (await typed_places(persistence, value, kind)).items():
            with pytest.raises(error) as caught:
                await call()
            assert caught.value.key in ("k", "items/k"), name
            assert path in str(caught.value) or getattr(caught.value, "path", None) == path, name
        assert await listed(persistence) == []


@pytest.mark.parametrize(("value", "kind", "path"), SMALLER + SMALLER_AS, ids=str)
async def test_what_would_come_back_smaller_is_refused_in_every_typed_place(value, kind, path):
    """EncodingError with the path and the class, and nothing is stored."""
    await refused_everywhere(value, kind, EncodingError, path)


@pytest.mark.parametrize(("value", "kind", "path"), SMALLER, ids=str)
async def test_an_instance_that_would_come_back_smaller_is_refused_without_a_type(value, kind, path):
    """Its own annotations tell."""
    async with AdapterBasedPersistence(MemoryAdapter()) as persistence:
        await persistence.save("k", "as it was")
        with pytest.raises(EncodingError) as caught:
            await persistence.save("k", value)
        assert path in str(caught.value)
        assert await persistence.load("k", str) == "as it was"


def test_a_subclass_made_later_is_noticed():
    """A class is looked at again for what was derived from it since."""

    @dataclass
    class Base:
        x: int = 1

    holder = dataclass(type("Holder", (), {"__annotations__": {"item": Base}}))
    codec = Codec()
    assert codec.encode(holder(Base())) == b'{"item":{"x":1}}'
    with pytest.raises(EncodingError, match=r"Later at \$\.item"):
        codec.encode(holder(dataclass(type("Later", (Base,), {}))()))


def test_the_way_out_of_a_refusal():
    """The message names the class and what to declare."""
    for value, kind, says in (
        (Zoo(Dog("a")), Zoo, "declare Dog, or a union"),
        (PReading(temperature=PFahrenheit(degrees=70)), PReading, "tells them apart"),
        (Loose(anything=Animal("a")), Loose, "declare that place as Animal"),
        (Reading(Fahrenheit(70)), Reading, "nothing in it tells apart"),
    ):
        with pytest.raises((EncodingError, TypeMismatchError)) as caught:
            Codec().encode(value, kind)
        assert says in str(caught.value)


# -- msgspec.Raw ------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [b"not json", b"1 2", b'{"a":1,}', b'"\xff"', b"nul", b"NaN"], ids=repr)
@pytest.mark.parametrize(
    "wrap", [lambda raw: raw, lambda raw: [raw], lambda raw: {"a": {"b": raw}}, Carrier, SCarrier]
)
async def test_a_raw_that_is_not_json_is_refused(text, wrap):
    """What was stored stays; a Raw that is JSON comes back."""
    async with AdapterBasedPersistence(MemoryAdapter()) as persistence:
        await persistence.save("k", "as it was")
        with pytest.raises(EncodingError):
            await persistence.save("k", wrap(msgspec.Raw(text)))
        assert await persistence.load("k", str) == "as it was"


async def test_a_raw_that_is_json_comes_back():
    """As it was, in a field, by itself and among others; one that would end its place early is refused."""
    codec = Codec()
    for raw in (b"1", b'{"a": [1]}', b'"\xc3\xa9"'):
        assert bytes(codec.decode(codec.encode(msgspec.Raw(raw)), msgspec.Raw)) == raw
        back = codec.decode(codec.encode(Carrier(msgspec.Raw(raw)), Carrier), Carrier)
        assert bytes(back.raw) == raw
    for raw in (b'1,"other":2', b""):
        with pytest.raises(EncodingError):
            codec.encode(Carrier(msgspec.Raw(raw)))


# -- fields that do not match their annotations -------------------------------------------------------


@dataclass
class Geo:
    width: int


class SGeo(msgspec.Struct):
    width: int


@attrs.define
class AGeo:
    width: int


class PGeo(pydantic.BaseModel):
    width: int


class TGeo(TypedDict):
    width: int


class NGeo(NamedTuple):
    width: int


WRONG = [
    (Geo("wide"), Geo, "$.width"),
    (SGeo("wide"), SGeo, "$.width"),
    (AGeo("wide"), AGeo, "$.width"),
    (PGeo.model_construct(width="wide"), PGeo, "$.width"),
    ({"width": "wide"}, TGeo, "$.width"),
    (NGeo("wide"), NGeo, "$[0]"),
    ([Geo("wide")], list[Geo], "$[0].width"),
    ({"a": SGeo("wide")}, dict[str, SGeo], "$"),
    (AGeo("wide"), AGeo | None, "$.width"),
]


@pytest.mark.parametrize(("value", "kind", "path"), WRONG, ids=str)
async def test_a_typed_place_takes_only_what_it_gives_back(value, kind, path):
    """Refused at the save, as it would be at the load."""
    error = EncodingError if isinstance(value, PGeo) else TypeMismatchError
    await refused_everywhere(value, kind, error, path)


@pytest.mark.parametrize(("value", "kind", "path"), SMALLER + SMALLER_AS + WRONG, ids=str)
async def test_a_field_of_a_client_takes_only_what_it_gives_back(value, kind, path):
    """At the assignment and in the body of a transaction; the next start is not DEGRADED."""
    async with AdapterBasedPersistence(MemoryAdapter()) as persistence:
        cls = client_of(kind | None if kind is not Any else kind, None)
        async with cls(persistence) as client:
            with pytest.raises((EncodingError, TypeMismatchError)):
                client.field = value
            assert client.field is None

            async def in_transaction():
                async with client.transaction():
                    client.other = 1
                    client.field = value

            with pytest.raises((EncodingError, TypeMismatchError)):
                await in_transaction()
            assert (client.field, client.other) == (None, 0)
        async with cls(persistence) as client:
            assert client.field is None
            assert not client.restore_report.unreadable


@pytest.mark.parametrize(
    ("start", "change"),
    [
        (Geo(1), lambda value: setattr(value, "width", "wide")),
        (SGeo(1), lambda value: setattr(value, "width", "wide")),
        (AGeo(1), lambda value: setattr(value, "width", "wide")),
        (Zoo(Animal("a")), lambda value: setattr(value, "pet", Dog("b"))),
        (SZoo(SAnimal("a")), lambda value: setattr(value, "pet", SDog("b"))),
        (PZoo(pet=PAnimal(name="a")), lambda value: setattr(value, "pet", PDog(name="b"))),
    ],
    ids=["dataclass", "Struct", "attrs", "nested dataclass", "nested Struct", "nested model"],
)
async def test_a_value_changed_in_place_to_what_does_not_come_back(start, change):
    """persist_state and close refuse it; what was stored before stays."""
    async with AdapterBasedPersistence(MemoryAdapter()) as persistence:
        cls = client_of(type(start) | None, None)
        client = cls(persistence)
        await client.restore_state()
        client.field = start
        await client.persist_state()
        before = await persistence.load("Holder/field", Any)
        change(client.field)
        for end in (client.persist_state, client.aclose):
            with pytest.raises(PersistenceError):
                await end()
            assert await persistence.load("Holder/field", Any) == before
        client.field = None
        await client.aclose()


# -- types people have --------------------------------------------------------------------------------


@pytest.mark.parametrize("tz", ["Europe/Berlin", "America/New_York"])
@pytest.mark.parametrize("fold", [0, 1])
@pytest.mark.parametrize(
    "day",
    [
        dt.datetime(2024, 10, 27, 2, 30),
        dt.datetime(2024, 3, 31, 2, 30),
        dt.datetime(2024, 11, 3, 1, 30),
        dt.datetime(2024, 3, 10, 2, 30),
    ],
)
def test_a_time_of_a_repeated_or_skipped_hour(tz, fold, day):
    """It comes back with its offset, in a model and in a dataclass."""

    class Event(pydantic.BaseModel):
        at: dt.datetime

    @dataclass
    class Entry:
        at: dt.datetime

    at = day.replace(tzinfo=ZoneInfo(tz), fold=fold)
    codec = Codec()
    for value, kind in ((Event(at=at), Event), (Entry(at), Entry), ([at], list[dt.datetime])):
        back = codec.decode(codec.encode(value, kind), kind)
        found = back[0] if isinstance(back, list) else back.at
        assert found.utcoffset() == at.utcoffset()
        assert found.replace(tzinfo=None) == day


@pytest.mark.skipif(sys.version_info < (3, 12), reason="type statements are new in Python 3.12")
def test_a_type_alias_that_contains_itself():
    """It is read like any other type, strictly."""
    names: dict[str, Any] = {}
    exec(
        "type Json = dict[str, Json] | list[Json] | str | int | float | bool | None\ntype Loop = Loop", names
    )
    exec("type Tree = list[Tree | int]\ntype Plain = list[int]", names)
    codec, json = Codec(), names["Json"]
    value = {"a": [1, "b", None, {"c": [True, 2.5]}]}
    assert codec.decode(codec.encode(value, json), json) == value
    assert codec.decode(b"[[1,[2]],3]", names["Tree"]) == [[1, [2]], 3]
    assert codec.decode(b"[1]", names["Plain"]) == [1]
    for call in (lambda: codec.decode(b'[["x"]]', names["Tree"]), lambda: codec.encode({1: 2}, json)):
        with pytest.raises((TypeMismatchError, EncodingError)):
            call()


class Cat(pydantic.BaseModel):
    kind: Literal["cat"] = "cat"
    blob: bytes = b"\xc3\xa9"


class Hound(pydantic.BaseModel):
    kind: Literal["hound"] = "hound"


async def test_a_type_adapter_is_a_type():
    """A TypeAdapter writes and reads by itself, strictly, in every verb that takes a type."""
    adapter = pydantic.TypeAdapter(dict[str, list[Cat | Hound]])
    async with AdapterBasedPersistence(MemoryAdapter()) as persistence:
        value = {"a": [Cat(), Hound()]}
        await persistence.save("k", value, type=adapter)
        assert await persistence.load("k", adapter) == value
        await persistence.save(Key("j", adapter), value)
        assert await persistence.load(Key("j", adapter)) == value
        with pytest.raises(PersistenceError):
            await persistence.save("k", {"a": [1]}, type=adapter)
        await persistence.save("bad", {"a": [1]})
        with pytest.raises(TypeMismatchError) as caught:
            await persistence.load("bad", adapter)
        assert caught.value.key == "bad"


@dataclass
class Round:
    radius: float
    kind: Literal["round"] = "round"


@dataclass
class Square:
    side: float
    kind: Literal["square"] = "square"


@dataclass
class Drawing:
    shapes: list[Round | Square]
    by_name: dict[str, Round | Square | None] = field(default_factory=dict)


def test_a_union_of_dataclasses_is_read_where_they_can_be_told_apart():
    """By a Literal, by their fields; never by their order."""
    codec = Codec()
    drawing = Drawing([Round(1.0), Square(2.0)], {"a": Square(1.0), "b": None})
    assert codec.decode(codec.encode(drawing), Drawing) == drawing
    assert codec.decode(codec.encode(drawing, Drawing), Drawing) == drawing
    assert codec.decode(b'{"kind":"square","side":1.0}', Round | Square) == Square(1.0)
    assert codec.decode(b'{"side":1.0}', Round | Square) == Square(1.0)
    for data in (b'{"kind":"oval","side":1.0}', b"1"):
        with pytest.raises(TypeMismatchError):
            codec.decode(data, Round | Square)
    with pytest.raises(TypeMismatchError, match=r"\$\.shapes\[1\]"):
        codec.decode(b'{"shapes":[{"radius":1.0},{"radius":"x"}]}', Drawing)
    with pytest.raises(TypeMismatchError, match="tells apart"):
        codec.encode(Fahrenheit(1.0), Celsius | Fahrenheit)
