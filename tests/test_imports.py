"""Imports point down, files and functions stay small, and the core pulls in nothing it does not need."""

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

import axiom_persistence

PACKAGE = Path(__file__).parents[1] / "src" / "axiom_persistence"
FILES = sorted(PACKAGE.rglob("*.py"))

# A folder or module of the top level, and its rank: it imports lower ranks only. docs/design.md draws them.
# The command line uses testing/ (its demo is the torture), which tests the blocking face too.
ORDER = (
    ("errors",),
    ("records",),
    ("keys", "runtime", "platform"),
    ("storage",),
    ("adapters", "security"),
    ("layers", "store"),
    ("jobs",),
    ("sync",),
    ("persistence",),
    ("client", "opening"),
    ("blocking",),
    ("testing",),
    ("cli",),
    ("__init__", "__main__"),
)
RANKS = {name: rank for rank, names in enumerate(ORDER) for name in names}
TO_COME = set[str]()
# What everybody in its folder may import.
BASES = {
    "records/codec",
    "records/record",
    "storage/adapter",
    "storage/listing",
    "platform/filesystem",
    "platform/making",
    "platform/preferences",
    "platform/secrets",
    "platform/ubiquitous",
    "persistence/capability",
    "jobs/walk",
    "security/audit",
    "security/cipher",
    "security/keys",
    "security/presence",
    "cli/base",
}
# What may import its neighbours, beside the file that is named like its folder.
FACES = {"opening/open", "platform/local", "cli/app", "client/manager"}
LINES_MAX = 450
FUNCTION_LINES_MAX = 50


def name_of(path):
    """layers/cached.py as "layers/cached", layers/__init__.py as "layers"."""
    name = path.relative_to(PACKAGE).with_suffix("").as_posix()
    return name.removesuffix("/__init__")


def imported(path, source):
    """The modules of this package that a file imports, wherever in it, type checking included."""
    here = list(path.relative_to(PACKAGE).parts[:-1])
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            named = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level:
            base = here[: len(here) - node.level + 1] + (node.module.split(".") if node.module else [])
            named = [".".join(["axiom_persistence", *base, alias.name]) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            named = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "import_module":
            first = node.args[0]
            named = [f"axiom_persistence{first.value}"] if isinstance(first, ast.Constant) else []
        else:
            continue
        for full in named:
            if full.split(".")[0] == "axiom_persistence":
                yield module_at(full.split(".")[1:])


def module_at(parts):
    """The longest beginning of the dotted name that is a file or folder, or where a top-level name lives."""
    for size in range(len(parts), 0, -1):
        place = PACKAGE.joinpath(*parts[:size])
        if place.with_suffix(".py").exists() or place.is_dir():
            return "/".join(parts[:size])
    return axiom_persistence._HOMES.get(parts[0] if parts else "", "__init__").replace(".", "/")


def upward(path, source):
    """The imports of a file that do not point down."""
    name = name_of(path)
    folder = name.split("/")[0]
    for target in imported(path, source):
        top = target.split("/")[0]
        if folder != top:
            if RANKS[folder] <= RANKS[top]:
                yield f"{name} imports {target}, which is no lower than itself"
        elif path.name != "__init__.py" and folder != "testing":
            inside = target.split("/")[1:]
            shared = target in BASES or any(part.startswith("_") for part in inside)
            face = name in FACES or name == f"{folder}/{folder}"
            if inside and not shared and not face and target != name:
                yield f"{name} imports its neighbour {target}"


def circles(sources):
    """Modules that import each other, in whatever way and wherever in their text, as one line a circle.

    So no import stands inside a function only because it would not work at the top of the file.
    """
    graph = {
        name_of(path): {
            t for t in imported(path, text) if t != name_of(path) and (PACKAGE / f"{t}.py").exists()
        }
        for path, text in sources.items()
    }
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return [" -> ".join(error.args[1])]
    return []


def sources():
    return {path: path.read_text(encoding="utf-8") for path in FILES}


def test_imports_point_down():
    """A file imports lower ranks only; inside a folder only its base and what begins with an underscore."""
    assert [line for path, text in sources().items() for line in upward(path, text)] == []


def test_no_modules_import_each_other():
    """There is no circle, not even one that an import inside a function or for type checkers would hide."""
    assert circles(sources()) == []


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("storage/adapter.py", "from ..store.store import Store"),
        ("storage/adapter.py", "from .. import store"),
        ("errors.py", "from axiom_persistence.keys import Key"),
        ("errors.py", "import axiom_persistence.keys"),
        (
            "store/store.py",
            "if TYPE_CHECKING:\n    from ..persistence.persistence import AdapterBasedPersistence",
        ),
        ("store/store.py", "def late():\n    from ..opening.open import open_persistence"),
        ("store/store.py", "import_module('.opening.open', __package__)"),
        ("store/store.py", "from ..layers.cached import Cached"),
        ("layers/cached.py", "from ..store.store import Store"),
        ("keys.py", "from .runtime.turn import Turn"),
        ("records/record.py", "from ..storage.adapter import Stored"),
        ("adapters/sqlite.py", "from ..layers.cached import Cached"),
        ("adapters/sqlite.py", "from .memory import MemoryAdapter"),
        ("layers/cached.py", "from ..layers import prefixed"),
        ("persistence/persistence.py", "from axiom_persistence import open_persistence"),
    ],
)
def test_an_import_upwards_or_sideways_is_found(file, line):
    """The rule finds every way to write an import that does not point down."""
    assert len(list(upward(PACKAGE / file, line))) == 1


