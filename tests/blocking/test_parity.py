"""The blocking classes have every public name of the async ones, with the same parameters and types."""

import inspect
import pydoc
import re

import pytest

from axiom_persistence import AdapterBasedPersistence, MemoryAdapter, blocking
from axiom_persistence.client import Client
from axiom_persistence.persistence._collected import TransactionCollection
from axiom_persistence.persistence.collection import Collection
from axiom_persistence.persistence.transaction import Transaction

OTHER_NAMES = {
    (AdapterBasedPersistence, "activate"): "open",
    (AdapterBasedPersistence, "deactivate"): "close",
    (Client, "__aenter__"): "__enter__",
    (Client, "__aexit__"): "__exit__",
    (Collection, "__aiter__"): "__iter__",
}
OWN_RETURN = {"activate"}  # `open` returns the persistence, for `persistence = open_persistence(...).open()`
STREAMS = {
    "changes",
    "observe",
    "observe_prefix",
    "state_stream",
}  # take a timeout as well: they may wait for ever
NOT_TAKEN_OVER = {
    "aclose",  # for contextlib.aclosing, which awaits; `close` is for contextlib.closing
    "activation_timeout",  # set once, before opening: persistence.inner.activation_timeout
    "place",  # for clients: where their records go
}
PLAIN = [
    (r"\bAwaitable\[(\w+)\]", r"\1"),
    (r"\bAbstractAsyncContextManager\b", "AbstractContextManager"),
    (r"\bAsyncIterator\b", "Iterator"),
    (r"\bAdapterBasedPersistence\b", "Persistence"),
]
FACES = [
    (AdapterBasedPersistence, blocking.Persistence),
    (Collection, blocking.Collection),
    (Transaction, blocking.Transaction),
    (TransactionCollection, blocking.TransactionCollection),
    (Client, blocking.Client),
]


def plain(annotation: object) -> str:
    text = str(annotation)
    for pattern, replacement in PLAIN:
        text = re.sub(pattern, replacement, text)
    return text


def returned(function: object) -> str:
    """What a call of a blocking method gives, as the async one would say it."""
    text = re.sub(r"^Stream\b", "Iterator", str(inspect.signature(function).return_annotation))
    made_by_contextmanager = inspect.isgeneratorfunction(inspect.unwrap(function)) and not (
        inspect.isgeneratorfunction(function)
    )
    return re.sub("^Iterator", "AbstractContextManager", text) if made_by_contextmanager else text


def parameters(function: object) -> dict[str, tuple[object, object, str]]:
    found = inspect.signature(function).parameters.values()
    return {each.name: (each.kind, each.default, plain(each.annotation)) for each in found}


def function_differences(name: str, awaited: object, waiting: object) -> list[str]:
    found = []
    if inspect.iscoroutinefunction(waiting) or inspect.isasyncgenfunction(waiting):
        found.append(f"{name} still has to be awaited")
    theirs, ours = parameters(awaited), parameters(waiting)
    if name in STREAMS:
        theirs["timeout"] = (inspect.Parameter.KEYWORD_ONLY, None, "float | None")
    if list(ours.items()) != list(theirs.items()):
        found.append(f"{name} takes {ours}, not {theirs}")
    expected = plain(inspect.signature(awaited).return_annotation)
    if name not in OWN_RETURN and returned(waiting) != expected:
        found.append(f"{name} returns {returned(waiting)}, not {expected}")
    return found


def differences(awaited: type, waiting: type) -> list[str]:
    found = []
    renamed = {theirs for kind, theirs in OTHER_NAMES if kind is awaited}
    for name in sorted({each for each in dir(awaited) if each[0] != "_"} | renamed):
        if name in NOT_TAKEN_OVER:
            continue
        theirs = inspect.getattr_static(awaited, name)
        ours = inspect.getattr_static(waiting, OTHER_NAMES.get((awaited, name), name), None)
        if ours is None:
            found.append(f"{name} is missing")
        elif isinstance(theirs, property):
            if plain(theirs.fget.__annotations__["return"]) != ours.fget.__annotations__["return"]:
                found.append(f"{name} is of another type")
        elif inspect.isfunction(theirs):
            found += function_differences(name, theirs, ours)
        if callable(ours) or isinstance(ours, property):
            words = "" if name[0] == "_" else ours.__doc__ or "await: without documentation"
            if "await" in words or "async " in words:
                found.append(f"{name} is documented as {words!r}")
    return found


