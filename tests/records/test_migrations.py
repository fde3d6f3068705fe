"""The steps by themselves: which way data takes, and that what leads back does."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from axiom_persistence import Migrations
from axiom_persistence.errors import ConfigurationError, MigrationError
from axiom_persistence.records.migrations import order
from axiom_persistence.records.record import Record

NAMES = st.sampled_from(["a", "b", "c", "d"])
VALUES = st.dictionaries(NAMES, st.integers(-9, 9) | st.text("abé", max_size=3) | st.booleans(), max_size=4)
# A step renames a field or wraps the value; each has its way back.
STEPS = st.lists(st.tuples(st.sampled_from(["rename", "wrap"]), NAMES, NAMES), min_size=1, max_size=6)


def step_of(kind, one, other):
    """A step and what leads back."""
    if kind == "wrap":
        return (lambda value: {"inside": value}), (lambda value: value["inside"])

    def swap(value):
        names = {one: other, other: one}
        return {names.get(name, name): field for name, field in value.items()}

    return swap, swap


@given(STEPS, VALUES)
def test_down_undoes_up(steps, value):
    """For chains of any steps and any data: down(up(x)) is x, at every version in between."""
    migrations = Migrations(f"{len(steps) + 1}.0")
    for number, step in enumerate(steps, 1):
        up, down = step_of(*step)
        migrations.value(f"{number}.0", f"{number + 1}.0", key="k", down=down, name=str(number))(up)
    for number in range(1, len(steps) + 2):
        version = f"{number}.0"
        there = migrations.up("k", msgspec.json.decode(msgspec.json.encode(value)), "1.0", version)
        whole = migrations.up("k", msgspec.json.decode(msgspec.json.encode(there)), version)
        assert whole == migrations.up("k", dict(value), "1.0")
        back = migrations.down("k", msgspec.json.decode(msgspec.json.encode(whole)), version)
        assert back == there
        assert migrations.down("k", back, "1.0", version) == value


def plain(current="4.0"):
    migrations = Migrations(current)
    migrations.value("1.0", "2.0", key="a")(lambda value: value + 1)
    migrations.value("2.1", "3.0", key="b*")(lambda value: value + 10)
    migrations.value("3.0", "4.0", key="a")(lambda value: value * 2)
    migrations.begin()
    return migrations


@pytest.mark.parametrize(
    ("key", "schema", "result"),
    [
        ("a", "1.0", 4),
        ("a", "2.0", 2),
        ("a", "2.1", 2),
        ("a", "4.0", 1),
        ("b", "1.0", 11),
        ("b", "2.1", 11),
        ("b", "3.0", 1),
        ("c", "1.0", 1),
    ],
)
def test_data_takes_one_way(key, schema, result):
    """Steps for other keys are passed by, a minor version goes up without one, a newer record stays."""
    assert plain().migrated(key, Record(schema, b"1")) == str(result).encode()


@pytest.mark.parametrize(("key", "label"), [("a", "4.0"), ("b", "3.0"), ("bc", "3.0"), ("c", "1.0")])
def test_a_record_says_when_its_form_changed(key, label):
    """The version of the last step that touches it."""
    assert plain().label(key) == label


def test_versions_are_numbers():
    """Compared as numbers, and nothing else is one."""
    assert order("1.10") > order("1.9")
    assert order("2") == order("2.0") < order("2.0.1")
    for wrong in ("", "1.x", "v1", "1.", None, 2):
        with pytest.raises(ConfigurationError, match="numbers with dots"):
            Migrations(wrong)


def test_steps_that_cannot_be():
    """Said where they are declared, or when they are first used."""
    migrations = Migrations("3.0")
    with pytest.raises(ConfigurationError, match="later one"):
        migrations.value("2.0", "1.0", key="a")(int)
    with pytest.raises(ConfigurationError, match="for keys or for a client"):
        migrations.value("1.0", "2.0")
    migrations.value("1.0", "2.0", key="a")(int)
    with pytest.raises(ConfigurationError, match="one step leads to"):
        migrations.value("1.0", "3.0", key="a")(int)
    with pytest.raises(ConfigurationError, match=r"end at 2\.0"):
        migrations.begin()
    used = plain()
    with pytest.raises(ConfigurationError, match="in use"):
        used.value("4.0", "5.0", key="a")(int)
    with pytest.raises(MigrationError, match=r"0\.5"):
        used.up("a", 1, "0.5")


def test_a_store_that_was_migrated_needs_no_old_steps():
    """With the version that every record has at least, steps up to it may be gone."""
    migrations = Migrations("4.0")
    migrations.value("3.0", "4.0", key="a")(lambda value: value * 2)
    assert migrations.migrated("a", Record("1.0", b"5"), "3.0") == b"10"
    with pytest.raises(MigrationError):
        migrations.migrated("a", Record("1.0", b"5"))
