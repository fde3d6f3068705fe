"""Options that a hint of an error names can be given where the reader opened his store."""

import ast
import inspect
import re
from pathlib import Path

import pytest

import axiom_persistence
from axiom_persistence import (
    FileStorageAdapter,
    MemoryAdapter,
    SQLiteAdapter,
    blocking,
    open_persistence,
)
from axiom_persistence.errors import ConfigurationError

SOURCE = Path(axiom_persistence.__file__).parent
OPENED = {*inspect.signature(open_persistence).parameters}
OF_ADAPTERS = {
    name
    for adapter in (SQLiteAdapter, FileStorageAdapter)
    for name in inspect.signature(adapter).parameters
    if name not in ("path", "directory")
}


def hints():
    """Every text that an error of the library has as its hint."""
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.keyword) and node.arg == "hint":
                parts = [str(each.value) for each in ast.walk(node.value) if isinstance(each, ast.Constant)]
                yield f"{path.relative_to(SOURCE)}:{node.value.lineno}", "".join(parts)


def test_an_option_in_a_hint_is_one_of_open_persistence():
    """Unless the hint names the adapter whose option it is, or spells out a function to be written."""
    found = list(hints())
    assert len(found) > 100
    wrong = [
        f"{place}: {name} in {hint!r}"
        for place, hint in found
        for name in OF_ADAPTERS - OPENED
        if re.search(rf"(?<!['\"])(?<!\*, )\b{name}\b(?!['\"])", hint)
        and not re.search(r"\w+Adapter\(", hint)
    ]
    assert wrong == []
    assert any("exclusive=" in hint for _, hint in found)


def test_both_faces_take_the_same_options():
    assert {*inspect.signature(blocking.open_persistence).parameters} == OPENED


async def test_exclusive_goes_to_the_sqlite_file(tmp_path, monkeypatch):
    monkeypatch.setenv("AXIOM_PERSISTENCE_HOME", str(tmp_path / "home"))
    for where in (tmp_path / "a.db", f"sqlite:{tmp_path}/b.db", "notes"):
        async with open_persistence(where, exclusive=True) as persistence:
            await persistence.save("a", 1)
            assert persistence.adapter.traits.shared is False
            assert not list(tmp_path.rglob("*-shm"))
    with blocking.open_persistence(tmp_path / "a.db", exclusive=True) as persistence:
        assert persistence.load("a", int) == 1


@pytest.mark.parametrize("where", ["memory:", "file:notes", MemoryAdapter(), SQLiteAdapter("a.db")])
def test_exclusive_is_refused_where_there_is_no_such_thing(where):
    with pytest.raises(ConfigurationError, match="exclusive=True is for"):
        open_persistence(where, exclusive=True)
