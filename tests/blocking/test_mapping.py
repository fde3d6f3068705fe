"""A dict that stays behaves like a dict, by CPython's own tests, and stays."""

import importlib
import unittest
from dataclasses import dataclass

import pytest

from axiom_persistence import AdapterBasedPersistence, InvalidKeyError, TypeMismatchError
from axiom_persistence.blocking import Persistence, open_persistence
from axiom_persistence.storage.basic import BasicAdapter


@dataclass
class Window:
    width: int


@pytest.fixture(params=["memory:", "s.db", "./files"])
def persistence(request, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with open_persistence(request.param) as opened:
        yield opened


@pytest.mark.parametrize("where", ["s.db", "./files"])
def test_it_passes_the_mapping_tests_of_cpython(where, tmp_path, monkeypatch):
    """BasicTestMappingProtocol, which every mapping of the standard library passes, over SQLite and files."""
    try:
        cases = importlib.import_module("test.mapping_tests").BasicTestMappingProtocol
    except ImportError:
        pytest.skip("this Python was installed without its own tests")
    monkeypatch.chdir(tmp_path)
    made = iter(range(1000))

    with open_persistence(where) as persistence:

        class Case(cases):
            def type2test(self):
                return persistence.mapping(f"m{next(made)}")

            def _reference(self):
                return {"1": "2", "key1": "value1", "key2": [1, 2, 3]}  # JSON has no tuples

        result = unittest.TestResult()
        unittest.defaultTestLoader.loadTestsFromTestCase(Case).run(result)
    assert result.testsRun >= 10
    assert [text for _, text in result.failures + result.errors] == []


def test_it_stays(tmp_path):
    """What was put in is there in the next process, under keys of its name."""
    with open_persistence(tmp_path / "s.db") as persistence:
        settings = persistence.mapping("settings")
        settings["theme"] = "dark"
        settings |= {"size": [800, 600], "a/b": None, "": 0}
    with open_persistence(tmp_path / "s.db") as persistence:
        assert persistence.mapping("settings") == {"theme": "dark", "size": [800, 600], "a/b": None, "": 0}
        assert list(persistence.mapping("settings")) == ["", "a/b", "size", "theme"]
        assert persistence.load("settings/theme", str) == "dark"
        assert persistence.namespace("settings").load("theme", str) == "dark"


def test_values_of_one_type(persistence):
    """With a type, what goes in and comes out is of that type."""
    windows = persistence.mapping("windows", Window)
    windows["main"] = Window(800)
    assert windows["main"] == Window(800)
    with pytest.raises(TypeMismatchError):
        windows["main"] = 5
    persistence.save("windows/odd", "text")
    with pytest.raises(TypeMismatchError):
        windows.get("odd")


@pytest.mark.parametrize("key", [5, None, ("a",), "x" * 2000, "\ud800"])
def test_what_is_no_key_is_in_no_mapping(persistence, key):
    """Looking for it finds nothing, as in a dict; putting it in is refused."""
    settings = persistence.mapping("settings")
    assert key not in settings
    assert settings.get(key) is None
    with pytest.raises(KeyError):
        del settings[key]
    with pytest.raises(InvalidKeyError):
        settings[key] = 1
    assert len(settings) == 0


def test_mappings_keep_apart(persistence):
    """clear empties one of them; what lies beside it stays, also what begins alike."""
    one, two = persistence.mapping("one"), persistence.mapping("one ")
    one.update(a=1, b=2)
    two["a"] = 3
    persistence.save("one", 4)
    one.clear()
    assert (dict(one), dict(two), persistence.load("one", int)) == ({}, {"a": 3}, 4)


def test_an_expired_value_is_not_there(persistence):
    """In no way of looking at a dict."""
    settings = persistence.mapping("settings")
    settings["a"] = 1
    now = persistence.inner._opened.clock() + 10
    assert persistence.touch("settings/a", ttl=5)
    persistence.inner._opened.clock = lambda: now
    assert "a" not in settings
    assert (len(settings), bool(settings), list(settings.items()), settings.pop("a", None)) == (
        0,
        False,
        [],
        None,
    )
    with pytest.raises(KeyError):
        settings["a"]


def test_update_is_one_commit_or_one_by_one(tmp_path):
    """Where the adapter is atomic, a value that cannot be stored keeps all of them out."""

    class Simple(BasicAdapter):
        def __init__(self):
            super().__init__()
            self.kept = {}

        async def read(self, key):
            return self.kept.get(key)

        async def write(self, key, data):
            self.kept[key] = data

        async def delete(self, key):
            self.kept.pop(key, None)

        async def keys(self, prefix="", *, after=None, limit=None, reverse=False):
            found = sorted((k for k in self.kept if k.startswith(prefix)), reverse=reverse)
            for key in [k for k in found if after is None or (k < after if reverse else k > after)][:limit]:
                yield key

    with open_persistence("memory:") as persistence, Persistence(AdapterBasedPersistence(Simple())) as simple:
        for each, left in ((persistence, {}), (simple, {"a": 1})):
            mapping = each.mapping("m")
            with pytest.raises(ValueError, match="object"):
                mapping.update(a=1, b=object())
            assert dict(mapping) == left
