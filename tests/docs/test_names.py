"""What a user can name is on a page: names, errors, commands, extras and environment variables."""

import importlib
import re
import tomllib
from pathlib import Path

import pytest

from axiom_persistence import errors

ROOT = Path(__file__).parents[2]
PAGES = "\n".join(
    page.read_text(encoding="utf-8") for page in [ROOT / "README.md", *ROOT.glob("docs/**/*.md")]
)
WORDS = set(re.findall(r"\w+", PAGES))
# The modules that programs import from, as `import axiom_persistence.…`.
MODULES = ["", ".adapters.icloud", ".adapters.keychain", ".adapters.preferences", ".blocking"]
MODULES += [".client", ".security", ".storage", ".sync", ".testing", ".testing.plugin", ".jobs.walk"]
WHOLE = re.findall(r"\.\. automodule:: (\S+)", PAGES)


def on_no_page(names):
    return sorted(name for name in names if name not in WORDS)


@pytest.mark.parametrize("module", MODULES)
def test_public_names(module):
    """Those of a module that the reference has as a whole are in it by themselves."""
    name = f"axiom_persistence{module}"
    if name not in WHOLE:
        assert on_no_page(importlib.import_module(name).__all__) == []


def test_errors():
    """Each has its line in the page about errors, too."""
    table = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    classes = [name for name in errors.__all__ if name.endswith("Error")]
    assert [name for name in classes if f"| `{name}` |" not in table and name != "PersistenceError"] == []
    assert on_no_page(classes) == []


def test_extras():
    """Each has its line in the table of extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    table = (ROOT / "docs" / "reference" / "index.md").read_text(encoding="utf-8")
    assert [name for name in project["optional-dependencies"] if f"| `{name}` |" not in table] == []


def test_environment_variables():
    """Whatever the source reads from the environment under the library's name."""
    source = "\n".join(file.read_text(encoding="utf-8") for file in (ROOT / "src").rglob("*.py"))
    variables = set(re.findall(r"\b_?AXIOM_PERSISTENCE_[A-Z_]+\b", source))
    assert len(variables) >= 4
    assert on_no_page(variables) == []


def test_commands():
    """Each has a heading on the page of the command line."""
    from axiom_persistence.cli.app import app

    page = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")
    for name, command in app.commands.items():
        assert f"\n### {name}\n" in page
        for part in getattr(command, "commands", {}):
            assert f"\n### {name} {part}\n" in page


def test_examples():
    """Each program in the folder has its line in the index."""
    index = (ROOT / "docs" / "examples.md").read_text(encoding="utf-8")
    programs = [file.name for file in (ROOT / "examples").glob("*.py")]
    assert [name for name in programs if f"| [{name}](../examples/{name}) |" not in index] == []


def test_verbs():
    """All that a persistence, a collection and a transaction can do is on a page, and in the reference."""
    from axiom_persistence import AdapterBasedPersistence
    from axiom_persistence.persistence.collection import Collection
    from axiom_persistence.persistence.transaction import Transaction

    for kind in (AdapterBasedPersistence, Collection, Transaction):
        assert on_no_page(name for name in dir(kind) if not name.startswith("_")) == []


def test_a_name_on_no_page_is_noticed():
    assert on_no_page(["save", "no_such_verb_at_all"]) == ["no_such_verb_at_all"]
