"""Every key the rules allow works on every store; every other one is refused before anything happens."""

import os
import re
from dataclasses import dataclass
from enum import Enum, StrEnum

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from axiom_persistence import MISSING, Key, is_key, join_key, split_key
from axiom_persistence.errors import ConfigurationError, InvalidKeyError
from axiom_persistence.keys import check_key, encode_segment
from axiom_persistence.storage.listing import prefix_end
from support.embedded import Kept, listed

MEANT_FOR_TROUBLE = [
    *("a", "A", "aa", "aA", "a/", "a//", "/a", "/", "//", "a/b", "a/B", "a\\b", ".", "..", "../a"),
    *("a/../b", "./a", "../../etc/passwd", "/etc/passwd", "~", "~/a", "$HOME", "a~", "a.json", "a.json~"),
    *(".json", "a.", "a ", " a", " ", "CON", "con", "con.txt", "NUL", "aux", "com1", "LPT9", "PRN."),
    *("a:b", "C:", "C:\\a", "a*?", "a|b", "<a>", "a;b", "'", '"', '"quoted"', "`a`", "%", "%2F", "a%2Fb"),
    *("%00", "%%", "_", "a_b", "a%b", "+a", "=", "a=/=b", "-rf", "--", "#", "?", "a?b=c", "&", "a\nb"),
    *("a\rb", "a\tb", "\x02", "a\x01", "\x7f", "\x1f", "e\u0301", "\xe9", "\u1e9e", "\xdf", "ss"),
    *("\u0130", "i", "\u0131", "\u200b", "\ufeff", "\u202e", "\U0001f600", "\uffff", "\U0010ffff"),
    *("\ue000", "\ud7ff", "store", "quarantine/x", "record", "0", "null", "None", "true", ".axiom"),
    *(".axiom.mark", ".axiom-journal", "..%2F"),
    "'; DROP TABLE record;--",
    *(
        "a" * 1024,
        "A" * 1024,
        "\u00e9" * 512,
        "\U0001f600" * 256,
        "a/" * 512,
        "." * 1024,
        "%" * 1024,
        "/" * 1024,
    ),
    *("x" * 255, "x" * 256, ("y" * 255 + "/") * 4),
]

NO_KEYS = [
    "",
    "\0",
    "a\0b",
    "\ud800",
    "a\udfff",
    "\x01",
    "\x01store",
    "\x01quarantine/x",
    "a" * 1025,
    "é" * 513,
]
NO_TEXT = [None, 5, b"a", ["a"], ("a",), {"a"}, object(), 1.5]


def test_the_keys_meant_for_trouble_are_keys():
    """The list of this test is of different, allowed keys."""
    assert len(set(MEANT_FOR_TROUBLE)) == len(MEANT_FOR_TROUBLE) > 100
    assert all(check_key(key) == key for key in MEANT_FOR_TROUBLE)


async def test_every_allowed_key_works_on_every_store(kept):
    """Each key holds its own value, is listed back exactly and in order, and is deleted alone."""
    everything = dict(zip(MEANT_FOR_TROUBLE, range(len(MEANT_FOR_TROUBLE)), strict=True))
    async with kept.open() as persistence:
        await persistence.save_many(everything)
    async with kept.open() as persistence:
        assert await listed(persistence) == sorted(everything)
        assert await persistence.load_many(everything, int) == everything
        for key, value in everything.items():
            assert await persistence.load(key, int) == value
            assert await persistence.exists(key)
        for key in MEANT_FOR_TROUBLE[::2]:
            assert await persistence.delete(key)
        rest = sorted(MEANT_FOR_TROUBLE[1::2])
        assert await listed(persistence) == rest
        assert await listed(persistence, "a") == [key for key in rest if key.startswith("a")]
        assert await persistence.verify()


async def test_no_key_leaves_its_directory(tmp_path):
    """All files of a file store lie in its directory, whatever the keys are."""
    outside = tmp_path / "outside"
    outside.write_text("untouched")
    kept = Kept("file", tmp_path)
    async with kept.open() as persistence:
        await persistence.save_many(dict.fromkeys(MEANT_FOR_TROUBLE, 1))
        await persistence.save("../outside", 2)
    assert sorted(os.listdir(tmp_path)) == ["outside", "store"]
    assert outside.read_text() == "untouched"


