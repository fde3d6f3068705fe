"""What a class may declare, and what an attribute takes."""

# ruff: noqa: SIM118

from __future__ import annotations

import pickle
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import pytest

from axiom_persistence.client import Client, ValidationError, client_state
from axiom_persistence.errors import (
    CapabilityUnavailableError,
    ConfigurationError,
    EncodingError,
    InvalidKeyError,
    TypeMismatchError,
)
from axiom_persistence.opening.open import open_persistence
from axiom_persistence.testing import ConfidentialMemory
from support.client_worlds import Counter, Preferences, Theme


@dataclass
class Window:
    width: int
    height: int


@dataclass(frozen=True)
class Pair:
    number: int
    items: list[int]


class Named(NamedTuple):
    number: int
    items: list[int]


@dataclass(eq=False)
class Shared:
    """Has a hash, and can be changed all the same."""

    items: list[int]


class Base(Client):
    theme: str = client_state("system")


class Derived(Base):
    zoom: float = client_state(1.0)


class Wider(Derived):
    theme: str = client_state("dark")


class Late(Client):
    window: Later = client_state(default_factory=lambda: Later())


@dataclass
class Later:
    x: int = 1


async def test_persisted_keys(persistence):
    """The keys of the stored fields are known of the class, renamed ones and inherited ones included."""
    assert Preferences.persisted_keys == ("theme", "volume", "recent", "window-title")
    assert Derived.persisted_keys == ("theme", "zoom")
    assert Derived(persistence).theme == "system"
    assert Wider(persistence).theme == "dark"
    assert Base(persistence).theme == "system"


async def test_a_type_named_before_it_exists(persistence):
    """An annotation may name a class that is defined later in the module."""
    assert Late(persistence).window == Later()


async def test_a_type_of_the_enclosing_function(persistence):
    """A client class made in a function may use the types of that function."""

    @dataclass
    class Point:
        x: int = 0

    class Local(Client):
        point: Point = client_state(default_factory=Point)

    async with Local(persistence) as local:
        local.point = Point(3)
    async with Local(persistence) as local:
        assert local.point == Point(3)


async def test_a_type_that_never_exists(persistence):
    """An annotation that names nothing is an error when the client is built, and says which."""

    class Lost(Client):
        window: Nowhere = client_state(None)  # noqa: F821

    with pytest.raises(ConfigurationError, match="window: the type 'Nowhere' is not known"):
        Lost(persistence)


def test_a_field_without_a_type():
    """A field without annotation is refused with the correction."""
    with pytest.raises(ConfigurationError, match="write theme: SomeType = client_state"):

        class Wrong(Client):
            theme = client_state("system")


@pytest.mark.parametrize(
    ("default", "correction"),
    [
        ([], "default_factory=list"),
        ({}, "default_factory=dict"),
        (Window(1, 2), "lambda: Window"),
        ((1, []), "lambda: "),
        (Pair(1, []), "lambda: Pair"),
        (Named(1, []), "lambda: Named"),
    ],
)
def test_a_mutable_default(default, correction):
    """A default that all instances would share is refused with the correction."""
    with pytest.raises(ConfigurationError, match=correction):

        class Wrong(Client):
            field: object = client_state(default)


async def test_a_default_with_a_hash_that_can_be_changed_is_copied():
    """What one instance changes inside its default, no other sees."""

    class Holding(Client):
        shared: Shared = client_state(Shared([]))
        loose: Shared = client_state(Shared([]), persisted=False)

    async with open_persistence("memory:") as store:
        first, second = Holding(store, instance="1"), Holding(store, instance="2")
        first.shared.items.append(1)
        first.loose.items.append(1)
        assert (second.shared.items, second.loose.items) == ([], [])
        await first.close()


def test_two_fields_with_one_key():
    """Two fields under one key are refused, a base's field included."""
    with pytest.raises(ConfigurationError, match=r"Wrong\.theme and .*Wrong\.other have the same key"):

        class Wrong(Base):
            other: str = client_state("", key="theme")


@pytest.mark.parametrize("name", ["persist_state", "phase", "_hidden", "persistence"])
def test_reserved_names(name):
    """A field cannot take the name of a member of every client, nor a private one."""
    with pytest.raises(ConfigurationError, match=name):
        type("Wrong", (Client,), {"__annotations__": {name: int}, name: client_state(1)})


def test_a_plain_attribute_over_a_field():
    """A subclass cannot hide a field behind a plain class attribute."""
    with pytest.raises(ConfigurationError, match="declare it anew"):

        class Wrong(Base):
            theme = "plain"


def test_wrong_defaults():
    """A default that is not of the field's type, or that its own validation refuses, is found at once."""
    with pytest.raises(ConfigurationError, match=r"default of .*Wrong\.theme cannot be used"):

        class Wrong(Client):
            theme: Theme = client_state("system")

    with pytest.raises(ConfigurationError, match="cannot be used"):

        class WrongToo(Client):
            volume: int = client_state(200, validate=lambda v: v <= 100)

    with pytest.raises(ConfigurationError, match="ClassVar"):

        class WrongAgain(Client):
            volume: ClassVar[int] = client_state(2)


def test_what_client_state_takes():
    """Either a default or one factory, and no secure field that is not stored."""
    for wrong in ({}, {"default": 1, "factory": int}, {"factory": int, "default_factory": int}):
        with pytest.raises(ConfigurationError):
            client_state(**wrong)
    with pytest.raises(ConfigurationError, match="function"):
        client_state(default_factory=[])
    with pytest.raises(ConfigurationError, match="secure and not persisted"):

        class Wrong(Client):
            token: str = client_state("", secure=True, persisted=False)