@pytest.mark.parametrize(("awaited", "waiting"), FACES)
def test_nothing_differs_but_the_waiting(awaited, waiting):
    assert differences(awaited, waiting) == []


def _planted(source: str):
    names = {}
    exec(f"from __future__ import annotations\n{source}", names)
    return names["exists"]


@pytest.mark.parametrize(
    ("planted", "said"),
    [
        ("def exists(self, key: str | Key[Any]) -> bool: 'Whether.'", None),
        ("async def exists(self, key: str | Key[Any]) -> bool: 'Whether.'", "still has to be awaited"),
        ("def exists(self, key: str | Key[Any]) -> bool: ...", "without documentation"),
        ("def exists(self, key: str | Key[Any]) -> bool: 'To be awaited.'", "is documented as"),
        ("def exists(self, key: str | Key[Any]) -> int: 'Whether.'", "exists returns int, not bool"),
        ("def exists(self, key: str) -> bool: 'Whether.'", "exists takes"),
        ("def exists(self, name: str | Key[Any]) -> bool: 'Whether.'", "exists takes"),
        ("def exists(self, *, key: str | Key[Any]) -> bool: 'Whether.'", "exists takes"),
        ("def exists(self, key: str | Key[Any] = '') -> bool: 'Whether.'", "exists takes"),
        ("def exists(self, key: str | Key[Any], more: int = 0) -> bool: 'Whether.'", "exists takes"),
        ("exists = None", "exists is missing"),
    ],
)
def test_a_planted_difference_is_found(planted, said):
    waiting = type("Planted", (blocking.Persistence,), {"exists": _planted(planted)})
    found = differences(AdapterBasedPersistence, waiting)
    assert len(found) == (said is not None), found
    assert said is None or said in found[0]


def test_a_new_verb_is_missed():
    awaited = type("Wider", (AdapterBasedPersistence,), {"archive": AdapterBasedPersistence.flush})
    assert "archive is missing" in differences(awaited, blocking.Persistence)


def test_help_shows_the_verb():
    text = pydoc.plain(pydoc.render_doc(blocking.Persistence))
    assert (
        "delete(self, key: 'str | Key[Any]', *, durability: 'Durability | str | None' = None) -> 'bool'"
        in text
    )
    assert "Forget ``key`` and its kept generations; whether it was there." in text
    assert blocking.Persistence.delete.__name__ == "delete"
    assert str(inspect.signature(blocking.Collection.get)) == (
        "(self, id: 'str', default: 'T | None' = None) -> 'T | None'"
    )


def test_a_verb_is_inherited_and_can_be_built_upon():
    class Counting(blocking.Persistence):
        deleted = 0

        def delete(self, key, **options):
            self.deleted += 1
            return super().delete(key, **options)

    with Counting(AdapterBasedPersistence(MemoryAdapter())) as persistence:
        persistence.save("a", 1)
        delete = persistence.delete
        assert delete("a")
        assert not delete(key="a", durability="memory")
        assert persistence.deleted == 2
        with pytest.raises(TypeError, match="durable"):
            persistence.exists("a", durable=True)


def test_a_verb_asks_the_class_of_what_it_stands_for():
    class Shouting(AdapterBasedPersistence):
        async def exists(self, key):
            return await super().exists(key.upper())

    with blocking.Persistence(Shouting(MemoryAdapter())) as persistence:
        persistence.save("A", 1)
        assert persistence.exists("a")