def test_a_planted_circle_is_found():
    """One that lies inside a folder, through three files, with its last import inside a function."""
    planted = sources()
    for file, line in (
        ("adapters/_sqlite/reader.py", "from .writer import Writer"),
        ("adapters/_sqlite/wal.py", "def late():\n    from .checkpoint import Checkpointer"),
    ):
        assert circles(planted) == []
        text = planted[PACKAGE / file]
        planted[PACKAGE / file] = f"{text}\n{line}\n"
        found = circles(planted)
        planted[PACKAGE / file] = text
        if file.endswith("reader.py"):
            assert len(found) == 1
            assert "adapters/_sqlite/reader" in found[0]


def test_every_module_has_a_rank():
    """A new module or folder gets its place in the table above, and a gone one leaves it."""
    there = {name_of(path).split("/")[0] for path in FILES} - {"."} | {"__init__"}
    assert there == set(RANKS) - TO_COME


def test_the_top_level_is_folders():
    """Every folder says in one sentence what it is; beside them stand the errors and the keys."""
    assert {path.name for path in PACKAGE.iterdir() if path.is_file()} == {
        *("__init__.py", "__main__.py", "errors.py", "keys.py", "py.typed")
    }
    for path in FILES:
        if path.name == "__init__.py":
            assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), path


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_files_and_functions_stay_small(path):
    """A file has at most 450 lines, a function fewer than 50."""
    source = path.read_text(encoding="utf-8")
    assert source.count("\n") <= LINES_MAX
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            assert node.end_lineno - node.lineno < FUNCTION_LINES_MAX, node.name