async def test_a_symbolic_link_is_not_followed(tmp_path):
    """A link where a record or its directory would be is not read through and not written through."""
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "b.json").write_text("untouched")
    kept = Kept("file", tmp_path)
    async with kept.open() as persistence:
        await persistence.save("first", 1)
    (kept.path / "a.json").symlink_to(secret / "b.json")
    (kept.path / "linked").symlink_to(secret, target_is_directory=True)
    async with kept.open() as persistence:
        for key in ("a", "linked/b"):
            for verb in (
                lambda key=key: persistence.load(key, int),
                lambda key=key: persistence.save(key, 1),
            ):
                try:
                    assert await verb() in (None, 1)
                except OSError as error:
                    assert error.key in (key, None)  # noqa: PT017 - either is right
    assert (secret / "b.json").read_text() == "untouched"
    assert os.listdir(secret) == ["b.json"]


@pytest.mark.parametrize("key", NO_KEYS + NO_TEXT, ids=lambda key: repr(key)[:20])
async def test_every_other_key_is_refused_by_every_verb(each_store, key):
    """InvalidKeyError from every verb, in a namespace too, and nothing is stored."""
    persistence = each_store

    async def in_transaction(verb, *arguments):
        async with persistence.transaction() as tx:
            await getattr(tx, verb)(key, *arguments)

    attempts = [
        lambda: persistence.save(key, 1),
        lambda: persistence.load(key, int),
        lambda: persistence.exists(key),
        lambda: persistence.delete(key),
        lambda: persistence.describe(key),
        lambda: persistence.update(key, int, lambda n: n, default=0),
        lambda: persistence.load_many([key], int),
        lambda: persistence.delete_many([key]),
        lambda: persistence.namespace("n").save(key, 1),
        lambda: persistence.namespace("n").load(key, int),
        lambda: in_transaction("load", int),
        lambda: in_transaction("save", 1),
        lambda: in_transaction("exists"),
        lambda: in_transaction("delete"),
    ]
    if isinstance(key, str):
        attempts.append(lambda: persistence.save_many({"fine": 1, key: 2}))
    # What is refused is refused above the adapter: one store takes all the verbs.
    for attempt in attempts if "MemoryAdapter" in repr(persistence) else attempts[:2]:
        with pytest.raises(InvalidKeyError) as caught:
            await attempt()
        assert isinstance(caught.value, ValueError)
        assert len(str(caught.value)) < 500
    assert await listed(persistence) == []


async def test_a_refused_key_says_why(each_store):
    """Each reason has its own words."""
    for key, words in {
        "": "empty",
        "a\0": "NUL",
        "\ud800": "surrogate",
        "\x01store": "U+0001",
        "a" * 1025: "1,024",
        5: "not <int>",
    }.items():
        with pytest.raises(InvalidKeyError, match=re.escape(words)):
            await each_store.save(key, 1)


async def test_members_of_string_enums_are_keys(each_store):
    """A str that is an enum member is its text, not its name."""

    class Modern(StrEnum):
        THEME = "theme"

    class Older(str, Enum):
        FONT = "font"

    await each_store.save(Modern.THEME, 1)
    await each_store.save(Older.FONT, 2)
    await each_store.namespace("n").save(Older.FONT, 3)
    assert await listed(each_store) == ["font", "n/font", "theme"]
    assert await each_store.load("font", int) == await each_store.load(Older.FONT, int) == 2


# -- namespaces -------------------------------------------------------------------------------------


async def test_namespaces_do_not_collide(each_store):
    """However names are split into namespaces, two different ways give two different records."""
    ways = [
        (("a",), "b/c"),
        (("a", "b"), "d"),
        (("a/b",), "c"),
        (("a%2Fb",), "c"),
        (("a%252Fb",), "c"),
        (("A",), "b/c"),
        (("..",), "c"),
        (("é",), "c"),
        (("e\u0301",), "c"),
        (("a b",), "c"),
        (("\x01",), "c"),
        (("a\n",), "c"),
        (("%",), "c"),
        (("%25",), "c"),
    ]
    for value, (names, key) in enumerate(ways):
        view = each_store
        for name in names:
            view = view.namespace(name)
        await view.save(key, value)
    assert len(await listed(each_store)) == len(ways)
    for value, (names, key) in enumerate(ways):
        view = each_store
        for name in names:
            view = view.namespace(name)
        assert await view.load(key, int) == value
        assert key in await listed(view)


