"""Whatever can be saved comes back exact, in value and in type, from every embedded store."""

import datetime as dt
import enum
import math
from collections import OrderedDict, defaultdict
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Generic, Literal, NamedTuple, NewType, TypedDict, TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo

import attrs
import msgspec
import pydantic
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from axiom_persistence import MISSING, AdapterBasedPersistence, Key, MemoryAdapter, register
from axiom_persistence.errors import ConfigurationError, EncodingError, TypeMismatchError
from axiom_persistence.records.codec import Codec
from support.embedded import listed

T = TypeVar("T")


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 10


class Mood(enum.StrEnum):
    FINE = "fine"


class Access(enum.Flag):
    READ = 1
    WRITE = 2


class Permission(enum.IntFlag):
    READ = 1
    WRITE = 2


@dataclass(frozen=True)
class Point:
    x: int
    y: float = 0.5


@dataclass
class Window:
    size: tuple[int, int]
    corner: Point
    tags: list[str] = field(default_factory=list)
    title: str | None = None
    _private: int = 0
    computed: int = field(default=0, init=False)


@dataclass(slots=True, kw_only=True)
class Slotted:
    _inner: int = 1
    outer: bytes = b""


@dataclass
class Box(Generic[T]):
    content: T


class Circle(msgspec.Struct, tag=True, frozen=True):
    radius: float


class Square(msgspec.Struct, tag=True, frozen=True):
    side: float
    label: str = ""


class Settings(msgspec.Struct, rename="camel", omit_defaults=True):
    font_size: int = 12
    opened_at: dt.datetime | None = None


class Tree(msgspec.Struct):
    name: str
    children: list["Tree"] = []


class Row(msgspec.Struct, array_like=True):
    a: int
    b: str


@attrs.define
class Person:
    name: str
    age: int = 0
    born: dt.date | None = None


@attrs.frozen(kw_only=True)
class Pair:
    left: int
    right: set[int] = attrs.field(factory=set)


class Account(pydantic.BaseModel):
    name: str
    balance: Decimal = Decimal("0.00")
    tags: set[str] = set()
    when: dt.datetime | None = None
    home: pydantic.HttpUrl | None = None


