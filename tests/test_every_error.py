"""Every error of the library in ordinary use: its class, its whole message, and what no message may lack."""

import ast
import asyncio
import gc
import importlib
import inspect
import re
import sys
import traceback
import warnings
from pathlib import Path

import pytest

import axiom_persistence
from axiom_persistence import blocking, errors
from axiom_persistence.errors import PersistenceError
from support.errors import CASES, MARK, NUMBER, World, told
from support.errors.rare import RARE

AREAS = (
    *("values", "verbs", "clients", "places", "copies", "erasing", "audits", "desktop", "migrations"),
    *("servers", "icloud", "syncing", "blocking"),
)
for area in AREAS:
    importlib.import_module(f"support.errors.{area}")

PACKAGE = Path(axiom_persistence.__file__).parent
CLASSES = {name for name in errors.__all__ if name[0].isupper()} | {"from_os_error"}


def sites():
    """Where an error of ours is made: file, function and class, and the lines of the call."""
    for path in sorted(PACKAGE.rglob("*.py")):
        file = path.relative_to(PACKAGE).as_posix()
        if file != "errors.py" and not file.startswith(("cli/", "testing/")):  # these have their own tests
            yield from sites_in(file, path.read_text(encoding="utf-8"))


def sites_in(file, source):
    def walk(node, names):
        for child in ast.iter_child_nodes(node):
            inner = [*names, child.name] if isinstance(child, FUNCTIONS) else names
            if isinstance(child, ast.Call):
                called = getattr(child.func, "id", getattr(child.func, "attr", ""))
                if called in CLASSES:
                    yield f"{file}::{'.'.join(inner)}::{called}", child.lineno, child.end_lineno
            yield from walk(child, inner)

    yield from walk(ast.parse(source), [])


FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


class Outcome:
    """What a case raised, and where errors of ours were made meanwhile."""

    def __init__(self, case, error, behind, world):
        self.case = case
        self.behind = behind
        self.error = error
        self.message = told(error, world)
        self.hint = getattr(error, "hint", "")


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """All cases, run one after the other, and every line at which an error was made."""
    made = set()
    original = PersistenceError.__init__

    def noting(self, *args, **kwargs):
        original(self, *args, **kwargs)
        frame = sys._getframe(1)
        while frame.f_code.co_filename == errors.__file__:
            frame = frame.f_back
        made.add((frame.f_code.co_filename, frame.f_lineno))

    found = []
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        # Of what a mistake leaves unclosed, and a coroutine that it forgets.
        warnings.simplefilter("ignore")
        patch.setattr(PersistenceError, "__init__", noting)
        patch.delenv(errors.SHOW_VALUES, raising=False)
        for case in CASES:
            with pytest.MonkeyPatch.context() as own:
                world = World(tmp_path_factory.mktemp("world"), own)
                found.append(Outcome(case, *raised(case, world), world))
        gc.collect()
    return found, made


def raised(case, world):
    try:
        acted = case.act(world)
        if inspect.iscoroutine(acted):
            asyncio.run(acted)
    except Exception as error:
        behind = quoted_behind(error)
        # Without what it holds on to: the frames, and the stores and clients in them.
        error.__cause__ = error.__context__ = None
        return error.with_traceback(None), behind
    return AssertionError("nothing was raised"), []


def quoted_behind(error):
    """The causes and contexts that quote a value, and are not what the case itself raises."""
    found, pending, seen = [], [error.__cause__, error.__context__], set()
    while pending:
        each = pending.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        pending += [each.__cause__, each.__context__]
        *_, last = traceback.walk_tb(each.__traceback__)
        own = "support/errors" in last[0].f_code.co_filename
        if not own and (MARK in str(each) or str(NUMBER) in str(each)):
            found.append(type(each).__name__)
    return found


def names(found):
    return [f"{each.case.act.__module__.rpartition('.')[2]}.{each.case.act.__name__}" for each in found]


def test_each_says_what_the_table_says(outcomes):
    """The class and the whole message of each mistake."""
    wrong = {
        name: (type(each.error).__name__, each.message)
        for each, name in zip(outcomes[0], names(outcomes[0]), strict=True)
        if type(each.error) is not each.case.kind or each.message != each.case.message
    }
    assert wrong == {}


def test_each_names_the_key_and_the_place(outcomes):
    """The key where it concerns one, as an attribute and in the words; the store where there is one."""
    lacking = []
    for each, name in zip(outcomes[0], names(outcomes[0]), strict=True):
        if each.case.key is not None and (
            each.error.key != each.case.key or repr(each.case.key)[1:-1] not in str(each.error)
        ):
            lacking.append((name, "key", each.error.key))
        if each.case.place and (each.error.adapter is None or "[in " not in each.message):
            lacking.append((name, "place", each.error.adapter))
    assert lacking == []