async def test_a_namespace_is_a_view_with_all_the_verbs(each_store):
    """Every verb works inside a namespace, on its keys only, and lists them without the prefix."""
    view = each_store.namespace("n")
    await each_store.save("k", "outside")
    await view.save("k", 1)
    await view.save_many({"l": 2, "m": 3})
    assert await view.update("k", int, lambda n: n + 1, default=0) == 2
    assert await view.load_many(["k", "l", "x"], int) == {"k": 2, "l": 2}
    assert await view.load(Key("k", int, default=0)) == 2
    assert await listed(view) == ["k", "l", "m"]
    assert await listed(view, "l") == ["l"]
    assert await view.exists("k")
    assert (await view.describe("k")).key == "n/k"
    async with view.transaction() as tx:
        await tx.save("k", await tx.load("l", int) + 40)
        assert await tx.delete("m")
    assert await view.run_transaction(lambda tx: tx.load("k", int)) == 42
    assert await view.delete("k")
    assert not await view.delete("k")
    assert await view.delete_many(["l", "m"]) == 1
    assert await listed(each_store) == ["k"]
    assert (await view.verify()).records == 0
    assert view.is_available
    assert "namespace='n/'" in repr(view)


async def test_a_namespace_is_closed_by_who_opened_the_store(each_store):
    """Leaving a view closes nothing."""
    async with each_store.namespace("n") as view:
        await view.save("k", 1)
    assert each_store.is_available
    assert await each_store.load("n/k", int) == 1


@pytest.mark.parametrize("name", ["", None, 5, "\ud800", "x" * 1100])
async def test_a_name_that_gives_no_key_is_refused(each_store, name):
    """A namespace's name must be text that a key can begin with."""
    with pytest.raises(InvalidKeyError):
        await each_store.namespace(name).save("k", 1)


@settings(max_examples=200, database=None, deadline=None)
@given(st.lists(st.text(min_size=1), max_size=4), st.lists(st.text(min_size=1), max_size=4))
def test_encoded_names_join_without_ambiguity(left, right):
    """Two lists of names give the same joined key only if they are the same list."""
    joined = ["/".join(map(encode_segment, names)) for names in (left, right)]
    assert (joined[0] == joined[1]) == (left == right)