class Team(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")
    members: tuple[Account, ...] = ()
    lead: Account | None = pydantic.Field(default=None, alias="boss")

    @pydantic.computed_field
    @property
    def size(self) -> int:
        return len(self.members)


class Words(pydantic.RootModel[list[str]]):
    pass


class Cat(pydantic.BaseModel):
    kind: Literal["cat"] = "cat"
    name: str


class Hound(pydantic.BaseModel):
    kind: Literal["hound"] = "hound"
    name: str


@dataclass
class Kennel:
    pets: list[Cat | Hound]
    place: Path
    since: dt.date | dt.datetime | None = None
    notes: list[str] = field(default_factory=list)
    size: int = field(default=0, init=False)

    def __post_init__(self):
        self.size = len(self.pets)


@dataclass(frozen=True, slots=True)
class Shelf:
    items: list["Shelf | Window"]
    label: "Point | Shelf | None"


@dataclass
class Mixed:
    account: Account
    person: Person
    shapes: list[Circle | Square]


class Movie(TypedDict, total=False):
    title: str
    year: int


class Version(NamedTuple):
    major: int
    minor: int = 0


class Money:
    """A plain class that joins by ``register``."""

    def __init__(self, amount, currency):
        self.amount, self.currency = amount, currency

    def __eq__(self, other):
        return type(other) is Money and (self.amount, self.currency) == (other.amount, other.currency)

    __hash__ = None

    def __repr__(self):
        return f"Money({self.amount!r}, {self.currency!r})"


register(
    Money,
    lambda money: {"amount": str(money.amount), "currency": money.currency},
    lambda data: Money(Decimal(data["amount"]), data["currency"]),
)
register(Fraction, str, Fraction)

UserId = NewType("UserId", int)
UTC = dt.UTC
INDIA = dt.timezone(dt.timedelta(hours=5, minutes=30))
ANY_CODE_POINT = "".join(
    map(chr, (0, 1, 10, 34, 92, 127, 0x85, 0xA0, 0x2028, 0xD7FF, 0xE000, 0xFFFF, 0x10FFFF))
)


@pytest.fixture
def persistence(each_store):
    return each_store


# (value, the type it is loaded as)
EXACT = [
    (0, int),
    (-1, int),
    (2**53 + 1, int),
    (2**63, int),
    (-(2**63), int),
    (2**64 + 1, int),
    (-(10**40), int),
    (0.0, float),
    (-0.0, float),
    (0.1, float),
    (5e-324, float),
    (1.7976931348623157e308, float),
    (1e16, float),
    (True, bool),
    (False, bool),
    (None, type(None)),
    (None, int | None),
    (7, int | None),
    ("", str),
    ("null and NaN are words", str),
    (ANY_CODE_POINT, str),
    ("e\u0301\u00e9\U0001f600", str),
    (b"", bytes),
    (bytes(range(256)), bytes),
    (bytearray(b"\x00\xff"), bytearray),
    ([], list),
    ([1, "a", None, 2.5, {"k": [True]}], list),
    ({}, dict),
    ({"": None, "a": {"b": {"c": []}}}, dict),
    ({1: "one", -(2**40): "many"}, dict[int, str]),
    ({Colour.RED: 1}, dict[Colour, int]),
    ({UUID(int=7): [dt.date(2020, 1, 1)]}, dict[UUID, list[dt.date]]),
    ({1.5: 1, float("inf"): 2}, dict[float, int]),
    (set(), set[int]),
    ({1, 2, 3}, set[int]),
    (frozenset({"a"}), frozenset[str]),
    ((), tuple[()]),
    ((1, "a", None), tuple[int, str, None]),
    ((1, 2, 3), tuple[int, ...]),
    ([(1, {2}), (3, set())], list[tuple[int, set[int]]]),
    (Colour.BLUE, Colour),
    (Level.HIGH, Level),
    (Mood.FINE, Mood),
    (Access.READ | Access.WRITE, Access),
    (Permission(0), Permission),
    (Permission.READ | Permission.WRITE, Permission),
    (dt.datetime(2024, 2, 29, 23, 59, 59, 999999, tzinfo=UTC), dt.datetime),
    (dt.datetime(2024, 2, 29, tzinfo=INDIA), dt.datetime),
    (dt.datetime(2024, 6, 1, 12, tzinfo=dt.timezone(-dt.timedelta(hours=23, minutes=59))), dt.datetime),
    (dt.datetime.min, dt.datetime),
    (dt.datetime.max, dt.datetime),
    (dt.date.min, dt.date),
    (dt.date(2024, 2, 29), dt.date),
    (dt.time(23, 59, 59, 1), dt.time),
    (dt.time(1, 2, tzinfo=UTC), dt.time),
    (dt.timedelta.min, dt.timedelta),
    (dt.timedelta.max, dt.timedelta),
    (dt.timedelta(microseconds=-1), dt.timedelta),
    (UUID("12345678-1234-5678-1234-567812345678"), UUID),
    (Decimal("1.10"), Decimal),
    (Decimal("-0"), Decimal),
    (Decimal("1E+50"), Decimal),
    (Decimal("0." + "1" * 60), Decimal),
    (Decimal("Infinity"), Decimal),
    (Point(1), Point),
    (Window((1, 2), Point(3, 4.0), ["a"], None, 5), Window),
    (Slotted(_inner=9, outer=b"\x00"), Slotted),
    (Box([1]), Box[list[int]]),
    (Circle(1.5), Circle),
    (Circle(1.5), Circle | Square),
    (Square(2.0, "x"), Circle | Square),
    ([Circle(1.0), Square(2.0)], list[Circle | Square]),
    (Settings(), Settings),
    (Settings(14, dt.datetime(2024, 1, 1, tzinfo=UTC)), Settings),
    (Tree("a", [Tree("b", [Tree("c")])]), Tree),
    (Row(1, "b"), Row),
    (Person("Ada", 36, dt.date(1815, 12, 10)), Person),
    (Pair(left=1, right={2}), Pair),
    (
        Account(name="a", balance=Decimal("1.50"), tags={"x"}, when=dt.datetime(2024, 1, 1, tzinfo=UTC)),
        Account,
    ),
    (Account(name="a", home="https://example.org/x"), Account),
    (Team(members=(Account(name="a"),), boss=Account(name="b")), Team),
    (Words(["a", "b"]), Words),
    (Account(name="a"), Account | None),
    (Mixed(Account(name="a"), Person("b"), [Circle(1.0)]), Mixed),
    ({"title": "Alien", "year": 1979}, Movie),
    ({}, Movie),
    (Version(1), Version),
    ("dark", Literal["dark", "light"]),
    (2, Literal[1, 2, None]),
    (1, int | str),
    ("1", int | str),
    (1.0, int | float),
    (1, int | float),
    (b"x", bytes | int),
    (5, UserId),
    ([1], Annotated[list[int], "anything"]),
    ([1, "a"], Any),
    (Money(Decimal("9.99"), "EUR"), Money),
    ({"a": [Money(Decimal(1), "EUR")]}, dict[str, list[Money]]),
    (Fraction(1, 3), Fraction),
    (Money(Decimal(1), "EUR"), Money | None),
    (PurePosixPath("/x/y"), PurePosixPath),
    (Path("notes"), Path),
    ({"a": [Path("notes")]}, dict[str, list[Path]]),
    (Path("notes"), Path | None),
    (dt.date(2024, 2, 29), dt.date | dt.datetime),
    (dt.datetime(2024, 2, 29), dt.date | dt.datetime),
    ([dt.datetime(2024, 2, 29, tzinfo=UTC), None], list[dt.date | dt.datetime | None]),
    (Window((1, 2), Point(3)), Point | Window),
    ({"a": Point(3)}, dict[str, Point | Window | None]),
    ([Cat(name="a"), Hound(name="b")], list[Annotated[Cat | Hound, pydantic.Field(discriminator="kind")]]),
    (Kennel([Cat(name="a"), Hound(name="b")], Path("x"), dt.date(2024, 1, 1)), Kennel),
    (Shelf([Shelf([], Point(1)), Window((1, 2), Point(3))], None), Shelf),
]


def assert_same(found, value):
    """Equal, and of the same types all the way down."""
    assert type(found) is type(value)
    assert found == value or (found != found and value != value)
    if isinstance(value, float):
        assert math.copysign(1, found) == math.copysign(1, value)
    elif isinstance(value, dict):
        for (found_key, found_item), (key, item) in zip(found.items(), value.items(), strict=True):
            assert_same(found_key, key)
            assert_same(found_item, item)
    elif isinstance(value, (list, tuple)):
        for found_item, item in zip(found, value, strict=True):
            assert_same(found_item, item)
    elif isinstance(value, dt.datetime):
        assert found.utcoffset() == value.utcoffset()
    elif hasattr(value, "__dataclass_fields__"):
        for name in value.__dataclass_fields__:
            assert_same(getattr(found, name), getattr(value, name))


async def test_every_type_of_value_comes_back_exact(kept):
    """Each value is the same after close and open: saved untyped, saved typed, and saved under a Key."""
    async with kept.open() as persistence:
        await persistence.save_many({f"untyped/{i}": value for i, (value, _) in enumerate(EXACT)})
        for i, (value, kind) in enumerate(EXACT):
            await persistence.save(f"typed/{i}", value, type=kind, durability="memory")
            await persistence.save(Key(f"key/{i}", kind), value, durability="memory")
    async with kept.open() as persistence:
        for i, (value, kind) in enumerate(EXACT):
            for name in ("untyped", "typed", "key"):
                assert_same(await persistence.load(f"{name}/{i}", kind, default=MISSING), value)
            assert_same(await persistence.load(Key(f"key/{i}", kind, default=MISSING)), value)


def everything_json():
    scalars = (
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(st.characters(exclude_categories=["Cs"]))
    )
    names = st.text(st.characters(exclude_categories=["Cs"]))
    return st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(names, inner), max_leaves=20)