def test_each_names_a_way_out(outcomes):
    """Where there is one; the table says why there is none."""
    without = [
        name
        for each, name in zip(outcomes[0], names(outcomes[0]), strict=True)
        if bool(each.hint) is bool(each.case.no_hint)
    ]
    assert without == []


def test_none_shows_a_value(outcomes):
    """Neither what is stored nor what was passed, nor a password of an address."""
    showing = [
        (name, each.message)
        for each, name in zip(outcomes[0], names(outcomes[0]), strict=True)
        if MARK in str(each.error) or str(NUMBER) in str(each.error) or MARK in each.hint
    ]
    assert showing == []


QUOTE_AN_OPTION = {
    "verbs.ask_for_a_durability_that_is_none",
    "verbs.a_choice_for_damage_that_is_none",
    "places.answer_damage_with_nothing",
    "values.load_what_post_init_refuses",  # its own words, in which msgspec wraps them
    "values.load_with_the_default_in_its_place",
    "values.save_by_an_adapter_that_refuses",
}
"""What was given in place of an option, or what pydantic says of a serializer of the case: nothing stored."""


def test_none_has_a_value_behind_it(outcomes):
    """Nor does a cause or a context show what is stored, but for what a function of the user raises."""
    showing = {
        name: each.behind for each, name in zip(outcomes[0], names(outcomes[0]), strict=True) if each.behind
    }
    assert {name: behind for name, behind in showing.items() if name not in QUOTE_AN_OPTION} == {}


def test_none_names_what_is_not_there(outcomes):
    """Every ``option=`` and every ``verb(`` of a message is one of a public function."""
    options, verbs = offered()
    unknown = []
    for each, name in zip(outcomes[0], names(outcomes[0]), strict=True):
        for verb in re.findall(r"\b([a-z_]+)\(", each.message):
            if verb not in verbs:
                unknown.append((name, f"{verb}("))
        for option in re.findall(r"\b([a-z_]+)=", each.message):
            if option not in options:
                unknown.append((name, f"{option}="))
    assert unknown == []


# What Python and the libraries beside us offer, and the names that stand for a user's own.
FOREIGN_VERBS = {
    "str",
    "list",
    "date",
    "array",
    "tolist",
    "item",
    "isoformat",
    "fromisoformat",
    "f",
    "toordinal",
}
FOREIGN_VERBS |= {"settings", "timedelta", "function", "save_settings", "super", "__init__", "new_key"}
FOREIGN_OPTIONS = {"tag", "hours", "target", *("sslmode", "store", "replicas", "endpoint", "plaintext")}


def offered():
    """The parameters and the names of everything public."""
    options, verbs = set(FOREIGN_OPTIONS), set(FOREIGN_VERBS)
    public = [getattr(axiom_persistence, name) for name in axiom_persistence.__all__]
    public += [getattr(blocking, name) for name in blocking.__all__]
    for module in ("records.codec", "security", "storage.basic", "layers.journaled", "layers.prefixed"):
        found = importlib.import_module(f"axiom_persistence.{module}")
        public += [getattr(found, name) for name in found.__all__]
    for each in public:
        own = [each] if callable(each) else []
        if inspect.isclass(each):
            own += [
                member
                for name, member in inspect.getmembers(each)
                if not name.startswith("_") and callable(member)
            ]
            own.append(each.__new__ if "__new__" in vars(each) else each.__init__)
        for function in own:
            verbs.add(getattr(function, "__name__", ""))
            try:
                options |= set(inspect.signature(function).parameters)
            except (TypeError, ValueError):  # of what is written in C
                continue
    return options, verbs


def test_the_blocking_face_speaks_its_own_spelling(outcomes):
    """Nobody without an event loop is told to await."""
    wrong = [
        (name, each.hint)
        for each, name in zip(outcomes[0], names(outcomes[0]), strict=True)
        if each.case.blocking and re.search(r"\b(await|async)\b", each.hint)
    ]
    assert wrong == []
    assert sum(each.case.blocking for each in outcomes[0]) > 15


def test_every_place_that_raises_is_reached(outcomes):
    """By a case, or it stands among the rare ones with its reason; and nothing stands there in vain."""
    made = outcomes[1]
    missed, reached = set(), set()
    for site, first, last in sites():
        file = str(PACKAGE / site.partition("::")[0])
        hit = any((file, line) in made for line in range(first, last + 1))
        (reached if hit else missed).add(site)
    assert sorted(missed - RARE.keys()) == []
    assert sorted(site for site in RARE if site not in missed | reached) == [], "these are gone"


def test_a_new_place_that_raises_is_missed():
    """One that nobody has put into the table is found, however the class is spelt."""
    planted = (
        "def verb():\n    raise ConflictError('x')\n"
        "class A:\n    def b(self):\n        return errors.StorageError('y')\n"
    )
    found = [site for site, *_ in sites_in("planted.py", planted)]
    assert found == ["planted.py::verb::ConflictError", "planted.py::A.b::StorageError"]