@settings(max_examples=300, database=None, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"])), st.text(st.characters(exclude_categories=["Cs"])))
def test_the_end_of_a_prefix_bounds_it_tightly(prefix, other):
    """A string begins with the prefix exactly when it lies between it and its end."""
    end = prefix_end(prefix)
    assert other.startswith(prefix) == (other >= prefix and (end is None or other < end))
    assert end is None or not end.startswith(prefix) or not prefix


# -- Key --------------------------------------------------------------------------------------------


async def test_a_key_object_carries_name_type_and_default(each_store):
    """Key gives load its type and default, save its check, and works in every single-key verb."""
    volume = Key("volume", int, default=5)
    assert await each_store.load(volume) == 5
    assert await each_store.load(volume, default=MISSING) is MISSING
    await each_store.save(volume, 7)
    assert await each_store.load(volume) == 7
    assert await each_store.update(volume, lambda n: n + 1) == 8
    assert await each_store.exists(volume)
    assert (await each_store.describe(volume)).key == "volume"
    async with each_store.transaction() as tx:
        await tx.save(volume, await tx.load(volume) + 1)
    assert await each_store.load("volume", int) == 9
    assert await each_store.delete(volume)
    assert repr(volume) == "Key('volume', <class 'int'>, default=5)"


def test_a_key_is_checked_when_it_is_made():
    """A name that is no key is refused where it is written down."""
    for name in ["", "\x01store", None, 5]:
        with pytest.raises(InvalidKeyError):
            Key(name, int)


@dataclass(frozen=True)
class Pair:
    number: int
    items: list[int]


@dataclass(eq=False)
class Shared:
    """Has a hash, and can be changed all the same."""

    items: list[int]


def test_a_default_with_a_hash_that_can_be_changed_is_copied():
    """Each who loads it has one of his own."""
    key = Key("k", Shared, default=Shared([]))
    key.default.items.append(1)
    assert key.default.items == []
    assert "Shared(items=[])" in repr(key)


WRONG_KEYS = [
    (lambda: Key("k", int, default="a"), "is of type str, not int"),
    (lambda: Key("k", dict[str, int], default=("a",)), "not dict"),
    (lambda: Key("k", 5), "a value was passed: <int>"),
    (lambda: Key("k", "int"), "the class itself"),
    (lambda: Key("k", object), "cannot read"),
    (lambda: Key("k", dict, default={}), "default_factory"),
    (lambda: Key("k", list[int], default=[1]), "default_factory"),
    (lambda: Key("k", tuple, default=([],)), "default_factory"),
    (lambda: Key("k", Pair, default=Pair(1, [])), "default_factory"),
    (lambda: Key("k", dict, default={}, default_factory=dict), "a default or a default_factory"),
    (lambda: Key("k", dict, default_factory={}), "a default or a default_factory"),
]


@pytest.mark.parametrize(("make", "says"), WRONG_KEYS)
def test_a_key_that_could_not_be_kept_is_refused_when_it_is_made(make, says):
    """A value for a type, a default of another type, and one that all who load it would share."""
    with pytest.raises(ConfigurationError) as caught:
        make()
    assert says in str(caught.value)
    assert caught.value.key in ("k", None)


async def test_a_default_is_nobody_elses(each_store):
    """A default_factory makes one at each load, so that what one changes no other sees, nor another store."""
    settings = Key("settings", dict[str, int], default_factory=dict)

    def count(old):
        old["n"] = old.get("n", 0) + 1
        return old

    (await each_store.load(settings))["n"] = 100
    async with each_store.transaction() as tx:
        (await tx.load(settings))["n"] = 100
    assert await each_store.update(settings, count) == {"n": 1}
    assert await each_store.update(settings, count) == {"n": 2}
    assert await each_store.delete(settings)
    assert await each_store.load(settings) == {}
    assert settings.default == {}
    assert repr(settings) == "Key('settings', dict[str, int], default_factory=<class 'dict'>)"


async def test_a_value_is_no_type_whether_something_is_stored_or_not(each_store):
    """load("volume", 5) is refused at once, not answered with the default until something is stored."""

    async def in_transaction():
        async with each_store.transaction() as tx:
            await tx.load("volume", 5)

    calls = (
        lambda: each_store.load("volume", 5),
        lambda: each_store.namespace("n").load("volume", 5),
        lambda: each_store.load_many(["volume"], 5),
        lambda: each_store.update("volume", 5, lambda old: old, default=1),
        lambda: each_store.collection("c", 5).get("volume"),
        in_transaction,
    )
    for call in calls:
        with pytest.raises(
            ConfigurationError, match="a type is needed here, and a value was passed: <int>"
        ) as caught:
            await call()
        assert "pass int" in str(caught.value)
    await each_store.save("volume", 7)
    for call in calls[:1] + calls[2:4] + calls[5:]:
        with pytest.raises(ConfigurationError):
            await call()


# -- keys of several names ---------------------------------------------------------------------------


PARTS = st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=8), min_size=1, max_size=5)


@settings(max_examples=200, database=None, deadline=None)
@given(PARTS, PARTS)
def test_joined_parts_come_apart_again(left, right):
    """Any parts, empty ones too, make a key of their own, which is split into just these."""
    key = join_key(*left)
    assert is_key(key)
    assert split_key(key) == tuple(left)
    assert (join_key(*right) == key) == (left == right)
    assert join_key(*left, *right) == f"{key}/{join_key(*right)}"


@pytest.mark.parametrize("key", ["a//b", "/", "a/", "50%", "%2f", "%41", "a\tb", "%%"])
def test_what_join_key_never_makes_is_not_split(key):
    """A key that was made otherwise is refused, not split into what would be joined into another."""
    assert is_key(key)
    with pytest.raises(InvalidKeyError, match="not made by join_key"):
        split_key(key)


@pytest.mark.parametrize("parts", [(), (5,), ("a", None), ("x" * 1025,), ("\ud800",)])
def test_what_makes_no_key_is_refused(parts):
    """No part, what is not text, what is too long, what has no UTF-8 form."""
    with pytest.raises(InvalidKeyError):
        join_key(*parts)


@pytest.mark.parametrize("text", ["", "a\0", "\ud800", "\x01store", "x" * 1025, 5, None, b"a"])
def test_what_is_no_key(text):
    """is_key says so of everything that the verbs refuse."""
    assert not is_key(text)


async def test_names_are_joined_as_namespaces_and_collections_join_them(each_store):
    """The keys of a collection are those of join_key, so that both can be used side by side."""
    await each_store.namespace("a/b").collection("c%", int).put("d e", 5)
    assert await each_store.load(join_key("a/b", "c%", "d e"), int) == 5