def aware():
    minutes = st.integers(-23 * 60 - 59, 23 * 60 + 59)
    return minutes.map(lambda m: dt.timezone(dt.timedelta(minutes=m)))


TYPED = {
    Any: everything_json(),
    bytes: st.binary(),
    int: st.integers(),
    Decimal: st.decimals(allow_nan=False),
    dt.timedelta: st.timedeltas(),
    dt.date: st.dates(),
    dt.datetime: st.datetimes(timezones=st.none() | aware()),
    dt.time: st.times(timezones=st.none() | aware()),
    set[int]: st.sets(st.integers()),
    tuple[int, str | None]: st.tuples(
        st.integers(), st.none() | st.text(st.characters(exclude_categories=["Cs"]))
    ),
    dict[int, list[float]]: st.dictionaries(
        st.integers(), st.lists(st.floats(allow_nan=False, allow_infinity=False))
    ),
    list[UUID]: st.lists(st.uuids()),
}


@pytest.mark.parametrize("kind", TYPED, ids=str)
def test_generated_values_come_back_exact(kind):
    """Any value of a type that can be saved is the same after encoding and decoding."""

    @settings(max_examples=60, deadline=None, database=None)
    @given(TYPED[kind])
    def check(value):
        codec = Codec()
        assert_same(codec.decode(codec.encode(value), kind), value)
        assert_same(codec.decode(codec.encode(value, kind), kind), value)

    check()