async def test_factories_make_a_value_for_each(persistence):
    """Two instances never share what a factory made; ``factory`` is the same as ``default_factory``."""

    class Lists(Client):
        one: list[int] = client_state(factory=list)
        two: list[int] = client_state(default_factory=list)

    first, second = Lists(persistence), Lists(persistence, instance="2")
    first.one.append(1)

    assert (first.one, first.two, second.one) == ([1], [], [])


async def test_assignment_is_checked(store):
    """A wrong value raises at the assignment, naming the field, and changes nothing anywhere."""
    async with Preferences(store) as preferences:
        preferences.volume = 7
        for name, value, error in (
            ("theme", "dark", TypeMismatchError),
            ("volume", "8", TypeMismatchError),
            ("recent", [1], TypeMismatchError),
            ("recent", ["a", object()], EncodingError),
            ("draft", 3, TypeMismatchError),
            ("volume", 101, ValidationError),
            ("title", "\ud800", EncodingError),
        ):
            with pytest.raises(error):
                setattr(preferences, name, value)
        assert (preferences.volume, preferences.recent, preferences.draft) == (7, [], "")
    async with Preferences(store) as preferences:
        assert preferences.volume == 7


async def test_a_misspelt_attribute(persistence):
    """Assigning to what is no field raises and names the one that was meant; private names are free."""
    preferences = Preferences(persistence)
    with pytest.raises(AttributeError, match="did you mean 'theme'"):
        preferences.them = Theme.DARK
    with pytest.raises(AttributeError, match="cannot be deleted"):
        del preferences.theme
    preferences._task = 1
    assert preferences._task == 1


async def test_properties_of_the_class_work(persistence):
    """A property with a setter may assign several fields."""

    class Both(Client):
        a: int = client_state(0)
        b: int = client_state(0)

        @property
        def both(self) -> int:
            return self.a + self.b

        @both.setter
        def both(self, value: int) -> None:
            self.a = self.b = value

    client = Both(persistence)
    client.both = 4
    assert client.both == 8


async def test_instances_and_names_do_not_meet(store):
    """Instances, pinned names and awkward ones each have their own records."""

    class Pinned(Client, name="Preferences/theme"):
        theme: str = client_state("")

    keys = set()
    for client in (
        Counter(store),
        Counter(store, instance="a"),
        Counter(store, instance="a/b%"),
        Counter(store, instance="b"),
    ):
        async with client:
            client.a = 1
    async with Pinned(store) as pinned:
        pinned.theme = "x"
    keys = {key async for key in store.keys()}

    assert keys == {
        "Counter/a",
        "Counter/a/a",
        "Counter/a%2Fb%25/a",
        "Counter/b/a",
        "Preferences%2Ftheme/theme",
    }


async def test_namespaces(store):
    """A client of a namespace keeps its records below it."""
    async with Counter(store.namespace("user")) as counter:
        counter.a = 3
        await counter.persist_state()
        assert await store.load("user/Counter/a", int) == 3
        assert [key async for key in store.namespace("user").keys()] == ["Counter/a"]


async def test_two_classes_of_one_name(persistence):
    """Two client classes with one name in one store are an error that names both and the way out."""
    other = type(
        "Counter", (Client,), {"__annotations__": {"a": str}, "a": client_state(""), "__module__": "x"}
    )
    Counter(persistence)
    with pytest.raises(ConfigurationError, match=r"Counter.*name="):
        other(persistence)


async def test_one_live_client_of_a_path(persistence):
    """A second client of the same class and instance takes the place of the first; other instances stay."""
    async with (
        Counter(persistence) as first,
        Counter(persistence, instance="2") as other,
        Counter(persistence),
    ):
        other.a = 1
        with pytest.raises(CapabilityUnavailableError, match="newer client"):
            first.a = 1


async def test_keys_that_are_too_long(persistence):
    """An instance whose keys no store could keep is refused when the client is built."""
    with pytest.raises(InvalidKeyError):
        Counter(persistence, instance="x" * 1100)
    with pytest.raises(InvalidKeyError):
        Counter(persistence, instance="")


async def test_repr_and_copies(persistence):
    """``repr`` shows phase and kinds, no values; a client cannot be pickled."""
    preferences = Preferences(persistence)
    assert repr(preferences).startswith("<Preferences created theme=<Theme> volume=<int>")
    with pytest.raises(TypeError, match="copied or pickled"):
        pickle.dumps(preferences)
    assert "not built" in repr(object.__new__(Preferences))


# -- snapshots --------------------------------------------------------------------------------------


async def test_a_snapshot_is_a_dict_of_plain_values(persistence):
    """All fields by name, those that are not stored too; changes on either side stay there."""
    async with Preferences(persistence) as preferences:
        preferences.theme, preferences.recent, preferences.draft = Theme.DARK, ["a"], "x"
        taken = preferences.snapshot()
        assert taken == {"theme": Theme.DARK, "volume": 5, "recent": ["a"], "title": "", "draft": "x"}
        taken["recent"].append("b")
        preferences.recent.append("c")
        assert (taken["recent"], preferences.recent) == (["a", "b"], ["a", "c"])


async def test_a_snapshot_leaves_secrets_out(tmp_path):
    """Unless they are asked for: a snapshot may well be logged."""

    class Account(Client):
        user: str = client_state("")
        token: str = client_state("", secure=True)

    async with (
        open_persistence(tmp_path / "s.db", secure=ConfidentialMemory()) as persistence,
        Account(persistence) as account,
    ):
        account.user, account.token = "me", "hunter2"
        assert account.snapshot() == {"user": "me"}
        assert account.snapshot(secure=True) == {"user": "me", "token": "hunter2"}
