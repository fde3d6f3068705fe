"""What is public: a few names at the top, all there, all explained."""

import ast
import importlib
import inspect
import pkgutil
import sys
from enum import Enum
from pathlib import Path

import pytest

import axiom_persistence
from axiom_persistence import errors
from axiom_persistence.persistence import persistence as persistence_module

TOP_LEVEL_MAX = 34  # beside the errors
MODULES = [
    info.name
    for info in pkgutil.walk_packages(axiom_persistence.__path__, "axiom_persistence.")
    if not info.name.endswith(("__main__", "_windows_files"))
]
# The command line is used by its commands, not imported.
PUBLIC = [name for name in MODULES if "._" not in name and ".cli" not in name]


def test_the_top_level_is_what_it_says():
    """__all__, dir() and what can be got agree, and are few: every error, and at most 34 names more."""
    names = axiom_persistence.__all__
    assert len(names) == len(set(names))
    assert set(names) >= {name for name in errors.__all__ if name.endswith("Error")}
    assert len(set(names) - set(errors.__all__)) <= TOP_LEVEL_MAX
    for name in names:
        assert getattr(axiom_persistence, name) is not None
        assert name in dir(axiom_persistence)
    scope = {}
    exec("from axiom_persistence import *", scope)
    assert set(names) <= set(scope)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = axiom_persistence.nothing


def test_type_checkers_see_the_same_names():
    """The block for type checkers names exactly what is handed out lazily, from the same places."""
    tree = ast.parse(inspect.getsource(axiom_persistence))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    assert ast.unparse(block.test) == "TYPE_CHECKING"
    seen = {alias.name: line.module for line in block.body for alias in line.names}
    assert seen == axiom_persistence._HOMES


@pytest.mark.parametrize("name", MODULES)
def test_what_a_module_exports_is_there(name):
    """Every name in a module's __all__ exists, once."""
    module = importlib.import_module(name)
    exported = getattr(module, "__all__", [])
    assert len(exported) == len(set(exported))
    for export in exported:
        assert hasattr(module, export), f"{name}.{export}"


def taken_from_each_other():
    """What modules of the package import by name from each other: (module that does, home, name)."""
    package = Path(axiom_persistence.__file__).parent
    for path in sorted(package.rglob("*.py")):
        here = ["axiom_persistence", *path.relative_to(package).parts[:-1]]
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.level:
                base = here[: len(here) - node.level + 1]
                home = ".".join([*base, node.module] if node.module else base)
                for alias in node.names:
                    if home in MODULES and f"{home}.{alias.name}" not in MODULES:
                        yield ".".join((*here, path.stem)), home, alias.name


def test_a_module_exports_what_others_take_from_it():
    """Nothing is imported that its home does not name in __all__: that list is all there is to be used."""
    taken = list(taken_from_each_other())
    assert len(taken) > 500
    assert [
        (user, f"{home}.{name}")
        for user, home, name in taken
        if name not in getattr(importlib.import_module(home), "__all__", ())
    ] == []


def public_things():
    """Every public class and function, and the methods of what is at the top: (name, object)."""
    for name in PUBLIC:
        module = importlib.import_module(name)
        for export in getattr(module, "__all__", []):
            thing = getattr(module, export)
            if inspect.isclass(thing) or inspect.isfunction(thing):
                yield f"{name}.{export}", thing
    for name in axiom_persistence.__all__:
        thing = getattr(axiom_persistence, name)
        if (
            inspect.isclass(thing)
            and not getattr(thing, "_is_protocol", False)
            and not issubclass(thing, Enum)
        ):
            for attribute, member in vars(thing).items():
                if not attribute.startswith("_") and (callable(member) or isinstance(member, property)):
                    yield f"{name}.{attribute}", getattr(thing, attribute)


def test_everything_public_is_explained():
    """Every public class, function and method has a docstring, its own or inherited."""
    assert [name for name, thing in public_things() if not (inspect.getdoc(thing) or "").strip()] == []
    assert sum(1 for _ in public_things()) > 150


def test_docstrings_begin_with_one_line_that_promises():
    """The first line stands alone and is a sentence."""
    for name, thing in public_things():
        first, *rest = (inspect.getdoc(thing) or "").split("\n")
        assert len(first) <= 110, name
        assert not rest or rest[0] == "" or not first.endswith((",", ":")), name


def test_the_protocol_and_the_class_have_the_same_verbs():
    """Every member of PersistenceCapability is a member of AdapterBasedPersistence, with its parameters."""
    protocol, concrete = axiom_persistence.PersistenceCapability, persistence_module.AdapterBasedPersistence
    for name in [name for name in vars(protocol) if not name.startswith("_")]:
        assert hasattr(concrete, name), name
        wanted = getattr(protocol, name)
        if inspect.isfunction(wanted):
            asked = list(inspect.signature(wanted).parameters)
            given = list(inspect.signature(getattr(concrete, name)).parameters)
            assert given[: len(asked)] == asked, name


def test_python_is_recent_enough():
    """The package says which Python it needs, and this is one."""
    assert sys.version_info >= (3, 11)