@settings(
    max_examples=25, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(value=everything_json())
async def test_generated_documents_come_back_from_every_store(persistence, value):
    """A generated document is the same when it is loaded again."""
    await persistence.save("document", value, durability="memory")
    assert_same(await persistence.load("document", Any, default=MISSING), value)


# -- None, missing, and what is empty ---------------------------------------------------------------

EMPTY = [
    (None, type(None)),
    (0, int),
    ("", str),
    (b"", bytes),
    ({}, dict),
    ([], list),
    (False, bool),
    (set(), set),
]


@pytest.mark.parametrize(("value", "kind"), EMPTY, ids=repr)
async def test_empty_values_are_values(persistence, value, kind):
    """None, 0, "", b"" and {} are stored, exist, are listed and deleted like any other value."""
    await persistence.save("k", value)
    assert await persistence.exists("k")
    assert await persistence.load("k", kind, default=MISSING) == value
    assert await persistence.load("k", kind, default=MISSING) is not MISSING
    assert await persistence.load_many(["k", "absent"], kind) == {"k": value}
    assert await listed(persistence) == ["k"]
    async with persistence.transaction() as tx:
        assert await tx.exists("k")
        assert await tx.load("k", kind, default=MISSING) == value
        await tx.save("k", value)
        assert await tx.exists("k")
        assert await tx.load("k", kind, default=MISSING) is not MISSING
    seen = []
    await persistence.update("k", kind, lambda old: seen.append(old) or value, default=MISSING)
    assert seen == [value]
    assert await persistence.delete("k") is True
    assert not await persistence.exists("k")


async def test_a_stored_none_is_not_missing(persistence):
    """default= answers for nothing stored only; a stored None comes back as None."""
    await persistence.save("none", None)
    assert await persistence.load("none", int | None, default=5) is None
    assert await persistence.load("nothing", int | None, default=5) == 5
    assert await persistence.load("nothing", int | None, default=MISSING) is MISSING
    assert await persistence.load("nothing", int) is None
    assert await persistence.load(Key("none", int)) is None
    assert await persistence.load(Key("nothing", int, default=7)) == 7
    assert await persistence.load(Key("nothing", int)) is None
    assert await persistence.load_many(["none", "nothing"], type(None)) == {"none": None}


# -- what cannot be saved ---------------------------------------------------------------------------


class Plain:
    pass


class Odd(enum.Enum):
    PAIR = (1, 2)


class Secretive(pydantic.BaseModel):
    password: pydantic.SecretStr


class Renamed(pydantic.BaseModel):
    x: int = pydantic.Field(serialization_alias="X")


class Measured(pydantic.BaseModel):
    x: float | None


@attrs.define
class Hiding:
    _hidden: int = 1
    shown: int = 2


class Failing:
    pass


register(Failing, lambda value: [][1], lambda data: [][1])


class Text(str):
    pass


def cycle():
    loop = []
    loop.append(loop)
    return loop


REFUSED = [
    float("nan"),
    float("inf"),
    [1.0, {"deep": float("-inf")}],
    Point(1, math.nan),
    Measured(x=math.nan),
    Mixed(Account(name="a"), Person("b"), [Circle(math.inf)]),
    "\ud800",
    {"\udfff": 1},
    1j,
    object(),
    Plain(),
    [Plain()],
    lambda: 1,
    int,
    range(3),
    ZoneInfo("UTC"),
    {None: 1},
    {True: 1},
    {(1, 2): 3},
    {frozenset(): 1},
    cycle(),
    Odd.PAIR,
    Text("a subclass of str"),
    Secretive(password="hunter2"),
    Renamed(x=1),
    Measured.model_construct(x="text"),
    Hiding(5, 6),
    Failing(),
    (i for i in [1]),
]


@pytest.mark.parametrize("value", REFUSED, ids=lambda value: type(value).__name__)
async def test_what_cannot_be_saved_is_refused_and_changes_nothing(value, kept):
    """EncodingError names the key and the reason, and the stored value stays byte for byte."""
    async with kept.open() as persistence:
        await persistence.save("k", "as it was")
        before = await persistence.adapter.fetch(["k"])
        for attempt in (
            lambda: persistence.save("k", value),
            lambda: persistence.save_many({"other": 1, "k": value}),
            lambda: persistence.update("k", Any, lambda _: value),
        ):
            with pytest.raises(EncodingError, match=r"\w") as caught:
                await attempt()
            assert caught.value.key == "k"
            assert str(persistence.adapter) in str(caught.value)
            assert "hunter2" not in str(caught.value)

        async def in_transaction():
            async with persistence.transaction() as tx:
                await tx.save("other", 1)
                await tx.save("k", value)

        with pytest.raises(EncodingError) as caught:
            await in_transaction()
        assert caught.value.key == "k"
        assert await persistence.adapter.fetch(["k", "other"]) == before
        assert await persistence.load("k", str) == "as it was"


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (Plain(), "register(Plain"),
        (float("nan"), "$"),
        ([0, {"a": float("inf")}], "$[1][...]"),
        ({(1, 2): 3}, "key of a dict"),
        (Hiding(), "_hidden"),
        (Renamed(x=1), "$.x"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_refusal_says_what_to_do(value, says):
    """The message names the place in the value or the way out."""
    with pytest.raises(EncodingError) as caught:
        Codec().encode(value)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("x", int),
        (True, int),
        (1, bool),
        (1, str),
        ("red", Colour),
        (None, int),
        ((1, 2), list[int]),
        ([1, 2], tuple[int, ...]),
        ([1], set[int]),
        ([1, "a"], list[int]),
        ("x", Literal["y"]),
        (1.5, int | str),
        ({"year": "1979"}, Movie),
        ({"title": 5}, dict[str, str]),
        (Point(1), Window),
        (Point(1), Account),
        ("1", Money),
    ],
    ids=str,
)
async def test_a_save_of_another_type_is_refused(value, kind):
    """Where the type is given, a value of another is TypeMismatchError, and nothing is stored."""
    async with AdapterBasedPersistence(MemoryAdapter()) as persistence:
        await persistence.save("k", "as it was")
        for call in (
            persistence.save(Key("k", kind, default=None), value),
            persistence.save("k", value, type=kind),
        ):
            with pytest.raises(TypeMismatchError) as caught:
                await call
            assert caught.value.key == "k"
        assert await persistence.load("k", str) == "as it was"