def loaded_after(program):
    """The names of the modules that a new interpreter has loaded after running ``program``."""
    done = subprocess.run(
        [sys.executable, "-c", f"{program}\nimport sys\nprint(*sys.modules)"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return set(done.stdout.split())


EXTRAS = {"click", "rich", "pydantic", "attrs", "attr", "watchfiles", "pytest", "hypothesis"}


def test_the_core_pulls_in_no_extra(tmp_path):
    """Importing, opening, saving and loading loads no optional package and neither tests nor clients."""
    program = (
        "import asyncio, axiom_persistence\n"
        "from axiom_persistence import open_persistence, MemoryAdapter, FileStorageAdapter\n"
        "async def main(where):\n"
        "    async with open_persistence(where) as persistence:\n"
        "        await persistence.save('k', {'n': 1})\n"
        "        assert await persistence.load('k', dict) == {'n': 1}\n"
        f"for where in ({str(tmp_path / 'x.db')!r}, {str(tmp_path / 'x')!r}, 'memory:'):\n"
        "    asyncio.run(main(where))\n"
    )
    loaded = loaded_after(program)
    assert "axiom_persistence.adapters.sqlite" in loaded
    assert not {name.split(".")[0] for name in loaded} & EXTRAS
    ours = {name.removeprefix("axiom_persistence.").split(".")[0] for name in loaded if "axiom_" in name}
    assert not ours & {"testing", "cli", "blocking", "client"}


# What opening an SQLite store and loading one value has loaded beyond asyncio, sqlite3 and msgspec.
# Every name here is paid for by each start: think twice, and measure, before it gets longer.
AT_START = {
    "",
    *[".errors", ".keys", ".runtime", ".runtime.ending", ".runtime.faces"],
    *[".runtime.threads", ".runtime.turn", ".platform"],
    *[".platform.making", ".platform.mounts"],
    *[
        ".storage",
        ".storage.adapter",
        ".storage._foreign",
        ".storage.basic",
        ".storage.layer",
        ".storage.listing",
        ".storage.delivery",
        ".storage.generations",
    ],
    *[
        ".records",
        ".records.record",
        ".records._subject",
        ".records.head",
        ".records.codec",
        ".records.corruption",
    ],
    *[".records._checks", ".records._lines", ".records._refusals", ".records._secret", ".records._types"],
    *[".records.migrations", ".records.unknown"],
    *[".adapters", ".adapters.sqlite", ".adapters._sqlite"],
    *(f".adapters._sqlite.{part}" for part in ["batch", "checkpoint", "commits", "errors", "file", "fork"]),
    *(f".adapters._sqlite.{part}" for part in ["lock", "mark", "medium", "reader", "room"]),
    *(
        f".adapters._sqlite.{part}"
        for part in ["schema", "sharing", "transactions", "wal", "witness", "writer"]
    ),
    *[
        ".layers",
        ".layers.cached",
        ".layers._cache",
        ".layers._cache.entries",
        ".layers._cache.policy",
        ".layers._cache.write_back",
    ],
    *[".layers.observed", ".store", ".store.store"],
    *(f".store.{part}" for part in ["_decoded", "_expiring", "_header", "_kept", "_options", "_reading"]),
    *[".store._recovery", ".store._standing", ".store._tagged", ".store.describe"],
    *[".persistence", ".persistence._arguments", ".persistence._maintenance", ".persistence.capability"],
    *[".persistence.persistence", ".persistence._several", ".persistence._turns", ".persistence._values"],
    *[".persistence._archives", ".persistence._audits", ".persistence._privacy", ".persistence._quarantine"],
    *[".persistence._snapshots", ".persistence._watching"],
    *[".jobs", ".jobs._schedule", ".runtime.upkeep", ".opening._chores"],
    *[".opening", ".opening._stack", ".opening.addresses", ".opening.open"],
}
OTHERS_AT_START = {
    "xxhash",
    "xxhash._xxhash",
    "xxhash.version",
    "dataclasses",
    "copy",
    "mmap",
    "bisect",
    "_bisect",
}


def test_a_cold_start_loads_no_more_than_it_needs(tmp_path):
    """Import, open and first load bring in the modules named above, and no other, ours or anybody's."""
    program = (
        "import asyncio\n"
        "from axiom_persistence import open_persistence\n"
        "async def main():\n"
        f"    async with open_persistence({'sqlite:' + str(tmp_path / 'x.db')!r}) as persistence:\n"
        "        if not await persistence.load('k', dict[str, int]):\n"
        "            await persistence.save('k', {'n': 1})\n"
        "asyncio.run(main())\n"
    )
    loaded_after(program)  # makes the store
    loaded = loaded_after(program) - loaded_after("import asyncio, sqlite3, msgspec")
    ours = {f"axiom_persistence{name}" for name in AT_START}
    assert "axiom_persistence.adapters.sqlite" in loaded
    assert loaded - ours - OTHERS_AT_START - set(sys.builtin_module_names) == set()


def test_importing_the_package_loads_nothing_of_it():
    """import axiom_persistence costs next to nothing: each name is loaded when it is first used."""
    loaded = loaded_after("import axiom_persistence")
    assert {name for name in loaded if name.startswith("axiom_persistence")} == {"axiom_persistence"}
    assert "asyncio" not in loaded
    assert "msgspec" not in loaded


def test_memory_needs_no_database():
    """What is not used is not loaded: a store in memory needs no SQLite."""
    program = "from axiom_persistence import open_persistence; open_persistence('memory:')"
    assert "sqlite3" not in loaded_after(program)