async def test_an_int_is_kept_as_a_float_only_where_it_is_one():
    """An int under a float key comes back as a float; one that no float can hold is refused."""
    codec = Codec()
    assert_same(codec.decode(codec.encode(3, float), float), 3.0)
    with pytest.raises(EncodingError):
        codec.encode(2**53 + 1, float)


@pytest.mark.parametrize("value", [OrderedDict(a=1), defaultdict(int, a=1)])
def test_subclasses_of_containers_are_written_as_the_container(value):
    """An OrderedDict is a JSON object: it comes back as a dict, and is refused as its own type."""
    codec = Codec()
    assert_same(codec.decode(codec.encode(value), dict), dict(value))
    assert codec.encode(value, dict) == b'{"a":1}'
    with pytest.raises(ConfigurationError, match=type(value).__name__):
        codec.encode(value, type(value))


# -- another type at load ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "kind", "path"),
    [
        (1, str, "$"),
        ("1", int, "$"),
        (1.0, int, "$"),
        (None, int, "$"),
        ([1, "x"], list[int], "$[1]"),
        ({"x": 1, "y": "no"}, Point, "$.y"),
        ({"size": [1, 2], "corner": {"x": "a"}}, Window, "$.corner.x"),
        ({"name": 5}, Person, "$.name"),
        ({"name": "a", "balance": {}}, Account, "$.balance"),
        ({"members": [{"name": 1}]}, Team, "$.members[0].name"),
        ({"a": {"name": "x", "tags": [1]}}, dict[str, Account], "$[...].tags[0]"),
        ("green", Colour, "$"),
        ("2024-13-01", dt.date, "$"),
        ("not base64!", bytes, "$"),
        ({"amount": "x", "currency": "EUR"}, Money, "$"),
        ({"currency": "EUR"}, Money, "$"),
        ([1, 2, 3], tuple[int, int], "$"),
        ({"type": "Triangle"}, Circle | Square, "$.type"),
    ],
    ids=str,
)
async def test_a_stored_value_of_another_type_says_where(persistence, value, kind, path):
    """TypeMismatchError with key, adapter and path in the value, never a None; the value stays."""
    await persistence.save("k", value)

    async def in_transaction():
        async with persistence.transaction() as tx:
            await tx.load("k", kind)

    async def of_own_write():
        async with persistence.transaction() as tx:
            await tx.save("k", value)
            await tx.load("k", kind)

    for attempt in (
        lambda: persistence.load("k", kind),
        lambda: persistence.load("k", kind, default=0),
        lambda: persistence.load_many(["k"], kind),
        lambda: persistence.update("k", kind, lambda old: old),
        in_transaction,
        of_own_write,
    ):
        with pytest.raises(TypeMismatchError) as caught:
            await attempt()
        error = caught.value
        assert (error.key, error.path) == ("k", path)
        assert "'k'" in str(error)
        assert str(persistence.adapter) in str(error)
    assert await persistence.load("k", Any) == value


@pytest.mark.parametrize(
    "kind", [Plain, object, list[Plain], "int", 5, Odd, Hiding, Point | Plain, OrderedDict]
)
async def test_a_type_that_cannot_be_read_is_refused_before_anything_is_stored(kind):
    """A type no value can be read as is ConfigurationError, at save and at load."""
    async with AdapterBasedPersistence(MemoryAdapter()) as persistence:
        await persistence.save("k", 1)
        with pytest.raises(ConfigurationError):
            await persistence.load("k", kind)
        with pytest.raises(ConfigurationError):
            await persistence.save("k", 2, type=kind)
        assert await persistence.load("k", int) == 1


def test_register_refuses_what_it_could_not_change():
    """Only classes that are not written already can be registered, and only once."""
    for kind in (int, str, dict, Point, Colour, Version, Person, Circle, dt.datetime, OrderedDict):
        with pytest.raises(ConfigurationError, match="already"):
            register(kind, str, kind)
    with pytest.raises(ConfigurationError, match="takes a class"):
        register("Money", str, str)
    with pytest.raises(ConfigurationError, match="replace=True"):
        register(Fraction, repr, Fraction)
    register(Fraction, str, Fraction)


def test_a_registered_model_uses_what_was_registered():
    """A pydantic model that is registered goes both ways through its own functions."""

    class Own(pydantic.BaseModel):
        x: int

    register(Own, lambda value: value.x, lambda data: Own(x=data + 1))
    codec = Codec()
    assert codec.encode(Own(x=1)) == b"1"
    assert codec.decode(b"1", Own) == Own(x=2)
    assert codec.decode(b"[1]", list[Own]) == [Own(x=2)]
